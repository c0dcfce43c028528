"""The docstring at the head of a day: the day at a glance, in one fixed form.

Day 13: Fused softmax
=====================
Estimated time: 1-2 hours
Prerequisites: Day 12 (numerical stability)
Lesson: lessons/day13.md

Learning objectives:
- ...

a paragraph, or a small drawing

Hints:
- ...
Resources:
- ...
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from harness.curriculum.errors import CurriculumError

_TITLE = re.compile(r"Day (\d+): (\S.*)")


@dataclass(frozen=True)
class DayDoc:
    """A day's docstring in parts; ``lesson`` is relative to the track's folder."""

    number: int
    title: str
    time: str
    prerequisites: str
    lesson: str
    objectives: tuple[str, ...]
    body: str
    hints: tuple[str, ...]
    resources: tuple[str, ...]


def parse_docstring(text: str, path: str | Path, first_line: int = 1) -> DayDoc:
    """The parts of a day's docstring; ``first_line`` is the line of the file it begins on.

    Raises CurriculumError with the line for a part that is missing, empty or malformed.
    """
    reader = _Reader(text.expandtabs().rstrip().split("\n"), Path(path), first_line)

    heading = reader.next_line("'Day NN: title'")
    match = _TITLE.fullmatch(heading)
    if not match:
        raise reader.error(f"expected 'Day NN: title', found {heading!r}")
    number, title = int(match[1]), match[2]
    in_name = re.fullmatch(r"day(\d+)", Path(path).stem)
    if not in_name or int(in_name[1]) != number:
        raise reader.error(f"the docstring says day {number}, the file's name {Path(path).name}")
    underline = reader.next_line("the title's underline")
    if underline != "=" * len(heading):
        raise reader.error(f"underline the title with {len(heading)} '=', as long as it is")

    time = reader.labelled("Estimated time")
    prerequisites = reader.labelled("Prerequisites")
    lesson = reader.labelled("Lesson")
    if lesson != f"lessons/day{number:02d}.md":
        raise reader.error(f"the lesson is 'lessons/day{number:02d}.md', not {lesson!r}")

    objectives = reader.listed("Learning objectives")
    body = reader.until("Hints:")
    hints = reader.listed("Hints")
    resources = reader.listed("Resources")
    reader.expect_end()
    return DayDoc(number, title, time, prerequisites, lesson, objectives, body, hints, resources)


class _Reader:
    """The docstring's lines and how far they are read."""

    def __init__(self, lines: list[str], path: Path, first_line: int) -> None:
        self.lines = [line.rstrip() for line in lines]
        self.path = path
        self.first_line = first_line
        self.at = 0  # index of the next line

    def error(self, message: str, index: int | None = None) -> CurriculumError:
        """An error at the line read last, or at ``index``."""
        index = max(self.at - 1, 0) if index is None else index
        return CurriculumError(self.path, self.first_line + index, f"day docstring: {message}")

    def skip_blank(self) -> None:
        while self.at < len(self.lines) and not self.lines[self.at]:
            self.at += 1

    def next_line(self, wanted: str) -> str:
        self.skip_blank()
        if self.at >= len(self.lines):
            raise self.error(f"it ends where {wanted} should stand")
        self.at += 1
        return self.lines[self.at - 1]

    def continued(self, text: str) -> str:
        """``text`` with the indented lines that follow it."""
        while self.at < len(self.lines) and self.lines[self.at].startswith(" "):
            text = f"{text} {self.lines[self.at].strip()}"
            self.at += 1
        return text.strip()

    def labelled(self, label: str) -> str:
        line = self.next_line(f"'{label}: ...'")
        if not line.startswith(label + ":"):
            raise self.error(f"expected '{label}: ...' here, found {line!r}")
        value = self.continued(line.removeprefix(label + ":"))
        if not value:
            raise self.error(f"'{label}:' says nothing")
        return value

    def listed(self, label: str) -> tuple[str, ...]:
        """A line ``label:`` and the items ``- ...`` below it."""
        line = self.next_line(f"'{label}:'")
        if line != label + ":":
            raise self.error(f"expected '{label}:' alone on its line here, found {line!r}")
        head = self.at - 1
        items: list[str] = []
        while True:
            before = self.at
            self.skip_blank()
            if self.at >= len(self.lines) or not re.match(r"-( |$)", self.lines[self.at]):
                self.at = before
                break
            self.at += 1
            item = self.continued(self.lines[self.at - 1][1:])
            if not item:
                raise self.error(f"an item of '{label}:' says nothing")
            items.append(item)
        if not items:
            raise self.error(f"'{label}:' needs at least one line '- ...' below it", head)
        return tuple(items)

    def until(self, label: str) -> str:
        """The text up to the line ``label``, its indentation kept."""
        start = self.at
        while self.at < len(self.lines) and self.lines[self.at] != label:
            self.at += 1
        if self.at == len(self.lines):
            raise self.error(f"no line '{label}' follows", max(start - 1, 0))
        body = "\n".join(self.lines[start : self.at]).strip("\n")
        if not body:
            message = "the idea (a paragraph or a drawing) is missing before 'Hints:'"
            raise self.error(message, self.at)
        return body

    def expect_end(self) -> None:
        self.skip_blank()
        if self.at < len(self.lines):
            line = self.lines[self.at]
            raise self.error(f"the resources are its last part, found {line!r}", self.at)
