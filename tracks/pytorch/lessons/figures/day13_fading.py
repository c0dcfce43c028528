"""Draws day13_fading.svg: how much of a gradient is left after n steps back, by cell.

python -m tracks.pytorch.lessons.figures.day13_fading
"""

from __future__ import annotations

import math

from harness.figures import new_figure, save

STEPS = 40
WEIGHTS = {0.5: "#c8443c", 0.9: "#d9902f", 1.1: "#8a5a9e"}
GATES = {0.5: "bias 0", 1 / (1 + math.exp(-1)): "bias 1", 0.99: ""}


def main() -> None:
    figure = new_figure(__file__, 5, 4)
    axes = figure.subplots()
    steps = range(STEPS + 1)
    for weight, colour in WEIGHTS.items():
        axes.plot(steps, simple(weight), "-", color=colour, label=f"simple cell, W = {weight:g}")
    for (gate, bias), colour in zip(GATES.items(), ("#777777", "#3b6fb6", "#3a8a4d"), strict=True):
        label = f"memory, f = {gate:.2f}" + f" ({bias})" * bool(bias)
        axes.plot(steps, [gate**n for n in steps], "--", color=colour, label=label)
    axes.set_yscale("log")
    axes.set_ylim(1e-8, 3)
    axes.set_xlim(0, STEPS)
    axes.set_xlabel("steps")
    axes.set_title("derivative of the state by the first one")
    axes.legend(frameon=False, fontsize=9, loc="lower left")
    save(figure, __file__)


def simple(weight: float) -> list[float]:
    """The lesson's cell with a state of one number: a 1 comes in first, then zeros."""
    h, left, result = math.tanh(1.0), 1.0, [1.0]
    for _ in range(STEPS):
        h = math.tanh(weight * h)
        left *= weight * (1 - h * h)
        result.append(left)
    return result


if __name__ == "__main__":
    main()
