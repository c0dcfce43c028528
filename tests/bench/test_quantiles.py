import math
import random

import pytest

from harness.bench.quantiles import FEWEST, median_ranks, quantile, quantiles


def coverage(n, below):
    """Probability that ranks ``below`` and its mirror image enclose the median, exactly."""
    return 1 - 2 * sum(math.comb(n, k) for k in range(below + 1)) / 2**n


@pytest.mark.parametrize("n", [6, 7, 10, 25, 100, 333])
def test_bound_is_the_narrowest_that_holds(n):
    below, above = median_ranks(n)
    assert above == n - 1 - below
    assert coverage(n, below) >= 0.95
    assert coverage(n, below + 1) < 0.95


def test_textbook_ranks():
    assert median_ranks(10) == (1, 8)
    assert median_ranks(100) == (39, 60)


def test_too_few_samples_have_no_error_bound():
    assert quantiles([1.0] * (FEWEST - 1)).error == math.inf
    assert quantiles([1.0] * FEWEST).error == 0


def test_bound_holds_on_skewed_noise():
    draw = random.Random(3)
    inside = 0
    for _ in range(400):
        q = quantiles([draw.expovariate(1.0) for _ in range(25)])
        inside += q.low <= math.log(2) <= q.high
    assert inside >= 0.92 * 400


def test_quantiles_ignore_one_long_interruption():
    q = quantiles([10.0] * 30 + [10_000.0])
    assert (q.p20, q.median, q.p80, q.high) == (10, 10, 10, 10)


def test_interpolation_and_emptiness():
    assert quantile([0.0, 10.0], 0.25) == 2.5
    with pytest.raises(ValueError, match="no samples"):
        quantiles([])
