"""Time to feedback: the harness against plain pytest on the same day.

    python benchmarks/feedback.py [--track triton] [--day 1] [--rounds 10]

Both commands run whole, from start to exit, in turns and in an order drawn anew each round, so that
a busy machine slows both alike. Printed: the medians and the ratio of the two, round by round, with
the bound that encloses its median with 95 %. The reference is graded (``IMPL=solution``), so both
have the same tests to pass.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from harness.bench.quantiles import quantiles  # noqa: E402  (the path comes first)


def commands(track: str, day: int) -> dict[str, list[str]]:
    test = f"tracks/{track}/tests/test_day{day:02d}.py"
    return {
        "harness": [sys.executable, "-m", "harness", track, str(day)],
        "pytest": [sys.executable, "-m", "pytest", "-q", test],
    }


def seconds(command: list[str]) -> float:
    """Wall time of one run; a command that does not pass measures something else."""
    environment = {**os.environ, "IMPL": "solution"}
    start = time.perf_counter()
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    used = time.perf_counter() - start
    if done.returncode != 0:
        raise SystemExit(
            f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout[-2000:]}"
            f"{done.stderr[-2000:]}"
        )
    return used


def measure(chosen: dict[str, list[str]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each command in each round, after one round that fills the disk cache."""
    found: dict[str, list[float]] = {name: [] for name in chosen}
    for number in range(rounds + 1):
        for name in random.sample(list(chosen), len(chosen)):
            used = seconds(chosen[name])
            if number:
                found[name].append(used)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--track", default="triton")
    parser.add_argument("--day", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=10)
    options = parser.parse_args()
    if options.rounds < 1:
        parser.error("--rounds must be at least 1")
    found = measure(commands(options.track, options.day), options.rounds)
    for name, times in found.items():
        q = quantiles(times)
        print(f"{name:8} {q.median:6.2f} s  ({q.p20:.2f} to {q.p80:.2f}, {q.count} runs)")
    ratio = quantiles([a / b for a, b in zip(found["harness"], found["pytest"], strict=True)])
    print(f"harness / pytest: {ratio.median:.2f}  ({ratio.low:.2f} to {ratio.high:.2f})")


if __name__ == "__main__":
    main()
