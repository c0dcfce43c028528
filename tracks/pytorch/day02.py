"""
Day 2: Tensor operations
========================
Estimated time: 1-2 hours
Prerequisites: Day 1 (tensors, views and copies)
Lesson: lessons/day02.md

Learning objectives:
- Replace loops by broadcasting, and predict the shape, the dtype and the bytes of the result
- Read and write einsum formulas
- Turn "the k best" and "the sum of each group" into one sort and one scattered addition
- Keep results right where squares overflow, ties occur and half precision runs out

Broadcasting lines two shapes up at the right. An axis of length 1, or one that is missing,
repeats without being copied:

    a[:, None, :]    (3, 1, 4)        every row of a ...
    b                   (5, 4)        ... meets every row of b
    difference       (3, 5, 4)        60 numbers, which do take memory

Every exercise is a handful of torch calls, whatever the size of the input; the tests count them.

Hints:
- Write the shapes of both operands under each other, right-aligned, before you write code.
- x[:, None] adds an axis; keepdim=True keeps one that would vanish.
- What dtype do the numbers have *while* they are added up? uint8 - uint8 is uint8.

Resources:
- Broadcasting: https://docs.pytorch.org/docs/stable/notes/broadcasting.html
- Type promotion: https://docs.pytorch.org/docs/stable/tensor_attributes.html
- torch.einsum: https://docs.pytorch.org/docs/stable/generated/torch.einsum.html
"""

from __future__ import annotations

import torch


def pairwise_distances(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """The Euclidean distance between every row of ``a`` and every row of ``b``.

    ``a`` (..., n, d) and ``b`` (..., m, d), any strides; the leading axes broadcast. Result
    (..., n, m): result[..., i, j] = √ Σ_k (a[..., i, k] - b[..., j, k])².

    - Accurate for points that lie close together and far from the origin. That rules out the
      expansion |a|² + |b|² - 2 a·b, which subtracts large numbers from one another.
    - Whole numbers (uint8, int64, ...) and half precision are computed in float32. The dtype of
      the result is the one that the dtypes of ``a`` and ``b`` promote to, or float32 where that
      is no floating point type.
    - torch's cdist, pdist and pairwise_distance are not called.

    >>> pairwise_distances(torch.tensor([[0.0, 0.0]]), torch.tensor([[3.0, 4.0], [0.0, 2.0]]))
    tensor([[5., 2.]])
    """
    # TODO: bring both to one dtype, subtract every pair of rows by broadcasting, take lengths.
    # HINT: a needs a new axis where b counts its rows, and b one where a does.
    raise NotImplementedError("pairwise_distances")


def batched_outer(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """The outer product of vectors, for a whole batch: result[..., i, j] = a[..., i] b[..., j].

    ``a`` (..., n) and ``b`` (..., m), any strides; the leading axes broadcast, so that
    (5, 1, n) with (4, m) gives (5, 4, n, m). The dtype is the one that a product of the two has:
    int64 with float32 gives float32. torch's outer, ger and einsum are not called.

    >>> batched_outer(torch.tensor([1, 2]), torch.tensor([10, 20, 30]))
    tensor([[10, 20, 30],
            [20, 40, 60]])
    """
    # TODO: two new axes and one product.
    # HINT: which of i and j does a know nothing about? There it needs an axis of length 1.
    raise NotImplementedError("batched_outer")


def normalize(x: torch.Tensor, dim: int | tuple[int, ...] = -1) -> torch.Tensor:
    """``x`` with every vector along ``dim`` brought to Euclidean length 1; zero vectors stay zero.

    ``dim`` is an axis, or several that together form one vector; negative numbers count from
    the end. ``x`` has any shape (lengths along ``dim`` at least 1) and strides.

    - Right for every magnitude: in float32 also for vectors of 1e-30 and of 1e30, whose squares
      are 0 and inf.
    - Half precision and whole numbers are computed in float32. The result has the shape of ``x``,
      and its dtype (float32 for whole numbers).
    - F.normalize is not called.

    >>> normalize(torch.tensor([[3.0, 4.0], [0.0, 0.0]]))
    tensor([[0.6000, 0.8000],
            [0.0000, 0.0000]])
    """
    # TODO: divide by something that makes the squares harmless, then by the length.
    # HINT: dividing a vector by any positive number does not change its direction.
    raise NotImplementedError("normalize")


def einsum_suite(
    a: torch.Tensor, c: torch.Tensor, v: torch.Tensor, w: torch.Tensor
) -> dict[str, torch.Tensor]:
    """Eight results, each of one ``torch.einsum``.

    ``a`` (B, N, N), ``c`` (B, N, M), ``v`` (N,), ``w`` (H, M, E), all of one dtype.

    ============  ============  ===================================================
    name          shape         element
    ============  ============  ===================================================
    diagonals     (B, N)        a[b, i, i]
    traces        (B,)          Σ_i a[b, i, i]
    column_sums   (B, N)        at [b, j]: Σ_i a[b, i, j]
    products      (B, N, M)     at [b, i, m]: Σ_j a[b, i, j] c[b, j, m]
    quadratic     (B,)          Σ_ij v[i] a[b, i, j] v[j]
    grams         (B, M, M)     at [b, m, l]: Σ_i c[b, i, m] c[b, i, l]
    similar       (B, B)        at [b, d]: Σ_im c[b, i, m] c[d, i, m]
    heads         (B, H, N, E)  at [b, h, i, e]: Σ_m c[b, i, m] w[h, m, e]
    ============  ============  ===================================================

    The last one is what a multi-head layer does to its tokens: N tokens of M elements, a matrix
    for each of H heads.
    """
    # TODO: translate each row of the table: letters of the inputs, ->, letters of the result.
    # HINT: a letter that does not stand after the arrow is summed over.
    raise NotImplementedError("einsum_suite")


def topk_mask(x: torch.Tensor, k: int) -> torch.Tensor:
    """Where the ``k`` largest elements of each row stand: bool, in the shape of ``x``.

    ``x`` (..., n), any strides, real or whole numbers, without nan; rows lie along the last axis.
    Every row of the result holds exactly min(k, n) True. Among equal elements those with the
    lower index are taken first.

    Raises ValueError when ``k`` is negative.

    >>> topk_mask(torch.tensor([3, 1, 3, 3]), 2)
    tensor([ True, False,  True, False])
    """
    # TODO: order each row, and write True at the places of its first k.
    # HINT: comparing with the k-th largest value marks too many when values are equal.
    raise NotImplementedError("topk_mask")


def segment_sum(values: torch.Tensor, ids: torch.Tensor, n: int) -> torch.Tensor:
    """Add up the rows of ``values`` by group: result[s] is the sum of values[i] where ids[i] is s.

    ``values`` (L, ...) and ``ids`` (L,), whole numbers from 0 to n - 1 in any order, int64;
    result (n, ...). A segment that no row belongs to is zero.

    - Half precision is added up in float32 and rounded once, to the dtype of ``values``. Whole
      numbers and bools are added up in int64, which is the dtype of the result then, as with
      torch.sum.
    - Memory stays in proportion to ``values`` and the result: no (L, n) matrix.
    - torch.segment_reduce is not called.

    >>> segment_sum(torch.tensor([1.0, 2.0, 4.0]), torch.tensor([2, 0, 2]), n=4)
    tensor([2., 0., 5., 0.])
    """
    # TODO: zeros for the result, and one operation that adds each row at its place.
    # HINT: out[ids] += values loses all but one of the rows with the same id. What adds them all?
    raise NotImplementedError("segment_sum")


def test_pairwise_distances() -> None:
    a, b = torch.tensor([[0.0, 0.0]]), torch.tensor([[3.0, 4.0], [0.0, 2.0]])
    assert pairwise_distances(a, b).tolist() == [[5, 2]]


def test_batched_outer() -> None:
    a, b = torch.tensor([[1, 2], [3, 4]]), torch.tensor([1, 10])
    assert batched_outer(a, b).tolist() == [[[1, 10], [2, 20]], [[3, 30], [4, 40]]]


def test_normalize() -> None:
    unit = normalize(torch.tensor([[3.0, 4.0], [0.0, 0.0]]))
    torch.testing.assert_close(unit, torch.tensor([[0.6, 0.8], [0.0, 0.0]]))


def test_einsum_suite() -> None:
    a = torch.tensor([[[1.0, 2.0], [3.0, 4.0]]])
    c = torch.tensor([[[1.0], [10.0]]])
    made = einsum_suite(a, c, v=torch.tensor([1.0, 2.0]), w=torch.ones(3, 1, 2))
    assert made["traces"].tolist() == [5]
    assert made["products"].tolist() == [[[21], [43]]]
    assert made["quadratic"].tolist() == [27]  # 1 + 2·2 + 2·3 + 4·4


def test_topk_mask() -> None:
    assert topk_mask(torch.tensor([3, 1, 3, 3]), 2).tolist() == [True, False, True, False]


def test_segment_sum() -> None:
    summed = segment_sum(torch.tensor([1.0, 2.0, 4.0]), torch.tensor([2, 0, 2]), n=4)
    assert summed.tolist() == [2, 0, 5, 0]


if __name__ == "__main__":
    from harness import main

    main(__file__)
