"""
Day 26: Multi-head latent attention, the idea
=============================================
Estimated time: 2-3 hours
Prerequisites: Day 18 (multi-head attention), Day 22 (the KV cache), Day 23 (grouped queries)
Lesson: lessons/day26.md

Learning objectives:
- Find the best short code for a set of vectors, and say for every length what it loses
- Count what attention keeps of a token: four kinds of it, and a published figure taken apart
- Build an attention that keeps one short vector of a token, from which all heads make theirs
- Turn a trained multi-head attention into one

    multi-head: kept are all keys and values      latent: kept is c, and nothing else

    x ──┬── k_proj ──► k  (heads · d)             x ── down_proj ──► c  (latent)
        └── v_proj ──► v  (heads · d)                                │
                                                       ┌─────────────┴────────────┐
                                                       k_up                       v_up
                                                       ▼                          ▼
                                                       k  (heads · d)   v  (heads · d)

Today's attention has no positions: a rotation gets in the way of what makes the idea fast. Day 27
says why and brings them in, day 28 leaves k and v out altogether.

Hints:
- A matrix of rank r is a product of a tall one and a wide one. How many numbers do these have?
- Do the sums for one token and one layer first. What do heads share, what do keys and values?
- What is a projection followed by a projection?

Resources:
- DeepSeek-V2, 2024, section 2.1 and 3.2.3: https://arxiv.org/abs/2405.04434
- DeepSeek LLM, 2024, table 2 (the sizes of the 67B model): https://arxiv.org/abs/2401.02954
- The approximation of one matrix by another of lower rank, Eckart and Young 1936:
  https://doi.org/10.1007/BF02288367
- TransMLA, Meng et al. 2025 (from grouped to latent attention): https://arxiv.org/abs/2502.07864
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import nn

from tracks.pytorch.day16 import scaled_dot_product_attention
from tracks.pytorch.day17 import check_mask
from tracks.pytorch.day18 import MultiHeadAttention, merge_heads, split_heads
from tracks.pytorch.day20 import check_features


class LowRank(NamedTuple):
    """Given: short codes of some vectors, and the way back: vectors ≈ latents @ up."""

    latents: torch.Tensor
    up: torch.Tensor


def low_rank(kv: torch.Tensor, rank: int) -> LowRank:
    """The best approximation of the rows of ``kv`` by ``rank`` numbers each (Eckart and Young).

    Args:
        kv: (..., n, features), any strides, float64, float32, bfloat16 or float16: n vectors, such
            as the keys and values of n tokens side by side
        rank: from 1 to the smaller of n and features

    Returns ``latents`` (..., n, rank) and ``up`` (..., rank, features) in the dtype of kv. No
    product of matrices of these shapes is nearer to kv, by the sum of the squared differences.
    The rows of ``up`` are orthonormal, and latents = kv @ up.mT: the same ``up`` makes the code of
    a vector that comes later, and the vector of its code. Which basis of the best directions the
    rows are, signs included, is left to you.

    - The vectors are taken as they are: no mean is removed.
    - All of torch.linalg may be used. Half precision is worked out in float32 and rounded last.
    - No matrix (n, n) or (features, features) is made where the other size is small: for
      (2048, 8), and for (8, 2048), the peak stays below 2048 · 2048 numbers.
    - A rank out of its range is a ValueError that names it and the shape of kv.

    >>> latents, up = low_rank(torch.tensor([[3.0, 4.0], [6.0, 8.0], [0.0, 0.0]]), rank=1)
    >>> [round(abs(x), 3) for x in latents[:, 0].tolist()], (latents @ up).round().tolist()[1]
    ([5.0, 10.0, 0.0], [6.0, 8.0])
    """
    # TODO: check; decompose; keep the first ``rank`` directions; the latents.
    # HINT: which decomposition orders directions by how much of the matrix lies along each?
    raise NotImplementedError("low_rank")


def reconstruction_error(kv: torch.Tensor) -> torch.Tensor:
    """For every rank, how much of ``kv`` its best approximation misses.

        error[r] = ‖kv - the nearest matrix of rank r‖ / ‖kv‖        (Frobenius norms)

    ``kv`` (..., n, features), any strides, in one of low_rank's dtypes. Returns (..., m + 1) for
    the ranks 0 to m, the smaller of n and features, in the dtype of kv, or float32 for half
    precision. error[0] is 1 and error[m] is 0; where all of kv is zero, nothing is lost at any
    rank: 0 everywhere.

    - No approximation has to be built: the errors follow from the singular values s, and
      ‖kv - nearest of rank r‖² is the sum of s_i² over those that are left out. The number of
      operators does not grow with m, and so there is no Python loop over ranks.
    - Small errors count: in float64 one of 1e-7 has three right digits.

    >>> kv = torch.diag(torch.tensor([12.0, 4.0, 3.0]))
    >>> [round(x, 3) for x in reconstruction_error(kv).tolist()]
    [1.0, 0.385, 0.231, 0.0]
    """
    # TODO: singular values; what is left out from each on; its share.
    # HINT: add the squares up from which end? Try 1 + 1e-17 - 1.
    raise NotImplementedError("reconstruction_error")


@dataclass(frozen=True)
class Config:
    """Given: the sizes that decide how much attention keeps of a token.

    ``heads`` of queries with ``head_dim`` features each; ``kv_heads`` heads of keys and values
    where these are shared in groups. ``latent`` is the size of the shared code (d_c in the paper),
    and ``rope_dim`` that of the one key with positions that all heads share (d_h^R, day 27).
    """

    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    latent: int = 0
    rope_dim: int = 0


# Given: published sizes. DeepSeek-V2 keeps latents; its kv_heads are 67B's, to compare with.
DEEPSEEK_67B = Config(layers=95, heads=64, kv_heads=8, head_dim=128)
DEEPSEEK_V2 = Config(layers=60, heads=128, kv_heads=8, head_dim=128, latent=512, rope_dim=64)


def cache_elements(config: Config) -> dict[str, int]:
    """How many numbers four kinds of attention keep of one token in one layer.

    - "MHA": a key and a value for each of ``heads``
    - "GQA": a key and a value for each of ``kv_heads``
    - "MQA": one key and one value
    - "MLA": one latent, from which both the keys and the values of all heads are made, and one key
      with positions, which all heads share as well

    The dictionary has these names in this order; a config whose ``latent`` is 0 has no "MLA". It is
    arithmetic: no tensor is made.

    >>> cache_elements(DEEPSEEK_V2)
    {'MHA': 32768, 'GQA': 2048, 'MQA': 256, 'MLA': 576}
    """
    # TODO: three products, and one sum.
    # HINT: which of the sizes does a latent attention not multiply by the number of heads?
    raise NotImplementedError("cache_elements")


class Cache(NamedTuple):
    """Given: a model's sizes, its kind of attention ("MHA", "GQA", "MQA" or "MLA"), and how many
    bits each number takes that it keeps (on average: a quantised cache may have 6).
    """

    config: Config
    kind: str
    bits: float = 16


def cache_saving(before: Cache, after: Cache) -> float:
    """Which share of the memory for a token ``after`` saves: 0.75 where a quarter is left.

    The memory is that of all layers, in bits. Where ``after`` needs more, the share is negative. A
    kind that cache_elements does not give for the config is a ValueError that names the kind.

    >>> round(cache_saving(Cache(DEEPSEEK_67B, "GQA"), Cache(DEEPSEEK_67B, "MQA")), 4)
    0.875
    >>> round(cache_saving(Cache(DEEPSEEK_67B, "GQA", 16), Cache(DEEPSEEK_67B, "GQA", 4)), 4)
    0.75
    """
    # TODO: bits of a token for each of the two; one quotient.
    # HINT: in what can two models differ, beside their kind of attention?
    raise NotImplementedError("cache_saving")


class SimpleLatentAttention(nn.Module):
    """Self-attention that keeps one short vector of a token (DeepSeek-V2, section 2.1.2).

        c = down(x)      k_h = k_up_h(c)      v_h = v_up_h(c)

    Args:
        dim: size of the tokens and of the result
        heads: how many, at least 1
        latent: size of c, at least 1
        head_dim: size d of a head; dim / heads unless given
        bias: whether q_proj, k_up, v_up and out_proj have one. down_proj has none in any case.
        dropout: on the weights, in training mode only

    ``q_proj`` (dim → heads · d), ``down_proj`` (dim → latent), ``k_up`` and ``v_up`` (latent →
    heads · d) and ``out_proj`` (heads · d → dim) are nn.Linear; the heads lie side by side, as
    split_heads of day 18 has them. ``dim``, ``heads``, ``latent``, ``head_dim`` and ``dropout`` are
    attributes.

    ValueError: heads below 1, and without head_dim a dim that heads does not divide (naming both);
    a latent below 1 (naming it).

    >>> attention = SimpleLatentAttention(dim=8, heads=2, latent=3)
    >>> attention(torch.zeros(3, 5, 8)).shape, attention.compress(torch.zeros(3, 5, 8)).shape
    (torch.Size([3, 5, 8]), torch.Size([3, 5, 3]))
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        latent: int,
        *,
        head_dim: int | None = None,
        bias: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        # TODO: check; the attributes; the five projections.
        # HINT: follow the drawing of the day: what goes into each arrow, and what comes out?
        raise NotImplementedError("SimpleLatentAttention.__init__")

    def compress(self, x: torch.Tensor) -> torch.Tensor:
        """What is kept of each token: ``x`` (..., length, dim) → latents (..., length, latent).

        An x that does not end in dim is a ValueError that names x, its shape and dim
        (check_features of day 20).
        """
        # TODO: check; one projection.
        # HINT: which of the five?
        raise NotImplementedError("SimpleLatentAttention.compress")

    def expand(self, latents: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(..., length, latent) → keys and values, each (..., heads, length, d).

        Latents that do not end in ``latent`` features are a ValueError that names the argument
        (latents), its shape and ``latent``.
        """
        # TODO: check, project, split.
        # HINT: both come from the same thing.
        raise NotImplementedError("SimpleLatentAttention.expand")

    def attend(
        self,
        x: torch.Tensor,
        latents: torch.Tensor,
        mask: torch.Tensor | None,
        causal: bool,
    ) -> torch.Tensor:
        """Given: the tokens ``x`` look at the tokens that ``latents`` stand for."""
        q = split_heads(self.q_proj(x), self.heads)
        k, v = self.expand(latents)
        check_mask(mask, (*q.shape[:-1], k.shape[-2]))
        dropout = self.dropout if self.training else 0.0
        mixed = scaled_dot_product_attention(q, k, v, mask=mask, causal=causal, dropout=dropout)
        result: torch.Tensor = self.out_proj(merge_heads(mixed))
        return result

    def forward(
        self, x: torch.Tensor, mask: torch.Tensor | None = None, causal: bool = False
    ) -> torch.Tensor:
        """``x`` (..., length, dim), any strides → the same shape and dtype.

        ``mask`` and ``causal`` are MultiHeadAttention's, for scores (..., heads, length, length).
        It is called as a block calls its attention, and so can stand in the place of one. It runs
        under torch.compile(fullgraph=True). F.scaled_dot_product_attention is not called.
        """
        # TODO: compress; attend.
        # HINT: attend does what is left when the latents are there.
        raise NotImplementedError("SimpleLatentAttention.forward")

    def step(
        self, x: torch.Tensor, past: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """New tokens attend to themselves and to all before them, of which latents were kept.

        Args:
            x: (..., new, dim), the new tokens
            past: (..., n, latent), what step returned for the tokens before; None: there are none

        Returns the result (..., new, dim), for each new token what forward with causal=True gives
        for the whole text, and the latents (..., n + new, latent) of all tokens, to be handed to
        the next step. Without gradients nothing else stays in memory. ``past`` is not changed. One
        that does not end in ``latent`` features is a ValueError that names past, its shape and
        ``latent``.
        """
        # TODO: check; the new latents behind the old; attend.
        # HINT: where does day 16's causal=True put the last query when there are more keys?
        raise NotImplementedError("SimpleLatentAttention.step")


def mha_to_mla(
    attention: MultiHeadAttention, latent: int, tokens: torch.Tensor | None = None
) -> SimpleLatentAttention:
    """A latent attention that is as near as it can be to a trained multi-head one.

    Stack the weights of k_proj and v_proj: W (2 · heads · d, dim). A token x has the key and value
    W x, biases apart, and these vectors are approximated by ``latent`` numbers each.

    Args:
        attention: for tokens of one size: its kdim and vdim are dim. It is not changed.
        latent: the size of the code
        tokens: (..., dim) in the dtype of the weights, n of them in all. The vectors W x of these
            tokens lose as little as is possible at all: their code is low_rank's, and what is
            missing is reconstruction_error's. None: every direction of x counts alike, as if the
            tokens were the dim columns of the identity; then W itself loses as little as possible.

    Returns a SimpleLatentAttention with the dim, heads, head_dim and dropout of ``attention``, with
    biases if it has some, and in its dtype, on its device, and in its mode (training or eval).
    down_proj maps x to the code of W x, and k_up and v_up make keys and values of it: q_proj,
    out_proj and the biases of k_proj and v_proj are taken over. All parameters require a gradient,
    and none shares memory with those of ``attention``.

    If the vectors W x of the tokens span no more than ``latent`` directions, the result computes
    for these tokens what ``attention`` does.

    ValueError: tokens that do not end in dim (naming tokens, their shape and dim); a latent out of
    low_rank's range for a matrix of n vectors with 2 · heads · d features (low_rank's message).

    >>> small = mha_to_mla(MultiHeadAttention(dim=8, heads=2), latent=3)
    >>> tuple(small.down_proj.weight.shape), tuple(small.v_up.weight.shape)
    ((3, 8), (8, 3))
    """
    # TODO: W; the vectors of the tokens; their low_rank; five weights and their biases.
    # HINT: low_rank says latents = kv @ up.mT. If a row of kv is W x, which matrix makes c of x?
    raise NotImplementedError("mha_to_mla")


def test_low_rank() -> None:
    kv = torch.randn(20, 3) @ torch.randn(3, 8)
    latents, up = low_rank(kv, 3)
    assert (latents.shape, up.shape) == ((20, 3), (3, 8))
    torch.testing.assert_close(latents @ up, kv, atol=1e-4, rtol=1e-4)


def test_reconstruction_error() -> None:
    kv = torch.randn(20, 8)
    errors = reconstruction_error(kv)
    assert errors.shape == (9,)
    latents, up = low_rank(kv, 5)
    torch.testing.assert_close((kv - latents @ up).norm() / kv.norm(), errors[5])


def test_cache_elements() -> None:
    kept = cache_elements(DEEPSEEK_V2)
    assert kept["MLA"] == 576
    assert round(100 * kept["MLA"] / kept["MHA"], 1) == 1.8


def test_cache_saving() -> None:
    saved = cache_saving(Cache(DEEPSEEK_67B, "GQA"), Cache(DEEPSEEK_V2, "MLA", bits=6))
    assert round(100 * saved, 1) == 93.3


def test_latent_attention_step_by_step() -> None:
    attention = SimpleLatentAttention(dim=8, heads=2, latent=3)
    x = torch.randn(2, 5, 8)
    past, steps = None, []
    for t in range(5):
        result, past = attention.step(x[:, t : t + 1], past)
        steps.append(result)
    torch.testing.assert_close(torch.cat(steps, 1), attention(x, causal=True))
    assert past is not None
    assert past.shape == (2, 5, 3)


def test_mha_to_mla() -> None:
    attention = MultiHeadAttention(dim=8, heads=2)
    x = torch.randn(2, 5, 8)
    torch.testing.assert_close(mha_to_mla(attention, latent=8)(x), attention(x))


if __name__ == "__main__":
    from harness import main

    main(__file__)
