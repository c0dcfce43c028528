"""Requests, events and results survive their JSON form, and events fold into the right result."""

from __future__ import annotations

from typing import Any

from harness.protocol import DayResult, Event, Request, fold

REQUEST = Request("triton", 13, impl="learner", seed=7, tests=("a", "b"), skip=("c",))
WRONG = {"reason": "wrong", "message": "64 of 381 values are wrong", "file": "", "line": 0}
NOT_WRITTEN = {**WRONG, "reason": "not started", "message": "`b` is not written yet."}


def folded(*events: Event) -> DayResult:
    return fold(REQUEST, "Fused softmax", ["a", "b"], events)


def collected(*tests: tuple[str, str]) -> Event:
    return Event("collected", data={"tests": list(tests)})


def graded(*untouched: str) -> Event:
    return Event("graded", data={"files": [], "untouched": list(untouched)})


def statuses(result: DayResult) -> dict[str, str]:
    return {e.name: e.status for e in result.exercises}


def failed(test: str, exercise: str, failure: dict[str, Any]) -> Event:
    return Event("failed", test, exercise, {"seconds": 0.1, "failure": failure})


def test_json_round_trips() -> None:
    assert Request.from_json(REQUEST.to_json()) == REQUEST
    event = failed("test_x", "a", WRONG)
    assert Event.from_json(event.to_json()) == event
    result = folded(graded(), collected(("test_x", "a")), event)
    assert DayResult.from_json(result.to_json()) == result


def test_all_passed() -> None:
    result = folded(
        collected(("t", "a"), ("u", "b")),
        Event("passed", "t", "a", {"measures": {"cpu_seconds": 1.0, "peak_bytes": 5}}),
        Event("passed", "u", "b"),
    )
    assert result.passed
    assert result.exercises[0].measures["peak_bytes"] == 5


def test_one_wrong_test_makes_the_exercise_wrong() -> None:
    result = folded(
        collected(("t", "a"), ("u", "a")), Event("passed", "t", "a"), failed("u", "a", WRONG)
    )
    assert statuses(result)["a"] == "wrong"
    assert not result.passed


def test_an_untouched_exercise_is_not_started_even_where_a_test_passes() -> None:
    result = folded(
        graded("a"), collected(("t", "a"), ("u", "a")), Event("passed", "t", "a"),
        failed("u", "a", WRONG),
    )  # fmt: skip
    assert statuses(result)["a"] == "not started"


def test_a_method_not_written_yet_is_not_started() -> None:
    assert statuses(folded(collected(("u", "b")), failed("u", "b", NOT_WRITTEN)))["b"] == (
        "not started"
    )


def test_a_test_that_was_never_reached_is_no_pass() -> None:
    result = folded(collected(("t", "a"), ("u", "a")), Event("passed", "t", "a"))
    assert statuses(result)["a"] == "wrong"


def test_all_skipped_is_not_a_pass() -> None:
    skipped = Event("skipped", "t", "a", {"reason": "needs a CUDA GPU"})
    result = folded(collected(("t", "a"), ("u", "b")), skipped, Event("skipped", "u", "b"))
    assert statuses(result) == {"a": "skipped", "b": "skipped"}
    assert not result.passed


def test_an_exercise_without_tests_is_no_pass() -> None:
    assert not folded(collected(("t", "a")), Event("passed", "t", "a")).passed


def test_the_failing_call_wins_over_the_failing_teardown() -> None:
    later = {**WRONG, "message": "teardown"}
    result = folded(collected(("t", "a")), failed("t", "a", WRONG), failed("t", "a", later))
    assert result.tests[0].failure is not None
    assert result.tests[0].failure.message == WRONG["message"]
