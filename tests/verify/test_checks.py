"""What the checks make of a run's result, and in which places they run a wrong answer."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.curriculum import Day, Track, load_bugs, read_source
from harness.protocol import DayResult, Event, ExerciseResult, Failure, Request, TestResult
from harness.verify import checks, command, says
from harness.verify.says import Said, false_sentences
from tests.support.toy import BUGS, REFERENCE

PASSED = TestResult("test_a", "double", "passed")
FAILED = TestResult("test_b", "double", "failed", failure=Failure("wrong", "no", detail="how"))
DIED = TestResult("test_c", "double", "failed", failure=Failure("died", "gone"))
LOST = TestResult("test_d", "double", "failed")


def result(*tests: TestResult, kind: str = "cpu", status: str = "wrong", **more: Any) -> DayResult:
    exercises = [ExerciseResult("double", status, list(tests), {"cpu_seconds": 1.0})]  # type: ignore[arg-type]
    return DayResult("autodiff", 1, "Toys", "", 0, exercises, device={"kind": kind}, **more)


@pytest.fixture
def day(tmp_path: Path) -> Day:
    day = Day("autodiff", 1, tmp_path)
    for path, text in (
        (day.solution, REFERENCE.format(number=1, line="=" * 13)),
        (day.bugs, BUGS),
    ):
        path.parent.mkdir(parents=True)
        path.write_text(text)
    return day


class Launcher:
    def __init__(self, name: str = "first") -> None:
        self.name = name

    def on_cpu(self) -> Launcher:
        return Launcher("cpu")


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[tuple[str, Request]]]:
    """Let the runs have these results, one after the other; note what was asked for."""

    def prepare(*results: DayResult) -> list[tuple[str, Request]]:
        prepare.answers = []  # type: ignore[attr-defined]
        asked: list[tuple[str, Request]] = []
        left = list(results)

        def run(request: Request, launcher: Any) -> DayResult:
            asked.append((launcher.name, request))
            graded = Path(request.impl) / "day01.py"
            prepare.answers.append(graded.read_text() if graded.exists() else "")  # type: ignore[attr-defined]
            return left.pop(0)

        monkeypatch.setattr(checks, "run", run)
        monkeypatch.setattr(says, "run", run)
        return asked

    return prepare


def test_findings_about_a_reference(day: Day) -> None:
    assert checks.reference_findings(day, result(PASSED, status="passed")) == []
    assert checks.reference_findings(day, result(FAILED)) == [
        "double: the reference fails test_b: no\nhow"
    ]
    assert checks.reference_findings(day, result(LOST)) == [
        "double: the reference fails test_d: not run"
    ]
    assert checks.reference_findings(day, result()) == ["no test grades double"]
    assert checks.reference_findings(day, result(PASSED, status="skipped")) == [
        "every test of double is skipped: nothing proves it here"
    ]
    broken = result(PASSED, status="passed", problems=[Failure("broken file", "line 3")])
    assert checks.reference_findings(day, broken) == ["the reference cannot be graded: line 3"]


def test_findings_come_in_the_order_of_exercises_and_tests(day: Day) -> None:
    one = result(FAILED, LOST)
    one.exercises.append(ExerciseResult("other", "wrong", [PASSED, FAILED, PASSED]))
    found = checks.reference_findings(day, one)
    assert [text.split(":")[0] + text.split("fails ")[1][:6] for text in found] == [
        "doubletest_b", "doubletest_d", "othertest_b",
    ]  # fmt: skip
    one.exercises[0].tests.append(PASSED)
    one.exercises[1].tests[2] = TestResult("test_f", "other", "passed")
    assert checks.stub_findings(one) == [
        f"{name} passes on the untouched stub"
        for name in ("double: test_a", "other: test_a", "other: test_f")
    ]


def test_an_exercise_without_measures_took_no_time(day: Day) -> None:
    one = result(PASSED, status="passed")
    one.exercises[0].measures["cpu_seconds"] = 9.9
    one.exercises.append(ExerciseResult("other", "passed", [PASSED], {}))
    assert checks.reference_findings(day, one) == []


@pytest.mark.parametrize(
    ("declared", "limit"),
    [("", 10), ("seconds=20", 10), ("seconds=30", 20), ("seconds=99", 20), ("seconds=120", 20)],
)
def test_the_time_of_a_day(day: Day, declared: str, limit: int) -> None:
    day.tests.parent.mkdir(parents=True)
    day.tests.write_text(declared)
    assert checks.time_limit(day) == limit
    most = 2.5 * limit
    for seconds, kind, said in (
        (most, "cpu", False),
        (most + 0.1, "cpu", True),
        (most + 0.1, "cuda", False),
    ):
        one = result(PASSED, status="passed", kind=kind)
        one.exercises.append(ExerciseResult("other", "passed", [PASSED], {}))
        one.exercises[0].measures["cpu_seconds"] = seconds - 1
        one.exercises[1].measures["cpu_seconds"] = 1.0
        found = checks.reference_findings(day, one)
        sentence = (
            f"the tests use {most + 0.1:.1f} s of CPU time: {limit} s are due on an idle core, and "
            f"{most:.0f} s are more than a slow machine explains"
        )
        assert found == ([sentence] if said else [])


def test_findings_about_a_stub() -> None:
    assert checks.stub_findings(result(FAILED, DIED)) == []
    skipped = TestResult("test_e", "double", "skipped")
    assert checks.stub_findings(result(FAILED, PASSED, skipped)) == [
        "double: test_a passes on the untouched stub"
    ]
    broken = result(problems=[Failure("broken file", "line 3")])
    assert checks.stub_findings(broken) == ["the stub cannot be graded: line 3"]


def test_the_stub_is_made_anew_and_graded_with_the_references_of_earlier_days(
    day: Day, runs: Any
) -> None:
    asked = runs(result(PASSED))
    found = checks.check_stub(day, Launcher(), 7, "cpu")  # type: ignore[arg-type]
    assert found == ["double: test_a passes on the untouched stub"]
    ((_, request),) = asked
    assert (request.prior, request.seed, request.device) == ("solution", 7, "cpu")
    assert (request.exercise, request.first_failure) == ("", False)
    assert 'raise NotImplementedError("double")' in runs.answers[0]
    assert "2.0 * x" not in runs.answers[0]


def test_the_reference_is_what_is_graded(day: Day, runs: Any) -> None:
    asked = runs(result(PASSED, status="passed"))
    assert checks.check_reference(day, Launcher(), 3, "cpu") == []  # type: ignore[arg-type]
    ((_, request),) = asked
    assert (request.impl, request.seed, request.device) == ("solution", 3, "cpu")
    assert (request.track, request.day, request.prior) == ("autodiff", 1, "auto")


def test_one_exercise_is_graded_alone(day: Day, runs: Any) -> None:
    asked = runs(result(PASSED, status="passed"))
    assert checks.check_reference(day, Launcher(), 3, "cuda", "double") == []  # type: ignore[arg-type]
    assert [request.exercise for _, request in asked] == ["double"]


def bugs(day: Day) -> list[str]:
    return checks.check_bugs(day, Launcher(), 5, "auto")  # type: ignore[arg-type]


def test_bugs_on_a_machine_without_a_gpu(day: Day, runs: Any) -> None:
    asked = runs(result(FAILED), result(PASSED))
    assert bugs(day) == [
        "bug 2 (double, day01.toml:8) is rejected by no test on the CPU, those whose inputs are "
        "drawn left out: replaces '2.0 * x'"
    ]
    assert [name for name, _ in asked] == ["first", "first"]
    assert "3.0 * x" in runs.answers[0] and "return x\n" in runs.answers[1]
    for _, request in asked:
        assert (request.exercise, request.prior, request.seed) == ("double", "solution", 5)
        assert request.first_failure and request.device == "auto" and not request.drawn
    day.bugs.unlink()
    assert bugs(day) == []


def test_the_test_that_rejects_a_bug_is_tried_first(day: Day, runs: Any) -> None:
    day.bugs.write_text(BUGS + 'by = "test_b"\n')
    asked = runs(result(FAILED), result(FAILED))
    assert bugs(day) == []
    assert [request.first for _, request in asked] == ["", "test_b"]
    runs(result(FAILED), result(PASSED))
    (found,) = bugs(day)
    assert "is rejected by no test" in found
    day.bugs.write_text(BUGS + 'by = "test_of_old"\n')
    runs(result(FAILED), result(FAILED, kind="cuda"))
    assert bugs(day) == []  # other sizes have other names there
    runs(result(FAILED), result(FAILED))
    assert bugs(day) == [
        "bug 2 (double, day01.toml:8) is said to be rejected by 'test_of_old', but no test of "
        "double is called so"
    ]


def test_only_so_many_bugs(day: Day, runs: Any) -> None:
    asked = runs(result(FAILED))
    assert checks.check_bugs(day, Launcher(), 5, "auto", most=1) == []  # type: ignore[arg-type]
    assert len(asked) == 1


def test_a_bug_that_kills_is_rejected_on_the_cpu(day: Day, runs: Any) -> None:
    runs(result(DIED), result(DIED))
    assert bugs(day) == []


def test_bugs_on_a_machine_with_a_gpu(day: Day, runs: Any) -> None:
    """The first is tried on the GPU and, where that does not reject it, on the CPU; then the CPU
    comes first. That the GPU died of it is not enough."""
    gpu, cpu = "cuda", "cpu"
    asked = runs(result(PASSED, kind=gpu), result(FAILED, kind=cpu), result(FAILED, kind=cpu))
    assert bugs(day) == []
    assert [(name, r.device) for name, r in asked] == [
        ("first", "auto"), ("cpu", "cpu"), ("cpu", "cpu"),
    ]  # fmt: skip
    asked = runs(
        result(DIED, kind=gpu), result(FAILED, kind=cpu),
        result(PASSED, kind=cpu), result(PASSED, kind=gpu),
    )  # fmt: skip
    (found,) = bugs(day)
    assert "is rejected by no test on the CPU or on the GPU" in found
    assert found.startswith("bug 2")
    assert [(name, r.device) for name, r in asked[2:]] == [("cpu", "cpu"), ("first", "auto")]


def test_a_gpu_is_not_forgotten(day: Day, runs: Any) -> None:
    day.bugs.write_text(BUGS + BUGS)
    first = result(PASSED, FAILED, kind="cuda")
    asked = runs(first, result(FAILED), result(DIED), result(FAILED, kind="cuda"), result(FAILED))
    assert bugs(day) == []
    assert [name for name, _ in asked] == ["first", "cpu", "cpu", "first", "cpu"]


def test_a_gpu_that_rejects_nothing_is_asked_once(day: Day, runs: Any) -> None:
    asked = runs(result(PASSED, kind="cuda"), result(PASSED, kind="cuda"), result(FAILED))
    (found,) = bugs(day)
    assert found.startswith("bug 1") and len(asked) == 3


def test_a_bug_that_cannot_be_graded(day: Day, runs: Any) -> None:
    runs(result(problems=[Failure("broken file", "line 3"), Failure("error", "x")]), result(FAILED))
    assert bugs(day) == ["bug 1 (double, day01.toml:2) cannot be graded: line 3"]
    day.bugs.write_text("[[bug]]\n")
    (found,) = bugs(day)
    assert "day01.toml" in found


def test_the_place_has_a_name() -> None:
    assert checks._place(result(kind="cuda")) == "the GPU"
    assert checks._place(result()) == "the CPU"
    triton = DayResult("triton", 1, "", "", 0, device={"kind": "cpu"})
    assert checks._place(triton) == "the interpreter"


def events(*told: Event, kind: str = "cpu") -> list[Event]:
    return [Event("device", data={"device": {"kind": kind}}), *told]


def test_material(day: Day, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, Request]] = []
    told: list[list[Event]] = []

    def attempt(request: Request, launcher: Any, send: Any) -> None:
        asked.append((launcher.name, request))
        for event in told.pop(0):
            send(event)

    monkeypatch.setattr(checks, "attempt", attempt)

    def found(*some: list[Event]) -> list[str]:
        asked.clear()
        told[:] = some
        return checks.check_material(day, Launcher(), 5, "auto")  # type: ignore[arg-type]

    passed = Event("passed", "test_lesson", "lesson")
    failed = Event("failed", "test_x", "examples", {"failure": {"message": "no"}})
    broken = Event("broken", data={"failure": {"message": "line 3"}})
    died = Event("died", "test_y", "bench", {"failure": {"message": "gone"}})
    assert found(events(passed)) == []
    ((name, request),) = asked
    assert name == "first" and request.test_file == str(checks.MATERIAL)
    assert (request.impl, request.seed, request.tests) == ("solution", 5, ())
    assert (request.track, request.day, request.device) == ("autodiff", 1, "auto")
    assert found(events(passed, failed, broken, died)) == [
        "examples: no", "lesson: line 3", "bench: gone",
    ]  # fmt: skip
    assert found(events()) == ["neither a lesson nor an example nor a bench ran"]
    assert found(events(failed)) == ["examples: no"]
    assert found([failed]) == ["examples: no"]
    # On a card that others fill it is tried again.
    paused: list[float] = []
    monkeypatch.setattr(checks.time, "sleep", paused.append)
    full = Event("failed", "test_z", "bench", {"failure": {"message": "CUDA out of memory."}})
    assert found(events(passed, full), events(passed, full), events(passed)) == []
    assert len(asked) == 3 and paused == list(checks.CROWDED[:2])
    tries = 1 + len(checks.CROWDED)
    assert found(*[events(full)] * tries) == ["bench: CUDA out of memory."] and len(asked) == tries
    # With a GPU the lesson runs on the CPU too.
    assert found(events(passed, kind="cuda"), events(failed)) == ["examples: no"]
    assert [(n, r.device, r.tests) for n, r in asked] == [
        ("first", "auto", ()), ("cpu", "cpu", ("test_lesson",)),
    ]  # fmt: skip


def test_files_that_belong_to_no_day(day: Day) -> None:
    track = Track("autodiff", "Autodiff", day.folder, (day,))
    names = "bugs/day09.toml tests/test_day01.py tests/test_day02.py lessons/day03.md day01.py"
    for name in (*names.split(), "day04.py", "notes.md", "lessons/notes.md"):
        path = track.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("")
    assert checks.check_stray(track) == [
        "bugs/day09.toml belongs to no day",
        "lessons/day03.md belongs to no day",
        "tests/test_day02.py belongs to no day",
        "day04.py belongs to no day",
    ]


# What is said of a bug --------------------------------------------------------------------------


def test_each_bug_is_graded_as_an_answer_is(day: Day, runs: Any) -> None:
    first, second = load_bugs(day.bugs, read_source(day.solution)).bugs
    told = Failure("wrong", "every value\nmore", says=second.says, pattern="scaled")
    silent = Failure("wrong", "wrong in places")
    asked = runs(
        result(
            TestResult("a", "double", "failed", failure=silent),
            TestResult("b", "double", "failed", failure=told),
            seconds=2.5,
        ),
        result(problems=[Failure("broken file", "line 3")]),
    )
    said = says.what_is_said(day, Launcher(), 4, "cpu")  # type: ignore[arg-type]
    assert said[0] == Said(first, second.says, ("every value",), 2.5)
    assert said[1] == Said(second, "", (), said[1].seconds, "line 3")
    for _, request in asked:
        assert (request.exercise, request.prior, request.known_bugs) == ("double", "solution", True)
        assert (request.seed, request.device) == (4, "cpu")
    assert not said[0].own and Said(first, first.says, (), 0.0).own
    assert false_sentences(day, said) == [
        f"bug 1 (double, day01.toml:2) is told what bug 2 says: {second.says}",
        "bug 2 (double, day01.toml:8) cannot be graded: line 3",
    ]


def test_a_bugs_own_sentence_and_a_sentence_of_no_bug_are_fine(day: Day, runs: Any) -> None:
    second = load_bugs(day.bugs, read_source(day.solution)).bugs[1]

    def told(text: str, pattern: str = "") -> TestResult:
        failure = Failure("wrong", text or "no", says=text, pattern=pattern)
        return TestResult("b", "double", "failed", failure=failure)

    asked = runs(
        result(PASSED, told("z", "scaled"), told("a", "offset"), told("z", "scaled")),
        result(told(second.says)),
    )  # fmt: skip
    said = says.what_is_said(day, Launcher())  # type: ignore[arg-type]
    assert [one.says for one in said] == ["z", second.says]
    assert said[0].patterns == ("a", "z")
    assert false_sentences(day, said) == []
    for _, request in asked:
        assert (request.track, request.day) == ("autodiff", 1)
        assert (request.seed, request.device) == (0, "auto")
    assert "3.0 * x" in runs.answers[0] and "return x\n" in runs.answers[1]
    asked = runs(result(told(second.says)), result(told(second.says)))
    (found,) = says.check_says(day, Launcher(), 6, "cpu")  # type: ignore[arg-type]
    assert found.startswith("bug 1") and f"what bug {second.number} says" in found
    assert [(r.seed, r.device) for _, r in asked] == [(6, "cpu")] * 2
    asked = runs(result(told("")), result(told("")))
    assert says.check_says(day, Launcher()) == []  # type: ignore[arg-type]
    assert [(r.seed, r.device) for _, r in asked] == [(0, "auto")] * 2


# The command ------------------------------------------------------------------------------------


@pytest.fixture
def verified(day: Day, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """``verify_days`` over two days whose checks find what they are told to find."""
    other = Day("autodiff", 2, day.root)
    other.solution.write_text(REFERENCE.format(number=2, line="=" * 13))
    clock = iter(range(0, 1000, 2))
    launcher = SimpleNamespace(cpu_seconds=lambda: next(clock))

    def verify(found: dict[str, list[str]], number: str = "", stray: str = "", **more: Any) -> int:
        def check(name: str) -> Any:
            return lambda day, *_: found.get(f"{day.number} {name}", [])

        names = ("reference", "bugs")
        monkeypatch.setattr(command, "find_track", lambda name: SimpleNamespace(
            name="autodiff", days=[day, other]))  # fmt: skip
        monkeypatch.setattr(command, "find_tracks", lambda: [command.find_track("")])
        monkeypatch.setattr(command, "find_day", lambda *_: other)
        monkeypatch.setattr(command, "_launcher", lambda *_: launcher)
        monkeypatch.setattr(command, "check_form", check("form"))
        monkeypatch.setattr(command, "check_says", check("says"))
        monkeypatch.setattr(command, "LAST", tmp_path / "kept" / "verify.json")
        monkeypatch.setattr(command.checks, "CHECKS", {name: check(name) for name in names})
        monkeypatch.setattr(command.checks, "check_stray", lambda _: [stray] if stray else [])
        settings = {"device": "cpu", "seed": "3", "as_json": False, **more}
        return command.verify_days("autodiff" if number else "", number, **settings)

    return verify


def test_days_that_are_proved(verified: Any, capsys: Any, tmp_path: Path) -> None:
    assert verified({}) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "autodiff/01  Toys 1: proved  (reference 2.0 s, bugs 2.0 s)"
    assert "CPU time: 8 s in all. The dearest days:" in lines
    assert "  autodiff/01     4.0 s  reference 2.0, bugs 2.0" in lines
    assert lines[-1] == "2 of 2 days are proved."
    kept = json.loads((tmp_path / "kept" / "verify.json").read_text())
    assert kept["seed"] == 3 and kept["cpu_seconds"]["autodiff/02"] == {"reference": 2, "bugs": 2}
    assert not any(kept["findings"]["autodiff/01"].values())


def test_days_that_are_not_proved(verified: Any, capsys: Any) -> None:
    long = "\n".join(f"line {n}" for n in range(20))
    assert verified({"1 form": ["no lesson"], "1 bugs": [long]}, stray="x belongs to no day") == 1
    out = capsys.readouterr().out
    assert "autodiff/01  Toys 1: 2 finding(s)  (" in out
    assert "\n  form: no lesson\n  bugs: line 0\n      line 1\n" in out
    assert "      line 12\n" in out and "line 13" not in out
    assert "autodiff: files that belong to no day\n  x belongs to no day\n" in out
    assert "1 of 2 days are proved." in out
    assert verified({}, stray="x belongs to no day") == 1
    assert "2 of 2 days are proved." in capsys.readouterr().out


def test_one_day(verified: Any, capsys: Any) -> None:
    assert verified({"1 form": ["not looked at"]}, number="2", stray="not looked at") == 0
    out = capsys.readouterr().out
    assert "1 of 1 days are proved." in out and "dearest" not in out


def test_what_is_said_is_checked_if_asked(verified: Any, capsys: Any) -> None:
    assert verified({"2 says": ["bug 1"]}, number="2", says=True) == 1
    assert "  says: bug 1" in capsys.readouterr().out
    assert verified({"2 says": ["bug 1"]}, number="2") == 0


def test_as_json(verified: Any, capsys: Any) -> None:
    assert verified({"2 bugs": ["b"]}, as_json=True) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["autodiff/02"] == {"form": [], "reference": [], "bugs": ["b"]}
    assert verified({}, as_json=True, stray="x") == 1
    assert json.loads(capsys.readouterr().out)["autodiff"] == {"stray": ["x"]}


def test_dear_bugs_are_a_note(verified: Any, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "BUGS_SECONDS", 2.0)
    assert verified({}) == 0
    assert "note:" not in capsys.readouterr().out
    monkeypatch.setattr(command, "BUGS_SECONDS", 1.9)
    assert verified({}) == 0
    assert "note: its known bugs take more than 2 s" in capsys.readouterr().out


def test_dear_tests_are_a_note(verified: Any, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command.checks, "DAY_SECONDS", 2.0)
    assert verified({}) == 0
    assert "note:" not in capsys.readouterr().out
    monkeypatch.setattr(command.checks, "DAY_SECONDS", 1.9)
    assert verified({}) == 0
    assert "note: its tests take more than 2 s of one core here" in capsys.readouterr().out


def test_the_ten_dearest_days() -> None:
    costs = {f"autodiff/{n:02d}": {"reference": float(n), "bugs": 0.5} for n in range(1, 13)}
    text = command._dearest(costs).splitlines()
    assert text[1] == "CPU time: 84 s in all. The dearest days:"
    assert [line.split()[0] for line in text[2:]] == [f"autodiff/{n:02d}" for n in range(12, 2, -1)]


def test_a_day_that_cannot_be_read_is_not_run(day: Day) -> None:
    day.solution.write_text("x = (")
    found, costs = command.verify_day(day, SimpleNamespace())  # type: ignore[arg-type]
    assert found["form"] and costs == {}
    assert found.keys() == {"form", *checks.CHECKS}


FULL = Failure("OutOfMemoryError", "CUDA out of memory. Tried to allocate 5.22 GiB.")


@pytest.mark.parametrize(
    "said",
    [
        "CUDA out of memory. Tried to allocate 5.22 GiB.",
        "CUDA error: out of memory",
        "Triton Error [CUDA]: out of memory",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
    ],
)
def test_a_test_that_found_the_card_full_is_tried_again(
    day: Day, runs: Any, monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    paused: list[float] = []
    monkeypatch.setattr(checks.time, "sleep", paused.append)
    full = TestResult("test_b", "double", "failed", failure=Failure("RuntimeError", said))
    fits = TestResult("test_b", "double", "passed")
    asked = runs(result(PASSED, full), result(full), result(fits))
    assert checks.check_reference(day, Launcher(), 3, "cuda") == []  # type: ignore[arg-type]
    assert [request.tests for _, request in asked] == [(), ("test_b",), ("test_b",)]
    assert paused == list(checks.CROWDED[:2])


def test_a_card_that_stays_full_is_a_finding(
    day: Day, runs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks.time, "sleep", lambda seconds: None)
    full = TestResult("test_b", "double", "failed", failure=FULL)
    runs(*[result(full) for _ in range(1 + len(checks.CROWDED))])
    (finding,) = checks.check_reference(day, Launcher(), 3, "cuda")  # type: ignore[arg-type]
    assert "CUDA out of memory" in finding
