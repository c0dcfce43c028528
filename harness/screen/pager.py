"""Long texts a page at a time. Standard library only: ``make help`` needs it before set-up."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys

_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


def columns(most: int, otherwise: int) -> int:
    """Of the terminal (or what COLUMNS says), ``most`` at most; ``otherwise`` where neither is."""
    width = shutil.get_terminal_size((otherwise, 24)).columns
    return min(width or otherwise, most)


def page(text: str) -> None:
    """Print ``text``; where it is taller than the terminal, through the user's pager or less.

    Of the pagers only less is given the escapes of colours: it alone is sure to take them.
    """
    text = text.rstrip("\n") + "\n"
    rows = shutil.get_terminal_size((80, 24)).lines
    pager = _pager() if sys.stdin.isatty() and sys.stdout.isatty() else []
    if not pager or text.count("\n") < rows:
        sys.stdout.write(text)
        return
    if _is_less(pager):
        pager.append("-R")
    else:
        text = _ESCAPES.sub("", text)
    encoding = sys.stdout.encoding or "utf-8"
    environment = {"LESSCHARSET": encoding.lower(), **os.environ}
    # Ctrl-C is the pager's; a handler, and not SIG_IGN, because the pager would inherit that.
    before = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        subprocess.run(pager, input=text.encode(encoding, "replace"), env=environment, check=False)
    finally:
        signal.signal(signal.SIGINT, before)


def _pager() -> list[str]:
    """The first that is installed: what PAGER says, less, more."""
    for command in (os.environ.get("PAGER", ""), "less", "more"):
        words = shlex.split(command)
        if words and shutil.which(words[0]):
            return words
    return []


def _is_less(pager: list[str]) -> bool:
    return os.path.basename(pager[0]) == "less"
