"""The hints of an exercise as ``make hint`` and ``make watch`` show them."""

from __future__ import annotations

import textwrap

from harness.curriculum import Day, Exercise, deeper_hints


def hint_text(day: Day, exercise: Exercise, taken: int, passed: bool) -> tuple[str, int]:
    """What to show once ``taken`` hints have been asked for, and how many have been then.

    The first depth is what stands in the learner's file already: the count begins with it.
    """
    deeper = deeper_hints(day, exercise)
    in_file = [hint for hint in (*exercise.todos, *exercise.hints) if hint not in deeper]
    hints = ([f"In {day.file.name}: {' '.join(in_file)}"] if in_file else []) + deeper
    first = min(len(in_file), 1)
    asked = min(taken + 1, len(hints) - first)
    depth = first + asked
    lines = [f"{exercise.name}, hint {depth} of {len(hints)}:", ""]
    for number, hint in enumerate(hints[:depth], 1):
        lines += textwrap.wrap(
            f"{number}. {hint}", 78, initial_indent="  ", subsequent_indent="     ",
            break_long_words=False, break_on_hyphens=False,
        )  # fmt: skip
    if depth == len(hints):
        force = "" if passed else " FORCE=1"
        command = f"make solution TRACK={day.track} DAY={day.number}{force}"
        lines += ["", f"That was the last. The reference: {command}"]
    return "\n".join(lines), max(taken, asked)
