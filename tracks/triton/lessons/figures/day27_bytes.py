"""Draws day27_bytes.svg: the three kernels of attention, and what each reads and writes.

python -m tracks.triton.lessons.figures.day27_bytes
"""

from __future__ import annotations

from harness.figures import Step, Stepped

HEADS, TOKENS, DIM = 32, 1024, 128  # the first line of the lesson's table
SIDE = 120  # units of 1024 tokens: all boxes are to scale
THIN = SIDE * DIM / TOKENS

KERNELS = (
    ("scores", ("q", "k"), "s"),
    ("softmax", ("s",), "p"),
    ("output", ("p", "v"), "o"),
)
SIZES = {name: 2 * HEADS * TOKENS * DIM for name in "qkvo"} | {
    "s": 4 * HEADS * TOKENS * TOKENS,
    "p": 2 * HEADS * TOKENS * TOKENS,
}
PLACES = {
    "q": (8, 54, THIN, SIDE), "k": (29, 33, SIDE, THIN), "s": (29, 54, SIDE, SIDE),
    "p": (177, 54, SIDE, SIDE), "v": (304, 54, THIN, SIDE), "o": (332, 54, THIN, SIDE),
}  # fmt: skip


def main() -> None:
    figure = Stepped(__file__, height=206)
    moved, there = 0, "qkv"
    for name, reads, writes in KERNELS:
        load, store = sum(SIZES[x] for x in reads), SIZES[writes]
        moved += load + store
        caption = (
            f"The {name} kernel reads {load / 1e6:.0f} MB ({', '.join(reads)}) and writes "
            f"{store / 1e6:.0f} MB ({writes}). Moved so far: {moved / 1e6:.0f} MB."
        )
        draw(figure.step(caption), reads, writes, there)
        there += writes
    small, between = sum(SIZES[x] for x in "qkvo"), 2 * (SIZES["s"] + SIZES["p"])
    assert moved == small + between
    step = figure.step(
        f"Of {moved / 1e6:.0f} MB only {small / 1e6:.0f} are q, k, v and o. The rest is s and p, "
        "each written once and read once."
    )
    draw(step, (), "", there)
    figure.save()


def draw(step: Step, reads: tuple[str, ...], writes: str, there: str) -> None:
    """there: what is in memory already; the rest but ``writes`` is not there yet."""
    words = f"{TOKENS} tokens. MB: all {HEADS} heads. Drawn: one, to scale"
    step.text(8, 14, words, "start")
    for name, (x, y, width, height) in PLACES.items():
        now = "read" if name in reads else "written" if name == writes else ""
        kind = "b" if now == "read" else "c" if now else "n" if name in there else "x"
        if not (reads or writes) and name in "sp":
            now, kind = "written and read", "d"
        step.box(x, y, width, height, "", kind, bool(now))
        middle = x + width / 2
        if name in "sp":
            step.text(middle, y + 46, name, bold=True)
            number = "float32" if name == "s" else "16 bits"
            step.text(middle, y + 66, f"{SIZES[name] / 1e6:.0f} MB, {number}")
            step.text(middle, y + 86, now)
        else:
            step.text(middle, y + 12 if name == "k" else y - 6, name, bold=True)
    step.text(8, 194, f"q, k, v and o: {SIZES['q'] / 1e6:.0f} MB each, 16 bits", "start")
    if writes == "p":
        step.arrow(150, 114, 175, 114)


if __name__ == "__main__":
    main()
