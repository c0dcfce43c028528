"""Draws day18_order.svg: 36 tiles in the order of their programs, row by row and in bands of three.

python -m tracks.triton.lessons.figures.day18_order
"""

from __future__ import annotations

from harness.figures import Step, Stepped, reference

SIDE, WAVE = 6, 6


def main() -> None:
    swizzle = reference("triton", 18).swizzle
    figure = Stepped(__file__, height=196)
    for wave in range(SIDE * SIDE // WAVE):
        first = wave * WAVE
        counts = []
        tiles = {}
        for group in (1, 3):
            tiles[group] = [swizzle(pid, SIDE, SIDE, group) for pid in range(first + WAVE)]
            now = tiles[group][first:]
            counts.append((len({row for row, _ in now}), len({column for _, column in now})))
        (rows, columns), (rows3, columns3) = counts
        step = figure.step(
            f"Programs {first} to {first + WAVE - 1}. Row by row they need {rows} + {columns} = "
            f"{rows + columns} strips, in bands {rows3} + {columns3} = {rows3 + columns3}."
        )
        for x, group, name in ((10, 1, "row by row"), (198, 3, "bands of 3 rows")):
            step.text(x + 78, 16, name, bold=True)
            draw(step, x, tiles[group], first)
    figure.save()


def draw(step: Step, left: float, tiles: list[tuple[int, int]], first: int) -> None:
    for row in range(SIDE):
        for column in range(SIDE):
            pid = tiles.index((row, column)) if (row, column) in tiles else None
            kind = "n" if pid is None else "a" if pid < first else "b"
            text = "" if pid is None else str(pid)
            step.box(left + 25.5 * column, 26 + 27 * row, 25.5, 27, text, kind, kind == "b")


if __name__ == "__main__":
    main()
