"""Draws day33_backward.svg: the gradients of attention for one query and two keys, in their order.

python -m tracks.triton.lessons.figures.day33_backward
"""

from __future__ import annotations

import math

import torch

from harness.figures import Step, Stepped, reference

Q, K, V, DO = 1.0, (math.log(3), 0.0), (4.0, 8.0), 1.0
ROWS = ("q", "k", "S", "P", "v", "o")


def main() -> None:
    scores = [Q * k for k in K]
    lse = math.log(sum(math.exp(s) for s in scores))
    p = [math.exp(s - lse) for s in scores]
    o = sum(a * b for a, b in zip(p, V, strict=True))
    delta = DO * o
    dv = [w * DO for w in p]
    dp = [DO * v for v in V]
    ds = [w * (d - delta) for w, d in zip(p, dp, strict=True)]
    dk = [s * Q for s in ds]
    dq = sum(s * k for s, k in zip(ds, K, strict=True))
    check(dq, dk, dv)
    values = {"q": [Q], "k": K, "S": scores, "P": p, "v": V, "o": [o]}
    steps: list[tuple[str, dict[str, list[float]]]] = [
        ("The forward pass is over. A gradient arrives at o, and P is made again from S and lse.",
         {"o": [DO]}),
        ("dv = P * do. The value with the larger weight gets the larger share.", {"v": dv}),
        ("dP = do * v: how much would the loss change, if this weight grew?", {"P": dp}),
        (f"delta = do * o = {delta:g}. It is the mean of dP with the weights P. "
         f"dS = P * (dP - delta): key 0 is below the mean, key 1 above it.", {"S": ds}),
        ("dk = dS * q, a number for each key.", {"k": dk}),
        (f"dq = dS * k, added up over the keys: {dq:.3f}. A tile of keys gives a part of it.",
         {"q": [dq]}),
    ]  # fmt: skip
    figure = Stepped(__file__, height=214)
    known: dict[str, list[float]] = {}
    for caption, new in steps:
        known |= new
        draw(figure.step(caption), values, known, next(iter(new)))
    figure.save()


def check(dq: float, dk: list[float], dv: list[float]) -> None:
    """The day's reference says the same."""

    def head(*rows: float) -> torch.Tensor:
        return torch.tensor(rows, dtype=torch.float64).view(1, 1, -1, 1)

    found = reference("triton", 33).attention_backward_reference(
        head(Q), head(*K), head(*V), head(DO), scale=1.0
    )
    for ours, theirs in zip(([dq], dk, dv), found, strict=True):
        assert torch.allclose(head(*ours), theirs)


def draw(step: Step, values, known, now: str) -> None:
    step.text(112, 14, "values", bold=True)
    step.text(286, 14, "gradients", bold=True)
    step.text(80, 30, "key 0")
    step.text(144, 30, "key 1")
    step.text(254, 30, "key 0")
    step.text(318, 30, "key 1")
    for i, name in enumerate(ROWS):
        y = 38 + 29 * i
        step.text(40, y + 16, name, "end", bold=True)
        _boxes(step, 48, y, values[name], "a", False)
        step.text(214, y + 16, f"d{name}", "end", bold=True)
        if name in known:
            _boxes(step, 222, y, known[name], "c", name == now)
        else:
            _boxes(step, 222, y, [None] * len(values[name]), "n", False)


def _boxes(step: Step, x: float, y: float, numbers, kind: str, strong: bool) -> None:
    wide = 128 / len(numbers)
    for i, number in enumerate(numbers):
        text = "" if number is None else f"{number:.4g}" if abs(number) != 0 else "0"
        step.box(x + wide * i, y, wide, 24, text, kind, strong)


if __name__ == "__main__":
    main()
