"""
Day 1: Tensors
==============
Estimated time: 1-2 hours
Prerequisites: Python (lists, slices, functions)
Lesson: lessons/day01.md

Learning objectives:
- Create tensors with the shape, dtype and device you mean, not the ones you happen to get
- Read a tensor as a storage and a recipe: shape, stride and offset
- Predict which operations return a view of the same memory and which return a copy
- Build a view by hand with as_strided

A tensor is two things: a flat storage in memory, and a recipe that says which element of it
is x[i, j]. Slicing, transposing and windowing write a new recipe and leave the storage alone:

    storage      0  1  2  3  4  5  6  7  8  9 10 11
    x            shape (3, 4)   stride (4, 1)   offset 0
    x.T          shape (4, 3)   stride (1, 4)   offset 0
    x[1:, ::2]   shape (2, 2)   stride (4, 2)   offset 4     ->  4  6
                                                                 8 10

Element [i, j] lies at  offset + i * stride[0] + j * stride[1].

Hints:
- print(x.shape, x.stride(), x.storage_offset()) answers most questions of this day.
- Two tensors share memory when x.untyped_storage().data_ptr() is the same for both.
- A slice can always be written as a new stride; a list of arbitrary indices cannot.

Resources:
- Tensor views: https://docs.pytorch.org/docs/stable/tensor_view.html
- Tensor attributes: https://docs.pytorch.org/docs/stable/tensor_attributes.html
- PyTorch internals, E. Yang: https://blog.ezyang.com/2019/05/pytorch-internals/
"""

from __future__ import annotations

from typing import NamedTuple

import torch


def make_tensors(device: torch.device | str = "cpu") -> dict[str, torch.Tensor]:
    """Make seven new tensors on ``device``, by name.

    ==========  =============  ========  ====================================
    name        shape          dtype     elements
    ==========  =============  ========  ====================================
    numbers     (2, 2)         int64     1, 2 in the first row, 3, 4 below
    scalar      ()             float32   2.5
    zeros       (2, 3)         float32   0 everywhere
    evens       (5,)           int64     0, 2, 4, 6, 8
    line        (5,)           float64   0, 0.25, 0.5, 0.75, 1
    identity    (3, 3)         bool      True on the diagonal, else False
    thirds      (4,)           bfloat16  1/3 everywhere (rounded to bfloat16)
    ==========  =============  ========  ====================================

    No two of them share memory, and each call makes them anew.

    >>> make_tensors()["evens"]
    tensor([0, 2, 4, 6, 8])
    """
    # TODO: return a dict with these seven names; every tensor is made directly on the device.
    # HINT: each row of the table is one call. Which function of torch makes a regular tensor, and
    # which one a tensor of given numbers? The documentation calls them creation ops.
    raise NotImplementedError("make_tensors")


class Description(NamedTuple):
    """A tensor's recipe; see ``describe``."""

    shape: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int
    dtype: torch.dtype
    device: torch.device
    contiguous: bool
    bytes: int
    storage_bytes: int


def describe(x: torch.Tensor) -> Description:
    """Say how the elements of ``x``, any shape and dtype, lie in memory.

    - shape, stride: tuples of ints; strides count elements, not bytes (numpy counts bytes)
    - offset: which element of the storage is x[0, 0, ...]
    - dtype, device: as the tensor has them
    - contiguous: whether the elements lie in row-major order without gaps
    - bytes: what the elements of ``x`` take if each is stored once: elements x bytes of one
    - storage_bytes: what the whole storage under ``x`` takes; a small view of a large tensor
      keeps all of it alive

    >>> describe(torch.zeros(3, 4)[1:, ::2])[:3]
    ((2, 2), (4, 2), 4)
    """
    # TODO: fill a Description from what the tensor knows about itself.
    # HINT: the lesson's first blocks print most of these. Which two fields need a multiplication,
    # or the memory underneath?
    raise NotImplementedError("describe")


def select(
    x: torch.Tensor, rows: torch.Tensor, picks: torch.Tensor, threshold: float
) -> dict[str, torch.Tensor]:
    """Take eight selections out of a matrix ``x`` (R, C), R and C at least 2, any strides.

    ``rows`` (k,) holds row numbers, repeats and negative numbers allowed; ``picks`` (R,) holds
    one column number for each row; both are int64 on the device of ``x``.

    ===========  ================  ======  ==============================================
    name         shape             memory  elements
    ===========  ================  ======  ==============================================
    last_row     (C,)              view    the last row
    first        (R, 1)            view    the first column, still two-dimensional
    inner        (R - 2, C - 2)    view    all but the first and last row and column
    alternate    (R, ceil(C / 2))  view    columns 0, 2, 4, ...
    rows         (k, C)            copy    the rows numbered by ``rows``, in that order
    picked       (R,)              copy    of row i the element in column picks[i]
    above        (n,)              copy    the elements > ``threshold``, in row-major order
    upside_down  (R, C)            copy    the rows from last to first
    ===========  ================  ======  ==============================================

    A view shares its memory with ``x``; a copy does not. Nothing is written to ``x``.
    """
    # TODO: eight index expressions, without a loop; a dict with these names.
    # HINT: four rows of the table are views and four are copies. Which kinds of index give which?
    raise NotImplementedError("select")


def reshape_like(x: torch.Tensor, like: torch.Tensor) -> tuple[torch.Tensor, bool]:
    """The elements of ``x``, in row-major order, in the shape of ``like``: (result, is_view).

    Memory is copied only when no stride can describe the result; ``is_view`` says whether the
    result shares memory with ``x``. ``x`` has any shape and strides; of ``like`` only the
    shape counts.

    Raises ValueError naming both shapes when the numbers of elements differ.

    >>> x = torch.arange(6).reshape(2, 3)
    >>> reshape_like(x, torch.empty(3, 2))[1], reshape_like(x.T, torch.empty(6))[1]
    (True, False)
    """
    # TODO: compare the numbers of elements, reshape, and find out whether memory was copied.
    # HINT: x.view and x.reshape give the same elements. What do they do where no stride fits?
    raise NotImplementedError("reshape_like")


def checkerboard(n: int, device: torch.device | str = "cpu") -> torch.Tensor:
    """An (n, n) board of int64, n >= 0: 0 at the top left, then 1 and 0 in turn. No loop.

    >>> checkerboard(3)
    tensor([[0, 1, 0],
            [1, 0, 1],
            [0, 1, 0]])
    """
    # TODO: fill the board without a Python loop.
    # HINT: there are two kinds of rows. What tells them apart, and what makes an element 1?
    raise NotImplementedError("checkerboard")


def sliding_windows(x: torch.Tensor, size: int, step: int = 1) -> torch.Tensor:
    """All whole windows of ``size`` elements along the last axis, starting every ``step``.

    ``x`` (..., n) has any strides; the result (..., windows, size) is a view of it, also where
    windows overlap: result[..., i, j] is x[..., i * step + j]. A rest that fills no whole
    window is left out, so there are floor((n - size) / step) + 1 windows.

    torch's own unfold is not called. Raises ValueError when ``size`` or ``step`` is below 1 or
    ``size`` is above n.

    >>> sliding_windows(torch.arange(6), size=4, step=2)
    tensor([[0, 1, 2, 3],
            [2, 3, 4, 5]])
    """
    # TODO: check the arguments, then describe the windows with x.as_strided(shape, stride).
    # HINT: one step along a row of the result is one step along x; and one row down?
    raise NotImplementedError("sliding_windows")


def test_make_tensors() -> None:
    made = make_tensors()
    assert made["line"].tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert made["numbers"].dtype == torch.int64


def test_describe_a_slice() -> None:
    assert describe(torch.zeros(3, 4)[1:, ::2])[:3] == ((2, 2), (4, 2), 4)


def test_select() -> None:
    x = torch.arange(12).reshape(3, 4)
    taken = select(x, rows=torch.tensor([2, 0]), picks=torch.tensor([0, 3, 1]), threshold=8)
    assert taken["inner"].tolist() == [[5, 6]]
    assert taken["picked"].tolist() == [0, 7, 9]
    assert taken["above"].tolist() == [9, 10, 11]


def test_reshape_like() -> None:
    x = torch.arange(6).reshape(2, 3)
    flat, is_view = reshape_like(x.T, torch.empty(6))
    assert flat.tolist() == [0, 3, 1, 4, 2, 5]
    assert not is_view


def test_checkerboard() -> None:
    assert checkerboard(3).tolist() == [[0, 1, 0], [1, 0, 1], [0, 1, 0]]


def test_sliding_windows() -> None:
    x = torch.arange(6)
    assert sliding_windows(x, size=4, step=2).tolist() == [[0, 1, 2, 3], [2, 3, 4, 5]]


if __name__ == "__main__":
    from harness import main

    main(__file__)
