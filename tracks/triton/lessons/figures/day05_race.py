"""Draws day05_race.svg: two programs add to one address, by load, add and store, and by an atomic.

python -m tracks.triton.lessons.figures.day05_race
"""

from __future__ import annotations

from harness.figures import Step, Stepped

START = 7


def main() -> None:
    figure = Stepped(__file__, height=132)
    held: list[int | None] = [None, None]
    plain = atomic = START
    # The order in which the loads and stores of two programs happen to come.
    for action, program in (("load", 0), ("load", 1), ("store", 0), ("store", 1)):
        if action == "load":
            held[program] = plain
            atomic += 1
            caption = (
                f"Program {program} loads {plain}. On the right it adds 1 in the memory itself, in "
                "one step that nobody comes between."
            )
        else:
            before = held[program]
            assert before is not None
            held[program] = plain = before + 1
            caption = f"Program {program} adds 1 to its {before} and stores {plain}."
            if program == 1:
                caption += f" That is {plain}, not {atomic}: the addition of program 0 is lost."
        step = figure.step(caption)
        draw(step, 6, "load, add, store", plain, [_text(h) for h in held], program, action)
        adds = ["+ 1" if action == "store" or p <= program else "" for p in range(2)]
        how = "store" if action == "load" else ""
        draw(step, 188, "atomic_add", atomic, adds, program, how)
    assert (plain, atomic) == (START + 1, START + 2)
    figure.save()


def _text(held: int | None) -> str:
    return "" if held is None else str(held)


def draw(
    step: Step, left: float, title: str, memory: int, held: list[str], now: int, action: str
) -> None:
    step.text(left + 83, 14, title, bold=True)
    step.text(left + 54, 41, "memory", "end")
    step.box(left + 60, 25, 56, 24, str(memory), "c", action == "store")
    for program in range(2):
        x, busy = left + 90 * program, bool(action) and program == now
        step.box(x, 86, 76, 24, held[program], "b" if busy else "a" if held[program] else "n", busy)
        step.text(x + 38, 126, f"program {program}")
        if busy:
            inner = left + 83 + 22 * (2 * program - 1)
            ends = ((inner, 50), (x + 38, 85))
            (x0, y0), (x1, y1) = ends if action == "load" else ends[::-1]
            step.arrow(x0, y0, x1, y1)


if __name__ == "__main__":
    main()
