"""What a run makes of its attempts: what is tried again, what is not, and what is told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from types import SimpleNamespace
from typing import Any

import pytest

import harness.run as module
from harness.protocol import DayResult, Event, Failure, Request
from harness.run import Attempt, Interrupted, run
from harness.run.places import definition_line, graded_file

NAMES = [("a1", "forward_difference"), ("a2", "forward_difference"), ("b1", "second_derivative")]
COLLECTED = Event("collected", data={"tests": NAMES})
DAY = ("autodiff", 1)


def passed(name: str) -> Event:
    return Event("passed", name, dict(NAMES)[name], {"seconds": 0.0})


def failed(name: str, message: str = "no", **place: Any) -> Event:
    failure = asdict(Failure("wrong", message, **place))
    return Event("failed", name, dict(NAMES)[name], {"failure": failure, "seconds": 0.0})


def died(name: str, reason: Any = "died") -> Event:
    return Event(
        "died", name, dict(NAMES).get(name, ""), {"failure": asdict(Failure(reason, "gone"))}
    )


Script = list[tuple[list[Event], Attempt]]


@pytest.fixture
def grade(monkeypatch: pytest.MonkeyPatch) -> Callable[..., DayResult]:
    """Run with attempts that tell what they are told to tell; ``grade.asked`` is what was asked."""

    def grade(
        script: Script, launcher: Any = None, on_event: Any = None, **wanted: Any
    ) -> DayResult:
        grade.asked = []  # type: ignore[attr-defined]

        def attempt(request: Request, used: Any, note: Any) -> Attempt:
            grade.asked.append((request, used))  # type: ignore[attr-defined]
            events, seen = script.pop(0)
            for event in events:
                note(event)
            if seen is None:
                raise KeyboardInterrupt
            return seen

        monkeypatch.setattr(module, "attempt", attempt)
        monkeypatch.setattr(module, "Cold", lambda: "cold")
        return run(Request(*DAY, "solution", **wanted), launcher, on_event)

    return grade


def outcomes(result: DayResult) -> dict[str, str]:
    return {test.name: test.outcome for test in result.tests}


def messages(result: DayResult) -> dict[str, str]:
    return {test.name: test.failure.message for test in result.tests if test.failure}


def ended(*, running: str = "", cpu: float = 1.0, **more: Any) -> Attempt:
    return Attempt(collected=NAMES, running=running, exercise=dict(NAMES).get(running, ""),
                   died=bool(running), cpu_seconds=cpu, output="printed", **more)  # fmt: skip


ALL = [COLLECTED, passed("a1"), passed("a2"), passed("b1")]


def test_a_run_in_one_attempt(grade: Any) -> None:
    heard: list[Event] = []
    result = grade([(ALL, ended())], "launcher", heard.append, seconds=50.0, skip=("z", "c"))
    ((request, launcher),) = grade.asked
    assert launcher == "launcher" and heard == ALL
    assert (request.skip, request.seconds, request.impl) == (("c", "z"), 50.0, "solution")
    assert outcomes(result) == {"a1": "passed", "a2": "passed", "b1": "passed"}
    assert result.output == "printed" and result.problems == [] and 0 <= result.seconds < 5
    grade([(ALL, ended())])
    assert grade.asked[0][1] == "cold"


def test_one_death_does_not_hide_the_other_exercises(grade: Any) -> None:
    result = grade(
        [([COLLECTED, died("a1")], ended(running="a1", cpu=3.0)),
         ([COLLECTED, passed("b1")], ended())],
        seconds=50.0,
    )  # fmt: skip
    first, second = (request for request, _ in grade.asked)
    assert first.skip == () and second.skip == ("a1", "a2")
    assert (first.seconds, second.seconds) == (50.0, 47.0)
    assert outcomes(result) == {"a1": "failed", "a2": "failed", "b1": "passed"}
    assert messages(result) == {
        "a1": "gone",
        "a2": "was not tried: `forward_difference` ended its process in a1.",
    }


def test_what_is_not_tried_has_the_reason_of_the_end(grade: Any) -> None:
    late = died("a1", "timeout")
    result = grade([([COLLECTED, late], ended(running="a1")), ([passed("b1")], ended())])
    assert [t.failure.reason for t in result.tests if t.failure] == ["timeout", "timeout"]


def test_only_the_first_failure(grade: Any) -> None:
    result = grade(
        [([COLLECTED, died("a1")], ended(running="a1")), ([passed("b1")], ended())],
        first_failure=True,
    )
    assert messages(result) == {"a1": "gone"}
    assert grade.asked[1][0].skip == ("a1", "a2")


def test_when_everything_was_tried_it_ends(grade: Any) -> None:
    result = grade([([COLLECTED, passed("a1"), passed("a2"), died("b1")], ended(running="b1"))])
    assert len(grade.asked) == 1
    assert outcomes(result) == {"a1": "passed", "a2": "passed", "b1": "failed"}


def test_a_death_between_the_tests_is_the_end(grade: Any) -> None:
    between = Attempt(collected=NAMES, died=True, output="last words")
    result = grade([([COLLECTED, passed("a1"), died("")], between)])
    assert len(grade.asked) == 1 and result.output == "last words"


def test_it_starts_again_only_so_often(grade: Any) -> None:
    many = [(f"t{n}", f"e{n}") for n in range(20)]
    script = []
    for name, exercise in many:
        gone = Event("died", name, exercise, {"failure": asdict(Failure("died", "gone"))})
        seen = Attempt(collected=many, running=name, exercise=exercise, died=True)
        script.append(([gone], seen))
    grade(script)
    assert len(grade.asked) == module.RESTARTS


def test_the_lines_of_failures(grade: Any) -> None:
    result = grade([([COLLECTED, failed("a1"), failed("b1", file="x.py", line=3)], ended())])
    file = graded_file(Request(*DAY, "solution"))
    places = {t.name: (t.failure.file, t.failure.line) for t in result.tests if t.failure}
    line = definition_line(file.read_text(), "forward_difference")
    assert places["a1"] == (str(file), line) and places["b1"] == ("x.py", 3)


def test_no_test_at_all(grade: Any) -> None:
    result = grade([([], Attempt(output="x" * 2000 + "end"))])
    (problem,) = result.problems
    assert problem.reason == "error"
    head, tail = problem.message.split("\n")
    assert head == "no test was run: the end of what pytest said follows."
    assert len(tail) == 1500 and tail.endswith("xend")
    broken = Event("broken", data={"failure": asdict(Failure("broken file", "line 3"))})
    assert [p.message for p in grade([([broken], Attempt())]).problems] == ["line 3"]


def test_ctrl_c(grade: Any) -> None:
    with pytest.raises(Interrupted) as stopped:
        grade([([COLLECTED, passed("a1"), failed("a2")], None)])
    result = stopped.value.result
    (problem,) = result.problems
    assert problem.message == "was stopped by Ctrl-C: 2 of 3 tests had been run."
    assert problem.reason == "error" and outcomes(result)["b1"] == "unfinished"
    with pytest.raises(Interrupted) as stopped:
        grade([([], None)])
    (problem,) = stopped.value.result.problems
    assert problem.message == "was stopped by Ctrl-C: no test had begun."
    assert isinstance(stopped.value, KeyboardInterrupt)


# A test that the GPU died of --------------------------------------------------------------------

LOST = Event(
    "context lost", "a1", "forward_difference",
    {"failure": asdict(Failure("died", "the GPU", "x.py", 7)), "seconds": 2.0},
)  # fmt: skip
GPU = SimpleNamespace(on_cpu=lambda: "cpu")


def on_gpu(grade: Any, *on_cpu: list[Event], **wanted: Any) -> DayResult:
    lost = ended(running="a1", lost=LOST)
    script = [([COLLECTED], lost), *((events, Attempt()) for events in on_cpu)]
    script.append(([passed("b1")], ended()))
    result: DayResult = grade(script, GPU, **wanted)
    return result


def test_the_same_test_on_the_cpu_explains_it(grade: Any) -> None:
    wanted = {"known_bugs": True, "record_launches": "x", "passthrough": True, "device": "cuda"}
    result = on_gpu(grade, [failed("a1", "out of bounds", file="y.py", line=9)], **wanted)
    test = result.tests[0]
    assert test.failure is not None
    assert test.failure.message == "the GPU\nOn the CPU the same test says: out of bounds"
    assert (test.failure.file, test.failure.line) == ("y.py", 9)
    assert test.failure.reason == "died" and test.seconds == 2.0
    request, launcher = grade.asked[1]
    assert launcher == "cpu"
    assert (request.device, request.exercise, request.tests) == (
        "cpu",
        "forward_difference",
        ("a1",),
    )
    assert (request.first_failure, request.known_bugs, request.passthrough) == (True, False, False)
    assert (request.record_launches, request.seconds, request.skip) == ("", 60.0, ())
    assert messages(result)["a2"].startswith("was not tried")


@pytest.mark.parametrize("kind", ["failed", "died", "broken"])
def test_every_way_to_fail_is_told(grade: Any, kind: str) -> None:
    event = Event(kind, "a1", "forward_difference", {"failure": asdict(Failure("wrong", "so"))})
    test = on_gpu(grade, [event]).tests[0]
    assert test.failure is not None
    assert test.failure.message.endswith("the same test says: so")
    assert (test.failure.file, test.failure.line) == ("x.py", 7)


def test_where_the_test_does_not_run_the_exercise_is_tried(grade: Any) -> None:
    result = on_gpu(grade, [], [failed("a2", "so")])
    assert messages(result)["a1"].endswith("On the CPU `forward_difference` says: so")
    assert grade.asked[2][0].tests == ()
    result = on_gpu(grade, [], [])
    assert messages(result)["a1"].endswith("On the CPU none of its tests can be run.")
    result = on_gpu(grade, [passed("a1")])
    assert "On the CPU the same test passes: what goes wrong takes" in messages(result)["a1"]
    result = on_gpu(grade, [], [passed("a2")])
    assert "On the CPU `forward_difference` passes" in messages(result)["a1"]


def test_kernels_are_tried_on_the_interpreter(grade: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "attempt", lambda request, launcher, note: Attempt())
    words, found = module._on_the_cpu(LOST, Request("triton", 1), GPU)  # type: ignore[arg-type]
    assert words == "On the checked interpreter none of its tests can be run." and found is None


def test_nobody_reads_a_mutants_explanation(grade: Any) -> None:
    result = on_gpu(grade, first_failure=True)
    assert messages(result) == {"a1": "the GPU"}
    assert len(grade.asked) == 2
