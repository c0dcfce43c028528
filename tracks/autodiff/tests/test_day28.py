"""Day 28: a check that finds every mistake of a gallery, counted passes, rows and buffers."""

import threading
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd import functional

from harness.testing import close, exercise, refused, watch
from tracks.autodiff import day22, day23, day24, day25, day26, day28, operations

HERE = Path(__file__).parent
MANY = 1000
LARGE = 1 << 20


def leaf(data, requires_grad=True, kind="float64"):
    return day28.Tensor(data, requires_grad=requires_grad, dtype=kind)


def twin(data, requires_grad=True):
    return torch.tensor(np.array(data), requires_grad=requires_grad)


def same(found, right, name, past=False):
    """One tensor, or tuples of them, against torch's: kind, shape, dtype, values."""
    if isinstance(right, tuple):
        assert isinstance(found, tuple), f"{name}: {type(found).__name__}, where torch has a tuple"
        assert len(found) == len(right), f"{name}: {len(found)} where torch has {len(right)}"
        for i, (a, b) in enumerate(zip(found, right, strict=True)):
            same(a, b, f"{name}[{i}]", past)
        return
    assert isinstance(found, day22.Tensor), f"{name}: {type(found).__name__}, not one Tensor"
    right = right.detach().numpy()
    close(found.data, right, terms=64, scale=64.0 * (1 + abs(right).max(initial=0)), name=name)
    assert found.requires_grad == past, (
        f"{name} requires a gradient: {found.requires_grad}, where {past} was due"
    )


# -- functions to be checked -------------------------------------------------------------------


def function(forward, backward):
    """A Function of arrays: ``backward(g, y, *arguments)`` gives one share, or a tuple."""

    class Made(day22.Function):
        @staticmethod
        def forward(ctx, *arrays):
            ctx.y = forward(*arrays)
            ctx.save_for_backward(*arrays)
            return ctx.y

        @staticmethod
        def backward(ctx, *grads):
            arrays = [t.data for t in ctx.saved_tensors]
            shares = backward(*(g.data for g in grads), ctx.y, *arrays)
            shares = shares if isinstance(shares, tuple) else (shares,)
            return tuple(None if s is None else grads[0]._made(np.asarray(s)) for s in shares)

    return Made.apply


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def at(x, index, value):
    out = np.zeros_like(x)
    out[index] = value
    return out


def added_at(x, index, value):
    out = np.zeros_like(x)
    np.add.at(out, index, value)
    return out


INDEX = np.array([0, 2, 0])
KERNEL = np.array([1.0, 2.0, 4.0])


def correlated(x):
    return np.correlate(x, KERNEL, "same")


def spread(g, y, x):
    """What comes to the largest element goes to all of them alike."""
    return np.full_like(x, g.sum() / x.size)


GALLERY = {
    "the incoming gradient is left out":
        (lambda x: x * x, lambda g, y, x: 2 * x, (3,)),
    "the factor of the exponent is missing":
        (lambda x: x * x, lambda g, y, x: g * x, (3,)),
    "the exponent is not lowered":
        (lambda x: x**3, lambda g, y, x: 3 * g * x**3, (3,)),
    "exp takes its argument for its slope":
        (np.exp, lambda g, y, x: g * x, (3,)),
    "tanh without the square":
        (np.tanh, lambda g, y, x: g * (1 - y), (3,)),
    "sigmoid without its second factor":
        (lambda x: 1 / (1 + np.exp(-x)), lambda g, y, x: g * y, (3,)),
    "the root without the 2":
        (lambda x: np.sqrt(x * x + 1), lambda g, y, x: g * 2 * x / y, (3,)),
    "log1p as if it were log":
        (lambda x: np.log1p(x * x), lambda g, y, x: g * 2 * x / (x * x), (3,)),
    "the sign of the subtrahend":
        (lambda a, b: a - b, lambda g, y, a, b: (g, g), (3,), (3,)),
    "the divisor's share lacks a division":
        (lambda a, b: a / (b * b + 1), lambda g, y, a, b: (g / (b * b + 1), -g * a * 2 * b),
         (3,), (3,)),
    "both factors get the same share":
        (lambda a, b: a * b, lambda g, y, a, b: (g * b, g * b), (3,), (3,)),
    "one share is None":
        (lambda a, b: a * b, lambda g, y, a, b: (g * b, None), (3,), (3,)),
    "a product of matrices that are not transposed":
        (lambda a, b: a @ b, lambda g, y, a, b: (g @ b, a @ g), (2, 2), (2, 2)),
    "a bias gets the sums along the wrong axis":
        (lambda a, b: a + b, lambda g, y, a, b: (g, g.sum(1)), (3, 3), (3,)),
    "a bias gets the mean":
        (lambda a, b: a + b, lambda g, y, a, b: (g, g.mean(0)), (2, 3), (3,)),
    "a bias gets one row":
        (lambda a, b: a + b, lambda g, y, a, b: (g, g[0]), (2, 3), (3,)),
    "a mean without 1/n":
        (lambda x: x.mean(0), lambda g, y, x: np.broadcast_to(g, x.shape), (2, 3)),
    "softmax with the diagonal alone":
        (softmax, lambda g, y, x: g * y * (1 - y), (2, 3)),
    "softmax summed over the wrong axis":
        (softmax, lambda g, y, x: y * (g - (g * y).sum(0, keepdims=True)), (3, 3)),
    "log_softmax without its sum":
        (lambda x: np.log(softmax(x)), lambda g, y, x: g - g * np.exp(y), (2, 3)),
    "an index that is there twice gets one share":
        (lambda x: x[INDEX], lambda g, y, x: at(x, INDEX, g), (3,)),
    "the largest element shares with all":
        (lambda x: x.max(), spread, (3,)),
    "relu looks at the gradient":
        (lambda x: np.maximum(x, 0), lambda g, y, x: g * (g > 0), (3,)),
    "the clamp lets through what is outside":
        (lambda x: np.clip(x, -0.1, 0.1), lambda g, y, x: g, (3,)),
    "the size of the gradient":
        (lambda x: 2 * x, lambda g, y, x: 2 * abs(g), (3,)),
    "the square of the gradient":
        (lambda x: 2 * x, lambda g, y, x: 2 * g * g, (3,)),
    "a clipped gradient":
        (lambda x: 2 * x, lambda g, y, x: 2 * np.clip(g, -1, 1), (3,)),
    "a normalised gradient":
        (lambda x: 2 * x, lambda g, y, x: 2 * g / max(np.sqrt((g * g).sum()), 1.0), (3,)),
    "the largest gradient alone is passed on":
        (lambda x: 2 * x, lambda g, y, x: 2 * g * (abs(g) == abs(g).max()), (3,)),
    "elements of the gradient are mixed":
        (lambda x: 2 * x, lambda g, y, x: np.full_like(x, 2 * g.mean()), (3,)),
    "a running sum that runs the wrong way":
        (np.cumsum, lambda g, y, x: np.cumsum(g), (4,)),
    "a reshape in the place of a transposition":
        (lambda x: x.T * 1.0, lambda g, y, x: g.reshape(x.shape), (2, 3)),
    "a filter that is not turned round":
        (correlated, lambda g, y, x: correlated(g), (5,)),
    "a variance without the factor":
        (lambda x: x.var(-1), lambda g, y, x: g[..., None] * (x - x.mean(-1, keepdims=True)),
         (2, 3)),
    "layer norm without the mean of the gradient":
        (lambda x: x - x.mean(-1, keepdims=True), lambda g, y, x: g, (2, 3)),
    "one of two results has no part":
        (lambda x: (np.sin(x), np.cos(x)), lambda a, b, y, x: a * y[1], (3,)),
    "the last element is forgotten":
        (lambda x: 3 * x, lambda g, y, x: 3 * g * (np.arange(x.size) < x.size - 1), (3,)),
    "off by a hundredth":
        (lambda x: 3 * x + x * x, lambda g, y, x: g * (3.03 + 2.02 * x), (3,)),
    "no number at all":
        (lambda x: 3 * x, lambda g, y, x: g * np.nan, (3,)),
    "the incoming gradient is changed":
        (lambda x: 3 * x, lambda g, y, x: np.multiply(g, 3, out=g) * 1.0, (3,)),
    "a mask is applied to the incoming gradient itself":
        (lambda x: x * [0, 1, 1], lambda g, y, x: np.multiply(g, [0, 1, 1], out=g) * 1.0, (3,)),
    "the result is changed":
        (np.exp, lambda g, y, x: np.multiply(y, g, out=y) * 1.0, (3,)),
    "forward writes into its argument":
        (lambda x: np.multiply(x, 3, out=x) * 1.0, lambda g, y, x: 3 * g, (3,)),
}  # fmt: skip
"""A forward, a wrong backward, and shapes: each a mistake that somebody has made."""


class Forgetful(day22.Function):
    """What forward saw is kept at the class: of two calls the second one overwrites it."""

    @staticmethod
    def forward(ctx, x):
        Forgetful.x = x
        return x * x

    @staticmethod
    def backward(ctx, grad):
        return grad * 2 * grad._made(Forgetful.x)


def dropout(seed):
    """The mask is drawn anew in the backward."""
    rng = np.random.default_rng(seed)

    def draw(x):
        return (rng.random(x.shape) < 0.5) * 2.0

    return function(lambda x: x * 2, lambda g, y, x: g * draw(x))


def noisy(seed):
    """Another result at every call."""
    rng = np.random.default_rng(seed)
    return function(lambda x: x + 1e-13 * rng.normal(size=x.shape), lambda g, y, x: g)


def closure(x):
    """An operation of week 3 with the right backward."""
    return x._result(x.data**3, (x,), "cube", lambda g: (g * 3 * x.data**2,))


class Frozen(day22.Function):
    """The slope was computed in forward and saved: a constant."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(2 * x)
        return x * x

    @staticmethod
    def backward(ctx, grad):
        return grad * ctx.saved_tensors[0]


class Arrays(day22.Function):
    """The slope is computed from an array."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad * grad._made(3 * x.data**2)


class Detached(day22.Function):
    """Right for x, and the gradient that came in has lost its past."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad.detach() * 3 * x * x


class Quiet(Detached):
    """Nothing is recorded in the backward."""

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        with day26.no_grad():
            return grad * 3 * x * x


class Square(day22.Function):
    """A helper of the next one, and wrong by a factor itself."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx, grad):
        return grad * ctx.saved_tensors[0]


class Behind(Detached):
    """Right, and made of a Function whose backward is wrong."""

    @staticmethod
    def backward(ctx, grad):
        return grad * 3 * Square.apply(ctx.saved_tensors[0])


SECOND = {
    "a closure of week 3": closure, "a saved intermediate": Frozen.apply,
    "arrays in the backward": Arrays.apply, "a detached gradient": Detached.apply,
    "a backward in no_grad": Quiet.apply, "a wrong helper": Behind.apply,
}  # fmt: skip
"""The first derivative is right, the second one is not."""

RIGHT = {
    "square": (lambda x: x * x, (3,)),
    "a number": (lambda x: x.exp() * x, ()),
    "nothing": (lambda x: x * 2.0, (0, 3)),
    "nothing comes out": (lambda x: x[3:] * 2.0, (3,)),
    "broadcast": (lambda a, b: (a * b).sin() / (b * b + 1.0), (2, 3), (3, 1, 1)),
    "product": (lambda a, b: a @ b, (2, 2, 3), (3, 2)),
    "softmax": (lambda x: x.softmax(-1), (2, 3)),
    "index": (lambda x: x[[0, 0, 2]], (3, 2)),
    "two results": (lambda x: (x.exp(), x.sum()), (2, 2)),
    "two from one node": (lambda x: x.split([1, 2], 0), (3, 2)),
    "values and indices": (lambda x: tuple(x.max(1)), (2, 3)),
    "an unused input": (lambda a, b: a * a, (2,), (3,)),
    "a constant": (lambda x: x.detach() * 0.0 + 2.0, (2,)),
    "itself": (lambda x: x, (2, 2)),
    "a view": (lambda x: x.transpose(0, 1).reshape(-1), (2, 3)),
    "itself and more": (lambda x: (x, x * x), (2,)),
    "checkpoint": (lambda x: day25.checkpoint(lambda y: y.exp() * y, x), (3,)),
    "a list": (lambda a, b: [a * b, b], (2,), (2,)),
    "cross entropy": (
        lambda x: operations.cross_entropy(x, leaf([2, 0], False, kind=None)), (2, 3)),
}  # fmt: skip


def wrong_inputs(name, rng):
    """Away from kinks, and from points at which a mistake does not show."""
    _, _, *shapes = GALLERY[name]
    return tuple(
        leaf(np.sign(x) * (abs(x) + 0.5) if x.ndim else x)
        for x in (np.array(rng.normal(*s)) for s in shapes)
    )


@pytest.fixture(autouse=True)
def _quiet():
    with np.errstate(all="ignore"):
        yield


# -- differences -------------------------------------------------------------------------------


@exercise("numerical_jacobian")
@pytest.mark.parametrize("name", RIGHT)
def test_slopes_by_differences(name, rng):
    f, *shapes = RIGHT[name]
    inputs = [leaf(rng.normal(*s)) for s in shapes]
    J = day28.numerical_jacobian(f, inputs)
    results = f(*inputs)
    results = results if isinstance(results, (tuple, list)) else [results]
    results = [y for y in results if y.dtype.kind == "f"]
    assert len(J) == len(results), f"{len(J)} results of {len(results)}"
    for r, y in enumerate(results):
        assert len(J[r]) == len(inputs), f"{len(J[r])} inputs of {len(inputs)}"
        for i, x in enumerate(inputs):
            assert isinstance(J[r][i], np.ndarray), f"J[{r}][{i}] is no array"
            assert J[r][i].shape == y.shape + x.shape, f"J[{r}][{i}] has shape {J[r][i].shape}"
            assert J[r][i].dtype == np.float64
            for index in np.ndindex(y.shape):
                (g,) = day24.grad(y[index], x, retain_graph=True, allow_unused=True) if (
                    y.requires_grad) else (None,)  # fmt: skip
                due = np.zeros(x.shape) if g is None else g.data
                assert np.allclose(J[r][i][index], due, rtol=1e-5, atol=1e-6), (
                    f"{name}: the slope of element {index} of result {r} by input {i} is "
                    f"{J[r][i][index].tolist()}, and {due.tolist()} in truth"
                )


@exercise("numerical_jacobian")
def test_differences_leave_everything_alone(rng):
    x, c = leaf(rng.normal(2, 3)), leaf(rng.normal(3), False)
    before = x.data.copy(), c.data.copy()
    flags = []

    def f(a, b, n, name):
        assert (n, name) == (2, "name"), f"other arguments came as {n!r} and {name!r}"
        flags.append((a.requires_grad, b.requires_grad, a.is_leaf))
        result = a * b * n
        with day26.no_grad():
            a.zero_()
            b.zero_()
        return result

    with day26.no_grad():
        J = day28.numerical_jacobian(f, [x, c, 2, "name"])
    assert np.array_equal(x.data, before[0]) and np.array_equal(c.data, before[1]), (
        "f wrote into its arguments, and the inputs have changed"
    )
    assert J[0][1:] == [None] * 3, "there are slopes by what requires no gradient"
    due = np.einsum("ia,jb,b->ijab", np.eye(2), np.eye(3), 2 * c.data)
    assert np.allclose(J[0][0], due, atol=1e-6), "what f did to its arguments is seen later"
    assert set(flags) == {(True, False, True)}, "f's arguments are not like the inputs"


@exercise("numerical_jacobian")
def test_both_sides_and_the_step(rng):
    x = leaf(rng.uniform(2, low=0.5, high=1.0))
    for eps in (1e-6, 0.5):
        seen = []
        J = day28.numerical_jacobian(
            lambda t, s=seen: s.append(t.data.copy()) or t * t * t, [x], eps
        )
        right = np.diag(3 * x.data**2 + eps * eps)
        assert np.allclose(J[0][0], right, atol=1e-6), f"at eps {eps} it is {J[0][0].tolist()}"
        moved = {(int(np.argmax(abs(t - x.data))), float(np.round((t - x.data).sum() / eps, 3)))
                 for t in seen if (t != x.data).any()}  # fmt: skip
        assert moved == {(0, 1.0), (0, -1.0), (1, 1.0), (1, -1.0)}, (
            f"elements were moved by (index, multiple of eps) {sorted(moved)}"
        )
    J = day28.numerical_jacobian(lambda t: t.log(), [leaf([0.0])])
    assert not np.isfinite(J[0][0]).all(), "where f is nan a slope was found"


@exercise("numerical_jacobian")
def test_differences_warn_of_nothing(recwarn):
    with np.errstate(all="warn"):
        J = day28.numerical_jacobian(lambda t: t * np.inf, [leaf([1.0])])
    assert np.isnan(J[0][0]).all(), f"inf - inf is no number, and the slope is {J[0][0].tolist()}"
    assert not recwarn.list, f"numpy warned of inf - inf: {recwarn.list[0].message}"


# -- gradcheck ---------------------------------------------------------------------------------


@exercise("gradcheck")
@pytest.mark.parametrize("name", GALLERY)
def test_a_planted_mistake_is_found(name, rng):
    forward, backward, *_ = GALLERY[name]
    f = function(forward, backward)
    found = day28.gradcheck(f, wrong_inputs(name, rng), raise_exception=False)
    assert found is False, f"not found: {name}"
    with pytest.raises(day28.GradcheckError):
        day28.gradcheck(f, wrong_inputs(name, rng))
        pytest.fail(f"{name}: a GradcheckError was due")


@exercise("gradcheck")
def test_mistakes_of_state(rng):
    x = wrong_inputs("the square of the gradient", rng)[0]
    y = leaf(x.data + 1.0)
    assert day28.gradcheck(Forgetful.apply, x), "one call alone, and it is right"
    for name, f, inputs in [
        ("what a Function saved was overwritten by its next call",
         lambda x, y: Forgetful.apply(x) * Forgetful.apply(y), (x, y)),
        ("a mask that is drawn again in the backward", dropout(0), x),
        ("an f that gives something else each time", noisy(0), x),
        ("a detached factor", lambda x: x * x.detach(), x),
    ]:  # fmt: skip
        with pytest.raises(day28.GradcheckError):
            day28.gradcheck(f, inputs)
            pytest.fail(f"not found: {name}")


@exercise("gradcheck")
def test_a_gradient_that_is_not_the_same_twice(rng):
    """Off by less than any tolerance, and another one each time."""
    draws, kept = np.random.default_rng(0), np.empty(3)
    for name, out in [("new memory", None), ("the memory of the run before", kept)]:

        def backward(g, y, x, out=out):
            return np.multiply(g, 2 * (1 + 1e-9 * draws.random()), out=out)

        with pytest.raises(day28.GradcheckError):
            day28.gradcheck(function(lambda x: 2 * x, backward), leaf(rng.normal(3)))
            pytest.fail(f"a backward that gives other numbers, in {name}, when it is run again "
                        "went through")  # fmt: skip


@exercise("gradcheck")
def test_what_gradcheck_sends_in(rng):
    """At one element after another SEED, and once something at all of them."""
    seen = []
    f = function(lambda x: 2 * x, lambda g, y, x: seen.append(g.copy()) or 2 * g)
    assert day28.gradcheck(f, leaf(rng.normal(3)))
    for k in range(3):
        due = at(np.zeros(3), k, day28.SEED)
        assert any(np.array_equal(g, due) for g in seen), (
            f"SEED at element {k} and 0 at all others never came in: {due.tolist()}"
        )
    assert any(g.all() for g in seen), "there was a 0 in every gradient that came in"


@exercise("gradcheck")
def test_a_mistake_at_one_element(rng):
    """Twice the tolerance of an element, and less than that of the sum of all."""
    x = leaf(rng.normal(8))
    for k in range(8):
        for off in (2e-5, -2e-5):
            f = function(lambda x: 0 * x, lambda g, y, x, k=k, off=off: g * at(x, k, off))
            assert not day28.gradcheck(f, x, raise_exception=False), (
                f"the slope by element {k} of 8 is {off} by backward and 0 in truth: not found"
            )


@exercise("gradcheck")
@pytest.mark.parametrize("name", RIGHT)
def test_nobody_is_accused(name, rng):
    f, *shapes = RIGHT[name]
    inputs = tuple(leaf(rng.normal(*s)) for s in shapes)
    assert day28.gradcheck(f, inputs) is True
    assert day28.gradcheck(f, list(inputs)) is True
    if len(inputs) == 1:
        assert day28.gradcheck(f, inputs[0]) is True


@exercise("gradcheck")
def test_only_what_requires_a_gradient_is_checked(rng):
    f = function(lambda a, b: a * b, lambda g, y, a, b: (g * b, g * b))
    a, b = leaf(rng.normal(3)), leaf(rng.normal(3) + 3.0, False)
    assert day28.gradcheck(f, (a, b)), "the share of b is wrong, and nobody asked for it"
    assert day28.gradcheck(lambda x, n: x**n, (leaf(abs(np.array(rng.normal(3))) + 1), 3))
    single = day28.Tensor([2.0], dtype="float32")
    assert day28.gradcheck(lambda x, s: x * s, (a, single)), "a float32 constant is no reason"
    index = leaf([0, 2], False, kind=None)
    assert day28.gradcheck(lambda x, i: x[i], (a, index))
    assert day28.gradcheck(lambda x: x.to(np.float32) * 3.0, a, eps=0.25), (
        "a float32 result has slopes too, and with a large step differences find them"
    )


@exercise("gradcheck")
def test_what_the_message_names(rng):
    def backward(g, y, a, b):
        share = g.T * a
        share[1, 2] *= 3.0
        return g.T * b, share

    a, b = leaf(np.full((2, 3), 2.0)), leaf(rng.normal(2, 3))
    with pytest.raises(day28.GradcheckError) as refusal:
        day28.gradcheck(function(lambda a, b: (a * b).T, backward), (a, b))
    message = str(refusal.value)
    for due in ("1", "(1, 2)", "6", "2"):
        assert due in message, f"input 1, element (1, 2), slopes 6 and 2: {message!r}"


@exercise("gradcheck")
def test_what_the_message_names_where_there_is_no_number():
    """nan is no slope, and it is the same nan each time."""
    for name, f, x in [
        ("the gradient", function(lambda x: 3 * x, lambda g, y, x: g * np.nan), leaf([1.0])),
        ("the slope by differences", lambda x: x.log(), leaf([-1.0])),
    ]:
        with pytest.raises(day28.GradcheckError) as refusal:
            day28.gradcheck(f, x)
        for due in ("(0,)", "nan"):
            assert due in str(refusal.value), (
                f"{name} by element (0,) of input 0 is nan: {str(refusal.value)!r}"
            )


@exercise("gradcheck")
def test_tolerances(rng):
    x = leaf(np.array([1.0, 2.0]))

    def off(by):
        return function(lambda x: 2 * x, lambda g, y, x: g * (2 + by))

    for by, options, fine in [
        (0.1, {}, False), (0.001, {}, True), (0.1, {"rtol": 0.1}, True),
        (0.1, {"atol": 0.2}, True), (0.001, {"rtol": 1e-6}, False),
        (0.001, {"rtol": 0.0, "atol": 0.002}, True), (1e-4, {"rtol": 0.0}, False),
    ]:  # fmt: skip
        found = day28.gradcheck(off(by), x, raise_exception=False, **options)
        assert found is fine, f"a slope of {2 + by} for 2, with {options}: {found}"
    zero = function(lambda x: 0 * x, lambda g, y, x: g * 9e-6)
    assert day28.gradcheck(zero, x), "9e-6 for 0 is within the absolute tolerance"
    assert not day28.gradcheck(zero, x, atol=1e-6, raise_exception=False)
    wide = day28.gradcheck(lambda x: x * x * x, x, eps=0.5, raise_exception=False)
    assert wide is False, "with a step of 0.5 the difference of x³ is off by 0.25"


@exercise("gradcheck")
def test_gradcheck_leaves_everything_alone(rng):
    x, w = leaf(rng.normal(2, 3)), leaf(rng.normal(3))
    before = x.data.copy()
    y = x * 2.0
    with day26.no_grad():
        assert day28.gradcheck(lambda t: (t * w).exp(), y)
        assert not day22.mode.recording, "recording was switched on, and stayed on"
    assert x.grad is None and w.grad is None, "a grad changed"
    assert np.array_equal(x.data, before)
    y.sum().backward()
    close(x.grad.data, np.full((2, 3), 2.0), name="grad by the graph that x came from")
    bad = function(lambda x: x * 2, lambda g, y, x: g)
    with pytest.raises(day28.GradcheckError):
        day28.gradcheck(bad, x)
    assert day22.mode.recording


@exercise("gradcheck")
def test_gradcheck_refuses(rng):
    x = leaf(rng.normal(3))
    refused(day28.gradcheck, lambda x: x * x, x.detach(), what="no input to check")
    refused(day28.gradcheck, lambda x: x * x, leaf([1.0], kind="float32"), what="float32",
            names=["float32"])  # fmt: skip
    refused(day28.gradcheck, lambda a, b: a * b, (x, leaf([1.0], kind="float32")),
            what="a second input of float32", names=["float32"])  # fmt: skip

    def fails(x):
        raise KeyError("on purpose")

    with pytest.raises(KeyError):
        day28.gradcheck(fails, x, raise_exception=False)
        pytest.fail("an exception of f was swallowed")


# -- gradgradcheck -----------------------------------------------------------------------------


@exercise("gradgradcheck")
@pytest.mark.parametrize("name", SECOND)
def test_a_wrong_second_derivative_is_found(name, rng):
    x = wrong_inputs("the square of the gradient", rng)[0]
    f = SECOND[name]
    with pytest.raises(day28.GradcheckError):
        day28.gradgradcheck(f, x)
        pytest.fail(f"not found: {name}")
    assert day28.gradgradcheck(f, x, raise_exception=False) is False


@exercise("gradgradcheck")
@pytest.mark.parametrize("name", RIGHT)
def test_nobody_is_accused_of_a_second_derivative(name, rng):
    f, *shapes = RIGHT[name]
    inputs = tuple(leaf(rng.normal(*s)) for s in shapes)
    assert day28.gradgradcheck(f, inputs) is True
    if len(inputs) == 1:
        assert day28.gradgradcheck(f, inputs[0]) is True


@exercise("gradgradcheck")
def test_what_gradgradcheck_sends_in(rng):
    """At a gradient of zeros a wrong second derivative by x does not show."""
    x = leaf(np.array([1.0, 2.0]))
    zeros, ones = leaf(np.zeros(2), False), leaf(np.ones(2))
    assert day28.gradgradcheck(Arrays.apply, x, zeros, raise_exception=False) is True
    for several in ([zeros], (zeros,)):
        assert day28.gradgradcheck(Arrays.apply, x, several, raise_exception=False) is True
    assert day28.gradgradcheck(Arrays.apply, x, ones, raise_exception=False) is False
    assert day28.gradgradcheck(Detached.apply, x, zeros, raise_exception=False) is False, (
        "slopes by the gradient that comes in were not looked at"
    )
    assert ones.grad is None and not zeros.requires_grad
    seen = []

    def f(x):
        y = x * 2.0
        if y.requires_grad:
            y.register_hook(lambda g: seen.append(g.data.copy()))
        return y

    day28.gradgradcheck(f, x)
    assert any((abs(g) > 0.01).all() and g[0] != g[1] for g in seen), "no random gradient came in"


@exercise("gradgradcheck")
def test_gradgradcheck_of_some_inputs(rng):
    a, b = leaf(rng.normal(3)), leaf(rng.normal(3), False)
    for kind in (tuple, list):
        assert day28.gradgradcheck(lambda a, b, n: (a * b).exp() * n, kind((a, b, 2.0)))
    refused(day28.gradgradcheck, lambda x: x * x, b, what="no input to check")
    refused(day28.gradgradcheck, lambda x: x * x, leaf([1.0], kind="float32"), what="float32")
    with pytest.raises(day28.GradcheckError):
        day28.gradgradcheck(lambda x: Arrays.apply(x), a, rtol=1e-9, atol=1e-3)
    loose = day28.gradgradcheck(Arrays.apply, leaf([0.1]), atol=10.0, raise_exception=False)
    assert loose is True, "with an absolute tolerance of 10 it went not through"
    tight = day28.gradgradcheck(
        Arrays.apply, leaf([0.1]), leaf([1.0]), atol=0.0, rtol=0.9, raise_exception=False
    )
    assert tight is False, "0 for 0.6 is not within 0.9 of it, and there was no other tolerance"
    with day26.no_grad():
        assert day28.gradgradcheck(lambda x: x * x * x, a)
    assert a.grad is None, "a grad changed"


# -- forward mode ------------------------------------------------------------------------------


class Passes:
    """Counts backward passes, and calls of a function."""

    def __init__(self):
        self.count, self.calls, self.recorded = 0, 0, []
        outer = self

        class Engine(day28.Tensor.Engine):
            def run(self, *args, **options):
                outer.count += 1
                outer.recorded.append(options.get("create_graph", (*args, 0, 0, 0, 0)[4]))
                return super().run(*args, **options)

        self.Tensor = types.new_class(
            "Counted", (day28.Tensor,), {},
            lambda space: space.update(__slots__=(), Engine=Engine),
        )  # fmt: skip

    def leaf(self, data):
        return self.Tensor(np.array(data), requires_grad=True)

    def of(self, f):
        def call(*args):
            self.calls += 1
            return f(*args)

        return call


MAPS = {
    "element by element": (lambda x: x.exp() * x, (3,)),
    "to fewer": (lambda x: (x * x).sum(1), (2, 3)),
    "to a number": (lambda x: (x * x * x).sum(), (2, 2)),
    "from a number": (lambda x: (x * x).expand(2, 3), ()),
    "itself": (lambda x: x, (2, 2)),
    "to nothing": (lambda x: x[2:] * 2.0, (2, 3)),
    "linear": (lambda x: x * 3.0, (3,)),
    "two to one": (lambda a, b: (a * b).exp(), (2, 3), (3,)),
    "two to two": (lambda a, b: ((a * b).sum(1), a.exp()), (2, 3), (3,)),
    "one to two": (lambda a: (a * a, a.sum()), (3,)),
    "to a tuple of one": (lambda a: (a * a,), (3,)),
    "one unused": (lambda a, b: a * a, (3,), (2,)),
}


@exercise("jvp")
@pytest.mark.parametrize("name", MAPS)
def test_jvp_as_torch_has_it(name, rng):
    f, *shapes = MAPS[name]
    arrays, v = ([np.array(rng.normal(*s)) for s in shapes] for _ in range(2))
    right = functional.jvp(f, tuple(map(twin, arrays)), tuple(twin(a, False) for a in v))
    for kind in (tuple, list):
        found = day28.jvp(f, kind(map(leaf, arrays)), kind(leaf(a, False) for a in v))
        assert isinstance(found, tuple) and len(found) == 2, "f(x) and J v were due"
        same(found, right, f"f(x) and J v, {name}")
    if len(arrays) == 1:
        same(day28.jvp(f, leaf(arrays[0]), leaf(v[0])), right, f"f(x) and J v, {name}, one tensor")


@exercise("jvp")
def test_jvp_of_constants(rng):
    x, v, w = leaf(rng.normal(3)), leaf(rng.normal(3), False), leaf(rng.normal(2))
    for name, f, right in [
        ("a constant", lambda x: leaf([1.0, 2.0], False), [1.0, 2.0]),
        ("a weight", lambda x: w * 2.0, 2 * w.data),
        ("detached", lambda x: x.detach()[:2] * 1.0, x.data[:2]),
    ]:
        found = day28.jvp(f, x, v)
        same(found, (torch.tensor(right).double(), torch.zeros(2).double()), name)
    _, (product, none) = day28.jvp(lambda x: (x * x, w), x, v)
    close(product.data, 2 * x.data * v.data, terms=2, scale=4.0, name="J v of the first result")
    assert not none.data.any() and none.shape == (2,), "the second result does not move with x"
    single = day28.jvp(lambda x: x * x, leaf([1.0], kind="float32"), leaf([1.0], kind="float32"))
    assert single[1].dtype == np.float32


@exercise("jvp")
def test_jvp_counts(rng):
    """Two passes, and no memory of n · n numbers."""
    count = Passes()
    x, v = count.leaf(rng.normal(MANY)), leaf(rng.normal(MANY), False)
    (value, product), seen = watch(day28.jvp, count.of(lambda x: x * x.sum()), x, v, of="numpy")
    close(product.data, v.data * x.data.sum() + x.data * v.data.sum(), terms=MANY, scale=64.0,
          name="J v")  # fmt: skip
    assert (count.calls, count.count) == (1, 2), (
        f"{count.calls} calls of f and {count.count} backward passes"
    )
    assert not count.recorded[-1], "the last pass was recorded, and nobody goes on from it"
    assert seen.peak_bytes < MANY * MANY * 8 / 4, (
        f"{seen.peak_bytes} bytes, where a Jacobian has {MANY * MANY * 8}"
    )
    assert value.shape == (MANY,)


@exercise("jvp")
@pytest.mark.parametrize("quiet", [False, True])
def test_jvp_leaves_everything_alone(quiet, rng):
    x, w, v = leaf(rng.normal(3)), leaf(rng.normal(3)), leaf(rng.normal(3))
    y = x * 2.0
    with day26.Switch(not quiet):
        value, product = day28.jvp(lambda t: t * w, y, v)
        assert day22.mode.recording != quiet, "recording was switched, and stayed so"
    same((value, product), (torch.tensor(y.data * w.data), torch.tensor(v.data * w.data)), "J v")
    assert x.grad is None and w.grad is None and v.grad is None, "a grad changed"
    y.sum().backward()
    close(x.grad.data, np.full(3, 2.0), name="grad by the graph that x came from")
    plain = leaf(rng.normal(3), False)
    day28.jvp(lambda t: t * w, plain, v)
    assert not plain.requires_grad, "x requires a gradient now"


@exercise("jvp")
def test_jvp_with_a_past(rng):
    x, w, v, u = (np.array(rng.normal(3)) for _ in range(4))

    def results(make, jvp, grad):
        a, b, direction = make(x), make(w), make(v)
        value, product = jvp(
            lambda t: (t * b).exp() * t.sum(), a * 1.0, direction, create_graph=True
        )
        loss = (value * make(u, False)).sum() + (product * make(u, False)).sum()
        return (value, product), tuple(grad(loss, [a, b, direction]))

    found = results(leaf, day28.jvp, day24.grad)
    right = results(twin, functional.jvp, torch.autograd.grad)
    same(found[0], right[0], "f(x) and J v with create_graph", past=True)
    same(found[1], right[1], "derivatives by x, a weight, and v")


@exercise("jvp")
def test_jvp_refuses(rng):
    x = leaf(rng.normal(2, 3))
    refused(day28.jvp, lambda x: x * x, x, leaf(rng.normal(3)), what="a v of shape (3,)",
            names=["(3,)", "(2, 3)"])  # fmt: skip
    refused(day28.jvp, lambda a, b: a * b, (x, x), (x,), what="one vector for two inputs")
    refused(day28.jvp, lambda a: a, (x,), (x, x), what="two vectors for one input")


# -- profiles ----------------------------------------------------------------------------------


class Clock:
    """Time passes when it is told to."""

    def __init__(self):
        self.now, self.asked = 0.0, 0

    def __call__(self):
        self.asked += 1
        return self.now


def rows_of(p):
    return {row.operator: (row.calls, row.time, row.bytes) for row in p.rows()}


@exercise("Profile")
def test_one_operator_after_another():
    clock = Clock()
    p = day28.Profile(clock)
    for key, name, seconds, made in [
        ("a", "mul", 1.0, 8),
        ("b", "exp", 4.0, 0),
        ("a", "mul", 2.0, 5),
    ]:
        p.begin(key, name)
        clock.now += seconds
        p.end(key, made)
        clock.now += 100.0
    assert rows_of(p) == {"mul": (2, 3.0, 13), "exp": (1, 4.0, 0)}, f"the rows are {p.rows()}"
    assert [row.operator for row in p.rows()] == ["exp", "mul"], "what took longest is first"
    assert clock.asked == 6, f"the clock was asked {clock.asked} times for 3 calls"
    assert isinstance(p.rows()[0], day28.Row)
    assert all(isinstance(row.bytes, int) for row in p.rows()), f"bytes are whole: {p.rows()}"


@exercise("Profile")
def test_calls_inside_of_calls():
    clock = Clock()
    p = day28.Profile(clock)
    p.begin(1, "outer")
    clock.now = 1.0
    p.begin(2, "middle")
    clock.now = 3.0
    p.begin(3, "inner")
    clock.now = 7.0
    p.end(3, 10)
    p.begin(4, "outer")
    clock.now = 8.0
    p.end(4, 1)
    clock.now = 16.0
    p.end(2, 100)
    clock.now = 32.0
    p.end(1, 1000)
    assert rows_of(p) == {
        "outer": (2, 1.0 + 16.0 + 1.0, 1001), "middle": (1, 2.0 + 8.0, 100), "inner": (1, 4.0, 10),
    }, f"the rows are {p.rows()}, where what lies inside of a call is not its own"  # fmt: skip
    assert sum(row.time for row in p.rows()) == 32.0, "the times do not add up to what passed"


@exercise("Profile")
def test_calls_that_raised():
    clock = Clock()
    p = day28.Profile(clock)
    p.begin(1, "outer")
    p.begin(2, "raised")
    clock.now = 1.0
    p.begin(3, "raised too")
    clock.now = 2.0
    p.end(1)
    assert rows_of(p) == {"outer": (1, 2.0, 0)}, f"the rows are {p.rows()}"
    p.begin(4, "raised")
    clock.now = 10.0
    p.begin(5, "after")
    clock.now = 11.0
    p.end(5)
    assert rows_of(p) == {"outer": (1, 2.0, 0), "after": (1, 1.0, 0)}
    asked = clock.asked
    p.end(3)
    p.end("never")
    assert clock.asked == asked, "the clock was asked for an end without a begin"
    assert rows_of(p) == {"outer": (1, 2.0, 0), "after": (1, 1.0, 0)}, (
        "an end without a begin counts"
    )


@exercise("Profile")
def test_what_ended_inside_of_a_call_that_raised():
    clock = Clock()
    p = day28.Profile(clock)
    p.begin(1, "outer")
    clock.now = 1.0
    p.begin(2, "raised")
    clock.now = 2.0
    p.begin(3, "inner")
    clock.now = 6.0
    p.end(3)
    clock.now = 8.0
    p.end(1)
    assert rows_of(p) == {"outer": (1, 4.0, 0), "inner": (1, 4.0, 0)}, (
        f"the rows are {p.rows()}, and 8 seconds have passed in all"
    )


@exercise("Profile")
def test_keys_are_told_apart_as_objects():
    clock = Clock()
    p = day28.Profile(clock)
    one, two = [1], [1]
    p.begin(one, "outer")
    p.begin(two, "inner")
    clock.now = 1.0
    p.end(one)
    assert rows_of(p) == {"outer": (1, 1.0, 0)}, "two equal keys were taken for one"
    x = leaf([1.0, 2.0])
    p.begin(x, "tensor")
    p.end(x)
    assert rows_of(p)["tensor"][0] == 1


@exercise("Profile")
def test_order_of_rows():
    clock = Clock()
    p = day28.Profile(clock)
    assert p.rows() == []
    for name, seconds in [("d", 1.0), ("b", 2.0), ("a", 1.0), ("c", 2.0), ("e", 0.0)]:
        p.begin(name, name)
        clock.now += seconds
        p.end(name)
    assert [row.operator for row in p.rows()] == ["b", "c", "a", "d", "e"]


def cells(line):
    """Columns stand two blanks apart at least; units one."""
    return [cell for cell in line.strip().replace("  ", "\t").split("\t") if cell.strip()]


@exercise("Profile")
def test_the_table_can_be_read():
    clock = Clock()
    p = day28.Profile(clock)
    for name, calls, seconds, made in [
        ("mul", 3, 0.0005, 4000),
        ("a very long name backward", 12000, 0.25, 0),
        ("exp", 1, 2.5, 123456789),
        ("µ", 1, 0.00000042, 999),
    ]:
        for _ in range(calls):
            p.begin(name, name)
            clock.now += seconds
            p.end(name, made)
    text = p.table()
    lines = text.split("\n")
    assert len(lines) == 6, f"{len(lines)} lines for 4 operators, headings and a total:\n{text}"
    assert len({len(line) for line in lines}) == 1, f"lines of different length:\n{text}"
    found = [[cell.strip() for cell in cells(line)] for line in lines]
    assert found[0] == ["operator", "calls", "time", "bytes"], f"headings {found[0]}"
    total = sum(row.time for row in p.rows())
    rights = [
        [r.operator, str(r.calls), day28.in_time(r.time), day28.in_bytes(r.bytes)] for r in p.rows()
    ]
    rights.append(["total", "12005", day28.in_time(total), day28.in_bytes(123456789 + 12000 + 999)])
    for line, right in zip(found[1:], rights, strict=True):
        assert line == right, f"{line}, where {right} was due, in\n{text}"
    start = 0
    for column in range(4):
        starts = [line.find(row[column], start) for line, row in zip(lines, found, strict=True)]
        ends = [at + len(row[column]) for at, row in zip(starts, found, strict=True)]
        edges = set(ends if column else starts)
        assert len(edges) == 1, f"column {found[0][column]!r} has no straight edge:\n{text}"
        start = max(ends)
    empty = day28.Profile(clock).table().split("\n")
    assert [line.split()[0] for line in empty] == ["operator", "total"], "of nothing"


class Slow(day22.Function):
    """A second forward, two backward, and in between it computes something."""

    clock = None

    @staticmethod
    def forward(ctx, x):
        Slow.clock.now += 1.0
        return x * 2

    @staticmethod
    def backward(ctx, grad):
        Slow.clock.now += 2.0
        return grad * 2.0


class Fails(day22.Function):
    @staticmethod
    def forward(ctx, x):
        Slow.clock.now += 4.0
        raise KeyError("on purpose")


@exercise("Profile")
def test_a_profile_of_real_operations(rng):
    clock = Slow.clock = Clock()
    x = leaf(rng.normal(100))
    with day28.profile(clock) as p:
        y = Slow.apply(Slow.apply(x.exp())).reshape(10, 10)
        with pytest.raises(KeyError):
            Fails.apply(y)
        y.sum().backward()
    Slow.apply(x)
    assert rows_of(p) == {
        "slow": (2, 2.0, 1600), "slow backward": (2, 4.0, 0), "exp": (1, 0.0, 800),
        "exp backward": (1, 0.0, 0), "reshape": (2, 0.0, 0), "reshape backward": (1, 0.0, 0),
        "sum": (1, 0.0, 8), "sum backward": (1, 0.0, 0), "spread": (1, 0.0, 0),
        "mul": (3, 0.0, 2400),
    }, f"the rows are\n{p.table()}"  # fmt: skip


@exercise("Profile")
def test_profiles_of_others(rng):
    """Inside of one another, and in another thread."""
    x = leaf(rng.normal(3))
    with day28.profile() as outer:
        x.exp()
        with day28.profile() as inner:
            x.exp()
        thread = threading.Thread(target=lambda: x.sqrt())
        thread.start()
        thread.join()
        x.sin()
    assert rows_of(outer)["exp"][0] == 2 and rows_of(outer)["sincos"][0] == 1
    assert [row.operator for row in inner.rows()] == ["exp"] and inner.rows()[0].calls == 1
    assert "sqrt" not in rows_of(outer), "another thread's operations were counted"
    assert all(row.time >= 0 for row in outer.rows())


# -- plans -------------------------------------------------------------------------------------


def step(value, *operands, kernel=None):
    return day28.Step(kernel or np.add, operands, value)


def program(arguments, steps, results):
    return day28.Program(arguments, steps, tuple(results), np.dtype(float))


def judge(p, found):
    """Run the plan with names in the place of numbers, and count what has to be kept."""
    needed, kept = {r for r in p.results if isinstance(r, int)}, []
    for s in reversed(p.steps):
        if s.value in needed:
            needed |= {o for o in s.operands if isinstance(o, int)}
            kept.insert(0, s)
    assert list(found.steps) == kept, (
        f"steps for {[s.value for s in found.steps]} are run, where {[s.value for s in kept]} were "
        "due"
    )
    inner = {s.value for s in kept} - {r for r in p.results if isinstance(r, int)}
    assert set(found.places) == inner, (
        f"values {sorted(found.places)} have buffers, where {sorted(inner)} need one"
    )
    assert set(found.places.values()) <= set(range(found.buffers)), "a place is no buffer's number"
    holds = {}
    for s in kept:
        for o in s.operands:
            if isinstance(o, int) and o in found.places:
                assert holds.get(found.places[o]) == o, (
                    f"value {o} is read, and its buffer holds {holds.get(found.places[o])}"
                )
        if s.value in found.places:
            holds[found.places[s.value]] = s.value
    most = 0
    for n in range(len(kept)):
        later = {o for s in kept[n + 1 :] for o in s.operands if isinstance(o, int)}
        most = max(most, len({s.value for s in kept[: n + 1]} & later & inner))
    assert found.buffers <= most, (
        f"{found.buffers} buffers, and there are never more than {most} values to keep"
    )


@exercise("plan")
def test_plans_of_small_programs():
    c = np.array(2.0)
    for name, p in {
        "a chain": program(1, [step(1, 0), step(2, 1), step(3, 2)], [3]),
        "one step": program(1, [step(1, 0)], [1]),
        "nothing": program(2, [], [1, 0]),
        "a constant": program(1, [step(1, 0, c), step(2, 1, c)], [2, c]),
        "the argument is used late": program(1, [step(1, 0), step(2, 1, 0), step(3, 2, 0)], [3]),
        "two at a time": program(1, [step(1, 0), step(2, 0), step(3, 1, 2)], [3]),
        "both end at one step": program(
            1, [step(1, 0), step(2, 0), step(3, 1, 2), step(4, 0), step(5, 3, 4)], [5]),
        "one operand twice": program(
            1, [step(1, 0), step(2, 1, 1), step(3, 0), step(4, 2, 3)], [4]),
        "dead steps": program(1, [step(1, 0), step(2, 0), step(3, 2), step(4, 1), step(5, 4)], [4]),
        "a result that is read": program(1, [step(1, 0), step(2, 1), step(3, 2, 1)], [1, 3]),
        "one result twice": program(1, [step(1, 0), step(2, 1)], [2, 2]),
        "used again much later": program(
            1, [step(1, 0), step(2, 1), step(3, 2), step(4, 3), step(5, 4, 1)], [5]),
    }.items():  # fmt: skip
        before = list(p.steps)
        found = day28.plan(p)
        assert isinstance(found, day28.Plan), name
        assert found.program is p and p.steps == before, f"{name}: the program was changed"
        judge(p, found)


@st.composite
def programs(draw):
    arguments = draw(st.integers(1, 3))
    steps = []
    for value in range(arguments, arguments + draw(st.integers(0, 12))):
        count = draw(st.integers(1, 3))
        steps.append(step(value, *(draw(st.integers(0, value - 1)) for _ in range(count))))
    last = arguments + len(steps) - 1
    results = [draw(st.integers(0, last)) for _ in range(draw(st.integers(1, 3)))]
    return program(arguments, steps, [last, *results])


@exercise("plan")
@settings(max_examples=50)
@given(programs())
def test_plans_of_any_program(p):
    judge(p, day28.plan(p))


@exercise("plan")
def test_a_long_chain():
    p = program(1, [step(i + 1, i) for i in range(3000)], [3000])
    assert day28.plan(p).buffers == 1


# -- running -----------------------------------------------------------------------------------


def planned(p, places=None, buffers=None):
    """A plan made by hand: run does not depend on the exercise before it."""
    results = {r for r in p.results if isinstance(r, int)}
    inner = [s.value for s in p.steps if s.value not in results]
    if places is None:
        places, buffers = {v: i for i, v in enumerate(inner)}, len(inner)
    return day28.Plan(p, p.steps, places, buffers)


def softplus(spy=None):
    """log(1 + e^x) · y, as a program of two arguments, in one buffer."""
    one = np.array(1.0)

    def kernel(f):
        def call(*args, out):
            if spy is not None:
                spy.append((f.__name__, args, out))
            return f(*args, out=out)

        return call

    steps = [
        step(2, 0, kernel=kernel(np.exp)), step(3, 2, one, kernel=kernel(np.add)),
        step(4, 3, kernel=kernel(np.log)), step(5, 4, 1, kernel=kernel(np.multiply)),
    ]  # fmt: skip
    return planned(program(2, steps, [5]), {2: 0, 3: 0, 4: 0}, 1)


@exercise("run")
@pytest.mark.parametrize("block", [1, 3, 4, 1000])
def test_run_of_shapes(block, rng):
    for a, b in [
        ((7,), (7,)), ((), ()), ((1,), ()), ((2, 3), (3,)), ((2, 1), (1, 4)), ((0,), (0,)),
        ((2, 0), (1,)), ((4,), (4,)), ((3, 2, 2), (2, 1)), ((12,), (12,)),
    ]:  # fmt: skip
        x, y = np.array(rng.normal(*a)), np.array(rng.normal(*b))
        found = day28.run(softplus(), [x, y], block)
        assert isinstance(found, list) and len(found) == 1, "a list of one result was due"
        right = np.log(1 + np.exp(x)) * y
        close(
            found[0], np.asarray(right), terms=8, scale=8.0, name=f"{a} and {b}, blocks of {block}"
        )


@exercise("run")
def test_run_of_views(rng):
    base = rng.normal(6, 8)
    y = rng.normal(8)
    for name, x in [
        ("transposed", rng.normal(8, 6).T), ("every second", base[::2, ::-1]),
        ("a column", base[:, :1]), ("expanded", np.broadcast_to(base[0], (3, 8))),
    ]:  # fmt: skip
        found = day28.run(softplus(), [x, y], 5)
        close(found[0], np.log(1 + np.exp(x)) * y, terms=8, scale=8.0, name=name)
        assert not np.may_share_memory(found[0], x)


@exercise("run")
def test_what_is_a_result(rng):
    """Arguments, constants, one value twice, a value that is read further on."""
    x, y = np.array(rng.normal(7)), np.array(rng.normal(7))
    steps = [step(2, 0, kernel=np.exp), step(3, 2, 1, kernel=np.multiply),
             step(4, 3, kernel=np.negative)]  # fmt: skip
    e = np.exp(x)
    for results, rights in [
        ([4, 2], [-e * y, e]), ([2, 4, 2], [e, -e * y, e]), ([0, 4], [x, -e * y]),
        ([4, np.array(2.5)], [-e * y, np.full(7, 2.5)]), ([1, 1], [y, y]),
        ([3, 4, 0, 3], [e * y, -e * y, x, e * y]),
    ]:  # fmt: skip
        found = day28.run(planned(program(2, steps, results)), [x, y], 3)
        for r, got, right in zip(results, found, rights, strict=True):
            close(got, right, terms=4, scale=8.0, name=f"value {r} of {results}")
        for i, a in enumerate(found):
            assert not any(np.may_share_memory(a, b) for b in (*found[:i], x, y)), (
                f"results {results}: one lies on the memory of another one, or of an argument"
            )


@exercise("run")
def test_block_by_block(rng):
    """All steps of a block run before the next block, in the memory that the plan has for them."""
    n, block = 23, 5
    spy = []
    x, y = rng.normal(n), rng.normal(n)
    day28.run(softplus(spy), [x, y], block)
    sizes = [out.size for _, _, out in spy]
    assert max(sizes) <= block, f"a kernel saw {max(sizes)} elements, with blocks of {block}"
    names = [name for name, _, _ in spy]
    assert names == ["exp", "add", "log", "multiply"] * 5, (
        f"the kernels ran in the order {names}, for {n} elements in blocks of {block}"
    )
    buffers = {out.__array_interface__["data"][0] for name, _, out in spy if name != "multiply"}
    assert len(buffers) == 1, f"the plan has one buffer, and {len(buffers)} places were written"
    assert all(isinstance(a, np.ndarray) for _, args, _ in spy for a in args)
    assert all(out.shape == (size,) for (_, _, out), size in zip(spy, sizes, strict=True))


@exercise("run")
def test_memory_of_a_run(rng):
    x, y = rng.normal(LARGE), rng.normal(LARGE)
    found, seen = watch(day28.run, softplus(), [x, y], of="numpy")
    size = found[0].nbytes
    allowed = size + 2 * day28.BLOCK * 8 + 100_000
    assert seen.peak_bytes <= allowed, (
        f"{seen.peak_bytes} bytes for a result of {size} and one buffer of {day28.BLOCK} elements"
    )
    spy = []
    day28.run(softplus(spy), [x, y])
    assert max(out.size for _, _, out in spy) <= day28.BLOCK, "blocks are larger than BLOCK"
    _, seen = watch(day28.run, softplus(), [x[:1], y[:1]], of="numpy")
    assert seen.peak_bytes <= day28.BLOCK * 8 + 100_000


@exercise("run")
def test_run_warns_of_nothing(recwarn):
    with np.errstate(all="warn"):
        found = day28.run(softplus(), [np.array([1000.0, np.inf]), np.array([0.0, 1.0])])
        assert np.geterr()["over"] == "warn", "numpy's settings are not what they were"
    assert not recwarn.list, f"numpy warned: {recwarn.list[0].message}"
    assert np.isnan(found[0][0]) and found[0][1] == np.inf
    single = day28.Program(1, [day28.Step(np.exp, (0,), 1)], (1,), np.dtype(np.float32))
    (found,) = day28.run(planned(single), [np.zeros(3, np.float32)])
    assert found.dtype == np.float32


# -- fusing ------------------------------------------------------------------------------------

CHAINS = {
    "gelu": (lambda x: 0.5 * x * (1 + (0.79788456 * (x + 0.044715 * x * x * x)).tanh()), 1),
    "silu": (lambda x: x / (1 + (-x).exp()), 1),
    "softplus": (lambda x: x.exp().log1p(), 1),
    "powers": (lambda x: (x * x + 1.0) ** -0.5 + x**3 - x**2, 1),
    "waves": (lambda x, y: x.sin() * y.cos() - (x * y).sin(), 2),
    "root": (lambda x, y: (x * x + y * y + 1.0).sqrt(), 2),
    "three": (lambda x, y, z: (x * y + z).tanh() * z, 3),
    "one operation": (lambda x: x.exp(), 1),
    "itself": (lambda x: x, 1),
    "linear": (lambda x, y: 2 * x - y / 4, 2),
    "one argument is not used": (lambda x, y: x * x + 0 * y, 2),
    "the same twice": (lambda x: x * x, 1),
    "relu": (lambda x, y: (x + y).relu() * x, 2),
    "maximum": (lambda x, y: operations.maximum(x * x, y.exp()) * y, 2),
    "power of a power": (lambda x, y: (x * x + 1.0) ** (y * 0.5), 2),
}


def derivatives_of(f, arrays, weights):
    """Value, and three derivatives by all arguments, each along the weights."""
    leaves = [leaf(a) for a in arrays]
    y = f(*leaves)
    found = [y]
    total = (y * leaf(weights[0], False)).sum()
    for order in range(3):
        got = day24.grad(total, leaves, create_graph=order < 2, allow_unused=True)
        found += [leaf(np.zeros(x.shape), False) if g is None else g
                  for x, g in zip(leaves, got, strict=True)]  # fmt: skip
        past = [
            (g, w)
            for g, w in zip(got, weights[1:], strict=True)
            if g is not None and g.requires_grad
        ]
        if not past:
            break
        total = (past[0][0] * leaf(past[0][1], False)).sum()
        for g, w in past[1:]:
            total = total + (g * leaf(w, False)).sum()
    return found


@exercise("gradient_of")
def test_the_backward_as_a_function(rng):
    x, y, g = (np.array(rng.normal(3)) for _ in range(3))
    f = CHAINS["waves"][0]
    for needs in ([True, True], [True, False], [False, True], (False, False)):
        a, b = leaf(x), leaf(y)
        found = day28.gradient_of(f, 2, needs)(a, b, leaf(g, False))
        assert isinstance(found, tuple) and len(found) == sum(needs), (
            f"{len(found)} shares for needs of {needs}"
        )
        t, u = twin(x), twin(y)
        right = torch.autograd.grad((f(t, u) * twin(g, False)).sum(), [t, u])
        right = tuple(r for r, n in zip(right, needs, strict=True) if n)
        same(found, right, f"shares, needs {needs}", past=True)
        assert a.grad is None and b.grad is None, "a grad changed"


@exercise("gradient_of")
def test_the_backward_of_several_results(rng):
    x, y, g, h = (np.array(rng.normal(3)) for _ in range(4))

    def f(a, b):
        return (a * b).exp(), a * a, b.detach() * 2.0

    given = [leaf(g), leaf(h), leaf(g)]
    found = day28.gradient_of(f, 2, (True, True))(leaf(x), leaf(y), *given)
    e = np.exp(x * y)
    same(found, (torch.tensor(g * e * y + 2 * h * x), torch.tensor(g * e * x)), "shares", past=True)
    of_g, of_h = day24.grad(found[0].sum(), given[:2])
    close(of_g.data, e * y, terms=8, scale=8.0 * (1 + e), name="derivative by the gradient")
    close(of_h.data, 2 * x, terms=8, scale=8.0, name="derivative by the second gradient")


@exercise("gradient_of")
def test_where_nothing_depends(rng):
    x, y, g = (leaf(rng.normal(3)) for _ in range(3))
    single = leaf([1.0], kind="float32")
    for f in (lambda a, b: a * a, lambda a, b: a * a + b.detach()):
        of_x, of_y = day28.gradient_of(f, 2, [True, True])(x, y, g)
        assert isinstance(of_y, day28.Tensor) and of_y.shape == () and of_y.item() == 0.0, (
            f"the share of what is not used is {of_y}"
        )
        close(of_x.data, 2 * x.data * g.data, terms=2, scale=8.0, name="share of what is used")
    (none,) = day28.gradient_of(lambda a: a.detach(), 1, [True])(single, single)
    assert (none.shape, none.dtype) == ((), np.float32), f"a zero of {none.shape} and {none.dtype}"


@exercise("gradient_of")
def test_the_backward_of_a_backward(rng):
    x, g, h = (np.array(rng.normal(3)) for _ in range(3))
    first = day28.gradient_of(lambda x: x * x * x, 1, [True])
    second = day28.gradient_of(first, 2, [True, True])
    found = second(leaf(x), leaf(g), leaf(h))
    same(found, (torch.tensor(6 * x * g * h), torch.tensor(3 * x * x * h)), "shares of shares",
         past=True)  # fmt: skip


@exercise("jit_fuse")
@pytest.mark.parametrize("name", CHAINS)
def test_fused_equals_unfused(name, rng):
    f, count = CHAINS[name]
    for shapes in [
        [(5,)] * count, [(2, 3), (3,), (2, 1)][:count], [(1, 3), (2, 1), ()][:count],
        [()] * count, [(0, 3), (3,), ()][:count],
    ]:  # fmt: skip
        arrays = [np.array(rng.normal(*s)) for s in shapes]
        out = np.broadcast_shapes(*shapes)
        weights = [np.array(rng.normal(*s)) for s in (out, *shapes)]
        rights = derivatives_of(f, arrays, weights)
        found = derivatives_of(day28.jit_fuse(f), arrays, weights)
        for n, right in enumerate(rights):
            got = found[n] if n < len(found) else leaf(np.zeros(right.shape), False)
            size = 256.0 * (1 + abs(right.data).max(initial=0))
            what = (
                "value"
                if n == 0
                else f"derivative {(n - 1) // count + 1} by argument {(n - 1) % count}"
            )
            close(got.data, right.data, terms=64, scale=size, name=f"{name}, {shapes}: {what}")


@exercise("jit_fuse")
def test_fused_views_and_dtypes(rng):
    f, _ = CHAINS["silu"]
    fast = day28.jit_fuse(f)
    base = leaf(rng.normal(4, 6))
    for name, x in [("transposed", base.T), ("every second", base[::2, ::3]),
                    ("expanded", base[:1].expand(3, 6))]:  # fmt: skip
        close(fast(x).data, f(x).data, terms=8, scale=4.0, name=name)
    single = leaf(rng.normal(5), kind="float32")
    y = fast(single)
    assert y.dtype == np.float32, f"a chain of float32 gave {y.dtype}"
    close(y.data, f(single).data.astype(np.float64), dtype=np.float32, terms=8, scale=4.0,
          name="float32")  # fmt: skip
    y.sum().backward()
    assert single.grad.dtype == np.float32
    big = leaf([1000.0, -1000.0])
    with np.errstate(all="raise"):
        assert np.array_equal(fast(big).data, [1000.0, 0.0])


@exercise("jit_fuse")
def test_several_results(rng):
    def f(x, y):
        e = x.exp()
        return e * y, e, x

    x, y = np.array(rng.normal(2, 3)), np.array(rng.normal(3))
    both = []
    for g in (f, day28.jit_fuse(f)):
        a, b = leaf(x), leaf(y)
        found = g(a, b)
        assert isinstance(found, tuple) and len(found) == 3
        day24.backward(list(found), [np.ones((2, 3)), np.full((2, 3), 2.0), np.full((2, 3), 4.0)])
        both.append([*(t.data for t in found), a.grad.data, b.grad.data])
    for name, right, got in zip(("1", "2", "3", "x.grad", "y.grad"), *both, strict=True):
        close(got, right, terms=16, scale=16.0 * (1 + abs(right).max()), name=f"result {name}")
    (one,) = day28.jit_fuse(lambda x: (x * 2.0,))(leaf(x))
    assert one.shape == (2, 3)


@exercise("jit_fuse")
def test_one_node_and_what_it_keeps(rng):
    x, y = leaf(rng.normal(100)), leaf(rng.normal(100))
    f = CHAINS["three"][0]
    z = day28.jit_fuse(f)(x, y, y)
    nodes = [n for n in day24.dependencies([z.node]) if not isinstance(n, day22.Tensor)]
    assert len(nodes) == 1, f"{len(nodes)} nodes for the whole chain"
    assert set(z.node.parents) == {x, y}
    assert day23.saved_bytes(z) == 1600, f"{day23.saved_bytes(z)} bytes kept for two arguments"
    z = day28.jit_fuse(f)(x, y.detach(), y.detach())
    z.sum().backward()
    assert y.grad is None and x.grad is not None
    with day26.no_grad():
        assert not day28.jit_fuse(f)(x, y, y).requires_grad


@exercise("jit_fuse")
def test_memory_of_a_fused_chain(rng):
    """Three times the result, buffers included, where each operation has an array of its own."""
    f, _ = CHAINS["gelu"]
    fast = day28.jit_fuse(f)
    x = leaf(rng.normal(LARGE))
    fast(leaf([1.0])).backward([1.0])
    size = LARGE * 8

    def both(g):
        x.grad = None
        g(x).backward(np.broadcast_to(1.0, x.shape))

    _, seen = watch(fast, x, of="numpy")
    assert seen.peak_bytes <= 1.5 * size, (
        f"forward: {seen.peak_bytes / size:.1f} times the bytes of the result"
    )
    _, fused = watch(both, fast, of="numpy")
    _, apart = watch(both, f, of="numpy")
    assert fused.peak_bytes <= 0.6 * apart.peak_bytes, (
        f"forward and back: {fused.peak_bytes / size:.1f} times the bytes of the result, and "
        f"{apart.peak_bytes / size:.1f} without fusing"
    )
    with day28.profile() as p:
        both(fast)
    counts = rows_of(p)
    assert counts["fused"][0] == 2, f"forward and gradient are a pass each:\n{p.table()}"


@exercise("jit_fuse")
def test_f_is_called_once(rng):
    calls = []

    def f(x, y):
        """What f does."""
        calls.append((x.shape, x.dtype))
        return x * y

    fast = day28.jit_fuse(f)
    assert not calls, "f was called before anybody called the result"
    assert (fast.__name__, fast.__doc__) == ("f", "What f does."), "f's name or docs are lost"
    for n in range(1, 6):
        fast(leaf(rng.normal(n)), leaf(rng.normal(n)))
    assert len(calls) == 1, f"f was called {len(calls)} times in five calls"
    for n in range(1, 6):
        fast(leaf(rng.normal(n)), leaf(rng.normal(n))).sum().backward()
    assert len(calls) == 2, f"f was called {len(calls) - 1} times for five backwards"
    fast(leaf([1.0], kind="float32"), leaf([1.0], kind="float32"))
    assert len(calls) == 3 and calls[-1][1] == np.float32, "another dtype is another program"


@exercise("jit_fuse")
def test_fused_inside_of_fused(rng):
    inner = day28.jit_fuse(CHAINS["silu"][0])
    x = leaf(rng.normal(5))
    y = day28.jit_fuse(lambda x: inner(x) * inner(2 * x))(x)
    right = CHAINS["silu"][0](x) * CHAINS["silu"][0](2 * x)
    close(y.data, right.data, terms=16, scale=8.0, name="a fused function of fused functions")
    nodes = [n for n in day24.dependencies([y.node]) if not isinstance(n, day22.Tensor)]
    assert len(nodes) == 1, f"{len(nodes)} nodes for the whole chain"


@exercise("jit_fuse")
def test_a_fused_function_and_the_rest_of_the_engine(rng):
    fast = day28.jit_fuse(CHAINS["three"][0])
    x, y, z = (leaf(rng.normal(3)) for _ in range(3))
    assert day28.gradcheck(fast, (x, y, z)) and day28.gradgradcheck(fast, (x, y, z))
    out = fast(x, y, z).sum()
    with day26.no_grad():
        y.mul_(2.0)
    with pytest.raises(RuntimeError):
        out.backward()
        pytest.fail("an argument was changed in place, and a gradient was computed from it")
    out = fast(x, y, z).sum()
    out.backward()
    with pytest.raises(RuntimeError):
        out.backward()
        pytest.fail("a second backward of a freed node went through")


@exercise("jit_fuse")
def test_what_cannot_be_fused(rng):
    x, w = leaf(rng.normal(2, 3)), leaf(rng.normal(2, 3))
    for name, f in {
        "sum": lambda x: x * x.sum(), "matmul": lambda x: x @ x, "clone": lambda x: x.clone(),
        "reshape": lambda x: x.reshape(-1) * 2, "softmax": lambda x: x.softmax(0),
        "to": lambda x: x.to(np.float32),
    }.items():  # fmt: skip
        refused(day28.jit_fuse(f), x, what=f"a function with {name}", names=[name])
    for name, f in {
        "another tensor": lambda x: x * w, "another tensor, first": lambda x: w * x,
        "another tensor without axes": lambda x: x * leaf(2.0, False),
        "a decision": lambda x: x * 2 if x > 0 else x,
        "a value": lambda x: x * x.item(), "a comparison": lambda x: operations.where(x > 0, x, 0),
        "another tensor as its result": lambda x: w, "an index": lambda x: x[0] * x,
    }.items():  # fmt: skip
        refused(day28.jit_fuse(f), x, what=f"a function with {name}")
    product = day28.jit_fuse(lambda x, y: x * y)
    refused(day28.jit_fuse(lambda x: product(x, w)), x, what="another tensor, in a fused function",
            names=["mul"])  # fmt: skip
    assert issubclass(day28.Unfusable, ValueError)
    fast = day28.jit_fuse(lambda x: x * w)
    for _ in range(2):
        refused(fast, x, what="a function with another tensor, in a second call")
    close(day28.jit_fuse(lambda x: x * 2.0)(x).data, 2 * x.data, name="after something was refused")


@exercise("jit_fuse")
def test_arguments_that_are_refused(rng):
    fast = day28.jit_fuse(lambda *xs: xs[0] * 2.0)
    x, single = leaf(rng.normal(3)), leaf([1.0], kind="float32")
    for args in ((2.0,), (x, 2.0), (np.ones(3),), ()):
        with pytest.raises(TypeError):
            fast(*args)
            pytest.fail(f"arguments {args}: a TypeError was due")
    refused(fast, x, single, what="float64 and float32", names=["float64", "float32"])
    whole = leaf([1, 2], False, kind=None)
    refused(fast, whole, what="integers", names=["int64"])


@exercise("jit_fuse")
def test_no_value_is_taken_for_a_constant(rng):
    """What depends on an argument is computed anew from every argument."""
    f, _ = CHAINS["maximum"]
    fast = day28.jit_fuse(f)
    for sign in (1.0, -1.0):
        x, y = leaf(sign * np.array(rng.normal(4))), leaf(sign * np.array(rng.normal(4)))
        a, b = leaf(x.data), leaf(y.data)
        fast(x, y).sum().backward()
        f(a, b).sum().backward()
        close(x.grad.data, a.grad.data, terms=8, scale=16.0 * (1 + abs(a.grad.data)), name="x.grad")
        close(y.grad.data, b.grad.data, terms=8, scale=16.0 * (1 + abs(b.grad.data)), name="y.grad")
