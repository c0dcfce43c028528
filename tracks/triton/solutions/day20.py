"""Day 20: Split-K
===============
Estimated time: 2 hours
Prerequisites: Day 19 (tuning), Day 5 (atomics)
Lesson: lessons/day20.md

Learning objectives:
- Say when a product has too few tiles for a GPU, and what else there is to divide
- Give each program a part of K, and add the parts with atomics
- Say why sums of floating-point numbers depend on the order, and who decides it
- Add the parts in a fixed order, so that the result is the same bit for bit each time
- Choose the number of parts by a model of waves, starts and additions

A result of 2 x 2 tiles keeps 4 of 132 multiprocessors busy, however long K is. So K is cut:

                K                         part 0   part 1   part 2
     +---------+---------+-------+
     | tile 0, | tile 0, | tile 0|       tile 0 = part 0 + part 1 + part 2
     | part 0  | part 1  | part 2|
     +---------+---------+-------+       each part is a program of its own: 12 in place of 4
     | tile 2, | tile 2, |  ...  |

Hints:
- A part of a product is a product: of a's columns and b's rows from one place on.
- Additions of two programs to one number need an order, or an agreement to do without.
- More parts make shorter programs, and more to add up afterwards.
Resources:
- NVIDIA, CUTLASS, efficient GEMM (split K): https://docs.nvidia.com/cutlass/latest/media/docs/cpp/efficient_gemm.html
- Osama et al., Stream-K: https://arxiv.org/abs/2301.03598
- Goldberg, What Every Computer Scientist Should Know About Floating-Point Arithmetic: https://docs.oracle.com/cd/E19957-01/806-3568/ncg_goldberg.html
- Triton language reference, tl.atomic_add: https://triton-lang.org/main/python-api/generated/triton.language.atomic_add.html
"""

import torch
import triton
import triton.language as tl

from tracks.triton.day17 import _place, _sizes, _tiles, matmul_k_tile_kernel

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
START = 8  # steps along K that a program could take in the time of its start and its end


def _split_config(m: int, n: int, element_size: int) -> dict[str, int]:
    """Tile sizes and launch options for the product of two matrices whose K is cut into parts.

    With parts there are enough programs even if tiles are large, and large tiles load less; 64 rows
    or columns are for results that have no more, and for operands of more than 2 bytes.
    """
    shared = 227 * 1024  # a program's share on Hopper, for which kernels are compiled without a GPU
    if torch.cuda.is_available():
        shared = torch.cuda.get_device_properties().shared_memory_per_block_optin
    block_m = 64 if m <= 64 or element_size > 2 else 128
    block_n = 64 if n <= 64 or element_size > 2 else 128
    block_k = 128 // element_size
    return {
        "BLOCK_M": block_m,
        "BLOCK_N": block_n,
        "BLOCK_K": block_k,
        "num_warps": 8 if block_m * block_n == 128 * 128 else 4,
        "num_stages": 4 if 4 * (block_m + block_n) * 128 <= shared else 3,
    }


def choose_splits(m: int, n: int, k: int, sms: int) -> int:
    """Into how many parts to cut K, by a model of the time that a product takes.

    The model counts in steps along K, for operands of 16 bits and the tiles of ``_split_config``.
    The result has tiles = ``_tiles(m, n, config)`` tiles, K has steps = ceil(k / BLOCK_K) steps.
    With s parts there are tiles * s programs; sms of them run at a time, so they take
    ceil(tiles * s / sms) rounds. In each round a program takes its longest part, ceil(steps / s)
    steps, and START more for its start and its end. Adding up the parts of a tile takes about one
    step for each:

        time(s) = ceil(tiles * s / sms) * (ceil(steps / s) + START) + s

    Args:
        m, n, k: sizes of the product, 0 or more.
        sms: how many programs run at a time (multiprocessors), 1 or more.

    Returns:
        The s from 1 to steps (1 if there are no steps) with the least time; of several the
        smallest.

    Raises:
        ValueError: sms is less than 1.

    Example:
        choose_splits(64, 64, 1024, 132) is 4: one tile of 16 steps, so that time(1) is 25, time(2)
        is 18, time(3) is 17, time(4) is 16 and time(5) is 17.
    """
    # TODO: count tiles and steps, then take the s with the least time.
    # HINT: What does a part more save when all multiprocessors are busy already?
    ### BEGIN SOLUTION
    # HINT: config = _split_config(m, n, 2) has the tile; triton.cdiv rounds up.
    # HINT: min(range(1, max(steps, 1) + 1), key=time) is the first of the best.
    if sms < 1:
        raise ValueError(f"at least 1 program runs at a time, not {sms}")
    config = _split_config(m, n, 2)
    tiles, steps = _tiles(m, n, config), triton.cdiv(k, config["BLOCK_K"])

    def time(splits: int) -> int:
        return triton.cdiv(tiles * splits, sms) * (triton.cdiv(steps, splits) + START) + splits

    return min(range(1, max(steps, 1) + 1), key=time)
    ### END SOLUTION


@triton.jit
def matmul_split_k_tile_kernel(
    a_ptr,
    b_ptr,
    row,
    column,
    part,
    splits,
    m,
    n,
    k,
    a_row_stride,
    a_k_stride,
    b_k_stride,
    b_column_stride,
    BLOCK_K: tl.constexpr,
):
    """What part (int64) of splits adds to the elements (row, column) of a @ b: a tile in float32.

    row and column are blocks of int64, as for day 17's matmul_k_tile_kernel.
    """
    # TODO: find where the part begins and how long it is; let day 17's loop multiply it.
    # HINT: The loop starts at the pointers that it is given, and ends after the k it is given.
    ### BEGIN SOLUTION
    # HINT: A part is span = tl.cdiv(tl.cdiv(k, BLOCK_K), splits) * BLOCK_K long, and begins at
    #       start = part * span. What is left of K there may be less than span, or less than 0.
    # HINT: matmul_k_tile_kernel(a_ptr + start * a_k_stride, b_ptr + start * b_k_stride, row,
    #       column, m, n, left, ...) with left = tl.minimum(k - start, span).to(tl.int32). A range
    #       up to a negative number has no steps.
    span = tl.cdiv(tl.cdiv(k, BLOCK_K), splits) * BLOCK_K
    start = part * span
    return matmul_k_tile_kernel(
        a_ptr + start * a_k_stride,
        b_ptr + start * b_k_stride,
        row,
        column,
        m,
        n,
        tl.minimum(k - start, span).to(tl.int32),
        a_row_stride,
        a_k_stride,
        b_k_stride,
        b_column_stride,
        BLOCK_K,
        tl.float32,
    )
    ### END SOLUTION


@triton.jit
def matmul_split_k_kernel(
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
    splits,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """Program (i, part) adds its part of tile i to out, which is contiguous."""
    row, column = _place(tl.program_id(0), n, BLOCK_M, BLOCK_N)
    part = tl.program_id(1).to(tl.int64)
    total = matmul_split_k_tile_kernel(
        a_ptr,
        b_ptr,
        row,
        column,
        part,
        splits,
        m,
        n,
        k,
        a_row_stride,
        a_k_stride,
        b_k_stride,
        b_column_stride,
        BLOCK_K,
    )
    # TODO: add total to out, where other programs add at the same time.
    # HINT: Day 5's histogram had many programs that add to one number. How did they?
    ### BEGIN SOLUTION
    # HINT: Nobody looks at out before the launch ends, so no order with other accesses is needed:
    #       that is sem="relaxed".
    # HINT: tl.atomic_add(pointers, total, mask=inside, sem="relaxed"), with pointers and mask as
    #       for the store in day 17.
    inside = (row[:, None] < m) & (column[None, :] < n)
    tl.atomic_add(out_ptr + row[:, None] * n + column[None, :], total, mask=inside, sem="relaxed")
    ### END SOLUTION


def matmul_split_k(a: torch.Tensor, b: torch.Tensor, splits: int) -> torch.Tensor:
    """Matrix product a @ b in float32 whose K is cut into parts, added up by atomics.

    The steps of BLOCK_K along K are dealt out in order: each part gets
    ceil(ceil(k / BLOCK_K) / splits) of them, so the last parts may be shorter or empty. Each part
    of each tile is a program, and all programs of a tile add to the same elements. Which of them
    comes first is decided anew in each run, and so are the last bits of the sum.

    The result is float32 whatever a's dtype: the sum is in memory between two additions, and 16
    bits would round it each time.

    Limits: one launch (and a fill of the result), with a grid of two axes, one program for each
    tile that ``_split_config`` gives and each part: (tiles, splits); no memory but the result's.
    For float16 and bfloat16, the kernel must compile for sm_90 to wgmma with loads of 128 bits and
    without spilled registers.

    Args:
        a: (m, k) of any strides, 0 among them; float32, float16 or bfloat16. Any size may be 0.
        b: (k, n) of any strides and a's dtype.
        splits: the number of parts, 1 to 65,535; it may be more than there are steps.

    Returns:
        A new contiguous (m, n) float32 tensor; 0 where k is 0.

    Raises:
        ValueError: splits is less than 1, or ``_sizes`` of day 17 refuses a and b.

    Example:
        matmul_split_k([[1, 2], [3, 4]], [[10], [1]], 2) is [[12], [34]].
    """
    # TODO: allocate (what must be there before the first addition?) and launch on two axes.
    # HINT: An addition reads what is there.
    ### BEGIN SOLUTION
    # HINT: torch.zeros((m, n), dtype=torch.float32, device=a.device).
    # HINT: The grid is (_tiles(m, n, config), splits), the rest as on day 17 with splits after k.
    m, n, k = _sizes(a, b)
    if splits < 1:
        raise ValueError(f"K is cut into at least 1 part, not {splits}")
    config = _split_config(m, n, a.element_size())
    out = torch.zeros((m, n), dtype=torch.float32, device=a.device)
    matmul_split_k_kernel[(_tiles(m, n, config), splits)](
        a, b, out, *a.stride(), *b.stride(), m, n, k, splits, **config
    )
    return out
    ### END SOLUTION


@triton.jit
def matmul_split_k_reduce_kernel(
    a_ptr,
    b_ptr,
    parts_ptr,
    a_row_stride,
    a_k_stride,
    b_k_stride,
    b_column_stride,
    m,
    n,
    k,
    splits,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """Program (i, part) stores its part of tile i into parts, contiguous (splits, m, n) float32."""
    row, column = _place(tl.program_id(0), n, BLOCK_M, BLOCK_N)
    part = tl.program_id(1).to(tl.int64)
    total = matmul_split_k_tile_kernel(
        a_ptr,
        b_ptr,
        row,
        column,
        part,
        splits,
        m,
        n,
        k,
        a_row_stride,
        a_k_stride,
        b_k_stride,
        b_column_stride,
        BLOCK_K,
    )
    # TODO: store total where nobody else stores.
    # HINT: How many elements lie before matrix number part?
    ### BEGIN SOLUTION
    # HINT: parts is one matrix after the other, so element (part, row, column) is number
    #       (part * m + row) * n + column.
    # HINT: A part without a step stores zeros, and must: what is there is not 0.
    inside = (row[:, None] < m) & (column[None, :] < n)
    tl.store(parts_ptr + (part * m + row[:, None]) * n + column[None, :], total, mask=inside)
    ### END SOLUTION


@triton.jit
def matmul_split_k_reduce_sum_kernel(parts_ptr, out_ptr, size, splits, BLOCK: tl.constexpr):
    """Program i adds up block i of the parts, each of size elements, into out."""
    # TODO: add the parts one after the other, the first one first; store.
    # HINT: How far is an element of one part from the same element of the next?
    ### BEGIN SOLUTION
    # HINT: total starts as tl.zeros((BLOCK,), tl.float32), and parts_ptr moves on by size.
    # HINT: for _ in tl.range(splits, loop_unroll_factor=8): with a load, an addition and
    #       parts_ptr += size. Unrolled, eight loads are on their way at a time; range is as right.
    offset = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = offset < size
    total = tl.zeros((BLOCK,), tl.float32)
    for _ in tl.range(splits, loop_unroll_factor=8):
        total += tl.load(parts_ptr + offset, mask=inside, other=0.0)
        parts_ptr += size
    tl.store(out_ptr + offset, total, mask=inside)
    ### END SOLUTION


def matmul_split_k_reduce(a: torch.Tensor, b: torch.Tensor, splits: int) -> torch.Tensor:
    """Matrix product a @ b whose K is cut into parts, repeatable bit for bit.

    The parts are those of ``matmul_split_k``. A first launch stores each in memory of its own, as
    float32; a second one adds them for each element in the order of the parts, ((part 0 + part 1) +
    part 2) + ..., in float32, and rounds the sum to a's dtype once.

    Limits: at most two launches, of which the first has matmul_split_k's grid; no memory but that
    of the parts, splits * m * n float32 numbers, and the result's. No atomics: from 2 parts on,
    each needs that memory. For float16 and bfloat16, the first kernel must compile for sm_90 to
    wgmma with loads of 128 bits, and neither of the two may spill.

    Args:
        a, b, splits: as in ``matmul_split_k``; splits * m * n * 4 bytes must be free.

    Returns:
        A new contiguous (m, n) tensor of a's dtype; the same bits for the same inputs.

    Raises:
        ValueError: as in ``matmul_split_k``.

    Example:
        matmul_split_k_reduce([[1, 2], [3, 4]], [[10], [1]], 2) is [[12], [34]].
    """
    # TODO: allocate the parts and the result; two launches.
    # HINT: Which of the two tensors has which dtype?
    ### BEGIN SOLUTION
    # HINT: parts = torch.empty((splits, m, n), dtype=torch.float32, device=a.device).
    # HINT: The second launch has triton.cdiv(m * n, 1024) programs with BLOCK=1024.
    m, n, k = _sizes(a, b)
    if splits < 1:
        raise ValueError(f"K is cut into at least 1 part, not {splits}")
    config = _split_config(m, n, a.element_size())
    parts = torch.empty((splits, m, n), dtype=torch.float32, device=a.device)
    out = torch.empty((m, n), dtype=a.dtype, device=a.device)
    matmul_split_k_reduce_kernel[(_tiles(m, n, config), splits)](
        a, b, parts, *a.stride(), *b.stride(), m, n, k, splits, **config
    )
    matmul_split_k_reduce_sum_kernel[(triton.cdiv(m * n, 1024),)](
        parts, out, m * n, splits, BLOCK=1024
    )
    return out
    ### END SOLUTION


def test_choose_splits_for_one_tile() -> None:
    assert choose_splits(64, 64, 1024, 132) == 4


def test_choose_splits_when_there_are_tiles_enough() -> None:
    assert choose_splits(4096, 4096, 4096, 132) == 1


def test_split_k_of_two_columns() -> None:
    a = torch.tensor([[1.0, 2.0], [3.0, 4.0]], device=DEVICE)
    b = torch.tensor([[10.0], [1.0]], device=DEVICE)
    assert matmul_split_k(a, b, 2).tolist() == [[12.0], [34.0]]
    assert matmul_split_k_reduce(a, b, 2).tolist() == [[12.0], [34.0]]


if __name__ == "__main__":
    from harness import main

    main(__file__)
