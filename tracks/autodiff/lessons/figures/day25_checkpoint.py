"""Draws day25_checkpoint.svg: nine layers in three segments: which arrays are there at each moment.

python -m tracks.autodiff.lessons.figures.day25_checkpoint
"""

from __future__ import annotations

from harness.figures import Step, Stepped

SEGMENTS, LAYERS = 3, 3


def main() -> None:
    figure = Stepped(__file__, height=128)
    every = {(segment, layer) for segment in range(SEGMENTS) for layer in range(1, LAYERS + 1)}
    step = figure.step("Without checkpoints x and every layer's result wait for the backward.")
    draw(step, every | {(0, 0)}, set(), "all kept")
    kept: set[tuple[int, int]] = set()
    for segment in range(SEGMENTS - 1):
        kept.add((segment, 0))
        step = figure.step(
            f"Forward, segment {segment}: its argument is kept, what is in between is forgotten."
        )
        draw(step, kept, set(), "forward")
    last = {(SEGMENTS - 1, layer) for layer in range(LAYERS + 1)}
    kept |= last
    assert len(kept) == SEGMENTS + LAYERS  # the lesson's s + n / s
    step = figure.step(
        f"The last segment is wanted next, so it is recorded at once: {SEGMENTS} + {LAYERS} "
        "arrays, the most of all."
    )
    draw(step, kept, set(), "forward")
    kept -= last
    for segment in reversed(range(SEGMENTS - 1)):
        again = {(segment, layer) for layer in range(1, LAYERS + 1)}
        step = figure.step(
            f"Backward has come to segment {segment}: from its argument its layers are computed "
            "again, used, and freed."
        )
        draw(step, kept, again, "backward")
        kept.discard((segment, 0))
    figure.save()


def draw(step: Step, kept: set[tuple[int, int]], again: set[tuple[int, int]], title: str) -> None:
    step.text(8, 16, title, "start", bold=True)
    for segment in range(SEGMENTS):
        x = 8 + 116 * segment
        step.text(x + 54, 40, f"segment {segment}")
        for layer in range(LAYERS + 1):
            here = (segment, layer)
            kind = "a" if here in kept else "b" if here in again else "n"
            name = str(layer) if layer else "xab"[segment]
            step.box(x + 27 * layer, 50, 27, 28, name if kind != "n" else "", kind, kind == "b")
    step.text(8, 110, f"arrays now: {len(kept) + len(again)}", "start")


if __name__ == "__main__":
    main()
