from __future__ import annotations

from pathlib import Path

import pytest

from harness.curriculum import (
    ROOT,
    Day,
    UnknownDay,
    UnknownExercise,
    find_day,
    find_exercise,
    find_tracks,
    hints_for,
)


def test_tracks_are_the_folders_with_solutions(root: Path) -> None:
    pebble, sand = find_tracks(root)
    assert (pebble.name, pebble.title) == ("pebble", "Pebbles for all")
    assert (sand.name, sand.title, sand.days) == ("sand", "Sand", ())
    assert [day.number for day in pebble.days] == [1, 2, 3, 7]
    assert pebble.folder == root / "tracks" / "pebble"


def test_a_days_places(root: Path) -> None:
    day = find_day("pebble", 3, root)
    folder = root / "tracks" / "pebble"
    assert (day.name, day.key) == ("day03", "pebble/03")
    assert day.file == folder / "day03.py"
    assert day.solution == folder / "solutions" / "day03.py"
    assert day.tests == folder / "tests" / "test_day03.py"
    assert day.lesson == folder / "lessons" / "day03.md"
    assert day.bugs == folder / "bugs" / "day03.toml"
    assert day.bench == folder / "benches" / "bench_day03.py"
    assert day.title == day.doc.title == "Small things"
    assert [exercise.name for exercise in day.exercises] == ["twice", "Value", "clip"]
    assert day == Day("pebble", 3, root)
    assert Day("triton", 1).root == ROOT


@pytest.mark.parametrize("number", [7, "7", "07", " 7 ", "day07", "Day7", "day07.py"])
def test_a_day_is_found_however_it_is_written(root: Path, number: int | str) -> None:
    assert find_day("pebble", number, root).number == 7


@pytest.mark.parametrize(
    ("track", "number", "says"),
    [
        ("pebble", "x", "DAY=x is not a number: pebble has days 1-3, 7"),
        ("pebble", "-1", "there is no day -1 in pebble: it has days 1-3, 7"),
        ("pebble", "1.5", "DAY=1.5 is not a number: pebble has days 1-3, 7"),
        ("pebble", "", "DAY= is not a number: pebble has days 1-3, 7"),
        ("pebble", "²", "DAY=² is not a number: pebble has days 1-3, 7"),
        ("pebble", 99, "there is no day 99 in pebble: it has days 1-3, 7"),
        ("pebble", "004", "there is no day 4 in pebble: it has days 1-3, 7"),
        ("sand", 1, "there is no day 1 in sand: it has days none yet"),
        ("pebbel", 1, "unknown track 'pebbel': did you mean pebble?"),
        ("PEBBLE ", 1, "unknown track 'PEBBLE ': did you mean pebble?"),
        ("rust", 1, "unknown track 'rust': the tracks are pebble, sand"),
        ("notes", 1, "unknown track 'notes': the tracks are pebble, sand"),
        ("../tracks/pebble", 1, "unknown track '../tracks/pebble': the tracks are pebble, sand"),
        ("", 1, "unknown track '': the tracks are pebble, sand"),
    ],
)
def test_what_is_not_there(root: Path, track: str, number: int | str, says: str) -> None:
    with pytest.raises(UnknownDay) as caught:
        find_day(track, number, root)
    assert str(caught.value) == says


def test_a_repository_without_tracks(tmp_path: Path) -> None:
    assert find_tracks(tmp_path) == []
    with pytest.raises(UnknownDay, match="unknown track 'a': there are no tracks"):
        find_day("a", 1, tmp_path)


def test_exercises_by_name(root: Path) -> None:
    day = find_day("pebble", 3, root)
    assert find_exercise(day, "Value").kind == "class"
    for name, says in (
        ("value", "pebble day 3 has no exercise 'value': did you mean Value?"),
        ("twcie", "pebble day 3 has no exercise 'twcie': did you mean twice?"),
        ("a,b", "pebble day 3 has no exercise 'a,b': EX takes one of twice, Value, clip"),
        ("softmax", "pebble day 3 has no exercise 'softmax': the exercises are twice, Value, clip"),
    ):
        with pytest.raises(UnknownExercise) as caught:
            find_exercise(day, name)
        assert str(caught.value) == says


def test_hints_go_deeper(root: Path) -> None:
    day = find_day("pebble", 3, root)
    twice = ["one block a program, and a mask at the end.", "two times x."]
    assert hints_for(day, "twice") == twice
    assert hints_for(day) == [
        "Look closely.",
        *(f"twice: {hint}" for hint in twice),
        "Value: what is it on the left?",
        "clip: min",
    ]
    with pytest.raises(UnknownExercise):
        hints_for(day, "nothing")


def test_this_repositorys_tracks_can_be_read() -> None:
    for track in find_tracks():
        assert track.days == tuple(sorted(track.days, key=lambda day: day.number))
        assert all(day.solution.is_file() for day in track.days)
