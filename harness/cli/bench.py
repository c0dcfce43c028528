"""``make bench``: runs the benches and keeps the learner's medals."""

from __future__ import annotations

import sys

from harness.bench import run_bench
from harness.bench.results import DayBench
from harness.curriculum import find_day, find_track
from harness.progress import ProgressError, Store
from harness.protocol import LEARNER


def bench_days(
    track: str, number: str, against: str, quick: bool, compare: str, impl: str, output: str
) -> int:
    day = find_day(track, number).number if number else None
    if track and not number:
        find_track(track)

    def keep_medal(done: DayBench) -> None:
        if impl == LEARNER and done.medal:
            try:
                Store().award(done.track, done.day, done.medal, done.device)
            except ProgressError as error:
                print(error, file=sys.stderr)

    return run_bench(
        track or None,
        day,
        against or None,
        quick,
        output or None,
        compare or None,
        impl,
        on_day=keep_medal,
    )
