"""Day 35: Flash Attention
=======================
Estimated time: 4-6 hours
Prerequisites: Day 25 (autograd.Function), Day 32 (flash forward), Day 34 (flash backward)
Lesson: lessons/day35.md

Learning objectives:
- Hide keys on both sides of a query, and do work for a window of them only
- Attend within texts of unequal lengths that lie behind each other, without padding
- Tell torch what it must know of an operator: shapes, gradients, and what it cannot do
- Make of all that one function that autograd, torch.compile and checkpoints can use
- Train a model with it, and see the same curve as with torch's own attention

Eight queries and keys, causal, a window of 4, in blocks of 2 x 2. The work grows with the window:

    block    0     1     2     3
    tile   0 1 | 2 3 | 4 5 | 6 7
     0     # -                            #  seen
           # #                            -  hidden by the causal mask
     1     # #   # -                      :  hidden by the window
           # #   # #
     2     : #   # #   # -                first  begin  whole  end      of tile 2:
           : :   # #   # #                  0      1      2     3
     3           : #   # #   # -          cut: first ... begin - 1 and whole ... end - 1
                 : :   # #   # #          whole: begin ... whole - 1

Hints:
- A window is a second diagonal. What does day 32 do at the first one?
- From the keys' side the picture is the same, with left and right exchanged.
- Which of your functions may torch look into, and what does it have to be told about the others?
Resources:
- Dao, FlashAttention-2: https://arxiv.org/abs/2307.08691
- Jiang et al., Mistral 7B (sliding window): https://arxiv.org/abs/2310.06825
- Beltagy et al., Longformer (attention in windows): https://arxiv.org/abs/2004.05150
- Krell et al., Packing without cross-contamination: https://arxiv.org/abs/2107.02027
- PyTorch, torch.library: https://docs.pytorch.org/docs/stable/library.html
- transformers, attention interface: https://huggingface.co/docs/transformers/attention_interface
"""

from typing import Any

import torch
import triton
import triton.language as tl

from tracks.triton.day31 import LN2, LOG2E, online_step
from tracks.triton.day32 import (
    _block_of,
    _config,
    _operands,
    _together,
    _work_order,
    flash_attention_forward,
    flash_attention_forward_blocks_kernel,
)
from tracks.triton.day33 import delta
from tracks.triton.day34 import (
    _band,
    _base2,
    _checked,
    _dkdv_config,
    _dq_config,
    flash_attention_backward,
    flash_dq_blocks_kernel,
)

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
LOG2_E = tl.constexpr(LOG2E)
NO_LIMIT = 2**30  # farther than any key is from any query


def visible_blocks(
    tile: int, rows: int, columns: int, left: int, right: int, block_r: int, block_c: int
) -> tuple[int, int, int, int]:
    """Which blocks of columns a tile of rows needs where each row sees a band of columns.

    Row r stands at the column p = r + columns - rows, so that the last row stands at the last
    column, and sees the columns p - left ... p + right, as far as they exist. The tile holds the
    rows from tile * block_r on, block_r of them or as many as there are; block j the columns from
    j * block_c on.

        blocks first ... begin - 1   are cut by the left edge of the band, or by both
        blocks begin ... whole - 1   are full, and every row of the tile sees all of their columns
        blocks whole ... end - 1     are cut by the right edge, or by the end of the columns
        all others                   hold nothing that any row of the tile sees

    first is the largest and end the smallest number of which the last line is true. If no block is
    whole, begin = whole is any number from first to end; if nothing is seen, all four are equal.

    With (left, right) exchanged it tells which blocks of queries a tile of keys needs. As on days
    32 and 34 it is plain Python and part of a kernel: write it with + - * // min, max and if only,
    and divide no negative number.

    Args:
        tile: 0 or more, with tile * block_r < rows.
        rows, columns: 1 or more, 0 or more.
        left, right: 0 or more, up to NO_LIMIT.
        block_r, block_c: 1 or more.

    Returns:
        (first, begin, whole, end) with 0 <= first <= begin <= whole <= end.

    Example:
        For the drawing above, visible_blocks(tile, 8, 8, 3, 0, 2, 2) is (0, 0, 0, 1), (0, 0, 1, 2),
        (0, 1, 2, 3), (1, 2, 3, 4) for the tiles 0 to 3.
    """
    # TODO: the columns that some row of the tile sees, and those that all of them see, as blocks.
    # HINT: Which row of the tile has the leftmost edge of the band, and which one the rightmost?
    ### BEGIN SOLUTION
    # HINT: With top = tile * block_r + columns - rows and bottom = min(tile * block_r + block_r,
    #       rows) - 1 + columns - rows: some row sees top - left up to bottom + right, all rows see
    #       bottom - left up to top + right.
    # HINT: Cut each at 0 and at columns first. The outer edges round outwards, the inner ones
    #       inwards; then begin = min(begin, end) and whole = max(whole, begin).
    top = tile * block_r + columns - rows
    bottom = min(tile * block_r + block_r, rows) - 1 + columns - rows
    end = (max(min(bottom + right + 1, columns), 0) + block_c - 1) // block_c
    first = min(max(top - left, 0) // block_c, end)
    begin = min((max(bottom - left, 0) + block_c - 1) // block_c, end)
    whole = max(max(min(top + right + 1, columns), 0) // block_c, begin)
    return first, begin, whole, end
    ### END SOLUTION


_visible_blocks = triton.jit(visible_blocks)  # the same function, for kernels


@triton.jit
def _text_of(slot, starts, texts, BLOCK: tl.constexpr):
    """text, tile: which tile of which text slot number ``slot`` stands for.

    Text t has the slots from starts[t] // BLOCK + t on, up to the next one's: enough for its tiles,
    whatever its length, and at most one too many. So all texts together have starts[texts] // BLOCK
    + texts slots, which the launcher knows without reading starts.
    """
    text = slot * 0
    beyond = text + texts
    while beyond - text > 1:
        middle = (text + beyond) // 2
        if tl.load(starts + middle).to(tl.int32) // BLOCK + middle <= slot:
            text = middle
        else:
            beyond = middle
    return text, slot - tl.load(starts + text).to(tl.int32) // BLOCK - text


@triton.jit
def _span_of(text, starts, rows, PACKED: tl.constexpr):
    """Where a text begins, and how many rows it has: all of them unless PACKED."""
    if PACKED:
        begin = tl.load(starts + text).to(tl.int32)
        return begin, tl.load(starts + text + 1).to(tl.int32) - begin
    else:
        return text * 0, text * 0 + rows


@triton.jit
def window_forward_cut_kernel(
    m,
    total,
    acc,
    q,
    k,
    v,
    first,
    begin,
    whole,
    end,
    low,
    high,
    keys,
    k_row_stride,
    k_dim_stride,
    v_row_stride,
    v_dim_stride,
    scale,
    DIM: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """m, total and acc of ``online_step`` after the blocks of keys that are cut.

    They are first ... begin - 1 and whole ... end - 1. q is the tile of queries (BLOCK_M, BLOCK_D);
    query i of it sees the keys from low[i] up to high[i] - 1. k and v point at the text's first
    key. scale is the scale of the scores times log2(e).
    """
    # TODO: day 32's loop over the cut blocks, with two edges.
    # HINT: How many blocks are there, and which number has the one after begin - 1?
    ### BEGIN SOLUTION
    # HINT: for step in range(first, end - whole + begin): block = tl.where(step < begin, step,
    #       step - begin + whole).
    # HINT: s = tl.where((key[None, :] >= low[:, None]) & (key[None, :] < high[:, None]), s,
    #       -float("inf")).
    for step in range(first, end - whole + begin):
        block = tl.where(step < begin, step, step - begin + whole)
        k_block = _block_of(
            *(k, 0, 0, block, keys, k_row_stride, k_dim_stride),
            *(DIM, BLOCK_N, BLOCK_D, False, False),
        )
        key = block * BLOCK_N + tl.arange(0, BLOCK_N)
        s = tl.dot(q, k_block.T, input_precision="ieee")
        seen = (key[None, :] >= low[:, None]) & (key[None, :] < high[:, None])
        s = tl.where(seen, s, -float("inf"))
        v_block = _block_of(
            *(v, 0, 0, block, keys, v_row_stride, v_dim_stride),
            *(DIM, BLOCK_N, BLOCK_D, False, False),
        )
        m, total, acc = online_step(m, total, acc, s, v_block, scale)
    ### END SOLUTION
    return m, total, acc


@triton.jit
def window_forward_kernel(
    q_ptr,
    k_ptr,
    v_ptr,
    o_ptr,
    lse_ptr,
    q_starts,
    k_starts,
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
    slots,
    matrices,
    heads,
    group,
    texts,
    queries,
    keys,
    left,
    right,
    scale,
    together,
    DIM: tl.constexpr,
    PACKED: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """o and lse of one tile of queries of one text; both are contiguous.

    slots: tiles of queries of a matrix; with PACKED those of ``_text_of``, and text t has the rows
    q_starts[t] ... q_starts[t + 1] - 1 of q, and k_starts' of k and v. queries and keys: rows of q
    and of k in all. scale is the scale of the scores times log2(e).
    """
    # TODO: which tile of which text? Day 32's kernel then, with the band in place of the mask.
    # HINT: Which numbers of day 32's kernel belong to the whole tensor, and which ones to a text?
    ### BEGIN SOLUTION
    # HINT: matrix, tile = _work_order(tl.program_id(0), slots, matrices, together); with PACKED
    #       text, tile = _text_of(tile, q_starts, texts, BLOCK_M), else text = tile * 0. Then
    #       q_begin, q_rows = _span_of(text, q_starts, queries, PACKED), and so for k. A tile from
    #       q_rows on is one too many: return.
    # HINT: Move q_ptr, k_ptr and v_ptr to the head and to the text's first row, in int64; from
    #       there on q_rows and k_rows are the numbers of queries and keys.
    # HINT: low = row + k_rows - q_rows - left, high = min(row + k_rows - q_rows + right + 1,
    #       k_rows).
    # HINT: The whole blocks are flash_attention_forward_blocks_kernel's, with False, False, True;
    #       the others window_forward_cut_kernel's. out_row is matrix * queries + q_begin + row.
    matrix, tile = _work_order(tl.program_id(0), slots, matrices, together)
    text = tile * 0
    if PACKED:
        text, tile = _text_of(tile, q_starts, texts, BLOCK_M)
    q_begin, q_rows = _span_of(text, q_starts, queries, PACKED)
    k_begin, k_rows = _span_of(text, k_starts, keys, PACKED)
    if tile * BLOCK_M >= q_rows:
        return
    first, begin, whole, end = _visible_blocks(tile, q_rows, k_rows, left, right, BLOCK_M, BLOCK_N)
    matrix, q_begin, k_begin = matrix.to(tl.int64), q_begin.to(tl.int64), k_begin.to(tl.int64)
    batch, head = matrix // heads, matrix % heads
    row = tile * BLOCK_M + tl.arange(0, BLOCK_M)
    low = row + k_rows - q_rows - left
    high = tl.minimum(row + k_rows - q_rows + right + 1, k_rows)
    d = tl.arange(0, BLOCK_D)
    inside = (row < q_rows)[:, None] & (d < DIM)[None, :]
    q_ptr += batch * q_batch_stride + head * q_head_stride + q_begin * q_row_stride
    q_tile = row.to(tl.int64)[:, None] * q_row_stride + d.to(tl.int64)[None, :] * q_dim_stride
    q = tl.load(q_ptr + q_tile, mask=inside, other=0.0)
    head = head // group
    k_ptr += batch * k_batch_stride + head * k_head_stride + k_begin * k_row_stride
    v_ptr += batch * v_batch_stride + head * v_head_stride + k_begin * v_row_stride
    m = tl.full((BLOCK_M,), -float("inf"), tl.float32)
    total = tl.zeros((BLOCK_M,), tl.float32)
    acc = tl.zeros((BLOCK_M, BLOCK_D), tl.float32)
    m, total, acc = flash_attention_forward_blocks_kernel(
        *(m, total, acc, q, k_ptr, v_ptr, batch, head, begin, whole, high, k_rows),
        *(k_row_stride, k_dim_stride, v_row_stride, v_dim_stride, scale),
        *(DIM, BLOCK_N, BLOCK_D, False, False, True),
    )
    m, total, acc = window_forward_cut_kernel(
        *(m, total, acc, q, k_ptr, v_ptr, first, begin, whole, end, low, high, k_rows),
        *(k_row_stride, k_dim_stride, v_row_stride, v_dim_stride, scale),
        *(DIM, BLOCK_N, BLOCK_D),
    )
    o = acc / tl.where(total == 0.0, 1.0, total)[:, None]
    lse = (m * scale + tl.log2(total)) * LN2
    out_row = matrix * queries + q_begin + row
    tl.store(o_ptr + out_row[:, None] * DIM + d[None, :], o, mask=inside)
    tl.store(lse_ptr + out_row, lse, mask=row < q_rows)
    ### END SOLUTION


def _slots(rows: int, block: int, texts: int, packed: bool) -> int:
    """Tiles of ``block`` rows of a matrix, or slots for the tiles of all texts (``_text_of``)."""
    return rows // block + texts if packed else triton.cdiv(rows, block)


def _texts(
    q: torch.Tensor,
    k: torch.Tensor,
    q_starts: torch.Tensor | None,
    k_starts: torch.Tensor | None,
    left: int,
    right: int,
) -> int:
    """How many texts lie behind each other; a ValueError if starts or the band do not fit."""
    if min(left, right) < 0:
        raise ValueError(f"left and right must not be negative, but are {left} and {right}")
    if q_starts is None and k_starts is None:
        return 1
    if q_starts is None or k_starts is None:
        raise ValueError("the starts of the queries and those of the keys belong together")
    for name, x in (("queries", q_starts), ("keys", k_starts)):
        if x.dim() != 1 or x.dtype not in (torch.int32, torch.int64) or not x.is_contiguous():
            raise ValueError(
                f"the starts of the {name} must be contiguous int32 or int64 of one axis, not "
                f"{x.dtype} {tuple(x.shape)} with strides {x.stride()}"
            )
    if q_starts.shape != k_starts.shape or not len(q_starts):
        raise ValueError(
            f"{len(q_starts)} starts of queries and {len(k_starts)} of keys: as many were due, one "
            "more than there are texts"
        )
    if q.shape[0] != 1 or k.shape[0] != 1:
        raise ValueError(f"texts behind each other are one batch, not {q.shape[0]}, {k.shape[0]}")
    return len(q_starts) - 1


def window_forward(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    left: int,
    right: int,
    scale: float,
    q_starts: torch.Tensor | None = None,
    k_starts: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention of each query to a band of keys, in one launch: o and lse as on day 32.

    Query i stands at key p = i + keys - queries and sees the keys p - left ... p + right, as far as
    they exist; a query that sees no key has o = 0 and lse = -inf.

    With starts, several texts lie behind each other in the rows of q, k and v, and batch is 1: text
    t has the queries q_starts[t] ... q_starts[t + 1] - 1 and the keys k_starts[t] ... k_starts[t +
    1] - 1. Each attends within itself, as if it were alone, its last query at its last key.

    Limits:
        - One launch with a grid of one axis and batch * heads * ``_slots(queries, BLOCK_M, ...)``
          programs, BLOCK_M from day 32's ``_config``, in ``work_order``'s order; bands are
          ``_together(q, k, True)`` wide. No memory but the results', no copy of an operand; starts
          stay where they are: nothing waits for the GPU.
        - A tile takes the blocks of keys that ``visible_blocks`` names and no others, so that the
          work is linear in the window. Whatever the others hold, be it nan, has no effect; nor have
          the rows of other texts.
        - Loads are 128 bits wide where rows are contiguous and aligned, and shared memory is within
          the chip's, sm_80 and sm_90. For 16-bit types and dims up to 128 at most 512 bytes of
          registers a thread are spilled, and the products are computed by tensor cores (on sm_90 by
          wgmma).

    Args:
        q, k, v: as for day 32's ``flash_attention_forward``; any strides.
        left, right: 0 or more, up to NO_LIMIT, which stands for no edge.
        scale: greater than 0.
        q_starts, k_starts: both or none; (texts + 1,), contiguous int32 or int64. Both begin with
            0, do not fall, and end with the rows of q and of k: that is not checked.

    Returns:
        o, a new contiguous tensor of q's shape and dtype, and lse, (batch, heads, queries) float32.

    Raises:
        ValueError: the scale is not greater than 0, or ``_texts`` or ``_operands`` refuse.

    Example:
        q = [[[[1], [1], [1]]]], k = [[[[0], [0], [0]]]], v = [[[[2], [4], [8]]]], scale = 1, left =
        1, right = 0: o is [[[[2], [3], [6]]]], lse is [[[0, log 2, log 2]]]. With starts [0, 2, 3]
        for both, the last query is a text of its own: o is [[[[2], [3], [8]]]].
    """
    # TODO: refuse what does not fit; allocate; launch.
    # HINT: How many programs does a launcher start that may not look into q_starts?
    ### BEGIN SOLUTION
    # HINT: texts = _texts(...), packed = q_starts is not None, and slots = _slots(queries, BLOCK_M,
    #       texts, packed); the grid is (batch * heads * slots,).
    # HINT: After the strides of q, k and v: slots, batch * heads, heads, group, texts, queries,
    #       keys, left, right, scale * LOG2E, _together(q, k, True). Without starts any tensor can
    #       stand in their place.
    if not scale > 0:
        raise ValueError(f"the scale must be greater than 0, not {scale}")
    batch, heads, queries, keys, dim, group = _operands(q, k, v)
    texts, packed = _texts(q, k, q_starts, k_starts, left, right), q_starts is not None
    config = _config(dim, q.element_size())
    o = torch.empty(q.shape, dtype=q.dtype, device=q.device)
    lse = torch.empty((batch, heads, queries), dtype=torch.float32, device=q.device)
    slots = _slots(queries, config["BLOCK_M"], texts, packed)
    window_forward_kernel[(batch * heads * slots,)](
        *(q, k, v, o, lse),
        *((q_starts, k_starts) if packed else (q, q)),
        *(*q.stride(), *k.stride(), *v.stride()),
        *(slots, batch * heads, heads, group, texts, queries, keys, left, right),
        *(scale * LOG2E, _together(q, k, True)),
        DIM=dim,
        PACKED=packed,
        **config,
    )
    return o, lse
    ### END SOLUTION


@triton.jit
def window_backward_dkdv_blocks_kernel(
    dk,
    dv,
    k,
    v,
    q_ptr,
    do_ptr,
    lse_ptr,
    delta_ptr,
    group,
    place,
    first,
    begin,
    whole,
    end,
    q_rows,
    queries,
    left,
    right,
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
    WHOLE: tl.constexpr,
):
    """dk and dv, not scaled, with what some blocks of group heads' queries add.

    They are first ... begin - 1 and whole ... end - 1. Pointers point at the text's first row of
    the first of the heads; a head of lse and delta has ``queries`` numbers. place are the queries
    at which the tile's keys stand: the key of place p is seen by the queries p - right ... p +
    left, and by all of these blocks' queries with WHOLE. scale is that of the scores times log2(e).
    """
    # TODO: day 34's loop, with the blocks of the forward pass's loop and with two edges.
    # HINT: What is the number of a query in lse, and where does the next head begin?
    ### BEGIN SOLUTION
    # HINT: blocks = begin - first + end - whole; member = step // blocks, and block = first + step
    #       % blocks, to which whole - begin is added from begin on.
    # HINT: Unless WHOLE, p = tl.where((row[None, :] >= place[:, None] - right) & (row[None, :] <=
    #       place[:, None] + left), p, 0.0).
    # HINT: All else is flash_dkdv_blocks_kernel without descriptors, with lse_ptr + member *
    #       queries + row for the numbers of the rows.
    blocks = begin - first + end - whole
    for step in range(0, group * blocks):
        member, block = (step // blocks).to(tl.int64), first + step % blocks
        block = tl.where(block < begin, block, block - begin + whole)
        row = block * BLOCK_M + tl.arange(0, BLOCK_M)
        numbers = member * queries + row
        q_block = _block_of(
            *(q_ptr + member * q_head_stride, 0, 0, block, q_rows, q_row_stride, q_dim_stride),
            *(DIM, BLOCK_M, BLOCK_D, False, WHOLE),
        )
        lse = tl.load(lse_ptr + numbers, mask=row < q_rows, other=float("inf"))
        s = tl.dot(k, q_block.T, input_precision="ieee")
        p = tl.exp2(s * scale - _base2(lse)[None, :])
        if not WHOLE:
            away = row[None, :] - place[:, None]
            p = tl.where((away >= -right) & (away <= left), p, 0.0)
        do_block = _block_of(
            *(do_ptr + member * do_head_stride, 0, 0, block, q_rows, do_row_stride, do_dim_stride),
            *(DIM, BLOCK_M, BLOCK_D, False, WHOLE),
        )
        dv = tl.dot(p.to(do_block.dtype), do_block, dv, input_precision="ieee")
        dp = tl.dot(v, do_block.T, input_precision="ieee")
        row_sums = tl.load(delta_ptr + numbers, mask=row < q_rows, other=0.0)
        ds = p * (dp - row_sums[None, :])
        dk = tl.dot(ds.to(q_block.dtype), q_block, dk, input_precision="ieee")
    ### END SOLUTION
    return dk, dv


@triton.jit
def window_backward_dkdv_kernel(
    q_ptr,
    k_ptr,
    v_ptr,
    do_ptr,
    lse_ptr,
    delta_ptr,
    dk_ptr,
    dv_ptr,
    q_starts,
    k_starts,
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
    slots,
    matrices,
    kv_heads,
    group,
    texts,
    queries,
    keys,
    left,
    right,
    scale,
    together,
    DIM: tl.constexpr,
    PACKED: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """dk and dv of one tile of keys of one text; both are contiguous.

    slots: tiles of keys of a head of k and v, or ``_text_of``'s. scale is that of the scores.
    """
    # TODO: the forward kernel's beginning, for keys; day 34's loops and end.
    # HINT: Who are the rows now, and who the columns? What becomes of left and right?
    ### BEGIN SOLUTION
    # HINT: slots - 1 - tile is the slot: the first keys have the most queries under a causal mask.
    #       _text_of takes k_starts and BLOCK_N, and a tile from k_rows on returns.
    # HINT: _visible_blocks(tile, k_rows, q_rows, right, left, BLOCK_N, BLOCK_M), and place = key +
    #       q_rows - k_rows.
    # HINT: The first of the heads is matrix * group of all, kv_head * group of its batch: lse_ptr
    #       and delta_ptr move by matrix * group * queries + q_begin.
    # HINT: Two calls: (begin, whole, whole, whole) with WHOLE, and (first, begin, whole, end)
    #       without. Then dk * scale and dv go to the rows matrix * keys + k_begin + key.
    matrix, tile = _work_order(tl.program_id(0), slots, matrices, together)
    tile = slots - 1 - tile
    text = tile * 0
    if PACKED:
        text, tile = _text_of(tile, k_starts, texts, BLOCK_N)
    q_begin, q_rows = _span_of(text, q_starts, queries, PACKED)
    k_begin, k_rows = _span_of(text, k_starts, keys, PACKED)
    if tile * BLOCK_N >= k_rows:
        return
    first, begin, whole, end = _visible_blocks(tile, k_rows, q_rows, right, left, BLOCK_N, BLOCK_M)
    matrix, q_begin, k_begin = matrix.to(tl.int64), q_begin.to(tl.int64), k_begin.to(tl.int64)
    batch, kv_head = matrix // kv_heads, matrix % kv_heads
    key = tile * BLOCK_N + tl.arange(0, BLOCK_N)
    d = tl.arange(0, BLOCK_D)
    inside = (key < k_rows)[:, None] & (d < DIM)[None, :]
    key64, d64 = key.to(tl.int64)[:, None], d.to(tl.int64)[None, :]
    k_ptr += batch * k_batch_stride + kv_head * k_head_stride + k_begin * k_row_stride
    v_ptr += batch * v_batch_stride + kv_head * v_head_stride + k_begin * v_row_stride
    k = tl.load(k_ptr + key64 * k_row_stride + d64 * k_dim_stride, mask=inside, other=0.0)
    v = tl.load(v_ptr + key64 * v_row_stride + d64 * v_dim_stride, mask=inside, other=0.0)
    head = kv_head * group
    q_ptr += batch * q_batch_stride + head * q_head_stride + q_begin * q_row_stride
    do_ptr += batch * do_batch_stride + head * do_head_stride + q_begin * do_row_stride
    lse_ptr += matrix * group * queries + q_begin
    delta_ptr += matrix * group * queries + q_begin
    place = key + q_rows - k_rows
    dk = tl.zeros((BLOCK_N, BLOCK_D), tl.float32)
    dv = tl.zeros((BLOCK_N, BLOCK_D), tl.float32)
    dk, dv = window_backward_dkdv_blocks_kernel(
        *(dk, dv, k, v, q_ptr, do_ptr, lse_ptr, delta_ptr, group, place),
        *(begin, whole, whole, whole, q_rows, queries, left, right),
        *(q_head_stride, q_row_stride, q_dim_stride),
        *(do_head_stride, do_row_stride, do_dim_stride, scale * LOG2_E),
        *(DIM, BLOCK_M, BLOCK_D, True),
    )
    dk, dv = window_backward_dkdv_blocks_kernel(
        *(dk, dv, k, v, q_ptr, do_ptr, lse_ptr, delta_ptr, group, place),
        *(first, begin, whole, end, q_rows, queries, left, right),
        *(q_head_stride, q_row_stride, q_dim_stride),
        *(do_head_stride, do_row_stride, do_dim_stride, scale * LOG2_E),
        *(DIM, BLOCK_M, BLOCK_D, False),
    )
    out = (matrix * keys + k_begin + key64) * DIM + d[None, :]
    tl.store(dk_ptr + out, dk * scale, mask=inside)
    tl.store(dv_ptr + out, dv, mask=inside)
    ### END SOLUTION


@triton.jit
def window_backward_dq_cut_kernel(
    dq,
    q,
    do,
    k,
    v,
    lse,
    row_sums,
    first,
    begin,
    whole,
    end,
    low,
    high,
    keys,
    k_row_stride,
    k_dim_stride,
    v_row_stride,
    v_dim_stride,
    scale,
    DIM: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """dq, not scaled, with what the blocks first ... begin - 1 and whole ... end - 1 of keys add.

    As ``window_forward_cut_kernel``; lse is after ``_base2``, row_sums are ``delta``'s numbers.
    """
    # TODO: the forward pass's loop with day 34's lines in it.
    # HINT: Which lines of flash_dq_blocks_kernel know of a mask?
    ### BEGIN SOLUTION
    # HINT: p = tl.exp2(s * scale - lse[:, None]), then 0 where a key is hidden.
    # HINT: ds = p * (tl.dot(do, v_block.T) - row_sums[:, None]), and dq = tl.dot(ds.to(
    #       k_block.dtype), k_block, dq), all with input_precision="ieee".
    for step in range(first, end - whole + begin):
        block = tl.where(step < begin, step, step - begin + whole)
        k_block = _block_of(
            *(k, 0, 0, block, keys, k_row_stride, k_dim_stride),
            *(DIM, BLOCK_N, BLOCK_D, False, False),
        )
        key = block * BLOCK_N + tl.arange(0, BLOCK_N)
        s = tl.dot(q, k_block.T, input_precision="ieee")
        seen = (key[None, :] >= low[:, None]) & (key[None, :] < high[:, None])
        p = tl.where(seen, tl.exp2(s * scale - lse[:, None]), 0.0)
        v_block = _block_of(
            *(v, 0, 0, block, keys, v_row_stride, v_dim_stride),
            *(DIM, BLOCK_N, BLOCK_D, False, False),
        )
        dp = tl.dot(do, v_block.T, input_precision="ieee")
        ds = p * (dp - row_sums[:, None])
        dq = tl.dot(ds.to(k_block.dtype), k_block, dq, input_precision="ieee")
    ### END SOLUTION
    return dq


@triton.jit
def window_backward_dq_kernel(
    q_ptr,
    k_ptr,
    v_ptr,
    do_ptr,
    lse_ptr,
    delta_ptr,
    dq_ptr,
    q_starts,
    k_starts,
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
    slots,
    matrices,
    heads,
    group,
    texts,
    queries,
    keys,
    left,
    right,
    scale,
    together,
    DIM: tl.constexpr,
    PACKED: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """dq of one tile of queries of one text; dq is contiguous. scale is that of the scores."""
    # TODO: the forward kernel with do, lse and delta beside q.
    # HINT: What did day 34 change in day 32's kernel to get flash_dq?
    ### BEGIN SOLUTION
    # HINT: All is the forward kernel's up to the band; do is loaded as q is. The tile's lse and
    #       delta stand at matrix * queries + q_begin + row, with other=float("inf") and 0.0.
    # HINT: The whole blocks are flash_dq_blocks_kernel's with False, False, True, the others
    #       window_backward_dq_cut_kernel's, with scale * LOG2_E; store dq * scale.
    matrix, tile = _work_order(tl.program_id(0), slots, matrices, together)
    text = tile * 0
    if PACKED:
        text, tile = _text_of(tile, q_starts, texts, BLOCK_M)
    q_begin, q_rows = _span_of(text, q_starts, queries, PACKED)
    k_begin, k_rows = _span_of(text, k_starts, keys, PACKED)
    if tile * BLOCK_M >= q_rows:
        return
    first, begin, whole, end = _visible_blocks(tile, q_rows, k_rows, left, right, BLOCK_M, BLOCK_N)
    matrix, q_begin, k_begin = matrix.to(tl.int64), q_begin.to(tl.int64), k_begin.to(tl.int64)
    batch, head = matrix // heads, matrix % heads
    row = tile * BLOCK_M + tl.arange(0, BLOCK_M)
    low = row + k_rows - q_rows - left
    high = tl.minimum(row + k_rows - q_rows + right + 1, k_rows)
    d = tl.arange(0, BLOCK_D)
    inside = (row < q_rows)[:, None] & (d < DIM)[None, :]
    row64, d64 = row.to(tl.int64)[:, None], d.to(tl.int64)[None, :]
    q_ptr += batch * q_batch_stride + head * q_head_stride + q_begin * q_row_stride
    do_ptr += batch * do_batch_stride + head * do_head_stride + q_begin * do_row_stride
    q = tl.load(q_ptr + row64 * q_row_stride + d64 * q_dim_stride, mask=inside, other=0.0)
    do = tl.load(do_ptr + row64 * do_row_stride + d64 * do_dim_stride, mask=inside, other=0.0)
    numbers = matrix * queries + q_begin + row
    lse = _base2(tl.load(lse_ptr + numbers, mask=row < q_rows, other=float("inf")))
    row_sums = tl.load(delta_ptr + numbers, mask=row < q_rows, other=0.0)
    head = head // group
    k_ptr += batch * k_batch_stride + head * k_head_stride + k_begin * k_row_stride
    v_ptr += batch * v_batch_stride + head * v_head_stride + k_begin * v_row_stride
    dq = tl.zeros((BLOCK_M, BLOCK_D), tl.float32)
    dq = flash_dq_blocks_kernel(
        *(dq, q, do, k_ptr, v_ptr, lse, row_sums, batch, head, begin, whole, high, k_rows),
        *(k_row_stride, k_dim_stride, v_row_stride, v_dim_stride, scale * LOG2_E),
        *(DIM, BLOCK_N, BLOCK_D, False, False, True),
    )
    dq = window_backward_dq_cut_kernel(
        *(dq, q, do, k_ptr, v_ptr, lse, row_sums, first, begin, whole, end, low, high, k_rows),
        *(k_row_stride, k_dim_stride, v_row_stride, v_dim_stride, scale * LOG2_E),
        *(DIM, BLOCK_N, BLOCK_D),
    )
    out = (matrix * queries + q_begin + row64) * DIM + d[None, :]
    tl.store(dq_ptr + out, dq * scale, mask=inside)
    ### END SOLUTION


def window_backward(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    o: torch.Tensor,
    lse: torch.Tensor,
    do: torch.Tensor,
    left: int,
    right: int,
    scale: float,
    q_starts: torch.Tensor | None = None,
    k_starts: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The gradients of ``window_forward``: dq, dk, dv.

    Day 34's two kernels for a band of keys. From the keys' side it is a band, too: key j stands at
    query p = j + queries - keys, and is seen by the queries p - right ... p + left.

    Limits: three launches: ``delta``'s, one with a program for each of the ``_slots`` of BLOCK_N
    keys (``_dkdv_config``) of each head of k and v, one with a program for each of the slots of
    BLOCK_M queries (``_dq_config``) of each head of q. No memory but the results' and delta's, no
    atomic operation, nothing waits for the GPU. Tiles take the blocks that ``visible_blocks`` names
    only. Spills, loads and tensor cores: as for ``window_forward``.

    Args:
        q, k, v, left, right, scale, q_starts, k_starts: as for ``window_forward``.
        o, lse: its results. o may have any strides; lse is contiguous.
        do: the gradient at o, of its shape and dtype, any strides, 0 among them.

    Returns:
        dq, dk, dv: new contiguous tensors of the shapes and dtype of q, k, v. A query that sees no
        key and a key that no query sees have a gradient of 0.

    Raises:
        ValueError: day 34's ``_checked``, day 33's ``delta`` or ``_texts`` refuse.

    Example:
        q = [[[[1], [1]]]], k = [[[[0], [0]]]], v = [[[[2], [4]]]], do = [[[[1], [1]]]], scale = 1,
        left = NO_LIMIT, right = 0: dq is [[[[0], [0]]]], dk is [[[[-1/2], [1/2]]]] and dv is
        [[[[3/2], [1/2]]]].
    """
    # TODO: check, delta, two launches.
    # HINT: Which of the two grids counts heads of k, and in tiles of which block?
    ### BEGIN SOLUTION
    # HINT: _checked(q, k, v, do, {"lse": lse}, scale) gives the sizes, _texts the texts.
    # HINT: After q, k, v, do, lse, row_sums and what is written, the starts and the strides of q,
    #       k, v and do: slots, batch * kv_heads, kv_heads, group, texts, queries, keys, left,
    #       right, scale, and _band(q, k, True) for dkdv. For dq: heads, and _together(q, k, True).
    batch, heads, queries, keys, dim, group = _checked(q, k, v, do, {"lse": lse}, scale)
    texts, packed = _texts(q, k, q_starts, k_starts, left, right), q_starts is not None
    row_sums, kv_heads = delta(o, do), k.shape[1]
    dq, dk, dv = (torch.empty(x.shape, dtype=x.dtype, device=x.device) for x in (q, k, v))
    starts = (q_starts, k_starts) if packed else (q, q)
    strides = (*q.stride(), *k.stride(), *v.stride(), *do.stride())
    numbers = (group, texts, queries, keys, left, right, scale)
    config = _dkdv_config(dim, q.element_size())
    slots, matrices = _slots(keys, config["BLOCK_N"], texts, packed), batch * kv_heads
    window_backward_dkdv_kernel[(matrices * slots,)](
        *(q, k, v, do, lse, row_sums, dk, dv, *starts, *strides),
        *(slots, matrices, kv_heads, *numbers, _band(q, k, True)),
        DIM=dim,
        PACKED=packed,
        **config,
    )
    config = _dq_config(dim, q.element_size())
    slots, matrices = _slots(queries, config["BLOCK_M"], texts, packed), batch * heads
    window_backward_dq_kernel[(matrices * slots,)](
        *(q, k, v, do, lse, row_sums, dq, *starts, *strides),
        *(slots, matrices, heads, *numbers, _together(q, k, True)),
        DIM=dim,
        PACKED=packed,
        **config,
    )
    return dq, dk, dv
    ### END SOLUTION


def _edges(causal: bool, window: int | None) -> tuple[int, int]:
    """left and right of ``window_forward``: a window counts a query's own key."""
    reach = NO_LIMIT if window is None else window - 1
    return reach, 0 if causal else reach


class AttentionOperator:
    """All that torch must know of attention to use it as one of its own operators.

    Below this class ``torch.library`` registers these functions, as the operators
    ``exercises::flash_attention`` and ``exercises::flash_attention_backward``. From then on
    autograd differentiates the first one, torch.compile puts it into its graphs without looking
    inside, and vmap says why it does not go on. ``torch.library.opcheck`` is to be content with
    both.

    Arguments are those of ``flash_attention``, but (batch, heads, tokens, dim) always, and scale is
    a number; with q_starts and k_starts (of ``window_forward``) texts lie behind each other.
    """

    @staticmethod
    def forward(
        q: torch.Tensor,
        k: torch.Tensor,
        v: torch.Tensor,
        q_starts: torch.Tensor | None,
        k_starts: torch.Tensor | None,
        causal: bool,
        scale: float,
        window: int | None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """o and lse. Without a window and without starts they are day 32's, else window_forward's.

        One launch, whichever it is. (Day 32's kernel reads k and v through descriptors.)
        """
        # TODO: call one of the two.
        # HINT: Which function turns causal and window into the two edges?
        ### BEGIN SOLUTION
        # HINT: if window is None and q_starts is None it is flash_attention_forward.
        # HINT: window_forward(q, k, v, *_edges(causal, window), scale, q_starts, k_starts).
        if window is None and q_starts is None:
            return flash_attention_forward(q, k, v, causal, scale)
        return window_forward(q, k, v, *_edges(causal, window), scale, q_starts, k_starts)
        ### END SOLUTION

    @staticmethod
    def forward_fake(
        q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, *options: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Tensors with the shapes, dtypes, strides and device of o and lse, and nothing in them.

        torch.compile calls this with tensors that have no memory, to learn what comes out.
        """
        # TODO: allocate as the launchers do.
        # HINT: Are the results of the launchers laid out as q is, or contiguous?
        ### BEGIN SOLUTION
        # HINT: q.new_empty(shape) has q's dtype and device, and is contiguous.
        # HINT: lse is q.new_empty(q.shape[:3], dtype=torch.float32).
        return q.new_empty(q.shape), q.new_empty(q.shape[:3], dtype=torch.float32)
        ### END SOLUTION

    @staticmethod
    def backward(
        q: torch.Tensor,
        k: torch.Tensor,
        v: torch.Tensor,
        o: torch.Tensor,
        lse: torch.Tensor,
        do: torch.Tensor,
        q_starts: torch.Tensor | None,
        k_starts: torch.Tensor | None,
        causal: bool,
        scale: float,
        window: int | None,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """dq, dk, dv: day 34's, or window_backward's, in three launches."""
        # TODO: call one of the two, as forward does.
        # HINT: Which of the arguments does each of them take?
        ### BEGIN SOLUTION
        # HINT: flash_attention_backward(q, k, v, o, lse, do, causal, scale).
        # HINT: The other one takes *_edges(causal, window) after do, then scale and the starts.
        if window is None and q_starts is None:
            return flash_attention_backward(q, k, v, o, lse, do, causal, scale)
        edges = _edges(causal, window)
        return window_backward(q, k, v, o, lse, do, *edges, scale, q_starts, k_starts)
        ### END SOLUTION

    @staticmethod
    def backward_fake(
        q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, *others: Any
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Tensors with the shapes, dtypes, strides and device of dq, dk and dv."""
        # TODO: allocate as the launchers do.
        # HINT: See forward_fake.
        ### BEGIN SOLUTION
        # HINT: dq has q's shape, dk k's and dv v's.
        # HINT: x.new_empty(x.shape) for each of the three.
        return q.new_empty(q.shape), k.new_empty(k.shape), v.new_empty(v.shape)
        ### END SOLUTION

    @staticmethod
    def save(ctx: Any, inputs: tuple[Any, ...], output: tuple[torch.Tensor, torch.Tensor]) -> None:
        """Keep for the gradients what they need, and no tensor besides: the operands, o and lse.

        inputs are all arguments of ``forward``, output its results.
        """
        # TODO: tensors by ctx.save_for_backward, the rest as attributes of ctx.
        # HINT: Which of the inputs are tensors, and which may be None?
        ### BEGIN SOLUTION
        # HINT: ctx.save_for_backward takes None as well as tensors.
        # HINT: q, k, v, q_starts, k_starts and output are saved; the last three inputs are numbers.
        q, k, v, q_starts, k_starts, *ctx.options = inputs
        ctx.save_for_backward(q, k, v, *output, q_starts, k_starts)
        ### END SOLUTION

    @staticmethod
    def gradients(
        ctx: Any, do: torch.Tensor, dlse: torch.Tensor
    ) -> tuple[torch.Tensor | None, ...]:
        """One for each input of ``forward``, None for those that have no gradient.

        It calls the second operator, ``attention_backward``, so that torch.compile finds an
        operator here as well and no kernels. lse is not handed to anybody, so dlse is 0.
        """
        # TODO: call attention_backward with what was saved.
        # HINT: In which order does it take its arguments, and in which were they saved?
        ### BEGIN SOLUTION
        # HINT: q, k, v, o, lse, q_starts, k_starts = ctx.saved_tensors.
        # HINT: dq, dk, dv, and None for each of the five others.
        q, k, v, o, lse, q_starts, k_starts = ctx.saved_tensors
        grads = attention_backward(q, k, v, o, lse, do, q_starts, k_starts, *ctx.options)
        return (*grads, *(None,) * 5)
        ### END SOLUTION

    @staticmethod
    def batched(info: Any, in_dims: tuple[Any, ...], *args: Any) -> Any:
        """torch.func.vmap would map over an axis here. It is refused.

        Without a rule torch would call the operator once for each slice, one after the other, or
        fail somewhere inside. Attention has a batch axis: who has one more puts it there.

        Raises:
            NotImplementedError: always. The message names vmap and the batch axis ("batch").
        """
        # TODO: raise.
        # HINT: What should someone do who wanted vmap?
        ### BEGIN SOLUTION
        # HINT: Say that vmap is not supported, and that the axis belongs into the batch.
        # HINT: raise NotImplementedError("... vmap ... batch ...").
        raise NotImplementedError(
            "flash_attention has no rule for vmap: make the mapped axis a part of the batch"
        )
        ### END SOLUTION


_OPTIONS = "Tensor? q_starts, Tensor? k_starts, bool causal, float scale, int? window"
# Given: an operator of the first four functions, and one of the next two. A schema says the types.
attention_forward = torch.library.custom_op(
    "exercises::flash_attention",
    AttentionOperator.forward,
    mutates_args=(),
    schema=f"(Tensor q, Tensor k, Tensor v, {_OPTIONS}) -> (Tensor, Tensor)",
)
attention_backward = torch.library.custom_op(
    "exercises::flash_attention_backward",
    AttentionOperator.backward,
    mutates_args=(),
    schema="(Tensor q, Tensor k, Tensor v, Tensor o, Tensor lse, Tensor do, "
    f"{_OPTIONS}) -> (Tensor, Tensor, Tensor)",
)
attention_forward.register_fake(AttentionOperator.forward_fake)
attention_backward.register_fake(AttentionOperator.backward_fake)
attention_forward.register_autograd(
    AttentionOperator.gradients, setup_context=AttentionOperator.save
)
attention_forward.register_vmap(AttentionOperator.batched)
attention_backward.register_vmap(AttentionOperator.batched)


def flash_attention(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    causal: bool = False,
    scale: float | None = None,
    window: int | None = None,
) -> torch.Tensor:
    """Attention that can be trained with: softmax(scale * q k^T) v, exact, in O(tokens) memory.

    With causal query i sees the keys up to its own, p = i + keys - queries. With a window it sees
    ``window`` keys at most on each side, its own among them: the keys p - window + 1 ... p + window
    - 1, and under causal p - window + 1 ... p. A query that sees no key has the result 0, and
    gradients of 0.

    Limits: one launch forward, three backward; nothing of the size queries x keys at any time, no
    copy of an operand; kept for the backward pass are q, k, v, o and lse. Two runs have the same
    gradients, bit for bit. It runs under torch.compile(fullgraph=True) and under
    torch.utils.checkpoint, and uses ``attention_forward`` alone.

    Args:
        q: (batch, heads, queries, dim) of any strides; float32, float16 or bfloat16. Sizes may be
            0, but dim is from 1 to 256.
        k, v: (batch, kv_heads, keys, dim) of any strides and q's dtype; neighbouring heads of q
            share a head of k and v, so heads is a multiple of kv_heads.
        causal: whether a query sees only what comes before it, and itself.
        scale: 1 / sqrt(dim) unless given; greater than 0.
        window: None for all keys, or 1 or more; at most NO_LIMIT.

    Returns:
        A new contiguous tensor of q's shape and dtype. Its gradient cannot be differentiated again.

    Raises:
        ValueError: window is given and less than 1, the scale is not greater than 0, or day 32's
            ``_operands`` refuses the three.

    Example:
        q = [[[[1], [1], [1]]]], k = [[[[0], [0], [0]]]], v = [[[[2], [4], [8]]]]: with causal the
        result is [[[[2], [3], [14/3]]]], with causal and window = 2 [[[[2], [3], [6]]]], and with
        window = 2 alone [[[[3], [14/3], [6]]]].
    """
    # TODO: choose the scale, call the operator.
    # HINT: Which of the two results is for the caller?
    ### BEGIN SOLUTION
    # HINT: Errors of the launchers come through the operator as they are: what it is to refuse is
    #       refused by them already, a window of 0 too.
    # HINT: attention_forward(q, k, v, None, None, causal, scale, window)[0].
    scale = q.shape[3] ** -0.5 if scale is None else scale
    out: torch.Tensor = attention_forward(q, k, v, None, None, causal, scale, window)[0]
    return out
    ### END SOLUTION


def flash_attention_varlen(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    cu_seqlens_q: torch.Tensor,
    cu_seqlens_k: torch.Tensor | None = None,
    causal: bool = False,
    scale: float | None = None,
    window: int | None = None,
) -> torch.Tensor:
    """``flash_attention`` within each of several texts of unequal lengths, without padding.

    All texts lie behind each other. cu_seqlens are the cumulative sums of their lengths: text t has
    the tokens cu_seqlens[t] ... cu_seqlens[t + 1] - 1. Queries and keys have their own, where a
    text has more keys than queries (a cache) or fewer. Within each text causal and window are those
    of ``flash_attention``, its last query at its last key.

    Limits: as for ``flash_attention``. The lengths are not read on the host, and what the tokens of
    one text hold, be it nan, has no effect on another one.

    Args:
        q: (tokens, heads, dim) of any strides, in the order that a linear layer leaves.
        k, v: (tokens of keys, kv_heads, dim) of any strides and q's dtype.
        cu_seqlens_q: (texts + 1,), contiguous int32 or int64, on q's device: 0, ..., tokens. Texts
            may be empty, and may have no tokens at all. The values are not checked.
        cu_seqlens_k: the same for the keys; cu_seqlens_q unless given.
        causal, scale, window: as for ``flash_attention``.

    Returns:
        A new tensor of q's shape and dtype, of any strides, with gradients for q, k and v.

    Raises:
        ValueError: what ``flash_attention`` refuses, and what ``_texts`` does.

    Example:
        q = [[[1]], [[1]], [[1]]], k = [[[0]], [[0]], [[0]]], v = [[[2]], [[4]], [[8]]] and
        cu_seqlens_q = [0, 2, 3], causal: the result is [[[2]], [[3]], [[8]]].
    """
    # TODO: views of the three as one batch; the operator; a view back.
    # HINT: Which view of (tokens, heads, dim) has the four axes that the operator wants?
    ### BEGIN SOLUTION
    # HINT: x.transpose(0, 1)[None] is (1, heads, tokens, dim), and out[0].transpose(0, 1) the way
    #       back.
    # HINT: The operator takes cu_seqlens_q and cu_seqlens_k in the place of the two None.
    scale = q.shape[2] ** -0.5 if scale is None else scale
    starts = cu_seqlens_q, cu_seqlens_q if cu_seqlens_k is None else cu_seqlens_k
    views = (x.transpose(0, 1)[None] for x in (q, k, v))
    out: torch.Tensor = attention_forward(*views, *starts, causal, scale, window)[0]
    return out[0].transpose(0, 1)
    ### END SOLUTION


class FlashSelfAttention(torch.nn.Module):
    """Self-attention of a model, with ``flash_attention`` in the middle.

    Four linear layers, q_proj (dim to heads * d), k_proj and v_proj (dim to kv_heads * d) and
    out_proj (heads * d to dim), with d = dim / heads: the names and shapes of the PyTorch track's
    GroupedQueryAttention, so that the weights of one fit the other one. dim, heads, kv_heads and
    window are attributes.

    The linear layers are torch's; the heads are views of their results, never copies. But the four
    layers' own results and gradients, only what ``flash_attention`` needs is kept; in particular
    nothing of the size length x length.

    Args:
        dim: size of the tokens; a multiple of heads.
        heads: heads of the queries.
        kv_heads: heads of keys and values, a divisor of heads; heads unless given.
        window: as for ``flash_attention``.
        bias: whether the four layers have one.

    Raises:
        ValueError: heads or kv_heads is less than 1, heads does not divide dim, or kv_heads does
            not divide heads.

    Example:
        FlashSelfAttention(8, 4, 2)(torch.zeros(3, 5, 8), causal=True) has the shape (3, 5, 8), and
        FlashSelfAttention(8, 4, 2).k_proj.weight (4, 8).
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        kv_heads: int | None = None,
        window: int | None = None,
        bias: bool = True,
    ) -> None:
        super().__init__()
        # TODO: check; the attributes; the four layers.
        # HINT: How many features do all heads of k have together?
        ### BEGIN SOLUTION
        # HINT: kv_heads = heads if kv_heads is None else kv_heads; 0 is not None.
        # HINT: shared = dim // heads * kv_heads is what k_proj and v_proj end in.
        kv_heads = heads if kv_heads is None else kv_heads
        if heads < 1 or kv_heads < 1 or heads % kv_heads or dim % heads:
            raise ValueError(f"dim {dim} with {heads} heads that share {kv_heads} of keys")
        self.dim, self.heads, self.kv_heads, self.window = dim, heads, kv_heads, window
        shared = dim // heads * kv_heads
        self.q_proj = torch.nn.Linear(dim, dim, bias)
        self.k_proj = torch.nn.Linear(dim, shared, bias)
        self.v_proj = torch.nn.Linear(dim, shared, bias)
        self.out_proj = torch.nn.Linear(dim, dim, bias)
        ### END SOLUTION

    def forward(
        self, x: torch.Tensor, mask: torch.Tensor | None = None, causal: bool = False
    ) -> torch.Tensor:
        """x (batch, length, dim) to the same shape and dtype.

        The PyTorch track's blocks call their attention like this. mask is there for their sake and
        has to be None: a ValueError that names the mask otherwise.
        """
        # TODO: project, split into heads, attend, join, project.
        # HINT: How does (batch, length, heads * d) become (batch, heads, length, d) without a copy?
        ### BEGIN SOLUTION
        # HINT: self.q_proj(x).unflatten(-1, (self.heads, -1)).transpose(1, 2).
        # HINT: self.out_proj(o.transpose(1, 2).flatten(2)) is the way back.
        if mask is not None:
            raise ValueError("no mask is taken: it would be as large as what is avoided here")
        q, k, v = (
            layer(x).unflatten(-1, (heads, self.dim // self.heads)).transpose(1, 2)
            for layer, heads in (
                (self.q_proj, self.heads),
                (self.k_proj, self.kv_heads),
                (self.v_proj, self.kv_heads),
            )
        )
        o = flash_attention(q, k, v, causal, window=self.window)
        out: torch.Tensor = self.out_proj(o.transpose(1, 2).flatten(2))
        return out
        ### END SOLUTION


def test_visible_blocks_of_the_drawing() -> None:
    found = [visible_blocks(tile, 8, 8, 3, 0, 2, 2) for tile in range(4)]
    assert found == [(0, 0, 0, 1), (0, 0, 1, 2), (0, 1, 2, 3), (1, 2, 3, 4)]


def _head(*rows: float) -> torch.Tensor:
    """One batch with one head of rows of one element."""
    return torch.tensor(rows, dtype=torch.float32, device=DEVICE)[None, None, :, None]


def test_a_window_of_two_keys() -> None:
    q, k, v = _head(1, 1, 1), _head(0, 0, 0), _head(2, 4, 8)
    o, lse = window_forward(q, k, v, 1, 0, 1.0)
    torch.testing.assert_close(o, _head(2, 3, 6))
    torch.testing.assert_close(lse, _head(1, 2, 2)[..., 0].log())
    starts = torch.tensor([0, 2, 3], dtype=torch.int32, device=DEVICE)
    o, _ = window_forward(q, k, v, 1, 0, 1.0, starts, starts)
    torch.testing.assert_close(o, _head(2, 3, 8))


def test_gradients_of_two_queries() -> None:
    q, k, v, do = _head(1, 1), _head(0, 0), _head(2, 4), _head(1, 1)
    o, lse = window_forward(q, k, v, NO_LIMIT, 0, 1.0)
    dq, dk, dv = window_backward(q, k, v, o, lse, do, NO_LIMIT, 0, 1.0)
    torch.testing.assert_close(dq, _head(0, 0))
    torch.testing.assert_close(dk, _head(-0.5, 0.5))
    torch.testing.assert_close(dv, _head(1.5, 0.5))


def test_flash_attention_of_three_tokens() -> None:
    q, k, v = _head(1, 1, 1), _head(0, 0, 0), _head(2, 4, 8).requires_grad_()
    torch.testing.assert_close(flash_attention(q, k, v), _head(14 / 3, 14 / 3, 14 / 3))
    torch.testing.assert_close(flash_attention(q, k, v, True), _head(2, 3, 14 / 3))
    out = flash_attention(q, k, v, True, window=2)
    torch.testing.assert_close(out, _head(2, 3, 6))
    out.sum().backward()
    torch.testing.assert_close(v.grad, _head(1.5, 1, 0.5))


def test_two_texts_behind_each_other() -> None:
    q, k, v = (x[0].transpose(0, 1) for x in (_head(1, 1, 1), _head(0, 0, 0), _head(2, 4, 8)))
    starts = torch.tensor([0, 2, 3], dtype=torch.int32, device=DEVICE)
    out = flash_attention_varlen(q, k, v, starts, causal=True)
    assert out.tolist() == [[[2.0]], [[3.0]], [[8.0]]]


def test_self_attention_has_the_shape_of_its_input() -> None:
    attention = FlashSelfAttention(8, 4, 2).to(DEVICE)
    assert attention(torch.zeros(3, 5, 8, device=DEVICE), causal=True).shape == (3, 5, 8)
    assert attention.k_proj.weight.shape == (4, 8)


if __name__ == "__main__":
    from harness import main

    main(__file__)
