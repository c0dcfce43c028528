"""Writes what an update has decided; run again, it goes on where it was interrupted.

    python .harness/update/finish.py

Standard library only and nothing of the project: a copy lies beside the update while it is written,
for half of the project may be new and half old when a learner finds it interrupted.

``.harness/update/<when>/`` holds one update: ``record.json``, what each file was (``before/``) and
becomes (``after/``), git's new index, and ``done`` when all of it is in place. ``pending`` names
the update that is being written: from the instant that it exists, the update will be finished.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

FOLDER = Path(".harness") / "update"
PENDING = "pending"
MESSAGE = "make update"


def finish(root: Path) -> list[str]:
    """Write the pending update, if there is one. → what to say about it; the caller has locked."""
    folder = root / FOLDER
    try:
        stamp = (folder / PENDING).read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return []
    update = folder / stamp
    record = json.loads((update / "record.json").read_text(encoding="utf-8"))
    said = []
    # What is deleted goes first (a file may become a folder), the harness itself last.
    files = sorted(record["files"], key=lambda f: (f["after"], f["path"].startswith("harness/")))
    for file in files:
        said += _write(root, update, file)
    said += _move_head(root, update, record)
    _renumber(root / ".harness" / "progress.db", stamp, record["moved"])
    (update / "done").touch()
    (folder / PENDING).unlink()
    return said


def _write(root: Path, update: Path, file: dict[str, object]) -> list[str]:
    path = str(file["path"])
    target = root / path
    before = (update / "before" / path).read_bytes() if file["before"] else None
    after = (update / "after" / path).read_bytes() if file["after"] else None
    now = target.read_bytes() if target.is_file() else None
    said = []
    if now not in (before, after):  # saved since the interruption
        kept = update / "saved_since" / path
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_bytes(now or b"")
        said.append(f"{path}: was saved meanwhile; that version is kept in {kept}")
        if now is not None and before is not None and after is not None:
            parts = [kept, update / "before" / path, update / "after" / path]
            command = ["git", "merge-file", "-p", "-q", "-L", "yours", "-L", "", "-L", "upstream"]
            merged = subprocess.run([*command, *map(str, parts)], cwd=root, capture_output=True)
            if 0 <= merged.returncode <= 127:
                after = merged.stdout
    if after is None:
        if now is not None:
            target.unlink()
        with contextlib.suppress(OSError):  # not empty, or not there: stays
            target.parent.rmdir()
        return said
    if now != after:
        put(target, after)
    if file["executable"] is not None and os.name == "posix":
        mode = target.stat().st_mode
        # those who may read may execute
        target.chmod(mode | (mode & 0o444) >> 2 if file["executable"] else mode & ~0o111)
    return said


def put(target: Path, content: bytes) -> None:
    """Replace a file so that at every instant the old or the new one is there, whole."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        part.write_bytes(content)
        if target.exists():
            shutil.copymode(target, part)
        os.replace(part, target)
    except BaseException:
        with contextlib.suppress(OSError):
            part.unlink()
        raise


def _move_head(root: Path, update: Path, record: dict[str, str]) -> list[str]:
    head = _git(root, "rev-parse", "HEAD").stdout.strip()
    if head not in (record["old"], record["new"]):
        return ["There is a commit since the interruption: the files are new, HEAD is left there."]
    index = root / _git(root, "rev-parse", "--git-path", "index").stdout.strip()
    if (update / "index").exists():
        put(index, (update / "index").read_bytes())
    if head != record["new"]:
        move = ["update-ref", "-m", MESSAGE, "HEAD", record["new"], record["old"]]
        done = _git(root, *move)
        if done.returncode:
            return [f"git could not move the branch: {done.stderr.strip()}"]
    _git(root, "update-index", "-q", "--refresh")
    return []


def _git(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["git", *arguments],
        cwd=root, env=without_caller(dict(os.environ)), capture_output=True, text=True,
    )  # fmt: skip


def without_caller(environment: dict[str, str]) -> dict[str, str]:
    """Without what a git that calls this (from a hook) says of its own repository."""
    own = "DIR WORK_TREE INDEX_FILE OBJECT_DIRECTORY COMMON_DIR PREFIX NAMESPACE".split()
    return {k: v for k, v in environment.items() if k not in {f"GIT_{name}" for name in own}}


def _renumber(database: Path, stamp: str, moved: dict[str, dict[str, int]]) -> None:
    """Progress follows a day that upstream gave another number, once however often this is run."""
    if not moved or not database.exists():
        return
    with contextlib.closing(sqlite3.connect(database, timeout=20.0)) as db, db:
        db.execute("create table if not exists moves (stamp text primary key)")
        if not db.execute("insert or ignore into moves values (?)", (stamp,)).rowcount:
            return
        for table in ("attempts", "hints", "medals"):
            if not db.execute("select 1 from sqlite_master where name = ?", (table,)).fetchone():
                continue
            for track, days in moved.items():
                for old, new in days.items():  # negative first: 7 → 8 and 8 → 9 do not meet
                    where = f"update {table} set day = ? where track = ? and day = ?"
                    db.execute(where, (-new, track, int(old)))
            # the number that a day moved to may hold rows of what was there before
            for track, days in moved.items():
                for new in days.values():
                    db.execute(f"delete from {table} where track = ? and day = ?", (track, new))
            db.execute(f"update {table} set day = -day where day < 0")


@contextlib.contextmanager
def locked(root: Path, seconds: float = 30.0) -> Iterator[bool]:
    """One update at a time. → False where another has not ended within ``seconds``."""
    folder = root / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    try:
        import fcntl
    except ImportError:  # Windows
        yield True
        return
    with open(folder / "lock", "w") as file:
        deadline = time.monotonic() + seconds
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                if time.monotonic() > deadline:
                    yield False
                    return
                time.sleep(0.05)
        yield True


def main(root: Path) -> int:
    """Finish what is pending. → exit status."""
    try:
        with locked(root) as mine:
            if not mine:
                print("another make update is running", file=sys.stderr)
                return 3
            if (root / FOLDER / PENDING).exists():
                said = finish(root)
                print("\n".join(["An interrupted update has been finished.", *said]))
    except OSError as error:
        print(f"an interrupted update cannot be finished yet: {error}", file=sys.stderr)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(__file__).resolve().parents[2]))
