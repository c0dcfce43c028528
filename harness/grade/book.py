"""The gradebook as plain data: who has how many points for what, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from harness.curriculum import Day
from harness.grade.submissions import Key, Submission
from harness.grade.task import Record
from harness.grade.weights import Weights
from harness.protocol import DayResult, ExerciseResult

NOT_HANDED_IN = "not handed in"
NOT_GRADED = "not graded"
"""The harness failed at it, not the student: it is tried again by the next run."""


@dataclass(frozen=True)
class ExerciseGrade:
    name: str
    status: str
    """As in ``ExerciseResult``; "refused" where the day as a whole does not count; or one of the
    words above."""
    points: float
    out_of: float
    seconds: float = 0.0
    peak_bytes: int = 0
    log: str = ""
    """Why it has no points, in one paragraph."""


@dataclass(frozen=True)
class DayGrade:
    track: str
    day: int
    title: str
    exercises: list[ExerciseGrade]
    sha256: str = ""
    path: str = ""
    device: str = ""
    seconds: float = 0.0
    sandbox: list[str] = field(default_factory=list)
    machine: str = ""
    when: str = ""
    log: str = ""

    @property
    def key(self) -> Key:
        return self.track, self.day

    @property
    def points(self) -> float:
        return sum(exercise.points for exercise in self.exercises)

    @property
    def out_of(self) -> float:
        return sum(exercise.out_of for exercise in self.exercises)


@dataclass(frozen=True)
class Student:
    name: str
    source: str
    days: list[DayGrade]
    log: list[str]

    @property
    def points(self) -> float:
        return sum(day.points for day in self.days)

    @property
    def out_of(self) -> float:
        return sum(day.out_of for day in self.days)


@dataclass(frozen=True)
class Gradebook:
    days: list[Day]
    students: list[Student]
    seeds: tuple[int, int]
    left: list[str] = field(default_factory=list)
    """What lay among the submissions and is none."""

    def to_plain(self) -> dict[str, Any]:
        students = [
            {**asdict(s), "points": round(s.points, 4), "out_of": round(s.out_of, 4)}
            for s in self.students
        ]
        return {"seeds": list(self.seeds), "days": [f"{d.track}/{d.number}" for d in self.days],
                "students": students, "left_out": self.left}  # fmt: skip


def make_book(
    submissions: Sequence[Submission],
    days: Sequence[Day],
    records: Mapping[tuple[str, str, int], Record],
    failures: Mapping[tuple[str, str, int], str],
    weights: Weights,
    seeds: tuple[int, int],
    left: list[str],
) -> Gradebook:
    """``records`` and ``failures`` are by student, track and day."""
    students = []
    for submission in submissions:
        grades = []
        for day in days:
            key = (submission.student, day.track, day.number)
            found = submission.days.get((day.track, day.number))
            if found is None:
                grades.append(_without(day, weights, NOT_HANDED_IN, ""))
            elif (record := records.get(key)) is not None:
                grades.append(_graded(day, weights, record, found.path))
            else:
                why = failures.get(key, "the run was stopped before")
                grades.append(_without(day, weights, NOT_GRADED, why))
        students.append(Student(submission.student, submission.source, grades, submission.log))
    return Gradebook(list(days), students, seeds, left)


def _without(day: Day, weights: Weights, status: str, why: str) -> DayGrade:
    exercises = [
        ExerciseGrade(e.name, status, 0.0, weights.of(day, e.name), log=why) for e in day.exercises
    ]
    return DayGrade(day.track, day.number, day.title, exercises, log=why)


def _graded(day: Day, weights: Weights, record: Record, path: str) -> DayGrade:
    result = record.result
    by_name = {exercise.name: exercise for exercise in result.exercises}
    exercises = [
        _exercise(by_name.get(e.name), e.name, weights.of(day, e.name), result)
        for e in day.exercises
    ]
    return DayGrade(
        day.track, day.number, day.title, exercises, record.sha256, path,
        str(result.device.get("name", "")), record.seconds, record.sandbox, record.machine,
        record.when, log_of(result),
    )  # fmt: skip


def _exercise(
    found: ExerciseResult | None, name: str, worth: float, result: DayResult
) -> ExerciseGrade:
    if found is None:
        return ExerciseGrade(name, "wrong", 0.0, worth, log="none of its tests was run.")
    measures = found.measures
    seconds = float(measures.get("seconds", 0.0))
    peak = int(
        measures.get("gpu_peak_bytes") or measures.get("peak_bytes")
        or measures.get("rss_bytes") or 0
    )  # fmt: skip
    said = [t.failure.message for t in found.failed if t.failure]
    log = said[0] if said else ""
    if len(said) > 1:
        log += f" (and {len(said) - 1} more of {len(found.tests)} tests failed)"
    if result.problems:  # what stopped the day, or was done to what grades it, counts for all of it
        status = "refused" if found.status == "passed" else found.status
        return ExerciseGrade(name, status, 0.0, worth, seconds, peak, result.problems[0].message)
    if found.status == "skipped":
        why = found.tests[0].skipped if found.tests else ""
        return ExerciseGrade(name, "skipped", 0.0, 0.0, seconds, peak, f"does not count: {why}")
    points = worth if found.status == "passed" else 0.0
    return ExerciseGrade(name, found.status, points, worth, seconds, peak, log)


def log_of(result: DayResult) -> str:
    """All that the grading said, as text."""
    lines = [f"{result.track} day {result.day}: {result.title}"]
    lines += [f"  {problem.reason}: {problem.message}" for problem in result.problems]
    for exercise in result.exercises:
        passed = sum(test.outcome == "passed" for test in exercise.tests)
        lines.append(f"{exercise.name}: {exercise.status}, {passed} of {len(exercise.tests)} tests")
        for test in exercise.tests:
            if test.failure is not None:
                place = f"{test.failure.file}:{test.failure.line}: " if test.failure.file else ""
                message = test.failure.message.replace("\n", "\n      ")
                lines.append(f"  {test.name}\n      {place}{message}")
            elif test.outcome != "passed":
                lines.append(f"  {test.name}: {test.outcome} {test.skipped}".rstrip())
    return "\n".join(lines)
