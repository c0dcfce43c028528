"""A lesson's figures are what their scripts draw: each is drawn anew and compared with its file."""

from __future__ import annotations

import importlib.metadata
import multiprocessing
import os
import re
import runpy
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from harness.curriculum import ROOT, Day
from harness.run.process import Launcher

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerContext, SpawnContext

SECONDS = 120
IMPORTED = ["matplotlib.backends.backend_svg", "matplotlib.figure", "torch", "harness.figures"]
"""What most scripts import: 2 s of each, unless they are forks of a process that has."""


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
    with tempfile.TemporaryDirectory(prefix="figures-") as scratch:
        folder, said = Path(scratch) / "drawn", Path(scratch) / "said.txt"
        folder.mkdir()
        said.touch()
        process = _context().Process(target=_run, args=(module, str(ROOT), str(folder), str(said)))
        process.start()
        process.join(SECONDS)
        if process.exitcode is None:
            process.kill()
            process.join()
            return [f"{script.name} takes more than {SECONDS} s"]
        if process.exitcode:
            lines = said.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            why = lines[-1] if lines else f"its process ended with {process.exitcode}"
            return [f"{script.name} fails: {why}"]
        drawn = sorted(folder.iterdir())
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


def _context() -> ForkServerContext | SpawnContext:
    """Forks of a process with the imports, where there are forks."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(IMPORTED)
    return context


def _run(module: str, root: str, folder: str, said: str) -> None:
    """In a process of its own: what ``python -m module`` does in the folder ``root``."""
    with open(said, "wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.chdir(root)
    sys.path.insert(0, root)
    os.environ |= {"FIGURES_TO": folder, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    if "torch" in sys.modules:  # it has read that; and threads that wait for a core take minutes
        sys.modules["torch"].set_num_threads(1)
    multiprocessing.set_start_method(None, force=True)  # that of a process which nobody forked
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def is_pinned() -> bool:
    """Whether matplotlib here is the one of requirements.txt."""
    pins = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    pinned = re.search(r"^matplotlib==(\S+)", pins, re.MULTILINE)
    return pinned is not None and importlib.metadata.version("matplotlib") == pinned[1]
