"""A known bug that only drawn inputs find is no rejected bug: some seed lets it pass."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.toy import TESTS, Toy

DRAWN = """
from hypothesis import given, strategies as st
import numpy as np
from harness.testing import close, exercise
from tracks.autodiff import day{number:02d} as day


@exercise("double")
@given(st.integers(0, 3))
def test_any_number(n):
    close(day.double(np.full(2, float(n))), np.full(2, 2.0 * n))
"""
PLAIN = TESTS.split("\n\n\n", 1)[1].split("\n\n\n")[0]


@pytest.mark.parametrize("named", [False, True])
def test_a_bug_has_to_be_rejected_by_a_case_that_is_named(tmp_path: Path, named: bool) -> None:
    toy = Toy(tmp_path)
    values = PLAIN.replace("day{number:02d}", "day")
    toy.add_day(1, tests=DRAWN + (f"\n\n{values}\n" if named else ""))
    done = toy.run("-m", "harness", "verify", "autodiff", "1")
    found = [line.strip() for line in done.stdout.splitlines() if "rejected by no test" in line]
    if named:
        assert not found, done.stdout
    else:
        assert [line[:12] for line in found] == ["bugs: bug 1 ", "bugs: bug 2 "]
        assert all("those whose inputs are drawn left out" in line for line in found)
