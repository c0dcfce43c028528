"""Day 25: Low-memory dropout
==========================
Estimated time: 1-2 hours
Prerequisites: Day 23 (LayerNorm backward), Day 24 (dropout)
Lesson: lessons/day25.md

Learning objectives:
- Find the backward pass of dropout, and the one number that it needs from the forward pass
- Recompute a mask where others store it, and count the bytes that this saves
- Write an autograd.Function that saves no tensor and can be differentiated again
- Draw every row from a seed of its own, so that a row's mask does not depend on its batch

What waits between the two passes for a matrix of n bfloat16 elements:

    mask stored         x ---> [dropout] ---> y          mask: n bytes
                       dx <--- [ * mask] <--- dy

    mask recomputed     x ---> [dropout] ---> y          p and seed: two numbers
                       dx <--- [dropout] <--- dy

Hints:
- Write y_i as a factor times x_i. On what does the factor depend?
- ctx holds numbers as attributes; save_for_backward is for tensors.
- A seed that lies in memory is loaded like anything else.
Resources:
- Triton tutorial, Low-Memory Dropout: https://triton-lang.org/main/getting-started/tutorials/04-low-memory-dropout.html
- Srivastava et al., Dropout: https://jmlr.org/papers/v15/srivastava14a.html
- PyTorch, Extending torch.autograd: https://docs.pytorch.org/docs/stable/notes/extending.html
- PyTorch, torch.utils.checkpoint: https://docs.pytorch.org/docs/stable/checkpoint.html
- Chen et al., Training Deep Nets with Sublinear Memory Cost: https://arxiv.org/abs/1604.06174
"""

from typing import Any

import torch
import triton
import triton.language as tl

from tracks.triton.day24 import dropout, keep_scale, uniform_block_kernel

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
BLOCK = 2048  # the most columns of a row that a program takes: a power of two, at least 8


def _row_block(columns: int) -> int:
    """Columns that one program takes of a row: a power of two from 8 to BLOCK."""
    return min(triton.next_power_of_2(max(columns, 8)), BLOCK)


def dropout_backward(dy: torch.Tensor, p: float, seed: int) -> torch.Tensor:
    """The gradient of x, where y = dropout(x, p, seed) of day 24 and dy is the gradient of y.

    An element that was kept was multiplied by keep_scale(p), so its gradient is, too; one that was
    dropped has the gradient 0, also where dy is nan or infinite. Which ones were kept is worked out
    again from p and seed: neither x nor y nor a mask is needed.

    Limits: one launch and no memory but the result's, as in ``dropout``.

    Args:
        dy: (rows, columns), any strides, expanded ones included; float32, float16 or bfloat16.
            Either size may be 0.
        p, seed: those of the forward pass.

    Returns:
        A new contiguous tensor of dy's shape and dtype.

    Raises:
        ValueError: if p is not between 0 and 1.

    Example:
        dropout_backward([[1, 1, 1], [1, 1, 1]], 0.5, 0) is [[2, 0, 2], [2, 0, 2]].
    """
    # TODO: compute dx from dy, p and seed.
    # HINT: Which function have you written that does to its input what is to be done to dy?
    raise NotImplementedError("dropout_backward")


class Dropout(torch.autograd.Function):
    """Dropout that autograd knows and that saves no tensor: ``Dropout.apply(x, p, seed)``.

    Limits: one launch forward and one backward; between them nothing is kept but p and seed, and
    no pass takes memory beyond its result. (Where leading axes cannot be viewed as one, x or dy may
    be copied.)

    Args of apply:
        x: (..., columns) with at least one axis; float32, float16 or bfloat16. The mask is that of
            ``dropout`` on x as a matrix of columns columns.
        p, seed: as in ``dropout``. They have no gradient.

    apply returns a tensor of x's shape and dtype. The gradient can be differentiated again: what
    backward does is dropout as well, of dy with the same mask, and autograd is to know it as such.

    Raises:
        ValueError: if p is not between 0 and 1.

    Example:
        x = torch.ones(2, 3, requires_grad=True)
        Dropout.apply(x, 0.5, 0).sum().backward()
        x.grad is [[2, 0, 2], [2, 0, 2]].
    """

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, p: float, seed: int) -> torch.Tensor:
        """Drop, and note what backward needs."""
        # TODO: call dropout on x as a matrix; keep p and seed; give the result x's shape.
        # HINT: Where does ctx hold what is no tensor?
        raise NotImplementedError("Dropout.forward")

    @staticmethod
    def backward(ctx: Any, dy: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Gradients for x, p and seed, in this order."""
        # TODO: return the gradient of x, in a way that autograd can follow.
        # HINT: What does autograd know about the result of a kernel that you launch here?
        raise NotImplementedError("Dropout.backward")


@triton.jit
def matrix_dropout_kernel(
    x_ptr,
    seeds_ptr,
    out_ptr,
    columns,
    row_stride,
    column_stride,
    seeds_stride,
    p,
    scale,
    BLOCK: tl.constexpr,
):
    """Program (i, j) makes columns j * BLOCK up to (j + 1) * BLOCK of row i of out (contiguous)."""
    # TODO: load the row's seed and the block of x; random numbers from that seed; keep or drop.
    # HINT: Which number of its seed's stream belongs to the first column of a row?
    pass


def matrix_dropout(x: torch.Tensor, p: float, seeds: torch.Tensor) -> torch.Tensor:
    """Dropout with a seed for every row, in one launch.

    Row i of the result is row 0 of day 24's dropout(x[i : i + 1], p, seed) with row i's seed. So a
    row's mask depends on its seed and on nothing else: not on the other rows, nor on its place.
    Rows that have the same seed have the same mask.

    Limits: one launch of a grid (rows, blocks of a row), with blocks of _row_block(columns)
    columns, BLOCK as it is in this file when the function is called (tests set it); no memory but
    the result's, and the seeds stay where they are: nothing waits for the GPU. Where rows are
    aligned, loads and stores of 128 bits, but for the seed's; no spilled registers.

    Args:
        x: (rows, columns), any strides; float32, float16 or bfloat16. Either size may be 0.
        p: from 0 to 1, as in ``dropout``.
        seeds: (rows,), int64, any stride, on x's device. A negative one stands for the unsigned
            number with the same 64 bits: -1 for 2**64 - 1.

    Returns:
        A new contiguous tensor of x's shape and dtype.

    Raises:
        ValueError: if p is not between 0 and 1, or if there is not one seed for each row. The
            message names p, or the shape of the seeds.

    Example:
        matrix_dropout([[1, 2, 3], [1, 2, 3], [1, 2, 3]], 0.5, [0, 1, 0]) is
        [[2, 0, 6], [0, 0, 6], [2, 0, 6]].
    """
    # TODO: check the seeds, allocate the output and launch.
    # HINT: May the launcher read a seed?
    raise NotImplementedError("matrix_dropout")


def test_backward_of_six_elements() -> None:
    dy = torch.ones(2, 3, device=DEVICE)
    expected = torch.tensor([[2.0, 0.0, 2.0], [2.0, 0.0, 2.0]], device=DEVICE)
    torch.testing.assert_close(dropout_backward(dy, 0.5, 0), expected)


def test_function_of_six_elements() -> None:
    x = torch.ones(2, 3, device=DEVICE, requires_grad=True)
    Dropout.apply(x, 0.5, 0).sum().backward()
    torch.testing.assert_close(x.grad, dropout_backward(torch.ones_like(x), 0.5, 0))


def test_rows_with_the_same_seed_have_the_same_mask() -> None:
    x = torch.tensor([1.0, 2.0, 3.0], device=DEVICE).expand(3, 3)
    seeds = torch.tensor([0, 1, 0], device=DEVICE)
    expected = torch.tensor([[2.0, 0.0, 6.0], [0.0, 0.0, 6.0], [2.0, 0.0, 6.0]], device=DEVICE)
    torch.testing.assert_close(matrix_dropout(x, 0.5, seeds), expected)


if __name__ == "__main__":
    from harness import main

    main(__file__)
