"""Draws day17_blocks.svg: a window of three over nine tokens, in blocks of queries.

python -m tracks.pytorch.lessons.figures.day17_blocks
"""

from __future__ import annotations

import torch

from harness.figures import Step, Stepped

LENGTH, WINDOW, CELL = 9, 3, 20


def main() -> None:
    figure = Stepped(__file__, height=212)
    behind = torch.arange(LENGTH)[:, None] - torch.arange(LENGTH)
    visible = (behind >= 0) & (behind < WINDOW)
    step = figure.step(
        f"All pairs: {LENGTH**2} scores are computed, {int(visible.sum())} of them are seen (x)."
    )
    draw(step, visible, 0, LENGTH, LENGTH)
    for block in range(LENGTH // WINDOW):
        first = block * WINDOW
        computed = 2 * WINDOW * (first + WINDOW)
        keys = f"{first - WINDOW} to {first + WINDOW - 1}" if block else "0 to 2, and three zeros"
        caption = f"Block {block}: queries {first} to {first + WINDOW - 1} meet keys {keys}. "
        if block == 0:
            caption += "The zeros have to be hidden. "
        caption += f"{computed} scores so far."
        draw(figure.step(caption), visible, first, first + WINDOW, first + WINDOW)
    figure.save()


def draw(step: Step, visible: torch.Tensor, first: int, last: int, done: int) -> None:
    whole = last - first == LENGTH
    left = 30 + CELL * WINDOW
    step.text(left + CELL * LENGTH / 2, 12, "keys", bold=True)
    step.text(4, 12, "queries", "start", bold=True)
    for i in range(LENGTH):
        step.text(22, 34 + CELL * i, str(i), "end")
        start = i // WINDOW * WINDOW - WINDOW
        for j in range(-WINDOW if not whole else 0, LENGTH):
            mine = whole or (i < done and start <= j < start + 2 * WINDOW)
            if j < 0 and not mine:
                continue
            now = first <= i < last and mine and not whole
            sees = j >= 0 and bool(visible[i, j])
            kind = "n" if not mine else "x" if not sees else "b" if now else "a"
            text = "0" if j < 0 else "x" if sees and mine else ""
            step.box(left + CELL * j, 20 + CELL * i, CELL, CELL, text, kind, now)


if __name__ == "__main__":
    main()
