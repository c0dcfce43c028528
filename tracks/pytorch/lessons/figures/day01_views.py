"""Draws day01_views.svg: four recipes for one storage, and the places that each reads.

python -m tracks.pytorch.lessons.figures.day01_views
"""

from __future__ import annotations

import torch

from harness.figures import Stepped


def main() -> None:
    figure = Stepped(__file__, height=200)
    x = torch.arange(12).reshape(3, 4)
    views = {"x": x, "x.T": x.T, "x[1:, ::3]": x[1:, ::3], "x[0, :1].expand(4)": x[0, :1].expand(4)}
    for name, view in views.items():
        offset, strides = view.storage_offset(), view.stride()
        steps = " and ".join(str(s) for s in strides)
        caption = f"{name}: begin at place {offset}, strides {steps}."
        if 0 in strides:
            caption += " A stride of 0 reads the same place again and again."
        elif view.untyped_storage().data_ptr() == x.untyped_storage().data_ptr():
            caption += " No number was moved." if view is not x else " Row after row."
        step = figure.step(caption)
        step.text(12, 16, "storage", "start", bold=True)
        flat = view.reshape(-1, view.shape[-1])
        read, first = set(flat.flatten().tolist()), set(flat[0].tolist())
        for place in range(12):
            kind = "b" if place in first else "a" if place in read else "n"
            step.box(12 + 28 * place, 24, 28, 24, str(place), kind, place in first)
        step.text(12, 78, name, "start", bold=True)
        for row, values in enumerate(flat.tolist()):
            step.row(
                12, 88 + 26 * row, values, "a" if row else "b", 30, 24, () if row else range(9)
            )
        step.text(348, 92, f"shape {tuple(view.shape)}", "end")
        step.text(348, 112, f"strides {strides}", "end")
    figure.save()


if __name__ == "__main__":
    main()
