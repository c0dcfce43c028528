"""Draws day31_weights.svg: where the weights of three models are, and those that a token meets.

python -m tracks.pytorch.lessons.figures.day31_weights
"""

from __future__ import annotations

import torch

from harness.figures import new_figure, reference, save

PARTS = {
    "routed experts": "#7ba4dc",
    "shared experts, dense MLPs": "#cbdcf3",
    "attention": "#e9b062",
    "embedding, lm_head": "#c4c8ce",
}


def main() -> None:
    day31 = reference("pytorch", 31)
    models = {
        "V2-Lite": day31.DEEPSEEK_V2_LITE,
        "V2": day31.DEEPSEEK_V2,
        "V3": day31.DEEPSEEK_V3,
    }
    figure = new_figure(__file__, 5, 4.4)
    axes = figure.subplots()
    for place, (name, config) in enumerate(models.items()):
        with torch.device("meta"):
            model = day31.DeepSeekModel(config)
        size = day31.model_size(model)
        everything = by_part(model)
        one_row = everything["embedding, lm_head"] - (config.vocab_size - 1) * config.hidden_size
        chosen = everything["routed experts"] * config.num_experts_per_tok
        active = everything | {
            "routed experts": chosen // config.n_routed_experts,
            "embedding, lm_head": one_row,
        }
        for line, (label, parts, total) in enumerate(
            (("all", everything, size.parameters), ("active", active, size.active))
        ):
            assert sum(parts.values()) == total, (name, label, sum(parts.values()), total)
            left, y = 0.0, 3 * place + line
            for part, colour in PARTS.items():
                share = 100 * parts[part] / total
                bar = axes.barh(y, share, 0.8, left, color=colour, label="" if y else part)
                if share > 7:
                    axes.bar_label(bar, [f"{share:.0f} %"], label_type="center", fontsize=9)
                left += share
            axes.text(-2, y, f"{name}, {label}\n{total / 1e9:.1f} B", ha="right", va="center")
    axes.set_ylim(8.6, -0.6)
    axes.set_xlim(0, 100)
    axes.set_yticks([])
    axes.set_xlabel("% of the weights")
    axes.spines[["top", "right", "left"]].set_visible(False)
    figure.legend(frameon=False, loc="outside upper center", ncols=2, fontsize=9)
    save(figure, __file__)


def by_part(model) -> dict[str, int]:
    found = dict.fromkeys(PARTS, 0)
    for name, parameter in model.named_parameters():
        if ".experts." in name:
            part = "routed experts"
        elif ".mlp." in name:
            part = "shared experts, dense MLPs"
        elif ".layers." in name:
            part = "attention"
        else:
            part = "embedding, lm_head"
        found[part] += parameter.numel()
    return found


if __name__ == "__main__":
    main()
