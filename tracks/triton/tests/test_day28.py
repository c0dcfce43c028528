import math

import pytest
import torch

from harness.testing import (
    close,
    compiled,
    exercise,
    far_apart,
    layouts,
    one_launch,
    refused,
    shapes,
    watch,
    why_narrow,
)
from tracks.triton import day21, day27, day28

F32, F16, BF16 = torch.float32, torch.float16, torch.bfloat16
DTYPES = {"float32": F32, "float16": F16, "bfloat16": BF16}
HALVES = pytest.mark.parametrize("dtype", [F16, BF16], ids=str)
nan, inf = float("nan"), float("inf")


# attention_bytes, attention_flops -----------------------------------------------------------

# b, h, s, d, and what is not as usual
COUNTS = [
    (1, 1, 2, 4, {}),
    (2, 6, 10, 8, {"kv_heads": 2}),
    (3, 4, 1, 64, {"keys": 1000, "kv_heads": 1}),
    (1, 2, 7, 16, {"keys": 3}),
    (1, 2, 7, 16, {"keys": 0}),
    (2, 2, 0, 8, {"keys": 5}),
    (0, 2, 4, 8, {}),
    (1, 0, 4, 8, {}),
    (1, 3, 5, 0, {}),
    (8, 64, 8192, 128, {"kv_heads": 8}),
]
SIZED = pytest.mark.parametrize("b, h, s, d, other", COUNTS, ids=str)


def bytes_of(b, h, s, d, keys=None, kv_heads=None, size=2, fused=False):
    """Launch by launch: what is read and what is written, in bytes."""
    keys, kv_heads = s if keys is None else keys, h if kv_heads is None else kv_heads
    q = out = b * h * s * d * size
    k = v = b * kv_heads * keys * d * size
    scores, weights = b * h * s * keys * 4, b * h * s * keys * size
    if fused:
        return q + k + v + out
    return (q + k + scores) + (scores + weights) + (weights + v + out)


@exercise("attention_bytes")
@pytest.mark.parametrize("size", [2, 4, 1])
@SIZED
def test_bytes_launch_by_launch(b, h, s, d, other, size):
    for fused in (False, True):
        got = day28.attention_bytes(b, h, s, d, **other, element_size=size, fused=fused)
        expected = bytes_of(b, h, s, d, **other, size=size, fused=fused)
        what = "one launch" if fused else "three launches"
        assert isinstance(got, int), f"the number of bytes is a {type(got).__name__}, not an int"
        assert got == expected, f"{what} move {expected} bytes, not {got}"


@exercise("attention_bytes")
def test_bytes_by_default():
    got = day28.attention_bytes(2, 3, 8, 16)
    assert got == bytes_of(2, 3, 8, 16), (
        f"without a word about them elements have 2 bytes and there are three launches, which is "
        f"{bytes_of(2, 3, 8, 16)} bytes, not {got}"
    )


@exercise("attention_bytes")
@shapes("queries, keys, dtype", (8, 64, F16), (16, 32, F32), (1, 256, F16),
        gpu=[(2048, 2048, F16)])  # fmt: skip
def test_bytes_are_those_of_the_launches(queries, keys, dtype, rng):
    """What day 27's functions get, and what ``watch`` sees them allocate for their results."""
    q = rng.normal(1, 2, queries, 128, dtype=dtype)
    k, v = (rng.normal(1, 1, keys, 128, dtype=dtype) for _ in "kv")
    scores, first = watch(day27.attention_scores, q, k, 0.1)
    weights, second = watch(day27.attention_softmax, scores, False, dtype)
    _, third = watch(day27.attention_output, weights, v)
    read = sum(x.numel() * x.element_size() for x in (q, k, scores, weights, v))
    written = sum(seen.live_bytes for seen in (first, second, third))
    got = day28.attention_bytes(
        1, 2, queries, 128, keys=keys, kv_heads=1, element_size=q.element_size()
    )
    assert got == read + written, (
        f"the launches of day 27 were given {read} bytes and allocated {written}, together "
        f"{read + written}, but attention_bytes counts {got}"
    )


@exercise("attention_flops")
@SIZED
def test_flops_pair_by_pair(b, h, s, d, other):
    keys = other.get("keys", s)
    if s * keys > 10_000:
        pairs = {False: s * keys, True: s * (s + 1) // 2}  # as many keys as queries
    else:
        sees = torch.ones(s, keys).tril(keys - s)
        pairs = {False: s * keys, True: int(sees.sum())}
    for causal, n in pairs.items():
        got = day28.attention_flops(b, h, s, d, keys=keys, causal=causal)
        assert isinstance(got, int), f"the operations are a {type(got).__name__}, not an int"
        assert got == 4 * b * h * n * d, (
            f"{b * h} heads of {n} pairs{' (causal)' if causal else ''} with {d} elements take "
            f"{4 * b * h * n * d} operations, not {got}"
        )


@exercise("attention_flops")
def test_flops_by_default():
    got = day28.attention_flops(2, 3, 8, 16)
    assert got == 4 * 6 * 64 * 16, (
        f"with as many keys as queries and no mask {4 * 6 * 64 * 16} operations are due, not {got}"
    )


@exercise("attention_flops")
@shapes("queries, keys, dim", (64, 64, 64), (64, 192, 128), gpu=[(4096, 4096, 128)])
def test_flops_are_those_of_the_launches(queries, keys, dim, rng):
    """Programs times tiles times steps, where every tile is full."""
    q = rng.normal(1, 2, queries, dim, dtype=F16)
    k, v = (rng.normal(1, 1, keys, dim, dtype=F16) for _ in "kv")
    _, seen = watch(day27.attention, q, k, v)
    done = 0
    for launch, inner in ((seen.launches[0], dim), (seen.launches[2], keys)):
        m, n, block = (launch.meta[f"BLOCK_{axis}"] for axis in "MNK")
        done += launch.programs * 2 * m * n * block * math.ceil(inner / block)
    got = day28.attention_flops(1, 2, queries, dim, keys=keys)
    assert got == done, f"the launches' tiles take {done} operations, attention_flops says {got}"


# What is right, for all kinds of attention --------------------------------------------------


def repeated(x, heads):
    """x in float64 with each of its heads so often in a row that there are ``heads``."""
    return x.double().repeat_interleave(heads // max(x.shape[1], 1), dim=1)


def attention64(q, k, v, scale, sees):
    """In float64: the result, what may be lost in it, and the logsumexp of the scores.

    sees broadcasts to the scores. A score may be off by a rounding of the size of its summands, a
    weight is rounded to v's dtype.
    """
    heads, dim = q.shape[1:4:2]
    factor = dim**-0.5 if scale is None else scale
    q64, k64, v64 = q.double(), repeated(k, heads), repeated(v, heads)
    s = torch.where(sees, factor * (q64 @ k64.mT), -inf)
    m = s.amax(-1, keepdim=True) if s.numel() else s.sum(-1, keepdim=True)
    z = torch.where(s == -inf, -inf, s - m)
    e = z.exp()
    total = e.sum(-1, keepdim=True)
    p = e / torch.where(total == 0, 1.0, total)
    lost = abs(factor) * (q64.square() @ k64.square().mT).sqrt() * math.sqrt(dim)
    coarse = torch.finfo(v.dtype).eps / torch.finfo(F32).eps
    each = torch.where(p > 0, p * (1 + z.abs() + lost + coarse), 0.0)
    used = torch.where(sees.expand(s.shape).any(-2)[..., None], v64, 0.0)  # hidden nan is no value
    return p @ used, (each.square() @ used.square()).sqrt(), (m + total.log())[..., 0]


def mixed(*operands):
    """Each operand in each layout, with the others in other ones; what they are."""
    every = [list(layouts(x)) for x in operands]
    for i in range(max(len(x) for x in every)):
        chosen = [x[(i + j) % len(x)] for j, x in enumerate(every)]
        yield ", ".join(name for name, _ in chosen), tuple(view for _, view in chosen)


# attention_chunked --------------------------------------------------------------------------


def check_chunked(q, k, v, chunk, causal=False, scale=None, **options):
    out, seen = watch(day28.attention_chunked, q, k, v, chunk, causal, scale)
    (batch, heads, queries, _), keys = q.shape, k.shape[2]
    i, j = (torch.arange(n, device=q.device) for n in (queries, keys))
    sees = (j <= i[:, None] + keys - queries) if causal else torch.ones_like(j, dtype=torch.bool)
    expected, size, _ = attention64(q, k, v, scale, sees.expand(queries, keys))
    name = f"attention in chunks of {chunk}"
    close(out, expected, dtype=v.dtype, scale=size, **({"name": name} | options))
    assert out.is_contiguous(), f"the result has the strides {out.stride()}, not contiguous ones"
    due = []
    for start in range(0, queries, chunk):
        stop = min(start + chunk, queries)
        due.append((stop - start, max(stop + keys - queries, 0) if causal else keys))
    programs = [tiles(*shape, batch * heads, q.element_size()) for shape in due]
    scores = [x.programs for x in seen.launches if x.kernel == "attention_scores_kernel"]
    assert [n for n in scores if n] == [n for n in programs if n], (
        f"the scores of the chunks took {scores} programs, and {programs} were due: does each "
        "chunk get its own queries, and the keys that it sees?"
    )
    most = max((rows * n * (4 + v.element_size()) for rows, n in due), default=0)
    chunks_out = min(chunk, queries) * v.shape[3] * v.element_size()
    room = out.numel() * out.element_size() + batch * heads * (most + 2 * chunks_out)
    assert seen.peak_bytes <= room + 4096, (
        f"the result and one chunk take {room} bytes, but {seen.peak_bytes} were allocated: are "
        "there more scores at a time than those of one chunk?"
    )


def tiles(rows, columns, matrices, element_size):
    """How many programs a product of so many matrices of this shape takes."""
    config = day21._config_of({(rows, columns): matrices}, element_size)
    across, down = math.ceil(columns / config["BLOCK_N"]), math.ceil(rows / config["BLOCK_M"])
    return matrices * across * down


CHUNKED = {"ban": ["scaled_dot_product_attention"], "allow": ["copy_"]}


@exercise("attention_chunked", **CHUNKED)
def test_chunked_refuses(rng):
    q, k, v = rng.normal(1, 4, 5, 8), rng.normal(1, 2, 6, 8), rng.normal(1, 2, 6, 3)
    for chunk in (0, -1):
        refused(day28.attention_chunked, q, k, v, chunk, what=f"chunk = {chunk}")
    refused(day28.attention_chunked, q, k, v.half(), 2, what="values of another dtype")
    refused(day28.attention_chunked, q, k[..., :7], v, 2, what="queries of 8 elements, keys of 7")


@exercise("attention_chunked", **CHUNKED)
@shapes(
    "batch, heads, kv_heads, queries, keys, dim, value_dim, dtype, chunk, causal",
    *[(1, 2, 2, 9, 3, 8, 20, "float32", 4, True), (1, 2, 1, 3, 70, 24, 9, "bfloat16", 2, True)],
    *[(2, 2, 1, 5, 5, 16, 16, "float16", 3, False), (1, 1, 1, 1, 1, 1, 1, "float32", 1, True)],
    *[(1, 1, 1, 10, 66, 16, 16, "float16", 8, True), (1, 2, 1, 4, 6, 8, 8, "float32", 100, True)],
    *[(0, 2, 1, 3, 4, 8, 8, "float16", 2, True), (1, 2, 1, 0, 4, 8, 8, "float16", 3, False)],
    *[(2, 2, 1, 3, 0, 8, 8, "float32", 2, False), (1, 2, 1, 6, 6, 8, 0, "bfloat16", 4, True)],
    gpu=[
        (2, 8, 2, 4096, 4096, 128, 128, "bfloat16", 512, True),
        (1, 4, 1, 1000, 3000, 64, 64, "float16", 300, False),
    ],
)
def test_chunked_matches_float64(
    batch, heads, kv_heads, queries, keys, dim, value_dim, dtype, chunk, causal, rng
):
    q = rng.normal(batch, heads, queries, dim, dtype=DTYPES[dtype])
    k = rng.normal(batch, kv_heads, keys, dim, dtype=DTYPES[dtype])
    v = rng.normal(batch, kv_heads, keys, value_dim, dtype=DTYPES[dtype])
    check_chunked(q, k, v, chunk, causal)


@exercise("attention_chunked", **CHUNKED)
def test_chunked_has_a_chunk_of_scores(rng):
    q, k, v = rng.normal(1, 1, 8, 16), rng.normal(1, 1, 400, 16), rng.normal(1, 1, 400, 16)
    check_chunked(q, k, v, 4)
    check_chunked(q, k, v, 3, causal=True)


@exercise("attention_chunked", **CHUNKED)
@pytest.mark.parametrize("scale", [0.0, -0.5])
def test_chunked_with_a_scale_of_its_own(scale, rng):
    q, k, v = rng.normal(1, 2, 4, 16), rng.normal(1, 1, 6, 16), rng.normal(1, 1, 6, 8)
    check_chunked(q, k, v, 3, causal=True, scale=scale)


@exercise("attention_chunked", **CHUNKED)
def test_chunked_defaults(rng):
    q, k, v = rng.normal(1, 1, 3, 4), rng.normal(1, 1, 5, 4), rng.normal(1, 1, 5, 2)
    every = torch.ones(1, 5, dtype=torch.bool, device=q.device)
    expected, size, _ = attention64(q, k, v, None, every.expand(3, 5))
    close(day28.attention_chunked(q, k, v, 2), expected, dtype=F32, scale=size)


@exercise("attention_chunked", **CHUNKED)
def test_chunked_reads_any_strides(rng):
    q, k, v = rng.normal(2, 1, 3, 8), rng.normal(2, 1, 4, 8), rng.normal(2, 1, 4, 4)
    for names, operands in list(mixed(q, k, v))[::2]:
        check_chunked(*operands, 2, causal=True, name=f"attention with q, k, v: {names}")


# decode_attention and decode_attention_split ------------------------------------------------


def programs_of(q, kv_heads):
    batch, heads, _, dim = q.shape
    group = max(heads // max(kv_heads, 1), 1)
    config = day28._decode_config(group, dim, q.element_size())
    return batch * (heads // group) * math.ceil(group / config["BLOCK_H"])


def check_values(out, q, k, v, scale, sees, **options):
    expected, size, _ = attention64(q, k, v, scale, sees)
    # Each block of keys scales what was added up before once more.
    options = {"terms": 4 if q.dtype == F32 else 1, "scale": size} | options
    close(out, expected, dtype=q.dtype, **options)


def every_key(k):
    return torch.ones(1, 1, 1, k.shape[2], dtype=torch.bool, device=k.device)


def check_decode(q, k, v, scale=None, values=None, **options):
    out, seen = watch(day28.decode_attention, q, k, v, scale)
    check_values(out, *(values or (q, k, v)), scale, every_key(k), **options)
    launch = one_launch(seen, out)
    if launch is not None:
        programs = programs_of(q, k.shape[1])
        assert launch.programs == programs, (
            f"{launch.programs} programs were launched, but {programs} were due: one for each "
            "block of heads that share keys"
        )


def check_launches(seen, out, q, kv_heads, splits):
    assert out.is_contiguous(), f"the result has the strides {out.stride()}, not contiguous ones"
    batch, heads, _, dim = q.shape
    of_parts = batch * heads * splits * (dim + 1) * 4
    room = of_parts + out.numel() * out.element_size()
    assert seen.peak_bytes <= room + 2048, (
        f"the parts and the result take {room} bytes, but {seen.peak_bytes} were allocated: is an "
        "input copied?"
    )
    assert not seen.synchronisations, (
        f"the host waits for the GPU ({seen.synchronisations[0]}): is a length read by it?"
    )
    if not (out.numel() or seen.launches):
        return
    assert 1 <= len(seen.launches) <= 2, f"expected 2 kernel launches, saw {len(seen.launches)}"
    grid = (*seen.launches[0].grid, 1, 1)[:3]
    due = (programs_of(q, kv_heads), splits, 1)
    assert grid == due or not out.numel(), (
        f"the grid of the first launch is {grid}, but {due} was due: blocks of heads that share "
        "keys, and parts"
    )
    assert splits == 1 or of_parts < 1024 or seen.peak_bytes >= of_parts, (
        f"{splits} parts and their logsumexps as float32 take {of_parts} bytes, but only "
        f"{seen.peak_bytes} were allocated: are parts rounded?"
    )


def check_split(q, k, v, scale=None, values=None, splits=2, **options):
    out, seen = watch(day28.decode_attention_split, q, k, v, splits, scale)
    options = {"name": f"attention in {splits} parts"} | options
    check_values(out, *(values or (q, k, v)), scale, every_key(k), **options)
    check_launches(seen, out, q, k.shape[1], splits)


def in_two_parts(q, k, v, *scale):
    return day28.decode_attention_split(q, k, v, 2, *scale)


BOTH = pytest.mark.parametrize(
    "f, check",
    [
        pytest.param(
            lambda *args: day28.decode_attention(*args),
            check_decode,
            marks=exercise("decode_attention", ban=["scaled_dot_product_attention"]),
            id="whole",
        ),
        pytest.param(
            in_two_parts,
            check_split,
            marks=exercise("decode_attention_split", ban=["scaled_dot_product_attention"]),
            id="parts",
        ),
    ],
)


def one_query(rng, batch, heads, kv_heads, keys, dim, dtype=F32):
    q = rng.normal(batch, heads, 1, dim, dtype=dtype)
    return q, *(rng.normal(batch, kv_heads, keys, dim, dtype=dtype) for _ in "kv")


# What only the parts promise ----------------------------------------------------------------


@exercise("decode_attention_split")
def test_parts_have_their_share_of_each_text(rng):
    """The first launch alone: what it stores of each part."""
    splits, keys, dim = 3, 100, 256
    q, k, v = one_query(rng, 4, 2, 1, keys, dim)
    lengths = torch.tensor([100, 40, 16, 0], device=q.device)
    parts = torch.full((4, 2, splits, dim), nan, device=q.device)
    lse = torch.full((4, 2, splits), nan, device=q.device)
    config = day28._decode_config(2, dim, 4)
    day28.decode_attention_split_kernel[(4, splits)](
        *(q, k, v, lengths, q, parts, lse),
        *(*q.stride()[:2], q.stride(3), *k.stride(), *v.stride(), 1, 0, 0),
        *(2, 2, keys, keys, dim, math.log2(math.e) / 16, splits),
        RAGGED=True,
        PAGED=False,
        **config,
    )
    step = config["BLOCK_N"]
    for text, n in enumerate(lengths.tolist()):
        span = math.ceil(math.ceil(n / step) / splits) * step
        for part in range(splits):
            a, b = min(part * span, n), min(part * span + span, n)
            one = (q[text : text + 1], *(x[text : text + 1, :, a:b] for x in (k, v)))
            o, size, expected = attention64(*one, None, every_key(one[1]))
            what = f"part {part} of 3 of a text of {n} keys ({a} to {b - 1})"
            got = parts[text : text + 1, :, part, None]
            close(got, o, dtype=F32, terms=4, scale=size, name=f"output of {what}")
            got = lse[text : text + 1, :, part, None]
            close(got, expected, dtype=F32, scale=8.0, name=f"logsumexp of {what}")


@exercise("decode_attention_split")
@pytest.mark.parametrize("splits", [1, 2, 3, 16, 17, 33])
def test_merge_weighs_by_the_logsumexp(splits, rng):
    """The second launch alone, with parts whose weights lie far apart."""
    parts, lse = rng.normal(3, splits, 20), rng.normal(3, splits, std=30.0).clone()
    lse[0] += 1e4
    lse[1, splits // 2 :] = -inf
    lse[2] = -inf
    out = torch.full((3, 20), nan, device=parts.device)
    day28.decode_attention_split_merge_kernel[(3,)](
        parts, lse, out, splits, 20, BLOCK_S=16, BLOCK_D=32
    )
    x = lse.double()
    weight = torch.where(x == -inf, 0.0, (x - x.amax(1, keepdim=True).clamp(min=-1e30)).exp())
    total = weight.sum(1, keepdim=True)
    weight = weight / torch.where(total == 0, 1.0, total)
    expected = (weight[:, :, None] * parts.double()).sum(1)
    close(out, expected, dtype=F32, terms=4, scale=4.0, name=f"merge of {splits} parts")


@exercise("decode_attention_split")
def test_split_refuses(rng, device):
    q, k, v = one_query(rng, 2, 4, 2, 6, 8)
    f = day28.decode_attention_split
    for splits in (0, -1, 65_536):
        refused(f, q, k, v, splits, what=f"splits = {splits}")
    f(q[:0], k[:0], v[:0], 65_535)  # as many as a grid can have
    for shape, dtype, what in (
        ((3,), torch.int32, "3 lengths for 2 texts"),
        ((1,), torch.int64, "1 length for 2 texts"),
        ((2, 1), torch.int64, "lengths with two axes"),
        ((2,), F32, "lengths in float32"),
    ):
        lengths = torch.zeros(shape, dtype=dtype, device=device)
        refused(f, q, k, v, 2, lengths=lengths, what=what)
    for shape, dtype, what in (
        ((3, 4), torch.int32, "a table of 3 rows for 2 texts"),
        ((2,), torch.int64, "a table with one axis"),
        ((2, 4), F32, "a table in float32"),
    ):
        table = torch.zeros(shape, dtype=dtype, device=device)
        refused(f, q, k, v, 2, table=table, what=what)
    table = torch.zeros(2, 1, dtype=torch.int32, device=device)
    refused(f, q[:, :3], k, v, 2, table=table, what="3 heads that share 2 in pages")
    refused(f, q, k.half(), v.half(), 2, table=table, what="pages of another dtype than q's")


@exercise("decode_attention_split")
@pytest.mark.parametrize("splits", [1, 4, 5, 6, 17])
def test_any_number_of_parts(splits, rng):
    check_split(*one_query(rng, 1, 2, 1, 70, 256), splits=splits)  # 5 steps of 16 keys


@exercise("decode_attention_split")
def test_split_is_repeatable(rng):
    q, k, v = one_query(rng, 1, 2, 1, 150, 256, BF16)
    first = day28.decode_attention_split(q, k, v, 4)
    for _ in range(2):
        again = day28.decode_attention_split(q, k, v, 4)
        different = int((again != first).sum())
        assert not different, f"{different} numbers are others than in the run before"


@exercise("decode_attention_split")
@shapes("splits, kind", (1, torch.int32), (3, torch.int64), (5, torch.int32))
def test_texts_of_unequal_length(splits, kind, rng):
    q, k, v = (x.clone() for x in one_query(rng, 5, 2, 1, 50, 256))
    lengths = torch.tensor([50, 0, 1, 17, 32], dtype=kind, device=q.device)
    for text, n in enumerate(lengths.tolist()):
        k[text, :, n:], v[text, :, n:] = nan, inf
    given = lengths
    if splits == 3:  # a column of something
        given = torch.full((5, 2), 50, dtype=kind, device=q.device)[:, 0].copy_(lengths)
    out, seen = watch(day28.decode_attention_split, q, k, v, splits, lengths=given)
    check_launches(seen, out, q, 1, splits)
    for text, n in enumerate(lengths.tolist()):
        one = q[text : text + 1], k[text : text + 1, :, :n], v[text : text + 1, :, :n]
        what = f"text of {n} keys in {splits} parts"
        check_values(out[text : text + 1], *one, None, every_key(one[1]), name=what)


def in_pages(k, v, page_size, rng, kind=torch.int32):
    """k and v in pages, in any order, with unused pages of nan; the table."""
    batch, kv_heads, keys, dim = k.shape
    columns = math.ceil(keys / page_size)
    places = rng.permutation(batch * columns + 2)[: batch * columns]
    stored = []
    for x in (k, v):
        pages = torch.full(
            (batch * columns + 2, kv_heads, page_size, dim), nan, dtype=x.dtype, device=x.device
        )
        whole = torch.full(
            (batch, kv_heads, columns * page_size, dim), nan, dtype=x.dtype, device=x.device
        )
        whole[:, :, :keys] = x
        cut = whole.unflatten(2, (columns, page_size)).transpose(1, 2).flatten(0, 1)
        pages[places] = cut
        stored.append(pages)
    return *stored, places.to(kind).view(batch, columns)


@exercise("decode_attention_split")
@shapes("keys, page_size, splits, dtype", (40, 1, 3, F32), (48, 3, 1, F32), (64, 16, 2, F32),
        (90, 30, 4, BF16), (64, 64, 2, F16), gpu=[(8192, 16, 8, BF16)])  # fmt: skip
def test_cache_in_pages(keys, page_size, splits, dtype, rng):
    q, k, v = one_query(rng, 2, 2, 1, keys, 128, dtype)
    kind = torch.int64 if dtype == F32 else torch.int32
    k_pages, v_pages, table = in_pages(k, v, page_size, rng, kind)
    out, seen = watch(day28.decode_attention_split, q, k_pages, v_pages, splits, 0.2, table=table)
    check_launches(seen, out, q, 1, splits)
    check_values(out, q, k, v, 0.2, every_key(k), name=f"attention in pages of {page_size}")


@exercise("decode_attention_split")
@shapes("page_size", 1, 5, 64)
def test_texts_of_unequal_length_in_pages(page_size, rng):
    q, k, v = one_query(rng, 4, 2, 1, 64, 256)
    lengths = torch.tensor([64, 0, 1, 37], device=q.device)
    k_pages, v_pages, table = in_pages(k, v, page_size, rng)
    table = table.clone()
    for text, n in enumerate(lengths.tolist()):
        table[text, math.ceil(n / page_size) :] = 10_000_000  # there is no such page
        if n % page_size:  # the rest of the last page is free
            last = table[text, n // page_size].long()
            k_pages[last, :, n % page_size :], v_pages[last, :, n % page_size :] = nan, inf
    out, seen = watch(day28.decode_attention_split, q, k_pages, v_pages, 3, None, lengths, table)
    check_launches(seen, out, q, 1, 3)
    for text, n in enumerate(lengths.tolist()):
        one = (q[text : text + 1], *(x[text : text + 1, :, :n] for x in (k, v)))
        what = f"text of {n} keys in 3 parts, in pages of {page_size}"
        check_values(out[text : text + 1], *one, None, every_key(one[1]), name=what)


@exercise("decode_attention_split")
def test_texts_that_share_pages(rng):
    q, k_pages, v_pages = one_query(rng, 3, 2, 1, 8, 16)
    table = torch.tensor([[2, 0], [2, 1], [2, 2]], device=q.device)
    out = day28.decode_attention_split(q, k_pages, v_pages, 2, table=table)
    k, v = (x[table].transpose(1, 2).flatten(2, 3) for x in (k_pages, v_pages))
    check_values(out, q, k, v, None, every_key(k), name="attention with shared pages")


@exercise("decode_attention_split")
def test_an_empty_table_has_no_keys(rng):
    q, k, v = one_query(rng, 2, 2, 1, 8, 16)
    table = torch.zeros(2, 0, dtype=torch.int32, device=q.device)
    out = day28.decode_attention_split(q, k, v, 2, table=table)
    check_values(out, q, k[:, :, :0], v[:, :, :0], None, every_key(k[:, :, :0]))


@exercise("decode_attention_split")
def test_pages_and_table_of_any_strides(rng):
    q, k, v = one_query(rng, 2, 2, 2, 12, 8, F16)
    for names, (a, b, table) in mixed(*in_pages(k, v, 4, rng)):
        out = day28.decode_attention_split(q, a, b, 1, table=table)
        what = f"attention in pages with k, v, table: {names}"
        check_values(out, q, k, v, None, every_key(k), name=what)


@exercise("decode_attention_split")
def test_pages_and_table_reach_beyond_int32(rng):
    for *sizes, page_size in ((1, 1, 1, 3, 2, 3), (1, 3, 3, 2, 2, 2), (3, 1, 1, 6, 3, 2)):
        q, k, v = one_query(rng, *sizes, F16)
        stored = in_pages(k, v, page_size, rng)
        for i, which in enumerate(("k", "v", "table")):
            for name, view in far_apart(stored[i]):
                a, b, table = (view if j == i else x for j, x in enumerate(stored))
                out = day28.decode_attention_split(q, a, b, 1, table=table)
                what = f"attention in pages with a {name} {which}"
                check_values(out, q, k, v, None, every_key(k), name=what)


# What both promise --------------------------------------------------------------------------


@BOTH
def test_decode_refuses(f, check, rng):
    q, k, v = one_query(rng, 2, 4, 2, 6, 8)
    for change, what in (
        ((rng.normal(2, 4, 2, 8), k, v), "two queries a head"),
        ((rng.normal(2, 4, 0, 8), k, v), "no query"),
        ((q[:, :, 0], k, v), "queries with three axes"),
        ((q, k, rng.normal(2, 2, 5, 8)), "6 keys and 5 values"),
        ((q, k, rng.normal(2, 2, 6, 7)), "keys of 8 elements and values of 7"),
        ((q, k, rng.normal(2, 1, 6, 8)), "2 heads of keys and 1 of values"),
        ((q, k[:1], v[:1]), "2 batches of queries and 1 of keys"),
        ((q, k, v.half()), "keys in float32 and values in float16"),
        ((q.half(), k, v), "queries in float16 and keys in float32"),
        ((q[..., :7], k, v), "queries of 7 elements and keys of 8"),
        ((q[:, :3], k, v), "3 heads that share 2"),
        ((q[..., :0], k[..., :0], v[..., :0]), "queries without an element"),
        (one_query(rng, 1, 1, 1, 2, 257), "queries of 257 elements"),
    ):
        refused(f, *change, what=what)


# batch, heads, kv_heads, keys, dim
SIZES = [
    (1, 1, 1, 1, 1, "float32"),
    (0, 2, 1, 3, 8, "float16"),
    (2, 0, 0, 3, 8, "float16"),
    (1, 0, 2, 3, 8, "float16"),
    (2, 4, 2, 0, 8, "bfloat16"),
    (2, 6, 2, 37, 17, "bfloat16"),
    (1, 1, 1, 127, 64, "float16"),
    (1, 3, 1, 128, 64, "float16"),
    (1, 8, 1, 129, 64, "bfloat16"),
    (1, 17, 1, 33, 128, "float32"),
    (1, 66, 1, 20, 16, "float16"),
    (1, 2, 1, 70, 256, "float32"),
    (1, 5, 1, 300, 80, "bfloat16"),
]
LARGE = [
    (4, 32, 8, 8192, 128, "bfloat16"),
    (2, 16, 16, 5000, 64, "float16"),
    (3, 64, 1, 1023, 256, "bfloat16"),
    (1, 4, 2, 20_000, 96, "float32"),
    (70_000, 1, 1, 3, 16, "float16"),
]


@BOTH
@shapes("batch, heads, kv_heads, keys, dim, dtype", *SIZES, gpu=LARGE)
def test_decode_matches_float64(batch, heads, kv_heads, keys, dim, dtype, f, check, rng):
    check(*one_query(rng, batch, heads, kv_heads, keys, dim, DTYPES[dtype]))


@BOTH
@pytest.mark.parametrize("scale", [None, 0.0, -0.5, 3.0])
def test_decode_with_a_scale_of_its_own(scale, f, check, rng):
    check(*one_query(rng, 1, 2, 1, 40, 256), scale)


@BOTH
def test_heads_have_keys_of_their_group(f, check, rng):
    q, k, v = (x.clone() for x in one_query(rng, 2, 6, 2, 9, 8))
    k *= torch.tensor([[1.0, -2.0], [3.0, 0.5]], device=k.device)[..., None, None]
    v[:, 1], v[1, 0] = 100 * v[:, 1], nan
    check(q, k, v)


@BOTH
@pytest.mark.parametrize("order", ["growing", "falling"])
def test_scores_that_grow_or_fall_along_the_keys(order, f, check, rng):
    q, k, v = one_query(rng, 1, 2, 1, 96, 256)
    q, k = q.abs(), k.clone()
    k[0, 0] = torch.linspace(-1.0, 1.0, 96, device=k.device)[:, None]
    check(q, k if order == "growing" else k.flip(2), v, 0.1)  # by a factor of e^40


@BOTH
@pytest.mark.parametrize("mean", [-1e4, 1e4])
def test_scores_that_are_large(mean, f, check, rng):
    q, k, v = (x.clone() for x in one_query(rng, 1, 2, 1, 80, 256))
    q[..., 0], k[..., 0] = 100.0, mean / 100
    check(q, k, v, 1.0)


@BOTH
@HALVES
def test_scores_are_not_rounded(dtype, f, check, device):
    # 100.25 and 100.375 in 16 bits are 100.25 and 100.375, or 100 and 100.5.
    k = torch.zeros(1, 1, 2, 16, dtype=dtype, device=device)
    k[0, 0, :, 0], k[0, 0, 0, 1], k[0, 0, 1, 1] = 100.0, 0.25, 0.375
    v = torch.tensor([1.0, -1.0], dtype=dtype, device=device)[:, None].expand(1, 1, 2, 16)
    check(torch.ones(1, 1, 1, 16, dtype=dtype, device=device), k, v, 1.0, factor=1.0)


@BOTH
@HALVES
def test_values_are_added_in_float32(dtype, f, check, device):
    # Equal scores, so that all weights are exact. The sum of the first half is large.
    v = torch.full((1, 1, 256, 256), 1000.0, dtype=dtype, device=device)
    v[:, :, 128:] = -1000.0
    v[:, :, 100], v[:, :, 200] = 904.0, -776.0
    q, k = torch.zeros(1, 1, 1, 256, dtype=dtype, device=device), torch.zeros_like(v)
    expected = torch.full((1, 1, 1, 256), 0.5, dtype=torch.float64, device=device)
    close(f(q, k, v), expected, dtype=dtype, terms=256, scale=1000 / 256)


@BOTH
def test_keys_without_weight(f, check, rng):
    q, k, v = (x.clone() for x in one_query(rng, 2, 2, 1, 70, 256))
    q[..., 0] = 1.0
    k[0, 0, :40, 0], k[1, 0, :, 0] = -inf, -inf  # a whole block and a part; a whole text
    check(q, k, v)


@BOTH
def test_nan_and_infinity_stay_in_their_heads(f, check, rng):
    q, k, v = (x.clone() for x in one_query(rng, 2, 2, 2, 40, 256))
    q[..., 0] = 1.0
    k[0, 0, 30, 0], k[0, 1, 3, 0], v[1, 0, 39, 5], v[1, 1, 0, 0] = nan, inf, inf, nan
    check(q, k, v)


@BOTH
def test_nothing_beyond_the_keys_is_read(f, check, rng):
    q, *operands = one_query(rng, 2, 2, 2, 21, 19)
    surrounded = []
    for x in operands:
        block = torch.full((2, 2, 170, 40), nan, device=x.device)
        surrounded.append(block[:, :, :21, :19].copy_(x))
    check(q, *surrounded)


@BOTH
def test_decode_reads_any_strides(f, check, rng):
    q, k, v = one_query(rng, 2, 2, 2, 19, 16, F16)
    by_token = (x.transpose(1, 2).clone().transpose(1, 2) for x in (k, v))
    cases = [*mixed(q, k, v), ("as they are, and token by token", (q, *by_token))]
    cases += [("as they are, and repeated", (q, k[:1].expand(k.shape), v[:, :1].expand(v.shape)))]
    for names, operands in cases:
        what = f"attention with q, k, v: {names}"
        check_values(f(*operands), *operands, None, every_key(k), name=what)


@BOTH
@shapes("axis, sizes", (0, (3, 1, 1, 2, 2)), (1, (1, 3, 3, 2, 2)), (2, (1, 1, 1, 3, 2)),
        (3, (1, 1, 1, 2, 3)))  # fmt: skip
def test_decode_reads_beyond_int32(axis, sizes, f, check, rng):
    operands = one_query(rng, *sizes, F16)
    for i, which in enumerate("qkv"):
        for name, view in far_apart(operands[i]):
            changed = [view if j == i else x for j, x in enumerate(operands)]
            what = f"attention with a {name} {which}"
            check_values(f(*changed), *operands, None, every_key(operands[1]), name=what)


# What the compiler makes of them ------------------------------------------------------------


def check_report(report, dtype):
    what = report.kernel
    assert report.refused is None, f"the compiler refuses {what}: {report.refused.text()}"
    assert report.spill_bytes == 0, f"{what} spills {report.spill_bytes} bytes a thread"
    assert report.shared_bytes <= report.shared_limit, f"{what} needs {report.shared_bytes}"
    assert report.widest_load_bits == 128, (
        f"loads of {what} are {report.widest_load_bits} bits wide: {why_narrow(report)}"
    )
    if dtype != F32:
        assert report.tensor_core, f"the products of {what} do not run on tensor cores"


def loaded(report, size, config):
    """Bytes of the loads of one program: of a block of keys and one of values, and of all else."""
    block = config["BLOCK_N"] * config["BLOCK_D"]
    in_step = once = 0
    for access in report.accesses:
        if access["kind"] == "load":
            n = math.prod(access["shape"])
            if n == block:
                in_step += n * size
            else:
                once += n * access["element_bits"] // 8
    if config["BLOCK_N"] == config["BLOCK_H"]:  # the load of q, which is given, has this shape too
        in_step, once = in_step - block * size, once + block * size
    return in_step, once


@exercise("decode_attention")
@pytest.mark.parametrize("dtype, dim, group", [(BF16, 128, 16), (F16, 256, 64), (F32, 256, 16)])
def test_decode_moves_each_byte_once(dtype, dim, group, rng):
    """What the compile report has for a program, times programs, is what a fused kernel must move.

    Sizes are multiples of the tiles, so no lane is masked.
    """
    keys = 128
    q, k, v = one_query(rng, 1, 2 * group, 2, keys, dim, dtype)
    (report,) = compiled(day28.decode_attention, q, k, v)
    check_report(report, dtype)
    config = day28._decode_config(group, dim, q.element_size())
    size = q.element_size()
    in_step, once = loaded(report, size, config)
    programs = programs_of(q, 2)
    moved = programs * (keys // config["BLOCK_N"] * in_step + once) + q.numel() * size
    due = bytes_of(1, 2 * group, 1, dim, keys=keys, kv_heads=2, size=size, fused=True)
    assert moved == due, (
        f"{programs} programs load and store {moved} bytes, but q, k, v and the result have {due}: "
        "is each block of keys and of values loaded in one place?"
    )


@exercise("decode_attention_split")
@pytest.mark.parametrize(
    "dtype, dim, group, paged",
    [(BF16, 128, 16, False), (F32, 128, 16, False), (BF16, 256, 64, True)],
)
def test_split_loads_each_block_once(dtype, dim, group, paged, rng):
    q, k, v = one_query(rng, 1, group, 1, 64, dim, dtype)
    options = {}
    if paged:
        k, v, table = in_pages(k, v, 16, rng)
        options = {"table": table, "lengths": torch.tensor([64], device=q.device)}
    first, *others = compiled(day28.decode_attention_split, q, k, v, 2, **options)
    check_report(first, dtype)
    for report in others:
        assert report.spill_bytes == 0, f"{report.kernel} spills {report.spill_bytes} bytes"
    config = day28._decode_config(group, dim, q.element_size(), paged)
    in_step, _ = loaded(first, q.element_size(), config)
    due = 2 * config["BLOCK_N"] * config["BLOCK_D"] * q.element_size()
    assert in_step == due, (
        f"a step loads {in_step} bytes of keys and values, but a block of each has {due}: is one "
        "of them loaded in two places?"
    )


@exercise("decode_attention_split")
def test_the_compiler_takes_sizes_of_one(rng):
    # What is 1 becomes a constant of the kernel, which is of another kind than a number.
    q, k, v = one_query(rng, 1, 1, 1, 1, 1)
    table = torch.zeros(1, 1, dtype=torch.int32, device=q.device)
    for options in ({}, {"table": table, "lengths": table[0]}):
        for report in compiled(day28.decode_attention_split, q, k, v, 1, **options):
            assert report.refused is None, (
                f"for one part and one key the compiler refuses {report.kernel}: "
                f"{report.refused.text()}"
            )
