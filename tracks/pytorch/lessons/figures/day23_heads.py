"""Draws day23_heads.svg: eight heads of queries, and who shares keys and values with whom.

python -m tracks.pytorch.lessons.figures.day23_heads
"""

from __future__ import annotations

from harness.figures import Stepped, reference

HEADS, HEAD_DIM, LAYERS = 8, 128, 32


def main() -> None:
    cache_bytes = reference("pytorch", 22).cache_bytes
    figure = Stepped(__file__, height=178)
    names = {8: "Multi-head", 4: "Grouped", 2: "Grouped", 1: "Multi-query"}
    for kv_heads, name in names.items():
        token = cache_bytes(LAYERS, kv_heads, HEAD_DIM, [1])
        share = HEADS // kv_heads
        readers = "1 query" if share == 1 else f"{share} queries"
        step = figure.step(
            f"{name}: {kv_heads} head{'s' * (kv_heads > 1)} of keys and values, {readers} "
            f"for each. In {LAYERS} layers of heads of {HEAD_DIM} a token takes "
            f"{token / 1024:g} KiB (16 bits a number)."
        )
        step.text(180, 14, "heads of queries", bold=True)
        wide = 336 / HEADS
        for head in range(HEADS):
            step.box(14 + wide * head, 22, 36, 26, f"h{head}", "a")
        for kv in range(kv_heads):
            middle = 12 + 336 / kv_heads * (kv + 0.5)
            for head in range(kv * share, (kv + 1) * share):
                step.arrow(14 + wide * head + 18, 50, middle, 96)
            step.box(middle - 18, 98, 36, 24, f"k{kv}", "b")
            step.box(middle - 18, 122, 36, 24, f"v{kv}", "b")
        step.text(180, 168, "heads of keys and values, in the cache", bold=True)
    figure.save()


if __name__ == "__main__":
    main()
