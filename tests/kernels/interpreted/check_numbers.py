"""The numbers a kernel computes, against torch and numpy, over types and operations."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.kernels import interpreter

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
if INTERPRETED:
    interpreter.install()

from tests.kernels.interpreted import kernels  # noqa: E402  after the interpreter is ready

DEVICE = "cpu" if INTERPRETED else "cuda"
FLOATS = [torch.bfloat16, torch.float16, torch.float32, torch.float64]
INTEGERS = [torch.int8, torch.int16, torch.int32, torch.int64, torch.uint8]
N = 64

some = settings(
    max_examples=6,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def float_bits(dtype: torch.dtype) -> st.SearchStrategy[torch.Tensor]:
    """Any bit pattern: subnormals, infinities, nan, both zeros."""
    width = dtype.itemsize
    return st.binary(min_size=N * width, max_size=N * width).map(
        lambda data: torch.frombuffer(bytearray(data), dtype=dtype)
    )


def moderate(dtype: torch.dtype, seed: int, scale: float = 4.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(N, generator=generator, dtype=torch.float64) * scale).to(dtype)


def run(
    kernel, *inputs: torch.Tensor, out: torch.dtype, size: int = N, **constants
) -> torch.Tensor:
    result = torch.zeros(size, dtype=out, device=DEVICE)
    kernel[(1,)](*[x.to(DEVICE) for x in inputs], result, **constants)
    return result.cpu()


def same(actual: torch.Tensor, expected: torch.Tensor) -> None:
    """Bit for bit, but for which nan it is."""
    torch.testing.assert_close(actual, expected, rtol=0, atol=0, equal_nan=True)


BINARY = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "less": lambda a, b: (a < b).to(a.dtype),
    "equal": lambda a, b: (a == b).to(a.dtype),
    "where": lambda a, b: torch.where(a > b, a, b),
    "maximum": torch.fmax,
    "minimum": torch.fmin,
    "absolute": lambda a, b: a.abs(),
}


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("name", list(BINARY))
def test_binary_operations_are_exact(name: str, dtype: torch.dtype) -> None:
    @some
    @given(float_bits(dtype), float_bits(dtype))
    def check(a: torch.Tensor, b: torch.Tensor) -> None:
        if name in ("maximum", "minimum"):  # a signalling nan is no number to choose by
            a, b = a.where(~a.isnan(), torch.nan), b.where(~b.isnan(), torch.nan)
        actual = run(kernels.binary, a, b, out=dtype, OP=name, N=N)
        expected = BINARY[name](a, b)
        if name in ("maximum", "minimum"):  # which zero is not specified
            actual[actual == 0], expected[expected == 0] = 0.0, 0.0
        same(actual, expected)

    check()


@pytest.mark.parametrize("dtype", INTEGERS, ids=str)
@pytest.mark.parametrize("name", ["add", "sub", "mul", "less", "equal", "where"])
def test_integer_operations_wrap(name: str, dtype: torch.dtype) -> None:
    @some
    @given(float_bits(dtype), float_bits(dtype))
    def check(a: torch.Tensor, b: torch.Tensor) -> None:
        same(run(kernels.binary, a, b, out=dtype, OP=name, N=N), BINARY[name](a, b))

    check()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32], ids=str)
def test_division_is_done_in_float32(dtype: torch.dtype) -> None:
    @some
    @given(st.integers(0, 2**31))
    def check(seed: int) -> None:
        a, b = moderate(dtype, seed), moderate(dtype, seed + 1)
        actual = run(kernels.binary, a, b, out=dtype, OP="divide", N=N)
        expected = (a.float() / b.float()).to(dtype)
        # A GPU's float32 division is good to two units in the last place, and may flush the
        # smallest numbers to zero.
        tolerance = 0.0 if INTERPRETED else max(2.0**-22, torch.finfo(dtype).eps)
        smallest = 0.0 if INTERPRETED else torch.finfo(dtype).tiny
        torch.testing.assert_close(actual, expected, rtol=tolerance, atol=smallest, equal_nan=True)

    check()


@pytest.mark.parametrize("target", FLOATS, ids=str)
@pytest.mark.parametrize("source", FLOATS, ids=str)
def test_casts_between_floats_round_to_nearest_even(
    source: torch.dtype, target: torch.dtype
) -> None:
    @some
    @given(float_bits(source))
    def check(x: torch.Tensor) -> None:
        # Two 16-bit types and float64 meet in float32, in triton as in torch.
        by_float32 = {source, target} & {torch.bfloat16, torch.float16}
        expected = x.float().to(target) if by_float32 else x.to(target)
        same(run(kernels.convert, x, out=target, N=N), expected)

    check()


def test_bfloat16_ties_go_to_even() -> None:
    # 1 + 2^-8 lies half way between 1 and 1 + 2^-7; 1 + 3 · 2^-8 between 1 + 2^-7 and 1 + 2^-6.
    x = torch.zeros(N)
    x[:5] = torch.tensor([1 + 2**-8, 1 + 3 * 2**-8, 1 + 2**-8 + 2**-20, 3.4e38, -(2.0**-140)])
    expected = torch.tensor([1.0, 1 + 2**-6, 1 + 2**-7, float("inf"), 0.0], dtype=torch.float64)
    actual = run(kernels.convert, x, out=torch.bfloat16, N=N)[:5].double()
    assert actual[:4].tolist() == expected[:4].tolist()
    assert abs(actual[4].item()) < 2.0**-133 * 1.01


@pytest.mark.parametrize("target", INTEGERS, ids=str)
@pytest.mark.parametrize("source", [torch.bfloat16, torch.float16, torch.float32], ids=str)
def test_floats_to_integers_truncate(source: torch.dtype, target: torch.dtype) -> None:
    @some
    @given(st.integers(0, 2**31))
    def check(seed: int) -> None:
        x = moderate(source, seed, 20.0).clamp(0 if target == torch.uint8 else -100, 100)
        same(run(kernels.convert, x, out=target, N=N), x.double().to(target))

    check()


@pytest.mark.parametrize("source", INTEGERS, ids=str)
@pytest.mark.parametrize("target", FLOATS, ids=str)
def test_integers_to_floats_round(source: torch.dtype, target: torch.dtype) -> None:
    @some
    @given(float_bits(source))
    def check(x: torch.Tensor) -> None:
        small = x % 1000 if source.itemsize > 1 else x
        same(run(kernels.convert, small, out=target, N=N), small.to(target))

    check()


def test_floats_to_integers_saturate_and_nan_is_zero() -> None:
    special = [3e10, -3e10, float("inf"), -float("inf"), float("nan"), 2.5, -2.5, 0.0] * 8
    actual = run(kernels.convert, torch.tensor(special), out=torch.int32, N=N)[:8]
    assert actual.tolist() == [2**31 - 1, -(2**31), 2**31 - 1, -(2**31), 0, 2, -2, 0]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32], ids=str)
def test_sums(dtype: torch.dtype) -> None:
    @some
    @given(st.integers(0, 2**31))
    def check(seed: int) -> None:
        x = moderate(dtype, seed, 1.0)
        wide, narrow = run(kernels.total, x, out=torch.float32, size=2, N=N)
        exact = x.double().sum()
        scale = x.double().abs().sum()
        assert abs(wide - exact) <= 64 * 2.0**-24 * scale
        # Sums of 16-bit types are rounded at each of the six steps.
        assert abs(narrow - exact) <= 7 * torch.finfo(dtype).eps * scale

    check()


def test_a_bfloat16_sum_stops_growing() -> None:
    """256 + 1 is 256 in bfloat16: what accumulates in bfloat16 stands still, here as on a GPU."""
    ones = torch.ones(N, dtype=torch.bfloat16)
    assert run(kernels.running_total, ones, out=torch.float32, size=1, N=N, TIMES=6).item() == 256.0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.int8])
@pytest.mark.parametrize("precision", ["tf32", "tf32x3", "ieee"])
def test_dot(dtype: torch.dtype, precision: str) -> None:
    @settings(some, max_examples=4)
    @given(st.integers(0, 2**31))
    def check(seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        a = (torch.randn(32, 32, generator=generator) * 4).to(dtype)
        b = (torch.randn(32, 32, generator=generator) * 4).to(dtype)
        out = torch.int32 if dtype == torch.int8 else torch.float32
        actual = run(kernels.dot, a, b, out=out, size=1024, PRECISION=precision).reshape(32, 32)
        exact = a.double() @ b.double()
        scale = a.double().abs() @ b.double().abs()
        error = ((actual.double() - exact).abs() / scale).max().item()
        if dtype == torch.int8:
            assert error == 0
        elif dtype == torch.float32 and precision == "tf32":
            assert 2.0**-16 < error < 2.0**-9, "TF32 keeps 10 bits: worse than float32, not by much"
        else:
            assert error < 2.0**-19

    check()


@pytest.mark.parametrize("precision", ["tf32", "tf32x3", "bf16x3", "bf16x6", "ieee"])
def test_dot_of_what_is_not_finite(precision: str) -> None:
    """The parts that a number is split into are nan beside infinity, and leave no trace."""
    a = torch.eye(32)
    a[0, 0], a[1, 1], a[2, 2] = float("inf"), float("-inf"), float("nan")
    actual = run(kernels.dot, a, torch.ones(32, 32), out=torch.float32, size=1024,
                 PRECISION=precision).reshape(32, 32)  # fmt: skip
    torch.testing.assert_close(actual, a @ torch.ones(32, 32), equal_nan=True)


def test_tf32_cuts_the_low_bits_off() -> None:
    a = torch.eye(32) * (1 + 2.0**-10 + 2.0**-11 + 2.0**-12)
    actual = run(kernels.dot, a, torch.eye(32), out=torch.float32, size=1024, PRECISION="tf32")
    assert actual.reshape(32, 32)[0, 0].item() == 1 + 2.0**-10


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.int32])
def test_atomic_add(dtype: torch.dtype) -> None:
    @some
    @given(st.lists(st.integers(0, 3), min_size=N, max_size=N))
    def check(slots: list[int]) -> None:
        values = torch.arange(N).remainder(3).to(dtype)
        index = torch.tensor(slots, dtype=torch.int32)
        actual = run(kernels.scatter_add, values, index, out=dtype, size=4, N=N)
        expected = torch.zeros(4, dtype=torch.float64).index_add(0, index, values.double())
        assert actual.tolist() == expected.tolist()  # small whole numbers are exact

    check()


UNARY = {
    "exp": torch.exp,
    "log": torch.log,
    "sqrt": torch.sqrt,
    "sin": torch.sin,
    "cos": torch.cos,
    "erf": torch.erf,
    "exp2": torch.exp2,
    "log2": torch.log2,
    "rsqrt": torch.rsqrt,
    "sigmoid": torch.sigmoid,
    "floor": torch.floor,
    "ceil": torch.ceil,
}
LIBDEVICE = {
    "asin": torch.asin,
    "acos": torch.acos,
    "atan": torch.atan,
    "tanh": torch.tanh,
    "sinh": torch.sinh,
    "cosh": torch.cosh,
    "log1p": torch.log1p,
    "expm1": torch.expm1,
    "erfc": torch.erfc,
    "erfinv": torch.erfinv,
    "lgamma": torch.lgamma,
    "trunc": torch.trunc,
    "rint": torch.round,
    "tan": torch.tan,
    "asinh": torch.asinh,
    "atanh": torch.atanh,
    "log10": torch.log10,
    "j0": torch.special.bessel_j0,
    "normcdf": torch.special.ndtr,
    "cyl_bessel_i0": torch.special.i0,
    "cbrt": lambda x: x ** (1 / 3),
}


@pytest.mark.parametrize("name", [*UNARY, *LIBDEVICE])
def test_functions(name: str) -> None:
    @settings(some, max_examples=4)
    @given(st.integers(0, 2**31))
    def check(seed: int) -> None:
        x = torch.rand(N, generator=torch.Generator().manual_seed(seed)) * 0.98 + 0.01
        kernel = kernels.unary if name in UNARY else kernels.library
        function = (UNARY | LIBDEVICE)[name]
        expected = function(x.double())
        actual = run(kernel, x, out=torch.float32, OP=name, N=N).double()
        assert ((actual - expected).abs() <= 2.0**-20 * expected.abs().clamp(min=2.0**-3)).all()

    check()


def test_every_libdevice_function_has_an_equivalent_or_says_so() -> None:
    import triton

    from harness.kernels.interpreter import libdevice as ours

    types = {
        "fp32": "f4",
        "fp64": "f8",
        "int32": "i4",
        "int64": "i8",
        "uint32": "u4",
        "uint64": "u8",
    }
    folder = Path(triton.__file__).parent / "language" / "extra" / "cuda"
    source = (folder / "libdevice.py").read_text(encoding="utf-8")
    entry = r'\(([^()]*(?:\("\w+"\)[^()]*)*)\): \("(__nv_\w+)", core\.dtype\("(\w+)"\)\)'
    missing, found = set(), 0
    for arguments, symbol, result in re.findall(entry, source):
        args = [
            np.array([0.5 if name.startswith("fp") else 3], dtype=types[name])
            for name in re.findall(r'"(\w+)"', arguments)
        ]
        with np.errstate(all="ignore"):
            out = ours.call(symbol, args, np.dtype(types[result]))
        found += 1
        if out is None:
            missing.add(symbol)
        else:
            assert out.dtype == types[result], symbol
    assert found > 300
    assert missing == {
        "__nv_rcp64h",
        "__nv_hiloint2double",
        "__nv_double2loint",
        "__nv_double2hiint",
    }, "these work on the halves of a float64's bits; a kernel that calls them is told so"


def test_scalar_arguments_are_float32_not_python_floats() -> None:
    """float16 times a float argument is float32 in a kernel; times a literal it stays float16."""
    x = torch.full((N,), 2048.0, dtype=torch.float16)
    out = torch.zeros(N, device=DEVICE)
    kernels.scaled[(1,)](x.to(DEVICE), out, 32.0, N=N)
    assert out[0].item() == 65536.0


def test_fma_rounds_once() -> None:
    a = torch.full((N,), 1 + 2.0**-12)
    actual = run(kernels.fused, a, out=torch.float32, N=N)
    exact = (1 + 2.0**-12) ** 2 - (1 + 2.0**-11)
    assert actual[0].item() == np.float32(exact)


# Mistakes that no check can see must give the same wrong number as on a GPU.


def test_wrong_other_wins_the_maximum() -> None:
    x = -torch.ones(5)
    assert run(kernels.row_maximum, x, out=torch.float32, size=1, n=5, N=8).item() == 0.0


@pytest.mark.skipif(not INTERPRETED, reason="undefined on a GPU")
def test_masked_lanes_without_other_are_poison() -> None:
    x = torch.ones(5)
    assert run(kernels.sum_without_other, x, out=torch.float32, size=1, n=5, N=8).isnan().all()
    for dtype in (torch.int32, torch.int64, torch.uint8):
        sums = run(kernels.sum_without_other, x.to(dtype), out=torch.int64, size=1, n=5, N=8)
        assert sums.item() != 5


def test_float16_accumulator_overflows() -> None:
    x = torch.full((N,), 4096.0, dtype=torch.float16)
    assert run(kernels.narrow_sum, x, out=torch.float16, size=1, N=N).item() == float("inf")


def test_uninitialised_accumulator_keeps_what_was_there() -> None:
    x, out = torch.ones(N), torch.full((1,), float("nan"))
    out = out.to(DEVICE)
    kernels.accumulate[(1,)](x.to(DEVICE), out, N=N)
    assert out.isnan().all()


def test_int32_offsets_wrap() -> None:
    x = torch.tensor([2**30] * N, dtype=torch.int32)
    assert run(kernels.quadruple, x, out=torch.int64, N=N)[0].item() == 0
