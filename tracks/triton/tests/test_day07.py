import math

import pytest
import torch

from harness.testing import close, compiled, exercise, shapes, watch, why_narrow
from tracks.triton import day07

BLOCK = 2048
TILE_ROWS, TILE_COLUMNS, TILE = 32, 128, 128
DTYPES = [torch.float32, torch.bfloat16, torch.int64, torch.bool]


def matrix(rng, rows, columns, dtype):
    """No two neighbours are likely to be equal, in any dtype."""
    if dtype is torch.bool:
        return rng.boolean(rows, columns)
    most = 2**62 if dtype is torch.int64 else 128  # more digits than a float64 has
    return rng.integers(-most, most, rows, columns, dtype=dtype)


def check(f, x, expected, programs, tile):
    """Right values in new memory, by one launch of so many programs and nothing besides."""
    out, seen = watch(f, x)
    close(out, expected, tile=tile)
    assert out.is_contiguous(), (
        f"the result has strides {out.stride()} for a shape of {tuple(out.shape)}: "
        "it must be laid out row after row"
    )
    if x.numel():
        assert out.data_ptr() != x.data_ptr(), "the result is the input's own memory, not a copy"
    if x.numel() or seen.launches:
        assert len(seen.launches) == 1, f"expected 1 kernel launch, saw {len(seen.launches)}"
        launched = seen.launches[0].programs
        assert launched == programs, (
            f"a {tuple(x.shape)} matrix was covered by {launched} programs, but the docstring's "
            f"blocks make {programs} of it"
        )
    room = out.numel() * out.element_size() + 1024
    assert seen.peak_bytes <= room, (
        f"{seen.peak_bytes} bytes were allocated for an output of {room - 1024}"
    )


def only_kernel(f, x):
    reports = compiled(f, x)
    assert len(reports) == 1, f"expected 1 kernel, found {[r.kernel for r in reports]}"
    (report,) = reports
    assert report.refused is None, f"the compiler refuses this kernel: {report.refused.text()}"
    assert report.spill_bytes == 0, f"the kernel spills {report.spill_bytes} bytes a thread"
    return report


def assert_wide(report):
    assert report.widest_load_bits >= 128, (
        f"the widest load is {report.widest_load_bits} bits: {why_narrow(report)}"
    )
    assert report.widest_store_bits >= 128, (
        f"loads are wide, but the widest store is {report.widest_store_bits} bits: "
        f"{why_narrow(report)}"
    )


# copy_by_rows -------------------------------------------------------------------------------


@exercise("copy_by_rows")
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@shapes(
    "rows, columns",
    *[(0, 7), (4, 0), (1, 1), (5, 3), (3, 2047), (2, 2048), (3, 2049), (2, 5000)],
    gpu=[(8192, 8192), (70_000, 129)],
)
def test_rows_copies(rows, columns, dtype, rng):
    x = matrix(rng, rows, columns, dtype)
    check(day07.copy_by_rows, x, x, rows * math.ceil(columns / BLOCK), (1, BLOCK))


@exercise("copy_by_rows")
def test_rows_of_an_offset_view(rng):
    x = rng.normal(2 * 65 + 1)[1:].view(2, 65)
    check(day07.copy_by_rows, x, x, 2, (1, BLOCK))


@exercise("copy_by_rows")
def test_rows_loads_are_wide(rng):
    assert_wide(only_kernel(day07.copy_by_rows, rng.normal(2, 4096)))


# copy_by_columns ----------------------------------------------------------------------------


@exercise("copy_by_columns")
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@shapes(
    "rows, columns",
    *[(0, 7), (4, 0), (1, 1), (5, 3), (2047, 3), (2048, 2), (2049, 3), (5000, 2)],
    gpu=[(8192, 8192), (129, 70_000)],
)
def test_columns_copies(rows, columns, dtype, rng):
    x = matrix(rng, rows, columns, dtype)
    check(day07.copy_by_columns, x, x, columns * math.ceil(rows / BLOCK), (BLOCK, 1))


@exercise("copy_by_columns")
def test_columns_of_an_offset_view(rng):
    x = rng.normal(65 * 2 + 1)[1:].view(65, 2)
    check(day07.copy_by_columns, x, x, 2, (BLOCK, 1))


@exercise("copy_by_columns")
def test_columns_loads_are_narrow(rng):
    report = only_kernel(day07.copy_by_columns, rng.normal(4096, 16))
    widest = max(report.widest_load_bits, report.widest_store_bits)
    assert widest <= 32, (
        f"a lane loads or stores {widest} bits at once, but neighbours in a column of float32 are "
        "a whole row apart: this kernel does not walk down columns"
    )


# copy_by_tiles ------------------------------------------------------------------------------


@exercise("copy_by_tiles")
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@shapes(
    "rows, columns",
    *[(0, 7), (4, 0), (1, 1), (31, 127), (32, 128), (33, 129), (100, 3), (3, 300)],
    gpu=[(8192, 8192), (70_000, 129)],
)
def test_tiles_copies(rows, columns, dtype, rng):
    x = matrix(rng, rows, columns, dtype)
    programs = math.ceil(rows / TILE_ROWS) * math.ceil(columns / TILE_COLUMNS)
    check(day07.copy_by_tiles, x, x, programs, (TILE_ROWS, TILE_COLUMNS))


@exercise("copy_by_tiles")
def test_tiles_of_an_offset_view(rng):
    x = rng.normal(40 * 65 + 1)[1:].view(40, 65)
    check(day07.copy_by_tiles, x, x, 2, (TILE_ROWS, TILE_COLUMNS))


@exercise("copy_by_tiles")
def test_tiles_loads_are_wide(rng):
    assert_wide(only_kernel(day07.copy_by_tiles, rng.normal(32, 256, dtype=torch.float16)))


# transpose ----------------------------------------------------------------------------------


@exercise("transpose")
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@shapes(
    "rows, columns",
    *[(0, 7), (4, 0), (1, 1), (2, 3), (127, 129), (128, 128), (129, 1), (1, 130), (260, 140)],
    gpu=[(8192, 8192), (4097, 1023)],
)
def test_transpose_transposes(rows, columns, dtype, rng):
    x = matrix(rng, rows, columns, dtype)
    programs = math.ceil(rows / TILE) * math.ceil(columns / TILE)
    check(day07.transpose, x, x.T, programs, (TILE, TILE))


@exercise("transpose")
def test_transpose_twice_is_the_input(rng):
    x = rng.normal(37, 91)
    close(day07.transpose(day07.transpose(x)), x, tile=(TILE, TILE))


@exercise("transpose")
def test_transpose_reads_beyond_int32(rng):
    # Three rows, 2**30 elements apart, of which one tile is turned: the kernel on its own. The
    # memory between the rows is never touched.
    columns, reach = 2**30 + 16, 2 * (2**30 + 16) + 16
    if rng.device.type == "cuda" and torch.cuda.mem_get_info()[0] < 1.1 * reach:
        pytest.skip(f"needs {reach / 1e9:.1f} GB of free GPU memory")
    x = torch.empty(reach, dtype=torch.int8, device=rng.device)
    rows = x.as_strided((3, 16), (columns, 1)).copy_(rng.integers(-9, 9, 3, 16, dtype=torch.int8))
    out = torch.full((16, 3), 99, dtype=torch.int8, device=rng.device)
    day07.transpose_kernel[(1, 1)](x, out, 3, columns, TILE=16)
    close(out, rows.T, name="the tile")


@exercise("transpose")
def test_transpose_loads_and_stores_are_wide(rng):
    assert_wide(only_kernel(day07.transpose, rng.normal(64, 128, dtype=torch.float16)))
