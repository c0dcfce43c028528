"""Day 18: torch's axes, dtypes and empty cases, and the share of each element that became one."""

import math
import re
import warnings
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.testing import close, exercise
from tracks.autodiff import day18 as day


def all_axes(t, dim):
    dims = (dim,) if isinstance(dim, int) else tuple(dim or ())
    return sorted({d % max(t.ndim, 1) for d in dims or range(t.ndim)})


def torch_prod(t, dim, keepdim):
    """torch.prod over several axes: one after the other."""
    if t.ndim == 0:
        return t.prod()
    for axis in reversed(all_axes(t, dim)):
        t = t.prod(axis, keepdim)
    return t


TORCH = {
    "sum": lambda t, dim, keepdim: torch.sum(t, dim, keepdim),
    "mean": lambda t, dim, keepdim: torch.mean(t, dim, keepdim),
    # torch 2.13's own gradient of var with dim=() divides by 1 - correction
    "var": lambda t, dim, keepdim: torch.var(t, None if dim == () else dim, keepdim=keepdim),
    "amax": lambda t, dim, keepdim: torch.amax(t, () if dim is None else dim, keepdim),
    "amin": lambda t, dim, keepdim: torch.amin(t, () if dim is None else dim, keepdim),
    "prod": torch_prod,
    "norm": lambda t, dim, keepdim: torch.linalg.vector_norm(t, 2, dim, keepdim),
}


def ours(name):
    f = getattr(day, name)
    if name == "norm":
        return lambda x, dim, keepdim: f(x, 2, dim, keepdim)
    if name == "var":
        return lambda x, dim, keepdim: f(x, dim, keepdim=keepdim)
    return f


CASES = [
    ((5,), None), ((5,), 0), ((2, 3), -1), ((2, 3), 0), ((2, 3), None), ((2, 3), (0, 1)),
    ((2, 3, 4), 1), ((2, 3, 4), -3), ((2, 3, 4), (0, 2)), ((2, 3, 4), (-1, 0)),
    ((2, 3, 4), (1, -1)), ((2, 3, 4), ()), ((2, 3, 4), [1]), ((3, 1, 2), (2, 0)),
    ((2, 2, 2, 2), (3, 1)),
]  # fmt: skip
ZERO_D = [((), None), ((), 0), ((), -1), ((), (0,)), ((), ())]
EMPTY_RESULT = [((0, 3), 1), ((2, 0, 3), 2), ((2, 0, 3), (0, -1)), ((0, 0), 0)]
NOTHING = [((0,), None), ((0, 3), 0), ((2, 0, 3), (0, 1)), ((0, 3), None)]


@contextmanager
def no_warning(name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            yield
        except RuntimeWarning as warning:
            pytest.fail(f"{name}: numpy warned, {warning}")


def check(name, mine, theirs, rng, x, scale=8.0, tensor=None):
    """Values and gradients of ``mine(tensor)`` against ``theirs(torch tensor)``, in float64."""
    x = np.array(x)
    leaf = day.Tensor(x, requires_grad=True)
    twin = torch.tensor(x, requires_grad=True)
    view = tensor or (lambda t: t)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns of a divisor of 0
        wanted = theirs(view(twin))
    with no_warning(name):
        result = mine(view(leaf))
    assert result.shape == tuple(wanted.shape), (
        f"{name}: the shape came out {result.shape}, torch makes it {tuple(wanted.shape)}"
    )
    assert isinstance(result.data, np.ndarray), f"{name}: the data are no array"
    close(result.data, wanted.detach().numpy(), terms=x.size + 4, scale=scale, name=name)
    g = np.array(rng.normal(*result.shape))
    before = g.copy()
    with no_warning(f"{name}, backward"):
        result.backward(g)
    wanted.backward(torch.tensor(g))
    assert leaf.grad is not None, f"{name}: no gradient arrived"
    close(leaf.grad.data, twin.grad.numpy(), terms=x.size + 4, scale=4 * scale,
          name=f"{name}: gradient")  # fmt: skip
    close(g, before, name=f"{name}: the gradient that came in")
    close(leaf.data, x, name=f"{name}: the operand")
    return result


def reduction(name, rng, cases):
    for shape, dim in cases:
        for keepdim in (False, True):
            result = check(
                f"{name} of {shape}, dim={dim}, keepdim={keepdim}",
                lambda t: ours(name)(t, dim, keepdim),  # noqa: B023
                lambda t: TORCH[name](t, dim, keepdim),  # noqa: B023
                rng,
                rng.normal(*shape),
            )
            assert result.op == name, f"the op of {name} is {result.op!r}"


def strided(name, rng):
    """Transposed and expanded operands, and a gradient that is not contiguous."""
    check(f"{name} of a transposed tensor", lambda t: ours(name)(t, 0, False),
          lambda t: TORCH[name](t, 0, False), rng, rng.normal(2, 3, 4),
          tensor=lambda t: t.transpose(0, 2))  # fmt: skip
    check(f"{name} of an expanded tensor", lambda t: ours(name)(t, (0, 1), False),
          lambda t: TORCH[name](t, (0, 1), False), rng, rng.normal(2, 1, 2),
          tensor=lambda t: t.expand(3, 2, 4, 2))  # fmt: skip
    check(f"{name}, then a transpose", lambda t: ours(name)(t, 1, False).T,
          lambda t: TORCH[name](t, 1, False).T, rng, rng.normal(2, 3, 4))  # fmt: skip


def hands_zeros_on(name, x):
    """A gradient of 0 meets inf and nan in the formula: nan, as in torch."""
    leaf, twin = day.Tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    with np.errstate(all="ignore"):
        ours(name)(leaf, -1, False).backward(np.zeros(len(x)))
    TORCH[name](twin, -1, False).backward(torch.zeros(len(x), dtype=torch.float64))
    right = twin.grad.numpy()
    assert np.array_equal(leaf.grad.data, right, equal_nan=True), (
        f"{name} of {x.tolist()}: g = 0, gradients {leaf.grad.tolist()} where torch has "
        f"{right.tolist()}"
    )


def refuses_axes(name, rng):
    f = ours(name)
    for shape, dim, error in [
        ((2, 3), 2, IndexError), ((2, 3), -3, IndexError), ((2, 3), (0, 5), IndexError),
        ((), 1, IndexError), ((2, 3), (0, -2), ValueError),
    ]:  # fmt: skip
        with pytest.raises(error) as refusal:
            found = f(day.Tensor(rng.normal(*shape)), dim, False)
            pytest.fail(f"{name} of {shape} along {dim} gave {found}: {error.__name__} was due")
        assert name in str(refusal.value), f"which operation? {refusal.value}"


def refuses_integers(name):
    for kind in ("int64", "bool", "uint8"):
        with pytest.raises(TypeError) as refusal:
            found = ours(name)(day.Tensor(np.ones(3, kind)), None, False)
            pytest.fail(f"{name} of {kind} gave {found}: a TypeError was due")
        message = str(refusal.value)
        assert name in message and kind in message, f"of which dtype? {message}"


def rounds_once(name, rng, x, dims=(0,)):
    """float16 and float32 stay what they are; float16 is rounded at the end, not on the way."""
    for kind in ("float16", "float32"):
        data = np.array(x).astype(kind)
        for dim in dims:
            leaf = day.Tensor(data, requires_grad=True)
            twin = torch.tensor(data.astype(np.float64), requires_grad=True)
            result, wanted = ours(name)(leaf, dim, False), TORCH[name](twin, dim, False)
            what = f"{name} of {kind} {data.shape} along {dim}"
            largest = np.abs(data.astype(np.float64)).max()
            close(result.data, wanted.detach().numpy(), dtype=np.dtype(kind), terms=8,
                  scale=largest, name=what)  # fmt: skip
            g = np.ones(result.shape, kind)
            result.backward(g)
            wanted.backward(torch.tensor(g.astype(np.float64)))
            close(leaf.grad.data, twin.grad.numpy(), dtype=np.dtype(kind), terms=8, scale=1.0,
                  name=f"{what}: gradient")  # fmt: skip


def wants_no_gradient(name, rng):
    x = day.Tensor(rng.normal(2, 3))
    assert not ours(name)(x, None, False).requires_grad, f"{name} of what requires no gradient"

    class Later(day.Tensor):
        __slots__ = ()

    found = type(ours(name)(Later(rng.normal(2, 3)), 1, False))
    assert found is Later, f"{name} of a Later is a {found.__name__}"


# -- axes --------------------------------------------------------------------------------------


@exercise("axes_of")
@pytest.mark.parametrize(
    ("dim", "axes", "right"),
    [
        (0, 3, (0,)), (-1, 3, (2,)), (-3, 3, (0,)), ((0, 2), 3, (0, 2)), ((-1, 0), 3, (2, 0)),
        ([1], 2, (1,)), (range(2), 3, (0, 1)), (None, 3, (0, 1, 2)), ((), 3, (0, 1, 2)),
        ([], 1, (0,)), (None, 0, ()), ((), 0, ()), (0, 0, ()), (-1, 0, ()), ((0,), 0, ()),
    ],
    ids=str,
)  # fmt: skip
def test_axes_of(dim, axes, right):
    found = day.axes_of(dim, axes, "sum")
    assert found == right, f"of {axes} axes dim={dim} names {right}, not {found}"


@exercise("axes_of")
@pytest.mark.parametrize(
    ("dim", "axes"), [(3, 3), (-4, 3), ((0, 3), 3), (1, 0), (-2, 0), ((0, 1), 0)], ids=str
)
def test_axes_of_refuses_what_is_not_there(dim, axes):
    with pytest.raises(IndexError) as refusal:
        found = day.axes_of(dim, axes, "median")
        pytest.fail(f"of {axes} axes dim={dim} gave {found}: an IndexError was due")
    assert "median" in str(refusal.value), f"which operation? {refusal.value}"


@exercise("axes_of")
@pytest.mark.parametrize(
    ("dim", "axes"), [((1, 1), 3), ((0, -3), 3), ((0, 1, -1), 2), ((0, -1), 0)], ids=str
)
def test_axes_of_refuses_doubles(dim, axes):
    with pytest.raises(ValueError) as refusal:
        found = day.axes_of(dim, axes, "median")
        pytest.fail(f"of {axes} axes dim={dim} gave {found}: a ValueError was due")
    message = str(refusal.value)
    assert "median" in message and all(str(d) in message for d in dim), f"which? {message}"


def check_unreduce(shape, axes):
    kept = [1 if i in axes else n for i, n in enumerate(shape)]
    right = np.broadcast_to(np.arange(1.0, 1.0 + math.prod(kept)).reshape(kept), shape)
    reduced = np.arange(1.0, 1.0 + math.prod(kept))
    for size in (kept, [n for i, n in enumerate(shape) if i not in axes]):
        small = reduced.reshape(size)
        what = f"{small.shape} read as {shape}, with axes {tuple(axes)} back"
        found = day.unreduce(small, shape, tuple(axes))
        close(found, right, name=what)
        if right.size:
            assert np.shares_memory(found, small), f"{what}: elements were copied"


@exercise("unreduce")
@pytest.mark.parametrize(
    "shape, axes",
    [
        ((2, 3), (1,)), ((2, 3), (0,)), ((2, 3), (1, 0)), ((2, 3, 4), (1,)), ((2, 3), ()),
        ((0, 3), (0,)), ((2, 0), (1,)), ((2, 0), (0,)), ((), ()),
    ],
)  # fmt: skip
def test_unreduce(shape, axes):
    check_unreduce(shape, axes)


@exercise("unreduce")
@settings(max_examples=60)
@given(shape=st.lists(st.integers(0, 3), max_size=4).map(tuple), data=st.data())
def test_unreduce_of_any_shape(shape, data):
    axes = tuple(i for i in range(len(shape)) if data.draw(st.booleans()))
    check_unreduce(shape, data.draw(st.permutations(axes)))


@exercise("unreduce")
def test_unreduce_keeps_the_dtype():
    for kind in (np.float16, np.float32, np.bool_):
        found = day.unreduce(np.ones((2,), kind), (2, 3), (1,)).dtype
        assert found == kind, f"{kind.__name__} became {found}"


# -- sum, mean, var ----------------------------------------------------------------------------


@exercise("sum")
def test_sum(rng):
    reduction("sum", rng, CASES + ZERO_D)
    reduction("sum", rng, EMPTY_RESULT + NOTHING)


@exercise("sum")
def test_sum_in_general(rng):
    strided("sum", rng)
    refuses_axes("sum", rng)
    wants_no_gradient("sum", rng)


@exercise("sum")
def test_sums_of_halves_are_rounded_once(rng):
    ones = np.ones((4096, 2), np.float16)
    for x, dim in [(ones, 0), (ones.T, 1), (ones, None)]:
        found = day.sum(day.Tensor(x), dim)
        right = x.astype(np.float64).sum(dim)
        assert found.dtype == np.float16, f"float16 became {found.dtype}"
        close(found.data, right, dtype=np.float16, name=f"sum of float16 ones {x.shape}, {dim}")
    rounds_once("sum", rng, rng.normal(5, 3), dims=(0, 1, None))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        large = day.sum(day.Tensor(np.full(4, 60000, np.float16)))
    assert large.item() == math.inf, f"240000 in float16 is inf, not {large.item()}"


@exercise("sum")
def test_sums_of_integers_are_int64():
    for kind, n in [("bool", 1), ("uint8", 200), ("int32", 2**31 - 1), ("int64", 2**40)]:
        found = day.sum(day.Tensor(np.full((2, 3), n, kind)), 1)
        assert found.dtype == np.int64, f"the sum of {kind} is {found.dtype}; torch has int64"
        assert found.tolist() == [3 * n] * 2, f"three times {n} ({kind}) is {found.tolist()}"


@exercise("mean")
def test_mean(rng):
    reduction("mean", rng, CASES + ZERO_D)
    reduction("mean", rng, EMPTY_RESULT + NOTHING)


@exercise("mean")
def test_mean_in_general(rng):
    strided("mean", rng)
    refuses_axes("mean", rng)
    refuses_integers("mean")
    wants_no_gradient("mean", rng)
    rounds_once("mean", rng, rng.normal(5, 3), dims=(0, 1, None))
    found = day.mean(day.Tensor(np.full((3, 2), 60000, np.float16)), 0)
    close(found.data, np.full(2, 60000.0), dtype=np.float16, name="mean of large float16 numbers")


@exercise("var")
def test_var(rng):
    reduction("var", rng, CASES)
    reduction("var", rng, [((4, 0), 0), ((2, 0, 3), 2), ((0,), None), ((0, 3), 0)])


@exercise("var")
@pytest.mark.parametrize("correction", [0, 1, 2, 0.5])
def test_corrections(correction, rng):
    for dim in (None, 0, (1, 0)):
        check(
            f"var along {dim}, correction={correction}",
            lambda t: day.var(t, dim, correction=correction),  # noqa: B023
            lambda t: torch.var(t, dim, correction=correction),  # noqa: B023
            rng,
            rng.normal(4, 3),
        )


@exercise("var")
def test_too_few_for_a_variance(rng):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for n, correction, right in [(1, 1, math.nan), (2, 2, math.inf), (2, 3, math.inf)]:
            x = day.Tensor(np.arange(float(n)), requires_grad=True)
            found = day.var(x, correction=correction)
            close(found.data, np.array(right), name=f"var of {n}, correction={correction}")
            if n == 1:
                found.backward()
                close(x.grad.data, np.array([math.nan]), name="gradient of the var of one")
    check("var of one number, correction=0", lambda t: day.var(t, 0, correction=0),
          lambda t: torch.var(t, 0, correction=0), rng, rng.normal())  # fmt: skip


@exercise("var")
def test_a_large_mean_costs_no_digits(rng):
    x = (rng.normal(200, 3) + 10000).astype(np.float32)
    leaf = day.Tensor(x, requires_grad=True)
    twin = torch.tensor(x.astype(np.float64), requires_grad=True)
    result, wanted = day.var(leaf, 0), torch.var(twin, 0)
    # the mean is off by some roundings of 10000; the squares of that are all that may be wrong
    close(result.data, wanted.detach().numpy(), dtype=np.float32, terms=200, scale=4.0,
          name="var of numbers around 10000, float32")  # fmt: skip


@exercise("var")
def test_var_in_general(rng):
    strided("var", rng)
    refuses_axes("var", rng)
    refuses_integers("var")
    wants_no_gradient("var", rng)
    rounds_once("var", rng, rng.normal(5, 3), dims=(0, 1, None))
    x = np.array([[300.0, -300.0], [1.0, 2.0]]).T
    found = day.var(day.Tensor(x.astype(np.float16)), 0, correction=1)
    close(found.data, np.array([np.inf, 0.5]), dtype=np.float16, name="180000 in float16")
    found = day.var(day.Tensor(np.array([500.0, 0, 0, 0, 0, 0, 0, 0], np.float16)))
    close(found.data, np.array(31250.0), dtype=np.float16, name="squares beyond float16")
    hands_zeros_on("var", np.array([[1.0, np.inf, 2.0], [np.nan, 1.0, 1.0], [1.0, 2.0, 4.0]]))


# -- the largest -------------------------------------------------------------------------------


@exercise("amax")
@pytest.mark.parametrize("name", ["amax", "amin"])
def test_amax(name, rng):
    reduction(name, rng, CASES + ZERO_D)
    reduction(name, rng, EMPTY_RESULT[:-1])
    strided(name, rng)
    refuses_axes(name, rng)
    wants_no_gradient(name, rng)


@exercise("amax")
@pytest.mark.parametrize("name", ["amax", "amin"])
@pytest.mark.parametrize("dim", [0, 1, (0, 1), None], ids=str)
def test_equals_share(name, dim, rng):
    x = rng.integers(0, 3, 4, 6).astype(np.float64)
    for keepdim in (False, True):
        check(f"{name} with ties along {dim}", lambda t: ours(name)(t, dim, keepdim),  # noqa: B023
              lambda t: TORCH[name](t, dim, keepdim), rng, x)  # fmt: skip # noqa: B023


@exercise("amax")
@pytest.mark.parametrize("name", ["amax", "amin"])
def test_amax_of_every_dtype(name, rng):
    for kind in ("bool", "uint8", "int64", "float16", "float32"):
        x = (rng.normal(3, 4) * 3).astype(kind)
        found = ours(name)(day.Tensor(x), 1, False)
        close(
            found.data, getattr(np, name)(x, axis=1), dtype=np.dtype(kind), name=f"{name}, {kind}"
        )
    x = day.Tensor([[1.0, np.nan], [-np.inf, np.inf]], requires_grad=True)
    right = [math.nan, math.inf if name == "amax" else -math.inf]
    found = ours(name)(x, 1, False)
    close(found.data, np.array(right), dtype=np.float32, name=f"{name} of nan")
    with no_warning(f"{name} of nan, backward"):
        found.backward(np.ones(2, np.float32))
    half = day.Tensor(np.array([1, 2, 2, 2], np.float16), requires_grad=True)
    day.amax(half).backward()
    close(half.grad.data, np.array([0, 1, 1, 1]) / 3, dtype=np.float16, name="thirds in float16")


def refuses_nothing(name, f, cases):
    for shape, dim in cases:
        with pytest.raises(ValueError) as refusal:
            found = f(day.Tensor(np.zeros(shape)), dim)
            pytest.fail(f"{name} of {shape} along {dim} gave {found}: a ValueError was due")
        message = str(refusal.value)
        named = re.search(rf"\b{name}\b", message) and all(str(n) in message for n in shape)
        assert named, f"which operation, which shape? {message}"


@exercise("amax")
def test_there_is_no_largest_of_nothing():
    for name in ("amax", "amin"):
        refuses_nothing(name, getattr(day, name), [*NOTHING, ((0, 0), 0), ((2, 0), -1)])


@exercise("argmax")
@pytest.mark.parametrize("name", ["argmax", "argmin"])
def test_argmax(name, rng):
    f, wanted = getattr(day, name), getattr(torch, name)
    for shape, dim in [((5,), 0), ((5,), None), ((3, 4), 0), ((3, 4), -1), ((3, 4), None),
                       ((2, 3, 4), 1), ((2, 3, 4), -3), ((), None), ((), 0), ((), -1),
                       ((0, 3), 1), ((2, 0, 3), -1), ((1, 1), None)]:  # fmt: skip
        for x in (rng.normal(*shape), np.array(rng.integers(0, 2, *shape))):
            for keepdim in (False, True):
                what = f"{name} of {shape} {x.dtype}, dim={dim}, keepdim={keepdim}"
                operand = day.Tensor(x.copy())
                found = f(operand, dim, keepdim)
                right = wanted(torch.tensor(x), dim, keepdim).numpy()
                assert isinstance(found, day.Tensor), f"{what} gave a {type(found).__name__}"
                close(operand.data, x, name=f"{what}: the operand afterwards")
                close(found.data, right, dtype=np.int64, name=what)
    x = day.Tensor(rng.normal(3, 4), requires_grad=True)
    assert not f(x, 0).requires_grad, f"{name} has no gradient"
    found = f(x.T, 0)
    close(found.data, f(x, 1).data, name=f"{name} of a transposed tensor")
    found = f(day.Tensor([1.0, np.nan, -2.0, np.nan]))
    assert found.item() == 1, f"{name} of [1, nan, -2, nan] is {found.item()}: where is the nan?"


@exercise("argmax")
def test_argmax_refuses(rng):
    for name in ("argmax", "argmin"):
        f = getattr(day, name)
        refuses_nothing(name, f, [((0,), None), ((0, 3), 0), ((0, 0), 0), ((2, 0), -1)])
        for dim in (2, -3):
            with pytest.raises(IndexError) as refusal:
                found = f(day.Tensor(rng.normal(2, 3)), dim)
                pytest.fail(f"{name} of (2, 3) along {dim} gave {found}: an IndexError was due")
            assert name in str(refusal.value), f"which operation? {refusal.value}"


@exercise("max")
@pytest.mark.parametrize("name", ["max", "min"])
def test_max_along_an_axis(name, rng):
    f, wanted = getattr(day, name), getattr(torch, name)
    for shape, dim in [((5,), 0), ((3, 4), 0), ((3, 4), -1), ((2, 3, 4), 1), ((2, 3, 4), -3),
                       ((2, 3, 4), 2), ((), 0), ((), -1), ((0, 3), 1), ((2, 0, 3), 0),
                       ((1, 1), 0)]:  # fmt: skip
        for x in (rng.normal(*shape), np.array(rng.integers(0, 2, *shape)).astype(np.float64)):
            for keepdim in (False, True):
                what = f"{name} of {shape}, dim={dim}, keepdim={keepdim}"
                result = check(what, lambda t: f(t, dim, keepdim).values,  # noqa: B023
                               lambda t: wanted(t, dim, keepdim).values, rng, x)  # fmt: skip # noqa: B023
                assert result.op == name, f"the op of {name} is {result.op!r}"
                values, indices = f(day.Tensor(x, requires_grad=True), dim, keepdim)
                right = wanted(torch.tensor(x), dim, keepdim).indices.numpy()
                close(indices.data, right, dtype=np.int64, name=f"indices of {what}")
                assert not indices.requires_grad and values.requires_grad


@exercise("max")
@pytest.mark.parametrize("name", ["max", "min"])
def test_max_in_general(name, rng):
    f, wanted = getattr(day, name), getattr(torch, name)
    check(f"{name} of a transposed tensor", lambda t: f(t, 0).values,
          lambda t: wanted(t, 0).values, rng, rng.normal(2, 3, 4),
          tensor=lambda t: t.transpose(0, 2))  # fmt: skip
    check(f"{name} of all, with ties", lambda t: f(t), lambda t: wanted(t), rng,
          rng.integers(0, 2, 3, 4).astype(np.float64))  # fmt: skip
    x = np.array([[1.0, np.nan, 3.0], [np.nan, np.nan, 2.0]])
    check(f"{name} of nan", lambda t: f(t, 1).values, lambda t: wanted(t, 1).values, rng, x)
    for kind in ("bool", "uint8", "float16"):
        data = np.array([[0, 1, 1], [1, 0, 0]], kind)
        values, indices = f(day.Tensor(data), 1)
        close(values.data, getattr(np, name)(data, axis=1), dtype=np.dtype(kind),
              name=f"{name}, {kind}")  # fmt: skip
        close(indices.data, getattr(np, f"arg{name}")(data, axis=1), name=f"indices, {kind}")
    refuses_nothing(name, f, [((0, 3), 0), ((0,), -1), ((0, 0), 0)])
    for dim in (2, -3):
        with pytest.raises(IndexError) as refusal:
            found = f(day.Tensor(rng.normal(2, 3)), dim)
            pytest.fail(f"{name} of (2, 3) along {dim} gave {found}: an IndexError was due")
        assert name in str(refusal.value), f"which operation? {refusal.value}"


# -- prod, norm --------------------------------------------------------------------------------


@exercise("prod")
def test_prod(rng):
    reduction("prod", rng, CASES + ZERO_D)
    reduction("prod", rng, EMPTY_RESULT + NOTHING)


@exercise("prod")
@pytest.mark.parametrize("dim", [0, 1, -1, (0, 2), (2, 1), None], ids=str)
def test_prod_with_zeros(dim, rng):
    x = rng.normal(4, 3, 5) * 1.5
    holes = np.arange(60).reshape(4, 3, 5)
    for which in ([7], [7, 8], [0, 1, 2, 22, 37, 59], range(0, 60, 9)):
        data = np.where(np.isin(holes, which), 0.0, x)
        check(f"prod along {dim}, zeros at {list(which)}", lambda t: day.prod(t, dim),
              lambda t: torch_prod(t, dim, False), rng, data)  # fmt: skip
    for row in ([2.0, 0.0, 3.0], [0.0, 0.0, 3.0], [0.0], [0.0, 5.0], [5.0, 0.0]):
        check(f"prod of {row}", lambda t: day.prod(t, 0), lambda t: t.prod(0), rng, row)


@exercise("prod")
def test_prod_in_general(rng):
    strided("prod", rng)
    refuses_axes("prod", rng)
    wants_no_gradient("prod", rng)
    rounds_once("prod", rng, [[300, 2], [300, 3], [0.01, 0.5], [-1, 0]])
    for kind in ("bool", "uint8", "int32", "int64"):
        found = day.prod(day.Tensor(np.array([[1, 1, 0], [1, 1, 1]]).astype(kind)), 1)
        assert found.dtype == np.int64, f"the product of {kind} is {found.dtype}; torch has int64"
        assert found.tolist() == [0, 1]
    found = day.prod(day.Tensor(np.full(3, 100, np.uint8))).item()
    assert found == 1_000_000, f"100 ** 3 from uint8 is {found}"


@exercise("norm")
def test_norm(rng):
    reduction("norm", rng, CASES + ZERO_D)
    reduction("norm", rng, EMPTY_RESULT + NOTHING)


@exercise("norm")
@pytest.mark.parametrize("p", [1, 2, 3, 0.5, 1.5, 2.5, math.inf])
@pytest.mark.parametrize("dim", [0, (0, 2), None], ids=str)
def test_norms(p, dim, rng):
    for keepdim in (False, True):
        check(
            f"{p}-norm along {dim}",
            lambda t: day.norm(t, p, dim, keepdim),  # noqa: B023
            lambda t: torch.linalg.vector_norm(t, p, dim, keepdim),  # noqa: B023
            rng,
            rng.normal(3, 4, 2),
            scale=64.0,
        )


@exercise("norm")
@pytest.mark.parametrize("p", [1, 2, 3, 0.5, 1.5, math.inf])
def test_norms_with_zeros(p, rng):
    for x in ([0.0, 0.0, 0.0], [0.0, 2.0, -1.0], [[0.0, 0.0], [0.0, -3.0]], [2.0, -2.0, 2.0, 1.0]):
        check(f"{p}-norm of {x}", lambda t: day.norm(t, p, -1),
              lambda t: torch.linalg.vector_norm(t, p, -1), rng, x)  # fmt: skip
    if p == 2:
        hands_zeros_on("norm", np.array([[1.0, np.inf, 2.0], [np.nan, 1.0, 1.0], [1.0, 2.0, 4.0]]))


@exercise("norm")
def test_norm_in_general(rng):
    strided("norm", rng)
    refuses_axes("norm", rng)
    refuses_integers("norm")
    wants_no_gradient("norm", rng)
    rounds_once("norm", rng, [[300.0, 1.0], [-400.0, 2.0]], dims=(0, 1, None))
    for p in (0, -1, -math.inf, math.nan):
        with pytest.raises(ValueError) as refusal:
            found = day.norm(day.Tensor(rng.normal(3)), p)
            pytest.fail(f"the {p}-norm came out {found}: a ValueError was due")
        assert "norm" in str(refusal.value) and str(p) in str(refusal.value), str(refusal.value)
    refuses_nothing("norm", lambda x, dim: day.norm(x, math.inf, dim), [*NOTHING, ((0, 0), 0)])


# -- all together ------------------------------------------------------------------------------

NAMES = ["sum", "mean", "amax", "amin", "prod", "norm"]


@exercise("norm")
@settings(max_examples=60)
@given(shape=st.lists(st.integers(1, 3), max_size=4).map(tuple), data=st.data())
def test_any_axes(shape, data):
    name = data.draw(st.sampled_from(NAMES))
    axes = [i for i in range(len(shape)) if data.draw(st.booleans())]
    dim = [i - len(shape) * data.draw(st.integers(0, 1)) for i in data.draw(st.permutations(axes))]
    keepdim = data.draw(st.booleans())
    numbers = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))

    class Numbers:
        def normal(self, *sizes):
            return numbers.normal(size=sizes)

    check(f"{name} of {shape}, dim={dim}, keepdim={keepdim}",
          lambda t: ours(name)(t, dim, keepdim), lambda t: TORCH[name](t, dim, keepdim), Numbers(),
          numbers.normal(size=shape))  # fmt: skip


@exercise("norm")
def test_methods(rng):
    x = day.Tensor(rng.normal(2, 3), requires_grad=True)
    for name in (*NAMES, "var"):
        method, function = getattr(x, name), getattr(day, name)
        close(method(dim=1).data, function(x, dim=1).data, name=f"x.{name}(dim=1)")
        close(method(dim=1, keepdim=True).data, function(x, dim=1, keepdim=True).data,
              name=f"x.{name}(dim=1, keepdim=True)")  # fmt: skip
    close(x.var(correction=0).data, day.var(x, correction=0).data, name="x.var(correction=0)")
    close(x.norm(1).data, day.norm(x, 1).data, name="x.norm(1)")
    for name in ("max", "min"):
        close(getattr(x, name)(1).values.data, getattr(day, name)(x, 1).values.data, name=name)
        close(getattr(x, f"arg{name}")().data, getattr(day, f"arg{name}")(x).data, name=name)


@exercise("var")
def test_normalising_by_hand(rng):
    """A layer norm, made of what is there: shares from three ways add up."""
    check(
        "a layer norm",
        lambda t: (
            (t - t.mean(-1, keepdim=True)) / (t.var(-1, correction=0, keepdim=True) + 1e-5) ** 0.5
        ),
        lambda t: torch.nn.functional.layer_norm(t, t.shape[-1:]),
        rng,
        rng.normal(4, 5),
    )
