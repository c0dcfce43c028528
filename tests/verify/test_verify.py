"""Each kind of defect is planted in a day of its own, and verify names it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.curriculum import Day
from harness.protocol import DayResult, ExerciseResult, TestResult
from harness.verify.checks import reference_findings
from harness.verify.form import WORDS, lesson_findings
from tests.support.toy import TESTS, Toy

Report = dict[str, dict[str, list[str]]]

PASSES_ON_STUB = (
    TESTS
    + """

@exercise("double")
def test_refuses_text():
    import pytest
    with pytest.raises(Exception):
        day{number:02d}.double("text")
"""
)
BLIND = TESTS.replace("x + x)", "x + x, factor=1e20)")
NO_TEST = TESTS.replace('@exercise("double")', '@exercise("nobody")')


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """One run of verify over a track in which each day has one defect."""
    toy = Toy(tmp_path_factory.mktemp("toy"))
    toy.add_day(1)
    toy.add_day(2, tests=PASSES_ON_STUB)
    toy.add_day(3, tests=BLIND)
    toy.add_day(4, reference=("    # HINT: two times x.\n", ""))
    toy.add_day(5, reference=("    ### END SOLUTION\n", ""))
    toy.add_day(6, reference=("- Double a number, and say why\n", ""))
    toy.add_day(7, lesson=("double(2.0)", "double(2.0) / 0"))
    toy.add_day(9, lesson=("4.0", "5.0"))
    toy.add_day(10, words=100)
    toy.add_day(11, reference=("x: np.ndarray", "x"))
    toy.add_day(12, reference=("2.0 * x", "2.5 * x"))
    toy.add_day(13, bugs="")
    toy.add_day(14, tests=NO_TEST)
    toy.add_day(15, reference=("[0] == 2.0", "[0] == 2.1"))
    toy.add_day(18, reference=("import numpy as np", "import numpy as np\nimport harness.run"))
    toy.add_day(19, reference=("    # HINT: what is x + x?\n", ""))
    toy.add_day(16)
    (toy.track / "lessons" / "day16.md").unlink()
    (toy.folder / "tracks" / "autodiff" / "tests" / "test_day17.py").write_text("")
    done = toy.run("-m", "harness", "verify", "autodiff", "--json")
    assert done.returncode == 1, done.stderr
    result: Report = json.loads(done.stdout)
    return result


def said(report: Report, day: int, check: str) -> str:
    """What the check says of the day."""
    return "\n".join(report[f"autodiff/{day:02d}"][check])


def test_a_good_day_has_no_finding(report: Report) -> None:
    assert not any(report["autodiff/01"].values()), report["autodiff/01"]


@pytest.mark.parametrize(
    ("day", "check", "sentence"),
    [
        (2, "stub", "test_refuses_text passes on the untouched stub"),
        (3, "bugs", "is rejected by no test"),
        (4, "form", "double has 1 hint(s) inside the markers"),
        (5, "form", "day05.py:"),
        (6, "form", "day06.py:"),
        (7, "material", "ZeroDivisionError"),
        (9, "material", "but the lesson shows"),
        (10, "form", "words"),
        (11, "form", "no type for x"),
        (12, "reference", "the reference fails test_values"),
        (13, "form", "double has 0 known bug(s)"),
        (14, "reference", "no test grades double"),
        (14, "form", "test_day14.py:6 is tied to `nobody`, which is no exercise of the day"),
        (18, "form", "imports the harness"),
        (19, "form", "double shows no hint in its stub"),
        (15, "material", "test_double fails"),
        (16, "form", "lessons/day16.md is missing"),
    ],
)
def test_a_defect_is_named(report: Report, day: int, check: str, sentence: str) -> None:
    assert sentence in said(report, day, check), report[f"autodiff/{day:02d}"]


@pytest.mark.parametrize(
    ("markdown", "sentence"),
    [
        ("[the paper](papers/none.pdf)", "the link papers/none.pdf leads to nothing"),
        ("[above](#the-idea)", "no heading of the lesson is called #the-idea"),
        ("![Two lines](figures/none.svg)", "the picture figures/none.svg leads to nothing"),
        ("![](here.svg)", "the picture here.svg has no text"),
        ("where $x is small", "a `$` without its partner: where $x is small"),
        ("$\\frac{a}{b$", "the braces of"),
        ("$\\left( a$", "are not balanced"),
        ("$a \\unheardof b$", "the terminal cannot show \\unheardof"),
        ("```text\n" + "-" * 79 + "\n```", "lesson.md:2 is 79 columns wide"),
    ],
)
def test_a_defect_of_a_lesson_is_named(tmp_path: Path, markdown: str, sentence: str) -> None:
    (tmp_path / "here.svg").write_text("")
    words = "word " * WORDS[0]
    found = lesson_findings(f"{markdown}\n\n{words}", tmp_path / "lesson.md")
    assert len(found) == 1, found
    assert sentence in found[0]


def test_what_a_lesson_may_show(tmp_path: Path) -> None:
    (tmp_path / "here.svg").write_text("")
    markdown = (
        "## The idea\n\n[above](#the-idea), [a paper](https://arxiv.org/abs/2205.14135), "
        "![Two lines](here.svg)\n\n$\\operatorname{Var}\\left(\\tfrac{1}{2}\\right)$ costs "
        "`$5`.\n\n```text\n" + "-" * 78 + "\n```\n"
    )
    assert lesson_findings(markdown + "word " * WORDS[0], tmp_path / "lesson.md") == []


def test_a_day_too_slow_is_named() -> None:
    day = Day("autodiff", 1)
    passed = TestResult("test_x", "f", "passed", measures={"cpu_seconds": 25.5})
    result = DayResult("autodiff", 1, "Derivatives", "solution", 0, device={"kind": "cpu"})
    result.exercises = [ExerciseResult("f", "passed", [passed], passed.measures)]
    assert reference_findings(day, result) == [
        "the tests use 25.5 s of CPU time: 10 s are due on an idle core, and 25 s are more than a "
        "slow machine explains"
    ]
    passed.measures["cpu_seconds"] = 24.5
    assert reference_findings(day, result) == []


def test_a_lesson_names_the_line(report: Report) -> None:
    assert "day07.md:7" in said(report, 7, "material")


def test_stray_files_are_named(report: Report) -> None:
    assert any("test_day17.py" in s for s in report["autodiff"]["stray"])


def test_the_screen_is_readable(tmp_path: Path) -> None:
    toy = Toy(tmp_path)
    toy.add_day(1)
    done: Any = toy.run("-m", "harness", "verify", "autodiff", "1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "autodiff/01  Toys 1: proved" in done.stdout
    assert "1 of 1 days are proved." in done.stdout
