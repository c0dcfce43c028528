import math

import pytest
import torch

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
from tracks.triton import day15

F32, F16, BF16 = "float32", "float16", "bfloat16"
HALVES = [torch.float16, torch.bfloat16]
TILE, CHUNK_ROWS, CHUNK_COLUMNS = 64, 32, 128
nan, inf = float("nan"), float("inf")


def check_one_launch(seen, out, programs):
    """One launch of so many programs along one axis, and no memory besides the result's."""
    if out.numel() or seen.launches:
        assert len(seen.launches) == 1, f"expected 1 kernel launch, saw {len(seen.launches)}"
        grid = seen.launches[0].grid
        assert math.prod(grid[1:]) == 1, f"the grid {grid} has more than one axis"
        assert grid[0] == programs, (
            f"{grid[0]} programs were launched for a result of shape {tuple(out.shape)}, but the "
            f"docstring's tiles make {programs}"
        )
    size = out.numel() * out.element_size()
    assert seen.peak_bytes <= size + 1024, (
        f"the result takes {size} bytes, but {seen.peak_bytes} were allocated: is an input "
        "copied, or an intermediate result stored?"
    )


def report_of(f, *args):
    """The report of the first kernel that f launches."""
    reports = compiled(f, *args)
    for report in reports:
        assert report.refused is None, f"the compiler refuses a kernel: {report.refused.text()}"
        assert report.spill_bytes == 0, (
            f"{report.kernel} spills {report.spill_bytes} bytes a thread"
        )
    return reports[0]


def assert_wide(report, width, what):
    assert width == 128, f"{what} are {width} bits wide: {why_narrow(report)}"


def tile_rows(columns):
    """How many rows a program takes, as _tile gives them."""
    return 8192 // min(1 << max(columns - 1, 0).bit_length(), 1024)


# matrix_add ---------------------------------------------------------------------------------


def check_add(a, b, **options):
    out, seen = watch(day15.matrix_add, a, b)
    if a.is_floating_point():
        options |= {"factor": 0.55, "scale": a.double().abs() + b.double().abs()}
        close(out, a.double() + b.double(), dtype=a.dtype, tile=(TILE, TILE), **options)
    else:
        close(out, a + b, tile=(TILE, TILE), **options)
    assert out.is_contiguous(), f"the result has the strides {out.stride()}: it is to be contiguous"
    check_one_launch(seen, out, math.ceil(a.shape[0] / TILE) * math.ceil(a.shape[1] / TILE))


@exercise("matrix_add")
@shapes(
    "rows, columns, dtype",
    *[(0, 7, F32), (4, 0, F32), (1, 1, F16), (63, 65, BF16), (65, 128, F32), (129, 200, F32)],
    gpu=[(8192, 8192, BF16), (3, 4_200_001, F32), (4_200_001, 3, F16)],
)
def test_add_matches_float64(rows, columns, dtype, rng):
    a, b = (rng.normal(rows, columns, dtype=getattr(torch, dtype)) for _ in range(2))
    check_add(a, b)


@exercise("matrix_add")
def test_add_of_integers(rng):
    a, b = (rng.integers(-(2**61), 2**61, 70, 3) for _ in range(2))
    check_add(a, b)
    check_add(a.to(torch.int16), b.T.contiguous().T.to(torch.int16))


@exercise("matrix_add")
def test_add_reads_any_strides(rng):
    a, b = rng.normal(70, 66), rng.normal(70, 66)
    cases = [(f"{name} a", view, b) for name, view in layouts(a)]
    cases += [(f"{name} b", a, view) for name, view in layouts(b)]
    cases += [("transposed a and b", a.T.clone().T, b.T.clone().T)]
    cases += [
        ("repeated row", a, b[:1].expand(70, 66)),
        ("repeated column", a[:, :1].expand(70, 66), b),
    ]
    for name, x, y in cases:
        check_add(x, y, name=f"matrix_add with a {name}")


@exercise("matrix_add")
def test_add_reads_beyond_int32(rng):
    a, b = rng.normal(3, 5, dtype=torch.float16), rng.normal(3, 5, dtype=torch.float16)
    cases = [(f"{name} a", view, b) for name, view in far_apart(a)]
    cases += [(f"{name} b", a, view) for name, view in far_apart(b)]
    for name, x, y in cases:
        check_add(x, y, name=f"matrix_add with a {name}")


@exercise("matrix_add")
def test_add_loads_are_wide_either_way(rng):
    a, b = rng.normal(64, 128, dtype=torch.float16), rng.normal(128, 64, dtype=torch.float16)
    report = report_of(day15.matrix_add, a, b.T)
    assert_wide(report, min(report.loads), "the loads of a or of b, which is transposed,")
    assert_wide(report, report.widest_store_bits, "the stores")


# transpose_tiles ----------------------------------------------------------------------------


def check_transpose(a, **options):
    out, seen = watch(day15.transpose_tiles, a)
    close(out, a.T, tile=(TILE, TILE), **options)
    assert out.is_contiguous(), f"the result has the strides {out.stride()}: it is to be contiguous"
    if a.numel():
        assert out.data_ptr() != a.data_ptr(), "the result is a view of the input, not a new matrix"
    check_one_launch(seen, out, math.ceil(a.shape[0] / TILE) * math.ceil(a.shape[1] / TILE))


@exercise("transpose_tiles")
@shapes(
    "rows, columns, dtype",
    *[(0, 7, F32), (4, 0, F32), (1, 1, F16), (63, 65, "int64"), (65, 128, "bool")],
    *[(129, 200, BF16), (1, 130, F32)],
    gpu=[(8192, 8192, BF16), (3, 4_200_001, F32), (4_200_001, 3, F16)],
)
def test_transpose_transposes(rows, columns, dtype, rng):
    if dtype == "bool":
        check_transpose(rng.boolean(rows, columns))
    else:
        most = 2**62 if dtype == "int64" else 128
        check_transpose(rng.integers(-most, most, rows, columns, dtype=getattr(torch, dtype)))


@exercise("transpose_tiles")
def test_transpose_reads_any_strides(rng):
    a = rng.normal(70, 66)
    for name, view in layouts(a):
        check_transpose(view, name=f"transpose_tiles of a {name} matrix")
    check_transpose(a[:, :1].expand(70, 66), name="transpose_tiles of a repeated column")


@exercise("transpose_tiles")
def test_transpose_reads_beyond_int32(rng):
    for name, view in far_apart(rng.normal(3, 5, dtype=torch.float16)):
        check_transpose(view, name=f"transpose_tiles of a {name} matrix")


@exercise("transpose_tiles")
def test_transpose_loads_and_stores_are_wide(rng):
    report = report_of(day15.transpose_tiles, rng.normal(64, 128, dtype=torch.float16))
    assert_wide(report, report.widest_load_bits, "the loads")
    assert_wide(report, report.widest_store_bits, "the stores")


# matvec -------------------------------------------------------------------------------------


def products(a, x):
    """a @ x in float64, and the size that its summands have (root of the mean square)."""
    a, x = a.double(), x.double()
    if not a.shape[-1]:
        return a.sum(-1), 0.0
    summands = a * x.unsqueeze(-2)
    return summands.sum(-1), summands.square().mean(-1).sqrt()


def check_matvec(a, x, **options):
    out, seen = watch(day15.matvec, a, x)
    expected, scale = products(a, x)
    rows, columns = a.shape
    many = tile_rows(columns)
    close(out, expected, dtype=a.dtype, terms=max(columns, 1), scale=scale, tile=many, **options)
    check_one_launch(seen, out, math.ceil(rows / many))


@exercise("matvec")
@shapes(
    "rows, columns, dtype",
    *[(0, 5, F32), (3, 0, F32), (1, 1, F16), (7, 1000, BF16), (8, 1024, F32), (9, 1025, F16)],
    *[(33, 300, F32), (2049, 3, BF16), (3, 5000, F32)],
    gpu=[(8192, 8192, BF16), (70_001, 129, F32), (3, 1_000_003, F16)],
)
def test_matvec_matches_float64(rows, columns, dtype, rng):
    dtype = getattr(torch, dtype)
    check_matvec(rng.normal(rows, columns, dtype=dtype), rng.normal(columns, dtype=dtype))


@exercise("matvec")
@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_matvec_computes_in_float32(dtype, rng):
    # Where the summands cancel, whatever was rounded on the way is seen.
    check_matvec(rng.normal(100, 1500, dtype=dtype), rng.normal(1500, dtype=dtype), factor=0.55)


@exercise("matvec")
def test_matvec_when_a_product_exceeds_float16(device):
    a = torch.tensor([[300.0, -300.0, 2.0], [400.0, 0.5, -400.0]], device=device).half()
    x = torch.full((3,), 300.0, dtype=torch.float16, device=device)
    check_matvec(a, x)


@exercise("matvec")
def test_matvec_keeps_nan_and_infinity_in_their_rows(rng):
    a, x = rng.normal(20, 1030).clone(), rng.normal(1030).abs() + 0.5
    a[3, 1029], a[4, 0], a[5, 7], a[6, 8], a[6, 1028] = nan, inf, -inf, inf, -inf
    expected, scale = products(a, x)
    scale = torch.where(scale.isfinite(), scale, 0.0)
    close(day15.matvec(a, x), expected, dtype=a.dtype, terms=1030, scale=scale)


@exercise("matvec")
def test_matvec_reads_any_strides(rng):
    a, x = rng.normal(20, 1030), rng.normal(1030)
    cases = [(f"{name} a", view, x) for name, view in layouts(a)]
    cases += [(f"{name} x", a, view) for name, view in layouts(x)]
    cases += [
        ("repeated row", a[:1].expand(20, 1030), x),
        ("x of one number", a, x[:1].expand(1030)),
    ]
    for name, m, v in cases:
        check_matvec(m, v, name=f"matvec with a {name}")


@exercise("matvec")
def test_matvec_reads_beyond_int32(rng):
    a, x = rng.normal(3, 5, dtype=torch.float16), rng.normal(5, dtype=torch.float16)
    cases = [(f"{name} a", view, x) for name, view in far_apart(a)]
    cases += [(f"{name} x", a, view) for name, view in far_apart(x)]
    for name, m, v in cases:
        check_matvec(m, v, name=f"matvec with a {name}")


@exercise("matvec")
def test_matvec_refuses_an_x_of_another_length(rng):
    a = rng.normal(4, 6)
    for n in (4, 5, 7, 1):
        refused(day15.matvec, a, rng.normal(n), what=f"6 columns and an x of {n} elements")


@exercise("matvec")
def test_matvec_loads_are_wide(rng):
    a = rng.normal(16, 1024, dtype=torch.float16)
    report = report_of(day15.matvec, a, a[0])
    assert_wide(report, report.widest_load_bits, "the loads")


# vecmat -------------------------------------------------------------------------------------


def check_vecmat(x, a, **options):
    out, seen = watch(day15.vecmat, x, a)
    expected, scale = products(a.T, x)
    rows, columns = a.shape
    close(
        out, expected, dtype=a.dtype, terms=max(rows, 1), scale=scale, tile=CHUNK_COLUMNS, **options
    )
    assert len(seen.launches) <= 2, f"expected at most 2 launches, saw {len(seen.launches)}"
    tiles = max(math.ceil(columns / CHUNK_COLUMNS), 1)
    chunks = min(math.ceil(rows / CHUNK_ROWS), 1024, max(1024 // tiles, 1))
    room = columns * (out.element_size() + 4 * chunks) + 1024
    assert seen.peak_bytes <= room, (
        f"{seen.peak_bytes} bytes were allocated, but {chunks} partial rows of float32 and the "
        f"result take {room - 1024}: is an input copied?"
    )
    if chunks and columns:
        finish = min(32, 8192 // (1 << (chunks - 1).bit_length()))
        expected = [chunks * tiles, math.ceil(columns / finish)]
        programs = [launch.programs for launch in seen.launches]
        assert programs == expected, (
            f"launched {programs} programs for {rows} x {columns} elements: {chunks} chunks and "
            f"{tiles} column tiles make {expected[0]}, and pieces of {finish} columns {expected[1]}"
        )


@exercise("vecmat")
@shapes(
    "rows, columns, dtype",
    *[(0, 5, F32), (3, 0, F32), (1, 1, F16), (1, 300, BF16), (31, 127, F32), (33, 129, F16)],
    *[(64, 128, BF16), (1500, 3, F32)],
    gpu=[(8192, 8192, BF16), (1_000_001, 3, F32), (3, 1_000_001, F32)],
)
def test_vecmat_matches_float64(rows, columns, dtype, rng):
    dtype = getattr(torch, dtype)
    check_vecmat(rng.normal(rows, dtype=dtype), rng.normal(rows, columns, dtype=dtype))


@exercise("vecmat")
def test_vecmat_walks_down_its_chunk(rng):
    # Two programs for seven row tiles, without the second stage: the kernel on its own.
    x, a = rng.normal(200), rng.normal(200, 40)
    partial = torch.full((2, 40), nan, device=a.device)
    day15.vecmat_kernel[(2, 1)](
        *(x, a, partial), *(1, 40, 1), *(200, 40), TILE_ROWS=32, TILE_COLUMNS=64
    )
    chunk = torch.arange(200, device=a.device) // 32 % 2
    for i in range(2):
        expected, scale = products(a.T * (chunk == i), x)
        close(
            partial[i],
            expected,
            dtype=a.dtype,
            terms=200,
            scale=scale,
            name=f"chunk {i} of 2, of 200 rows in tiles of 32",
        )


@exercise("vecmat")
@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_vecmat_computes_in_float32(dtype, rng):
    check_vecmat(rng.normal(1000, dtype=dtype), rng.normal(1000, 100, dtype=dtype), factor=0.55)


@exercise("vecmat")
def test_vecmat_when_a_product_exceeds_float16(device):
    a = torch.tensor([[300.0, 400.0], [-300.0, 0.5], [2.0, -400.0]], device=device).half()
    check_vecmat(torch.full((3,), 300.0, dtype=torch.float16, device=device), a)


@exercise("vecmat")
def test_vecmat_keeps_nan_and_infinity_in_their_columns(rng):
    x, a = rng.normal(70).abs() + 0.5, rng.normal(70, 140).clone()
    a[69, 3], a[0, 4], a[7, 139], a[8, 6], a[68, 6] = nan, inf, -inf, inf, -inf
    expected, scale = products(a.T, x)
    scale = torch.where(scale.isfinite(), scale, 0.0)
    close(day15.vecmat(x, a), expected, dtype=a.dtype, terms=70, scale=scale)


@exercise("vecmat")
def test_vecmat_reads_any_strides(rng):
    x, a = rng.normal(70), rng.normal(70, 140)
    cases = [(f"{name} x", view, a) for name, view in layouts(x)]
    cases += [(f"{name} a", x, view) for name, view in layouts(a)]
    cases += [
        ("repeated column", x, a[:, :1].expand(70, 140)),
        ("x of one number", x[:1].expand(70), a),
    ]
    for name, v, m in cases:
        check_vecmat(v, m, name=f"vecmat with a {name}")


@exercise("vecmat")
def test_vecmat_reads_beyond_int32(rng):
    x, a = rng.normal(3, dtype=torch.float16), rng.normal(3, 5, dtype=torch.float16)
    cases = [(f"{name} x", view, a) for name, view in far_apart(x)]
    cases += [(f"{name} a", x, view) for name, view in far_apart(a)]
    for name, v, m in cases:
        check_vecmat(v, m, name=f"vecmat with a {name}")


@exercise("vecmat")
def test_vecmat_refuses_an_x_of_another_length(rng):
    a = rng.normal(4, 6)
    for n in (6, 3, 5, 1):
        refused(day15.vecmat, rng.normal(n), a, what=f"4 rows and an x of {n} elements")


@exercise("vecmat")
def test_vecmat_loads_are_wide(rng):
    a = rng.normal(64, 256, dtype=torch.float16)
    report = report_of(day15.vecmat, a[:, 0].clone(), a)
    assert_wide(report, report.widest_load_bits, "the loads of the first launch")


# batched_matvec -----------------------------------------------------------------------------


def check_batched(a, x, **options):
    out, seen = watch(day15.batched_matvec, a, x)
    expected, scale = products(a, x)
    batch, rows = expected.shape
    columns = a.shape[2]
    many = tile_rows(columns)
    options = {"tile": (1, many)} | options
    close(out, expected, dtype=a.dtype, terms=max(columns, 1), scale=scale, **options)
    assert out.is_contiguous(), f"the result has the strides {out.stride()}: it is to be contiguous"
    check_one_launch(seen, out, batch * math.ceil(rows / many))


@exercise("batched_matvec")
@shapes(
    "batch, rows, columns, dtype",
    *[(0, 4, 5, F32), (2, 0, 5, F32), (2, 3, 0, F32), (1, 1, 1, F16), (3, 9, 1025, BF16)],
    *[(2, 33, 300, F32), (5, 7, 3, F16), (3, 16, 1000, F32)],
    gpu=[(64, 1024, 1024, BF16), (70_001, 3, 33, F32), (3, 70_001, 17, F16)],
)
def test_batched_matches_float64(batch, rows, columns, dtype, rng):
    dtype = getattr(torch, dtype)
    a = rng.normal(batch, rows, columns, dtype=dtype)
    check_batched(a, rng.normal(batch, columns, dtype=dtype))


@exercise("batched_matvec")
@pytest.mark.parametrize("of_a, of_x", [(1, 3), (3, 1), (1, 1), (1, 0), (0, 1)])
def test_batched_shares_without_copying(of_a, of_x, rng):
    a, x = rng.normal(of_a, 20, 600), rng.normal(of_x, 600)
    check_batched(a, x, name=f"result for {of_a} matrices and {of_x} vectors")


@exercise("batched_matvec")
@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_batched_computes_in_float32(dtype, rng):
    a, x = rng.normal(2, 50, 1500, dtype=dtype), rng.normal(2, 1500, dtype=dtype)
    check_batched(a, x, factor=0.55)


@exercise("batched_matvec")
def test_batched_when_a_product_exceeds_float16(device):
    a = torch.tensor([[[300.0, -300.0, 2.0]], [[400.0, 0.5, -400.0]]], device=device).half()
    check_batched(a, torch.full((1, 3), 300.0, dtype=torch.float16, device=device))


@exercise("batched_matvec")
def test_batched_keeps_nan_and_infinity_in_their_rows(rng):
    a, x = rng.normal(2, 9, 1030).clone(), rng.normal(2, 1030).abs() + 0.5
    a[0, 3, 1029], a[1, 4, 0], a[1, 8, 7], a[0, 6, 8], a[0, 6, 1028] = nan, inf, -inf, inf, -inf
    expected, scale = products(a, x)
    scale = torch.where(scale.isfinite(), scale, 0.0)
    close(day15.batched_matvec(a, x), expected, dtype=a.dtype, terms=1030, scale=scale)


@exercise("batched_matvec")
def test_batched_reads_any_strides(rng):
    a, x = rng.normal(2, 9, 1030), rng.normal(2, 1030)
    cases = [(f"{name} a", view, x) for name, view in layouts(a)]
    cases += [(f"{name} x", a, view) for name, view in layouts(x)]
    cases += [("transposed a", a.mT.clone().mT, x)]
    for name, m, v in cases:
        check_batched(m, v, name=f"batched_matvec with a {name}")


@exercise("batched_matvec")
def test_batched_reads_beyond_int32(rng):
    a, x = rng.normal(3, 4, 5, dtype=torch.float16), rng.normal(3, 5, dtype=torch.float16)
    cases = [(f"{name} a", view, x) for name, view in far_apart(a)]
    cases += [(f"{name} x", a, view) for name, view in far_apart(x)]
    for name, m, v in cases:
        check_batched(m, v, name=f"batched_matvec with a {name}")


@exercise("batched_matvec")
def test_batched_refuses_an_x_of_another_length(rng):
    a = rng.normal(2, 4, 6)
    for n in (4, 5, 7, 1):
        refused(day15.batched_matvec, a, rng.normal(2, n), what=f"6 columns and rows of {n} in x")


@exercise("batched_matvec")
def test_batched_loads_are_wide(rng):
    a = rng.normal(2, 8, 1024, dtype=torch.float16)
    report = report_of(day15.batched_matvec, a, a[0, :1])
    assert_wide(report, report.widest_load_bits, "the loads")
