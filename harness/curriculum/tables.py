"""The curriculum's table in a track's README, made from the days."""

from __future__ import annotations

from pathlib import Path

from harness.curriculum.discover import Day, Track
from harness.curriculum.errors import CurriculumError
from harness.curriculum.source import newline_of, read_source

BEGIN = "<!-- curriculum:begin -->"
END = "<!-- curriculum:end -->"


def curriculum_table(track: Track) -> str:
    """A Markdown table with a row a day; its links are relative to the track's folder."""
    rows = ["| Day | Title | Exercises | Time |", "|---:|---|---|---|"]
    return "\n".join([*rows, *(_row(day) for day in track.days)]) + "\n"


def update_readme(path: Path, table: str) -> str:
    """The README's text with ``table`` between its two marks; writes nothing.

    Raises CurriculumError where the marks are not there once each, in order.
    """
    if not path.is_file():
        raise CurriculumError(path, 1, f"there is no such file; it needs {BEGIN} and {END}")
    text = read_source(path)
    for mark in (BEGIN, END):
        if text.count(mark) != 1:
            found = text.count(mark)
            raise CurriculumError(path, 1, f"it must hold {mark} exactly once, not {found} times")
    before, rest = text.split(BEGIN)
    if END not in rest:
        line = before.count("\n") + 1
        raise CurriculumError(path, line, f"{END} must stand after {BEGIN}")
    after = rest.split(END)[1]
    newline = newline_of(text)
    middle = newline.join(["", "", *table.strip().split("\n"), "", ""])
    return f"{before}{BEGIN}{middle}{END}{after}"


def _row(day: Day) -> str:
    title = _cell(day.title)
    if day.lesson.is_file():
        title = f"[{title}](lessons/{day.name}.md)"
    exercises = " · ".join(f"`{exercise.name}`" for exercise in day.exercises)
    return f"| [{day.number}]({day.name}.py) | {title} | {exercises} | {_cell(day.doc.time)} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
