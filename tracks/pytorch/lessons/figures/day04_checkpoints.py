"""Draws day04_checkpoints.svg: memory over a training step, with checkpoints and without.

python -m tracks.pytorch.lessons.figures.day04_checkpoints
"""

from __future__ import annotations

from harness.figures import new_figure, save

LAYERS, BLOCK = 64, 8
BACKWARD = 2  # a backward costs as much as two forwards


def main() -> None:
    figure = new_figure(__file__, 5, 5.6)
    above, below = figure.subplots(2, 1)
    for block, colour, line in ((LAYERS, "#c8443c", "-"), (BLOCK, "#3b6fb6", "-")):
        times, kept = run(block)
        name = "everything kept" if block == LAYERS else f"blocks of {block}"
        label = f"{name}: at most {max(kept)}, done at {times[-1]}"
        above.plot(times, kept, line, color=colour, label=label)
    above.set_title(f"layers' results in memory, {LAYERS} layers")
    above.set_xlabel("time (one layer forwards = 1)")
    above.set_ylim(0, 90)
    above.legend(frameon=False, loc="upper left")
    blocks = range(1, LAYERS + 1)
    peaks = [size + LAYERS / size for size in blocks]
    below.plot(blocks, peaks, "-", color="#3b6fb6")
    best = min(blocks, key=lambda size: size + LAYERS / size)
    assert best == BLOCK and peaks[best - 1] == max(run(best)[1])  # the lesson's choice
    below.plot(best, peaks[best - 1], "o", color="#3b6fb6")
    below.annotate(f"k = {best}: {peaks[best - 1]:g}", (best, peaks[best - 1]), (best - 2, 27))
    below.set_ylim(0, 70)
    below.set_title("the most of all, L / k + k")
    below.set_xlabel("k, layers in a block")
    save(figure, __file__)


def run(block: int) -> tuple[list[int], list[int]]:
    """When how many results are kept. A block of all layers is one that forgets nothing."""
    times, kept = [0], [0]

    def then(duration: int, change: int) -> None:
        times.append(times[-1] + duration)
        kept.append(kept[-1] + change)

    if block == LAYERS:
        for _ in range(LAYERS):
            then(1, 1)
        for _ in range(LAYERS):
            then(BACKWARD, -1)
        return times, kept
    for _ in range(LAYERS // block):
        then(0, 1)  # the input of the block is kept
        then(block, 0)
    for _ in range(LAYERS // block):
        for _ in range(block):
            then(1, 1)  # made again
        for _ in range(block - 1):
            then(BACKWARD, -1)
        then(BACKWARD, -2)  # and the block's input
    return times, kept


if __name__ == "__main__":
    main()
