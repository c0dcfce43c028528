"""Figures of the card against those of its own tools."""

from __future__ import annotations

import pytest
import torch

from harness.curriculum import ROOT
from harness.grading import finder
from harness.kernels.xray import recording
from harness.measure.device import choose_device
from harness.measure.memory import Meter
from harness.testing import watch


def work() -> None:
    """A tenth of a second, most of it in few kernels, whose time the host has no part in."""
    x = torch.randn(4096, 4096, device="cuda")
    for _ in range(30):
        x = torch.tanh(x @ x)


def profiled(block) -> float:  # type: ignore[no-untyped-def]
    """Seconds of kernels and copies, as torch's profiler sums them up."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CUDA]) as done:
        block()
        torch.cuda.synchronize()
    return sum(e.self_device_time_total for e in done.key_averages()) / 1e6


def metered(block) -> float:  # type: ignore[no-untyped-def]
    with Meter(choose_device("cuda")) as meter:
        block()
    assert meter.result is not None and meter.result.gpu_seconds is not None
    return meter.result.gpu_seconds


def test_gpu_seconds_are_those_of_the_profiler() -> None:
    for _ in range(3):  # until the clock is up
        work()
    assert metered(work) == pytest.approx(profiled(work), rel=0.15)


def test_waiting_between_kernels_does_not_count() -> None:
    import time

    def idle() -> None:
        work()
        time.sleep(0.5)
        work()

    for _ in range(3):
        work()
    assert metered(idle) == pytest.approx(2 * metered(work), rel=0.3)


def test_what_is_watched_counts_too() -> None:
    work()
    assert metered(lambda: watch(work)) == pytest.approx(metered(work), rel=0.3)


@pytest.mark.parametrize(
    ("number", "call"),
    [
        (1, lambda day, x: day.add_one(x[0])),
        (13, lambda day, x: day.softmax(x)),
    ],
)
def test_the_compile_report_has_the_drivers_figures(number, call) -> None:  # type: ignore[no-untyped-def]
    from triton.runtime import jit

    finder.install()
    day = finder.load_day("triton", number, "solution", ROOT)
    kernels = {}
    compiled = jit.JITFunction._do_compile

    def keeping(self, *args, **kwargs):  # type: ignore[no-untyped-def]
        kernel = compiled(self, *args, **kwargs)
        kernels[self.fn.__name__] = kernel
        return kernel

    jit.JITFunction._do_compile = keeping
    try:
        with recording() as launches:
            call(day, torch.randn(64, 1000, device="cuda"))
            torch.cuda.synchronize()
    finally:
        jit.JITFunction._do_compile = compiled
    assert kernels
    for launch in launches:
        kernel, report = kernels[launch.kernel], launch.measured
        assert report["registers"] == kernel.n_regs
        assert report["shared_bytes"] == kernel.metadata.shared
        assert report["spill_bytes"] == 4 * kernel.n_spills
