"""Points from a file, and what is said of a file that is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.curriculum import find_day, find_tracks
from harness.grade.weights import Weights, load_weights
from harness.usage import Usage

TRACKS = find_tracks()
DAY = find_day("autodiff", 1)
NAMES = [exercise.name for exercise in DAY.exercises]


def weights(folder: Path, text: str) -> Weights:
    file = folder / "weights.toml"
    file.write_text(text, encoding="utf-8")
    return load_weights(str(file), TRACKS)


def test_one_point_each_without_a_file() -> None:
    assert load_weights("", TRACKS).of(DAY, NAMES[0]) == 1.0


def test_an_exercise_a_day_and_the_rest(tmp_path: Path) -> None:
    text = f'points = 2\n[days]\n"autodiff/1" = 10\n[exercises]\n"autodiff/1/{NAMES[0]}" = 4\n'
    found = weights(tmp_path, text)
    shared = 6 / (len(NAMES) - 1)
    assert [found.of(DAY, name) for name in NAMES] == [4.0, *[shared] * (len(NAMES) - 1)]
    assert found.of(find_day("autodiff", 2), "any") == 2.0


@pytest.mark.parametrize(
    "text, says",
    [
        ("poins = 2", "'poins' is not known. Did you mean 'points'"),
        ("points = -1", "must be a number of points"),
        ("points = nan", "must be a number of points"),
        ("points = true", "must be a number of points"),
        ("points = ", "weights.toml"),
        ('[days]\n"autodif/1" = 3', "Did you mean 'autodiff/1'"),
        ('[exercises]\n"autodiff/1/complex_stp" = 3', "Did you mean 'autodiff/1/complex_step'"),
        ("[exercises]\nsoftmax = 3", "track/day/exercise"),
        ("days = 3", "is no table"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(Usage) as told:
        weights(tmp_path, text)
    assert says in str(told.value)


def test_a_file_that_is_not_there() -> None:
    with pytest.raises(Usage, match="cannot be read"):
        load_weights("/nowhere/weights.toml", TRACKS)
