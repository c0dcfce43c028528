"""The tool that grades, measures and proves the days; ``python -m harness --help`` says how."""

from __future__ import annotations


def main(file: str) -> None:
    """Grade the day in ``file``: what ``python day13.py`` does."""
    from harness.cli import grade_file

    raise SystemExit(grade_file(file))


def days_of(file: str) -> None:
    """Let a program at the end of the day in ``file`` import days: this one, and those before it.

    As when the day is graded, an earlier one that is not finished is its reference, and said so.
    """
    import importlib
    import sys
    from pathlib import Path

    from harness.curriculum import Day
    from harness.grading import finder
    from harness.protocol import LEARNER, SOLUTION

    path = Path(file).resolve()
    impl = SOLUTION if path.parent.name == "solutions" else LEARNER
    track = path.parent.parent.name if impl == SOLUTION else path.parent.name
    finder.enter(finder.Choice((track, int(path.stem.removeprefix("day"))), impl))
    importlib.import_module(Day(track, int(path.stem.removeprefix("day"))).module)
    for graded in finder.install().graded_files():
        if graded.note:
            print(graded.note, file=sys.stderr)
