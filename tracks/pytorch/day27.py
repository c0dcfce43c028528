"""
Day 27: Multi-head latent attention, its components
===================================================
Estimated time: 2-3 hours
Prerequisites: Day 19 (RoPE and YaRN), Day 23 (shared keys), Day 26 (the latent)
Lesson: lessons/day27.md

Learning objectives:
- Say why a rotation and a latent do not go together, and what DeepSeek does about it
- Take a layer of DeepSeek-V2 apart into stages, each on plain tensors
- Find the two places in which YaRN's mscale counts, and the one width that sets the scale
- Share one key among all heads without copying it to any of them

    x ── q_a_proj ── norm ── q_b_proj ──┬──────────────► q_nope   (heads, d)
                                        └── rotated ───► q_rope   (heads, r)

    x ── kv_a_proj_with_mqa ──┬── norm ──► latent        (c)      ┐ kept of
                              └── rotated ─► k_rope      (r)      ┘ a token
              latent ── kv_b_proj ──┬──────────────────► k_nope   (heads, d)
                                    └──────────────────► v        (heads, e)

    score of head h  =  (q_nope_h · k_nope_h  +  q_rope_h · k_rope) · scale

Weights have the names of the published models. Today's functions take the layers as arguments;
day 28 makes them the parts of a module.

Hints:
- In which order do the rows of kv_b_proj lie: heads first, or keys and values first?
- Which of the vectors above has no axis of heads?
- day 19 has both the rotation and YaRN's frequencies. What of it does DeepSeek change?

Resources:
- DeepSeek-V2, 2024, section 2.1 and appendix C (all formulas): https://arxiv.org/abs/2405.04434
- DeepSeek-V3, 2024, section 2.1.1: https://arxiv.org/abs/2412.19437
- RoFormer (RoPE), Su et al. 2021: https://arxiv.org/abs/2104.09864
- YaRN, Peng et al. 2023, section 3.4 (why mscale): https://arxiv.org/abs/2309.00071
- RMSNorm, Zhang and Sennrich 2019: https://arxiv.org/abs/1910.07467
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import nn

from tracks.pytorch import day14
from tracks.pytorch.day14 import check_last_axis
from tracks.pytorch.day18 import split_heads
from tracks.pytorch.day19 import rope, rope_frequencies, rope_scale
from tracks.pytorch.day20 import check_features


@dataclass(frozen=True, kw_only=True)
class MLAConfig:
    """Given: the sizes of an attention, under the names in a DeepSeek model's config.json.

    A head's query and key have ``qk_nope_head_dim`` features without and ``qk_rope_head_dim``
    with a position (d and r above), its value ``v_head_dim`` (e). The latent has ``kv_lora_rank``
    features (c). ``q_lora_rank`` is the size of the queries' latent, None where they have none.
    """

    hidden_size: int
    num_attention_heads: int
    q_lora_rank: int | None
    kv_lora_rank: int
    qk_nope_head_dim: int
    qk_rope_head_dim: int
    v_head_dim: int
    rope_theta: float = 10_000.0
    rope_scaling: dict[str, Any] | None = None
    max_position_embeddings: int = 4096
    rms_norm_eps: float = 1e-6
    attention_bias: bool = False
    rope_interleave: bool = True

    @property
    def qk_head_dim(self) -> int:
        """Features of a whole query or key of one head."""
        return self.qk_nope_head_dim + self.qk_rope_head_dim


# Given: DeepSeek-V2's attention (V3's is the same but for hidden_size=7168 and mscale 1.0).
DEEPSEEK_V2 = MLAConfig(
    hidden_size=5120,
    num_attention_heads=128,
    q_lora_rank=1536,
    kv_lora_rank=512,
    qk_nope_head_dim=128,
    qk_rope_head_dim=64,
    v_head_dim=128,
    max_position_embeddings=163_840,
    rope_scaling={
        "type": "yarn",
        "factor": 40,
        "original_max_position_embeddings": 4096,
        "beta_fast": 32,
        "beta_slow": 1,
        "mscale": 0.707,
        "mscale_all_dim": 0.707,
    },
)


class Yarn(NamedTuple):
    """Given: what ``rope_scaling`` says, with the defaults of what it leaves out.

    ``trained``, ``slow`` and ``fast`` are those of day 19's rope_scale; an mscale of 0 is not set.
    """

    factor: float
    trained: int
    slow: float
    fast: float
    mscale: float
    mscale_all_dim: float


def yarn_of(config: MLAConfig) -> Yarn | None:
    """Given: the scaling of a configuration, or None where positions are not scaled.

    A kind of scaling other than YaRN is a ValueError that names it.
    """
    scaling = config.rope_scaling
    if scaling is None:
        return None
    kind = scaling.get("rope_type", scaling.get("type", "default"))
    if kind == "default":
        return None
    if kind != "yarn":
        raise ValueError(f"rope_scaling is of the kind {kind!r}: only 'yarn' is known")
    return Yarn(
        scaling["factor"],
        scaling.get("original_max_position_embeddings") or config.max_position_embeddings,
        scaling.get("beta_slow") or 1,
        scaling.get("beta_fast") or 32,
        scaling.get("mscale") or 0,
        scaling.get("mscale_all_dim") or 0,
    )


def mscale(factor: float, weight: float = 1.0) -> float:
    """Given: YaRN's correction for a text ``factor`` times as long, 0.1 · weight · ln(factor) + 1.

    >>> mscale(1.0, 0.707), round(mscale(40.0, 0.707), 4)
    (1.0, 1.2608)
    """
    return 0.1 * weight * math.log(factor) + 1


class RMSNorm(day14.RMSNorm):
    """day 14's RMSNorm, rounded where the published models round it.

        x / √(mean of x² + eps) · weight

    In half precision the mean and the quotient are worked out in float32, as on day 14. But then
    the quotient is rounded to the dtype of x *before* it is multiplied by the weight, and the
    product is rounded once more. (day 14 rounds once, at the end. That is nearer to the truth,
    and differs in the last bit for many numbers.) The test looks at numbers for which any way of
    doing so in float32 gives the same bits.

    In float32 and float64 the two are the same but for the order of products. Shapes, strides,
    the ValueError and the dtype of the result, which is that of x, are day 14's; so are ``dim``,
    ``eps`` and ``weight``. F.rms_norm is not called.

    >>> norm = RMSNorm(2).bfloat16()
    >>> _ = nn.init.constant_(norm.weight, 1.171875)
    >>> x = torch.tensor([3.0, 4.0], dtype=torch.bfloat16)  # 3 / √12.5 · 1.171875 is 0.9944
    >>> norm(x).tolist(), day14.RMSNorm.forward(norm, x).tolist()
    ([0.9921875, 1.328125], [0.99609375, 1.328125])
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # TODO: day 14's forward, with one cast more.
        # HINT: which dtype has the vector that meets the weight?
        raise NotImplementedError("RMSNorm.forward")


class Compressed(NamedTuple):
    """Given: what comes of a token's keys and values before there are any heads."""

    latent: torch.Tensor
    k_rope: torch.Tensor


def compress_kv(x: torch.Tensor, down: nn.Module, norm: nn.Module, config: MLAConfig) -> Compressed:
    """One layer makes the latent and the key that will have a position (equations 9 and 15).

    Args:
        x: (..., length, hidden_size), any strides
        down: ``kv_a_proj_with_mqa``, hidden_size → kv_lora_rank + qk_rope_head_dim. Its first
            kv_lora_rank outputs are the latent, the rest is the key.
        norm: ``kv_a_layernorm``, for kv_lora_rank features

    Returns ``latent`` (..., length, kv_lora_rank), normalised, which is how it will be kept, and
    ``k_rope`` (..., length, qk_rope_head_dim), neither normalised nor turned yet. An x that does
    not end in hidden_size is a ValueError that names x, its shape and hidden_size (check_features
    of day 20). ``down`` is called once. Gradients flow to x and to the weights of both layers.

    >>> config = MLAConfig(hidden_size=8, num_attention_heads=2, q_lora_rank=None, kv_lora_rank=3,
    ...                    qk_nope_head_dim=4, qk_rope_head_dim=2, v_head_dim=5)
    >>> latent, k_rope = compress_kv(torch.zeros(1, 7, 8), nn.Linear(8, 5), RMSNorm(3), config)
    >>> latent.shape, k_rope.shape
    (torch.Size([1, 7, 3]), torch.Size([1, 7, 2]))
    """
    # TODO: check; one product; two parts, of which one is normalised.
    # HINT: what would happen to the rope key if the norm stood before the split?
    raise NotImplementedError("compress_kv")


def expand_kv(
    latents: torch.Tensor, up: nn.Module, config: MLAConfig
) -> tuple[torch.Tensor, torch.Tensor]:
    """The keys without positions and the values of all heads (equations 10, 11 and 42).

    Args:
        latents: (..., length, kv_lora_rank), normalised, any strides
        up: ``kv_b_proj``, kv_lora_rank → heads · (qk_nope_head_dim + v_head_dim). Head after head:
            first a head's key, then its value, then the next head's key.

    Returns ``k_nope`` (..., heads, length, qk_nope_head_dim) and ``v`` (..., heads, length,
    v_head_dim). Latents that do not end in kv_lora_rank are a ValueError that names latents, their
    shape and kv_lora_rank. ``up`` is called once, and nothing is copied beside. Gradients flow to
    latents and to the weight of up.
    """
    # TODO: check; one product; heads; two parts of each head.
    # HINT: kv_b_proj of 2 heads, keys of 1 and values of 2: k v v k v v. What is the second head's?
    raise NotImplementedError("expand_kv")


def compress_q(
    x: torch.Tensor,
    down: nn.Module | None,
    norm: nn.Module | None,
    up: nn.Module,
    config: MLAConfig,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The queries of all heads, by way of a latent of their own (equations 12 to 14).

    Args:
        x: (..., length, hidden_size), any strides
        down, norm: ``q_a_proj``, hidden_size → q_lora_rank, and ``q_a_layernorm``. Both None for a
            model whose config has q_lora_rank None: then ``up`` is applied to x itself.
        up: ``q_b_proj``, q_lora_rank → heads · qk_head_dim, or ``q_proj``, hidden_size → the same.
            Head after head: first the part without a position, then the part that gets one.

    Returns ``q_nope`` (..., heads, length, qk_nope_head_dim) and ``q_rope`` (..., heads, length,
    qk_rope_head_dim), not turned yet. Nothing of it is kept: the latent saves parameters and, in
    training, memory for activations. An x that does not end in hidden_size is a ValueError that
    names x, its shape and hidden_size. Gradients flow to x and to the weights of all layers.
    """
    # TODO: check; the latent, if there is one; heads; two parts of each.
    # HINT: does the norm stand before or after q_b_proj?
    raise NotImplementedError("compress_q")


def decoupled_rope(
    q_rope: torch.Tensor, k_rope: torch.Tensor, positions: torch.Tensor, config: MLAConfig
) -> tuple[torch.Tensor, torch.Tensor]:
    """Positions, for the part of queries and keys that carries them (equations 14 and 15).

    Args:
        q_rope: (..., heads, length, qk_rope_head_dim)
        k_rope: (..., length, qk_rope_head_dim): one key for all heads, and no axis of heads
        positions: whole numbers, (length,), or (batch, length) where q_rope is (batch, heads,
            length, ...)

    Returns both, turned by day 19's ``rope``, in their shapes and dtypes. The pairs are neighbours
    where ``rope_interleave`` is true and half a vector apart where it is not. With yarn_of(config)
    None the frequencies are those of ``rope_theta`` for qk_rope_head_dim features. Else they are
    day 19's "yarn" with its factor, trained, slow and fast, and cosines and sines are multiplied by

    - mscale(factor, yarn.mscale) / mscale(factor, yarn.mscale_all_dim) where both are set (not 0);
    - mscale(factor) otherwise.

    (In DeepSeek's files both are equal: the rotation keeps lengths, and what YaRN asks for is done
    to the scores as a whole, in mla_scores.) The errors are those of day 19's rope. Gradients flow
    to q_rope and k_rope. It runs under torch.compile(fullgraph=True).

    >>> config = MLAConfig(hidden_size=8, num_attention_heads=1, q_lora_rank=None, kv_lora_rank=3,
    ...                    qk_nope_head_dim=4, qk_rope_head_dim=2, v_head_dim=5)
    >>> q, k = decoupled_rope(torch.tensor([[[1.0, 0.0]]]), torch.tensor([[0.0, 1.0]]),
    ...                       torch.tensor([2]), config)
    >>> [round(x, 4) for x in q.flatten().tolist()], [round(x, 4) for x in k.flatten().tolist()]
    ([-0.4161, 0.9093], [-0.9093, -0.4161])
    """
    # TODO: Frequencies and a factor; turn the queries; turn the key.
    # HINT: rope_scale returns a factor, too. For which value of mscale is it the right one?
    raise NotImplementedError("decoupled_rope")


def mla_scores(
    q_nope: torch.Tensor,
    q_rope: torch.Tensor,
    k_nope: torch.Tensor,
    k_rope: torch.Tensor,
    config: MLAConfig,
) -> torch.Tensor:
    """What the softmax of each head is taken of (equations 16 to 18 and YaRN).

        scores[h, i, j] = (q_nope[h, i] · k_nope[h, j] + q_rope[h, i] · k_rope[j]) · scale

    Args:
        q_nope: (..., heads, Q, d), any strides
        q_rope: (..., heads, Q, r), turned
        k_nope: (..., heads, K, d), or (..., 1, K, d): one key for all heads
        k_rope: (..., K, r), turned: one key for all heads

    Returns (..., heads, Q, K), unmasked: of the dtype of q_nope, or for half precision float32.
    There the two products may be rounded to half precision; their sum and the scale may not.

    - scale is 1 / √qk_head_dim of the config, whatever d is: day 28 calls it with other queries,
      which are as wide as the latent and give the same scores. Where yarn_of(config) has an
      mscale_all_dim that is not 0, the scale is multiplied by mscale(factor, mscale_all_dim)².
    - No key that the heads share is copied for each of them, and the parts are not put side by
      side: with 16 heads, 1 query, 2,048 keys, d = 64 and r = 32 in float32 and one key for all
      heads, the peak is below the bytes of k_nope and k_rope.
    - No Python loop over heads or the batch. Gradients flow to all four tensors. It runs under
      torch.compile(fullgraph=True).
    - ValueError, each naming the shapes of both: q_nope and k_nope that differ in d, q_rope and
      k_rope that differ in r, k_nope and k_rope that differ in K, and a k_nope whose heads are
      neither those of q_nope nor 1.

    >>> config = MLAConfig(hidden_size=8, num_attention_heads=2, q_lora_rank=None, kv_lora_rank=3,
    ...                    qk_nope_head_dim=3, qk_rope_head_dim=1, v_head_dim=5)
    >>> q_nope, q_rope = torch.tensor([[[1.0, 2.0, 3.0]], [[1.0, 0.0, 0.0]]]), torch.ones(2, 1, 1)
    >>> k_nope, k_rope = torch.ones(2, 4, 3), torch.tensor([[0.0], [2.0], [4.0], [6.0]])
    >>> mla_scores(q_nope, q_rope, k_nope, k_rope, config).tolist()
    [[[3.0, 4.0, 5.0, 6.0]], [[0.5, 1.5, 2.5, 3.5]]]
    """
    # TODO: check; two products, added and scaled.
    # HINT: what does torch.matmul make of (8, 16, 1, 64) @ (8, 1, 64, 2048) in memory?
    raise NotImplementedError("mla_scores")


def small() -> MLAConfig:
    """Given: sizes for the examples below."""
    return MLAConfig(
        hidden_size=12,
        num_attention_heads=3,
        q_lora_rank=6,
        kv_lora_rank=8,
        qk_nope_head_dim=4,
        qk_rope_head_dim=2,
        v_head_dim=5,
    )


def test_rms_norm() -> None:
    x = torch.tensor([[3.0, 4.0]])
    torch.testing.assert_close(RMSNorm(2)(x), x / math.sqrt(12.5))


def test_from_x_to_keys_and_values() -> None:
    config, x = small(), torch.randn(2, 5, 12)
    latent, k_rope = compress_kv(x, nn.Linear(12, 10), RMSNorm(8), config)
    k_nope, v = expand_kv(latent, nn.Linear(8, 27, bias=False), config)
    assert (latent.shape, k_rope.shape) == ((2, 5, 8), (2, 5, 2))
    assert (k_nope.shape, v.shape) == ((2, 3, 5, 4), (2, 3, 5, 5))


def test_queries() -> None:
    x = torch.randn(2, 5, 12)
    q_nope, q_rope = compress_q(x, nn.Linear(12, 6), RMSNorm(6), nn.Linear(6, 18), small())
    assert (q_nope.shape, q_rope.shape) == ((2, 3, 5, 4), (2, 3, 5, 2))


def test_only_distance_counts() -> None:
    config = small()
    q, k = torch.randn(2, 3, 5, 2), torch.randn(2, 5, 2)
    zero = torch.zeros(2, 3, 5, 4)
    scores = []
    for start in (0, 1000):
        turned = decoupled_rope(q, k, torch.arange(start, start + 5), config)
        scores.append(mla_scores(zero, turned[0], zero, turned[1], config))
    torch.testing.assert_close(scores[0], scores[1], atol=1e-4, rtol=1e-4)


if __name__ == "__main__":
    from harness import main

    main(__file__)
