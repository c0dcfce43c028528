"""Draws day26_ranks.svg: what the best code of r numbers misses, for three kinds of vectors.

python -m tracks.pytorch.lessons.figures.day26_ranks
"""

from __future__ import annotations

import torch

from harness.figures import new_figure, reference, save


def main() -> None:
    day26 = reference("pytorch", 26)
    draw = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=draw, dtype=torch.float64)

    kinds = {
        "independent numbers": (normal(512, 64), "#c8443c"),
        "made from 24 numbers": (normal(512, 24) @ normal(24, 64), "#3b6fb6"),
        "8 directions, and noise": (
            normal(512, 8) @ normal(8, 64) + 0.3 * normal(512, 64),
            "#3a8a4d",
        ),
    }
    figure = new_figure(__file__, 6.4, 3)
    axes = figure.subplots()
    for label, (kv, colour) in kinds.items():
        errors = day26.reconstruction_error(kv).tolist()
        axes.plot(range(65), [round(e, 3) for e in errors], color=colour, label=label)
    axes.set_xlabel("numbers a vector is kept with (rank)")
    axes.set_ylabel("error")
    axes.set_xticks([0, 8, 24, 32, 64])
    axes.set_yticks([0, 0.5, 1], ["0", "50 %", "100 %"])
    axes.legend(frameon=False, loc="upper right")
    save(figure, __file__)


if __name__ == "__main__":
    main()
