"""Day 33: Backward, on paper
==========================
Estimated time: 2-3 hours
Prerequisites: Day 13 (softmax backward), Day 29 (attention by tiles), Day 32 (flash forward)
Lesson: lessons/day33.md

Learning objectives:
- Derive the gradients of attention from those of a product and of a softmax
- See why one number a query, rowsum(dO * O), replaces a sum over all of its weights
- Recompute the weights from scores and their logsumexp, with no maximum and no sum
- Compute all three gradients tile by tile, with no matrix of queries x keys at any time
- Say which gradient is added up along the rows of tiles, and which along the columns

Today is PyTorch again, but for one kernel: the formulas first, tomorrow their kernels.

    forward                                backward, from dO

    S = scale * Q K^T                      dV = P^T dO
    P = exp(S - lse)                       dP = dO V^T
    O = P V                                dS = P * (dP - delta)      delta = rowsum(dO * O)
                                           dQ = scale * dS K
                                           dK = scale * dS^T Q

    of a tile       k, v                   dK, dV: down a column of tiles
                 +--------+                dQ:     along a row of tiles
    q, dO        | P, dS  | ---> dQ
    lse, delta   +--------+
                     |
                     v
                  dK, dV

Hints:
- Write each formula for one element, with all of its sums, before you write it with matrices.
- A tile of P needs nothing of the other tiles. Which two numbers of a query make that possible?
- For each of the five products of a tile ask which axis it sums over.
Resources:
- Dao et al., FlashAttention (appendix B, memory-efficient backward): https://arxiv.org/abs/2205.14135
- Dao, FlashAttention-2 (algorithm 2): https://arxiv.org/abs/2307.08691
- Ainslie et al., GQA (heads that share keys and values): https://arxiv.org/abs/2305.13245
- Petersen and Pedersen, The Matrix Cookbook: https://www2.imm.dtu.dk/pubdb/pubs/3274-full.html
"""

import math

import torch
import triton
import triton.language as tl

from tracks.triton.day30 import _rows
from tracks.triton.day32 import MAX_DIM, _operands

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def _same(x: torch.Tensor, y: torch.Tensor, what: str) -> None:
    """A ValueError unless x and y have one shape and one dtype; ``what`` says who they are."""
    if x.shape != y.shape or x.dtype != y.dtype:
        raise ValueError(f"{what}: {x.dtype} {tuple(x.shape)} and {y.dtype} {tuple(y.shape)}")


def _sum_groups(x: torch.Tensor, group: int) -> torch.Tensor:
    """(batch, heads, ...) summed over ``group`` neighbouring heads: (batch, heads / group, ...)."""
    batch, heads, *rest = x.shape
    return x.reshape(batch, heads // group, group, *rest).sum(2)


def attention_backward_reference(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    do: torch.Tensor,
    causal: bool = False,
    scale: float | None = None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The gradients of attention by the formulas, with whole matrices: dq, dk, dv.

    For o = softmax(scale * q k^T) v, with day 27's heads and mask, and a scalar loss of which do is
    the gradient at o, the gradients of that loss at q, k and v. The lesson derives, for one head,

        P  = softmax(scale * q k^T)       dv = P^T do                dP = do v^T
        dS = P * (dP - rowsum(P * dP))    dq = scale * dS k          dk = scale * dS^T q

    A head of k and v gets the sum of what all heads of q that share it give. Under causal, query i
    sees the keys j <= i + keys - queries. A query that sees no key has the output 0, whatever it
    is: its row of dq is 0, and it adds nothing to dk and dv.

    torch computes today, softmax too; whatever differentiates by itself (torch.autograd,
    torch.func, a backward operator) and scaled_dot_product_attention may not be called.

    Args:
        q: (batch, heads, queries, dim) of any strides; float64, float32, float16 or bfloat16.
            batch, heads and queries may be 0; dim is from 1 to 256.
        k, v: (batch, kv_heads, keys, dim) of any strides and q's dtype. keys may be 0; heads is a
            positive multiple of kv_heads, or both are 0.
        do: of q's shape and dtype, any strides.
        causal: whether a query sees only what comes before it, and itself.
        scale: 1 / sqrt(dim) unless given; any number, and 0 counts as given.

    Returns:
        dq, dk, dv of the shapes of q, k, v, computed in float64 for float64, else in float32, and
        then in q's dtype.

    Raises:
        ValueError: do differs from q in shape or dtype, or day 32's ``_operands`` refuses q, k, v.

    Example:
        q = [[[[1]]]], k = [[[[log 3], [0]]]], v = [[[[4], [8]]]], do = [[[[1]]]], scale = 1: the
        weights are 3/4 and 1/4, so dv is [[[[3/4], [1/4]]]]. dP is (4, 8), its weighted mean 5, so
        dS is (-3/4, 3/4): dk is [[[[-3/4], [3/4]]]] and dq is [[[[-3/4 log 3]]]].
    """
    # TODO: the weights, then the five formulas; sum over the heads that share keys and values.
    # HINT: What does softmax make of a row that is -inf all along, and what is it to be?
    ### BEGIN SOLUTION
    # HINT: kind = torch.promote_types(q.dtype, torch.float32) is what to compute in; k and v are
    #       repeated for each head of q with x.to(kind).repeat_interleave(group, dim=1).
    # HINT: Hidden scores are -inf: with i and j from torch.arange, s = torch.where(j <= i[:, None]
    #       + keys - queries, s, -math.inf). Then p = torch.where(s == -math.inf, 0.0,
    #       s.softmax(-1)).
    # HINT: ds = p * (dp - (p * dp).sum(-1, keepdim=True)), and _sum_groups(ds.mT @ q, group).
    _same(q, do, "q and do")
    *_, queries, keys, dim, group = _operands(q, k, v)
    scale = dim**-0.5 if scale is None else scale
    kind, dtype = torch.promote_types(q.dtype, torch.float32), q.dtype
    q, do = q.to(kind), do.to(kind)
    k, v = (x.to(kind).repeat_interleave(group, dim=1) for x in (k, v))
    s = scale * (q @ k.mT)
    if causal:
        i, j = (torch.arange(n, device=q.device) for n in (queries, keys))
        s = torch.where(j <= i[:, None] + keys - queries, s, -math.inf)
    p = torch.where(s == -math.inf, 0.0, s.softmax(-1))
    dp = do @ v.mT
    ds = p * (dp - (p * dp).sum(-1, keepdim=True))
    dq = scale * (ds @ k)
    dk = scale * _sum_groups(ds.mT @ q, group)
    dv = _sum_groups(p.mT @ do, group)
    return dq.to(dtype), dk.to(dtype), dv.to(dtype)
    ### END SOLUTION


@triton.jit
def delta_kernel(
    o_ptr,
    do_ptr,
    delta_ptr,
    o_batch_stride,
    o_head_stride,
    o_row_stride,
    o_dim_stride,
    do_batch_stride,
    do_head_stride,
    do_row_stride,
    do_dim_stride,
    heads,
    queries,
    dim,
    BLOCK_M: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """rowsum(do * o) of this program's rows; delta (batch, heads, queries) is contiguous."""
    batch, head, matrix, row = _rows(heads, queries, BLOCK_M)
    # TODO: load both tiles, multiply, sum each row in float32, store.
    # HINT: What is added to a row by the places beyond dim, and what should be?
    ### BEGIN SOLUTION
    # HINT: d = tl.arange(0, BLOCK_D).to(tl.int64); an element of o stands at o_ptr + batch *
    #       o_batch_stride + head * o_head_stride + row[:, None] * o_row_stride + d[None, :] *
    #       o_dim_stride, and do's likewise.
    # HINT: Both are loaded with mask=(row[:, None] < queries) & (d[None, :] < dim), other=0.0, and
    #       .to(tl.float32) before they are multiplied. Row r goes to delta_ptr + matrix * queries +
    #       r.
    d = tl.arange(0, BLOCK_D).to(tl.int64)
    inside = (row[:, None] < queries) & (d[None, :] < dim)
    o_ptr += batch * o_batch_stride + head * o_head_stride
    do_ptr += batch * do_batch_stride + head * do_head_stride
    o_tile = row[:, None] * o_row_stride + d[None, :] * o_dim_stride
    do_tile = row[:, None] * do_row_stride + d[None, :] * do_dim_stride
    o = tl.load(o_ptr + o_tile, mask=inside, other=0.0).to(tl.float32)
    do = tl.load(do_ptr + do_tile, mask=inside, other=0.0).to(tl.float32)
    tl.store(delta_ptr + matrix * queries + row, tl.sum(o * do, axis=1), mask=row < queries)
    ### END SOLUTION


def _delta_config(dim: int) -> dict[str, int]:
    """Tiles of about 4096 elements, and launch options, for rows of so many elements."""
    block_d = triton.next_power_of_2(dim)
    return {"BLOCK_M": max(4096 // block_d, 1), "BLOCK_D": block_d, "num_warps": 4}


def delta(o: torch.Tensor, do: torch.Tensor) -> torch.Tensor:
    """The sum over dim of do * o, for each query: all that its row of dS needs of the other keys.

    delta[b, h, i] = sum over c of do[b, h, i, c] * o[b, h, i, c]

    That is rowsum(P * dP), as the lesson shows, without P and without dP: dim products for each
    query in place of one for each key. Products and sums are float32.

    Limits: one launch with a grid of one axis, of one program for each tile of BLOCK_M rows of a
    head that ``_delta_config(dim)`` gives; no memory but the result's; loads of 128 bits where rows
    are contiguous and aligned, for float32, float16 and bfloat16.

    Args:
        o: (batch, heads, queries, dim) of any strides; float32, float16 or bfloat16. batch, heads
            and queries may be 0; dim is from 1 to 256.
        do: of o's shape and dtype, any strides.

    Returns:
        A new contiguous float32 tensor (batch, heads, queries).

    Raises:
        ValueError: o and do differ in shape or dtype, or dim is not from 1 to 256.

    Example:
        delta([[[[1, 2], [3, 4]]]], [[[[5, 6], [7, 0]]]]) is [[[17, 21]]].
    """
    # TODO: refuse what does not fit, allocate, launch one program a tile of rows.
    # HINT: How many tiles of BLOCK_M rows has one head, and how many heads are there in all?
    ### BEGIN SOLUTION
    # HINT: _same(o, do, "o and do") raises for the first error; 1 <= dim <= MAX_DIM is the second.
    # HINT: The grid is (batch * heads * triton.cdiv(queries, config["BLOCK_M"]),); the kernel takes
    #       o, do, out, *o.stride(), *do.stride(), heads, queries, dim, **config.
    _same(o, do, "o and do")
    batch, heads, queries, dim = o.shape
    if not 1 <= dim <= MAX_DIM:
        raise ValueError(f"rows of {dim} elements: 1 to {MAX_DIM} are supported")
    config = _delta_config(dim)
    out = torch.empty((batch, heads, queries), dtype=torch.float32, device=o.device)
    delta_kernel[(batch * heads * triton.cdiv(queries, config["BLOCK_M"]),)](
        *(o, do, out), *o.stride(), *do.stride(), *(heads, queries, dim), **config
    )
    return out
    ### END SOLUTION


def recompute_p(
    q: torch.Tensor,
    k: torch.Tensor,
    lse: torch.Tensor,
    scale: float,
    causal: bool = False,
    offset: int | None = None,
) -> torch.Tensor:
    """The weights of a tile of queries for a tile of keys, from the logsumexp of whole rows.

    p[b, h, i, j] = exp(scale * (q[b, h, i] . k[b, h // group, j]) - lse[b, h, i])

    lse is that of all scores of a query, as day 32 returns it: a natural logarithm, with the scale
    in it. So the weights of a tile are right though the other keys are not there, and weights of
    two tiles stand side by side as they are. With causal, query i of the tile sees the keys j <= i
    + offset of the tile; other keys have the weight 0, whatever k holds there, as long as it is
    finite: a score that is hidden may be far above lse. A query that sees no key has lse = -inf,
    and all of its weights are 0.

    torch computes today; softmax may not be called, nor logsumexp.

    Args:
        q: (batch, heads, queries, dim) of any strides; float32, float16 or bfloat16.
        k: (batch, kv_heads, keys, dim) of any strides and q's dtype; heads is a positive multiple
            of kv_heads, or both are 0. queries and keys are those of the tile, and may be 0.
        lse: (batch, heads, queries), float32.
        scale: that of the scores.
        causal: whether keys are hidden.
        offset: by how much the diagonal is shifted; keys - queries unless given, which is right
            where the tile is all there is. It may be negative; without causal it is not looked at.

    Returns:
        A float32 tensor (batch, heads, queries, keys); scores are computed in float32.

    Example:
        q = [[[[1]]]], k = [[[[log 3]]]], lse = [[[log 4]]], scale = 1: p is [[[[3/4]]]], the
        weight of this key, though the other one (of the score 0) is not there.
    """
    # TODO: the scores; what is hidden; the exponential of the difference.
    # HINT: Two differences of this formula are not numbers, or not the right ones. Which two?
    ### BEGIN SOLUTION
    # HINT: Where lse is -inf, s - lse is inf or nan. With inf in its place, s - lse is -inf and the
    #       weight 0: torch.where(lse == -math.inf, math.inf, lse).
    # HINT: exp of a hidden score can be inf, and inf * 0 is nan. Put -inf in its place with
    #       torch.where before exp.
    # HINT: A head of k serves group = heads // kv_heads neighbours:
    #       k.float().repeat_interleave(group, dim=1).
    queries, keys = q.shape[2], k.shape[2]
    group = max(q.shape[1] // max(k.shape[1], 1), 1)
    s = scale * (q.float() @ k.float().repeat_interleave(group, dim=1).mT)
    s = s - torch.where(lse == -math.inf, math.inf, lse)[..., None]
    if causal:
        offset = keys - queries if offset is None else offset
        i, j = (torch.arange(n, device=q.device) for n in (queries, keys))
        s = torch.where(j <= i[:, None] + offset, s, -math.inf)
    return s.exp()
    ### END SOLUTION


def tiled_backward(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    o: torch.Tensor,
    lse: torch.Tensor,
    do: torch.Tensor,
    block: int,
    causal: bool = False,
    scale: float | None = None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The gradients of attention tile by tile: dq, dk, dv, from what the forward pass has kept.

    For each tile of ``block`` keys all tiles of ``block`` queries pass by. Of each pair the weights
    are recomputed, and five products made: scores, dP, and what the pair adds to dv, dk and dq
    (algorithm 2 of FlashAttention-2). The last tiles may be smaller. Sums are float32, those over
    the heads that share keys and values too, and they are rounded once.

    A pair of which no query sees any key is skipped: what k and v hold there, be it nan, has no
    effect on dq.

    torch computes today, besides ``delta``'s kernel; what differentiates by itself and softmax may
    not be called.

    Limits: no matrix of queries x keys, nor of queries x block or block x keys, at any time. Beyond
    three times the results, counted as float32, the peak of allocated memory is at most 14 tiles of
    block x (block + dim) float32 numbers for each head of q of each batch.

    Args:
        q: (batch, heads, queries, dim) of any strides; float32, float16 or bfloat16. batch, heads
            and queries may be 0; dim is from 1 to 256.
        k, v: (batch, kv_heads, keys, dim) of any strides and q's dtype; keys may be 0. heads is a
            positive multiple of kv_heads, or both are 0.
        o, lse: the results of day 32's ``flash_attention_forward`` for q, k, v, causal and scale.
        do: the gradient at o, of its shape and dtype, any strides.
        block: how many queries, and how many keys, a tile has; 1 or more.
        causal: as in ``attention_backward_reference``.
        scale: 1 / sqrt(dim) unless given.

    Returns:
        dq, dk, dv of the shapes and dtype of q, k, v.

    Raises:
        ValueError: block is less than 1, or q, o and do are not of one shape and dtype, or day 32's
            ``_operands`` refuses q, k, v.

    Example:
        As in ``attention_backward_reference``, with o = [[[[5]]]], lse = [[[log 4]]] and block = 1:
        the same three gradients, each key on its own.
    """
    # TODO: delta; two loops; per pair of tiles the weights, dS, and three sums.
    # HINT: Two of the three gradients are finished with the inner loop. Where does the third wait?
    ### BEGIN SOLUTION
    # HINT: dq is a float32 tensor of zeros, and each pair adds to dq[:, :, rows]; dk and dv of a
    #       tile of keys begin as zeros before the inner loop.
    # HINT: Query start + i sees key first + j if j <= i + start + keys - queries - first: that is
    #       recompute_p's offset. With the last query of the tile, i = block - 1, no key is seen if
    #       block - 1 + offset < 0.
    # HINT: ds = p * (do_tile @ v_tile.mT - row_sums[:, :, rows, None]), where row_sums = delta(o,
    #       do). Multiply dq and dk with the scale once, at the end.
    if block < 1:
        raise ValueError(f"tiles of {block} queries and keys")
    _same(q, o, "q and o")
    *_, queries, keys, dim, group = _operands(q, k, v)
    scale = dim**-0.5 if scale is None else scale
    row_sums = delta(o, do)
    dq = torch.zeros(q.shape, dtype=torch.float32, device=q.device)
    dk, dv = (torch.empty(x.shape, dtype=x.dtype, device=x.device) for x in (k, v))
    for first in range(0, keys, block):
        columns = slice(first, first + block)
        k_tile, v_tile = (x[:, :, columns].float().repeat_interleave(group, dim=1) for x in (k, v))
        dk_tile, dv_tile = torch.zeros_like(k_tile), torch.zeros_like(v_tile)
        for start in range(0, queries, block):
            offset = start + keys - queries - first
            if causal and block - 1 + offset < 0:
                continue
            rows = slice(start, start + block)
            q_tile, do_tile = q[:, :, rows].float(), do[:, :, rows].float()
            p = recompute_p(q_tile, k_tile, lse[:, :, rows], scale, causal, offset)
            ds = p * (do_tile @ v_tile.mT - row_sums[:, :, rows, None])
            dv_tile += p.mT @ do_tile
            dk_tile += ds.mT @ q_tile
            dq[:, :, rows] += ds @ k_tile
        dk[:, :, columns] = scale * _sum_groups(dk_tile, group)
        dv[:, :, columns] = _sum_groups(dv_tile, group)
    return (scale * dq).to(q.dtype), dk, dv
    ### END SOLUTION


def _head(*rows: list[float]) -> torch.Tensor:
    """One batch with one head of these rows."""
    return torch.tensor([[rows]], dtype=torch.float32, device=DEVICE)


def _check_by_hand(dq: torch.Tensor, dk: torch.Tensor, dv: torch.Tensor) -> None:
    torch.testing.assert_close(dq, _head([-0.75 * math.log(3)]))
    torch.testing.assert_close(dk, _head([-0.75], [0.75]))
    torch.testing.assert_close(dv, _head([0.75], [0.25]))


def test_one_query_and_two_keys() -> None:
    k = _head([3.0], [1.0]).log()
    _check_by_hand(
        *attention_backward_reference(_head([1.0]), k, _head([4.0], [8.0]), _head([1.0]), scale=1.0)
    )


def test_delta_of_two_rows() -> None:
    o, do = _head([1.0, 2.0], [3.0, 4.0]), _head([5.0, 6.0], [7.0, 0.0])
    assert delta(o, do).tolist() == [[[17.0, 21.0]]]


def test_weight_of_one_of_two_keys() -> None:
    p = recompute_p(_head([1.0]), _head([math.log(3)]), _head([math.log(4)])[0], 1.0)
    torch.testing.assert_close(p, _head([0.75]))


def test_two_tiles_of_one_key() -> None:
    q, k, v, o = _head([1.0]), _head([3.0], [1.0]).log(), _head([4.0], [8.0]), _head([5.0])
    lse = _head([math.log(4)])[0]
    _check_by_hand(*tiled_backward(q, k, v, o, lse, _head([1.0]), 1, scale=1.0))


if __name__ == "__main__":
    from harness import main

    main(__file__)
