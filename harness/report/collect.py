"""What the report shows, as plain data: progress, attempts, benches, compile reports."""

from __future__ import annotations

import datetime
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.bench.contenders import YOURS
from harness.bench.results import DayBench, Report, load
from harness.curriculum import ROOT, Day, find_tracks
from harness.grading.finder import short_hash
from harness.progress import Attempt, Store, put
from harness.progress.summary import Progress, progress_of

FOLDER = ROOT / ".harness"


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
    """Files that could not be read, and why."""

    def level(self, track: str, day: int) -> int:
        """0 not started, 1 started, 2 checked on the CPU, 3 passed on a GPU, 4 benched."""
        known = next((d for d in self.progress.tracks.get(track, ()) if d.day == day), None)
        if known is None:
            return 0
        benched = any(b.day.track == track and b.day.day == day and YOURS in b.day.files
                      for b in self.benches)  # fmt: skip
        return 4 if known.level >= 2 and (benched or known.medal) else known.level

    @property
    def not_compiled(self) -> list[int]:
        """Days of the Triton track that were started and have no report of the present file."""
        current = {one.day for one in self.kernels if one.current}
        return [d.day for d in self.progress.tracks.get("triton", ())
                if d.level and d.day not in current]  # fmt: skip


def collect(folder: Path = FOLDER, now: datetime.datetime | None = None) -> Learner:
    """Everything on record in ``folder``; never imports torch or a learner's code."""
    store = Store(folder / "progress.db")
    made = now or datetime.datetime.now().astimezone()
    unreadable: list[str] = []
    return Learner(
        made,
        progress_of(store, made.date()),
        store.attempts()[::-1],
        _benches(folder / "bench", unreadable),
        _kernels(folder, unreadable),
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
    return sorted(newest.values(), key=lambda one: (one.run.when, one.day.day), reverse=True)


def keep_xray(day: Day, reports: list[dict[str, Any]], folder: Path = FOLDER) -> None:
    """Keep what ``make xray`` said of the learner's kernels, with the hash of the day's file."""
    target = _kept(folder, day)
    target.parent.mkdir(parents=True, exist_ok=True)
    kept = {"hash": short_hash(day.file), "reports": reports}
    put(target, json.dumps(kept).encode())


def _kept(folder: Path, day: Day) -> Path:
    return folder / "xray" / f"{day.name}.json"


def _kernels(folder: Path, unreadable: list[str]) -> list[Kernels]:
    from harness.kernels.xray.report import KernelReport

    found = []
    for day in (day for track in find_tracks() if track.name == "triton" for day in track.days):
        kept = _kept(folder, day)
        if not kept.exists():
            continue
        try:
            said = json.loads(kept.read_text(encoding="utf-8"))
            reports, digest = list(said["reports"]), said["hash"]
            for report in reports:
                KernelReport.from_json(report)  # of this version's form
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            unreadable.append(f"{kept}: {error!r}; make xray DAY={day.number} writes it anew")
            continue
        current = day.file.exists() and short_hash(day.file) == digest
        found.append(Kernels(day.number, current, reports))
    return found
