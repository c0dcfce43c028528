"""Day 15: Matrices in memory
==========================
Estimated time: 1-2 hours
Prerequisites: Day 7 (memory coalescing), Day 11 (row and column statistics)
Lesson: lessons/day15.md

Learning objectives:
- Read a matrix by its two strides, whatever view it is, and keep the loads wide
- Number tiles along one axis of the grid, and find a tile's row and column again
- Turn a tile by its addresses alone
- Multiply matrix and vector at the speed of memory, from either side
- Count how often each element of a matrix is used, and see why one use is too few

A program walks over some rows of a and meets each element once. It multiplies it by an element of x
and adds the product to a tile of sums, whose lanes are added up when the walk is over:

    matvec: out = a x                         vecmat: out = x a

       BLOCK   BLOCK                            TILE_COLUMNS
    +-------+-------+--                       +------+------+--
    | ----> | ----> | -     one sum a         |  |   |  |   |    chunk 0:
    | ----> | ----> | -     row: out          |  v   |  v   |    partial row 0
    +-------+-------+--                       +------+------+--
    |       |       |       the next          |  |   |  |   |    chunk 1:
    |       |       |       program's         |  v   |  v   |    partial row 1

Hints:
- What a matrix is to a kernel: the address of its first element, two sizes and two strides.
- The compiler knows when a stride is 1. Which axis of a transposed view is that?
- Padding must add nothing to a sum of products: choose it for both factors.
Resources:
- NumPy, The N-dimensional array, internal memory layout: https://numpy.org/doc/stable/reference/arrays.ndarray.html#internal-memory-layout-of-an-ndarray
- PyTorch, Tensor views: https://docs.pytorch.org/docs/stable/tensor_view.html
- Williams, Waterman and Patterson, Roofline: https://doi.org/10.1145/1498765.1498785
- PyTorch, torch.mv: https://docs.pytorch.org/docs/stable/generated/torch.mv.html
"""

import torch
import triton
import triton.language as tl

from tracks.triton import day11

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
TILE = 64
# vecmat shares its work out as day 11's column_sum does.
TILE_ROWS, TILE_COLUMNS, WARPS = day11.TILE_ROWS, day11.TILE_COLUMNS, day11.WARPS


def _tile(columns: int) -> tuple[int, int]:
    """Rows and columns of a tile of 8192 elements: at most 1024 columns, rows to fill the tile."""
    block = min(triton.next_power_of_2(max(columns, 1)), 1024)
    return 8192 // block, block


@triton.jit
def matrix_add_kernel(
    a_ptr,
    b_ptr,
    out_ptr,
    a_row_stride,
    a_column_stride,
    b_row_stride,
    b_column_stride,
    rows,
    columns,
    TILE: tl.constexpr,
):
    """Program i adds tile i; tiles are numbered along the rows of tiles. out is contiguous."""
    # TODO: find the tile's place, load it from a and from b by their own strides, add, store.
    # HINT: With 3 tiles side by side, in which row and which column of tiles is tile 7?
    pass


def matrix_add(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Return ``a + b`` for two matrices of any strides, in one launch, without copying them first.

    Triton gives each load and store the order of lanes that suits its addresses, and moves numbers
    between lanes where two orders meet. So an operand that lies by columns is read as fast as one
    that lies by rows, if the tile is long enough both ways.

    Limits: one launch of one program for each TILE x TILE tile, with a grid of one axis (the second
    ends at 65,535); no memory but the result's; no spilled registers; and loads and stores of 128
    bits where the rows or the columns of an operand are contiguous and aligned.

    Args:
        a: (rows, columns) of any strides, 0 among them; float32, float16, bfloat16 or an integer
            dtype. Either size may be 0.
        b: a's shape and dtype, strides of its own.

    Returns:
        A new contiguous tensor of a's shape and dtype.

    Example:
        matrix_add([[1, 2], [3, 4]], [[10, 20], [30, 40]].T) is [[11, 32], [23, 44]].
    """
    # TODO: allocate a contiguous output and launch one program a tile.
    # HINT: How many tiles cover 65 x 129 elements?
    raise NotImplementedError("matrix_add")


@triton.jit
def transpose_tiles_kernel(
    a_ptr, out_ptr, a_row_stride, a_column_stride, rows, columns, TILE: tl.constexpr
):
    """Program i writes tile i of a, turned; tiles are numbered along the rows of tiles of a."""
    # TODO: load a tile by a's strides, store element (r, c) where out's element (c, r) lies.
    # HINT: out is contiguous and has as many columns as a has rows. Where does (c, r) lie?
    pass


def transpose_tiles(a: torch.Tensor) -> torch.Tensor:
    """Return the transposed matrix, laid out anew, in one launch; a may be any view.

    Day 7 turned a contiguous matrix with tl.trans. Here a may lie in any way: of a matrix that lies
    by columns the result is a plain copy, and the same kernel makes it.

    Limits: as for ``matrix_add``.

    Args:
        a: (rows, columns) of any strides, any dtype; either size may be 0.

    Returns:
        A new contiguous (columns, rows) tensor: out[j, i] = a[i, j].

    Example:
        transpose_tiles([[1, 2, 3]]) is [[1], [2], [3]].
    """
    # TODO: allocate the output with its own shape and launch one program a tile of a.
    # HINT: Does a tile of a have a partner among the tiles of the output?
    raise NotImplementedError("transpose_tiles")


@triton.jit
def matvec_kernel(
    a_ptr,
    x_ptr,
    out_ptr,
    a_row_stride,
    a_column_stride,
    x_stride,
    rows,
    columns,
    ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Program i: the elements i * ROWS up to (i + 1) * ROWS of out, BLOCK columns at a time."""
    # TODO: walk along ROWS rows of a and along x together; keep sums in float32; store one a row.
    # HINT: Every element of the tile can keep a sum of its own. When do the columns have to meet?
    pass


def matvec(a: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Matrix times vector in one launch: out[i] = a[i, 0] * x[0] + a[i, 1] * x[1] + ...

    Each element of a is used once, for one multiplication and one addition: memory sets the pace.
    A program takes several rows, so that x, which every row needs, is loaded less often.

    Limits: one launch, of one program for as many rows as ``_tile`` says; no memory but the
    result's; no spilled registers, and loads of 128 bits where rows are contiguous and aligned.

    Args:
        a: (rows, columns) of any strides; float32, float16 or bfloat16. Either size may be 0.
        x: (columns,) of any stride and a's dtype.

    Returns:
        A tensor of shape (rows,) and a's dtype: products and sums in float32, rounded once at the
        end. 0 where there are no columns.

    Raises:
        ValueError: x does not have as many elements as a has columns.

    Example:
        matvec([[1, 2], [3, 4]], [10, 1]) is [12, 34].
    """
    # TODO: refuse an x of another length, allocate the result, launch.
    # HINT: What would the kernel read if x were shorter than a row?
    raise NotImplementedError("matvec")


@triton.jit
def vecmat_kernel(
    x_ptr,
    a_ptr,
    partial_ptr,
    x_stride,
    a_row_stride,
    a_column_stride,
    rows,
    columns,
    TILE_ROWS: tl.constexpr,
    TILE_COLUMNS: tl.constexpr,
):
    """Program (i, j): chunk i's part of column tile j, into row i of partial (chunks, columns).

    Chunk i consists of the row tiles i, i + chunks, i + 2 * chunks, ...
    """
    # TODO: walk down the chunk by tiles, add up x[row] * a[row, column], store one partial row.
    # HINT: This is day 11's column_sum_kernel, with a weight for every row.
    pass


def vecmat(x: torch.Tensor, a: torch.Tensor) -> torch.Tensor:
    """Vector times matrix: out[j] = x[0] * a[0, j] + x[1] * a[1, j] + ...

    A sum of columns with weights, and shared out like day 11's: several programs, one a chunk of
    rows, work on a column tile and leave partial rows, which day 11's ``column_sum_finish_kernel``
    adds up. No atomics: the same inputs give the same bits each time.

    Limits: at most two launches: one program for each of ``day11._chunks(rows, columns)`` chunks
    and each tile of TILE_COLUMNS columns, then one for each ``day11._finish_columns(chunks)``
    columns; no memory but the result's and one float32 row a chunk; no spilled registers, and loads
    of 128 bits in the first launch where rows are contiguous and aligned.

    Args:
        x: (rows,) of any stride; float32, float16 or bfloat16.
        a: (rows, columns) of any strides and x's dtype. Either size may be 0; columns end at
            8,388,480, for the second axis of a grid ends at 65,535 tiles.

    Returns:
        A tensor of shape (columns,) and a's dtype: products and sums in float32, rounded once at
        the end. 0 where there are no rows.

    Raises:
        ValueError: x does not have as many elements as a has rows.

    Example:
        vecmat([10, 1], [[1, 2], [3, 4]]) is [13, 24].
    """
    # TODO: refuse an x of another length; allocate partial rows and result; launch both stages.
    # HINT: How did day 11's column_sum launch its two kernels?
    raise NotImplementedError("vecmat")


@triton.jit
def batched_matvec_kernel(
    a_ptr,
    x_ptr,
    out_ptr,
    a_batch_stride,
    a_row_stride,
    a_column_stride,
    x_batch_stride,
    x_stride,
    rows,
    columns,
    ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Program i: row tile i % tiles of matrix i // tiles, where tiles = cdiv(rows, ROWS)."""
    # TODO: find the matrix, its vector and its row tile; then do as matvec_kernel does.
    # HINT: What has to be added to the three pointers to reach the matrix of number batch?
    pass


def batched_matvec(a: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Many matrices times many vectors in one launch: out[b] = a[b] x[b].

    A batch of one, of matrices or of vectors, serves the whole batch of the other: it is a view
    with the batch stride 0, not a copy. (A single matrix for many vectors is read anew for each of
    them. That is what matrix multiplication, tomorrow, does better.)

    Limits: as for ``matvec``, with a grid of one axis.

    Args:
        a: (batch, rows, columns) or (1, rows, columns), of any strides; float32, float16 or
            bfloat16. Any size may be 0.
        x: (batch, columns) or (1, columns), of any strides and a's dtype.

    Returns:
        A new contiguous (batch, rows) tensor of a's dtype, computed as in ``matvec``.

    Raises:
        ValueError: the rows of x do not have as many elements as a has columns.

    Example:
        batched_matvec([[[1, 2]], [[3, 4]]], [[10, 1]]) is [[12], [34]].
    """
    # TODO: refuse an x of another length; give both the same batch; allocate, launch.
    # HINT: Which batch do 1 matrix and 5 vectors make, and 1 matrix and 0 vectors?
    raise NotImplementedError("batched_matvec")


def test_matrix_add_of_a_transposed_view() -> None:
    a = torch.tensor([[1.0, 2.0], [3.0, 4.0]], device=DEVICE)
    b = torch.tensor([[10.0, 20.0], [30.0, 40.0]], device=DEVICE)
    assert matrix_add(a, b.T).tolist() == [[11.0, 32.0], [23.0, 44.0]]


def test_transpose_of_a_slice() -> None:
    a = torch.arange(12.0, device=DEVICE).reshape(3, 4)[:, ::2]
    assert transpose_tiles(a).tolist() == [[0.0, 4.0, 8.0], [2.0, 6.0, 10.0]]


def test_matvec_and_vecmat_of_two_rows() -> None:
    a = torch.tensor([[1.0, 2.0], [3.0, 4.0]], device=DEVICE)
    x = torch.tensor([10.0, 1.0], device=DEVICE)
    assert matvec(a, x).tolist() == [12.0, 34.0]
    assert vecmat(x, a).tolist() == [13.0, 24.0]


def test_two_matrices_and_one_vector() -> None:
    a = torch.tensor([[[1.0, 2.0]], [[3.0, 4.0]]], device=DEVICE)
    x = torch.tensor([[10.0, 1.0]], device=DEVICE)
    assert batched_matvec(a, x).tolist() == [[12.0], [34.0]]


if __name__ == "__main__":
    from harness import main

    main(__file__)
