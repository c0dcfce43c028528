"""Threads that each grade with a warm process of their own."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from harness.curriculum import Day, write_source
from harness.protocol import SOLUTION, DayResult, Request
from harness.run import Cold, Launcher, run

Item = TypeVar("Item")
Result = TypeVar("Result")
MEMORY_BYTES = 4 * 2**30
"""A mutant may ask for any size; several run at once."""


class Pool:
    """Grades variants of one track's days, ``jobs`` at a time; use as a context manager."""

    def __init__(self, track: str, device: str = "cpu", jobs: int = 1, seed: int = 0) -> None:
        self.track, self.device, self.jobs, self.seed = track, device, jobs, seed
        self._own = threading.local()
        self._made: list[Launcher] = []

    def __enter__(self) -> Pool:
        # Its threads live as long as the pool: Linux ends a warm process with its thread.
        self._threads = ThreadPoolExecutor(self.jobs)
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is not None:  # Ctrl-C: what runs is not waited for
            self._threads.shutdown(wait=False, cancel_futures=True)
            for launcher in self._made:
                getattr(launcher, "end", lambda: None)()
        self._threads.shutdown(cancel_futures=True)
        for launcher in self._made:
            getattr(launcher, "close", lambda: None)()

    def map(self, judge: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
        """``judge`` of every item, in order; ``judge`` calls ``grade``."""
        return list(self._threads.map(judge, items))

    def grade(
        self,
        day: Day,
        source: str | None,
        exercise: str,
        *,
        tests: Iterable[str] = (),
        skip: Iterable[str] = (),
        first_failure: bool = True,
        seconds: float = 600.0,
    ) -> DayResult:
        """The tests of ``exercise`` on ``source``, or on the reference. Only inside ``map``.

        What passes on a GPU is tried on the CPU too: its interpreter sees what a GPU lets pass."""
        with tempfile.TemporaryDirectory(prefix="variant-") as folder:
            if source is not None:
                write_source(Path(folder) / f"{day.name}.py", source)
            request = Request(
                day.track, day.number,
                impl=SOLUTION if source is None else folder, prior=SOLUTION, exercise=exercise,
                seed=self.seed, device=self.device, tests=tuple(tests), skip=tuple(skip),
                first_failure=first_failure, seconds=seconds, memory_bytes=MEMORY_BYTES,
            )  # fmt: skip
            launcher = self._launcher()
            result = run(request, launcher)
            on_gpu = result.device.get("kind") == "cuda"
            if source is None or not on_gpu or any(t.outcome == "failed" for t in result.tests):
                return result
            return run(replace(request, device="cpu"), launcher.on_cpu())

    def _launcher(self) -> Launcher:
        if not hasattr(self._own, "launcher"):
            if hasattr(os, "fork"):
                from harness.run.warm import Warm

                launcher: Launcher = Warm(self.track, self.device)
            else:
                launcher = Cold()
            self._made.append(launcher)  # first, so that whoever ends it all knows of it
            self._own.launcher = launcher
        return self._own.launcher
