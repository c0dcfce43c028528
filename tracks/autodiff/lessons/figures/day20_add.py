"""Draws day20_add.svg: three readings of four numbers, and the way back, wrong and right.

python -m tracks.autodiff.lessons.figures.day20_add
"""

from __future__ import annotations

import numpy as np

from harness.figures import Step, Stepped

X, INDEX, G = (10, 11, 12, 13), np.array([1, 3, 1]), np.array([1.0, 2.0, 4.0])


def main() -> None:
    figure = Stepped(__file__, height=190)
    step = figure.step("Forward: y = x[index]. The number at place 1 is read twice.")
    draw(step, np.zeros(4), range(3), "", forward=True)
    wrong = np.zeros(4)
    wrong[INDEX] += G
    step = figure.step(
        f"share[index] += g reads all three places, adds, and writes all three: {G[2]:g} is "
        f"written over {G[0]:g}."
    )
    draw(step, wrong, range(3), "+= at an index")
    share = np.zeros(4)
    for now in range(3):
        np.add.at(share, INDEX[now : now + 1], G[now : now + 1])
        caption = f"np.add.at goes one by one: {G[now]:g} is added at place {INDEX[now]}."
        if now == 2:
            caption += " Both readings have reached it, and their shares add up."
        draw(figure.step(caption), share, [now], "np.add.at")
    whole = np.zeros(4)
    np.add.at(whole, INDEX, G)
    assert share.tolist() == whole.tolist() == [0, 5, 0, 2] != wrong.tolist()
    figure.save()


def draw(step: Step, share: np.ndarray, now, name: str, forward: bool = False) -> None:
    places = [120 + 52 * i for i in range(4)]
    reads = [146 + 52 * i for i in range(3)]
    step.text(112, 28, "x", "end", bold=True)
    step.row(120, 12, X, "a", 52, 24)
    if forward:
        for i, place in enumerate(INDEX):
            step.arrow(places[place] + 26, 38, reads[i] + 26, 74)
        step.text(138, 92, "y", "end", bold=True)
        step.row(146, 76, [X[place] for place in INDEX], "b", 52, 24)
    else:
        step.text(138, 92, "g", "end", bold=True)
        step.row(146, 76, [f"{g:g}" for g in G], "b", 52, 24, now)
        for i in now:
            step.arrow(reads[i] + 26, 102, places[INDEX[i]] + 26, 144)
        step.text(112, 162, "share", "end", bold=True)
        step.row(120, 146, [f"{s:g}" for s in share], "c", 52, 24, {INDEX[i] for i in now})
        step.text(6, 126, name, "start")


if __name__ == "__main__":
    main()
