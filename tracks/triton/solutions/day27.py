"""Day 27: Standard attention
==========================
Estimated time: 2-3 hours
Prerequisites: Day 13 (fused softmax), Day 17 (the K loop), Day 21 (batches of products)
Lesson: lessons/day27.md

Learning objectives:
- Build attention from the three kernels that it is made of: a product, a softmax, a product
- Read k as its own transpose, by its strides, and share a head of k and v among several heads of q
- Align a causal mask with the last query and the last key, so that a cache of keys works
- Give rows without any key the value 0, on purpose
- Say where a number is rounded: scores in float32, weights in the dtype of v

    q (batch, heads, queries, dim)     k (batch, kv_heads, keys, dim)
                  |                          |
                  +---- scale * q @ k^T -----+
                               |
    s (batch, heads, queries, keys), float32
                               |
                       softmax, masked
                               |
    p (batch, heads, queries, keys)    v (batch, kv_heads, keys, value_dim)
                  |                          |
                  +--------- p @ v ----------+
                               |
    out (batch, heads, queries, value_dim)

Hints:
- Each of the three kernels is one that you have written, with another way to find its matrix.
- Write down which keys the first and the last of 3 queries see when there are 5 keys; then the
  same for 5 queries and 3 keys.
- What are the maximum and the sum of a row in which nothing is visible?
Resources:
- Vaswani et al., Attention Is All You Need: https://arxiv.org/abs/1706.03762
- Ainslie et al., GQA (heads that share keys and values): https://arxiv.org/abs/2305.13245
- Dao et al., FlashAttention, algorithm 0 (standard attention): https://arxiv.org/abs/2205.14135
- PyTorch, scaled_dot_product_attention: https://docs.pytorch.org/docs/stable/generated/torch.nn.functional.scaled_dot_product_attention.html
"""

import torch
import triton
import triton.language as tl

from tracks.triton.day13 import _block_and_warps
from tracks.triton.day17 import _place, _tiles, matmul_k_tile_kernel
from tracks.triton.day21 import _config_of

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def _group(x: torch.Tensor, y: torch.Tensor) -> int:
    """How many neighbouring heads of x (batch, heads, ...) share one of y (batch, kv_heads, ...).

    A ValueError where batches or dtypes differ, or heads is not a multiple of kv_heads.
    """
    (batch, heads), (y_batch, kv_heads) = x.shape[:2], y.shape[:2]
    group = heads // max(kv_heads, 1)
    if batch != y_batch or group * kv_heads != heads:
        raise ValueError(f"{batch} x {heads} heads cannot share {y_batch} x {kv_heads} heads")
    if x.dtype != y.dtype:
        raise ValueError(f"the dtypes {x.dtype} and {y.dtype} differ")
    return max(group, 1)


@triton.jit
def attention_scores_kernel(
    q_ptr,
    k_ptr,
    s_ptr,
    q_batch_stride,
    q_head_stride,
    q_row_stride,
    q_dim_stride,
    k_batch_stride,
    k_head_stride,
    k_row_stride,
    k_dim_stride,
    heads,
    group,
    queries,
    keys,
    dim,
    scale,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """Program i: tile i % tiles of matrix i // tiles of s, with tiles the tiles of one matrix.

    s (batch, heads, queries, keys) is contiguous; matrix j of it is batch j // heads, head
    j % heads. group heads of q share a head of k.
    """
    # TODO: which matrix, and which tile of it? Let matmul_k_tile_kernel add it up, scale it, store.
    # HINT: The product is q times k transposed. Which two strides of k does that exchange?
    ### BEGIN SOLUTION
    # HINT: matrix = (program // tiles).to(tl.int64); batch and head are its quotient and remainder
    #       by heads, and _place(program % tiles, keys, BLOCK_M, BLOCK_N) gives rows and columns.
    # HINT: q's matrix begins at q_ptr + batch * q_batch_stride + head * q_head_stride, k's likewise
    #       with head // group. The tile function takes b's strides along K and along the columns:
    #       those are k_dim_stride and k_row_stride.
    # HINT: Row r, column c of the matrix is at s_ptr + (matrix * queries + r) * keys + c.
    tiles = tl.cdiv(queries, BLOCK_M) * tl.cdiv(keys, BLOCK_N)
    matrix = (tl.program_id(0) // tiles).to(tl.int64)
    batch, head = matrix // heads, matrix % heads
    row, column = _place(tl.program_id(0) % tiles, keys, BLOCK_M, BLOCK_N)
    total = matmul_k_tile_kernel(
        q_ptr + batch * q_batch_stride + head * q_head_stride,
        k_ptr + batch * k_batch_stride + head // group * k_head_stride,
        row,
        column,
        queries,
        keys,
        dim,
        q_row_stride,
        q_dim_stride,
        k_dim_stride,
        k_row_stride,
        BLOCK_K,
        tl.float32,
    )
    place = s_ptr + (matrix * queries + row[:, None]) * keys + column[None, :]
    tl.store(place, total * scale, mask=(row[:, None] < queries) & (column[None, :] < keys))
    ### END SOLUTION


def attention_scores(q: torch.Tensor, k: torch.Tensor, scale: float) -> torch.Tensor:
    """How well each query fits each key: scale * (query . key), for all heads in one launch.

    s[b, h, i, j] = scale * sum over d of q[b, h, i, d] * k[b, h // group, j, d]

    group = heads // kv_heads: with fewer heads of keys than of queries, neighbouring heads share
    one (grouped-query attention, Ainslie et al.). Products and sums are float32, as in day 17's
    ``matmul_k``, and so is the result: it is not rounded to 16 bits.

    Limits: one launch with a grid of one axis, of one program for each tile that
    ``_config_of({(queries, keys): batch * heads}, ...)`` of day 21 gives for each matrix; no memory
    but the result's, so nothing is transposed or repeated by a copy. For 16-bit types the large
    tile must compile for sm_90 to tensor-core instructions (wgmma) with loads of 128 bits where
    rows are contiguous and aligned, and without spilled registers.

    Args:
        q: (batch, heads, queries, dim) of any strides; float32, float16 or bfloat16.
        k: (batch, kv_heads, keys, dim) of any strides and q's dtype. Any size may be 0.
        scale: any finite number; negative and 0 among them.

    Returns:
        A new contiguous float32 tensor (batch, heads, queries, keys); 0 where dim is 0.

    Raises:
        ValueError: q and k differ in batch, dim or dtype, heads is not a multiple of kv_heads
            (``_group`` says so of all but dim), or an operand does not have four axes.

    Example:
        attention_scores([[[[1, 2]]]], [[[[3, 4], [5, 6]]]], 0.5) is [[[[5.5, 8.5]]]].
    """
    # TODO: refuse what does not fit, allocate the scores, launch one program a tile.
    # HINT: How many tiles does one matrix have, and how many matrices are there?
    ### BEGIN SOLUTION
    # HINT: Sizes: (batch, heads, queries, dim), (_, _, keys, k_dim) = q.shape, k.shape.
    # HINT: config = _config_of({(queries, keys): batch * heads}, q.element_size()); the grid is
    #       (batch * heads * _tiles(queries, keys, config),).
    # HINT: The kernel takes *q.stride(), *k.stride(), then heads, group, queries, keys, dim, scale.
    (batch, heads, queries, dim), (_, _, keys, k_dim) = q.shape, k.shape
    group = _group(q, k)
    if dim != k_dim:
        raise ValueError(f"queries have {dim} elements, but keys {k_dim}")
    config = _config_of({(queries, keys): batch * heads}, q.element_size())
    s = torch.empty((batch, heads, queries, keys), dtype=torch.float32, device=q.device)
    attention_scores_kernel[(batch * heads * _tiles(queries, keys, config),)](
        *(q, k, s),
        *(*q.stride(), *k.stride()),
        *(heads, group, queries, keys, dim, scale),
        **config,
    )
    return s
    ### END SOLUTION


@triton.jit
def attention_softmax_kernel(
    s_ptr,
    p_ptr,
    s_batch_stride,
    s_head_stride,
    s_row_stride,
    s_column_stride,
    heads,
    queries,
    keys,
    CAUSAL: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Program i: the weights of query i % queries of head i // queries, counted over the batch.

    p (batch, heads, queries, keys) is contiguous: program i writes row i of it.
    """
    # TODO: find the row; softmax over what its query sees; 0 for the rest, and if it sees nothing.
    # HINT: The last query sees all keys. How many does the one before it see, and the first one?
    ### BEGIN SOLUTION
    # HINT: seen = query + 1 + keys - queries if CAUSAL, else keys. It can be 0 or negative.
    # HINT: Load the row as far as there are keys, so that loads stay wide, and put -inf where
    #       column >= seen with tl.where: whatever stood there is gone, nan too.
    # HINT: -inf - (-inf) is nan and so is 0 / 0: as on day 13, use 0 for such a maximum and 1 for
    #       such a sum.
    row = tl.program_id(0).to(tl.int64)
    query, head, batch = row % queries, row // queries % heads, row // queries // heads
    column = tl.arange(0, BLOCK).to(tl.int64)
    s_row = s_ptr + batch * s_batch_stride + head * s_head_stride + query * s_row_stride
    inside = column < keys
    s = tl.load(s_row + column * s_column_stride, mask=inside, other=-float("inf")).to(tl.float32)
    if CAUSAL:
        s = tl.where(column < query + 1 + keys - queries, s, -float("inf"))
    largest = tl.max(s, axis=0)
    numerator = tl.exp(s - tl.where(largest == -float("inf"), 0.0, largest))
    total = tl.sum(numerator, axis=0)
    p = numerator / tl.where(total == 0.0, 1.0, total)
    tl.store(p_ptr + row * keys + column, p, mask=inside)
    ### END SOLUTION


def attention_softmax(
    s: torch.Tensor, causal: bool = False, dtype: torch.dtype | None = None
) -> torch.Tensor:
    """The weights of the keys: softmax of every row of s over the keys that its query sees.

    Without causal a query sees all keys. With it, query i sees the keys j <= i + keys - queries:
    the last query sees all keys, whatever the two numbers are, and each one before it one key less.
    With more queries than keys the first queries - keys of them see none.

    A key that is not seen has the weight 0, and what s holds there, be it nan or inf, has no
    effect. A row without any visible key, or with -inf at all of them, is 0, not nan. Otherwise nan
    and +inf make their row nan where it is visible, as in torch.

    Limits: one launch, of one program a row; no memory but the result's; for rows that are
    aligned, loads and stores are 128 bits wide, with causal as without; no spilled registers up to
    32,768 keys.

    Args:
        s: (batch, heads, queries, keys) of any strides; float32, float16 or bfloat16, computed in
            float32. Any size may be 0; at most 65,536 keys.
        causal: whether a query sees only what comes before it, and itself.
        dtype: that of the result; s's by default. ``attention`` asks for v's.

    Returns:
        A new contiguous tensor of s's shape, rounded once, at the store.

    Raises:
        ValueError: more than 65,536 keys (day 13's ``_block_and_warps`` says so for you).

    Example:
        attention_softmax([[[[0, 9], [0, log 3]]]], causal=True) is [[[[1, 0], [0.25, 0.75]]]].
    """
    # TODO: allocate the weights and launch one program a row.
    # HINT: How many rows are there in all four axes, and what does the kernel need to find row i?
    ### BEGIN SOLUTION
    # HINT: block, warps = _block_and_warps(keys), as on day 13.
    # HINT: The grid is (batch * heads * queries,); CAUSAL=causal makes two kernels of one.
    batch, heads, queries, keys = s.shape
    block, warps = _block_and_warps(keys)
    p = torch.empty(s.shape, dtype=dtype or s.dtype, device=s.device)
    attention_softmax_kernel[(batch * heads * queries,)](
        *(s, p),
        *(*s.stride(), heads, queries, keys),
        CAUSAL=causal,
        BLOCK=block,
        num_warps=warps,
    )
    return p
    ### END SOLUTION


@triton.jit
def attention_output_kernel(
    p_ptr,
    v_ptr,
    out_ptr,
    p_batch_stride,
    p_head_stride,
    p_row_stride,
    p_key_stride,
    v_batch_stride,
    v_head_stride,
    v_key_stride,
    v_column_stride,
    heads,
    group,
    queries,
    columns,
    keys,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """Program i: tile i % tiles of matrix i // tiles of out (batch, heads, queries, columns).

    out is contiguous; columns is value_dim. group heads of p share a head of v.
    """
    # TODO: as attention_scores_kernel, with p times v: the sums run over the keys.
    # HINT: Which of the three sizes is the K of this product?
    ### BEGIN SOLUTION
    # HINT: _place takes columns this time, and matmul_k_tile_kernel queries, columns, keys.
    # HINT: v is not transposed: its strides along K and along the columns are v_key_stride and
    #       v_column_stride. The store rounds; nothing is scaled.
    tiles = tl.cdiv(queries, BLOCK_M) * tl.cdiv(columns, BLOCK_N)
    matrix = (tl.program_id(0) // tiles).to(tl.int64)
    batch, head = matrix // heads, matrix % heads
    row, column = _place(tl.program_id(0) % tiles, columns, BLOCK_M, BLOCK_N)
    total = matmul_k_tile_kernel(
        p_ptr + batch * p_batch_stride + head * p_head_stride,
        v_ptr + batch * v_batch_stride + head // group * v_head_stride,
        row,
        column,
        queries,
        columns,
        keys,
        p_row_stride,
        p_key_stride,
        v_key_stride,
        v_column_stride,
        BLOCK_K,
        tl.float32,
    )
    place = out_ptr + (matrix * queries + row[:, None]) * columns + column[None, :]
    tl.store(place, total, mask=(row[:, None] < queries) & (column[None, :] < columns))
    ### END SOLUTION


def attention_output(p: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """Mix the values by their weights, for all heads in one launch.

    out[b, h, i, c] = sum over j of p[b, h, i, j] * v[b, h // group, j, c]

    with group = heads // kv_heads, as in ``attention_scores``.

    Limits: as for ``attention_scores``, with ``_config_of({(queries, value_dim): batch * heads},
    ...)``; products and sums in float32, rounded once, at the store.

    Args:
        p: (batch, heads, queries, keys) of any strides; float32, float16 or bfloat16.
        v: (batch, kv_heads, keys, value_dim) of any strides and p's dtype. Any size may be 0.

    Returns:
        A new contiguous tensor (batch, heads, queries, value_dim) of v's dtype; 0 where there is no
        key.

    Raises:
        ValueError: p and v differ in batch, keys or dtype, heads is not a multiple of kv_heads
            (``_group`` says so of all but keys), or an operand does not have four axes.

    Example:
        attention_output([[[[0.25, 0.75]]]], [[[[4, 0], [8, 1]]]]) is [[[[7, 0.75]]]].
    """
    # TODO: refuse what does not fit, allocate the result, launch one program a tile.
    # HINT: In attention_scores keys were columns. What are they here?
    ### BEGIN SOLUTION
    # HINT: Sizes: (batch, heads, queries, keys), (_, _, v_keys, columns) = p.shape, v.shape.
    # HINT: As attention_scores, with columns in the place of keys, and with a result of v's dtype.
    (batch, heads, queries, keys), (_, _, v_keys, columns) = p.shape, v.shape
    group = _group(p, v)
    if keys != v_keys:
        raise ValueError(f"there are weights for {keys} keys, but {v_keys} values")
    config = _config_of({(queries, columns): batch * heads}, v.element_size())
    out = torch.empty((batch, heads, queries, columns), dtype=v.dtype, device=v.device)
    attention_output_kernel[(batch * heads * _tiles(queries, columns, config),)](
        *(p, v, out),
        *(*p.stride(), *v.stride()),
        *(heads, group, queries, columns, keys),
        **config,
    )
    return out
    ### END SOLUTION


def attention(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    causal: bool = False,
    scale: float | None = None,
) -> torch.Tensor:
    """Attention the standard way (Vaswani et al.): softmax(scale * q k^T) v, by the three above.

    Scores are float32; the weights are rounded once, to v's dtype, because the tensor cores take
    operands of one type. Which keys a query sees and what becomes of one that sees none, the
    functions above say: it gets 0.

    Limits: three launches; no memory but the scores, the weights and the result.

    Args:
        q: (batch, heads, queries, dim) of any strides; float32, float16 or bfloat16. dim is at
            least 1; batch, queries, keys and value_dim may be 0.
        k: (batch, kv_heads, keys, dim) of any strides and q's dtype; at most 65,536 keys.
        v: (batch, kv_heads, keys, value_dim) of any strides and q's dtype.
        causal: as in ``attention_softmax``.
        scale: 1 / sqrt(dim) unless given. 0 counts as given.

    Returns:
        A new contiguous tensor (batch, heads, queries, value_dim) of v's dtype.

    Raises:
        ValueError: k and v differ in batch, kv_heads, keys or dtype, or one of the three functions
            refuses its operands.

    Example:
        attention([[[[1, 0]]]], [[[[log 3, 0], [0, 9]]]], [[[[4], [8]]]], scale=1) is [[[[5]]]]: the
        weights are 3/4 and 1/4.
    """
    # TODO: refuse a v that does not fit, choose the scale, call the three functions.
    # HINT: Each function sees two of the three tensors. What about k and v can none of them see?
    ### BEGIN SOLUTION
    # HINT: Compare k.shape[:3] with v.shape[:3], and their dtypes. A scale of 0 is not None.
    # HINT: attention_softmax(s, causal, v.dtype) rounds the weights where they are stored.
    if k.shape[:3] != v.shape[:3] or k.dtype != v.dtype:
        raise ValueError(
            f"keys are {k.dtype} {tuple(k.shape)}, but values {v.dtype} {tuple(v.shape)}"
        )
    s = attention_scores(q, k, q.shape[-1] ** -0.5 if scale is None else scale)
    return attention_output(attention_softmax(s, causal, v.dtype), v)
    ### END SOLUTION


def test_scores_of_two_keys() -> None:
    q = torch.tensor([[[[1.0, 2.0]]]], device=DEVICE)
    k = torch.tensor([[[[3.0, 4.0], [5.0, 6.0]]]], device=DEVICE)
    assert attention_scores(q, k, 0.5).tolist() == [[[[5.5, 8.5]]]]


def test_the_first_query_sees_one_key() -> None:
    s = torch.tensor([[[[1.0, 9.0], [1.0, 3.0]]]], device=DEVICE)
    s[..., 1, :] = s[..., 1, :].log()
    expected = torch.tensor([[[[1.0, 0.0], [0.25, 0.75]]]], device=DEVICE)
    torch.testing.assert_close(attention_softmax(s, causal=True), expected)


def test_output_of_two_keys() -> None:
    p = torch.tensor([[[[0.25, 0.75]]]], device=DEVICE)
    v = torch.tensor([[[[4.0, 0.0], [8.0, 1.0]]]], device=DEVICE)
    assert attention_output(p, v).tolist() == [[[[7.0, 0.75]]]]


def test_two_heads_share_keys_and_values() -> None:
    q = torch.ones(1, 2, 1, 4, device=DEVICE)
    k = torch.zeros(1, 1, 2, 4, device=DEVICE)
    v = torch.tensor([[[[1.0], [3.0]]]], device=DEVICE)
    assert attention(q, k, v).tolist() == [[[[2.0]], [[2.0]]]]


def test_queries_before_the_first_key_get_zero() -> None:
    q, k = torch.ones(1, 1, 3, 2, device=DEVICE), torch.ones(1, 1, 1, 2, device=DEVICE)
    v = torch.full((1, 1, 1, 1), 5.0, device=DEVICE)
    assert attention(q, k, v, causal=True).flatten().tolist() == [0.0, 0.0, 5.0]


if __name__ == "__main__":
    from harness import main

    main(__file__)
