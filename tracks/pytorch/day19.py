"""
Day 19: Positions
=================
Estimated time: 3 hours
Prerequisites: Day 16 (scaled dot-product attention), Day 14 (Embedding)
Lesson: lessons/day19.md

Learning objectives:
- Tell attention, which sees a set of tokens, in which order they stand, in four ways
- Say which of the four know a token's place, and which its distance to another token
- Rotate queries and keys so that their product depends on nothing but their distance
- Stretch a rotation beyond the length it was trained for, and say what each method gives up

    where the position goes in             what attention is told
    x + sinusoidal(positions)              the place, by a fixed code
    x + LearnedPositions                   the place, by a table: none beyond its end
    scores + relative_bias, alibi_bias     the distance, as a float mask
    rope(q), rope(k)                       the distance: <R_m q, R_n k> = <q, R_(n-m) k>

Three conventions hold from here on:
- positions are whole numbers from 0, either (length,), the same for every sequence, or
  (batch, length), which a batch with padding on the left needs;
- in a bias the last query stands at the last key, as in day 16's causal_mask;
- frequencies are float64 and angles are computed in float64: neighbouring float32 numbers near
  100,000 are 0.008 apart, and a sine needs its angle to better than that.

Hints:
- rope_frequencies first: sinusoidal, rope and rope_scale stand on it.
- The two layouts of rope differ in which features form a pair, and in nothing else.
- For rope_scale write down how many turns a pair makes within the trained length.

Resources:
- Attention Is All You Need, Vaswani et al. 2017, section 3.5: https://arxiv.org/abs/1706.03762
- T5, Raffel et al. 2020, section 2.1: https://arxiv.org/abs/1910.10683
- ALiBi, Press, Smith and Lewis 2022: https://arxiv.org/abs/2108.12409
- RoFormer (RoPE), Su et al. 2021: https://arxiv.org/abs/2104.09864
- Position interpolation, Chen et al. 2023: https://arxiv.org/abs/2306.15595
- YaRN, Peng et al. 2023 (also NTK-aware and dynamic scaling): https://arxiv.org/abs/2309.00071
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import nn

from tracks.pytorch.day14 import Embedding, check_last_axis
from tracks.pytorch.day16 import scaled_dot_product_attention


def check_positions(positions: torch.Tensor, x: torch.Tensor) -> None:
    """Given: positions are (length,) or (batch, length), and x is (batch, ..., length, features).

    Broadcasting alone would take (batch, length) for (heads, length).
    """
    length = x.shape[-2:-1]
    if positions.shape not in (length, x.shape[:-2][:1] + length):
        raise ValueError(f"positions {tuple(positions.shape)} do not fit x {tuple(x.shape)}")


def rope_frequencies(
    dim: int, base: float = 10_000.0, device: torch.device | str | None = None
) -> torch.Tensor:
    """How fast each pair of features turns, in radians a position: (dim / 2,), float64.

    Entry i is base^(-2i / dim): the first pair turns by one radian a position, the last ones
    hardly at all. sinusoidal and rope both use these numbers.

    A ``dim`` that is odd or below 2 is a ValueError that names it.

    >>> rope_frequencies(4)
    tensor([1.0000, 0.0100], dtype=torch.float64)
    """
    # TODO: check dim; one power for all entries.
    # HINT: which values does 2i take, and where do they end?
    raise NotImplementedError("rope_frequencies")


def sinusoidal(positions: torch.Tensor, dim: int, base: float = 10_000.0) -> torch.Tensor:
    """The code of Vaswani et al. 2017: ``positions`` of any shape (...) → (..., dim), float32.

        code[p, 2i]     = sin(p · base^(-2i / dim))
        code[p, 2i + 1] = cos(p · base^(-2i / dim))

    Sine and cosine of one frequency are neighbours. The angles are computed in float64 and the
    result is rounded once, so that position 1,000,000 comes out as exactly as position 1. It lies
    on the device of ``positions``, which are whole numbers. A dim that is odd or below 2 is a
    ValueError. Runs under torch.compile(fullgraph=True).

    >>> sinusoidal(torch.tensor([0, 1]), 4)
    tensor([[0.0000, 1.0000, 0.0000, 1.0000],
            [0.8415, 0.5403, 0.0100, 0.9999]])
    """
    # TODO: angles (..., dim / 2), then their sines and cosines in turn.
    # HINT: which shape must the positions have to meet (dim / 2,) frequencies?
    raise NotImplementedError("sinusoidal")


class LearnedPositions(nn.Module):
    """x plus a learned vector for each position, as in GPT-2 and BERT.

    ``table`` is day 14's Embedding(max_length, dim), so that the parameter is ``table.weight``;
    at first normally distributed with mean 0 and standard deviation 0.02. ``max_length`` and
    ``dim`` are attributes.

    forward(x, positions=None) → the shape and dtype of x:

    - ``x``: (batch, length, dim) or (length, dim), any strides
    - ``positions``: whole numbers, (length,) or (batch, length); 0 to length - 1 unless given. A
      cache continues with later ones; padding on the left shifts every sequence by its own number.
    - The sum is rounded once, to the dtype of x, whatever the table has.
    - ValueError: an x whose last axis is not dim (names both); positions that fit x's shape in
      neither form (names both shapes); without positions, a length beyond max_length (names
      both). A position outside the table, a negative one too, is an IndexError, as Embedding has
      it.

    Positions that are not given lie on the device of x. Runs under torch.compile(fullgraph=True).

    >>> layer = LearnedPositions(max_length=8, dim=4)
    >>> x = torch.zeros(2, 3, 4)
    >>> torch.equal(layer(x)[1], layer.table.weight[:3])
    True
    """

    def __init__(self, max_length: int, dim: int) -> None:
        super().__init__()
        self.max_length, self.dim = max_length, dim
        # TODO: the table and its first values.
        # HINT: what are the first values of an Embedding, and are they the ones asked for?
        raise NotImplementedError("LearnedPositions.__init__")

    def forward(self, x: torch.Tensor, positions: torch.Tensor | None = None) -> torch.Tensor:
        # TODO: check, make the positions if there are none, look up, add.
        # HINT: check_last_axis and check_positions are given. On which device do positions lie?
        raise NotImplementedError("LearnedPositions.forward")


def relative_positions(
    queries: int, keys: int, device: torch.device | str | None = None
) -> torch.Tensor:
    """Given: how far ahead of each query each key stands, int64 (queries, keys), negative for the
    past. The last query stands at the last key.

    >>> relative_positions(2, 4)
    tensor([[-2, -1,  0,  1],
            [-3, -2, -1,  0]])
    """
    at = torch.arange(keys - queries, keys, device=device)
    return torch.arange(keys, device=device) - at[:, None]


def relative_bias(
    table: torch.Tensor,
    queries: int,
    keys: int,
    *,
    bidirectional: bool = True,
    max_distance: int = 128,
) -> torch.Tensor:
    """T5's learned bias: one number for each head and bucket of distances (Raffel et al. 2020).

    ``table`` (buckets, heads) holds the numbers; the result (heads, queries, keys) is a float mask
    for attention, of the table's dtype and on its device. Gradients add up in the table. A long
    text takes no more operators than a short one, and many heads no more than a few: no loop over
    queries, keys or heads. Runs under torch.compile(fullgraph=True).

    With d = ``relative_positions``:

    - bidirectional: the first half of the buckets is for keys at or before the query (d <= 0),
      the second half for keys after it; half = buckets // 2, and n = |d|. The second half starts
      at bucket ``half``, so that an odd last bucket is not used.
    - else all buckets are for the past: half = buckets, and n = -d, or 0 for keys ahead, which a
      causal mask hides anyway.

    Within the half, with exact = half // 2:

    - n < exact: bucket n
    - else: exact + ⌊log(n / exact) / log(max_distance / exact) · (half - exact)⌋, but at most
      half - 1. So distances from max_distance on share the last bucket.

    exact is at least 1 and max_distance is greater. Where the number whose floor is taken is whole
    but for its rounding, either of the two buckets will do; at n = exact it is a plain 0. The
    buckets do not depend on the table's dtype: bfloat16 would put distance 90 into the wrong one.

    >>> numbers = torch.arange(8.0)[:, None]  # 8 buckets, one head: shows who is in which
    >>> relative_bias(numbers, 1, 9, bidirectional=False, max_distance=20).int().tolist()
    [[[5, 5, 5, 4, 4, 3, 2, 1, 0]]]
    """
    # TODO: distances; the bucket of each; look all of them up at once.
    # HINT: T5 has two tables of buckets in one. Which part does d = 0 belong to?
    raise NotImplementedError("relative_bias")


def alibi_slopes(heads: int, device: torch.device | str | None = None) -> torch.Tensor:
    """How much each head minds distance: (heads,), float32 (Press et al. 2022).

    For n heads, n a power of two: 2^(-8/n), 2^(-16/n), ..., 2^(-8). For any other number, as the
    authors' code has it: with n the largest power of two below ``heads``, first the n slopes of n
    heads, then the 1st, 3rd, 5th, ... of those of 2n heads, until there are enough.

    ``heads`` below 1 is a ValueError that names it. ``alibi_bias`` runs under
    torch.compile(fullgraph=True), so no number may be read out of a tensor (tolist, item) here.

    >>> alibi_slopes(2).tolist(), alibi_slopes(3).tolist()
    ([0.0625, 0.00390625], [0.0625, 0.00390625, 0.25])
    """
    # TODO: the slopes of n heads; what is missing from those of 2n.
    # HINT: each slope is the one before it times the same factor. Which?
    raise NotImplementedError("alibi_slopes")


def alibi_bias(
    heads: int, queries: int, keys: int, device: torch.device | str | None = None
) -> torch.Tensor:
    """Given: ALiBi's float mask (heads, queries, keys): minus slope times distance."""
    distance = relative_positions(queries, keys, device).abs()
    return -alibi_slopes(heads, device)[:, None, None] * distance


def rope(
    x: torch.Tensor,
    positions: torch.Tensor,
    frequencies: torch.Tensor | None = None,
    *,
    interleaved: bool = False,
    attention_factor: float = 1.0,
) -> torch.Tensor:
    """Turn every pair of features by position · frequency (Su et al. 2021).

        (a, b)  →  attention_factor · (a cos φ - b sin φ,  a sin φ + b cos φ)

    Args:
        x: queries or keys, (batch, ..., length, d) or (length, d), any strides, d even
        positions: whole numbers, (length,) or (batch, length); heads and other axes between
            batch and length share them
        frequencies: (d / 2,), one for each pair, float32 or float64;
            ``rope_frequencies(d)`` unless given
        interleaved: which features are a pair. False ("half-split", Llama's in transformers):
            feature i and feature i + d/2. True (RoFormer's, and Meta's own Llama): features 2i
            and 2i + 1. The features of the result stand where they stood in x.
        attention_factor: as ``rope_scale`` returns it

    Returns the shape and dtype of x. Angles, cosines and sines are computed in float64, from the
    positions on; the rotation, attention factor included, is computed in float64 for float64 and
    in float32 or float64 for everything shorter, and rounded once. Raises ValueError naming d
    when it is odd, and both shapes when ``frequencies`` is not (d / 2,) or ``positions`` fit x in
    neither form. Runs under torch.compile(fullgraph=True).

    >>> x = torch.tensor([[1.0, 2.0, 3.0, 4.0]])
    >>> rope(x, torch.tensor([1]), torch.tensor([math.pi / 2, 0.0])).round()
    tensor([[-3.,  2.,  1.,  4.]])
    >>> rope(x, torch.tensor([1]), torch.tensor([math.pi / 2, 0.0]), interleaved=True).round()
    tensor([[-2.,  1.,  3.,  4.]])
    """
    # TODO: check; angles; take the pairs apart, turn them, put them back.
    # HINT: check_positions is given; what shape do the angles of (batch, length) need so that
    # heads may stand between?
    raise NotImplementedError("rope")


class ScaledRope(NamedTuple):
    """What ``rope_scale`` returns: two arguments of ``rope``."""

    frequencies: torch.Tensor
    attention_factor: float


def rope_scale(
    dim: int,
    kind: str,
    factor: float,
    *,
    base: float = 10_000.0,
    trained: int = 2048,
    length: int = 0,
    slow: float = 1.0,
    fast: float = 32.0,
    device: torch.device | str | None = None,
) -> ScaledRope:
    """Frequencies for texts ``factor`` times as long as the ``trained`` length.

    With f = rope_frequencies(dim, base) and s = ``factor``, ``kind`` is one of

    - "linear" (Chen et al. 2023): f / s, as if the positions were squeezed.
    - "ntk": the frequencies of the base ``base`` · s^(dim / (dim - 2)). The first frequency stays
      as it is, the last one is divided by s. Here ``dim`` is at least 4.
    - "dynamic": as "ntk", with s · L / trained - (s - 1) in place of s, where L is the larger of
      ``length`` (how long the text is by now) and ``trained``.
    - "llama3": a pair makes r = trained · f / 2π turns within the trained length. Those with
      r >= ``fast`` keep f; those with r <= ``slow`` get f / s; between, it is the mixture
      keep · f + (1 - keep) · f / s with keep = (r - slow) / (fast - slow). Llama 3.1 has
      base 500,000, trained 8192, s = 8, slow 1 and fast 4.
    - "yarn" (Peng et al. 2023): the same mixture, but keep falls from 1 to 0 linearly in the
      number i of the pair, from i = low to i = high. The pair that makes r turns has the number
      i(r) = dim · ln(trained / 2πr) / (2 ln base); low = max(⌊i(fast)⌋, 0) and
      high = min(⌈i(slow)⌉, dim - 1). The bound is dim - 1, not dim / 2 - 1, and the rounding is
      as it is: so the authors' code has it. (low is less than high for whatever you will be
      given.)

    ``length`` is for "dynamic" only, ``slow`` and ``fast`` for "llama3" and "yarn". The attention
    factor, a Python number, is 0.1 · ln s + 1 for "yarn" and 1 for all others. Frequencies are
    float64, on ``device``. Another kind ("YaRN" is one: capitals count) is a ValueError that names
    it, whatever the factor. So is a factor below 1.

    >>> rope_scale(4, "linear", 2.0)
    ScaledRope(frequencies=tensor([0.5000, 0.0050], dtype=torch.float64), attention_factor=1.0)
    """
    # TODO: one branch for each kind; two of them share the mixture, two the base.
    # HINT: which pairs have seen a whole turn in training, and which only a part of one?
    raise NotImplementedError("rope_scale")


def test_frequencies() -> None:
    assert rope_frequencies(4).tolist() == [1.0, 0.01]


def test_position_zero() -> None:
    assert sinusoidal(torch.tensor([0]), 6).tolist() == [[0, 1, 0, 1, 0, 1]]


def test_learned_positions() -> None:
    layer = LearnedPositions(8, 4)
    later = layer(torch.zeros(1, 2, 4), torch.tensor([5, 6]))
    torch.testing.assert_close(later[0], layer.table.weight[5:7])


def test_buckets_of_the_past() -> None:
    numbers = torch.arange(8.0)[:, None]
    bias = relative_bias(numbers, 1, 9, bidirectional=False, max_distance=20)
    assert bias.int().tolist() == [[[5, 5, 5, 4, 4, 3, 2, 1, 0]]]


def test_alibi_of_three_heads() -> None:
    assert alibi_slopes(3).tolist() == [2**-4, 2**-8, 2**-2]


def test_alibi_prefers_the_near() -> None:
    q, k, v = torch.zeros(2, 1, 4), torch.zeros(2, 3, 4), torch.eye(3)
    weights = scaled_dot_product_attention(q, k, v, mask=alibi_bias(2, 1, 3))
    assert weights[0, 0].argmax() == 2


def test_a_quarter_turn() -> None:
    x, quarter = torch.tensor([[1.0, 2.0, 3.0, 4.0]]), torch.tensor([math.pi / 2, 0.0])
    assert rope(x, torch.tensor([1]), quarter).round().tolist() == [[-3, 2, 1, 4]]
    turned = rope(x, torch.tensor([1]), quarter, interleaved=True)
    assert turned.round().tolist() == [[-2, 1, 3, 4]]


def test_linear_scaling_squeezes_positions() -> None:
    x = torch.tensor([[1.0, 2.0, 3.0, 4.0]])
    squeezed = rope(x, torch.tensor([6]), rope_scale(4, "linear", 2.0).frequencies)
    torch.testing.assert_close(squeezed, rope(x, torch.tensor([3])))


if __name__ == "__main__":
    from harness import main

    main(__file__)
