"""Draws day11_backward.svg: a node hands its gradient on when all who use it have had their turn.

python -m tracks.autodiff.lessons.figures.day11_backward
"""

from __future__ import annotations

from harness.figures import Step, Stepped, reference

PLACES = {"a": (8, 76), "b": (100, 30), "c": (192, 110), "d": (284, 52)}
FORMULAS = {"a": "a = 3", "b": "b = a**2", "c": "c = a * b", "d": "d = c + b"}
EDGES = {"b": ["a"], "c": ["a", "b"], "d": ["c", "b"], "a": []}  # from a node to its parents


def main() -> None:
    Value = reference("autodiff", 11).Value
    a = Value(3.0)
    b = a**2
    c = a * b
    d = c + b
    d.backward()
    nodes = {"a": a, "b": b, "c": c, "d": d}
    shares = {  # the rules of the lesson's table
        ("d", "c"): 1.0, ("d", "b"): 1.0,
        ("c", "a"): b.data, ("c", "b"): a.data, ("b", "a"): 2 * a.data,
    }  # fmt: skip
    waits = {name: sum(name in ends for ends in EDGES.values()) for name in EDGES}
    grads = {"d": 1.0}
    figure = Stepped(__file__, height=184)
    step = figure.step("d starts with 1. The small number counts for whom a node still waits.")
    draw(step, nodes, grads, waits, "")
    for name in "dcba":
        handed = []
        for parent in EDGES[name]:
            share = grads[name] * shares[name, parent]
            grads[parent] = grads.get(parent, 0.0) + share
            waits[parent] -= 1
            handed.append(f"{share:g} to {parent}")
        caption = f"{name} waits for nobody: it hands on {', '.join(handed)}."
        if name == "c":
            caption += f" b has 1 + {shares['c', 'b']:g} now, and is complete."
        if not handed:
            caption = f"a is complete: {grads['a']:g}, which is 3a² + 2a."
        draw(figure.step(caption), nodes, grads, waits, name)
    assert grads == {name: node.grad for name, node in nodes.items()}
    figure.save()


def draw(step: Step, nodes, grads: dict[str, float], waits: dict[str, int], now: str) -> None:
    for name, (x, y) in PLACES.items():
        step.text(x + 34, y - 6, FORMULAS[name])
        step.box(x, y, 46, 24, f"{nodes[name].data:g}", "a")
        step.box(x + 46, y, 22, 24, str(waits[name]), "x" if waits[name] else "n")
        if name in grads:
            kind = "b" if waits[name] else "c"
            step.box(x, y + 24, 68, 22, f"{grads[name]:g}", kind, name == now)
    for node, parents in EDGES.items():
        for parent in parents:
            (x0, y0), (x1, y1) = PLACES[node], PLACES[parent]
            step.arrow(x0 - 2, y0 + 24, x1 + 70, y1 + 24, head=node == now)
    step.text(8, 176, "value | waits for; below: the gradient so far", "start")


if __name__ == "__main__":
    main()
