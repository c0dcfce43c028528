"""Builds the stand-in for the NVIDIA driver's library, once a session."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent / "stand_in" / "nvml.c"


@pytest.fixture(scope="session")
def build_stand_in(tmp_path_factory):
    """Folder with a fresh ``libnvidia-ml.so.1``; call it with compiler flags."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("no C compiler (cc, gcc or clang) to build the stand-in driver library")

    def build(*flags: str) -> Path:
        folder = tmp_path_factory.mktemp("driver")
        library = folder / "libnvidia-ml.so.1"
        command = [compiler, "-O0", "-shared", "-fPIC", *flags, "-o", str(library), str(SOURCE)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return folder

    return build
