"""Draws day04_turns.svg: ten blocks and four programs, dealt out in pieces and in turns.

python -m tracks.triton.lessons.figures.day04_turns
"""

from __future__ import annotations

import triton

from harness.figures import Step, Stepped

BLOCKS, PROGRAMS = 10, 4
LEFT, WIDE = 66, 28


def main() -> None:
    figure = Stepped(__file__, height=160)
    piece = triton.cdiv(BLOCKS, PROGRAMS)
    # The block that each program works on, pass by pass.
    pieces = [[p * piece + k for p in range(PROGRAMS)] for k in range(piece)]
    turns = [[p + k * PROGRAMS for p in range(PROGRAMS)] for k in range(piece)]
    for now in range(piece):
        apart = [b for p, b in enumerate(pieces[now]) if b < min(BLOCKS, (p + 1) * piece)]
        together = [b for b in turns[now] if b < BLOCKS]
        caption = (
            f"Pass {now + 1}. In pieces, the programs are at the blocks {words(apart)}; in turns, "
            f"at {words(together)}, side by side."
        )
        if now == piece - 1:
            caption += f" Both ways take {piece} passes."
        step = figure.step(caption)
        draw(step, 8, f"in pieces of {piece}", pieces, now)
        draw(step, 88, f"in turns, {PROGRAMS} blocks further each time", turns, now)
    figure.save()


def words(numbers: list[int]) -> str:
    *most, last = map(str, numbers)
    return f"{', '.join(most)} and {last}"


def draw(step: Step, y: float, name: str, passes: list[list[int]], now: int) -> None:
    step.text(LEFT, y + 8, name, "start", bold=True)
    step.text(LEFT - 8, y + 28, "block", "end")
    step.text(LEFT - 8, y + 51, "program", "end")
    owner = {b: (k, p) for k, blocks in enumerate(passes) for p, b in enumerate(blocks)}
    for block in range(BLOCKS):
        k, program = owner[block]
        x = LEFT + WIDE * block
        step.text(x + WIDE / 2, y + 28, str(block))
        kind = "b" if k == now else "a" if k < now else "n"
        step.box(x, y + 34, WIDE, 26, str(program), kind, k == now)


if __name__ == "__main__":
    main()
