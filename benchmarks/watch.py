"""From save to verdict: watch mode beside plain pytest on the same day, in one run.

    python benchmarks/watch.py [--rounds 10]

A copy of the project is watched in a real terminal; each round saves the day's file and waits for
the verdict on the screen, then runs plain pytest on the same file. Printed: the medians, their
ratio, and what watch adds beyond the tests' own time (as a plain run of the tests measures it).
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.support.terminal import Terminal  # noqa: E402  (the path comes first)
from tests.support.toy import Toy  # noqa: E402

STUB = 'raise NotImplementedError("double")'


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=10)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory(prefix="watch-") as folder:
        toy = Toy(Path(folder) / "project")
        toy.add_day(1)
        toy.run("-m", "harness", "stubs")
        file = toy.track / "day01.py"
        stub = file.read_text(encoding="utf-8")
        environment = {**os.environ, "PYTHONPATH": str(toy.folder)}
        command = [sys.executable, "-m", "harness", "watch", "autodiff", "1"]
        terminal = Terminal(command, toy.folder, environment)
        terminal.wait_for("not started")
        terminal.wait_for("quit")
        watch, pytest = [], []
        for number in range(rounds):
            # another constant each time, so that the verdict on the screen is this save's
            answer = f"return x + x + {number + 1}.0 * 0.0"
            started = time.perf_counter()
            file.write_text(stub.replace(STUB, answer), encoding="utf-8")
            terminal.wait_for("after the save")
            watch.append(time.perf_counter() - started)
            terminal.wait_for("quit")
            started = time.perf_counter()
            test = "tracks/autodiff/tests/test_day01.py"
            done = toy.run("-m", "pytest", "-q", test)
            pytest.append(time.perf_counter() - started)
            assert done.returncode == 0, done.stdout
        terminal.press("q")
        terminal.close()
    shown, plain = statistics.median(watch), statistics.median(pytest)
    print(f"save to verdict  median {shown:.2f} s  (from {min(watch):.2f} to {max(watch):.2f})")
    print(f"plain pytest     median {plain:.2f} s  (from {min(pytest):.2f} to {max(pytest):.2f})")
    print(
        f"ratio {shown / plain:.2f} over {rounds} rounds on {os.cpu_count()} cores; load "
        f"{os.getloadavg()[0]:.1f}; {subprocess.check_output(['uname', '-m'], text=True).strip()}"
    )


if __name__ == "__main__":
    main()
