"""``DEBUG=1``: one test by itself, with the terminal's keys, so that ``breakpoint()`` works."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import threading
from dataclasses import replace

from harness.curriculum import ROOT, Day
from harness.protocol import DayResult, Event, Failure, Request, TestResult, fold
from harness.run import run
from harness.run.cold import ONE_THREAD, Cold, quiet


def debug(request: Request) -> DayResult:
    """Run the first test that fails (or the first one, if none does) for a debugger.

    → that test's result; the whole run's where no test could be run.
    """
    if request.track == "triton":
        request = replace(request, device="cpu")  # a kernel on a GPU cannot stop
    print("looking for the first test that fails …", file=sys.stderr)
    ignoring = Cold(environment={"PYTHONBREAKPOINT": "0"})
    tried = run(replace(request, first_failure=True, known_bugs=False), ignoring)
    test = _first(tried)
    if test is None:
        return tried
    word = "fails" if test.outcome == "failed" else "passes, as all do"
    print(f"{test.name} of {test.exercise} ({word}).")
    print(
        "In the debugger: n next line, s step in, p x prints x, c continue, q quit.\n", flush=True
    )
    day = Day(request.track, request.day)
    alone = replace(
        request, exercise=test.exercise, tests=(test.name,), known_bugs=False, debug=True,
        seconds=math.inf,
    )  # fmt: skip
    events = _attended(alone)
    names = [exercise.name for exercise in day.exercises]
    result = replace(fold(alone, day.title, names, events), seconds=0.0)
    for left in result.tests:
        if left.outcome == "unfinished" or (left.failure and _QUIT in left.failure.message):
            left.outcome = "unfinished"
            left.failure = Failure("error", "you left the debugger before this test was over.")
    return result


_QUIT = "Quitting debugger"
"""What pytest's debugger raises for ``q``; the interpreter makes a kernel's failure of it."""


def _first(result: DayResult) -> TestResult | None:
    ran = [test for test in result.tests if test.outcome in ("failed", "passed")]
    return next((test for test in ran if test.outcome == "failed"), ran[0] if ran else None)


def _attended(request: Request) -> list[Event]:
    """The events of a child that has the terminal to itself: no limit, and Ctrl-C is its own."""
    events, theirs = os.pipe()
    command = [sys.executable, "-m", "harness.grading.child", request.to_json(), str(theirs)]
    child = subprocess.Popen(
        command, cwd=ROOT, env={**ONE_THREAD, **os.environ, **quiet()}, pass_fds=(theirs,)
    )
    os.close(theirs)
    lines: list[bytes] = []

    def read() -> None:
        with os.fdopen(events, "rb") as pipe:
            lines.extend(pipe)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    before = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        child.wait()
        reader.join(timeout=1.0)
    finally:
        signal.signal(signal.SIGINT, before)
    return [Event.from_json(line.decode()) for line in lines if line.endswith(b"\n")]
