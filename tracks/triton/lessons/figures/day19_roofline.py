"""Draws day19_roofline.svg: the roofs of three cards, and matrix products under one of them.

python -m tracks.triton.lessons.figures.day19_roofline
"""

from __future__ import annotations

import numpy as np

from harness.figures import new_figure, reference, save

COLOURS = ("#3b6fb6", "#3a8a4d", "#8a5a9e")
N = 8192


def main() -> None:
    day19 = reference("triton", 19)
    figure = new_figure(__file__, 7.2, 3.4)
    axes = figure.subplots()
    intensity = np.logspace(-1, 4.2, 200)
    for device, colour in zip(day19.DEVICES, COLOURS, strict=True):
        rates = [x / day19.roofline(x, 1.0, device)[0] / 1e12 for x in intensity]
        axes.plot(intensity, rates, color=colour, linewidth=1.6, label=device.name)

    for m in (1, 16, 128, 512, 8192):
        flops, moved = 2 * m * N * N, 2 * (m * N + N * N + m * N)
        rate = flops / day19.roofline(flops, moved, day19.H200)[0] / 1e12
        axes.plot(flops / moved, rate, "o", color="#c8443c", markersize=5)
        above = m < 512
        axes.annotate(
            f"{m} row" + "s" * (m > 1),
            (flops / moved, rate),
            xytext=(-6, 4) if above else (0, 6),
            textcoords="offset points",
            ha="right" if above else "center",
            color="#c8443c",
        )
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_ylim(0.1, 3000)
    axes.set_xlabel("FLOPs for each byte between memory and chip")
    axes.set_ylabel("TFLOP/s, at best")
    axes.set_title("Rows of 8,192 times an 8,192 x 8,192 matrix, on an H200")
    axes.legend(frameon=False, loc="lower right")
    save(figure, __file__)


if __name__ == "__main__":
    main()
