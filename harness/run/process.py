"""What the two ways of starting a child have in common."""

from __future__ import annotations

from typing import Protocol

from harness.protocol import Request


class Process(Protocol):
    """A child in a process group of its own."""

    pid: int

    def poll(self) -> int | None:
        """None while it runs; else the exit status, or minus the signal that ended it."""

    def kill(self) -> None:
        """End it and everything it started."""


class Launcher(Protocol):
    def start(self, request: Request, events: int, output: int) -> Process:
        """Start grading ``request``; the descriptors are the child's ends of the pipes."""
