"""``why_narrow`` names a cause only where the compile report shows it."""

from __future__ import annotations

from typing import Any

from harness.kernels.xray.coalescing import Access
from harness.kernels.xray.report import KernelReport
from harness.testing import why_narrow


def report(*accesses: Access, warps: int = 8) -> KernelReport:
    return KernelReport(
        "kernel", "day.py", 1, "sm_90", "", warps=warps, accesses=[a.to_json() for a in accesses]
    )


def access(shape: tuple[int, ...], **changes: Any) -> Access:
    values: dict[str, Any] = {"kind": "load", "line": 7, "element_bits": 32, "axis": 0}
    return Access(shape=shape, **{**values, "per_thread": 1, "step": 1, **changes})


def test_a_block_too_small_for_its_threads() -> None:
    text = why_narrow(report(access((64,)), access((64,), kind="store")))
    assert text == (
        "64 numbers of 32 bits are shared by 256 threads, which is less than 128 bits a thread"
    )
    assert "less than" not in why_narrow(report(access((1024,)), access((64,))))
    assert "less than" in why_narrow(report(access((8, 128), element_bits=16)))
    assert "less than" not in why_narrow(report(access((8, 128), element_bits=16), warps=4))


def test_neighbours_that_lie_apart() -> None:
    text = why_narrow(report(access((1024,)), access((1024,), step="stride", line=9)))
    assert text == "in line 9 neighbouring threads load what lies stride elements apart"


def test_what_the_report_cannot_tell_is_not_told() -> None:
    for step in (1, "?"):
        text = why_narrow(report(access((1024,), step=step)))
        assert text.startswith("the compiler cannot see that neighbouring lanes")


def test_single_numbers() -> None:
    assert why_narrow(report(access((1,)))) == "the kernel loads and stores single numbers only"
    assert why_narrow(report(access((1024,), kind="atomic"))) == (
        "the kernel loads and stores single numbers only"
    )
