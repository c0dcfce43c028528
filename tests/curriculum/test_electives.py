"""Electives: a track of its own, found and named as the others, and counted with none of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.curriculum import (
    ELECTIVES,
    ROOT,
    Day,
    UnknownDay,
    family_of,
    find_day,
    find_electives,
    find_track,
    find_tracks,
    generate_stub,
)

KERNEL = '''"""Day 01: Down below
==================
Estimated time: 1 hour
Prerequisites: none
Lesson: lessons/day01.md

Learning objectives:
- One

Hints:
- Two
Resources:
- Three
"""

from triton.experimental import gluon


@gluon.jit(do_not_specialize=["n"])
def twice_kernel(n):
    # TODO: n, twice.
    # HINT: How often?
    ### BEGIN SOLUTION
    # HINT: Two times.
    # HINT: n + n
    n = n + n
    ### END SOLUTION


def twice(n: int) -> None:
    """Twice n."""
    twice_kernel[(1,)](n)
'''


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for place in ("triton", "triton/electives", "autodiff"):
        folder = tmp_path / "tracks" / place / "solutions"
        folder.mkdir(parents=True)
        (folder / "day01.py").write_text(KERNEL)
    (tmp_path / "tracks/triton/electives/solutions/day02.py").write_text(KERNEL)
    return tmp_path


def test_they_are_no_track_of_the_curriculum(root: Path) -> None:
    assert [track.name for track in find_tracks(root)] == ["autodiff", "triton"]
    assert [len(track.days) for track in find_tracks(root)] == [1, 1]
    (electives,) = find_electives(root)
    assert (electives.name, [day.number for day in electives.days]) == (ELECTIVES, [1, 2])
    assert electives.folder == root / "tracks/triton/electives"
    assert find_electives(root / "elsewhere") == []


def test_they_are_found_by_their_name(root: Path) -> None:
    day = find_day(ELECTIVES, "02", root)
    assert day == find_track(ELECTIVES, root).days[1] == Day(ELECTIVES, 2, root)
    assert day.key == "electives/02"
    assert day.file == root / "tracks/triton/electives/day02.py"
    assert day.tests == root / "tracks/triton/electives/tests/test_day02.py"
    with pytest.raises(UnknownDay, match="did you mean electives"):
        find_day("elective", 1, root)
    with pytest.raises(UnknownDay, match="there is no day 3 in electives"):
        find_day(ELECTIVES, 3, root)


def test_modules_are_named_by_their_folders() -> None:
    assert Day(ELECTIVES, 1).module == "tracks.triton.electives.day01"
    assert Day("triton", 13).module == "tracks.triton.day13"


def test_the_rules_are_those_of_the_track_that_they_follow() -> None:
    assert family_of(ELECTIVES) == family_of("triton") == "triton"
    assert family_of("pytorch") == "pytorch"


def test_a_gluon_kernel_is_a_kernel(root: Path) -> None:
    day = find_day(ELECTIVES, 1, root)
    assert [exercise.name for exercise in day.exercises] == ["twice"]
    stub = generate_stub(KERNEL, day.solution)
    assert "    pass\n" in stub and "n + n" not in stub


def test_nothing_counts_them() -> None:
    from harness.progress.summary import PLANNED

    assert ELECTIVES not in PLANNED
    assert ELECTIVES not in {track.name for track in find_tracks(ROOT)}
    assert [track.name for track in find_electives(ROOT)] == [ELECTIVES]


def test_an_import_finds_them() -> None:
    from harness.grading import finder
    from harness.protocol import SOLUTION

    found = finder.DayFinder()
    found.choice = finder.Choice((ELECTIVES, 1), SOLUTION)
    for name, file in (
        ("tracks.triton.electives.day01", "tracks/triton/electives/solutions/day01.py"),
        ("tracks.triton.day01", "tracks/triton/solutions/day01.py"),
    ):
        spec = found.find_spec(name)
        assert spec is not None and spec.origin == str(ROOT / file)
    assert found.find_spec("tracks.triton.electives") is None


def test_a_test_file_by_hand_grades_its_day() -> None:
    from harness.grading.plugin import Grader

    for track in (ELECTIVES, "triton"):
        day = Day(track, 1)
        graded = Grader().day_of(day.tests)
        assert graded is not None and graded.day == day
    assert Grader().day_of(ROOT / "tests" / "test_day01.py") is None
    assert Grader().day_of(ROOT / "tracks/triton/other/tests/test_day01.py") is None


def test_an_update_knows_their_files() -> None:
    from harness.update.news import news
    from harness.update.plan import _DAY

    for path, expected in (
        ("tracks/triton/electives/day02.py", (ELECTIVES, "02")),
        ("tracks/triton/day02.py", ("triton", "02")),
        ("tracks/triton/electives/solutions/day02.py", None),
        ("tracks/triton/solutions/day02.py", None),
    ):
        match = _DAY.fullmatch(path)
        assert (match.groups() if match else None) == expected, path
    log = "\x01Mend a fence\ntracks/triton/electives/solutions/day02.py\n"
    assert news(log) == ["electives 2: Mend a fence"]
