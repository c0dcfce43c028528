"""How long a compile report takes: one kernel, one chip, cold (a process of its own) and cached.

    python benchmarks/xray.py [chip]

Cold is what a learner waits the first time: Python's start, triton's import, the compilation and
the disassembly. CPU seconds are the compiling process's own, so that other work on the machine
does not count.
"""

import os
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ["TRITON_INTERPRET"] = "1"  # no GPU is used, even where there is one

import torch

from harness.kernels.xray import RecordedLaunch, recording, xray
from tests.xray import gallery

REPEATS = 5
GOAL = 3.0


def launches() -> list[RecordedLaunch]:
    """A copy, and matrix products of a small and of a large tile: 8 warps, pipelined."""
    x = torch.ones(1 << 16)
    half = x.half()
    with recording() as found:
        gallery.copy_kernel[(1,)](x, x.clone(), 1024, 1024)
        gallery.product_kernel.fn[(1,)](half, half, half.clone(), 64, 64, BLOCK=64)
        gallery.product_kernel.fn[(1,)](half, half, half.clone(), 256, 256, BLOCK=256, num_warps=8)
    return found


def cpu_of_children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def measure(launch: RecordedLaunch, chip: str) -> tuple[list[float], list[float], list[float]]:
    """Wall and CPU seconds cold, wall seconds cached."""
    wall, cpu, cached = [], [], []
    for _ in range(REPEATS):
        with tempfile.TemporaryDirectory() as folder:
            before, started = cpu_of_children(), time.perf_counter()
            (report,) = xray([launch], (chip,), Path(folder))
            wall.append(time.perf_counter() - started)
            cpu.append(cpu_of_children() - before)
            assert report.refused is None, report.text()
            started = time.perf_counter()
            assert xray([launch], (chip,), Path(folder)) == [report]
            cached.append(time.perf_counter() - started)
    return wall, cpu, cached


def main() -> int:
    chip = sys.argv[1] if len(sys.argv) > 1 else "sm_90"
    slowest = 0.0
    print(f"compile report of one kernel for {chip}, median (and worst) of {REPEATS}")
    for launch in launches():
        wall, cpu, cached = measure(launch, chip)
        block = next(value for path, value in launch.constants if isinstance(value, int))
        print(
            f"  {launch.kernel:15} BLOCK={block:<5} cold {statistics.median(wall):5.2f} s "
            f"({max(wall):.2f}), CPU {statistics.median(cpu):5.2f} s ({max(cpu):.2f}), "
            f"cached {statistics.median(cached) * 1e3:5.1f} ms"
        )
        slowest = max(slowest, statistics.median(cpu))
    print(f"  goal: at most {GOAL} s on one core; slowest {slowest:.2f} s")
    return int(slowest > GOAL)


if __name__ == "__main__":
    sys.exit(main())
