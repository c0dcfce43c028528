"""A lesson's figures are what their scripts draw: each is drawn anew and compared with its file."""

from __future__ import annotations

import importlib.metadata
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from harness.curriculum import ROOT, Day
from harness.run.process import Launcher

SECONDS = 120


def check_figures(day: Day, launcher: Launcher, seed: int, device: str = "auto") -> list[str]:
    """Every ``lessons/figures/dayNN_*.svg`` has a script that draws it: to the byte, where
    matplotlib is the one that is pinned (another one may place a label elsewhere)."""
    folder = day.folder / "lessons" / "figures"
    scripts = sorted(folder.glob(f"{day.name}_*.py"))
    found = [
        f"{svg.name} has no script: {svg.stem}.py is missing"
        for svg in sorted(folder.glob(f"{day.name}_*.svg"))
        if not svg.with_suffix(".py").exists()
    ]
    return found + [sentence for script in scripts for sentence in _drawn_anew(script)]


def _drawn_anew(script: Path) -> list[str]:
    module = ".".join(script.relative_to(ROOT).with_suffix("").parts)
    with tempfile.TemporaryDirectory(prefix="figures-") as folder:
        environment = {**os.environ, "FIGURES_TO": folder, "CUDA_VISIBLE_DEVICES": ""}
        try:
            done = subprocess.run(
                [sys.executable, "-m", module],
                cwd=ROOT, env=environment, capture_output=True, text=True, timeout=SECONDS,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return [f"{script.name} takes more than {SECONDS} s"]
        if done.returncode:
            return [f"{script.name} fails: {done.stderr.strip().splitlines()[-1]}"]
        drawn = sorted(Path(folder).iterdir())
        if [path.name for path in drawn] != [script.with_suffix(".svg").name]:
            return [
                f"{script.name} draws {[p.name for p in drawn]}: one file of its own name is due"
            ]
        committed = script.with_suffix(".svg")
        if not committed.exists():
            return [f"{committed.name} is missing: run python -m {module}"]
        if is_pinned() and drawn[0].read_bytes() != committed.read_bytes():
            return [f"{committed.name} is not what {script.name} draws: run python -m {module}"]
    return []


def is_pinned() -> bool:
    """Whether matplotlib here is the one of requirements.txt."""
    pins = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    pinned = re.search(r"^matplotlib==(\S+)", pins, re.MULTILINE)
    return pinned is not None and importlib.metadata.version("matplotlib") == pinned[1]
