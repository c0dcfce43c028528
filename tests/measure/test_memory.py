"""Costs of blocks: on this machine's CPU, and on its GPU where it has one."""

from __future__ import annotations

import json
import os
import sys
import time

import numpy as np
import pytest

from harness.measure import memory
from harness.measure.device import Device
from harness.measure.memory import Measures, Meter, merge

MB = 10**6
CPU = Device("cpu", "", "", None, "", 1)
CORES = os.cpu_count() or 1
# Linux counts resident pages per core and adds them up once a core has a batch of them.
SLACK = MB // 2 + max(3, min(CORES, 16)) * 4096 * max(32, 2 * CORES)


def measured(block, device=CPU) -> Measures:
    with Meter(device) as meter:
        block()
    assert meter.result is not None
    return meter.result


def test_times():
    def work():
        end = time.process_time() + 0.02
        while time.process_time() < end:
            pass

    busy, asleep = measured(work), measured(lambda: time.sleep(0.02))
    assert busy.cpu_seconds >= 0.02 and asleep.cpu_seconds < 0.015
    assert busy.seconds >= 0.02 and asleep.seconds >= 0.02
    assert busy.gpu_seconds is busy.gpu_peak_bytes is busy.process_gpu_bytes is None


def needs_a_resettable_peak():
    if not memory._status():
        pytest.skip(memory._NO_STATUS)
    if not memory._reset_high_water_mark():
        pytest.skip(memory._NO_RESET)


@pytest.mark.parametrize("megabytes", [0, 2, 40])
def test_peak_is_what_was_alive_at_once(megabytes):
    needs_a_resettable_peak()

    def work():
        first = np.ones(megabytes * MB, dtype=np.int8)
        second = first + 1
        del first, second
        return np.ones(megabytes * MB // 4, dtype=np.int8)

    measured(work)  # numpy's code itself is read from disk on first use
    result = measured(work)
    assert abs(result.peak_bytes - 2 * megabytes * MB) < SLACK
    assert result.rss_bytes > result.peak_bytes


def test_a_large_block_does_not_hide_a_later_small_one():
    needs_a_resettable_peak()
    large = measured(lambda: np.ones(60 * MB, dtype=np.int8))
    small = measured(lambda: np.ones(3 * MB, dtype=np.int8))
    assert large.peak_bytes > 60 * MB - SLACK
    assert abs(small.peak_bytes - 3 * MB) < SLACK


def test_what_was_there_before_does_not_count():
    needs_a_resettable_peak()
    before = np.ones(20 * MB, dtype=np.int8)
    assert measured(before.sum).peak_bytes < SLACK


def test_a_failing_block_is_measured_and_fails():
    meter = Meter(CPU)
    with pytest.raises(ZeroDivisionError), meter:
        _ = 1 / 0
    assert meter.result is not None


def test_it_is_cheap():
    def once():
        start = time.process_time()
        with Meter(CPU):
            pass
        return time.process_time() - start

    once()
    assert min(once() for _ in range(30)) < 0.3e-3


def test_no_reset_of_the_high_water_mark(monkeypatch):
    monkeypatch.setattr(memory, "_reset_high_water_mark", lambda: False)
    numbers = dict.fromkeys(("VmHWM", "VmRSS", "RssAnon", "RssFile", "RssShmem"), 0)
    before = {
        **numbers,
        "VmHWM": 100 * MB,
        "VmRSS": 70 * MB,
        "RssAnon": 50 * MB,
        "RssFile": 20 * MB,
    }
    answers = iter([before, before, before, {**before, "VmHWM": 130 * MB, "RssFile": 25 * MB}])
    monkeypatch.setattr(memory, "_status", lambda: next(answers))
    hidden = measured(lambda: None)
    assert hidden.peak_bytes is None and hidden.rss_bytes == 70 * MB
    assert "clear_refs" in hidden.notes[0]
    # A new record shows all the same: 130 - 25 of files - the 50 that were there.
    assert measured(lambda: None).peak_bytes == 55 * MB


def test_a_system_without_proc(monkeypatch):
    monkeypatch.setattr(memory, "_status", lambda: {})
    result = measured(lambda: None)
    assert result.peak_bytes is None and result.notes == (memory._NO_STATUS,)
    assert result.rss_bytes is None or result.rss_bytes > MB
    monkeypatch.setitem(sys.modules, "psutil", None)
    assert measured(lambda: None).rss_bytes is None


def test_merge_and_json():
    one = Measures(1.0, 0.5, peak_bytes=10, rss_bytes=100, notes=("a",))
    two = Measures(
        2.0, 0.25, 0.125, 0.5, peak_bytes=7, rss_bytes=300, gpu_peak_bytes=5, notes=("a", "b")
    )
    assert merge([one, two]) == Measures(
        3.0, 0.75, 0.125, 0.5, 10, 300, 5, process_gpu_bytes=None, notes=("a", "b")
    )
    assert merge([]) == Measures(0, 0)
    assert Measures.from_json(json.loads(json.dumps(two.to_json()))) == two


def test_on_a_gpu():
    import torch

    from harness.measure.device import choose_device
    from harness.measure.nvml import open_nvml

    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA GPU")
    device = choose_device("cuda")
    torch.ones(1, device="cuda")
    with open_nvml() as nvml, Meter(device, nvml) as meter:
        x = torch.ones(8 * MB, device="cuda")
        y = x + 1
        del x, y
    result = meter.result
    assert 64 * MB <= result.gpu_peak_bytes < 70 * MB
    assert 0 < result.gpu_seconds <= result.seconds
    assert result.process_gpu_bytes is None or result.process_gpu_bytes >= 64 * MB
