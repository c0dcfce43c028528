"""Day 4: Program ids and grids
============================
Estimated time: 1-2 hours
Prerequisites: Day 3 (masks)
Lesson: lessons/day04.md

Learning objectives:
- Let a program id mean whatever divides the work well: a block, a row, a tile
- Choose the grid in the launcher, with one axis and with two
- Load one number that a whole program shares
- Write a kernel that is right for any number of programs
- Turn one program id into the row and column of a tile

The grid is a number of programs, with one axis or several. What each of them owns is up to you:

    a program a row      a program a block of a row       always 3 programs
    grid (4,)            grid (4, 2)                      grid (3,)

    0 0 0 0              (0,0)(0,0) (0,1)(0,1)            block  0 1 2 3 4 5 6
    1 1 1 1              (1,0)(1,0) (1,1)(1,1)            owner  0 1 2 0 1 2 0
    2 2 2 2              (2,0)(2,0) (2,1)(2,1)
    3 3 3 3              (3,0)(3,0) (3,1)(3,1)

Hints:
- Decide what one program owns before you write a line; kernel and grid both follow from it.
- Every element must have exactly one owner. Check the last row, the last column, the last block.
- From today on you write the launches, too: the grid and the block size.
Resources:
- Triton language reference, tl.program_id: https://triton-lang.org/main/python-api/generated/triton.language.program_id.html
- Harris, CUDA Pro Tip, grid-stride loops: https://developer.nvidia.com/blog/cuda-pro-tip-write-flexible-kernels-grid-stride-loops/
- CUDA C++ Programming Guide, limits of a grid: https://docs.nvidia.com/cuda/cuda-c-programming-guide/#features-and-technical-specifications
"""

import torch
import triton
import triton.language as tl

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
BLOCK = 1024


@triton.jit
def row_scale_kernel(x_ptr, s_ptr, out_ptr, columns, BLOCK: tl.constexpr):
    """Program i: out_ptr[i, j] = s_ptr[i] * x_ptr[i, j] for all j < columns; columns <= BLOCK."""
    # TODO: load the one factor of row i and the row, multiply, store.
    # HINT: Element (i, j) of a contiguous matrix lies i * columns + j elements from its start.
    ### BEGIN SOLUTION
    # HINT: tl.load(s_ptr + row), with a single offset, gives a single number, without a mask.
    # HINT: The mask asks whether the column exists. Every program has a row of its own.
    row = tl.program_id(0)
    column = tl.arange(0, BLOCK)
    inside = column < columns
    x = tl.load(x_ptr + row * columns + column, mask=inside)
    s = tl.load(s_ptr + row)
    tl.store(out_ptr + row * columns + column, s * x, mask=inside)
    ### END SOLUTION


def row_scale(x: torch.Tensor, s: torch.Tensor) -> torch.Tensor:
    """Multiply every row of a matrix by its own factor, with one program a row.

    Args:
        x: (rows, columns), contiguous; float32, float16 or bfloat16; at most 16384 columns and
            fewer than 2**31 elements. Either size may be 0.
        s: (rows,), contiguous, x's dtype.

    Returns:
        A new contiguous tensor of x's shape and dtype: out[i, j] = s[i] * x[i, j].

    Example:
        row_scale([[1, 2], [3, 4]], [10, 100]) is [[10, 20], [300, 400]]; a (7, 500) matrix takes
        a grid of (7,) programs.
    """
    rows, columns = x.shape
    out = torch.empty_like(x)
    # TODO: launch one program a row, with a block that covers the row.
    # HINT: How many programs are there, and which power of two is not less than columns?
    ### BEGIN SOLUTION
    # HINT: triton.next_power_of_2(columns); it makes 0 of 0, and a block has at least 1 element.
    # HINT: row_scale_kernel[(rows,)](x, s, out, columns, BLOCK=...)
    block = triton.next_power_of_2(max(columns, 1))
    row_scale_kernel[(rows,)](x, s, out, columns, BLOCK=block)
    ### END SOLUTION
    return out


@triton.jit
def column_scale_kernel(x_ptr, s_ptr, out_ptr, columns, BLOCK: tl.constexpr):
    """Program (i, j): out_ptr[i, c] = s_ptr[c] * x_ptr[i, c] for row i and the j-th block of c."""
    # TODO: find the row and the block of columns of this program; load, multiply, store.
    # HINT: A grid with two axes gives each program two ids. What is each of them for?
    ### BEGIN SOLUTION
    # HINT: tl.program_id(0) is the row; tl.program_id(1) * BLOCK is where the columns begin.
    # HINT: s is addressed by the column alone, x and out by row * columns + column.
    row = tl.program_id(0)
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = column < columns
    x = tl.load(x_ptr + row * columns + column, mask=inside)
    s = tl.load(s_ptr + column, mask=inside)
    tl.store(out_ptr + row * columns + column, s * x, mask=inside)
    ### END SOLUTION


def column_scale(x: torch.Tensor, s: torch.Tensor) -> torch.Tensor:
    """Multiply every column of a matrix by its own factor, with one program a block of a row.

    The grid has two axes: (rows, blocks of 1024 columns in a row). The rows come first: the first
    axis of a grid may have 2**31 - 1 programs, the others only 65535.

    Args:
        x: (rows, columns), contiguous; float32, float16 or bfloat16; any number of columns, fewer
            than 2**31 elements. Either size may be 0.
        s: (columns,), contiguous, x's dtype.

    Returns:
        A new contiguous tensor of x's shape and dtype: out[i, c] = s[c] * x[i, c].

    Example:
        column_scale([[1, 2], [3, 4]], [10, 100]) is [[10, 200], [30, 400]]; a (3, 1500) matrix
        takes a grid of (3, 2) programs.
    """
    rows, columns = x.shape
    out = torch.empty_like(x)
    # TODO: launch the grid that the docstring describes.
    # HINT: How many blocks of 1024 does a row of 1500 take, and how many a row of 2048?
    ### BEGIN SOLUTION
    # HINT: triton.cdiv(columns, BLOCK) rounds up; the grid is a tuple of two numbers.
    # HINT: column_scale_kernel[(rows, blocks)](x, s, out, columns, BLOCK=BLOCK)
    grid = (rows, triton.cdiv(columns, BLOCK))
    column_scale_kernel[grid](x, s, out, columns, BLOCK=BLOCK)
    ### END SOLUTION
    return out


@triton.jit
def grid_stride_add_kernel(x_ptr, y_ptr, out_ptr, n, BLOCK: tl.constexpr):
    """Program i of p: adds the blocks i, i + p, i + 2p, ... of BLOCK elements, below n."""
    # TODO: loop over this program's blocks; in each, add BLOCK elements of x and y.
    # HINT: tl.num_programs(0) is p. Which block is this program's first, and which is its next?
    ### BEGIN SOLUTION
    # HINT: There are tl.cdiv(n, BLOCK) blocks. A program may have none: its loop runs zero times.
    # HINT: for block in range(first, blocks, step): ... offsets begin at block * BLOCK.
    for block in range(tl.program_id(0), tl.cdiv(n, BLOCK), tl.num_programs(0)):
        offsets = block * BLOCK + tl.arange(0, BLOCK)
        inside = offsets < n
        x = tl.load(x_ptr + offsets, mask=inside)
        y = tl.load(y_ptr + offsets, mask=inside)
        tl.store(out_ptr + offsets, x + y, mask=inside)
    ### END SOLUTION


def grid_stride_add(x: torch.Tensor, y: torch.Tensor, programs: int) -> torch.Tensor:
    """Return ``x + y``, computed by exactly ``programs`` programs, however long x is.

    Program i owns the blocks i, i + programs, i + 2 * programs, ... of 1024 elements each. Where
    there are more programs than blocks, some do nothing.

    Args:
        x: contiguous, any shape, fewer than 2**30 elements; a floating or integer dtype.
        y: contiguous, x's shape and dtype.
        programs: 1 or more.

    Returns:
        A new tensor of x's shape and dtype.

    Raises:
        ValueError: programs is less than 1.

    Example:
        3500 elements are 4 blocks: of 3 programs, program 0 owns blocks 0 and 3, the others one.
    """
    if programs < 1:
        raise ValueError(f"at least 1 program must run, not {programs}")
    out = torch.empty_like(x)
    n = x.numel()
    # TODO: launch as many programs as the caller asks for.
    # HINT: Does the grid depend on n?
    ### BEGIN SOLUTION
    # HINT: The grid is (programs,); the kernel learns its size from tl.num_programs(0).
    grid_stride_add_kernel[(programs,)](x, y, out, n, BLOCK=BLOCK)
    ### END SOLUTION
    return out


@triton.jit
def pid_map_kernel(out_ptr, m, n, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr):
    """Program p: writes p to every element of its tile; tiles are numbered row by row."""
    # TODO: find the tile of this program, then store the program's id all over it.
    # HINT: How many tiles lie side by side? Tile 0 begins at (0, 0). Where does tile 1 begin?
    ### BEGIN SOLUTION
    # HINT: With t tiles side by side, program p owns tile row p // t and tile column p % t.
    # HINT: row[:, None] * n + column[None, :] is a block of offsets with BLOCK_M x BLOCK_N lanes.
    # HINT: A tile may stick out below and on the right: (row[:, None] < m) & (column[None, :] < n).
    pid = tl.program_id(0)
    tiles_n = tl.cdiv(n, BLOCK_N)
    row = pid // tiles_n * BLOCK_M + tl.arange(0, BLOCK_M)
    column = pid % tiles_n * BLOCK_N + tl.arange(0, BLOCK_N)
    inside = (row[:, None] < m) & (column[None, :] < n)
    tl.store(out_ptr + row[:, None] * n + column[None, :], pid, mask=inside)
    ### END SOLUTION


def pid_map(m: int, n: int, block_m: int, block_n: int) -> torch.Tensor:
    """Return an (m, n) map of who owns which element, when a matrix is cut into tiles.

    Tiles have block_m rows and block_n columns; those at the lower and the right edge may be cut
    off. One program owns one tile. The grid has a single axis, and the tiles are numbered row by
    row: from left to right, then from top to bottom. Matrix multiplication divides its work so.

    A block gets two axes when two blocks of one axis are combined: a[:, None] is a column and
    b[None, :] a row, and a[:, None] + b[None, :] holds a[i] + b[j] in lane (i, j).

    Args:
        m, n: number of rows and columns, 0 or more; m * n is less than 2**31. No memory is
            allocated but the map's.
        block_m, block_n: powers of two, with block_m * block_n <= 16384.

    Returns:
        A new contiguous (m, n) int32 tensor on DEVICE: element (i, j) is the id of its program.

    Example:
        pid_map(3, 5, 2, 2) is [[0, 0, 1, 1, 2],
                                [0, 0, 1, 1, 2],
                                [3, 3, 4, 4, 5]], by a grid of (6,) programs.
    """
    out = torch.empty((m, n), dtype=torch.int32, device=DEVICE)
    # TODO: launch one program a tile, all of them along one axis.
    # HINT: How many tiles lie below each other, and how many side by side?
    ### BEGIN SOLUTION
    # HINT: The product of two rounded up divisions, as a tuple of one number.
    grid = (triton.cdiv(m, block_m) * triton.cdiv(n, block_n),)
    pid_map_kernel[grid](out, m, n, BLOCK_M=block_m, BLOCK_N=block_n)
    ### END SOLUTION
    return out


def test_row_scale() -> None:
    x = torch.tensor([[1.0, 2.0], [3.0, 4.0]], device=DEVICE)
    s = torch.tensor([10.0, 100.0], device=DEVICE)
    assert row_scale(x, s).tolist() == [[10.0, 20.0], [300.0, 400.0]]


def test_column_scale_with_two_blocks_a_row() -> None:
    x = torch.ones(3, 1500, device=DEVICE)
    s = torch.arange(1500.0, device=DEVICE)
    assert column_scale(x, s).tolist() == [[float(c) for c in range(1500)]] * 3


def test_grid_stride_add_does_not_depend_on_programs() -> None:
    x = torch.arange(3500.0, device=DEVICE)
    for programs in (1, 3, 9):
        assert grid_stride_add(x, x.flip(0), programs).tolist() == [3499.0] * 3500


def test_pid_map_of_six_tiles() -> None:
    expected = [[0, 0, 1, 1, 2], [0, 0, 1, 1, 2], [3, 3, 4, 4, 5]]
    assert pid_map(3, 5, 2, 2).tolist() == expected


if __name__ == "__main__":
    from harness import main

    main(__file__)
