"""Draws day32_blocks.svg: which blocks of keys three tiles of queries need, under a causal mask.

python -m tracks.triton.lessons.figures.day32_blocks
"""

from __future__ import annotations

from harness.figures import Stepped, reference

QUERIES, KEYS, ROWS, COLUMNS = 6, 10, 2, 3
WIDE, HIGH = 30, 22


def main() -> None:
    key_blocks = reference("triton", 32).key_blocks
    tiles = QUERIES // ROWS
    found = [key_blocks(tile, QUERIES, KEYS, True, ROWS, COLUMNS) for tile in range(tiles)]
    figure = Stepped(__file__, height=196)
    for now, (whole, end) in enumerate(found):
        first = ROWS * now + KEYS - QUERIES + 1
        caption = (
            f"Queries {ROWS * now} and {ROWS * now + 1} see {first} and {first + 1} keys: {whole} "
            f"whole block{'s' * (whole > 1)}, then one that the mask cuts. "
        )
        blocks = -(-KEYS // COLUMNS)
        if blocks > end:
            caption += f"{blocks - end} {'are' if blocks - end > 1 else 'is'} left out."
        else:
            caption += "The last one holds one key. # is seen, - is hidden."
        step = figure.step(caption)
        for block in range(blocks):
            x = 48 + WIDE * COLUMNS * block
            step.text(
                x + WIDE * min(COLUMNS, KEYS - COLUMNS * block) / 2, 16, f"{block}", bold=True
            )
        step.text(40, 16, "block", "end")
        for query in range(QUERIES):
            tile = query // ROWS
            y = 26 + (HIGH + 1) * query + 8 * tile
            step.text(40, y + 15, f"q{query}", "end")
            for key in range(KEYS):
                seen = key <= query + KEYS - QUERIES
                block = key // COLUMNS
                kind = "n"
                if tile <= now:
                    kind = (
                        "x" if block >= found[tile][1] else "b" if block >= found[tile][0] else "a"
                    )
                text = "" if kind in "nx" else "#" if seen else "-"
                assert kind != "a" or seen
                assert kind != "x" or not seen
                step.box(48 + WIDE * key, y, WIDE, HIGH, text, kind, tile == now and kind != "x")
    figure.save()


if __name__ == "__main__":
    main()
