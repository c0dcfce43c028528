"""Draws day02_broadcast.svg: three prices times four quantities: who is repeated along which axis.

python -m tracks.pytorch.lessons.figures.day02_broadcast
"""

from __future__ import annotations

import torch

from harness.figures import Step, Stepped

PRICES, QUANTITIES = torch.tensor([2, 7, 1]), torch.tensor([1, 5, 0, 3])


def main() -> None:
    figure = Stepped(__file__, height=142)
    rows, columns = len(PRICES), len(QUANTITIES)
    column = PRICES[:, None]
    left, right = torch.broadcast_tensors(column, QUANTITIES)
    step = figure.step(
        f"Shapes {tuple(column.shape)} and {tuple(QUANTITIES.shape)}, right-aligned: an axis of "
        "length 1, or a missing one, fits any length."
    )
    draw(step, 1, 1)
    step = figure.step(
        f"The prices are read as {columns} columns, with strides {left.stride()}. None is copied."
    )
    draw(step, columns, 1)
    step = figure.step(f"The quantities are read as {rows} rows, with strides {right.stride()}.")
    draw(step, columns, rows)
    step = figure.step(
        f"The result has shape {tuple((left * right).shape)}, and this is new memory."
    )
    draw(step, columns, rows)
    for i, values in enumerate((column * QUANTITIES).tolist()):
        step.row(242, 34 + 30 * i, values, "c", 28, 26)
    figure.save()


def draw(step: Step, across: int, down: int) -> None:
    for x, title in ((58, "prices"), (174, "quantities"), (298, "result")):
        step.text(x, 20, title, bold=True)
    step.text(118, 82, "*")
    step.text(234, 82, "=")
    for i, price in enumerate(PRICES.tolist()):
        for j in range(across):
            step.box(6 + 26 * j, 34 + 30 * i, 26, 26, str(price), "x" if j else "a")
    for i in range(down):
        row = QUANTITIES.tolist()
        step.row(124, 34 + 30 * i, row, "x" if i else "b", 26, 26)


if __name__ == "__main__":
    main()
