"""Hints, solution, reset, restore, next and progress, as a learner would use them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.toy import Toy

STUB = 'raise NotImplementedError("double")'


@pytest.fixture
def toy(tmp_path: Path) -> Toy:
    toy = Toy(tmp_path / "project")
    toy.add_day(1)
    toy.add_day(2)
    assert toy.run("-m", "harness", "stubs").returncode == 0
    return toy


def harness(toy: Toy, *arguments: str, code: int = 0) -> str:
    done = toy.run("-m", "harness", *arguments)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def answer(toy: Toy, text: str, day: int = 1) -> Path:
    file = toy.track / f"day{day:02d}.py"
    file.write_text(file.read_text().replace(STUB, text))
    return file


def test_hints_come_one_at_a_time_and_are_remembered(toy: Toy) -> None:
    toy.add_day(3, reference=("    # HINT: two times x.\n", "    # HINT: two.\n    # HINT: 2 x.\n"))
    first = harness(toy, "hint", "autodiff", "3")
    assert "hint 1 of 2" in first
    assert "2 x." not in first
    second = harness(toy, "hint", "autodiff", "3", "--ex", "double")
    assert "2 x." in second
    assert "That was the last" in second
    assert "hint 1 of 1" in harness(toy, "hint", "autodiff", "2")


def test_a_hint_does_not_repeat_what_the_stub_shows(toy: Toy) -> None:
    assert "what is x + x?" not in harness(toy, "hint", "autodiff", "1")


def test_the_solution_is_shown_after_passing_only(toy: Toy) -> None:
    assert "has not been passed yet" in harness(toy, "solution", "autodiff", "1", code=2)
    answer(toy, "return x + x")
    harness(toy, "autodiff", "1")
    shown = harness(toy, "solution", "autodiff", "1")
    assert "-    return x + x" in shown
    assert "+    return 2.0 * x" in shown
    assert "return 2.0 * x" in harness(toy, "solution", "autodiff", "2", "--force")


def test_reset_keeps_what_it_replaces_and_restore_brings_it_back(toy: Toy) -> None:
    file = answer(toy, "return x * 2  # mine")
    assert "is the stub again" in harness(toy, "reset", "autodiff", "1")
    assert STUB in file.read_text()
    assert "  1  " in harness(toy, "restore", "autodiff", "1")
    harness(toy, "restore", "autodiff", "1", "--version", "1")
    assert "# mine" in file.read_text()
    assert "VERSION=9" in harness(toy, "restore", "autodiff", "1", "--version", "9", code=2)


def test_restoring_keeps_the_present_version_too(toy: Toy) -> None:
    file = answer(toy, "return x * 2  # first")
    harness(toy, "reset", "autodiff", "1", "--ex", "double")
    answer(toy, "return x * 2  # second")
    harness(toy, "restore", "autodiff", "1", "--version", "1")
    assert "# first" in file.read_text()
    kept = [p.read_text() for p in (toy.folder / ".harness/archive").rglob("*.py")]
    assert any("# second" in text for text in kept)


def test_progress_and_next(toy: Toy) -> None:
    assert "Day 1: Toys 1" in harness(toy, "next", code=1)
    answer(toy, "return x + x")
    harness(toy, "autodiff", "1")
    assert "Day 2: Toys 2" in harness(toy, "next", code=1)
    shown = harness(toy, "progress")
    assert "autodiff   1 of 35" in shown
    assert "- [x] Day 1: Toys 1" in (toy.folder / "PROGRESS.md").read_text()
    assert "- [ ] Day 2: Toys 2" in (toy.folder / "PROGRESS.md").read_text()
    data = json.loads(harness(toy, "progress", "--json"))
    assert data["tracks"]["autodiff"][0]["level"] == 2


def test_only_the_learners_own_file_counts(toy: Toy) -> None:
    harness(toy, "autodiff", "1", "--impl", "solution")
    assert json.loads(harness(toy, "progress", "--json"))["attempts"] == 0
