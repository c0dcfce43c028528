"""Draws day02_relay.svg: a chain of functions in one walk, with a value and a product in hand.

python -m tracks.autodiff.lessons.figures.day02_relay
"""

from __future__ import annotations

import math

from harness.figures import Step, Stepped

CHAIN = (  # name, the function, its slope, the slope's formula
    ("square", lambda x: x * x, lambda x: 2 * x, "2x"),
    ("add one", lambda u: u + 1, lambda u: 1.0, "1"),
    ("root", math.sqrt, lambda v: 1 / (2 * math.sqrt(v)), "1/(2√v)"),
)
TOP, LEFT, STEP = 40, 4, 92


def main() -> None:
    values, slopes, product = [0.75], [], 1.0
    figure = Stepped(__file__, height=150)
    draw(figure.step("In hand at the start: 0.75, and a product of no slopes, 1."), values, [], 1.0)
    for name, function, slope, formula in CHAIN:
        slopes.append(slope(values[-1]))
        product *= slopes[-1]
        caption = f"{name}: its slope {formula} at {values[-1]:g} is {slopes[-1]:g}."
        values.append(function(values[-1]))
        caption += f" In hand: {values[-1]:g} and {product:.4g}."
        draw(figure.step(caption), values, slopes, product)
    figure.save()


def draw(step: Step, values: list[float], slopes: list[float], product: float) -> None:
    now = len(slopes)
    for i in range(len(CHAIN) + 1):
        x = LEFT + i * STEP
        known = i < len(values)
        text = f"{values[i]:g}" if known else ""
        step.box(x, TOP, 60, 24, text, "a" if known else "x", i == now)
        step.text(x + 30, TOP - 8, "xuvy"[i])
        if i:
            name = CHAIN[i - 1][0]
            step.arrow(x - STEP + 62, TOP + 12, x - 2, TOP + 12)
            step.text(x - 16, TOP + 42, name)
            if known:
                step.box(x - 42, TOP + 50, 52, 22, f"{slopes[i - 1]:g}", "b", i == now)
    told = f"{product:.4g}"
    if now > 1:
        told = " · ".join(f"{slope:g}" for slope in reversed(slopes)) + f" = {told}"
    step.text(LEFT, TOP + 102, f"product of the slopes so far: {told}", "start")


if __name__ == "__main__":
    main()
