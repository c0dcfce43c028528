"""What a block of code cost: time on the clock, the CPU and the GPU, and memory.

    with Meter(device) as meter:
        ...
    print(meter.result.seconds)

On a CPU this costs about 0.1 ms, because it asks the kernel and hooks nothing. "Peak bytes" there
is how far the process's private memory rose above where it stood. It is good to about 0.1 MB (1 MB
with a hundred cores) and counts every library alike, but only what was written to: memory that was
asked for and never touched takes no room. Elsewhere than on Linux there is no such figure, and
``notes`` says so. On a GPU, a block that itself resets torch's peak (``watch`` does) is measured
from its last reset on.
"""

from __future__ import annotations

import ctypes
import os
import sys
import time
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import Any

from harness.measure.device import Device
from harness.measure.kernels import KernelClock, noting_launches, reports
from harness.measure.nvml import Nvml

_NO_STATUS = "peak memory on the CPU is not measured: this system does not report it"
_NO_RESET = (
    "peak memory on the CPU is not measured: this system does not let a process reset its "
    "high-water mark (/proc/self/clear_refs)"
)
_NO_TIMES = "time on the GPU is not measured: the driver does not tell of the kernels that run"
_GPU_FAILED = "time and memory on the GPU are unknown: it reported an error during the block"


@dataclass(frozen=True)
class Measures:
    """Costs of a block. None: not measured; ``notes`` says why where that is no matter of course.

    ``gpu_seconds`` is what its kernels and copies took on the GPU, ``compile_seconds`` what
    Triton's compiler took before that. ``peak_bytes`` and ``gpu_peak_bytes`` are what the block
    added to what was there before. ``rss_bytes`` (the whole process, libraries included) and
    ``process_gpu_bytes`` (CUDA's own context included) are totals.
    """

    seconds: float
    cpu_seconds: float
    gpu_seconds: float | None = None
    compile_seconds: float | None = None
    peak_bytes: int | None = None
    rss_bytes: int | None = None
    gpu_peak_bytes: int | None = None
    process_gpu_bytes: int | None = None
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_json(data: dict[str, Any]) -> Measures:
        return Measures(**{**data, "notes": tuple(data["notes"])})


def merge(parts: Iterable[Measures]) -> Measures:
    """Of several blocks: times add up, of memory the highest counts; unknown parts are left out."""
    parts = list(parts)

    def known(name: str) -> list[Any]:
        values = [getattr(part, name) for part in parts]
        return [value for value in values if value is not None]

    def highest(name: str) -> int | None:
        return max(known(name), default=None)

    def total(name: str) -> float | None:
        values = known(name)
        return sum(values) if values else None

    return Measures(
        seconds=sum(known("seconds")),
        cpu_seconds=sum(known("cpu_seconds")),
        gpu_seconds=total("gpu_seconds"),
        compile_seconds=total("compile_seconds"),
        peak_bytes=highest("peak_bytes"),
        rss_bytes=highest("rss_bytes"),
        gpu_peak_bytes=highest("gpu_peak_bytes"),
        process_gpu_bytes=highest("process_gpu_bytes"),
        notes=tuple(dict.fromkeys(note for part in parts for note in part.notes)),
    )


class Meter:
    """Context manager around a block; ``result`` holds its :class:`Measures` afterwards.

    A block that raises is measured too, and its exception passes through untouched. With an open
    ``nvml`` the driver's figure for this process is read at the end (about a millisecond).
    """

    result: Measures | None = None

    def __init__(self, device: Device | None = None, nvml: Nvml | None = None) -> None:
        on_gpu = device is not None and device.kind == "cuda"
        self._gpu = _GpuMeter(device.uuid, nvml) if device is not None and on_gpu else None

    def __enter__(self) -> Meter:
        if self._gpu:
            self._gpu.start()
        self._host = _HostMemory()
        self._cpu = time.process_time()
        self._wall = time.perf_counter()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        gpu: dict[str, Any] = {}
        if self._gpu:
            gpu = self._gpu.stop(failed=kind is not None)
        seconds = time.perf_counter() - self._wall
        cpu_seconds = time.process_time() - self._cpu
        peak, rss, note = self._host.stop()
        notes = tuple(text for text in (note, gpu.pop("note", None)) if text)
        self.result = Measures(
            seconds, cpu_seconds, peak_bytes=peak, rss_bytes=rss, notes=notes, **gpu
        )


class _GpuMeter:
    """The driver's account of what ran, and torch's allocator, on the current CUDA device."""

    def __init__(self, uuid: str | None, nvml: Nvml | None) -> None:
        import torch

        self._torch, self._uuid, self._nvml = torch, uuid, nvml
        self._started = False

    def start(self) -> None:
        cuda = self._torch.cuda
        # The context may be broken by an earlier test: then this block fails on its own account.
        with suppress(RuntimeError):
            cuda.synchronize()
            cuda.reset_peak_memory_stats()
            self._before = cuda.memory_allocated()
            self._launches = ExitStack()
            self._compiled = self._launches.enter_context(noting_launches())
            self._clock = KernelClock() if reports() else None
            if self._clock is not None:
                self._clock.start()
            self._started = True

    def stop(self, failed: bool) -> dict[str, Any]:
        """Wait for the GPU: what the block launched, and where that goes wrong, is the block's."""
        if not self._started:
            return {"note": _GPU_FAILED}
        cuda = self._torch.cuda
        try:
            cuda.synchronize()
            if self._clock is not None:
                self._clock.stop()
            peak = max(0, cuda.max_memory_allocated() - self._before)
        except RuntimeError:
            if not failed:
                raise
            return {"note": _GPU_FAILED}  # the block's own exception says it better
        finally:
            self._launches.close()
        found: dict[str, Any] = {"compile_seconds": self._compiled(), "gpu_peak_bytes": peak}
        if self._clock is not None:
            found["gpu_seconds"] = self._clock.seconds
        else:
            found["note"] = _NO_TIMES
        if self._nvml is not None:
            found["process_gpu_bytes"] = self._nvml.process_bytes(self._uuid or 0)
        return found


class _HostMemory:
    """Highest resident memory from here to ``stop``."""

    def __init__(self) -> None:
        # Freed blocks that malloc keeps would be used again without the process growing.
        if _malloc_trim is not None:
            _malloc_trim(0)
        self._reset = _reset_high_water_mark()
        self._before = _status()

    def stop(self) -> tuple[int | None, int | None, str | None]:
        """(peak bytes added, peak resident bytes of the process, why not)"""
        before, after = self._before, _status()
        if not after or not before:
            return None, _resident_elsewhere(), _NO_STATUS
        highest, rss = after["VmHWM"], after["VmRSS"]
        if not self._reset and highest <= before["VmHWM"]:
            return None, rss, _NO_RESET
        # Pages of program files (a library's code, read on first use) are nobody's allocation.
        files = max(before["RssFile"], after["RssFile"])
        private = before["RssAnon"] + before["RssShmem"]
        return max(0, highest - files - private), highest, None


_WANTED = ("VmHWM", "VmRSS", "RssAnon", "RssFile", "RssShmem")


def _status() -> dict[str, int]:
    """Bytes from /proc/self/status, or nothing where it does not tell them all."""
    try:
        descriptor = os.open("/proc/self/status", os.O_RDONLY)
    except OSError:
        return {}
    try:
        text = os.read(descriptor, 1 << 14).decode("utf-8", "replace")
    finally:
        os.close(descriptor)
    found = {}
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name in _WANTED:
            found[name] = int(value.split()[0]) * 1024
    return found if len(found) == len(_WANTED) else {}


def _reset_high_water_mark() -> bool:
    try:
        descriptor = os.open("/proc/self/clear_refs", os.O_WRONLY)
    except OSError:
        return False
    try:
        return os.write(descriptor, b"5") == 1  # 5: VmHWM only
    except OSError:
        return False
    finally:
        os.close(descriptor)


def _resident_elsewhere() -> int | None:
    """Resident bytes where /proc does not tell: the highest on Windows, elsewhere those of now."""
    try:
        import psutil
    except ImportError:
        return None
    memory = psutil.Process().memory_info()
    return int(getattr(memory, "peak_wset", memory.rss))


def _find_malloc_trim() -> Any:
    if not sys.platform.startswith("linux"):
        return None
    return getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc has it, musl has not


_malloc_trim = _find_malloc_trim()
