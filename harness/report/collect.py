"""What the report shows, as plain data: progress, attempts, benches, compile reports."""

from __future__ import annotations

import datetime
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.bench.results import DayBench, Report, load
from harness.curriculum import ROOT, find_tracks
from harness.grading.finder import short_hash
from harness.progress.store import Attempt, Store
from harness.progress.summary import Progress, progress_of


@dataclass(frozen=True)
class Bench:
    """The newest result of a day, and the run that it is of."""

    day: DayBench
    run: Report


@dataclass(frozen=True)
class Kernels:
    """What ``make xray`` last said of the learner's kernels of a day."""

    day: int
    current: bool
    """Whether the day's file is still the one that was compiled."""
    reports: list[dict[str, Any]]


@dataclass(frozen=True)
class Learner:
    """All that the page is made of."""

    made: datetime.datetime
    progress: Progress
    attempts: list[Attempt]
    """Newest first."""
    benches: list[Bench] = field(default_factory=list)
    kernels: list[Kernels] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    """Result files that could not be read, and why."""


def collect(root: Path = ROOT, now: datetime.datetime | None = None) -> Learner:
    """Everything on record under ``root``/.harness; never imports torch or a learner's code."""
    store = Store(root / ".harness" / "progress.db")
    made = now or datetime.datetime.now().astimezone()
    unreadable: list[str] = []
    return Learner(
        made,
        progress_of(store, made.date()),
        store.attempts()[::-1],
        _benches(root / ".harness" / "bench", unreadable),
        _kernels(root, unreadable),
        unreadable,
    )


def _benches(folder: Path, unreadable: list[str]) -> list[Bench]:
    newest: dict[tuple[str, int], Bench] = {}
    for file in sorted(folder.glob("*.json")):
        try:
            run = load(file)
        except ValueError as error:
            unreadable.append(str(error))
            continue
        for day in run.days:
            known = newest.get((day.track, day.day))
            if not day.problem and (known is None or known.run.when < run.when):
                newest[day.track, day.day] = Bench(day, run)
    return [newest[key] for key in sorted(newest)]


def kept_xray(root: Path, day: int) -> Path:
    """Where ``make xray`` keeps what it said last of the learner's day."""
    return root / ".harness" / "xray" / f"day{day:02}.json"


def keep_xray(root: Path, day: int, file: Path, reports: list[dict[str, Any]]) -> None:
    target = kept_xray(root, day)
    target.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"hash": short_hash(file), "reports": reports})
    target.write_text(text, encoding="utf-8")


def _kernels(root: Path, unreadable: list[str]) -> list[Kernels]:
    found = []
    for track in find_tracks(root):
        for day in track.days if track.name == "triton" else ():
            kept = kept_xray(root, day.number)
            if not kept.exists():
                continue
            try:
                said = json.loads(kept.read_text(encoding="utf-8"))
                reports, digest = list(said["reports"]), said["hash"]
            except (ValueError, KeyError, TypeError) as error:
                unreadable.append(f"{kept}: {error}")
                continue
            current = day.file.exists() and short_hash(day.file) == digest
            found.append(Kernels(day.number, current, reports))
    return found
