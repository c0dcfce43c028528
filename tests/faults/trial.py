"""Grades every fault of the gallery as a learner's answer, and sees who is still there afterwards.

python -m tests.faults.trial             prints how many were survived
python -m tests.faults.trial --write     writes it into docs/threat-model.md as well
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.faults.gallery import FAULTS, Fault
from tests.support.record import THREATS, record
from tests.support.toy import BUGS, REFERENCE, Toy

DAY = REFERENCE.format(number=1, line="=" * 13)
HALF = '''

def half(x: np.ndarray) -> np.ndarray:
    """Half of ``x``, elementwise."""
    # TODO: return a new array.
    # HINT: what is half of 2?
    ### BEGIN SOLUTION
    # HINT: divide.
    # HINT: by two.
    return x / 2.0
    ### END SOLUTION
'''
TESTS = """
from harness.testing import close, exercise
from tracks.autodiff import day01


@exercise("double", seconds=2)
def test_double(rng):
    x = rng.normal(5)
    close(day01.double(x), x + x)


@exercise("double", seconds=2)
def test_double_again(rng):
    x = rng.normal(3)
    close(day01.double(x), x + x)


@exercise("half", seconds=2)
def test_half(rng):
    x = rng.normal(5)
    close(day01.half(x), 0.5 * x)
"""
DRIVER = """
import json, sys, time
from concurrent.futures import ThreadPoolExecutor
import psutil
from harness.protocol import Request
from harness.run import Cold, run
from harness.run.warm import Warm

warm = Warm("autodiff", "cpu") if sys.argv[1] == "warm" else None

def graded(folder):
    began = time.monotonic()
    request = Request("autodiff", 1, folder, seed=3, device="cpu", memory_bytes=1 << 30)
    result = run(request, warm or Cold())
    said = [p.message for p in result.problems]
    said += [t.failure.message for t in result.tests if t.failure]
    return {
        "status": {e.name: e.status for e in result.exercises}, "said": said,
        "seconds": time.monotonic() - began,
    }

folders = sys.argv[2:]
if warm is None:  # side by side: most of them wait
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(graded, folders[:-1]))
    found.append(graded(folders[-1]))
else:
    with warm:
        found = [graded(folder) for folder in folders]
left = [p.name() for p in psutil.Process().children(recursive=True)]
print(json.dumps([dict(zip(folders, found)), left]))
"""
LONGEST = 620.0
"""Seconds that any of them may take: an import has 60 of computing, and ten times as long on the
clock of a busy machine."""


@dataclass(frozen=True)
class Survived:
    name: str
    problems: list[str]
    """What went wrong: nothing where it was survived."""
    said: list[str]
    seconds: float


def try_all(folder: Path, faults: dict[str, Fault], how: str) -> list[Survived]:
    """Every fault, and the right answer after it, graded in ``folder``. ``how``: "warm", forks of
    one process; or "cold", a process of its own for each, and the right answer after the last."""
    toy = Toy(folder / "project")
    reference = DAY.replace("\n\ndef test_double()", f"{HALF}\n\ndef test_double()")
    toy.write("solutions/day01.py", reference)
    toy.write("tests/test_day01.py", TESTS)
    toy.write("bugs/day01.toml", BUGS)
    half = "import numpy as np\n" + HALF
    order: list[str] = []
    last = len(faults) - 1
    for number, fault in enumerate(faults.values()):
        after = [(f"{number} after", reference)] if how == "warm" or number == last else []
        for name, text in [(f"{number}", _source(fault, half)), *after]:
            (folder / name).mkdir()
            data = text.encode("utf-8", "surrogateescape")
            (folder / name / "day01.py").write_bytes(data)
            order.append(str(folder / name))
    done = toy.run("-c", DRIVER, how, *order, timeout=1800)
    if done.returncode != 0:
        raise RuntimeError(f"the harness itself ended: {done.stderr[-2000:]}")
    found, left = json.loads(done.stdout.splitlines()[-1])
    left, afterwards = [*left, *left_over()], found[str(folder / f"{last} after")]
    return [
        _judged(
            name,
            fault,
            found[str(folder / f"{n}")],
            found.get(str(folder / f"{n} after"), afterwards),
            left,
        )
        for n, (name, fault) in enumerate(faults.items())
    ]


def _source(fault: Fault, half: str) -> str:
    if fault.whole:
        return fault.body
    body = textwrap.indent(fault.body.replace("{seconds}", str(marker())), "    ")
    return f"{half}\n\ndef double(x):\n{body}\n"


_INSIDE = ("Traceback (most recent call last)", "INTERNALERROR", "what pytest said")


def _judged(name: str, fault: Fault, found: dict, after: dict, left: Sequence[str]) -> Survived:
    problems = []
    if found["status"].get("double") == "passed":
        problems.append("it passed")
    if not fault.whole and not fault.alone and found["status"].get("half") != "passed":
        problems.append("the other exercise was not graded")
    if not found["said"]:
        problems.append("nothing is said")
    problems += [f"said in {len(m)} characters" for m in found["said"] if len(m) > 5000]
    if any(word in m for word in _INSIDE for m in found["said"]):
        problems.append("a traceback is said")
    if left:
        problems.append(f"processes are left: {left}")
    if found["seconds"] > LONGEST:
        problems.append(f"it took {found['seconds']:.0f} s")
    if set(after["status"].values()) != {"passed"}:
        problems.append(f"the right answer fails afterwards: {after['said'][:1]}")
    return Survived(name, problems, found["said"], found["seconds"])


def marker() -> int:
    """Seconds that only a process of this gallery sleeps, so that it is known again."""
    return 86_397


def left_over() -> list[str]:
    found = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True).stdout
    return [line for line in found.splitlines() if line == f"sleep {marker()}"]


def main(arguments: list[str]) -> int:
    some = [a for a in arguments if not a.startswith("-")]
    faults = {n: f for n, f in FAULTS.items() if not some or any(s in n for s in some)}
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        tried = try_all(Path(folder), faults, "warm" if "--warm" in arguments else "cold")
    for one in tried:
        if one.problems or "-v" in arguments:
            print(f"{one.name}: {one.problems or 'survived'}: {one.said[:1]} {one.seconds:.1f} s")
    survived = [t for t in tried if not t.problems]
    lines = [f"faults survived: {len(survived)} of {len(tried)}"]
    alone = [n for n, f in faults.items() if f.alone]
    lines.append(f"of these, the day's other exercise was lost with: {', '.join(alone) or 'none'}")
    lines.append(f"processes left over: {len(left_over())}; {time.monotonic() - began:.0f} s")
    print("\n".join(lines))
    if "--write" in arguments:
        record(THREATS, "faults", lines)
    return 1 if any(t.problems for t in tried) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
