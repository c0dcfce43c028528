"""What a node of the autodiff track's scalar engine costs, against the design of micrograd.

    python benchmarks/scalar_engine.py [--rounds 15] [--day 14]

Both build the same graphs from the same numbers, forward and backward, in turns and in an order
drawn anew each round, so that a busy machine slows both alike. The time is divided by the number
of operations in the graph. Printed: the medians, and the ratio of the two, round by round, with
the bound that encloses its median with 95 %; the exit code is 1 when the ratio exceeds the goal.

The baseline is written here from the published idea (A. Karpathy's micrograd): a Value with an
ordinary dictionary, whose operators leave a closure ``_backward`` that reads the result's own
gradient; ``backward`` sorts the graph by a recursive function with a set of visited nodes.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from harness.bench.quantiles import quantiles  # noqa: E402  (the path comes first)
from harness.grading import finder  # noqa: E402

GOAL = 1.0
"""The engine takes no longer for a node than the baseline."""


class Baseline:
    """micrograd's design, with the operations that the graphs below need."""

    def __init__(self, data: float, children: tuple[Baseline, ...] = (), op: str = "") -> None:
        self.data = data
        self.grad = 0.0
        self._backward: Callable[[], None] = lambda: None
        self._prev = set(children)
        self._op = op

    def __add__(self, other: Baseline | float) -> Baseline:
        right = other if isinstance(other, Baseline) else Baseline(other)
        out = Baseline(self.data + right.data, (self, right), "+")

        def _backward() -> None:
            self.grad += out.grad
            right.grad += out.grad

        out._backward = _backward
        return out

    def __mul__(self, other: Baseline | float) -> Baseline:
        right = other if isinstance(other, Baseline) else Baseline(other)
        out = Baseline(self.data * right.data, (self, right), "*")

        def _backward() -> None:
            self.grad += right.data * out.grad
            right.grad += self.data * out.grad

        out._backward = _backward
        return out

    def __pow__(self, power: float) -> Baseline:
        out = Baseline(self.data**power, (self,), f"**{power}")

        def _backward() -> None:
            self.grad += power * self.data ** (power - 1) * out.grad

        out._backward = _backward
        return out

    def relu(self) -> Baseline:
        out = Baseline(0.0 if self.data < 0 else self.data, (self,), "relu")

        def _backward() -> None:
            self.grad += (out.data > 0) * out.grad

        out._backward = _backward
        return out

    def __sub__(self, other: Baseline | float) -> Baseline:
        return self + other * -1.0

    def backward(self) -> None:
        order: list[Baseline] = []
        visited: set[Baseline] = set()

        def visit(node: Baseline) -> None:
            if node not in visited:
                visited.add(node)
                for child in node._prev:
                    visit(child)
                order.append(node)

        visit(self)
        self.grad = 1.0
        for node in reversed(order):
            node._backward()


# The graphs: built from a class and numbers alone, so that both sides do the same ---------------


def chain(value: Callable[[float], Any], numbers: list[float]) -> tuple[Any, list[Any]]:
    """A long sum of products, one leaf after the other: short enough for the recursion."""
    leaves = [value(x) for x in numbers[:150]]
    total = leaves[0]
    for leaf in leaves[1:]:
        total = total * 0.5 + leaf
    return total, leaves


def network(value: Callable[[float], Any], numbers: list[float]) -> tuple[Any, list[Any]]:
    """A perceptron of 2, 16, 16 and 1 neurons, term by term, and its squared error."""
    draw = iter(numbers)
    leaves: list[Any] = []
    signal: list[Any] = [value(0.3), value(-0.7)]
    for width, bent in ((16, True), (16, True), (1, False)):
        outputs = []
        for _ in range(width):
            weights = [value(next(draw)) for _ in signal]
            total = value(next(draw))
            leaves += [*weights, total]
            for weight, x in zip(weights, signal, strict=True):
                total = total + weight * x
            outputs.append(total.relu() if bent else total)
        signal = outputs
    return (signal[0] - 1.0) ** 2, leaves


def diamonds(value: Callable[[float], Any], numbers: list[float]) -> tuple[Any, list[Any]]:
    """Every node is used twice or more: 2 ** 100 ways from the end to the beginning."""
    leaves = [value(x) for x in numbers[:100]]
    node = leaves[0]
    for leaf in leaves:
        node = (node + node * leaf) * 0.5
    return node, leaves


GRAPHS = {"chain": chain, "network": network, "diamonds": diamonds}


def operations(root: Baseline) -> int:
    """How many nodes of the graph are results, not leaves."""
    found, pending = {root}, [root]
    while pending:
        for child in pending.pop()._prev:
            if child not in found:
                found.add(child)
                pending.append(child)
    return sum(1 for node in found if node._prev)


def engine(day: int) -> Callable[[float], Any]:
    """The Value that a day of the reference knows."""
    with finder.use(finder.Choice(impl=finder.SOLUTION)):
        module = importlib.import_module(f"tracks.autodiff.day{day:02d}")
    value: Callable[[float], Any] = module.Value
    return value


def check(ours: Callable[[float], Any], numbers: list[float]) -> None:
    """Both compute the same value and the same gradients, or the times mean nothing."""
    for name, graph in GRAPHS.items():
        results = []
        for value in (ours, Baseline):
            root, leaves = graph(value, numbers)
            root.backward()
            results.append([root.data, *(leaf.grad for leaf in leaves)])
        for a, b in zip(*results, strict=True):
            if abs(a - b) > 1e-9 * max(1.0, abs(b)):
                raise SystemExit(f"{name}: the engine says {a}, the baseline {b}")


def seconds(graph: Callable[..., tuple[Any, list[Any]]], value: Any, numbers: list[float]) -> float:
    """CPU time of one graph, forward and backward, and until it is freed."""
    repeats = 20
    start = time.process_time()
    for _ in range(repeats):
        root, leaves = graph(value, numbers)
        root.backward()
        del root, leaves
    # What is left in circles is the garbage collector's work: it belongs to whoever made them.
    gc.collect()
    return (time.process_time() - start) / repeats


def measure(
    ours: Callable[[float], Any], numbers: list[float], rounds: int
) -> dict[str, dict[str, list[float]]]:
    """Nanoseconds for a node of each graph on each side, round by round, one round to warm up."""
    sides: dict[str, Any] = {"engine": ours, "baseline": Baseline}
    nodes = {name: operations(graph(Baseline, numbers)[0]) for name, graph in GRAPHS.items()}
    found: dict[str, dict[str, list[float]]] = {n: {s: [] for s in sides} for n in GRAPHS}
    for number in range(rounds + 1):
        for name, graph in GRAPHS.items():
            for side in random.sample(list(sides), len(sides)):
                used = seconds(graph, sides[side], numbers)
                if number:
                    found[name][side].append(1e9 * used / nodes[name])
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--day", type=int, default=14, help="whose Value is timed")
    options = parser.parse_args()
    if options.rounds < 1:
        parser.error("--rounds must be at least 1")
    generator = random.Random(0)
    numbers = [generator.uniform(-1.0, 1.0) for _ in range(400)]
    ours = engine(options.day)
    check(ours, numbers)
    gc.collect()
    gc.freeze()  # the imported modules are no part of what is timed
    found = measure(ours, numbers, options.rounds)
    print(f"{'':10}{'engine':>12}{'baseline':>12}{'ratio':>8}")
    worst = 0.0
    for name, sides in found.items():
        ratio = quantiles([a / b for a, b in zip(sides["engine"], sides["baseline"], strict=True)])
        ours_ns, theirs_ns = (quantiles(sides[side]).median for side in ("engine", "baseline"))
        worst = max(worst, ratio.median)
        print(
            f"{name:10}{ours_ns:9.0f} ns{theirs_ns:9.0f} ns{ratio.median:8.2f}"
            f"  ({ratio.low:.2f} to {ratio.high:.2f})"
        )
    print(f"worst ratio {worst:.2f}, goal at most {GOAL:.2f}")
    return 0 if worst <= GOAL else 1


if __name__ == "__main__":
    raise SystemExit(main())
