"""Draws day16_k.svg: a tile of a product, one block of K at a time.

python -m tracks.triton.lessons.figures.day16_k
"""

from __future__ import annotations

import numpy as np

from harness.figures import Stepped

A = np.array([[1, 2, 3, 4, 5], [0, 1, 0, 1, 0]])
B = np.array([[1, 0], [0, 1], [2, 0], [0, 2], [10, 1]])
K, BLOCK = 5, 2


def main() -> None:
    figure = Stepped(__file__, height=226)
    total = np.zeros((2, 2), int)
    for start in range(0, K, BLOCK):
        ks = range(start, start + BLOCK)
        inside = [k for k in ks if k < K]
        total = total + A[:, inside] @ B[inside]
        caption = (
            f"k = {start} and {start + 1}: two columns of a, two rows of b, and four sums grow."
        )
        if len(inside) < BLOCK:
            caption = (
                f"k = {start} is the last: the place of k = {start + 1} is filled with 0 in both, "
                "since it goes into every sum."
            )
        step = figure.step(caption)
        step.text(104, 128, "a", bold=True)
        step.text(340, 76, "b", bold=True)
        for k in range(start + BLOCK if start + BLOCK > K else K):
            kind = "x" if k >= K else "b" if k in ks else "a" if k < start else "n"
            for i in range(2):
                text = "0" if k >= K else str(A[i, k])
                step.box(12 + 30 * k, 140 + 26 * i, 30, 26, text, kind, k in ks)
                text = "0" if k >= K else str(B[k, i])
                step.box(222 + 50 * i, 4 + 21 * k, 50, 21, text, kind, k in ks)
        step.text(272, 208, "sums, in registers")
        for i in range(2):
            step.row(222, 140 + 26 * i, total[i], "c", 50, 26)
    assert (total == A @ B).all()
    figure.save()


if __name__ == "__main__":
    main()
