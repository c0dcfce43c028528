"""The day that is graded, and the way out of the process that grades it."""

from __future__ import annotations

import os
import zlib
from pathlib import Path

import pytest

from harness.curriculum import Day
from harness.grading import finder
from harness.grading.events import Events
from harness.grading.graded import GradedDay
from harness.protocol import Event, GradedFile, Request
from tests.support.toy import REFERENCE


@pytest.fixture
def day(tmp_path: Path) -> Day:
    day = Day("autodiff", 1, tmp_path)
    day.solution.parent.mkdir(parents=True)
    day.solution.write_text(REFERENCE.format(number=1, line="=" * 13), encoding="utf-8")
    return day


def graded(day: Day, source: str | None, **request: object) -> GradedDay:
    if source is not None:
        day.file.write_text(source, encoding="utf-8")
    return GradedDay(day, Request("autodiff", 1, **request))  # type: ignore[arg-type]


def answer(day: Day, line: str) -> str:
    from harness.curriculum import generate_stub

    stub = generate_stub(day.solution.read_text(encoding="utf-8"), day.solution)
    assert 'raise NotImplementedError("double")' in stub
    return stub.replace('raise NotImplementedError("double")', line)


def test_what_is_untouched(day: Day) -> None:
    assert graded(day, None).untouched == frozenset()
    assert graded(day, answer(day, 'raise NotImplementedError("double")')).untouched == {"double"}
    assert graded(day, answer(day, "return x + x")).untouched == frozenset()
    assert graded(day, "def broken(:").untouched == frozenset()
    stub = answer(day, 'raise NotImplementedError("double")')
    assert graded(day, stub, impl="solution").untouched == frozenset()


def test_which_lines_are_given(day: Day) -> None:
    source = answer(day, "return x + x")
    lines = source.splitlines()
    own = {n for n, line in enumerate(lines, 1) if line.strip() == "return x + x"}
    assert graded(day, source).given_lines == set(range(1, len(lines) + 1)) - own
    indented = source.replace("    return x + x", "        return x + x").replace(
        "import numpy as np", "    import numpy as np"
    )
    assert graded(day, indented).given_lines == set(range(1, len(lines) + 1)) - own
    assert graded(day, source, impl="solution").given_lines == frozenset()
    day.file.unlink()
    assert graded(day, None).given_lines == frozenset()
    one = graded(day, source)
    day.solution.write_text(day.solution.read_text().replace("    ### END SOLUTION\n", ""))
    assert one.given_lines == frozenset()


def test_a_file_that_is_no_utf8_has_lines(day: Day) -> None:
    day.file.write_bytes(answer(day, "return x + x").encode() + b"# \xff\n")
    one = GradedDay.__new__(GradedDay)
    one.day, one.request, one.file = day, Request("autodiff", 1), day.file
    assert 1 in one.given_lines


def test_each_test_has_a_seed_of_its_own(day: Day) -> None:
    one = graded(day, None, seed=7)
    assert one.test_seed("test_a[3]") == zlib.crc32(b"7:test_a[3]")
    assert one.test_seed("test_b") != one.test_seed("test_a[3]")
    assert graded(day, None, seed=8).test_seed("test_b") != one.test_seed("test_b")


def test_the_choice_of_files(day: Day, monkeypatch: pytest.MonkeyPatch) -> None:
    one = graded(day, None, impl="solution", prior="same")
    assert one.choice == finder.Choice(("autodiff", 1), "solution", "same", day.root)
    assert one.file == day.solution and graded(day, None).file == day.file
    files = {name: GradedFile(name, f"{name}.py", "learner", "0", "") for name in "bca"}
    monkeypatch.setattr(finder.install(), "files", {one.choice: files})
    assert [file.module for file in one.graded_files()] == ["c", "b", "a"]
    assert graded(day, None).graded_files() == []
    assert one.missing == set() and one.borrowed == set()


def test_events_go_out_as_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    inside, outside = os.pipe()
    events = Events(outside)
    event = Event("passed", "test_ä", "double", {"seconds": 1.5})
    events.send(event)
    events.send(Event("finished"))
    lines = os.read(inside, 1 << 16).decode().splitlines()
    assert [Event.from_json(line) for line in lines] == [event, Event("finished")]
    Events(None).send(event)
    events._owner += 1  # a process that a test forked
    events.send(event)
    os.close(outside)
    assert os.read(inside, 10) == b""
    os.close(inside)


def test_an_event_may_need_several_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[bytes] = []

    def write(descriptor: int, data: bytes) -> int:
        assert descriptor == 99
        written.append(bytes(data[:7]))
        return len(written[-1])

    events = Events(99)
    monkeypatch.setattr(os, "write", write)
    events.send(Event("finished"))
    monkeypatch.undo()
    assert b"".join(written).decode() == Event("finished").to_json() + "\n"
