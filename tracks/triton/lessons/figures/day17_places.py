"""Draws day17_places.svg: which blocks of K lie in shared memory while a tile is computed.

python -m tracks.triton.lessons.figures.day17_places
"""

from __future__ import annotations

from harness.figures import Step, Stepped

BLOCK_M, BLOCK_N, BLOCK_K, SIZE = 128, 256, 64, 2  # as in the lesson
LIMIT = 227
STAGES, STEPS = 4, 6


def main() -> None:
    figure = Stepped(__file__, height=186)
    block = (BLOCK_M + BLOCK_N) * BLOCK_K * SIZE // 1024
    full = STAGES * block
    assert full <= LIMIT < full + block
    step = figure.step(
        f"Before the loop: {STAGES - 1} blocks of a and b, {block} KB each, are asked for. They "
        "take a while."
    )
    draw(step, -1)
    for now in range(STEPS):
        ahead = now + STAGES - 1
        if ahead >= STEPS:
            caption = f"Loop, step {now}: block {now} is multiplied. Nothing is left to ask for."
        elif now == 0:
            caption = (
                f"Loop, step 0: block 0 is multiplied. Block {ahead} is on its way to the last "
                f"place: {full} of {LIMIT} KB, and a fifth does not fit."
            )
        else:
            caption = (
                f"Loop, step {now}: block {now} is multiplied. Block {ahead} is asked for; it goes "
                f"to the place of block {now - 1}, which is done with."
            )
        draw(figure.step(caption), now)
    figure.save()


def draw(step: Step, now: int) -> None:
    """now: the block that is being multiplied, -1 before the loop."""
    asked = range(max(now, 0), min(now + STAGES, STEPS))
    step.text(6, 14, "memory: blocks of a and b along K", "start", bold=True)
    for k in range(STEPS):
        kind = "b" if k == now else "a" if k in asked else "n"
        step.box(6 + 56 * k, 22, 56, 24, f"block {k}", kind, k == now)
    step.text(6, 78, f"shared memory: {STAGES} places", "start", bold=True)
    for place in range(STAGES):
        here = [k for k in asked if k % STAGES == place]
        word = "empty" if not here else f"block {here[0]}"
        kind = "x" if not here else "b" if here[0] == now else "a"
        step.box(6 + 84 * place, 86, 84, 24, word, kind, kind == "b")
        what = "" if not here else "multiplied" if here[0] == now else "asked for"
        step.text(48 + 84 * place, 126, what)
    step.text(6, 166, "registers", "start", bold=True)
    blocks = "no block yet" if now < 0 else "block 0" if now == 0 else f"blocks 0 to {now}"
    step.box(90, 150, 252, 24, f"sums of the tile, from {blocks}", "c")


if __name__ == "__main__":
    main()
