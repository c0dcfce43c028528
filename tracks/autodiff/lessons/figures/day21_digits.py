"""Draws day21_digits.svg: how far three log_softmax are off, by the size of the logits.

python -m tracks.autodiff.lessons.figures.day21_digits
"""

from __future__ import annotations

import numpy as np

from harness.figures import new_figure, save

ROWS, CLASSES = 400, 4
SIZES = np.logspace(0, 6, 49)
WAYS = (
    ("log(softmax(x))", "#8a5a9e", ":"),
    ("x − logsumexp(x)", "#c8443c", "--"),
    ("(x − top) − rest", "#3b6fb6", "-"),
)


def rounded(f, x: np.ndarray) -> np.ndarray:
    """f(x) as a float32: in float64 first, for the last digit of float32's own exp and log is not
    the same on every processor."""
    return f(x.astype(np.float64)).astype(np.float32)


def errors(size: float) -> list[float]:
    """The mean error of each way in float32, for logits that lie around ``size``, a few apart."""
    rng = np.random.default_rng(0)
    x = (size + rng.normal(size=(ROWS, CLASSES))).astype(np.float32)
    exact = x.astype(np.float64)
    exact = exact - exact.max(1, keepdims=True)
    exact = exact - np.log(np.exp(exact).sum(1, keepdims=True))
    with np.errstate(all="ignore"):
        e = rounded(np.exp, x)
        book = rounded(np.log, e / e.sum(1, keepdims=True))
        top = x.max(1, keepdims=True)
        rest = rounded(np.log, rounded(np.exp, x - top).sum(1, keepdims=True))
        found = book, x - (top + rest), (x - top) - rest
    assert all(way.dtype == np.float32 for way in found)
    return [float(np.abs(way - exact).mean()) for way in found]


def main() -> None:
    figure = new_figure(__file__, 5, 3.8)
    axes = figure.subplots()
    found = np.array([errors(size) for size in SIZES])
    end = np.log(float(np.finfo(np.float32).max))
    for (name, colour, line), column in zip(WAYS, found.T, strict=True):
        order = 3 if name == WAYS[0][0] else 2  # it lies on the last one
        axes.plot(SIZES, column, line, color=colour, linewidth=2.5, label=name, zorder=order)
    axes.annotate(
        f"nan from {end:.0f} on",
        (end, 5e-8),
        xytext=(1.3 * end, 2e-5),
        ha="right",
        color=WAYS[0][1],
        arrowprops={
            "arrowstyle": "-",
            "color": WAYS[0][1],
            "linestyle": ":",
            "relpos": (0.93, 0),
        },
    )
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_ylim(1e-8, 10)
    axes.set_xlabel("size of the logits")
    axes.set_ylabel("error of log_softmax in float32")
    axes.legend(frameon=False, loc="upper left")
    save(figure, __file__)


if __name__ == "__main__":
    main()
