"""Shows a lesson in the terminal."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from pathlib import Path

from harness.curriculum import find_day
from harness.screen.pager import columns, page
from harness.usage import Usage

READABLE = 80
"""Columns: more make a line of prose hard to follow."""
_FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def show_lesson(track: str, number: str) -> int:
    day = find_day(track, number)
    if not day.lesson.exists():
        raise Usage(f"{day.track} day {day.number} has no lesson yet: {day.lesson} is missing.")
    from rich.console import Console
    from rich.markdown import Markdown

    from harness.screen.formulas import readable

    folder = day.lesson.parent
    if folder.is_relative_to(Path.cwd()):
        folder = folder.relative_to(Path.cwd())
    lesson = day.lesson.read_text(encoding="utf-8")
    known = sys.stdout.isatty() or "COLUMNS" in os.environ
    needed = max(READABLE, _code_width(lesson) + 2)  # rich puts a blank at each side of code
    with contextlib.suppress(ModuleNotFoundError):  # without pylatexenc: the formulas as TeX
        lesson = readable(lesson, folder)
    console = Console(width=columns(needed, needed) if known else needed)
    with console.capture() as text:
        console.print(Markdown(lesson, code_theme="ansi_dark"))
    page(text.get())
    return 0


def _code_width(lesson: str) -> int:
    """Of the widest line of code or of a drawing, which must not be broken."""
    lines = [line for block in _FENCED.findall(lesson) for line in block.splitlines()]
    return max(map(len, lines), default=0)
