"""Day 14: Softmax, faster
=======================
Estimated time: 1-2 hours
Prerequisites: Day 10 (reductions), Day 13 (fused softmax)
Lesson: lessons/day14.md

Learning objectives:
- Keep a maximum and a sum that belongs to it while a row passes by in pieces
- Read a row of any length twice, where the textbook reads it three times
- Give a program several short rows, and reduce along one axis of a tile
- Compute cross-entropy and its gradient together, and write the gradient over the logits
- Order reads and writes so that nothing is overwritten before its last use

A row of 7 in blocks of 4. The sum is always relative to the largest number seen so far:

    block      [2 0 1 2]      [5 3 5 .]    . is padding, -inf
    largest        2      ->      5
    total        2.503    ->    2.260
                   |
                   +- times e^(2-5), because the largest number has changed

    e^0 + e^-2 + e^-1 + e^0 = 2.503,   2.503 e^-3 + e^0 + e^-2 + e^0 = 2.260

Hints:
- Do the picture's row by hand, then the same row from right to left: which block changes nothing?
- What are largest and total after a block of -inf, as the first one and as a later one?
- On paper, one row: which values of the logits does the loss need, and until when?
Resources:
- Milakov and Gimelshein, Online normalizer calculation for softmax: https://arxiv.org/abs/1805.02867
- PyTorch, torch.nn.functional.cross_entropy: https://docs.pytorch.org/docs/stable/generated/torch.nn.functional.cross_entropy.html
- Hsu et al., Liger Kernel: Efficient Triton Kernels for LLM Training: https://arxiv.org/abs/2410.10989
- Triton language reference, tl.max: https://triton-lang.org/main/python-api/generated/triton.language.max.html
"""

import torch
import triton
import triton.language as tl

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
MAX_BLOCK = 16_384
LONGEST_BLOCK = 32_768
MAX_SHORT = 1024
TILE = 4096
CROSS_ENTROPY_BLOCK = 8192
TARGETS_BLOCK = 2048
# The least float32 that is not -inf. What a loop changes begins as tl.full((), LOWEST, tl.float32).
LOWEST = tl.constexpr(-3.4028234663852886e38)


def _block_and_warps(columns: int, most: int = MAX_BLOCK) -> tuple[int, int]:
    """A block that covers a short row, or ``most`` elements of a long one; its number of warps.

    32 elements a thread: few programs, so few rows, are under way at a time, and the second read of
    a row finds it in a cache. Beyond 65,536 columns even two rows a multiprocessor are too many for
    the caches; a block with all 32 warps leaves room for one.
    """
    if columns > 65_536:
        most = LONGEST_BLOCK
    block = min(triton.next_power_of_2(max(columns, 1)), most)
    return block, min(max(block // (32 * 32), 1), 32)


def _tile(columns: int) -> tuple[int, int]:
    """How many short rows a program takes, and a block that covers one: TILE elements together."""
    if columns > MAX_SHORT:
        raise ValueError(f"a row of {columns} columns is not short: at most {MAX_SHORT}")
    block = triton.next_power_of_2(max(columns, 1))
    return TILE // block, block


@triton.jit
def online_softmax_kernel(x_ptr, out_ptr, row_stride, column_stride, columns, BLOCK: tl.constexpr):
    """Program i turns row i of x (any strides) into row i of out (contiguous), block by block."""
    # TODO: one loop over the blocks for maximum and sum together, a second one that writes.
    # HINT: After a block, total = sum of exp(x - largest) over all that was seen. A new block
    #       brings a new largest. What must the old total be multiplied by?
    ### BEGIN SOLUTION
    # HINT: new = tl.maximum(largest, tl.max(x, axis=0)); the old total times exp(largest - new),
    #       plus the block's own sum of exp(x - new).
    # HINT: Start with tl.full((), LOWEST, tl.float32), not -inf: in a block of -inf, -inf - (-inf)
    #       would be nan.
    # HINT: Second loop: load x again and store exp(x - largest) * (1 / total).
    # HINT: For speed, tell the cache what is needed again: tl.load(..., eviction_policy=
    #       "evict_last") the first time, "evict_first" the second time and in tl.store.
    row = tl.program_id(0).to(tl.int64)
    x_row = x_ptr + row * row_stride
    out_row = out_ptr + row * columns
    lane = tl.arange(0, BLOCK)
    largest, total = tl.full((), LOWEST, tl.float32), 0.0
    for start in range(0, columns, BLOCK):
        column = start + lane
        inside = column < columns
        place = x_row + column.to(tl.int64) * column_stride
        x = tl.load(place, mask=inside, other=-float("inf"), eviction_policy="evict_last")
        x = x.to(tl.float32)
        new = tl.maximum(largest, tl.max(x, axis=0))
        total = total * tl.exp(largest - new) + tl.sum(tl.exp(x - new), axis=0)
        largest = new
    scale = 1.0 / total
    for start in range(0, columns, BLOCK):
        column = start + lane
        inside = column < columns
        place = x_row + column.to(tl.int64) * column_stride
        x = tl.load(place, mask=inside, other=0.0, eviction_policy="evict_first")
        out = tl.exp(x.to(tl.float32) - largest) * scale
        tl.store(out_row + column, out, mask=inside, eviction_policy="evict_first")
    ### END SOLUTION


def online_softmax(x: torch.Tensor) -> torch.Tensor:
    """Softmax of every row, of rows of any length, in one launch.

    out[i, j] = exp(x[i, j] - m_i) / s_i, where m_i = max_j x[i, j] and
    s_i = sum_j exp(x[i, j] - m_i). Maximum and sum come from one pass over the row, which keeps
    both for what it has seen (Milakov and Gimelshein, 2018, algorithm 3). With a block b:

        m' = max(m, max(b))
        s' = s * exp(m - m') + sum(exp(b - m'))

    A second pass writes. So each element is read twice and written once, whatever the length.

    Limits: one launch, and no memory but the result's. The kernel loads the row in two places, as
    wide as the compiler can (128 bits where rows are aligned), and spills no registers. At the 32
    elements a thread of ``_block_and_warps`` there is room for a block, but not for a maximum and
    a sum beside each of its lanes.

    Args:
        x: (rows, columns) of any strides; float32, float16 or bfloat16, computed in float32.
            Either size may be 0.

    Returns:
        A new contiguous tensor of x's shape and dtype. As in torch, a row that holds nan or +inf,
        or only -inf, becomes nan; a single -inf, or a block full of them, becomes 0.

    Example:
        online_softmax([[0, log 3]]) is [[0.25, 0.75]].
    """
    # TODO: allocate the output and launch one program a row.
    # HINT: Which of the sizes does the grid depend on, which the block?
    ### BEGIN SOLUTION
    # HINT: As softmax on day 13; _block_and_warps(columns) stops at MAX_BLOCK.
    rows, columns = x.shape
    block, warps = _block_and_warps(columns)
    out = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    online_softmax_kernel[(rows,)](x, out, *x.stride(), columns, BLOCK=block, num_warps=warps)
    return out
    ### END SOLUTION


@triton.jit
def softmax_many_rows_kernel(
    x_ptr,
    out_ptr,
    row_stride,
    column_stride,
    rows,
    columns,
    ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Program i turns the rows i * ROWS ... i * ROWS + ROWS - 1 of x into the same rows of out."""
    # TODO: load a tile of ROWS rows, compute the softmax of each of its rows, store it.
    # HINT: Which axis of the tile do the maximum and the sum go along, and what shape is left?
    ### BEGIN SOLUTION
    # HINT: row[:, None] and column[None, :] give a tile of addresses, and a mask of two conditions.
    # HINT: tl.max(x, axis=1) has one number a row; [:, None] lets it meet the tile again.
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)[:, None]
    column = tl.arange(0, BLOCK)[None, :].to(tl.int64)
    inside = (row < rows) & (column < columns)
    x = tl.load(
        x_ptr + row * row_stride + column * column_stride, mask=inside, other=-float("inf")
    ).to(tl.float32)
    numerator = tl.exp(x - tl.max(x, axis=1)[:, None])
    out = numerator / tl.sum(numerator, axis=1)[:, None]
    tl.store(out_ptr + row * columns + column, out, mask=inside)
    ### END SOLUTION


def softmax_many_rows(x: torch.Tensor) -> torch.Tensor:
    """Softmax of every row, of many short rows, in one launch: several rows a program.

    Limits: one launch, and no memory but the result's; as many rows a program as ``_tile`` says,
    or at least half as many. The kernel loads x in one place, loads and stores 128 bits at once
    where rows are aligned, and spills no registers.

    Args:
        x: (rows, columns) of any strides; float32, float16 or bfloat16, computed in float32.
            Either size may be 0; at most 1024 columns.

    Returns:
        A new contiguous tensor of x's shape and dtype; nan as in ``online_softmax``. Each element
        is read once and written once.

    Raises:
        ValueError: x has more than 1024 columns (``_tile`` says so for you).

    Example:
        softmax_many_rows([[0, log 3], [1, 1]]) is [[0.25, 0.75], [0.5, 0.5]], by one program.
    """
    # TODO: allocate the output and launch one program for as many rows as _tile says.
    # HINT: How many programs do 129 rows need, 64 at a time?
    ### BEGIN SOLUTION
    # HINT: triton.cdiv(rows, rows_a_program) programs; the last one may have fewer rows to do.
    rows, columns = x.shape
    rows_a_program, block = _tile(columns)
    out = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    softmax_many_rows_kernel[(triton.cdiv(rows, rows_a_program),)](
        x, out, *x.stride(), rows, columns, ROWS=rows_a_program, BLOCK=block, num_warps=8
    )
    return out
    ### END SOLUTION


@triton.jit
def cross_entropy_count_kernel(
    targets_ptr, count_ptr, rows, ignore_index, TARGETS_BLOCK: tl.constexpr
):
    """The only program: count_ptr[0] = how many targets differ from ignore_index, an int32."""
    # TODO: walk over the targets by blocks and count.
    # HINT: Which value in the padding is not counted?
    ### BEGIN SOLUTION
    # HINT: Load with other=ignore_index; (target != ignore_index).to(tl.int32) is 1 or 0.
    lane = tl.arange(0, TARGETS_BLOCK)
    kept = tl.zeros((TARGETS_BLOCK,), tl.int32)
    for start in range(0, rows, TARGETS_BLOCK):
        row = start + lane
        target = tl.load(targets_ptr + row, mask=row < rows, other=ignore_index)
        kept += (target != ignore_index).to(tl.int32)
    tl.store(count_ptr, tl.sum(kept, axis=0))
    ### END SOLUTION


@triton.jit
def cross_entropy_rows_kernel(
    logits_ptr,
    targets_ptr,
    count_ptr,
    row_loss_ptr,
    dlogits_ptr,
    row_stride,
    column_stride,
    dlogits_row_stride,
    dlogits_column_stride,
    columns,
    ignore_index,
    BLOCK: tl.constexpr,
):
    """Program i: row_loss_ptr[i] = loss of row i (0 if ignored), and row i of dlogits.

    dlogits may be the same memory as logits.
    """
    # TODO: an ignored row: loss 0 and zeros, without reading it. Any other: largest and total as in
    #       online_softmax_kernel, the loss, then a second loop for the gradient.
    # HINT: The loss needs one logit by its position. When is the last moment to load it?
    ### BEGIN SOLUTION
    # HINT: The row's target is one number, so a plain if and else choose between the two cases.
    # HINT: chosen = the logit at the target, loaded before the first loop. The loss is
    #       log(total) + (largest - chosen): largest + log(total) would round away the log.
    # HINT: Gradient: (exp(x - largest) / total - (1 where column == target, else 0)) / count.
    row = tl.program_id(0).to(tl.int64)
    logits_row = logits_ptr + row * row_stride
    dlogits_row = dlogits_ptr + row * dlogits_row_stride
    lane = tl.arange(0, BLOCK)
    target = tl.load(targets_ptr + row).to(tl.int64)
    if target == ignore_index:
        tl.store(row_loss_ptr + row, 0.0)
        for start in range(0, columns, BLOCK):
            column = start + lane
            place = dlogits_row + column.to(tl.int64) * dlogits_column_stride
            tl.store(place, 0.0, mask=column < columns)
    else:
        chosen = tl.load(logits_row + target * column_stride).to(tl.float32)
        largest, total = tl.full((), LOWEST, tl.float32), 0.0
        for start in range(0, columns, BLOCK):
            column = start + lane
            inside = column < columns
            place = logits_row + column.to(tl.int64) * column_stride
            x = tl.load(place, mask=inside, other=-float("inf"), eviction_policy="evict_last")
            x = x.to(tl.float32)
            new = tl.maximum(largest, tl.max(x, axis=0))
            total = total * tl.exp(largest - new) + tl.sum(tl.exp(x - new), axis=0)
            largest = new
        tl.store(row_loss_ptr + row, tl.log(total) + (largest - chosen))
        share = 1.0 / tl.load(count_ptr)
        scale = 1.0 / total
        for start in range(0, columns, BLOCK):
            column = start + lane
            inside = column < columns
            place = logits_row + column.to(tl.int64) * column_stride
            x = tl.load(place, mask=inside, other=0.0, eviction_policy="evict_first")
            p = tl.exp(x.to(tl.float32) - largest) * scale
            dlogits = (p - tl.where(column == target, 1.0, 0.0)) * share
            place = dlogits_row + column.to(tl.int64) * dlogits_column_stride
            tl.store(place, dlogits, mask=inside, eviction_policy="evict_first")
    ### END SOLUTION


@triton.jit
def cross_entropy_mean_kernel(row_loss_ptr, count_ptr, loss_ptr, rows, TARGETS_BLOCK: tl.constexpr):
    """The only program: loss_ptr[0] = (row_loss_ptr[0] + ... + row_loss_ptr[rows - 1]) / count."""
    # TODO: walk over the rows' losses by blocks, add them up, divide by the count, store.
    # HINT: Ignored rows left 0 here. Is the mean over all rows?
    ### BEGIN SOLUTION
    # HINT: As row_sum_kernel on day 10, with one row; 0.0 / 0 gives the nan that is asked for.
    lane = tl.arange(0, TARGETS_BLOCK)
    total = tl.zeros((TARGETS_BLOCK,), tl.float32)
    for start in range(0, rows, TARGETS_BLOCK):
        row = start + lane
        total += tl.load(row_loss_ptr + row, mask=row < rows, other=0.0)
    tl.store(loss_ptr, tl.sum(total, axis=0) / tl.load(count_ptr))
    ### END SOLUTION


def cross_entropy(
    logits: torch.Tensor, targets: torch.Tensor, ignore_index: int = -100, inplace: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean cross-entropy of the rows and its gradient with respect to the logits, together.

    With t = targets[i], m_i and s_i as in ``online_softmax``, and n rows whose target is not
    ignore_index:

        loss = sum of (log s_i + (m_i - logits[i, t])) / n         over these rows
        dlogits[i, j] = (exp(logits[i, j] - m_i) / s_i - (1 if j == t else 0)) / n
        dlogits[i, j] = 0                                          in ignored rows

    The brackets matter: at logits of 1e4, (m_i + log s_i) - logits[i, t] has lost the last digits
    of the logarithm, and so has exp(logits - (m_i + log s_i)).

    In all, each logit is read twice (once for the statistics, once for the gradient) and each
    element of dlogits is written once; an ignored row is written and never read, and besides these
    there are a few numbers a row. Three launches: count the n rows, do the rows, add up their
    losses; no atomics, so that the same inputs give the same bits. The host waits for nothing.

    Limits: at most three launches; besides dlogits, 4 bytes a row. The kernel of the rows loads
    blocks of logits in two places, loads and stores 128 bits at once where rows are aligned, and
    no kernel spills registers.

    Args:
        logits: (rows, columns) of any strides; float32, float16 or bfloat16, computed in float32.
            Rows may be longer than any block; there may be no rows, but not no columns.
        targets: (rows,), contiguous, int64 or int32: the right column of each row, in
            [0, columns), or ignore_index. Other targets are a mistake that is not checked.
        ignore_index: rows with this target count for nothing, whatever they hold, be it nan. It
            may be any integer that the dtype of targets can hold, also one in [0, columns).
        inplace: write dlogits over the logits. It then takes no memory of its own; what lies
            between the elements of a view is not touched.

    Returns:
        loss: float32, shape (). nan if no row is left (all are ignored, or there are none): a mean
            of nothing, as in torch.
        dlogits: of logits' shape and dtype; the tensor ``logits`` itself if inplace, else new and
            contiguous. All 0 if all rows are ignored.

    Example:
        cross_entropy([[0, log 3], [5, 5]], [1, -100]) is (log(4 / 3), [[0.25, -0.25], [0, 0]]).
    """
    # TODO: decide where dlogits lives; allocate the count, the rows' losses and the loss; launch.
    # HINT: Does every row's gradient need to know how many rows are ignored? Who runs first, then?
    ### BEGIN SOLUTION
    # HINT: dlogits = logits if inplace else torch.empty(...): the kernel gets the strides of both.
    # HINT: cross_entropy_count_kernel[(1,)], cross_entropy_rows_kernel[(rows,)] and
    #       cross_entropy_mean_kernel[(1,)], in this order.
    rows, columns = logits.shape
    block, warps = _block_and_warps(columns, CROSS_ENTROPY_BLOCK)
    count = torch.empty((), dtype=torch.int32, device=logits.device)
    row_loss = torch.empty(rows, dtype=torch.float32, device=logits.device)
    loss = torch.empty((), dtype=torch.float32, device=logits.device)
    dlogits = logits
    if not inplace:
        dlogits = torch.empty(logits.shape, dtype=logits.dtype, device=logits.device)
    cross_entropy_count_kernel[(1,)](
        targets, count, rows, ignore_index, TARGETS_BLOCK=TARGETS_BLOCK, num_warps=8
    )
    cross_entropy_rows_kernel[(rows,)](
        *(logits, targets, count, row_loss, dlogits),
        *logits.stride(),
        *dlogits.stride(),
        *(columns, ignore_index),
        BLOCK=block,
        num_warps=warps,
    )
    cross_entropy_mean_kernel[(1,)](
        row_loss, count, loss, rows, TARGETS_BLOCK=TARGETS_BLOCK, num_warps=8
    )
    return loss, dlogits
    ### END SOLUTION


def test_online_softmax_of_a_long_row() -> None:
    x = torch.linspace(-3.0, 3.0, 40_001, device=DEVICE).reshape(1, -1)
    torch.testing.assert_close(online_softmax(x), torch.softmax(x, dim=-1))


def test_online_softmax_of_a_row_that_begins_with_masked_logits() -> None:
    x = torch.full((1, 20_000), -float("inf"), device=DEVICE)
    x[0, -2:] = 7.0
    assert online_softmax(x)[0, -3:].tolist() == [0.0, 0.5, 0.5]


def test_many_rows_of_two_columns() -> None:
    x = torch.tensor([[1.0, 3.0], [1.0, 1.0]], device=DEVICE).log()
    expected = torch.tensor([[0.25, 0.75], [0.5, 0.5]], device=DEVICE)
    torch.testing.assert_close(softmax_many_rows(x), expected)


def test_cross_entropy_with_an_ignored_row() -> None:
    logits = torch.tensor([[1.0, 3.0], [5.0, 5.0]], device=DEVICE).log()
    loss, dlogits = cross_entropy(logits, torch.tensor([1, -100], device=DEVICE))
    expected = torch.tensor([[0.25, -0.25], [0.0, 0.0]], device=DEVICE)
    torch.testing.assert_close(loss, torch.tensor(4 / 3, device=DEVICE).log())
    torch.testing.assert_close(dlogits, expected)


def test_cross_entropy_in_place() -> None:
    logits = torch.zeros(1, 4, device=DEVICE)
    targets = torch.tensor([2], device=DEVICE)
    _, dlogits = cross_entropy(logits, targets, inplace=True)
    assert dlogits is logits and logits.tolist() == [[0.25, 0.25, -0.75, 0.25]]


if __name__ == "__main__":
    from harness import main

    main(__file__)
