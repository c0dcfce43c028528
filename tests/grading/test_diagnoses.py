"""A diagnosis speaks only if it is true: the gallery of wrong answers, and the rules one by one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from harness.curriculum import load_bugs, read_source
from harness.protocol import SOLUTION, DayResult, Request
from harness.run import run
from harness.run.warm import Warm
from tests.grading.gallery import Wrong, autodiff, pytorch, triton

GALLERY = [*triton.WRONG, *pytorch.WRONG, *autodiff.WRONG]

RAW = re.compile(
    r"DID NOT RAISE|Regex pattern|Expected regex|\bat 0x|<class '|\[\w*[a-z]s?\d+\]|"
    "FloatingPointError"
)
"""What is for whoever wrote the test, and not for whoever reads the result."""


@pytest.fixture(scope="module")
def warm() -> Iterator[dict[str, Warm]]:
    with ExitStack() as stack:
        yield {
            track: stack.enter_context(Warm(track)) for track in ("triton", "pytorch", "autodiff")
        }


def graded(wrong: Wrong, folder: Path, warm: dict[str, Warm]) -> DayResult:
    (folder / wrong.day.file.name).write_text(wrong.source(), encoding="utf-8")
    request = Request(
        wrong.day.track, wrong.day.number, str(folder), SOLUTION,
        "" if wrong.whole else wrong.exercise, seed=1, device="cpu", known_bugs=True,
    )  # fmt: skip
    return run(request, warm[wrong.day.track])


@pytest.mark.parametrize("wrong", GALLERY, ids=lambda wrong: f"{wrong.day.key}: {wrong.name}")
def test_no_false_cause_is_named(wrong: Wrong, tmp_path: Path, warm: dict[str, Warm]) -> None:
    result = graded(wrong, tmp_path, warm)
    assert not result.problems, result.problems
    (exercise,) = [e for e in result.exercises if e.name == wrong.exercise]
    failures = [test.failure for test in exercise.tests if test.failure]
    assert failures, f"no test of {wrong.exercise} fails"
    told = " ".join(" ".join(f"{f.message} {f.says}".split()) for f in failures)
    assert wrong.cause in told, f"{wrong.cause!r} is not told:\n{told}"
    for words in wrong.never:
        assert words not in told, f"{words!r} is told:\n{told}"
    assert not RAW.search(told), f"{RAW.search(told)}:\n{told}"
    if wrong.line:
        lines = wrong.source().splitlines()
        assert {lines[f.line - 1].strip() for f in failures} == {wrong.line}
    if not (spoken := {f.says for f in failures if f.says}):
        return  # to read a day's bugs takes half a second
    bugs = {b.says for b in load_bugs(wrong.day.bugs, read_source(wrong.day.solution)).bugs}
    for says in spoken & bugs:
        assert wrong.cause and wrong.cause in says, f"a known bug speaks: {says}"


def test_the_gallery_is_large_enough() -> None:
    assert len(GALLERY) >= 40
    assert len({wrong.name for wrong in GALLERY}) == len(GALLERY)
