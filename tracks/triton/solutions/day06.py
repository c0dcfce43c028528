"""Day 6: Multi-dimensional grids
==============================
Estimated time: 1-2 hours
Prerequisites: Day 5 (block programming)
Lesson: lessons/day06.md

Learning objectives:
- Build a two-dimensional block of offsets from a block of rows and a block of columns
- Read matrices of any strides: transposed, sliced, expanded
- Launch grids with two and three axes, and know how long each axis may be
- Broadcast: load a row or a column once and let the block stretch it

A tile is a block with two axes. Element (i, j) of any tensor, a view or not, lies at
i * row_stride + j * column_stride, which may exceed int32 in all of today's exercises: a view of a
few elements can reach that far. Compute offsets in int64. A (5, 6) matrix in tiles of 2 x 4 takes a
(3, 2) grid:

               columns 0-3    columns 4-7
    rows 0-1   program 0,0    program 0,1    the right tiles stick out by
    rows 2-3   program 1,0    program 1,1    two columns, the lower ones by
    rows 4-5   program 2,0    program 2,1    one row: a mask for each axis

Hints:
- Think in shapes: row[:, None] is (TILE_ROWS, 1), column[None, :] is (1, TILE_COLUMNS).
- Every tensor has strides of its own: the inputs may be views, the output is new.
- Which elements of the tile exist? The mask is a tile too.
Resources:
- PyTorch, torch.Tensor.stride: https://docs.pytorch.org/docs/stable/generated/torch.Tensor.stride.html
- NumPy, Broadcasting: https://numpy.org/doc/stable/user/basics.broadcasting.html
- Triton language reference, tl.program_id: https://triton-lang.org/main/python-api/generated/triton.language.program_id.html
"""

import torch
import triton
import triton.language as tl

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
TILE_ROWS, TILE_COLUMNS = 32, 64


@triton.jit
def add_2d_kernel(
    x_ptr,
    y_ptr,
    out_ptr,
    x_row_stride,
    x_column_stride,
    y_row_stride,
    y_column_stride,
    rows,
    columns,
    TILE_ROWS: tl.constexpr,
    TILE_COLUMNS: tl.constexpr,
):
    """Program (i, j) adds the tile that is i-th from the top and j-th from the left."""
    # TODO: add one tile of x and y, each read by its own strides; out is contiguous.
    # HINT: Which rows and which columns does program (i, j) own?
    ### BEGIN SOLUTION
    # HINT: row = tl.program_id(0) * TILE_ROWS + tl.arange(0, TILE_ROWS); columns use axis 1.
    # HINT: x's offsets are row[:, None] * x_row_stride + column[None, :] * x_column_stride.
    # HINT: Indices in int64 keep row * stride right beyond 2**31 elements.
    row = tl.program_id(0).to(tl.int64) * TILE_ROWS + tl.arange(0, TILE_ROWS)[:, None]
    column = tl.program_id(1).to(tl.int64) * TILE_COLUMNS + tl.arange(0, TILE_COLUMNS)[None, :]
    mask = (row < rows) & (column < columns)
    x = tl.load(x_ptr + row * x_row_stride + column * x_column_stride, mask=mask)
    y = tl.load(y_ptr + row * y_row_stride + column * y_column_stride, mask=mask)
    tl.store(out_ptr + row * columns + column, x + y, mask=mask)
    ### END SOLUTION


def add_2d(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Return ``x + y`` for two matrices of any strides, in one launch, without copying them first.

    The grid is (row tiles, column tiles), with tiles of TILE_ROWS x TILE_COLUMNS elements. No
    memory is allocated but the result's.

    Args:
        x: (rows, columns) of any strides; a floating or integer dtype. Either size may be 0.
        y: x's shape and dtype, strides of its own.

    Returns:
        A new contiguous tensor of x's shape and dtype.

    Example:
        add_2d([[1, 2], [3, 4]], [[10, 20], [30, 40]].T) is [[11, 32], [23, 44]].
    """
    # TODO: allocate a contiguous output and launch one program a tile.
    # HINT: What are the strides of torch.empty_like(x) if x is transposed?
    ### BEGIN SOLUTION
    # HINT: torch.empty(x.shape, ...) is contiguous; x.stride() gives both strides of x.
    # HINT: grid = (triton.cdiv(rows, TILE_ROWS), triton.cdiv(columns, TILE_COLUMNS)).
    rows, columns = x.shape
    out = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    grid = (triton.cdiv(rows, TILE_ROWS), triton.cdiv(columns, TILE_COLUMNS))
    add_2d_kernel[grid](
        x,
        y,
        out,
        *x.stride(),
        *y.stride(),
        rows,
        columns,
        TILE_ROWS=TILE_ROWS,
        TILE_COLUMNS=TILE_COLUMNS,
    )
    return out
    ### END SOLUTION


@triton.jit
def broadcast_add_kernel(
    x_ptr,
    row_ptr,
    out_ptr,
    x_row_stride,
    x_column_stride,
    row_stride,
    rows,
    columns,
    TILE_ROWS: tl.constexpr,
    TILE_COLUMNS: tl.constexpr,
):
    """Program (i, j) adds a piece of the row vector to each row of its tile of x."""
    # TODO: add row[j] to every element of column j of the tile.
    # HINT: How many different elements of the row vector does one tile need?
    ### BEGIN SOLUTION
    # HINT: Load the piece once, as a (1, TILE_COLUMNS) block with a mask of its own.
    # HINT: (TILE_ROWS, TILE_COLUMNS) + (1, TILE_COLUMNS): the short axis is stretched by itself.
    row = tl.program_id(0).to(tl.int64) * TILE_ROWS + tl.arange(0, TILE_ROWS)[:, None]
    column = tl.program_id(1).to(tl.int64) * TILE_COLUMNS + tl.arange(0, TILE_COLUMNS)[None, :]
    mask = (row < rows) & (column < columns)
    x = tl.load(x_ptr + row * x_row_stride + column * x_column_stride, mask=mask)
    y = tl.load(row_ptr + column * row_stride, mask=column < columns)
    tl.store(out_ptr + row * columns + column, x + y, mask=mask)
    ### END SOLUTION


def broadcast_add(x: torch.Tensor, row: torch.Tensor) -> torch.Tensor:
    """Add the vector ``row`` to each row of the matrix ``x``, in one launch.

    out[i, j] = x[i, j] + row[j]; the grid is as in ``add_2d``, and no memory is allocated but the
    result's.

    Args:
        x: (rows, columns) of any strides; a floating or integer dtype. Either size may be 0.
        row: (columns,) of any stride and x's dtype; it is not copied to a matrix first.

    Returns:
        A new contiguous tensor of x's shape and dtype.

    Example:
        broadcast_add([[1, 2], [3, 4]], [10, 20]) is [[11, 22], [13, 24]].
    """
    # TODO: allocate a contiguous output and launch one program a tile.
    # HINT: A vector has one stride. Is it always 1?
    ### BEGIN SOLUTION
    # HINT: The stride of v[::2] is (2,): pass *row.stride(). The rest is the launch of add_2d.
    rows, columns = x.shape
    out = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    grid = (triton.cdiv(rows, TILE_ROWS), triton.cdiv(columns, TILE_COLUMNS))
    broadcast_add_kernel[grid](
        x,
        row,
        out,
        *x.stride(),
        *row.stride(),
        rows,
        columns,
        TILE_ROWS=TILE_ROWS,
        TILE_COLUMNS=TILE_COLUMNS,
    )
    return out
    ### END SOLUTION


@triton.jit
def scale_3d_kernel(
    x_ptr,
    s_ptr,
    out_ptr,
    x_depth_stride,
    x_row_stride,
    x_column_stride,
    s_stride,
    rows,
    columns,
    TILE_ROWS: tl.constexpr,
    TILE_COLUMNS: tl.constexpr,
):
    """Program (d, i, j) multiplies tile (i, j) of matrix d by s[d]."""
    # TODO: load the matrix's factor and scale one tile of that matrix.
    # HINT: Where does matrix d begin in x, and where in the contiguous output?
    ### BEGIN SOLUTION
    # HINT: In out, matrix d begins at d * rows * columns; in x, at d * x_depth_stride.
    # HINT: tl.load(s_ptr + d * s_stride) is a single number, which multiplies the whole tile.
    matrix = tl.program_id(0).to(tl.int64)
    row = tl.program_id(1).to(tl.int64) * TILE_ROWS + tl.arange(0, TILE_ROWS)[:, None]
    column = tl.program_id(2).to(tl.int64) * TILE_COLUMNS + tl.arange(0, TILE_COLUMNS)[None, :]
    mask = (row < rows) & (column < columns)
    x_offsets = matrix * x_depth_stride + row * x_row_stride + column * x_column_stride
    x = tl.load(x_ptr + x_offsets, mask=mask)
    s = tl.load(s_ptr + matrix * s_stride)
    tl.store(out_ptr + (matrix * rows + row) * columns + column, x * s, mask=mask)
    ### END SOLUTION


def scale_3d(x: torch.Tensor, s: torch.Tensor) -> torch.Tensor:
    """Multiply each matrix of a batch by a factor of its own, in one launch on a 3-D grid.

    out[d, i, j] = s[d] * x[d, i, j]; the grid is (depth, row tiles, column tiles). The longest
    batches go on the grid's first axis, the only one that may exceed 65,535. No memory is allocated
    but the result's.

    Args:
        x: (depth, rows, columns) of any strides; a floating or integer dtype. Any size may be 0.
        s: (depth,) of any stride and x's dtype.

    Returns:
        A new contiguous tensor of x's shape and dtype.

    Example:
        scale_3d([[[1, 2]], [[3, 4]]], [10, 100]) is [[[10, 20]], [[300, 400]]].
    """
    # TODO: allocate a contiguous output and launch a grid with three axes.
    # HINT: Which axis of the grid is tl.program_id(2)?
    ### BEGIN SOLUTION
    # HINT: x.stride() has three numbers now; the output needs none, its sizes say it all.
    depth, rows, columns = x.shape
    out = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    grid = (depth, triton.cdiv(rows, TILE_ROWS), triton.cdiv(columns, TILE_COLUMNS))
    scale_3d_kernel[grid](
        x,
        s,
        out,
        *x.stride(),
        *s.stride(),
        rows,
        columns,
        TILE_ROWS=TILE_ROWS,
        TILE_COLUMNS=TILE_COLUMNS,
    )
    return out
    ### END SOLUTION


@triton.jit
def outer_kernel(
    x_ptr,
    y_ptr,
    out_ptr,
    x_stride,
    y_stride,
    rows,
    columns,
    TILE_ROWS: tl.constexpr,
    TILE_COLUMNS: tl.constexpr,
):
    """Program (i, j) computes one tile of the outer product from two pieces of vectors."""
    # TODO: load a piece of x and a piece of y, multiply them to a tile, store it.
    # HINT: Which of the two pieces lies along the rows of the tile?
    ### BEGIN SOLUTION
    # HINT: (TILE_ROWS, 1) * (1, TILE_COLUMNS) is (TILE_ROWS, TILE_COLUMNS).
    # HINT: Each load has its own mask; the store has both, joined with &.
    row = tl.program_id(0).to(tl.int64) * TILE_ROWS + tl.arange(0, TILE_ROWS)[:, None]
    column = tl.program_id(1).to(tl.int64) * TILE_COLUMNS + tl.arange(0, TILE_COLUMNS)[None, :]
    x = tl.load(x_ptr + row * x_stride, mask=row < rows)
    y = tl.load(y_ptr + column * y_stride, mask=column < columns)
    mask = (row < rows) & (column < columns)
    tl.store(out_ptr + row * columns + column, x * y, mask=mask)
    ### END SOLUTION


def outer(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Outer product of two vectors, in one launch: out[i, j] = x[i] * y[j].

    Each program loads TILE_ROWS + TILE_COLUMNS numbers and stores their product, the whole tile.
    The grid is (row tiles, column tiles) of the output, and no memory is allocated but its own.

    Args:
        x: (rows,) of any stride; a floating or integer dtype; the size may be 0.
        y: (columns,) of any stride and x's dtype; the size may be 0.

    Returns:
        A new contiguous tensor of shape (rows, columns) and x's dtype.

    Example:
        outer([1, 2, 3], [10, 20]) is [[10, 20], [20, 40], [30, 60]].
    """
    # TODO: allocate the output with its two sizes and launch one program a tile of it.
    # HINT: Which of the vectors gives the number of rows?
    ### BEGIN SOLUTION
    # HINT: rows, columns = x.numel(), y.numel(); pass *x.stride() and *y.stride().
    rows, columns = x.numel(), y.numel()
    out = torch.empty((rows, columns), dtype=x.dtype, device=x.device)
    grid = (triton.cdiv(rows, TILE_ROWS), triton.cdiv(columns, TILE_COLUMNS))
    outer_kernel[grid](
        x,
        y,
        out,
        *x.stride(),
        *y.stride(),
        rows,
        columns,
        TILE_ROWS=TILE_ROWS,
        TILE_COLUMNS=TILE_COLUMNS,
    )
    return out
    ### END SOLUTION


@triton.jit
def crop_kernel(
    x_ptr,
    out_ptr,
    x_row_stride,
    x_column_stride,
    top,
    left,
    h,
    w,
    TILE_ROWS: tl.constexpr,
    TILE_COLUMNS: tl.constexpr,
):
    """Program (i, j) copies tile (i, j) of the (h, w) window; its corner is x[top, left]."""
    # TODO: copy one tile of the window.
    # HINT: The tile's rows count from the window's top. Which row of x is the window's row 0?
    ### BEGIN SOLUTION
    # HINT: Load from (top + row, left + column), store to (row, column).
    # HINT: The mask keeps what lies in the window; that it lies in x, the launcher has checked.
    row = tl.program_id(0).to(tl.int64) * TILE_ROWS + tl.arange(0, TILE_ROWS)[:, None]
    column = tl.program_id(1).to(tl.int64) * TILE_COLUMNS + tl.arange(0, TILE_COLUMNS)[None, :]
    mask = (row < h) & (column < w)
    x_offsets = (top + row) * x_row_stride + (left + column) * x_column_stride
    tl.store(out_ptr + row * w + column, tl.load(x_ptr + x_offsets, mask=mask), mask=mask)
    ### END SOLUTION


def crop(x: torch.Tensor, top: int, left: int, h: int, w: int) -> torch.Tensor:
    """Copy the window of ``h`` rows and ``w`` columns whose upper left corner is x[top, left].

    out[i, j] = x[top + i, left + j], in one launch; the grid is (row tiles, column tiles) of the
    window, however large x is. No memory is allocated but the window's copy.

    Args:
        x: (rows, columns) of any strides and dtype.
        top, left: the window's corner, counted from 0; negative indices do not count from the end.
        h, w: the window's size; either may be 0.

    Returns:
        A new contiguous tensor of shape (h, w) and x's dtype.

    Raises:
        ValueError: a size is negative, or the window does not lie within x.

    Example:
        crop([[1, 2, 3], [4, 5, 6]], 0, 1, 2, 2) is [[2, 3], [5, 6]].
    """
    # TODO: refuse windows that leave x, allocate the output, launch one program a tile.
    # HINT: Which inequalities must top and h satisfy together? An empty window may lie at the end.
    ### BEGIN SOLUTION
    # HINT: 0 <= top <= top + h <= rows says all of it for the rows.
    rows, columns = x.shape
    if not (0 <= top <= top + h <= rows and 0 <= left <= left + w <= columns):
        raise ValueError(
            f"a window of {h} x {w} at ({top}, {left}) does not lie within {rows} x {columns}"
        )
    out = torch.empty((h, w), dtype=x.dtype, device=x.device)
    grid = (triton.cdiv(h, TILE_ROWS), triton.cdiv(w, TILE_COLUMNS))
    crop_kernel[grid](
        x, out, *x.stride(), top, left, h, w, TILE_ROWS=TILE_ROWS, TILE_COLUMNS=TILE_COLUMNS
    )
    return out
    ### END SOLUTION


def test_add_2d_of_a_transposed_view() -> None:
    x = torch.tensor([[1, 2], [3, 4]], device=DEVICE)
    y = torch.tensor([[10, 20], [30, 40]], device=DEVICE).T
    assert add_2d(x, y).tolist() == [[11, 32], [23, 44]]


def test_broadcast_add_to_each_row() -> None:
    x = torch.arange(200.0, device=DEVICE).reshape(40, 5)
    row = torch.arange(5.0, device=DEVICE)
    assert torch.equal(broadcast_add(x, row), x + row)


def test_scale_3d_with_a_factor_for_each_matrix() -> None:
    x = torch.ones(3, 2, 70, device=DEVICE)
    s = torch.tensor([1.0, 2.0, 3.0], device=DEVICE)
    assert torch.equal(scale_3d(x, s), x * s[:, None, None])


def test_outer_product() -> None:
    x = torch.tensor([1, 2, 3], device=DEVICE)
    y = torch.tensor([10, 20], device=DEVICE)
    assert outer(x, y).tolist() == [[10, 20], [20, 40], [30, 60]]


def test_crop_of_a_window() -> None:
    x = torch.arange(12, device=DEVICE).reshape(3, 4)
    assert crop(x, 1, 1, 2, 3).tolist() == [[5, 6, 7], [9, 10, 11]]
    assert crop(x, 3, 4, 0, 0).shape == (0, 0)


if __name__ == "__main__":
    from harness import main

    main(__file__)
