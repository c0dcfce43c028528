"""Learners' habits, put around every reference: each must be rejected where it is wrong.

Whether a habit is wrong in an exercise is found out, not declared: its wrapper notes each call
whose result it changed. A habit that changes nothing in any call that the tests make is not
applicable.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from harness.curriculum import CurriculumError, Day, load_bugs
from harness.mutate.judge import Baseline
from harness.mutate.pool import Pool

HABITS = {
    "zeros": "returns zeros",
    "input": "returns its input",
    "none": "returns None",
    "detached": "right values without a gradient",
    "zero gradient": "right values with zero gradients",
    "float16": "values of float16's accuracy",
    "dtype": "another dtype",
    "host": "the result on the CPU",
    "in place": "computes into its input",
    "alias": "returns its input's memory where a copy is due",
    "examples": "right for the shapes of the file's examples alone",
}
WHY_NOT = {
    "": "the tests never call it",
    "n": "it is a class with neither forward nor __call__",
    "e": "no example of the file calls it",
    "r": "its values are random",
    "d": "its values are the input's in special cases only",
    "s": "it changes nothing in any call that the tests make",
}


@dataclass(frozen=True)
class HabitVerdict:
    exercise: str
    habit: str
    outcome: Literal["rejected", "accepted", "declared", "not applicable"]
    why: str = ""
    """The test that rejects it, why the day declares it right, or why it is not applicable."""
    tests: tuple[str, ...] = ()
    disturbed: tuple[str, ...] = ()
    """Tests that do not count here: they fail on a wrapper that changes nothing."""


def judge_habits(
    pool: Pool, day: Day, source: str, baselines: dict[str, Baseline]
) -> list[HabitVerdict]:
    """Every habit in every exercise whose reference passes its tests."""
    names = [name for name, baseline in baselines.items() if not baseline.problem]
    declared = _declared(day, source, names)

    def verdicts(name: str) -> list[HabitVerdict]:
        return _exercise(pool, day, source, name, baselines[name])

    found = [verdict for several in pool.map(verdicts, names) for verdict in several]
    return [_as_declared(verdict, declared, day) for verdict in found]


def _declared(day: Day, source: str, names: list[str]) -> dict[tuple[str, str], str]:
    """Why, by exercise and habit."""
    if not day.bugs.exists():
        return {}
    found = {}
    for entry in load_bugs(day.bugs, source).habits:
        if entry.habit not in HABITS:
            message = f"there is no habit {entry.habit!r}, only {', '.join(HABITS)}"
            raise CurriculumError(day.bugs, entry.line, message)
        if entry.exercise in names:
            found[entry.exercise, entry.habit] = entry.because
    return found


def _as_declared(
    verdict: HabitVerdict, declared: dict[tuple[str, str], str], day: Day
) -> HabitVerdict:
    """``verdict``, or that the day's bugs file calls the habit right here.

    Raises CurriculumError where it does so though a test rejects the habit.
    """
    because = declared.get((verdict.exercise, verdict.habit))
    if because is None or verdict.outcome == "not applicable":
        return verdict
    if verdict.outcome == "rejected":
        message = f"the habit {verdict.habit!r} of {verdict.exercise} is declared right, "
        raise CurriculumError(day.bugs, 1, f"{message}but {verdict.why} rejects it")
    return replace(verdict, outcome="declared", why=because)


def with_habit(source: str, exercise: str, habit: str, record: Path) -> str:
    """A day's source in which ``exercise`` has ``habit``."""
    return (
        f"{source}\n\nfrom harness.mutate.habit_wrapper import wear as _wear\n\n"
        f"{exercise} = _wear(globals(), {exercise!r}, {habit!r}, {str(record)!r})\n"
    )


def _exercise(
    pool: Pool, day: Day, source: str, name: str, baseline: Baseline
) -> list[HabitVerdict]:
    ceiling = 3 * baseline.ceiling  # a wrapper compares what it changes
    with tempfile.TemporaryDirectory(prefix="habits-") as folder:
        record = Path(folder).resolve() / "calls"

        def grade(habit: str, skip: tuple[str, ...], first: bool) -> tuple[dict[str, str], str]:
            record.write_text("")
            worn = with_habit(source, name, habit, record)
            result = pool.grade(day, worn, name, skip=skip, first_failure=first, seconds=ceiling)
            if result.problems:
                message = result.problems[0].message
                raise RuntimeError(f"{day.key}: {name} with the habit {habit!r}: {message}")
            return {t.name: t.outcome for t in result.tests}, record.read_text()

        # A test that counts bytes or operators sees the wrapper; such tests do not count here.
        seen, _ = grade("control", (), False)
        disturbed = tuple(t for t in baseline.tests if seen.get(t) != "passed")
        if disturbed == baseline.tests:
            why = "every test sees the wrapper"
            return [
                HabitVerdict(name, habit, "not applicable", why, disturbed=disturbed)
                for habit in HABITS
            ]
        found = []
        for habit in HABITS:
            outcomes, calls = grade(habit, disturbed, True)
            found.append(replace(_verdict(name, habit, outcomes, calls), disturbed=disturbed))
        return found


def _verdict(name: str, habit: str, outcomes: dict[str, str], calls: str) -> HabitVerdict:
    failed = next((t for t, outcome in outcomes.items() if outcome == "failed"), None)
    if failed is not None:
        return HabitVerdict(name, habit, "rejected", failed)
    passed = tuple(t for t, outcome in outcomes.items() if outcome == "passed")
    if "c" in calls and not (habit == "alias" and "d" in calls):
        return HabitVerdict(name, habit, "accepted", tests=passed)
    kind = next((letter for letter in "nerds" if letter in calls), "")
    return HabitVerdict(name, habit, "not applicable", WHY_NOT[kind])
