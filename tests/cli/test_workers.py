"""The suite's workers: as many as cores and memory allow, each with a GPU of its own."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from harness.cli.test_all import WORKER_BYTES, _workers
from harness.curriculum import ROOT
from harness.usage import Usage
from tests.conftest import (
    ONE_WORKER,
    gpu_of_worker,
    pytest_xdist_make_scheduler,
    visible_gpus,
)


def test_workers_fit_into_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    import os
    import types

    import psutil

    cores = len(os.sched_getaffinity(0))
    for free, count in ((100 * WORKER_BYTES, cores), (1, 1), (WORKER_BYTES, 1)):
        memory = types.SimpleNamespace(available=free)
        monkeypatch.setattr(psutil, "virtual_memory", lambda memory=memory: memory)
        assert _workers("auto") == count


def test_a_number_is_taken_as_it_is() -> None:
    assert _workers("7") == 7
    for wrong in ("0", "-1", "all"):
        with pytest.raises(Usage, match="WORKERS="):
            _workers(wrong)


def test_each_worker_has_its_own_gpu() -> None:
    assert [gpu_of_worker(n, ["a", "b"]) for n in range(4)] == ["a", "b", "a", "b"]
    assert gpu_of_worker(3, ["a"]) == ""
    assert gpu_of_worker(3, []) == ""


def test_the_choice_keeps_to_what_the_session_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2, GPU-abc")
    assert visible_gpus() == ["2", "GPU-abc"]


def test_the_files_that_share_something_dear_have_one_worker() -> None:
    config: Any = SimpleNamespace(
        option=SimpleNamespace(loadscopereorder=True), getvalue=lambda name: ["popen", "popen"]
    )
    units = pytest_xdist_make_scheduler(config, None)
    for file in ONE_WORKER:
        assert (ROOT / file).is_file()
        assert units._split_scope(f"{file}::test_a[::x]") == file
    assert units._split_scope("tests/b.py::test_a[x]") == "tests/b.py::test_a[x]"
