"""
Day 1: Derivatives
==================
Estimated time: 1-2 hours
Prerequisites: Python and numpy arrays; what a function is
Lesson: lessons/day01.md

Learning objectives:
- See a derivative as a ratio: how much f changes for a small change of x
- Measure derivatives by forward and central differences, and know their errors
- Choose a step: too large cuts off the curve, too small drowns in rounding
- Get a derivative to the last digit with one complex number

        f(x + h)  .               forward difference: the slope of this chord,
                 /:               from x to x + h; its error shrinks like h.
               /  :  change of f  central difference: that of the chord from
             /    :               x - h to x + h; its error shrinks like h².
    f(x)   . . . .:
              h                   But f is known to 16 digits only; divided by
                                  a small h their error is large: eps / h.

These derivatives by measurement are slow and inexact, and need no knowledge of f. That makes them
the judge of every exact derivative that this track will compute.

Hints:
- Every f here works element by element: f of an array is the array of the f's. Write no loop.
- The step that you ask for is not the step that you take: x + h is rounded.
- Try each function on numpy.sin at x = 1; the answer is cos(1) = 0.5403...

Resources:
- Numerical Recipes, Press et al., section 5.7 (numerical derivatives)
- Squire and Trapp 1998, Using Complex Variables to Estimate Derivatives of Real Functions,
  SIAM Review 40(1): https://epubs.siam.org/doi/10.1137/S003614459631241X
- What Every Computer Scientist Should Know About Floating-Point Arithmetic, Goldberg 1991:
  https://docs.oracle.com/cd/E19957-01/806-3568/ncg_goldberg.html
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Function = Callable[[Any], Any]
"""Takes and returns a number, or an array element by element."""


def forward_difference(f: Function, x: Any, h: Any) -> Any:
    """The slope of f from x to x + h: (f(x + h) - f(x)) / h.

    ``x`` is a number, a list or an array of any shape, and the result has its shape: the
    derivative of f at each element. ``h`` is a number, or an array that broadcasts with x: one x
    and many steps give many slopes. f is called twice, with floats.

    x + h is rounded to the next float, so the step really taken is (x + h) - x. Divide by that:
    for f(x) = 2x the result is then 2.0 exactly, at any x.

    Raises ValueError when h is so small that x + h equals x (for any of the elements); no numpy
    warning about a division by 0 comes before it.

    >>> print(forward_difference(lambda x: x**2, 3.0, h=0.5))
    6.5
    """
    # TODO: the point ahead, the step really taken, the ratio.
    # HINT: a slope is a change of f over a change of x. Which of the two changes is it that h is
    #       only nearly equal to?
    ### BEGIN SOLUTION
    # HINT: turn x into floats first, with numpy.asarray(x, dtype=float), and keep the point ahead
    #       in a name: both changes are differences from it.
    # HINT: ahead = x + h; step = ahead - x. If some step is 0, there is nothing to divide by; else
    #       (f(ahead) - f(x)) / step.
    x = np.asarray(x, dtype=float)
    ahead = x + h
    step = ahead - x
    if np.any(step == 0):
        raise ValueError(f"the step h={h} is lost in rounding: x + h equals x")
    return (f(ahead) - f(x)) / step
    ### END SOLUTION


def central_difference(f: Function, x: Any, h: Any) -> Any:
    """The slope of f from x - h to x + h: (f(x + h) - f(x - h)) / 2h.

    As ``forward_difference``: any shape of x and h, two calls of f, division by the step really
    taken, here (x + h) - (x - h), and ValueError when that is 0.

    >>> print(central_difference(lambda x: x**2, 3.0, h=0.5))
    6.0
    """
    # TODO: as above, with one point ahead and one behind.
    # HINT: which two points does the chord go through? f(x) itself is not needed.
    ### BEGIN SOLUTION
    # HINT: both points are rounded. How far are they really apart?
    # HINT: the step is ahead - behind, which is about 2h. Look at it before you divide by it.
    x = np.asarray(x)
    ahead, behind = x + h, x - h
    step = ahead - behind
    if np.any(step == 0):
        raise ValueError(f"the step h={h} is lost in rounding: x + h equals x - h")
    return (f(ahead) - f(behind)) / step
    ### END SOLUTION


def complex_step(f: Function, x: Any) -> Any:
    """The derivative of f to machine precision: Im f(x + ih) / h with a tiny h.

    Taylor: f(x + ih) = f(x) + ih f'(x) - h²/2 f''(x) - ...  The imaginary part is h f'(x), with an
    error of h³, and nothing is subtracted, so nothing is lost: h = 1e-30 does no harm.

    ``x`` is a number, a list or an array of any shape; f is called once, with complex numbers.
    f must be built of functions that are defined for complex numbers (polynomials, exp, sin, ...).

    Raises TypeError when the result of f is not complex: f threw the imaginary part away (by
    numpy.abs, or .real), and the derivative with it.

    >>> print(complex_step(lambda x: x**2, 3.0))
    6.0
    """
    # TODO: one call of f, a check, the imaginary part over h.
    # HINT: in f(x + ih), which part holds f(x), and which the derivative?
    ### BEGIN SOLUTION
    # HINT: numpy.iscomplexobj says whether a number or an array is complex, numpy.imag takes the
    #       imaginary part of either.
    # HINT: 1j is Python's imaginary unit: f(numpy.asarray(x) + 1j * h), with h = 1e-30.
    h = 1e-30
    value = f(np.asarray(x) + 1j * h)
    if not np.iscomplexobj(value):
        raise TypeError("f returned a real number for a complex one: complex_step cannot follow it")
    return np.imag(value) / h
    ### END SOLUTION


def best_step(f: Function, x: float) -> float:
    """A step h for which ``central_difference(f, x, h)`` is about as exact as it can be.

    f may wiggle within 1/100 or hardly bend within 1000, so no fixed step does. Measure: take the
    central differences D(h) for h = H, H/2, H/4, ..., H/2³² with H = max(|x|, 1) / 64. The error
    of D(h) has two parts, and both can be estimated without knowing the derivative:

    - cutting off: the error falls by 4 when h is halved, so that of D(h) is near |D(2h) - D(h)| / 3
    - rounding: with eps = 2⁻⁵², the value of f is off by eps · |f(x)|, and what f computes from x
      is off by eps · |x|, which moves f by |D(h)| times as much. Both divided by h, that is
      eps · (|f(x)| + |x D(h)|) / h

    Return the h, of those that have a 2h, for which the sum of both is least, as a float of
    Python's own. Far from x, f may overflow or not be defined (log of a negative number): steps
    where the sum is nan do not count, and no warning is shown.

    >>> 1e-6 < best_step(np.exp, 0.0) < 1e-4
    True
    """
    # TODO: both estimates for all the steps; the step where their sum is least.
    # HINT: central_difference takes all the steps at once.
    ### BEGIN SOLUTION
    # HINT: numpy.diff(slopes) has one element less than slopes; its first is for the second step.
    # HINT: numpy.nanargmin finds where an array is least; numpy.errstate silences warnings.
    steps = max(abs(x), 1.0) / 64 * 0.5 ** np.arange(33)
    with np.errstate(all="ignore"):
        slopes = central_difference(f, x, steps)
        cutting_off = np.abs(np.diff(slopes)) / 3
        rounding = np.finfo(float).eps * (np.abs(f(x)) + np.abs(x * slopes)) / steps
    return float(steps[1:][np.nanargmin(cutting_off + rounding[1:])])
    ### END SOLUTION


def second_derivative(f: Function, x: Any, h: float | None = None) -> Any:
    """How fast the slope changes: (f(x + h) - 2 f(x) + f(x - h)) / h².

    ``x`` is a number, a list or an array of any shape, and the result has its shape; f is called
    three times, with floats. Without ``h`` the step is eps^(1/4) · max(|x|, 1) for each element,
    eps = 2⁻⁵²: rounding makes up to 4 eps / h² here, cutting off h² / 12, and there both are
    about 1e-8.

    As above the step is rounded first, to (x + h) - x, and a ValueError is raised when that is 0.

    >>> print(second_derivative(lambda x: x**3, 2.0, h=0.5))
    12.0
    """
    # TODO: the step, rounded; three values of f; the formula.
    # HINT: it is the change of the slope: slope ahead minus slope behind, over h. Which step are
    #       the three points apart, if x + h is rounded?
    ### BEGIN SOLUTION
    # HINT: numpy.maximum(abs(x), 1.0) is max(|x|, 1) for every element; numpy.finfo(float).eps is
    #       2⁻⁵².
    # HINT: step = (x + h) - x, checked as above, then f at x + step, x and x - step, over step**2.
    x = np.asarray(x, dtype=float)
    if h is None:
        h = np.finfo(float).eps ** 0.25 * np.maximum(np.abs(x), 1.0)
    step = (x + h) - x
    if np.any(step == 0):
        raise ValueError(f"the step h={h} is lost in rounding: x + h equals x")
    return (f(x + step) - 2 * f(x) + f(x - step)) / step**2
    ### END SOLUTION


def test_forward_difference() -> None:
    assert forward_difference(lambda x: x**2, 3.0, h=0.5) == 6.5


def test_central_difference_of_a_vector() -> None:
    slopes = central_difference(np.sin, np.array([0.0, np.pi]), h=1e-5)
    assert np.allclose(slopes, [1.0, -1.0])


def test_complex_step() -> None:
    assert abs(complex_step(np.sin, 1.0) - np.cos(1.0)) < 1e-15


def test_best_step() -> None:
    assert 1e-6 < best_step(np.exp, 0.0) < 1e-4


def test_second_derivative() -> None:
    assert abs(second_derivative(np.exp, 0.0) - 1.0) < 1e-6


if __name__ == "__main__":
    from harness import main

    main(__file__)
