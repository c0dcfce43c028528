"""Timing calls on the CPU."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import torch

from harness.bench.checking import snapshot
from harness.bench.clock import Clock, RealClock
from harness.bench.stopwatch import Call, Sample, Sets


class CpuTimer:
    """Times a batch of calls with the host's clock, each call on another set of inputs.

    A batch is one turn through the sets and never two: a second turn would hand a function that
    remembers its answers the inputs that it has already seen. The two readings of the clock cost
    about 0.1 µs, shared by the batch.
    """

    def __init__(self, clock: Clock | None = None, evict_bytes: int = 0) -> None:
        self._clock = clock or RealClock()
        self._evict = torch.zeros(evict_bytes // 4) if evict_bytes else None
        self.flushes = self._evict is not None

    def settle(self, call: Call, sets: Sets) -> float:
        return self._turn(call, sets, keep=0)[0]

    def ready(self, name: str, call: Call, sets: Sets, ns: float) -> str:
        return "batches" if len(sets) > 2 else "calls"

    def sample(self, name: str, call: Call, sets: Sets, keep: int) -> Sample:
        if self._evict is not None:
            self._evict.add_(1)  # reads and writes all of it: nothing else stays in the cache
        threads = threading.active_count()
        ns, kept = self._turn(call, sets, keep)
        cheat = ""
        if threading.active_count() > threads:
            cheat = "a thread was still at work when the timed call had returned"
        return Sample(ns, snapshot(kept), keep, cheat=cheat)

    def _turn(self, call: Call, sets: Sets, keep: int) -> tuple[float, Any]:
        kept = None
        start = self._clock.now()
        for index, arguments in enumerate(sets):
            out = call(*arguments)
            if index == keep:
                kept = out
        return (self._clock.now() - start) / len(sets), kept


def last_level_cache() -> int:
    """Bytes of the largest cache of this CPU; 32 MiB where the system does not say."""
    sizes = []
    for path in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size"):
        text = path.read_text().strip()
        unit = {"K": 2**10, "M": 2**20, "G": 2**30}.get(text[-1:], 1)
        digits = text.rstrip("KMG")
        if digits.isdigit():
            sizes.append(int(digits) * unit)
    return max(sizes, default=32 * 2**20)
