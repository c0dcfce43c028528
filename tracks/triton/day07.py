"""Day 7: Memory coalescing
========================
Estimated time: 1-2 hours
Prerequisites: Day 6 (multi-dimensional grids)
Lesson: lessons/day07.md

Learning objectives:
- Say which bytes a warp's load moves, and which of these it uses
- Give neighbouring lanes neighbouring addresses, and see 128-bit loads come of it
- Walk a matrix by rows, by columns and by tiles, and know what each costs
- Transpose through a tile, so that both the load and the store run along rows

A matrix of float32 lies row after row in memory, and memory moves in sectors of 32 bytes,
8 elements each. Four lanes that load one element each:

    along a row                          down a column
    [0 1 2 3 . . . .]  1 sector          [0 . . . . . . .]  a sector
                                         [1 . . . . . . .]  a sector
    used: 16 of 32 bytes                 [2 . . . . . . .]  a sector
    (8 lanes use all of it)              [3 . . . . . . .]  a sector
                                         used: 16 of 128 bytes

Hints:
- All four kernels move the same bytes; only who moves which, and when, differs.
- Write the address of lane 0 and of lane 1 beside each other: how far apart are they?
- make xray TRACK=triton DAY=7 shows how wide your loads and stores are, without a GPU.
Resources:
- CUDA C++ Best Practices Guide, Coalesced Access to Global Memory: https://docs.nvidia.com/cuda/cuda-c-best-practices-guide/#coalesced-access-to-global-memory
- Harris, An Efficient Matrix Transpose in CUDA C/C++: https://developer.nvidia.com/blog/efficient-matrix-transpose-cuda-cc/
- Triton language reference, tl.trans: https://triton-lang.org/main/python-api/generated/triton.language.trans.html
"""

import torch
import triton
import triton.language as tl

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
BLOCK = 2048
TILE_ROWS, TILE_COLUMNS = 32, 128
TILE = 128


@triton.jit
def copy_by_rows_kernel(x_ptr, out_ptr, columns, BLOCK: tl.constexpr):
    """Program (i, j) copies row i, columns j * BLOCK up to (j + 1) * BLOCK."""
    # TODO: copy BLOCK neighbouring elements of one row.
    # HINT: Element (i, j) lies at i * columns + j. How far is it from (i, j + 1)?
    pass


def copy_by_rows(x: torch.Tensor) -> torch.Tensor:
    """Copy a matrix in one launch; each program moves up to BLOCK elements of one row.

    The lanes of a warp touch neighbouring addresses: where the addresses allow it (a number of
    columns that is a multiple of 16), the compiler joins them to loads of 128 bits a lane.

    Limits: no memory but the result's, no spilled registers, and loads and stores of 128 bits
    where there are 4096 columns.

    Args:
        x: (rows, columns), contiguous, any dtype; either size may be 0, and there may be more than
            2**31 elements.

    Returns:
        A new contiguous tensor equal to x.

    Example:
        A (3, 3000) matrix takes a grid of (3, 2) programs: 2 blocks of 2048 cover a row.
    """
    # TODO: allocate the output and launch a grid of (rows, blocks in a row) programs.
    # HINT: How many blocks does a row of 2049 elements take?
    raise NotImplementedError("copy_by_rows")


@triton.jit
def copy_by_columns_kernel(x_ptr, out_ptr, rows, columns, BLOCK: tl.constexpr):
    """Program (i, j) copies column i, rows j * BLOCK up to (j + 1) * BLOCK."""
    # TODO: copy BLOCK elements that lie below each other in one column.
    # HINT: Element (i, j) lies at i * columns + j. How far is it from (i + 1, j)?
    pass


def copy_by_columns(x: torch.Tensor) -> torch.Tensor:
    """Copy a matrix in one launch; each program moves up to BLOCK elements of one column.

    This is the slow way, written to be measured: the lanes of a warp touch addresses that lie a
    whole row apart, so nothing can be joined, and each lane needs a sector of its own.

    Limits: no memory but the result's, no spilled registers, and of float32 numbers no lane loads
    or stores more than 32 bits at once.

    Args:
        x: (rows, columns), contiguous, any dtype; either size may be 0, and there may be more than
            2**31 elements.

    Returns:
        A new contiguous tensor equal to x.

    Example:
        A (3000, 3) matrix takes a grid of (3, 2) programs: 2 blocks of 2048 cover a column.
    """
    # TODO: allocate the output and launch a grid of (columns, blocks in a column) programs.
    # HINT: Which of the two sizes do the blocks divide now?
    raise NotImplementedError("copy_by_columns")


@triton.jit
def copy_by_tiles_kernel(
    x_ptr, out_ptr, rows, columns, TILE_ROWS: tl.constexpr, TILE_COLUMNS: tl.constexpr
):
    """Program (i, j) copies the tile that is i-th from the top and j-th from the left."""
    # TODO: copy one tile.
    # HINT: Which block varies along axis 0 of the tile, and which along axis 1?
    pass


def copy_by_tiles(x: torch.Tensor) -> torch.Tensor:
    """Copy a matrix in one launch; each program moves a tile of TILE_ROWS x TILE_COLUMNS elements.

    Each row of a tile is a run of 128 neighbouring elements, long enough to fill its sectors: a
    tile is as good as a row, and it is the shape that matrix kernels need.

    Limits: no memory but the result's, no spilled registers, and loads and stores of 128 bits
    where there are 256 columns.

    Args:
        x: (rows, columns), contiguous, any dtype; either size may be 0, and there may be more than
            2**31 elements.

    Returns:
        A new contiguous tensor equal to x.

    Example:
        A (33, 256) matrix takes a grid of (2, 2) programs.
    """
    # TODO: allocate the output and launch one program a tile.
    # HINT: How many tiles lie below each other, and how many side by side?
    raise NotImplementedError("copy_by_tiles")


@triton.jit
def transpose_kernel(x_ptr, out_ptr, rows, columns, TILE: tl.constexpr):
    """Program (i, j) moves tile (i, j) of x to tile (j, i) of out; both lie along rows."""
    # TODO: load a tile of x along its rows, turn it in registers, store it along out's rows.
    # HINT: out has columns rows and rows columns. Where does its element (c, r) lie?
    pass


def transpose(x: torch.Tensor) -> torch.Tensor:
    """Return the transposed matrix, laid out anew, in one launch of TILE x TILE tiles.

    A kernel that copies elements one by one must go down columns either where it reads or where it
    writes. A tile breaks the dilemma: it comes in by rows and leaves by rows.

    Limits: no memory but the result's, no spilled registers, and loads and stores of 128 bits
    where both sizes are multiples of 64.

    Args:
        x: (rows, columns), contiguous, any dtype; either size may be 0, and there may be more than
            2**31 elements.

    Returns:
        A new contiguous (columns, rows) tensor: out[j, i] = x[i, j].

    Example:
        transpose([[1, 2, 3]]) is [[1], [2], [3]].
    """
    # TODO: allocate the output with its own shape and launch one program a tile.
    # HINT: Does torch.empty_like(x) have the right shape?
    raise NotImplementedError("transpose")


def test_copy_by_rows() -> None:
    x = torch.arange(4098.0, device=DEVICE).reshape(2, 2049)
    assert torch.equal(copy_by_rows(x), x)


def test_copy_by_columns() -> None:
    x = torch.arange(4098.0, device=DEVICE).reshape(2049, 2)
    assert torch.equal(copy_by_columns(x), x)


def test_copy_by_tiles() -> None:
    x = torch.arange(33 * 130.0, device=DEVICE).reshape(33, 130)
    assert torch.equal(copy_by_tiles(x), x)


def test_transpose_is_laid_out_anew() -> None:
    x = torch.arange(6.0, device=DEVICE).reshape(2, 3)
    out = transpose(x)
    assert out.tolist() == [[0.0, 3.0], [1.0, 4.0], [2.0, 5.0]]
    assert out.is_contiguous()


if __name__ == "__main__":
    from harness import main

    main(__file__)
