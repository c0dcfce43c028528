"""Draws day23_rows.svg: two programs take rows in turn; each keeps the sums of its columns.

python -m tracks.triton.lessons.figures.day23_rows
"""

from __future__ import annotations

import numpy as np

from harness.figures import Step, Stepped

X = np.array([[1, -5], [2, 0], [-3, 1]])
PROGRAMS = 2


def main() -> None:
    figure = Stepped(__file__, height=150)
    sums = np.zeros((PROGRAMS, X.shape[1]), int)
    peaks: dict[int, int] = {}
    for turn in range(-(-len(X) // PROGRAMS)):
        rows = [row for row in range(turn * PROGRAMS, (turn + 1) * PROGRAMS) if row < len(X)]
        for row in rows:
            sums[row % PROGRAMS] += X[row]
            peaks[row] = int(abs(X[row]).max())
        who = " and ".join(f"program {row % PROGRAMS} row {row}" for row in rows)
        caption = (
            f"Turn {turn}: {who}. One read gives a row's result and goes into the column sums."
        )
        if len(rows) < PROGRAMS:
            caption += " There is no row for program 1."
        draw(figure.step(caption), rows, peaks, sums)
    step = figure.step(
        "The second launch adds the partial rows up, in a fixed order: the same input gives the "
        "same bits."
    )
    draw(step, [], peaks, sums)
    step.arrow(252, 104, 252, 118)
    step.row(212, 120, sums.sum(0), "c", 40, 24)
    assert (sums.sum(0) == X.sum(0)).all()
    figure.save()


def draw(step: Step, rows: list[int], peaks: dict[int, int], sums: np.ndarray) -> None:
    step.text(44, 16, "x", bold=True)
    step.text(124, 16, "largest", bold=True)
    step.text(252, 16, "sums, in registers", bold=True)
    for row, values in enumerate(X):
        kind = "b" if row in rows else "a" if row in peaks else "n"
        step.row(8, 26 + 30 * row, values, kind, 36, 24, range(2) if row in rows else ())
        step.box(104, 26 + 30 * row, 40, 24, str(peaks.get(row, "")), "c" if row in peaks else "n")
    for p, values in enumerate(sums):
        now = any(row % PROGRAMS == p for row in rows)
        step.text(206, 42 + 36 * p, f"program {p}", "end")
        step.row(212, 26 + 36 * p, values, "d", 40, 24, range(2) if now else ())


if __name__ == "__main__":
    main()
