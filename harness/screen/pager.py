"""Long texts a page at a time. Standard library only: ``make help`` needs it before set-up."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import textwrap
from typing import TextIO

_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


def columns(most: int, otherwise: int) -> int:
    """Of the terminal (or what COLUMNS says), ``most`` at most; ``otherwise`` where neither is."""
    width = shutil.get_terminal_size((otherwise, 24)).columns
    return min(width or otherwise, most)


_COMMAND = re.compile(r"\bmake [a-z-]+(?: [A-Z]+=[^\s,;:)]+)+")


def wrapped(text: str, width: int, first: str = "", rest: str = "") -> list[str]:
    """One paragraph in lines of ``width`` at most; neither a word nor a make command is broken."""

    def joined(command: re.Match[str]) -> str:
        fits = len(rest) + len(command[0]) <= width
        return command[0].replace(" ", "\0") if fits else command[0]

    lines = textwrap.wrap(
        _COMMAND.sub(joined, text), width, initial_indent=first, subsequent_indent=rest,
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip
    return [line.replace("\0", " ") for line in lines]


def say(text: str, stream: TextIO | None = None) -> None:
    """Print sentences. On a terminal their lines are broken between words, elsewhere not at all."""
    stream = stream or sys.stdout
    if stream.isatty():
        width, lines = columns(100, 80), []
        for line in text.split("\n"):
            indent = line[: len(line) - len(line.lstrip())]
            lines += wrapped(line.strip(), width, indent, indent) or [""]
        text = "\n".join(lines)
    print(text, file=stream)


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
        if not os.environ.get("LESS"):  # whoever set it up knows its keys
            pager.append(KEYS)
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


KEYS = r"-Ps?ethat is all; :space\: on, .b\: back, q\: end"
"""less's prompt, with another beginning where nothing is left to show. To less "?e" means "at the
end:", a colon "otherwise" and a dot the end of both."""


def _pager() -> list[str]:
    """The first that is installed: what PAGER says, less, more. None where PAGER is cat, which is
    how one says so."""
    if os.environ.get("PAGER") == "cat":
        return []
    for command in (os.environ.get("PAGER", ""), "less", "more"):
        words = shlex.split(command)
        if words and shutil.which(words[0]):
            return words
    return []


def _is_less(pager: list[str]) -> bool:
    return os.path.basename(pager[0]) == "less"
