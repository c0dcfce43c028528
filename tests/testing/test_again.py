"""``again``: an old day's tests on what a new day puts in its place."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from harness.testing import again

TESTS = """
import pytest
from harness.testing import exercise
from tracks.autodiff import day15 as day

@exercise("double")
@pytest.mark.parametrize("x", [1, 2])
def test_double(x):
    assert day.double(x) == 2 * x

@exercise("half", seconds=3)
def test_half():
    assert day.half(2) == 1

def helper():
    return day

test_of_no_exercise = 3
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "test_day15.py"
    path.write_text(TESTS)
    return path


def test_the_tests_call_the_new_day(file: Path) -> None:
    right = again(file, SimpleNamespace(double=lambda x: 2 * x, half=lambda x: x / 2), "new")
    right["test_day15_double"](2)
    right["test_day15_half"]()
    wrong = again(file, SimpleNamespace(double=lambda x: x, half=lambda x: x), "new")
    for name, arguments in [("test_day15_double", (2,)), ("test_day15_half", ())]:
        with pytest.raises(AssertionError):
            wrong[name](*arguments)
    right["test_day15_double"](1)  # each import is one of its own


def test_the_tests_grade_another_exercise_and_keep_the_rest(file: Path) -> None:
    found = again(file, SimpleNamespace(), "new")
    assert set(found) == {"test_day15_double", "test_day15_half"}
    marks = {m.name: m for m in found["test_day15_half"].pytestmark}  # type: ignore[attr-defined]
    assert (marks["exercise"].args, marks["exercise"].kwargs["seconds"]) == (("new",), 3)
    marks = {m.name: m for m in found["test_day15_double"].pytestmark}  # type: ignore[attr-defined]
    assert marks["parametrize"].args == ("x", [1, 2])


def test_only_some_exercises(file: Path) -> None:
    assert set(again(file, SimpleNamespace(), "new", only=["half"])) == {"test_day15_half"}


def test_a_file_without_a_day_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "test_day16.py"
    path.write_text("x = 1\n")
    with pytest.raises(ValueError, match=r"test_day16\.py"):
        again(path, SimpleNamespace(), "new")
    with pytest.raises(FileNotFoundError):
        again(tmp_path / "test_day17.py", SimpleNamespace(), "new")
