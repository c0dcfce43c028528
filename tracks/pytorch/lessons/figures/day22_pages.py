"""Draws day22_pages.svg: two texts with one prompt in a cache of blocks.

python -m tracks.pytorch.lessons.figures.day22_pages
"""

from __future__ import annotations

import torch

from harness.figures import Step, Stepped, reference

BLOCKS, SIZE = 4, 4


def main() -> None:
    figure = Stepped(__file__, height=186)
    cache = reference("pytorch", 22).PagedKVCache(BLOCKS, SIZE, 1, 1)
    words: dict[tuple[int, int], str] = {}

    def write(sequence: int, text: str) -> None:
        cache.active = [sequence]
        for word in text.split():
            before = list(cache.tables[sequence])
            cache.append(torch.zeros(1, 1, 1, 1), torch.zeros(1, 1, 1, 1))
            table = cache.tables[sequence]
            place, offset = divmod(cache.lengths[sequence] - 1, SIZE)
            if len(before) == len(table) and before[place] != table[place]:  # copied on write
                for i in range(offset):
                    words[table[place], i] = words[before[place], i]
            words[table[place], offset] = word

    def show(caption: str) -> None:
        draw(figure.step(caption), cache, words)

    a = cache.add()
    write(a, "the cat sat on a")
    show(
        f"A has {cache.lengths[a]} tokens in blocks of {SIZE}: two blocks, the second partly empty."
    )
    b = cache.fork(a)
    shared = " and ".join(map(str, cache.tables[b]))
    show(f"fork: B gets a copy of A's table. Blocks {shared} have two users, nothing is copied.")
    write(a, "mat")
    show(
        f"A writes. Its last block is shared, so A gets a copy of it: block {cache.tables[a][1]} "
        "(copy on write)."
    )
    write(b, "sofa")
    show(f"B writes. It is the only user of block {cache.tables[b][1]} now, and writes in place.")
    cache.remove(a)
    show("A is done. The block that only A used is free; the shared one stays.")
    figure.save()


def draw(step: Step, cache, words: dict[tuple[int, int], str]) -> None:
    step.text(52, 16, "tables", bold=True)
    for line, (sequence, table) in enumerate(sorted(cache.tables.items())):
        y = 26 + 40 * line
        step.text(20, y + 17, "AB"[sequence])
        step.row(30, y, table, "d", 28, 26)
    step.text(236, 16, "blocks, and their users", bold=True)
    for block in range(BLOCKS):
        y = 26 + 40 * block
        users = cache.users[block]
        step.text(126, y + 17, str(block), "end")
        for i in range(SIZE):
            word = words.get((block, i), "") if users else ""
            kind = "n" if not users else "x" if not word else "b" if users > 1 else "a"
            step.box(132 + 42 * i, y, 42, 26, word, kind)
        step.text(
            308, y + 17, "free" if not users else f"{users} user" + "s" * (users > 1), "start"
        )


if __name__ == "__main__":
    main()
