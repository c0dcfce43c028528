"""Days for a chip that is not here: compiled, not run, and never said to be passed."""

from __future__ import annotations

from typing import Any

import pytest

from harness.curriculum import ELECTIVES, Day
from harness.protocol import DayResult, ExerciseResult, TestResult
from harness.screen.day import device_line
from harness.verify.checks import needs_another_chip, reference_findings

GLUON = """
from triton.experimental import gluon
from triton.experimental.gluon import language as gl


@gluon.jit
def double_kernel(x_ptr, n, SIZE: gl.constexpr):
    LAYOUT: gl.constexpr = gl.BlockedLayout([1], [32], [4], [0])
    place = gl.arange(0, SIZE, layout=LAYOUT)
    x = gl.load(x_ptr + place, mask=place < n)
    gl.store(x_ptr + place, x + x, mask=place < n)
"""


def skipped(reason: str) -> TestResult:
    return TestResult("test_it", "it", "skipped", skipped=reason)


@pytest.mark.parametrize(
    ("reasons", "expected"),
    [
        (["needs a CUDA GPU with sm_90a"], True),
        (["needs sm_90a; this GPU is sm_80"], True),
        (["needs a CUDA GPU with sm_90a", "needs a CUDA GPU"], False),
        (["needs a CUDA GPU with sm_90"], False),
        (["needs 2 GiB of memory; 1 GiB are free"], False),
        ([], False),
    ],
)
def test_what_a_skip_says(reasons: list[str], expected: bool) -> None:
    assert needs_another_chip(map(skipped, reasons)) is expected


def result_of(*tests: TestResult) -> DayResult:
    exercise = ExerciseResult("it", "skipped", list(tests))
    return DayResult(ELECTIVES, 1, "It", "solution", 0, [exercise], device={"kind": "cpu"})


def test_a_day_for_another_chip_is_no_finding_and_not_passed() -> None:
    result = result_of(skipped("needs a CUDA GPU with sm_90a"))
    assert reference_findings(Day(ELECTIVES, 1), result) == []
    assert not result.passed
    assert "nothing is proved" in device_line(result)


def test_any_other_skip_still_is_one() -> None:
    (found,) = reference_findings(Day(ELECTIVES, 1), result_of(skipped("not today")))
    assert "nothing proves it here" in found


def test_gluon_kernels_are_compiled_and_not_launched(tmp_path: Any) -> None:
    import importlib.util

    import torch

    from harness.testing import compiled

    if torch.cuda.is_available():
        pytest.skip("here the kernel would run")
    file = tmp_path / "gluon_kernels.py"
    file.write_text(GLUON)
    spec = importlib.util.spec_from_file_location("gluon_kernels", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    x = torch.ones(100)
    (report,) = compiled(lambda: module.double_kernel[(1,)](x, 100, SIZE=128))
    assert report.refused is None and report.spill_bytes == 0 and report.registers > 0
    assert x.eq(1).all(), "a kernel that cannot run here was run"
