"""Day 18: L2 cache
================
Estimated time: 1-2 hours
Prerequisites: Day 17 (the K loop)
Lesson: lessons/day18.md

Learning objectives:
- Say which parts of a and b the programs of one wave share, and what L2 makes of it
- Number tiles in bands, so that neighbours in time are neighbours in both directions
- Invert a numbering with divisions and remainders, edge cases included
- Change the order of work without changing a result
- Predict the traffic between memory and L2 by counting tiles

Programs start in the order of their ids. Of 6 x 6 tiles the first six that run together are

    row by row (group 1)             in bands of 3 rows (group 3)

    0  1  2  3  4  5                 0  3  6  9 12 15
    6  7  8  9 10 11                 1  4  7 10 13 16
    12 .  .  .  .  .                 2  5  8 11 14 17
                                     18 21 .  .  .  .
    1 row of a, 6 columns of b       3 rows of a, 2 columns of b
    7 strips to read                 5 strips to read

Hints:
- Draw a grid of tiles, number it in bands by hand, and find the formula on paper.
- The last band may have fewer rows. What else changes with it?
- A set counts what is distinct.
Resources:
- Triton tutorial, Matrix Multiplication: https://triton-lang.org/main/getting-started/tutorials/03-matrix-multiplication.html
- NVIDIA, CUTLASS, efficient GEMM (threadblock rasterization): https://docs.nvidia.com/cutlass/latest/media/docs/cpp/efficient_gemm.html
- NVIDIA H100 architecture, L2 cache: https://resources.nvidia.com/en-us-tensor-core/gtc22-whitepaper-hopper
"""

import torch
import triton
import triton.language as tl

from tracks.triton.day17 import _config, _sizes, _tiles, matmul_k_tile_kernel

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def swizzle(pid: int, m_tiles: int, n_tiles: int, group: int) -> tuple[int, int]:
    """The row and the column of the tile that program pid owns, in bands of group tile rows.

    An m_tiles x n_tiles grid of tiles is cut into bands of group rows of tiles, from top to bottom.
    Where group does not divide m_tiles, the last band has fewer rows. The bands are numbered one
    after the other. Within a band the numbers run down the first column, then down the second, and
    so on. With group = 1 that is row by row; with group >= m_tiles, column by column.

    This function is plain Python and, below, part of a kernel: ``triton.jit`` compiles its text.
    So write it with + - * // % and min only, and let it compute, not check: in the kernel pid,
    m_tiles and n_tiles are int32 numbers that are not known yet.

    Args:
        pid: 0 or more, less than m_tiles * n_tiles.
        m_tiles, n_tiles: how many tiles lie below each other and side by side, 1 or more.
        group: rows of tiles in a band, 1 or more; it may be larger than m_tiles.

    Returns:
        (row, column) with 0 <= row < m_tiles and 0 <= column < n_tiles. Each tile belongs to
        exactly one pid.

    Example:
        swizzle(pid, 3, 4, 2) for pid = 0, 1, ... is (0, 0), (1, 0), (0, 1), (1, 1), ..., (1, 3),
        and then, in the last band, (2, 0), (2, 1), (2, 2), (2, 3).
    """
    # TODO: find the band of pid, its first row and its height, then the place within the band.
    # HINT: How many tiles has a full band? Then which of the bands is pid in?
    raise NotImplementedError("swizzle")


_swizzle = triton.jit(swizzle)  # the same function, for kernels


@triton.jit
def matmul_grouped_kernel(
    a_ptr,
    b_ptr,
    out_ptr,
    a_row_stride,
    a_k_stride,
    b_k_stride,
    b_column_stride,
    m,
    n,
    k,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    GROUP: tl.constexpr,
):
    """Program i computes tile _swizzle(i, ...) of out, which is contiguous."""
    # TODO: find this program's tile, its rows and columns; multiply; store.
    # HINT: How many tiles lie below each other, and how many side by side?
    pass


def matmul_grouped(a: torch.Tensor, b: torch.Tensor, group: int = 8) -> torch.Tensor:
    """Matrix product a @ b in one launch, whose programs take the tiles in ``swizzle``'s order.

    Each tile is computed as on day 17, so the result is day 17's, whatever the group: the order
    decides only which tiles of a and b are in L2 when they are needed. Given are day 17's
    ``_sizes``, ``_config`` and ``_tiles``, and its loop along K, ``matmul_k_tile_kernel``, which
    returns the tile of a @ b for a block of rows and a block of columns (both int64). They are
    imported from your day 17, or from the reference if that is not done.

    Limits: one launch with a grid of one axis, of one program for each tile that ``_config`` gives;
    program i computes the tile ``swizzle(i, ...)``; the kernel's constant GROUP is group; no memory
    but the result's. For float16 and bfloat16, ``_config``'s largest tile must compile for sm_90 to
    wgmma with loads of 128 bits and without spilled registers.

    Args:
        a: (m, k) of any strides, 0 among them; float32, float16 or bfloat16. Any size may be 0.
        b: (k, n) of any strides and a's dtype.
        group: rows of tiles in a band, 1 or more; times the number of tiles side by side it must
            stay below 2**31.

    Returns:
        A new contiguous (m, n) tensor of a's dtype, computed as by ``matmul_k``.

    Raises:
        ValueError: group is less than 1, or ``_sizes`` refuses a and b.

    Example:
        matmul_grouped([[1, 2], [3, 4]], [[10], [1]], 4) is [[12], [34]].
    """
    # TODO: refuse a bad group, then allocate and launch.
    # HINT: What does a remainder by 0 give, on a CPU and on a GPU?
    raise NotImplementedError("matmul_grouped")


def tiles_touched(
    m_tiles: int, n_tiles: int, k_tiles: int, group: int, wave: int
) -> tuple[int, int]:
    """Count the tiles of a and of b that come from memory in a matrix product: a model of L2.

    The model: wave programs run at a time, in the order of their ids: 0 up to wave - 1, then wave
    up to 2 * wave - 1, and so on; the last wave may be smaller. Program pid computes the tile
    ``swizzle(pid, m_tiles, n_tiles, group)`` of the result, for which it needs the k_tiles tiles of
    its row of a and the k_tiles tiles of its column of b. A tile comes from memory once in each
    wave that needs it, however many programs of the wave do; the next wave finds nothing of it.

    The count takes time in proportion to m_tiles * n_tiles, whatever k_tiles is.

    Args:
        m_tiles, n_tiles: tiles of the result, below each other and side by side; 0 or more.
        k_tiles: tiles along K; 0 or more.
        group: as in ``swizzle``; 1 or more.
        wave: how many programs run at a time, 1 or more; it may be more than there are.

    Returns:
        (tiles of a, tiles of b), two ints. Times the bytes of a tile of a, and of b, that is the
        traffic from memory to L2.

    Raises:
        ValueError: group or wave is less than 1.

    Example:
        tiles_touched(6, 6, 1, 1, 6) is (6, 36): in each of six waves 1 row of a and 6 columns of b.
        tiles_touched(6, 6, 1, 3, 6) is (18, 12): in each of six waves 3 rows and 2 columns.
    """
    # TODO: go through the waves; in each count the distinct rows and the distinct columns.
    # HINT: What is the same for all programs in one row of tiles?
    raise NotImplementedError("tiles_touched")


def test_swizzle_of_three_by_four_tiles() -> None:
    order = [swizzle(pid, 3, 4, 2) for pid in range(12)]
    assert order[:4] == [(0, 0), (1, 0), (0, 1), (1, 1)]
    assert order[8:] == [(2, 0), (2, 1), (2, 2), (2, 3)]


def test_matmul_grouped_of_two_columns() -> None:
    a = torch.tensor([[1.0, 2.0], [3.0, 4.0]], device=DEVICE)
    b = torch.tensor([[10.0], [1.0]], device=DEVICE)
    assert matmul_grouped(a, b, 4).tolist() == [[12.0], [34.0]]


def test_tiles_touched_by_six_waves() -> None:
    assert tiles_touched(6, 6, 1, 1, 6) == (6, 36)
    assert tiles_touched(6, 6, 1, 3, 6) == (18, 12)


if __name__ == "__main__":
    from harness import main

    main(__file__)
