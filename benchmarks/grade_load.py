"""Grades many submissions of which the right grade is known, and counts what went wrong.

    python benchmarks/grade_load.py [N] [--days autodiff/1,autodiff/2] [--jobs 2] [--engine ray]

A submission is one of: a day's reference, a known bug of it, a fault (no Python, ends its process,
asks for all memory, prints a lot, leaves a process behind) or a cheat (raises a skip, reads the
reference or another submission, replaces what grades it). They are graded as a class, by the
command that teachers use. Printed are those lost (no grade in the gradebook), those graded wrong,
processes left over, and the memory of the command itself.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from harness.curriculum import (  # noqa: E402
    Day,
    apply_bug,
    find_tracks,
    generate_stub,
    load_bugs,
    read_source,
)
from harness.grade.command import days_of  # noqa: E402

SEED = 7
MARK = 86_393
"""Seconds that only a process of these submissions sleeps."""
# What stands below the reference (with True: and takes no points away), or alone.
FAULTS = {
    "raises": ("raise RuntimeError('at import')\n", False),
    "ends its process": ("import os\nos._exit(0)\n", False),
    "is killed": ("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n", False),
    "asks for memory": ("x = bytearray(1 << 45)\n", False),
    "prints a lot": ("for _ in range(10**5):\n    print('x' * 100)\n", True),
    "leaves a process": (f"import subprocess\nsubprocess.Popen(['sleep', '{MARK}'])\n", True),
}
ALONE = {"no Python": "def (:\n", "nothing": "\n"}
# What stands below the reference to get around its tests, and below the stub to get its answers.
AROUND = {
    "skips": "import pytest\npytest.skip('no', allow_module_level=True)\n",
    "skips as unittest does": "import unittest\nraise unittest.SkipTest('no')\n",
    "replaces close": "import harness.testing as t\nt.close = lambda *a, **k: None\n",
}
STOLEN = {
    "imports the reference": "from tracks.{track}.solutions.{name} import *\n",
    "reads the reference": "exec(open({solution!r}).read())\n",
    "reads another's": "exec(open({other!r}).read())\n",
}
KINDS = ("reference", "bug", "bug", "fault", "cheat")


def submission(
    day: Day, kind: str, pick: random.Random, other: Path
) -> tuple[str, set[str] | None]:
    """A file, and the exercises that must fail: None where all must."""
    source = read_source(day.solution)
    if kind == "reference":
        return source, set()
    if kind == "bug":
        bug = pick.choice(load_bugs(day.bugs, source).bugs)
        return apply_bug(source, bug, day.bugs), {bug.exercise}
    if kind == "fault":
        name = pick.choice([*FAULTS, *ALONE])
        if name in ALONE:
            return ALONE[name], None
        return f"{source}\n{FAULTS[name][0]}", set() if FAULTS[name][1] else None
    name = pick.choice([*AROUND, *STOLEN])
    if name in AROUND:
        return f"{source}\n{AROUND[name]}", None
    text = STOLEN[name].format(track=day.track, name=day.name, solution=str(day.solution),
                               other=str(other / f"{day.name}.py"))  # fmt: skip
    return f"{generate_stub(source, day.solution)}\n{text}", None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("n", nargs="?", type=int, default=1000)
    parser.add_argument("--days", default="autodiff/1")
    parser.add_argument("--jobs", default="")
    parser.add_argument("--engine", default="local")
    options = parser.parse_args()
    days = days_of(options.days, find_tracks())
    pick = random.Random(SEED)
    with tempfile.TemporaryDirectory(prefix="load-") as name:
        classroom, out = Path(name, "handed in"), Path(name, "grades")
        expected: dict[str, tuple[Day, str, set[str] | None]] = {}
        for n in range(options.n):
            day, kind = days[n % len(days)], KINDS[n % len(KINDS)]
            text, wrong = submission(day, kind, pick, classroom / "s0" / day.track)
            folder = classroom / f"s{n}" / day.track
            folder.mkdir(parents=True)
            (folder / f"{day.name}.py").write_text(text, encoding="utf-8")
            expected[f"s{n}"] = (day, kind, wrong)
        began = time.monotonic()
        memory, code = graded(classroom, out, options)
        seconds = time.monotonic() - began
        book = json.loads((out / "gradebook.json").read_text(encoding="utf-8"))
    lost, bad = compare(book, expected)
    left = left_over()
    count = Counter(kind for _, kind, _ in expected.values())
    print(
        f"{options.n} submissions ({', '.join(f'{v} {k}' for k, v in count.items())}), exit {code}"
    )
    print(f"lost {len(lost)}, graded wrong {len(bad)}, processes left over {left}")
    print(f"{seconds:.0f} s, {seconds / options.n:.2f} s a submission")
    if memory:
        half = memory[len(memory) // 2 :]
        after = memory[len(memory) // 10] >> 20
        print(f"memory of the command: {after} MB after a tenth, {half[0] >> 20} MB after half, "
              f"{max(half) >> 20} MB at most after that")  # fmt: skip
    for line in (lost + bad)[:20]:
        print(f"  {line}")
    return 1 if lost or bad or left else 0


def graded(classroom: Path, out: Path, options: argparse.Namespace) -> tuple[list[int], int]:
    """Run the command. → its resident memory over time, and its exit code"""
    import psutil

    command = [sys.executable, "-m", "harness", "grade"]
    environment = {**os.environ, "SUBMISSIONS": str(classroom), "OUT": str(out), "DEVICE": "cpu",
                   "SEED": str(SEED), "JOBS": options.jobs, "ENGINE": options.engine}  # fmt: skip
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
    memory: list[int] = []
    watched, over = psutil.Process(process.pid), threading.Event()

    def look() -> None:
        while not over.wait(0.5):
            try:
                memory.append(watched.memory_info().rss)
            except psutil.Error:
                return

    thread = threading.Thread(target=look)
    thread.start()
    code = process.wait()
    over.set()
    thread.join()
    return memory, code


def compare(
    book: dict, expected: dict[str, tuple[Day, str, set[str] | None]]
) -> tuple[list[str], list[str]]:
    """Those without a grade, and those with a wrong one."""
    students = {student["name"]: student for student in book["students"]}
    lost, bad = [], []
    for name, (day, kind, wrong) in expected.items():
        found = [d for d in students.get(name, {}).get("days", ())
                 if (d["track"], d["day"]) == (day.track, day.number)]  # fmt: skip
        statuses = {e["name"]: e["status"] for d in found for e in d["exercises"]}
        if not statuses or {"not graded", "not handed in"} & set(statuses.values()):
            lost.append(f"{name} ({day.key}, {kind}): {statuses or 'nothing'}")
            continue
        passed = {e for e, status in statuses.items() if status == "passed"}
        right = set() if wrong is None else set(statuses) - wrong
        # A bug may fail what stands on its exercise too; it must fail its own.
        ok = passed == right if kind != "bug" else not passed & (wrong or set())
        if not ok:
            bad.append(f"{name} ({day.key}, {kind}): passed {sorted(passed)}")
    return lost, bad


def left_over() -> int:
    found = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True).stdout
    return found.splitlines().count(f"sleep {MARK}")


if __name__ == "__main__":
    sys.exit(main())
