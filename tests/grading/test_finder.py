"""Which file ``tracks.<track>.dayNN`` is, for every choice of whose answers are graded."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.grading import finder
from harness.grading.finder import Choice, MissingDay, use

REFERENCE = '''"""Day."""


def where() -> str:
    """Where this is."""
    ### BEGIN SOLUTION
    return {text!r}
    ### END SOLUTION
'''
STUB = '''"""Day."""


def where() -> str:
    """Where this is."""
    raise NotImplementedError("where")
'''
DONE = STUB.replace('raise NotImplementedError("where")', "return {text!r}")


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    """Two tracks with equal day names. Day 1 is unfinished in autodiff; day 2 imports day 1."""
    for track in ("autodiff", "pytorch"):
        (tmp_path / "tracks" / track / "solutions").mkdir(parents=True)
        for day in (1, 2, 3):
            text = REFERENCE.format(text=f"{track} reference {day}")
            (tmp_path / f"tracks/{track}/solutions/day{day:02d}.py").write_text(text)
            own = STUB if day == 1 else DONE.format(text=f"{track} learner {day}")
            (tmp_path / f"tracks/{track}/day{day:02d}.py").write_text(own)
        for folder in ("", "solutions/"):
            file = tmp_path / f"tracks/{track}/{folder}day02.py"
            file.write_text(
                f"{file.read_text()}\n\nfrom tracks.{track} import day01\n\nEARLIER = day01\n"
            )
    before = dict(finder.install().modules)
    yield tmp_path
    finder.install().modules = before


def graded(root: Path, day: int = 2, track: str = "autodiff", **choice: str) -> str:
    with use(Choice((track, day), root=root, **choice)):
        module = importlib.import_module(f"tracks.{track}.day{day:02d}")
        return str(module.where())


def earlier(root: Path, **choice: str) -> str:
    """What day 2 sees of day 1."""
    with use(Choice(("autodiff", 2), root=root, **choice)):
        return str(importlib.import_module("tracks.autodiff.day02").EARLIER.where())


def test_the_learners_file_is_the_default(root: Path) -> None:
    assert graded(root) == "autodiff learner 2"


def test_the_reference(root: Path) -> None:
    assert graded(root, impl="solution") == "autodiff reference 2"


def test_a_folder(root: Path) -> None:
    folder = root / "submission"
    folder.mkdir()
    (folder / "day03.py").write_text(DONE.format(text="submission"))
    assert graded(root, 3, impl=str(folder)) == "submission"


def test_a_folder_without_the_day_is_never_replaced_by_another_file(root: Path) -> None:
    folder = root / "empty"
    folder.mkdir()
    with pytest.raises(MissingDay, match=r"holds no day03\.py"):
        graded(root, 3, impl=str(folder))


def test_a_deleted_file_is_said(root: Path) -> None:
    (root / "tracks/autodiff/day03.py").unlink()
    with pytest.raises(MissingDay, match="make stubs"):
        graded(root, 3)


def test_an_unfinished_earlier_day_is_the_reference_and_said(root: Path) -> None:
    assert earlier(root) == "autodiff reference 1"
    choice = Choice(("autodiff", 2), root=root)
    with use(choice):
        notes = {f.module: f.note for f in finder.install().graded_files()}
    assert "your day01.py is not finished: " in notes["tracks.autodiff.day01"]
    assert notes["tracks.autodiff.day02"] == ""


def test_an_earlier_day_that_is_no_python_is_said_to_be_that(root: Path) -> None:
    file = root / "tracks/autodiff/day01.py"
    file.write_text(DONE.format(text="mine") + "\ndef (\n")
    line = len(file.read_text().splitlines())
    assert earlier(root) == "autodiff reference 1"
    with use(Choice(("autodiff", 2), root=root)):
        notes = {f.module: f.note for f in finder.install().graded_files()}
    assert f"your day01.py is no Python (line {line}: " in notes["tracks.autodiff.day01"]


def test_a_finished_earlier_day_is_the_learners(root: Path) -> None:
    (root / "tracks/autodiff/day01.py").write_text(DONE.format(text="mine"))
    assert earlier(root) == "mine"


def test_earlier_days_can_be_forced_either_way(root: Path) -> None:
    (root / "tracks/autodiff/day01.py").write_text(DONE.format(text="mine"))
    assert earlier(root, prior="solution") == "autodiff reference 1"
    (root / "tracks/autodiff/day01.py").write_text(STUB)
    with pytest.raises(NotImplementedError):
        earlier(root, prior="same")


def test_the_references_build_on_references(root: Path) -> None:
    (root / "tracks/autodiff/day01.py").write_text(DONE.format(text="mine"))
    assert earlier(root, impl="solution") == "autodiff reference 1"


def test_equal_day_names_of_two_tracks_live_in_one_process(root: Path) -> None:
    assert graded(root, 2, "pytorch") == "pytorch learner 2"
    assert graded(root, 2, "autodiff") == "autodiff learner 2"


def test_a_day_is_graded_as_the_learners_while_later_days_see_the_reference(root: Path) -> None:
    choice = Choice(("autodiff", 1), root=root)
    with use(choice):
        mine = importlib.import_module("tracks.autodiff.day01")
    assert earlier(root) == "autodiff reference 1"
    with use(choice):
        again = importlib.import_module("tracks.autodiff.day01")
    assert again is mine
    with pytest.raises(NotImplementedError):
        mine.where()


def test_files_are_named_with_their_hash(root: Path) -> None:
    graded(root)
    with use(Choice(("autodiff", 2), root=root)):
        files = {f.module: f for f in finder.install().graded_files()}
    file = files["tracks.autodiff.day02"]
    assert (file.whose, Path(file.path)) == ("learner", root / "tracks/autodiff/day02.py")
    assert file.hash == finder.short_hash(Path(file.path))


def test_a_file_beside_the_days_sees_the_day_of_its_choice(root: Path) -> None:
    """What days share is imported anew for each choice, as it may itself import a day."""
    shared = root / "tracks/autodiff/shared.py"
    shared.write_text("from tracks.autodiff import day02\n\nWHERE = day02.where()\n")
    found = []
    for impl in ("learner", "solution", "learner"):
        with use(Choice(("autodiff", 2), impl, root=root)):
            found.append(importlib.import_module("tracks.autodiff.shared").WHERE)
    assert found == ["autodiff learner 2", "autodiff reference 2", "autodiff learner 2"]
