"""Draws day13_margins.svg: three ways to count a margin, and how hard each pulls.

python -m tracks.autodiff.lessons.figures.day13_margins
"""

from __future__ import annotations

import numpy as np

from harness.figures import new_figure, reference, save


def main() -> None:
    day13 = reference("autodiff", 13)
    margins = np.sort(np.append(np.linspace(-3, 4, 141), 1 - 1e-9))  # hinge jumps at 1
    figure = new_figure(__file__, 5, 5.4)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[3, 2])
    above.plot([-3, 0], [1, 1], color="#777777", linewidth=2, linestyle=":", label="mistakes")
    above.plot([0, 4], [0, 0], color="#777777", linewidth=2, linestyle=":")
    below.plot([-3, 4], [0, 0], color="#777777", linewidth=2, linestyle=":")
    for name, colour, line in (("hinge", "#c8443c", "--"), ("logistic", "#3b6fb6", "-")):
        losses, slopes = [], []
        for margin in margins:
            score = day13.Value(float(margin))
            loss = getattr(day13, name)([score], [1])
            loss.backward()
            losses.append(loss.data)
            slopes.append(score.grad)
        above.plot(margins, losses, line, color=colour, label=name)
        below.plot(margins, slopes, line, color=colour)
    above.set_title("loss")
    above.set_yticks(range(5))
    below.set_title("slope")
    below.set_yticks([-1, -0.5, 0])
    below.set_xlabel("margin: label · score")
    above.legend(frameon=False)
    for axes in (above, below):
        axes.axvline(0, color="#bbbbbb", linewidth=0.8)
    save(figure, __file__)


if __name__ == "__main__":
    main()
