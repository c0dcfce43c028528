"""What ran on the card: how long its kernels and copies took, and which of Triton's were launched.

The times are CUPTI's, through the core of torch's profiler, as ``watch`` reads the allocator's
(``torch.profiler`` itself imports the compiler: seconds). Events around a launch would count the
host's delays too, which for short kernels are most of it.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

LATEST = 3
"""So many different kernels can be named where one of them failed: launches do not wait."""


def reports() -> bool:
    """Whether the driver tells of the kernels that run: asked once, with a small one."""
    global _reports
    if _reports is None:
        import torch

        clock = KernelClock()
        try:
            clock.start()
            torch.zeros(1, device="cuda")
            torch.cuda.synchronize()
            clock.stop()
        except RuntimeError:
            KernelClock._running = None
        _reports = clock.kernels > 0
    return _reports


_reports: bool | None = None


class KernelClock:
    """Adds up what the card worked between ``start`` and ``stop``; one runs at a time."""

    seconds = 0.0
    kernels = 0
    _running: KernelClock | None = None

    def start(self) -> None:
        _start_profiler()
        KernelClock._running = self

    def stop(self) -> None:
        if KernelClock._running is self:
            KernelClock._running = None
            self.add(_stop_profiler())

    def add(self, events: list[Any]) -> None:
        from torch._C._autograd import DeviceType

        for event in events:
            if event.device_type() == DeviceType.CUDA and not event.is_user_annotation():
                self.seconds += event.duration_ns() / 1e9
                self.kernels += 1

    @staticmethod
    def interrupt() -> KernelClock | None:
        """Stop the clock that runs: torch has one profiler. Its owner adds what it then sees."""
        running = KernelClock._running
        if running is not None:
            running.stop()
        return running


def _start_profiler() -> None:
    from torch._C import _autograd, _profiler

    # Read once, at the first use; below, Kineto tells stderr of each start and stop.
    os.environ.setdefault("KINETO_LOG_LEVEL", "6")
    config = _profiler.ProfilerConfig(
        _profiler.ProfilerState.KINETO, False, False, False, False, False,
        _profiler._ExperimentalConfig(),
    )  # fmt: skip
    activities = {_profiler.ProfilerActivity.CUDA}
    _autograd._prepare_profiler(config, activities)
    _autograd._enable_profiler(config, activities)


def _stop_profiler() -> list[Any]:
    from torch._C import _autograd

    if not _autograd._profiler_enabled():  # graded code used the profiler itself
        return []
    return list(_autograd._disable_profiler().events())


# Triton's launches -----------------------------------------------------------------------------

_launched: list[str] = []


def launched() -> list[str]:
    """The last different kernels launched in the block of ``noting_launches``, oldest first."""
    return list(dict.fromkeys(reversed(_launched)))[:LATEST][::-1]


@contextmanager
def noting_launches() -> Iterator[Callable[[], float]]:
    """Note the kernels that Triton launches; yields the seconds its compiler has taken so far."""
    if "triton" not in sys.modules:
        yield lambda: 0.0
        return
    from triton.runtime import jit

    run, compiling = jit.JITFunction.run, 0.0
    build = jit.JITFunction._do_compile
    _launched.clear()

    def noting(self: Any, *args: Any, **kwargs: Any) -> Any:
        _launched.append(self.fn.__name__)
        return run(self, *args, **kwargs)

    def timed(self: Any, *args: Any, **kwargs: Any) -> Any:
        nonlocal compiling
        began = time.perf_counter()
        try:
            return build(self, *args, **kwargs)
        finally:
            compiling += time.perf_counter() - began

    jit.JITFunction.run, jit.JITFunction._do_compile = noting, timed
    try:
        yield lambda: compiling
    finally:
        jit.JITFunction.run, jit.JITFunction._do_compile = run, build
