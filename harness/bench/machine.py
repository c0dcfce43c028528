"""What a result was measured on: machine, versions, git state."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

from harness.measure.device import Device

PACKAGES = (
    "torch",
    "triton",
    "numpy",
    "liger-kernel",
    "transformers",
    "autograd",
    "mygrad",
    "tinygrad",
)


def describe(device: Device, threads: int) -> dict[str, Any]:
    """The machine as the JSON has it."""
    # The card's serial number is no property of the result, and nobody's business.
    left_out = ("uuid", "interpreter", "packages")
    facts = {name: value for name, value in device.to_json().items() if name not in left_out}
    return {**facts, "system": f"{platform.system()} {platform.release()}", "threads": threads}


def versions() -> dict[str, str]:
    """Installed versions of what the figures depend on."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def git_state(root: Path) -> dict[str, Any] | None:
    """Commit and whether tracked files differ from it; None outside a repository."""
    commit = _git(root, "rev-parse", "HEAD")
    if commit is None:
        return None
    changes = _git(root, "status", "--porcelain", "--untracked-files=no")
    return {"commit": commit, "changed": bool(changes)}


def slug(name: str) -> str:
    """A file name for a machine: "NVIDIA H200" becomes "nvidia-h200"."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "machine"


def _git(root: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments],
            capture_output=True,
            text=True,
            timeout=10,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
