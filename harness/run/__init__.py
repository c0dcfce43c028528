"""Runs a request in a child process and folds what happens into a result.

The parent never imports torch and never imports a learner's code, so nothing in a day can take it
down: a crash, a hang, an exit or a flood of output is one more event.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from harness.curriculum import ROOT, Day
from harness.protocol import DayResult, Event, Failure, Request, fold
from harness.run.attempt import Attempt, attempt
from harness.run.cold import Cold
from harness.run.process import Launcher

__all__ = ["Attempt", "Cold", "Launcher", "attempt", "run"]

# A day whose tests keep killing their process is started again only so often.
RESTARTS = 8


def run(
    request: Request,
    launcher: Launcher | None = None,
    on_event: Callable[[Event], None] | None = None,
) -> DayResult:
    """Grade one day. ``launcher`` starts the child: a cold process by default, or a warm fork."""
    launcher = launcher or Cold()
    day = Day(request.track, request.day, ROOT)
    started = time.monotonic()
    events: list[Event] = []
    output = ""

    def note(event: Event) -> None:
        events.append(event)
        if on_event is not None:
            on_event(event)

    skip = set(request.skip)
    for _ in range(RESTARTS):
        left = request.seconds - (time.monotonic() - started)
        again = Request(**{**vars(request), "skip": tuple(sorted(skip)), "seconds": left})
        seen = attempt(again, launcher, note)
        output = seen.output
        if not seen.died or not seen.running:
            break
        # One death does not hide the other tests: go on without the exercise that died.
        done = {e.test for e in events if e.kind in ("passed", "failed", "skipped", "died")}
        skip |= done | {name for name, ex in seen.collected if ex == seen.exercise}
        if all(name in skip for name, _ in seen.collected):
            break
    result = fold(request, day.title, [e.name for e in day.exercises], events)
    if not result.tests and not result.problems:
        message = "no test was run: the end of what pytest said follows."
        result.problems.append(Failure("error", f"{message}\n{output[-1500:]}"))
    result.seconds = time.monotonic() - started
    result.output = output
    return result
