"""From save to verdict in watch mode, and where the time goes.

    python benchmarks/watch.py [--day autodiff/1] [--rounds 10]

A copy of the project, with the day's reference as the learner's file, is watched in a real
terminal; each round saves the file and reads from the screen how long the verdict took, then runs
plain pytest on the same file. Below that, the parts of a warm run without the terminal: until the
first test begins, the tests' own time (their calls, as pytest measures them), what lies between the
calls, and the end. What watch adds beyond the tests' own time should be at most 0.3 s.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from harness.cli.learn import answers_alone  # noqa: E402  (the path comes first)
from harness.protocol import Event, Request  # noqa: E402
from harness.run import run  # noqa: E402
from harness.run.warm import Warm  # noqa: E402
from tests.support.terminal import Terminal  # noqa: E402

ALLOWED = 0.3
PARTS = ("until the first test", "the tests' own", "between the tests", "the end")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--day", default="autodiff/1")
    parser.add_argument("--rounds", type=int, default=10)
    options = parser.parse_args()
    track, number = options.day.split("/")
    watch, pytest = watched(track, int(number), options.rounds)
    parts = [
        statistics.median(column)
        for column in zip(*warm(track, int(number), options.rounds), strict=True)
    ]
    shown, plain = statistics.median(watch), statistics.median(pytest)
    added = shown - parts[1]
    print(f"save to verdict  median {shown:.2f} s  (from {min(watch):.2f} to {max(watch):.2f})")
    print(f"plain pytest     median {plain:.2f} s  (from {min(pytest):.2f} to {max(pytest):.2f})")
    print(f"beyond the tests' own time  {added:.2f} s of {ALLOWED} s that it may be")
    for name, seconds in zip(PARTS, parts, strict=False):
        print(f"  {name:<22} {1000 * seconds:6.0f} ms")
    rest = max(shown - sum(parts[: len(PARTS)]), 0.0)
    print(f"  {'file events, drawing':<22} {1000 * rest:6.0f} ms")
    run_cpu, own_cpu = parts[len(PARTS) :]
    print(
        f"CPU time  {1000 * run_cpu:.0f} ms in the process that grades, the tests' own "
        f"among them; {1000 * own_cpu:.0f} ms in the one that waits for it"
    )
    print(
        f"{options.rounds} rounds on {os.cpu_count()} cores; load {os.getloadavg()[0]:.1f}; "
        f"{subprocess.check_output(['uname', '-m'], text=True).strip()}"
    )


def watched(track: str, number: int, rounds: int) -> tuple[list[float], list[float]]:
    """Seconds from each save to its verdict, and of plain pytest, in turns."""
    watch, pytest = [], []
    with tempfile.TemporaryDirectory(prefix="watch-") as folder:
        copy = Path(folder) / "project"
        skip = shutil.ignore_patterns(".git", ".venv", ".harness", "__pycache__", ".*cache")
        shutil.copytree(ROOT, copy, ignore=skip)
        day = copy / "tracks" / track / f"day{number:02d}.py"
        solution = day.parent / "solutions" / day.name
        text = "\n".join(answers_alone(solution.read_text(encoding="utf-8").splitlines())) + "\n"
        day.write_text(text, encoding="utf-8")
        environment = {**os.environ, "PYTHONPATH": str(copy)}
        command = [sys.executable, "-m", "harness", "watch", track, str(number)]
        terminal = Terminal(command, copy, environment)
        terminal.wait_for("pass · watching")
        for at in range(rounds):
            terminal.wait_for("q quit")
            # saved with another comment each time, so that the verdict on the screen is this save's
            day.write_text(f"{text}# {at}\n", encoding="utf-8")
            said = terminal.wait_for("s after the save")
            watch.append(float(re.findall(r"([\d.]+) s after the save", said)[-1]))
            started = time.perf_counter()
            test = f"tracks/{track}/tests/test_day{number:02d}.py"
            done = subprocess.run(
                [sys.executable, "-m", "pytest", "-q", test], cwd=copy, env=environment,
                capture_output=True, text=True,
            )  # fmt: skip
            pytest.append(time.perf_counter() - started)
            assert done.returncode == 0, done.stdout
        terminal.press("q")
        terminal.close()
    return watch, pytest


def warm(track: str, number: int, rounds: int) -> list[tuple[float, ...]]:
    """Seconds of each part of a run from a warm process, ``rounds`` times; then the processor's
    time of the run, and of this process meanwhile."""
    found: list[tuple[float, ...]] = []
    request = Request(track, number, impl="solution", seed=1)
    with Warm(track) as launcher:
        for at in range(rounds + 1):
            marks: dict[str, float] = {}
            began, cpu, child_cpu = time.perf_counter(), time.process_time(), launcher.cpu_seconds()

            def note(event: Event, marks: dict[str, float] = marks) -> None:
                if event.kind == "started":
                    marks.setdefault("first", time.perf_counter())
                elif event.kind in ("passed", "failed", "skipped"):
                    marks["last"] = time.perf_counter()

            result = run(request, launcher, note)
            ended = time.perf_counter()
            assert result.passed, result.problems
            own = sum(test.seconds for test in result.tests)
            if at:  # the first one imports what the others find imported
                between = marks["last"] - marks["first"] - own
                parts = (marks["first"] - began, own, between, ended - marks["last"])
                used = (launcher.cpu_seconds() - child_cpu, time.process_time() - cpu)
                found.append((*parts, *used))
    return found


if __name__ == "__main__":
    main()
