"""A class of a toy project, for the tests."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.toy import REFERENCE, Toy

RIGHT = REFERENCE.format(number=1, line="=" * 14)
WRONG = RIGHT.replace("2.0 * x", "3.0 * x")
LISTED = RIGHT.replace("return 2.0 * x", "return np.array([2.0 * v for v in x])")
assert WRONG != RIGHT != LISTED


class Class:
    """A toy project, and submissions to it."""

    def __init__(self, folder: Path) -> None:
        self.toy = Toy(folder / "project")
        self.toy.add_day(1)
        self.toy.add_day(2)
        self.submissions = folder / "handed in"
        self.submissions.mkdir()
        self.out = folder / "grades"

    def hand_in(self, student: str, text: str, day: int = 1) -> None:
        folder = self.submissions / student / "autodiff"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"day{day:02d}.py").write_text(text)

    def command(self, **more: str) -> tuple[list[str], dict[str, str]]:
        keys = {"SUBMISSIONS": str(self.submissions), "OUT": str(self.out), "DEVICE": "cpu"}
        return ["-m", "harness", "grade"], {**keys, **more}

    def grade(self, code: int = 0, **more: str) -> str:
        arguments, environment = self.command(**more)
        done = self.toy.run(*arguments, **environment)
        assert done.returncode == code, done.stderr[-3000:]
        return done.stdout + done.stderr

    def points(self) -> dict[str, list[str]]:
        """The status of each exercise, by student."""
        found = json.loads((self.out / "gradebook.json").read_text())
        return {
            s["name"]: [e["status"] for d in s["days"] for e in d["exercises"]]
            for s in found["students"]
        }

    def records(self) -> dict[str, float]:
        return {p.name: p.stat().st_mtime for p in (self.out / "records").glob("*.json")}


@pytest.fixture
def klass(tmp_path: Path) -> Class:
    return Class(tmp_path)
