"""Draws day03_shift.svg: the loads and the stores of shift_right_kernel, under their two masks.

python -m tracks.triton.lessons.figures.day03_shift
"""

from __future__ import annotations

from harness.figures import Step, Stepped

X, OTHER, BLOCK = [3, 1, 4, 1, 5], -9, 4
N = len(X)
LEFT, WIDE = 84, 34


def main() -> None:
    figure = Stepped(__file__, height=172)
    out: dict[int, int] = {}
    for program in range(-(-N // BLOCK)):
        lanes = list(range(program * BLOCK, (program + 1) * BLOCK))
        reading = [i for i in lanes if 0 < i < N]
        writing = [i for i in lanes if i < N]
        held = {i: X[i - 1] if i in reading else OTHER for i in lanes}
        left_out = [i for i in lanes if i not in reading]
        if program == 0:
            assert left_out == [0]
            caption = (
                "Program 0 loads. Each lane reads the place to its left; lane i = 0 has none, is "
                f"switched off, and gets the {OTHER} that we chose."
            )
        else:
            caption = (
                f"Program {program} loads. out has no place {left_out[0]} to {left_out[-1]}: these "
                f"lanes are switched off, too, and hold {OTHER}."
            )
        draw(figure.step(caption), lanes, held, reading, [], out)
        out |= {i: held[i] for i in writing}
        if program == 0:
            caption = "Program 0 stores. All lanes have room, also the one that has read nothing."
        else:
            caption = (
                f"Program {program} stores. One lane has room. What the others hold goes nowhere: "
                "memory stays as it was."
            )
        draw(figure.step(caption), lanes, held, [], writing, out)
    assert [out[i] for i in range(N)] == [OTHER, *X[:-1]]
    figure.save()


def draw(
    step: Step, lanes: list[int], held: dict[int, int], reading: list[int],
    writing: list[int], out: dict[int, int],
) -> None:  # fmt: skip
    step.text(LEFT - 8, 21, "x", "end", bold=True)
    for i, number in enumerate(X):
        now = i + 1 in reading
        step.box(LEFT + WIDE * i, 6, WIDE, 22, str(number), "b" if now else "n", now)
    step.text(LEFT - 8, 69, "i", "end")
    step.text(LEFT - 8, 89, "registers", "end", bold=True)
    for i in lanes:
        x = LEFT + WIDE * i
        step.text(x + WIDE / 2, 69, str(i))
        loaded = 0 < i < len(X)
        step.box(x, 74, WIDE, 22, str(held[i]), "a" if loaded else "x", i in reading + writing)
        if i in reading:
            step.arrow(x - WIDE / 2, 28, x + WIDE / 2 - 5, 58)
        if i in writing:
            step.arrow(x + WIDE / 2, 96, x + WIDE / 2, 137)
    step.text(LEFT - 8, 153, "out", "end", bold=True)
    for i in range(len(X)):
        text = str(out.get(i, ""))
        step.box(LEFT + WIDE * i, 138, WIDE, 22, text, "c" if i in out else "n", i in writing)


if __name__ == "__main__":
    main()
