"""Wrong kernels are reported with the sentence and the line a learner needs; right ones are not."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import pytest

from harness.kernels import interpreter

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
if INTERPRETED:
    interpreter.install()

from tests.kernels.gallery import (  # noqa: E402  kernels are defined once the interpreter is ready
    between_programs,
    language,
    launches,
    matrices,
    out_of_bounds,
    refused,
    right_kernels,
    threads,
    waiting,
)
from tests.kernels.gallery.cases import RIGHT, WRONG, Wrong  # noqa: E402

MODULES = (
    between_programs,
    language,
    launches,
    matrices,
    out_of_bounds,
    refused,
    right_kernels,
    threads,
    waiting,
)


@pytest.mark.skipif(not INTERPRETED, reason="a GPU reports nothing: it computes garbage")
@pytest.mark.parametrize("case", WRONG, ids=lambda case: case.run.__name__)
def test_wrong_kernel_is_reported(case: Wrong) -> None:
    with pytest.raises(interpreter.KernelError) as caught:
        case.run()
    error = caught.value
    text = str(error)
    assert error.kind == case.kind, text
    for words in case.words:
        assert words in text, f"{words!r} is missing in: {text}"
    if case.at:
        line = Path(error.file).read_text(encoding="utf-8").splitlines()[error.line - 1]
        assert case.at in line, f"points to line {error.line}: {line.strip()}\n{text}"
        assert f"line {error.line}" in text


@pytest.mark.parametrize("run", RIGHT, ids=lambda run: run.__name__)
def test_right_kernel_is_not_reported(run) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)  # numpy's remarks are not for learners
        run()


def test_gallery_is_complete() -> None:
    assert len(WRONG) >= 40
    names = [case.run.__name__ for case in WRONG] + [run.__name__ for run in RIGHT]
    assert len(names) == len(set(names))
