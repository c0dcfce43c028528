"""Day 27: each stage, against its formula written out and the same stage of transformers."""

import math
from functools import cache

import pytest
import torch
from torch import nn

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
from tracks.pytorch import day27

BAN = ["rms_norm"]
WIDE = torch.float64
HALF = pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)

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
    }
    return day27.MLAConfig(**(sizes | changes))


CONFIGS = {
    "plain": config(),
    "half-split": config(rope_interleave=False, qk_rope_head_dim=4, rope_theta=500.0),
    "yarn": config(rope_scaling=YARN),
    "yarn, two mscales": config(rope_scaling=YARN | {"mscale": 1.0, "mscale_all_dim": 0.5}),
    "yarn, no mscale": config(
        rope_scaling={"rope_type": "yarn", "factor": 8, "original_max_position_embeddings": 512},
        qk_rope_head_dim=12,
    ),
    "yarn, mscale only": config(rope_scaling=YARN | {"mscale": 2.0, "mscale_all_dim": 0}),
    "yarn, other turns": config(
        rope_scaling=YARN | {"beta_fast": 8, "beta_slow": 4, "mscale": 0},
        qk_rope_head_dim=16,
        rope_theta=500.0,
    ),
}
EACH = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)


def same(got, wanted, name, dtype=WIDE):
    close(got, wanted.detach(), dtype=dtype, terms=256, scale=16.0, name=name)


def leaves(**inputs):
    """The same values, of which gradients can be asked."""
    return {name: x.detach().clone().requires_grad_() for name, x in inputs.items()}


def same_gradients(got, wanted, of, rng):
    """Gradients of all results together; ``got`` and ``wanted``: by name, ``of``: by name, too."""
    for name, x in got.items():
        assert x.requires_grad, f"no gradient flows back from {name}"
    probes = [rng.normal(*x.shape, dtype=WIDE) for x in wanted.values()]
    ours, due = (
        torch.autograd.grad(
            [*results.values()], [*of.values()], probes, allow_unused=True, materialize_grads=True
        )
        for results in (got, wanted)
    )
    for name, one, other in zip(of, ours, due, strict=True):
        same(one, other, f"gradient of {name}")


def layer(rng, device, inputs, outputs, bias=False, dtype=WIDE):
    made = nn.Linear(inputs, outputs, bias).to(device, dtype)
    return random_weights(made, rng)


def make_norm(rng, device, dim, dtype=WIDE, eps=1e-6):
    norm = day27.RMSNorm(dim, eps).to(device, dtype)
    with torch.no_grad():
        norm.weight.copy_(rng.normal(dim, mean=1.0, std=0.5, dtype=dtype))
    return norm


def normed(x, norm):
    """The formula, in float64."""
    x = x.double()
    return x / (x.square().mean(-1, keepdim=True) + norm.eps).sqrt() * norm.weight.double()


def counted(module):
    """How often ``module`` is called: a list that grows."""
    calls = []
    module.register_forward_hook(lambda *_: calls.append(1))
    return calls


# RMSNorm -------------------------------------------------------------------------------------


@exercise("RMSNorm", ban=BAN)
@shapes("rows, dim", (5, 8), (1, 1), (0, 4), (3, 129))
def test_norm(rows, dim, device, rng):
    for eps in (1e-6, 0.5):
        norm = make_norm(rng, device, dim, eps=eps)
        x = rng.normal(rows, dim, dtype=WIDE)
        for layout, view in layouts(x):
            same(norm(view), normed(x, norm), f"norm of a {layout} x ({rows}, {dim}), eps {eps}")
    same(norm(x.view(1, rows, 1, dim)), normed(x, norm).view(1, rows, 1, dim), "four axes")


@exercise("RMSNorm", ban=BAN)
@HALF
def test_norm_rounds_twice(dtype, device, rng):
    norm = make_norm(rng, device, 24, dtype)
    x = rng.normal(200, 24, dtype=dtype)
    quotient = normed(x, norm) / norm.weight.double()
    low, high = ((quotient * (1 + e)).to(dtype) for e in (-1e-5, 1e-5))
    # The product of two such numbers is exact in float32: one way to round it.
    wanted = (low.float() * norm.weight.float()).to(dtype).detach()
    got = norm(x)
    assert got.dtype == dtype, f"x is {dtype}, the result {got.dtype}"
    sure = low == high
    wrong = (got != wanted) & sure
    once = (got == normed(x, norm).to(dtype)) & wrong
    share = wrong.sum().item() / sure.sum().item()
    more = ""
    if once.sum() > 0.9 * wrong.sum():
        more = "; it is what one rounding at the end gives"
    assert not wrong.any(), f"{share:.1%} of the numbers differ in their last bits{more}"


@exercise("RMSNorm", ban=BAN)
@HALF
def test_norm_of_large_and_small(dtype, device, rng):
    norm = make_norm(rng, device, 16, dtype)
    for factor in (2.0**12, 2.0**-9):
        x = (rng.normal(4, 16).clamp(-3, 3) * factor).to(dtype)
        wanted = normed(x, norm).detach()
        error = ((norm(x).double() - wanted).norm() / wanted.norm()).item()
        assert error < 0.02, (
            f"{dtype} numbers around {factor}: the result is off by {error:.2g} of its length"
        )


@exercise("RMSNorm", ban=BAN)
def test_norm_dtype(device, rng):
    norm = make_norm(rng, device, 8, torch.float32)
    for dtype in (torch.bfloat16, torch.float16, torch.float32):
        x = rng.normal(3, 8, dtype=dtype)
        got = norm(x)
        assert got.dtype == dtype, f"x is {dtype}, the weight float32, the result {got.dtype}"
        error = (got.double() - normed(x, norm)).abs().max().item()
        assert error < 0.1, f"x is {dtype}, the weight float32: the result is off by {error:.2g}"


@exercise("RMSNorm", ban=BAN)
def test_norm_refuses_and_has_gradients(device, rng):
    norm = make_norm(rng, device, 8)
    refused(norm, rng.normal(3, 1, dtype=WIDE), what="an x that ends in 1, for dim 8", names=[1, 8])
    x = rng.normal(3, 8, dtype=WIDE).clone().requires_grad_()
    outputs = rng.normal(3, 8, dtype=WIDE)
    got = torch.autograd.grad((norm(x) * outputs).sum(), [x, norm.weight])
    wanted = torch.autograd.grad((normed(x, norm) * outputs).sum(), [x, norm.weight])
    for name, one, other in zip(("x", "weight"), got, wanted, strict=True):
        same(one, other, f"gradient of {name}")


# compress_kv ---------------------------------------------------------------------------------


@exercise("compress_kv", ban=BAN)
@pytest.mark.parametrize("bias", [False, True], ids=["no bias", "bias"])
@shapes("leading", (2, 5), (5,), (0, 3), (2, 1, 3))
def test_compress_kv(leading, bias, device, rng):
    sizes = config()
    down = layer(rng, device, 12, 18, bias)
    norm = make_norm(rng, device, 10, eps=0.1)
    x = rng.normal(*leading, 12, dtype=WIDE)
    both = x @ down.weight.mT + (down.bias if bias else 0.0)
    calls = counted(down)
    for name, view in layouts(x):
        calls.clear()
        latent, k_rope = day27.compress_kv(view, down, norm, sizes)
        what = f"of a {name} x {tuple(x.shape)}"
        same(latent, normed(both[..., :10], norm), f"latent {what}")
        same(k_rope, both[..., 10:], f"k_rope {what}")
        assert len(calls) <= 1, f"down is called {len(calls)} times"


@exercise("compress_kv", ban=BAN)
@DTYPES
def test_compress_kv_in_other_dtypes(dtype, device, rng):
    down, norm = layer(rng, device, 12, 18, True, dtype), make_norm(rng, device, 10, dtype)
    x = rng.normal(3, 12, dtype=dtype)
    latent, k_rope = day27.compress_kv(x, down, norm, config())
    assert latent.dtype == k_rope.dtype == dtype, (
        f"x is {dtype}, latent {latent.dtype}, k_rope {k_rope.dtype}"
    )
    both = x.double() @ down.weight.double().mT + down.bias.double()
    limit = 0.05 if dtype == torch.bfloat16 else 1e-5
    error = (latent.double() - normed(both[..., :10], norm)).abs().max().item()
    assert error < limit, f"the latent in {dtype} is off by {error:.2g}"


@exercise("compress_kv", ban=BAN)
def test_compress_kv_gradients(device, rng):
    down, norm = layer(rng, device, 12, 18, True), make_norm(rng, device, 10, eps=0.1)
    given = leaves(x=rng.normal(2, 5, 12, dtype=WIDE))
    latent, k_rope = day27.compress_kv(given["x"], down, norm, config())
    both = given["x"] @ down.weight.mT + down.bias
    wanted = {"latent": normed(both[..., :10], norm), "k_rope": both[..., 10:]}
    weights = {"down.weight": down.weight, "down.bias": down.bias, "norm.weight": norm.weight}
    same_gradients({"latent": latent, "k_rope": k_rope}, wanted, given | weights, rng)


@exercise("compress_kv", ban=BAN)
def test_compress_kv_does_not_change_x(device, rng):
    """The latent is as wide as x here: there would be room in it."""
    x = rng.normal(2, 5, 12, dtype=WIDE)
    given, down, norm = x.clone(), layer(rng, device, 12, 20), make_norm(rng, device, 12)
    with torch.no_grad():
        latent, _ = day27.compress_kv(given, down, norm, config(kv_lora_rank=12))
    assert torch.equal(given, x), "x was changed"
    same(latent, normed(x @ down.weight[:12].mT, norm), "a latent as wide as x")


@exercise("compress_kv", ban=BAN)
def test_compress_kv_refuses(device, rng):
    down, norm = layer(rng, device, 11, 18), make_norm(rng, device, 10)
    for shape in ((5, 11), (2, 5, 1)):
        x = rng.normal(*shape, dtype=WIDE)
        refused(
            day27.compress_kv, x, down, norm, config(), what=f"x {shape}", names=["x", shape, 12]
        )


# expand_kv -----------------------------------------------------------------------------------


@exercise("expand_kv", ban=BAN)
@shapes("leading", (2, 5), (5,), (2, 0), (2, 1, 3))
def test_expand_kv(leading, device, rng):
    sizes, up = config(), layer(rng, device, 10, 3 * 11)
    latents = rng.normal(*leading, 10, dtype=WIDE)
    calls = counted(up)
    for name, view in layouts(latents):
        calls.clear()
        k_nope, v = day27.expand_kv(view, up, sizes)
        keys, values = [], []
        for rows in up.weight.split(11):
            keys.append(latents @ rows[:6].mT)
            values.append(latents @ rows[6:].mT)
        what = f"of {name} latents {tuple(latents.shape)}"
        same(k_nope, torch.stack(keys, -3), f"k_nope {what}")
        same(v, torch.stack(values, -3), f"v {what}")
        assert len(calls) <= 1, f"up is called {len(calls)} times"


@exercise("expand_kv", ban=BAN)
def test_expand_kv_gradients(device, rng):
    up, given = layer(rng, device, 10, 3 * 11), leaves(latents=rng.normal(2, 5, 10, dtype=WIDE))
    k_nope, v = day27.expand_kv(given["latents"], up, config())
    heads = torch.stack([given["latents"] @ rows.mT for rows in up.weight.split(11)], -3)
    wanted = {"k_nope": heads[..., :6], "v": heads[..., 6:]}
    same_gradients({"k_nope": k_nope, "v": v}, wanted, given | {"up.weight": up.weight}, rng)


@exercise("expand_kv", ban=BAN)
def test_expand_kv_copies_nothing(device, rng):
    sizes, up = config(), layer(rng, device, 10, 33, dtype=torch.float32)
    latents = rng.normal(2, 500, 10)
    day27.expand_kv(latents, up, sizes)
    with torch.no_grad():
        _, seen = watch(day27.expand_kv, latents, up, sizes)
    due = 2 * 500 * 33 * 4
    assert seen.peak_bytes < 1.25 * due + 4096, (
        f"{seen.peak_bytes:,} bytes at the peak: keys and values are {due:,}"
    )


@exercise("expand_kv", ban=BAN)
def test_expand_kv_refuses(device, rng):
    up = layer(rng, device, 9, 33)
    for shape in ((5, 9), (2, 5, 1)):
        latents = rng.normal(*shape, dtype=WIDE)
        refused(
            day27.expand_kv,
            latents,
            up,
            config(),
            what=f"latents {shape}",
            names=["latents", shape, 10],
        )


# compress_q ----------------------------------------------------------------------------------


@exercise("compress_q", ban=BAN)
@pytest.mark.parametrize("rank", [None, 7], ids=["no latent", "a latent of 7"])
@shapes("leading", (2, 5), (5,), (2, 0), (2, 1, 3))
def test_compress_q(leading, rank, device, rng):
    sizes = config(q_lora_rank=rank)
    up = layer(rng, device, rank or 12, 3 * 14)
    down = norm = None
    if rank:
        down, norm = layer(rng, device, 12, rank, True), make_norm(rng, device, rank, eps=0.1)
    x = rng.normal(*leading, 12, dtype=WIDE)
    y = x if norm is None else normed(x @ down.weight.mT + down.bias, norm)
    for name, view in layouts(x):
        q_nope, q_rope = day27.compress_q(view, down, norm, up, sizes)
        parts = [y @ rows.mT for rows in up.weight.split(14)]
        what = f"of a {name} x {tuple(x.shape)}"
        same(q_nope, torch.stack([part[..., :6] for part in parts], -3), f"q_nope {what}")
        same(q_rope, torch.stack([part[..., 6:] for part in parts], -3), f"q_rope {what}")


@exercise("compress_q", ban=BAN)
@DTYPES
def test_compress_q_in_other_dtypes(dtype, device, rng):
    down, norm = layer(rng, device, 12, 7, dtype=dtype), make_norm(rng, device, 7, dtype)
    up = layer(rng, device, 7, 42, dtype=dtype)
    q_nope, q_rope = day27.compress_q(rng.normal(4, 12, dtype=dtype), down, norm, up, config())
    assert q_nope.dtype == q_rope.dtype == dtype, f"x is {dtype}, queries are {q_nope.dtype}"


@exercise("compress_q", ban=BAN)
@pytest.mark.parametrize("rank", [None, 7], ids=["no latent", "a latent of 7"])
def test_compress_q_gradients(rank, device, rng):
    up, down, norm = layer(rng, device, rank or 12, 3 * 14), None, None
    given, weights = leaves(x=rng.normal(2, 5, 12, dtype=WIDE)), {"up.weight": up.weight}
    y = given["x"]
    if rank:
        down, norm = layer(rng, device, 12, rank), make_norm(rng, device, rank, eps=0.1)
        y = normed(y @ down.weight.mT, norm)
        weights |= {"down.weight": down.weight, "norm.weight": norm.weight}
    q_nope, q_rope = day27.compress_q(given["x"], down, norm, up, config(q_lora_rank=rank))
    heads = torch.stack([y @ rows.mT for rows in up.weight.split(14)], -3)
    wanted = {"q_nope": heads[..., :6], "q_rope": heads[..., 6:]}
    same_gradients({"q_nope": q_nope, "q_rope": q_rope}, wanted, given | weights, rng)


@exercise("compress_q", ban=BAN)
def test_compress_q_refuses(device, rng):
    up = layer(rng, device, 11, 42)
    for shape in ((5, 11), (2, 5, 1)):
        x = rng.normal(*shape, dtype=WIDE)
        refused(
            day27.compress_q,
            x,
            None,
            None,
            up,
            config(q_lora_rank=None),
            what=f"x {shape}",
            names=["x", shape, 12],
        )


# decoupled_rope ------------------------------------------------------------------------------


def gain(factor, weight):
    return 0.1 * weight * math.log(factor) + 1


def turns(config):
    """Radians a position for each pair, and what cosines and sines are multiplied by."""
    r, theta, scaling = config.qk_rope_head_dim, config.rope_theta, config.rope_scaling
    plain = [theta ** (-2 * i / r) for i in range(r // 2)]
    if scaling is None:
        return plain, 1.0
    s, trained = scaling["factor"], scaling["original_max_position_embeddings"]
    fast, slow = scaling.get("beta_fast", 32), scaling.get("beta_slow", 1)
    low, high = (
        r * math.log(trained / (2 * math.pi * n)) / (2 * math.log(theta)) for n in (fast, slow)
    )
    low, high = max(math.floor(low), 0), min(math.ceil(high), r - 1)
    new = []
    for i, f in enumerate(plain):
        share = min(max((i - low) / (high - low), 0.0), 1.0)
        new.append((1 - share) * f + share * f / s)
    one, other = scaling.get("mscale"), scaling.get("mscale_all_dim")
    return new, gain(s, one) / gain(s, other) if one and other else gain(s, 1.0)


def turned(x, positions, config):
    """RoPE pair by pair, in float64; positions have the shape of x without its last axis."""
    frequencies, factor = turns(config)
    half, x = config.qk_rope_head_dim // 2, x.double()
    out = torch.empty_like(x)
    for i, f in enumerate(frequencies):
        a, b = (2 * i, 2 * i + 1) if config.rope_interleave else (i, i + half)
        cos, sin = (positions * f).cos() * factor, (positions * f).sin() * factor
        out[..., a] = x[..., a] * cos - x[..., b] * sin
        out[..., b] = x[..., a] * sin + x[..., b] * cos
    return out


def both(rng, sizes, batch=2, length=5, dtype=WIDE):
    r = sizes.qk_rope_head_dim
    return rng.normal(batch, 3, length, r, dtype=dtype), rng.normal(batch, length, r, dtype=dtype)


@exercise("decoupled_rope")
@EACH
def test_rope(config, device, rng):
    q, k = both(rng, config)
    far = torch.tensor([0, 1, 77, 5000, 160_000], device=device)
    rows = torch.stack([far, far.flip(0) + 3])
    for name, positions in (("(length,)", far), ("(batch, length)", rows)):
        wide = positions.double().expand(2, 5)
        wanted = turned(q, wide[:, None].expand(2, 3, 5), config), turned(k, wide, config)
        for layout, view in layouts(q):
            got = day27.decoupled_rope(view, k, positions, config)
            same(got[0], wanted[0], f"q_rope, {layout}, positions {name}")
        for layout, view in layouts(k):
            got = day27.decoupled_rope(q, view, positions, config)
            same(got[1], wanted[1], f"k_rope, {layout}, positions {name}")


@exercise("decoupled_rope")
def test_rope_without_a_batch(device, rng):
    q, k = both(rng, CONFIGS["yarn"])
    at = torch.arange(3, 8, device=device)
    got = day27.decoupled_rope(q[0], k[0], at, CONFIGS["yarn"])
    for name, one, x in zip(("q_rope", "k_rope"), got, (q[0], k[0]), strict=True):
        wide = at.double().expand(x.shape[:-1])
        same(one, turned(x, wide, CONFIGS["yarn"]), f"{name} {tuple(x.shape)}")
    q, k = both(rng, CONFIGS["yarn"], 2, 0)
    got = day27.decoupled_rope(q, k, at[:0], CONFIGS["yarn"])
    assert (got[0].shape, got[1].shape) == (q.shape, k.shape), "no tokens, and the shapes change"


@exercise("decoupled_rope")
@DTYPES
def test_rope_in_other_dtypes(dtype, device, rng):
    sizes = CONFIGS["yarn, two mscales"]
    q, k = both(rng, sizes, dtype=dtype)
    at = torch.arange(99_000, 99_005, device=device)
    got = day27.decoupled_rope(q, k, at, sizes)
    limit = 0.03 if dtype == torch.bfloat16 else 1e-5
    for name, one, x in zip(("q_rope", "k_rope"), got, (q, k), strict=True):
        assert one.dtype == dtype, f"{name} is {dtype}, and {one.dtype} when it is turned"
        wide = at.double().expand(x.shape[:-1])
        error = (one.double() - turned(x, wide, sizes)).abs().max().item()
        assert error < limit, f"{name} in {dtype} at positions near 99,000 is off by {error:.2g}"


@exercise("decoupled_rope")
@pytest.mark.parametrize("name", ["half-split", "yarn, two mscales"])
def test_rope_gradients(name, device, rng):
    sizes, at = CONFIGS[name], torch.tensor([0, 1, 77, 5000, 160_000], device=device)
    q, k = both(rng, sizes)
    given = leaves(q_rope=q, k_rope=k)
    got = day27.decoupled_rope(*given.values(), at, sizes)
    wide = at.double()
    wanted = [turned(x, wide.expand(x.shape[:-1]), sizes) for x in given.values()]
    same_gradients(dict(zip(given, got, strict=True)), dict(zip(given, wanted, strict=True)),
                   given, rng)  # fmt: skip


@exercise("decoupled_rope")
def test_rope_refuses(device, rng):
    q, k = both(rng, config())
    for shape in ((4,), (3, 5)):
        at = torch.zeros(shape, dtype=torch.long, device=device)
        refused(
            day27.decoupled_rope,
            q,
            k,
            at,
            config(),
            what=f"positions {shape} for a batch of 2 and a length of 5",
            names=[shape],
        )
    at = torch.arange(5, device=device)
    other = config(rope_scaling={"rope_type": "llama3", "factor": 8})
    refused(day27.decoupled_rope, q, k, at, other, what="llama3's scaling", names=["llama3"])


@exercise("decoupled_rope")
def test_rope_compiled(device, rng):
    sizes = CONFIGS["yarn, two mscales"]
    q, k = (x.clone().requires_grad_() for x in both(rng, sizes, dtype=torch.float32))
    at = torch.arange(4, 9, device=device)

    def call(q, k):
        turned = day27.decoupled_rope(q, k, at, sizes)
        return torch.cat([x.flatten() for x in turned])

    same_compiled(call, (q, k), (q, k), "decoupled_rope")


# mla_scores ----------------------------------------------------------------------------------


def scores_by_hand(q_nope, q_rope, k_nope, k_rope, config):
    """The formula, head by head."""
    scaling = config.rope_scaling
    scale = 1 / math.sqrt(config.qk_nope_head_dim + config.qk_rope_head_dim)
    if scaling and scaling.get("mscale_all_dim"):
        scale *= gain(scaling["factor"], scaling["mscale_all_dim"]) ** 2
    heads = []
    for h in range(q_nope.shape[-3]):
        key = k_nope[..., h if k_nope.shape[-3] > 1 else 0, :, :].double()
        dots = q_nope[..., h, :, :].double() @ key.mT
        heads.append((dots + q_rope[..., h, :, :].double() @ k_rope.double().mT) * scale)
    return torch.stack(heads, -3)


def parts(rng, sizes, queries=3, keys=5, kv_heads=3, d=6, leading=(2,), dtype=WIDE, heads=3):
    r = sizes.qk_rope_head_dim
    return (
        rng.normal(*leading, heads, queries, d, dtype=dtype),
        rng.normal(*leading, heads, queries, r, dtype=dtype),
        rng.normal(*leading, kv_heads, keys, d, dtype=dtype),
        rng.normal(*leading, keys, r, dtype=dtype),
    )


NAMES = ("q_nope", "q_rope", "k_nope", "k_rope")


@exercise("mla_scores")
@EACH
@pytest.mark.parametrize("kv_heads, d", [(3, 6), (1, 6), (1, 10)], ids=str)
def test_scores(config, kv_heads, d, device, rng):
    given = parts(rng, config, kv_heads=kv_heads, d=d)
    wanted = scores_by_hand(*given, config)
    same(day27.mla_scores(*given, config), wanted, f"scores with k_nope of {kv_heads} heads of {d}")


@exercise("mla_scores")
@shapes(
    "leading, queries, keys", ((), 3, 5), ((2, 3), 1, 4), ((0,), 2, 2), ((2,), 0, 3), ((2,), 3, 0)
)
def test_scores_of_other_shapes(leading, queries, keys, device, rng):
    for kv_heads in (3, 1):
        given = parts(rng, config(), queries, keys, kv_heads, leading=leading)
        got = day27.mla_scores(*given, config())
        same(got, scores_by_hand(*given, config()), f"scores, k_nope {tuple(given[2].shape)}")


@exercise("mla_scores")
@pytest.mark.parametrize("kv_heads", [3, 1], ids=["own keys", "one key"])
def test_scores_take_any_strides(kv_heads, device, rng):
    given = parts(rng, config(), kv_heads=kv_heads)
    wanted = scores_by_hand(*given, config())
    for i, name in enumerate(NAMES):
        for layout, view in layouts(given[i]):
            got = day27.mla_scores(*given[:i], view, *given[i + 1 :], config())
            same(got, wanted, f"scores with a {layout} {name}")


@exercise("mla_scores")
@pytest.mark.parametrize("kv_heads", [3, 1], ids=["own keys", "one key"])
def test_scores_gradients(kv_heads, device, rng):
    sizes = CONFIGS["yarn"]
    given = leaves(**dict(zip(NAMES, parts(rng, sizes, kv_heads=kv_heads), strict=True)))
    got = day27.mla_scores(*given.values(), sizes)
    wanted = scores_by_hand(*given.values(), sizes)
    same_gradients({"the scores": got}, {"the scores": wanted}, given, rng)


@exercise("mla_scores")
@shapes("queries, keys, kv_heads, heads", (3, 6, 3, 3), (3, 8, 3, 3), (6, 6, 3, 3), (6, 6, 1, 1))
def test_scores_change_no_input(queries, keys, kv_heads, heads, device, rng):
    """With as many keys as a vector has features the scores would fit into an input."""
    inputs = parts(rng, config(), queries, keys, kv_heads, heads=heads)
    given = [x.clone() for x in inputs]
    got = day27.mla_scores(*given, config())
    for name, x, was in zip(NAMES, given, inputs, strict=True):
        assert torch.equal(x, was), f"{name} {tuple(x.shape)} was changed"
    same(got, scores_by_hand(*inputs, config()), f"scores of {queries} queries and {keys} keys")


@exercise("mla_scores")
@HALF
def test_scores_in_half_precision(dtype, device, rng):
    for kv_heads in (3, 1):
        given = parts(rng, CONFIGS["yarn"], kv_heads=kv_heads, dtype=dtype)
        got = day27.mla_scores(*given, CONFIGS["yarn"])
        assert got.dtype == torch.float32, f"queries are {dtype}, scores {got.dtype}, not float32"
        error = (got.double() - scores_by_hand(*given, CONFIGS["yarn"])).abs().max().item()
        assert error < 0.2, f"scores in {dtype} are off by {error:.2g}"
    given = parts(rng, config(), dtype=torch.float32)
    got = day27.mla_scores(*given, config())
    close(got, scores_by_hand(*given, config()), dtype=torch.float32, terms=14, scale=4.0,
          name="scores in float32")  # fmt: skip


@exercise("mla_scores")
@HALF
def test_the_sum_is_not_rounded(dtype, device):
    """Products that half precision holds, and a sum that it does not."""
    ones = torch.ones(3, 1, 1, dtype=dtype, device=device)
    sizes = config(qk_nope_head_dim=3, qk_rope_head_dim=1)
    for kv_heads in (3, 1):
        key = torch.full((kv_heads, 1, 1), 2048.0, dtype=dtype, device=device)
        got = day27.mla_scores(ones, ones, key, ones[0], sizes)
        assert (got == 1024.5).all(), (
            f"(2048 + 1) / 2 is {got.flatten()[0].item()} in {dtype}: something was rounded"
        )


@exercise("mla_scores")
def test_scores_copy_no_key(device, rng):
    sizes = config(num_attention_heads=16, qk_nope_head_dim=64, qk_rope_head_dim=32)
    for kv_heads in (16, 1):
        given = parts(rng, sizes, 1, 2048, kv_heads, 64, dtype=torch.float32, heads=16)
        day27.mla_scores(*given, sizes)
        _, seen = watch(day27.mla_scores, *given, sizes)
        limit = 2 * 2048 * 96 * 4
        assert seen.peak_bytes < limit, (
            f"{seen.peak_bytes:,} bytes at the peak with k_nope of {kv_heads} heads: one key for "
            f"all heads, k_nope and k_rope together, has {limit:,}"
        )


@exercise("mla_scores")
def test_scores_without_a_loop(device, rng):
    for kv_heads in (True, False):
        seen = []
        for batch, heads in ((1, 2), (4, 12)):
            given = parts(
                rng, config(), kv_heads=heads if kv_heads else 1, leading=(batch,), heads=heads
            )
            seen.append(len(watch(day27.mla_scores, *given, config())[1].operators))
        assert seen[0] == seen[1], f"operators for 2 heads, and for 4 times 12: {seen}"


@exercise("mla_scores")
def test_scores_refuse(device, rng):
    good = parts(rng, config())

    def x(*shape):
        return rng.normal(*shape, dtype=WIDE)

    for i, bad, j in (
        (2, x(2, 3, 5, 7), 0),
        (3, x(2, 5, 7), 1),
        (3, x(2, 4, 8), 2),
        (3, x(2, 1, 8), 2),
        (2, x(2, 2, 5, 6), 0),
        (2, x(2, 6, 5, 6), 0),
    ):
        given = [*good]
        given[i] = bad
        refused(
            day27.mla_scores,
            *given,
            config(),
            what=f"{NAMES[i]} {tuple(bad.shape)} beside {NAMES[j]} {tuple(good[j].shape)}",
            names=[tuple(bad.shape), tuple(good[j].shape)],
        )


@exercise("mla_scores")
@pytest.mark.parametrize("kv_heads", [3, 1], ids=["own keys", "one key"])
def test_scores_compiled(kv_heads, device, rng):
    sizes = CONFIGS["yarn"]
    given = [
        x.clone().requires_grad_()
        for x in parts(rng, sizes, kv_heads=kv_heads, dtype=torch.float32)
    ]
    same_compiled(lambda *x: day27.mla_scores(*x, sizes), given, given, "mla_scores")


# Against transformers: importing it takes seconds, so these come last ------------------------


@cache
def deepseek(version):
    """transformers' configuration and attention, and the module that holds them."""
    import importlib

    name = f"deepseek_v{version}"
    modeling = importlib.import_module(f"transformers.models.{name}.modeling_{name}")
    prefix = f"DeepseekV{version}"
    return (
        getattr(importlib.import_module("transformers"), f"{prefix}Config"),
        getattr(modeling, f"{prefix}Attention"),
        getattr(modeling, f"{prefix}RotaryEmbedding"),
        modeling,
    )


FIELDS = ("hidden_size num_attention_heads q_lora_rank kv_lora_rank qk_nope_head_dim "
          "qk_rope_head_dim v_head_dim max_position_embeddings attention_bias").split()  # fmt: skip


class Stages:
    """What transformers' attention makes of tokens, stage by stage, in float64."""

    def __init__(self, version, sizes, rng, device, monkeypatch):
        config_class, attention_class, rotary_class, modeling = deepseek(version)
        options = {name: getattr(sizes, name) for name in FIELDS}
        options["rope_theta"] = sizes.rope_theta
        if sizes.rope_scaling:
            options["rope_scaling"] = dict(sizes.rope_scaling)
        if version == 3:
            options["rope_interleave"] = sizes.rope_interleave
        with in_float64(), torch.no_grad():
            theirs = config_class(**options, attn_implementation="eager")
            self.module = attention_class(theirs, 0).to(device, WIDE).eval()
            random_weights(self.module, rng)
            self.x = rng.normal(2, 6, sizes.hidden_size, dtype=WIDE)
            self.positions = torch.tensor([[0, 1, 2, 3, 4, 5], [7, 8, 99, 500, 9000, 9001]])
            self.positions = self.positions.to(device)
            rotary = rotary_class(theirs).to(device)
            self.outputs = {}
            for name, part in self.module.named_children():
                part.register_forward_hook(
                    lambda _, inputs, output, name=name: self.outputs.update({name: output})
                )

            def capture(module, query, key, value, mask, scaling, **_):
                self.q, self.k, self.v, self.scaling = query, key, value, scaling
                return value.transpose(1, 2), None

            monkeypatch.setattr(modeling, "eager_attention_forward", capture)
            embeddings = rotary(self.x, self.positions)
            self.module(self.x, position_embeddings=embeddings, attention_mask=None)
        self.version, self.sizes = version, sizes

    def norm(self, name):
        """Their norm's weight in a norm of day 27, which day 31 does by name."""
        weight = getattr(self.module, name).weight
        norm = day27.RMSNorm(len(weight)).to(weight)
        norm.load_state_dict({"weight": weight})
        return norm

    def in_order(self, x):
        """V3's files have neighbours as pairs; transformers puts the halves of the pairs apart."""
        if self.version == 3 and self.sizes.rope_interleave:
            return torch.cat([x[..., 0::2], x[..., 1::2]], -1)
        return x


PUBLISHED = {
    "V2, no q latent": (2, config(q_lora_rank=None)),
    "V2, yarn": (2, config(rope_scaling=YARN, max_position_embeddings=163_840)),
    "V2, two mscales": (2, config(rope_scaling=YARN | {"mscale": 1.0}, attention_bias=True)),
    "V3, yarn": (3, config(rope_scaling=YARN | {"mscale": 1.0, "mscale_all_dim": 1.0})),
    "V3, half-split": (3, config(q_lora_rank=None, rope_interleave=False)),
}


@pytest.fixture(params=PUBLISHED.values(), ids=PUBLISHED)
def stages(request, rng, device, monkeypatch):
    return Stages(*request.param, rng, device, monkeypatch)


@exercise("RMSNorm")
def test_norm_equals_transformers(stages):
    module = stages.module
    both = stages.outputs["kv_a_proj_with_mqa"].split([10, 8], -1)[0]
    norm = stages.norm("kv_a_layernorm")
    same(norm(both), stages.outputs["kv_a_layernorm"], "the latent's norm")
    assert norm.eps == module.kv_a_layernorm.variance_epsilon, "the default of eps is not theirs"


@exercise("compress_kv")
def test_compress_kv_equals_transformers(stages):
    module = stages.module
    norm = stages.norm("kv_a_layernorm")
    got = day27.compress_kv(stages.x, module.kv_a_proj_with_mqa, norm, stages.sizes)
    same(got[0], stages.outputs["kv_a_layernorm"], "latent")
    assert got[1].shape == (2, 6, 8), f"k_rope is {tuple(got[1].shape)}"


@exercise("expand_kv")
def test_expand_kv_equals_transformers(stages):
    latent = stages.outputs["kv_a_layernorm"].reshape(2, 6, 10)
    k_nope, v = day27.expand_kv(latent, stages.module.kv_b_proj, stages.sizes)
    same(k_nope, stages.k[..., :6], "k_nope")
    same(v, stages.v, "v")


@exercise("compress_q")
def test_compress_q_equals_transformers(stages):
    module, down, norm = stages.module, None, None
    up = module.q_proj
    if up is None:
        down, norm, up = module.q_a_proj, stages.norm("q_a_layernorm"), module.q_b_proj
    q_nope, q_rope = day27.compress_q(stages.x, down, norm, up, stages.sizes)
    same(q_nope, stages.q[..., :6], "q_nope")
    assert q_rope.shape == (2, 3, 6, 8), f"q_rope is {tuple(q_rope.shape)}"


@exercise("decoupled_rope")
def test_rope_equals_transformers(stages):
    made = stages.outputs.get("q_b_proj", stages.outputs.get("q_proj"))
    q = made.view(2, 6, 3, 14).transpose(1, 2)[..., 6:]
    k = stages.outputs["kv_a_proj_with_mqa"][..., 10:]
    got = day27.decoupled_rope(q, k, stages.positions, stages.sizes)
    same(stages.in_order(got[0]), stages.q[..., 6:], "q_rope")
    for head in range(3):
        same(stages.in_order(got[1]), stages.k[:, head, :, 6:], f"k_rope against head {head}'s")


@exercise("mla_scores")
def test_scores_equal_transformers(stages):
    wanted = stages.q @ stages.k.mT * stages.scaling
    (q_nope, q_rope), (k_nope, k_rope) = (x.split([6, 8], -1) for x in (stages.q, stages.k))
    got = day27.mla_scores(q_nope, q_rope, k_nope, k_rope[:, 0], stages.sizes)
    same(got, wanted, "scores")
