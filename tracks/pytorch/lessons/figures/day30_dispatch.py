"""Draws day30_dispatch.svg: three tokens, two experts for each: sorted, multiplied, brought back.

python -m tracks.pytorch.lessons.figures.day30_dispatch
"""

from __future__ import annotations

import torch

from harness.figures import Stepped, reference

INDICES, FACTORS, X = [[2, 0], [2, 1], [0, 2]], (1, 10, 100), (1, 2, 3)
WIDE, LEFT = 44, 90


def main() -> None:
    order, ends = reference("pytorch", 30).dispatch(torch.tensor(INDICES), experts=len(FACTORS))
    order = order.tolist()
    experts = [expert for row in INDICES for expert in row]
    k = len(INDICES[0])
    rows = [X[pair // k] for pair in order]
    products = [FACTORS[experts[pair]] * row for pair, row in zip(order, rows, strict=True)]
    back = [0] * len(order)
    for place, pair in enumerate(order):
        back[pair] = products[place]
    sums = [sum(back[k * token : k * token + k]) for token in range(len(X))]
    assert (back, sums) == ([100, 1, 200, 20, 3, 300], [101, 220, 303])  # the lesson's
    by_pair = "".join("abd"[expert] for expert in experts)
    sorted_ = "".join(by_pair[pair] for pair in order)
    lines = [
        ("pair, expert", [f"{p}: e{e}" for p, e in enumerate(experts)], by_pair,
         "Three tokens, two experts each: six pairs, in the order of the tokens."),
        ("sorted pairs", [f"{p}: e{experts[p]}" for p in order], sorted_,
         "A stable sort by expert brings each expert's pairs together. Their parts end at "
         f"{', '.join(map(str, ends.tolist()))}."),
        ("rows of x", rows, sorted_,
         "x[order // 2]: a row for each pair. Each token occurs twice."),
        ("products", products, sorted_,
         "One grouped product: each part is multiplied by its own expert, here 1, 10 or 100."),
        ("back", back, by_pair,
         "Row i goes to place order[i]. The two results of a token are neighbours again."),
    ]  # fmt: skip
    figure = Stepped(__file__, height=206)
    for now in range(len(lines) + 1):
        last = now == len(lines)
        step = figure.step("A sum over each pair of neighbours." if last else lines[now][3])
        for token in range(len(X)):
            x = LEFT + WIDE * k * token
            step.text(x + WIDE, 14, f"token {token}", bold=True)
        for i, (name, texts, kinds, _) in enumerate(lines[: now + 1]):
            y = 22 + 30 * i
            step.text(LEFT - 6, y + 16, name, "end")
            step.row(LEFT, y, texts, kinds, WIDE, 24, range(6) if i == now else ())
        if last:
            step.text(LEFT - 6, 22 + 30 * 5 + 16, "sums", "end")
            step.row(LEFT, 22 + 30 * 5, sums, "c", WIDE * k, 24, range(3))
    figure.save()


if __name__ == "__main__":
    main()
