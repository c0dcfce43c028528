import contextlib
import functools

import pytest
import torch
import torch.nn.functional as F
import triton
import triton.language as tl
from torch.utils.checkpoint import checkpoint

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
from tracks.pytorch.day18 import MultiHeadAttention
from tracks.pytorch.day21 import GPT
from tracks.triton import day19, day32, day34, day35

F32, F16, BF16 = torch.float32, torch.float16, torch.bfloat16
DTYPES = {"float32": F32, "float16": F16, "bfloat16": BF16}
BAN = ["scaled_dot_product_attention"]
OPERATORS = ["flash_attention", "flash_attention_backward"]
# What four linear layers do, and heads that are joined.
LINEAR = [*OPERATORS, "linear", "addmm", "mm", "bmm", "add", "clone", "unsafe_view", "uniform"]
FAR = day35.NO_LIMIT
nan, inf = float("nan"), float("inf")
EPS = torch.finfo(F32).eps
# Under their own names, so that known bugs can be tried in their places.
_visible_blocks = day35._visible_blocks


# visible_blocks -----------------------------------------------------------------------------


def counted_blocks(tile, rows, columns, left, right, block_r, block_c):
    """Of each block: whether it is full and seen by all rows, and whether a row sees some of it."""
    mine = range(tile * block_r, min(tile * block_r + block_r, rows))
    places = [r + columns - rows for r in mine]
    seen = [[p - left <= c <= p + right for c in range(columns)] for p in places]
    blocks = [range(c, c + block_c) for c in range(0, columns, block_c)]
    full = [all(c < columns and all(row[c] for row in seen) for c in block) for block in blocks]
    needed = [any(c < columns and any(row[c] for row in seen) for c in block) for block in blocks]
    return full, needed


def check_blocks(found, sizes):
    tile, rows, columns, left, right, block_r, block_c = sizes
    first, begin, whole, end = found
    what = (
        f"tile {tile} of {block_r} of {rows} rows, {columns} columns in blocks of {block_c}, left "
        f"{left}, right {right}: (first, begin, whole, end) = {tuple(found)}"
    )
    full, needed = counted_blocks(*sizes)
    assert 0 <= first <= begin <= whole <= end, f"{what} do not rise from 0 on"
    wanted = {n for n, is_needed in enumerate(needed) if is_needed}
    assert set(range(first, end)) == wanted, (
        f"{what}: the blocks that a row sees something of are {sorted(wanted)}"
    )
    wanted = {n for n, is_full in enumerate(full) if is_full}
    assert set(range(begin, whole)) == wanted, (
        f"{what}: the blocks of which every row sees all are {sorted(wanted)}"
    )


class Divisor(int):
    """By which nothing negative may be divided: Python and kernels round that differently."""

    def __rfloordiv__(self, number):
        assert number >= 0, (
            f"{number} // {self}: no negative number may be divided, because Python rounds the "
            "result down and a kernel rounds it towards 0"
        )
        return number // int(self)


@exercise("visible_blocks")
@pytest.mark.parametrize("left", [0, 1, 3, 6, FAR])
@pytest.mark.parametrize("right", [0, 2, 5, FAR])
def test_blocks_of_all_small_sizes(left, right):
    for rows in (1, 5, 8):
        for columns in (0, 4, 7, 11):
            for block_r, block_c in ((1, 1), (2, 3), (3, 2), (8, 2), (1, 9)):
                for tile in range(-(-rows // block_r)):
                    sizes = (tile, rows, columns, left, right, block_r, block_c)
                    check_blocks(day35.visible_blocks(*sizes[:-1], Divisor(block_c)), sizes)


@exercise("visible_blocks")
def test_work_grows_with_the_window_and_not_with_its_square():
    tokens, block = 65_536, 128
    tiles = tokens // block
    for window in (128, 1024, 4096):
        sizes = (tokens, tokens, window - 1, 0, block, block)
        work = 0
        for tile in range(tiles):
            first, _, _, end = day35.visible_blocks(tile, *sizes)
            work += end - first
        most = tiles * (window // block + 1)
        assert work <= most, (
            f"a window of {window} of {tokens} tokens in blocks of {block}: {work} pairs of "
            f"blocks, but no more than {most} are needed"
        )


@triton.jit
def blocks_kernel(out_ptr, rows, columns, left, right, R: tl.constexpr, C: tl.constexpr):
    tile = tl.program_id(0)
    first, begin, whole, end = _visible_blocks(tile, rows, columns, left, right, R, C)
    tl.store(out_ptr + 4 * tile, first)
    tl.store(out_ptr + 4 * tile + 1, begin)
    tl.store(out_ptr + 4 * tile + 2, whole)
    tl.store(out_ptr + 4 * tile + 3, end)


@exercise("visible_blocks")
@shapes("rows, columns, left, right", (7, 12, 3, 0), (12, 7, 2, 2), (9, 0, 1, 0), (11, 11, FAR, 1))
def test_blocks_in_a_kernel(rows, columns, left, right, device):
    tiles = -(-rows // 2)
    out = torch.empty(tiles, 4, dtype=torch.int32, device=device)
    blocks_kernel[(tiles,)](out, rows, columns, left, right, R=2, C=3)
    for tile, found in enumerate(out.tolist()):
        check_blocks(found, (tile, rows, columns, left, right, 2, 3))


# Attention in float64 -----------------------------------------------------------------------


def dense64(q, k, v, do, left, right, scale):
    """All results of one text in float64, and how much of each float32 and 16 bits may lose."""
    group = q.shape[1] // max(k.shape[1], 1)
    dtype = q.dtype
    q, do = q.double(), do.double()
    k, v = (x.double().repeat_interleave(group, dim=1) for x in (k, v))
    s = scale * (q @ k.mT)
    queries, keys = s.shape[-2:]
    i, j = (torch.arange(n, device=s.device) for n in (queries, keys))
    place = i[:, None] + keys - queries
    s = torch.where((j >= place - left) & (j <= place + right), s, -inf)
    lse = s.logsumexp(-1) if keys else s.new_full(s.shape[:-1], -inf)
    p = torch.where(s == -inf, 0.0, (s - torch.where(lse == -inf, 0.0, lse)[..., None]).exp())
    o, dp = p @ v, do @ v.mT
    ds = p * (dp - (do * o).sum(-1, keepdim=True))

    def shared(x):
        return x.unflatten(1, (-1, group)).sum(2) if group else x[:, :0]

    right_ones = {
        "o": o,
        "lse": lse,
        "dq": scale * ds @ k,
        "dk": shared(scale * ds.mT @ q),
        "dv": shared(p.mT @ do),
    }
    # A weight may be off by an eps of its score's size; 16 bits round weights and ds besides.
    lost = 1 + scale * (q.abs() @ k.abs().mT)
    coarse = 1 if dtype == F32 else torch.finfo(dtype).eps / EPS
    p_size = p * (lost + coarse)
    ds_size = p_size * (do.abs() @ v.abs().mT + (do * o).abs().sum(-1, keepdim=True))
    sizes = {
        "o": p_size @ v.abs(),
        "lse": 2 + lse.abs().nan_to_num(0.0, 0.0, 0.0) + (p * lost).sum(-1),
        "dq": scale * ds_size @ k.abs(),
        "dk": shared(scale * ds_size.mT @ q.abs()),
        "dv": shared(p_size.mT @ do.abs()),
    }
    return right_ones, sizes


def texts64(q, k, v, do, left, right, scale, q_lengths=None, k_lengths=None):
    """``dense64`` of texts behind each other, each alone."""
    if q_lengths is None:
        return dense64(q, k, v, do, left, right, scale)
    parts = zip(
        *(x.split(n, dim=2) for x, n in ((q, q_lengths), (k, k_lengths), (v, k_lengths))),
        do.split(q_lengths, dim=2),
        strict=True,
    )
    each = [dense64(*part, left, right, scale) for part in parts]
    return [
        {name: torch.cat([one[n][name] for one in each], dim=2) for name in each[0][n]}
        for n in (0, 1)
    ]


def compare(found, expected, sizes, dtype, what=""):
    for name, x in found.items():
        kind = F32 if name == "lse" else dtype
        close(x, expected[name], dtype=kind, scale=sizes[name], terms=4, name=name + what)


def small(monkeypatch):
    """Small tiles for the day in hand, so that few queries and keys make many of them."""

    def config(block_m, block_n):
        def tiles(dim, element_size):
            block_d = max(16, 2 ** (dim - 1).bit_length())
            tile = {"BLOCK_M": block_m, "BLOCK_N": block_n, "BLOCK_D": block_d}
            return {**tile, "num_warps": 4, "num_stages": 2}

        return tiles

    monkeypatch.setattr(day35, "_config", config(16, 16))
    monkeypatch.setattr(day35, "_dkdv_config", config(16, 32))
    monkeypatch.setattr(day35, "_dq_config", config(32, 16))


def operands(rng, batch, heads, kv_heads, queries, keys, dim, dtype=F32):
    """q, k, v and do."""
    q, do = (rng.normal(batch, heads, queries, dim, dtype=dtype) for _ in range(2))
    return q, *(rng.normal(batch, kv_heads, keys, dim, dtype=dtype) for _ in range(2)), do


def starts_of(lengths, device, dtype=torch.int32):
    return torch.tensor([0, *lengths], device=device).cumsum(0).to(dtype)


def packed(rng, heads, kv_heads, q_lengths, k_lengths, dim, dtype=F32):
    """Operands of texts behind each other, and their starts."""
    tensors = operands(rng, 1, heads, kv_heads, sum(q_lengths), sum(k_lengths), dim, dtype)
    return tensors, [starts_of(n, tensors[0].device) for n in (q_lengths, k_lengths)]


def check_room(seen, results, what, extra=0):
    room = sum(x.numel() * x.element_size() for x in results) + extra
    assert seen.peak_bytes <= room + 2048, (
        f"{what} takes {room} bytes, but {seen.peak_bytes} were allocated: is an operand copied, "
        "or something of the size queries x keys stored?"
    )
    waits = seen.synchronisations
    assert not waits, f"{what} makes the host wait for the GPU: {', '.join(waits)}"


def check_programs(launch, heads, rows, block, starts):
    slots = -(-rows // block) if starts is None else rows // block + len(starts) - 1
    assert launch.programs == heads * slots, (
        f"{launch.kernel} has {launch.programs} programs, but {heads * slots} were due"
    )


def check_forward(q, k, v, do, left, right, scale, lengths=(None, None), starts=(), values=None):
    (o, lse), seen = watch(day35.window_forward, q, k, v, left, right, scale, *starts)
    expected, sizes = texts64(*(values or (q, k, v)), do, left, right, scale, *lengths)
    compare({"o": o, "lse": lse}, expected, sizes, q.dtype)
    check_room(seen, (o, lse), "window_forward")
    assert o.is_contiguous(), f"o has the strides {o.stride()}, not contiguous ones"
    if o.numel():
        assert len(seen.launches) == 1, f"expected 1 kernel launch, saw {len(seen.launches)}"
        block = day35._config(q.shape[3], q.element_size())["BLOCK_M"]
        check_programs(
            *(seen.launches[0], q.shape[0] * q.shape[1], q.shape[2], block),
            starts[0] if starts else None,
        )
    return o, lse


def check_backward(q, k, v, do, left, right, scale, lengths=(None, None), starts=(), values=None):
    """With o and lse as they should be, so that it does not depend on window_forward."""
    source = values or (q, k, v, do)
    expected, sizes = texts64(*source, left, right, scale, *lengths)
    o, lse = expected["o"].to(q.dtype), expected["lse"].float()
    grads, seen = watch(day35.window_backward, q, k, v, o, lse, do, left, right, scale, *starts)
    compare(dict(zip(("dq", "dk", "dv"), grads, strict=True)), expected, sizes, q.dtype)
    check_room(seen, grads, "window_backward", 4 * lse.numel())
    for name, x in zip(("dq", "dk", "dv"), grads, strict=True):
        assert x.is_contiguous(), f"{name} has the strides {x.stride()}, not contiguous ones"
    if q.numel() and k.numel():
        assert len(seen.launches) == 3, f"expected 3 kernel launches, saw {len(seen.launches)}"
        dim, size = q.shape[3], q.element_size()
        n = day35._dkdv_config(dim, size)["BLOCK_N"]
        m = day35._dq_config(dim, size)["BLOCK_M"]
        q_starts, k_starts = starts or (None, None)
        found = sorted(launch.programs for launch in seen.launches[1:])
        slots = [-(-k.shape[2] // n), -(-q.shape[2] // m)]
        if starts:
            slots = [k.shape[2] // n + len(k_starts) - 1, q.shape[2] // m + len(q_starts) - 1]
        due = [k.shape[0] * k.shape[1] * slots[0], q.shape[0] * q.shape[1] * slots[1]]
        assert found == sorted(due), (
            f"the kernels of the gradients have {found} programs, but {sorted(due)} were due: one "
            "for each tile of keys of a head of k, one for each tile of queries of a head of q"
        )
    return grads


CHECKS = pytest.mark.parametrize(
    "check",
    [
        pytest.param(check_forward, marks=exercise("window_forward", ban=BAN), id="forward"),
        pytest.param(check_backward, marks=exercise("window_backward", ban=BAN), id="backward"),
    ],
)


# window_forward and window_backward ---------------------------------------------------------


@CHECKS
@shapes(
    "heads, kv_heads, queries, keys, dim, left, right, dtype",
    *[(1, 1, 1, 1, 1, 0, 0, "float32"), (2, 1, 40, 40, 16, 20, 0, "float16")],
    *[(1, 1, 33, 50, 8, 7, 3, "bfloat16"), (2, 1, 50, 33, 24, FAR, 0, "float32")],
    *[(2, 1, 20, 0, 8, 3, 0, "float32"), (2, 1, 0, 5, 8, 3, 0, "float32")],
    *[(0, 0, 3, 4, 8, 1, 0, "float32"), (1, 1, 70, 70, 16, 45, 0, "float32")],
    # The tile of keys has three blocks of queries that are cut, two whole ones, and two more.
    (4, 2, 128, 32, 16, 0, 78, "float32"),
    gpu=[
        *[(8, 2, 2000, 2000, 128, 255, 0, "bfloat16"), (4, 4, 3000, 3000, 64, 700, 100, "float16")],
        *[(4, 1, 1000, 1777, 80, 300, 0, "bfloat16"), (2, 2, 700, 500, 48, 64, 64, "float32")],
        (2, 2, 515, 515, 256, 100, 0, "bfloat16"),
    ],
)
def test_band(check, heads, kv_heads, queries, keys, dim, left, right, dtype, rng, monkeypatch):
    if max(queries, keys) < 100:
        small(monkeypatch)
    batch = 2 if heads == 2 else 1
    tensors = operands(rng, batch, heads, kv_heads, queries, keys, dim, DTYPES[dtype])
    check(*tensors, left, right, 0.7 * dim**-0.5)


@CHECKS
@shapes("dtype", "bfloat16", gpu=["float32", "float16"])
def test_with_the_tiles_of_config(check, dtype, rng):
    check(*operands(rng, 1, 1, 1, 70, 70, 40, DTYPES[dtype]), 50, 0, 0.2)


TEXTS = [
    ((5, 49, 1), (5, 49, 1), FAR, 0),
    ((16, 32, 15, 17), (16, 32, 15, 17), 6, 0),
    ((3, 0, 30, 2), (20, 4, 0, 35), FAR, 0),
    ((0, 0, 7, 0), (0, 3, 40, 0), 9, 2),
    ((), (), 3, 0),
]


@CHECKS
@pytest.mark.parametrize("q_lengths, k_lengths, left, right", TEXTS)
def test_texts(check, q_lengths, k_lengths, left, right, rng, monkeypatch):
    small(monkeypatch)
    tensors, starts = packed(rng, 2, 1, q_lengths, k_lengths, 16)
    lengths = (list(q_lengths), list(k_lengths)) if q_lengths else (None, None)
    check(*tensors, left, right, 0.25, lengths, starts)


@exercise("window_forward", ban=BAN)
def test_starts_of_64_bits(rng, monkeypatch):
    small(monkeypatch)
    tensors, starts = packed(rng, 1, 1, (5, 9), (5, 9), 16, F16)
    check_forward(*tensors, 3, 0, 0.25, ([5, 9], [5, 9]), [x.long() for x in starts])


@CHECKS
@shapes("texts", gpu=[2000])
def test_many_short_texts(check, texts, rng, monkeypatch):
    small(monkeypatch)
    lengths = rng.integers(0, 5, texts).tolist()
    tensors, starts = packed(rng, 1, 1, lengths, lengths, 8)
    check(*tensors, FAR, 0, 0.4, (lengths, lengths), starts)


@CHECKS
def test_any_strides(check, rng, monkeypatch):
    small(monkeypatch)
    tensors = operands(rng, 2, 2, 2, 3, 3, 8)
    views = []
    for x in tensors:
        mine = [view for _, view in layouts(x)]
        mine.append(x[:1, :1].expand(2, 2, 3, 8))
        mine.append(x[:, :, :1, :1].expand(2, 2, 3, 8))
        views.append(mine)
    for n in range(0, len(views[0]), 3):  # no two of the operands have the same layout
        check(*(mine[(n + i) % len(mine)] for i, mine in enumerate(views)), 1, 0, 0.3)


@CHECKS
def test_beyond_int32(check, rng, monkeypatch):
    small(monkeypatch)
    batch = 3 if rng.device.type == "cuda" else 1
    tensors = operands(rng, batch, 3, 3, 3, 3, 3, F16)
    count = 4 if check is check_backward else 3
    # On a card there is not always room for all of them at once.
    groups = [[n] for n in range(count)] if tensors[0].is_cuda else [list(range(count))]
    for far in groups:
        for views in zip(*(far_apart(tensors[n]) for n in far), strict=True):
            changed = list(tensors)
            for n, (_, view) in zip(far, views, strict=True):
                changed[n] = view
            check(*changed, 1, 0, 0.3, values=tensors[:count])


@exercise("window_backward", ban=BAN)
def test_heads_that_share_one_beyond_int32(rng, monkeypatch):
    small(monkeypatch)
    q, k, v, do = operands(rng, 1, 3, 1, 2, 2, 2, F16)
    for (_, far_q), (_, far_do) in zip(far_apart(q), far_apart(do), strict=True):
        check_backward(far_q, k, v, far_do, 1, 0, 0.3, values=(q, k, v, do))


@CHECKS
def test_text_far_from_the_start(check, rng, monkeypatch):
    """The number of a row times a stride, beyond int32 where each of them fits."""
    small(monkeypatch)
    tensors, starts = packed(rng, 1, 1, (3, 2), (3, 2), 1, F16)
    apart = 2**30
    if tensors[0].is_cuda and torch.cuda.mem_get_info()[0] < 12 * apart:
        pytest.skip(f"needs {12 * apart / 1e9:.0f} GB of free GPU memory")
    memory = torch.empty(4 * apart + 4, dtype=F16, device=tensors[0].device)
    strides = (5 * apart, 5 * apart, apart, 1)
    far = [memory.as_strided(x.shape, strides, n).copy_(x) for n, x in enumerate(tensors)]
    values = tensors if check is check_backward else tensors[:3]
    check(*far, 2, 0, 1.0, ([3, 2], [3, 2]), starts, values=values)


@exercise("window_forward", ban=BAN)
def test_keys_outside_of_all_blocks_are_not_read(rng, monkeypatch):
    small(monkeypatch)
    q, k, v, do = operands(rng, 1, 1, 1, 64, 64, 16)
    expected, sizes = dense64(q, k, v, do, 15, 0, 0.25)
    k, v = k.clone(), v.clone()
    # Queries 32 to 47 see the keys 17 to 47: blocks 1 and 2.
    for x in (k, v):
        x[:, :, :16], x[:, :, 48:] = nan, nan
    o, _ = day35.window_forward(q, k, v, 15, 0, 0.25)
    assert not o[:, :, 32:48].isnan().any(), (
        "blocks of k and v that no query of a tile sees hold nan, and yet it is in the tile's "
        "result: the tile reads blocks that lie outside of its window"
    )
    part = slice(32, 48)
    close(o[:, :, part], expected["o"][:, :, part], dtype=F32, scale=sizes["o"][:, :, part])


@exercise("window_backward", ban=BAN)
def test_gradients_outside_of_all_blocks_are_not_read(rng, monkeypatch):
    small(monkeypatch)
    q, k, v, do = operands(rng, 1, 1, 1, 96, 96, 16)
    expected, _ = dense64(q, k, v, do, 15, 0, 0.25)
    o, lse = expected["o"].float(), expected["lse"].float()
    q, k, v, do = (x.clone() for x in (q, k, v, do))
    # Queries 32 to 63 see the keys 17 to 63; keys 32 to 63 are seen by the queries 32 to 78.
    for x in (k, v):
        x[:, :, :16], x[:, :, 64:] = nan, nan
    dq, _, _ = day35.window_backward(q, k, v, o, lse, do, 15, 0, 0.25)
    assert not dq[:, :, 32:64].isnan().any(), (
        "k and v hold nan in blocks that a tile of queries does not see, and it is in their dq"
    )
    q, k, v, do = operands(rng, 1, 1, 1, 96, 96, 16)
    q, do = q.clone(), do.clone()
    for x in (q, do):
        x[:, :, :32], x[:, :, 80:] = nan, nan
    _, dk, dv = day35.window_backward(q, k, v, o, lse, do, 15, 0, 0.25)
    assert not dk[:, :, 32:64].isnan().any() and not dv[:, :, 32:64].isnan().any(), (
        "q and do hold nan in blocks that do not see a tile of keys, and it is in dk or dv"
    )


@CHECKS
def test_texts_do_not_meet(check, rng, monkeypatch):
    """What another text holds, be it nan, has no effect."""
    small(monkeypatch)
    tensors, starts = packed(rng, 2, 1, (10, 21, 10), (12, 21, 10), 16)
    middle, left = [], []
    for x in tensors:
        n = 12 if x.shape[2] == 43 else 10
        middle.append(x[:, :, n : n + 21])
        x = x.clone()
        x[:, :, :n], x[:, :, n + 21 :] = nan, nan
        left.append(x)
    expected, sizes = dense64(*middle, FAR, 0, 0.25)
    if check is check_forward:
        o, lse = day35.window_forward(*left[:3], FAR, 0, 0.25, *starts)
        found = {"o": o[:, :, 10:31], "lse": lse[:, :, 10:31]}
    else:
        o, lse = torch.zeros_like(left[0]), torch.zeros_like(left[0][..., 0])
        o[:, :, 10:31], lse[:, :, 10:31] = expected["o"], expected["lse"]
        q, k, v, do = left
        grads = day35.window_backward(q, k, v, o, lse, do, FAR, 0, 0.25, *starts)
        rows = (slice(10, 31), slice(12, 33), slice(12, 33))
        found = {
            name: x[:, :, part]
            for name, x, part in zip(("dq", "dk", "dv"), grads, rows, strict=True)
        }
    compare(found, expected, sizes, F32, " of a text between two that hold nan")


@exercise("window_backward", ban=BAN)
def test_gradients_are_the_same_every_time(rng, monkeypatch):
    small(monkeypatch)
    q, k, v, do = operands(rng, 1, 2, 1, 33, 20, 16, F16)
    o, lse = day35.window_forward(q, k, v, 20, 0, 0.25)
    first, second = (day35.window_backward(q, k, v, o, lse, do, 20, 0, 0.25) for _ in range(2))
    for name, x, y in zip(("dq", "dk", "dv"), first, second, strict=True):
        assert torch.equal(x, y), f"two runs give two different {name}"


@CHECKS
def test_many_heads_in_bands(check, rng, monkeypatch):
    small(monkeypatch)
    q, k, v, do = operands(rng, 1, 3, 3, 20, 24, 8)
    asked = []
    for name in ("_together", "_band"):

        def band(x, y, causal, name=name):
            asked.append((name, tuple(x.shape), tuple(y.shape), causal))
            return 2

        monkeypatch.setattr(day35, name, band)
    check(q, k, v, do, 9, 0, 0.3)
    shapes = (tuple(q.shape), tuple(k.shape), True)
    due = {("_together", *shapes)} | ({("_band", *shapes)} if check is check_backward else set())
    assert set(asked) == due, f"the widths of bands were asked for by {asked}, but {due} were due"


@CHECKS
def test_large_scores(check, rng, monkeypatch):
    small(monkeypatch)
    q, k, v, do = operands(rng, 1, 1, 1, 20, 40, 16)
    check(30 * q, 30 * k, v, do, 9, 2, 0.1)


@CHECKS
def test_scores_far_below_zero(check, rng, monkeypatch):
    """A place behind the last key, filled with 0, would have a score far above all others."""
    small(monkeypatch)
    q, k, v, do = operands(rng, 1, 1, 1, 5, 5, 16)
    check(10 + q, -10 - k, v, do, 2, 2, 0.1)


def refusals(rng):
    q, k, v, do = operands(rng, 1, 4, 2, 5, 6, 8)
    starts = starts_of((2, 3), q.device), starts_of((2, 4), q.device)
    good = (q, k, v, 2, 0, 0.5)
    return do, [
        ((q, k, v, -1, 0, 0.5), "left = -1"),
        ((q, k, v, 0, -1, 0.5), "right = -1"),
        ((q, k, v, 2, 0, 0.0), "a scale of 0"),
        ((q, k, v, 2, 0, nan), "a scale of nan"),
        ((q, k, v[:, :, :5], 2, 0, 0.5), "6 keys and 5 values"),
        ((q, k[:, :1].expand(1, 3, 6, 8), v, 2, 0, 0.5), "3 heads of k and 2 of v"),
        ((*good, starts[0], None), "starts of queries alone"),
        ((*good, None, starts[1]), "starts of keys alone"),
        ((*good, starts[0], starts[1][:2]), "starts of 2 and of 1 texts"),
        ((*good, starts[0].float(), starts[1]), "starts in float32"),
        ((*good, starts[0][None], starts[1][None]), "starts of two axes"),
        ((*good, starts[0].repeat_interleave(2)[::2], starts[1]), "starts with a stride of 2"),
        ((*good, starts[0][:0], starts[1][:0]), "no starts at all"),
        (
            (*(x.expand(2, *x.shape[1:]) for x in (q, k, v)), 2, 0, 0.5, *starts),
            "starts and two batches",
        ),
    ]


@exercise("window_forward", ban=BAN)
def test_forward_refuses(rng):
    for arguments, what in refusals(rng)[1]:
        refused(day35.window_forward, *arguments, what=what)


@exercise("window_backward", ban=BAN)
def test_backward_refuses(rng):
    do, cases = refusals(rng)
    for (q, k, v, *rest), what in cases:
        lse, do = torch.zeros(q.shape[:3], device=q.device), do[:1].expand(q.shape)
        refused(day35.window_backward, q, k, v, do, lse, do, *rest, what=what)
    q, k, v, do = operands(rng, 1, 4, 2, 5, 6, 8)
    lse = torch.zeros(q.shape[:3], device=q.device)
    rest = (2, 0, 0.5)
    refused(day35.window_backward, q, k, v, do, lse, do.half(), *rest, what="do in float16")
    refused(day35.window_backward, q, k, v, do[:, :, :4], lse, do, *rest, what="o of 4 queries")
    refused(day35.window_backward, q, k, v, do, lse[:, :, :4], do, *rest, what="lse of 4 queries")


# What the compiler makes of it --------------------------------------------------------------


def check_report(report, dim, dtype, chip):
    assert report.refused is None, f"the compiler refuses the kernel: {report.refused.text()}"
    form = f"for {report.chip}, {report.specialisation}"
    if dim <= 128 and dtype != F32:
        assert report.spill_bytes <= 512, (
            f"the kernel spills {report.spill_bytes} bytes a thread {form}"
        )
        unit = {"sm_80": "mma", "sm_90": "wgmma"}[chip]
        assert str(report.tensor_core).startswith(unit), (
            f"products are computed by {report.tensor_core or 'no tensor core'}, and not by "
            f"{unit}, {form}"
        )
    assert report.shared_bytes <= report.shared_limit, (
        f"{report.shared_bytes} bytes of shared memory exceed {report.shared_limit} {form}"
    )
    width = report.widest_load_bits
    assert width == 128, f"loads are {width} bits wide: {why_narrow(report)} {form}"


def check_compiled(monkeypatch, rng, chip, dim, dtype, backward, with_starts=True):
    device = {"sm_80": day19.A100, "sm_90": day19.H200}[chip]
    for day in (day32, day34):
        monkeypatch.setattr(day, "this_device", lambda: device)
    (q, k, v, do), starts = packed(rng, 2, 1, (16,), (16,), dim, dtype)
    starts = starts if with_starts else ()
    lse = torch.zeros(q.shape[:3], device=q.device)

    def launch():
        if backward:
            day35.window_backward(q, k, v, do, lse, do, 7, 0, 0.1, *starts)
        else:
            day35.window_forward(q, k, v, 7, 0, 0.1, *starts)

    for report in compiled(launch, chip=chip)[1 if backward else 0 :]:
        check_report(report, dim, dtype, chip)


@exercise("window_forward", ban=BAN)
@pytest.mark.parametrize("chip, dim", [("sm_90", 128)])
def test_forward_compiles(chip, dim, rng, monkeypatch):
    check_compiled(monkeypatch, rng, chip, dim, BF16, False)


@CHECKS
@shapes("chip", gpu=["sm_80", "sm_90"])
def test_compiles_without_texts(check, chip, rng, monkeypatch):
    backward = check is check_backward
    check_compiled(monkeypatch, rng, chip, 128, BF16, backward, with_starts=False)


# AttentionOperator --------------------------------------------------------------------------


@contextlib.contextmanager
def unguarded():
    """torch.compile and opcheck do not work beside modes that watch; none is left here."""
    from torch.utils._python_dispatch import _disable_current_modes

    with torch._C.DisableTorchFunction(), _disable_current_modes():
        yield


def count_calls(monkeypatch):
    """A list that grows by the shape of q with each call of the operator."""
    calls, operator = [], day35.attention_forward

    def counted(q, *rest):
        calls.append(tuple(q.shape))
        return operator(q, *rest)

    monkeypatch.setattr(day35, "attention_forward", counted)
    return calls


def leaves(*tensors):
    return [x.detach().clone().requires_grad_() for x in tensors]


# causal, window, and the lengths of texts
FORMS = {
    "full": (False, None, None),
    "causal": (True, None, None),
    "window": (True, 3, None),
    "texts": (True, None, (2, 4)),
}
IN_THREE_FORMS = pytest.mark.parametrize("form", list(FORMS.values())[1:], ids=list(FORMS)[1:])


def arguments(rng, form, dtype=F32):
    causal, window, lengths = form
    q, k, v, do = operands(rng, 1, 2, 1, 6, 6, 16, dtype)
    starts = (None, None) if lengths is None else (starts_of(lengths, q.device),) * 2
    return (q, k, v, *starts, causal, 0.3, window), do


@exercise("AttentionOperator", ban=BAN, allow=OPERATORS)
@pytest.mark.parametrize("form", [FORMS["window"], FORMS["texts"]], ids=["window", "texts"])
def test_operator_values(form, rng):
    (q, k, v, *rest), do = arguments(rng, form)
    causal, window, lengths = form
    q, k, v = leaves(q, k, v)
    o, lse = day35.attention_forward(q, k, v, *rest)
    o.backward(do)
    reach = FAR if window is None else window - 1
    lengths = [list(lengths)] * 2 if lengths else (None, None)
    expected, sizes = texts64(
        q.detach(), k.detach(), v.detach(), do, reach, 0 if causal else reach, 0.3, *lengths
    )
    found = {"o": o.detach(), "lse": lse.detach(), "dq": q.grad, "dk": k.grad, "dv": v.grad}
    compare(found, expected, sizes, F32)


@exercise("AttentionOperator", ban=BAN)
@IN_THREE_FORMS
def test_operator_launches(form, rng):
    """One kernel forward, three backward: day 32's and 34's wherever they can do it."""
    (q, k, v, *rest), do = arguments(rng, form)
    (o, lse), forward = watch(day35.AttentionOperator.forward, q, k, v, *rest)
    grads, backward = watch(day35.AttentionOperator.backward, q, k, v, o, lse, do, *rest)
    own = form in (FORMS["window"], FORMS["texts"])
    for what, seen, due in (
        (
            "forward",
            forward,
            ["window_forward_kernel" if own else "flash_attention_forward_kernel"],
        ),
        (
            "backward",
            backward,
            ["delta_kernel", "window_backward_dkdv_kernel", "window_backward_dq_kernel"]
            if own
            else ["delta_kernel", "flash_dkdv_kernel", "flash_dq_kernel"],
        ),
    ):
        names = [launch.kernel for launch in seen.launches]
        assert len(names) == len(due), f"{what} launched {names}, {len(due)} kernels were due"
        assert names[0] == due[0], f"{what} launched {names}, {due} were due"
        assert set(names) == set(due), f"{what} launched {names}, {due} were due"
    check_room(forward, (o, lse), "the forward pass")
    check_room(backward, grads, "the backward pass", 4 * lse.numel())


@exercise("AttentionOperator", ban=BAN)
@shapes("queries, keys, window", (20, 4100, None), gpu=[(8192, 8192, None), (8192, 8192, 256)])
def test_operator_stores_no_matrix(queries, keys, window, rng):
    q, k, v, do = operands(rng, 1, 1, 1, queries, keys, 16, F16)
    rest = (None, None, True, 0.25, window)
    (o, lse), seen = watch(day35.AttentionOperator.forward, q, k, v, *rest)
    check_room(seen, (o, lse), "the forward pass")
    grads, seen = watch(day35.AttentionOperator.backward, q, k, v, o, lse, do, *rest)
    check_room(seen, grads, "the backward pass", 4 * lse.numel())


@exercise("AttentionOperator", ban=BAN, allow=OPERATORS)
def test_keeps_operands_and_two_results(rng):
    (q, k, v, *rest), _ = arguments(rng, FORMS["texts"])
    q, k, v = leaves(q, k, v)
    kept = []

    def pack(x):
        kept.append((x.data_ptr(), tuple(x.shape)))
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        o, lse = day35.attention_forward(q, k, v, *rest)
    allowed = {(x.data_ptr(), tuple(x.shape)) for x in (q, k, v, o, lse, rest[0])}
    others = [shape for pointer, shape in kept if (pointer, shape) not in allowed]
    assert not others, f"kept for the backward pass is also something of the shapes {others}"
    assert len(set(kept)) == 6, f"of q, k, v, o, lse and the starts {len(set(kept))} were kept"


@exercise("AttentionOperator", ban=BAN, allow=OPERATORS)
def test_opcheck(rng):
    (q, k, v, *rest), do = arguments(rng, FORMS["texts"])
    o, lse = day35.attention_forward(q, k, v, *rest)
    token_order = [x.transpose(1, 2).contiguous().transpose(1, 2) for x in leaves(q, k, v)]
    token_order = [x.detach().requires_grad_() for x in token_order]
    with unguarded():
        tests = ["test_schema", "test_autograd_registration", "test_faketensor"]
        if rng.device.type == "cuda":  # a second; on the CPU another test compiles it
            tests.append("test_aot_dispatch_dynamic")
        torch.library.opcheck(
            day35.attention_forward, (*token_order, *rest), test_utils=tuple(tests)
        )
        torch.library.opcheck(
            day35.attention_backward,
            (q, k, v, o, lse, do, *rest),
            test_utils=("test_schema", "test_faketensor"),
        )


@exercise("AttentionOperator", ban=BAN, allow=OPERATORS)
def test_shapes_without_memory(rng):
    (q, k, v, *rest), do = arguments(rng, FORMS["window"], BF16)
    k, v = (x[:, :, :5].transpose(0, 1).contiguous().transpose(0, 1) for x in (k, v))
    q = q.transpose(1, 2).contiguous().transpose(1, 2)
    o, lse = day35.attention_forward(q, k, v, *rest)
    grads = day35.attention_backward(q, k, v, o, lse, do, *rest)
    mine = day35.AttentionOperator
    for name, real, fake in (
        *zip(("o", "lse"), (o, lse), mine.forward_fake(q, k, v, *rest), strict=True),
        *zip(
            ("dq", "dk", "dv"),
            grads,
            mine.backward_fake(q, k, v, o, lse, do, *rest),
            strict=True,
        ),
    ):
        for what in ("shape", "dtype", "device", "stride"):
            x, y = (getattr(t, what) for t in (real, fake))
            x, y = (x(), y()) if what == "stride" else (x, y)
            assert x == y, f"{what} of {name} is {x}, but the fake one has {y}"
    assert fake.data_ptr() != v.data_ptr(), "the fake dv is v itself: it is to be a new tensor"


@exercise("AttentionOperator", ban=BAN, allow=OPERATORS)
def test_vmap_is_refused(rng):
    (q, k, v, *rest), do = arguments(rng, FORMS["causal"])
    o, lse = day35.attention_forward(q, k, v, *rest)
    for what, f in (
        ("attention_forward", lambda x: day35.attention_forward(x, k, v, *rest)[0]),
        (
            "attention_backward",
            lambda x: day35.attention_backward(x, k, v, o, lse, do, *rest)[0],
        ),
    ):
        try:
            torch.func.vmap(f)(torch.stack([q, q]))
        except NotImplementedError as refusal:
            text = str(refusal).lower()
            missing = [word for word in ("vmap", "batch") if word not in text]
            assert not missing, f"vmap over {what}: the error does not name {missing}: {text!r}"
            continue
        pytest.fail(f"vmap over {what} was accepted: a NotImplementedError was due")


# flash_attention ----------------------------------------------------------------------------


def check_attention(q, k, v, do, causal, window=None, scale=None, what=""):
    """Values and gradients, by autograd. Strides stay as they are."""
    operands = [x.detach().requires_grad_() for x in (q, k, v)]
    out = day35.flash_attention(*operands, causal, scale, window)
    grads = torch.autograd.grad(out, operands, do)
    reach = FAR if window is None else window - 1
    scale = q.shape[3] ** -0.5 if scale is None else scale
    expected, sizes = dense64(q, k, v, do, reach, 0 if causal else reach, scale)
    found = dict(zip(("o", "dq", "dk", "dv"), (out.detach(), *grads), strict=True))
    compare(found, expected, sizes, q.dtype, what)


@exercise("flash_attention", ban=BAN, allow=OPERATORS)
def test_attention_with_a_scale(rng):
    tensors = operands(rng, 1, 1, 1, 6, 6, 8)
    check_attention(*tensors, True, None, 0.05)
    check_attention(*tensors, True, 3, 1.5)


@exercise("flash_attention", ban=BAN, allow=OPERATORS)
@shapes(
    "batch, heads, kv_heads, queries, keys, dim, dtype, causal, window",
    *[(1, 1, 1, 9, 20, 24, "bfloat16", False, None), (2, 2, 1, 13, 13, 16, "float32", True, None)],
    *[(1, 2, 1, 13, 20, 16, "float32", True, 5), (1, 1, 1, 20, 9, 8, "float16", False, 4)],
    gpu=[
        (*sizes, causal, window)
        for sizes in (
            *[(2, 8, 2, 1500, 1500, 128, "bfloat16"), (1, 4, 4, 1000, 1777, 64, "float16")],
            *((1, 2, 1, 515, 515, d, "bfloat16") for d in (16, 32, 80, 96, 256)),
        )
        for causal, window in ((False, None), (True, None), (True, 100), (False, 70))
    ],
)
def test_attention(batch, heads, kv_heads, queries, keys, dim, dtype, causal, window, rng):
    tensors = operands(rng, batch, heads, kv_heads, queries, keys, dim, DTYPES[dtype])
    check_attention(*tensors, causal, window)


@exercise("flash_attention", ban=BAN, allow=OPERATORS)
def test_attention_windows_of_one_and_of_all(rng):
    q, k, v, do = operands(rng, 1, 1, 1, 9, 9, 8)
    for causal, window in ((True, 1), (True, 8), (False, 1000)):
        check_attention(q, k, v, do, causal, window, what=f" with a window of {window}")


@exercise("flash_attention", ban=BAN, allow=OPERATORS)
@shapes("window", 2, gpu=[None])
def test_attention_of_views(window, rng):
    q, k, v, do = operands(rng, 1, 2, 2, 5, 5, 8)
    token_order = [x.transpose(1, 2).contiguous().transpose(1, 2) for x in (q, k, v, do)]
    check_attention(*token_order, True, window, what=" in the order of tokens")
    ones = do[:, :1, :1, :1].expand(1, 2, 5, 8)
    check_attention(q, k, v, ones, True, window, what=" with a gradient of strides 0")


@exercise("flash_attention", ban=BAN, allow=OPERATORS)
def test_attention_of_nothing(rng):
    check_attention(*operands(rng, 1, 2, 1, 3, 0, 8), True)
    check_attention(*operands(rng, 0, 2, 1, 3, 3, 8), True)


def kept_bytes(f):
    """The result of f, and the bytes of all memory that it keeps for the backward pass."""
    kept = {}

    def pack(x):
        kept[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        out = f()
    return out, sum(kept.values())


@exercise("flash_attention", ban=BAN, allow=OPERATORS)
@pytest.mark.parametrize("window", [None, 16])
def test_attention_keeps_no_matrix(window, rng):
    q, k, v, _ = operands(rng, 1, 1, 1, 200, 200, 16, F16)
    q, k, v = leaves(q, k, v)
    out, kept = kept_bytes(lambda: day35.flash_attention(q, k, v, True, window=window))
    due = 2 * 4 * out.numel() + 4 * 200
    assert kept <= due, f"{kept} bytes are kept for the backward pass, {due} were due"


@exercise("flash_attention", ban=BAN, allow=OPERATORS)
def test_attention_is_one_call_of_the_operator(rng, monkeypatch):
    calls = count_calls(monkeypatch)
    q, k, v, _ = operands(rng, 1, 2, 1, 5, 5, 8)
    day35.flash_attention(q, k, v, True, window=2)
    assert len(calls) == 1, f"attention_forward was called {len(calls)} times, once was due"


@exercise("flash_attention", ban=BAN, allow=OPERATORS)
@shapes("window", 6, gpu=[None])
def test_attention_under_a_checkpoint_and_again(window, rng):
    q, k, v, do = operands(rng, 1, 4, 2, 20, 20, 16, F16)
    results = []

    def run(q, k, v):
        return day35.flash_attention(q, k, v, True, window=window)

    for f in (run, run, lambda *x: checkpoint(run, *x, use_reentrant=False)):
        mine = leaves(q, k, v)
        f(*mine).backward(do)
        results.append([x.grad for x in mine])
    once, twice, under = results
    for name, x, y, z in zip(("dq", "dk", "dv"), once, twice, under, strict=True):
        assert torch.equal(x, y), f"{name} is another one when it is computed again"
        assert torch.equal(x, z), f"{name} is another one under a checkpoint"


@exercise("flash_attention", ban=BAN, allow=OPERATORS)
@shapes("window", 3, gpu=[None])
def test_attention_compiled(window, rng):
    q, k, v, do = operands(rng, 1, 2, 1, 7, 7, 16)

    def run(q, k, v):
        return 2 * day35.flash_attention(q + 1, k, v, True, window=window)

    results = []
    with unguarded():
        for f in (run, torch.compile(run, backend="aot_eager", fullgraph=True)):
            mine = leaves(q, k, v)
            out = f(*mine)
            results.append([out.detach(), *torch.autograd.grad(out, mine, do)])
    for name, x, y in zip(("o", "dq", "dk", "dv"), *results, strict=True):
        assert torch.equal(x, y), f"{name} is another one under torch.compile(fullgraph=True)"


@exercise("flash_attention", ban=BAN, allow=OPERATORS)
def test_attention_refuses(rng):
    q, k, v, _ = operands(rng, 1, 4, 2, 5, 6, 8)
    f = day35.flash_attention
    for window in (0, -1):
        refused(f, q, k, v, True, window=window, what=f"a window of {window}")
    refused(f, q, k, v, scale=0.0, what="a scale of 0")
    refused(f, q, k, v, scale=nan, window=3, what="a scale of nan")
    for window in (None, 3):
        refused(f, q, k, v[:, :, :5], window=window, what="6 keys and 5 values")
        refused(f, q, k.half(), v.half(), window=window, what="q in float32, k in float16")


# flash_attention_varlen ---------------------------------------------------------------------


def check_varlen(q, k, v, do, q_lengths, k_lengths, causal, window, starts, scale=None):
    """q, k, v, do: (1, heads, tokens, dim)."""
    views = [x[0].transpose(0, 1).detach().requires_grad_() for x in (q, k, v)]
    out = day35.flash_attention_varlen(*views, *starts, causal=causal, scale=scale, window=window)
    grads = torch.autograd.grad(out, views, do[0].transpose(0, 1))
    reach = FAR if window is None else window - 1
    right = 0 if causal else reach
    factor = q.shape[3] ** -0.5 if scale is None else scale
    expected, sizes = texts64(q, k, v, do, reach, right, factor, q_lengths, k_lengths)
    found = {"o": out.detach()}
    found.update(zip(("dq", "dk", "dv"), grads, strict=True))
    found = {name: x.transpose(0, 1)[None] for name, x in found.items()}
    compare(found, expected, sizes, q.dtype)


@exercise("flash_attention_varlen", ban=BAN, allow=OPERATORS)
@pytest.mark.parametrize(
    "causal, window, own",
    [(False, None, False), (True, None, True), (True, 3, False), (True, 3, True)],
)
def test_varlen(causal, window, own, rng):
    q_lengths = [4, 0, 9]
    k_lengths = [6, 0, 9] if own else q_lengths
    tensors, starts = packed(rng, 2, 1, q_lengths, k_lengths, 16)
    starts = starts if own else starts[:1]
    check_varlen(*tensors, q_lengths, k_lengths, causal, window, starts)


@exercise("flash_attention_varlen", ban=BAN, allow=OPERATORS)
@shapes("dtype", "bfloat16", gpu=["float32", "float16"])
def test_varlen_dtypes(dtype, rng):
    tensors, starts = packed(rng, 2, 1, [3, 5], [3, 5], 24, DTYPES[dtype])
    check_varlen(*tensors, [3, 5], [3, 5], True, None, starts[:1], 0.4)


@exercise("flash_attention_varlen", ban=BAN, allow=OPERATORS)
def test_varlen_is_one_call_of_the_operator(rng, monkeypatch):
    calls = count_calls(monkeypatch)
    (q, k, v, _), starts = packed(rng, 2, 1, [4, 6], [4, 6], 16, F16)
    tokens = leaves(*(x[0].transpose(0, 1) for x in (q, k, v)))
    out, kept = kept_bytes(lambda: day35.flash_attention_varlen(*tokens, starts[0], causal=True))
    assert calls == [(1, 2, 10, 16)], (
        f"the operator was called with q of the shapes {calls}, but once for all texts, with (1, "
        "heads, tokens, dim), was due"
    )
    due = 2 * 3 * out.numel() + 4 * 20 + 4 * 3
    assert kept <= due, f"{kept} bytes are kept for the backward pass, {due} were due"


@exercise("flash_attention_varlen", ban=BAN, allow=OPERATORS)
def test_varlen_refuses(rng):
    (q, k, v, _), (starts, _) = packed(rng, 2, 1, [2, 3], [2, 3], 8)
    q, k, v = (x[0].transpose(0, 1) for x in (q, k, v))
    f = day35.flash_attention_varlen
    refused(f, q, k, v, starts, window=0, what="a window of 0")
    refused(f, q, k, v, starts, scale=-1.0, what="a scale of -1")
    refused(f, q, k, v, starts.float(), what="cu_seqlens in float32")
    refused(f, q, k, v, starts, starts[:2], what="cu_seqlens of 2 texts and of 1")
    refused(f, q, k[:4], v, starts, what="4 keys and 5 values")


# FlashSelfAttention -------------------------------------------------------------------------


def theirs(module, x, causal):
    """The same module with torch's attention."""
    q, k, v = (
        layer(x).unflatten(-1, (heads, -1)).transpose(1, 2)
        for layer, heads in (
            (module.q_proj, module.heads),
            (module.k_proj, module.kv_heads),
            (module.v_proj, module.kv_heads),
        )
    )
    group = module.heads // module.kv_heads
    k, v = (t.repeat_interleave(group, dim=1) for t in (k, v))
    n = x.shape[1]
    place = torch.arange(n, device=x.device)
    reach = n if module.window is None else module.window - 1
    mask = (place - place[:, None]).abs() <= reach
    if causal:
        mask = mask.tril()
    o = F.scaled_dot_product_attention(q, k, v, mask)
    return module.out_proj(o.transpose(1, 2).flatten(2))


@exercise("FlashSelfAttention", allow=LINEAR)
@shapes(
    "dim, heads, kv_heads, window, bias, causal",
    *[(24, 3, None, None, True, False), (32, 4, 2, 3, False, True)],
    *[(8, 1, None, None, True, True)],
    gpu=[(1024, 8, 2, None, False, True)],
)
def test_module(dim, heads, kv_heads, window, bias, causal, rng):
    module = day35.FlashSelfAttention(dim, heads, kv_heads, window, bias).to(rng.device)
    shared = dim // heads * (kv_heads or heads)
    shapes = {name: tuple(p.shape) for name, p in module.named_parameters()}
    due = {f"{n}.weight": (r, dim) for n, r in zip(
        ("q_proj", "k_proj", "v_proj", "out_proj"), (dim, shared, shared, dim), strict=True
    )}  # fmt: skip
    if bias:
        due |= {name.replace("weight", "bias"): (shape[0],) for name, shape in due.items()}
    assert shapes == due, f"the parameters are {shapes}, but {due} were due"
    found = (module.dim, module.heads, module.kv_heads, module.window)
    due = (dim, heads, kv_heads or heads, window)
    assert found == due, f"dim, heads, kv_heads, window are {found}, but {due} were due"
    x, dy = rng.normal(1, 7, dim), rng.normal(1, 7, dim)
    results = []
    for f in (module, functools.partial(theirs, module)):
        mine = x.clone().requires_grad_()
        out = f(mine, causal=causal)
        results.append([out, *torch.autograd.grad(out, [mine, *module.parameters()], dy)])
    names = ["result", "gradient of x", *(f"gradient of {n}" for n, _ in module.named_parameters())]
    size = max(x.abs().max().item() for x in results[1])  # the gradient of k's bias is 0
    for name, ours, right in zip(names, *results, strict=True):
        close(ours.detach(), right.detach().double(), dtype=F32, terms=16, scale=size, name=name)


@exercise("FlashSelfAttention", allow=LINEAR)
def test_module_refuses(rng):
    few = (24, 0), (24, 0, 2), (24, -4, 2), (24, 4, 0), (24, 4, -2)
    for sizes in (*few, (24, 5), (24, 4, 3), (24, 2, 4)):
        what = f"(dim, heads, kv_heads) = {sizes}"
        refused(day35.FlashSelfAttention, *sizes, what=what)
    module = day35.FlashSelfAttention(8, 2).to(rng.device)
    mask = torch.ones(3, 3, dtype=torch.bool, device=rng.device)
    refused(module, rng.normal(1, 3, 8), mask, what="a mask", names=["mask"])


@exercise("FlashSelfAttention", allow=LINEAR)
def test_module_keeps_heads_as_views(rng):
    module = day35.FlashSelfAttention(64, 4).to(rng.device, F16)
    x = rng.normal(1, 300, 64, dtype=F16).requires_grad_()
    with unguarded():
        _, kept = kept_bytes(lambda: module(x, causal=True))
    # Weights, x, q, k, v, o, and o with its heads joined; lse.
    due = 4 * 2 * 64 * 64 + 6 * 2 * 300 * 64 + 4 * 4 * 300
    assert kept <= due, (
        f"{kept} bytes are kept for the backward pass, {due} were due: are heads copied?"
    )


def swap(model):
    """A copy of the PyTorch track's GPT with FlashSelfAttention in every block."""
    import copy

    model = copy.deepcopy(model)
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, MultiHeadAttention):
                flash = day35.FlashSelfAttention(child.dim, child.heads)
                flash.load_state_dict(child.state_dict())
                setattr(module, name, flash.to(next(child.parameters()).device))
    return model


def curve(model, loss, steps, rate=0.05):
    """Losses of some steps of gradient descent with momentum."""
    optimizer = torch.optim.SGD(model.parameters(), lr=rate, momentum=0.9)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        value = loss(model)
        value.backward()
        optimizer.step()
        losses.append(value.item())
    return losses


def check_curves(ours, right, what):
    assert right[-1] < right[0], f"{what}: nothing was learned, {right}"
    worst = max(abs(x - y) for x, y in zip(ours, right, strict=True))
    assert worst < 1e-4 * len(right), (
        f"{what}: the losses are {[round(x, 5) for x in ours]}, but with torch's attention "
        f"{[round(x, 5) for x in right]}"
    )


def steps_of(device):
    return 50 if device.type == "cuda" else 2


@exercise("FlashSelfAttention", allow=LINEAR, seconds=60)
def test_module_trained(device, rng):
    torch.manual_seed(rng.seed % 2**31)
    x = rng.normal(2, 12, 16)
    target = torch.cat([x[:, :1], x[:, :-1]], dim=1)  # the token before
    first = day35.FlashSelfAttention(16, 2, 1, window=4).to(device)
    weights = {name: p.clone() for name, p in first.state_dict().items()}
    curves = []
    for forward in (lambda m: m(x, causal=True), lambda m: theirs(m, x, True)):
        module = day35.FlashSelfAttention(16, 2, 1, window=4).to(device)
        module.load_state_dict(weights)
        curves.append(
            curve(
                module,
                lambda m, f=forward: F.mse_loss(f(m), target),
                steps_of(device) + 2,
                0.5,
            )
        )
    check_curves(*curves, "FlashSelfAttention")


@exercise("FlashSelfAttention", allow=LINEAR, seconds=60)
def test_gpt_of_the_pytorch_track(device, rng):
    torch.manual_seed(rng.seed % 2**31)
    with unguarded():
        model = GPT(vocab=11, context=16, dim=16, depth=2, heads=2).to(device)
        flash = swap(model)
    swapped = [m for m in flash.modules() if isinstance(m, day35.FlashSelfAttention)]
    assert len(swapped) == 2, "the test found no attention in the GPT to replace"
    ids = rng.integers(0, 11, 1, 13)

    def loss(model):
        return F.cross_entropy(model(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten())

    with unguarded():
        curves = [curve(m, loss, steps_of(device), 0.2) for m in (flash, model)]
    check_curves(*curves, "the GPT of the PyTorch track")


# Real clients: importing transformers takes seconds, so these come last ---------------------


@functools.cache
def transformers():
    import transformers

    return transformers


def client(module, query, key, value, attention_mask, scaling=None, **options):
    """flash_attention as transformers calls an attention."""
    assert attention_mask is None, "transformers hands over a mask"
    window = options.get("sliding_window")
    out = day35.flash_attention(query, key, value, True, scaling, window)
    return out.transpose(1, 2).contiguous(), None


SIZES = {
    "vocab_size": 19,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 32,
}
MODELS = {
    "Llama": ("LlamaForCausalLM", "LlamaConfig", SIZES),
    "GPT-2": (
        "GPT2LMHeadModel",
        "GPT2Config",
        {
            "vocab_size": 19,
            "n_positions": 32,
            "n_embd": 16,
            "n_layer": 1,
            "n_head": 2,
            "resid_pdrop": 0.0,
            "embd_pdrop": 0.0,
            "attn_pdrop": 0.0,
        },
    ),
    "Mistral": ("MistralForCausalLM", "MistralConfig", {**SIZES, "sliding_window": 4}),
}


@exercise("flash_attention", allow=OPERATORS, seconds=60)
@shapes("name", "Llama", "GPT-2", gpu=["Mistral"])
def test_client_of_transformers(name, device, rng, monkeypatch):
    calls = count_calls(monkeypatch)
    kind, config, options = MODELS[name]
    transformers().AttentionInterface.register("exercise_of_day_35", client)
    torch.manual_seed(rng.seed % 2**31)
    ids = rng.integers(0, 19, 1, 12)
    curves, weights = [], None
    for attention in ("exercise_of_day_35", "sdpa"):
        made = getattr(transformers(), config)(**options, attn_implementation=attention)
        model = getattr(transformers(), kind)(made).to(device).train()
        used = model.config._attn_implementation
        assert used == attention, f"{name} uses {used}, and not {attention}"
        weights = weights or {key: p.clone() for key, p in model.state_dict().items()}
        model.load_state_dict(weights)
        curves.append(curve(model, lambda m: m(input_ids=ids, labels=ids).loss, steps_of(device)))
    assert len(calls) == steps_of(device), f"{name} called the operator {len(calls)} times"
    check_curves(*curves, name)
