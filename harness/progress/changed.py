"""Earlier days that are not what they were when they passed.

A day stands on the learner's own earlier days. One that was changed since, and is wrong now, shows
in later answers that are right: what is graded says so.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace

from harness.curriculum import Track
from harness.progress.store import Store
from harness.protocol import CHANGED, LEARNER, DayResult


def with_changes(result: DayResult, store: Store) -> DayResult:
    """The result, with a note at each earlier file of the learner's that changed since it passed.

    Nothing is said where all passes. ProgressError where the history cannot be read.
    """
    if result.passed:
        return result
    files = list(result.files)
    for at, file in enumerate(files):
        match = re.search(r"(\w+)\.day(\d+)$", file.module)
        if match is None or file.whose != LEARNER or file.note:
            continue
        track, day = match[1], int(match[2])  # electives stand on days of another track
        if (track, day) != (result.track, result.day) and store.changed(track, day, file.hash):
            files[at] = replace(file, note=f"{CHANGED}: make {track} DAY={day}")
    return replace(result, files=files)


def changed_days(track: Track, store: Store) -> list[int]:
    """The days of the track that passed once, with another file than the one that is there."""
    found = []
    for day in track.days:
        if day.file.exists():
            digest = hashlib.sha256(day.file.read_bytes()).hexdigest()
            if store.changed(day.track, day.number, digest):
                found.append(day.number)
    return found
