"""The generated table keeps the rows of days that were not run, and says which are out of date."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.curriculum import CurriculumError, Day
from harness.mutate.judge import Baseline, Judged, Verdict
from harness.mutate.operators import Mutant
from harness.mutate.report import DayReport, text_of
from harness.mutate.table import BEGIN, END, hash_of, stale, updated

SOURCE = "def double(x):\n    return 2 * x\n"
MUTANT = Mutant("double", "constant", 2, "return 2 * x", "return 3 * x", SOURCE.replace("2", "3"))
EMPTY = f"# Mutants\n\n{BEGIN}\n{END}\n\nThe end.\n"


def report(key: str, caught: int, survived: int, files: str = "0123abcd") -> DayReport:
    verdicts = [Verdict(MUTANT, "caught", "test_values")] * caught
    verdicts += [Verdict(MUTANT, "survived")] * survived
    one = Judged("double", Baseline(("test_values", "test_shapes[0]", "test_shapes[1]"), 1, 1))
    one.verdicts = verdicts
    return DayReport(key, "Twice | more", SOURCE, [one], files=files)


def test_rows_are_replaced_and_added_up() -> None:
    text = updated(EMPTY, [report("triton/13", 19, 1), report("pytorch/01", 5, 5)])
    text = updated(text, [report("pytorch/01", 10, 0)])
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert [row.split(" |")[0] for row in rows] == ["| Day", "| pytorch/01", "| triton/13", "| all"]
    assert "| 10 | 10 | 100.0 |" in rows[1]
    assert "| 2 days | 29 | 30 | 96.7 |" in rows[3]
    assert text.startswith("# Mutants\n") and text.endswith("\n\nThe end.\n")
    assert updated(text, []) == text


def test_marks_must_be_there() -> None:
    with pytest.raises(CurriculumError, match="exactly once, not 0 times"):
        updated(EMPTY.replace(END, ""), [])
    with pytest.raises(CurriculumError, match="must stand after"):
        updated(f"{END}\n{BEGIN}\n", [])


def test_stale_rows_are_named(tmp_path: Path) -> None:
    day, other = Day("triton", 13, tmp_path), Day("triton", 14, tmp_path)
    for one in (day, other):
        for path in (one.solution, one.tests):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(one.key)
    text = updated(EMPTY, [report("triton/13", 1, 0, hash_of(day))])
    assert stale(text, [day, other]) == ["triton/14"]
    day.solution.write_text(f"# HINT: worded anew.\n{day.key}  # why\n")
    assert stale(text, [day]) == [], "comments change no mutant"
    day.tests.write_text("changed")
    assert stale(text, [day]) == ["triton/13"]


def test_text_shows_each_survivor_with_the_tests_that_ran() -> None:
    text = text_of(report("triton/13", 1, 1))
    assert "1 of 2 mutants caught (50.0 %)" in text
    assert "double, line 2 (constant) survived:" in text
    assert "  -    return 2 * x\n  +    return 3 * x\n" in text
    assert "the tests of double that ran: test_values, test_shapes ×2" in text
    assert max(map(len, text.splitlines())) <= 80
