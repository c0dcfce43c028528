"""Draws day06_shares.svg: how much each row of a batch counts, by how its slices are averaged.

python -m tracks.pytorch.lessons.figures.day06_shares
"""

from __future__ import annotations

from fractions import Fraction

import torch

from harness.figures import Step, Stepped

LOSSES = torch.tensor([1.0, 1.0, 1.0, 1.0, 6.0], dtype=torch.float64)
SLICE = 2
ACROSS = 344


def main() -> None:
    figure = Stepped(__file__, height=150)
    ways = {
        "losses.mean()": (
            torch.mean,
            "The whole batch at once: each of five rows counts {first}, as its width says.",
        ),
        "mean of the slices' means": (
            lambda x: torch.stack([s.mean() for s in x.split(SLICE)]).mean(),
            "Each slice counts a third, the short one too. Its single row counts {last}, "
            "twice as much as the others.",
        ),
        "slices' means, weighed by rows": (
            lambda x: sum(s.mean() * len(s) / len(x) for s in x.split(SLICE)),
            "A slice counts by its rows: each row counts {first} again.",
        ),
    }
    for name, (way, caption) in ways.items():
        x = LOSSES.clone().requires_grad_()
        result = way(x)
        (weights,) = torch.autograd.grad(result, x)
        shares = [Fraction(w).limit_denominator(99) for w in weights.tolist()]
        step = figure.step(caption.format(first=shares[0], last=shares[-1]))
        sliced = len(x) if name == "losses.mean()" else SLICE
        draw(step, name, shares, sliced, result.item())
    figure.save()


def draw(step: Step, name: str, shares: list[Fraction], sliced: int, result: float) -> None:
    step.text(8, 16, name, "start", bold=True)
    left = 8.0
    for row, (share, loss) in enumerate(zip(shares, LOSSES.tolist(), strict=True)):
        wide = float(share) * ACROSS
        if row % sliced == 0 and sliced < len(shares):
            step.text(left + 2, 42, f"slice {row // sliced}", "start")
            step.arrow(left, 30, left, 106, head=False)
        double = share > min(shares)
        step.box(left, 52, wide, 30, f"{loss:g}", "b" if double else "a", double)
        step.text(left + wide / 2, 100, str(share))
        left += wide
    total = " + ".join(f"{s}·{v:g}" for s, v in zip(shares, LOSSES.tolist(), strict=True))
    step.text(8, 136, f"{total} = {result:.4g}", "start")


if __name__ == "__main__":
    main()
