"""``make test-all``: plain pytest over ``tests/``, spread over the cores (and GPUs) there are."""

from __future__ import annotations

import os
import subprocess
import sys

from harness.curriculum import ROOT, find_tracks
from harness.measure.units import counted
from harness.usage import Usage

WORKER_BYTES = 3 * 2**30
"""What one worker with torch, triton and a warm process of each track may need."""


def run_all(workers: str, seed: str, junit: str) -> int:
    """Run the suite. It never reads what a learner has written in a dayNN.py. → exit code."""
    count = _workers(workers)
    _say_what_is_left_alone()
    command = [sys.executable, "-m", "pytest", "tests", "-q", "--durations=8"]
    if count > 1:
        command += ["-n", str(count)]
    if junit:
        command += [f"--junitxml={junit}"]
    environment = {**os.environ, "SEED": seed or "0"}
    if count > 1:  # the workers take the cores: more threads in each would only wait for others
        environment.setdefault("OMP_NUM_THREADS", "1")
    for name in ("IMPL", "PRIOR", "EX", "TRACK", "DAY", "PYTEST_PLUGINS", "PYTEST_ADDOPTS"):
        environment.pop(name, None)  # a learner's settings do not reach the project's own proof
    status = subprocess.call(command, cwd=ROOT, env=environment)
    return 0 if status == 0 else 1


def _workers(asked: str) -> int:
    if asked != "auto":
        if not asked.isdigit() or int(asked) < 1:
            raise Usage(f"WORKERS={asked} is not a number from 1 up.")
        return int(asked)
    import psutil

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, min(cores or 1, psutil.virtual_memory().available // WORKER_BYTES))


def _say_what_is_left_alone() -> None:
    from harness.cli.grade import started

    mine = [day.key for track in find_tracks() for day in track.days if started(day)]
    if mine:
        are, them = ("is", "it") if len(mine) == 1 else ("are", "them")
        print(
            f"{counted(len(mine), 'day')} with your answers {are} left alone: make mine grades "
            f"{them}."
        )
