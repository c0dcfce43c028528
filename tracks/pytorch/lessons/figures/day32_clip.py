"""Draws day32_clip.svg: on which side GRPO's clip is felt.

python -m tracks.pytorch.lessons.figures.day32_clip
"""

from __future__ import annotations

import torch

from harness.figures import new_figure, reference, save

RATIOS = [0.4, 0.8, 1.2, 1.8]  # the corners and the ends


def gains(advantage: float) -> list[float]:
    """Minus grpo_loss of one token, without the pull to the reference."""
    grpo_loss = reference("pytorch", 32).grpo_loss
    zero, mask = torch.zeros(1, 1), torch.ones(1, 1, dtype=torch.bool)
    scale = torch.tensor([advantage])
    return [
        round(-grpo_loss(torch.tensor([[r]]).log(), zero, zero, scale, mask, beta=0.0).item(), 3)
        for r in RATIOS
    ]


def main() -> None:
    figure = new_figure(__file__, 6.4, 2.6)
    both = figure.subplots(1, 2)
    for axes, advantage, name in zip(
        both, (1.0, -1.0), ("a good try, A = 1", "a bad try, A = -1"), strict=True
    ):
        axes.plot(RATIOS, [r * advantage for r in RATIOS], color="#bbbbbb", linestyle="--")
        axes.plot(RATIOS, gains(advantage), color="#3b6fb6", linewidth=2)
        for edge in (0.8, 1.2):
            axes.axvline(edge, color="#888888", linewidth=0.8, linestyle=":")
        axes.set_xticks([0.8, 1.0, 1.2])
        axes.set_title(name, fontsize=10)
        axes.set_xlabel("ratio")
    both[0].set_ylabel("gain")
    save(figure, __file__)


if __name__ == "__main__":
    main()
