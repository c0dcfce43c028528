"""Draws day28_roofline.svg: attention under an H200's roof, by the number of new queries.

python -m tracks.triton.lessons.figures.day28_roofline
"""

from __future__ import annotations

import numpy as np

from harness.figures import new_figure, reference, save

PEAK, BANDWIDTH = 989e12, 4.8e12  # H200, as in the lesson of day 15
HEADS, KV_HEADS, DIM, KEYS = 32, 8, 128, 4096
NOTES = {1: "write a token", 16: "16 tokens", 128: "128", 4096: "read a text"}


def main() -> None:
    day28 = reference("triton", 28)
    figure = new_figure(__file__, 5, 3.4)
    axes = figure.subplots()
    intensity = np.logspace(0, 4, 100)
    axes.plot(intensity, [_rate(x) for x in intensity], color="#777777", linewidth=1.6)
    ways = {
        True: ("s", "#3b6fb6", "scores stay on the chip"),
        False: ("o", "#c8443c", "day 27: through memory"),
    }
    for fused, (marker, colour, label) in ways.items():
        points = []
        for queries in NOTES:
            flops = day28.attention_flops(1, HEADS, queries, DIM, keys=KEYS)
            moved = day28.attention_bytes(
                1, HEADS, queries, DIM, keys=KEYS, kv_heads=KV_HEADS, fused=fused
            )
            points.append(flops / moved)
        axes.plot(
            points, [_rate(x) for x in points], marker, color=colour, label=label, markersize=6
        )
        for x, note in zip(points, NOTES.values(), strict=True):
            if fused:
                axes.annotate(
                    note, (x, _rate(x)), textcoords="offset points", color=colour,
                    xytext=(8, -8) if x < 10 else (0, 7) if x > 100 else (-8, 4),
                    ha="left" if x < 10 else "center" if x > 100 else "right",
                )  # fmt: skip
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_ylim(3, 3000)
    axes.set_xlabel("operations for each byte between memory and chip")
    axes.set_ylabel("TFLOP/s, at best")
    axes.set_title("One layer, 4,096 keys, on an H200")
    axes.legend(frameon=False, loc="lower right")
    save(figure, __file__)


def _rate(intensity: float) -> float:
    return min(PEAK, intensity * BANDWIDTH) / 1e12


if __name__ == "__main__":
    main()
