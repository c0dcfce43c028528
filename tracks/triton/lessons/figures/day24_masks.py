"""Draws day24_masks.svg: masks of three ways to count, with two block sizes.

python -m tracks.triton.lessons.figures.day24_masks
"""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import PathPatch
from matplotlib.path import Path

from harness.figures import new_figure, save

ROWS, COLUMNS, SEED = 16, 32, 17
BLOCKS = (64, 128)
DROPPED, CHANGED = "#3b6fb6", "#e08a1e"


def words(seed: np.ndarray, counter: np.ndarray) -> np.ndarray:
    """The four words of Philox for each pair: the function of the lesson, on whole arrays."""
    low = np.uint64(2**32 - 1)
    half = np.uint64(32)
    zero = np.zeros_like(counter)
    c = [counter & low, counter >> half, zero, zero]
    key = [seed & low, seed >> half]
    for _ in range(10):
        a, b = np.uint64(0xD2511F53) * c[0], np.uint64(0xCD9E8D57) * c[2]
        c = [(b >> half) ^ c[1] ^ key[0], b & low, (a >> half) ^ c[3] ^ key[1], a & low]
        key = [(key[0] + np.uint64(0x9E3779B9)) & low, (key[1] + np.uint64(0xBB67AE85)) & low]
    return np.stack(c, axis=-1)


def uniform(seed: np.ndarray, counter: np.ndarray) -> np.ndarray:
    """The words as Triton's numbers in [0, 1): a negative word w counts as -w - 1."""
    signed = words(seed, counter).astype(np.uint32).view(np.int32).astype(np.int64)
    return np.where(signed < 0, -signed - 1, signed) / 2.0**31


def kept(way: str, block: int) -> np.ndarray:
    """Which elements a dropout with p = 0.5 keeps; a counter serves four elements."""
    counter = np.arange(ROWS * COLUMNS // 4, dtype=np.uint64)
    program, lane = counter // np.uint64(block // 4), counter % np.uint64(block // 4)
    seed = np.full_like(counter, SEED)
    if way == "lane":
        counter = lane
    elif way == "seed + program":
        counter, seed = lane, seed + program
    return uniform(seed, counter).reshape(ROWS, COLUMNS) >= 0.5


def main() -> None:
    first = [f"{v:.4f}" for v in uniform(np.zeros(1, np.uint64), np.zeros(1, np.uint64))[0]]
    assert first == ["0.7981", "0.2390", "0.5286", "0.7890"]  # the lesson's numbers of seed 0
    figure = new_figure(__file__, 5, 2.5)
    ways = ("place", "lane", "seed + program")
    titles = ("by place", "arange alone", "seed + program")
    grid = figure.subplots(len(BLOCKS), len(ways))
    for column, (way, title) in enumerate(zip(ways, titles, strict=True)):
        before = kept(way, BLOCKS[0])
        for row, block in enumerate(BLOCKS):
            now = kept(way, block)
            changed = now != before
            axes = grid[row, column]
            draw(axes, ~now & ~changed, DROPPED)
            draw(axes, changed, CHANGED)
            for edge in range(0, ROWS + 1, block // COLUMNS):
                axes.axhline(edge, color="#1a1a1a", linewidth=0.5)
            axes.set_xlim(0, COLUMNS)
            axes.set_ylim(ROWS, 0)
            axes.set_xticks([])
            axes.set_yticks([])
            if row == 0:
                axes.set_title(title, fontsize=10)
            else:
                axes.set_xlabel(f"{int(changed.sum())} of {changed.size} changed", fontsize=9)
            if column == 0:
                axes.set_ylabel(f"blocks of\n{block}", fontsize=9)
    figure.supxlabel(f"blue: dropped.  orange: changed from blocks of {BLOCKS[0]}", fontsize=9)
    save(figure, __file__)


def draw(axes: Axes, marked: np.ndarray, colour: str) -> None:
    """Marked elements as one path; those side by side are one bar."""
    bars = []
    for row, line in enumerate(marked):
        edges = np.flatnonzero(np.diff(np.concatenate(([0], line.astype(int), [0]))))
        for start, end in edges.reshape(-1, 2):
            corners = [(start, row), (end, row), (end, row + 1), (start, row + 1), (start, row)]
            bars.append(Path(corners, closed=True))
    if bars:
        axes.add_patch(PathPatch(Path.make_compound_path(*bars), facecolor=colour, linewidth=0))


if __name__ == "__main__":
    main()
