"""Draws day13_row.svg: a row through one program, and how often it has crossed memory so far.

python -m tracks.triton.lessons.figures.day13_row
"""

from __future__ import annotations

import math

from harness.figures import Step, Stepped

ROW, LANES = [1.0, 3.0, 2.0, 0.0, 2.0], 8
LEFT, WIDE = 70, 36
# What one kernel does to the matrix, and what five do, kernel by kernel.
FUSED = ("read", "write")
KERNELS = (("read",), ("read", "write"), ("read", "write"), ("read",), ("read", "write"))


def main() -> None:
    figure = Stepped(__file__, height=204)
    x = ROW + [-math.inf] * (LANES - len(ROW))
    m = max(x)
    z = [v - m for v in x]
    e = [math.exp(v) for v in z]
    s = sum(e)
    y = [v / s for v in e]
    assert math.isclose(sum(y[: len(ROW)]), 1.0)

    step = figure.step(
        "The row is read, and three lanes are padded. The maximum is taken across the lanes."
    )
    draw(step, x, [f"m = {m:g}"], 1, arrow=0)
    step = figure.step(
        "x - m in every lane. A kernel of its own would read the row and write it; here nothing "
        "leaves the registers."
    )
    draw(step, z, [f"m = {m:g}"], 2)
    step = figure.step("exp in every lane. The padding becomes 0.")
    draw(step, e, [f"m = {m:g}"], 3)
    step = figure.step("The sum across the lanes: the zeros add nothing.")
    draw(step, e, [f"m = {m:g}", f"s = {s:.2f}"], 4)
    fused, apart = len(FUSED), sum(map(len, KERNELS))
    step = figure.step(
        "Divided by s, and five lanes are written. The row went in once and out once, "
        f"{fused} trips. Through five kernels it would have been {apart}."
    )
    draw(step, y, [f"m = {m:g}", f"s = {s:.2f}"], 5, y[: len(ROW)], arrow=1)
    figure.save()


def short(value: float) -> str:
    if math.isinf(value):
        return "-inf"
    return f"{value:g}" if value == round(value) else f"{value:.2f}"


def draw(
    step: Step, lanes: list[float], totals: list[str], kernels: int,
    out: list[float] | None = None, arrow: int | None = None,
) -> None:  # fmt: skip
    step.text(LEFT - 8, 21, "x", "end", bold=True)
    step.row(LEFT, 6, [f"{v:g}" for v in ROW], "b" if arrow == 0 else "n", WIDE, 22)
    step.text(LEFT - 8, 71, "registers", "end")
    for lane, value in enumerate(lanes):
        padding = lane >= len(ROW)
        step.box(LEFT + WIDE * lane, 56, WIDE, 22, short(value), "x" if padding else "a")
    for k, text in enumerate(totals):
        step.box(LEFT + WIDE * len(ROW) + (6, 50)[k], 84, (40, 56)[k], 22, text, "d")
    step.text(LEFT - 8, 123, "y", "end", bold=True)
    filled = ["" for _ in ROW] if out is None else [short(v) for v in out]
    step.row(LEFT, 108, filled, "n" if out is None else "c", WIDE, 22)
    if arrow is not None:
        for i in range(len(ROW)):
            middle = LEFT + WIDE * i + WIDE / 2
            step.arrow(middle, (28, 78)[arrow], middle, (55, 107)[arrow])
    step.text(LEFT - 8, 167, "fused", "end")
    for k, trip in enumerate(FUSED):
        done = k == 0 or out is not None
        step.box(LEFT + WIDE * k, 152, WIDE, 22, trip if done else "", "c" if done else "n")
    step.text(LEFT - 8, 195, "5 kernels", "end")
    trips = [(trip, k < kernels) for k, kernel in enumerate(KERNELS) for trip in kernel]
    texts = [trip if done else "" for trip, done in trips]
    step.row(LEFT, 180, texts, ["b" if done else "n" for _, done in trips], WIDE, 22)


if __name__ == "__main__":
    main()
