import math

import pytest
import torch

from harness.testing import close, compiled, exercise, shapes, watch, why_narrow
from tracks.triton import day26

F32, F16, BF16 = torch.float32, torch.float16, torch.bfloat16
DTYPES = {"float32": F32, "float16": F16, "bfloat16": BF16}
SIZES = [(1, "float16"), (1023, "bfloat16"), (1025, "float32"), (3000, "float16")]
LARGE = [(10_000_001, "float32"), (2**24, "bfloat16")]
HALVES = pytest.mark.parametrize("dtype", [F16, BF16], ids=str)
FLOOR = 2.0**-122  # what may be lost on the way where numbers are flushed to 0
nan, inf = float("nan"), float("inf")


def check(f, x, expected, ulp, name="result"):
    """x -> expected (float64) within so many ulp, in one launch and without other memory."""
    out, seen = watch(f, x)
    if x.dtype == F32:
        # What close allows for float32 is at least this many ulp; the exact count comes below.
        close(out, expected, dtype=F32, factor=ulp / 2, scale=FLOOR * 2**24 / ulp, name=name)
        wide = expected.where(expected.isfinite(), 0.0)
        step = torch.ldexp(torch.ones_like(wide), torch.frexp(wide.abs()).exponent - 24)
        # The ulp of the binade, or the floor where that is larger (then in units of it).
        step = step.clamp(min=FLOOR / ulp)
        off = ((out.double() - wide) / step).abs().where(expected.isfinite(), 0.0)
        if off.numel():
            worst = int(off.argmax())
            assert off.max() <= ulp, (
                f"{f.__name__}({x.flatten()[worst].item():.9g}) is off by "
                f"{off.max().item():.1f} ulp, and at most {ulp} are allowed"
            )
    else:
        close(out, expected, dtype=x.dtype, factor=0.75, name=name)
    assert len(seen.launches) == 1 or not (x.numel() or seen.launches), (
        f"expected 1 kernel launch, saw {len(seen.launches)}"
    )
    size = out.numel() * out.element_size()
    assert seen.peak_bytes <= size + 1024, (
        f"the result takes {size} bytes, but {seen.peak_bytes} were allocated"
    )


def check_zeros(f, device, sign):
    """f(0.0) and f(-0.0) with their signs; sign 0: either will do."""
    zeros = torch.tensor([0.0, -0.0], device=device)
    out = f(zeros)
    assert (out == 0).all(), f"{f.__name__}([0.0, -0.0]) is {out.tolist()}"
    if sign:
        assert out.signbit().tolist() == [False, True], (
            f"{f.__name__}([0.0, -0.0]) is {out.tolist()}: a zero has lost its sign"
        )


def check_compiled(f, x):
    (report,) = compiled(f, x)
    assert report.refused is None, f"the compiler refuses this kernel: {report.refused.text()}"
    assert report.spill_bytes == 0, f"{report.spill_bytes} bytes a thread do not fit in registers"
    assert report.widest_load_bits == report.widest_store_bits == 128, (
        f"loads are {report.widest_load_bits} bits wide and stores {report.widest_store_bits}: "
        f"{why_narrow(report)}"
    )


def powers(low, high, device, dtype=F32):
    """Numbers with irregular digits from 2**low to 2**high, a few in every binade."""
    exponent = torch.linspace(low, high, 5 * (high - low) + 1, dtype=torch.float64, device=device)
    return torch.exp2(exponent).to(dtype)


def grid(low, high, device):
    return torch.linspace(low, high, 5001, device=device)


# asin ---------------------------------------------------------------------------------------


def check_asin(x, name="result"):
    check(day26.asin, x, torch.asin(x.double()), 6, name)


@exercise("asin", ban=["asin", "arcsin"])
def test_asin_at_the_edges_of_its_domain(device):
    one = torch.tensor(1.0, device=device)
    inner, outer = torch.nextafter(one, 0 * one), torch.nextafter(one, 2 * one)
    x = torch.stack([one, inner, outer, 2 * one, inf * one, nan * one])
    check_asin(torch.cat([x, -x]), "asin around 1 and beyond")
    near = 1 - powers(-23, -1, device)
    check_asin(torch.cat([near, -near]), "asin of numbers near 1")
    check_zeros(day26.asin, device, sign=1)


@exercise("asin", ban=["asin", "arcsin"])
def test_asin_of_small_numbers(device):
    x = powers(-126, 0, device)
    check_asin(torch.cat([x, -x]))
    check_asin(powers(-148, -126, device), "asin of subnormal numbers")


@exercise("asin", ban=["asin", "arcsin"])
@shapes("n, dtype", *SIZES, gpu=LARGE)
def test_asin_matches_float64(n, dtype, rng):
    check_asin(rng.uniform(n, low=-1.0).to(DTYPES[dtype]))


@exercise("asin", ban=["asin", "arcsin"])
def test_asin_everywhere(rng):
    check_asin(grid(-1.0, 1.0, rng.device))
    check_asin(rng.uniform(3, 5, 97, low=-1.1, high=1.1))
    check_asin(rng.uniform(3, 0), "asin of nothing")


@exercise("asin", ban=["asin", "arcsin"])
def test_asin_compiles(rng):
    check_compiled(day26.asin, rng.uniform(4096))


# erf_gelu -----------------------------------------------------------------------------------


def gelu64(x):
    """x times the normal distribution function, whose lower tail float64's erfc knows."""
    x = x.double()
    return torch.where(x == -inf, 0.0, 0.5 * x * torch.erfc(-x / math.sqrt(2)))


def check_gelu(x, name="result"):
    check(day26.erf_gelu, x, gelu64(x), 16, name)


GELU = ["gelu", "erf", "erfc", "special_ndtr"]


@exercise("erf_gelu", ban=GELU)
def test_gelu_at_the_edges(device):
    largest = torch.finfo(F32).max
    check_gelu(torch.tensor([inf, -inf, nan, largest, -largest, 1e30, -1e30], device=device))
    check_gelu(torch.zeros(0, 3, device=device), "gelu of nothing")
    check_zeros(day26.erf_gelu, device, sign=1)


@exercise("erf_gelu", ban=GELU)
def test_gelu_keeps_the_digits_of_its_tail(device):
    check_gelu(grid(-13.5, -2.0, device), "gelu between -13.5 and -2")
    check_gelu(grid(-40.0, -13.5, device), "gelu below -13.5")


@exercise("erf_gelu", ban=GELU)
def test_gelu_of_small_numbers(device):
    x = powers(-126, 3, device)
    check_gelu(torch.cat([x, -x]))
    check_gelu(powers(-148, -126, device), "gelu of subnormal numbers")


@exercise("erf_gelu", ban=GELU)
@shapes("n, dtype", *SIZES, gpu=LARGE)
def test_gelu_matches_float64(n, dtype, rng):
    check_gelu(rng.normal(n, dtype=DTYPES[dtype], std=2.0))


@exercise("erf_gelu", ban=GELU)
@HALVES
def test_gelu_of_16_bits_rounds_once(dtype, rng):
    check_gelu(grid(-5.0 if dtype == F16 else -12.0, 12.0, rng.device).to(dtype))


@exercise("erf_gelu", ban=GELU)
def test_gelu_compiles(rng):
    check_compiled(day26.erf_gelu, rng.normal(4096))


# log1p_exp ----------------------------------------------------------------------------------


def softplus64(x):
    x = x.double()
    return x.clamp(min=0.0) + torch.log1p(torch.exp(-x.abs()))


def check_softplus(x, name="result"):
    check(day26.log1p_exp, x, softplus64(x), 8, name)


SOFTPLUS = ["softplus", "log1p", "logaddexp"]


@exercise("log1p_exp", ban=SOFTPLUS)
def test_softplus_at_the_edges(device):
    largest = torch.finfo(F32).max
    x = [inf, -inf, nan, largest, -largest, 0.0, -0.0, 89.0, 1e4, -1e4, 1e-40, -1e-40]
    check_softplus(torch.tensor(x, device=device))
    check_softplus(torch.zeros(0, 3, device=device), "log1p_exp of nothing")


@exercise("log1p_exp", ban=SOFTPLUS)
def test_softplus_keeps_the_digits_of_its_tail(device):
    check_softplus(grid(-84.0, 0.0, device), "log1p_exp of negative numbers")
    check_softplus(grid(-120.0, -84.0, device), "log1p_exp below -84")


@exercise("log1p_exp", ban=SOFTPLUS)
def test_softplus_of_positive_numbers(device):
    check_softplus(grid(0.0, 120.0, device))


@exercise("log1p_exp", ban=SOFTPLUS)
@shapes("n, dtype", *SIZES, gpu=LARGE)
def test_softplus_matches_float64(n, dtype, rng):
    check_softplus(rng.normal(n, dtype=DTYPES[dtype], std=20.0))


@exercise("log1p_exp", ban=SOFTPLUS)
@HALVES
def test_softplus_of_16_bits_rounds_once(dtype, rng):
    check_softplus(grid(-7.0 if dtype == F16 else -80.0, 90.0, rng.device).to(dtype))


@exercise("log1p_exp", ban=SOFTPLUS)
def test_softplus_compiles(rng):
    check_compiled(day26.log1p_exp, rng.normal(4096))


# rsqrt_safe ---------------------------------------------------------------------------------


def check_rsqrt(x, name="result"):
    wide = x.double()
    check(day26.rsqrt_safe, x, torch.where(wide == 0, 0.0, wide.rsqrt()), 4, name)


@exercise("rsqrt_safe", ban=["rsqrt"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_rsqrt_at_the_edges(dtype, device):
    dtype = DTYPES[dtype]
    info = torch.finfo(dtype)
    step = info.smallest_normal * info.eps  # the smallest number, a subnormal one
    x = [0.0, -0.0, inf, -inf, nan, -1.0, 1.0, 4.0, info.max, -info.max, info.smallest_normal]
    check_rsqrt(torch.tensor([*x, -info.smallest_normal, -step, step, 3 * step], device=device).to(
        dtype
    ))  # fmt: skip


@exercise("rsqrt_safe", ban=["rsqrt"])
def test_rsqrt_of_all_magnitudes(device):
    check_rsqrt(powers(-126, 127, device))
    check_rsqrt(powers(-149, -126, device), "rsqrt_safe of subnormal numbers")
    check_rsqrt(torch.zeros(0, 3, device=device), "rsqrt_safe of nothing")


@exercise("rsqrt_safe", ban=["rsqrt"])
@shapes("n, dtype", *SIZES, gpu=LARGE)
def test_rsqrt_matches_float64(n, dtype, rng):
    check_rsqrt(rng.uniform(n, high=1000.0).to(DTYPES[dtype]))


@exercise("rsqrt_safe", ban=["rsqrt"])
def test_rsqrt_of_degrees(rng):
    check_rsqrt(rng.integers(0, 6, 4, 7, 33).float())


@exercise("rsqrt_safe", ban=["rsqrt"])
def test_rsqrt_compiles(rng):
    check_compiled(day26.rsqrt_safe, rng.uniform(4096))
