"""Draws day04_stack.svg: an order for a cake, with a stack in place of calls.

python -m tracks.autodiff.lessons.figures.day04_stack
"""

from __future__ import annotations

from harness.figures import Step, Stepped

NEEDS = {
    "cake": ("batter", "tin"), "batter": ("flour", "egg", "butter"), "tin": ("butter",),
    "flour": (), "egg": (), "butter": (),
}  # fmt: skip
PLACES = {
    "flour": (6, 14), "egg": (6, 57), "butter": (6, 100),
    "batter": (140, 35), "tin": (140, 100), "cake": (274, 66),
}  # fmt: skip
WIDE = 76


def main() -> None:
    figure = Stepped(__file__, height=202)
    stack, begun, done = ["cake"], set[str](), list[str]()
    draw(figure.step("The cake is wanted: it lies on the stack."), stack, begun, done)
    while stack:
        top = stack[-1]
        if top in done:
            stack.pop()
            caption = f"{top.capitalize()} is written down already: it is needed twice, no more."
        elif top in begun or not NEEDS[top]:
            begun.discard(top)
            done.append(stack.pop())
            caption = f"All that {top} needs is done: it is written down."
            if not NEEDS[top]:
                caption = f"{top.capitalize()} needs nothing: it is written down."
        else:
            begun.add(top)
            asked = [thing for thing in NEEDS[top] if thing not in done]
            stack += reversed(asked)
            caption = f"{top.capitalize()} asks for {' and '.join(asked)}, and waits."
            if not asked:
                caption = f"All that {top} asks for is done already."
        draw(figure.step(caption), stack, begun, done)
    assert done == ["flour", "egg", "butter", "batter", "tin", "cake"]  # the lesson's
    figure.save()


def draw(step: Step, stack: list[str], begun: set[str], done: list[str]) -> None:
    for thing, needed in NEEDS.items():
        x, y = PLACES[thing]
        for other in needed:
            x0, y0 = PLACES[other]
            step.arrow(x0 + WIDE + 2, y0 + 13, x - 2, y + 13)
    for thing, (x, y) in PLACES.items():
        kind = "c" if thing in done else "b" if thing in begun else "n"
        mark = "done" if thing in done else "begun" if thing in begun else ""
        step.box(x, y, WIDE, 26, thing, kind, bool(stack) and thing == stack[-1])
        if mark:
            step.text(x + WIDE / 2, y - 3, mark)
    step.text(6, 156, "stack", "start")
    for i, thing in enumerate(stack):
        step.box(62 + 49 * i, 140, 49, 24, thing, "a", i == len(stack) - 1)
    step.text(6, 188, "order", "start")
    for i, thing in enumerate(done):
        step.box(62 + 49 * i, 172, 49, 24, thing, "c", i == len(done) - 1)


if __name__ == "__main__":
    main()
