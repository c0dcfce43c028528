"""Day 14: small modules against float64, and checkpoints that survive kills and full disks."""

import copy
import math
import os
import pickle
import random
import signal
import stat
import sys
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from harness.testing import close, exercise, layouts, shapes, watch
from tracks.pytorch import day14

try:
    import resource
except ImportError:  # Windows
    resource = None

HALF = [torch.bfloat16, torch.float16]
DTYPES = [torch.float64, torch.float32, *HALF]
DROPOUTS = [
    "dropout",
    "native_dropout",
    "feature_dropout",
    "alpha_dropout",
    "feature_alpha_dropout",
]
NORMS = ["layer_norm", "native_layer_norm", "rms_norm", "_fused_rms_norm", "batch_norm",
         "native_batch_norm", "group_norm", "native_group_norm", "instance_norm"]  # fmt: skip
EMBEDDINGS = ["embedding", "embedding_bag", "_embedding_bag", "one_hot"]


def compiled_equals(module, x, terms, name):
    """The same values and gradients under torch.compile, without a break of the graph."""
    compiled = torch.compile(module, backend="aot_eager", fullgraph=True, dynamic=False)
    results = []
    for f in (module, compiled):
        module.zero_grad()
        out = f(x)
        out.float().square().sum().backward()
        results.append((out.detach(), [p.grad for p in module.parameters()]))
    close(results[1][0], results[0][0].double(), dtype=results[0][0].dtype, terms=terms,
          name=f"compiled {name}")  # fmt: skip
    for mine, wanted in zip(results[1][1], results[0][1], strict=True):
        close(mine, wanted.double(), dtype=wanted.dtype, terms=terms, scale=4.0,
              name=f"gradient of compiled {name}")  # fmt: skip


def not_torchs(module):
    for base in type(module).__mro__:
        library = base.__module__.startswith("torch.") and base is not nn.Module
        assert not library, f"{type(module).__name__} is built on torch's own {base.__name__}"


# Dropout -------------------------------------------------------------------------------------


@exercise("Dropout", ban=DROPOUTS)
@pytest.mark.parametrize("p", [0.001, 0.1, 0.5, 0.9])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_dropout_drops_as_many_as_it_should(p, dtype, device, rng):
    n = 200_000
    x = rng.uniform(n, low=1.0, high=2.0, dtype=dtype)
    out = day14.Dropout(p)(x)
    dropped = (out == 0).sum().item()
    spread = 6 * math.sqrt(n * p * (1 - p))
    assert abs(dropped - n * p) < spread, (
        f"p = {p}, {dtype}: {dropped} of {n} elements are zero, about {n * p:.0f} should be"
    )
    kept = out != 0
    close(out[kept], x[kept].double() / (1 - p), dtype=dtype, name=f"what is kept ({dtype})")


@exercise("Dropout", ban=DROPOUTS)
@pytest.mark.parametrize("dtype", [torch.float32, *HALF], ids=str)
def test_dropout_with_a_tiny_p(dtype, device, rng):
    """One in ten thousand: finer than the random numbers of half precision are."""
    n, p = 1_000_000, 1e-4
    dropped = (day14.Dropout(p)(torch.ones(n, dtype=dtype, device=device)) == 0).sum().item()
    assert abs(dropped - n * p) < 6 * math.sqrt(n * p), (
        f"p = {p}, {dtype}: {dropped} of {n} elements are zero, about {n * p:.0f} should be"
    )


@exercise("Dropout", ban=DROPOUTS)
def test_dropout_decides_for_every_element_itself(device, rng):
    x = torch.ones(400, 400, device=device)
    layer = day14.Dropout(0.5)
    first, second = layer(x) != 0, layer(x) != 0
    for what, sums in (("rows", first.sum(1)), ("columns", first.sum(0))):
        spread = sums.double().std().item()
        assert 7 < spread < 13, (
            f"kept elements in the {what} vary by {spread:.1f}; 10 are expected of 400 coins"
        )
    agree = (first == second).double().mean().item()
    assert abs(agree - 0.5) < 6 * 0.5 / 400, f"two calls agree in {agree:.1%} of the elements"
    neighbours = (first[:, 1:] == first[:, :-1]).double().mean().item()
    assert abs(neighbours - 0.5) < 6 * 0.5 / 399, f"neighbours agree in {neighbours:.1%}"


@exercise("Dropout", ban=DROPOUTS)
def test_dropout_follows_torchs_generator(device, rng):
    x = torch.ones(1000, device=device)
    layer = day14.Dropout(0.5)
    torch.manual_seed(rng.seed)
    first = layer(x)
    second = layer(x)
    torch.manual_seed(rng.seed)
    assert torch.equal(layer(x), first), "the same seed gave another mask"
    assert not torch.equal(first, second), "the second call gave the mask of the first"


@exercise("Dropout", ban=DROPOUTS)
@pytest.mark.parametrize("p", [0.0, 0.3, 1.0])
def test_dropout_in_eval_mode(p, device, rng):
    layer = day14.Dropout(p).eval()
    x = rng.normal(5, 3)
    state = torch.get_rng_state()
    assert layer(x) is x, f"Dropout({p}) in eval mode gives x itself"
    assert torch.equal(torch.get_rng_state(), state), "eval mode draws random numbers"


@exercise("Dropout", ban=DROPOUTS)
def test_dropout_of_nothing_and_of_everything(device, rng):
    x = rng.normal(50).requires_grad_()
    state = torch.get_rng_state()
    assert day14.Dropout(0.0)(x) is x, "Dropout(0) gives x itself"
    assert torch.equal(torch.get_rng_state(), state), "Dropout(0) draws random numbers"
    out = day14.Dropout(1.0)(x)
    assert (out == 0).all(), f"Dropout(1) gives {out.tolist()[:3]}..., all should be zero"
    assert out.requires_grad, (
        "with p = 1 everything is zero, and so is the gradient; but this result is not connected "
        "to x: backward cannot get there"
    )
    out.sum().backward()
    assert (x.grad == 0).all(), f"the gradient of Dropout(1) is {x.grad.tolist()[:3]}..."


@exercise("Dropout", ban=DROPOUTS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_dropout_gradient_has_the_same_mask(dtype, device, rng):
    x = rng.normal(64, 9, dtype=dtype).requires_grad_()
    out = day14.Dropout(0.25)(x)
    upstream = rng.normal(64, 9, dtype=dtype)
    out.backward(upstream)
    kept = (out != 0).double()
    close(x.grad, upstream.double() * kept / 0.75, dtype=dtype, name="gradient of x")


@exercise("Dropout", ban=DROPOUTS)
def test_dropout_drops_inf_and_nan(device, rng):
    values = torch.full((3, 500), math.inf, device=device)
    values[1] = -math.inf
    values[2] = math.nan
    out = day14.Dropout(0.5)(values)
    zeros = (out == 0).sum(1).tolist()
    assert all(150 < n < 350 for n in zeros), (
        f"of 500 each of inf, -inf and nan, {zeros} became zero; about half should"
    )
    assert (out[0][out[0] != 0] == math.inf).all(), "an inf that is kept is something else now"
    assert (day14.Dropout(1.0)(values) == 0).all(), "with p = 1 an inf or nan is left"


@exercise("Dropout", ban=DROPOUTS)
@pytest.mark.parametrize("shape", [(), (0,), (1,), (3, 0, 2), (2, 3, 4)], ids=str)
def test_dropout_of_any_shape_and_strides(shape, device, rng):
    base = rng.uniform(*shape, low=1.0, high=2.0)
    for layout, x in layouts(base):
        before = x.clone()
        out = day14.Dropout(0.5)(x)
        close(out, torch.where(out != 0, base.double() * 2, 0.0), dtype=x.dtype,
              name=f"of a {layout} x")  # fmt: skip
        assert torch.equal(x, before), "x changed"


@exercise("Dropout", seconds=60)  # no ban: its watching cannot be compiled
def test_dropout_compiles_without_a_graph_break(device):
    layer = day14.Dropout(0.5)
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True, dynamic=False)
    first, second = (compiled(torch.ones(10_000, device=device)) for _ in range(2))
    assert set(first.tolist()) == {0.0, 2.0}, "compiled, Dropout(0.5) of ones gives 0 and 2"
    assert 4500 < (first == 0).sum() < 5500 and not torch.equal(first, second)
    layer.eval()
    assert (compiled(torch.ones(10, device=device)) == 1).all(), "compiled, eval mode drops"


# LayerNorm -----------------------------------------------------------------------------------


def result_of(module, x):
    out = module(x)
    found = tuple(out.shape) if isinstance(out, torch.Tensor) else out
    assert found == x.shape, f"x has the shape {tuple(x.shape)}, the result is {found}"
    return out.detach()


def squares_fit(module, values):
    """Where a square is inf, its root divides everything to zero, or to nan."""
    x = torch.tensor([values], dtype=torch.float16, device=module.weight.device)
    found = result_of(module, x)[0].tolist()
    assert all(v != 0 and math.isfinite(v) for v in found), (
        f"the float16 row {values} becomes {[round(v, 2) for v in found]}: the square of "
        f"{values[0]:g} is beyond 65,504, the largest float16. In which dtype is it taken?"
    )


def eps_is_inside(module, what):
    """``module`` has the eps 0.1; 0.3 and -0.3 have the mean square (and the variance) 0.09."""
    x = torch.tensor([[0.3, -0.3]], device=module.weight.device)
    found = result_of(module, x)[0].tolist()
    row = ", ".join(f"{v:.3f}" for v in found)
    for wrong, why in ((0.3 / 0.4, "eps is added to the root"), (1.0, "eps is left out")):
        assert abs(found[0] - wrong) > 1e-3, (
            f"with eps = 0.1 the row (0.3, -0.3) becomes ({row}), as if {why}: in the formula "
            f"eps is added to {what}, inside the root"
        )


def layer_norm(x, weight, bias, eps):
    x = x.double()
    mean = x.mean(-1, keepdim=True)
    variance = (x - mean).square().mean(-1, keepdim=True)
    out = (x - mean) / (variance + eps).sqrt() * weight.detach().double()
    return out if bias is None else out + bias.detach().double()


def fill(module, rng):
    with torch.no_grad():
        for p in module.parameters():
            p.copy_(rng.normal(*p.shape, mean=0.5))
    return module


@exercise("LayerNorm", ban=NORMS)
def test_layer_norm_squares_fit(device):
    squares_fit(day14.LayerNorm(2).to(device), [300.0, -300.0])


@exercise("LayerNorm", ban=NORMS)
def test_layer_norm_eps_is_inside_the_root(device):
    eps_is_inside(day14.LayerNorm(2, eps=0.1).to(device), "the variance")


@exercise("LayerNorm", ban=NORMS)
@pytest.mark.parametrize("dtype", HALF, ids=str)
def test_layer_norm_rounds_once(dtype, device, rng):
    """The bias takes away nearly all: what a rounding before it has lost is missing then."""
    x = rng.normal(1, 33, dtype=dtype)
    module = fill(day14.LayerNorm(33).to(device), rng)
    before = layer_norm(x, module.weight, None, 1e-5)
    with torch.no_grad():
        module.bias.copy_(-1.01 * before[0])
    out = result_of(module, x).double()
    wanted = layer_norm(x, module.weight, module.bias, 1e-5)
    eps = torch.finfo(dtype).eps
    error = (out - wanted).abs()
    right = error <= eps * wanted.abs() + 1e-5
    early = error <= 2 * eps * before.abs() + 1e-5
    worst = int((error - eps * wanted.abs()).argmax())
    assert right.all() or not early.all(), (
        f"{before[0, worst]:.5f} + {module.bias[worst]:.5f}, the row of {dtype} times the weight, "
        f"plus the bias, becomes {out[0, worst]:.3g}, should be {wanted[0, worst]:.3g}: was it "
        f"rounded to {dtype} before the weight or the bias took part, and once more at the end?"
    )


@exercise("LayerNorm", ban=NORMS)
@shapes("shape", (0, 3), (1, 1), (3, 2), (7,), (2, 3, 65), (4, 0), gpu=[((4096, 4096),)])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_layer_norm_values(shape, dtype, device, rng):
    for eps, bias in ((0.1, False), (1e-5, True)):
        module = fill(day14.LayerNorm(shape[-1], eps=eps, bias=bias).to(device), rng).to(dtype)
        x = rng.normal(*shape, mean=1.0, std=3.0, dtype=dtype)
        expected = layer_norm(x, module.weight, module.bias, eps)
        half = dtype in HALF
        close(module(x), expected, dtype=dtype, terms=max(shape[-1], 1), scale=2.0,
              factor=0.75 if half else 8.0,
              name=f"LayerNorm({shape[-1]}, eps={eps}, bias={bias}) of {dtype}")  # fmt: skip


@exercise("LayerNorm", ban=NORMS)
@pytest.mark.parametrize("dtype", HALF, ids=str)
def test_layer_norm_of_half_x_with_float32_parameters(dtype, device, rng):
    module = fill(day14.LayerNorm(33).to(device), rng)
    x = rng.normal(5, 33, dtype=dtype)
    out = module(x)
    assert out.dtype == dtype, f"x is {dtype}, the result {out.dtype}"
    close(out, layer_norm(x, module.weight, module.bias, 1e-5), dtype=dtype, factor=0.75,
          terms=33, scale=2.0,
          name=f"LayerNorm(33) of {dtype}, its parameters float32")  # fmt: skip


@exercise("LayerNorm", ban=NORMS)
def test_layer_norm_far_from_zero(device, rng):
    """Rows around 10,000 with a spread of 1: the squares cancel to nothing in float32."""
    module = day14.LayerNorm(64).to(device)
    x = rng.normal(8, 64, mean=10_000.0)
    x = x.round(decimals=2)
    wanted = layer_norm(x, module.weight, module.bias, 1e-5)
    error = (module(x).detach().double() - wanted).abs().max().item()
    assert error < 5e-3, (
        f"rows around 10,000 with a spread of 1 come out wrong by {error:.2g}: the variance is "
        "lost when two numbers near 10⁸ are subtracted"
    )
    constant = torch.full((2, 64), 1234.5, device=device)
    assert (module(constant) == 0).all(), "a row of equal numbers is zero everywhere"


@exercise("LayerNorm", ban=NORMS)
def test_layer_norm_of_large_half_numbers(device):
    x = torch.tensor([[300.0, -300.0, 60000.0, -60000.0]], dtype=torch.float16, device=device)
    module = day14.LayerNorm(4).to(device)
    close(
        module(x),
        layer_norm(x, module.weight, module.bias, 1e-5),
        dtype=torch.float16,
        factor=1.0,
        terms=4,
        name="of numbers whose squares are too large for float16",
    )


@exercise("LayerNorm", ban=NORMS)
def test_layer_norm_of_any_strides(device, rng):
    module = fill(day14.LayerNorm(6).to(device), rng)
    base = rng.normal(3, 5, 6)
    for layout, x in layouts(base):
        close(module(x), layer_norm(base, module.weight, module.bias, 1e-5), dtype=x.dtype,
              terms=6, scale=2.0, name=f"of a {layout} x")  # fmt: skip


def gradients_of(f, x, parameters, upstream):
    x = x.detach().clone().requires_grad_()
    return torch.autograd.grad(f(x), [x, *parameters], upstream)


@exercise("LayerNorm", ban=NORMS)
def test_layer_norm_gradients(device, rng):
    module = fill(day14.LayerNorm(7).to(device), rng).double()
    x, upstream = (rng.normal(4, 7, dtype=torch.float64) for _ in range(2))
    found = gradients_of(module, x, [module.weight, module.bias], upstream)
    x_hat = layer_norm(x, torch.ones(7, device=device), None, 1e-5)
    g = upstream * module.weight.detach()
    inverse = 1 / (x.var(-1, correction=0, keepdim=True) + 1e-5).sqrt()
    mean = lambda t: t.mean(-1, keepdim=True)  # noqa: E731
    wanted = [
        inverse * (g - mean(g) - x_hat * mean(g * x_hat)),
        (upstream * x_hat).sum(0),
        upstream.sum(0),
    ]
    for name, mine, right in zip(["x", "weight", "bias"], found, wanted, strict=True):
        close(mine, right, terms=30, scale=4.0, name=f"gradient of {name}")


@exercise("LayerNorm", ban=NORMS)
@pytest.mark.parametrize("bias", [True, False])
def test_layer_norm_and_torch_load_each_other(bias, device, rng):
    mine, theirs = day14.LayerNorm(5, bias=bias), nn.LayerNorm(5, bias=bias)
    not_torchs(mine)
    fill(theirs, rng)
    mine.load_state_dict(theirs.state_dict())
    x = rng.normal(3, 5).cpu()
    close(mine(x), theirs(x).detach().double(), dtype=torch.float32, terms=5, scale=2.0,
          name="with the weights of nn.LayerNorm")  # fmt: skip
    assert torch.equal(mine.train()(x), mine.eval()(x)), "train and eval mode differ"


@exercise("LayerNorm", ban=NORMS)
def test_layer_norm_refuses_another_last_axis(device):
    for dim, size in ((4, 1), (4, 5), (1, 4)):
        with pytest.raises(ValueError) as refusal:
            day14.LayerNorm(dim)(torch.ones(2, size))
            pytest.fail(f"LayerNorm({dim}) took a last axis of {size}")
        assert str(dim) in str(refusal.value) and str(size) in str(refusal.value)


@exercise("LayerNorm", seconds=60)
def test_layer_norm_compiles_without_a_graph_break(device, rng):
    module = fill(day14.LayerNorm(8).to(device), rng)
    for dtype in (torch.float32, torch.bfloat16):
        compiled_equals(module, rng.normal(3, 8, dtype=dtype), 8, f"LayerNorm of {dtype}")


# RMSNorm -------------------------------------------------------------------------------------


def rms_norm(x, weight, eps):
    x = x.double()
    return x / (x.square().mean(-1, keepdim=True) + eps).sqrt() * weight.detach().double()


@exercise("RMSNorm", ban=NORMS)
def test_rms_norm_squares_fit(device):
    squares_fit(day14.RMSNorm(2).to(device), [300.0, 400.0])


@exercise("RMSNorm", ban=NORMS)
def test_rms_norm_eps_is_inside_the_root(device):
    eps_is_inside(day14.RMSNorm(2, eps=0.1).to(device), "the mean square")


@exercise("RMSNorm", ban=NORMS)
@shapes("shape", (0, 3), (1, 1), (3, 2), (7,), (2, 3, 65), (4, 0), gpu=[((4096, 4096),)])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_rms_norm_values(shape, dtype, device, rng):
    for eps in (0.1, 1e-6):
        module = fill(day14.RMSNorm(shape[-1], eps=eps).to(device), rng).to(dtype)
        x = rng.normal(*shape, mean=1.0, std=3.0, dtype=dtype)
        half = dtype in HALF
        close(module(x), rms_norm(x, module.weight, eps), dtype=dtype, terms=max(shape[-1], 1),
              factor=0.75 if half else 4.0,
              name=f"RMSNorm({shape[-1]}, eps={eps}) of {dtype}")  # fmt: skip


@exercise("RMSNorm", ban=NORMS)
def test_rms_norm_eps_is_one_millionth_unless_told(device):
    x = torch.tensor([[1e-3, -1e-3]], dtype=torch.float64, device=device)
    module = day14.RMSNorm(2).to(device).double()
    not_torchs(module)
    close(module(x), rms_norm(x, module.weight, 1e-6), terms=2, name="of numbers near √eps")
    zero = module(torch.zeros(1, 2, dtype=torch.float64, device=device))
    assert (zero == 0).all(), f"a row of zeros gives {zero.tolist()}"


@exercise("RMSNorm", ban=NORMS)
@pytest.mark.parametrize("dtype", HALF, ids=str)
def test_rms_norm_of_half_x(dtype, device, rng):
    module = fill(day14.RMSNorm(33).to(device), rng)
    for size in (1.0, 300.0, 1000.0, 1e-4):
        x = rng.normal(5, 33, std=size, dtype=dtype)
        out = module(x)
        assert out.dtype == dtype, f"x is {dtype}, the parameters float32, the result {out.dtype}"
        close(out, rms_norm(x, module.weight, 1e-6), dtype=dtype, factor=0.75, terms=33,
              name=f"of {dtype} numbers of the size {size}")  # fmt: skip


@exercise("RMSNorm", ban=NORMS)
def test_rms_norm_of_any_strides(device, rng):
    module = fill(day14.RMSNorm(6).to(device), rng)
    base = rng.normal(3, 5, 6)
    for layout, x in layouts(base):
        close(module(x), rms_norm(base, module.weight, 1e-6), dtype=x.dtype, terms=6,
              name=f"of a {layout} x")  # fmt: skip


@exercise("RMSNorm", ban=NORMS)
def test_rms_norm_gradients(device, rng):
    module = fill(day14.RMSNorm(7).to(device), rng).double()
    x, upstream = (rng.normal(4, 7, dtype=torch.float64) for _ in range(2))
    found = gradients_of(module, x, [module.weight], upstream)
    inverse = 1 / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt()
    x_hat, g = x * inverse, upstream * module.weight.detach()
    wanted = [
        inverse * (g - x_hat * (g * x_hat).mean(-1, keepdim=True)),
        (upstream * x_hat).sum(0),
    ]
    for name, mine, right in zip(["x", "weight"], found, wanted, strict=True):
        close(mine, right, terms=30, scale=4.0, name=f"gradient of {name}")


@exercise("RMSNorm", ban=NORMS)
def test_rms_norm_parameters(device, rng):
    mine, theirs = day14.RMSNorm(5, eps=1e-6), nn.RMSNorm(5, eps=1e-6)
    fill(theirs, rng)
    mine.load_state_dict(theirs.state_dict())
    x = rng.normal(3, 5).cpu()
    close(mine(x), theirs(x).detach().double(), dtype=torch.float32, terms=5,
          name="with the weight of nn.RMSNorm")  # fmt: skip
    for dim, size in ((4, 1), (4, 5), (1, 4)):
        with pytest.raises(ValueError) as refusal:
            day14.RMSNorm(dim)(torch.ones(2, size))
            pytest.fail(f"RMSNorm({dim}) took a last axis of {size}")
        assert str(dim) in str(refusal.value) and str(size) in str(refusal.value)


@exercise("RMSNorm", seconds=60)
def test_rms_norm_compiles_without_a_graph_break(device, rng):
    module = fill(day14.RMSNorm(8).to(device), rng)
    for dtype in (torch.float32, torch.bfloat16):
        compiled_equals(module, rng.normal(3, 8, dtype=dtype), 8, f"RMSNorm of {dtype}")


# Embedding -----------------------------------------------------------------------------------


@exercise("Embedding", ban=EMBEDDINGS)
@pytest.mark.parametrize("shape", [(), (0,), (1,), (5,), (2, 3), (2, 0, 3), (2, 3, 4)], ids=str)
def test_embedding_looks_up(shape, device, rng):
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        for padding in (None, 2):
            table = day14.Embedding(6, 3, padding_idx=padding).to(device).to(dtype)
            fill(table, rng)
            for kind in (torch.int64, torch.int32):
                ids = rng.integers(0, 6, *shape, dtype=kind)
                flat = [table.weight.tolist()[i] for i in ids.flatten().tolist()]
                wanted = torch.tensor(flat, dtype=dtype, device=device).reshape(*shape, 3)
                close(table(ids), wanted, name=f"rows of {kind} ids, padding_idx={padding}")


@exercise("Embedding", ban=EMBEDDINGS)
def test_embedding_of_any_strides(device, rng):
    table = day14.Embedding(6, 3, padding_idx=1).to(device)
    base = rng.integers(0, 6, 4, 5)
    wanted = table.weight.detach()[base]
    for layout, ids in layouts(base):
        close(table(ids), wanted, name=f"rows of {layout} ids")


@exercise("Embedding", ban=EMBEDDINGS)
@pytest.mark.parametrize("padding", [None, 0, 3, -1])
def test_embedding_gradients(padding, device, rng):
    table = day14.Embedding(5, 3, padding_idx=padding).to(device).double()
    fill(table, rng)
    ids = torch.tensor([[3, 4, 0], [4, 4, 3]], device=device)
    upstream = rng.normal(2, 3, 3, dtype=torch.float64)
    table(ids).backward(upstream)
    wanted = torch.zeros(5, 3, dtype=torch.float64, device=device)
    for i, g in zip(ids.flatten().tolist(), upstream.reshape(-1, 3), strict=True):
        if padding is None or i != padding % 5:
            wanted[i] += g
    close(table.weight.grad, wanted, terms=3, scale=1.0,
          name=f"gradient of the table, padding_idx={padding}")  # fmt: skip


@exercise("Embedding", ban=EMBEDDINGS)
def test_embedding_at_first():
    table = day14.Embedding(400, 100, padding_idx=7)
    not_torchs(table)
    assert [name for name, _ in table.named_parameters()] == ["weight"]
    weight = table.weight.detach()
    assert weight.dtype == torch.float32 and weight.shape == (400, 100)
    assert (weight[7] == 0).all(), "the padding row is not zero at first"
    others = torch.cat([weight[:7], weight[8:]]).double()
    n = others.numel()
    for power, wanted, variance in ((1, 0, 1), (2, 1, 2), (4, 3, 96)):
        found = others.pow(power).mean().item()
        assert abs(found - wanted) < 6 * (variance / n) ** 0.5, (
            f"the mean of weight^{power} is {found:.3f}, not {wanted}: not standard normal"
        )
    assert not torch.equal(weight, day14.Embedding(400, 100, padding_idx=7).weight)
    assert (day14.Embedding(3, 2).weight != 0).all(), "without padding_idx, a row is zero"


@exercise("Embedding", ban=EMBEDDINGS)
def test_embedding_padding_idx():
    for given, kept in ((None, None), (0, 0), (4, 4), (-1, 4), (-5, 0), (-2, 3)):
        table = day14.Embedding(5, 2, padding_idx=given)
        found = table.padding_idx
        assert found == kept, f"padding_idx={given} of 5 rows is kept as {found}, not {kept}"
        zeros = [i for i, row in enumerate(table.weight.tolist()) if not any(row)]
        wanted = [] if kept is None else [kept]
        assert zeros == wanted, (
            f"padding_idx={given} of 5 rows: rows that are zero: {zeros}, should be {wanted}"
        )
    for wrong in (5, -6, 100):
        with pytest.raises(ValueError):
            day14.Embedding(5, 2, padding_idx=wrong)
            pytest.fail(f"padding_idx={wrong} of 5 rows was accepted")


@exercise("Embedding", ban=EMBEDDINGS)
def test_embedding_refuses_ids_outside(device):
    if device.type != "cpu":
        pytest.skip("on a GPU this is a device-side assertion, after which nothing works")
    table = day14.Embedding(5, 2, padding_idx=0)
    for wrong in (-1, 5, -5):
        for ids in (torch.tensor(wrong), torch.tensor([[1, wrong]])):
            with pytest.raises(IndexError):
                found = table(ids)
                pytest.fail(f"the id {wrong} of a table of 5 rows gave {found.tolist()}")


@exercise("Embedding", ban=EMBEDDINGS)
def test_embedding_looks_at_no_id_and_copies_no_table(device, rng):
    table = day14.Embedding(20_000, 8, padding_idx=0).to(device)
    ids = rng.integers(0, 20_000, 10)
    _, seen = watch(table, ids)
    assert not seen.synchronisations, f"the device is waited for: {seen.synchronisations}"
    assert seen.peak_bytes < 20_000 * 8, (
        f"10 rows were looked up, and {seen.peak_bytes} bytes were needed for it"
    )
    _, seen = watch(table.logits, rng.normal(2, 8))
    assert not seen.synchronisations, f"the device is waited for: {seen.synchronisations}"


@exercise("Embedding", ban=EMBEDDINGS)
@pytest.mark.parametrize("padding", [None, 0, 2, -1])
def test_embedding_tied(padding, device, rng):
    """logits is x · every row; both ends add to one gradient, the padding row gets none."""
    table = day14.Embedding(5, 3, padding_idx=padding).to(device).double()
    fill(table, rng)
    weight = table.weight.detach().clone()
    for shape in ((3,), (0, 3), (2, 4, 3)):
        x = rng.normal(*shape, dtype=torch.float64)
        wanted = torch.einsum("...d,nd->...n", x, weight)
        close(table.logits(x), wanted, terms=3, scale=1.0, name=f"logits of {shape}")
    ids = torch.tensor([0, 4, 2, 4], device=device)
    up_rows, up_logits = (
        rng.normal(4, 3, dtype=torch.float64),
        rng.normal(2, 5, dtype=torch.float64),
    )
    x = rng.normal(2, 3, dtype=torch.float64).requires_grad_()
    ((table(ids) * up_rows).sum() + (table.logits(x) * up_logits).sum()).backward()
    wanted = up_logits.T @ x.detach()
    wanted.index_add_(0, ids, up_rows)
    if padding is not None:
        wanted[padding] = 0.0
    close(table.weight.grad, wanted, terms=6, scale=1.0, name="gradient of the tied table")
    close(x.grad, up_logits @ weight, terms=5, scale=1.0, name="gradient of x through logits")
    assert torch.equal(table.weight, weight), "the table changed"


@exercise("Embedding", ban=EMBEDDINGS)
def test_embedding_padding_stays_out_of_training_in_a_copy(device, rng):
    """A copied, moved, loaded table: the padding row holds what was loaded, and never moves."""
    source = nn.Embedding(6, 3)
    table = copy.deepcopy(day14.Embedding(6, 3, padding_idx=-2))
    table.load_state_dict(source.state_dict())
    table = copy.deepcopy(table).to(device).double()
    row = table.weight[4].detach().clone()
    assert (row != 0).all()  # this test's own arithmetic
    close(table(torch.tensor(4, device=device)), row, name="the padding row, as loaded")
    optimizer = torch.optim.SGD(table.parameters(), lr=0.1, momentum=0.9)
    for _ in range(3):
        optimizer.zero_grad()
        rows = table(torch.tensor([4, 1, 4], device=device))
        (rows.square().sum() + table.logits(rows).sum()).backward()
        optimizer.step()
    assert torch.equal(table.weight[4], row), "the padding row has learnt"
    assert not torch.equal(table.weight[1].cpu(), source.weight[1].double()), "nothing has learnt"


@exercise("Embedding", seconds=60)
def test_embedding_compiles_without_a_graph_break(device, rng):
    table = fill(day14.Embedding(6, 4, padding_idx=0).to(device), rng)
    ids = rng.integers(0, 6, 3, 5)
    compiled_equals(table, ids, 8, "Embedding")

    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = table

        def forward(self, ids):
            return self.table.logits(self.table(ids))

    compiled_equals(Tied().to(device), ids, 16, "Embedding, tied")


# save_checkpoint -----------------------------------------------------------------------------


def model_of(seed, size=4):
    """A small model with buffers, a tied weight and dropout; the generators stay as they are."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = nn.Sequential(
            nn.Linear(size, size), nn.BatchNorm1d(size), nn.Dropout(0.3), nn.Linear(size, size)
        )
        model[3].weight = model[0].weight
        with torch.no_grad():
            model[1].running_mean.normal_()
        return model


def adam(model):
    return torch.optim.AdamW(
        [{"params": [model[0].weight], "weight_decay": 0.1}, {"params": [model[0].bias]}], lr=0.01
    )


def trained(seed, size=4):
    """A model and its optimizer after one step."""
    model = model_of(seed, size)
    optimizer = adam(model)
    for p in model.parameters():
        p.grad = torch.full_like(p, 0.1)
    optimizer.step()
    optimizer.zero_grad()
    return model, optimizer


def snapshot(model, optimizer=None):
    """All that a refused load must leave as it is."""
    return copy.deepcopy(
        (
            {k: v.clone() for k, v in model.state_dict().items()},
            None if optimizer is None else optimizer.state_dict(),
            random.getstate(), np.random.get_state(), torch.get_rng_state(),
        )
    )  # fmt: skip


def alike(a, b):
    if isinstance(a, (torch.Tensor, np.ndarray)):
        return type(a) is type(b) and a.shape == b.shape and bool((a == b).all())
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(alike(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(alike(x, y) for x, y in zip(a, b, strict=True))
    return a == b


def unchanged(before, model, optimizer, when):
    names = [
        "the model",
        "the optimizer",
        "Python's random",
        "numpy's generator",
        "torch's generator",
    ]
    for name, old, new in zip(names, before, snapshot(model, optimizer), strict=True):
        assert alike(old, new), f"{when}, and {name} changed"


def scramble():
    """Move on the global generators."""
    random.random()
    np.random.rand()
    torch.rand(())


def whole(path, model, what):
    """``path`` is a checkpoint of ``model``: read here, without the exercise that loads."""
    assert path.exists(), f"{what}: there is no {path.name} any more"
    try:
        with zipfile.ZipFile(path) as archive:
            assert archive.testzip() is None, f"{what}: {path.name} is damaged"
        found = torch.load(path, weights_only=True)["model"]
    except (zipfile.BadZipFile, EOFError, RuntimeError, ValueError, OSError) as error:
        raise AssertionError(f"{what}: {path.name} cannot be read any more: {error}") from None
    return alike(dict(found), dict(model.state_dict()))


@exercise("save_checkpoint")
def test_save_writes_what_a_run_needs(tmp_path):
    model, optimizer = trained(1)
    scramble()
    before = snapshot(model, optimizer)
    path = tmp_path / "run.pt"
    extra = {"scheduler": {"last_epoch": 3, "base_lrs": [0.1]}, "losses": torch.arange(3.0)}
    assert day14.save_checkpoint(path, model, optimizer, step=12, extra=extra) is None
    unchanged(before, model, optimizer, "a checkpoint was saved")
    try:
        found = torch.load(path, weights_only=True)
    except pickle.UnpicklingError as error:
        raise AssertionError(
            f"torch.load(weights_only=True) refuses the file: {str(error).splitlines()[0]}"
        ) from None
    keys = sorted(found)
    assert keys == ["extra", "model", "optimizer", "rng", "step"], f"the keys are {keys}"
    assert found["step"] == 12 and alike(found["extra"], extra), f"step, extra: {found['step']}"
    assert alike(dict(found["model"]), before[0]), "the model's state is another"
    assert alike(found["optimizer"], before[1]), "the optimizer's state is another"
    numbers = found["rng"]
    assert sorted(numbers) == ["cuda", "numpy", "python", "torch"], f"rng: {sorted(numbers)}"
    assert numbers["python"] == before[2], "random.getstate() is another"
    assert torch.equal(numbers["torch"], before[4]), "torch's state is another"
    assert len(numbers["cuda"]) == torch.cuda.device_count(), "a state for each GPU"
    scramble()
    np.random.set_state(numbers["numpy"])
    assert alike(np.random.get_state(), before[3]), "numpy's state is another"


def pretend_gpus(monkeypatch, states):
    """A machine with as many GPUs as there are ``states``. → what is set, by number"""
    done = {}

    def number(device):
        return device if isinstance(device, int) else torch.device(device).index or 0

    fakes = {
        "is_available": lambda: bool(states),
        "device_count": lambda: len(states),
        "get_rng_state": lambda device=0: states[number(device)],
        "get_rng_state_all": lambda: list(states),
        "set_rng_state": lambda state, device=0: done.update({number(device): state}),
        "set_rng_state_all": lambda several: done.update(enumerate(several)),
    }
    for name, fake in fakes.items():
        monkeypatch.setattr(torch.cuda, name, fake)
    return done


STATES = [torch.arange(16, dtype=torch.uint8), torch.full((16,), 7, dtype=torch.uint8)]


@exercise("save_checkpoint")
@pytest.mark.parametrize("gpus", [0, 2])
def test_save_keeps_the_state_of_each_gpu(gpus, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        pretend_gpus(patch, STATES[:gpus])
        day14.save_checkpoint(tmp_path / "run.pt", model_of(1))
    found = torch.load(tmp_path / "run.pt", weights_only=True)["rng"]["cuda"]
    assert alike(list(found), STATES[:gpus]), f"with {gpus} GPUs, rng['cuda'] is {found}"


@exercise("save_checkpoint")
def test_save_without_optimizer_and_extra(tmp_path):
    day14.save_checkpoint(str(tmp_path / "run.pt"), model_of(1))
    found = torch.load(tmp_path / "run.pt", weights_only=True)
    rest = (found["optimizer"], found["step"], found["extra"])
    assert rest == (None, 0, {}), f"optimizer, step, extra: {rest}"


@exercise("save_checkpoint")
def test_save_makes_folders_and_leaves_nothing_else(tmp_path):
    model = model_of(1)
    path = tmp_path / "runs" / "a" / "run.pt"
    for _ in range(2):
        day14.save_checkpoint(path, model)
    found = [p.name for p in path.parent.iterdir()]
    assert found == ["run.pt"], f"beside run.pt the folder holds {found}"
    mode = stat.S_IMODE(path.stat().st_mode)
    mask = os.umask(0)
    os.umask(mask)
    assert mode == 0o666 & ~mask, f"the file has the mode {mode:o}: others cannot read it"


class Recorder:
    """Notes what happens to files: which were synced, what was replaced when."""

    def __init__(self, monkeypatch):
        self.events = []
        self.synced = set()
        self.fsync, self.replace = os.fsync, os.replace
        monkeypatch.setattr(os, "fsync", self.on_fsync)
        monkeypatch.setattr(os, "replace", self.on_replace)

    def on_fsync(self, descriptor):
        descriptor = descriptor if isinstance(descriptor, int) else descriptor.fileno()
        status = os.fstat(descriptor)
        folder = stat.S_ISDIR(status.st_mode)
        self.events.append("sync folder" if folder else "sync file")
        self.synced.add((status.st_ino, 0 if folder else status.st_size))
        return self.fsync(descriptor)

    def on_replace(self, source, target, **kwargs):
        status = os.stat(source)
        self.events.append("replace")
        self.source, self.target = Path(source), Path(target)
        self.complete = (status.st_ino, status.st_size) in self.synced
        return self.replace(source, target, **kwargs)


@exercise("save_checkpoint")
def test_save_is_on_the_disk_before_it_replaces(tmp_path, monkeypatch):
    model, optimizer = trained(1)
    path = tmp_path / "run.pt"
    day14.save_checkpoint(path, model, optimizer)
    record = Recorder(monkeypatch)
    day14.save_checkpoint(path, model, optimizer, step=1)
    assert record.events.count("replace") == 1, (
        f"os.replace was called {record.events.count('replace')} times"
    )
    assert (record.source.parent, record.target) == (tmp_path, path), (
        f"{record.source} replaced {record.target}: over another file system this is a copy, and "
        "a copy can be cut off"
    )
    assert record.source.name.endswith(".tmp"), f"the temporary file is {record.source.name}"
    before = record.events[: record.events.index("replace")]
    assert "sync file" in before, "the new file was put in place before it was fsynced"
    assert record.complete, (
        "at the time of the replace the fsynced file was not the whole one: is there something "
        "left in a buffer?"
    )
    if os.name == "posix":
        after = record.events[record.events.index("replace") :]
        assert "sync folder" in after, "the folder, which holds the new name, was not fsynced"
        inode = os.stat(tmp_path).st_ino
        assert (inode, 0) in record.synced, "another folder was fsynced"


@exercise("save_checkpoint")
def test_save_closes_its_descriptors(tmp_path):
    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("no /proc to count open files in")
    model = model_of(1)
    day14.save_checkpoint(tmp_path / "run.pt", model)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        day14.save_checkpoint(tmp_path / "run.pt", model)
    left = len(os.listdir("/proc/self/fd")) - before
    assert left == 0, f"three saves left {left} files or folders open"


def limited(limit, kill, action):
    """Run ``action`` in a forked child whose files cannot grow beyond ``limit`` bytes.

    The write that goes beyond it ends the child at once (``kill``), or fails as on a full disk.
    → (the signal that ended the child or 0, its exit code: 0 done, 3 an OSError, 4 another error)
    """
    sys.stdout.flush()
    sys.stderr.flush()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch has threads; the child starts none
        child = os.fork()
    if child == 0:
        code = 4
        try:
            signal.alarm(15)
            torch.cuda.is_available = lambda: False  # a child cannot use its parent's GPU
            torch.cuda.device_count = torch.cuda.random.device_count = lambda: 0
            torch.set_num_threads(1)
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            signal.signal(signal.SIGXFSZ, signal.SIG_DFL if kill else signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
            action()
            code = 0
        except OSError:
            code = 3
        except RuntimeError:  # torch's own writer wraps it
            code = 3
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    return (os.WTERMSIG(status), -1) if os.WIFSIGNALED(status) else (0, os.WEXITSTATUS(status))


needs_fork = pytest.mark.skipif(resource is None, reason="needs os.fork and file size limits")


def limits(path, state):
    """Sizes at which a file of ``state`` is cut off, from nothing to nearly all.

    Measured with the very state that is saved afterwards, by a child as well, for the files of
    two states, or of two processes, need not be of one length. The last sixteenth is left out:
    names of temporary files stand in the archive, once a tensor, and may differ in length."""
    twin = path.parent / "measured" / path.name
    twin.parent.mkdir()
    assert limited(10**8, True, lambda: day14.save_checkpoint(twin, *state, step=2)) == (0, 0)
    size = twin.stat().st_size
    twin.unlink()
    twin.parent.rmdir()
    return [0, 1, size // 4, size // 2, 3 * size // 4, size - size // 16]


@exercise("save_checkpoint")
@needs_fork
def test_save_killed_in_the_middle_leaves_the_old_one(tmp_path):
    old, new = trained(1, 40), trained(2, 40)
    path = tmp_path / "run.pt"
    day14.save_checkpoint(path, *old, step=1)
    for limit in limits(path, new):
        ended, code = limited(limit, True, lambda: day14.save_checkpoint(path, *new, step=2))
        when = f"a kill after {limit} bytes of the new file"
        assert ended == signal.SIGXFSZ, f"{when}: the child ended with {ended}, {code} instead"
        assert whole(path, old[0], when), f"{when}: {path.name} is not the old checkpoint any more"
    assert limited(10**8, True, lambda: day14.save_checkpoint(path, *new, step=2)) == (0, 0)
    assert whole(path, new[0], "after all"), "a save that was not killed changed nothing"


@exercise("save_checkpoint")
@needs_fork
def test_save_on_a_full_disk_leaves_the_old_one(tmp_path):
    old, new = trained(1, 40), trained(2, 40)
    path = tmp_path / "run.pt"
    day14.save_checkpoint(path, *old)
    for limit in limits(path, new):
        ended, code = limited(limit, False, lambda: day14.save_checkpoint(path, *new))
        when = f"a disk that is full after {limit} bytes of the new file"
        assert ended == 0, f"{when}: the child was ended by signal {ended}"
        assert code != 0, f"{when}: no error was raised, although nothing could be saved"
        assert whole(path, old[0], when), f"{when}: {path.name} is not the old checkpoint any more"
        found = [p.name for p in tmp_path.iterdir()]
        assert found == ["run.pt"], f"{when}: left behind was {found}"


class Stop(BaseException):
    """Such as KeyboardInterrupt."""


@exercise("save_checkpoint")
@pytest.mark.parametrize("error", [OSError, Stop])
def test_save_that_fails_cleans_up_and_says_so(error, tmp_path, monkeypatch):
    old, new = model_of(1), model_of(2)
    path = tmp_path / "run.pt"
    day14.save_checkpoint(path, old)

    def fails(*args, **kwargs):
        raise error("on purpose")

    for name in ("replace", "fsync"):
        with monkeypatch.context() as patch:
            patch.setattr(os, name, fails)
            with pytest.raises(error):
                day14.save_checkpoint(path, new)
                pytest.fail(f"os.{name} failed, and nobody was told")
        when = f"os.{name} failed"
        assert whole(path, old, when), f"{when}: {path.name} is not the old checkpoint any more"
        found = [p.name for p in tmp_path.iterdir()]
        assert found == ["run.pt"], f"{when}: left behind was {found}"


@exercise("save_checkpoint")
def test_save_that_is_stopped_after_the_replace(tmp_path, monkeypatch):
    """Ctrl-C, when the temporary file has its new name already: Ctrl-C is what is reported."""
    original = os.replace
    path = tmp_path / "run.pt"

    def replace(source, target):
        original(source, target)
        raise Stop

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(Stop):
        day14.save_checkpoint(path, model_of(1))
        pytest.fail("it was stopped, and went on")
    assert whole(path, model_of(1), "stopped after the replace"), "the new file is another"


@exercise("save_checkpoint")
def test_save_that_cannot_be_pickled(tmp_path):
    old = model_of(1)
    path = tmp_path / "run.pt"
    day14.save_checkpoint(path, old)
    with pytest.raises((AttributeError, TypeError, pickle.PicklingError)):
        day14.save_checkpoint(path, model_of(2), extra={"a": lambda: None})
        pytest.fail("extra held a lambda, which cannot be saved, and nobody was told")
    when = "extra held a lambda, which cannot be saved"
    assert whole(path, old, when), f"{when}: {path.name} is not the old checkpoint any more"
    assert [p.name for p in tmp_path.iterdir()] == ["run.pt"], f"{when}: something was left behind"


# load_checkpoint -----------------------------------------------------------------------------


def train(model, optimizer, scheduler, steps):
    """Steps that draw from all three generators. → the losses, exactly."""
    losses = []
    for _ in range(steps):
        x = torch.randn(8, 4) + float(np.random.randn()) + random.random()
        optimizer.zero_grad()
        loss = (model(x) - x.flip(1)).square().mean()
        loss.backward()
        optimizer.step()
        scheduler.step()
        losses.append(loss.item())
    return losses


def run_of(seed):
    model = model_of(seed)
    optimizer = adam(model)
    return model, optimizer, torch.optim.lr_scheduler.StepLR(optimizer, 3, 0.5)


def written(path, model, optimizer=None, step=0, extra=None, cuda=None):
    """A checkpoint as save_checkpoint's docstring has it, made here."""
    state = np.random.get_state(legacy=False)
    state["state"]["key"] = state["state"]["key"].tolist()
    if cuda is None:
        cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    rng = {
        "python": random.getstate(),
        "numpy": state,
        "torch": torch.get_rng_state(),
        "cuda": cuda,
    }
    saved = None if optimizer is None else optimizer.state_dict()
    torch.save(
        {"model": model.state_dict(), "optimizer": saved, "step": step, "extra": extra or {},
         "rng": rng},
        path,
    )  # fmt: skip
    return path


@exercise("load_checkpoint")
def test_resumed_is_never_having_stopped(tmp_path, rng):
    """Bit for bit: 12 steps, against 5 steps, a new process's state, and 7 more."""
    random.seed(rng.seed)
    np.random.seed(rng.seed)
    torch.manual_seed(rng.seed)
    model, optimizer, scheduler = run_of(1)
    train(model, optimizer, scheduler, 5)
    extra = {"scheduler": scheduler.state_dict()}
    path = written(tmp_path / "run.pt", model, optimizer, 5, extra)
    wanted = train(model, optimizer, scheduler, 7)

    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    other, again, schedule = run_of(2)
    result = day14.load_checkpoint(path, other, again)
    assert isinstance(result, day14.Resumed), f"a Resumed, not {type(result).__name__}"
    assert result.step == 5 and result.extra.keys() == {"scheduler"}, f"{result}"
    schedule.load_state_dict(result.extra["scheduler"])
    found = train(other, again, schedule, 7)
    assert found == wanted, (
        f"the losses after resuming are {found[:3]}..., without stopping they were {wanted[:3]}..."
    )
    for name, value in model.state_dict().items():
        assert torch.equal(other.state_dict()[name], value), f"{name} differs after 7 more steps"
    assert other[3].weight is other[0].weight, "the tied weights are two tensors now"


@exercise("load_checkpoint")
def test_save_and_load_go_together(tmp_path, rng):
    torch.manual_seed(rng.seed)
    model, optimizer, scheduler = run_of(1)
    train(model, optimizer, scheduler, 3)
    day14.save_checkpoint(tmp_path / "run.pt", model, optimizer, step=3)
    wanted = train(model, optimizer, scheduler, 4)
    other, again, schedule = run_of(2)
    assert day14.load_checkpoint(str(tmp_path / "run.pt"), other, again) == (3, {})
    schedule.last_epoch = 3
    again_lr = [group["lr"] for group in again.param_groups]
    schedule._last_lr = again_lr
    assert train(other, again, schedule, 4) == wanted, "resumed, the losses differ"


@exercise("load_checkpoint")
def test_load_leaves_the_generators_if_told(tmp_path):
    model, optimizer = trained(1)
    path = written(tmp_path / "run.pt", model, optimizer)
    scramble()
    other, again = trained(2)
    before = snapshot(other, again)
    day14.load_checkpoint(path, other, again, rng=False)
    for name, old, new in zip(("random", "numpy", "torch"), before[2:], snapshot(other)[2:],
                              strict=True):  # fmt: skip
        assert alike(old, new), f"rng=False, and the generator of {name} was set"
    assert alike(snapshot(other)[0], snapshot(model)[0]), "the model was not loaded"


@exercise("load_checkpoint")
@pytest.mark.parametrize("saved, here", [(2, 2), (2, 0), (0, 2), (1, 2), (2, 1), (0, 0)])
def test_load_restores_the_gpus_if_they_are_as_many(saved, here, tmp_path, monkeypatch):
    path = written(tmp_path / "run.pt", model_of(1), cuda=STATES[:saved])
    with monkeypatch.context() as patch:
        done = pretend_gpus(patch, [torch.zeros(16, dtype=torch.uint8)] * here)
        day14.load_checkpoint(path, model_of(2), rng=False)
        assert not done, "rng=False, and a GPU's generator was set"
        day14.load_checkpoint(path, model_of(2))
    wanted = dict(enumerate(STATES)) if saved == here == 2 else {}
    assert alike(done, wanted), (
        f"saved with {saved} GPUs, loaded with {here}: the generators of {sorted(done)} were set"
    )


@exercise("load_checkpoint")
def test_load_of_a_file_that_was_saved_on_a_gpu(tmp_path):
    """Its tensors are marked "cuda:0"; here they are wanted wherever the model is."""
    model = model_of(1)
    path = written(tmp_path / "run.pt", model)
    changed = tmp_path / "gpu.pt"
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(changed, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if name.endswith("data.pkl"):
                assert b"X\x03\0\0\0cpu" in data  # this test's own knowledge of the format
                data = data.replace(b"X\x03\0\0\0cpu", b"X\x06\0\0\0cuda:0")
            new.writestr(name, data)
    other = model_of(2)
    day14.load_checkpoint(changed, other)
    assert alike(snapshot(other)[0], snapshot(model)[0]), "the model was not loaded"


@exercise("load_checkpoint")
def test_load_without_an_optimizer(tmp_path):
    for optimizer in (None, trained(1)[1]):
        model = model_of(1)
        path = written(tmp_path / "run.pt", model, optimizer, 4)
        other = model_of(2)
        assert day14.load_checkpoint(path, other).step == 4
        assert alike(snapshot(other)[0], snapshot(model)[0]), "the model was not loaded"


@exercise("load_checkpoint")
def test_load_keeps_the_tensors_that_are_there(tmp_path):
    path = written(tmp_path / "run.pt", *trained(1))
    model, optimizer = trained(2)
    held = dict(model.named_parameters())
    day14.load_checkpoint(path, model, optimizer)
    for name, p in model.named_parameters():
        assert p is held[name], f"{name} is another tensor now, which the optimizer does not know"
    assert optimizer.param_groups[0]["params"][0] is model[0].weight


def refuses(path, model, optimizer, error, what):
    """→ the error, after a look at everything that it must leave as it was"""
    before = snapshot(model, optimizer)
    try:
        day14.load_checkpoint(path, model, optimizer)
    except NotImplementedError:  # the stub
        raise
    except error as caught:
        refusal = caught
    except Exception as other:
        raise AssertionError(
            f"{what}: that should be a {error.__name__}, not {type(other).__name__}: {other}"
        ) from other
    else:
        raise AssertionError(f"{what}, and it was loaded")
    unchanged(before, model, optimizer, f"{what}, {type(refusal).__name__} was raised")
    assert str(refusal).startswith(str(path)), (
        f"{what}: the message should begin with the path: {refusal}"
    )
    return refusal


@exercise("load_checkpoint")
def test_load_refuses_a_file_that_was_cut_off(tmp_path):
    data = written(tmp_path / "run.pt", *trained(1)).read_bytes()
    scramble()
    model, optimizer = trained(2)
    path = tmp_path / "cut.pt"
    size = len(data)
    for length in (0, 1, 4, 100, size // 3, size // 2, size - 1000, size - 22, size - 1):
        path.write_bytes(data[:length])
        what = f"a file of {size} bytes was cut off after {length}"
        refuses(path, model, optimizer, day14.DamagedCheckpoint, what)
    path.write_bytes(bytes(size))
    refuses(path, model, optimizer, day14.DamagedCheckpoint, "a file of zeros")
    path.write_bytes(data[: size // 2] + bytes(size - size // 2))
    refuses(path, model, optimizer, day14.DamagedCheckpoint, "the second half is zeros")


@exercise("load_checkpoint")
def test_load_refuses_a_flipped_bit(tmp_path):
    source, other = trained(1)
    data = written(tmp_path / "run.pt", source, other).read_bytes()
    model, optimizer = trained(2)
    moments = other.state_dict()["state"][0]["exp_avg_sq"]
    for name, tensor in (("a weight", source[0].weight), ("a buffer", source[1].running_mean),
                         ("a moment of the optimizer", moments)):  # fmt: skip
        at = data.index(tensor.detach().numpy().tobytes())
        damaged = bytearray(data)
        damaged[at + 3] ^= 0x40
        path = tmp_path / "flipped.pt"
        path.write_bytes(damaged)
        refuses(path, model, optimizer, day14.DamagedCheckpoint, f"one bit of {name} is flipped")


@exercise("load_checkpoint")
def test_load_refuses_other_files(tmp_path):
    model, optimizer = trained(2)
    path = tmp_path / "other.pt"
    keys = torch.load(written(path, trained(1)[0], optimizer), weights_only=True)
    scramble()
    for missing in keys:
        torch.save({k: v for k, v in keys.items() if k != missing}, path)
        what = f"a dictionary without the key {missing!r}"
        refuses(path, model, None, day14.DamagedCheckpoint, what)
    for missing in keys["rng"]:
        states = {k: v for k, v in keys["rng"].items() if k != missing}
        torch.save({**keys, "rng": states}, path)
        what = f"an rng without the key {missing!r}"
        refuses(path, model, optimizer, day14.DamagedCheckpoint, what)
    torch.save({**keys, "rng": {}}, path)
    refuses(path, model, optimizer, day14.DamagedCheckpoint, "an rng that is empty")
    torch.save(model.state_dict(), path)
    refuses(path, model, optimizer, day14.DamagedCheckpoint, "a state_dict alone")
    torch.save([1, 2], path)
    refuses(path, model, optimizer, day14.DamagedCheckpoint, "a list")
    path.write_text("# notes about the run\n")
    refuses(path, model, optimizer, day14.DamagedCheckpoint, "a text file")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.txt", "hello")
    refuses(path, model, optimizer, day14.DamagedCheckpoint, "a zip archive of something else")


class Runs:
    """What a pickle can do: run a function of its choice, here one that makes a folder."""

    def __init__(self, folder):
        self.folder = str(folder)

    def __reduce__(self):
        return os.mkdir, (self.folder,)


@exercise("load_checkpoint")
def test_load_runs_no_code_of_the_file(tmp_path):
    model, optimizer = trained(1)
    path = written(tmp_path / "run.pt", model, optimizer, extra={"a": Runs(tmp_path / "made")})
    refuses(path, model, optimizer, day14.DamagedCheckpoint, "a file that holds code")
    ran = (tmp_path / "made").exists()
    assert not ran, "code that the file named was run: read it with weights_only=True"


@exercise("load_checkpoint")
def test_load_of_no_file(tmp_path):
    model, optimizer = trained(1)
    with pytest.raises((FileNotFoundError, day14.CheckpointError)) as refusal:
        day14.load_checkpoint(tmp_path / "none.pt", model, optimizer)
        pytest.fail("there is no such file, and something was loaded")
    assert refusal.errisinstance(FileNotFoundError), (
        f"there is no such file: that should be a FileNotFoundError, not {refusal.type.__name__}"
    )


@exercise("load_checkpoint")
def test_load_refuses_another_model_before_it_changes_anything(tmp_path):
    cases = [
        ("missing in the file", "2.bias", [nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 2, bias=False)],
         [nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 2)]),
        ("missing in the file, and so is another", "2.weight", [nn.Linear(3, 3), nn.ReLU()],
         [nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 2)]),
        ("not in the model", "2.bias", [nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 2)],
         [nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 2, bias=False)]),
        ("of another shape in the file", "1.weight",
         [nn.Linear(3, 3), nn.Linear(3, 1, bias=False)],
         [nn.Linear(3, 3), nn.Linear(3, 2, bias=False)]),
        ("of another shape, and 1.bias is not in the model", "1.weight",
         [nn.Linear(3, 3), nn.Linear(3, 1)], [nn.Linear(3, 3), nn.Linear(3, 2, bias=False)]),
        ("missing in the file, and 1.weight of another shape", "0.bias",
         [nn.Linear(3, 3, bias=False), nn.Linear(3, 1)], [nn.Linear(3, 3), nn.Linear(3, 2)]),
        ("of another shape, and 1.bias missing in the file", "0.weight",
         [nn.Linear(2, 3), nn.Linear(3, 2, bias=False)], [nn.Linear(3, 3), nn.Linear(3, 2)]),
        ("of a shape that broadcasts, and so is 0.bias", "0.weight", [nn.Linear(3, 1)],
         [nn.Linear(3, 3)]),
    ]  # fmt: skip
    for what, key, saved, asked in cases:
        path = written(tmp_path / "run.pt", nn.Sequential(*saved))
        scramble()
        refusal = refuses(path, nn.Sequential(*asked), None, day14.CheckpointError,
                          f"{key} is {what}")  # fmt: skip
        damaged = isinstance(refusal, day14.DamagedCheckpoint)
        assert not damaged, f"{key} is {what}, and the file is called damaged: it is whole"
        says = str(refusal).removeprefix(str(path))
        assert key in says, (
            f"{key} is {what}. It is the first key that differs, in the order of the model, "
            f"and was to be named; the message is: {says}"
        )


@exercise("load_checkpoint")
def test_load_refuses_another_optimizer_before_it_changes_anything(tmp_path):
    model, optimizer = trained(1)
    other, _ = trained(2)
    one_group = torch.optim.AdamW(other.parameters())
    without = written(tmp_path / "without.pt", model)
    with_one = written(tmp_path / "with.pt", model, optimizer)
    scramble()
    for path, what in ((without, "no optimizer was saved"), (with_one, "two groups were saved")):
        refusal = refuses(path, other, one_group, day14.CheckpointError, f"{what}, one asked for")
        damaged = isinstance(refusal, day14.DamagedCheckpoint)
        assert not damaged, f"{what}, and the file is called damaged: it is whole"


@exercise("load_checkpoint")
def test_load_refuses_groups_without_an_option(tmp_path):
    model, optimizer = trained(1)
    groups = [{"params": group["params"]} for group in optimizer.param_groups]
    sgd = torch.optim.SGD(groups, lr=0.01)
    path = written(tmp_path / "run.pt", model, sgd)
    keys = torch.load(path, weights_only=True)
    scramble()
    other, again = trained(2)
    cases = [("the file is of SGD, the optimizer AdamW, and betas is", "betas", keys["optimizer"])]
    for at, name in ((0, "eps"), (1, "amsgrad")):
        state = optimizer.state_dict()
        del state["param_groups"][at][name]
        cases.append((f"the option {name} of the file's group {at} is", name, state))
    for what, name, state in cases:
        torch.save({**keys, "optimizer": state}, path)
        refusal = refuses(path, other, again, day14.CheckpointError, f"{what} missing")
        damaged = isinstance(refusal, day14.DamagedCheckpoint)
        assert not damaged, f"{what} missing, and the file is called damaged: it is whole"
        says = str(refusal).removeprefix(str(path))
        assert name in says, f"{what} missing, and the message does not name it: {says}"


# CheckpointManager ---------------------------------------------------------------------------


def names(manager):
    return [path.name for path in manager.paths()]


def steps(manager):
    return [day14.step_of(path) for path in manager.paths()]


def stand_in(folder, *files):
    for name in files:
        (Path(folder) / name).write_bytes(b"")


@exercise("CheckpointManager")
def test_manager_names_its_files(tmp_path):
    manager = day14.CheckpointManager(tmp_path / "run", keep=9)
    assert manager.paths() == [] and manager.best() is None
    model = model_of(1)
    cases = [
        (3, None, "step-00000003.pt"), (10, 0.25, "step-00000010_metric-0.25.pt"),
        (123456789, 1e-07, "step-123456789_metric-1e-07.pt"),
        (20, -3.0, "step-00000020_metric--3.0.pt"), (21, 2, "step-00000021_metric-2.0.pt"),
        (22, math.nan, "step-00000022.pt"), (23, 1 / 3, f"step-00000023_metric-{1 / 3!r}.pt"),
    ]  # fmt: skip
    for step, metric, name in cases:
        found = manager.save(step, model, metric=metric)
        assert found == tmp_path / "run" / name, f"step {step}, metric {metric}: {found.name}"
        assert found.exists(), f"{found.name} was not written"
    wanted = [name for step, _, name in sorted(cases, key=lambda case: case[0])]
    assert names(manager) == wanted, f"paths() are {names(manager)}"


@exercise("CheckpointManager")
def test_manager_reads_a_folder(tmp_path):
    wanted = ["step-00000002_metric-0.5.pt", "step-00000010.pt", "step-99999999_metric-0.4.pt",
              "step-100000000_metric-0.4.pt"]  # fmt: skip
    others = ["notes.txt", "step-5.pt", "step-00000011.pt.bak", "last.pt", "step-00000012_.pt",
              "x-step-00000012.pt"]  # fmt: skip
    stand_in(tmp_path, *wanted, *others)
    manager = day14.CheckpointManager(tmp_path)
    assert names(manager) == wanted, f"paths() are {names(manager)}"
    assert manager.best() == tmp_path / wanted[2], f"best() is {manager.best()}"
    manager = day14.CheckpointManager(tmp_path, mode="max")
    assert manager.best() == tmp_path / wanted[0], f"the largest is {manager.best()}"
    left = sorted(p.name for p in tmp_path.iterdir())
    assert left == sorted(wanted + others), "looking changed the folder"


@exercise("CheckpointManager")
@pytest.mark.parametrize("mode, best", [("min", 2), ("max", 5)])
def test_manager_best(mode, best, tmp_path):
    files = [(2, -1.0), (3, -1.0), (4, 0.0), (5, 10.0), (6, 10.0), (7, 9.5)]
    names = [f"step-0000000{step}_metric-{metric}.pt" for step, metric in files]
    stand_in(tmp_path, "step-00000001.pt", *names)
    found = day14.CheckpointManager(tmp_path, mode=mode).best()
    wanted = names[best - 2]
    assert found == tmp_path / wanted, (
        f"mode {mode}: best() is {found and found.name}, should be {wanted}; the files are {names}"
    )


@exercise("CheckpointManager")
@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("keep", [1, 2, 3])
def test_manager_keeps_the_newest_and_the_best(mode, keep, tmp_path, rng):
    model = model_of(1)
    metrics = [round(float(x), 3) for x in rng.normal(9)]
    manager = day14.CheckpointManager(tmp_path, keep=keep, mode=mode)
    stand_in(tmp_path, "notes.txt")
    for i, metric in enumerate(metrics):
        if i == 5:  # a new process
            manager = day14.CheckpointManager(tmp_path, keep=keep, mode=mode)
        manager.save(10 * i, model, metric=metric)
        so_far = metrics[: i + 1]
        best = so_far.index(min(so_far) if mode == "min" else max(so_far))
        wanted = sorted({best, *range(max(0, i + 1 - keep), i + 1)})
        found = [step // 10 for step in steps(manager)]
        assert found == wanted, (
            f"mode {mode}, keep {keep}, metrics {so_far}: kept are {found}, not {wanted}"
        )
    assert (tmp_path / "notes.txt").exists(), "a file that is no checkpoint was deleted"


@exercise("CheckpointManager")
def test_manager_without_metrics(tmp_path):
    manager = day14.CheckpointManager(tmp_path)
    for step in range(5):
        manager.save(step, model_of(1))
    assert steps(manager) == [2, 3, 4], f"keep is 3 unless told; kept are {steps(manager)}"


@exercise("CheckpointManager")
def test_manager_saves_everything(tmp_path, rng):
    random.seed(rng.seed)
    np.random.seed(rng.seed)
    torch.manual_seed(rng.seed)
    manager = day14.CheckpointManager(tmp_path, keep=2)
    model, optimizer, scheduler = run_of(1)
    for step in (3, 6):
        train(model, optimizer, scheduler, 3)
        manager.save(
            step, model, optimizer, metric=1.0, extra={"scheduler": scheduler.state_dict()}
        )
    wanted = train(model, optimizer, scheduler, 3)
    other, again, schedule = run_of(2)
    result = day14.CheckpointManager(tmp_path).restore(other, again)
    assert result is not None and result.step == 6, f"the newest is step 6: {result}"
    schedule.load_state_dict(result.extra["scheduler"])
    assert train(other, again, schedule, 3) == wanted, "resumed, the losses differ"


@exercise("CheckpointManager")
def test_manager_restores_without_optimizer_and_generators(tmp_path):
    manager = day14.CheckpointManager(tmp_path)
    assert manager.restore(model_of(1)) is None, "there is nothing to restore: None"
    manager.save(1, model_of(1))
    scramble()
    other = model_of(2)
    before = snapshot(other)
    assert manager.restore(other, rng=False).step == 1
    assert alike(before[2:], snapshot(other)[2:]), "rng=False, and the generators were set"
    assert alike(snapshot(other)[0], snapshot(model_of(1))[0]), "the model was not restored"
    manager.restore(other)
    assert not alike(before[4], snapshot(other)[4]), "rng=True, and torch's generator was not set"


@exercise("CheckpointManager")
def test_manager_passes_over_damaged_files(tmp_path):
    manager = day14.CheckpointManager(tmp_path, keep=5)
    for step in (1, 2, 3, 4):
        manager.save(step, model_of(step))
    for path in manager.paths()[2:]:
        path.write_bytes(path.read_bytes()[:-50])
    model = model_of(9)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = manager.restore(model)
    assert result is not None and result.step == 2, f"step 2 is the newest that is whole: {result}"
    assert alike(snapshot(model)[0], snapshot(model_of(2))[0]), "the model is not that of step 2"
    texts = [str(w.message) for w in caught]
    for step in (3, 4):
        assert any(f"step-0000000{step}.pt" in text for text in texts), (
            f"step {step} was passed over without a warning that names it: {texts}"
        )
    places = {w.filename for w in caught}
    assert places == {__file__}, f"the warnings point at {places}, not at who called restore"
    for path in manager.paths():
        path.write_bytes(b"")
    before = snapshot(model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert manager.restore(model) is None, "none is whole: None"
    unchanged(before, model, None, "none is whole")
    assert steps(manager) == [1, 2, 3, 4], "restoring deleted files"


@exercise("CheckpointManager")
def test_manager_does_not_hide_that_the_model_is_another(tmp_path):
    manager = day14.CheckpointManager(tmp_path)
    manager.save(1, nn.Linear(2, 2))
    with pytest.raises(day14.CheckpointError):
        found = manager.restore(nn.Linear(3, 2))
        pytest.fail(f"the checkpoint is of another model, and restore returned {found}")


@exercise("CheckpointManager")
def test_manager_after_going_back(tmp_path):
    """A run restarted from step 2 writes step 3 while 8 and 9 are still there."""
    manager = day14.CheckpointManager(tmp_path, keep=2)
    for step in (1, 2, 8, 9):
        manager.save(step, model_of(step), metric=float(step))
    path = manager.save(3, model_of(3), metric=7.0)
    assert path.exists(), "the checkpoint that was just written is gone"
    assert steps(manager) == [1, 3, 8, 9], f"kept are {steps(manager)}"
    path = manager.save(10, model_of(10), metric=8.0)
    assert steps(manager) == [1, 9, 10], f"kept are {steps(manager)}"


@exercise("CheckpointManager")
def test_manager_replaces_a_step_that_is_saved_again(tmp_path):
    manager = day14.CheckpointManager(tmp_path, keep=2)
    manager.save(1, model_of(1), metric=0.5)
    manager.save(2, model_of(2), metric=0.1)
    path = manager.save(2, model_of(3), metric=0.7)

    def holds(first, second, what):
        found = names(manager)
        assert found == [first, second], f"{what}: kept are {found}, should be {[first, second]}"

    holds("step-00000001_metric-0.5.pt", "step-00000002_metric-0.7.pt",
          "step 2 was saved with the metric 0.1, then with 0.7")  # fmt: skip
    manager.save(2, model_of(4), metric=0.7)
    what = "step 2 was saved again with the same metric"
    assert whole(path, model_of(4), what), f"{what}: {path.name} is not the new checkpoint"
    manager.save(2, model_of(5))
    holds("step-00000001_metric-0.5.pt", "step-00000002.pt",
          "step 2 was saved again without a metric")  # fmt: skip
    manager.save(1, model_of(6), metric=0.6)
    holds("step-00000001_metric-0.6.pt", "step-00000002.pt", "step 1 was saved again with 0.6")


@exercise("CheckpointManager")
def test_manager_keeps_the_step_that_cannot_be_saved_again(tmp_path):
    manager = day14.CheckpointManager(tmp_path, keep=1)
    path = manager.save(5, model_of(5), metric=0.5)
    for metric in (0.5, 0.4, None):
        with pytest.raises((AttributeError, TypeError, pickle.PicklingError)):
            manager.save(5, model_of(6), metric=metric, extra={"a": lambda: None})
            pytest.fail("extra held a lambda, which cannot be saved, and nobody was told")
        when = (
            f"step 5 was saved with the metric 0.5, then again with {metric} and an extra that "
            "cannot be pickled"
        )
        assert names(manager) == [path.name], (
            f"{when}: the folder holds {names(manager)}, should be {[path.name]}"
        )
        assert whole(path, model_of(5), when), f"{when}: {path.name} is not what it was"


@exercise("CheckpointManager")
def test_manager_cleans_up_after_a_kill(tmp_path):
    stand_in(tmp_path, "step-00000001.pt.123.tmp", "step-00000002.pt", "notes.txt")
    day14.CheckpointManager(tmp_path).paths()
    left = sorted(p.name for p in tmp_path.iterdir())
    assert left == ["notes.txt", "step-00000002.pt"], f"the folder holds {left}"


@exercise("CheckpointManager")
@needs_fork
@pytest.mark.parametrize("kill", [True, False], ids=["killed", "disk full"])
def test_manager_deletes_nothing_before_the_new_one_is_safe(kill, tmp_path):
    manager = day14.CheckpointManager(tmp_path, keep=2)
    for step in (1, 2, 3):
        manager.save(step, model_of(step, 40), metric=float(step))
    wanted = names(manager)
    # the new one would be the best, and push step 1 and 2 out
    cases = [(limit, 4, 0.0) for limit in limits(manager.paths()[0], (model_of(4, 40),))]
    half = cases[3][0]
    for limit, step, metric in [*cases, (half, 3, 3.0), (half, 3, 0.0)]:
        ended, code = limited(
            limit,
            kill,
            lambda step=step, metric=metric: manager.save(step, model_of(step, 40), metric=metric),
        )
        when = f"step {step}, {'killed' if kill else 'disk full'} after {limit} bytes"
        assert (ended, code) != (0, 0), f"{when}: the child did not notice"
        assert names(manager) == wanted, f"{when}: left are {names(manager)}, not {wanted}"
        for path in manager.paths():
            model = model_of(day14.step_of(path), 40)
            assert whole(path, model, when), f"{when}: {path.name} is not what it was"
    manager.save(4, model_of(4, 40), metric=0.0)
    assert steps(manager) == [3, 4], f"after a save that works, kept are {steps(manager)}"


@exercise("CheckpointManager")
def test_manager_order_of_events(tmp_path, monkeypatch):
    """Between the replace and the end, the folder never holds less than what is to stay."""
    manager = day14.CheckpointManager(tmp_path, keep=1)
    manager.save(1, model_of(1))
    seen = []
    original = os.replace

    def replace(source, target, **kwargs):
        seen.append(sorted(p.name for p in tmp_path.glob("*.pt")))
        original(source, target, **kwargs)

    monkeypatch.setattr(os, "replace", replace)
    manager.save(2, model_of(2))
    assert seen == [["step-00000001.pt"]], (
        f"when the new file was put in place the folder held {seen}: the old one was gone before"
    )
