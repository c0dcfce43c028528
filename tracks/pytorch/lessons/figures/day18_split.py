"""Draws day18_split.svg: twelve features of three positions become two heads, wrong and right.

python -m tracks.pytorch.lessons.figures.day18_split
"""

from __future__ import annotations

import torch

from harness.figures import Step, Stepped, reference

HEADS, SIZE, POSITIONS = 2, 2, 3


def main() -> None:
    x = torch.arange(12).view(POSITIONS, HEADS * SIZE)
    right = x.unflatten(-1, (HEADS, SIZE)).transpose(-3, -2)
    assert torch.equal(right, reference("pytorch", 18).split_heads(x, HEADS))
    figure = Stepped(__file__, height=200)
    step = figure.step(
        "Behind q_proj: position after position, in each the features of head 0, then of head 1."
    )
    draw(step, x)
    step = figure.step(
        "reshape(2, 3, 2) walks through memory in order. The shape is right, and what stands out "
        "belongs to the other head."
    )
    draw(step, x, x.reshape(HEADS, POSITIONS, SIZE), "reshape")
    cut = x.unflatten(-1, (HEADS, SIZE))
    step = figure.step(
        f"unflatten cuts the last axis in two: shape {tuple(cut.shape)}, strides {cut.stride()}. "
        "A position still comes before its heads."
    )
    draw(step, x, cut, "unflatten")
    step = figure.step(
        f"transpose exchanges two strides: {right.stride()}. Head 0 reads two, leaves out two. "
        "Nothing was moved."
    )
    draw(step, x, right, "transpose")
    figure.save()


def draw(step: Step, x: torch.Tensor, view: torch.Tensor | None = None, name: str = "") -> None:
    step.text(6, 16, "memory", "start", bold=True)
    for position in range(POSITIONS):
        step.text(6 + 29 * (4 * position + 2), 36, f"position {position}")
        for feature, number in enumerate(x[position].tolist()):
            place = HEADS * SIZE * position + feature
            step.box(6 + 29 * place, 42, 29, 24, f"{number}", _kind(number))
        for head in range(HEADS):
            step.text(6 + 29 * (4 * position + 2 * head + 1), 80, f"head {head}")
    if view is None:
        return
    step.text(6, 112, name, "start", bold=True)
    outer = "position" if name == "unflatten" else "head"
    for i, block in enumerate(view.tolist()):
        left = 84 + 92 * i
        step.text(left + 36, 112, f"{outer} {i}", bold=True)
        for j, row in enumerate(block):
            for k, number in enumerate(row):
                foreign = outer == "head" and number // SIZE % HEADS != i
                x, y = left + 36 * k, 120 + 25 * j
                step.box(x, y, 36, 25, f"{number}", _kind(number), foreign)


def _kind(number: int) -> str:
    return "ab"[number // SIZE % HEADS]


if __name__ == "__main__":
    main()
