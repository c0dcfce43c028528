"""A reference that fails for one seed in some is found, and its seed repeats it."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.curriculum import Day
from harness.protocol import DayResult, ExerciseResult, Failure, TestResult
from harness.usage import Usage
from harness.verify.soak import failures, part_of, seeds_of
from tests.support.toy import TESTS, Toy

FLAKY = (
    TESTS
    + """

@exercise("double")
def test_now_and_then(rng):
    x = rng.normal(3)
    close(day{number:02d}.double(x), x + x + (1 if 0.4 < abs(x[0]) < 0.9 else 0))
"""
)


def test_a_flaky_reference_is_found(tmp_path: Path) -> None:
    toy = Toy(tmp_path)
    toy.add_day(1)
    toy.add_day(2, tests=FLAKY)
    done = toy.run("-m", "harness", "verify", "autodiff", SEEDS="12", SEED="5")
    assert done.returncode == 1, done.stderr
    lines = done.stdout.splitlines()
    failed = [line for line in lines if line.startswith("autodiff/02 SEED=")]
    assert 0 < len(failed) < 12
    assert all("test_now_and_then: " in line for line in failed)
    assert all(5 <= int(line.split("SEED=")[1].split()[0]) < 17 for line in failed)
    said = [line.split(" (")[0] for line in lines if line not in failed]
    assert said == [
        "autodiff/01: 12 seeds from 5, 0 of them failed",
        f"autodiff/02: 12 seeds from 5, {len(failed)} of them failed",
        f"2 days with 12 seeds each: {len(failed)} runs failed.",
    ]
    again = failed[0].split("SEED=")[1].split()[0]
    one = toy.run("-m", "harness", "autodiff", "2", "--impl", "solution", "--seed", again)
    assert one.returncode == 1
    assert "test_now_and_then" in one.stdout
    fine = toy.run("-m", "harness", "verify", "autodiff", "--part", "1/2", SEEDS="2")
    assert fine.returncode == 0
    assert "autodiff/02" not in fine.stdout


def test_what_counts_as_a_failure() -> None:
    result = DayResult("autodiff", 1, "Toys", "solution", 0)
    tests = [
        TestResult("test_a", "f", "passed"),
        TestResult("test_b", "f", "skipped"),
        TestResult("test_c", "f", "failed", failure=Failure("wrong", "no\nmore")),
        TestResult("test_d", "f", "failed"),
    ]
    result.exercises = [ExerciseResult("f", "wrong", tests)]
    assert failures(result) == ["test_c: no", "test_d: it was not reached"]
    result.problems.append(Failure("broken file", ""))
    assert failures(result)[0] == "cannot be graded: "


def test_parts_are_all_days_once() -> None:
    days = [Day("autodiff", number) for number in range(1, 12)]
    parts = [part_of(days, f"{number}/4") for number in range(1, 5)]
    assert sorted(day.number for part in parts for day in part) == list(range(1, 12))
    assert part_of(days, "") == days
    for wrong in ("0/4", "5/4", "2", "a/4", "1/"):
        with pytest.raises(Usage):
            part_of(days, wrong)


def test_seeds_are_counted_from_the_first() -> None:
    assert list(seeds_of("3", "40")) == [40, 41, 42]
    assert list(seeds_of("1", "")) == [0]
    for wrong in ("0", "-1", "many"):
        with pytest.raises(Usage):
            seeds_of(wrong, "0")
