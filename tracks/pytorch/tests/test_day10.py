"""Day 10: losses and their gradients against torch's in float64, with all that is asked of them."""

import math
import re
import sys

import pytest
import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode

from harness.testing import close, exercise, layouts, shapes, watch
from tracks.pytorch import day10

DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]
REDUCTIONS = ["mean", "sum", "none"]
BAN = (
    "mse_loss l1_loss smooth_l1_loss huber_loss binary_cross_entropy kl_div nll_loss nll_loss_nd "
    "nll_loss2d nll_loss_forward binary_cross_entropy_with_logits cross_entropy poisson_nll_loss "
    "gaussian_nll_loss soft_margin_loss multilabel_soft_margin_loss cosine_embedding_loss "
    "cross_entropy_loss linear_cross_entropy softplus logsigmoid log_sigmoid log_sigmoid_forward "
    "triplet_margin_loss"
).split()
EPS = {torch.float64: 1e-15, torch.float32: 1e-6, torch.bfloat16: 2.0**-7, torch.float16: 2.0**-10}


def run(f, *inputs, grow=None):
    """f's value and its gradients; ``grow`` makes what arrives from the shape of the value."""
    leaves = [x.detach().requires_grad_() for x in inputs]
    value = f(*leaves)
    assert value.requires_grad, "the loss is cut off from the graph: no gradient can reach anything"
    arrives = torch.full_like(value, 0.75) if grow is None else grow(value).to(value.dtype)
    gradients = torch.autograd.grad(value, leaves, arrives, allow_unused=True)
    return value.detach(), gradients


def check(mine, torchs, inputs, names, what, scale=1.0, terms=None):
    """Value and gradients of a loss against another of the same inputs in float64."""
    dtype = inputs[0].dtype
    got, gradients = run(mine, *inputs)
    wanted, right = run(torchs, *[x.double() for x in inputs])
    terms = terms or max(inputs[0].numel(), 1)
    largest = inputs[0].detach().double().abs().amax() if inputs[0].numel() else 1.0
    size = scale * max(1.0, float(largest))
    close(got, wanted, dtype=dtype, terms=terms, scale=size, name=what)
    for name, x, g, r in zip(names, inputs, gradients, right, strict=True):
        assert g is not None, f"{what}: no gradient reaches {name}"
        close(
            g,
            r,
            dtype=x.dtype,
            terms=16,
            scale=size / (1 if got.dim() else max(len(x), 1) ** 0.5) if x.dim() else size,
            name=f"{what}: gradient of {name}",
        )


def names_shape(refusal, shape):
    """The message holds these numbers in this order, written as tuple, torch.Size or 4 x 5."""
    numbers = r"\D{1,3}".join(map(str, shape))
    return re.search(rf"(?<!\d){numbers}(?!\d)", str(refusal)) is not None


def unaided(f, *inputs):
    """f(*inputs), refusing what torch.distributions computes, which `ban` does not see."""

    class Refuses(TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            frame = sys._getframe(1)
            while frame is not None:
                path = frame.f_code.co_filename.replace("\\", "/")
                assert "torch/distributions/" not in path, (
                    "torch.distributions computes this: that function is what you are to write"
                )
                frame = frame.f_back
            return func(*args, **(kwargs or {}))

    with Refuses():
        return f(*inputs)


# What all of them promise ----------------------------------------------------------------------


def soft(x):
    return torch.log_softmax(x.double(), -1).to(x.dtype)


PAIR = {
    "mse": lambda rng, dtype: (rng.normal(4, 5, dtype=dtype), rng.normal(4, 5, dtype=dtype)),
    "huber": lambda rng, dtype: (rng.normal(4, 5, dtype=dtype), rng.normal(4, 5, dtype=dtype)),
    "bce_with_logits": lambda rng, dtype: (
        rng.normal(4, 5, dtype=dtype),
        rng.uniform(4, 5, dtype=dtype),
    ),
    "cross_entropy": lambda rng, dtype: (rng.normal(4, 5, dtype=dtype), rng.integers(0, 5, 4)),
    "kl_divergence": lambda rng, dtype: (
        soft(rng.normal(4, 5, dtype=dtype)),
        soft(rng.normal(4, 5, dtype=dtype)),
    ),
    "info_nce": lambda rng, dtype: (rng.normal(4, 5, dtype=dtype), rng.normal(4, 5, dtype=dtype)),
}


def each(names, **options):
    return pytest.mark.parametrize(
        "name", [pytest.param(n, marks=exercise(n, **options)) for n in names]
    )


@each(PAIR, ban=BAN)
def test_is_written_here(name, device, rng):
    """With every option once; the other tests are quicker without the watching."""
    f = getattr(day10, name)
    first, second = PAIR[name](rng, torch.float32)
    w = rng.uniform(5)
    options = [{}]
    if name == "huber":
        options = [{"delta": 1.0}, {"delta": 0.3}, {"delta": 100.0}]
    if name == "bce_with_logits":
        options = [{}, {"weight": w}, {"pos_weight": w}, {"weight": w, "pos_weight": w}]
    if name == "cross_entropy":
        options = [{}, {"weight": w}, {"smoothing": 0.1}, {"ignore_index": 2},
                   {"weight": w, "smoothing": 0.1, "ignore_index": 1}]  # fmt: skip
    if name == "info_nce":
        options = [{}, {"temperature": 1.0}, {"temperature": w[0]}]
    for option in options:
        for reduction in REDUCTIONS if name != "info_nce" else [None]:
            kind = {} if reduction is None else {"reduction": reduction}
            unaided(lambda a, b, o={**option, **kind}: f(a, b, **o), first, second)


@each(list(PAIR)[:5])
@pytest.mark.parametrize("reduction", ["avg", "Mean", "batchmean", "", None])
def test_refuses_other_reductions(name, reduction, device, rng):
    pair = PAIR[name](rng, torch.float32)
    with pytest.raises(ValueError) as refusal:
        getattr(day10, name)(*pair, reduction=reduction)
        pytest.fail(f"reduction={reduction!r} was accepted")
    assert str(reduction) in str(refusal.value), f"which reduction? {refusal.value}"


@each(PAIR)
def test_the_mean_is_the_default(name, device, rng):
    pair = PAIR[name](rng, torch.float32)
    got = getattr(day10, name)(*pair)
    assert got.dim() == 0, f"without a reduction the result has the shape {tuple(got.shape)}"
    if name != "info_nce":
        mean = getattr(day10, name)(*pair, reduction="mean")
        assert torch.equal(got, mean), "without a reduction it should be the mean"


@each(PAIR)
def test_half_precision_is_rounded_once(name, device, rng):
    for dtype in (torch.bfloat16, torch.float16):
        pair = PAIR[name](rng, dtype)
        wide = [x.double() if x.is_floating_point() else x for x in pair]
        got, wanted = getattr(day10, name)(*pair), getattr(day10, name)(*wide)
        close(got, wanted, dtype=dtype, factor=0.6, name=f"{dtype} {name}")


@each(PAIR)
def test_nothing_is_read_back(name, device, rng):
    first, second = PAIR[name](rng, torch.float32)
    _, seen = watch(getattr(day10, name), first, second)
    assert not seen.synchronisations, (
        f"the host waits for {seen.synchronisations}: on a GPU each stops the stream of kernels"
    )


@each([n for n in PAIR if n != "cross_entropy"])
@pytest.mark.parametrize("first, second", [((4, 1), (4,)), ((4, 5), (5,)), ((3, 4), (4, 3)),
                                           ((1, 5), (4, 5)), ((2, 3), (3, 3))])  # fmt: skip
def test_refuses_two_shapes(name, first, second, device, rng):
    a, b = rng.uniform(*first), rng.uniform(*second)
    with pytest.raises(ValueError) as refusal:
        got = getattr(day10, name)(a, b)
        pytest.fail(f"{first} against {second} gave {got}")
    for shape in (first, second):
        assert names_shape(refusal.value, shape), f"which shapes? {refusal.value}"


# mse and huber -------------------------------------------------------------------------------


@exercise("mse")
@shapes("shape", (1,), (), (7,), (3, 5), (2, 3, 4), gpu=[((4096, 1023),)])
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_mse(shape, reduction, device, rng):
    for dtype in DTYPES:
        pair = [rng.normal(*shape, dtype=dtype), rng.normal(*shape, dtype=dtype)]
        check(
            lambda a, b: day10.mse(a, b, reduction=reduction),
            lambda a, b: F.mse_loss(a, b, reduction=reduction),
            pair,
            ["input", "target"],
            f"{dtype} mse of {shape}, {reduction}",
            scale=4.0,
        )


@exercise("huber")
@shapes("shape", (1,), (), (7,), (3, 5), (2, 3, 4), gpu=[((4096, 1023),)])
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("delta", [1.0, 0.3, 2, 100.0])
def test_huber(shape, reduction, delta, device, rng):
    for dtype in DTYPES:
        pair = [rng.normal(*shape, dtype=dtype, std=2.0), rng.normal(*shape, dtype=dtype)]
        check(lambda a, b: day10.huber(a, b, delta=delta, reduction=reduction),
              lambda a, b: F.huber_loss(a, b, delta=float(delta), reduction=reduction),
              pair, ["input", "target"], f"{dtype} huber of {shape}, delta {delta}, {reduction}",
              scale=4.0)  # fmt: skip


REGRESSION = {
    "mse": (lambda a, b, **o: day10.mse(a, b, **o), F.mse_loss),
    "huber": (lambda a, b, **o: day10.huber(a, b, **o), F.huber_loss),
}


@each(REGRESSION)
@shapes("shape", (0,), (3, 0))
def test_regression_of_nothing(name, shape, device, rng):
    f, _ = REGRESSION[name]
    a, b = rng.normal(*shape), rng.normal(*shape)
    assert f(a, b, reduction="none").shape == shape
    assert f(a, b, reduction="sum") == 0, "the sum of nothing is 0"
    assert f(a, b).isnan(), "the mean of nothing is nan, as in torch"


@each(REGRESSION)
def test_regression_of_any_strides(name, device, rng):
    f, torchs = REGRESSION[name]
    a, b = rng.normal(3, 4, 5), rng.normal(3, 4, 5)
    wanted = torchs(a.double(), b.double(), reduction="none")
    for (layout, x), (_, y) in zip(layouts(a), reversed(list(layouts(b))), strict=True):
        got = f(x, y, reduction="none")
        close(got, wanted, dtype=a.dtype, scale=4.0, name=f"{name} of a {layout} input")


@each(REGRESSION)
def test_regression_beyond_float16(name, device):
    a = torch.tensor([300.0] + 15 * [0.0], dtype=torch.float16, device=device)
    f, torchs = REGRESSION[name]
    options = {"delta": 1000.0} if name == "huber" else {}
    got, (gradient,) = run(lambda t: f(t, torch.zeros_like(t), **options), a)
    wanted, (right,) = run(lambda t: torchs(t, torch.zeros_like(t), **options), a.double())
    close(got, wanted, dtype=a.dtype, name=f"{name} of an error of 300 in float16")
    close(gradient, right, dtype=a.dtype, name="its gradient")


@each(REGRESSION)
def test_regression_of_mixed_dtypes(name, device, rng):
    f, torchs = REGRESSION[name]
    a, b = rng.normal(6, dtype=torch.bfloat16), rng.normal(6)
    wanted = torchs(a.double(), b.double())
    close(f(a, b), wanted, dtype=torch.bfloat16, factor=0.6, name=f"{name} of bfloat16 and float32")
    close(f(b, a), wanted, dtype=torch.float32, terms=6, scale=4.0, name="of float32 and bfloat16")


@exercise("huber")
def test_huber_delta_defaults_to_one(device, rng):
    a, b = rng.normal(50, std=3.0), rng.normal(50)
    wanted = F.huber_loss(a.double(), b.double(), reduction="none")
    close(
        day10.huber(a, b, reduction="none"), wanted, dtype=a.dtype, scale=5.0, name="delta left out"
    )


@exercise("huber")
@pytest.mark.parametrize("delta", [0.5, 1.0, 3.0])
def test_huber_where_the_branches_meet(delta, device):
    d = torch.tensor(
        [-2 * delta, -delta, -delta / 2, 0.0, delta / 2, delta, 2 * delta], device=device
    )
    got, (gradient,) = run(lambda t: day10.huber(t, torch.zeros_like(t), delta, "none"), d,
                           grow=torch.ones_like)  # fmt: skip
    wanted = torch.where(d.abs() <= delta, d**2 / 2, delta * (d.abs() - delta / 2))
    close(got, wanted.double(), dtype=d.dtype, name=f"huber with delta {delta} at {d.tolist()}")
    close(
        gradient,
        d.clamp(-delta, delta).double(),
        dtype=d.dtype,
        name="its gradient, d held to delta",
    )


@exercise("huber")
@pytest.mark.parametrize("size", [1e4, 1e20, 1e30])
def test_huber_of_large_errors(size, device):
    d = torch.tensor([size, -size, 0.5], device=device)
    got, (gradient,) = run(lambda t: day10.huber(t, torch.zeros_like(t), 2.0, "none"), d,
                           grow=torch.ones_like)  # fmt: skip
    wanted = torch.tensor([2 * (size - 1), 2 * (size - 1), 0.125], dtype=torch.float64)
    close(got, wanted, dtype=d.dtype, name=f"huber of ±{size:g}, delta 2")
    slope = torch.tensor([2.0, -2.0, 0.5], dtype=torch.float64)
    close(gradient, slope, dtype=d.dtype, name=f"gradient of huber at ±{size:g}, delta 2")


@exercise("huber")
@pytest.mark.parametrize("delta", [0.0, -1.0, math.nan])
def test_huber_refuses_delta(delta, device, rng):
    with pytest.raises(ValueError) as refusal:
        day10.huber(rng.normal(3), rng.normal(3), delta=delta)
        pytest.fail(f"delta={delta} was accepted")
    assert str(delta) in str(refusal.value), f"which delta? {refusal.value}"


# bce_with_logits -----------------------------------------------------------------------------


def bce(logits, target, **options):
    return F.binary_cross_entropy_with_logits(logits, target, **options)


@exercise("bce_with_logits")
@shapes("shape", (1,), (), (7,), (3, 5), (2, 3, 4), gpu=[((4096, 1023),)])
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_bce(shape, reduction, device, rng):
    for dtype in DTYPES:
        z = rng.normal(*shape, dtype=dtype, std=3.0)
        for kind, target in (
            ("0 or 1", rng.boolean(*shape).to(dtype)),
            ("between 0 and 1", rng.uniform(*shape, dtype=dtype)),
        ):
            check(
                lambda a, t=target: day10.bce_with_logits(a, t, reduction=reduction),
                lambda a, t=target: bce(a, t.double(), reduction=reduction),
                [z],
                ["logits"],
                f"{dtype} bce of {shape}, {reduction}, target {kind}",
            )


@exercise("bce_with_logits")
@shapes("weight, pos_weight", ((3, 4), None), ((4,), None), ((3, 1), None), (None, (4,)),
        (None, (3, 4)), (None, ()), ((4,), (3, 1)), ((), (4,)))  # fmt: skip
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_bce_weights(weight, pos_weight, reduction, device, rng):
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        z, target = rng.normal(3, 4, dtype=dtype, std=3.0), rng.uniform(3, 4, dtype=dtype)
        mine, theirs = {}, {}
        for name, shape in (("weight", weight), ("pos_weight", pos_weight)):
            if shape is not None:
                mine[name] = rng.uniform(*shape, low=0.2, high=5.0, dtype=dtype)
                theirs[name] = mine[name].double()
        check(
            lambda a, t=target, o=mine: day10.bce_with_logits(a, t, reduction=reduction, **o),
            lambda a, t=target, o=theirs: bce(a, t.double(), reduction=reduction, **o),
            [z],
            ["logits"],
            f"{dtype} bce, {reduction}, with {' and '.join(mine)}",
            scale=5.0,
        )


@exercise("bce_with_logits")
def test_bce_at_zero(device):
    z = torch.zeros(5, device=device)
    z[1] = -0.0
    target = torch.tensor([0.0, 0.0, 1.0, 0.25, 0.5], device=device)
    got, (gradient,) = run(lambda a: day10.bce_with_logits(a, target, reduction="none"), z,
                           grow=torch.ones_like)  # fmt: skip
    close(got, torch.full((5,), math.log(2)).double(), dtype=z.dtype, name="bce at logits of zero")
    close(gradient, (0.5 - target).double(), dtype=z.dtype, scale=1.0,
          name="gradient at logits of zero, sigmoid - target")  # fmt: skip


@exercise("bce_with_logits")
def test_bce_of_extreme_logits(device):
    for dtype in DTYPES:
        z = torch.tensor([1e4, 1e4, -1e4, -1e4, 120, 120, -120, -120, 20, -20], device=device)
        z = z.to(dtype).requires_grad_()
        target = torch.tensor([1, 0, 1, 0, 1, 0, 1, 0, 0.5, 0.5], device=device).to(dtype)
        got, (gradient,) = run(lambda a, t=target: day10.bce_with_logits(a, t, reduction="none"), z)
        for which, values in (("loss", got), ("gradient", gradient)):
            bad = ~values.isfinite()
            assert not bad.any(), (
                f"{dtype}: the {which} is {values[bad]} at logits {z[bad].tolist()}"
            )
        check(lambda a, t=target: day10.bce_with_logits(a, t, reduction="none"),
              lambda a, t=target: bce(a, t.double(), reduction="none"),
              [z], ["logits"], f"{dtype} bce of extreme logits", terms=2)  # fmt: skip


@exercise("bce_with_logits")
def test_bce_of_nothing(device, rng):
    z, target = rng.normal(0, 3), rng.uniform(0, 3)
    assert day10.bce_with_logits(z, target, reduction="none").shape == (0, 3)
    assert day10.bce_with_logits(z, target, reduction="sum") == 0
    assert day10.bce_with_logits(z, target).isnan(), "the mean of nothing is nan, as in torch"


@exercise("bce_with_logits")
def test_bce_takes_its_options_in_order(device, rng):
    z, target, w, p = rng.normal(3, 4), rng.uniform(3, 4), rng.uniform(4), rng.uniform(4)
    wanted = bce(
        z.double(), target.double(), weight=w.double(), pos_weight=p.double(), reduction="sum"
    )
    got = day10.bce_with_logits(z, target, w, p, "sum")
    close(
        got,
        wanted,
        dtype=z.dtype,
        terms=12,
        scale=4.0,
        name="weight, pos_weight, reduction in order",
    )


@exercise("bce_with_logits")
def test_bce_of_any_strides(device, rng):
    z, target = rng.normal(3, 4, 5), rng.uniform(3, 4, 5)
    wanted = bce(z.double(), target.double(), reduction="none")
    for (layout, x), (_, t) in zip(layouts(z), reversed(list(layouts(target))), strict=True):
        got = day10.bce_with_logits(x, t, reduction="none")
        close(got, wanted, dtype=z.dtype, scale=3.0, name=f"of {layout} logits")


# cross_entropy -------------------------------------------------------------------------------


def check_cross_entropy(logits, target, what, scale=1.0, **options):
    mine = dict(options)
    theirs = {"label_smoothing": mine.get("smoothing", 0.0)}
    theirs |= {k: v for k, v in mine.items() if k != "smoothing"}
    if "weight" in theirs:
        theirs["weight"] = theirs["weight"].double()
    check(lambda z: day10.cross_entropy(z, target, **mine),
          lambda z: F.cross_entropy(z, target, **theirs),
          [logits], ["logits"], what, scale=scale)  # fmt: skip


@exercise("cross_entropy")
@shapes("rows, classes", (1, 1), (1, 5), (7, 3), (5, 2), (40, 11), gpu=[(4096, 50257)])
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_cross_entropy(rows, classes, reduction, device, rng):
    for dtype in DTYPES:
        z = rng.normal(rows, classes, dtype=dtype, std=3.0)
        target = rng.integers(0, classes, rows)
        what = f"{dtype} cross_entropy ({rows}, {classes}), {reduction}"
        check_cross_entropy(z, target, what, reduction=reduction)


@exercise("cross_entropy")
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_cross_entropy_with_everything(smoothing, weighted, reduction, device, rng):
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        z, target = rng.normal(12, 5, dtype=dtype, std=2.0), rng.integers(0, 5, 12)
        options = {"smoothing": smoothing, "reduction": reduction}
        if weighted:
            options["weight"] = rng.uniform(5, low=0.2, high=4.0, dtype=dtype)
        for ignored, targets in (
            (-100, torch.where(target == 2, -100, target)),
            (2, target),
            (-1, torch.where(target == 2, -1, target)),
            (7, torch.where(target == 2, 7, target)),
        ):
            if ignored != -100:
                options["ignore_index"] = ignored
            what = f"{dtype} cross_entropy, {reduction}, smoothing {smoothing}, ignoring {ignored}"
            check_cross_entropy(
                z, targets, what + (", weighted" if weighted else ""), 4.0, **options
            )


@exercise("cross_entropy")
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weighted", [False, True])
def test_cross_entropy_of_ignored_rows_alone(smoothing, weighted, device, rng):
    z, target = rng.normal(3, 4), torch.full((3,), -100, device=device)
    weight = rng.uniform(4, low=0.5) if weighted else None
    for reduction in REDUCTIONS:
        got, (gradient,) = run(
            lambda t, r=reduction: day10.cross_entropy(
                t, target, weight=weight, smoothing=smoothing, reduction=r
            ),
            z,
        )
        if reduction == "mean":
            assert got.isnan(), f"the mean over no rows is nan, as in torch, not {got}"
        else:
            assert (got == 0).all(), f"{reduction}: ignored rows have the loss 0, not {got}"
        assert (gradient == 0).all(), f"{reduction}: ignored rows have a gradient: {gradient}"


@exercise("cross_entropy")
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_cross_entropy_of_a_single_class(reduction, device, rng):
    z, target = rng.normal(3, 1), torch.tensor([-100, 0, -100], device=device)
    check_cross_entropy(z, target, f"one class, two rows ignored, {reduction}", reduction=reduction)


@exercise("cross_entropy")
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_cross_entropy_of_no_rows(reduction, device, rng):
    z, target = rng.normal(0, 4), rng.integers(0, 4, 0)
    got = day10.cross_entropy(z, target, reduction=reduction)
    wanted = F.cross_entropy(z.double(), target, reduction=reduction)
    close(got, wanted, dtype=z.dtype, name=f"no rows, {reduction}")


@exercise("cross_entropy")
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_of_extreme_logits(smoothing, device):
    for dtype in DTYPES:
        z = torch.tensor([[1e4, -1e4, 0], [1e4, -1e4, 0], [1e4, 1e4, 1e4], [-1e4, -9e3, -1e4]],
                         device=device).to(dtype)  # fmt: skip
        target = torch.tensor([0, 1, 2, 0], device=device)
        what = f"{dtype} cross_entropy of logits of ±1e4, smoothing {smoothing}"
        check_cross_entropy(z, target, what, smoothing=smoothing, reduction="none")


@exercise("cross_entropy")
def test_cross_entropy_with_impossible_classes(device, rng):
    z = rng.normal(4, 5).masked_fill(
        torch.tensor([0, 1, 0, 0, 1], device=device).bool(), -torch.inf
    )
    target = torch.tensor([0, 2, 3, -100], device=device)
    for reduction in REDUCTIONS:
        got, (gradient,) = run(
            lambda t, r=reduction: day10.cross_entropy(t, target, reduction=r), z
        )
        assert got.isfinite().all(), f"{reduction}: with logits of -inf the loss is {got}"
        assert gradient.isfinite().all(), (
            f"{reduction}: with logits of -inf the gradient is {gradient}"
        )
        wanted, (right,) = run(
            lambda t, r=reduction: F.cross_entropy(t, target, reduction=r), z.double()
        )
        close(
            got, wanted, dtype=z.dtype, terms=5, scale=3.0, name=f"{reduction}, with logits of -inf"
        )
        close(gradient, right, dtype=z.dtype, terms=5, scale=1.0, name="its gradient")
    target = torch.tensor([1, 0, 0, 0], device=device)
    got = day10.cross_entropy(z, target, reduction="none")
    assert got[0] == torch.inf, f"the right class has a logit of -inf: the loss is {got[0]}"


@exercise("cross_entropy")
@pytest.mark.parametrize("wrong", [-1, 5, 6, -99])
def test_cross_entropy_refuses_targets_that_are_none(wrong, rng):
    # On the CPU even where there is a GPU: there such an index ends the process's use of it.
    z, target = rng.normal(3, 5).cpu(), torch.tensor([1, wrong, 2])
    assert day10.cross_entropy(z, target.clamp(0, 4)).isfinite()
    with pytest.raises((IndexError, RuntimeError)):
        got = day10.cross_entropy(z, target)
        pytest.fail(f"{wrong} is no class of 5, but the loss came out as {got}")


@exercise("cross_entropy")
@shapes("logits, target", ((4, 5), (5,)), ((4, 5), (1,)), ((4, 5), (4, 5)), ((5,), ()),
        ((4, 5), (4, 1)), ((2, 3, 5), (2,)))  # fmt: skip
def test_cross_entropy_refuses_shapes(logits, target, device, rng):
    z, t = rng.normal(*logits), rng.integers(0, 2, *target)
    with pytest.raises(ValueError) as refusal:
        day10.cross_entropy(z, t)
        pytest.fail(f"logits {logits} with targets {target} were accepted")
    for shape in (logits, target):
        assert names_shape(refusal.value, shape), f"which shapes? {refusal.value}"


@exercise("cross_entropy")
@shapes("weight", (4,), (1,), (), (5, 1), (4, 5))
def test_cross_entropy_refuses_weights(weight, device, rng):
    z, t = rng.normal(4, 5), rng.integers(0, 5, 4)
    weight = weight if isinstance(weight, tuple) else (weight,)
    with pytest.raises(ValueError) as refusal:
        day10.cross_entropy(z, t, weight=rng.uniform(*weight))
        pytest.fail(f"logits (4, 5) with a weight {weight} were accepted")
    for shape in ((4, 5), weight):
        assert names_shape(refusal.value, shape), f"which shapes? {refusal.value}"


@exercise("cross_entropy")
@pytest.mark.parametrize("smoothing", [-0.1, 1.01, math.nan])
def test_cross_entropy_refuses_smoothing(smoothing, device, rng):
    with pytest.raises(ValueError) as refusal:
        day10.cross_entropy(rng.normal(4, 5), rng.integers(0, 5, 4), smoothing=smoothing)
        pytest.fail(f"smoothing={smoothing} was accepted")
    assert str(smoothing) in str(refusal.value), f"which smoothing? {refusal.value}"


@exercise("cross_entropy")
def test_cross_entropy_takes_its_options_in_order(device, rng):
    z, target, w = rng.normal(6, 4), rng.integers(0, 4, 6), rng.uniform(4)
    wanted = F.cross_entropy(z.double(), target, w.double(), None, 3, None, "sum", 0.2)
    got = day10.cross_entropy(z, target, w, 3, 0.2, "sum")
    close(got, wanted, dtype=z.dtype, terms=24, scale=4.0, name="options in order")


@exercise("cross_entropy")
def test_cross_entropy_of_any_strides(device, rng):
    base, target = rng.normal(6, 5), rng.integers(0, 5, 6)
    wanted = F.cross_entropy(base.double(), target, reduction="none")
    for (layout, z), (_, t) in zip(
        layouts(base), [*layouts(target), *layouts(target)], strict=False
    ):
        got = day10.cross_entropy(z, t, reduction="none")
        close(got, wanted, dtype=base.dtype, terms=5, scale=3.0, name=f"of {layout} logits")


@exercise("cross_entropy")
def test_cross_entropy_makes_its_tensors_where_the_logits_are(device, rng):
    z, target = rng.normal(4, 5), rng.integers(0, 5, 4)
    with torch.device("meta"):  # where tensors land that are made without device=
        got = day10.cross_entropy(z, target, smoothing=0.1)
    assert got.device.type == device.type, f"logits on {device}, the loss on {got.device}"


# kl_divergence -------------------------------------------------------------------------------


def kl(log_p, log_q, reduction="mean"):
    """In float64; where p is 0 nothing counts."""
    zero = log_p == -torch.inf
    p = torch.where(zero, 0.0, log_p).exp()
    gap = torch.where(zero, 0.0, log_p) - torch.where(zero, 0.0, log_q)
    rows = torch.where(zero, 0.0, p * gap).sum(-1)
    return {"mean": rows.mean, "sum": rows.sum, "none": lambda: rows}[reduction]()


@exercise("kl_divergence")
@shapes("shape", (1,), (5,), (1, 1), (3, 5), (2, 3, 4), gpu=[((512, 50257),)])
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_kl(shape, reduction, device, rng):
    for dtype in DTYPES:
        pair = [soft(rng.normal(*shape, dtype=dtype, std=2.0)) for _ in "pq"]
        check(
            lambda p, q: day10.kl_divergence(p, q, reduction=reduction),
            lambda p, q: kl(p, q, reduction),
            pair,
            ["log_p", "log_q"],
            f"{dtype} kl_divergence of {shape}, {reduction}",
        )


@exercise("kl_divergence")
def test_kl_agrees_with_torch(device, rng):
    p, q = soft(rng.normal(6, 5, dtype=torch.float64)), soft(rng.normal(6, 5, dtype=torch.float64))
    wanted = F.kl_div(q, p, reduction="batchmean", log_target=True)
    close(
        day10.kl_divergence(p, q), wanted, terms=30, scale=2.0, name="against F.kl_div's batchmean"
    )


@exercise("kl_divergence")
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_kl_with_zeros(reduction, device, rng):
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        hidden = rng.boolean(6, 5, p=0.4) & (torch.arange(5, device=device) != 1)
        p = soft(rng.normal(6, 5, dtype=dtype).masked_fill(hidden, -torch.inf))
        both = hidden & rng.boolean(6, 5)
        q = soft(rng.normal(6, 5, dtype=dtype).masked_fill(both, -torch.inf))
        got, gradients = run(lambda a, b: day10.kl_divergence(a, b, reduction), p, q)
        assert got.isfinite().all(), f"{dtype}, {reduction}: where p is 0 the result is {got}"
        for name, g in zip(("log_p", "log_q"), gradients, strict=True):
            assert g.isfinite().all(), f"{dtype}: the gradient of {name} is {g} where p is 0"
            assert (g[hidden] == 0).all(), f"{dtype}: {name} has a gradient where p is 0: {g}"
        wanted, right = run(lambda a, b: kl(a, b, reduction), p.double(), q.double())
        close(
            got, wanted, dtype=dtype, terms=30, scale=2.0, name=f"{dtype}, {reduction}, with zeros"
        )
        for g, r in zip(gradients, right, strict=True):
            close(g, r, dtype=dtype, terms=8, scale=2.0, name=f"{dtype}: gradient, with zeros")


@exercise("kl_divergence")
def test_kl_of_the_impossible(device):
    half = torch.tensor([0.5, 0.5], device=device).log()
    sure = torch.tensor([0.0, -torch.inf], device=device)
    assert day10.kl_divergence(half, sure) == torch.inf, "q is 0 where p is not"
    close(day10.kl_divergence(sure, half), torch.tensor(math.log(2)).double(), dtype=half.dtype,
          name="a sure p against a fair q")  # fmt: skip
    assert day10.kl_divergence(sure, sure) == 0, "a distribution and itself"


@exercise("kl_divergence")
def test_kl_takes_any_strides(device, rng):
    p, q = soft(rng.normal(3, 4, 5)), soft(rng.normal(3, 4, 5))
    wanted = kl(p.double(), q.double(), "none")
    for (layout, x), (_, y) in zip(layouts(p), reversed(list(layouts(q))), strict=True):
        got = day10.kl_divergence(x, y, "none")
        close(got, wanted, dtype=p.dtype, terms=5, scale=2.0, name=f"of a {layout} log_p")


@exercise("kl_divergence")
def test_kl_of_nothing(device, rng):
    p, q = rng.normal(0, 4), rng.normal(0, 4)
    assert day10.kl_divergence(p, q, "none").shape == (0,)
    assert day10.kl_divergence(p, q).isnan(), "the mean over no distributions is nan"
    assert day10.kl_divergence(rng.normal(3, 0), rng.normal(3, 0), "none").tolist() == [0.0] * 3


# info_nce ------------------------------------------------------------------------------------


def contrast(a, b, temperature):
    """In float64, pair by pair."""
    a = a / a.norm(dim=-1, keepdim=True).clamp(min=1e-12)
    b = b / b.norm(dim=-1, keepdim=True).clamp(min=1e-12)
    scores = a @ b.T / temperature
    right = scores.diagonal()
    return (scores.logsumexp(0) + scores.logsumexp(1) - 2 * right).mean() / 2


@exercise("info_nce")
@shapes("rows, d", (1, 1), (1, 4), (2, 3), (7, 5), (16, 32), gpu=[(4096, 512)])
@pytest.mark.parametrize("temperature", [1.0, 0.07, 0.5])
def test_info_nce(rows, d, temperature, device, rng):
    for dtype in DTYPES:
        pair = [rng.normal(rows, d, dtype=dtype, std=s) for s in (0.7, 3.0)]
        check(lambda a, b: day10.info_nce(a, b, temperature),
              lambda a, b: contrast(a, b, temperature),
              pair, ["a", "b"], f"{dtype} info_nce of ({rows}, {d}), temperature {temperature}",
              scale=2 / temperature)  # fmt: skip


@exercise("info_nce")
def test_info_nce_temperature_defaults_to_seven_hundredths(device, rng):
    a, b = rng.normal(6, 8), rng.normal(6, 8)
    wanted = contrast(a.double(), b.double(), 0.07)
    close(
        day10.info_nce(a, b), wanted, dtype=a.dtype, terms=8, scale=15.0, name="without temperature"
    )
    got = day10.info_nce(a, b, temperature=0.07)
    close(got, wanted, dtype=a.dtype, terms=8, scale=15.0, name="temperature=0.07")


@exercise("info_nce")
def test_info_nce_teaches_its_temperature(device, rng):
    a, b = rng.normal(6, 8, dtype=torch.float64), rng.normal(6, 8, dtype=torch.float64)
    temperature = torch.tensor(0.2, dtype=torch.float64, device=device)
    got, (gradient,) = run(lambda t: day10.info_nce(a, b, t), temperature)
    wanted, (right,) = run(lambda t: contrast(a, b, t), temperature)
    close(got, wanted, terms=16, scale=5.0, name="with a tensor as temperature")
    assert gradient is not None, "no gradient reaches the temperature"
    close(gradient, right, terms=16, scale=50.0, name="gradient of the temperature")


@exercise("info_nce")
def test_info_nce_asks_both_ways(device, rng):
    # b holds the same row three times: from a's side all is a guess, from b's side nothing is.
    a = torch.eye(3, 4, device=device, dtype=torch.float64)
    b = torch.ones(3, 4, device=device, dtype=torch.float64)
    b[0, 0] = 2.0
    wanted = contrast(a, b, 0.1)
    close(day10.info_nce(a, b, 0.1), wanted, terms=4, scale=10.0, name="info_nce(a, b)")
    close(day10.info_nce(b, a, 0.1), wanted, terms=4, scale=10.0, name="info_nce(b, a), the same")


@exercise("info_nce")
def test_info_nce_knows_no_order_and_no_length(device, rng):
    a, b = rng.normal(8, 5, dtype=torch.float64), rng.normal(8, 5, dtype=torch.float64)
    whole = day10.info_nce(a, b, 0.3)
    order = rng.permutation(8)
    close(
        day10.info_nce(a[order], b[order], 0.3),
        whole,
        terms=8,
        scale=3.0,
        name="pairs in another order",
    )
    longer = a * rng.uniform(8, 1, low=0.5, high=9.0, dtype=torch.float64)
    close(day10.info_nce(longer, b, 0.3), whole, terms=8, scale=3.0, name="rows of other lengths")


@exercise("info_nce")
def test_info_nce_of_perfect_and_of_useless_pairs(device, rng):
    eye = torch.eye(6, device=device)
    sure = day10.info_nce(eye, eye, 0.01)
    assert sure < 1e-6, f"every row finds its partner, but the loss is {sure}"
    same = torch.ones(6, 4, device=device)
    close(day10.info_nce(same, same), torch.tensor(math.log(6)).double(), dtype=same.dtype,
          scale=15.0, name="six rows that cannot be told apart")  # fmt: skip


@exercise("info_nce")
def test_info_nce_of_zeros(device, rng):
    a, b = rng.normal(4, 5), rng.normal(4, 5)
    a = a.clone()
    a[2] = 0.0
    wanted = contrast(a.double(), b.double(), 0.5)
    close(
        day10.info_nce(a, b, 0.5),
        wanted,
        dtype=a.dtype,
        terms=5,
        scale=2.0,
        name="with a row of zeros",
    )
    _, gradients = run(lambda x, y: day10.info_nce(x, y, 0.5), a, b)
    for name, g in zip("ab", gradients, strict=True):
        assert not g.isnan().any(), f"with a row of zeros in a, the gradient of {name} holds nan"


@exercise("info_nce")
def test_info_nce_of_any_strides(device, rng):
    a, b = rng.normal(6, 5), rng.normal(6, 5)
    wanted = contrast(a.double(), b.double(), 0.5)
    for (layout, x), (_, y) in zip(layouts(a), reversed(list(layouts(b))), strict=True):
        got = day10.info_nce(x, y, 0.5)
        close(got, wanted, dtype=a.dtype, terms=5, scale=2.0, name=f"of a {layout} a")


@exercise("info_nce")
def test_info_nce_makes_its_targets_where_a_is(device, rng):
    a, b = rng.normal(4, 5), rng.normal(4, 5)
    with torch.device("meta"):  # where tensors land that are made without device=
        got = day10.info_nce(a, b)
    assert got.device.type == device.type, f"a on {device}, the loss on {got.device}"


@exercise("info_nce")
@shapes("shape", (4,), (2, 3, 4), ())
def test_info_nce_refuses_other_axes(shape, device, rng):
    shape = shape if isinstance(shape, tuple) else (shape,)
    with pytest.raises(ValueError) as refusal:
        day10.info_nce(rng.normal(*shape), rng.normal(*shape))
        pytest.fail(f"a and b of shape {shape} were accepted")
    assert names_shape(refusal.value, shape), f"which shape? {refusal.value}"


# Last, for its first use costs seconds ---------------------------------------------------------


@each(PAIR, seconds=60)  # no ban: its watching cannot be compiled
def test_compiles_without_a_graph_break(name, device, rng):
    f = getattr(day10, name)
    compiled = torch.compile(f, backend="aot_eager", fullgraph=True, dynamic=False)
    first, second = PAIR[name](rng, torch.float32)
    options = {}
    if name == "cross_entropy":
        second = torch.tensor([1, -100, 4, 0], device=device)
        options = {"smoothing": 0.1, "weight": rng.uniform(5)}
    if name == "bce_with_logits":
        options = {"pos_weight": rng.uniform(5)}
    got, (gradient,) = run(lambda t: compiled(t, second, **options), first)
    wanted, (right,) = run(lambda t: f(t, second, **options), first)
    close(got, wanted.double(), dtype=torch.float32, terms=20, scale=1.0, name="compiled")
    close(gradient, right.double(), dtype=torch.float32, terms=20, scale=1.0, name="its gradient")
