"""Draws day29_bytes.svg: what one head moves, over the length of the text.

python -m tracks.triton.lessons.figures.day29_bytes
"""

from __future__ import annotations

from harness.figures import new_figure, reference, save

LENGTHS = [2**i for i in range(8, 16)]
DIM = 64


def main() -> None:
    day29 = reference("triton", 29)
    figure = new_figure(__file__, 7.2, 3.4)
    axes = figure.subplots()
    standard = [day29.io_bytes(s, DIM, 2**18)[0] for s in LENGTHS]
    axes.plot(LENGTHS, standard, ".-", color="#c8443c", label="standard")
    for kilobytes, colour in ((64, "#8a5a9e"), (256, "#3b6fb6")):
        flash = [day29.io_bytes(s, DIM, kilobytes * 1024)[1] for s in LENGTHS]
        label = f"FlashAttention, {kilobytes} KB on the chip"
        axes.plot(LENGTHS, flash, ".-", color=colour, label=label)
    least = [4 * s * DIM * 2 + 4 * s for s in LENGTHS]
    axes.plot(LENGTHS, least, "--", color="#777777", label="q, k, v, o and lse once")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xlabel("queries, and keys")
    axes.set_ylabel("bytes")
    axes.set_title("One head of dim 64, 16-bit numbers")
    axes.legend(frameon=False, loc="upper left")
    save(figure, __file__)


if __name__ == "__main__":
    main()
