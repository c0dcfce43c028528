"""Draws day29_load.svg: the busiest expert's load while the selection bias is learning.

python -m tracks.pytorch.lessons.figures.day29_load
"""

from __future__ import annotations

import torch

from harness.figures import new_figure, reference, save

STEPS, EXPERTS = 300, 8


def loads(rate: float) -> list[float]:
    """Of the busiest expert, as a multiple of the mean, smoothed over ten steps."""
    day29 = reference("pytorch", 29)
    router = day29.Router(day29.small(n_group=1, topk_group=1)).double()
    draw = torch.Generator().manual_seed(0)
    weight = torch.randn(EXPERTS, 16, generator=draw, dtype=torch.float64) * 0.3
    lean = sum(2.5 * weight[i] / weight[i].norm() for i in (2, 5))
    found = []
    with torch.no_grad():
        router.weight.copy_(weight)
        for _ in range(STEPS):
            x = torch.randn(512, 16, generator=draw, dtype=torch.float64) + lean
            counts = torch.bincount(router(x).indices.flatten(), minlength=EXPERTS)
            day29.update_bias(router, counts, rate)
            found.append((counts.max() / counts.double().mean()).item())
    means = torch.tensor(found).unfold(0, 10, 1).mean(-1)
    return [round(x, 2) for x in means.tolist()]


def main() -> None:
    figure = new_figure(__file__, 6.4, 3)
    axes = figure.subplots()
    rates = {0.0: "#888888", 0.001: "#3b6fb6", 0.005: "#3a8a4d", 0.02: "#c8443c"}
    for rate, colour in rates.items():
        label = "no bias" if rate == 0 else f"rate {rate:g}"
        axes.plot(loads(rate), color=colour, label=label)
    axes.axhline(1, color="#888888", linewidth=0.8, linestyle=":")
    axes.set_xlabel("step")
    axes.set_ylabel("load of the busiest / mean")
    axes.set_ylim(0.8, 3.0)
    axes.legend(frameon=False, loc="center right", bbox_to_anchor=(1, 0.6))
    save(figure, __file__)


if __name__ == "__main__":
    main()
