"""The learner's loop: hints, the reference beside yours, back to the stub, progress."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from typing import TypeVar

from harness.cli.sides import compared
from harness.curriculum import (
    ROOT,
    Day,
    find_day,
    find_exercise,
    find_tracks,
    generate_stub,
    read_source,
    read_written,
    reset_exercise,
    untouched,
)
from harness.progress import ProgressError, Store, changed_days, keep, kept_of, put
from harness.progress.archive import FOLDER, Kept
from harness.progress.store import PASSED, Attempt
from harness.progress.summary import markdown, next_day, progress_of, screen_text
from harness.screen.hints import hint_text
from harness.screen.pager import columns, page, say, wrapped
from harness.usage import Usage

T = TypeVar("T")


def show_hint(track: str, number: str, exercise: str) -> int:
    """The next hint of the exercise (or of the first one not passed yet), one deeper each time."""
    day = find_day(track, number)
    store = Store()
    if not exercise and _all_passed(day, store):
        names = ", ".join(e.name for e in day.exercises)
        print(f"All exercises of {day.track} day {day.number} pass. EX= asks for a hint of one:")
        print("\n".join(wrapped(f"{names}.", columns(100, 80))))
        return 0
    name = exercise or _first_open(day, store)
    chosen = find_exercise(day, name)
    taken = _or_say(lambda: store.hints_shown(day.track, day.number, name)) or 0
    text, taken = hint_text(day, chosen, taken, _passed(day, store))
    print(text)
    if not exercise and (changed := _changed_since_graded(day, store)):
        say(f"\n{changed}")
    _or_say(lambda: store.note_hint(day.track, day.number, name, taken))
    return 0


def show_solution(track: str, number: str, force: bool) -> int:
    """Yours beside the reference, once the day has been passed."""
    day = find_day(track, number)
    if not force and Store().levels().get((day.track, day.number), 0) < PASSED:
        again = f"TRACK={day.track} DAY={day.number}"
        raise Usage(
            f"{day.track} day {day.number} has not been passed yet: make hint {again} helps, and "
            f"make solution {again} FORCE=1 shows it all the same."
        )
    mine = read_source(day.file).splitlines() if day.file.exists() else []
    reference = answers_alone(read_source(day.solution).splitlines())
    sides = ("yours", "reference")
    lines = compared(mine, reference, sides, columns(240, 80), leave_out=_is_task)
    page("\n".join(lines) if lines else "Yours is the reference, line for line.")
    return 0


def _is_task(line: str) -> bool:
    """A comment that says what is to be done, or goes on with it: who did it may keep it or not."""
    return line.strip().startswith(("# TODO", "# HINT", "#  "))


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
        before = day.file.read_bytes()
        after = stub.encode("utf-8")
        if exercise:
            after = reset_exercise(read_source(day.file), stub, exercise).encode("utf-8")
        if before == after:
            print("Nothing to reset: it is the stub already.")
            return 0
        keep(day)
        put(day.file, after)
        print(f"{day.file.relative_to(ROOT)} is the stub again{f' ({exercise})' * bool(exercise)}.")
        say(f"Your version is kept. {_way_back(day)} brings it back.")
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
        attempts = _or_say(lambda: Store().attempts(day.track, day.number)) or []
        for entry in versions:
            print(f"  {entry.number:>2}  {entry.when}  {_holds(day, entry, attempts)}")
        say(f"\n{_way_back(day)} brings the newest back. They lie in {_folder(versions)}.")
        return 0
    chosen = next((v for v in versions if str(v.number) == version), None)
    if chosen is None:
        numbers = ", ".join(str(v.number) for v in reversed(versions))
        are = "are" if len(versions) > 1 else "is"
        raise Usage(f"VERSION={version} is not kept: there {are} {numbers}.")
    content = chosen.path.read_bytes()
    replaced = day.file.exists() and day.file.read_bytes() not in (content, _stub(day))
    if replaced:
        keep(day)
    put(day.file, content)
    print(f"{day.file.relative_to(ROOT)} is the version of {chosen.when} again.")
    if replaced:
        say(f"What it replaced is kept, too. {_way_back(day)} brings that back.")
    return 0


def _way_back(day: Day) -> str:
    """The command that brings back the version that was kept last."""
    return f"make restore TRACK={day.track} DAY={day.number} VERSION={kept_of(day)[0].number}"


def _folder(versions: list[Kept]) -> str:
    return str(versions[0].path.parent.relative_to(FOLDER.parent.parent))


def _stub(day: Day) -> bytes:
    return generate_stub(read_source(day.solution), day.solution).encode("utf-8")


def _holds(day: Day, version: Kept, attempts: list[Attempt]) -> str:
    """What a kept version came to when it was graded, or else how much of it is written."""
    total = len(day.exercises)
    digest = hashlib.sha256(version.path.read_bytes()).hexdigest()
    graded = [a for a in attempts if a.hash and digest.startswith(a.hash)]
    if graded:
        return f"{graded[-1].passed} of {graded[-1].total} passed"
    try:
        left = untouched(read_written(version.path), read_source(day.solution), version.path)
    except SyntaxError:
        return "syntax error"
    return f"{total - len(left)} of {total} written, not graded"


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


def changes_before(day: tuple[str, int] | None) -> list[str]:
    """A sentence for each earlier day that is not the file any more that passed."""
    tracks = [track for track in find_tracks() if day is None or track.name == day[0]]
    return [
        f"Day {n} has changed since it passed: make {track.name} DAY={n} grades it."
        for track in tracks
        for n in changed_days(track, Store())
        if day is None or n < day[1]
    ]


def _passed(day: Day, store: Store) -> bool:
    levels = _or_say(store.levels) or {}
    return levels.get((day.track, day.number), 0) >= PASSED


def _changed_since_graded(day: Day, store: Store) -> str:
    """What to say where the last attempt, which chose the exercise, was with another file."""
    attempts = _or_say(lambda: store.attempts(day.track, day.number))
    if not attempts or not day.file.exists():
        return ""
    digest = hashlib.sha256(day.file.read_bytes()).hexdigest()
    if digest.startswith(attempts[-1].hash):
        return ""
    return (
        f"{day.file.name} has changed since it was graded: make {day.track} DAY={day.number} sees "
        "whether this is still what lacks, and EX= asks for another exercise's hint."
    )


def _all_passed(day: Day, store: Store) -> bool:
    """Whether the file as it is now passed when it was graded last."""
    attempts = _or_say(lambda: store.attempts(day.track, day.number))
    if not attempts or attempts[-1].failing or not _passed(day, store):
        return False
    return not _changed_since_graded(day, store)


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
        say(str(error), sys.stderr)
        return None
