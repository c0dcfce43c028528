"""``DEBUG=1``: one test by itself, with the terminal's keys, so that ``breakpoint()`` works."""

from __future__ import annotations

import ast
import math
import os
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

from harness.curriculum import ROOT, Day, read_written
from harness.grading.finder import source_file
from harness.protocol import DayResult, Event, Failure, Request, TestResult, fold
from harness.run import run
from harness.run.cold import ONE_THREAD, Cold, quiet
from harness.screen.pager import say


def debug(request: Request) -> DayResult:
    """Run the first test that fails (or the first one, if none does) for a debugger: of the
    exercises in which ``breakpoint()`` stands, if one of those fails.

    → that test's result; the whole run's where no test could be run.
    """
    if request.track == "triton":
        request = replace(request, device="cpu")  # a kernel on a GPU cannot stop
    print("looking for the first test that fails …", file=sys.stderr)
    ignoring = Cold(environment={"PYTHONBREAKPOINT": "0"})
    day = Day(request.track, request.day)
    file = source_file(day, request.impl)
    stops = _stops(file, day)
    for exercise in [*([] if request.exercise else stops or []), request.exercise]:
        looked = replace(request, exercise=exercise, first_failure=True, known_bugs=False)
        tried = run(looked, ignoring)
        test = _first(tried)
        if test is not None and test.outcome == "failed":
            break
    if test is None:
        return tried
    word = "fails" if test.outcome == "failed" else "passes, as all do"
    say(f"{test.name} of {test.exercise} ({word}).")
    say("In the debugger: n next line, s step in, p x prints x, c continue, q quit.")
    if stops == []:
        say(f"No breakpoint() stands in {file.name}: write one where the debugger should stop.")
    elif stops and test.exercise not in stops:
        say(f"breakpoint() stands in {stops[0]}: with EX={stops[0]} a test of that runs.")
    print(flush=True)
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


def _stops(file: Path, day: Day) -> list[str] | None:
    """The exercises in whose code a debugger is called; None where that cannot be said, as it
    is called in code that no exercise owns."""
    try:
        tree = ast.parse(read_written(file))
    except (OSError, SyntaxError):
        return None
    parts = {a.owner.split(".")[0]: e.name for e in day.exercises for a in e.answers}
    parts |= {e.name: e.name for e in day.exercises}
    found = [node for node in tree.body if any(map(_is_stop, ast.walk(node)))]
    names = [parts.get(getattr(node, "name", "")) for node in found]
    return None if None in names else list(dict.fromkeys(n for n in names if n))


def _is_stop(node: ast.AST) -> bool:
    name = getattr(node, "id", getattr(node, "attr", ""))
    return isinstance(node, ast.Name | ast.Attribute) and name in ("breakpoint", "set_trace")


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
