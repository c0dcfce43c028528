"""Draws day34_walks.svg: which blocks the programs of the two backward kernels walk over.

python -m tracks.triton.lessons.figures.day34_walks
"""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, Rectangle

from harness.figures import new_figure, save

N = 5
BLUE, RED, GREY, GREEN = "#3b6fb6", "#c8443c", "#d9d9d9", "#3a8a4d"


def grid(axes: Axes, title: str) -> None:
    axes.set_aspect("equal")
    axes.axis("off")
    axes.set_title(title, fontsize=10)
    for row in range(N):
        for column in range(row + 1):
            colour = RED if row == column else GREY
            box = Rectangle((column + 0.06, N - 1 - row + 0.06), 0.88, 0.88, facecolor=colour)
            box.set_alpha(0.55)
            axes.add_patch(box)
    axes.set_xlim(-1.3, N + 1.4)
    axes.set_ylim(-1.6, N + 0.6)


def arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    axes.add_patch(FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=12, linewidth=1.6))


def main() -> None:
    figure = new_figure(__file__, 8.0, 4.2)
    left, right = figure.subplots(1, 2)
    grid(left, "flash_dkdv: a program owns keys")
    grid(right, "flash_dq: a program owns queries")
    for i in range(N):
        arrow(left, (i + 0.5, N - i - 0.3), (i + 0.5, -0.15))
        box = Rectangle((i + 0.06, -0.7), 0.88, 0.5, facecolor=BLUE, alpha=0.45)
        left.add_patch(box)
        left.text(i + 0.5, -0.45, "dk, dv", ha="center", va="center", fontsize=7)
        arrow(right, (0.3, N - i - 0.5), (i + 1.3, N - i - 0.5))
        box = Rectangle((i + 1.35, N - i - 0.75), 0.75, 0.5, facecolor=GREEN, alpha=0.45)
        right.add_patch(box)
        right.text(i + 1.72, N - i - 0.5, "dq", ha="center", va="center", fontsize=7)
    for axes in (left, right):
        axes.text(-0.25, N / 2, "queries", rotation=90, ha="center", va="center", fontsize=9)
        axes.text(N / 2, N + 0.12, "keys", ha="center", va="center", fontsize=9)
    left.text(N / 2, -1.2, "red: cut by the mask.  grey: whole", ha="center", fontsize=9)
    right.text(N / 2, -1.2, "white: neither read nor computed", ha="center", fontsize=9)
    save(figure, __file__)


if __name__ == "__main__":
    main()
