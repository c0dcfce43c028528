"""
Day 6: Reverse mode by hand
===========================
Estimated time: 2 hours
Prerequisites: Day 2 (the chain rule), Day 3 (gradients), Day 4 (topological order)
Lesson: lessons/day06.md

Learning objectives:
- Record what a program computes, step by step, on a tape
- Walk the tape once from its end, and get the derivative by every input at the same time
- Turn each operation's derivative into a rule that hands shares to its operands
- Count operations: a gradient costs a few runs of f, however many inputs there are

    forward, written down                  backward, read from the end
    v0 = input      2.0                    d/dv0 = 3.0 * 1.0 + cos(2.0) * 1.0
    v1 = input      3.0            ^       d/dv1 = 2.0 * 1.0
    v2 = v0 * v1    6.0       |    |       d/dv2 = 1.0   hands to v0 and v1
    v3 = sin v0     0.909...  |    |       d/dv3 = 1.0   hands to v0
    v4 = v2 + v3    6.909...  v    |       d/dv4 = 1     hands to v2 and v3

The number d/dv of an entry is its adjoint: how much the result changes for a change of it. When
the walk comes to an entry, all that use it were met before, so its adjoint is complete.

Hints:
- An entry that is used twice gets two shares. They add up.
- The tape is in topological order as it is written; nobody needs to sort it.
- Do each rule on paper first: y = u / v, and g = d(result)/dy. What do u and v get?

Resources:
- A simple automatic derivative evaluation program, R. E. Wengert 1964:
  https://doi.org/10.1145/355586.364791
- Evaluating Derivatives, A. Griewank and A. Walther, chapters 3 and 4
- Automatic differentiation in machine learning: a survey, Baydin et al. 2018:
  https://arxiv.org/abs/1502.05767
"""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable
from numbers import Real
from typing import Any, NamedTuple

import numpy as np

Function = Callable[[Any], Any]
"""Takes an array (or one number), and returns a number, an array or a list of numbers."""

OPERATIONS: dict[str, Callable[..., Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "**": operator.pow,
    "neg": operator.neg,
    "cos": np.cos,
    "exp": np.exp,
    "log": np.log,
    "sin": np.sin,
    "sqrt": np.sqrt,
    "tanh": np.tanh,
}
"""How each operation is computed. The second operand of ** is a number, never a variable."""


class Variable:
    """The entry number ``index`` of a tape. Whatever is computed with it is written on that tape.

    It takes part in + - * / **, comparisons, numpy.sin and the like, and stands in numpy arrays.
    """

    __slots__ = ("index", "tape")

    def __init__(self, tape: Tape, index: int) -> None:
        self.tape = tape
        self.index = index

    @property
    def value(self) -> Any:
        return self.tape.entries[self.index].value

    def __repr__(self) -> str:
        return f"Variable(v{self.index} = {self.value})"

    def __add__(self, other: Any) -> Any:
        return _apply("+", self, other)

    def __radd__(self, other: Any) -> Any:
        return _apply("+", other, self)

    def __sub__(self, other: Any) -> Any:
        return _apply("-", self, other)

    def __rsub__(self, other: Any) -> Any:
        return _apply("-", other, self)

    def __mul__(self, other: Any) -> Any:
        return _apply("*", self, other)

    def __rmul__(self, other: Any) -> Any:
        return _apply("*", other, self)

    def __truediv__(self, other: Any) -> Any:
        return _apply("/", self, other)

    def __rtruediv__(self, other: Any) -> Any:
        return _apply("/", other, self)

    def __pow__(self, other: Any) -> Any:
        if isinstance(other, Variable):
            return (other * self.log()).exp()
        return _apply("**", self, other)

    def __rpow__(self, other: Any) -> Any:
        return (self * np.log(other)).exp()

    def __neg__(self) -> Any:
        return _apply("neg", self)

    def __abs__(self) -> Any:
        return -self if self < 0 else self

    def __lt__(self, other: Any) -> bool:
        return bool(self.value < _value(other))

    def __le__(self, other: Any) -> bool:
        return bool(self.value <= _value(other))

    def __gt__(self, other: Any) -> bool:
        return bool(self.value > _value(other))

    def __ge__(self, other: Any) -> bool:
        return bool(self.value >= _value(other))

    # numpy.sin of an array of objects calls the method sin of each.
    def cos(self) -> Any:
        return _apply("cos", self)

    def exp(self) -> Any:
        return _apply("exp", self)

    def log(self) -> Any:
        return _apply("log", self)

    def sin(self) -> Any:
        return _apply("sin", self)

    def sqrt(self) -> Any:
        return _apply("sqrt", self)

    def tanh(self) -> Any:
        return _apply("tanh", self)


def _value(number: Any) -> Any:
    return number.value if isinstance(number, Variable) else number


def _apply(op: str, *operands: Any) -> Any:
    """Writes the operation on the newest of its operands' tapes.

    An older tape belongs to a derivative further out: to the newer one its variables are numbers.
    """
    if not all(isinstance(operand, (Variable, Real)) for operand in operands):
        return NotImplemented  # an array: numpy then takes it element by element
    tapes = [operand.tape for operand in operands if isinstance(operand, Variable)]
    return max(tapes, key=lambda tape: tape.birth).apply(op, *operands)


def _numbers(x: Any) -> np.ndarray:
    """``x`` as an array of float64; an array of objects, such as Variables, stays what it is."""
    x = np.asarray(x)
    return x if x.dtype == object else x.astype(float)


class Entry(NamedTuple):
    """One line of a tape: ``op`` is "input", "number" or a key of OPERATIONS.

    ``operands`` are the places on the tape of what it was computed from, in the order they were
    written; u * u has the same place twice. Empty for an input or a number.
    """

    op: str
    operands: tuple[int, ...]
    value: Any


_births = itertools.count()


class Tape:
    """A Wengert list: what a program computed, in the order it was computed.

    Attributes:
        entries: a list of Entry; operands always stand before what is computed from them
        inputs, outputs: arrays of Variables of this tape, set by ``record``
        birth: a tape that is made later has a larger one
    """

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.inputs = self.outputs = np.empty(0, dtype=object)
        self.birth = next(_births)

    def leaf(self, op: str, value: Any) -> Variable:
        """Writes an "input" or a "number", which has no operands; returns its Variable.

        A real number (``numbers.Real``: Python's, numpy's, a Fraction) is written as np.float64, so
        that 1 / 0 is numpy's inf and no exception. Anything else, such as a Variable of another
        tape, is written as it is.
        """
        # TODO: append an Entry, return the Variable of its place.
        # HINT: the place of the next entry is the number of entries so far.
        raise NotImplementedError("Tape.leaf")

    def apply(self, op: str, *operands: Any) -> Variable:
        """Computes an operation, writes it on the tape, and returns its Variable.

        An operand is a Variable of this tape, or else a number to this tape: a Python or numpy
        number, or a Variable of another tape. Each number is first written on the tape as a
        ``leaf``, from left to right. Then the operation is computed once, from the operands'
        values, by ``OPERATIONS[op]``, and written.

        >>> tape = Tape()
        >>> x = tape.leaf("input", 3)
        >>> y = tape.apply("*", 2, x)
        >>> print(tape)
        v0 = input        3.0
        v1 = number       2.0
        v2 = v1 * v0      6.0
        """
        # TODO: a place on the tape for each operand; the value; an Entry.
        # HINT: which operands have a place on this tape already? Being a Variable is not enough.
        raise NotImplementedError("Tape.apply")

    def __str__(self) -> str:
        lines = []
        for place, (op, operands, value) in enumerate(self.entries):
            names = [f"v{operand}" for operand in operands]
            text = f" {op} ".join(names) if len(names) == 2 else " ".join([op, *names])
            lines.append(f"v{place} = {text:12} {value}")
        return "\n".join(lines)


def record(f: Function, x: Any) -> Tape:
    """The tape of f at x, with ``inputs`` and ``outputs`` filled.

    ``x`` is a number, a list or an array of any shape (``_numbers`` prepares it). Its elements are
    the first entries of the tape, in row order, each an "input". ``tape.inputs`` is an array of
    objects of x's shape that holds their Variables. f is called once, with a copy of that array (f
    may change it), or with the Variable itself if x is one number, of shape ().

    ``tape.outputs`` is an array of objects of the shape of what f returned, made of Variables of
    this tape: a number that f returned, or a Variable of another tape, is written on the tape as a
    "number" for it. f may return an input, or one Variable several times.

    >>> print(record(lambda x: x[0] * x[1] + 1, [2.0, 3.0]))
    v0 = input        2.0
    v1 = input        3.0
    v2 = v0 * v1      6.0
    v3 = number       1.0
    v4 = v2 + v3      7.0
    """
    # TODO: a leaf for each element of x; a call of f; an array of Variables for what it returned.
    # HINT: out = np.empty(shape, dtype=object), then for i in np.ndindex(shape): out[i] = ...
    raise NotImplementedError("record")


def backward(tape: Tape, u: Any = None) -> list[Any]:
    """The adjoint of every entry: the derivative of s = sum(u * outputs) with respect to it.

    ``u`` is a number, a list or an array of the shape of ``tape.outputs``. It may be left out if
    that is (): then it is 1. The result is a list with an element for each entry of the tape; 0.0
    for an entry that s does not depend on.

    The tape is read once, from the end, by a loop, and never changed: another u may follow. An
    entry with the adjoint g hands to each operand a share, g times the derivative of the entry with
    respect to that operand; shares add up. 0 · inf is nan, and stays nan: an entry whose adjoint is
    0.0 hands out its shares like any other, so sqrt(x) · 0 has no slope at 0. But

    - an entry that no output was computed from hands out nothing, so an unused log(0) does no harm
    - ** hands nothing to its exponent, and if that is 0 nothing to its base either: x ** 0 is 1
      for every x, also for 0

    Values and u may be Variables of another tape: use their operators, the numpy functions of
    OPERATIONS and Python numbers, no float(...). At most 6 operations for each operation on the
    tape: use what is known, such as the entry's own value.

    Raises ValueError when u has not the shape of the outputs; the message shows both shapes.

    >>> print(*backward(record(lambda x: x * x, 3.0)))
    6.0 1.0
    """
    # TODO: seeds for the outputs; a walk from the last entry to the first with a rule for each op.
    # HINT: when the walk reaches an entry, all shares for it are there. Why?
    # HINT: what tells an entry that got a share of 0.0 from one that got none?
    raise NotImplementedError("backward")


def vjp(f: Function, x: Any, u: Any) -> tuple[Any, Any]:
    """f(x), and the vector-Jacobian product: the gradient of sum(u * f(x)) with respect to x.

    For a function from n to m numbers that is uᵀJ, n numbers; with a single 1 in u it is one row
    of the Jacobian, and for one output and u = 1 the gradient. f is called once.

    The two results have the shapes of f(x) and of x: arrays of float64, or one np.float64 for the
    shape (). x, u and what f uses may hold Variables of another tape (a vjp inside a vjp, for
    second derivatives); then a result may be an array of objects, or one Variable.

    >>> value, slope = vjp(lambda x: x[0] * np.sin(x[1]), [2.0, 0.0], 1.0)
    >>> print(value, slope)
    0.0 [0. 2.]
    """
    # TODO: record, backward, and the adjoints of the inputs in the shape of x.
    # HINT: tape.inputs knows the shape and the places.
    raise NotImplementedError("vjp")


class Cost(NamedTuple):
    """How many operations: of f, and of the backward pass after it."""

    forward: int
    backward: int


def cost(f: Function, x: Any) -> Cost:
    """Counts the operations that f takes at x, and those that ``backward`` takes after it.

    Each operation (of OPERATIONS) on numbers counts 1; inputs, numbers, and moving things about
    count 0. u is all ones, of the shape of f(x).

    Count what happens rather than what should: record f where the inputs are themselves Variables
    of another tape. Whatever is computed with values, by f or by ``backward``, then writes itself
    on that other tape.

    >>> cost(lambda x: x[0] * x[1] * x[2], [2.0, 3.0, 5.0])
    Cost(forward=2, backward=4)
    """
    # TODO: a counting tape with the elements of x on it; record f at those; count; backward; count.
    # HINT: which entries of the counting tape are operations?
    raise NotImplementedError("cost")


def test_tape() -> None:
    tape = Tape()
    x = tape.leaf("input", 3)
    y = tape.apply("*", 2, x)
    assert y.value == 6.0
    assert tape.entries == [("input", (), 3.0), ("number", (), 2.0), ("*", (1, 0), 6.0)]


def test_record() -> None:
    tape = record(lambda x: x[0] * x[1] + 1, [2.0, 3.0])
    assert [entry.op for entry in tape.entries] == ["input", "input", "*", "number", "+"]
    assert tape.outputs[()].value == 7.0


def test_backward() -> None:
    assert backward(record(lambda x: x * x, 3.0)) == [6.0, 1.0]


def test_vjp() -> None:
    value, slope = vjp(lambda x: [x[0] * x[1], x[0] / x[1]], [6.0, 2.0], [1.0, 10.0])
    assert np.allclose(value, [12.0, 3.0])
    assert np.allclose(slope, [7.0, -9.0])


def test_cost() -> None:
    assert cost(lambda x: x[0] * x[1] * x[2], [2.0, 3.0, 5.0]).forward == 2


if __name__ == "__main__":
    from harness import main

    main(__file__)
