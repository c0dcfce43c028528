"""What the last launches wrote: for messages about elements that nobody wrote."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from harness.kernels.interpreter.memory import Region, storage_reference
from harness.kernels.interpreter.numbers import Array
from harness.kernels.interpreter.races import NOBODY
from harness.kernels.interpreter.state import Launch

_KEEP = 16
_KEEP_BYTES = 64 << 20


@dataclass(frozen=True)
class ArgumentReport:
    """One tensor argument after a launch. ``writers`` are the first programs that wrote to it."""

    name: str
    elements: int
    written: int
    programs: int
    writers: tuple[tuple[int, ...], ...]
    read_first: bool  # an element was read, then written

    @property
    def unwritten(self) -> int:
        return self.elements - self.written


class LaunchReport:
    """One launch: its kernel, grid and tensor arguments."""

    def __init__(self, launch: Launch) -> None:
        self.kernel = launch.kernel
        self.grid = launch.grid
        self.programs = launch.programs
        self._launch = launch

    @property
    def names(self) -> list[str]:
        return [region.name for region in self._launch.arguments.regions]

    def _region(self, name: str) -> Region:
        return next(r for r in self._launch.arguments.regions if r.name == name)

    def writer(self, name: str) -> Array:
        """The number of the program that wrote each element last, in the tensor's shape; -1: none.
        Programs are numbered with the first axis of the grid fastest."""
        region = self._region(name)
        if region.storage.shadow.last() is None:  # a view may span far more than it holds
            return np.full(region.shape, NOBODY, dtype=np.int32)
        return region.spread(_per_element(region)).copy()

    def written(self, name: str) -> Array:
        """Which elements of the argument this launch wrote, in the tensor's shape."""
        return np.asarray(self.writer(name) >= 0)

    def argument(self, name: str) -> ArgumentReport:
        region = self._region(name)
        writer = self.writer(name)
        numbers = np.unique(writer[writer >= 0])
        return ArgumentReport(
            name=name,
            elements=region.numel,
            written=int((writer >= 0).sum()),
            programs=len(numbers),
            writers=tuple(self._launch.coordinates(int(n)) for n in numbers[:8]),
            read_first=region.storage.shadow.read_first,
        )

    @property
    def arguments(self) -> list[ArgumentReport]:
        return [self.argument(name) for name in self.names]

    def nbytes(self) -> int:
        shadows = [storage.shadow for storage in self._launch.arguments.storages.values()]
        kept = [array for s in shadows for array in (s.writer, s.updater) if array is not None]
        return sum(array.nbytes for array in kept)


@dataclass(frozen=True)
class NeverWritten:
    """Elements of a tensor that no launch wrote. ``first`` are indices in the tensor's shape."""

    count: int
    elements: int
    first: tuple[tuple[int, ...], ...]
    kernels: tuple[str, ...]
    """The launches that had the tensor as an argument, with their grids."""
    stored: tuple[str, ...] | None = None
    """Where nothing of it was written: the arguments into which these launches stored."""
    returned: bool = False
    """Where nothing of it was written: whether a program returned something."""

    def __str__(self) -> str:
        if not self.count:
            return "every element was written."
        places = ", ".join(
            str(place[0] if len(place) == 1 else list(place)) for place in self.first[:3]
        )
        noun = "element" if self.elements == 1 else "elements"
        noun += " was" if self.count == 1 else " were"
        by = f" by {', '.join(self.kernels)}" if self.kernels else ""
        told = f"{self.count:,} of {self.elements:,} {noun} never written{by}: first at {places}."
        if self.stored:
            told += f" What was stored went into {', '.join(self.stored)}."
        elif self.stored is not None:
            told += " Nothing was stored at all."
        if self.returned:
            told += " What a kernel returns is lost: tl.store writes."
        return told


@dataclass
class _Memory:
    reference: Any
    step: int
    written: Array
    kernels: list[str]


_reports: deque[LaunchReport] = deque(maxlen=_KEEP)
_storages: dict[int, _Memory] = {}


def reset() -> None:
    """Forget all launches: what a test does before it starts."""
    _reports.clear()
    _storages.clear()


def launch_report() -> list[LaunchReport]:
    """The last launches, oldest first."""
    return list(_reports)


def _per_element(region: Region) -> Array:
    """Writers per element of the region's span (the first granule of each)."""
    shadow = region.storage.shadow
    last = shadow.last()
    assert last is not None
    step = max(region.itemsize // shadow.step, 1)
    first = region.first // shadow.step
    return np.ascontiguousarray(last[first : first + region.span * step : step])


def note(launch: Launch) -> None:
    """After a launch: keep its shadow, and add to what has ever been written."""
    for key in [key for key, memory in _storages.items() if memory.reference.expired()]:
        del _storages[key]
    name = f"`{launch.kernel}` (grid {launch.grid})"
    for storage in launch.arguments.storages.values():
        shadow = storage.shadow
        memory = _storages.get(storage.key)
        if (
            memory is None
            or memory.step != shadow.step
            or memory.written.size * shadow.step < (storage.nbytes)
        ):
            written = np.zeros(-(-storage.nbytes // shadow.step), dtype=bool)
            if memory is not None:
                written |= _rescale(memory, shadow.step, written.size)
            kernels = [] if memory is None else memory.kernels
            memory = _Memory(storage.reference, shadow.step, written, kernels)
            _storages[storage.key] = memory
        last = shadow.last()
        if last is not None:
            memory.written |= last != NOBODY
        if name not in memory.kernels:
            memory.kernels.append(name)
        shadow.forget_reads()
        storage.bytes = np.zeros(0, dtype=np.uint8)  # no view of memory outlives the launch
    for region in launch.arguments.regions:
        region._memory.clear()
    launch.arguments._foreign = None
    _reports.append(LaunchReport(launch))
    while len(_reports) > 1 and sum(r.nbytes() for r in _reports) > _KEEP_BYTES:
        _reports.popleft()


def _rescale(memory: _Memory, step: int, size: int) -> Array:
    """What was noted in granules of another size."""
    per_byte = np.repeat(memory.written, memory.step)
    out = np.zeros(size * step, dtype=bool)
    out[: min(out.size, per_byte.size)] = per_byte[: out.size]
    return np.asarray(out.reshape(size, step).any(axis=1))


def never_written(tensor: Any, among: Array | None = None) -> NeverWritten | None:
    """Which elements of ``tensor`` no launch wrote; None if no launch had it as an argument.

    ``among``: only these are of interest, a mask in the tensor's shape. An output that begins as
    zeros may rightly be left alone in places.
    """
    key = storage_reference(tensor).cdata
    memory = _storages.get(key)
    if memory is None:
        return None
    step = max(tensor.element_size() // memory.step, 1)
    first = tensor.storage_offset() * tensor.element_size() // memory.step
    flat = memory.written[first::step]
    if tensor.numel() == 0:
        return NeverWritten(0, 0, (), tuple(memory.kernels))
    strides = tuple(stride * flat.strides[0] for stride in tensor.stride())
    written = np.lib.stride_tricks.as_strided(flat, tuple(tensor.size()), strides)
    missing = np.argwhere(~written if among is None else ~written & among)
    places = tuple(tuple(int(i) for i in place) for place in missing[:8])
    seen = NeverWritten(len(missing), tensor.numel(), places, tuple(memory.kernels))
    return seen if written.any() or not len(missing) else _with_what_was_done(seen, key)


def _with_what_was_done(seen: NeverWritten, key: int) -> NeverWritten:
    """With the arguments that were written by the launches with the storage ``key``, unless some of
    these launches are no longer known, or no program ran in them."""
    launches = [
        report
        for report in _reports
        if any(region.storage.key == key for region in report._launch.arguments.regions)
    ]
    if len(_reports) == _KEEP or not any(report.programs for report in launches):
        return seen
    names = [a.name for report in launches for a in report.arguments if a.written]
    returned = any(report._launch.returned for report in launches)
    return replace(seen, stored=tuple(dict.fromkeys(names)), returned=returned)
