"""``make help``: the targets of the Makefile with their comments. Runs on any Python 3, because it
is asked for before anything is set up: ``python3 -m harness.screen.help Makefile``."""

from __future__ import annotations

import re
import sys
import textwrap

from harness.screen.pager import columns, page

INDENT = 17
TARGET = re.compile(r"^([a-z-]+(?: [a-z-]+)*):.*?## (?:(\[?[A-Z]+=.*?): )?(.*)$")


def text(makefile: str, width: int) -> str:
    """A paragraph a target: its name, what it does, and below that what it takes."""
    lines = []
    for line in makefile.splitlines():
        match = TARGET.match(line)
        if match is None:
            continue
        names, options, does = match.groups()
        heads = [f"make {name}," for name in names.split()]  # one text for all of them
        heads[-1] = heads[-1][:-1]
        said = textwrap.wrap(does, width - INDENT, break_on_hyphens=False)
        if options:
            said += textwrap.wrap(
                options, width - INDENT, break_on_hyphens=False, break_long_words=False
            )
        for at in range(max(len(heads), len(said))):
            head = heads[at] if at < len(heads) else ""
            rest = said[at] if at < len(said) else ""
            lines.append(f"{head:<{INDENT}}{rest}".rstrip())
    return "\n".join(lines)


if __name__ == "__main__":
    with open(sys.argv[1], encoding="utf-8") as file:
        page(text(file.read(), columns(100, 80)))
