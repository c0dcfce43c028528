"""The hints of an exercise as ``make hint`` and ``make watch`` show them."""

from __future__ import annotations

from harness.curriculum import Day, Exercise, deeper_hints
from harness.screen.pager import wrapped


def hint_text(day: Day, exercise: Exercise, taken: int, passed: bool) -> tuple[str, int]:
    """What to show once ``taken`` hints have been asked for, and how many have been then.

    The first depth is what stands in the learner's file already: the count begins with it.
    """
    deeper = deeper_hints(day, exercise)
    in_file = [hint for hint in (*exercise.todos, *exercise.hints) if hint not in deeper]
    hints = ([f"In {day.file.name}: " + "\n".join(in_file)] if in_file else []) + deeper
    first = min(len(in_file), 1)
    asked = min(taken + 1, len(hints) - first)
    depth = first + asked
    lines = [f"{exercise.name}, hint {depth} of {len(hints)}:", ""]
    for number, hint in enumerate(hints[:depth], 1):
        for at, part in enumerate(hint.split("\n")):  # what the file says in several comments
            lines += wrapped(part, 78, "     " if at else f"  {number}. ", "     ")
    if depth == len(hints):
        force = "" if passed else " FORCE=1"
        command = f"make solution TRACK={day.track} DAY={day.number}{force}"
        lines += ["", f"That was the last. The reference: {command}"]
    return "\n".join(lines), max(taken, asked)
