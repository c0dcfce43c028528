"""Draws day24_caches.svg: bytes of one sequence's cache against the length of the text.

python -m tracks.pytorch.lessons.figures.day24_caches
"""

from __future__ import annotations

from harness.figures import new_figure, reference, save

SHAPE = {"layers": 32, "heads": 32, "kv_heads": 8, "head_dim": 128}  # Mistral 7B's
COLOURS = {
    "multi-head": "#c8443c",
    "grouped": "#3b6fb6",
    "multi-query": "#3a8a4d",
    "window": "#d9902f",
}


def main() -> None:
    day24 = reference("pytorch", 24)
    figure = new_figure(__file__, 6.4, 3)
    axes = figure.subplots()
    lengths = [2 ** (i / 4) for i in range(36, 69)]
    table = [day24.compare_caches(round(n), **SHAPE, window=4096) for n in lengths]
    for kind, colour in COLOURS.items():
        label = "window of 4,096, with or without sinks" if kind == "window" else kind
        axes.plot(lengths, [s[kind] / 2**30 for s in table], color=colour, label=label)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    axes.set_xlabel("tokens of text")
    axes.set_ylabel("GiB")
    axes.set_xticks([512, 4096, 32768, 131072], ["512", "4,096", "32,768", "131,072"])
    axes.set_yticks([2**-4, 1, 16, 64], ["1/16", "1", "16", "64"])
    axes.set_ylim(2**-7, 2**13)  # room for the legend above the lines
    axes.legend(frameon=False, ncols=2, loc="upper left")
    save(figure, __file__)


if __name__ == "__main__":
    main()
