"""
Day 17: Self-attention
======================
Estimated time: 2-3 hours
Prerequisites: Day 16 (scaled dot-product attention), Day 5 (nn.Module)
Lesson: lessons/day17.md

Learning objectives:
- Let the tokens of one sequence look at each other, with queries, keys and values of their own
- Keep the future out, and prove that it is out
- Attend within a window without ever forming the scores of all pairs
- Follow attention through several layers back to the input

Each token makes a query (what it looks for), a key (what it is found by) and a value (what it
hands over). Who may look at whom is a matter of the mask alone (x = may look):

    everyone            causal              causal, window of 2

    x x x x x           x . . . .           x . . . .
    x x x x x           x x . . .           x x . . .
    x x x x x           x x x . .           . x x . .
    x x x x x           x x x x .           . . x x .
    x x x x x           x x x x x           . . . x x

    SelfAttention       CausalSelfAttention     local_attention

Hints:
- Day 16's functions do the arithmetic; today is about who gives what to whom.
- local_attention: draw the band for 6 tokens and a window of 3, and cut it into blocks of 3 rows.
- How can you tell from outside whether token 5 has an influence on token 3?

Resources:
- Attention Is All You Need, Vaswani et al. 2017: https://arxiv.org/abs/1706.03762
- Longformer, Beltagy, Peters and Cohan 2020 (windows): https://arxiv.org/abs/2004.05150
- Mistral 7B, Jiang et al. 2023 (windows in a language model): https://arxiv.org/abs/2310.06825
- Quantifying Attention Flow in Transformers, Abnar and Zuidema 2020 (rollout):
  https://arxiv.org/abs/2005.00928
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from tracks.pytorch.day16 import causal_mask, combine_masks, scaled_dot_product_attention


def check_mask(mask: torch.Tensor | None, scores: tuple[int, ...]) -> None:
    """Given: a ValueError unless ``mask`` broadcasts to scores of this shape (None does)."""
    if mask is None:
        return
    pairs = zip(reversed(mask.shape), reversed(scores), strict=False)
    if mask.dim() > len(scores) or any(m not in (1, s) for m, s in pairs):
        raise ValueError(f"mask {tuple(mask.shape)} does not fit to the scores {tuple(scores)}")


class SelfAttention(nn.Module):
    """Every token of a sequence looks at every token of it, itself too; one head.

        attention(q_proj(x), k_proj(x), v_proj(x)), the attention being day 16's

    Args:
        dim: size of the tokens
        head_dim: size of queries, keys, values and result; ``dim`` unless given
        bias: whether the projections have one

    ``q_proj``, ``k_proj`` and ``v_proj`` are nn.Linear, dim → head_dim. What the order of the
    tokens is, it does not know: tokens in another order give the same results in that order.

    >>> SelfAttention(dim=8, head_dim=4)(torch.zeros(2, 5, 8)).shape
    torch.Size([2, 5, 4])
    """

    def __init__(self, dim: int, head_dim: int | None = None, bias: bool = True) -> None:
        super().__init__()
        # TODO: the three projections.
        # HINT: which of the two sizes do all three begin with, and which do they end in?
        ### BEGIN SOLUTION
        # HINT: nn.Linear(inputs, outputs, bias) is one of them.
        # HINT: head_dim = dim if head_dim is None else head_dim, then three nn.Linear.
        head_dim = dim if head_dim is None else head_dim
        self.q_proj = nn.Linear(dim, head_dim, bias)
        self.k_proj = nn.Linear(dim, head_dim, bias)
        self.v_proj = nn.Linear(dim, head_dim, bias)
        ### END SOLUTION

    def forward(
        self, x: torch.Tensor, mask: torch.Tensor | None = None, need_weights: bool = False
    ) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        """Attend from every token of ``x`` to every token of ``x``.

        Args:
            x: (..., length, dim), any strides
            mask: bool (True = may look) or float (added to the scores); broadcasts to the scores
                (..., length, length). Of day 16's padding_mask, take [:, 0].
            need_weights: also return the weights

        Returns (..., length, head_dim); with need_weights a pair, the second the weights (...,
        length, length) in the dtype of x. A token that may look at nothing gets zeros.

        - An x that does not end in dim is a ValueError that names x, its shape, and that of a
          projection's weight. A mask that does not fit is one that names it, its shape and that of
          the scores: call check_mask.
        - Runs under torch.compile(fullgraph=True). F.scaled_dot_product_attention and
          nn.MultiheadAttention are not called.
        """
        # TODO: check, project three times, attend; the weights if asked for.
        # HINT: what does day 16's function return when the values are the identity matrix?
        ### BEGIN SOLUTION
        # HINT: the scores are (*x.shape[:-1], x.shape[-2]): that is what check_mask asks for.
        # HINT: torch.eye(length, dtype=q.dtype, device=q.device) in the place of v gives weights.
        if x.shape[-1] != self.q_proj.in_features:
            raise ValueError(
                f"x {tuple(x.shape)} does not end in the last axis of "
                f"q_proj.weight {tuple(self.q_proj.weight.shape)}"
            )
        check_mask(mask, (*x.shape[:-1], x.shape[-2]))
        q, k, v = self.q_proj(x), self.k_proj(x), self.v_proj(x)
        result = scaled_dot_product_attention(q, k, v, mask)
        if not need_weights:
            return result
        eye = torch.eye(x.shape[-2], dtype=q.dtype, device=q.device)
        return result, scaled_dot_product_attention(q, k, eye, mask)
        ### END SOLUTION


class CausalSelfAttention(SelfAttention):
    """Self-attention in which no token sees what comes after it.

    Token t attends to the tokens 0 to t. So a change of token t changes nothing before t, and the
    results of the first t tokens are what they would be without the others: a language model may
    be trained on all positions at once, and its past never has to be computed anew.

    Arguments, parameters and everything else are those of SelfAttention; where a ``mask`` is given
    too, both hold, be it bool or float.

    >>> _, weights = CausalSelfAttention(dim=8)(torch.randn(3, 8), need_weights=True)
    >>> (weights > 0).int()
    tensor([[1, 0, 0],
            [1, 1, 0],
            [1, 1, 1]], dtype=torch.int32)
    """

    def forward(
        self, x: torch.Tensor, mask: torch.Tensor | None = None, need_weights: bool = False
    ) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        # TODO: SelfAttention with one mask more.
        # HINT: which two functions of day 16 make a triangle, and one mask of two?
        ### BEGIN SOLUTION
        # HINT: super().forward does all the rest; check the given mask before you combine it.
        # HINT: combine_masks(mask, causal_mask(length, length, x.device)) is the mask to hand on.
        length = x.shape[-2]
        check_mask(mask, (*x.shape[:-1], length))
        both = combine_masks(mask, causal_mask(length, length, x.device))
        return super().forward(x, both, need_weights)
        ### END SOLUTION


def local_attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, window: int) -> torch.Tensor:
    """Causal attention in which each token sees ``window`` tokens: itself and those just before.

    Query i attends to the keys max(0, i - window + 1) to i. The values are those of day 16's
    attention with a mask of that band; but the scores of all pairs are never formed.

    Args:
        q, k: (..., length, d), any strides, float64, float32, bfloat16 or float16
        v: (..., length, e); the dtype and the leading axes of all three are the same
        window: at least 1; may be larger than the length

    Returns (..., length, e) in the dtype of q.

    - Memory grows with length · window, not with length². At length 2048, window 16 and d = e = 8
      the peak is at most a quarter of 2048 · 2048 numbers. A window beyond the length costs no more
      than one of the length: at length 8, d = e = 8 and window 1000, at most 100 kB.
    - No Python loop over positions or blocks.
    - It can be differentiated; no gradient is nan. Half precision as in day 16.
    - Runs under torch.compile(fullgraph=True). F.scaled_dot_product_attention and
      nn.MultiheadAttention are not called.
    - ValueError that names the window if it is below 1, and one that names the shapes where q and
      k differ, or k and v in anything but the last axis.

    >>> q = k = torch.zeros(4, 1)
    >>> local_attention(q, k, torch.tensor([[2.0], [4.0], [6.0], [8.0]]), window=2).T
    tensor([[2., 3., 5., 7.]])
    """
    # TODO: cut queries into blocks of `window`, keys and values into pairs of blocks; attend.
    # HINT: the queries 6, 7, 8 of a window of 3: which keys does any of them see?
    ### BEGIN SOLUTION
    # HINT: the queries of one block see keys of their own block and the one before, so two blocks
    # of keys do for one of queries. Blocks are one more axis in front for day 16's attention.
    # HINT: F.pad fills the last block up, and puts one block of zeros before the first key;
    # k.unfold(-2, 2 * window, window) then is (..., blocks, d, 2 * window), a view.
    # HINT: in a block, query i stands at j = i + window among the 2 · window keys. It sees j and
    # the window - 1 before: i < j <= i + window. Block 0 has no keys at j < window.
    if window < 1:
        raise ValueError(f"a window holds at least the token itself, not {window} tokens")
    if q.shape != k.shape:
        raise ValueError(f"q {tuple(q.shape)} and k {tuple(k.shape)} are not of one shape")
    if k.shape[:-1] != v.shape[:-1]:
        raise ValueError(f"k {tuple(k.shape)} and v {tuple(v.shape)} differ before the last axis")
    length = q.shape[-2]
    if length == 0:
        return v
    window = min(window, length)
    blocks = -(-length // window)
    fill = blocks * window - length

    q = F.pad(q, (0, 0, 0, fill)).unflatten(-2, (blocks, window))
    k = F.pad(k, (0, 0, window, fill)).unfold(-2, 2 * window, window).mT
    v = F.pad(v, (0, 0, window, fill)).unfold(-2, 2 * window, window).mT

    i = torch.arange(window, device=q.device)[:, None]
    j = torch.arange(2 * window, device=q.device)
    band = (i < j) & (j <= i + window)
    real = (torch.arange(blocks, device=q.device)[:, None, None] > 0) | (j >= window)
    out = scaled_dot_product_attention(q, k, v, mask=band & real)
    return out.flatten(-3, -2)[..., :length, :]
    ### END SOLUTION


def attention_rollout(maps: Sequence[torch.Tensor]) -> torch.Tensor:
    """How much of each input token has come into each token after several layers.

    A layer adds what it attends to to what was there. So its flow is A = W + I, W being its
    weights, every row divided by its sum; and the flow through layers 1 to n is A_n ... A_2 A_1
    (Abnar and Zuidema 2020, section 3).

    Args:
        maps: the weights of the layers, the first layer first, each (..., length, length): a row a
            token that looks, a column one that is looked at. Those of several heads are averaged
            before. A row may be all zeros (a token that saw nothing): its flow is to itself.

    Returns (..., length, length), of the dtype of the maps: row i says what token i is made of, and
    sums to one. Half precision is computed in float32 and rounded once.

    - Gradients flow to the maps.
    - No maps at all is a ValueError. So is a map that is not square, with its shape, and maps of
      different shapes, with both.

    >>> look_back = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    >>> attention_rollout([look_back, look_back])
    tensor([[1.0000, 0.0000],
            [0.7500, 0.2500]])
    """
    # TODO: check; the flow of each layer; their product in the right order.
    # HINT: a token of layer 2 is a mixture of layer 1's, and these are mixtures of the input's.
    ### BEGIN SOLUTION
    # HINT: flow = w + torch.eye(length), then flow / flow.sum(-1, keepdim=True).
    # HINT: rollout = flow @ rollout for each layer in turn, the identity being the start.
    if len(maps) == 0:
        raise ValueError("attention_rollout needs the map of at least one layer, and maps is empty")
    shape, dtype = maps[0].shape, maps[0].dtype
    if len(shape) < 2 or shape[-1] != shape[-2]:
        raise ValueError(f"a map is (..., length, length), not {tuple(shape)}")
    for w in maps:
        if w.shape != shape:
            raise ValueError(f"maps {tuple(shape)} and {tuple(w.shape)} are not of one shape")
    wide = torch.promote_types(dtype, torch.float32)
    eye = torch.eye(shape[-1], dtype=wide, device=maps[0].device)
    rollout = eye
    for w in maps:
        flow = w + eye  # in the dtype of eye, which is the wider one
        rollout = flow / flow.sum(-1, keepdim=True) @ rollout
    return rollout.to(dtype)
    ### END SOLUTION


def test_self_attention() -> None:
    result, weights = SelfAttention(dim=8, head_dim=4)(torch.randn(2, 5, 8), need_weights=True)
    assert (result.shape, weights.shape) == ((2, 5, 4), (2, 5, 5))
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 5))


def test_the_future_does_not_leak() -> None:
    attention, x = CausalSelfAttention(dim=8), torch.randn(6, 8)
    changed = x.clone()
    changed[4] += 1
    before, after = attention(x), attention(changed)
    torch.testing.assert_close(after[:4], before[:4])
    assert not torch.allclose(after[4:], before[4:])


def test_local_attention() -> None:
    q = k = torch.zeros(4, 1)
    out = local_attention(q, k, torch.tensor([[2.0], [4.0], [6.0], [8.0]]), window=2)
    torch.testing.assert_close(out, torch.tensor([[2.0], [3.0], [5.0], [7.0]]))


def test_rollout() -> None:
    look_back = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    found = attention_rollout([look_back, look_back])
    torch.testing.assert_close(found, torch.tensor([[1.0, 0.0], [0.75, 0.25]]))


if __name__ == "__main__":
    from harness import main

    main(__file__)
