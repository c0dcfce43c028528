"""Run by `verify` in a grading process, in place of a day's tests: lesson, examples, bench."""

from __future__ import annotations

import importlib
from typing import Any

from harness.testing import exercise
from harness.verify.lesson import run_lesson


@exercise("lesson", seconds=60)
def test_lesson(graded_day: Any) -> None:
    if graded_day.lesson.exists():
        run_lesson(graded_day.lesson)


@exercise("examples", seconds=60)
def test_examples(graded_day: Any) -> None:
    module = importlib.import_module(f"tracks.{graded_day.track}.{graded_day.name}")
    examples = {name: f for name, f in vars(module).items() if name.startswith("test_")}
    assert examples, f"{graded_day.solution.name} has no example: add a test_… function"
    for name, example in examples.items():
        try:
            example()
        except Exception as error:
            raise AssertionError(f"{name} fails: {type(error).__name__}: {error}") from error


@exercise("bench", seconds=60)
def test_bench(graded_day: Any, device: Any) -> None:
    if graded_day.bench.exists():
        from harness.verify.bench import check_benches  # not every day needs the timers

        module = importlib.import_module(f"tracks.{graded_day.track}.{graded_day.name}")
        check_benches(graded_day, module, device)
