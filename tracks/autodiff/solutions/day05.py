"""
Day 5: Forward mode
===================
Estimated time: 1-2 hours
Prerequisites: Day 3 (gradients and Jacobians), Day 4 (computational graphs)
Lesson: lessons/day05.md

Learning objectives:
- Carry a slope beside every number, and get derivatives without a step size
- Let Python's operators and numpy's functions do it in code that knows nothing of derivatives
- Push one direction through a function in one pass; a Jacobian, column by column
- Take derivatives inside derivatives, and keep their slopes apart

        x      = (3, 1)                    value 3, slope 1: x moves as x does
        x * x  = (9, 6)                    (u v,  u' v + u v')
        sin(_) = (sin 9, cos(9) * 6)       (sin u, cos(u) u')

Each operation does its part of the chain rule at once, in the order in which the program runs. No
graph is kept, and no step size is needed: the slopes are as exact as the values.

Hints:
- Write each rule on paper first, as a pair: what is the value, what is the slope?
- np.sin(u) of an object calls its method u.sin(); so rules written with np.sin work on Duals too.
- A number that a derivative call did not make is a constant to it, even if it is a Dual.

Resources:
- A simple automatic derivative evaluation program, R. Wengert 1964:
  https://doi.org/10.1145/355586.364791
- Perturbation confusion and referential transparency, J. Siskind and B. Pearlmutter 2005
- Evaluating Derivatives, A. Griewank and A. Walther, chapter 3
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from numbers import Real
from typing import Any

import numpy as np

Function = Callable[[Any], Any]
"""Takes a number or an array; returns a number, an array, or a list of numbers."""

_tags = itertools.count(1)
"""next(_tags) is a tag that no derivative call had before, larger than all of them."""


def _number(number: Any) -> Any:
    """A Dual as it is; any other real number as numpy.float64."""
    if isinstance(number, Dual):
        return number
    if isinstance(number, Real):
        return np.float64(number)
    raise TypeError(f"one real number was expected, not a {type(number).__name__}")


def _parts(number: Any, tag: int) -> tuple[Any, Any]:
    """(value, slope) of a number as the derivative call ``tag`` sees it; a constant has slope 0."""
    if isinstance(number, Dual) and number.tag == tag:
        return number.value, number.slope
    return _number(number), np.float64(0.0)


def _is_zero(number: Any) -> bool:
    """Whether this is the plain number 0. A Dual is not, as its slope may be something else."""
    return not isinstance(number, Dual) and number == 0


def _plain(number: Any) -> Any:
    """The number itself, with the slopes of all derivative calls left out."""
    while isinstance(number, Dual):
        number = number.value
    return number


class Dual:
    """A number and its slope: how fast it changes as the variable of a derivative call changes.

    Attributes:
        value: the number; a numpy.float64, or a Dual of an older call
        slope: its derivative; a numpy.float64, or a Dual of an older call
        tag: which derivative call it belongs to; newer calls have larger tags

    ``+ - * / **`` work with Duals and with real numbers on either side; unary ``-``, ``abs``, and
    np.sin, np.cos, np.exp, np.log, np.tanh, which call the methods, work too. The results are
    Duals. The values are numpy's: 1 / 0 is inf, log(-1) is nan, with numpy's warnings.
    Comparisons look at the numbers alone, so that ``if x > 0`` takes the way it takes for numbers.
    """

    __slots__ = ("slope", "tag", "value")

    def __init__(self, value: Any, slope: Any, tag: int) -> None:
        self.value = _number(value)
        self.slope = _number(slope)
        self.tag = tag

    def __repr__(self) -> str:
        return f"Dual({self.value}, {self.slope}, tag={self.tag})"

    def _with(self, other: Any) -> tuple[int, Any, Any, Any, Any]:
        """(tag, u, du, v, dv): self and other, a real number or a Dual, as one call sees them.

        The call is the newest of theirs. Only what belongs to it has a slope there; the other one
        is a constant: its own value, whole, with slope 0.

        >>> Dual(2, 1, tag=1)._with(5)[1:] == (2, 1, 5, 0)
        True
        """
        # TODO: the larger tag, then the parts of both.
        # HINT: _parts does the seeing; which tag should it be given?
        ### BEGIN SOLUTION
        # HINT: an older Dual stays whole inside the newer: Duals in Duals, newest outside.
        tag = max(self.tag, other.tag) if isinstance(other, Dual) else self.tag
        return tag, *_parts(self, tag), *_parts(other, tag)
        ### END SOLUTION

    def __add__(self, other: Any) -> Dual:
        """u + v."""
        if not isinstance(other, (Dual, Real)):
            return NotImplemented  # an array: numpy then adds each of its elements
        # TODO: the parts of both from _with; a Dual of the sum and its slope.
        # HINT: the slope of a sum is the sum of the slopes.
        ### BEGIN SOLUTION
        # HINT: Dual(u + v, du + dv, tag)
        tag, u, du, v, dv = self._with(other)
        return Dual(u + v, du + dv, tag)
        ### END SOLUTION

    def __mul__(self, other: Any) -> Dual:
        """u * v."""
        if not isinstance(other, (Dual, Real)):
            return NotImplemented
        # TODO: the product rule.
        # HINT: what does the area of a rectangle gain if both sides grow a little?
        ### BEGIN SOLUTION
        # HINT: the slope is du * v + u * dv.
        tag, u, du, v, dv = self._with(other)
        return Dual(u * v, du * v + u * dv, tag)
        ### END SOLUTION

    def __truediv__(self, other: Any) -> Dual:
        """u / v."""
        if not isinstance(other, (Dual, Real)):
            return NotImplemented
        # TODO: the quotient rule.
        # HINT: with q = u / v, u is q v; take the slope on both sides and solve for dq.
        ### BEGIN SOLUTION
        # HINT: du = dq * v + q * dv.
        tag, u, du, v, dv = self._with(other)
        quotient = u / v
        return Dual(quotient, (du - quotient * dv) / v, tag)
        ### END SOLUTION

    def __pow__(self, other: Any) -> Dual:
        """u ** v, with the slope v u^(v - 1) du + u^v log(u) dv.

        A term is 0 where its du or dv is the plain number 0 (a constant base or exponent), even
        if the rest of it is not defined: log(u) of a negative base, say, does not matter in u³.
        The first term is 0 too where v is the plain number 0: u⁰ is 1 everywhere, also at u = 0.
        No warning comes from a term that is left out.
        """
        if not isinstance(other, (Dual, Real)):
            return NotImplemented
        # TODO: the value, then the terms that are there.
        # HINT: _is_zero says whether a slope or an exponent is the plain 0.
        ### BEGIN SOLUTION
        # HINT: start with a slope of 0.0, and add each term inside an if.
        # HINT: a Dual compares equal to 0 when its number is 0; it is no plain 0 for all that.
        tag, u, du, v, dv = self._with(other)
        power = u**v
        slope: Any = 0.0
        if not _is_zero(du) and not _is_zero(v):
            slope += v * u ** (v - 1) * du
        if not _is_zero(dv):
            slope += power * np.log(u) * dv
        return Dual(power, slope, tag)
        ### END SOLUTION

    def __neg__(self) -> Dual:
        """-u."""
        # TODO: both parts change sign.
        # HINT: the tag stays.
        ### BEGIN SOLUTION
        # HINT: Dual(-self.value, ..., self.tag)
        return Dual(-self.value, -self.slope, self.tag)
        ### END SOLUTION

    def __sub__(self, other: Any) -> Dual:
        """u - v."""
        if not isinstance(other, (Dual, Real)):
            return NotImplemented
        # TODO: as the sum.
        # HINT: is there a way to say it with operators that are there already?
        ### BEGIN SOLUTION
        # HINT: self + (-other)
        return self + -other
        ### END SOLUTION

    def __rsub__(self, other: Any) -> Dual:
        """other - self, where other is no Dual."""
        if not isinstance(other, Real):
            return NotImplemented
        # TODO: a difference the other way round.
        # HINT: 5 - x comes here with other = 5.
        ### BEGIN SOLUTION
        # HINT: -self + other
        return -self + other
        ### END SOLUTION

    def __rtruediv__(self, other: Any) -> Dual:
        """other / self, where other is no Dual."""
        if not isinstance(other, Real):
            return NotImplemented
        # TODO: a quotient the other way round.
        # HINT: a constant is a Dual with slope 0.
        ### BEGIN SOLUTION
        # HINT: make other a Dual with self's tag, and divide.
        return Dual(other, 0.0, self.tag) / self
        ### END SOLUTION

    def __rpow__(self, other: Any) -> Dual:
        """other ** self, where other is no Dual."""
        if not isinstance(other, Real):
            return NotImplemented
        # TODO: a power the other way round.
        # HINT: as the quotient.
        ### BEGIN SOLUTION
        # HINT: Dual(other, 0.0, self.tag) ** self
        return Dual(other, 0.0, self.tag) ** self
        ### END SOLUTION

    def sin(self) -> Dual:
        """sin u; np.sin(u) calls it. Take values with np.sin, as the value may be a Dual."""
        # TODO: the sine of the value, and the chain rule.
        # HINT: the slope of sin at u, times the slope of u.
        ### BEGIN SOLUTION
        # HINT: np.cos(self.value) * self.slope
        return Dual(np.sin(self.value), np.cos(self.value) * self.slope, self.tag)
        ### END SOLUTION

    def cos(self) -> Dual:
        """cos u."""
        # TODO: the cosine of the value, and the chain rule.
        # HINT: mind the sign.
        ### BEGIN SOLUTION
        # HINT: the slope of cos is -sin.
        return Dual(np.cos(self.value), -np.sin(self.value) * self.slope, self.tag)
        ### END SOLUTION

    def exp(self) -> Dual:
        """e to the power of u; the exponential of the value is computed once."""
        # TODO: the exponential, computed once, and the chain rule.
        # HINT: exp is its own derivative.
        ### BEGIN SOLUTION
        # HINT: keep np.exp(self.value) in a variable and use it twice.
        power = np.exp(self.value)
        return Dual(power, power * self.slope, self.tag)
        ### END SOLUTION

    def log(self) -> Dual:
        """The natural logarithm of u."""
        # TODO: the logarithm of the value, and the chain rule.
        # HINT: its derivative is 1 / u.
        ### BEGIN SOLUTION
        # HINT: self.slope / self.value
        return Dual(np.log(self.value), self.slope / self.value, self.tag)
        ### END SOLUTION

    def tanh(self) -> Dual:
        """tanh u; the tanh of the value is computed once."""
        # TODO: the tanh, computed once, and the chain rule.
        # HINT: its derivative can be said with tanh itself.
        ### BEGIN SOLUTION
        # HINT: 1 - tanh² u
        t = np.tanh(self.value)
        return Dual(t, (1.0 - t * t) * self.slope, self.tag)
        ### END SOLUTION

    def __abs__(self) -> Dual:
        """|u|, with slope du where u > 0, -du where u < 0, and 0 where u is 0."""
        # TODO: |u| is u times 1, -1 or 0.
        # HINT: numpy.sign, of the plain number: _plain finds it, however deep.
        ### BEGIN SOLUTION
        # HINT: the sign is a constant: self * np.sign(...)
        return self * np.sign(_plain(self))
        ### END SOLUTION

    # What follows is given.

    __radd__ = __add__
    __rmul__ = __mul__

    def __pos__(self) -> Dual:
        return self

    def __lt__(self, other: Any) -> Any:
        return _plain(self) < _plain(other)

    def __le__(self, other: Any) -> Any:
        return _plain(self) <= _plain(other)

    def __gt__(self, other: Any) -> Any:
        return _plain(self) > _plain(other)

    def __ge__(self, other: Any) -> Any:
        return _plain(self) >= _plain(other)

    def __eq__(self, other: Any) -> Any:
        return _plain(self) == _plain(other)

    __hash__ = None  # type: ignore[assignment]  # two Duals that are equal may not be the same


def _array(numbers: list[Any], shape: tuple[int, ...]) -> np.ndarray:
    """An array of these numbers: of floats, or of objects where there are Duals among them."""
    kind = object if any(isinstance(number, Dual) for number in numbers) else float
    array = np.empty(len(numbers), dtype=kind)
    array[:] = numbers
    return array.reshape(shape)


def _split(result: Any, tag: int) -> tuple[Any, Any]:
    """(values, slopes) of what a function returned, as the call ``tag`` sees it.

    For a number two numbers; for an array or a list two arrays of its shape.
    """
    result = np.asarray(result)
    pairs = [_parts(number, tag) for number in result.ravel()]
    values = _array([value for value, _ in pairs], result.shape)
    slopes = _array([slope for _, slope in pairs], result.shape)
    return values[()], slopes[()]


def derivative(f: Function, x: Any) -> Any:
    """The derivative of f, a function of one number, at the number x; f is called once.

    f is ordinary code: Python's operators, numpy's functions, loops, branches. It may return one
    number, an array or a list; the result has that shape. It is a numpy.float64 (or an array of
    float64), and 0 where f does not depend on its argument.

    f may take derivatives itself, of functions that use f's argument too. Then x may be a Dual
    of an outer call, and so may the result. Each call of ``derivative`` has a new tag, and takes
    out only the slopes with that tag.

    >>> print(derivative(lambda x: x**3 + 2 * x, 2.0))
    14.0
    >>> print(derivative(lambda x: derivative(lambda y: y**3, x), 2.0))
    12.0
    """
    # TODO: a new tag; f of a Dual with that tag; the slopes of what it returns.
    # HINT: how fast does x change as x changes?
    ### BEGIN SOLUTION
    # HINT: next(_tags) is the tag; the slope to start with is 1.
    # HINT: _split(result, tag) gives the values and the slopes.
    tag = next(_tags)
    return _split(f(Dual(x, 1.0, tag)), tag)[1]
    ### END SOLUTION


def jvp(f: Function, x: Any, v: Any) -> tuple[Any, Any]:
    """(f(x), J v): the value of f at x, and its slope in the direction v; f is called once.

    ``x`` is an array of any shape or a list, of real numbers (also whole ones) or Duals of outer
    calls; ``v`` has the same shape. f is given an array of x's shape, dtype object, whose elements
    are Duals; indexing, ``+ - * / ** @``, sums and numpy's functions work on it. It returns a
    number, an array or a list; both results have its shape, and are made of float64 unless outer
    calls' Duals are in them. J is the Jacobian of f at x, and is never made.

    Each call has a new tag. Raises ValueError when x and v have different shapes, before f is
    called; the message names both.

    >>> value, slope = jvp(lambda x: x[0] * x[1], [3.0, 5.0], [1.0, 10.0])
    >>> print(value, slope)
    15.0 35.0
    """
    # TODO: an array of Duals, element by element; f of it; its values and slopes.
    # HINT: element i starts with the value x[i]. With which slope?
    ### BEGIN SOLUTION
    # HINT: numpy.empty(x.shape, dtype=object) is an array to put Duals in.
    # HINT: for i in np.ndindex(x.shape): duals[i] = Dual(x[i], v[i], tag)
    x, v = np.asarray(x), np.asarray(v)
    if x.shape != v.shape:
        raise ValueError(f"x has the shape {x.shape}, but the direction v has {v.shape}")
    tag = next(_tags)
    duals = np.empty(x.shape, dtype=object)
    for i in np.ndindex(x.shape):
        duals[i] = Dual(x[i], v[i], tag)
    return _split(f(duals), tag)
    ### END SOLUTION


def jacobian_forward(f: Function, x: Any) -> np.ndarray:
    """The derivative of every output of f with respect to every input, at x.

    As day 3's ``jacobian``: the result has the shape of f(x) followed by the shape of x, which has
    at least one element. f is called once for each element of x, and takes and returns what it
    does in ``jvp``. x and the result may hold Duals of outer calls, so that the Jacobian of a
    Jacobian works: for an f that returns one number it is the Hessian.

    >>> print(jacobian_forward(lambda x: [x[0] * x[1], x[0] + x[1], x[1]], [2.0, 3.0]))
    [[3. 2.]
     [1. 1.]
     [0. 1.]]
    """
    # TODO: one jvp for each element of x; put the columns together.
    # HINT: which direction v makes J v the column of one input?
    ### BEGIN SOLUTION
    # HINT: all 0 but for a 1 at that element: direction = np.zeros(x.shape); direction[i] = 1.0.
    # HINT: numpy.stack(columns, axis=-1), then reshape the last axis to the shape of x.
    x = np.asarray(x)
    columns = []
    for i in np.ndindex(x.shape):
        direction = np.zeros(x.shape)
        direction[i] = 1.0
        columns.append(jvp(f, x, direction)[1])
    return np.stack(columns, axis=-1).reshape(np.shape(columns[0]) + x.shape)
    ### END SOLUTION


def test_dual() -> None:
    x = Dual(3.0, 1.0, tag=1)
    y = 2 * x**2 - 1 / x
    assert np.allclose([y.value, y.slope], [18 - 1 / 3, 12 + 1 / 9])
    assert np.isclose(np.sin(x).slope, np.cos(3.0))


def test_derivative() -> None:
    assert derivative(lambda x: x**3 + 2 * x, 2.0) == 14.0


def test_derivative_inside_a_derivative() -> None:
    assert derivative(lambda x: x * derivative(lambda y: x + y, 1.0), 1.0) == 1.0


def test_jvp() -> None:
    value, slope = jvp(lambda x: x[0] * x[1], [3.0, 5.0], [1.0, 10.0])
    assert (value, slope) == (15.0, 35.0)


def test_jacobian_forward() -> None:
    got = jacobian_forward(lambda x: [x[0] * x[1], x[0] + x[1], x[1]], [2.0, 3.0])
    assert np.allclose(got, [[3.0, 2.0], [1.0, 1.0], [0.0, 1.0]])


if __name__ == "__main__":
    from harness import main

    main(__file__)
