"""What the two ways of starting a child have in common."""

from __future__ import annotations

from typing import Protocol

from harness.protocol import Request

LAUNCHER_GONE = -1000
"""The status of a child whose starter was killed, so that nobody can say how the child ended."""


class Process(Protocol):
    """A child in a process group of its own."""

    pid: int

    def poll(self) -> int | None:
        """None while it runs; else the exit status, minus the signal that ended it, or
        LAUNCHER_GONE."""

    def kill(self) -> None:
        """End it and everything it started."""


class Launcher(Protocol):
    def start(self, request: Request, events: int, output: int) -> Process:
        """Start grading ``request``; the descriptors are the child's ends of the pipes."""

    def on_cpu(self) -> Launcher:
        """What starts runs that use no GPU, on a machine that has one."""


class Metered(Launcher, Protocol):
    def cpu_seconds(self) -> float:
        """What the runs that have ended took, with all that they started and waited for."""
