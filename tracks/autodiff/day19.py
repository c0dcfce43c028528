"""
Day 19: Matmul
==============
Estimated time: 2 hours
Prerequisites: Day 18 (reductions)
Lesson: lessons/day19.md

Learning objectives:
- Say which shapes multiply, for vectors, matrices and batches of them
- Derive both shares of a product, and find them again by their shapes
- Sum the gradient of a shared weight without making a gradient for every sample
- Read and write Einstein's notation, and turn any of it into one product of matrices

Each element of C = A B is a dot product of a row and a column. Back, each share is again a product:

                 ┌───── m ─────┐
                 │      B      │ k             share of A = G Bᵀ     (n, m) (m, k)
                 └─────────────┘               share of B = Aᵀ G     (k, n) (n, m)
    ┌── k ──┐    ┌─────────────┐
    │   A   │ n  │   C and G   │ n
    └───────┘    └─────────────┘

Hints:
- Give a vector the axis that it lacks, and there are only matrices left.
- A batch axis is broadcasting, as on day 17; the last two axes are not.
- Einsum needs no gradient of its own: it is made of operations that have one.

Resources:
- torch.matmul: https://docs.pytorch.org/docs/stable/generated/torch.matmul.html
- torch.einsum: https://docs.pytorch.org/docs/stable/generated/torch.einsum.html
- M. B. Giles, An extended collection of matrix derivative results for forward and reverse mode
  algorithmic differentiation, 2008: https://people.maths.ox.ac.uk/gilesm/files/NA-08-01.pdf
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tracks.autodiff import day16, day17, day18
from tracks.autodiff.day16 import Shape


def check_operands(what: str, a: day18.Tensor, b: day18.Tensor) -> None:
    """TypeError, naming ``what``, unless both are Tensors of one dtype, and that is not bool.

    Torch promotes nothing here, where a conversion would cost a copy of a whole matrix.
    """
    if not isinstance(a, day16.Tensor) or not isinstance(b, day16.Tensor):
        raise TypeError(f"{what}: two tensors, not {type(a).__name__} and {type(b).__name__}")
    if a.dtype != b.dtype or a.dtype.kind == "b":
        raise TypeError(f"{what}: {a.dtype} {a.shape} and {b.dtype} {b.shape} do not multiply")


def operands(what: str, a: day18.Tensor, b: day18.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """The arrays of two tensors that ``what`` multiplies, checked; float16 as float32."""
    check_operands(what, a, b)
    dtype = day18.wide(a.dtype) if a.dtype.kind == "f" else a.dtype
    return a.data.astype(dtype, copy=False), b.data.astype(dtype, copy=False)


def matmul_shape(a: Sequence[int], b: Sequence[int]) -> Shape:
    """The shape of ``a @ b``, for operands of shapes ``a`` and ``b``.

    - Two axes each: (n, k) @ (k, m) is (n, m).
    - A vector on the left is read as (1, k), one on the right as (k, 1), and that axis is gone from
      the result. So two vectors give ().
    - Axes before the last two are a batch: they broadcast.

    ValueError, naming "matmul" and both shapes, if an operand has no axis, if the inner sizes
    differ (naming them) or if the batches do not broadcast.

    >>> matmul_shape((5, 1, 2, 3), (4, 3, 6)), matmul_shape((3,), (4, 3, 6))
    ((5, 4, 2, 6), (4, 6))
    """
    # TODO: inner sizes, batches, and what is left of the last two axes.
    # HINT: which axis of b meets the last one of a? Where is it if b is a vector?
    raise NotImplementedError("matmul_shape")


def product_to(x: np.ndarray, y: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """``x @ y``, summed over batch axes to ``shape``: the share of an operand that was broadcast.

    x (…, n, k) and y (…, k, m) have at least two axes, and ``shape`` ends in (n, m); what stands
    before that is what ``unbroadcast`` takes for the batch of x @ y.

    Limit: where ``shape`` has two axes and x and y have the same batch, there is no array of all
    (…, n, m) products. Their sum is one product of two matrices, with the batch axes beside k.

    >>> product_to(np.ones((10, 2, 3)), np.ones((10, 3, 4)), (2, 4))[0].tolist()
    [30.0, 30.0, 30.0, 30.0]
    """
    # TODO: one case with a sum over the batch inside the product, one case for all others.
    # HINT: Σ over the batch and Σ over k are one sum over both.
    raise NotImplementedError("product_to")


def matmul(a: day18.Tensor, b: day18.Tensor) -> day18.Tensor:
    """a @ b, of the shape of ``matmul_shape``, with vectors, matrices and batches.

    - One dtype for both, and that is the result's. float16 is multiplied in float32 and rounded
      once, also in the backward.
    - TypeError and ValueError as ``check_operands`` and ``matmul_shape`` raise them. Any strides,
      size 0 included: a sum over nothing is 0.
    - Each share has its operand's own shape. An operand that requires no gradient when the backward
      runs has None as its share: nothing is multiplied for it.
    - Limit: ``product_to``'s, for an operand of two axes that meets a batch.

    op ``"matmul"``.

    >>> matmul(day18.Tensor([[1.0, 2.0], [3.0, 4.0]]), day18.Tensor([10.0, 1.0])).tolist()
    [12.0, 34.0]
    """
    # TODO: check, multiply, and two products back.
    # HINT: of G (n, m), B (k, m) and A (n, k), which products have the shapes of A and of B?
    raise NotImplementedError("matmul")


def dot(a: day18.Tensor, b: day18.Tensor) -> day18.Tensor:
    """The sum of the products of two vectors, of shape (). TypeError as from ``check_operands``.

    ValueError, naming "dot" and both shapes, unless both have one axis, of the same length: there
    is no broadcasting here. op ``"dot"``.

    >>> dot(day18.Tensor([1.0, 2.0]), day18.Tensor([3.0, 4.0])).item()
    11.0
    """
    # TODO: check, multiply, and two products back.
    # HINT: how does the result move when one element of a grows?
    raise NotImplementedError("dot")


def outer(a: day18.Tensor, b: day18.Tensor) -> day18.Tensor:
    """All products of an element of a and one of b: (n,) and (m,) give (n, m), ``a[i] * b[j]``.

    ValueError, naming "outer" and both shapes, unless both have one axis. TypeError as from
    ``check_operands``. op ``"outer"``.

    >>> outer(day18.Tensor([1.0, 2.0]), day18.Tensor([3.0, 4.0, 5.0])).tolist()
    [[3.0, 4.0, 5.0], [6.0, 8.0, 10.0]]
    """
    # TODO: check, multiply, and two products back.
    # HINT: a[i] stands in row i only, once beside every b[j]. What is that sum over j?
    raise NotImplementedError("outer")


class Letters(NamedTuple):
    """An equation taken apart: a letter for each axis, and how long the axes are."""

    a: str
    b: str
    out: str
    sizes: dict[str, int]


def parse_einsum(equation: str, a: Sequence[int], b: Sequence[int]) -> Letters:
    """``"ij,jk->ik"`` for operands of shapes ``a`` and ``b``, taken apart and checked.

    Each operand has one letter an axis, A-Z and a-z; spaces do not count. Without ``->`` the result
    has the letters that stand once in the equation, in the order of Python's ``sorted``.

    ValueError that names "einsum" and the equation for: no two operands; anything but letters; a
    letter twice in one operand (torch takes the diagonal), or twice in the result; a letter of the
    result that no operand has; more or fewer letters than axes (with the shape); a letter with two
    lengths (with the letter and both: torch broadcasts a length of 1, this does not).

    >>> parse_einsum("ij,jk", (2, 3), (3, 4))
    Letters(a='ij', b='jk', out='ik', sizes={'i': 2, 'j': 3, 'k': 4})
    """

    # TODO: take the equation apart, then check one thing after the other.
    # HINT: str.partition("->") gives three parts; the second says whether the arrow was there.
    raise NotImplementedError("parse_einsum")


def einsum(equation: str, a: day18.Tensor, b: day18.Tensor) -> day18.Tensor:
    """The products of a and b, their axes named by ``equation``, summed over what is not kept.

    ``"ij,jk->ik"`` is ``c[i, k] = Σ_j a[i, j] b[j, k]``. A letter of both operands runs along both
    at once. What the result does not name is summed. See ``parse_einsum`` for equations and errors;
    the operands are of one dtype as for ``matmul``, of floats or int64 (TypeError, naming einsum).

    Limit: no array with an axis for every letter of the equation, where one of them is in both
    operands and not in the result. For ``"ij,jk->ik"`` that would be (i, j, k) products.

    >>> einsum("ij,ik->jk", day18.Tensor([[1.0, 2.0]]), day18.Tensor([[3.0, 4.0]])).tolist()
    [[3.0, 4.0], [6.0, 8.0]]
    """
    # TODO: sum what only one operand has, bring both to (batch, n, k) and (batch, k, m), multiply.
    # HINT: which letters play the part of a batch, of n, of k, and of m?
    raise NotImplementedError("einsum")


class Tensor(day18.Tensor):
    """Day 18's Tensor with ``@`` and the other products of today as methods."""

    __slots__ = ()

    def __matmul__(self, other: Tensor) -> Tensor:
        return matmul(self, other)

    def matmul(self, other: Tensor) -> Tensor:
        return matmul(self, other)

    def dot(self, other: Tensor) -> Tensor:
        return dot(self, other)

    def outer(self, other: Tensor) -> Tensor:
        return outer(self, other)


def test_shapes() -> None:
    assert matmul_shape((2, 3), (3, 4)) == (2, 4)
    assert matmul_shape((5, 1, 2, 3), (4, 3, 6)) == (5, 4, 2, 6)
    assert product_to(np.ones((10, 2, 3)), np.ones((10, 3, 4)), (2, 4)).tolist() == [[30.0] * 4] * 2


def test_products() -> None:
    a = Tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    b = Tensor([[1.0, 0.0], [1.0, 1.0]], requires_grad=True)
    (a @ b).backward([[1.0, 10.0], [100.0, 1000.0]])
    assert a.grad is not None
    assert b.grad is not None
    assert a.grad.tolist() == [[1.0, 11.0], [100.0, 1100.0]]
    assert b.grad.tolist() == [[301.0, 3010.0], [402.0, 4020.0]]


def test_vectors() -> None:
    a, b = Tensor([1.0, 2.0]), Tensor([3.0, 4.0])
    assert a.dot(b).item() == 11.0
    assert a.outer(b).tolist() == [[3.0, 4.0], [6.0, 8.0]]


def test_letters() -> None:
    a, b = Tensor(np.arange(6.0).reshape(2, 3)), Tensor(np.arange(6.0).reshape(2, 3))
    assert parse_einsum("ij,ij->i", (2, 3), (2, 3)).out == "i"
    assert einsum("ij,ij->i", a, b).tolist() == [5.0, 50.0]
    assert einsum("ij,kj", a, b).tolist() == (a @ b.T).tolist()


if __name__ == "__main__":
    from harness import main

    main(__file__)
