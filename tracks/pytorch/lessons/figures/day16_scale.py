"""Draws day16_scale.svg: what the length of the vectors does to the scores and to softmax.

python -m tracks.pytorch.lessons.figures.day16_scale
"""

from __future__ import annotations

import torch

from harness.figures import new_figure, reference, save

SIZES = [2**i for i in range(11)]


def main() -> None:
    attention_variance = reference("pytorch", 16).attention_variance
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    found = [attention_variance(d) for d in SIZES]
    figure = new_figure(__file__, 5, 5.4)
    above, below = figure.subplots(2, 1)
    kinds = (("raw", "#c8443c", "o-", "q · k"), ("scaled", "#3b6fb6", "s-", "q · k / √d"))
    for kind, colour, line, label in kinds:
        spread = [getattr(f, kind) ** 0.5 for f in found]
        above.plot(SIZES, spread, line, color=colour, label=label, markersize=4)
        largest = [getattr(f, f"largest_{kind}") for f in found]
        below.plot(SIZES, largest, line, color=colour, label=label, markersize=4)
    above.plot(SIZES, [d**0.5 for d in SIZES], "--", color="#777777", label="√d", linewidth=1)
    above.set_yscale("log", base=2)
    above.set_yticks([1, 4, 16], ["1", "4", "16"])
    above.set_title("standard deviation of the scores")
    below.set_ylim(0, 1.05)
    below.set_title("the largest of 32 weights, on average")
    for axes in (above, below):
        axes.set_xscale("log", base=2)
        axes.set_xticks([1, 8, 64, 512], ["1", "8", "64", "512"])
        axes.legend(frameon=False)
    below.set_xlabel("d, the length of a query and a key")
    save(figure, __file__)


if __name__ == "__main__":
    main()
