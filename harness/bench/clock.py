"""The clock, held before any day is imported, and proof that nobody exchanged it since."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any, Protocol

# Own references: a day's module may rebind `time.perf_counter_ns`, and these stay what they are.
_perf_counter_ns = time.perf_counter_ns


class Clock(Protocol):
    """What the timer needs of a clock. The tests bring one that moves only when told to."""

    def now(self) -> int:
        """Nanoseconds since some fixed moment."""


class RealClock:
    def now(self) -> int:
        return _perf_counter_ns()


class Guard:
    """Remembers the attributes that timing rests on; ``changed`` names those that were replaced.

    The figures come from references that cannot be rebound from outside. A module that replaces
    the public names all the same is trying to be timed by another clock, and is reported.
    """

    def __init__(self, watched: Iterable[tuple[Any, str]]) -> None:
        self._held = [(owner, name, _attribute(owner, name)) for owner, name in watched]

    def changed(self) -> list[str]:
        return [
            f"{getattr(owner, '__name__', type(owner).__name__)}.{name}"
            for owner, name, held in self._held
            if _attribute(owner, name) is not held
        ]


def watched_names() -> list[tuple[Any, str]]:
    """Everything a patched timer would replace: host clocks, CUDA events, synchronisation, and
    what this package itself decides with.
    """
    import torch

    names: list[tuple[Any, str]] = [
        (time, name) for name in ("perf_counter", "perf_counter_ns", "monotonic", "time", "time_ns")
    ]
    names += [(torch.cuda, name) for name in ("Event", "synchronize", "current_stream")]
    names += [
        (torch.cuda.Event, name) for name in ("record", "query", "elapsed_time", "synchronize")
    ]
    names += [(torch.cuda.Stream, name) for name in ("synchronize", "wait_stream")]
    names += [(torch, name) for name in ("compile", "allclose", "equal")]
    from harness.bench import checking, quantiles

    names += [(checking, "check"), (quantiles, "quantiles"), (RealClock, "now")]
    return names


def _attribute(owner: Any, name: str) -> Any:
    # Of a class, the entry itself: `Event.record` makes no new object, bound methods would.
    return vars(owner)[name] if name in vars(owner) else getattr(owner, name, None)
