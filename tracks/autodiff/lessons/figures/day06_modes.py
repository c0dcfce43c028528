"""Draws day06_modes.svg: one graph: values, two forward passes of slopes, one backward pass.

python -m tracks.autodiff.lessons.figures.day06_modes
"""

from __future__ import annotations

import numpy as np

from harness.figures import Step, Stepped, reference

PLACES = {"x": (10, 30), "y": (10, 110), "a": (150, 110), "b": (150, 30), "z": (286, 70)}
EDGES = (("x", "b"), ("x", "a"), ("y", "a"), ("b", "z"), ("a", "z"))
FORMULAS = {"x": "x", "y": "y", "a": "a = x + y", "b": "b = exp x", "z": "z = a * b"}


def main() -> None:
    tape = reference("autodiff", 6).record(lambda p: (p[0] + p[1]) * np.exp(p[0]), [0.0, 3.0])
    x, y, a, b, z = (float(entry.value) for entry in tape.entries)
    values = {"x": x, "y": y, "a": a, "b": b, "z": z}
    figure = Stepped(__file__, height=176)
    step = figure.step("Forward: each number from those before it. The values are kept.")
    draw(step, values, {}, EDGES, "")
    for moving in "xy":
        slopes = {name: float(name == moving) for name in "xy"}
        slopes["a"] = slopes["x"] + slopes["y"]
        slopes["b"] = b * slopes["x"]
        slopes["z"] = slopes["a"] * b + a * slopes["b"]
        step = figure.step(
            f"Forward mode, {moving} moves: how fast does each number change? "
            f"z changes {slopes['z']:g} times as fast. One pass, one input."
        )
        draw(step, values, slopes, EDGES, "d")
        last = slopes["z"]
    bars = {"z": 1.0}
    step = figure.step("Reverse mode asks the other way: how fast does z change when I do?")
    draw(step, values, bars, [], "c")
    bars |= {"a": b, "b": a}
    step = figure.step("z = a * b: a gets the value of b, and b the value of a.")
    draw(step, values, bars, EDGES[3:], "c", back=True)
    bars |= {"x": bars["b"] * b + bars["a"], "y": bars["a"]}
    assert bars["y"] == last
    assert [bars["x"], bars["y"]] == [4.0, 1.0]
    step = figure.step(
        f"x is used twice, and its two shares add up: {bars['b'] * b:g} + {bars['a']:g} = "
        f"{bars['x']:g}. One pass, all inputs."
    )
    draw(step, values, bars, EDGES, "c", back=True)
    figure.save()


def draw(step: Step, values, numbers, edges, kind: str, back: bool = False) -> None:
    for name, (x, y) in PLACES.items():
        step.text(x + 32, y - 6, FORMULAS[name])
        step.box(x, y, 64, 24, f"{values[name]:g}", "a")
        if name in numbers:
            step.box(x, y + 24, 64, 22, f"{numbers[name]:g}", kind, True)
    for start, end in EDGES:
        (x0, y0), (x1, y1) = PLACES[start], PLACES[end]
        ends = (x0 + 66, y0 + 24, x1 - 2, y1 + 24)
        used = (start, end) in edges
        step.arrow(*(ends[2:] + ends[:2] if back else ends), head=used)


if __name__ == "__main__":
    main()
