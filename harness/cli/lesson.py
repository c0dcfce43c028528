"""Shows a lesson in the terminal."""

from __future__ import annotations

import sys

from harness.cli.options import Usage
from harness.curriculum import find_day


def show_lesson(track: str, number: str) -> int:
    day = find_day(track, number)
    if not day.lesson.exists():
        raise Usage(f"{day.track} day {day.number} has no lesson yet: {day.lesson} is missing.")
    from rich.console import Console
    from rich.markdown import Markdown

    console = Console(width=min(Console().width, 96) if sys.stdout.isatty() else 80)
    text = Markdown(day.lesson.read_text(encoding="utf-8"), code_theme="ansi_dark")
    if sys.stdout.isatty():
        with console.pager(styles=True):
            console.print(text)
    else:
        console.print(text)
    return 0
