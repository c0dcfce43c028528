"""Draws day09_bends.svg: four activations and their slopes.

python -m tracks.pytorch.lessons.figures.day09_bends
"""

from __future__ import annotations

import torch

from harness.figures import new_figure, reference, save

LEAK = 0.1


def main() -> None:
    day09 = reference("pytorch", 9)
    curves = {
        "ReLU": (day09.relu, "#777777", "-"),
        f"leaky ReLU, s = {LEAK:g}": (lambda x: day09.leaky_relu(x, LEAK), "#c8443c", ":"),
        "GELU": (day09.gelu, "#3b6fb6", "-"),
        "SiLU": (day09.silu, "#3a8a4d", "--"),
    }
    # No point lies on the kink: there a line would be drawn through the slope's jump.
    left = torch.linspace(-5, -1e-3, 201, dtype=torch.float64)
    right = torch.linspace(1e-3, 3, 121, dtype=torch.float64)
    gap = torch.tensor([torch.nan], dtype=torch.float64)
    figure = new_figure(__file__, 5, 6)
    above, below = figure.subplots(2, 1, sharex=True)
    for name, (bend, colour, line) in curves.items():
        smooth = name in ("GELU", "SiLU")
        x = torch.cat([left, right] if smooth else [left, gap, right]).requires_grad_()
        y = bend(x)
        (slope,) = torch.autograd.grad(y.sum(), x)
        x, slope = x.detach(), slope.masked_fill(x.isnan(), torch.nan)
        for axes, values in ((above, y.detach()), (below, slope)):
            axes.plot(x, values, line, color=colour, label=name)
    above.set_title("value")
    above.set_ylim(-0.6, 3)
    above.legend(frameon=False, loc="upper left")
    below.set_title("slope: what a gradient is multiplied by")
    below.set_ylim(-0.2, 1.2)
    for axes in (above, below):
        axes.axhline(0, color="#aaaaaa", linewidth=0.6)
        axes.axvline(0, color="#aaaaaa", linewidth=0.6)
        axes.set_xlim(-5, 3)
    below.set_xlabel("x")
    save(figure, __file__)


if __name__ == "__main__":
    main()
