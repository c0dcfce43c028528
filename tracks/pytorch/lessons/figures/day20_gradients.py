"""Draws day20_gradients.svg: the gradient at every block of 32, in both orders of the norms.

python -m tracks.pytorch.lessons.figures.day20_gradients
"""

from __future__ import annotations

import torch
from torch import nn

from harness.figures import new_figure, reference, save

DEPTH, DRAWS = 32, 12


def main() -> None:
    day20 = reference("pytorch", 20)
    figure = new_figure(__file__, 8.4, 3.2)
    orders = {"norm first": (True, "#3b6fb6"), "norm last": (False, "#c8443c")}
    panels = figure.subplots(1, 2, sharey=True)
    for axes, (title, (norm_first, colour)) in zip(panels, orders.items(), strict=True):
        for seed in range(DRAWS):
            torch.manual_seed(seed)
            encoder = day20.Encoder(DEPTH, 32, 4, norm_first=norm_first).double()
            for p in encoder.parameters():
                if p.dim() > 1:
                    nn.init.xavier_uniform_(p)
            x, probe = torch.randn(2, 2, 16, 32, dtype=torch.float64)
            norms = day20.gradient_norms(encoder, x, probe)
            axes.plot((norms / norms[-1]).log10(), color=colour, linewidth=0.8)
        axes.axhline(0, color="#333333", linewidth=0.6)
        axes.set_title(title)
        axes.set_xlabel("blocks passed from the input on")
        axes.set_yticks([-2, -1, 0, 1], ["1/100", "1/10", "1", "10"])
    panels[0].set_ylabel("gradient, end of the stack = 1")
    save(figure, __file__)


if __name__ == "__main__":
    main()
