import pytest
import torch

from harness.testing import close, compiled, exercise, refused, shapes, watch, why_narrow
from tracks.triton import day11

F32, F16, BF16 = "float32", "float16", "bfloat16"
SIZES = [(0, 5, F32), (1, 1, F16), (70, 3, BF16), (3, 4095, F32), (2, 4096, F16), (3, 9001, BF16)]
LARGE = [(8192, 8192, BF16), (3, 10_000_001, F32)]
DTYPES = [torch.float32, torch.float16, torch.bfloat16]
nan, inf = float("nan"), float("inf")


def only_report(f, *args):
    reports = compiled(f, *args)
    assert len(reports) == 1, f"expected 1 kernel, saw {[r.kernel for r in reports]}"
    return reports[0]


def check_one_launch(seen, size, empty=False):
    if empty and not seen.launches:
        return  # nothing was to be done
    assert len(seen.launches) == 1, f"expected 1 kernel launch, saw {len(seen.launches)}"
    assert seen.peak_bytes <= size + 1024, (
        f"the results take {size} bytes, but {seen.peak_bytes} were allocated: what else is kept?"
    )


def assert_wide(report):
    assert report.refused is None, f"the compiler refuses this kernel: {report.refused.text()}"
    assert report.spill_bytes == 0, f"the kernel spills {report.spill_bytes} bytes a thread"
    assert report.widest_load_bits == 128, (
        f"loads are {report.widest_load_bits} bits wide: {why_narrow(report)}"
    )


# row_mean_var -------------------------------------------------------------------------------


def check_mean_var(x):
    rows, columns = x.shape
    (mean, var), seen = watch(day11.row_mean_var, x)
    expected_mean = x.double().mean(-1)
    expected_var = (x.double() - expected_mean[:, None]).square().mean(-1)
    size = x.double().abs().mean(-1)
    close(
        mean, expected_mean, dtype=torch.float32, terms=columns, scale=size / columns, name="mean"
    )
    # A mean that is off by one rounding moves the variance by its square, and the deviations of
    # x, each rounded, by their product with the deviation.
    step = size * 2**-23
    slack = (step**2 + step * expected_var.sqrt()) / 2**-23
    close(var, expected_var, dtype=torch.float32, scale=slack, terms=4, name="variance")
    check_one_launch(seen, 8 * rows, empty=not rows)


@exercise("row_mean_var")
@shapes("rows, columns, dtype", *SIZES, gpu=LARGE)
def test_mean_var_matches_float64(rows, columns, dtype, rng):
    check_mean_var(rng.normal(rows, columns, dtype=getattr(torch, dtype), mean=0.5))


@exercise("row_mean_var")
@pytest.mark.parametrize("mean", [1e4, -1e5])
@shapes("columns", 300, 9001)
def test_mean_var_when_the_mean_is_large(columns, mean, rng):
    check_mean_var(rng.normal(3, columns, mean=mean))


@exercise("row_mean_var")
def test_mean_var_reads_wide(rng):
    assert_wide(only_report(day11.row_mean_var, rng.normal(2, 8192)))


@exercise("row_mean_var")
def test_mean_var_of_blocks_that_differ(rng):
    x = rng.normal(2, 9000).clone()
    x[0, :4096] += 100.0  # most of the variance lies between the blocks
    x[1, 8192:] -= 1000.0
    check_mean_var(x)


@exercise("row_mean_var")
def test_mean_var_of_equal_elements_and_of_nan(device):
    x = torch.full((4, 5000), 3.0, device=device)
    x[1] = -0.5
    x[2, 4999], x[3, 0] = nan, inf
    _, var = day11.row_mean_var(x)
    # a GPU fuses products and sums: what is left of 0 is far below a float32 rounding of x²
    expected = torch.tensor([0.0, 0.0, nan, nan], device=device)
    close(var, expected, scale=1e-6, name="variance")


@exercise("row_mean_var")
def test_mean_var_refuses_rows_without_elements(device):
    refused(day11.row_mean_var, torch.empty(3, 0, device=device), what="rows of 0 columns")


# column_sum ---------------------------------------------------------------------------------


def check_column_sum(x, **options):
    rows, columns = x.shape
    out, seen = watch(day11.column_sum, x)
    close(out, x.double().sum(0), dtype=x.dtype, terms=max(rows, 1), tile=128, **options)
    assert len(seen.launches) <= 2, f"expected at most 2 launches, saw {len(seen.launches)}"
    room = columns * (out.element_size() + 4 * 1024) + 1024
    assert seen.peak_bytes <= room, (
        f"{seen.peak_bytes} bytes were allocated, but 1024 partial rows and the result take {room}"
    )
    return seen


@exercise("column_sum")
@shapes(
    "rows, columns, dtype",
    *[(0, 5, F32), (3, 0, F32), (1, 1, F16), (1, 300, BF16), (31, 127, F32), (33, 129, F16)],
    *[(64, 128, BF16), (5000, 3, F32)],
    gpu=[(8192, 8192, BF16), (10_000_001, 3, F32), (3, 8_000_001, F32)],
)
def test_column_sum_matches_float64(rows, columns, dtype, rng):
    check_column_sum(rng.normal(rows, columns, dtype=getattr(torch, dtype)), scale=1.0)


@exercise("column_sum")
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_column_sum_adds_in_float32(dtype, rng):
    check_column_sum(rng.uniform(700, 9, low=1.0, high=3.0, dtype=dtype), factor=0.55)
    # 2048 + 1 + 1 in float16, 256 + 1 + 1 in bfloat16: in two tiles of one chunk (of 1024), in one
    # tile, in several chunks.
    x = torch.zeros(32_800, 4, dtype=dtype, device=rng.device)
    x[0] = 2 / torch.finfo(dtype).eps
    for column, rows in enumerate([(32_768, 32_769), (1, 2), (32, 64), (1, 40)]):
        x[list(rows), column] = 1.0
    check_column_sum(x, factor=0.55)


@exercise("column_sum")
def test_column_sum_shares_long_columns(rng):
    x = rng.normal(1000, 256)
    seen = check_column_sum(x, scale=1.0)
    programs = [launch.programs for launch in seen.launches]
    assert programs == [32 * 2, 8], (
        f"launched {programs} programs for 1000 x 256 elements, but 32 chunks and 2 column tiles "
        "make 64 in a first launch, whose partial rows are added by 256 / 32 = 8 in a second one"
    )


@exercise("column_sum")
def test_column_sum_loads_along_rows(rng):
    reports = compiled(day11.column_sum, rng.normal(64, 256))
    refusals = [r.refused.text() for r in reports if r.refused is not None]
    assert not refusals, f"the compiler refuses a kernel: {refusals[0]}"
    spills = {r.kernel: r.spill_bytes for r in reports if r.spill_bytes}
    assert not spills, f"registers spill (bytes a thread): {spills}"
    widest = reports[0].widest_load_bits
    assert widest == 128, (
        f"the first kernel's widest load is {widest} bits: {why_narrow(reports[0])}"
    )


# row_norm -----------------------------------------------------------------------------------


def check_norm(x, p, **options):
    out, seen = watch(day11.row_norm, x, p)
    x64 = x.double()
    powers = x64.abs().amax(-1) if p == inf and x.shape[1] else x64.abs().pow(p).sum(-1)
    expected = powers if p == inf else powers.pow(1 / p)
    if p not in (1, 2, inf):  # powers by logarithms round these, which are larger than 1
        options["scale"] = 8 * expected * (1 + 1 / p)
    close(out, expected, dtype=x.dtype, name=f"{p}-norm", tile=1, **options)
    check_one_launch(seen, out.numel() * out.element_size(), empty=not x.numel())


@exercise("row_norm")
@pytest.mark.parametrize("p", [1, 2.0, inf, 3, 0.5])
@shapes("rows, columns, dtype", (0, 5, F32), (70, 3, BF16), (3, 9001, F16), gpu=LARGE[:1])
def test_norm_matches_float64(rows, columns, dtype, p, rng):
    x = rng.normal(rows, columns, dtype=getattr(torch, dtype))
    # Within float16's range: a sum of square roots is squared in the end.
    check_norm(x / 1000 if p == 0.5 else x, p, terms=max(columns, 1))


@exercise("row_norm")
@pytest.mark.parametrize("p", [1, 2, inf, 3, 0.5])
def test_norm_of_zero_nan_and_infinity(p, rng):
    x = rng.normal(6, 5000).clone()
    x[0] = 0.0
    x[1, 4999], x[2, 3], x[3, 4500] = nan, -inf, inf
    x[4], x[5, :2500] = -0.25, 0.0
    x[1, 4] = inf if p == inf else 1.0
    check_norm(x, p, terms=5000)


@exercise("row_norm")
def test_norm_adds_in_float32(rng):
    x = rng.normal(3, 300, dtype=torch.float16, std=300)  # a square exceeds float16's 65504
    check_norm(x, 2, factor=0.6)
    check_norm(rng.normal(3, 9001, dtype=torch.bfloat16), 1, factor=0.6)
    check_norm(rng.normal(3, 300, dtype=torch.float16), 3, factor=0.6)


@exercise("row_norm")
@pytest.mark.parametrize("p, size", [(1, 1e35), (2, 1e17)])
def test_norm_of_large_numbers_loses_no_digits(p, size, rng):
    # The logarithm of 1e34 is 113: what it loses in its last digit is many digits of the norm.
    check_norm(size * rng.uniform(20, 3, low=1.0, high=2.0), p, factor=1.0)


@exercise("row_norm")
@pytest.mark.parametrize("p", [1, 2, inf, 3])
def test_norm_of_a_heavy_end(p, rng):
    x = rng.normal(2, 4097).clone()  # the last column is alone in its block
    x[0, 0], x[1, -1] = 300.0, -300.0
    check_norm(x, p, terms=4097)


@exercise("row_norm")
def test_norm_reads_wide(rng):
    assert_wide(only_report(day11.row_norm, rng.normal(2, 8192), 2))


@exercise("row_norm")
def test_norm_of_no_columns_and_of_a_p_that_is_none(device, rng):
    check_norm(torch.empty(3, 0, device=device), 2)
    check_norm(torch.empty(3, 0, device=device), inf)
    for p in (0, -1.0, nan):
        refused(day11.row_norm, torch.ones(2, 3, device=device), p, what=f"p={p}")


# normalize_rows -----------------------------------------------------------------------------


@exercise("normalize_rows")
def test_normalize_reads_wide(rng):
    assert_wide(only_report(day11.normalize_rows, rng.normal(2, 8192)))


def check_normalized(x, eps=1e-5, **options):
    out, seen = (
        watch(day11.normalize_rows, x) if eps == 1e-5 else watch(day11.normalize_rows, x, eps)
    )
    x64 = x.double()
    var, mean = torch.var_mean(x64, dim=-1, correction=0, keepdim=True)
    deviation = (var + eps).sqrt()
    # One rounding of the mean, relative to the deviation.
    scale = (x64.abs().amax(-1, keepdim=True) if x.numel() else x64) / deviation
    close(out, (x64 - mean) / deviation, dtype=x.dtype, terms=4, scale=scale, **options)
    assert out.is_contiguous(), f"the result has the strides {out.stride()}"
    check_one_launch(seen, out.numel() * out.element_size(), empty=not x.numel())


@exercise("normalize_rows")
@shapes("rows, columns, dtype", *SIZES[1:], gpu=LARGE)
def test_normalized_matches_float64(rows, columns, dtype, rng):
    check_normalized(rng.normal(rows, columns, dtype=getattr(torch, dtype), mean=2.0, std=3.0))


@exercise("normalize_rows")
@shapes("columns", 300, 9001)
def test_normalized_when_the_mean_is_large(columns, rng):
    check_normalized(rng.normal(3, columns, mean=1e4))


@exercise("normalize_rows")
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_normalized_rounds_once(dtype, rng):
    check_normalized(rng.normal(3, 5000, dtype=dtype, mean=5.0), factor=0.6)


@exercise("normalize_rows")
def test_normalized_rows_of_equal_elements(rng):
    x = rng.normal(3, 5000).clone()
    x[0], x[2] = 0.5, 0.0
    check_normalized(x)
    check_normalized(x[:, :1].clone())


@exercise("normalize_rows")
@pytest.mark.parametrize("eps", [1e-2, 10.0])
def test_normalized_with_another_eps(eps, rng):
    check_normalized(rng.normal(3, 40, std=0.1), eps)


@exercise("normalize_rows")
def test_normalized_of_blocks_that_differ(rng):
    x = rng.normal(2, 9000).clone()
    x[0, :4096] += 100.0
    x[1, 8192:] -= 1000.0
    check_normalized(x)


@exercise("normalize_rows")
def test_normalized_of_no_rows_and_of_nan(device):
    assert day11.normalize_rows(torch.empty(0, 5, device=device)).shape == (0, 5)
    assert day11.normalize_rows(torch.empty(3, 0, device=device)).shape == (3, 0)
    x = torch.ones(2, 5000, device=device)
    x[0, 4999] = nan
    out = day11.normalize_rows(x)
    expected = torch.zeros_like(x)
    expected[0] = nan
    close(out, expected)
