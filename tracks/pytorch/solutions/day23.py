"""
Day 23: Grouped-query attention
===============================
Estimated time: 2-3 hours
Prerequisites: Day 18 (multi-head attention), Day 21 (GPT), Day 22 (the KV cache)
Lesson: lessons/day23.md

Learning objectives:
- Let several heads of queries share one head of keys and values
- Do so without making a single copy of a key, and prove it by the bytes
- Turn a trained multi-head model into a grouped one
- Say what it saves: the cache and its traffic, and what it does not

    multi-head            grouped-query              multi-query (day 24)

    q0 q1 q2 q3           q0 q1   q2 q3              q0 q1 q2 q3
    |  |  |  |             \\  /     \\  /                \\ |  | /
    k0 k1 k2 k3             k0      k1                    k0
    v0 v1 v2 v3             v0      v1                    v0

Neighbouring heads of queries share: with ``heads`` heads of queries and ``kv_heads`` of keys and
values, query head h reads from head h // (heads / kv_heads).

Hints:
- To the keys it makes no difference from which head a query comes, or from which position.
- Write the shapes beside each step: (..., heads, Q, d), (..., kv_heads, K, d).
- Masks have to follow the queries wherever these go.

Resources:
- GQA, Ainslie et al. 2023: https://arxiv.org/abs/2305.13245
- Fast Transformer Decoding, Shazeer 2019 (multi-query): https://arxiv.org/abs/1911.02150
- Llama 2, Touvron et al. 2023, appendix A.2.1 (which of them, measured):
  https://arxiv.org/abs/2307.09288
"""

from __future__ import annotations

import copy

import torch
from torch import nn

from tracks.pytorch.day16 import causal_mask, combine_masks, scaled_dot_product_attention
from tracks.pytorch.day17 import check_mask
from tracks.pytorch.day18 import merge_heads, split_heads
from tracks.pytorch.day20 import check_features
from tracks.pytorch.day21 import GPT
from tracks.pytorch.day22 import CachedAttention, KVCache, with_cache


def repeat_kv(x: torch.Tensor, times: int) -> torch.Tensor:
    """Every head ``times`` times in a row: (..., kv_heads, length, d) → (..., heads, length, d).

    heads = kv_heads · times; head h of the result is head h // times of x. With it, keys of any
    number of heads fit day 18's attention: the plain way, and what you compare the next with.

    - ``x``: any strides. Where times is 1 the result shares the memory of x; otherwise one copy is
      made, the result, and nothing beside it.
    - It can be differentiated. Tensor.repeat_interleave, Tensor.repeat and Tensor.tile are not
      called.
    - times below 1 is a ValueError that names it.

    >>> repeat_kv(torch.tensor([[[1.0, 2.0]], [[3.0, 4.0]]]), 2).tolist()
    [[[1.0, 2.0]], [[1.0, 2.0]], [[3.0, 4.0]], [[3.0, 4.0]]]
    """
    # TODO: check; an axis more behind the heads; make it wide, and one axis of the two.
    # HINT: which method makes an axis of one wide without a copy, and what does it do to strides?
    ### BEGIN SOLUTION
    # HINT: x.unsqueeze(-3) is (..., kv_heads, 1, length, d); expand it, then flatten two axes.
    # HINT: flatten(-4, -3) copies where it must; with times = 1 it does not have to.
    if times < 1:
        raise ValueError(f"times is {times}: every head is there once at least")
    wide = x.unsqueeze(-3).expand(*x.shape[:-2], times, *x.shape[-2:])
    return wide.flatten(-4, -3)
    ### END SOLUTION


def grouped_attention(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    mask: torch.Tensor | None = None,
    causal: bool = False,
    dropout: float = 0.0,
) -> torch.Tensor:
    """day 16's attention where heads of queries share heads of keys and values.

    Args:
        q: (..., heads, Q, d), any strides, float64, float32, bfloat16 or float16
        k: (..., kv_heads, K, d); kv_heads divides heads; head h of q reads head h // (heads /
            kv_heads) of k and v
        v: (..., kv_heads, K, e)
        mask: bool (True = may look) or float (added to the scores); broadcasts to the scores
            (..., heads, Q, K): of q's heads
        causal, dropout: as in day 16, ``causal`` aligned at the bottom right

    Returns (..., heads, Q, e) in the dtype of q: what day 16's attention gives for repeat_kv of k
    and v, with its rules for rows without a key, for half precision and for derivatives.

    - No head of k or v is repeated in memory. With 16 heads, 2 of keys and values, 1 query, 4,096
      keys and d = e = 64 in float32, contiguous, the peak is below the bytes of k and v together.
    - No Python loop over heads or the batch.
    - F.scaled_dot_product_attention and repeat_kv's banned methods are not called. It runs under
      torch.compile(fullgraph=True).
    - ValueError, each naming the shapes of both: k and v of different numbers of heads; heads that
      kv_heads does not divide (q and k); a mask that does not broadcast (it and the scores:
      check_mask of day 17).

    >>> q = torch.zeros(4, 1, 2)
    >>> k, v = torch.zeros(2, 3, 2), torch.tensor([1.0, 5.0]).view(2, 1, 1).expand(2, 3, 1)
    >>> grouped_attention(q, k, v).flatten().tolist()
    [1.0, 1.0, 5.0, 5.0]
    """
    # TODO: check; fold the heads of a group into the queries, the mask likewise; attend; unfold.
    # HINT: two heads of three queries each share their keys. How many rows of scores is that?
    ### BEGIN SOLUTION
    # HINT: q.unflatten(-3, (kv_heads, group)).flatten(-3, -2) is (..., kv_heads, group · Q, d).
    # HINT: causal compares positions, which folding hides: make it part of the mask before.
    # HINT: expand the mask to (..., heads, Q, K), which gives it the axes that it lacks, and fold
    # it as you fold q.
    heads, queries, keys = q.shape[-3], q.shape[-2], k.shape[-2]
    shared = k.shape[-3]
    if v.shape[-3] != shared:
        raise ValueError(f"k {tuple(k.shape)} and v {tuple(v.shape)} differ in how many heads")
    if shared < 1 or heads % shared:
        raise ValueError(
            f"the heads of q {tuple(q.shape)} cannot share those of k {tuple(k.shape)} evenly"
        )
    leading = torch.broadcast_shapes(q.shape[:-3], k.shape[:-3])
    check_mask(mask, (*leading, heads, queries, keys))
    if causal:
        mask = combine_masks(mask, causal_mask(queries, keys, q.device))
    group = heads // shared
    if mask is not None:
        mask = mask.expand(*mask.shape[:-3], heads, queries, keys)
        mask = mask.unflatten(-3, (shared, group)).flatten(-3, -2)
    q = q.unflatten(-3, (shared, group)).flatten(-3, -2)
    mixed = scaled_dot_product_attention(q, k, v, mask=mask, dropout=dropout)
    return mixed.unflatten(-2, (group, queries)).flatten(-4, -3)
    ### END SOLUTION


class GroupedQueryAttention(nn.Module):
    """Self-attention with fewer heads for keys and values (Ainslie et al. 2023).

    Args:
        dim: size of the tokens and of the result
        heads: of the queries
        kv_heads: of keys and values; divides heads
        head_dim: size d of a head; dim / heads unless given
        bias: whether the four projections have one
        dropout: on the weights, in training mode only

    ``q_proj`` (dim → heads · d), ``k_proj`` and ``v_proj`` (dim → kv_heads · d) and ``out_proj``
    (heads · d → dim) are nn.Linear. ``dim``, ``heads``, ``kv_heads``, ``head_dim`` and ``dropout``
    are attributes. With kv_heads = heads it is day 18's MultiHeadAttention, weight for weight.

    ValueError: heads or kv_heads below 1, and heads that kv_heads does not divide (naming both);
    without head_dim a dim that heads does not divide (naming both).

    >>> attention = GroupedQueryAttention(dim=8, heads=4, kv_heads=2)
    >>> attention(torch.zeros(3, 5, 8)).shape, tuple(attention.k_proj.weight.shape)
    (torch.Size([3, 5, 8]), (4, 8))
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        kv_heads: int,
        *,
        head_dim: int | None = None,
        bias: bool = True,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        # TODO: check; the attributes; the four projections.
        # HINT: which of the four have to do with keys and values?
        ### BEGIN SOLUTION
        # HINT: MultiHeadAttention's __init__ of day 18, with a second inner size.
        # HINT: k_proj and v_proj end in kv_heads * head_dim features, q_proj in heads * head_dim.
        if kv_heads < 1 or heads < 1 or heads % kv_heads:
            raise ValueError(f"{heads} heads of queries cannot share {kv_heads} heads evenly")
        if head_dim is None and dim % heads:
            raise ValueError(f"dim {dim} cannot be shared out among {heads} heads")
        self.dim, self.heads, self.kv_heads, self.dropout = dim, heads, kv_heads, dropout
        self.head_dim = dim // heads if head_dim is None else head_dim
        inner, shared = heads * self.head_dim, kv_heads * self.head_dim
        self.q_proj = nn.Linear(dim, inner, bias)
        self.k_proj = nn.Linear(dim, shared, bias)
        self.v_proj = nn.Linear(dim, shared, bias)
        self.out_proj = nn.Linear(inner, dim, bias)
        ### END SOLUTION

    def project(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """(..., length, dim) → (..., heads, length, d), then (..., kv_heads, length, d) twice.

        An x that does not end in dim is a ValueError that names x, its shape and dim
        (check_features).
        """
        # TODO: check, project, split.
        # HINT: into how many heads is each of the three split?
        ### BEGIN SOLUTION
        # HINT: split_heads of day 18 takes the number of heads.
        # HINT: split_heads(self.k_proj(x), self.kv_heads) are the keys.
        check_features("x", x, self.dim)
        return (
            split_heads(self.q_proj(x), self.heads),
            split_heads(self.k_proj(x), self.kv_heads),
            split_heads(self.v_proj(x), self.kv_heads),
        )
        ### END SOLUTION

    def forward(
        self, x: torch.Tensor, mask: torch.Tensor | None = None, causal: bool = False
    ) -> torch.Tensor:
        """``x`` (..., length, dim), any strides → the same shape and dtype.

        ``mask`` and ``causal`` are MultiHeadAttention's, for scores (..., heads, length, length).
        It is called as a block calls its attention, and so can stand in the place of one. It runs
        under torch.compile(fullgraph=True).
        """
        # TODO: project, attend, merge, project.
        # HINT: when does dropout count?
        ### BEGIN SOLUTION
        # HINT: self.training says whether dropout counts; grouped_attention does not know.
        # HINT: out_proj(merge_heads(...)) is the way back.
        q, k, v = self.project(x)
        dropout = self.dropout if self.training else 0.0
        mixed = grouped_attention(q, k, v, mask, causal, dropout)
        result: torch.Tensor = self.out_proj(merge_heads(mixed))
        return result
        ### END SOLUTION


def mha_to_gqa(state: dict[str, torch.Tensor], heads: int, groups: int) -> dict[str, torch.Tensor]:
    """A multi-head model's weights as those of a grouped one (Ainslie et al. 2023, section 2.1).

    The ``heads`` heads of every k_proj and v_proj are split into ``groups`` groups of neighbours,
    and each group is replaced by the mean of its heads.

    Args:
        state: a state_dict of a MultiHeadAttention, or of any model that holds some. Weights
            (heads · d, inputs) and biases (heads · d,) whose name is ``k_proj`` or ``v_proj`` with
            or without something before it ("stack.blocks.0.attention.k_proj.weight") become
            (groups · d, inputs) and (groups · d,).
        groups: how many heads of keys and values there will be

    Returns a new dictionary with the names of ``state``; everything else in it is taken over.
    ``state`` is not changed. Dtypes are kept; half precision is averaged in float32. Where the
    heads of each group are equal the grouped model computes what the other did; where they are
    not it does not, and is trained for a while (the paper: 5 % of the original steps).

    ValueError: groups below 1 or not a divisor of heads (naming both); rows that ``heads`` does not
    divide (naming the parameter, its shape, and heads).

    >>> state = {"k_proj.weight": torch.tensor([[1.0], [3.0], [5.0], [9.0]])}
    >>> mha_to_gqa(state, heads=4, groups=2)["k_proj.weight"].tolist()
    [[2.0], [7.0]]
    """
    # TODO: check; for each parameter of keys and values: groups, heads, d; mean; rows again.
    # HINT: the rows of a head lie side by side. Which rows of k_proj.weight are averaged?
    ### BEGIN SOLUTION
    # HINT: "a.b.k_proj.weight".split(".")[-2] is "k_proj".
    # HINT: p.unflatten(0, (groups, heads // groups, d)).mean(1).flatten(0, 1), where d is the
    # number of rows by heads.
    if groups < 1 or heads < 1 or heads % groups:
        raise ValueError(f"{heads} heads cannot be split into {groups} groups")
    new = {}
    for name, p in state.items():
        if name.split(".")[-2:-1] in (["k_proj"], ["v_proj"]):
            if p.shape[0] % heads:
                raise ValueError(f"{name} {tuple(p.shape)} does not hold {heads} heads")
            parts = p.unflatten(0, (groups, heads // groups, p.shape[0] // heads))
            p = parts.mean(1).flatten(0, 1)  # torch adds half precision up in float32
        new[name] = p
    return new
    ### END SOLUTION


def grouped_gpt(model: GPT, groups: int) -> GPT:
    """A copy of ``model`` whose blocks attend with ``groups`` heads of keys and values.

    Each block's ``attention`` (a MultiHeadAttention of day 18) gives way to a
    GroupedQueryAttention of the same dim, heads, head_dim, bias and dropout, with the weights of
    mha_to_gqa. Everything else is copied. Dtype, device, training or eval mode are kept; all
    parameters require a gradient. ``model`` is not changed and shares no memory with the copy.

    >>> small = grouped_gpt(GPT(vocab=10, context=16, dim=8, depth=2, heads=4), groups=2)
    >>> tuple(small.stack.blocks[1].attention.k_proj.weight.shape)
    (4, 8)
    """
    # TODO: copy; exchange the attentions; load.
    # HINT: what copies a module with all that is in it?
    ### BEGIN SOLUTION
    # HINT: copy.deepcopy(model); then block.attention = GroupedQueryAttention(...) for each block.
    # HINT: mha_to_gqa(old.state_dict(), old.heads, groups) is what the new one loads; it is brought
    # to the old one's dtype and device by .to(old.out_proj.weight).
    new = copy.deepcopy(model)
    for block in new.stack.blocks:
        old = block.attention
        grouped = GroupedQueryAttention(
            old.dim,
            old.heads,
            groups,
            head_dim=old.head_dim,
            bias=old.q_proj.bias is not None,
            dropout=old.dropout,
        ).to(old.out_proj.weight)
        grouped.load_state_dict(mha_to_gqa(old.state_dict(), old.heads, groups))
        block.attention = grouped.train(old.training)
    return new.requires_grad_()
    ### END SOLUTION


class CachedGroupedAttention(CachedAttention):
    """Given: day 22's attention with a cache, for a GroupedQueryAttention."""

    def attend(
        self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor | None
    ) -> torch.Tensor:
        return grouped_attention(q, k, v, mask, causal=True)


def cached_gqa(model: GPT, batch: int, capacity: int) -> tuple[GPT, list[KVCache]]:
    """A grouped model that writes into caches, and these caches, one for each block.

    ``model`` is what grouped_gpt gives. The caches are day 22's KVCache for ``batch`` sequences of
    up to ``capacity`` tokens, with the heads that are to be kept: keys and values take heads /
    kv_heads times less than those of the multi-head model. Their dtype and device are those of the
    model's weights. The model returned is day 22's with_cache(model, caches, kind), with
    CachedGroupedAttention as the kind.

    >>> model = grouped_gpt(GPT(vocab=10, context=16, dim=8, depth=2, heads=4), groups=1)
    >>> _, caches = cached_gqa(model, batch=3, capacity=16)
    >>> len(caches), tuple(caches[0].keys.shape)
    (2, (3, 1, 16, 2))
    """
    # TODO: a cache for each block; with_cache.
    # HINT: which of a block's two numbers of heads has to be remembered?
    ### BEGIN SOLUTION
    # HINT: block.attention.kv_heads and .head_dim; dtype and device of model.tokens.weight.
    # HINT: KVCache(batch, kv_heads, capacity, head_dim, dtype=..., device=...), and last
    # with_cache(model, caches, CachedGroupedAttention).
    weight = model.tokens.weight
    caches = [
        KVCache(
            batch,
            block.attention.kv_heads,
            capacity,
            block.attention.head_dim,
            dtype=weight.dtype,
            device=weight.device,
        )
        for block in model.stack.blocks
    ]
    return with_cache(model, caches, CachedGroupedAttention), caches
    ### END SOLUTION


def test_repeat_kv() -> None:
    x = torch.randn(2, 3, 5, 4)
    assert torch.equal(repeat_kv(x, 2), x.repeat_interleave(2, dim=1))


def test_grouped_attention() -> None:
    q, k, v = torch.randn(2, 6, 5, 4), torch.randn(2, 3, 5, 4), torch.randn(2, 3, 5, 4)
    plain = scaled_dot_product_attention(q, repeat_kv(k, 2), repeat_kv(v, 2), causal=True)
    torch.testing.assert_close(grouped_attention(q, k, v, causal=True), plain)


def test_grouped_query_attention() -> None:
    attention = GroupedQueryAttention(dim=8, heads=4, kv_heads=2)
    q, k, v = attention.project(torch.randn(3, 5, 8))
    assert (q.shape, k.shape, v.shape) == ((3, 4, 5, 2), (3, 2, 5, 2), (3, 2, 5, 2))


def test_mha_to_gqa() -> None:
    state = {"a.v_proj.bias": torch.tensor([1.0, 2.0, 3.0, 6.0]), "a.q_proj.bias": torch.ones(4)}
    new = mha_to_gqa(state, heads=2, groups=1)
    assert new["a.v_proj.bias"].tolist() == [2.0, 4.0]
    assert new["a.q_proj.bias"].tolist() == [1.0] * 4


def test_a_grouped_model_with_a_cache() -> None:
    model = grouped_gpt(GPT(vocab=10, context=16, dim=8, depth=2, heads=4), groups=2).eval()
    ids = torch.tensor([[3, 1, 4, 1, 5]])
    cached, caches = cached_gqa(model, batch=1, capacity=16)
    steps = [cached(ids[:, i : i + 1], positions=torch.tensor([i])) for i in range(5)]
    torch.testing.assert_close(torch.cat(steps, 1), model(ids))
    assert caches[1].length == 5


if __name__ == "__main__":
    from harness import main

    main(__file__)
