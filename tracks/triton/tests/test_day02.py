import math

import pytest
import torch

from harness.testing import close, exercise, layouts, refused, shapes, watch
from tracks.triton import day02

BLOCK = 1024
MARGIN = 64  # elements of foreign memory on either side of a view
F32, BF16, I64, U8 = "float32", "bfloat16", "int64", "uint8"
INDEX_DTYPES = [torch.int32, torch.int64]
CASES = [(1, F32), (5, BF16), (1023, I64), (1024, U8), (1025, F32), (2500, BF16)]


def numbers(rng, n, dtype):
    """Whole numbers that the dtype holds; neighbours are hardly ever equal.

    Those of int64 have more digits than an int32 or a float64 holds.
    """
    low, high = (2**40, 2**62) if dtype == I64 else (1, 100)
    return rng.integers(low, high, n, dtype=getattr(torch, dtype))


def inside(x):
    """The same values as a view in the middle of a larger tensor that is full of other ones."""
    memory = torch.full((x.numel() + 2 * MARGIN,), 99, dtype=x.dtype, device=x.device)
    memory[MARGIN:-MARGIN] = x.reshape(-1)
    return memory[MARGIN:-MARGIN].view(x.shape)


def check(expected, f, *args, **options):
    """Right values in memory of their own, by one launch of a program for each 1024 elements."""
    work = options.pop("work", expected.numel())
    out, seen = watch(f, *args)
    close(out, expected, tile=BLOCK, **options)
    assert out.is_contiguous(), f"the result has the strides {out.stride()}: it is a view"
    tensors = [a for a in args if isinstance(a, torch.Tensor) and a.numel()]
    shared = any(
        out.untyped_storage().data_ptr() == a.untyped_storage().data_ptr() for a in tensors
    )
    assert not (out.numel() and shared), "the result lies in an input's memory: it is not a copy"
    if not work and not seen.launches:
        return  # nothing was to be done
    assert len(seen.launches) == 1, f"expected 1 kernel launch, saw {len(seen.launches)}"
    programs = seen.launches[0].programs
    assert programs == math.ceil(work / BLOCK), (
        f"{work} elements in blocks of {BLOCK} need {math.ceil(work / BLOCK)} programs, "
        f"but {programs} were launched"
    )


# copy ---------------------------------------------------------------------------------------


@exercise("copy")
@shapes("n, dtype", *CASES, gpu=[(10_000_001, "float16")])
def test_copy_matches(n, dtype, rng):
    x = numbers(rng, n, dtype)
    check(x, day02.copy, x)


@exercise("copy")
@shapes("n", 1, 1025)
def test_copy_of_a_view_with_an_offset(n, rng):
    x = rng.normal(n)
    check(x, day02.copy, inside(x))


@exercise("copy")
def test_copy_of_nothing_and_of_any_shape(device, rng):
    check(torch.empty(0, device=device), day02.copy, torch.empty(0, device=device))
    x = rng.normal(3, 5, 80)
    check(x, day02.copy, x)


@exercise("copy")
def test_copy_changes_no_number(rng):
    x = rng.normal(7)
    x = torch.cat([x, x.new_tensor([torch.nan, torch.inf, -torch.inf])])
    check(x, day02.copy, x)
    x = numbers(rng, 9, I64)
    check(x, day02.copy, x)


# strided_copy -------------------------------------------------------------------------------


@exercise("strided_copy")
@shapes(
    "n, step, dtype",
    *[(1, 1, F32), (7, 3, BF16), (9, 3, I64), (5, 100, U8)],
    *[(2500, 1, F32), (2048, 2, BF16), (3073, 3, I64), (2051, 2, U8)],
    gpu=[(20_000_003, 7, "float16")],
)
def test_strided_copy_matches(n, step, dtype, rng):
    x = numbers(rng, n, dtype)
    check(x[::step].clone(), day02.strided_copy, x, step)


@exercise("strided_copy")
def test_strided_copy_reads_any_stride(rng):
    x = rng.normal(1100)
    for name, view in layouts(x):
        check(x[::3], day02.strided_copy, view, 3, name=f"strided_copy of a {name}")
    matrix = rng.normal(50, 3)
    check(matrix[::4, 1], day02.strided_copy, matrix[:, 1], 4, name="strided_copy of a column")


@exercise("strided_copy")
def test_strided_copy_of_nothing_and_by_a_step_that_is_none(device, rng):
    x = rng.normal(5)
    check(x[::2], day02.strided_copy, x, 2)
    check(x[:0], day02.strided_copy, torch.empty(0, device=device), 2)
    for step in (0, -1):
        refused(day02.strided_copy, x, step, what=f"step={step}")


# reverse ------------------------------------------------------------------------------------


@exercise("reverse")
@shapes("n, dtype", *CASES, (2048, F32), gpu=[(10_000_001, "float16")])
def test_reverse_matches(n, dtype, rng):
    x = numbers(rng, n, dtype)
    check(x.flip(0), day02.reverse, x)


@exercise("reverse")
@shapes("n", 3, 1025)
def test_reverse_of_a_view_with_an_offset(n, rng):
    x = rng.normal(n)
    check(x.flip(0), day02.reverse, inside(x))


@exercise("reverse")
def test_reverse_twice_is_the_input(device, rng):
    x = rng.normal(1100)
    check(x, day02.reverse, day02.reverse(x))
    check(x[:0], day02.reverse, torch.empty(0, device=device))


# gather -------------------------------------------------------------------------------------


@exercise("gather")
@pytest.mark.parametrize("index_dtype", INDEX_DTYPES, ids=str)
@shapes(
    "length, n, dtype",
    *[(1, 5, F32), (7, 1025, BF16), (3000, 7, I64), (2000, 2048, U8)],
    gpu=[(1_000_003, 10_000_001, "float16")],
)
def test_gather_matches(length, n, dtype, index_dtype, rng):
    x = numbers(rng, length, dtype)
    index = rng.integers(0, length, n, dtype=index_dtype)
    check(x[index.long()], day02.gather, x, index)


@exercise("gather")
def test_gather_of_nothing_and_of_any_shape(device, rng):
    x = rng.normal(50)
    index = rng.integers(0, 50, 3, 5, 80)
    check(x[index], day02.gather, x, index, name="gather by a (3, 5, 80) index")
    nothing = torch.empty(0, dtype=torch.int64, device=device)
    check(x[:0], day02.gather, x, nothing, name="gather by an empty index")


@exercise("gather")
def test_gather_of_views_with_an_offset(rng):
    x = rng.normal(70)
    index = rng.integers(0, 70, 1030, dtype=torch.int32)
    check(x[index.long()], day02.gather, inside(x), inside(index))


@exercise("gather")
def test_gather_of_the_first_and_the_last(rng):
    x = rng.normal(1500)
    index = torch.zeros(1030, dtype=torch.int64, device=x.device)
    index[::2] = 1499
    check(x[index], day02.gather, x, index)


# scatter ------------------------------------------------------------------------------------


def check_scatter(x, index, n, expected):
    check(expected, day02.scatter, x, index, n, work=x.numel())


def scattered(x, index, n):
    out = torch.zeros(n, dtype=x.dtype, device=x.device)
    out[index.long()] = x
    return out


@exercise("scatter")
@pytest.mark.parametrize("index_dtype", INDEX_DTYPES, ids=str)
@shapes(
    "count, n, dtype",
    *[(5, 5, F32), (7, 1030, BF16), (1025, 3000, I64), (2048, 2048, U8)],
    gpu=[(3_000_001, 10_000_001, "float16")],
)
def test_scatter_matches(count, n, dtype, index_dtype, rng):
    x = numbers(rng, count, dtype)
    index = rng.permutation(n)[:count].to(index_dtype)
    check_scatter(x, index, n, scattered(x, index, n))


@exercise("scatter")
@shapes("n", 1, 1025)
def test_scatter_of_nothing_is_zero(n, device):
    x = torch.empty(0, device=device)
    index = torch.empty(0, dtype=torch.int64, device=device)
    check_scatter(x, index, n, torch.zeros(n, device=device))
    check_scatter(x, index, 0, x)


@exercise("scatter")
def test_scatter_of_views_with_an_offset(rng):
    x = rng.normal(1030)
    index = rng.permutation(1100)[:1030].int()
    check_scatter(inside(x), inside(index), 1100, scattered(x, index, 1100))


@exercise("scatter")
def test_scatter_undoes_gather(rng):
    x, index = rng.normal(1300), rng.permutation(1300)
    check_scatter(day02.gather(x, index), index, 1300, x)
