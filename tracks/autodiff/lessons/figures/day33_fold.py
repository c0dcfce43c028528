"""Draws day33_fold.svg: columns go back to the pixels, a place of the kernel a step.

python -m tracks.autodiff.lessons.figures.day33_fold
"""

from __future__ import annotations

import numpy as np

from harness.figures import Step, Stepped, reference

FILTER = np.array([[1.0, 2.0], [3.0, 4.0]])
PLACES = [(a, b) for a in range(2) for b in range(2)]


def main() -> None:
    day33 = reference("autodiff", 33)
    columns = np.repeat(FILTER.reshape(4, 1), 4, axis=1)  # a gradient of 1 at each of four results
    canvas = np.zeros((3, 3))
    figure = Stepped(__file__, height=176)
    step = figure.step(
        "The filter 1 2 / 3 4 stood at four places, and each result has the gradient 1. A column "
        "holds what one window gives back."
    )
    draw(step, columns, canvas, None)
    for row, (a, b) in enumerate(PLACES):
        canvas[a : a + 2, b : b + 2] += columns[row].reshape(2, 2)
        caption = (
            f"Place ({a},{b}) of the kernel: its four numbers fall on four different pixels, so "
            "one addition of a slice takes them all."
        )
        if row == 3:
            caption += " The middle pixel lay in all four windows."
        draw(figure.step(caption), columns, canvas, row)
    folded = day33.fold(columns.reshape(1, 1, 2, 2, 2, 2), day33.Window((2, 2)), (3, 3))
    assert np.array_equal(folded[0, 0], canvas)
    figure.save()


def draw(step: Step, columns: np.ndarray, canvas: np.ndarray, now: int | None) -> None:
    step.text(112, 14, "columns", bold=True)
    for column, (i, j) in enumerate(PLACES):
        step.text(64 + 36 * column + 18, 34, f"{i},{j}")
    for row, (a, b) in enumerate(PLACES):
        step.text(56, 58 + 28 * row, f"({a},{b})", "end")
        kind = "b" if row == now else "a" if now is not None and row < now else "n"
        texts = [f"{v:g}" for v in columns[row]]
        step.row(64, 42 + 28 * row, texts, kind, 36, 28, range(4) if row == now else ())
    step.text(290, 14, "image", bold=True)
    for i in range(3):
        for j in range(3):
            here = False
            if now is not None:
                a, b = PLACES[now]
                here = a <= i < a + 2 and b <= j < b + 2
            kind = "b" if here else "n" if canvas[i, j] == 0 else "c"
            step.box(236 + 36 * j, 42 + 36 * i, 36, 36, f"{canvas[i, j]:g}", kind, here)


if __name__ == "__main__":
    main()
