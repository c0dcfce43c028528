"""Draws day35_window.svg: which blocks of keys four tiles of queries need, with a window of four.

python -m tracks.triton.lessons.figures.day35_window
"""

from __future__ import annotations

from harness.figures import Stepped, reference

TOKENS, WINDOW, BLOCK = 8, 4, 2
WIDE, HIGH = 36, 21


def main() -> None:
    visible_blocks = reference("triton", 35).visible_blocks
    found = [
        visible_blocks(tile, TOKENS, TOKENS, WINDOW - 1, 0, BLOCK, BLOCK)
        for tile in range(TOKENS // BLOCK)
    ]
    figure = Stepped(__file__, height=232)
    for now, (first, begin, whole, end) in enumerate(found):
        top, bottom = BLOCK * now, BLOCK * now + 1
        step = figure.step(
            f"Queries {top} and {bottom} see keys from {max(top - WINDOW + 1, 0)} to {bottom}: "
            f"{_blocks(first, end)} read. {_without_mask(begin, whole)}"
        )
        step.text(40, 16, "block", "end")
        for block in range(TOKENS // BLOCK):
            step.text(48 + WIDE * (BLOCK * block + 1), 16, str(block), bold=True)
        for query in range(TOKENS):
            tile = query // BLOCK
            y = 26 + (HIGH + 1) * query + 8 * tile
            step.text(40, y + 15, f"q{query}", "end")
            for key in range(TOKENS):
                seen = query - WINDOW < key <= query
                kind = "n"
                if tile <= now:
                    first, begin, whole, end = found[tile]
                    block = key // BLOCK
                    read, free = first <= block < end, begin <= block < whole
                    assert read or not seen
                    assert seen or not free
                    kind = "a" if free else "b" if read else "x"
                text = "" if kind in "nx" else "#" if seen else "-"
                step.box(48 + WIDE * key, y, WIDE, HIGH, text, kind, tile == now and kind != "x")
    figure.save()


def _without_mask(begin: int, whole: int) -> str:
    if begin == whole:
        return "The mask cuts it: # is seen, - is hidden."
    return f"Of these {_blocks(begin, whole)} seen whole by both, without a mask."


def _blocks(first: int, end: int) -> str:
    one = first == end - 1
    return f"block {first} is" if one else f"blocks {first} to {end - 1} are"


if __name__ == "__main__":
    main()
