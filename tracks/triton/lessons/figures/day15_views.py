"""Draws day15_views.svg: five views of 24 numbers, and which of them a row of each reads.

python -m tracks.triton.lessons.figures.day15_views
"""

from __future__ import annotations

import torch

from harness.figures import Stepped

SAYS = {
    "a": "One column further is 1 element further, one row further 6.",
    "a.T": "Sizes and strides are exchanged. A row jumps by 6; no number has moved.",
    "a[1:, ::2]": "It begins at 6 and takes every other column.",
    "a[2].expand(3, 6)": "A row stride of 0: all rows are the same six numbers.",
    "a[:, 1:2].expand(4, 5)": "A column stride of 0: a row is one number, read five times.",
}


def main() -> None:
    a = torch.arange(24.0).view(4, 6)
    views = (a, a.T, a[1:, ::2], a[2].expand(3, 6), a[:, 1:2].expand(4, 5))
    figure = Stepped(__file__, height=238)
    for (name, says), view in zip(SAYS.items(), views, strict=True):
        assert view.untyped_storage().data_ptr() == a.untyped_storage().data_ptr()
        step = figure.step(f"{name}: {says} Row 1 stands out.")
        step.text(6, 16, "memory", "start", bold=True)
        rows = [[int(x) for x in row] for row in view.tolist()]
        read = {x for row in rows for x in row}
        for place in range(24):
            kind = "b" if place in rows[1] else "a" if place in read else "n"
            x, y = 6 + 28 * (place % 12), 24 + 22 * (place // 12)
            step.box(x, y, 28, 22, str(place), kind, place in rows[1])
        step.text(6, 94, name, "start", bold=True)
        for i, row in enumerate(rows):
            step.row(
                6, 102 + 22 * i, row, "b" if i == 1 else "a", 28, 22, range(6) if i == 1 else ()
            )
        step.text(200, 118, f"shape {tuple(view.shape)}", "start")
        step.text(200, 138, f"first {view.storage_offset()}", "start")
        step.text(200, 158, f"strides {view.stride()}", "start")
    figure.save()


if __name__ == "__main__":
    main()
