"""``refused`` accepts any words of a ValueError that name what is due, and nothing else."""

from __future__ import annotations

import pytest

from harness.testing import refused


def halve(n: int, *, even: bool = True) -> int:
    if even and n % 2:
        raise ValueError(f"{n} is odd")
    if n < 0:
        raise TypeError("negative")
    return n // 2


def test_a_value_error_of_any_words_is_right() -> None:
    refused(halve, 3, what="an odd number")
    refused(halve, 3, what="an odd number", names=[3, "odd"])


def test_what_is_accepted_is_named() -> None:
    with pytest.raises(pytest.fail.Exception) as failure:
        refused(halve, 3, what="an odd number", even=False)
    assert str(failure.value) == "an odd number was accepted: a ValueError was due"


def test_what_the_error_does_not_name_is_said() -> None:
    with pytest.raises(pytest.fail.Exception) as failure:
        refused(halve, 3, what="an odd number", names=["even", 3, "half"])
    said = "an odd number: the error does not name even, half: '3 is odd'"
    assert str(failure.value) == said


def test_another_error_is_passed_on() -> None:
    with pytest.raises(TypeError, match="negative"):
        refused(halve, -2, what="a negative number")
