"""Draws day03_valley.svg: gradient descent in a valley, at three learning rates.

python -m tracks.autodiff.lessons.figures.day03_valley
"""

from __future__ import annotations

import numpy as np

from harness.figures import new_figure, reference, save

FLAT, STEEP = 1.0, 10.0  # how much the valley bends along x and along y
START = [-4.0, 1.0]
STEPS = 12


def main() -> None:
    descend = reference("autodiff", 3).gradient_descent

    def valley(p):
        return 0.5 * (FLAT * p[0] ** 2 + STEEP * p[1] ** 2)

    figure = new_figure(__file__, 5, 6.4)
    panels = figure.subplots(3, 1, sharex=True)
    x, y = np.linspace(-4.6, 1.2, 121), np.linspace(-2.3, 2.3, 93)
    heights = 0.5 * (FLAT * x**2 + STEEP * y[:, None] ** 2)
    levels = [0.5, 2, 5, 10, 16, 24]
    limit = 2 / STEEP
    for axes, part, colour, says in (
        (panels[0], 0.25, "#3b6fb6", "crawls along the floor"),
        (panels[1], 0.95, "#1d7a4c", "jumps across, and still arrives"),
        (panels[2], 1.05, "#c8443c", "climbs the walls"),
    ):
        rate = part * limit
        path = descend(valley, START, rate, STEPS)
        axes.contour(x, y, heights, levels=levels, colors="#bbbbbb", linewidths=0.8)
        axes.plot(path[:, 0], path[:, 1], "o-", color=colour, markersize=4, linewidth=1)
        axes.plot(0, 0, "*", color="#1a1a1a", markersize=9)
        axes.set_title(f"rate {rate:.2f}: {says}")
        axes.set_ylim(-2.3, 2.3)
        axes.set_ylabel(f"y: bend {STEEP:g}")
    panels[2].set_xlabel(f"x: bend {FLAT:g}")
    save(figure, __file__)


if __name__ == "__main__":
    main()
