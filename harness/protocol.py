"""What travels through the harness: a request, its events, and the result they fold into.

Plain data with a JSON form, standard library only: the parent process, the child that grades, the
screen and every report speak in these.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

LEARNER = "learner"
SOLUTION = "solution"

Reason = Literal["not started", "wrong", "error", "timeout", "died", "refused", "broken file"]
Status = Literal["passed", "wrong", "not started", "skipped"]


@dataclass(frozen=True)
class Request:
    """Grade one day.

    ``impl`` is whose answers: "learner", "solution", or a folder that holds dayNN.py files.
    ``prior`` is whose earlier days: "auto" (the same, or the reference where unfinished),
    "solution", or "same". ``exercise`` limits the run to one; ``tests`` to those names.
    ``skip`` names tests not to run, ``first`` one that runs before the others; ``first_failure``
    stops at the first one that fails. Without ``drawn`` no test runs whose inputs hypothesis draws:
    what it finds, it finds most of the time.
    """

    track: str
    day: int
    impl: str = LEARNER
    prior: str = "auto"
    exercise: str = ""
    seed: int = 0
    device: str = "auto"
    tests: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()
    first: str = ""
    first_failure: bool = False
    drawn: bool = True
    known_bugs: bool = False
    record_launches: str = ""
    test_file: str = ""
    seconds: float = 600.0
    memory_bytes: int = 0
    passthrough: bool = False
    debug: bool = False
    """For a debugger: nothing is captured, and no test has a time limit."""

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str) -> Request:
        data = json.loads(text)
        return Request(**{**data, "tests": tuple(data["tests"]), "skip": tuple(data["skip"])})


@dataclass(frozen=True)
class Event:
    """One thing that happened in a run.

    ``kind``: "graded" (files and device known), "collected", "started", "passed", "failed",
    "skipped", "explained" (what is known of an exercise that fails, once its tests are done),
    "died" (said by the parent when a child is gone), "finished".
    """

    kind: str
    test: str = ""
    exercise: str = ""
    data: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> str:
        return json.dumps(asdict(self), default=str)

    @staticmethod
    def from_json(text: str) -> Event:
        return Event(**json.loads(text))


@dataclass(frozen=True)
class Failure:
    """Why a test failed, in a learner's words; ``file`` and ``line`` point into the graded file."""

    reason: Reason
    message: str
    file: str = ""
    line: int = 0
    says: str = ""
    """What explains all failing tests of the exercise; it stands with the first of them."""
    plain: str = ""
    """``message`` without the pattern that was seen in this test's values."""
    pattern: str = ""
    """The name of that pattern, or "" where none was seen."""
    holds: list[str] | None = None
    """The patterns that the test's values could have; None where it has no wrong values to show."""
    detail: str = ""
    """The traceback, for ``V=1``."""


@dataclass
class TestResult:
    """One test. ``outcome`` is "passed", "failed", "skipped", or "unfinished" (never reached)."""

    __test__ = False  # its name begins with Test; pytest must not collect it

    name: str
    exercise: str
    outcome: str = "unfinished"
    seconds: float = 0.0
    failure: Failure | None = None
    skipped: str = ""
    measures: dict[str, Any] = field(default_factory=dict)
    printed: str = ""
    """What a failing test printed, or the beginning of it."""
    printed_length: int = 0


@dataclass
class ExerciseResult:
    name: str
    status: Status
    tests: list[TestResult] = field(default_factory=list)
    measures: dict[str, Any] = field(default_factory=dict)

    @property
    def failed(self) -> list[TestResult]:
        return [t for t in self.tests if t.outcome in ("failed", "unfinished")]


CHANGED = "has changed since it passed"
"""How the note of an earlier day's file begins that is not the one that passed."""


@dataclass(frozen=True)
class GradedFile:
    """A file that was graded or imported as an earlier day, and whose it is."""

    module: str
    path: str
    whose: str
    hash: str
    note: str = ""


@dataclass
class DayResult:
    track: str
    day: int
    title: str
    impl: str
    seed: int
    exercises: list[ExerciseResult] = field(default_factory=list)
    files: list[GradedFile] = field(default_factory=list)
    device: dict[str, Any] = field(default_factory=dict)
    gpu: dict[str, Any] = field(default_factory=dict)
    problems: list[Failure] = field(default_factory=list)
    """What stopped the day as a whole: a file that does not import, a missing device."""
    seconds: float = 0.0
    output: str = ""
    """The end of what the child printed."""

    @property
    def passed(self) -> bool:
        return (
            not self.problems
            and bool(self.exercises)
            and all(e.status in ("passed", "skipped") for e in self.exercises)
            and any(e.status == "passed" for e in self.exercises)
        )

    @property
    def tests(self) -> list[TestResult]:
        return [test for exercise in self.exercises for test in exercise.tests]

    @property
    def skipped(self) -> list[TestResult]:
        return [test for test in self.tests if test.outcome == "skipped"]

    def to_json(self) -> str:
        return json.dumps({**asdict(self), "passed": self.passed}, indent=2, default=str)

    @staticmethod
    def from_json(text: str) -> DayResult:
        data = json.loads(text)
        data.pop("passed")

        def test(t: dict[str, Any]) -> TestResult:
            return TestResult(**{**t, "failure": Failure(**t["failure"]) if t["failure"] else None})

        data["exercises"] = [
            ExerciseResult(**{**e, "tests": [test(t) for t in e["tests"]]})
            for e in data["exercises"]
        ]
        data["files"] = [GradedFile(**f) for f in data["files"]]
        data["problems"] = [Failure(**f) for f in data["problems"]]
        return DayResult(**data)


def fold(request: Request, title: str, names: Iterable[str], events: Iterable[Event]) -> DayResult:
    """The result that ``events`` add up to; ``names`` are the day's exercises, in order."""
    result = DayResult(request.track, request.day, title, request.impl, request.seed)
    tests: dict[str, TestResult] = {}
    untouched: set[str] = set()
    explained: dict[str, dict[str, Any]] = {}
    for event in events:
        data = event.data
        if event.kind == "graded":
            result.files = [GradedFile(**f) for f in data["files"]]
            untouched = set(data["untouched"])
        elif event.kind == "device":
            result.device = data["device"]
        elif event.kind == "collected":
            for name, exercise in data["tests"]:
                tests.setdefault(name, TestResult(name, exercise))
        elif event.kind in ("passed", "failed", "skipped"):
            test = tests.setdefault(event.test, TestResult(event.test, event.exercise))
            if test.outcome == "failed":  # a failing tear-down after a failing call says less
                continue
            test.outcome = event.kind
            test.seconds = data.get("seconds", 0.0)
            test.measures = data.get("measures", {})
            test.skipped = data.get("reason", "") if event.kind == "skipped" else ""
            test.failure = Failure(**data["failure"]) if event.kind == "failed" else None
            test.printed = data.get("printed", "")
            test.printed_length = data.get("printed_length", 0)
        elif event.kind == "died" and event.test:
            test = tests.setdefault(event.test, TestResult(event.test, event.exercise))
            test.outcome, test.failure = "failed", Failure(**data["failure"])
        elif event.kind in ("died", "broken"):
            result.problems.append(Failure(**data["failure"]))
        elif event.kind == "explained":
            explained[event.exercise] = data
        elif event.kind == "finished":
            result.gpu = data.get("gpu", {})

    wanted = [n for n in names if not request.exercise or n == request.exercise]
    for name in wanted:
        mine = [t for t in tests.values() if t.exercise == name]
        _keep_what_is_true_of_all(mine, explained.get(name, {}))
        result.exercises.append(
            ExerciseResult(name, _status(name, mine, untouched), mine, _total(mine))
        )
    return result


def _keep_what_is_true_of_all(tests: list[TestResult], explained: dict[str, Any]) -> None:
    """An explanation stays if it is one of all failing tests of the exercise; so does a pattern."""
    failed = [t for t in tests if t.outcome in ("failed", "unfinished")]
    failures = [t.failure for t in failed if t.failure]
    shown = [f for f in failures if f.holds is not None]
    for test in failed:
        pattern = test.failure.pattern if test.failure else ""
        if test.failure and pattern and not all(pattern in (f.holds or ()) for f in shown):
            test.failure = replace(test.failure, message=test.failure.plain, pattern="")
    if explained and {t.name for t in failed} == set(explained["tests"]):
        first = next((t for t in failed if t.failure), None)
        if first is not None and first.failure is not None:
            first.failure = replace(first.failure, says=explained["says"])


def _status(name: str, tests: list[TestResult], untouched: set[str]) -> Status:
    if tests and all(t.outcome == "skipped" for t in tests):
        return "skipped"
    if tests and all(t.outcome in ("passed", "skipped") for t in tests):
        return "passed"
    if name in untouched:
        return "not started"
    failures = [t.failure for t in tests if t.failure]
    if failures and all(f.reason == "not started" for f in failures):
        return "not started"
    return "wrong"


def _total(tests: list[TestResult]) -> dict[str, Any]:
    """Times add up over an exercise's tests; of memory the highest counts."""
    total: dict[str, Any] = {"seconds": sum(t.seconds for t in tests)}
    for test in tests:
        for key, value in test.measures.items():
            if value is None or key == "seconds":
                continue
            if key.endswith("seconds"):
                total[key] = total.get(key, 0.0) + value
            elif key.endswith("bytes"):
                total[key] = max(total.get(key, 0), value)
    return total
