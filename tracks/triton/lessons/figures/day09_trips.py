"""Draws day09_trips.svg: x + b and relu as two kernels and as one, and what travels each time.

python -m tracks.triton.lessons.figures.day09_trips
"""

from __future__ import annotations

from harness.figures import Step, Stepped

X, B = [-3, 1, 2, -1], [1, 2, -4, 3]
T = [x + b for x, b in zip(X, B, strict=True)]
Y = [max(t, 0) for t in T]
PLACES = {"x": (12, X), "t": (132, T), "y": (252, Y)}
CELL = 24
ELEMENTS, SIZE = 8192 * 8192, 2
TWO = ("read x", "write t", "read t", "write y")
ONE = ("read x", "write y")


def main() -> None:
    figure = Stepped(__file__, height=222)
    step = figure.step("The first kernel reads x, adds b in registers, and writes t.")
    draw(step, "x", "t", {"b": B, "x + b": T}, 2, 0)
    step = figure.step(
        "The second one reads t again, only to cut it off below 0. Nothing else needs t."
    )
    draw(step, "t", "y", {"max(t, 0)": Y}, 4, 0)
    moved = [len(trips) * ELEMENTS * SIZE / 1e6 for trips in (TWO, ONE)]
    step = figure.step(
        "One kernel does both in registers, and t never exists. For 8192 x 8192 numbers of 16 "
        f"bits: {moved[1]:.0f} MB in place of {moved[0]:.0f} MB."
    )
    draw(step, "x", "y", {"b": B, "x + b": T, "max(x + b, 0)": Y}, 4, 2)
    figure.save()


def draw(
    step: Step, source: str, target: str, registers: dict[str, list[int]], two: int, one: int
) -> None:
    for name, (left, numbers) in PLACES.items():
        missing = (name == "t" and one) or (name == "y" and target == "t")
        kind = "x" if missing else "b" if name == source else "c" if name == target else "n"
        step.text(left + 2 * CELL, 14, f"{name}, in memory", bold=True)
        step.row(left, 20, ["" if missing else v for v in numbers], kind, CELL, 22)
    step.box(12, 76, 336, 78)
    step.text(240, 92, "in registers", "start", bold=True)
    for name, numbers in registers.items():
        y = {"b": 80, "x + b": 104}.get(name, 128)
        step.text(124, y + 16, name, "end")
        step.row(132, y, numbers, "n" if name == "b" else "a", CELL, 22)
    for name, shift in ((source, -30), (target, 30)):
        x = PLACES[name][0] + 2 * CELL + (shift if name == "t" else 0)
        step.arrow(x, 43, x, 75) if name == source else step.arrow(x, 75, x, 43)
    for y, name, trips, done in ((168, "two kernels", TWO, two), (196, "fused", ONE, one)):
        step.text(84, y + 15, name, "end")
        for k, trip in enumerate(trips):
            step.box(92 + 62 * k, y, 62, 22, trip if k < done else "", "d" if k < done else "n")


if __name__ == "__main__":
    main()
