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

_MIN_DOT = {8: (1, 1, 32)}


def min_dot_size(lhs: Any, rhs: Any) -> tuple[int, int, int]:
    """The smallest M, N, K of a ``tl.dot`` that an NVIDIA GPU's compiler takes."""
    return _MIN_DOT.get(lhs.scalar.primitive_bitwidth, (1, 1, 16))


class MendedBuilder(InterpreterBuilder):
    """Overrides of arithmetic. Memory is ``checks.CheckedBuilder``'s."""

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
        return TensorHandle(cast(src.data, numpy_dtype(dst_type)), dst_type.scalar)

    def create_fp_to_fp(self, src: TensorHandle, dst_type: Any, rounding: Any) -> TensorHandle:
        if tl.float8e4b15 in (src.dtype.scalar, dst_type.scalar):
            return super().create_fp_to_fp(src, dst_type, rounding)
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
        output = op(lhs.data, rhs.data)
        dtype = tl.int1 if output.dtype == np.bool_ else lhs.dtype.scalar
        return TensorHandle(output, dtype)

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
        data = np.fmin(np.fmax(arg.data, lo.data), hi.data)
        if propagate_nans == tl.PropagateNan.ALL:
            data = np.where(np.isnan(arg.data), arg.data, data)
        return TensorHandle(data, hi.dtype.scalar)

    def create_fma(self, x: TensorHandle, y: TensorHandle, z: TensorHandle) -> TensorHandle:
        """Rounded once (for float64, twice: numpy has nothing wider)."""
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

    def create_dot_scaled(self, *args: Any) -> Any:
        raise KernelError(
            "unsupported", "tl.dot_scaled runs on a GPU only: the interpreter has no equivalent."
        )

    # Tensor cores

    def create_dot(
        self, a: TensorHandle, b: TensorHandle, d: TensorHandle, precision: Any, imprecise: Any
    ) -> TensorHandle:
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
        values = data.data if mask is None else data.data[mask.data.astype(bool)]
        inside = values[(values >= 0) & (values < bins)].astype(np.int64)
        return TensorHandle(np.bincount(inside, minlength=bins).astype(np.int32), tl.int32)


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
    """Each operand as a sum of short parts; the products of the smallest parts are left out."""
    lefts, rights = [], []
    for _ in range(parts):
        lefts.append(part(left))
        rights.append(part(right))
        left, right = left - lefts[-1], right - rights[-1]
    total = None
    for order in range(parts - 1, -1, -1):
        for i in range(order + 1):
            product = lefts[i] @ rights[order - i]
            total = product if total is None else total + product
    return np.asarray(total)


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
