"""What an operation costs in the autodiff track's tensor engine, and how that grows with the graph.

    python benchmarks/tensor_engine.py [--day 24] [--edges 1000,10000,100000,1000000] [--rounds 5]

Two graphs of one-element tensors, so that numpy's own work is as small as it gets:

- a chain, y = y * w + x again and again: as deep as it is large;
- a wide one, many products of x and w, added up in pairs.

Both have two edges for each operation. Printed: microseconds of an operation forward and backward,
beside the same operations of numpy alone; the seconds of a backward pass for each number of edges;
and the exponent p of the line time = c · edges^p that fits them best. Of several rounds the best
counts. The exit code is 1 when an operation costs more than 10 us beyond numpy's, forward or
backward, or p is above 1.15: the engine is to be linear in the edges.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from harness.grading import finder  # noqa: E402  (the path comes first)
from harness.protocol import SOLUTION  # noqa: E402

OVERHEAD = 10.0  # us of an operation, beyond numpy's own
EXPONENT = 1.15
OPERATIONS = 2000
"""Of the chain whose operations are timed one by one: few enough for any cache."""


def chain(x: Any, w: Any, operations: int) -> Any:
    y = x
    for _ in range(operations // 2):
        y = y * w + x
    return y


def wide(x: Any, w: Any, operations: int) -> Any:
    parts = [x * w for _ in range(operations // 2 + 1)]
    while len(parts) > 1:
        odd = parts[-1:] if len(parts) % 2 else []
        parts = [a + b for a, b in zip(parts[::2], parts[1::2], strict=False)] + odd
    return parts[0]


def best(rounds: int, prepare: Callable[[], Any], call: Callable[[Any], Any]) -> float:
    """Seconds of ``call``, the shortest of the rounds; what it is given is made anew each time."""
    seconds = []
    for _ in range(rounds):
        given = prepare()
        started = time.perf_counter()
        call(given)
        seconds.append(time.perf_counter() - started)
        del given
    return min(seconds)


def leaves(day: ModuleType) -> tuple[Any, Any]:
    x, w = (day.Tensor([n], requires_grad=True, dtype="float64") for n in (0.7, 0.6))
    return x, w


def by_hand(ys: list[Any], x: Any, w: Any) -> Any:
    """The backward pass of ``chain`` in numpy alone, from the numbers of its forward pass."""
    g, of_x, of_w = np.ones_like(x), np.zeros_like(x), np.zeros_like(w)
    for y in reversed(ys):
        of_x = of_x + g
        of_w = of_w + g * y
        g = g * w
    return of_x + g, of_w


def costs(day: ModuleType, rounds: int) -> dict[str, float]:
    """Microseconds of an operation, forward and backward, and of numpy's own."""

    def forward(given: tuple[Any, Any]) -> Any:
        return chain(*given, operations=OPERATIONS)

    arrays = x, w = np.array([0.7]), np.array([0.6])
    ys = [x] * (OPERATIONS // 2)
    seconds = {
        "forward": best(rounds, lambda: leaves(day), forward),
        "backward": best(rounds, lambda: forward(leaves(day)), day.backward),
        "numpy forward": best(rounds, lambda: arrays, forward),
        "numpy backward": best(rounds, lambda: ys, lambda ys: by_hand(ys, x, w)),
    }
    return {name: 1e6 / OPERATIONS * found for name, found in seconds.items()}


def growth(
    day: ModuleType, graph: Callable[..., Any], edges: list[int], rounds: int
) -> list[float]:
    """Seconds of a backward pass for each number of edges."""
    found = []
    for n in edges:
        made = partial(lambda n: graph(*leaves(day), operations=n // 2), n)
        found.append(best(rounds if n < 10**5 else 2, made, day.backward))
    return found


def exponent(edges: list[int], seconds: list[float]) -> float:
    return float(np.polyfit(np.log(edges), np.log(seconds), 1)[0])


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--day", type=int, default=24)
    parser.add_argument("--edges", default="1000,10000,100000,1000000")
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args(arguments)
    edges = [int(n) for n in chosen.edges.split(",")]
    finder.install()
    with finder.use(finder.Choice(impl=SOLUTION)):
        day = importlib.import_module(f"tracks.autodiff.day{chosen.day:02d}")
    found = costs(day, 4 * chosen.rounds)
    print("an operation of one element, us:")
    over = {}
    for way in ("forward", "backward"):
        mine, alone = found[way], found[f"numpy {way}"]
        over[way] = mine - alone
        print(f"  {way:<8} {mine:5.1f}, numpy alone {alone:.1f}: {over[way]:.1f} beyond it")
    graphs = {"chain": chain, "wide": wide}
    times = {name: growth(day, graph, edges, chosen.rounds) for name, graph in graphs.items()}
    print(f"{'edges':>10}" + "".join(f"  {name + ', s':>10}  us an edge" for name in graphs))
    for row, n in enumerate(edges):
        cells = [f"  {t[row]:>10.4f}  {1e6 * t[row] / n:>10.2f}" for t in times.values()]
        print(f"{n:>10,}{''.join(cells)}")
    slopes = {name: exponent(edges, t) for name, t in times.items()}
    print("exponent: " + ", ".join(f"{name} {p:.3f}" for name, p in slopes.items()))
    return int(max(over.values()) > OVERHEAD or max(slopes.values()) > EXPONENT)


if __name__ == "__main__":
    sys.exit(main())
