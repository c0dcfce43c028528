"""Draws day11_merge.svg: count, mean and M2 of a row of ten, merged block by block.

python -m tracks.triton.lessons.figures.day11_merge
"""

from __future__ import annotations

import numpy as np

from harness.figures import Step, Stepped

ROW, BLOCK = [1, 3, 2, 2, 5, 7, 6, 6, 9, 9], 4
LEFT, UNIT, DOT = 24, 31, 15


def main() -> None:
    figure = Stepped(__file__, height=200)
    n, mean, m2 = 0, 0.0, 0.0
    for first in range(0, len(ROW), BLOCK):
        block = ROW[first : first + BLOCK]
        count, middle = len(block), sum(block) / len(block)
        inside = sum((x - middle) ** 2 for x in block)
        means = {"block": middle}
        if n == 0:
            caption = (
                f"Block 0: {count} numbers, their mean {middle:g}, and M2 = {inside:g}, the sum "
                "of their squared distances from it."
            )
            n, mean, m2 = count, middle, inside
        else:
            delta, both = middle - mean, n + count
            only = "" if count == BLOCK else f", only {count} numbers"
            between = delta**2 * n * count / both
            caption = (
                f"Block {first // BLOCK}{only}: {m2:g} inside what was seen, {inside:g} inside the "
                f"block, {delta:g}² · {n} · {count} / {both} = {between:g} between their means. "
                f"Together {m2 + inside + between:g}."
            )
            means["seen"] = mean
            n, mean, m2 = both, mean + delta * count / both, m2 + inside + between
        draw(figure.step(caption), first, means, (n, mean, m2))
    step = figure.step(
        f"The variance of the row is {m2:g} / {n} = {m2 / n:g}. Each number was read once."
    )
    draw(step, len(ROW), {"row": mean}, (n, mean, m2))
    assert np.isclose(m2 / n, np.var(ROW))
    assert np.isclose(mean, np.mean(ROW))
    figure.save()


def draw(step: Step, first: int, means: dict[str, float], kept: tuple[int, float, float]) -> None:
    for i in range(-(-len(ROW) // BLOCK) * BLOCK):
        now = first <= i < first + BLOCK and first < len(ROW)
        there = i < len(ROW)
        if there or now:
            kind = "x" if not there else "b" if now else "a" if i < first else "n"
            step.box(6 + 29 * i, 4, 29, 22, str(ROW[i]) if there else "", kind, now)
    # Each number as a small box above its place on a line.
    base = 74
    high: dict[int, int] = {}
    for i, x in enumerate(ROW[: first + BLOCK]):
        high[x] = high.get(x, 0) + 1
        kind = "b" if i >= first else "a"
        step.box(LEFT + UNIT * x - DOT / 2, base - DOT * high[x], DOT, DOT, "", kind)
    step.arrow(LEFT - 12, base, LEFT + UNIT * 10 + 12, base, head=False)
    for tick in range(11):
        step.text(LEFT + UNIT * tick, base + 16, str(tick))
    places = sorted(means.items(), key=lambda item: item[1])
    for name, mean in places:
        at = LEFT + UNIT * mean
        step.arrow(at, base + 54, at, base + 22)
        step.text(at, base + 68, f"{name}: mean {mean:g}")
    if len(places) == 2:
        (_, low), (_, top) = places
        y = base + 40
        step.arrow(LEFT + UNIT * low, y, LEFT + UNIT * top, y, head=False)
        step.text(LEFT + UNIT * (low + top) / 2, y - 6, f"{top - low:g} apart")
    step.text(60, 184, "kept", "end")
    n, mean, m2 = kept
    for k, text in enumerate((f"n = {n}", f"mean = {mean:g}", f"M2 = {m2:g}")):
        step.box(68 + 94 * k, 168, 86, 24, text, "d")


if __name__ == "__main__":
    main()
