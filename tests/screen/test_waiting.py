"""While tests run: which one, and for how long, once it is long."""

from __future__ import annotations

import io
import time

import pytest

from harness.protocol import Event
from harness.screen import waiting
from harness.screen.waiting import Progress, Waiting


def test_a_long_test_is_named_and_its_seconds_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(waiting.time, "monotonic", lambda: now[0])
    progress = Progress()
    assert progress.text() == "grading …"
    progress.note(Event("collected", data={"tests": [["test_a", "fill"], ["test_b", "fill"]]}))
    progress.note(Event("started", "test_a", "fill"))
    progress.note(Event("passed", "test_a", "fill"))
    progress.note(Event("started", "test_b", "fill"))
    now[0] = 101.9
    assert progress.text() == "grading … 1/2"
    now[0] = 107.2
    assert progress.text() == "grading … 1/2, test_b of fill, for 7 s"


def test_it_counts_by_itself_and_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "PATIENCE", 0.0)
    monkeypatch.setenv("COLUMNS", "40")
    out = io.StringIO()
    with Waiting(out) as line:
        line.note(Event("started", "test_with_a_name_that_is_rather_long", "fill"))
        time.sleep(1.2)
    written = out.getvalue().split("\r\x1b[K")
    assert len(written) >= 4, "nobody sent an event, and it went on counting"
    assert all(len(text) < 40 for text in written)
    assert written[-1] == ""
