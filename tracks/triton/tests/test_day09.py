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
from tracks.triton import day09

F32, F16, BF16 = "float32", "float16", "bfloat16"
BLOCK = 8192
SIZES = [(0, 5, F32), (3, 0, F32), (1, 1, F32), (700, 3, F16), (64, 64, BF16), (3, 8195, F32)]
SIZES += [(300, 65, F32)]  # several tiles below each other, of several rows each
LARGE = [(8192, 8193, BF16), (70_001, 129, F32)]


def tiles(rows, columns):
    """How many tiles as _tile gives them cover a matrix."""
    width = min(1 << max(columns - 1, 0).bit_length(), BLOCK)
    return math.ceil(rows / (BLOCK // width)) * math.ceil(columns / width)


def check(expected, f, *args, dtype, **options):
    """Right values in new memory, by one launch and without a tensor besides the result."""
    out, seen = watch(f, *args)
    close(out, expected, dtype=dtype, **options)
    assert out.is_contiguous(), f"the result has the strides {out.stride()}: it is to be contiguous"
    if out.numel() or seen.launches:
        assert len(seen.launches) == 1, f"expected 1 kernel launch, saw {len(seen.launches)}"
        flat = f is day09.residual_add_gelu
        programs = math.ceil(out.numel() / BLOCK) if flat else tiles(*(1, 1, *out.shape)[-2:])
        assert seen.launches[0].programs == programs, (
            f"a result of shape {tuple(out.shape)} was covered by {seen.launches[0].programs} "
            f"programs, but {'blocks' if flat else 'tiles as _tile gives them'} of {BLOCK} "
            f"elements make {programs}"
        )
    size = out.numel() * out.element_size()
    assert seen.peak_bytes <= size + 1024, (
        f"the result takes {size} bytes, but {seen.peak_bytes} were allocated: is an input "
        "repeated or copied, or an intermediate result stored?"
    )
    return out


def vector(rng, n, dtype=torch.float32):
    """Begins inside a larger block; n may be 0."""
    return rng.normal(n + 1, dtype=dtype)[1:]


def assert_wide(f, *args):
    reports = compiled(f, *args)
    assert len(reports) == 1, f"expected 1 kernel, saw {[r.kernel for r in reports]}"
    (report,) = reports
    assert report.refused is None, f"the compiler refuses this kernel: {report.refused.text()}"
    assert report.spill_bytes == 0, f"the kernel spills {report.spill_bytes} bytes a thread"
    width = min(report.widest_load_bits, report.widest_store_bits)
    assert width == 128, (
        f"loads are {report.widest_load_bits} bits wide and stores {report.widest_store_bits}: "
        f"{why_narrow(report)}"
    )


# bias_relu ----------------------------------------------------------------------------------


def check_bias_relu(x, b, **options):
    total = x.double() + b.double()
    check(total.relu(), day09.bias_relu, x, b, dtype=x.dtype, scale=x.abs() + b.abs(), **options)


@exercise("bias_relu")
@shapes("rows, columns, dtype", *SIZES, gpu=LARGE)
def test_bias_relu_matches_float64(rows, columns, dtype, rng):
    dtype = getattr(torch, dtype)
    check_bias_relu(rng.normal(rows, columns, dtype=dtype), vector(rng, columns, dtype))


@exercise("bias_relu")
def test_bias_relu_of_a_square(rng):
    check_bias_relu(rng.normal(60, 60), rng.normal(60, std=3))  # a bias by rows fits here as well


@exercise("bias_relu")
def test_bias_relu_of_nan_and_infinities(rng):
    x, b = rng.normal(4, 6).clone(), rng.normal(6).clone()
    x[0, 1], x[1, 2], x[2, 3], b[4], b[5], x[3, 5] = (
        *(torch.nan, torch.inf, -torch.inf),
        *(torch.nan, torch.inf, -torch.inf),
    )
    expected = (x.double() + b.double()).relu()
    close(day09.bias_relu(x, b), expected, dtype=x.dtype, scale=1.0)


@exercise("bias_relu")
def test_bias_relu_loads_and_stores_are_wide(rng):
    assert_wide(day09.bias_relu, rng.normal(4, 1024), rng.normal(1024))


@exercise("bias_relu", gpu=True)
@shapes("rows", gpu=[65_537])
def test_bias_relu_beyond_int32(rows, device, rng):
    x = torch.zeros(rows, 32_768, dtype=torch.float16, device=device)
    x[-1] = rng.normal(32_768)
    b = rng.normal(32_768, dtype=torch.float16)
    close(day09.bias_relu(x, b)[-1], (x[-1].double() + b.double()).relu(), dtype=x.dtype, scale=4.0)


# residual_add_gelu --------------------------------------------------------------------------


def gelu64(s):
    return s * 0.5 * torch.special.erfc(-s * 0.5**0.5)  # exact where 1 + erf would cancel


def check_gelu(x, r, **options):
    s = x.double() + r.double()
    check(gelu64(s), day09.residual_add_gelu, x, r, dtype=x.dtype, scale=s.abs(), **options)


@exercise("residual_add_gelu")
@shapes(
    "shape, dtype",
    *[("0", F32), ("1", F32), ("8192", F16), ("2049", BF16), ("3 x 7 x 500", F32)],
    gpu=[("10000001", F32), ("4096 x 4097", BF16)],
)
def test_gelu_matches_float64(shape, dtype, rng):
    shape, dtype = [int(n) for n in shape.split(" x ")], getattr(torch, dtype)
    n = math.prod(shape)
    check_gelu(*(2 * vector(rng, n, dtype).view(shape) for _ in range(2)))


@exercise("residual_add_gelu")
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_gelu_rounds_once(dtype, rng):
    x = rng.uniform(3000, low=8.0, high=32.0, dtype=dtype)
    r = rng.uniform(3000, low=-32.0, high=-8.0, dtype=dtype)  # most bits of x + r are new ones
    check_gelu(x, r, factor=0.55)
    check_gelu(x, rng.uniform(3000, low=0.0, high=0.5, dtype=dtype), factor=0.55)


@exercise("residual_add_gelu")
def test_gelu_of_large_numbers(device):
    x = torch.tensor([6e4, -6e4, 6e4, 300.0, -300.0], dtype=torch.float16, device=device)
    r = torch.tensor([6e4, -6e4, -5e4, 0.0, 0.0], dtype=torch.float16, device=device)
    check_gelu(x, r)
    check_gelu(x.float() * 1e30, r.float() * 1e30)


# scale_shift --------------------------------------------------------------------------------


def check_scale_shift(x, scale, shift, **options):
    product, shift64 = x.double() * scale.double(), shift.double()
    size = product.abs() + shift64.abs()
    return check(
        product + shift64, day09.scale_shift, x, scale, shift, dtype=x.dtype, scale=size, **options
    )


@exercise("scale_shift")
@shapes("rows, columns, dtype", *SIZES, gpu=LARGE)
def test_scale_shift_matches_float64(rows, columns, dtype, rng):
    dtype = getattr(torch, dtype)
    x = rng.normal(rows, columns, dtype=dtype)
    check_scale_shift(x, vector(rng, columns, dtype), vector(rng, rows, dtype)[:, None])


@exercise("scale_shift")
@pytest.mark.parametrize(
    "scale, shift",
    [((), (1,)), ((37,), (5, 37)), ((5, 1), (1, 37)), ((1, 1), (37,)), ((5, 37), ())],
    ids=str,
)
def test_scale_shift_broadcasts_without_copying(scale, shift, rng):
    name = f"result for a scale of shape {scale} and a shift of shape {shift}"
    check_scale_shift(rng.normal(5, 37), rng.normal(*scale), rng.normal(*shift), name=name)


@exercise("scale_shift")
def test_scale_shift_reads_any_strides(rng):
    x, scale, shift = rng.normal(5, 300), rng.normal(5, 300), rng.normal(300)
    cases = [(f"{name} x", view, scale, shift) for name, view in layouts(x)]
    cases += [(f"{name} scale", x, view, shift) for name, view in layouts(scale)]
    cases += [(f"{name} shift", x, scale, view) for name, view in layouts(shift)]
    for name, *args in cases:
        check_scale_shift(*args, name=f"scale_shift with a {name}")


@exercise("scale_shift")
def test_scale_shift_reads_beyond_int32(rng):
    x, scale, shift = (rng.normal(3, 5, dtype=torch.float16) for _ in range(3))
    cases = [(f"{name} x", view, scale, shift) for name, view in far_apart(x)]
    cases += [(f"{name} scale", x, view, shift) for name, view in far_apart(scale)]
    cases += [(f"{name} shift", x, scale, view) for name, view in far_apart(shift)]
    for name, *args in cases:
        check_scale_shift(*args, name=f"scale_shift with a {name}")


@exercise("scale_shift")
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_scale_shift_rounds_once(dtype, rng):
    x = rng.normal(3, 1000, dtype=dtype, mean=20)
    scale = rng.uniform(1000, low=1.0, high=2.0, dtype=dtype)
    check_scale_shift(x, scale, (-x * scale).roll(1, 0), factor=0.55)


@exercise("scale_shift")
def test_scale_shift_loads_and_stores_are_wide(rng):
    assert_wide(day09.scale_shift, rng.normal(4, 1024), rng.normal(1024), rng.normal(1024))


# addcmul_clamp ------------------------------------------------------------------------------


def check_addcmul(a, b, c, lo, hi, **options):
    product = b.double() * c.double()
    expected = (a.double() + product).clamp(lo, hi)
    size = a.double().abs() + product.abs()
    check(expected, day09.addcmul_clamp, a, b, c, lo, hi, dtype=a.dtype, scale=size, **options)


@exercise("addcmul_clamp")
@shapes("rows, columns, dtype", *SIZES, gpu=LARGE)
def test_addcmul_matches_float64(rows, columns, dtype, rng):
    a, b, c = (rng.normal(rows, columns, dtype=getattr(torch, dtype)) for _ in range(3))
    check_addcmul(a, b, c, -0.75, 1.25)


@exercise("addcmul_clamp")
@pytest.mark.parametrize(
    "a, b, c",
    [
        ((5, 1), (37,), ()),
        ((37,), (5, 1), (1, 37)),
        ((), (5, 37), (1,)),
        ((1, 37), (1, 1), (5, 1)),
        ((37,), (1,), ()),
        ((), (), ()),
        ((), (1,), (1, 1)),
        ((0, 1), (37,), (1, 1)),
    ],
    ids=str,
)
def test_addcmul_broadcasts_all_three(a, b, c, rng):
    name = f"result for the shapes {a}, {b} and {c}"
    check_addcmul(*(vector(rng, math.prod(s)).view(s) for s in (a, b, c)), -1.0, 2.0, name=name)


@exercise("addcmul_clamp")
def test_addcmul_reads_any_strides(rng):
    a, b, c = rng.normal(5, 300), rng.normal(5, 300), rng.normal(300)
    cases = [(f"{name} a", view, b, c) for name, view in layouts(a)]
    cases += [(f"{name} b", a, view, c) for name, view in layouts(b)]
    cases += [(f"{name} c", a, b, view) for name, view in layouts(c)]
    for name, *args in cases:
        check_addcmul(*args, -2.0, 1.0, name=f"addcmul_clamp with a {name}")


@exercise("addcmul_clamp")
def test_addcmul_reads_beyond_int32(rng):
    a, b, c = (rng.normal(3, 5, dtype=torch.float16) for _ in range(3))
    cases = [(f"{name} a", view, b, c) for name, view in far_apart(a)]
    cases += [(f"{name} b", a, view, c) for name, view in far_apart(b)]
    cases += [(f"{name} c", a, b, view) for name, view in far_apart(c)]
    for name, *args in cases:
        check_addcmul(*args, -2.0, 1.0, name=f"addcmul_clamp with a {name}")


@exercise("addcmul_clamp")
@pytest.mark.parametrize(
    "lo, hi", [(-torch.inf, 0.5), (0, torch.inf), (2.0, -1.0), (-torch.inf, torch.inf), (1, 1)]
)
def test_addcmul_bounds(lo, hi, rng):
    a, b, c = rng.normal(3, 40).clone(), rng.normal(40), rng.normal(3, 1)
    a[0, 1], a[1, 2], a[2, 3] = torch.nan, torch.inf, -torch.inf
    expected = (a.double() + b.double() * c.double()).clamp(lo, hi)
    out = day09.addcmul_clamp(a, b, c, lo, hi)
    close(out, expected, dtype=a.dtype, scale=8.0, name=f"result clamped to {lo} .. {hi}")


@exercise("addcmul_clamp")
def test_addcmul_when_the_product_overflows_float16(device):
    a = torch.tensor([-6e4, 6e4, -6e4, 0.0], dtype=torch.float16, device=device)
    b = torch.tensor([300.0, -300.0, 400.0, 4e4], dtype=torch.float16, device=device)
    c = torch.tensor([300.0, 300.0, 400.0, 4e4], dtype=torch.float16, device=device)
    check_addcmul(a, b, c, -5e4, 5e4, factor=0.55)


@exercise("addcmul_clamp")
def test_addcmul_refuses_three_axes(rng):
    x, y = rng.normal(2, 3, 4), rng.normal(4)
    refused(day09.addcmul_clamp, x, y, y, 0.0, 1.0, what="an input of 3 axes")
