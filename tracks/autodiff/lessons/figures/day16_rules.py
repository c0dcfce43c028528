"""Draws day16_rules.svg: six numbers in memory, read by three rules and copied by a fourth.

python -m tracks.autodiff.lessons.figures.day16_rules
"""

from __future__ import annotations

import numpy as np

from harness.figures import Step, Stepped, reference


def main() -> None:
    day16 = reference("autodiff", 16)
    x = np.arange(10.0, 16.0).reshape(2, 3)
    figure = Stepped(__file__, height=192)
    views = {
        "x": (x, "strides_of a fresh tensor: the last axis steps by 1, the one before by a row."),
        "x.T": (x.T, "Shape and strides are exchanged. Row 1 now jumps by 3, and nothing moved."),
        "x[0] as (3, 3)": (
            np.broadcast_to(x[0], (3, 3)),
            "A stride of 0: one step down arrives at the same place. Three numbers, read as nine.",
        ),
    }
    for name, (view, caption) in views.items():
        strides = tuple(s // view.itemsize for s in view.strides)
        assert np.shares_memory(view, x)
        draw(figure.step(caption), x, name, view, strides)
    assert day16.strides_of((2, 3)) == (3, 1)
    assert day16.broadcast_strides((3,), (1,), (3, 3)) == (0, 1)
    copy = x.T.reshape(2, 3)
    assert not np.shares_memory(copy, x)
    step = figure.step(
        "x.T read in its order, as (2, 3): 10 13 11 14 12 15. No stride walks through memory like "
        "that, so reshape copies."
    )
    draw(step, x, "x.T.reshape(2, 3)", copy, day16.strides_of((2, 3)))
    step.text(6, 170, "a copy", "start", bold=True)
    step.row(70, 156, [f"{v:g}" for v in copy.ravel()], "c", 32, 22)
    figure.save()


def draw(step: Step, x: np.ndarray, name: str, view: np.ndarray, strides) -> None:
    step.text(6, 16, "memory", "start", bold=True)
    shared = np.shares_memory(view, x)
    row = set(view[1].tolist()) if shared else set()
    for offset, value in enumerate(x.ravel().tolist()):
        left = 70 + 32 * offset
        kind = "b" if value in row else "a" if shared and value in view else "n"
        step.box(left, 4, 32, 22, f"{value:g}", kind, value in row)
        step.text(left + 16, 40, f"{offset}")
    step.text(6, 40, "offset", "start")
    step.text(6, 66, name, "start", bold=True)
    for i, values in enumerate(view.tolist()):
        kind = ("b" if i == 1 else "a") if shared else "c"
        step.row(6, 74 + 24 * i, [f"{v:g}" for v in values], kind, 36, 24)
    step.text(150, 90, f"shape {view.shape}", "start")
    step.text(150, 110, f"strides {strides}", "start")


if __name__ == "__main__":
    main()
