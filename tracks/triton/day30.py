"""Day 30: Tiling Q, K and V
=========================
Estimated time: 2-3 hours
Prerequisites: Day 17 (the K loop), Day 27 (standard attention), Day 29 (attention by tiles)
Lesson: lessons/day30.md

Learning objectives:
- Keep a tile of queries in one program while the tiles of keys and values pass by
- Join two products and a softmax in one loop, so that scores never leave the chip
- Correct what has been added up, in the sum and in the output, when the maximum changes
- Mask queries, keys and dim each in its own place, and only the keys with -inf
- Say what decides how large a tile can be: registers, shared memory, the number of programs

A program owns a tile of queries. It walks over keys and values once, with three things in hand:

                 k^T, a tile at a time
                +------+------+------+--+
                |  0   |  1   |  2   |3 |
                +------+------+------+--+         v
    +-------+   +------+                       +-------+
    | q     |   | s, p |  walks to the right   |   0   |
    | tile  |   +------+  --------------->     +-------+
    +-------+   m  total                       |   1   |   and down with it
                (a number a query)             +-------+
    +-------+                                  |   2   |
    | acc   |  acc * exp(m_old - m_new) + p v  +-------+
    +-------+                                  |   3   |
                                               +-------+
Hints:
- The loop is day 17's, with a softmax between its two products. What must stay between two steps?
- Write down which of m, total and acc depend on the maximum, and how.
- Of the padding of a tile ask: does it change the maximum, the sum, or the product?
Resources:
- Dao et al., FlashAttention: https://arxiv.org/abs/2205.14135
- Dao, FlashAttention-2 (queries in the outer loop): https://arxiv.org/abs/2307.08691
- Triton tutorial, Fused Attention: https://triton-lang.org/main/getting-started/tutorials/06-fused-attention.html
- Triton language reference, tl.dot: https://triton-lang.org/main/python-api/generated/triton.language.dot.html
"""

import torch
import triton
import triton.language as tl

from tracks.triton.day27 import _group

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
MAX_DIM = 128


def _config(dim: int, element_size: int) -> dict[str, int]:
    """Tile sizes and launch options for heads of so many elements of so many bytes.

    The sums of a tile, BLOCK_M x BLOCK_D float32 numbers, stay in registers, its scores too. 16-bit
    operands go through tensor cores, which keep them in shared memory; those of 32 bits need
    registers of their own, so their tiles are smaller and shared by more warps.
    """
    block, warps = (64, 4) if element_size == 2 else (32, 8)
    block_d = max(triton.next_power_of_2(dim), 16)
    tile = {"BLOCK_M": block, "BLOCK_N": block, "BLOCK_D": block_d}
    return {**tile, "num_warps": warps, "num_stages": 2}


def _attention_sizes(
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
    if dim != k.shape[3]:
        raise ValueError(f"queries have {dim} elements, but keys {k.shape[3]}")
    if not 1 <= dim <= MAX_DIM:
        raise ValueError(f"heads of {dim} elements: 1 to {MAX_DIM} are supported")
    return batch, heads, queries, keys, dim, group


def _whole_tiles(q: torch.Tensor, k: torch.Tensor) -> dict[str, int]:
    """The config where q and k consist of whole tiles, at least one of keys; else a ValueError."""
    queries, dim, keys = q.shape[2], q.shape[3], k.shape[2]
    config = _config(dim, q.element_size())
    rows, columns = config["BLOCK_M"], config["BLOCK_N"]
    if queries % rows or keys % columns or keys == 0 or dim != config["BLOCK_D"]:
        raise ValueError(
            f"{queries} queries and {keys} keys of {dim} elements are no whole tiles of {rows} "
            f"queries and {columns} keys of a power of two of elements, 16 or more"
        )
    return config


@triton.jit
def _rows(heads, queries, BLOCK_M: tl.constexpr):
    """What this program owns: batch, head, the number of that matrix, and rows of it (int64)."""
    tiles = tl.cdiv(queries, BLOCK_M)
    matrix = (tl.program_id(0) // tiles).to(tl.int64)
    row = (tl.program_id(0) % tiles).to(tl.int64) * BLOCK_M + tl.arange(0, BLOCK_M)
    return matrix // heads, matrix % heads, matrix, row


@triton.jit
def scores_max_kernel(
    q_ptr,
    k_ptr,
    out_ptr,
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
    scale,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """The largest score of each query of this program's tile; out is contiguous.

    All tiles are whole: nothing needs a mask.
    """
    batch, head, matrix, row = _rows(heads, queries, BLOCK_M)
    # TODO: load the tile of q once; walk over the keys with the largest score so far; store.
    # HINT: Which tile stays and which one moves, and along which of its axes?
    pass


def scores_max(q: torch.Tensor, k: torch.Tensor, scale: float) -> torch.Tensor:
    """The largest score of each query: max over j of scale * (q[i] . k[j]), without any scores.

    The scores are day 27's, but none of them is written to memory: a program multiplies its tile of
    queries with one tile of keys after the other and keeps the largest number of each row. All
    sizes are multiples of the tile's. Products and sums are float32, and float32 operands are
    multiplied as they are, not as TF32.

    Limits: one launch with a grid of one axis, of one program for each tile of ``_config``'s
    BLOCK_M queries; no memory but the result's.

    Args:
        q: (batch, heads, queries, dim) of any strides; float32, float16 or bfloat16. queries is a
            multiple of BLOCK_M, dim is 16, 32, 64 or 128.
        k: (batch, kv_heads, keys, dim) of any strides and q's dtype; keys is a positive multiple of
            BLOCK_N, and heads a multiple of kv_heads: neighbours share a head of k.
        scale: any finite number, also a negative one.

    Returns:
        A new float32 tensor (batch, heads, queries).

    Raises:
        ValueError: the sizes are not such multiples, or q and k do not fit together
            (``_whole_tiles`` and ``_attention_sizes`` say so for you).

    Example:
        With queries that are all 0, it is all 0.
    """
    # TODO: get the sizes and the config, allocate the maxima, launch one program a tile of queries.
    # HINT: How many tiles of queries has one matrix, and how many matrices are there?
    raise NotImplementedError("scores_max")


@triton.jit
def flash_forward_tile_kernel(
    q_ptr,
    k_ptr,
    v_ptr,
    o_ptr,
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
    heads,
    group,
    queries,
    keys,
    scale,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """The output of this program's tile of queries; o is contiguous. All tiles are whole."""
    batch, head, matrix, row = _rows(heads, queries, BLOCK_M)
    # TODO: scores_max_kernel's loop with day 29's online update in it; divide at the end; store.
    # HINT: Three things go from step to step. What does a new maximum change in them?
    pass


def flash_forward_tile(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """Attention in one launch, softmax(q k^T / sqrt(dim)) v, for sizes that are whole tiles.

    It is FlashAttention's forward pass (Dao et al.) in the order of FlashAttention-2: a program
    owns a tile of queries, and while the tiles of keys and values pass by it keeps for each query
    the largest score m, the total of exp(s - m), and the output's row acc, a sum of exp(s - m) v.
    At the end the row is acc / total. Products are those of ``scores_max``; scores and sums are
    float32; exp(s - m) is rounded to v's dtype before it is multiplied with v, as the weights of
    day 27 are.

    Limits: one launch with a grid of one axis, of one program for each tile of ``_config``'s
    BLOCK_M queries; no memory but the result's, so nothing of the size queries x keys.

    Args:
        q: (batch, heads, queries, dim) of any strides; float32, float16 or bfloat16. queries is a
            multiple of BLOCK_M, dim is 16, 32, 64 or 128.
        k, v: (batch, kv_heads, keys, dim) of any strides and q's dtype; keys is a positive multiple
            of BLOCK_N, and heads a multiple of kv_heads.

    Returns:
        A new contiguous tensor of q's shape and dtype.

    Raises:
        ValueError: the sizes are not such multiples, or the three do not fit together
            (``_whole_tiles`` and ``_attention_sizes`` say so for you).

    Example:
        With queries that are all 0, each row of the output is the mean of the values.
    """
    # TODO: as scores_max, with v's strides and an output of q's shape.
    # HINT: The result has q's shape. Does it have q's strides?
    raise NotImplementedError("flash_forward_tile")


@triton.jit
def flash_forward_kernel(
    q_ptr,
    k_ptr,
    v_ptr,
    o_ptr,
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
    heads,
    group,
    queries,
    keys,
    dim,
    scale,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """The output of this program's tile of queries; o is contiguous. Tiles may stick out."""
    batch, head, matrix, row = _rows(heads, queries, BLOCK_M)
    # TODO: flash_forward_tile_kernel with masks: on rows, on dim, and on the last tile of keys.
    # HINT: A key of zeros that does not exist has the score 0. What must its score be?
    pass


def flash_forward(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, scale: float | None = None
) -> torch.Tensor:
    """Attention in one launch for any sizes: softmax(scale * q k^T) v, as ``flash_forward_tile``.

    Queries and keys may differ in number, the last tile of each may be partly empty, and dim may be
    anything from 1 to 128: a tile is then padded to ``_config``'s BLOCK_D. Without any key the
    output is 0, which is the kernel's to store.

    Limits: one launch with a grid of one axis, of one program for each tile of ``_config``'s
    BLOCK_M queries; no memory but the result's. Compiled for sm_90 it may not spill registers, and
    16-bit types must use tensor-core instructions (wgmma), with loads and stores of 128 bits where
    rows are contiguous and aligned.

    Args:
        q: (batch, heads, queries, dim) of any strides; float32, float16 or bfloat16. batch, heads
            and queries may be 0.
        k, v: (batch, kv_heads, keys, dim) of any strides and q's dtype. keys may be 0; heads is a
            multiple of kv_heads.
        scale: 1 / sqrt(dim) unless given; any finite number, and 0 counts as given.

    Returns:
        A new contiguous tensor of q's shape and dtype.

    Raises:
        ValueError: the three do not fit together, or dim is not from 1 to 128
            (``_attention_sizes`` says so for you).

    Example:
        flash_forward([[[[1]]]], [[[[log 3], [0]]]], [[[[4], [8]]]], scale=1) is [[[[5]]]]: the
        weights are 3/4 and 1/4.
    """
    # TODO: as flash_forward_tile, with a grid that covers what is no whole tile.
    # HINT: Which division counts a tile that is partly empty?
    raise NotImplementedError("flash_forward")


def _head(*rows: list[float]) -> torch.Tensor:
    """One batch with one head of these rows."""
    return torch.tensor([[rows]], dtype=torch.float32, device=DEVICE)


def test_the_largest_of_equal_scores() -> None:
    q = torch.ones(1, 1, 32, 16, device=DEVICE)
    k = torch.full((1, 1, 64, 16), 0.25, device=DEVICE)
    assert scores_max(q, k, 0.5).tolist() == [[[2.0] * 32]]


def test_queries_of_zeros_take_the_mean() -> None:
    q = torch.zeros(1, 1, 32, 16, device=DEVICE)
    v = torch.arange(64.0, device=DEVICE)[None, None, :, None].expand(1, 1, 64, 16)
    torch.testing.assert_close(flash_forward_tile(q, v, v), torch.full_like(q, 31.5))


def test_two_keys() -> None:
    k = _head([3.0], [1.0]).log()
    torch.testing.assert_close(
        flash_forward(_head([1.0]), k, _head([4.0], [8.0]), 1.0), _head([5.0])
    )


def test_no_key() -> None:
    q, k = torch.ones(1, 2, 3, 4, device=DEVICE), torch.ones(1, 1, 0, 4, device=DEVICE)
    assert flash_forward(q, k, k).flatten().tolist() == [0.0] * 24


if __name__ == "__main__":
    from harness import main

    main(__file__)
