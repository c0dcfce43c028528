"""``make doctor``: what is installed, what is wrong, and the remedy for each problem."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import re
import shutil
import sys
from dataclasses import asdict, dataclass

from harness.curriculum import ROOT

FREE_BYTES = 2 * 2**30


@dataclass(frozen=True)
class Finding:
    """One thing looked at. ``remedy`` is empty where all is well."""

    name: str
    state: str
    remedy: str = ""
    needed: bool = True
    """Whether days cannot be graded without it; what is only missing for some uses is a note."""


def doctor(as_json: bool) -> int:
    """Print every finding. → 0, or 3 where something needed is missing."""
    findings = examine()
    if as_json:
        print(json.dumps([asdict(f) for f in findings], indent=2))
    else:
        for finding in findings:
            mark = "ok " if not finding.remedy else "!! " if finding.needed else "-- "
            print(f"{mark} {finding.name:<18} {finding.state}")
            if finding.remedy:
                print(f"{'':<22} → {finding.remedy}")
    return 3 if any(f.remedy and f.needed for f in findings) else 0


def examine() -> list[Finding]:
    return [
        _python(),
        *_packages(),
        _torch(),
        _gpu(),
        _compiler(),
        _disk(),
        _writable(),
        _container(),
    ]


def _python() -> Finding:
    state = f"{platform.python_version()} at {sys.executable}"
    if sys.version_info < (3, 10):  # noqa: UP036  (an older one may well start this file)
        return Finding("Python", state, "use Python 3.10 or newer: make PYTHON=/path/to/python")
    return Finding("Python", state)


def _packages() -> list[Finding]:
    """Those that requirements.txt pins and the project imports."""
    findings = []
    text = (ROOT / "requirements.txt").read_text(encoding="utf-8").split("# What those need")[0]
    for name, pinned in re.findall(r"^([\w-]+)==([^;\s]+)", text, re.MULTILINE):
        if name == "tomli" and sys.version_info >= (3, 11):
            continue
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            # The last three serve contributors and `make watch`; days are graded without them.
            optional = name in ("watchfiles", "ruff", "mypy")
            needed = not optional and not (name == "triton" and sys.platform != "linux")
            how = f"{sys.executable} -m pip install {name}=={pinned}"
            if not needed and not optional:
                how = "Triton's days run in the container or under WSL"
            findings.append(Finding(name, "not installed", how, needed))
            continue
        same = version.split("+")[0] == pinned
        remedy = (
            "" if same else f"the project is proved with {pinned}; pip install -r requirements.txt"
        )
        findings.append(Finding(name, version, remedy, needed=False))
    return findings


def _torch() -> Finding:
    try:
        import torch
    except ImportError as error:
        return Finding("torch imports", "no", f"{error}: pip install -r requirements.txt")
    build = f"CUDA {torch.version.cuda}" if torch.version.cuda else "CPU"
    if torch.cuda.is_available():
        capability = "".join(map(str, torch.cuda.get_device_capability()))
        return Finding(
            "torch build", f"{build}, sees {torch.cuda.get_device_name()} (sm_{capability})"
        )
    if _driver() and not torch.version.cuda:
        return Finding(
            "torch build", build, "this machine has an NVIDIA driver: pip install torch==2.13.0 "
            "from the ordinary index brings the CUDA build", needed=False,
        )  # fmt: skip
    return Finding("torch build", f"{build}, no GPU: kernels run on Triton's interpreter")


def _gpu() -> Finding:
    from harness.measure.nvml import NvmlUnavailable, open_nvml

    try:
        with open_nvml() as nvml:
            gpus = nvml.gpus()
    except NvmlUnavailable as reason:
        remedy = str(reason) if os.path.exists("/dev/nvidiactl") else ""
        return Finding(
            "NVIDIA driver", "none" if not remedy else "not usable", remedy, needed=False
        )
    names = ", ".join(gpu.name for gpu in gpus)
    driver = gpus[0].driver if gpus else "?"
    major = int(driver.split(".")[0]) if driver[:1].isdigit() else 0
    if 0 < major < 580:
        return Finding(
            "NVIDIA driver", f"{driver} ({names})",
            "CUDA 13 needs driver 580 or newer: update it, or use the image's cu126 variant",
            needed=False,
        )  # fmt: skip
    return Finding("NVIDIA driver", f"{driver} ({names})")


def _driver() -> bool:
    return shutil.which("nvidia-smi") is not None


def _compiler() -> Finding:
    compiler = os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang") or ""
    if compiler:
        return Finding("C compiler", compiler)
    return Finding(
        "C compiler", "none",
        "Triton builds its launchers with one on a GPU: apt-get install gcc python3-dev",
        needed=False,
    )  # fmt: skip


def _disk() -> Finding:
    free = shutil.disk_usage(ROOT).free
    state = f"{free / 2**30:.1f} GB free"
    return Finding("disk", state, "" if free > FREE_BYTES else "free at least 2 GB", needed=False)


def _writable() -> Finding:
    if os.access(ROOT, os.W_OK):
        return Finding("this folder", "can be written")
    return Finding(
        "this folder", "read-only", "grading works; stubs and progress cannot be kept", needed=False
    )


def _container() -> Finding:
    inside = os.path.exists("/.dockerenv") or os.path.exists("/run/.containerenv")
    engine = shutil.which("docker") or shutil.which("podman")
    return Finding("container", "inside one" if inside else engine or "no engine (not needed)")
