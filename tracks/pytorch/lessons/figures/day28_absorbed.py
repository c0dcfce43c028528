"""Draws day28_absorbed.svg: latents expanded to keys and values, and the same numbers without them.

python -m tracks.pytorch.lessons.figures.day28_absorbed
"""

from __future__ import annotations

import torch

from harness.figures import Step, Stepped

W_UK = torch.tensor([[1.0, 0.0], [2.0, 1.0]])
W_UV = torch.tensor([[0.0, 1.0], [1.0, 1.0]])
C = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 2.0]])
Q, WEIGHTS = torch.tensor([[1.0, 1.0]]), torch.tensor([[0.25, 0.25, 0.5]])


def main() -> None:
    figure = Stepped(__file__, height=196)
    keys, values = C @ W_UK.T, C @ W_UV.T
    absorbed, mixed = Q @ W_UK, WEIGHTS @ C
    assert torch.equal(keys @ Q.T, C @ absorbed.T)
    assert torch.equal(WEIGHTS @ values, mixed @ W_UV.T)
    step = figure.step("Expanded: the matrix makes a key of every latent, here three products.")
    line(step, 30, [("latents", C, "a"), ("keys", keys, "b")], ["W_UK c"])
    step = figure.step(f"The query, {show(Q)}, is compared with the three keys: three scores.")
    parts = [("latents", C, "a"), ("keys", keys, "b"), ("scores", keys @ Q.T, "c")]
    line(step, 30, parts, ["W_UK c", "k · q"])
    step = figure.step("Absorbed: the same matrix, transposed, goes to the one query instead.")
    line(step, 30, [("query", Q, "d"), ("new query", absorbed, "b")], ["W_UKᵀ q"])
    step = figure.step(
        f"The new query, {show(absorbed)}, is compared with the latents as they are: the same "
        "scores, and no key."
    )
    line(step, 30, [("query", Q, "d"), ("new query", absorbed, "b")], ["W_UKᵀ q"])
    line(step, 104, [("latents", C, "a"), ("scores", C @ absorbed.T, "c")], ["c · new"])
    step = figure.step(
        "For the values too: mix the three latents first, then one product with the matrix. "
        "No value is made."
    )
    parts = [
        ("weights", WEIGHTS, "c"),
        ("of latents", mixed, "b"),
        ("of values", mixed @ W_UV.T, "d"),
    ]
    line(step, 30, parts, ["w @ c", "W_UV"])
    figure.save()


def show(vector: torch.Tensor) -> str:
    return f"({', '.join(f'{v:g}' for v in vector.flatten().tolist())})"


def line(step: Step, y: float, parts: list[tuple[str, torch.Tensor, str]], how: list[str]) -> None:
    """Matrices side by side, an arrow from each to the next."""
    x = 2.0
    for i, (name, matrix, kind) in enumerate(parts):
        wide = 34 * matrix.shape[1]
        step.text(x + wide / 2 if wide > 60 else x, y - 8, name, "" if wide > 60 else "start", True)
        for row, numbers in enumerate(matrix.tolist()):
            step.row(x, y + 22 * row, [f"{v:g}" for v in numbers], kind, 34, 22)
        x += wide
        if i < len(how):
            step.arrow(x + 6, y + 11, x + 50, y + 11)
            step.text(x + 28, y + 28, how[i])
            x += 56


if __name__ == "__main__":
    main()
