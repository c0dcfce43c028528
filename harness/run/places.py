"""Gives a failure that points nowhere the line of its exercise: a wrong value has no other."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path

from harness.curriculum import ROOT, Day
from harness.protocol import LEARNER, SOLUTION, DayResult, Failure, Request


def graded_file(request: Request) -> Path:
    """The file that ``request`` grades."""
    day = Day(request.track, request.day, ROOT)
    own = {LEARNER: day.file, SOLUTION: day.solution}
    return own.get(request.impl) or Path(os.path.abspath(request.impl)) / f"{day.name}.py"


def locate(result: DayResult, request: Request) -> None:
    """Point every failure of ``result`` into the graded file: where it was raised, else at the
    exercise's ``def``, else at the file's first line."""
    file = graded_file(request)
    try:
        text = file.read_bytes().decode("utf-8", errors="replace")
    except OSError:
        return
    for test in result.tests:
        if test.failure is not None:
            test.failure = _placed(test.failure, file, definition_line(text, test.exercise))
    result.problems[:] = [
        # a missing device, or the harness's own trouble, is nowhere in the file
        problem if problem.reason == "error" else _placed(problem, file, 1)
        for problem in result.problems
    ]


def definition_line(text: str, name: str) -> int:
    """The line of the last top-level ``def`` or ``class`` of that name, which is the one that
    counts; 1 where there is none."""
    start = rf"^(?:async[ \t]+def|def|class)[ \t]+{re.escape(name)}\b"
    places = [match.start() for match in re.finditer(start, text, re.MULTILINE)]
    return text.count("\n", 0, places[-1]) + 1 if places else 1


def _placed(failure: Failure, file: Path, line: int) -> Failure:
    if failure.file and failure.line:
        return failure
    return replace(failure, file=str(file), line=line)
