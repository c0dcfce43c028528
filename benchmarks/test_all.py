"""Wall time of the whole suite by number of workers.

    python benchmarks/test_all.py [--workers 1,2,4] [--rounds 1] [-- more pytest arguments]

Runs plain pytest over ``tests/`` with pytest-xdist's ``-n`` set to each number, in an order drawn
anew each round. Printed: the median wall time, the speed-up over the smallest number of workers,
and the share of that which more workers could have given.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parent.parent


def seconds(workers: int, extra: list[str]) -> float:
    """Wall time of one passing run."""
    command = [sys.executable, "-m", "pytest", "-q", "-n", str(workers), "tests", *extra]
    start = time.perf_counter()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    used = time.perf_counter() - start
    if done.returncode != 0:
        raise SystemExit(
            f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout[-2000:]}"
        )
    return used


def worker_counts(text: str) -> list[int]:
    counts = sorted({int(part) for part in text.split(",")})
    if counts[0] < 1:
        raise argparse.ArgumentTypeError("a run needs at least one worker")
    return counts


def table(times: dict[int, list[float]]) -> list[str]:
    """A line for each number of workers."""
    base = min(times)
    lines = ["workers     time  speed-up  of ideal"]
    for workers in sorted(times):
        used = median(times[workers])
        gain = median(times[base]) / used
        lines.append(f"{workers:7}  {used:6.1f}s  {gain:7.2f}x  {gain * base / workers:8.0%}")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    cores = os.cpu_count() or 1
    usual = ",".join(str(n) for n in sorted({1, max(1, cores // 2), cores}))
    parser.add_argument("--workers", type=worker_counts, default=worker_counts(usual))
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("extra", nargs="*", help="more arguments for pytest, after --")
    options = parser.parse_args()
    times: dict[int, list[float]] = {workers: [] for workers in options.workers}
    for _ in range(max(1, options.rounds)):
        for workers in random.sample(options.workers, len(options.workers)):
            times[workers].append(seconds(workers, options.extra))
    print("\n".join(table(times)))


if __name__ == "__main__":
    main()
