"""Draws day26_versions.svg: the counter of a tensor and its views, and what a product noted.

python -m tracks.autodiff.lessons.figures.day26_versions
"""

from __future__ import annotations

import numpy as np

from harness.figures import Step, Stepped, reference


def main() -> None:
    day26 = reference("autodiff", 26)
    w, x = day26.Tensor(np.ones((2, 2))), day26.Tensor(np.full((2, 2), 2.0), requires_grad=True)
    figure = Stepped(__file__, height=150)

    def show(caption: str, noted: int | None, view: bool) -> None:
        draw(figure.step(caption), w, day26.version_of(w).value, noted, view)

    show("w is new: its counter is at 0.", None, False)
    w.add_(1.0)
    show("w.add_(1) changes it in place: the counter is at 1.", None, False)
    noted = day26.version_of(w).value
    y = w * x
    show(f"y = w * x saves w, and notes the number: {noted}.", noted, False)
    row = w[0]
    assert day26.version_of(row) is day26.version_of(w)
    show("row = w[0] looks at the same memory: it has the same counter.", noted, True)
    row.zero_()
    show(f"row.zero_() changes w too: the counter is at {day26.version_of(w).value}.", noted, True)
    try:
        y.sum().backward()
    except RuntimeError:
        now = day26.version_of(w).value
        show(
            f"The backward of y wants w as it was: {now} is not {noted}, so it is refused.",
            noted,
            True,
        )
    figure.save()


def draw(step: Step, w, counter: int, noted: int | None, view: bool) -> None:
    stale = noted is not None and noted != counter
    step.text(60, 18, "w", bold=True)
    for i, values in enumerate(w.tolist()):
        kind = "b" if view and i == 0 else "a"
        step.row(22, 28 + 28 * i, [f"{v:g}" for v in values], kind, 38, 28)
    step.text(164, 18, "counter", bold=True)
    step.box(140, 42, 48, 28, str(counter), "d", True)
    step.arrow(102, 56, 136, 56)
    if noted is not None:
        step.text(274, 18, "y noted", bold=True)
        step.box(250, 42, 48, 28, str(noted), "x" if stale else "c", True)
        step.text(274, 88, "not equal" if stale else "equal")
    if view:
        step.box(22, 108, 76, 26, "row = w[0]", "b")
        step.arrow(102, 118, 146, 76)


if __name__ == "__main__":
    main()
