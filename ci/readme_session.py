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
sys.path.insert(0, str(ROOT))

from harness.curriculum import (  # noqa: E402  (the path comes first)
    find_day,
    generate_stub,
    read_source,
    write_source,
)

BEGIN, END = "<!-- session:begin -->", "<!-- session:end -->"


def main() -> None:
    readme = ROOT / "README.md"
    head, rest = readme.read_text(encoding="utf-8").split(BEGIN)
    readme.write_text(f"{head}{BEGIN}\n{session()}{END}{rest.split(END)[1]}", encoding="utf-8")


def session() -> str:
    """What stands between the two marks."""
    with tempfile.TemporaryDirectory(prefix="session-") as folder:
        copy = Path(folder) / "mlsys"
        skip = shutil.ignore_patterns(".git", ".venv", ".harness", "__pycache__")
        shutil.copytree(ROOT, copy, ignore=skip)
        day = find_day("triton", 1, copy)  # untouched, whatever is written in this tree
        write_source(day.file, generate_stub(read_source(day.solution), day.solution))
        passed = run(copy, "make triton DAY=1 IMPL=solution", 0)
        # make's own code for "it failed" is 2
        untouched = run(copy, "make triton DAY=1", 2)
        attempt(copy)
        tried = run(copy, "make triton DAY=1", 2)
    return (
        f"The reference of day 1, on a laptop without a GPU:\n\n{passed}\n"
        "The untouched day. It does not pass yet, so make ends with an error of its own, as it "
        f"does whenever something fails:\n\n{untouched}\n"
        f"Some answers later, two of them with mistakes:\n\n{tried}"
    )


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


def run(copy: Path, command: str, code: int) -> str:
    """The command with all that it and make print, as a fenced block."""
    environment = {**os.environ, "PYTHON": sys.executable, "SEED": "1729", "TORCH": ""}
    for name in ("EX", "V", "DEBUG", "COLUMNS", "MAKEFLAGS", "MAKELEVEL"):
        environment.pop(name, None)
    done = subprocess.run(
        command.split(), cwd=copy, env=environment, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert done.returncode == code, done.stdout
    lines = [f"$ {command}", *(line.rstrip() for line in done.stdout.strip("\n").splitlines())]
    return "```text\n" + "\n".join(lines) + "\n```\n"


if __name__ == "__main__":
    main()
