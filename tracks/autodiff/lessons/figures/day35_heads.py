"""Draws day35_heads.svg: columns cut into heads, and what a reshape straight to them would mix.

python -m tracks.autodiff.lessons.figures.day35_heads
"""

from __future__ import annotations

import numpy as np

from harness.figures import Step, Stepped

LENGTH, HEADS, WIDTH = 3, 2, 2
E = HEADS * WIDTH


def main() -> None:
    memory = np.arange(LENGTH * E)
    x = memory.reshape(LENGTH, E)
    cut = x.reshape(LENGTH, HEADS, WIDTH)
    right = cut.transpose(1, 0, 2)
    wrong = x.reshape(HEADS, LENGTH, WIDTH)
    assert np.shares_memory(right, memory)
    figure = Stepped(__file__, height=200)
    step = figure.step(
        "A token is a row. Its first two columns are meant for head 0, the others for head 1."
    )
    draw(step, [x], ["(L, E)"], set())
    step = figure.step("reshape to (L, H, d) cuts each row in two. No number moves.")
    draw(step, list(cut), [f"token {i}" for i in range(LENGTH)], set())
    step = figure.step(
        "transpose to (H, L, d): a head sees its own columns of all tokens. In memory they lie "
        f"{E} apart."
    )
    draw(step, list(right), ["head 0", "head 1"], set(right[0].flatten().tolist()))
    step = figure.step(
        "A reshape straight to (H, L, d) takes memory in order: head 0 gets both halves of token "
        "0, one of token 1, and none of token 2."
    )
    draw(step, list(wrong), ["head 0?", "head 1?"], set(wrong[0].flatten().tolist()))
    figure.save()


def name(place: int) -> tuple[str, str]:
    """What lies at that place of memory: its token and its head; and the head's colour."""
    token, column = divmod(place, E)
    head = column // WIDTH
    return f"t{token}h{head}", "ab"[head]


def draw(step: Step, blocks: list[np.ndarray], titles: list[str], strong: set[int]) -> None:
    step.text(12, 16, "memory", "start", bold=True)
    for place in range(LENGTH * E):
        text, kind = name(place)
        step.box(12 + 28 * place, 24, 28, 36, "", kind, place in strong)
        step.text(26 + 28 * place, 39, text[:2])
        step.text(26 + 28 * place, 54, text[2:])
    left = 12.0
    for block, title in zip(blocks, titles, strict=True):
        step.text(left, 92, title, "start", bold=True)
        rows = np.atleast_2d(block)
        for i, row in enumerate(rows):
            for j, place in enumerate(row.tolist()):
                text, kind = name(place)
                step.box(left + 34 * j, 100 + 28 * i, 34, 26, text, kind, place in strong)
        left += 34 * rows.shape[1] + 38


if __name__ == "__main__":
    main()
