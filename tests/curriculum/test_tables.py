from __future__ import annotations

from pathlib import Path

import pytest

from harness.curriculum import CurriculumError, curriculum_table, find_tracks, update_readme

BEGIN, END = "<!-- curriculum:begin -->", "<!-- curriculum:end -->"


def test_a_row_a_day(root: Path) -> None:
    path = root / "tracks" / "pebble" / "solutions" / "day01.py"
    text = path.read_text().replace("Small things\n" + "=" * 19, "Small|things\n" + "=" * 19)
    path.write_text(text)
    pebble, sand = find_tracks(root)
    head = "| Day | Title | Exercises | Time |\n|---:|---|---|---|\n"
    assert curriculum_table(sand) == head
    names = "`twice` · `Value` · `clip`"
    assert curriculum_table(pebble) == (
        head
        + f"| [1](day01.py) | Small\\|things | {names} | 1-2 hours |\n"
        + f"| [2](day02.py) | Small things | {names} | 1-2 hours |\n"
        + f"| [3](day03.py) | [Small things](lessons/day03.md) | {names} | 1-2 hours |\n"
        + f"| [7](day07.py) | Small things | {names} | 1-2 hours |\n"
    )


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("old", ["", "\n", "\n\n| old |\n\n", " | old | "])
def test_only_what_is_between_the_marks_changes(tmp_path: Path, old: str, newline: str) -> None:
    path = tmp_path / "README.md"
    text = f"# A\n\n{BEGIN}{old}{END}\nafter".replace("\n", newline)
    path.write_bytes(text.encode())
    updated = update_readme(path, "| a |\n| b |\n")
    expected = f"# A\n\n{BEGIN}\n\n| a |\n| b |\n\n{END}\nafter".replace("\n", newline)
    assert updated == expected
    assert path.read_bytes() == text.encode(), "update_readme must not write"
    path.write_bytes(updated.encode())
    assert update_readme(path, "| a |\n| b |\n") == updated


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("# A\n", 1, f"must hold {BEGIN} exactly once, not 0 times"),
        (f"# A\n{BEGIN}\n", 1, f"must hold {END} exactly once, not 0 times"),
        (f"{BEGIN}\n{BEGIN}\n{END}", 1, f"must hold {BEGIN} exactly once, not 2 times"),
        (f"# A\n{END}\n{BEGIN}\n", 3, f"{END} must stand after {BEGIN}"),
    ],
)
def test_marks_that_are_not_there(tmp_path: Path, text: str, line: int, says: str) -> None:
    path = tmp_path / "README.md"
    path.write_text(text)
    with pytest.raises(CurriculumError) as caught:
        update_readme(path, "| a |\n")
    assert says in str(caught.value)
    assert (caught.value.path, caught.value.line) == (path, line)


def test_no_readme(tmp_path: Path) -> None:
    with pytest.raises(CurriculumError, match="no such file"):
        update_readme(tmp_path / "README.md", "| a |\n")
