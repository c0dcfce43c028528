"""Watches what graded code calls in torch while a test runs.

It refuses banned functions, refuses operators that compute in the Triton track, and fills what
graded code allocates with nan, so that an element nobody wrote shows.

Whose call it is, is read off the stack: the innermost frame that belongs to the graded file, to
triton or to a test decides. So a test's own oracle may call anything, also through a function that
it hands to the graded code. Frames of torch's modes and tensor subclasses (those of ``watch``, of
this file, of a test) only pass a call on, so they decide nothing; no more do tools that call what
they are given.
"""

from __future__ import annotations

import contextlib
import functools
import re
import sys
from collections.abc import Iterator
from types import FrameType
from typing import Any

# Allocation and memset: what a launcher may do besides viewing and launching.
ALLOCATES = frozenset(
    "empty empty_like empty_strided empty_permuted new_empty new_empty_strided zeros zeros_like "
    "new_zeros ones ones_like new_ones full full_like new_full scalar_tensor fill zero "
    "lift_fresh detach alias local_scalar_dense".split()
)
_EMPTY = frozenset(
    "empty empty_like empty_strided empty_permuted new_empty new_empty_strided".split()
)
# What people write, where torch calls it something else.
_SPOKEN = {"clone": "clone (contiguous, or reshape of a strided view)", "to_copy": "to"}
_PASSES_ON = frozenset(
    "__torch_function__ __torch_dispatch__ watch refused same_compiled do_bench".split()
)
"""Functions that only pass a call on: what they are given is called by whoever called them."""
_LEAVES = frozenset(("numpy", "array", "tolist", "dlpack"))
"""Methods by which a tensor's values leave torch, for numpy or for Python's own numbers."""
POISON = 0x5EED
"""What integers start as; small types keep its low bits."""
_watching: list[None] = []


def watching() -> bool:
    """Whether the calls of graded code are watched just now, in any thread."""
    return bool(_watching)


class Refused(AssertionError):
    """Graded code called what the exercise is about to build."""


@contextlib.contextmanager
def guard(
    graded: frozenset[str],
    others: tuple[str, ...],
    ban: tuple[str, ...] = (),
    allow: tuple[str, ...] = (),
    kernels_only: bool = False,
) -> Iterator[None]:
    """Guard the calls made from the files ``graded`` (absolute paths) while the block runs.

    ``others`` are path prefixes whose calls are never graded code's: tests, triton, the harness.
    ``kernels_only`` is the Triton track's rule: allocate, view and launch, nothing else.

    Without either rule nothing is guarded, and nothing starts as nan: modes cost a third of a
    PyTorch day's time, and torch.compile refuses to compile under them.
    """
    if not ban and not kernels_only:
        yield
        return
    from torch.overrides import TorchFunctionMode
    from torch.utils._python_dispatch import TorchDispatchMode

    banned = frozenset(_plain(name) for name in ban)
    allowed = frozenset(_plain(name) for name in allow) | ALLOCATES

    class Functions(TorchFunctionMode):
        def __torch_function__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            name = _plain(getattr(func, "__name__", ""))
            if name in banned and _called_from(graded, others):
                raise Refused(_ban_message(name))
            leaves = kernels_only and name in _LEAVES and name not in allowed
            if leaves and _called_from(graded, others):
                raise Refused(
                    f"`{name}` hands the values to numpy or to Python: in this track the kernel "
                    "computes."
                )
            return func(*args, **(kwargs or {}))

    class Operators(TorchDispatchMode):
        @classmethod
        def _should_skip_dynamo(cls) -> bool:
            # torch asks this at the first call, and imports torch._dynamo (1 to 2 s) to obey a yes
            return "torch._dynamo" in sys.modules

        def __torch_dispatch__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            name = _plain(func.overloadpacket.__name__)
            watched = kernels_only or name in banned or name in _EMPTY
            mine = watched and _called_from(graded, others)
            if mine and name in banned:
                raise Refused(_ban_message(name))
            if mine and kernels_only and not (func.is_view or name in allowed):
                raise Refused(
                    f"`{_SPOKEN.get(name, name)}` is torch's own computation: in this track the "
                    "launcher allocates, views and launches, and the kernel computes."
                )
            out = func(*args, **(kwargs or {}))
            if mine and name in _EMPTY:
                _poison(out)
            return out

    _watching.append(None)
    try:
        with Functions(), Operators():
            yield
    finally:
        _watching.pop()


def is_own(value: Any, module: str) -> bool:
    """Whether ``value``, an exercise found in ``module``, was written in a day and not borrowed."""
    while hasattr(value, "func") and callable(value.func):  # functools.partial
        value = value.func
    home = getattr(value, "__module__", None)
    if home is None:  # a builtin, such as torch.softmax
        return False
    return home == module or home.startswith("tracks.") or not _is_library(home)


def _is_library(module: str) -> bool:
    return module.split(".")[0] in {"torch", "numpy", "scipy", "builtins", "math", "_operator"}


_VARIANT = re.compile(
    r"(?:safe|special|native|fused|cudnn|miopen|mkldnn|thnn|slow)_(.+?)(?:_legit)?(?:_no_training)?"
)
_ATTENTION = re.compile(r"scaled_dot_product_(\w+_)?attention(_math|_for_cpu|_for_mps)*")


@functools.cache
def _plain(name: str) -> str:
    """`softmax`, `_softmax`, `softmax_`, `__softmax__` and `_safe_softmax` are one operator."""
    name = name.strip("_")
    if _ATTENTION.fullmatch(name):
        return "scaled_dot_product_attention"
    variant = _VARIANT.fullmatch(name)
    return variant[1].strip("_") if variant else name


def _ban_message(name: str) -> str:
    return f"torch's own `{name}` is refused here: what it does is yours to build."


def _called_from(graded: frozenset[str], others: tuple[str, ...]) -> bool:
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        file = frame.f_code.co_filename
        if file in graded:
            return True
        if file.startswith(others) and frame.f_code.co_name not in _PASSES_ON:
            return False
        frame = frame.f_back
    return False


def _poison(out: Any) -> None:
    import torch

    if not isinstance(out, torch.Tensor) or out.numel() == 0:
        return
    if out.is_floating_point() or out.is_complex():
        out.fill_(float("nan"))
    elif out.dtype is not torch.bool:
        bits = torch.iinfo(out.dtype).bits
        out.fill_(POISON & ((1 << (bits - 1)) - 1))
