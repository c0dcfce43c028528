"""The database of attempts: one row a graded run of the learner's own file.

SQLite in WAL mode: a kill at any instant loses at most the row being written, and two terminals
may write at once. ``user_version`` numbers the schema; an older file is migrated when opened.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from harness.curriculum import ROOT
from harness.protocol import DayResult

FILE = ROOT / ".harness" / "progress.db"
LEVELS = ("", "started", "checked", "passed on a GPU")
"""What an attempt reached: nothing yet, some, all on the CPU, all on a GPU."""
PASSED = 2
"""The level from which a day counts as passed."""

# Each entry brings the schema from its index to the next version.
_MIGRATIONS = (
    """
    create table attempts (
        id integer primary key, at real not null, track text not null, day integer not null,
        hash text not null, device text not null, level integer not null, passed integer not null,
        total integer not null, failing text not null, seconds real not null, peak_bytes integer
    );
    create index attempts_of_a_day on attempts (track, day, at);
    create table hints (
        track text not null, day integer not null, exercise text not null, depth integer not null,
        at real not null, primary key (track, day, exercise)
    );
    """,
    """
    create table medals (
        track text not null, day integer not null, medal text not null, device text not null,
        at real not null
    );
    """,
    """
    alter table attempts add column hints integer not null default 0;
    """,
)


class ProgressError(Exception):
    """Progress cannot be kept or read; the message says why, in one line."""


@dataclass(frozen=True)
class Attempt:
    at: float
    track: str
    day: int
    hash: str
    device: str
    level: int
    passed: int
    total: int
    failing: tuple[str, ...]
    seconds: float
    peak_bytes: int | None
    hints: int = 0
    """How many hints of the day had been shown by then."""


class Store:
    """The learner's history. Every call opens the file, does one thing, and closes it."""

    def __init__(self, file: Path = FILE) -> None:
        self.file = file

    def record(self, result: DayResult, at: float | None = None) -> None:
        """Keep the result of grading the learner's own file, unless nothing is written there."""
        passed = [e.name for e in result.exercises if e.status == "passed"]
        failing = [e.name for e in result.exercises if e.status != "passed"]
        cuda = result.device.get("kind") == "cuda"
        level = (3 if cuda else 2) if result.passed else 1 if passed or _written(result) else 0
        if not level:
            return
        own = next((f.hash for f in result.files if f.whose == "learner"), "")
        peaks = [
            e.measures.get("gpu_peak_bytes") or e.measures.get("peak_bytes") or 0
            for e in result.exercises
        ]
        device = str(result.device.get("name") or result.device.get("kind") or "")
        row = (
            at or time.time(), result.track, result.day, own, device, level, len(passed),
            len(result.exercises), json.dumps(failing), result.seconds, max(peaks, default=0),
        )  # fmt: skip
        with self._open(write=True) as db:
            db.execute(
                "insert into attempts (at, track, day, hash, device, level, passed, total, failing,"
                " seconds, peak_bytes, hints) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?,"
                " (select coalesce(sum(depth), 0) from hints where track = ? and day = ?))",
                (*row, result.track, result.day),
            )

    def attempts(self, track: str = "", day: int = 0) -> list[Attempt]:
        """Oldest first; of one track or day where asked for."""
        with self._open() as db:
            rows = db.execute(
                "select at, track, day, hash, device, level, passed, total, failing, seconds,"
                " peak_bytes, hints from attempts"
                " where (? = '' or track = ?) and (? = 0 or day = ?) order by at, id",
                (track, track, day, day),
            ).fetchall()
        return [
            Attempt(at, name, number, digest, device, level, passed, total,
                    tuple(json.loads(failing)), seconds, peak, hints)
            for at, name, number, digest, device, level, passed, total, failing, seconds, peak,
            hints in rows
        ]  # fmt: skip

    def changed(self, track: str, day: int, digest: str) -> bool:
        """Whether the day has passed, and never as the file that has this hash."""
        passed = {a.hash for a in self.attempts(track, day) if a.level >= PASSED}
        return bool(passed) and not any(digest.startswith(one) for one in passed)

    def levels(self) -> dict[tuple[str, int], int]:
        """The highest level reached, by (track, day)."""
        with self._open() as db:
            rows = db.execute("select track, day, max(level) from attempts group by track, day")
            return {(track, day): level for track, day, level in rows}

    def hints_shown(self, track: str, day: int, exercise: str) -> int:
        with self._open() as db:
            row = db.execute(
                "select depth from hints where track = ? and day = ? and exercise = ?",
                (track, day, exercise),
            ).fetchone()
        return int(row[0]) if row else 0

    def note_hint(self, track: str, day: int, exercise: str, depth: int) -> None:
        """Remember that ``depth`` hints of the exercise have been shown."""
        with self._open(write=True) as db:
            db.execute(
                "insert into hints values (?, ?, ?, ?, ?) on conflict (track, day, exercise)"
                " do update set depth = max(depth, excluded.depth), at = excluded.at",
                (track, day, exercise, depth, time.time()),
            )

    def hints_used(self) -> int:
        with self._open() as db:
            return int(db.execute("select coalesce(sum(depth), 0) from hints").fetchone()[0])

    def award(self, track: str, day: int, medal: str, device: str) -> None:
        with self._open(write=True) as db:
            row = (track, day, medal, device, time.time())
            db.execute("insert into medals values (?, ?, ?, ?, ?)", row)

    def medals(self) -> dict[tuple[str, int], str]:
        """The best medal of each day."""
        best: dict[tuple[str, int], str] = {}
        worth = {"bronze": 1, "silver": 2, "gold": 3}
        with self._open() as db:
            for track, day, medal in db.execute("select track, day, medal from medals"):
                if worth.get(medal, 0) > worth.get(best.get((track, day), ""), 0):
                    best[track, day] = medal
        return best

    def _connect(self) -> sqlite3.Connection:
        try:
            return _opened(self.file)
        except sqlite3.DatabaseError as error:
            if not _damaged(error):
                raise
            kept = self._set_aside()
            print(
                f"{self.file} is damaged ({error}): it is kept as {kept.name}, and a new history "
                "begins.", file=sys.stderr,
            )  # fmt: skip
            return _opened(self.file)

    def _set_aside(self) -> Path:
        """Move a damaged database, with what belongs to it, to a name that is free."""
        stamp = time.strftime("%Y-%m-%d_%H-%M-%S")
        aside = self.file.with_name(f"{self.file.stem}-damaged-{stamp}{self.file.suffix}")
        for end in ("", "-wal", "-shm"):
            with contextlib.suppress(OSError):
                self.file.with_name(self.file.name + end).rename(aside.with_name(aside.name + end))
        return aside

    @contextlib.contextmanager
    def _open(self, write: bool = False) -> Iterator[sqlite3.Connection]:
        """The database, with its schema current; what is done in the block is one transaction."""
        if not write and not self.file.exists():
            with contextlib.closing(sqlite3.connect(":memory:")) as empty:
                _migrate(empty)
                yield empty
            return
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.closing(self._connect()) as db, db:
                yield db
        except (sqlite3.Error, OSError) as error:
            raise ProgressError(f"progress was not kept ({self.file}): {error}") from error


def _opened(file: Path) -> sqlite3.Connection:
    db = sqlite3.connect(file, timeout=20.0)
    try:
        db.execute("pragma journal_mode = wal")
        _migrate(db)
        db.execute("select count(*) from attempts")  # the first page of a damaged file may be whole
    except BaseException:
        db.close()
        raise
    return db


def _damaged(error: sqlite3.DatabaseError) -> bool:
    """Whether the file is no database any more: what is locked, full or newer is another matter."""
    words = ("file is not a database", "malformed")
    return any(word in str(error) for word in words)


def _migrate(db: sqlite3.Connection) -> None:
    version = db.execute("pragma user_version").fetchone()[0]
    if version > len(_MIGRATIONS):
        raise sqlite3.DatabaseError("it was written by a newer version of this project")
    if version == len(_MIGRATIONS):
        return
    db.execute("begin immediate")  # a second terminal waits here, and then finds it done
    version = db.execute("pragma user_version").fetchone()[0]
    for number in range(version, len(_MIGRATIONS)):
        for statement in _MIGRATIONS[number].split(";"):
            if statement.strip():
                db.execute(statement)
        db.execute(f"pragma user_version = {number + 1}")
    db.commit()


def _written(result: DayResult) -> bool:
    return any(e.status == "wrong" for e in result.exercises) or bool(result.problems)
