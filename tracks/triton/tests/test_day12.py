import math

import pytest
import torch

from harness.testing import close, compiled, exercise, shapes, watch, why_narrow
from tracks.triton import day12

F32, F16, BF16 = "float32", "float16", "bfloat16"
SIZES = [(0, 5, F32), (1, 1, F16), (70, 3, BF16), (3, 4095, F32), (2, 4097, F16), (2, 9001, BF16)]
LARGE = [(8192, 8192, BF16), (3, 10_000_001, F32)]
DTYPES = [torch.float32, torch.float16, torch.bfloat16]
HALF = [torch.float16, torch.bfloat16]
nan, inf = float("nan"), float("inf")


def check_one_launch(seen, out, programs):
    if not out.numel() and not seen.launches:
        return  # nothing was to be done
    assert len(seen.launches) == 1, f"expected 1 kernel launch, saw {len(seen.launches)}"
    launched = seen.launches[0].programs
    assert launched == programs, f"launched {launched} programs where {programs} are to share x"
    size = out.numel() * out.element_size()
    assert seen.peak_bytes <= size + 1024, (
        f"the result takes {size} bytes, but {seen.peak_bytes} were allocated: is an intermediate "
        "result stored?"
    )


# logsumexp ----------------------------------------------------------------------------------


def check_logsumexp(x, **options):
    out, seen = watch(day12.logsumexp, x)
    expected = torch.logsumexp(x.double(), dim=-1)
    # What float32 may lose in m + log(total): something of the result, and of the logarithm.
    scale = 2 + math.log(max(x.shape[1], 1))
    close(out, expected, dtype=x.dtype, terms=2, scale=scale, tile=1, **options)
    check_one_launch(seen, out, x.shape[0])


@exercise("logsumexp")
@shapes("rows, columns, dtype", *SIZES, gpu=LARGE)
def test_logsumexp_matches_float64(rows, columns, dtype, rng):
    check_logsumexp(rng.normal(rows, columns, dtype=getattr(torch, dtype), std=3))


@exercise("logsumexp")
@pytest.mark.parametrize("offset", [1e4, -1e4])
def test_logsumexp_of_large_logits(offset, rng):
    check_logsumexp(rng.normal(3, 300, mean=offset))
    check_logsumexp(rng.normal(3, 300, mean=10 * offset))  # beyond float16
    check_logsumexp(rng.normal(3, 300, mean=89.0, std=0.1))  # exp barely overflows
    # Blocks that differ: the largest element is in the last block, in the first one, nowhere.
    x = rng.normal(3, 9000).clone()
    x[0, 8192:] += offset
    x[1, :4096] += offset
    check_logsumexp(x)


@exercise("logsumexp")
def test_logsumexp_of_one_that_towers_over_the_rest(rng):
    x = rng.normal(5, 4097).clone()  # a full block and one more column
    for row, column in enumerate([0, 1, 2000, 4095, 4096]):
        x[row, column] = 1e4
    check_logsumexp(x)


@exercise("logsumexp")
def test_logsumexp_computes_in_float32(rng):
    for dtype in HALF:
        name = f"logsumexp of {dtype}"
        check_logsumexp(rng.normal(3, 5000, dtype=dtype, std=2, mean=3), factor=0.6, name=name)
        x = rng.uniform(50, 2, dtype=dtype, low=-0.8, high=-0.6)  # results near 0
        check_logsumexp(x, factor=0.6, name=name)


@exercise("logsumexp")
def test_logsumexp_of_infinities_and_nan(rng):
    x = rng.normal(9, 5000, dtype=torch.float16).clone()
    x[0] = -inf
    x[1, :4999] = -inf
    x[2, 4998] = inf
    x[3, 0], x[3, 4999] = inf, -inf
    x[4, 4096] = nan
    x[5, :4096] = -inf
    x[6] = -inf
    x[6, 7] = nan
    x[7, 3], x[7, 4500] = inf, nan
    check_logsumexp(x, name="logsumexp of rows with -inf, +inf and nan")


@exercise("logsumexp")
def test_logsumexp_of_no_columns(rng):
    check_logsumexp(rng.normal(3, 0), name="logsumexp of rows without elements")


@exercise("logsumexp")
def test_logsumexp_reads_wide(rng):
    reports = compiled(day12.logsumexp, rng.normal(2, 8192))
    assert len(reports) == 1, f"expected 1 kernel, saw {[r.kernel for r in reports]}"
    (report,) = reports
    assert report.refused is None, f"the compiler refuses this kernel: {report.refused.text()}"
    assert report.spill_bytes == 0, f"the kernel spills {report.spill_bytes} bytes a thread"
    assert report.widest_load_bits == 128, (
        f"loads are {report.widest_load_bits} bits wide: {why_narrow(report)}"
    )


# log_softmax --------------------------------------------------------------------------------


def check_log_softmax(x, **options):
    out, seen = watch(day12.log_softmax, x)
    expected = torch.log_softmax(x.double(), dim=-1)
    distance = torch.where(expected.isfinite(), expected.abs(), 0.0)
    close(out, expected, dtype=x.dtype, terms=2, scale=2 + distance, tile=(1, 4096), **options)
    assert out.is_contiguous(), f"the result has the strides {out.stride()}"
    check_one_launch(seen, out, x.shape[0])


@exercise("log_softmax")
@shapes("rows, columns, dtype", *SIZES[1:], gpu=LARGE)
def test_log_softmax_matches_float64(rows, columns, dtype, rng):
    check_log_softmax(rng.normal(rows, columns, dtype=getattr(torch, dtype), std=3))


@exercise("log_softmax")
@pytest.mark.parametrize("offset", [1e4, -1e4])
def test_log_softmax_of_large_logits(offset, rng):
    check_log_softmax(rng.normal(3, 300, mean=offset))
    check_log_softmax(rng.normal(3, 300, mean=10 * offset))  # beyond float16
    x = rng.normal(2, 9000).clone()
    x[0, 8192:] += offset  # softmax of most of the row is 0, its logarithm is not -inf
    x[1, :4096] += offset
    check_log_softmax(x)


@exercise("log_softmax")
def test_log_softmax_reads_wide(rng):
    reports = compiled(day12.log_softmax, rng.normal(2, 8192))
    assert len(reports) == 1, f"expected 1 kernel, saw {[r.kernel for r in reports]}"
    (report,) = reports
    assert report.refused is None, f"the compiler refuses this kernel: {report.refused.text()}"
    assert report.spill_bytes == 0, f"the kernel spills {report.spill_bytes} bytes a thread"
    assert report.widest_load_bits == 128, (
        f"loads are {report.widest_load_bits} bits wide: {why_narrow(report)}"
    )


@exercise("log_softmax")
def test_log_softmax_computes_in_float32(rng):
    for dtype in HALF:
        name = f"log_softmax of {dtype}"
        check_log_softmax(rng.normal(3, 5000, dtype=dtype, std=3), factor=0.6, name=name)
        check_log_softmax(rng.normal(3, 300, dtype=dtype, mean=100.0), factor=0.6, name=name)


@exercise("log_softmax")
def test_log_softmax_of_infinities_and_nan(rng):
    x = rng.normal(7, 5000, dtype=torch.bfloat16).clone()
    x[0, 3], x[0, 4096:] = -inf, -inf
    x[1, :4999] = -inf
    x[2] = -inf
    x[3, 4998] = inf
    x[4, 4096] = nan
    x[5, 3], x[5, 4500] = inf, nan
    check_log_softmax(x, name="log_softmax of rows with -inf, +inf and nan")


@exercise("log_softmax")
def test_log_softmax_of_nothing(rng):
    check_log_softmax(rng.normal(3, 0))
    check_log_softmax(rng.normal(0, 5))
    check_log_softmax(rng.normal(2, 5))


# softplus and bce_with_logits ---------------------------------------------------------------


def log1p_exp64(x):
    """log(1 + exp(-|x|)) in float64, and the size of what float32 may lose in it.

    A rounding of the exponent, which is as large as |x|, is a relative error of the exponential.
    """
    small = torch.log1p(torch.exp(-x.double().abs()))
    return small, small * (1 + x.double().abs().clamp(max=1000.0))


def tails(dtype, device):
    """Both tails, the places where exp or 1 + exp gives up, and the largest numbers."""
    largest = torch.finfo(dtype).max
    sizes = [0.0, 1e-7, 0.01, 1.0, 4.5, 8.0, 9.5, 13.0, 16.0, 17.5, 20.0, 40.0, 70.0, 86.0]
    sizes += [89.0, 1e4, 6e4, 2e38, largest]
    numbers = [sign * size for size in sizes if size <= largest for sign in (1, -1)]
    return torch.tensor(numbers, dtype=dtype, device=device)


def check_softplus(x, **options):
    out, seen = watch(day12.softplus, x)
    small, scale = log1p_exp64(x)
    expected = x.double().clamp(min=0.0) + small
    close(out, expected, dtype=x.dtype, scale=scale, tile=1024, **options)
    check_one_launch(seen, out, math.ceil(x.numel() / 1024))


@exercise("softplus")
def test_softplus_of_both_tails(device):
    for dtype in DTYPES:
        check_softplus(tails(dtype, device), name=f"softplus of small and large {dtype} numbers")


@exercise("softplus")
@shapes(
    "shape, dtype",
    *[("1023", BF16), ("1025", F16), ("3 x 5 x 97", F32)],
    gpu=[("100000007", F32)],
)
def test_softplus_matches_float64(shape, dtype, rng):
    shape = [int(n) for n in shape.split(" x ")]
    n = math.prod(shape)
    x = rng.normal(n + 1, dtype=getattr(torch, dtype), std=12)[1:].view(shape)
    check_softplus(x, factor=4.0 if dtype == F32 else 0.6)


@exercise("softplus")
def test_softplus_of_infinities_nan_and_nothing(device):
    x = torch.tensor([inf, -inf, nan, 0.0], device=device)
    close(day12.softplus(x), torch.tensor([inf, 0.0, nan, math.log(2)], device=device))
    check_softplus(torch.empty(0, 3, device=device))


def check_bce(x, y, **options):
    out, seen = watch(day12.bce_with_logits, x, y)
    small, scale = log1p_exp64(x)
    x64, y64 = x.double(), y.double()
    expected = torch.where(x64 > 0, x64 * (1 - y64), -x64 * y64) + small
    close(out, expected, dtype=x.dtype, scale=scale, tile=1024, **options)
    check_one_launch(seen, out, math.ceil(x.numel() / 1024))


@exercise("bce_with_logits")
def test_bce_of_both_tails(device):
    for dtype in DTYPES:
        x = tails(dtype, device)
        for y in (0.0, 1.0, 0.5, 0.984375, 2.0**-7):
            name = f"the loss of small and large {dtype} logits with the target {y}"
            check_bce(x, torch.full_like(x, y), name=name)


@exercise("bce_with_logits")
@shapes(
    "shape, dtype",
    *[("1023", BF16), ("1025", F16), ("3 x 5 x 97", F32)],
    gpu=[("100000007", F32)],
)
def test_bce_matches_float64(shape, dtype, rng):
    shape = [int(n) for n in shape.split(" x ")]
    n, dtype = math.prod(shape), getattr(torch, dtype)
    x = rng.normal(n + 1, dtype=dtype, std=12)[1:].view(shape)
    y = rng.uniform(n + 3, dtype=dtype)[3:].view(shape)
    check_bce(x, y, factor=4.0 if dtype == torch.float32 else 0.6)


@exercise("bce_with_logits")
def test_bce_of_targets_that_are_nearly_one(rng):
    x = rng.uniform(500, low=-30.0, high=30.0)
    check_bce(x, 1 - 2.0 ** -rng.uniform(500, low=1.0, high=24.0), name="the loss for y near 1")
    check_bce(x, 2.0 ** -rng.uniform(500, low=1.0, high=100.0), name="the loss for y near 0")
    check_bce(rng.normal(0), rng.normal(0))


# compensated_sum ----------------------------------------------------------------------------


def check_sum(x, name="compensated sum"):
    out, seen = watch(day12.compensated_sum, x)
    x64 = x.double().flatten()
    expected = x64.sum()
    # One rounding of the result, and those of the lost parts: float32's eps, twice.
    lost = 8 * 2**-23 * x64.abs().sum()
    close(out, expected, dtype=torch.float32, scale=lost, name=name)
    programs = [launch.programs for launch in seen.launches]
    if not x.numel() and not programs:
        return programs  # nothing was to be done
    assert len(programs) == 2, f"expected 2 kernel launches, saw {len(programs)}"
    most = min(math.ceil(x.numel() / 1024), 256)
    assert programs[0] <= most and programs[1] == 1, (
        f"launched {programs[0]} programs, then {programs[1]}, for {x.numel()} elements: at most "
        f"{most} are to leave pairs, and one is to add these"
    )
    room = 8 * most + 1024
    assert seen.peak_bytes <= room, (
        f"{seen.peak_bytes} bytes were allocated; pairs of {most} programs take {8 * most}"
    )
    assert not seen.synchronisations, f"the host waits for the GPU: {seen.synchronisations}"
    return programs


@exercise("compensated_sum")
@shapes(
    "shape, dtype",
    *[("0", F32), ("1", F16), ("3 x 5", BF16), ("1024", F32), ("2 x 9 x 57", F16)],
    gpu=[("8192 x 8193", BF16), ("100000007", F32)],
)
def test_sum_matches_float64(shape, dtype, rng):
    shape = [int(n) for n in shape.split(" x ")]
    n = math.prod(shape)
    x = rng.normal(n + 1, dtype=getattr(torch, dtype))[1:].view(shape)
    check_sum(x)


@exercise("compensated_sum")
@shapes("n", 4, 1300, 4200)
def test_sum_finds_what_large_numbers_hide(n, rng):
    # 1e8 comes and goes in one lane, between lanes, between blocks and between programs.
    for places in ([0, 1, 2, 3], [0, 1024, 5, 1200], [3, 1027, 2051, 3075], [0, 1, 2, 4100]):
        if max(places) < n:
            x = torch.zeros(n, device=rng.device)
            x[places] = torch.tensor([1.0, 1e8, 1.0, -1e8], device=rng.device)
            check_sum(x, f"sum of 1, 1e8, 1, -1e8 at {places} among {n} elements")
            check_sum(x.flip(0), f"sum of -1e8, 1, 1e8, 1 among {n} elements")


@exercise("compensated_sum")
def test_sum_of_numbers_that_cancel(rng):
    x = rng.uniform(1500, low=1e4, high=3e4)
    x = torch.cat([x, -x, rng.normal(99)])
    check_sum(x[rng.permutation(len(x))], "sum of large numbers that cancel")


@exercise("compensated_sum")
@shapes("blocks", 258, gpu=[3000])
def test_sum_when_programs_take_several_blocks(blocks, rng):
    # 1e8 comes and goes between the first and the second block of one program, in one lane.
    x = torch.zeros(blocks * 1024 + 5, device=rng.device)
    places = [7, 257 * 1024 + 8, 8, 256 * 1024 + 7, 1030, 257 * 1024 + 6]
    x[places] = torch.tensor([1e8, 2.0, 1.0, -1e8, 2e8, -2e8], device=rng.device)
    x[-3:] = rng.normal(3)
    programs = check_sum(x, "sum of a large tensor of which most is 0")
    assert programs[0] > 1, "one program did all the work: many are to share a large x"


@exercise("compensated_sum")
def test_sum_of_infinities_and_nan(rng):
    x = rng.normal(1100)
    for special in ([inf], [-inf], [inf, -inf], [nan], [3e38, 3e38], [-3e38, -3e38]):
        y = torch.cat([x, torch.tensor(special, device=x.device)])
        expected = y.sum()
        close(day12.compensated_sum(y), expected, name=f"sum of 1100 numbers and {special}")


@exercise("compensated_sum")
def test_sum_is_as_the_compiler_likes_it(rng):
    reports = compiled(day12.compensated_sum, rng.normal(2048))
    refused = [report.refused.text() for report in reports if report.refused is not None]
    assert not refused, f"the compiler refuses a kernel: {refused[0]}"
    spills = {r.kernel: r.spill_bytes for r in reports if r.spill_bytes}
    assert not spills, f"registers spill (bytes a thread): {spills}"
    width = reports[0].widest_load_bits
    assert width == 128, f"the first kernel's widest load is {width} bits: {why_narrow(reports[0])}"
