"""Day 31: Online softmax inside
=============================
Estimated time: 2-3 hours
Prerequisites: Day 12 (logsumexp), Day 30 (tiling Q, K and V)
Lesson: lessons/day31.md

Learning objectives:
- Write the online softmax once, as a device function that several kernels call
- Compute exponentials in base 2, with the scale of the scores folded into them
- Return the logsumexp of each row, which the backward pass and the merging of parts need
- Keep rows safe that have seen no key yet, and rows that never see one
- Give each batch its own number of keys, and do no work for the keys that it has not

What goes from one tile of keys to the next, for each query, with c = scale * log2(e):

    m     the largest product q . k so far, not scaled        -inf  before the first key
    total the sum of 2^(c s - c m)                              0
    acc   the sum of 2^(c s - c m) v, a row                     0

    s = q . k ----> max with m ----> 2^(c s - c m) ----> total, acc
                        |               one fused multiply-add
                        +-- times 2^(c m_old - c m_new), if it has grown

    o = acc / total         lse = (c m + log2 total) * ln 2

Hints:
- exp(x) is 2^(x log2 e): that is what a GPU computes anyway. Where can the factor go?
- Which of the three numbers of a row without any key makes trouble, and in which expression?
- Take a row that sees nothing in its first tile of keys, and two keys in its second one.
Resources:
- Dao et al., FlashAttention: https://arxiv.org/abs/2205.14135
- Dao, FlashAttention-2 (what is kept, and the logsumexp): https://arxiv.org/abs/2307.08691
- Milakov and Gimelshein, Online normalizer calculation for softmax: https://arxiv.org/abs/1805.02867
- NVIDIA, PTX ISA, ex2: https://docs.nvidia.com/cuda/parallel-thread-execution/
"""

import torch
import triton
import triton.language as tl

from tracks.triton.day30 import _attention_sizes, _config, _rows

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
LOG2E = 1.4426950408889634
LN2 = tl.constexpr(0.6931471805599453)


@triton.jit
def online_step(
    m: tl.tensor, total: tl.tensor, acc: tl.tensor, s: tl.tensor, v: tl.tensor, scale: tl.tensor
) -> tuple[tl.tensor, tl.tensor, tl.tensor]:
    """One tile of keys more: the new (m, total, acc) of a tile of queries. Called inside kernels.

    With s' the products of all keys so far and of this tile, of one query:

        m' = max of s'   total' = sum of 2^(scale s' - scale m')   acc' = sum of the same times v

    where m, total and acc are these of the keys so far. A query that has seen no key yet has
    m = -inf, total = 0, acc = 0, and keeps them as long as it sees none; nothing may become nan for
    it. A key that it does not see has the product -inf.

    m stays unscaled, so that scale * s - scale * m is one fused multiply-add for each product.
    2^(...) is rounded to v's dtype for its product with v, but not for total. float32 values are
    multiplied as they are, not as TF32.

    Args:
        m: (BLOCK_M,) float32, the largest product so far.
        total: (BLOCK_M,) float32.
        acc: (BLOCK_M, BLOCK_D) float32.
        s: (BLOCK_M, BLOCK_N) float32, the products q . k, not scaled; finite, or -inf where hidden.
        v: (BLOCK_N, BLOCK_D) float32, float16 or bfloat16: the values of this tile of keys.
        scale: a number greater than 0: the scale of the scores times log2(e).

    Returns:
        The new m, total and acc.

    Example:
        From (-inf, 0, 0) with s = [[1, 3]], v = [[8], [4]] and scale = 1: m = 3, total = 1.25 and
        acc = 6. Then with s = [[4, -inf]], v = [[2], [9]]: m = 4, total = 1.625, acc = 5.
    """
    # TODO: the new maximum; what the old sums are worth under it; what this tile adds.
    # HINT: Under which condition are m and the new maximum both -inf, and what is their difference?
    pass


@triton.jit
def flash_forward_lse_tile_kernel(
    q_ptr,
    k_ptr,
    v_ptr,
    o_ptr,
    lse_ptr,
    q_row_stride,
    q_dim_stride,
    k_row_stride,
    k_dim_stride,
    v_row_stride,
    v_dim_stride,
    row,
    queries,
    keys,
    dim,
    scale,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """Attention of a tile of rows of one matrix, whose first elements the pointers point at.

    row is a block of int64 that may reach beyond queries. o (queries, dim) and lse (queries,) are
    contiguous. scale is the scale of the scores times log2(e). The other kernels call this one.
    """
    # TODO: day 30's loop over the keys with online_step in it; then o and lse.
    # HINT: What does online_step want to be told of the keys that a tile has, but the input not?
    pass


@triton.jit
def flash_forward_lse_kernel(
    q_ptr,
    k_ptr,
    v_ptr,
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
    """o and lse of this program's tile of queries. Given: what is new is in the tile's kernel."""
    batch, head, matrix, row = _rows(heads, queries, BLOCK_M)
    flash_forward_lse_tile_kernel(
        q_ptr + batch * q_batch_stride + head * q_head_stride,
        k_ptr + batch * k_batch_stride + head // group * k_head_stride,
        v_ptr + batch * v_batch_stride + head // group * v_head_stride,
        o_ptr + matrix * queries * dim,
        lse_ptr + matrix * queries,
        q_row_stride,
        q_dim_stride,
        k_row_stride,
        k_dim_stride,
        v_row_stride,
        v_dim_stride,
        row,
        queries,
        keys,
        dim,
        scale,
        BLOCK_M,
        BLOCK_N,
        BLOCK_D,
    )


def flash_forward_lse(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, scale: float | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention in one launch, and the logsumexp of the scores of each query.

        s = scale * q k^T     o = softmax(s) v     lse[i] = log(sum over j of exp(s[i, j]))

    lse is a natural logarithm, whatever the kernel's exponentials are: p[i, j] is
    exp(s[i, j] - lse[i]), and that is all the backward pass needs of a row. Without any key o is 0
    and lse is -inf. Scores of +-10,000 and more are fine: nothing overflows, and lse is right to
    float32's last digits. Scores, sums and lse are float32; 2^(...) is rounded to v's dtype for its
    product with v.

    Limits: one launch with a grid of one axis, of one program for each tile of BLOCK_M queries that
    day 30's ``_config`` gives; no memory but the results'. Compiled for sm_90 it may not spill
    registers, and 16-bit types must use tensor-core instructions (wgmma), with loads and stores of
    128 bits where rows are contiguous and aligned.

    Args:
        q: (batch, heads, queries, dim) of any strides; float32, float16 or bfloat16. batch, heads
            and queries may be 0; dim is from 1 to 128.
        k, v: (batch, kv_heads, keys, dim) of any strides and q's dtype. keys may be 0; heads is a
            multiple of kv_heads.
        scale: 1 / sqrt(dim) unless given; greater than 0, because the maximum is taken before it.

    Returns:
        o, a new contiguous tensor of q's shape and dtype, and lse, (batch, heads, queries) float32.

    Raises:
        ValueError: scale is not greater than 0 (nan is not), or day 30's ``_attention_sizes``
            refuses the operands.

    Example:
        q = [[[[1]]]], k = [[[[log 3], [0]]]], v = [[[[4], [8]]]], scale = 1: o is [[[[5]]]] and
        lse is [[[log 4]]].
    """
    # TODO: refuse a bad scale, allocate both results, launch one program a tile of queries.
    # HINT: Which number has to be multiplied by log2(e) only once, however many scores there are?
    raise NotImplementedError("flash_forward_lse")


@triton.jit
def flash_forward_padded_kernel(
    q_ptr,
    k_ptr,
    v_ptr,
    lengths_ptr,
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
    lengths_stride,
    heads,
    group,
    queries,
    dim,
    scale,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """o and lse of this program's tile of queries, which see the first keys of their batch only."""
    # TODO: as flash_forward_lse_kernel, with the number of keys that this batch has.
    # HINT: Who decides how many steps the loop over the keys takes?
    pass


def flash_forward_padded(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    lengths: torch.Tensor,
    scale: float | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """``flash_forward_lse`` where batch b has only lengths[b] keys; what follows them is padding.

    Texts of different lengths are made one tensor by padding. All queries of batch b see the keys
    j < lengths[b]. What k and v hold behind them, be it nan or inf, has no effect; a batch of no
    keys has o = 0 and lse = -inf. A program takes no step for tiles of keys that are all padding:
    it does not read them, and is done the sooner.

    Limits: as for ``flash_forward_lse``; k and v are not copied, and lengths is not read by the
    host, which would make it wait for the GPU.

    Args:
        q, k, v, scale: as for ``flash_forward_lse``.
        lengths: (batch,) of any stride; int32 or int64, each from 0 to keys, which is not checked.

    Returns:
        o and lse, as ``flash_forward_lse``.

    Raises:
        ValueError: lengths has not the shape (batch,), or ``flash_forward_lse`` would raise one.

    Example:
        As in ``flash_forward_lse`` with lengths = [1]: o is [[[[4]]]] and lse is [[[log 3]]].
    """
    # TODO: refuse lengths that do not fit; else as flash_forward_lse.
    # HINT: What may the host know about lengths without reading them?
    raise NotImplementedError("flash_forward_padded")


def _head(*rows: list[float]) -> torch.Tensor:
    """One batch with one head of these rows."""
    return torch.tensor([[rows]], dtype=torch.float32, device=DEVICE)


@triton.jit
def _two_steps(m_ptr, total_ptr, acc_ptr):
    """16 queries, two tiles of 16 equal keys with the products 1 and 2 and the values 1 and 3."""
    m = tl.full((16,), -float("inf"), tl.float32)
    total, acc = tl.zeros((16,), tl.float32), tl.zeros((16, 16), tl.float32)
    for i in range(1, 3):
        s = tl.full((16, 16), 1.0, tl.float32) * i
        v = tl.full((16, 16), 2.0, tl.float32) * i - 1.0
        m, total, acc = online_step(m, total, acc, s, v, 1.0)
    row = tl.arange(0, 16)
    tl.store(m_ptr + row, m)
    tl.store(total_ptr + row, total)
    tl.store(acc_ptr + row[:, None] * 16 + row[None, :], acc)


def test_two_steps() -> None:
    m, total = torch.empty(16, device=DEVICE), torch.empty(16, device=DEVICE)
    acc = torch.empty(16, 16, device=DEVICE)
    _two_steps[(1,)](m, total, acc)
    assert (m[0].item(), total[0].item(), acc[0, 0].item()) == (2.0, 24.0, 56.0)


def test_two_keys_and_their_lse() -> None:
    k = _head([3.0], [1.0]).log()
    o, lse = flash_forward_lse(_head([1.0]), k, _head([4.0], [8.0]), 1.0)
    torch.testing.assert_close(o, _head([5.0]))
    torch.testing.assert_close(lse, torch.full_like(lse, 4.0).log())


def test_no_key() -> None:
    q, k = torch.ones(1, 1, 3, 4, device=DEVICE), torch.ones(1, 1, 0, 4, device=DEVICE)
    o, lse = flash_forward_lse(q, k, k)
    assert o.eq(0).all() and lse.eq(-float("inf")).all()


def test_the_second_key_is_padding() -> None:
    k = _head([3.0], [1.0]).log()
    lengths = torch.tensor([1], device=DEVICE)
    o, lse = flash_forward_padded(_head([1.0]), k, _head([4.0], [8.0]), lengths, 1.0)
    torch.testing.assert_close(o, _head([4.0]))
    torch.testing.assert_close(lse, torch.full_like(lse, 3.0).log())


if __name__ == "__main__":
    from harness import main

    main(__file__)
