"""Draws day25_kept.svg: what three dropouts keep between the passes, with masks and with seeds.

python -m tracks.triton.lessons.figures.day25_kept
"""

from __future__ import annotations

import numpy as np

from harness.figures import Step, Stepped
from tracks.triton.lessons.figures.day24_masks import uniform

SEEDS = (17, 4, 9)
P, SHOWN = 0.5, 4
WIDE, PITCH = 72, 94
MASK, SEED = 16_384 * 1600, 8  # bytes: a byte an element of the lesson's matrix, 64 bits


def main() -> None:
    figure = Stepped(__file__, height=214)
    masks = [
        "".join("1" if u >= P else "0" for u in uniform(np.uint64([seed]), np.uint64([0]))[0])
        for seed in SEEDS
    ]
    last = len(SEEDS) - 1
    for layer, seed in enumerate(SEEDS):
        step = figure.step(
            f"Forward, dropout {layer}: a mask is made and used. Either the mask waits for the "
            "backward pass, or only its seed does."
        )
        draw(step, masks, "forward", layer, range(layer + 1))
    for layer in reversed(range(len(SEEDS))):
        caption = (
            f"Backward, dropout {layer}: the stored mask is read; seed {SEEDS[layer]} gives the "
            "same one again."
        )
        if layer == last:
            caption += " The gradient needs nothing else of the forward pass."
        else:
            caption += f" Nothing is kept of dropout {layer + 1} any more."
        step = figure.step(caption)
        draw(step, masks, "backward", layer, range(layer + 1))
    figure.save()


def draw(step: Step, masks: list[str], title: str, now: int, held: range) -> None:
    """now: the dropout that is at work; held: those of which something is kept."""
    for layer in range(len(SEEDS)):
        x = 90 + PITCH * layer
        step.box(x, 4, WIDE, 24, f"dropout {layer}", "b" if layer == now else "n", layer == now)
        if layer < len(SEEDS) - 1:
            ends = (x + WIDE, 16, x + PITCH, 16)
            step.arrow(*(ends if title == "forward" else (ends[2], 16, ends[0], 16)))
    step.text(6, 20, title, "start", bold=True)
    for y, name, stores in ((52, "mask kept", True), (132, "seed kept", False)):
        step.text(6, y + 16, name, "start", bold=True)
        for layer, (seed, mask) in enumerate(zip(SEEDS, masks, strict=True)):
            x = 90 + PITCH * layer
            shown = layer in held if stores else layer == now
            kind = "b" if layer == now else "d"
            step.row(x, y, mask if shown else " " * SHOWN, kind if shown else "x", WIDE / SHOWN, 22)
            if not stores:
                here = layer in held
                step.box(x, y + 26, WIDE, 22, f"seed {seed}" if here else "", "c" if here else "x")
    many = "" if len(held) == 1 else "s"
    step.text(90, 94, f"{len(held)} mask{many}: {len(held) * MASK / 1e6:.0f} MB", "start")
    step.text(90, 198, f"{len(held)} seed{many}: {len(held) * SEED} bytes", "start")


if __name__ == "__main__":
    main()
