"""Day 34: Flash backward
======================
Estimated time: 3-4 hours
Prerequisites: Day 32 (flash forward), Day 33 (backward, on paper)
Lesson: lessons/day34.md

Learning objectives:
- Turn the tiles of yesterday into two kernels that never add to the same memory
- Find the blocks of queries that a tile of keys needs under a causal mask
- Hide keys, queries and rows without keys each at the place where it costs nothing
- Sum the gradients of shared keys and values inside a program, without atomics
- Give the same bits at every run

The weights P of 6 queries and 10 keys, causal, in blocks of 2 x 3. Two kernels walk over them:

    flash_dkdv: a program owns keys       flash_dq: a program owns queries

    block   0       1       2       3         block   0       1       2       3
      0   # # # | # # - |       |           tile 0  # # # | # # - |  -->  dq
          # # # | # # # |       |                   # # # | # # # |
      1   # # # | # # # | # - - |                1  # # # | # # # | # - - |  -->  dq
          # # # | # # # | # # - |                   # # # | # # # | # # - |
      2   # # # | # # # | # # # | # .            2  # # # | # # # | # # # | # .  -->  dq
          # # # | # # # | # # # | # .               # # # | # # # | # # # | # .
            |       |       |      |
          dk, dv  dk, dv  dk, dv  dk, dv

Hints:
- Transpose the drawing of day 32: which query of a block sees the fewest keys of a tile?
- Five products a pair of blocks, as yesterday. Each kernel needs some of them.
- What does a query that does not exist have to have as its lse, so that it adds nothing?
Resources:
- Dao et al., FlashAttention (algorithm 4): https://arxiv.org/abs/2205.14135
- Dao, FlashAttention-2 (algorithm 2, work between programs): https://arxiv.org/abs/2307.08691
- Shah et al., FlashAttention-3 (the backward on Hopper): https://arxiv.org/abs/2407.08608
- Ainslie et al., GQA (heads that share keys and values): https://arxiv.org/abs/2305.13245
"""

import torch
import triton
import triton.language as tl

from tracks.triton.day19 import this_device
from tracks.triton.day31 import LOG2E
from tracks.triton.day32 import (
    L2_SHARE,
    _block_of,
    _key_blocks,
    _operands,
    _through_tma,
    _together,
    _work_order,
    describe,
)
from tracks.triton.day33 import _same, delta

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
LOG2_E = tl.constexpr(LOG2E)


def _dkdv_config(dim: int, element_size: int) -> dict[str, int]:
    """Tile sizes and launch options of ``flash_dkdv``.

    In registers are two blocks of sums, BLOCK_N x BLOCK_D, and two of scores, BLOCK_N x BLOCK_M; in
    shared memory k and v, and for each stage a block of q and one of do. On Hopper four warps take
    all of their 255 registers and spill a few: eight would spill none, but take twice as long.
    """
    block_d = max(triton.next_power_of_2(dim), 16)
    # BLOCK_M, BLOCK_N, num_warps and num_stages for dims up to 64, up to 128, and larger ones.
    if element_size > 2:
        tiles = (16, 32, 8, 1), (16, 16, 8, 1), (16, 16, 8, 1)
    elif this_device().shared >= 200 * 1024:
        tiles = (128, 64, 4, 2), (64, 64, 4, 2), (32, 32, 8, 1)
    else:
        tiles = (32, 64, 4, 2), (32, 64, 8, 2), (16, 32, 8, 1)
    m, n, warps, stages = tiles[(block_d > 64) + (block_d > 128)]
    tile = {"BLOCK_M": m, "BLOCK_N": n, "BLOCK_D": block_d}
    return {**tile, "num_warps": warps, "num_stages": stages}


def _dq_config(dim: int, element_size: int) -> dict[str, int]:
    """Tile sizes and launch options of ``flash_dq``.

    In registers are one block of sums, BLOCK_M x BLOCK_D, and two of scores, BLOCK_M x BLOCK_N; in
    shared memory q and do, and for each stage a block of k and one of v.
    """
    block_d = max(triton.next_power_of_2(dim), 16)
    # BLOCK_M, BLOCK_N, num_warps and num_stages for dims up to 64, up to 128, and larger ones.
    if element_size > 2:
        tiles = (16, 32, 8, 1), (16, 16, 8, 1), (16, 16, 8, 1)
    elif this_device().shared >= 200 * 1024:
        tiles = (128, 64, 8, 3), (64, 64, 4, 2), (64, 32, 8, 2)
    else:
        tiles = (64, 64, 4, 2), (64, 32, 8, 2), (32, 32, 8, 2)
    m, n, warps, stages = tiles[(block_d > 64) + (block_d > 128)]
    tile = {"BLOCK_M": m, "BLOCK_N": n, "BLOCK_D": block_d}
    return {**tile, "num_warps": warps, "num_stages": stages}


def _band(q: torch.Tensor, k: torch.Tensor, causal: bool) -> int:
    """Heads of k in a band of ``work_order``: those whose q and do fit into L2_SHARE bytes.

    Without causal all tiles take as long, and one head comes after the other.
    """
    group = q.shape[1] // max(k.shape[1], 1)
    bytes_a_head = 2 * group * q.shape[2] * q.shape[3] * q.element_size()
    band = L2_SHARE // max(bytes_a_head, 1)
    return max(min(band, k.shape[0] * k.shape[1]), 1) if causal else 1


def _checked(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    do: torch.Tensor,
    rows: dict[str, torch.Tensor],
    scale: float,
) -> tuple[int, int, int, int, int, int]:
    """``_operands`` of q, k and v, after a look at the rest: a ValueError if it does not fit.

    rows: what is one float32 number for each query, contiguous, by its name.
    """
    _same(q, do, "q and do")
    for name, x in rows.items():
        if x.shape != q.shape[:3] or x.dtype != torch.float32 or not x.is_contiguous():
            raise ValueError(
                f"{name} must be contiguous float32 of shape {tuple(q.shape[:3])}, not {x.dtype} "
                f"{tuple(x.shape)} with strides {x.stride()}"
            )
    if not scale > 0:
        raise ValueError(f"the scale must be greater than 0, not {scale}")
    return _operands(q, k, v)


def query_blocks(
    tile: int, queries: int, keys: int, causal: tl.constexpr, block_m: int, block_n: int
) -> tuple[int, int]:
    """Which blocks of queries a tile of keys needs: from first on masked, from whole on unmasked.

    The tile holds the keys from tile * block_n on, block_n of them or as many as there are. Block i
    holds the queries from i * block_m on, block_m of them or as many as there are. Without causal a
    query sees all keys; with it query i sees the keys j <= i + keys - queries, as on day 27.

        blocks 0 ... first - 1       hold no query that sees any key of the tile
        blocks first ... whole - 1   are cut by the mask
        blocks from whole on         hold only queries that see all keys of the tile

    It is day 32's ``key_blocks`` seen from the keys, and as there, one function for Python and for
    kernels: write it with + - * // min, max and if only. first is the largest number of which that
    is true, whole the smallest.

    Args:
        tile: 0 or more, with tile * block_n < keys.
        queries, keys: 0 or more, 1 or more.
        causal: a bool, whether the mask is causal; the kernel knows it when it is compiled.
        block_m, block_n: 1 or more.

    Returns:
        (first, whole) with 0 <= first <= whole; whole is at most the number of blocks.

    Example:
        For the drawing above, query_blocks(tile, 6, 10, True, 2, 3) is (0, 0), (0, 1), (1, 2) and
        (2, 3) for the tiles 0 to 3. Without causal it is (0, 0) for each.
    """
    # TODO: the first query that sees the tile's first key, and the first that sees its last one.
    # HINT: Solve j <= i + keys - queries for i. Which key of the tile decides about first?
    ### BEGIN SOLUTION
    # HINT: Key j is seen from the query j + queries - keys on, or from 0 if that is negative.
    # HINT: The tile's last key is min(tile * block_n + block_n, keys) - 1. first rounds down,
    #       whole rounds up: (last + block_m - 1) // block_m.
    earliest, latest = 0, 0
    if causal:
        earliest = max(tile * block_n + queries - keys, 0)
        latest = max(min(tile * block_n + block_n, keys) - 1 + queries - keys, 0)
    return earliest // block_m, (latest + block_m - 1) // block_m
    ### END SOLUTION


_query_blocks = triton.jit(query_blocks)  # the same function, for kernels


@triton.jit
def _base2(lse):
    """lse to the base 2, and +inf where it is -inf: then 2^(s - lse) is 0 for all scores there."""
    return tl.where(lse == -float("inf"), float("inf"), lse) * LOG2_E


@triton.jit
def flash_dkdv_blocks_kernel(
    dk,
    dv,
    k,
    v,
    q,
    do,
    lse_ptr,
    delta_ptr,
    batch,
    head,
    group,
    key,
    begin,
    end,
    queries,
    keys,
    q_head_stride,
    q_row_stride,
    q_dim_stride,
    do_head_stride,
    do_row_stride,
    do_dim_stride,
    scale,
    DIM: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_D: tl.constexpr,
    Q_DESCRIBED: tl.constexpr,
    DO_DESCRIBED: tl.constexpr,
    WHOLE: tl.constexpr,
):
    """dk and dv, not scaled, with what the blocks begin ... end - 1 of group heads' queries add.

    The heads of q are head ... head + group - 1; pointers point at the first element of the first
    of them. k and v are the tile's blocks (BLOCK_N, BLOCK_D), key the numbers of its keys. With
    WHOLE every query of these blocks sees every key of the tile. scale is the scale of the scores
    times log2(e). The kernel below calls this one twice.
    """
    # TODO: for each block of each head: q's and do's, the weights, dv; then dP, dS and dk.
    # HINT: Here the queries run along the second axis of P. Which of the products needs no .T then?
    ### BEGIN SOLUTION
    # HINT: One loop does for all heads: step // (end - begin) counts them, and step % (end - begin)
    #       the blocks of each.
    # HINT: _block_of(q, batch, head, block, queries, q_row_stride, q_dim_stride, DIM, BLOCK_M,
    #       BLOCK_D, Q_DESCRIBED, False) is q's block: the last one may end early. So is do's.
    # HINT: With lse the numbers of the block's rows from lse_ptr, +inf beyond the last one, p is
    #       tl.exp2(s * scale - _base2(lse)[None, :]). Unless WHOLE, put 0 where key[:, None] is not
    #       below row[None, :] + 1 + keys - queries.
    # HINT: dv = tl.dot(p.to(do_block.dtype), do_block, dv); dp = tl.dot(v, do_block.T);
    #       ds = p * (dp - delta[None, :]); dk = tl.dot(ds.to(q_block.dtype), q_block, dk). Each dot
    #       with input_precision="ieee".
    blocks = end - begin
    for step in range(0, group * blocks):
        member, block = step // blocks, begin + step % blocks
        q_head, do_head = q, do
        if not Q_DESCRIBED:
            q_head = q + member * q_head_stride
        if not DO_DESCRIBED:
            do_head = do + member * do_head_stride
        row = block * BLOCK_M + tl.arange(0, BLOCK_M)
        numbers = member.to(tl.int64) * queries
        q_block = _block_of(
            *(q_head, batch, head + member, block, queries, q_row_stride, q_dim_stride),
            *(DIM, BLOCK_M, BLOCK_D, Q_DESCRIBED, False),
        )
        lse = tl.load(lse_ptr + numbers + row, mask=row < queries, other=float("inf"))
        s = tl.dot(k, q_block.T, input_precision="ieee")
        p = tl.exp2(s * scale - _base2(lse)[None, :])
        if not WHOLE:
            p = tl.where(key[:, None] < row[None, :] + 1 + keys - queries, p, 0.0)
        do_block = _block_of(
            *(do_head, batch, head + member, block, queries, do_row_stride, do_dim_stride),
            *(DIM, BLOCK_M, BLOCK_D, DO_DESCRIBED, False),
        )
        dv = tl.dot(p.to(do_block.dtype), do_block, dv, input_precision="ieee")
        dp = tl.dot(v, do_block.T, input_precision="ieee")
        delta = tl.load(delta_ptr + numbers + row, mask=row < queries, other=0.0)
        ds = p * (dp - delta[None, :])
        dk = tl.dot(ds.to(q_block.dtype), q_block, dk, input_precision="ieee")
    ### END SOLUTION
    return dk, dv


@triton.jit
def flash_dkdv_kernel(
    q,
    k_ptr,
    v_ptr,
    do,
    lse_ptr,
    delta_ptr,
    dk_ptr,
    dv_ptr,
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
    do_batch_stride,
    do_head_stride,
    do_row_stride,
    do_dim_stride,
    matrices,
    kv_heads,
    group,
    queries,
    keys,
    scale,
    together,
    DIM: tl.constexpr,
    CAUSAL: tl.constexpr,
    Q_DESCRIBED: tl.constexpr,
    DO_DESCRIBED: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """dk and dv of one tile of keys of one head of k and v; both are contiguous.

    There are matrices (batch * kv_heads) of them. q and do are descriptors where Q_DESCRIBED and
    DO_DESCRIBED say so, else pointers. group heads of q share a head of k and v. scale is that of
    the scores.
    """
    # TODO: which tile of which head? Load k and v; go through the blocks of queries that are cut
    #       and through those that are whole; store dk and dv.
    # HINT: work_order begins with the last tile. Which tile of keys has the most queries?
    ### BEGIN SOLUTION
    # HINT: matrix, tile = _work_order(tl.program_id(0), tiles, matrices, together), and the tile of
    #       keys is tiles - 1 - tile: the first one is the longest.
    # HINT: The heads of q begin with head = kv_head * group of the same batch; their lse and delta
    #       with number (batch * kv_heads * group + head) * queries.
    # HINT: Without a descriptor the blocks' function wants a pointer to the first element of that
    #       head: q + batch * q_batch_stride + head * q_head_stride. Give it scale * LOG2_E.
    # HINT: Only dk has the scale, once, when it is stored: dk * scale.
    tiles = tl.cdiv(keys, BLOCK_N)
    matrix, tile = _work_order(tl.program_id(0), tiles, matrices, together)
    tile = tiles - 1 - tile
    first, whole = _query_blocks(tile, queries, keys, CAUSAL, BLOCK_M, BLOCK_N)
    matrix = matrix.to(tl.int64)
    batch, kv_head = matrix // kv_heads, matrix % kv_heads
    key = tile * BLOCK_N + tl.arange(0, BLOCK_N)
    d = tl.arange(0, BLOCK_D)
    inside = (key < keys)[:, None] & (d < DIM)[None, :]
    key64, d64 = key.to(tl.int64)[:, None], d.to(tl.int64)[None, :]
    k_ptr += batch * k_batch_stride + kv_head * k_head_stride
    v_ptr += batch * v_batch_stride + kv_head * v_head_stride
    k = tl.load(k_ptr + key64 * k_row_stride + d64 * k_dim_stride, mask=inside, other=0.0)
    v = tl.load(v_ptr + key64 * v_row_stride + d64 * v_dim_stride, mask=inside, other=0.0)
    head = kv_head * group
    if not Q_DESCRIBED:
        q += batch * q_batch_stride + head * q_head_stride
    if not DO_DESCRIBED:
        do += batch * do_batch_stride + head * do_head_stride
    lse_ptr += matrix * group * queries
    delta_ptr += matrix * group * queries
    dk = tl.zeros((BLOCK_N, BLOCK_D), tl.float32)
    dv = tl.zeros((BLOCK_N, BLOCK_D), tl.float32)
    dk, dv = flash_dkdv_blocks_kernel(
        *(dk, dv, k, v, q, do, lse_ptr, delta_ptr, batch, head, group, key, first, whole),
        *(queries, keys, q_head_stride, q_row_stride, q_dim_stride),
        *(do_head_stride, do_row_stride, do_dim_stride, scale * LOG2_E),
        *(DIM, BLOCK_M, BLOCK_D, Q_DESCRIBED, DO_DESCRIBED, False),
    )
    end = tl.cdiv(queries, BLOCK_M)
    dk, dv = flash_dkdv_blocks_kernel(
        *(dk, dv, k, v, q, do, lse_ptr, delta_ptr, batch, head, group, key, whole, end),
        *(queries, keys, q_head_stride, q_row_stride, q_dim_stride),
        *(do_head_stride, do_row_stride, do_dim_stride, scale * LOG2_E),
        *(DIM, BLOCK_M, BLOCK_D, Q_DESCRIBED, DO_DESCRIBED, True),
    )
    out = (matrix * keys + key64) * DIM + d[None, :]
    tl.store(dk_ptr + out, dk * scale, mask=inside)
    tl.store(dv_ptr + out, dv, mask=inside)
    ### END SOLUTION


def flash_dkdv(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    do: torch.Tensor,
    lse: torch.Tensor,
    delta: torch.Tensor,
    causal: bool,
    scale: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The gradients at k and v, in one launch: a program for each tile of keys.

        P = exp(S - lse)    dv = P^T do    dS = P * (do v^T - delta)    dk = scale * dS^T q

    with S = scale * q k^T, as on day 33, where each head of k and v sums over the heads of q that
    share it: within its program, in the order of the heads, so nothing is added to memory that
    another program writes. A tile takes only the blocks of queries from ``query_blocks``' first on;
    whatever q and do hold in the others, be it nan, has no effect on it. Sums are float32 and are
    rounded once; P and dS are rounded to the dtype of do and q for their products.

    Limits:
        - One launch with a grid of one axis, of one program for each tile of BLOCK_N keys of each
          head of k that ``_dkdv_config`` gives; no memory but the results'. No operand is copied,
          whatever its strides, and there is no atomic operation: two runs give the same bits.
        - Programs come in ``work_order``'s order, but for the tiles, of which the first is the
          longest; in bands of ``_band(q, k, causal)``.
        - Rows that are contiguous and aligned are read and written 128 bits at a time. Where
          ``_through_tma`` and ``describe`` allow it, q and do are read through descriptors.
        - With each of ``_dkdv_config``'s tiles the kernel compiles within the chip's shared memory,
          for sm_90 and sm_80. For dims that are multiples of 16 it spills at most 512 bytes of
          registers a thread. For 16-bit types the products are computed by tensor cores, up to 128
          elements by wgmma on sm_90.

    Args:
        q: (batch, heads, queries, dim) of any strides; float32, float16 or bfloat16. Sizes may be
            0, but dim is from 1 to 256.
        k, v: (batch, kv_heads, keys, dim) of any strides and q's dtype; heads is a multiple of
            kv_heads.
        do: of q's shape and dtype, any strides, 0 among them.
        lse: (batch, heads, queries), contiguous float32: day 32's, a natural logarithm; -inf where
            a query sees no key. Such a query adds nothing.
        delta: (batch, heads, queries), contiguous float32: day 33's.
        causal: whether query i sees the keys j <= i + keys - queries only.
        scale: that of the scores; greater than 0.

    Returns:
        dk, dv: new contiguous tensors of k's shape and dtype; 0 where there are no queries.

    Raises:
        ValueError: what ``_checked`` refuses.

    Example:
        q = [[[[1]]]], k = [[[[log 3], [0]]]], v = [[[[4], [8]]]], do = [[[[1]]]], lse = [[[log
        4]]], delta = [[[5]]], scale = 1: dk is [[[[-3/4], [3/4]]]] and dv is [[[[3/4], [1/4]]]].
    """
    # TODO: refuse what does not fit; allocate; describe q and do if possible; launch.
    # HINT: Whose heads and whose tiles are counted in the grid?
    ### BEGIN SOLUTION
    # HINT: _checked(q, k, v, do, {"lse": lse, "delta": delta}, scale) refuses, and gives the sizes.
    # HINT: A descriptor of q has blocks of BLOCK_M x BLOCK_D. The kernel gets it, or the tensor.
    # HINT: kv_heads = k.shape[1]; after the strides of q, k, v, do come batch * kv_heads, kv_heads,
    #       group, queries, keys, scale, _band(q, k, causal).
    batch, _, queries, keys, dim, group = _checked(q, k, v, do, {"lse": lse, "delta": delta}, scale)
    matrices = batch * k.shape[1]
    config = _dkdv_config(dim, q.element_size())
    dk, dv = (torch.empty(x.shape, dtype=x.dtype, device=x.device) for x in (k, v))
    tma, block = _through_tma(q.element_size()), (config["BLOCK_M"], config["BLOCK_D"])
    q_desc, do_desc = (describe(x, *block) if tma else None for x in (q, do))
    flash_dkdv_kernel[(matrices * triton.cdiv(keys, config["BLOCK_N"]),)](
        *(q_desc or q, k, v, do_desc or do, lse, delta, dk, dv),
        *(*q.stride(), *k.stride(), *v.stride(), *do.stride()),
        *(matrices, k.shape[1], group, queries, keys, scale, _band(q, k, causal)),
        DIM=dim,
        CAUSAL=causal,
        Q_DESCRIBED=q_desc is not None,
        DO_DESCRIBED=do_desc is not None,
        **config,
    )
    return dk, dv
    ### END SOLUTION


@triton.jit
def flash_dq_blocks_kernel(
    dq,
    q,
    do,
    k,
    v,
    lse,
    delta,
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
    """dq, not scaled, with what the blocks begin ... end - 1 of k and v add.

    q and do are the tile's blocks (BLOCK_M, BLOCK_D), delta and lse its numbers, lse after
    ``_base2``. Query i of the tile sees the keys below seen[i]; with WHOLE it sees all
    keys of these blocks. scale is the scale of the scores times log2(e).
    """
    # TODO: for each block: the weights as in the forward pass, dP, dS, and what it adds to dq.
    # HINT: Day 32's loop finds the scores. What replaces online_step, and what has become of v?
    ### BEGIN SOLUTION
    # HINT: p = tl.exp2(s * scale - lse[:, None]); unless WHOLE, 0 where the key is not below
    #       seen[:, None]. A key that does not exist is not below it.
    # HINT: dp = tl.dot(do, v_block.T), ds = p * (dp - delta[:, None]), and
    #       dq = tl.dot(ds.to(k_block.dtype), k_block, dq), all with input_precision="ieee".
    for block in range(begin, end):
        k_block = _block_of(
            *(k, batch, head, block, keys, k_row_stride, k_dim_stride),
            *(DIM, BLOCK_N, BLOCK_D, K_DESCRIBED, WHOLE),
        )
        s = tl.dot(q, k_block.T, input_precision="ieee")
        p = tl.exp2(s * scale - lse[:, None])
        if not WHOLE:
            key = block * BLOCK_N + tl.arange(0, BLOCK_N)
            p = tl.where(key[None, :] < seen[:, None], p, 0.0)
        v_block = _block_of(
            *(v, batch, head, block, keys, v_row_stride, v_dim_stride),
            *(DIM, BLOCK_N, BLOCK_D, V_DESCRIBED, WHOLE),
        )
        dp = tl.dot(do, v_block.T, input_precision="ieee")
        ds = p * (dp - delta[:, None])
        dq = tl.dot(ds.to(k_block.dtype), k_block, dq, input_precision="ieee")
    ### END SOLUTION
    return dq


@triton.jit
def flash_dq_kernel(
    q_ptr,
    k,
    v,
    do_ptr,
    lse_ptr,
    delta_ptr,
    dq_ptr,
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
    do_batch_stride,
    do_head_stride,
    do_row_stride,
    do_dim_stride,
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
    """dq of the tile of queries that ``_work_order`` gives this program; dq is contiguous.

    There are matrices (batch * heads). k and v are descriptors where K_DESCRIBED and V_DESCRIBED
    say so, else pointers. group heads of q share a head of k and v. scale is that of the scores.
    """
    # TODO: day 32's kernel with do, lse and delta beside q, and one block of sums.
    # HINT: What is loaded once for a tile of queries, and what does each block of keys bring?
    ### BEGIN SOLUTION
    # HINT: matrix, tile, whole, end and seen are those of day 32; q and do are loaded with the same
    #       mask and other=0.0.
    # HINT: The row's lse and delta are number matrix * queries + row; _base2(lse) is what the
    #       blocks' function wants.
    # HINT: Two calls, 0 ... whole and whole ... end, with scale * LOG2_E; then store dq * scale.
    tiles = tl.cdiv(queries, BLOCK_M)
    matrix, tile = _work_order(tl.program_id(0), tiles, matrices, together)
    whole, end = _key_blocks(tile, queries, keys, CAUSAL, BLOCK_M, BLOCK_N)
    matrix = matrix.to(tl.int64)
    batch, head = matrix // heads, matrix % heads
    row = tile * BLOCK_M + tl.arange(0, BLOCK_M)
    seen = row + 1 + keys - queries if CAUSAL else tl.zeros_like(row) + keys
    d = tl.arange(0, BLOCK_D)
    inside = (row < queries)[:, None] & (d < DIM)[None, :]
    row64, d64 = row.to(tl.int64)[:, None], d.to(tl.int64)[None, :]
    q_ptr += batch * q_batch_stride + head * q_head_stride
    do_ptr += batch * do_batch_stride + head * do_head_stride
    q = tl.load(q_ptr + row64 * q_row_stride + d64 * q_dim_stride, mask=inside, other=0.0)
    do = tl.load(do_ptr + row64 * do_row_stride + d64 * do_dim_stride, mask=inside, other=0.0)
    numbers = matrix * queries + row
    lse = tl.load(lse_ptr + numbers, mask=row < queries, other=float("inf"))
    delta = tl.load(delta_ptr + numbers, mask=row < queries, other=0.0)
    lse = _base2(lse)
    head = head // group
    if not K_DESCRIBED:
        k += batch * k_batch_stride + head * k_head_stride
    if not V_DESCRIBED:
        v += batch * v_batch_stride + head * v_head_stride
    dq = tl.zeros((BLOCK_M, BLOCK_D), tl.float32)
    dq = flash_dq_blocks_kernel(
        *(dq, q, do, k, v, lse, delta, batch, head, 0, whole, seen, keys),
        *(k_row_stride, k_dim_stride, v_row_stride, v_dim_stride, scale * LOG2_E),
        *(DIM, BLOCK_N, BLOCK_D, K_DESCRIBED, V_DESCRIBED, True),
    )
    dq = flash_dq_blocks_kernel(
        *(dq, q, do, k, v, lse, delta, batch, head, whole, end, seen, keys),
        *(k_row_stride, k_dim_stride, v_row_stride, v_dim_stride, scale * LOG2_E),
        *(DIM, BLOCK_N, BLOCK_D, K_DESCRIBED, V_DESCRIBED, False),
    )
    out = (matrix * queries + row64) * DIM + d[None, :]
    tl.store(dq_ptr + out, dq * scale, mask=inside)
    ### END SOLUTION


def flash_dq(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    do: torch.Tensor,
    lse: torch.Tensor,
    delta: torch.Tensor,
    causal: bool,
    scale: float,
) -> torch.Tensor:
    """The gradient at q, in one launch: a program for each tile of queries.

        P = exp(S - lse)    dS = P * (do v^T - delta)    dq = scale * dS k

    with S = scale * q k^T, as on day 33. The weights are computed a second time: that costs two
    products a pair of blocks, and saves dq from being added up in memory by many programs. A tile
    takes only the blocks of keys below day 32's ``key_blocks``' end; whatever k and v hold in the
    others, be it nan, has no effect on it. Sums are float32 and are rounded once; dS is rounded to
    the dtype of k for its product.

    Limits: as for ``flash_dkdv``, with one program for each tile of BLOCK_M queries that
    ``_dq_config`` gives, in ``work_order``'s order and in bands of ``_together(q, k, causal)``;
    it is k and v that are read through descriptors.

    Args:
        q, k, v, do, lse, delta, causal, scale: as for ``flash_dkdv``.

    Returns:
        dq: a new contiguous tensor of q's shape and dtype; 0 for a query that sees no key.

    Raises:
        ValueError: what ``_checked`` refuses.

    Example:
        With the operands of ``flash_dkdv``'s example: dq is [[[[-3/4 log 3]]]].
    """
    # TODO: refuse what does not fit; allocate; describe k and v if possible; launch.
    # HINT: Which lines of day 32's launcher change?
    ### BEGIN SOLUTION
    # HINT: A descriptor of k has blocks of BLOCK_N x BLOCK_D.
    # HINT: After the strides of q, k, v, do come batch * heads, heads, group, queries, keys, scale,
    #       _together(q, k, causal).
    batch, heads, queries, keys, dim, group = _checked(
        q, k, v, do, {"lse": lse, "delta": delta}, scale
    )
    config = _dq_config(dim, q.element_size())
    dq = torch.empty(q.shape, dtype=q.dtype, device=q.device)
    tma, block = _through_tma(q.element_size()), (config["BLOCK_N"], config["BLOCK_D"])
    k_desc, v_desc = (describe(x, *block) if tma else None for x in (k, v))
    flash_dq_kernel[(batch * heads * triton.cdiv(queries, config["BLOCK_M"]),)](
        *(q, k_desc or k, v_desc or v, do, lse, delta, dq),
        *(*q.stride(), *k.stride(), *v.stride(), *do.stride()),
        *(batch * heads, heads, group, queries, keys, scale, _together(q, k, causal)),
        DIM=dim,
        CAUSAL=causal,
        K_DESCRIBED=k_desc is not None,
        V_DESCRIBED=v_desc is not None,
        **config,
    )
    return dq
    ### END SOLUTION


def flash_attention_backward(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    o: torch.Tensor,
    lse: torch.Tensor,
    do: torch.Tensor,
    causal: bool = False,
    scale: float | None = None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """FlashAttention-2's backward pass: dq, dk, dv from what the forward pass has kept.

    Limits: three launches, of ``delta``, ``flash_dkdv`` and ``flash_dq``; no memory but the
    results' and delta's, so nothing of the size queries x keys, and no copy of an operand. No
    atomic operation: two runs give the same bits.

    Args:
        q, k, v: as for ``flash_dkdv``.
        o, lse: the results of day 32's ``flash_attention_forward`` for q, k, v, causal and scale; o
            may have any strides.
        do: the gradient at o, of its shape and dtype, any strides, 0 among them.
        causal: as for the forward pass.
        scale: 1 / sqrt(dim) unless given; greater than 0.

    Returns:
        dq, dk, dv: new contiguous tensors of the shapes and dtype of q, k, v.

    Raises:
        ValueError: q, o and do are not of one shape and dtype, or what ``_checked`` refuses; before
            the first launch.

    Example:
        As in day 33's ``tiled_backward``: q = [[[[1]]]], k = [[[[log 3], [0]]]], v = [[[[4],
        [8]]]], o = [[[[5]]]], lse = [[[log 4]]], do = [[[[1]]]], scale = 1. dq is [[[[-3/4 log
        3]]]], dk is [[[[-3/4], [3/4]]]] and dv is [[[[3/4], [1/4]]]].
    """
    # TODO: choose the scale, compute delta, call the two functions above.
    # HINT: Which of the errors would come only when delta has been launched?
    ### BEGIN SOLUTION
    # HINT: _same(q, o, "q and o"); and look at lse before the first launch, with _checked(q, k, v,
    #       do, {"lse": lse}, scale).
    # HINT: row_sums = delta(o, do) is passed to flash_dkdv and to flash_dq.
    scale = q.shape[3] ** -0.5 if scale is None else scale
    _same(q, o, "q and o")
    _checked(q, k, v, do, {"lse": lse}, scale)
    row_sums = delta(o, do)
    dk, dv = flash_dkdv(q, k, v, do, lse, row_sums, causal, scale)
    return flash_dq(q, k, v, do, lse, row_sums, causal, scale), dk, dv
    ### END SOLUTION


def _head(*rows: list[float]) -> torch.Tensor:
    """One batch with one head of these rows."""
    return torch.tensor([[rows]], dtype=torch.float32, device=DEVICE)


def _by_hand() -> tuple[torch.Tensor, ...]:
    """q, k, v, do, lse and delta of the example."""
    k, v = _head([3.0], [1.0]).log(), _head([4.0], [8.0])
    return _head([1.0]), k, v, _head([1.0]), _head([4.0])[0].log(), _head([5.0])[0]


def test_query_blocks_of_the_drawing() -> None:
    assert [query_blocks(tile, 6, 10, True, 2, 3) for tile in range(4)] == [
        (0, 0),
        (0, 1),
        (1, 2),
        (2, 3),
    ]
    assert query_blocks(3, 6, 10, False, 2, 3) == (0, 0)


def test_dk_and_dv_of_two_keys() -> None:
    dk, dv = flash_dkdv(*_by_hand(), False, 1.0)
    torch.testing.assert_close(dk, _head([-0.75], [0.75]))
    torch.testing.assert_close(dv, _head([0.75], [0.25]))


def test_dq_of_one_query() -> None:
    expected = -0.75 * _head([3.0]).log()
    torch.testing.assert_close(flash_dq(*_by_hand(), False, 1.0), expected)


def test_all_three_from_the_output() -> None:
    q, k, v, do, lse, _ = _by_hand()
    dq, dk, dv = flash_attention_backward(q, k, v, _head([5.0]), lse, do, scale=1.0)
    torch.testing.assert_close(dq, -0.75 * _head([3.0]).log())
    torch.testing.assert_close(dk, _head([-0.75], [0.75]))
    torch.testing.assert_close(dv, _head([0.75], [0.25]))


if __name__ == "__main__":
    from harness import main

    main(__file__)
