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
    ### BEGIN SOLUTION
    # HINT: Block 0 stays in registers; layer_norm_merge_kernel takes in each block, then comes
    #       rstd = 1.0 / tl.sqrt(m2 / columns + eps).
    # HINT: tl.store(mean_ptr + row, mean) stores one number; no mask, no lane.
    row = tl.program_id(0).to(tl.int64)
    x_row = x_ptr + row * row_stride
    out_row = out_ptr + row * columns
    lane = tl.arange(0, BLOCK).to(tl.int64)
    inside = lane < columns
    first = tl.load(x_row + lane * column_stride, mask=inside, other=0.0).to(tl.float32)
    mean, m2 = layer_norm_merge_kernel(0.0, 0.0, first, 0, columns, BLOCK)
    for block in range(1, BLOCKS):
        column = block * BLOCK + lane
        place = x_row + column * column_stride
        x = tl.load(place, mask=column < columns, other=0.0).to(tl.float32)
        mean, m2 = layer_norm_merge_kernel(mean, m2, x, block * BLOCK, columns, BLOCK)
    rstd = 1.0 / tl.sqrt(m2 / columns + eps)
    tl.store(mean_ptr + row, mean)
    tl.store(rstd_ptr + row, rstd)
    weight = tl.load(weight_ptr + lane, mask=inside, other=0.0)
    bias = tl.load(bias_ptr + lane, mask=inside, other=0.0)
    tl.store(out_row + lane, (first - mean) * rstd * weight + bias, mask=inside)
    for block in range(1, BLOCKS):
        column = block * BLOCK + lane
        inside = column < columns
        x = tl.load(x_row + column * column_stride, mask=inside, other=0.0)
        weight = tl.load(weight_ptr + column, mask=inside, other=0.0)
        bias = tl.load(bias_ptr + column, mask=inside, other=0.0)
        tl.store(out_row + column, (x - mean) * rstd * weight + bias, mask=inside)
    ### END SOLUTION


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
    ### BEGIN SOLUTION
    # HINT: mean and rstd are float32 tensors of the shape (rows,).
    # HINT: layer_norm_forward_kernel[(rows,)](x, weight, bias, out, mean, rstd, *x.stride(),
    #       columns, eps, **_blocks(columns))
    rows, columns = x.shape
    out = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    mean, rstd = (torch.empty(rows, dtype=torch.float32, device=x.device) for _ in range(2))
    layer_norm_forward_kernel[(rows,)](
        *(x, weight, bias, out, mean, rstd), *x.stride(), columns, eps, **_blocks(columns)
    )
    return out, mean, rstd
    ### END SOLUTION


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
    ### BEGIN SOLUTION
    # HINT: Of block 0 stay g = dy * weight and h = (x - mean) * rstd, in float32.
    # HINT: dx = (g - tl.sum(g) / columns - h * (tl.sum(g * h) / columns)) * rstd, with the sums
    #       over the whole row. With other=0.0 g is 0 in the padding, and so is g * h.
    row = tl.program_id(0).to(tl.int64)
    dy_row = dy_ptr + row * dy_row_stride
    x_row = x_ptr + row * x_row_stride
    dx_row = dx_ptr + row * columns
    mean = tl.load(mean_ptr + row)
    rstd = tl.load(rstd_ptr + row)
    lane = tl.arange(0, BLOCK).to(tl.int64)
    inside = lane < columns
    dy = tl.load(dy_row + lane * dy_column_stride, mask=inside, other=0.0).to(tl.float32)
    x = tl.load(x_row + lane * x_column_stride, mask=inside, other=0.0)
    first_g = dy * tl.load(weight_ptr + lane, mask=inside, other=0.0)
    first_h = (x - mean) * rstd
    sum_g = tl.sum(first_g, axis=0)
    sum_gh = tl.sum(first_g * first_h, axis=0)
    for block in range(1, BLOCKS):
        column = block * BLOCK + lane
        inside = column < columns
        dy = tl.load(dy_row + column * dy_column_stride, mask=inside, other=0.0).to(tl.float32)
        x = tl.load(x_row + column * x_column_stride, mask=inside, other=0.0)
        g = dy * tl.load(weight_ptr + column, mask=inside, other=0.0)
        sum_g += tl.sum(g, axis=0)
        sum_gh += tl.sum(g * ((x - mean) * rstd), axis=0)
    mean_g = sum_g / columns
    mean_gh = sum_gh / columns
    dx = (first_g - mean_g - first_h * mean_gh) * rstd
    tl.store(dx_row + lane, dx, mask=lane < columns)
    for block in range(1, BLOCKS):
        column = block * BLOCK + lane
        inside = column < columns
        dy = tl.load(dy_row + column * dy_column_stride, mask=inside, other=0.0).to(tl.float32)
        x = tl.load(x_row + column * x_column_stride, mask=inside, other=0.0)
        g = dy * tl.load(weight_ptr + column, mask=inside, other=0.0)
        dx = (g - mean_g - (x - mean) * rstd * mean_gh) * rstd
        tl.store(dx_row + column, dx, mask=inside)
    ### END SOLUTION


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
    ### BEGIN SOLUTION
    # HINT: dx has the shape and the dtype of x.
    # HINT: layer_norm_dx_kernel[(rows,)](dy, x, weight, mean, rstd, dx, *dy.stride(), *x.stride(),
    #       columns, **_blocks(columns))
    rows, columns = x.shape
    dx = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    layer_norm_dx_kernel[(rows,)](
        *(dy, x, weight, mean, rstd, dx),
        *(*dy.stride(), *x.stride()),
        columns,
        **_blocks(columns),
    )
    return dx
    ### END SOLUTION


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
    ### BEGIN SOLUTION
    # HINT: mean and rstd of the tile's rows are blocks of TILE_ROWS numbers, used as mean[:, None].
    # HINT: Two accumulators (TILE_ROWS, TILE_COLUMNS) in float32; tl.sum(..., axis=0) of each at
    #       the end. Where dy is 0 by its mask, nothing is added.
    chunk = tl.program_id(0)
    column = tl.program_id(1).to(tl.int64) * TILE_COLUMNS + tl.arange(0, TILE_COLUMNS)
    dw = tl.zeros((TILE_ROWS, TILE_COLUMNS), tl.float32)
    db = tl.zeros((TILE_ROWS, TILE_COLUMNS), tl.float32)
    for start in range(chunk * TILE_ROWS, rows, tl.num_programs(0) * TILE_ROWS):
        row = (start + tl.arange(0, TILE_ROWS)).to(tl.int64)
        mask = (row[:, None] < rows) & (column[None, :] < columns)
        dy_tile = dy_ptr + row[:, None] * dy_row_stride + column[None, :] * dy_column_stride
        x_tile = x_ptr + row[:, None] * x_row_stride + column[None, :] * x_column_stride
        dy = tl.load(dy_tile, mask=mask, other=0.0).to(tl.float32)
        x = tl.load(x_tile, mask=mask, other=0.0)
        mean = tl.load(mean_ptr + row, mask=row < rows, other=0.0)
        rstd = tl.load(rstd_ptr + row, mask=row < rows, other=0.0)
        dw += dy * ((x - mean[:, None]) * rstd[:, None])
        db += dy
    partial = partial_ptr + chunk.to(tl.int64) * 2 * columns + column
    tl.store(partial, tl.sum(dw, axis=0), mask=column < columns)
    tl.store(partial + columns, tl.sum(db, axis=0), mask=column < columns)
    ### END SOLUTION


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
    ### BEGIN SOLUTION
    # HINT: partial is (chunks, 2 * columns): the first half of each row is dweight's.
    # HINT: The grid is (chunks, cdiv(columns, TILE_COLUMNS)), with day 11's TILE_ROWS, TILE_COLUMNS
    #       and num_warps=WARPS. The totals are split as totals[:columns], totals[columns:].
    rows, columns = x.shape
    chunks = _chunks(rows, columns)
    partial = torch.empty((chunks, 2 * columns), dtype=torch.float32, device=x.device)
    layer_norm_dwdb_kernel[(chunks, triton.cdiv(columns, TILE_COLUMNS))](
        *(dy, x, mean, rstd, partial),
        *(*dy.stride(), *x.stride()),
        *(rows, columns),
        TILE_ROWS=TILE_ROWS,
        TILE_COLUMNS=TILE_COLUMNS,
        num_warps=WARPS,
    )
    totals = _column_totals(partial)
    return totals[:columns], totals[columns:]
    ### END SOLUTION


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
    ### BEGIN SOLUTION
    # HINT: for row in range(tl.program_id(0), rows, tl.num_programs(0)), and row.to(tl.int64) in
    #       addresses. The weight is loaded once; dw and db are blocks of BLOCK zeros in float32.
    # HINT: In the loop: dx as in layer_norm_dx_kernel, then dw += dy * h and db += dy.
    lane = tl.arange(0, BLOCK).to(tl.int64)
    inside = lane < columns
    weight = tl.load(weight_ptr + lane, mask=inside, other=0.0).to(tl.float32)
    dw = tl.zeros((BLOCK,), tl.float32)
    db = tl.zeros((BLOCK,), tl.float32)
    for index in range(tl.program_id(0), rows, tl.num_programs(0)):
        row = index.to(tl.int64)
        dy_place = dy_ptr + row * dy_row_stride + lane * dy_column_stride
        x_place = x_ptr + row * x_row_stride + lane * x_column_stride
        dy = tl.load(dy_place, mask=inside, other=0.0).to(tl.float32)
        x = tl.load(x_place, mask=inside, other=0.0)
        rstd = tl.load(rstd_ptr + row)
        h = (x - tl.load(mean_ptr + row)) * rstd
        g = dy * weight
        mean_g = tl.sum(g, axis=0) / columns
        mean_gh = tl.sum(g * h, axis=0) / columns
        dx = (g - mean_g - h * mean_gh) * rstd
        tl.store(dx_ptr + row * columns + lane, dx, mask=inside)
        dw += dy * h
        db += dy
    partial = partial_ptr + tl.program_id(0).to(tl.int64) * 2 * columns + lane
    tl.store(partial, dw, mask=inside)
    tl.store(partial + columns, db, mask=inside)
    ### END SOLUTION


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
    ### BEGIN SOLUTION
    # HINT: if columns > FUSED: return layer_norm_dx(...), *layer_norm_dwdb(...)
    # HINT: BLOCK and num_warps are those of blocks = _blocks(columns); partial is
    #       (programs, 2 * columns), and _column_totals does the rest.
    rows, columns = x.shape
    if columns > FUSED:
        return layer_norm_dx(dy, x, weight, mean, rstd), *layer_norm_dwdb(dy, x, mean, rstd)
    programs, blocks = _programs(rows, columns), _blocks(columns)
    dx = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    partial = torch.empty((programs, 2 * columns), dtype=torch.float32, device=x.device)
    layer_norm_backward_kernel[(programs,)](
        *(dy, x, weight, mean, rstd, dx, partial),
        *(*dy.stride(), *x.stride()),
        *(rows, columns),
        BLOCK=blocks["BLOCK"],
        num_warps=blocks["num_warps"],
    )
    totals = _column_totals(partial)
    return dx, totals[:columns], totals[columns:]
    ### END SOLUTION


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
        ### BEGIN SOLUTION
        # HINT: x.reshape(-1, x.shape[-1]) is a matrix; out.view(x.shape) undoes it. If there are
        #       no columns, -1 cannot be worked out: x.numel() // max(columns, 1) rows.
        # HINT: ctx.save_for_backward(x, weight, mean, rstd).
        columns = x.shape[-1]
        rows = x.reshape(x.shape[:-1].numel(), columns)
        out, mean, rstd = layer_norm_forward(rows, weight, bias, eps)
        ctx.save_for_backward(x, weight, mean, rstd)
        return out.view(x.shape)
        ### END SOLUTION

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, dy: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Gradients for x, weight, bias and eps, in this order."""
        # TODO: call layer_norm_backward on dy and x as matrices.
        # HINT: How many values must backward return?
        ### BEGIN SOLUTION
        # HINT: As many as forward takes; eps gets None.
        # HINT: dx.view(x.shape) has x's shape again; dweight and dbias are as they should be.
        x, weight, mean, rstd = ctx.saved_tensors
        shape = (x.shape[:-1].numel(), x.shape[-1])
        dx, dweight, dbias = layer_norm_backward(
            dy.reshape(shape), x.reshape(shape), weight, mean, rstd
        )
        return dx.view(x.shape), dweight, dbias, None
        ### END SOLUTION


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
    ### BEGIN SOLUTION
    # HINT: With g = dy * weight add up x * x and g * x over the blocks; block 0 stays, as on day
    #       22. rstd = 1.0 / tl.sqrt(squares / columns + eps).
    # HINT: With h = x * rstd the mean of g * h is mean_gh = products * rstd / columns, and dx is
    #       (g - h * mean_gh) * rstd.
    # HINT: if BLOCKS > 1: the row's rstd is stored. Else dw += dy * h, which is stored after the
    #       loop.
    lane = tl.arange(0, BLOCK).to(tl.int64)
    inside = lane < columns
    weight = tl.load(weight_ptr + lane, mask=inside, other=0.0).to(tl.float32)
    dw = tl.zeros((BLOCK,), tl.float32)
    for index in range(tl.program_id(0), rows, tl.num_programs(0)):
        row = index.to(tl.int64)
        dy_row = dy_ptr + row * dy_row_stride
        x_row = x_ptr + row * x_row_stride
        dx_row = dx_ptr + row * columns
        dy = tl.load(dy_row + lane * dy_column_stride, mask=inside, other=0.0).to(tl.float32)
        x = tl.load(x_row + lane * x_column_stride, mask=inside, other=0.0).to(tl.float32)
        first_g = dy * weight
        squares = tl.sum(x * x, axis=0)
        products = tl.sum(first_g * x, axis=0)
        for block in range(1, BLOCKS):
            column = block * BLOCK + lane
            there = column < columns
            dy_b = tl.load(dy_row + column * dy_column_stride, mask=there, other=0.0)
            x_b = tl.load(x_row + column * x_column_stride, mask=there, other=0.0).to(tl.float32)
            g = dy_b.to(tl.float32) * tl.load(weight_ptr + column, mask=there, other=0.0)
            squares += tl.sum(x_b * x_b, axis=0)
            products += tl.sum(g * x_b, axis=0)
        rstd = 1.0 / tl.sqrt(squares / columns + eps)
        mean_gh = products * rstd / columns
        h = x * rstd
        tl.store(dx_row + lane, (first_g - h * mean_gh) * rstd, mask=inside)
        for block in range(1, BLOCKS):
            column = block * BLOCK + lane
            there = column < columns
            dy_b = tl.load(dy_row + column * dy_column_stride, mask=there, other=0.0)
            x_b = tl.load(x_row + column * x_column_stride, mask=there, other=0.0)
            g = dy_b.to(tl.float32) * tl.load(weight_ptr + column, mask=there, other=0.0)
            tl.store(dx_row + column, (g - x_b * rstd * mean_gh) * rstd, mask=there)
        if BLOCKS > 1:
            tl.store(rstd_ptr + row, rstd)
        else:
            dw += dy * h
    if BLOCKS <= 1:
        tl.store(partial_ptr + tl.program_id(0).to(tl.int64) * columns + lane, dw, mask=inside)
    ### END SOLUTION


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
    ### BEGIN SOLUTION
    # HINT: One block up to FUSED columns: _programs(rows, columns) programs, whose partial rows
    #       _column_totals adds up. Longer rows: one program a row.
    # HINT: For long rows: layer_norm_dwdb(dy, x, torch.zeros_like(rstd), rstd)[0]. Neither kind of
    #       rows needs both rstd and partial, but a kernel wants a tensor for each argument.
    rows, columns = x.shape
    dx = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    fused = columns <= FUSED
    blocks = _blocks(columns)
    if not fused:
        blocks |= {"BLOCK": FUSED, "BLOCKS": triton.cdiv(columns, FUSED), "num_warps": 16}
    programs = _programs(rows, columns) if fused else rows
    rstd = torch.empty(0 if fused else rows, dtype=torch.float32, device=x.device)
    partial = torch.empty((programs if fused else 0, columns), dtype=torch.float32, device=x.device)
    rms_norm_backward_kernel[(programs,)](
        *(dy, x, weight, dx, rstd, partial),
        *(*dy.stride(), *x.stride()),
        *(rows, columns, eps),
        **blocks,
    )
    if fused:
        return dx, _column_totals(partial)
    return dx, layer_norm_dwdb(dy, x, torch.zeros_like(rstd), rstd)[0]
    ### END SOLUTION


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
