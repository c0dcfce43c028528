import math

import pytest
import torch

from harness.testing import close, compiled, exercise, refused, shapes, watch, why_narrow
from tracks.triton import day10

F32, F16, BF16 = "float32", "float16", "bfloat16"
SIZES = [(0, 5, F32), (1, 1, F16), (70, 3, BF16), (3, 4095, F32), (2, 4096, F16), (3, 9001, BF16)]
LARGE = [(8192, 8192, BF16), (3, 10_000_001, F32), (1_000_003, 33, F32)]
DTYPES = [torch.float32, torch.float16, torch.bfloat16]
nan, inf = float("nan"), float("inf")


def only_report(f, *args):
    reports = compiled(f, *args)
    assert len(reports) == 1, f"expected 1 kernel, saw {[r.kernel for r in reports]}"
    return reports[0]


def check_rows(out, seen, rows):
    if not out.numel() and not seen.launches:
        return  # nothing was to be done
    assert len(seen.launches) == 1, f"expected 1 kernel launch, saw {len(seen.launches)}"
    size = out.numel() * out.element_size()
    assert seen.peak_bytes <= size + 1024, (
        f"the result takes {size} bytes, but {seen.peak_bytes} were allocated: what else is kept?"
    )
    programs = seen.launches[0].programs
    assert programs <= rows, f"launched {programs} programs for {rows} rows: one owns a whole row"


# row_sum ------------------------------------------------------------------------------------


@exercise("row_sum")
@shapes("rows, columns, dtype", *SIZES, (3, 0, F32), gpu=LARGE)
def test_row_sum_matches_float64(rows, columns, dtype, rng):
    dtype = getattr(torch, dtype)
    x = rng.normal(rows, columns, dtype=dtype)
    out, seen = watch(day10.row_sum, x)
    close(out, x.double().sum(-1), dtype=dtype, terms=max(columns, 1), scale=1.0, tile=1)
    check_rows(out, seen, rows)


@exercise("row_sum")
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_row_sum_adds_in_float32(dtype, rng):
    x = rng.uniform(3, 9001, low=1.0, high=3.0, dtype=dtype).clone()
    x[2] = 0.0  # then 2048 + 1 + 1 in float16, 256 + 1 + 1 in bfloat16, for one lane
    x[2, 77], x[2, 77 + 4096], x[2, 77 + 8192] = 2 / torch.finfo(dtype).eps, 1.0, 1.0
    close(day10.row_sum(x), x.double().sum(-1), dtype=dtype, factor=0.55)


@exercise("row_sum")
def test_row_sum_of_nan_and_infinities(rng):
    x = rng.normal(4, 4500).clone()
    x[0, 4400], x[1, 7], x[2, 7], x[2, 4400] = nan, -inf, inf, -inf
    close(day10.row_sum(x), x.double().sum(-1), dtype=x.dtype, terms=4500, scale=1.0)


def assert_wide(report):
    assert report.refused is None, f"the compiler refuses this kernel: {report.refused.text()}"
    assert report.spill_bytes == 0, f"the kernel spills {report.spill_bytes} bytes a thread"
    assert report.widest_load_bits == 128, (
        f"loads are {report.widest_load_bits} bits wide: {why_narrow(report)}"
    )


@exercise("row_sum")
def test_row_sum_reads_wide_and_once(rng):
    assert_wide(only_report(day10.row_sum, rng.normal(2, 8192)))


# row_max ------------------------------------------------------------------------------------


@exercise("row_max")
@shapes("rows, columns, dtype", *SIZES, gpu=LARGE)
def test_row_max_matches(rows, columns, dtype, rng):
    x = rng.normal(rows, columns, dtype=getattr(torch, dtype), mean=-10.0)  # zeros would win
    out, seen = watch(day10.row_max, x)
    close(out, x.amax(-1), tile=1)
    check_rows(out, seen, rows)


@exercise("row_max")
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_row_max_keeps_nan(dtype, rng):
    x = rng.normal(6, 8200, dtype=dtype).clone()
    x[0, 0], x[1, 8199], x[2, 4095], x[3, 4096], x[4, 4100] = nan, nan, nan, nan, nan
    x[4, 8] = inf
    x[5, 20], x[5, 20 + 4096] = nan, 50.0  # in one lane
    close(day10.row_max(x), x.amax(-1), name="maximum of rows that hold nan")


@exercise("row_max")
def test_row_max_reads_wide(rng):
    assert_wide(only_report(day10.row_max, rng.normal(2, 8192)))


@exercise("row_max")
def test_row_max_of_infinities(rng):
    x = torch.full((4, 4500), -inf, device=rng.device)
    x[1, 4499], x[2, 3], x[3, 4100] = -3e38, inf, -0.5
    close(day10.row_max(x), x.amax(-1))


@exercise("row_max")
def test_row_max_refuses_rows_without_elements(device):
    refused(day10.row_max, torch.empty(3, 0, device=device), what="rows of 0 columns")


# row_argmax ---------------------------------------------------------------------------------


def check_argmax(x, expected, name="result"):
    out, seen = watch(day10.row_argmax, x)
    close(out, expected, dtype=torch.int64, name=name, tile=1)
    check_rows(out, seen, x.shape[0])


@exercise("row_argmax")
@shapes("rows, columns, dtype", *SIZES, gpu=LARGE)
def test_row_argmax_matches(rows, columns, dtype, rng):
    x = rng.normal(rows, columns, dtype=getattr(torch, dtype), mean=-10.0)
    # 16-bit numbers tie often. Written out: which of them torch.argmax takes is not promised.
    check_argmax(x, (x == x.amax(-1, keepdim=True)).byte().argmax(-1))


def first(wanted):
    """The first True of each row."""
    columns = torch.arange(wanted.shape[1], device=wanted.device)
    return torch.where(wanted, columns, wanted.shape[1]).amin(-1)


@exercise("row_argmax")
@shapes("columns", 1, 300, 4097)
def test_row_argmax_at_either_end(columns, rng):
    x = rng.normal(2, columns).clone()
    x[0, 0], x[1, -1] = 100.0, 100.0
    check_argmax(x, torch.tensor([0, columns - 1], device=x.device))


@exercise("row_argmax")
def test_row_argmax_reads_wide(rng):
    assert_wide(only_report(day10.row_argmax, rng.normal(2, 8192)))


@exercise("row_argmax")
@shapes("columns", 5, 300, 9000)
def test_row_argmax_of_ties_is_the_first(columns, rng):
    x = rng.integers(0, 3, 4, columns).float()
    check_argmax(x, first(x == x.amax(-1, keepdim=True)))


@exercise("row_argmax")
def test_row_argmax_where_the_first_is_in_a_later_lane(device):
    x = torch.zeros(3, 9000, device=device)
    x[0, 4000] = x[0, 4097] = x[0, 8192] = 1.0  # the later ones lie in earlier lanes
    x[1, 8999] = 1.0
    x[2, 4096] = x[2, 8191] = 1.0
    check_argmax(x, torch.tensor([4000, 8999, 4096], device=device))


@exercise("row_argmax")
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_row_argmax_of_nan_and_infinities(dtype, rng):
    x = rng.normal(7, 9000, dtype=dtype).clone()
    x[0, 5000] = x[0, 4100] = x[0, 8196] = nan  # the first and the last lie in one lane
    x[1, 3], x[1, 4], x[1, 5000] = inf, nan, inf
    x[2, 8999] = nan
    x[3, 70] = x[3, 4101] = inf
    x[4] = -inf
    x[5, 0] = x[5, 1] = nan
    x[6] = -inf
    x[6, 4098] = nan
    expected = torch.tensor([4100, 4, 8999, 70, 0, 0, 4098], device=x.device)
    check_argmax(x, expected, "column of the first nan, or of the first largest element,")


@exercise("row_argmax")
def test_row_argmax_of_short_rows_of_minus_infinity(device):
    x = torch.full((2, 5), -inf, device=device)
    x[1, 4] = -3e38
    check_argmax(x, torch.tensor([0, 4], device=device))


@exercise("row_argmax")
def test_row_argmax_refuses_rows_without_elements(device):
    refused(day10.row_argmax, torch.empty(3, 0, device=device), what="rows of 0 columns")


# mean_all -----------------------------------------------------------------------------------


@exercise("mean_all")
@shapes(
    "shape, dtype",
    *[("0", F32), ("1", F16), ("3 x 5", BF16), ("4096", F32), ("2 x 9 x 1001", F16)],
    gpu=[("8192 x 8193", BF16), ("100000007", F32)],
)
def test_mean_all_matches_float64(shape, dtype, rng):
    shape, dtype = [int(n) for n in shape.split(" x ")], getattr(torch, dtype)
    n = math.prod(shape)
    x = rng.normal(n + 1, dtype=dtype)[1:].view(shape)
    out = day10.mean_all(x)
    n = max(n, 1)
    expected = x.double().mean()
    close(out, expected, dtype=dtype, terms=n, scale=1.0 / n)


@exercise("mean_all")
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_mean_all_adds_in_float32(dtype, rng):
    x = rng.uniform(20_000, low=100.0, high=300.0, dtype=dtype)
    close(
        day10.mean_all(x),
        x.double().mean(),
        dtype=dtype,
        factor=0.55,
        scale=x.double().mean() / 2e4,
    )


@exercise("mean_all")
def test_mean_all_shares_the_work_in_two_launches(rng):
    n = 12 * 4096
    x = rng.normal(n)
    out, seen = watch(day10.mean_all, x)
    close(out, x.double().mean(), dtype=x.dtype, terms=n, scale=1 / n)
    programs = [launch.programs for launch in seen.launches]
    assert len(programs) == 2, f"expected 2 kernel launches, saw {len(programs)}"
    assert programs == [12, 1], (
        f"launched {programs[0]} programs, then {programs[1]}, for 12 blocks of 4096 elements: one "
        "for each block is to make a partial sum, and then one is to add these"
    )
    assert seen.peak_bytes <= 8192, f"{seen.peak_bytes} bytes were allocated for the partial sums"
    assert not seen.synchronisations, f"the host waits for the GPU: {seen.synchronisations}"


@exercise("mean_all")
@shapes("blocks", 260)
def test_mean_all_when_programs_take_several_blocks(blocks, device):
    n = blocks * 4096 + 5
    x = torch.zeros(n, dtype=torch.float16, device=device)
    x[:9], x[5_000_000 % n], x[-3:] = 1000.0, 7000.0, 20_000.0
    out, seen = watch(day10.mean_all, x)
    close(out, x.double().mean(), dtype=x.dtype, name="mean of a large tensor of which most is 0")
    programs = seen.launches[0].programs if seen.launches else 0
    assert 0 < programs <= 256, f"launched {programs} programs first: 1 to 256 are allowed"


@exercise("mean_all")
def test_mean_all_of_nan(rng):
    x = rng.normal(5000).clone()
    x[4999] = nan
    close(day10.mean_all(x), x.double().mean(), dtype=x.dtype)


# any_nan ------------------------------------------------------------------------------------


def check_any_nan(x, expected, name):
    out, seen = watch(day10.any_nan, x)
    close(out, torch.tensor(expected, device=x.device), name=name)
    if x.numel() or seen.launches:
        assert len(seen.launches) == 1, f"expected 1 kernel launch, saw {len(seen.launches)}"
        programs, blocks = seen.launches[0].programs, math.ceil(x.numel() / 4096)
        assert programs == blocks, (
            f"launched {programs} programs for {blocks} blocks of 4096 elements"
        )
    assert seen.peak_bytes <= 1024, f"{seen.peak_bytes} bytes were allocated for one flag"
    assert not seen.synchronisations, f"the host waits for the GPU: {seen.synchronisations}"


@exercise("any_nan")
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@shapes("n", 1, 4097, 8192, gpu=[100_000_007])
def test_any_nan_finds_one(n, dtype, rng):
    x = rng.normal(n, dtype=dtype)
    check_any_nan(x, False, f"any_nan of {n} numbers")
    for place in {0, n // 2, n - 1}:
        y = x.clone()
        y[place] = nan
        check_any_nan(y, True, f"any_nan of {n} elements with nan at {place}")


@exercise("any_nan")
def test_any_nan_leaves_the_flag_alone_without_a_nan(device, rng):
    x, no_flag = rng.normal(8200), torch.empty(0, dtype=torch.int32, device=device)
    flag = torch.zeros(1, dtype=torch.int32, device=device)
    day10.any_nan_kernel[(3,)](torch.full_like(x, nan), flag, 8200, BLOCK=4096)
    assert flag.item(), "three programs found nothing but nan, and the flag is still 0"
    try:
        day10.any_nan_kernel[(3,)](x, no_flag, 8200, BLOCK=4096)
    except Exception as error:
        raise AssertionError(
            f"x holds no nan, and yet a program touched the flag. {error}"
        ) from error


@exercise("any_nan")
def test_any_nan_of_infinities(rng):
    x = rng.normal(3, 1500).clone()
    x[0, 0], x[0, 1], x[1, 700], x[2, 1499] = inf, -inf, -inf, inf
    x[1, :600] = 3e38  # the sum overflows
    check_any_nan(x, False, "any_nan of numbers and infinities")
    x[2, 5] = nan
    check_any_nan(x, True, "any_nan of infinities and one nan")


@exercise("any_nan")
def test_any_nan_of_many_and_of_none(device):
    check_any_nan(torch.full((9000,), nan, device=device), True, "any_nan of nothing but nan")
    check_any_nan(torch.empty(0, device=device), False, "any_nan of no elements")
