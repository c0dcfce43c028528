"""Draws day13_xor.svg: where a network of three neurons says 1.

python -m tracks.autodiff.lessons.figures.day13_xor
"""

from __future__ import annotations

import numpy as np

from harness.figures import new_figure, reference, save

NUMBERS = [1.0, 1.0, 0.0, 1.0, 1.0, -1.0, 1.0, -2.0, 0.0]  # those of the lesson


def main() -> None:
    model = reference("autodiff", 13).MLP([2, 2, 1], np.random.default_rng(0))
    for p, number in zip(model.parameters(), NUMBERS, strict=True):
        p.data = number
    sides = np.linspace(-0.6, 1.6, 45)
    found = np.array([[model([x, y])[0].data for x in sides.tolist()] for y in sides.tolist()])
    figure = new_figure(__file__, 4.2, 4.2)
    axes = figure.subplots()
    axes.contourf(sides, sides, found, levels=[0.5, 2], colors=["#fde2b8"])
    for total, name, line in ((0.0, "neuron 0 begins", "--"), (1.0, "neuron 1 begins", ":")):
        axes.plot(sides, total - sides, line, color="#3b6fb6", linewidth=2, label=name)
    axes.legend(frameon=False, loc="upper right")
    for x in (0, 1):
        for y in (0, 1):
            answer = model([float(x), float(y)])[0].data
            assert answer == x ^ y
            axes.plot(x, y, "s" if answer else "o", color="#1a1a1a", markersize=9)
            axes.annotate(
                f"{answer:g}", (x, y), xytext=(9, 6), textcoords="offset points", fontsize=12
            )
    axes.set_xticks([0, 1])
    axes.set_yticks([0, 1])
    axes.set_xlabel("first input")
    axes.set_ylabel("second input")
    axes.set_xlim(-0.6, 1.6)
    axes.set_ylim(-0.6, 1.6)
    axes.set_title("more than 0.5 in the strip")
    axes.set_aspect("equal")
    save(figure, __file__)


if __name__ == "__main__":
    main()
