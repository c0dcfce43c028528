"""Draws day27_stages.svg: what is made of one token, stage by stage, and what is kept of it.

python -m tracks.pytorch.lessons.figures.day27_stages
"""

from __future__ import annotations

import torch
from torch import nn

from harness.figures import Step, Stepped, reference

PLACES = {
    "x": (130, 8, 100),
    "latent": (6, 66, 124), "k_rope": (134, 66, 62), "q latent": (214, 66, 94),
    "v": (4, 124, 68), "k_nope": (74, 124, 68), "q_rope": (194, 124, 68), "q_nope": (266, 124, 68),
    "scores": (130, 184, 100),
}  # fmt: skip
ARROWS = {
    "latent": ("x",), "k_rope": ("x",), "q latent": ("x",),
    "k_nope": ("latent",), "v": ("latent",), "q_nope": ("q latent",), "q_rope": ("q latent",),
    "scores": ("k_nope", "k_rope", "q_rope", "q_nope"),
}  # fmt: skip


def main() -> None:
    shapes = of_one_token()
    heads = shapes["scores"][1]

    def size(name: str) -> str:
        *_, last = shapes[name]
        return f"{heads} × {last}" if len(shapes[name]) == 4 else f"{last:,}"

    sizes = {name: size(name) for name in shapes}
    kept = shapes["latent"][-1] + shapes["k_rope"][-1]
    made = heads * (shapes["k_nope"][-1] + shapes["v"][-1])
    figure = Stepped(__file__, height=222)
    seen = ["x", "latent", "k_rope"]
    step = figure.step(
        "kv_a_proj makes two things of x. The latent gets its norm, and k_rope is turned: one for "
        f"all {heads} heads."
    )
    draw(step, sizes, seen, ("latent", "k_rope"))
    step = figure.step(f"These two are kept: {kept} numbers of a token.")
    draw(step, sizes, seen, (), kept=True)
    seen += ["k_nope", "v"]
    step = figure.step(
        f"kv_b_proj makes keys and values of the latent, head after head: {made:,} numbers, "
        f"{made / kept:.0f} times as many. They are not kept."
    )
    draw(step, sizes, seen, ("k_nope", "v"), kept=True)
    seen += ["q latent", "q_nope", "q_rope"]
    step = figure.step(
        "The queries have a latent, too, of which nothing is kept. q_rope is turned."
    )
    draw(step, sizes, seen, ("q latent", "q_nope", "q_rope"), kept=True)
    seen += ["scores"]
    step = figure.step(
        "A head's score is q_nope · k_nope + q_rope · k_rope. The head's own k_nope meets q_nope; "
        "every head's q_rope meets the same k_rope."
    )
    draw(step, sizes, seen, ("scores",), kept=True)
    figure.save()


def of_one_token() -> dict[str, tuple[int, ...]]:
    day27 = reference("pytorch", 27)
    config = day27.DEEPSEEK_V2
    with torch.device("meta"):
        x, at = torch.empty(1, 1, 5120), torch.arange(1)
        down, up = nn.Linear(5120, 576), nn.Linear(512, 32768)
        q_down, q_up = nn.Linear(5120, 1536), nn.Linear(1536, 24576)
        c, k_rope = day27.compress_kv(x, down, day27.RMSNorm(512), config)
        k_nope, v = day27.expand_kv(c, up, config)
        q_nope, q_rope = day27.compress_q(x, q_down, day27.RMSNorm(1536), q_up, config)
        q_rope, k_rope = day27.decoupled_rope(q_rope, k_rope, at, config)
        scores = day27.mla_scores(q_nope, q_rope, k_nope, k_rope, config)
        q_latent = q_down(x)
    found = {
        "x": x, "latent": c, "k_rope": k_rope, "q latent": q_latent, "k_nope": k_nope, "v": v,
        "q_nope": q_nope, "q_rope": q_rope, "scores": scores,
    }  # fmt: skip
    return {name: tuple(t.shape) for name, t in found.items()}


def draw(
    step: Step, sizes: dict[str, str], seen: list[str], now: tuple[str, ...], kept: bool = False
) -> None:
    for name in seen:
        x, y, wide = PLACES[name]
        sources = ARROWS.get(name, ())
        for i, source in enumerate(sources, 1):
            left, top, width = PLACES[source]
            step.arrow(left + width / 2, top + 36, x + wide * i / (len(sources) + 1), y - 1)
    for name in seen:
        x, y, wide = PLACES[name]
        kind = "c" if kept and name in ("latent", "k_rope") else "b" if name in now else "n"
        step.box(x, y, wide, 36, "", kind, name in now)
        step.text(x + wide / 2, y + 15, name)
        step.text(x + wide / 2, y + 30, sizes[name])
    if kept:
        step.text(8, 58, "kept", "start", bold=True)


if __name__ == "__main__":
    main()
