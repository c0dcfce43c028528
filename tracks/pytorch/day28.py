"""
Day 28: Multi-head latent attention, complete
=============================================
Estimated time: 3 hours
Prerequisites: Day 22 (the KV cache), Day 27 (the components)
Lesson: lessons/day28.md

Learning objectives:
- Put the stages of day 27 together to the attention of DeepSeek-V2 and V3, weight for weight
- Keep the latent and the rope key of each token, and nothing else
- Decode without ever making a head's key or value
- Say in operations when that pays, and when it is the dearer way

    expanded:  latents ── kv_b_proj ──► k_nope, v           scores = q_nope · k_nope + ...
               (all of them, in every step)                 mixed  = weights · v

    absorbed:  q_nope ── W_UK ──► q as wide as a latent     scores = q · latent + ...
               (the new tokens only)                        mixed  = weights · latents
                                                            mixed ── W_UV ──► per head

Both compute the same: q · (W c) = (Wᵀ q) · c, and Σ w (W c) = W (Σ w c).

Hints:
- What of a token does a step need that no later token can change?
- kv_b_proj's weight holds W_UK and W_UV of all heads. Which of its rows are whose?
- With one key for all heads, heads are rows of one matrix.

Resources:
- DeepSeek-V2, 2024, section 2.1.2 and appendix C: https://arxiv.org/abs/2405.04434
- DeepSeek-V3, 2024, section 2.1.1: https://arxiv.org/abs/2412.19437
- Fast Transformer Decoding (one key for all heads), Shazeer 2019: https://arxiv.org/abs/1911.02150
- FlashMLA, DeepSeek's kernels for the absorbed form: https://github.com/deepseek-ai/FlashMLA
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn

from tracks.pytorch.day16 import causal_mask, combine_masks
from tracks.pytorch.day17 import check_mask
from tracks.pytorch.day18 import merge_heads
from tracks.pytorch.day27 import (
    MLAConfig,
    RMSNorm,
    compress_kv,
    compress_q,
    decoupled_rope,
    expand_kv,
    mla_scores,
)


class LatentCache:
    """Room for what one layer keeps of each token: its latent and its rope key, nothing else.

    ``latents`` (batch, capacity, kv_lora_rank) and ``k_rope`` (batch, capacity, rope_dim) are
    tensors, zero at first; ``length`` says how many positions hold something, the same for all
    sequences. The tensors are made once, and no other memory belongs to the cache: it takes batch ·
    capacity · (kv_lora_rank + rope_dim) elements.

    >>> cache = LatentCache(batch=1, capacity=8, kv_lora_rank=6, rope_dim=2)
    >>> latents, k_rope = cache.append(torch.ones(1, 3, 6), torch.ones(1, 3, 2))
    >>> latents.shape, k_rope.shape, cache.length, cache.nbytes
    (torch.Size([1, 3, 6]), torch.Size([1, 3, 2]), 3, 256)
    """

    def __init__(
        self,
        batch: int,
        capacity: int,
        kv_lora_rank: int,
        rope_dim: int,
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str | None = None,
    ) -> None:
        # TODO: two tensors of zeros and a number.
        # HINT: which axis of day 22's KVCache is missing here?
        raise NotImplementedError("LatentCache.__init__")

    @property
    def nbytes(self) -> int:
        """The bytes of both tensors: of the whole capacity, whatever ``length`` is."""
        # TODO: one sum.
        # HINT: a tensor knows its bytes.
        raise NotImplementedError("LatentCache.nbytes")

    def append(
        self, latent: torch.Tensor, k_rope: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Keep ``latent`` (batch, new, kv_lora_rank) and ``k_rope`` (batch, new, rope_dim), any
        strides, behind what is there.

        Returns all so far, (batch, length, ...): views of the cache. Nothing is allocated, and no
        gradient flows through a cache.

        - A latent or k_rope of another shape or dtype than the cache takes is a ValueError that
          names the argument, its shape and its dtype; the two of different lengths are one that
          names both shapes.
        - More than there is room for is a ValueError that names the length it would have and the
          capacity. After an error the cache is as it was.
        """
        # TODO: check; copy into the free part; hand out the filled part.
        # HINT: this is day 22's append with one axis less.
        raise NotImplementedError("LatentCache.append")

    def rewind(self, length: int) -> None:
        """Forget everything behind the first ``length`` positions, without touching a tensor. A
        length below 0 or beyond what is there is a ValueError that names both."""
        # TODO: check; one assignment.
        # HINT: day 22's rewind does the same.
        raise NotImplementedError("LatentCache.rewind")


def mla_mix(
    scores: torch.Tensor, v: torch.Tensor, mask: torch.Tensor | None = None
) -> torch.Tensor:
    """What follows the scores: softmax over the keys, and the mixture of the values.

    Args:
        scores: (..., heads, Q, K), float64 or float32, as mla_scores returns them
        v: (..., heads, K, e), or (..., 1, K, e): the same values for all heads; any strides,
            float64, float32, bfloat16 or float16
        mask: bool (True = may look) or float (added to the scores, -inf hides); broadcasts to the
            scores. None hides nothing: causal is whoever says so in the mask.

    Returns (..., heads, Q, e) in the dtype of v. The softmax is computed in the dtype of the
    scores; the weights may be rounded to that of v.

    - A query that no key is left for gets zeros, and K = 0 is such a case; the gradients from that
      row are zero, never nan.
    - Values that the heads share are not copied for each of them: with 16 heads, 1 query, 2,048
      keys and e = 128 in float32 and the same values for all heads, the peak is below the bytes of
      v. No Python loop over heads or the batch.
    - Gradients flow to scores and v. F.scaled_dot_product_attention is not called. It runs under
      torch.compile(fullgraph=True).
    - A mask that does not broadcast is a ValueError that names it, its shape and that of the scores
      (check_mask of day 17). So is a v whose heads are neither those of the scores nor 1, or whose
      K is another: it names the shapes of both.

    >>> scores = torch.zeros(2, 1, 2)  # two heads, one query, two keys
    >>> v = torch.tensor([[[2.0], [4.0]]])  # the same values for both
    >>> mla_mix(scores, v).flatten().tolist()
    [3.0, 3.0]
    >>> mla_mix(scores, v, torch.tensor([True, False])).flatten().tolist()
    [2.0, 2.0]
    """
    # TODO: check; mask; softmax; product, with shared values folded.
    # HINT: what does day 16 do with rows in which everything is hidden, and why before the softmax?
    raise NotImplementedError("mla_mix")


class Absorbed(NamedTuple):
    """Given: W_UK of all heads, (heads, d, c), and W_UV, (heads, e, c)."""

    keys: torch.Tensor
    values: torch.Tensor


def absorb(attention: MultiHeadLatentAttention) -> Absorbed:
    """kv_b_proj's weight as two matrices a head: one for the queries, one for the results.

        q_nope · k_nope  =  q_nope · (W_UK c)  =  (q_nope W_UK) · c
        Σ w v            =  Σ w (W_UV c)       =  W_UV (Σ w c)

    Returns ``keys`` (heads, qk_nope_head_dim, kv_lora_rank) and ``values`` (heads, v_head_dim,
    kv_lora_rank). They are views: no number is copied, a weight that is loaded or trained later is
    seen, and gradients flow into kv_b_proj.

    (Multiplied into q_b_proj and o_proj, as "absorb" may sound, they would be larger than both
    factors: 128 heads times 1536 x 512, in place of 1536 x 128 and 128 x 512.)

    >>> config = MLAConfig(hidden_size=8, num_attention_heads=2, q_lora_rank=None, kv_lora_rank=3,
    ...                    qk_nope_head_dim=4, qk_rope_head_dim=2, v_head_dim=5)
    >>> keys, values = absorb(MultiHeadLatentAttention(config))
    >>> tuple(keys.shape), tuple(values.shape)
    ((2, 4, 3), (2, 5, 3))
    """
    # TODO: heads as an axis of their own; two parts of each head's rows.
    # HINT: how did expand_kv read the outputs of kv_b_proj? Its rows lie in the same order.
    raise NotImplementedError("absorb")


class MultiHeadLatentAttention(nn.Module):
    """The attention of DeepSeek-V2 and V3, in two forms that compute the same.

    The parts have the names of the published models, so that their weights load as they are:

    - with q_lora_rank: ``q_a_proj`` (hidden_size → q_lora_rank), ``q_a_layernorm``, ``q_b_proj`` (→
      heads · qk_head_dim). Without (None): ``q_proj`` (hidden_size → heads · qk_head_dim)
    - ``kv_a_proj_with_mqa`` (hidden_size → kv_lora_rank + qk_rope_head_dim), ``kv_a_layernorm``,
      ``kv_b_proj`` (kv_lora_rank → heads · (qk_nope_head_dim + v_head_dim))
    - ``o_proj`` (heads · v_head_dim → hidden_size)

    The norms are day 27's RMSNorm with an eps of 1e-6, whatever rms_norm_eps says. The projections
    are nn.Linear; q_a_proj, kv_a_proj_with_mqa and o_proj have a bias if attention_bias is true,
    the others have none. ``config`` is an attribute. The state_dict holds the parameters above, and
    nothing else.

    >>> config = MLAConfig(hidden_size=8, num_attention_heads=2, q_lora_rank=None, kv_lora_rank=3,
    ...                    qk_nope_head_dim=4, qk_rope_head_dim=2, v_head_dim=5)
    >>> attention = MultiHeadLatentAttention(config)
    >>> x, cache = torch.randn(1, 6, 8), LatentCache(1, 16, 3, 2)
    >>> parts = [attention(x[:, i : i + 1], cache=cache, absorbed=True) for i in range(6)]
    >>> torch.allclose(torch.cat(parts, 1), attention(x), atol=1e-5)
    True
    """

    def __init__(self, config: MLAConfig) -> None:
        super().__init__()
        self.config = config
        # TODO: the parts.
        # HINT: which of the names does a model without a latent for its queries have?
        raise NotImplementedError("MultiHeadLatentAttention.__init__")

    def forward(
        self,
        x: torch.Tensor,
        positions: torch.Tensor | None = None,
        mask: torch.Tensor | None = None,
        cache: LatentCache | None = None,
        absorbed: bool = False,
    ) -> torch.Tensor:
        """New tokens attend to themselves and to all before them.

        Args:
            x: (batch, new, hidden_size), any strides
            positions: whole numbers, (new,) or (batch, new). Unless given, the tokens follow those
                in the cache, or begin at 0.
            mask: bool (True = may look) or float (added to the scores): hides more than what lies
                ahead, which is always hidden. It broadcasts to the scores (batch, heads, new, all
                so far).
            cache: what was kept of the tokens before; the new ones join them. None: there are none.
            absorbed: whether to compute in the absorbed form

        Returns (batch, new, hidden_size) in the dtype of x.

        - What a token is given depends neither on how the text is cut into calls nor on
          ``absorbed``, but for rounding: in float64 the two forms differ by less than 1e-9.
        - absorbed: nothing is made that has both an axis of heads and one of all tokens, but the
          scores and what becomes of them. With a batch of 4, 16 heads, d = e = 32, a latent of 32,
          8 rope features and 2,048 tokens in the cache, in float32, the peak of a step of one token
          is below half of the bytes of all heads' keys. No weight is copied for each sequence:
          with a latent of 64, a hidden_size of 32, a batch of 64 and 5 tokens in view the peak is
          below 16 times the bytes of kv_b_proj's weight.
        - No more FLOPs are done than attention_flops counts for each sequence, beside those of the
          projections; and the number of operators grows neither with heads nor with tokens.
        - The latent and rope key of a token are made once: only new tokens are projected.
        - No token is kept beside the cache. Without one, gradients reach all parameters in both
          forms.
        - An x that does not end in hidden_size is a ValueError that names x, its shape and
          hidden_size; a mask that does not broadcast is one that names it, its shape and that of
          the scores (check_mask of day 17). After an error the cache is as it was.
        - Runs under torch.compile(fullgraph=True). F.scaled_dot_product_attention is not called.
        """
        # TODO: positions; day 27's stages; the cache; the mask; one of the two forms; o_proj.
        # HINT: where does the cache stand in the drawing of day 27: before or after the rotation?
        # HINT: what does (batch, heads, Q, d) @ (heads, d, c) do to the weights in memory?
        raise NotImplementedError("MultiHeadLatentAttention.forward")


def attention_flops(config: MLAConfig, queries: int, keys: int, absorbed: bool) -> int:
    """What one sequence's attention costs between the projections of the new tokens and o_proj.

    ``queries`` new tokens look at ``keys`` tokens (themselves included), whose latents are there.
    Only products of matrices are counted, an addition and a multiplication as 2, hidden scores
    included, as torch.utils.flop_counter does:

    - expanded: kv_b_proj of all ``keys`` latents; scores of d and of r features; the mixture of e
    - absorbed: queries times W_UK; scores of c and of r features; the mixture of c; times W_UV

    It is arithmetic: no tensor is made.

    >>> from tracks.pytorch.day27 import DEEPSEEK_V2
    >>> [attention_flops(DEEPSEEK_V2, 1, 4096, absorbed) for absorbed in (False, True)]
    [137774497792, 1174405120]
    """
    # TODO: two sums.
    # HINT: which of the products grow with queries alone, with keys alone, and with both?
    raise NotImplementedError("attention_flops")


def small(q_lora_rank: int | None = 6) -> MLAConfig:
    """Given: sizes for the examples below."""
    return MLAConfig(
        hidden_size=12,
        num_attention_heads=3,
        q_lora_rank=q_lora_rank,
        kv_lora_rank=8,
        qk_nope_head_dim=4,
        qk_rope_head_dim=2,
        v_head_dim=5,
    )


def test_latent_cache() -> None:
    cache = LatentCache(batch=2, capacity=8, kv_lora_rank=6, rope_dim=2)
    cache.append(torch.ones(2, 3, 6), torch.ones(2, 3, 2))
    cache.rewind(1)
    latents, k_rope = cache.append(torch.zeros(2, 2, 6), torch.zeros(2, 2, 2))
    assert latents[0, :, 0].tolist() == [1.0, 0.0, 0.0]
    assert (k_rope.shape, cache.length, cache.nbytes) == ((2, 3, 2), 3, 4 * 2 * 8 * 8)


def test_mla_mix() -> None:
    scores, v = torch.randn(2, 3, 4, 5), torch.randn(2, 3, 5, 6)
    torch.testing.assert_close(mla_mix(scores, v), scores.softmax(-1) @ v)
    hidden = torch.zeros(4, 5, dtype=torch.bool)
    assert not mla_mix(scores, v, hidden).any()


def test_absorb() -> None:
    attention = MultiHeadLatentAttention(small())
    latents = torch.randn(1, 7, 8)
    k_nope, v = expand_kv(latents, attention.kv_b_proj, attention.config)
    keys, values = absorb(attention)
    torch.testing.assert_close(torch.einsum("bnc,hdc->bhnd", latents, keys), k_nope)
    torch.testing.assert_close(torch.einsum("bnc,hec->bhne", latents, values), v)


def test_both_forms_step_by_step() -> None:
    for rank in (6, None):
        attention = MultiHeadLatentAttention(small(rank)).double()
        x = torch.randn(2, 5, 12, dtype=torch.float64)
        whole = attention(x)
        torch.testing.assert_close(attention(x, absorbed=True), whole)
        cache = LatentCache(2, 8, 8, 2, dtype=torch.float64)
        steps = [attention(x[:, i : i + 1], cache=cache, absorbed=i > 2) for i in range(5)]
        torch.testing.assert_close(torch.cat(steps, 1), whole)


def test_attention_flops() -> None:
    config = small()
    assert attention_flops(config, 1, 1000, True) < attention_flops(config, 1, 1000, False)
    assert attention_flops(config, 1000, 1000, True) > attention_flops(config, 1000, 1000, False)


if __name__ == "__main__":
    from harness import main

    main(__file__)
