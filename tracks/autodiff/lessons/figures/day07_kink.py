"""Draws day07_kink.svg: chords of |x| over its kink, and the slopes that they give.

python -m tracks.autodiff.lessons.figures.day07_kink
"""

from __future__ import annotations

import numpy as np

from harness.figures import new_figure, save

X, H = 0.4, 1.0
COLOURS = {"left": "#8a5a9e", "right": "#1d7a4c", "central": "#c8443c"}


def main() -> None:
    figure = new_figure(__file__, 5, 6.2)
    above, below = figure.subplots(2, 1, height_ratios=[1, 1])
    grid = np.array([-1.2, 0.0, 1.8])
    above.plot(grid, abs(grid), color="#1a1a1a", linewidth=1)
    places = {"x − h": X - H, "x": X, "x + h": X + H}
    ends = {
        "left": ("x − h", "x", (9, -16), "center"),
        "right": ("x", "x + h", (10, -16), "left"),
        "central": ("x − h", "x + h", (-6, 8), "right"),
    }
    for name, (start, end, offset, align) in ends.items():
        pair = np.array([places[start], places[end]])
        slope = (abs(pair[1]) - abs(pair[0])) / (pair[1] - pair[0])
        above.plot(pair, abs(pair), "--", color=COLOURS[name], linewidth=2)
        above.annotate(
            f"{name} {slope + 0.0:.2f}".replace("-", "−"),
            (pair.mean(), abs(pair).mean()),
            xytext=offset,
            textcoords="offset points",
            ha=align,
            color=COLOURS[name],
        )
    for name, x in places.items():
        above.plot(x, abs(x), "o", color="#1a1a1a", markersize=5)
        below_it = -14 if x < 0 else 6
        place = {"xytext": (-6, below_it), "textcoords": "offset points", "ha": "right"}
        above.annotate(name, (x, abs(x)), **place)
    above.set_title(f"|x| and its chords: x = {X:g}, h = {H:g}")
    above.set_ylim(-0.15, 1.9)

    x = np.linspace(-0.5, 1.5, 201)
    below.plot([-0.5, 0], [-1, -1], color="#1a1a1a", linewidth=2, label="true slope")
    below.plot([0, 1.5], [1, 1], color="#1a1a1a", linewidth=2)
    for h, line in ((H, "-"), (H / 2, "--")):
        central = (abs(x + h) - abs(x - h)) / (2 * h)
        below.plot(x, central, line, color=COLOURS["central"], label=f"central, h = {h:g}")
    below.plot(X, (abs(X + H) - abs(X - H)) / (2 * H), "o", color=COLOURS["central"], markersize=5)
    below.set_title("slope of |x|, true and measured")
    below.set_xlabel("x")
    below.set_xticks([-0.5, 0, 0.5, 1, 1.5])
    below.set_yticks([-1, 0, 1])
    below.legend(frameon=False, loc="lower right")
    save(figure, __file__)


if __name__ == "__main__":
    main()
