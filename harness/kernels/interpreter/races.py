"""Who wrote and who read each element during one launch.

The interpreter runs one program after another, so a program number per element is enough to see
that two programs of the same launch meet in one place. Programs are ordered only by atomics: what
a program wrote before an atomic of its own may be used by a program after an atomic of its own.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

NOBODY = -1
SEVERAL = -2
_LOG_LIMIT = 1 << 21
"""Loads noted one by one until this many elements wait; then they are merged."""


class Shadow:
    """Writer and reader of every granule (the narrowest element) of one storage."""

    def __init__(self, nbytes: int) -> None:
        self.nbytes = nbytes
        self.step = 16
        self.writer: Array | None = None
        self.reader: Array | None = None
        self.published: Array | None = None
        self.updater: Array | None = None
        self.read_then_written = False
        self._log: list[tuple[int, Array]] = []
        self._logged = 0

    def narrow(self, itemsize: int) -> None:
        """Called before the launch, once per argument of this storage."""
        self.step = min(self.step, itemsize)

    def granules(self, first: int, index: Array, size: int) -> Array:
        """Element numbers of ``size`` bytes from byte ``first`` on, as granule numbers."""
        flat = index.reshape(-1)
        if size == self.step:
            return flat + first // size if first else flat
        if first % self.step or size < self.step:  # an odd bitcast: the granule it starts in
            return (first + flat * size) // self.step
        wide = size // self.step
        return (flat[:, None] * wide + (first // self.step + np.arange(wide))).reshape(-1)

    def _blank(self, value: int, dtype: Any) -> Array:
        return np.full(-(-self.nbytes // self.step), value, dtype=dtype)

    def note_load(self, program: int, place: Array) -> None:
        self._log.append((program, place))
        self._logged += place.size
        if self._logged > _LOG_LIMIT:
            self._merge()

    def _merge(self) -> None:
        if self.reader is None:
            self.reader = self._blank(NOBODY, np.int32)
        for program, place in self._log:
            before = self.reader.take(place)
            alone = (before == NOBODY) | (before == program)
            self.reader[place] = np.where(alone, program, SEVERAL)
        self._log.clear()
        self._logged = 0

    def foreign_writes(self, program: int, place: Array) -> Array | None:
        """Which granules another program wrote with a plain store; None if none did."""
        return _others(self.writer, program, place)

    def foreign_updates(self, program: int, place: Array) -> Array | None:
        """Which granules another program updated last by an atomic; None if none did."""
        return _others(self.updater, program, place)

    def foreign_reads(self, program: int, place: Array) -> Array | None:
        """Which granules another program read in this launch; None if none did."""
        if self._log:
            self._merge()
        if self.reader is None:
            return None
        reader = self.reader.take(place)
        if not self.read_then_written and (reader != NOBODY).any():
            self.read_then_written = True
        foreign: Array = (reader != program) & (reader != NOBODY)
        return foreign if foreign.any() else None

    def is_published(self, place: Array) -> Array:
        if self.published is None:
            return np.zeros(place.shape, dtype=bool)
        return self.published.take(place)

    def note_store(self, program: int, place: Array) -> None:
        if self.writer is None:
            self.writer = self._blank(NOBODY, np.int32)
        self.writer[place] = program
        if self.published is not None:
            self.published[place] = False

    def note_atomic(self, program: int, place: Array) -> None:
        """Keeps the plain writer: a start value stored by a program is no start value."""
        if self.updater is None:
            self.updater = self._blank(NOBODY, np.int32)
        self.updater[place] = program
        self.publish(place)

    def publish(self, place: Array) -> None:
        if self.published is None:
            self.published = self._blank(0, bool)
        self.published[place] = True

    def forget_reads(self) -> None:
        """After the launch only the writes are of interest."""
        self._log.clear()
        self.reader = self.published = None

    def last(self) -> Array | None:
        """Who changed each granule, by whatever means; None if nobody changed any."""
        if self.writer is None or self.updater is None:
            return self.updater if self.writer is None else self.writer
        return np.where(self.updater == NOBODY, self.writer, self.updater)


def _others(owners: Array | None, program: int, place: Array) -> Array | None:
    if owners is None:
        return None
    owner = owners.take(place)
    foreign: Array = (owner != program) & (owner != NOBODY)
    return foreign if foreign.any() else None


def either(first: Array | None, second: Array | None) -> Array | None:
    return second if first is None else first if second is None else first | second
