"""Day 31: losses that can be differentiated twice, and steps that are torch's, saved or not."""

import copy
import itertools
import math
import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.testing import close, exercise, refused, watch
from tracks.autodiff import day22, day24
from tracks.autodiff import day31 as day
from tracks.autodiff import operations as ops

REDUCTIONS = ("mean", "sum", "none")
SHAPES = [(), (1,), (5,), (2, 3), (3, 1, 2), (0,), (2, 0)]
LOGITS = [(3,), (1,), (4, 3), (5, 1), (2, 3, 4), (2, 3, 2, 2), (0, 3), (2, 3, 0)]
SIZE = 40_000


def leaf(data, requires_grad=True, kind=None):
    return day.Tensor(np.array(data), requires_grad=requires_grad, dtype=kind)


def constant(data):
    return day.Tensor(np.array(data))


def silent(what, f, *args, **options):
    """``f(*args)``, in which numpy warns of nothing."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            return f(*args, **options)
        except RuntimeWarning as warning:
            pytest.fail(f"{what}: numpy warned of {str(warning)!r}")


def slopes(out, leaves, g):
    """Gradients of ``out`` that can be differentiated again; zeros where none came."""
    if not out.requires_grad:
        return [leaf(np.zeros(x.shape), False) for x in leaves]
    found = day24.grad(out, leaves, g, create_graph=True, allow_unused=True)
    return [
        leaf(np.zeros(x.shape), False) if f is None else f
        for x, f in zip(leaves, found, strict=True)
    ]


def torchs(out, twins, g):
    if not out.requires_grad:
        return [torch.zeros_like(t) for t in twins]
    found = torch.autograd.grad(out, twins, g, create_graph=True, allow_unused=True)
    return [torch.zeros_like(t) if f is None else f for t, f in zip(twins, found, strict=True)]


def compare(name, mine, theirs, rng, *arrays, terms=8, scale=16.0, twice=True):
    """Value, gradients, and the gradients of gradients, of all ``arrays``: torch's, in float64."""
    leaves = [leaf(a) for a in arrays]
    twins = [torch.tensor(np.array(a), requires_grad=True) for a in arrays]
    out, right = silent(name, mine, *leaves), theirs(*twins)
    close(out.data, right.detach().numpy(), terms=terms, scale=scale, name=name)
    g = np.array(rng.normal(*out.shape))
    found = silent(f"{name}, backward", slopes, out, leaves, leaf(g, False))
    wanted = torchs(right, twins, torch.tensor(g))
    for i, (f, w) in enumerate(zip(found, wanted, strict=True)):
        close(f.data, w.detach().numpy(), terms=terms, scale=scale,
              name=f"{name}: the gradient of argument {i}")  # fmt: skip
    if not twice:
        return out
    vs = [np.array(rng.normal(*a.shape)) for a in arrays]
    total = sum(((f * leaf(v, False)).sum() for f, v in zip(found, vs, strict=True)), leaf(0.0))
    right_total = sum((w * torch.tensor(v)).sum() for w, v in zip(wanted, vs, strict=True))
    again = silent(f"{name}, backward of its backward", slopes, total, leaves, None)
    right_again = torchs(right_total, twins, None)
    for i, (f, w) in enumerate(zip(again, right_again, strict=True)):
        close(f.data, w.detach().numpy(), terms=terms, scale=scale,
              name=f"{name}: the second derivative, along argument {i}")  # fmt: skip
    return out


def both(name, **options):
    """The loss of today and torch's."""
    return (
        lambda a, b: getattr(day, name)(a, b, **options),
        lambda a, b: getattr(F, name)(a, b, **options),
    )


def each(names, **options):
    return pytest.mark.parametrize(
        "name", [pytest.param(n, marks=exercise(n, **options)) for n in names]
    )


PAIRS = ["mse_loss", "huber_loss", "binary_cross_entropy_with_logits"]
CLASSES = ["nll_loss", "cross_entropy"]


def pair(name, rng, *shape):
    target = rng.uniform(*shape) if name.startswith("binary") else rng.normal(*shape)
    return 2 * np.array(rng.normal(*shape)), np.array(target)


def some(name, rng, kind="float64"):
    """Arguments of any of the losses."""
    x = np.array(rng.normal(4, 3)).astype(kind)
    if name in PAIRS:
        return leaf(x), constant(np.array(rng.uniform(4, 3)).astype(kind))
    return leaf(x), constant([0, 2, 1, 2])


# -- what all losses promise -------------------------------------------------------------------


@each(PAIRS)
def test_pairs(name, rng):
    for shape, reduction in itertools.product(SHAPES, REDUCTIONS):
        if reduction == "mean" and 0 in shape:
            continue
        what = f"{name} of {shape}, {reduction}"
        compare(what, *both(name, reduction=reduction), rng, *pair(name, rng, *shape), terms=16)


@each(PAIRS)
def test_pairs_of_any_strides(name, rng):
    mine, theirs = getattr(day, name), getattr(F, name)
    compare(f"{name} of a transposed input", lambda a, b: mine(a.T, b), lambda a, b: theirs(a.T, b),
            rng, pair(name, rng, 3, 2)[0], pair(name, rng, 2, 3)[1])  # fmt: skip


@each(PAIRS)
def test_pairs_of_no_elements(name):
    for shape in ((0,), (2, 0)):
        x = leaf(np.zeros(shape))
        f = getattr(day, name)
        mean = silent(f"{name} of {shape}", f, x, constant(np.zeros(shape)))
        assert math.isnan(mean.item()), f"{name}: the mean of no elements is {mean}, not nan"


@each(PAIRS)
def test_pairs_of_two_shapes_are_refused(name, rng):
    for a, b in [((3, 1), (3,)), ((3,), ()), ((2, 3), (3,)), ((2, 3), (3, 2)), ((1,), (4,))]:
        refused(getattr(day, name), leaf(rng.normal(*a)), leaf(np.full(b, 0.5)),
                what=f"{name} of {a} and {b}", names=[name, a, b])  # fmt: skip


@each(PAIRS + CLASSES)
def test_the_mean_is_the_default(name, rng):
    x, target = some(name, rng)
    mean = getattr(day, name)(x, target, reduction="mean")
    close(getattr(day, name)(x, target).data, mean.data, name=f"{name} without a reduction")


@each(PAIRS + CLASSES)
def test_other_reductions_are_refused(name, rng):
    x, target = some(name, rng)
    for reduction in ("average", "Mean", ""):
        what = f"{name} with the reduction {reduction!r}"
        refused(getattr(day, name), x, target, reduction=reduction, what=what,
                names=[name, reduction])  # fmt: skip


@each(PAIRS + CLASSES)
def test_inputs_of_integers_are_refused(name, rng):
    _, target = some(name, rng)
    with pytest.raises(TypeError) as refusal:
        getattr(day, name)(constant(np.ones((4, 3), int)), target)
        pytest.fail(f"{name} of integers went through: a TypeError was due")
    assert name in str(refusal.value), f"which loss? {refusal.value}"


@each(PAIRS + CLASSES)
def test_float16_is_rounded_once(name, rng):
    """A mean of many terms, of which one is beyond float16 where it is squared."""
    n = 1000
    for kind, outlier in (("float16", 300.0), ("float16", 1.0), ("float32", 300.0)):
        x = np.array(rng.normal(n, 3))
        x[7, 1] = outlier
        x = x.astype(kind)
        target = np.zeros((n, 3), kind) if name in PAIRS else np.arange(n) % 3
        wide = torch.tensor(target.astype(np.float64 if name in PAIRS else np.int64))
        options = {"delta": 1000.0} if name == "huber_loss" else {}
        for reduction in REDUCTIONS if outlier == 1.0 else ["mean"]:
            what = f"{name} of {kind}, {reduction}, one element of {outlier:g}"
            a, twin = leaf(x), torch.tensor(x.astype(np.float64), requires_grad=True)
            right = getattr(F, name)(twin, wide, reduction=reduction, **options)
            f = getattr(day, name)
            got = silent(what, f, a, constant(target), reduction=reduction, **options)
            close(got.data, right.detach().numpy(), dtype=kind, terms=n, scale=1.0, name=what)
            g = np.full(got.shape, 0.5)
            got.backward(leaf(g.astype(kind), False))
            right.backward(torch.tensor(g))
            close(a.grad.data, twin.grad.numpy(), dtype=kind, terms=4, scale=1e-3,
                  name=f"{what}: gradient")  # fmt: skip


@each(PAIRS + CLASSES)
def test_constants_are_not_recorded(name, rng):
    x, target = some(name, rng)
    assert not getattr(day, name)(x.detach(), target).requires_grad


# -- regression --------------------------------------------------------------------------------


@exercise("huber_loss")
def test_huber_for_any_delta(rng):
    for delta, reduction in itertools.product((0.3, 1.0, 2.0, 100.0), REDUCTIONS):
        compare(f"huber_loss, delta {delta}, {reduction}",
                *both("huber_loss", delta=delta, reduction=reduction), rng,
                *pair("huber_loss", rng, 20), terms=32, scale=100.0)  # fmt: skip
    x, target = pair("huber_loss", rng, 20)
    close(day.huber_loss(leaf(x), constant(target), "sum", 2).data,
          F.huber_loss(*map(torch.tensor, (x, target)), "sum", 2.0).numpy(), terms=32, scale=16.0,
          name="huber_loss(input, target, 'sum', 2)")  # fmt: skip


@exercise("huber_loss")
def test_huber_where_the_branches_meet():
    d = leaf([-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0])
    out = day.huber_loss(d, constant(np.zeros(7)), "none", 1.0)
    close(out.data, np.array([1.5, 0.5, 0.125, 0.0, 0.125, 0.5, 1.5]), name="huber, delta 1")
    out.backward(np.ones(7))
    close(d.grad.data, np.clip(d.data, -1, 1), name="the gradient of huber: d, held to delta")


@exercise("huber_loss")
def test_huber_of_large_errors():
    d = leaf([1e300, -1e300, 1e160, 0.5])
    out = silent("huber_loss of 1e300", day.huber_loss, d, constant(np.zeros(4)), "none", 2.0)
    close(out.data, np.array([2e300, 2e300, 2e160, 0.125]), name="huber of 1e300, delta 2")
    silent("huber_loss of 1e300, backward", out.backward, np.ones(4))
    close(d.grad.data, np.array([2.0, -2.0, 2.0, 0.5]), name="the gradient of huber at 1e300")


@exercise("huber_loss")
def test_huber_refuses_a_delta():
    for delta in (0.0, -1.0, math.nan):
        refused(day.huber_loss, leaf([1.0]), leaf([2.0]), delta=delta,
                what=f"huber_loss with delta={delta}", names=["huber_loss", delta])  # fmt: skip


# -- yes or no ---------------------------------------------------------------------------------


FAR = [-1e300, -1e4, -745.0, -40.0, -20.0, -1.0, -0.0, 0.0, 1.0, 20.0, 40.0, 745.0, 1e4, 1e300]


@exercise("Softplus")
def test_softplus(rng):
    for shape in SHAPES:
        out = compare(f"softplus of {shape}", day.Softplus.apply, lambda x: F.softplus(x), rng,
                      3 * np.array(rng.normal(*shape)))  # fmt: skip
        assert out.op == "softplus" and out.parents, "Softplus is to be one node of the graph"
    compare("softplus of a transposed tensor", lambda x: day.Softplus.apply(x.T),
            lambda x: F.softplus(x.T), rng, rng.normal(3, 2))  # fmt: skip


@exercise("Softplus")
def test_softplus_far_out():
    x = leaf(FAR)
    out = silent(f"softplus of {FAR}", day.Softplus.apply, x)
    wanted = [v if v > 700 else math.log1p(math.exp(v)) for v in FAR]
    close(out.data, np.array(wanted), factor=16.0, name=f"softplus of {FAR}")
    silent(f"softplus, backward at {FAR}", out.backward, np.ones(len(FAR)))
    slope = [1 / (1 + math.exp(min(-v, 709.0))) for v in FAR]
    close(x.grad.data, np.array(slope), scale=1e-300, factor=16.0, name=f"its slope at {FAR}")


@exercise("Softplus")
def test_softplus_keeps_the_dtype(rng):
    for kind in ("float32", "float16"):
        x = leaf(np.array(rng.normal(6)).astype(kind))
        out = day.Softplus.apply(x)
        close(out.data, F.softplus(torch.tensor(x.data.astype(np.float64))).numpy(), dtype=kind,
              terms=4, name=f"softplus of {kind}")  # fmt: skip


@exercise("Softplus")
def test_softplus_three_times(rng):
    """σ, σ (1 - σ) and its slope, at 0 and elsewhere."""
    for points in ([0.0, -0.0], rng.normal(4).tolist()):
        x, t = leaf(points), torch.tensor(np.array(points), requires_grad=True)
        y, right = day.Softplus.apply(x), F.softplus(t)
        for order in (1, 2, 3):
            (y,) = slopes(y, [x], leaf(np.ones(x.shape), False))
            (right,) = torchs(right, [t], torch.ones_like(t))
            close(y.data, right.detach().numpy(), terms=8, scale=1.0,
                  name=f"derivative {order} of softplus at {points}")  # fmt: skip


def bce(*args, **options):
    return day.binary_cross_entropy_with_logits(*args, **options)


@exercise("binary_cross_entropy_with_logits")
def test_bce_weights(rng):
    for shape, of_weight, of_pos in [
        ((3, 4), (3, 4), None), ((3, 4), (4,), None), ((3, 4), (3, 1), None), ((3, 4), (), (4,)),
        ((3, 4), None, (4,)), ((3, 4), None, ()), ((3, 4), (4,), (3, 1)), ((2, 3, 4), None, (3, 4)),
        ((), (), ()), ((0, 4), (4,), (4,)),
    ]:  # fmt: skip
        w = None if of_weight is None else np.array(rng.uniform(*of_weight, low=0.2, high=3.0))
        p = None if of_pos is None else np.array(rng.uniform(*of_pos, low=0.2, high=3.0))
        for reduction in REDUCTIONS:
            if reduction == "mean" and 0 in shape:
                continue
            mine = {"reduction": reduction, "weight": None if w is None else constant(w),
                    "pos_weight": None if p is None else constant(p)}  # fmt: skip
            theirs = {k: torch.tensor(v.data) if isinstance(v, day.Tensor) else v
                      for k, v in mine.items()}  # fmt: skip
            compare(f"bce of {shape}, {reduction}, weight {of_weight}, pos_weight {of_pos}",
                    lambda a, b, m=mine: bce(a, b, **m),
                    lambda a, b, o=theirs: F.binary_cross_entropy_with_logits(a, b, **o),
                    rng, *pair("binary", rng, *shape), terms=32)  # fmt: skip


@exercise("binary_cross_entropy_with_logits")
def test_bce_takes_its_weight_third(rng):
    x, t = pair("binary", rng, 2, 3)
    w = np.array(rng.uniform(3))
    close(bce(leaf(x), constant(t), constant(w)).data,
          F.binary_cross_entropy_with_logits(*map(torch.tensor, (x, t, w))).numpy(), terms=8,
          scale=4.0, name="bce(input, target, weight)")  # fmt: skip


@exercise("binary_cross_entropy_with_logits")
def test_bce_far_out():
    points = [z for z in FAR if abs(z) <= 1e4]
    for t in (0.0, 1.0):
        z = leaf(points)
        out = silent(f"bce of {points}", bce, z, constant(np.full(len(points), t)),
                     reduction="none")  # fmt: skip
        turned = [-v if t else v for v in points]
        wanted = [v if v > 700 else math.log1p(math.exp(v)) for v in turned]
        close(out.data, np.array(wanted), factor=16.0, name=f"bce at t = {t}, z = {points}")
        silent("bce, backward", out.backward, np.ones(len(points)))
        slope = [1 / (1 + math.exp(min(-v, 709.0))) * (-1 if t else 1) for v in turned]
        close(z.grad.data, np.array(slope), scale=1e-16, factor=16.0,
              name=f"the gradient of bce at t = {t}, z = {points}")  # fmt: skip


@exercise("binary_cross_entropy_with_logits")
def test_bce_at_zero(rng):
    """A layer that starts at zero: loss log 2, gradient 1/2 - t, second derivative 1/4."""
    z, t = leaf([0.0, -0.0, 0.0, 0.0]), np.array([0.0, 1.0, 0.25, 0.5])
    out = bce(z, constant(t), reduction="none")
    close(out.data, np.full(4, math.log(2)), terms=4, name="bce at z = 0")
    (first,) = slopes(out, [z], leaf(np.ones(4), False))
    close(first.data, 0.5 - t, terms=4, scale=1.0, name="the gradient of bce at z = 0")
    (second,) = slopes(first, [z], leaf(np.ones(4), False))
    close(second.data, np.full(4, 0.25), terms=4, name="the second derivative of bce at z = 0")


@exercise("binary_cross_entropy_with_logits")
def test_bce_refuses_weights(rng):
    x, t = leaf(rng.normal(2, 3)), constant(np.full((2, 3), 0.5))
    for shape in ((2,), (4,), (1, 2, 3), (2, 3, 1)):
        for name in ("weight", "pos_weight"):
            refused(bce, x, t, **{name: constant(np.ones(shape))},
                    what=f"a {name} of {shape} for an input of (2, 3)",
                    names=["binary_cross_entropy_with_logits", shape, (2, 3)])  # fmt: skip


# -- classes -----------------------------------------------------------------------------------


def drawn(rng, shape):
    """Logits and classes for them."""
    axis = min(1, len(shape) - 1)
    logits = 3 * np.array(rng.normal(*shape))
    return logits, np.array(rng.integers(0, shape[axis], *shape[:axis], *shape[axis + 1 :]))


def of_classes(name, target, weight=None, **options):
    """Mine and torch's, as functions of the input."""
    target = np.array(target)
    w = None if weight is None else np.array(weight)

    def mine(x):
        given = None if w is None else constant(w)
        return getattr(day, name)(x, constant(target), given, **options)

    def theirs(x):
        given = None if w is None else torch.tensor(w)
        return getattr(F, name)(x, torch.tensor(target).long(), given, **options)

    return mine, theirs


@exercise("cross_entropy")
def test_smoothing(rng):
    w = np.array(rng.uniform(3, low=0.2, high=3.0))
    for shape, epsilon in itertools.product([(3,), (4, 3), (2, 3, 4)], (0.1, 0.5, 1)):
        x, target = drawn(rng, shape)
        if target.size > 1:
            target.reshape(-1)[0] = -100
        for weight, reduction in itertools.product((None, w), REDUCTIONS):
            compare(f"cross_entropy of {shape}, label_smoothing={epsilon}, {reduction}, "
                    f"{'no weights' if weight is None else 'weights'}",
                    *of_classes("cross_entropy", target, weight, reduction=reduction,
                                label_smoothing=epsilon), rng, x, terms=32)  # fmt: skip


@exercise("cross_entropy")
def test_probabilities(rng):
    w = np.array(rng.uniform(3, low=0.2, high=3.0))
    for shape, epsilon in itertools.product([(3,), (4, 3), (2, 3, 4), (0, 3)], (0.0, 0.2)):
        x = 3 * np.array(rng.normal(*shape))
        q = np.array(rng.uniform(*shape))
        for weight, reduction in itertools.product((None, w), REDUCTIONS):
            if reduction == "mean" and 0 in shape:
                continue
            options = {"reduction": reduction, "label_smoothing": epsilon}
            mine = None if weight is None else constant(weight)
            theirs = None if weight is None else torch.tensor(weight)
            compare(f"cross_entropy of {shape} with probabilities, {options}, "
                    f"{'no weights' if weight is None else 'weights'}",
                    lambda a, b, m=mine, o=options: day.cross_entropy(a, b, m, **o),
                    lambda a, b, t=theirs, o=options: F.cross_entropy(a, b, t, **o),
                    rng, x, q, terms=32)  # fmt: skip


@each(CLASSES)
def test_classes(name, rng):
    for shape, weighted, reduction in itertools.product(LOGITS, (False, True), REDUCTIONS):
        x, target = drawn(rng, shape)
        weight = np.array(rng.uniform(shape[min(1, len(shape) - 1)], low=0.2, high=3.0))
        weight = weight if weighted else None
        if reduction == "mean" and not target.size:
            continue
        what = f"{name} of {shape}, {reduction}{', with weights' if weighted else ''}"
        compare(what, *of_classes(name, target, weight, reduction=reduction), rng, x, terms=32)
        if target.size > 1:
            ignored = target.copy()
            ignored.reshape(-1)[::2] = -100
            compare(f"{what}, half of it ignored",
                    *of_classes(name, ignored, weight, reduction=reduction), rng, x,
                    terms=32)  # fmt: skip


@each(CLASSES)
def test_any_class_may_be_ignored(name, rng):
    x, w = 3 * np.array(rng.normal(4, 3)), np.array(rng.uniform(3)) + 0.2
    for index in (0, 2, 7, -1):
        target = np.array([1, index, 1, index])
        for weight, reduction in itertools.product((None, w), REDUCTIONS):
            compare(f"{name} with ignore_index={index}, {reduction}",
                    *of_classes(name, target, weight, ignore_index=index, reduction=reduction),
                    rng, x, terms=16)  # fmt: skip


@each(CLASSES)
def test_nothing_is_counted(name, rng):
    for shape, target in [((0, 3), np.zeros(0, int)), ((2, 3), np.array([-100, -100]))]:
        for weight in (None, np.array([1.0, 2.0, 3.0])):
            for reduction, right in (("mean", math.nan), ("sum", 0.0)):
                what = f"{name}, {reduction}, of {shape} and targets {target.tolist()}"
                x = leaf(np.zeros(shape))
                out = silent(what, of_classes(name, target, weight, reduction=reduction)[0], x)
                close(out.data, np.array(right), name=what)
                silent(f"{what}, backward", out.backward)
                close(x.grad.data, np.zeros(shape), name=f"{what}: gradient")


@each(CLASSES)
def test_impossible_classes_do_no_harm(name, rng):
    """-inf where it is not asked for, and in an example that is ignored."""
    x = np.array(rng.normal(3, 3))
    x[0, 1] = x[1, 0] = -math.inf
    x[2] = [-math.inf, -math.inf, 0.0]
    for weight, reduction in itertools.product((None, [1.0, 2.0, 3.0]), REDUCTIONS):
        f, theirs = of_classes(name, [0, 2, -100], weight, reduction=reduction)
        compare(f"{name} with masks, {reduction}", f, theirs, rng, x, twice=False)


@each(CLASSES)
@pytest.mark.parametrize("kind", ["int32", "uint8", "int16"])
def test_targets_of_other_integers(name, kind, rng):
    x, target = drawn(rng, (4, 3))
    f, theirs = of_classes(name, target.astype(kind))
    compare(f"{name} with targets of {kind}", f, theirs, rng, x)


@each(CLASSES)
def test_classes_of_any_strides(name, rng):
    x, target = drawn(rng, (4, 3))
    f, theirs = of_classes(name, target)
    compare(f"{name} of a transposed input", lambda a: f(a.T), lambda a: theirs(a.T), rng, x.T)


@each(CLASSES)
def test_classes_are_refused(name, rng):
    for x, t in [((2, 3), (3,)), ((3,), (1,)), ((2, 3, 4), (2, 3)), ((2, 3), (2, 1)), ((), ()),
                 ((2, 3), ()), ((2, 0), (2,)), ((2, 3), (2, 3))]:  # fmt: skip
        refused(getattr(day, name), leaf(rng.normal(*x)), constant(np.zeros(t, int)),
                what=f"{name} of {x} and targets {t}", names=[name, x, t])  # fmt: skip
    for shape in ((2,), (4,), (1, 3), ()):
        refused(getattr(day, name), leaf(rng.normal(2, 3)), constant([0, 1]),
                constant(np.ones(shape)), what=f"{name} with weights of {shape} for 3 classes",
                names=[name, shape])  # fmt: skip
    for bad in (3, 100, -1, -3, -99):
        with pytest.raises(IndexError) as refusal:
            getattr(day, name)(leaf(rng.normal(2, 3)), constant([0, bad]))
            pytest.fail(f"{name}: a target of {bad} among 3 classes: an IndexError was due")
        message = str(refusal.value)
        assert name in message and str(bad) in message, f"which target? {message}"
    kinds = ["bool"] if name == "cross_entropy" else ["bool", "float64"]
    for kind in kinds:
        with pytest.raises(TypeError) as refusal:
            getattr(day, name)(leaf(rng.normal(2, 2)), constant(np.zeros(2, kind)))
            pytest.fail(f"{name} with targets of {kind} went through: a TypeError was due")
        assert name in str(refusal.value), f"which loss? {refusal.value}"


@exercise("cross_entropy")
def test_refusals_of_cross_entropy(rng):
    for epsilon in (-0.1, 1.5, math.nan):
        refused(day.cross_entropy, leaf(rng.normal(2, 3)), constant([0, 1]),
                label_smoothing=epsilon, what=f"label_smoothing={epsilon}",
                names=["cross_entropy", "label_smoothing"])  # fmt: skip
    for shape in ((2,), (3, 2), (2, 1)):
        refused(day.cross_entropy, leaf(rng.normal(2, 3)), constant(np.zeros(shape)),
                what=f"probabilities of {shape} for logits of (2, 3)",
                names=["cross_entropy", shape, (2, 3)])  # fmt: skip


@exercise("cross_entropy")
def test_large_logits(rng):
    rows = np.array([[1e4, 0.0, -1e4], [-1e4, 0.0, 1e4], [1e4, 1e4, -1e4]])
    for target in ([0, 0, 0], [2, 2, 2], [1, 1, 1]):
        for reduction in REDUCTIONS:
            compare(f"cross_entropy of logits of 1e4, targets {target}, {reduction}",
                    *of_classes("cross_entropy", target, reduction=reduction), rng, rows,
                    scale=1.0)  # fmt: skip
        f, theirs = of_classes("cross_entropy", target, label_smoothing=0.1)
        compare(f"smoothed, of logits of 1e4, targets {target}", f, theirs, rng, rows, scale=1.0)


@exercise("cross_entropy")
def test_no_table_of_classes_by_classes(rng):
    x, target = leaf(rng.normal(4, 3000)), constant(rng.integers(0, 3000, 4))

    def both_ways():
        day.cross_entropy(x, target, label_smoothing=0.1).backward()

    both_ways()
    _, seen = watch(both_ways)
    arrays = seen.peak_bytes / x.data.nbytes
    assert arrays <= 12, (
        f"4 examples of 3000 classes took {arrays:.1f} times the logits; 12 allowed"
    )


# -- optimisers --------------------------------------------------------------------------------


class Noting(day.Optimizer):
    """Goes along the gradient, and notes what it was given."""

    def __init__(self, params, lr=0.5, **more):
        self.calls = []
        super().__init__(params, {"lr": lr, **more})

    def update(self, p, grad, group):
        self.calls.append((p, grad.copy(), group, day22.mode.recording))
        grad *= group["lr"]
        day.writable(p)[...] -= grad


def with_grads(rng, *shapes, kind="float64"):
    made = []
    for shape in shapes:
        p = leaf(np.array(rng.normal(*shape)).astype(kind))
        p.grad = leaf(np.array(rng.normal(*shape)).astype(kind), False)
        made.append(p)
    return made


def ids(params):
    return [id(p) for p in params]


@exercise("Optimizer")
def test_groups_are_made(rng):
    a, b, c, d = with_grads(rng, (2,), (3,), (2,), ())
    for given_ in ([a, b], (a, b), iter([a, b])):
        optimizer = Noting(given_)
        (group,) = optimizer.param_groups
        assert isinstance(group["params"], list) and ids(group["params"]) == ids([a, b])
        assert group["lr"] == 0.5
    mine = {"params": d, "lr": 2.0, "mine": "x"}
    optimizer = Noting([{"params": iter([a, b])}, {"params": [c]}, mine], lr=0.1, decay=7)
    found = [(ids(g["params"]), g["lr"], g["decay"], g.get("mine")) for g in optimizer.param_groups]
    wanted = [(ids([a, b]), 0.1, 7, None), (ids([c]), 0.1, 7, None), (ids([d]), 2.0, 7, "x")]
    assert found == wanted, "lr, decay and mine of the groups are " + ", ".join(
        str(values) for _, *values in found
    )
    assert set(mine) == {"params", "lr", "mine"} and mine["params"] is d, (
        f"the dict that was given has {sorted(mine)} now: the group is to be a copy"
    )
    assert optimizer.defaults == {"lr": 0.1, "decay": 7}, "the defaults changed"
    optimizer.add_param_group({"params": leaf([1.0])})
    assert len(optimizer.param_groups) == 4 and optimizer.param_groups[3]["lr"] == 0.1


@exercise("Optimizer")
def test_equal_parameters_are_two():
    """Parameters are told apart as objects: not by their elements, not by their shapes."""
    a, b, c = leaf([1.0, 2.0]), leaf([1.0, 2.0]), leaf([1.0, 2.0, 3.0])
    optimizer = Noting([{"params": [a]}, {"params": [c, b]}])
    numbers = [g["params"] for g in optimizer.state_dict()["param_groups"]]
    assert numbers == [[0], [1, 2]], f"three parameters got the numbers {numbers}"


@exercise("Optimizer")
def test_groups_are_refused(rng):
    a, b, c = with_grads(rng, (2,), (2,), (3,))
    optimizer = Noting([a, b])
    attempts = {
        "a parameter of another group": ({"params": [c, b]}, ValueError),
        "one parameter twice in a group": ({"params": [c, c]}, ValueError),
        "the result of an operation": ({"params": [c, a * 2.0]}, ValueError),
        "an array": ({"params": [c, np.ones(2)]}, TypeError),
        "a set": ({"params": {c}}, TypeError),
        "a frozenset": ({"params": frozenset([c])}, TypeError),
    }
    for what, (group, kind) in attempts.items():
        before = dict(group)
        with pytest.raises(kind) as refusal:
            optimizer.add_param_group(group)
            pytest.fail(f"{what} was taken: a {kind.__name__} was due")
        if what == "an array":
            assert "ndarray" in str(refusal.value), f"of which type? {refusal.value}"
        assert len(optimizer.param_groups) == 1, f"{what} was refused, and the group is there"
        assert group.keys() == before.keys() and group["params"] is before["params"], (
            f"{what} was refused, and the dict that was given changed"
        )
    optimizer.add_param_group({"params": [c]})
    assert ids(optimizer.param_groups[1]["params"]) == ids([c])
    for nothing in ([], iter([])):
        refused(Noting, nothing, what="an optimiser of no parameters")
    constant_ = leaf([1.0], False)
    assert Noting([constant_]).param_groups, "a tensor that requires no gradient is a leaf too"


@exercise("Optimizer")
def test_zero_grad(rng):
    a, b, c, d = with_grads(rng, (2, 3), (), (4,), (2,))
    b.grad = None
    optimizer = Noting([{"params": [a, b]}, {"params": [c, d]}])
    held, array = c.grad, c.grad.data
    d.grad = (leaf([1.0, 2.0]) * 3.0) * leaf([1.0, 1.0])
    assert d.grad.requires_grad
    optimizer.zero_grad(set_to_none=False)
    for p in (a, c, d):
        assert p.grad is not None and not p.grad.data.any(), f"zero_grad(False) left {p.grad}"
        assert not p.grad.requires_grad and p.grad.node is None, "a zeroed gradient has a past"
    assert b.grad is None, "a parameter without a gradient got zeros"
    assert c.grad.data is array and not held.data.any(), "zeros were to be written in place"
    assert c.grad._version >= 1, "the gradient was changed in place, and nobody counted"
    optimizer.zero_grad()
    assert all(p.grad is None for p in (a, b, c, d)), "zero_grad() left a gradient behind"


@exercise("Optimizer")
def test_step_calls_update(rng):
    a, b, c, d = with_grads(rng, (2, 3), (), (4,), (2,))
    c.grad = None
    before = {id(p): p.data.copy() for p in (a, b, c, d)}
    grads = {id(p): p.grad.data.copy() for p in (a, b, d)}
    held = {id(p): p.grad for p in (a, b, d)}
    optimizer = Noting([{"params": [a, b, c]}, {"params": [d], "maximize": True}])
    assert optimizer.step() is None, "step() without a closure gives None"
    assert sorted(id(p) for p, *_ in optimizer.calls) == sorted(ids([a, b, d])), (
        f"update was called {len(optimizer.calls)} times: once for each of the three parameters "
        "that have a gradient"
    )
    for p, grad, group, recording in optimizer.calls:
        assert not recording, "a step is recorded"
        assert isinstance(grad, np.ndarray), f"update got a {type(grad).__name__}: an array is due"
        sign = -1 if p is d else 1
        close(grad, sign * grads[id(p)], name=f"what update gets for {p.shape}, maximize {p is d}")
        assert group is optimizer.param_groups[p is d], "update got another group"
        close(p.data, before[id(p)] - 0.5 * grad, name=f"the parameter of {p.shape}")
        assert p.grad is held[id(p)], "p.grad is another tensor after a step"
        close(p.grad.data, grads[id(p)], name="p.grad after a step in which update wrote into grad")
    close(c.data, before[id(c)], name="a parameter without a gradient")
    assert day22.mode.recording, "after a step recording stayed off"


@exercise("Optimizer")
def test_the_gradient_comes_in_the_dtype_of_the_parameter(rng):
    p = leaf(np.ones(3, np.float32))
    p.grad = leaf(rng.normal(3), False)
    optimizer = Noting([p], maximize=True)
    optimizer.step()
    assert optimizer.calls[0][1].dtype == np.float32 == p.dtype


@exercise("Optimizer")
def test_closure(rng):
    p = leaf([3.0])
    p.grad = leaf([100.0], False)
    optimizer = Noting([p])
    calls = []

    def closure():
        calls.append(p.item())
        optimizer.zero_grad()
        loss = (p * p).sum()
        loss.backward()
        return loss

    loss = optimizer.step(closure)
    assert calls == [3.0], f"the closure saw p = {calls}: it is called once, before the update"
    assert loss is not None and loss.item() == 9.0, f"step(closure) gave {loss}, not the loss"
    assert p.item() == 0.0, f"p is {p.item()}: the gradient that the closure made leads to 0"

    def fails():
        raise KeyError("on purpose")

    with pytest.raises(KeyError):
        optimizer.step(fails)
    assert day22.mode.recording, "an exception left step, and recording stayed off"
    with pytest.raises(NotImplementedError):
        day.Optimizer([p], {}).step()


class Keeping(Noting):
    """Keeps what an optimiser may keep: a count, a tensor, a number, None."""

    def update(self, p, grad, group):
        state = self.state[p]
        if not state:
            state["step"] = p._made(np.zeros((), np.float32))
            state["sum"] = p._made(np.zeros_like(p.data))
            state["number"], state["none"] = 7, None
        day.writable(state["step"])[...] += 1
        day.writable(state["sum"])[...] += grad
        super().update(p, grad, group)


def kept(rng, kind="float64"):
    params = with_grads(rng, (2,), (), (3,), (2,), kind=kind)
    params[1].grad = None
    optimizer = Keeping(
        [{"params": params[:2]}, {"params": params[2:], "lr": 0.1, "betas": [1, 2]}], decay=0.3
    )
    optimizer.step()
    return params, optimizer


@exercise("Optimizer")
def test_state_dict(rng):
    params, optimizer = kept(rng)
    saved = optimizer.state_dict()
    assert list(saved) == ["state", "param_groups"] or set(saved) == {"state", "param_groups"}
    found = [dict(group) for group in saved["param_groups"]]
    wanted = [{"lr": 0.5, "decay": 0.3, "params": [0, 1]},
              {"lr": 0.1, "decay": 0.3, "betas": [1, 2], "params": [2, 3]}]  # fmt: skip
    assert found == wanted, f"the groups were saved as {found}"
    assert set(saved["state"]) == {0, 2, 3}, (
        f"the state of 0, 2 and 3 was to be saved, and there is that of {set(saved['state'])}"
    )
    for number, values in saved["state"].items():
        assert set(values) == {"step", "sum", "number", "none"}
        assert values["number"] == 7 and values["none"] is None
        close(values["sum"].data, params[number].grad.data, name=f"the sum of parameter {number}")
    assert ids(optimizer.param_groups[0]["params"]) == ids(params[:2]), (
        "saving put numbers into the optimiser's own groups"
    )


@exercise("Optimizer")
def test_load_state_dict(rng):
    for other in ("float64", "float32"):
        _, optimizer = kept(rng)
        saved = copy.deepcopy(optimizer.state_dict())
        before = copy.deepcopy(saved)
        params = with_grads(rng, (2,), (), (3,), (2,), kind=other)
        values = [p.data.copy() for p in params]
        fresh = Keeping([{"params": params[:2]}, {"params": params[2:]}], lr=9.0, new=5)
        fresh.load_state_dict(saved)
        for p, old in zip(params, values, strict=True):
            assert np.array_equal(p.data, old), "loading changed a parameter"
        assert [ids(g["params"]) for g in fresh.param_groups] == [ids(params[:2]), ids(params[2:])]
        settings = [(g["lr"], g["decay"], g["new"], g.get("betas")) for g in fresh.param_groups]
        assert settings == [(0.5, 0.3, 5, None), (0.1, 0.3, 5, [1, 2])], (
            f"the settings are {settings}: the saved ones, and defaults for what they lack"
        )
        assert set(ids(fresh.state)) == set(ids([params[0], params[2], params[3]]))
        for number in (0, 2, 3):
            mine, was = fresh.state[params[number]], saved["state"][number]
            assert isinstance(mine["sum"], day.Tensor) and not mine["sum"].requires_grad
            close(mine["sum"].data, was["sum"].data, dtype=other, name="a tensor that was loaded")
            assert mine["step"].dtype == np.float32 and mine["step"].item() == 1.0, (
                f"the count became {mine['step']}: it keeps its dtype"
            )
            assert mine["number"] == 7 and mine["none"] is None
        fresh.step()
        fresh.param_groups[1]["betas"].append(3)
        for number in (0, 2, 3):
            assert np.array_equal(saved["state"][number]["sum"].data,
                                  before["state"][number]["sum"].data), (
                "a step after loading changed the state_dict that was loaded"
            )  # fmt: skip
        assert saved["param_groups"] == before["param_groups"], "the groups that were saved changed"


@exercise("Optimizer")
def test_saved_numbers_are_names(rng):
    """Which number a saved parameter has is of no importance; its place in its group is."""
    _, optimizer = kept(rng)
    saved = copy.deepcopy(optimizer.state_dict())
    saved["param_groups"][0]["params"], saved["param_groups"][1]["params"] = [20, 11], [5, 0]
    states = saved["state"]
    saved["state"] = {20: states[0], 5: states[2], 0: states[3]}
    params = with_grads(rng, (2,), (), (3,), (2,))
    fresh = Keeping([{"params": params[:2]}, {"params": params[2:]}])
    fresh.load_state_dict(saved)
    for number, place in ((20, 0), (5, 2), (0, 3)):
        close(fresh.state[params[place]]["sum"].data, saved["state"][number]["sum"].data,
              name=f"the state of the parameter that was saved as {number}")  # fmt: skip


@exercise("Optimizer")
def test_other_groups_are_refused(rng):
    _, optimizer = kept(rng)
    saved = optimizer.state_dict()
    for sizes in ([4], [1, 3], [2, 2, 1]):
        params = iter(with_grads(rng, *[(2,)] * sum(sizes)))
        other = Keeping([{"params": [next(params) for _ in range(n)]} for n in sizes], lr=9.0)
        refused(other.load_state_dict, saved, names=[2, sizes[0]],
                what=f"a state_dict of groups of [2, 2], for groups of {sizes}")  # fmt: skip
        assert not other.state and other.param_groups[0]["lr"] == 9.0, "refused, and it changed"


# -- SGD ---------------------------------------------------------------------------------------


KINDS = [(3, 4), (5,), (), (0, 2), (2, 1, 3), (4, 2)]
STEPS = 50


def parameters(rng):
    """Of all kinds of shapes; the last one is a transposed view."""
    made = [leaf(rng.normal(*shape)) for shape in KINDS]
    made[-1] = day.Tensor._made(np.array(rng.normal(2, 4)).T)
    made[-1].requires_grad = True
    return made


def twins(params):
    return [torch.nn.Parameter(torch.tensor(p.data.copy())) for p in params]


def gradients(rng, steps=STEPS):
    """For each step an array for each parameter: of very different sizes, with zeros."""
    sizes = [1e-3, 1.0, 30.0, 1.0, 1e3, 1e-6]
    out = []
    for _ in range(steps):
        step = [s * np.array(rng.normal(*shape)) for s, shape in zip(sizes, KINDS, strict=True)]
        out.append([g * (np.array(rng.uniform(*g.shape)) > 0.2) for g in step])
    return out


def feed(params, grads):
    for p, g in zip(params, grads, strict=True):
        if isinstance(p, torch.Tensor):
            p.grad = None if g is None else torch.tensor(np.array(g))
        else:
            p.grad = None if g is None else leaf(g, False)


def same(params, others, what, digits=1e-12):
    for p, q in zip(params, others, strict=True):
        mine = p.data
        theirs = q.detach().numpy() if isinstance(q, torch.Tensor) else q.data
        assert mine.shape == theirs.shape, f"{what}: a parameter of {theirs.shape} is {mine.shape}"
        error = np.abs(mine - theirs).max(initial=0.0)
        room = digits * max(1.0, np.abs(theirs).max(initial=0.0))
        assert error <= room, f"{what}: the parameter of shape {mine.shape} is off by {error:.3g}"


def numbers_of(settings):
    return ", ".join(f"{k}={v}" for k, v in settings.items())


def options():
    """Every combination that SGD takes."""
    for momentum, dampening, decay, nesterov, maximize in itertools.product(
        (0.0, 0.9), (0.0, 0.4), (0.0, 0.2), (False, True), (False, True)
    ):
        if nesterov and (dampening or not momentum):
            continue
        yield {"lr": 0.03, "momentum": momentum, "dampening": dampening, "weight_decay": decay,
               "nesterov": nesterov, "maximize": maximize}  # fmt: skip


@exercise("SGD")
def test_sgd_steps_by_hand(rng):
    """Three steps of one number, by the formulas of the docstring."""
    for settings_ in options():
        lr, momentum, dampening, decay, nesterov, maximize = settings_.values()
        start = right = rng.normal(1).item()
        buffer = None
        p = leaf(np.full((2, 1), start))
        view = p.detach()
        optimizer = day.SGD([{"params": [p], **settings_}], lr=7.0)
        for number, g in enumerate(rng.normal(3).tolist(), 1):
            p.grad = leaf(np.full((2, 1), g), False)
            optimizer.step()
            d = (-g if maximize else g) + decay * right
            if momentum:
                buffer = d if buffer is None else momentum * buffer + (1 - dampening) * d
                d = d + momentum * buffer if nesterov else buffer
            right -= lr * d
            what = f"SGD({numbers_of(settings_)}), step {number}"
            close(p.data, np.full((2, 1), right), terms=4, scale=4.0, name=what)
            close(view.data, p.data, name=f"{what}: a view of the parameter")
            assert p._version >= number, f"{what}: {p._version} changes are counted"


@exercise("SGD")
def test_sgd_state(rng):
    for kind in ("float64", "float32", "float16"):
        p = leaf(np.ones((2, 3), kind))
        optimizer = day.SGD([p], lr=0.1, momentum=0.9)
        assert not optimizer.state, "there is a state before the first step"
        p.grad = leaf(np.full((2, 3), 0.5, kind), False)
        optimizer.step()
        assert list(optimizer.state[p]) == ["momentum_buffer"], f"the state: {optimizer.state[p]}"
        buffer = optimizer.state[p]["momentum_buffer"]
        assert isinstance(buffer, day.Tensor), f"the buffer is a {type(buffer).__name__}"
        assert buffer.shape == (2, 3) and buffer.dtype == np.dtype(kind) == p.dtype
        assert not buffer.requires_grad and buffer.node is None, "the buffer is part of a graph"
        p.grad.zero_()
        assert (buffer.data == 0.5).all(), "zeroing the gradient changed the momentum"
        array = buffer.data
        optimizer.step()
        assert optimizer.state[p]["momentum_buffer"].data is array, (
            "the buffer is another array now"
        )
    p = leaf(np.ones(3))
    optimizer = day.SGD([p], lr=0.1, weight_decay=0.1)
    p.grad = leaf(np.ones(3), False)
    optimizer.step()
    assert not optimizer.state_dict()["state"], "without momentum nothing is to be remembered"


@exercise("SGD")
def test_sgd_writes_in_place(rng):
    for settings_ in (
        {},
        {"momentum": 0.9},
        {"momentum": 0.9, "nesterov": True, "weight_decay": 1.0},
    ):
        w = leaf(rng.normal(3, 2))
        row, array, before = w.detach()[1], w.data, w.data.copy()
        optimizer = day.SGD([w], lr=0.1, **settings_)
        y = (w * w).sum()
        y.backward(retain_graph=True)
        optimizer.step()
        assert w.data is array, "the parameter has another array now"
        assert not np.array_equal(row.data, before[1]), "a view of the parameter saw nothing"
        assert w.requires_grad and w.is_leaf and w.node is None, "the parameter is no leaf any more"
        assert w._version >= 1, "the parameter was changed in place, and nobody counted"
        with pytest.raises(RuntimeError):
            y.backward()
            pytest.fail("w changed between forward and backward, and the backward went through")


@exercise("SGD")
def test_sgd_memory(rng):
    everything = {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1, "maximize": True}
    for settings_ in ({}, {"weight_decay": 0.1}, {"momentum": 0.9, "dampening": 0.5}, everything):
        p = leaf(np.ones(SIZE))
        p.grad = leaf(np.ones(SIZE), False)
        optimizer = day.SGD([p], lr=0.1, **settings_)
        optimizer.step()
        _, seen = watch(optimizer.step)
        arrays = seen.peak_bytes / (8 * SIZE)
        assert arrays < 2.2, (
            f"a step of SGD({numbers_of(settings_)}) takes {arrays:.1f} arrays of the size of p; "
            "two are allowed"
        )
        assert seen.live_bytes < 2 * SIZE, "a later step keeps something new"


@exercise("SGD")
def test_sgd_takes_the_steps_of_torch(rng):
    grads = gradients(rng, STEPS)
    for settings_ in options():
        params = parameters(rng)
        others = twins(params)
        mine, theirs = day.SGD(params, **settings_), torch.optim.SGD(others, **settings_)
        for number, step in enumerate(grads, 1):
            feed(params, step)
            feed(others, step)
            mine.step()
            theirs.step()
            for p, g in zip(params, step, strict=True):
                assert np.array_equal(p.grad.data, g), f"step {number} changed a gradient"
            if number in (1, 2, 3, STEPS):
                same(params, others, f"SGD({numbers_of(settings_)}) after step {number}")


@exercise("SGD")
def test_sgd_has_the_defaults_of_torch():
    mine, theirs = day.SGD([leaf([1.0])]), torch.optim.SGD(twins([leaf([1.0])]))
    for name, value in mine.defaults.items():
        assert theirs.defaults[name] == value, f"{name} is {value} unless it is given"
    mine = day.SGD([leaf([1.0])], 0.1, 0.2, 0.3, 0.4, False, maximize=True)
    group = mine.param_groups[0]
    assert [group[k] for k in ("lr", "momentum", "dampening", "weight_decay")] == [
        0.1, 0.2, 0.3, 0.4
    ]  # fmt: skip


@exercise("SGD")
def test_sgd_groups(rng):
    """Settings of each group, changed on the way; parameters that rest, start late, or stop."""
    params = parameters(rng)
    others = twins(params)

    def made(kind, of):
        return kind(
            [{"params": of[:2], "momentum": 0.9, "dampening": 0.1},
             {"params": of[2:4], "momentum": 0.5, "nesterov": True, "lr": 0.1},
             {"params": of[4:], "weight_decay": 0.1, "maximize": True}], lr=0.02
        )  # fmt: skip

    mine, theirs = made(day.SGD, params), made(torch.optim.SGD, others)
    for number, step in enumerate(gradients(rng), 1):
        step = [None if (i == 1 and number <= 5) or (i == 2 and number % 3 == 0)
                or (i == 4 and number > 10) else g for i, g in enumerate(step)]  # fmt: skip
        feed(params, step)
        feed(others, step)
        if number == 20:
            for optimizer in (mine, theirs):
                optimizer.param_groups[0]["lr"] = 0.3
                optimizer.param_groups[2]["weight_decay"] = 0.4
                optimizer.param_groups[2]["momentum"] = 0.7
        mine.step()
        theirs.step()
        if number <= 5:
            assert not mine.state.get(params[1]), "a parameter without a gradient got a state"
        same(params, others, f"SGD with three groups after step {number}")


def to_torch(saved):
    """A state_dict with torch's tensors in it."""
    return {
        "param_groups": copy.deepcopy(saved["param_groups"]),
        "state": {
            n: {k: torch.tensor(v.data.copy()) if isinstance(v, day.Tensor) else v
                for k, v in values.items()}
            for n, values in saved["state"].items()
        },
    }  # fmt: skip


@exercise("SGD")
def test_sgd_saved_in_the_middle(rng):
    """Here and in torch, from here and from torch, all go on as if nothing had happened."""
    settings_ = {"lr": 0.05, "momentum": 0.9, "dampening": 0.2, "weight_decay": 0.1}
    steps = gradients(rng)
    params = parameters(rng)
    others = twins(params)
    mine = day.SGD([{"params": params[:3]}, {"params": params[3:], "lr": 0.007}], **settings_)
    theirs = torch.optim.SGD([{"params": others[:3]}, {"params": others[3:], "lr": 0.007}],
                             **settings_)  # fmt: skip
    for step in steps[:20]:
        for many, optimizer in ((params, mine), (others, theirs)):
            feed(many, step)
            optimizer.step()
    saved, saved_there = copy.deepcopy(mine.state_dict()), copy.deepcopy(theirs.state_dict())
    assert saved["state"].keys() == saved_there["state"].keys()
    for group, wanted in zip(saved["param_groups"], saved_there["param_groups"], strict=True):
        for name, value in group.items():
            assert wanted[name] == value, f"{name} was saved as {value}, torch has {wanted[name]}"
    runs = [(params, mine, "SGD that was not stopped"), (others, theirs, "torch")]
    for what, state, kind in [
        ("saved and loaded", saved, day.SGD),
        ("from torch's state", saved_there, day.SGD),
        ("torch, from your state", to_torch(saved), torch.optim.SGD),
    ]:
        copies = [leaf(p.data) for p in params] if kind is day.SGD else twins(params)
        fresh = kind([{"params": copies[:3]}, {"params": copies[3:]}])
        fresh.load_state_dict(state)
        runs.append((copies, fresh, what))
    for step in steps[20:]:
        for many, optimizer, _ in runs:
            feed(many, step)
            optimizer.step()
    wanted = [q.detach().numpy() for q in others]
    for many, _, what in runs:
        found = [m.detach().numpy() if isinstance(m, torch.Tensor) else m.data for m in many]
        for a, b in zip(found, wanted, strict=True):
            error = np.abs(a - b).max(initial=0.0)
            assert error <= 1e-12 * max(1.0, np.abs(b).max(initial=0.0)), (
                f"{what}: 30 steps later a parameter of {b.shape} is off by {error:.3g}"
            )
    for p, q in zip(params, runs[2][0], strict=True):
        assert np.array_equal(p.data, q.data), "saved and loaded, a last bit differs"


@exercise("SGD")
def test_sgd_of_an_infinite_parameter():
    """Without decay nothing of the parameter is in the step, and 0 times inf is nowhere."""
    p = leaf([math.inf, 1.0])
    p.grad = leaf([2.0, 2.0], False)
    silent("a step of SGD", day.SGD([p], lr=0.5, momentum=0.5).step)
    assert p.tolist() == [math.inf, 0.0], f"without weight_decay [inf, 1] became {p.tolist()}"


@exercise("SGD")
def test_sgd_takes_a_buffer_of_none(rng):
    """Older versions of torch save one for a parameter that has made no step."""
    p, q = leaf([1.0]), leaf([1.0])
    optimizer = day.SGD([p], lr=0.1, momentum=0.9, dampening=0.5)
    saved = optimizer.state_dict()
    saved["state"] = {0: {"momentum_buffer": None}}
    optimizer.load_state_dict(saved)
    fresh = day.SGD([q], lr=0.1, momentum=0.9, dampening=0.5)
    for x, o in ((p, optimizer), (q, fresh)):
        x.grad = leaf([2.0], False)
        o.step()
    assert p.item() == q.item(), "a momentum_buffer of None is no buffer: it is the first step"


@exercise("SGD")
def test_sgd_refuses():
    dampened = {"nesterov": True, "momentum": 0.9, "dampening": 0.1}
    for settings_ in ({"lr": -0.1}, {"lr": math.nan}, {"momentum": -1.0}, {"weight_decay": -0.1},
                      {"nesterov": True}, dampened):  # fmt: skip
        refused(day.SGD, [leaf([1.0])], **settings_, what=f"SGD({numbers_of(settings_)})")
    p = leaf([1.0])
    p.grad = leaf([2.0], False)
    day.SGD([p], lr=0.0).step()
    assert p.item() == 1.0, f"with lr = 0, which is allowed, p became {p.item()}"


@exercise("SGD")
@settings(max_examples=15)
@given(data=st.data())
def test_sgd_of_any_groups(data):
    """Any number of groups with any settings, saved and loaded at any step: torch's parameters."""
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1), label="seed"))
    choice = st.sampled_from(list(options()))
    sizes = data.draw(st.lists(st.integers(1, 3), min_size=1, max_size=3), label="sizes")
    groups = [data.draw(choice, label="settings") for _ in sizes]
    values = [[rng.normal(size=rng.integers(0, 4)) for _ in range(n)] for n in sizes]
    params = [[leaf(v) for v in some_] for some_ in values]
    others = [twins(some_) for some_ in params]
    mine = day.SGD([{"params": p, **g} for p, g in zip(params, groups, strict=True)])
    theirs = torch.optim.SGD([{"params": p, **g} for p, g in zip(others, groups, strict=True)])
    stop = data.draw(st.integers(0, 6), label="stop")
    flat, flat_others = ([p for some_ in many for p in some_] for many in (params, others))
    for number in range(6):
        if number == stop:
            saved = copy.deepcopy(mine.state_dict())
            mine = day.SGD([{"params": p} for p in params], lr=5.0)
            mine.load_state_dict(saved)
        step = [rng.normal(size=p.shape) if rng.random() < 0.8 else None for p in flat]
        feed(flat, step)
        feed(flat_others, step)
        mine.step()
        theirs.step()
    same(flat, flat_others, "SGD of random groups")


# -- all of it ---------------------------------------------------------------------------------


def network(x, w, b, v, c):
    return (x @ w + b).sigmoid() @ v + c


@each(["mse_loss", "huber_loss", "binary_cross_entropy_with_logits", "nll_loss", "cross_entropy"])
def test_training_for_50_steps(name, rng):
    """A small network, a loss, SGD: all values and all parameters of torch."""
    x = np.array(rng.normal(12, 4))
    classes = np.array(rng.integers(0, 3, 12))
    target = np.array(rng.uniform(12, 3)) if name in PAIRS else classes
    params = [leaf(rng.normal(*s)) for s in ((4, 5), (5,), (5, 3), (3,))]
    others = twins(params)
    settings_ = {"lr": 0.1, "momentum": 0.8, "weight_decay": 0.01, "nesterov": True}
    mine, theirs = day.SGD(params, **settings_), torch.optim.SGD(others, **settings_)
    options_ = {"label_smoothing": 0.1} if name == "cross_entropy" else {}
    for number in range(1, STEPS + 1):
        mine.zero_grad()
        out = network(constant(x), *params)
        out = ops.log_softmax(out, 1) if name == "nll_loss" else out
        loss = getattr(day, name)(out, constant(target), **options_)
        loss.backward()
        mine.step()
        theirs.zero_grad()
        right = network(torch.tensor(x), *others)
        right = F.log_softmax(right, 1) if name == "nll_loss" else right
        right_loss = getattr(F, name)(right, torch.tensor(target), **options_)
        right_loss.backward()
        theirs.step()
        wanted = right_loss.item()
        assert abs(loss.item() - wanted) < 1e-11 * max(1, abs(wanted)), (
            f"{name}: the loss is {loss.item()} in step {number}, and torch's {wanted}"
        )
    same(params, others, f"trained with {name} and SGD for {STEPS} steps", 1e-10)
