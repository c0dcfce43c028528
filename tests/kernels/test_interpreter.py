"""Runs tests/kernels/interpreted in processes of their own: triton decides once, when it is
imported, whether kernels are interpreted."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
FILES = sorted(path.name for path in (HERE / "interpreted").glob("check_*.py"))


def run(name: str, interpret: str, scratch: Path) -> None:
    child = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "--no-header",
            "-p",
            "no:cacheprovider",
            "--tb=short",
            "-o",
            "python_files=check_*.py",
            str(HERE / "interpreted" / name),
        ],
        cwd=ROOT,
        env={
            **os.environ,
            "TRITON_INTERPRET": interpret,
            "HYPOTHESIS_STORAGE_DIRECTORY": str(scratch),
        },
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert child.returncode == 0, child.stdout[-20_000:] + child.stderr[-5_000:]
    assert " passed" in child.stdout


@pytest.mark.parametrize("name", FILES)
def test_in_the_interpreter(name: str, tmp_path: Path) -> None:
    run(name, "1", tmp_path)


@pytest.mark.parametrize("name", ["check_gallery.py", "check_numbers.py"])
def test_a_gpu_agrees(name: str, tmp_path: Path) -> None:
    import torch

    if not torch.cuda.is_available():
        pytest.skip("no CUDA device: the interpreter's numbers are compared with torch's only")
    run(name, "0", tmp_path)
