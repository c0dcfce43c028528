"""The electives are proved as the days are: where their chip is not, compiled instead of run."""

from __future__ import annotations

import os

import pytest

from harness.curriculum import Day, find_electives
from harness.run.warm import Warm
from harness.verify import checks
from harness.verify.form import check_form

DAYS = [day for track in find_electives() for day in track.days]
SEED = int(os.environ.get("SEED") or 0)
DEVICE = os.environ.get("DEVICE") or "auto"


@pytest.mark.parametrize("check", checks.CHECKS)
@pytest.mark.parametrize("day", DAYS, ids=lambda day: day.key)
def test_day(day: Day, check: str) -> None:
    launcher = Warm(day.track, DEVICE)
    try:
        found = checks.CHECKS[check](day, launcher, SEED, DEVICE)
    finally:
        launcher.close()
    assert not found, "\n".join(found)


@pytest.mark.parametrize("day", DAYS, ids=lambda day: day.key)
def test_form(day: Day) -> None:
    found = check_form(day)
    assert not found, "\n".join(found)
