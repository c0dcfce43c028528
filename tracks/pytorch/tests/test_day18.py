"""Day 18: heads that stay apart, and equality with nn.MultiheadAttention in float64."""

import copy

import pytest
import torch
from torch import nn

from harness.testing import close, exercise, layouts, random_weights, shapes, watch
from tracks.pytorch import day18

BAN = [
    "scaled_dot_product_attention",
    "multi_head_attention_forward",
    "_native_multi_head_attention",
]
WIDE = torch.float64
# batch, queries, keys, dim, heads, kdim, vdim
SIZES = [(2, 5, 7, 12, 3, 12, 12), (1, 1, 1, 1, 1, 1, 1), (3, 4, 1, 8, 8, 5, 9),
         (2, 3, 6, 10, 2, 10, 4), (2, 6, 3, 6, 1, 7, 6)]  # fmt: skip


def make(rng, device, dim, heads, dtype=WIDE, **options):
    module = day18.MultiHeadAttention(dim, heads, **options).to(device, dtype)
    return random_weights(module, rng).eval()


def theirs(module):
    """nn.MultiheadAttention in float64 with the weights of ``module``."""
    other = nn.MultiheadAttention(
        module.dim,
        module.heads,
        kdim=module.k_proj.in_features,
        vdim=module.v_proj.in_features,
        bias=module.q_proj.bias is not None,
        batch_first=True,
    ).to(module.out_proj.weight.device, WIDE)
    three = [module.q_proj, module.k_proj, module.v_proj]
    with torch.no_grad():
        if other.in_proj_weight is None:
            for name, layer in zip("qkv", three, strict=True):
                getattr(other, f"{name}_proj_weight").copy_(layer.weight)
        else:
            other.in_proj_weight.copy_(torch.cat([layer.weight for layer in three]))
        if other.in_proj_bias is not None:
            other.in_proj_bias.copy_(torch.cat([layer.bias for layer in three]))
            other.out_proj.bias.copy_(module.out_proj.bias)
        other.out_proj.weight.copy_(module.out_proj.weight)
    return other.eval()


def inputs(rng, sizes, dtype=WIDE):
    batch, queries, keys, dim, _, kdim, vdim = sizes
    return (
        rng.normal(batch, queries, dim, dtype=dtype),
        rng.normal(batch, keys, kdim, dtype=dtype),
        rng.normal(batch, keys, vdim, dtype=dtype),
    )


def same(got, wanted, name, dtype=WIDE):
    close(got, wanted, dtype=dtype, terms=256, scale=8.0, name=name)


# split_heads and merge_heads -----------------------------------------------------------------


@exercise("split_heads")
@shapes("batch, length, heads, d", (2, 3, 4, 5), (1, 1, 1, 1), (2, 4, 2, 4), (0, 3, 2, 2),
        (2, 0, 3, 1), (1, 2, 3, 0), gpu=[(8, 1024, 16, 64)])  # fmt: skip
def test_split_values(batch, length, heads, d, device, rng):
    x = rng.normal(batch, length, heads * d)
    wanted = torch.stack([x[..., h * d : (h + 1) * d] for h in range(heads)], dim=1)
    for layout, view in layouts(x):
        close(day18.split_heads(view, heads), wanted, name=f"of a {layout} x, {heads} heads")


@exercise("split_heads")
def test_split_any_leading_axes(device, rng):
    for shape in ((3, 8), (2, 3, 8), (5, 2, 3, 8)):
        x = rng.normal(*shape)
        got = day18.split_heads(x, 4)
        wanted = torch.stack([x[..., 2 * h : 2 * h + 2] for h in range(4)], dim=-3)
        close(got, wanted, name=f"of {shape}, 4 heads")


@exercise("split_heads")
def test_split_shares_memory(device, rng):
    x = rng.normal(2, 3, 8)
    got = day18.split_heads(x, 4)
    assert got.data_ptr() == x.data_ptr(), "the result is a copy: it should share x's memory"


@exercise("split_heads")
@pytest.mark.parametrize("heads", [3, 5, 16, 0, -2])
def test_split_refuses(heads, device, rng):
    with pytest.raises(ValueError) as refusal:
        day18.split_heads(rng.normal(2, 3, 8), heads)
        pytest.fail(f"8 features were split into {heads} heads: a ValueError was due")
    message = str(refusal.value)
    assert "8" in message and str(heads) in message, f"which sizes do not fit? {message!r}"


@exercise("merge_heads")
@shapes("batch, heads, length, d", (2, 4, 3, 5), (1, 1, 1, 1), (2, 4, 4, 2), (0, 2, 3, 2),
        (2, 3, 0, 1), gpu=[(8, 16, 1024, 64)])  # fmt: skip
def test_merge_values(batch, heads, length, d, device, rng):
    x = rng.normal(batch, heads, length, d)
    wanted = torch.cat([x[:, h] for h in range(heads)], dim=-1)
    for layout, view in layouts(x):
        close(day18.merge_heads(view), wanted, name=f"of a {layout} x")


@exercise("merge_heads")
def test_merge_any_leading_axes(device, rng):
    for shape in ((4, 3, 2), (5, 2, 4, 3, 2)):
        x = rng.normal(*shape)
        wanted = torch.cat([x[..., h, :, :] for h in range(4)], dim=-1)
        close(day18.merge_heads(x), wanted, name=f"of {shape}")


@exercise("merge_heads")
def test_merge_copies_once(device, rng):
    x = rng.normal(2, 8, 64, 16)
    _, seen = watch(day18.merge_heads, x)
    once = x.numel() * 4
    assert seen.peak_bytes <= 1.2 * once, (
        f"{seen.peak_bytes:,} bytes for an x of {once:,}: more than one copy was made"
    )


# MultiHeadAttention --------------------------------------------------------------------------


@exercise("MultiHeadAttention")
@pytest.mark.parametrize("bias", [True, False])
def test_parameters(bias):
    module = day18.MultiHeadAttention(12, 3, kdim=5, vdim=7, bias=bias)
    wanted = {"q_proj.weight": (12, 12), "k_proj.weight": (12, 5), "v_proj.weight": (12, 7),
              "out_proj.weight": (12, 12)}  # fmt: skip
    if bias:
        wanted |= {f"{name}_proj.bias": (12,) for name in ("q", "k", "v", "out")}
    found = {name: tuple(p.shape) for name, p in module.state_dict().items()}
    assert found == wanted, f"the parameters are {found}, expected were {wanted}"
    assert (module.dim, module.heads, module.head_dim, module.dropout) == (12, 3, 4, 0.0)


@exercise("MultiHeadAttention")
def test_parameters_with_a_head_dim():
    module = day18.MultiHeadAttention(10, 3, head_dim=4, dropout=0.25)
    found = {name: tuple(p.shape) for name, p in module.state_dict().items() if "weight" in name}
    wanted = {f"{name}_proj.weight": (12, 10) for name in "qkv"} | {"out_proj.weight": (10, 12)}
    assert found == wanted, f"with head_dim=4: {found}, expected were {wanted}"
    assert (module.heads, module.head_dim, module.dropout) == (3, 4, 0.25)


@exercise("MultiHeadAttention")
@pytest.mark.parametrize("dim, heads", [(10, 3), (3, 4), (8, 0), (8, -2)])
def test_refuses_heads_that_do_not_divide(dim, heads):
    with pytest.raises(ValueError) as refusal:
        day18.MultiHeadAttention(dim, heads)
        pytest.fail(f"dim {dim} with {heads} heads was accepted: a ValueError was due")
    message = str(refusal.value)
    assert str(dim) in message and str(heads) in message, f"which sizes do not fit? {message!r}"


@exercise("MultiHeadAttention")
def test_refuses_no_heads_of_a_given_size():
    with pytest.raises(ValueError) as refusal:
        day18.MultiHeadAttention(8, 0, head_dim=4)
        pytest.fail("0 heads of 4 were accepted: a ValueError was due")
    assert "0" in str(refusal.value), f"how many heads? {str(refusal.value)!r}"


@exercise("MultiHeadAttention", ban=BAN)
def test_weights_lie_on_the_device(device, rng):
    module = make(rng, device, 8, 2)
    x = rng.normal(2, 5, 8, dtype=WIDE)
    with torch.device("meta"):  # where tensors land that are made without device=
        _, weights = module(x, need_weights=True)
    assert weights.device == x.device, f"x is on {x.device}, the weights on {weights.device}"


@exercise("MultiHeadAttention", ban=BAN)
@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("bias", [True, False])
def test_equals_torch(sizes, bias, device, rng):
    q, k, v = inputs(rng, sizes)
    module = make(rng, device, *sizes[3:5], kdim=sizes[5], vdim=sizes[6], bias=bias)
    result, weights = module(q, k, v, need_weights=True)
    wanted, right = theirs(module)(q, k, v, average_attn_weights=False)
    same(weights, right, "the weights")
    same(result, wanted, "the result with need_weights")
    same(module(q, k, v), wanted, "the result")


@exercise("MultiHeadAttention", ban=BAN)
def test_who_stands_in_for_whom(device, rng):
    x, memory = rng.normal(2, 5, 12, dtype=WIDE), rng.normal(2, 7, 12, dtype=WIDE)
    module = make(rng, device, 12, 3)
    same(module(x), theirs(module)(x, x, x)[0], "self-attention, no key given")
    same(module(x, memory), theirs(module)(x, memory, memory)[0], "no value given: it is the key")
    same(module(x, value=memory[:, :5]), theirs(module)(x, x, memory[:, :5])[0], "no key given")


@exercise("MultiHeadAttention", ban=BAN)
def test_project(device, rng):
    x, key, value = inputs(rng, (2, 5, 7, 12, 3, 6, 9))
    module = make(rng, device, 12, 3, kdim=6, vdim=9)
    for name, got, source in zip(
        "qkv", module.project(x, key, value), (x, key, value), strict=True
    ):
        layer = getattr(module, f"{name}_proj")
        flat = source @ layer.weight.T + layer.bias
        wanted = torch.stack([flat[..., 4 * h : 4 * h + 4] for h in range(3)], dim=1)
        same(got, wanted.detach(), f"{name} of project")


@exercise("MultiHeadAttention", ban=BAN)
@pytest.mark.parametrize("kind", ["bool", "float", "padding", "padding and float", "every head"])
def test_masks_equal_torchs(kind, device, rng):
    """torch's bool masks say True = hidden."""
    q, k, v = inputs(rng, (2, 4, 6, 12, 3, 12, 12))
    module = make(rng, device, 12, 3)
    seen = rng.boolean(4, 6, p=0.6).clone()
    seen[:, 0] = True
    bias = rng.normal(4, 6, dtype=WIDE, std=3.0)
    real = torch.arange(6, device=device) < torch.tensor([[6], [3]], device=device)
    padding = torch.zeros(2, 6, dtype=WIDE, device=device).masked_fill(~real, -torch.inf)
    heads = rng.normal(2, 3, 4, 6, dtype=WIDE, std=3.0)
    mask, options = {
        "bool": (seen, {"attn_mask": ~seen}),
        "float": (bias, {"attn_mask": bias}),
        "padding": (real[:, None, None], {"key_padding_mask": ~real}),
        "padding and float": (
            padding[:, None, None] + bias,
            {"key_padding_mask": padding, "attn_mask": bias},
        ),
        "every head": (heads, {"attn_mask": heads.reshape(6, 4, 6)}),
    }[kind]
    result, weights = module(q, k, v, mask=mask, need_weights=True)
    wanted, right = theirs(module)(q, k, v, average_attn_weights=False, **options)
    same(weights, right, f"the weights with a {kind} mask")
    same(result, wanted, f"the result with a {kind} mask")
    same(module(q, k, v, mask=mask), wanted, f"the result with a {kind} mask, no need_weights")


@exercise("MultiHeadAttention", ban=BAN)
@shapes("queries, keys", (5, 5), (1, 6), (3, 7))
def test_causal(queries, keys, device, rng):
    """Aligned at the bottom right, alone and together with a mask."""
    q, k, v = inputs(rng, (2, queries, keys, 12, 3, 12, 12))
    module = make(rng, device, 12, 3)
    rows = [[j <= i + keys - queries for j in range(keys)] for i in range(queries)]
    past = torch.tensor(rows, device=device)
    wanted = theirs(module)(q, k, v, attn_mask=~past)[0]
    same(module(q, k, v, causal=True), wanted, f"causal, {queries} queries and {keys} keys")
    bias = rng.normal(queries, keys, dtype=WIDE, std=3.0)
    both = bias.masked_fill(~past, -torch.inf)
    wanted = theirs(module)(q, k, v, attn_mask=both)[0]
    same(module(q, k, v, mask=bias, causal=True), wanted, "causal with a float mask")


@exercise("MultiHeadAttention", ban=BAN)
def test_queries_without_a_key(device, rng):
    q, k, v = inputs(rng, (2, 4, 3, 8, 2, 8, 8))
    for x in (q, k, v):
        x.requires_grad_()
    module = make(rng, device, 8, 2)
    mask = torch.ones(2, 1, 4, 3, dtype=torch.bool, device=device)
    mask[1, :, 2] = False
    result, weights = module(q, k, v, mask=mask, need_weights=True)
    assert (weights[1, :, 2] == 0).all(), f"no key is left, but the weights are {weights[1, :, 2]}"
    same(result[1, 2], module.out_proj.bias.detach(), "the result of a query with no key left")
    result.sum().backward()
    for name, x in zip(("query", "key", "value"), (q, k, v), strict=True):
        assert x.grad.isfinite().all(), f"a query has no key left: the gradient of {name} is nan"


@exercise("MultiHeadAttention", ban=BAN)
def test_no_keys_and_no_queries(device, rng):
    module = make(rng, device, 8, 2)
    result = module(rng.normal(2, 3, 8, dtype=WIDE), rng.normal(2, 0, 8, dtype=WIDE))
    same(result, module.out_proj.bias.detach().expand(2, 3, 8), "attention to no keys at all")
    for shape in ((2, 0, 8), (0, 3, 8)):
        result, weights = module(rng.normal(*shape, dtype=WIDE), need_weights=True)
        assert result.shape == shape, f"a query {shape} gave {tuple(result.shape)}"
        wanted = (shape[0], 2, shape[1], shape[1])
        assert weights.shape == wanted, f"a query {shape} gave weights {tuple(weights.shape)}"


@exercise("MultiHeadAttention", ban=BAN)
def test_gradients_equal_torchs(device, rng):
    sizes = (2, 4, 6, 12, 3, 5, 7)
    module = make(rng, device, 12, 3, kdim=5, vdim=7)
    other = theirs(module)
    leaves = [x.requires_grad_() for x in inputs(rng, sizes)]
    twins = [x.detach().clone().requires_grad_() for x in leaves]
    module(*leaves).square().sum().backward()
    other(*twins, need_weights=False)[0].square().sum().backward()
    found = dict(zip(("query", "key", "value"), [x.grad for x in leaves], strict=True))
    right = dict(zip(("query", "key", "value"), [x.grad for x in twins], strict=True))
    for name, bias in zip("qkv", other.in_proj_bias.grad.chunk(3), strict=True):
        layer = getattr(module, f"{name}_proj")
        found |= {f"{name}_proj.weight": layer.weight.grad, f"{name}_proj.bias": layer.bias.grad}
        right |= {f"{name}_proj.weight": getattr(other, f"{name}_proj_weight").grad}
        right |= {f"{name}_proj.bias": bias}
    found |= {f"out_proj.{name}": p.grad for name, p in module.out_proj.named_parameters()}
    right |= {f"out_proj.{name}": p.grad for name, p in other.out_proj.named_parameters()}
    for name in right:
        # k_proj.bias moves all scores of a query alike: its gradient is what cancels to zero.
        close(found[name], right[name], terms=4096, scale=64.0, name=f"gradient of {name}")


@exercise("MultiHeadAttention", ban=BAN)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_other_dtypes(dtype, device, rng):
    q, k, v = inputs(rng, (2, 5, 7, 12, 3, 6, 9), dtype)
    module = make(rng, device, 12, 3, dtype, kdim=6, vdim=9)
    mask = rng.boolean(2, 1, 5, 7, p=0.7)
    result, weights = module(q, k, v, mask=mask, need_weights=True)
    wide = copy.deepcopy(module).double()
    wanted, right = wide(*(x.double() for x in (q, k, v)), mask=mask, need_weights=True)
    # Queries, keys, scores and mixtures are each rounded by 2⁻⁹ in bfloat16; scores reach 10.
    limit = 0.03 if dtype == torch.bfloat16 else 1e-5
    for name, got, want in (("result", result, wanted), ("weights", weights, right)):
        assert got.dtype == dtype, f"everything is {dtype}, but the {name} {got.dtype}"
        error = ((got.double() - want).norm() / want.norm()).item()
        assert error < limit, f"the {name} in {dtype} is off by {error:.2g} of its length"


@exercise("MultiHeadAttention", ban=BAN)
def test_leading_axes_and_strides(device, rng):
    module = make(rng, device, 12, 3)
    other = theirs(module)
    x = rng.normal(2, 3, 5, 12, dtype=WIDE)
    flat = x.reshape(6, 5, 12)
    wanted, right = other(flat, flat, flat, average_attn_weights=False)
    result, weights = module(x, need_weights=True)
    same(result, wanted.reshape(2, 3, 5, 12), "with two leading axes")
    same(weights, right.reshape(2, 3, 3, 5, 5), "the weights with two leading axes")
    same(module(flat[0]), wanted[0], "without a batch")
    key = rng.normal(4, 12, dtype=WIDE)
    memory = key.expand(6, 4, 12)
    wanted, right = other(flat, memory, memory, average_attn_weights=False)
    result, weights = module(flat, key, need_weights=True)
    same(result, wanted, "with one key sequence for the whole batch")
    same(weights, right, "the weights with one key sequence for the whole batch")
    mask = rng.normal(6, 1, 5, 4, dtype=WIDE)
    wanted = other(flat, memory, memory, attn_mask=mask[:, 0].repeat_interleave(3, 0))[0]
    same(module(flat, key, mask=mask), wanted, "one key sequence and a mask for each of the batch")
    memory, key = rng.normal(6, 4, 12, dtype=WIDE), rng.normal(5, 12, dtype=WIDE)
    mask = rng.normal(6, 1, 1, 4, dtype=WIDE)
    wanted = other(key.expand(6, 5, 12), memory, memory, attn_mask=mask[:, 0].expand(-1, 5, -1)
                   .repeat_interleave(3, 0))[0]  # fmt: skip
    same(module(key, memory, mask=mask), wanted, "one query sequence for a batch of keys")
    wanted = other(flat, flat, flat)[0]
    for layout, view in layouts(flat):
        same(module(view), wanted, f"of a {layout} query")


@exercise("MultiHeadAttention", ban=BAN)
def test_scale_belongs_to_the_head(device, rng):
    """head_dim is not dim / heads: the scale is 1 / √head_dim."""
    x = rng.normal(2, 5, 6, dtype=WIDE)
    module = make(rng, device, 6, 2, head_dim=16)
    q, k, v = (
        (x @ p.weight.T + p.bias).view(2, 5, 2, 16).transpose(1, 2)
        for p in (module.q_proj, module.k_proj, module.v_proj)
    )
    weights = (q @ k.mT / 4).softmax(-1)
    mixed = torch.cat([(weights @ v)[:, h] for h in range(2)], -1)
    wanted = (mixed @ module.out_proj.weight.T + module.out_proj.bias).detach()
    same(module(x), wanted, "with dim=6, heads=2, head_dim=16")


@exercise("MultiHeadAttention", ban=BAN)
def test_no_loop_over_heads_or_batch(device, rng):
    counts = []
    for batch, heads in ((2, 2), (2, 12), (7, 2)):
        module = make(rng, device, 24, heads)
        mask = rng.boolean(batch, 1, 4, 4, p=0.9)
        _, seen = watch(module, rng.normal(batch, 4, 24, dtype=WIDE), mask=mask)
        counts.append(len(seen.operators))
    assert counts[1] <= counts[0], f"{counts[0]} operators for 2 heads, {counts[1]} for 12"
    assert counts[2] <= counts[0], f"{counts[0]} operators for 2 sequences, {counts[2]} for 7"


@exercise("MultiHeadAttention", ban=BAN)
def test_dropout_in_training_only(device, rng):
    x = rng.normal(2, 40, 8, dtype=WIDE)
    module = make(rng, device, 8, 2, dropout=0.5)
    whole, full = module(x, need_weights=True)
    same(whole, theirs(module)(x, x, x)[0], "in eval mode, where nothing is dropped")
    module.train()
    result, weights = module(x, need_weights=True)
    kept = weights != 0
    share = kept.double().mean().item()
    assert 0.4 < share < 0.6, f"in training with dropout=0.5, {share:.0%} of the weights are kept"
    same(weights[kept], 2 * full[kept].detach(), "the weights that are kept")
    flat = x @ module.v_proj.weight.T + module.v_proj.bias
    mixed = torch.cat([weights[:, h] @ flat[..., 4 * h : 4 * h + 4] for h in range(2)], -1)
    wanted = (mixed @ module.out_proj.weight.T + module.out_proj.bias).detach()
    same(result, wanted, "the result that belongs to the returned weights, in training")


@exercise("MultiHeadAttention", ban=BAN)
@pytest.mark.parametrize("name", ["query", "key", "value"])
def test_refuses_sizes_that_do_not_fit(name, device, rng):
    module = make(rng, device, 12, 3, kdim=6, vdim=9)
    given = dict(zip(("query", "key", "value"), inputs(rng, (2, 4, 5, 12, 3, 6, 9)), strict=True))
    given[name] = rng.normal(*given[name].shape[:-1], 11, dtype=WIDE)
    fits = {"query": 12, "key": 6, "value": 9}[name]
    with pytest.raises(ValueError) as refusal:
        module(**given)
        pytest.fail(f"a {name} that ends in 11 where {fits} fits went through")
    message = str(refusal.value)
    assert name in message and "11" in message and str(fits) in message, (
        f"a {name} {tuple(given[name].shape)}: which argument, which shapes? {message!r}"
    )


@exercise("MultiHeadAttention", ban=BAN)
def test_refuses_a_query_in_the_place_of_a_key(device, rng):
    module = make(rng, device, 12, 3, kdim=6, vdim=6)
    with pytest.raises(ValueError) as refusal:
        module(rng.normal(2, 4, 12, dtype=WIDE))
        pytest.fail("kdim is 6, and the query of 12 stood in for the key: a ValueError was due")
    assert "key" in str(refusal.value), f"which argument? {str(refusal.value)!r}"


@exercise("MultiHeadAttention", ban=BAN)
@pytest.mark.parametrize("keys, values", [(5, 6), (6, 5), (5, 1)])
def test_refuses_lengths_that_differ(keys, values, device, rng):
    module = make(rng, device, 8, 2)
    three = [rng.normal(2, n, 8, dtype=WIDE) for n in (4, keys, values)]
    for name, call in (("forward", module), ("project", module.project)):
        with pytest.raises(ValueError) as refusal:
            call(*three)
            pytest.fail(
                f"{keys} keys with {values} values went through {name}: a ValueError was due"
            )
        message = str(refusal.value)
        assert str(keys) in message and str(values) in message, f"which shapes? {message!r}"


@exercise("MultiHeadAttention", ban=BAN)
@pytest.mark.parametrize(
    "shape", [(3, 5), (4, 4), (2, 4, 5), (1, 2, 2, 4, 5), (3, 1, 4, 5)], ids=str
)
@pytest.mark.parametrize("kind", ["bool", "float"])
def test_refuses_a_mask_that_does_not_fit(shape, kind, device, rng):
    module = make(rng, device, 12, 3)
    q, k, v = inputs(rng, (2, 4, 5, 12, 3, 12, 12))
    mask = rng.boolean(*shape) if kind == "bool" else rng.normal(*shape, dtype=WIDE)
    with pytest.raises(ValueError) as refusal:
        module(q, k, v, mask=mask)
        pytest.fail(f"a mask {shape} for scores (2, 3, 4, 5) went through: a ValueError was due")
    message = str(refusal.value)
    found = all(str(n) in message for n in (*shape, 2, 3, 4, 5))
    assert "mask" in message and found, (
        f"a mask {shape} for scores (2, 3, 4, 5): which argument, which shapes? {message!r}"
    )


# from_torch ----------------------------------------------------------------------------------


@exercise("from_torch", ban=BAN)
@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kdim, vdim", [(None, None), (6, 9), (12, 5)])
def test_from_torch_equals_it(batch_first, bias, kdim, vdim, device, rng):
    module = nn.MultiheadAttention(
        12, 3, kdim=kdim, vdim=vdim, bias=bias, batch_first=batch_first, dtype=WIDE, device=device
    )
    random_weights(module, rng)
    q, k, v = inputs(rng, (2, 4, 5, 12, 3, kdim or 12, vdim or 12))
    ours = day18.from_torch(module)
    assert isinstance(ours, day18.MultiHeadAttention), f"a {type(ours).__name__} came back"
    result, weights = ours(q, k, v, need_weights=True)
    if not batch_first:
        q, k, v = (x.transpose(0, 1) for x in (q, k, v))
    wanted, right = module(q, k, v, average_attn_weights=False)
    same(weights, right, "the weights")
    same(result, wanted if batch_first else wanted.transpose(0, 1), "the result")


@exercise("from_torch")
def test_from_torch_keeps_the_rest(device, rng):
    for training in (True, False):
        for dtype in (torch.float32, torch.bfloat16):
            module = nn.MultiheadAttention(8, 2, dropout=0.25, dtype=dtype, device=device)
            module.train(training)
            ours = day18.from_torch(module)
            assert ours.dropout == 0.25, f"dropout is {ours.dropout}, theirs is 0.25"
            assert ours.training == training, f"training is {ours.training}, theirs is {training}"
            for name, p in ours.named_parameters():
                assert p.dtype == dtype, f"{name} is {p.dtype}, their weights are {dtype}"
                assert p.device == module.out_proj.weight.device, f"{name} is on {p.device}"
                assert p.requires_grad, f"{name} does not learn"


@exercise("from_torch")
@pytest.mark.parametrize("kdim", [None, 6])
def test_from_torch_copies(kdim, device, rng):
    module = random_weights(nn.MultiheadAttention(8, 2, kdim=kdim, device=device), rng)
    before = copy.deepcopy(module.state_dict())
    with torch.no_grad():
        for p in day18.from_torch(module).parameters():
            p.zero_()
    for name, p in module.state_dict().items():
        assert torch.equal(p, before[name]), f"changing the result changed their {name}"


@exercise("from_torch")
@pytest.mark.parametrize("option", ["add_bias_kv", "add_zero_attn"])
def test_from_torch_refuses(option):
    with pytest.raises(ValueError) as refusal:
        day18.from_torch(nn.MultiheadAttention(8, 2, **{option: True}))
        pytest.fail(f"{option}=True went through: a ValueError was due")
    assert option in str(refusal.value), f"which option? {str(refusal.value)!r}"


# prune_heads ---------------------------------------------------------------------------------


def silenced(module, heads):
    """``module`` with these heads' columns of out_proj zero: what the pruned one must equal."""
    module = copy.deepcopy(module)
    with torch.no_grad():
        for h in heads:
            module.out_proj.weight[:, h * module.head_dim : (h + 1) * module.head_dim] = 0
    return module


@exercise("prune_heads", ban=BAN)
@pytest.mark.parametrize("heads", [[0], [3], [1, 2], [2, 0, 1], []], ids=str)
@pytest.mark.parametrize("bias", [True, False])
def test_pruned_equals_silenced(heads, bias, device, rng):
    module = make(rng, device, 12, 4, kdim=5, vdim=7, bias=bias)
    q, k, v = inputs(rng, (2, 3, 6, 12, 4, 5, 7))
    before = copy.deepcopy(module.state_dict())
    small = day18.prune_heads(module, heads)
    left = 4 - len(heads)
    assert (small.heads, small.head_dim) == (left, 3), (
        f"{small.heads} heads of {small.head_dim} are left of 4 heads of 3 without {heads}"
    )
    wanted = {name: tuple(p.shape) for name, p in before.items()}
    for name in "qkv":
        wanted[f"{name}_proj.weight"] = (3 * left, before[f"{name}_proj.weight"].shape[1])
        if bias:
            wanted[f"{name}_proj.bias"] = (3 * left,)
    wanted["out_proj.weight"] = (12, 3 * left)
    found = {name: tuple(p.shape) for name, p in small.state_dict().items()}
    assert found == wanted, f"the parameters are {found}, expected were {wanted}"
    result, weights = small(q, k, v, need_weights=True)
    right, all_weights = silenced(module, heads)(q, k, v, need_weights=True)
    kept = [h for h in range(4) if h not in heads]
    same(weights, all_weights[:, kept].detach(), f"the weights of heads {kept}")
    same(result, right.detach(), f"the result without heads {heads}")
    for name, p in module.state_dict().items():
        assert torch.equal(p, before[name]), f"{name} of the given module has changed"
    with torch.no_grad():
        for p in small.parameters():
            p.zero_()
    for name, p in module.state_dict().items():
        assert torch.equal(p, before[name]), f"the result shares the memory of {name}"


@exercise("prune_heads", ban=BAN)
def test_prune_twice_and_any_iterable(device, rng):
    module = make(rng, device, 12, 4)
    x = rng.normal(2, 5, 12, dtype=WIDE)
    wanted = silenced(module, [1, 3])(x).detach()
    for heads in ((3, 1), {1, 3}, iter([1, 3]), [1, 3, 1]):
        same(day18.prune_heads(module, heads)(x), wanted, "the result without heads 1 and 3")
    twice = day18.prune_heads(day18.prune_heads(module, [1]), [2])
    same(twice(x), wanted, "without head 1, then without head 2 of those left")


@exercise("prune_heads")
def test_prune_keeps_the_rest(device, rng):
    for training in (True, False):
        for dtype in (torch.float32, torch.bfloat16):
            module = make(rng, device, 8, 4, dtype, dropout=0.25).train(training)
            small = day18.prune_heads(module, [0])
            assert small.dropout == 0.25, f"dropout is {small.dropout}, it was 0.25"
            assert small.training == training, f"training is {small.training}, it was {training}"
            for name, p in small.named_parameters():
                assert p.dtype == dtype, f"{name} is {p.dtype}, it was {dtype}"
                assert p.device == module.out_proj.weight.device, f"{name} is on {p.device}"
                assert p.requires_grad, f"{name} does not learn"


@exercise("prune_heads")
@pytest.mark.parametrize(
    "heads, named", [([4], 4), ([0, 7], 7), ([-1], -1), ([0, 1, 2, 3], 4)], ids=str
)
def test_prune_refuses(heads, named, device):
    module = day18.MultiHeadAttention(8, 4)
    with pytest.raises(ValueError) as refusal:
        day18.prune_heads(module, heads)
        pytest.fail(f"removing {heads} of 4 heads went through: a ValueError was due")
    assert str(named) in str(refusal.value), f"which number? {str(refusal.value)!r}"


# What compiles, last: it takes the longest -------------------------------------------------


@exercise("MultiHeadAttention", seconds=60)  # no ban: its watching cannot be compiled
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_compiles_without_a_graph_break(dtype, device, rng):
    module = make(rng, device, 8, 2, dtype)
    compiled = torch.compile(module, backend="aot_eager", fullgraph=True, dynamic=False)
    q, k = rng.normal(2, 3, 8, dtype=dtype), rng.normal(2, 5, 8, dtype=dtype)
    mask = rng.boolean(2, 1, 1, 5, p=0.7)
    options = {"mask": mask, "causal": True, "need_weights": dtype == torch.float32}
    results = []
    for f in (module, compiled):
        module.zero_grad()
        out = f(q, k, **options)
        out = out[0] if options["need_weights"] else out
        out.float().square().sum().backward()
        results.append([out.detach(), *(p.grad for p in module.parameters())])
    limit = 0.05 if dtype == torch.bfloat16 else 1e-4
    for what, part in (("result is", slice(1)), ("gradients are", slice(1, None))):
        # All gradients in one: that of k_proj.bias is nothing but rounding.
        wanted, got = (torch.cat([x.double().flatten() for x in r[part]]) for r in results)
        error = ((got - wanted).norm() / wanted.norm()).item()
        assert error < limit, f"compiled, the {what} off by {error:.2g} of their length"
