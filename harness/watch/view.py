"""The screen of watch mode: drawn in one write, so that it does not flicker."""

from __future__ import annotations

import io
import os
import shutil
import sys

from rich.console import Console

from harness.protocol import DayResult
from harness.screen.day import show

HOME, CLEAR_LINE, CLEAR_REST = "\x1b[H", "\x1b[K", "\x1b[J"
KEYS = "h hint   r rerun   n next day   b bench   q quit"


def window() -> os.terminal_size:
    """The size of the terminal as it is now: not COLUMNS and LINES, which a shell may have exported
    when the window was another."""
    try:
        return os.get_terminal_size(sys.stdout.fileno())
    except (OSError, ValueError):  # a pipe, or closed
        return shutil.get_terminal_size((80, 24))


class View:
    """What is shown: the last result, what is going on, and below them a note."""

    def __init__(self, polling: bool) -> None:
        self.polling = polling
        self.result: DayResult | None = None
        self.doing = ""
        self.note = ""
        self.latency: float | None = None

    def draw(self) -> None:
        columns, rows = window()
        *body, keys = self.text(columns).splitlines()
        if not sys.stdout.isatty():
            print("\n".join([*body, keys]), flush=True)
            return
        if len(body) > rows - 1:  # keep the head: what fails first matters most
            left_out = len(body) - rows + 2
            body = [*body[: rows - 2], f"… {left_out} more lines: make the window taller"]
        lines = "".join(f"{line}{CLEAR_LINE}\n" for line in body)
        sys.stdout.write(f"{HOME}{lines}{keys}{CLEAR_REST}")
        sys.stdout.flush()

    def text(self, columns: int) -> str:
        out = io.StringIO()
        console = Console(
            file=out, width=columns, highlight=False, force_terminal=sys.stdout.isatty()
        )
        if self.result is not None:
            show(self.result, console)
        if self.note:
            console.print()
            console.print(self.note, markup=False)
        how = "polling for changes" if self.polling else "watching"
        took = f", {self.latency:.2f} s after the save" if self.latency is not None else ""
        console.print()
        console.print(self.doing or f"{how}{took}", markup=False, style="dim")
        console.print(KEYS, markup=False, style="dim")
        return out.getvalue()
