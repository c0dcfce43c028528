"""``compiled``: lets a day's test assert on the machine code of the kernels a function launches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from harness.kernels.xray.record import recording
from harness.kernels.xray.report import KernelReport
from harness.kernels.xray.run import xray


def compiled(
    function: Callable[..., Any], *args: Any, chip: str = "sm_90", **kwargs: Any
) -> list[KernelReport]:
    """Runs ``function(*args, **kwargs)`` and reports on each distinct kernel it launched.

    On a GPU of that very chip the figures are those of the kernel that ran; everywhere else the
    kernel is compiled for the chip in another process, and kept for the next time.
    """
    with recording() as launches:
        function(*args, **kwargs)
    if not launches:
        name = getattr(function, "__name__", str(function))
        raise AssertionError(f"{name} launched no kernel, so there is no compiled code to look at")
    return xray(launches, (chip,))
