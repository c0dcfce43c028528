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
from tracks.triton import day16

F32, F16, BF16 = "float32", "float16", "bfloat16"
HALVES = [torch.float16, torch.bfloat16]
TILE = 64
FILLS = ("zeros", "ones", "full", "zero_", "fill_")
nan, inf = float("nan"), float("inf")


def side(n):
    """The side of a tile, as _side gives it."""
    return min(max(1 << max(n - 1, 0).bit_length(), 16), 128)


def product(a, b, bias=None):
    """a @ b (+ bias) in float64, and the size of its summands (root of the mean square)."""
    a, b = a.double(), b.double()
    terms = max(a.shape[1], 1)
    expected, squares = a @ b, a.square() @ b.square()
    if bias is not None:
        expected, squares = expected + bias.double(), squares + bias.double().square()
    return expected, (squares / terms).sqrt()


def check(f, a, b, *bias, tile=None, **options):
    """Right values in new memory, by one launch of so many programs and nothing besides."""
    blocked = tile is None  # in steps of _block_k elements
    (rows, inner), columns = a.shape, b.shape[1]
    tile = tile or (side(rows), side(columns))
    out, seen = watch(f, a, b, *bias)
    expected, scale = product(a, b, *bias)
    close(out, expected, dtype=a.dtype, terms=max(inner, 1), scale=scale, tile=tile, **options)
    assert out.is_contiguous(), f"the result has the strides {out.stride()}: it is to be contiguous"
    if seen.launches or (out.numel() and inner):
        assert len(seen.launches) == 1, f"expected 1 kernel launch, saw {len(seen.launches)}"
        grid = seen.launches[0].grid
        assert math.prod(grid[1:]) == 1, f"the grid {grid} has more than one axis"
        programs = math.ceil(rows / tile[0]) * math.ceil(columns / tile[1])
        assert grid[0] == programs, (
            f"the grid was {grid} for a result of shape {tuple(out.shape)}, but tiles of "
            f"{tile[0]} x {tile[1]} elements make it ({programs},)"
        )
        fills = [name for name in seen.operators if any(word in name for word in FILLS)]
        assert not fills, (
            f"{fills[0]} filled memory: on a GPU that is a kernel of its own, besides the launch"
        )
        step, expected = seen.launches[0].meta.get("BLOCK_K"), 128 // a.element_size()
        assert not blocked or step == expected or inner <= (step or 0) < expected, (
            f"the kernel ran with BLOCK_K = {step} for {a.dtype} and K = {inner}, but _block_k "
            f"gives {expected}"
        )
    size = out.numel() * out.element_size()
    assert seen.peak_bytes <= size + 1024, (
        f"the result takes {size} bytes, but {seen.peak_bytes} were allocated: is an input "
        "copied, or an intermediate result stored?"
    )


def check_tile(a, b, **options):
    check(day16.matmul_tile, a, b, tile=(TILE, TILE), **options)


def check_order(kernel, device, **constants):
    """The first two programs compute the two tiles side by side at the top."""
    height, width = (constants.get(name, TILE) for name in ("BLOCK_M", "BLOCK_N"))
    rows, columns = 2 * height, 2 * width
    a, b = torch.ones(rows, 3, device=device), torch.ones(3, columns, device=device)
    out = torch.full((rows, columns), nan, device=device)
    bias = [b[0]] if kernel is day16.matmul_bias_kernel else []
    strides = [stride for x in (a, b, *bias) for stride in x.stride()]
    kernel[(2,)](a, b, *bias, out, *strides, rows, columns, 3, **constants)
    tiles = [(i, j) for i in (0, 1) for j in (0, 1) if not out[height * i, width * j].isnan()]
    assert tiles == [(0, 0), (0, 1)], (
        f"of 2 x 2 tiles, the first two programs computed the tiles {tiles}, and not "
        "[(0, 0), (0, 1)]: tiles are numbered along the rows of tiles"
    )


def check_report(report, instruction):
    assert report.refused is None, f"the compiler refuses this kernel: {report.refused.text()}"
    assert (report.tensor_core or "").startswith(instruction), (
        f"tensor cores on {report.chip}: {report.tensor_core or 'not used'}, but {instruction} "
        "instructions were expected: do both operands of tl.dot have a 16-bit type, and do four "
        "warps or more share the tile?"
    )
    why = ": do enough warps share the sums of a tile?" if report.warps < 8 else ""
    assert report.spill_bytes == 0, (
        f"{report.kernel} spills {report.spill_bytes} bytes a thread on {report.chip} with "
        f"num_warps = {report.warps}{why}"
    )
    assert report.widest_load_bits == 128, (
        f"loads are {report.widest_load_bits} bits wide: {why_narrow(report)}"
    )
    assert report.kernel == "matmul_tile_kernel" or report.shared_bytes <= 101_376, (
        f"{report.kernel} takes {report.shared_bytes} bytes of shared memory a program, but some "
        "chips have 101,376: how many steps are loaded ahead?"
    )


# matmul_tile --------------------------------------------------------------------------------


@exercise("matmul_tile")
@shapes(
    "rows, columns, inner, dtype",
    *[(0, 3, 20, F32), (3, 0, 20, F32), (3, 4, 0, F16), (1, 1, 1, F32), (5, 2, 8, F16)],
    *[(63, 65, 17, BF16), (65, 128, 128, F16), (130, 70, 100, F32), (5, 200, 16, F32)],
    gpu=[(4096, 4096, 128, BF16), (1023, 2049, 65, F16), (1000, 1000, 128, F32)],
)
def test_tile_matches_float64(rows, columns, inner, dtype, rng):
    dtype = getattr(torch, dtype)
    check_tile(rng.normal(rows, inner, dtype=dtype), rng.normal(inner, columns, dtype=dtype))


@exercise("matmul_tile")
@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_tile_rounds_once(dtype, rng):
    # Where the summands cancel, whatever was rounded on the way is seen.
    a, b = rng.normal(50, 128, dtype=dtype), rng.normal(128, 60, dtype=dtype)
    check_tile(a, b, factor=0.75)


@exercise("matmul_tile")
def test_tile_when_a_product_exceeds_float16(device):
    a = torch.tensor([[300.0, -300.0, 2.0], [400.0, 0.5, -400.0]], device=device).half()
    check_tile(a, torch.full((3, 2), 300.0, dtype=torch.float16, device=device))


@exercise("matmul_tile")
def test_tile_keeps_nan_and_infinity_in_their_rows_and_columns(rng):
    a, b = rng.normal(20, 30).clone(), rng.normal(30, 40).clone()
    a[3, 29], b[0, 7] = nan, inf
    expected = (a.double()[:, :, None] * b.double()).sum(1)
    close(day16.matmul_tile(a, b), expected, dtype=a.dtype, terms=30, scale=1.0)


@exercise("matmul_tile")
def test_tile_reads_any_strides(rng):
    a, b = rng.normal(70, 20), rng.normal(20, 66)
    cases = [(f"{name} a", view, b) for name, view in layouts(a)]
    cases += [(f"{name} b", a, view) for name, view in layouts(b)]
    cases += [("repeated row in a", a[:1].expand(70, 20), b)]
    for name, x, y in cases:
        check_tile(x, y, name=f"matmul_tile with a {name}")


@exercise("matmul_tile")
def test_tile_reads_beyond_int32(rng):
    a, b = rng.normal(3, 4, dtype=torch.float16), rng.normal(4, 5, dtype=torch.float16)
    cases = [(f"{name} a", view, b) for name, view in far_apart(a)]
    cases += [(f"{name} b", a, view) for name, view in far_apart(b)]
    for name, x, y in cases:
        check_tile(x, y, name=f"matmul_tile with a {name}")


@exercise("matmul_tile")
def test_tile_refuses_what_does_not_fit(rng):
    a = rng.normal(4, 6)
    for n in (4, 5, 7, 1):
        refused(day16.matmul_tile, a, rng.normal(n, 3), what=f"6 columns in a and {n} rows in b")
    refused(day16.matmul_tile, rng.normal(3, 129), rng.normal(129, 3), what="K = 129")
    a, b, what = rng.normal(0, 6), rng.normal(5, 3), "6 columns and no rows in a, and 5 rows in b"
    refused(day16.matmul_tile, a, b, what=what)
    a, b = rng.normal(0, 129), rng.normal(129, 3)
    refused(day16.matmul_tile, a, b, what="K = 129 and no rows in a")


@exercise("matmul_tile")
def test_tiles_are_numbered_along_their_rows(device):
    check_order(day16.matmul_tile_kernel, device, TILE=TILE, BLOCK_K=16)


@exercise("matmul_tile")
def test_tile_uses_tensor_cores(rng):
    a, b = rng.normal(64, 128, dtype=torch.float16), rng.normal(64, 128, dtype=torch.float16)
    (report,) = compiled(day16.matmul_tile, a, b.T)
    check_report(report, "wgmma")


# matmul -------------------------------------------------------------------------------------

SIZES = [(0, 3, 20, F32), (3, 0, 20, F32), (3, 4, 0, F16), (1, 1, 1, F32), (5, 2, 8, F16)]
SIZES += [(17, 33, 65, F16), (130, 128, 70, BF16), (3, 5, 1000, BF16)]
SIZES += [(129, 257, 33, F32), (40, 40, 129, F16)]
LARGE = [(4096, 4096, 4096, BF16), (1023, 2049, 1537, F16), (1000, 1000, 1000, F32)]


@exercise("matmul")
@shapes("rows, columns, inner, dtype", *SIZES, gpu=LARGE)
def test_matmul_matches_float64(rows, columns, inner, dtype, rng):
    dtype = getattr(torch, dtype)
    a, b = rng.normal(rows, inner, dtype=dtype), rng.normal(inner, columns, dtype=dtype)
    check(day16.matmul, a, b)


@exercise("matmul")
@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_matmul_rounds_once(dtype, rng):
    a, b = rng.normal(50, 400, dtype=dtype), rng.normal(400, 60, dtype=dtype)
    check(day16.matmul, a, b, factor=0.75)


@exercise("matmul")
def test_matmul_when_a_product_exceeds_float16(device):
    a = torch.tensor([[300.0, -300.0, 2.0], [400.0, 0.5, -400.0]], device=device).half()
    check(day16.matmul, a, torch.full((3, 2), 300.0, dtype=torch.float16, device=device))


@exercise("matmul")
def test_matmul_keeps_nan_and_infinity_in_their_rows_and_columns(rng):
    a, b = rng.normal(20, 70).clone(), rng.normal(70, 40).clone()
    a[3, 69], b[0, 7] = nan, inf
    expected = (a.double()[:, :, None] * b.double()).sum(1)
    close(day16.matmul(a, b), expected, dtype=a.dtype, terms=70, scale=1.0)


@exercise("matmul")
def test_matmul_reads_any_strides(rng):
    a, b = rng.normal(20, 70), rng.normal(70, 33)
    cases = [(f"{name} a", view, b) for name, view in layouts(a)]
    cases += [(f"{name} b", a, view) for name, view in layouts(b)]
    cases += [("repeated column in b", a, b[:, :1].expand(70, 33))]
    for name, x, y in cases:
        check(day16.matmul, x, y, name=f"matmul with a {name}")


@exercise("matmul")
def test_matmul_reads_beyond_int32(rng):
    a, b = rng.normal(3, 4, dtype=torch.float16), rng.normal(4, 5, dtype=torch.float16)
    cases = [(f"{name} a", view, b) for name, view in far_apart(a)]
    cases += [(f"{name} b", a, view) for name, view in far_apart(b)]
    for name, x, y in cases:
        check(day16.matmul, x, y, name=f"matmul with a {name}")


@exercise("matmul")
def test_matmul_refuses_what_does_not_fit(rng):
    a = rng.normal(4, 6)
    for n in (4, 5, 7, 1):
        refused(day16.matmul, a, rng.normal(n, 3), what=f"6 columns in a and {n} rows in b")
    a, b, what = rng.normal(0, 6), rng.normal(5, 3), "6 columns and no rows in a, and 5 rows in b"
    refused(day16.matmul, a, b, what=what)


@exercise("matmul")
def test_matmul_numbers_tiles_along_their_rows(device):
    check_order(day16.matmul_kernel, device, BLOCK_M=32, BLOCK_N=16, BLOCK_K=16)


@exercise("matmul")
@pytest.mark.parametrize("chip, instruction", [("sm_90", "wgmma"), ("sm_80", "mma")])
def test_matmul_uses_tensor_cores(chip, instruction, rng):
    a, b = rng.normal(128, 64, dtype=torch.bfloat16), rng.normal(128, 64, dtype=torch.bfloat16)
    (report,) = compiled(day16.matmul, a, b.T, chip=chip)
    check_report(report, instruction)


# matmul_bias --------------------------------------------------------------------------------


@exercise("matmul_bias")
@shapes("rows, columns, inner, dtype", *SIZES, gpu=LARGE)
def test_bias_matches_float64(rows, columns, inner, dtype, rng):
    dtype = getattr(torch, dtype)
    a, b = rng.normal(rows, inner, dtype=dtype), rng.normal(inner, columns, dtype=dtype)
    check(day16.matmul_bias, a, b, rng.normal(columns, dtype=dtype, std=8))


@exercise("matmul_bias")
@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_bias_is_added_before_rounding(dtype, rng):
    a, b = rng.normal(1, 200, dtype=dtype).expand(20, 200), rng.normal(200, 60, dtype=dtype)
    bias = (-a[0].double() @ b.double()).to(dtype)  # what is left is what the bias lost
    check(day16.matmul_bias, a, b, bias, factor=0.75)
    # Products that exceed float16 and are brought back by the bias.
    a = torch.full((2, 1), 250.0, dtype=dtype, device=a.device)
    check(day16.matmul_bias, a, a.mT + 20, torch.full((2,), -3e4, dtype=dtype, device=a.device))


@exercise("matmul_bias")
def test_bias_keeps_nan_and_infinity_in_their_columns(rng):
    a, b, bias = rng.normal(20, 30), rng.normal(30, 40), rng.normal(40).clone()
    bias[3], bias[39] = nan, -inf
    expected = a.double() @ b.double() + bias.double()
    close(day16.matmul_bias(a, b, bias), expected, dtype=a.dtype, terms=30, scale=1.0)


@exercise("matmul_bias")
def test_bias_reads_any_strides(rng):
    a, b, bias = rng.normal(20, 70), rng.normal(70, 33), rng.normal(33)
    cases = [(f"{name} bias", a, b, view) for name, view in layouts(bias)]
    cases += [("bias of one number", a, b, bias[:1].expand(33))]
    cases += [("transposed a and b", a.T.clone().T, b.T.clone().T, bias)]
    for name, *args in cases:
        check(day16.matmul_bias, *args, name=f"matmul_bias with a {name}")


@exercise("matmul_bias")
def test_bias_reads_beyond_int32(rng):
    a, b, bias = (rng.normal(*s, dtype=torch.float16) for s in ((3, 4), (4, 5), (5,)))
    for name, view in far_apart(bias):
        check(day16.matmul_bias, a, b, view, name=f"matmul_bias with a {name} bias")
    for name, view in far_apart(a):
        check(day16.matmul_bias, view, b, bias, name=f"matmul_bias with a {name} a")
    for name, view in far_apart(b):
        check(day16.matmul_bias, a, view, bias, name=f"matmul_bias with a {name} b")


@exercise("matmul_bias")
def test_bias_refuses_what_does_not_fit(rng):
    a, b = rng.normal(4, 6), rng.normal(6, 3)
    for n in (2, 4, 1):
        refused(day16.matmul_bias, a, b, rng.normal(n), what=f"3 columns and a bias of {n}")
    for n in (4, 5, 7):
        what = f"6 columns in a and {n} rows in b"
        refused(day16.matmul_bias, a, rng.normal(n, 3), rng.normal(3), what=what)
    empty, what = rng.normal(0, 6), "no rows, 3 columns and a bias of 2"
    refused(day16.matmul_bias, empty, b, rng.normal(2), what=what)
    what = "6 columns and no rows in a, and 5 rows in b"
    refused(day16.matmul_bias, empty, rng.normal(5, 3), rng.normal(3), what=what)


@exercise("matmul_bias")
def test_bias_numbers_tiles_along_their_rows(device):
    check_order(day16.matmul_bias_kernel, device, BLOCK_M=32, BLOCK_N=16, BLOCK_K=16)


@exercise("matmul_bias")
def test_bias_uses_tensor_cores(rng):
    a, b = rng.normal(128, 64, dtype=torch.float16), rng.normal(64, 128, dtype=torch.float16)
    (report,) = compiled(day16.matmul_bias, a, b, b[0])
    check_report(report, "wgmma")
