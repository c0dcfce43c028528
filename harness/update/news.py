"""What is new, to someone who solves days: what was done to each day; the rest is counted."""

from __future__ import annotations

import re

from harness.measure.units import counted

COMMIT = "\x01"
FORMAT = f"--format={COMMIT}%s"
"""For ``git log --name-only``: a commit's subject, then the files that it changed."""
MOST = 10
"""So many subjects are read."""
_OF_A_DAY = re.compile(
    r"tracks/(?:triton/(?=electives/))?(\w+)/(?:(?:solutions|lessons|bugs)/|lessons/figures/|tests/test_|benches/bench_)?"
    r"day(\d+)"
)


def news(log: str) -> list[str]:
    """A line for each commit that changed days, with their names, and one for all the others."""
    told, others = [], 0
    for entry in log.split(COMMIT)[1:]:
        subject, *paths = entry.split("\n")
        days = {(m[1], int(m[2])) for path in paths if (m := _OF_A_DAY.match(path))}
        if not days:
            others += 1
        elif any(subject.lower().startswith(f"{track} {number}") for track, number in days):
            told.append(subject)
        else:
            told.append(f"{_names(days)}: {subject}")
    lines = told[:MOST]
    if len(told) > MOST:
        lines.append(f"and {counted(len(told) - MOST, 'more change')} of days")
    if others:
        lines.append(f"{counted(others, 'change')} elsewhere: the harness, its tests, texts")
    return lines


def _names(days: set[tuple[str, int]]) -> str:
    """``autodiff 3, 5; triton 12``; many days are counted."""
    if len(days) > 6:
        return counted(len(days), "day")
    tracks = sorted({track for track, _ in days})
    return "; ".join(
        f"{track} " + ", ".join(str(n) for t, n in sorted(days) if t == track) for track in tracks
    )
