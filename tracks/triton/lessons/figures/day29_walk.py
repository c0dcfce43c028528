"""Draws day29_walk.svg: attention by tiles under a causal mask, with the state of each query.

python -m tracks.triton.lessons.figures.day29_walk
"""

from __future__ import annotations

import numpy as np

from harness.figures import Step, Stepped

Q, K = np.array([1.0, 0.0, 2.0, 1.0]), np.array([1.0, 2.0, 0.0, 1.0])
V = np.array([10.0, 20.0, 30.0, 40.0])
TILE = 2


def main() -> None:
    figure = Stepped(__file__, height=230)
    scores = np.where(np.tri(4, dtype=bool), np.outer(Q, K), -np.inf)
    state = np.stack([np.full(4, -np.inf), np.zeros(4), np.zeros(4)])  # m, total, acc
    out: dict[int, float] = {}
    seen = np.zeros((4, 4), bool)
    for i in range(2):
        queries = slice(TILE * i, TILE * i + TILE)
        for j in range(i + 1):
            keys = slice(TILE * j, TILE * j + TILE)
            tile = scores[queries, keys]
            m, total, acc = state[:, queries]
            new = np.maximum(m, tile.max(1))
            keep, p = np.exp(m - new), np.exp(tile - new[:, None])
            state[:, queries] = new, keep * total + p.sum(1), keep * acc + p @ V[keys]
            first, last = TILE * i, TILE * i + 1
            caption = f"Queries {first} and {last} meet keys {TILE * j} and {TILE * j + 1}. "
            if i == j:
                caption += "On the diagonal a mask hides the future."
            else:
                caption += "No pair is hidden. m, total and acc stay on the chip."
            draw(figure.step(caption), seen, (queries, keys), state, out)
            seen[queries, keys] = True
        for q in range(TILE * i, TILE * i + TILE):
            out[q] = state[2, q] / state[1, q]
    weights = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    assert np.allclose(list(out.values()), weights @ V)
    step = figure.step(
        "Every query divides acc by total once. The tile above the diagonal was never computed, "
        "and no score was stored."
    )
    draw(step, seen, None, state, out)
    figure.save()


def draw(step: Step, seen, now, state, out: dict[int, float]) -> None:
    on = np.zeros((4, 4), bool)
    if now:
        on[now] = True
    step.text(98, 14, "keys", bold=True)
    for name, row, values in (("k", 0, K), ("v", 1, V)):
        step.text(40, 36 + 24 * row, name, "end")
        for j, value in enumerate(values):
            here = on[:, j].any()
            step.box(46 + 27 * j, 20 + 24 * row, 27, 22, f"{value:g}", "b" if here else "n", here)
    for title, x in (("m", 186), ("total", 226), ("acc", 276), ("out", 328)):
        step.text(x, 92, title, bold=True)
    step.text(20, 92, "q", bold=True)
    for i in range(4):
        y = 100 + 30 * i
        here = bool(on[i].any())
        step.box(8, y, 27, 24, f"{Q[i]:g}", "b" if here else "n", here)
        for j in range(4):
            kind = "b" if on[i, j] else "a" if seen[i, j] else "n"
            hidden = j > i
            text = "" if kind == "n" else "-inf" if hidden else f"{Q[i] * K[j]:g}"
            step.box(
                46 + 27 * j, y, 27, 24, text, "x" if hidden and kind != "n" else kind, on[i, j]
            )
        m, total, acc = state[:, i]
        known = m > -np.inf
        for x, wide, value in ((170, 32, m), (206, 42, total), (252, 48, acc)):
            step.box(x, y, wide, 24, _short(value) if known else "", "d" if known else "n", here)
        step.box(306, y, 46, 24, f"{out[i]:.2f}" if i in out else "", "c" if i in out else "n")


def _short(value: float) -> str:
    return f"{value:g}" if value == int(value) else f"{value:.2f}"


if __name__ == "__main__":
    main()
