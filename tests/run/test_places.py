"""A failure without a place points at its exercise in the graded file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from harness.curriculum import ROOT
from harness.protocol import DayResult, ExerciseResult, Failure, Request, TestResult
from harness.run.places import definition_line, graded_file, locate

TEXT = """import x

def double(x):
    return x

async def wait():
    pass

class Twice:
    def double(self):
        pass

def doubled(x):
    pass

def double(x):
    return 2 * x
"""


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("double", 16),
        ("doubled", 13),
        ("wait", 6),
        ("Twice", 9),
        ("self", 1),
        ("d", 1),
        ("Twice.double", 10),
        ("Twice.doubled", 9),
        ("Once.double", 1),
    ],
)
def test_the_line_of_a_definition(name: str, line: int) -> None:
    assert definition_line(TEXT, name) == line


def test_which_file_is_graded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = ROOT / "tracks" / "triton"
    assert graded_file(Request("triton", 3)) == folder / "day03.py"
    assert graded_file(Request("triton", 3, "solution")) == folder / "solutions" / "day03.py"
    assert graded_file(Request("triton", 3, str(tmp_path))) == tmp_path / "day03.py"
    monkeypatch.chdir(tmp_path)
    assert graded_file(Request("triton", 3, "here")) == Path(os.getcwd()) / "here" / "day03.py"


def result(*failures: Failure | None, problems: tuple[Failure, ...] = ()) -> DayResult:
    tests = [TestResult("t", "double", "failed", failure=failure) for failure in failures]
    exercise = ExerciseResult("double", "wrong", tests)
    return DayResult("triton", 3, "", "", 0, [exercise], problems=list(problems))


def test_failures_are_placed(tmp_path: Path) -> None:
    file = tmp_path / "day03.py"
    file.write_text(TEXT + "# \xe9\n", encoding="latin-1")  # no UTF-8: it is read all the same
    known = Failure("error", "no", "elsewhere.py", 7)
    one = result(
        Failure("wrong", "no"), known, None, Failure("wrong", "no", "elsewhere.py", 0),
        Failure("wrong", "no", "", 7),
        problems=(Failure("broken file", "no"), Failure("error", "no device"), known),
    )  # fmt: skip
    locate(one, Request("triton", 3, str(tmp_path)))
    places = [(t.failure.file, t.failure.line) if t.failure else None for t in one.tests]
    at = (str(file), 16)
    assert places == [at, ("elsewhere.py", 7), None, at, at]
    assert [(p.file, p.line) for p in one.problems] == [
        (str(file), 1), ("", 0), ("elsewhere.py", 7),
    ]  # fmt: skip


def test_it_points_at_the_function_that_holds_the_answer(tmp_path: Path) -> None:
    """Day 24's Engine has one method to write."""
    for day, exercise, line in ((24, "Engine", "    def run("), (24, "needed", "def needed(")):
        stub = ROOT / "tracks" / "autodiff" / f"day{day}.py"
        (tmp_path / stub.name).write_text(stub.read_text())
        test = TestResult("t", exercise, "failed", failure=Failure("wrong", "no"))
        one = DayResult("autodiff", day, "", "", 0, [ExerciseResult(exercise, "wrong", [test])])
        locate(one, Request("autodiff", day, str(tmp_path)))
        assert test.failure is not None
        assert stub.read_text().splitlines()[test.failure.line - 1].startswith(line)


def test_without_the_file_nothing_is_placed(tmp_path: Path) -> None:
    one = result(Failure("wrong", "no"))
    locate(one, Request("triton", 3, str(tmp_path)))
    assert one.tests[0].failure == Failure("wrong", "no")
