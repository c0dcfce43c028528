"""Grades tasks on a Ray cluster: one task a day of a student, on whichever machine is free.

The cluster is that of ``RAY_ADDRESS`` or, without it, one that is started here for the run. Ray
sends the project's files to every machine; Python, torch and pytest must be installed there. A task
is lost with its machine or worker, and then Ray runs it again elsewhere:
https://docs.ray.io/en/latest/ray-core/fault_tolerance/tasks.html
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

from harness.curriculum import ROOT
from harness.grade.local import Done
from harness.grade.task import Launcher, Record, Task, grade_task
from harness.usage import Usage

RETRIES = 5
"""Of a task whose machine or worker was lost, and of one that the harness failed at."""
LEFT_OUT = [".git", ".venv", ".harness", ".*_cache", ".hypothesis", "**/__pycache__"]
_launchers: dict[str, Launcher] = {}
"""One a worker process: its rooms serve all tasks that it gets."""


def grade_on_cluster(tasks: Sequence[Task], done: Done, ahead: int = 0) -> None:
    """Grade ``tasks``; ``done`` is called in this process. ``ahead``: so many are handed to Ray at
    a time; by default four a core of the cluster."""
    ray = _ray()
    started = not ray.is_initialized()
    if started:
        address = os.environ.get("RAY_ADDRESS") or None
        more: dict[str, Any] = {} if address else {"include_dashboard": False}
        environment = {"working_dir": str(ROOT), "excludes": LEFT_OUT}
        ray.init(address=address, runtime_env=environment, log_to_driver=False, **more)
    try:
        schedule(ray, tasks, done, ahead)
    finally:
        if started:
            ray.shutdown()


def schedule(
    ray: Any,
    tasks: Sequence[Task],
    done: Done,
    ahead: int,
    work: Callable[[Task], str] | None = None,
) -> None:
    """``work`` is what a worker does with a task; a benchmark says what else than grade it."""
    there = ray.cluster_resources()
    ahead = ahead or 4 * max(1, int(there.get("CPU", 1)))
    graded = ray.remote(max_retries=RETRIES, retry_exceptions=True)(work or _graded)
    waiting: dict[Any, Task] = {}
    left = iter(tasks)
    while True:
        while len(waiting) < ahead and (task := next(left, None)) is not None:
            gpus = 1 if needs_gpu(task, there.get("GPU", 0)) else 0
            waiting[graded.options(num_cpus=1, num_gpus=gpus).remote(task)] = task
        if not waiting:
            return
        finished, _ = ray.wait(list(waiting), num_returns=1)
        for reference in finished:
            task = waiting.pop(reference)
            try:
                done(task, Record.from_json(ray.get(reference)), "")
            except (ray.exceptions.RayError, OSError, RuntimeError, ValueError) as error:
                done(task, None, f"{type(error).__name__}: {str(error).strip().splitlines()[-1]}")


def needs_gpu(task: Task, gpus: float) -> bool:
    """A task has a GPU to itself where there is one and its track uses one."""
    return bool(gpus) and task.device != "cpu" and task.track != "autodiff"


def _graded(task: Task) -> str:
    """In a worker. A record travels as JSON, as it is kept."""
    if task.sandbox not in _launchers:
        _launchers[task.sandbox] = Launcher(task.sandbox, os.cpu_count() or 1)
    return grade_task(task, _launchers[task.sandbox]).to_json()


def _ray() -> Any:
    try:
        import ray
    except ImportError:
        raise Usage(
            "ENGINE=ray needs Ray: .venv/bin/python -m pip install '.[cluster]', or leave ENGINE "
            "out to grade on this machine."
        ) from None
    return ray
