"""Draws day06_tiles.svg: a 5 x 6 matrix in tiles of 2 x 4, one program after the other.

python -m tracks.triton.lessons.figures.day06_tiles
"""

from __future__ import annotations

from harness.figures import Step, Stepped

ROWS, COLUMNS, HIGH, WIDE = 5, 6, 2, 4
ROW_STRIDE = 6
BOX = 34


def main() -> None:
    figure = Stepped(__file__, height=196)
    grid = [(down, right) for down in range(3) for right in range(2)]
    for now, (down, right) in enumerate(grid):
        lanes = cells_of(down, right)
        inside = [cell for cell in lanes if cell[0] < ROWS and cell[1] < COLUMNS]
        caption = f"Program ({down}, {right}) has {len(inside)} of its {len(lanes)} elements. "
        if len(inside) == len(lanes):
            caption += "All are inside: the mask is true everywhere."
        else:
            names = [
                name
                for name, beyond in (
                    ("rows", any(i >= ROWS for i, _ in lanes)),
                    ("columns", any(j >= COLUMNS for _, j in lanes)),
                )
                if beyond
            ]
            caption += (
                f"The mask leaves out what lies beyond the last {' and the last '.join(names)}."
            )
        draw(figure.step(caption), grid[:now], lanes)
    figure.save()


def cells_of(down: int, right: int) -> list[tuple[int, int]]:
    return [(HIGH * down + i, WIDE * right + j) for i in range(HIGH) for j in range(WIDE)]


def draw(step: Step, done: list[tuple[int, int]], lanes: list[tuple[int, int]]) -> None:
    before = {cell for program in done for cell in cells_of(*program)}
    for j in range(COLUMNS + 2):
        step.text(56 + BOX * j + BOX / 2, 16, str(j) if j < COLUMNS else f"({j})")
    for i in range(ROWS + 1):
        step.text(48, 24 + 27 * i + 18, f"row {i}" if i < ROWS else f"({i})", "end")
        for j in range(COLUMNS + 2):
            real = i < ROWS and j < COLUMNS
            here = (i, j) in lanes
            if not real and not here:
                continue
            kind = "x" if not real else "b" if here else "a" if (i, j) in before else "n"
            text = str(ROW_STRIDE * i + j) if real else "F"
            step.box(56 + BOX * j, 24 + 27 * i, BOX, 27, text, kind, here)


if __name__ == "__main__":
    main()
