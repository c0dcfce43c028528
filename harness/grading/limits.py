"""A test's time limit: seconds in which it computes, so that a busy machine is nobody's fault.

The clock is the CPU time of this process and of the children it has waited for. A right answer that
waits for the CPU is not stopped; one that loops is, after so many seconds of its own. Two things
the clock does not see: an answer that waits for what never comes, and children that compute. The
parent (harness.run) sees them and sends SIGALRM, upon which the test is stopped here, at its line;
without a parent, WALL times the limit on the wall clock is the last resort. SIGUSR1 is the parent's
way to pass a Ctrl-C on.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType

WALL = 10.0
"""How many times its limit a test may take on the clock, however busy the machine is."""
AGAIN = 1.0
"""Seconds after which a test that swallowed the exception is stopped again."""


class OutOfTime(BaseException):
    """A test used up its time. No Exception: neither an answer nor hypothesis may catch it."""


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise OutOfTime in the block once it has computed for ``seconds``."""
    main = threading.current_thread() is threading.main_thread()
    if not main or not hasattr(signal, "setitimer") or _debugged():
        yield
        return
    began, used = time.monotonic(), _cpu_seconds()

    def stop(number: int, frame: FrameType | None) -> None:
        wall, cpu = time.monotonic() - began, _cpu_seconds() - used
        # Several threads use more CPU seconds than pass on the clock, and that is no loop.
        if wall < seconds or (number == signal.SIGPROF and cpu < seconds) or _debugged():
            return
        raise OutOfTime(words(seconds, wall, cpu))

    def interrupted(number: int, frame: FrameType | None) -> None:
        raise OutOfTime(f"was stopped by Ctrl-C after {time.monotonic() - began:.0f} s.")

    before = {number: signal.signal(number, stop) for number in (signal.SIGPROF, signal.SIGALRM)}
    before[signal.SIGUSR1] = signal.signal(signal.SIGUSR1, interrupted)
    signal.setitimer(signal.ITIMER_PROF, seconds, AGAIN)
    signal.setitimer(signal.ITIMER_REAL, WALL * seconds, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)


def words(limit: float, wall: float, cpu: float) -> str:
    """Why a test was stopped that has run for ``wall`` seconds and computed for ``cpu``."""
    if cpu >= limit:
        return (
            f"was stopped after {cpu:.0f} s of computing (its limit is {limit:g} s): is there a "
            "loop that does not end, or work that grows much faster than the input?"
        )
    if wall >= WALL * limit:
        return (
            f"was stopped after {wall:.0f} s, of which it computed for {cpu:.0f} s{_load()}. On a "
            f"machine with less to do its limit is {limit:g} s."
        )
    return (
        f"was stopped after {wall:.0f} s, of which it computed for {cpu:.0f} s: does it wait for "
        "something that never comes?"
    )


def _load() -> str:
    if not hasattr(os, "getloadavg"):
        return ""
    return f" (the machine has {os.cpu_count()} cores and a load of {os.getloadavg()[0]:.1f})"


def _cpu_seconds() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _debugged() -> bool:
    """Somebody stands at a breakpoint: nothing is late."""
    return sys.gettrace() is not None or any(m in sys.modules for m in ("pydevd", "debugpy"))
