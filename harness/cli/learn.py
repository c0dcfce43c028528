"""The learner's loop: hints, the reference beside yours, back to the stub, progress."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import asdict
from typing import TypeVar

from harness.cli.sides import beside
from harness.curriculum import (
    ROOT,
    Day,
    deeper_hints,
    find_day,
    find_exercise,
    generate_stub,
    read_source,
    reset_exercise,
)
from harness.progress import ProgressError, Store, keep, kept_of, put
from harness.progress.archive import FOLDER
from harness.progress.summary import markdown, next_day, progress_of, screen_text
from harness.usage import Usage

T = TypeVar("T")


def show_hint(track: str, number: str, exercise: str) -> int:
    """The next hint of the exercise (or of the first one not passed yet), one deeper each time."""
    day = find_day(track, number)
    store = Store()
    name = exercise or _first_open(day, store)
    chosen = find_exercise(day, name)
    hints = deeper_hints(day, chosen)
    shown = _or_say(lambda: store.hints_shown(day.track, day.number, name)) or 0
    depth = min(shown + 1, len(hints))
    print(f"{name}, hint {depth} of {len(hints)}:\n")
    for text in hints[:depth]:
        print(f"  {text}")
    if depth == len(hints):
        print(f"\nThat was the last. make solution TRACK={track} DAY={day.number} comes next.")
    _or_say(lambda: store.note_hint(day.track, day.number, name, depth))
    return 0


def show_solution(track: str, number: str, force: bool) -> int:
    """Yours beside the reference, once the day has been passed."""
    day = find_day(track, number)
    if not force and Store().levels().get((day.track, day.number), 0) < 2:
        raise Usage(
            f"{day.track} day {day.number} has not been passed yet: make hint, or FORCE=1 to look."
        )
    mine = read_source(day.file).splitlines() if day.file.exists() else []
    reference = answers_alone(read_source(day.solution).splitlines())
    width = shutil.get_terminal_size((120, 24)).columns
    lines = beside(mine, reference, ("yours", "reference"), width)
    print("\n".join(lines) if lines else "Yours is the reference, line for line.")
    return 0


def answers_alone(lines: list[str]) -> list[str]:
    """The reference without its markers and the hints between them."""
    kept: list[str] = []
    inside = hinting = False
    for line in lines:
        text = line.strip()
        if text in ("### BEGIN SOLUTION", "### END SOLUTION"):
            inside = text == "### BEGIN SOLUTION"
            continue
        # a hint goes on in comment lines that are set in
        hinting = inside and (text.startswith("# HINT:") or (hinting and text.startswith("#  ")))
        if not hinting:
            kept.append(line)
    return kept


def reset_day(track: str, number: str, exercise: str) -> int:
    """Back to the stub; what was there is kept in the archive."""
    day = find_day(track, number)
    stub = generate_stub(read_source(day.solution), day.solution)
    if exercise:
        find_exercise(day, exercise)
    if day.file.exists():
        before = read_source(day.file)
        after = reset_exercise(before, stub, exercise) if exercise else stub
        if before == after:
            print("Nothing to reset: it is the stub already.")
            return 0
        kept = keep(day)
        put(day.file, after.encode("utf-8"))
        print(f"{day.file.relative_to(ROOT)} is the stub again{f' ({exercise})' * bool(exercise)}.")
        print(f"Your version is kept: {kept.relative_to(ROOT)}; make restore brings it back.")
    else:
        put(day.file, stub.encode("utf-8"))
        print(f"wrote {day.file.relative_to(ROOT)}")
    return 0


def restore_day(track: str, number: str, version: str) -> int:
    """List the kept versions of a day, or bring one back; the present one is kept first."""
    day = find_day(track, number)
    versions = kept_of(day)
    if not versions:
        print(f"No earlier version of {day.track} day {day.number} is kept.")
        return 0
    if not version:
        for entry in versions:
            print(f"  {entry.number:>2}  {entry.when}  {entry.path.relative_to(FOLDER.parent)}")
        print(f"\nmake restore TRACK={track} DAY={day.number} VERSION=1 brings the newest back.")
        return 0
    chosen = next((v for v in versions if str(v.number) == version), None)
    if chosen is None:
        raise Usage(f"VERSION={version} is not kept: there are 1 to {len(versions)}.")
    content = chosen.path.read_bytes()
    if day.file.exists() and day.file.read_bytes() != content:
        keep(day)
    put(day.file, content)
    print(f"{day.file.relative_to(ROOT)} is the version of {chosen.when} again.")
    return 0


def show_progress(as_json: bool) -> int:
    """Days, levels, time; PROGRESS.md is written beside the README."""
    progress = progress_of(Store())
    if as_json:
        print(json.dumps(asdict(progress), indent=2))
        return 0
    print(screen_text(progress))
    try:
        put(ROOT / "PROGRESS.md", markdown(progress).encode("utf-8"))
    except OSError as error:
        print(f"PROGRESS.md was not written: {error.strerror}", file=sys.stderr)
    return 0


def where_next() -> tuple[str, int] | None:
    return next_day(Store())


def _first_open(day: Day, store: Store) -> str:
    """The exercise a hint is for when none is named: the first that the last attempt failed."""
    attempts = _or_say(lambda: store.attempts(day.track, day.number))
    names = [e.name for e in day.exercises]
    failing = [n for n in names if n in attempts[-1].failing] if attempts else names
    return (failing or names)[0]


def _or_say(use: Callable[[], T]) -> T | None:
    """What ``use`` gives; a history that cannot be read or written is said, and no reason to
    refuse a hint."""
    try:
        return use()
    except ProgressError as error:
        print(error, file=sys.stderr)
        return None
