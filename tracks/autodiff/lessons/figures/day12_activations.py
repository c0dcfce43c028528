"""Draws day12_activations.svg: the six activations and their slopes.

Run it in this folder: python day12_activations.py
"""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from scipy.special import expit, ndtr

# Text stays text, and the same run gives the same file.
matplotlib.rcParams.update({"svg.hashsalt": "day12", "svg.fonttype": "none", "font.size": 10})

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
    figure = Figure(figsize=(8.4, 4.8), facecolor="white")
    for axes, (name, (value, slope)) in zip(
        figure.subplots(2, 3, sharex=True).ravel(), CURVES.items(), strict=True
    ):
        axes.axhline(0, color="#aaaaaa", linewidth=0.6)
        axes.axvline(0, color="#aaaaaa", linewidth=0.6)
        axes.plot(x, value(x), color="#2471a3", label="value")
        axes.plot(x, slope(x), color="#c0392b", linewidth=1, linestyle="--", label="slope")
        axes.set(title=name, ylim=(-1.3, 2.3))
    figure.axes[0].legend(loc="upper left")
    figure.tight_layout()
    figure.savefig(Path(__file__).with_suffix(".svg"), metadata={"Date": None, "Creator": None})


if __name__ == "__main__":
    main()
