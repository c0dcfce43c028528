"""``make verify SEEDS=300``: every reference over many seeds, and nothing else.

A learner's run has a random seed, so what the reference fails once in hundred a right answer does
too. A failure is said with its seed, which repeats it: ``make triton DAY=5 IMPL=solution SEED=17``.
"""

from __future__ import annotations

import time

from harness.curriculum import Day
from harness.protocol import SOLUTION, DayResult, Request
from harness.run import Launcher, run
from harness.run.process import Metered
from harness.usage import Usage


def soak_days(days: list[Day], launchers: dict[str, Metered], seeds: range, device: str) -> int:
    """→ how many runs failed. Each is printed when it is met: a soak takes hours."""
    failed = 0
    for day in days:
        started, launcher = time.monotonic(), launchers[day.track]
        before, wrong = launcher.cpu_seconds(), 0
        for seed in seeds:
            found = soak(day, launcher, seed, device)
            wrong += bool(found)
            for sentence in found:
                print(f"{day.key} SEED={seed} {sentence}", flush=True)
        used, took = launcher.cpu_seconds() - before, time.monotonic() - started
        print(
            f"{day.key}: {len(seeds)} seeds from {seeds.start}, {wrong} of them failed "
            f"({used:.0f} s of CPU time, {took:.0f} s)",
            flush=True,
        )
        failed += wrong
    return failed


def soak(day: Day, launcher: Launcher, seed: int, device: str = "auto") -> list[str]:
    """The tests that the reference fails with this seed, each with its complaint's first line."""
    request = Request(
        day.track, day.number, impl=SOLUTION, prior=SOLUTION, seed=seed, device=device
    )
    return failures(run(request, launcher))


def failures(result: DayResult) -> list[str]:
    found = [f"cannot be graded: {_first(problem.message)}" for problem in result.problems]
    for test in result.tests:
        if test.outcome == "failed":
            why = _first(test.failure.message) if test.failure else "it was not reached"
            found.append(f"{test.name}: {why}")
    return found


def part_of(days: list[Day], part: str) -> list[Day]:
    """``2/4``: every fourth day from the second on; neighbours cost alike, so parts do too."""
    if not part:
        return days
    number, _, of = part.partition("/")
    if not (number.isdigit() and of.isdigit() and 1 <= int(number) <= int(of)):
        raise Usage(f"PART={part} is no part of the days: use 2/4 for the second of four.")
    return days[int(number) - 1 :: int(of)]


def seeds_of(count: str, first: str) -> range:
    if not count.isdigit() or int(count) < 1:
        raise Usage(f"SEEDS={count} is not a number of seeds: use 1 or more.")
    return range(int(first or 0), int(first or 0) + int(count))


def _first(message: str) -> str:
    return message.splitlines()[0] if message else ""
