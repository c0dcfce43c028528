"""Closes the whole suite with a line a track, so that a learner sees what was proved."""

from __future__ import annotations

import os
import re
import signal
from collections import Counter
from typing import Any

import pytest

ONE_WORKER = (
    "tests/cheats/test_cheats.py", "tests/cli/test_setup.py", "tests/faults/test_faults.py",
    "tests/grading/test_diagnoses.py", "tests/grading/test_explained.py",
    "tests/grading/test_guard_in_days.py", "tests/grading/test_rules.py",
    "tests/mutate/test_house.py", "tests/mutate/test_judging.py", "tests/verify/test_verify.py",
)  # fmt: skip
"""Files whose tests share what takes seconds or minutes to make: one of pytest-xdist's workers runs
all of each."""

# Triton reads this once, when it is imported, and whichever test module comes first imports it: so
# it is set here, before any. Without a driver's device file there is no GPU to run kernels on.
if not any(os.path.exists(device) for device in ("/dev/nvidiactl", "/dev/dxg")):
    os.environ.setdefault("TRITON_INTERPRET", "1")

# Python's cache of compiled files is on for learners, and so it is for what the tests start.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# `nohup make test-all &` and a shell's background jobs ignore Ctrl-C, and what they start inherits
# that; the tests press it.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_configure() -> None:
    """With several GPUs each worker of pytest-xdist has one of its own."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    if worker:
        mine = gpu_of_worker(int(worker.removeprefix("gw")), visible_gpus())
        if mine:
            os.environ["CUDA_VISIBLE_DEVICES"] = mine


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """By test, except for ``ONE_WORKER``. (xdist's own groups are not seen by pytest 9.2.)"""
    from xdist.scheduler import LoadScopeScheduling

    class ByTest(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.split("::")[0]
            return file if file in ONE_WORKER else nodeid

    return ByTest(config, log)


def visible_gpus() -> list[str]:
    """The GPUs that this session may use, as CUDA_VISIBLE_DEVICES names them."""
    asked = os.environ.get("CUDA_VISIBLE_DEVICES")
    if asked is not None:
        return [name.strip() for name in asked.split(",") if name.strip()]
    from harness.measure.nvml import NvmlUnavailable, open_nvml

    try:
        with open_nvml() as nvml:
            return [gpu.uuid for gpu in nvml.gpus()]
    except NvmlUnavailable:
        return []


def gpu_of_worker(worker: int, gpus: list[str]) -> str:
    """Round robin; "" where there is no choice to make."""
    return gpus[worker % len(gpus)] if len(gpus) > 1 else ""


def pytest_terminal_summary(terminalreporter: Any) -> None:
    by_track: dict[str, Counter[str]] = {}
    for outcome in ("passed", "failed", "skipped", "error"):
        for report in terminalreporter.stats.get(outcome, []):
            match = re.search(r"content/test_days.py::\w+\[(\w+)/(\d+)", report.nodeid)
            name = f"{match[1]} days" if match else "harness"
            by_track.setdefault(name, Counter())[outcome] += 1
    for name in sorted(by_track):
        counts = by_track[name]
        text = ", ".join(f"{n} {outcome}" for outcome, n in counts.items())
        terminalreporter.write_line(f"{name}: {text}")
