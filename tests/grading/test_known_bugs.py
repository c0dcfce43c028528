"""The search for what explains an exercise's failing tests, each step by itself."""

from __future__ import annotations

import math
import sys
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from harness.grading import finder, known_bugs
from harness.grading.events import Events
from harness.grading.evidence import Outcome
from harness.grading.finder import Choice
from harness.grading.known_bugs import (
    Explainer,
    _at_most,
    _Exercise,
    _in_place_of,
    _one_argument,
    _parts,
    _silent,
    _used_by,
)
from harness.grading.limits import OutOfTime
from harness.grading.replay import REPLAY, Replay
from harness.protocol import Event

WORDS = Outcome("AssertionError", "no")
ZEROS = Outcome("Mismatch", "", "x", np.zeros(3), np.ones(3), np.zeros(3))


def one_test(
    failed: Outcome | None, seconds: float = 0.0, name: str = "t", **parameters: Any
) -> Any:
    return SimpleNamespace(
        failed=failed, seconds=seconds, name=name, function=name.split("[")[0],
        parameters=parameters,
    )  # fmt: skip


def exercise(*tests: Any) -> _Exercise:
    return _Exercise(SimpleNamespace(), list(tests))  # type: ignore[arg-type]


def test_tests_are_parted_and_the_fast_come_first() -> None:
    slow, fast = one_test(WORDS, 2.0), one_test(WORDS, 1.0)
    right, quick = one_test(None, 3.0), one_test(None, 0.5)
    one = exercise(slow, right, fast, quick)
    assert one.failed == [fast, slow]
    assert one.passed == [quick, right]


def telling(failed: int, passed: int) -> bool:
    return exercise(*[one_test(ZEROS)] * failed, *[one_test(None)] * passed).telling


def test_which_tests_fail_can_tell_what_values_do_not() -> None:
    assert exercise(one_test(ZEROS), one_test(WORDS)).telling
    assert exercise(one_test(None), one_test(WORDS)).telling
    assert not telling(1, 9)
    # Five of ten can be chosen in 252 ways, which is less than eight bits.
    assert not telling(5, 5)
    assert not telling(6, 5) and telling(5, 6)
    assert telling(1, 255) and not telling(1, 254)


# The plugin -------------------------------------------------------------------------------------


class Stash(dict):  # type: ignore[type-arg]
    pass


def report_of(
    explainer: Explainer,
    error: BaseException | None,
    when: str = "call",
    replay: bool = True,
    fixtures: tuple[str, ...] = (),
) -> Any:
    graded = SimpleNamespace(name="day")
    stash = Stash({REPLAY: Replay(graded, "double", True, None)} if replay else {})  # type: ignore[arg-type]
    item = SimpleNamespace(
        stash=stash, name="t[3]", originalname="t", funcargs=dict.fromkeys(fixtures, "value"),
        _fixtureinfo=SimpleNamespace(argnames=fixtures), callspec=SimpleNamespace(params={"n": 3}),
    )  # fmt: skip
    report = SimpleNamespace(when=when, failed=error is not None, duration=0.5)
    call = SimpleNamespace(excinfo=SimpleNamespace(value=error) if error else None)
    hook = explainer.pytest_runtest_makereport(item, call)
    next(hook)
    with pytest.raises(StopIteration) as stopped:
        hook.send(report)
    assert stopped.value.value is report
    return explainer._exercises.get("double")


def explainer() -> Explainer:
    return Explainer(Events(None))


def test_what_is_kept_of_a_test() -> None:
    one = report_of(explainer(), AssertionError("no"))
    (test,) = one.tests
    assert (test.name, test.function, test.seconds) == ("t[3]", "t", 0.5)
    assert test.failed == WORDS and test.parameters == {"n": 3} and test.inplace
    assert not one.lost and one.graded.name == "day"
    (test,) = report_of(explainer(), None).tests
    assert test.failed is None
    for error in (pytest.fail.Exception("no"), ValueError("no")):
        assert len(report_of(explainer(), error).tests) == 1


def test_what_cannot_be_repeated_explains_nothing() -> None:
    for error in (OutOfTime("late"), SystemExit(1), RuntimeError("CUDA error: device-side assert")):
        one = report_of(explainer(), error)
        assert one.lost and not one.tests
    assert report_of(explainer(), ValueError("no"), fixtures=("server",)).lost
    one = report_of(explainer(), None, fixtures=("server",))
    assert not one.lost and not one.tests
    one = report_of(explainer(), ValueError("no"), when="setup")
    assert one.lost and not one.tests
    assert report_of(explainer(), ValueError("no"), when="teardown").lost


def test_what_is_no_graded_test_is_passed_over() -> None:
    assert report_of(explainer(), ValueError("no"), replay=False) is None
    assert report_of(explainer(), None, when="setup") is None


def test_a_loss_is_not_forgotten() -> None:
    all_of_them = explainer()
    report_of(all_of_them, OutOfTime("late"))
    one = report_of(all_of_them, None)
    assert one.lost and len(one.tests) == 1
    one = report_of(all_of_them, ValueError("no"), fixtures=("server",))
    assert one.lost


def test_the_inputs_are_let_go() -> None:
    calls: list[str] = []
    rng = SimpleNamespace(reset=lambda: calls.append("reset"))
    stash = Stash({REPLAY: Replay(SimpleNamespace(), "double", False, None)})  # type: ignore[arg-type]
    item = SimpleNamespace(
        stash=stash, name="t", originalname="t", funcargs={"rng": rng},
        _fixtureinfo=SimpleNamespace(argnames=("rng",)),
    )  # fmt: skip
    hook = explainer().pytest_runtest_makereport(item, SimpleNamespace(excinfo=None))
    next(hook)
    with pytest.raises(StopIteration):
        hook.send(SimpleNamespace(when="call", failed=False, duration=0.5))
    assert calls == ["reset"]


class Sent(Events):
    def __init__(self) -> None:
        super().__init__(None)
        self.events: list[Event] = []

    def send(self, event: Event) -> None:
        self.events.append(event)


def finished(
    monkeypatch: pytest.MonkeyPatch, explanation: Any, **exercises: _Exercise
) -> list[Event]:
    sent = Sent()
    one = Explainer(sent)
    one._exercises = exercises
    monkeypatch.setattr(known_bugs, "_explanation", explanation)
    one.pytest_sessionfinish()
    return sent.events


def graded_exercise(*tests: Any, lost: bool = False, **state: set[str]) -> _Exercise:
    states = {"untouched": set(), "missing": set(), "borrowed": set(), **state}
    return _Exercise(SimpleNamespace(**states), list(tests), lost)  # type: ignore[arg-type]


def test_what_explains_is_sent_with_the_tests_it_explains(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, list[str]]] = []

    def explanation(name: str, one: _Exercise, others: list[str]) -> str:
        asked.append((name, others))
        return "because" if name == "a" else ""

    wrong, right = one_test(WORDS, 1.0, "w"), one_test(None, 0.0, "r")
    events = finished(
        monkeypatch, explanation,
        c=graded_exercise(wrong), a=graded_exercise(wrong, right, one_test(WORDS, 0.5, "v")),
        fine=graded_exercise(right), lost=graded_exercise(wrong, lost=True),
        untouched=graded_exercise(wrong, untouched={"untouched"}),
        missing=graded_exercise(wrong, missing={"missing"}),
        borrowed=graded_exercise(wrong, borrowed={"borrowed"}),
    )  # fmt: skip
    assert events == [
        Event("explained", exercise="a", data={"says": "because", "tests": ["v", "w"]})
    ]
    others = ["borrowed", "missing", "untouched"]
    assert asked == [("c", ["a", *others]), ("a", [*others[:1], "c", *others[1:]])]


def test_results_stand_without_an_explanation(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def breaks(*_: Any) -> str:
        print("not shown")
        raise ValueError("shown")

    def late(*_: Any) -> str:
        raise OutOfTime("late")

    one = graded_exercise(one_test(WORDS))
    assert finished(monkeypatch, breaks, a=one) == []
    captured = capsys.readouterr()
    assert "not shown" not in captured.out and "ValueError: shown" in captured.err
    assert finished(monkeypatch, late, a=one) == []
    assert capsys.readouterr() == ("", "")


def test_the_whole_search_has_a_limit_too(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, limits = [0.0], []
    monkeypatch.setattr(known_bugs.time, "process_time", lambda: clock[0])

    def limit(seconds: float) -> Any:
        limits.append(seconds)
        return _silent()

    def explanation(*_: Any) -> str:
        clock[0] += 7.0
        return ""

    monkeypatch.setattr(known_bugs, "_at_most", limit)
    every = {name: graded_exercise(one_test(WORDS)) for name in "abcde"}
    finished(monkeypatch, explanation, **every)
    assert limits == [8.0, 8.0, 8.0, 3.0, -4.0]
    # All tests of an exercise are run again: what they take is beside the limit.
    limits.clear()
    every["a"] = graded_exercise(one_test(WORDS, 4.0), one_test(None, 2.0))
    every["e"] = graded_exercise(one_test(WORDS, 1.0))
    finished(monkeypatch, explanation, **every)
    assert limits == [14.0, 8.0, 8.0, 8.0, 3.0]


def test_what_the_answers_print_is_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    with _silent():
        print("out")
        print("err", file=sys.stderr)
    print("after")
    assert capsys.readouterr() == ("after\n", "")


def test_too_little_time_is_none() -> None:
    with pytest.raises(OutOfTime), _at_most(0.49):
        raise AssertionError("it begins")
    began = time.monotonic()
    with _at_most(0.5):
        pass
    with pytest.raises(OutOfTime), _at_most(0.5):
        time.sleep(30)  # it waits, and the clock ends it
    assert time.monotonic() - began < 15


# Its steps --------------------------------------------------------------------------------------

DAY = """
def double(x):
    return helper(x)

def helper(x):
    return twice(x) + LIMIT

async def twice(x):
    return 2 * x

class Other:
    def f(self):
        return double(3)

LIMIT = 3

def alone(x):
    return x
"""


def test_what_an_exercise_is_built_on(tmp_path: Path) -> None:
    file = tmp_path / "day01.py"
    file.write_text(DAY)

    def calls() -> None:
        alone(1)  # type: ignore[name-defined]  # noqa: F821

    def used(name: str, function: Any = lambda: None) -> set[str]:
        test = one_test(WORDS)
        test.item = SimpleNamespace(function=function)
        one = exercise(test)
        one.graded = SimpleNamespace(file=file)  # type: ignore[assignment]
        return _used_by(name, one)

    assert used("double") == {"double", "helper", "twice"}
    assert used("Other") == {"Other", "double", "helper", "twice"}
    assert used("alone") == {"alone"}
    assert used("twice", calls) == {"twice", "alone"}


def test_another_day_stands_in_its_place_for_a_while() -> None:
    mine, other, tests = ModuleType("mine"), ModuleType("other"), ModuleType("tests")
    vars(mine).update(double=1000, helper="h", LIMIT=3.5)
    vars(other).update(double=2000)
    vars(tests).update(day=mine, double=mine.double, again=mine.double, helper="another", LIMIT=3.5)
    before = dict(vars(tests))
    with pytest.raises(ValueError), _in_place_of(mine, other, tests):
        assert tests.day is other and tests.double == 2000
        assert tests.again == 1000  # under another name nobody knows whose it is
        assert tests.helper == "another"
        assert tests.LIMIT == 3.5  # the other one has none
        raise ValueError
    assert vars(tests) == before


def test_the_days_that_it_is_built_on_go_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def loaded() -> tuple[ModuleType, ModuleType]:
        earlier, day = ModuleType("tracks.autodiff.day24"), ModuleType("tracks.autodiff.day35")
        exec("def grad(): pass\nLIMIT = 1000\ndef gone(): pass", vars(earlier))
        return earlier, day

    (day24, mine), (other24, other), tests = loaded(), loaded(), ModuleType("tests")
    del other24.gone
    choices = {
        Choice(impl=impl): {m.__name__: m for m in modules}
        for impl, modules in (("mine", (day24, mine)), ("other", (other24, other)))
    }
    monkeypatch.setattr(finder._finder, "modules", choices)
    vars(tests).update(day24=day24, grad=day24.grad, gone=day24.gone, limit=day24.LIMIT, log=math)
    before = dict(vars(tests))
    with _in_place_of(mine, other, tests):
        assert tests.day24 is other24 and tests.grad is other24.grad
        assert tests.gone is day24.gone  # the other one has none
        assert tests.limit == 1000 and tests.log is math
    assert vars(tests) == before


def parted(failed: list[dict[str, Any]], passed: list[dict[str, Any]], name: str = "t") -> str:
    tests = [one_test(WORDS, 0.0, name, **p) for p in failed]
    return _one_argument(exercise(*tests, *[one_test(None, 0.0, name, **p) for p in passed]))


def test_the_argument_that_parts_the_tests() -> None:
    few = [{"n": 1}, {"n": 2}]
    assert parted([{"n": 5}, {"n": 6}], few) == "t passes for n up to 2 and fails from 5 on."
    assert parted([{"n": 5}], few) == ""
    assert parted([{"n": 5}, {"n": 6}], few[:1]) == ""
    both = [{"n": 1, "k": 1}, {"n": 2, "k": 2}]
    assert parted([{"n": 5, "k": 5}, {"n": 6, "k": 6}], both) == ""  # which of the two it is?
    assert parted([{"n": 5, "k": 1}, {"n": 6, "k": 2}], both).startswith("t passes for n")
    assert parted([{"n": 0}, {"n": 0}], few).startswith("t fails for n up to 0 and passes from 1")


def test_tests_of_other_functions_are_no_evidence() -> None:
    tests = [
        *(one_test(WORDS, 0.0, "a", n=n) for n in (5, 6)),
        *(one_test(None, 0.0, "b", n=n) for n in (1, 2)),
        *(one_test(WORDS, 0.0, "c", n=n) for n in (7, 8)),
        *(one_test(None, 0.0, "c", n=n) for n in (1, 2)),
    ]
    assert _one_argument(exercise(*tests)) == "c passes for n up to 2 and fails from 7 on."


@pytest.mark.parametrize(
    ("bad", "good", "words"),
    [
        ([5, 6], [1, 2], "passes for n up to 2 and fails from 5 on"),
        ([2, 6], [1, 2], ""),
        ([5, 6], [2, 2], ""),
        ([0.5, 1], [2, 3], "fails for n up to 1 and passes from 2 on"),
        ([1, 2], [2, 3], ""),
        ([1], [2, 2], ""),
        ([True], [2, 3], ""),
        (["a", "b"], ["c"], "fails only where n is a or b"),
        (["b", "a", "c"], ["d"], "fails only where n is a or b or c"),
        (["a", "b", "c", "e"], ["d"], ""),
        (["a"], ["a", "b"], ""),
        ([True], [False], "fails only where n is True"),
        ([np.dtype("float32")], ["a"], ""),
        ([None], ["a"], ""),
    ],
)
def test_values_that_part(bad: list[Any], good: list[Any], words: str) -> None:
    assert _parts("n", [{"n": v} for v in bad], [{"n": v} for v in good]) == words
