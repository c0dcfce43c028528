"""The hints of a day or of one exercise, each deeper than the one before."""

from __future__ import annotations

from harness.curriculum.discover import Day, find_exercise


def hints_for(day: Day, exercise: str | None = None) -> list[str]:
    """An exercise's hints; without one, the day's own and then every exercise's, each named."""
    if exercise is not None:
        return list(find_exercise(day, exercise).hints)
    named = [f"{one.name}: {hint}" for one in day.exercises for hint in one.hints]
    return [*day.doc.hints, *named]
