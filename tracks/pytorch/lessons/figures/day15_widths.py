"""Draws day15_widths.svg: the curve through noisy points, for three widths.

python -m tracks.pytorch.lessons.figures.day15_widths
"""

from __future__ import annotations

import torch

from harness.figures import new_figure, reference, save

WIDTHS = {
    0.03: ("too narrow", "#c8443c"),
    0.3: ("between", "#3b6fb6"),
    3.0: ("too wide", "#3a8a4d"),
}


def main() -> None:
    kernel_regression = reference("pytorch", 15).kernel_regression
    generator = torch.Generator().manual_seed(0)
    xs = torch.linspace(0, 6, 25, dtype=torch.float64)
    noise = torch.randn(25, generator=generator, dtype=torch.float64)
    ys = xs.sin() + 0.25 * noise
    x = torch.linspace(0, 6, 301, dtype=torch.float64)
    figure = new_figure(__file__, 5, 3.6)
    axes = figure.subplots()
    axes.plot(xs, ys, "o", color="#555555", markersize=4)
    for (width, (name, colour)), line in zip(WIDTHS.items(), (":", "-", "--"), strict=True):
        curve = kernel_regression(x, xs, ys, width)
        axes.plot(x, curve, line, color=colour, label=f"h = {width:g}, {name}", linewidth=1.8)
    axes.set_xlabel("query, and the place of a point")
    axes.legend(frameon=False, loc="lower left")
    save(figure, __file__)


if __name__ == "__main__":
    main()
