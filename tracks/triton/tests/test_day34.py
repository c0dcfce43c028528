import math

import hypothesis
import pytest
import torch
import triton
import triton.language as tl
from hypothesis import strategies as st

from harness.testing import (
    close,
    compiled,
    exercise,
    far_apart,
    layouts,
    refused,
    shapes,
    watch,
    why_narrow,
)
from tracks.triton import day19, day32, day34

F32, F16, BF16 = torch.float32, torch.float16, torch.bfloat16
DTYPES = {"float32": F32, "float16": F16, "bfloat16": BF16}
BAN = ["scaled_dot_product_attention", "grad", "backward", "vjp"]
CAUSAL = pytest.mark.parametrize("causal", [False, True], ids=["full", "causal"])
ALL = ("flash_dkdv", "flash_dq", "flash_attention_backward")
GRADIENTS = {"flash_dkdv": "kv", "flash_dq": "q", "flash_attention_backward": "qkv"}
nan, inf = float("nan"), float("inf")
# Under its own name, so that known bugs can be tried in its place.
_query_blocks = day34._query_blocks


def each(*names, **options):
    """The test for each of these exercises, all of them by default."""
    return pytest.mark.parametrize(
        "name", [pytest.param(n, marks=exercise(n, ban=BAN, **options)) for n in names or ALL]
    )


# query_blocks -------------------------------------------------------------------------------


def counted_blocks(tile, queries, keys, causal, block_m, block_n):
    """first and whole, by looking at every query and every key."""
    columns = range(tile * block_n, min(tile * block_n + block_n, keys))
    sees = [[not causal or j <= i + keys - queries for j in columns] for i in range(queries)]
    blocks = [sees[i : i + block_m] for i in range(0, queries, block_m)]
    needed = [any(any(row) for row in block) for block in blocks]
    full = [all(all(row) for row in block) for block in blocks]
    first = needed.index(True) if True in needed else 0
    return first, next((n for n in range(len(blocks)) if all(full[n:])), len(blocks))


def check_blocks(found, sizes):
    expected = counted_blocks(*sizes)
    tile, queries, keys, causal, block_m, block_n = sizes
    assert tuple(found) == expected, (
        f"tile {tile} of {block_n} of {keys} keys, {'causal' if causal else 'full'}, and {queries} "
        f"queries in blocks of {block_m}: block {expected[0]} is the first that is needed, and "
        f"from {expected[1]} on all are whole, but first, whole = {tuple(found)}"
    )


@exercise("query_blocks")
@CAUSAL
def test_blocks_of_all_small_sizes(causal):
    for queries in range(0, 9):
        for keys in range(1, 8):
            for block_m, block_n in ((1, 1), (2, 3), (3, 2), (4, 4), (8, 2), (1, 9)):
                for tile in range(-(-keys // block_n)):
                    sizes = (tile, queries, keys, causal, block_m, block_n)
                    check_blocks(day34.query_blocks(*sizes), sizes)


@exercise("query_blocks")
def test_blocks_of_long_texts():
    tiles = 16_384 // 128
    first = [day34.query_blocks(tile, 16_384, 16_384, True, 128, 128)[0] for tile in range(tiles)]
    left, due = tiles**2 - sum(first), tiles * (tiles + 1) // 2
    assert left == due, f"of {tiles**2} blocks a causal mask leaves {due}, not {left}"


@triton.jit
def blocks_kernel(out_ptr, queries, keys, CAUSAL: tl.constexpr, M: tl.constexpr, N: tl.constexpr):
    first, whole = _query_blocks(tl.program_id(0), queries, keys, CAUSAL, M, N)
    tl.store(out_ptr + 2 * tl.program_id(0), first)
    tl.store(out_ptr + 2 * tl.program_id(0) + 1, whole)


@exercise("query_blocks")
@CAUSAL
@pytest.mark.parametrize("queries, keys", [(7, 12), (12, 7), (0, 9), (5, 1), (11, 11), (2, 13)])
def test_blocks_in_a_kernel(queries, keys, causal, device):
    tiles = -(-keys // 3)
    out = torch.empty(tiles, 2, dtype=torch.int32, device=device)
    blocks_kernel[(tiles,)](out, queries, keys, CAUSAL=causal, M=2, N=3)
    for tile, found in enumerate(out.tolist()):
        check_blocks(found, (tile, queries, keys, causal, 2, 3))


# The gradients ------------------------------------------------------------------------------


def scores64(q, k, causal, scale):
    """In float64, with -inf where a query does not see a key; k is repeated for each head of q."""
    s = scale * (q @ k.mT)
    if causal:
        i, j = (torch.arange(n, device=s.device) for n in s.shape[-2:])
        s = torch.where(j <= i[:, None] + s.shape[-1] - s.shape[-2], s, -inf)
    return s


def forward64(q, k, v, causal, scale):
    """o in q's dtype and lse in float32, as day 32 returns them, from float64."""
    group = q.shape[1] // max(k.shape[1], 1)
    q64, k64, v64 = q.double(), *(x.double().repeat_interleave(group, 1) for x in (k, v))
    s = scores64(q64, k64, causal, scale)
    p = torch.where(s == -inf, 0.0, s.softmax(-1))
    lse = s.logsumexp(-1) if s.shape[-1] else torch.full_like(s.sum(-1), -inf)
    return (p @ v64).to(q.dtype), lse.float()


def shared(x, group):
    """Summed over the heads of q that share a head of k and v."""
    return x.reshape(x.shape[0], x.shape[1] // max(group, 1), group, *x.shape[2:]).sum(2)


def gradients64(q, k, v, o, lse, do, causal, scale):
    """By name, each in float64 with what float32 and the inputs' dtype may lose on the way."""
    group = q.shape[1] // max(k.shape[1], 1)
    coarse = torch.finfo(q.dtype).eps / torch.finfo(F32).eps
    dim = math.sqrt(q.shape[3])
    q, k, v, o, lse, do = (x.double() for x in (q, k, v, o, lse, do))
    k, v = (x.repeat_interleave(group, 1) for x in (k, v))
    s = scores64(q, k, causal, scale)
    low = torch.where(lse == -inf, inf, lse)[..., None]
    p = (s - low).exp()
    delta = (do * o).sum(-1, keepdim=True)
    dp = do @ v.mT
    ds = p * (dp - delta)
    # A score may be off by an eps of its summands' size and of itself, a weight by that share.
    lost = 1 + scale * (q.square() @ k.square().mT).sqrt() * dim
    lost = lost + torch.where(p > 0, s.abs() + low.abs(), 0.0)
    p_size = p * (lost + coarse)
    dp_size = ((do.square() @ v.square().mT).sqrt() + (do * o).norm(dim=-1, keepdim=True)) * dim
    ds_size = p * dp_size + p * lost * (dp - delta).abs() + coarse * ds.abs()
    # Partial sums of a long sum are rounded, too.
    rows, columns = (1 + math.sqrt(n / 16) for n in s.shape[-2:])

    def summed(weights, others, runs, group=1):
        return shared(runs**2 * (weights.square() @ others.square()), group).sqrt()

    return {
        "q": (scale * (ds @ k), scale * summed(ds_size, k, columns)),
        "k": (scale * shared(ds.mT @ q, group), scale * summed(ds_size.mT, q, rows, group)),
        "v": (shared(p.mT @ do, group), summed(p_size.mT, do, rows, group)),
    }


def small(monkeypatch, block_m=16, block_n=16):
    """Small tiles for the day in hand, so that few queries and keys make many of them."""

    def config(dim, element_size):
        block_d = max(16, 2 ** (dim - 1).bit_length())
        tile = {"BLOCK_M": block_m, "BLOCK_N": block_n, "BLOCK_D": block_d}
        return {**tile, "num_warps": 4, "num_stages": 2}

    monkeypatch.setattr(day34, "_dkdv_config", config)
    monkeypatch.setattr(day34, "_dq_config", config)


def named(name, results):
    """What the exercise has returned, as a dict."""
    if name == "flash_dq":
        results = (results,)
    assert isinstance(results, (tuple, list)) and len(results) == len(GRADIENTS[name]), (
        f"{name} is to return {' and '.join('d' + x for x in GRADIENTS[name])}"
    )
    return dict(zip(GRADIENTS[name], results, strict=True))


def run(name, q, k, v, o, lse, do, causal, scale):
    """The gradients by name, and what ``watch`` saw."""
    if name == "flash_attention_backward":
        results, seen = watch(day34.flash_attention_backward, q, k, v, o, lse, do, causal, scale)
    else:
        delta = (do.double() * o.double()).sum(-1).float()
        results, seen = watch(getattr(day34, name), q, k, v, do, lse, delta, causal, scale)
    return named(name, results), seen


def check(name, q, k, v, causal=False, scale=None, do=None, values=None, about="", **options):
    """``values``: what q, k, v and do hold, where their memory is too large to be converted."""
    do = torch.ones_like(q) if do is None else do
    plain = values or (q, k, v, do)
    scale = q.shape[3] ** -0.5 if scale is None else scale
    o, lse = forward64(*plain[:3], causal, scale)
    expected = gradients64(*plain[:3], o, lse, plain[3], causal, scale)
    if values and name != "flash_attention_backward":
        delta = (plain[3].double() * o.double()).sum(-1).float()
        results = named(name, getattr(day34, name)(q, k, v, do, lse, delta, causal, scale))
    else:
        results, seen = run(name, q, k, v, o, lse, do, causal, scale)
        check_launches(name, seen, results, q, k)
    for which, x in results.items():
        right, size = expected[which]
        close(x, right, dtype=q.dtype, scale=size, name=f"d{which}{about}", **options)


def check_launches(name, seen, results, q, k):
    for which, x in results.items():
        assert x.is_contiguous(), f"d{which} has the strides {x.stride()}, not contiguous ones"
    room = sum(x.numel() * x.element_size() for x in results.values())
    rest = ""
    if name == "flash_attention_backward":
        room += 4 * q.shape[:3].numel()
        rest = " and delta"
    assert seen.peak_bytes <= room + 2048, (
        f"the results{rest} take {room} bytes, but {seen.peak_bytes} were allocated: is an operand "
        "copied, or something of the size queries x keys stored?"
    )
    if not (any(x.numel() for x in results.values()) or seen.launches):
        return
    if name == "flash_attention_backward":
        assert len(seen.launches) <= 3, f"expected 3 kernel launches, saw {len(seen.launches)}"
        return
    assert len(seen.launches) == 1, f"expected 1 kernel launch, saw {len(seen.launches)}"
    (launch,) = seen.launches
    assert math.prod(launch.grid[1:]) == 1, f"the grid {launch.grid} has more than one axis"
    x, config, block = (
        (q, day34._dq_config, "BLOCK_M")
        if name == "flash_dq"
        else (k, day34._dkdv_config, "BLOCK_N")
    )
    rows = config(q.shape[3], q.element_size())[block]
    due = x.shape[0] * x.shape[1] * -(-x.shape[2] // rows)
    assert launch.programs == due, f"{launch.programs} programs were launched, but {due} were due"


def operands(rng, batch, heads, kv_heads, queries, keys, dim, dtype=F16):
    """q, k, v and do."""
    q, do = (rng.normal(batch, heads, queries, dim, dtype=dtype) for _ in range(2))
    k, v = (rng.normal(batch, kv_heads, keys, dim, dtype=dtype) for _ in range(2))
    return q, k, v, do


def token_order(x):
    """x (batch, heads, n, dim), as a view of memory in the order (batch, n, heads, dim)."""
    return x.transpose(1, 2).clone(memory_format=torch.contiguous_format).transpose(1, 2)


@each("flash_dkdv", "flash_dq")
def test_heads_share_keys_with_their_neighbours(name, rng, monkeypatch):
    small(monkeypatch)
    q, k, v, do = (x.clone() for x in operands(rng, 1, 6, 2, 5, 17, 16, F32))
    do *= torch.arange(1.0, 7.0, device=q.device)[:, None, None]
    v[:, 1] *= 100
    check(name, q, k, v, True, do=do)


@each()
def test_scales(name, rng, monkeypatch):
    small(monkeypatch)
    q, k, v, do = operands(rng, 1, 1, 1, 17, 20, 16, F32)
    check(name, q, k, v, True, 2.0, do=do)
    check(name, 30 * q, 30 * k, v, True, 1.0, do=do)


@each("flash_dkdv", "flash_dq")
def test_hidden_scores_far_above_the_others(name, rng, monkeypatch):
    """exp of a hidden score is inf; hidden, it counts for nothing."""
    small(monkeypatch)
    q, k, v, do = (x.clone() for x in operands(rng, 1, 2, 1, 24, 24, 16, F32))
    q[..., 0] = 1.0
    k[..., 0] = 400.0 * torch.arange(24.0, device=q.device)
    check(name, q, k, v, True, 1.0, do=do)
    k[..., 0] = -3000.0
    check(name, q[:, :, :20], k[:, :, :19], v[:, :, :19], False, 1.0, do=do[:, :, :20])


@each()
def test_queries_that_see_no_key(name, rng, monkeypatch):
    """More queries than keys: whole tiles without a key, and tiles in which some rows have one."""
    small(monkeypatch)
    q, k, v, do = operands(rng, 1, 1, 1, 36, 6, 16, F32)
    check(name, q, k, v, True, do=100 * do)
    if "q" in GRADIENTS[name]:
        o, lse = forward64(q, k, v, True, 0.25)
        results, _ = run(name, q, k, v, o, lse, do, True, 0.25)
        assert results["q"][:, :, :30].eq(0).all(), "a query that sees no key is to have dq = 0"


@exercise("flash_attention_backward", ban=BAN)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_takes_what_the_forward_pass_kept(dtype, rng):
    q, k, v, do = operands(rng, 1, 2, 1, 17, 20, 16, DTYPES[dtype])
    o, lse = day32.flash_attention_forward(q, k, v, True)
    results, _ = run("flash_attention_backward", q, k, v, o, lse, do, True, 0.25)
    expected = gradients64(q, k, v, o, lse, do, True, 0.25)
    for which, x in results.items():
        right, size = expected[which]
        close(x, right, dtype=q.dtype, scale=size, name=f"d{which}")
    default = day34.flash_attention_backward(q, k, v, o, lse, do, True)
    for which, x in zip("qkv", default, strict=True):
        right, size = expected[which]
        close(x, right, dtype=q.dtype, scale=size, name=f"d{which} without a scale")


@each("flash_dkdv", "flash_dq")
@pytest.mark.parametrize("described", [True, False], ids=["described", "pointers"])
def test_skips_what_is_not_seen(name, described, rng, monkeypatch):
    small(monkeypatch)
    q, k, v, do = (x.clone() for x in operands(rng, 1, 1, 1, 70, 64, 16))
    if not described:
        q, k, v, do = (torch.cat([x, x], -1)[..., ::2].copy_(x) for x in (q, k, v, do))
    o, lse = forward64(q, k, v, True, 0.25)
    expected = gradients64(q, k, v, o, lse, do, True, 0.25)
    delta = (do.double() * o.double()).sum(-1).float()
    # Query i sees the keys j <= i - 6.
    if name == "flash_dq":
        k[:, :, 48:], v[:, :, 48:] = nan, nan
        part, what = (
            slice(0, 48),
            "k and v hold nan in blocks that no query of the first tiles sees",
        )
    else:
        q[:, :, :32], do[:, :, :32] = nan, nan
        part, what = slice(32, 64), "q and do hold nan in blocks that see no key of the last tiles"
    results = getattr(day34, name)(q, k, v, do, lse, delta, True, 0.25)
    for which, x in named(name, results).items():
        assert not x[:, :, part].isnan().any(), (
            f"{what}, and yet it is in their d{which}: a tile reads blocks that are to be skipped"
        )
        right, size = expected[which]
        close(x[:, :, part], right[:, :, part], dtype=F16, scale=size[:, :, part])


@each()
def test_reads_any_strides(name, rng, monkeypatch):
    """Each of q, k, v and do in each layout once, all four in different ones at a time."""
    small(monkeypatch)
    views = []
    for x in operands(rng, 2, 2, 2, 3, 3, 8):
        repeated = x[:1, :1, :1, :1].expand(x.shape)
        views.append(
            [*list(layouts(x))[1:], ("token-order", token_order(x)), ("repeated", repeated)]
        )
    rounds = len(views[0]) if name != "flash_attention_backward" else 1
    for first in range(rounds):
        chosen = [cases[(first + i) % len(cases)] for i, cases in enumerate(views)]
        q, k, v, do = (view for _, view in chosen)
        about = ", ".join(
            f"a {layout} {which}"
            for (layout, _), which in zip(chosen, ("q", "k", "v", "do"), strict=True)
        )
        check(name, q, k, v, True, do=do, about=f" with {about}")


@exercise("flash_attention_backward", ban=BAN)
def test_reads_an_output_of_any_strides(rng, monkeypatch):
    small(monkeypatch)
    q, k, v, do = operands(rng, 2, 2, 2, 3, 4, 8, F32)
    o, lse = forward64(q, k, v, False, 0.5)
    expected = gradients64(q, k, v, o, lse, do, False, 0.5)
    for layout, view in (*list(layouts(o))[-1:], ("token-order", token_order(o))):
        results, _ = run("flash_attention_backward", q, k, v, view, lse, do, False, 0.5)
        for which, x in results.items():
            right, size = expected[which]
            close(x, right, dtype=F32, scale=size, name=f"d{which} with a {layout} o")


@each("flash_dkdv", "flash_dq")
def test_reads_beyond_int32(name, rng, monkeypatch):
    small(monkeypatch)
    # Three batches, then three heads: far_apart moves each axis of three or more.
    for batch, heads, queries, keys, dim in ((3, 1, 2, 2, 2), (1, 3, 2, 2, 2)):
        tensors = operands(rng, batch, heads, heads, queries, keys, dim)
        for i, which in enumerate(("q", "k", "v", "do")):
            for layout, view in far_apart(tensors[i]):
                q, k, v, do = (view if j == i else x for j, x in enumerate(tensors))
                about = f" with a {layout} {which}"
                check(name, q, k, v, do=do, values=tensors, about=about)


@each()
def test_refuses(name, rng):
    q, k, v, do = operands(rng, 2, 4, 2, 5, 6, 8, F32)
    lse = rng.normal(2, 4, 5)

    def attempt(q, k, v, do, lse, scale, o=None):
        if name == "flash_attention_backward":
            return day34.flash_attention_backward(q, k, v, q if o is None else o, lse, do, False,
                                                  scale)  # fmt: skip
        return getattr(day34, name)(q, k, v, do, lse, lse, False, scale)

    for change, what in (
        ((q, k, rng.normal(2, 2, 5, 8), do, lse), "6 keys and 5 values"),
        ((q, k, v.half(), do, lse), "keys in float32 and values in float16"),
        ((q.half(), k, v, do.half(), lse), "queries in float16 and keys in float32"),
        ((q, *(rng.normal(2, 2, 6, 7),) * 2, do, lse), "queries of 8 elements and keys of 7"),
        ((q, *(rng.normal(2, 3, 6, 8),) * 2, do, lse), "4 heads that share 3"),
        ((q, k, v, rng.normal(2, 4, 6, 8), lse), "5 queries and 6 rows of do"),
        ((q, k, v, do.half(), lse), "queries in float32 and do in float16"),
        ((q, k, v, do, rng.normal(2, 4, 6)), "5 queries and 6 numbers of lse"),
        ((q, k, v, do, lse.half()), "an lse in float16"),
        ((q, k, v, do, lse.mT.contiguous().mT), "an lse that is not contiguous"),
    ):
        refused(attempt, *change, 0.5, what=what)
    for scale in (0.0, -1.0, nan):
        refused(attempt, q, k, v, do, lse, scale, what=f"a scale of {scale}")
    if name == "flash_attention_backward":
        refused(attempt, q, k, v, do, lse, 0.5, rng.normal(2, 4, 6, 8), what="6 rows of o")
    else:
        f = getattr(day34, name)
        refused(f, q, k, v, do, lse, rng.normal(2, 4, 6), False, 0.5, what="6 numbers of delta")


@exercise("flash_attention_backward", ban=BAN)
def test_refuses_before_the_first_launch(rng, monkeypatch):
    computed, delta = [], day34.delta

    def noted(*args):
        computed.append(delta(*args))
        return computed[-1]

    monkeypatch.setattr(day34, "delta", noted)
    q, k, v, do = operands(rng, 2, 4, 2, 5, 6, 8, F32)
    lse = rng.normal(2, 4, 5)
    for one, what in ((lse.half(), "an lse in float16"), (lse[..., :4], "4 numbers of lse")):
        refused(day34.flash_attention_backward, q, k, v, q, one, do, what=what)
        assert not computed, f"{what} was refused when delta had been launched already"


@each("flash_dkdv", "flash_dq")
@shapes(
    "batch, heads, kv_heads, queries, keys, dim, dtype, causal",
    *[(1, 1, 1, 1, 1, 1, "float16", True), (1, 2, 1, 17, 33, 8, "float32", True)],
    *[(1, 2, 1, 17, 33, 8, "bfloat16", False), (2, 2, 2, 5, 17, 24, "bfloat16", True)],
    *[(1, 2, 1, 33, 17, 16, "float16", True), (1, 2, 1, 17, 16, 16, "float16", False)],
    *[(1, 3, 1, 20, 3, 20, "float32", False), (1, 1, 1, 1, 40, 40, "bfloat16", True)],
    *[(0, 2, 1, 3, 4, 8, "float16", True), (1, 0, 0, 3, 4, 8, "float16", False)],
    *[(2, 2, 1, 0, 4, 8, "float32", True), (1, 2, 1, 20, 0, 8, "bfloat16", False)],
)
def test_matches_float64(
    name, batch, heads, kv_heads, queries, keys, dim, dtype, causal, rng, monkeypatch
):
    small(monkeypatch)
    q, k, v, do = operands(rng, batch, heads, kv_heads, queries, keys, dim, DTYPES[dtype])
    check(name, q, k, v, causal, do=do)


@each("flash_dkdv", "flash_dq")
@shapes(
    "queries, keys, dim, dtype, causal",
    *[(20, 33, 32, "float32", True), (65, 17, 64, "bfloat16", True)],
    *[(17, 65, 128, "bfloat16", False), (3, 20, 256, "float16", True)],
    gpu=[
        *((2048, 2048, dim, "bfloat16", True) for dim in (16, 32, 64, 80, 96, 128, 256)),
        *((515, 1031, dim, "float16", True) for dim in (64, 96, 128, 256)),
        *((700, 300, dim, "float32", False) for dim in (16, 64, 80, 128, 256)),
    ],
)
def test_with_the_tiles_of_config(name, queries, keys, dim, dtype, causal, rng):
    q, k, v, do = operands(rng, 1, 1, 1, queries, keys, dim, DTYPES[dtype])
    check(name, q, k, v, causal, do=do)


@each("flash_dkdv", "flash_dq")
@shapes("block_m, block_n", (32, 16), (16, 64))
def test_with_tiles_that_are_not_square(name, block_m, block_n, rng, monkeypatch):
    small(monkeypatch, block_m, block_n)
    q, k, v, do = operands(rng, 1, 1, 1, 20, 35, 16, F32)
    check(name, q, k, v, True, do=do)


@each("flash_dkdv", "flash_dq")
def test_keys_that_are_ruled_out_by_infinity(name, rng, monkeypatch):
    """A query whose scores are all -inf has lse = -inf, and gets and gives nothing."""
    small(monkeypatch)
    q, k, v, do = (x.clone() for x in operands(rng, 1, 1, 1, 20, 33, 16, F32))
    o, lse = forward64(q, k, v, False, 0.25)
    lse[..., 3:7], o[:, :, 3:7] = -inf, 0
    expected = gradients64(q, k, v, o, lse, do, False, 0.25)
    results, _ = run(name, q, k, v, o, lse, do, False, 0.25)
    for which, x in results.items():
        right, size = expected[which]
        close(x, right, dtype=F32, scale=size, name=f"d{which} with lse = -inf for some queries")


@each("flash_dkdv", "flash_dq")
def test_what_lies_behind_the_operands_has_no_effect(name, rng, monkeypatch):
    small(monkeypatch)
    for queries, keys, dim in ((20, 20, 24), (17, 31, 16)):
        views = []
        for x in operands(rng, 1, 2, 1, queries, keys, dim):
            memory = torch.full((1, x.shape[1], 80, 40), nan, dtype=F16, device=x.device)
            views.append(memory[:, :, : x.shape[2], :dim].copy_(x))
        q, k, v, do = views
        check(name, q, k, v, queries == keys, do=do)


@each("flash_dkdv", "flash_dq")
def test_long_rows(name, rng):
    q, k, v, do = operands(rng, 1, 1, 1, *((4100, 3) if name == "flash_dkdv" else (3, 4100)), 16)
    check(name, q, k, v, do=do)


@each("flash_dkdv", "flash_dq")
@pytest.mark.parametrize("dtype", [F16, BF16], ids=str)
def test_adds_in_float32(name, dtype, rng, monkeypatch):
    small(monkeypatch, 32, 32)
    q, k, v, do = operands(rng, 1, 1, 1, *((256, 16) if name == "flash_dkdv" else (16, 256)), 16,
                           dtype)  # fmt: skip
    check(name, q, k, v + 4, do=do + 4, factor=1.0)


@each("flash_dkdv", "flash_dq")
@pytest.mark.parametrize("band", [1, 2])
def test_many_heads_in_bands(name, band, rng, monkeypatch):
    small(monkeypatch)
    q, k, v, do = operands(rng, 1, 4, 2, 17, 17, 16)

    def together(x, y, causal):
        found = tuple(x.shape), tuple(y.shape), causal
        due = tuple(q.shape), tuple(k.shape), True
        assert found == due, f"the band was asked for with {found}, and not with {due}"
        return band

    monkeypatch.setattr(day34, "_band" if name == "flash_dkdv" else "_together", together)
    check(name, q, k, v, True, do=do)


@each()
def test_gives_the_same_bits_again(name, rng, monkeypatch):
    small(monkeypatch)
    q, k, v, do = operands(rng, 1, 2, 1, 7, 20, 16, F32)
    o, lse = forward64(q, k, v, True, 0.25)
    once, _ = run(name, q, k, v, o, lse, do, True, 0.25)
    twice, _ = run(name, q, k, v, o, lse, do, True, 0.25)
    for which, x in once.items():
        assert torch.equal(x, twice[which]), f"d{which} differs from run to run"


@exercise("flash_attention_backward", ban=BAN)
@shapes("batch, heads, queries, keys", (0, 2, 3, 4), (1, 0, 3, 4), (2, 2, 0, 4), (1, 2, 3, 0))
def test_empty(batch, heads, queries, keys, rng):
    q, k, v, do = operands(rng, batch, heads, heads, queries, keys, 8, F16)
    check("flash_attention_backward", q, k, v, True, do=do)


@exercise("flash_attention_backward", ban=BAN)
def test_keeps_nothing_of_queries_by_keys(rng):
    q, k, v, do = operands(rng, 1, 1, 1, 100, 130, 16)
    o, lse = forward64(q, k, v, True, 0.25)
    results, seen = run("flash_attention_backward", q, k, v, o, lse, do, True, 0.25)
    check_launches("flash_attention_backward", seen, results, q, k)


@exercise("flash_attention_backward", ban=BAN)
def test_random_sizes(rng, monkeypatch):
    small(monkeypatch)
    sizes = st.tuples(
        *(st.integers(1, 2), st.integers(1, 3), st.integers(0, 33), st.integers(0, 40)),
        *(st.integers(1, 33), st.booleans()),
    )

    @hypothesis.seed(rng.seed)
    @hypothesis.settings(
        max_examples=2,
        deadline=None,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
        phases=[hypothesis.Phase.generate, hypothesis.Phase.shrink],
    )
    @hypothesis.given(sizes)
    def agrees(drawn):
        kv_heads, group, queries, keys, dim, causal = drawn
        q, k, v, do = operands(rng, 1, group * kv_heads, kv_heads, queries, keys, dim, F32)
        about = f" for {queries} queries, {keys} keys, {dim} elements"
        check("flash_attention_backward", q, k, v, causal, do=do, about=about)

    agrees()


@each("flash_attention_backward")
@CAUSAL
@shapes(
    "batch, heads, kv_heads, queries, keys, dim",
    gpu=[
        (2, 32, 8, 1024, 1024, 128),
        (4, 16, 1, 1000, 777, 64),
        (1, 8, 8, 777, 1000, 80),
        (70_000, 1, 1, 3, 5, 16),
    ],
)
def test_large_sizes(name, batch, heads, kv_heads, queries, keys, dim, causal, rng):
    q, k, v, do = operands(rng, batch, heads, kv_heads, queries, keys, dim, BF16)
    check(name, q, k, v, causal, do=do)


# What the compiler makes of it --------------------------------------------------------------


MOST = 512


def check_report(report, described, tensor_core):
    assert report.refused is None, f"the compiler refuses the kernel: {report.refused.text()}"
    form = f"for {report.chip}, {report.specialisation}"
    assert report.spill_bytes <= MOST, (
        f"the kernel spills {report.spill_bytes} bytes a thread {form}"
    )
    assert report.shared_bytes <= report.shared_limit, (
        f"{report.shared_bytes} bytes of shared memory exceed {report.shared_limit} {form}"
    )
    if tensor_core:
        assert str(report.tensor_core).startswith(tensor_core), (
            f"products are computed by {report.tensor_core or 'no tensor core'}, and not by "
            f"{tensor_core}, {form}"
        )
    assert report.tma == described, (
        f"blocks are {'not ' if described else ''}read through descriptors {form}"
    )
    lines = [access["line"] for access in report.accesses if access["kind"] == "atomic"]
    assert not lines, (
        f"there is an atomic operation (line {lines[0] if lines else 0}): the order in which sums "
        "are added would change from run to run"
    )
    for what, width in (("loads", report.widest_load_bits), ("stores", report.widest_store_bits)):
        assert width == 128, f"{what} are {width} bits wide: {why_narrow(report)} {form}"


def check_compiled(name, monkeypatch, rng, chip, cases):
    """Each of cases is (dim, dtype, causal, described): a launch of a few programs."""
    device = {"sm_80": day19.A100, "sm_90": day19.H200}[chip]
    monkeypatch.setattr(day34, "this_device", lambda: device)

    def launch():
        for dim, dtype, causal, described in cases:
            monkeypatch.setattr(day34, "_through_tma", lambda size, tma=described: tma)
            q, k, v, do = operands(rng, 1, 2, 1, 16, 16, dim, dtype)
            lse = torch.zeros(1, 2, 16, device=q.device)
            getattr(day34, name)(q, k, v, do, lse, torch.zeros_like(lse), causal, 0.25)

    for case, report in zip(cases, compiled(launch, chip=chip), strict=True):
        dim, dtype, _, described = case
        tensor_core = "wgmma" if chip == "sm_90" and dim <= 128 else ("mma", "wgmma")
        tensor_core = "" if dtype == F32 else tensor_core
        check_report(report, described, tensor_core)


@each("flash_dkdv", "flash_dq")
def test_compiles_for_hopper(name, rng, monkeypatch):
    cases = [(64, BF16, True, True), (128, BF16, True, True), (80, F16, True, False)]
    check_compiled(name, monkeypatch, rng, "sm_90", cases)


@each("flash_dkdv", "flash_dq")
def test_compiles_for_ampere(name, rng, monkeypatch):
    check_compiled(name, monkeypatch, rng, "sm_80", [(128, F16, True, False)])

