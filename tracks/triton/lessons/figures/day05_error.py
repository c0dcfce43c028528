"""Draws day05_error.svg: the error of a float32 sum over its length, one by one and as a tree.

python -m tracks.triton.lessons.figures.day05_error
"""

from __future__ import annotations

import numpy as np

from harness.figures import new_figure, save

LONGEST = 2**24


def main() -> None:
    lengths = [2**k for k in range(3, 25)]
    assert lengths[-1] == LONGEST
    figure = new_figure(__file__, 5, 3.3)
    axes = figure.subplots()

    same = np.full(LONGEST, 0.1, np.float32)
    random = np.random.default_rng(0).random(LONGEST, np.float32)
    for x, name, colour in (
        (same, "one by one, all 0.1", "#c8443c"),
        (random, "one by one, random from 0 to 1", "#b07d2b"),
    ):
        errors = relative(one_by_one(x, lengths), exact(x, lengths))
        axes.plot(lengths, errors, color=colour, linewidth=1.6, label=name)
    errors = relative([tree(random[:n]) for n in lengths], exact(random, lengths))
    axes.plot(
        lengths, errors, color="#3b6fb6", linewidth=1.6, label="tree, the same random numbers"
    )

    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_ylim(1e-10, 1)
    axes.minorticks_off()
    axes.set_xlabel("numbers added up")
    axes.set_ylabel("relative error of the sum")
    axes.legend(frameon=False, loc="upper left")
    save(figure, __file__)


def one_by_one(x: np.ndarray, lengths: list[int]) -> list[float]:
    sums = np.cumsum(x)
    return [float(sums[n - 1]) for n in lengths]


def tree(x: np.ndarray) -> float:
    while len(x) > 1:
        x = x[0::2] + x[1::2]
    return float(x[0])


def exact(x: np.ndarray, lengths: list[int]) -> list[float]:
    return one_by_one(x.astype(np.float64), lengths)


def relative(sums: list[float], true: list[float]) -> list[float]:
    return [abs(s / t - 1) for s, t in zip(sums, true, strict=True)]


if __name__ == "__main__":
    main()
