"""Day 28: two forms that are one, a cache that is measured, and transformers' attention."""

import math
from functools import cache, partial

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from harness.testing import (
    close,
    exercise,
    in_float64,
    layouts,
    random_weights,
    refused,
    same_compiled,
    shapes,
    watch,
)
from tracks.pytorch import day28
from tracks.pytorch.day27 import DEEPSEEK_V2, MLAConfig

BAN = ["scaled_dot_product_attention", "multi_head_attention_forward", "rms_norm"]
WIDE = torch.float64
DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]
FORMS = pytest.mark.parametrize("absorbed", [False, True], ids=["expanded", "absorbed"])

YARN = {
    "type": "yarn",
    "factor": 40,
    "original_max_position_embeddings": 4096,
    "beta_fast": 32,
    "beta_slow": 1,
    "mscale": 0.707,
    "mscale_all_dim": 0.707,
}


def config(**changes):
    sizes = {
        "hidden_size": 12,
        "num_attention_heads": 3,
        "q_lora_rank": 7,
        "kv_lora_rank": 10,
        "qk_nope_head_dim": 6,
        "qk_rope_head_dim": 8,
        "v_head_dim": 5,
        "max_position_embeddings": 163_840,
    }
    return MLAConfig(**(sizes | changes))


CONFIGS = {
    "q latent": config(),
    "no q latent": config(q_lora_rank=None),
    "biases, half-split": config(attention_bias=True, rope_interleave=False, rms_norm_eps=0.1),
    "one head": config(num_attention_heads=1, qk_rope_head_dim=2, v_head_dim=9),
}
EACH = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)


def same(got, wanted, name, dtype=WIDE):
    close(got, wanted.detach(), dtype=dtype, terms=1024, scale=64.0, name=name)


def make(rng, device, sizes, dtype=WIDE):
    return random_weights(day28.MultiHeadLatentAttention(sizes).to(device, dtype), rng).eval()


def room(sizes, batch, capacity, device, dtype=WIDE):
    return day28.LatentCache(
        batch, capacity, sizes.kv_lora_rank, sizes.qk_rope_head_dim, dtype=dtype, device=device
    )


# LatentCache ---------------------------------------------------------------------------------


def held(holder):
    """The memories behind an object's tensors: address → bytes."""
    parts, found = list(vars(holder).values()), {}
    while parts:
        part = parts.pop()
        if isinstance(part, torch.Tensor):
            memory = part.untyped_storage()
            found[memory.data_ptr()] = memory.nbytes()
        elif isinstance(part, dict):
            parts += part.values()
        elif isinstance(part, (list, tuple)):
            parts += part
    return found


@exercise("LatentCache")
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_cache_is_as_large_as_said(dtype, device):
    for batch, capacity, c, r in ((2, 5, 4, 3), (1, 300, 512, 64)):
        cache, seen = watch(
            day28.LatentCache, batch, capacity, c, r, dtype=dtype, device=device, of="torch"
        )
        for name, x, last in (("latents", cache.latents, c), ("k_rope", cache.k_rope, r)):
            found = (tuple(x.shape), x.dtype, x.device.type)
            assert found == ((batch, capacity, last), dtype, device.type), f"{name} is {found}"
            assert not x.any(), f"{name} is not zero at first"
        due = batch * capacity * (c + r) * dtype.itemsize
        memory = sum(held(cache).values())
        assert memory == due, f"{memory:,} bytes are held, and {due:,} belong to so many tokens"
        assert cache.nbytes == due, f"nbytes is {cache.nbytes}, {due} bytes are there"
        assert seen.live_bytes < 1.05 * due + 1024, f"making it left {seen.live_bytes:,} bytes"
        assert cache.length == 0, f"nothing is in the cache, and its length is {cache.length}"
    assert day28.LatentCache(1, 1, 1, 1).latents.dtype == torch.float32, "the default dtype"
    cache = day28.LatentCache(2, 5, 4, 3, device="meta")
    found = {cache.latents.device.type, cache.k_rope.device.type}
    assert found == {"meta"}, f"device='meta' makes tensors on {found}"


@exercise("LatentCache")
@shapes("batch, c, r", (2, 4, 3), (1, 1, 1), (0, 2, 3))
def test_cache_keeps_what_comes(batch, c, r, device, rng):
    cache = day28.LatentCache(batch, 10, c, r, device=device)  # as many as come
    before, latents, keys = cache.nbytes, [], []
    for new in (3, 1, 0, 5, 1):
        latents.append(rng.normal(batch, new, c))
        keys.append(rng.normal(batch, new, r))
        got = cache.append(latents[-1], keys[-1])
        what = f"after appending {[x.shape[1] for x in latents]}"
        close(got[0], torch.cat(latents, 1), name=f"{what}: latents")
        close(got[1], torch.cat(keys, 1), name=f"{what}: k_rope")
        assert cache.length == got[0].shape[1], f"{what}: length is {cache.length}"
    if batch:
        same_memory = (
            got[0].data_ptr() == cache.latents.data_ptr(),
            got[1].data_ptr() == cache.k_rope.data_ptr(),
        )
        assert all(same_memory), "what append returns is a copy"
    assert cache.nbytes == before, f"nbytes was {before}, and after appending is {cache.nbytes}"
    assert sum(held(cache).values()) == before, "the cache has grown"


@exercise("LatentCache")
def test_cache_takes_any_strides(device, rng):
    latent, key = rng.normal(2, 4, 5), rng.normal(2, 4, 3)
    for (layout, one), (_, other) in zip(layouts(latent), layouts(key), strict=True):
        got = day28.LatentCache(2, 6, 5, 3, device=device).append(one, other)
        close(got[0], latent, name=f"latents, {layout}")
        close(got[1], key, name=f"k_rope, {layout}")


@exercise("LatentCache")
def test_cache_allocates_nothing(device, rng):
    cache = day28.LatentCache(2, 4096, 16, 8, device=device)
    cache.append(rng.normal(2, 4000, 16), rng.normal(2, 4000, 8))
    _, seen = watch(cache.append, rng.normal(2, 2, 16), rng.normal(2, 2, 8))
    assert seen.peak_bytes <= 4096, (
        f"appending 2 positions behind 4000 takes {seen.peak_bytes:,} bytes"
    )


@exercise("LatentCache")
def test_cache_keeps_no_graph(device, rng):
    cache = day28.LatentCache(1, 4, 3, 2, device=device)
    latent, key = (rng.normal(1, 2, n).clone().requires_grad_() for n in (3, 2))
    got = cache.append(latent * 2, key * 3)
    for name, x in (("latents", cache.latents), ("k_rope", cache.k_rope), ("a result", got[0])):
        assert not x.requires_grad, f"{name} of the cache requires a gradient: it keeps the graph"


@exercise("LatentCache")
def test_cache_rewinds(device, rng):
    cache = day28.LatentCache(2, 6, 4, 3, device=device)
    latent, key = rng.normal(2, 5, 4), rng.normal(2, 5, 3)
    cache.append(latent, key)
    before = cache.latents.clone(), cache.k_rope.clone()
    for length in (5, 3, 3):
        cache.rewind(length)
        assert cache.length == length, f"after rewind({length}) the length is {cache.length}"
        for x, was in zip((cache.latents, cache.k_rope), before, strict=True):
            assert torch.equal(x, was), f"rewind({length}) has changed the numbers in a tensor"
    more = rng.normal(2, 2, 4), rng.normal(2, 2, 3)
    got = cache.append(*more)
    close(got[0], torch.cat([latent[:, :3], more[0]], 1), name="latents, 2 of 5 taken back")
    close(got[1], torch.cat([key[:, :3], more[1]], 1), name="k_rope, 2 of 5 taken back")
    for wrong in (6, -1):
        refused(cache.rewind, wrong, what=f"rewind({wrong}) of 5", names=[wrong, 5])
    cache.rewind(0)
    close(cache.append(latent, key)[0], latent, name="latents, begun again")


@exercise("LatentCache")
def test_cache_refuses(device, rng):
    cache = day28.LatentCache(2, 5, 4, 3, device=device)
    latent, key = rng.normal(2, 2, 4), rng.normal(2, 2, 3)
    cache.append(latent, key)
    before = cache.latents.clone(), cache.k_rope.clone()
    refused(
        cache.append,
        rng.normal(2, 4, 4),
        rng.normal(2, 4, 3),
        what="2 and 4 positions, capacity 5",
        names=[6, 5],
    )
    for name, bad in (
        ("latent", rng.normal(1, 2, 4)),
        ("latent", rng.normal(2, 2, 1)),
        ("latent", rng.normal(2, 2)),
        ("latent", latent.double()),
        ("k_rope", rng.normal(2, 2, 4)),
        ("k_rope", rng.normal(1, 2, 3)),
        ("k_rope", key.double()),
    ):
        given = (bad, key) if name == "latent" else (latent, bad)
        refused(
            cache.append,
            *given,
            what=f"{name} {tuple(bad.shape)}, {bad.dtype}, in a cache (2, 5, 4) and (2, 5, 3)",
            names=[name, tuple(bad.shape), bad.dtype],
        )
    one = rng.normal(2, 1, 3)
    refused(
        cache.append,
        latent,
        one,
        what="2 latents and 1 k_rope",
        names=[tuple(latent.shape), tuple(one.shape)],
    )
    unchanged = torch.equal(cache.latents, before[0]) and torch.equal(cache.k_rope, before[1])
    assert unchanged and cache.length == 2, "an append that was refused has changed the cache"


# mla_mix -------------------------------------------------------------------------------------


def refused_in_words(f, *args, what, names):
    """``refused``; an error that torch itself raises is told as what it is: no check."""
    try:
        refused(f, *args, what=what, names=names)
    except NotImplementedError:
        raise
    except RuntimeError as error:
        pytest.fail(f"{what}: a ValueError was due, and torch's own error came: {error}")


def mixed_by_hand(scores, v, mask=None):
    """Row by row; a row that sees nothing is zero."""
    hidden = torch.zeros(scores.shape, dtype=scores.dtype, device=scores.device)
    if mask is not None and mask.dtype == torch.bool:
        hidden = hidden.masked_fill(~mask, -math.inf)
    elif mask is not None:
        hidden = hidden + mask
    e = (scores + hidden).exp()
    total = e.sum(-1, keepdim=True)
    weights = e / torch.where(total == 0, 1.0, total)
    return torch.stack(
        [weights[..., h, :, :] @ v[..., h if v.shape[-3] > 1 else 0, :, :]
         for h in range(scores.shape[-3])], -3)  # fmt: skip


def masks(rng, device, batch, heads, queries, keys):
    sees = rng.uniform(batch, 1, queries, keys) > 0.4
    sees[0, 0, 0] = False  # a query without a key
    own = rng.normal(heads, queries, keys, dtype=WIDE).clone()
    own[0, -1] = -math.inf
    return {
        "no mask": None,
        "a bool mask": sees,
        "a bool mask (keys,)": rng.uniform(keys) > 0.5,
        "a float mask": own,
        "a float32 mask": own.float(),
        "a mask that hides all": torch.zeros(queries, keys, dtype=torch.bool, device=device),
    }


@exercise("mla_mix", ban=BAN)
@pytest.mark.parametrize("kv_heads", [3, 1], ids=["own values", "shared values"])
def test_mix(kv_heads, device, rng):
    scores = rng.normal(2, 3, 4, 5, dtype=WIDE, std=3.0)
    v = rng.normal(2, kv_heads, 5, 6, dtype=WIDE)
    for name, mask in masks(rng, device, 2, 3, 4, 5).items():
        same(day28.mla_mix(scores, v, mask), mixed_by_hand(scores, v, mask), f"mixture, {name}")
    for layout, view in layouts(scores):
        same(day28.mla_mix(view, v), mixed_by_hand(scores, v), f"mixture, {layout} scores")
    for layout, view in layouts(v):
        same(day28.mla_mix(scores, view), mixed_by_hand(scores, v), f"mixture, {layout} v")


@exercise("mla_mix", ban=BAN)
@shapes(
    "leading, queries, keys", ((), 3, 5), ((2, 3), 1, 4), ((0,), 2, 2), ((2,), 0, 3), ((2,), 3, 0)
)
def test_mix_of_other_shapes(leading, queries, keys, device, rng):
    for kv_heads in (3, 1):
        scores = rng.normal(*leading, 3, queries, keys, dtype=WIDE)
        v = rng.normal(*leading, kv_heads, keys, 6, dtype=WIDE)
        same(day28.mla_mix(scores, v), mixed_by_hand(scores, v), f"v {tuple(v.shape)}")
        mask = torch.ones(queries, keys, dtype=torch.bool, device=device)
        same(day28.mla_mix(scores, v, mask), mixed_by_hand(scores, v), f"v {tuple(v.shape)}, mask")


@exercise("mla_mix", ban=BAN)
@pytest.mark.parametrize("dtype", DTYPES[1:], ids=str)
def test_mix_in_other_dtypes(dtype, device, rng):
    scores = rng.normal(2, 3, 4, 50, std=3.0)
    for kv_heads in (3, 1):
        v = rng.normal(2, kv_heads, 50, 6, dtype=dtype)
        got = day28.mla_mix(scores, v)
        assert got.dtype == dtype, f"v is {dtype}, the result {got.dtype}"
        wanted = mixed_by_hand(scores.double(), v.double())
        limit = {torch.float32: 1e-5, torch.float16: 0.01}.get(dtype, 0.05)
        error = (got.double() - wanted).abs().max().item()
        assert error < limit, f"the mixture of {dtype} values is off by {error:.2g}"


@exercise("mla_mix", ban=BAN)
def test_rows_without_a_key_have_no_gradient(device, rng):
    scores = rng.normal(1, 2, 3, 4, dtype=WIDE).clone().requires_grad_()
    v = rng.normal(1, 1, 4, 5, dtype=WIDE).clone().requires_grad_()
    sees = torch.ones(3, 4, dtype=torch.bool, device=device)
    sees[1] = False
    added = torch.zeros(3, 4, dtype=WIDE, device=device).masked_fill(~sees, -math.inf)
    for name, mask in (("a bool mask", sees), ("a float mask", added)):
        grads = torch.autograd.grad(day28.mla_mix(scores, v, mask).square().sum(), [scores, v])
        for what, grad in zip(("scores", "v"), grads, strict=True):
            assert grad.isfinite().all(), f"{name}: the gradient of {what} is not finite"
        assert not grads[0][:, :, 1].any(), f"{name}: a row without a key has a gradient"


@exercise("mla_mix", ban=BAN)
@pytest.mark.parametrize("kv_heads", [3, 1], ids=["own values", "shared values"])
def test_mix_gradients(kv_heads, device, rng):
    scores = rng.normal(2, 3, 4, 5, dtype=WIDE, std=3.0).clone().requires_grad_()
    v = rng.normal(2, kv_heads, 5, 6, dtype=WIDE).clone().requires_grad_()
    probe = rng.normal(2, 3, 4, 6, dtype=WIDE)
    for name, mask in masks(rng, device, 2, 3, 4, 5).items():
        mixed = day28.mla_mix(scores, v, mask)
        assert mixed.requires_grad, f"{name}: no gradient flows back from the result"
        got, due = (
            torch.autograd.grad(x, [scores, v], probe, allow_unused=True, materialize_grads=True)
            for x in (mixed, mixed_by_hand(scores, v, mask))
        )
        for what, one, other in zip(("scores", "v"), got, due, strict=True):
            same(one, other, f"gradient of {what}, {name}")


@exercise("mla_mix", ban=BAN)
def test_mix_changes_no_input(device, rng):
    """As many queries as keys as features: the result would fit into an input."""
    scores, v = rng.normal(2, 3, 5, 5, dtype=WIDE), rng.normal(2, 3, 5, 5, dtype=WIDE)
    full = rng.normal(2, 3, 5, 5, dtype=WIDE)
    for kind, mask in (("no", None), ("a float", full), ("a bool", full > 0)):
        inputs = {"scores": scores, "v": v} | ({} if mask is None else {"mask": mask})
        given = {name: x.clone() for name, x in inputs.items()}
        got = day28.mla_mix(*given.values())
        for name, x in given.items():
            assert torch.equal(x, inputs[name]), f"with {kind} mask {name} was changed"
        same(got, mixed_by_hand(*inputs.values()), f"mixture with {kind} mask")


@exercise("mla_mix", ban=BAN)
def test_mix_copies_no_values(device, rng):
    for kv_heads in (16, 1):
        scores, v = rng.normal(2, 16, 1, 2048), rng.normal(2, kv_heads, 2048, 128)
        mask = torch.ones(1, 2048, dtype=torch.bool, device=device)
        for given in (None, mask):
            day28.mla_mix(scores, v, given)
            _, seen = watch(day28.mla_mix, scores, v, given)
            limit = 2 * 2048 * 128 * 4
            assert seen.peak_bytes < limit, (
                f"{seen.peak_bytes:,} bytes at the peak with {kv_heads} heads of values: those of "
                f"one head have {limit:,}"
            )


@exercise("mla_mix", ban=BAN)
def test_mix_without_a_loop(device, rng):
    for shared in (True, False):
        seen = []
        for batch, heads in ((1, 2), (4, 12)):
            scores = rng.normal(batch, heads, 3, 5)
            v = rng.normal(batch, 1 if shared else heads, 5, 6)
            seen.append(len(watch(day28.mla_mix, scores, v)[1].operators))
        assert seen[0] == seen[1], f"operators for 2 heads, and for 4 times 12: {seen}"


@exercise("mla_mix", ban=BAN)
def test_mix_refuses(device, rng):
    scores, v = rng.normal(2, 3, 4, 5), rng.normal(2, 3, 5, 6)
    for shape in ((4, 4), (2, 4, 5), (2, 3, 5, 5), (1, 2, 3, 4, 5)):
        mask = torch.ones(shape, dtype=torch.bool, device=device)
        refused_in_words(
            day28.mla_mix,
            scores,
            v,
            mask,
            what=f"a mask {shape} for scores (2, 3, 4, 5)",
            names=["mask", shape, (2, 3, 4, 5)],
        )
    for shape in ((2, 2, 5, 6), (2, 6, 5, 6), (2, 3, 4, 6), (2, 1, 1, 6)):
        refused_in_words(
            day28.mla_mix,
            scores,
            rng.normal(*shape),
            what=f"v {shape} for scores (2, 3, 4, 5)",
            names=[shape, (2, 3, 4, 5)],
        )


@exercise("mla_mix")
def test_mix_compiled(device, rng):
    mask = rng.uniform(4, 5) > 0.4
    given = [x.clone().requires_grad_() for x in (rng.normal(2, 3, 4, 5), rng.normal(2, 1, 5, 6))]
    same_compiled(lambda *x: day28.mla_mix(*x, mask), given, given, "mla_mix")


# absorb --------------------------------------------------------------------------------------


@exercise("absorb")
@EACH
def test_absorb(config, device, rng):
    attention = make(rng, device, config)
    heads, d, e = config.num_attention_heads, config.qk_nope_head_dim, config.v_head_dim
    keys, values = day28.absorb(attention)
    rows = attention.kv_b_proj.weight.detach().split(d + e)
    assert keys.shape == (heads, d, 10), f"keys are {tuple(keys.shape)}"
    assert values.shape == (heads, e, 10), f"values are {tuple(values.shape)}"
    for h in range(heads):
        close(keys[h], rows[h][:d], name=f"keys of head {h}")
        close(values[h], rows[h][d:], name=f"values of head {h}")


@exercise("absorb")
def test_absorb_makes_views(device, rng):
    attention = make(rng, device, config())
    memory = attention.kv_b_proj.weight.untyped_storage().data_ptr()
    made = day28.absorb(attention)
    for name, x in zip(("keys", "values"), made, strict=True):
        assert x.untyped_storage().data_ptr() == memory, f"{name} is a copy of the weight"
    (made[0].sum() + 2 * made[1].sum()).backward()
    grad = attention.kv_b_proj.weight.grad
    assert grad is not None, "no gradient reaches kv_b_proj"
    wanted = torch.tensor([1.0] * 6 + [2.0] * 5, dtype=WIDE, device=device).repeat(3)
    close(grad, wanted[:, None].expand(33, 10), name="gradient of kv_b_proj.weight")


# attention_flops -----------------------------------------------------------------------------


@exercise("attention_flops")
@EACH
@FORMS
@shapes("queries, keys", (1, 1), (1, 50), (7, 7), (3, 20), (0, 4))
def test_flops_are_those_of_the_products(config, absorbed, queries, keys):
    h, c = config.num_attention_heads, config.kv_lora_rank
    d, r, e = config.qk_nope_head_dim, config.qk_rope_head_dim, config.v_head_dim
    if absorbed:
        products = [(h, queries, d, c), (h, queries, c, keys), (h, queries, r, keys),
                    (h, queries, keys, c), (h, queries, c, e)]  # fmt: skip
    else:
        products = [(1, keys, c, h * (d + e)), (h, queries, d, keys), (h, queries, r, keys),
                    (h, queries, keys, e)]  # fmt: skip
    with FlopCounterMode(display=False) as counter:
        for n, i, j, k in products:
            torch.empty(n, i, j, device="meta") @ torch.empty(n, j, k, device="meta")
    got = day28.attention_flops(config, queries, keys, absorbed)
    wanted = counter.get_total_flops()
    assert got == wanted, (
        f"{queries} new tokens, {keys} in view: {got} was said, {wanted} are counted"
    )
    assert type(got) is int, f"{got} is a {type(got).__name__}"


@exercise("attention_flops")
def test_flops_are_arithmetic():
    for absorbed in (True, False):
        _, seen = watch(day28.attention_flops, DEEPSEEK_V2, 1, 4096, absorbed)
        assert not seen.operators, f"it is arithmetic, but {seen.operators[0]} was called"


# MultiHeadLatentAttention --------------------------------------------------------------------


@exercise("MultiHeadLatentAttention")
@EACH
def test_parts(config, device):
    attention = day28.MultiHeadLatentAttention(config).to(device)
    heads, bias = config.num_attention_heads, config.attention_bias
    made = heads * (6 + config.qk_rope_head_dim)
    wanted = {
        "kv_a_proj_with_mqa.weight": (10 + config.qk_rope_head_dim, 12),
        "kv_a_layernorm.weight": (10,),
        "kv_b_proj.weight": (heads * (6 + config.v_head_dim), 10),
        "o_proj.weight": (12, heads * config.v_head_dim),
    }
    if config.q_lora_rank is None:
        wanted["q_proj.weight"] = (made, 12)
    else:
        wanted |= {"q_a_proj.weight": (7, 12), "q_a_layernorm.weight": (7,),
                   "q_b_proj.weight": (made, 7)}  # fmt: skip
    if bias:
        wanted |= {"kv_a_proj_with_mqa.bias": (10 + config.qk_rope_head_dim,), "o_proj.bias": (12,)}
        if config.q_lora_rank is not None:
            wanted["q_a_proj.bias"] = (7,)
    found = {name: tuple(p.shape) for name, p in attention.state_dict().items()}
    for name in sorted(wanted.keys() | found.keys()):
        assert found.get(name) == wanted.get(name), (
            f"{name} is {found.get(name, 'missing')}, in the published models "
            f"{wanted.get(name, 'not there')}"
        )
    assert attention.config is config, "config is not an attribute"
    frozen = [name for name, p in attention.named_parameters() if not p.requires_grad]
    assert not frozen, f"these do not require a gradient: {frozen}"


def normed(x, weight):
    return x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt() * weight


def turned(x, positions, config):
    """RoPE pair by pair; positions have the shape of x without its last axis."""
    r, out = config.qk_rope_head_dim, torch.empty_like(x)
    for i in range(r // 2):
        a, b = (2 * i, 2 * i + 1) if config.rope_interleave else (i, i + r // 2)
        angle = positions * config.rope_theta ** (-2 * i / r)
        out[..., a] = x[..., a] * angle.cos() - x[..., b] * angle.sin()
        out[..., b] = x[..., a] * angle.sin() + x[..., b] * angle.cos()
    return out


def plain(attention, x, positions=None, mask=None):
    """The whole text at once, head by head, in float64; every row sees a key, or its result is
    that of zeros."""
    config, p = attention.config, {k: v.double() for k, v in attention.state_dict().items()}
    x, length = x.double(), x.shape[-2]

    def through(y, name):
        return y @ p[f"{name}.weight"].mT + p.get(f"{name}.bias", 0.0)

    if positions is None:
        positions = torch.arange(length, device=x.device)
    at = positions.double().expand(x.shape[:-1])
    if config.q_lora_rank is None:
        q = through(x, "q_proj")
    else:
        q = through(normed(through(x, "q_a_proj"), p["q_a_layernorm.weight"]), "q_b_proj")
    c, k_rope = through(x, "kv_a_proj_with_mqa").split([10, config.qk_rope_head_dim], -1)
    kv = through(normed(c, p["kv_a_layernorm.weight"]), "kv_b_proj")
    k_rope = turned(k_rope, at, config)
    ahead = torch.ones(length, length, device=x.device).triu(1).bool()
    heads = config.num_attention_heads
    hidden = torch.zeros(x.shape[0], heads, length, length, dtype=WIDE, device=x.device)
    if mask is not None and mask.dtype == torch.bool:
        hidden = hidden.masked_fill(~mask, -math.inf)
    elif mask is not None:
        hidden = hidden + mask
    hidden = hidden.masked_fill(ahead, -math.inf)
    results = []
    for h in range(heads):
        q_nope, q_rope = q.chunk(heads, -1)[h].split([6, config.qk_rope_head_dim], -1)
        k_nope, v = kv.chunk(heads, -1)[h].split([6, config.v_head_dim], -1)
        dots = q_nope @ k_nope.mT + turned(q_rope, at, config) @ k_rope.mT
        scores = dots / math.sqrt(6 + config.qk_rope_head_dim) + hidden[:, h]
        weights = scores.softmax(-1).nan_to_num(0.0)
        results.append(weights @ v)
    return through(torch.cat(results, -1), "o_proj")


@exercise("MultiHeadLatentAttention", ban=BAN)
@EACH
@FORMS
def test_against_the_formulas(config, absorbed, device, rng):
    attention = make(rng, device, config)
    for shape in ((2, 6), (1, 1), (0, 3), (2, 0)):
        x = rng.normal(*shape, 12, dtype=WIDE)
        got = attention(x, absorbed=absorbed)
        same(got, plain(attention, x), f"result for x {tuple(x.shape)}")
    x = rng.normal(2, 5, 12, dtype=WIDE)
    for layout, view in layouts(x):
        got = attention(view, absorbed=absorbed)
        same(got, plain(attention, x), f"result for a {layout} x")


@exercise("MultiHeadLatentAttention", ban=BAN)
@FORMS
def test_masks_and_positions(absorbed, device, rng):
    attention = make(rng, device, config())
    x = rng.normal(2, 5, 12, dtype=WIDE)
    real = torch.tensor([[0, 0, 1, 1, 1], [1, 1, 1, 1, 1]], device=device).bool()
    at = torch.tensor([[0, 0, 0, 1, 2], [100, 101, 102, 109, 5000]], device=device)
    added = rng.normal(2, 3, 5, 5, dtype=WIDE)
    for name, positions, mask in (
        ("padding on the left", at, real[:, None, None]),
        ("positions (new,)", at[1], None),
        ("a float mask of every head", None, added),
        ("a mask that hides a row", None, torch.ones(5, 5, device=device).tril(-1).bool()),
    ):
        got = attention(x, positions, mask, absorbed=absorbed)
        same(got, plain(attention, x, positions, mask), name)


@exercise("MultiHeadLatentAttention", ban=BAN)
@pytest.mark.parametrize("cuts", [(1,) * 7, (3, 1, 3), (2, 5)], ids=str)
@pytest.mark.parametrize("form", ["expanded", "absorbed", "by turns"])
def test_cached_is_uncached(cuts, form, device, rng):
    sizes = config(rope_scaling=YARN if cuts[0] == 3 else None)
    attention = make(rng, device, sizes)
    x, cache = rng.normal(2, 7, 12, dtype=WIDE), room(sizes, 2, 9, device)
    parts = []
    for i, part in enumerate(x.split(cuts, 1)):
        absorbed = {"expanded": False, "absorbed": True}.get(form, i % 2 == 0)
        parts.append(attention(part, cache=cache, absorbed=absorbed))
        done = sum(cuts[: i + 1])
        assert cache.length == done, f"after {done} tokens the cache holds {cache.length}"
    same(torch.cat(parts, 1), attention(x), f"{form}, in pieces of {cuts}")


@exercise("MultiHeadLatentAttention", ban=BAN)
@FORMS
def test_masks_and_positions_with_a_cache(absorbed, device, rng):
    attention = make(rng, device, config())
    x, cache = rng.normal(2, 6, 12, dtype=WIDE), room(config(), 2, 6, device)
    real = torch.tensor([[0, 0, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1]], device=device).bool()
    mask = real[:, None, None]
    at = (real.cumsum(-1) - 1).clamp(min=0)
    wanted = plain(attention, x, at, mask)
    for first, last in ((0, 3), (3, 4), (4, 6)):
        got = attention(x[:, first:last], at[:, first:last], mask[..., :last], cache, absorbed)
        same(got, wanted[:, first:last], f"tokens {first} to {last - 1}, padded on the left")
    cache.rewind(2)
    got = attention(x[:, 2:], at[:, 2:], mask, cache, absorbed)
    same(got, wanted[:, 2:], "four tokens taken back and written again")


@exercise("MultiHeadLatentAttention", ban=BAN)
@FORMS
@torch.no_grad()
def test_the_form_is_the_one_asked_for(absorbed, device, rng):
    """Also without a cache, for many new tokens, and where the other form would be cheaper."""
    sizes = config()
    attention = make(rng, device, sizes)
    h, c, d, r, e = 3, 10, 6, 8, 5
    weights = sum(p.numel() for p in attention.parameters() if p.dim() == 2)
    weights -= attention.kv_b_proj.weight.numel()
    forms = ("expanded", "absorbed")
    for new, past in ((5, None), (1, 85), (16, 24), (40, 360)):
        cache, keys = None, new
        if past is not None:
            cache, keys = room(sizes, 1, past + new, device), past + new
            cache.append(rng.normal(1, past, c, dtype=WIDE), rng.normal(1, past, r, dtype=WIDE))
        with FlopCounterMode(display=False) as counter:
            attention(rng.normal(1, new, 12, dtype=WIDE), cache=cache, absorbed=absorbed)
        each = (
            2 * h * keys * (c * (d + e) + new * (d + r + e)),
            2 * h * new * (c * (d + e) + keys * (c + r + c)),
        )
        # What all products take that are in both forms: those of the projections and o_proj.
        got = counter.get_total_flops() - 2 * new * weights
        where = "without a cache" if past is None else f"behind {past}"
        assert got != each[not absorbed], (
            f"absorbed={absorbed}, {new} new tokens {where}: the {got:,} FLOPs are those of the "
            f"{forms[not absorbed]} form; the {forms[absorbed]} one has {each[absorbed]:,}"
        )


@exercise("MultiHeadLatentAttention", ban=BAN)
def test_what_is_kept(device, rng):
    """The latent after its norm and the key after its rotation, at the tokens' positions."""
    sizes = config()
    attention, cache = make(rng, device, sizes), room(sizes, 2, 8, device)
    own = {memory for module in attention.modules() for memory in held(module)}
    x = rng.normal(2, 5, 12, dtype=WIDE)
    with torch.no_grad():
        for part in (x[:, :4], x[:, 4:]):
            _, seen = watch(attention, part, cache=cache, absorbed=True)
        both = attention.kv_a_proj_with_mqa(x)
    at = torch.arange(5, device=device).double().expand(2, 5)
    weight = attention.kv_a_layernorm.weight
    same(cache.latents[:, :5], normed(both[..., :10], weight), "latents in the cache")
    same(cache.k_rope[:, :5], turned(both[..., 10:], at, sizes), "rope keys in the cache")
    due = 2 * 8 * 18 * 8
    memory = sum(held(cache).values())
    assert memory == due, f"the cache holds {memory} bytes after two calls, not {due}"
    assert cache.nbytes == due, f"nbytes is {cache.nbytes} after two calls, and {due} are there"
    assert seen.live_bytes <= 2 * 12 * 8 + 512, (
        f"a step leaves {seen.live_bytes} bytes beside the cache: its result has {2 * 12 * 8}"
    )
    assert not list(attention.buffers()), "the module has buffers"
    for name, module in attention.named_modules():
        kept = sum(n for memory, n in held(module).items() if memory not in own)
        assert not kept, (
            f"after two calls {name or 'the module'} keeps tensors of {kept} bytes that it did not "
            "have before: tokens belong into the cache alone"
        )


@exercise("MultiHeadLatentAttention", ban=BAN)
def test_both_forms_to_1e_9(device, rng):
    """Sizes and a length at which errors add up."""
    sizes = config(
        hidden_size=64, num_attention_heads=8, q_lora_rank=24, kv_lora_rank=48,
        qk_nope_head_dim=16, qk_rope_head_dim=8, v_head_dim=20, rope_scaling=YARN,
    )  # fmt: skip
    attention = random_weights(
        day28.MultiHeadLatentAttention(sizes).to(device, WIDE), rng, std=10.0
    )
    x = rng.normal(2, 70, 64, dtype=WIDE)
    with torch.no_grad():
        naive, absorbed = attention(x), attention(x, absorbed=True)
    error = ((naive - absorbed).abs().max() / naive.abs().max()).item()
    assert error < 1e-9, f"the two forms are {error:.2g} apart, as a share of the largest result"


@exercise("MultiHeadLatentAttention", ban=BAN)
def test_gradients_in_both_forms(device, rng):
    for sizes in (config(), config(q_lora_rank=None, attention_bias=True)):
        attention = make(rng, device, sizes)
        x, outputs = rng.normal(2, 5, 12, dtype=WIDE), rng.normal(2, 5, 12, dtype=WIDE)
        grads = []
        for absorbed in (False, True):
            y = x.clone().requires_grad_()
            total = (attention(y, absorbed=absorbed) * outputs).sum()
            grads.append(torch.autograd.grad(total, [y, *attention.parameters()]))
        names = ["x", *(name for name, _ in attention.named_parameters())]
        for name, one, other in zip(names, *grads, strict=True):
            same(other, one, f"gradient of {name}, absorbed against expanded")
            assert one.any(), f"no gradient reaches {name}"


LONG = {
    "hidden_size": 32,
    "num_attention_heads": 16,
    "q_lora_rank": None,
    "kv_lora_rank": 32,
    "qk_nope_head_dim": 32,
    "qk_rope_head_dim": 8,
    "v_head_dim": 32,
}


@exercise("MultiHeadLatentAttention", ban=BAN)
@torch.no_grad()
def test_absorbed_makes_no_heads(device, rng):
    sizes = MLAConfig(**LONG)
    attention = make(rng, device, sizes, torch.float32)
    cache = room(sizes, 4, 2060, device, torch.float32)
    cache.append(rng.normal(4, 2048, 32), rng.normal(4, 2048, 8))
    x = rng.normal(4, 1, 32)
    attention(x, cache=cache, absorbed=True)
    _, seen = watch(attention, x, cache=cache, absorbed=True)
    keys = 4 * 16 * 2048 * 32 * 4
    assert seen.peak_bytes < keys // 2, (
        f"one token behind 2,048 takes {seen.peak_bytes:,} bytes: all heads' keys have {keys:,}, "
        "and none of them is needed"
    )


@exercise("MultiHeadLatentAttention", ban=BAN)
@torch.no_grad()
def test_weights_are_not_copied(device, rng):
    sizes = MLAConfig(**(LONG | {"kv_lora_rank": 64}))
    attention = make(rng, device, sizes, torch.float32)
    cache = room(sizes, 64, 8, device, torch.float32)
    cache.append(rng.normal(64, 4, 64), rng.normal(64, 4, 8))
    x = rng.normal(64, 1, 32)
    attention(x, cache=cache, absorbed=True)
    _, seen = watch(attention, x, cache=cache, absorbed=True)
    weight = attention.kv_b_proj.weight.nbytes
    assert seen.peak_bytes < 16 * weight, (
        f"a step of 64 sequences takes {seen.peak_bytes:,} bytes, {seen.peak_bytes / weight:.0f} "
        "times kv_b_proj's weight: is it copied for each of them?"
    )


@exercise("MultiHeadLatentAttention", ban=BAN)
@FORMS
@torch.no_grad()
def test_no_more_flops_than_due(absorbed, device, rng):
    sizes = config()
    attention, cache = make(rng, device, sizes), room(sizes, 2, 100, device)
    x = rng.normal(2, 90, 12, dtype=WIDE)
    h, c, d, r, e = 3, 10, 6, 8, 5
    weights = sum(p.numel() for p in attention.parameters() if p.dim() == 2)
    weights -= attention.kv_b_proj.weight.numel()
    for new, keys in ((85, 85), (1, 86), (4, 90)):
        with FlopCounterMode(display=False) as counter:
            attention(x[:, keys - new : keys], cache=cache, absorbed=absorbed)
        due = 2 * h * keys * (c * (d + e) + new * (d + r + e))
        if absorbed:
            due = 2 * h * new * (c * (d + e) + keys * (c + r + c))
        due = 2 * (due + 2 * new * weights)
        got = counter.get_total_flops()
        assert got <= due, (
            f"{new} new tokens behind {keys - new} take {got:,} FLOPs: {due:,} are enough"
        )


@exercise("MultiHeadLatentAttention", ban=BAN)
@torch.no_grad()
def test_operators_do_not_grow(device, rng):
    counts = []
    for heads, batch, past in ((2, 1, 3), (12, 4, 50)):
        sizes = config(num_attention_heads=heads)
        attention, cache = make(rng, device, sizes), room(sizes, batch, 60, device)
        attention(rng.normal(batch, past, 12, dtype=WIDE), cache=cache)
        x = rng.normal(batch, 1, 12, dtype=WIDE)
        _, seen = watch(attention, x, cache=cache, absorbed=True)
        counts.append(len(seen.operators))
    assert counts[1] <= counts[0] + 4, f"operators of a step, few heads and many: {counts}"


@exercise("MultiHeadLatentAttention", ban=BAN)
@pytest.mark.parametrize("dtype", DTYPES[1:], ids=str)
@FORMS
@torch.no_grad()
def test_in_other_dtypes(dtype, absorbed, device, rng):
    sizes = config()
    attention = random_weights(
        day28.MultiHeadLatentAttention(sizes).to(device, dtype), rng, std=1.0
    )
    x, cache = rng.normal(2, 7, 12, dtype=dtype), room(sizes, 2, 8, device, dtype)
    parts = [attention(part, cache=cache, absorbed=absorbed) for part in x.split((4, 1, 2), 1)]
    got, wanted = torch.cat(parts, 1), plain(attention, x)
    assert got.dtype == dtype, f"x is {dtype}, the result {got.dtype}"
    limit = {torch.float32: 1e-5, torch.float16: 0.02}.get(dtype, 0.1)
    error = ((got.double() - wanted).norm() / wanted.norm()).item()
    assert error < limit, f"in {dtype} the result is off by {error:.2g} of its length"


@exercise("MultiHeadLatentAttention", ban=BAN)
@FORMS
def test_refuses(absorbed, device, rng):
    sizes = config()
    attention, cache = make(rng, device, sizes), room(sizes, 2, 5, device)
    x = rng.normal(2, 4, 12, dtype=WIDE)
    attention(x[:, :2], cache=cache)
    before = cache.latents.clone()
    call = partial(attention, cache=cache, absorbed=absorbed)

    def unchanged(after):
        assert cache.length == 2 and torch.equal(cache.latents, before), (
            f"{after}: the call was refused, and has changed the cache, whose length is now "
            f"{cache.length}, not 2"
        )

    bad = rng.normal(2, 1, 11, dtype=WIDE)
    refused(call, bad, what="x (2, 1, 11) for hidden_size 12", names=["x", (2, 1, 11), 12])
    unchanged("x (2, 1, 11)")
    refused(call, x, what="4 tokens behind 2, capacity 5", names=[6, 5])
    unchanged("4 tokens behind 2, capacity 5")
    for shape in ((2, 2), (2, 1, 1, 2), (3, 1, 1, 4), (2, 2, 2, 4)):
        mask = torch.ones(shape, dtype=torch.bool, device=device)
        refused(
            call,
            x[:, :2],
            mask=mask,
            what=f"a mask {shape} for scores (2, 3, 2, 4)",
            names=["mask", shape, (2, 3, 2, 4)],
        )
        unchanged(f"a mask {shape}")


@exercise("MultiHeadLatentAttention", seconds=60)  # no ban: its watching cannot be compiled
def test_compiled(device, rng):
    sizes = config(rope_scaling=YARN)
    attention = make(rng, device, sizes, torch.float32)
    x = rng.normal(2, 5, 12)
    parameters = list(attention.parameters())
    same_compiled(attention, [x], parameters, "MultiHeadLatentAttention")
    cache = room(sizes, 2, 8, device, torch.float32)
    f = torch.compile(attention, backend="aot_eager", fullgraph=True, dynamic=False)
    with torch.no_grad():
        attention(x[:, :4], cache=cache)
        got, wanted = f(x[:, 4:], cache=cache, absorbed=True), attention(x)[:, 4:]
    close(got, wanted, terms=1024, scale=64.0, name="a compiled step behind 4 tokens")
    assert cache.length == 5, f"a compiled step makes the cache's length {cache.length}, not 5"


# Against transformers: importing it takes seconds, so these come last ------------------------


@cache
def deepseek(version):
    """transformers' configuration, attention and rotation."""
    import importlib

    name = f"deepseek_v{version}"
    modeling = importlib.import_module(f"transformers.models.{name}.modeling_{name}")
    prefix = f"DeepseekV{version}"
    return (
        getattr(importlib.import_module("transformers"), f"{prefix}Config"),
        getattr(modeling, f"{prefix}Attention"),
        getattr(modeling, f"{prefix}RotaryEmbedding"),
    )


FIELDS = ("hidden_size num_attention_heads q_lora_rank kv_lora_rank qk_nope_head_dim rope_theta "
          "qk_rope_head_dim v_head_dim max_position_embeddings attention_bias").split()  # fmt: skip

PUBLISHED = {
    "V2, no q latent": (2, config(q_lora_rank=None)),
    "V2, yarn": (2, config(rope_scaling=YARN)),
    "V2, two mscales": (2, config(rope_scaling=YARN | {"mscale": 1.0}, attention_bias=True)),
    "V3, yarn": (3, config(rope_scaling=YARN | {"mscale": 1.0, "mscale_all_dim": 1.0})),
    "V3, half-split": (3, config(q_lora_rank=None, rope_interleave=False)),
    "V3, other eps": (3, config(rms_norm_eps=0.1)),
}


class Theirs:
    """transformers' attention with random weights, in float64, and what it makes of x."""

    def __init__(self, version, sizes, rng, device):
        config_class, attention_class, rotary_class = deepseek(version)
        options = {name: getattr(sizes, name) for name in FIELDS}
        options["rms_norm_eps"] = sizes.rms_norm_eps
        options["num_key_value_heads"] = sizes.num_attention_heads
        if sizes.rope_scaling:
            options["rope_scaling"] = dict(sizes.rope_scaling)
        if version == 3:
            options["rope_interleave"] = sizes.rope_interleave
        with in_float64():
            theirs = config_class(**options, attn_implementation="eager")
            self.module = attention_class(theirs, 0).to(device, WIDE).eval()
            self.rotary = rotary_class(theirs).to(device)
        random_weights(self.module, rng)

    def __call__(self, x, positions, mask):
        """``mask``: bool (batch, 1, length, length), True = may look; each row sees one key."""
        hidden = torch.zeros(mask.shape, dtype=WIDE, device=x.device)
        with in_float64():
            return self.module(
                x,
                position_embeddings=self.rotary(x, positions),
                attention_mask=hidden.masked_fill(~mask, -math.inf),
            )[0]


@exercise("MultiHeadLatentAttention", ban=BAN)
@pytest.mark.parametrize("version, sizes", PUBLISHED.values(), ids=PUBLISHED)
def test_equals_transformers(version, sizes, device, rng):
    theirs = Theirs(version, sizes, rng, device)
    ours = day28.MultiHeadLatentAttention(sizes).to(device, WIDE)
    ours.load_state_dict(theirs.module.state_dict())
    x, outputs = rng.normal(2, 7, 12, dtype=WIDE), rng.normal(2, 7, 12, dtype=WIDE)
    real = torch.tensor([[0, 0, 0, 1, 1, 1, 1], [1] * 7], device=device).bool()
    at = torch.tensor([[0, 0, 0, 0, 1, 2, 3], [0, 1, 2, 3, 50, 9000, 9001]], device=device)
    ahead = torch.ones(7, 7, device=device).triu(1).bool()
    eye = torch.eye(7, device=device).bool()
    # Padding sees itself, so that every row sees something; nobody reads what comes of it.
    mask = (real[:, None, None] & ~ahead) | eye
    outputs = outputs * real[..., None]

    wanted = theirs(x, at, mask)
    (wanted * outputs).sum().backward()
    right = {name: p.grad for name, p in theirs.module.named_parameters()}
    for absorbed in (False, True):
        what = "absorbed" if absorbed else "expanded"
        got = ours(x, at, real[:, None, None], absorbed=absorbed)
        same(got[real], wanted[real], f"result, {what}")
        ours.zero_grad()
        (got * outputs).sum().backward()
        for name, p in ours.named_parameters():
            same(p.grad, right[name], f"gradient of {name}, {what}")
        cache, parts = room(sizes, 2, 7, device), []
        for first, last in ((0, 4), (4, 5), (5, 7)):
            keys = real[:, None, None, :last]
            with torch.no_grad():
                parts.append(ours(x[:, first:last], at[:, first:last], keys, cache, absorbed))
        same(torch.cat(parts, 1)[real], wanted[real], f"result, {what}, with a cache")
