"""Draws day12_activations.svg: the six activations and their slopes.

python -m tracks.autodiff.lessons.figures.day12_activations
"""

from __future__ import annotations

import numpy as np
from scipy.special import expit, ndtr

from harness.figures import new_figure, save

CURVES = {
    "relu": (lambda x: np.maximum(x, 0), lambda x: np.where(x > 0, 1.0, 0.0)),
    "leaky_relu (0.1)": (
        lambda x: np.where(x > 0, x, 0.1 * x),
        lambda x: np.where(x > 0, 1.0, 0.1),
    ),
    "tanh": (np.tanh, lambda x: 1 - np.tanh(x) ** 2),
    "sigmoid": (expit, lambda x: expit(x) * expit(-x)),
    "softplus": (lambda x: np.logaddexp(0, x), expit),
    "gelu": (
        lambda x: x * ndtr(x),
        lambda x: ndtr(x) + x * np.exp(-x * x / 2) / np.sqrt(2 * np.pi),
    ),
}


def main() -> None:
    x = np.linspace(-4, 4, 161)
    figure = new_figure(__file__, 8.4, 4.8)
    for axes, (name, (value, slope)) in zip(
        figure.subplots(2, 3, sharex=True).ravel(), CURVES.items(), strict=True
    ):
        axes.axhline(0, color="#aaaaaa", linewidth=0.6)
        axes.axvline(0, color="#aaaaaa", linewidth=0.6)
        axes.plot(x, value(x), color="#2471a3", label="value")
        axes.plot(x, slope(x), color="#c0392b", linewidth=1, linestyle="--", label="slope")
        axes.set(title=name, ylim=(-1.3, 2.3))
    figure.axes[0].legend(loc="upper left")
    save(figure, __file__)


if __name__ == "__main__":
    main()
