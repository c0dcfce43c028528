"""Runs a command of the harness for the day of the open file, which may be its lesson or its tests.

    day.py COMMAND FILE [LINE] [options]

COMMAND is one of ``python -m harness``, ``grade``, or ``debug``, which runs the tests in this
process, for a debugger. With LINE, the command is for the exercise that this line is in.
"""

from __future__ import annotations

import ast
import os
import re
import runpy
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def day_of(file: str) -> tuple[str, int]:
    """Track and number of the day that a file of ``tracks`` belongs to."""
    path = Path(os.path.abspath(file))
    parts = path.relative_to(ROOT).parts if path.is_relative_to(ROOT) else ()
    number = re.search(r"day(\d+)(?=\D|$)", path.stem)
    if len(parts) < 3 or parts[0] != "tracks" or number is None:
        sys.exit(f"{short(file)} belongs to no day: open a dayNN.py, its lesson or its tests.")
    return parts[1], int(number[1])


def short(file: str) -> str:
    path = Path(os.path.abspath(file))
    return path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else file


def exercise_at(file: str, line: int) -> str:
    """The exercise that a line of a day's file, or of its tests, is about."""
    text = Path(file).read_text(encoding="utf-8", errors="replace")
    try:
        nodes = ast.parse(text).body
    except SyntaxError as error:
        sys.exit(f"{file}:{error.lineno}: {error.msg}")
    names = _exercises(file)
    for node in nodes:
        decorators = getattr(node, "decorator_list", [])
        first = min([node.lineno, *(d.lineno for d in decorators)])
        if first <= line <= (node.end_lineno or node.lineno):
            called = [
                d.args[0].value
                for d in decorators
                if isinstance(d, ast.Call) and d.args and isinstance(d.args[0], ast.Constant)
            ]
            stem = getattr(node, "name", "").removesuffix("_kernel")
            fitting = [n for n in names if n in called or stem == n or stem.startswith(f"{n}_")]
            if fitting:
                return max(fitting, key=len)
    sys.exit(f"{short(file)}:{line} is in no exercise: put the cursor into {', '.join(names)}.")


def _exercises(file: str) -> list[str]:
    from harness.curriculum import find_day

    track, number = day_of(file)
    return [exercise.name for exercise in find_day(track, number).exercises]


def debug(file: str, exercise: str, options: list[str]) -> int:
    """Grade in this process and without time limits, so that breakpoints are reached."""
    import pytest

    track, number = day_of(file)
    os.environ["EX"] = exercise
    tests = ROOT / "tracks" / track / "tests" / f"test_day{number:02d}.py"
    plain = "-x -s -q --tb=short --no-header -W ignore -p no:timeout -p no:cacheprovider".split()
    return int(pytest.main([str(tests), *plain, *options]))


def main(command: str, file: str, *rest: str) -> None:
    os.chdir(ROOT)
    sys.path[0] = str(ROOT)  # instead of this folder
    options = list(rest)
    exercise = exercise_at(file, int(options.pop(0))) if options and options[0].isdigit() else ""
    track, number = day_of(file)
    if command == "debug":
        sys.exit(debug(file, exercise, options))
    name = [track] if command == "grade" else [command, track]
    chosen = ["--ex", exercise] if exercise else []
    sys.argv = ["harness", *name, str(number), *chosen, *options]
    runpy.run_module("harness", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
