"""``refused`` accepts any words of a ValueError, and nothing else."""

from __future__ import annotations

import pytest

from harness.testing import refused


def halve(n: int, *, even: bool = True) -> int:
    if even and n % 2:
        raise ValueError
    if n < 0:
        raise TypeError("negative")
    return n // 2


def test_a_value_error_of_any_words_is_right() -> None:
    refused(halve, 3, what="an odd number")


def test_what_is_accepted_is_named() -> None:
    with pytest.raises(pytest.fail.Exception) as failure:
        refused(halve, 3, what="an odd number", even=False)
    assert str(failure.value) == "halve accepted an odd number without raising a ValueError"


def test_another_error_is_passed_on() -> None:
    with pytest.raises(TypeError, match="negative"):
        refused(halve, -2, what="a negative number")
