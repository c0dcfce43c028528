"""Day 21: Advanced matmul
=======================
Estimated time: 3-4 hours
Prerequisites: Day 17 (the K loop), Day 18 (L2 cache)
Lesson: lessons/day21.md

Learning objectives:
- Multiply whole batches in one launch, with operands that are broadcast by a stride of 0
- Run products of different sizes in one launch, from a table of addresses in memory
- Keep one program on each multiprocessor and let it walk through the tiles
- Describe a matrix once (a tensor descriptor) and let the hardware fetch tiles of it
- Store a tile in parts, so that its way out needs less shared memory

One launch, many tiles. Who computes which, on a GPU with 4 multiprocessors and 10 tiles?

    a program a tile                        persistent: one program a multiprocessor

    SM 0 | 0 | 4 | 8 |                      SM 0 | program 0: tiles 0, 4, 8
    SM 1 | 1 | 5 | 9 |                      SM 1 | program 1: tiles 1, 5, 9
    SM 2 | 2 | 6 |                          SM 2 | program 2: tiles 2, 6
    SM 3 | 3 | 7 |                          SM 3 | program 3: tiles 3, 7

    the GPU hands out programs              the program goes on by itself: while a tile is
                                            finished, the next one's operands are on their way

Hints:
- All four exercises compute a tile as day 17 did. What differs is how a program finds its tile.
- What is the same for all programs can be counted before the launch; what is in a table cannot be
  known to the compiler.
- A descriptor knows the sizes of its matrix. Which masks does that make unnecessary?
Resources:
- Triton tutorial, Group GEMM: https://triton-lang.org/main/getting-started/tutorials/08-grouped-gemm.html
- Triton tutorial, Persistent Matmul: https://triton-lang.org/main/getting-started/tutorials/09-persistent-matmul.html
- NVIDIA, CUDA driver API, tensor maps: https://docs.nvidia.com/cuda/cuda-driver-api/group__CUDA__TENSOR__MEMORY.html
- NVIDIA, Hopper tuning guide, tensor memory accelerator: https://docs.nvidia.com/cuda/hopper-tuning-guide/index.html
- Osama et al., Stream-K: https://arxiv.org/abs/2301.03598
"""

from collections import Counter
from collections.abc import Mapping, Sequence

import torch
import triton
import triton.language as tl
from triton.tools.tensor_descriptor import TensorDescriptor

from tracks.triton.day17 import _config, _sizes, _tiles, matmul_k_tile_kernel
from tracks.triton.day18 import _swizzle

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
GROUP = 8  # rows of tiles in a band of day 18's order
FIELDS = 11  # numbers in a row of grouped_matmul's table


def _config_of(shapes: Mapping[tuple[int, int], int], element_size: int) -> dict[str, int]:
    """Day 17's tile for several results in one launch: shapes says how many there are of each.

    Together they keep a GPU busy; but day 17's large tile is only for results that fill it. It may
    cover at most a quarter more than there is.
    """
    elements = sum(m * n * count for (m, n), count in shapes.items())
    config = _config(elements, 1, element_size)
    tiles = sum(_tiles(m, n, config) * count for (m, n), count in shapes.items())
    covered = tiles * config["BLOCK_M"] * config["BLOCK_N"]
    return config if 4 * covered <= 5 * elements else _config(1, 1, element_size)


def _multiprocessors() -> int:
    """How many this GPU has; without one, how many an H200 has."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_properties().multi_processor_count
    return 132


@triton.jit
def _rows_and_columns(tile, m, n, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BAND: tl.constexpr):
    """The rows and columns (int64) of a tile of an (m, n) result; BAND is day 18's group."""
    tile_row, tile_column = _swizzle(tile, tl.cdiv(m, BLOCK_M), tl.cdiv(n, BLOCK_N), BAND)
    row = tile_row.to(tl.int64) * BLOCK_M + tl.arange(0, BLOCK_M)
    column = tile_column.to(tl.int64) * BLOCK_N + tl.arange(0, BLOCK_N)
    return row, column


@triton.jit
def batched_matmul_kernel(
    a_ptr,
    b_ptr,
    out_ptr,
    a_outer_stride,
    a_inner_stride,
    a_row_stride,
    a_k_stride,
    b_outer_stride,
    b_inner_stride,
    b_k_stride,
    b_column_stride,
    inner_size,
    m,
    n,
    k,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    BAND: tl.constexpr,
):
    """Program i: the tile i % tiles of matrix i // tiles of out (outer, inner_size, m, n).

    tiles is the number of tiles of one matrix. out is contiguous; matrix j of it is the one at
    (j // inner_size, j % inner_size), and so are its operands in a and b.
    """
    # TODO: which matrix, which tile of it? Move the pointers to that matrix; the rest is day 17.
    # HINT: What does an index along an axis do to an address if that axis has the stride 0?
    ### BEGIN SOLUTION
    # HINT: matrix = tl.program_id(0) // tiles; outer and inner are its quotient and remainder by
    #       inner_size, in int64, for a stride times an index may exceed int32.
    # HINT: row, column = _rows_and_columns(tl.program_id(0) % tiles, m, n, BLOCK_M, BLOCK_N, BAND).
    # HINT: Pass a_ptr + outer * a_outer_stride + inner * a_inner_stride to matmul_k_tile_kernel.
    #       out's matrix begins at matrix.to(tl.int64) * m * n.
    tiles = tl.cdiv(m, BLOCK_M) * tl.cdiv(n, BLOCK_N)
    matrix = tl.program_id(0) // tiles
    outer = (matrix // inner_size).to(tl.int64)
    inner = (matrix % inner_size).to(tl.int64)
    row, column = _rows_and_columns(tl.program_id(0) % tiles, m, n, BLOCK_M, BLOCK_N, BAND)
    total = matmul_k_tile_kernel(
        a_ptr + outer * a_outer_stride + inner * a_inner_stride,
        b_ptr + outer * b_outer_stride + inner * b_inner_stride,
        row,
        column,
        m,
        n,
        k,
        a_row_stride,
        a_k_stride,
        b_k_stride,
        b_column_stride,
        BLOCK_K,
        tl.float32,
    )
    place = out_ptr + matrix.to(tl.int64) * m * n + row[:, None] * n + column[None, :]
    tl.store(place, total, mask=(row[:, None] < m) & (column[None, :] < n))
    ### END SOLUTION


def batched_matmul(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """a @ b for every matrix of a batch, in one launch; the batch axes are broadcast as torch does.

    out[..., i, j] = a[..., i, 0] * b[..., 0, j] + a[..., i, 1] * b[..., 1, j] + ...

    Nothing is copied to be broadcast: ``expand`` gives a view whose stride along the repeated axis
    is 0. Products and sums are float32, rounded once, at the store, as in day 17's ``matmul_k``.

    Limits: one launch with a grid of one axis, of one program for each tile that
    ``_config_of({(m, n): matrices of out}, ...)`` gives for each matrix; no memory but the
    result's. For 16-bit types day 17's largest tile must compile for sm_90 to wgmma with loads and
    stores of 128 bits (where rows are contiguous and aligned) and without spilled registers.

    Args:
        a: (..., m, k) with up to two batch axes, any strides; float32, float16 or bfloat16.
        b: (..., k, n) of a's dtype, likewise. Any size may be 0. The two need not have the same
            number of batch axes: a single matrix serves all of the other's batch.

    Returns:
        A new contiguous tensor (..., m, n) of a's dtype, with torch.broadcast_shapes of the batch
        axes; 0 where k is 0.

    Raises:
        ValueError: a has not as many columns as b has rows, the dtypes differ, the batch axes
            cannot be broadcast, an operand has fewer than 2 or more than 4 axes.

    Example:
        batched_matmul([[[1, 2]], [[3, 4]]], [[10], [1]]) is [[[12]], [[34]]].
    """
    # TODO: refuse what does not fit; broadcast both operands to four axes; allocate; launch.
    # HINT: torch.broadcast_shapes says what the batch axes become. What does it raise?
    ### BEGIN SOLUTION
    # HINT: It raises RuntimeError, so try it and raise ValueError in its place.
    # HINT: outer, inner = (1, 1, *batch)[-2:], and a.expand(outer, inner, m, k).stride() are the
    #       four strides of a, with 0 for what is repeated.
    # HINT: config = _config_of({(m, n): outer * inner}, a.element_size()) and
    #       outer * inner * _tiles(m, n, config) programs.
    if not (2 <= a.dim() <= 4 and 2 <= b.dim() <= 4):
        raise ValueError(f"operands have 2 to 4 axes, not {a.dim()} and {b.dim()}")
    (m, k), (rows, n) = a.shape[-2:], b.shape[-2:]
    if k != rows or a.dtype != b.dtype:
        raise ValueError(
            f"{a.dtype} matrices of {k} columns times {b.dtype} matrices of {rows} rows"
        )
    try:
        batch = torch.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    except RuntimeError as error:
        raise ValueError(f"batches {a.shape[:-2]} and {b.shape[:-2]} do not match") from error
    outer, inner = (1, 1, *batch)[-2:]
    config = _config_of({(m, n): outer * inner}, a.element_size())
    out = torch.empty((*batch, m, n), dtype=a.dtype, device=a.device)
    batched_matmul_kernel[(outer * inner * _tiles(m, n, config),)](
        *(a, b, out),
        *a.expand(outer, inner, m, k).stride(),
        *b.expand(outer, inner, k, n).stride(),
        *(inner, m, n, k),
        BAND=GROUP,
        **config,
    )
    return out
    ### END SOLUTION


def _aligned(table: Sequence[tuple[int, ...]]) -> bool:
    """Whether rows of all a and b are contiguous, begin at multiples of 16 bytes and have a length
    of 16s. Each row of table has the numbers that grouped_matmul_kernel describes.

    What a compiler can see of a launch's arguments it cannot see of a table's numbers; this is
    what grouped_matmul_kernel tells it with ALIGNED.
    """
    return all(
        a_k_stride == b_column_stride == 1
        and (a | b | n | k | a_row_stride | b_k_stride) % 16 == 0  # of all of them, by their bits
        for _, a, b, _, _, n, k, a_row_stride, a_k_stride, b_k_stride, b_column_stride in table
    )


@triton.jit
def grouped_matmul_kernel(
    table_ptr,
    groups,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    BAND: tl.constexpr,
    FIELDS: tl.constexpr,
    GROUPS: tl.constexpr,
    ALIGNED: tl.constexpr,
    DTYPE: tl.constexpr,
):
    """Program i computes tile i of all groups' tiles, numbered group after group.

    table (groups, FIELDS), contiguous, int64, holds of each group

        0: the tiles of all groups up to and with this one    1, 2, 3: addresses of a, b and out
        4, 5, 6: m, n, k                                       7, 8: strides of a    9, 10: of b

    GROUPS is a power of two, at least groups. ALIGNED: ``_aligned`` holds. DTYPE is that of
    all matrices.
    """
    # TODO: find the group of this tile and the tile's number within it; load the group's row of
    #       the table; compute the tile.
    # HINT: Four groups of 0, 6, 0 and 3 tiles end at 0, 6, 6 and 9. Whose is tile 7? How can all
    #       groups be asked at once, without a loop?
    ### BEGIN SOLUTION
    # HINT: Load field 0 of all groups as one block, ends. The groups with ends <= tile are passed:
    #       their number is the group's index, and the largest of their ends its first tile.
    # HINT: tl.load(entry + 1).to(tl.pointer_type(DTYPE)) is the address as a pointer.
    # HINT: if ALIGNED: strides along k of a and along the columns of b are the constant 1, and
    #       x = tl.multiple_of(x, 16) says so of addresses, k, n and the other two strides.
    tile = tl.program_id(0)
    lane = tl.arange(0, GROUPS)
    ends = tl.load(table_ptr + lane * FIELDS, mask=lane < groups, other=0)
    passed = (ends <= tile) & (lane < groups)
    entry = table_ptr + tl.sum(passed.to(tl.int32), axis=0) * FIELDS
    tile -= tl.max(tl.where(passed, ends, 0), axis=0)
    a_ptr = tl.load(entry + 1).to(tl.pointer_type(DTYPE))
    b_ptr = tl.load(entry + 2).to(tl.pointer_type(DTYPE))
    out_ptr = tl.load(entry + 3).to(tl.pointer_type(DTYPE))
    m = tl.load(entry + 4).to(tl.int32)
    n = tl.load(entry + 5).to(tl.int32)
    k = tl.load(entry + 6).to(tl.int32)
    a_row_stride = tl.load(entry + 7)
    b_k_stride = tl.load(entry + 9)
    if ALIGNED:
        a_k_stride: tl.constexpr = 1
        b_column_stride: tl.constexpr = 1
        a_ptr = tl.multiple_of(a_ptr, 16)
        b_ptr = tl.multiple_of(b_ptr, 16)
        out_ptr = tl.multiple_of(out_ptr, 16)
        n = tl.multiple_of(n, 16)
        k = tl.multiple_of(k, 16)
        a_row_stride = tl.multiple_of(a_row_stride, 16)
        b_k_stride = tl.multiple_of(b_k_stride, 16)
    else:
        a_k_stride = tl.load(entry + 8)
        b_column_stride = tl.load(entry + 10)
    row, column = _rows_and_columns(tile, m, n, BLOCK_M, BLOCK_N, BAND)
    total = matmul_k_tile_kernel(
        a_ptr,
        b_ptr,
        row,
        column,
        m,
        n,
        k,
        a_row_stride,
        a_k_stride,
        b_k_stride,
        b_column_stride,
        BLOCK_K,
        tl.float32,
    )
    place = out_ptr + row[:, None] * n + column[None, :]
    tl.store(place, total, mask=(row[:, None] < m) & (column[None, :] < n))
    ### END SOLUTION


def grouped_matmul(groups: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> list[torch.Tensor]:
    """[a @ b for a, b in groups] in one launch, whatever the sizes: m, n and k may all differ.

    A mixture of experts needs this: each expert has its own weight and gets as many tokens as the
    router sends it, often none. The kernel finds its operands in a table that the launcher writes,
    one row of numbers a group, addresses included.

    Limits: one launch with a grid of one axis, of one program for each tile that
    ``_config_of(Counter of the groups' (m, n), ...)`` gives for each group; none or one of no
    programs where there is no tile. No memory but the results' and 256 bytes a group for the
    table. Where ``_aligned`` holds, day 17's largest tile must compile for sm_90, in
    16-bit types, to wgmma with loads and stores of 128 bits and without spilled registers.

    Args:
        groups: pairs of a (m, k) and b (k, n) of any strides, all of one dtype: float32, float16
            or bfloat16. Any size may be 0, and there may be no group at all.

    Returns:
        A list of new contiguous (m, n) tensors, computed as by day 17's ``matmul_k``.

    Raises:
        ValueError: in a group a has not as many columns as b has rows, or not all dtypes agree.

    Example:
        grouped_matmul([([[1, 2]], [[10], [1]]), ([[3]], [[4, 5]])]) is [[[12]], [[12, 15]]].
    """
    # TODO: refuse, allocate the results, write the table, launch.
    # HINT: Which numbers does a group of 0 tiles have in field 0, and who finds it there?
    ### BEGIN SOLUTION
    # HINT: end += _tiles(m, n, config) runs through the groups; a row is (end, a.data_ptr(), ...).
    # HINT: torch.tensor(table, dtype=torch.int64, device=...) puts the rows where the kernel runs.
    # HINT: GROUPS=triton.next_power_of_2(len(groups)) and
    #       DTYPE=getattr(tl, str(dtype).removeprefix("torch.")).
    if not groups:
        return []
    sizes = [_sizes(a, b) for a, b in groups]
    dtype, device = groups[0][0].dtype, groups[0][0].device
    if any(a.dtype != dtype for a, _ in groups):
        raise ValueError(
            f"all groups have one dtype, not {sorted({str(a.dtype) for a, _ in groups})}"
        )
    config = _config_of(Counter((m, n) for m, n, _ in sizes), dtype.itemsize)
    outs = [torch.empty((m, n), dtype=dtype, device=device) for m, n, _ in sizes]
    table, end = [], 0
    for (a, b), out, (m, n, k) in zip(groups, outs, sizes, strict=True):
        end += _tiles(m, n, config)
        addresses = a.data_ptr(), b.data_ptr(), out.data_ptr()
        table.append((end, *addresses, m, n, k, *a.stride(), *b.stride()))
    grouped_matmul_kernel[(end,)](
        torch.tensor(table, dtype=torch.int64, device=device),
        len(groups),
        BAND=GROUP,
        FIELDS=FIELDS,
        GROUPS=triton.next_power_of_2(len(groups)),
        ALIGNED=_aligned(table),
        DTYPE=getattr(tl, str(dtype).removeprefix("torch.")),
        **config,
    )
    return outs
    ### END SOLUTION


@triton.jit
def matmul_persistent_kernel(
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
    BAND: tl.constexpr,
):
    """P programs share the tiles of out: program i computes tiles i, i + P, i + 2 P, ..."""
    # TODO: a loop over the tiles of this program; its body is the kernel of a tile.
    # HINT: You walked so through blocks on day 4. What is P here?
    ### BEGIN SOLUTION
    # HINT: for tile in range(tl.program_id(0), tiles, tl.num_programs(0)), for as many tiles as
    #       cover m and n.
    # HINT: In the loop: _rows_and_columns(tile, ...), matmul_k_tile_kernel(...), tl.store(...).
    tiles = tl.cdiv(m, BLOCK_M) * tl.cdiv(n, BLOCK_N)
    for tile in range(tl.program_id(0), tiles, tl.num_programs(0)):
        row, column = _rows_and_columns(tile, m, n, BLOCK_M, BLOCK_N, BAND)
        total = matmul_k_tile_kernel(
            a_ptr,
            b_ptr,
            row,
            column,
            m,
            n,
            k,
            a_row_stride,
            a_k_stride,
            b_k_stride,
            b_column_stride,
            BLOCK_K,
            tl.float32,
        )
        place = out_ptr + row[:, None] * n + column[None, :]
        tl.store(place, total, mask=(row[:, None] < m) & (column[None, :] < n))
    ### END SOLUTION


def matmul_persistent(
    a: torch.Tensor, b: torch.Tensor, programs: int | None = None
) -> torch.Tensor:
    """a @ b by a fixed number of programs, each of which computes one tile after the other.

    Limits: one launch with a grid of one axis and min(programs, tiles) programs, for the tiles of
    day 17's ``_config``: a program without a tile would be started for nothing. No memory but the
    result's. Its largest tile must compile as ``batched_matmul``'s.

    Args:
        a, b: as for day 17's ``matmul_k``: (m, k) and (k, n), any strides, any size may be 0.
        programs: 1 or more; unless given, ``_multiprocessors()``, so that each multiprocessor has
            one.

    Returns:
        A new contiguous (m, n) tensor of a's dtype, computed as by ``matmul_k``; the same for any
        number of programs.

    Raises:
        ValueError: programs is less than 1, or ``_sizes`` refuses a and b.

    Example:
        matmul_persistent([[1, 2], [3, 4]], [[10], [1]], 2) is [[12], [34]].
    """
    # TODO: sizes, config, output, and the number of programs; launch.
    # HINT: What is `programs or _multiprocessors()` for programs = 0?
    ### BEGIN SOLUTION
    # HINT: if programs is None: programs = _multiprocessors(); then refuse what is below 1.
    # HINT: The grid is (min(programs, _tiles(m, n, config)),), the rest is matmul_grouped's launch.
    m, n, k = _sizes(a, b)
    if programs is None:
        programs = _multiprocessors()
    if programs < 1:
        raise ValueError(f"at least 1 program is needed, not {programs}")
    config = _config(m, n, a.element_size())
    out = torch.empty((m, n), dtype=a.dtype, device=a.device)
    matmul_persistent_kernel[(min(programs, _tiles(m, n, config)),)](
        a, b, out, *a.stride(), *b.stride(), m, n, k, BAND=GROUP, **config
    )
    return out
    ### END SOLUTION


@triton.jit
def matmul_tma_kernel(
    a_desc,
    b_desc,
    out_desc,
    m,
    n,
    k,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    BAND: tl.constexpr,
    A_TRANSPOSED: tl.constexpr,
    B_TRANSPOSED: tl.constexpr,
):
    """As matmul_persistent_kernel, with descriptors in place of pointers, strides and masks.

    a_desc describes a (m, k) in blocks of (BLOCK_M, BLOCK_K); with A_TRANSPOSED it describes a.T
    (k, m) in blocks of (BLOCK_K, BLOCK_M). b_desc likewise: b (k, n) in (BLOCK_K, BLOCK_N), or b.T
    (n, k) in (BLOCK_N, BLOCK_K). out_desc has blocks of (BLOCK_M, BLOCK_N // 2).
    """
    # TODO: loop over the tiles and, for each, along K: load a block of each descriptor, tl.dot;
    #       then split the sums into two halves, left and right, and store both.
    # HINT: desc.load([i, j]) gives the block that begins at row i and column j. What would you have
    #       masked, and what does a block hold beyond the matrix's edge?
    ### BEGIN SOLUTION
    # HINT: tl.range(tl.program_id(0), tiles, tl.num_programs(0), flatten=True) lets the compiler
    #       make one pipeline of both loops: the next tile's first blocks come while one is stored.
    # HINT: row and column are plain numbers here: tile_row * BLOCK_M. A block of a.T that begins at
    #       [start, row] is transposed by .T before tl.dot.
    # HINT: tl.reshape(total, (BLOCK_M, 2, BLOCK_N // 2)).permute(0, 2, 1).split() gives the left
    #       and the right half; out_desc.store([row, column], left.to(out_desc.dtype)).
    m_tiles = tl.cdiv(m, BLOCK_M)
    n_tiles = tl.cdiv(n, BLOCK_N)
    for tile in tl.range(tl.program_id(0), m_tiles * n_tiles, tl.num_programs(0), flatten=True):
        tile_row, tile_column = _swizzle(tile, m_tiles, n_tiles, BAND)
        row = tile_row * BLOCK_M
        column = tile_column * BLOCK_N
        total = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
        for start in range(0, k, BLOCK_K):
            a = a_desc.load([start, row]).T if A_TRANSPOSED else a_desc.load([row, start])
            b = b_desc.load([column, start]).T if B_TRANSPOSED else b_desc.load([start, column])
            total = tl.dot(a, b, total, input_precision="ieee")
        halves = tl.reshape(total, (BLOCK_M, 2, BLOCK_N // 2)).permute(0, 2, 1)
        left, right = halves.split()
        out_desc.store([row, column], left.to(out_desc.dtype))
        out_desc.store([row, column + BLOCK_N // 2], right.to(out_desc.dtype))
    ### END SOLUTION


def matmul_tma(a: torch.Tensor, b: torch.Tensor, programs: int | None = None) -> torch.Tensor:
    """a @ b by persistent programs that load and store through tensor descriptors.

    On Hopper a descriptor is carried out by the tensor memory accelerator (TMA): one instruction
    fetches a whole block into shared memory, fills up with 0 beyond the matrix's edge and, in a
    store, drops what lies there. The kernel computes no addresses and no masks. (For older GPUs the
    compiler turns descriptors into pointers again: right, but with narrow loads.)

    In return memory must be laid out as the hardware wants it. An operand can be described if it
    has the stride 1 along one axis and along the other a stride that is a multiple of 16 bytes and
    at least the length of the first; and if it begins at a multiple of 16 bytes. Either axis may
    be the contiguous one: then the transposed matrix is described, without a copy. A row of the
    result must have a multiple of 16 bytes. What is laid out otherwise is refused, not copied.

    Limits: as for ``matmul_persistent``. The largest tile must compile for sm_90 to wgmma and TMA,
    for all four layouts of the operands, without spilled registers and within the chip's shared
    memory, where four stages leave room for half a tile on its way out, not for a whole one.

    Args:
        a: (m, k), float32, float16 or bfloat16. Any size may be 0: then no descriptor is needed.
        b: (k, n) of a's dtype.
        programs: as for ``matmul_persistent``.

    Returns:
        A new contiguous (m, n) tensor of a's dtype, computed as by ``matmul_k``.

    Raises:
        ValueError: an operand or the result cannot be described, programs is less than 1, or
            ``_sizes`` refuses a and b.

    Example:
        matmul_tma(torch.ones(3, 8), torch.ones(8, 4)) is a (3, 4) tensor of eights, but
        matmul_tma(torch.ones(3, 7), torch.ones(7, 4)) is refused: rows of a are 28 bytes apart.
    """
    # TODO: refuse; describe a, b and the result; launch as many programs as matmul_persistent does.
    # HINT: Which of x and x.T has contiguous rows? What is to be asked of the other stride?
    ### BEGIN SOLUTION
    # HINT: With y = x if x.stride(1) == 1 else x.T, ask for y.stride(1), y.stride(0) in bytes,
    #       y.shape[1] and y.data_ptr(). For the result: n times the size of an element.
    # HINT: If a size is 0, torch.zeros is the result: a descriptor of nothing is not allowed.
    # HINT: TensorDescriptor.from_tensor(y, [rows, columns]) with the sizes of a block of y, which
    #       for a transposed operand are exchanged.
    m, n, k = _sizes(a, b)
    if programs is None:
        programs = _multiprocessors()
    if programs < 1:
        raise ValueError(f"at least 1 program is needed, not {programs}")
    if 0 in (m, n, k):
        return torch.zeros((m, n), dtype=a.dtype, device=a.device)
    config = _config(m, n, a.element_size())
    out = torch.empty((m, n), dtype=a.dtype, device=a.device)
    block_m, block_n, block_k = config["BLOCK_M"], config["BLOCK_N"], config["BLOCK_K"]
    blocks = {
        "a": [block_m, block_k],
        "b": [block_k, block_n],
        "the result": [block_m, block_n // 2],
    }
    descriptors, transposed = [], []
    for (name, block), x in zip(blocks.items(), (a, b, out), strict=True):
        transposed.append(x.stride(1) != 1)
        if transposed[-1]:
            x, block = x.T, block[::-1]
        bytes_apart = x.stride(0) * x.element_size()
        if x.stride(1) != 1 or bytes_apart % 16 or x.stride(0) < x.shape[1] or x.data_ptr() % 16:
            raise ValueError(
                f"{name} cannot be described: it begins at byte {x.data_ptr() % 16} of 16, and its "
                f"strides are {x.stride()} elements of {x.element_size()} bytes, for rows of "
                f"{x.shape[1]}"
            )
        descriptors.append(TensorDescriptor.from_tensor(x, block))
    matmul_tma_kernel[(min(programs, _tiles(m, n, config)),)](
        *descriptors,
        *(m, n, k),
        BAND=GROUP,
        A_TRANSPOSED=transposed[0],
        B_TRANSPOSED=transposed[1],
        **config,
    )
    return out
    ### END SOLUTION


def test_batched_matmul_with_one_matrix_for_all() -> None:
    a = torch.tensor([[[1.0, 2.0]], [[3.0, 4.0]]], device=DEVICE)
    b = torch.tensor([[10.0], [1.0]], device=DEVICE)
    assert batched_matmul(a, b).tolist() == [[[12.0]], [[34.0]]]


def test_grouped_matmul_of_three_sizes() -> None:
    a, b = torch.tensor([[1.0, 2.0]], device=DEVICE), torch.tensor([[10.0], [1.0]], device=DEVICE)
    c, d = torch.tensor([[3.0]], device=DEVICE), torch.tensor([[4.0, 5.0]], device=DEVICE)
    outs = grouped_matmul([(a, b), (a[:0], b), (c, d)])
    assert [out.tolist() for out in outs] == [[[12.0]], [], [[12.0, 15.0]]]


def test_matmul_persistent_with_two_programs() -> None:
    a = torch.ones(130, 3, device=DEVICE)
    assert matmul_persistent(a, a.T, 2).eq(3.0).all()


def test_matmul_tma_of_described_matrices() -> None:
    a, b = torch.ones(3, 8, device=DEVICE), torch.ones(8, 4, device=DEVICE)
    assert matmul_tma(a, b).eq(8.0).all()
    assert matmul_tma(a, torch.ones(4, 8, device=DEVICE).T).eq(8.0).all()


if __name__ == "__main__":
    from harness import main

    main(__file__)
