"""Nothing false is said of a known bug: no other bug's sentence is shown for it.

Every bug is graded as a learner's answer would be, with all tests of its exercise: that costs more
than to see it rejected, so only ``make verify SAYS=1`` does it.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from harness.curriculum import (
    Day,
    apply_bug,
    load_bugs,
    read_source,
    write_source,
)
from harness.curriculum.bugs import Bug
from harness.protocol import SOLUTION, DayResult, Request
from harness.run import Launcher, run


@dataclass(frozen=True)
class Said:
    """What a learner with the bug's answer reads: the explanation, and the patterns in values."""

    bug: Bug
    says: str
    patterns: tuple[str, ...]
    seconds: float
    problem: str = ""

    @property
    def own(self) -> bool:
        return self.says == self.bug.says


def what_is_said(day: Day, launcher: Launcher, seed: int = 0, device: str = "auto") -> list[Said]:
    source = read_source(day.solution)
    return [
        _said(bug, _graded(day, bug, source, launcher, seed, device))
        for bug in load_bugs(day.bugs, source).bugs
    ]


def check_says(day: Day, launcher: Launcher, seed: int = 0, device: str = "auto") -> list[str]:
    """The bugs of which something is said that stands for another bug."""
    return false_sentences(day, what_is_said(day, launcher, seed, device))


def false_sentences(day: Day, said: list[Said]) -> list[str]:
    all_says = {one.bug.says: one.bug.number for one in said}
    found = []
    for one in said:
        where = f"bug {one.bug.number} ({one.bug.exercise}, {day.bugs.name}:{one.bug.line})"
        if one.problem:
            found.append(f"{where} cannot be graded: {one.problem}")
        elif one.says in all_says and not one.own:
            found.append(f"{where} is told what bug {all_says[one.says]} says: {one.says}")
    return found


def _graded(
    day: Day, bug: Bug, source: str, launcher: Launcher, seed: int, device: str
) -> DayResult:
    with tempfile.TemporaryDirectory(prefix="says-") as folder:
        write_source(Path(folder) / f"{day.name}.py", apply_bug(source, bug, day.solution))
        request = Request(
            day.track, day.number, folder, SOLUTION, bug.exercise, seed, device, known_bugs=True
        )
        return run(request, launcher)


def _said(bug: Bug, result: DayResult) -> Said:
    failures = [t.failure for t in result.tests if t.failure]
    says = next((f.says for f in failures if f.says), "")
    # The first line of a message is the pattern's sentence, where one was seen.
    patterns = {f.message.splitlines()[0] for f in failures if f.pattern}
    problem = result.problems[0].message if result.problems else ""
    return Said(bug, says, tuple(sorted(patterns)), result.seconds, problem)
