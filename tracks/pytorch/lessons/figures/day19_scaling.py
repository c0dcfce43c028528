"""Draws day19_scaling.svg: the sinusoidal code, and what each scaling does to the frequencies.

python -m tracks.pytorch.lessons.figures.day19_scaling
"""

from __future__ import annotations

import math

import torch

from harness.figures import new_figure, reference, save

KINDS = {"linear": "#c8443c", "ntk": "#3b6fb6", "llama3": "#3a8a4d", "yarn": "#8a5a9e"}


def main() -> None:
    day19 = reference("pytorch", 19)
    figure = new_figure(__file__, 8.4, 3)
    left, right = figure.subplots(1, 2, width_ratios=[1, 1.4])

    code = day19.sinusoidal(torch.arange(48), 32)
    left.imshow(code.numpy(), cmap="RdBu_r", vmin=-1, vmax=1, aspect="auto")
    left.set_title("sinusoidal(arange(48), 32)")
    left.set_xlabel("feature")
    left.set_ylabel("position")

    dim, trained, factor = 128, 4096, 8.0
    plain = day19.rope_frequencies(dim)
    for kind, colour in KINDS.items():
        turns = {"fast": 4.0} if kind == "llama3" else {}
        scaled = day19.rope_scale(dim, kind, factor, trained=trained, **turns).frequencies
        right.plot(scaled / plain, label=kind, color=colour, linewidth=1.6)
    once = dim / 2 * math.log(trained / math.tau) / math.log(10_000)
    right.axvline(once, color="#8d9096", linestyle=":", linewidth=1)
    right.annotate("one turn in 4,096 positions", (once - 1, 0.03), ha="right", color="#55585e")
    right.set_title("new frequency / old, stretched 8 times")
    right.set_xlabel("pair of features, the fastest first")
    right.set_ylim(0, 1.05)
    right.legend(frameon=False, loc="upper right")
    save(figure, __file__)


if __name__ == "__main__":
    main()
