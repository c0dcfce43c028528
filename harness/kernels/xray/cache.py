"""Reports on disk, so that a kernel which did not change is not compiled again."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import json
import os
import tempfile
from pathlib import Path

from harness.kernels.xray.launches import RecordedLaunch
from harness.kernels.xray.report import KernelReport
from harness.kernels.xray.source import fingerprint

ROOT = Path(__file__).resolve().parents[3]
FOLDER = ROOT / ".harness" / "xray"


@functools.cache
def _compiled_by() -> str:
    """Triton's version and this package's own text: either changes what a report says."""
    digest = hashlib.sha256(importlib.metadata.version("triton").encode())
    folder = Path(__file__).parent
    for file in [*sorted(folder.glob("*.py")), folder.parent / "refusals.py"]:
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _file(folder: Path, launch: RecordedLaunch, chip: str) -> Path | None:
    try:
        source = fingerprint(launch.file, launch.kernel, launch.days)
    except OSError:
        return None
    text = "\0".join([source, launch.key(), chip, _compiled_by()])
    return folder / (hashlib.sha256(text.encode()).hexdigest() + ".json")


def read(launch: RecordedLaunch, chip: str, folder: Path = FOLDER) -> KernelReport | None:
    """The report kept for this kernel, or None."""
    file = _file(folder, launch, chip)
    try:
        if file is None:
            return None
        kept = KernelReport.from_json(json.loads(file.read_text()))
    except (OSError, ValueError, TypeError, KeyError):  # absent, or cut short by a full disk
        return None
    return kept.of_launches(launch.count, launch.examples)


def write(launch: RecordedLaunch, chip: str, report: KernelReport, folder: Path = FOLDER) -> None:
    """Keeps a report; a folder that cannot be written is no error, only slower."""
    file = _file(folder, launch, chip)
    if file is None:
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=folder, suffix=".tmp")
        with os.fdopen(descriptor, "w") as out:
            json.dump(report.to_json(), out)
        os.replace(temporary, file)
    except OSError:
        return
