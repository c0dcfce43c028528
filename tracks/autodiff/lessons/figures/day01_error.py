"""Draws day01_error.svg: the error of three ways to a derivative, against the step.

python -m tracks.autodiff.lessons.figures.day01_error
"""

from __future__ import annotations

import numpy as np

from harness.figures import new_figure, save


def cube(x):
    return x * x * x


def main() -> None:
    x, slope = 0.7, 3 * 0.7**2
    h = 10.0 ** np.linspace(-14, 0, 140)
    ways = {
        "forward difference": (cube(x + h) - cube(x)) / h,
        "central difference": (cube(x + h) - cube(x - h)) / (2 * h),
        "complex step": cube(x + 1j * h).imag / h,
    }
    figure = new_figure(__file__, 7.2, 4.4)
    axes = figure.subplots()
    for (name, found), colour in zip(ways.items(), ["#c0392b", "#2471a3", "#1e8449"], strict=True):
        error = np.maximum(np.abs(found - slope), 1e-17)
        axes.loglog(h, error, ".", markersize=3, color=colour, label=name)
    axes.loglog(h, 2.1 * h, "-", color="#c0392b", linewidth=0.8, alpha=0.6)
    axes.loglog(h, h**2, "-", color="#2471a3", linewidth=0.8, alpha=0.6)
    axes.loglog(h, 2.0**-53 / h, "--", color="#555555", linewidth=0.8)
    axes.annotate("rounding, like eps / h", (1e-13, 4e-3), color="#555555")
    axes.annotate("like h", (3e-5, 2e-3), color="#c0392b")
    axes.annotate("like h²", (6e-3, 3e-7), color="#2471a3")
    axes.set(
        xlabel="step h", ylabel="error of the slope", ylim=(3e-18, 10),
        title="slope of x³ at x = 0.7",
    )  # fmt: skip
    axes.legend(loc="lower right", markerscale=4)
    save(figure, __file__)


if __name__ == "__main__":
    main()
