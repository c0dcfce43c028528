"""Runs mutants against the tests of their exercise and says what became of each."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Literal

from harness.curriculum import Day, apply_bug, load_bugs
from harness.curriculum.source import normalised
from harness.mutate.operators import Mutant, mutants_of, same_program
from harness.mutate.pool import Pool
from harness.protocol import DayResult

Outcome = Literal["caught", "hung", "not importable", "survived", "equivalent"]
SHORTEST = 10.0
SLOWER = 10.0
"""A mutant may take SHORTEST seconds, or SLOWER times what the reference takes if that is more."""
SLOW = 1.5
"""Seconds of tests from which it pays to try those first that caught other mutants."""
FIRST = 3


@dataclass(frozen=True)
class Baseline:
    """How the reference does: its tests, their seconds, and what is wrong if it does not pass."""

    tests: tuple[str, ...]
    seconds: float
    wall_seconds: float
    problem: str = ""

    @property
    def ceiling(self) -> float:
        return max(SHORTEST, SLOWER * self.wall_seconds)


@dataclass(frozen=True)
class Verdict:
    """What became of a mutant: the test that caught it, or the tests that all passed."""

    mutant: Mutant
    outcome: Outcome
    caught_by: str = ""
    tests: tuple[str, ...] = ()
    because: str = ""
    seconds: float = 0.0


@dataclass
class Judged:
    """One exercise. ``findings`` are declarations of equivalence that are wrong or unused."""

    exercise: str
    baseline: Baseline
    verdicts: list[Verdict] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)

    def count(self, *outcomes: Outcome) -> int:
        return sum(v.outcome in outcomes for v in self.verdicts)

    @property
    def caught(self) -> int:
        return self.count("caught", "hung", "not importable")

    @property
    def total(self) -> int:
        """Without those that are the same program in other words."""
        return len(self.verdicts) - self.count("equivalent")


def judge_day(pool: Pool, day: Day, source: str, exercise: str = "") -> list[Judged]:
    """Every mutant of the day, or of one exercise; ``source`` is the reference's."""
    names = [e.name for e in day.exercises if exercise in ("", e.name)]
    judged = {n: Judged(n, b) for n, b in zip(names, baselines(pool, day, names), strict=True)}
    killers: dict[str, Counter[str]] = {name: Counter() for name in names}
    because = _equivalents(day, source)

    def verdict(mutant: Mutant) -> Verdict:
        name = mutant.exercise
        return judge(pool, day, mutant, judged[name].baseline, killers[name])

    mutants = [
        m for m in mutants_of(source, day.solution, exercise)
        if not judged[m.exercise].baseline.problem
    ]  # fmt: skip
    for found in pool.map(verdict, mutants):
        one = judged[found.mutant.exercise]
        program = same_program(found.mutant.source) or ""
        reason = because.pop((found.mutant.exercise, program), "")
        if reason and found.outcome == "survived":
            found = Verdict(found.mutant, "equivalent", "", found.tests, reason, found.seconds)
        elif reason:
            one.findings.append(
                f"line {found.mutant.line} is declared equivalent ({found.mutant.after}), "
                f"but {found.caught_by or 'importing it'} catches it"
            )
        one.verdicts.append(found)
    for (name, _), reason in because.items():
        if name in judged and not judged[name].baseline.problem:
            judged[name].findings.append(f"declared equivalent, but no mutant is that: {reason}")
    return list(judged.values())


def baselines(pool: Pool, day: Day, names: list[str]) -> list[Baseline]:
    def measure(name: str) -> Baseline:
        return _baseline(pool.grade(day, None, name, first_failure=False))

    return pool.map(measure, names)


def judge(
    pool: Pool, day: Day, mutant: Mutant, baseline: Baseline, killers: Counter[str]
) -> Verdict:
    """Run the exercise's tests until one fails; where they are slow, likely ones first."""
    likely: tuple[str, ...] = ()
    if baseline.seconds > SLOW:
        likely = tuple(name for name, _ in killers.most_common(FIRST))
    used = 0.0
    for tests, skip in ((likely, ()), ((), likely)) if likely else (((), ()),):
        result = pool.grade(
            day, mutant.source, mutant.exercise,
            tests=tests, skip=skip, seconds=baseline.ceiling,
        )  # fmt: skip
        used += result.seconds
        found = _caught(mutant, result, used)
        if found is not None:
            killers[found.caught_by] += bool(found.caught_by)
            return found
    return Verdict(mutant, "survived", "", baseline.tests, seconds=used)


def _caught(mutant: Mutant, result: DayResult, seconds: float) -> Verdict | None:
    failed = next((t for t in result.tests if t.outcome == "failed"), None)
    if failed is not None:
        hung = failed.failure is not None and failed.failure.reason == "timeout"
        return Verdict(mutant, "hung" if hung else "caught", failed.name, seconds=seconds)
    if result.problems:
        reason = result.problems[0].reason
        hung = reason == "timeout"
        return Verdict(mutant, "hung" if hung else "not importable", seconds=seconds)
    return None


def _baseline(result: DayResult) -> Baseline:
    ran = [t for t in result.tests if t.outcome != "skipped"]
    problem = ""
    if result.problems:
        problem = f"the reference cannot be graded: {result.problems[0].message}"
    elif not ran:
        problem = "no test of it runs on this machine"
    for test in ran:
        if test.outcome != "passed":
            why = test.failure.message.splitlines()[0] if test.failure else "it was not reached"
            problem = problem or f"the reference fails {test.name}: {why}"
    seconds = sum(t.seconds for t in ran)
    return Baseline(tuple(t.name for t in ran), seconds, result.seconds, problem)


def _equivalents(day: Day, source: str) -> dict[tuple[str, str], str]:
    """Why, by exercise and program."""
    if not day.bugs.exists():
        return {}
    found = {}
    for entry in load_bugs(day.bugs, source).equivalents:
        changed = normalised(apply_bug(source, entry, day.bugs))
        found[entry.exercise, same_program(changed) or ""] = entry.because
    return found
