"""Draws day08_bits.svg: three numbers as float32, bfloat16 and float16 hold them, bit by bit.

python -m tracks.triton.lessons.figures.day08_bits
"""

from __future__ import annotations

import math

import torch

from harness.figures import Step, Stepped

# Bits of sign, exponent and fraction; the integers that have as many.
FORMATS = {
    torch.float32: (1, 8, 23, torch.int32),
    torch.bfloat16: (1, 8, 7, torch.int16),
    torch.float16: (1, 5, 10, torch.int16),
}
LEFT, CELL = 6, 10.8


def main() -> None:
    figure = Stepped(__file__, height=208)
    lengths = {f"{dtype}"[6:]: fraction for dtype, (_, _, fraction, _) in FORMATS.items()}
    has = ", ".join(f"{name} {bits} bits" for name, bits in lengths.items())
    draw(
        figure.step(
            f"No type holds 0.1 exactly. The longer the fraction, the closer it comes: {has}."
        ),
        "0.1",
        0.1,
    )
    draw(
        figure.step(
            "A longer exponent is a wider range. With 5 bits float16 has no room for this number "
            "and holds inf. bfloat16 has it, roughly."
        ),
        f"exp(11.1) = {math.exp(11.1):,.2f}",
        math.exp(11.1),
    )
    draw(
        figure.step("The range has a lower end as well: float16 holds 0 in place of this number."),
        f"exp(-20) = {math.exp(-20):.4e}",
        math.exp(-20),
    )
    figure.save()


def draw(step: Step, name: str, number: float) -> None:
    step.text(LEFT, 14, name, "start", bold=True)
    for line, (dtype, (sign, exponent, fraction, whole)) in enumerate(FORMATS.items()):
        y = 24 + 50 * line
        held = torch.tensor(number, dtype=torch.float64).to(dtype)
        size = sign + exponent + fraction
        bits = f"{held.view(whole).item() % 2**size:0{size}b}"
        kinds = "d" * sign + "b" * exponent + "a" * fraction
        step.text(LEFT, y + 12, f"{str(dtype)[6:]}: {held.item():.9g}", "start")
        step.row(LEFT, y + 17, bits, kinds, CELL, 20)
    for x, kind, name in ((LEFT, "d", "sign"), (80, "b", "exponent"), (188, "a", "fraction")):
        step.box(x, 184, 14, 14, "", kind)
        step.text(x + 20, 195, name, "start")


if __name__ == "__main__":
    main()
