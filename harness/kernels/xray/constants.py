"""Values of ``tl.constexpr`` arguments as JSON and back.

Numbers, strings, None and bools stand for themselves; what JSON cannot say is a dictionary with
one key that names its kind.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class NotPortable(TypeError):
    """A constexpr value that only exists in the process that launched the kernel."""


def encode(value: Any) -> Any:
    """JSON form of a constexpr argument's value."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (tuple, list)):
        return {"tuple": [encode(item) for item in value]}
    kind = type(value).__name__
    if kind == "constexpr":
        return {"constexpr": encode(value.value)}
    if kind == "dtype" and type(value).__module__.startswith("triton"):
        return {"dtype": value.name}
    if kind == "dtype":  # torch.float16 has the name of tl.float16
        return {"dtype": str(value).removeprefix("torch.")}
    function = getattr(value, "fn", None)
    if callable(function) and hasattr(function, "__code__"):  # a @triton.jit function
        return {
            "function": [
                function.__code__.co_filename,
                function.__module__,
                function.__qualname__,
                function.__code__.co_firstlineno,
            ]
        }
    raise NotPortable(f"a constexpr of type {type(value).__name__} cannot be written down")


def decode(value: Any, load_function: Callable[[str, str, str, int], Any]) -> Any:
    """The value ``encode`` was given; ``load_function`` finds the @triton.jit functions."""
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "tuple":
        return tuple(decode(item, load_function) for item in content)
    if kind == "function":
        return load_function(*content)
    import triton.language as tl

    if kind == "constexpr":
        return tl.constexpr(decode(content, load_function))
    return getattr(tl, content, None) or tl.dtype(content)
