import math

import pytest
import torch

from harness.testing import close, exercise, shapes, watch
from tracks.triton import day03

BLOCK = 1024
MARGIN = 64  # elements of foreign memory on either side of a view
FLOATS = ["float32", "float16", "bfloat16"]
F32, F16, BF16, I32, I64, U8 = *FLOATS, "int32", "int64", "uint8"
INF, NAN = math.inf, math.nan


def numbers(rng, n, dtype):
    """Whole numbers that the dtype holds: of both signs, where it has signs.

    Those of int64 have more digits than an int32 or a float64 holds.
    """
    most = 2**61 if dtype == I64 else 100
    return rng.integers(1 if dtype == U8 else -most, most, n, dtype=getattr(torch, dtype))


def fenced(x, fill):
    """Memory full of ``fill``, and in its middle a view that holds the values of x."""
    memory = torch.full((x.numel() + 2 * MARGIN,), fill, dtype=x.dtype, device=x.device)
    view = memory[MARGIN:-MARGIN].view(x.shape)
    view.copy_(x)
    return memory, view


def with_extremes(x):
    """x, with nan and the infinities in some places; several blocks have some."""
    x = x.clone()
    x[1::7], x[2::11], x[3::13] = NAN, INF, -INF
    return x


def assert_one_launch(seen, n):
    if not n and not seen.launches:
        return  # nothing was to be done
    assert len(seen.launches) == 1, f"expected 1 kernel launch, saw {len(seen.launches)}"
    programs = seen.launches[0].programs
    assert programs == math.ceil(n / BLOCK), (
        f"{n} elements in blocks of {BLOCK} need {math.ceil(n / BLOCK)} programs, "
        f"but {programs} were launched"
    )


def check(expected, f, *args, **options):
    out, seen = watch(f, *args)
    close(out, expected, tile=BLOCK, **options)
    assert_one_launch(seen, expected.numel())


# load_or ------------------------------------------------------------------------------------


def padded(x, n, default):
    out = torch.full((n,), default, dtype=x.dtype, device=x.device)
    m = min(n, x.numel())
    out[:m] = x[:m]
    return out


@exercise("load_or")
@shapes(
    "length, n, dtype",
    *[(1, 1, F32), (5, 9, F16), (9, 5, BF16), (1023, 1025, I32), (1024, 1024, F32)],
    *[(1025, 1023, I64), (1000, 3000, F32), (3000, 1000, BF16), (2048, 2049, U8)],
    gpu=[(5_000_001, 10_000_001, F16)],
)
def test_load_or_matches(length, n, dtype, rng):
    x = numbers(rng, length, dtype)
    default = int(rng.integers(1, 100, 1))
    check(padded(x, n, default), day03.load_or, x, n, default)


@exercise("load_or")
def test_load_or_by_any_default(rng):
    x = rng.integers(-2, 3, 1030, dtype=torch.float32)  # elements may be 0, or the default
    for value in (0.0, -INF, INF, NAN, 0.1):
        check(padded(x, 1050, value), day03.load_or, x, 1050, value, name=f"load_or by {value}")


@exercise("load_or")
def test_load_or_reads_no_neighbour(rng):
    x = rng.normal(1000)
    _, view = fenced(x, 77.0)
    check(padded(x, 1020, -1.0), day03.load_or, view, 1020, -1.0, name="load_or of a view")


@exercise("load_or")
def test_load_or_of_nothing_and_to_nothing(device, rng):
    nothing = torch.empty(0, device=device)
    check(padded(nothing, 1030, 2.5), day03.load_or, nothing, 1030, 2.5)
    check(nothing, day03.load_or, rng.normal(7), 0, 2.5)


# clamp --------------------------------------------------------------------------------------


@exercise("clamp")
@shapes(
    "n, dtype",
    *[(1, F32), (5, F16), (1023, BF16), (1024, F32), (1025, F16), (2500, BF16)],
    gpu=[(10_000_001, F16)],
)
def test_clamp_matches(n, dtype, rng):
    x = rng.normal(n, dtype=getattr(torch, dtype), std=3)
    lo, hi = -float(rng.uniform(1, low=0.5, high=2)), float(rng.uniform(1, low=0.5, high=2))
    check(x.double().clamp(lo, hi), day03.clamp, x, lo, hi, dtype=x.dtype)


@exercise("clamp")
@pytest.mark.parametrize("lo, hi", [(-1.0, 1.0), (-INF, 0.5), (0.5, INF), (-INF, INF), (2.0, 2.0)])
def test_clamp_of_nan_and_infinities(lo, hi, rng):
    for dtype in FLOATS:
        x = with_extremes(rng.normal(90, dtype=getattr(torch, dtype), std=3))
        check(x.clamp(lo, hi), day03.clamp, x, lo, hi, name=f"{dtype} clamped to {lo} ... {hi}")


@exercise("clamp")
def test_clamp_to_limits_in_the_wrong_order(rng):
    x = with_extremes(rng.normal(50))
    check(x.clamp(0.5, -0.25), day03.clamp, x, 0.5, -0.25, name="clamp with lo > hi")


@exercise("clamp")
def test_clamp_to_a_range_beside_zero(rng):
    x = rng.normal(1030, mean=5, std=3)
    check(x.clamp(4.0, 6.0), day03.clamp, x, 4.0, 6.0)
    check(-x.clamp(4.0, 6.0), day03.clamp, -x, -6.0, -4.0)


@exercise("clamp")
def test_clamp_of_nothing_and_of_any_shape(device, rng):
    x = rng.normal(3, 5, 80)
    check(x.clamp(-1, 1), day03.clamp, x, -1.0, 1.0)
    nothing = torch.empty(0, device=device)
    check(nothing, day03.clamp, nothing, -1.0, 1.0)


# where --------------------------------------------------------------------------------------


@exercise("where")
@shapes(
    "n, dtype",
    *[(1, F32), (5, F16), (1023, BF16), (1024, I64), (1025, U8), (2500, F32)],
    gpu=[(10_000_001, F16)],
)
def test_where_matches(n, dtype, rng):
    x, y, cond = numbers(rng, n, dtype), numbers(rng, n, dtype), rng.boolean(n)
    check(torch.where(cond, x, y), day03.where, cond, x, y)


@exercise("where")
def test_where_what_is_not_chosen_has_no_effect(rng):
    for dtype in FLOATS:
        x, y = (with_extremes(rng.normal(1030, dtype=getattr(torch, dtype))) for _ in range(2))
        cond = rng.boolean(1030)
        check(torch.where(cond, x, y), day03.where, cond, x, y, name=f"a choice of {dtype}")


@exercise("where")
def test_where_all_from_one_side(rng):
    x, y = rng.normal(1030), rng.normal(1030)
    cond = torch.ones_like(x, dtype=torch.bool)
    check(x, day03.where, cond, x, y, name="where, all True,")
    check(y, day03.where, ~cond, x, y, name="where, all False,")


@exercise("where")
def test_where_of_large_integers(rng):
    x, y = rng.integers(2**40, 2**62, 50), rng.integers(2**40, 2**62, 50)
    cond = rng.boolean(50)
    check(torch.where(cond, x, y), day03.where, cond, x, y)


@exercise("where")
def test_where_of_nothing_and_of_any_shape(device, rng):
    x, y, cond = rng.normal(3, 5, 80), rng.normal(3, 5, 80), rng.boolean(3, 5, 80)
    check(torch.where(cond, x, y), day03.where, cond, x, y)
    nothing = torch.empty(0, device=device)
    check(nothing, day03.where, nothing.bool(), nothing, nothing)


# relu_inplace -------------------------------------------------------------------------------


def check_relu(x, expected):
    """In the middle of foreign memory, full of a negative number that must stay."""
    memory, view = fenced(x, -7)
    result, seen = watch(day03.relu_inplace, view)
    close(view, expected, tile=BLOCK, name="x after relu_inplace")
    assert result is view, "relu_inplace must return the tensor that it was given"
    outside = torch.cat([memory[:MARGIN], memory[-MARGIN:]])
    touched = (outside != -7).sum().item()
    assert touched == 0, (
        f"{touched} elements beside the {x.numel()} of x were changed: these belong to someone else"
    )
    assert_one_launch(seen, x.numel())
    assert seen.peak_bytes == 0, (
        f"{seen.peak_bytes} bytes were allocated, but working in place needs none"
    )


@exercise("relu_inplace", inplace=True)
@shapes(
    "n, dtype",
    *[(5, F16), (1000, BF16), (1023, I32), (1024, F32), (1025, I64), (2500, F16)],
    gpu=[(10_000_001, F16)],
)
def test_relu_matches(n, dtype, rng):
    x = numbers(rng, n, dtype)
    x[0] = -3
    check_relu(x, x.clamp(min=0))


@exercise("relu_inplace", inplace=True)
def test_relu_of_nan_infinities_and_zero(rng):
    for dtype in FLOATS:
        x = with_extremes(rng.normal(1030, dtype=getattr(torch, dtype)))
        x[5::17] = 0.0
        check_relu(x, torch.where(x < 0, 0.0, x))


@exercise("relu_inplace", inplace=True)
def test_relu_of_small_numbers(rng):
    x = rng.normal(50, std=1e-30)
    check_relu(x, x.clamp(min=0))


@exercise("relu_inplace", inplace=True)
def test_relu_of_nothing_and_of_any_shape(rng):
    x = rng.normal(3, 5, 80)
    check_relu(x, x.clamp(min=0))
    check_relu(x[:0], x[:0])


# masked_sum ---------------------------------------------------------------------------------


def check_sum(x, mask, **options):
    out, seen = watch(day03.masked_sum, x, mask)
    kept = torch.where(mask, x.double(), 0.0)
    size = kept.abs().max() if kept.numel() else 0.0
    close(out, kept.sum(), dtype=torch.float32, terms=max(x.numel(), 1), scale=size, **options)
    assert out.shape == (), f"the sum has the shape {tuple(out.shape)}: it is one number"
    if not x.numel() and not seen.launches:
        return  # nothing was to be done
    assert len(seen.launches) == 1, f"expected 1 kernel launch, saw {len(seen.launches)}"
    programs = seen.launches[0].programs
    assert programs == 1, f"masked_sum is the work of one program, but {programs} were launched"


@exercise("masked_sum")
@shapes(
    "n, dtype",
    *[(1, F32), (5, F16), (127, BF16), (1023, F32), (1024, F16), (1025, BF16), (5000, F32)],
    gpu=[(16_384, F16)],
)
def test_sum_matches(n, dtype, rng):
    x = rng.normal(n, dtype=getattr(torch, dtype), mean=1)
    mask = rng.boolean(n, p=0.6)
    check_sum(x, mask)


@exercise("masked_sum")
def test_sum_what_is_masked_has_no_effect(rng):
    mask, values = rng.boolean(500), rng.normal(500)
    for hidden in (NAN, INF, -INF, 3e38):
        x = torch.where(mask, values, hidden)
        check_sum(x, mask, name=f"the sum beside a masked {hidden}")


@exercise("masked_sum")
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_sum_is_added_up_in_float32(dtype, rng):
    x = rng.uniform(3000, low=20, high=40, dtype=getattr(torch, dtype))  # the sum exceeds 65504
    check_sum(x, torch.ones_like(x, dtype=torch.bool))


@exercise("masked_sum")
def test_sum_shows_nan_and_infinities_that_are_kept(rng):
    for value in (NAN, INF, -INF):
        x = rng.normal(100).clone()
        x[17] = value
        out = day03.masked_sum(x, torch.ones_like(x, dtype=torch.bool))
        close(out, x.sum(), name=f"the sum of elements with a {value}")


@exercise("masked_sum")
def test_sum_of_nothing(device, rng):
    x = rng.normal(1000)
    check_sum(x, torch.zeros_like(x, dtype=torch.bool), name="the sum of nothing kept")
    nothing = torch.empty(0, device=device)
    check_sum(nothing, nothing.bool(), name="the sum of no elements")


@exercise("masked_sum")
def test_sum_reads_no_neighbour(rng):
    x = rng.normal(3, 5, 60)
    mask = rng.boolean(3, 5, 60)
    _, x_view = fenced(x, 1e6)
    _, mask_view = fenced(mask, True)
    check_sum(x_view, mask_view, name="the sum of a view with foreign memory behind it")
