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
    ### BEGIN SOLUTION
    # HINT: tile // column_tiles and tile % column_tiles; column_tiles is tl.cdiv(columns, TILE).
    # HINT: Rows and columns in int64: a view of few elements can reach beyond 2**31.
    tile = tl.program_id(0)
    column_tiles = tl.cdiv(columns, TILE)
    row = (tile // column_tiles).to(tl.int64) * TILE + tl.arange(0, TILE)[:, None]
    column = (tile % column_tiles).to(tl.int64) * TILE + tl.arange(0, TILE)[None, :]
    mask = (row < rows) & (column < columns)
    a = tl.load(a_ptr + row * a_row_stride + column * a_column_stride, mask=mask, other=0)
    b = tl.load(b_ptr + row * b_row_stride + column * b_column_stride, mask=mask, other=0)
    tl.store(out_ptr + row * columns + column, a + b, mask=mask)
    ### END SOLUTION


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
    ### BEGIN SOLUTION
    # HINT: torch.empty(a.shape, ...) is contiguous, torch.empty_like(a) need not be.
    # HINT: The grid is (cdiv(rows, TILE) * cdiv(columns, TILE),); a.stride() has two numbers.
    rows, columns = a.shape
    out = torch.empty(a.shape, dtype=a.dtype, device=a.device)
    tiles = triton.cdiv(rows, TILE) * triton.cdiv(columns, TILE)
    matrix_add_kernel[(tiles,)](a, b, out, *a.stride(), *b.stride(), rows, columns, TILE=TILE)
    return out
    ### END SOLUTION


@triton.jit
def transpose_tiles_kernel(
    a_ptr, out_ptr, a_row_stride, a_column_stride, rows, columns, TILE: tl.constexpr
):
    """Program i writes tile i of a, turned; tiles are numbered along the rows of tiles of a."""
    # TODO: load a tile by a's strides, store element (r, c) where out's element (c, r) lies.
    # HINT: out is contiguous and has as many columns as a has rows. Where does (c, r) lie?
    ### BEGIN SOLUTION
    # HINT: At c * rows + r. The same tile and the same mask serve both: only addresses differ.
    # HINT: tl.store(out_ptr + column * rows + row, tile, mask=mask), with row as [:, None].
    tile = tl.program_id(0)
    column_tiles = tl.cdiv(columns, TILE)
    row = (tile // column_tiles).to(tl.int64) * TILE + tl.arange(0, TILE)[:, None]
    column = (tile % column_tiles).to(tl.int64) * TILE + tl.arange(0, TILE)[None, :]
    mask = (row < rows) & (column < columns)
    a = tl.load(a_ptr + row * a_row_stride + column * a_column_stride, mask=mask, other=0)
    tl.store(out_ptr + column * rows + row, a, mask=mask)
    ### END SOLUTION


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
    ### BEGIN SOLUTION
    # HINT: torch.empty((columns, rows), dtype=..., device=...).
    # HINT: The grid is that of matrix_add; the kernel gets *a.stride(), rows, columns.
    rows, columns = a.shape
    out = torch.empty((columns, rows), dtype=a.dtype, device=a.device)
    tiles = triton.cdiv(rows, TILE) * triton.cdiv(columns, TILE)
    transpose_tiles_kernel[(tiles,)](a, out, *a.stride(), rows, columns, TILE=TILE)
    return out
    ### END SOLUTION


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
    ### BEGIN SOLUTION
    # HINT: total is a tile of zeros; each step adds a * x[None, :], both widened before.
    # HINT: tl.sum(total, axis=1) after the loop is one number a row; mask the rows at the store.
    # HINT: column.to(tl.int64) before the multiplication by a stride.
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    total = tl.zeros((ROWS, BLOCK), tl.float32)
    for start in range(0, columns, BLOCK):
        column = (start + tl.arange(0, BLOCK)).to(tl.int64)
        mask = (row[:, None] < rows) & (column[None, :] < columns)
        a_tile = a_ptr + row[:, None] * a_row_stride + column[None, :] * a_column_stride
        a = tl.load(a_tile, mask=mask, other=0.0).to(tl.float32)
        x = tl.load(x_ptr + column * x_stride, mask=column < columns, other=0.0).to(tl.float32)
        total += a * x[None, :]
    tl.store(out_ptr + row, tl.sum(total, axis=1), mask=row < rows)
    ### END SOLUTION


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
    ### BEGIN SOLUTION
    # HINT: if len(x) != columns: raise ValueError(...).
    # HINT: tile_rows, block = _tile(columns); cdiv(rows, tile_rows) programs, num_warps=WARPS.
    rows, columns = a.shape
    if len(x) != columns:
        raise ValueError(f"a has {columns} columns, but x has {len(x)} elements")
    tile_rows, block = _tile(columns)
    out = torch.empty(rows, dtype=a.dtype, device=a.device)
    matvec_kernel[(triton.cdiv(rows, tile_rows),)](
        *(a, x, out),
        *(*a.stride(), *x.stride()),
        *(rows, columns),
        ROWS=tile_rows,
        BLOCK=block,
        num_warps=WARPS,
    )
    return out
    ### END SOLUTION


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
    ### BEGIN SOLUTION
    # HINT: Row tiles start at range(chunk * TILE_ROWS, rows, chunks * TILE_ROWS), where chunks is
    #       tl.num_programs(0); partial row i begins at partial_ptr + i * columns.
    # HINT: x[:, None] * a, both in float32; tl.sum(total, axis=0) after the loop.
    chunk = tl.program_id(0)
    column = (tl.program_id(1) * TILE_COLUMNS + tl.arange(0, TILE_COLUMNS)).to(tl.int64)
    total = tl.zeros((TILE_ROWS, TILE_COLUMNS), tl.float32)
    for start in range(chunk * TILE_ROWS, rows, tl.num_programs(0) * TILE_ROWS):
        row = (start + tl.arange(0, TILE_ROWS)).to(tl.int64)
        mask = (row[:, None] < rows) & (column[None, :] < columns)
        a_tile = a_ptr + row[:, None] * a_row_stride + column[None, :] * a_column_stride
        a = tl.load(a_tile, mask=mask, other=0.0).to(tl.float32)
        x = tl.load(x_ptr + row * x_stride, mask=row < rows, other=0.0).to(tl.float32)
        total += x[:, None] * a
    partial = partial_ptr + chunk * columns + column
    tl.store(partial, tl.sum(total, axis=0), mask=column < columns)
    ### END SOLUTION


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
    ### BEGIN SOLUTION
    # HINT: partial is (chunks, columns) in float32; stage 1 has the grid (chunks, column tiles).
    # HINT: Stage 2 is day11.column_sum_finish_kernel[(cdiv(columns, finish),)](partial, out,
    #       chunks, columns, CHUNKS=a power of two that is at least chunks and 1, COLUMNS=finish).
    rows, columns = a.shape
    if len(x) != rows:
        raise ValueError(f"a has {rows} rows, but x has {len(x)} elements")
    chunks = day11._chunks(rows, columns)
    partial = torch.empty((chunks, columns), dtype=torch.float32, device=a.device)
    out = torch.empty(columns, dtype=a.dtype, device=a.device)
    vecmat_kernel[(chunks, triton.cdiv(columns, TILE_COLUMNS))](
        *(x, a, partial),
        *(*x.stride(), *a.stride()),
        *(rows, columns),
        TILE_ROWS=TILE_ROWS,
        TILE_COLUMNS=TILE_COLUMNS,
        num_warps=WARPS,
    )
    finish = day11._finish_columns(chunks)
    day11.column_sum_finish_kernel[(triton.cdiv(columns, finish),)](
        *(partial, out, chunks, columns),
        CHUNKS=triton.next_power_of_2(max(chunks, 1)),
        COLUMNS=finish,
        num_warps=WARPS,
    )
    return out
    ### END SOLUTION


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
    ### BEGIN SOLUTION
    # HINT: a_ptr + batch * a_batch_stride, x_ptr + batch * x_batch_stride, out_ptr + batch * rows.
    # HINT: batch in int64, as the rows: many small matrices also reach beyond 2**31 elements.
    tiles = tl.cdiv(rows, ROWS)
    batch = (tl.program_id(0) // tiles).to(tl.int64)
    row = (tl.program_id(0) % tiles).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    a_matrix = a_ptr + batch * a_batch_stride
    x_vector = x_ptr + batch * x_batch_stride
    total = tl.zeros((ROWS, BLOCK), tl.float32)
    for start in range(0, columns, BLOCK):
        column = (start + tl.arange(0, BLOCK)).to(tl.int64)
        mask = (row[:, None] < rows) & (column[None, :] < columns)
        a_tile = a_matrix + row[:, None] * a_row_stride + column[None, :] * a_column_stride
        a = tl.load(a_tile, mask=mask, other=0.0).to(tl.float32)
        x = tl.load(x_vector + column * x_stride, mask=column < columns, other=0.0).to(tl.float32)
        total += a * x[None, :]
    tl.store(out_ptr + batch * rows + row, tl.sum(total, axis=1), mask=row < rows)
    ### END SOLUTION


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
    ### BEGIN SOLUTION
    # HINT: torch.broadcast_shapes(a.shape[:1], x.shape[:1]) is plain arithmetic.
    # HINT: a.expand(batch, -1, -1) has the batch stride 0 where one matrix serves many vectors.
    rows, columns = a.shape[1:]
    if x.shape[1] != columns:
        raise ValueError(f"a has {columns} columns, but x has rows of {x.shape[1]} elements")
    (batch,) = torch.broadcast_shapes(a.shape[:1], x.shape[:1])
    a, x = a.expand(batch, -1, -1), x.expand(batch, -1)
    tile_rows, block = _tile(columns)
    out = torch.empty((batch, rows), dtype=a.dtype, device=a.device)
    batched_matvec_kernel[(batch * triton.cdiv(rows, tile_rows),)](
        *(a, x, out),
        *(*a.stride(), *x.stride()),
        *(rows, columns),
        ROWS=tile_rows,
        BLOCK=block,
        num_warps=WARPS,
    )
    return out
    ### END SOLUTION


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
