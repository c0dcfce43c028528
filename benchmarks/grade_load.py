"""Grades many submissions of which the right grade is known, and counts what went wrong.

    python benchmarks/grade_load.py [N] [--days autodiff/1,autodiff/2] [--jobs 2] [--engine ray]
                                        [--write]

A submission is one of: a day's reference, a known bug of it, a mutant of it (a small change that
the day's tests notice), a fault (no Python, ends its process, asks for all memory, prints a lot,
leaves a process behind; and those of tests/faults/gallery.py that no limit has to stop) or a cheat
(raises a skip, reads the reference or another submission, replaces what grades it, forges results).
They are graded as a class, by the command that teachers use. Printed are those lost (no grade in
the gradebook), those graded wrong, processes left over, and the memory of the command itself.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import random
import subprocess
import sys
import tempfile
import textwrap
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
from harness.mutate.operators import Mutant, mutants_of, same_program  # noqa: E402
from tests.faults.gallery import FAULTS as BODIES  # noqa: E402
from tests.support.record import TEACHING, record  # noqa: E402

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
ALONE = {name: fault.body for name, fault in BODIES.items() if fault.whole and not fault.slow}
IN_ONE = {name: fault.body for name, fault in BODIES.items() if not (fault.whole or fault.slow)}
"""The body of an exercise, which must not pass; what else the day has may stand on it."""
# What stands below the reference to get around its tests, and below the stub to get its answers.
AROUND = {
    "skips": "import pytest\npytest.skip('no', allow_module_level=True)\n",
    "skips as unittest does": "import unittest\nraise unittest.SkipTest('no')\n",
    "replaces close": "import harness.testing as t\nt.close = lambda *a, **k: None\n",
    "replaces close's code": (
        "import harness.testing as t\nt.close.__code__ = (lambda *a, **k: None).__code__\n"
    ),
    "replaces a module": (
        "import sys, types\nsys.modules['harness.testing'] = types.ModuleType('harness.testing')\n"
    ),
    "widens a constant": (
        "import harness.grading.guard as g\ng.ALLOCATES = g.ALLOCATES | {'add'}\n"
    ),
    "imports ctypes": "import ctypes\n",
    "forges results": (
        'import os\nfor n in range(3, 64):\n    try: os.write(n, b\'{"kind": "finished"}\\n\')\n'
        "    except OSError: pass\n"
    ),
}
STOLEN = {
    "imports the reference": "from tracks.{track}.solutions.{name} import *\n",
    "reads the reference": "exec(open({solution!r}).read())\n",
    "reads another's": "exec(open({other!r}).read())\n",
}
KINDS = ("reference", "bug", "mutant", "fault", "cheat")


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
    if kind == "mutant":
        mutant = pick.choice(noticed(day))
        return mutant.source, {mutant.exercise}
    if kind == "fault":
        name = pick.choice([*FAULTS, *ALONE, *IN_ONE])
        if name in ALONE:
            return ALONE[name], None
        if name in IN_ONE:
            victim = pick.choice([e.name for e in day.exercises])
            body = IN_ONE[name].replace("double(", f"{victim}(").replace("{seconds}", str(MARK))
            body = textwrap.indent(f"x = args[0] if args else None\n{body}", "    ")
            return f"{source}\n\ndef {victim}(*args, **kwargs):\n{body}\n", {victim}
        return f"{source}\n{FAULTS[name][0]}", set() if FAULTS[name][1] else None
    name = pick.choice([*AROUND, *STOLEN])
    if name in AROUND:
        return f"{source}\n{AROUND[name]}", None
    text = STOLEN[name].format(track=day.track, name=day.name, solution=str(day.solution),
                               other=str(other / f"{day.name}.py"))  # fmt: skip
    return f"{generate_stub(source, day.solution)}\n{text}", None


@functools.cache
def noticed(day: Day) -> list[Mutant]:
    """The mutants of the day's reference, but for those that are declared to change nothing."""
    source = read_source(day.solution)
    same = {
        same_program(apply_bug(source, entry, day.bugs))
        for entry in load_bugs(day.bugs, source).equivalents
    }
    return [m for m in mutants_of(source, day.solution) if same_program(m.source) not in same]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("n", nargs="?", type=int, default=1000)
    parser.add_argument("--days", default="autodiff/1")
    parser.add_argument("--jobs", default="")
    parser.add_argument("--engine", default="local")
    parser.add_argument("--write", action="store_true", help="into docs/teaching.md")
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
            written = text.encode("utf-8", "surrogateescape")
            (folder / f"{day.name}.py").write_bytes(written)
            expected[f"s{n}"] = (day, kind, wrong)
        began = time.monotonic()
        memory, code = graded(classroom, out, options)
        seconds = time.monotonic() - began
        book = json.loads((out / "gradebook.json").read_text(encoding="utf-8"))
    lost, bad = compare(book, expected)
    left = left_over()
    count = Counter(kind for _, kind, _ in expected.values())
    kinds = ", ".join(f"{v} {k}{'s' * (v > 1)}" for k, v in count.items())
    lines = [
        f"{options.n} submissions of {options.days} ({kinds})",
        f"lost {len(lost)}, graded wrong {len(bad)}, processes left over {left}",
        f"{seconds:.0f} s, {seconds / options.n:.2f} s a submission",
    ]
    if memory:
        lines.append(told(memory))
    print("\n".join(lines))
    for line in (lost + bad)[:20]:
        print(f"  {line}")
    print(f"exit {code}")
    if options.write:
        record(TEACHING, "load", lines)
    return 1 if lost or bad or left else 0


Seen = tuple[int, int]
"""How many submissions are graded, and the command's resident memory in bytes."""


def told(memory: list[Seen]) -> str:
    """One line: what it needs while it grades, and for the gradebook of all at the end."""
    graded_last = memory[-1][0]

    def when(share: float) -> int:
        return next(rss for n, rss in memory if n >= share * graded_last) >> 20

    return (
        f"memory of the command: {when(0.1)} MB after a tenth, {when(0.5)} MB after half, "
        f"{when(1.0)} MB when all are graded; {max(rss for _, rss in memory) >> 20} MB at most, "
        "while it writes the gradebook"
    )


def graded(classroom: Path, out: Path, options: argparse.Namespace) -> tuple[list[Seen], int]:
    """Run the command. → what was seen of it every half second, and its exit code"""
    import psutil

    command = [sys.executable, "-m", "harness", "grade"]
    environment = {**os.environ, "SUBMISSIONS": str(classroom), "OUT": str(out), "DEVICE": "cpu",
                   "SEED": str(SEED), "JOBS": options.jobs, "ENGINE": options.engine}  # fmt: skip
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
    memory: list[Seen] = []
    watched, over = psutil.Process(process.pid), threading.Event()

    def look() -> None:
        while not over.wait(0.5):
            try:
                kept = out / "records"
                done = len(os.listdir(kept)) if kept.is_dir() else 0
                memory.append((done, watched.memory_info().rss))
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
        # What fails its own exercise may fail what stands on it, too.
        ok = (
            not passed
            if wrong is None
            else not passed & wrong
            if wrong
            else passed == set(statuses)
        )
        if not ok:
            bad.append(f"{name} ({day.key}, {kind}): passed {sorted(passed)}")
    return lost, bad


def left_over() -> int:
    found = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True).stdout
    return found.splitlines().count(f"sleep {MARK}")


if __name__ == "__main__":
    sys.exit(main())
