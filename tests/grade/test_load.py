"""A sample of the load test: nothing lost, nothing graded wrong, nothing left running."""

from __future__ import annotations

import subprocess
import sys

import pytest

from harness.curriculum import ROOT


@pytest.mark.skipif(sys.platform != "linux", reason="the sandbox is Linux's")
def test_ten_submissions_of_which_the_grade_is_known() -> None:
    done = subprocess.run(
        [sys.executable, "benchmarks/grade_load.py", "10"], cwd=ROOT, capture_output=True, text=True
    )
    assert "lost 0, graded wrong 0, processes left over 0" in done.stdout, done.stdout + done.stderr
    assert done.returncode == 0
