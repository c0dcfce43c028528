"""Draws day02_lanes.svg: where four lanes read and write, for the diagonal, gather and scatter.

python -m tracks.triton.lessons.figures.day02_lanes
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from harness.figures import Step, Stepped

T = torch.arange(12).reshape(3, 4)
X = torch.tensor([10, 11, 12, 13])
LANES = 4
LEFT, PITCH, WIDE = 84, 68, 54


def main() -> None:
    figure = Stepped(__file__, height=222)

    n, apart = len(T), T.shape[1] + 1
    reads = [apart * i for i in range(LANES)]
    step = figure.step(
        f"The diagonal of a {n} x {T.shape[1]} matrix: both places are computed. For i = {n} there "
        f"is no work. Its {reads[n]} is no place of t, and with the mask off nobody looks there."
    )
    draw(step, "t", T.flatten().tolist(), reads, list(range(LANES)), T.diagonal().tolist(), n)

    index = torch.tensor([2, 0, 2])
    n = len(index)
    step = figure.step(
        "Gather: where a lane reads is looked up in index. Two lanes may read the same element."
    )
    draw(step, "x", X.tolist(), [*index.tolist(), None], [0, 1, 2, None], X[index].tolist(), n)

    index = torch.tensor([3, 0, 1])
    out = torch.full((4,), -1)
    out[index] = X[: len(index)]
    (gap,) = set(range(4)) - set(index.tolist())
    step = figure.step(
        f"Scatter: where a lane writes is looked up. No lane writes at {gap}: there out keeps "
        f"{out[gap]}, which it held before."
    )
    draw(step, "x", X.tolist(), [0, 1, 2, None], [*index.tolist(), None], out.tolist(), n)

    index = torch.tensor([3, 0, 3])
    first, _, second = X[: len(index)].tolist()
    step = figure.step(
        f"The same with index {index.tolist()}: two lanes write at 3, and either may be the last. "
        f"out[3] is {first} or {second}, not always the same."
    )
    left = [X[1].item(), -1, -1, f"{first} | {second}"]
    draw(step, "x", X.tolist(), [0, 1, 2, None], [*index.tolist(), None], left, n)
    figure.save()


def draw(
    step: Step,
    name: str,
    memory: list[int],
    reads: Sequence[int | None],
    writes: Sequence[int | None],
    out: Sequence[object],
    n: int,
) -> None:
    narrow = len(memory) > LANES
    left, wide, pitch = (40, 26, 26) if narrow else (LEFT, WIDE, PITCH)
    step.text(30, 35, name, "end", bold=True)
    for place, number in enumerate(memory):
        kind = "b" if place in reads[:n] else "n"
        step.text(left + pitch * place + wide / 2, 14, str(place))
        step.box(left + pitch * place, 20, wide, 22, str(number), kind)
    for y, label in ((95, "reads at"), (117, "lane"), (139, "writes at")):
        step.text(LEFT - 8, y, label, "end")
    written = set(writes[:n])
    for lane in range(LANES):
        x, works = LEFT + PITCH * lane, lane < n
        for y, at in ((80, reads[lane]), (124, writes[lane])):
            text = "" if at is None else str(at) if works else f"({at})"
            step.box(x, y, WIDE, 22, text, "b" if works else "x")
        step.box(x, 102, WIDE, 22, f"i = {lane}", "a" if works else "x", works)
        source, target = reads[lane], writes[lane]
        if works and source is not None and target is not None:
            step.arrow(left + pitch * source + wide / 2, 42, x + WIDE / 2, 79)
            step.arrow(x + WIDE / 2, 146, LEFT + PITCH * target + WIDE / 2, 179)
    step.text(30, 195, "out", "end", bold=True)
    for place, held in enumerate(out):
        kind = "c" if place in written else "x"
        step.box(LEFT + PITCH * place, 180, WIDE, 22, str(held), kind)
        step.text(LEFT + PITCH * place + WIDE / 2, 216, str(place))


if __name__ == "__main__":
    main()
