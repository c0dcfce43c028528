"""Draws day21_groups.svg: how a program finds its group and its tile in a grouped product.

python -m tracks.triton.lessons.figures.day21_groups
"""

from __future__ import annotations

from itertools import accumulate

from harness.figures import Step, Stepped

GRIDS = ((2, 2), (0, 2), (3, 1))  # rows and columns of tiles of each group's result
PROGRAMS = (3, 4, 5)


def main() -> None:
    figure = Stepped(__file__, height=192)
    counts = [rows * columns for rows, columns in GRIDS]
    ends = list(accumulate(counts))
    step = figure.step(
        "Three products of unequal size. Their tiles are numbered on from group to group, and the "
        "table says where each group ends."
    )
    draw(step, ends, None)
    for program in PROGRAMS:
        passed = [end for end in ends if end <= program]
        group, first = len(passed), max(passed, default=0)
        assert first <= program < ends[group]
        what = f"ends {' and '.join(map(str, passed))} are passed" if passed else "no end is passed"
        step = figure.step(
            f"Program {program}: {what}. So it is in group {group}, whose tiles begin at {first}: "
            f"tile {program} - {first} = {program - first}."
        )
        draw(step, ends, program)
    figure.save()


def draw(step: Step, ends: list[int], program: int | None) -> None:
    number = 0
    for group, (rows, columns) in enumerate(GRIDS):
        x = 6 + 122 * group
        step.text(x, 14, f"group {group}", "start", bold=True)
        for row in range(rows):
            for column in range(columns):
                now = number == program
                kind = "b" if now else "a"
                step.box(x + 34 * column, 22 + 26 * row, 34, 26, str(number), kind, now)
                number += 1
        if not rows * columns:
            step.text(x, 40, "no tiles", "start")
        passed = program is not None and ends[group] <= program
        step.text(x, 134, "ends at", "start")
        step.box(x + 52, 118, 34, 24, str(ends[group]), "c" if passed else "n", passed)
        if program is not None:
            answer = "passed" if passed else "not passed"
            step.text(x, 164, f"{ends[group]} <= {program}?", "start")
            step.text(x, 182, answer, "start", bold=passed)


if __name__ == "__main__":
    main()
