"""What goes wrong with the days' files, and with what is asked for."""

from __future__ import annotations

from pathlib import Path

ROOT: Path = Path(__file__).resolve().parents[2]


class CurriculumError(Exception):
    """A file of a day is not what it should be. ``str()`` is ``path:line: message``."""

    def __init__(self, path: str | Path, line: int, message: str) -> None:
        super().__init__(path, line, message)
        self.path = Path(path)
        self.line = line
        self.message = message

    def __str__(self) -> str:
        shown = self.path
        if shown.is_relative_to(ROOT):
            shown = shown.relative_to(ROOT)
        return f"{shown.as_posix()}:{self.line}: {self.message}"


class UnknownDay(LookupError):
    """There is no such track or day; the message says what there is."""


class UnknownExercise(UnknownDay):
    """The day has no such exercise; the message says what there is."""
