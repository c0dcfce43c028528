"""Day 28: Attention and memory
============================
Estimated time: 3 hours
Prerequisites: Day 27 (standard attention), Day 14 (the online softmax), Day 20 (split-K)
Lesson: lessons/day28.md

Learning objectives:
- Count what attention computes, moves and stores, and check the formulas against launches
- Bound the memory of the scores by taking the queries in chunks
- Attend from one new token to a long cache in one pass over keys and values
- Let the heads of a group share each load of a key and a value
- Cut the cache into parts that run side by side, and merge them by their logsumexp
- Read a cache of ragged lengths, and one that lies in pages

A step of decoding has one query a head, and a cache of keys and values:

             part 0              part 1              part 2
    k, v  [ . . . . . . . . ][ . . . . . . . . ][ . . . . .       ]    one (batch, kv_head)
             |                   |                   |
     q -> program 0           program 1           program 2            all heads of the group
             |                   |                   |
          o0, lse0            o1, lse1            o2, lse2             float32
             +---------+---------+---------+---------+
                       |
                out = sum of exp(lse_i - lse) * o_i                    the second launch

Hints:
- Before you count, write down for each launch which tensors it reads, and which it writes.
- Day 14 kept a maximum and a sum, and scaled the sum when the maximum grew. What else has to be
  scaled here?
- What are the maximum and the sum of a part without any key, and which weight must it have?
Resources:
- Dao et al., Flash-Decoding for long-context inference: https://pytorch.org/blog/flash-decoding/
- Milakov and Gimelshein, Online normalizer calculation for softmax: https://arxiv.org/abs/1805.02867
- Rabe and Staats, Self-attention Does Not Need O(n^2) Memory: https://arxiv.org/abs/2112.05682
- Ainslie et al., GQA (heads that share keys and values): https://arxiv.org/abs/2305.13245
- Kwon et al., PagedAttention (a cache in pages): https://arxiv.org/abs/2309.06180
"""

import math

import torch
import triton
import triton.language as tl

from tracks.triton.day27 import _group, attention

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def attention_bytes(
    b: int,
    h: int,
    s: int,
    d: int,
    *,
    keys: int | None = None,
    kv_heads: int | None = None,
    element_size: int = 2,
    fused: bool = False,
) -> int:
    """How many bytes attention reads and writes in a GPU's memory.

    Count each tensor once for each launch that reads it, and once for the launch that writes it.
    Day 27's ``attention`` has three launches: scores, in float32; weights, in v's dtype; output. A
    fused kernel has one, which reads q, k and v and writes the output: scores and weights stay on
    the chip.

    All scores count. Day 27 computes, writes and reads those too that a causal mask hides.

    Args:
        b, h, s, d: batch, heads, queries and the length of a query, a key and a value; 0 or more.
        keys: how many keys and values there are; s unless given. 0 counts as given.
        kv_heads: how many heads of keys and values; h unless given.
        element_size: bytes of an element of q, k, v, the weights and the output.
        fused: whether it is one launch, and not three.

    Returns:
        The number of bytes, an int.

    Example:
        attention_bytes(1, 1, 2, 4) is 112: q, k, v and the output have 16 bytes each, the scores
        16 and the weights 8, both written and read. Fused it is 64.
    """
    # TODO: add up what each launch reads and writes.
    # HINT: Which tensors does nobody but a launch of the same call ever see?
    raise NotImplementedError("attention_bytes")


def attention_flops(
    b: int, h: int, s: int, d: int, *, keys: int | None = None, causal: bool = False
) -> int:
    """How many additions and multiplications the two products of attention need.

    A pair of a query and a key that it sees costs 2 d for its score (d multiplications, d
    additions) and 2 d for its share of the output. The softmax is not counted: that is the
    convention, so that figures of different programs can be compared.

    With causal only what a query sees counts, aligned as on day 27: query i sees the keys
    j <= i + keys - s. This is what is needed, and what a FLOP/s is computed from, whatever a
    program really computes.

    Args:
        b, h, s, d, keys: as in ``attention_bytes``.
        causal: whether a query sees only what comes before it, and itself.

    Returns:
        The number of operations, an int.

    Example:
        attention_flops(1, 1, 2, 4) is 64: 4 pairs of 16. Causal it is 48: the first query sees one
        key.
    """
    # TODO: count the pairs, and what one of them costs.
    # HINT: How many keys does query i see, and can that be less than 0?
    raise NotImplementedError("attention_flops")


def attention_chunked(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    chunk: int,
    causal: bool = False,
    scale: float | None = None,
) -> torch.Tensor:
    """Day 27's ``attention``, for chunk queries at a time: never all scores at once.

    The rows of a softmax don't know of each other, so the queries can come one chunk after the
    other, as Rabe and Staats do. The first chunk has the queries 0 to chunk - 1, the next one goes
    on from there, and the last may be shorter.

    Limits: the launches are those of ``attention`` for each chunk. With causal a chunk gets no keys
    beyond those that its last query sees, so that almost half of the work falls away. Beside the
    result there is memory for one chunk only: for the keys that it gets, its scores, 4 bytes each,
    its weights and its output, both of q's dtype. One operator of torch is allowed, copy_, which
    ``out[...] = part`` calls.

    Args:
        q, k, v, causal, scale: as in day 27's ``attention``.
        chunk: how many queries at a time, 1 or more; it may be more than there are.

    Returns:
        A new contiguous tensor (batch, heads, queries, value_dim) of v's dtype, equal to day 27's
        up to rounding. A query that sees no key gets 0.

    Raises:
        ValueError: chunk is less than 1, or ``attention`` refuses a chunk of q with k and v.

    Example:
        attention_chunked(q, k, v, 1, causal=True) takes the queries one by one, as if the text was
        being written.
    """
    # TODO: refuse a bad chunk; allocate the result; call attention for each chunk of queries.
    # HINT: attention aligns its mask with the last query and the last key that it gets. Which keys
    #       must it get, so that the last query of the chunk sees all of them?
    raise NotImplementedError("attention_chunked")


def _one_query(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, paged: bool = False) -> int:
    """How many heads of q share one of k and v, for a q of one query a head.

    A ValueError where q, k and v don't fit, as the exercises below say. paged: the first axis of k
    and v counts pages, and not the batch.
    """
    shapes = f"queries {tuple(q.shape)}, keys {tuple(k.shape)}, values {tuple(v.shape)}"
    if not q.ndim == k.ndim == v.ndim == 4 or q.shape[2] != 1:
        raise ValueError(f"one query a head was expected, and four axes: {shapes}")
    if k.shape != v.shape or k.dtype != v.dtype or q.shape[3] != k.shape[3]:
        raise ValueError(f"these do not fit together: {shapes}, {k.dtype} and {v.dtype}")
    if not 1 <= q.shape[3] <= 256:
        raise ValueError(f"a query has 1 to 256 elements, not {q.shape[3]}")
    return _group(q[:0], k[:0]) if paged else _group(q, k)


def _decode_config(group: int, dim: int, element_size: int, paged: bool = False) -> dict[str, int]:
    """Tile sizes and launch options for one query a head.

    BLOCK_H heads of a group are the rows of a product; tensor cores want 16 at least, and float32,
    which has no tensor cores, no more. A step takes BLOCK_N keys and as many values, 32 KB
    together, and less in float32, whose products need more registers. While one step is
    computed the next two are on their way. In pages the numbers of the pages must have come before
    that, and the compiler wants two stages more for it.
    """
    block_d = max(triton.next_power_of_2(dim), 16)
    most, elements = (64, 8 * 1024) if element_size == 2 else (16, 2 * 1024)
    return {
        "BLOCK_H": min(max(triton.next_power_of_2(group), 16), most),
        "BLOCK_N": min(max(elements // block_d, 16), 128),
        "BLOCK_D": block_d,
        "num_warps": 4,
        "num_stages": 5 if paged else 3,
    }


@triton.jit
def _queries(
    q_ptr,
    batch_stride,
    head_stride,
    dim_stride,
    heads,
    group,
    dim,
    BLOCK_H: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """What program i along axis 0 works on: block i % blocks of the group i // blocks.

    A group is cut into blocks = ceil(group / BLOCK_H) blocks of heads; groups are counted over
    the batch. Returns batch and kv_head; row (BLOCK_H,), the number of each head of the block,
    counted over the batch too, and mine, which of them are of this group; column (BLOCK_D,); the
    queries at row and column, with 0 where there is none. Indices are int64.
    """
    blocks, kv_heads = tl.cdiv(group, BLOCK_H), heads // group
    shared = (tl.program_id(0) // blocks).to(tl.int64)
    batch, kv_head = shared // kv_heads, shared % kv_heads
    member = (tl.program_id(0) % blocks).to(tl.int64) * BLOCK_H + tl.arange(0, BLOCK_H)
    head = kv_head * group + member
    column = tl.arange(0, BLOCK_D).to(tl.int64)
    mine = member < group
    place = q_ptr + batch * batch_stride + head[:, None] * head_stride
    inside = mine[:, None] & (column[None, :] < dim)
    q = tl.load(place + column[None, :] * dim_stride, mask=inside, other=0.0)
    return batch, kv_head, batch * heads + head, mine, column, q


@triton.jit
def decode_attention_step_kernel(q, k, v, inside, scale, m, total, acc):
    """Day 14's online softmax with values: the state after a block of keys more.

    q (BLOCK_H, BLOCK_D); k and v (BLOCK_N, BLOCK_D), 0 where there is none; inside (BLOCK_N,) says
    which keys there are. For each row of q, m is the largest score so far, total the sum of
    2^(score - m) and acc the sum of 2^(score - m) * value, in float32. Before the first block they
    are -inf, 0 and 0. scale times q k^T is in base 2: 2^x is the exponential that the chip has.
    Never launched: the kernels below call it. Returns m, total, acc.
    """
    # TODO: scores of the block, the new maximum, both sums brought to it, and the block's share.
    # HINT: Which two numbers of the state were computed with the old maximum?
    pass


@triton.jit
def decode_attention_kernel(
    q_ptr,
    k_ptr,
    v_ptr,
    out_ptr,
    q_batch_stride,
    q_head_stride,
    q_dim_stride,
    k_batch_stride,
    k_head_stride,
    k_row_stride,
    k_dim_stride,
    v_batch_stride,
    v_head_stride,
    v_row_stride,
    v_dim_stride,
    heads,
    group,
    keys,
    dim,
    scale,
    BLOCK_H: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """Program i: what _queries gives it, against all keys. out (batch, heads, 1, dim)."""
    batch, kv_head, row, mine, column, q = _queries(
        q_ptr, q_batch_stride, q_head_stride, q_dim_stride, heads, group, dim, BLOCK_H, BLOCK_D
    )
    # TODO: walk over the keys in blocks; then divide and store.
    # HINT: All rows of q want the same k and v. How often must each of those be loaded?
    pass


def decode_attention(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, scale: float | None = None
) -> torch.Tensor:
    """Attention of one query a head to a cache of keys and values, in one launch.

    out[b, h, 0] = sum over j of p[j] * v[b, h // group, j], where p is the softmax over j of
    scale * (q[b, h, 0] . k[b, h // group, j]) and group = heads // kv_heads.

    This is the step that writes a token. Each key and each value is used once for each head of its
    group, so what counts is how often it is loaded: once. Scores, sums and the division are
    float32; the weights 2^(score - m) are rounded to v's dtype for the product with v, and the
    result once, at the store.

    Limits: one launch, of batch * kv_heads * ceil(group / BLOCK_H) programs (none if there are no
    heads), with what ``_decode_config(group, dim, element size)`` says; no memory but the result's.
    The kernel has one load for blocks of keys and one for blocks of values, of BLOCK_N * BLOCK_D
    elements each: so up to 64 heads, or 16 in float32, share each of them. Where rows are
    contiguous and aligned, loads are 128 bits wide for sm_90; products of 16-bit types run on
    tensor cores; no registers are spilled.

    Args:
        q: (batch, heads, 1, dim) of any strides; float32, float16 or bfloat16; dim 1 to 256.
        k: (batch, kv_heads, keys, dim) of any strides and q's dtype. batch, heads and keys may be
            0.
        v: of k's shape and dtype, with strides of its own.
        scale: 1 / sqrt(dim) unless given. 0 counts as given.

    Returns:
        A new contiguous tensor (batch, heads, 1, dim) of q's dtype; 0 where there is no key, or all
        scores are -inf. nan and +inf among the scores make it nan, as in torch.

    Raises:
        ValueError: there is not one query a head, the shapes or dtypes don't fit, heads is not a
            multiple of kv_heads, or dim is not 1 to 256. ``_one_query`` says so for you.

    Example:
        decode_attention([[[[1, 0]]]], [[[[log 3, 0], [0, 9]]]], [[[[4, 1], [8, 1]]]], scale=1) is
        [[[[5, 1]]]]: the weights are 3/4 and 1/4.
    """
    # TODO: Group and config, allocate the result, launch one program for each block of heads.
    # HINT: The kernel's exponential has the base 2. Which number of yours has to know that?
    raise NotImplementedError("decode_attention")


@triton.jit
def decode_attention_split_kernel(
    q_ptr,
    k_ptr,
    v_ptr,
    lengths_ptr,
    table_ptr,
    parts_ptr,
    lse_ptr,
    q_batch_stride,
    q_head_stride,
    q_dim_stride,
    k_outer_stride,
    k_head_stride,
    k_row_stride,
    k_dim_stride,
    v_outer_stride,
    v_head_stride,
    v_row_stride,
    v_dim_stride,
    lengths_stride,
    table_row_stride,
    table_column_stride,
    heads,
    group,
    keys,
    page_size,
    dim,
    scale,
    splits,
    RAGGED: tl.constexpr,
    PAGED: tl.constexpr,
    BLOCK_H: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """Program (i, part): what _queries gives for i, against the keys of the part.

    parts (batch, heads, splits, dim) gets the part's output, divided by its own sum of weights; lse
    (batch, heads, splits) the logsumexp of its scores, of base e, -inf for a part without keys.
    Both are contiguous and float32. scale is the step's, for scores in base 2. RAGGED: the keys
    before lengths[batch] are there; else all. PAGED: key j is row j % page_size of the page
    table[batch, j // page_size]; else row j of the batch.
    """
    batch, kv_head, row, mine, column, q = _queries(
        q_ptr, q_batch_stride, q_head_stride, q_dim_stride, heads, group, dim, BLOCK_H, BLOCK_D
    )
    part = tl.program_id(1)
    # TODO: how long is this text, and where does the part begin and end? Walk over it; divide and
    #       store the output, store its logsumexp.
    # HINT: What would part 0 of a short text get, if the parts were dealt out by the longest one?
    pass


@triton.jit
def decode_attention_split_merge_kernel(
    parts_ptr, lse_ptr, out_ptr, splits, dim, BLOCK_S: tl.constexpr, BLOCK_D: tl.constexpr
):
    """Program i merges the parts of row i, BLOCK_S at a time, into row i of out (rows, dim)."""
    # TODO: the weight of a part is exp(lse - largest lse); add up weights and weighted outputs.
    # HINT: This is the online softmax once more. What are the scores now, and what the values?
    pass


def decode_attention_split(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    splits: int,
    scale: float | None = None,
    lengths: torch.Tensor | None = None,
    table: torch.Tensor | None = None,
) -> torch.Tensor:
    """``decode_attention`` with the keys of each text cut into parts that run side by side.

    This is flash-decoding (Dao et al.). A few texts with a few heads of keys are a few programs,
    and most of the GPU would wait. A text of n keys has steps = ceil(n / BLOCK_N) steps; each part
    gets ceil(steps / splits) of them in order, so that the last parts may be shorter, or empty. A
    first launch stores for each part its own output o_i and lse_i, the logsumexp of its scores; a
    second one computes

        out = sum over i of exp(lse_i - lse) * o_i,   lse = log(sum over i of exp(lse_i))

    in float32, with the largest lse_i subtracted first, and rounds once. An empty part has
    lse_i = -inf and o_i = 0.

    Two options make it what a server runs:

    - lengths: the texts of a batch are not equally long; text b has the first lengths[b] of the
      keys. Its parts are dealt out by its own length. What lies beyond, be it nan, has no effect.
    - table: the cache lies in pages (Kwon et al.), so that a text can grow without being moved. k
      and v are then (pages, kv_heads, page_size, dim), and key j of text b is row j % page_size of
      page table[b, j // page_size]. Texts may share pages. Entries of the table beyond a text's
      length may be anything.

    Limits: at most two launches, the first with the grid (programs of ``decode_attention``,
    splits); memory for the parts, batch * heads * splits * (dim + 1) float32 numbers, and the
    result; from 2 parts on no atomics, so it needs all of that. The host never waits for the
    GPU: lengths and table are read by the kernel only. The first kernel has one load for blocks of
    keys and one for values, and its loads are 128 bits wide, on tensor cores and without a spill,
    as in ``decode_attention``, in pages too.

    Args:
        q, scale: as in ``decode_attention``.
        k, v: as in ``decode_attention``, or pages.
        splits: the number of parts, 1 to 65,535; it may be more than there are keys.
        lengths: (batch,), int32 or int64, of any stride; each 0 to the number of keys. All keys
            without it.
        table: (batch, n), int32 or int64, of any strides; there are n * page_size keys.

    Returns:
        A new contiguous tensor (batch, heads, 1, dim) of q's dtype, the same bits for the same
        inputs; 0 for a text without keys.

    Raises:
        ValueError: splits is not 1 to 65,535, ``_one_query`` refuses q, k and v, lengths is not one
            integer a text, or table has not one row of integers a text.

    Example:
        decode_attention_split(q, k, v, 4, lengths=torch.tensor([3, 0])) has the first 3 keys for
        the first text, and 0 for the second one.
    """
    # TODO: refuse, allocate parts, lse and result; two launches.
    # HINT: How many keys are there if the cache lies in pages?
    raise NotImplementedError("decode_attention_split")


def test_bytes_and_operations_of_two_tokens() -> None:
    assert attention_bytes(1, 1, 2, 4) == 112
    assert attention_bytes(1, 1, 2, 4, fused=True) == 64
    assert attention_flops(1, 1, 2, 4) == 64
    assert attention_flops(1, 1, 2, 4, causal=True) == 48


def _example() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    q = torch.tensor([[[[1.0, 0.0]]]], device=DEVICE)
    k = torch.tensor([[[[math.log(3), 0.0], [0.0, 9.0]]]], device=DEVICE)
    return q, k, torch.tensor([[[[4.0, 1.0], [8.0, 1.0]]]], device=DEVICE)


def test_one_query_and_two_keys() -> None:
    q, k, v = _example()
    expected = torch.tensor([[[[5.0, 1.0]]]], device=DEVICE)
    torch.testing.assert_close(attention_chunked(q, k, v, 1, scale=1), expected)
    torch.testing.assert_close(decode_attention(q, k, v, scale=1), expected)


def test_parts_and_lengths() -> None:
    q, k, v = (x.expand(2, 1, -1, 2) for x in _example())
    lengths = torch.tensor([2, 0], device=DEVICE)
    out = decode_attention_split(q, k, v, 3, scale=1, lengths=lengths)
    expected = torch.tensor([[[[5.0, 1.0]]], [[[0.0, 0.0]]]], device=DEVICE)
    torch.testing.assert_close(out, expected)


def test_pages_of_one_key() -> None:
    q, k, v = _example()
    table = torch.tensor([[1, 0]], device=DEVICE)
    pages = (x.transpose(0, 2).flip(0) for x in (k, v))
    expected = torch.tensor([[[[5.0, 1.0]]]], device=DEVICE)
    out = decode_attention_split(q, *pages, 2, scale=1, table=table)
    torch.testing.assert_close(out, expected)


if __name__ == "__main__":
    from harness import main

    main(__file__)
