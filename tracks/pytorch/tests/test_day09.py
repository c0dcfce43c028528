"""Day 9: activations against torch's in float64: values, gradients, kinks, far out."""

import math
import re
import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from harness.testing import Mismatch, close, exercise, layouts, shapes
from tracks.pytorch import day09

DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]
BENT = "relu relu6 threshold hardtanh leaky_relu prelu rrelu celu elu selu".split()
BAN = {
    "relu": BENT,
    "leaky_relu": BENT,
    "gelu": ["gelu"],
    "silu": ["silu", "glu", "mish", "hardswish"],
    "softmax": "softmax log_softmax softmin logsumexp gumbel_softmax logaddexp".split(),
    "log_softmax": "softmax log_softmax softmin logsumexp logsigmoid logaddexp".split(),
}

# name → yours, torch's
ELEMENTWISE = {
    "relu": (lambda x: day09.relu(x), F.relu),
    "leaky_relu": (lambda x: day09.leaky_relu(x), F.leaky_relu),
    "leaky_relu, slope 0.3": (lambda x: day09.leaky_relu(x, 0.3), lambda x: F.leaky_relu(x, 0.3)),
    "leaky_relu, slope 2": (
        lambda x: day09.leaky_relu(x, slope=2.0),
        lambda x: F.leaky_relu(x, 2.0),
    ),
    "leaky_relu, slope -0.5": (
        lambda x: day09.leaky_relu(x, slope=-0.5),
        lambda x: F.leaky_relu(x, -0.5),
    ),
    "leaky_relu, slope 0": (lambda x: day09.leaky_relu(x, slope=0), lambda x: F.leaky_relu(x, 0.0)),
    "gelu": (lambda x: day09.gelu(x), F.gelu),
    "gelu, none": (lambda x: day09.gelu(x, approximate="none"), F.gelu),
    "gelu, tanh": (lambda x: day09.gelu(x, "tanh"), lambda x: F.gelu(x, approximate="tanh")),
    "silu": (lambda x: day09.silu(x), F.silu),
}
elementwise = pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=exercise(name.split(",")[0], ban=BAN[name.split(",")[0]]))
        for name in ELEMENTWISE
    ],
)


def with_gradient(f, x, arrives):
    """f(x) and the gradient with respect to x when ``arrives`` comes back."""
    leaf = x.detach().requires_grad_()
    out = f(leaf)
    assert out.requires_grad, "the result is cut off from the graph: no gradient can reach x"
    (gradient,) = torch.autograd.grad(out, leaf, arrives)
    return out.detach(), gradient


def compare(mine, torchs, name, x, arrives, what, value, slope):
    """Values and gradients of ``mine``, against torch's in float64; ``value``, ``slope``: sizes."""
    got, gradient = with_gradient(mine, x, arrives)
    wanted, right = with_gradient(torchs, x.double(), arrives.double())
    close(got, wanted, dtype=x.dtype, name=f"{what}: {name}", **value)
    close(gradient, right, dtype=x.dtype, name=f"{what}: gradient of {name}", **slope)


def check(name, x, arrives, what):
    """Values and gradients of an elementwise function, against torch's in float64."""
    mine, torchs = ELEMENTWISE[name]
    size = x.double().abs().nan_to_num(0.0, 0.0, 0.0) + 1.0  # 1 + erf cancels far below zero
    slope = {"terms": 4, "scale": size * arrives.double().abs()}
    compare(mine, torchs, name, x, arrives, what, {"scale": size}, slope)


@pytest.mark.parametrize(
    "name, slope",
    [
        pytest.param("relu", 0.0, marks=exercise("relu", ban=BAN["relu"])),
        pytest.param("leaky_relu", 0.01, marks=exercise("leaky_relu", ban=BAN["leaky_relu"])),
        pytest.param(
            "leaky_relu, slope 0.3", 0.3, marks=exercise("leaky_relu", ban=BAN["leaky_relu"])
        ),
    ],
)
def test_slope_at_zero(name, slope, device):
    for zero in (0.0, -0.0):
        x = torch.tensor([zero], dtype=torch.float64, device=device)
        _, gradient = with_gradient(ELEMENTWISE[name][0], x, torch.ones_like(x))
        got = gradient.item()
        assert math.isclose(got, slope, abs_tol=1e-6), (
            f"{name}: the slope at x = {zero:g} is {got:g}, {slope:g} expected"
        )


@exercise("relu", ban=BAN["relu"])
def test_relu_of_minus_infinity(device):
    got = day09.relu(torch.tensor([-torch.inf], device=device)).item()
    assert got == 0, f"relu of x = -inf is {got}, 0 expected"


@exercise("relu", ban=BAN["relu"])
def test_relu_of_nan(device):
    got = day09.relu(torch.tensor([torch.nan], device=device)).item()
    assert math.isnan(got), f"relu of x = nan is {got}, nan expected"


@elementwise
@shapes("shape", (1,), (0,), (3, 0), (), (7,), (3, 5), (2, 3, 4), gpu=[((4096, 1023),)])
def test_values_and_gradients(name, shape, device, rng):
    for dtype in DTYPES:
        x = rng.normal(*shape, dtype=dtype, std=2.0)
        check(name, x, rng.normal(*shape, dtype=dtype), str(dtype))


@elementwise
def test_over_the_whole_range(name, device, rng):
    x = torch.linspace(-30.0, 30.0, 2401, device=device)
    for dtype in DTYPES:
        arrives = rng.normal(len(x), dtype=dtype)
        check(name, x.to(dtype), arrives, f"{dtype} from -30 to 30")


@elementwise
def test_far_out(name, device):
    for dtype in DTYPES:
        x = torch.tensor([-1e4, -1000, -300, -100, -60, 60, 100, 300, 1000, 1e4], device=device)
        x = x.to(dtype)
        mine, _ = ELEMENTWISE[name]
        got, gradient = with_gradient(mine, x, torch.ones_like(x))
        for which, values in (("value", got), ("gradient", gradient)):
            bad = ~values.isfinite()
            if bad.any():
                pytest.fail(
                    f"{dtype} {name}: the {which} is {values[bad].tolist()} "
                    f"at x = {x[bad].tolist()}"
                )
        check(name, x, torch.ones_like(x), f"{dtype}, far out")


@elementwise
def test_at_zero(name, device):
    for dtype in DTYPES:
        x = torch.tensor([0.0, -0.0, 1.0, 0.0], dtype=dtype, device=device)
        check(name, x, torch.ones_like(x), f"{dtype}, at zero")


@elementwise
def test_nan_and_inf(name, device):
    x = torch.tensor([1.0, torch.nan, -1.0, torch.inf, torch.nan], device=device)
    got = ELEMENTWISE[name][0](x)
    assert got.isnan().tolist() == [False, True, False, False, True], (
        f"{name} of {x.tolist()} gives {got.tolist()}: nan should stay nan, nothing else become it"
    )
    assert got[3] == torch.inf, f"{name}(inf) is {got[3]}"


@elementwise
def test_of_any_strides(name, device, rng):
    base, arrives = rng.normal(3, 4, 5, std=2.0), rng.normal(3, 4, 5)
    for layout, x in layouts(base):
        check(name, x, arrives, f"a {layout} x")


@elementwise
def test_gives_a_new_tensor(name, device, rng):
    x = rng.uniform(6, low=0.5, high=2.0)  # positive: here relu(x) equals x
    got = ELEMENTWISE[name][0](x)
    assert got.data_ptr() != x.data_ptr(), f"{name} gave back its input's memory"


@exercise("relu", ban=BAN["relu"])
def test_relu_of_infinities(device):
    x = torch.tensor([-torch.inf, torch.inf, -1e30, 1e30], device=device)
    check("relu", x, torch.ones_like(x), "infinite x")


@exercise("leaky_relu", ban=BAN["leaky_relu"])
def test_leaky_relu_of_infinities(device):
    x = torch.tensor([-torch.inf, torch.inf, -1e30, 1e30], device=device)
    check("leaky_relu, slope 0.3", x, torch.ones_like(x), "infinite x")


@exercise("gelu", ban=BAN["gelu"])
@pytest.mark.parametrize("approximate", ["erf", "Tanh", "", "no"])
def test_gelu_refuses_other_forms(approximate, device, rng):
    x, call = rng.normal(3), f"gelu(x, {approximate!r})"
    try:
        got = day09.gelu(x, approximate)
    except ValueError as refusal:
        said = str(refusal)
    except LookupError as error:
        pytest.fail(f"{call} raises {type(error).__name__}, a ValueError was expected")
    else:
        pytest.fail(f"{call} gives {got}, a ValueError was expected")
    named = re.search(rf"(?<!\w){re.escape(approximate)}(?!\w)", said)  # quoted or bare
    assert said and named, (
        f"{call} raises ValueError({said!r}), which does not name {approximate!r}"
    )


@exercise("gelu", ban=BAN["gelu"])
def test_the_two_forms_of_gelu_differ(device):
    x = torch.linspace(-5, 5, 1001, dtype=torch.float64, device=device)
    gap = (day09.gelu(x) - day09.gelu(x, "tanh")).abs().max().item()
    assert 1e-4 < gap < 1e-3, f"the two forms differ by at most {gap:.1e}; 5e-4 was expected"


# softmax and log_softmax ----------------------------------------------------------------------

ALONG = {
    "softmax": (lambda x, **o: day09.softmax(x, **o), torch.softmax),
    "log_softmax": (lambda x, **o: day09.log_softmax(x, **o), torch.log_softmax),
}
along = pytest.mark.parametrize(
    "name", [pytest.param(n, marks=exercise(n, ban=BAN[n])) for n in ALONG]
)


def check_along(name, x, arrives, dim, what):
    mine, torchs = ALONG[name]
    n = x.shape[dim] if x.dim() else 1
    wanted = torchs(x.double(), dim)
    spread = wanted.masked_fill(wanted.isinf(), 0.0).abs().nan_to_num(0.0)
    size = spread + 1.0 if name == "log_softmax" else spread
    # An exponent is a difference that was rounded: relative errors grow with its size.
    top = x.double().masked_fill(x.isinf(), 0.0).nan_to_num(0.0).abs()
    growth = 1.0 + (top.amax() if top.numel() else 0.0)
    most = arrives.double().abs().amax() if arrives.numel() else 1.0
    compare(
        lambda t: mine(t, dim=dim),
        lambda t: torchs(t, dim),
        f"{name}, dim={dim}",
        x,
        arrives,
        what,
        {"terms": n, "scale": size * growth},
        {"terms": n, "scale": most * growth},
    )


@along
@pytest.mark.parametrize("size", [100.0, 1e4, 6e4])
def test_softmax_of_large_scores(name, size, device, rng):
    for dtype in DTYPES:
        x = torch.tensor(
            [[size, -size, 0.0], [size, size, size], [-size, -size, -size], [-size, 1 - size, 0]],
            device=device,
        ).to(dtype)
        arrives = rng.normal(*x.shape, dtype=dtype)
        got, gradient = with_gradient(ALONG[name][0], x, arrives)
        for which, values in (("values", got), ("gradient", gradient)):
            if not (which == "values" and dtype == torch.float16):  # -12e4 is none of float16's
                rows = (~values.isfinite()).any(-1)
                assert not rows.any(), (
                    f"{dtype} {name} of x = {x[rows].tolist()}: "
                    f"the {which} are {values[rows].tolist()}"
                )
        check_along(name, x, arrives, -1, f"{dtype}, scores of ±{size:g}")


@along
@shapes(
    "shape, dim",
    ((1,), 0),
    ((7,), -1),
    ((3, 5), -1),
    ((3, 5), 0),
    ((3, 5), -2),
    ((2, 3, 4), 1),
    ((2, 3, 4), -1),
    ((2, 3, 4), 0),
    ((5, 1), 1),
    ((1, 1), 0),
    ((), 0),
    ((), -1),
    ((300, 3), 0),
    gpu=[((512, 50257), -1)],
)
def test_softmax_values_and_gradients(name, shape, dim, device, rng):
    for dtype in DTYPES:
        x, arrives = rng.normal(*shape, dtype=dtype, std=3.0), rng.normal(*shape, dtype=dtype)
        check_along(name, x, arrives, dim, str(dtype))


@along
def test_softmax_runs_over_the_last_axis_by_default(name, device, rng):
    x = rng.normal(4, 6)
    wanted = ALONG[name][1](x.double(), -1)
    close(ALONG[name][0](x), wanted, dtype=x.dtype, terms=6, scale=4.0, name=f"{name} without dim")
    got = getattr(day09, name)(x, 0)
    wanted = ALONG[name][1](x.double(), 0)
    close(got, wanted, dtype=x.dtype, terms=6, scale=4.0, name=f"{name}(x, 0)")


@along
@shapes("shape, dim", ((0,), 0), ((3, 0), -1), ((0, 3), -1), ((0, 3), 0), ((2, 0, 4), 1))
def test_softmax_of_nothing(name, shape, dim, device, rng):
    x = rng.normal(*shape)
    got, gradient = with_gradient(lambda t: ALONG[name][0](t, dim=dim), x, torch.zeros_like(x))
    assert got.shape == shape, f"{name} of shape {shape} gives the shape {tuple(got.shape)}"
    assert gradient.shape == shape, f"the gradient of {name} has shape {tuple(gradient.shape)}"
    again = ALONG[name][0](x, dim=dim)
    assert again is not x, f"{name} of shape {shape} gave back x itself, not a new tensor"
    assert got.dtype == x.dtype, f"{name} of {x.dtype} gives {got.dtype}"


@along
def test_softmax_of_any_strides(name, device, rng):
    base, arrives = rng.normal(3, 4, 5, std=3.0), rng.normal(3, 4, 5)
    for layout, x in layouts(base):
        for dim in (0, 1, 2):
            check_along(name, x, arrives, dim, f"a {layout} x")


@along
def test_softmax_ignores_a_constant(name, device, rng):
    x = rng.integers(-8, 8, 3, 6).float()  # whole numbers: adding 1000 rounds nothing
    moved = ALONG[name][0](x + 1000)
    assert torch.equal(moved, ALONG[name][0](x)), "1000 added to all scores changed the result"


@along
def test_softmax_of_minus_infinity(name, device, rng):
    for dtype in DTYPES:
        x = rng.normal(4, 5, dtype=dtype)
        x = x.masked_fill(rng.boolean(4, 5, p=0.4), -torch.inf)
        x[:, 2] = 1.0
        x[3, :2] = x[3, 3:] = -torch.inf  # a single score is left
        arrives = rng.normal(4, 5, dtype=dtype)
        got, gradient = with_gradient(ALONG[name][0], x, arrives)
        assert not got.isnan().any(), f"{dtype} {name}: -inf among the scores gives {got}"
        assert not gradient.isnan().any(), f"{dtype}: the gradient of {name} holds nan: {gradient}"
        hidden = got[x == -torch.inf].unique().tolist()
        nothing = 0.0 if name == "softmax" else -torch.inf
        assert hidden in ([], [nothing]), f"where the score is -inf, {name} gives {hidden}"
        check_along(name, x, arrives, -1, f"{dtype}, with -inf")


@along
def test_softmax_keeps_nan_where_it_is(name, device, rng):
    x = rng.normal(5, 4).clone()
    x[1] = -torch.inf
    x[2, 1] = torch.nan
    x[4, 0] = torch.inf
    got = ALONG[name][0](x)
    for row, what in ((1, "-inf throughout"), (2, "with a nan"), (4, "with +inf")):
        assert got[row].isnan().all(), (
            f"{name} of a row {what}, {x[row].tolist()}, is {got[row].tolist()}: "
            "nan in all places expected"
        )
    assert not got[[0, 3]].isnan().any(), f"{name}: nan in rows that hold finite scores alone"


@exercise("softmax", ban=BAN["softmax"])
def test_shares_sum_to_one(device, rng):
    for dtype in DTYPES:
        p = day09.softmax(rng.normal(50, 40, dtype=dtype, std=5.0)).double()
        error = (p.sum(-1) - 1).abs().max().item()
        # Each share is rounded once: at most half an eps of it, and they sum to one.
        allowed = {torch.bfloat16: 2.0**-8, torch.float16: 2.0**-11}.get(dtype, 1e-6) * 1.01 + 1e-6
        assert error < allowed, f"{dtype}: a row of shares sums to one up to {error:.1e} only"
        assert (p >= 0).all(), "a share is negative"


@exercise("log_softmax", ban=BAN["log_softmax"])
def test_log_softmax_of_certainty(device):
    # The gradient of the right class's logarithm is 1 - p: at p near 1, not a rounded 0.
    x = torch.tensor([[0.0, -12.0], [0.0, -1e4], [50.0, 0.0]], device=device)
    arrives = torch.tensor([1.0, 0.0], device=device).expand(3, 2)
    _, gradient = with_gradient(ALONG["log_softmax"][0], x, arrives)
    _, right = with_gradient(lambda t: torch.log_softmax(t, -1), x.double(), arrives.double())
    close(gradient[:, 1], right[:, 1], dtype=x.dtype, terms=2, factor=16.0,
          name="gradient of the other class")  # fmt: skip


# SwiGLU --------------------------------------------------------------------------------------

GATED = ["silu", "glu", "mish", "hardswish"]


def fill(module, rng):
    with torch.no_grad():
        for p in module.parameters():
            p.copy_(rng.normal(*p.shape, std=p.shape[-1] ** -0.5))
    return module


def gated(block, x, bent="gate"):
    """The block in float64; ``bent`` is the branch that silu is applied to."""

    def project(layer, t):
        out = t @ layer.weight.detach().double().T
        return out if layer.bias is None else out + layer.bias.detach().double()

    gate, up = project(block.gate_proj, x), project(block.up_proj, x)
    if bent != "gate":
        gate, up = up, gate
    return project(block.down_proj, gate / (1 + torch.exp(-gate)) * up)


@exercise("SwiGLU", ban=GATED)
@shapes("shape, hidden", ((5,), 7), ((3, 4), 6), ((0, 4), 6), ((2, 3, 8), 20), ((2, 1, 1, 1), 1),
        gpu=[((64, 1024, 512), 1376)])  # fmt: skip
@pytest.mark.parametrize("bias", [False, True])
def test_swiglu_values(shape, hidden, bias, device, rng):
    for dtype in (torch.float64, torch.float32):
        block = fill(day09.SwiGLU(shape[-1], hidden, bias=bias).to(device), rng).to(dtype)
        x = rng.normal(*shape, dtype=dtype)
        got, what = block(x), f"{dtype} SwiGLU({shape[-1]}, {hidden}, bias={bias})"
        how = {"dtype": dtype, "terms": shape[-1] + hidden + 2, "scale": 4.0}
        try:
            close(got, gated(block, x.double()), name=what, **how)
        except Mismatch:
            try:
                close(got, gated(block, x.double(), bent="up"), **how)
            except Mismatch:
                pass
            else:
                what += " (the other branch is bent: silu is applied to up_proj's)"
            close(got, gated(block, x.double()), name=what, **how)


@exercise("SwiGLU", ban=GATED)
def test_swiglu_in_half_precision(device, rng):
    block = fill(day09.SwiGLU(32, 48).to(device), rng).to(torch.bfloat16)
    x = rng.normal(20, 32, dtype=torch.bfloat16)
    got = block(x)
    assert got.dtype == torch.bfloat16, f"a bfloat16 block gives {got.dtype}"
    wanted = gated(block, x.double())
    off = (got.double() - wanted).abs().max().item() / wanted.std().item()
    assert off < 0.08, f"the worst element is off by {off:.0%} of the results' spread"


@exercise("SwiGLU", ban=GATED)
def test_swiglu_gradients(device, rng):
    block = fill(day09.SwiGLU(5, 8).to(device), rng).double()
    x, arrives = rng.normal(3, 5, dtype=torch.float64), rng.normal(3, 5, dtype=torch.float64)
    _, gradient = with_gradient(block, x, arrives)
    _, right = with_gradient(lambda t: gated(block, t), x, arrives)
    close(gradient, right, terms=32, scale=4.0, name="gradient of x")
    block(x).backward(arrives)
    for name, p in block.named_parameters():
        assert p.grad is not None, f"no gradient reaches {name}"
        assert (p.grad != 0).any(), f"the gradient of {name} is zero"


@exercise("SwiGLU", ban=GATED)
@pytest.mark.parametrize("bias", [False, True])
def test_swiglu_names_and_shapes(bias):
    state = day09.SwiGLU(6, 10, bias=bias).state_dict()
    wanted = {}
    for name, (out, in_) in [("gate_proj", (10, 6)), ("up_proj", (10, 6)), ("down_proj", (6, 10))]:
        wanted[f"{name}.weight"] = (out, in_)
        if bias:
            wanted[f"{name}.bias"] = (out,)
    found = {name: tuple(t.shape) for name, t in state.items()}
    assert found == wanted, (
        f"the state_dict of SwiGLU(6, 10, bias={bias}) holds {found}, {wanted} expected"
    )
    block = day09.SwiGLU(6, 10)
    extra = [name for name in block.state_dict() if name.endswith("bias")]
    assert not extra, f"SwiGLU(6, 10) has {extra}: biases that nobody asked for"
    assert isinstance(block, nn.Module), f"SwiGLU(6, 10) is a {type(block).__name__}, no nn.Module"


@exercise("SwiGLU", ban=GATED)
@shapes("dim, multiple_of, hidden", (4096, 256, 11008), (64, 4, 172), (96, 256, 256), (96, 1, 256),
        (97, 1, 258), (97, 256, 512), (48, 128, 128), (49, 128, 256), (1, 8, 8))  # fmt: skip
def test_swiglu_chooses_hidden(dim, multiple_of, hidden):
    with torch.device("meta"):  # shapes without memory
        block = day09.SwiGLU(dim, multiple_of=multiple_of)
        if multiple_of == 256:
            got = day09.SwiGLU(dim).hidden
            assert got == hidden, f"SwiGLU({dim}).hidden is {got}, {hidden} expected"
    call = f"SwiGLU({dim}, multiple_of={multiple_of})"
    got, shape = block.hidden, tuple(block.up_proj.weight.shape)
    assert got == hidden, f"{call}.hidden is {got}, {hidden} expected"
    assert type(got) is int, f"{call}.hidden is {got!r}, a {type(got).__name__}: an int expected"
    assert shape == (hidden, dim), f"{call}.up_proj has shape {shape}, {(hidden, dim)} expected"


@exercise("SwiGLU", ban=GATED)
@shapes("dim, hidden, multiple_of", (8, 21, 256), (8, 3, 64), (6, 10, 4), (8, 0, 256))
def test_swiglu_takes_a_given_hidden_as_it_is(dim, hidden, multiple_of):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns of filling a weight without elements
        block = day09.SwiGLU(dim, hidden=hidden, multiple_of=multiple_of)
    call = f"SwiGLU({dim}, hidden={hidden}, multiple_of={multiple_of})"
    got, shape = block.hidden, tuple(block.up_proj.weight.shape)
    assert got == hidden, f"{call}.hidden is {got}, {hidden} expected"
    assert shape == (hidden, dim), f"{call}.up_proj has shape {shape}, {(hidden, dim)} expected"


@exercise("SwiGLU", ban=GATED)
def test_swiglu_calls_its_modules(device, rng):
    block = day09.SwiGLU(4, 6).to(device)
    called = []
    for name, part in block.named_children():
        part.register_forward_hook(lambda *_, name=name: called.append(name))
    block(rng.normal(2, 4))
    assert sorted(called) == ["down_proj", "gate_proj", "up_proj"], (
        f"forward hooks saw calls of {called or 'none'}: each of gate_proj, up_proj and down_proj "
        "is to be called once, as a module"
    )


# Compiled ------------------------------------------------------------------------------------

COMPILED = {
    "relu": lambda x: day09.relu(x),
    "leaky_relu": lambda x: day09.leaky_relu(x, 0.3),
    "gelu": lambda x: day09.gelu(x) + day09.gelu(x, "tanh"),
    "silu": lambda x: day09.silu(x),
    "softmax": lambda x: day09.softmax(x),
    "log_softmax": lambda x: day09.log_softmax(x),
}


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=exercise(n, seconds=60)) for n in COMPILED]
)  # no ban: its watching cannot be compiled
def test_compiles_without_a_graph_break(name, device, rng):
    f = COMPILED[name]
    compiled = torch.compile(f, backend="aot_eager", fullgraph=True, dynamic=False)
    for dtype in (torch.float32, torch.bfloat16):
        x, arrives = rng.normal(3, 5, dtype=dtype), rng.normal(3, 5, dtype=dtype)
        got, gradient = with_gradient(compiled, x, arrives)
        wanted, right = with_gradient(f, x, arrives)
        close(got, wanted.double(), dtype=dtype, terms=5, scale=2.0, name=f"compiled {name}")
        close(gradient, right.double(), dtype=dtype, terms=5, scale=2.0, name="its gradient")


@exercise("SwiGLU", seconds=60)
def test_swiglu_compiles_without_a_graph_break(device, rng):
    block = fill(day09.SwiGLU(4, 6).to(device), rng)
    compiled = torch.compile(block, backend="aot_eager", fullgraph=True, dynamic=False)
    x = rng.normal(5, 4)
    close(compiled(x).detach(), gated(block, x.double()), dtype=x.dtype, terms=12, scale=2.0)


@exercise("gelu", ban=BAN["gelu"])
def test_gelu_of_a_normal_number(device):
    # Φ(1) from a table: 0.8413447460685429
    one = torch.tensor(1.0, dtype=torch.float64, device=device)
    got = day09.gelu(one).item()
    assert math.isclose(got, 0.8413447460685429, rel_tol=1e-14), f"gelu(1) = Φ(1) = {got}"
