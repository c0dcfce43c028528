"""Gives a failure that points nowhere the line of its exercise: a wrong value has no other."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path

from harness.curriculum import ROOT, CurriculumError, Day
from harness.protocol import LEARNER, SOLUTION, DayResult, Failure, Request


def graded_file(request: Request) -> Path:
    """The file that ``request`` grades."""
    day = Day(request.track, request.day, ROOT)
    own = {LEARNER: day.file, SOLUTION: day.solution}
    return own.get(request.impl) or Path(os.path.abspath(request.impl)) / f"{day.name}.py"


def locate(result: DayResult, request: Request) -> None:
    """Point every failure of ``result`` into the graded file: where it was raised, else at the
    ``def`` that holds the exercise's answer, or the exercise's own where several hold some, else
    at the file's first line."""
    file = graded_file(request)
    try:
        text = file.read_bytes().decode("utf-8", errors="replace")
    except OSError:
        return
    names = answering(Day(request.track, request.day, ROOT))
    for test in result.tests:
        if test.failure is not None:
            name = names.get(test.exercise, test.exercise)
            test.failure = _placed(test.failure, file, definition_line(text, name))
    result.problems[:] = [
        # a missing device, or the harness's own trouble, is nowhere in the file
        problem if problem.reason == "error" else _placed(problem, file, 1)
        for problem in result.problems
    ]


def answering(day: Day) -> dict[str, str]:
    """Of each exercise whose answer is in a single function: that one's qualified name."""
    try:
        owners = {e.name: {answer.owner for answer in e.answers} for e in day.exercises}
    except (OSError, CurriculumError):
        return {}
    return {name: found.pop() for name, found in owners.items() if len(found) == 1}


def definition_line(text: str, name: str) -> int:
    """The line of the last top-level ``def`` or ``class`` of that name, which is the one that
    counts, or of a method ("Class.method") in the last class of its name; 1 where there is none."""
    first, _, method = name.partition(".")
    start = rf"^(?:async[ \t]+def|def|class)[ \t]+{re.escape(first)}\b"
    places = [match.start() for match in re.finditer(start, text, re.MULTILINE)]
    if not places:
        return 1
    place = places[-1]
    if method:
        body = re.compile(r"(?:.*\n)(?:(?:[ \t].*)?\n)*").match(text, place)
        start = rf"^[ \t]+(?:async[ \t]+)?def[ \t]+{re.escape(method)}\b"
        inside = re.search(start, body[0], re.MULTILINE) if body else None
        place += inside.start() if inside else 0
    return text.count("\n", 0, place) + 1


def _placed(failure: Failure, file: Path, line: int) -> Failure:
    if failure.file and failure.line:
        return failure
    return replace(failure, file=str(file), line=line)
