"""``close``: are these the right numbers? If not, say what is wrong, how much and where."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import wrap
from typing import Any

import numpy as np

from harness.testing.patterns import explain, holding, nearly
from harness.testing.regions import describe

WIDTH = 72  # the report indents it by eight columns
FEW = 4096  # values, of which every pattern is looked at
MANY = 2**24  # values, beyond which no pattern is: it would take minutes
MANY_TIMES = 1000  # the tolerance: beyond that the two numbers speak for themselves


class Mismatch(AssertionError):
    """A result that is not the expected one.

    ``actual``, ``expected`` and ``name`` are what was compared; ``data`` says the same as the
    text in a form that JSON can hold. ``plain`` is the text without the pattern that was seen in
    this one comparison, ``tolerance`` that of each element and ``wrong`` which are outside of it
    (None: the values could not be compared).
    """

    def __init__(
        self,
        text: str,
        *,
        actual: Any,
        expected: Any,
        name: str,
        data: dict[str, Any],
        plain: str = "",
        tolerance: np.ndarray | None = None,
        wrong: np.ndarray | None = None,
    ):
        super().__init__(text)
        self.plain = plain or text
        self.tolerance = tolerance
        self.wrong = wrong
        self.actual = actual
        self.expected = expected
        self.name = name
        self.data = data


@dataclass(frozen=True)
class _Float:
    eps: float  # distance from 1 to the next number
    tiny: float  # what may be lost near zero, see below
    compute_eps: float  # eps of the type in which such numbers are added up


# Types with the wide exponent may flush to zero whatever is below their smallest normal number.
# The narrow ones have subnormals everywhere, and their smallest normal number (6e-5 for float16)
# is a value that matters: there only a few of the smallest steps may be lost.
_FLOATS = {
    "float64": _Float(2.0**-52, 2.0**-1022, 2.0**-52),
    "float32": _Float(2.0**-23, 2.0**-126, 2.0**-23),
    "bfloat16": _Float(2.0**-7, 2.0**-126, 2.0**-23),
    "float16": _Float(2.0**-10, 4 * 2.0**-24, 2.0**-23),
    "float8_e4m3fn": _Float(2.0**-3, 4 * 2.0**-9, 2.0**-23),
    "float8_e5m2": _Float(2.0**-2, 4 * 2.0**-16, 2.0**-23),
}
_FLOATS["complex128"] = _FLOATS["float64"]
_FLOATS["complex64"] = _FLOATS["float32"]


def close(
    actual: Any,
    expected: Any,
    *,
    dtype: Any = None,
    terms: int = 1,
    scale: Any = None,
    factor: float = 4.0,
    tile: int | Sequence[int] | None = None,
    name: str = "result",
) -> None:
    """Raise ``Mismatch`` unless ``actual`` is ``expected``, up to what rounding explains.

    Torch tensors, numpy arrays or numbers; ``expected`` in float64 where possible. The tolerance
    of an element is ::

        factor * (eps(dtype) * |expected| + eps(compute) * sqrt(terms) * partial) + tiny
        partial = max(|expected|, sqrt(terms) * scale)

    ``dtype``: what ``actual`` must have (default: that of ``expected``). ``compute`` is float64
    for float64 and float32 for all shorter types. ``terms``: how many numbers are added up for
    one element (K of a matmul). ``scale``: their magnitude, a number or an array that broadcasts.
    Each addition rounds a partial sum; with summands of both signs these grow with the square
    root of their number, whatever happens to cancel in the end: give ``scale`` there, or right
    results near zero fail. ``tiny``: the smallest normal number (float16, float8: four of the
    smallest steps). Integers and bools must be equal. nan equals only nan, inf only the same inf
    (or a number that the dtype cannot hold). ``tile``: the block of the result that one program
    owns, so that the message can say which programs are wrong.
    """
    __tracebackhide__ = True
    problem = _other_kind(actual, expected, dtype, name)
    if problem is not None:
        kind, says = problem
        raise Mismatch(
            _wrap(says, "", ""),
            actual=actual,
            expected=expected,
            name=name,
            data={"name": name, "kind": kind, "says": says},
        )
    tolerance = _wrong_values(actual, expected, terms, scale, factor)
    if tolerance is not None:
        raise _mismatch(actual, expected, tolerance, tile, name)


def agrees(actual: Any, expected: Any, *, dtype: Any = None, **tolerance: Any) -> bool:
    """Would ``close`` pass, given its terms, scale and factor? Its message takes minutes to find
    where the values are gigabytes."""
    if _other_kind(actual, expected, dtype, "result") is not None:
        return False
    return _wrong_values(actual, expected, **tolerance) is None


# What kind of thing is it? ------------------------------------------------------------------


def _is_tensor(x: Any) -> bool:
    torch = sys.modules.get("torch")  # whoever holds a tensor has imported torch
    return torch is not None and isinstance(x, torch.Tensor)


def _is_array(x: Any) -> bool:
    return isinstance(x, (np.ndarray, np.generic))


def _is_number(x: Any) -> bool:
    return isinstance(x, (bool, int, float, complex)) and not isinstance(x, np.generic)


def _dtype_name(dtype: Any) -> str:
    text = str(dtype)
    if text.startswith("torch."):
        return text[len("torch.") :]
    return np.dtype(dtype).name


def _what(x: Any) -> str:
    """``x`` in words, as short as it can be understood."""
    if _is_tensor(x):
        return "a tensor"
    if isinstance(x, np.ndarray):
        return "a numpy array"
    if isinstance(x, np.generic):
        return f"a numpy number ({x.dtype.name})"
    if isinstance(x, (tuple, list)):
        parts = f" of {len(x)} value{'' if len(x) == 1 else 's'}"
        return f"a {type(x).__name__}{parts}"
    if callable(x) and hasattr(x, "__name__"):
        return f"the function {x.__name__} itself"
    article = "an" if type(x).__name__[0] in "aeiouAEIOU" else "a"
    return f"{article} {type(x).__name__}"


def _other_kind(actual: Any, expected: Any, dtype: Any, name: str) -> tuple[str, str] | None:
    """(kind, sentence) of what makes the two incomparable, or None."""
    if not (_is_tensor(expected) or _is_array(expected) or _is_number(expected)):
        raise TypeError(
            f"close() compares tensors, arrays and numbers; expected is {_what(expected)}. "
            "Compare the parts one by one, each with its name=."
        )
    if actual is None:
        if "grad" in name.lower():
            return "none", (
                f"{name} is None: no gradient arrived there. Is something on the way cut off "
                "from the graph, or never given its gradient?"
            )
        return "none", f"{name} is None: does the function return what it computed?"
    wanted = "a tensor" if _is_tensor(expected) else "a numpy array"
    if _is_tensor(expected):
        right = _is_tensor(actual)
    elif isinstance(expected, np.ndarray) and expected.ndim > 0:
        right = _is_array(actual) or _is_tensor(actual)
    else:
        right = _is_array(actual) or _is_tensor(actual) or _is_number(actual)
        wanted = "a number"
    if not right:
        return "type", f"{name} is {_what(actual)}, but {wanted} was expected."

    have, want = _shape(actual), _shape(expected)
    if have != want:
        hint = _shape_hint(have, want)
        return "shape", f"{name} has shape {have}, but {want} was expected{hint}"

    if not _is_number(actual) and (dtype is not None or not _is_number(expected)):
        needed = _dtype_name(dtype if dtype is not None else expected.dtype)
        if _dtype_name(actual.dtype) != needed:
            return "dtype", (
                f"{name} has dtype {_dtype_name(actual.dtype)}, but {needed} was expected."
            )
    if _is_tensor(actual) and _is_tensor(expected):
        # A reference worked out on the CPU says nothing about where the result must be.
        if expected.device.type != "cpu" and actual.device != expected.device:
            return "device", (
                f"{name} is on the device {actual.device}, but {expected.device} was expected."
            )
        if actual.layout != expected.layout:
            return "layout", (
                f"{name} has the layout {actual.layout}, but {expected.layout} was expected."
            )
    return None


def _shape(x: Any) -> tuple[int, ...]:
    return () if _is_number(x) else tuple(int(n) for n in x.shape)


def _shape_hint(have: tuple[int, ...], want: tuple[int, ...]) -> str:
    """The end of the sentence about two shapes: a full stop, or what they have in common."""
    if len(have) == len(want) >= 2:
        if have == (*want[:-2], want[-1], want[-2]):
            return ": is it transposed?" if len(want) == 2 else ": are the last two axes swapped?"
        if sorted(have) == sorted(want):
            return ": the axes are in another order."
    if len(have) > len(want):
        for axis, n in enumerate(have):
            if n == 1 and have[:axis] + have[axis + 1 :] == want:
                return f": axis {axis}, of size 1, is one too many."
    if len(have) < len(want):
        for axis, n in enumerate(want):
            if n == 1 and want[:axis] + want[axis + 1 :] == have:
                return f": axis {axis}, of size 1, is missing."
    if len(have) == len(want):
        other = [axis for axis in range(len(want)) if have[axis] != want[axis]]
        if len(other) == 1 and len(want) > 1:
            return f": axis {other[0]} has another size."
    if math.prod(have) == math.prod(want):
        return ": the number of values is right, their arrangement is not."
    return "."


# Are its values right? ----------------------------------------------------------------------


def _wide(x: Any, like: Any = None) -> Any:
    """``x`` in float64 (complex128), with the library and on the device of ``like``."""
    if _is_tensor(like):
        torch = sys.modules["torch"]
        tensor = torch.as_tensor(x).detach().to(like.device)
        return tensor.to(torch.complex128 if tensor.is_complex() else torch.float64)
    if _is_tensor(x):
        x = _wide(x, like=x).cpu().resolve_conj().resolve_neg().numpy()
    x = np.asarray(x)
    return x.astype(np.complex128 if np.iscomplexobj(x) else np.float64)


def _exact(x: Any) -> np.ndarray:
    """Whole numbers, with all their digits."""
    return np.asarray(x.detach().cpu().numpy() if _is_tensor(x) else x)


def _is_exact(dtype: str) -> bool:
    return dtype == "bool" or dtype.startswith(("int", "uint"))


def _wrong_values(
    actual: Any, expected: Any, terms: int = 1, scale: Any = None, factor: float = 4.0
) -> np.ndarray | None:
    """None when all values are right, else the tolerance of each element."""
    if _is_number(actual):
        actual = np.asarray(actual)
    if _is_number(expected):
        expected = np.asarray(expected)
    own = _dtype_name(actual.dtype)
    if not _is_exact(own) and own not in _FLOATS:
        raise TypeError(f"close() has no tolerance for the dtype {own}")

    if _is_exact(own) and _is_exact(_dtype_name(expected.dtype)):
        if _is_tensor(actual) and not _is_tensor(expected):
            expected = sys.modules["torch"].as_tensor(expected)
        if _is_tensor(expected):
            expected = expected.to(actual.device)
        same = actual == expected  # in the type itself: float64 does not hold every int64
        return None if bool(same.all()) else np.zeros(_shape(actual))

    xp: Any = sys.modules["torch"] if _is_tensor(actual) else np
    got, want = _wide(actual, like=actual), _wide(expected, like=actual)
    with np.errstate(all="ignore"):
        size = xp.abs(want)
        if _is_exact(own):
            tolerance = size * 0.0
        else:
            kind = _FLOATS[own]
            partial = size
            if scale is not None:
                partial = xp.maximum(size, math.sqrt(terms) * xp.abs(_wide(scale, like=actual)))
            rounding = kind.eps * size + kind.compute_eps * math.sqrt(terms) * partial
            tolerance = factor * rounding + kind.tiny
        # Where the dtype cannot hold the right number, its inf is right.
        rounded = want
        if want.dtype != actual.dtype and not _is_exact(own):
            rounded = _wide(want.to(actual.dtype) if _is_tensor(want) else want.astype(own), actual)
        finite = xp.isfinite(want)
        if bool((finite & ~xp.isfinite(tolerance)).any()):
            raise ValueError("close(): scale must be finite where the expected value is")
        near = finite & (xp.abs(got - want) <= tolerance)
        right = near | (got == rounded) | (xp.isnan(got) & xp.isnan(want))
    if bool(right.all()):
        return None
    return np.broadcast_to(_wide(tolerance), _shape(actual))


def _mismatch(
    actual: Any,
    expected: Any,
    tolerance: np.ndarray,
    tile: int | Sequence[int] | None,
    name: str,
) -> Mismatch:
    got, want = _wide(actual), _wide(expected)
    with np.errstate(all="ignore"):
        error = np.abs(got - want)
        same = (got == want) | (np.isnan(got) & np.isnan(want))
        if not tolerance.any():  # whole numbers
            wrong = ~same
            if not wrong.any():  # integers that float64 can't tell apart
                wrong = np.asarray(_exact(actual) != _exact(expected), dtype=bool)
            times = error
        else:
            wrong = ~(same | (np.isfinite(want) & (error <= tolerance)))
            times = error / tolerance
    times = np.where(np.isfinite(times), times, np.inf)
    worst = np.unravel_index(int(np.argmax(np.where(wrong, times, -1.0))), wrong.shape)
    index = [int(i) for i in worst]
    count, total = int(wrong.sum()), int(wrong.size)
    pattern = explain(got, want, tolerance, tile=tile) if total <= MANY else None
    if pattern is None and tolerance.any() and total <= MANY:
        own = "float64" if _is_number(actual) else _dtype_name(actual.dtype)
        pattern = nearly(got, want, wrong, float(times[worst]), own)
    regions = describe(wrong, tile)
    holds = [] if pattern is None else [pattern.name]
    if wrong.size <= FEW:
        holds = sorted({*holds, *holding(got, want, tolerance, tile=tile)})

    if count == total:
        plain = f"{name} is wrong everywhere." if total > 1 else f"{name} is wrong."
    else:
        plain = f"{name} is wrong in places."
    says = plain if pattern is None else f"{name}: {pattern.says}"
    lines = []
    if total > 1:
        share = 100 * count / total
        percent = "under 0.1 %" if share < 0.1 else f"{min(share, 99.9):.1f} %"
        every = "all" if count == total else f"{count} of"
        lines.append(f"  wrong: {every} {total} elements{'' if count == total else f', {percent}'}")
    a, b = _show(got[worst], want[worst], actual, expected, worst)
    line = f"{_index(index)}got {a}, expected {b}"
    if times[worst] < MANY_TIMES and tolerance.any():
        line += f", {_times(float(times[worst]))} the tolerance"
    lines.append(_wrap(line, "  worst: " if total > 1 else "  value: ", "         "))
    everywhere = pattern is not None and wrong.mean() > 0.9
    head = _wrap(says, "", "  ")
    room = 0 if everywhere else 8
    room -= sum(text.count("\n") + 1 for text in [head, *lines])
    for region in regions:
        text = _wrap(region, "  where: ", "         ")
        room -= text.count("\n") + 1
        if room >= 0:
            lines.append(text)
    data = {
        "name": name,
        "kind": "values",
        "says": says,
        "wrong": count,
        "total": total,
        "worst": {
            "index": index,
            "got": a,
            "expected": b,
            "tolerances": float(times[worst]) if np.isfinite(times[worst]) else None,
        },
        "pattern": None if pattern is None else pattern.name,
        "holds": holds,
        "regions": regions,
    }
    return Mismatch(
        "\n".join([head, *lines]),
        actual=actual,
        expected=expected,
        name=name,
        data=data,
        plain="\n".join([_wrap(plain, "", "  "), *lines]),
        tolerance=tolerance,
        wrong=wrong,
    )


def _index(index: list[int]) -> str:
    return f"[{', '.join(map(str, index))}] " if index else ""


def _show(got: Any, want: Any, actual: Any, expected: Any, at: Any) -> tuple[str, str]:
    """Both numbers, with as many digits as it takes to tell them apart."""
    own = "float64" if _is_number(actual) else _dtype_name(actual.dtype)
    other = "float64" if _is_number(expected) else _dtype_name(expected.dtype)
    if _is_exact(own) and _is_exact(other):
        kind = bool if own == other == "bool" else int
        return str(kind(actual[at])), str(kind(expected[at]))
    for digits in (5, 9, 17):
        pair = f"{got:.{digits}g}", f"{want:.{digits}g}"
        if pair[0] != pair[1]:
            break
    return pair


def _times(times: float) -> str:
    if times < 1.05:
        return "slightly more than"
    return f"{times:.1f} times" if times < 10 else f"{times:,.0f} times"


def _wrap(text: str, first: str, rest: str) -> str:
    return "\n".join(wrap(text, WIDTH, initial_indent=first, subsequent_indent=rest))
