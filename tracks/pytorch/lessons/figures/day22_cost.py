"""Draws day22_cost.svg: work with and without a cache, and the memory of rows and of blocks.

python -m tracks.pytorch.lessons.figures.day22_cost
"""

from __future__ import annotations

import torch

from harness.figures import new_figure, reference, save

PROMPT, NEW, BLOCK = 100, 900, 16


def main() -> None:
    day22 = reference("pytorch", 22)
    figure = new_figure(__file__, 8.4, 3.2)
    work, memory = figure.subplots(1, 2)
    steps = torch.arange(1, NEW + 1)
    work.plot(steps, torch.cumsum(PROMPT + steps - 1, 0) / 1e3, color="#c8443c", label="without")
    work.plot(steps, (PROMPT + steps - 1) / 1e3, color="#3b6fb6", label="with a cache")
    work.set_xlabel(f"tokens written behind a prompt of {PROMPT}")
    work.set_title("thousands of positions that went through the model")
    work.legend()

    torch.manual_seed(0)
    lengths = torch.randint(20, 1000, (16,)).tolist()
    shape = {"layers": 12, "heads": 12, "head_dim": 64}
    bars = {
        "room for 1024 each": day22.cache_bytes(**shape, lengths=[1024] * len(lengths)),
        "rows, as the longest": day22.cache_bytes(**shape, lengths=lengths),
        f"blocks of {BLOCK}": day22.cache_bytes(**shape, lengths=lengths, block_size=BLOCK),
        "the tokens alone": day22.cache_bytes(**shape, lengths=lengths, block_size=1),
    }
    memory.barh(list(bars), [size / 1e6 for size in bars.values()], color="#3b6fb6", height=0.6)
    memory.invert_yaxis()
    memory.set_title(f"MB for {len(lengths)} texts of unequal lengths")
    save(figure, __file__)


if __name__ == "__main__":
    main()
