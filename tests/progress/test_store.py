"""Attempts survive kills, two writers, a full disk and an older file; levels and time add up."""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import random
import resource
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.progress import Attempt, ProgressError, Store, changed_days, with_changes
from harness.progress.store import _MIGRATIONS
from harness.progress.summary import PAUSE, Progress, name_of, screen_text, streak, time_spent
from harness.protocol import DayResult, ExerciseResult, GradedFile

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "progress.db")


def result(*statuses: str, day: int = 1, device: str = "cpu") -> DayResult:
    exercises = [
        ExerciseResult(f"e{i}", s, [], {"peak_bytes": 10 * i}) for i, s in enumerate(statuses)
    ]  # type: ignore[arg-type]
    made = DayResult("triton", day, "Hello", "learner", 0, exercises, device={"kind": device})
    made.files = [GradedFile("tracks.triton.day01", "day01.py", "learner", "abcd1234")]
    return made


def test_an_attempt_is_kept_whole(store: Store) -> None:
    store.record(result("passed", "wrong"), at=5.0)
    (attempt,) = store.attempts()
    assert attempt == Attempt(5.0, "triton", 1, "abcd1234", "cpu", 1, 1, 2, ("e1",), 0.0, 10)


@pytest.mark.parametrize(
    ("shown", "level"),
    [
        (result("wrong", "not started"), 1),
        (result("passed", "passed"), 2),
        (result("passed", "passed", device="cuda"), 3),
    ],
)
def test_levels(store: Store, shown: DayResult, level: int) -> None:
    store.record(shown)
    assert store.levels() == {("triton", 1): level}


def test_a_look_at_an_untouched_day_is_no_attempt(store: Store) -> None:
    store.record(result("not started", "not started"))
    assert store.attempts() == [] and store.levels() == {}


def test_a_level_once_reached_stays(store: Store) -> None:
    store.record(result("passed"))
    store.record(result("wrong"))
    assert store.levels() == {("triton", 1): 2}


def test_nothing_is_written_by_reading(store: Store) -> None:
    assert store.attempts() == []
    assert store.levels() == {}
    assert not store.file.exists()


def test_hints_only_deepen(store: Store) -> None:
    store.note_hint("triton", 1, "fill", 2)
    store.note_hint("triton", 1, "fill", 1)
    assert store.hints_shown("triton", 1, "fill") == 2
    assert store.hints_shown("triton", 1, "scale") == 0


def test_the_best_medal_counts(store: Store) -> None:
    for medal in ("bronze", "gold", "silver"):
        store.award("triton", 7, medal, "NVIDIA H200")
    assert store.medals() == {("triton", 7): "gold"}


def test_an_older_file_is_migrated_with_its_rows(store: Store) -> None:
    with sqlite3.connect(store.file) as db:
        db.executescript(_MIGRATIONS[0])
        db.execute("pragma user_version = 1")
        db.execute("insert into hints values ('triton', 1, 'fill', 3, 0.0)")
    store.award("triton", 1, "gold", "GPU")
    assert store.hints_shown("triton", 1, "fill") == 3


@pytest.mark.parametrize("version", range(1, len(_MIGRATIONS)))
def test_every_older_version_is_migrated_by_two_terminals_at_once(
    store: Store, version: int
) -> None:
    with contextlib.closing(sqlite3.connect(store.file)) as db, db:
        for statements in _MIGRATIONS[:version]:
            db.executescript(statements)
        db.execute(f"pragma user_version = {version}")
        db.execute(
            "insert into attempts (at, track, day, hash, device, level, passed, total, failing,"
            " seconds, peak_bytes) values (5, 'triton', 7, 'abcd', 'cpu', 2, 3, 3, '[]', 1, 9)"
        )
    writers = [writer(store, day, 10) for day in (1, 2)]
    assert [w.wait(60) for w in writers] == [0, 0]
    assert store.levels() == {("triton", 7): 2}
    assert store.attempts() == [Attempt(5, "triton", 7, "abcd", "cpu", 2, 3, 3, (), 1, 9, 0)]
    assert store.hints_used() == 20


def test_a_new_schema_is_a_migration_at_the_end() -> None:
    """What learners have on their disks was written by these; none may be rewritten."""
    digest = hashlib.sha256("".join(_MIGRATIONS[:3]).encode()).hexdigest()
    assert digest[:16] == "fc1861d08068ba11", "add a migration instead of changing one"


def test_an_attempt_knows_the_hints_that_came_before_it(store: Store) -> None:
    store.record(result("wrong"))
    store.note_hint("triton", 1, "e0", 2)
    store.note_hint("triton", 1, "e1", 1)
    store.note_hint("triton", 2, "e0", 4)
    store.record(result("passed"))
    assert [attempt.hints for attempt in store.attempts()] == [0, 3]


def test_a_newer_file_is_left_alone(store: Store) -> None:
    with sqlite3.connect(store.file) as db:
        db.execute("pragma user_version = 99")
    with pytest.raises(ProgressError, match="newer version"):
        store.record(result("passed"))


def test_a_damaged_file_is_said_and_kept_and_a_new_history_begins(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    store.file.write_text("my notes, not a database; long enough to look at" * 50)
    store.record(result("passed"))
    assert len(store.attempts()) == 1
    (kept,) = store.file.parent.glob("*damaged*")
    assert kept.read_text().startswith("my notes")
    said = capsys.readouterr().err
    assert str(store.file) in said and kept.name in said and len(said.splitlines()) == 1


def test_a_file_that_is_damaged_in_the_middle_is_kept_too(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(50):
        store.record(result("passed"))
    with contextlib.closing(sqlite3.connect(store.file)) as db:
        db.execute("pragma wal_checkpoint(truncate)")
    data = bytearray(store.file.read_bytes())
    data[4096:] = b"\xff" * (len(data) - 4096)
    store.file.write_bytes(bytes(data))
    store.record(result("passed"))
    assert len(store.attempts()) == 1
    assert list(store.file.parent.glob("*damaged*")) and "damaged" in capsys.readouterr().err


WRITER = """
import sys
from pathlib import Path
sys.path.insert(0, {root!r})
from harness.progress import Store
store = Store(Path({file!r}))
for i in range({count}):
    store.note_hint("triton", {day}, f"e{{i}}", 1)
    print(i, flush=True)
"""


def writer(store: Store, day: int, count: int) -> subprocess.Popen[str]:
    code = WRITER.format(root=str(ROOT), file=str(store.file), day=day, count=count)
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)


def test_two_terminals_at_once(store: Store) -> None:
    writers = [writer(store, day, 25) for day in (1, 2)]
    assert [w.wait(60) for w in writers] == [0, 0]
    assert store.hints_used() == 50


def test_a_kill_loses_nothing_that_was_acknowledged(store: Store) -> None:
    process = writer(store, 1, 100_000)
    assert process.stdout is not None
    for _ in range(20):
        process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    acknowledged = 20 + len(process.stdout.read().splitlines())
    process.wait()
    assert store.hints_used() in (acknowledged, acknowledged + 1)
    store.record(result("passed"))


RECORDER = """
import sys
from pathlib import Path
sys.path.insert(0, {root!r})
from harness.progress import Store
from harness.protocol import DayResult, ExerciseResult
store = Store(Path({file!r}))
for i in range(100_000):
    made = DayResult("triton", 1, "", "learner", i, [ExerciseResult("e", "passed", [], {{}})])
    store.record(made, at=float(i + 1))
    print(i, flush=True)
"""


def test_kills_at_random_instants_lose_no_attempt(store: Store) -> None:
    code = RECORDER.format(root=str(ROOT), file=str(store.file))
    known = 0
    for _ in range(5):
        process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(random.uniform(0.0, 0.05))
        process.kill()
        acknowledged = 1 + len(process.stdout.read().splitlines())
        process.wait()
        now = len(store.attempts())
        assert now in (known + acknowledged, known + acknowledged + 1)
        known = now
    with contextlib.closing(sqlite3.connect(store.file)) as db:
        assert db.execute("pragma integrity_check").fetchone() == ("ok",)


def test_what_there_is_one_of_is_counted_so() -> None:
    assert " · 1 attempt · 0.0 hours · 1 hint · 1 day " in screen_text(Progress({}, 1, 1, 60.0, 1))
    assert " · 2 attempts · 1.0 hours · 0 hints · " in screen_text(Progress({}, 2, 0, 3600.0, 0))


def test_a_full_disk_is_said_and_nothing_is_lost(store: Store) -> None:
    store.record(result("passed"))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, hard))
    try:
        with pytest.raises(ProgressError, match="not kept"):
            store.record(result("passed", day=2))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert set(store.levels()) == {("triton", 1)}


def attempt(at: float, seconds: float = 10.0) -> Attempt:
    return Attempt(at, "triton", 1, "", "cpu", 1, 0, 1, (), seconds, None)


def test_a_pause_is_no_work() -> None:
    assert time_spent([attempt(0), attempt(300), attempt(300 + PAUSE + 1)]) == 10 + 300 + 10


def test_a_streak_counts_days_in_a_row() -> None:
    today = datetime.date(2026, 3, 10)
    noon = time.mktime(datetime.datetime(2026, 3, 10, 12).timetuple())
    day = 86400
    assert streak([attempt(noon - 2 * day), attempt(noon - day)], today) == 2
    assert streak([attempt(noon - 2 * day)], today) == 0
    assert streak([attempt(noon - 3 * day), attempt(noon - day), attempt(noon)], today) == 2


def test_tracks_are_named_as_people_write_them() -> None:
    assert [name_of(track) for track in ("triton", "pytorch")] == ["Triton", "PyTorch"]


def test_an_earlier_day_that_is_not_what_passed_is_said_where_something_is_wrong(
    store: Store,
) -> None:
    store.record(result("passed", "passed"))

    def later(*statuses: str, digest: str, whose: str = "learner") -> list[str]:
        found = result(*statuses, day=2)
        found.files = [
            GradedFile("tracks.triton.day02", "day02.py", "learner", "eeee"),
            GradedFile("tracks.triton.day01", "day01.py", whose, digest),
        ]
        return [file.note for file in with_changes(found, store).files]

    said = "has changed since it passed: make triton DAY=1"
    assert later("passed", "wrong", digest="ffff0000") == ["", said]
    assert later("passed", "wrong", digest="abcd1234") == ["", ""]
    assert later("passed", "passed", digest="ffff0000") == ["", ""]
    assert later("passed", "wrong", digest="ffff0000", whose="solution") == ["", ""]
    elective = result("wrong")
    elective.track = "electives"
    elective.files = [
        GradedFile("tracks.triton.electives.day01", "day01.py", "learner", "eeee"),
        GradedFile("tracks.triton.day01", "day01.py", "learner", "ffff0000"),
    ]
    assert [file.note for file in with_changes(elective, store).files] == ["", said]


def test_days_that_are_not_what_passed(store: Store, tmp_path: Path) -> None:
    files = [tmp_path / f"day0{n}.py" for n in (1, 2)]
    for file in files:
        file.write_text("x = 1\n")
    digest = hashlib.sha256(files[0].read_bytes()).hexdigest()
    track: Any = SimpleNamespace(
        days=[SimpleNamespace(track="triton", number=n, file=files[n - 1]) for n in (1, 2)]
    )
    passed = result("passed")
    passed.files = [replace(passed.files[0], hash=digest[:8])]
    store.record(passed)
    assert changed_days(track, store) == []
    for file in files:  # the second day never passed
        file.write_text("x = 2\n")
    assert changed_days(track, store) == [1]
