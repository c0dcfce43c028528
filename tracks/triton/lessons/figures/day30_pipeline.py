"""Draws day30_pipeline.svg: what a program loads and computes at the same time.

python -m tracks.triton.lessons.figures.day30_pipeline
"""

from __future__ import annotations

from typing import Any

from matplotlib.patches import FancyArrowPatch, Rectangle

from harness.figures import new_figure, save

STEPS = 4
STEP = 3.0
COLOURS = ("#3b6fb6", "#3a8a4d", "#c8443c", "#8a5a9e")
LANES = {"k, v from memory": 2.0, "products": 1.0, "softmax": 0.0}


def _box(axes: Any, lane: str, start: float, length: float, step: int, text: str) -> None:
    y = LANES[lane]
    axes.add_patch(
        Rectangle(
            *((start, y + 0.1), length, 0.8),
            facecolor=COLOURS[step],
            alpha=0.5,
            edgecolor="#444444",
        )
    )
    axes.text(start + length / 2, y + 0.5, text, ha="center", va="center", fontsize=9)


def _arrow(axes: Any, start: tuple[float, float], end: tuple[float, float]) -> None:
    axes.add_patch(FancyArrowPatch(start, end, arrowstyle="->", mutation_scale=8, color="#222222"))


def main() -> None:
    figure = new_figure(__file__, 8.0, 2.8)
    axes = figure.subplots()
    axes.axis("off")
    for step in range(STEPS):
        begin = (step + 1) * STEP
        _box(axes, "k, v from memory", begin - STEP, 2.7, step, f"tile {step}")
        _box(axes, "products", begin, 0.9, step, f"q k{step}")
        _box(axes, "softmax", begin + 0.95, 0.9, step, f"p{step}")
        _box(axes, "products", begin + 1.9, 0.9, step, f"p{step} v{step}")
        _arrow(axes, (begin - 0.3, 2.1), (begin + 0.2, 1.9))
        _arrow(axes, (begin + 0.7, 1.1), (begin + 1.1, 0.9))
        _arrow(axes, (begin + 1.7, 0.9), (begin + 2.1, 1.1))
        if step:
            _arrow(axes, (begin - STEP + 1.85, 0.4), (begin + 0.95, 0.4))
            axes.text(begin - STEP + 3.4, 0.15, "m, total", ha="center", fontsize=8)
    for lane, y in LANES.items():
        axes.text(-0.2, y + 0.5, lane, ha="right", va="center")
    axes.text((STEPS + 1) * STEP / 2, -0.5, "time, not to scale", ha="center", fontsize=9)
    axes.set_xlim(-3.2, (STEPS + 1) * STEP)
    axes.set_ylim(-0.7, 3.1)
    save(figure, __file__)


if __name__ == "__main__":
    main()
