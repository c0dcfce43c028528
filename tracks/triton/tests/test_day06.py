import math

import pytest
import torch

from harness.testing import close, exercise, layouts, refused, shapes, watch
from tracks.triton import day06

TILE_ROWS, TILE_COLUMNS = 32, 64
TILE = (TILE_ROWS, TILE_COLUMNS)
DTYPES = [torch.float32, torch.float16, torch.bfloat16, torch.int32, torch.int64]
# nothing, one tile and its neighbours, several tiles with a rest on both axes
SIZES = [(0, 5), (3, 0), (32, 64), (31, 65), (70, 130)]
LARGE = [(4097, 4099), (2_200_000, 3)]


def numbers(rng, *shape, dtype):
    """Whole numbers small enough that sums and products of two are exact in every dtype.

    Those of int64 are too large for an int32, and their products for a float64.
    """
    most = 2**31 if dtype is torch.int64 else 11
    return rng.integers(-most, most + 1, *shape, dtype=dtype)


def check(f, *args, expected, grid, name="result"):
    """Right values in new, contiguous memory, by one launch on this grid and nothing besides."""
    out, seen = watch(f, *args)
    close(out, expected, tile=TILE if expected.dim() == 2 else (1, *TILE), name=name)
    assert out.is_contiguous(), (
        f"{name} has strides {out.stride()} for a shape of {tuple(out.shape)}: "
        "it must be laid out row after row"
    )
    if out.numel():
        inputs = [a.data_ptr() for a in args if isinstance(a, torch.Tensor)]
        assert out.data_ptr() not in inputs, f"{name} is an input's own memory, not a new tensor"
        assert len(seen.launches) == 1, f"{name}: expected 1 launch, saw {len(seen.launches)}"
        launched = tuple(seen.launches[0].grid)
        assert (*launched, 1)[:3] == (*grid, 1)[:3], (
            f"{name}: the grid is {launched}, but the docstring's tiles make it {grid}"
        )
    room = out.numel() * out.element_size() + 1024
    assert seen.peak_bytes <= room, (
        f"{name}: {seen.peak_bytes} bytes were allocated for an output of {room - 1024}"
    )


def tiles(rows, columns):
    return math.ceil(rows / TILE_ROWS), math.ceil(columns / TILE_COLUMNS)


def far_apart(rng, *shape, axis=0):
    """An int8 tensor whose last index of ``axis`` lies more than 2**31 elements from its first.

    The memory between them is never touched, so it costs addresses only.
    """
    strides = [10 ** (len(shape) - 1 - i) for i in range(len(shape))]
    strides[axis] = 2**30 + 5
    reach = sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))
    memory = torch.empty(reach + 1, dtype=torch.int8, device=rng.device)
    return memory.as_strided(shape, strides).copy_(rng.integers(-11, 12, *shape, dtype=torch.int8))


# add_2d -------------------------------------------------------------------------------------


@exercise("add_2d")
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@shapes("rows, columns", *SIZES, gpu=LARGE)
def test_add_matches(rows, columns, dtype, rng):
    x, y = numbers(rng, rows, columns, dtype=dtype), numbers(rng, rows, columns, dtype=dtype)
    check(day06.add_2d, x, y, expected=x + y, grid=tiles(rows, columns))


@exercise("add_2d")
def test_add_any_strides(rng):
    x, y = rng.normal(37, 70), rng.normal(37, 70)
    for name, view in layouts(x):
        check(day06.add_2d, view, y, expected=x + y, grid=(2, 2), name=f"the sum for a {name} x")
    for name, view in layouts(y):
        check(day06.add_2d, x, view, expected=x + y, grid=(2, 2), name=f"the sum for a {name} y")


@exercise("add_2d")
def test_add_of_expanded_views(rng):
    x, y = rng.normal(37, 1).expand(37, 70), rng.normal(70).expand(37, 70)
    check(day06.add_2d, x, y, expected=x + y, grid=(2, 2), name="the sum of two expanded views")


@exercise("add_2d")
@pytest.mark.parametrize("axis", [0, 1])
def test_add_beyond_int32(axis, rng):
    x = far_apart(rng, 3, 3, axis=axis)
    y = x.clone()
    check(day06.add_2d, x, y, expected=y + y, grid=(1, 1), name="the sum for a far-flung x")
    check(day06.add_2d, y, x, expected=y + y, grid=(1, 1), name="the sum for a far-flung y")


# broadcast_add ------------------------------------------------------------------------------


@exercise("broadcast_add")
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@shapes("rows, columns", *SIZES, gpu=LARGE)
def test_broadcast_matches(rows, columns, dtype, rng):
    x = numbers(rng, rows, columns, dtype=dtype)
    row = numbers(rng, columns + 1, dtype=dtype)[:columns]
    check(day06.broadcast_add, x, row, expected=x + row, grid=tiles(rows, columns))


@exercise("broadcast_add")
def test_broadcast_adds_to_rows_of_a_square(rng):
    x, row = rng.normal(65, 65), rng.normal(65)  # a column vector would fit as well
    check(day06.broadcast_add, x, row, expected=x + row, grid=(3, 2))


@exercise("broadcast_add")
def test_broadcast_any_strides(rng):
    x, row = rng.normal(37, 70), rng.normal(70)
    cases = [(f"{name} x", view, row) for name, view in layouts(x)]
    cases += [(f"{name} row", x, view) for name, view in layouts(row)]
    for name, a, b in cases:
        check(day06.broadcast_add, a, b, expected=x + row, grid=(2, 2), name=f"result for a {name}")


@exercise("broadcast_add")
def test_broadcast_beyond_int32(rng):
    name = "result for a far-flung input"
    row = rng.integers(-11, 12, 3, dtype=torch.int8)
    for axis in (0, 1):
        x = far_apart(rng, 3, 3, axis=axis)
        check(day06.broadcast_add, x, row, expected=x + row, grid=(1, 1), name=name)
    x, row = x.clone(), far_apart(rng, 3)
    check(day06.broadcast_add, x, row, expected=x + row, grid=(1, 1), name=name)


# scale_3d -----------------------------------------------------------------------------------


@exercise("scale_3d")
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@shapes(
    "depth, rows, columns",
    *[(0, 3, 4), (2, 3, 0), (5, 2, 3), (2, 70, 130), (3, 64, 128)],
    gpu=[(70_000, 3, 5), (8, 1025, 2049)],
)
def test_scale_matches(depth, rows, columns, dtype, rng):
    x = numbers(rng, depth, rows, columns, dtype=dtype)
    s = numbers(rng, depth + 1, dtype=dtype)[:depth]
    expected = x * s[:, None, None]
    check(day06.scale_3d, x, s, expected=expected, grid=(depth, *tiles(rows, columns)))


@exercise("scale_3d")
def test_scale_any_strides(rng):
    x, s = rng.normal(3, 33, 5), rng.normal(3)
    expected = x * s[:, None, None]
    cases = [(f"{name} x", view, s) for name, view in layouts(x)]
    cases += [(f"{name} s", x, view) for name, view in layouts(s)]
    cases += [("permuted x", x.permute(2, 0, 1).contiguous().permute(1, 2, 0), s)]
    for name, a, b in cases:
        check(day06.scale_3d, a, b, expected=expected, grid=(3, 2, 1), name=f"result for a {name}")


@exercise("scale_3d")
def test_scale_beyond_int32(rng):
    name = "result for a far-flung input"
    s = rng.integers(-11, 12, 3, dtype=torch.int8)
    for axis in (0, 1, 2):
        x = far_apart(rng, 3, 3, 3, axis=axis)
        check(day06.scale_3d, x, s, expected=x * s[:, None, None], grid=(3, 1, 1), name=name)
    x, s = x.clone(), far_apart(rng, 3)
    check(day06.scale_3d, x, s, expected=x * s[:, None, None], grid=(3, 1, 1), name=name)


# outer --------------------------------------------------------------------------------------


@exercise("outer")
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@shapes("rows, columns", *SIZES, gpu=LARGE)
def test_outer_matches(rows, columns, dtype, rng):
    x = numbers(rng, rows + 1, dtype=dtype)[:rows]
    y = numbers(rng, columns + 1, dtype=dtype)[:columns]
    check(day06.outer, x, y, expected=x[:, None] * y, grid=tiles(rows, columns))


@exercise("outer")
def test_outer_any_strides(rng):
    x, y = rng.normal(37), rng.normal(70)
    cases = [(f"{name} x", view, y) for name, view in layouts(x)]
    cases += [(f"{name} y", x, view) for name, view in layouts(y)]
    cases += [("expanded x", x[:1].expand(37), y)]
    for name, a, b in cases:
        expected = a[:, None] * b
        check(day06.outer, a, b, expected=expected, grid=(2, 2), name=f"result for a {name}")


@exercise("outer")
def test_outer_beyond_int32(rng):
    x, y = far_apart(rng, 3), rng.integers(-11, 12, 3, dtype=torch.int8)
    check(day06.outer, x, y, expected=x[:, None] * y, grid=(1, 1), name="result for a far-flung x")
    check(day06.outer, y, x, expected=y[:, None] * x, grid=(1, 1), name="result for a far-flung y")


# crop ---------------------------------------------------------------------------------------


@exercise("crop")
@pytest.mark.parametrize("dtype", [*DTYPES, torch.bool], ids=str)
@shapes(
    "top, left, h, w",
    *[(0, 0, 50, 90), (1, 2, 33, 65), (18, 25, 32, 64), (49, 89, 1, 1), (7, 0, 3, 90)],
)
def test_crop_matches(top, left, h, w, dtype, rng):
    x = rng.boolean(50, 90) if dtype is torch.bool else numbers(rng, 50, 90, dtype=dtype)
    expected = x[top : top + h, left : left + w]
    check(day06.crop, x, top, left, h, w, expected=expected, grid=tiles(h, w))


@exercise("crop")
def test_crop_of_nothing(rng):
    x = rng.normal(6, 8)
    for top, left, h, w in ((0, 0, 0, 5), (2, 3, 4, 0), (6, 8, 0, 0), (6, 0, 0, 8), (0, 8, 6, 0)):
        name = f"the crop of {h} x {w} at ({top}, {left})"
        check(day06.crop, x, top, left, h, w, expected=x[:h, :w], grid=(), name=name)


@exercise("crop")
def test_crop_refuses_windows_beyond_the_matrix(rng):
    x = rng.normal(6, 8)
    too_large = [(0, 0, 7, 8), (0, 0, 6, 9), (3, 0, 4, 1), (0, 5, 1, 4)]
    negative = [(-1, 0, 2, 2), (0, -1, 2, 2), (2, 2, -1, 2), (2, 2, 2, -1)]
    for window in (*too_large, *negative, (7, 0, 0, 1), (0, 9, 1, 0)):
        what = f"(top, left, h, w) = {window} for a 6 x 8 matrix"
        refused(day06.crop, x, *window, what=what)


@exercise("crop")
def test_crop_any_strides(rng):
    x = rng.normal(50, 90)
    expected = x[5:45, 9:80]
    for name, view in layouts(x):
        check(
            day06.crop, view, 5, 9, 40, 71,
            expected=expected, grid=(2, 2), name=f"the crop of a {name} input",
        )  # fmt: skip


@exercise("crop")
@pytest.mark.parametrize("axis", [0, 1])
def test_crop_beyond_int32(axis, rng):
    x = far_apart(rng, 4, 4, axis=axis)
    expected = x[1:, 1:].clone()
    check(day06.crop, x, 1, 1, 3, 3, expected=expected, grid=(1, 1), name="a far-flung crop")
