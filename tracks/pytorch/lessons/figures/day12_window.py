"""Draws day12_window.svg: a filter of 2 x 2 over an image of 3 x 3, and the matrix of its windows.

python -m tracks.pytorch.lessons.figures.day12_window
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from harness.figures import Stepped

IMAGE = torch.tensor([[1.0, 2.0, 0.0], [0.0, 3.0, 1.0], [4.0, 0.0, 2.0]])
FILTER = torch.tensor([[1.0, 0.0], [0.0, -1.0]])


def main() -> None:
    figure = Stepped(__file__, height=230)
    columns = F.unfold(IMAGE.view(1, 1, 3, 3), 2)[0]
    result = (FILTER.view(1, 4) @ columns).view(-1)
    for now in range(4):
        top, left = divmod(now, 2)
        window = columns[:, now].tolist()
        terms = " + ".join(
            f"{a:g}·{b:g}" if b >= 0 else f"{a:g}·({b:g})"
            for a, b in zip(window, FILTER.flatten().tolist(), strict=True)
        )
        step = figure.step(f"Place {now}: {terms} = {result[now]:g}.")
        for x, title in ((60, "image"), (180, "filter"), (290, "result")):
            step.text(x, 18, title, bold=True)
        for i, row in enumerate(IMAGE.tolist()):
            for j, value in enumerate(row):
                inside = top <= i < top + 2 and left <= j < left + 2
                kind = "b" if inside else "n"
                step.box(15 + 30 * j, 28 + 26 * i, 30, 26, f"{value:g}", kind, inside)
        for i, row in enumerate(FILTER.tolist()):
            step.row(150, 28 + 26 * i, [f"{v:g}" for v in row], "d", 30, 26)
        for place in range(4):
            i, j = divmod(place, 2)
            text = f"{result[place]:g}" if place <= now else ""
            kind = "c" if place <= now else "n"
            step.box(260 + 30 * j, 28 + 26 * i, 30, 26, text, kind, place == now)
        step.text(15, 130, "windows as columns", "start", bold=True)
        for place in range(now + 1):
            for i in range(4):
                kind = "b" if place == now else "a"
                value = f"{columns[i, place]:g}"
                step.box(15 + 30 * place, 138 + 22 * i, 30, 22, value, kind, place == now)
        step.text(180, 186, "filter as a row, times these", "start")
    figure.save()


if __name__ == "__main__":
    main()
