"""Draws day09_shares.svg: gradients of y = (a + b)(b/2 - 1) + 3 - a, share by share.

python -m tracks.autodiff.lessons.figures.day09_shares
"""

from __future__ import annotations

from harness.figures import Step, Stepped, reference

PLACES = {
    "a": (2, 30), "b": (2, 132), "p": (76, 66), "q": (76, 132), "r": (150, 132), "s": (224, 96),
    "t": (300, 116), "y": (300, 30),
}  # fmt: skip
FORMULAS = {
    "a": "a", "b": "b", "p": "p = a + b", "q": "q = b / 2", "r": "r = q − 1", "s": "s = p · r",
    "t": "t = s + 3", "y": "y = t − a",
}  # fmt: skip
USES = {  # a node: its parents
    "y": "ta", "t": "s", "s": "pr", "r": "q", "q": "b", "p": "ab", "a": "", "b": "",
}  # fmt: skip


def main() -> None:
    Value = reference("autodiff", 9).Value
    a, b = Value(2.0), Value(6.0)
    p, q = a + b, b / 2
    r = q - 1
    s = p * r
    t = s + 3
    y = t - a
    nodes = dict(a=a, b=b, p=p, q=q, r=r, s=s, t=t, y=y)
    y.grad = 1.0
    waits = {name: sum(name in parents for parents in USES.values()) for name in USES}
    figure = Stepped(__file__, height=196)
    draw(figure.step("y starts with 1. The small number: for whom a node waits."), nodes, waits, "")
    for name in "ytsrqpab":
        before = {parent: nodes[parent].grad for parent in USES[name]}
        if USES[name]:
            nodes[name]._backward(nodes[name].grad)
        handed = [f"{nodes[parent].grad - was:g} to {parent}" for parent, was in before.items()]
        for parent in USES[name]:
            waits[parent] -= 1
        caption = f"{name} has {nodes[name].grad:g}, and hands on {', '.join(handed)}."
        if not handed:
            caption = f"{name} is complete: {nodes[name].grad:g}, a sum of two shares."
        draw(figure.step(caption), nodes, waits, name)
    figure.save()


def draw(step: Step, nodes, waits: dict[str, int], now: str) -> None:
    for name, (x, y) in PLACES.items():
        step.text(x + 29, y - 6, FORMULAS[name])
        step.box(x, y, 40, 22, f"{nodes[name].data:g}", "a")
        step.box(x + 40, y, 18, 22, str(waits[name]), "x" if waits[name] else "n")
        if nodes[name].grad:
            kind = "b" if waits[name] else "c"
            step.box(x, y + 22, 58, 20, f"{nodes[name].grad:g}", kind, name == now)
    for node, parents in USES.items():
        for parent in parents:
            (x0, y0), (x1, y1) = PLACES[node], PLACES[parent]
            if x0 == x1:
                step.arrow(x0 + 29, y0 + 44, x1 + 29, y1 - 18, head=node == now)
            else:
                step.arrow(x0 - 2, y0 + 11, x1 + 60, y1 + 11, head=node == now)
    step.text(6, 190, "value | waits for; below: the gradient so far", "start")


if __name__ == "__main__":
    main()
