"""Day 35: printing against torch's, attention and models against torch's with the same weights.

Models and training are judged on torch itself: ``on_torch`` runs the day's own source with
torch's nn in the place of the library's, which is what changing the import does.
"""

import ast
import copy
import math
import pickle
import re
import types
import weakref
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch._tensor_str import _Formatter, _tensor_str

from harness.testing import close, exercise, refused, shapes
from tracks.autodiff import day35 as day
from tracks.autodiff.day24 import grad

LIBRARY = ("formatter", "elements", "attention_weights", "MultiheadAttention",
           "scaled_dot_product_attention", "cut", "print_as_torch", "additive",
           "complete")  # fmt: skip


@cache
def on_torch():
    """The models and ``train`` of the day's file, on torch."""
    path = Path(day.__file__)
    kept = []
    for node in ast.parse(path.read_text("utf-8"), str(path)).body:
        ours = isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tracks.")
        if ours or isinstance(node, (ast.Expr, ast.If)) or getattr(node, "name", "") in LIBRARY:
            continue
        kept.append(node)
    namespace = {"nn": torch.nn, "functional": torch.nn.functional, "Tensor": torch.Tensor,
                 "optim": torch.optim, "no_grad": torch.no_grad, "enable_grad": torch.enable_grad,
                 "__name__": "day35_on_torch"}  # fmt: skip
    exec(compile(ast.Module(kept, []), str(path), "exec"), namespace)
    return types.SimpleNamespace(**namespace)


def leaf(array, requires_grad=True):
    return day.Tensor(array, requires_grad=requires_grad)


def as_torch(module):
    return {name: torch.tensor(t.tolist(), dtype=getattr(torch, t.dtype.name)).reshape(t.shape)
            for name, t in module.state_dict().items()}  # fmt: skip


def same_weights(mine, theirs, rng=None):
    """Both in float64, with the weights of mine, or with random ones. States must fit both ways."""
    mine, theirs = mine.double(), theirs.double()
    wanted = {k: tuple(v.shape) for k, v in theirs.state_dict().items()}
    found = {k: v.shape for k, v in mine.state_dict().items()}
    assert list(found.items()) == list(wanted.items()), f"the state has {found}, torch's {wanted}"
    if rng is not None:
        with torch.no_grad():
            for p in theirs.parameters():
                p.copy_(torch.tensor(rng.normal(*p.shape)))
        mine.load_state_dict(theirs.state_dict())
    else:
        theirs.load_state_dict(as_torch(mine))
    return mine, theirs


def agree(got, wanted, name, terms=64, scale=8.0):
    close(got.data, wanted.detach().numpy(), terms=terms, scale=scale, name=name)


# -- printing ----------------------------------------------------------------------------------

ARRAYS = {
    "fixed": [0.5, -20.25, 3.0],
    "whole": [1.0, -20.0, 0.0],
    "whole, rounded up": [1.0, 2.5],
    "zeros": [0.0] * 40,
    "minus zero": [-0.0, 1.5],
    "ratio of 1000": [1000.0, 1.0],
    "ratio above 1000": [1001.0, -1.0],
    "ratio above 1000 and not whole": [1000.5, 0.5],
    "1e8": [1e8, 1e8],
    "above 1e8": [-1.5e8, 1.5e8],
    "1e-4": [1e-4, 1e-4],
    "below 1e-4": [0.9e-4, 0.9e-4],
    "small and negative": [-2e-5],
    "zero beside small": [0.0, 2e-5],
    "nan": [math.nan, 1.0, 10.0],
    "inf": [math.inf, -math.inf, 0.5],
    "nothing finite": [math.nan, math.inf],
    "inf beside large": [math.inf, 2e9],
    "integers": [3, -100, 0],
    "bools": [True, False],
    "one": 2.5,
    "one integer": 7,
    "none": [],
}


@exercise("formatter")
@pytest.mark.parametrize("case", ARRAYS)
def test_how_numbers_are_written(case):
    for kind in ("float64", "float32") if "1e" not in case else ("float64",):
        array = np.array(ARRAYS[case])
        array = array.astype(kind) if array.dtype.kind == "f" else array
        judge = _Formatter(torch.tensor(array))
        write, width = day.formatter(array)
        if array.size:
            assert width == judge.width(), f"the width is {width}, and torch's {judge.width()}"
        for value in [
            *array.ravel().tolist(),
            *([0.0, math.inf] if array.dtype.kind == "f" else []),
        ]:
            found, wanted = write(value), judge.format(value)
            assert found == wanted, f"{value} of {case} is written {found!r}, by torch {wanted!r}"


@exercise("formatter")
def test_how_random_numbers_are_written(rng):
    for power in (-6, -3, 0, 2, 5, 9):
        array = rng.normal(30) * 10.0**power
        judge = _Formatter(torch.tensor(array))
        write, width = day.formatter(array.reshape(2, 3, 5))
        assert [write(v) for v in array.tolist()] == [judge.format(v) for v in array.tolist()]
        assert width == judge.width()


def printed(array, indent=7):
    found, wanted = day.elements(array, indent), _tensor_str(torch.tensor(array), indent)
    assert found == wanted, (
        f"{array.dtype} of shape {array.shape}, indent {indent}, is printed\n{found}\n"
        f"by torch\n{wanted}"
    )


@exercise("elements")
@shapes("shape", (), (1,), (11,), (100,), (999,), (1000,), (2, 3), (3, 30), (1, 1, 1), (2, 3, 4),
        (2, 2, 2, 3), (10, 10, 10), (0,), (2, 0, 3))  # fmt: skip
def test_prints_all_of_a_small_tensor(shape, rng):
    printed(rng.normal(*shape))
    printed(rng.normal(*shape).astype(np.float32) * 100)
    printed(rng.integers(-50, 50, *shape))
    printed(rng.integers(0, 2, *shape) > 0)
    printed(np.zeros(shape))


@exercise("elements")
@shapes("shape", (1001,), (7, 150), (6, 200), (200, 6), (3, 7, 50), (8, 2, 80), (11, 11, 11),
        (2, 1, 7, 80), (1001, 1), (1, 1001))  # fmt: skip
def test_cuts_a_large_tensor(shape, rng):
    printed(rng.normal(*shape))
    printed(np.arange(math.prod(shape)).reshape(shape))
    array = np.ones(shape)
    array[tuple(n // 2 for n in shape)] = 1e-7  # mostly not shown: must not decide
    printed(array)


@exercise("elements")
def test_indents(rng):
    for indent in (0, 1, 20, 60, 90):
        printed(rng.normal(2, 3, 9), indent)
        printed(rng.normal(30), indent)
    printed(rng.integers(0, 10, 2, 100), 3)


@exercise("elements")
def test_prints_any_strides(rng):
    wide = rng.normal(6, 10)
    printed(wide.T)
    found = day.elements(wide[::2, 1::3].T, 7)
    assert found == _tensor_str(torch.tensor(wide[::2, 1::3].T.copy()), 7)


@exercise("elements")
def test_tensors_print_with_it():
    cases = [(np.ones((2, 2)), {}), (np.zeros((2, 0)), {}), (np.arange(3), {}),
             (np.float32([0.5]), {"requires_grad": True}), (np.zeros(0, int), {})]  # fmt: skip
    for array, options in cases:
        wanted = repr(torch.tensor(array, **options)).replace("torch.", "")
        assert repr(day.Tensor(array, **options)) == wanted


# -- attention ---------------------------------------------------------------------------------


def twice(mine, theirs, arrays, rng, name):
    """Value, gradients, and gradients of a mixture of those."""
    xs = [leaf(a) for a in arrays]
    ts = [torch.tensor(a, requires_grad=True) for a in arrays]
    y, t = mine(*xs), theirs(*ts)
    agree(y, t, f"{name}: the value")
    g = rng.normal(*y.shape)
    first = grad(y, xs, leaf(g, False), create_graph=True, allow_unused=True)
    right = torch.autograd.grad((t * torch.tensor(g)).sum(), ts, create_graph=True,
                                allow_unused=True)  # fmt: skip
    for i, (f, r) in enumerate(zip(first, right, strict=True)):
        assert f is not None, f"{name}: argument {i} gets no gradient"
        agree(f, r, f"{name}: gradient of argument {i}")
    weights = [rng.normal(*x.shape) for x in xs]
    mixed = sum((f * leaf(w, False)).sum() for f, w in zip(first, weights, strict=True))
    twin = sum((r * torch.tensor(w)).sum() for r, w in zip(right, weights, strict=True))
    for i, (f, r) in enumerate(zip(grad(mixed, xs), torch.autograd.grad(twin, ts), strict=True)):
        agree(f, r, f"{name}: second derivative, argument {i}", terms=256, scale=32.0)


def weights_by_torch(q, k, mask=None, scale=None):
    scores = q @ k.transpose(-2, -1) * (q.shape[-1] ** -0.5 if scale is None else scale)
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf) if mask.dtype == torch.bool else scores + mask
    empty = (scores == -math.inf).all(-1, keepdim=True)
    return scores.masked_fill(empty, 0.0).softmax(-1).masked_fill(empty, 0.0)


@exercise("attention_weights")
@shapes("lead, length, seen, width", ((), 3, 3, 4), ((2,), 1, 1, 1), ((2, 3), 4, 6, 5),
        ((), 5, 2, 3), ((0,), 2, 2, 2), ((2,), 0, 3, 2), ((1, 2), 7, 9, 16))  # fmt: skip
def test_attention(lead, length, seen, width, rng):
    arrays = [rng.normal(*lead, n, width) for n in (length, seen)]
    twice(day.attention_weights, weights_by_torch, arrays, rng, "no mask")
    twice(lambda q, k: day.attention_weights(q, k, scale=0.3),
          lambda q, k: weights_by_torch(q, k, scale=0.3), arrays, rng, "scale=0.3")  # fmt: skip
    causal = torch.tensor(np.tri(length, seen, dtype=bool))
    twice(lambda q, k: day.attention_weights(q, k, is_causal=True),
          lambda q, k: weights_by_torch(q, k, causal), arrays, rng, "is_causal")  # fmt: skip


@exercise("attention_weights")
@shapes("shape", (4, 5), (5,), (1, 5), (4, 1), (3, 1, 4, 5), (2, 4, 5), (1, 1))
def test_attention_masks(shape, rng):
    arrays = [rng.normal(3, 2, 4, 6), rng.normal(3, 2, 5, 6)]
    seen = rng.uniform(*shape) < 0.6
    seen[..., 0] = True
    twice(lambda q, k: day.attention_weights(q, k, leaf(seen, False)),
          lambda q, k: weights_by_torch(q, k, torch.tensor(seen)), arrays, rng,
          "bools")  # fmt: skip
    added = rng.normal(*shape)
    twice(lambda q, k, m: day.attention_weights(q, k, m), weights_by_torch, [*arrays, added], rng,
          "floats")  # fmt: skip
    hidden = np.where(seen, 0.0, -np.inf)
    twice(lambda q, k: day.attention_weights(q, k, leaf(hidden, False)),
          lambda q, k: weights_by_torch(q, k, torch.tensor(hidden)), arrays, rng,
          "-inf")  # fmt: skip


@exercise("attention_weights")
def test_attention_that_sees_nothing(rng):
    q, k = rng.normal(2, 4, 6), rng.normal(2, 5, 6)
    seen = np.ones((2, 4, 5), bool)
    seen[0, 1] = seen[1, 3] = False
    for mask in (seen, np.where(seen, 0.0, -np.inf)):
        x, y = leaf(q), leaf(k)
        found = day.attention_weights(x, y, leaf(mask, False))
        assert not found.data[~seen].any(), "a query that sees nothing has weights that are not 0"
        g = rng.normal(2, 4, 5)
        found.backward(leaf(g, False))
        assert np.isfinite(x.grad.data).all() and np.isfinite(y.grad.data).all(), (
            "a query that sees nothing sends back nan"
        )
        assert not x.grad.data[0, 1].any(), "a query that sees nothing has a gradient"
        twice(lambda q, k, m=mask: day.attention_weights(q, k, leaf(m, False)),
              lambda q, k, m=mask: weights_by_torch(q, k, torch.tensor(m)), [q, k], rng,
              "a row that sees nothing")  # fmt: skip


@exercise("attention_weights")
def test_attention_of_large_scores(rng):
    q, k = 1e3 * rng.normal(4, 6), 1e3 * rng.normal(5, 6)
    agree(day.attention_weights(leaf(q), leaf(k)), weights_by_torch(*map(torch.tensor, (q, k))),
          "scores of 1e6", scale=1e6)  # fmt: skip
    for kind in (np.float32, np.float64):
        x = leaf(rng.normal(3, 4).astype(kind))
        for mask in (None, leaf(np.tri(3, dtype=bool), False), leaf(np.zeros((3, 3), kind), False)):
            found = day.attention_weights(x, x, mask)
            assert found.dtype == kind, f"of {kind.__name__} the weights are {found.dtype}"


@exercise("attention_weights")
def test_attention_refuses(rng):
    q, k, mask = rng.normal(2, 4, 6), rng.normal(2, 5, 7), leaf(np.ones((4, 5), bool), False)
    refused(day.attention_weights, leaf(q), leaf(q), what="a mask and is_causal", attn_mask=mask,
            is_causal=True, names=["attn_mask", "is_causal"])  # fmt: skip
    few = (q[0, 0], q[0]), (q[0], q[0, 0])  # of the same E, and of one axis
    for a, b in ((q, k), (q[0, 0], k[0]), (q[0], k[0, 0]), *few):
        refused(day.attention_weights, leaf(a), leaf(b), what=f"query {a.shape}, key {b.shape}",
                names=["attention_weights", a.shape, b.shape])  # fmt: skip


@exercise("attention_weights")
def test_attention_is_torchs(rng):
    q, k, v = rng.normal(2, 3, 4, 8), rng.normal(2, 3, 5, 8), rng.normal(2, 3, 5, 7)
    seen = np.ones((4, 5), bool)
    seen[2] = seen[0, 1:] = False
    for options in ({}, {"attn_mask": seen}, {"is_causal": True}, {"scale": 2.0}):
        ours = {n: leaf(o, False) if n == "attn_mask" else o for n, o in options.items()}
        theirs = {n: torch.tensor(o) if n == "attn_mask" else o for n, o in options.items()}
        wanted = torch.nn.functional.scaled_dot_product_attention(
            *map(torch.tensor, (q, k, v)), **theirs
        )
        found = day.functional.scaled_dot_product_attention(*map(leaf, (q, k, v)), **ours)
        agree(found, wanted, f"scaled_dot_product_attention with {list(options)}")


# -- heads -------------------------------------------------------------------------------------


def heads(rng, dim=8, number=2, **options):
    return same_weights(day.MultiheadAttention(dim, number, **options),
                        torch.nn.MultiheadAttention(dim, number, **options), rng)  # fmt: skip


def same_heads(mine, theirs, arrays, name, rng, **options):
    xs, ts = [leaf(a) for a in arrays], [torch.tensor(a, requires_grad=True) for a in arrays]
    tensor = {n: o for n, o in options.items() if isinstance(o, np.ndarray)}
    found = mine(*xs, **options | {n: leaf(o, False) for n, o in tensor.items()})
    wanted = theirs(*ts, **options | {n: torch.tensor(o) for n, o in tensor.items()})
    agree(found[0], wanted[0], f"{name}: the result", scale=64.0)
    if wanted[1] is None:
        assert found[1] is None, f"{name}: weights that nobody asked for"
    else:
        agree(found[1], wanted[1], f"{name}: the weights")
    g = rng.normal(*found[0].shape)
    found[0].backward(leaf(g, False))
    (wanted[0] * torch.tensor(g)).sum().backward()
    for what, x, t in zip(("query", "key", "value"), xs, ts, strict=True):
        agree(x.grad, t.grad, f"{name}: gradient of {what}", terms=256, scale=64.0)
    for (key, p), q in zip(mine.named_parameters(), theirs.parameters(), strict=True):
        agree(p.grad, q.grad, f"{name}: gradient of {key}", terms=1024, scale=64.0)
        p.grad = q.grad = None


@exercise("MultiheadAttention")
@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_heads_are_torchs(batch_first, bias, rng):
    mine, theirs = heads(rng, batch_first=batch_first, bias=bias)
    for n, length, seen in ((3, 4, 5), (1, 1, 1), (2, 6, 2)):
        arrays = [
            rng.normal(*((n, k, 8) if batch_first else (k, n, 8))) for k in (length, seen, seen)
        ]
        same_heads(mine, theirs, arrays, f"{n, length, seen}", rng)
        same_heads(mine, theirs, arrays, f"{n, length, seen}, no weights", rng, need_weights=False)
        same_heads(mine, theirs, arrays, "weights of each head", rng, average_attn_weights=False)
    alone = [rng.normal(k, 8) for k in (4, 5, 5)]
    same_heads(mine, theirs, alone, "without a batch", rng)
    same_heads(mine, theirs, alone, "without a batch", rng, average_attn_weights=False)


@exercise("MultiheadAttention")
@pytest.mark.parametrize("number", [1, 3, 6])
def test_heads_with_masks(number, rng):
    mine, theirs = heads(rng, 6, number, batch_first=True)
    arrays = [rng.normal(2, k, 6) for k in (3, 4, 4)]
    hidden = rng.uniform(3, 4) < 0.5
    hidden[:, 0] = False
    many = rng.uniform(2 * number, 3, 4) < 0.5
    many[..., 0] = False
    padding = np.array([[False, False, True, True], [False, False, False, True]])
    added, far = rng.normal(3, 4), rng.normal(2, 4)
    for name, options in {
        "attn_mask": {"attn_mask": hidden}, "a mask for each head": {"attn_mask": many},
        "an added mask": {"attn_mask": added}, "padding": {"key_padding_mask": padding},
        "both": {"attn_mask": hidden, "key_padding_mask": padding},
        "both for each head": {"attn_mask": many, "key_padding_mask": padding},
        "both added": {"attn_mask": added, "key_padding_mask": far},
        "no weights": {"attn_mask": hidden, "key_padding_mask": padding, "need_weights": False},
    }.items():  # fmt: skip
        same_heads(mine, theirs, arrays, name, rng, **options)
    alone = [rng.normal(k, 6) for k in (3, 4, 4)]
    same_heads(mine, theirs, alone, "without a batch", rng, key_padding_mask=padding[0])
    same_heads(mine, theirs, alone, "without a batch", rng, attn_mask=hidden)
    causal = np.triu(np.ones((3, 3), bool), 1)
    itself = [rng.normal(2, 3, 6)] * 3
    same_heads(mine, theirs, itself, "is_causal", rng, attn_mask=causal, is_causal=True)


@exercise("MultiheadAttention")
def test_heads_that_see_nothing(rng):
    mine, _ = heads(rng, batch_first=True)
    x = leaf(rng.normal(2, 3, 8))
    out, weights = mine(x, x, x, key_padding_mask=leaf(np.array([[True] * 3, [False] * 3]), False))
    assert not weights.data[0].any(), "all keys are padding, and there are weights"
    close(out.data[0], np.broadcast_to(mine.out_proj.bias.data, (3, 8)), name="the result then")
    out.sum().backward()
    assert np.isfinite(x.grad.data).all(), "nan comes back from queries that see nothing"


@exercise("MultiheadAttention")
def test_heads_drop_in_training(rng):
    day.manual_seed(rng.seed)
    mine = day.MultiheadAttention(8, 2, dropout=0.5, batch_first=True).double()
    x = leaf(rng.normal(8, 20, 8), False)
    _, weights = mine(x, x, x, average_attn_weights=False)
    share = float((weights.data == 0).mean())
    assert abs(share - 0.5) < 6 * 0.5 / weights.numel() ** 0.5, f"{share:.2f} of them are dropped"
    kept = weights.data[weights.data > 0].sum() / (8 * 2 * 20)
    assert abs(kept - 1) < 0.2, f"the weights of a query have the sum {kept:.2f} on the average"
    mine.eval()
    _, weights = mine(x, x, x, average_attn_weights=False)
    close(weights.data.sum(-1), np.ones((8, 2, 20)), terms=32, name="in eval mode, sums")
    first, second = mine(x, x, x)[0], mine(x, x, x)[0]
    assert first.tolist() == second.tolist(), "in eval mode two calls differ"


@exercise("MultiheadAttention")
def test_heads_at_first():
    layer = day.MultiheadAttention(64, 4)
    bound = math.sqrt(6 / (64 * 4))
    size = np.abs(layer.in_proj_weight.data).max()
    assert 0.99 * bound < size <= bound * (1 + 1e-6), f"numbers up to {size:.4f}, not {bound:.4f}"
    assert not layer.in_proj_bias.data.any() and not layer.out_proj.bias.data.any()
    size = np.abs(layer.out_proj.weight.data).max()
    assert 0.95 / 8 < size <= 1 / 8, "out_proj has other first weights than Linear"
    assert {p.dtype.name for p in layer.parameters()} == {"float32"}
    found = [name for name, _ in layer.named_parameters()]
    wanted = [name for name, _ in torch.nn.MultiheadAttention(64, 4).named_parameters()]
    assert found == wanted, f"the parameters are {found}"
    bare = day.MultiheadAttention(6, 2, bias=False)
    assert bare.in_proj_bias is None and bare.out_proj.bias is None
    assert (layer.embed_dim, layer.num_heads, layer.dropout, layer.batch_first) == (
        64,
        4,
        0.0,
        False,
    )
    refused(day.MultiheadAttention, 10, 4, what="10 columns for 4 heads",
            names=["embed_dim", "num_heads", 10, 4])  # fmt: skip


@exercise("MultiheadAttention")
def test_heads_in_float32(rng):
    layer = day.nn.MultiheadAttention(8, 2, batch_first=True)
    x = leaf(rng.normal(2, 3, 8).astype(np.float32))
    mask = leaf(np.triu(np.ones((3, 3), bool), 1), False)
    out, weights = layer(x, x, x, attn_mask=mask)
    assert (out.dtype, weights.dtype) == (np.float32, np.float32)


# -- models ------------------------------------------------------------------------------------


def same_model(mine, theirs, x, rng, name, steps=2):
    """Values and all gradients in training, statistics after it, values in eval mode."""
    target = rng.normal(*mine(leaf(x, False)).shape)
    mine.load_state_dict(theirs.state_dict())
    for step in range(steps):
        y, t = mine(leaf(x, False)), theirs(torch.tensor(x))
        agree(y, t, f"{name}: value, call {step}", terms=1024, scale=16.0)
        y.backward(leaf(target, False))
        (t * torch.tensor(target)).sum().backward()
    for (key, p), q in zip(mine.named_parameters(), theirs.parameters(), strict=True):
        size = float(q.grad.abs().max())
        close(p.grad.data, q.grad.numpy(), terms=4096, scale=4.0 + size,
              name=f"{name}: gradient of {key}")  # fmt: skip
    for key, value in theirs.state_dict().items():
        close(
            mine.state_dict()[key].data, value.numpy(), terms=256, scale=8.0, name=f"{name}: {key}"
        )
    mine.eval(), theirs.eval()
    agree(mine(leaf(x, False)), theirs(torch.tensor(x)), f"{name}: in eval mode", terms=1024,
          scale=64.0)  # fmt: skip


def residual_of_torch(inputs, outputs, stride):
    """Written again, for the names and the formula."""
    nn = torch.nn

    class Twin(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Sequential(
                nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs),
                nn.ReLU(), nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False),
                nn.BatchNorm2d(outputs),
            )  # fmt: skip
            self.shortcut = nn.Sequential()
            if (inputs, stride) != (outputs, 1):
                self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False),
                                              nn.BatchNorm2d(outputs))  # fmt: skip

        def forward(self, x):
            return (self.body(x) + self.shortcut(x)).relu()

    return Twin()


RESIDUALS = [(3, 3, 1), (2, 4, 1), (4, 2, 2), (3, 3, 2), (1, 5, 3)]


@exercise("Residual")
@shapes("inputs, outputs, stride", *RESIDUALS)
def test_residual(inputs, outputs, stride, rng):
    x = rng.normal(3, inputs, 7, 6)
    mine, theirs = same_weights(day.Residual(inputs, outputs, stride),
                                residual_of_torch(inputs, outputs, stride), rng)  # fmt: skip
    same_model(mine, theirs, x, rng, f"Residual{inputs, outputs, stride}")
    if (inputs, stride) == (outputs, 1):
        assert isinstance(mine.shortcut, day.nn.Identity), "nothing has to be brought to a shape"


@exercise("Residual")
@shapes("inputs, outputs, stride", *RESIDUALS[:3])
def test_residual_on_torch(inputs, outputs, stride, rng):
    x = rng.normal(2, inputs, 6, 6)
    mine, theirs = same_weights(day.Residual(inputs, outputs, stride),
                                on_torch().Residual(inputs, outputs, stride), rng)  # fmt: skip
    same_model(mine, theirs, x, rng, "on torch")
    convolutions = [[repr(part) for part in model.modules() if "Conv" in type(part).__name__]
                    for model in (mine, theirs)]  # fmt: skip
    assert convolutions[0] == convolutions[1]


@exercise("Residual")
def test_cnn_on_torch(rng):
    mine, theirs = same_weights(day.CNN(width=3, channels=2), on_torch().CNN(width=3, channels=2))
    same_model(mine, theirs, rng.normal(4, 2, 8, 8), rng, "CNN")


def copied(model, x, name):
    """A deep copy and a pickle compute the same, and share no memory with the model."""
    model.eval()
    wanted, state = model(x).data, model.state_dict()
    for how, twin in (
        ("a deep copy", copy.deepcopy(model)),
        ("a pickle", pickle.loads(pickle.dumps(model))),
    ):
        found = twin.state_dict()
        assert list(found) == list(state), f"{how} of {name} has the state {list(found)}"
        shared = [k for k, v in found.items() if np.shares_memory(v.data, state[k].data)]
        assert not shared, f"{how} of {name} shares {shared} with the model"
        close(twin(x).data, wanted, terms=64, scale=16.0, name=f"{how} of {name}")


@exercise("Residual")
def test_cnn_is_copied(rng):
    copied(day.CNN(width=3), leaf(rng.normal(2, 1, 8, 8, dtype="float32"), False), "CNN")


SIZES = {"vocab": 11, "context": 6, "dim": 8, "depth": 2, "heads": 2}


def gpts(rng=None, **sizes):
    return same_weights(day.GPT(**SIZES | sizes), on_torch().GPT(**SIZES | sizes), rng)


@exercise("GPT")
def test_gpt_on_torch(rng):
    mine, theirs = gpts()
    for shape in ((2, 6), (1, 1), (3, 4)):
        same_model(mine, theirs, rng.integers(0, 11, *shape), rng, f"GPT of ids {shape}", steps=1)
        for p, q in zip(mine.parameters(), theirs.parameters(), strict=True):
            p.grad = q.grad = None


@exercise("GPT")
def test_gpt_is_copied(rng):
    copied(day.GPT(**SIZES), leaf(rng.integers(0, SIZES["vocab"], 2, 5), False), "GPT")


@exercise("GPT")
def test_gpt_by_hand(rng):
    """From parts of torch that are called here."""
    mine, theirs = gpts(rng, depth=3)
    ids = torch.tensor(rng.integers(0, 11, 2, 5))
    table, places = theirs.tokens.weight, theirs.positions.weight
    x = table[ids] + places[:5]
    hidden = torch.ones(5, 5, dtype=torch.bool).triu(1)
    for block in theirs.blocks:
        y = block.norm1(x)
        x = x + block.attention(y, y, y, attn_mask=hidden)[0]
        x = x + block.feed_forward(block.norm2(x))
    wanted = theirs.norm(x) @ table.T
    agree(mine(leaf(ids.numpy(), False)), wanted, "the scores", terms=1024, scale=64.0)


@exercise("GPT")
def test_gpt_parts():
    model = day.GPT(**SIZES, dropout=0.25)
    found = [name for name, _ in model.named_children()]
    assert found == ["tokens", "positions", "dropout", "blocks", "norm"], f"its parts are {found}"
    assert model.context == 6 and len(model.blocks) == 2
    assert isinstance(model.blocks, day.nn.ModuleList)
    assert model.dropout.p == 0.25 and model.blocks[0].dropout.p == 0.25
    buffers = dict(model.named_buffers())
    assert list(buffers) == ["mask"], f"its buffers are {list(buffers)}"
    close(model.mask.data, np.where(np.tri(6), 0.0, -np.inf).astype(np.float32), name="mask")
    assert "mask" not in model.state_dict(), "the mask would be saved"
    names = [name for name, p in model.named_parameters()]
    assert len(names) == 2 + 2 * 12 + 2, f"the parameters are {names}"
    refused(model, day.Tensor(np.zeros((1, 7), int)), what="7 tokens", names=[7, 6])


@exercise("GPT")
def test_gpt_first_values():
    depth = 8
    model = day.GPT(vocab=100, context=50, dim=32, depth=depth, heads=2)
    for name, p in model.named_parameters():
        if p.ndim == 1:
            norm = name.endswith("weight")
            assert (p.data == float(norm)).all(), f"{name} is not {float(norm):.0f}"
            continue
        writes = name.endswith(("out_proj.weight", "feed_forward.2.weight"))
        wanted = 0.02 / math.sqrt(2 * depth) if writes else 0.02
        spread, mean = float(p.data.std()), float(p.data.mean())
        bound = 6 / math.sqrt(2 * p.numel())
        assert abs(spread / wanted - 1) < bound, f"{name} has the deviation {spread:.4f}"
        assert abs(mean) < 9 * wanted / math.sqrt(p.numel()), f"{name} has the mean {mean:.4f}"


@exercise("GPT")
def test_gpt_drops_in_training(rng):
    model = day.GPT(**SIZES | {"depth": 0}, dropout=0.5)
    seen = []
    model.norm.register_forward_pre_hook(lambda _, args: seen.append(args[0].data))
    ids = leaf(rng.integers(0, 11, 64, 6), False)
    model(ids)
    share = float((seen[-1] == 0).mean())
    assert abs(share - 0.5) < 6 * 0.5 / seen[-1].size ** 0.5, f"{share:.2f} of it is dropped"
    model.eval()
    assert model(ids).tolist() == model(ids).tolist(), "in eval mode two calls differ"


# -- training ----------------------------------------------------------------------------------


class Line(day.nn.Module):
    """w · x, which notes in which mode it was called."""

    def __init__(self, w=1.0):
        super().__init__()
        self.w = day.nn.Parameter(np.array([w]))
        self.modes = []

    def forward(self, x):
        self.modes.append(self.training)
        return x * self.w


def squares(y, target):
    return ((y - target) * (y - target)).mean()


@exercise("train")
def test_train_steps():
    """By hand: the gradient of (3 w - 6)² is 6 (3 w - 6)."""
    model, w, wanted = Line(1.0), 1.0, []
    model.w.grad = day.Tensor(np.array([100.0]))  # of before: does not count
    x, y = day.Tensor(np.array([3.0])), day.Tensor(np.array([6.0]))
    losses = day.train(model.eval(), ((x, y) for _ in range(4)), squares,
                       day.optim.SGD(model.parameters(), 0.01))  # fmt: skip
    for _ in range(4):
        wanted.append((3 * w - 6) ** 2)
        w -= 0.01 * 6 * (3 * w - 6)
    assert all(type(v) is float for v in losses), f"the losses are {[type(v) for v in losses]}"
    close(np.array(losses), np.array(wanted), scale=10.0, name="losses")
    close(model.w.data, np.array([w]), scale=10.0, name="the weight after four steps")
    assert model.modes == [True] * 4, f"called in training mode: {model.modes}"
    assert model.training, "the model is not in training mode afterwards"
    assert day.train(model, [], squares, day.optim.SGD(model.parameters(), 0.1)) == []


@exercise("train")
def test_train_clips_and_schedules():
    """At 1e3 from the target every gradient is clipped: each step has the length lr · max_norm."""
    model = Line(0.0)
    optimizer = day.optim.SGD(model.parameters(), 1.0)
    scheduler = day.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)
    x, y = day.Tensor(np.array([1.0])), day.Tensor(np.array([1e3]))
    at = []
    batches = (at.append(model.w.item()) or (x, y) for _ in range(4))
    day.train(model, batches, squares, optimizer, scheduler, max_norm=0.5)
    at.append(model.w.item())
    steps = np.diff(at)
    assert np.allclose(steps, 0.5 * 0.5 ** np.arange(4), rtol=1e-6), f"the steps are {steps}"
    close(optimizer.param_groups[0]["lr"], 0.5**4, name="the rate after four steps")
    model = Line(0.0)
    day.train(model, [(x, y)], squares, day.optim.SGD(model.parameters(), 1e-3))
    close(model.w.data, np.array([2.0]), scale=10.0, name="without max_norm nothing is clipped: w")


@exercise("train")
def test_train_clips_all_parameters_together():
    model = day.nn.ModuleList([Line(0.0), Line(0.0)])
    model.forward = lambda x: model[0](x) * 3.0 + model[1](x) * 4.0
    x = day.Tensor(np.array([1.0]))
    day.train(model, [(x, x)], lambda y, _: y.sum() * 100.0,
              day.optim.SGD(model.parameters(), 1.0), max_norm=5.0)  # fmt: skip
    found = [float(-part.w.data[0]) for part in model]
    assert np.allclose(found, [3.0, 4.0], rtol=1e-4), (
        f"gradients (300, 400) were clipped to {found}, of which the norm together is not 5, or "
        "the direction another"
    )


@exercise("train")
def test_train_lets_go():
    class Held(day.Tensor):
        """With a place for weak references."""

    alive, model = [], Line(1.0)

    def loss(y, target):
        value = squares(y, target)
        alive.extend([weakref.ref(y), weakref.ref(value)])
        return value

    def batches():
        for _ in range(3):
            x = Held(np.array([3.0]))
            yield x, x
            held = sum(r() is not None for r in alive)
            assert held == 0, f"{held} of the step's results are still held when a batch is drawn"

    day.train(model, batches(), loss, day.optim.SGD(model.parameters(), 0.01))
    assert len(alive) == 6, "the loss was not called once for each batch"


# -- the same curves as torch ------------------------------------------------------------------


def curves(mine, theirs, batches, loss, make, steps, name, **options):
    """The losses of the same training on both, from the same weights."""
    ours, twins = make(day.optim, mine.parameters()), make(torch.optim, theirs.parameters())
    pairs = [(x, y) for x, y in batches][:steps]
    found = day.train(mine, [(leaf(x, False), leaf(y, False)) for x, y in pairs], loss[0], ours,
                      **options)  # fmt: skip
    wanted = on_torch().train(theirs, [(torch.tensor(x), torch.tensor(y)) for x, y in pairs],
                              loss[1], twins, **options)  # fmt: skip
    off = max(abs(a - b) / abs(b) for a, b in zip(found, wanted, strict=True))
    assert off < 1e-9, f"{name}: the losses part from torch's by {off:.1e} in {steps} steps"
    assert found[-1] < found[0], (
        f"{name}: the loss does not fall, {found[0]:.3f} to {found[-1]:.3f}"
    )


@exercise("train")
def test_curves_of_an_mlp(rng):
    def build(nn):
        return nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 3))

    mine, theirs = same_weights(build(day.nn), build(torch.nn))
    x, y = rng.normal(32, 6), rng.integers(0, 3, 32)
    losses = (day.nn.CrossEntropyLoss(), torch.nn.CrossEntropyLoss())
    curves(mine, theirs, [(x, y)] * 50, losses,
           lambda o, p: o.SGD(p, 0.1, momentum=0.9, nesterov=True), 50, "MLP",
           max_norm=1.0)  # fmt: skip


@exercise("Residual")
def test_curves_of_a_cnn(rng):
    mine, theirs = same_weights(day.CNN(width=4), on_torch().CNN(width=4))
    x, y = rng.normal(16, 1, 8, 8), rng.integers(0, 10, 16)
    losses = (day.nn.CrossEntropyLoss(), torch.nn.CrossEntropyLoss())
    curves(
        mine, theirs, [(x, y)] * 10, losses, lambda o, p: o.SGD(p, 0.05, momentum=0.9), 10, "CNN"
    )


@exercise("GPT")
def test_curves_of_a_gpt(rng):
    mine, theirs = gpts(context=8, depth=1)
    ids = rng.integers(0, 11, 4, 9)
    curves(mine, theirs, [(ids[:, :-1], ids[:, 1:])] * 15, (day.token_loss, on_torch().token_loss),
           lambda o, p: o.AdamW(p, 3e-3), 15, "GPT", max_norm=1.0)  # fmt: skip


@exercise("Residual")
def test_evaluate_on_torch(rng):
    mine, theirs = same_weights(day.CNN(width=3), on_torch().CNN(width=3))
    pairs = [(rng.normal(n, 1, 8, 8), rng.integers(0, 10, n)) for n in (5, 2)]
    found = day.evaluate(mine, [(leaf(x, False), leaf(y, False)) for x, y in pairs],
                         day.nn.CrossEntropyLoss())  # fmt: skip
    wanted = on_torch().evaluate(theirs, [(torch.tensor(x), torch.tensor(y)) for x, y in pairs],
                                 torch.nn.CrossEntropyLoss())  # fmt: skip
    close(np.array(found), np.array(wanted), terms=1024, scale=8.0, name="loss and accuracy")


@exercise("MultiheadAttention")
def test_the_library_has_all(rng):
    """Every public name is there, and says what it is."""
    for module in (day.nn, day.functional, day.optim, day.data):
        missing = [name for name in module.__all__ if not hasattr(module, name)]
        assert not missing, f"{module.__name__} lacks {missing}"
    assert day.nn.MultiheadAttention is day.MultiheadAttention
    assert repr(day.nn.MultiheadAttention(4, 2)), "it can be made"
    names = {m for m in re.findall(r"\bnn\.(\w+)", Path(day.__file__).read_text("utf-8"))}
    lacking = [name for name in names if not hasattr(torch.nn, name)]
    lacking.remove("py")  # nn.py, in a sentence
    assert not lacking, f"torch.nn has no {lacking}"
