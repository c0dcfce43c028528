"""Day 23: LayerNorm backward
==========================
Estimated time: 2-3 hours
Prerequisites: Day 11 (column sums in two stages), Day 22 (layer normalisation)
Lesson: lessons/day23.md

Learning objectives:
- Derive the gradient of a normalisation, and say what its two correction terms remove
- Decide what the forward pass keeps: two numbers a row save a pass over the matrix
- Sum down the columns without atomics, so that a gradient is the same bits each time
- Fuse a reduction along rows with one along columns: one read of x and dy for both
- Wrap kernels into an autograd.Function that a real model can use

Two directions meet. dx needs sums along its row, dweight and dbias need sums down the columns:

               columns                       program p takes the rows p, p + P, p + 2 P, ...
           +----------------+
    row 0  | --- sums ----> | dx row 0       and keeps two vectors of sums in registers:
    row 1  | --- sums ----> | dx row 1
    row 2  | --- sums ----> | dx row 2           dw += dy * h        h: the normalised row
           |  |  |  |  |  | |                    db += dy
           +--v--v--v--v--v-+
              dw and db                      stored once, at the end: P partial rows, added by
                                             day 11's second stage

Hints:
- Write h for the normalised row and g for dy * weight: then the formulas are short.
- With dy = 0 in the padding, which sums need no other mask?
- A row cannot be read twice for free, but a vector that stays in registers can be used for free.
Resources:
- Ba, Kiros and Hinton, Layer Normalization: https://arxiv.org/abs/1607.06450
- Zhang and Sennrich, Root Mean Square Layer Normalization: https://arxiv.org/abs/1910.07467
- Triton tutorial, Layer Normalization: https://triton-lang.org/main/getting-started/tutorials/05-layer-norm.html
- PyTorch, Extending torch.autograd: https://docs.pytorch.org/docs/stable/notes/extending.html
- Hsu et al., Liger Kernel: https://arxiv.org/abs/2410.10989
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch.autograd.function import once_differentiable

from tracks.triton.day11 import (
    TILE_COLUMNS,
    TILE_ROWS,
    WARPS,
    _chunks,
    _finish_columns,
    column_sum_finish_kernel,
)
from tracks.triton.day22 import _blocks, layer_norm_merge_kernel

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
FUSED = 8192  # columns up to which a program has registers for a row and for both vectors of sums


def _programs(rows: int, columns: int) -> int:
    """How many programs share the rows of a matrix of at most FUSED columns: 16 warps on each SM.

    Without a GPU as if there were 4 SMs, so that small matrices show all that there is to see.
    """
    multiprocessors = 4
    if torch.cuda.is_available():
        multiprocessors = torch.cuda.get_device_properties().multi_processor_count
    return min(rows, multiprocessors * max(16 // _blocks(columns)["num_warps"], 1))


def _column_totals(partial: torch.Tensor) -> torch.Tensor:
    """Day 11's second stage: the sum of every column of partial (chunks, columns), in float32."""
    chunks, columns = partial.shape
    out = torch.empty(columns, dtype=torch.float32, device=partial.device)
    finish = _finish_columns(chunks)
    column_sum_finish_kernel[(triton.cdiv(columns, finish),)](
        *(partial, out, chunks, columns),
        CHUNKS=triton.next_power_of_2(max(chunks, 1)),
        COLUMNS=finish,
        num_warps=WARPS,
    )
    return out


@triton.jit
def layer_norm_forward_kernel(
    x_ptr,
    weight_ptr,
    bias_ptr,
    out_ptr,
    mean_ptr,
    rstd_ptr,
    row_stride,
    column_stride,
    columns,
    eps,
    BLOCK: tl.constexpr,
    BLOCKS: tl.constexpr,
):
    """Program i: row i of out (contiguous), and the two numbers of row i that backward needs."""
    # TODO: as day 22's layer_norm_kernel; store the mean and 1 / sqrt(variance + eps) as well.
    # HINT: Both numbers are in registers already. Which lane stores them?
    pass


def layer_norm_forward(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, eps: float = 1e-5
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Day 22's ``layer_norm``, which also returns what the backward pass needs of each row.

        mean_i = sum_j x[i, j] / columns
        rstd_i = 1 / sqrt(var_i + eps)
        out[i, j] = (x[i, j] - mean_i) * rstd_i * weight[j] + bias[j]

    The backward pass could compute the two numbers again, but not before it has read the whole
    row. Kept, they cost 8 bytes a row.

    Limits: one launch, and no memory but the results'. In a kernel for rows of up to 16,384 columns
    x, weight and bias are loaded in one place each, that is, a row is read once.

    Args:
        x: (rows, columns) of any strides; float32, float16 or bfloat16. Either size may be 0, and a
            row may be longer than any block.
        weight, bias: (columns,), contiguous; one of the same dtypes each, not necessarily x's.
        eps: greater than 0.

    Returns:
        out: a new contiguous tensor of x's shape and dtype, rounded once.
        mean, rstd: (rows,) in float32; anything where there are no columns.

    Example:
        layer_norm_forward([[1, 3]], [1, 2], [0, 5]) is ([[-1, 7]], [2], [1]) up to eps.
    """
    # TODO: allocate the three results and launch one program a row, with day 22's _blocks.
    # HINT: Which dtype has the mean of a bfloat16 row? Think of a mean of 1000.
    raise NotImplementedError("layer_norm_forward")


@triton.jit
def layer_norm_dx_kernel(
    dy_ptr,
    x_ptr,
    weight_ptr,
    mean_ptr,
    rstd_ptr,
    dx_ptr,
    dy_row_stride,
    dy_column_stride,
    x_row_stride,
    x_column_stride,
    columns,
    BLOCK: tl.constexpr,
    BLOCKS: tl.constexpr,
):
    """Program i: row i of dx (contiguous) from row i of dy and x, BLOCKS blocks of them."""
    # TODO: walk 1: block 0 stays; add up g and g * h over all blocks. Walk 2: dx of each block.
    # HINT: This is day 22's pattern with two inputs. What must stay of block 0, and what must be
    #       loaded again of the others?
    pass


def layer_norm_dx(
    dy: torch.Tensor,
    x: torch.Tensor,
    weight: torch.Tensor,
    mean: torch.Tensor,
    rstd: torch.Tensor,
) -> torch.Tensor:
    """Gradient of layer_norm with respect to x, in one launch.

        h[i, j] = (x[i, j] - mean_i) * rstd_i       the normalised row
        g[i, j] = dy[i, j] * weight[j]              the gradient that arrives at it
        dx[i, j] = rstd_i * (g[i, j] - mean_k g[i, k] - h[i, j] * mean_k (g[i, k] * h[i, k]))

    where mean_k is the mean along the row. Everything is computed in float32 and rounded once.

    Limits: one launch, and no memory but the result's. In a kernel for rows of up to 16,384 columns
    dy, x and weight are loaded in one place each.

    Args:
        dy: gradient of the loss with respect to the output, (rows, columns) of any strides, 0
            among them; float32, float16 or bfloat16.
        x: of dy's shape, strides and dtype of its own.
        weight: (columns,), contiguous; one of the same dtypes.
        mean, rstd: (rows,), float32, contiguous, from ``layer_norm_forward``.

    Returns:
        A new contiguous tensor of x's shape and dtype.

    Example:
        For x = [[1, 3, 8]] with weight 1 and dy = [[1, 0, 0]], dx is about
        [[0.109, -0.152, 0.044]]: its elements add up to 0.
    """
    # TODO: allocate dx and launch one program a row, with day 22's _blocks.
    # HINT: Which of the inputs have strides of their own?
    raise NotImplementedError("layer_norm_dx")


@triton.jit
def layer_norm_dwdb_kernel(
    dy_ptr,
    x_ptr,
    mean_ptr,
    rstd_ptr,
    partial_ptr,
    dy_row_stride,
    dy_column_stride,
    x_row_stride,
    x_column_stride,
    rows,
    columns,
    TILE_ROWS: tl.constexpr,
    TILE_COLUMNS: tl.constexpr,
):
    """Program (i, j): chunk i of column tile j into row i of partial (chunks, 2, columns).

    Chunk i consists of the row tiles i, i + chunks, i + 2 * chunks, ...; partial[i, 0] is its part
    of dweight, partial[i, 1] of dbias. Columns are axis 1 of the grid.
    """
    # TODO: walk down the matrix by tiles; add up dy * h and dy; store two partial rows.
    # HINT: This is day 11's column_sum_kernel with two sums. Which numbers belong to a row, not to
    #       an element?
    pass


def layer_norm_dwdb(
    dy: torch.Tensor, x: torch.Tensor, mean: torch.Tensor, rstd: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Gradients of layer_norm with respect to weight and bias, in two launches.

        dweight[j] = sum_i dy[i, j] * h[i, j]       with h as in ``layer_norm_dx``
        dbias[j] = sum_i dy[i, j]

    Stage 1 has a program for each chunk of rows and each tile of columns, as day 11's
    ``column_sum``; stage 2 adds up the partial rows, both vectors in one launch: given
    ``_column_totals`` does it. No atomics: sums that are added in the order in which programs
    happen to finish differ in their last bits from run to run.

    Limits: at most two launches, no atomic operation; no memory but the results' and
    ``_chunks(rows, columns)`` partial rows of 2 * columns numbers in float32. The same inputs give
    the same bits.

    Args:
        dy, x, mean, rstd: as in ``layer_norm_dx``; either size may be 0. Columns end at 8,388,480,
            as for ``column_sum``.

    Returns:
        dweight, dbias: (columns,) in float32; 0 where there are no rows.

    Example:
        For x = [[1, 3], [5, 5]] up to eps h is [[-1, 1], [0, 0]], and dy = [[1, 2], [3, 4]] gives
        ([-1, 2], [4, 6]).
    """
    # TODO: allocate the partial rows, launch stage 1, then let _column_totals add them up.
    # HINT: As what shape must the partial rows be seen, so that one launch adds up both vectors?
    raise NotImplementedError("layer_norm_dwdb")


@triton.jit
def layer_norm_backward_kernel(
    dy_ptr,
    x_ptr,
    weight_ptr,
    mean_ptr,
    rstd_ptr,
    dx_ptr,
    partial_ptr,
    dy_row_stride,
    dy_column_stride,
    x_row_stride,
    x_column_stride,
    rows,
    columns,
    BLOCK: tl.constexpr,
):
    """P programs share the rows: program p takes rows p, p + P, ...; a row is one block.

    Each stores its rows of dx (contiguous) and, at the end, its sums: row p of partial
    (P, 2, columns), dweight's part first.
    """
    # TODO: a loop over this program's rows; in it dx of the row, and what it adds to dw and db.
    # HINT: What does not depend on the row, and can be loaded before the loop?
    pass


def layer_norm_backward(
    dy: torch.Tensor,
    x: torch.Tensor,
    weight: torch.Tensor,
    mean: torch.Tensor,
    rstd: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """All gradients of layer_norm; up to FUSED columns from one read of dy and of x.

    ``layer_norm_dx`` and ``layer_norm_dwdb`` read both matrices each. A program that has a row of
    them in registers can do both: it stores the row of dx, and adds what the row contributes to
    dweight and dbias to two vectors that stay in registers until its last row is done.

    Limits: up to FUSED columns at most two launches, the first one with a grid of one axis and
    ``_programs(rows, columns)`` programs, and no memory but the results' and as many partial rows
    of 2 * columns numbers in float32; dy, x and weight are loaded in one place each; no atomic
    operation; no spilled registers for contiguous rows. Longer rows are given to ``layer_norm_dx``
    and ``layer_norm_dwdb``: three launches.

    Args:
        dy, x, weight, mean, rstd: as in ``layer_norm_dx``.

    Returns:
        dx: as from ``layer_norm_dx``. dweight, dbias: as from ``layer_norm_dwdb``, repeatable bit
        for bit.
    """
    # TODO: long rows by the two functions above; else allocate, launch, and add the partial rows.
    # HINT: Which of _blocks' keywords does this kernel not take?
    raise NotImplementedError("layer_norm_backward")


class LayerNorm(torch.autograd.Function):
    """Layer normalisation that autograd knows: ``LayerNorm.apply(x, weight, bias, eps)``.

    Limits: forward one launch, backward as ``layer_norm_backward``; of what is computed forward
    keeps mean and rstd only, beside the inputs that are there anyway: 8 bytes a row. (Where leading
    axes cannot be viewed as one, x or dy may be copied.)

    Args of apply:
        x: (..., columns) with at least one axis; float32, float16 or bfloat16.
        weight, bias: (columns,), contiguous; one of the same dtypes each.
        eps: greater than 0. It has no gradient.

    apply returns a tensor of x's shape and dtype. Gradients have the shapes of their inputs; their
    dtypes are the inputs' too, which autograd sees to: it converts what backward returns. There is
    no second derivative: it is refused, because a kernel's result has no graph
    (``once_differentiable`` does that).

    Example:
        x = torch.randn(2, 3, 8, requires_grad=True)
        LayerNorm.apply(x, torch.ones(8), torch.zeros(8), 1e-5).sum().backward()
        x.grad is 0 up to rounding: a normalised row adds up to 0 whatever x is.
    """

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, eps: float = 1e-5
    ) -> torch.Tensor:
        """Normalise, and save what backward needs."""
        # TODO: call layer_norm_forward on x as a matrix; save; give the result x's shape.
        # HINT: Which method of ctx takes tensors?
        raise NotImplementedError("LayerNorm.forward")

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, dy: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Gradients for x, weight, bias and eps, in this order."""
        # TODO: call layer_norm_backward on dy and x as matrices.
        # HINT: How many values must backward return?
        raise NotImplementedError("LayerNorm.backward")


@triton.jit
def rms_norm_backward_kernel(
    dy_ptr,
    x_ptr,
    weight_ptr,
    dx_ptr,
    rstd_ptr,
    partial_ptr,
    dy_row_stride,
    dy_column_stride,
    x_row_stride,
    x_column_stride,
    rows,
    columns,
    eps,
    BLOCK: tl.constexpr,
    BLOCKS: tl.constexpr,
):
    """P programs share the rows: program p takes rows p, p + P, ...

    Each stores its rows of dx (contiguous). Rows of one block: dweight's part goes to row p of
    partial (P, columns), and rstd is not used. Longer rows: 1 / root mean square of row i goes to
    rstd[i], for a second kernel, and partial is not used.
    """
    # TODO: for each row: two sums over its blocks, then dx of each block; dw where BLOCKS is 1.
    # HINT: What is the root mean square computed from, and is that in registers anyway?
    pass


def rms_norm_backward(
    dy: torch.Tensor, x: torch.Tensor, weight: torch.Tensor, eps: float = 1e-6
) -> tuple[torch.Tensor, torch.Tensor]:
    """Gradients of day 22's ``rms_norm`` with respect to x and weight, from dy, x and weight alone.

        rstd_i = 1 / sqrt(mean_k x[i, k]^2 + eps)
        h[i, j] = x[i, j] * rstd_i,  g[i, j] = dy[i, j] * weight[j]
        dx[i, j] = rstd_i * (g[i, j] - h[i, j] * mean_k (g[i, k] * h[i, k]))
        dweight[j] = sum_i dy[i, j] * h[i, j]

    No mean is subtracted, so no mean of g is either. The forward pass keeps nothing: all of x's row
    is in registers before dx needs its root mean square, so it is computed again for free.

    Limits: up to FUSED columns at most two launches, the first one with ``_programs(rows,
    columns)`` programs; no memory but the results' and as many partial rows of columns numbers in
    float32; dy, x and weight are loaded in one place each; no spilled registers for contiguous
    rows. Longer rows: at most three launches, and beside the results the partial rows of
    ``layer_norm_dwdb``, its results, and 8 bytes a row. No atomic operation anywhere.

    Args:
        dy, x, weight: as in ``layer_norm_dx``. Either size may be 0.
        eps: greater than 0, as in ``rms_norm``.

    Returns:
        dx: a new contiguous tensor of x's shape and dtype, rounded once.
        dweight: (columns,) in float32, repeatable bit for bit; 0 where there are no rows.

    Example:
        rms_norm_backward([[1, 0]], [[1, 7]], [1, 1]) is about ([[0.196, -0.028]], [0.2, 0]).
    """
    # TODO: allocate, launch, and add up the partial rows; or, for long rows, find dweight by a
    #       function that you have.
    # HINT: layer_norm_dwdb sums dy * (x - mean) * rstd. With which mean is that what is asked for?
    raise NotImplementedError("rms_norm_backward")


def test_forward_keeps_mean_and_rstd() -> None:
    x = torch.tensor([[1.0, 3.0]], device=DEVICE)
    weight, bias = torch.tensor([[1.0, 2.0], [0.0, 5.0]], device=DEVICE)
    out, mean, rstd = layer_norm_forward(x, weight, bias, eps=1e-9)
    torch.testing.assert_close(out, torch.tensor([[-1.0, 7.0]], device=DEVICE))
    assert mean.tolist() == [2.0]
    assert abs(rstd.item() - 1.0) < 1e-6


def test_dx_adds_up_to_nothing() -> None:
    x = torch.tensor([[1.0, 3.0, 8.0]], device=DEVICE)
    weight, bias = torch.ones(3, device=DEVICE), torch.zeros(3, device=DEVICE)
    _, mean, rstd = layer_norm_forward(x, weight, bias)
    dx = layer_norm_dx(torch.tensor([[1.0, 0.0, 0.0]], device=DEVICE), x, weight, mean, rstd)
    expected = torch.tensor([[0.109, -0.152, 0.044]], device=DEVICE)
    torch.testing.assert_close(dx, expected, atol=1e-3, rtol=0.0)
    assert abs(dx.sum().item()) < 1e-6


def test_dwdb_of_two_rows() -> None:
    x = torch.tensor([[1.0, 3.0], [5.0, 5.0]], device=DEVICE)
    dy = torch.tensor([[1.0, 2.0], [3.0, 4.0]], device=DEVICE)
    mean, rstd = torch.tensor([[2.0, 5.0], [1.0, 300.0]], device=DEVICE)
    dweight, dbias = layer_norm_dwdb(dy, x, mean, rstd)
    assert (dweight.tolist(), dbias.tolist()) == ([-1.0, 2.0], [4.0, 6.0])


def test_layer_norm_as_autograd_sees_it() -> None:
    x = torch.randn(2, 3, 8, device=DEVICE, requires_grad=True)
    weight = torch.ones(8, device=DEVICE, requires_grad=True)
    bias = torch.zeros(8, device=DEVICE, requires_grad=True)
    LayerNorm.apply(x, weight, bias, 1e-5).sum().backward()
    assert x.grad is not None and x.grad.abs().max() < 1e-5
    assert bias.grad is not None and bias.grad.tolist() == [6.0] * 8


def test_rms_norm_backward_of_two_columns() -> None:
    dy, x = torch.tensor([[[1.0, 0.0]], [[1.0, 7.0]]], device=DEVICE)
    dx, dweight = rms_norm_backward(dy, x, torch.ones(2, device=DEVICE))
    torch.testing.assert_close(dx, torch.tensor([[0.196, -0.028]], device=DEVICE))
    torch.testing.assert_close(dweight, torch.tensor([0.2, 0.0], device=DEVICE))


if __name__ == "__main__":
    from harness import main

    main(__file__)
