"""Draws day28_forms.svg: the work of both forms, and what a step reads of each token in view.

python -m tracks.pytorch.lessons.figures.day28_forms
"""

from __future__ import annotations

from harness.figures import new_figure, reference, save

VIEW = 4096


def main() -> None:
    day27, day28 = reference("pytorch", 27), reference("pytorch", 28)
    config = day27.DEEPSEEK_V2
    figure = new_figure(__file__, 8.4, 3.2)
    work, memory = figure.subplots(1, 2)

    new = [2**i for i in range(13)]
    for name, absorbed, color in (("expanded", False, "#c8443c"), ("absorbed", True, "#3b6fb6")):
        flops = [day28.attention_flops(config, n, VIEW, absorbed) / 1e9 for n in new]
        work.loglog(new, flops, color=color, label=name)
    work.set_xlabel(f"new tokens, of {VIEW:,} in view")
    work.set_title("GFLOPs of one layer's attention")
    work.legend()

    heads, both = config.num_attention_heads, config.qk_head_dim + config.v_head_dim
    bars = {
        "keys and values": 2 * heads * both,
        "latent, rope key": 2 * (config.kv_lora_rank + config.qk_rope_head_dim),
    }
    memory.barh(list(bars), list(bars.values()), color=["#c8443c", "#3b6fb6"], height=0.5)
    memory.set_xscale("log")
    memory.set_xlim(100, 3e5)
    for i, n in enumerate(bars.values()):
        memory.text(1.15 * n, i, f"{n:,}", va="center")
    memory.invert_yaxis()
    memory.set_title("bytes kept of a token in a layer")
    save(figure, __file__)


if __name__ == "__main__":
    main()
