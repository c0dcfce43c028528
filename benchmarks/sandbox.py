"""What the sandbox costs: days graded with it and without, in turn, in one run.

    python benchmarks/sandbox.py [--days autodiff/1,pytorch/1,triton/1] [--rounds 3] [--write]

Each day's reference is graded as a submission, as a learner's answer is (a process of its own) and
as code that nobody has read: once in the sandbox, which is what the sandbox itself costs, and as
`make grade` does it, twice. The ratio is of medians over the rounds. Making a day's room, once a
class, is timed apart.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from harness.curriculum import Day, find_tracks  # noqa: E402
from harness.grade.command import days_of  # noqa: E402
from harness.protocol import DayResult, Request  # noqa: E402
from harness.run import Cold, run  # noqa: E402
from harness.run.sandbox import Sandboxed, grade_unread  # noqa: E402
from tests.support.record import THREATS, record  # noqa: E402

WAYS = ("without", "sandbox", "twice")


def timed(way: str, day: Day, folder: Path, sandbox: Sandboxed, seed: int) -> float:
    request = Request(day.track, day.number, str(folder), seed=seed, device="cpu")
    began = time.monotonic()
    if way == "twice":
        result: DayResult = grade_unread(day, folder, sandbox, (seed, seed + 1), "cpu")
    else:
        result = run(request, sandbox if way == "sandbox" else Cold())
    seconds = time.monotonic() - began
    if not result.passed:
        raise SystemExit(f"{day.key}, {way}: the reference does not pass")
    return seconds


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--days", default="autodiff/1,pytorch/1,triton/1")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--write", action="store_true", help="into docs/threat-model.md")
    options = parser.parse_args()
    sandbox, lines, ratios = Sandboxed(), [], []
    for day in days_of(options.days, find_tracks()):
        began = time.monotonic()
        sandbox.room(day)
        made = time.monotonic() - began
        sandbox.tests_of(day, "cpu")
        took: dict[str, list[float]] = {way: [] for way in WAYS}
        with tempfile.TemporaryDirectory(prefix="bench-") as name:
            folder = Path(name).resolve()
            (folder / f"{day.name}.py").write_bytes(day.solution.read_bytes())
            for number in range(options.rounds):
                for way in WAYS[number % 3 :] + WAYS[: number % 3]:
                    took[way].append(timed(way, day, folder, sandbox, number))
        plain, inside, twice = (statistics.median(took[way]) for way in WAYS)
        ratios.append(inside / plain)
        lines.append(
            f"{day.key:<12} {plain:5.2f} s, in the sandbox {inside:5.2f} s ({inside / plain:.2f} "
            f"times), twice {twice:5.2f} s ({twice / plain:.2f} times); its room {made:.2f} s"
        )
        print(lines[-1], flush=True)
    lines.append(f"the sandbox costs {statistics.median(ratios):.2f} times the time of a run")
    print(lines[-1])
    sandbox.close()
    if options.write:
        record(THREATS, "sandbox", lines)
    return 0


if __name__ == "__main__":
    sys.exit(main())
