"""
Day 15: Attention, the idea
===========================
Estimated time: 1-2 hours
Prerequisites: Day 9 (softmax), Day 2 (tensor operations)
Lesson: lessons/day15.md

Learning objectives:
- Turn a dictionary lookup into one that has a gradient: a weighted mean of all values
- Say what the sharpness of the comparison does, between the mean of all and the nearest one
- Recognise an old method of statistics in it, and the first attention of translation models
- Measure and draw how spread out the weights are

A dictionary compares a query with its keys for equality and gives the one value that fits. A soft
lookup compares by how near they are, and gives a mixture:

    query 2.2                    distance²     weight        value
    key   1.0   ───────────────    1.44    →    .17     ×     10
    key   2.0   ───────────────    0.04    →    .70     ×     20       sum = 19.6
    key   3.5   ───────────────    1.69    →    .13     ×     30
                                           softmax(-distance²)

Hints:
- Shapes first: queries (Q, d) against keys (K, d) give weights (Q, K).
- Weights come from softmax over the keys: positive, and one in all.
- A weighted mean of values is a matrix product.

Resources:
- Nadaraya 1964 and Watson 1964; in short: https://en.wikipedia.org/wiki/Kernel_regression
- Neural Machine Translation by Jointly Learning to Align and Translate, Bahdanau, Cho and Bengio
  2014: https://arxiv.org/abs/1409.0473
- Dive into Deep Learning, chapter 11: https://d2l.ai/chapter_attention-mechanisms-and-transformers/
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch


def soft_lookup(
    queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, sharpness: float = 1.0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Look up ``queries`` among ``keys`` by distance, and mix the values.

    The weight of key j for query i is exp(-sharpness · |q_i - k_j|²), divided by the sum of these
    over all keys, |·| being the Euclidean length.

    Args:
        queries: (..., Q, d), floating point
        keys: (..., K, d), K at least 1
        values: (..., K, e); the leading axes of all three broadcast
        sharpness: 0 weighs all keys alike; the larger, the more the nearest one wins

    Returns the mixtures (..., Q, e) and the weights (..., Q, K).

    - Large distances and a large sharpness give no nan: the nearest key then takes all.
    - No Python loop over queries or keys. Gradients flow to queries, keys and values, and stay
      finite where a query equals a key.
    - Raises ValueError naming both shapes when queries and keys differ in d, or keys and values
      in K.

    >>> keys, values = torch.tensor([[0.0], [2.0]]), torch.tensor([[10.0], [30.0]])
    >>> soft_lookup(torch.tensor([[1.0]]), keys, values)
    (tensor([[20.]]), tensor([[0.5000, 0.5000]]))
    """
    # TODO: Squared distances of all pairs, softmax over the keys, one product with the values.
    # HINT: queries[..., :, None, :] - keys[..., None, :, :] holds every difference.
    raise NotImplementedError("soft_lookup")


def kernel_regression(
    x: torch.Tensor, xs: torch.Tensor, ys: torch.Tensor, width: float
) -> torch.Tensor:
    """A smooth curve through noisy points, at ``x``: the weighted mean of ``ys`` (Nadaraya-Watson).

    The weight of point (xs_j, ys_j) at x_i is proportional to exp(-(x_i - xs_j)² / (2 width²)), a
    Gaussian with standard deviation ``width`` around x_i.

    Args:
        x: (N,), where the curve is wanted
        xs, ys: (M,), the points, M at least 1
        width: greater than 0; ValueError, with the value, if it is not

    Returns (N,).

    >>> points = torch.tensor([0.0, 1.0, 2.0])
    >>> kernel_regression(torch.tensor([1.0]), points, 10 * points, width=0.5)
    tensor([10.])
    """
    # TODO: it is a soft lookup: what are the keys, what the values, what the sharpness?
    # HINT: a number is a vector of one element.
    raise NotImplementedError("kernel_regression")


def additive_attention(
    queries: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    w_q: torch.Tensor,
    w_k: torch.Tensor,
    v: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention with a comparison that is learnt (Bahdanau, Cho and Bengio 2014, A.1.2).

    The score of key j for query i is v · tanh(w_q q_i + w_k k_j): a small network with one hidden
    layer. Queries and keys may differ in size. Weights are the softmax of the scores over the keys.

    Args:
        queries: (..., Q, dq)
        keys: (..., K, dk)
        values: (..., K, e)
        w_q: (h, dq);  w_k: (h, dk);  v: (h,)

    Returns the mixtures (..., Q, e) and the weights (..., Q, K). No Python loop. Queries and keys
    are each projected once: (Q + K) · h · d multiplications, not Q · K · h · d.
    """
    # TODO: project both sides, add every pair, tanh, score, softmax, mix.
    # HINT: which axis is missing in (Q, h) and which in (K, h), to give (Q, K, h)?
    raise NotImplementedError("additive_attention")


def attention_entropy(weights: torch.Tensor) -> torch.Tensor:
    """How spread out each row of weights is: -Σ_j w_j ln w_j over the last axis, in nats.

    0 where one key has all the weight, ln K where K keys share it evenly; exp of it is the number
    of keys that count, so to speak. 0 · ln 0 is 0, in the value and in the gradient, which is never
    nan or inf for weights of 0.

    Args:
        weights: (..., K), each row not negative and summing to 1

    Returns (...).

    >>> attention_entropy(torch.tensor([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0]])).exp()
    tensor([2., 1.])
    """
    # TODO: the sum, with a care for weights of 0.
    # HINT: what are log(0), 0 · log(0), and the slope of w ln w at 0?
    raise NotImplementedError("attention_entropy")


def plot_attention(
    weights: torch.Tensor,
    tokens: Sequence[str],
    path: str | Path | None = None,
    queries: Sequence[str] | None = None,
) -> Any:
    """Draw weights (Q, K) as a map: a row a query, a column a key, dark for much.

    Args:
        weights: (Q, K), on any device, with or without a gradient
        tokens: K names, under the columns
        path: where the picture is written (its ending says the format); nowhere if None
        queries: Q names, beside the rows; ``tokens`` if None

    Returns matplotlib's Axes. The colours run from 0 to 1, whatever the largest weight is, so that
    two pictures can be compared; row 0 is on top. ValueError, naming both counts, if names and
    weights do not agree. Works without a screen.
    """
    # TODO: check the counts; a figure, an image, two lists of names; save it.
    # HINT: Figure().subplots() makes axes without pyplot, and so without a screen.
    raise NotImplementedError("plot_attention")


def test_soft_lookup_between_two_keys() -> None:
    keys, values = torch.tensor([[0.0], [2.0]]), torch.tensor([[10.0], [30.0]])
    mixed, weights = soft_lookup(torch.tensor([[1.0]]), keys, values)
    assert mixed.tolist() == [[20.0]]
    assert weights.tolist() == [[0.5, 0.5]]


def test_kernel_regression() -> None:
    points = torch.tensor([0.0, 1.0, 2.0])
    near = kernel_regression(points, points, 10 * points, width=0.01)
    torch.testing.assert_close(near, torch.tensor([0.0, 10.0, 20.0]))


def test_additive_attention_of_one_key() -> None:
    one = torch.ones(1, 1)
    mixed, weights = additive_attention(one, one, 7 * one, one, one, torch.ones(1))
    assert (mixed.item(), weights.item()) == (7.0, 1.0)


def test_entropy() -> None:
    even = attention_entropy(torch.full((8,), 1 / 8))
    assert abs(even.exp().item() - 8) < 1e-4


def test_plot() -> None:
    axes = plot_attention(torch.eye(2), ["the", "cat"])
    assert [label.get_text() for label in axes.get_xticklabels()] == ["the", "cat"]


if __name__ == "__main__":
    from harness import main

    main(__file__)
