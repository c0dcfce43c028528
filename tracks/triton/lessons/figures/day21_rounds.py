"""Draws day21_rounds.svg: sixty-four products on 132 multiprocessors, launch by launch and in one.

python -m tracks.triton.lessons.figures.day21_rounds
"""

from __future__ import annotations

from harness.figures import new_figure, save

EXPERTS, TILES, MULTIPROCESSORS = 64, 16, 132  # as in the lesson
COLOURS = ("#3b6fb6", "#9dbde0")


def main() -> None:
    figure = new_figure(__file__, 5, 3.2)
    panels = figure.subplots(1, 2, sharey=True)
    together: list[tuple[int, int]] = []
    apart: list[tuple[int, int]] = []
    rounds = 0
    for expert in range(EXPERTS):
        for tile in range(TILES):
            apart.append((rounds + tile // MULTIPROCESSORS, tile % MULTIPROCESSORS))
            number = expert * TILES + tile
            together.append((number // MULTIPROCESSORS, number % MULTIPROCESSORS))
        rounds = apart[-1][0] + 1
    for axes, places, title in zip(
        panels, (apart, together), ("one by one", "one launch"), strict=True
    ):
        for kind, colour in enumerate(COLOURS):
            mine = [place for i, place in enumerate(places) if i // TILES % 2 == kind]
            for row in sorted({row for row, _ in mine}):
                columns = sorted(column for r, column in mine if r == row)
                starts = [c for c in columns if c - 1 not in columns]
                ends = [c + 1 for c in columns if c + 1 not in columns]
                bars = [(a, b - a) for a, b in zip(starts, ends, strict=True)]
                axes.broken_barh(bars, (row, 1), facecolor=colour, linewidth=0)
        count = places[-1][0] + 1
        busy = len(places) / (count * MULTIPROCESSORS)
        axes.set_title(f"{title}: {count} rounds,\n{busy:.0%} busy", fontsize=10)
        axes.set_xlim(0, MULTIPROCESSORS)
        axes.set_ylim(rounds, 0)
        axes.set_xticks([0, 60, 120])
        axes.set_xlabel("multiprocessors")
    panels[0].set_ylabel("time, in rounds")
    save(figure, __file__)


if __name__ == "__main__":
    main()
