"""Wrong answers that people write, and the causes that must or must not be named for them."""

from __future__ import annotations

import re
from dataclasses import dataclass

from harness.curriculum import Day


@dataclass(frozen=True)
class Wrong:
    """The reference of a day with ``changes``, pairs of text and what stands there instead.

    ``cause``: words that must be told. ``never``: words that must not, because they name another
    cause. A known bug's sentence is told only where ``cause`` is a part of it. ``exercise``: the
    one that is looked at; with ``whole`` the other exercises of the day are graded as well.
    ``line``: what stands in the line that a failure points to.
    """

    name: str
    day: Day
    exercise: str
    changes: tuple[tuple[str, str], ...]
    cause: str = ""
    never: tuple[str, ...] = ()
    whole: bool = False
    line: str = ""

    def source(self) -> str:
        text = self.day.solution.read_text(encoding="utf-8")
        for old, new in self.changes:
            places = [m.start() for m in re.finditer(re.escape(old), text)]
            in_code = [at for at in places if not _comment(text, at)]
            assert len(in_code) == 1, f"{self.name}: {len(in_code)} times {old!r}"
            text = text[: in_code[0]] + new + text[in_code[0] + len(old) :]
        return text


def _comment(text: str, at: int) -> bool:
    """A hint may quote the code."""
    return text[text.rfind("\n", 0, at) + 1 :].lstrip(" ").startswith("#")
