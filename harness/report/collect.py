"""What the report shows, as plain data: progress, attempts, benches, compile reports."""

from __future__ import annotations

import contextlib
import datetime
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.bench.contenders import YOURS
from harness.bench.results import DayBench, Report, load
from harness.curriculum import ROOT, find_tracks
from harness.grading.finder import short_hash
from harness.progress import Attempt, Store, put
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
    return sorted(newest.values(), key=lambda one: (one.run.when, one.day.day), reverse=True)


def keep_xray(root: Path, day: int, file: Path, reports: list[dict[str, Any]]) -> None:
    """Keep what ``make xray`` said of the learner's kernels, with the hash of the day's file.

    A folder that cannot be written is no error: the report was shown.
    """
    target = _kept(root, day)
    with contextlib.suppress(OSError):
        target.parent.mkdir(parents=True, exist_ok=True)
        put(target, json.dumps({"hash": short_hash(file), "reports": reports}).encode())


def _kept(root: Path, day: int) -> Path:
    return root / ".harness" / "xray" / f"day{day:02}.json"


def _kernels(root: Path, unreadable: list[str]) -> list[Kernels]:
    from harness.kernels.xray.report import KernelReport

    found = []
    days = [day for track in find_tracks(root) if track.name == "triton" for day in track.days]
    for day in days:
        kept = _kept(root, day.number)
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
