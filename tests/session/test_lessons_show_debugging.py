"""The first lessons show how to find a mistake, and what they show is what the commands print."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from harness.curriculum import find_day, generate_stub, read_source, write_source

ROOT = Path(__file__).resolve().parents[2]
SECTION = "## When a test fails\n"
DAYS = {
    "autodiff": ("central_difference", 'raise NotImplementedError("central_difference")'),
    "pytorch": ("sliding_windows", 'raise NotImplementedError("sliding_windows")'),
    "triton": ("scale_kernel", "pass"),
}
"""Per track what the lesson of day 1 gets wrong, and what stands there in the stub."""


@pytest.mark.parametrize("track", DAYS)
def test_the_lesson_shows_what_make_prints(track: str, tmp_path: Path) -> None:
    import torch

    if track == "triton" and torch.cuda.is_available():
        pytest.skip("the lesson shows a machine without a GPU")
    lesson = (ROOT / f"tracks/{track}/lessons/day01.md").read_text(encoding="utf-8")
    section = lesson.split(SECTION)[1].split("\n## ")[0]
    code = re.findall(r"```python\n(.*?)```", section, re.DOTALL)[0]
    graded, debugged = re.findall(r"```text\n(.*?)```", section, re.DOTALL)
    copy = tmp_path / "project"
    skip = shutil.ignore_patterns(".git", ".venv", ".harness", "__pycache__")
    shutil.copytree(ROOT, copy, ignore=skip)
    write_answer(copy, track, code)
    shown_in_order(graded, make(copy, graded, ""))
    stopping = re.sub(r"print\(.*\)\n", "breakpoint()\n", code)
    assert stopping != code
    write_answer(copy, track, stopping)
    keys = "".join(f"{key}\n" for key in re.findall(r"^\(Pdb\) (.*)", debugged, re.MULTILINE))
    shown_in_order(re.sub(r"^\(Pdb\) .*\n", "", debugged, flags=re.M), make(copy, debugged, keys))


def write_answer(copy: Path, track: str, code: str) -> None:
    """The lesson's function's lines in place of what the stub has there."""
    name, unwritten = DAYS[track]
    day = find_day(track, 1, copy)
    stub = generate_stub(read_source(day.solution), day.solution)
    before, after = stub.split(f"def {name}(", 1)
    body = code.split(":\n", 1)[1]
    assert f"    {unwritten}\n" in after
    written = f"{before}def {name}(" + after.replace(f"    {unwritten}\n", body, 1)
    write_source(day.file, written)


def make(copy: Path, shown: str, keys: str) -> str:
    """What the first line's command prints, with ``keys`` typed, on a terminal of 78 columns."""
    command = shown.splitlines()[0].removeprefix("$ ")
    settings = {"PYTHON": sys.executable, "SEED": "1729", "COLUMNS": "78", "TORCH": ""}
    unset = ("EX", "V", "DEBUG", "DEVICE", "MAKEFLAGS", "MAKELEVEL")
    environment = {k: v for k, v in os.environ.items() if k not in unset} | settings
    done = subprocess.run(
        command.split(), cwd=copy, env=environment, input=keys, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 2, done.stdout  # make's own code for what failed
    return done.stdout.replace(f"{copy}/", "…/").replace("(Pdb) ", "")


def shown_in_order(shown: str, printed: str) -> None:
    """Every line of ``shown`` but the command and the dots stands in ``printed``, in that order."""
    rest = [any_float(line) for line in printed.splitlines()]
    for line in map(any_float, shown.splitlines()[1:]):
        if line.strip() != "…":
            assert line in rest, f"{line!r} is not printed (any more):\n{printed}"
            rest = rest[rest.index(line) + 1 :]


def any_float(line: str) -> str:
    """Inputs are random: other numbers of other lengths."""
    return re.sub(r"-?\d+\.\d+(?:e[-+]\d+)?", "#", line).rstrip()
