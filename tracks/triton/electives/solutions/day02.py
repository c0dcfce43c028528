"""Day 02: Flash backward in Gluon
===============================
Estimated time: 6-8 hours
Prerequisites: Elective day 01, Triton day 34 (flash backward); a Hopper GPU (sm_90a)
Lesson: lessons/day02.md

Learning objectives:
- Choose a layout of registers that makes loads 128 bits wide and a row's sum cheap
- Let the TMA add tiles to global memory, from many programs at the same time
- Feed a warpgroup's four products a step from two rings
- Exchange dS between two warpgroups, so that each computes half of dQ
- Keep the tensor cores at work during the exponentials with a product of the step before

One program owns 128 keys. What happens in a step, for one block of queries:

    producer      Q, -lse    dO, -delta                              two rings
    warpgroup 0   S^T = K0 Q^T   dP^T = V0 dO^T   dV0 += P^T dO  }   64 keys each
    warpgroup 1   S^T = K1 Q^T   dP^T = V1 dO^T   dV1 += P^T dO  }
                          dS^T of both, in shared memory
    warpgroup 0   its half of dQ = dS K       dK0 += dS^T Q  (one step later)
    warpgroup 1   its half of dQ = dS K       dK1 += dS^T Q
    storer        adds both halves of dQ to global memory, by the TMA

Hints:
- Five products a step. For each: which operand may lie in registers, which must lie in shared
  memory, and who else reads it?
- A slot is given back when the last product that reads it has been waited for.
- Two programs add to the same rows of dQ. In which order, and what follows for the last bits?
Resources:
- Dao, FlashAttention-2 (the backward pass): https://arxiv.org/abs/2307.08691
- Shah et al., FlashAttention-3 (the backward on Hopper): https://arxiv.org/abs/2407.08608
- NVIDIA, PTX ISA, cp.reduce.async.bulk.tensor: https://docs.nvidia.com/cuda/parallel-thread-execution/index.html
- Triton, Gluon tutorials: https://github.com/triton-lang/triton/tree/main/python/tutorials/gluon
"""

import torch
import triton
from triton._C.libtriton import ir
from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.experimental.gluon.language._core import builtin
from triton.experimental.gluon.language.nvidia.hopper import (
    fence_async_shared,
    mbarrier,
    tma,
    warpgroup_mma,
    warpgroup_mma_wait,
)
from triton.experimental.gluon.nvidia.hopper import TensorDescriptor

from tracks.triton.day31 import LN2, LOG2E
from tracks.triton.day32 import work_order
from tracks.triton.day34 import _band, _checked, query_blocks
from tracks.triton.electives.day01 import (
    SLOTS,
    TILE,
    _blocks,
    _dim,
    _into,
    _layout,
    _matrix,
    _need_hopper,
    _place,
    ring_sums_fill_kernel,
    ring_sums_ring_kernel,
    scale_tiles,
)

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
KEYS = 128  # keys of a program, 64 a warpgroup
ROWS = 64  # queries in a block
LOG2_E = gl.constexpr(LOG2E)
LN_2 = gl.constexpr(LN2)
INFINITY = gl.constexpr(float("inf"))

_ring = ring_sums_ring_kernel
_fill = ring_sums_fill_kernel
_query_blocks = gluon.jit(query_blocks)
_work_order = gluon.jit(work_order)


@builtin
def _tma_add(descriptor, place, tile, _semantic=None):
    """descriptor's block at place += tile, by the TMA. Gluon's compiler has it, its library not."""
    place = _semantic._convert_to_ir_values(place, require_i64=False)
    kind = ir.DESCRIPTOR_REDUCE_KIND.ADD
    _semantic.builder.create_async_tma_reduce(kind, descriptor.handle, place, tile.handle)


@gluon.jit(do_not_specialize=["heads", "queries"])
def row_terms_kernel(
    o_ptr, do_ptr, lse_ptr, lse_out, delta_out, heads, queries, batch_stride, head_stride,
    row_stride, padded, DIM: gl.constexpr, BLOCK_D: gl.constexpr, ROWS: gl.constexpr,
):  # fmt: skip
    """ROWS rows of both terms of one head; o is contiguous, the strides are do's."""
    matrix = gl.program_id(1).to(gl.int64)
    # TODO: choose a layout for a block (ROWS, BLOCK_D) of o and do; load both, and lse; store the
    #       negated terms, 0 beyond the queries.
    # HINT: 128 bits are eight elements. How many threads does a row need then?
    ### BEGIN SOLUTION
    # HINT: gl.BlockedLayout([1, 8], [32 // (BLOCK_D // 8), BLOCK_D // 8], [4, 1], [1, 0]): elements
    #       of a thread, threads of a warp, warps, and the axis that runs fastest. The rows' layout
    #       is gl.SliceLayout(1, ...) of it.
    # HINT: The batch is matrix // heads and the head matrix % heads. Rows from queries on and
    #       columns from DIM on do not exist: mask them, with 0 in their place.
    # HINT: The negated lse to the base 2 is -lse * LOG2_E, but -inf where lse is -inf, so that
    #       2^(s - inf) is 0 for a query that sees no key.
    LANES: gl.constexpr = BLOCK_D // 8
    LAYOUT: gl.constexpr = gl.BlockedLayout([1, 8], [32 // LANES, LANES], [4, 1], [1, 0])
    row = gl.program_id(0) * ROWS + gl.arange(0, ROWS, layout=gl.SliceLayout(1, LAYOUT))
    d = gl.arange(0, BLOCK_D, layout=gl.SliceLayout(0, LAYOUT))
    exists = row < queries
    inside = exists[:, None] & (d < DIM)[None, :]
    o_ptr += matrix * queries * DIM
    do_ptr += matrix // heads * batch_stride + matrix % heads * head_stride
    o = gl.load(o_ptr + row[:, None] * DIM + d[None, :], mask=inside, other=0.0)
    do = gl.load(do_ptr + row[:, None] * row_stride + d[None, :], mask=inside, other=0.0)
    lse = gl.load(lse_ptr + matrix * queries + row, mask=exists, other=0.0)
    delta = gl.sum(o.to(gl.float32) * do.to(gl.float32), 1)
    lse = gl.where(lse == -INFINITY, INFINITY, lse) * LOG2_E
    gl.store(lse_out + matrix * padded + row, -lse)
    gl.store(delta_out + matrix * padded + row, -delta)
    ### END SOLUTION


def row_terms(
    o: torch.Tensor, do: torch.Tensor, lse: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """What the backward pass subtracts from each query's row, negated: -lse to the base 2, -delta.

        delta[i] = sum over d of o[i, d] * do[i, d]        (day 33)

    So no score needs a subtraction of its own: it comes as scale * s + term, one FMA. Each head has
    its queries rounded up to whole blocks of ROWS; the terms of what is beyond them are 0. Where
    lse is -inf, of a query that sees no key, its term is -inf too: so 2^(s + term) is 0 whatever s.

    Limits: one launch; no memory but the results'. For sm_90 o and do must be read 128 bits at a
    time where dim is a multiple of 8, without spilled registers.

    Args:
        o: (batch, heads, queries, dim), contiguous, float16 or bfloat16; dim is at most 128.
        do: likewise, but of any strides whose last is 1.
        lse: (batch, heads, queries), contiguous, float32.

    Returns:
        Two new tensors (batch, heads, padded), float32; padded is queries, rounded up to a multiple
        of ROWS.

    Example:
        For o = do = [[[[3, 4]]]] and lse = [[[log 2]]] they begin with -1 and -25, then zeros.
    """
    # TODO: allocate both results; launch a program for each block of rows of each head.
    # HINT: Which number of rows divides padded in any case?
    ### BEGIN SOLUTION
    # HINT: padded = triton.cdiv(queries, ROWS) * ROWS; the grid is (padded // ROWS, batch * heads).
    # HINT: After the pointers come heads, queries, do's first three strides and padded; DIM=dim,
    #       BLOCK_D=64 or 128, ROWS=ROWS.
    batch, heads, queries, dim = o.shape
    padded = triton.cdiv(queries, ROWS) * ROWS
    lse_out, delta_out = (
        torch.empty(batch, heads, padded, dtype=torch.float32, device=o.device) for _ in range(2)
    )
    row_terms_kernel[(padded // ROWS, batch * heads)](
        *(o, do, lse, lse_out, delta_out, heads, queries, *do.stride()[:3], padded),
        DIM=dim,
        BLOCK_D=64 if dim <= 64 else 128,
        ROWS=ROWS,
    )
    return lse_out, delta_out
    ### END SOLUTION


@gluon.jit
def add_tiles_kernel(x_desc, out_desc, rows):
    """out += the tile of x that begins at row program_id(1) * rows, block program_id(0)."""
    LAYOUT: gl.constexpr = gl.BlockedLayout([1, 4], [2, 16], [4, 1], [1, 0])
    SIDE: gl.constexpr = x_desc.block_shape[0]
    tile = gl.allocate_shared_memory(x_desc.dtype, x_desc.block_shape, x_desc.layout)
    sums = gl.allocate_shared_memory(out_desc.dtype, out_desc.block_shape, out_desc.layout)
    loaded = gl.allocate_shared_memory(gl.int64, [1], mbarrier.MBarrierLayout())
    mbarrier.init(loaded, count=1)
    row = gl.program_id(0) * SIDE
    column = gl.program_id(2) * SIDE
    # TODO: load x's tile at [program_id(1) * rows + row, column]; add it to out's at [row, column].
    # HINT: Other programs add to the same tile of out at the same time. Who adds?
    ### BEGIN SOLUTION
    # HINT: It begins as scale_tiles: expect, copy, wait for phase 0; tile.load(LAYOUT) in float32
    #       is what sums holds.
    # HINT: _tma_add(out_desc, [row, column], sums) adds in the L2 cache, element by element. It
    #       reads sums asynchronously: fence before it, tma.store_wait(0) after it.
    mbarrier.expect(loaded, x_desc.block_type.nbytes)
    place = [gl.program_id(1) * rows + row, column]
    tma.async_copy_global_to_shared(x_desc, place, loaded, tile)
    mbarrier.wait(loaded, 0)
    sums.store(tile.load(LAYOUT).to(gl.float32))
    fence_async_shared()
    _tma_add(out_desc, [row, column], sums)
    tma.store_wait(0)
    ### END SOLUTION


def add_tiles(x: torch.Tensor, rows: int) -> torch.Tensor:
    """The sum of the matrices that lie one below the other in x, each of so many rows.

        out[i, j] = x[i, j] + x[rows + i, j] + x[2 * rows + i, j] + ...

    Each tile of 64 x 64 of x is a program: it brings the tile to shared memory and lets the TMA add
    it to the result, in float32. Nobody reads the result to add to it: the additions happen in the
    L2 cache, in any order, so that the last bits can differ from run to run.

    Limits: one launch, and one memory set to 0, the result's. For sm_90 the kernel must compile to
    TMA copies and without spilled registers.

    Args:
        x: (count * rows, columns), float16 or bfloat16, as the TMA can read it (``_matrix``).
        rows: a multiple of 64 that divides x's rows.

    Returns:
        A new tensor (rows, columns), float32.

    Raises:
        ValueError: rows is not such a number, or ``_matrix`` refuses x or the result.

    Example:
        add_tiles of 192 rows of eight ones, with rows = 64, has 64 rows of eight threes.
    """
    if rows <= 0 or rows % TILE or x.shape[0] % rows:
        raise ValueError(f"{rows} rows are no multiple of {TILE} that divides {x.shape[0]} rows")
    out = torch.zeros(rows, x.shape[1], dtype=torch.float32, device=x.device)
    grid = rows // TILE, x.shape[0] // rows, triton.cdiv(x.shape[1], TILE)
    add_tiles_kernel[grid](_matrix(x, "x"), _matrix(out, "the result"), rows)
    return out


@gluon.jit
def _fill_with_terms(descriptor, place, ring, term_desc, term_place, terms, base, step):
    """``_fill`` for a block of queries and its rows' terms: both arrive at the same barrier."""
    buffers, full, empty = ring
    slot, phase = _place(step, buffers.shape[0])
    mbarrier.wait(empty.index(slot), phase ^ 1)
    mbarrier.expect(full.index(slot), descriptor.block_type.nbytes + term_desc.block_type.nbytes)
    tma.async_copy_global_to_shared(descriptor, place, full.index(slot), buffers.index(slot))
    tma.async_copy_global_to_shared(
        term_desc, [term_place], full.index(slot), terms.index(base + slot)
    )


@gluon.jit
def _producer(
    q_desc, k_desc, v_desc, do_desc, lse_desc, delta_desc, k_tiles, v_tiles, loaded, q_ring,
    do_ring, terms, place, start, group, first, blocks, padded,
):  # fmt: skip
    """One warp: the keys and values, then the blocks of queries of each head that uses them.

    The terms of the first of these heads begin at start, those of each head padded further on.
    """
    ROWS: gl.constexpr = q_desc.block_shape[2]
    SLOTS: gl.constexpr = terms.shape[0] // 2
    PARTS: gl.constexpr = k_tiles.shape[0]
    mbarrier.expect(loaded, 2 * PARTS * k_desc.block_type.nbytes)
    for part in gl.static_range(PARTS):
        keys = [place[0], place[1], place[2] + part * k_desc.block_shape[2], 0]
        tma.async_copy_global_to_shared(k_desc, keys, loaded, k_tiles.index(part))
        tma.async_copy_global_to_shared(v_desc, keys, loaded, v_tiles.index(part))
    for member in range(group):
        head = place[1] * group + member
        term = start + member * padded
        for block in range(blocks):
            row = (first + block) * ROWS
            step = member * blocks + block
            rows = [place[0], head, row, 0]
            _fill_with_terms(q_desc, rows, q_ring, lse_desc, term + row, terms, 0, step)
            _fill_with_terms(do_desc, rows, do_ring, delta_desc, term + row, terms, SLOTS, step)


@gluon.jit
def _seen(p, key, row, last, CAUSAL: gl.constexpr):
    """p (keys, rows) with 0 where a key does not exist, or is hidden from the query of that row.

    With CAUSAL the query of row i sees the keys up to last + i, else it sees those up to last. key
    counts from the program's first key, row from the first query of its first block.
    """
    if CAUSAL:
        p = gl.where(key[:, None] <= (row + last)[None, :], p, 0.0)
    else:
        p = gl.where((key <= last)[:, None], p, 0.0)
    return p


@gluon.jit
def _store_keys(desc, tile, x, place):
    """x, a gradient of the program's keys, through the shared memory that held the keys."""
    tile.reshape([tile.shape[2], tile.shape[3]]).store(x.to(tile.dtype))
    fence_async_shared()
    tma.async_copy_shared_to_global(desc, place, tile)


@gluon.jit
def flash_dkdv_gluon_consumer_kernel(
    dk_desc, dv_desc, k_tiles, v_tiles, loaded, q_ring, do_ring, terms, ds_tile, place,
    cut, last, blocks, steps, scale, CAUSAL: gl.constexpr, MASKED: gl.constexpr,
):  # fmt: skip
    """Eight warps, two warpgroups of 64 keys: dK and dV, one product after the other."""
    q_buffers, q_full, q_empty = q_ring
    do_buffers, do_full, do_empty = do_ring
    SLOTS: gl.constexpr = q_buffers.shape[0]
    ROWS: gl.constexpr = q_buffers.shape[3]
    KEYS: gl.constexpr = k_tiles.shape[3]
    DIM: gl.constexpr = k_tiles.shape[4]
    S_LAYOUT: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [8, 1], [16, ROWS, 16])
    D_LAYOUT: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [8, 1], [16, DIM, 16])
    P_LAYOUT: gl.constexpr = gl.DotOperandLayout(0, D_LAYOUT, 2)
    TERM: gl.constexpr = gl.SliceLayout(0, S_LAYOUT)
    k = k_tiles.index(0).reshape([KEYS, DIM])
    v = v_tiles.index(0).reshape([KEYS, DIM])
    key = gl.arange(0, KEYS, layout=gl.SliceLayout(1, S_LAYOUT))
    row = gl.arange(0, ROWS, layout=TERM)
    zero = gl.zeros([KEYS, ROWS], gl.float32, S_LAYOUT)
    dk = gl.zeros([KEYS, DIM], gl.float32, D_LAYOUT)
    dv = gl.zeros([KEYS, DIM], gl.float32, D_LAYOUT)
    mbarrier.wait(loaded, 0)
    for step in range(steps):
        slot, phase = _place(step, SLOTS)
        q = q_buffers.index(slot).reshape([ROWS, DIM])
        do = do_buffers.index(slot).reshape([ROWS, DIM])
        # TODO: S^T and from it P^T; dV; dP^T; dS^T, into shared memory; dK. Give back the slots.
        # HINT: P^T and dS^T are first operands of products. Why may one stay in registers, and
        #       what would the other need there?
        ### BEGIN SOLUTION
        # HINT: s = warpgroup_mma(k, q.permute((1, 0)), zero, use_acc=False, is_async=True), and p =
        #       gl.exp2(s * (scale * LOG2_E) + terms.index(slot).load(TERM)[None, :]).
        # HINT: If MASKED and step % blocks < cut, _seen(p, key, step % blocks * ROWS + row, last,
        #       CAUSAL) hides what is to be hidden.
        # HINT: dv takes _into(p, q.dtype, P_LAYOUT) and do; dp is v times do.permute((1, 0)); ds is
        #       p * (dp + terms.index(SLOTS + slot).load(TERM)[None, :]).
        # HINT: ds_tile.store(ds.to(q.dtype)) and a fence_async_shared(); then dk takes ds_tile and
        #       q. Both slots are given back with mbarrier.arrive(..., count=1).
        mbarrier.wait(q_full.index(slot), phase)
        s = warpgroup_mma(k, q.permute((1, 0)), zero, use_acc=False, is_async=True)
        s = warpgroup_mma_wait(0, deps=(s,))
        p = gl.exp2(s * (scale * LOG2_E) + terms.index(slot).load(TERM)[None, :])
        if MASKED:  # noqa: SIM102
            if step % blocks < cut:
                p = _seen(p, key, step % blocks * ROWS + row, last, CAUSAL)
        mbarrier.wait(do_full.index(slot), phase)
        weights = _into(p, q.dtype, P_LAYOUT)
        dv = warpgroup_mma(weights, do, dv, is_async=True)
        dv, weights = warpgroup_mma_wait(0, deps=(dv, weights))
        dp = warpgroup_mma(v, do.permute((1, 0)), zero, use_acc=False, is_async=True)
        dp = warpgroup_mma_wait(0, deps=(dp,))
        ds = p * (dp + terms.index(SLOTS + slot).load(TERM)[None, :])
        ds_tile.store(ds.to(q.dtype))
        fence_async_shared()
        mbarrier.arrive(do_empty.index(slot), count=1)
        dk = warpgroup_mma(ds_tile, q, dk, is_async=True)
        dk = warpgroup_mma_wait(0, deps=(dk,))
        mbarrier.arrive(q_empty.index(slot), count=1)
        ### END SOLUTION
    _store_keys(dv_desc, v_tiles.index(0), dv, place)
    _store_keys(dk_desc, k_tiles.index(0), dk * scale, place)
    tma.store_wait(0)


@gluon.jit(do_not_specialize=["matrices", "kv_heads", "group", "queries", "keys", "together"])
def flash_dkdv_gluon_kernel(
    q_desc, k_desc, v_desc, do_desc, lse_desc, delta_desc, dk_desc, dv_desc, matrices, kv_heads,
    group, queries, keys, scale, together, SLOTS: gl.constexpr, CAUSAL: gl.constexpr,
    MASKED: gl.constexpr,
):  # fmt: skip
    """128 keys of one head of k and v a program: a warp loads, two warpgroups compute."""
    ROWS: gl.constexpr = q_desc.block_shape[2]
    KEYS: gl.constexpr = k_desc.block_shape[2]
    k_tiles = gl.allocate_shared_memory(k_desc.dtype, [1] + k_desc.block_shape, k_desc.layout)
    v_tiles = gl.allocate_shared_memory(v_desc.dtype, [1] + v_desc.block_shape, v_desc.layout)
    S_TILE: gl.constexpr = gl.NVMMASharedLayout(swizzle_byte_width=128, element_bitwidth=16, rank=2)
    ds_tile = gl.allocate_shared_memory(q_desc.dtype, [KEYS, ROWS], S_TILE)
    # Slot i of Q's ring has its -lse in terms[i], slot i of dO's its -delta in terms[SLOTS + i].
    terms = gl.allocate_shared_memory(gl.float32, [2 * SLOTS, ROWS], lse_desc.layout)
    loaded = gl.allocate_shared_memory(gl.int64, [1], mbarrier.MBarrierLayout())
    mbarrier.init(loaded, count=1)
    q_ring = _ring(q_desc, SLOTS, 1)
    do_ring = _ring(do_desc, SLOTS, 1)
    tiles = gl.cdiv(keys, KEYS)
    matrix, tile = _work_order(gl.program_id(0), tiles, matrices, together)
    tile = tiles - 1 - tile  # under a causal mask the first keys are seen by the most queries
    first, whole = _query_blocks(tile, queries, keys, CAUSAL, ROWS, KEYS)
    blocks = gl.cdiv(queries, ROWS) - first
    cut = whole - first  # blocks to mask
    last = keys - 1 - tile * KEYS
    if last < KEYS - 1:
        cut = blocks  # the tile sticks out of the keys: mask all
    if CAUSAL:
        last += first * ROWS + 1 - queries
    batch = matrix // kv_heads
    kv_head = matrix % kv_heads
    place = (batch, kv_head, tile * KEYS, 0)
    padded = gl.cdiv(queries, ROWS) * ROWS
    rings = (q_ring, do_ring, terms)
    keys_and_values = (k_tiles, v_tiles, loaded)
    loads = (q_desc, k_desc, v_desc, do_desc, lse_desc, delta_desc) + keys_and_values + rings
    loads += (place, matrix * group * padded, group, first, blocks, padded)
    work = (dk_desc, dv_desc) + keys_and_values + rings + (ds_tile, place, cut, last)
    work += (blocks, group * blocks, scale, CAUSAL, MASKED)
    gl.warp_specialize([(flash_dkdv_gluon_consumer_kernel, work), (_producer, loads)], [1], [24])


def _operands_of(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    do: torch.Tensor,
    terms: tuple[torch.Tensor, torch.Tensor],
    keys: int,
) -> tuple[TensorDescriptor, ...]:
    """Descriptors of q, k, v, do and of the two terms; of k and v in blocks of so many keys."""
    columns = _dim(q, k, v)
    flat = gl.NVMMASharedLayout(swizzle_byte_width=0, element_bitwidth=32, rank=1)
    return (
        _blocks(q, ROWS, columns, "q"),
        _blocks(k, keys, columns, "k"),
        _blocks(v, keys, columns, "v"),
        _blocks(do, ROWS, columns, "do"),
        *(TensorDescriptor.from_tensor(x.view(-1), [ROWS], flat) for x in terms),
    )


def flash_dkdv_gluon(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    o: torch.Tensor,
    lse: torch.Tensor,
    do: torch.Tensor,
    causal: bool = False,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Day 34's dK and dV for Hopper: a producer warp, two consumer warpgroups of 64 keys each.

        P = exp(scale * q k^T - lse)        dV = P^T dO
        dS = P (dO V^T - delta)             dK = scale * dS^T Q

    with scale = 1 / sqrt(dim), computed transposed: S^T = K Q^T has the keys of a warpgroup as its
    64 rows, so that P^T is the first operand of dV's product without leaving the registers. One
    product after the other; dS^T goes through shared memory, from where dK's product reads it.

    Limits: two launches, ``row_terms`` and one program for each 128 keys of a head of k and v; no
    memory but the results' and the terms'. Only blocks of queries from day 34's ``query_blocks`` on
    are read. For sm_90 the kernel must compile to wgmma and TMA copies, without spilled registers.

    Args:
        q: (batch, heads, queries, dim), float16 or bfloat16, as the TMA can read it; queries is at
            least 1, dim at most 128 and a multiple of 8.
        k, v: (batch, kv_heads, keys, dim) of q's dtype, likewise; keys is at least 1, and heads a
            multiple of kv_heads.
        o, lse: what ``flash_attention_forward`` returned for them, contiguous.
        do: the gradient of o, of q's shape and dtype, as the TMA can read it.
        causal: as in the forward pass.

    Returns:
        dk and dv, new contiguous tensors of k's shape and dtype.

    Raises:
        ValueError: the shapes do not fit, or the TMA cannot read an operand.

    Example:
        For one query and one key, P is 1: dv is do, and dk is 0.
    """
    *_, queries, keys, dim, group = _checked(q, k, v, do, {"lse": lse}, q.shape[3] ** -0.5)
    operands = _operands_of(q, k, v, do, row_terms(o, do, lse), KEYS)
    dk, dv = (torch.empty(k.shape, dtype=k.dtype, device=k.device) for _ in range(2))
    columns = operands[1].block_shape[3]
    flash_dkdv_gluon_kernel[(k.shape[0] * k.shape[1] * triton.cdiv(keys, KEYS),)](
        *(*operands, *(_blocks(x, KEYS, columns, "a gradient") for x in (dk, dv))),
        *(k.shape[0] * k.shape[1], k.shape[1], group, queries, keys, dim**-0.5),
        _band(q, k, causal),
        SLOTS=SLOTS,
        CAUSAL=causal,
        MASKED=causal or keys % KEYS != 0,
        num_warps=8,
    )
    return dk, dv


@gluon.jit
def _meet():
    """Both consumer warpgroups, 256 threads, wait for each other, at barrier 9 of the hardware."""
    gl.inline_asm_elementwise(
        "bar.sync 9, 256; mov.u32 $0, 0;", "=r", [], dtype=gl.int32, is_pure=False, pack=1
    )


@gluon.jit
def _half_of_dq(CONSUMER: gl.constexpr, ds_tiles, pair, k_tiles, zero, DIM: gl.constexpr):
    """Starts this warpgroup's half of dQ = dS K: half of the columns, in two products of 64 keys.

    ds_tiles pair and pair + 1 are dS^T of both warpgroups, (64 keys, 64 queries).
    """
    HALF: gl.constexpr = DIM // 2
    dq = zero
    for consumer in gl.static_range(2):
        ds = ds_tiles.index(pair + consumer).permute((1, 0))
        k = k_tiles.index(consumer).reshape([64, DIM]).slice(CONSUMER * HALF, HALF, dim=1)
        dq = warpgroup_mma(ds, k, dq, use_acc=consumer > 0, is_async=True)
    return dq


@gluon.jit
def flash_attention_backward_storer_kernel(
    dk_desc, dv_desc, dq_desc, k_tiles, v_tiles, dq_halves, dq_full, dq_empty, place, group,
    first, blocks,
):  # fmt: skip
    """One warp: adds both warpgroups' halves of dQ to global memory, step after step.

    After the last step each warpgroup arrives at dq_full once more: where its keys and values were,
    its dK and dV lie then, to be stored.
    """
    ROWS: gl.constexpr = dq_desc.block_shape[2]
    HALF: gl.constexpr = dq_desc.block_shape[3]
    # TODO: for each step: wait for each half and add it; when both have been read, say so.
    # HINT: Which rows of dQ are a step's, and of which head?
    ### BEGIN SOLUTION
    # HINT: The loops are the producer's: for member in range(group), for block in range(blocks).
    # HINT: mbarrier.wait(dq_full.index(half), step & 1), and _tma_add(dq_desc, [batch, head, row,
    #       half * HALF], dq_halves.index(half)).
    # HINT: tma.store_wait(0) before mbarrier.arrive(dq_empty, count=1).
    for member in range(group):
        head = place[1] * group + member
        for block in range(blocks):
            row = (first + block) * ROWS
            for half in gl.static_range(2):
                mbarrier.wait(dq_full.index(half), (member * blocks + block) & 1)
                _tma_add(dq_desc, [place[0], head, row, half * HALF], dq_halves.index(half))
            tma.store_wait(0)
            mbarrier.arrive(dq_empty, count=1)
    ### END SOLUTION
    for half in gl.static_range(2):
        mbarrier.wait(dq_full.index(half), (group * blocks) & 1)
        keys = [place[0], place[1], place[2] + half * dk_desc.block_shape[2], 0]
        tma.async_copy_shared_to_global(dk_desc, keys, k_tiles.index(half))
        tma.async_copy_shared_to_global(dv_desc, keys, v_tiles.index(half))
    tma.store_wait(0)


@gluon.jit
def flash_attention_backward_consumer_kernel(
    CONSUMER: gl.constexpr, k_tiles, v_tiles, loaded, q_ring, do_ring, terms, ds_tiles,
    dq_halves, dq_full, dq_empty, cut, last, blocks, steps, scale, CAUSAL: gl.constexpr,
    MASKED: gl.constexpr,
):  # fmt: skip
    """Warpgroup number CONSUMER: dK and dV of 64 keys, and half of dQ's block each step.

    scale is the scale of the scores times log2(e).
    """
    q_buffers, q_full, q_empty = q_ring
    do_buffers, do_full, do_empty = do_ring
    SLOTS: gl.constexpr = q_buffers.shape[0]
    ROWS: gl.constexpr = q_buffers.shape[3]
    DIM: gl.constexpr = q_buffers.shape[4]
    S_LAYOUT: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [4, 1], [16, ROWS, 16])
    D_LAYOUT: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [4, 1], [16, DIM, 16])
    DQ_LAYOUT: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [4, 1], [16, DIM // 2, 16])
    P_LAYOUT: gl.constexpr = gl.DotOperandLayout(0, D_LAYOUT, 2)
    TERM: gl.constexpr = gl.SliceLayout(0, S_LAYOUT)
    k = k_tiles.index(CONSUMER).reshape([64, DIM])
    v = v_tiles.index(CONSUMER).reshape([64, DIM])
    dq_half = dq_halves.index(CONSUMER).reshape([ROWS, DIM // 2])
    key = CONSUMER * 64 + gl.arange(0, 64, layout=gl.SliceLayout(1, S_LAYOUT))
    row = gl.arange(0, ROWS, layout=TERM)
    zero = gl.zeros([64, ROWS], gl.float32, S_LAYOUT)
    zero_dq = gl.zeros([ROWS, DIM // 2], gl.float32, DQ_LAYOUT)
    dk = gl.zeros([64, DIM], gl.float32, D_LAYOUT)
    dv = gl.zeros([64, DIM], gl.float32, D_LAYOUT)
    # ds_tiles holds two pairs of dS^T: tiles 0 and 1 of even steps, 2 and 3 of odd ones. Before
    # step 0 the tile of the step before is 0, so that the loop needs no exception.
    ds_tiles.index(2 + CONSUMER).store(gl.zeros([64, ROWS], q_buffers.dtype, S_LAYOUT))
    fence_async_shared()
    mbarrier.wait(loaded, 0)
    # TODO: for each step: start S^T; start dK of the step before; start dP^T; wait for S^T and
    #       compute P^T; start dV; wait for dK and dP^T; dS^T into this step's pair; meet the other
    #       warpgroup; its half of dQ; give it to the storer. After the loop: the last dK.
    # HINT: Which of the three waits of a step leaves how many products in flight, and which?
    ### BEGIN SOLUTION
    # HINT: The first wait is warpgroup_mma_wait(2, deps=(s,)): dK and dP^T run on during the
    #       exponentials. The second one leaves only dV: dp, dk = warpgroup_mma_wait(1, deps=(dp,
    #       dk)); now q's slot of the step before is free, with pred=step > 0.
    # HINT: With pair = (step & 1) * 2, this step's tile is pair + CONSUMER, and dK of the step
    #       before reads tile 2 - pair + CONSUMER and q in the slot before; in step 0 that is slot
    #       0, which has arrived.
    # HINT: After ds is stored: fence_async_shared(), _meet(); then _half_of_dq(CONSUMER, ds_tiles,
    #       pair, k_tiles, zero_dq, DIM), and a wait for it and for dV. do's slot is free then.
    # HINT: Before dq_half.store(dq): mbarrier.wait(dq_empty, (step & 1) ^ 1). After it a fence and
    #       mbarrier.arrive(dq_full.index(CONSUMER), count=1).
    for step in range(steps):
        slot, phase = _place(step, SLOTS)
        slot_before, _ = _place(gl.maximum(step - 1, 0), SLOTS)
        pair = (step & 1) * 2
        q = q_buffers.index(slot).reshape([ROWS, DIM])
        q_before = q_buffers.index(slot_before).reshape([ROWS, DIM])
        do = do_buffers.index(slot).reshape([ROWS, DIM])
        mbarrier.wait(q_full.index(slot), phase)
        s = warpgroup_mma(k, q.permute((1, 0)), zero, use_acc=False, is_async=True)
        dk = warpgroup_mma(ds_tiles.index(2 - pair + CONSUMER), q_before, dk, is_async=True)
        mbarrier.wait(do_full.index(slot), phase)
        dp = warpgroup_mma(v, do.permute((1, 0)), zero, use_acc=False, is_async=True)
        lse = terms.index(slot).load(TERM)
        s = warpgroup_mma_wait(2, deps=(s,))
        p = gl.exp2(s * scale + lse[None, :])
        if MASKED:  # noqa: SIM102
            if step % blocks < cut:
                p = _seen(p, key, step % blocks * ROWS + row, last, CAUSAL)
        weights = _into(p, q_buffers.dtype, P_LAYOUT)
        dv = warpgroup_mma(weights, do, dv, is_async=True)
        dp, dk = warpgroup_mma_wait(1, deps=(dp, dk))
        mbarrier.arrive(q_empty.index(slot_before), count=1, pred=step > 0)
        ds = p * (dp + terms.index(SLOTS + slot).load(TERM)[None, :])
        ds_tiles.index(pair + CONSUMER).store(ds.to(q_buffers.dtype))
        fence_async_shared()
        _meet()
        dq = _half_of_dq(CONSUMER, ds_tiles, pair, k_tiles, zero_dq, DIM)
        dq, dv, weights = warpgroup_mma_wait(0, deps=(dq, dv, weights))
        mbarrier.arrive(do_empty.index(slot), count=1)
        mbarrier.wait(dq_empty, (step & 1) ^ 1)
        dq_half.store(dq)
        fence_async_shared()
        mbarrier.arrive(dq_full.index(CONSUMER), count=1)
    slot, _ = _place(steps - 1, SLOTS)
    q = q_buffers.index(slot).reshape([ROWS, DIM])
    dk = warpgroup_mma(ds_tiles.index(2 - (steps & 1) * 2 + CONSUMER), q, dk, is_async=True)
    dk = warpgroup_mma_wait(0, deps=(dk,))
    ### END SOLUTION
    _meet()  # both have read both halves of K: their memory carries dK and dV out
    v.store(dv.to(q_buffers.dtype))
    k.store((dk * (scale * LN_2)).to(q_buffers.dtype))
    fence_async_shared()
    mbarrier.wait(dq_empty, (steps & 1) ^ 1)  # or the storer may miss a phase
    mbarrier.arrive(dq_full.index(CONSUMER), count=1)


@gluon.jit(do_not_specialize=["matrices", "kv_heads", "group", "queries", "keys", "together"])
def flash_attention_backward_kernel(
    q_desc, k_desc, v_desc, do_desc, lse_desc, delta_desc, dk_desc, dv_desc, dq_desc, matrices,
    kv_heads, group, queries, keys, scale, together, SLOTS: gl.constexpr, CAUSAL: gl.constexpr,
    MASKED: gl.constexpr,
):  # fmt: skip
    """128 keys of one head of k and v a program: two warpgroups compute, two warps move data."""
    ROWS: gl.constexpr = q_desc.block_shape[2]
    KEYS: gl.constexpr = 2 * k_desc.block_shape[2]
    k_tiles = gl.allocate_shared_memory(k_desc.dtype, [2] + k_desc.block_shape, k_desc.layout)
    v_tiles = gl.allocate_shared_memory(v_desc.dtype, [2] + v_desc.block_shape, v_desc.layout)
    S_TILE: gl.constexpr = gl.NVMMASharedLayout(swizzle_byte_width=128, element_bitwidth=16, rank=2)
    ds_tiles = gl.allocate_shared_memory(q_desc.dtype, [4, 64, ROWS], S_TILE)
    dq_halves = gl.allocate_shared_memory(gl.float32, [2] + dq_desc.block_shape, dq_desc.layout)
    # Slot i of Q's ring has its -lse in terms[i], slot i of dO's its -delta in terms[SLOTS + i].
    terms = gl.allocate_shared_memory(gl.float32, [2 * SLOTS, ROWS], lse_desc.layout)
    loaded = gl.allocate_shared_memory(gl.int64, [1], mbarrier.MBarrierLayout())
    dq_full = gl.allocate_shared_memory(gl.int64, [2, 1], mbarrier.MBarrierLayout())
    dq_empty = gl.allocate_shared_memory(gl.int64, [1], mbarrier.MBarrierLayout())
    mbarrier.init(loaded, count=1)
    mbarrier.init(dq_empty, count=1)
    for half in gl.static_range(2):
        mbarrier.init(dq_full.index(half), count=1)
    q_ring = _ring(q_desc, SLOTS, 2)
    do_ring = _ring(do_desc, SLOTS, 2)
    tiles = gl.cdiv(keys, KEYS)
    matrix, tile = _work_order(gl.program_id(0), tiles, matrices, together)
    tile = tiles - 1 - tile
    first, whole = _query_blocks(tile, queries, keys, CAUSAL, ROWS, KEYS)
    blocks = gl.cdiv(queries, ROWS) - first
    cut = whole - first
    last = keys - 1 - tile * KEYS
    if last < KEYS - 1:
        cut = blocks
    if CAUSAL:
        last += first * ROWS + 1 - queries
    batch = matrix // kv_heads
    kv_head = matrix % kv_heads
    place = (batch, kv_head, tile * KEYS, 0)
    padded = gl.cdiv(queries, ROWS) * ROWS
    rings = (q_ring, do_ring, terms)
    keys_and_values = (k_tiles, v_tiles, loaded)
    halves = (dq_halves, dq_full, dq_empty)
    loads = (q_desc, k_desc, v_desc, do_desc, lse_desc, delta_desc) + keys_and_values + rings
    loads += (place, matrix * group * padded, group, first, blocks, padded)
    work = keys_and_values + rings + (ds_tiles,) + halves
    work += (cut, last, blocks, group * blocks, scale * LOG2_E, CAUSAL, MASKED)
    stores = (dk_desc, dv_desc, dq_desc, k_tiles, v_tiles) + halves + (place, group, first, blocks)
    gl.warp_specialize(
        [
            (flash_attention_backward_consumer_kernel, (0,) + work),
            (flash_attention_backward_consumer_kernel, (1,) + work),
            (_producer, loads),
            (flash_attention_backward_storer_kernel, stores),
        ],
        [4, 1, 1],
        [240, 24, 24],  # registers a thread: 65,536 are there for 384 threads
    )


def flash_attention_backward(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    o: torch.Tensor,
    lse: torch.Tensor,
    do: torch.Tensor,
    causal: bool = False,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """dq, dk and dv from one pass over the scores: five products a step where day 34 needs seven.

        dV = P^T dO     dS = P (dO V^T - delta)     dK = scale dS^T Q     dQ = scale dS K

    It is ``flash_dkdv_gluon`` with three changes. dS^T of both warpgroups meets in shared memory,
    and each computes half of dQ's columns from all 128 keys. A storer warp adds the halves
    to a float32 dQ in global memory, by the TMA, since the programs of all keys add to it. And the
    product for dK waits a step, so that tensor cores have it to do during the exponentials.

    dq is rounded once, after all has been added, by ``scale_tiles``, with the factor scale. The
    order of the additions is the hardware's: dq's last bits may differ from run to run, dk's and
    dv's do not.

    Limits: four launches at most: ``row_terms``, a memory set to 0, one program for each 128 keys
    of a head of k and v, ``scale_tiles``. No memory but the results', the terms' and a float32 of
    q's shape. For sm_90 the kernel must compile to wgmma and TMA copies, with at most 16 bytes of
    spilled registers a thread.

    Args:
        q, k, v, o, lse, do, causal: as for ``flash_dkdv_gluon``.

    Returns:
        dq, dk and dv, new contiguous tensors of the shapes and dtypes of q, k and v.

    Raises:
        ValueError: as ``flash_dkdv_gluon``.

    Example:
        For one query and one key, P is 1: dv is do, and dq and dk are 0.
    """
    # TODO: describe, allocate, launch; round dq.
    # HINT: What must dq's float32 hold before the first program adds to it?
    ### BEGIN SOLUTION
    # HINT: total = torch.zeros(q.shape, dtype=torch.float32, ...), described in blocks of
    #       ROWS x half of the columns.
    # HINT: The rest is flash_dkdv_gluon's, with dq's descriptor after those of dk and dv. At the
    #       end scale_tiles(total.view(-1, dim), dim**-0.5, q.dtype).view(q.shape) is dq.
    *_, queries, keys, dim, group = _checked(q, k, v, do, {"lse": lse}, q.shape[3] ** -0.5)
    operands = _operands_of(q, k, v, do, row_terms(o, do, lse), KEYS // 2)
    dk, dv = (torch.empty(k.shape, dtype=k.dtype, device=k.device) for _ in range(2))
    total = torch.zeros(q.shape, dtype=torch.float32, device=q.device)
    columns = operands[1].block_shape[3]
    flash_attention_backward_kernel[(k.shape[0] * k.shape[1] * triton.cdiv(keys, KEYS),)](
        *(*operands, *(_blocks(x, KEYS // 2, columns, "a gradient") for x in (dk, dv))),
        _blocks(total, ROWS, columns // 2, "dq"),
        *(k.shape[0] * k.shape[1], k.shape[1], group, queries, keys, dim**-0.5),
        _band(q, k, causal),
        SLOTS=SLOTS,
        CAUSAL=causal,
        MASKED=causal or keys % KEYS != 0,
    )
    return scale_tiles(total.view(-1, dim), dim**-0.5, q.dtype).view(q.shape), dk, dv
    ### END SOLUTION


def test_row_terms_of_one_query() -> None:
    _need_hopper()
    o = torch.zeros(1, 1, 1, 64, dtype=torch.float16, device=DEVICE)
    o[..., 0], o[..., 1] = 3, 4
    lse, delta = row_terms(o, o, torch.full((1, 1, 1), LN2, device=DEVICE))
    assert (lse.shape, delta[0, 0, :2].tolist()) == ((1, 1, 64), [-25.0, 0.0])
    assert abs(lse[0, 0, 0].item() + 1) < 1e-6


def test_add_tiles_of_ones() -> None:
    _need_hopper()
    x = torch.ones(192, 8, dtype=torch.float16, device=DEVICE)
    assert add_tiles(x, 64).eq(3).all()


def test_gradients_of_one_query() -> None:
    _need_hopper()
    q = torch.ones(1, 1, 1, 64, dtype=torch.float16, device=DEVICE)
    lse = torch.full((1, 1, 1), 8.0, device=DEVICE)  # the score: 64 / sqrt(64)
    dk, dv = flash_dkdv_gluon(q, q, q, q, lse, 2 * q)
    assert dv.eq(2).all() and dk.eq(0).all()
    dq, dk, dv = flash_attention_backward(q, q, q, q, lse, 2 * q)
    assert dv.eq(2).all() and dk.eq(0).all() and dq.eq(0).all()


if __name__ == "__main__":
    from harness import main

    main(__file__)
