"""Day 29: IO-aware attention
==========================
Estimated time: 1-2 hours
Prerequisites: Day 14 (online softmax), Day 27 (standard attention), Day 28 (attention and memory)
Lesson: lessons/day29.md

Learning objectives:
- Derive the online softmax with an output that is added up on the way
- Merge attention over two sets of keys into attention over both
- Compute attention tile by tile, with no matrix of queries x keys at any time
- Count what standard attention and FlashAttention move between memory and chip
- Say why rows of tiles are independent, and why the tiles of a row wait for each other

Today is PyTorch on purpose: the algorithm first, tomorrow the kernel.

                    keys, a tile at a time
              +-------+-------+-------+-------+
    queries   |   0 --|-> 1 --|-> 2 --|-> 3   |--> acc / total = o
              +-------+-------+-------+-------+      what goes along: m, total, acc
    a tile    |   0 --|-> 1 --|-> 2 --|-> 3   |--> o
              +-------+-------+-------+-------+
    at a time |   0 --|-> 1 --|-> 2 --|-> 3   |--> o     rows of tiles need nothing of each other
              +-------+-------+-------+-------+

Hints:
- Day 14's pair (largest, total) gets a third number, or rather a row: what the output is so far.
- Each of the three functions meets -inf somewhere. Look for -inf - (-inf) and for 0 / 0.
- Count bytes with a pencil for 4 queries and 2 tiles before you write a formula.
Resources:
- Dao et al., FlashAttention (algorithm 1, theorem 2): https://arxiv.org/abs/2205.14135
- Dao, FlashAttention-2: https://arxiv.org/abs/2307.08691
- Milakov and Gimelshein, Online normalizer calculation for softmax: https://arxiv.org/abs/1805.02867
- Rabe and Staats, Self-attention Does Not Need O(n^2) Memory: https://arxiv.org/abs/2112.05682
"""

import math

import torch

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def online_update(
    m: torch.Tensor,
    total: torch.Tensor,
    acc: torch.Tensor,
    scores: torch.Tensor,
    v: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Some keys more: the new (m, total, acc) of a tile of queries.

    For each query, over all scores s that it has met, with their values v:

        m = max of s     total = sum of exp(s - m)     acc = sum of exp(s - m) v

    The function gets these for the scores so far, and scores and values of some more keys. Before
    the first key m = -inf, total = 0 and acc = 0. A score of -inf is a key that the query does not
    see; as long as it has seen none it keeps the three, and nothing becomes nan.

    torch may compute today; softmax and logsumexp may not be called.

    Args:
        m: (batch, heads, queries), float32 or float64, as all others.
        total: (batch, heads, queries).
        acc: (batch, heads, queries, dim).
        scores: (batch, heads, queries, keys), scaled; finite or -inf; at least one key.
        v: (batch, heads, keys, dim), finite.

    Returns:
        The new m, total and acc, as new tensors: what was passed in is not changed.

    Example:
        From (-inf, 0, 0) with scores log 1, log 3 and values 8, 4: m = log 3, total = 4/3 and
        acc = 20/3. So far the output would be acc / total = 5, which is 8 / 4 + 4 * 3/4.
    """
    # TODO: the new maximum; what the old sums are worth under it; what the new keys add.
    # HINT: Under a larger maximum each summand exp(s - m) shrinks by the same factor. Which one?
    ### BEGIN SOLUTION
    # HINT: new = torch.maximum(m, scores.amax(-1)), and exp(m - new) is the factor, for total as
    #       for acc.
    # HINT: Where new is -inf subtract 0 in its place: exp(-inf - 0) is 0, exp(-inf + inf) is nan.
    # HINT: What the keys add: p = exp(scores - new), its sum and p @ v.
    new = torch.maximum(m, scores.amax(-1))
    top = torch.where(new == -math.inf, 0.0, new)
    p = (scores - top[..., None]).exp()
    old = (m - top).exp()
    return new, total * old + p.sum(-1), acc * old[..., None] + p @ v
    ### END SOLUTION


def merge(
    o1: torch.Tensor, lse1: torch.Tensor, o2: torch.Tensor, lse2: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention over two sets of keys, from the attention over each.

    With lse the log of the sum of exp(score) over a set of keys, and o the output over that set:

        exp(lse) = exp(lse1) + exp(lse2)     o = exp(lse1 - lse) o1 + exp(lse2 - lse) o2

    A set may be empty: lse is -inf then and o is 0. Of two empty sets the result is empty too. The
    weights of o1 and o2 must be right to the last digits of the dtype, also where lse1 and lse2 are
    +-10,000: there float32 knows lse itself to three digits after the point only.

    torch may compute today; softmax and logsumexp may not be called.

    Args:
        o1, o2: (batch, heads, queries, dim); float32 or float64, as lse1 and lse2.
        lse1, lse2: (batch, heads, queries); finite or -inf.

    Returns:
        o and lse over both sets, of the same shapes and dtype; new tensors.

    Example:
        merge(8, log 1, 4, log 3) is (5, log 4): a quarter of 8 and three quarters of 4.
    """
    # TODO: the larger of the two; both weights relative to it; their sum gives o and lse.
    # HINT: exp(10000) is inf. Relative to what are both sums harmless, and one of them exactly 1?
    ### BEGIN SOLUTION
    # HINT: top = torch.maximum(lse1, lse2), 0 where both are -inf; w1 = exp(lse1 - top), w2 alike.
    # HINT: lse = top + log(w1 + w2), and o is (w1 o1 + w2 o2) / (w1 + w2), 0 for two empty sets.
    #       Do not compute the weights from lse: it was rounded.
    top = torch.maximum(lse1, lse2)
    top = torch.where(top == -math.inf, 0.0, top)
    w1, w2 = (lse1 - top).exp(), (lse2 - top).exp()
    total = w1 + w2
    o = w1[..., None] * o1 + w2[..., None] * o2
    return o / torch.where(total == 0, 1.0, total)[..., None], top + total.log()
    ### END SOLUTION


def tiled_attention(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, block: int, scale: float | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention tile by tile: softmax(scale * q k^T) v, and the logsumexp of each row of scores.

    For each tile of ``block`` queries all tiles of ``block`` keys pass by (FlashAttention's
    algorithm 1 with the loops exchanged, as in FlashAttention-2). The last tiles may be smaller.
    All batches and heads go together. Without any key o is 0 and lse is -inf. Scores, sums and lse
    are float32.

    torch may compute today; softmax, logsumexp and scaled_dot_product_attention may not be called.

    Limits: no matrix of queries x keys, nor of queries x block or block x keys, at any time. Beyond
    three times the results, which leaves room for joining parts, the peak of allocated memory is at
    most 10 tiles of block x (block + dim) float32 numbers for each head of each batch.

    Args:
        q: (batch, heads, queries, dim); float32, float16 or bfloat16, any strides.
        k, v: (batch, heads, keys, dim) of q's dtype, any strides. queries and keys may be 0 and
            need not be multiples of block.
        block: how many queries, and how many keys, a tile has; 1 or more.
        scale: 1 / sqrt(dim) unless given; 0 counts as given.

    Returns:
        o of q's shape and dtype, and lse (batch, heads, queries), float32.

    Raises:
        ValueError: block is less than 1, k and v have different shapes, or q and k differ in batch,
            heads or dim.

    Example:
        With q = [[[[1]]]], k = [[[[0], [log 3]]]], v = [[[[8], [4]]]], block = 1 and scale = 1:
        o is [[[[5]]]] and lse is [[[log 4]]].
    """
    # TODO: two loops: over tiles of queries, and within it over tiles of keys with online_update.
    # HINT: Where do m, total and acc begin, and where are they used up?
    ### BEGIN SOLUTION
    # HINT: For each tile of queries: m = -inf, total = 0, acc = 0; then for each tile of keys
    #       scores = scale * (q_tile @ k_tile.mT) and m, total, acc = online_update(...).
    # HINT: Slices that reach beyond the end stop there: q[:, :, start : start + block].
    # HINT: o = acc / total and lse = m + log(total), with 1 in the place of a total of 0.
    if block < 1:
        raise ValueError(f"tiles of {block} queries and keys")
    if k.shape != v.shape or q.shape[:2] != k.shape[:2] or q.shape[3] != k.shape[3]:
        raise ValueError(f"{tuple(q.shape)}, {tuple(k.shape)} and {tuple(v.shape)} do not fit")
    scale = q.shape[3] ** -0.5 if scale is None else scale
    o, lse = torch.empty_like(q), torch.empty_like(q[..., 0], dtype=torch.float32)
    for start in range(0, q.shape[2], block):
        rows = slice(start, start + block)
        q_tile = q[:, :, rows].float()
        m = torch.full_like(q_tile[..., 0], -math.inf)
        total, acc = torch.zeros_like(m), torch.zeros_like(q_tile)
        for first in range(0, k.shape[2], block):
            columns = slice(first, first + block)
            scores = scale * (q_tile @ k[:, :, columns].float().mT)
            m, total, acc = online_update(m, total, acc, scores, v[:, :, columns].float())
        total = torch.where(total == 0, 1.0, total)
        o[:, :, rows] = acc / total[..., None]
        lse[:, :, rows] = m + total.log()
    return o, lse
    ### END SOLUTION


def io_bytes(s: int, d: int, sram: int, size: int = 2) -> tuple[int, int]:
    """Bytes that one head moves between the GPU's memory and the chip: (standard, flash).

    There are s queries and s keys of d numbers of ``size`` bytes.

    Standard attention is three kernels. The first reads q and k and writes the scores, the second
    reads the scores and writes the weights, the third reads weights and v and writes o. Scores and
    weights are s x s numbers of ``size`` bytes.

    FlashAttention is one kernel. Tiles of q, k, v and o of the same number of rows fit into
    ``sram`` bytes of on-chip memory together, o in numbers of ``size`` bytes too (the tile of
    scores is left out, as in the paper). A tile has as many rows as that allows. Each tile
    of q is read once and each tile of o written once, with 4 bytes of lse a query; for
    each tile of q all of k and v is read.

    Dao et al. prove (theorem 2) that standard attention needs on the order of s d + s^2 accesses,
    and FlashAttention s^2 d^2 / M, with M numbers on the chip: your numbers must grow like that.

    Args:
        s: queries, and keys, of the head; 1 or more.
        d: numbers of a query, a key or a value; 1 or more.
        sram: bytes on the chip.
        size: bytes of a number.

    Returns:
        Two whole numbers.

    Raises:
        ValueError: not even one row of each of the four fits into sram.

    Example:
        io_bytes(4, 2, 32) is (192, 112): 4 matrices of 4 x 2 and 4 of 4 x 4 numbers; and tiles of 2
        rows, so that k and v are read twice: 2 * (2 + 2 * 2) * 4 * 2 + 4 * 4.
    """
    # TODO: how many numbers each kernel reads and writes; then the number of tiles of q.
    # HINT: Which of q, k, v, o, lse are moved how often in the second case?
    ### BEGIN SOLUTION
    # HINT: A tile has sram // (4 * d * size) rows, and there are -(-s // rows) tiles of q.
    # HINT: Standard: q, k, v and o once each; two s x s matrices, each written once and read once.
    # HINT: Flash: q and o once each, k and v once for each tile of q, and 4 * s bytes of lse.
    rows = sram // (4 * d * size)
    if rows < 1:
        raise ValueError(f"{sram} bytes do not hold four rows of {d} numbers of {size} bytes")
    tiles = -(-s // rows)
    return (4 * s * d + 4 * s * s) * size, (2 + 2 * tiles) * s * d * size + 4 * s
    ### END SOLUTION


def _tensor(*numbers: float) -> torch.Tensor:
    """One batch, one head, one query."""
    return torch.tensor([[list(numbers)]], device=DEVICE)


def test_update_from_nothing() -> None:
    nothing = _tensor(-math.inf), _tensor(0.0), _tensor(0.0)[..., None]
    scores = _tensor(1.0, 3.0).log()[:, :, None]
    m, total, acc = online_update(*nothing, scores, _tensor(8.0, 4.0)[..., None])
    torch.testing.assert_close(m, _tensor(3.0).log())
    torch.testing.assert_close(acc / total[..., None], _tensor(5.0)[..., None])


def test_merge_a_quarter_and_three() -> None:
    o1, o2 = _tensor(8.0)[..., None], _tensor(4.0)[..., None]
    o, lse = merge(o1, _tensor(1.0).log(), o2, _tensor(3.0).log())
    torch.testing.assert_close(o, _tensor(5.0)[..., None])
    torch.testing.assert_close(lse, _tensor(4.0).log())


def test_two_tiles_of_one_key() -> None:
    k, v = _tensor(1.0, 3.0).log()[..., None], _tensor(8.0, 4.0)[..., None]
    o, lse = tiled_attention(_tensor(1.0)[..., None], k, v, 1, 1.0)
    torch.testing.assert_close(o, _tensor(5.0)[..., None])
    torch.testing.assert_close(lse, _tensor(4.0).log())


def test_bytes_by_hand() -> None:
    assert io_bytes(4, 2, 32) == (192, 112)


if __name__ == "__main__":
    from harness import main

    main(__file__)
