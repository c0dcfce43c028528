"""Draws day30_signal.svg: the size of a signal over 50 layers, for three deviations of the weights.

python -m tracks.autodiff.lessons.figures.day30_signal
"""

from __future__ import annotations

import numpy as np

from harness.figures import new_figure, save

N, LAYERS = 256, 50
DEVIATIONS = {0.08: ("0.08", "#c8443c"), 1 / 16: ("1 / √n", "#3a8a4d"), 0.05: ("0.05", "#3b6fb6")}


def main() -> None:
    figure = new_figure(__file__, 5, 3.2)
    axes = figure.subplots()
    for s, (name, colour) in DEVIATIONS.items():
        sizes = signal(s)
        axes.plot(range(LAYERS + 1), sizes, color=colour, linewidth=1.8)
        law = [(N**0.5 * s) ** layer for layer in range(LAYERS + 1)]
        axes.plot(range(LAYERS + 1), law, "--", color="#777777", linewidth=1)
        axes.annotate(
            f"s = {name}", (LAYERS, sizes[-1]), xytext=(6, 0), textcoords="offset points",
            color=colour, va="center", annotation_clip=False,
        )  # fmt: skip
    axes.set_yscale("log")
    axes.set_xlim(0, LAYERS)
    axes.set_xlabel("layers")
    axes.set_ylabel("root mean square")
    axes.set_title("dashed: s √n to the power of the layers")
    save(figure, __file__)


def signal(s: float) -> list[float]:
    """The lesson's experiment, with the size after every layer."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=N)
    sizes = [float(np.sqrt(np.mean(x * x)))]
    for _ in range(LAYERS):
        x = (s * rng.normal(size=(N, N))) @ x
        sizes.append(float(np.sqrt(np.mean(x * x))))
    return sizes


if __name__ == "__main__":
    main()
