"""Draws day22_walks.svg: a row of three blocks, of which one stays on the chip.

python -m tracks.triton.lessons.figures.day22_walks
"""

from __future__ import annotations

import numpy as np

from harness.figures import Step, Stepped

X = np.array([1, 2, 3, 6, 4, 8, 2, 2, 5, 7])
BLOCK = 4
WIDE = 29


def main() -> None:
    figure = Stepped(__file__, height=228)
    blocks = [X[i : i + BLOCK] for i in range(0, len(X), BLOCK)]
    count, mean, squares, read = 0, 0.0, 0.0, 0
    said = (
        "Walk 1. Block 0 is read, and stays in registers.",
        "Walk 1. Block 1 is read, its mean and squares are merged, and it is forgotten.",
        "Walk 1. Block 2 is short: it counts {here} numbers, not {block}. Now the row's mean and "
        "variance are known.",
    )
    for number, block in enumerate(blocks):
        n, gap = len(block), block.mean() - mean
        squares += ((block - block.mean()) ** 2).sum() + gap**2 * count * n / (count + n)
        mean += gap * n / (count + n)
        count += n
        read += n
        step = figure.step(said[number].format(here=n, block=BLOCK))
        draw(step, number, (count, mean, squares), read, 0)
    assert np.isclose(mean, X.mean()) and np.isclose(squares / count, X.var())
    for number, block in enumerate(blocks):
        if number:
            read += len(block)
            caption = f"Walk 2. Block {number} is read once more, normalised and stored."
        else:
            caption = "Walk 2. Block 0 is still there: it is normalised and stored without a read."
        if number == len(blocks) - 1:
            caption += f" In all {read} numbers were read for a row of {len(X)}."
        step = figure.step(caption)
        draw(step, number, (count, mean, squares), read, (number + 1) * BLOCK)
    figure.save()


def draw(step: Step, number: int, found: tuple[int, float, float], read: int, written: int) -> None:
    """number: the block that is worked on; written: up to where the result is stored."""
    count, mean, squares = found
    middle = 6 + WIDE * (
        number * BLOCK + (3.5 if number == 0 else len(X[number * BLOCK :][:BLOCK]) / 2)
    )
    now = range(number * BLOCK, (number + 1) * BLOCK)
    lanes = range(-(-len(X) // BLOCK) * BLOCK)
    from_memory = not written or number > 0
    step.text(6, 14, "memory: x", "start", bold=True)
    step.text(354, 14, f"numbers read: {read}", "end")
    kinds = ["x" if j >= len(X) else "b" if j in now and from_memory else "n" for j in lanes]
    texts = ["" if j >= len(X) else str(X[j]) for j in lanes]
    strong = [j for j in now if j < len(X) and from_memory]
    step.row(6, 22, texts, kinds, WIDE, strong=strong)
    step.text(6, 76, "on the chip", "start", bold=True)
    step.row(6, 84, X[:BLOCK], "c", WIDE, strong=now if number == 0 else ())
    step.text(6 + 2 * WIDE, 122, "block 0 stays")
    if number:
        x = 6 + WIDE * BLOCK * number
        step.row(
            x, 84, [texts[j] for j in now], ["x" if j >= len(X) else "b" for j in now], WIDE,
            strong=strong,
        )  # fmt: skip
    words = f"{count} numbers: mean {mean:g}, sum of squared distances {squares:g}"
    if count == len(X):
        words = f"mean {mean:g}, variance {squares / count:g}"
    step.box(6, 136, 348, 24, words, "d")
    if from_memory:
        step.arrow(middle, 46, middle, 82)
    if written:
        step.arrow(middle, 162, middle, 196)
    step.text(6, 190, "memory: out", "start", bold=True)
    y = (X - mean) / np.sqrt(squares / count)
    done = [j for j in lanes if j < min(written, len(X))]
    texts = [f"{y[j]:.1f}" if j in done else "" for j in lanes]
    kinds = ["x" if j >= len(X) else "n" if j not in done else "b" if j in now else "a"
             for j in lanes]  # fmt: skip
    step.row(6, 198, texts, kinds, WIDE, strong=[j for j in done if j in now])


if __name__ == "__main__":
    main()
