"""
Day 12: Activations
===================
Estimated time: 1-2 hours
Prerequisites: Day 9 (arithmetic), Day 11 (the backward pass)
Lesson: lessons/day12.md

Learning objectives:
- Write an operation as one node with a local backward of its own
- Compute exponentials that neither overflow nor lose their digits
- Decide what the slope is where there is none, and say so
- Know the six curves that bend nearly every network

                value                        slope                 slope at 0
    relu        the larger of x and 0        0 or 1                0, chosen
    leaky_relu  x or negative_slope · x      1 or negative_slope   the latter
    tanh        from -1 to 1                 1 - tanh(x)²          1
    sigmoid     1 / (1 + e^-x), from 0 to 1  s · (1 - s)           1/4
    softplus    log(1 + e^x)                 sigmoid(x)            1/2
    gelu        x · Φ(x)                     Φ(x) + x · φ(x)       1/2

Each exercise is a function of one Value which makes one Value:

    y = x.__class__(f(x.data), (x,), "relu", backward)

``backward(grad)`` adds grad · f'(x) to x.grad. The result's parents are (x,), its op is the
function's name. Compute f and f' from numbers, with the module ``math``: built of + and exp, a
sigmoid would be four operations, and would overflow. As on day 9, ``backward`` never uses the
result itself (no circles), and its slope is that of the number that f was computed from: whatever
becomes of x.data afterwards changes nothing. At the end ``Value`` takes the functions as methods,
so that ``x.relu()`` and ``relu(x)`` are the same, as in PyTorch.

Every number must be right to nearly all its digits for every x from -1e300 to 1e300, small results
included: sigmoid(-100) is 3.72e-44, not 0, and sigmoid(-720) is 2.03e-313. (Below 2e-308 a float
itself has fewer digits, and what is far below the smallest one, 5e-324, is 0.) A slope may be off
by 1e-15, whatever its own size, and what ``backward`` adds by 1e-15 · grad: the slope of the
sigmoid at 40, 4e-18, may come out as 0.

At inf and -inf the number is the limit; only gelu(-inf) and leaky_relu with a negative_slope of 0,
whose formulas are 0 · inf there, are left open. A nan gives a new node like any other number, with
nan in it. The slope at inf, -inf and nan is yours to choose. No call raises, and no backward.

Hints:
- math.exp(1000) raises OverflowError; math.exp(-1000) is 0.0. So which sign may the exponent have?
- A closure may use what its function has computed: the backward of tanh needs only tanh(x).
- x * x is inf for a huge x, but x**2 raises.

Resources:
- Gaussian Error Linear Units, D. Hendrycks and K. Gimpel, 2016: https://arxiv.org/abs/1606.08415
- Rectifier Nonlinearities Improve Neural Network Acoustic Models, A. Maas, A. Hannun and A. Ng,
  2013 (leaky relu)
- How to compute log(1 + exp(x)): M. Mächler, Accurately Computing log(1 - exp(-|a|)), 2012
"""

from __future__ import annotations

import math
from typing import TypeVar

from tracks.autodiff import day11

V = TypeVar("V", bound=day11.Value)


def relu(x: V) -> V:
    """The larger of x and 0: ``x`` for x > 0, 0 for x <= 0.

    The slope is 1 for x > 0 and 0 for x < 0. At 0 there is none; every number from 0 to 1 is a
    subgradient there. Take 0, as PyTorch does. A nan stays nan, in a new node.

    >>> x = Value(3.0)
    >>> relu(x)
    Value(data=3.0, grad=0.0, op='relu')
    """
    # TODO: the number, the backward, the new Value.
    # HINT: what does your comparison say about a nan? nan > 0 and nan <= 0 are both false.
    ### BEGIN SOLUTION
    # HINT: max(a, b) gives a whenever b > a is false. In which place must the nan stand?
    # HINT: max(x.data, 0.0), in this order, hands a nan on; the backward adds grad if x.data was
    #       positive, and does nothing else.
    positive = x.data > 0

    def backward(grad: float) -> None:
        if positive:
            x.grad += grad

    return x.__class__(max(x.data, 0.0), (x,), "relu", backward)
    ### END SOLUTION


def leaky_relu(x: V, negative_slope: float = 0.01) -> V:
    """``x`` for x > 0, ``negative_slope * x`` for x <= 0.

    ``negative_slope`` is any finite number. The slope is 1 for x > 0 and ``negative_slope`` for
    x < 0, and at 0 too, as in PyTorch.

    >>> leaky_relu(Value(-3.0), negative_slope=0.5)
    Value(data=-1.5, grad=0.0, op='leaky_relu')
    """
    # TODO: on which side of the kink is x? That decides both the number and the slope.
    # HINT: the larger of x and s · x is this function only for some s. For which?
    ### BEGIN SOLUTION
    # HINT: on either side of the kink the number is x times something. What is that to backward?
    # HINT: slope = 1.0 if x.data > 0 else negative_slope; all else follows from it.
    slope = 1.0 if x.data > 0 else negative_slope

    def backward(grad: float) -> None:
        x.grad += grad * slope

    return x.__class__(slope * x.data, (x,), "leaky_relu", backward)
    ### END SOLUTION


def tanh(x: V) -> V:
    """The hyperbolic tangent, (e^x - e^-x) / (e^x + e^-x), from -1 to 1.

    Its slope is 1 - tanh(x)².

    >>> tanh(Value(1000.0))
    Value(data=1.0, grad=0.0, op='tanh')
    """
    # TODO: the number, the backward, the new Value.
    # HINT: the formula overflows at 1000. Does math know this function?
    ### BEGIN SOLUTION
    # HINT: the slope can be said with the number that is known already. It has to be in a name of
    #       its own, for the result may change, and must not be used.
    # HINT: t = math.tanh(x.data); the backward adds grad * (1.0 - t * t) to x.grad.
    t = math.tanh(x.data)

    def backward(grad: float) -> None:
        x.grad += grad * (1.0 - t * t)

    return x.__class__(t, (x,), "tanh", backward)
    ### END SOLUTION


def sigmoid(x: V) -> V:
    """1 / (1 + e^-x), from 0 to 1.

    Its slope is sigmoid(x) · (1 - sigmoid(x)). Small results keep their digits:

    >>> sigmoid(Value(-100.0)).data
    3.720075976020836e-44
    """
    # TODO: two formulas, one for each sign of x; the backward.
    # HINT: for which x does 1 / (1 + e^-x) overflow? Multiply both parts of the fraction by e^x.
    ### BEGIN SOLUTION
    # HINT: the exponent of the one formula is -x, for x >= 0; of the other x, for x < 0. Both are
    #       -|x|, so one exponential is enough.
    # HINT: e = math.exp(-abs(x.data)) is at most 1; then 1 / (1 + e) for x >= 0, else e / (1 + e).
    e = math.exp(-abs(x.data))
    s = (1.0 if x.data >= 0 else e) / (1.0 + e)

    def backward(grad: float) -> None:
        x.grad += grad * (s * (1.0 - s))

    return x.__class__(s, (x,), "sigmoid", backward)
    ### END SOLUTION


def softplus(x: V) -> V:
    """log(1 + e^x), a relu with a round corner.

    Its slope is e^x / (1 + e^x), the sigmoid of x. Small results keep their digits:

    >>> softplus(Value(-100.0)).data, softplus(Value(1000.0)).data
    (3.720075976020836e-44, 1000.0)
    """
    # TODO: a form in which the exponent is never positive; the backward.
    # HINT: log(1 + e^x) = x + log(1 + e^-x). When is which side the better one?
    # HINT: 1 + 1e-44 is 1, and its logarithm 0. What does math.log1p compute?
    ### BEGIN SOLUTION
    # HINT: max(x, 0) + log1p(exp(-|x|)) is both forms in one.
    # HINT: the slope is exp(x - softplus(x)): divide e^x by 1 + e^x = e^softplus(x).
    number = x.data
    y = max(number, 0.0) + math.log1p(math.exp(-abs(number)))

    def backward(grad: float) -> None:
        x.grad += grad * math.exp(number - y)

    return x.__class__(y, (x,), "softplus", backward)
    ### END SOLUTION


def gelu(x: V) -> V:
    """x · Φ(x), where Φ(x) is the probability that a normal random number is less than x.

        Φ(x) = (1 + erf(x / √2)) / 2 = erfc(-x / √2) / 2,   erfc(z) = 1 - erf(z)

    This is the exact gelu (``approximate="none"`` in PyTorch), not its formula with tanh. Its slope
    is Φ(x) + x · φ(x), with the density φ(x) = e^(-x² / 2) / √(2π). Small results keep their
    digits, for which one of the two forms of Φ is the right one:

    >>> print(f"{gelu(Value(-10.0)).data:.6e}")
    -7.619853e-23
    """
    # TODO: Φ(x); the number; the backward with both terms of the product rule.
    # HINT: erf(-7) is -1 + 4e-23, which a float cannot tell from -1. Which form avoids that?
    ### BEGIN SOLUTION
    # HINT: math.erfc(-number / math.sqrt(2)) / 2 has all its digits on the left, and none to lose
    #       on the right.
    # HINT: in math.exp(-number * number / 2) a huge square is inf, and the exponential is 0.
    number = x.data
    below = math.erfc(-number / math.sqrt(2.0)) / 2.0

    def backward(grad: float) -> None:
        density = math.exp(-number * number / 2.0) / math.sqrt(2.0 * math.pi)
        x.grad += grad * (below + number * density)

    return x.__class__(number * below, (x,), "gelu", backward)
    ### END SOLUTION


class Value(day11.Value):
    """Day 11's Value with today's functions as methods: ``x.relu()`` is ``relu(x)``."""

    __slots__ = ()

    relu = relu
    leaky_relu = leaky_relu
    tanh = tanh
    sigmoid = sigmoid
    softplus = softplus
    gelu = gelu


def test_relu() -> None:
    x = Value(3.0)
    y = relu(x)
    y.backward()
    assert (y.data, y.op, x.grad) == (3.0, "relu", 1.0)
    assert relu(Value(-3.0)).data == 0.0


def test_leaky_relu() -> None:
    x = Value(-3.0)
    y = leaky_relu(x, negative_slope=0.5)
    y.backward()
    assert (y.data, x.grad) == (-1.5, 0.5)


def test_tanh() -> None:
    x = Value(0.0)
    y = tanh(x)
    y.backward()
    assert (y.data, x.grad) == (0.0, 1.0)
    assert tanh(Value(-1000.0)).data == -1.0


def test_sigmoid() -> None:
    x = Value(0.0)
    y = x.sigmoid()
    y.backward()
    assert (y.data, x.grad) == (0.5, 0.25)
    assert sigmoid(Value(-1000.0)).data == 0.0


def test_softplus() -> None:
    x = Value(0.0)
    y = x.softplus()
    y.backward()
    assert (y.data, x.grad) == (math.log(2.0), 0.5)
    assert softplus(Value(1000.0)).data == 1000.0


def test_gelu() -> None:
    x = Value(0.0)
    y = x.gelu()
    y.backward()
    assert (y.data, x.grad) == (0.0, 0.5)
    assert abs(gelu(Value(1.0)).data - 0.8413447460685429) < 1e-15


if __name__ == "__main__":
    from harness import main

    main(__file__)
