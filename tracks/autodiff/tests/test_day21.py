"""Day 21: no overflow, no lost digits, torch's values at masks and edges, one backward a loss."""

import math
import warnings

import numpy as np
import pytest
import torch

from harness.testing import close, exercise, watch
from tracks.autodiff import day21 as day

INF, NAN = math.inf, math.nan


def gelu(x):
    """By erfc: torch's own takes 1 + erf(x), which has few digits left where x is far below 0."""
    return x * torch.special.erfc(-x / math.sqrt(2)) / 2


TORCH = {
    "exp": torch.exp, "log": torch.log, "log1p": torch.log1p, "sqrt": torch.sqrt,
    "sigmoid": torch.sigmoid, "gelu": gelu,
}  # fmt: skip
SHAPES = [(), (1,), (5,), (2, 3), (2, 0), (3, 1, 4)]
AXES = [
    ((4,), 0), ((2, 3), 0), ((2, 3), 1), ((2, 3), -1), ((2, 3, 4), 1), ((2, 3, 4), -3),
    ((), 0), ((), -1), ((1,), 0), ((2, 1), 1), ((0,), 0), ((0, 3), 0), ((2, 0), 0), ((3, 0, 2), -1),
]  # fmt: skip


def silent(name, f, *args):
    """``f(*args)``, where a warning of numpy's fails the test."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            return f(*args)
        except RuntimeWarning as warning:
            pytest.fail(f"{name}: numpy warned, {warning}")


def same(found, right, name):
    """Equal to the last digits, where nan equals nan."""
    found, right = np.asarray(found), np.asarray(right)
    assert found.shape == right.shape, f"{name}: shape {found.shape}, torch has {right.shape}"
    wrong = ~np.isclose(found, right, rtol=1e-12, atol=0, equal_nan=True)
    assert not wrong.any(), f"{name}: {found[wrong]} where torch has {right[wrong]}"


def check(name, mine, theirs, rng, x, view=lambda t: t, gradient=None):
    """Values and gradients of ``mine(tensor)`` against ``theirs(torch tensor)``, in float64."""
    x = np.array(x)
    leaf, twin = day.Tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    result, wanted = silent(name, mine, view(leaf)), theirs(view(twin))
    assert result.shape == tuple(wanted.shape), (
        f"{name}: the shape came out {result.shape}, torch makes it {tuple(wanted.shape)}"
    )
    assert isinstance(result.data, np.ndarray), f"{name}: the data are no array"
    close(result.data, wanted.detach().numpy(), terms=x.size + 4, scale=8.0, name=name)
    g = np.array(rng.normal(*result.shape)) if gradient is None else np.array(gradient)
    before = g.copy()
    silent(f"{name}, backward", result.backward, g)
    wanted.backward(torch.tensor(g))
    assert leaf.grad is not None, f"{name}: no gradient arrived"
    close(leaf.grad.data, twin.grad.numpy(), terms=x.size + 4, scale=32.0,
          name=f"{name}: gradient")  # fmt: skip
    close(g, before, name=f"{name}: the gradient that came in")
    close(leaf.data, x, name=f"{name}: the operand")
    return result


def edges(name, points, gradient=1.0, slopes=True):
    """The values and slopes that torch has at ``points``, nan and inf included."""
    f = getattr(day, name)
    x = np.array(points)
    leaf, twin = day.Tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    result, wanted = silent(f"{name} of {points}", f, leaf), TORCH[name](twin)
    same(result.data, wanted.detach().numpy(), f"{name} of {points}")
    g = np.full(len(x), gradient)
    silent(f"{name}, backward at {points}", result.backward, g)
    wanted.backward(torch.tensor(g))
    if slopes:
        same(leaf.grad.data, twin.grad.numpy(), f"{name}: g = {gradient}, gradients at {points}")


def elementwise(name, rng, positive=False, integers=True):
    """Every shape, strides, dtypes."""
    f, wanted = getattr(day, name), TORCH[name]

    def draw(*shape):
        x = np.array(rng.normal(*shape))
        return np.abs(x) + 0.5 if positive else x

    for shape in SHAPES:
        result = check(f"{name} of {shape}", f, wanted, rng, draw(*shape))
        assert result.op == name, f"the op of {name} is {result.op!r}"
    check(f"{name} of a transposed tensor", f, wanted, rng, draw(2, 3, 4),
          view=lambda t: t.transpose(0, 2))  # fmt: skip
    check(
        f"{name} of an expanded tensor",
        f,
        wanted,
        rng,
        draw(2, 1),
        view=lambda t: t.expand(3, 2, 4),
    )
    for kind in ("float16", "float32", "float64"):
        x = draw(6).astype(kind)
        leaf = day.Tensor(x, requires_grad=True)
        twin = torch.tensor(x.astype(np.float64), requires_grad=True)
        result, right = f(leaf), wanted(twin)
        close(result.data, right.detach().numpy(), dtype=kind, terms=4, name=f"{name} of {kind}")
        result.backward(np.ones(6, kind))
        right.sum().backward()
        close(leaf.grad.data, twin.grad.numpy(), dtype=kind, terms=4, scale=4.0,
              name=f"{name} of {kind}: gradient")  # fmt: skip
    assert not f(day.Tensor(draw(3))).requires_grad, f"{name}: nothing required a gradient"
    for kind in ("int64", "uint8", "bool"):
        x = np.ones(3, kind)
        if integers:
            close(f(day.Tensor(x)).data, wanted(torch.tensor(x)).double().numpy(), dtype=np.float32,
                  terms=4, scale=1.0, name=f"{name} of {kind}")  # fmt: skip
    if not integers:
        refuses_integers(name, f)


def refuses_integers(name, f):
    for kind in ("int64", "uint8", "bool"):
        with pytest.raises(TypeError) as refusal:
            found = f(day.Tensor(np.ones(3, kind)))
            pytest.fail(f"{name} of {kind} gave {found}: a TypeError was due")
        message = str(refusal.value)
        assert name in message and kind in message, f"of which dtype? {message}"


# -- one element at a time ---------------------------------------------------------------------


@exercise("exp")
def test_exp(rng):
    elementwise("exp", rng)
    edges("exp", [-INF, -1e4, 0.0, 1e4, INF, NAN])
    edges("exp", [-INF, 1e4, INF], gradient=0.0)


@exercise("exp")
def test_exp_is_computed_once(rng, monkeypatch):
    result = day.exp(day.Tensor(rng.normal(3), requires_grad=True))
    calls = []
    function = np.exp

    def counting(*args, **options):
        calls.append(args)
        return function(*args, **options)

    monkeypatch.setattr(np, "exp", counting)
    result.backward(np.ones(3))
    assert not calls, "the backward of exp called np.exp again: the forward has its result already"


@exercise("log")
def test_log(rng):
    elementwise("log", rng, positive=True)
    edges("log", [0.0, -0.0, -1.0, 1e-300, 1e300, INF, -INF, NAN])
    edges("log", [0.0, 1.0], gradient=0.0)


@exercise("log1p")
def test_log1p(rng):
    elementwise("log1p", rng, positive=True)
    edges("log1p", [-1.0, -2.0, 0.0, 1e300, INF, NAN])
    edges("log1p", [-1.0, 1.0], gradient=0.0)
    edges("log1p", [1e-20, -1e-20, 1e-10, -1e-10, 1e-5, -0.5])


@exercise("sqrt")
def test_sqrt(rng):
    elementwise("sqrt", rng, positive=True)
    edges("sqrt", [0.0, 4.0, 1e-300, 1e300, INF, -1.0, NAN])
    edges("sqrt", [0.0, 4.0], gradient=0.0)


@exercise("sigmoid")
def test_sigmoid(rng):
    elementwise("sigmoid", rng)
    edges("sigmoid", [INF, -INF, 0.0, -0.0, NAN], slopes=False)
    far = [1e4, -1e4, 700.0, -700.0, -100.0, -20.0, 30.0, 1e300, -1e300]
    check("sigmoid far out", day.sigmoid, torch.sigmoid, rng, far, gradient=np.ones(len(far)))
    small = np.array([-80.0, -50.0, -20.0], np.float32)
    close(day.sigmoid(day.Tensor(small)).data, 1 / (1 + np.exp(-small.astype(np.float64))),
          dtype=np.float32, terms=4, name="small sigmoids in float32")  # fmt: skip


@exercise("gelu")
def test_gelu(rng):
    elementwise("gelu", rng, integers=False)
    assert np.isnan(day.gelu(day.Tensor([NAN, 0.0])).data).tolist() == [True, False]
    far = [-1e300, -1e4, -38.0, -10.0, -7.0, 10.0, 1e4, 1e300]
    for kind in ("float64", "float32"):
        x = np.array(far if kind == "float64" else far[1:-1] + [1e30, -1e30], kind)
        leaf = day.Tensor(x, requires_grad=True)
        result = silent("gelu far out", day.gelu, leaf)
        wide = torch.tensor(x.astype(np.float64))
        right = wide * torch.special.erfc(-wide / math.sqrt(2)) / 2
        # the relative error of erfc grows with its exponent, x² / 2, up to 722 at -38
        close(result.data, right.numpy(), dtype=kind, factor=2000.0, name=f"gelu of {kind} far out")
        silent("gelu far out, backward", result.backward, np.ones(len(x), kind))
        density = torch.exp(-wide * wide / 2) / math.sqrt(2 * math.pi)
        slope = torch.special.erfc(-wide / math.sqrt(2)) / 2 + wide * density
        close(leaf.grad.data, slope.numpy(), dtype=kind, scale=1.0, terms=4,
              name=f"gelu of {kind} far out: gradient")  # fmt: skip
    x = np.linspace(-3.5, 3.5, 57).astype(np.float16)
    right = gelu(torch.tensor(x.astype(np.float64))).numpy()
    there = right != 0
    off = np.abs(day.gelu(day.Tensor(x)).data[there] / right[there] - 1).max()
    assert off < 2**-10, (
        f"gelu of float16 is off by {off:.1e} of its value; one rounding at the end is 4.9e-4"
    )


# -- along an axis -----------------------------------------------------------------------------

ROWS = {
    "a mask": [[-INF, 1.0, 2.0], [0.0, -INF, -INF]],
    "±1e4": [[1e4, -1e4, 0.0], [1e4, 1e4 - 1, 1e4 + 1]],
    "-1e4 and masks": [[-1e4, -INF, -1e4], [-INF, -1e300, -INF]],
    "1e300": [[1e300, 1e300, -1e300], [1e300, 0.0, -INF]],
}


def torch_logsumexp(t, dim):
    """torch.logsumexp, whose own gradient is e^(x - result): of few digits for large logits."""
    top = t.detach().amax(dim, keepdim=True)
    return torch.logsumexp(t - top, dim) + top.squeeze(dim)


ORACLE = {
    "logsumexp": torch_logsumexp, "softmax": torch.softmax, "log_softmax": torch.log_softmax,
}  # fmt: skip


def along_axes(name, rng):
    f, wanted = getattr(day, name), getattr(torch, name)
    for shape, dim in AXES:
        result = check(f"{name} of {shape} along {dim}", lambda t: f(t, dim),  # noqa: B023
                       lambda t: wanted(t, dim), rng, 3 * np.array(rng.normal(*shape)))  # noqa: B023  # fmt: skip
        assert result.op == name, f"the op of {name} is {result.op!r}"
    check(f"{name} of a transposed tensor", lambda t: f(t, 1), lambda t: wanted(t, 1), rng,
          rng.normal(2, 3, 4), view=lambda t: t.transpose(0, 2))  # fmt: skip
    check(f"{name} of an expanded tensor", lambda t: f(t, 0), lambda t: wanted(t, 0), rng,
          rng.normal(2, 1), view=lambda t: t.expand(3, 2, 4))  # fmt: skip
    for what, rows in ROWS.items():
        check(
            f"{name} of rows with {what}",
            lambda t: f(t, 1),
            lambda t: ORACLE[name](t, 1),
            rng,
            rows,
        )
    for shape, dim in [((2, 3), 2), ((2, 3), -3), ((), 1)]:
        with pytest.raises(IndexError) as refusal:
            found = f(day.Tensor(rng.normal(*shape)), dim)
            pytest.fail(f"{name} of {shape} along {dim} gave {found}: an IndexError was due")
        assert name in str(refusal.value), f"which operation? {refusal.value}"


def rows_of_nan(name, rng):
    """A row that has no softmax is nan, and the row beside it is not."""
    x = np.array([[-INF, -INF], [0.0, 1.0], [INF, 0.0], [NAN, 0.0]])
    leaf, twin = day.Tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    result = silent(name, getattr(day, name), leaf, 1)
    wanted = getattr(torch, name)(twin, 1)
    same(result.data, wanted.detach().numpy(), f"{name} of rows of -inf, with inf, with nan")
    g = np.array(rng.normal(*x.shape))
    silent(f"{name}, backward", result.backward, g)
    wanted.backward(torch.tensor(g))
    found, right = leaf.grad.data[1], twin.grad.numpy()[1]
    close(found, right, scale=8.0, terms=4, name=f"{name}: gradient of the row beside rows of nan")


def short_dtypes(name, offset):
    """float16 and float32 in float64's company, the logits around ``offset``."""
    f, wanted = getattr(day, name), getattr(torch, name)
    for kind, at in (("float32", offset), ("float16", 0.0)):
        x = (at + np.linspace(-2, 2, 12).reshape(2, 6)).astype(kind)
        leaf = day.Tensor(x, requires_grad=True)
        twin = torch.tensor(x.astype(np.float64), requires_grad=True)
        result, right = f(leaf, 1), wanted(twin, 1)
        close(result.data, right.detach().numpy(), dtype=kind, terms=6, scale=1.0,
              name=f"{name} of {kind} around {at}")  # fmt: skip
        g = np.linspace(1, 2, result.numel()).reshape(result.shape).astype(kind)
        result.backward(g)
        right.backward(torch.tensor(g.astype(np.float64)))
        close(leaf.grad.data, twin.grad.numpy(), dtype=kind, terms=6, scale=4.0,
              name=f"{name} of {kind} around {at}: gradient")  # fmt: skip
        close(leaf.data, x, dtype=kind, name=f"{name} of {kind} around {at}: the operand")


def rounds_once(name):
    """Many float16 numbers: their sum needs more digits, and more range, than float16 has."""
    f, wanted = getattr(day, name), getattr(torch, name)
    n = 70000
    x = np.zeros((2, n), np.float16)
    x[1, ::2] = -1
    result = silent(name, f, day.Tensor(x), 1)
    right = wanted(torch.tensor(x.astype(np.float64)), 1).numpy()
    close(result.data, right, dtype="float16", terms=16, name=f"{name} of {n} numbers of float16")


@exercise("logsumexp")
def test_logsumexp(rng):
    along_axes("logsumexp", rng)
    short_dtypes("logsumexp", 1e4)
    rounds_once("logsumexp")
    for kind in ("int64", "uint8", "bool"):
        found = day.logsumexp(day.Tensor(np.ones((2, 3), kind)), 1)
        right = np.full(2, 1 + math.log(3))
        close(found.data, right, dtype=np.float32, terms=4, name=f"logsumexp of {kind}")


@exercise("logsumexp")
def test_logsumexp_of_axes(rng):
    cases = [
        ((2, 3, 4), (0, 2)), ((2, 3, 4), (-1, 0)), ((2, 3), (0, 1)), ((2, 3, 4), [1]), ((2, 3), 1),
        ((2, 0), (0, 1)), ((2, 0, 3), 1), ((0, 3), 1),
    ]  # fmt: skip
    for shape, dim in cases:
        for keepdim in (False, True):
            check(f"logsumexp of {shape}, dim={dim}, keepdim={keepdim}",
                  lambda t: day.logsumexp(t, dim, keepdim),  # noqa: B023
                  lambda t: torch.logsumexp(t, dim, keepdim),  # noqa: B023
                  rng, rng.normal(*shape))  # fmt: skip
    check("logsumexp of all", lambda t: day.logsumexp(t, None),
          lambda t: torch.logsumexp(t, (0, 1)), rng, rng.normal(2, 3))  # fmt: skip
    with pytest.raises(ValueError) as refusal:
        day.logsumexp(day.Tensor(rng.normal(2, 3)), (0, -2))
        pytest.fail("logsumexp over axis 0 twice went through: a ValueError was due")
    assert "logsumexp" in str(refusal.value), f"which operation? {refusal.value}"


@exercise("logsumexp")
def test_logsumexp_at_infinity():
    x = np.array([[-INF, -INF], [INF, 1.0], [INF, -INF], [INF, INF], [NAN, 1.0], [-INF, 2.0]])
    result = silent("logsumexp", day.logsumexp, day.Tensor(x, requires_grad=True), 1)
    right = torch.logsumexp(torch.tensor(x), 1).numpy()
    for row, found, wanted in zip(x, result.data, right, strict=True):
        same(found, wanted, f"logsumexp of {row}")
    silent("logsumexp, backward", result.backward, np.ones(len(x)))


@exercise("softmax")
def test_softmax(rng):
    along_axes("softmax", rng)
    rows_of_nan("softmax", rng)
    short_dtypes("softmax", 1e4)
    rounds_once("softmax")
    refuses_integers("softmax", lambda x: day.softmax(x, 0))


@exercise("log_softmax")
def test_log_softmax(rng):
    along_axes("log_softmax", rng)
    rows_of_nan("log_softmax", rng)


@exercise("log_softmax")
def test_log_softmax_in_every_dtype():
    short_dtypes("log_softmax", 1e4)
    rounds_once("log_softmax")
    refuses_integers("log_softmax", lambda x: day.log_softmax(x, 0))


@exercise("log_softmax")
def test_log_softmax_adds_the_gradient_up_in_float32():
    n = 70000  # the sum of as many ones is beyond float16
    leaf = day.Tensor(np.zeros(n, np.float16), requires_grad=True)
    day.log_softmax(leaf, 0).backward(np.ones(n, np.float16))
    close(leaf.grad.data, np.zeros(n), dtype="float16", terms=4, scale=1.0,
          name="log_softmax of 70000 equal logits: gradient")  # fmt: skip


@exercise("softmax")
def test_softmax_is_a_distribution(rng):
    for spread in (1.0, 1e2, 1e5):
        logits = spread * np.array(rng.normal(8, 6))
        result = silent("softmax", day.softmax, day.Tensor(logits), 1).data
        assert (result >= 0).all(), f"a softmax has the element {result.min()}"
        close(result.sum(1), np.ones(8), terms=8, name="sums of the rows of a softmax")


# -- the loss ----------------------------------------------------------------------------------

LOGITS = [(5, 3), (1, 1), (4, 2, 3), (2, 3, 2, 2), (3,), (0, 3), (2, 3, 0)]


def targets_of(rng, shape):
    """Classes for logits of ``shape``: one an example."""
    axis = min(1, len(shape) - 1)
    return rng.integers(0, shape[axis], *shape[:axis], *shape[axis + 1 :])


def loss_of(target, **options):
    wanted = torch.nn.functional.cross_entropy
    target = np.array(target)
    return (
        lambda x: day.cross_entropy(x, day.Tensor(target), **options),
        lambda x: wanted(x, torch.tensor(target).long(), **options),
    )


@exercise("cross_entropy")
@pytest.mark.parametrize("shape", LOGITS, ids=str)
def test_cross_entropy(shape, rng):
    for reduction in ("mean", "sum", "none"):
        if 0 in shape and reduction == "mean":
            continue
        target = np.array(targets_of(rng, shape))
        logits = 3 * np.array(rng.normal(*shape))
        result = check(f"cross_entropy of {shape}, {reduction}",
                       *loss_of(target, reduction=reduction), rng, logits)  # fmt: skip
        assert result.op == "cross_entropy", f"the op of cross_entropy is {result.op!r}"
        if target.size:
            ignored = target.copy()
            ignored.reshape(-1)[: max(1, target.size // 2)] = -100
            if reduction == "mean" and target.size == 1:
                continue
            check(f"cross_entropy of {shape}, {reduction}, half of it ignored",
                  *loss_of(ignored, reduction=reduction), rng, logits)  # fmt: skip


@exercise("cross_entropy")
def test_cross_entropy_is_the_mean_unless_told(rng):
    target = np.array([0, 2, 1])
    x = rng.normal(3, 3)
    check("cross_entropy", *loss_of(target), rng, x)
    check("cross_entropy of a transposed tensor", *loss_of(target), rng, x, view=lambda t: t.T)
    for index in (1, 7, -1):
        labels = np.where(target == 1, index, target)
        check(
            f"cross_entropy with ignore_index={index}", *loss_of(labels, ignore_index=index), rng, x
        )
    for kind in ("int32", "uint8", "int16"):
        check(f"cross_entropy with targets of {kind}", *loss_of(target.astype(kind)), rng, x)


@exercise("cross_entropy")
def test_cross_entropy_of_no_examples():
    for shape, target in [((0, 3), np.zeros(0, int)), ((2, 3), np.array([-100, -100]))]:
        for reduction, right in (("mean", NAN), ("sum", 0.0)):
            what = f"cross_entropy, {reduction}, of {shape} and targets {target.tolist()}"
            x = day.Tensor(np.zeros(shape), requires_grad=True)
            result = silent(what, loss_of(target, reduction=reduction)[0], x)
            same(result.data, np.array(right), what)
            silent(f"{what}, backward", result.backward)
            close(x.grad.data, np.zeros(shape), name=f"{what}: gradient")


@exercise("cross_entropy")
def test_cross_entropy_of_large_logits_and_masks(rng):
    for what, rows in ROWS.items():
        for target in ([1, 0], [2, 0], [2, 2], [-100, 0]):
            check(f"cross_entropy with {what}, targets {target}",
                  *loss_of(target, reduction="none"), rng, rows, gradient=[1.0, 2.0])  # fmt: skip


@exercise("cross_entropy")
def test_cross_entropy_keeps_its_digits(rng):
    for kind, at in (("float32", 1e4), ("float16", 0.0)):
        x = (at + np.linspace(-2, 2, 12).reshape(2, 6)).astype(kind)
        leaf = day.Tensor(x, requires_grad=True)
        twin = torch.tensor(x.astype(np.float64), requires_grad=True)
        mine, theirs = loss_of([3, 5])
        result, right = mine(leaf), theirs(twin)
        close(result.data, right.detach().numpy(), dtype=kind, terms=6, scale=1.0,
              name=f"cross_entropy of {kind} around {at}")  # fmt: skip
        result.backward()
        right.backward()
        close(leaf.grad.data, twin.grad.numpy(), dtype=kind, terms=6, scale=1.0,
              name=f"cross_entropy of {kind} around {at}: gradient")  # fmt: skip
    many = np.zeros((70000, 2), np.float16)
    loss = silent(
        "cross_entropy", day.cross_entropy, day.Tensor(many), day.Tensor(np.zeros(70000, int))
    )
    close(loss.data, np.float64(math.log(2)), dtype="float16",
          name="the mean loss of 70000 examples in float16")  # fmt: skip


@exercise("cross_entropy")
def test_cross_entropy_is_one_node(rng):
    x, target = day.Tensor(rng.normal(4, 3), requires_grad=True), day.Tensor([0, 1, 2, 0])
    loss = day.cross_entropy(x, target)
    assert any(parent is x for parent in loss.parents), (
        f"between the logits and the loss stands {[p.op for p in loss.parents]}: one node was asked"
    )
    loss.backward()
    assert target.grad is None, "the target got a gradient"
    assert not day.cross_entropy(x.detach(), target).requires_grad


@exercise("cross_entropy")
def test_cross_entropy_has_no_table_of_classes_by_classes(rng):
    x = day.Tensor(rng.normal(4, 2000), requires_grad=True)
    target = day.Tensor(rng.integers(0, 2000, 4))

    def both_ways():
        day.cross_entropy(x, target).backward()

    _, seen = watch(both_ways)
    limit = 20 * x.data.nbytes
    assert seen.peak_bytes <= limit, (
        f"4 examples of 2000 classes ({x.data.nbytes} bytes) took {seen.peak_bytes} bytes more, "
        f"where 20 times the logits, {limit}, are allowed"
    )


@exercise("cross_entropy")
@pytest.mark.parametrize("bad", [3, 100, -1, -3, -99])
def test_cross_entropy_refuses_a_target_that_is_no_class(bad, rng):
    with pytest.raises(IndexError) as refusal:
        found = day.cross_entropy(day.Tensor(rng.normal(2, 3)), day.Tensor([0, bad]))
        pytest.fail(f"a target of {bad} among 3 classes gave {found}: an IndexError was due")
    message = str(refusal.value)
    assert "cross_entropy" in message and str(bad) in message and "3" in message, (
        f"which target, and how many classes? {message}"
    )


@exercise("cross_entropy")
def test_cross_entropy_refuses(rng):
    for x, t in [((2, 3), (3,)), ((3,), (1,)), ((2, 3, 4), (2, 3)), ((2, 3), (2, 1)), ((), ()),
                 ((2, 3), ()), ((3, 1), (1, 1)), ((2, 0), (2,)), ((2, 3), (2, 3))]:  # fmt: skip
        with pytest.raises(ValueError) as refusal:
            found = day.cross_entropy(day.Tensor(rng.normal(*x)), day.Tensor(np.zeros(t, int)))
            pytest.fail(f"logits {x} and targets {t} gave {found}: a ValueError was due")
        message = str(refusal.value)
        assert "cross_entropy" in message and str(x) in message and str(t) in message, (
            f"which shapes? {message}"
        )
    logits, target = day.Tensor(rng.normal(2, 3)), day.Tensor([0, 1])
    for x, t, why in [
        (day.Tensor(np.ones((2, 3), int)), target, "integer logits"),
        (logits, day.Tensor([0.0, 1.0]), "targets that are floats"),
        (logits, day.Tensor([False, True]), "targets that are bools"),
    ]:
        with pytest.raises(TypeError) as refusal:
            found = day.cross_entropy(x, t)
            pytest.fail(f"{why} gave {found}: a TypeError was due")
        assert "cross_entropy" in str(refusal.value), f"which operation? {refusal.value}"
    with pytest.raises(ValueError) as refusal:
        day.cross_entropy(logits, target, reduction="average")
        pytest.fail("the reduction 'average' went through: a ValueError was due")
    assert "average" in str(refusal.value), f"which reduction? {refusal.value}"


# -- the methods, which are given --------------------------------------------------------------


@exercise("exp")
def test_a_loss_of_many_operations(rng):
    """Today's functions among those of the days before."""
    x = np.abs(rng.normal(3, 2)) + 0.5

    def mine(t):
        return (t.exp() * t.log() + t.log1p().sqrt()).transpose(0, 1) / t.reshape(2, 3)

    check("(exp x · log x + √ log1p x) / x", mine, mine, rng, x)


@exercise("softmax")
def test_methods(rng):
    x = day.Tensor(rng.normal(2, 3))
    for name, args in [("softmax", (1,)), ("log_softmax", (0,)), ("logsumexp", (1, True))]:
        close(getattr(x, name)(*args).data, getattr(day, name)(x, *args).data, name=name)
    close(x.sigmoid().data, day.sigmoid(x).data, name="sigmoid")
