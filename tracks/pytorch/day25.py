"""
Day 25: Memory and bandwidth
============================
Estimated time: 2-3 hours
Prerequisites: Day 20 (the transformer block), Day 4 (what autograd saves)
Lesson: lessons/day25.md

Learning objectives:
- Count a model's weights, operations and bytes from its sizes alone, before anything is built
- Say which of two limits a step meets, the memory's bandwidth or the arithmetic, and why
- Say what training keeps for the backward pass, and which share of it is attention
- Work out how many sequences a card can serve at once

    weights ──── read once a step, whatever the batch ───┐
                                                         ├──► bytes / bandwidth ─┐
    cache ────── read for each sequence, all of it ──────┘                       ├─► the longer
                                                                                 │   one is how
    operations ─ for each token, with each weight ──────────► FLOPs / peak ──────┘   long a step
                                                                                     takes

All of today's functions are arithmetic on the sizes in a ``Config``: they return Python numbers and
make no tensor, not even on the device "meta". ``Model`` is given: a language model with exactly
these sizes, made of torch's own operators, so that what you say can be measured. One
multiplication and one addition are 2 FLOPs, and only matrix products are counted, as
torch.utils.flop_counter does.

Hints:
- Read Model once, with a pencil: every nn.Linear is a matrix, every @ a product.
- Print a count for the smallest sizes you can draw, then compare it with the model itself.
- Keep elements and bytes apart: multiply by the size of an element last.

Resources:
- Roofline, Williams, Waterman and Patterson 2009: https://doi.org/10.1145/1498765.1498785
- Efficiently Scaling Transformer Inference, Pope et al. 2022: https://arxiv.org/abs/2211.05102
- Reducing Activation Recomputation in Large Transformer Models, Korthikanti et al. 2022:
  https://arxiv.org/abs/2205.05198
- torch.utils.flop_counter:
  https://github.com/pytorch/pytorch/blob/main/torch/utils/flop_counter.py
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from tracks.pytorch.day16 import causal_mask


@dataclass(frozen=True)
class Config:
    """Given: the sizes of a decoder-only language model.

    ``heads`` heads of queries share ``kv_heads`` heads of keys and values (day 23); where the two
    are equal it is day 18's attention. ``gated``: the feed-forward network has a third matrix, as
    SwiGLU. ``bias``: projections and norms have one (those of the logits never do). ``tied``: the
    embedding makes the logits, too. ``positions``: rows of a learned table; 0 where positions are
    rotations, which have no weights.
    """

    vocab: int
    dim: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    hidden: int
    gated: bool = False
    bias: bool = False
    tied: bool = False
    positions: int = 0


# Given: published shapes. openai-community/gpt2-xl, meta-llama/Meta-Llama-3-8B and -70B,
# mistralai/Mistral-7B-v0.1 on Hugging Face, the file config.json of each.
GPT2_XL = Config(50257, 1600, 48, 25, 25, 64, 6400, bias=True, tied=True, positions=1024)
LLAMA3_8B = Config(128256, 4096, 32, 32, 8, 128, 14336, gated=True)
LLAMA3_70B = Config(128256, 8192, 80, 64, 8, 128, 28672, gated=True)
MISTRAL_7B = Config(32000, 4096, 32, 32, 8, 128, 14336, gated=True)


class Device(NamedTuple):
    """Given: what a card holds (bytes), moves (bytes a second) and computes (FLOPs a second)."""

    memory: int
    bandwidth: float
    flops: float


# Given: from NVIDIA's data sheets, 16-bit matrix products without sparsity, added up in float32.
RTX_4090 = Device(24 * 2**30, 1.008e12, 165.2e12)
H100 = Device(80 * 2**30, 3.35e12, 989.4e12)


class Block(nn.Module):
    """Given: day 20's block, norm first, with torch's own operators and shared keys and values."""

    def __init__(self, c: Config, fused: bool) -> None:
        super().__init__()
        self.c, self.fused = c, fused
        inner, shared = c.heads * c.head_dim, c.kv_heads * c.head_dim
        self.attention_norm = nn.LayerNorm(c.dim, bias=c.bias)
        self.q_proj = nn.Linear(c.dim, inner, c.bias)
        self.k_proj = nn.Linear(c.dim, shared, c.bias)
        self.v_proj = nn.Linear(c.dim, shared, c.bias)
        self.out_proj = nn.Linear(inner, c.dim, c.bias)
        self.feed_forward_norm = nn.LayerNorm(c.dim, bias=c.bias)
        if c.gated:
            self.gate_proj = nn.Linear(c.dim, c.hidden, c.bias)
        self.up_proj = nn.Linear(c.dim, c.hidden, c.bias)
        self.down_proj = nn.Linear(c.hidden, c.dim, c.bias)

    def attend(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        """(batch, heads, new, d) and twice (batch, kv_heads, keys, d) → (batch, heads, new, d)."""
        if self.fused:
            return F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        batch, heads, new, d = q.shape
        # The heads that share keys become one matrix of queries: no key is repeated.
        q = q.unflatten(1, (self.c.kv_heads, -1)).flatten(2, 3)
        scores = ((q * d**-0.5) @ k.mT).view(batch, heads, new, -1)
        if new > 1:
            hidden = torch.where(causal_mask(new, k.shape[-2], q.device), 0.0, -torch.inf)
            scores = scores + hidden.to(q.dtype)
        weights = scores.softmax(-1).view(batch, self.c.kv_heads, -1, k.shape[-2])
        return (weights @ v).view(batch, heads, new, d)

    def forward(
        self, x: torch.Tensor, cache: torch.Tensor | None = None, cached: int = 0
    ) -> torch.Tensor:
        normed = self.attention_norm(x)
        q, k, v = (
            layer(normed).unflatten(-1, (-1, self.c.head_dim)).transpose(1, 2)
            for layer in (self.q_proj, self.k_proj, self.v_proj)
        )
        if cache is not None:
            total = cached + x.shape[1]
            cache[0, :, :, cached:total], cache[1, :, :, cached:total] = k, v
            k, v = cache[:, :, :, :total]
        x = x + self.out_proj(self.attend(q, k, v).transpose(1, 2).flatten(2))
        normed = self.feed_forward_norm(x)
        if self.c.gated:
            return x + self.down_proj(F.silu(self.gate_proj(normed)) * self.up_proj(normed))
        return x + self.down_proj(F.gelu(self.up_proj(normed)))


class Model(nn.Module):
    """Given: the language model of a Config, for measuring. (It leaves rotations out.)

    forward(ids): (batch, length) → logits (batch, length, vocab); with ``targets`` of the shape of
    ids, the mean cross-entropy. ``cache`` is what ``empty_cache`` makes, and ``cached`` says how
    many tokens it holds already. ``fused``: attention by F.scaled_dot_product_attention, whose
    weights are never stored; not for a cache.
    """

    def __init__(self, c: Config, fused: bool = False) -> None:
        super().__init__()
        self.embedding = nn.Embedding(c.vocab, c.dim)
        self.table = nn.Parameter(torch.randn(c.positions, c.dim)) if c.positions else None
        self.blocks = nn.ModuleList(Block(c, fused) for _ in range(c.layers))
        self.norm = nn.LayerNorm(c.dim, bias=c.bias)
        self.head = nn.Linear(c.dim, c.vocab, bias=False)
        if c.tied:
            self.head.weight = self.embedding.weight

    def forward(
        self,
        ids: torch.Tensor,
        targets: torch.Tensor | None = None,
        cache: torch.Tensor | None = None,
        cached: int = 0,
    ) -> torch.Tensor:
        x = self.embedding(ids)
        if self.table is not None:
            x = x + self.table[cached : cached + ids.shape[1]]
        for i, block in enumerate(self.blocks):
            x = block(x, None if cache is None else cache[i], cached)
        logits: torch.Tensor = self.head(self.norm(x))
        if targets is None:
            return logits
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


def empty_cache(c: Config, batch: int, capacity: int, like: torch.Tensor) -> torch.Tensor:
    """Given: room for keys and values, (layers, 2, batch, kv_heads, capacity, head_dim)."""
    return like.new_zeros(c.layers, 2, batch, c.kv_heads, capacity, c.head_dim)


def parameter_count(config: Config) -> int:
    """How many weights ``Model(config)`` has, each counted once.

    - the embedding: vocab · dim, once more for the logits unless ``tied``; ``positions`` · dim
    - in every layer: q_proj dim → heads · head_dim, k_proj and v_proj dim → kv_heads · head_dim,
      out_proj heads · head_dim → dim; up_proj dim → hidden and down_proj hidden → dim, and where
      it is gated a gate_proj like up_proj; two norms with dim weights each
    - one norm at the end
    - with ``bias``, each projection (not the logits') has one number for each of its outputs, and
      each norm dim of them

    >>> parameter_count(LLAMA3_8B)
    8030261248
    """
    # TODO: the two ends; one layer; the sum.
    # HINT: how many numbers does nn.Linear(3, 5) hold, and how many of them are the bias?
    raise NotImplementedError("parameter_count")


class Flops(NamedTuple):
    """Given: the products with weights, and those of attention (scores and mixtures)."""

    weights: int
    attention: int

    @property
    def total(self) -> int:
        return self.weights + self.attention


def model_flops(
    config: Config, batch: int, length: int, cached: int = 0, training: bool = False
) -> Flops:
    """The FLOPs of one pass of Model(config) over ids (batch, length).

    A product of (m, k) and (k, n) takes 2 · m · k · n. Nothing else is counted: no norm, no
    softmax, no bias, no looking up.

    - weights: every projection of every layer and that of the logits, for each of the batch ·
      length tokens
    - attention: in every layer each head compares each of its ``length`` queries with cached +
      length keys, head_dim features each, and mixes as many values. Model computes the scores that
      the causal mask hides, too, so they are counted.
    - ``training``: forward and backward. The backward pass makes two products of the same size out
      of each: one for the gradient of either factor.

    It equals what torch.utils.flop_counter counts for Model.

    >>> model_flops(LLAMA3_8B, batch=1, length=1, cached=8191)
    Flops(weights=15009316864, attention=4294967296)
    """
    # TODO: the matrices' elements; the keys; both sums.
    # HINT: a token meets each element of a matrix once. What does it do with it?
    raise NotImplementedError("model_flops")


class Traffic(NamedTuple):
    """Given: bytes of the weights, and of keys and values."""

    weights: int
    cache: int

    @property
    def total(self) -> int:
        return self.weights + self.cache


def step_bytes(
    config: Config, batch: int, length: int = 1, cached: int = 0, itemsize: int = 2
) -> Traffic:
    """What a pass over ``length`` new tokens must move at least, when ``cached`` are in the cache.

    - weights: every weight is read once, however many tokens there are. The exception is the input:
      of the embedding one row for each of the batch · length tokens is read, and of the table of
      positions one row for each of the ``length`` positions, the same for the whole batch. A tied
      embedding is read as a whole, for it makes the logits; its rows are then not counted again.
    - cache: keys and values of each sequence, layer and head of the ``kv_heads``: those that are
      cached are read, and those of the new tokens written (and not counted as read again).
    - what goes from operator to operator is left out: it is small where the batch is, and a fused
      operator keeps it on the chip.

    All numbers have ``itemsize`` bytes. With length 1 this is a step of decoding; with cached 0 it
    is the prefill of a prompt.

    >>> step_bytes(LLAMA3_8B, batch=1, cached=8191)
    Traffic(weights=15009857536, cache=1073741824)
    """
    # TODO: which weights are read; the elements of a token in the cache; bytes.
    # HINT: does a step with a batch of two read the weights twice?
    raise NotImplementedError("step_bytes")


class Intensity(NamedTuple):
    """Given: FLOPs for each byte, of the products with weights, of attention, and of all."""

    weights: float
    attention: float
    whole: float


def arithmetic_intensity(
    config: Config, batch: int, length: int = 1, cached: int = 0, itemsize: int = 2
) -> Intensity:
    """How many FLOPs a pass does for each byte that it moves (Williams et al. 2009).

    weights: the FLOPs of the products with weights by the bytes of the weights. attention: those of
    scores and mixtures by the bytes of the cache. whole: all FLOPs by all bytes. (``model_flops``
    and ``step_bytes``, of a pass without training.)

    A card that computes F FLOPs and moves B bytes a second needs at least F / B of them to have its
    arithmetic busy: 295 on an H100.

    >>> [round(x, 2) for x in arithmetic_intensity(LLAMA3_8B, batch=16, cached=8191)]
    [16.0, 4.0, 9.6]
    """
    # TODO: three quotients.
    # HINT: is the whole the sum of the parts, their mean, or neither?
    raise NotImplementedError("arithmetic_intensity")


class TimeBound(NamedTuple):
    """Given: seconds that a step takes for its bytes and for its FLOPs, at least."""

    memory: float
    compute: float

    @property
    def seconds(self) -> float:
        return max(self.memory, self.compute)


def decode_time_bound(
    config: Config, device: Device, batch: int, cached: int, itemsize: int = 2
) -> TimeBound:
    """How long one step of decoding takes on ``device`` at the least.

    Each of ``batch`` sequences with ``cached`` tokens gets one more. memory: the bytes of
    ``step_bytes`` by the bandwidth. compute: the FLOPs of ``model_flops`` by those of the device.
    No program is faster than the larger of the two (``seconds``), since each byte and each
    FLOP takes its time even when the two go on at once.

    >>> bound = decode_time_bound(LLAMA3_8B, H100, batch=1, cached=8191)
    >>> round(1000 * bound.memory, 2), round(1000 * bound.compute, 3)
    (4.8, 0.02)
    """
    # TODO: two quotients.
    # HINT: how many new tokens does a sequence get in a step?
    raise NotImplementedError("decode_time_bound")


def activation_memory(
    config: Config, batch: int, length: int, itemsize: int = 2, fused: bool = False
) -> int:
    """Bytes that autograd keeps from the forward pass of Model(config, fused)(ids, targets).

    ids are (batch, length), without a cache. Counted is what is made on the way and kept for the
    backward pass, each tensor once, however many operators keep it; not weights, ids and targets,
    which are there anyway. Which operator keeps what:

    - a norm: its input, and two numbers of 4 bytes (mean and 1 / standard deviation) a token
    - a projection: its input; what q_proj, k_proj and v_proj keep is one tensor, and what
      gate_proj and up_proj keep is one
    - scores and mixtures: queries, keys and values as attention takes them, and the weights,
      (batch, heads, length, length). softmax keeps the weights as well: the same tensor.
    - with ``fused``, instead of the weights one number of 4 bytes a query and head (the logarithm
      of the softmax's sum). It keeps its result too, which is what out_proj keeps.
    - gelu and silu: their input. The product of gate and up: both its factors, one of which
      is silu's result.
    - cross-entropy: the logarithms of the probabilities, (batch · length, vocab); the logits are
      not kept.
    - sums (residuals, positions, the mask), the scale and looking up keep nothing of their own.
      A tensor of a single number, such as cross-entropy's count of targets, is left out.

    Apart from the numbers of 4 bytes, all have ``itemsize`` bytes. It equals what
    torch.autograd.graph.saved_tensors_hooks sees for Model, in float32 to the byte.

    >>> activation_memory(GPT2_XL, batch=1, length=1024) // 2**20
    4905
    """
    # TODO: elements for one token and layer; attention's weights; the end; bytes.
    # HINT: go through Block.forward line by line. Which tensors does the list name twice?
    raise NotImplementedError("activation_memory")


def max_batch(
    config: Config,
    device: Device,
    length: int,
    itemsize: int = 2,
    weight_bits: int = 16,
    reserve: int = 2**30,
) -> int:
    """How many sequences of ``length`` tokens a card can serve at once: weights and cache fit.

    ``reserve`` bytes are left for everything else (activations, the driver). The weights take
    ``weight_bits`` bits each, rounded up to whole bytes in total; they may be quantised to 8 or 4.
    Keys and values take ``itemsize`` bytes each, for every one of the ``length`` tokens, layers and
    heads of the ``kv_heads``. Where not one sequence fits, the answer is 0.

    A length below 1 is a ValueError that names it.

    >>> max_batch(LLAMA3_8B, RTX_4090, length=8192), max_batch(LLAMA3_70B, H100, length=8192)
    (8, 0)
    """
    # TODO: check; what is left beside the weights; how often a sequence goes into it.
    # HINT: what does // do when the weights alone are too large?
    raise NotImplementedError("max_batch")


def test_parameter_count() -> None:
    small = Config(vocab=11, dim=8, layers=2, heads=4, kv_heads=2, head_dim=3, hidden=5, bias=True)
    assert parameter_count(small) == sum(p.numel() for p in Model(small).parameters())
    assert parameter_count(GPT2_XL) == 1_557_611_200


def test_model_flops() -> None:
    flops = model_flops(LLAMA3_8B, batch=1, length=1)
    assert flops.weights == 2 * (parameter_count(LLAMA3_8B) - 128256 * 4096 - 65 * 4096)


def test_a_larger_batch_reads_the_weights_once() -> None:
    one, many = step_bytes(LLAMA3_8B, 1, cached=99), step_bytes(LLAMA3_8B, 8, cached=99)
    assert many.weights - one.weights == 7 * 4096 * 2  # seven rows of the embedding
    assert many.cache == 8 * one.cache == 8 * 100 * 131_072


def test_decoding_is_bound_by_memory() -> None:
    bound = decode_time_bound(LLAMA3_8B, H100, batch=1, cached=8191)
    assert bound.seconds == bound.memory > 100 * bound.compute
    assert arithmetic_intensity(LLAMA3_8B, batch=1, cached=8191).whole < 2


def test_activation_memory() -> None:
    stored = activation_memory(GPT2_XL, batch=1, length=1024)
    fused = activation_memory(GPT2_XL, batch=1, length=1024, fused=True)
    assert stored - fused == 48 * 25 * (2 * 1024**2 - 4 * 1024)


def test_max_batch() -> None:
    assert max_batch(LLAMA3_8B, RTX_4090, length=8192) == 8
    assert max_batch(LLAMA3_70B, H100, length=8192) == 0


if __name__ == "__main__":
    from harness import main

    main(__file__)
