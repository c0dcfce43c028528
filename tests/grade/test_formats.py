"""The files that other programs read, and the page."""

from __future__ import annotations

import base64
import csv
import io
import json
from html.parser import HTMLParser
from pathlib import Path

import pytest

from harness.curriculum import find_day
from harness.grade import formats
from harness.grade.book import Gradebook, make_book
from harness.grade.page import page
from harness.grade.similar import Likeness, Pair, Span
from harness.grade.submissions import Found, Submission
from harness.grade.task import Record
from harness.grade.weights import Weights
from harness.protocol import DayResult, ExerciseResult, Failure, TestResult
from harness.usage import Usage

DAY = find_day("autodiff", 1)
NAMES = [exercise.name for exercise in DAY.exercises]
ODD = "=cmd|' /C calc'!A0, \"Zoë\" <b>🎓</b>"
SANDBOX = ["rlimits", "seccomp"]


def result(*outcomes: str, problem: str = "") -> DayResult:
    exercises = []
    for name, outcome in zip(NAMES, outcomes, strict=True):
        failure = Failure("wrong", "is <i>not</i> 2") if outcome == "failed" else None
        test = TestResult(f"test_{name}", name, outcome, 0.5, failure, skipped="needs a GPU")
        status = {"passed": "passed", "failed": "wrong", "skipped": "skipped"}[outcome]
        measures = {"seconds": 0.5, "peak_bytes": 4096}
        exercises.append(ExerciseResult(name, status, [test], measures))  # type: ignore[arg-type]
    problems = [Failure("refused", problem)] if problem else []
    return DayResult(
        "autodiff", 1, DAY.title, "", 7, exercises, device={"name": "a CPU"}, problems=problems
    )


def record(student: str, graded: DayResult) -> Record:
    return Record("k", student, "autodiff", 1, "ab" * 32, graded, SANDBOX, "host", "today", 1.5)


@pytest.fixture
def book() -> Gradebook:
    """Someone with all points but one, someone who was refused, one who handed nothing in, and one
    whom the harness failed."""
    handed = Found("autodiff/day01.py", b"x = 1\n")
    key = ("autodiff", 1)
    submissions = [
        Submission(ODD, "odd.zip", {key: handed}, ["a.txt: why"]),
        Submission("refused", "refused", {key: handed}),
        Submission("absent", "absent"),
        Submission("lost", "lost", {key: handed}),
    ]
    right = ["passed"] * len(NAMES)
    records = {
        (ODD, *key): record(ODD, result("failed", *right[1:-1], "skipped")),
        ("refused", *key): record("refused", result(*right, problem="replaced `close`")),
    }
    failures = {("lost", *key): "OSError: no space"}
    return make_book(submissions, [DAY], records, failures, Weights(2.0), (7, 8), ["notes.txt"])


def rows(content: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(content.decode("utf-8-sig"))))


def test_points(book: Gradebook) -> None:
    odd, refused, absent, lost = book.students
    assert odd.points == 2.0 * (len(NAMES) - 2), "a wrong one and a skipped one have none"
    assert odd.out_of == 2.0 * (len(NAMES) - 1), "what could not be tried does not count"
    assert refused.points == 0.0 and {e.status for e in refused.days[0].exercises} == {"refused"}
    assert absent.points == 0.0 and absent.out_of == 2.0 * len(NAMES)
    assert {e.status for e in lost.days[0].exercises} == {"not graded"}


def test_the_gradebook_for_a_spreadsheet(book: Gradebook) -> None:
    content = formats.gradebook_csv(book)
    assert content.startswith(b"\xef\xbb\xbf"), "Excel takes it for another encoding"
    head, *body = rows(content)
    assert tuple(head) == formats.COLUMNS
    assert len(body) == 4 * len(NAMES), "a row an exercise of each student"
    first = dict(zip(head, body[0], strict=True))
    assert first["student"] == f"'{ODD}", "a spreadsheet would run it as a formula"
    assert first["log"] == "is <i>not</i> 2"
    assert (first["points"], first["out of"]) == ("0", "2")
    assert (first["seconds"], first["peak memory (bytes)"]) == ("0.500", "4096")
    assert (first["device"], first["sha256"]) == ("a CPU", "ab" * 32)
    assert first["sandbox"] == "rlimits + seccomp"


def test_json_holds_all_of_it(book: Gradebook) -> None:
    found = json.loads(formats.gradebook_json(book))
    assert [student["name"] for student in found["students"]] == [s.name for s in book.students]
    assert found["students"][0]["days"][0]["exercises"][0]["status"] == "wrong"
    assert found["left_out"] == ["notes.txt"]


def test_moodle_and_canvas(book: Gradebook, tmp_path: Path) -> None:
    file = tmp_path / "roster.csv"
    file.write_text(
        "submission;email;id;username;sis_id;canvas_id;section\n"
        "refused;r@uni.example;42;r1;S42;99;A\n", encoding="utf-8-sig",
    )  # fmt: skip
    roster = formats.load_roster(str(file))
    worth = str(2 * len(NAMES))
    head, *body = rows(formats.moodle_csv(book, roster))
    columns = ["Full name", "Email address", "ID number", "Username", "autodiff day 01", "Total"]
    assert head == columns
    assert body[1] == ["refused", "r@uni.example", "42", "r1", "0", "0"]
    assert body[2] == ["absent", "", "", "", "0", "0"]
    head, possible, *body = rows(formats.canvas_csv(book, roster))
    assert head == ["Student", "ID", "SIS User ID", "SIS Login ID", "Section", "autodiff day 01"]
    assert possible[0].strip() == "Points Possible" and possible[-1] == worth
    assert body[1] == ["refused", "99", "S42", "r1", "A", "0"]


@pytest.mark.parametrize("text, says", [("name\nx", "submission"), ("submission,mail\n", "'mail'")])
def test_a_roster_with_other_columns(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "roster.csv"
    file.write_text(text)
    with pytest.raises(Usage, match=says):
        formats.load_roster(str(file))


def test_gradescope(book: Gradebook) -> None:
    found = formats.gradescope_json(book.students[0])
    assert found["score"] == sum(test["score"] for test in found["tests"])
    assert found["execution_time"] == 2
    assert {test["visibility"] for test in found["tests"]} == {"visible"}
    first, second = found["tests"][:2]
    assert (first["score"], first["max_score"], first["status"]) == (0.0, 2.0, "failed")
    assert first["output"] == "is <i>not</i> 2"
    assert (second["score"], second["status"]) == (2.0, "passed")


def test_github_classroom(book: Gradebook) -> None:
    odd, _, absent, _ = book.students
    found = formats.classroom_json(odd)
    assert found["status"] == "fail" and found["max_score"] == 2.0 * (len(NAMES) - 1)
    assert sum(test["score"] for test in found["tests"]) == odd.points
    assert found["tests"][0]["message"] == "is <i>not</i> 2"
    assert all(t["message"] is None for t in found["tests"] if t["status"] == "pass")
    assert formats.classroom_json(absent)["status"] == "fail"
    assert json.loads(base64.b64decode(formats.classroom_payload(odd))) == found


def test_file_names_are_safe_and_apart() -> None:
    names = [
        formats.file_name(n) for n in ("../../etc", "李雷", "韩梅梅", "Bob", "bob", "b/ob", "")
    ]
    assert len({name.lower() for name in names}) == len(names)
    assert all(name.isascii() and "/" not in name and not name.startswith(".") for name in names)


def test_the_page_fetches_nothing_and_escapes_all(book: Gradebook) -> None:
    sources = {(name, "autodiff", 1): "a = 1\n<script>b</script>\n" for name in (ODD, "refused")}
    pair = Pair(ODD, "refused", 9, 0.9, (Span((1, 2), (1, 2), 20),))
    found = page(book, {DAY.key: Likeness((pair,), ((ODD, "lost"),))}, sources, "today")
    assert "default-src &#x27;none&#x27;" in found
    assert "<script>" not in found and "<b>🎓" not in found and "<i>not" not in found
    assert "&lt;script&gt;b" in found, "the copied lines are shown"
    assert "Zoë" in found and "90 %" in found and "notes.txt" in found
    assert "is &lt;i&gt;not&lt;/i&gt; 2" in found

    class Links(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            for name, value in attrs:
                assert name not in ("src", "onload"), (tag, name)
                assert name != "href" or (value or "").startswith("#"), value

    Links().feed(found)
