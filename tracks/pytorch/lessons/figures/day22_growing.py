"""Draws day22_growing.svg: a cache of keys and values while a text is written.

python -m tracks.pytorch.lessons.figures.day22_growing
"""

from __future__ import annotations

import torch

from harness.figures import Stepped, reference

WORDS = "the cat sat on a mat".split()
PROMPT, CAPACITY = 2, 6


def main() -> None:
    figure = Stepped(__file__, height=186)
    cache = reference("pytorch", 22).KVCache(1, 1, CAPACITY, 4)
    causal_mask = reference("pytorch", 16).causal_mask
    for end in range(PROMPT, CAPACITY + 1):
        new = end - cache.length
        k = torch.zeros(1, 1, new, 4)
        cache.append(k, k)
        old = cache.length - new
        scores = causal_mask(new, cache.length)
        words = " ".join(WORDS[old:end])
        what = f"The prompt, {words!r}" if old == 0 else f"{words!r}"
        step = figure.step(
            f"{what}: {new} new, {old} kept. Scores: {scores.shape[0]} x {scores.shape[1]}; "
            f"without a cache {end} x {end}."
        )
        for line, name in enumerate(("tokens", "Q", "K", "V")):
            y = 12 + 36 * line
            step.text(48, y + 17, name, "end")
            for i in range(CAPACITY):
                kind = "n" if i >= end else "b" if i >= old else "a"
                text = WORDS[i] if line == 0 and i < end else ""
                if line == 0:
                    kind = "n"
                elif line == 1:
                    if kind == "a":
                        continue
                    text = f"q{i}" if kind == "b" else ""
                else:
                    text = f"{name.lower()}{i}" if i < end else "free"
                    kind = "x" if i >= end else kind
                if line == 1 and i >= end:
                    continue
                step.box(56 + 49 * i, y, 49, 26, text, kind, kind == "b")
        step.text(56, 174, f"length {cache.length} of capacity {cache.keys.shape[2]}", "start")
    figure.save()


if __name__ == "__main__":
    main()
