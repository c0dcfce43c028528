"""Keeps each result as soon as it is there, so that nothing is graded twice after a kill."""

from __future__ import annotations

import json
import random
from collections.abc import Hashable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from harness.grade.task import Record
from harness.progress import put
from harness.usage import Usage

Name = TypeVar("Name", bound=Hashable)


class Records:
    """The folder ``records`` of a gradebook: a file a (student, day, content)."""

    def __init__(self, out: Path) -> None:
        self.folder = out / "records"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise Usage(f"OUT={out} cannot be made: {error.strerror}.") from None
        self._settings = out / "settings.json"

    def get(self, key: str) -> Record | None:
        """None where there is none, or none that can be read: then it is graded anew."""
        try:
            record = Record.from_json(self._file(key).read_text(encoding="utf-8"))
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return record if record.key == key else None

    def add(self, record: Record) -> None:
        put(self._file(record.key), record.to_json().encode())

    def seeds(self, asked: str) -> tuple[int, int]:
        """The seeds of this gradebook: all students get the same inputs, late ones too."""
        known: dict[str, Any] = {}
        if self._settings.exists():
            try:
                known = json.loads(self._settings.read_text(encoding="utf-8"))
                seed = int(known["seed"])
            except (ValueError, KeyError, TypeError):
                known = {}
        if asked or not known:
            seed = int(asked) if asked else random.SystemRandom().randrange(10**6)
            put(self._settings, json.dumps({"seed": seed}).encode())
        return seed, seed + 1_000_003

    def _file(self, key: str) -> Path:
        return self.folder / f"{key}.json"


class Kept(Mapping[Name, Record]):
    """Records by a name of the caller's, read from their files when they are asked for: those of a
    class do not have to be in memory at once."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self._keys: dict[Name, str] = {}

    def note(self, name: Name, key: str) -> None:
        self._keys[name] = key

    def __getitem__(self, name: Name) -> Record:
        record = self._records.get(self._keys[name])
        if record is None:
            raise KeyError(name)  # somebody took the file away
        return record

    def __iter__(self) -> Iterator[Name]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)
