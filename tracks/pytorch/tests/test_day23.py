"""Day 23: shared heads of keys and values, against attention with every head written out."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F

from harness.testing import close, exercise, layouts, refused, same_compiled, shapes, watch
from tracks.pytorch import day23
from tracks.pytorch.day18 import MultiHeadAttention
from tracks.pytorch.day20 import EncoderBlock
from tracks.pytorch.day21 import GPT

REPEATS = ["repeat_interleave", "repeat", "tile"]
BAN = ["scaled_dot_product_attention", "multi_head_attention_forward", *REPEATS]
WIDE = torch.float64
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
# batch, heads, kv_heads, queries, keys, d, e
SIZES = [(2, 6, 3, 5, 7, 4, 3), (1, 1, 1, 1, 1, 1, 1), (2, 4, 4, 3, 3, 8, 8), (3, 8, 1, 1, 9, 4, 4),
         (2, 4, 2, 3, 1, 5, 2), (1, 12, 4, 2, 33, 3, 6)]  # fmt: skip


def fill(module, rng):
    """Weights that make scores of about ±4: a wrong head, mask or scale shows everywhere."""
    with torch.no_grad():
        for name, p in module.named_parameters():
            std = 2 / math.sqrt(p.shape[1]) if p.dim() > 1 else 0.5
            if name.startswith(("tokens", "positions")):
                std = 1.0
            mean = 1.0 if "norm" in name and name.endswith("weight") else 0.0
            p.copy_(rng.normal(*p.shape, mean=mean, std=std, dtype=p.dtype))
    return module


def make(rng, device, *sizes, dtype=WIDE, **options):
    module = day23.GroupedQueryAttention(*sizes, **options).to(device, dtype)
    return fill(module, rng).eval()


def heads_of(x, heads):
    """Each head of x as often as it is needed for ``heads``, one by one."""
    times = heads // x.shape[-3]
    return torch.stack([x.select(-3, h // times) for h in range(heads)], -3)


def attend(q, k, v, mask=None):
    """Attention in float64 with all heads written out, and its weights; a row may see no key."""
    q, k, v = q.double(), k.double(), v.double()
    scores = q @ heads_of(k, q.shape[-3]).mT / math.sqrt(q.shape[-1])
    hidden = torch.zeros_like(scores, dtype=torch.bool)
    if mask is not None and mask.dtype == torch.bool:
        hidden = hidden | ~mask
    elif mask is not None:
        hidden = hidden | (mask == -torch.inf)
        scores = scores + mask.double().masked_fill(mask == -torch.inf, 0.0)
    scores = scores.masked_fill(hidden, -1e4)
    powers = (scores - scores.amax(-1, keepdim=True)).exp().masked_fill(hidden, 0.0)
    total = powers.sum(-1, keepdim=True)
    return powers / total.masked_fill(total == 0, 1.0) @ heads_of(v, q.shape[-3])


def inputs(rng, sizes, dtype=WIDE):
    batch, heads, shared, queries, keys, d, e = sizes
    return (
        rng.normal(batch, heads, queries, d, dtype=dtype, std=2.0),
        rng.normal(batch, shared, keys, d, dtype=dtype),
        rng.normal(batch, shared, keys, e, dtype=dtype),
    )


def past(queries, keys, device):
    rows = [[j <= i + keys - queries for j in range(keys)] for i in range(queries)]
    return torch.tensor(rows, dtype=torch.bool, device=device).reshape(queries, keys)


def same(got, wanted, name, dtype=WIDE):
    close(got, wanted, dtype=dtype, terms=256, scale=8.0, name=name)


def off(got, wanted):
    """How far off, as a share of the length of what is wanted."""
    return ((got.double() - wanted.double()).norm() / wanted.double().norm()).item()


# repeat_kv -----------------------------------------------------------------------------------


@exercise("repeat_kv", ban=REPEATS)
@shapes("batch, heads, length, d, times", (2, 3, 5, 4, 2), (1, 1, 1, 1, 1), (2, 1, 3, 4, 8),
        (2, 4, 3, 2, 3), (0, 2, 3, 4, 2), (2, 2, 0, 4, 2))  # fmt: skip
def test_repeat_values(batch, heads, length, d, times, device, rng):
    x = rng.normal(batch, heads, length, d)
    wanted = heads_of(x, heads * times)
    for layout, view in layouts(x):
        close(day23.repeat_kv(view, times), wanted, name=f"of a {layout} x, {times} times")


@exercise("repeat_kv", ban=REPEATS)
def test_repeat_any_leading_axes(device, rng):
    for shape in ((2, 3, 4), (5, 2, 2, 3, 4)):
        x = rng.normal(*shape)
        close(day23.repeat_kv(x, 3), heads_of(x, 6), name=f"of {shape}, 3 times")


@exercise("repeat_kv", ban=REPEATS)
def test_repeat_once_is_a_view(device, rng):
    for layout, x in layouts(rng.normal(2, 3, 5, 4)):
        got = day23.repeat_kv(x, 1)
        assert got.data_ptr() == x.data_ptr(), f"times=1 made a copy of a {layout} x"


@exercise("repeat_kv", ban=REPEATS)
def test_repeat_copies_once(device, rng):
    x = rng.normal(2, 4, 64, 16)
    for view in (x, x.mT):
        _, seen = watch(day23.repeat_kv, view, 4)
        whole = 4 * x.numel() * 4
        assert seen.peak_bytes <= 1.1 * whole, (
            f"{seen.peak_bytes:,} bytes for a result of {whole:,}: more than the result was made"
        )


@exercise("repeat_kv", ban=REPEATS)
def test_repeat_gradient(device, rng):
    x, probe = (
        rng.normal(2, 3, 5, 4, dtype=WIDE).requires_grad_(),
        rng.normal(2, 6, 5, 4, dtype=WIDE),
    )
    (got,) = torch.autograd.grad(day23.repeat_kv(x, 2), x, probe)
    same(got, probe[:, 0::2] + probe[:, 1::2], "gradient of x")


@exercise("repeat_kv", ban=REPEATS)
@pytest.mark.parametrize("times", [0, -1])
def test_repeat_refuses(times, device, rng):
    x = rng.normal(2, 3, 5, 4)
    refused(lambda: day23.repeat_kv(x, times), what=f"times={times}", names=["times", times])


# grouped_attention ---------------------------------------------------------------------------


@exercise("grouped_attention", ban=BAN)
@pytest.mark.parametrize("sizes", [*SIZES, (0, 4, 2, 3, 3, 4, 4), (2, 4, 2, 0, 3, 4, 4)], ids=str)
def test_values(sizes, device, rng):
    q, k, v = inputs(rng, sizes)
    same(day23.grouped_attention(q, k, v), attend(q, k, v), f"of sizes {sizes}")


@exercise("grouped_attention", ban=BAN)
def test_agrees_with_torch(device, rng):
    for sizes in SIZES:
        q, k, v = inputs(rng, sizes)
        wanted = F.scaled_dot_product_attention(q, k, v, enable_gqa=True)
        same(day23.grouped_attention(q, k, v), wanted, f"of sizes {sizes}, torch's enable_gqa")


@exercise("grouped_attention", ban=BAN)
def test_no_keys(device, rng):
    q, k, v = inputs(rng, (2, 4, 2, 3, 0, 4, 5))
    for causal in (False, True):
        out = day23.grouped_attention(q, k, v, causal=causal)
        same(out, torch.zeros(2, 4, 3, 5, device=device), "attention over no keys")


@exercise("grouped_attention", ban=BAN)
def test_any_strides(device, rng):
    q, k, v = (x[0] for x in inputs(rng, (1, 6, 2, 5, 7, 4, 3)))
    wanted = attend(q, k, v)
    for (layout, qs), (_, ks), (_, vs) in zip(layouts(q), layouts(k), layouts(v), strict=True):
        same(day23.grouped_attention(qs, ks, vs), wanted, f"of {layout} q, k, v, no batch")


@exercise("grouped_attention", ban=BAN)
def test_leading_axes(device, rng):
    q, k, v = rng.normal(5, 2, 4, 3, 4, dtype=WIDE), *rng.normal(2, 2, 2, 6, 4, dtype=WIDE)
    same(day23.grouped_attention(q, k, v), attend(q, k, v), "of a q with an axis more than k")
    mask = rng.boolean(5, 2, 4, 3, 1, p=0.7)
    got = day23.grouped_attention(q, k, v, mask)
    same(got, attend(q, k, v, mask), "of a q with an axis more than k, and a mask for each")
    q, k, v = rng.normal(4, 3, 4, dtype=WIDE), *rng.normal(2, 5, 2, 6, 4, dtype=WIDE)
    same(day23.grouped_attention(q, k, v), attend(q, k, v), "of a q for each k of a batch")
    mask = rng.boolean(5, 1, 3, 6, p=0.7)
    got = day23.grouped_attention(q, k, v, mask)
    same(got, attend(q, k, v, mask), "of a q for each k of a batch, and a mask for each")


MASKS = [(5, 7), (7,), (5, 1), (1, 7), (2, 1, 1, 7), (6, 5, 7), (6, 1, 7), (1, 5, 7), (2, 6, 5, 7),
         (2, 1, 5, 7), (6, 1, 1)]  # fmt: skip


@exercise("grouped_attention", ban=BAN)
@pytest.mark.parametrize("kind", ["bool", "float"])
@pytest.mark.parametrize("shape", MASKS, ids=str)
def test_masks(kind, shape, device, rng):
    q, k, v = inputs(rng, (2, 6, 3, 5, 7, 4, 3))
    mask = rng.boolean(*shape, p=0.6)
    if kind == "float":
        mask = rng.normal(*shape, dtype=WIDE, std=3.0).masked_fill(~mask, -torch.inf)
    wanted = attend(q, k, v, mask)
    same(day23.grouped_attention(q, k, v, mask), wanted, f"with a {kind} mask {shape}")
    both = past(5, 7, device)
    both = mask & both if kind == "bool" else mask.masked_fill(~both, -torch.inf)
    got = day23.grouped_attention(q, k, v, mask, causal=True)
    same(got, attend(q, k, v, both), f"causal with a {kind} mask {shape}")


@exercise("grouped_attention", ban=BAN)
@shapes("queries, keys", (5, 5), (1, 6), (3, 7), (6, 4))
def test_causal(queries, keys, device, rng):
    q, k, v = inputs(rng, (2, 6, 2, queries, keys, 4, 4))
    wanted = attend(q, k, v, past(queries, keys, device))
    with torch.device("meta"):  # where tensors land that are made without device=
        got = day23.grouped_attention(q, k, v, causal=True)
    same(got, wanted, f"causal, {queries} queries and {keys} keys")


@exercise("grouped_attention", ban=BAN)
@pytest.mark.parametrize("kind", ["no", "bool", "float"])
def test_gradients(kind, device, rng):
    leaves = inputs(rng, (2, 6, 3, 4, 5, 4, 3))
    seen = rng.boolean(6, 4, 5, p=0.6).clone()
    seen[2, 1] = False  # one query of one head sees nothing
    bias = rng.normal(6, 4, 5, dtype=WIDE, std=2.0).masked_fill(~seen, -torch.inf)
    mask = {"no": None, "bool": seen, "float": bias}[kind]
    found = []
    for f in (day23.grouped_attention, attend):
        twins = [x.clone().requires_grad_() for x in leaves]
        found.append(torch.autograd.grad(f(*twins, mask).square().sum(), twins))
    for name, got, wanted in zip("qkv", *found, strict=True):
        close(got, wanted, terms=4096, scale=64.0, name=f"gradient of {name} with {kind} mask")


@exercise("grouped_attention", ban=BAN)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_attention_in_other_dtypes(dtype, device, rng):
    q, k, v = inputs(rng, (2, 6, 3, 5, 7, 4, 3), dtype)
    wanted = attend(q, k, v, past(5, 7, device))
    got = day23.grouped_attention(q, k, v, causal=True)
    close(got, wanted, dtype=dtype, terms=16, scale=8.0, name=f"in {dtype}")


@exercise("grouped_attention", ban=BAN)
def test_no_key_is_repeated(device, rng):
    """A step of decoding: 16 heads, 2 of keys and values, 4,096 keys."""
    q, k, v = (rng.normal(1, h, n, 64) for h, n in ((16, 1), (2, 4096), (2, 4096)))
    for mask in (None, rng.boolean(1, 1, 1, 4096, p=0.9)):
        day23.grouped_attention(q, k, v, mask)  # a GPU's library makes room for itself once
        _, seen = watch(day23.grouped_attention, q, k, v, mask)
        there = k.nbytes + v.nbytes
        assert seen.peak_bytes < there, (
            f"{seen.peak_bytes:,} bytes for keys and values of {there:,}; repeated 8 times, either "
            f"of the two has {8 * k.nbytes:,}"
        )


@exercise("grouped_attention", ban=BAN)
def test_no_loop(device, rng):
    seen = []
    for sizes in ((1, 4, 2, 3, 4, 4, 4), (6, 16, 8, 3, 4, 4, 4), (2, 16, 1, 3, 4, 4, 4)):
        q, k, v = inputs(rng, sizes)
        seen.append(len(watch(day23.grouped_attention, q, k, v, causal=True)[1].operators))
    assert max(seen) <= seen[0] + 4, f"operators for 4, 16 and 16 heads: {seen}"


@exercise("grouped_attention", ban=BAN)
def test_dropout(device, rng):
    q, k = rng.normal(2, 4, 50, 8), rng.normal(2, 2, 60, 8)
    v = torch.eye(60, device=device).expand(2, 2, 60, 60)
    full = attend(q, k, v)
    dropped = day23.grouped_attention(q, k, v, dropout=0.3)
    kept = dropped != 0
    close(dropped[kept], full[kept] / 0.7, dtype=torch.float32, terms=64, name="the weights kept")
    share = 1 - kept.double().mean().item()
    assert abs(share - 0.3) < 0.03, f"{share:.1%} of the weights were dropped with dropout=0.3"
    assert not torch.equal(kept[:, 0], kept[:, 1]), "two heads of a group drop the same weights"


@exercise("grouped_attention", ban=BAN)
def test_attention_refuses(device, rng):
    def attention(q, k, v, mask=None):
        tensors = [rng.normal(*shape) for shape in (q, k, v)]
        return lambda: day23.grouped_attention(*tensors, mask=mask)

    q, k, v = (2, 6, 5, 4), (2, 4, 7, 4), (2, 4, 7, 3)
    refused(attention(q, k, v), what="6 heads of q and 4 of k", names=(q, k))
    q, k, v = (2, 6, 5, 4), (2, 0, 7, 4), (2, 0, 7, 3)
    refused(attention(q, k, v), what="6 heads of q and none of k", names=(q, k))
    q, k, v = (2, 2, 5, 4), (2, 4, 7, 4), (2, 4, 7, 3)
    refused(attention(q, k, v), what="2 heads of q and 4 of k", names=(q, k))
    q, k, v = (2, 6, 5, 4), (2, 2, 7, 4), (2, 1, 7, 3)
    refused(attention(q, k, v), what="2 heads of k and 1 of v", names=(k, v))
    q, k, v = (2, 6, 5, 4), (2, 2, 7, 4), (2, 2, 7, 3)
    for shape in ((2, 5, 7), (5, 6), (1, 2, 6, 5, 7), (2, 2, 5, 7)):
        mask = rng.boolean(*shape)
        refused(
            attention(q, k, v, mask), what=f"a mask {shape}", names=("mask", shape, (2, 6, 5, 7))
        )


@exercise("grouped_attention", seconds=60)  # no ban: its watching cannot be compiled
def test_attention_compiles(device, rng):
    q, k, v = (x.requires_grad_() for x in inputs(rng, (2, 6, 3, 5, 5, 4, 4), torch.float32))
    mask = rng.boolean(2, 1, 1, 5, p=0.7)

    def attention(q, k, v):
        return day23.grouped_attention(q, k, v, mask, causal=True)

    same_compiled(attention, (q, k, v), (q, k, v), "grouped_attention")


# GroupedQueryAttention -----------------------------------------------------------------------


@exercise("GroupedQueryAttention")
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize("head_dim", [None, 5])
def test_parameters(head_dim, bias):
    module = day23.GroupedQueryAttention(12, 6, 2, head_dim=head_dim, bias=bias, dropout=0.25)
    d = head_dim or 2
    wanted = {"q_proj.weight": (6 * d, 12), "k_proj.weight": (2 * d, 12)}
    wanted |= {"v_proj.weight": (2 * d, 12), "out_proj.weight": (12, 6 * d)}
    if bias:
        sizes = {name.removesuffix("weight") + "bias": size[:1] for name, size in wanted.items()}
        wanted |= sizes
    found = {name: tuple(p.shape) for name, p in module.state_dict().items()}
    assert found == wanted, f"the parameters are {found}, expected were {wanted}"
    attributes = [module.dim, module.heads, module.kv_heads, module.head_dim, module.dropout]
    assert attributes == [12, 6, 2, d, 0.25], f"dim, heads, kv_heads, ... are {attributes}"


@exercise("GroupedQueryAttention")
@pytest.mark.parametrize(
    "dim, heads, shared, named",
    [(12, 6, 4, (6, 4)), (12, 2, 4, (2, 4)), (12, 6, 0, (6, 0)), (12, 6, -2, (6, -2)),
     (12, 0, 1, (0, 1)), (10, 4, 2, (10, 4))],
)  # fmt: skip
def test_refuses_sizes(dim, heads, shared, named):
    what = f"dim {dim}, {heads} heads, {shared} of keys"
    refused(lambda: day23.GroupedQueryAttention(dim, heads, shared), what=what, names=named)


@exercise("GroupedQueryAttention", ban=BAN)
@shapes("batch, length, dim, heads, shared", (2, 5, 10, 6, 2), (1, 1, 1, 1, 1), (3, 4, 8, 4, 1),
        (2, 7, 6, 3, 3), (0, 3, 4, 2, 1))  # fmt: skip
def test_module_values(batch, length, dim, heads, shared, device, rng):
    x = rng.normal(batch, length, dim, dtype=WIDE)
    for bias in (True, False):
        module = make(rng, device, dim, heads, shared, head_dim=3, bias=bias)
        parts = []
        for name, n in (("q", heads), ("k", shared), ("v", shared)):
            layer = getattr(module, f"{name}_proj")
            flat = F.linear(x, layer.weight, layer.bias).detach()
            parts.append(torch.stack([flat[..., 3 * h : 3 * h + 3] for h in range(n)], 1))
        for name, got, wanted in zip("qkv", module.project(x), parts, strict=True):
            same(got, wanted, f"{name} of project, bias={bias}")
        for causal in (False, True):
            mixed = attend(*parts, past(length, length, device) if causal else None)
            flat = torch.cat([mixed[:, h] for h in range(heads)], -1)
            wanted = F.linear(flat, module.out_proj.weight, module.out_proj.bias).detach()
            for layout, view in layouts(x):
                same(module(view, causal=causal), wanted, f"of a {layout} x, causal={causal}")


@exercise("GroupedQueryAttention", ban=BAN)
def test_equals_multi_head_attention(device, rng):
    """kv_heads = heads: the same weights give the same result, masks and all."""
    module = make(rng, device, 12, 3, 3)
    other = MultiHeadAttention(12, 3).to(device, WIDE).eval()
    other.load_state_dict(module.state_dict())
    x = rng.normal(2, 5, 12, dtype=WIDE)
    seen, bias = rng.boolean(2, 1, 1, 5, p=0.7), rng.normal(3, 5, 5, dtype=WIDE, std=3.0)
    for name, mask in (("no", None), ("padding", seen), ("float", bias)):
        for causal in (False, True):
            wanted = other(x, mask=mask, causal=causal).detach()
            same(module(x, mask, causal), wanted, f"{name} mask, causal={causal}")


@exercise("GroupedQueryAttention", ban=BAN)
def test_module_gradients(device, rng):
    """Those of as many heads of keys and values, each shared one's added up over its group."""
    module = make(rng, device, 12, 6, 2)
    many = MultiHeadAttention(12, 6).to(device, WIDE).eval()
    state = dict(module.state_dict())
    for name in [n for n in state if n[:2] in ("k_", "v_")]:
        state[name] = state[name].unflatten(0, (2, 2)).repeat_interleave(3, 0).flatten(0, 1)
    many.load_state_dict(state)
    x, probe = rng.normal(2, 5, 12, dtype=WIDE).requires_grad_(), rng.normal(2, 5, 12, dtype=WIDE)
    twin = x.detach().clone().requires_grad_()
    (module(x, causal=True) * probe).sum().backward()
    (many(twin, causal=True) * probe).sum().backward()
    close(x.grad, twin.grad, terms=1024, scale=64.0, name="gradient of x")
    right = {name: p.grad for name, p in many.named_parameters()}
    for name, p in module.named_parameters():
        wanted = right[name]
        if name[:2] in ("k_", "v_"):
            wanted = wanted.unflatten(0, (2, 3, 2)).sum(1).flatten(0, 1)
        close(p.grad, wanted, terms=1024, scale=64.0, name=f"gradient of {name}")


@exercise("GroupedQueryAttention", ban=BAN)
def test_module_without_a_batch(device, rng):
    module = make(rng, device, 12, 6, 2)
    x = rng.normal(2, 5, 12, dtype=WIDE)
    same(module(x[1]), module(x)[1].detach(), "of one sequence alone")


@exercise("GroupedQueryAttention", ban=BAN)
def test_stands_in_a_block(device, rng):
    block = EncoderBlock(12, 6).to(device, WIDE)
    block.attention = make(rng, device, 12, 6, 2)
    x, mask = rng.normal(2, 5, 12, dtype=WIDE), rng.boolean(2, 1, 1, 5, p=0.7)
    inner = block.attention(block.attention_norm(x), mask, True)
    wanted = x + inner
    wanted = wanted + block.feed_forward(block.feed_forward_norm(wanted))
    same(block.eval()(x, mask, causal=True), wanted.detach(), "of a block with this attention")


@exercise("GroupedQueryAttention", ban=BAN)
def test_module_dropout(device, rng):
    module = make(rng, device, 12, 6, 2, dropout=1.0)
    plain = make(rng, device, 12, 6, 2)
    plain.load_state_dict(module.state_dict())
    x = rng.normal(2, 5, 12, dtype=WIDE)
    same(module(x), plain(x).detach(), "in eval mode")
    wanted = module.out_proj.bias.detach().expand(2, 5, 12)
    same(module.train()(x), wanted, "in training, when every weight is dropped")


@exercise("GroupedQueryAttention", ban=BAN)
def test_module_refuses_features(device, rng):
    module = make(rng, device, 12, 6, 2, dtype=torch.float32)
    for shape in ((2, 5, 7), (2, 5, 1)):
        x = rng.normal(*shape)
        refused(lambda x=x: module(x), what=f"x {shape} with dim 12", names=("x", shape, 12))


@exercise("GroupedQueryAttention", ban=BAN)
@DTYPES
def test_module_in_other_dtypes(dtype, device, rng):
    module = make(rng, device, 12, 6, 2, dtype=dtype)
    x, mask = rng.normal(2, 5, 12, dtype=dtype), rng.boolean(2, 1, 5, 5, p=0.7)
    result = module(x, mask, causal=True)
    assert result.dtype == dtype, f"everything is {dtype}, but the result {result.dtype}"
    error = off(result, copy.deepcopy(module).double()(x.double(), mask, causal=True))
    limit = 0.06 if dtype == torch.bfloat16 else 2e-5
    assert error < limit, f"the result in {dtype} is off by {error:.2g} of its length"


@exercise("GroupedQueryAttention", seconds=60)  # no ban: its watching cannot be compiled
def test_module_compiles(device, rng):
    module = make(rng, device, 12, 6, 2, dtype=torch.float32)
    x = rng.normal(2, 5, 12)

    def attention(x):
        return module(x, causal=True)

    same_compiled(attention, (x,), list(module.parameters()), "GroupedQueryAttention")


# mha_to_gqa ----------------------------------------------------------------------------------


@exercise("mha_to_gqa")
@shapes("heads, groups, d", (6, 2, 3), (4, 4, 2), (4, 1, 3), (1, 1, 1), (6, 3, 1))
def test_means_of_heads(heads, groups, d, device, rng):
    halved = ["k_proj.weight", "v_proj.bias", "a.b.k_proj.bias", "a.0.cross.v_proj.weight"]
    names = [
        "q_proj.weight",
        "a.out_proj.weight",
        "my_k_proj.weight",
        *halved,
        "k_proj",
        "a.k_norm",
    ]
    state = {
        name: rng.normal(heads * d, *(() if "bias" in name else (5,)), dtype=WIDE) for name in names
    }
    new = day23.mha_to_gqa(state, heads, groups)
    assert list(new) == names, f"the names are {list(new)}, those of the state {names}"
    each = heads // groups
    for name, p in state.items():
        rows = [p[h * d : (h + 1) * d] for h in range(heads)]
        means = [sum(rows[g * each : (g + 1) * each]) / each for g in range(groups)]
        wanted = torch.cat(means) if name in halved else p
        same(new[name], wanted, f"{name}, {heads} heads in {groups} groups")


@exercise("mha_to_gqa")
def test_means_in_half_precision(device, rng):
    for dtype in (torch.bfloat16, torch.float16):
        p = rng.normal(8, 5, dtype=dtype, mean=30.0, std=20.0)
        got = day23.mha_to_gqa({"k_proj.weight": p}, 8, 2)["k_proj.weight"]
        close(
            got, p.double().view(2, 4, 5).mean(1), dtype=dtype, terms=4, scale=32.0, name=f"{dtype}"
        )
    p = torch.full((4, 3), 60000.0, dtype=torch.float16, device=device)
    got = day23.mha_to_gqa({"v_proj.weight": p}, 4, 1)["v_proj.weight"]
    close(got, p[:1], name="the mean of four times 60,000 in float16")


@exercise("mha_to_gqa")
def test_equal_heads_keep_the_function(device, rng):
    other = fill(MultiHeadAttention(12, 6).to(device, WIDE), rng).eval()
    with torch.no_grad():
        for layer in (other.k_proj, other.v_proj):
            for p in layer.parameters():
                parts = p.view(2, 3, 2, *p.shape[1:])
                parts[:, 1:] = parts[:, :1]
    module = make(rng, device, 12, 6, 2)
    module.load_state_dict(day23.mha_to_gqa(other.state_dict(), 6, 2))
    x = rng.normal(2, 5, 12, dtype=WIDE)
    same(module(x, causal=True), other(x, causal=True).detach(), "three equal heads in each group")


@exercise("mha_to_gqa")
def test_conversion_refuses(device, rng):
    state = {"b.k_proj.weight": rng.normal(12, 3)}
    for heads, groups in ((6, 4), (6, 0), (6, -1), (2, 4), (0, 1)):
        what = f"{heads} heads in {groups} groups"
        refused(
            lambda h=heads, g=groups: day23.mha_to_gqa(state, h, g),
            what=what,
            names=(heads, groups),
        )
    refused(
        lambda: day23.mha_to_gqa(state, 8, 2),
        what="a weight (12, 3) for 8 heads",
        names=("b.k_proj.weight", (12, 3), 8),
    )


# grouped_gpt ---------------------------------------------------------------------------------


def gpt(rng, device, dtype=WIDE, **options):
    return fill(GPT(11, 16, 12, 2, 6, **options).to(device, dtype), rng)


@exercise("grouped_gpt")
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
def test_grouped_model(bias, device, rng):
    model = gpt(rng, device, bias=bias, dropout=0.25)
    model.stack.blocks[1].attention = MultiHeadAttention(
        12, 6, head_dim=5, bias=bias, dropout=0.25
    )  # another one may stand there
    model = fill(model.to(device, WIDE), rng).train()
    before = {name: p.clone() for name, p in model.state_dict().items()}
    new = day23.grouped_gpt(model, 2)
    right = day23.mha_to_gqa(before, 6, 2)
    found = new.state_dict()
    assert set(found) == set(right), f"other parameters: {set(found) ^ set(right)}"
    for name, p in right.items():
        same(found[name], p, f"the weights {name}")
    for name, p in model.state_dict().items():
        assert torch.equal(p, before[name]), f"{name} of the given model was changed"
    for block, old in zip(new.stack.blocks, model.stack.blocks, strict=True):
        attention = block.attention
        assert isinstance(attention, day23.GroupedQueryAttention), f"a {type(attention).__name__}"
        options = (attention.heads, attention.kv_heads, attention.head_dim, attention.dropout)
        wanted = (6, 2, old.attention.head_dim, 0.25)
        assert options == wanted, f"heads, kv_heads, head_dim, dropout are {options}, not {wanted}"
        assert isinstance(old.attention, MultiHeadAttention), (
            "the given model's blocks were changed"
        )
    theirs = {p.data_ptr() for p in model.parameters()}
    shared = [name for name, p in new.named_parameters() if p.data_ptr() in theirs]
    assert not shared, f"these share memory with the given model: {shared}"


@exercise("grouped_gpt")
@DTYPES
def test_grouped_model_keeps_modes(dtype, device, rng):
    model = gpt(rng, device, dtype).requires_grad_(False)
    for training in (True, False):
        new = day23.grouped_gpt(model.train(training), 3)
        modes = {module.training for module in new.modules()}
        assert modes == {training}, f"training is {training}, in parts of the copy {modes}"
    kinds = {(p.dtype, p.device.type) for p in new.parameters()}
    assert kinds == {(dtype, device.type)}, f"dtype and device are {kinds}"
    frozen = [name for name, p in new.named_parameters() if not p.requires_grad]
    assert not frozen, f"these do not require a gradient: {frozen}"


@exercise("grouped_gpt")
def test_all_heads_keep_the_function(device, rng):
    model = gpt(rng, device).eval()
    ids = rng.integers(0, 11, 2, 7)
    new = day23.grouped_gpt(model, 6)
    close(
        new(ids), model(ids).detach(), terms=4096, scale=64.0, name="logits with six groups of one"
    )


@exercise("grouped_gpt")
def test_grouped_model_reads_its_heads(device, rng):
    """Against the multi-head model whose heads of a group are all their mean."""
    model = gpt(rng, device).eval()
    new = day23.grouped_gpt(model, 2)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "k_proj" in name or "v_proj" in name:
                parts = p.view(2, 3, 2, *p.shape[1:])
                parts.copy_(parts.mean(1, keepdim=True).expand_as(parts))
    ids = rng.integers(0, 11, 2, 7)
    close(new(ids), model(ids).detach(), terms=4096, scale=64.0, name="logits with two groups")


# cached_gqa ----------------------------------------------------------------------------------


@exercise("cached_gqa")
@DTYPES
def test_caches_hold_the_groups(dtype, device, rng):
    model = day23.grouped_gpt(gpt(rng, device, dtype), 2).eval()
    with torch.device("meta"):  # where tensors land that are made without device=
        _, caches = day23.cached_gqa(model, 3, 16)
    assert len(caches) == 2, f"2 blocks, {len(caches)} caches"
    for cache in caches:
        for name, x in (("keys", cache.keys), ("values", cache.values)):
            found = (tuple(x.shape), x.dtype, x.device.type)
            wanted = ((3, 2, 16, 2), dtype, device.type)
            assert found == wanted, f"{name}: {found}, expected were {wanted}"
    assert caches[0].keys.data_ptr() != caches[1].keys.data_ptr(), "two blocks share a cache"


@exercise("cached_gqa")
@pytest.mark.parametrize("groups", [1, 2, 6])
@pytest.mark.parametrize("chunks", [[1] * 9, [9], [4, 1, 1, 3]], ids=str)
def test_cached_equals_uncached(groups, chunks, device, rng):
    model = day23.grouped_gpt(gpt(rng, device), groups).eval()
    ids = rng.integers(0, 11, 2, 9)
    wanted = model(ids).detach()
    cached, caches = day23.cached_gqa(model, 2, 9)
    at = 0
    with torch.no_grad():
        for new in chunks:
            positions = torch.arange(at, at + new, device=device)
            got = cached(ids[:, at : at + new], positions=positions)
            name = f"logits of tokens {at} to {at + new - 1}, {groups} groups"
            close(got, wanted[:, at : at + new], terms=4096, scale=64.0, name=name)
            at += new
    assert [c.length for c in caches] == [9, 9], f"lengths {[c.length for c in caches]} after 9"


@exercise("cached_gqa")
def test_the_given_model_stays_uncached(device, rng):
    model = day23.grouped_gpt(gpt(rng, device), 2).eval()
    ids = rng.integers(0, 11, 2, 5)
    wanted = model(ids).detach()
    cached, _ = day23.cached_gqa(model, 2, 9)
    cached(ids)
    close(model(ids), wanted, terms=4096, scale=64.0, name="logits of the given model, afterwards")


@exercise("cached_gqa")
def test_cache_bytes_fall_with_the_groups(device, rng):
    """Allocated by cached_gqa: keys and values of the groups, and nothing else of their size."""
    multi = gpt(rng, device, torch.float32)
    for groups in (6, 3, 2, 1):
        model = day23.grouped_gpt(multi, groups).eval()
        (_, caches), seen = watch(day23.cached_gqa, model, 8, 512)
        whole = 2 * 2 * 8 * groups * 512 * 2 * 4
        held = sum(c.keys.nbytes + c.values.nbytes for c in caches)
        assert held == whole, f"{groups} groups: the caches hold {held:,} bytes, not {whole:,}"
        assert seen.live_bytes < 1.1 * whole + 10_000, (
            f"{groups} groups: {seen.live_bytes:,} bytes were allocated for caches of {whole:,}"
        )
