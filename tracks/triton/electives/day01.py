"""Day 01: Flash forward in Gluon
==============================
Estimated time: 6-8 hours
Prerequisites: Triton day 32 (flash forward); a Hopper GPU (sm_90a) to run what you write
Lesson: lessons/day01.md

Learning objectives:
- Copy a tile with the TMA and wait for it at a barrier in shared memory
- Let one warp load and four others compute, with a ring of buffers between them
- Multiply on tensor cores asynchronously, and wait for the products where they are needed
- Compute the softmax of one block while the tensor cores multiply the block before
- Keep three warpgroups of one program at work, each with its own registers

One program of the forward pass. Time runs to the right, K0 is the first block of keys:

    warp 0 (producer)    K0 K1 V0 K2 V1 .. K3 V2 .. K4 V3        TMA copies into two rings
    warpgroup 0   S0 ....... softmax 0 | S1, P0 V0 ..........    tensor cores
                                       |     softmax 1 | S2, P1 V1 ..
    warpgroup 1       S0 ....... softmax 0 | S1, P0 V0 .......   other queries, same K and V

Hints:
- Gluon is Triton without its optimiser: what you do not write does not happen.
- A barrier counts arrivals and bytes. Ask of each barrier: who arrives, how often, who waits?
- If a kernel hangs, somebody waits for a phase that never ends. Write the phases of three steps
  on paper.
Resources:
- Triton, Gluon tutorials (TMA, wgmma, warp specialisation): https://github.com/triton-lang/triton/tree/main/python/tutorials/gluon
- Shah et al., FlashAttention-3: https://arxiv.org/abs/2407.08608
- NVIDIA, PTX ISA, mbarrier and wgmma: https://docs.nvidia.com/cuda/parallel-thread-execution/index.html
- NVIDIA, Hopper tuning guide: https://docs.nvidia.com/cuda/hopper-tuning-guide/index.html
"""

import unittest

import torch
import triton
from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.experimental.gluon.language.nvidia.hopper import (
    fence_async_shared,
    mbarrier,
    tma,
    warpgroup_mma,
    warpgroup_mma_wait,
)
from triton.experimental.gluon.nvidia.hopper import TensorDescriptor

from tracks.triton.day31 import LN2, LOG2E
from tracks.triton.day32 import _operands, _together, describe, key_blocks, work_order

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
TILE = 64  # rows and columns of a tile in the first two exercises
ROWS = 64  # queries of a warpgroup: the height of a wgmma instruction
KEYS = 128  # keys in a block
SLOTS = 2  # buffers in a ring of K or V
LN_2 = gl.constexpr(LN2)
INFINITY = gl.constexpr(float("inf"))

_key_blocks = gluon.jit(key_blocks)  # day 32's functions, for Gluon kernels
_work_order = gluon.jit(work_order)


def _layout(element_size: int, rank: int) -> gl.NVMMASharedLayout:
    """How a tile lies in shared memory: as wgmma reads it, 128 bytes of a row at a time, swizzled.

    The TMA writes this pattern; bank conflicts and transposed operands are taken care of by it.
    """
    return gl.NVMMASharedLayout(
        swizzle_byte_width=128, element_bitwidth=8 * element_size, rank=rank
    )


def _matrix(x: torch.Tensor, what: str) -> TensorDescriptor:
    """A descriptor of a matrix in tiles of TILE x TILE; a ValueError if the TMA cannot read it."""
    size = x.element_size()
    if x.dim() != 2 or x.numel() == 0 or x.stride(1) != 1:
        raise ValueError(f"{what} must be a matrix of contiguous rows, not {tuple(x.shape)}")
    if x.stride(0) < x.shape[1] or x.stride(0) * size % 16 or x.data_ptr() % 16:
        raise ValueError(f"rows of {what} must begin at multiples of 16 bytes and not overlap")
    return TensorDescriptor.from_tensor(x, [TILE, TILE], _layout(size, 2))


def _blocks(x: torch.Tensor, rows: int, columns: int, what: str) -> TensorDescriptor:
    """Day 32's ``describe`` for Gluon: x (batch, heads, n, dim) in blocks of rows x columns.

    A ValueError where ``describe`` finds that the TMA cannot read x.
    """
    plain = describe(x, rows, columns)
    if plain is None:
        raise ValueError(
            f"{what} cannot be described: rows must be contiguous and begin at multiples of 16 "
            f"bytes, but the strides are {x.stride()}"
        )
    layout = _layout(x.element_size(), 4)
    return TensorDescriptor(x, plain.shape, plain.strides, plain.block_shape, layout)


def _dim(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> int:
    """Columns of a block, 64 or 128; a ValueError if these kernels are not for q, k and v."""
    if q.dtype not in (torch.float16, torch.bfloat16):
        raise ValueError(f"tensor cores take float16 and bfloat16 here, not {q.dtype}")
    if q.shape[3] > 128:
        raise ValueError(f"heads have at most 128 elements here, not {q.shape[3]}")
    return 64 if q.shape[3] <= 64 else 128


@gluon.jit
def _place(step, SLOTS: gl.constexpr):
    """Slot and phase of step 0, 1, ... in a ring of SLOTS buffers.

    The slots are used in turn, and the phase changes whenever the ring begins anew:

        step         0 1 2 3 4 5 6        with SLOTS = 2
        slot, phase  0,0 1,0 0,1 1,1 0,0 1,0 0,1
    """
    return step % SLOTS, (step // SLOTS) & 1


@gluon.jit
def scale_tiles_kernel(x_desc, out_desc, columns, factor):
    """Rows program_id(0) * 64 ... of out = factor * x, tile after tile, through shared memory."""
    LAYOUT: gl.constexpr = gl.BlockedLayout([1, 8], [4, 8], [4, 1], [1, 0])
    SIDE: gl.constexpr = x_desc.block_shape[0]
    tile = gl.allocate_shared_memory(x_desc.dtype, x_desc.block_shape, x_desc.layout)
    scaled = gl.allocate_shared_memory(out_desc.dtype, out_desc.block_shape, out_desc.layout)
    loaded = gl.allocate_shared_memory(gl.int64, [1], mbarrier.MBarrierLayout())
    mbarrier.init(loaded, count=1)
    row = gl.program_id(0) * SIDE
    for step in range(gl.cdiv(columns, SIDE)):
        # TODO: load the tile at [row, step * SIDE], wait for it, scale it, store it.
        # HINT: Who sees what a thread has written to shared memory, and from when on?
        pass


def scale_tiles(x: torch.Tensor, factor: float, dtype: torch.dtype) -> torch.Tensor:
    """factor * x, rounded once to dtype, tile after tile through shared memory by the TMA.

    A program of 4 warps owns 64 rows and walks over the columns in tiles of 64 x 64. Each tile is
    copied to shared memory by the TMA, which counts the bytes at a barrier; read from there,
    multiplied in float32, written to a second tile, and copied out by the TMA. What lies beyond the
    matrix is read as 0 and not written: the descriptor knows the sizes.

    Limits: one launch of a program for each 64 rows; no memory but the result's. For sm_90 the
    kernel must compile to TMA copies and without spilled registers.

    Args:
        x: (rows, columns), float32, float16 or bfloat16, of contiguous rows that begin at multiples
            of 16 bytes. Neither size is 0.
        factor: a number.
        dtype: float32, float16 or bfloat16; columns times its size must be a multiple of 16.

    Returns:
        A new contiguous tensor of x's shape and of dtype.

    Raises:
        ValueError: the TMA cannot read x or write the result (``_matrix``).

    Example:
        scale_tiles of eight columns 1, 2, ..., 8 and factor 0.5 is 0.5, 1, ..., 4.
    """
    # TODO: allocate the result, describe both matrices, launch.
    # HINT: Which sizes does the grid need, and which does the kernel need?
    raise NotImplementedError("scale_tiles")


@gluon.jit
def ring_sums_ring_kernel(descriptor, SLOTS: gl.constexpr, READERS: gl.constexpr):
    """A ring of SLOTS buffers for descriptor's blocks: (buffers, full, empty).

    full[slot] completes a phase when the block in that slot has arrived, empty[slot] when each of
    READERS readers has said that it is done with it.
    """
    buffers = gl.allocate_shared_memory(
        descriptor.dtype, [SLOTS] + descriptor.block_shape, descriptor.layout
    )
    full = gl.allocate_shared_memory(gl.int64, [SLOTS, 1], mbarrier.MBarrierLayout())
    empty = gl.allocate_shared_memory(gl.int64, [SLOTS, 1], mbarrier.MBarrierLayout())
    # TODO: initialise the barriers.
    # HINT: How many arrivals end a phase of full, and how many one of empty?
    pass
    return buffers, full, empty


@gluon.jit
def ring_sums_fill_kernel(descriptor, place, ring, step):
    """The producer's step: the block at place goes into the slot of this step, once it is empty."""
    buffers, full, empty = ring
    slot, phase = _place(step, buffers.shape[0])
    # TODO: wait until the slot is empty; announce the bytes; start the copy.
    # HINT: Which phase of empty has to be over before step 0, and which before step SLOTS?
    pass


_ring = ring_sums_ring_kernel  # under short names, for the kernels from here on
_fill = ring_sums_fill_kernel


@gluon.jit
def ring_sums_producer_kernel(x_desc, ring, column, blocks):
    """One warp: all blocks of rows, one after the other, of the columns from column on."""
    SIDE: gl.constexpr = x_desc.block_shape[0]
    for step in range(blocks):
        _fill(x_desc, [step * SIDE, column], ring, step)


@gluon.jit
def ring_sums_consumer_kernel(out_ptr, ring, column, columns, blocks):
    """Four warps: the sums of the blocks, which arrive one after the other."""
    LAYOUT: gl.constexpr = gl.BlockedLayout([1, 8], [4, 8], [4, 1], [1, 0])
    SUMS: gl.constexpr = gl.SliceLayout(0, LAYOUT)
    buffers, full, empty = ring
    SIDE: gl.constexpr = buffers.shape[1]
    total = gl.zeros([SIDE], gl.float32, SUMS)
    # TODO: for each step: wait for the block, add its columns to total, give the slot back.
    # HINT: When may the producer overwrite the slot?
    pass
    place = column + gl.arange(0, SIDE, layout=SUMS)
    gl.store(out_ptr + place, total, mask=place < columns)


@gluon.jit
def ring_sums_kernel(x_desc, out_ptr, rows, columns, SLOTS: gl.constexpr):
    """Sums of the 64 columns program_id(0) * 64 ...: a warp loads, four warps add."""
    SIDE: gl.constexpr = x_desc.block_shape[0]
    ring = _ring(x_desc, SLOTS, 1)
    column = gl.program_id(0) * SIDE
    blocks = gl.cdiv(rows, SIDE)
    gl.warp_specialize(
        [
            (ring_sums_consumer_kernel, (out_ptr, ring, column, columns, blocks)),
            (ring_sums_producer_kernel, (x_desc, ring, column, blocks)),
        ],
        [1],  # warps of the second, and its registers a thread; the first keeps the launch's warps
        [24],
    )


def ring_sums(x: torch.Tensor, slots: int = 3) -> torch.Tensor:
    """The sum of each column of x, in float32, with a warp that loads and four that add.

    A program owns 64 columns. Its producer warp walks down the rows in blocks of 64 and asks the
    TMA for each; the consumer warps add what has arrived. Between them lies a ring of ``slots``
    buffers with two barriers each:

        full[slot]    the producer announces the bytes, the TMA delivers them, consumers wait
        empty[slot]   the consumers arrive when they have read the block, the producer waits

    So the producer is at most ``slots`` blocks ahead, and neither waits as long as the other is
    quick enough. Rows beyond the matrix are read as 0.

    Limits: one launch of a program for each 64 columns; no memory but the result's. For sm_90 the
    kernel must compile to TMA copies and without spilled registers.

    Args:
        x: (rows, columns), float16 or bfloat16, as for ``scale_tiles``.
        slots: 1 or more.

    Returns:
        A new tensor (columns,), float32.

    Raises:
        ValueError: the TMA cannot read x (``_matrix``).

    Example:
        ring_sums of 200 rows of eight ones is eight times 200.
    """
    out = torch.empty(x.shape[1:], dtype=torch.float32, device=x.device)
    ring_sums_kernel[(triton.cdiv(x.shape[-1], TILE),)](
        _matrix(x, "x"), out, x.shape[0], x.shape[-1], SLOTS=slots
    )
    return out


@gluon.jit
def attention_serial_weights_kernel(s, m, scale, GUARD: gl.constexpr):
    """p = 2^(scale * (s - new)), the row maxima new of m and s, and alpha = 2^(scale * (m - new)).

    s (rows, keys) are float32 scores, -inf where a key is hidden; m (rows,) are the maxima so far,
    -inf before the first block. scale is greater than 0. With GUARD a row may have no key so far:
    its p is 0, not nan. Without GUARD each row has one.
    """
    # TODO: day 31's online step, up to the weights.
    # HINT: scale * (s - new) can be one instruction an element. Which form is that?
    pass
    return p, new, alpha


_weights = attention_serial_weights_kernel


@gluon.jit
def _into(x, DTYPE: gl.constexpr, LAYOUT: gl.constexpr):
    """Weights as the first operand of the next product: rounded, and where wgmma wants them."""
    return gl.convert_layout(x.to(DTYPE), LAYOUT)


@gluon.jit
def attention_serial_producer_kernel(
    q_desc, k_desc, v_desc, q_tile, q_full, k_ring, v_ring, batch, head, kv_head, row, blocks
):
    """One warp: the tile of queries, then each block of K and of V."""
    KEYS: gl.constexpr = k_desc.block_shape[2]
    mbarrier.expect(q_full, q_desc.block_type.nbytes)
    tma.async_copy_global_to_shared(q_desc, [batch, head, row, 0], q_full, q_tile)
    for step in range(blocks):
        _fill(k_desc, [batch, kv_head, step * KEYS, 0], k_ring, step)
        _fill(v_desc, [batch, kv_head, step * KEYS, 0], v_ring, step)


@gluon.jit
def attention_serial_consumer_kernel(
    o_desc, lse_ptr, q_tile, q_full, k_ring, v_ring, batch, head, row, lse_row, queries, keys,
    blocks, scale,
):  # fmt: skip
    """Four warps, a warpgroup: one product after the other."""
    k_buffers, k_full, k_empty = k_ring
    v_buffers, v_full, v_empty = v_ring
    SLOTS: gl.constexpr = k_buffers.shape[0]
    ROWS: gl.constexpr = q_tile.shape[2]
    KEYS: gl.constexpr = k_buffers.shape[3]
    DIM: gl.constexpr = k_buffers.shape[4]
    # wgmma leaves a 64 x N result in the registers of four warps, 16 rows each: these layouts.
    S_LAYOUT: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [4, 1], [16, KEYS, 16])
    O_LAYOUT: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [4, 1], [16, DIM, 16])
    P_LAYOUT: gl.constexpr = gl.DotOperandLayout(0, O_LAYOUT, 2)
    S_ROWS: gl.constexpr = gl.SliceLayout(1, S_LAYOUT)
    O_ROWS: gl.constexpr = gl.SliceLayout(1, O_LAYOUT)
    q = q_tile.reshape([ROWS, DIM])
    zero = gl.zeros([ROWS, KEYS], gl.float32, S_LAYOUT)
    o = gl.zeros([ROWS, DIM], gl.float32, O_LAYOUT)
    m = gl.full([ROWS], -INFINITY, gl.float32, S_ROWS)
    total = gl.zeros([ROWS], gl.float32, S_ROWS)
    key = gl.arange(0, KEYS, layout=gl.SliceLayout(0, S_LAYOUT))
    mbarrier.wait(q_full, 0)
    for step in range(blocks):
        slot, phase = _place(step, SLOTS)
        k_block = k_buffers.index(slot).reshape([KEYS, DIM]).permute((1, 0))
        v_block = v_buffers.index(slot).reshape([KEYS, DIM])
        # TODO: wait for K, scores, wait for them and give K back; hide keys that do not exist;
        #       weights; wait for V, add the product to o, wait for it and give V back.
        # HINT: Which registers and which buffers does a product read after it was started?
        pass
    o = o * gl.convert_layout(1.0 / total, O_ROWS)[:, None]
    q.store(o.to(q.dtype))  # the queries have been read: their tile carries the result out
    fence_async_shared()
    tma.async_copy_shared_to_global(o_desc, [batch, head, row, 0], q_tile)
    rows = row + gl.arange(0, ROWS, layout=S_ROWS)
    lse = (m * scale + gl.log2(total)) * LN_2
    gl.store(lse_ptr + lse_row + rows, lse, mask=rows < queries)
    tma.store_wait(0)


@gluon.jit(do_not_specialize=["heads", "group", "queries", "keys"])
def attention_serial_kernel(
    q_desc, k_desc, v_desc, o_desc, lse_ptr, heads, group, queries, keys, scale,
    SLOTS: gl.constexpr,
):  # fmt: skip
    """A tile of queries a program: one warp loads, four multiply."""
    TILE: gl.constexpr = q_desc.block_shape[2]
    KEYS: gl.constexpr = k_desc.block_shape[2]
    q_tile = gl.allocate_shared_memory(q_desc.dtype, q_desc.block_shape, q_desc.layout)
    q_full = gl.allocate_shared_memory(gl.int64, [1], mbarrier.MBarrierLayout())
    mbarrier.init(q_full, count=1)
    k_ring = _ring(k_desc, SLOTS, 1)
    v_ring = _ring(v_desc, SLOTS, 1)
    tiles = gl.cdiv(queries, TILE)
    matrix = gl.program_id(0) // tiles
    row = gl.program_id(0) % tiles * TILE
    batch = matrix // heads
    head = matrix % heads
    blocks = gl.cdiv(keys, KEYS)
    gl.warp_specialize(
        [
            (
                attention_serial_consumer_kernel,
                (o_desc, lse_ptr, q_tile, q_full, k_ring, v_ring, batch, head, row,
                 matrix * queries, queries, keys, blocks, scale),
            ),
            (
                attention_serial_producer_kernel,
                (q_desc, k_desc, v_desc, q_tile, q_full, k_ring, v_ring, batch, head,
                 head // group, row, blocks),
            ),
        ],
        [1],
        [24],
    )  # fmt: skip


def attention_serial(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention with one producer warp and one consumer warpgroup, one thing after the other.

        s = q k^T / sqrt(dim)     o = softmax(s) v     lse[i] = log(sum over j of exp(s[i, j]))

    It is day 31's loop over blocks of 128 keys for 64 queries a program, with wgmma: products are
    started, and waited for at once. So the tensor cores rest during each softmax; the next exercise
    changes that. Scores and sums are float32; the weights are rounded to q's dtype for their
    product with v.

    Limits: one launch of a program for each 64 queries of a head; no memory but the results'. For
    sm_90 the kernel must compile to wgmma and TMA copies, without spilled registers.

    Args:
        q: (batch, heads, queries, dim), float16 or bfloat16, as the TMA can read it (day 32's
            ``describe``); queries is at least 1, dim at most 128 and a multiple of 8.
        k, v: (batch, kv_heads, keys, dim) of q's dtype, likewise; keys is at least 1, and heads a
            multiple of kv_heads.

    Returns:
        o, a new contiguous tensor of q's shape and dtype, and lse (batch, heads, queries) float32.

    Raises:
        ValueError: day 32's ``_operands``, ``_dim`` or ``_blocks`` refuse the three.

    Example:
        For keys that are all 0, o is the mean of the values, and lse the logarithm of keys.
    """
    batch, heads, queries, keys, dim, group = _operands(q, k, v)
    columns = _dim(q, k, v)
    o = torch.empty(q.shape, dtype=q.dtype, device=q.device)
    lse = torch.empty(q.shape[:3], dtype=torch.float32, device=q.device)
    q_desc, o_desc = _blocks(q, ROWS, columns, "q"), _blocks(o, ROWS, columns, "o")
    k_desc, v_desc = _blocks(k, KEYS, columns, "k"), _blocks(v, KEYS, columns, "v")
    attention_serial_kernel[(batch * heads * triton.cdiv(queries, ROWS),)](
        *(q_desc, k_desc, v_desc, o_desc, lse),
        *(heads, group, queries, keys, dim**-0.5 * LOG2E),
        SLOTS=SLOTS,
    )
    return o, lse


@gluon.jit
def flash_attention_forward_producer_kernel(
    q_desc, k_desc, v_desc, q_tiles, q_full, k_ring, v_ring, batch, head, kv_head, row, blocks
):
    """One warp: a tile of queries for each consumer, then the blocks of K and V from the last on.

    The consumers need a block of K one step before the block of V with the same number.
    """
    ROWS: gl.constexpr = q_desc.block_shape[2]
    KEYS: gl.constexpr = k_desc.block_shape[2]
    CONSUMERS: gl.constexpr = q_tiles.shape[0]
    for consumer in gl.static_range(CONSUMERS):
        full = q_full.index(consumer)
        mbarrier.expect(full, q_desc.block_type.nbytes)
        place = [batch, head, row + consumer * ROWS, 0]
        tma.async_copy_global_to_shared(q_desc, place, full, q_tiles.index(consumer))
    # TODO: in step i comes block blocks - 1 - i. Fill K's ring one step ahead of V's.
    # HINT: In which order do the consumers wait for K of step 0, K of step 1 and V of step 0?
    pass


@gluon.jit
def flash_attention_forward_consumer_kernel(
    CONSUMER: gl.constexpr, o_desc, lse_ptr, q_tiles, q_full, k_ring, v_ring, batch, head, row,
    lse_row, queries, keys, blocks, scale, CAUSAL: gl.constexpr, MASKED: gl.constexpr,
    CUT: gl.constexpr,
):  # fmt: skip
    """Warpgroup number CONSUMER: 64 queries from row + 64 * CONSUMER on.

    MASKED: the last block of keys, the first to come, may hold hidden keys. CUT: others may, too,
    and a row may see no key of a block. Both are as the launcher says.
    """
    k_buffers, k_full, k_empty = k_ring
    v_buffers, v_full, v_empty = v_ring
    SLOTS: gl.constexpr = k_buffers.shape[0]
    ROWS: gl.constexpr = q_tiles.shape[3]
    KEYS: gl.constexpr = k_buffers.shape[3]
    DIM: gl.constexpr = k_buffers.shape[4]
    S_LAYOUT: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [4, 1], [16, KEYS, 16])
    O_LAYOUT: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [4, 1], [16, DIM, 16])
    P_LAYOUT: gl.constexpr = gl.DotOperandLayout(0, O_LAYOUT, 2)
    S_ROWS: gl.constexpr = gl.SliceLayout(1, S_LAYOUT)
    O_ROWS: gl.constexpr = gl.SliceLayout(1, O_LAYOUT)
    row += CONSUMER * ROWS
    q = q_tiles.index(CONSUMER).reshape([ROWS, DIM])
    zero = gl.zeros([ROWS, KEYS], gl.float32, S_LAYOUT)
    o = gl.zeros([ROWS, DIM], gl.float32, O_LAYOUT)
    m = gl.full([ROWS], -INFINITY, gl.float32, S_ROWS)
    rows = row + gl.arange(0, ROWS, layout=S_ROWS)
    key = gl.arange(0, KEYS, layout=gl.SliceLayout(0, S_LAYOUT))
    seen = gl.full([ROWS], 0, gl.int32, S_ROWS) + keys  # query i sees the keys below seen[i]
    if CAUSAL:
        seen = rows + 1 + keys - queries
    # Of the program's blocks the first to come may be hidden from all queries of this warpgroup,
    # and a warpgroup beyond the queries needs none; but one is computed in any case.
    whole, end = _key_blocks(row // ROWS, queries, keys, CAUSAL, ROWS, KEYS)
    if row >= queries:
        end = 1
    first = blocks - gl.maximum(end, 1)
    for step in range(first):
        slot, phase = _place(step, SLOTS)
        mbarrier.wait(k_full.index(slot), phase)
        mbarrier.arrive(k_empty.index(slot), count=1)
        mbarrier.wait(v_full.index(slot), phase)
        mbarrier.arrive(v_empty.index(slot), count=1)
    mbarrier.wait(q_full.index(CONSUMER), 0)
    # TODO: step ``first`` as in attention_serial, up to the weights and without o. Then, for each
    #       step after it: start the scores of this step and the product with V of the step before;
    #       wait for the scores only; weights, while that product runs; wait for it; multiply o with
    #       alpha. After the loop comes the product with the last V.
    # HINT: Two products are in flight. What does warpgroup_mma_wait(1, ...) wait for?
    pass
    lse = (m * scale + gl.log2(total)) * LN_2
    if CUT:
        total = gl.where(total == 0.0, 1.0, total)  # a query that sees no key: o = 0
    o = o * gl.convert_layout(1.0 / total, O_ROWS)[:, None]
    q.store(o.to(q.dtype))
    fence_async_shared()
    place = [batch, head, row, 0]
    tma.async_copy_shared_to_global(o_desc, place, q_tiles.index(CONSUMER))
    gl.store(lse_ptr + lse_row + rows, lse, mask=rows < queries)
    tma.store_wait(0)


@gluon.jit(do_not_specialize=["matrices", "heads", "group", "queries", "keys", "together"])
def flash_attention_forward_kernel(
    q_desc, k_desc, v_desc, o_desc, lse_ptr, matrices, heads, group, queries, keys, scale,
    together, CONSUMERS: gl.constexpr, SLOTS: gl.constexpr, CAUSAL: gl.constexpr,
    MASKED: gl.constexpr, CUT: gl.constexpr, REGISTERS: gl.constexpr,
):  # fmt: skip
    """A tile of CONSUMERS * 64 queries a program, in day 32's order: the longest work first."""
    ROWS: gl.constexpr = q_desc.block_shape[2]
    KEYS: gl.constexpr = k_desc.block_shape[2]
    TILE: gl.constexpr = CONSUMERS * ROWS
    q_tiles = gl.allocate_shared_memory(
        q_desc.dtype, [CONSUMERS] + q_desc.block_shape, q_desc.layout
    )
    q_full = gl.allocate_shared_memory(gl.int64, [CONSUMERS, 1], mbarrier.MBarrierLayout())
    for consumer in gl.static_range(CONSUMERS):
        mbarrier.init(q_full.index(consumer), count=1)
    k_ring = _ring(k_desc, SLOTS, CONSUMERS)
    v_ring = _ring(v_desc, SLOTS, CONSUMERS)
    tiles = gl.cdiv(queries, TILE)
    matrix, tile = _work_order(gl.program_id(0), tiles, matrices, together)
    _, end = _key_blocks(tile, queries, keys, CAUSAL, TILE, KEYS)
    blocks = gl.maximum(end, 1)  # without a key to see: one block, all of it hidden
    batch = matrix // heads
    head = matrix % heads
    row = tile * TILE
    tiles_and_rings = (q_tiles, q_full, k_ring, v_ring, batch, head)
    loads = (q_desc, k_desc, v_desc) + tiles_and_rings + (head // group, row, blocks)
    shared = (o_desc, lse_ptr) + tiles_and_rings
    shared += (row, matrix * queries, queries, keys, blocks, scale, CAUSAL, MASKED, CUT)
    if CONSUMERS == 2:
        gl.warp_specialize(
            [
                (flash_attention_forward_consumer_kernel, (0,) + shared),
                (flash_attention_forward_consumer_kernel, (1,) + shared),
                (flash_attention_forward_producer_kernel, loads),
            ],
            [4, 1],
            [REGISTERS, 24],
        )
    else:
        gl.warp_specialize(
            [
                (flash_attention_forward_consumer_kernel, (0,) + shared),
                (flash_attention_forward_consumer_kernel, (1,) + shared),
                (flash_attention_forward_consumer_kernel, (2,) + shared),
                (flash_attention_forward_producer_kernel, loads),
            ],
            [4, 4, 1],
            [REGISTERS, REGISTERS, 24],
        )


def flash_attention_forward(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, causal: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """Day 32's forward pass for Hopper: one producer warp, two or three consumer warpgroups.

        s = q k^T / sqrt(dim)     o = softmax(s) v     lse[i] = log(sum over j of exp(s[i, j]))

    With causal query i sees the keys j <= i + keys - queries; a query that sees no key has o = 0
    and lse = -inf. Rounding is as in ``attention_serial``.

    A program owns 128 queries, 64 a warpgroup, or 192 where dim is at most 64; all warpgroups read
    the same blocks of K and V. Each starts the scores of a block together with the product of the
    block before, and computes its exponentials while that product runs. The blocks come from the
    last one down, so that those that a mask cuts come first and the loop has no mask, if the blocks
    lie along the diagonal.

    Limits: one launch of a program for each tile of queries, in day 32's ``work_order``, in bands
    of ``_together``; no memory but the results'. Only the blocks of keys below ``key_blocks``'s end
    for the tile are read. For sm_90 the kernel must compile to wgmma and TMA copies, without
    spilled registers, for each dim, causal or not, whatever the lengths.

    Args:
        q, k, v: as for ``attention_serial``.
        causal: whether a query sees only what comes before it, and itself.

    Returns:
        o, a new contiguous tensor of q's shape and dtype, and lse (batch, heads, queries) float32.

    Raises:
        ValueError: as ``attention_serial``.

    Example:
        As ``attention_serial``; with causal and keys = queries the first o is v's first row.
    """
    # TODO: describe, allocate, say which blocks can be cut, launch.
    # HINT: With 128 queries a tile and 128 keys a block: which blocks does a causal mask cut?
    raise NotImplementedError("flash_attention_forward")


def _need_hopper() -> None:
    """Gluon has no interpreter, and wgmma exists on one generation of GPUs only."""
    if not torch.cuda.is_available() or torch.cuda.get_device_capability() != (9, 0):
        raise unittest.SkipTest("needs a CUDA GPU with sm_90a (H100, H200)")


def test_scale_tiles_of_eight_columns() -> None:
    _need_hopper()
    x = torch.arange(1.0, 9.0, device=DEVICE).repeat(3, 1)
    assert scale_tiles(x, 0.5, torch.float16)[2].tolist() == [0.5, 1, 1.5, 2, 2.5, 3, 3.5, 4]


def test_ring_sums_of_ones() -> None:
    _need_hopper()
    x = torch.ones(200, 8, dtype=torch.float16, device=DEVICE)
    assert ring_sums(x).tolist() == [200.0] * 8


def test_attention_to_keys_of_zeros() -> None:
    _need_hopper()
    q = torch.ones(1, 1, 2, 64, dtype=torch.float16, device=DEVICE)
    v = torch.tensor([4.0, 8.0], device=DEVICE).half()[None, None, :, None].repeat(1, 1, 1, 64)
    for attention in (attention_serial, flash_attention_forward):
        o, lse = attention(q, torch.zeros_like(v), v)
        assert o[0, 0, :, 0].tolist() == [6.0, 6.0]
        assert abs(lse[0, 0, 0].item() - LN2) < 1e-6


if __name__ == "__main__":
    from harness import main

    main(__file__)
