"""The line that says what is going on while tests run; the report replaces it."""

from __future__ import annotations

import shutil
import threading
import time
from typing import TextIO

from harness.protocol import Event

PATIENCE = 2.0
"""Seconds after which the line names the test that takes so long, and counts."""


class Progress:
    """How far a run is, from its events."""

    def __init__(self) -> None:
        self._total = self._done = 0
        self._running = self._exercise = ""
        self._since = time.monotonic()
        self._lock = threading.Lock()

    def note(self, event: Event) -> None:
        with self._lock:
            if event.kind == "collected":
                self._total = max(self._total, len(event.data["tests"]))
            elif event.kind == "started":
                self._running, self._exercise = event.test, event.exercise
                self._since = time.monotonic()
            elif event.kind in ("passed", "failed", "skipped"):
                self._done += 1

    def text(self) -> str:
        with self._lock:
            waited = time.monotonic() - self._since
            counted = f" {self._done}/{self._total}" if self._total else ""
            if waited < PATIENCE:
                return f"grading …{counted}"
            what = "" if counted else " starting"
            if self._running:
                what = f", {self._running} of {self._exercise}"
            return f"grading …{counted}{what}, for {waited:.0f} s"


def fitting(text: str, width: int) -> str:
    """``text`` in less than ``width`` columns; the seconds at its end stay."""
    if len(text) < width:
        return text
    _, mark, seconds = text.rpartition(", for ")
    tail = f"{mark}{seconds}" if mark else ""
    return text[: max(width - 2 - len(tail), 0)] + "…" + tail


class Waiting:
    """``note`` the run's events; the line is written anew at each, and while none comes."""

    def __init__(self, out: TextIO) -> None:
        self._out, self._progress = out, Progress()
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._repeat, daemon=True)

    def __enter__(self) -> Waiting:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._out.write("\r\x1b[K")
        self._out.flush()

    def note(self, event: Event) -> None:
        self._progress.note(event)
        self._write()

    def _repeat(self) -> None:
        while not self._stop.wait(0.5):
            self._write()

    def _write(self) -> None:
        width = shutil.get_terminal_size((80, 24)).columns
        text = self._progress.text()
        way_out = " (Ctrl-C ends it)"
        if ", for " in text and len(text + way_out) < width:
            text += way_out
        text = fitting(text, width)
        with self._lock:
            self._out.write(f"\r\x1b[K{text}")
            self._out.flush()
