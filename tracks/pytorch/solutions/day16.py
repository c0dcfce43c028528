"""
Day 16: Scaled dot-product attention
====================================
Estimated time: 2-3 hours
Prerequisites: Day 15 (attention, the idea), Day 9 (softmax), Day 3 (autograd)
Lesson: lessons/day16.md

Learning objectives:
- Compute attention for a whole batch of heads with two matrix products and one softmax
- Say what a bool mask, a float mask and a causal mask do to the scores, and combine them
- Keep a row that may look at nothing at zero, in the result and in every gradient
- Explain the √d with a measurement, not a formula learnt by heart

Every query is compared with every key; softmax turns a row of scores into weights that sum
to one; the result is that mixture of the values:

         k0  k1  k2  k3                weights          values     result
    q0 [ .   .   .   . ]  softmax   [ .1 .6 .2 .1 ]    [ v0 ]   [ mix of v ]
    q1 [ .   .   .   . ]  ------->  [ .4 .1 .1 .4 ] @  [ v1 ] = [ mix of v ]
       q @ kᵀ / √d  (+ mask)         each row sums     [ v2 ]
                                     to one            [ v3 ]

Days 17 to 24 build on this file. Two conventions hold from here on:
- in a bool mask True means "may look", as in F.scaled_dot_product_attention
  (nn.MultiheadAttention's masks say the opposite);
- the causal mask is aligned at the bottom right: the last query stands at the last key. With
  as many queries as keys this is the usual triangle. With a cache, where one new query meets
  all the keys so far, it is the only one that makes sense. F.scaled_dot_product_attention's
  is_causal is aligned at the top left; flash-attn is aligned as here.

Hints:
- Write the float32 case without masks first: three lines.
- Then masks, then rows without a key, then half precision; run the tests after each.
- Where does nan come from? softmax of a row that is -inf throughout is 0 / 0.

Resources:
- Attention Is All You Need, Vaswani et al. 2017, section 3.2.1: https://arxiv.org/abs/1706.03762
- torch's operator:
  https://docs.pytorch.org/docs/stable/generated/torch.nn.functional.scaled_dot_product_attention.html
- FlashAttention-2, Dao 2023 (the same values, the scores never stored):
  https://arxiv.org/abs/2307.08691
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F


def causal_mask(queries: int, keys: int, device: torch.device | str | None = None) -> torch.Tensor:
    """Who may look at whom when nobody may look ahead: bool (queries, keys), True = may look.

    Aligned at the bottom right: query i stands at position i + keys - queries, and looks at the
    keys up to its own position. With more queries than keys the first rows are all False.

    >>> causal_mask(2, 4).int()
    tensor([[1, 1, 1, 0],
            [1, 1, 1, 1]], dtype=torch.int32)
    """
    # TODO: a rectangle of True, cut off above a diagonal.
    # HINT: write down the mask of 2 queries and 4 keys. Where does its edge begin, and where end?
    ### BEGIN SOLUTION
    # HINT: Tensor.tril keeps what is on and below a diagonal; which diagonal ends bottom right?
    # HINT: tril(diagonal=k) keeps [i, j] with j <= i + k; put the last query on the last key.
    return torch.ones(queries, keys, dtype=torch.bool, device=device).tril(keys - queries)
    ### END SOLUTION


def padding_mask(lengths: torch.Tensor, keys: int) -> torch.Tensor:
    """Hide the padding of a batch: bool (batch, 1, 1, keys), True where there is a real token.

    Sequence b has ``lengths[b]`` real tokens, then padding; ``lengths`` (batch,) holds whole
    numbers from 0 to ``keys``. The two axes of length one stand for the heads and the queries,
    which all see the same keys. The mask lies on the device of ``lengths``.

    >>> padding_mask(torch.tensor([2, 0]), keys=3)[:, 0, 0].int()
    tensor([[1, 1, 0],
            [0, 0, 0]], dtype=torch.int32)
    """
    # TODO: compare every key's position with every length, without a loop.
    # HINT: which two rows of numbers are compared, and along which axis does each lie?
    ### BEGIN SOLUTION
    # HINT: broadcasting compares (batch, 1, 1, 1) with (keys,).
    # HINT: positions count from 0, so the last real token stands at lengths - 1.
    return torch.arange(keys, device=lengths.device) < lengths[:, None, None, None]
    ### END SOLUTION


def combine_masks(*masks: torch.Tensor | None) -> torch.Tensor | None:
    """One mask that does what all the given ones do; their shapes broadcast.

    A mask is bool (True = may look), float (added to the scores; -inf hides) or None (hides
    nothing).

    - no masks, or None throughout: None
    - bool masks alone: bool; a key is seen where every mask lets it be seen
    - a float among them: float, of the dtype that the floats together promote to; floats are
      added up, and where a bool mask says False the result is -inf

    >>> combine_masks(torch.tensor([True, False]), None, torch.tensor([0.5, 2.0]))
    tensor([0.5000,   -inf])
    """
    # TODO: fold the masks together, two at a time.
    # HINT: there are three cases for a pair: both bool, both float, one of each.
    ### BEGIN SOLUTION
    # HINT: torch.where(bool, float, -inf) hides without doing arithmetic on what it hides.
    # HINT: two bool masks combine with &, two floats with +, and None changes nothing; keep what
    # the masks so far have made in one variable.
    combined = None
    for mask in masks:
        if combined is None or mask is None:
            combined = mask if combined is None else combined
        elif combined.dtype == torch.bool and mask.dtype == torch.bool:
            combined = combined & mask
        elif combined.dtype == torch.bool:
            combined = torch.where(combined, mask, -torch.inf)
        elif mask.dtype == torch.bool:
            combined = torch.where(mask, combined, -torch.inf)
        else:
            combined = combined + mask
    return combined
    ### END SOLUTION


def scaled_dot_product_attention(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    mask: torch.Tensor | None = None,
    causal: bool = False,
    dropout: float = 0.0,
    scale: float | None = None,
) -> torch.Tensor:
    """softmax(q kᵀ · scale + mask) v, over the keys (Vaswani et al. 2017, equation 1).

    Args:
        q: queries (..., Q, d), any strides, float64, float32, bfloat16 or float16
        k: keys (..., K, d); the leading axes of q, k and v broadcast
        v: values (..., K, e)
        mask: bool (True = may look) or float (added to the scaled scores, -inf hides);
            broadcasts to (..., Q, K)
        causal: hide what lies ahead, as ``causal_mask``; together with ``mask`` both hold
        dropout: each weight is set to zero with this probability and the others divided by
            1 - dropout, whenever it is not 0: there is no train or eval here
        scale: 1 / √d unless given

    Returns (..., Q, e) in the dtype of q.

    - A query that no key is left for gets zeros; the gradients of q, k, v and a float mask are
      then zero from that row, never nan. So it does when K is 0.
    - Half-precision inputs are computed in float32; only the result is rounded.
    - It can be differentiated twice.
    - F.scaled_dot_product_attention and nn.MultiheadAttention are not called. Raises ValueError
      naming the shapes when q and k differ in d or k and v in K, and naming
      the dtype when the mask is neither bool nor floating point.
    - Runs under torch.compile(fullgraph=True): no branch may depend on a tensor's elements.

    When v is the identity matrix (K, K), the result is the weights themselves.

    >>> q, k, v = torch.tensor([[2.0]]), torch.tensor([[1.0], [1.0]]), torch.tensor([[3.0], [5.0]])
    >>> scaled_dot_product_attention(q, k, v)
    tensor([[4.]])
    """
    # TODO: check the shapes; scores, masks, softmax, dropout, mixture.
    # HINT: scale the queries, not the scores: Q·d multiplications instead of Q·K.
    # HINT: combine_masks and causal_mask already do half of the work.
    ### BEGIN SOLUTION
    # HINT: masked_fill(~mask, -inf) for a bool mask, addition for a float one; after the scale.
    # HINT: a row that is -inf throughout makes nan in softmax's backward, and replacing nan
    # afterwards comes too late: nan · 0 is nan. Make the row harmless before the softmax.
    # HINT: dead = (scores == -inf).all(-1, keepdim=True); fill those rows with 0 before the
    # softmax and with 0 again after it. masked_fill lets no gradient through where it fills.
    if q.shape[-1] != k.shape[-1]:
        raise ValueError(f"q {tuple(q.shape)} and k {tuple(k.shape)} differ in their last axis")
    if k.shape[-2] != v.shape[-2]:
        raise ValueError(f"k {tuple(k.shape)} and v {tuple(v.shape)} differ in how many keys")
    if mask is not None and not (mask.dtype == torch.bool or mask.is_floating_point()):
        raise ValueError(f"a mask is bool or floating point, not {mask.dtype}")
    dtype = q.dtype
    if dtype in (torch.float16, torch.bfloat16):
        q, k, v = q.float(), k.float(), v.float()
    if scale is None:
        scale = q.shape[-1] ** -0.5
    if causal:
        mask = combine_masks(mask, causal_mask(q.shape[-2], k.shape[-2], q.device))

    scores = (q * scale) @ k.mT
    if mask is None:
        weights = scores.softmax(-1)
    else:
        if mask.dtype == torch.bool:
            scores = scores.masked_fill(~mask, -torch.inf)
        else:
            scores = scores + mask.to(scores.dtype)
        dead = (scores == -torch.inf).all(-1, keepdim=True)
        weights = scores.masked_fill(dead, 0.0).softmax(-1).masked_fill(dead, 0.0)
    if dropout:
        weights = F.dropout(weights, dropout)
    return (weights @ v).to(dtype)
    ### END SOLUTION


class ScoreStatistics(NamedTuple):
    """What ``attention_variance`` measures."""

    raw: float
    scaled: float
    largest_raw: float
    largest_scaled: float


def attention_variance(d: int, queries: int = 512, keys: int = 32) -> ScoreStatistics:
    """Why √d: measure what softmax is given, with and without the scale.

    Draw ``queries`` queries and ``keys`` keys of ``d`` elements each, all independent and
    standard normal (torch's global generator), and compare every query with every key. Return

    - raw: the variance of all the scores q · k
    - scaled: the variance of all the scores q · k / √d
    - largest_raw: softmax each query's raw scores over the keys and take the largest weight;
      the mean of these over the queries
    - largest_scaled: the same with the scaled scores
    """
    # TODO: one matrix product; two variances and two means of maxima out of it, as floats.
    # HINT: torch.randn is standard normal, torch.rand is not.
    ### BEGIN SOLUTION
    # HINT: a score is a sum of d products, each of mean 0 and variance 1. What is its variance?
    # HINT: a weight near 1 means that softmax has picked one key and forgotten the others.
    raw = torch.randn(queries, d) @ torch.randn(keys, d).T
    scaled = raw / d**0.5
    return ScoreStatistics(
        raw=raw.var().item(),
        scaled=scaled.var().item(),
        largest_raw=raw.softmax(-1).amax(-1).mean().item(),
        largest_scaled=scaled.softmax(-1).amax(-1).mean().item(),
    )
    ### END SOLUTION


def test_two_equal_keys_share_the_weight() -> None:
    q, k = torch.tensor([[2.0]]), torch.tensor([[1.0], [1.0]])
    out = scaled_dot_product_attention(q, k, torch.tensor([[3.0], [5.0]]))
    torch.testing.assert_close(out, torch.tensor([[4.0]]))


def test_causal_mask_of_one_new_query() -> None:
    assert causal_mask(1, 4).tolist() == [[True, True, True, True]]


def test_padding_mask() -> None:
    assert padding_mask(torch.tensor([2]), 3).tolist() == [[[[True, True, False]]]]


def test_combine_masks() -> None:
    both = combine_masks(torch.tensor([True, False]), None, torch.tensor([0.5, 2.0]))
    assert both is not None
    assert both.tolist() == [0.5, -torch.inf]


def test_no_key_gives_zeros() -> None:
    q = k = v = torch.ones(2, 4)
    out = scaled_dot_product_attention(q, k, v, mask=torch.tensor([[True], [False]]))
    assert out[1].tolist() == [0, 0, 0, 0]


def test_attention_variance() -> None:
    seen = attention_variance(256)
    assert seen.raw > 100 > 2 > seen.scaled


if __name__ == "__main__":
    from harness import main

    main(__file__)
