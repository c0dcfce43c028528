"""
Day 21: Stable functions
========================
Estimated time: 1-2 hours
Prerequisites: Day 18 (reductions), Day 20 (gather), Day 12 (activations)
Lesson: lessons/day21.md

Learning objectives:
- Compute exponentials and logarithms of any logits without overflow, and without losing digits
- Write softmax, its logarithm and their backwards, masks of -inf included
- Fuse softmax, logarithm, choice and mean into one loss with one short backward
- Tell a formula that is right from one that is right in floating point

The same number taken off every logit changes no softmax. Off goes the largest:

    logits       1000   998   -inf        exp overflows beyond 88.7 in float32
    - largest       0    -2   -inf        nothing is above 0
    exp             1  0.135     0        one is 1: the sum is neither inf nor 0
    / sum       0.881  0.119     0

    cross_entropy   logits ─ log_softmax ─ choose ─ mean ── loss      four formulas,
                      └──────────── (softmax - one hot) / n ──┘       one way back

No function of today lets numpy warn, neither forward nor back: an overflow, x / 0, inf - inf and
the logarithm of a negative number come out as IEEE arithmetic has them.

Hints:
- The largest of a row is inside of it. After the shift one exponent is 0 and none is positive.
- A difference of two large numbers has few digits left. Shift first, then add and subtract.
- ``with np.errstate(all="ignore"):`` keeps numpy quiet. A backward runs later and needs its own.

Resources:
- N. J. Higham, What Is the Log-Sum-Exp Function?, 2021:
  https://nhigham.com/2021/01/05/what-is-the-log-sum-exp-function/
- P. Blanchard, D. J. Higham, N. J. Higham, Accurately computing the log-sum-exp and softmax
  functions, IMA Journal of Numerical Analysis 41(4), 2021
- torch.nn.functional.cross_entropy:
  https://docs.pytorch.org/docs/stable/generated/torch.nn.functional.cross_entropy.html
"""

from __future__ import annotations

import math

import numpy as np

from tracks.autodiff import day20
from tracks.autodiff.day15 import FLOAT
from tracks.autodiff.day18 import Dim, axes_of, narrow, needs_floats, unreduce, wide

erfc = np.vectorize(math.erfc, otypes=[np.float64])
"""1 - erf of every element of an array, in float64: numpy itself has no such function."""


def floats(x: day20.Tensor) -> np.ndarray:
    """The elements of x in the dtype to compute in: float16, integers and bools become float32."""
    return x.data.astype(wide(x.dtype) if x.dtype.kind == "f" else FLOAT, copy=False)


def exp(x: day20.Tensor) -> day20.Tensor:
    """e to the power of each element. Of every function of today:

    - any shape, 0-d and size 0 included, any strides; the op is the function's name
    - the dtype of a float x is the result's. float16 is computed in float32 and rounded once
      (``floats`` before, ``narrow`` after). Integers and bools become float32, unless the
      docstring refuses them
    - the backward gives a share of the shape of x, and writes neither into x nor into ``g``.

    The share is g · e^x, with the e^x of the result: it is computed once. It is inf where it is too
    large for the dtype.

    >>> exp(day20.Tensor([0.0, -np.inf, 1000.0])).tolist()
    [1.0, 0.0, inf]
    """
    # TODO: compute in floats, make the result narrow, and use it in the backward.
    # HINT: which number that you have already is the slope?
    ### BEGIN SOLUTION
    # HINT: y = np.exp(floats(x)); then narrow(y, x.dtype) is the result's array.
    # HINT: the backward is g * y under np.errstate, for 0 · inf.
    with np.errstate(all="ignore"):
        y = np.exp(floats(x))

    def backward(g: np.ndarray) -> tuple[np.ndarray]:
        with np.errstate(all="ignore"):
            return (g * y,)

    return x._result(narrow(y, x.dtype), (x,), "exp", backward)
    ### END SOLUTION


def log(x: day20.Tensor) -> day20.Tensor:
    """The natural logarithm: -inf at 0, nan below. The share is g / x, with IEEE's inf at 0.

    >>> log(day20.Tensor([1, 0, -1])).tolist()
    [0.0, -inf, nan]
    """
    # TODO: like exp.
    # HINT: what is the slope of the logarithm at x?
    ### BEGIN SOLUTION
    # HINT: keep data = floats(x) for the backward.
    # HINT: np.log(data) forward, g / data back, each under np.errstate(all="ignore").
    data = floats(x)
    with np.errstate(all="ignore"):
        y = np.log(data)

    def backward(g: np.ndarray) -> tuple[np.ndarray]:
        with np.errstate(all="ignore"):
            return (g / data,)

    return x._result(narrow(y, x.dtype), (x,), "log", backward)
    ### END SOLUTION


def log1p(x: day20.Tensor) -> day20.Tensor:
    """log(1 + x), to all digits where x is small: log1p(1e-20) is 1e-20. The share is g / (1 + x).

    >>> log1p(day20.Tensor(1e-20, dtype="float64")).item()
    1e-20
    """
    # TODO: like log.
    # HINT: what is 1 + 1e-20 in floating point, and its logarithm?
    ### BEGIN SOLUTION
    # HINT: numpy knows this function under the same name.
    # HINT: np.log1p(data) forward, g / (1 + data) back.
    data = floats(x)
    with np.errstate(all="ignore"):
        y = np.log1p(data)

    def backward(g: np.ndarray) -> tuple[np.ndarray]:
        with np.errstate(all="ignore"):
            return (g / (1 + data),)

    return x._result(narrow(y, x.dtype), (x,), "log1p", backward)
    ### END SOLUTION


def sqrt(x: day20.Tensor) -> day20.Tensor:
    """The square root, nan below 0. The share is g / (2 √x), with IEEE's inf (for g = 0, nan) at 0.

    >>> sqrt(day20.Tensor([4.0, 2.25])).tolist()
    [2.0, 1.5]
    """
    # TODO: like exp.
    # HINT: the slope can be said with the result.
    ### BEGIN SOLUTION
    # HINT: y = np.sqrt(floats(x)), under np.errstate(all="ignore").
    # HINT: the backward is g / (2 * y).
    with np.errstate(all="ignore"):
        y = np.sqrt(floats(x))

    def backward(g: np.ndarray) -> tuple[np.ndarray]:
        with np.errstate(all="ignore"):
            return (g / (2 * y),)

    return x._result(narrow(y, x.dtype), (x,), "sqrt", backward)
    ### END SOLUTION


def sigmoid(x: day20.Tensor) -> day20.Tensor:
    """1 / (1 + e^-x), from 0 to 1, of any x. Small results keep their digits: sigmoid(-80) is
    1.8e-35, in float32 too.

    The share is g · s · (1 - s), where s is the result: 0 far out, never nan for a finite g.

    >>> sigmoid(day20.Tensor([0.0, 1e4, -1e4])).tolist()
    [0.5, 1.0, 0.0]
    """
    # TODO: two formulas, one for each sign of x, chosen element by element.
    # HINT: day 12 did it for one number. Which exponent is never positive?
    ### BEGIN SOLUTION
    # HINT: e = np.exp(-np.abs(data)) serves both: 1 / (1 + e) for x >= 0, else e / (1 + e).
    # HINT: np.where(data >= 0, 1, e) / (1 + e).
    data = floats(x)
    e = np.exp(-np.abs(data))
    s = np.where(data >= 0, 1, e) / (1 + e)
    return x._result(narrow(s, x.dtype), (x,), "sigmoid", lambda g: (g * s * (1 - s),))
    ### END SOLUTION


def gelu(x: day20.Tensor) -> day20.Tensor:
    """x · Φ(x), where Φ(x) = erfc(-x / √2) / 2 is the probability that a normal number is below x.

    The exact one, as on day 12 (Hendrycks and Gimpel, 2016), with its digits where the result is
    small: gelu(-10) is -7.6e-23. The share is g · (Φ(x) + x · φ(x)), with the density
    φ(x) = e^(-x² / 2) / √(2π). Right for every finite x; inf and -inf are left open. TypeError,
    naming the operation and the dtype, for integers and bools (``needs_floats``).

    >>> gelu(day20.Tensor([0.0, 1000.0])).tolist()
    [0.0, 1000.0]
    """
    # TODO: Φ with the erfc above; the product, and both terms of its slope.
    # HINT: what is x² of an x of 1e30 in float32, and what does e^-that become?
    ### BEGIN SOLUTION
    # HINT: below = erfc(-data / math.sqrt(2)) / 2, in float64 whatever x is; narrow the product.
    # HINT: density = np.exp(-data * data / 2) / math.sqrt(2 * math.pi), under np.errstate.
    needs_floats("gelu", x)
    data = np.asarray(x.data, np.float64)
    below = erfc(-data / math.sqrt(2)) / 2

    def backward(g: np.ndarray) -> tuple[np.ndarray]:
        with np.errstate(all="ignore"):
            density = np.exp(-data * data / 2) / math.sqrt(2 * math.pi)
            return (g * (below + data * density),)

    return x._result(narrow(data * below, x.dtype), (x,), "gelu", backward)
    ### END SOLUTION


def logsumexp(x: day20.Tensor, dim: Dim, keepdim: bool = False) -> day20.Tensor:
    """log Σ e^x over the axes ``dim`` (what day 18's ``axes_of`` takes), without overflow.

    - Logits of ±1e4 and more are fine. Of nothing, and of all -inf, it is -inf; with an inf, inf.
    - The share is g · softmax(x), with the digits of the dtype also for logits of 1e4: in float32
      the result has an error of 1e-3 there, and e^(x - result) has it too.
    - A gradient at inf, or at all -inf, is not specified (torch has nan for the latter).
    - IndexError and ValueError as from ``axes_of``, naming the operation.

    >>> logsumexp(day20.Tensor([[1000.0, 1000.0], [-np.inf, 0.0]]), dim=1).tolist()
    [1000.693115234375, 0.0]
    """
    # TODO: the largest, the exponentials of what is left, their sum; add the largest at the end.
    # HINT: e^x = e^top · e^(x - top). What is log of the sum then? And what is -inf - (-inf)?
    ### BEGIN SOLUTION
    # HINT: top = data.max(axes, keepdims=True, initial=-np.inf) also works where there is nothing;
    # where it is not finite, shift by 0 instead.
    # HINT: e = np.exp(data - top), total = e.sum(axes, keepdims=True): the value is
    # np.log(total) + top, and the share unreduce(g, …) * (e / total).
    axes = axes_of(dim, x.ndim, "logsumexp")
    data = floats(x)
    with np.errstate(all="ignore"):
        top = data.max(axes, keepdims=True, initial=-np.inf)
        top = np.where(np.isfinite(top), top, data.dtype.type(0))
        e = np.exp(data - top)
        total = e.sum(axes, keepdims=True)
        value = np.log(total) + top

    def backward(g: np.ndarray) -> tuple[np.ndarray]:
        with np.errstate(all="ignore"):
            return (unreduce(g, x.shape, axes) * (e / total),)

    value = value if keepdim else value.squeeze(axes)
    return x._result(narrow(value, x.dtype), (x,), "logsumexp", backward)
    ### END SOLUTION


def softmax(x: day20.Tensor, dim: int) -> day20.Tensor:
    """e^x / Σ e^x along the axis ``dim``: positive numbers that add up to 1.

    - Any logits; -inf is a mask and becomes 0. All -inf, or an inf, make a row of nan, as in torch.
    - The share is y · (g - Σ g y), where y is the result and the sum runs along ``dim``.
    - IndexError for an axis that is not there (``axes_of``); TypeError for integers and bools, as
      of ``gelu``.

    >>> softmax(day20.Tensor([1e4, 1e4, -np.inf]), dim=0).tolist()
    [0.5, 0.5, 0.0]
    """
    # TODO: shift, exponentials, quotient; and the share.
    # HINT: one logit moves all results of its row. What of g is left if g is the same throughout?
    ### BEGIN SOLUTION
    # HINT: e = np.exp(data - top), as in logsumexp; here a row of nan is what torch has.
    # HINT: y * (g - (g * y).sum(axes, keepdims=True)), with y as it was before it became narrow.
    needs_floats("softmax", x)
    axes = axes_of(dim, x.ndim, "softmax")
    data = floats(x)
    with np.errstate(all="ignore"):
        e = np.exp(data - data.max(axes, keepdims=True, initial=-np.inf))
        y = e / e.sum(axes, keepdims=True)

    def backward(g: np.ndarray) -> tuple[np.ndarray]:
        return (y * (g - (g * y).sum(axes, keepdims=True)),)

    return x._result(narrow(y, x.dtype), (x,), "softmax", backward)
    ### END SOLUTION


def log_softmax(x: day20.Tensor, dim: int) -> day20.Tensor:
    """The logarithm of ``softmax``, also where that is too small for the dtype.

    - log_softmax([0, -1e4]) is [0, -1e4]; a mask of -inf stays -inf. Rows of nan as in softmax.
    - It has the digits of the dtype at logits of 1e4 too: two logits of 1e4 are -0.6931472 each.
    - The share is g - softmax(x) · Σ g, the sum along ``dim``. A mask's share is its own g.
    - Errors as of ``softmax``.

    >>> log_softmax(day20.Tensor([0.0, -1e4]), dim=0).tolist()
    [0.0, -10000.0]
    """
    # TODO: shift, then take off the logarithm of the sum.
    # HINT: x - logsumexp(x) is the same on paper. How many digits has 10000.6931 in float32?
    ### BEGIN SOLUTION
    # HINT: z = data - top; y = z - np.log(np.exp(z).sum(axes, keepdims=True)).
    # HINT: g - np.exp(y) * g.sum(axes, keepdims=True), the sum in floats(x)'s dtype.
    needs_floats("log_softmax", x)
    axes = axes_of(dim, x.ndim, "log_softmax")
    data = floats(x)
    with np.errstate(all="ignore"):
        z = data - data.max(axes, keepdims=True, initial=-np.inf)
        y = z - np.log(np.exp(z).sum(axes, keepdims=True))

    def backward(g: np.ndarray) -> tuple[np.ndarray]:
        return (g - np.exp(y) * g.sum(axes, dtype=y.dtype, keepdims=True),)

    return x._result(narrow(y, x.dtype), (x,), "log_softmax", backward)
    ### END SOLUTION


def cross_entropy(
    input: day20.Tensor,
    target: day20.Tensor,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> day20.Tensor:
    """-log_softmax(input) at the class that ``target`` names, of every example, and their mean.

    Args:
        input: logits (C,), (N, C) or (N, C, d1, …): the classes are on axis 1, or the only one
        target: integers from 0 to C - 1, of the shape of input without the axis of the classes
        ignore_index: an example with this target has the loss 0, no gradient, and is not counted
        reduction: "mean" over the examples that count; "sum"; or "none", a loss for each

    - Logits as for log_softmax: ±1e4, masks. The loss is inf where the target's logit is -inf.
    - The mean of no examples is nan, as in torch, without a warning; their sum is 0.
    - One node, from the logits to the loss: the share of input is (softmax - one hot) · g, where
      g is the example's part of the gradient; the target's is None.
    - No array of C × C: forward and backward together need at most 20 times the bytes of input.
    - Errors name the operation. TypeError unless input is of floats and target of integers.
      ValueError with both shapes if these do not belong together or there is no class, and with
      the reduction if there is no such. IndexError, with the target and the number of classes, for
      a target that is none of them, also below 0, unless it is ignore_index.

    >>> x = day20.Tensor([[0.0, 0.0], [1e4, 0.0]], requires_grad=True)
    >>> cross_entropy(x, day20.Tensor([0, 1]), reduction="none").tolist()
    [0.6931471824645996, 10000.0]
    """
    # TODO: check; the loss of each example; the reduction; one backward for all of it.
    # HINT: write down the loss of one example with logits z: log Σ e^z - z[target]. Its slope?
    # HINT: what does array[-1] give in numpy, and what would a target of -1 do?
    ### BEGIN SOLUTION
    # HINT: index = np.expand_dims(np.where(kept, target, 0), axis): np.take_along_axis(z, index,
    # axis) chooses, for any number of axes.
    # HINT: weight = g / count where kept, else 0, with the axis put back; share = e / total *
    # weight, then take weight off at index (np.put_along_axis).
    # HINT: count is the number of examples kept for "mean", else 1.
    needs_floats("cross_entropy", input)
    if target.dtype.kind not in "iu":
        raise TypeError(f"cross_entropy: the target must be integers, not {target.dtype}")
    axis = min(1, input.ndim - 1)
    examples = input.shape[:axis] + input.shape[axis + 1 :]
    if input.ndim == 0 or target.shape != examples or input.shape[axis] == 0:
        raise ValueError(f"cross_entropy: logits of {input.shape}, targets of {target.shape}")
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"cross_entropy: no reduction is called {reduction!r}")
    classes, kept = input.shape[axis], target.data != ignore_index
    wrong = target.data[kept & ((target.data < 0) | (target.data >= classes))]
    if wrong.size:
        raise IndexError(f"cross_entropy: a target of {wrong[0]} for {classes} classes")
    index = np.expand_dims(np.where(kept, target.data, 0), axis)
    data = floats(input)
    with np.errstate(all="ignore"):
        z = data - data.max(axis, keepdims=True)
        e = np.exp(z)
        total = e.sum(axis, keepdims=True)
        losses = (np.log(total) - np.take_along_axis(z, index, axis)).squeeze(axis)
        losses = np.where(kept, losses, data.dtype.type(0))
        count = data.dtype.type(kept.sum() if reduction == "mean" else 1)
        value = losses if reduction == "none" else losses.sum() / count

    def backward(g: np.ndarray) -> tuple[np.ndarray, None]:
        with np.errstate(all="ignore"):
            weight = np.expand_dims(np.where(kept, g / count, 0), axis)
            share = e / total * weight
            at_target = np.take_along_axis(share, index, axis) - weight
            np.put_along_axis(share, index, at_target, axis)
        return share, None

    return input._result(narrow(value, input.dtype), (input, target), "cross_entropy", backward)
    ### END SOLUTION


class Tensor(day20.Tensor):
    """Week 3 complete, with the functions of today as methods; gelu and cross_entropy stay
    functions, as in torch."""

    __slots__ = ()

    def exp(self) -> Tensor:
        return exp(self)

    def log(self) -> Tensor:
        return log(self)

    def log1p(self) -> Tensor:
        return log1p(self)

    def sqrt(self) -> Tensor:
        return sqrt(self)

    def sigmoid(self) -> Tensor:
        return sigmoid(self)

    def logsumexp(self, dim: Dim, keepdim: bool = False) -> Tensor:
        return logsumexp(self, dim, keepdim)

    def softmax(self, dim: int) -> Tensor:
        return softmax(self, dim)

    def log_softmax(self, dim: int) -> Tensor:
        return log_softmax(self, dim)


def test_elementwise() -> None:
    x = Tensor([4.0, 0.25], requires_grad=True)
    y = x.sqrt()
    y.backward([1.0, 1.0])
    assert y.tolist() == [2.0, 0.5]
    assert x.grad is not None
    assert x.grad.tolist() == [0.25, 1.0]
    assert Tensor([0.0, 1e4]).exp().tolist() == [1.0, math.inf]
    assert Tensor([1.0, 0.0]).log().tolist() == [0.0, -math.inf]
    assert log1p(Tensor(0.0)).item() == 0.0


def test_curves() -> None:
    for f, slope in [(sigmoid, 0.25), (gelu, 0.5)]:
        x = Tensor(0.0, requires_grad=True)
        f(x).backward()
        assert x.grad is not None
        assert x.grad.item() == slope
    assert Tensor([1e4, -1e4]).sigmoid().tolist() == [1.0, 0.0]


def test_softmax() -> None:
    x = Tensor([1e4, 1e4, -math.inf])
    assert x.softmax(0).tolist() == [0.5, 0.5, 0.0]
    assert abs(x.log_softmax(0).data[0] + math.log(2)) < 1e-6
    assert Tensor([-math.inf, 3.0]).logsumexp(0).item() == 3.0


def test_cross_entropy() -> None:
    x = Tensor([[0.0, 0.0], [1e4, 0.0]], requires_grad=True)
    cross_entropy(x, Tensor([0, 1])).backward()
    assert x.grad is not None
    assert x.grad.tolist() == [[-0.25, 0.25], [0.5, -0.5]]


if __name__ == "__main__":
    from harness import main

    main(__file__)
