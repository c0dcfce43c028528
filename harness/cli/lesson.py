"""Shows a lesson in the terminal, or its page of the book."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import webbrowser
from pathlib import Path

from harness.curriculum import Day, find_day
from harness.screen.pager import columns, page
from harness.usage import Usage

READABLE = 80
"""Columns: more make a line of prose hard to follow."""
_CODE = re.compile(r"(?<!`)`[^`\n]+`(?!`)")
_BLANK = "\ue000"
"""Stands for a blank at which rich does not break a line: it does at a no-break space."""
_SHORT = 40
_FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def show_lesson(track: str, number: str, open_it: bool = False) -> int:
    day = find_day(track, number)
    if not day.lesson.exists():
        raise Usage(f"{day.track} day {day.number} has no lesson yet: {day.lesson} is missing.")
    if open_it:
        return open_page(day)
    from rich.console import Console
    from rich.markdown import Markdown
    from rich.theme import Theme

    from harness.screen.formulas import readable

    folder = day.lesson.parent
    if folder.is_relative_to(Path.cwd()):
        folder = folder.relative_to(Path.cwd())
    lesson = day.lesson.read_text(encoding="utf-8")
    known = sys.stdout.isatty() or "COLUMNS" in os.environ
    needed = max(READABLE, _code_width(lesson) + 2)  # rich puts a blank at each side of code
    with contextlib.suppress(ModuleNotFoundError):  # without pylatexenc: the formulas as TeX
        lesson = readable(lesson, folder)
    # rich's code has a black ground, which is a box on a terminal that is light
    plain = Theme({"markdown.code": "bold cyan"})
    console = Console(width=columns(needed, needed) if known else needed, theme=plain)
    with console.capture() as text:
        console.print(Markdown(_unbroken(lesson), code_theme="ansi_dark"))
    # rich fills its lines up with blanks
    page(re.sub(r" +$", "", text.get().replace(_BLANK, " "), flags=re.MULTILINE))
    return 0


def _unbroken(lesson: str) -> str:
    """The lesson with short code in its sentences that no line breaks in two."""

    def whole(code: re.Match[str]) -> str:
        return code[0].replace(" ", _BLANK) if len(code[0]) <= _SHORT else code[0]

    parts, end = [], 0
    for fence in _FENCED.finditer(lesson):
        parts += [_CODE.sub(whole, lesson[end : fence.start()]), fence[0]]
        end = fence.end()
    return "".join([*parts, _CODE.sub(whole, lesson[end:])])


def open_page(day: Day) -> int:
    """Open the day's page of the book in a browser. Where the book is missing, or older than the
    lesson, it is built first."""
    from harness.book.command import SITE, make_book

    page = SITE / day.track / f"{day.name}.html"
    if not page.exists() or page.stat().st_mtime < day.lesson.stat().st_mtime:
        print("Building the book …", flush=True)
        if wrong := make_book("", "html", "", open_it=False, serve=False):
            return wrong
    if not webbrowser.open(page.as_uri()):
        print(f"No browser could be started. The page: {page}")
    return 0


def _code_width(lesson: str) -> int:
    """Of the widest line of code or of a drawing, which must not be broken."""
    lines = [line for block in _FENCED.findall(lesson) for line in block.splitlines()]
    return max(map(len, lines), default=0)
