"""``refused``: an input that the exercise promises to refuse is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest


def refused(
    f: Callable[..., Any], *args: Any, what: str, names: Iterable[Any] = (), **kwargs: Any
) -> None:
    """Fail unless ``f(*args, **kwargs)`` raises a ValueError.

    ``what`` says which input it is: "a row of 1025 columns". Its message may be in any words, but
    holds each of ``names``: what the docstring promises to name. An error of another kind is passed
    on as it is.
    """
    __tracebackhide__ = True
    try:
        f(*args, **kwargs)
    except ValueError as refusal:
        missing = [str(name) for name in names if str(name) not in str(refusal)]
        if missing:
            pytest.fail(f"{what}: the error does not name {', '.join(missing)}: {str(refusal)!r}")
        return
    pytest.fail(f"{what} was accepted: a ValueError was due")
