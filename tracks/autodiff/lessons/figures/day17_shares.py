"""Draws day17_shares.svg: a column that was read in eight places gets the sum of eight gradients.

python -m tracks.autodiff.lessons.figures.day17_shares
"""

from __future__ import annotations

import numpy as np

from harness.figures import Step, Stepped, reference

CELL = 27


def main() -> None:
    unbroadcast = reference("autodiff", 17).unbroadcast
    a = np.array([[10], [20], [30]])
    wide = np.broadcast_to(a, (2, 3, 4))
    g = np.arange(24.0).reshape(2, 3, 4) % 5
    summed = g.sum(0, keepdims=True)
    due = summed.sum(2, keepdims=True)[0]
    assert np.array_equal(unbroadcast(g, a.shape), due)
    figure = Stepped(__file__, height=122)
    step = figure.step(
        f"Forward: a, shape {a.shape}, is read as {wide.shape}. Its first element is read in "
        f"{wide[:, 0].size} places."
    )
    draw(step, a[None], 8, "a", "a")
    draw(step, wide, 84, "a, as it is read", "a")
    step = figure.step(f"Backward: the gradient comes in the shape that was read, {g.shape}.")
    draw(step, g, 84, "gradient", "b")
    step = figure.step("a has no axis 0: sum over it. The two matrices become one.")
    draw(step, summed, 84, "sum over axis 0", "d")
    step = figure.step(
        f"Axis 2 has length 1 in a: sum over it too. The first element gets "
        f"{' + '.join(f'{v:g}' for v in summed[0, 0])} = {due[0, 0]:g}."
    )
    draw(step, summed, 84, "sum over axis 0", "d")
    draw(step, due[None], 8, "a's", "c")
    figure.save()


def draw(step: Step, array: np.ndarray, left: float, title: str, kind: str) -> None:
    deep, rows, columns = array.shape
    step.text(left, 16, title, "start", bold=True)
    for m in range(deep):
        for i in range(rows):
            texts = [f"{v:g}" for v in array[m, i]]
            x = left + m * (CELL * columns + 16)
            step.row(x, 26 + 28 * i, texts, kind, CELL, 26, range(columns) if i == 0 else ())


if __name__ == "__main__":
    main()
