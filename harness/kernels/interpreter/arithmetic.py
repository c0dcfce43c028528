"""Triton's interpreter with the numbers a GPU would give.

What upstream's numpy expressions get wrong is overridden here: bfloat16 and float8, TF32, nan in
minimum and maximum, fused multiply-add, conversions of floats to integers, comparisons' type.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import triton.language as tl
from triton._C.libtriton import ir
from triton.runtime import interpreter as upstream
from triton.runtime.interpreter import InterpreterBuilder, InterpreterOptions, TensorHandle

from harness.kernels.interpreter import libdevice
from harness.kernels.interpreter.errors import KernelError
from harness.kernels.interpreter.memory import RegionPointer
from harness.kernels.interpreter.numbers import (
    BFLOAT16,
    Array,
    cast,
    numpy_dtype,
    tf32,
    tf32_nearest,
    toward_zero,
)
from harness.kernels.interpreter.state import Launch

_MIN_DOT = {8: (1, 1, 32)}


def min_dot_size(lhs: Any, rhs: Any) -> tuple[int, int, int]:
    """The smallest M, N, K of a ``tl.dot`` that an NVIDIA GPU's compiler takes."""
    return _MIN_DOT.get(lhs.scalar.primitive_bitwidth, (1, 1, 16))


class MendedBuilder(InterpreterBuilder):
    """Overrides of arithmetic. Memory is ``checks.CheckedBuilder``'s."""

    launch: Launch

    def mend(self) -> None:
        """Options of this interpreter: assertions fire, TF32 is the default, as on a GPU."""
        from triton.backends.nvidia.compiler import CUDAOptions

        self.options: Any = replace(
            InterpreterOptions(),
            debug=True,
            sanitize_overflow=False,
            allowed_dot_input_precisions=CUDAOptions.allowed_dot_input_precisions,
        )
        self.codegen_fns["min_dot_size"] = min_dot_size

    # Constants

    def get_bf16(self, value: float) -> TensorHandle:
        return TensorHandle(np.array([value], dtype=np.float32).astype(BFLOAT16), tl.bfloat16)

    def get_all_ones_value(self, type: Any) -> TensorHandle:
        dtype = numpy_dtype(type)
        if dtype == np.bool_:
            return TensorHandle(np.ones(1, dtype=bool), type.scalar)
        return TensorHandle(np.array([-1], dtype=np.int64).astype(dtype), type.scalar)

    # Casts

    def cast_impl(self, src: TensorHandle, dst_type: Any) -> TensorHandle:
        _need_cast(src.dtype.scalar, dst_type.scalar)
        return TensorHandle(cast(src.data, numpy_dtype(dst_type)), dst_type.scalar)

    def create_fp_to_fp(self, src: TensorHandle, dst_type: Any, rounding: Any) -> TensorHandle:
        if tl.float8e4b15 in (src.dtype.scalar, dst_type.scalar):
            return super().create_fp_to_fp(src, dst_type, rounding)
        _need_cast(src.dtype.scalar, dst_type.scalar)
        target = numpy_dtype(dst_type)
        if rounding == ir.ROUNDING_MODE.RTZ:
            return TensorHandle(toward_zero(src.data, target), dst_type.scalar)
        return TensorHandle(cast(src.data, target), dst_type.scalar)

    def create_bitcast(self, src: TensorHandle, dst_type: Any) -> TensorHandle:
        scalar = dst_type.scalar
        region = getattr(src.dtype, "region", None)
        if region is not None and isinstance(scalar, tl.pointer_type):
            scalar = RegionPointer(scalar, region)
        return TensorHandle(src.data.view(numpy_dtype(dst_type)), scalar)

    create_int_to_ptr = create_bitcast
    create_ptr_to_int = create_bitcast

    # Comparisons give booleans

    def binary_op(self, lhs: TensorHandle, rhs: TensorHandle, op: Any) -> TensorHandle:
        left = lhs.data
        if left.dtype.itemsize == 1:
            _need_arithmetic(lhs)
            if left.dtype == np.bool_:
                op = _ONE_BIT.get(op, op)
        output = op(left, rhs.data)
        dtype = tl.int1 if output.dtype == np.bool_ else lhs.dtype.scalar
        return TensorHandle(output, dtype)

    # Whole numbers

    def create_idiv(self, lhs: TensorHandle, rhs: TensorHandle) -> TensorHandle:
        return TensorHandle(_divide(lhs.data, rhs.data)[0], lhs.dtype.scalar)

    def create_srem(self, lhs: TensorHandle, rhs: TensorHandle) -> TensorHandle:
        return TensorHandle(_divide(lhs.data, rhs.data)[1], lhs.dtype.scalar)

    create_urem = create_srem

    def create_ashr(self, lhs: TensorHandle, rhs: TensorHandle) -> TensorHandle:
        signed = [
            data if data.dtype.kind == "b" else data.view(np.dtype(f"i{data.dtype.itemsize}"))
            for data in (lhs.data, rhs.data)
        ]
        out = np.right_shift(*signed).astype(signed[0].dtype).view(lhs.data.dtype)
        return TensorHandle(out, lhs.dtype.scalar)

    def create_umulhi(self, lhs: TensorHandle, rhs: TensorHandle) -> TensorHandle:
        """The bits of both count as unsigned, whatever their types."""
        dtype = lhs.data.dtype
        bits = np.dtype(f"u{dtype.itemsize}")
        out = libdevice.high(lhs.data.view(bits), rhs.data.view(bits), 8 * dtype.itemsize)
        return TensorHandle(out.view(dtype), lhs.dtype.scalar)

    def create_gather(self, src: TensorHandle, indices: TensorHandle, axis: int) -> TensorHandle:
        index = indices.data.astype(np.int64)
        wrong = (index < 0) | (index >= src.data.shape[axis])
        if wrong.any():
            raise KernelError(
                "out of bounds",
                f"tl.gather is given index {int(index[wrong][0])} for an axis of "
                f"{src.data.shape[axis]} elements ({_lanes(wrong)}): on a GPU it reads anything.",
                operation="tl.gather",
            )
        self.launch.through_shared_memory()
        return TensorHandle(np.take_along_axis(src.data, index, axis=axis), src.dtype.scalar)

    def create_print(self, prefix: str, hex: bool, values: list[Any], signed: Any) -> None:
        if hex:
            values = [_hexadecimal(value) for value in values]
        super().create_print(prefix, False, values, signed)

    def create_select(
        self, cond: TensorHandle, lhs: TensorHandle, rhs: TensorHandle
    ) -> TensorHandle:
        dtype = rhs.dtype.scalar
        if getattr(lhs.dtype, "region", None) is not getattr(dtype, "region", None):
            dtype = tl.pointer_type(dtype.element_ty)  # looked up by address, lane by lane
        left = lhs.data.astype(rhs.data.dtype, copy=False)
        return TensorHandle(np.where(cond.data, left, rhs.data), dtype)

    # nan: minnum and maxnum prefer the number, clamp gives the lower bound

    def create_minnumf(self, lhs: TensorHandle, rhs: TensorHandle) -> TensorHandle:
        return self.binary_op(lhs, rhs, np.fmin)

    def create_maxnumf(self, lhs: TensorHandle, rhs: TensorHandle) -> TensorHandle:
        return self.binary_op(lhs, rhs, np.fmax)

    def create_clampf(
        self, arg: TensorHandle, lo: TensorHandle, hi: TensorHandle, propagate_nans: Any
    ) -> TensorHandle:
        _need_arithmetic(arg)
        data = np.fmin(np.fmax(arg.data, lo.data), hi.data)
        if propagate_nans == tl.PropagateNan.ALL:
            data = np.where(np.isnan(arg.data), arg.data, data)
        return TensorHandle(data, hi.dtype.scalar)

    def create_fma(self, x: TensorHandle, y: TensorHandle, z: TensorHandle) -> TensorHandle:
        """Rounded once (for float64, twice: numpy has nothing wider)."""
        _need_arithmetic(x)
        wide = np.float64
        data = x.data.astype(wide) * y.data.astype(wide) + z.data.astype(wide)
        return TensorHandle(data.astype(z.data.dtype), z.dtype.scalar)

    # Functions

    def unary_op(self, arg: TensorHandle, op: Callable[[Array], Array]) -> TensorHandle:
        return TensorHandle(op(arg.data).astype(arg.data.dtype, copy=False), arg.dtype.scalar)

    def create_rsqrt(self, arg: TensorHandle) -> TensorHandle:
        return self.unary_op(arg, lambda data: 1 / np.sqrt(data))

    def create_erf(self, arg: TensorHandle) -> TensorHandle:
        return self.unary_op(arg, libdevice.erf)

    def create_fabs(self, arg: TensorHandle) -> TensorHandle:
        return self.unary_op(arg, np.abs)

    def create_extern_elementwise(
        self, library: str, path: str, symbol: str, args: list[Any], type: Any, is_pure: bool
    ) -> TensorHandle:
        target = numpy_dtype(type)
        out = libdevice.call(symbol, [arg.data for arg in args], target)
        if out is None:
            raise KernelError(
                "unsupported",
                f"the interpreter has no equivalent of libdevice's `{symbol}`: this kernel "
                "needs a GPU.",
            )
        return TensorHandle(out, type.scalar)

    def create_inline_asm(self, *args: Any) -> Any:
        raise KernelError(
            "unsupported",
            "inline PTX runs on a GPU only: the interpreter cannot execute machine instructions.",
        )

    # Tensor cores

    def create_dot(
        self, a: TensorHandle, b: TensorHandle, d: TensorHandle, precision: Any, imprecise: Any
    ) -> TensorHandle:
        self.launch.through_shared_memory()
        accumulate = d.data.dtype
        left, right = a.data, b.data
        if accumulate.kind == "i":
            # Exact in float64 as long as the sums stay below 2**53: |int8| · |int8| · K.
            out = (left.astype(np.float64) @ right.astype(np.float64)).astype(np.int64)
            return TensorHandle((out + d.data).astype(accumulate), d.dtype.scalar)
        if tl.float8e4b15 in (a.dtype.scalar, b.dtype.scalar):
            return super().create_dot(a, b, d, precision, imprecise)
        wide = np.float64 if left.dtype == np.float64 else np.float32
        if left.dtype == np.float32:
            out = _dot_float32(left, right, precision)
        else:
            out = left.astype(wide) @ right.astype(wide)
        return TensorHandle((out + d.data).astype(accumulate, copy=False), d.dtype.scalar)

    def create_dot_scaled(
        self,
        lhs: TensorHandle,
        lhs_scale: TensorHandle | None,
        lhs_format: Any,
        rhs: TensorHandle,
        rhs_scale: TensorHandle | None,
        rhs_format: Any,
        fast_math: Any,
        lhs_k_pack: Any,
        rhs_k_pack: Any,
        acc: TensorHandle,
    ) -> TensorHandle:
        """Both operands times their scales, then the product: exact but for its sums."""
        self.launch.through_shared_memory()
        left = _unpacked(lhs.data, str(lhs_format), -1 if lhs_k_pack else -2)
        right = _unpacked(rhs.data, str(rhs_format), -2 if rhs_k_pack else -1)
        left = left * _scales(lhs_scale, left.shape[-1])
        right = right * np.swapaxes(_scales(rhs_scale, right.shape[-2]), -1, -2)
        out = (left @ right).astype(np.float32) + acc.data
        return TensorHandle(out, acc.dtype.scalar)

    def create_barrier(self) -> None:
        self.launch.barrier()

    # Assertions

    def create_assert(self, condition: TensorHandle, message: str) -> None:
        ok = np.asarray(condition.data).astype(bool)
        if ok.all():
            return
        lanes = _lanes(~ok)
        where = f" in {lanes}" if ok.size > 1 else ""
        said = f': "{message}"' if message else ""
        raise KernelError(
            "assertion failed",
            f"the assertion does not hold{where}{said}.",
            operation="tl.device_assert",
        )

    def create_assume(self, condition: TensorHandle) -> None:
        if not np.all(condition.data):
            raise KernelError(
                "assertion failed",
                "tl.assume was told something that is not true: the compiler would build on it "
                "and the result would be garbage.",
                operation="tl.assume",
            )

    def create_histogram(
        self, data: TensorHandle, bins: int, mask: TensorHandle | None
    ) -> TensorHandle:
        if data.data.dtype.itemsize != 4:
            raise KernelError(
                "refused by the compiler",
                f"tl.histogram takes blocks of int32, not of {data.dtype.scalar}: the compiler's "
                "later passes fail on it. Convert with `.to(tl.int32)` first.",
                operation="tl.histogram",
            )
        self.launch.through_shared_memory()
        values = data.data if mask is None else data.data[mask.data.astype(bool)]
        inside = values[(values >= 0) & (values < bins)].astype(np.int64)
        return TensorHandle(np.bincount(inside, minlength=bins).astype(np.int32), tl.int32)


def _divide(left: Array, right: Array) -> tuple[Array, Array]:
    """Quotient, rounded towards zero, and remainder; all bits one where the divisor is zero, which
    PTX leaves undefined and the instruction sequence gives."""
    if left.dtype == np.bool_:
        return left | ~right, ~right
    zero = right == 0
    divisor = np.where(zero, right.dtype.type(1), right)
    rest = np.fmod(left, divisor)
    quotient = (left - rest) // divisor
    ones = (~left.dtype.type(0)).astype(left.dtype)
    return np.where(zero, ones, quotient), np.where(zero, ones, rest)


def _hexadecimal(value: TensorHandle) -> TensorHandle:
    """The bits of the elements, as printf shows them with %x."""
    width = max(value.data.dtype.itemsize, 1)
    bits = np.ascontiguousarray(value.data).view(np.dtype(f"u{width}"))
    text = [f"0x{int(number):0{2 * width}x}" for number in bits.reshape(-1)]
    shown = np.empty(bits.size, dtype=object)
    shown[:] = [_Bare(each) for each in text]
    return _Shown(shown.reshape(bits.shape))


class _Bare(str):
    def __repr__(self) -> str:
        return str(self)


class _Shown:
    """What create_print reads of a value."""

    def __init__(self, data: Array) -> None:
        self.data = data


_ONE_BIT: dict[Any, Any] = {
    np.add: np.bitwise_xor,
    np.subtract: np.bitwise_xor,
    np.multiply: np.bitwise_and,
    np.left_shift: lambda left, right: left & ~right,
    np.right_shift: lambda left, right: left & ~right,
}


def _need_arithmetic(handle: TensorHandle) -> None:
    if handle.data.dtype.itemsize == 1 and handle.data.dtype.kind in "fV":
        raise KernelError(
            "refused by the compiler",
            f"there is no arithmetic on {handle.dtype.scalar}: the compiler's later passes fail "
            "on it. Convert with `.to(tl.float32)` first, and back for the store.",
        )


def _need_cast(source: Any, target: Any) -> None:
    """Between float8 and float64, and between two kinds of float8, the compiler has none."""
    if not (source.is_fp8() or target.is_fp8()) or source == target:
        return
    if (source.is_fp8() and target.is_fp8()) or tl.float64 in (source, target):
        raise KernelError(
            "refused by the compiler",
            f"there is no conversion from {source} to {target}: the compiler's later passes fail "
            "on it. Go through float32.",
        )


_E2M1 = np.array([0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0])


def _unpacked(data: Array, form: str, axis: int) -> Array:
    """As float64. Two e2m1 numbers are in one byte, the low bits first
    (https://www.opencompute.org/documents/ocp-microscaling-formats-mx-v1-0-spec-final-pdf)."""
    if not form.lower().endswith("e2m1"):
        return data.astype(np.float64)
    both = np.stack([data & 15, data >> 4], axis=-1)
    values = np.where(both & 8, -_E2M1[both & 7], _E2M1[both & 7])
    values = np.moveaxis(values, -1, len(data.shape) + axis + 1)
    shape = list(data.shape)
    shape[axis] *= 2
    return values.reshape(shape)


def _scales(scale: TensorHandle | None, size: int) -> Array:
    """One power of two (e8m0: the exponent's bits) for each group of elements along K."""
    if scale is None:
        return np.ones((1, size))
    data = scale.data
    if data.dtype == np.uint8:
        factors = np.where(data == 255, np.nan, np.exp2(data.astype(np.float64) - 127))
    else:
        factors = data.astype(np.float64)
    return np.repeat(factors, size // data.shape[-1], axis=-1)


def _dot_float32(left: Array, right: Array, precision: Any) -> Array:
    kind = precision.name if hasattr(precision, "name") else str(precision)
    if kind.endswith("IEEE"):
        return np.asarray(left @ right)
    if kind.endswith("TF32x3"):
        return _split_dot(left, right, tf32_nearest, 2)
    if kind.endswith("BF16x3"):
        return _split_dot(left, right, _bf16_part, 2)
    if kind.endswith("BF16x6"):
        return _split_dot(left, right, _bf16_part, 3)
    return np.asarray(tf32(left) @ tf32(right))


def _bf16_part(data: Array) -> Array:
    return data.astype(BFLOAT16).astype(np.float32)


def _split_dot(left: Array, right: Array, part: Callable[[Array], Array], parts: int) -> Array:
    """Each operand as a sum of short parts; the products of the smallest parts are left out.

    What is not finite has parts of nan. The compiler (its pass F32DotTC) makes 0 of each nan before
    it adds the product of the largest parts, which then says alone what is inf or nan.
    """
    lefts, rights = [], []
    for _ in range(parts):
        lefts.append(part(left))
        rights.append(part(right))
        left, right = left - lefts[-1], right - rights[-1]
    total = np.zeros((*left.shape[:-1], right.shape[-1]), left.dtype)
    for order in range(parts - 1, 0, -1):
        for i in range(order + 1):
            total = total + lefts[i] @ rights[order - i]
    return np.asarray(np.where(np.isnan(total), 0, total) + lefts[0] @ rights[0])


def _lanes(bad: Array) -> str:
    places = np.argwhere(bad)
    first = ", ".join(
        str(int(p[0])) if len(p) == 1 else str(tuple(int(i) for i in p)) for p in places[:3]
    )
    more = f", … ({len(places):,} in all)" if len(places) > 3 else ""
    return f"lane{'' if len(places) == 1 else 's'} {first}{more}"


def patch_numbers() -> None:
    """The interpreter's own helper functions, by the names its code calls them."""
    upstream._get_np_dtype = numpy_dtype
