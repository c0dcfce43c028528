"""Day 32's pretraining in several processes: the same losses and weights, through kills."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

ROOT = Path(__file__).parents[2]
STOPPED = "a process of {} was stopped: `pretrain` goes on from its last checkpoint, {}"


def losses(folder: Path) -> list[float]:
    entries = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in entries] == [1, 2, 3, 4, 5, 6]
    return [entry["loss"] for entry in entries]


@pytest.mark.skipif(sys.platform != "linux", reason="processes are forked")
def test_several_processes_are_one(tmp_path: Path) -> None:
    """Two, one of which is killed; one, which is interrupted; then four: the run of one alone."""
    program = [sys.executable, str(Path(__file__).with_name("team.py")), str(tmp_path)]
    there = {**os.environ, "PYTHONPATH": str(ROOT), "GLOO_SOCKET_IFNAME": "lo"}
    done = subprocess.run(program, env=there, capture_output=True, text=True, timeout=600)
    both = done.stdout + done.stderr
    assert done.returncode == 0, both
    said = re.findall(r"^a process of .*$", done.stderr, re.MULTILINE)
    assert said == [
        STOPPED.format(2, "step-00000002"),
        STOPPED.format(1, "step-00000004"),
    ], both
    assert "left: step-00000002 step-00000004.tmp\n" in done.stdout, both
    assert not re.search(r"^(\[rank\d\]: )?Traceback", both, re.MULTILINE), both
    assert done.stdout.count("6 steps are done already") == 1, both

    assert losses(tmp_path / "team") == pytest.approx(losses(tmp_path / "alone"), rel=1e-9)
    ends = [
        torch.load(tmp_path / name / "pretrain" / "step-00000006.pt")["model"]
        for name in ("alone", "team")
    ]
    assert list(ends[0]) == list(ends[1])
    for name, value in ends[0].items():
        torch.testing.assert_close(ends[1][name], value, rtol=1e-8, atol=1e-10, msg=name)
    kept = sorted(path.name for path in (tmp_path / "team" / "sharded").iterdir())
    assert kept == ["step-00000002", "step-00000004", "step-00000006"]
