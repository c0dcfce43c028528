"""Day 32: Flash forward
=====================
Estimated time: 3-4 hours
Prerequisites: Day 18 (L2 cache), Day 21 (tensor descriptors), Day 31 (online softmax inside)
Lesson: lessons/day32.md

Learning objectives:
- Count the blocks of keys that a tile of queries needs under a causal mask, and skip the others
- Mask only where the mask cuts: the blocks on the diagonal and the last one
- Start the longest programs first, and those that share keys and values together
- Describe k and v once, so that the hardware fetches whole blocks, and fall back where it cannot
- Join all of it in one kernel for any heads, lengths, strides and dtypes

Causal attention of 6 queries to 10 keys in blocks of 2 x 3: what each tile of queries needs.

    block    0       1       2       3
    tile   0 1 2 | 3 4 5 | 6 7 8 | 9 . .
     0     # # #   # # -                     whole: # at every place, no mask is needed
           # # #   # # #                     cut:   some # and some -, masked
     1     # # #   # # #   # - -             left:  nothing to see, not even read
           # # #   # # #   # # -
     2     # # #   # # #   # # #   - . .
           # # #   # # #   # # #   # . .

Hints:
- Which query of a tile sees the fewest keys, and which one the most? They decide about the blocks.
- The loop is day 31's, twice: over the blocks that are whole, and over those that are cut.
- A GPU hands out programs by their numbers. What is left to do when the last ones are the longest?
Resources:
- Dao, FlashAttention-2 (causal masks, the order of the loops): https://arxiv.org/abs/2307.08691
- Shah et al., FlashAttention-3 (Hopper, TMA): https://arxiv.org/abs/2407.08608
- Ainslie et al., GQA (heads that share keys and values): https://arxiv.org/abs/2305.13245
- Graham, Bounds on Multiprocessing Timing Anomalies (longest first): https://doi.org/10.1137/0117039
- NVIDIA, CUDA driver API, tensor maps: https://docs.nvidia.com/cuda/cuda-driver-api/group__CUDA__TENSOR__MEMORY.html
"""

import torch
import triton
import triton.language as tl
from triton.tools.tensor_descriptor import TensorDescriptor

from tracks.triton.day19 import this_device
from tracks.triton.day27 import _group
from tracks.triton.day31 import LN2, LOG2E, online_step

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
MAX_DIM = 256
L2_SHARE = 2**25  # bytes of k and v that programs at work at the same time may share


def _config(dim: int, element_size: int) -> dict[str, int]:
    """Tile sizes and launch options for heads of so many elements of so many bytes.

    In registers are BLOCK_M x BLOCK_D sums and BLOCK_M x BLOCK_N scores, in shared memory q and,
    for each stage, a block of k and one of v. For 16-bit types none of these spills registers.
    """
    block_d = max(triton.next_power_of_2(dim), 16)
    # BLOCK_M, BLOCK_N, num_warps and num_stages for dims up to 64, up to 128, and larger ones.
    if element_size > 2:
        tiles = (32, 32, 4, 2), (16, 32, 8, 2), (16, 32, 8, 2)
    elif this_device().shared >= 200 * 1024:
        tiles = (64, 128, 4, 2), (128, 128, 8, 3), (128, 64, 8, 2)
    else:
        tiles = (64, 64, 4, 3), (64, 64, 8, 2), (64, 32, 8, 2)
    m, n, warps, stages = tiles[(block_d > 64) + (block_d > 128)]
    tile = {"BLOCK_M": m, "BLOCK_N": n, "BLOCK_D": block_d}
    return {**tile, "num_warps": warps, "num_stages": stages}


def _through_tma(element_size: int) -> bool:
    """Whether k and v are read through descriptors: on Hopper and later, for tensor cores.

    Without a GPU kernels are those for Hopper. Tensor cores take operands of 16 bits from shared
    memory, where the TMA puts them; float32 is multiplied from registers.
    """
    hopper = not torch.cuda.is_available() or torch.cuda.get_device_capability() >= (9, 0)
    return hopper and element_size == 2


def _operands(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor
) -> tuple[int, int, int, int, int, int]:
    """batch, heads, queries, keys, dim, and how many heads of q share one of k and v.

    A ValueError where the three do not fit together or dim is not from 1 to MAX_DIM.
    """
    (batch, heads, queries, dim), keys = q.shape, k.shape[2]
    group = _group(q, k)
    if k.shape != v.shape or k.dtype != v.dtype:
        raise ValueError(
            f"keys are {k.dtype} {tuple(k.shape)}, but values {v.dtype} {tuple(v.shape)}"
        )
    if dim != k.shape[3] or not 1 <= dim <= MAX_DIM:
        raise ValueError(
            f"queries have {dim} elements and keys {k.shape[3]}: they must have as many, from 1 to "
            f"{MAX_DIM}"
        )
    return batch, heads, queries, keys, dim, group


def _together(q: torch.Tensor, k: torch.Tensor, causal: bool) -> int:
    """Heads of q in a band of ``work_order``: those whose keys and values fit into L2_SHARE bytes.

    At least those that share one head of k and v. Without causal all tiles take as long, and one
    head comes after the other.
    """
    group = q.shape[1] // max(k.shape[1], 1)
    bytes_a_head = 2 * k.shape[2] * k.shape[3] * k.element_size()
    band = group * max(L2_SHARE // max(bytes_a_head, 1), 1)
    return max(min(band, q.shape[0] * q.shape[1]), 1) if causal else 1


def key_blocks(
    tile: int, queries: int, keys: int, causal: tl.constexpr, block_m: int, block_n: int
) -> tuple[int, int]:
    """Which blocks of keys a tile of queries needs: those below whole unmasked, up to end masked.

    The tile holds the queries from tile * block_m on, block_m of them or as many as there are.
    Block j holds the keys from j * block_n on, block_n of them or as many as there are. Without
    causal a query sees all keys; with it query i sees the keys j <= i + keys - queries, as on
    day 27.

        blocks 0 ... whole - 1       are full, and every query of the tile sees all of their keys
        blocks whole ... end - 1     are cut: by the mask, or by the end of the keys
        blocks from end on           hold no key that any query of the tile sees

    whole is the largest number of which that is true, end the smallest.

    This function is plain Python and, below, part of a kernel, as day 18's ``swizzle``. Write it
    with + - * // min, max and if only; in the kernel all numbers are int32 that are not known yet,
    except causal, block_m and block_n. Mind that // of a negative number rounds down in Python, and
    towards 0 in a kernel. And where an ``if`` asks about numbers, a name that only one of its
    branches assigns has no value behind it in a kernel: give it one before.

    Args:
        tile: 0 or more, with tile * block_m < queries.
        queries, keys: 1 or more, 0 or more.
        causal: a bool, whether the mask is causal; the kernel knows it when it is compiled.
        block_m, block_n: 1 or more.

    Returns:
        (whole, end) with 0 <= whole <= end.

    Example:
        For the drawing above, key_blocks(tile, 6, 10, True, 2, 3) is (1, 2), (2, 3) and (3, 4) for
        the tiles 0, 1 and 2. Without causal it is (3, 4) for each.
    """
    # TODO: count the keys that the tile's first and its last query see; turn both into blocks.
    # HINT: A tile can stick out of the queries. Which query is its last one then?
    ### BEGIN SOLUTION
    # HINT: The first query sees fewest = tile * block_m + 1 + keys - queries keys, but not less
    #       than 0. The last one, at min(tile * block_m + block_m, queries) - 1, sees the most.
    # HINT: whole = fewest // block_n rounds down, and end rounds up: (most + block_n - 1) //
    #       block_n. Without causal both are all keys.
    fewest, most = keys, keys
    if causal:
        fewest = max(tile * block_m + 1 + keys - queries, 0)
        most = max(min(tile * block_m + block_m, queries) + keys - queries, 0)
    return fewest // block_n, (most + block_n - 1) // block_n
    ### END SOLUTION


_key_blocks = triton.jit(key_blocks)  # the same function, for kernels


def work_order(program: int, tiles: int, matrices: int, together: int) -> tuple[int, int]:
    """Which tile of which matrix program number ``program`` computes: the longest work first.

    There are matrices (batch * heads) of as many tiles of queries each. Under a causal mask the
    last tile has the most blocks of keys, the first one the fewest. A GPU starts programs by their
    numbers, and the work is done when the last of them is: what is started last should be short.

    The matrices are cut into bands of ``together`` neighbours; the last band has fewer where
    together does not divide matrices. The bands are numbered one after the other, so that the keys
    and values of one band are in L2 while it is at work. Within a band come first the last tiles of
    all of its matrices, in the matrices' order, then the last but one, and so on.

    This function is plain Python and part of a kernel, too: use + - * // % and min only.

    Args:
        program: 0 or more, less than tiles * matrices.
        tiles: of queries in each matrix, 1 or more.
        matrices: 1 or more.
        together: matrices in a band, 1 or more; it may be larger than matrices.

    Returns:
        (matrix, tile). Each tile of each matrix belongs to exactly one program.

    Example:
        work_order(program, 2, 3, 2) for program = 0, 1, ... is (0, 1), (1, 1), (0, 0), (1, 0), and
        then, in the last band, (2, 1), (2, 0).
    """
    # TODO: find the band, its first matrix and its width; then the place within the band.
    # HINT: Which part of day 18's swizzle is this, and which way do the tiles run?
    ### BEGIN SOLUTION
    # HINT: first = program // (together * tiles) * together, and width = min(matrices - first,
    #       together).
    # HINT: within = program % (together * tiles); the matrix moves fastest, so it is first +
    #       within % width, and within // width counts the tiles from the last one down.
    first = program // (together * tiles) * together
    width = min(matrices - first, together)
    within = program % (together * tiles)
    return first + within % width, tiles - 1 - within // width
    ### END SOLUTION


_work_order = triton.jit(work_order)  # the same function, for kernels


def describe(x: torch.Tensor, rows: int, columns: int) -> TensorDescriptor | None:
    """A descriptor of x (batch, heads, n, dim) in blocks of one head's rows x columns, or None.

    All four axes of x are described where they lie, with x's own strides: nothing is copied, and a
    block at [batch, head, row, 0] ends with its head. What lies beyond n rows or dim columns is
    filled with 0. On Hopper the tensor memory accelerator carries it out; it wants (day 21)

        - memory that begins at a multiple of 16 bytes;
        - the stride 1 along the last axis;
        - along each of the other three axes, also where it has one element, a stride that is a
          multiple of 16 bytes and at least dim elements, so that rows do not overlap and none is
          repeated by a stride of 0;
        - at least one element.

    Args:
        x: a tensor of four axes and any strides; float32, float16 or bfloat16.
        rows, columns: powers of two.

    Returns:
        A TensorDescriptor with x's shape and strides and the block [1, 1, rows, columns]; None if
        one of the four does not hold. (A kernel has to read x through pointers then.)

    Example:
        For a contiguous float16 x of shape (2, 3, 5, 8), describe(x, 16, 16) has the strides
        (120, 40, 8, 1). For x[..., :7] it is the same but for the shape, and for x[..., 1:] it is
        None: x begins at byte 2.
    """
    # TODO: check the four conditions, then make the descriptor.
    # HINT: In which unit are x.stride(...) and x.data_ptr()?
    ### BEGIN SOLUTION
    # HINT: Strides count elements: a stride is a multiple of 16 bytes if stride * x.element_size()
    #       % 16 == 0.
    # HINT: TensorDescriptor.from_tensor(x, [1, 1, rows, columns]) takes shape and strides from x.
    *apart, step = x.stride()
    aligned = all(s >= x.shape[3] and s * x.element_size() % 16 == 0 for s in apart)
    if x.numel() == 0 or step != 1 or not aligned or x.data_ptr() % 16:
        return None
    return TensorDescriptor.from_tensor(x, [1, 1, rows, columns])
    ### END SOLUTION


@triton.jit
def _block_of(
    x,
    batch,
    head,
    block,
    n,
    row_stride,
    dim_stride,
    DIM: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_D: tl.constexpr,
    DESCRIBED: tl.constexpr,
    WHOLE: tl.constexpr,
):
    """Block number ``block`` of k or v, (BLOCK_N, BLOCK_D), with 0 beyond n rows and DIM columns.

    x is ``describe``'s descriptor if DESCRIBED, else a pointer to the first element of the head.
    WHOLE: the block has BLOCK_N rows, so that they need no mask.
    """
    if DESCRIBED:
        place = [batch.to(tl.int32), head.to(tl.int32), block * BLOCK_N, 0]
        return x.load(place).reshape(BLOCK_N, BLOCK_D)
    else:
        first = block * tl.full((), BLOCK_N, tl.int64)
        row = tl.arange(0, BLOCK_N).to(tl.int64)
        column = tl.arange(0, BLOCK_D).to(tl.int64)
        place = x + first * row_stride + row[:, None] * row_stride + column[None, :] * dim_stride
        mask = (column < DIM)[None, :]
        if not WHOLE:
            mask = mask & (row < n - first)[:, None]
        return tl.load(place, mask=mask, other=0.0)


@triton.jit
def flash_attention_forward_blocks_kernel(
    m,
    total,
    acc,
    q,
    k,
    v,
    batch,
    head,
    begin,
    end,
    seen,
    keys,
    k_row_stride,
    k_dim_stride,
    v_row_stride,
    v_dim_stride,
    scale,
    DIM: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_D: tl.constexpr,
    K_DESCRIBED: tl.constexpr,
    V_DESCRIBED: tl.constexpr,
    WHOLE: tl.constexpr,
):
    """m, total and acc of ``online_step`` after the blocks begin ... end - 1 of k and v.

    q is the tile of queries (BLOCK_M, BLOCK_D). k and v are as ``_block_of`` takes them: a
    descriptor, or a pointer to the head's first element; head is k's and v's. Query i of the tile
    sees the keys below seen[i], a block of int32; with WHOLE it sees all keys of these blocks, and
    nothing is masked. scale is the scale of the scores times log2(e). The kernel below calls this
    one twice.
    """
    # TODO: for each block: k's, the products with q, a mask unless WHOLE, v's, online_step.
    # HINT: Which of the two loops has most of the blocks, and what is left out of it?
    ### BEGIN SOLUTION
    # HINT: _block_of(k, batch, head, block, keys, k_row_stride, k_dim_stride, DIM, BLOCK_N,
    #       BLOCK_D, K_DESCRIBED, WHOLE) is k's block, and its .T is what q is multiplied with.
    # HINT: Key block * BLOCK_N + tl.arange(0, BLOCK_N) is hidden from a query unless it is below
    #       seen[:, None]: put -inf there with tl.where. This holds at the end of the keys, too.
    # HINT: m, total, acc = online_step(m, total, acc, s, v_block, scale), and return the three.
    for block in range(begin, end):
        k_block = _block_of(
            *(k, batch, head, block, keys, k_row_stride, k_dim_stride),
            *(DIM, BLOCK_N, BLOCK_D, K_DESCRIBED, WHOLE),
        )
        s = tl.dot(q, k_block.T, input_precision="ieee")
        if not WHOLE:
            key = block * BLOCK_N + tl.arange(0, BLOCK_N)
            s = tl.where(key[None, :] < seen[:, None], s, -float("inf"))
        v_block = _block_of(
            *(v, batch, head, block, keys, v_row_stride, v_dim_stride),
            *(DIM, BLOCK_N, BLOCK_D, V_DESCRIBED, WHOLE),
        )
        m, total, acc = online_step(m, total, acc, s, v_block, scale)
    ### END SOLUTION
    return m, total, acc


@triton.jit
def flash_attention_forward_kernel(
    q_ptr,
    k,
    v,
    o_ptr,
    lse_ptr,
    q_batch_stride,
    q_head_stride,
    q_row_stride,
    q_dim_stride,
    k_batch_stride,
    k_head_stride,
    k_row_stride,
    k_dim_stride,
    v_batch_stride,
    v_head_stride,
    v_row_stride,
    v_dim_stride,
    matrices,
    heads,
    group,
    queries,
    keys,
    scale,
    together,
    DIM: tl.constexpr,
    CAUSAL: tl.constexpr,
    K_DESCRIBED: tl.constexpr,
    V_DESCRIBED: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """o and lse of the tile that ``_work_order`` gives this program; both are contiguous.

    k and v are descriptors where K_DESCRIBED and V_DESCRIBED say so, else pointers. group heads of
    q share a head of k and v. scale is the scale of the scores times log2(e).
    """
    # TODO: which tile, and which blocks of keys does it need? Load q; go through the blocks that
    #       are whole and through those that are cut; store o and lse.
    # HINT: Which numbers of this program can exceed int32 once they are multiplied with a stride?
    ### BEGIN SOLUTION
    # HINT: matrix, tile = _work_order(tl.program_id(0), tl.cdiv(queries, BLOCK_M), matrices,
    #       together), and whole, end = _key_blocks(tile, queries, keys, CAUSAL, BLOCK_M, BLOCK_N).
    # HINT: From matrix = matrix.to(tl.int64) come batch and head, matrix // heads and matrix %
    #       heads; k and v take head // group. Without a descriptor move the pointer to that head.
    # HINT: seen is row + 1 + keys - queries under CAUSAL, else keys for each row.
    # HINT: The end is day 31's: acc / total, where total may be 0, and (m * scale +
    #       tl.log2(total)) * LN2.
    tiles = tl.cdiv(queries, BLOCK_M)
    matrix, tile = _work_order(tl.program_id(0), tiles, matrices, together)
    whole, end = _key_blocks(tile, queries, keys, CAUSAL, BLOCK_M, BLOCK_N)
    matrix = matrix.to(tl.int64)
    batch, head = matrix // heads, matrix % heads
    row = tile * BLOCK_M + tl.arange(0, BLOCK_M)
    seen = row + 1 + keys - queries if CAUSAL else tl.zeros_like(row) + keys
    d = tl.arange(0, BLOCK_D)
    inside = (row < queries)[:, None] & (d < DIM)[None, :]
    q_ptr += batch * q_batch_stride + head * q_head_stride
    q_tile = row.to(tl.int64)[:, None] * q_row_stride + d.to(tl.int64)[None, :] * q_dim_stride
    q = tl.load(q_ptr + q_tile, mask=inside, other=0.0)
    head = head // group
    if not K_DESCRIBED:
        k += batch * k_batch_stride + head * k_head_stride
    if not V_DESCRIBED:
        v += batch * v_batch_stride + head * v_head_stride
    m = tl.full((BLOCK_M,), -float("inf"), tl.float32)
    total = tl.zeros((BLOCK_M,), tl.float32)
    acc = tl.zeros((BLOCK_M, BLOCK_D), tl.float32)
    m, total, acc = flash_attention_forward_blocks_kernel(
        *(m, total, acc, q, k, v, batch, head, 0, whole, seen, keys),
        *(k_row_stride, k_dim_stride, v_row_stride, v_dim_stride, scale),
        *(DIM, BLOCK_N, BLOCK_D, K_DESCRIBED, V_DESCRIBED, True),
    )
    m, total, acc = flash_attention_forward_blocks_kernel(
        *(m, total, acc, q, k, v, batch, head, whole, end, seen, keys),
        *(k_row_stride, k_dim_stride, v_row_stride, v_dim_stride, scale),
        *(DIM, BLOCK_N, BLOCK_D, K_DESCRIBED, V_DESCRIBED, False),
    )
    o = acc / tl.where(total == 0.0, 1.0, total)[:, None]
    lse = (m * scale + tl.log2(total)) * LN2
    out_row = matrix * queries + row
    tl.store(o_ptr + out_row[:, None] * DIM + d[None, :], o, mask=inside)
    tl.store(lse_ptr + out_row, lse, mask=row < queries)
    ### END SOLUTION


def flash_attention_forward(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    causal: bool = False,
    scale: float | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """FlashAttention-2's forward pass in one launch: attention, and the logsumexp of its scores.

        s = scale * q k^T     o = softmax(s) v     lse[i] = log(sum over j of exp(s[i, j]))

    With causal query i sees the keys j <= i + keys - queries (day 27); a query that sees no key has
    o = 0 and lse = -inf. Neighbouring heads of q share a head of k and v. Scores, sums and lse are
    float32; lse is a natural logarithm. 2^(...) is rounded to v's dtype for its product with v
    (``online_step``).

    Limits:
        - One launch with a grid of one axis, of one program for each tile of BLOCK_M queries that
          ``_config`` gives; no memory but the results'. So nothing of the size queries x keys is
          stored, and no operand is copied, whatever its strides.
        - Programs come in ``work_order``'s order, in bands of ``_together(q, k, causal)``.
        - A tile of queries takes only the blocks of keys below the end that ``_key_blocks`` gives,
          under causal about half of them, and masks only those from its whole on. Whatever k and v
          hold from end on, be it nan, has no effect on the tile. (A nan of v at a hidden key of a
          block that is cut may have one: 0 * nan is nan.)
        - Rows that are contiguous and aligned are read and written 128 bits at a time. Where
          ``_through_tma`` and ``describe`` allow it, k and v, each for itself, are read through
          descriptors.
        - With each of ``_config``'s tiles the kernel compiles within the chip's shared memory: for
          sm_90 with and without descriptors, for sm_80 without. For 16-bit types it spills no
          registers, and the products are computed by tensor cores (on sm_90 by wgmma); for float32
          it spills at most 64 bytes a thread.

    Args:
        q: (batch, heads, queries, dim) of any strides; float32, float16 or bfloat16. batch, heads
            and queries may be 0; dim is from 1 to 256.
        k, v: (batch, kv_heads, keys, dim) of any strides and q's dtype. keys may be 0; heads is a
            multiple of kv_heads.
        causal: whether a query sees only what comes before it, and itself.
        scale: 1 / sqrt(dim) unless given; greater than 0, as on day 31.

    Returns:
        o, a new contiguous tensor of q's shape and dtype, and lse, (batch, heads, queries) float32.

    Raises:
        ValueError: scale is not greater than 0 (nan is not), or ``_operands`` refuses the three.

    Example:
        q = [[[[1], [1]]]], k = [[[[log 3], [0]]]], v = [[[[4], [8]]]], scale = 1: o is
        [[[[5], [5]]]] and lse is [[[log 4, log 4]]]. With causal the first query sees the first key
        only: o is [[[[4], [5]]]] and lse is [[[log 3, log 4]]].
    """
    # TODO: refuse what does not fit; allocate; describe k and v if possible; launch.
    # HINT: Which of the kernel's arguments depend on whether there is a descriptor?
    ### BEGIN SOLUTION
    # HINT: k_desc is describe(k, BLOCK_N, BLOCK_D) if _through_tma(...), else None; so for v. The
    #       kernel gets the descriptor, or the tensor itself where there is none.
    # HINT: The grid is (batch * heads * triton.cdiv(queries, BLOCK_M),); after the strides
    #       come batch * heads, heads, group, queries, keys, scale * LOG2E, _together(q, k, causal);
    #       then DIM=dim, CAUSAL=causal, K_DESCRIBED=..., V_DESCRIBED=..., **config.
    batch, heads, queries, keys, dim, group = _operands(q, k, v)
    scale = dim**-0.5 if scale is None else scale
    if not scale > 0:
        raise ValueError(f"the scale must be greater than 0, not {scale}")
    config = _config(dim, q.element_size())
    o = torch.empty(q.shape, dtype=q.dtype, device=q.device)
    lse = torch.empty((batch, heads, queries), dtype=torch.float32, device=q.device)
    tma, block = _through_tma(q.element_size()), (config["BLOCK_N"], config["BLOCK_D"])
    k_desc, v_desc = (describe(x, *block) if tma else None for x in (k, v))
    flash_attention_forward_kernel[(batch * heads * triton.cdiv(queries, config["BLOCK_M"]),)](
        *(q, k_desc or k, v_desc or v, o, lse),
        *(*q.stride(), *k.stride(), *v.stride()),
        *(batch * heads, heads, group, queries, keys, scale * LOG2E, _together(q, k, causal)),
        DIM=dim,
        CAUSAL=causal,
        K_DESCRIBED=k_desc is not None,
        V_DESCRIBED=v_desc is not None,
        **config,
    )
    return o, lse
    ### END SOLUTION


def test_key_blocks_of_the_drawing() -> None:
    assert [key_blocks(tile, 6, 10, True, 2, 3) for tile in range(3)] == [(1, 2), (2, 3), (3, 4)]
    assert key_blocks(0, 6, 10, False, 2, 3) == (3, 4)


def test_work_order_of_three_matrices() -> None:
    order = [work_order(program, 2, 3, 2) for program in range(6)]
    assert order == [(0, 1), (1, 1), (0, 0), (1, 0), (2, 1), (2, 0)]


def test_describe_what_can_be_described() -> None:
    x = torch.zeros(2, 3, 5, 8, dtype=torch.float16, device=DEVICE)
    described = describe(x, 16, 16)
    assert described is not None and tuple(described.strides) == (120, 40, 8, 1)
    assert describe(x[..., 1:], 16, 16) is None


def _head(*rows: list[float]) -> torch.Tensor:
    """One batch with one head of these rows."""
    return torch.tensor([[rows]], dtype=torch.float32, device=DEVICE)


def test_two_queries_and_two_keys() -> None:
    q, k, v = _head([1.0], [1.0]), _head([3.0], [1.0]).log(), _head([4.0], [8.0])
    o, lse = flash_attention_forward(q, k, v, scale=1.0)
    torch.testing.assert_close(o, _head([5.0], [5.0]))
    torch.testing.assert_close(lse, _head([4.0, 4.0])[:, 0].log())
    o, lse = flash_attention_forward(q, k, v, causal=True, scale=1.0)
    torch.testing.assert_close(o, _head([4.0], [5.0]))
    torch.testing.assert_close(lse, _head([3.0, 4.0])[:, 0].log())


if __name__ == "__main__":
    from harness import main

    main(__file__)
