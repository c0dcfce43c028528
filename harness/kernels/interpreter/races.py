"""Who wrote and who read each element during one launch.

The interpreter runs one program at a time, so a program number per element is enough to see that
two programs of the same launch meet in one place. Programs are ordered only by atomics (``order``);
the threads of one program only by barriers: between two, an element that one thread wrote may not
be read by another.
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
        self.in_one_program: Array | None = None  # updated by an atomic of scope "cta"
        self.read_first = False  # an element was read, then written
        self.loaded = Lanes()
        self.stored = Lanes()
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

    def blank(self, value: int, dtype: Any) -> Array:
        return np.full(-(-self.nbytes // self.step), value, dtype=dtype)

    def note_load(self, program: int, place: Array) -> None:
        self._log.append((program, place))
        self._logged += place.size
        if self._logged > _LOG_LIMIT:
            self._merge()

    def _merge(self) -> None:
        if self.reader is None:
            self.reader = self.blank(NOBODY, np.int32)
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
        reader = self._readers(place)
        if reader is None:
            return None
        foreign: Array = (reader != program) & (reader != NOBODY)
        return foreign if foreign.any() else None

    def _readers(self, place: Array) -> Array | None:
        if self._log:
            self._merge()
        return None if self.reader is None else self.reader.take(place)

    def readers(self, place: Array) -> list[int]:
        """The programs that read these granules; SEVERAL where it was more than one."""
        reader = self._readers(place)
        return [] if reader is None else np.unique(reader).tolist()

    def note_first_read(self, place: Array, by_atomic: bool = False) -> None:
        """Before a write: was anything here read, while nobody had written it in this launch?"""
        if self.read_first:
            return
        reader = None if by_atomic else self._readers(place)
        if reader is None and not by_atomic:
            return
        read = np.ones(place.shape, dtype=bool) if reader is None else reader != NOBODY
        for owner in (self.writer, self.updater):
            if owner is not None:
                read &= owner.take(place) == NOBODY
        self.read_first = bool(read.any())

    def released(self, place: Array) -> Array:
        """The number of the release that handed out the last write to each granule; 0: none."""
        if self.published is None:
            return np.zeros(place.shape, dtype=np.int32)
        return self.published.take(place)

    def note_store(self, program: int, place: Array) -> None:
        if self.writer is None:
            self.writer = self.blank(NOBODY, np.int32)
        self.writer[place] = program
        if self.published is not None:
            self.published[place] = 0

    def note_atomic(self, program: int, place: Array, in_one_program: bool) -> None:
        """Keeps the plain writer: a start value stored by a program is no start value."""
        if self.updater is None:
            self.updater = self.blank(NOBODY, np.int32)
        self.updater[place] = program
        if self.published is not None:
            self.published[place] = 0
        if in_one_program and self.in_one_program is None:
            self.in_one_program = self.blank(0, bool)
        if self.in_one_program is not None:
            self.in_one_program[place] = in_one_program

    def publish(self, place: Array, number: int) -> None:
        if self.published is None:
            self.published = self.blank(0, np.int32)
        self.published[place] = number

    def forget_reads(self) -> None:
        """After the launch only the writes are of interest."""
        self._log.clear()
        self.reader = self.published = self.in_one_program = None
        self.loaded = self.stored = Lanes()

    def last(self) -> Array | None:
        """Who changed each granule, by whatever means; None if nobody changed any."""
        if self.writer is None or self.updater is None:
            return self.updater if self.writer is None else self.writer
        return np.where(self.updater == NOBODY, self.writer, self.updater)


class Lanes:
    """Which lane of a block touched each granule since the last barrier of the program that runs.

    Lanes are threads only roughly: the compiler spreads a block over the threads as it likes, but
    blocks of one shape in the same way, with the first lane in the first thread. A single element
    is stored by the first thread and loaded by all.
    """

    ALL = -1
    ONE = -2
    _LIMIT = 1 << 21

    def __init__(self) -> None:
        self.interval = 0
        self._log: list[tuple[Array, Any, Array | None, bool]] = []
        self._size = 0
        self._lane: Array | None = None
        self._stamp: Array | None = None
        self._merged = False

    def note(self, interval: int, place: Array, shape: Any, on: Array | None, loads: bool) -> None:
        if self.interval != interval:
            self.forget(interval)
        self._size += place.size
        if self._size > self._LIMIT:  # a program that loads much and has no barrier
            self._log.clear()
            self._size = place.size
        self._log.append((place, shape, on, loads))

    def forget(self, interval: int) -> None:
        self.interval = interval
        self._log.clear()
        self._size = 0
        self._merged = False

    def others(
        self,
        interval: int,
        place: Array,
        shape: Any,
        on: Array | None,
        loads: bool,
        shadow: Shadow,
    ) -> Array | None:
        """Which of these granules another thread touched in this interval; None: none."""
        if self.interval != interval or not (self._log or self._merged):
            return None
        if len(self._log) == 1 and not self._merged:
            before, its_shape, its_on, _ = self._log[0]
            same = its_shape == shape and place.size == before.size > 1
            if same and _equal(its_on, on) and np.array_equal(before, place):
                return None
        if self._lane is None or self._stamp is None:
            self._lane = shadow.blank(0, np.int64)
            self._stamp = shadow.blank(0, np.int32)
        for entry in self._log:
            lanes = _numbers(*entry)
            touched = entry[0]
            known = self._stamp.take(touched) == interval
            # Two lanes on one element: all threads, to be on the safe side.
            same_lane = ~known | (self._lane.take(touched) == lanes)
            self._lane[touched] = np.where(same_lane, lanes, self.ALL)
            self._stamp[touched] = interval
        self._merged = self._merged or bool(self._log)
        self._log.clear()
        mine = _numbers(place, shape, on, loads)
        lane = self._lane.take(place)
        other: Array = (self._stamp.take(place) == interval) & (lane != mine)
        if not other.any():
            return None
        # What the first thread stored alone, it may load, and a single element that all load is
        # mostly for the first thread to store again.
        for left, right in ((lane, mine), (mine, lane)):
            other &= ~((left == self.ONE) & ((right == 0) | (right == self.ALL)))
        return other if other.any() else None


def _equal(first: Array | None, second: Array | None) -> bool:
    if first is None or second is None:
        return first is second
    return first.shape == second.shape and bool((first == second).all())


def _numbers(place: Array, shape: Any, on: Array | None, loads: bool) -> Array:
    """A number for each granule's thread: 0 for the first, the same for the same lane of blocks of
    one shape (axes of one element aside); ALL or ONE for a single element."""
    count = 1
    for size in shape:
        count *= size
    if count == 1:
        return np.full(place.size, Lanes.ALL if loads else Lanes.ONE, dtype=np.int64)
    lanes = np.arange(count) if on is None else np.flatnonzero(on)
    kind = hash(tuple(size for size in shape if size > 1)) & 0x7FFFFFFF
    numbers = np.where(lanes == 0, 0, lanes + (kind << 32))
    return np.repeat(numbers, place.size // lanes.size) if lanes.size else numbers


def _others(owners: Array | None, program: int, place: Array) -> Array | None:
    if owners is None:
        return None
    owner = owners.take(place)
    foreign: Array = (owner != program) & (owner != NOBODY)
    return foreign if foreign.any() else None


def either(first: Array | None, second: Array | None) -> Array | None:
    return second if first is None else first if second is None else first | second
