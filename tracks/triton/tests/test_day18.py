import math

import pytest
import torch
import triton
import triton.language as tl

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
)
from tracks.triton import day17, day18

F32, F16, BF16 = "float32", "float16", "bfloat16"
HALVES = [torch.float16, torch.bfloat16]
SMALL = 64  # rows and columns of _config's smallest tile
nan = float("nan")
_swizzle = day18._swizzle  # under its own name, so that known bugs can be tried in its place


@triton.jit
def order_kernel(out_ptr, m_tiles, n_tiles, GROUP: tl.constexpr):
    """Program i: the tile that it owns, into row i of out."""
    row, column = _swizzle(tl.program_id(0), m_tiles, n_tiles, GROUP)
    tl.store(out_ptr + 2 * tl.program_id(0), row)
    tl.store(out_ptr + 2 * tl.program_id(0) + 1, column)


def banded(m_tiles, n_tiles, group):
    """The tiles in their order, by walking through the bands."""
    return [
        (row, column)
        for first in range(0, m_tiles, group)
        for column in range(n_tiles)
        for row in range(first, min(first + group, m_tiles))
    ]


# swizzle ------------------------------------------------------------------------------------


def order_of(m_tiles, n_tiles, group):
    return [day18.swizzle(pid, m_tiles, n_tiles, group) for pid in range(m_tiles * n_tiles)]


@exercise("swizzle")
def test_swizzle_gives_each_tile_to_one_program():
    for m_tiles in range(1, 10):
        for n_tiles in range(1, 10):
            for group in range(1, 12):
                order = order_of(m_tiles, n_tiles, group)
                where = f"of {m_tiles} x {n_tiles} tiles in bands of {group}"
                outside = [
                    (pid, tile)
                    for pid, tile in enumerate(order)
                    if not (0 <= tile[0] < m_tiles and 0 <= tile[1] < n_tiles)
                ]
                assert not outside, (
                    f"{where}, program {outside[0][0]} owns {outside[0][1]}, which does not exist"
                )
                assert len(set(order)) == len(order), (
                    f"{where}, {len(order) - len(set(order))} have no owner: others have several"
                )


@exercise("swizzle")
@pytest.mark.parametrize("m_tiles", range(1, 10))
def test_swizzle_numbers_bands_column_by_column(m_tiles):
    for n_tiles in range(1, 10):
        for group in range(1, 12):
            order = order_of(m_tiles, n_tiles, group)
            for pid, (tile, expected) in enumerate(
                zip(order, banded(m_tiles, n_tiles, group), strict=True)
            ):
                assert tuple(tile) == expected, (
                    f"of {m_tiles} x {n_tiles} tiles in bands of {group} rows, program {pid} is to "
                    f"own the tile {expected}, not {tuple(tile)}"
                )


@exercise("swizzle")
def test_swizzle_far_from_the_start(rng):
    m_tiles, n_tiles, group = 40_001, 50_021, 7
    full = m_tiles // group * group  # rows in bands of full height

    def owns(pid, row, column):
        found = tuple(day18.swizzle(pid, m_tiles, n_tiles, group))
        assert found == (row, column), (
            f"of {m_tiles} x {n_tiles} tiles in bands of {group} rows, program {pid} is to own "
            f"the tile {(row, column)}, not {found}"
        )

    for row in rng.integers(0, full, 50).tolist():
        first, column = row // group * group, 50_020 - row
        column %= n_tiles
        owns(first * n_tiles + column * group + row - first, row, column)
    owns(m_tiles * n_tiles - 1, m_tiles - 1, n_tiles - 1)


@exercise("swizzle")
@pytest.mark.parametrize("m_tiles, n_tiles, group", [(5, 3, 2), (1, 4, 3), (7, 1, 3)])
def test_swizzle_in_a_kernel(m_tiles, n_tiles, group, device):
    out = torch.empty(m_tiles * n_tiles, 2, dtype=torch.int32, device=device)
    order_kernel[(m_tiles * n_tiles,)](out, m_tiles, n_tiles, GROUP=group)
    order = [tuple(tile) for tile in out.tolist()]
    assert order == banded(m_tiles, n_tiles, group), (
        f"in a kernel, {m_tiles} x {n_tiles} tiles in bands of {group} come in the order {order}"
    )


# matmul_grouped -----------------------------------------------------------------------------


def check_first_programs(m_tiles, n_tiles, group, programs, device):
    m, n = 16 * m_tiles - 5, 16 * n_tiles - 3
    a, b = (torch.ones(*shape, dtype=torch.float16, device=device) for shape in ((m, 3), (3, n)))
    out = torch.full((m, n), nan, dtype=torch.float16, device=device)
    day18.matmul_grouped_kernel[(programs,)](
        *(a, b, out),
        *(*a.stride(), *b.stride()),
        *(m, n, 3),
        BLOCK_M=16,
        BLOCK_N=16,
        BLOCK_K=16,
        GROUP=group,
    )
    written = {
        (row, column)
        for row in range(m_tiles)
        for column in range(n_tiles)
        if not out[16 * row, 16 * column].isnan()
    }
    expected = set(banded(m_tiles, n_tiles, group)[:programs])
    assert written == expected, (
        f"of {m_tiles} x {n_tiles} tiles in bands of {group}, the first {programs} programs "
        f"computed the tiles {sorted(written)}, and not {sorted(expected)}"
    )


def check_grouped(a, b, group, **options):
    out, seen = watch(day18.matmul_grouped, a, b, group)
    m, n, k = a.shape[0], b.shape[1], a.shape[1]
    options = {"tile": (SMALL, SMALL), "scale": 1.0} | options
    expected = a.double() @ b.double()
    close(out, expected, dtype=a.dtype, terms=max(k, 1), **options)
    launch = one_launch(seen, out)
    if launch is None:
        return
    config = day17._config(m, n, a.element_size())
    programs = math.ceil(m / config["BLOCK_M"]) * math.ceil(n / config["BLOCK_N"])
    assert launch.programs == programs, (
        f"{launch.programs} programs were launched, but _config's tiles make {programs} for a "
        f"result of shape {tuple(out.shape)}"
    )
    seen_group = launch.meta.get("GROUP")
    assert seen_group == group, f"the kernel ran with GROUP = {seen_group} for group = {group}"


@exercise("matmul_grouped")
@shapes(
    "m, n, k, dtype, group",
    *[(0, 5, 3, F32, 8), (3, 0, 5, F32, 8), (3, 70, 0, F16, 1), (1, 1, 1, F16, 8)],
    *[(65, 63, 17, F32, 1), (130, 129, 70, BF16, 2), (200, 66, 129, F16, 3), (64, 128, 64, F32, 4)],
    gpu=[(4096, 4096, 1000, BF16, 8), (3001, 2999, 777, F16, 5), (1000, 1000, 1000, F32, 3)],
)
def test_grouped_matches_float64(m, n, k, dtype, group, rng):
    a, b = (rng.normal(*shape, dtype=getattr(torch, dtype)) for shape in ((m, k), (k, n)))
    check_grouped(a, b, group)


@exercise("matmul_grouped")
@pytest.mark.parametrize("group", [1, 2, 3, 4, 5, 100])
def test_grouped_does_not_depend_on_the_group(group, rng):
    a, b = rng.normal(270, 20, dtype=torch.float16), rng.normal(20, 140, dtype=torch.float16)
    check_grouped(a, b, group)


@exercise("matmul_grouped")
def test_grouped_runs_in_bands(device):
    for m_tiles, n_tiles, group, programs in ((5, 3, 2, 4), (5, 3, 2, 13), (3, 5, 1, 7)):
        check_first_programs(m_tiles, n_tiles, group, programs, device)


@exercise("matmul_grouped")
@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_grouped_adds_in_float32(dtype, rng):
    a, b = rng.normal(30, 400, dtype=dtype), rng.normal(400, 20, dtype=dtype)
    check_grouped(a, b, 8, factor=0.55)


@exercise("matmul_grouped")
def test_grouped_has_bands_of_eight_unless_told(rng):
    a, b = rng.normal(3, 5), rng.normal(5, 4)
    _, seen = watch(day18.matmul_grouped, a, b)
    group = seen.launches[0].meta.get("GROUP")
    assert group == 8, f"without a group the kernel ran with GROUP = {group}, and not 8"


@exercise("matmul_grouped")
def test_grouped_reads_any_strides(rng):
    a, b = rng.normal(70, 90, dtype=torch.float16), rng.normal(90, 66, dtype=torch.float16)
    cases = [(f"{name} a", view, b) for name, view in layouts(a)]
    cases += [(f"{name} b", a, view) for name, view in layouts(b)]
    cases += [("repeated row as a", a[:1].expand(70, 90), b)]
    for name, left, right in cases:
        check_grouped(left, right, 2, name=f"matmul_grouped with a {name}")


@exercise("matmul_grouped")
def test_grouped_reads_beyond_int32(rng):
    a, b = rng.normal(3, 4, dtype=torch.float16), rng.normal(4, 5, dtype=torch.float16)
    cases = [(f"{name} a", view, b) for name, view in far_apart(a)]
    cases += [(f"{name} b", a, view) for name, view in far_apart(b)]
    for name, left, right in cases:
        check_grouped(left, right, 2, name=f"matmul_grouped with a {name}")


@exercise("matmul_grouped", gpu=True)
@shapes("m, n", gpu=[(70_000, 40_000)])
def test_grouped_writes_beyond_int32(m, n, rng):
    a, b = rng.normal(m, 3, dtype=torch.float16), rng.normal(3, n, dtype=torch.float16)
    out = day18.matmul_grouped(a, b)
    close(out[-3:], a[-3:].double() @ b.double(), dtype=a.dtype, terms=3, scale=1.0)


@exercise("matmul_grouped")
def test_grouped_refuses(rng):
    a, b = rng.normal(4, 6), rng.normal(6, 5)
    for group in (0, -1):
        refused(day18.matmul_grouped, a, b, group, what=f"group = {group}")
    refused(day18.matmul_grouped, a, rng.normal(5, 6), what="6 columns times 5 rows")
    refused(day18.matmul_grouped, a, b.half(), what="float32 times float16")


@exercise("matmul_grouped")
def test_grouped_compiles_to_tensor_cores(rng):
    a, b = rng.normal(128, 64, dtype=torch.float16), rng.normal(64, 256, dtype=torch.float16)
    out = torch.empty(128, 256, dtype=torch.float16, device=a.device)

    def one_large_tile():
        config = day17._config(8192, 8192, 2)
        day18.matmul_grouped_kernel[(1,)](
            a, b, out, *a.stride(), *b.stride(), 128, 256, 64, GROUP=8, **config
        )

    (report,) = compiled(one_large_tile)
    assert report.refused is None, f"the compiler refuses the kernel: {report.refused.text()}"
    assert report.spill_bytes == 0, f"the kernel spills {report.spill_bytes} bytes a thread"
    assert report.shared_bytes <= report.shared_limit
    assert "wgmma" in str(report.tensor_core), (
        f"the product is computed by {report.tensor_core or 'no tensor core'}, and not by wgmma"
    )
    assert report.widest_load_bits == 128, f"loads are {report.widest_load_bits} bits wide"


# tiles_touched ------------------------------------------------------------------------------


def touched(m_tiles, n_tiles, k_tiles, group, wave):
    """Tile by tile, as the model says it."""
    order = banded(m_tiles, n_tiles, group)
    of_a = of_b = 0
    for start in range(0, len(order), wave):
        owned = order[start : start + wave]
        of_a += len({(row, step) for row, _ in owned for step in range(k_tiles)})
        of_b += len({(step, column) for _, column in owned for step in range(k_tiles)})
    return of_a, of_b


def check_touched(*sizes):
    got = day18.tiles_touched(*sizes)
    expected = touched(*sizes)
    m_tiles, n_tiles, k_tiles, group, wave = sizes
    assert got == expected, (
        f"for {m_tiles} x {n_tiles} tiles, {k_tiles} along K, bands of {group} and waves of {wave} "
        f"the model counts {expected} tiles of a and b, not {got}"
    )


@exercise("tiles_touched")
def test_touched_of_small_grids():
    for m_tiles in (1, 2, 5, 6):
        for n_tiles in (1, 3, 6):
            for group in (1, 2, 3, 7):
                for wave in (1, 2, 5, 6, 9, 40):
                    check_touched(m_tiles, n_tiles, 3, group, wave)


@exercise("tiles_touched")
@shapes("m_tiles, n_tiles, k_tiles", (0, 4, 2), (4, 0, 2), (0, 0, 0), (3, 4, 0), (3, 4, 1))
def test_touched_of_nothing_and_of_one_step(m_tiles, n_tiles, k_tiles):
    check_touched(m_tiles, n_tiles, k_tiles, 2, 3)


@exercise("tiles_touched")
def test_touched_by_nine_programs_of_81():
    # The example of Triton's tutorial, for all waves: 90 tiles against 54 for each nine results.
    row_by_row, in_bands = (sum(day18.tiles_touched(9, 9, 9, group, 9)) for group in (1, 3))
    assert row_by_row == 9 * 90, f"9 x 9 tiles row by row read {row_by_row} tiles, and not 810"
    assert in_bands == 9 * 54, f"9 x 9 tiles in bands of 3 read {in_bands} tiles, and not 486"


@exercise("tiles_touched")
@pytest.mark.parametrize("group", [1, 8, 64])
def test_touched_of_a_large_product(group):
    # 16,384 x 16,384 in tiles of 128 x 256 on 132 multiprocessors
    check_touched(128, 64, 8, group, 132)


@exercise("tiles_touched", seconds=5)
def test_touched_does_not_walk_along_k():
    of_a, of_b = day18.tiles_touched(8, 8, 10_000_000, 4, 16)
    assert (of_a, of_b) == (160_000_000, 160_000_000), (
        f"{(of_a, of_b)} tiles with 10,000,000 along K"
    )


@exercise("tiles_touched")
def test_touched_refuses():
    for group, wave in ((0, 4), (-2, 4), (2, 0), (2, -1)):
        refused(day18.tiles_touched, 3, 4, 5, group, wave, what=f"group={group}, wave={wave}")
        refused(day18.tiles_touched, 0, 4, 5, group, wave, what=f"group={group}, wave={wave}")
