"""Draws day29_tiles.svg: which tile of scores waits for which, and what is on the chip.

python -m tracks.triton.lessons.figures.day29_tiles
"""

from __future__ import annotations

from matplotlib.patches import FancyArrowPatch, Rectangle

from harness.figures import new_figure, save

ROWS, COLUMNS = 4, 5
BLUE, RED, GREY, GREEN = "#3b6fb6", "#c8443c", "#d9d9d9", "#3a8a4d"


def main() -> None:
    figure = new_figure(__file__, 8.0, 4.2)
    axes = figure.subplots()
    axes.set_aspect("equal")
    axes.axis("off")
    for row in range(ROWS):
        y = ROWS - 1 - row
        axes.add_patch(Rectangle((-1.5, y + 0.05), 0.8, 0.9, facecolor=BLUE, alpha=0.35))
        axes.text(-1.1, y + 0.5, f"q {row}", ha="center", va="center")
        for column in range(COLUMNS):
            colour = RED if column == 2 else GREY if column < 2 else "white"
            box = Rectangle((column * 1.35, y + 0.05), 0.9, 0.9, facecolor=colour, alpha=0.6)
            box.set_edgecolor("#555555")
            axes.add_patch(box)
            axes.text(column * 1.35 + 0.45, y + 0.5, f"step {column}", ha="center", va="center")
            start, end = column * 1.35 + 0.92, column * 1.35 + 1.33
            axes.add_patch(
                FancyArrowPatch((start, y + 0.5), (end, y + 0.5), arrowstyle="->", mutation_scale=9)
            )
        axes.add_patch(Rectangle((COLUMNS * 1.35, y + 0.05), 0.8, 0.9, facecolor=GREEN, alpha=0.35))
        axes.text(COLUMNS * 1.35 + 0.4, y + 0.5, f"o {row}", ha="center", va="center")
        axes.text(COLUMNS * 1.35 + 1.0, y + 0.5, f"program {row}", ha="left", va="center")
    for column in range(COLUMNS):
        x = column * 1.35
        colour = RED if column == 2 else GREY
        axes.add_patch(Rectangle((x, ROWS + 0.15), 0.9, 0.55, facecolor=colour, alpha=0.6))
        axes.text(x + 0.45, ROWS + 0.42, f"k, v {column}", ha="center", va="center")
    axes.text(
        1.35 * 2 - 0.2,
        -0.45,
        "arrows: m, total and acc of a tile of queries; a step waits for the one to its left only",
        ha="center",
        fontsize=9,
    )
    axes.text(
        1.35 * 2 - 0.2,
        -0.85,
        "red: on the chip now.  grey: gone.  white: not computed yet.  None of them is ever stored",
        ha="center",
        fontsize=9,
    )
    axes.set_xlim(-1.7, COLUMNS * 1.35 + 2.4)
    axes.set_ylim(-1.1, ROWS + 0.9)
    save(figure, __file__)


if __name__ == "__main__":
    main()
