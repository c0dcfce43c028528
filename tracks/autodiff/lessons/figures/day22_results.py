"""Draws day22_results.svg: gradients wait at the two results of one node.

python -m tracks.autodiff.lessons.figures.day22_results
"""

from __future__ import annotations

from harness.figures import Step, Stepped, reference

AT = 0.5
PLACES = {"x": (8, 74), "times 2": (212, 34), "times 3": (212, 114), "y": (302, 74)}
NODE = (88, 34)


def main() -> None:
    day22 = reference("autodiff", 22)
    x = day22.Tensor(AT, requires_grad=True, dtype="float64")
    sine, cosine = day22.SinCos.apply(x)
    assert sine.node is cosine.node
    assert (sine.index, cosine.index) == (0, 1)
    (sine * 2.0 + cosine * 3.0).backward()
    assert x.grad is not None
    both = x.grad.item()
    x.grad = None
    sine, cosine = day22.SinCos.apply(x)
    y = sine * 2.0
    y.backward()
    assert x.grad is not None
    one = x.grad.item()

    values = {"x": x.item(), "s": sine.item(), "c": cosine.item()}
    figure = Stepped(__file__, height=176)
    step = figure.step(
        "Forward: one call of SinCos, one node, two results. A result knows the node and its "
        "number in it."
    )
    draw(step, values, {}, set(), forward=True)
    step = figure.step("The sum has handed 1 to each product.")
    waiting = {"y": "1", "times 2": "1", "times 3": "1"}
    draw(step, values, waiting, {"y"})
    del waiting["y"], waiting["times 2"]
    waiting["0"] = "2"
    step = figure.step("Then 2 · s hands on 2. It waits at (SinCos, 0).")
    draw(step, values, waiting, {"times 2"})
    del waiting["times 3"]
    waiting["1"] = "3"
    step = figure.step("And 3 · c hands on 3. It waits at (SinCos, 1): the two are not added up.")
    draw(step, values, waiting, {"times 3"})
    step = figure.step(
        f"SinCos's turn: one call of backward with both gradients gives one share, "
        f"2 cos x − 3 sin x = {both:.3f}."
    )
    draw(step, values, {**waiting, "x": f"{both:.3f}"}, {"node"})
    step = figure.step(
        f"For y = 2 s nothing arrives at result 1. backward is given zeros there: "
        f"2 cos x − 0 sin x = {one:.3f}."
    )
    draw(step, values, {"0": "2", "1": "zeros", "x": f"{one:.3f}"}, {"node"}, alone=True)
    figure.save()


def draw(
    step: Step, values: dict[str, float], waiting: dict[str, str], now: set[str],
    forward: bool = False, alone: bool = False,
) -> None:  # fmt: skip
    """Values in forward, and on the way back in each place the gradient that waits there."""

    def place(name: str, x: float, y: float, text: str, title: str, width: float = 50) -> None:
        step.text(x + width / 2, y - 6, title)
        here = name in waiting
        step.box(x, y, width, 26, waiting.get(name, text), "b" if here else "n", name in now)

    left, top = NODE
    step.text(left + 44, top - 14, "SinCos's node", bold=True)
    step.box(left, top - 6, 88, 120, "", "a", "node" in now)
    place("0", left + 12, top + 20, "", "result 0: s", 64)
    place("1", left + 12, top + 80, "", "result 1: c", 64)
    if forward:
        step.text(left + 44, top + 37, f"{values['s']:.3f}")
        step.text(left + 44, top + 97, f"{values['c']:.3f}")
    place("x", *PLACES["x"], f"{values['x']:g}" if forward else "", "x")
    place("times 2", *PLACES["times 2"], "", "2 · s")
    edges = [((left, top + 53), (58, 87), "node"), ((212, 50), (left + 88, top + 33), "times 2")]
    if alone:
        step.text(326, 51, "y = 2 s")
    else:
        place("times 3", *PLACES["times 3"], "", "3 · c")
        total = f"{2 * values['s'] + 3 * values['c']:.3f}" if forward else ""
        place("y", *PLACES["y"], total, "y")
        edges += [
            ((212, 124), (left + 88, top + 93), "times 3"),
            ((302, 82), (262, 52), "y"),
            ((302, 92), (262, 122), "y"),
        ]
    for start, end, name in edges:
        ends = (*end, *start) if forward else (*start, *end)
        step.arrow(*ends, head=forward or name in now)


if __name__ == "__main__":
    main()
