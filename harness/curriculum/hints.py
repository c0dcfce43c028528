"""The hints of a day or of one exercise, each deeper than the one before."""

from __future__ import annotations

import re

from harness.curriculum.discover import Day, find_exercise
from harness.curriculum.markers import Exercise
from harness.curriculum.source import read_source
from harness.curriculum.stubs import generate_stub


def hints_for(day: Day, exercise: str | None = None) -> list[str]:
    """An exercise's hints; without one, the day's own and then every exercise's, each named."""
    if exercise is not None:
        return list(find_exercise(day, exercise).hints)
    named = [f"{one.name}: {hint}" for one in day.exercises for hint in one.hints]
    return [*day.doc.hints, *named]


def deeper_hints(day: Day, exercise: Exercise) -> list[str]:
    """The exercise's hints that the stub does not show already; all where there are no others."""
    every = [*exercise.todos, *hints_for(day, exercise.name)]
    stub = generate_stub(read_source(day.solution), day.solution)
    shown = " ".join(re.sub(r"^\s*#", "", line).strip() for line in stub.splitlines())
    return [hint for hint in every if hint not in shown] or every
