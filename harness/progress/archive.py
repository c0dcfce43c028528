"""Answers that a reset replaced, kept as files: nothing a learner wrote is thrown away."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from harness.curriculum import ROOT, Day

FOLDER = ROOT / ".harness" / "archive"


@dataclass(frozen=True)
class Kept:
    """One version of a day's file; ``number`` 1 is the oldest, so that a new one changes none."""

    number: int
    path: Path
    when: str


def keep(day: Day, folder: Path = FOLDER, now: float | None = None) -> Path:
    """Copy the learner's file into the archive; the copy's name says when."""
    place = folder / day.track / day.name
    place.mkdir(parents=True, exist_ok=True)
    stamp = time.strftime("%Y-%m-%d_%H-%M-%S", time.localtime(now or time.time()))
    copy = place / f"{stamp}.py"
    count = 1
    while copy.exists():  # two resets in one second are two versions
        count += 1
        copy = place / f"{stamp}_{count}.py"
    put(copy, day.file.read_bytes())
    return copy


def put(file: Path, content: bytes) -> None:
    """Write a file so that the old or the new one is there at every instant, on a full disk too."""
    part = file.with_name(f".{file.name}.{os.getpid()}.part")
    try:
        part.write_bytes(content)
        if file.exists():
            shutil.copymode(file, part)
        os.replace(part, file)
    except BaseException:
        with contextlib.suppress(OSError):
            part.unlink()
        raise


def kept_of(day: Day, folder: Path = FOLDER) -> list[Kept]:
    """The kept versions, newest first."""
    files = sorted((folder / day.track / day.name).glob("*.py"), key=_age)
    kept = [Kept(n, file, _when(_age(file)[0])) for n, file in enumerate(files, start=1)]
    return kept[::-1]


def _when(stamp: str) -> str:
    """As a clock shows it; the names of files have no colons, for Windows takes none."""
    day, _, clock = stamp.partition("_")
    return f"{day} {clock.replace('-', ':')}"


def _age(file: Path) -> tuple[str, int]:
    """The second in which it was kept, and which of that second it is: _10 comes after _9."""
    stamp, count = file.stem[:19], file.stem[20:]
    return stamp, int(count) if count.isdigit() else 1
