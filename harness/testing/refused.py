"""``refused``: an input that the exercise promises to refuse is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest


def refused(f: Callable[..., Any], *args: Any, what: str, **kwargs: Any) -> None:
    """Fail unless ``f(*args, **kwargs)`` raises a ValueError, whatever it says.

    ``what`` names the input in the message: "a row of 1025 columns". An error of another kind is
    passed on as it is.
    """
    __tracebackhide__ = True
    try:
        f(*args, **kwargs)
    except ValueError:
        return
    pytest.fail(f"{f.__name__} accepted {what} without raising a ValueError")
