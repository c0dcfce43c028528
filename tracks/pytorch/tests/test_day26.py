"""Day 26: latents, against matrices whose singular values are known and attention written out."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F

from harness.testing import close, exercise, layouts, random_weights, refused, shapes, watch
from tracks.pytorch import day26
from tracks.pytorch.day18 import MultiHeadAttention
from tracks.pytorch.day20 import EncoderBlock
from tracks.pytorch.day22 import KVCache

BAN = ["scaled_dot_product_attention", "multi_head_attention_forward"]
WIDE = torch.float64
HALF = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
CONFIGS = [
    day26.DEEPSEEK_V2,
    day26.DEEPSEEK_67B,
    day26.Config(layers=3, heads=6, kv_heads=2, head_dim=5, latent=7, rope_dim=3),
    day26.Config(layers=1, heads=4, kv_heads=4, head_dim=16, latent=24),
    day26.Config(layers=2, heads=1, kv_heads=1, head_dim=1, latent=1, rope_dim=8),
]
EACH = pytest.mark.parametrize("config", CONFIGS, ids=["V2", "67B", "small", "no rope", "one head"])


def off(got, wanted):
    """How far off, as a share of the length of what is wanted."""
    return ((got.double() - wanted.double()).norm() / wanted.double().norm()).item()


def same(got, wanted, name, dtype=WIDE):
    close(got, wanted, dtype=dtype, terms=256, scale=16.0, name=name)


# low_rank ------------------------------------------------------------------------------------


def made_of(rng, n, features, singular):
    """Rotations around given singular values: left (n, m), right (m, features), and the matrix."""
    m = min(n, features)
    left = torch.linalg.qr(rng.normal(n, m, dtype=WIDE)).Q
    right = torch.linalg.qr(rng.normal(features, m, dtype=WIDE)).Q.mT
    s = torch.tensor(singular[:m], dtype=WIDE, device=left.device)
    return left * s, right, left * s @ right


FALLING = [100.0 * 1.5**-i for i in range(40)]


def check_low_rank(got, kv, rank, what):
    """The parts fit together, whatever the basis."""
    latents, up = got
    shapes_found = (tuple(latents.shape), tuple(up.shape))
    *leading, n, features = kv.shape
    wanted = ((*leading, n, rank), (*leading, rank, features))
    assert shapes_found == wanted, f"{what}: latents and up are {shapes_found}, not {wanted}"
    assert latents.dtype == up.dtype == kv.dtype, (
        f"{what}: kv is {kv.dtype}, latents {latents.dtype}, up {up.dtype}"
    )
    if kv.dtype == WIDE:
        eye = torch.eye(rank, dtype=WIDE, device=kv.device).expand(*leading, rank, rank)
        same(up @ up.mT, eye, f"up @ up.mT, {what},")
        close(latents, kv @ up.mT, terms=features, scale=100.0, name=f"latents {what}")


@exercise("low_rank")
@shapes("n, features, rank", (20, 8, 3), (8, 20, 3), (5, 5, 5), (5, 5, 1), (1, 1, 1), (1, 7, 1),
        (7, 1, 1), (33, 17, 16), (17, 33, 17))  # fmt: skip
def test_nothing_is_nearer(n, features, rank, device, rng):
    left, right, kv = made_of(rng, n, features, FALLING)
    wanted = left[:, :rank] @ right[:rank]
    for layout, view in layouts(kv):
        what = f"of a {layout} kv ({n}, {features}), rank {rank}"
        got = day26.low_rank(view, rank)
        check_low_rank(got, view, rank, what)
        close(got[0] @ got[1], wanted, terms=1000, scale=100.0, name=f"latents @ up {what}")


@exercise("low_rank")
def test_leading_axes(device, rng):
    kv = torch.stack([made_of(rng, 9, 6, FALLING[i:])[2] for i in range(6)]).view(2, 3, 9, 6)
    got = day26.low_rank(kv, 2)
    check_low_rank(got, kv, 2, "of (2, 3, 9, 6)")
    for i in range(2):
        for j in range(3):
            alone = day26.low_rank(kv[i, j], 2)
            wanted = alone[0] @ alone[1]
            near = got[0][i, j] @ got[1][i, j]
            close(near, wanted, terms=1000, scale=100.0, name=f"matrix {i}, {j} of six")
    empty = torch.empty(0, 9, 6, dtype=WIDE, device=device)
    check_low_rank(day26.low_rank(empty, 2), empty, 2, "of no matrices")


@exercise("low_rank")
def test_a_code_for_what_comes_later(device, rng):
    """Vectors that lie in the same directions are made again."""
    base = rng.normal(3, 11, dtype=WIDE)
    _, up = day26.low_rank(rng.normal(20, 3, dtype=WIDE) @ base, 3)
    new = rng.normal(5, 3, dtype=WIDE) @ base
    close(new @ up.mT @ up, new, terms=1000, scale=8.0, name="new vectors of the same directions")


@exercise("low_rank")
def test_more_rank_than_there_is(device, rng):
    flat = rng.normal(9, 2, dtype=WIDE) @ rng.normal(2, 6, dtype=WIDE)
    for name, kv in (("of rank 2", flat), ("of zeros", torch.zeros_like(flat))):
        got = day26.low_rank(kv, 5)
        check_low_rank(got, kv, 5, f"kv {name}, rank 5")
        close(got[0] @ got[1], kv, terms=1000, scale=8.0, name=f"latents @ up for kv {name}")


@exercise("low_rank")
@HALF
def test_low_rank_in_other_dtypes(dtype, device, rng):
    kv = made_of(rng, 24, 12, FALLING)[2].to(dtype)
    left, s, right = torch.linalg.svd(kv.double(), full_matrices=False)
    for rank in (1, 4, 11):
        wanted = (left[:, :rank] * s[:rank]) @ right[:rank]
        got = day26.low_rank(kv, rank)
        check_low_rank(got, kv, rank, f"in {dtype}")
        error = off(got[0].double() @ got[1].double(), wanted)
        limit = 2e-4 if dtype == torch.float32 else 0.02
        assert error < limit, (
            f"latents @ up in {dtype}, rank {rank}: off by {error:.2g} of its length"
        )


@exercise("low_rank")
def test_no_square_of_the_long_side(device, rng):
    for shape in ((2048, 8), (8, 2048)):
        kv = rng.normal(*shape)
        day26.low_rank(kv, 4)  # a GPU's library makes room for itself once
        _, seen = watch(day26.low_rank, kv, 4)
        assert seen.peak_bytes < 2048 * 2048 * 4, (
            f"{seen.peak_bytes:,} bytes at the peak for kv {shape} of {kv.nbytes:,}"
        )


@exercise("low_rank")
@pytest.mark.parametrize(
    "shape, rank",
    [((5, 4), 0), ((5, 4), -1), ((5, 4), 5), ((4, 5), 5), ((2, 3, 7), 4), ((0, 4), 1)],
)
def test_refuses_a_rank(shape, rank, device, rng):
    kv = rng.normal(*shape)
    refused(
        lambda: day26.low_rank(kv, rank), what=f"rank {rank} for kv {shape}", names=(rank, shape)
    )


# reconstruction_error ------------------------------------------------------------------------


def left_out(singular):
    """The share that each rank misses, from the smallest up."""
    squares = [math.fsum(s * s for s in singular[r:]) for r in range(len(singular) + 1)]
    return [math.sqrt(square / squares[0]) for square in squares]


@exercise("reconstruction_error")
@shapes("n, features", (20, 8), (8, 20), (5, 5), (1, 1), (1, 7), (7, 1), (33, 17))
def test_errors(n, features, device, rng):
    m = min(n, features)
    kv = made_of(rng, n, features, FALLING)[2]
    wanted = torch.tensor(left_out(FALLING[:m]), dtype=WIDE, device=device)
    for layout, view in layouts(kv):
        got = day26.reconstruction_error(view)
        close(got, wanted, terms=1000, scale=1.0, name=f"errors of a {layout} kv ({n}, {features})")


@exercise("reconstruction_error")
def test_errors_of_several(device, rng):
    singular = [[5.0 * (1.2 + i / 4) ** -j for j in range(6)] for i in range(6)]
    kv = torch.stack([made_of(rng, 9, 6, s)[2] for s in singular]).view(2, 3, 9, 6)
    kv = kv * rng.uniform(2, 3, 1, 1, dtype=WIDE, low=0.5, high=20.0)
    wanted = torch.tensor([left_out(s) for s in singular], dtype=WIDE, device=device)
    got = day26.reconstruction_error(kv)
    close(got, wanted.view(2, 3, 7), terms=1000, scale=1.0, name="errors of six matrices")


@exercise("reconstruction_error")
def test_small_errors_count(device, rng):
    singular = [10.0**-i for i in range(9)]
    got = day26.reconstruction_error(made_of(rng, 30, 9, singular)[2]).tolist()
    for rank, (found, wanted) in enumerate(zip(got[:8], left_out(singular), strict=False)):
        assert abs(found / wanted - 1) < 1e-3, f"rank {rank}: {found}, but {wanted} is missed"


@exercise("reconstruction_error")
def test_errors_of_nothing(device, rng):
    kv = torch.stack([torch.zeros(5, 3, dtype=WIDE, device=device), rng.normal(5, 3, dtype=WIDE)])
    got = day26.reconstruction_error(kv)
    close(got[0], torch.zeros(4, dtype=WIDE, device=device), name="errors of zeros")
    assert got[1, 0] == 1, f"rank 0 misses all of the other matrix, not {got[1, 0].item()}"
    for shape in ((0, 4), (4, 0)):
        got = day26.reconstruction_error(torch.empty(shape, dtype=WIDE, device=device))
        close(got, torch.zeros(1, dtype=WIDE, device=device), name=f"errors of an empty {shape}")


@exercise("reconstruction_error")
@HALF
def test_errors_in_other_dtypes(dtype, device, rng):
    kv = made_of(rng, 24, 12, FALLING)[2].to(dtype)
    got = day26.reconstruction_error(kv)
    assert got.dtype == torch.float32, f"kv is {dtype}, the errors are {got.dtype}"
    left, s, right = torch.linalg.svd(kv.double(), full_matrices=False)
    for rank in (0, 1, 4, 11, 12):
        near = (left[:, :rank] * s[:rank]) @ right[:rank]
        wanted = off(near, kv)
        assert abs(got[rank].item() - wanted) < 1e-4, (
            f"{dtype}, rank {rank}: {got[rank].item():.6f}, but {wanted:.6f} is missed"
        )


@exercise("reconstruction_error")
def test_no_loop_over_ranks(device, rng):
    seen = []
    for m in (3, 40):
        _, work = watch(day26.reconstruction_error, rng.normal(50, m))
        seen.append(len(work.operators))
    assert seen[1] <= seen[0] + 4, f"operators for 3 and for 40 features: {seen}"


# cache_elements ------------------------------------------------------------------------------


def held(heads, head_dim):
    """What day 22's cache holds of one token."""
    cache = KVCache(1, heads, 1, head_dim)
    return cache.keys.numel() + cache.values.numel()


@exercise("cache_elements")
@EACH
def test_elements(config):
    got = day26.cache_elements(config)
    wanted = {"MHA": held(config.heads, config.head_dim)}
    wanted["GQA"] = held(config.kv_heads, config.head_dim)
    wanted["MQA"] = held(1, config.head_dim)
    if config.latent:
        kept = torch.cat([torch.empty(config.latent), torch.empty(config.rope_dim)])
        wanted["MLA"] = kept.numel()
    assert list(got) == list(wanted), f"the kinds are {list(got)}, expected were {list(wanted)}"
    for kind, n in wanted.items():
        assert got[kind] == n, f"{kind}: {got[kind]} numbers were said, a token takes {n}"
        assert type(got[kind]) is int, f"{kind} is a {type(got[kind]).__name__}, {got[kind]}"


@exercise("cache_elements")
def test_elements_as_published():
    got = day26.cache_elements(day26.DEEPSEEK_V2)
    assert got["MLA"] == 576, f"DeepSeek-V2 keeps 576 numbers of a token and layer, not {got}"
    share = got["MLA"] / got["MHA"]
    assert round(100 * share, 1) == 1.8, f"{share:.2%} of what all heads' keys and values take"
    groups = got["MLA"] / got["MQA"]
    assert groups == 2.25, f"as much as {groups} heads of keys and values; the paper says 2.25"


@exercise("cache_elements")
def test_elements_make_no_tensor():
    _, seen = watch(day26.cache_elements, CONFIGS[2])
    assert not seen.operators, f"it is arithmetic, but {seen.operators[0]} was called"


# cache_saving --------------------------------------------------------------------------------


@exercise("cache_saving")
@pytest.mark.parametrize("before_bits, after_bits", [(16, 16), (16, 6), (8, 16), (4.5, 3)])
def test_savings(before_bits, after_bits):
    for old in CONFIGS:
        for new in CONFIGS:
            for kind in day26.cache_elements(old):
                for other in day26.cache_elements(new):
                    before = day26.Cache(old, kind, before_bits)
                    after = day26.Cache(new, other, after_bits)
                    had = old.layers * day26.cache_elements(old)[kind] * before_bits
                    has = new.layers * day26.cache_elements(new)[other] * after_bits
                    got, wanted = day26.cache_saving(before, after), (had - has) / had
                    assert math.isclose(got, wanted, rel_tol=1e-9, abs_tol=1e-12), (
                        f"{had:g} bits a token before and {has:g} after: {got} was said to be saved"
                    )


@exercise("cache_saving")
def test_the_papers_figure():
    before = day26.Cache(day26.DEEPSEEK_67B, "GQA")
    for bits, wanted in ((16, 82.2), (6, 93.3)):
        got = day26.cache_saving(before, day26.Cache(day26.DEEPSEEK_V2, "MLA", bits))
        assert round(100 * got, 1) == wanted, (
            f"DeepSeek-V2 with {bits} bits against the 67B model: {got:.1%} saved, not {wanted} %"
        )


@exercise("cache_saving")
def test_refuses_a_kind():
    good = day26.Cache(day26.DEEPSEEK_V2, "MLA")
    for bad in (day26.Cache(day26.DEEPSEEK_67B, "MLA"), day26.Cache(day26.DEEPSEEK_V2, "LSTM")):
        for pair in ((good, bad), (bad, good)):
            refused(
                lambda p=pair: day26.cache_saving(*p),
                what=f"the kind {bad.kind!r}",
                names=[bad.kind],
            )


# SimpleLatentAttention -----------------------------------------------------------------------


def make(rng, device, *sizes, dtype=WIDE, **options):
    module = day26.SimpleLatentAttention(*sizes, **options).to(device, dtype)
    return random_weights(module, rng).eval()


def seen_by(queries, keys, device):
    """Who may look where when the last query stands at the last key."""
    rows = [[j <= i + keys - queries for j in range(keys)] for i in range(queries)]
    return torch.tensor(rows, dtype=torch.bool, device=device).reshape(queries, keys)


def plain(module, x, mask=None):
    """The module's attention head by head; a row of a mask sees one key at least."""
    d, heads = module.head_dim, []
    q, c = (F.linear(x, p.weight, p.bias) for p in (module.q_proj, module.down_proj))
    k, v = (F.linear(c, p.weight, p.bias) for p in (module.k_up, module.v_up))
    for h in range(module.heads):
        part = slice(h * d, (h + 1) * d)
        scores = q[..., part] @ k[..., part].mT / math.sqrt(d)
        if mask is not None:
            each = mask[..., h if mask.shape[-3] > 1 else 0, :, :] if mask.dim() > 2 else mask
            if each.dtype == torch.bool:
                scores = scores.masked_fill(~each, -torch.inf)
            else:
                scores = scores + each
        heads.append(scores.softmax(-1) @ v[..., part])
    return F.linear(torch.cat(heads, -1), module.out_proj.weight, module.out_proj.bias)


@exercise("SimpleLatentAttention")
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize("head_dim", [None, 5])
def test_parameters(head_dim, bias):
    module = day26.SimpleLatentAttention(12, 6, 7, head_dim=head_dim, bias=bias, dropout=0.25)
    d = head_dim or 2
    wanted = {"q_proj": (6 * d, 12), "down_proj": (7, 12), "k_up": (6 * d, 7), "v_up": (6 * d, 7)}
    wanted["out_proj"] = (12, 6 * d)
    sizes = {f"{name}.weight": size for name, size in wanted.items()}
    if bias:
        sizes |= {f"{name}.bias": s[:1] for name, s in wanted.items() if name != "down_proj"}
    found = {name: tuple(p.shape) for name, p in module.state_dict().items()}
    assert found == sizes, f"the parameters are {found}, expected were {sizes}"
    attributes = [module.dim, module.heads, module.latent, module.head_dim, module.dropout]
    assert attributes == [12, 6, 7, d, 0.25], f"dim, heads, latent, ... are {attributes}"


@exercise("SimpleLatentAttention")
def test_no_bias_by_default():
    found = list(day26.SimpleLatentAttention(4, 2, 3).state_dict())
    assert not [name for name in found if "bias" in name], f"the parameters are {found}"


@exercise("SimpleLatentAttention")
@pytest.mark.parametrize(
    "dim, heads, latent, named",
    [(10, 4, 3, (10, 4)), (12, 0, 3, (12, 0)), (12, -2, 3, (12, -2)), (12, 6, 0, (0,)),
     (12, 6, -3, (-3,))],
)  # fmt: skip
def test_refuses_sizes(dim, heads, latent, named):
    what = f"dim {dim}, {heads} heads, latent {latent}"
    refused(lambda: day26.SimpleLatentAttention(dim, heads, latent), what=what, names=named)


@exercise("SimpleLatentAttention", ban=BAN)
@shapes("batch, length, dim, heads, latent", (2, 5, 10, 6, 7), (1, 1, 1, 1, 1), (3, 4, 8, 4, 1),
        (2, 7, 6, 3, 20), (0, 3, 4, 2, 3))  # fmt: skip
def test_module_values(batch, length, dim, heads, latent, device, rng):
    x = rng.normal(batch, length, dim, dtype=WIDE)
    for bias in (True, False):
        module = make(rng, device, dim, heads, latent, head_dim=3, bias=bias)
        c = F.linear(x, module.down_proj.weight).detach()
        same(module.compress(x), c, f"latents, bias={bias}")
        for name, layer, got in zip(
            ("keys", "values"), (module.k_up, module.v_up), module.expand(c), strict=True
        ):
            flat = F.linear(c, layer.weight, layer.bias).detach()
            wanted = torch.stack([flat[..., 3 * h : 3 * h + 3] for h in range(heads)], 1)
            same(got, wanted, f"{name} of expand, bias={bias}")
        for causal in (False, True):
            mask = seen_by(length, length, device) if causal else None
            wanted = plain(module, x, mask).detach()
            for layout, view in layouts(x):
                same(module(view, causal=causal), wanted, f"of a {layout} x, causal={causal}")


@exercise("SimpleLatentAttention", ban=BAN)
@pytest.mark.parametrize("kind", ["bool", "float"])
@pytest.mark.parametrize("shape", [(5, 5), (2, 1, 1, 5), (6, 5, 5), (2, 6, 5, 5)], ids=str)
def test_masks(kind, shape, device, rng):
    module = make(rng, device, 12, 6, 7)
    x = rng.normal(2, 5, 12, dtype=WIDE)
    mask = rng.boolean(*shape, p=0.6).clone()
    mask[..., 0] = True
    causal = seen_by(5, 5, device)
    if kind == "float":
        mask = rng.normal(*shape, dtype=WIDE, std=3.0).masked_fill(~mask, -torch.inf)
        both = mask.masked_fill(~causal, -torch.inf)
    else:
        both = mask & causal
    same(module(x, mask), plain(module, x, mask).detach(), f"with a {kind} mask {shape}")
    wanted = plain(module, x, both).detach()
    same(module(x, mask, causal=True), wanted, f"causal with a {kind} mask {shape}")


@exercise("SimpleLatentAttention", ban=BAN)
def test_gradients(device, rng):
    module = make(rng, device, 12, 6, 7, bias=True)
    x = rng.normal(2, 5, 12, dtype=WIDE).requires_grad_()
    probe, mask = rng.normal(2, 5, 12, dtype=WIDE), seen_by(5, 5, device)
    names = ["x", *(name for name, _ in module.named_parameters())]
    leaves = [x, *module.parameters()]
    found = torch.autograd.grad(module(x, causal=True), leaves, probe)
    wanted = torch.autograd.grad(plain(module, x, mask), leaves, probe)
    for name, got, right in zip(names, found, wanted, strict=True):
        close(got, right, terms=4096, scale=64.0, name=f"gradient of {name}")


@exercise("SimpleLatentAttention", ban=BAN)
@pytest.mark.parametrize("chunks", [[1] * 9, [9], [4, 1, 1, 3], [0, 9]], ids=str)
def test_step_by_step(chunks, device, rng):
    module = make(rng, device, 12, 6, 7, bias=True)
    x = rng.normal(2, 9, 12, dtype=WIDE)
    wanted = plain(module, x, seen_by(9, 9, device)).detach()
    codes = F.linear(x, module.down_proj.weight).detach()
    past, at = None, 0
    for new in chunks:
        before = None if past is None else past.clone()
        result, latents = module.step(x[:, at : at + new], past)
        assert past is None or torch.equal(past, before), "step changed past"
        at += new
        same(result, wanted[:, at - new : at], f"of tokens {at - new} to {at - 1}, in {chunks}")
        same(latents, codes[:, :at], f"latents of {at} tokens, in {chunks}")
        past = latents.detach()


@exercise("SimpleLatentAttention", ban=BAN)
def test_step_keeps_latents_alone(device, rng):
    module = make(rng, device, 64, 16, 8, dtype=torch.float32)
    x, past = rng.normal(4, 1, 64), rng.normal(4, 255, 8)

    def step(x, past):
        with torch.no_grad():
            return module.step(x, past)

    step(x, past)  # a GPU's library makes room for itself once
    (result, latents), seen = watch(step, x, past)
    given = result.nbytes + latents.nbytes
    assert seen.live_bytes <= given + 2048, (
        f"{seen.live_bytes:,} bytes are still there after a step; result and latents have {given:,}"
    )


@exercise("SimpleLatentAttention", ban=BAN)
def test_without_a_batch(device, rng):
    module = make(rng, device, 12, 6, 7)
    x, past = rng.normal(2, 5, 12, dtype=WIDE), rng.normal(2, 4, 7, dtype=WIDE)
    same(module(x[1]), plain(module, x)[1].detach(), "of one sequence alone")
    both, one = module.step(x, past), module.step(x[1], past[1])
    for name, got, wanted in zip(("result", "latents"), one, both, strict=True):
        same(got, wanted[1].detach(), f"{name} of a step of one sequence alone")


@exercise("SimpleLatentAttention", ban=BAN)
def test_stands_in_a_block(device, rng):
    block = EncoderBlock(12, 6).to(device, WIDE)
    block.attention = make(rng, device, 12, 6, 7)
    x, mask = rng.normal(2, 5, 12, dtype=WIDE), rng.boolean(2, 1, 1, 5, p=0.7).clone()
    mask[..., 0] = True
    both = mask & seen_by(5, 5, device)
    wanted = x + plain(block.attention, block.attention_norm(x), both)
    wanted = wanted + block.feed_forward(block.feed_forward_norm(wanted))
    same(block.eval()(x, mask, causal=True), wanted.detach(), "of a block with this attention")


@exercise("SimpleLatentAttention", ban=BAN)
def test_dropout(device, rng):
    module = make(rng, device, 12, 6, 7, bias=True, dropout=1.0)
    x = rng.normal(2, 5, 12, dtype=WIDE)
    same(module(x), plain(module, x).detach(), "in eval mode")
    wanted = module.out_proj.bias.detach().expand(2, 5, 12)
    module.train()
    same(module(x), wanted, "in training, when every weight is dropped")
    same(module.step(x)[0], wanted, "of a step in training, when every weight is dropped")


@exercise("SimpleLatentAttention", ban=BAN)
def test_refuses_features(device, rng):
    module = make(rng, device, 12, 6, 7, dtype=torch.float32)
    for shape in ((2, 5, 7), (2, 5, 1)):
        x = rng.normal(*shape)
        for name, f in (("forward", module), ("compress", module.compress), ("step", module.step)):
            refused(
                lambda f=f, x=x: f(x), what=f"{name}: x {shape} with dim 12", names=("x", shape, 12)
            )
    x = rng.normal(2, 5, 12)
    for shape in ((2, 4, 12), (2, 4, 1)):
        past = rng.normal(*shape)
        refused(
            lambda p=past: module.step(x, p),
            what=f"past {shape}, latent 7",
            names=("past", shape, 7),
        )
        refused(
            lambda p=past: module.expand(p), what=f"latents {shape}", names=("latents", shape, 7)
        )


@exercise("SimpleLatentAttention", ban=BAN)
@DTYPES
def test_module_in_other_dtypes(dtype, device, rng):
    module = make(rng, device, 12, 6, 7, dtype=dtype)
    x, past = rng.normal(2, 5, 12, dtype=dtype), rng.normal(2, 4, 7, dtype=dtype)
    twin = copy.deepcopy(module).double()
    limit = 0.08 if dtype == torch.bfloat16 else 2e-5
    for name, result, wanted in (
        ("forward", module(x, causal=True), twin(x.double(), causal=True)),
        ("step", module.step(x, past)[0], twin.step(x.double(), past.double())[0]),
    ):
        assert result.dtype == dtype, f"everything is {dtype}, but {name}'s result {result.dtype}"
        error = off(result, wanted)
        assert error < limit, f"{name} in {dtype} is off by {error:.2g} of its length"


@exercise("SimpleLatentAttention", seconds=60)  # no ban: its watching cannot be compiled
def test_compiles(device, rng):
    module = make(rng, device, 12, 6, 7, dtype=torch.float32)
    x = rng.normal(2, 5, 12)

    def attention(x):
        return module(x, causal=True)

    compiled = torch.compile(attention, backend="aot_eager", fullgraph=True, dynamic=False)
    parameters, results = list(module.parameters()), []
    for f in (attention, compiled):
        out = f(x)
        grads = torch.autograd.grad(out.square().sum(), parameters)
        results.append(torch.cat([t.detach().double().flatten() for t in (out, *grads)]))
    error = off(results[1], results[0])
    assert error < 1e-4, f"compiled: result and gradients are off by {error:.2g} of their length"


# mha_to_mla ----------------------------------------------------------------------------------


def multi_head(rng, device, *sizes, dtype=WIDE, **options):
    return random_weights(MultiHeadAttention(*sizes, **options).to(device, dtype), rng).eval()


def stacked(attention):
    return torch.cat([attention.k_proj.weight, attention.v_proj.weight]).detach().double()


@exercise("mha_to_mla")
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
@shapes("dim, heads, head_dim, latent", (8, 2, 4, 8), (12, 3, 4, 5), (6, 1, 2, 4), (1, 1, 1, 1),
        (10, 2, 3, 1))  # fmt: skip
def test_what_fits_is_kept(dim, heads, head_dim, latent, bias, device, rng):
    """Keys and values together span ``latent`` directions: nothing is lost."""
    attention = multi_head(rng, device, dim, heads, head_dim=head_dim, bias=bias)
    w = rng.normal(2 * heads * head_dim, latent, dtype=WIDE) @ rng.normal(latent, dim, dtype=WIDE)
    w = 2 * w / w.norm(dim=1, keepdim=True)
    with torch.no_grad():
        for layer, part in zip((attention.k_proj, attention.v_proj), w.chunk(2), strict=True):
            layer.weight.copy_(part)
    new = day26.mha_to_mla(attention, latent)
    x = rng.normal(2, 5, dim, dtype=WIDE)
    close(new.compress(x).norm(dim=-1), (x @ w.mT).norm(dim=-1), terms=1000, scale=16.0,
          name="the lengths of the latents")  # fmt: skip
    for name, got, wanted in zip(
        ("keys", "values"), new.expand(new.compress(x)), attention.project(x)[1:], strict=True
    ):
        close(got, wanted.detach(), terms=1000, scale=16.0, name=f"{name} for a latent of {latent}")
    for causal in (False, True):
        wanted = attention(x, causal=causal).detach()
        close(new(x, causal=causal), wanted, terms=4096, scale=64.0, name=f"causal={causal}")


@exercise("mha_to_mla")
@pytest.mark.parametrize("latent", [1, 5, 11])
def test_as_little_is_lost_as_can_be(latent, device, rng):
    attention = multi_head(rng, device, 12, 3)
    w = stacked(attention)
    s = torch.linalg.svdvals(w)
    new = day26.mha_to_mla(attention, latent)
    ups = torch.cat([new.k_up.weight, new.v_up.weight])
    lost = off(ups @ new.down_proj.weight, w)
    least = (s[latent:].square().sum() / s.square().sum()).sqrt().item()
    assert abs(lost - least) < 1e-9, (
        f"latent {latent}: {lost:.6f} of W is lost, {least:.6f} must be"
    )


@exercise("mha_to_mla")
@pytest.mark.parametrize("latent", [1, 4, 9])
def test_tokens_decide_what_is_lost(latent, device, rng):
    attention = multi_head(rng, device, 12, 3)
    spread = torch.tensor([2.0**-i for i in range(12)], dtype=WIDE, device=device)
    tokens = rng.normal(3, 9, 12, dtype=WIDE) * spread @ rng.normal(12, 12, dtype=WIDE) + 0.5
    vectors = tokens.reshape(27, 12) @ stacked(attention).mT
    s = torch.linalg.svdvals(vectors)
    least = (s[latent:].square().sum() / s.square().sum()).sqrt().item()
    for layout, view in layouts(tokens):
        new = day26.mha_to_mla(attention, latent, view)
        ups = torch.cat([new.k_up.weight, new.v_up.weight])
        lost = off((new.compress(tokens) @ ups.mT).reshape(27, 24), vectors)
        assert abs(lost - least) < 1e-9, (
            f"latent {latent}, {layout} tokens: {lost:.6f} of their keys and values is lost, "
            f"{least:.6f} must be"
        )


@exercise("mha_to_mla")
def test_tokens_of_few_directions(device, rng):
    attention = multi_head(rng, device, 12, 3)
    base = rng.normal(4, 12, dtype=WIDE)
    new = day26.mha_to_mla(attention, 4, rng.normal(30, 4, dtype=WIDE) @ base)
    x = rng.normal(2, 5, 4, dtype=WIDE) @ base / 2
    wanted = attention(x, causal=True).detach()
    close(new(x, causal=True), wanted, terms=4096, scale=64.0, name="tokens of the same four")


@exercise("mha_to_mla")
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
@DTYPES
def test_what_is_taken_over(dtype, bias, device, rng):
    attention = multi_head(
        rng, device, 12, 3, head_dim=5, bias=bias, dropout=0.25, dtype=dtype
    ).requires_grad_(False)
    before = {name: p.clone() for name, p in attention.state_dict().items()}
    for training in (True, False):
        new = day26.mha_to_mla(attention.train(training), 7)
        modes = {module.training for module in new.modules()}
        assert modes == {training}, f"training is {training}, in parts of the result {modes}"
    sizes = (new.dim, new.heads, new.latent, new.head_dim, new.dropout)
    assert sizes == (12, 3, 7, 5, 0.25), f"dim, heads, latent, head_dim, dropout are {sizes}"
    kinds = {(p.dtype, p.device.type) for p in new.parameters()}
    assert kinds == {(dtype, device.type)}, f"dtype and device are {kinds}"
    frozen = [name for name, p in new.named_parameters() if not p.requires_grad]
    assert not frozen, f"these do not require a gradient: {frozen}"
    found = new.state_dict()
    pairs = [("q_proj.weight", "q_proj.weight"), ("out_proj.weight", "out_proj.weight")]
    if bias:
        names = (("q_proj", "q_proj"), ("k_up", "k_proj"), ("v_up", "v_proj"))
        pairs += [(f"{a}.bias", f"{b}.bias") for a, b in (*names, ("out_proj", "out_proj"))]
    for name, old in pairs:
        assert torch.equal(found[name], before[old]), f"{name} is not {old} of the given attention"
    biases = [name for name in found if name.endswith("bias")]
    assert bool(biases) == bias, f"the given attention has bias={bias}, the result has {biases}"
    for name, p in attention.state_dict().items():
        assert torch.equal(p, before[name]), f"{name} of the given attention was changed"
    theirs = {p.data_ptr() for p in attention.parameters()}
    shared = [name for name, p in new.named_parameters() if p.data_ptr() in theirs]
    assert not shared, f"these share memory with the given attention: {shared}"


@exercise("mha_to_mla")
@DTYPES
def test_conversion_in_other_dtypes(dtype, device, rng):
    attention = multi_head(rng, device, 12, 3, dtype=dtype)
    w = stacked(attention)
    limit = 0.02 if dtype == torch.bfloat16 else 1e-5
    for tokens in (None, rng.normal(40, 12, dtype=dtype)):
        new = day26.mha_to_mla(attention, 12, tokens)
        ups = torch.cat([new.k_up.weight, new.v_up.weight]).double()
        lost = off(ups @ new.down_proj.weight.double(), w)
        assert lost < limit, f"a latent of 12 for dim 12 in {dtype} loses {lost:.2g} of W"


@exercise("mha_to_mla")
def test_conversion_refuses(device, rng):
    attention = multi_head(rng, device, 12, 3, dtype=torch.float32)
    for latent in (0, -1, 13):
        what = f"latent {latent} for dim 12"
        refused(lambda n=latent: day26.mha_to_mla(attention, n), what=what, names=[latent])
    tokens = rng.normal(5, 12)
    refused(
        lambda: day26.mha_to_mla(attention, 6, tokens),
        what="a latent of 6 from 5 tokens",
        names=[6, 5],
    )
    for shape in ((20, 11), (3, 20, 1)):
        tokens = rng.normal(*shape)
        what = f"tokens {shape} for dim 12"
        refused(
            lambda t=tokens: day26.mha_to_mla(attention, 6, t),
            what=what,
            names=("tokens", shape, 12),
        )
