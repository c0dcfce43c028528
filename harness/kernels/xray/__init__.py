"""The compile report: what a GPU's compiler makes of each kernel, without a GPU."""

from __future__ import annotations

from harness.kernels.refusals import Refusal
from harness.kernels.xray.launches import RecordedLaunch, load, save
from harness.kernels.xray.record import recording
from harness.kernels.xray.report import KernelReport
from harness.kernels.xray.run import as_json, as_text, report_launches, xray
from harness.kernels.xray.testing import compiled

__all__ = [
    "KernelReport",
    "RecordedLaunch",
    "Refusal",
    "as_json",
    "as_text",
    "compiled",
    "load",
    "recording",
    "report_launches",
    "save",
    "xray",
]
