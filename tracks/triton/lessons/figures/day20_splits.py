"""Draws day20_splits.svg: the model's time over the number of parts, for three products.

python -m tracks.triton.lessons.figures.day20_splits
"""

from __future__ import annotations

from harness.figures import new_figure, reference, save

PRODUCTS = {
    (128, 128, 16_384): "#3a8a4d",
    (512, 512, 16_384): "#3b6fb6",
    (1024, 1024, 8192): "#8a5a9e",
}
SMS, MOST = 132, 24


def main() -> None:
    day20 = reference("triton", 20)
    figure = new_figure(__file__, 7.2, 3.2)
    axes = figure.subplots()
    for (m, n, k), colour in PRODUCTS.items():
        tiles, steps = -(-m // 128) * -(-n // 128), -(-k // 64)
        times = [
            -(-tiles * s // SMS) * (-(-steps // s) + day20.START) + s for s in range(1, MOST + 1)
        ]
        label = f"{m} x {n} x {k}, {tiles} tile" + "s" * (tiles > 1)
        axes.plot(range(1, MOST + 1), times, ".-", color=colour, linewidth=1.2, label=label)
        best = day20.choose_splits(m, n, k, SMS)
        axes.plot(best, times[best - 1], "o", color="#c8443c", markersize=6)
    axes.set_ylim(0, 340)
    axes.set_xlabel("parts of K")
    axes.set_ylabel("time, in steps along K")
    axes.set_title("On 132 multiprocessors; red: the least time")
    axes.legend(frameon=False, loc="upper right")
    save(figure, __file__)


if __name__ == "__main__":
    main()
