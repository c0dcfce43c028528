"""Draws day14_online.svg: softmax of a row in blocks of two: the running maximum and sum.

python -m tracks.triton.lessons.figures.day14_online
"""

from __future__ import annotations

import math

from harness.figures import Stepped

ROW, BLOCK = [1.0, 3.0, 2.0, 0.0, 5.0, 1.0, 4.0, 5.0], 2


def main() -> None:
    figure = Stepped(__file__, height=150)
    m, total = -math.inf, 0.0
    for first in range(0, len(ROW), BLOCK):
        block = ROW[first : first + BLOCK]
        new = max(m, *block)
        factor = math.exp(m - new)
        added = sum(math.exp(x - new) for x in block)
        if m == -math.inf:
            caption = f"The first block: the largest is {new:g}, the sum starts at {added:.3f}."
        elif new > m:
            caption = (
                f"A larger number came, {new:g}. The sum so far shrinks by exp({m:g} - {new:g}) = "
                f"{factor:.3f}: {total:.3f} becomes {total * factor:.3f}, and {added:.3f} is added."
            )
        else:
            caption = f"The largest stays {m:g}, the factor is 1, and {added:.3f} is added."
        m, total = new, total * factor + added
        step = figure.step(caption)
        _row(step, first // BLOCK)
        _state(step, m, total)
    step = figure.step(
        f"The second pass: each number becomes exp(x - {m:g}) / {total:.3f}. They add up to 1.",
    )
    _row(step, len(ROW))
    _state(step, m, total)
    out = [math.exp(x - m) / total for x in ROW]
    assert math.isclose(sum(out), 1.0)
    step.text(48, 135, "result", "end")
    step.row(56, 119, [f"{p:.2f}" for p in out], "c", 36, 24)
    figure.save()


def _row(step, now: int) -> None:
    step.text(48, 40, "row", "end")
    for i, x in enumerate(ROW):
        kind = "b" if i // BLOCK == now else "a" if i // BLOCK < now else "n"
        step.box(56 + 36 * i, 24, 36, 24, f"{x:g}", kind, i // BLOCK == now)
    if now < len(ROW) // BLOCK:
        step.text(56 + 36 * (BLOCK * now + 1), 16, f"block {now}")


def _state(step, m: float, total: float) -> None:
    step.text(48, 88, "kept", "end")
    step.box(56, 72, 130, 24, f"m = {m:g}", "d")
    step.box(200, 72, 144, 24, f"sum = {total:.3f}", "d")


if __name__ == "__main__":
    main()
