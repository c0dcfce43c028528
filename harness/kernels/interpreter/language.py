"""Puts the interpreter's versions of ``tl``'s functions in place while a kernel runs.

Upstream looks them all up anew at every launch and at every call of a device function, and leaves
some in place. Here they are looked up once; a launch swaps them in and out.
"""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any

import triton.language as tl
from triton.runtime import interpreter as upstream

from harness.kernels.interpreter import reductions

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
