"""Watch mode on a card: a save, its verdict, a crash of the card, and a save that is right."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from harness.curriculum import ROOT
from tests.support.terminal import Terminal

STORE = "    tl.store(out_ptr + offsets, x + 1, mask=mask)\n"


def test_save_verdict_crash_save_again(tmp_path: Path) -> None:
    for name in ("harness", "tracks", "conftest.py", "pyproject.toml", "requirements.txt"):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, tmp_path / name)
    file = tmp_path / "tracks" / "triton" / "day01.py"
    reference = (file.parent / "solutions" / file.name).read_text(encoding="utf-8")
    path = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    terminal = Terminal(
        [sys.executable, "-m", "harness", "watch", "triton", "1"],
        tmp_path,
        {**os.environ, "PYTHONPATH": path, "COLUMNS": "80", "LINES": "40"},
    )
    try:
        terminal.wait_for("not started", 120)
        file.write_text(reference.replace("x + 1", "x + 2"), encoding="utf-8")
        assert "add_one" in terminal.wait_for("tests fail", 120)
        file.write_text(
            reference.replace(STORE, STORE.replace("offsets,", "offsets + (1 << 40),")),
            encoding="utf-8",
        )
        terminal.wait_for("crashed the GPU", 120)
        file.write_text(reference, encoding="utf-8")
        terminal.wait_for("4 of 4 exercises", 120)
    finally:
        if terminal.process.poll() is None:
            terminal.press("q")
        terminal.close()
