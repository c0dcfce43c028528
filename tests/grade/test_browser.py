"""The gradebook in a real browser: nothing fetched, nothing refused, nothing sticks out."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.curriculum import find_day
from harness.grade.book import make_book
from harness.grade.page import page
from harness.grade.similar import likeness
from harness.grade.submissions import Found, Submission
from harness.grade.task import Record
from harness.grade.weights import Weights
from harness.protocol import DayResult, ExerciseResult, Failure, TestResult
from tests.report.chromium import browser, found
from tests.report.test_browser import OUTSIDE

pytestmark = pytest.mark.skipif(not found(), reason="no Chromium here: apt install chromium")

DAY = find_day("autodiff", 1)
KEY = ("autodiff", 1)
SOURCE = DAY.solution.read_text(encoding="utf-8")


def gradebook() -> str:
    names = ["Zoë Ågren 🎓", "a" * 90, "<script>document.title = 'it ran'</script>"]
    submissions, records = [], {}
    for n, name in enumerate(names):
        text = SOURCE + f"\n# {n}\nx{n} = [{', '.join(map(str, range(200)))}]\n"
        log = ["some/long/" + "path/" * 30 + "day.py is not named as a day: not read."]
        submissions.append(Submission(name, f"{name}.zip", {KEY: Found("day01.py", b"")}, log))
        failure = Failure("wrong", "expected " + "1.2345678 " * 60)
        exercises = [
            ExerciseResult(e.name, "wrong", [TestResult("t", e.name, "failed", 1.0, failure)])
            for e in DAY.exercises
        ]
        graded = DayResult("autodiff", 1, DAY.title, "", 7, exercises, device={"name": "a CPU"})
        records[name, KEY[0], KEY[1]] = Record(
            "k", name, *KEY, "ab" * 32, graded, ["landlock"], "host"
        )
        sources[name, KEY[0], KEY[1]] = text
    book = make_book(submissions, [DAY], records, {}, Weights(), (7, 8), [])
    mine = {name: sources[name, KEY[0], KEY[1]] for name in names}
    mine["a" * 90] += "\ny = x.a.b(1)(2)[3]\n"
    return page(book, {DAY.key: likeness(mine, "")}, sources, "today")


sources: dict[tuple[str, str, int], str] = {}


def test_it_is_shown_whole(tmp_path: Path) -> None:
    file = tmp_path / "gradebook.html"
    file.write_text(gradebook(), encoding="utf-8")
    program = found()
    assert program
    with browser(program, tmp_path / "profile") as tab:
        for width in (320, 1280):
            tab.look(width, False)
            tab.open(file)
            assert tab.requested() == [file.as_uri()], "it fetches something"
            tab.value("document.querySelectorAll('details').forEach(d => d.open = true)")
            whole = tab.value("[document.documentElement.scrollWidth, innerWidth]")
            assert whole == [width, width], f"the page is {whole[0]} wide on a screen of {width}"
            assert tab.value(OUTSIDE) == []
            assert tab.complaints() == []
            assert tab.value("document.title") == "Gradebook", "a student's name was run"
            assert tab.value("document.querySelectorAll('.beside').length") > 0
