"""Draws day10_lanes.svg: a row of eleven numbers is added up: block by block, then lane to lane.

python -m tracks.triton.lessons.figures.day10_lanes
"""

from __future__ import annotations

from harness.figures import Step, Stepped

ROW, LANES = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5], 4
LEFT, WIDE = 96, 60


def main() -> None:
    figure = Stepped(__file__, height=204)
    blocks = [ROW[first : first + LANES] for first in range(0, len(ROW), LANES)]
    sums = [0] * LANES
    draw(figure.step("Each lane has a sum of its own. It starts with 0."), [], sums, [])
    for now, block in enumerate(blocks):
        padded = block + [0] * (LANES - len(block))
        sums = [a + b for a, b in zip(sums, padded, strict=True)]
        caption = f"Block {now}: every lane adds one number. No lane has to know of another one."
        if len(block) < LANES:
            caption = "The row ends. Lane 3 adds the padding, 0, which changes nothing."
        draw(figure.step(caption), blocks[: now + 1], sums, [])
    pairs = [sums[0] + sums[1], sums[2] + sums[3]]
    step = figure.step(
        "The loop is over. Now lanes exchange what they have, once a row. First in pairs."
    )
    draw(step, blocks, sums, [pairs])
    total = sum(pairs)
    assert total == sum(ROW)
    step = figure.step(f"Then pairs of pairs: the sum of the row is {total}.")
    draw(step, blocks, sums, [pairs, [total]])
    figure.save()


def draw(step: Step, blocks: list[list[int]], sums: list[int], tree: list[list[int]]) -> None:
    for lane in range(LANES):
        step.text(LEFT + WIDE * lane + WIDE / 2, 14, f"lane {lane}", bold=True)
    for i in range(-(-len(ROW) // LANES)):
        step.text(LEFT - 8, 38 + 26 * i, f"block {i}", "end")
        now = i == len(blocks) - 1 and not tree
        for lane in range(LANES):
            there = i < len(blocks) and lane < len(blocks[i])
            missing = i < len(blocks) and not there
            text = str(blocks[i][lane]) if there else "(0)" if missing else ""
            kind = "x" if missing else "b" if now else "a" if there else "n"
            step.box(LEFT + WIDE * lane, 22 + 26 * i, WIDE, 24, text, kind, now)
    step.text(LEFT - 8, 124, "sums", "end")
    step.row(LEFT, 108, sums, "d", WIDE, 24, () if tree else range(LANES))
    for depth, numbers in enumerate(tree):
        wide = WIDE * LANES / len(numbers)
        y = 144 + 32 * depth
        step.row(LEFT, y, numbers, "c", wide, 24, range(4) if depth == len(tree) - 1 else ())


if __name__ == "__main__":
    main()
