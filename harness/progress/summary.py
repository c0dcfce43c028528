"""What the history amounts to: levels, time, streak; on the screen and as PROGRESS.md."""

from __future__ import annotations

import datetime
from dataclasses import dataclass

from harness.curriculum import Track, find_tracks
from harness.measure.units import counted
from harness.progress.store import LEVELS, PASSED, Attempt, Store

PAUSE = 20 * 60.0
"""Seconds between two attempts that still count as work; a longer gap was a pause."""

# The whole curriculum; days that are not in the tree yet count as still to come.
PLANNED = {"triton": 35, "pytorch": 32, "autodiff": 35}


@dataclass(frozen=True)
class DayProgress:
    day: int
    title: str
    level: int
    attempts: int
    medal: str


@dataclass(frozen=True)
class Progress:
    tracks: dict[str, list[DayProgress]]
    attempts: int
    hints: int
    seconds: float
    streak: int


def progress_of(store: Store, today: datetime.date | None = None) -> Progress:
    levels, medals, attempts = store.levels(), store.medals(), store.attempts()
    counts: dict[tuple[str, int], int] = {}
    for attempt in attempts:
        key = attempt.track, attempt.day
        counts[key] = counts.get(key, 0) + 1
    tracks = {
        track.name: [
            DayProgress(
                day.number,
                day.title,
                levels.get((track.name, day.number), 0),
                counts.get((track.name, day.number), 0),
                medals.get((track.name, day.number), ""),
            )
            for day in track.days
        ]
        for track in sorted(find_tracks(), key=_order)
    }
    return Progress(
        tracks, len(attempts), store.hints_used(), time_spent(attempts), streak(attempts, today)
    )


def time_spent(attempts: list[Attempt]) -> float:
    """Seconds of work: the attempts' own, and the gaps between them that are no pause."""
    total, last = 0.0, None
    for attempt in attempts:
        gap = attempt.at - last if last is not None else None
        total += gap if gap is not None and gap <= PAUSE else attempt.seconds
        last = attempt.at
    return total


def streak(attempts: list[Attempt], today: datetime.date | None = None) -> int:
    """Days in a row with an attempt, up to today; yesterday's streak is not broken yet."""
    days = {datetime.date.fromtimestamp(a.at) for a in attempts}
    day = today or datetime.date.today()
    if day not in days:
        day -= datetime.timedelta(days=1)
    count = 0
    while day in days:
        count += 1
        day -= datetime.timedelta(days=1)
    return count


def next_day(store: Store, tracks: list[Track] | None = None) -> tuple[str, int] | None:
    """The first unfinished day of the track worked on last; else of the first track."""
    found = tracks if tracks is not None else find_tracks()
    levels = store.levels()
    attempts = store.attempts()
    last = attempts[-1].track if attempts else ""
    for track in sorted(found, key=lambda t: (t.name != last, _order(t))):
        for day in track.days:
            if levels.get((track.name, day.number), 0) < PASSED:
                return track.name, day.number
    return None


def _order(track: Track) -> int:
    """As the README lists them."""
    names = list(PLANNED)
    return names.index(track.name) if track.name in names else len(names)


def screen_text(progress: Progress) -> str:
    """For the terminal, at most 80 columns."""
    lines = []
    for name, days in progress.tracks.items():
        done = sum(d.level >= PASSED for d in days)
        planned = PLANNED.get(name, len(days))
        bar = "".join(_MARKS[d.level] for d in days) + " " * (planned - len(days))
        lines.append(f"{name:<9} {done:>2} of {planned}  [{bar}]")
        for day in days:
            if day.level == 1:
                lines.append(f"{'':<9}   working on day {day.day}: {day.title}")
    reached = sum(d.level >= PASSED for days in progress.tracks.values() for d in days)
    medals = [d.medal for days in progress.tracks.values() for d in days if d.medal]
    lines += [
        "",
        f"{reached} of {sum(PLANNED.values())} days · {counted(progress.attempts, 'attempt')} · "
        f"{progress.seconds / 3600:.1f} hours · {counted(progress.hints, 'hint')} · "
        f"{counted(progress.streak, 'day')} in a row",
    ]
    if medals:
        lines.append(" · ".join(f"{medals.count(m)} {m}" for m in ("gold", "silver", "bronze")))
    lines.append("· not started   > started   # checked on the CPU   G passed on a GPU")
    return "\n".join(lines)


_MARKS = ("·", ">", "#", "G")
NAMES = {"pytorch": "PyTorch"}
"""Tracks whose name is more than a capital letter."""


def name_of(track: str) -> str:
    """A track as people write it."""
    return NAMES.get(track, track.capitalize())


def markdown(progress: Progress) -> str:
    """PROGRESS.md: a check box a day."""
    lines = ["# Progress", ""]
    for name, days in progress.tracks.items():
        lines += [f"## {name_of(name)}", ""]
        for day in days:
            box = "x" if day.level >= PASSED else " "
            note = LEVELS[day.level] + (f", {day.medal}" if day.medal else "")
            lines.append(f"- [{box}] Day {day.day}: {day.title}" + (f" ({note})" if note else ""))
        lines.append("")
    return "\n".join(lines)
