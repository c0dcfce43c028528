"""Draws day10_pulls.svg: four losses and their gradients, over the error and over the logit.

python -m tracks.pytorch.lessons.figures.day10_pulls
"""

from __future__ import annotations

import torch

from harness.figures import new_figure, reference, save

RED, BLUE = "#c8443c", "#3b6fb6"


def main() -> None:
    day10 = reference("pytorch", 10)
    zeros, ones = torch.zeros(241, dtype=torch.float64), torch.ones(241, dtype=torch.float64)

    def square(d: torch.Tensor) -> torch.Tensor:
        return day10.mse(d, zeros, "none") / 2

    def huber(d: torch.Tensor) -> torch.Tensor:
        return day10.huber(d, zeros, 1.0, "none")

    def likelihood(z: torch.Tensor) -> torch.Tensor:
        return day10.bce_with_logits(z, ones, reduction="none")

    def of_probability(z: torch.Tensor) -> torch.Tensor:
        return day10.mse(z.sigmoid(), ones, "none")

    figure = new_figure(__file__, 5, 5.2)
    panels = figure.subplots(2, 2)
    rows = (
        (4, "error d", ((square, RED, "--", "d² / 2"), (huber, BLUE, "-", "Huber, δ = 1"))),
        (
            8,
            "logit z, the truth is yes",
            ((of_probability, RED, "--", "(σ(z) - 1)²"), (likelihood, BLUE, "-", "-log σ(z)")),
        ),
    )
    for (loss, gradient), (reach, label, curves) in zip(panels, rows, strict=True):
        x = torch.linspace(-reach, reach, 241, dtype=torch.float64, requires_grad=True)
        for way, colour, line, name in curves:
            y = way(x)
            (slope,) = torch.autograd.grad(y.sum(), x)
            loss.plot(x.detach(), y.detach(), line, color=colour, label=name)
            gradient.plot(x.detach(), slope, line, color=colour)
        for axes in (loss, gradient):
            axes.axhline(0, color="#aaaaaa", linewidth=0.6)
            axes.axvline(0, color="#aaaaaa", linewidth=0.6)
            axes.set_xticks(range(-reach, reach + 1, reach // 2))
        loss.set_ylim(top=loss.get_ylim()[1] * 1.35)
        loss.legend(frameon=False, loc="upper center", fontsize=9)
        loss.set_xlabel(label)
        gradient.set_xlabel(label)
    panels[0, 0].set_title("loss")
    panels[0, 1].set_title("gradient")
    save(figure, __file__)


if __name__ == "__main__":
    main()
