"""``make mutate``: mutants and habits against the tests of every day asked for."""

from __future__ import annotations

import json
import os
import time
from contextlib import ExitStack

from harness.curriculum import Day, find_day, find_exercise, find_track, find_tracks, read_source
from harness.mutate.habits import judge_habits
from harness.mutate.house import WANTED as WANTED_OF_HOUSE
from harness.mutate.house import House, files_of, mutate_file, read_claims
from harness.mutate.judge import judge_day
from harness.mutate.pool import Pool
from harness.mutate.report import WANTED, WANTED_OVER_ALL, DayReport, json_of, percent, text_of
from harness.mutate.table import TABLE, hash_of, updated, updated_house
from harness.usage import Usage, check_choice

SEED = 0
"""Fixed, so that a survivor of one run is a survivor of the next."""


def mutate_days(
    track: str,
    number: str,
    exercise: str,
    jobs: str,
    as_json: bool,
    device: str = "cpu",
    table: bool = False,
    habits: bool = True,
) -> int:
    """→ exit code 0 if every day asked for catches enough, and every habit that is wrong.

    ``jobs``: mutants judged at a time ("" is one for each core). ``table``: put the figures into
    docs/mutants.md (of whole days only).
    """
    check_choice("DEVICE", device, ("auto", "cpu", "cuda"))
    at_once = _jobs(jobs)
    if (exercise or number) and not track:
        raise Usage("EX and DAY need TRACK: make mutate TRACK=triton DAY=13 EX=softmax")
    if exercise and not number:
        raise Usage(f"EX={exercise} needs DAY: make mutate TRACK={track} DAY=13 EX={exercise}")
    days = [find_day(track, number)] if number else _days(track)
    if exercise:
        find_exercise(days[0], exercise)
    reports = []
    with ExitStack() as stack:
        pools: dict[str, Pool] = {}
        for day in days:
            if day.track not in pools:
                pools[day.track] = stack.enter_context(Pool(day.track, device, at_once, SEED))
            reports.append(mutate_day(pools[day.track], day, exercise, habits))
            if not as_json:
                print(text_of(reports[-1]), flush=True)
    if table and not exercise and habits:
        text = TABLE.read_text(encoding="utf-8")
        TABLE.write_text(updated(text, reports), encoding="utf-8")
    caught, total = sum(r.caught for r in reports), sum(r.total for r in reports)
    enough = len(reports) == 1 or percent(caught, total) >= WANTED_OVER_ALL
    if as_json:
        print(json.dumps([json_of(report) for report in reports], indent=2))
    elif len(reports) > 1:
        below = [r.key for r in reports if not r.passed]
        print(
            f"{caught} of {total} mutants caught ({percent(caught, total):.1f} %; "
            f"{WANTED_OVER_ALL:.0f} % are wanted over all, {WANTED:.0f} % on each day).\n"
            f"{len(reports) - len(below)} of {len(reports)} days are proved"
            + (f"; not yet: {', '.join(below)}." if below else ".")
        )
    return 0 if enough and all(report.passed for report in reports) else 1


def mutate_house(where: str, jobs: str, as_json: bool, table: bool = False) -> int:
    """Mutants of the harness's own files; ``where`` is a file or a folder of it."""
    files, claims, reports = files_of(where), read_claims(), []
    with House(_jobs(jobs)) as house:
        for file in files:
            report = mutate_file(house, file, claims)
            if report.judged:  # a file of names alone has no mutants
                reports.append(report)
                if not as_json:
                    print(text_of(report), flush=True)
    if table:
        text = TABLE.read_text(encoding="utf-8")
        TABLE.write_text(updated_house(text, reports), encoding="utf-8")
    caught, total = sum(r.caught for r in reports), sum(r.total for r in reports)
    if as_json:
        print(json.dumps([json_of(report) for report in reports], indent=2))
    elif len(reports) > 1:
        share = f"{percent(caught, total):.1f} %; {WANTED_OF_HOUSE:.0f} % are wanted"
        print(f"{where}: {caught} of {total} mutants caught ({share}).")
    fine = percent(caught, total) >= WANTED_OF_HOUSE and not any(r.problems for r in reports)
    return 0 if fine else 1


def mutate_day(pool: Pool, day: Day, exercise: str = "", habits: bool = True) -> DayReport:
    """Every mutant, and every habit, of a day or of one exercise."""
    started = time.monotonic()
    files, source = hash_of(day), read_source(day.solution)
    judged = judge_day(pool, day, source, exercise)
    baselines = {one.exercise: one.baseline for one in judged}
    worn = judge_habits(pool, day, source, baselines) if habits else []
    seconds = time.monotonic() - started
    return DayReport(day.key, day.title, source, judged, worn, seconds, files)


def _days(track: str) -> list[Day]:
    tracks = [find_track(track)] if track else find_tracks()
    return [day for t in tracks for day in t.days]


def _jobs(text: str) -> int:
    if not text:
        return os.cpu_count() or 1
    if not text.isdigit() or int(text) < 1:
        raise Usage(f"JOBS={text} is not a number of jobs: use 1 or more.")
    return int(text)
