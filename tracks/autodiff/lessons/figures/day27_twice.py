"""Draws day27_twice.svg: x³ at 2, its backward as a part of the graph, and the backward of that.

python -m tracks.autodiff.lessons.figures.day27_twice
"""

from __future__ import annotations

from harness.figures import Step, Stepped, reference

PLACES = {
    "x": (6, 104), "u": (120, 30), "f": (236, 30),
    "a": (236, 104), "g_u": (120, 104), "b": (120, 176), "d": (236, 176),
}  # fmt: skip
FORMULAS = {
    "x": "x", "u": "u = x x", "f": "f = u x",
    "a": "a = 1 u", "g_u": "gu = 1 x", "b": "b = 2 gu x", "d": "f' = a + b",
}  # fmt: skip
FORWARD = (("x", "u"), ("u", "f"))
BACKWARD = (("u", "a"), ("x", "g_u"), ("g_u", "b"), ("a", "d"), ("b", "d"))
X = 2.0


def main() -> None:
    u, g_u = X * X, X
    values = {"x": X, "u": u, "f": u * X, "a": u, "g_u": g_u, "b": 2 * g_u * X}
    values["d"] = values["a"] + values["b"]
    day27 = reference("autodiff", 27)
    first, second = day27.derivatives(lambda x: x * x * x, day27.Tensor(X), 2)[-2:]
    figure = Stepped(__file__, height=222)
    seen = ["x", "u", "f"]
    draw(figure.step("Forward, two products. x and u are saved."), values, seen, {}, FORWARD)
    seen = [*seen, "a", "g_u"]
    step = figure.step(
        "Backward of f = u x: one share goes to x, a, and is the saved u. One goes to u, and is "
        "the saved x. Both have a past."
    )
    draw(step, values, seen, {}, BACKWARD[:2])
    seen = [*seen, "b", "d"]
    step = figure.step(
        f"Backward of u = x x: x gets gu x twice. The shares add up to f' = {values['d']:g} = 3 x²."
    )
    draw(step, values, seen, {}, BACKWARD[2:])
    slopes = {"d": 1.0, "a": 1.0, "b": 1.0}
    step = figure.step("Now ask f' itself. It is a sum, so both parts have the slope 1.")
    draw(step, values, seen, slopes, BACKWARD[3:], back=True)
    slopes |= {"u": 1.0, "g_u": 2 * X}
    step = figure.step("a is u, so u gets 1. b is 2 gu x, so gu gets 2 x = 4.")
    draw(step, values, seen, slopes, (("u", "a"), ("g_u", "b")), back=True)
    parts = (slopes["u"] * 2 * X, slopes["g_u"] * 1.0, 2 * g_u)
    slopes["x"] = sum(parts)
    assert [float(first.item()), float(second.item())] == [values["d"], slopes["x"]] == [12.0, 12.0]
    step = figure.step(
        f"x gets {parts[0]:g} by way of u, {parts[1]:g} by way of gu, and {parts[2]:g} from b at "
        f"once: {slopes['x']:g} = 6 x. Without the past of u and gu "
        f"only {parts[2]:g} would be left."
    )
    draw(step, values, seen, slopes, (("x", "u"), ("x", "g_u"), ("x", "b")), back=True)
    figure.save()


def draw(step: Step, values, seen, slopes, edges, back: bool = False) -> None:
    used = [*FORWARD, *BACKWARD, ("x", "b")]
    for start, end in used:
        if start in seen and end in seen:
            arrow(step, start, end, (start, end) in edges, back)
    for name in seen:
        x, y = PLACES[name]
        step.text(x + 40, y + 40 if name in ("b", "d") else y - 5, FORMULAS[name])
        kind = "a" if name in ("x", "u", "f") else "b"
        if name in slopes:
            step.box(x, y, 40, 24, f"{values[name]:g}", kind)
            step.box(x + 40, y, 40, 24, f"{slopes[name]:g}", "c", True)
        else:
            step.box(x, y, 80, 24, f"{values[name]:g}", kind)


def arrow(step: Step, start: str, end: str, head: bool, back: bool) -> None:
    (x0, y0), (x1, y1) = PLACES[start], PLACES[end]
    beside, below = (x0 + 82, y0 + 12, x1 - 2, y1 + 12), (x0 + 12, y0 + 26, x1 + 12, y1 - 2)
    points = beside if x0 < x1 else below
    step.arrow(*(points[2:] + points[:2] if back else points), head=head)


if __name__ == "__main__":
    main()
