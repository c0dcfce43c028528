"""One exercise of a learner's file put back to the stub, the rest left as it is."""

from __future__ import annotations

import re
from dataclasses import dataclass

from harness.curriculum.definitions import definitions_of, exercise_owning
from harness.curriculum.errors import UnknownExercise
from harness.curriculum.source import newline_of, normalised, split_lines, syntax_tree


@dataclass(frozen=True)
class _Piece:
    """A top-level function or class and its lines (from 1, both included)."""

    name: str
    start: int
    end: int


def reset_exercise(learner_source: str, stub_source: str, exercise: str) -> str:
    """The learner's text with one exercise's function or class, and its kernels, as in the stub.

    What the learner has deleted comes back where the stub has it; of two definitions of one name
    the second goes. A file that is not valid Python is cut at the lines that begin in the first
    column, so that a broken exercise can be put back too; where even that does not find the
    exercise, its SyntaxError is raised.
    """
    stub_lines = split_lines(stub_source)
    stub_definitions = definitions_of(syntax_tree(stub_source), stub_source)
    stub = [_Piece(d.name, d.start, d.end) for d in stub_definitions]
    parts = [d.name for d in stub_definitions if exercise_owning(d, stub_definitions) == exercise]
    if exercise not in parts:
        raise UnknownExercise(f"the stub has no exercise {exercise!r}")

    text = learner_source
    for name in parts:
        piece = next(piece for piece in stub if piece.name == name)
        newline = newline_of(learner_source)
        new = [line.rstrip("\r\n") + newline for line in stub_lines[piece.start - 1 : piece.end]]
        text = _put(text, name, new, [one.name for one in stub], newline, exercise)
    return text


def _put(
    text: str, name: str, new: list[str], order: list[str], newline: str, exercise: str
) -> str:
    lines = split_lines(text)
    pieces = _pieces(text, exercise)
    mine = [piece for piece in pieces if piece.name == name]
    if not mine:
        return "".join(_insert(lines, pieces, name, new, order, newline))
    for piece in reversed(mine[1:]):
        end = piece.end
        while end < len(lines) and not lines[end].strip():
            end += 1  # with the blank lines that follow it
        del lines[piece.start - 1 : end]
    first = mine[0]
    if first.end == len(lines) and not lines[-1].endswith(("\n", "\r")):
        new = [*new[:-1], new[-1].rstrip("\r\n")]
    lines[first.start - 1 : first.end] = new
    return "".join(lines)


def _insert(
    lines: list[str],
    pieces: list[_Piece],
    name: str,
    new: list[str],
    order: list[str],
    newline: str,
) -> list[str]:
    """``new`` after the piece that precedes it in the stub, or else before the one that follows,
    or else at the end."""
    place = order.index(name)
    last = {piece.name: piece for piece in pieces}
    blank = [newline, newline]
    if lines and not lines[-1].endswith(("\n", "\r")):
        lines = [*lines[:-1], lines[-1] + newline]
    for before in reversed(order[:place]):
        if before in last:
            at = last[before].end
            return [*lines[:at], *blank, *new, *lines[at:]]
    for after in order[place + 1 :]:
        if after in last:
            at = last[after].start - 1
            return [*lines[:at], *new, *blank, *lines[at:]]
    return [*lines, *blank, *new] if lines else new


def _pieces(text: str, exercise: str) -> list[_Piece]:
    try:
        tree = syntax_tree(text)
    except SyntaxError:
        pieces = _pieces_by_column(normalised(text))
        if not any(piece.name == exercise for piece in pieces):
            raise
        return pieces
    return [_Piece(d.name, d.start, d.end) for d in definitions_of(tree, text)]


def _pieces_by_column(text: str) -> list[_Piece]:
    """Functions and classes of a text that does not parse: each goes from its ``def`` or its first
    decorator to the next line that begins something else in the first column."""
    lines = split_lines(text)
    starts = [
        number
        for number, line in enumerate(lines, 1)
        if line.strip() and line[0] not in " \t)]}#" and not line.startswith(('"""', "'''"))
    ]
    pieces = []
    decorated = 0
    for start, following in zip(starts, [*starts[1:], len(lines) + 1], strict=True):
        line = lines[start - 1]
        if line.startswith("@"):
            decorated = decorated or start
            continue
        if match := re.match(r"(?:async\s+def|def|class)\s+(\w+)", line):
            end = following - 1
            while end > start and (not lines[end - 1].strip() or lines[end - 1].startswith("#")):
                end -= 1
            pieces.append(_Piece(match[1], decorated or start, end))
        decorated = 0
    return pieces
