"""Grades every answer of the gallery as code that nobody has read, in a copy of the project.

python -m tests.cheats.trial           prints how many of each group are refused
python -m tests.cheats.trial --write   writes it into docs/threat-model.md as well
python -m tests.cheats.trial --quick   the tracks that import torch in forks of a warm process
python -m tests.cheats.trial --plain   the same without the sandbox, as `make triton` grades
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.cheats import toys
from tests.support.record import THREATS, record

GALLERY = Path(__file__).with_name("gallery")
GROUPS = ("accident", "shortcut", "attack")
TRACKS = ("autodiff", "pytorch", "triton")
DRIVER = """
import json, os, sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from harness.curriculum import find_day
from harness.grading.unread import VARIABLE
from harness.protocol import Request
from harness.run import Cold, run
from harness.run.sandbox import Sandboxed, grade_unread
from harness.run.warm import Warm

how, sandbox = sys.argv[1], Sandboxed()
folders = {t: [f for f in sys.argv[2:] if Path(f).name == t] for t in TRACKS}
if how in ("quick", "warm"):
    os.environ[VARIABLE] = "1"

def grade(launcher, day, folder):
    if launcher is sandbox:
        result = grade_unread(day, Path(folder), sandbox, (3, 4), "cpu")
    else:
        result = run(Request(day.track, 1, folder, seed=3, device="cpu"), launcher)
    said = [p.message for p in result.problems]
    said += [t.failure.message for t in result.tests if t.failure]
    return folder, {"passed": result.passed, "said": said}

def tried(track):
    day = find_day(track, 1)
    if how in ("plain", "warm") or (how == "quick" and track != "autodiff"):
        with Warm(track, "cpu") as warm:
            return [grade(warm, day, folder) for folder in folders[track]]
    sandbox.tests_of(day, "cpu")  # which compiles the harness, so that the room holds that, too
    sandbox.room(day)
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(partial(grade, sandbox, day), folders[track]))

found = [pair for track in TRACKS if folders[track] for pair in tried(track)]
print(json.dumps(dict(found)))
"""


@dataclass(frozen=True)
class Tried:
    group: str
    name: str
    refused: bool
    said: list[str]


def gallery() -> list[Path]:
    return sorted(GALLERY.rglob("*.py"))


def name_of(path: Path) -> str:
    return "/".join(path.relative_to(GALLERY).with_suffix("").parts)


def try_all(
    folder: Path, cheats: Sequence[Path] | None = None, how: str = "sandbox"
) -> list[Tried]:
    """Every cheat, and each track's reference as ``right/TRACK``, graded in ``folder``.

    ``how``: "sandbox"; "plain", as learners are graded; or "quick": the sandbox for the autodiff
    track, and forks of a warm process, which refuse the same in the answer's process, for those
    that import torch.
    """
    toy = toys.make(folder / "project")
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b.c", "-C", str(toy.folder)]
    for command in (
        ["init", "-q"],
        ["add", "-A"],
        ["commit", "-qm", "all"],
        ["archive", "--format=zip", "-o", "project.zip", "HEAD"],
    ):
        subprocess.run([*git, *command], check=True)
    handed_in = folder / "handed in"
    written: dict[str, str] = {}

    def hand_in(name: str, track: str, text: str) -> None:
        (handed_in / name / track).mkdir(parents=True)
        (handed_in / name / track / "day01.py").write_text(text)
        written[str(handed_in / name / track)] = name

    for track in TRACKS:
        reference = toy.folder / "tracks" / track / "solutions" / "day01.py"
        hand_in(f"right/{track}", track, reference.read_text())
    with socket.create_server(("127.0.0.1", 0)) as server:
        fill = {
            "{root}": str(toy.folder),
            "{other}": str(handed_in / "right/autodiff/autodiff"),
            "{port}": str(server.getsockname()[1]),
            "{seconds}": str(marker()),
            "{table}": repr(toys.table(3)),
        }
        for path in gallery() if cheats is None else cheats:
            text = path.read_text()
            for key, value in fill.items():
                text = text.replace(key, value)
            inside = path.parent.name
            hand_in(name_of(path), inside if inside in TRACKS else "autodiff", text)
        driver = DRIVER.replace("TRACKS", repr(TRACKS))
        done = toy.run("-c", driver, how, *written, timeout=900)
    assert done.returncode == 0, done.stderr[-3000:]
    return [
        Tried(*written[f].split("/", 1), refused=not found["passed"], said=found["said"])
        for f, found in json.loads(done.stdout.splitlines()[-1]).items()
    ]


def marker() -> int:
    """Seconds that only a process of this gallery sleeps, so that it is known again."""
    return 86_399


def left_over() -> list[str]:
    """Processes that the gallery started and that still run."""
    found = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True).stdout
    return [line for line in found.splitlines() if line == f"sleep {marker()}"]


def main(arguments: list[str]) -> int:
    started = time.monotonic()
    how = next((a[2:] for a in arguments if a in ("--plain", "--quick", "--warm")), "sandbox")
    some = [a for a in arguments if not a.startswith("-")]
    cheats = [p for p in gallery() if not some or any(s in name_of(p) for s in some)]
    with tempfile.TemporaryDirectory(prefix="cheats-") as folder:
        tried = try_all(Path(folder), cheats, how)
    if "-v" in arguments:
        for t in tried:
            print("refused" if t.refused else "PASSED ", f"{t.group}/{t.name}:", t.said[:1])
    lines = []
    for group in GROUPS:
        mine = [t for t in tried if t.group == group]
        lines.append(f"{group}: {sum(t.refused for t in mine)} of {len(mine)} refused")
    passed = [t.name for t in tried if not t.refused and t.group != "right"]
    lines.append(f"passed: {', '.join(passed) or 'none'}; processes left over: {len(left_over())}")
    lines.append(f"{time.monotonic() - started:.0f} s")
    print("\n".join(lines))
    if "--write" in arguments:
        record(THREATS, "cheats", lines)
    return 1 if passed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
