"""What the checked interpreter costs beside triton's own, on reference kernels.

    python benchmarks/interpreter_checks.py

Two processes, one with the checks and one without, time the same launches in turns; the figure is
the ratio of their best CPU times, machine load left out. The first launch of each kernel (the
compiler's front end reads it then) is shown by itself.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
ROUNDS = 5
GOAL = 1.5


def launches() -> dict[str, Callable[[], Any]]:
    """Reference functions of finished days, and kinds of kernels they do not have yet."""
    import torch

    from tests.kernels.gallery import right_kernels as gallery

    def reference(day: int, name: str, *shape: int, inputs: int = 1) -> Callable[[], Any]:
        module = importlib.import_module(f"tracks.triton.solutions.day{day:02d}")
        tensors = [torch.randn(*shape) for _ in range(inputs)]
        return lambda: getattr(module, name)(*tensors)

    def matmul() -> None:
        a, b, c = torch.randn(96, 128).half(), torch.randn(128, 96).half(), torch.empty(96, 96)
        gallery.matmul_kernel[(3, 3)](
            a, b, c, 96, 96, 128, 128, 1, 96, 1, 96, 1, BM=32, BN=32, BK=32
        )

    def histogram() -> None:
        x, counts = torch.randint(0, 50, (20_000,)), torch.zeros(50, dtype=torch.int32)
        gallery.histogram_kernel[(20,)](x, counts, 20_000, 50, B=1024)

    def in_place() -> None:
        gallery.relu_kernel[(20,)](torch.randn(20_000), 20_000, B=1024)

    return {
        "day 1: vector_add, 20,000": reference(1, "vector_add", 20_000, inputs=2),
        "day 7: transpose, 200 × 300": reference(7, "transpose", 200, 300),
        "day 13: softmax, 20 × 1,000": reference(13, "softmax", 20, 1000),
        "matmul, 96 × 96 × 128, fp16": matmul,
        "online softmax, 10 × 2,000": lambda: gallery.online_softmax_kernel[(10,)](
            *[torch.zeros(10, 2000) for _ in range(2)], 2000, B=512
        ),
        "histogram of atomics, 20,000": histogram,
        "relu in place, 20,000": in_place,
    }


def serve(checked: bool) -> None:
    """The timed process: a line in, a round of times out."""
    if checked:
        from harness.kernels import interpreter

        interpreter.install()
    functions = launches()
    first = {}
    for name, function in functions.items():
        start = time.process_time()
        function()
        first[name] = time.process_time() - start
    print(json.dumps(first), flush=True)
    for _ in sys.stdin:
        times = {}
        for name, function in functions.items():
            start = time.process_time()
            function()
            times[name] = time.process_time() - start
        print(json.dumps(times), flush=True)


def main() -> int:
    processes = [
        subprocess.Popen(
            [sys.executable, __file__, mode],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={
                **os.environ,
                "TRITON_INTERPRET": "1",
                "OMP_NUM_THREADS": "1",
                "PYTHONPATH": str(ROOT),
            },
        )
        for mode in ("plain", "checked")
    ]
    rounds: list[list[dict[str, float]]] = []
    for number in range(ROUNDS + 1):
        answers = []
        for process in processes:
            assert process.stdin is not None and process.stdout is not None
            if number:
                process.stdin.write("go\n")
                process.stdin.flush()
            answers.append(json.loads(process.stdout.readline()))
        rounds.append(answers)
    for process in processes:
        process.communicate()
    print(f"{'':34}{'plain ms':>10}{'checked ms':>12}{'ratio':>8}{'first ms':>10}")
    worst = 0.0
    for name in rounds[0][0]:
        plain, checked = (min(r[i][name] for r in rounds[1:]) * 1e3 for i in (0, 1))
        worst = max(worst, checked / plain)
        first = rounds[0][1][name] * 1e3
        print(f"{name:34}{plain:10.1f}{checked:12.1f}{checked / plain:8.2f}{first:10.1f}")
    print(f"worst ratio {worst:.2f}, goal at most {GOAL}")
    return 0 if worst <= GOAL else 1


if __name__ == "__main__":
    if len(sys.argv) > 1:
        serve(sys.argv[1] == "checked")
    else:
        raise SystemExit(main())
