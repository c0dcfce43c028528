"""``make doctor``: what is installed, what is wrong, and the remedy for each problem."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import re
import shutil
import sys
import sysconfig
from dataclasses import asdict, dataclass
from pathlib import Path

from harness.curriculum import ROOT
from harness.measure.units import counted
from harness.screen.pager import columns, wrapped

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
            _print(finding.state, f"{mark} {finding.name:<18} ")
            if finding.remedy:
                _print(finding.remedy, f"{'':<22} → ")
        print(f"\n{_verdict(findings)}")
    return 3 if any(f.remedy and f.needed for f in findings) else 0


def _verdict(findings: list[Finding]) -> str:
    needed = sum(f.needed for f in findings if f.remedy)
    others = sum(not f.needed for f in findings if f.remedy)
    if needed:
        return f"{needed} to be mended first, marked with !!"
    return "All that is needed is here." + f" {others} to know of, marked with --" * bool(others)


def _print(text: str, head: str) -> None:
    """On a terminal its lines are broken between words; not a command, which can then be copied."""
    if not sys.stdout.isatty() or text.startswith((sys.executable, "code")):
        print(f"{head}{text}")
    else:
        print("\n".join(wrapped(text, columns(100, 80), head, " " * len(head))))


def examine() -> list[Finding]:
    return [
        _system(),
        _python(),
        *_packages(),
        _pair(),
        _torch(),
        _gpu(),
        _compiler(),
        _git(),
        _disk(),
        _writable(),
        _progress(),
        _container(),
        _editor(),
    ]


def _system() -> Finding:
    state = platform.platform()
    if "microsoft" in state.lower() and str(ROOT).startswith("/mnt/"):
        return Finding(
            "system", state,
            "this folder is on Windows' file system, which is slow from WSL and tells nobody of "
            "saves: keep the clone in WSL's own, for example under your home folder",
            needed=False,
        )  # fmt: skip
    return Finding("system", state)


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


def _pair() -> Finding:
    """torch is built for one version of triton, and another fails in ways that name neither."""
    try:
        wanted = re.search(
            r"^triton==([\w.]+)", "\n".join(importlib.metadata.requires("torch") or []), re.M
        )
        there = importlib.metadata.version("triton")
    except importlib.metadata.PackageNotFoundError as missing:
        return Finding("torch and triton", f"{missing.name} is not installed")
    if wanted and there.split("+")[0] != wanted[1]:
        return Finding(
            "torch and triton", f"triton {there}; this torch is built for {wanted[1]}",
            f"{sys.executable} -m pip install triton=={wanted[1]}", needed=False,
        )  # fmt: skip
    return Finding("torch and triton", "belong together")


def _torch() -> Finding:
    try:
        import torch
    except Exception as error:  # a library that does not load, a file that is in the way
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
    state = f"{driver} ({names})"
    if not driver[:1].isdigit() or image_variant(driver) == "cuda" or _built_for_cuda_12():
        return Finding("NVIDIA driver", state)
    return Finding(
        "NVIDIA driver", state,
        "torch's CUDA 13 build needs driver 580 or newer: update the driver, or work in the image: "
        f"make image VARIANT={image_variant(driver)}, then make shell",
        needed=False,
    )  # fmt: skip


def image_variant(driver: str) -> str:
    """The image's variant for a driver's version, "" for none. ci/container.lib.sh chooses alike.

    CUDA 13 runs on drivers from 580 on, every CUDA 12 on those from 525 on (NVIDIA's "CUDA
    Compatibility", minor versions).
    """
    major = int(driver.split(".")[0]) if driver[:1].isdigit() else 0
    return "cuda" if major >= 580 else "cu126" if major >= 525 else "cpu"


def _built_for_cuda_12() -> bool:
    try:
        return "+cu12" in importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        return False


def _driver() -> bool:
    return shutil.which("nvidia-smi") is not None


def _compiler() -> Finding:
    compiler = os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang") or ""
    header = os.path.join(sysconfig.get_path("include"), "Python.h")
    if compiler and not os.path.exists(header):
        return Finding(
            "C compiler", f"{compiler}, without Python's headers",
            f"Triton builds its launchers with {header} on a GPU: apt-get install python3-dev",
            needed=False,
        )  # fmt: skip
    if compiler:
        return Finding("C compiler", compiler)
    return Finding(
        "C compiler", "none",
        "Triton builds its launchers with one on a GPU: apt-get install gcc python3-dev",
        needed=False,
    )  # fmt: skip


def _git() -> Finding:
    git = shutil.which("git")
    if git is None:
        return Finding("git", "none", "make update needs it: apt-get install git", needed=False)
    if not (ROOT / ".git").exists():
        return Finding(
            "git", f"{git}; this folder is no clone",
            "make update has nothing to update from: clone the project, copy your dayNN.py there",
            needed=False,
        )  # fmt: skip
    return Finding("git", git)


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


def _progress() -> Finding:
    from harness.progress import ProgressError, Store

    store = Store()
    try:
        count = len(store.attempts())
    except ProgressError as error:
        remedy = f"move {store.file} away (with its -wal and -shm): a new history begins"
        return Finding("progress", str(error), remedy, needed=False)
    return Finding("progress", counted(count, "attempt"))


def _container() -> Finding:
    inside = os.path.exists("/.dockerenv") or os.path.exists("/run/.containerenv")
    engine = shutil.which("docker") or shutil.which("podman")
    if inside or not engine:
        return Finding("container", "inside one" if inside else "no engine (not needed)")
    from harness.measure.nvml import NvmlUnavailable, open_nvml

    try:
        with open_nvml() as nvml:
            drivers = [gpu.driver for gpu in nvml.gpus()]
    except NvmlUnavailable:
        drivers = []
    variant = image_variant(drivers[0] if drivers else "")
    return Finding("container", f"{engine}; this machine runs the image's variant {variant}")


_EXTENSIONS = (
    ".vscode*/extensions",
    ".vscodium*/extensions",
    ".openvscode-server/extensions",
    ".local/share/code-server/extensions",
)
"""Where VS Code, its servers and its relatives keep what is installed, below the home folder."""


def _editor() -> Finding:
    """VS Code's recommended extensions, as far as its folders tell."""
    listed = ROOT / ".vscode" / "extensions.json"
    text = listed.read_text(encoding="utf-8") if listed.exists() else ""
    wanted = re.findall(r'"([\w-]+\.[\w-]+)"', text.split("unwanted")[0])
    try:
        home = Path.home()
    except RuntimeError:  # a user without an entry in passwd, and no HOME
        return Finding("VS Code", "not looked for: this user has no home folder")
    folders = [f for place in _EXTENSIONS for f in home.glob(place) if f.is_dir()]
    if not folders:
        inside = os.environ.get("TERM_PROGRAM") == "vscode"
        where = "this terminal is in it; its extensions are in no folder that is known here"
        return Finding("VS Code", where if inside else "not found (not needed)")
    installed = {
        re.sub(r"-\d+\..*", "", entry.name.lower()) for f in folders for entry in f.iterdir()
    }
    remote = any(f.parent.name != ".vscode" for f in folders)
    lacking = [
        name for name in wanted
        # this one runs on the desktop, not where the files are
        if name not in installed and not (remote and name.startswith("ms-vscode-remote."))
    ]  # fmt: skip
    if lacking:
        how = " ".join(f"--install-extension {name}" for name in lacking)
        browser = all(f.parent.name == "code-server" for f in folders)
        program = "code-server" if browser else "code"
        return Finding("VS Code", f"lacks {', '.join(lacking)}", f"{program} {how}", needed=False)
    return Finding("VS Code", "has the recommended extensions")
