"""Which device a run uses, what it is, and why a test cannot run on it.

A warm process must not touch CUDA, or its forks cannot: ``remember_device`` finds the device in a
fork of its own. ``describe_cpu`` works without torch.
"""

from __future__ import annotations

import importlib.metadata
import json
import math
import os
import platform
import re
import subprocess
import sys
import warnings
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from harness.measure.nvml import Gpu, Nvml, NvmlUnavailable, open_nvml
from harness.measure.units import bytes_text

_PACKAGES = ("torch", "triton", "numpy")
INSTALL = "https://pytorch.org/get-started/locally"


class DeviceError(Exception):
    """The wanted device cannot be used; its text is one line: why, and what to do."""


@dataclass(frozen=True)
class Device:
    """The device of a run. ``name`` and ``memory_bytes`` are the GPU's, or the CPU's and RAM."""

    kind: str  # "cuda" or "cpu"
    name: str
    detail: str
    memory_bytes: int | None
    cpu: str
    cores: int
    interpreter: bool = False  # Triton's kernels run on its interpreter
    compute_capability: tuple[int, int] | None = None
    uuid: str | None = None
    sm_count: int | None = None
    driver: str | None = None
    packages: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def chip(self) -> str | None:
        """``sm_90``"""
        return None if self.compute_capability is None else _chip(self.compute_capability)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_json(data: dict[str, Any]) -> Device:
        capability = data["compute_capability"]
        return Device(
            **{
                **data,
                "compute_capability": None if capability is None else tuple(capability),
                "notes": tuple(data["notes"]),
            }
        )


def choose_device(wanted: str = "auto") -> Device:
    """The first CUDA GPU, else the CPU with a note that says why; "cuda" refuses the CPU."""
    if wanted not in ("auto", "cuda", "cpu"):
        raise DeviceError(f"DEVICE={wanted} is not known: choose auto, cuda or cpu")
    if wanted in _REMEMBERED:
        return _REMEMBERED[wanted]
    if wanted == "cpu":
        return _cpu_with_interpreter()
    try:
        import torch
    except (ImportError, OSError) as error:  # OSError: a CUDA library of torch that won't load
        why = f"torch cannot be imported ({_one_line(error)}): run `make doctor`"
    else:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            available = torch.cuda.is_available()
        if available:
            gpu, why = _describe_gpu(torch)
            if gpu is not None:
                return gpu
        else:
            why = _why_no_gpu(torch, [_one_line(entry.message) for entry in caught])
    if wanted == "cuda":
        raise DeviceError(f"DEVICE=cuda, but {why}")
    return _cpu_with_interpreter(f"no GPU is used: {why}")


_REMEMBERED: dict[str, Device] = {}


def remember_device(wanted: str = "auto") -> Device | None:
    """Find the device in a fork, and have this process and its later forks keep the answer.

    ``torch.cuda.get_arch_list()`` alone makes torch refuse CUDA to every later fork. None where no
    such device can be used: the run that asks for it says why. (Unix only)
    """
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(read)
            answer = json.dumps(choose_device(wanted).to_json()).encode()
            while answer:
                answer = answer[os.write(write, answer) :]
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        answer = pipe.read()
    os.waitpid(pid, 0)
    if not answer:
        return None
    _REMEMBERED[wanted] = Device.from_json(json.loads(answer))
    return _REMEMBERED[wanted]


def remembered(wanted: str) -> Device | None:
    return _REMEMBERED.get(wanted)


def describe_cpu(*notes: str) -> Device:
    """This machine without its GPU; imports neither torch nor numpy."""
    cores, memory = _usable_cores(), _memory_limit()
    return Device(
        kind="cpu",
        name=_cpu_name(),
        detail=f"{cores} core{'s' * (cores != 1)}, {bytes_text(memory)} of memory",
        memory_bytes=memory,
        cpu=_cpu_name(),
        cores=cores,
        packages=_packages(),
        notes=notes,
    )


def prepare_interpreter(device: Device) -> Device:
    """Make Triton run its kernels on the CPU. Call it before anything imports triton."""
    language = sys.modules.get("triton.language.standard")
    if language is not None and type(language.zeros).__name__ != "InterpretedFunction":
        # Triton decides at import, also for the kernels of its own library (tl.zeros, tl.sum).
        raise DeviceError(
            "triton was imported before its interpreter was switched on, so its kernels cannot "
            "run on the CPU: set TRITON_INTERPRET=1 in the environment, or import triton later"
        )
    os.environ["TRITON_INTERPRET"] = "1"
    # The interpreter works in many tiny steps, which threads only slow down.
    if "OMP_NUM_THREADS" not in os.environ:
        os.environ["OMP_NUM_THREADS"] = "1"  # for what is imported later
        torch = sys.modules.get("torch")
        if torch is not None:
            torch.set_num_threads(1)
    return replace(device, interpreter=True)


def skip_reason(
    device: Device, needs: bool | str, bytes_needed: int = 0, free: int | None = None
) -> str | None:
    """Why a test cannot run on ``device``, or None if it can.

    ``needs``: False (anything will do), True (a CUDA GPU), "sm_90" (that chip or a newer one) or
    "sm_90a" (exactly that chip). ``bytes_needed`` is compared with ``free``, by default what is
    free on the device now.
    """
    if needs:
        chip = None if needs is True else _parse_chip(str(needs))
        if device.kind != "cuda":
            return "needs a CUDA GPU" if chip is None else f"needs a CUDA GPU with {needs}"
        if chip is not None:
            wanted, exactly = chip
            has = device.compute_capability
            if has is None:
                return f"needs {needs}; this GPU does not tell what it is"
            if (has != wanted) if exactly else (has < wanted):
                return f"needs {needs}; this GPU is {_chip(has)}"
    if bytes_needed > 0:
        room = free_bytes(device) if free is None else free
        if room is not None and bytes_needed > room:
            where = "GPU memory" if device.kind == "cuda" else "memory"
            return f"needs {bytes_text(bytes_needed)} of {where}; {bytes_text(room)} are free"
    return None


def free_bytes(device: Device) -> int | None:
    """Memory that a test could get now: on the GPU (this starts CUDA), or in RAM."""
    if device.kind != "cuda":
        return _free_ram()
    import torch

    free = torch.cuda.mem_get_info()[0]
    # What torch keeps for itself without using it is free for torch.
    return free + torch.cuda.memory_reserved() - torch.cuda.memory_allocated()


# -- GPU -------------------------------------------------------------------------------------


def _describe_gpu(torch: Any) -> tuple[Device | None, str]:
    """The GPU, or why it cannot be used after all."""
    cpu = describe_cpu()
    gpu, notes = _from_nvml()
    if torch.cuda.is_initialized() or not _must_not_start_cuda() or gpu is None:
        try:
            gpu = _from_torch(torch, gpu)
        except RuntimeError as error:
            return None, f"CUDA does not start: {_one_line(error)}"
        # Torch's answer stands, whatever NVML's order is.
        notes = [note for note in notes if "CUDA_DEVICE_ORDER" not in note]
    facts = [
        None if gpu.compute_capability is None else _chip(gpu.compute_capability),
        None if gpu.sm_count is None else f"{gpu.sm_count} SMs",
        None if gpu.memory_bytes is None else bytes_text(gpu.memory_bytes),
        f"driver {gpu.driver}" if gpu.driver else None,
        "a MIG slice" if gpu.mig else None,
    ]
    too_old = _too_old_for(torch, gpu)
    if too_old is not None:
        return None, too_old
    device = Device(
        kind="cuda",
        name=gpu.name,
        detail=", ".join(fact for fact in facts if fact),
        memory_bytes=gpu.memory_bytes,
        cpu=cpu.cpu,
        cores=cpu.cores,
        interpreter=os.environ.get("TRITON_INTERPRET") == "1",
        compute_capability=gpu.compute_capability,
        uuid=gpu.uuid or None,
        sm_count=gpu.sm_count,
        driver=gpu.driver or None,
        packages=cpu.packages,
        notes=tuple(notes),
    )
    return device, ""


def _must_not_start_cuda() -> bool:
    return os.environ.get("PYTORCH_NVML_BASED_CUDA_CHECK") == "1"


def _from_nvml() -> tuple[Gpu | None, list[str]]:
    try:
        with open_nvml() as nvml:
            gpus = nvml.gpus()
            return (gpus[0] if gpus else None), list(nvml.notes)
    except NvmlUnavailable as error:
        return None, [f"NVML cannot be asked: {error}"]


def _from_torch(torch: Any, gpu: Gpu | None) -> Gpu:
    """What torch calls cuda:0; this starts CUDA. ``gpu``: NVML's opinion, for the rest."""
    properties = torch.cuda.get_device_properties(0)
    amd = torch.version.hip is not None
    uuid = str(getattr(properties, "uuid", "") or "")
    if uuid and not uuid.startswith(("GPU-", "MIG-")):
        uuid = ("MIG-" if gpu is not None and gpu.mig else "GPU-") + uuid
    return Gpu(
        index=0,
        name=properties.name,
        uuid=uuid or (gpu.uuid if gpu else ""),
        memory_bytes=properties.total_memory,
        driver=gpu.driver if gpu else "",
        cuda_driver=gpu.cuda_driver if gpu else None,
        # On an AMD GPU these numbers mean something else.
        compute_capability=None if amd else (properties.major, properties.minor),
        mig=gpu is not None and gpu.mig,
        sm_count=properties.multi_processor_count,
    )


def _too_old_for(torch: Any, gpu: Gpu) -> str | None:
    """Torch has no kernels for GPUs older than those it was built for."""
    built = []
    for entry in torch.cuda.get_arch_list():
        with suppress(ValueError):
            built.append(_parse_chip(entry.replace("compute_", "sm_"))[0])
    has = gpu.compute_capability
    if not built or has is None or has >= min(built):
        return None
    return (
        f"the {gpu.name} is {_chip(has)}, and torch {torch.__version__} was built for "
        f"{_chip(min(built))} and newer: install an older build of torch from {INSTALL}"
    )


def _why_no_gpu(torch: Any, warned: list[str]) -> str:
    """Why torch cannot use a GPU here, and what to do: the first cause that explains it."""
    version = f"torch {torch.__version__}"
    if torch.version.hip is not None:
        return f"{version} is built for AMD GPUs and finds none"
    try:
        with open_nvml() as nvml:
            state = _NvmlState.of(nvml)
    except NvmlUnavailable as error:
        if torch.version.cuda is None:
            return f"{version} is a build without CUDA, and {error}"
        return str(error)
    if torch.version.cuda is None:
        has = f", and this machine has a GPU ({state.name})" if state.name else ""
        return f"{version} is a build without CUDA{has}: install one with CUDA from {INSTALL}"
    if not state.name:
        return "; ".join(state.notes)
    if state.cuda_driver and _major(state.cuda_driver) < _major(torch.version.cuda):
        return (
            f"the NVIDIA driver {state.driver} is too old: it runs CUDA up to "
            f"{state.cuda_driver}, and {version} needs CUDA {torch.version.cuda}: update the "
            f"driver, or install a build of torch for CUDA {_major(state.cuda_driver)} from "
            f"{INSTALL}"
        )
    heard = warned[0] if warned else "torch.cuda.is_available() is False and does not say why"
    return f"torch cannot use the {state.name}: {heard}"


@dataclass(frozen=True)
class _NvmlState:
    """What remains to be said of an NVML that is closed again."""

    name: str  # of the first visible GPU, "" if there is none
    driver: str
    cuda_driver: str | None
    notes: tuple[str, ...]

    @staticmethod
    def of(nvml: Nvml) -> _NvmlState:
        gpus = nvml.gpus()
        return _NvmlState(gpus[0].name if gpus else "", nvml.driver, nvml.cuda_driver, nvml.notes)


def _major(version: str) -> int:
    return int(version.split(".")[0])


def _chip(capability: tuple[int, int]) -> str:
    return f"sm_{capability[0]}{capability[1]}"


def _parse_chip(text: str) -> tuple[tuple[int, int], bool]:
    """``sm_90a`` -> ((9, 0), True): the capability, and whether exactly that one is meant."""
    match = re.fullmatch(r"sm_(\d+)(\d)(a?)", text)
    if match is None:
        raise ValueError(f"{text!r} names no GPU: write True, 'sm_80' or 'sm_90a'")
    return (int(match[1]), int(match[2])), match[3] == "a"


def _one_line(error: Any) -> str:
    """The first sentences of an error, without the paragraphs that torch adds."""
    return " ".join(str(error).split())[:300]


# -- CPU -------------------------------------------------------------------------------------


def _cpu_with_interpreter(*notes: str) -> Device:
    return replace(describe_cpu(*notes), interpreter=True)


def _packages() -> dict[str, str]:
    """Versions, without importing anything."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        module = sys.modules.get(name)
        version = getattr(module, "__version__", None)
        with suppress(importlib.metadata.PackageNotFoundError):
            found[name] = str(version or _installed(name))
    return found


@cache
def _installed(name: str) -> str:
    return importlib.metadata.version(name)


def _cpu_name() -> str:
    with suppress(OSError):
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
        match = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
        if match:
            return " ".join(match[1].split())
    if sys.platform == "darwin":
        with suppress(OSError, subprocess.SubprocessError):
            command = ["sysctl", "-n", "machdep.cpu.brand_string"]
            return subprocess.check_output(command, text=True, timeout=5).strip()
    return platform.processor() or platform.machine() or "unknown CPU"


def _usable_cores() -> int:
    """Cores this process may use: a container's share, not the machine's number."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # macOS, Windows
        cores = os.cpu_count() or 1
    with suppress(OSError, ValueError):
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        cores = min(cores, max(1, math.ceil(int(quota) / int(period))))
    return cores


def _memory_limit() -> int | None:
    """RAM that this process may use: the machine's, or its container's if that is less."""
    total: int | None = None
    with suppress(OSError, ValueError, AttributeError):
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    with suppress(OSError, ValueError):
        limit = int(Path("/sys/fs/cgroup/memory.max").read_text())
        total = limit if total is None else min(total, limit)
    return total


def _free_ram() -> int | None:
    free: int | None = None
    with suppress(OSError):
        match = re.search(r"^MemAvailable:\s*(\d+) kB", Path("/proc/meminfo").read_text(), re.M)
        free = None if match is None else int(match[1]) * 1024
    if free is None:
        with suppress(ImportError):
            import psutil

            free = int(psutil.virtual_memory().available)
    with suppress(OSError, ValueError):
        folder = Path("/sys/fs/cgroup")
        limit = int((folder / "memory.max").read_text())
        room = limit - int((folder / "memory.current").read_text())
        free = room if free is None else min(free, room)
    return free
