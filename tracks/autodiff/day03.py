"""
Day 3: Gradients and Jacobians
==============================
Estimated time: 1-2 hours
Prerequisites: Day 1 (derivatives), Day 2 (the chain rule)
Lesson: lessons/day03.md

Learning objectives:
- Nudge one input of many: partial derivatives, and the gradient that they make up
- Collect the slopes of many outputs in a Jacobian, a column for each input
- Measure how the gradient bends: the Hessian, and why it is symmetric
- Walk downhill, and see how curvature sets the largest step

    x_0 --.        .--> f_0
    x_1 --+--> f --+           J = | df_0/dx_0   df_0/dx_1   df_0/dx_2 |
    x_2 --'        '--> f_1        | df_1/dx_0   df_1/dx_1   df_1/dx_2 |

                               a row for each output, a column for each input

A nudge of one input moves all outputs at once, so one nudge (two calls of f) measures a column.
The gradient is the Jacobian of a function with one output. It points uphill; training a network
is walking the other way.

Hints:
- f is a black box that takes one array. To nudge one element, give f a copy with that one changed.
- Day 1's central_difference does the measuring; its x is here one element.
- Count calls: a gradient of n numbers should cost 2n of them.

Resources:
- Numerical Optimization, J. Nocedal and S. Wright, chapters 2, 3 and 8.1
- An automatic method for finding the greatest or least value of a function, H. Rosenbrock 1960:
  https://doi.org/10.1093/comjnl/3.3.175
- Why momentum really works, G. Goh 2017: https://distill.pub/2017/momentum/
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tracks.autodiff.day01 import central_difference

Function = Callable[[np.ndarray], Any]
"""Takes an array, and returns a number or an array."""

EPS = float(np.finfo(float).eps)


def partial(f: Function, x: Any, i: int | tuple[int, ...]) -> Any:
    """The derivative of f at x with respect to the one element x[i], the others held fixed.

    ``x`` is an array of any shape, also of whole numbers, or a list; ``i`` is an index of one
    element: an int (negative too) for a vector, a tuple for other shapes. The result has the shape
    of what f returns: a number for a number, an array for an array or a list.

    Measured by day 1's ``central_difference`` with the step eps^(1/3) · max(|x[i]|, 1), eps =
    2⁻⁵². f is called twice, each time with a new float64 array of x's shape: x itself never
    changes, nor does an array that f was given before and may have kept.

    >>> print(f"{partial(lambda x: x[0] * x[1] ** 2, [5.0, 3.0], 1):.6f}")
    30.000000
    """
    # TODO: f as a function of one number t, the element; its central difference at x[i].
    # HINT: inside that function: copy x, put t in its place, call f.
    raise NotImplementedError("partial")


def gradient(f: Function, x: Any) -> np.ndarray:
    """All the partial derivatives of f at x, in an array of floats of x's shape.

    f returns one number. ``x`` is an array of any shape, of size 0 too. f is called twice for each
    element of x.

    Raises ValueError when f returns anything but one number (an array of shape ()); the message
    shows the shape of what it returned.

    >>> print(gradient(lambda x: np.sum(x**2), np.array([[1.0, 2.0], [3.0, -4.0]])).round(6))
    [[ 2.  4.]
     [ 6. -8.]]
    """
    # TODO: one partial derivative for each index of x.
    # HINT: numpy.ndindex(x.shape) goes through the indices of an array of any shape.
    raise NotImplementedError("gradient")


def jacobian(f: Function, x: Any) -> np.ndarray:
    """The derivative of every output of f with respect to every input, at x.

    The result has the shape of f(x) followed by the shape of x: for a function from n to m numbers
    (m, n), with df_i / dx_j in row i and column j; for a function that returns one number it is
    the gradient. ``x`` has at least one element. f is called twice for each element of x, no
    matter how many outputs it has.

    >>> print(jacobian(lambda x: [x[0] * x[1], x[0] + x[1], x[1]], np.array([2.0, 3.0])).round(6))
    [[3. 2.]
     [1. 1.]
     [0. 1.]]
    """
    # TODO: a partial derivative for each index of x is a column; put the columns together.
    # HINT: partial gives all outputs at once. In which axis do the inputs go?
    raise NotImplementedError("jacobian")


def hessian(f: Function, x: Any) -> np.ndarray:
    """The second derivatives of f at the vector x: element (i, j) is d²f / dx_i dx_j.

    f returns one number; x has n elements, the result the shape (n, n). How the slope in one
    direction changes along the other, by a step to both sides in both directions:

        f(x + a + b) - f(x + a - b) - f(x - a + b) + f(x - a - b)
        ---------------------------------------------------------
                               4 h_i h_j

    where a is h_i in element i and 0 elsewhere, and b is h_j in element j. For i = j that is
    (f(x + 2a) - 2 f(x) + f(x - 2a)) / (2 h_i)². The steps are h_i = eps^(1/4) · max(|x_i|, 1),
    rounded as on day 1 to (x_i + h_i) - x_i.

    The order of the two directions does not matter, so the Hessian is symmetric. Make it exactly
    symmetric, and measure each pair once: f is called at most 2n(n + 1) times.

    >>> print(hessian(lambda x: x[0] ** 2 * x[1], np.array([3.0, 5.0])).round(4))
    [[10.  6.]
     [ 6.  0.]]
    """
    # TODO: the steps; four values of f for each pair i >= j, written to (i, j) and to (j, i).
    # HINT: n elements make n² pairs of directions. How many of them have to be measured?
    raise NotImplementedError("hessian")


def gradient_descent(f: Function, x0: Any, lr: Any, steps: int) -> np.ndarray:
    """The points on the way down from x0: x_(k+1) = x_k - lr · gradient(f, x_k).

    Returns an array of shape (steps + 1, *x0.shape), x0 first. ``lr``, the learning rate, is a
    number, or an array of x0's shape with a rate for each element. One gradient is measured for
    each step.

    Raises FloatingPointError as soon as a gradient holds nan or inf: the walk has run away. The
    message names the step and the rate. No numpy warning is shown.

    >>> print(gradient_descent(lambda x: x @ x, [4.0, -8.0], lr=0.25, steps=2).round(6))
    [[ 4. -8.]
     [ 2. -4.]
     [ 1. -2.]]
    """
    # TODO: allocate the path, put x0 first, and make each point from the one before.
    # HINT: why minus? The gradient points to where f grows.
    raise NotImplementedError("gradient_descent")


def test_partial() -> None:
    assert np.isclose(partial(lambda x: x[0] * x[1] ** 2, [5.0, 3.0], 1), 30.0)


def test_gradient_of_a_sum_of_squares() -> None:
    x = np.array([[1.0, 2.0], [3.0, -4.0]])
    assert np.allclose(gradient(lambda x: np.sum(x**2), x), 2 * x)


def test_jacobian_of_polar_coordinates() -> None:
    def plane(p: np.ndarray) -> list[float]:
        radius, angle = p
        return [radius * np.cos(angle), radius * np.sin(angle)]

    assert np.allclose(jacobian(plane, [2.0, 0.0]), [[1.0, 0.0], [0.0, 2.0]])


def test_hessian() -> None:
    got = hessian(lambda x: x[0] ** 2 * x[1], np.array([3.0, 5.0]))
    assert np.allclose(got, [[10.0, 6.0], [6.0, 0.0]], atol=1e-5)


def test_gradient_descent() -> None:
    path = gradient_descent(lambda x: x @ x, [4.0, -8.0], lr=0.25, steps=2)
    assert np.allclose(path, [[4.0, -8.0], [2.0, -4.0], [1.0, -2.0]])


if __name__ == "__main__":
    from harness import main

    main(__file__)
