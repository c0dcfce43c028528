"""``make book`` says what is wrong before it builds, and removes nothing that is not a book."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from harness.book import command
from harness.usage import Usage


@pytest.fixture(autouse=True)
def nothing_is_built(monkeypatch: pytest.MonkeyPatch) -> list[tuple]:
    built: list[tuple] = []
    monkeypatch.setattr(command, "need_packages", lambda: None)
    monkeypatch.setattr(command, "build", lambda *arguments: built.append(arguments) or 1)
    return built


def test_an_unknown_format() -> None:
    with pytest.raises(Usage, match="FORMAT=pdf is not known: use html or epub"):
        command.make_book("", "pdf", "", False, False)


@pytest.mark.parametrize("name", ["https://github.com/a/b", "a", "a b/c"])
def test_a_repository_is_owner_and_name(name: str) -> None:
    with pytest.raises(Usage, match="is not owner/name"):
        command.make_book("", "html", name, False, False)


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path, nothing_is_built: list) -> None:
    (tmp_path / "thesis.txt").write_text("five years")
    with pytest.raises(Usage, match="holds other files"):
        command.make_book(str(tmp_path), "html", "", False, False)
    (tmp_path / "thesis.txt").unlink()
    assert command.make_book(str(tmp_path), "html", "", False, False) == 1
    (tmp_path / ".buildinfo").touch()
    (tmp_path / "index.html").touch()
    assert command.make_book(str(tmp_path), "html", "", False, False) == 1
    assert len(nothing_is_built) == 2


def test_what_is_missing_is_named_outside_the_projects_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(command.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(sys, "prefix", "/somewhere/else")
    if sys.version_info < (3, 11):
        with pytest.raises(Usage, match=r"3\.11"):
            command.need_packages()
        return
    with pytest.raises(Usage, match="pip install sphinx==") as refusal:
        command.need_packages()
    assert all(name in str(refusal.value) for name in command.NEEDED)


def test_all_that_is_needed_is_pinned() -> None:
    pins = [pin.split("==")[0].replace("-", "_") for pin in command.pinned()]
    assert set(command.NEEDED) == set(pins)
