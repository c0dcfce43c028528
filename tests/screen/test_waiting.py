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
    now[0] = 104.0
    assert progress.text() == "grading … starting, for 4 s"
    now[0] = 100.0
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
    assert all(text.endswith(("s", "it)")) for text in written if " of " in text or "test_" in text)
    assert written[-1] == ""


@pytest.mark.parametrize(
    ("columns", "line"),
    [
        ("80", "grading …, test_values[64-128] of softmax, for 3 s (Ctrl-C ends it)"),
        ("60", "grading …, test_values[64-128] of softmax, for 3 s"),
        ("40", "grading …, test_values[64-128…, for 3 s"),
    ],
)
def test_the_seconds_are_never_cut_off(
    columns: str, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr(waiting.time, "monotonic", lambda: now[0])
    monkeypatch.setenv("COLUMNS", columns)
    out = io.StringIO()
    waited = Waiting(out)
    waited.note(Event("started", "test_values[64-128]", "softmax"))
    now[0] = 103.0
    waited._write()
    assert out.getvalue().split("\r\x1b[K")[-1] == line
