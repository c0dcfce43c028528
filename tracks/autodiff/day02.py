"""
Day 2: The chain rule
=====================
Estimated time: 1-2 hours
Prerequisites: Day 1 (derivatives)
Lesson: lessons/day02.md

Learning objectives:
- Take the derivative of f(g(h(x))): a product of slopes, each at the place it is reached
- Walk a chain of functions of any length once, forwards and backwards
- Turn a formula into the formula of its derivative, rule by rule
- Measure how little of a gradient is left after many layers

    x ----> h ----> u = h(x) ----> g ----> v = g(u) ----> f ----> y = f(v)
          h'(x)                  g'(u)                  f'(v)

    dy/dx = f'(v) * g'(u) * h'(x)      each slope is taken at the number that
                                       its function was given, not at x

Any function that a computer works out is a chain (or a net) of a few simple ones whose slopes are
known. So there is one rule to learn, and it is the whole of automatic differentiation: multiply
along a path, add where paths meet.

Hints:
- Write down the numbers between the functions first. The slopes need them.
- A chain may be 100 000 functions long: use loops, not functions that call each other.
- Check every result with day 1's central difference.

Resources:
- Calculus, M. Spivak, chapter 10 (differentiation)
- Learning long-term dependencies with gradient descent is difficult, Bengio, Simard and Frasconi
  1994: https://doi.org/10.1109/72.279181
- Evaluating Derivatives, A. Griewank and A. Walther, chapter 2
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

Function = Callable[[Any], Any]
"""Takes and returns a number, or an array element by element."""


def compose(*fs: Function) -> Function:
    """The function that applies all ``fs``, the last one first: compose(f, g)(x) = f(g(x)).

    So it is written f ∘ g in mathematics. Any number of functions, of anything: the result of one
    is what the next is given. compose() returns its argument as it is. No recursion: 100 000
    functions are no problem.

    >>> compose(lambda x: x + 1, lambda x: 2 * x)(10)
    21
    """

    # TODO: a function of x that hands x through all of fs.
    # HINT: which of fs is given x itself, and what is the next one given?
    raise NotImplementedError("compose")


def chain_derivative(fs: Sequence[Function], dfs: Sequence[Function], x: Any) -> Any:
    """The derivative of compose(*fs) at x; dfs[i] is the derivative of fs[i].

    ``x`` is a number or an array of any shape, whole numbers too: it is made of floats before any
    function sees it. The result is made of floats too and has its shape: the derivative at each
    element. A df may return one number for a whole array, as ``lambda x: 3.0`` does. Without
    functions the derivative is 1.

    Calls each df once and each f at most once: the chain is walked once, from the inside out,
    with the slope so far in hand. Chains of 100 000 functions work.

    Raises ValueError when there are not as many dfs as fs, before any of them is called.

    >>> print(chain_derivative([np.sin, lambda x: 3 * x], [np.cos, lambda x: 3.0], 0.0))
    3.0
    """
    # TODO: check the lengths; walk the chain with two numbers, the value and the slope so far.
    # HINT: which function is applied first? Where is its slope taken? And the slope of the next?
    raise NotImplementedError("chain_derivative")


@dataclass(frozen=True, eq=False, repr=False)
class Expression:
    """A formula in x as a tree: an operation and the formulas that it is applied to.

    ``op`` is one of

    - "x", the variable, and "number", a constant (its value is ``number``): no operands
    - "+" "-" "*" "/" "**": two operands, left and right
    - "sin" "cos" "exp" "log" "tanh": one operand

    Write formulas with X, numbers, operators and the functions below: ``sin(2 * X) ** 3``. The
    operators leave out what does nothing (0 + u, 1 * u, 0 * u, u ** 1, ...) and add, subtract
    and multiply plain numbers. Expressions are equal only if they are the same object; one may be
    used in many places. So ask ``u.is_number(0)``, not ``u == 0``; and not ``u.number == 0``: that
    is true of every expression that is not a number, too.
    """

    op: str
    operands: tuple[Expression, ...] = ()
    number: float = 0.0

    def is_number(self, value: float) -> bool:
        """Whether this is the constant ``value``."""
        return self.op == "number" and self.number == value

    def __add__(self, other: Any) -> Expression:
        return _operation("+", self, other)

    def __radd__(self, other: Any) -> Expression:
        return _operation("+", other, self)

    def __sub__(self, other: Any) -> Expression:
        return _operation("-", self, other)

    def __rsub__(self, other: Any) -> Expression:
        return _operation("-", other, self)

    def __mul__(self, other: Any) -> Expression:
        return _operation("*", self, other)

    def __rmul__(self, other: Any) -> Expression:
        return _operation("*", other, self)

    def __truediv__(self, other: Any) -> Expression:
        return _operation("/", self, other)

    def __rtruediv__(self, other: Any) -> Expression:
        return _operation("/", other, self)

    def __pow__(self, other: Any) -> Expression:
        return _operation("**", self, other)

    def __rpow__(self, other: Any) -> Expression:
        return _operation("**", other, self)

    def __neg__(self) -> Expression:
        return _operation("*", -1.0, self)

    def __repr__(self) -> str:
        """The formula as text; parts that would be too long are shown as three dots."""
        texts: dict[Expression, str] = {}
        for node in _operands_first(self):
            parts = [texts[operand] for operand in node.operands]
            if node.op == "x":
                text = "x"
            elif node.op == "number":
                text = f"{node.number:g}"
            elif len(parts) == 2:
                text = f"({parts[0]} {node.op} {parts[1]})"
            else:
                text = f"{node.op}({', '.join(parts)})"
            texts[node] = text if len(text) <= 300 else "..."
        return texts[self]


X = Expression("x")
"""The variable."""


def number(value: float) -> Expression:
    """A constant."""
    return Expression("number", number=float(value))


def _expression(u: Any) -> Expression:
    return u if isinstance(u, Expression) else number(u)


def sin(u: Any) -> Expression:
    return Expression("sin", (_expression(u),))


def cos(u: Any) -> Expression:
    return Expression("cos", (_expression(u),))


def exp(u: Any) -> Expression:
    return Expression("exp", (_expression(u),))


def log(u: Any) -> Expression:
    return Expression("log", (_expression(u),))


def tanh(u: Any) -> Expression:
    return Expression("tanh", (_expression(u),))


_NUMPY = {
    "+": np.add, "-": np.subtract, "*": np.multiply, "/": np.divide, "**": np.power,
    "sin": np.sin, "cos": np.cos, "exp": np.exp, "log": np.log, "tanh": np.tanh,
}  # fmt: skip


def _operation(op: str, left: Any, right: Any) -> Expression:
    """``left op right``, without what does nothing."""
    u, v = _expression(left), _expression(right)
    if u.op == v.op == "number" and op in "+-*":
        return number(_NUMPY[op](u.number, v.number))
    if (op == "+" and u.is_number(0)) or (op == "*" and u.is_number(1)):
        return v
    if (op in "+-" and v.is_number(0)) or (op in ("*", "/", "**") and v.is_number(1)):
        return u
    if (op in "*/" and u.is_number(0)) or (op == "*" and v.is_number(0)):
        return number(0)
    if op == "**" and v.is_number(0):
        return number(1)
    return Expression(op, (u, v))


def _operands_first(expression: Expression) -> list[Expression]:
    """Every part of an expression once, each after its operands; the whole comes last.

    For any depth, and in a time proportional to the number of parts (day 4 shows how).
    """
    order: dict[Expression, None] = {}
    pending = [(expression, False)]
    while pending:
        node, operands_done = pending.pop()
        if operands_done:
            order[node] = None
        elif node not in order:
            pending.append((node, True))
            pending += [(operand, False) for operand in node.operands if operand not in order]
    return list(order)


def value_of(expression: Expression, x: Any) -> Any:
    """The value of a formula at x, a number or an array; each part is computed once. A formula
    without x has one number for a whole array."""
    values: dict[Expression, Any] = {}
    for node in _operands_first(expression):
        if node.op == "x":
            values[node] = np.asarray(x, dtype=float)
        elif node.op == "number":
            values[node] = node.number
        else:
            values[node] = _NUMPY[node.op](*(values[operand] for operand in node.operands))
    return values[expression]


def derivative_of(expression: Expression) -> Expression:
    """The derivative of a formula, again as a formula.

    Work from the small parts to the large: ``_operands_first`` lists every part of the expression
    once, after its operands. The derivative u' of a part follows from its operands and theirs:

        x                1                        sin u     cos(u) u'
        number           0                        cos u     -sin(u) u'
        u + v, u - v     u' + v', u' - v'         exp u     exp(u) u'
        u * v            u' v + u v'              log u     u' / u
        u / v            (u' - (u / v) v') / v    tanh u    (1 - tanh(u)²) u'
        u ** v           v u^(v-1) u'                 where v' is 0
                         u^v (v' log u + v u' / u)    elsewhere

    Use the parts that are there (the operands, and for exp, tanh, / and ** the part itself) rather
    than building them anew: the result then has at most four times as many different parts as the
    expression, however often it uses a part. Expressions 100 000 deep work: no recursion.

    Raises ValueError for an operation that is not in the table.

    >>> derivative_of(sin(X) * X**2)
    ((cos(x) * (x ** 2)) + (sin(x) * (2 * x)))
    """
    # TODO: a loop over the parts, noting the derivative of each in a dict.
    # HINT: a part's operands came earlier in the loop, so their derivatives are in the dict.
    # HINT: write u' v + u v' with Python's * and +: expressions have operators.
    raise NotImplementedError("derivative_of")


class Activation(NamedTuple):
    """A function that a layer of a network applies, and its derivative."""

    f: Function
    slope: Function


def _sigmoid(x: Any) -> Any:
    return 1.0 / (1.0 + np.exp(-x))


SIGMOID = Activation(_sigmoid, lambda x: _sigmoid(x) * (1.0 - _sigmoid(x)))
TANH = Activation(np.tanh, lambda x: 1.0 - np.tanh(x) ** 2)
RELU = Activation(lambda x: np.maximum(x, 0.0), lambda x: np.where(x > 0, 1.0, 0.0))


def vanishing(
    depth: int, activation: Activation, weight: float = 1.0, x: float = 1.0
) -> np.ndarray:
    """How much of a gradient arrives at each layer of a deep network with one number a layer.

    The layers compute a_0 = x and a_k = f(w a_(k-1)) for k = 1 ... depth, with the same weight w
    in each. Returns an array of depth + 1 floats: element k is the derivative of the last layer's
    value, a_depth, with respect to a_k. So the last element is 1, and element 0 is the derivative
    of the whole network with respect to x.

    All of them cost one walk forwards and one backwards: f and slope are called ``depth`` times
    each, and 400 000 layers are no problem. Numbers too small or too large for a float may become
    0 or inf.

    Raises ValueError for a negative depth.

    >>> print(vanishing(2, SIGMOID, weight=0.0))
    [0. 0. 1.]
    >>> print(vanishing(3, RELU, weight=2.0))
    [8. 4. 2. 1.]
    """
    # TODO: forwards, note the slope of each layer; backwards, multiply.
    # HINT: the slope of layer k with respect to a_(k-1) is the chain rule itself: two factors.
    raise NotImplementedError("vanishing")


def test_compose_applies_the_last_first() -> None:
    assert compose(lambda x: x + 1, lambda x: 2 * x)(10) == 21


def test_chain_derivative_of_a_sine() -> None:
    slope = chain_derivative([np.sin, lambda x: 3 * x], [np.cos, lambda x: 3.0], 0.0)
    assert slope == 3.0


def test_derivative_of_a_product() -> None:
    slope = derivative_of(sin(X) * X**2)
    x = np.array([0.5, 1.0, 2.0])
    assert np.allclose(value_of(slope, x), np.cos(x) * x**2 + np.sin(x) * 2 * x)


def test_vanishing_with_relu() -> None:
    assert vanishing(3, RELU, weight=2.0).tolist() == [8.0, 4.0, 2.0, 1.0]


if __name__ == "__main__":
    from harness import main

    main(__file__)
