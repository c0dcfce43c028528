"""Runs a request in a child process and folds what happens into a result.

The parent never imports torch and never imports a learner's code, so nothing in a day can take it
down: a crash, a hang, an exit or a flood of output is one more event.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, replace

from harness.curriculum import ROOT, Day
from harness.measure.units import counted
from harness.protocol import DayResult, Event, Failure, Request, fold
from harness.run.attempt import Attempt, attempt
from harness.run.cold import Cold
from harness.run.places import locate
from harness.run.process import Launcher

__all__ = ["Attempt", "Cold", "Interrupted", "Launcher", "attempt", "run"]

# A day whose tests keep killing their process is started again only so often.
RESTARTS = 8


SANITIZE_SECONDS = 60.0
"""What the interpreter may take to say what was wrong with a test that the GPU died of."""


class Interrupted(KeyboardInterrupt):
    """Ctrl-C came while a day was graded; ``result`` is what was known by then."""

    def __init__(self, result: DayResult) -> None:
        super().__init__()
        self.result = result


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
    left, interrupted = request.seconds, False
    for _ in range(RESTARTS):
        again = replace(request, skip=tuple(sorted(skip)), seconds=left)
        try:
            seen = attempt(again, launcher, note)
            if seen.lost is not None:
                note(_explained(seen.lost, again, launcher))
        except KeyboardInterrupt:
            interrupted = True
            break
        left -= seen.cpu_seconds
        output = seen.output
        if not seen.died or not seen.running:
            break
        # One death does not hide the other tests: go on without the exercise that died.
        done = {e.test for e in events if e.kind in ("passed", "failed", "skipped", "died")}
        untried = [n for n, ex in seen.collected if ex == seen.exercise and n not in done | skip]
        if not request.first_failure:
            for name in untried:
                note(_untried(name, events[-1]))
        skip |= done | set(untried)
        if all(name in skip for name, _ in seen.collected):
            break
    result = fold(request, day.title, [e.name for e in day.exercises], events)
    if interrupted:
        done_now = sum(test.outcome != "unfinished" for test in result.tests)
        which = f"{done_now} of {counted(len(result.tests), 'test')} had been run."
        which = which if result.tests else "no test had begun."
        message = f"was stopped by Ctrl-C: {which}"
        result.problems.append(Failure("error", message))
    elif not result.tests and not result.problems and request.drawn:
        message = "no test was run: the end of what pytest said follows."
        result.problems.append(Failure("error", f"{message}\n{output[-1500:]}"))
    locate(result, request)
    result.seconds = time.monotonic() - started
    result.output = output
    if interrupted:
        raise Interrupted(result)
    return result


def _untried(name: str, last: Event) -> Event:
    """The result of a test whose exercise ended the process in the test of ``last``."""
    reason = last.data["failure"]["reason"]
    message = f"was not tried: `{last.exercise}` ended its process in {last.test}."
    return Event("failed", name, last.exercise, {"failure": asdict(Failure(reason, message))})


def _explained(lost: Event, request: Request, launcher: Launcher) -> Event:
    """The failure of the test that the GPU died of, with what the same test says on the CPU."""
    failure = Failure(**lost.data["failure"])
    if not request.first_failure:  # nobody reads these
        words, found = _on_the_cpu(lost, request, launcher)
        place = (found.file, found.line) if found and found.file else (failure.file, failure.line)
        failure = replace(
            failure, message=f"{failure.message}\n{words}", file=place[0], line=place[1]
        )
    return Event("failed", lost.test, lost.exercise, {**lost.data, "failure": asdict(failure)})


def _on_the_cpu(lost: Event, request: Request, launcher: Launcher) -> tuple[str, Failure | None]:
    on_cpu = getattr(launcher, "on_cpu", Cold)()
    where = "the checked interpreter" if request.track == "triton" else "the CPU"
    for tests, what in (((lost.test,), "the same test"), ((), f"`{lost.exercise}`")):
        alone = replace(
            request, device="cpu", exercise=lost.exercise, tests=tests, skip=(), known_bugs=False,
            first_failure=True, record_launches="", seconds=SANITIZE_SECONDS, passthrough=False,
        )  # fmt: skip
        heard: list[Event] = []
        attempt(alone, on_cpu, heard.append)
        for event in heard:
            if event.kind in ("failed", "died", "broken"):
                found = Failure(**event.data["failure"])
                return f"On {where} {what} says: {found.message}", found
        if any(event.kind == "passed" for event in heard):
            return (
                f"On {where} {what} passes: what goes wrong takes the GPU's sizes, or several "
                "threads at once.", None,
            )  # fmt: skip
    return f"On {where} none of its tests can be run.", None
