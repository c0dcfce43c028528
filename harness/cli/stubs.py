"""Writes what is generated from the references: the days' stubs and the tracks' tables."""

from __future__ import annotations

import os
from pathlib import Path

from harness.curriculum import (
    ROOT,
    Day,
    curriculum_table,
    find_electives,
    find_tracks,
    generate_stub,
    read_source,
    update_readme,
    write_source,
)


def write_stubs(check: bool) -> int:
    """Write every stub and table; with ``check``, only say which committed file is not current."""
    stale = []
    for track in [*find_tracks(), *find_electives()]:
        for day in track.days:
            stub = generate_stub(read_source(day.solution), day.solution)
            current = read_source(day.file) if day.file.exists() else None
            if current == stub:
                continue
            if check:
                stale.append(day.file)
            elif current is None or _is_ours(day, current):
                write_source(day.file, stub)
                print(f"wrote {_relative(day)}")
            else:
                stale.append(day.file)
        readme = track.folder / "README.md"
        text = update_readme(readme, curriculum_table(track))
        if text == read_source(readme):
            continue
        if check:
            stale.append(readme)
        else:
            write_source(readme, text)
            print(f"wrote {readme.relative_to(ROOT)}")
    for file in stale:
        print(f"{file}: not what the reference generates{'' if check else ', and left alone'}")
    if stale and not check:
        print("FORCE=1 replaces files that hold answers.")
    return 1 if stale else 0


def _is_ours(day: Day, current: str) -> bool:
    """Whether the file can be replaced without losing an answer."""
    from harness.cli.grade import started

    return bool(os.environ.get("FORCE")) or not started(day)


def _relative(day: Day) -> Path:
    return day.file.relative_to(day.root)
