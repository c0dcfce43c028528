"""``benchmarks/scalar_engine.py``: both sides compute the same, and the wrong is not timed."""

import math

import pytest

from tests.bench.test_own_costs import script

NUMBERS = [math.sin(n) for n in range(400)]


@pytest.fixture(scope="module")
def bench():
    return script("scalar_engine")


def test_the_baseline_has_the_right_gradient(bench):
    a, b = bench.Baseline(2.0), bench.Baseline(-3.0)
    y = (a * b + a) ** 2 + b.relu() * a - b  # (ab + a)² - b, as relu is 0 there
    y.backward()
    assert (y.data, a.grad, b.grad) == (19.0, 16.0, -17.0)


def test_both_sides_agree_on_every_graph(bench):
    bench.check(bench.engine(14), NUMBERS)


def test_an_engine_that_computes_something_else_is_not_timed(bench):
    with pytest.raises(SystemExit, match="the engine says"):
        bench.check(lambda x: bench.Baseline(1.001 * x), NUMBERS)


def test_operations_are_results_and_each_counts_once(bench):
    a = bench.Baseline(2.0)
    b = a * a
    assert bench.operations(b * b + b) == 3
    assert bench.operations(a) == 0


def test_every_round_but_the_first_is_kept(bench, monkeypatch):
    monkeypatch.setattr(bench, "seconds", lambda graph, value, numbers: 1.0)
    found = bench.measure(bench.Baseline, NUMBERS, 3)
    kept = {name: [len(times) for times in sides.values()] for name, sides in found.items()}
    assert kept == {name: [3, 3] for name in bench.GRAPHS}
