"""Draws day26_ulps.svg: how far three formulas of gelu are off, over x, in ulp.

python -m tracks.triton.lessons.figures.day26_ulps
"""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np

from harness.figures import new_figure, save

FIRST, LAST = -12, 2


def f32(x: float) -> float:
    return float(np.float32(x))


C = f32(math.sqrt(0.5))


def exact(x: float) -> float:
    return x * math.erfc(-x * math.sqrt(0.5)) / 2


def by_erf(x: float) -> float:
    return f32(x / 2 * f32(1 + f32(math.erf(f32(x * C)))))


def by_erfc(x: float) -> float:
    return f32(x / 2 * f32(math.erfc(f32(-x * C))))


def by_phi(x: float) -> float:
    """By a function that takes x as it is."""
    return f32(x * f32(math.erfc(-x * math.sqrt(0.5)) / 2))


def off(formula: float, right: float) -> float:
    """The lesson's measure."""
    ulp = 2.0 ** (math.frexp(abs(right))[1] - 24)
    return abs(formula - right) / ulp


def main() -> None:
    figure = new_figure(__file__, 5, 3.4)
    axes = figure.subplots()
    edges = np.linspace(FIRST, LAST, (LAST - FIRST) * 4 + 1)
    for formula, colour, marker, label in (
        (by_erf, "#c8443c", "x-", "1 + erf"),
        (by_erfc, "#3b6fb6", "s-", "erfc of a rounded argument"),
        (by_phi, "#3a8a4d", ".-", "one function of x itself"),
    ):
        worst = [
            max(off(formula(x), exact(x)) for x in map(f32, np.linspace(left, right, 42)[1:-1]))
            for left, right in pairwise(edges)
        ]
        middles = (edges[1:] + edges[:-1]) / 2
        axes.plot(middles, worst, marker, color=colour, linewidth=1, markersize=3, label=label)
    axes.axhline(0.5, color="#777777", linewidth=1, linestyle="--")
    axes.text(FIRST, 0.45, "half an ulp: the best there is", va="top", fontsize=8)
    axes.set_yscale("log")
    axes.set_ylim(0.1, 2e8)
    axes.set_xlabel("x")
    axes.set_ylabel("off by, in ulp: the worst of 40")
    axes.set_title("gelu in float32, three ways", fontsize=10)
    axes.legend(frameon=False, loc="upper right", fontsize=8)
    save(figure, __file__)


if __name__ == "__main__":
    main()
