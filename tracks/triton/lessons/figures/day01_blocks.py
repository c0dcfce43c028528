"""Draws day01_blocks.svg: ten elements in blocks of four, one program after the other.

python -m tracks.triton.lessons.figures.day01_blocks
"""

from __future__ import annotations

import triton

from harness.figures import Stepped

N, BLOCK = 10, 4


def main() -> None:
    figure = Stepped(__file__, height=190)
    programs = triton.cdiv(N, BLOCK)
    for now in range(programs):
        offsets = [now * BLOCK + lane for lane in range(BLOCK)]
        mask = [offset < N for offset in offsets]
        last = offsets[sum(mask) - 1]
        caption = f"Program {now} owns the elements {offsets[0]} to {last}."
        if not all(mask):
            caption += (
                f" Its lanes {' and '.join(map(str, range(sum(mask), BLOCK)))} are switched off: \
there is no element {offsets[sum(mask)]}."
            )
        step = figure.step(caption)
        step.text(8, 16, f"memory, {N} elements", "start", bold=True)
        for i in range(N):
            kind = "b" if i // BLOCK == now else "a" if i // BLOCK < now else "n"
            step.box(8 + 28 * i, 24, 28, 24, str(i), kind, i // BLOCK == now)
        for p in range(programs):
            wide = 28 * min(BLOCK, N - p * BLOCK)
            kind = "b" if p == now else "a" if p < now else "n"
            name = f"program {p}" if wide > 60 else f"pr. {p}"
            step.box(8 + 28 * BLOCK * p, 54, wide, 22, name, kind, p == now)
        for line, (name, values) in enumerate(
            [
                ("lane", list(range(BLOCK))),
                (f"{now} * {BLOCK} + lane", offsets),
                (f"... < {N}", ["yes" if m else "no" for m in mask]),
            ]
        ):
            y = 96 + 30 * line
            step.text(100, y + 16, name, "end")
            step.row(112, y, values, ["b" if m else "x" for m in mask], 44, 24)
    figure.save()


if __name__ == "__main__":
    main()
