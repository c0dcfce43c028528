"""A sample of the load test: nothing lost, nothing graded wrong, nothing left running."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from harness.curriculum import ROOT
from harness.grade.task import share_of_memory
from tests.support.record import TEACHING, recorded

KINDS = ("reference", "bug", "mutant", "fault", "cheat")


@pytest.mark.skipif(sys.platform != "linux", reason="the sandbox is Linux's")
def test_ten_submissions_of_which_the_grade_is_known() -> None:
    done = subprocess.run(
        [sys.executable, "benchmarks/grade_load.py", "10"], cwd=ROOT, capture_output=True, text=True
    )
    assert "lost 0, graded wrong 0, processes left over 0" in done.stdout, done.stdout + done.stderr
    assert all(f"2 {kind}s" in done.stdout for kind in KINDS), done.stdout
    assert done.returncode == 0


def test_days_at_a_time_share_the_memory() -> None:
    gib = 1024**3
    assert share_of_memory(64 * gib, 4) == 12 * gib
    assert share_of_memory(64 * gib, 1) == 48 * gib
    assert share_of_memory(64 * gib, 64) == 4 * gib  # one may need it, all together seldom do
    assert share_of_memory(4 * gib, 2) == 3 * gib


def test_what_is_on_record_is_a_class_of_all_kinds() -> None:
    text = recorded(TEACHING, "load")
    if not text.strip():
        pytest.skip("nothing is on record yet")
    submissions = re.search(r"^(\d+) submissions", text, re.MULTILINE)
    assert submissions and int(submissions[1]) >= 100
    assert all(f" {kind}s" in text for kind in KINDS)
    assert "lost 0, graded wrong 0, processes left over 0" in text
