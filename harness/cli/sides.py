"""Two texts against each other, with line numbers: side by side, or one below the other."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator
from itertools import zip_longest

CONTEXT = 3
GAP = "⋯"
COLUMN = 60
"""Characters from which a column is wide enough to set long lines of code in it."""

Row = tuple[int | None, str, str, int | None, str]
"""Line and text on the left, "|" "<" ">" or " " between, line and text on the right."""


def compared(
    left: list[str],
    right: list[str],
    names: tuple[str, str],
    width: int = 80,
    leave_out: Callable[[str], bool] = lambda line: False,
) -> list[str]:
    """The stretches that differ, with some lines around them; [] where nothing does. Lines that
    ``leave_out`` names are in neither text, and are counted all the same.

    Side by side where the columns are wide enough for the code, else one below the other. A line
    that is too long goes on below itself, broken between words: no end is cut off.
    """
    groups = list(_groups(_numbered(left, leave_out), _numbered(right, leave_out)))
    column = max((width - 13) // 2, 16)
    longest = max(
        (len(text) for rows in groups for row in rows for text in (row[1], row[4])), default=0
    )
    if longest <= column or column >= COLUMN:
        return _beside(groups, names, column)
    return _below(groups, names, width)


def _numbered(lines: list[str], leave_out: Callable[[str], bool]) -> list[tuple[int, str]]:
    return [(n, line) for n, line in enumerate(lines, 1) if not leave_out(line)]


def _groups(left: list[tuple[int, str]], right: list[tuple[int, str]]) -> Iterator[list[Row]]:
    mine, theirs = [line for _, line in left], [line for _, line in right]
    matcher = difflib.SequenceMatcher(None, mine, theirs, autojunk=False)
    for group in matcher.get_grouped_opcodes(CONTEXT):
        yield list(_rows(left, right, group))


def _rows(
    left: list[tuple[int, str]],
    right: list[tuple[int, str]],
    group: list[tuple[str, int, int, int, int]],
) -> Iterator[Row]:
    for tag, a, b, c, d in group:
        for i, j in zip_longest(range(a, b), range(c, d)):
            mark = " " if tag == "equal" else ">" if i is None else "<" if j is None else "|"
            at, mine = (None, "") if i is None else left[i]
            there, theirs = (None, "") if j is None else right[j]
            yield at, mine.expandtabs(4), mark, there, theirs.expandtabs(4)


def _beside(groups: list[list[Row]], names: tuple[str, str], column: int) -> list[str]:
    """``|`` stands between lines that differ, ``<`` and ``>`` beside one that only one side has."""
    lines: list[str] = []
    for rows in groups:
        lines.append(GAP if lines else _line(None, names[0], " ", None, names[1], column))
        for i, mine, mark, j, theirs in rows:
            parts = zip_longest(_pieces(mine, column), _pieces(theirs, column), fillvalue="")
            for at, (one, other) in enumerate(parts):
                first = at == 0
                lines.append(
                    _line(i if first else None, one, mark, j if first else None, other, column)
                )
    return [line.rstrip() for line in lines]


def _line(i: int | None, one: str, mark: str, j: int | None, other: str, column: int) -> str:
    return f"{i or '':>4} {one:<{column}} {mark} {j or '':>4} {other}"


def _below(groups: list[list[Row]], names: tuple[str, str], width: int) -> list[str]:
    """``<`` marks a line of the left text, ``>`` one of the right; lines of both have no mark."""
    lines = [f"< {names[0]}", f"> {names[1]}"]
    for rows in groups:
        lines.append(GAP)
        left: list[str] = []
        right: list[str] = []
        for i, mine, mark, j, theirs in rows:
            if mark == " ":
                lines += [*left, *right, *_marked(" ", i, mine, width)]
                left, right = [], []
                continue
            if i is not None:
                left += _marked("<", i, mine, width)
            if j is not None:
                right += _marked(">", j, theirs, width)
        lines += [*left, *right]
    return lines


def _marked(mark: str, number: int | None, text: str, width: int) -> list[str]:
    pieces = _pieces(text, max(width - 7, 16))
    heads = [f"{mark} {number or '':>4} ", *[" " * 7] * len(pieces)]
    return [f"{head}{piece}".rstrip() for head, piece in zip(heads, pieces, strict=False)]


def _pieces(text: str, column: int) -> list[str]:
    """``text`` in lines of ``column`` characters at most, broken between words where possible;
    what goes on is set in as deep as the line itself, and four more."""
    deep = len(text) - len(text.lstrip())
    indent = " " * min(deep + 4, column // 2)
    pieces: list[str] = []
    while len(text) > column:
        cut = max((m.end() for m in re.finditer(r"\S +", text[: column + 1])), default=0)
        cut = cut if cut > max(deep, len(indent)) else column
        pieces.append(text[:cut].rstrip())
        text = indent + text[cut:]
        deep = len(indent)
    return [*pieces, text]
