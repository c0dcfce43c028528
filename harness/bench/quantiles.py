"""Quantiles of a sample, with bounds that assume nothing about the noise.

Timings are skewed: interruptions only ever make a call slower. A mean and a standard deviation
describe them badly, so everything here goes by rank. The bound on the median is the classic
order-statistic interval: the number of samples below the true median is Binomial(n, 1/2), whatever
the distribution, so the samples at two ranks enclose it with a probability that can be computed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import comb

CONFIDENCE = 0.95
FEWEST = 6  # below six samples no pair of ranks encloses the median with 95 %: 1 - 2/2**5 < 0.95


@dataclass(frozen=True)
class Quantiles:
    """20 %, 50 % and 80 % of a sample; ``low``–``high`` encloses the true median with 95 %."""

    p20: float
    median: float
    p80: float
    low: float
    high: float
    count: int

    @property
    def error(self) -> float:
        """Half the width of the bound, relative to the median; infinite for too few samples."""
        if self.count < FEWEST or self.median <= 0:
            return float("inf")
        return (self.high - self.low) / 2 / self.median


def quantiles(samples: Sequence[float]) -> Quantiles:
    """Summarise ``samples`` (at least one)."""
    if not samples:
        raise ValueError("no samples to summarise")
    ordered = sorted(samples)
    n = len(ordered)
    below, above = median_ranks(n)
    return Quantiles(
        p20=quantile(ordered, 0.2),
        median=quantile(ordered, 0.5),
        p80=quantile(ordered, 0.8),
        low=ordered[below],
        high=ordered[above],
        count=n,
    )


def quantile(ordered: Sequence[float], q: float) -> float:
    """Linear interpolation between the two nearest ranks of an ordered sample."""
    position = q * (len(ordered) - 1)
    left = int(position)
    right = min(left + 1, len(ordered) - 1)
    return ordered[left] + (position - left) * (ordered[right] - ordered[left])


@lru_cache(maxsize=4096)
def median_ranks(n: int) -> tuple[int, int]:
    """Zero-based ranks whose samples enclose the true median with ``CONFIDENCE``.

    The narrowest symmetric pair; the two ends of the sample where there are too few for the bound.
    """
    tail = 0.0
    below = 0
    for rank in range(n // 2):
        tail += comb(n, rank) / 2**n  # P(at most `rank` samples lie below the median)
        if 2 * tail > 1 - CONFIDENCE:
            break
        below = rank
    return below, n - 1 - below
