import math

import pytest
import torch

from harness.testing import close, exercise, layouts, refused, shapes, watch
from tracks.triton import day29

F32, F64, F16, BF16 = torch.float32, torch.float64, torch.float16, torch.bfloat16
DTYPES = {"float32": F32, "float16": F16, "bfloat16": BF16}
inf = math.inf
BAN = ["softmax", "log_softmax", "logsumexp", "scaled_dot_product_attention"]
# Today torch may compute; the track's rule would refuse it. What a learner might call:
ALLOW = (
    "abs add addbmm addcdiv addcmul addmm all amax amin any arange argmax baddbmm bitwise_and "
    "bitwise_not bitwise_or bmm cat ceil clamp clamp_max clamp_min clone constant_pad_nd copy div "
    "dot eq erf exp exp2 expm1 fmax fmin gather ge gt index index_add index_copy index_fill "
    "index_put index_put_impl index_select isfinite isinf isnan isneginf le lerp log log1p log2 "
    "log_sigmoid log_sigmoid_forward logaddexp logaddexp2 logical_and logical_not logical_or "
    "logical_xor lt masked_fill masked_scatter max maximum mean min minimum mm mul mv nan_to_num "
    "ne neg new_tensor pow reciprocal remainder repeat roll rsqrt rsub scatter select_backward "
    "select_scatter sigmoid sign slice_scatter softplus sqrt square stack sub sum to_copy tril "
    "triu unsafe_index unsafe_split unsafe_view where"
).split()


def graded(name):
    return exercise(name, ban=BAN, allow=ALLOW)


# online_update ------------------------------------------------------------------------------


def state_of(shape, dim, device, dtype=F32):
    """(m, total, acc) before the first key."""
    m = torch.full(shape, -inf, dtype=dtype, device=device)
    return m, torch.zeros_like(m), torch.zeros(*shape, dim, dtype=dtype, device=device)


def check_state(state, scores, v, name=""):
    """The three of all scores so far, in float64; and what float32 may lose in each summand."""
    assert isinstance(state, (tuple, list)) and len(state) == 3, (
        "online_update is to return three tensors: the new m, total and acc"
    )
    dtype, keys = scores.dtype, scores.shape[-1]
    s, v = scores.double(), v.double()
    m = s.amax(-1)
    z = torch.where(s == -inf, -inf, s - torch.where(m == -inf, 0.0, m)[..., None])
    p = z.exp()
    size = torch.where(p > 0, p * (1 + z.abs()), 0.0)
    close(state[0], m, dtype=dtype, name=f"m{name}")
    options = {"dtype": dtype, "terms": keys}
    close(state[1], p.sum(-1), scale=size.mean(-1), name=f"total{name}", **options)
    each = (size.square() @ v.square() / keys).sqrt()
    close(state[2], p @ v, scale=each, name=f"acc{name}", **options)


def check_updates(scores, v, blocks):
    """The keys in blocks of so many; the state is looked at after each."""
    state = state_of(scores.shape[:3], v.shape[-1], scores.device, scores.dtype)
    first = 0
    for block in blocks:
        part = slice(first, first + block)
        before = [x.clone() for x in state]
        new = day29.online_update(*state, scores[..., part], v[:, :, part])
        for name, x, was in zip(("m", "total", "acc"), state, before, strict=True):
            assert torch.equal(x, was), f"online_update changed the {name} that it was given"
        first += block
        seen = f" after {first} keys" if len(blocks) > 1 else ""
        check_state(new, scores[..., :first], v[:, :, :first], seen)
        state = new


@graded("online_update")
@shapes("batch, heads, queries, keys, dim", (1, 1, 1, 1, 1), (2, 3, 5, 7, 4), (1, 2, 17, 64, 16))
def test_first_update(batch, heads, queries, keys, dim, rng):
    check_updates(rng.normal(batch, heads, queries, keys), rng.normal(batch, heads, keys, dim),
                  [keys])  # fmt: skip


@graded("online_update")
@pytest.mark.parametrize("dtype", [F32, F64], ids=str)
@pytest.mark.parametrize("blocks", [(1, 1), (4, 4, 4), (1, 9, 3), (30, 1, 1, 16)], ids=str)
def test_updates_one_after_the_other(blocks, dtype, rng):
    keys = sum(blocks)
    scores = rng.normal(2, 2, 6, keys, std=3.0, dtype=dtype)
    check_updates(scores, rng.normal(2, 2, keys, 5, dtype=dtype), blocks)


@graded("online_update")
@pytest.mark.parametrize("slope", [-3.0, 0.0, 3.0])
def test_scores_that_rise_or_fall(slope, rng):
    scores = rng.normal(1, 2, 4, 20) + slope * torch.arange(20, device=rng.device)
    check_updates(scores, rng.normal(1, 2, 20, 3), (5, 5, 5, 5))


@graded("online_update")
@pytest.mark.parametrize("offset", [-1e10, -1e4, -100.0, 100.0, 1e4])
def test_large_scores(offset, rng):
    scores = rng.normal(1, 1, 5, 12) + offset
    check_updates(scores, rng.normal(1, 1, 12, 4), (4, 4, 4))
    mixed = scores.clone()
    mixed[..., 4:8] *= -1
    check_updates(mixed, rng.normal(1, 1, 12, 4), (4, 4, 4))


@graded("online_update")
def test_queries_that_see_nothing_yet(rng):
    scores = rng.normal(2, 1, 5, 12).clone()
    scores[:, :, 0, :4] = -inf  # sees nothing in the first block
    scores[:, :, 1, :8] = -inf  # nor in the second
    scores[:, :, 2] = -inf  # nor ever
    scores[:, :, 3, 4:] = -inf  # nothing after the first
    check_updates(scores, rng.normal(2, 1, 12, 4), (4, 4, 4))


# merge --------------------------------------------------------------------------------------


def part_of(scores, v):
    """Attention over some keys, and its logsumexp, in float64, whether there are keys or not."""
    s, v = scores.double(), v.double()
    lse = s.logsumexp(-1) if s.shape[-1] else s.new_full(s.shape[:-1], -inf)
    safe = torch.where(lse == -inf, 0.0, lse)
    return (s - safe[..., None]).exp() @ v, lse


def check_merge(o1, lse1, o2, lse2, name=""):
    result = day29.merge(o1, lse1, o2, lse2)
    assert isinstance(result, (tuple, list)) and len(result) == 2, "merge is to return o and lse"
    a, b = lse1.double(), lse2.double()
    top = torch.maximum(a, b)
    top = torch.where(top == -inf, 0.0, top)
    w1, w2 = (a - top).exp(), (b - top).exp()
    total = w1 + w2
    share = torch.where(total == 0, 1.0, total)
    w1, w2 = (w1 / share)[..., None], (w2 / share)[..., None]
    # Differences of the logarithms are rounded, and become a relative error of the weights.
    apart = torch.where((a > -inf) & (b > -inf), (a - b).abs(), 0.0)[..., None]
    size = (w1 * (1 + apart * (w1 < 1)) * o1).abs() + (w2 * (1 + apart * (w2 < 1)) * o2).abs()
    o, lse = result
    # Where both cancel, o2 + w1 (o1 - o2) is as good a way as any, and is rounded once more.
    close(o, w1 * o1.double() + w2 * o2.double(), dtype=o1.dtype, scale=size, factor=8.0,
          name=f"o{name}")  # fmt: skip
    close(lse, top + total.log(), dtype=lse1.dtype, scale=1 + top.abs(), name=f"lse{name}")
    return o, lse


@graded("merge")
@pytest.mark.parametrize("dtype", [F32, F64], ids=str)
@shapes("batch, heads, queries, dim", (1, 1, 1, 1), (2, 3, 4, 5), (1, 2, 17, 16))
def test_merge_of_two_parts(batch, heads, queries, dim, dtype, rng):
    parts = []
    for _ in range(2):
        o = rng.normal(batch, heads, queries, dim, dtype=dtype)
        parts += [o, rng.normal(batch, heads, queries, std=2.0, dtype=dtype)]
    check_merge(*parts)


@graded("merge")
def test_merge_with_an_empty_part(rng):
    o, lse = rng.normal(2, 2, 3, 4), rng.normal(2, 2, 3)
    nothing, never = torch.zeros_like(o), torch.full_like(lse, -inf)
    check_merge(o, lse, nothing, never, name=" with an empty second part")
    check_merge(nothing, never, o, lse, name=" with an empty first part")
    check_merge(nothing, never, nothing, never, name=" of two empty parts")
    some = lse.clone()
    some[:, 1] = -inf
    check_merge(torch.where(some[..., None] == -inf, 0.0, o), some, o, lse,
                name=" with a part that is empty for some queries")  # fmt: skip


@graded("merge")
@pytest.mark.parametrize("offset", [-1e4, -200.0, 200.0, 1e4])
def test_merge_of_large_logarithms(offset, rng):
    o1, o2 = rng.normal(1, 2, 8, 4, mean=5.0), rng.normal(1, 2, 8, 4, mean=5.0)
    lse = rng.normal(1, 2, 8, mean=offset)
    check_merge(o1, lse, o2, lse, name=f" of parts with one lse near {offset:g}")
    check_merge(o1, lse, o2, lse + 1.0, name=f" of parts with an lse near {offset:g}")


@graded("merge")
def test_merge_of_parts_that_are_far_apart(rng):
    o1, o2, lse = rng.normal(1, 2, 3, 4), rng.normal(1, 2, 3, 4), rng.normal(1, 2, 3)
    for distance in (20.0, 150.0, 2e4):
        check_merge(o1, lse, o2, lse - distance, name=f" with a second part {distance:g} lower")
        check_merge(o1, lse, o2, lse + distance, name=f" with a second part {distance:g} higher")


@graded("merge")
@pytest.mark.parametrize("cuts", [(3, 8), (0, 6), (5, 5), (6, 12), (0, 0)], ids=str)
def test_merge_is_associative(cuts, rng):
    """Three parts, of which some are empty, from the left and from the right."""
    scores, v = rng.normal(2, 1, 5, 12, std=2.0), rng.normal(2, 1, 12, 4)
    edges = [(0, cuts[0]), (cuts[0], cuts[1]), (cuts[1], 12)]
    a, b, c = (tuple(x.float() for x in part_of(scores[..., i:j], v[:, :, i:j])) for i, j in edges)
    whole = part_of(scores, v)
    for name, (o, lse) in (
        ("(a, b), c", day29.merge(*day29.merge(*a, *b), *c)),
        ("a, (b, c)", day29.merge(*a, *day29.merge(*b, *c))),
        ("(c, a), b", day29.merge(*day29.merge(*c, *a), *b)),
    ):
        close(o, whole[0], dtype=F32, terms=12, scale=2.0, name=f"o merged as {name}")
        close(lse, whole[1], dtype=F32, terms=12, scale=2.0, name=f"lse merged as {name}")


# tiled_attention ----------------------------------------------------------------------------


def attention64(q, k, v, scale):
    """Output and logsumexp in float64, and the size of what float32 may lose in each."""
    factor = q.shape[3] ** -0.5 if scale is None else scale
    q, k, v = q.double(), k.double(), v.double()
    s = factor * (q @ k.mT)
    o, lse = part_of(s, v)
    # A score may be off by so much of its summands' size: its weight changes by that share.
    lost = abs(factor) * (q.square() @ k.square().mT).sqrt() * math.sqrt(q.shape[3])
    p = (s - torch.where(lse == -inf, 0.0, lse)[..., None]).exp()
    distance = s.amax(-1, keepdim=True) - s if s.shape[-1] else s
    each = ((p * (1 + lost + distance)).square() @ v.square()).sqrt()
    slack = lost.amax(-1) if s.shape[-1] else torch.zeros_like(lse)
    return o, lse, each, 1 + slack


def check_tiled(q, k, v, block, scale=None, name="", values=None):
    result, seen = watch(day29.tiled_attention, q, k, v, block, *([] if scale is None else [scale]))
    assert isinstance(result, (tuple, list)) and len(result) == 2, (
        "tiled_attention is to return o and lse"
    )
    o, lse, each, slack = attention64(*(values or (q, k, v)), scale)
    options = {"terms": max(k.shape[2], 1)}
    close(result[0], o, dtype=q.dtype, scale=each, name=f"o{name}", **options)
    close(result[1], lse, dtype=F32, scale=slack, name=f"lse{name}", **options)
    return seen


@graded("tiled_attention")
def test_tiled_refuses(rng):
    q, k, v = rng.normal(2, 3, 5, 8), rng.normal(2, 3, 6, 8), rng.normal(2, 3, 6, 8)
    for block in (0, -1):
        refused(day29.tiled_attention, q, k, v, block, what=f"a block of {block}")
    for change, what in (
        ((q, k, rng.normal(2, 3, 5, 8)), "6 keys and 5 values"),
        ((q, rng.normal(2, 3, 6, 7), rng.normal(2, 3, 6, 7)), "queries of 8 and keys of 7 numbers"),
        ((q, rng.normal(2, 1, 6, 8), rng.normal(2, 1, 6, 8)), "3 heads of queries and 1 of keys"),
        ((q, rng.normal(1, 3, 6, 8), rng.normal(1, 3, 6, 8)), "2 batches of queries, 1 of keys"),
    ):
        refused(day29.tiled_attention, *change, 4, what=what)


@graded("tiled_attention")
@pytest.mark.parametrize("dtype", DTYPES)
@shapes(
    "batch, heads, queries, keys, dim, block",
    *[(1, 1, 1, 1, 1, 1), (2, 3, 7, 7, 4, 3), (1, 2, 5, 9, 8, 1), (1, 1, 9, 5, 16, 4)],
    *[(1, 1, 65, 63, 8, 64), (1, 1, 64, 65, 8, 64), (1, 2, 6, 6, 4, 100), (1, 1, 3, 257, 8, 64)],
    *[(0, 2, 3, 4, 8, 2), (2, 1, 0, 4, 8, 2), (2, 1, 3, 0, 8, 2)],
    gpu=[(2, 8, 1000, 1531, 64, 128)],
)
def test_tiled_matches_float64(batch, heads, queries, keys, dim, block, dtype, rng):
    q, k, v = (rng.normal(batch, heads, n, dim, dtype=DTYPES[dtype]) for n in (queries, keys, keys))
    check_tiled(q, k, v, block)


@graded("tiled_attention")
@pytest.mark.parametrize("scale", [0.0, -0.5, 1.0, 4.0])
def test_tiled_with_a_scale_of_its_own(scale, rng):
    q, k, v = rng.normal(1, 2, 5, 16), rng.normal(1, 2, 7, 16), rng.normal(1, 2, 7, 16)
    check_tiled(q, k, v, 3, scale)


@graded("tiled_attention")
def test_tiled_with_large_scores(rng):
    q, k, v = rng.normal(1, 1, 6, 4).clone(), rng.normal(1, 1, 9, 4).clone(), rng.normal(1, 1, 9, 4)
    q[..., 0], k[..., 0] = 100.0, 100.0
    check_tiled(q, k, v, 2, 1.0, name=" of scores near 10,000")
    check_tiled(q, -k, v, 2, 1.0, name=" of scores near -10,000")
    k[..., 3:6, 0] = -100.0
    check_tiled(q, k, v, 3, 1.0, name=" of scores near 10,000 and -10,000")


@graded("tiled_attention")
def test_tiled_takes_any_strides(rng):
    operands = rng.normal(2, 3, 5, 8), rng.normal(2, 3, 6, 8), rng.normal(2, 3, 6, 8)
    for i, which in enumerate("qkv"):
        for name, view in layouts(operands[i]):
            changed = [view if j == i else x for j, x in enumerate(operands)]
            check_tiled(*changed, 4, name=f" with a {name} {which}")


@graded("tiled_attention")
@shapes("batch, heads, s, dim, block", (1, 1, 256, 4, 16), (1, 2, 192, 8, 16))
def test_tiled_keeps_tiles_only(batch, heads, s, dim, block, rng):
    q, k, v = (rng.normal(batch, heads, s, dim) for _ in "qkv")
    _ = q @ k.mT  # on a GPU the first product allocates the library's workspace
    seen = check_tiled(q, k, v, block)
    results = 4 * batch * heads * s * (dim + 1)
    tile = 4 * batch * heads * block * (block + dim)
    room = 3 * results + 10 * tile
    assert seen.peak_bytes <= room, (
        f"{seen.peak_bytes:,} bytes were allocated at the peak: the results take {results:,} and a "
        f"tile of block x (block + dim) {tile:,}, so at most {room:,} are needed. All scores would "
        f"be {4 * batch * heads * s * s:,} bytes, those of one tile of queries "
        f"{4 * batch * heads * s * block:,}"
    )


@graded("tiled_attention")
def test_tiled_over_halves_of_the_keys_can_be_merged(rng):
    q, k, v = rng.normal(1, 2, 7, 8), rng.normal(1, 2, 11, 8), rng.normal(1, 2, 11, 8)
    first = day29.tiled_attention(q, k[:, :, :4], v[:, :, :4], 3)
    second = day29.tiled_attention(q, k[:, :, 4:], v[:, :, 4:], 2)
    o, lse = day29.merge(*first, *second)
    expected, log, each, slack = attention64(q, k, v, None)
    close(o, expected, dtype=F32, terms=11, scale=each, name="o of two halves, merged")
    close(lse, log, dtype=F32, terms=11, scale=slack, name="lse of two halves, merged")


# io_bytes -----------------------------------------------------------------------------------


def walked(s, d, sram, size):
    """The same, by walking through the kernels and adding up what each tile moves."""
    standard = 0
    for matrices in (2 * [(s, d)] + [(s, s)], 2 * [(s, s)], [(s, s)] + 2 * [(s, d)]):
        standard += sum(rows * columns * size for rows, columns in matrices)
    rows = s
    while 4 * rows * d * size > sram:
        rows -= 1
    flash = 0
    for start in range(0, s, rows):
        queries = min(rows, s - start)
        flash += queries * d * size  # the tile of q
        for first in range(0, s, rows):
            flash += 2 * min(rows, s - first) * d * size  # tiles of k and v
        flash += queries * (d * size + 4)  # o and lse
    return standard, flash


def check_bytes(s, d, sram, size=2):
    got = day29.io_bytes(s, d, sram, *([] if size == 2 else [size]))
    assert isinstance(got, (tuple, list)) and len(got) == 2, "io_bytes is to return two numbers"
    for name, ours, due in zip(("standard", "flash"), got, walked(s, d, sram, size), strict=True):
        assert ours == due and int(ours) == ours, (
            f"{name} attention of {s} queries and keys of {d} numbers of {size} bytes, with {sram} "
            f"bytes on the chip, moves {due:,} bytes, not {ours:,}"
        )


@exercise("io_bytes")
@pytest.mark.parametrize("size", [1, 2, 4])
@shapes("s, d", (1, 1), (4, 2), (7, 3), (64, 16), (100, 64))
def test_bytes_for_any_chip(s, d, size):
    row = 4 * d * size
    for sram in (row, row + 1, 2 * row - 1, 2 * row, 3 * row, s * row - 1, s * row, 9 * s * row):
        if sram >= row:
            check_bytes(s, d, sram, size)


@exercise("io_bytes")
def test_bytes_of_real_sizes():
    for s in (1024, 4096, 16_384):
        for d in (64, 128):
            check_bytes(s, d, 227 * 1024)


@exercise("io_bytes")
def test_bytes_refuse_a_chip_that_is_too_small():
    for d, size in ((1, 2), (64, 2), (64, 4)):
        for sram in (0, 4 * d * size - 1):
            what = f"{sram} bytes for rows of {d} numbers of {size} bytes"
            refused(day29.io_bytes, 10, d, sram, size, what=what)


@exercise("io_bytes")
def test_bytes_grow_as_the_paper_proves():
    """Theorem 2: s d + s^2 against s^2 d^2 / M, far from the ends."""
    s, d, sram = 2**16, 64, 2**17
    standard, flash = day29.io_bytes(s, d, sram)
    for what, other, a, b in (
        ("twice the queries and keys", day29.io_bytes(2 * s, d, sram), 4.0, 4.0),
        ("twice the dim", day29.io_bytes(s, 2 * d, sram), 1.0, 4.0),
        ("twice the chip", day29.io_bytes(s, d, 2 * sram), 1.0, 0.5),
    ):
        assert abs(other[0] / standard / a - 1) < 0.05, (
            f"with {what}, standard attention moves {other[0] / standard:.2f} times the bytes; "
            f"by the theorem about {a:g} times"
        )
        assert abs(other[1] / flash / b - 1) < 0.05, (
            f"with {what}, FlashAttention moves {other[1] / flash:.2f} times the bytes; by the "
            f"theorem about {b:g} times"
        )
