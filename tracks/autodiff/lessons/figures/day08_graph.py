"""Draws day08_graph.svg: a graph grows with the computation, and gradients go back through it.

python -m tracks.autodiff.lessons.figures.day08_graph
"""

from __future__ import annotations

from harness.figures import Step, Stepped, reference

PLACES = {"a": (8, 24), "b": (8, 104), "c": (132, 134), "e": (132, 56), "d": (268, 94)}
PARENTS = {"e": ("a", "b"), "d": ("e", "c")}


def main() -> None:
    Value = reference("autodiff", 8).Value
    a, b, c = Value(2.0, label="a"), Value(-3.0, label="b"), Value(10.0, label="c")
    e = Value(a.data * b.data, (a, b), "*", label="e")
    d = Value(e.data + c.data, (e, c), "+", label="d")
    nodes = {node.label: node for node in (a, b, c, e, d)}
    assert {name: tuple(p.label for p in nodes[name].parents) for name in PARENTS} == PARENTS

    figure = Stepped(__file__, height=204)
    step = figure.step("Three Values made from numbers: they have no parents.")
    draw(step, nodes, "abc", {})
    step = figure.step("e = a * b refers to a and b, in the order in which they were written.")
    draw(step, nodes, "abce", {})
    step = figure.step("d = e + c refers to e and c. Whoever holds d holds the whole graph.")
    draw(step, nodes, "abced", {})
    grads = {"d": 1.0}
    draw(figure.step("Back: d moves as much as d does, 1."), nodes, "abced", grads)
    grads |= {"e": grads["d"], "c": grads["d"]}
    draw(figure.step("A sum passes its gradient on to both parents."), nodes, "abced", grads)
    grads |= {"a": grads["e"] * b.data, "b": grads["e"] * a.data}
    caption = f"A product gives each factor the other one: {b.data:g} to a, {a.data:g} to b."
    draw(figure.step(caption), nodes, "abced", grads)
    figure.save()


def draw(step: Step, nodes, made: str, grads: dict[str, float]) -> None:
    for name in made:
        x, y = PLACES[name]
        op = nodes[name].op
        step.text(x + 35, y - 6, f"{name}, by {op}" if op else name)
        step.box(x, y, 70, 22, f"{nodes[name].data:g}", "a")
        if name in grads:
            step.box(x, y + 22, 70, 20, f"{grads[name]:g}", "c")
        for slot, parent in enumerate(PARENTS.get(name, ())):
            px, py = PLACES[parent]
            step.arrow(x - 2, y + 8 + 8 * slot, px + 72, py + 11)
    step.text(8, 198, "value; below: how much d moves when it moves", "start")


if __name__ == "__main__":
    main()
