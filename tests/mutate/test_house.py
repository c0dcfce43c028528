"""Mutants of the harness's own files: a small file with its tests in a copy of the project."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.curriculum import ROOT, CurriculumError
from harness.mutate import house
from harness.mutate.house import Claims, Measured, files_of, hash_of, read_claims, too_dear
from harness.mutate.judge import Baseline, Judged, Verdict
from harness.mutate.operators import Mutant, mutants_of_file
from harness.mutate.report import DayReport
from harness.mutate.table import HOUSE, updated_house
from harness.usage import Usage
from tests.support.toy import Toy

TINY = '''
"""A file of the harness, for once a small one."""

from __future__ import annotations


def total(numbers: list[int]) -> int:
    """The sum of what is positive."""
    found = 0
    for number in numbers:
        if number > 0:
            found += number
    return found


class Left:
    def nothing(self, found: list[int] | None) -> list[int] | None:
        while found:
            found = None
        return found


LIMIT = 3
'''
TESTS = """
import pytest

from harness.tiny import LIMIT, Left, total


@pytest.fixture(scope="module")
def left():
    return Left()


def test_total():
    assert total([1, -2, 3]) == 4


def test_nothing(left):
    assert left.nothing([1]) is None
"""
CLAIMS = """
[claims]
"harness/tiny.py" = ["tests/test_tiny.py"]
"harness/other.py" = ["tests/test_other.py"]

[[equivalent]]
file = "harness/tiny.py"
find = "if number > 0:"
replace = "if number >= 0:"
because = "Nothing is added."

[[equivalent]]
file = "harness/tiny.py"
find = "found += number"
replace = "found -= number"
because = "This one is wrong."

[[equivalent]]
file = "harness/tiny.py"
find = "LIMIT = 3"
replace = "LIMIT = 30"
because = "This one is unused."
"""


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """One run over two files."""
    toy = Toy(tmp_path_factory.mktemp("toy"))
    (toy.folder / "tests").mkdir()
    (toy.folder / "harness" / "tiny.py").write_text(TINY)
    (toy.folder / "harness" / "other.py").write_text("LIMIT = 3\n")
    (toy.folder / "tests" / "test_tiny.py").write_text(TESTS)
    (toy.folder / "tests" / "test_other.py").write_text("def test_wrong():\n    assert False\n")
    (toy.folder / "harness" / "mutate" / "house.toml").write_text(CLAIMS)
    before = {p: p.read_bytes() for p in toy.folder.rglob("*.py")}
    found = {}
    for name in ("tiny", "other"):
        done = toy.run("-m", "harness", "mutate", "--json", HOUSE=f"harness/{name}.py", JOBS="2")
        assert done.returncode == 1, done.stdout + done.stderr
        (found[name],) = json.loads(done.stdout)
    assert {p: p.read_bytes() for p in toy.folder.rglob("*.py")} == before
    return found


def of(report: dict[str, Any], name: str) -> dict[str, Any]:
    (one,) = [one for one in report["exercises"] if one["exercise"] == name]
    return one  # type: ignore[no-any-return]


def test_what_is_caught_and_what_survives(reports: dict[str, dict[str, Any]]) -> None:
    report = reports["tiny"]
    names = ["total", "Left.nothing", "the module"]
    assert [one["exercise"] for one in report["exercises"]] == names
    limits = of(report, "the module")
    assert [s["after"] for s in limits["survivors"]] == ["LIMIT = 4", "LIMIT = 2"]
    assert limits["tests"] == ["tests/test_tiny.py"] * 2
    survivors = [s["after"] for s in of(report, "total")["survivors"]]
    assert survivors == ["for number in reversed(list(numbers)):", "if number > -1:"]
    assert of(report, "Left.nothing")["survivors"] == []
    assert report["total"] - report["caught"] == 4


def test_an_endless_loop_is_caught(reports: dict[str, dict[str, Any]]) -> None:
    assert of(reports["tiny"], "Left.nothing")["outcomes"] == {"caught": 2, "hung": 1}


def test_declared_equivalents(reports: dict[str, dict[str, Any]]) -> None:
    (same,) = of(reports["tiny"], "total")["equivalent"]
    assert (same["after"], same["because"]) == ("if number >= 0:", "Nothing is added.")
    wrong, unused = sorted(reports["tiny"]["problems"], key=lambda text: "no mutant" in text)
    assert "is declared equivalent (found -= number), but tests/test_tiny.py::test_total" in wrong
    assert "no mutant is that: This one is unused." in unused


def test_tests_that_fail_without_a_mutant_judge_nothing(
    reports: dict[str, dict[str, Any]],
) -> None:
    report = reports["other"]
    assert report["total"] == 0
    assert not report["passed"]
    assert "test_wrong fails without a mutant" in report["problems"][0]


def test_what_is_no_program_is_not_changed() -> None:
    source = '''
"""Numbers: 1."""
import functools
if TYPE_CHECKING:
    x = 3

@functools.cache(3)
def f(x: "int | 3" = 2) -> "3":
    """Adds 4."""
    if x == 7:
        raise ValueError(f"{x + 1} is 8", 9)
    assert x, x + 5
    text = open(x, encoding="utf-8").read()
    return f"{x + 6}", text
'''
    changed = {(m.operator, m.before, m.after) for m in mutants_of_file(source)}
    assert ("comparison", "if x == 7:", "if x != 7:") in changed
    assert not any("assert" in before or "TYPE_CHECKING" in before for _, before, _ in changed)
    for untouched in ("Numbers", "functools", "Adds", "9", "x + 5", "x + 6", "utf"):
        kept = [after for _, before, after in changed if untouched in before]
        assert all(untouched in after or after == "pass" for after in kept), untouched
    assert not any(name == "keyword" for name, _, _ in changed)
    assert {m.exercise for m in mutants_of_file(source)} == {"f"}


def test_an_order_that_does_not_matter_is_not_changed() -> None:
    source = """
def f(x):
    try:
        return x.startswith(("a", "b")) or x in frozenset(("a", "b"))
    except (ValueError, TypeError):
        return TemporaryDirectory(prefix="x-")
"""
    made = mutants_of_file(source)
    assert made and not {"elements swapped", "keyword"} & {m.operator for m in made}
    ordered = mutants_of_file("def f(x):\n    return g((1.5, x), prefix=3)\n")
    assert {"elements swapped", "keyword"} <= {m.operator for m in ordered}


def test_the_nearest_claim_counts() -> None:
    claims = Claims(
        {
            "harness/grading": ("tests/grading/test_rules.py",),
            "harness/grading/guard.py": ("tests/grading/test_guard.py",),
        }
    )
    assert claims.of("harness/grading/guard.py") == ("tests/grading/test_guard.py",)
    assert claims.of("harness/grading/plugin.py") == ("tests/grading/test_rules.py",)
    by_folder = claims.of("harness/testing/close.py")
    assert "tests/testing/test_close.py" in by_folder
    assert all(name.startswith("tests/testing/test_") for name in by_folder)


def test_every_claim_names_what_there_is() -> None:
    claims = read_claims()
    for file, tests in claims.tests.items():
        assert (ROOT / file).exists(), file
        assert all((ROOT / test).exists() for test in tests), file
    for entry in claims.equivalents:
        house._equivalents((ROOT / entry["file"]).read_text("utf-8"), entry["file"], claims)


def test_an_equivalent_that_does_not_stand_there_once_is_refused() -> None:
    entry = {"file": "harness/x.py", "find": "a", "replace": "b", "because": "no reason"}
    with pytest.raises(CurriculumError, match=r"holds `find` 2 times"):
        house._equivalents("a = a\n", "harness/x.py", Claims({}, (entry,)))
    assert house._equivalents("a = a\n", "harness/y.py", Claims({}, (entry,))) == {}


def test_dear_tests_are_left_out_and_what_is_shared_is_paid_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(house, "BUDGET", 10.0)
    alone = Measured({"a": 1.0, "b": 9.0}, {"a": 0.0, "b": 0.0})
    sharing = Measured({"c": 1.0, "d": 2.0, "e": 9.0}, {"c": 5.0, "d": 5.0, "e": 5.0})
    assert too_dear([alone, sharing]) == ["b", "e"]  # 1, then 6, then 2 more
    assert too_dear([Measured({"f": 10.0}, {"f": 0.0})]) == []
    assert too_dear([Measured({"f": 10.1}, {"f": 0.0})]) == ["f"]


def test_files_of_a_folder() -> None:
    assert files_of("harness/usage.py") == ["harness/usage.py"]
    found = files_of("harness/mutate")
    assert "harness/mutate/house.py" in found and found == sorted(found)
    for wrong in ("harness/nothing.py", "tests", "../main"):
        with pytest.raises(Usage):
            files_of(wrong)


def test_the_hash_is_of_code_tests_and_declarations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(house, "ROOT", tmp_path)
    (tmp_path / "x.py").write_text("a = 1\n")
    (tmp_path / "t.py").write_text("")
    claims = Claims({"x.py": ("t.py",)})
    first = hash_of("x.py", claims)
    (tmp_path / "x.py").write_text("# why\na = 1  # why\n")
    assert hash_of("x.py", claims) == first, "comments change no mutant"
    entry = {"file": "x.py", "find": "1", "replace": "2", "because": "so"}
    assert hash_of("x.py", Claims(claims.tests, (entry,))) != first
    assert hash_of("x.py", Claims(claims.tests, ({**entry, "file": "y.py"},))) == first
    (tmp_path / "t.py").write_text("1")
    assert hash_of("x.py", claims) != first


def test_the_table_keeps_the_rows_of_other_files() -> None:
    mutant = Mutant("f", "constant", 2, "2", "3", "3")

    def report(key: str, caught: int, survived: int) -> DayReport:
        one = Judged("f", Baseline((), 1, 1))
        one.verdicts = [Verdict(mutant, "caught")] * caught
        one.verdicts += [Verdict(mutant, "survived")] * survived
        one.verdicts += [Verdict(mutant, "equivalent")]
        return DayReport(key, "", "", [one], files="0123abcd", wanted=90.0)

    text = updated_house("\n".join(("# M", *HOUSE, "end")), [report("harness/b.py", 9, 1)])
    text = updated_house(text, [report("harness/a.py", 1, 9)])
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert rows[1:] == [
        "| harness/a.py | 1 | 10 | 10.0 | 1 | `0123abcd` |",
        "| harness/b.py | 9 | 10 | 90.0 | 1 | `0123abcd` |",
        "| all 2 files | 10 | 20 | 50.0 | 2 | |",
    ]
    assert report("harness/b.py", 9, 1).passed and not report("harness/b.py", 8, 2).passed
