"""Draws day21_beams.svg: two beams over two tokens: what is looked at, what is kept.

python -m tracks.pytorch.lessons.figures.day21_beams
"""

from __future__ import annotations

import torch

from harness.figures import Step, Stepped, reference

TABLE = [[0.0, 0.6, 0.4], [0.4, 0.3, 0.3], [0.0, 0.0, 1.0]]
BEAMS = 2
Way = tuple[int, ...]


def main() -> None:
    figure = Stepped(__file__, height=178)
    running: list[Way] = [(0,)]
    dead: list[Way] = []
    draw(figure.step("One text runs: the start, with the product 1."), running, [], [])
    for step in (1, 2):
        further = [
            (*way, token) for way in running for token, p in enumerate(TABLE[way[-1]]) if p > 0
        ]
        ranked = sorted(further, key=product, reverse=True)
        kept = ranked[:BEAMS]
        if step == 1:
            caption = "Step 1: two tokens can follow, 0.6 and 0.4. There is room for both."
        else:
            draw(
                figure.step("Step 2: each text that runs is continued by every token."),
                running, further, dead,
            )  # fmt: skip
            caption = (
                f"The best two stay. The one with {product(kept[0]):g} began with the less likely "
                f"token; greedy decoding takes the other one, and ends at {product(kept[1]):.2f}."
            )
        gone = [way for way in further if way not in kept]
        draw(figure.step(caption), running, kept, dead + gone)
        running, dead = kept, dead + gone
    found = reference("pytorch", 21).beam_search(
        lambda ids: torch.tensor(TABLE)[ids].log(), torch.tensor([[0]]), new=2, beams=BEAMS
    )
    assert found.ids[0].tolist() == [list(way) for way in running]
    figure.save()


def product(way: Way) -> float:
    result = 1.0
    for before, token in zip(way, way[1:], strict=False):
        result *= TABLE[before][token]
    return result


PLACES: dict[Way, tuple[float, float]] = {
    (0,): (6, 78), (0, 1): (120, 44), (0, 2): (120, 126),
    (0, 1, 0): (246, 12), (0, 1, 1): (246, 46), (0, 1, 2): (246, 80), (0, 2, 2): (246, 126),
}  # fmt: skip
WIDE = {1: 64, 2: 84, 3: 108}


def draw(step: Step, running: list[Way], newest: list[Way], dead: list[Way]) -> None:
    shown = {*running, *newest, *dead}
    shown |= {way[:n] for way in shown for n in (1, 2)}
    for way, (x, y) in PLACES.items():
        if way not in shown:
            continue
        if len(way) > 1:
            before = PLACES[way[:-1]]
            step.arrow(before[0] + WIDE[len(way) - 1] + 2, before[1] + 13, x - 2, y + 13)
        kind = "x" if way in dead else "b" if way in newest else "a"
        words = {1: "start", 2: f"{way[-1]}: {product(way):g}"}
        text = words.get(len(way), f"{' '.join(map(str, way[1:]))}: {product(way):.2f}")
        step.box(x, y, WIDE[len(way)], 26, text, kind, way in newest)


if __name__ == "__main__":
    main()
