"""Draws day05_tags.svg: a derivative inside a derivative, without tags and with them.

python -m tracks.autodiff.lessons.figures.day05_tags
"""

from __future__ import annotations

from typing import Any

from harness.figures import Step, Stepped, reference

NAMES = ("x", "y", "x + y", "inner d/dy", "x · inner", "outer d/dx")
SAYS = (
    "The outer call marks x, which is 1 here, with the slope 1.",
    "The inner call marks y in the same way. On the right it has a slot of its own.",
    "x + y: on the left two slopes were added that have nothing to do with each other.",
    "The inner call takes its slope out. Only y moves there, so it should be 1.",
    "The product of x and that. On the left the second factor is 2 where it should be 1.",
    "The outer call takes its slope out: 2 is wrong, 1 is right. No error was raised.",
)


def numbers(inner_tag: int) -> list[Any]:
    """What stands at each of NAMES if the outer call's tag is 1."""
    Dual = reference("autodiff", 5).Dual
    x, y = Dual(1.0, 1.0, 1), Dual(1.0, 1.0, inner_tag)
    total = x + y
    inner = total.slope
    product = x * inner
    return [x, y, total, inner, product, product.slope]


def slots(number: Any, tags: tuple[int, ...]) -> list[str]:
    """Value and slopes, the oldest first, of what may be a Dual in a Dual or a plain number."""
    found = dict.fromkeys(tags, 0.0)
    while hasattr(number, "tag"):
        slope, number, tag = number.slope, number.value, number.tag
        found[tag] = float(slope)
    return [f"{float(number):g}", *(f"{found[tag]:g}" for tag in tags)]


def main() -> None:
    confused, apart = numbers(1), numbers(2)
    assert float(confused[-1]) == 2
    assert float(apart[-1]) == 1
    figure = Stepped(__file__, height=222)
    for last, says in enumerate(SAYS):
        step = figure.step(says)
        step.text(140, 14, "one ε", bold=True)
        step.text(284, 14, "a tag for each call", bold=True)
        table(step, 92, confused, (1,), last)
        table(step, 224, apart, (1, 2), last)
        for row, name in enumerate(NAMES[: last + 1]):
            step.text(78, 57 + 30 * row, name, "end", bold=row == last)
    figure.save()


def table(step: Step, left: float, column: list[Any], tags: tuple[int, ...], last: int) -> None:
    heads = ["value", "ε"] if len(tags) == 1 else ["value", "ε₁", "ε₂"]
    for i, head in enumerate(heads):
        step.text(left + 40 * i + 20, 34, head)
    for row, number in enumerate(column[: last + 1]):
        texts = slots(number, tags)
        kinds = ["n", *"ab"[: len(tags)]]
        if not hasattr(number, "tag"):
            texts, kinds = texts[:1], kinds[:1]
        y = 40 + 30 * row
        strong = range(len(texts)) if row == last else ()
        step.row(left, y, texts, kinds, 40, 26, strong)
        if NAMES[row] == NAMES[-1]:
            step.text(left + 48, y + 17, "right" if number == 1 else "wrong", "start", bold=True)


if __name__ == "__main__":
    main()
