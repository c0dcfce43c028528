import math

import pytest
import torch
import torch.nn.functional as F

from harness.testing import close, compiled, exercise, shapes, watch, why_narrow
from tracks.triton import day08

BLOCK = 2048
DTYPES = [torch.float32, torch.float16, torch.bfloat16]
HALF = [torch.float16, torch.bfloat16]
SIZES = [0, 2047, 4100]
LARGE = [10_000_001]


def sample(rng, n, dtype):
    """Numbers from both tails and the middle; an offset view, so nothing is aligned."""
    return rng.normal(n + 1, dtype=dtype, std=4)[1:]


def extremes(dtype, device):
    """The largest numbers, both zeros, and the places where exp, its square and cubes overflow."""
    largest = torch.finfo(dtype).max
    sizes = [0.0, 1e-7, 5.0, 11.2, 20.5, 44.4, 88.8, 104.0, 7e3, 6e4, 1e13, 1.8e19, 2e38, largest]
    numbers = [sign * size for size in sizes if size <= largest for sign in (1, -1)]
    return torch.tensor(numbers, dtype=dtype, device=device)


def close_to(actual, expected, x, **options):
    """Errors are measured against |x|: the functions of today are x times a factor up to 1."""
    close(actual, expected, dtype=x.dtype, scale=x.double(), tile=BLOCK, **options)


def assert_one_pass(seen, x, out):
    if not x.numel() and not seen.launches:
        return  # nothing was to be done
    assert len(seen.launches) == 1, f"expected 1 kernel launch, saw {len(seen.launches)}"
    programs, wanted = seen.launches[0].programs, math.ceil(x.numel() / BLOCK)
    assert programs == wanted, (
        f"{x.numel()} elements in blocks of {BLOCK} need {wanted} programs, not {programs}"
    )
    room = out.numel() * out.element_size() + 1024
    assert seen.peak_bytes <= room, (
        f"{seen.peak_bytes} bytes were allocated for an output of {room - 1024}: "
        "is an intermediate result stored?"
    )


def check_values(function, oracle, n, dtype, rng):
    x = sample(rng, n, dtype)
    close_to(function(x), oracle(x.double()), x)


def check_float32_inside(function, oracle, dtype, rng):
    x = rng.normal(2000, dtype=dtype, std=2)
    close_to(function(x), oracle(x.double()), x, factor=0.75)  # one rounding, at the store


def check_extremes(function, oracle, dtype, device):
    x = extremes(dtype, device)
    out = function(x)
    bad = x[~out.isfinite()].tolist()
    assert not bad, f"the result is not finite for x = {bad[0]:.4g} in {dtype}"
    close_to(out, oracle(x.double()), x)


def check_one_pass(function, oracle, rng):
    for shape in ((3, 5, 97), (2, 2048)):
        x = rng.normal(*shape)
        out, seen = watch(function, x)
        close(out, oracle(x.double()), dtype=x.dtype, scale=x.double(), name=f"a {shape} result")
        assert_one_pass(seen, x, out)


# gelu ---------------------------------------------------------------------------------------


@exercise("gelu")
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@shapes("n", *SIZES, gpu=LARGE)
def test_gelu_matches_float64(n, dtype, rng):
    check_values(day08.gelu, F.gelu, n, dtype, rng)


@exercise("gelu")
@pytest.mark.parametrize("dtype", HALF, ids=str)
def test_gelu_computes_in_float32(dtype, rng):
    check_float32_inside(day08.gelu, F.gelu, dtype, rng)


@exercise("gelu")
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_gelu_of_extremes(dtype, device):
    check_extremes(day08.gelu, F.gelu, dtype, device)


@exercise("gelu")
def test_gelu_is_one_pass(rng):
    check_one_pass(day08.gelu, F.gelu, rng)


@exercise("gelu")
def test_gelu_loads_are_wide(rng):
    reports = compiled(day08.gelu, rng.normal(2048, dtype=torch.bfloat16))
    assert len(reports) == 1, f"expected 1 kernel, saw {[r.kernel for r in reports]}"
    (report,) = reports
    assert report.refused is None, f"the compiler refuses this kernel: {report.refused.text()}"
    assert report.spill_bytes == 0, f"the kernel spills {report.spill_bytes} bytes a thread"
    assert report.widest_load_bits == report.widest_store_bits == 128, (
        f"loads are {report.widest_load_bits} bits wide and stores {report.widest_store_bits}: "
        f"{why_narrow(report)}"
    )


# silu ---------------------------------------------------------------------------------------


@exercise("silu")
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@shapes("n", *SIZES, gpu=LARGE)
def test_silu_matches_float64(n, dtype, rng):
    check_values(day08.silu, F.silu, n, dtype, rng)


@exercise("silu")
@pytest.mark.parametrize("dtype", HALF, ids=str)
def test_silu_computes_in_float32(dtype, rng):
    check_float32_inside(day08.silu, F.silu, dtype, rng)


@exercise("silu")
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_silu_of_extremes(dtype, device):
    check_extremes(day08.silu, F.silu, dtype, device)


@exercise("silu")
def test_silu_is_one_pass(rng):
    check_one_pass(day08.silu, F.silu, rng)


# gelu_tanh ----------------------------------------------------------------------------------


def gelu_tanh64(x):
    return F.gelu(x, approximate="tanh")


@exercise("gelu_tanh")
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@shapes("n", *SIZES, gpu=LARGE)
def test_gelu_tanh_matches_float64(n, dtype, rng):
    check_values(day08.gelu_tanh, gelu_tanh64, n, dtype, rng)


@exercise("gelu_tanh")
@pytest.mark.parametrize("dtype", HALF, ids=str)
def test_gelu_tanh_computes_in_float32(dtype, rng):
    check_float32_inside(day08.gelu_tanh, gelu_tanh64, dtype, rng)


@exercise("gelu_tanh")
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_gelu_tanh_of_extremes(dtype, device):
    check_extremes(day08.gelu_tanh, gelu_tanh64, dtype, device)


@exercise("gelu_tanh")
def test_gelu_tanh_is_one_pass(rng):
    check_one_pass(day08.gelu_tanh, gelu_tanh64, rng)


# mish ---------------------------------------------------------------------------------------


@exercise("mish")
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@shapes("n", *SIZES, gpu=LARGE)
def test_mish_matches_float64(n, dtype, rng):
    check_values(day08.mish, F.mish, n, dtype, rng)


@exercise("mish")
@pytest.mark.parametrize("dtype", HALF, ids=str)
def test_mish_computes_in_float32(dtype, rng):
    check_float32_inside(day08.mish, F.mish, dtype, rng)


@exercise("mish")
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_mish_of_extremes(dtype, device):
    check_extremes(day08.mish, F.mish, dtype, device)


@exercise("mish")
def test_mish_is_one_pass(rng):
    check_one_pass(day08.mish, F.mish, rng)


# polynomial ---------------------------------------------------------------------------------


def close_polynomial(actual, x, coefficients, **options):
    powers = torch.arange(coefficients.numel(), device=x.device)
    terms = x.double()[..., None] ** powers * coefficients.double()
    close(
        actual,
        terms.sum(-1),
        dtype=x.dtype,
        terms=max(coefficients.numel(), 1),
        scale=terms.abs().amax(-1) if len(coefficients) else 0.0,
        **options,
    )


@exercise("polynomial")
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@shapes("n, count", (0, 3), (1, 1), (2047, 2), (2048, 3), (4100, 8), gpu=[(10_000_001, 5)])
def test_polynomial_matches_float64(n, count, dtype, rng):
    x = rng.uniform(n + 1, low=-2, high=2, dtype=dtype)[1:]
    coefficients = rng.normal(count)
    close_polynomial(day08.polynomial(x, coefficients), x, coefficients, tile=BLOCK)


@exercise("polynomial")
@pytest.mark.parametrize("dtype", HALF, ids=str)
def test_polynomial_computes_in_float32(dtype, rng):
    x = rng.uniform(2000, low=0, high=2, dtype=dtype)
    coefficients = rng.uniform(6, low=0.5, high=1)
    close_polynomial(day08.polynomial(x, coefficients), x, coefficients, factor=0.75)


@exercise("polynomial")
def test_polynomial_of_no_degree(device, rng):
    x = rng.normal(5)
    close(day08.polynomial(x, torch.empty(0, device=device)), x * 0, name="no coefficients")
    constant = rng.normal(1)
    close(day08.polynomial(x, constant), constant.expand(5), name="one coefficient")


@exercise("polynomial")
def test_polynomial_stays_finite(device, rng):
    x = torch.tensor([1e20, -1e20, 3e12], device=device)
    coefficients = torch.tensor([1.0, 0.0, 0.0, 1e-30], device=device)
    close_polynomial(day08.polynomial(x, coefficients), x, coefficients, name="1 + 1e-30 x**3")


@exercise("polynomial")
def test_polynomial_is_one_pass(rng):
    coefficients = rng.normal(4)
    for shape in ((3, 5, 97), (2, 2048)):
        x = rng.normal(*shape)
        out, seen = watch(day08.polynomial, x, coefficients)
        close_polynomial(out, x, coefficients, name=f"a {shape} result")
        assert_one_pass(seen, x, out)
