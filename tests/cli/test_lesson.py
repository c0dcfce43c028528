"""`make lesson … OPEN=1` opens the day's page, and builds the book where it is missing or old."""

from __future__ import annotations

import os
import webbrowser
from pathlib import Path

import pytest

from harness.book import command
from harness.cli.lesson import _unbroken, show_lesson
from harness.curriculum import find_day


@pytest.mark.parametrize("site", ["missing", "old", "new"])
def test_the_page_is_opened(
    site: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "autodiff" / "day01.html"
    opened, built = [], []

    def build(*args: object, **options: object) -> int:
        built.append(args)
        page.parent.mkdir(exist_ok=True)
        page.write_text("")
        return 0

    monkeypatch.setattr(command, "SITE", tmp_path)
    monkeypatch.setattr(command, "make_book", build)
    monkeypatch.setattr(webbrowser, "open", lambda url: opened.append(url) or site != "old")
    if site != "missing":
        build()
        built.clear()
        lesson = find_day("autodiff", 1).lesson.stat().st_mtime
        os.utime(page, (lesson, lesson + (-5 if site == "old" else 5)))
    assert show_lesson("autodiff", "1", open_it=True) == 0
    assert opened == [page.as_uri()]
    assert len(built) == (site != "new")
    # where no browser starts, the address is said
    assert (str(page) in capsys.readouterr().out) == (site == "old")


def test_a_book_that_cannot_be_built_is_not_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "SITE", tmp_path)
    monkeypatch.setattr(command, "make_book", lambda *args, **options: 2)
    monkeypatch.setattr(webbrowser, "open", lambda url: pytest.fail("opened"))
    assert show_lesson("autodiff", "1", open_it=True) == 2


def test_short_code_in_a_sentence_is_not_broken_between_lines(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert show_lesson("triton", "1") == 0
    shown = capsys.readouterr().out
    assert "\nout[i] = x[i + 1] - x[i]:" in shown and "\ue000" not in shown
    fenced = "a `b c` d\n```python\n`e f`\n```\n``g ` h`` `" + "i " * 30 + "`"
    assert _unbroken(fenced) == fenced.replace("b c", "b\ue000c")
