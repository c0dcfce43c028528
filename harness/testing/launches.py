"""``one_launch``: what a launcher promises that makes its result with a single kernel."""

from __future__ import annotations

import math
from typing import Any

from harness.testing.watching import Launch, Seen

SLACK = 1024
"""Bytes that an allocator rounds up to, beyond a result's size."""


def one_launch(seen: Seen, out: Any) -> Launch | None:
    """Assert a contiguous result, no memory but the result's, and one launch on one axis of a grid.

    → that launch; None where there was none, which is right for a result without elements.
    """
    __tracebackhide__ = True
    assert out.is_contiguous(), f"the result has the strides {out.stride()}: it is to be contiguous"
    size = out.numel() * out.element_size()
    assert seen.peak_bytes <= size + SLACK, (
        f"the result takes {size} bytes, but {seen.peak_bytes} were allocated: is an input "
        "copied, or an intermediate result stored?"
    )
    if not (out.numel() or seen.launches):
        return None
    assert len(seen.launches) == 1, f"expected 1 kernel launch, saw {len(seen.launches)}"
    (launch,) = seen.launches
    assert math.prod(launch.grid[1:]) == 1, f"the grid {launch.grid} has more than one axis"
    return launch
