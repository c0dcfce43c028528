"""Day 5: what a module owns: names, modes, dtypes, and who finds which tensor."""

import copy
import math
import pickle
import re
from itertools import pairwise

import pytest
import torch
from torch import nn

from harness.testing import close, exercise, layouts, shapes
from tracks.pytorch import day05

DTYPES = [torch.float64, torch.float32, torch.bfloat16]


def names(tensors):
    return [name for name, _ in tensors]


def fill(module, rng):
    """Give every parameter of ``module`` new values of a size that a layer would have."""
    with torch.no_grad():
        for p in module.parameters():
            p.copy_(rng.normal(*p.shape, std=max(p.shape[-1], 1) ** -0.5))
    return module


# Linear --------------------------------------------------------------------------------------


@exercise("Linear", ban=["linear"])
@shapes("shape, out", ((4,), 3), ((0, 4), 3), ((1, 1), 1), ((5, 7), 9), ((2, 3, 8), 5),
        gpu=[((4096, 1024), 512)])  # fmt: skip
def test_linear_values(shape, out, device, rng):
    for dtype in DTYPES:
        for bias in (True, False):
            layer = fill(day05.Linear(shape[-1], out, bias=bias).to(device), rng).to(dtype)
            x = rng.normal(*shape, dtype=dtype)
            weight = layer.weight.detach().double()
            expected = torch.einsum("...i,oi->...o", x.double(), weight)
            # A product, their sum and the bias may each be rounded: to bfloat16 that is half of
            # 2⁻⁷ of a summand, whatever cancels in the end. Twice that is granted.
            summands = torch.einsum("...i,oi->...o", x.double().abs(), weight.abs())
            if bias:
                expected = expected + layer.bias.detach().double()
                summands = summands + layer.bias.detach().double().abs()
            terms = shape[-1] + 1
            scale = 2.0**16 / terms * summands if dtype == torch.bfloat16 else 1.0
            close(layer(x), expected, dtype=dtype, terms=terms, scale=scale,
                  factor=2.0 if dtype == torch.bfloat16 else 4.0,
                  name=f"{dtype} Linear({shape[-1]}, {out}, bias={bias})")  # fmt: skip


@exercise("Linear", ban=["linear"])
def test_linear_of_any_strides(device, rng):
    layer = fill(day05.Linear(6, 4).to(device), rng)
    base = rng.normal(3, 5, 6)
    expected = base.double() @ layer.weight.detach().double().T + layer.bias.detach().double()
    for layout, x in layouts(base):
        close(layer(x), expected, dtype=x.dtype, terms=7, scale=1.0, name=f"of a {layout} x")


@exercise("Linear", ban=["linear"])
def test_linear_gradients(device, rng):
    layer = fill(day05.Linear(5, 3).to(device), rng).double()
    x = rng.normal(4, 5, dtype=torch.float64).requires_grad_()
    layer(x).square().sum().backward()
    out = 2 * (x @ layer.weight.T + layer.bias).detach()
    for name, found, wanted in (
        ("x", x.grad, out @ layer.weight.detach()),
        ("weight", layer.weight.grad, out.T @ x.detach()),
        ("bias", layer.bias.grad, out.sum(0)),
    ):
        assert found is not None, f"no gradient reaches {name}: is it a parameter of the layer?"
        close(found, wanted, terms=12, scale=4.0, name=f"gradient of {name}")


@exercise("Linear")
@pytest.mark.parametrize("bias", [True, False])
def test_linear_and_torch_load_each_other(bias):
    mine, theirs = day05.Linear(5, 3, bias=bias), nn.Linear(5, 3, bias=bias)
    assert not isinstance(mine, nn.Linear), "this is torch's own Linear: write the layer here"
    expected = {name: tuple(t.shape) for name, t in theirs.state_dict().items()}
    found = {name: tuple(t.shape) for name, t in mine.state_dict().items()}
    assert found == expected, f"the state_dict has {found}, nn.Linear's has {expected}"
    mine.load_state_dict(theirs.state_dict())
    for name, tensor in theirs.state_dict().items():
        close(getattr(mine, name), tensor, name=f"{name} after loading nn.Linear's state")
    theirs.load_state_dict(day05.Linear(5, 3, bias=bias).state_dict())
    assert names(mine.named_parameters()) == names(theirs.named_parameters())
    for name, p in mine.named_parameters():
        assert p.requires_grad, f"{name} does not require a gradient: it would never learn"
        assert p.dtype == torch.float32, f"{name} is {p.dtype}"


@exercise("Linear")
def test_linear_without_bias_has_the_attribute():
    layer = day05.Linear(5, 3, bias=False)
    assert hasattr(layer, "bias"), "with bias=False, layer.bias should be None, but is not there"
    assert layer.bias is None, f"with bias=False, layer.bias should be None, not {layer.bias}"


@exercise("Linear")
def test_linear_initial_values(rng):
    layer = day05.Linear(100, 400)
    bound = 0.1
    for name, p in layer.named_parameters():
        assert p.abs().max() <= bound * 1.0001, (
            f"{name} holds {p.abs().max():.4f}; for 100 inputs the largest allowed is {bound}"
        )
        n = p.numel()
        # A uniform number has the variance bound² / 3; its square has the variance 4/45 bound⁴.
        sigma = bound**2 * (4 / 45 / n) ** 0.5
        assert abs(p.square().mean().item() - bound**2 / 3) < 6 * sigma, (
            f"{name}: the mean square is {p.square().mean():.3g}, not {bound**2 / 3:.3g}"
        )
        assert abs(p.mean().item()) < 6 * bound / (3 * n) ** 0.5, f"{name} has mean {p.mean():.3g}"
    again = day05.Linear(100, 400)
    assert not torch.equal(layer.weight, again.weight), "two new layers have the same weights"


# Standardize ---------------------------------------------------------------------------------

LEARNT = ["gain", "shift"]
SAVED = ["count", "gain", "mean", "shift", "variance"]


def standardized(x, mean, variance, gain, shift, limit):
    """Step 2 and 3, in float64."""
    z = (x.double() - mean) / (variance + 1e-5).sqrt()
    return z.clamp(-limit, limit) * gain.detach().double() + shift.detach().double()


@exercise("Standardize", ban=["batch_norm", "native_batch_norm"])
def test_standardize_registers_each_tensor_as_what_it_is():
    module = day05.Standardize(3, limit=4.0)
    found = sorted(names(module.named_parameters()))
    assert found == LEARNT, f"the parameters are {found}; only gain and shift are learnt"
    found = sorted(names(module.named_buffers()))
    assert found == ["count", "limit", "mean", "variance"], f"the buffers are {found}"
    found = sorted(module.state_dict())
    assert found == SAVED, f"the state_dict holds {found}"
    at_first = {"gain": [1.0] * 3, "shift": [0.0] * 3, "mean": [0.0] * 3, "variance": [1.0] * 3}
    for name, values in at_first.items():
        close(getattr(module, name), torch.tensor(values), name=f"{name} at first")
    close(module.count, torch.tensor(0), name="count at first")
    close(module.limit, torch.tensor(4.0), name="limit")
    close(day05.Standardize(3).limit, torch.tensor(10.0), name="limit unless it is given")


@exercise("Standardize", ban=["batch_norm", "native_batch_norm"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_standardize_statistics_are_those_of_all_rows(dtype, device, rng):
    module = day05.Standardize(4).to(device).to(dtype)
    batches = [rng.normal(n, 4, mean=3.0, std=2.0, dtype=dtype) for n in (5, 1, 17, 40)]
    for seen in range(1, len(batches) + 1):
        out = module(batches[seen - 1])
        rows = torch.cat(batches[:seen]).double()
        mean = rows.mean(0)
        variance = (rows - mean).square().mean(0)
        what = f"after {seen} batch(es) of 5, 1, 17 and 40 rows"
        assert module.count.item() == len(rows), f"count is {module.count.item()} {what}"
        close(module.mean, mean, dtype=dtype, terms=len(rows), scale=5.0, name=f"mean {what}")
        close(module.variance, variance, dtype=dtype, terms=len(rows), scale=20.0,
              name=f"variance {what}")  # fmt: skip
        if seen > 1:
            wanted = standardized(batches[seen - 1], mean, variance, module.gain, module.shift, 10)
            close(out, wanted, dtype=dtype, terms=len(rows), scale=20.0, name=f"result {what}")


@exercise("Standardize", ban=["batch_norm", "native_batch_norm"])
@pytest.mark.parametrize("shape", [(3,), (6, 3), (2, 4, 3), (0, 3)])
def test_standardize_any_leading_axes(shape, device, rng):
    module = day05.Standardize(3).to(device)
    first = rng.normal(7, 3)
    module(first)
    base = rng.normal(*shape, std=2.0)
    rows = torch.cat([first, base.reshape(-1, 3)]).double()
    for layout, x in layouts(base):
        one = copy.deepcopy(module)
        out = one(x)
        assert one.count.item() == len(rows), f"count is {one.count.item()} of {len(rows)} rows"
        close(one.mean, rows.mean(0), dtype=torch.float32, terms=20, scale=2.0, name="mean")
        wanted = standardized(
            base, rows.mean(0), rows.var(0, correction=0), one.gain, one.shift, 10
        )
        close(out, wanted, dtype=x.dtype, terms=20, scale=4.0, name=f"result of a {layout} x")


@exercise("Standardize", ban=["batch_norm", "native_batch_norm"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_standardize_in_eval_mode(dtype, device, rng):
    module = day05.Standardize(5, limit=1.5).to(device)
    module(rng.normal(30, 5, mean=1.0, std=3.0))
    with torch.no_grad():
        module.gain.copy_(rng.uniform(5, low=0.5, high=2))
        module.shift.copy_(rng.normal(5))
    if dtype == torch.float64:
        module.double()
    module.eval()
    before = {name: t.clone() for name, t in module.named_buffers()}
    x = rng.normal(9, 5, mean=1.0, std=4.0, dtype=dtype)
    out = module(x)
    for name, tensor in module.named_buffers():
        assert torch.equal(tensor, before[name]), f"{name} changed in eval mode"
    mean, variance = module.mean.double(), module.variance.double()
    wanted = standardized(x, mean, variance, module.gain, module.shift, 1.5)
    factor = 0.75 if dtype == torch.bfloat16 else 4.0
    close(out, wanted, dtype=dtype, terms=4, scale=4.0, factor=factor,
          name=f"{dtype} result in eval mode, limit 1.5")  # fmt: skip


@exercise("Standardize", ban=["batch_norm", "native_batch_norm"])
def test_standardize_limit(device):
    module = day05.Standardize(1, limit=2.0).to(device).eval()
    with torch.no_grad():
        module.gain.fill_(3.0)
        module.shift.fill_(1.0)
    out = module(torch.tensor([[1e6], [-1e6]], device=device)).flatten().tolist()
    assert out == [7.0, -5.0], f"z is clamped to ±2, then times 3 plus 1: 7 and -5, not {out}"


@exercise("Standardize", ban=["batch_norm", "native_batch_norm"])
def test_standardize_follows_to(device, rng):
    module = day05.Standardize(3)
    meta = copy.deepcopy(module).to("meta")
    for name in [*SAVED, "limit"]:
        assert getattr(meta, name).device.type == "meta", f"{name} stayed behind in to(device)"
    half = copy.deepcopy(module).to(torch.bfloat16)
    for name in ["gain", "shift", "mean", "variance", "limit"]:
        assert getattr(half, name).dtype == torch.bfloat16, f"{name} did not follow to(dtype)"
    assert half.count.dtype == torch.int64, f"count became {half.count.dtype}: it counts"
    half = half.to(device)
    out = half(rng.normal(6, 3, dtype=torch.bfloat16))
    assert out.dtype == torch.bfloat16, f"a bfloat16 x gives {out.dtype}"
    for name in ["mean", "variance"]:
        dtype = getattr(half, name).dtype
        assert dtype == torch.bfloat16, f"training turned {name} of a bfloat16 module into {dtype}"


@exercise("Standardize", ban=["batch_norm", "native_batch_norm"])
def test_standardize_writes_its_buffers_in_place(device, rng):
    module = day05.Standardize(3).to(device)
    held = {name: t for name, t in module.named_buffers()}
    module(rng.normal(6, 3))
    for name, tensor in module.named_buffers():
        assert tensor is held[name], f"{name} is another tensor now: whoever held it sees the old"
    assert held["count"].item() == 6


@exercise("Standardize", ban=["batch_norm", "native_batch_norm"])
def test_standardize_survives_saving(device, rng):
    module = day05.Standardize(3, limit=2.5).to(device)
    module(rng.normal(20, 3, mean=5.0))
    other = day05.Standardize(3, limit=2.5).to(device)
    other.load_state_dict(module.state_dict())
    x = rng.normal(4, 3, mean=5.0)
    close(other.eval()(x), module.eval()(x).detach(), name="a copy with the loaded state")
    other.train()
    module.train()
    assert torch.equal(other(x), module(x)), "the copy goes on training differently"


@exercise("Standardize", ban=["batch_norm", "native_batch_norm"])
def test_standardize_gradients(device, rng):
    module = day05.Standardize(3, limit=1.0).to(device).double()
    module(rng.normal(8, 3, dtype=torch.float64))
    x = rng.normal(6, 3, dtype=torch.float64).requires_grad_()
    module(x).square().sum().backward()
    z = (x.detach() - module.mean) / (module.variance + 1e-5).sqrt()
    inside = z.abs() < 1
    z = z.clamp(-1, 1)
    slope = torch.where(inside, 2 * z / (module.variance + 1e-5).sqrt(), 0.0)
    close(x.grad, slope, terms=8, scale=2.0, name="gradient of x, the statistics being constants")
    close(module.gain.grad, (2 * z * z).sum(0), terms=8, scale=2.0, name="gradient of gain")
    close(module.shift.grad, (2 * z).sum(0), terms=8, scale=2.0, name="gradient of shift")
    for name, tensor in module.named_buffers():
        assert not tensor.requires_grad, f"{name} keeps a graph alive: it should be a constant"


@exercise("Standardize", seconds=60)  # no ban: its watching cannot be compiled
def test_standardize_compiles_without_a_graph_break(device, rng):
    module, eager = day05.Standardize(3).to(device), day05.Standardize(3).to(device)
    compiled = torch.compile(module, backend="aot_eager", fullgraph=True, dynamic=False)
    for _ in range(2):
        x = rng.normal(6, 3, mean=2.0)
        close(compiled(x), eager(x).detach().double(), dtype=x.dtype, terms=12, scale=4.0,
              name="compiled")  # fmt: skip
    assert module.count.item() == 12, f"compiled, it counted {module.count.item()} of 12 rows"


# MLP -----------------------------------------------------------------------------------------


@exercise("MLP", ban=["linear"])
@shapes("sizes", [3, 2], [4, 8, 2], [6, 5, 1, 7], [5, 5, 5, 5, 5])
def test_mlp_values(sizes, device, rng):
    model = fill(day05.MLP(sizes).to(device), rng).double()
    x = rng.normal(2, 3, sizes[0], dtype=torch.float64)
    h = x
    for i, layer in enumerate(model.layers):
        h = h @ layer.weight.T + layer.bias
        h = h.clamp(min=0) if i < len(sizes) - 2 else h
    close(model(x), h.detach(), terms=20, scale=2.0, name=f"MLP({sizes})")


@exercise("MLP", ban=["linear"])
@shapes("sizes", [3, 2], [6, 5, 1, 7])
def test_mlp_names(sizes):
    model = day05.MLP(sizes)
    wanted = {}
    for i, (a, b) in enumerate(pairwise(sizes)):
        wanted[f"layers.{i}.weight"] = (b, a)
        wanted[f"layers.{i}.bias"] = (b,)
    found = {name: tuple(t.shape) for name, t in model.state_dict().items()}
    assert found == wanted, f"the state_dict has {found}"
    assert names(model.named_parameters()) == list(wanted), "parameters come in another order"
    for layer in model.layers:
        assert isinstance(layer, day05.Linear), f"{type(layer)} among the layers, not your Linear"


@exercise("MLP", ban=["linear"])
def test_mlp_files_its_activation(device, rng):
    activation = nn.PReLU(init=0.5)
    model = day05.MLP([4, 6, 6, 2], activation=activation).to(device)
    assert model.activation is activation, "the activation is not the module that was given"
    assert "activation.weight" in model.state_dict(), "its parameter is missing in the state_dict"
    x = rng.normal(5, 4)
    h = x
    for layer in model.layers[:-1]:
        h = layer(h)
        h = torch.where(h > 0, h, 0.5 * h)
    close(model(x), model.layers[-1](h).detach().double(), dtype=x.dtype, terms=20, scale=2.0,
          name="with PReLU")  # fmt: skip
    assert isinstance(day05.MLP([4, 2, 2]).activation, nn.ReLU)


@exercise("MLP", ban=["linear"])
def test_mlp_dropout_follows_the_mode(device, rng):
    wide = 400
    model = day05.MLP([1, wide, wide, wide], dropout=0.5).to(device)
    with torch.no_grad():  # ones through identities: what is left shows what was dropped
        for i, layer in enumerate(model.layers):
            layer.weight.copy_(torch.ones(wide, 1) if i == 0 else torch.eye(wide))
            layer.bias.zero_()
    one = torch.ones(1, 1, device=device)
    assert isinstance(model.dropout, nn.Dropout)
    out = model(one)
    values = sorted(set(out.flatten().tolist()))
    assert values == [0.0, 4.0], (
        f"two dropouts of 0.5, one after each activation, leave 0 or 4 of a one, not {values[:6]}"
    )
    kept = (out != 0).double().mean().item()
    assert abs(kept - 0.25) < 7 * (0.25 * 0.75 / wide) ** 0.5, f"{kept:.0%} survived, not a quarter"
    model.eval()
    assert not any(part.training for part in model.modules()), "a part did not hear of eval()"
    assert torch.equal(model(one), torch.ones(1, wide, device=device)), "dropout in eval mode"


@exercise("MLP", ban=["linear"])
def test_mlp_inside_another_module(device, rng):
    model = nn.Sequential(day05.MLP([4, 8, 3]), nn.Tanh()).to(device).to(torch.bfloat16)
    found = list(model.state_dict())
    assert found == [f"0.layers.{i}.{n}" for i in (0, 1) for n in ("weight", "bias")], (
        f"the state_dict holds {found}"
    )
    out = model(rng.normal(2, 4, dtype=torch.bfloat16))
    assert out.dtype == torch.bfloat16
    out.sum().backward()
    for name, p in model.named_parameters():
        assert p.grad is not None, f"no gradient reaches {name}"
    twin = pickle.loads(pickle.dumps(model))
    assert list(twin.state_dict()) == found
    assert not any(
        a.data_ptr() == b.data_ptr()
        for a, b in zip(model.parameters(), copy.deepcopy(model).parameters(), strict=True)
    ), "a deep copy shares its weights"


@exercise("MLP", ban=["linear"])
def test_mlp_calls_its_modules(device, rng):
    model = day05.MLP([4, 8, 8, 3]).to(device)
    called = []
    for name, part in model.named_modules():
        part.register_forward_hook(lambda *_, name=name: called.append(name))
    model(rng.normal(2, 4))
    wanted = ["layers.0", "layers.1", "layers.2"]
    found = [name for name in called if name.startswith("layers.")]
    assert found == wanted, f"hooks saw {called}: call a module, not its forward"
    assert called.count("activation") == 2, f"the activation was called as {called}"


@exercise("MLP", ban=["linear"])
def test_mlp_learns(device, rng):
    model = fill(day05.MLP([2, 16, 1]).to(device), rng)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    x = rng.normal(64, 2)
    y = x[:, :1] * x[:, 1:]
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        loss = (model(x) - y).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0], f"20 steps of gradient descent: from {losses[0]} to {losses[-1]}"


@exercise("MLP")
@pytest.mark.parametrize("sizes", [[], [7]])
def test_mlp_refuses_too_few_sizes(sizes):
    with pytest.raises(ValueError) as refusal:
        day05.MLP(sizes)
        pytest.fail(f"a network was made of the sizes {sizes}")
    found = re.findall(r"\d+", str(refusal.value))
    assert set(map(str, sizes)) <= set(found), f"which sizes? {refusal.value}"


@exercise("MLP", seconds=60)
def test_mlp_compiles_without_a_graph_break(device, rng):
    model = day05.MLP([4, 8, 3], dropout=0.5).to(device).eval()
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True, dynamic=False)
    x = rng.normal(5, 4)
    close(compiled(x), model(x).detach().double(), dtype=x.dtype, terms=8, scale=2.0)


# count_parameters ----------------------------------------------------------------------------


class Nested(nn.Module):
    """Own parameters, a buffer of each kind, a tied weight, a child without parameters."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(7))
        self.embed = nn.Embedding(11, 5)
        self.body = nn.Sequential(nn.Linear(5, 5), nn.ReLU(), nn.Sequential(nn.Linear(5, 5)))
        self.act = nn.ReLU()
        self.norm = nn.BatchNorm1d(5)
        self.head = nn.Linear(5, 11)
        self.head.weight = self.embed.weight
        self.register_buffer("table", torch.zeros(3, dtype=torch.float64), persistent=False)


@exercise("count_parameters")
def test_count_of_a_nested_module():
    seen = day05.count_parameters(Nested())
    wanted = {"": 7, "embed": 55, "body": 60, "act": 0, "norm": 10, "head": 11}
    assert seen.by_child == wanted, f"by_child is {seen.by_child}, not {wanted}"
    assert list(seen.by_child)[1:] == list(wanted)[1:], "the children come in another order"
    assert seen.total == 143, f"143 elements, the tied weight counted once, not {seen.total}"
    assert seen.trainable == 143
    # 143 parameters, batch norm's mean and variance, its int64 counter, 3 numbers of float64
    size = 4 * (143 + 10) + 8 + 24
    assert seen.bytes == size, f"{size} bytes of parameters and buffers, not {seen.bytes}"


@exercise("count_parameters")
def test_count_of_frozen_and_half_precision():
    module = Nested().to(torch.bfloat16)
    module.embed.weight.requires_grad_(False)
    module.body[2][0].bias.requires_grad_(False)
    seen = day05.count_parameters(module)
    assert seen.total == 143, f"frozen parameters are still there: 143, not {seen.total}"
    assert seen.trainable == 143 - 55 - 5, f"trainable: {143 - 55 - 5}, not {seen.trainable}"
    assert seen.bytes == 2 * (143 + 10) + 8 + 6, f"in bfloat16: {seen.bytes} bytes"


@exercise("count_parameters")
@pytest.mark.parametrize("device_type", ["cpu", "meta"])
def test_count_of_a_layer_and_of_nothing(device_type):
    seen = day05.count_parameters(nn.Linear(4, 3, device=device_type))
    assert tuple(seen[:3]) == (15, 15, 60), f"nn.Linear(4, 3): {seen}"
    assert seen.by_child == {"": 15}, f"a module without children: {seen.by_child}"
    empty = day05.count_parameters(nn.ReLU())
    assert tuple(empty) == (0, 0, 0, {"": 0}), f"nn.ReLU holds nothing, but {empty}"
    assert isinstance(seen, day05.ParameterCount)
    for value in (*seen[:3], *seen.by_child.values()):
        assert type(value) is int, f"a plain int, not a {type(value).__name__}"


@exercise("count_parameters")
def test_count_of_a_child_used_twice():
    layer = nn.Linear(3, 3)
    seen = day05.count_parameters(nn.Sequential(layer, nn.ReLU(), layer))
    assert seen.total == 12, f"one layer used twice has 12 elements, not {seen.total}"
    assert sum(seen.by_child.values()) == 12, f"by_child sums up to another number: {seen}"
    assert seen.by_child["0"] == 12, f"it counts where it is first named, under '0': {seen}"


# freeze --------------------------------------------------------------------------------------


def frozen(module):
    return [n for n, p in module.named_parameters(remove_duplicate=False) if not p.requires_grad]


@exercise("freeze")
@pytest.mark.parametrize(
    "pattern, wanted",
    [
        ("scale", ["scale"]),
        ("*.bias", ["body.0.bias", "body.2.0.bias", "norm.bias", "head.bias"]),
        ("body.*", ["body.0.weight", "body.0.bias", "body.2.0.weight", "body.2.0.bias"]),
        ("body.?.weight", ["body.0.weight"]),
        ("norm*", ["norm.weight", "norm.bias"]),
    ],
)
def test_freeze_by_pattern(pattern, wanted):
    module = Nested()
    got = day05.freeze(module, pattern)
    assert got == wanted, f"freeze(module, {pattern!r}) returned {got}, not {wanted}"
    assert frozen(module) == wanted, f"after {pattern!r} these are frozen: {frozen(module)}"


@exercise("freeze")
def test_freeze_everything_and_again():
    module = Nested()
    every = [name for name, _ in module.named_parameters(remove_duplicate=False)]
    assert day05.freeze(module, "scale") == ["scale"]
    got = day05.freeze(module, "*")
    assert got == every, f"every name matches '*', also one that is frozen already: {got}"
    assert frozen(module) == every


@exercise("freeze")
def test_freeze_a_tied_weight_by_its_second_name():
    module = Nested()
    got = day05.freeze(module, "head.*")
    assert got == ["head.weight", "head.bias"], f"freeze(module, 'head.*') returned {got}"
    assert not module.embed.weight.requires_grad, "head.weight is embed.weight, yet it can learn"


@exercise("freeze")
def test_a_frozen_parameter_stays_where_it_is(rng):
    module = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 1))
    held = dict(module.named_parameters())
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9)
    module(torch.ones(2, 3)).sum().backward()
    before = {name: p.detach().clone() for name, p in held.items()}
    day05.freeze(module, "0.*")
    optimizer.step()  # with the gradients of before
    for name, p in module.named_parameters():
        assert p is held[name], f"{name} is another tensor now, which the optimizer does not know"
        moved = not torch.equal(p, before[name])
        if name.startswith("0."):
            assert not moved, f"{name} is frozen, and an optimizer step moved it"
        else:
            assert moved, f"{name} is not frozen: it should keep its gradient and move"


@exercise("freeze")
@pytest.mark.parametrize("pattern", ["scal", "Body.*", "body", "", "bias"])
def test_freeze_refuses_a_pattern_that_matches_nothing(pattern):
    module = Nested()
    with pytest.raises(ValueError) as refusal:
        day05.freeze(module, pattern)
        pytest.fail(f"no parameter has a name like {pattern!r}, and nobody was told")
    assert pattern in str(refusal.value), f"which pattern? {refusal.value}"
    assert not frozen(module), f"nothing matches, yet these were frozen: {frozen(module)}"


# init_weights --------------------------------------------------------------------------------


def own_linear(a, b):
    """Today's Linear, also while its __init__ is not written yet."""
    layer = day05.Linear.__new__(day05.Linear)
    nn.Module.__init__(layer)
    layer.in_features, layer.out_features = a, b
    layer.weight = nn.Parameter(torch.full((b, a), 9.0))
    layer.bias = nn.Parameter(torch.full((b,), 9.0))
    return layer


def model_to_initialise():
    """Everything holds 9 at first."""
    model = nn.ModuleDict(
        {
            "embed": nn.Embedding(300, 60, padding_idx=2),
            "plain": nn.Embedding(200, 60),
            "block": nn.Sequential(own_linear(60, 250), nn.Sequential(nn.Linear(250, 60))),
            "nobias": nn.Linear(60, 300, bias=False),
            "norm": nn.LayerNorm(60),
            "bare": nn.LayerNorm(60, elementwise_affine=False),
            "conv": nn.Conv1d(4, 5, 3),
            "batch": nn.BatchNorm1d(6),
        }
    )
    with torch.no_grad():
        for p in model.parameters():
            p.fill_(9.0)
    return model


NORMAL = ["embed.weight", "plain.weight", "block.0.weight", "block.1.0.weight", "nobias.weight"]
ZERO = ["block.0.bias", "block.1.0.bias", "norm.bias"]


@exercise("init_weights")
@pytest.mark.parametrize("std", [0.02, 1.5])
def test_init_values(std, device, rng):
    model = model_to_initialise().to(device)
    assert day05.init_weights(model, std=std) is None
    parameters = {name: p.detach().clone() for name, p in model.named_parameters()}
    padding = parameters["embed.weight"][2]
    assert (padding == 0).all(), f"the padding row of the embedding is {padding[:3].tolist()}..."
    kept = torch.arange(300, device=device) != 2
    parameters["embed.weight"] = parameters["embed.weight"][kept]
    for name in NORMAL:
        x = parameters.pop(name).double() / std
        n = x.numel()
        assert abs(x.mean().item()) < 6 / n**0.5, f"{name} has the mean {x.mean() * std:.4g}"
        found = x.square().mean().item()
        assert abs(found - 1) < 6 * (2 / n) ** 0.5, (
            f"{name} has the standard deviation {found**0.5 * std:.4g}, {std} was asked for"
        )
        fourth = x.pow(4).mean().item()
        assert abs(fourth - 3) < 8 * (96 / n) ** 0.5, f"{name} is not normally distributed"
    for name, x in parameters.items():
        wanted = 0.0 if name in ZERO else 1.0 if name == "norm.weight" else 9.0
        assert (x == wanted).all(), f"{name} should be {wanted} everywhere, not {x.flatten()[0]}"


@exercise("init_weights")
def test_init_uses_a_std_of_two_hundredths_unless_told(device):
    layer = nn.Linear(100, 100, device=device)
    day05.init_weights(layer)
    std = layer.weight.std().item()
    assert abs(std - 0.02) < 0.002, f"init_weights(layer) made the standard deviation {std:.4f}"


@exercise("init_weights")
def test_init_from_a_generator(device, rng):
    made = []
    for seed in (5, 5, 6):
        torch.manual_seed(int(rng.integers(0, 10**6)))
        before = torch.get_rng_state()
        model = model_to_initialise().to(device)
        state = torch.get_rng_state() if device.type == "cpu" else before
        day05.init_weights(model, generator=torch.Generator(device).manual_seed(seed))
        if device.type == "cpu":
            assert torch.equal(torch.get_rng_state(), state), "torch's global generator was used"
        made.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    assert torch.equal(made[0], made[1]), "generators of the same seed made different weights"
    assert not torch.equal(made[0], made[2]), "generators of different seeds made the same weights"


@exercise("init_weights")
def test_init_changes_only_values(device):
    model = model_to_initialise().to(device).to(torch.bfloat16)
    model["plain"].weight.requires_grad_(False)
    held = dict(model.named_parameters())
    day05.init_weights(model)
    for name, p in model.named_parameters():
        assert p is held[name], f"{name} is another tensor now"
        assert p.dtype == torch.bfloat16, f"{name} became {p.dtype}"
        assert p.requires_grad is (name != "plain.weight"), f"requires_grad of {name} changed"
        assert p.grad_fn is None, f"{name} remembers how it was made"
    assert math.isclose(model["plain"].weight.float().std().item(), 0.02, rel_tol=0.1)
