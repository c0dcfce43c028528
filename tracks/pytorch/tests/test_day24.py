"""Day 24: one head of keys, rings that come round and sinks, against attention to all the text."""

import copy
import math

import pytest
import torch

from harness.testing import close, exercise, layouts, refused, shapes, watch
from tracks.pytorch import day24
from tracks.pytorch.day18 import MultiHeadAttention
from tracks.pytorch.day22 import CachedAttention, KVCache
from tracks.pytorch.day23 import GroupedQueryAttention

BAN = ["scaled_dot_product_attention", "multi_head_attention_forward", "repeat_interleave"]
WIDE = torch.float64
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
CHUNKS = [[1] * 19, [19], [5, 1, 1, 7, 1, 4], [3, 3, 3, 3, 3, 3, 1], [4, 4, 0, 8, 2, 1]]


def fill(module, rng):
    """Weights that make scores of about ±4: a wrong head, mask or scale shows everywhere."""
    with torch.no_grad():
        for p in module.parameters():
            std = 2 / math.sqrt(p.shape[1]) if p.dim() > 1 else 0.5
            p.copy_(rng.normal(*p.shape, std=std, dtype=p.dtype))
    return module.eval()


def attend(q, k, v, seen):
    """Attention in float64, each head of keys written out for its queries; every row sees a key."""
    times = q.shape[1] // k.shape[1]
    k, v = (torch.stack([x[:, h // times] for h in range(q.shape[1])], 1).double() for x in (k, v))
    scores = (q.double() @ k.mT / math.sqrt(q.shape[-1])).masked_fill(~seen, -torch.inf)
    weights = (scores - scores.amax(-1, keepdim=True)).exp()
    return weights / weights.sum(-1, keepdim=True) @ v


def band(length, window, device):
    rows = [[0 <= i - j < window for j in range(length)] for i in range(length)]
    return torch.tensor(rows, dtype=torch.bool, device=device).reshape(length, length)


def tokens(rng, batch, heads, length, d, dtype=WIDE, std=1.0):
    return rng.normal(batch, heads, length, d, dtype=dtype, std=std)


def same(got, wanted, name, dtype=WIDE):
    close(got, wanted, dtype=dtype, terms=256, scale=8.0, name=name)


# MultiQueryAttention -------------------------------------------------------------------------


@exercise("MultiQueryAttention")
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize("head_dim", [None, 5])
def test_parameters(head_dim, bias):
    module = day24.MultiQueryAttention(12, 6, head_dim=head_dim, bias=bias, dropout=0.25)
    d = head_dim or 2
    wanted = {"q_proj.weight": (6 * d, 12), "k_proj.weight": (d, 12), "v_proj.weight": (d, 12)}
    wanted |= {"out_proj.weight": (12, 6 * d)}
    if bias:
        wanted |= {n.removesuffix("weight") + "bias": size[:1] for n, size in wanted.items()}
    found = {name: tuple(p.shape) for name, p in module.state_dict().items()}
    assert found == wanted, f"the parameters are {found}, expected were {wanted}"
    attributes = [module.dim, module.heads, module.kv_heads, module.head_dim, module.dropout]
    assert attributes == [12, 6, 1, d, 0.25], f"dim, heads, kv_heads, ... are {attributes}"


@exercise("MultiQueryAttention", ban=BAN)
def test_one_group(device, rng):
    module = fill(day24.MultiQueryAttention(12, 6).to(device, WIDE), rng)
    other = GroupedQueryAttention(12, 6, 1).to(device, WIDE).eval()
    other.load_state_dict(module.state_dict())
    x, mask = rng.normal(2, 5, 12, dtype=WIDE), rng.boolean(2, 6, 5, 5, p=0.6)
    for causal in (False, True):
        same(module(x, mask, causal), other(x, mask, causal).detach(), f"causal={causal}")
    q, k, v = module.project(x)
    mixed = attend(q, k, v, band(5, 5, device)).detach()
    flat = torch.cat([mixed[:, h] for h in range(6)], -1)
    wanted = flat @ module.out_proj.weight.T + module.out_proj.bias
    same(module(x, causal=True), wanted.detach(), "causal, by hand")


@exercise("MultiQueryAttention")
@pytest.mark.parametrize("dim, heads", [(10, 4), (8, 0)])
def test_refuses_heads(dim, heads):
    refused(
        lambda: day24.MultiQueryAttention(dim, heads),
        what=f"dim {dim}, {heads} heads",
        names=(heads,),
    )


@exercise("MultiQueryAttention", ban=BAN)
@DTYPES
def test_module_in_other_dtypes(dtype, device, rng):
    module = fill(day24.MultiQueryAttention(12, 6).to(device, dtype), rng)
    x = rng.normal(2, 5, 12, dtype=dtype)
    result = module(x, causal=True)
    assert result.dtype == dtype, f"everything is {dtype}, but the result {result.dtype}"
    wanted = copy.deepcopy(module).double()(x.double(), causal=True)
    error = ((result.double() - wanted).norm() / wanted.norm()).item()
    limit = 0.06 if dtype == torch.bfloat16 else 2e-5
    assert error < limit, f"the result in {dtype} is off by {error:.2g} of its length"


@exercise("MultiQueryAttention", seconds=60)  # no ban: its watching cannot be compiled
def test_module_compiles(device, rng):
    module = fill(day24.MultiQueryAttention(12, 6).to(device), rng)
    compiled = torch.compile(module, backend="aot_eager", fullgraph=True, dynamic=False)
    x = rng.normal(2, 5, 12)
    wanted = module(x, causal=True).detach().double()
    same(compiled(x, causal=True), wanted, "compiled", torch.float32)


# RingCache -----------------------------------------------------------------------------------


def in_slots(x, length, window):
    """The last tokens of x[:, :, :length], each in its slot."""
    last = [t for t in range(length) if t >= length - window]
    return torch.stack([x[:, :, t] for t in sorted(last, key=lambda t: t % window)], 2)


@exercise("RingCache")
@DTYPES
def test_ring_is_made_once(dtype, device):
    with torch.device("meta"):  # where tensors land that are made without device=
        cache = day24.RingCache(2, 3, 5, 4, dtype=dtype, device=device)
    for name, x in (("keys", cache.keys), ("values", cache.values)):
        found = (tuple(x.shape), x.dtype, x.device.type)
        assert found == ((2, 3, 5, 4), dtype, device.type), f"{name}: {found}"
        assert not x.any(), f"the {name} of a new cache are not zero"
    assert cache.keys.data_ptr() != cache.values.data_ptr(), "keys and values are one tensor"
    assert (cache.window, cache.length) == (5, 0), f"{cache.window}, {cache.length}"
    assert day24.RingCache(1, 1, 1, 1).keys.dtype == torch.float32, "float32 unless told otherwise"


@exercise("RingCache")
@pytest.mark.parametrize("window", [1, 2, 5])
def test_ring_token_by_token(window, device, rng):
    k, v = tokens(rng, 2, 3, 17, 4), tokens(rng, 2, 3, 17, 4)
    cache = day24.RingCache(2, 3, window, 4, dtype=WIDE, device=device)
    at = (cache.keys.data_ptr(), cache.values.data_ptr())
    for t in range(17):
        keys, values = cache.append(k[:, :, t : t + 1], v[:, :, t : t + 1])
        same(keys, in_slots(k, t + 1, window), f"keys after {t + 1} tokens, window {window}")
        same(values, in_slots(v, t + 1, window), f"values after {t + 1} tokens, window {window}")
        assert cache.length == t + 1, f"length is {cache.length} after {t + 1} tokens"
        assert cache.mask() is None, "one token sees all that is returned, but there is a mask"
        assert (keys.data_ptr(), values.data_ptr()) == at, f"token {t}: not views of the buffer"


@exercise("RingCache")
@pytest.mark.parametrize("window", [1, 4, 30])
@pytest.mark.parametrize("chunks", CHUNKS, ids=str)
def test_ring_chunk_by_chunk(chunks, window, device, rng):
    k, v = tokens(rng, 2, 3, 19, 4), tokens(rng, 2, 3, 19, 4)
    cache = day24.RingCache(2, 3, window, 4, dtype=WIDE, device=device)
    start = 0
    for new in chunks:
        end = start + new
        keys, values = cache.append(k[:, :, start:end], v[:, :, start:end])
        with torch.device("meta"):  # where tensors land that are made without device=
            mask = cache.mask()
        where = f"tokens {start} to {end - 1}, window {window}"
        if new > 1:
            first = max(0, start - window + 1)
            same(keys, k[:, :, first:end], f"keys for {where}")
            same(values, v[:, :, first:end], f"values for {where}")
            rows = [[i - j < window for j in range(first, end)] for i in range(start, end)]
            wanted = torch.tensor(rows, device=device)
            assert mask is not None, f"{where}: no mask, but not all see all"
            ahead = torch.ones_like(wanted).triu(start - first + 1)  # either will do
            close(mask | ahead, wanted | ahead, name=f"the mask for {where}")
        start = end
        filled = min(end, window)
        same(
            cache.keys[:, :, :filled], in_slots(k, end, window), f"the buffer's keys after {where}"
        )
        held = cache.values[:, :, :filled]
        same(held, in_slots(v, end, window), f"the buffer's values after {where}")
        assert cache.length == end, f"length is {cache.length} after {end} tokens"


@exercise("RingCache")
def test_ring_takes_any_strides(device, rng):
    k = tokens(rng, 2, 3, 2, 4)[0].expand(2, 3, 2, 4)
    for layout, view in layouts(k[0]):
        cache = day24.RingCache(1, 3, 3, 4, dtype=WIDE, device=device)
        cache.append(view[None], view[None])
        keys, values = cache.append(view[None, :, :1], view[None, :, 1:])
        same(keys[0, :, :2], k[0], f"keys, of a {layout} k")
        same(values[0, :, 2], k[0, :, 1], f"the last value, of a {layout} v")


@exercise("RingCache")
def test_ring_keeps_no_gradient(device, rng):
    k = tokens(rng, 1, 2, 5, 4, torch.float32).requires_grad_()
    cache = day24.RingCache(1, 2, 3, 4, device=device)
    for new in (k[:, :, :2], k[:, :, 2:3], k[:, :, 3:]):
        for x in (*cache.append(new, new), cache.keys, cache.values):
            assert not x.requires_grad, "what the cache holds is connected to the graph"


@exercise("RingCache")
def test_a_token_costs_no_copy(device, rng):
    k = tokens(rng, 1, 4, 1, 64, torch.float32)
    cache = day24.RingCache(1, 4, 1024, 64, device=device)
    cache.append(*tokens(rng, 2, 4, 1500, 64, torch.float32)[:, None])
    _, seen = watch(cache.append, k, k)
    assert seen.peak_bytes <= 16 * k.nbytes, (
        f"one token of {k.nbytes:,} bytes took {seen.peak_bytes:,} more; the buffer has "
        f"{cache.keys.nbytes:,}"
    )


@exercise("RingCache")
def test_ring_refuses(device, rng):
    for window in (0, -3):
        refused(
            lambda w=window: day24.RingCache(1, 1, w, 1), what=f"window={window}", names=(window,)
        )
    cache = day24.RingCache(2, 3, 4, 5, device=device)
    good = tokens(rng, 2, 3, 2, 5, torch.float32)
    cache.append(good, good)
    for shape, dtype in (((2, 1, 2, 5), torch.float32), ((2, 3, 3, 5), torch.float32),
                         ((2, 3, 2, 5), WIDE), ((1, 3, 2, 5), torch.float32)):  # fmt: skip
        v = rng.normal(*shape, dtype=dtype)
        named = ["v", shape] if dtype == torch.float32 else ["v", "float64"]
        refused(
            lambda v=v: cache.append(good, v),
            what=f"k (2, 3, 2, 5), v {shape}, {dtype}",
            names=named,
        )
        assert cache.length == 2, f"length is {cache.length} after an append that was refused"


@exercise("RingCache", ban=BAN)
@pytest.mark.parametrize("chunks", [[1] * 11, [6, 1, 1, 3]], ids=str)
def test_ring_in_a_cached_attention(chunks, device, rng):
    """In the place of a KVCache: a model that looks back no further than the window."""
    attention = fill(MultiHeadAttention(12, 3).to(device, WIDE), rng)
    x = rng.normal(2, 11, 12, dtype=WIDE)
    wanted = attention(x, mask=band(11, 4, device)).detach()
    cached = CachedAttention(attention, day24.RingCache(2, 3, 4, 4, dtype=WIDE, device=device))
    parts = [cached(part) for part in x.split(chunks, 1)]
    same(torch.cat(parts, 1).detach(), wanted, f"of 11 tokens in chunks of {chunks}")


# sliding_window_attention --------------------------------------------------------------------


@exercise("sliding_window_attention", ban=BAN)
@pytest.mark.parametrize("window", [1, 4, 30])
@pytest.mark.parametrize("chunks", CHUNKS, ids=str)
def test_window_equals_the_whole_text(chunks, window, device, rng):
    for heads, shared in ((3, 3), (4, 2), (6, 1)):
        q, k, v = (tokens(rng, 2, h, 19, 4, std=2.0) for h in (heads, shared, shared))
        wanted = attend(q, k, v, band(19, window, device))
        cache = day24.RingCache(2, shared, window, 4, dtype=WIDE, device=device)
        start = 0
        for new in chunks:
            part = slice(start, start + new)
            got = day24.sliding_window_attention(q[:, :, part], k[:, :, part], v[:, :, part], cache)
            name = f"tokens {start} to {start + new - 1}, window {window}, {heads}/{shared} heads"
            same(got, wanted[:, :, part], name)
            start += new


@exercise("sliding_window_attention", ban=BAN)
@DTYPES
def test_window_in_other_dtypes(dtype, device, rng):
    q, k, v = (tokens(rng, 2, h, 12, 8, dtype) for h in (4, 2, 2))
    wanted = attend(q, k, v, band(12, 5, device))
    cache = day24.RingCache(2, 2, 5, 8, dtype=dtype, device=device)
    parts = zip(*(x.split([7, 1, 1, 3], 2) for x in (q, k, v)), strict=True)
    got = torch.cat([day24.sliding_window_attention(*part, cache) for part in parts], 2)
    close(got, wanted, dtype=dtype, terms=16, scale=4.0, name=f"in {dtype}")


@exercise("sliding_window_attention", ban=BAN)
def test_a_step_takes_less_than_the_cache(device, rng):
    q, k = tokens(rng, 1, 16, 1, 64, torch.float32), tokens(rng, 1, 2, 1, 64, torch.float32)
    cache = day24.RingCache(1, 2, 4096, 64, device=device)
    cache.append(*tokens(rng, 2, 2, 5000, 64, torch.float32)[:, None])
    day24.sliding_window_attention(q, k, k, cache)  # a GPU's library makes room for itself once
    _, seen = watch(day24.sliding_window_attention, q, k, k, cache)
    held = cache.keys.nbytes + cache.values.nbytes
    assert seen.peak_bytes < held, (
        f"{seen.peak_bytes:,} bytes for a step with a cache of {held:,}: it was copied"
    )


@exercise("sliding_window_attention", seconds=60)  # no ban: its watching cannot be compiled
def test_window_compiles(device, rng):
    q, k, v = (tokens(rng, 2, h, 9, 8, torch.float32) for h in (4, 2, 2))
    wanted = attend(q, k, v, band(9, 3, device))
    cache = day24.RingCache(2, 2, 3, 8, device=device)
    compiled = torch.compile(
        day24.sliding_window_attention, backend="aot_eager", fullgraph=True, dynamic=False
    )
    parts = zip(*(x.split([7, 1, 1], 2) for x in (q, k, v)), strict=True)
    got = torch.cat([compiled(*part, cache) for part in parts], 2)
    close(got, wanted, dtype=torch.float32, terms=16, scale=4.0, name="compiled, in three calls")


# SinkCache -----------------------------------------------------------------------------------


def kept(length, sinks, window):
    """The tokens that are kept after ``length``, in the text's order."""
    return [t for t in range(length) if t < sinks or t >= length - window]


@exercise("SinkCache")
@shapes("sinks, window", (1, 3), (4, 5), (0, 3), (2, 1), (0, 1))
def test_sinks_token_by_token(sinks, window, device, rng):
    k, v = tokens(rng, 2, 3, 19, 4), tokens(rng, 2, 3, 19, 4)
    cache = day24.SinkCache(2, 3, sinks, window, 4, dtype=WIDE, device=device)
    at = (cache.keys.data_ptr(), cache.values.data_ptr())
    for t in range(19):
        with torch.device("meta"):  # where tensors land that are made without device=
            keys, values, positions = cache.append(k[:, :, t : t + 1], v[:, :, t : t + 1])
        where = f"after {t + 1} tokens, {sinks} sinks, window {window}"
        wanted = kept(t + 1, sinks, window)
        order = sorted(wanted, key=lambda t: t if t < sinks else sinks + (t - sinks) % window)
        same(keys, torch.stack([k[:, :, i] for i in order], 2), f"keys {where}")
        same(values, torch.stack([v[:, :, i] for i in order], 2), f"values {where}")
        places = torch.tensor([wanted.index(i) for i in order], device=device)
        close(positions, places, name=f"positions {where}")
        assert (keys.data_ptr(), values.data_ptr()) == at, f"{where}: not views of the buffer"
        assert cache.length == t + 1, f"length is {cache.length} {where}"


@exercise("SinkCache")
@DTYPES
def test_sink_cache_is_made_once(dtype, device):
    with torch.device("meta"):  # where tensors land that are made without device=
        cache = day24.SinkCache(2, 3, 4, 5, 6, dtype=dtype, device=device)
    for name, x in (("keys", cache.keys), ("values", cache.values)):
        found = (tuple(x.shape), x.dtype, x.device.type)
        assert found == ((2, 3, 9, 6), dtype, device.type), f"{name}: {found}"
        assert not x.any(), f"the {name} of a new cache are not zero"
    assert cache.keys.data_ptr() != cache.values.data_ptr(), "keys and values are one tensor"
    assert (cache.sinks, cache.window, cache.length) == (4, 5, 0)


@exercise("SinkCache")
def test_sinks_keep_no_gradient(device, rng):
    k = tokens(rng, 1, 2, 1, 4, torch.float32).requires_grad_()
    cache = day24.SinkCache(1, 2, 1, 2, 4, device=device)
    for _ in range(5):
        keys, values, _ = cache.append(k, k)
        for x in (keys, values, cache.keys, cache.values):
            assert not x.requires_grad, "what the cache holds is connected to the graph"


@exercise("SinkCache")
def test_sinks_refuse(device, rng):
    refused(lambda: day24.SinkCache(1, 1, -1, 3, 1), what="sinks=-1", names=(-1,))
    for window in (0, -3):
        refused(
            lambda w=window: day24.SinkCache(1, 1, 2, w, 1),
            what=f"window={window}",
            names=(window,),
        )
    cache = day24.SinkCache(2, 3, 1, 4, 5, device=device)
    good = tokens(rng, 2, 3, 1, 5, torch.float32)
    for new in (0, 2, 7):
        many = tokens(rng, 2, 3, new, 5, torch.float32)
        refused(lambda x=many: cache.append(x, x), what=f"{new} tokens at once", names=(new,))
    for shape, dtype in (((2, 1, 1, 5), torch.float32), ((2, 3, 1, 1), torch.float32),
                         ((2, 3, 1, 5), WIDE)):  # fmt: skip
        v = rng.normal(*shape, dtype=dtype)
        named = ["v", shape] if dtype == torch.float32 else ["v", "float64"]
        refused(
            lambda v=v: cache.append(good, v),
            what=f"k (2, 3, 1, 5), v {shape}, {dtype}",
            names=named,
        )
    assert cache.length == 0, f"length is {cache.length}, but nothing has been accepted yet"


# attention_sinks -----------------------------------------------------------------------------


def turned(x, places, frequencies):
    """Half-split rotation in float64, by complex numbers."""
    half = x.shape[-1] // 2
    pairs = torch.complex(x[..., :half].double(), x[..., half:].double())
    angles = places.double()[:, None] * frequencies.double()
    pairs = pairs * torch.polar(torch.ones_like(angles), angles)
    return torch.cat([pairs.real, pairs.imag], -1)


def sinks_by_hand(q, k, v, t, sinks, window, frequencies):
    """The result for token t."""
    there = kept(t + 1, sinks, window)
    places = torch.arange(len(there), device=q.device)
    keys = turned(torch.stack([k[:, :, i] for i in there], 2), places, frequencies)
    query = turned(q[:, :, t : t + 1], places[-1:], frequencies)
    seen = torch.ones(1, len(there), dtype=torch.bool, device=q.device)
    return attend(query, keys, torch.stack([v[:, :, i] for i in there], 2), seen)


def plain_frequencies(d, device, base=10_000.0):
    return torch.tensor([base ** (-2 * i / d) for i in range(d // 2)], dtype=WIDE, device=device)


@exercise("attention_sinks", ban=BAN)
@shapes("sinks, window, heads, shared", (1, 3, 2, 2), (4, 5, 4, 2), (0, 3, 4, 1), (2, 1, 3, 3))
def test_sinks_equal_those_by_hand(sinks, window, heads, shared, device, rng):
    q, k, v = (tokens(rng, 2, h, 17, 6, std=1.5) for h in (heads, shared, shared))
    slow = rng.uniform(3, low=0.05, high=1.5, dtype=WIDE)
    for frequencies in (None, slow):
        cache = day24.SinkCache(2, shared, sinks, window, 6, dtype=WIDE, device=device)
        speeds = plain_frequencies(6, device) if frequencies is None else frequencies
        for t in range(17):
            part = (x[:, :, t : t + 1] for x in (q, k, v))
            got = day24.attention_sinks(*part, cache, frequencies)
            wanted = sinks_by_hand(q, k, v, t, sinks, window, speeds)
            given = "" if frequencies is None else ", given frequencies"
            same(got, wanted, f"of token {t}, {sinks} sinks, window {window}{given}")


@exercise("attention_sinks", ban=BAN)
def test_what_fell_out_leaves_no_trace(device, rng):
    """The same tokens in the cache, after 9 and after 40 tokens of text: the same result."""
    sinks, window = 2, 4
    k, v, q = (tokens(rng, 1, 2, 7, 8) for _ in "kvq")
    results = []
    for between in (3, 34):
        cache = day24.SinkCache(1, 2, sinks, window, 8, dtype=WIDE, device=device)
        gap = tokens(rng, 1, 2, between, 8)
        whole = [torch.cat([x[:, :, :2], gap, x[:, :, 3:]], 2) for x in (q, k, v)]
        for t in range(whole[0].shape[2]):
            out = day24.attention_sinks(*(x[:, :, t : t + 1] for x in whole), cache)
        results.append(out)
    same(results[1], results[0], "after 40 tokens, compared with the same cache after 9")


@exercise("attention_sinks", ban=BAN)
@DTYPES
def test_sinks_in_other_dtypes(dtype, device, rng):
    q, k, v = (tokens(rng, 2, h, 11, 8, dtype) for h in (4, 2, 2))
    cache = day24.SinkCache(2, 2, 2, 3, 8, dtype=dtype, device=device)
    got = [
        day24.attention_sinks(*(x[:, :, t : t + 1] for x in (q, k, v)), cache) for t in range(11)
    ]
    speeds = plain_frequencies(8, device)
    wanted = [sinks_by_hand(q, k, v, t, 2, 3, speeds) for t in range(11)]
    result, right = torch.cat(got, 2), torch.cat(wanted, 2)
    assert result.dtype == dtype, f"q is {dtype}, the result {result.dtype}"
    error = ((result.double() - right).norm() / right.norm()).item()
    # Rotated keys are rounded to bfloat16 once more.
    limit = 0.02 if dtype == torch.bfloat16 else 1e-5
    assert error < limit, f"the result in {dtype} is off by {error:.2g} of its length"


# compare_caches ------------------------------------------------------------------------------


@exercise("compare_caches")
@shapes("length", 0, 1, 7, 8, 9, 11, 12, 13, 100)
def test_bytes_of_real_caches(length):
    """What day 22's and today's caches allocate when they are as large as they get."""
    sizes = {"layers": 3, "heads": 8, "kv_heads": 2, "head_dim": 16}
    window, sinks, dtype = 8, 4, torch.bfloat16
    got = day24.compare_caches(length, **sizes, window=window, sinks=sinks, dtype=dtype)
    full = {"multi-head": 8, "grouped": 2, "multi-query": 1}
    caches = {kind: KVCache(1, heads, length, 16, dtype=dtype) for kind, heads in full.items()}
    if length:
        caches["window"] = day24.RingCache(1, 2, min(length, window), 16, dtype=dtype)
        first = min(sinks, length - 1)
        caches["sinks"] = day24.SinkCache(1, 2, first, min(length - first, window), 16, dtype=dtype)
    names = ["multi-head", "grouped", "multi-query", "window", "sinks"]
    assert list(got) == names, f"the kinds are {list(got)}, expected were {names}"
    for kind in names:
        cache = caches.get(kind)
        wanted = 0 if cache is None else 3 * (cache.keys.nbytes + cache.values.nbytes)
        assert type(got[kind]) is int, f"{kind}: {got[kind]!r} is no whole number"
        assert got[kind] == wanted, (
            f"{kind}, {length} tokens: {got[kind]:,} was said, and caches of that kind take "
            f"{wanted:,}"
        )


@exercise("compare_caches")
def test_bytes_by_default():
    sizes = {"layers": 2, "heads": 4, "kv_heads": 2, "head_dim": 8, "window": 6}
    got = day24.compare_caches(50, **sizes)
    wanted = day24.compare_caches(50, **sizes, sinks=4, dtype=torch.float16)
    assert got == wanted, f"by default {got}, with 4 sinks and float16 {wanted}"
    wide = day24.compare_caches(50, **sizes, dtype=torch.float32)
    assert wide == {kind: 2 * n for kind, n in got.items()}, f"float16 {got}, float32 {wide}"
