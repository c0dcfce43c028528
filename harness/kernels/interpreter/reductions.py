"""tl.reduce and tl.associative_scan over whole slices, in the order a GPU could take."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import triton.language as tl
from triton.runtime import interpreter as upstream
from triton.runtime.interpreter import TensorHandle

from harness.kernels.interpreter.numbers import Array, cast, numpy_dtype

_Combine = Callable[..., Any]


def reduce(input: Any, axis: Any, combine_fn: Any, keep_dims: Any = False, **_: Any) -> Any:
    """Halves are combined with halves: log n steps, in the order of the elements."""
    if not isinstance(input, (tuple, tl.tuple)):
        return reduce((input,), axis, combine_fn, keep_dims)[0]
    axis, keep_dims = _plain(axis), _plain(keep_dims)
    columns = [tensor.handle.data for tensor in input]
    types = [tensor.dtype for tensor in input]
    rank = len(input[0].shape)
    if axis is None:
        columns = [data.reshape(-1) for data in columns]
        at = 0
    else:
        at = axis + rank if axis < 0 else axis
    _among_threads(columns[0])
    known = _known(combine_fn, columns)
    if known is not None:
        results = [known(columns[0], at)]
    else:
        results = _tree(columns, types, at, combine_fn)
    out = []
    for data, dtype in zip(results, types, strict=True):
        if keep_dims:
            data = np.expand_dims(data, at) if axis is not None else data.reshape([1] * rank)
        out.append(_tensor(data, dtype))
    return tuple(out)


def _among_threads(data: Array) -> None:
    """Blocks of more elements than a warp has threads meet in shared memory."""
    if data.size > 32:
        upstream.interpreter_builder.launch.through_shared_memory()


def _known(combine_fn: Any, columns: list[Array]) -> Callable[[Array, int], Array] | None:
    """The common reductions in numpy; 16-bit sums go through the tree, which rounds each step."""
    standard = tl.standard
    if len(columns) != 1:
        return None
    dtype = columns[0].dtype
    if combine_fn is standard._sum_combine and (dtype.kind in "iu" or dtype.itemsize >= 4):
        return lambda data, axis: np.add.reduce(data, axis=axis, dtype=data.dtype)
    if combine_fn is standard._elementwise_max:
        return lambda data, axis: (np.fmax if _floats(data) else np.maximum).reduce(data, axis=axis)
    if combine_fn is standard._elementwise_min:
        return lambda data, axis: (np.fmin if _floats(data) else np.minimum).reduce(data, axis=axis)
    if combine_fn is standard._xor_combine:
        return lambda data, axis: np.bitwise_xor.reduce(data, axis=axis)
    return None


def _floats(data: Array) -> bool:
    return data.dtype.kind in "fV"


def _tree(columns: list[Array], types: list[Any], axis: int, combine_fn: Any) -> list[Array]:
    columns = [np.moveaxis(data, axis, 0) for data in columns]
    while columns[0].shape[0] > 1:
        even = [data[0::2] for data in columns]
        odd = [data[1::2] for data in columns]
        columns = _combine(combine_fn, even, odd, types)
    return [data[0] for data in columns]


def scan(input: Any, axis: Any, combine_fn: Any, reverse: Any = False, **_: Any) -> Any:
    if not isinstance(input, (tuple, tl.tuple)):
        return scan((input,), axis, combine_fn, reverse)[0]
    at, backwards = _plain(axis), _plain(reverse)
    types = [tensor.dtype for tensor in input]
    columns = [np.moveaxis(tensor.handle.data, at, 0) for tensor in input]
    _among_threads(columns[0])
    if backwards:
        columns = [data[::-1] for data in columns]
    kind = columns[0].dtype
    exact = kind != np.bool_ and (kind.kind in "iu" or kind.itemsize >= 4)
    if combine_fn is tl.standard._sum_combine and exact:
        results = [np.add.accumulate(columns[0], axis=0, dtype=kind)]
    else:
        results = [np.array(data) for data in columns]
        for i in range(1, len(results[0])):
            step = _combine(
                combine_fn,
                [data[i - 1 : i] for data in results],
                [data[i : i + 1] for data in columns],
                types,
            )
            for data, value in zip(results, step, strict=True):
                data[i : i + 1] = value
    if backwards:
        results = [data[::-1] for data in results]
    return tuple(
        _tensor(np.ascontiguousarray(np.moveaxis(data, 0, at)), dtype)
        for data, dtype in zip(results, types, strict=True)
    )


def _combine(
    combine_fn: Any, left: list[Array], right: list[Array], types: list[Any]
) -> list[Array]:
    args = [
        _tensor(data, dtype)
        for part in (left, right)
        for data, dtype in zip(part, types, strict=True)
    ]
    out = combine_fn(*args)
    out = out if isinstance(out, (tuple, tl.tuple)) else (out,)
    shape = left[0].shape
    return [
        np.broadcast_to(_data(value, dtype), shape) for value, dtype in zip(out, types, strict=True)
    ]


def _data(value: Any, dtype: Any) -> Array:
    target = numpy_dtype(dtype)
    if isinstance(value, tl.tensor):
        return cast(value.handle.data, target)
    return np.asarray(_plain(value)).astype(target)


def _tensor(data: Array, dtype: Any) -> Any:
    if data.ndim == 0:
        return tl.tensor(TensorHandle(data.reshape(1), dtype.scalar), dtype.scalar)
    return tl.tensor(
        TensorHandle(data, dtype.scalar), tl.block_type(dtype.scalar, list(data.shape))
    )


def _plain(value: Any) -> Any:
    return value.value if isinstance(value, tl.constexpr) else value
