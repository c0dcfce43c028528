"""What the timer needs of a device: ``CpuTimer`` and ``CudaTimer`` are the two that exist."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

Call = Callable[..., Any]
Sets = Sequence[tuple[Any, ...]]


@dataclass(frozen=True)
class Sample:
    """One contender's part of one round: every set of inputs used once."""

    ns: float  # per call
    kept: Any  # the output of call ``kept_call``, as it was when the clock stopped
    kept_call: int
    late_ns: float = 0.0  # work that went on after the timed stream was done
    cheat: str = ""  # what proves that the work was not inside the clock
    void: bool = False  # the host was too slow: ``ns`` holds its delays, and is not to be counted


class Stopwatch(Protocol):
    @property
    def flushes(self) -> bool:
        """Whether it empties the cache itself, however few the sets of inputs are."""

    def settle(self, call: Call, sets: Sets) -> float:
        """One warm-up turn through the sets: nanoseconds per call, as seen from the host."""

    def ready(self, name: str, call: Call, sets: Sets, ns: float) -> str:
        """Prepare to sample a contender that takes about ``ns``; returns the method's name."""

    def sample(self, name: str, call: Call, sets: Sets, keep: int) -> Sample:
        """Time one turn through the sets."""
