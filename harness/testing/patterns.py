"""What a wrong result looks like: all zero, transposed, shifted by one, half precision ...

Each pattern is a guess that is checked against every element, and claimed only when it explains
(nearly) all that is wrong without contradicting what is right. Its sentence says what is seen. It
names no cause that could be another: many mistakes lead to zeros, to nan, or to lost digits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from harness.testing.regions import full_tile

NEARLY = 0.99  # of the elements
# How unlikely (in bits) an agreement must be before it is told. Small whole numbers and
# masks agree by accident much more easily than measured values.
ENOUGH_BITS = 8.0
ENOUGH_BITS_WHOLE = 24.0
SAMPLE = 4096
MANY_ROWS = 256
MANY_ELEMENTS = 1 << 20


@dataclass(frozen=True)
class Pattern:
    name: str
    says: str


@dataclass(frozen=True)
class _Case:
    """One comparison: everything the guesses look at."""

    got: np.ndarray
    want: np.ndarray
    tolerance: np.ndarray
    wrong: np.ndarray
    inputs: tuple[np.ndarray, ...]
    tile: tuple[int, ...] | None
    lenient: bool = False
    """Does a pattern hold, even if by accident?"""

    @property
    def whole(self) -> bool:
        return not self.tolerance.any()

    @property
    def enough(self) -> float:
        """The bits that tell an agreement from an accident."""
        return 0.0 if self.lenient else ENOUGH_BITS_WHOLE if self.whole else ENOUGH_BITS


def explain(
    actual: np.ndarray,
    expected: np.ndarray,
    tolerance: np.ndarray | float,
    *,
    inputs: Sequence[np.ndarray] = (),
    tile: int | Sequence[int] | None = None,
) -> Pattern | None:
    """The most specific pattern that explains how ``actual`` differs from ``expected``.

    Numpy arrays of one shape; ``tolerance`` of each element (0: must be equal). ``inputs``: what
    the result was made from, to recognise a copy of it and nan that was there before. ``tile``:
    the block that one program owns.
    """
    got, want = _wide(actual), _wide(expected)
    if got.shape != want.shape:
        raise ValueError(f"shapes differ: {got.shape} and {want.shape}")
    limit = np.broadcast_to(np.asarray(tolerance, dtype=np.float64), want.shape)
    with np.errstate(all="ignore"):
        wrong = ~_near(got, want, limit)
        if not wrong.any():
            return None
        arrays = tuple(_wide(x) for x in inputs)
        case = _Case(got, want, limit, wrong, arrays, full_tile(tile, want.ndim))
        for guess in _GUESSES:
            pattern = guess(case)
            if pattern is not None:
                return pattern
    return None


def holding(
    actual: np.ndarray,
    expected: np.ndarray,
    tolerance: np.ndarray | float,
    *,
    tile: int | Sequence[int] | None = None,
) -> list[str]:
    """The names of all patterns that could explain it: a few values may not be enough to tell."""
    got, want = _wide(actual), _wide(expected)
    limit = np.broadcast_to(np.asarray(tolerance, dtype=np.float64), want.shape)
    with np.errstate(all="ignore"):
        wrong = ~_near(got, want, limit)
        if not wrong.any():
            return []
        case = _Case(got, want, limit, wrong, (), full_tile(tile, want.ndim), lenient=True)
        found = [guess(case) for guess in _GUESSES]
    return [pattern.name for pattern in found if pattern is not None]


def _wide(x: np.ndarray) -> np.ndarray:
    x = np.asarray(x)
    return x.astype(np.complex128 if np.iscomplexobj(x) else np.float64)


def _near(got: np.ndarray, want: np.ndarray, tolerance: np.ndarray) -> np.ndarray:
    return (
        (np.isfinite(want) & (np.abs(got - want) <= tolerance))
        | (got == want)
        | (np.isnan(got) & np.isnan(want))
    )


# Is a guess right? --------------------------------------------------------------------------


def _fits(
    case: _Case, guess: np.ndarray, tolerance: np.ndarray, got: np.ndarray | None = None
) -> bool:
    """Does ``guess`` (a view of the expected values, say) equal what was returned?

    ``got``: the part of the result the guess is about, when it is not all of it.
    """
    part = case.got if got is None else got
    if part.size == 0:
        return False
    if part.size > 4 * SAMPLE:  # most guesses are wrong: a sample is enough to see that
        rng = np.random.default_rng(0)
        at = tuple(rng.integers(0, n, SAMPLE) for n in part.shape)
        if _near(part[at], guess[at], tolerance[at]).mean() < 0.9:
            return False
    right = _near(part, guess, tolerance)
    if right.mean() < NEARLY:
        return False
    if got is None:
        # What is right must not be what carries the guess.
        return bool(right[case.wrong].mean() >= NEARLY) and _telling(case, guess)
    return True


def _telling(case: _Case, guess: np.ndarray) -> bool:
    """Could the guess agree by accident? Counts bits over the elements that were wrong."""
    return _bits(case.got[case.wrong]) >= case.enough


def _bits(values: np.ndarray) -> float:
    """How many bits a collection of values carries: size times the entropy of one."""
    values = _sample(values)
    _, counts = np.unique(values, return_counts=True)
    p = counts / counts.sum()
    return float(values.size * -(p * np.log2(p)).sum())


def _sample(values: np.ndarray) -> np.ndarray:
    """Some of the values, the same places each time, not in step with rows or blocks."""
    if values.size <= 4 * SAMPLE:
        return values.ravel()
    rng = np.random.default_rng(2)
    return values[tuple(rng.integers(0, n, 4 * SAMPLE) for n in values.shape)]


def _number(c: complex | float, digits: int = 4) -> str:
    """Short; but what is not 1 must not read as 1."""
    if isinstance(c, complex):
        c = c.real if abs(c.imag) < 1e-12 * abs(c) else c
    if isinstance(c, complex):
        return f"({c:.4g})"
    short = f"{c:.{digits}g}"
    if short == "1" and c != 1 and digits < 12:
        return _number(c, digits + 1)
    if abs(c) < 1e6 and abs(float(short) - c) > 1e-6 * abs(c):  # 1/3 says more than 0.3333
        fraction = Fraction(c).limit_denominator(64)
        if abs(float(fraction) - c) < 1e-6 * abs(c):
            return str(fraction)
    return short


def nearly(
    actual: np.ndarray, expected: np.ndarray, wrong: np.ndarray, times: float, dtype: str
) -> Pattern | None:
    """A result that is right but for its last digits: to which of them, and what that is a sign of.

    ``times`` is the largest error in tolerances, ``dtype`` that of the result.
    """
    with np.errstate(all="ignore"):
        size = np.abs(expected)
        known = np.isfinite(size) & (size > 0)
        if not (known & wrong).any() or not np.isfinite(actual[wrong]).all():
            return None
        error = np.abs(actual - expected)[wrong] / np.maximum(size, np.median(size[known]))[wrong]
    off = float(error.max())
    if not 0 < off < 1e-2:
        return None
    if dtype in ("float16", "bfloat16"):
        if times >= 8:
            return None
        says = (
            f"it is right to within a few roundings of {dtype}: is something rounded more than "
            "once, or something small added or missing?"
        )
    else:
        digits = int(-np.log10(off))
        least, most = (5, 15) if dtype == "float64" else (2, 6)
        if not least <= digits <= most:  # with more, only small values beside large ones are wrong
            return None
        says = f"it is right to about {digits} digits only: "
        if dtype == "float64" and _is_float32(actual[wrong]):
            says += "the wrong values are those of float32."
        else:
            says += "is something small added, missing, or rounded away?"
    return Pattern("nearly", says)


def _is_float32(values: np.ndarray) -> bool:
    """Whether float64 ``values`` are such as float32 holds, and need its digits: 20.5 does not."""
    parts = np.concatenate([np.ravel(values.real), np.ravel(values.imag)])
    return bool((parts == _round(parts, 24)).all() and (parts != _round(parts, 16)).any())


def _lines(ndim: int, axis: int) -> str:
    """What lies side by side along an axis."""
    if ndim == 1:
        return "elements"
    if ndim == 2:
        return ("rows", "columns")[axis]
    return "batch entries" if axis == 0 else f"slices along axis {axis}"


# The guesses, the most specific first --------------------------------------------------------


def _all_nan(case: _Case) -> Pattern | None:
    if not np.isnan(case.got).all():
        return None
    if any(np.isnan(x).any() for x in case.inputs):
        return Pattern("all nan", "every value is nan; the input holds nan in places only.")
    right = int(np.isnan(case.want).sum())
    if right:
        return Pattern(
            "all nan", f"every value is nan, and only {right} of {case.want.size} should be."
        )
    return Pattern(
        "all nan",
        "every value is nan, as 0 / 0, inf - inf and what was never written are.",
    )


def _nan_of_inputs(case: _Case) -> Pattern | None:
    for x in case.inputs:
        if x.shape == case.got.shape and np.array_equal(case.wrong, np.isnan(x)):
            return Pattern(
                "nan inputs", "it is wrong exactly where the input is nan, and right elsewhere."
            )
    return None


def _nan_in_part(case: _Case) -> Pattern | None:
    nan = np.isnan(case.got) & case.wrong
    if nan.any() and np.array_equal(nan, case.wrong):
        return Pattern(
            "nan in part",
            "some values are nan and all others are right.",
        )
    return None


def _inf_in_part(case: _Case) -> Pattern | None:
    if np.isinf(case.got[case.wrong]).all() and np.isfinite(case.want[case.wrong]).all():
        where = "every value is" if case.wrong.all() else "the wrong values are all"
        return Pattern("inf", f"{where} inf, as an overflow, a division by zero or log 0 make it.")
    return None


def _all_zero(case: _Case) -> Pattern | None:
    if case.got.any():
        return None
    if case.got.size == 1:
        return Pattern("all zero", "it is zero.")
    if case.wrong.mean() < 0.5:  # then most of the right values are zero as well
        return None
    return Pattern("all zero", "every value is zero.")


def _negative(case: _Case) -> Pattern | None:
    if not _fits_small(case, -case.want):
        return None
    return Pattern("sign flipped", "every value has the opposite sign of the right one.")


def _fits_small(case: _Case, guess: np.ndarray) -> bool:
    """``_fits`` for guesses without freedom: they need no bits if values are measured ones."""
    if case.whole:
        return _fits(case, guess, case.tolerance)
    right = _near(case.got, guess, case.tolerance)
    return bool(right.mean() >= NEARLY and right[case.wrong].mean() >= NEARLY)


def _copy_of_input(case: _Case) -> Pattern | None:
    for x in case.inputs:
        if x.shape == case.got.shape and _fits_small(case, x):
            return Pattern("input", "it equals the input: nothing was done to the values.")
    return None


def _transposed(case: _Case) -> Pattern | None:
    if case.got.ndim < 2 or min(case.got.shape[-2:]) < 2:
        return None
    turned = case.want.swapaxes(-1, -2)
    limit = case.tolerance.swapaxes(-1, -2)
    if turned.shape == case.got.shape and _fits(case, turned, limit):
        return Pattern("transposed", "it is the transpose of the right result.")
    if turned.shape != case.got.shape and _fits(
        case, turned.reshape(case.got.shape), limit.reshape(case.got.shape)
    ):
        return Pattern(
            "transposed in memory",
            "the right values lie in memory as if rows and columns were exchanged.",
        )
    return None


def _reversed(case: _Case) -> Pattern | None:
    for axis in range(case.got.ndim):
        if case.got.shape[axis] > 1 and _fits(
            case, np.flip(case.want, axis), np.flip(case.tolerance, axis)
        ):
            lines = _lines(case.got.ndim, axis)
            return Pattern("reversed", f"the {lines} are in reverse order.")
    if case.got.ndim > 1 and _fits(case, np.flip(case.want), np.flip(case.tolerance)):
        return Pattern("reversed", "all axes are in reverse order.")
    return None


def _shifted(case: _Case) -> Pattern | None:
    for axis, n in enumerate(case.got.shape):
        if n < 3:
            continue
        first, last = _cut(axis, slice(1, None)), _cut(axis, slice(None, -1))
        for to, source, way in ((first, last, "later"), (last, first, "earlier")):
            got, want, limit = case.got[to], case.want[source], case.tolerance[source]
            wrong = case.wrong[to]
            if (
                wrong.any()
                and _fits(case, want, limit, got)
                and _near(got, want, limit)[wrong].mean() >= NEARLY
                and _bits(got[wrong]) >= case.enough
            ):
                lines = _lines(case.got.ndim, axis)
                return Pattern(
                    "shifted by one",
                    f"the {lines} are shifted by one: each stands one place {way} than it should.",
                )
    return None


def _cut(axis: int, part: slice) -> tuple[slice, ...]:
    return (slice(None),) * axis + (part,)


def _repeated(case: _Case) -> Pattern | None:
    """Every row is the first (or last) row of the right result: all programs did the same one."""
    if case.got.ndim < 2:
        return None
    for axis, n in enumerate(case.got.shape):
        if n < 2:
            continue
        for which, at in (("first", 0), ("last", n - 1)):
            one = _cut(axis, slice(at, at + 1))
            guess = np.broadcast_to(case.want[one], case.got.shape)
            limit = np.broadcast_to(case.tolerance[one], case.got.shape)
            if _fits(case, guess, limit):
                lines = _lines(case.got.ndim, axis)
                return Pattern("repeated", f"all {lines} equal the {which} one of the right ones.")
    return None


def _constant(case: _Case) -> Pattern | None:
    finite = case.got.ravel()
    if finite.size < 2 or not np.isfinite(finite[0]) or np.ptp(finite.real) or np.ptp(finite.imag):
        return None
    if not case.wrong.any() or np.ptp(np.abs(case.want)) == 0:
        return None
    return Pattern(
        "constant", f"every value is the same, {_number(finite[0])}; the right ones differ."
    )


def _scaled(case: _Case) -> Pattern | None:
    c = _ratio(case.got, case.want)
    if c is None or not _distinct(case, 3):
        return None
    if not _fits(case, c * case.want, 2 * abs(c) * case.tolerance):
        return None
    if abs(c - 1) < 2e-3 and case.wrong.mean() < 0.5:
        return None  # a rounding that went one way more often than the other
    text = "the negative of" if c == -1 else f"{_number(c)} times"
    return Pattern("scaled", f"every value is {text} the right one.")


def _ratio(got: np.ndarray, want: np.ndarray) -> complex | float | None:
    """The constant c of got = c * want, from the large values, where rounding matters least."""
    got, want = _sample(got), _sample(want)
    size = np.abs(want)
    use = np.isfinite(got) & np.isfinite(want) & (size > 0)
    if not use.any():
        return None
    use &= size >= np.median(size[use])
    ratios = got[use] / want[use]
    if np.iscomplexobj(ratios):
        return complex(np.median(ratios.real), np.median(ratios.imag))
    return float(np.median(ratios)) or None


def _distinct(case: _Case, n: int) -> bool:
    """Are there at least ``n`` different finite right values other than zero?"""
    values = _sample(case.want)
    return case.lenient or len(np.unique(values[np.isfinite(values) & (values != 0)])) >= n


def _offset(case: _Case) -> Pattern | None:
    difference = _sample(case.got) - _sample(case.want)
    difference = difference[np.isfinite(difference)]
    if difference.size < (1 if case.lenient else 3) or not _distinct(case, 3):
        return None
    if np.iscomplexobj(difference):
        d: complex | float = complex(np.median(difference.real), np.median(difference.imag))
    else:
        d = float(np.median(difference))
    # The sum is rounded where it lies, which may be far from the right value.
    if not _fits(case, case.want + d, case.tolerance + _step(case) * abs(d)):
        return None
    if isinstance(d, complex):
        return Pattern("offset", f"every value is the right one plus {_number(d)}.")
    way = "too large" if d > 0 else "too small"
    return Pattern("offset", f"every value is {_number(abs(d))} {way}.")


def _step(case: _Case) -> float:
    """The relative tolerance."""
    size, tolerance = np.abs(_sample(case.want)), _sample(case.tolerance)
    use = np.isfinite(size) & (size > 0)
    return float(np.median(tolerance[use] / size[use])) if use.any() else 0.0


def _rows_scaled(case: _Case) -> Pattern | None:
    """Each row of the last axis has its own factor or offset (a normalisation is off)."""
    n = case.got.shape[-1] if case.got.ndim > 1 else 0
    if n < 4 or case.whole or case.wrong.any(axis=-1).mean() < NEARLY:
        return None
    rows = np.random.default_rng(3).permutation(case.got.size // n)[:MANY_ROWS]
    got, want, limit = (x.reshape(-1, n)[rows] for x in (case.got, case.want, case.tolerance))
    if len(rows) < 2 or not (np.isfinite(got).all() and np.isfinite(want).all()):
        return None
    if case.wrong.mean() < 0.5:
        return None
    step = _step(case)
    # The factor from the largest value of a row, where rounding matters least.
    top = np.argmax(np.abs(want), axis=-1)[:, None]
    c = np.take_along_axis(got, top, -1) / np.take_along_axis(want, top, -1)
    proper = bool((np.isfinite(c) & (c != 0)).all()) and np.ptp(np.abs(c)) > 0
    # What the right value may be off by, and one rounding each of the result and of the factor.
    scaled = np.abs(c) * limit + step * (np.abs(got) + np.abs(c * want))
    if proper and _fits(case, c * want, scaled, got):
        return Pattern("rows scaled", "each row is the right one times a factor of its own.")
    d = np.median((got - want).real, axis=-1, keepdims=True)
    moved = 2 * limit + step * (np.abs(got) + np.abs(d))
    if np.ptp(d) > 0 and _fits(case, want + d, moved, got):
        return Pattern("rows offset", "each row is the right one plus a constant of its own.")
    return None


def _permuted(case: _Case) -> Pattern | None:
    for axis, n in enumerate(case.got.shape):
        if not 2 <= n <= 4096 or not case.wrong.any():
            continue
        # Rounding can exchange two slices whose projections lie close: another one parts them.
        for seed in (1, 2, 3):
            order = _matching(case, axis, seed)
            if order is None:
                continue
            moved_to = np.take(case.want, order, axis), np.take(case.tolerance, order, axis)
            if not _fits(case, *moved_to):
                continue
            lines = _lines(case.got.ndim, axis)
            moved = np.flatnonzero(order != np.arange(n))
            which = "" if len(moved) > 4 else f" ({', '.join(map(str, moved))})"
            if len(moved) == n:
                return Pattern("permuted", f"the {lines} are right but in another order.")
            return Pattern(
                "permuted", f"{len(moved)} of the {n} {lines} are right but exchanged{which}."
            )
    return None


def _matching(case: _Case, axis: int, seed: int) -> np.ndarray | None:
    """Which slice of the expected values each slice of the result is, if one to one."""
    n = case.got.shape[axis]
    got: np.ndarray = np.moveaxis(case.got, axis, 0).reshape(n, -1)
    want: np.ndarray = np.moveaxis(case.want, axis, 0).reshape(n, -1)
    if not (np.isfinite(got).all() and np.isfinite(want).all()):
        return None
    # Sorted by a random projection, equal slices come to stand at equal places.
    # Complex weights would not sort: the real part is enough to tell slices apart.
    rng = np.random.default_rng(seed)
    if got.size > MANY_ELEMENTS:
        some = rng.integers(0, got.shape[1], 256)
        got, want = np.take(got, some, 1), np.take(want, some, 1)
    weights = rng.normal(size=got.shape[1])
    by_got = np.argsort((got @ weights).real, kind="stable")
    by_want = np.argsort((want @ weights).real, kind="stable")
    order = np.empty(n, dtype=np.intp)
    order[by_got] = by_want
    return None if (order == np.arange(n)).all() else order


def _last_block(case: _Case) -> Pattern | None:
    """Right but for the last block of one axis."""
    if case.tile is None:
        return None
    for axis, (n, block) in enumerate(zip(case.got.shape, case.tile, strict=True)):
        last = (n - 1) // block * block
        if block == 1 or last == 0 or case.wrong[_cut(axis, slice(None, last))].any():
            continue
        part = "last, partial" if n % block else "last"
        return Pattern("last block", f"only the {part} block of axis {axis} is wrong.")
    return None


def _first_right(case: _Case) -> Pattern | None:
    for axis, n in enumerate(case.got.shape):
        if n < 3:
            continue
        first, rest = _cut(axis, slice(None, 1)), _cut(axis, slice(1, None))
        if case.wrong[first].size < 4:  # so few may be right by accident
            continue
        if not case.wrong[first].any() and case.wrong[rest].mean() >= NEARLY:
            line = ("row", "column")[axis] if case.got.ndim == 2 else f"position of axis {axis}"
            return Pattern("first right", f"only the first {line} is right, all others are wrong.")
    return None


def _zero_in_part(case: _Case) -> Pattern | None:
    if case.wrong.sum() > 1 and not case.got[case.wrong].any():
        return Pattern(
            "zero in part",
            "the wrong values are all zero and the others are right.",
        )
    return None


def _masked(case: _Case) -> Pattern | None:
    """Wrong exactly where the right value is zero, -inf or nan: what a mask should blank."""
    if case.wrong.sum() < 3 or case.wrong.all():
        return None
    for value, blank in (("0", case.want == 0), ("-inf", np.isneginf(case.want.real))):
        if np.array_equal(blank, case.wrong):
            return Pattern(
                "masked",
                f"it is wrong exactly where the right value is {value}.",
            )
    return None


# Relative error (root mean square) that rounding once to so many bits makes, about.
_SHORT = (("bfloat16", 8, 1.3e-3), ("float16 or TF32", 11, 1.6e-4))


def _imprecise(case: _Case) -> Pattern | None:
    got, want = _sample(case.got), _sample(case.want)
    finite = np.isfinite(want)
    got, want = got[finite], want[finite]
    if case.whole or not want.size or not np.isfinite(got).all():
        return None
    if np.iscomplexobj(got):
        got, want = (np.concatenate([x.real, x.imag]) for x in (got, want))
    use = want != 0
    if use.sum() < 8 or _step(case) > 1e-4:  # the tolerance is one of a short type itself
        return None
    error = np.abs(got - want)
    level = float(np.sqrt((error**2).mean() / (want**2).mean()))
    # Rounding is everywhere and nowhere large; a bug is often somewhere and large.
    even = np.median(error[use]) > 0.05 * np.sqrt((error**2).mean()) and _of_both_signs(got - want)
    for name, bits, _ in _SHORT:
        rounded = _round(want, bits)
        exact = _representable(got, bits)
        near = np.abs(got - rounded) <= 2.0 ** (1 - bits) * np.abs(want)
        if exact and near.mean() >= NEARLY and not _representable(want, bits):
            return Pattern(
                "precision", f"the values are those of {name}: where do they lose their digits?"
            )
    for _, _, typical in _SHORT:
        if (
            even
            and typical / 2.8 < level < typical * 2.8
            and error.max() < 40 * level * np.sqrt((want**2).mean())
        ):
            return Pattern(
                "precision",
                "the errors are everywhere, of both signs, and small "
                f"(about 1 in {_round_to_one_digit(1 / level)}), as rounding to bfloat16, float16 "
                "or TF32 on the way makes them: does a step work in less than the full precision?",
            )
    return None


def _of_both_signs(errors: np.ndarray) -> bool:
    """As rounding makes them: about as many up as down, and no long runs of either."""
    up = errors[errors != 0] > 0
    if up.size < 8 or not 0.25 < up.mean() < 0.75:
        return False
    return bool(np.mean(up[1:] == up[:-1]) < 0.8)


def _round(x: np.ndarray, bits: int) -> np.ndarray:
    """To ``bits`` significant bits."""
    mantissa, exponent = np.frexp(x)
    return np.ldexp(np.round(mantissa * 2.0**bits), exponent - bits)


def _representable(x: np.ndarray, bits: int) -> bool:
    return bool((x == _round(x, bits)).mean() >= NEARLY)


def _round_to_one_digit(x: float) -> int:
    power = 10 ** math.floor(math.log10(x))
    return int(round(x / power) * power)


_GUESSES: tuple[Callable[[_Case], Pattern | None], ...] = (
    _all_nan,
    _nan_of_inputs,
    _nan_in_part,
    _inf_in_part,
    _all_zero,
    _copy_of_input,
    _negative,
    _transposed,
    _reversed,
    _shifted,
    _constant,
    _repeated,
    _scaled,
    _offset,
    _rows_scaled,
    _permuted,
    _imprecise,
    _masked,
    _zero_in_part,
    _last_block,
    _first_right,
)
