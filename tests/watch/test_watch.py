"""Watch mode in a real terminal: saves, keys, crashes, hangs."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.watch.files import events_arrive
from tests.support.terminal import Terminal
from tests.support.toy import Toy

STUB = 'raise NotImplementedError("double")'
RIGHT = "return x + x"


class Learner:
    """Someone who edits day 1 of the toy track while watch runs."""

    def __init__(self, toy: Toy, terminal: Terminal) -> None:
        self.toy, self.terminal = toy, terminal
        self.file = toy.track / "day01.py"
        self.stub = self.file.read_text()

    def save(self, answer: str) -> None:
        self.file.write_text(self.stub.replace(STUB, answer))


@pytest.fixture
def learner(tmp_path: Path) -> Iterator[Learner]:
    toy = Toy(tmp_path / "project")
    toy.add_day(1)
    toy.add_day(2)
    assert toy.run("-m", "harness", "stubs").returncode == 0
    terminal = Terminal(
        [sys.executable, "-m", "harness", "watch", "autodiff", "1"],
        toy.folder,
        {**os.environ, "PYTHONPATH": str(toy.folder)},
    )
    try:
        terminal.wait_for("not started")
        yield Learner(toy, terminal)
    finally:
        terminal.press("q")
        terminal.close()


def test_from_the_stub_to_the_next_day(learner: Learner) -> None:
    terminal = learner.terminal
    terminal.press("h")
    assert "hint 1 of 1" in terminal.wait_for("two times x")
    learner.save("return 3 * x")
    terminal.wait_for("tests fail")
    learner.save(RIGHT)
    terminal.wait_for("1 of 1 exercises")
    terminal.press("n")
    terminal.wait_for("Day 2")
    terminal.wait_for("not started")
    terminal.press("n")
    terminal.wait_for("no later day")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("import os; os._exit(3)", "ended itself"),
        ("import ctypes; ctypes.string_at(0)", "segmentation fault"),
        ("import sys; sys.exit(1)", "sys.exit()"),
        ("return (", "never closed"),
    ],
)
def test_nothing_takes_watch_down(learner: Learner, answer: str, said: str) -> None:
    learner.save(answer)
    learner.terminal.wait_for(said)
    learner.save(RIGHT)
    learner.terminal.wait_for("1 of 1 exercises")


def test_a_new_save_ends_a_run_that_hangs(learner: Learner) -> None:
    learner.save("\n    while True: pass")
    learner.terminal.wait_for("grading")
    time.sleep(1.0)
    started = time.monotonic()
    learner.save(RIGHT)
    learner.terminal.wait_for("1 of 1 exercises")
    assert time.monotonic() - started < 15, "the hanging run (20 s) was waited for"


def test_a_change_of_the_tests_is_noticed(learner: Learner) -> None:
    learner.save(RIGHT)
    learner.terminal.wait_for("1 of 1 exercises")
    tests = learner.toy.track / "tests" / "test_day01.py"
    tests.write_text(tests.read_text() + "    assert False, 'a stricter test'\n")
    learner.terminal.wait_for("a stricter test")


def test_events_arrive_here_and_the_probe_leaves_nothing(tmp_path: Path) -> None:
    assert events_arrive(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_tells_nothing_is_polled(tmp_path: Path) -> None:
    assert not events_arrive(tmp_path / "missing")
