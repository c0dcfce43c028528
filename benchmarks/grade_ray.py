"""What scheduling on Ray costs: tasks that only wait as long as gradings took, on more workers.

    python benchmarks/grade_ray.py [N] [--records GRADES/records] [--workers 1,2,4,8] [--faster 100]
                                       [--write]

N tasks go through the loop that ENGINE=ray uses. Each waits as long as a grading of the gradebook
whose records are given (without one: 3 s), divided by --faster, so that this machine's cores do not
count. Printed by number of workers: the time, the overhead a task (what was not waited, times the
workers, by tasks), and the speed against the first.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from harness.grade.cluster import LEFT_OUT, schedule  # noqa: E402
from harness.grade.task import Record, Task  # noqa: E402
from harness.protocol import DayResult  # noqa: E402
from tests.support.record import TEACHING, record  # noqa: E402


def wait(task: Task) -> str:
    """The task's day holds its duration in microseconds."""
    time.sleep(task.day / 1e6)
    result = DayResult(task.track, 1, "", "", 0)
    return Record("", task.student, task.track, 1, "", result).to_json()


def main() -> int:
    import ray

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("n", nargs="?", type=int, default=10_000)
    parser.add_argument("--records", default="")
    parser.add_argument("--workers", default="1,2,4,8")
    parser.add_argument("--faster", type=float, default=100.0)
    parser.add_argument("--write", action="store_true", help="into docs/teaching.md")
    options = parser.parse_args()
    known = [json.loads(path.read_text(encoding="utf-8"))["seconds"]
             for path in Path(options.records or "/nowhere").glob("*.json")] or [3.0]  # fmt: skip
    pick = random.Random(7)
    seconds = [pick.choice(known) / options.faster for _ in range(options.n)]
    tasks = [
        Task(f"s{n}", "autodiff", int(1e6 * s), {1: b"x" * 8000}, (1, 2))
        for n, s in enumerate(seconds)
    ]
    lines = [f"{options.n} tasks of {1e3 * sum(seconds) / options.n:.0f} ms on average"]
    print(lines[0], flush=True)
    first = 0.0
    for workers in map(int, options.workers.split(",")):
        environment = {"working_dir": str(ROOT), "excludes": LEFT_OUT}
        ray.init(num_cpus=workers, runtime_env=environment, include_dashboard=False,
                 log_to_driver=False)  # fmt: skip
        warm = [Task("", "autodiff", 0, {}, (1, 2))] * 2 * workers
        schedule(ray, warm, lambda task, record, problem: None, 0, wait)
        problems: list[str] = []

        def done(task: Task, record: Record | None, problem: str, to: list[str] = problems) -> None:
            to.append(problem)

        began = time.monotonic()
        schedule(ray, tasks, done, 0, wait)
        took = time.monotonic() - began
        ray.shutdown()
        lost = options.n - problems.count("")
        first = first or took
        lines.append(
            f"{workers:>3} workers: {took:6.1f} s, overhead "
            f"{1e3 * (took * workers - sum(seconds)) / options.n:.1f} ms a task, "
            f"{first / took:.1f} times as fast as the first, lost {lost}"
        )
        print(lines[-1], flush=True)
    if options.write:
        record(TEACHING, "ray", lines)
    return 0


if __name__ == "__main__":
    sys.exit(main())
