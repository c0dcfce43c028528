"""Toy days with weak and strong tests: what is caught, what survives, what is declared the same."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from harness.mutate import judge
from harness.mutate.operators import Mutant
from harness.protocol import DayResult, ExerciseResult, Failure, TestResult
from tests.support.toy import TESTS, Toy

BLIND = TESTS.replace("x + x)", "x + x, factor=1e20)")
DECLARED = """
[[equivalent]]
exercise = "double"
find = "2.0 * x + 0.0"
replace = "2.0 * x"
because = "Nothing is added, so it is the same value."

[[equivalent]]
exercise = "double"
find = "2.0 * x"
replace = "x"
because = "This one is wrong: the result is halved."

[[equivalent]]
exercise = "double"
find = "+ 0.0"
replace = "+ 0.0 * x"
because = "This one is unused: no operator makes it."
"""
LOOP = """\
    n = 0
    out = 0.0 * x
    while n < 2:
        out = out + x
        n += 1
    return out
"""
WRONG = TESTS.replace("x + x)", "x + x + 1)")
COMMAND = """
import json
from collections import Counter
from harness.curriculum import find_day, read_source
from harness.mutate import command, judge, operators, pool, report

with pool.Pool("autodiff") as one:
    found = {}
    for number, habits in ((1, True), (2, True), (3, False), (5, False)):
        day = find_day("autodiff", number)
        found[day.key] = report.json_of(command.mutate_day(one, day, habits=habits))
    day = find_day("autodiff", 4)
    baseline, = judge.baselines(one, day, ["double"])
    endless = [m for m in operators.mutants_of(read_source(day.solution), day.solution)
               if (m.operator, m.before) == ("removed", "n += 1")]
    found["hang"] = one.map(
        lambda m: judge.judge(one, day, m, baseline, Counter()).outcome, endless)
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def days(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """One run over a track of toy days."""
    toy = Toy(tmp_path_factory.mktemp("toy"))
    toy.add_day(1)
    toy.add_day(2, tests=BLIND)
    toy.add_day(3, reference=("return 2.0 * x", "return 2.0 * x + 0.0"), bugs=DECLARED)
    toy.add_day(
        4,
        reference=("    return 2.0 * x\n", LOOP),
        tests=TESTS.replace('"double")', '"double", seconds=0.5)'),
        bugs="",
    )
    toy.add_day(5, tests=WRONG)
    done = toy.run("-c", COMMAND)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)  # type: ignore[no-any-return]


def only(report: dict[str, Any]) -> dict[str, Any]:
    assert len(report["exercises"]) == 1
    return report["exercises"][0]  # type: ignore[no-any-return]


def test_strong_tests_catch_every_mutant_and_every_habit(days: dict[str, Any]) -> None:
    report = days["autodiff/01"]
    assert report["passed"], report
    assert report["caught"] == report["total"] >= 4
    outcomes = {h["habit"]: h["outcome"] for h in report["habits"]}
    wrong = {"zeros", "input", "none", "float16", "dtype", "in place", "examples"}
    assert {habit for habit, outcome in outcomes.items() if outcome == "rejected"} == wrong
    assert "accepted" not in outcomes.values()


def test_habits_that_are_no_mistake_say_why(days: dict[str, Any]) -> None:
    why = {h["habit"]: h["why"] for h in days["autodiff/01"]["habits"]}
    assert why["zero gradient"] == "it changes nothing in any call that the tests make"
    assert why["alias"] == "its values are the input's in special cases only"
    assert why["zeros"] == "test_values"


def test_weak_tests_let_mutants_and_habits_through(days: dict[str, Any]) -> None:
    report = days["autodiff/02"]
    assert not report["passed"]
    survivors = only(report)["survivors"]
    assert "return x" in [s["after"] for s in survivors]
    assert any("-    return 2.0 * x\n+    return x" in s["diff"] for s in survivors)
    assert only(report)["tests"] == ["test_values", "test_nothing_to_double"]
    accepted = {h["habit"] for h in report["habits"] if h["outcome"] == "accepted"}
    assert accepted >= {"zeros", "input", "float16"}


def test_declared_equivalents_are_matched_by_their_text(days: dict[str, Any]) -> None:
    report = days["autodiff/03"]
    assert only(report)["outcomes"]["equivalent"] == 1
    assert only(report)["equivalent"][0]["after"] == "return 2.0 * x"
    assert "2.0 * x" not in [s["after"].removeprefix("return ") for s in only(report)["survivors"]]
    wrong, unused = sorted(report["problems"], key=lambda text: "no mutant" in text)
    assert "declared equivalent (return x + 0.0), but test_values catches it" in wrong
    assert "no mutant is that: This one is unused" in unused
    assert not report["passed"]


def test_a_hang_is_caught(days: dict[str, Any]) -> None:
    assert days["hang"] == ["hung"]


def test_a_reference_that_fails_is_not_judged_by(days: dict[str, Any]) -> None:
    report = days["autodiff/05"]
    assert report["total"] == 0
    assert not report["passed"]
    assert "the reference fails test_values" in report["problems"][0]


MUTANT = Mutant("double", "constant", 1, "return 2.0 * x", "return 4.0 * x", "")


def outcome(*tests: TestResult, problem: Failure | None = None) -> judge.Verdict | None:
    result = DayResult("autodiff", 1, "Toys", "folder", 0)
    result.exercises.append(ExerciseResult("double", "wrong", list(tests)))
    result.problems += [problem] if problem else []
    return judge._caught(MUTANT, result, 1.0)


def test_what_cannot_be_imported_is_told_apart() -> None:
    found = outcome(problem=Failure("broken file", "cannot be imported: no"))
    assert found is not None and found.outcome == "not importable"
    late = outcome(problem=Failure("timeout", "the file was still being imported"))
    assert late is not None and late.outcome == "hung"
    assert outcome(TestResult("test_values", "double", "passed")) is None


class SlowTests:
    """A pool whose runs pass, except for one test; it notes which tests were asked for."""

    def __init__(self, failing: str) -> None:
        self.failing = failing
        self.asked: list[tuple[tuple[str, ...], tuple[str, ...]]] = []

    def grade(self, day: Any, source: Any, name: str, *, tests: Any, skip: Any, **_: Any) -> Any:
        self.asked.append((tests, skip))
        ran = [t for t in "abcde" if (not tests or t in tests) and t not in skip]
        failure = Failure("wrong", "no")
        results = [
            TestResult(t, name, "failed", failure=failure)
            if t == self.failing
            else TestResult(t, name, "passed")
            for t in ran
        ]
        return DayResult("x", 1, "X", "", 0, [ExerciseResult(name, "wrong", results)])


def test_slow_tests_that_caught_others_come_first() -> None:
    baseline = judge.Baseline(tuple("abcde"), judge.SLOW + 1, 3.0)
    killers = Counter({"a": 1, "b": 2, "c": 3, "d": 4})
    pool: Any = SlowTests("d")
    day: Any = None
    assert judge.judge(pool, day, MUTANT, baseline, killers).caught_by == "d"
    assert pool.asked == [(("d", "c", "b"), ())]
    pool = SlowTests("e")
    assert judge.judge(pool, day, MUTANT, baseline, killers).caught_by == "e"
    assert pool.asked == [(("d", "c", "b"), ()), ((), ("d", "c", "b"))]
    assert judge.judge(SlowTests(""), day, MUTANT, baseline, killers).outcome == "survived"  # type: ignore[arg-type]


def test_the_time_a_mutant_may_take() -> None:
    assert judge.Baseline((), 0.1, 0.5).ceiling == judge.SHORTEST
    assert judge.Baseline((), 0.1, 6.0).ceiling == 60.0


def test_command_refuses_half_an_address(tmp_path: Path) -> None:
    from harness.mutate.command import mutate_days
    from harness.usage import Usage

    for arguments in (("", "13", "", ""), ("triton", "", "softmax", ""), ("", "", "", "none")):
        with pytest.raises(Usage):
            mutate_days(*arguments, as_json=False)
