"""Every day is proved: its reference, its stub, its known bugs, its lesson and its form."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from harness.curriculum import Day, find_tracks
from harness.run.warm import Warm
from harness.verify import checks
from harness.verify.form import check_form

# The last days take longest: begun first, none of them is what everybody waits for in the end.
DAYS = sorted(
    (day for track in find_tracks() for day in track.days), key=lambda day: day.number, reverse=True
)
SEED = int(os.environ.get("SEED") or 0)
DEVICE = os.environ.get("DEVICE") or "auto"
BUGS = os.environ.get("BUGS")
"""How many of each day's known bugs are tried: all, unless this says so."""
COMPILED = 15
"""From this day on a GPU's compiler takes a second or more for each of Triton's kernels, minutes
for a day: there each exercise is a proof of its own, and the longest do not end last."""


@pytest.fixture(scope="session")
def warm() -> Iterator[dict[str, Warm]]:
    """A warm process a track, made when the first day of the track comes to this worker."""
    made: dict[str, Warm] = {}
    yield made
    for launcher in made.values():
        launcher.close()


def launcher_for(day: Day, warm: dict[str, Warm]) -> Warm:
    if day.track not in warm:
        warm[day.track] = Warm(day.track, DEVICE)
    return warm[day.track]


def proofs(device: str) -> list[tuple[Day, str, str]]:
    """What is proved one by one: (day, check, the exercise, or "" for all of them)."""
    if device != "cuda":
        return [(day, check, "") for day in DAYS for check in checks.CHECKS]
    references = [
        (day, "reference", exercise)
        for day in DAYS
        for exercise in (
            [e.name for e in day.exercises]
            if day.track == "triton" and day.number >= COMPILED
            else [""]
        )
    ]
    others = [check for check in checks.CHECKS if check != "reference"]
    return [*references, *((day, check, "") for day in DAYS for check in others)]


@pytest.mark.parametrize(
    ("day", "check", "exercise"),
    [
        pytest.param(day, check, exercise, id="-".join(filter(None, (day.key, check, exercise))))
        for day, check, exercise in proofs(DEVICE)
    ],
)
def test_day(day: Day, check: str, exercise: str, warm: dict[str, Warm]) -> None:
    given = day, launcher_for(day, warm), SEED, DEVICE
    if exercise:
        found = checks.check_reference(*given, exercise)
    elif check == "bugs" and BUGS:
        found = checks.check_bugs(*given, int(BUGS))
    else:
        found = checks.CHECKS[check](*given)
    assert not found, "\n".join(found)


@pytest.mark.parametrize("day", DAYS, ids=lambda day: day.key)
def test_form(day: Day) -> None:
    found = check_form(day)
    assert not found, "\n".join(found)
