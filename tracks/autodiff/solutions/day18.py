"""
Day 18: Reductions
==================
Estimated time: 2 hours
Prerequisites: Day 17 (broadcasting)
Lesson: lessons/day18.md

Learning objectives:
- Say which axes go, which stay, and what keepdim is for
- See that a sum and a broadcast are each other's backward
- Compute a variance, a product and a norm whose gradients are right at their awkward points
- Know what the largest of equals is due, and what a reduction of nothing is

A reduction makes one number of all elements along some axes. On the way back each of these
elements gets a share of that number's gradient:

    x (2, 3)                  y (2,)                g (2,)       share (2, 3)

    ┌ 1 5 5 ┐   sum over      ┌ 11 ┐               ┌ a ┐         ┌ a a a ┐
    └ 4 2 0 ┘   axis 1  ───>  └  6 ┘               └ b ┘  ───>   └ b b b ┘   of sum
                                                                 ┌ 0 a/2 a/2 ┐
                                                                 └ b  0   0  ┘   of amax

Hints:
- Two small functions come first; all reductions begin with one and end with the other.
- For each reduction ask: if this element grows by a little, how does the result move?
- In this file sum, max and min are today's functions, not Python's.

Resources:
- Reduction ops: https://docs.pytorch.org/docs/stable/torch.html#reduction-ops
- T. F. Chan, G. H. Golub, R. J. LeVeque, Algorithms for computing the sample variance,
  The American Statistician 37(3), 1983
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tracks.autodiff import day17
from tracks.autodiff.day16 import Shape, axis_of

Dim = int | Sequence[int] | None
"""The axes to reduce: one, several, or None for all."""


def axes_of(dim: Dim, axes: int, what: str) -> Shape:
    """The axes that ``dim`` names, of ``axes`` axes, each counted from the front, in its order.

    - One number, or several; None and an empty sequence name all axes.
    - A tensor without axes may be asked for axis 0 or -1, as in torch: there is nothing to name,
      and the result is ().
    - IndexError for an axis that is not there, as from day 16's ``axis_of``; ValueError, with
      ``what`` and ``dim`` in the message, if one is named twice.

    >>> axes_of(-1, 3, "sum"), axes_of((0, -1), 3, "sum"), axes_of(None, 2, "sum")
    ((2,), (0, 2), (0, 1))
    """
    # TODO: make a tuple of ``dim``, count each axis from the front, look for doubles.
    # HINT: for which number of axes does axis_of accept just 0 and -1?
    ### BEGIN SOLUTION
    # HINT: a tensor without axes is asked as if it had one: axis_of(d, axes or 1, what).
    # HINT: len(set(found)) < len(found) if an axis is there twice.
    dims = (dim,) if isinstance(dim, int) else tuple(() if dim is None else dim)
    if not dims:
        return tuple(range(axes))
    found = tuple(axis_of(d, axes or 1, what) for d in dims)
    if len(set(found)) < len(found):
        raise ValueError(f"{what}: {dims} names one of {axes} axes twice")
    return found if axes else ()
    ### END SOLUTION


def unreduce(reduced: np.ndarray, shape: Sequence[int], axes: Sequence[int]) -> np.ndarray:
    """``reduced``, with one element for all along ``axes``, read as the ``shape`` from before.

    ``reduced`` has the ``axes`` with length 1 (keepdim) or lacks them; both will do. Nothing is
    repeated in memory: the result is a read-only view, as ``np.broadcast_to`` makes it.

    >>> unreduce(np.array([1.0, 2.0]), (2, 3), (1,)).tolist()
    [[1.0, 1.0, 1.0], [2.0, 2.0, 2.0]]
    """
    # TODO: put the axes back with length 1, then broadcast.
    # HINT: why does np.broadcast_to alone not do for (2,) and (2, 3)?
    ### BEGIN SOLUTION
    # HINT: shapes are aligned at their last axes, so the axes that went have to come back first.
    # HINT: reduced.reshape([1 if i in axes else n for i, n in enumerate(shape)]).
    kept = [1 if i in axes else n for i, n in enumerate(shape)]
    return np.broadcast_to(reduced.reshape(kept), shape)
    ### END SOLUTION


def wide(dtype: np.dtype) -> np.dtype:
    """The dtype in which elements of ``dtype`` are added up or multiplied, as torch does it.

    float16 becomes float32 and is rounded once, at the end. Bools and integers become int64, and
    stay that (numpy: uint64 for unsigned ones).
    """
    if dtype.kind != "f":
        return np.dtype(np.int64)
    return np.promote_types(dtype, np.float32)


def narrow(result: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """A result that was computed in ``wide(dtype)``, in the dtype that it should have."""
    with np.errstate(over="ignore"):  # what float16 cannot hold is inf
        return np.asarray(result, dtype if dtype.kind == "f" else None)


def needs_floats(what: str, x: day17.Tensor) -> None:
    if x.dtype.kind != "f":
        raise TypeError(f"{what}: of floats only, not of {x.dtype} {x.shape}")


def count_of(shape: Sequence[int], axes: Sequence[int]) -> int:
    """How many elements of ``shape`` become one if ``axes`` are reduced."""
    return math.prod(shape[i] for i in axes)


def sum(x: day17.Tensor, dim: Dim = None, keepdim: bool = False) -> day17.Tensor:
    """The sum over the axes ``dim``. Of every reduction here and below:

    - ``dim`` is what ``axes_of`` takes. These axes are gone from the result, or have length 1 if
      ``keepdim``. Any strides, size 0 and 0-d included; errors name the operation.
    - the dtype is that of x. float16 is computed in float32 (``wide``) and rounded once, at the
      end; float32 and float64 are computed as they are.
    - the backward gives a share of the shape of x, and writes neither into x nor into ``g``.
    - numpy warns of nothing, neither in the operation nor in the backward.

    Bools and integers have an int64 sum. The sum of nothing is 0. op ``"sum"``.

    >>> sum(day17.Tensor([[1.0, 5.0], [4.0, 2.0]]), dim=1).tolist()
    [6.0, 6.0]
    """
    # TODO: the axes, the sum, and a share for every element.
    # HINT: how does the result move when one element grows by a little?
    ### BEGIN SOLUTION
    # HINT: x.data.sum(axes, dtype=wide(x.dtype), keepdims=keepdim), made narrow again.
    # HINT: lambda g: (unreduce(g, x.shape, axes),)
    axes = axes_of(dim, x.ndim, "sum")
    total = x.data.sum(axes, dtype=wide(x.dtype), keepdims=keepdim)
    return x._result(narrow(total, x.dtype), (x,), "sum", lambda g: (unreduce(g, x.shape, axes),))
    ### END SOLUTION


def mean(x: day17.Tensor, dim: Dim = None, keepdim: bool = False) -> day17.Tensor:
    """The mean over the axes ``dim``. That of nothing is nan, without a warning of numpy's.

    TypeError, naming the operation and the dtype, for bools and integers: which float should the
    mean of integers be? Torch asks you to say it. op ``"mean"``.

    >>> mean(day17.Tensor([[1.0, 5.0], [4.0, 2.0]]), dim=0, keepdim=True).tolist()
    [[2.5, 3.5]]
    """
    # TODO: a sum, divided by how many elements became one.
    # HINT: what is the share of one element among n?
    ### BEGIN SOLUTION
    # HINT: count_of(x.shape, axes) elements became one; divide before the result is made narrow.
    # HINT: 0 / 0 is nan, and `with np.errstate(all="ignore"):` keeps numpy quiet about it.
    needs_floats("mean", x)
    axes = axes_of(dim, x.ndim, "mean")
    count = count_of(x.shape, axes)
    with np.errstate(all="ignore"):
        value = x.data.sum(axes, dtype=wide(x.dtype), keepdims=keepdim) / count

    def backward(g: np.ndarray) -> tuple[np.ndarray]:
        with np.errstate(all="ignore"):
            return (unreduce(g / count, x.shape, axes),)

    return x._result(narrow(value, x.dtype), (x,), "mean", backward)
    ### END SOLUTION


def var(
    x: day17.Tensor, dim: Dim = None, *, correction: float = 1, keepdim: bool = False
) -> day17.Tensor:
    """The variance over the axes ``dim``: squared distances from the mean, their sum divided.

    ``Σ (x - mean)² / (n - correction)``: ``correction=1`` (Bessel's) for a sample, 0 where the n
    elements are all there are. Where n ≤ correction the divisor is 0, and the result nan or inf,
    as IEEE arithmetic has it, without a warning. The gradient is not specified there, but for one
    element and correction 1: it is nan.

    The mean comes first, then the distances: ``Σ x² - (Σ x)² / n`` loses all digits where the mean
    is large. TypeError as for ``mean``. op ``"var"``.

    >>> x = day17.Tensor([1.0, 2.0, 6.0])
    >>> var(x).item(), round(var(x, correction=0).item(), 4)
    (7.0, 4.6667)
    """
    # TODO: the distances from the mean, their squares, the quotient; and one formula back.
    # HINT: an element moves the mean as well. How much of that is left in the end, if the distances
    # add up to 0?
    ### BEGIN SOLUTION
    # HINT: the share is 2 (x - mean) / (n - correction), times g: the mean's part cancels.
    # HINT: far = data - data.sum(axes, keepdims=True) / count, with data in the wide dtype, and
    # np.maximum(count - correction, 0) is the divisor; the backward needs both.
    needs_floats("var", x)
    axes = axes_of(dim, x.ndim, "var")
    data, count = np.asarray(x.data, wide(x.dtype)), count_of(x.shape, axes)
    divisor = data.dtype.type(np.maximum(count - correction, 0))
    with np.errstate(all="ignore"):
        far = data - data.sum(axes, keepdims=True) / count
        value = (far * far).sum(axes, keepdims=keepdim) / divisor

    def backward(g: np.ndarray) -> tuple[np.ndarray]:
        with np.errstate(all="ignore"):
            return (unreduce(g * (2 / divisor), x.shape, axes) * far,)

    return x._result(narrow(value, x.dtype), (x,), "var", backward)
    ### END SOLUTION


def needs_elements(what: str, x: day17.Tensor, axes: Sequence[int]) -> None:
    """ValueError if one of the ``axes`` has length 0: there is no largest of nothing."""
    if any(x.shape[i] == 0 for i in axes):
        raise ValueError(f"{what}: {x.shape} has no elements along axes {tuple(axes)}")


def amax(
    x: day17.Tensor, dim: Dim = None, keepdim: bool = False, *, largest: bool = True
) -> day17.Tensor:
    """The largest element over the axes ``dim``; the smallest with ``largest=False``.

    - All that are equal to it are due the same: the gradient is divided among them.
    - nan where one element is nan; the gradient is not specified then.
    - ValueError, naming operation and shape, if one of the axes has length 0 (``needs_elements``).
    - Any dtype, and that is the result's.

    op ``"amax"`` or ``"amin"``, which is also the name in errors.

    >>> amax(day17.Tensor([[1.0, 5.0, 5.0], [4.0, 2.0, 0.0]]), 1).tolist()
    [5.0, 4.0]
    """
    # TODO: the largest, and who has its value.
    # HINT: how many share it? That is a sum over a mask.
    ### BEGIN SOLUTION
    # HINT: mask = x.data == unreduce(best, x.shape, axes).
    # HINT: np.where(mask, g, 0) / mask.sum(axes, keepdims=True), with g made large first.
    what, pick = ("amax", np.max) if largest else ("amin", np.min)
    axes = axes_of(dim, x.ndim, what)
    needs_elements(what, x, axes)
    best = pick(x.data, axis=axes, keepdims=keepdim)

    def backward(g: np.ndarray) -> tuple[np.ndarray]:
        mask = x.data == unreduce(best, x.shape, axes)
        with np.errstate(all="ignore"):
            share = np.where(mask, unreduce(g, x.shape, axes), 0)
            return (share / mask.sum(axes, wide(x.dtype), keepdims=True),)

    return x._result(best, (x,), what, backward)
    ### END SOLUTION


def amin(x: day17.Tensor, dim: Dim = None, keepdim: bool = False) -> day17.Tensor:
    """The smallest element over the axes ``dim``: see ``amax``."""
    return amax(x, dim, keepdim, largest=False)


def argmax(
    x: day17.Tensor, dim: int | None = None, keepdim: bool = False, *, largest: bool = True
) -> day17.Tensor:
    """Where the largest element along one axis stands, counted along it: int64, no gradient.

    - The first, if several are equal. nan counts as the largest, and as the smallest.
    - Without ``dim``: where it stands among all elements, read in order.
    - With ``largest=False`` the smallest. ValueError as for ``amax``; the names in errors are
      "argmax" and "argmin".

    >>> argmax(day17.Tensor([[1.0, 5.0, 5.0], [4.0, 2.0, 0.0]]), 1).tolist()
    [1, 0]
    """
    # TODO: check the axes; numpy counts.
    # HINT: np.argmax takes one axis or None, and knows keepdims.
    ### BEGIN SOLUTION
    # HINT: axes_of is for its errors. np.argmax itself takes axis 0 of an array without axes.
    # HINT: a result without parents, x._result(data, (), "", tuple), requires no gradient.
    what, pick = ("argmax", np.argmax) if largest else ("argmin", np.argmin)
    needs_elements(what, x, axes_of(dim, x.ndim, what))
    return x._result(pick(x.data, axis=dim, keepdims=keepdim), (), "", tuple)
    ### END SOLUTION


def argmin(x: day17.Tensor, dim: int | None = None, keepdim: bool = False) -> day17.Tensor:
    """Where the smallest element along one axis stands: see ``argmax``."""
    return argmax(x, dim, keepdim, largest=False)


class Selected(NamedTuple):
    """What ``max`` and ``min`` along an axis give."""

    values: day17.Tensor
    indices: day17.Tensor


def max(
    x: day17.Tensor, dim: int | None = None, keepdim: bool = False, *, largest: bool = True
) -> day17.Tensor | Selected:
    """The largest element along one axis, and where it stands: ``Selected(values, indices)``.

    - ``values[i]`` is the element at ``indices[i]``, which is ``argmax``'s. That element alone gets
      the gradient, also if others are equal to it.
    - Without ``dim``: one Tensor, the largest of all, as ``amax`` has it (shared among equals;
      ``keepdim`` does not count).
    - With ``largest=False`` the smallest. ValueError, naming "max" or "min" and the shape, if the
      axis has length 0.

    op ``"max"`` or ``"min"`` of the values, where there is a ``dim``.

    >>> values, indices = max(day17.Tensor([[1.0, 5.0, 5.0], [4.0, 2.0, 0.0]]), 1)
    >>> values.tolist(), indices.tolist()
    ([5.0, 4.0], [1, 0])
    """
    # TODO: find where, take what stands there, and put the gradient back there.
    # HINT: np.take_along_axis reads at indices along an axis. What writes?
    ### BEGIN SOLUTION
    # HINT: both it and np.put_along_axis want indices that still have the axis, of length 1.
    # HINT: share = np.zeros(...), np.put_along_axis(share, where, g with the axis put back, axis).
    # HINT: a tensor without axes has one element: np.atleast_1d gives it an axis to work along.
    if dim is None:
        return amax(x, largest=largest)
    what = "max" if largest else "min"
    axes = axes_of(dim, x.ndim, what)
    needs_elements(what, x, axes)
    indices = argmax(x, dim, keepdim, largest=largest)
    data = np.atleast_1d(x.data)
    where = np.expand_dims(indices.data, dim) if not (keepdim and axes) else indices.data
    values = np.take_along_axis(data, where, dim).reshape(indices.shape)

    def backward(g: np.ndarray) -> tuple[np.ndarray]:
        share = np.zeros(data.shape, g.dtype)
        np.put_along_axis(share, where, g.reshape(where.shape), dim)
        return (share.reshape(x.shape),)

    return Selected(x._result(values, (x,), what, backward), indices)
    ### END SOLUTION


def min(x: day17.Tensor, dim: int | None = None, keepdim: bool = False) -> day17.Tensor | Selected:
    """The smallest element, along one axis with where it stands: see ``max``."""
    return max(x, dim, keepdim, largest=False)


def prod(x: day17.Tensor, dim: Dim = None, keepdim: bool = False) -> day17.Tensor:
    """The product over the axes ``dim`` (torch's takes one axis or none; here any will do).

    The share of an element is the product of all *others*, and that is also right where elements
    are 0. Bools and integers have an int64 product. The product of nothing is 1. op ``"prod"``.

    >>> prod(day17.Tensor([[1.0, 5.0, 5.0], [4.0, 2.0, 0.0]]), 1).tolist()
    [25.0, 0.0]
    """
    # TODO: the product; and the product of the others, without dividing by the element itself.
    # HINT: the others are those before it and those behind it.
    ### BEGIN SOLUTION
    # HINT: np.cumprod along an axis gives the product up to each element: shift it by one, and you
    # have the product of those before. Reversed, that of those behind.
    # HINT: np.moveaxis(data, axes, range(k)) brings the k axes to the front, where one reshape
    # makes them one axis; afterwards go back the same way.
    axes = axes_of(dim, x.ndim, "prod")
    value = x.data.prod(axes, dtype=wide(x.dtype), keepdims=keepdim)

    def backward(g: np.ndarray) -> tuple[np.ndarray]:
        front = np.moveaxis(np.asarray(x.data, wide(x.dtype)), axes, range(len(axes)))
        flat = front.reshape(count_of(x.shape, axes), *front.shape[len(axes) :])
        one = np.ones_like(flat[:1])
        before = np.cumprod(np.concatenate([one, flat[:-1]]), axis=0)
        behind = np.cumprod(np.concatenate([one, flat[:0:-1]]), axis=0)[::-1]
        others = np.moveaxis((before * behind).reshape(front.shape), range(len(axes)), axes)
        return (unreduce(g, x.shape, axes) * others,)

    return x._result(narrow(value, x.dtype), (x,), "prod", backward)
    ### END SOLUTION


def norm(x: day17.Tensor, p: float = 2, dim: Dim = None, keepdim: bool = False) -> day17.Tensor:
    """The p-norm over the axes ``dim``: ``(Σ |x|^p)^(1/p)``; for p = inf the largest ``|x|``.

    The share of an element is ``sign(x) (|x| / norm)^(p - 1) g``, and 0 where x is 0; for p = inf
    the gradient is divided among those that have the largest ``|x|``, each with its sign.

    ValueError, naming p, unless p > 0. TypeError as for ``mean``. The norm of nothing is 0; for
    p = inf ValueError as for ``amax``. op ``"norm"``.

    >>> norm(day17.Tensor([3.0, -4.0])).item(), norm(day17.Tensor([3.0, -4.0]), math.inf).item()
    (5.0, 4.0)
    """
    # TODO: two cases forward, two back.
    # HINT: where does the formula of the share divide 0 by 0, and what should come out there?
    ### BEGIN SOLUTION
    # HINT: keep the norm with keepdims=True for the backward: it broadcasts against x.
    # HINT: np.where(x.data == 0, 0, formula) under np.errstate settles both x = 0 and norm = 0.
    needs_floats("norm", x)
    axes = axes_of(dim, x.ndim, "norm")
    if not p > 0:
        raise ValueError(f"norm: p must be positive, not {p}")
    size = np.abs(np.asarray(x.data, wide(x.dtype)))
    if p == math.inf:
        needs_elements("norm", x, axes)
        total = size.max(axes, keepdims=True)
    else:
        total = (size**p).sum(axes, keepdims=True) ** (1 / p)

    def backward(g: np.ndarray) -> tuple[np.ndarray]:
        with np.errstate(all="ignore"):
            if p == math.inf:
                weight = (size == total) / (size == total).sum(axes, size.dtype, keepdims=True)
            else:
                weight = np.where(size == 0, 0, (size / total) ** (p - 1))
            return (unreduce(g, x.shape, axes) * np.sign(x.data) * weight,)

    value = total if keepdim else total.squeeze(axes)
    return x._result(narrow(value, x.dtype), (x,), "norm", backward)
    ### END SOLUTION


class Tensor(day17.Tensor):
    """Day 17's Tensor with the reductions of today as methods."""

    __slots__ = ()

    def sum(self, dim: Dim = None, keepdim: bool = False) -> Tensor:
        return sum(self, dim, keepdim)

    def mean(self, dim: Dim = None, keepdim: bool = False) -> Tensor:
        return mean(self, dim, keepdim)

    def var(self, dim: Dim = None, *, correction: float = 1, keepdim: bool = False) -> Tensor:
        return var(self, dim, correction=correction, keepdim=keepdim)

    def amax(self, dim: Dim = None, keepdim: bool = False) -> Tensor:
        return amax(self, dim, keepdim)

    def amin(self, dim: Dim = None, keepdim: bool = False) -> Tensor:
        return amin(self, dim, keepdim)

    def argmax(self, dim: int | None = None, keepdim: bool = False) -> Tensor:
        return argmax(self, dim, keepdim)

    def argmin(self, dim: int | None = None, keepdim: bool = False) -> Tensor:
        return argmin(self, dim, keepdim)

    def max(self, dim: int | None = None, keepdim: bool = False) -> Tensor | Selected:
        return max(self, dim, keepdim)

    def min(self, dim: int | None = None, keepdim: bool = False) -> Tensor | Selected:
        return min(self, dim, keepdim)

    def prod(self, dim: Dim = None, keepdim: bool = False) -> Tensor:
        return prod(self, dim, keepdim)

    def norm(self, p: float = 2, dim: Dim = None, keepdim: bool = False) -> Tensor:
        return norm(self, p, dim, keepdim)


def test_axes() -> None:
    assert axes_of((-1, 0), 3, "sum") == (2, 0)
    assert unreduce(np.array([[1.0], [2.0]]), (2, 2), (1,)).tolist() == [[1.0, 1.0], [2.0, 2.0]]


def test_sums() -> None:
    x = Tensor([[1.0, 5.0], [4.0, 2.0]], requires_grad=True)
    assert x.sum().item() == 12.0
    assert x.mean(0, keepdim=True).tolist() == [[2.5, 3.5]]
    x.var(1).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [[-4.0, 4.0], [2.0, -2.0]]


def test_largest() -> None:
    for name, shares in [("amax", [0.0, 0.5, 0.5]), ("max", [0.0, 1.0, 0.0])]:
        x = Tensor([1.0, 5.0, 5.0], requires_grad=True)
        y = x.amax(0) if name == "amax" else x.max(0).values
        y.backward()
        assert x.grad is not None
        assert x.grad.tolist() == shares
    assert Tensor([1.0, 5.0, 5.0]).argmax().item() == 1


def test_products_and_norms() -> None:
    x = Tensor([3.0, 0.0, 4.0], requires_grad=True)
    x.prod().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [0.0, 12.0, 0.0]
    assert x.norm().item() == 5.0


if __name__ == "__main__":
    from harness import main

    main(__file__)
