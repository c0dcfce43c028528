"""Run by `verify` in a grading process, in place of a day's tests: lesson, examples, bench."""

from __future__ import annotations

import importlib
import importlib.util
import unittest
from typing import Any

from harness.curriculum import ELECTIVES
from harness.testing import exercise
from harness.verify.lesson import run_lesson


@exercise("lesson", seconds=60)
def test_lesson(graded_day: Any) -> None:
    if graded_day.lesson.exists():
        run_lesson(graded_day.lesson)


@exercise("examples", seconds=60)
def test_examples(graded_day: Any) -> None:
    module = importlib.import_module(graded_day.module)
    examples = {name: f for name, f in vars(module).items() if name.startswith("test_")}
    assert examples, f"{graded_day.solution.name} has no example: add a test_… function"
    for name, example in examples.items():
        try:
            example()
        except unittest.SkipTest:  # it says what it needs and this machine lacks
            continue
        except Exception as error:
            raise AssertionError(f"{name} fails: {type(error).__name__}: {error}") from error


@exercise("compiled", seconds=600)
def test_compiled(graded_day: Any) -> None:
    """Electives may be for a chip that is not here. Their test files say in ``LAUNCHES`` how each
    exercise launches its kernels, and in ``check_report`` what the compiler must make of them."""
    if graded_day.track != ELECTIVES:
        return
    from harness.kernels.xray import compiled

    spec = importlib.util.spec_from_file_location("launches", graded_day.tests)
    assert spec is not None and spec.loader is not None
    tests: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tests)
    names = {exercise.name for exercise in graded_day.exercises}
    assert set(tests.LAUNCHES) == names, f"LAUNCHES has {set(tests.LAUNCHES)}, not {names}"
    for name, launch in tests.LAUNCHES.items():
        try:
            reports = compiled(launch)
        except NotImplementedError:  # make xray of a day that is not finished
            continue
        for report in reports:
            tests.check_report(name, report)


@exercise("bench", seconds=60)
def test_bench(graded_day: Any, device: Any) -> None:
    if graded_day.bench.exists():
        from harness.verify.bench import check_benches  # not every day needs the timers

        module = importlib.import_module(graded_day.module)
        check_benches(graded_day, module, device)
