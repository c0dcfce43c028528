"""Draws day19_batch.svg: the share of a weight, sample by sample, and as one product.

python -m tracks.autodiff.lessons.figures.day19_batch
"""

from __future__ import annotations

import numpy as np

from harness.figures import Step, Stepped, reference

SAMPLES, TOKENS, K, M = 2, 3, 2, 3


def main() -> None:
    x = np.arange(12.0).reshape(SAMPLES, TOKENS, K) % 5
    g = np.arange(18.0).reshape(SAMPLES, TOKENS, M) % 4
    each = x.swapaxes(1, 2) @ g
    product_to = reference("autodiff", 19).product_to
    assert np.array_equal(product_to(x.swapaxes(1, 2), g, (K, M)), each.sum(0))
    figure = Stepped(__file__, height=248)
    for sample in range(SAMPLES):
        step = figure.step(
            f"Sample {sample}: its {TOKENS} columns of xᵀ meet its {TOKENS} rows of g. That makes "
            f"an array of the weight's size for this sample alone."
        )
        draw(step, x, g, {sample}, each[sample], f"sample {sample}")
    step = figure.step(
        f"The share of w is the sum of the {SAMPLES} arrays. For 8 samples there would be 8."
    )
    draw(step, x, g, set(), each.sum(0), "their sum")
    whole = x.reshape(-1, K).T @ g.reshape(-1, M)
    assert np.array_equal(whole, each.sum(0))
    step = figure.step(
        f"One product with the samples side by side: each element adds {SAMPLES * TOKENS} products "
        "at once, over tokens and samples. The only array of the weight's size is the share itself."
    )
    draw(step, x, g, set(range(SAMPLES)), whole, "together", strong=True)
    figure.save()


def draw(
    step: Step, x: np.ndarray, g: np.ndarray, now: set[int], result: np.ndarray, name: str,
    strong: bool = False,
) -> None:  # fmt: skip
    """The result stands where the rows of xᵀ, on its left, meet the columns of g, above it."""
    left, top, cell, high = 8, 24, 26, 24
    right, below = left + SAMPLES * TOKENS * cell + 24, top + SAMPLES * TOKENS * high + 12
    step.text(right + 40, 14, "g", bold=True)
    step.text(left + 80, below - 8, "xᵀ", bold=True)
    for sample in range(SAMPLES):
        kind = "ab"[sample] if sample in now else "x" if now else "n"
        for token in range(TOKENS):
            place = sample * TOKENS + token
            texts = [f"{v:g}" for v in g[sample, token]]
            step.row(right, top + high * place, texts, kind, cell + 6, high, [0] * strong)
            for row in range(K):
                step.box(
                    left + cell * place, below + high * row, cell, high,
                    f"{x[sample, token, row]:g}", kind, strong and row == 0,
                )  # fmt: skip
        if sample in now or not now:
            y = top + high * (sample * TOKENS + 1.5) + 4
            step.text(right + M * (cell + 6) + 8, y, f"sample {sample}", "start")
    for row in range(K):
        texts = [f"{v:g}" for v in result[row]]
        kind = "c" if len(now) != 1 else "ab"[min(now)]
        step.row(right, below + high * row, texts, kind, cell + 6, high, [0] * (strong and not row))
    step.text(right + M * (cell + 6) + 8, below + high + 4, name, "start")


if __name__ == "__main__":
    main()
