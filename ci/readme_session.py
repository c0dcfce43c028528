"""Captures the README's terminal session from real runs: ``python ci/readme_session.py``.

Works in a copy, with a learner's first attempts at day 1 of the Triton track written into it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BEGIN, END = "<!-- session:begin -->", "<!-- session:end -->"


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="session-") as folder:
        copy = Path(folder) / "mlsys"
        skip = shutil.ignore_patterns(".git", ".venv", ".harness", "__pycache__")
        shutil.copytree(ROOT, copy, ignore=skip)
        first = run(copy, "make triton DAY=1")
        attempt(copy)
        second = run(copy, "make triton DAY=1")
    readme = ROOT / "README.md"
    text = readme.read_text(encoding="utf-8")
    between = (
        f"{BEGIN}\nThe untouched day, on a laptop without a GPU:\n\n{first}\n"
        f"Some answers later, two of them with mistakes:\n\n{second}{END}"
    )
    head, rest = text.split(BEGIN)
    readme.write_text(head + between + rest.split(END)[1], encoding="utf-8")


def attempt(copy: Path) -> None:
    """Write answers into the stub: one right, one that forgets an element, one without masks."""
    day = copy / "tracks/triton/day01.py"
    reference = (copy / "tracks/triton/solutions/day01.py").read_text(encoding="utf-8")
    text = day.read_text(encoding="utf-8")
    for exercise in ("fill", "add_one", "scale"):
        answer = re.search(
            rf"def {exercise}_kernel.*?### BEGIN SOLUTION\n(.*?) *### END SOLUTION",
            reference,
            re.DOTALL,
        )
        assert answer
        code = re.sub(r" *# HINT:.*\n", "", answer[1])
        if exercise == "add_one":
            code = code.replace("offsets < n", "offsets < n - 1")
        if exercise == "scale":
            code = code.replace(", mask=mask", "")
        before, after = text.split(f"def {exercise}_kernel", 1)
        text = f"{before}def {exercise}_kernel" + after.replace("    pass\n", code, 1)
    day.write_text(text, encoding="utf-8")


def run(copy: Path, command: str) -> str:
    """The command with its output, as a fenced block."""
    environment = {**os.environ, "PYTHON": sys.executable, "SEED": "1729", "TORCH": ""}
    done = subprocess.run(
        command.split(), cwd=copy, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 2, done.stdout + done.stderr  # make's own code for "it failed"
    lines = [f"$ {command}", *(line.rstrip() for line in done.stdout.strip("\n").splitlines())]
    return "```text\n" + "\n".join(lines) + "\n```\n"


if __name__ == "__main__":
    main()
