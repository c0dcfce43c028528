"""Two failures are alike whoever ran the test: what pytest adds to a bare assertion is left out."""

from __future__ import annotations

import pytest

from harness.grading.evidence import alike, outcome_of
from harness.grading.explain import assertion_text


def test_what_pytest_adds_to_a_bare_assertion_does_not_count() -> None:
    mine = outcome_of(
        AssertionError("assert (1, 2) == (3, 4)\n  At index 0 diff: 1 != 3\n  Use -v")
    )
    same = outcome_of(AssertionError("assert (1, 2) == (3, 4)\n +  where (1, 2) = f(5)"))
    other = outcome_of(AssertionError("assert (1, 3) == (3, 4)\n  At index 0 diff: 1 != 3"))
    assert alike(same, mine)
    assert not alike(other, mine)


def test_every_line_of_a_sentence_counts() -> None:
    mine = outcome_of(AssertionError("result is wrong:\n  row 3"))
    assert not alike(outcome_of(AssertionError("result is wrong:\n  row 4")), mine)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("assert 1 == 2\n +  where 1 = <function size at 0x7f01>([3])", "where 1 = size([3])"),
        ("assert f4 == <class 'numpy.float16'>", "assert f4 == numpy.float16"),
        ("assert 3 == 4\n +  where 3 = <bound method T.numel of <T at 0x1>>()", "3 = T.numel()"),
    ],
)
def test_a_bare_assertion_is_told_without_addresses(text: str, told: str) -> None:
    shown = assertion_text(AssertionError(text))
    assert told in shown and "0x" not in shown and "<" not in shown


def test_the_sentence_of_an_assertion_is_all_that_is_told() -> None:
    error = AssertionError("x is <class 'int'>\nassert 1 == 2\n +  where 1 = <function f at 0x1>()")
    assert assertion_text(error) == "x is <class 'int'>"
