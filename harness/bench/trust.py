"""Was the machine itself while the clock ran? Each reason why not is a sentence for the table.

A gate looks before, during and after the rounds of a case. A result with a reason is untrusted: it
is measured again, a few times at most, and shown with its reasons if they stay.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from harness.bench.clock import Clock, RealClock
from harness.measure.nvml import GpuReading

DRIFT = 0.05  # of the CPU's speed, by a computation of known length
CLOCK_DRIFT = 0.10  # of the SM clock; boost steps and the power cap move it by a few per cent
STOLEN = 0.01  # share of the time that a hypervisor gave to others
NEIGHBOURS = 0.5  # cores that other processes kept busy: they share caches and memory bandwidth
FIXED = bytes(2**20)
HOT = 87  # °C; data-centre cards slow down from about there on


class Gate(Protocol):
    def start(self) -> None:
        """Before the rounds."""

    def look(self) -> None:
        """Between two rounds."""

    def reasons(self) -> list[str]:
        """After the rounds: why not to trust them."""


@dataclass(frozen=True)
class Usage:
    """Seconds of CPU time since boot: of everything, of this process, and stolen; and now."""

    busy: float
    own: float
    stolen: float
    now: float


class CpuGate:
    def __init__(
        self,
        usage: Callable[[], Usage] | None = None,
        calibrate: Callable[[], float] | None = None,
    ) -> None:
        self._usage = usage or read_usage
        self._calibrate = calibrate or spin
        self._before = 0.0
        self._used = Usage(0, 0, 0, 0)

    def start(self) -> None:
        self._before = self._calibrate()
        self._used = self._usage()

    def look(self) -> None:
        """Nothing: usage is a total, and the calibration runs before and after."""

    def reasons(self) -> list[str]:
        used = self._usage()
        after = self._calibrate()
        wall = max(1e-9, used.now - self._used.now)
        found = []
        drift = after / self._before - 1
        if abs(drift) > DRIFT:
            word = "slower" if drift > 0 else "faster"
            found.append(f"the CPU was {abs(drift):.0%} {word} after the rounds than before")
        others = (used.busy - self._used.busy - (used.own - self._used.own)) / wall
        if others > NEIGHBOURS:
            found.append(f"other processes kept {others:.1f} cores busy")
        stolen = (used.stolen - self._used.stolen) / wall
        if stolen > STOLEN:
            found.append(f"the hypervisor took {stolen:.1%} of the time away")
        return found


# A large matmul meets the card's power limit: that is the card at work. How far it moves the clock
# is judged by itself.
HARMLESS = {"power limit reached"}


class GpuGate:
    """Judges NVML's readings. ``read`` returns one, or None where NVML has nothing to say."""

    def __init__(self, read: Callable[[], GpuReading | None]) -> None:
        self._read = read
        self._readings: list[GpuReading] = []

    def start(self) -> None:
        self._readings = []

    def look(self) -> None:
        reading = self._read()
        if reading is not None:
            self._readings.append(reading)

    def reasons(self) -> list[str]:
        if not self._readings:
            return ["NVML could not be read, so nobody knows how the card was doing"]
        found = []
        if any(reading.lost for reading in self._readings):
            found.append("the card stopped answering")
        throttled = sorted(
            {
                reason
                for reading in self._readings
                for reason in reading.throttle_reasons or ()
                if reason not in HARMLESS
            }
        )
        if throttled:
            found.append(f"the card was throttled: {', '.join(throttled)}")
        clocks = [r.sm_clock for r in self._readings if r.sm_clock]
        if clocks and max(clocks) > (1 + CLOCK_DRIFT) * min(clocks):
            found.append(f"the SM clock moved between {min(clocks)} and {max(clocks)} MHz")
        hottest = max((r.temperature or 0 for r in self._readings), default=0)
        if hottest >= HOT:
            found.append(f"the card was at {hottest} °C")
        others = max(len(r.other_processes or ()) for r in self._readings)
        if others:
            word = "another process" if others == 1 else f"{others} other processes"
            found.append(f"{word} used the card")
        return found


def read_usage() -> Usage:
    import psutil

    times = psutil.cpu_times()
    total = sum(times)
    # guest time is already in user time; waiting for a disk is not work
    idle = times.idle + getattr(times, "iowait", 0.0)
    doubled = getattr(times, "guest", 0.0) + getattr(times, "guest_nice", 0.0)
    stolen = getattr(times, "steal", 0.0)
    own = os.times()
    return Usage(total - idle - doubled - stolen, own.user + own.system, stolen, own.elapsed)


def spin(clock: Clock | None = None, rounds: int = 4, times: int = 7) -> float:
    """Nanoseconds of a fixed computation, the best of a few: how fast this core is just now.

    SHA-256 of a megabyte: C code that allocates nothing and does little but arithmetic. A loop in
    Python takes up to 10 % more or less by what the interpreter did before it.
    """
    clock = clock or RealClock()
    best = float("inf")
    for _ in range(times):
        start = clock.now()
        for _ in range(rounds):
            hashlib.sha256(FIXED).digest()
        best = min(best, clock.now() - start)
    return best
