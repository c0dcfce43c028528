"""The same values in other memory layouts, for functions that promise to take any strides."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

FILLER = 7  # lies between and around the values; whoever reads it has ignored the strides


def layouts(x: Any) -> Iterator[tuple[str, Any]]:
    """Yield ``(name, x in this layout)`` for a torch tensor or a numpy array.

    ``contiguous``, ``transposed storage`` (the axes lie in reverse order in memory), ``offset
    view`` (starts inside a larger block), ``padded rows`` (a gap after each row) and
    ``every other element`` (a gap after each element). A layout that this shape cannot have
    (nothing to transpose in one axis, nothing at all in a number) is left out, so that each one
    yielded differs from the others in its strides or its offset. Tensors that require a gradient
    stay what they are: the views are of detached copies that require one, too.
    """
    torch = sys.modules.get("torch")
    is_tensor = torch is not None and isinstance(x, torch.Tensor)
    views = _tensor_layouts(x) if is_tensor else _array_layouts(np.asarray(x))
    seen = []
    for name, view in views:
        where = _where(view)
        if where not in seen:
            seen.append(where)
            yield name, view


BEYOND = 2**31
"""An offset of so many elements no longer fits into an int32."""


def far_apart(x: Any) -> Iterator[tuple[str, Any]]:
    """Yield ``(name, x's values)`` where one axis reaches beyond 2**31 elements; for torch tensors.

    Each axis of at least 3 elements has its turn: its stride fits into an int32, and its last index
    times the stride does not. (With 2 elements the stride itself would not fit, and Triton would
    pass it as an int64.) The memory between the elements is never touched: on a CPU it costs
    addresses only. On a GPU it is real, so the test is skipped where the card has not enough.
    """
    torch = sys.modules["torch"]
    for axis, n in enumerate(x.shape):
        if n < 3:
            continue
        others = [size for i, size in enumerate(x.shape) if i != axis]
        strides = [math.prod(others[i + 1 :]) for i in range(len(others))]
        strides.insert(axis, BEYOND // (n - 1) + 5)
        reach = 1 + sum((n - 1) * s for n, s in zip(x.shape, strides, strict=True))
        if x.is_cuda and torch.cuda.mem_get_info(x.device)[0] < 1.1 * reach * x.element_size():
            pytest.skip(f"needs {reach * x.element_size() / 1e9:.1f} GB of free GPU memory")
        memory = torch.empty(reach, dtype=x.dtype, device=x.device)
        view = memory.as_strided(x.shape, strides).copy_(x.detach())
        yield f"far-flung (axis {axis})", view.requires_grad_(x.requires_grad)


def _shapes(shape: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The larger blocks: one more element each row, and twice as many."""
    return (*shape[:-1], shape[-1] + 3), (*shape[:-1], 2 * shape[-1])


def _tensor_layouts(x: Any) -> Iterator[tuple[str, Any]]:
    torch = sys.modules["torch"]
    values = x.detach()

    def finished(view: Any) -> Any:
        return view.requires_grad_(x.requires_grad)

    def block(shape: tuple[int, ...]) -> Any:
        return torch.full(shape, FILLER, dtype=x.dtype, device=x.device)

    yield "contiguous", finished(values.clone(memory_format=torch.contiguous_format))
    if x.dim() > 1:
        axes = tuple(reversed(range(x.dim())))
        copy = values.permute(axes).clone(memory_format=torch.contiguous_format)
        yield "transposed storage", finished(copy.permute(axes))
    around = block((x.numel() + 3,))
    yield "offset view", finished(around[3:].view(x.shape).copy_(values))
    if x.dim() == 0 or x.numel() == 0:
        return
    padded, double = _shapes(tuple(x.shape))
    if x.dim() > 1:
        yield "padded rows", finished(block(padded)[..., : x.shape[-1]].copy_(values))
    yield "every other element", finished(block(double)[..., ::2].copy_(values))


def _array_layouts(x: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    def filled(view: np.ndarray) -> np.ndarray:
        view[...] = x
        view.flags.writeable = x.flags.writeable
        return view

    yield "contiguous", filled(np.empty(x.shape, x.dtype))
    if x.ndim > 1:
        yield "transposed storage", filled(np.empty(x.shape[::-1], x.dtype).T)
    around = np.full(x.size + 3, FILLER, dtype=x.dtype)
    yield "offset view", filled(around[3:].reshape(x.shape))
    if x.ndim == 0 or x.size == 0:
        return
    padded, double = _shapes(x.shape)
    if x.ndim > 1:
        yield "padded rows", filled(np.full(padded, FILLER, x.dtype)[..., : x.shape[-1]])
    yield "every other element", filled(np.full(double, FILLER, x.dtype)[..., ::2])


def _where(view: Any) -> tuple[Any, ...]:
    """What tells two layouts apart: the strides that matter and the place in its block."""
    if isinstance(view, np.ndarray):
        strides, base = view.strides, view.base
        offset = 0 if base is None else view.ctypes.data - base.ctypes.data
    else:
        strides, offset = view.stride(), view.storage_offset()
    used = tuple(s for s, n in zip(strides, view.shape, strict=True) if n > 1)
    return (*used, "at", offset)
