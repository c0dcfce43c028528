"""Draws day29_route.svg: from a token's logits to its two experts and their weights.

python -m tracks.pytorch.lessons.figures.day29_route
"""

from __future__ import annotations

import torch

from harness.figures import Stepped, reference

LOGITS, GROUPS, TAKEN = torch.tensor([2.0, -1.0, 1.2, 1.1, 0.0, 0.5]), 3, 2


def main() -> None:
    day29 = reference("pytorch", 29)
    router = day29.Router(
        day29.small(hidden_size=6, n_routed_experts=6, n_group=GROUPS, topk_group=1)
    )
    with torch.no_grad():
        router.weight.copy_(torch.eye(6))  # logits = the token
        indices, weights, _ = router(LOGITS)
    order = indices.argsort()
    chosen, shares = indices[order].tolist(), weights[order].tolist()
    scores = LOGITS.sigmoid()
    pairs = scores.view(GROUPS, 2).sum(-1)
    best = int(pairs.argmax())
    figure = Stepped(__file__, height=176)
    captions = [
        "Each expert has a row of weights; its product with the token is a logit.",
        "A sigmoid asks each expert for itself whether it fits.",
        f"A group counts the sum of its best two: group {best} leads with {pairs[best]:.2f}, "
        "although another one has the best expert.",
        f"Only experts of that group may be taken: {chosen[0]} and {chosen[1]}.",
        f"Their scores are divided by their sum: {shares[0]:.3f} and {shares[1]:.3f}. The gradient "
        "reaches the router through these two numbers.",
    ]
    for now, caption in enumerate(captions):
        step = figure.step(caption)
        for y, name in ((34, "logits"), (70, "scores"), (106, "groups"), (142, "weights")):
            step.text(56, y + 4, name, "end")
        for expert in range(6):
            x = 62 + 49 * expert
            group = expert // 2
            out = now >= 3 and group != best
            step.text(x + 24, 12, f"e{expert}", bold=True)
            step.box(x, 20, 49, 26, f"{LOGITS[expert]:g}", "x" if out else "a")
            if now >= 1:
                step.box(x, 56, 49, 26, f"{scores[expert]:.2f}", "x" if out else "b")
            if now >= 2 and expert % 2 == 0:
                mine = group == best
                step.box(x, 92, 98, 26, f"{pairs[group]:.2f}", "d" if mine else "x", mine)
            if now >= 3 and expert in chosen:
                text = f"{shares[chosen.index(expert)]:.3f}" if now == 4 else "taken"
                step.box(x, 128, 49, 26, text, "c", True)
    figure.save()


if __name__ == "__main__":
    main()
