"""The screen of watch mode: drawn in one write, so that it does not flicker."""

from __future__ import annotations

import io
import os
import shutil
import sys
from collections.abc import Callable

from rich.console import Console

from harness.measure.units import counted
from harness.protocol import DayResult
from harness.screen.day import show
from harness.screen.problems import wanted
from harness.screen.waiting import fitting

HOME, CLEAR_LINE, CLEAR_REST = "\x1b[H", "\x1b[K", "\x1b[J"
KEYS = "h hint  r rerun  space more  p/n previous/next day  b bench  q quit"
NO_KEYS = "no keys are read, because the input is no terminal: Ctrl-C ends"


def has_keys() -> bool:
    """Whether there is somebody at a keyboard."""
    return sys.stdin is not None and sys.stdin.isatty()


def window() -> os.terminal_size:
    """The size of the terminal as it is now: not COLUMNS and LINES, which a shell may have exported
    when the window was another. A terminal that does not know its size says 0."""
    try:
        size = os.get_terminal_size(sys.stdout.fileno())
    except (OSError, ValueError):  # a pipe, or closed
        return shutil.get_terminal_size((80, 24))
    return os.terminal_size((size.columns or 80, size.lines or 24))


class View:
    """What is shown: the last result, a note below it, and at the bottom what is going on."""

    def __init__(self, polling: bool) -> None:
        self.polling = polling
        self.result: DayResult | None = None
        self.old = False
        """Whether a run that takes long is to replace the result."""
        self.doing = ""
        self.note = ""
        self.latency: float | None = None
        self.top = 0
        """The first line that is shown of a report that is taller than the window."""
        self._logged = ""

    def draw(self) -> None:
        columns, rows = window()
        if wanted():
            self._log(columns)
            return
        if not sys.stdout.isatty():
            print(self.text(columns), end="", flush=True)
            return
        lines = fitted(*self._parts(columns), rows, self.top)
        text = "\n".join(f"{line}{CLEAR_LINE}" for line in lines)
        sys.stdout.write(f"{HOME}{text}{CLEAR_REST}")
        sys.stdout.flush()

    def turn(self) -> None:
        """Show the next lines of what does not fit; after the last ones the first again."""
        columns, rows = window()
        body, room = _body(*self._parts(columns), rows)[:2]
        self.top += max(room - 1, 1)
        if len(body) <= room or self.top >= len(body):
            self.top = 0
        self.draw()

    def _log(self, columns: int) -> None:
        """For an editor that reads along: one line after another, none cut or drawn over, once."""
        busy = self.doing.startswith("grading")
        text = "grading …" if busy else self.text(columns).rstrip("\n")
        if text != self._logged:
            print(text, flush=True)
            self._logged = text

    def text(self, columns: int) -> str:
        report, note, status = self._parts(columns)
        return "\n".join([*report, *note, "", *status]) + "\n"

    def _parts(self, columns: int) -> tuple[list[str], list[str], list[str]]:
        """The lines of the report, of the note, and of the status with the keys."""

        def rendered(draw: Callable[[Console], None], style: str = "") -> list[str]:
            out = io.StringIO()
            terminal = sys.stdout.isatty()
            draw(
                Console(
                    file=out, width=columns, highlight=False, force_terminal=terminal, style=style
                )
            )
            return out.getvalue().splitlines()

        def report(console: Console) -> None:
            if self.result is not None and self.old:
                console.print("Of the run before this one:")
            if self.result is not None:
                show(self.result, console)

        def note(console: Console) -> None:
            if self.note:
                console.print()
                console.print(self.note, markup=False)

        def status(console: Console) -> None:
            keys = KEYS if has_keys() else NO_KEYS
            for line in (fitting(self._status(), columns + 1), keys):
                console.print(line, markup=False, style="dim", overflow="ellipsis", no_wrap=True)

        was = "dim" if self.old else ""
        return rendered(report, was), rendered(note), rendered(status)

    def _status(self) -> str:
        if self.doing:
            return self.doing
        how = "polling for changes" if self.polling else "watching"
        if self.result is not None:
            passed = sum(e.status == "passed" for e in self.result.exercises)
            total = len(self.result.exercises)
            how = f"{passed} of {total} pass{'es' * (total == 1)} · {how}"
        return how + (f", {self.latency:.2f} s after the save" if self.latency is not None else "")


def fitted(
    report: list[str], note: list[str], status: list[str], rows: int, top: int = 0
) -> list[str]:
    """As many lines as the window has. The status and the keys stay, and what was asked for; the
    report is shown from line ``top`` on, and begins with its first because what fails first
    matters most."""
    body, room, rest = _body(report, note, status, rows)
    if len(body) > room:
        shown = body[top : top + max(room - 1, 0)]
        left = len(body) - top - len(shown)
        them = "it" if left == 1 else "them"
        more = f"… {counted(left, 'more line')}: space shows {them}"
        more = more if left else "… the end: space starts again"
        body = [*shown, more][:room] if room > 1 else body[top : top + room]
    return [*body, *rest]


def _body(
    report: list[str], note: list[str], status: list[str], rows: int
) -> tuple[list[str], int, list[str]]:
    """What may lose lines, how many lines there are for it, and what stands below it: the note as
    well, where it leaves room for a part of the report."""
    blank = [""] if rows > 6 else []
    bottom = [*blank, *status][-rows:]
    room = rows - len(bottom)
    if note and len(note) + 3 > room:
        return [*note, "", *report], room, bottom
    return report, room - len(note), [*note, *bottom]
