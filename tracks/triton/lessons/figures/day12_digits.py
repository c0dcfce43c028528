"""Draws day12_digits.svg: the relative error of log(1 + exp(x)), each step rounded to float32.

python -m tracks.triton.lessons.figures.day12_digits
"""

from __future__ import annotations

import math

import numpy as np

from harness.figures import new_figure, save

LEFT, RIGHT = -30, 100
LEAST = 1e-10


def main() -> None:
    xs = [LEFT + k / 4 for k in range(4 * (RIGHT - LEFT) + 1)]
    errors = [error(x) for x in xs]
    lost = max(x for x, e in zip(xs, errors, strict=True) if e == 1)
    overflow = min(x for x, e in zip(xs, errors, strict=True) if math.isinf(e))

    figure = new_figure(__file__, 5, 3.2)
    axes = figure.subplots()
    axes.axvspan(LEFT, lost, color="#e6e8eb", linewidth=0)
    axes.axvspan(overflow, RIGHT, color="#e6e8eb", linewidth=0)
    axes.axhline(2.0**-24, color="#6b7280", linewidth=1, linestyle="--")
    axes.text(
        38, 1.5 * 2.0**-24, f"rounding alone: at most {2.0**-24:.0e}", ha="center", va="bottom"
    )
    axes.text(54, 8e-10, "right to the last digit", ha="center", va="center")
    shown = [(x, e) for x, e in zip(xs, errors, strict=True) if LEAST < e < 1]
    axes.plot(*zip(*shown, strict=True), ".", color="#c8443c", markersize=2.5)
    axes.plot([LEFT, lost], [1, 1], color="#c8443c", linewidth=2.5)
    axes.text((LEFT + lost) / 2, 1e-4, "the result is 0", ha="center", va="center", rotation=90)
    axes.text((overflow + RIGHT) / 2, 1e-4, "it is inf", ha="center", va="center", rotation=90)
    axes.set_xlim(LEFT, RIGHT)
    axes.set_yscale("log")
    axes.set_ylim(LEAST, 3)
    axes.minorticks_off()
    axes.set_xlabel("x")
    axes.set_ylabel("relative error")
    axes.set_title("log(1 + exp(x)) in float32", fontsize=10)
    save(figure, __file__)


def error(x: float) -> float:
    """Of log(1 + exp(x)) with every step rounded to float32; three digits, on every machine."""
    with np.errstate(over="ignore"):
        exponential = np.float32(math.exp(x))
    total = np.float32(1) + exponential
    result = float(np.float32(math.log(total))) if np.isfinite(total) else math.inf
    true = max(x, 0.0) + math.log1p(math.exp(-abs(x)))
    return float(f"{abs(result / true - 1):.2e}")


if __name__ == "__main__":
    main()
