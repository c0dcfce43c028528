"""Which programs of a launch are ordered: what one wrote, another may only read after both have
met at an atomic.

An atomic that releases hands out everything its program wrote before it; one that acquires, and
whose result the program looks at, receives what was handed out at the same place so far, and what
those programs had received before. It is the rule of the PTX memory model
(https://docs.nvidia.com/cuda/parallel-thread-execution/#memory-consistency-model) for one chain of
atomics per element. Releases are numbered; 0 means never released.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
Log = list[int]
"""Numbers of the releases at one place, in the order in which they happened."""
Received = list[tuple[Log, int]]
"""Logs, each with how much of it was there when it was received."""


class Release:
    """By which program, and what that program had received until then."""

    __slots__ = ("length", "owner", "received")

    def __init__(self, owner: int, received: Received) -> None:
        self.owner = owner
        self.received = received
        self.length = len(received)


class Order:
    """All releases of one launch."""

    def __init__(self) -> None:
        self.releases = [Release(-1, [])]
        self._views: dict[int, View] = {}
        self._logs: defaultdict[tuple[int, int], Log] = defaultdict(list)

    def view(self, program: int) -> View:
        if program not in self._views:
            self._views[program] = View(self.releases)
        return self._views[program]

    def release(self, program: int) -> int:
        self.releases.append(Release(program, self.view(program).received))
        return len(self.releases) - 1

    # A place is one element for atomics on one element. Blocks have a log for the whole storage:
    # one for each lane would cost more than it tells.

    def hand_out(self, number: int, storage: int, place: Array) -> None:
        at = int(place[0]) if place.size == 1 else -1
        self._logs[storage, at].append(number)
        self._logs[storage, -2].append(number)

    def logs(self, storage: int, place: Array) -> list[Log]:
        """What has been handed out at a place."""
        keys = ((storage, int(place[0])), (storage, -1)) if place.size == 1 else ((storage, -2),)
        return [self._logs[key] for key in keys if key in self._logs]

    def receive(self, program: int, received: Received) -> None:
        self.view(program).receive(received)

    def unordered(self, program: int, released: Array) -> Array | None:
        """Which of these releases ``program`` has not received; None: it has received them all."""
        view = self._views.get(program)
        strange = [
            number
            for number in np.unique(released).tolist()
            if number == 0 or view is None or not view.has(number)
        ]
        return np.isin(released, strange) if strange else None

    def has_met(self, program: int, other: int) -> bool:
        """Whether ``program`` received anything from ``other`` (negative: from anybody)."""
        view = self._views.get(program)
        return view is not None and view.has_met(other)


class View:
    """What one program has received."""

    def __init__(self, releases: list[Release]) -> None:
        self.received: Received = []
        self._releases = releases
        self._latest: dict[int, int] = {}
        self._read: dict[int, int] = {}
        self._todo = 0

    def receive(self, received: Received) -> None:
        if self.received[-len(received) :] != received:
            self.received.extend(received)

    def has(self, number: int) -> bool:
        self._learn()
        return self._latest.get(self._releases[number].owner, 0) >= number

    def has_met(self, other: int) -> bool:
        self._learn()
        return other in self._latest if other >= 0 else bool(self._latest)

    def _learn(self) -> None:
        """Follows what was received back to all that came with it, each part once."""
        work = self.received[self._todo :]
        self._todo = len(self.received)
        while work:
            log, length = work.pop()
            start = self._read.get(id(log), 0)
            if start >= length:
                continue
            self._read[id(log)] = length
            for number in log[start:length]:
                release = self._releases[number]
                if self._latest.get(release.owner, 0) < number:
                    self._latest[release.owner] = number
                begin = self._read.get(id(release.received), 0)
                if begin < release.length:
                    self._read[id(release.received)] = release.length
                    work.extend(release.received[begin : release.length])
