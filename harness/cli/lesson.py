"""Shows a lesson in the terminal."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

from harness.curriculum import find_day
from harness.usage import Usage

WIDEST = 102
"""Columns: code and drawings are up to 100 characters wide, and have a blank at each side."""


def show_lesson(track: str, number: str) -> int:
    day = find_day(track, number)
    if not day.lesson.exists():
        raise Usage(f"{day.track} day {day.number} has no lesson yet: {day.lesson} is missing.")
    from rich.console import Console
    from rich.markdown import Markdown

    from harness.screen.formulas import readable

    known = sys.stdout.isatty() or "COLUMNS" in os.environ
    console = Console(width=min(Console().width, WIDEST) if known else WIDEST)
    folder = day.lesson.parent
    if folder.is_relative_to(Path.cwd()):
        folder = folder.relative_to(Path.cwd())
    lesson = day.lesson.read_text(encoding="utf-8")
    with contextlib.suppress(ModuleNotFoundError):  # without pylatexenc: the formulas as TeX
        lesson = readable(lesson, folder)
    text = Markdown(lesson, code_theme="ansi_dark")
    if sys.stdout.isatty():
        with console.pager(styles=True):
            console.print(text)
    else:
        console.print(text)
    return 0
