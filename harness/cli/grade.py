"""Grades one day or several and shows the result."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from harness.curriculum import (
    Day,
    find_day,
    find_exercise,
    find_track,
    find_tracks,
    read_written,
)
from harness.curriculum import untouched as untouched_in
from harness.progress import ProgressError, Store, with_changes
from harness.progress.store import PASSED
from harness.protocol import LEARNER, DayResult, Request
from harness.screen.pager import columns, page, say, wrapped
from harness.usage import Usage, check_choice, check_impl, seed_of

K = TypeVar("K")
V = TypeVar("V")


@dataclass(frozen=True)
class Options:
    impl: str = LEARNER
    prior: str = "auto"
    exercise: str = ""
    seed: str = ""
    device: str = "auto"
    as_json: bool = False
    junit: str = ""
    verbose: bool = False
    passthrough: bool = False


def grade_day(track: str, number: str, options: Options) -> int:
    day = find_day(track, number)
    if options.device == "cuda" and day.track == "autodiff":
        raise Usage("DEVICE=cuda: the autodiff track is numpy on the CPU, and uses no GPU.")
    request = _request(day, options)
    from harness.run import Interrupted

    try:
        result = _run(request, quiet=options.as_json)
    except Interrupted as stopped:
        _report([stopped.result], options)
        return 130
    result = _remember(result, request)
    left = _left(day, result) if request.exercise and request.impl == LEARNER else None
    _report([result], options, left)
    return _exit_code([result])


def debug_day(track: str, number: str, options: Options) -> int:
    """One test, in which ``breakpoint()`` works. → 0 if it passes"""
    from harness.cli.debug import debug

    result = debug(_request(find_day(track, number), options))
    _report([result], options)
    return _exit_code([result])


def grade_mine(track: str, options: Options) -> int:
    """Grade the days whose file is not the stub any more."""
    tracks = [find_track(track)] if track else find_tracks()
    days = [day for t in tracks for day in t.days if started(day)]
    if not days:
        print("No day has been started yet. Begin with: make triton DAY=1")
        return 0
    results = []
    for day in days:
        request = _request(day, options)
        results.append(_remember(_run(request, quiet=options.as_json), request))
        if options.verbose and not options.as_json:
            _show([results[-1]], verbose=True)
        elif not options.as_json:
            _line(results[-1])
            _list_problems(results[-1])
    if options.as_json or options.junit:
        _write(results, options)
    return _exit_code(results)


def list_days(track: str, as_json: bool) -> int:
    """The track's days, and how far the learner is with each."""
    found = find_track(track)
    states = [_state(day) for day in found.days]
    if as_json:
        rows = [
            {"day": d.number, "title": d.title, "exercises": [e.name for e in d.exercises],
             "started": started(d), "state": state}
            for d, state in zip(found.days, states, strict=True)
        ]  # fmt: skip
        print(json.dumps(rows, indent=2))
        return 0
    lines = [f"{found.title}\n"]
    for day, state in zip(found.days, states, strict=True):
        lines.append(f"  {day.number:>2}  {day.title:<44} {state}")
    how = f"make {found.name} DAY=1 grades a day; make lesson TRACK={found.name} DAY=1 teaches it."
    page("\n".join([*lines, "", *wrapped(how, columns(100, 80))]))
    return 0


def _state(day: Day) -> str:
    if not day.file.exists():
        return "file missing"
    try:
        left = untouched_in(
            read_written(day.file), day.solution.read_text(encoding="utf-8"), day.file
        )
    except SyntaxError:
        return "syntax error"
    if _history(lambda store: store.levels()).get((day.track, day.number), 0) >= PASSED:
        return "passed"
    total = len(day.exercises)
    if len(left) == total:
        return "not started"
    digest = hashlib.sha256(day.file.read_bytes()).hexdigest()
    attempts = _history(lambda store: {0: store.attempts(day.track, day.number)}).get(0) or []
    for attempt in reversed(attempts):
        if attempt.hash and digest.startswith(attempt.hash) and attempt.total == total:
            return f"{attempt.passed} of {total} pass"
    return f"{total - len(left)} of {total} written"


def _left(day: Day, result: DayResult) -> list[str]:
    """The day's other exercises that are not known to pass: untouched, or failed when the whole
    day was last graded."""
    graded = {exercise.name for exercise in result.exercises}
    attempts = _history(lambda store: {0: store.attempts(day.track, day.number)}).get(0)
    failing = set(attempts[-1].failing) if attempts else {e.name for e in day.exercises}
    with contextlib.suppress(SyntaxError):
        failing |= untouched_in(
            read_written(day.file), day.solution.read_text(encoding="utf-8"), day.file
        )
    return [e.name for e in day.exercises if e.name in failing - graded]


def _history(ask: Callable[[Store], dict[K, V]]) -> dict[K, V]:
    """What the learner's history says; nothing where it cannot be read."""
    try:
        return ask(Store())
    except ProgressError:
        return {}


def started(day: Day) -> bool:
    """Whether the learner has changed an exercise of the day (a broken file counts)."""
    if not day.file.exists():
        return False
    try:
        source = read_written(day.file)
        left = untouched_in(source, day.solution.read_text(encoding="utf-8"), day.file)
    except SyntaxError:
        return True
    return len(left) < len(day.exercises)


def _request(day: Day, options: Options) -> Request:
    if options.exercise:
        find_exercise(day, options.exercise)
    impl = check_impl(options.impl, day)
    return Request(
        track=day.track,
        day=day.number,
        impl=impl,
        prior=check_choice("PRIOR", options.prior, ("auto", "solution", "same")),
        exercise=options.exercise,
        seed=seed_of(options.seed),
        device=check_choice("DEVICE", options.device, ("auto", "cpu", "cuda")),
        known_bugs=impl != "solution",
        passthrough=options.passthrough,
    )


def _run(request: Request, quiet: bool) -> DayResult:
    from harness.run import run
    from harness.screen.waiting import Waiting

    if quiet or request.passthrough or not sys.stderr.isatty():
        return run(request)
    with Waiting(sys.stderr) as waiting:
        return run(request, on_event=waiting.note)


def _remember(result: DayResult, request: Request) -> DayResult:
    """Keep what the learner's own file came to; a tree that cannot be written is only said.
    → the result, which says what else the history tells"""
    if request.impl != LEARNER:
        return result
    try:
        if result.device and not request.exercise:
            Store().record(result)
        return with_changes(result, Store())
    except ProgressError as error:
        say(str(error), sys.stderr)
        return result


def _report(results: list[DayResult], options: Options, left: list[str] | None = None) -> None:
    _write(results, options)
    if not options.as_json:
        _show(results, options.verbose, left)


def _write(results: list[DayResult], options: Options) -> None:
    """For programs: JUnit XML, JSON."""
    if options.junit:
        from harness.screen.junit import junit_xml

        try:
            Path(options.junit).write_text(junit_xml(results), encoding="utf-8")
        except OSError as error:
            raise Usage(f"JUNIT={options.junit} cannot be written: {error.strerror}.") from None
    if options.as_json:
        one = len(results) == 1
        print(results[0].to_json() if one else "[" + ",\n".join(r.to_json() for r in results) + "]")


def _show(results: list[DayResult], verbose: bool, left: list[str] | None = None) -> None:
    from rich.console import Console

    from harness.screen.day import show

    # 80 columns where the output is no terminal, so that logs read alike everywhere
    width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else 80
    for result in results:
        show(result, Console(width=width, highlight=False), verbose, left)


def _list_problems(result: DayResult) -> None:
    from rich.console import Console

    from harness.screen.problems import list_problems

    list_problems(result, Console())


def _line(result: DayResult) -> None:
    done = sum(e.status == "passed" for e in result.exercises)
    word = "passed" if result.passed else "failed"
    why = f"  {result.problems[0].message}" if result.problems else ""
    count = f"{done}/{len(result.exercises)}"
    say(f"{result.track:<9} day {result.day:>2}  {count:>5}  {word}  {result.title}{why}")


def _exit_code(results: list[DayResult]) -> int:
    if any(p.reason == "error" and not r.tests for r in results for p in r.problems):
        return 3  # no test was reached, and no file of the learner's is to blame
    return 0 if all(r.passed for r in results) else 1
