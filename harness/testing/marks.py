"""Ties tests to exercises and to sizes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pytest


def exercise(
    name: str,
    *,
    ban: Iterable[str] = (),
    allow: Iterable[str] = (),
    gpu: bool | str | None = None,
    seconds: float = 20.0,
    inplace: bool = False,
) -> pytest.MarkDecorator:
    """This test grades the exercise ``name``.

    Args:
        ban: torch functions that graded code may not call in this test, by name wherever they live
            ("softmax" is torch.softmax, F.softmax, Tensor.softmax and aten's).
        allow: operators that the Triton track's rule would refuse, and this test lets through.
        gpu: True, or a compute capability such as "sm_90": skipped elsewhere, with the reason.
        seconds: the test is ended after this long.
        inplace: the exercise may change its inputs.
    """
    if isinstance(ban, str) or isinstance(allow, str):
        raise TypeError("ban and allow take lists of names, not one string")
    return pytest.mark.exercise(
        name, ban=tuple(ban), allow=tuple(allow), gpu=gpu, seconds=seconds, inplace=inplace
    )


def shapes(
    names: str, *sizes: Any, gpu: Sequence[Any] = ()
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Run the test at each of ``sizes``, and on a CUDA device at each of ``gpu`` as well.

    ``names`` are argument names, "rows, columns"; a size is a number or a tuple of as many numbers.
    """
    parameters = [*sizes, *(pytest.param(*_as_tuple(s), marks=pytest.mark.large) for s in gpu)]
    return pytest.mark.parametrize(names, parameters)


def _as_tuple(size: Any) -> tuple[Any, ...]:
    return size if isinstance(size, tuple) else (size,)
