"""Draws day28_linear.svg: four backwards that agree on 1.

python -m tracks.autodiff.lessons.figures.day28_linear
"""

from __future__ import annotations

import numpy as np

from harness.figures import new_figure, save

SENT = (1.0, -1.75)
BACKWARDS = (  # those of the lesson
    ("right", lambda g: 2 * g, "#1a1a1a", "-"),
    ("the size", lambda g: 2 * abs(g), "#c8443c", "--"),
    ("the square", lambda g: 2 * g * g, "#8a5a9e", "-."),
    ("clipped", lambda g: 2 * np.clip(g, -1, 1), "#3b6fb6", ":"),
)


def main() -> None:
    figure = new_figure(__file__, 5, 4.2)
    axes = figure.subplots()
    g = np.linspace(-2, 2, 161)
    for sent in SENT:
        axes.axvline(sent, color="#bbbbbb", linewidth=0.8)
    for name, backward, colour, line in BACKWARDS:
        axes.plot(g, backward(g), line, color=colour, linewidth=2, label=name)
        for sent in SENT:
            shade = "#1a1a1a" if sent == 1 else colour
            axes.plot(sent, backward(sent), "o", color=shade, markersize=6)
    axes.annotate("all agree", (1, 2), xytext=(8, -14), textcoords="offset points")
    axes.set_xticks([*SENT, 0], [f"{x:g}".replace("-", "−") for x in (*SENT, 0)])
    axes.set_xlabel("gradient that comes in")
    axes.set_ylabel("share that goes out")
    axes.set_ylim(-4.5, 8.5)
    axes.legend(frameon=False, loc="upper center")
    save(figure, __file__)


if __name__ == "__main__":
    main()
