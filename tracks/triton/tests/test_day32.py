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
from tracks.triton import day19, day32

F32, F16, BF16 = torch.float32, torch.float16, torch.bfloat16
DTYPES = {"float32": F32, "float16": F16, "bfloat16": BF16}
BAN = ["scaled_dot_product_attention"]
CAUSAL = pytest.mark.parametrize("causal", [False, True], ids=["full", "causal"])
nan, inf = float("nan"), float("inf")
# Under their own names, so that known bugs can be tried in their places.
_key_blocks, _work_order = day32._key_blocks, day32._work_order


# key_blocks ---------------------------------------------------------------------------------


def counted_blocks(tile, queries, keys, causal, block_m, block_n):
    """whole and end, by looking at every query and every key."""
    rows = range(tile * block_m, min(tile * block_m + block_m, queries))
    seen = [[not causal or j <= i + keys - queries for j in range(keys)] for i in rows]
    blocks = [range(j, j + block_n) for j in range(0, keys, block_n)]
    full = [all(j < keys and all(row[j] for row in seen) for j in block) for block in blocks]
    needed = [any(j < keys and any(row[j] for row in seen) for j in block) for block in blocks]
    whole = next((n for n, is_full in enumerate(full) if not is_full), len(blocks))
    return whole, max((n + 1 for n, is_needed in enumerate(needed) if is_needed), default=0)


def case(tile, queries, keys, causal, block_m, block_n):
    return (
        f"tile {tile} (tiles of {block_m} queries, {queries} queries in all), "
        f"{'causal' if causal else 'full'}, and {keys} keys in blocks of {block_n}"
    )


def check_blocks(found, sizes, where=""):
    expected = counted_blocks(*sizes)
    assert tuple(found) == expected, (
        f"{where}{case(*sizes)}: the first {expected[0]} blocks are whole, and none from "
        f"{expected[1]} on is needed, but whole, end = {tuple(found)}"
    )


@exercise("key_blocks")
@CAUSAL
def test_blocks_of_all_small_sizes(causal):
    for queries in range(1, 8):
        for keys in range(0, 9):
            for block_m, block_n in ((1, 1), (2, 3), (3, 2), (4, 4), (8, 2), (1, 9)):
                for tile in range(-(-queries // block_m)):
                    sizes = (tile, queries, keys, causal, block_m, block_n)
                    check_blocks(day32.key_blocks(*sizes), sizes)


@exercise("key_blocks")
def test_blocks_of_long_texts():
    # Half of the blocks, and half a block a tile more: that is the diagonal.
    tiles = 16_384 // 128
    ends = [day32.key_blocks(tile, 16_384, 16_384, True, 128, 128)[1] for tile in range(tiles)]
    due = tiles * (tiles + 1) // 2
    assert sum(ends) == due, f"of {tiles**2} blocks a causal mask leaves {due}, not {sum(ends)}"
    for tile, queries, keys, block_m, block_n, expected in (
        (0, 1, 1_000_000, 64, 128, (7812, 7813)),
        (15_624, 1_000_000, 1_000_000, 64, 128, (7812, 7813)),
        (2, 1_000_000, 5, 64, 128, (0, 0)),
        (15_624, 1_000_000, 5, 64, 128, (0, 1)),
    ):
        found = day32.key_blocks(tile, queries, keys, True, block_m, block_n)
        assert tuple(found) == expected, (
            f"{case(tile, queries, keys, True, block_m, block_n)}: {expected} was due, not "
            f"{tuple(found)}"
        )


@triton.jit
def blocks_kernel(out_ptr, queries, keys, CAUSAL: tl.constexpr, M: tl.constexpr, N: tl.constexpr):
    whole, end = _key_blocks(tl.program_id(0), queries, keys, CAUSAL, M, N)
    tl.store(out_ptr + 2 * tl.program_id(0), whole)
    tl.store(out_ptr + 2 * tl.program_id(0) + 1, end)


@exercise("key_blocks")
@CAUSAL
@pytest.mark.parametrize("queries, keys", [(7, 12), (12, 7), (9, 0), (1, 5), (11, 11), (13, 2)])
def test_blocks_in_a_kernel(queries, keys, causal, device):
    tiles = -(-queries // 2)
    out = torch.empty(tiles, 2, dtype=torch.int32, device=device)
    blocks_kernel[(tiles,)](out, queries, keys, CAUSAL=causal, M=2, N=3)
    for tile, found in enumerate(out.tolist()):
        check_blocks(found, (tile, queries, keys, causal, 2, 3), "in a kernel, ")


# work_order ---------------------------------------------------------------------------------


def banded(tiles, matrices, together):
    """The order in words: bands of matrices, in each the last tiles first."""
    order = []
    for first in range(0, matrices, together):
        band = range(first, min(first + together, matrices))
        order += [(matrix, tile) for tile in reversed(range(tiles)) for matrix in band]
    return order


SIZES = [(1, 1, 1), (2, 3, 2), (3, 4, 2), (5, 1, 1), (1, 7, 3), (4, 5, 1), (3, 5, 9), (2, 6, 3)]


@exercise("work_order")
@pytest.mark.parametrize("tiles, matrices, together", SIZES)
def test_order_has_each_tile_once(tiles, matrices, together):
    programs = range(tiles * matrices)
    order = [tuple(day32.work_order(i, tiles, matrices, together)) for i in programs]
    everything = {(matrix, tile) for matrix in range(matrices) for tile in range(tiles)}
    assert set(order) == everything, (
        f"{matrices} matrices of {tiles} tiles in bands of {together}: no program has "
        f"{sorted(everything - set(order))}, and {sorted(set(order) - everything)} do not exist"
    )


@exercise("work_order")
@pytest.mark.parametrize("tiles, matrices, together", SIZES)
def test_order_begins_with_the_longest(tiles, matrices, together):
    programs = range(tiles * matrices)
    order = [tuple(day32.work_order(i, tiles, matrices, together)) for i in programs]
    expected = banded(tiles, matrices, together)
    assert order == expected, (
        f"{matrices} matrices of {tiles} tiles in bands of {together}: (matrix, tile) of programs "
        f"0, 1, ... is to be {expected}, but is {order}"
    )


@exercise("work_order")
def test_order_far_from_the_start(rng):
    tiles, matrices, together = 1001, 40_003, 16
    where = f"of {matrices} matrices of {tiles} tiles in bands of {together}"
    for matrix, tile in zip(
        rng.integers(0, 40_000, 50).tolist(), rng.integers(0, tiles, 50).tolist(), strict=True
    ):
        program = (matrix // 16) * 16 * tiles + (tiles - 1 - tile) * 16 + matrix % 16
        found = tuple(day32.work_order(program, tiles, matrices, together))
        assert found == (matrix, tile), (
            f"{where}, program {program} has (matrix, tile) = {found}, not {(matrix, tile)}"
        )
    last = tuple(day32.work_order(tiles * matrices - 1, tiles, matrices, together))
    assert last == (matrices - 1, 0), (
        f"{where}, the last program has (matrix, tile) = {last}, not {(matrices - 1, 0)}"
    )


@triton.jit
def order_kernel(out_ptr, tiles, matrices, together):
    matrix, tile = _work_order(tl.program_id(0), tiles, matrices, together)
    tl.store(out_ptr + 2 * tl.program_id(0), matrix)
    tl.store(out_ptr + 2 * tl.program_id(0) + 1, tile)


@exercise("work_order")
@pytest.mark.parametrize("tiles, matrices, together", [(3, 5, 2), (4, 3, 7)])
def test_order_in_a_kernel(tiles, matrices, together, device):
    out = torch.empty(tiles * matrices, 2, dtype=torch.int32, device=device)
    order_kernel[(tiles * matrices,)](out, tiles, matrices, together)
    order = [tuple(pair) for pair in out.tolist()]
    assert order == banded(tiles, matrices, together), f"in a kernel the order is {order}"


# describe -----------------------------------------------------------------------------------


def token_order(x):
    """x (batch, heads, n, dim), as a view of memory in the order (batch, n, heads, dim)."""
    return x.transpose(1, 2).clone(memory_format=torch.contiguous_format).transpose(1, 2)


@exercise("describe")
@pytest.mark.parametrize("dtype", [F16, BF16, F32], ids=str)
def test_describes_where_the_data_lies(dtype, rng):
    x = rng.normal(2, 3, 5, 40, dtype=dtype)
    for what, view in (
        ("a contiguous x", x),
        ("x in the order of tokens", token_order(x)),
        ("every other row of x", x[:, :, ::2]),
        ("one head of x", x[:, 1:2]),
        ("the last 8 columns of x", x[..., 32:]),
        ("39 of 40 columns of x", x[..., :39]),
        ("x with batch and heads exchanged", x.transpose(0, 1)),
    ):
        found = day32.describe(view, 16, 64)
        assert found is not None, f"{what} can be described, but there is no descriptor"
        assert found.base.data_ptr() == view.data_ptr(), f"the descriptor of {what} is not of it"
        for name, expected in (
            ("shape", tuple(view.shape)),
            ("strides", view.stride()),
            ("block_shape", (1, 1, 16, 64)),
        ):
            given_as = tuple(getattr(found, name))
            assert given_as == expected, f"{name} of {what} is {given_as}, but {expected} was due"


@exercise("describe")
@shapes(
    "what, dtype, strides, offset",
    *[("begins at byte 2", "float16", (480, 160, 32, 1), 1)],
    *[("begins at byte 8", "float32", (480, 160, 32, 1), 2)],
    *[("has every other element", "float16", (960, 320, 64, 2), 0)],
    *[("has its columns before its rows", "float16", (480, 160, 1, 8), 0)],
    *[("has rows 72 bytes apart", "float16", (720, 360, 36, 1), 0)],
    *[("has rows 136 bytes apart", "float32", (720, 360, 34, 1), 0)],
    *[("has heads 328 bytes apart", "float16", (640, 164, 32, 1), 0)],
    *[("has batches 1004 bytes apart", "float16", (502, 160, 32, 1), 0)],
    *[("repeats one row", "float16", (480, 160, 0, 1), 0)],
    *[("repeats one head", "float16", (160, 0, 32, 1), 0)],
    *[("repeats one batch", "float16", (0, 160, 32, 1), 0)],
    *[("has rows that overlap", "float16", (480, 160, 24, 1), 0)],
    *[("has heads that overlap", "float16", (480, 16, 32, 1), 0)],
)
def test_does_not_describe(what, dtype, strides, offset, rng):
    memory = torch.zeros(3000, dtype=DTYPES[dtype], device=rng.device)
    x = memory.as_strided((2, 3, 5, 32), strides, offset)
    assert day32.describe(x, 16, 32) is None, f"an x that {what} was described"


@exercise("describe")
@shapes(
    "shape, strides",
    *[((1, 3, 5, 32), (502, 160, 32, 1)), ((1, 3, 5, 32), (0, 160, 32, 1))],
    *[((2, 1, 5, 32), (480, 164, 32, 1)), ((2, 3, 1, 32), (480, 160, 36, 1))],
    *[((2, 3, 5, 1), (480, 160, 32, 2))],
)
def test_checks_axes_of_one_element(shape, strides, rng):
    x = torch.zeros(3000, dtype=F16, device=rng.device).as_strided(shape, strides)
    assert day32.describe(x, 16, 16) is None, (
        f"an x of shape {shape} with the strides {strides} was described: an axis of one element "
        "has to meet the conditions as the others do"
    )


@exercise("describe")
def test_where_memory_begins():
    buffer = bytearray(3000)
    start = torch.frombuffer(buffer, dtype=torch.uint8).data_ptr()
    for beyond in (2, 8):
        offset = (beyond - start) % 16
        memory = torch.frombuffer(buffer, dtype=F16, count=1200, offset=offset)
        x = memory.as_strided((2, 3, 5, 32), (480, 160, 32, 1))
        assert day32.describe(x, 16, 32) is None, (
            f"an x was described that begins {beyond} bytes after a multiple of 16: its offset in "
            "its own storage is 0, but the storage begins there"
        )


@exercise("describe")
@shapes("shape", (0, 3, 5, 16), (2, 0, 5, 16), (2, 3, 0, 16))
def test_does_not_describe_nothing(shape, rng):
    x = torch.zeros(shape, dtype=F16, device=rng.device)
    assert day32.describe(x, 16, 16) is None, f"an x of shape {shape} was described"


@triton.jit
def descriptor_kernel(desc, out_ptr, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    block = desc.load([1, 2, 3, 0]).reshape(ROWS, COLUMNS)
    row, column = tl.arange(0, ROWS), tl.arange(0, COLUMNS)
    tl.store(out_ptr + row[:, None] * COLUMNS + column[None, :], block)


@exercise("describe")
def test_a_block_ends_with_its_head(rng):
    x = rng.normal(2, 4, 5, 24, dtype=F16)
    out = torch.empty(16, 32, dtype=F16, device=x.device)
    descriptor_kernel[(1,)](day32.describe(x, 16, 32), out, ROWS=16, COLUMNS=32)
    expected = torch.zeros(16, 32, dtype=torch.float64, device=x.device)
    expected[:2, :24] = x[1, 2, 3:].double()
    close(out, expected, dtype=F16, name="block of 16 x 32 at row 3 of 5, column 0 of 24")


# flash_attention_forward --------------------------------------------------------------------


def dense64(q, k, v, causal, scale):
    """o and lse in float64, and how much of each float32 and v's dtype may lose on the way."""
    heads, dim = q.shape[1], q.shape[3]
    q, k, v64 = (x.double() for x in (q, k, v))
    k, v64 = (x.repeat_interleave(heads // max(x.shape[1], 1), dim=1) for x in (k, v64))
    s = scale * (q @ k.mT)
    queries, keys = s.shape[-2:]
    if causal:
        i, j = (torch.arange(n, device=s.device) for n in (queries, keys))
        s = torch.where(j <= i[:, None] + keys - queries, s, -inf)
    m = s.amax(-1, keepdim=True) if keys else torch.full_like(s.sum(-1, keepdim=True), -inf)
    finite = torch.where(m == -inf, 0.0, m)
    e = (s - finite).exp()
    total = e.sum(-1, keepdim=True)
    p = e / torch.where(total == 0, 1.0, total)
    lse = (finite + total.log())[..., 0]
    # A score may be off by an eps of its summands' size and of itself, a weight by that share.
    lost = scale * (q.square() @ k.square().mT).sqrt() * math.sqrt(dim)
    size = p * (1 + lost + finite.abs() + torch.where(p > 0, s.abs(), 0.0))
    coarse = p * torch.finfo(v.dtype).eps / torch.finfo(F32).eps
    each = (size + coarse).square() @ v64.square()
    return p @ v64, lse, each.sqrt(), size.sum(-1)


def small(monkeypatch, block_m=16, block_n=16):
    """Small tiles for the day in hand, so that few queries and keys make many of them."""

    def config(dim, element_size):
        block_d = max(16, 2 ** (dim - 1).bit_length())
        tile = {"BLOCK_M": block_m, "BLOCK_N": block_n, "BLOCK_D": block_d}
        return {**tile, "num_warps": 4, "num_stages": 2}

    monkeypatch.setattr(day32, "_config", config)


def check(q, k, v, causal=False, scale=None, values=None, name="result", **options):
    """``values``: what q, k and v hold, where their memory is too large to be converted."""
    arguments = (causal,) if scale is None else (causal, scale)
    (o, lse), seen = watch(day32.flash_attention_forward, q, k, v, *arguments)
    factor = q.shape[3] ** -0.5 if scale is None else scale
    o64, lse64, o_size, lse_size = dense64(*(values or (q, k, v)), causal, factor)
    close(o, o64, dtype=q.dtype, scale=o_size, name=name, **options)
    close(lse, lse64, dtype=F32, scale=lse_size, name=f"lse of the {name}")
    check_launch(seen, o, lse)


def check_launch(seen, o, lse):
    for what, x in (("o", o), ("lse", lse)):
        assert x.is_contiguous(), f"{what} has the strides {x.stride()}, not contiguous ones"
    room = o.numel() * o.element_size() + lse.numel() * 4
    assert seen.peak_bytes <= room + 2048, (
        f"o and lse take {room} bytes, but {seen.peak_bytes} were allocated: is an operand copied, "
        "or something of the size queries x keys stored?"
    )
    if not (o.numel() or seen.launches):
        return
    assert len(seen.launches) == 1, f"expected 1 kernel launch, saw {len(seen.launches)}"
    (launch,) = seen.launches
    assert math.prod(launch.grid[1:]) == 1, f"the grid {launch.grid} has more than one axis"
    block = day32._config(o.shape[3], o.element_size())["BLOCK_M"]
    due = o.shape[0] * o.shape[1] * -(-o.shape[2] // block)
    assert launch.programs == due, f"{launch.programs} programs were launched, but {due} were due"


def operands(rng, batch, heads, kv_heads, queries, keys, dim, dtype=F16):
    q = rng.normal(batch, heads, queries, dim, dtype=dtype)
    return q, *(rng.normal(batch, kv_heads, keys, dim, dtype=dtype) for _ in range(2))


@exercise("flash_attention_forward", ban=BAN)
def test_refuses(rng):
    q, k, v = operands(rng, 2, 4, 2, 5, 6, 8, F32)
    for change, what in (
        ((q, k, rng.normal(2, 2, 5, 8)), "6 keys and 5 values"),
        ((q, k, rng.normal(2, 2, 6, 7)), "keys of 8 elements and values of 7"),
        ((q, k, v.half()), "keys in float32 and values in float16"),
        ((q.half(), k, v), "queries in float16 and keys in float32"),
        ((q, *(rng.normal(2, 2, 6, 7),) * 2), "queries of 8 elements and keys of 7"),
        ((q, *(rng.normal(2, 3, 6, 8),) * 2), "4 heads that share 3"),
        ((q, *(rng.normal(1, 2, 6, 8),) * 2), "2 batches of queries and 1 of keys"),
        ((rng.normal(1, 1, 3, 257),) * 3, "heads of 257 elements"),
    ):
        refused(day32.flash_attention_forward, *change, what=what)
    for scale in (0.0, -1.0, nan):
        refused(day32.flash_attention_forward, q, k, v, False, scale, what=f"a scale of {scale}")


@exercise("flash_attention_forward", ban=BAN)
def test_heads_share_keys_with_their_neighbours(rng, monkeypatch):
    small(monkeypatch)
    q, k, v = (x.clone() for x in operands(rng, 2, 6, 2, 3, 20, 16, F32))
    q *= torch.arange(1.0, 7.0, device=q.device)[:, None, None] / 4
    v[:, 1] *= 100
    v[1, 0] = nan
    check(q, k, v, True)
    check(q, k, v)


@exercise("flash_attention_forward", ban=BAN)
@pytest.mark.parametrize("described", [True, False], ids=["described", "pointers"])
def test_skips_what_no_query_of_a_tile_sees(described, rng, monkeypatch):
    small(monkeypatch)
    q, k, v = (x.clone() for x in operands(rng, 1, 1, 1, 64, 70, 16))
    if not described:
        k, v = (torch.cat([x, x], dim=-1)[..., ::2].copy_(x) for x in (k, v))
    expected, _, size, _ = dense64(q, k, v, True, 0.25)
    # Queries 0 to 31 see the keys up to 37, which are in the first three blocks.
    for x in (k, v):
        x[:, :, 48:] = nan
    o, _ = day32.flash_attention_forward(q, k, v, True, 0.25)
    assert not o[:, :, :32].isnan().any(), (
        "k and v hold nan in blocks that no query of the first two tiles sees, and yet it is in "
        "their results: a tile reads blocks that are to be skipped"
    )
    close(o[:, :, :32], expected[:, :, :32], dtype=F16, scale=size[:, :, :32])


@exercise("flash_attention_forward", ban=BAN)
def test_rows_that_see_little(rng, monkeypatch):
    """More queries than keys: whole tiles without a key, and tiles in which some rows have one."""
    small(monkeypatch)
    q, k, v = operands(rng, 1, 1, 1, 50, 10, 16)
    check(q, k, v, True)
    o, lse = day32.flash_attention_forward(q, k, v, True)
    assert o[:, :, :40].eq(0).all(), "a query that sees no key is to have o = 0"
    assert lse[:, :, :40].eq(-inf).all(), "a query that sees no key is to have lse = -inf"


@exercise("flash_attention_forward", ban=BAN)
def test_reads_beyond_int32(rng, monkeypatch):
    small(monkeypatch)
    # Three batches, then three heads: far_apart moves each axis of three or more.
    for batch, heads, queries, keys, dim in ((3, 1, 3, 4, 3), (1, 3, 2, 2, 2)):
        tensors = operands(rng, batch, heads, heads, queries, keys, dim)
        for i, which in enumerate("qkv"):
            for name, view in far_apart(tensors[i]):
                changed = [view if j == i else x for j, x in enumerate(tensors)]
                check(*changed, values=tensors, name=f"result with a {name} {which}")


@exercise("flash_attention_forward", ban=BAN)
@CAUSAL
@shapes(
    "batch, heads, kv_heads, queries, keys, dim, dtype",
    *[(1, 1, 1, 1, 1, 1, "float16"), (1, 2, 2, 16, 16, 16, "float16")],
    *[(1, 2, 1, 17, 33, 8, "float32"), (2, 4, 2, 15, 31, 24, "bfloat16")],
    *[(1, 2, 1, 33, 17, 16, "float16"), (1, 3, 1, 50, 3, 20, "float32")],
    *[(1, 1, 1, 1, 70, 40, "bfloat16"), (1, 1, 1, 40, 41, 16, "float16")],
    *[(0, 2, 1, 3, 4, 8, "float16"), (1, 0, 0, 3, 4, 8, "float16")],
    *[(2, 2, 1, 0, 4, 8, "float32"), (1, 2, 1, 20, 0, 8, "bfloat16")],
)
def test_matches_float64(
    batch, heads, kv_heads, queries, keys, dim, dtype, causal, rng, monkeypatch
):
    small(monkeypatch)
    check(*operands(rng, batch, heads, kv_heads, queries, keys, dim, DTYPES[dtype]), causal)


@exercise("flash_attention_forward", ban=BAN)
@CAUSAL
@shapes(
    "queries, keys, dim, dtype",
    *[(5, 130, 16, "float16"), (66, 40, 32, "float32"), (70, 70, 64, "bfloat16")],
    *[(3, 129, 80, "float16"), (17, 33, 96, "float32"), (129, 131, 128, "bfloat16")],
    *[(20, 65, 256, "float16"), (17, 20, 256, "float32")],
    gpu=[
        *((2048, 2048, dim, "bfloat16") for dim in (16, 32, 64, 80, 96, 128, 256)),
        *((515, 1031, dim, "float16") for dim in (64, 96, 128, 256)),
        *((700, 300, dim, "float32") for dim in (16, 64, 80, 128, 256)),
    ],
)
def test_with_the_tiles_of_config(queries, keys, dim, dtype, causal, rng):
    check(*operands(rng, 1, 1, 1, queries, keys, dim, DTYPES[dtype]), causal)


@exercise("flash_attention_forward", ban=BAN)
@shapes("block_m, block_n", (32, 16), (16, 64))
def test_with_tiles_that_are_not_square(block_m, block_n, rng, monkeypatch):
    small(monkeypatch, block_m, block_n)
    for queries, keys in ((40, 70), (70, 40)):
        check(*operands(rng, 1, 1, 1, queries, keys, 16), True)


@exercise("flash_attention_forward", ban=BAN)
def test_long_rows_of_keys(rng):
    q, k, v = operands(rng, 1, 1, 1, 3, 4100, 16)
    check(q, k, v, True)


@exercise("flash_attention_forward", ban=BAN)
@pytest.mark.parametrize(
    "band, is_causal", [(1, True), (2, True), (4, True), (100, True), (1, False)]
)
def test_many_heads_in_bands(band, is_causal, rng, monkeypatch):
    small(monkeypatch)
    q, k, v = operands(rng, 1, 6, 3, 20, 20, 16)

    def together(x, y, causal):
        found = tuple(x.shape), tuple(y.shape), causal
        due = tuple(q.shape), tuple(k.shape), is_causal
        assert found == due, f"_together was asked about {found}, and not about {due}"
        return band

    monkeypatch.setattr(day32, "_together", together)
    check(q, k, v, is_causal)


class First:
    """A kernel of which only the first programs are started."""

    def __init__(self, kernel, programs):
        self.kernel, self.programs = kernel, programs

    def __getitem__(self, grid):
        return self.kernel[(self.programs,)]


@exercise("flash_attention_forward", ban=BAN)
@pytest.mark.parametrize("programs", [1, 2, 5, 13])
def test_programs_come_in_work_order(programs, rng, monkeypatch):
    small(monkeypatch)
    monkeypatch.setattr(day32, "_together", lambda q, k, causal: 2)
    kernel = First(day32.flash_attention_forward_kernel, programs)
    monkeypatch.setattr(day32, "flash_attention_forward_kernel", kernel)
    o, _ = day32.flash_attention_forward(*operands(rng, 1, 6, 3, 40, 40, 16), True)
    computed = {(i, j) for i in range(6) for j in range(3) if not o[0, i, 16 * j, 0].isnan()}
    due = set(banded(3, 6, 2)[:programs])
    assert computed == due, (
        f"of 6 heads of 3 tiles in bands of 2, the first {programs} of the programs are to compute "
        f"the (matrix, tile) {sorted(due)}, but computed {sorted(computed)}"
    )


@triton.jit
def all_whole(
    tile, queries, keys, causal: tl.constexpr, block_m: tl.constexpr, block_n: tl.constexpr
):
    return keys // block_n, keys // block_n


@exercise("flash_attention_forward", ban=BAN)
def test_whole_blocks_are_not_masked(rng, monkeypatch):
    """With a ``_key_blocks`` that calls all blocks whole nothing is hidden, causal or not."""
    if rng.device.type != "cpu":
        pytest.skip("a compiled kernel keeps the _key_blocks that it was compiled with")
    small(monkeypatch)
    monkeypatch.setattr(day32, "_key_blocks", all_whole)
    q, k, v = operands(rng, 1, 1, 1, 16, 32, 16, F32)
    o, _ = day32.flash_attention_forward(q, k, v, True)
    masked, *_ = dense64(q, k, v, True, 0.25)
    assert not torch.allclose(o.double(), masked, rtol=0.0, atol=1e-3), (
        "in blocks that are whole, as _key_blocks says, later keys are hidden all the same: a mask "
        "is computed where none is needed"
    )
    expected, _, size, _ = dense64(q, k, v, False, 0.25)
    name = "result where _key_blocks calls all blocks whole"
    close(o, expected, dtype=F32, scale=size, name=name)


@exercise("flash_attention_forward", ban=BAN)
@pytest.mark.parametrize("which", ["k", "v"])
def test_describes_each_for_itself(which, rng, monkeypatch):
    small(monkeypatch)
    q, k, v = operands(rng, 1, 2, 2, 20, 20, 16)
    apart = torch.cat([k, k], dim=-1)[..., ::2]  # has the stride 2: pointers alone can read it
    k, v = (k, apart) if which == "k" else (apart, v)
    _, seen = watch(day32.flash_attention_forward, q, k, v)
    for name in "kv":
        found = seen.launches[0].meta.get(f"{name.upper()}_DESCRIBED")
        due = name == which and day32._through_tma(2)
        other = "v" if which == "k" else "k"
        assert found == due, (
            f"{which} can be described and {other} can't, which has the stride 2 along its last "
            f"axis: {name.upper()}_DESCRIBED is to be {due}, but is {found}"
        )


@exercise("flash_attention_forward", ban=BAN)
def test_what_lies_behind_the_operands_has_no_effect(rng, monkeypatch):
    small(monkeypatch)
    for queries, keys, dim in ((20, 20, 24), (17, 31, 16)):
        views = []
        for x in operands(rng, 1, 2, 2, max(queries, keys), 64, dim):
            memory = torch.full((1, 2, 80, 40), nan, dtype=F16, device=x.device)
            n = queries if not views else keys
            views.append(memory[:, :, :n, :dim].copy_(x[:, :, :n]))
        check(*views, True)
        check(*views)


@exercise("flash_attention_forward", ban=BAN)
def test_scores_of_ten_thousand(rng, monkeypatch):
    small(monkeypatch)
    q, k, v = operands(rng, 1, 2, 1, 20, 40, 16, F32)
    check(100 * q, 100 * k, v, True, 1.0)
    check(100 * q, 100 * k, v, False, 1.0)
    check(q, k, v, True, 1e-3)
    # The largest scores last, the smallest last, and all of them far below 0.
    order = torch.arange(40.0, device=q.device)[:, None]
    for column in (300 * order, -300 * order, -3000 - order):
        check(torch.ones_like(q), column.expand(1, 1, 40, 16), v, True, 1.0)


@exercise("flash_attention_forward", ban=BAN)
def test_keys_that_are_ruled_out_by_infinity(rng, monkeypatch):
    # Products of -inf: a whole tile of them first, then some keys that count.
    small(monkeypatch)
    q, k, v = (x.clone() for x in operands(rng, 1, 1, 1, 20, 40, 16, F32))
    q[..., 0] = q[..., 0].abs() + 0.1
    k[:, :, :20, 0] = -inf
    (o, lse) = day32.flash_attention_forward(q, k, v)
    o64, lse64, size, lse_size = dense64(q, k[:, :, 20:], v[:, :, 20:], False, 0.25)
    close(o, o64, dtype=F32, scale=size)
    close(lse, lse64, dtype=F32, scale=lse_size, name="lse")


@exercise("flash_attention_forward", ban=BAN)
def test_one_token_after_another_gives_the_same(rng, monkeypatch):
    """A cache of keys: the last tokens of a text alone, against all of it at once."""
    small(monkeypatch)
    q, k, v = operands(rng, 1, 2, 1, 35, 35, 16, F32)
    o, lse = day32.flash_attention_forward(q, k, v, True)
    for first, n in ((34, 35), (16, 17), (10, 33), (0, 1)):
        rows = q[:, :, first:n], k[:, :, :n], v[:, :, :n]
        new, new_lse = day32.flash_attention_forward(*rows, True)
        name = f"result of the tokens {first} to {n - 1} alone"
        close(new, o[:, :, first:n].double(), dtype=F32, scale=8.0, name=name)
        close(new_lse, lse[:, :, first:n].double(), dtype=F32, scale=8.0, name=f"lse of the {name}")


@exercise("flash_attention_forward", ban=BAN)
@pytest.mark.parametrize("dtype", [F16, BF16], ids=str)
def test_adds_in_float32(dtype, rng):
    q, k, v = operands(rng, 1, 1, 1, 20, 900, 16, dtype)
    check(q, k, v, factor=1.0)
    check(0.25 * q, k, v + 8, factor=1.0)


@exercise("flash_attention_forward", ban=BAN)
def test_reads_any_strides(rng, monkeypatch):
    small(monkeypatch)
    tensors = operands(rng, 2, 2, 2, 3, 17, 8)
    for i, which in enumerate("qkv"):
        cases = [*layouts(tensors[i]), ("token-order", token_order(tensors[i]))]
        if which != "q":
            cases.append(("repeated", tensors[i][:1, :1].expand(2, 2, 17, 8)))
        for name, view in cases:
            changed = [view if j == i else x for j, x in enumerate(tensors)]
            check(*changed, True, name=f"result with a {name} {which}")


@exercise("flash_attention_forward", ban=BAN)
def test_reads_far_blocks_of_keys(rng, monkeypatch):
    """An index of a block times a stride beyond int32, where each of them fits."""
    small(monkeypatch)
    q, k, v = operands(rng, 1, 1, 1, 3, 40, 1)
    apart = 2**31 // 20
    if q.is_cuda and torch.cuda.mem_get_info()[0] < 100 * apart:
        pytest.skip(f"needs {100 * apart / 1e9:.0f} GB of free GPU memory")
    far = torch.empty(39 * apart + 1, dtype=F16, device=q.device)
    far = far.as_strided((1, 1, 40, 1), (40 * apart, 40 * apart, apart, 1))
    check(q, far.copy_(k), v, values=(q, k, v), name="result with far rows of k")
    check(q, k, far.copy_(v), values=(q, k, v), name="result with far rows of v")


@exercise("flash_attention_forward", ban=BAN)
def test_random_sizes(rng, monkeypatch):
    small(monkeypatch)
    sizes = st.tuples(
        *(st.integers(1, 2), st.integers(1, 3), st.integers(0, 33), st.integers(0, 40)),
        *(st.integers(1, 33), st.booleans()),
    )

    @hypothesis.seed(rng.seed)
    @hypothesis.settings(
        max_examples=6,
        deadline=None,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
        phases=[hypothesis.Phase.generate, hypothesis.Phase.shrink],
    )
    @hypothesis.given(sizes)
    def agrees(drawn):
        kv_heads, group, queries, keys, dim, causal = drawn
        tensors = operands(rng, 1, group * kv_heads, kv_heads, queries, keys, dim, F32)
        name = f"result for {queries} queries, {keys} keys, {dim} elements"
        check(*tensors, causal, name=name)

    agrees()


@exercise("flash_attention_forward", ban=BAN)
@CAUSAL
@shapes(
    "batch, heads, kv_heads, queries, keys, dim",
    gpu=[
        (2, 32, 8, 2048, 2048, 128),
        (4, 16, 1, 1000, 1777, 64),
        (1, 8, 8, 1777, 1000, 80),
        (8, 8, 2, 1, 8192, 128),
        (70_000, 1, 1, 3, 5, 16),
    ],
)
def test_large_sizes(batch, heads, kv_heads, queries, keys, dim, causal, rng):
    check(*operands(rng, batch, heads, kv_heads, queries, keys, dim, BF16), causal)


@exercise("flash_attention_forward", ban=BAN, gpu=True)
@shapes("batch, queries", gpu=[(34_000, 512)])
def test_writes_beyond_int32(batch, queries, rng):
    q = rng.normal(1, 1, queries, 128, dtype=F16).expand(batch, 1, queries, 128)
    k, v = (rng.normal(1, 1, 16, 128, dtype=F16).expand(batch, 1, 16, 128) for _ in range(2))
    o, _ = day32.flash_attention_forward(q, k, v)
    o64, _, size, _ = dense64(q[-1:], k[-1:], v[-1:], False, 128**-0.5)
    close(o[-1:], o64, dtype=F16, scale=size)


# What the compiler makes of it --------------------------------------------------------------


FEW = 64


def check_report(report, described, tensor_core):
    assert report.refused is None, f"the compiler refuses the kernel: {report.refused.text()}"
    form = f"for {report.chip}, {report.specialisation}"
    may_spill = 0 if tensor_core else FEW
    assert report.spill_bytes <= may_spill, (
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
        f"k and v are {'not ' if described else ''}read through descriptors {form}"
    )
    for what, width in (("loads", report.widest_load_bits), ("stores", report.widest_store_bits)):
        assert width == 128, f"{what} are {width} bits wide: {why_narrow(report)} {form}"


def check_compiled(monkeypatch, rng, chip, cases):
    """Each of cases is (dim, dtype, causal, described): a launch of a few programs."""
    device = {"sm_80": day19.A100, "sm_90": day19.H200}[chip]
    monkeypatch.setattr(day32, "this_device", lambda: device)

    def launch():
        for dim, dtype, causal, described in cases:
            monkeypatch.setattr(day32, "_through_tma", lambda size, tma=described: tma)
            q, k, v = operands(rng, 1, 2, 1, 16, 16, dim, dtype)
            day32.flash_attention_forward(q, k, v, causal)

    for (_, dtype, _, described), report in zip(cases, compiled(launch, chip=chip), strict=True):
        tensor_core = {"sm_80": "mma", "sm_90": "wgmma"}[chip]
        check_report(report, described, "" if dtype == F32 else tensor_core)


@exercise("flash_attention_forward", ban=BAN)
def test_compiles_for_hopper(rng, monkeypatch):
    cases = [(64, BF16, True, True), (128, BF16, True, True), (256, F16, False, True)]
    cases += [(80, F16, True, False), (64, F32, True, False), (128, F32, False, False)]
    check_compiled(monkeypatch, rng, "sm_90", cases)


@exercise("flash_attention_forward", ban=BAN)
def test_compiles_for_ampere(rng, monkeypatch):
    cases = [(64, BF16, False, False), (128, F16, True, False), (256, BF16, True, False)]
    check_compiled(monkeypatch, rng, "sm_80", cases)
