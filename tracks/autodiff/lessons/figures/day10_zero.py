"""Draws day10_zero.svg: the slopes that |x| may have at 0, and those of the root on its way there.

python -m tracks.autodiff.lessons.figures.day10_zero
"""

from __future__ import annotations

import numpy as np

from harness.figures import new_figure, reference, save


def main() -> None:
    Value = reference("autodiff", 10).Value
    figure = new_figure(__file__, 5, 5.4)
    above, below = figure.subplots(2, 1)

    x = np.array([-1.0, 0.0, 1.0])
    above.plot(x, abs(x), color="#1a1a1a", linewidth=2)
    corner = Value(0.0)
    abs(corner)._backward(1.0)
    for slope in (-0.5, 0.0, 0.5):
        taken = slope == corner.grad
        above.plot(
            x, slope * x, "-" if taken else "--", color="#c8443c" if taken else "#8a5a9e",
            linewidth=1.5, label=f"slope {slope:g}".replace("-", "−") + ", taken" * taken,
        )  # fmt: skip
    above.set_title("|x|: lines that touch it from below at 0")
    above.legend(frameon=False, loc="upper center")
    above.set_ylim(-0.6, 1.1)
    above.set_xticks([-1, 0, 1])
    above.set_yticks([0, 1])

    x = np.linspace(0, 1, 401) ** 2
    below.plot(x, np.sqrt(x), color="#1a1a1a", linewidth=2)
    for at, colour in ((0.64, "#3b6fb6"), (0.16, "#1d7a4c"), (0.01, "#c8443c")):
        place = Value(at)
        root = place.sqrt()
        root._backward(1.0)
        ends = np.array([-0.25, 0.25]) / np.hypot(1, place.grad)
        below.plot(at + ends, root.data + place.grad * ends, color=colour, linewidth=2)
        below.plot(at, root.data, "o", color=colour, markersize=5)
        below.annotate(
            f"slope {place.grad:.3g}",
            (at, root.data),
            xytext=(10, -12),
            textcoords="offset points",
            color=colour,
        )
    below.set_title("√x: its slope grows without bound")
    below.set_xlim(-0.05, 1)
    below.set_xticks([0, 0.5, 1])
    below.set_yticks([0, 0.5, 1])
    below.set_ylim(-0.15, 1.1)
    save(figure, __file__)


if __name__ == "__main__":
    main()
