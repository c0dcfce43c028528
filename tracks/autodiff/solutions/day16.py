"""
Day 16: Shape and strides
=========================
Estimated time: 2 hours
Prerequisites: Day 15 (Tensor)
Lesson: lessons/day16.md

Learning objectives:
- Compute where an element lies in memory from its index
- See that transposing, expanding and cutting axes only change how an index is read
- Build the views of a tensor library, without a copy wherever none is needed
- Send a gradient back through a view: the inverse view, or a sum where elements were repeated

A tensor is a row of memory and a rule. The rule is one stride an axis: how many elements to go
forward when the index of that axis grows by one.

    memory        10  11  12  13  14  15              shape      strides

    x             [[10 11 12]                         (2, 3)     (3, 1)
                   [13 14 15]]
    transpose     [[10 13] [11 14] [12 15]]           (3, 2)     (1, 3)
    x[0] expanded [[10 11 12] [10 11 12]]             (2, 3)     (0, 1)

All three read the same six numbers.

Hints:
- The last axis of a fresh tensor has stride 1. What does the axis before it step over?
- A view's backward runs the view the other way, on the gradient.
- Where one element was read many times, its gradient is the sum over all readings.

Resources:
- PyTorch internals, E. Yang, on strides: http://blog.ezyang.com/2019/05/pytorch-internals/
- Tensor views: https://docs.pytorch.org/docs/stable/tensor_view.html
- numpy, internal memory layout: https://numpy.org/doc/stable/reference/arrays.ndarray.html
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from tracks.autodiff import day15

Shape = tuple[int, ...]


def strides_of(shape: Sequence[int]) -> Shape:
    """The strides of a fresh tensor in C order, counted in elements, as torch counts them.

    The last axis has stride 1, and each other axis steps over all that comes behind it. An axis of
    length 0 counts as 1 here, so that no stride is 0.

    >>> strides_of((2, 3, 4)), strides_of(()), strides_of((5, 0, 2))
    ((12, 4, 1), (), (2, 2, 1))
    """
    # TODO: from the last axis to the first.
    # HINT: how many elements lie between x[0, 0] and x[1, 0] of a tensor of shape (2, 3)?
    ### BEGIN SOLUTION
    # HINT: a stride is the product of the lengths of all later axes.
    # HINT: walk reversed(shape) with step = 1; note step, then step *= max(length, 1).
    strides, step = [], 1
    for length in reversed(shape):
        strides.append(step)
        step *= max(length, 1)
    return tuple(reversed(strides))
    ### END SOLUTION


def offset(index: Sequence[int], strides: Sequence[int]) -> int:
    """How many elements behind the first one the element at ``index`` lies.

    ``index`` has one whole number an axis; nothing is checked against a shape, which is not known
    here. ValueError, naming both counts, if there are more or fewer of them than strides.

    >>> offset((1, 2), (3, 1)), offset((1, 2), (1, 3)), offset((), ())
    (5, 7, 0)
    """
    # TODO: each axis goes its own way.
    # HINT: which stride belongs to which index, and what happens to a step of stride 3 taken twice?
    ### BEGIN SOLUTION
    # HINT: a sum of products over the axes.
    # HINT: zip(index, strides); compare len(index) with len(strides) first.
    if len(index) != len(strides):
        raise ValueError(f"an index of {len(index)} numbers for {len(strides)} axes")
    return sum(i * stride for i, stride in zip(index, strides, strict=True))
    ### END SOLUTION


def broadcast_strides(shape: Sequence[int], strides: Sequence[int], target: Sequence[int]) -> Shape:
    """The strides with which a tensor of ``shape`` and ``strides`` reads as one of ``target``.

    Shapes are aligned at their last axes. An axis of length 1 may be read as any length, and
    ``target`` may have more axes in front: in both cases the stride is 0, so that every index finds
    the same element. Lengths that agree keep their stride. ValueError, naming both shapes,
    where they do not fit.

    >>> broadcast_strides((3, 1), (1, 1), (2, 3, 4))
    (0, 1, 0)
    """
    # TODO: align at the right, and decide for each axis of the target.
    # HINT: with which stride does a step along an axis arrive where it started?
    ### BEGIN SOLUTION
    # HINT: put 1s in front of the shape and 0s in front of the strides until both are as long as
    # the target.
    # HINT: for each axis: the stride if the lengths agree; 0 if the shape has 1; else ValueError.
    missing = len(target) - len(shape)
    padded = [1] * missing + list(shape)
    if missing < 0 or any(n not in (1, m) for n, m in zip(padded, target, strict=True)):
        raise ValueError(f"a tensor of shape {tuple(shape)} does not expand to {tuple(target)}")
    steps = [0] * missing + list(strides)
    return tuple(s if n == m else 0 for n, m, s in zip(padded, target, steps, strict=True))
    ### END SOLUTION


def is_contiguous(shape: Sequence[int], strides: Sequence[int]) -> bool:
    """Whether reading the elements in order walks through memory without a gap or a jump back.

    That is so if the strides are those of ``strides_of``, but for axes of length 1, whose stride is
    never used. A tensor without elements is contiguous, whatever its strides.

    >>> is_contiguous((2, 3), (3, 1)), is_contiguous((3, 2), (1, 3)), is_contiguous((1, 3), (99, 1))
    (True, False, True)
    """
    # TODO: compare with the strides of a fresh tensor, where they matter.
    # HINT: how often is a step along an axis of length 1 taken?
    ### BEGIN SOLUTION
    # HINT: if 0 in shape, there is nothing to read.
    # HINT: all(n == 1 or s == fresh for ...) over shape, strides and strides_of(shape).
    if 0 in shape:
        return True
    fresh = strides_of(shape)
    return all(n == 1 or s == f for n, s, f in zip(shape, strides, fresh, strict=True))
    ### END SOLUTION


def axis_of(dim: int, axes: int, what: str) -> int:
    """``dim`` counted from the front, where -1 is the last of ``axes`` axes.

    IndexError, with the name of the operation ``what``, if there is no such axis.
    """
    if not -axes <= dim < axes:
        raise IndexError(f"{what}: no axis {dim}; there are {axes}, {-axes} to {axes - 1}")
    return dim % axes


def permute(x: day15.Tensor, dims: Sequence[int]) -> day15.Tensor:
    """The axes of ``x`` in another order: axis i of the result is axis ``dims[i]`` of ``x``.

    A view. ``dims`` names each axis once, negative ones counted from the end. ValueError, naming
    ``dims``, if it is no such list; IndexError for an axis that does not exist (see ``axis_of``).
    op ``"permute"``.

    >>> permute(day15.arange(6).clone(), (0,)).tolist()
    [0, 1, 2, 3, 4, 5]
    """
    # TODO: check, let numpy transpose the data, and find the order that leads back.
    # HINT: if axis 2 became axis 0, where does axis 0 of the gradient belong?
    ### BEGIN SOLUTION
    # HINT: x.data.transpose(order) takes the whole order and copies nothing.
    # HINT: np.argsort(order) is the inverse: it says where each axis of x has gone.
    order = [axis_of(dim, x.ndim, "permute") for dim in dims]
    if sorted(order) != list(range(x.ndim)):
        raise ValueError(f"permute: {tuple(dims)} does not name each of {x.ndim} axes once")
    back = np.argsort(order)
    return x._result(x.data.transpose(order), (x,), "permute", lambda g: (g.transpose(back),))
    ### END SOLUTION


def transpose(x: day15.Tensor, dim0: int, dim1: int) -> day15.Tensor:
    """``x`` with two of its axes exchanged: a view. IndexError for an axis that does not exist.

    >>> transpose(day15.zeros(2, 3), 0, -1).shape
    (3, 2)
    """
    # TODO: name the order, and permute.
    # HINT: which list holds every axis, two of them exchanged?
    ### BEGIN SOLUTION
    # HINT: begin with list(range(x.ndim)).
    # HINT: order[a], order[b] = order[b], order[a], with a and b counted from the front.
    a, b = axis_of(dim0, x.ndim, "transpose"), axis_of(dim1, x.ndim, "transpose")
    order = list(range(x.ndim))
    order[a], order[b] = order[b], order[a]
    return permute(x, order)
    ### END SOLUTION


def reshape(x: day15.Tensor, shape: Sequence[int]) -> day15.Tensor:
    """The elements of ``x``, read in order, as a tensor of ``shape``: a view where one is possible.

    One length may be -1: it is what the others leave. ValueError, naming both shapes, if the counts
    do not agree, if there are two -1, or if a -1 stands beside a 0. op ``"reshape"``.

    >>> reshape(day15.arange(6), (2, -1)).tolist()
    [[0, 1, 2], [3, 4, 5]]
    """
    # TODO: find the missing length, check, and let numpy do it.
    # HINT: numpy's reshape makes a view where it can. What does its gradient need to get back?
    ### BEGIN SOLUTION
    # HINT: the product of the known lengths, math.prod(n for n in shape if n != -1), must divide
    # the number of elements.
    # HINT: the backward is g.reshape(x.shape).
    sizes = list(shape)
    known = math.prod(n for n in sizes if n != -1)
    if sizes.count(-1) == 1 and known > 0:
        sizes[sizes.index(-1)] = x.numel() // known
    if any(n < 0 for n in sizes) or math.prod(sizes) != x.numel():
        raise ValueError(
            f"reshape: {x.shape} has {x.numel()} elements, {tuple(shape)} another count"
        )
    before = x.shape
    return x._result(x.data.reshape(sizes), (x,), "reshape", lambda g: (g.reshape(before),))
    ### END SOLUTION


def expand(x: day15.Tensor, shape: Sequence[int]) -> day15.Tensor:
    """``x`` read as a larger ``shape``, its elements repeated without a copy.

    As in ``broadcast_strides``; a length of -1 keeps the axis of ``x`` as it is. The array of the
    result is read-only, for one of its elements stands for many. ValueError, naming both shapes,
    where they do not fit; a -1 for an axis that ``x`` does not have is such a case. op
    ``"expand"``.

    >>> expand(day15.Tensor([[1], [2]]), (2, 3)).tolist()
    [[1, 1, 1], [2, 2, 2]]
    """
    # TODO: fill in the -1s, make the view, and send the gradient back.
    # HINT: an element that is read three times gets three gradients. Along which axes?
    ### BEGIN SOLUTION
    # HINT: as_strided(data, shape, strides, writeable=False) wants strides in bytes: broadcast
    # those that the array has, x.data.strides.
    # HINT: sum g over the axes in front and over those that had length 1, and reshape to what x
    # was.
    missing = len(shape) - x.ndim
    own = (-1,) * missing + x.shape
    sizes = tuple(n if m == -1 else m for n, m in zip(own, shape, strict=False))
    if missing < 0 or any(n < 0 for n in sizes):
        raise ValueError(f"expand: {x.shape} does not expand to {tuple(shape)}")
    strides = broadcast_strides(x.shape, x.data.strides, sizes)
    view = as_strided(x.data, sizes, strides, writeable=False)
    before = x.shape
    repeated = (*range(missing), *(i + missing for i, n in enumerate(before) if n == 1))
    return x._result(view, (x,), "expand", lambda g: (g.sum(repeated).reshape(before),))
    ### END SOLUTION


def squeeze(x: day15.Tensor, dim: int | Sequence[int] | None = None) -> day15.Tensor:
    """``x`` without its axes of length 1: all, or of those that ``dim`` names. A view.

    An axis in ``dim`` that is longer stays, without a word, as in torch. IndexError for an axis
    that does not exist.

    >>> squeeze(day15.zeros(1, 3, 1)).shape, squeeze(day15.zeros(1, 3, 1), 0).shape
    ((3,), (3, 1))
    """
    # TODO: find the axes to drop; the rest is an operation that you have.
    # HINT: which earlier function changes the shape and sends the gradient back?
    ### BEGIN SOLUTION
    # HINT: dim may be None, one number or several: make it a set of axes counted from the front.
    # HINT: reshape(x, [n for i, n in enumerate(x.shape) if not (n == 1 and i in named)]).
    if dim is None:
        dim = range(x.ndim)
    dims = [dim] if isinstance(dim, int) else dim
    named = {axis_of(d, x.ndim, "squeeze") for d in dims}
    return reshape(x, [n for i, n in enumerate(x.shape) if n != 1 or i not in named])
    ### END SOLUTION


def unsqueeze(x: day15.Tensor, dim: int) -> day15.Tensor:
    """``x`` with a new axis of length 1, which becomes axis ``dim`` of the result. A view.

    ``dim`` counts the axes of the result, so that -1 puts the new one behind all others. IndexError
    for an axis that the result does not have.

    >>> unsqueeze(day15.zeros(3), 0).shape, unsqueeze(day15.zeros(3), -1).shape
    ((1, 3), (3, 1))
    """
    # TODO: insert a 1 into the shape.
    # HINT: how many places are there for a new axis among three?
    ### BEGIN SOLUTION
    # HINT: axis_of(dim, x.ndim + 1, "unsqueeze") counts from the front.
    # HINT: shape[:i] + (1,) + shape[i:] is the new shape.
    i = axis_of(dim, x.ndim + 1, "unsqueeze")
    return reshape(x, (*x.shape[:i], 1, *x.shape[i:]))
    ### END SOLUTION


def sizes_of(sizes: tuple[Any, ...]) -> Sequence[int]:
    """What ``x.reshape(2, 3)`` and ``x.reshape((2, 3))`` both mean: (2, 3)."""
    if len(sizes) == 1 and isinstance(sizes[0], (tuple, list)):
        return sizes[0]
    return sizes


class Tensor(day15.Tensor):
    """Day 15's Tensor with the views of today as methods."""

    __slots__ = ()

    def stride(self) -> Shape:
        """The strides of the array in elements, as torch counts them."""
        return tuple(step // self.data.itemsize for step in self.data.strides)

    def is_contiguous(self) -> bool:
        return is_contiguous(self.shape, self.stride())

    def contiguous(self) -> Tensor:
        """``self`` if it is contiguous, else a copy in C order."""
        return self if self.is_contiguous() else self.clone()

    def permute(self, *dims: Any) -> Tensor:
        return permute(self, sizes_of(dims))

    def transpose(self, dim0: int, dim1: int) -> Tensor:
        return transpose(self, dim0, dim1)

    @property
    def T(self) -> Tensor:
        """All axes in reverse; of a matrix, its transpose."""
        return permute(self, range(self.ndim)[::-1])

    @property
    def mT(self) -> Tensor:
        """The last two axes exchanged: every matrix of a batch transposed."""
        return transpose(self, -2, -1)

    def reshape(self, *shape: Any) -> Tensor:
        return reshape(self, sizes_of(shape))

    def expand(self, *shape: Any) -> Tensor:
        return expand(self, sizes_of(shape))

    def squeeze(self, dim: int | Sequence[int] | None = None) -> Tensor:
        return squeeze(self, dim)

    def unsqueeze(self, dim: int) -> Tensor:
        return unsqueeze(self, dim)


def test_strides() -> None:
    assert strides_of((2, 3, 4)) == (12, 4, 1)
    assert offset((1, 2), (3, 1)) == 5
    assert broadcast_strides((3, 1), (1, 1), (2, 3, 4)) == (0, 1, 0)
    assert not is_contiguous((3, 2), (1, 3))


def test_views_share_memory() -> None:
    x = Tensor([[1.0, 2.0], [3.0, 4.0]])
    y = x.T
    x.data[0, 1] = 7.0
    assert y.tolist() == [[1.0, 3.0], [7.0, 4.0]]


def test_gradients() -> None:
    x = Tensor([1.0, 2.0], requires_grad=True)
    x.expand(3, 2).reshape(-1).backward([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    assert x.grad is not None
    assert x.grad.tolist() == [9.0, 12.0]


def test_axes() -> None:
    x = Tensor(np.zeros((2, 1, 3)))
    assert x.permute(2, 0, 1).shape == (3, 2, 1)
    assert x.squeeze().unsqueeze(-1).shape == (2, 3, 1)
    assert x.transpose(0, 2).shape == (3, 1, 2)


if __name__ == "__main__":
    from harness import main

    main(__file__)
