"""A property test of a day that is not written yet ends after its first failure."""

from __future__ import annotations

from pathlib import Path

from tests.support.toy import Toy

PROPERTY = """

from hypothesis import given, strategies as st

@exercise('double')
@given(left=st.booleans(), numbers=st.lists(st.integers(0, 2**32), min_size=3))
def test_property(left, numbers):
    with open({calls!r}, "a") as calls:
        calls.write("x")
    if left:
        raise NotImplementedError("left")
    raise NotImplementedError("right")
"""


def test_it_does_not_look_for_a_second_failure(tmp_path: Path) -> None:
    toy, calls = Toy(tmp_path / "project"), tmp_path / "calls"
    toy.add_day(1)
    tests = toy.track / "tests" / "test_day01.py"
    tests.write_text(tests.read_text() + PROPERTY.format(calls=str(calls)))
    toy.run("-m", "harness", "autodiff", "1", "--impl", "solution")
    # Both failures made small, and each explained, take hundreds of calls.
    assert 1 <= len(calls.read_text()) <= 60
