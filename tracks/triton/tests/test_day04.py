import math

import pytest
import torch

from harness.testing import close, exercise, refused, shapes, watch
from tracks.triton import day04

BLOCK = 1024
F32, F16, BF16, I64 = "float32", "float16", "bfloat16", "int64"


def numbers(rng, n, dtype):
    """Whole numbers; those of int64 have more digits than an int32 or a float64 holds."""
    most = 2**61 if dtype == I64 else 99
    return rng.integers(-most, most + 1, n, dtype=getattr(torch, dtype))


def matrix_and_scales(rng, rows, columns, which, dtype=F32):
    """A matrix, and a factor for each of its rows (``which`` 0) or columns (1)."""
    dtype = getattr(torch, dtype)
    return rng.normal(rows, columns, dtype=dtype), rng.normal((rows, columns)[which], dtype=dtype)


def assert_grid(seen, expected, what, empty=False):
    if empty and not seen.launches:
        return  # nothing was to be done
    assert len(seen.launches) == 1, f"expected 1 kernel launch, saw {len(seen.launches)}"
    grid = seen.launches[0].grid
    assert (*grid, 1, 1)[:3] == (*expected, 1, 1)[:3], (
        f"{what} needs a grid of {expected} programs, but {grid} was launched"
    )


def in_middle(x):
    """The same values as a view in the middle of a larger tensor that is full of other ones."""
    memory = torch.full((x.numel() + 128,), 1e6, dtype=x.dtype, device=x.device)
    view = memory[64:-64].view(x.shape)
    return memory, view.copy_(x)


def assert_fence_stands(memory):
    touched = (torch.cat([memory[:64], memory[-64:]]) != 1e6).sum().item()
    assert touched == 0, f"{touched} elements beside the output were overwritten"


# row_scale ----------------------------------------------------------------------------------


def check_rows(x, s, **options):
    out, seen = watch(day04.row_scale, x, s)
    rows, columns = x.shape
    close(
        out, x.double() * s.double()[:, None], dtype=x.dtype, tile=(1, max(columns, 1)), **options
    )
    what = f"a {(rows, columns)} matrix, one program a row,"
    assert_grid(seen, (rows,), what, empty=not x.numel())


@exercise("row_scale")
@shapes(
    "rows, columns, dtype",
    *[(1, 1, F32), (3, 5, F16), (5, 3, BF16), (7, 127, F32), (2, 128, F16), (3, 129, BF16)],
    *[(2, 1025, F32), (40, 2, F32)],
    gpu=[(70_000, 129, F16), (1024, 16_384, F32)],
)
def test_rows_match(rows, columns, dtype, rng):
    check_rows(*matrix_and_scales(rng, rows, columns, 0, dtype))


@exercise("row_scale")
@shapes("rows, columns", (0, 5), (4, 0))
def test_rows_of_nothing(rows, columns, device, rng):
    check_rows(*matrix_and_scales(rng, 3, 4, 0))
    x, s = torch.empty(rows, columns, device=device), torch.ones(rows, device=device)
    check_rows(x, s, name=f"row_scale of a {(rows, columns)} matrix")


@exercise("row_scale")
def test_rows_are_scaled_by_nan_and_infinity(rng):
    x, s = matrix_and_scales(rng, 6, 33, 0)
    x, s = x.clone(), s.clone()
    s[1], s[2], s[3], x[4, 5], x[5, 6] = math.nan, math.inf, 0.0, math.nan, -math.inf
    check_rows(x, s)


@exercise("row_scale", inplace=True)
def test_rows_are_each_scaled_once_and_nothing_else(rng):
    x, s = matrix_and_scales(rng, 5, 37, 0)
    memory, view = in_middle(x)
    # Where the output is the input, a row that is scaled by two programs is scaled twice.
    day04.row_scale_kernel[(5,)](view, s, view, 37, BLOCK=64)
    close(view, x.double() * s.double()[:, None], dtype=x.dtype, name="row_scale in place")
    assert_fence_stands(memory)


# column_scale -------------------------------------------------------------------------------


def check_columns(x, s, **options):
    out, seen = watch(day04.column_scale, x, s)
    rows, columns = x.shape
    close(out, x.double() * s.double(), dtype=x.dtype, tile=(1, BLOCK), **options)
    what = f"a {(rows, columns)} matrix in blocks of {BLOCK} columns"
    assert_grid(seen, (rows, math.ceil(columns / BLOCK)), what, empty=not x.numel())


@exercise("column_scale")
@shapes(
    "rows, columns, dtype",
    *[(1, 1, F32), (3, 5, F16), (5, 3, BF16), (3, 1023, F32), (2, 1024, F16), (3, 1025, BF16)],
    *[(2, 2048, F32), (2, 2500, F32), (40, 2, F32)],
    gpu=[(70_000, 129, F16), (33, 1_000_003, F32)],
)
def test_columns_match(rows, columns, dtype, rng):
    check_columns(*matrix_and_scales(rng, rows, columns, 1, dtype))


@exercise("column_scale")
@shapes("rows, columns", (0, 5), (4, 0))
def test_columns_of_nothing(rows, columns, device, rng):
    check_columns(*matrix_and_scales(rng, 3, 4, 1))
    x, s = torch.empty(rows, columns, device=device), torch.ones(columns, device=device)
    check_columns(x, s, name=f"column_scale of a {(rows, columns)} matrix")


@exercise("column_scale")
def test_columns_are_scaled_by_nan_and_infinity(rng):
    x, s = matrix_and_scales(rng, 3, 40, 1)
    x, s = x.clone(), s.clone()
    s[1], s[2], s[3], x[0, 5], x[2, 6] = math.nan, math.inf, 0.0, math.nan, -math.inf
    check_columns(x, s)


@exercise("column_scale", inplace=True)
def test_columns_are_each_scaled_once_and_nothing_else(rng):
    x, s = matrix_and_scales(rng, 5, 75, 1)
    memory, view = in_middle(x)
    day04.column_scale_kernel[(5, 3)](view, s, view, 75, BLOCK=32)
    close(view, x.double() * s.double(), dtype=x.dtype, name="column_scale in place")
    assert_fence_stands(memory)


# grid_stride_add ----------------------------------------------------------------------------


def check_add(x, y, programs, **options):
    out, seen = watch(day04.grid_stride_add, x, y, programs)
    close(out, x + y, tile=BLOCK, **options)
    what = f"programs={programs} for {x.numel()} elements"
    assert_grid(seen, (programs,), what, empty=not x.numel())


@exercise("grid_stride_add")
@shapes(
    "n, programs, dtype",
    *[(1, 1, F32), (5, 3, BF16), (1024, 1, I64), (1025, 1, F32), (5000, 1, F16)],
    *[(5000, 2, F32), (3500, 3, BF16), (4096, 4, F32), (4097, 4, I64), (5119, 7, F32)],
    gpu=[(10_000_001, 132, F16), (10_000_001, 1, F32), (100_000, 65_536, F32)],
)
def test_add_matches(n, programs, dtype, rng):
    check_add(numbers(rng, n, dtype), numbers(rng, n, dtype), programs)


@exercise("grid_stride_add")
def test_add_by_any_number_of_programs(rng):
    n = 1 + int(rng.integers(0, 6000, 1))
    x, y = rng.normal(n), rng.normal(n)
    for programs in (1, 2, 3, 5, 8, 13):
        check_add(x, y, programs, name=f"{n} elements added by {programs} programs")


@exercise("grid_stride_add")
def test_add_of_nothing_and_of_any_shape(device, rng):
    x, y = rng.normal(3, 5, 80), rng.normal(3, 5, 80)
    check_add(x, y, 2)
    nothing = torch.empty(0, device=device)
    check_add(nothing, nothing, 2)


@exercise("grid_stride_add")
@pytest.mark.parametrize("programs", [0, -1])
def test_add_needs_a_program(programs, rng):
    x, y = rng.normal(3), rng.normal(3)
    check_add(x, y, 1)
    refused(day04.grid_stride_add, x, y, programs, what=f"programs={programs}")


@exercise("grid_stride_add", inplace=True)
@shapes("programs", 1, 3, 11)
def test_add_does_each_block_once_and_nothing_else(programs, rng):
    x, y = rng.normal(300), rng.normal(300)
    memory, view = in_middle(x)
    # Where the output is the input, a block that two programs add is added twice.
    day04.grid_stride_add_kernel[(programs,)](view, y, view, 300, BLOCK=32)
    close(view, x + y, name=f"x += y by {programs} programs", tile=32)
    assert_fence_stands(memory)


# pid_map ------------------------------------------------------------------------------------


@exercise("pid_map")
@shapes(
    "m, n, block_m, block_n",
    *[(1, 1, 1, 1), (3, 5, 2, 2), (4, 6, 2, 2), (4, 7, 1, 4), (7, 4, 4, 1), (5, 5, 8, 8)],
    *[(1, 40, 4, 16), (40, 1, 16, 4), (33, 17, 16, 8), (9, 65, 2, 64)],
    gpu=[(1000, 3001, 64, 128)],
)
def test_map_numbers_tiles_row_by_row(m, n, block_m, block_n, device):
    out, seen = watch(day04.pid_map, m, n, block_m, block_n)
    tiles_m, tiles_n = math.ceil(m / block_m), math.ceil(n / block_n)
    tile_row = (torch.arange(m, device=device) // block_m)[:, None]
    tile_column = (torch.arange(n, device=device) // block_n)[None, :]
    expected = (tile_row * tiles_n + tile_column).int()
    close(out, expected, tile=(block_m, block_n))
    assert_grid(seen, (tiles_m * tiles_n,), f"{(m, n)} in tiles of {(block_m, block_n)}")
    room = 4 * m * n + 1024
    assert seen.peak_bytes <= room, f"{seen.peak_bytes} bytes were allocated for {4 * m * n}"


@exercise("pid_map")
@shapes("m, n", (0, 5), (5, 0), (0, 0))
def test_map_of_nothing(m, n, device):
    assert day04.pid_map(1, 2, 1, 1).tolist() == [[0, 1]]
    close(day04.pid_map(m, n, 4, 4), torch.empty((m, n), dtype=torch.int32, device=device))


@exercise("pid_map", inplace=True)
def test_map_writes_nothing_beside_the_matrix(device):
    memory = torch.full((5 * 7 + 128,), -1, dtype=torch.int32, device=device)
    view = memory[64:-64].view(5, 7)
    day04.pid_map_kernel[(4,)](view, 5, 7, BLOCK_M=4, BLOCK_N=4)
    touched = (torch.cat([memory[:64], memory[-64:]]) != -1).sum().item()
    assert touched == 0, f"{touched} elements beside the map were overwritten"
    assert (view >= 0).all(), f"{(view < 0).sum().item()} elements of a 5 x 7 map have no owner"
