"""Grades tasks on this machine, several at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from harness.grade.task import Launcher, Record, Task, grade_task

TRIES = 2
"""A task that the harness itself failed at is tried again before it is given up."""

Done = Callable[[Task, Record | None, str], None]
"""Told of every task once: its record, or None and what went wrong."""


def grade_here(tasks: Sequence[Task], done: Done, jobs: int, sandbox: str) -> None:
    """Grade ``tasks``, ``jobs`` at a time; ``done`` is called in this thread."""
    launcher = Launcher(sandbox, jobs)
    pool = ThreadPoolExecutor(max_workers=jobs)
    waiting: dict[Future[Record], Task] = {}
    left = iter(tasks)
    try:
        while True:
            for task in left:
                waiting[pool.submit(_tried, task, launcher)] = task
                if len(waiting) >= 2 * jobs:  # not all: a class has thousands
                    break
            if not waiting:
                return
            for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                task = waiting.pop(future)
                error = future.exception()
                if error is not None and not isinstance(error, Exception):
                    raise error
                why = f"{type(error).__name__}: {error}" if error else ""
                done(task, None if error else future.result(), why)
    finally:
        launcher.stop()
        pool.shutdown(cancel_futures=True)
        launcher.close()


def _tried(task: Task, launcher: Launcher) -> Record:
    for _ in range(TRIES - 1):
        try:
            return grade_task(task, launcher)
        except Exception:
            threading.Event().wait(1.0)  # a full disk or process table may pass
    return grade_task(task, launcher)
