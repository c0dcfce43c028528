"""Day 11: Row and column statistics
=================================
Estimated time: 1-2 hours
Prerequisites: Day 10 (reductions)
Lesson: lessons/day11.md

Learning objectives:
- Compute a variance that survives a large mean, in one pass over rows of any length
- Merge the statistics of two groups of numbers without looking at the numbers again
- Reduce along columns with loads along rows, and split the long axis over programs
- Choose between formulas while the kernel is compiled
- Use statistics where they were computed: normalise in the same launch

Rows are summed by one program each. Columns are shared, because a program that owned one would
read 4 bytes of each row. Stage 1 leaves a partial row for each chunk, stage 2 adds these up:

             tile 0    tile 1
            +--------+--------+
    chunk 0 | (0, 0) | (0, 1) |
    chunk 1 | (1, 0) | (1, 1) | program (chunk, tile)  partial row 0 --+
    chunk 0 | (0, 0) | (0, 1) | -------------------->  partial row 1 --+-> out
            +--------+--------+        stage 1               stage 2

Hints:
- Mean and variance of 4 numbers by hand, as two groups of 2: which three numbers a group suffice?
- Element (i, j) lies at i * columns + j. Along which axis of a tile do neighbours in memory lie?
- An if on a tl.constexpr is decided by the compiler: what is not chosen does not exist.
Resources:
- Welford, Note on a Method for Calculating Corrected Sums of Squares and Products: https://doi.org/10.1080/00401706.1962.10490022
- Chan, Golub and LeVeque, Algorithms for Computing the Sample Variance: https://doi.org/10.1080/00031305.1983.10483115
- PyTorch, torch.var_mean: https://docs.pytorch.org/docs/stable/generated/torch.var_mean.html
- PyTorch, torch.linalg.vector_norm: https://docs.pytorch.org/docs/stable/generated/torch.linalg.vector_norm.html
"""

import torch
import triton
import triton.language as tl

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
MAX_BLOCK = 4096
TILE_ROWS, TILE_COLUMNS = 32, 128
MAX_CHUNKS, PROGRAMS = 1024, 1024
WARPS = 8
INF = tl.constexpr(float("inf"))  # a number of the module that kernels may use


def _block_and_warps(columns: int) -> tuple[int, int]:
    """A block that covers a short row, or MAX_BLOCK elements of a long one; its number of warps."""
    block = min(triton.next_power_of_2(max(columns, 1)), MAX_BLOCK)
    return block, min(max(block // (32 * 16), 1), 8)


def _chunks(rows: int, columns: int) -> int:
    """How many programs share a column: enough to fill a GPU, if there are as many row tiles."""
    tiles = max(triton.cdiv(columns, TILE_COLUMNS), 1)
    return min(triton.cdiv(rows, TILE_ROWS), MAX_CHUNKS, max(PROGRAMS // tiles, 1))


def _finish_columns(chunks: int) -> int:
    """How many columns a program of stage 2 takes: at most 8192 partial sums in its tile."""
    return min(32, 8192 // triton.next_power_of_2(max(chunks, 1)))


@triton.jit
def row_mean_var_kernel(x_ptr, mean_ptr, var_ptr, columns, BLOCK: tl.constexpr):
    """Program i: mean_ptr[i] and var_ptr[i] of row i of x, taken BLOCK elements at a time."""
    # TODO: for each block, its mean and its sum of squared distances from it; merge them.
    # HINT: The padding must not count: neither in the block's size nor among the distances.
    pass


def row_mean_var(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and variance of every row, in one launch that reads x once.

    mean[i] = sum_j x[i, j] / columns, var[i] = sum_j (x[i, j] - mean[i])^2 / columns. (Divided by
    columns, not by columns - 1: normalisation layers want it so.)

    The mean may be large against the deviation, 1e4 and 1: the mean of the squares minus the square
    of the mean has lost every digit then. Take each block's mean and its m2, the sum of the
    squared distances from this mean, and merge (Chan, Golub and LeVeque): groups a and b of n_a and
    n_b numbers, n = n_a + n_b and delta = mean_b - mean_a have together

        mean = mean_a + delta * n_b / n
        m2   = m2_a + m2_b + delta^2 * n_a * n_b / n

    Limits: one launch, no memory but the results', no spilled registers, and loads of 128 bits
    where rows are long and aligned.

    Args:
        x: (rows, columns), contiguous; float32, float16 or bfloat16. A row may be longer than any
            block. There may be no rows, but not no columns.

    Returns:
        Two float32 tensors of shape (rows,), for x of any dtype: mean and variance, computed in
        float32. A row that holds nan or an infinity has the variance nan.

    Raises:
        ValueError: x has 0 columns.

    Example:
        row_mean_var([[1, 2, 3, 6]]) is ([3], [3.5]).
    """
    # TODO: refuse rows without elements, allocate two numbers a row, launch one program a row.
    # HINT: Which dtype do the results have if x is float16?
    raise NotImplementedError("row_mean_var")


@triton.jit
def column_sum_kernel(
    x_ptr, partial_ptr, rows, columns, TILE_ROWS: tl.constexpr, TILE_COLUMNS: tl.constexpr
):
    """Program (i, j) sums chunk i of column tile j into row i of partial (chunks, columns).

    Chunk i consists of the row tiles i, i + chunks, i + 2 * chunks, ...
    """
    # TODO: walk down the matrix by tiles, add them up in float32, store one partial row.
    # HINT: Each element of a tile can keep a sum of its own. When do the rows have to meet?
    pass


@triton.jit
def column_sum_finish_kernel(
    partial_ptr, out_ptr, chunks, columns, CHUNKS: tl.constexpr, COLUMNS: tl.constexpr
):
    """Program j sums the rows of partial (chunks, columns) for its columns; chunks <= CHUNKS."""
    # TODO: load the partial rows of these columns as one tile, add them, store.
    # HINT: The tile can be higher than chunks and stick out on the right.
    pass


def column_sum(x: torch.Tensor) -> torch.Tensor:
    """Sum of every column, in two launches: out[j] = x[0, j] + x[1, j] + ...

    This is the gradient of a bias. Programs read TILE_COLUMNS neighbouring columns, so that loads
    run along rows, and several programs, one a chunk of rows, share a column. Their partial sums
    meet in the second launch, not in atomics: the same x gives the same bits each time.

    Limits: at most two launches; where columns are long, one program for each chunk and column
    tile, then one for each ``_finish_columns`` columns; at most 1024 partial rows in memory; no
    spilled registers, and loads of 128 bits in stage 1 where rows are aligned.

    Args:
        x: (rows, columns), contiguous; float32, float16 or bfloat16. Either size may be 0;
            columns end at 8,388,480, for the second axis of a grid ends at 65,535 tiles.

    Returns:
        A tensor of shape (columns,) and x's dtype, added up in float32 and rounded once; 0 where
        there are no rows.

    Example:
        column_sum([[1, 2, 3], [4, 5, 6]]) is [5, 7, 9].
    """
    # TODO: allocate a partial row for each chunk, and the result; launch both stages.
    # HINT: _chunks(rows, columns) says how many chunks. In which dtype are partial sums kept?
    raise NotImplementedError("column_sum")


@triton.jit
def row_norm_kernel(x_ptr, out_ptr, columns, P: tl.constexpr, BLOCK: tl.constexpr):
    """Program i: out_ptr[i] = the P-norm of row i of x, taken BLOCK elements at a time."""
    # TODO: accumulate |x|, x * x, the maximum of |x| or |x|^P, as P says; finish with the root.
    # HINT: P is known when the kernel is compiled: a plain if chooses, outside and inside the loop.
    pass


def row_norm(x: torch.Tensor, p: float) -> torch.Tensor:
    """The p-norm of every row, in one launch: (sum_j |x[i, j]|^p)^(1/p); for inf max_j |x[i, j]|.

    The kernel is compiled once for each p, and contains nothing of the other norms.

    Limits: one launch, no memory but the results', no spilled registers, and loads of 128 bits
    where rows are long and aligned.

    Args:
        x: (rows, columns), contiguous; float32, float16 or bfloat16. Either size may be 0; a row
            may be longer than any block. |x|^p must not exceed float32; it may exceed float16.
        p: greater than 0; 1, 2, inf, or anything between, such as 0.5 or 3.

    Returns:
        A tensor of shape (rows,) and x's dtype, computed in float32 and rounded once. A row that
        holds nan has the norm nan, a row of no elements the norm 0.

    Raises:
        ValueError: p is not greater than 0 (nan is not).

    Example:
        row_norm([[3, -4]], 2) is [5], with p = 1 [7], with p = inf [4].
    """
    # TODO: refuse a bad p, allocate one number a row and launch one program a row.
    # HINT: Which comparison refuses nan as well?
    raise NotImplementedError("row_norm")


@triton.jit
def normalize_rows_kernel(x_ptr, out_ptr, eps, columns, BLOCK: tl.constexpr):
    """Program i: out[i, j] = (x[i, j] - mean) / sqrt(var + eps) with row i's mean and variance."""
    # TODO: first walk along the row for its statistics, then again to normalise and store.
    # HINT: The first walk is row_mean_var_kernel's. What of it must stay in registers?
    pass


def normalize_rows(x: torch.Tensor, eps: float = 1e-5) -> torch.Tensor:
    """Give every row mean 0 and variance 1, in one launch and without storing the statistics.

    out[i, j] = (x[i, j] - mean_i) / sqrt(var_i + eps), with mean and variance as in
    ``row_mean_var``. This is layer normalisation (day 22) without its weights. The eps keeps a row
    of equal elements at 0 instead of 0 / 0.

    Limits: one launch, no memory but the results', no spilled registers, and loads of 128 bits
    where rows are long and aligned.

    Args:
        x: (rows, columns), contiguous; float32, float16 or bfloat16. Either size may be 0; a row
            may be longer than any block, and its mean may be large against its deviation.
        eps: greater than 0; added to the variance, not to its root.

    Returns:
        A new contiguous tensor of x's shape and dtype, computed in float32 and rounded once.

    Example:
        normalize_rows([[1, 3], [2, 2]]) is [[-1, 1], [0, 0]], the ones up to eps.
    """
    # TODO: allocate the output and launch one program a row.
    # HINT: Is there anything to allocate besides the output?
    raise NotImplementedError("normalize_rows")


def test_row_mean_var_of_four_numbers() -> None:
    mean, var = row_mean_var(torch.tensor([[1.0, 2.0, 3.0, 6.0]], device=DEVICE))
    assert mean.tolist() == [3.0] and var.tolist() == [3.5]


def test_column_sum_of_two_rows() -> None:
    x = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], device=DEVICE)
    assert column_sum(x).tolist() == [5.0, 7.0, 9.0]


def test_row_norm_of_three_and_four() -> None:
    x = torch.tensor([[3.0, -4.0]], device=DEVICE)
    norms = [row_norm(x, p).item() for p in (1, 2, float("inf"))]
    assert norms == [7.0, 5.0, 4.0]


def test_normalize_rows_of_two_numbers() -> None:
    x = torch.tensor([[1.0, 3.0], [2.0, 2.0]], device=DEVICE)
    expected = torch.tensor([[-1.0, 1.0], [0.0, 0.0]], device=DEVICE)
    torch.testing.assert_close(normalize_rows(x), expected)


if __name__ == "__main__":
    from harness import main

    main(__file__)
