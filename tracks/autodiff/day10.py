"""
Day 10: Powers and exponentials
===============================
Estimated time: 1-2 hours
Prerequisites: Day 2 (the chain rule), Day 9 (arithmetic)
Lesson: lessons/day10.md

Learning objectives:
- Give exp, log, sqrt and abs their local backwards, from numbers that are at hand already
- Tell apart a power with a constant exponent and one whose exponent has a gradient
- Decide what happens at 0, and say so
- Fail at the operation that went wrong, with its name and its number

    value   share of x            share of n          where it is defined
    exp x   g * exp x                                 too large above 709.78…
    log x   g / x                                     x > 0
    sqrt x  g / (2 sqrt x)                            x >= 0; slope inf at 0
    |x|     g * sign x                                everywhere; slope 0 at 0
    x ** n  g * n * x ** (n - 1)  g * x ** n * log x  x > 0; x = 0, n >= 0;
                                                      x < 0, whole n

An error is raised where a *value* does not exist. A backward raises none: a slope that is infinite
is inf, and one that does not exist is nan.

Hints:
- exp, sqrt and ** have slopes that can be said with their own value.
- x ** 0 is 1 for every x, also for 0. What is the slope of a function that is 1 everywhere?
- Python's (-8.0) ** 0.5 is a complex number, not an error.

Resources:
- The math module: https://docs.python.org/3/library/math.html
- C's pow and its special cases: https://en.cppreference.com/w/c/numeric/math/pow
- torch.pow: https://docs.pytorch.org/docs/stable/generated/torch.pow.html
"""

from __future__ import annotations

import math
from collections.abc import Callable
from numbers import Real
from typing import Any, TypeVar

import numpy as np

from tracks.autodiff.day08 import Value as Base
from tracks.autodiff.day09 import Value as Arithmetic
from tracks.autodiff.day09 import operand

V = TypeVar("V", bound=Base)


def compute(f: Callable[..., float], *numbers: float) -> float:
    """f(*numbers), for a function such as ``math.log``; an error says which call it was.

    Where f raises ValueError or an ArithmeticError (OverflowError and ZeroDivisionError are such),
    an error of the same type is raised whose message starts with the call, its numbers as ``repr``
    shows them, and goes on with the message of f's error. Other errors pass as they are, and nan
    and inf are handed to f and returned like any number.

    >>> compute(math.pow, 2.0, 3.0)
    8.0
    >>> compute(math.sqrt, -2.0)
    Traceback (most recent call last):
    ValueError: sqrt(-2.0): math domain error

    The text after the colon is Python's, and differs between its versions.
    """
    # TODO: call f; if that fails, fail alike and say where.
    # HINT: a function knows its name: f.__name__.
    raise NotImplementedError("compute")


class Exponential(Arithmetic):
    """A Value with ``exp`` and ``log``.

    Of all that is written today:

    - what is true of day 9's operators is true here: the result is made with ``self.__class__``,
      its backward adds shares to the parents' grads, and does not use the result
    - the slopes are those of the numbers that the operation was computed from: data that is changed
      after the operation and before its backward, as training does it, changes no share
    - what the operation has computed, such as exp x, the backward uses again: neither ``exp`` nor
      ``sqrt`` is computed a second time there
    - the value comes from Python's ``math`` through ``compute``: outside of the domain that is a
      ValueError, and an OverflowError if it is too large; both name the call and its numbers
    - nan and inf are no errors: ``math.exp(inf)`` is inf, ``math.log(nan)`` is nan
    - numpy's ``np.exp(a)`` calls the method ``exp`` of a Value, and so on
    """

    __slots__ = ()

    def exp(self: V) -> V:
        """e to the power of self, with op ``"exp"``.

        >>> a = Exponential(0.0)
        >>> b = a.exp()
        >>> b._backward(3.0)
        >>> b.data, a.grad
        (1.0, 3.0)
        """
        # TODO: the value, computed once, the local backward, and the result.
        # HINT: which function is its own slope?
        raise NotImplementedError("Exponential.exp")

    def log(self: V) -> V:
        """The natural logarithm of self, with op ``"log"``. ValueError unless self is positive.

        >>> a = Exponential(4.0)
        >>> a.log()._backward(1.0)
        >>> a.grad
        0.25
        """
        # TODO: as exp.
        # HINT: exp and log undo each other. What does that say about their slopes?
        raise NotImplementedError("Exponential.log")


class Root(Exponential):
    """A Value with ``sqrt`` and ``abs(...)`` too: two functions with a corner at 0."""

    __slots__ = ()

    def sqrt(self: V) -> V:
        """The square root of self, with op ``"sqrt"``. ValueError if self is negative.

        At 0 the root is 0, no error. Its slope there is infinite: the share is ``grad * inf``,
        which is inf, -inf, or nan for a grad of 0.

        >>> a = Root(9.0)
        >>> a.sqrt()._backward(3.0)
        >>> a.grad
        0.5
        """
        # TODO: the value, the local backward with its special case, and the result.
        # HINT: from r * r = x: how does r change if x does?
        raise NotImplementedError("Root.sqrt")

    def __abs__(self: V) -> V:
        """|self|, with op ``"abs"``.

        The share is grad where self is positive, -grad where it is negative, and 0 at 0. There each
        slope from -1 to 1 would do; PyTorch and numpy's ``sign`` take the one in the middle.

        >>> a = Root(-2.0)
        >>> abs(a)._backward(3.0)
        >>> a.grad
        -3.0
        """
        # TODO: the value, the local backward, and the result.
        # HINT: there are three cases.
        raise NotImplementedError("Root.__abs__")


def _power(x: float, n: float) -> float:
    """x ** n for a slope, which may be anything: inf if it is too large, also for 0 ** -1."""
    try:
        return math.pow(x, n)
    except (ValueError, OverflowError):
        with np.errstate(all="ignore"):
            return float(np.float64(x) ** n)


class Power(Root):
    """A Value with ``self ** number`` too."""

    __slots__ = ()

    def __pow__(self: V, exponent: Any) -> V:
        """self to a constant power: a real number n, whole or not, positive or not.

        A constant needs no gradient, so it becomes no node. The result has one parent, and shows
        the exponent in its op: ``"**2"``, ``"**0.5"``, ``"**-1"``, which is ``f"**{n:g}"``.

        The value is ``math.pow(x, n)``, by ``compute``. It is 1 for n = 0, also for 0 ** 0. It does
        not exist, and is a ValueError, for a negative x if n is not whole, and for x = 0 if n is
        negative.

        The share of self is ``grad * n * x ** (n - 1)``, with two things to mind:

        - for n = 0 the value is 1 everywhere: the share is 0, also at x = 0, and with x inf or nan
        - x ** (n - 1) may be infinite where x ** n is not, as at x = 0 for n = 0.5: ``_power``
          gives inf there, and no error

        >>> a = Power(-3.0)
        >>> b = a**2
        >>> b._backward(1.0)
        >>> b.data, b.op, a.grad
        (9.0, '**2', -6.0)
        """
        if not isinstance(exponent, Real):
            return NotImplemented
        # TODO: n as a float, the value, the local backward, and the result.
        # HINT: 0 ** 0 is 1, 0 ** -1 is no number. Which of them does the slope of x ** 0 meet?
        raise NotImplementedError("Power.__pow__")


class Value(Power):
    """A Value with ``self ** value`` and ``number ** self`` too: all of today's, and day 9's.

    >>> x = Value(2.0)
    >>> y = x**x + x.log() * abs(-x)
    >>> round(y.data, 4)
    5.3863
    """

    __slots__ = ()

    def __pow__(self: V, exponent: Any) -> V:
        """self to the power of another Value, with op ``"**"`` and two parents.

        With x and n for the numbers of the two, the value is as for a constant n, errors included.
        So is the share of self. The share of the exponent is ``grad * x ** n * log(x)``:

        - for x = 0 it is 0: as far as the value exists, for n >= 0, log's infinity loses to the 0
          (PyTorch decides in the same way for 0 ** 0)
        - for x < 0 it is nan: for a whole n there is a value, but for no n near it

        A number as exponent is ``Power``'s affair.

        >>> a, b = Value(2.0), Value(3.0)
        >>> (a**b)._backward(1.0)
        >>> a.grad, round(b.grad, 4)
        (12.0, 5.5452)
        """
        if not isinstance(exponent, Base):
            return super().__pow__(exponent)
        # TODO: the two numbers, the value, the local backward for both, and the result.
        # HINT: x ** n is exp(n log x). What is its slope if n moves?
        raise NotImplementedError("Value.__pow__")

    def __rpow__(self: V, base: Any) -> V:
        """base ** self, where base is a number. It becomes a Value, the first parent.

        >>> a = Value(3.0)
        >>> b = 2**a
        >>> b._backward(1.0)
        >>> b.data, round(a.grad, 4)
        (8.0, 5.5452)
        """
        base = operand(base, self)
        if base is NotImplemented:
            return NotImplemented
        # TODO: the power of two Values.
        # HINT: 2 ** a is not a ** 2.
        raise NotImplementedError("Value.__rpow__")


def test_compute() -> None:
    assert compute(math.pow, 2.0, 3.0) == 8.0
    try:
        compute(math.sqrt, -2.0)
    except ValueError as error:
        assert str(error).startswith("sqrt(-2.0): ")


def test_exponential() -> None:
    a = Exponential(4.0)
    b = a.log()
    b._backward(1.0)  # type: ignore[misc]
    assert (b.data, b.op, a.grad) == (math.log(4.0), "log", 0.25)


def test_root() -> None:
    a = Root(9.0)
    a.sqrt()._backward(3.0)  # type: ignore[misc]
    assert a.grad == 0.5
    b = Root(-2.0)
    abs(b)._backward(3.0)  # type: ignore[misc]
    assert b.grad == -3.0


def test_power() -> None:
    a = Power(-3.0)
    b = a**2
    b._backward(1.0)  # type: ignore[misc]
    assert (b.data, b.op, a.grad) == (9.0, "**2", -6.0)


def test_value() -> None:
    a, b = Value(2.0), Value(3.0)
    c = a**b
    c._backward(1.0)  # type: ignore[misc]
    assert (c.data, a.grad, b.grad) == (8.0, 12.0, 8.0 * math.log(2.0))
    assert (2**b).data == 8.0


if __name__ == "__main__":
    from harness import main

    main(__file__)
