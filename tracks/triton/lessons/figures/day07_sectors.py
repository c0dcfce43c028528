"""Draws day07_sectors.svg: sectors that 32 lanes fetch, for four distances between them.

python -m tracks.triton.lessons.figures.day07_sectors
"""

from __future__ import annotations

from harness.figures import Stepped

LANES, SIZE, SECTOR = 32, 4, 32
ACROSS, CELL = 32, 10.5


def main() -> None:
    figure = Stepped(__file__, height=205)
    for distance in (1, 2, 4, 8):
        touched = {SIZE * distance * lane // SECTOR for lane in range(LANES)}
        fetched, used = SECTOR * len(touched), SIZE * LANES
        where = "side by side" if distance == 1 else f"{distance} elements apart"
        step = figure.step(
            f"32 lanes read {where}: {len(touched)} sectors are fetched, and {used} of their "
            f"{fetched} bytes are used, {used / fetched:.1%}."
        )
        step.text(12, 16, "memory, each row 128 bytes: 4 sectors", "start", bold=True)
        per_row = ACROSS * SIZE // SECTOR
        wide = CELL * SECTOR / SIZE
        for sector in range(8 * per_row):
            x, y = 12 + wide * (sector % per_row), 26 + 19 * (sector // per_row)
            step.box(x, y, wide - 2, 15, "", "x" if sector in touched else "n")
        for lane in range(LANES):
            row, column = divmod(distance * lane, ACROSS)
            x = 12 + wide * (column // 8) + (wide - 2) / 8 * (column % 8)
            step.box(x, 26 + 19 * row, (wide - 2) / 8, 15, "", "a")
        step.box(12, 184, 14, 14, "", "a")
        step.text(32, 195, "used", "start")
        step.box(80, 184, 14, 14, "", "x")
        step.text(100, 195, "fetched for nothing", "start")
        step.box(236, 184, 14, 14, "", "n")
        step.text(256, 195, "not touched", "start")
    figure.save()


if __name__ == "__main__":
    main()
