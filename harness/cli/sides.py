"""Two texts beside each other, as ``sdiff`` shows them, with line numbers."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from itertools import zip_longest

CONTEXT = 3
GAP = "⋯"

Row = tuple[int | None, str, str, int | None, str]
"""Line and text on the left, "|" "<" ">" or " " between, line and text on the right."""


def beside(left: list[str], right: list[str], names: tuple[str, str], width: int = 80) -> list[str]:
    """The stretches that differ, with some lines around them; [] where nothing does.

    ``|`` stands between lines that differ, ``<`` and ``>`` beside one that only one side has. A
    line that is too long goes on below itself: no end is cut off.
    """
    column = max((width - 13) // 2, 16)
    lines: list[str] = []
    matcher = difflib.SequenceMatcher(None, left, right, autojunk=False)
    for group in matcher.get_grouped_opcodes(CONTEXT):
        lines.append(GAP if lines else _line(None, names[0], " ", None, names[1], column))
        for row in _rows(left, right, group):
            lines += _wrapped(row, column)
    return [line.rstrip() for line in lines]


def _rows(
    left: list[str], right: list[str], group: list[tuple[str, int, int, int, int]]
) -> Iterator[Row]:
    for tag, a, b, c, d in group:
        for i, j in zip_longest(range(a, b), range(c, d)):
            mark = " " if tag == "equal" else ">" if i is None else "<" if j is None else "|"
            mine, theirs = ("" if i is None else left[i]), ("" if j is None else right[j])
            yield _number(i), mine, mark, _number(j), theirs


def _number(index: int | None) -> int | None:
    return None if index is None else index + 1


def _wrapped(row: Row, column: int) -> Iterator[str]:
    i, mine, mark, j, theirs = row
    parts = zip_longest(_pieces(mine, column), _pieces(theirs, column), fillvalue="")
    for number, (one, other) in enumerate(parts):
        if number:
            i = j = None
        yield _line(i, one, mark, j, other, column)


def _pieces(text: str, column: int) -> list[str]:
    text = text.expandtabs(4)
    return [text[at : at + column] for at in range(0, len(text), column)] or [""]


def _line(i: int | None, one: str, mark: str, j: int | None, other: str, column: int) -> str:
    return f"{i or '':>4} {one:<{column}} {mark} {j or '':>4} {other}"
