"""
Day 7: Gradient checking
========================
Estimated time: 2 hours
Prerequisites: Day 1 (derivatives), Day 3 (gradients and Jacobians)
Lesson: lessons/day07.md

Learning objectives:
- Compare two numbers by their size, and leave out what measuring cannot know
- Measure a slope together with how unsure it is: rounding, bending, a kink nearby
- Test a gradient of a million entries with a handful of calls of f
- Corner the one wrong entry by halving, and choose between forward and reverse mode

    smooth                            a kink between x - h and x

                  .o  x+h                   '.           .o  x+h
              ..o'    x                       '.       .o    x
       .o.''          x-h                  x-h  o.   .'
                                                  '.'
    left slope = right slope          left and right slopes differ

    claimed within measured +- unsure    right
    claimed far outside                  wrong
    unsure large                         then a right claim proves nothing

A gradient that a person has derived is wrong surprisingly often, and training still works a little:
the loss falls, only worse. Nothing crashes. A check by measurement finds such errors, but it is
only useful as long as it never cries wolf.

Hints:
- A check has three answers: right, wrong, and "cannot be known from here".
- Every check here is check_gradient: of f itself, or of f along lines through x.
- An error of one entry is still there when all entries move at once.

Resources:
- Practical Optimization, P. Gill, W. Murray and M. Wright, chapters 4 and 8 (finite differences)
- Evaluating Derivatives, A. Griewank and A. Walther, chapters 3 and 4 (costs of both modes)
- torch.autograd.gradcheck: https://docs.pytorch.org/docs/stable/notes/gradcheck.html
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

Function = Callable[[np.ndarray], Any]
"""Takes an array and returns one number."""

Gradient = Callable[[np.ndarray], Any]
"""Takes an array, and claims the gradient of a function there: an array of the same shape."""

EPS = float(np.finfo(float).eps)
STEP = 2.0**-15
"""The step for an entry of size 1. Bending costs about STEP² of a slope and rounding EPS / STEP:
both are far below the tolerance."""


class Check(NamedTuple):
    """What a check found; all but ``ok`` are arrays of one shape."""

    claimed: np.ndarray
    measured: np.ndarray
    unsure: np.ndarray
    """How far the measured slope may be from the true one; inf where nothing could be measured."""
    wrong: np.ndarray
    """Whether the claimed slope is certainly wrong."""
    checkable: np.ndarray
    """Whether a wrong slope would have been noticed."""

    @property
    def ok(self) -> bool:
        """Nothing is wrong, as far as could be checked."""
        return not self.wrong.any()


def _value(f: Function, x: np.ndarray) -> float:
    """f of a copy of x, which f may keep or change; ValueError if it is not one number."""
    value = f(x.copy())
    if np.shape(value) != ():
        raise ValueError(f"f returned an array of shape {np.shape(value)}, not one number")
    return float(value)


def _claim(df: Gradient, x: np.ndarray) -> np.ndarray:
    """df of a copy of x, as an array of floats; ValueError if it has not x's shape."""
    claimed = np.array(df(x.copy()), dtype=float)
    if claimed.shape != x.shape:
        raise ValueError(
            f"df returned an array of shape {claimed.shape} for an x of shape {x.shape}"
        )
    return claimed


def relative_error(a: Any, b: Any, unsure: Any = 0.0) -> np.ndarray:
    """How far a and b are apart, as a share of the larger one.

        max(|a - b| - unsure, 0) / max(|a|, |b|)

    ``a`` and ``b`` are numbers, lists or arrays of the same shape, and the result is an array of
    floats of that shape, element by element. ``unsure``, a number or an array of that shape, at
    least 0, is how much of the difference is not to be counted.

    Where a equals b the error is 0: two zeros too, and two infinities. Where it does not, and one
    of the two is nan or infinite, the error is inf, whatever ``unsure`` is; nan equals nothing. The
    order of a and b does not matter, no numpy warning is shown, and the result is never nan.

    Raises ValueError when the shapes of a and b differ: broadcasting would compare entries that
    have nothing to do with each other.

    >>> print(relative_error([100.0, 0.0, 3.0], [101.0, 0.0, -3.0], unsure=0.5).round(4))
    [0.005  0.     1.8333]
    """
    # TODO: compare the shapes; the formula; then the elements that are equal or not finite.
    # HINT: which elements make the formula divide by 0? Are they right in any case?
    raise NotImplementedError("relative_error")


def check_gradient(f: Function, df: Gradient, x: Any, tolerance: float = 1e-7) -> Check:
    """Compare the gradient that df claims for f at x with measured slopes, entry by entry.

    ``x`` is a number, a list or an array of any shape, whole numbers too; the arrays of the result
    have its shape. f is called once at x and four times for each entry, df once, each with a new
    float64 array. For an entry with the step h = STEP · max(|x_i|, 1), and f(t) short for f with
    x_i + t in place of x_i:

        measured  (f(h/2) - f(-h/2)) / h              a central difference
        right     (4 f(h/2) - 3 f(0) - f(h)) / h      one-sided slopes, exact
        left      (3 f(0) - 4 f(-h/2) + f(-h)) / h    for parabolas
        unsure    |right - left|                      is there a kink?
                  + |(f(h) - f(-h)) / 2h - measured|  does the step matter?
                  + 8 EPS M / h                       rounding; M is the
                                                      largest |f| of the five

    If all five f's lie on two straight lines with a kink between them, then measured is off by at
    most ``unsure``, wherever the kink is. Where f is nan or inf at one of the five, ``unsure``
    is inf.

    - wrong: relative_error of claimed and measured, beyond unsure, exceeds ``tolerance``, and
      unsure is finite. A claim of nan is wrong.
    - checkable: unsure is at most tolerance times the largest |measured| of all entries whose
      unsure is finite. At a kink it is not.

    No numpy warning is shown. ``_value`` and ``_claim`` call f and df, with a copy, and raise
    ValueError if the shape of what they return is wrong.

    >>> f, df = lambda x: x[0] ** 2 * x[1], lambda x: [2 * x[0] * x[1], x[0]]
    >>> print(check_gradient(f, df, [3, 5]).wrong)
    [False  True]
    """
    # TODO: the claim and f at x; measured and unsure for each entry; the two verdicts.
    # HINT: numpy.ndindex(x.shape) goes through the entries, and through the only one of shape ().
    raise NotImplementedError("check_gradient")


def random_direction_check(
    f: Function,
    df: Gradient,
    x: Any,
    rng: np.random.Generator,
    directions: int = 3,
    tolerance: float = 1e-7,
) -> Check:
    """Compare the slopes of f along random directions with those that df claims.

    Each direction v is an array of x's shape that moves every entry: a random number between 1 and
    2 with a random sign, times max(|x_i|, 1). The slope of f along v is the sum of v_i df_i over
    all entries.

    Returns a Check whose arrays have the shape (directions,): that of ``check_gradient`` for the
    function of as many numbers t that goes from x into all the directions,
    g(t) = f(x + t_0 v_0 + t_1 v_1 + ...), at t = 0. So f is called 1 + 4 · directions times and df
    once, however many entries x has. f and df are given float64 arrays of x's shape.

    All random numbers come from ``rng``. ValueErrors as in ``check_gradient``.

    >>> x, rng = np.ones(1_000_000), np.random.default_rng(0)
    >>> print(random_direction_check(lambda x: x @ x, lambda x: 2 * x, x, rng).wrong)
    [False False False]
    """
    # TODO: draw the directions in one array; define g and its claimed gradient; check_gradient.
    # HINT: rng.uniform and rng.choice([-1.0, 1.0], ...) take the shape (directions, *x.shape).
    raise NotImplementedError("random_direction_check")


def find_wrong_entry(
    f: Function, df: Gradient, x: Any, rng: np.random.Generator, tolerance: float = 1e-7
) -> tuple[int, ...] | None:
    """The index of an entry where df is wrong, found by halving; None if there is none.

    Check a group of entries by ``random_direction_check`` of a function of these alone, the other
    entries of x held fixed; begin with all. If nothing is wrong and all directions are checkable,
    the group is done. If not, halve it and check both halves, one entry alone being the end: that
    is wrong, and its index (a tuple, as numpy.ndindex gives) is returned, or it is not, and the
    search goes on. So kinks in one half do not hide what is wrong in the other.

    If all can be checked and one entry is wrong, f is called at most 13 + 26 · log2(n) times (the
    logarithm rounded up) for n entries, not 4n; df is called once.
    ``x`` may have any shape, and size 0, where the answer is None. f is given float64 arrays of
    x's shape that are its own.

    >>> def df(x):
    ...     claimed = 2 * x
    ...     claimed[2, 7] *= 1.0001
    ...     return claimed
    >>> find_wrong_entry(lambda x: np.sum(x**2), df, np.ones((4, 9)), np.random.default_rng(0))
    (2, 7)
    """
    # TODO: a list of groups to check; take one, check it, and put its halves on the list.
    # HINT: a group is an array of places in the flattened x: numpy.arange(x.size) to begin with.
    # HINT: what is f as a function of the group's entries only? And its claimed gradient?
    raise NotImplementedError("find_wrong_entry")


class Choice(NamedTuple):
    """A way to a Jacobian."""

    mode: str
    """ "forward" or "reverse"."""
    cost: float
    """In evaluations of f."""


def forward_or_reverse(n: int, m: int) -> Choice:
    """The cheaper mode for the Jacobian of a function from n numbers to m, and its cost.

    Forward mode carries a derivative along for each input, reverse mode returns with one for each
    output. Griewank and Walther bound both, counting reads and writes as well as operations, in
    evaluations of f:

        forward   1   + 1.5 n
        reverse   1.5 + 2.5 m

    For equal costs the mode is "forward", since reverse mode must keep what it will need on the way
    back. Raises ValueError if n or m is less than 1.

    >>> forward_or_reverse(1_000_000, 1)
    Choice(mode='reverse', cost=4.0)
    """
    # TODO: both costs; the smaller one.
    # HINT: which of the two depends on the number of inputs?
    raise NotImplementedError("forward_or_reverse")


def test_relative_error() -> None:
    assert relative_error([1.0, 0.0], [2.0, 0.0]).tolist() == [0.5, 0.0]


def test_check_gradient() -> None:
    check = check_gradient(lambda x: x[0] ** 2 * x[1], lambda x: [2 * x[0] * x[1], x[0]], [3, 5])
    assert check.wrong.tolist() == [False, True]
    assert check.checkable.all()


def test_check_gradient_at_a_kink() -> None:
    check = check_gradient(abs, lambda x: 1.0, 0.0)
    assert not check.wrong and not check.checkable


def test_random_direction_check() -> None:
    x, rng = np.ones(1000), np.random.default_rng(0)
    assert random_direction_check(lambda x: x @ x, lambda x: 2 * x, x, rng).ok
    assert not random_direction_check(lambda x: x @ x, lambda x: 2.001 * x, x, rng).ok


def test_find_wrong_entry() -> None:
    def df(x: np.ndarray) -> np.ndarray:
        claimed = 2 * x
        claimed[2, 7] *= 1.0001
        return claimed

    x, rng = np.ones((4, 9)), np.random.default_rng(0)
    assert find_wrong_entry(lambda x: np.sum(x**2), df, x, rng) == (2, 7)


def test_forward_or_reverse() -> None:
    assert forward_or_reverse(1_000_000, 1) == ("reverse", 4.0)


if __name__ == "__main__":
    from harness import main

    main(__file__)
