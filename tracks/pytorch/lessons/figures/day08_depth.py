"""Draws day08_depth.svg: the mean square of a signal on its way through fifty layers, by the start.

python -m tracks.pytorch.lessons.figures.day08_depth
"""

from __future__ import annotations

import math

import torch

from harness.figures import new_figure, reference, save

DEPTH, WIDTH, DRAWS = 50, 256, 5
RED, GREEN, BLUE = "#c8443c", "#3a8a4d", "#3b6fb6"


def main() -> None:
    day08 = reference("pytorch", 8)
    figure = new_figure(__file__, 5, 6.4)
    above, below = figure.subplots(2, 1)
    start = torch.randn(64, WIDTH, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def lines(axes, init, activation, colour, style, label) -> None:
        for seed in range(DRAWS):
            torch.manual_seed(seed)
            found = day08.activation_statistics(DEPTH, init, activation, start).activations
            # Fewer digits than two machines may differ in.
            logs = [round(math.log10(x), 4) for x in found]
            text = "" if seed else label
            axes.plot(range(1, DEPTH + 1), logs, style, color=colour, linewidth=0.9, label=text)

    def normal(std: float):
        return lambda w: torch.nn.init.normal_(w, std=std)

    for factor, colour, style in ((1.2, RED, "-"), (1.0, GREEN, "--"), (0.8, BLUE, "-.")):
        init = normal(factor / WIDTH**0.5)
        lines(above, init, lambda x: x, colour, style, f"std = {factor:g} / √fan")
    above.set_title("linear layers")
    lines(below, day08.kaiming_normal_, torch.relu, GREEN, "--", "σ² = 2 / fan")
    lines(below, normal(WIDTH**-0.5), torch.relu, BLUE, "-.", "σ² = 1 / fan")

    def as_linear(w: torch.Tensor) -> None:  # how nn.Linear fills its weight
        torch.nn.init.kaiming_uniform_(w, a=5**0.5)

    lines(below, as_linear, torch.relu, RED, "-", "nn.Linear as it comes")
    below.set_title("with ReLU")
    for axes, ticks in ((above, range(-10, 11, 5)), (below, range(-40, 1, 10))):
        axes.set_yticks(ticks, [f"$10^{{{t}}}$" if t else "1" for t in ticks])
        axes.legend(frameon=False, loc="lower left")
        axes.set_xlim(0, DEPTH)
        axes.set_ylabel("mean square")
    below.set_xlabel("layers passed")
    save(figure, __file__)


if __name__ == "__main__":
    main()
