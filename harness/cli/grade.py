"""Grades one day or several and shows the result."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from harness.curriculum import Day, Track, find_day, find_exercise, find_track, find_tracks
from harness.curriculum import untouched as untouched_in
from harness.protocol import LEARNER, DayResult, Event, Request
from harness.usage import Usage, check_choice, check_impl, seed_of


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
    request = _request(day, options)
    result = _run(request, quiet=options.as_json)
    _remember(result, request)
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
        results.append(_run(request, quiet=True))
        _remember(results[-1], request)
        if not options.as_json:
            _line(results[-1])
    if options.as_json or options.junit:
        _report(results, options)
    return _exit_code(results)


def list_days(track: str, as_json: bool) -> int:
    """The track's days, and which exercises of each have been started."""
    found = find_track(track)
    if as_json:
        rows = [
            {"day": d.number, "title": d.title, "exercises": [e.name for e in d.exercises],
             "started": started(d)}
            for d in found.days
        ]  # fmt: skip
        print(json.dumps(rows, indent=2))
        return 0
    _print_days(found)
    return 0


def started(day: Day) -> bool:
    """Whether the learner has changed an exercise of the day (a broken file counts)."""
    if not day.file.exists():
        return False
    source = day.file.read_text(encoding="utf-8")
    try:
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

    if quiet or request.passthrough or not sys.stderr.isatty():
        return run(request)
    # A line that is overwritten while the tests run; the report replaces it.
    seen = {"total": 0, "done": 0}

    def tick(event: Event) -> None:
        if event.kind == "collected":
            seen["total"] = max(seen["total"], len(event.data["tests"]))
        elif event.kind in ("passed", "failed", "skipped"):
            seen["done"] += 1
        text = f"testing {seen['done']}/{seen['total']}" if seen["total"] else "starting"
        sys.stderr.write(f"\r\x1b[K{text} …")
        sys.stderr.flush()

    try:
        return run(request, on_event=tick)
    finally:
        sys.stderr.write("\r\x1b[K")


def _remember(result: DayResult, request: Request) -> None:
    """Keep what the learner's own file came to; a tree that cannot be written is only said."""
    if request.impl != LEARNER or request.exercise or not result.device:
        return
    from harness.progress import ProgressError, Store

    try:
        Store().record(result)
    except ProgressError as error:
        print(error, file=sys.stderr)


def _report(results: list[DayResult], options: Options) -> None:
    if options.junit:
        from harness.screen.junit import junit_xml

        try:
            Path(options.junit).write_text(junit_xml(results), encoding="utf-8")
        except OSError as error:
            raise Usage(f"JUNIT={options.junit} cannot be written: {error.strerror}.") from None
    if options.as_json:
        one = len(results) == 1
        print(results[0].to_json() if one else "[" + ",\n".join(r.to_json() for r in results) + "]")
        return
    from rich.console import Console

    from harness.screen.day import show

    # 80 columns where the output is no terminal, so that logs read alike everywhere
    width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else 80
    for result in results:
        show(result, Console(width=width, highlight=False), options.verbose)


def _line(result: DayResult) -> None:
    done = sum(e.status == "passed" for e in result.exercises)
    word = "passed" if result.passed else "failed"
    why = f"  {result.problems[0].message}" if result.problems else ""
    count = f"{done}/{len(result.exercises)}"
    print(f"{result.track:<9} day {result.day:>2}  {count:>5}  {word}  {result.title}{why}")


def _print_days(track: Track) -> None:
    print(f"{track.title}\n")
    for day in track.days:
        names = [e.name for e in day.exercises]
        if day.file.exists():
            try:
                left = untouched_in(
                    day.file.read_text(encoding="utf-8"),
                    day.solution.read_text(encoding="utf-8"),
                    day.file,
                )
                state = f"{len(names) - len(left)}/{len(names)} started"
            except SyntaxError:
                state = "syntax error"
        else:
            state = "file missing"
        print(f"  {day.number:>2}  {day.title:<44} {state}")
    print(
        f"\nmake {track.name} DAY=1 grades a day; make lesson TRACK={track.name} DAY=1 teaches it."
    )


def _exit_code(results: list[DayResult]) -> int:
    if any(p.reason == "error" and not r.tests for r in results for p in r.problems):
        return 3  # no test was reached, and no file of the learner's is to blame
    return 0 if all(r.passed for r in results) else 1
