"""Draws day04_waves.svg: the share of an H200's places that a launch uses, over its programs.

python -m tracks.triton.lessons.figures.day04_waves
"""

from __future__ import annotations

import triton

from harness.figures import new_figure, save

MULTIPROCESSORS, RESIDENT, BLOCK = 132, 16, 1024
PLACES = MULTIPROCESSORS * RESIDENT
MOST = 6 * PLACES


def main() -> None:
    figure = new_figure(__file__, 5, 3)
    axes = figure.subplots()
    for wave in range(MOST // PLACES):
        programs = [wave * PLACES + 1, (wave + 1) * PLACES]
        axes.plot(programs, [used(p) for p in programs], color="#3b6fb6", linewidth=1.6)
        if wave:
            edge = [wave * PLACES, wave * PLACES + 1]
            axes.plot(edge, [used(p) for p in edge], color="#3b6fb6", linewidth=0.6, alpha=0.6)
        name = f"{wave + 1} wave" + "s" * (wave > 0)
        axes.text((wave + 0.5) * PLACES, 1.04, name, ha="center", color="#3b6fb6", fontsize=9)
    for elements, where in ((100_000, (30, 3)), (2_200_000, (50, -10)), (10_000_000, (0, -34))):
        programs = triton.cdiv(elements, BLOCK)
        place = (programs, used(programs))
        axes.plot(*place, "o", color="#c8443c", markersize=5)
        axes.annotate(
            f"{programs:,}: {used(programs):.0%}",
            place,
            xytext=where,
            textcoords="offset points",
            color="#c8443c",
            ha="center",
            va="center",
        )
    axes.set_xlim(0, MOST)
    axes.set_ylim(0, 1.14)
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0", "25%", "50%", "75%", "100%"])
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.set_xlabel("programs")
    axes.set_ylabel("places used, on average")
    save(figure, __file__)


def used(programs: int) -> float:
    return programs / (triton.cdiv(programs, PLACES) * PLACES)


if __name__ == "__main__":
    main()
