"""Grades every answer of the gallery as code that nobody has read, in a copy of the project.

python -m tests.cheats.trial      prints how many of each group are refused
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tests.support.toy import TESTS, Toy

GALLERY = Path(__file__).with_name("gallery")
GROUPS = ("accident", "shortcut", "attack")
QUICK = TESTS.replace('@exercise("double")', '@exercise("double", seconds=2)')
DRIVER = """
import json, sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from harness.curriculum import find_day
from harness.run.sandbox import Sandboxed, grade_unread

day, sandbox = find_day("autodiff", 1), Sandboxed()
sandbox.room(day), sandbox.tests_of(day, "cpu")

def tried(folder):
    result = grade_unread(day, Path(folder), sandbox, (3, 4), "cpu")
    said = [p.message for p in result.problems]
    said += [t.failure.message for t in result.tests if t.failure]
    return {"passed": result.passed, "said": said, "parts": sandbox.in_force}

with ThreadPoolExecutor(2) as pool:
    print(json.dumps(dict(zip(sys.argv[1:], pool.map(tried, sys.argv[1:])))))
"""


@dataclass(frozen=True)
class Tried:
    group: str
    name: str
    refused: bool
    said: list[str]


def try_all(folder: Path) -> list[Tried]:
    """Every cheat, and the reference as ``right/reference``, graded in ``folder``."""
    toy = Toy(folder / "project")
    toy.add_day(1, tests=QUICK)
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b.c", "-C", str(toy.folder)]
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "all"]):
        subprocess.run([*git, *command], check=True)
    reference = (toy.track / "solutions" / "day01.py").read_text()
    handed_in = folder / "handed in"
    with socket.create_server(("127.0.0.1", 0)) as server:
        fill = {
            "{root}": str(toy.folder),
            "{other}": str(handed_in / "right reference"),
            "{port}": str(server.getsockname()[1]),
            "{seconds}": str(marker()),
        }
        folders = {}
        for path in [*sorted(GALLERY.glob("*/*.py")), None]:
            name = f"{path.parent.name} {path.stem}" if path else "right reference"
            text = path.read_text() if path else reference
            for key, value in fill.items():
                text = text.replace(key, value)
            (handed_in / name).mkdir(parents=True)
            (handed_in / name / "day01.py").write_text(text)
            folders[str(handed_in / name)] = name
        done = toy.run("-c", DRIVER, *folders)
    assert done.returncode == 0, done.stderr[-3000:]
    return [
        Tried(*folders[f].split(" ", 1), refused=not found["passed"], said=found["said"])
        for f, found in json.loads(done.stdout.splitlines()[-1]).items()
    ]


def marker() -> int:
    """Seconds that only a process of this gallery sleeps, so that it is known again."""
    return 86_399


def left_over() -> list[str]:
    """Processes that the gallery started and that still run."""
    found = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True).stdout
    return [line for line in found.splitlines() if line == f"sleep {marker()}"]


def main() -> int:
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="cheats-") as folder:
        tried = try_all(Path(folder))
    for group in GROUPS:
        mine = [t for t in tried if t.group == group]
        print(f"{group}: {sum(t.refused for t in mine)} of {len(mine)} refused")
    passed = [t.name for t in tried if not t.refused and t.group != "right"]
    print(f"passed: {', '.join(passed) or 'none'}; processes left over: {len(left_over())}")
    print(f"{time.monotonic() - started:.0f} s")
    return 1 if passed else 0


if __name__ == "__main__":
    sys.exit(main())
