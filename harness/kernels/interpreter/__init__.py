"""Triton's interpreter, mended where it differs from a GPU, and checked at every access.

``install()`` once, after triton was imported with TRITON_INTERPRET=1. From then on a kernel that
touches what it must not raises :class:`KernelError`, whose text is for the learner.
"""

from __future__ import annotations

from harness.kernels.interpreter.errors import KernelError
from harness.kernels.interpreter.install import install
from harness.kernels.interpreter.report import (
    ArgumentReport,
    LaunchReport,
    NeverWritten,
    launch_report,
    never_written,
    reset,
)

__all__ = [
    "ArgumentReport",
    "KernelError",
    "LaunchReport",
    "NeverWritten",
    "install",
    "launch_report",
    "never_written",
    "reset",
]
