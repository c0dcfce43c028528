"""
Day 18: Multi-head attention
============================
Estimated time: 2-3 hours
Prerequisites: Day 16 (scaled dot-product attention), Day 17 (self-attention), Day 5 (nn.Module)
Lesson: lessons/day18.md

Learning objectives:
- Let several attentions work side by side in one pass, without a loop over the heads
- Say which axis belongs to whom when heads are split off and merged again
- Attend to another sequence, of another length and another size
- Take over the weights of nn.MultiheadAttention, and remove heads that do nothing

A head is an attention of its own over a part of the features. All heads are computed at once:
to day 16's function they are one more axis in front.

    query (B, Q, dim) ── q_proj ──► (B, Q, heads·d) ── split ──► (B, heads, Q, d) ─┐
    key   (B, K, kdim) ─ k_proj ──► (B, K, heads·d) ── split ──► (B, heads, K, d) ─┤ attention
    value (B, K, vdim) ─ v_proj ──► (B, K, heads·d) ── split ──► (B, heads, K, d) ─┤
                                                                                   │
    result (B, Q, dim) ◄─ out_proj ─ (B, Q, heads·d) ◄─ merge ── (B, heads, Q, d) ◄┘

Days 20 to 24 build on this module. The batch always comes first, and masks are day 16's:
True = may look.

Hints:
- split_heads and merge_heads first: everything else uses them.
- Features of one head lie side by side: head 0 has the first d of them, head 1 the next d.
- The axes of the masks and those of the scores (B, heads, Q, K) meet from the right.

Resources:
- Attention Is All You Need, Vaswani et al. 2017, section 3.2.2: https://arxiv.org/abs/1706.03762
- nn.MultiheadAttention:
  https://docs.pytorch.org/docs/stable/generated/torch.nn.MultiheadAttention.html
- Are Sixteen Heads Really Better than One?, Michel, Levy and Neubig 2019:
  https://arxiv.org/abs/1905.10650
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from tracks.pytorch.day16 import scaled_dot_product_attention
from tracks.pytorch.day17 import check_mask


def split_heads(x: torch.Tensor, heads: int) -> torch.Tensor:
    """(..., length, heads · d) → (..., heads, length, d), without a copy.

    Head h gets the features h · d to (h + 1) · d - 1 of every position. ``x`` has any strides; the
    result shares its memory. A last axis that ``heads`` does not divide, or ``heads`` below 1, is
    a ValueError that names the shape of x and ``heads``.

    >>> split_heads(torch.tensor([[1, 2, 3, 4], [5, 6, 7, 8]]), heads=2).tolist()
    [[[1, 2], [5, 6]], [[3, 4], [7, 8]]]
    """
    # TODO: check; make two axes of the last one; bring the heads to the front of the positions.
    # HINT: which order do (heads, d) have in memory, and where do the positions stand?
    ### BEGIN SOLUTION
    # HINT: reshaping straight to (heads, length, d) mixes positions with features.
    # HINT: x.unflatten(-1, (heads, d)) is (..., length, heads, d); transpose two of its axes.
    if heads < 1 or x.shape[-1] % heads:
        raise ValueError(f"the last axis of x {tuple(x.shape)} cannot be split into {heads} heads")
    return x.unflatten(-1, (heads, x.shape[-1] // heads)).transpose(-3, -2)
    ### END SOLUTION


def merge_heads(x: torch.Tensor) -> torch.Tensor:
    """(..., heads, length, d) → (..., length, heads · d): what split_heads did, undone.

    ``x`` has any strides. At most one copy is made.

    >>> merge_heads(torch.tensor([[[1, 2], [5, 6]], [[3, 4], [7, 8]]])).tolist()
    [[1, 2, 3, 4], [5, 6, 7, 8]]
    """
    # TODO: the same two steps, backwards.
    # HINT: which two axes have to be neighbours before they can become one?
    ### BEGIN SOLUTION
    # HINT: transpose first, so that heads and d stand at the end in this order.
    # HINT: flatten(-2) makes one axis of the last two, and copies where strides leave no choice.
    return x.transpose(-3, -2).flatten(-2)
    ### END SOLUTION


class MultiHeadAttention(nn.Module):
    """Several attentions side by side (Vaswani et al. 2017, section 3.2.2).

        head_h = attention(query W_qh, key W_kh, value W_vh)
        result = [head_0, head_1, ...] W_o

    Args:
        dim: size of the queries and of the result
        heads: how many, at least 1
        kdim, vdim: size of the keys and the values; ``dim`` unless given
        head_dim: size d of a head; dim / heads unless given
        bias: whether the four projections have one
        dropout: on the weights, in training mode only

    Four nn.Linear hold the weights of all heads, head after head, as split_heads has them:
    ``q_proj`` (dim → heads · d), ``k_proj`` (kdim → heads · d), ``v_proj`` (vdim → heads · d) and
    ``out_proj`` (heads · d → dim). ``dim``, ``heads``, ``head_dim`` and ``dropout`` are attributes.
    Heads below 1, and without head_dim a dim that heads does not divide, are a ValueError that
    names both.

    >>> attention = MultiHeadAttention(dim=8, heads=2)
    >>> attention(torch.zeros(3, 5, 8)).shape
    torch.Size([3, 5, 8])
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        *,
        kdim: int | None = None,
        vdim: int | None = None,
        head_dim: int | None = None,
        bias: bool = True,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        # TODO: check dim and heads; the attributes; the four projections.
        # HINT: which of the sizes stay dim when head_dim is given, and which do not?
        ### BEGIN SOLUTION
        # HINT: one nn.Linear makes the queries of all heads; nn.Linear(inputs, outputs, bias).
        # HINT: three of them end in heads * head_dim features, and out_proj begins there.
        if heads < 1 or (head_dim is None and dim % heads):
            raise ValueError(f"dim {dim} cannot be shared out among {heads} heads")
        self.dim, self.heads, self.dropout = dim, heads, dropout
        self.head_dim = dim // heads if head_dim is None else head_dim
        inner = heads * self.head_dim
        self.q_proj = nn.Linear(dim, inner, bias)
        self.k_proj = nn.Linear(dim if kdim is None else kdim, inner, bias)
        self.v_proj = nn.Linear(dim if vdim is None else vdim, inner, bias)
        self.out_proj = nn.Linear(inner, dim, bias)
        ### END SOLUTION

    def project(
        self,
        query: torch.Tensor,
        key: torch.Tensor | None = None,
        value: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """What the heads compare and mix: (..., heads, Q, d), then (..., heads, K, d) twice.

        Without ``key`` it is ``query`` (self-attention); without ``value`` it is the key. A last
        axis that does not fit to its projection is a ValueError that names the argument (query,
        key or value), its shape, and the shape of the projection's weight. A key and a value of
        different lengths are one that names both shapes.
        """
        # TODO: who stands in for whom; the checks; project and split.
        # HINT: in cross-attention with one memory, which of the arguments are given?
        ### BEGIN SOLUTION
        # HINT: value falls back on the key that is used, so the key is settled first.
        # HINT: layer.weight of an nn.Linear is (outputs, inputs); x has to end in inputs.
        key = query if key is None else key
        value = key if value is None else value
        for name, x, layer in (
            ("query", query, self.q_proj),
            ("key", key, self.k_proj),
            ("value", value, self.v_proj),
        ):
            if x.shape[-1] != layer.in_features:
                raise ValueError(
                    f"{name} {tuple(x.shape)} does not end in the last axis of "
                    f"{name[0]}_proj.weight {tuple(layer.weight.shape)}"
                )
        if key.shape[-2] != value.shape[-2]:
            raise ValueError(
                f"key {tuple(key.shape)} and value {tuple(value.shape)} differ in length"
            )
        return (
            split_heads(self.q_proj(query), self.heads),
            split_heads(self.k_proj(key), self.heads),
            split_heads(self.v_proj(value), self.heads),
        )
        ### END SOLUTION

    def forward(
        self,
        query: torch.Tensor,
        key: torch.Tensor | None = None,
        value: torch.Tensor | None = None,
        mask: torch.Tensor | None = None,
        causal: bool = False,
        need_weights: bool = False,
    ) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        """Attend, and bring the heads together again.

        Args:
            query: (..., Q, dim), any strides; with or without leading axes, such as the batch
            key: (..., K, kdim), or None: the query
            value: (..., K, vdim), or None: the key
            mask: bool (True = may look) or float (added to the scores); broadcasts to the scores
                (..., heads, Q, K). day 16's padding_mask fits as it is. A mask for each sequence
                of the batch, (B, Q, K), is given as mask[:, None].
            causal: hide what lies ahead, as day 16 does
            need_weights: also return the weights

        Returns (..., Q, dim); with need_weights a pair, the second (..., heads, Q, K): the weights
        of every head, as they were used (in training, after dropout), and dtype as the first.

        - One attention for all heads: no Python loop over heads, nor over the batch.
        - A query with no key left gets weights of zero, so its result is out_proj's bias.
        - A mask that does not broadcast to the scores is a ValueError that names it, its shape
          and that of the scores: call day 17's check_mask(mask, shape of the scores).
        - Runs under torch.compile(fullgraph=True). F.scaled_dot_product_attention and
          nn.MultiheadAttention are not called.
        """
        # TODO: project, check the mask, attend, merge, project; the weights if asked for.
        # HINT: what are the shapes of the scores, and when may dropout be more than 0?
        # HINT: what does attention return when the values are the identity matrix?
        ### BEGIN SOLUTION
        # HINT: self.training says whether dropout counts; day 16's function does not know.
        # HINT: two calls would drop different weights. Values v and the identity side by side,
        # torch.cat([v, eye], -1), give results and weights in one call.
        # HINT: the leading axes of the scores are torch.broadcast_shapes of those of q and k.
        q, k, v = self.project(query, key, value)
        leading = torch.broadcast_shapes(q.shape[:-2], k.shape[:-2])
        check_mask(mask, (*leading, q.shape[-2], k.shape[-2]))
        if need_weights:
            eye = torch.eye(k.shape[-2], dtype=v.dtype, device=v.device)
            v = torch.cat([v, eye.expand(*v.shape[:-1], -1)], -1)
        dropout = self.dropout if self.training else 0.0
        mixed = scaled_dot_product_attention(q, k, v, mask=mask, causal=causal, dropout=dropout)
        result: torch.Tensor = self.out_proj(merge_heads(mixed[..., : self.head_dim]))
        return (result, mixed[..., self.head_dim :]) if need_weights else result
        ### END SOLUTION


def from_torch(module: nn.MultiheadAttention) -> MultiHeadAttention:
    """A MultiHeadAttention that computes what ``module`` computes, with copies of its weights.

    - ``in_proj_weight`` (3 · dim, dim) holds the projections of queries, keys and values, one
      below the other. Where kdim or vdim is not dim it is None, and ``q_proj_weight``,
      ``k_proj_weight`` and ``v_proj_weight`` stand in for it. ``in_proj_bias`` (3 · dim,) or None.
    - Dropout, training or eval mode, dtype and device are those of ``module``. All parameters of
      the result require a gradient.
    - ``batch_first`` says nothing about the weights: the result takes (batch, length, dim).
    - A module with ``add_bias_kv`` or ``add_zero_attn`` attends to keys that nobody gave: a
      ValueError that names the option.

    ``module`` is not changed, and shares no memory with the result.

    >>> theirs = nn.MultiheadAttention(8, 2, batch_first=True)
    >>> x = torch.randn(3, 5, 8)
    >>> torch.allclose(from_torch(theirs)(x), theirs(x, x, x)[0], atol=1e-6)
    True
    """
    # TODO: refuse; make a module of the same sizes; copy the four projections.
    # HINT: print(module.state_dict().keys()) once with kdim and once without. What differs?
    ### BEGIN SOLUTION
    # HINT: in_proj_weight.chunk(3) gives the three projections, in_proj_bias.chunk(3) their biases.
    # HINT: collect a state_dict with the names of your own module; load_state_dict copies it.
    # HINT: ours.to(module.out_proj.weight) takes over dtype and device, ours.train(...) the mode.
    if module.bias_k is not None:
        raise ValueError("add_bias_kv adds a learnt key and value, which MultiHeadAttention lacks")
    if module.add_zero_attn:
        raise ValueError("add_zero_attn adds a key of zeros, which MultiHeadAttention lacks")
    if module.in_proj_weight is None:
        weights = [module.q_proj_weight, module.k_proj_weight, module.v_proj_weight]
    else:
        weights = list(module.in_proj_weight.chunk(3))
    state = {f"{name}_proj.weight": w for name, w in zip("qkv", weights, strict=True)}
    if module.in_proj_bias is not None:
        biases = module.in_proj_bias.chunk(3)
        state |= {f"{name}_proj.bias": b for name, b in zip("qkv", biases, strict=True)}
    state |= {f"out_proj.{name}": p for name, p in module.out_proj.named_parameters()}
    ours = MultiHeadAttention(
        module.embed_dim,
        module.num_heads,
        kdim=module.kdim,
        vdim=module.vdim,
        bias=module.in_proj_bias is not None,
        dropout=module.dropout,
    ).to(module.out_proj.weight)
    ours.load_state_dict(state)
    return ours.train(module.training)
    ### END SOLUTION


def prune_heads(attention: MultiHeadAttention, heads: Iterable[int]) -> MultiHeadAttention:
    """A smaller module without the given ``heads`` (Michel, Levy and Neubig 2019).

    It computes what ``attention`` would if these heads gave zeros: their rows leave q_proj, k_proj
    and v_proj, their columns leave out_proj, and out_proj's bias stays. ``head_dim`` stays as it
    is, so that heads · head_dim is no longer dim.

    - ``heads``: any iterable of numbers from 0 to attention.heads - 1; one given twice counts
      once. Any other number, a negative one too, is a ValueError that names it. So is removing
      all heads, and its message says how many there are.
    - Sizes, dropout, training or eval mode, dtype and device are kept. All parameters of the
      result require a gradient. ``attention`` is not changed, and shares no memory with it.

    >>> small = prune_heads(MultiHeadAttention(dim=8, heads=4), [1, 3])
    >>> small.heads, small.head_dim, tuple(small.q_proj.weight.shape)
    (2, 2, (4, 8))
    """
    # TODO: which heads stay; which rows and columns are theirs; a module with these.
    # HINT: which rows of q_proj.weight make head h, and which columns of out_proj.weight read it?
    ### BEGIN SOLUTION
    # HINT: torch.arange(heads · d).view(heads, d)[kept].flatten() are the rows that stay.
    # HINT: index weights and biases of three projections by these rows, out_proj's weight by
    # these columns, and load them into a module with fewer heads and the same head_dim.
    gone = set(heads)
    for head in gone:
        if not 0 <= head < attention.heads:
            raise ValueError(f"there is no head {head}: they are 0 to {attention.heads - 1}")
    kept = [head for head in range(attention.heads) if head not in gone]
    if not kept:
        raise ValueError(f"all {attention.heads} heads would be removed: one has to stay")
    d, state = attention.head_dim, attention.state_dict()
    rows = torch.arange(attention.heads * d).view(attention.heads, d)[kept].flatten()
    for name, p in state.items():
        if name == "out_proj.weight":
            state[name] = p[:, rows]
        elif name != "out_proj.bias":
            state[name] = p[rows]
    small = MultiHeadAttention(
        attention.dim,
        len(kept),
        kdim=attention.k_proj.in_features,
        vdim=attention.v_proj.in_features,
        head_dim=d,
        bias=attention.q_proj.bias is not None,
        dropout=attention.dropout,
    ).to(attention.out_proj.weight)
    small.load_state_dict(state)
    return small.train(attention.training)
    ### END SOLUTION


def test_split_and_merge() -> None:
    x = torch.arange(24).view(1, 3, 8)
    parts = split_heads(x, heads=4)
    assert parts.shape == (1, 4, 3, 2)
    assert parts[0, 1, 0].tolist() == [2, 3]
    assert torch.equal(merge_heads(parts), x)


def test_self_and_cross() -> None:
    attention = MultiHeadAttention(dim=8, heads=2, kdim=6, vdim=6)
    result, weights = attention(torch.randn(3, 5, 8), torch.randn(3, 7, 6), need_weights=True)
    assert (result.shape, weights.shape) == ((3, 5, 8), (3, 2, 5, 7))
    torch.testing.assert_close(weights.sum(-1), torch.ones(3, 2, 5))


def test_from_torch() -> None:
    theirs = nn.MultiheadAttention(8, 2, batch_first=True)
    x = torch.randn(3, 5, 8)
    torch.testing.assert_close(from_torch(theirs)(x), theirs(x, x, x)[0])


def test_prune_heads() -> None:
    small = prune_heads(MultiHeadAttention(dim=8, heads=4), [1, 3])
    assert (small.heads, small.head_dim) == (2, 2)
    assert small(torch.randn(3, 5, 8)).shape == (3, 5, 8)


if __name__ == "__main__":
    from harness import main

    main(__file__)
