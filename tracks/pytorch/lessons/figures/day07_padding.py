"""Draws day07_padding.svg: 64 sequences in batches of eight: data and padding, by the order.

python -m tracks.pytorch.lessons.figures.day07_padding
"""

from __future__ import annotations

import torch

from harness.figures import new_figure, reference, save

BATCH, BATCHES, LONGEST = 8, 8, 200


def main() -> None:
    draw = torch.Generator().manual_seed(0)
    lengths = torch.randint(1, LONGEST + 1, (BATCH * BATCHES,), generator=draw).tolist()
    bucket = reference("pytorch", 7).BucketSampler
    orders = {
        "at random": bucket(lengths, BATCH, pool=1),
        "pools of 4 batches": bucket(lengths, BATCH, pool=4),
        "all sorted": bucket(lengths, BATCH, pool=BATCHES),
    }
    figure = new_figure(__file__, 5, 4.6)
    for axes, (name, sampler) in zip(
        figure.subplots(1, 3, sharey=True), orders.items(), strict=True
    ):
        batches = [sorted(lengths[i] for i in batch) for batch in sampler]
        if name == "all sorted":
            batches.sort()
        y = 0.0
        for batch in batches:
            places = [y + i for i in range(BATCH)]
            axes.barh(places, [max(batch)] * BATCH, 1, align="edge", color="#d9dbde")
            axes.barh(places, batch, 1, align="edge", color="#3b6fb6")
            y += BATCH + 1.5
        wasted = 1 - sum(lengths) / sum(len(b) * max(b) for b in batches)
        axes.set_title(f"{name}\n{wasted:.0%} padding", fontsize=10)
        axes.set_xticks([0, 100, 200])
        axes.set_ylim(y, -1)
        axes.set_yticks([])
        axes.spines[["top", "right", "left"]].set_visible(False)
    figure.axes[0].set_ylabel("sequences, in batches of eight")
    figure.supxlabel("length", fontsize=10)
    save(figure, __file__)


if __name__ == "__main__":
    main()
