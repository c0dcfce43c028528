"""Draws day25_rows.svg: the masks of four rows on one GPU and on two, by place and by seed.

python -m tracks.triton.lessons.figures.day25_rows
"""

from __future__ import annotations

import numpy as np

from harness.figures import Step, Stepped
from tracks.triton.lessons.figures.day24_masks import uniform

SEEDS = (17, 4, 9, 23)
P, COLUMNS, GPUS = 0.5, 4, 2
HALF = len(SEEDS) // GPUS


def mask(seed: int, counter: int) -> str:
    """Of the four elements that meet the numbers of this counter: 1 is kept, 0 dropped."""
    numbers = uniform(np.uint64([seed]), np.uint64([counter]))[0]
    return "".join("1" if u >= P else "0" for u in numbers)


def main() -> None:
    figure = Stepped(__file__, height=158)
    whole = [mask(SEEDS[0], row) for row in range(len(SEEDS))]
    halves = [mask(SEEDS[0], row % HALF) for row in range(len(SEEDS))]
    changed = [row for row in range(len(SEEDS)) if whole[row] != halves[row]]
    assert changed == list(range(HALF, len(SEEDS)))
    step = figure.step(
        f"One seed, {SEEDS[0]}, and masks by place. On GPU 1 the numbers begin anew, so rows 2 and "
        "3 get the masks of rows 0 and 1."
    )
    names = [f"row {row}" for row in range(len(SEEDS))]
    draw(step, names, whole, halves)
    rows = [mask(seed, 0) for seed in SEEDS]
    step = figure.step(
        "A seed for each row, and numbers from 0 in every row: the mask goes with the row, "
        "wherever it is."
    )
    draw(step, [f"seed {seed}" for seed in SEEDS], rows, rows)
    figure.save()


def draw(step: Step, names: list[str], one: list[str], two: list[str]) -> None:
    step.text(6, 14, "one GPU", "start", bold=True)
    for row, (name, before, after) in enumerate(zip(names, one, two, strict=True)):
        y = 22 + 26 * row + (22 if row >= HALF else 0)
        step.text(6, y + 16, name, "start")
        step.row(60, y, before, "a", 24, 24)
        step.row(176, y, after, "b" if after != before else "a", 24, 24)
        step.text(280, y + 16, "the same" if after == before else "other mask", "start")
        if row % HALF == 0:
            step.text(176, y - 8, f"GPU {row // HALF} of two", "start", bold=True)


if __name__ == "__main__":
    main()
