"""
Day 9: Arithmetic
=================
Estimated time: 1-2 hours
Prerequisites: Day 6 (reverse mode by hand), Day 8 (the Value class)
Lesson: lessons/day09.md

Learning objectives:
- Teach a class of your own Python's operators, with numbers on either side
- Leave a local backward with every result: who gets which share of its gradient
- Add shares up, so that a value that is used twice gets both
- Keep what the backward needs, and nothing that makes a circle

Write a / b + 2 * a, and this graph is left behind. The result's gradient g comes in from the
right; each operator hands a share of it to each operand:

    a ──0──┐                    +    hands  g          and  g
           ├─ / ──0──┐          -    hands  g          and  -g
    b ──1──┘         │          *    hands  g * other  and  g * self
                     ├─ + ──> y /    hands  g / other  and  -(g / other) * q,
    2 ──0──┐         │        g             where q is the quotient
           ├─ * ──1──┘          neg  hands  -g
    a ──1──┘

The classes below extend one another, an exercise each, and the last of them is today's Value.

Hints:
- The backward is called later, with one number. What must it remember until then?
- In a + a both operands are one object, and that one object is due two shares.
- Python asks the left operand first; if that answers NotImplemented, the right one is asked.

Resources:
- Emulating numeric types: https://docs.python.org/3/reference/datamodel.html#emulating-numeric-types
- micrograd, A. Karpathy: https://github.com/karpathy/micrograd
"""

from __future__ import annotations

from numbers import Real
from typing import Any, TypeVar

from tracks.autodiff.day08 import Value as Base

V = TypeVar("V", bound=Base)


def operand(x: Any, like: V) -> Any:
    """What stands on the other side of an operator, as a Value; NotImplemented if it can't be one.

    - a Value of any class is returned as it is, the same object
    - a real number (``numbers.Real``: int, bool, float, Fraction, numpy's scalars) becomes a new
      Value of the class of ``like``
    - for anything else, such as a string, None, a complex number, a list or an array, the answer
      is ``NotImplemented``, Python's constant for "ask the other operand"

    >>> a = Base(3.0)
    >>> operand(a, a) is a, operand(2, a), operand("2", a)
    (True, Value(data=2.0, grad=0.0), NotImplemented)
    """
    # TODO: the three cases.
    # HINT: NotImplemented is a value that you return; NotImplementedError is something else.
    # HINT: a later day's class has operators that Base does not know. Which class is wanted here?
    ### BEGIN SOLUTION
    # HINT: isinstance(x, Base) and isinstance(x, Real)
    # HINT: like.__class__(float(x)) is a Value of the class of like.
    if isinstance(x, Base):
        return x
    return like.__class__(float(x)) if isinstance(x, Real) else NotImplemented
    ### END SOLUTION


class Sum(Base):
    """A Value with ``+`` and unary ``-``.

    Of every operator, here and below:

    - the result is a new Value of the class of ``self``, made by
      ``self.__class__(data, parents, op, backward)``
    - ``parents`` are the operands as they were written from left to right; a number among them
      becomes a Value by ``operand``
    - ``backward(grad)`` adds to each parent's grad its share of ``grad``, the gradient of the
      result, and returns nothing. It does not use the result, so there is no circle.
    - the shares are those of the numbers that the result was computed from: ``data`` that somebody
      changes between the operation and its backward changes nothing
    - no operand is changed
    - what ``operand`` has no Value for is answered with NotImplemented, which Python makes a
      TypeError; so numpy, when it is on the other side, takes an array element by element

    Today's class extends day 8's: ``trace`` and ``draw`` work as they are.
    """

    __slots__ = ()

    def __add__(self: V, other: Any) -> V:
        """self + other, with op ``"+"``. Both operands get ``grad``.

        >>> a, b = Sum(3.0), Sum(4.0)
        >>> c = a + b
        >>> c.parents == (a, b)
        True
        >>> c._backward(0.5)
        >>> c.data, a.grad, b.grad
        (7.0, 0.5, 0.5)
        """
        other = operand(other, self)
        if other is NotImplemented:
            return NotImplemented

        # TODO: the local backward, and the result.
        # HINT: what are the derivatives of u + v with respect to u and to v?
        ### BEGIN SOLUTION
        # HINT: def backward(grad: float) -> None: inside the method sees self and other.
        # HINT: a grad may hold something already, from another use of the same value: add to it.
        def backward(grad: float) -> None:
            self.grad += grad
            other.grad += grad

        return self.__class__(self.data + other.data, (self, other), "+", backward)
        ### END SOLUTION

    def __radd__(self: V, other: Any) -> V:
        """other + self, where other is a number: Python comes here for 2 + a, and for sum([a, b]).

        >>> (2 + Sum(3.0)).parents
        (Value(data=2.0, grad=0.0), Value(data=3.0, grad=0.0))
        """
        other = operand(other, self)
        if other is NotImplemented:
            return NotImplemented
        # TODO: the sum, with its parents in the order in which they were written.
        # HINT: other is a Value by now. Is there an operator for two Values already?
        ### BEGIN SOLUTION
        # HINT: other + self, and not self + other.
        return other + self
        ### END SOLUTION

    def __neg__(self: V) -> V:
        """-self, with op ``"neg"`` and one parent."""

        # TODO: as above, with one operand.
        # HINT: the tuple of one element is (self,).
        ### BEGIN SOLUTION
        # HINT: if self grows by a little, the result shrinks by as much.
        def backward(grad: float) -> None:
            self.grad -= grad

        return self.__class__(-self.data, (self,), "neg", backward)
        ### END SOLUTION


class Product(Sum):
    """A Value with ``*`` too; see ``Sum`` for what is true of every operator."""

    __slots__ = ()

    def __mul__(self: V, other: Any) -> V:
        """self * other, with op ``"*"``. Each factor gets ``grad`` times the other factor.

        The factors are those of now: the backward uses the numbers that were multiplied, also when
        ``data`` is changed before it is called.

        >>> a = Product(3.0)
        >>> b = a * a
        >>> b._backward(1.0)
        >>> b.data, a.grad
        (9.0, 6.0)
        """
        other = operand(other, self)
        if other is NotImplemented:
            return NotImplemented
        # TODO: the two factors, the local backward, and the result.
        # HINT: 3 * 4: how much more is it if 3 becomes 3.1, and how much if 4 becomes 4.1?
        ### BEGIN SOLUTION
        # HINT: x, y = self.data, other.data keeps the numbers of now for later.
        # HINT: self gets grad * y. In a * a both lines add to the same grad.
        x, y = self.data, other.data

        def backward(grad: float) -> None:
            self.grad += grad * y
            other.grad += grad * x

        return self.__class__(x * y, (self, other), "*", backward)
        ### END SOLUTION

    def __rmul__(self: V, other: Any) -> V:
        """other * self, where other is a number; parents in the order in which they were written.

        >>> (2 * Product(3.0)).parents
        (Value(data=2.0, grad=0.0), Value(data=3.0, grad=0.0))
        """
        other = operand(other, self)
        if other is NotImplemented:
            return NotImplemented
        # TODO: the product of two Values.
        # HINT: what did you do for the sum?
        ### BEGIN SOLUTION
        # HINT: other stands on the left.
        return other * self
        ### END SOLUTION


class Difference(Product):
    """A Value with ``-`` between two operands too; see ``Sum`` for what is true of every operator.

    A difference is one operation and leaves one node, with op ``"-"``: no sum with a negated value.
    """

    __slots__ = ()

    def __sub__(self: V, other: Any) -> V:
        """self - other. ``self`` gets ``grad``, ``other`` gets ``-grad``.

        >>> a = Difference(3.0)
        >>> b = a - a
        >>> b._backward(1.0)
        >>> b.data, a.grad
        (0.0, 0.0)
        """
        other = operand(other, self)
        if other is NotImplemented:
            return NotImplemented

        # TODO: the local backward, and the result.
        # HINT: nothing is missing if a - a gives a the gradient 0: what are its two shares?
        ### BEGIN SOLUTION
        # HINT: as in __add__, but one of the two grads is lowered.
        def backward(grad: float) -> None:
            self.grad += grad
            other.grad -= grad

        return self.__class__(self.data - other.data, (self, other), "-", backward)
        ### END SOLUTION

    def __rsub__(self: V, other: Any) -> V:
        """other - self, where other is a number.

        >>> a = Difference(3.0)
        >>> b = 10 - a
        >>> b._backward(1.0)
        >>> b.data, a.grad
        (7.0, -1.0)
        """
        other = operand(other, self)
        if other is NotImplemented:
            return NotImplemented
        # TODO: the difference of two Values.
        # HINT: 10 - a comes here with self = a and other = 10. Which is on the left?
        ### BEGIN SOLUTION
        # HINT: the other is on the left.
        return other - self
        ### END SOLUTION


class Value(Difference):
    """A Value with ``+ - * /``; see ``Sum`` for what is true of every operator.

    A quotient is one operation and leaves one node, with op ``"/"``.

    >>> a, b = Value(3.0), Value(4.0)
    >>> y = a / b + 2 * a
    >>> y.data, y.op, y.parents[0].op, y.parents[1].op
    (6.75, '+', '/', '*')
    """

    __slots__ = ()

    def __truediv__(self: V, other: Any) -> V:
        """self / other. ``self`` gets ``grad / other``, ``other`` ``-(grad / other) * quotient``.

        The shares are the same as ``-grad * self / other²``, but other² would be 0 for 1e-200, and
        too large for 1e200, where the quotient and its shares are ordinary numbers.

        Where ``other`` is 0 it raises ZeroDivisionError, with a message that shows both numbers in
        the form of ``1.0 / 0.0``: in a large graph "float division by zero" is of little help.
        No backward raises an error: a share that is too large is inf.

        >>> a, b = Value(6.0), Value(-2.0)
        >>> c = a / b
        >>> c._backward(1.0)
        >>> c.data, a.grad, b.grad
        (-3.0, -0.5, -1.5)
        """
        other = operand(other, self)
        if other is NotImplemented:
            return NotImplemented
        # TODO: the numbers, the quotient, the local backward, and the result.
        # HINT: q = u / v means u = q v. If v grows a little and u stays, what must q do?
        ### BEGIN SOLUTION
        # HINT: keep y = other.data and the quotient; the share of self is grad / y.
        # HINT: the share of other can be made of the share of self.
        x, y = self.data, other.data
        if y == 0.0:
            raise ZeroDivisionError(f"{x} / {y}: division by zero")
        quotient = x / y

        def backward(grad: float) -> None:
            share = grad / y
            self.grad += share
            other.grad -= share * quotient

        return self.__class__(quotient, (self, other), "/", backward)
        ### END SOLUTION

    def __rtruediv__(self: V, other: Any) -> V:
        """other / self, where other is a number.

        >>> a = Value(4.0)
        >>> b = 2 / a
        >>> b._backward(1.0)
        >>> b.data, a.grad
        (0.5, -0.125)
        """
        other = operand(other, self)
        if other is NotImplemented:
            return NotImplemented
        # TODO: the quotient of two Values.
        # HINT: which of the two is divided?
        ### BEGIN SOLUTION
        # HINT: the other is on the left.
        return other / self
        ### END SOLUTION


def test_operand() -> None:
    a = Sum(3.0)
    assert operand(a, a) is a
    two = operand(2, a)
    assert (type(two), two.data) == (Sum, 2.0)
    assert operand("2", a) is NotImplemented


def test_sum() -> None:
    a = Sum(3.0)
    b = a + a
    b._backward(1.0)  # type: ignore[misc]
    assert (b.data, b.op, b.parents, a.grad) == (6.0, "+", (a, a), 2.0)
    assert (2 + a).data == 5.0


def test_product() -> None:
    a, b = Product(3.0), Product(-4.0)
    c = a * b
    c._backward(0.5)  # type: ignore[misc]
    assert (c.data, a.grad, b.grad) == (-12.0, -2.0, 1.5)


def test_difference() -> None:
    a = Difference(3.0)
    b = 10 - a
    b._backward(1.0)  # type: ignore[misc]
    assert (b.data, b.op, a.grad) == (7.0, "-", -1.0)


def test_value() -> None:
    a, b = Value(6.0), Value(-2.0)
    c = a / b
    c._backward(1.0)  # type: ignore[misc]
    assert (c.data, a.grad, b.grad) == (-3.0, -0.5, -1.5)
    assert (2 / Value(4)).data == 0.5


if __name__ == "__main__":
    from harness import main

    main(__file__)
