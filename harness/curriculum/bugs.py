"""Known wrong variants of a day's answers: ``bugs/dayNN.toml``.

[[bug]]
exercise = "softmax"
find = "tl.max(row, axis=0)"        # stands exactly once in the code of the exercise's answers
replace = "0.0"
says = "What to tell someone who made this mistake, without giving the answer away."
by = "test_softmax[8-8]"            # may be left out: the test that rejects it, where it comes late

[[equivalent]]                      # an automatic mutant that changes nothing
exercise = "softmax"
find = "..."
replace = "..."
because = "why no test can notice it"

[[habit]]                           # a learner's habit that is no mistake in this exercise
exercise = "softmax"
habit = "host"                      # one of harness.mutate.habits.HABITS
because = "why it is right here"
"""

from __future__ import annotations

import ast
import re
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from harness.curriculum.errors import CurriculumError
from harness.curriculum.markers import Exercise, exercises_of
from harness.curriculum.source import comments_of, normalised, read_source, split_lines, syntax_tree

CHANGE = ("find", "replace")
_SHORTEST_EXPLANATION = 20  # characters: below that it explains nothing


@dataclass(frozen=True)
class Bug:
    """One mistake: ``find`` in the exercise's answers becomes ``replace``. ``line`` is where the
    file says so, ``number`` counts the bugs from 1. ``by`` is a test that rejects it and is tried
    first, or ""."""

    exercise: str
    find: str
    replace: str
    says: str
    line: int
    number: int
    by: str = ""


@dataclass(frozen=True)
class Equivalent:
    """One change that changes nothing, and why."""

    exercise: str
    find: str
    replace: str
    because: str
    line: int
    number: int


@dataclass(frozen=True)
class Habit:
    """A habit of learners that is right in this exercise, and why."""

    exercise: str
    habit: str
    because: str
    line: int
    number: int


@dataclass(frozen=True)
class Bugs:
    bugs: tuple[Bug, ...]
    equivalents: tuple[Equivalent, ...]
    habits: tuple[Habit, ...]


def load_bugs(path: Path, solution_source: str) -> Bugs:
    """The bugs of a day, each checked against its solution.

    Raises CurriculumError, with the line, for whatever is wrong with the file.
    """
    if not path.is_file():
        raise CurriculumError(path, 1, "there is no such file")
    text = normalised(read_source(path))
    tables = _read_toml(text, path)
    for key in tables:
        if key not in ("bug", "equivalent", "habit"):
            message = f"unknown key {key!r}: there are only [[bug]], [[equivalent]] and [[habit]]"
            raise CurriculumError(path, _line_of(text, re.escape(key)), message)
    exercises = _exercises(solution_source, path)
    bugs = [
        Bug(**fields, line=line, number=number)
        for number, line, fields in _entries(tables, "bug", CHANGE, "says", text, path, "by")
    ]
    equivalents = [
        Equivalent(**fields, line=line, number=number)
        for number, line, fields in _entries(tables, "equivalent", CHANGE, "because", text, path)
    ]
    habits = [
        Habit(**fields, line=line, number=number)
        for number, line, fields in _entries(tables, "habit", ("habit",), "because", text, path)
    ]
    for habit in habits:
        if habit.exercise not in exercises:
            message = f"habit {habit.number}: the day has no exercise {habit.exercise!r}"
            raise CurriculumError(path, habit.line, message)
    entries: list[Bug | Equivalent] = [*bugs, *equivalents]
    statements = _statements(solution_source)
    for entry in entries:
        changed = _apply(solution_source, entry, exercises, path)
        _check(entry, changed, statements, path)
    return Bugs(tuple(bugs), tuple(equivalents), tuple(habits))


def apply_bug(solution_source: str, bug: Bug | Equivalent, path: Path) -> str:
    """The solution with the bug in it; ``path`` is the bugs' file, for errors."""
    exercises = _exercises(solution_source, path)
    return _apply(solution_source, bug, exercises, path)


def _exercises(solution_source: str, path: Path) -> dict[str, Exercise]:
    """By name. What is wrong with the solution is said of the solution, not of the bugs' file."""
    solution = path.parent.parent / "solutions" / f"{path.stem}.py"
    return {one.name: one for one in exercises_of(solution_source, solution)}


def _read_toml(text: str, path: Path) -> dict[str, Any]:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        place = re.search(r"line (\d+)", str(error))
        line = int(place[1]) if place else len(split_lines(text))
        raise CurriculumError(path, line, f"this is not valid TOML: {error}") from error


def _entries(
    tables: dict[str, Any],
    kind: str,
    what: tuple[str, ...],
    reason: str,
    text: str,
    path: Path,
    optional: str = "",
) -> list[tuple[int, int, dict[str, str]]]:
    """Number, line and fields of every ``[[kind]]``; one of them, ``optional``, may be missing."""
    heads = [
        number
        for number, line in enumerate(split_lines(text), 1)
        if re.match(rf"\s*\[\[\s*{kind}\s*\]\]", line)
    ]
    found = tables.get(kind, [])
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise CurriculumError(path, _line_of(text, kind), f"write [[{kind}]], a table each")
    wanted = ("exercise", *what, reason)
    known = (*wanted, *filter(None, [optional]))
    entries = []
    for number, fields in enumerate(found, 1):
        line = heads[number - 1] if len(heads) == len(found) else 1
        for key in fields:
            if key not in known:
                message = f"{kind} {number}: unknown key {key!r} (known: {', '.join(known)})"
                raise CurriculumError(path, line, message)
        for key in known:
            if key not in fields and key in wanted:
                raise CurriculumError(path, line, f"{kind} {number}: {key!r} is missing")
            if not isinstance(fields.get(key, ""), str):
                raise CurriculumError(path, line, f"{kind} {number}: {key!r} must be a text")
        if len(fields[reason].strip()) < _SHORTEST_EXPLANATION:
            message = (
                f"{kind} {number}: {reason!r} explains too little "
                f"(at least {_SHORTEST_EXPLANATION} characters)"
            )
            raise CurriculumError(path, line, message)
        entries.append((number, line, fields))
    return entries


def _check(entry: Bug | Equivalent, changed: str, original: list[_Statement], path: Path) -> None:
    try:
        statements = _statements(changed)
    except SyntaxError as error:
        message = f"its result is not valid Python: line {error.lineno} of the day: {error.msg}"
        raise _error(entry, message, path) from error
    pairs = zip(statements, original, strict=False)
    same = all(one.text == other.text or one.code == other.code for one, other in pairs)
    if same and len(statements) == len(original):
        raise _error(entry, "it changes only comments or blanks", path)


@dataclass
class _Statement:
    """A function, a class … of a file. ``code`` is without comments and blanks; to make it of all
    is what takes long, and most have the same text."""

    text: list[str]
    node: ast.stmt

    @cached_property
    def code(self) -> str:
        return ast.dump(self.node)


def _statements(source: str) -> list[_Statement]:
    """SyntaxError where it is no Python."""
    lines, found = split_lines(source), []
    for node in syntax_tree(source).body:
        first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", ()))])
        found.append(_Statement(lines[first - 1 : node.end_lineno], node))
    return found


def _apply(
    solution: str, entry: Bug | Equivalent, exercises: dict[str, Exercise], path: Path
) -> str:
    if entry.exercise not in exercises:
        names = ", ".join(exercises)
        raise _error(entry, f"the day has no exercise {entry.exercise!r}, only {names}", path)
    if entry.find == entry.replace:
        raise _error(entry, "'find' and 'replace' are the same", path)
    if not entry.find.strip():
        raise _error(entry, "'find' is empty", path)
    # Found in normalised text, which TOML gives too; put back with the solution's own endings.
    answers = exercises[entry.exercise].answers
    places = [
        (answer, place) for answer in answers for place in _places(normalised(answer.text), entry)
    ]
    if len(places) != 1:
        message = f"'find' must stand exactly once in the answers of {entry.exercise}, "
        raise _error(entry, message + f"not {len(places)} times: {entry.find!r}", path)
    answer, at = places[0]
    text = normalised(answer.text)
    changed = text[:at] + entry.replace + text[at + len(entry.find) :]
    if "\r\n" in answer.text:
        changed = changed.replace("\n", "\r\n")
    lines = split_lines(solution)
    return "".join([*lines[: answer.start], changed, *lines[answer.end - 1 :]])


def _places(text: str, entry: Bug | Equivalent) -> list[int]:
    """Where ``find`` begins in an answer. What a comment says is not code: a hint may quote it."""
    commented = {comment.line: len(comment.before) for comment in comments_of(text)}
    found = []
    for match in re.finditer(f"(?={re.escape(entry.find)})", text):
        line_start = text.rfind("\n", 0, match.start()) + 1
        hash_at = commented.get(text.count("\n", 0, match.start()) + 1)
        if hash_at is None or match.start() - line_start < hash_at:
            found.append(match.start())
    return found


def _error(entry: Bug | Equivalent, message: str, path: Path) -> CurriculumError:
    kind = type(entry).__name__.lower()
    return CurriculumError(path, entry.line, f"{kind} {entry.number}: {message}")


def _line_of(text: str, pattern: str) -> int:
    match = re.search(rf"^\s*\[*\s*{pattern}\b", text, re.MULTILINE)
    return text.count("\n", 0, match.start()) + 1 if match else 1
