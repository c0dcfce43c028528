"""Puts the interpreter's versions of ``tl``'s functions in place while a kernel runs.

Upstream looks them all up anew at every launch and at every call of a device function, and leaves
some in place. Here they are looked up once; a launch swaps them in and out.
"""

from __future__ import annotations

import math
import types
from collections.abc import Callable
from typing import Any

import numpy as np
import triton.language as tl
from triton.runtime import interpreter as upstream

from harness.kernels.interpreter import reductions
from harness.kernels.interpreter.errors import KernelError

_ABSENT = object()
_Change = tuple[Any, str, Any, Any]
_changes: list[_Change] = []
_depth = 0


def prepare() -> None:
    """Note what upstream would change, and what is ours."""
    if _changes:
        return
    sample = types.FunctionType((lambda: None).__code__, {"tl": tl, "core": tl.core})
    scope = upstream._patch_lang(sample)
    # 3.6 converts an array of one element to int, which numpy 2.4 refuses.
    scope.set_attr(tl.tensor, "__index__", lambda self: int(self.handle.data.reshape(-1)[0]))
    scope.set_attr(tl.tensor, "reduce", reductions.reduce)
    scope.set_attr(tl.tensor, "associative_scan", reductions.scan)
    for module in (tl, tl.core):
        scope.set_attr(module, "reduce", reductions.reduce)
        scope.set_attr(module, "associative_scan", reductions.scan)
        scope.set_attr(module, "map_elementwise", _map_elementwise)
        scope.set_attr(module, "condition", _condition)
        scope.set_attr(module, "dot_scaled", _dot_scaled)
        for name, holds in HINTS.items():
            scope.set_attr(module, name, _checked_hint(name, getattr(module, name), holds))
    for name, function in _mathematical_methods():
        scope.set_attr(tl.tensor, name, _with_semantic(function))
    # The same attribute may have been set several times: keep the first original, the last value.
    first: dict[tuple[int, str], Any] = {}
    owners: dict[tuple[int, str], Any] = {}
    for owner, name, original in scope._changes:
        first.setdefault((id(owner), name), original)
        owners[id(owner), name] = owner
    for (identity, name), original in first.items():
        owner = owners[identity, name]
        if original is upstream._MISSING:
            original = _ABSENT
        _changes.append((owner, name, original, _current(owner, name)))
    scope.restore()


def _mathematical_methods() -> list[tuple[str, Callable[..., Any]]]:
    """``x.exp()`` and the like, which upstream leaves to the compiler: each method is a closure
    around the function."""
    found = []
    for name, method in list(vars(tl.tensor).items()):
        for cell in getattr(method, "__closure__", None) or ():
            function = cell.cell_contents
            if getattr(function, "__module__", "") == tl.math.__name__:
                found.append((name, function))
    return found


def _with_semantic(function: Callable[..., Any]) -> Callable[..., Any]:
    def method(*args: Any, _semantic: Any = None, **kwargs: Any) -> Any:
        return function(*args, _semantic=upstream.interpreter_semantic, **kwargs)

    return method


_DOT_SCALED = tl.dot_scaled


def _dot_scaled(
    lhs: Any,
    lhs_scale: Any,
    lhs_format: Any,
    rhs: Any,
    rhs_scale: Any,
    rhs_format: Any,
    *args: Any,
    _semantic: Any = None,
    **kwargs: Any,
) -> Any:
    """In a compiled kernel the names of formats are constants by themselves."""
    formats = [tl.constexpr(_plain(name)) for name in (lhs_format, rhs_format)]
    operands = (lhs, lhs_scale, formats[0], rhs, rhs_scale, formats[1])
    return _DOT_SCALED(*operands, *args, _semantic=upstream.interpreter_semantic, **kwargs)


def _plain(value: Any) -> Any:
    return value.value if isinstance(value, tl.constexpr) else value


def _starts_at_multiple(data: Any, value: int, step: int) -> bool:
    """Along the last axis: of a block the compiler takes it for the first of each run of
    neighbours. Of a pointer it is the address."""
    return data.size == 0 or not bool((data[..., 0] % value).any())


def _runs(data: Any, value: int, step: int) -> bool:
    """Neighbours within a run follow each other; one that wraps around (``% n``) may start anew."""
    steps = _differences(data, value)
    return bool(((steps == step) | (steps < 0)).all())


def _repeats(data: Any, value: int, step: int) -> bool:
    """Each run has one value."""
    return not _differences(data, value).any()


def _differences(data: Any, value: int) -> Any:
    """From each element to the next within runs of ``value`` along the last axis."""
    length = math.gcd(value, data.shape[-1])
    runs = data.reshape(-1, length).astype("int64")
    return runs[:, 1:] - runs[:, :-1]


HINTS: dict[str, Callable[[Any, int, int], bool]] = {
    "multiple_of": _starts_at_multiple,
    "max_contiguous": _runs,
    "max_constancy": _repeats,
}
"""Whether what the compiler is told is true of a block's data, for one of its axes put last;
``step`` is the distance of neighbours: 1, of pointers an element's bytes."""


def _checked_hint(name: str, given: Any, holds: Callable[[Any, int, int], bool]) -> Any:
    """What the compiler is told must be true: it builds on it, and loads whole vectors."""

    def hint(input: Any, values: Any, _semantic: Any = None) -> Any:
        each = values if isinstance(values, (list, tuple, tl.tuple)) else [values]
        told = [int(_plain(value)) for value in each]
        scalar: Any = getattr(getattr(input, "dtype", None), "scalar", None)
        known = scalar is not None and (scalar.is_int() or scalar.is_ptr())
        if known and len(told) == max(len(input.shape), 1):
            step = scalar.element_ty.primitive_bitwidth // 8 if scalar.is_ptr() else 1
            data = input.handle.data
            data = data.reshape(1) if not input.shape else data
            for axis, value in enumerate(told):
                if value > 1 and not holds(np.moveaxis(data, axis, -1), value, step):
                    where = f" along axis {axis}" if len(told) > 1 else ""
                    raise KernelError(
                        "assertion failed",
                        f"tl.{name} was told something that is not true ({value}{where}): the "
                        "compiler would build on it and the result would be garbage.",
                        operation=f"tl.{name}",
                    )
        return given(input, values)

    return hint


def _condition(condition: Any, disable_licm: Any = False) -> Any:
    return condition


def _current(owner: Any, name: str) -> Any:
    return owner.__dict__[name] if name in vars(owner) else getattr(owner, name)


def enter() -> None:
    global _depth
    _depth += 1
    if _depth == 1:
        for owner, name, _, value in _changes:
            setattr(owner, name, value)


def leave() -> None:
    global _depth
    _depth -= 1
    if _depth == 0:
        for owner, name, original, _ in _changes:
            if original is _ABSENT:
                delattr(owner, name)
            else:
                setattr(owner, name, original)


def running() -> bool:
    """Whether a kernel is being interpreted right now."""
    return _depth > 0


def _map_elementwise(scalar_fn: Callable[..., Any], *args: Any, pack: int = 1, **_: Any) -> Any:
    from harness.kernels.interpreter.errors import KernelError

    raise KernelError(
        "unsupported",
        "tl.map_elementwise runs on a GPU only: the interpreter works on whole "
        "blocks. tl.where does the same with both sides computed.",
    )
