"""Numpy's types for triton's, bfloat16 and float8 among them, and casts that round as on a GPU."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import triton.language as tl

Array = np.ndarray[Any, np.dtype[Any]]

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)

_DTYPES: dict[tl.dtype, np.dtype[Any]] = {
    tl.int1: np.dtype(bool),
    tl.float16: np.dtype(np.float16),
    tl.bfloat16: BFLOAT16,
    tl.float32: np.dtype(np.float32),
    tl.float64: np.dtype(np.float64),
    tl.int8: np.dtype(np.int8),
    tl.uint8: np.dtype(np.uint8),
    tl.int16: np.dtype(np.int16),
    tl.uint16: np.dtype(np.uint16),
    tl.int32: np.dtype(np.int32),
    tl.uint32: np.dtype(np.uint32),
    tl.int64: np.dtype(np.int64),
    tl.uint64: np.dtype(np.uint64),
    tl.float8e5: np.dtype(ml_dtypes.float8_e5m2),
    tl.float8e4nv: np.dtype(ml_dtypes.float8_e4m3fn),
    tl.float8e5b16: np.dtype(ml_dtypes.float8_e5m2fnuz),
    tl.float8e4b8: np.dtype(ml_dtypes.float8_e4m3fnuz),
    tl.float8e4b15: np.dtype(np.uint8),
}
_POINTER = np.dtype(np.uint64)
_BY_NAME = {dtype.name: np_dtype for dtype, np_dtype in _DTYPES.items()}


def numpy_dtype(tt_dtype: Any) -> np.dtype[Any]:
    """The numpy dtype that holds one element of a triton type."""
    dtype = tt_dtype.element_ty if isinstance(tt_dtype, tl.block_type) else tt_dtype
    if isinstance(dtype, tl.pointer_type):
        return _POINTER
    return _BY_NAME[dtype.name]


def cast(data: Array, target: np.dtype[Any]) -> Array:
    """``data`` as ``target``: floats round to nearest even, integers saturate or wrap as in PTX."""
    source = data.dtype
    if source == target:
        return data
    if _is_float(source) and target.kind in "iu":
        return _float_to_int(data, target)
    if _is_float8(target):
        return _to_float8(data, target)
    return data.astype(target)


def poison(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """What stands where nothing was loaded: nan, and for integers a large negative number, which
    is no index and no length; all bits one for bool."""
    if _is_float(dtype):
        return np.full(shape, np.nan, dtype=dtype)
    if dtype == np.bool_:
        return np.ones(shape, dtype=bool)
    one = np.full(dtype.itemsize, 0xA5, dtype=np.uint8).view(dtype)[0]
    return np.full(shape, one, dtype=dtype)


def _is_float(dtype: np.dtype[Any]) -> bool:
    return dtype.kind == "f" or dtype.kind == "V"


def _is_float8(dtype: np.dtype[Any]) -> bool:
    return dtype.kind in "fV" and dtype.itemsize == 1


def _float_to_int(data: Array, target: np.dtype[Any]) -> Array:
    """cvt.rzi: truncates, saturates, nan is 0. 8-bit results are the low bits of 16-bit ones."""
    width = {1: 2}.get(target.itemsize, target.itemsize)
    wide = np.dtype(f"{target.kind}{width}")
    limits = np.iinfo(wide)
    exact = data.astype(np.float64)
    low = np.nan_to_num(np.trunc(exact), nan=0.0, posinf=np.inf, neginf=-np.inf)
    # The largest float64 below 2**63 or 2**64 converts; anything above is the largest integer.
    too_big = low >= float(limits.max)
    too_small = low <= float(limits.min)
    out = np.where(too_big | too_small, 0.0, low).astype(wide)
    out[too_big] = limits.max
    out[too_small] = limits.min
    return out.astype(target)


def _to_float8(data: Array, target: np.dtype[Any]) -> Array:
    """cvt.rn.satfinite: what is too large becomes the largest number; nan stays nan."""
    largest = float(ml_dtypes.finfo(target).max)
    wide = data.astype(np.float32)
    return np.where(np.isnan(wide), wide, np.clip(wide, -largest, largest)).astype(target)


def toward_zero(data: Array, target: np.dtype[Any]) -> Array:
    """``data`` as a narrower float, rounded towards zero."""
    nearest = data.astype(target)
    back = nearest.astype(np.float64)
    too_far = np.abs(back) > np.abs(data.astype(np.float64))
    bits = nearest.view(np.dtype(f"u{target.itemsize}"))
    return np.where(too_far, bits - bits.dtype.type(1), bits).view(target)


def tf32(data: Array) -> Array:
    """What a tensor core reads of a float32: the low 13 bits are not looked at."""
    return (data.view(np.uint32) & np.uint32(0xFFFFE000)).view(np.float32)


def tf32_nearest(data: Array) -> Array:
    """cvt.rna.tf32: to nearest, ties away from zero. Used where a float32 is split in parts."""
    bits = data.view(np.uint32)
    rounded = (bits + np.uint32(0x1000)) & np.uint32(0xFFFFE000)
    return np.where(np.isfinite(data), rounded.view(np.float32), data)
