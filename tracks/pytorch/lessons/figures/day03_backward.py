"""Draws day03_backward.svg: what a backward pass hands on, what it frees, and where it adds.

python -m tracks.pytorch.lessons.figures.day03_backward
"""

from __future__ import annotations

import torch

from harness.figures import Step, Stepped

PLACES = (4, 128, 252)
WIDE = 104


def main() -> None:
    x = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
    y = x.square()
    loss = y.sum()
    nodes = list(walk(loss.grad_fn))[::-1]
    names = [node.name().split("::")[-1] for node in nodes]
    forward = [f"x = {numbers(x)}", f"y = {numbers(y)}", f"loss = {numbers(loss)}"]
    arrived: list[str] = []
    keeps: list[bool] = []  # whether x is still kept, when each gradient arrives

    def look(gradients) -> None:
        arrived.append(f"g = {numbers(gradients[0])}")
        keeps.append(kept(nodes[1]))

    for node in nodes:
        node.register_prehook(look)
    figure = Stepped(__file__, height=186)
    step = figure.step("Forward: each result has a node. The node of the square keeps x.")
    draw(step, names, forward, {}, kept(nodes[1]), "None")
    loss.backward()
    captions = (
        f"backward() begins with the loss by itself: {arrived[0]}.",
        f"A sum hands it to each element: {arrived[1]}.",
        f"The square multiplies by 2x, lets go of x, and hands on {arrived[2]}.",
    )
    for now, caption in enumerate(captions):
        step = figure.step(caption)
        at = {2 - now: arrived[now]}
        draw(step, names, forward, at, keeps[now], "None")
    step = figure.step("It arrives at the leaf, and is added to x.grad, which was None.")
    draw(step, names, forward, {}, kept(nodes[1]), numbers(x.grad))
    again = x.square().sum()
    again.backward()
    step = figure.step(
        "Forward and backward once more, and nobody has reset x.grad: it is the sum of both."
    )
    draw(step, names, forward, {}, kept(again.grad_fn.next_functions[0][0]), numbers(x.grad))
    figure.save()


def walk(node):
    while node:
        yield node
        node = node.next_functions[0][0] if node.next_functions else None


def kept(node) -> bool:
    """Whether the node still has the tensor that its backward needs."""
    try:
        return node._saved_self is not None
    except RuntimeError:
        return False


def numbers(t: torch.Tensor) -> str:
    return f"({', '.join(f'{v:g}' for v in t.tolist())})" if t.ndim else f"{t.item():g}"


def draw(
    step: Step, names: list[str], forward: list[str], at: dict[int, str], kept: bool, grad: str
) -> None:
    for i, (x, name, made) in enumerate(zip(PLACES, names, forward, strict=True)):
        step.box(x, 10, WIDE, 26, made, "a")
        step.arrow(x + WIDE / 2, 36, x + WIDE / 2, 64, head=False)
        step.box(x, 64, WIDE, 26, name, "b" if i in at else "n", i in at)
        if i:
            step.arrow(x - 20, 23, x - 1, 23)
            step.arrow(x, 77, x - 19, 77)
        if i in at:
            step.text(x + WIDE / 2, 108, at[i], bold=True)
    step.text(180, 136, "kept for the backward")
    step.box(PLACES[1], 144, WIDE, 26, "x" if kept else "nothing", "d" if kept else "x")
    step.text(56, 136, "x.grad")
    step.box(PLACES[0], 144, WIDE, 26, grad, "x" if grad == "None" else "c", grad != "None")


if __name__ == "__main__":
    main()
