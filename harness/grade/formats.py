"""The gradebook as files that other programs read."""

from __future__ import annotations

import base64
import codecs
import csv
import hashlib
import io
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.grade.book import DayGrade, Gradebook, Student
from harness.usage import Usage

COLUMNS = (
    "student", "track", "day", "title", "exercise", "status", "points", "out of", "seconds",
    "peak memory (bytes)", "device", "sha256", "file", "sandbox", "machine", "graded at", "log",
)  # fmt: skip
ROSTER = ("submission", "name", "email", "id", "username", "sis_id", "canvas_id", "section")


@dataclass(frozen=True)
class Roster:
    """What a learning platform knows a student by, from the teacher's list."""

    rows: dict[str, dict[str, str]]

    def of(self, student: Student) -> dict[str, str]:
        return {"name": student.name, **self.rows.get(student.name, {})}


def load_roster(file: str) -> Roster:
    """``ROSTER=file.csv``: a row a student; its column ``submission`` names the submission."""
    if not file:
        return Roster({})
    try:
        text = Path(file).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise Usage(f"ROSTER={file} cannot be read as UTF-8: {error}.") from None
    separator = ";" if text.partition("\n")[0].count(";") else ","
    reader = csv.DictReader(io.StringIO(text), delimiter=separator)
    columns = [(name or "").strip().lower() for name in reader.fieldnames or ()]
    unknown = [name for name in columns if name not in ROSTER]
    if "submission" not in columns or unknown:
        said = f"has no column {unknown[0]!r}" if unknown else "needs the column 'submission'"
        raise Usage(f"ROSTER={file} {said}: the columns are {', '.join(ROSTER)}.")
    rows = {}
    for row in reader:
        plain = {(k or "").strip().lower(): (v or "").strip() for k, v in row.items() if k}
        name = plain.pop("submission")
        rows[name] = {key: value for key, value in plain.items() if value}
    return Roster(rows)


def gradebook_csv(book: Gradebook) -> bytes:
    """A row an exercise. With a byte order mark, by which Excel knows UTF-8."""
    rows = [
        (
            student.name, day.track, day.day, day.title, exercise.name, exercise.status,
            number(exercise.points), number(exercise.out_of), f"{exercise.seconds:.3f}",
            exercise.peak_bytes, day.device, day.sha256, day.path, " + ".join(day.sandbox),
            day.machine, day.when, exercise.log,
        )
        for student in book.students
        for day in student.days
        for exercise in day.exercises
    ]  # fmt: skip
    return _csv(COLUMNS, rows, mark=codecs.BOM_UTF8)


def gradebook_json(book: Gradebook) -> bytes:
    return (json.dumps(book.to_plain(), indent=1, ensure_ascii=False) + "\n").encode()


def moodle_csv(book: Gradebook, roster: Roster) -> bytes:
    """A row a student, a column a day.

    Moodle's import asks which column names the student (an email address, an ID number or a
    username) and to which grade item each other one goes, so that their names are free:
    https://docs.moodle.org/311/en/Grade_import
    """
    head = ["Full name", "Email address", "ID number", "Username"]
    head += [_title(day) for day in _days(book)] + ["Total"]
    rows = []
    for student in book.students:
        known = roster.of(student)
        who = [known.get(key, "") for key in ("name", "email", "id", "username")]
        rows.append([*who, *_points(student)])
    return _csv(head, rows)


def canvas_csv(book: Gradebook, roster: Roster) -> bytes:
    """A row a student, a column a day, below a row of what each is worth.

    Canvas finds the student by name, ID or SIS User ID, and wants the SIS Login ID and the section;
    a column whose name is no assignment makes a new one:
    https://teaching.resources.osu.edu/toolsets/carmencanvas/guides/calculating-final-grades/import-csv-file-carmen-grades
    The second row is as in what Canvas itself exports.
    """
    head = ["Student", "ID", "SIS User ID", "SIS Login ID", "Section"]
    head += [_title(day) for day in _days(book)]
    worth = [number(day.out_of) for day in _days(book)]
    rows: list[Sequence[object]] = [["    Points Possible", "", "", "", "", *worth]]
    for student in book.students:
        known = roster.of(student)
        keys = ("name", "canvas_id", "sis_id", "username", "section")
        rows.append([*(known.get(key, "") for key in keys), *_points(student)[:-1]])
    return _csv(head, rows)


def classroom_json(student: Student) -> dict[str, Any]:
    """What a grader of GitHub Classroom hands to its reporter, which reads ``status``,
    ``max_score`` and of each test ``name``, ``status``, ``score`` and ``message``:
    https://github.com/classroom-resources/autograding-grading-reporter
    """
    tests = [
        {
            "name": f"{day.track} day {day.day}: {exercise.name}",
            "status": "pass" if exercise.status == "passed" else "fail",
            "score": rounded(exercise.points),
            "message": exercise.log or None if exercise.status == "passed"
            else exercise.log or exercise.status,
            "filename": day.path,
            "line_no": 0,
        }
        for day in student.days
        for exercise in day.exercises
        if exercise.status != "skipped"
    ]  # fmt: skip
    failed = any(test["status"] == "fail" for test in tests)
    return {
        "version": 1,
        "status": "fail" if failed or not tests else "pass",
        "max_score": rounded(student.out_of),
        "tests": tests,
    }


def classroom_payload(student: Student) -> str:
    """The same as the reporter takes it from the environment."""
    return base64.b64encode(json.dumps(classroom_json(student)).encode()).decode()


def gradescope_json(student: Student) -> dict[str, Any]:
    """Gradescope's results.json: https://gradescope-autograders.readthedocs.io/en/latest/specs/"""
    tests = [
        {
            "name": f"{day.track} day {day.day}: {exercise.name}",
            "number": f"{position}.{n}",
            "score": rounded(exercise.points),
            "max_score": rounded(exercise.out_of),
            "status": "passed" if exercise.status in ("passed", "skipped") else "failed",
            "output": exercise.log or exercise.status,
            "visibility": "visible",
        }
        for position, day in enumerate(student.days, 1)
        for n, exercise in enumerate(day.exercises, 1)
    ]
    return {
        "score": rounded(student.points),
        "execution_time": round(sum(day.seconds for day in student.days)),
        "output": "\n".join(student.log),
        "visibility": "visible",
        "stdout_visibility": "hidden",
        "tests": tests,
        "extra_data": {"sha256": {f"{d.track}/{d.day}": d.sha256 for d in student.days}},
    }


def file_name(student: str) -> str:
    """A file's name for a student of any name: what is readable of it, and what tells it apart."""
    readable = re.sub(r"[^\w.-]+", "_", student, flags=re.ASCII).strip("._")[:40]
    return f"{readable or 'student'}-{hashlib.sha256(student.encode()).hexdigest()[:8]}"


def number(points: float) -> str:
    return f"{points:.4f}".rstrip("0").rstrip(".")


def rounded(points: float) -> float:
    return round(points, 4)


def _days(book: Gradebook) -> list[DayGrade]:
    """The columns. What an exercise is worth can differ where one could not be tried: the most
    counts."""
    if not book.students:
        return []
    return [
        max((student.days[n] for student in book.students), key=lambda day: day.out_of)
        for n in range(len(book.days))
    ]


def _title(day: DayGrade) -> str:
    return f"{day.track} day {day.day:02d}"


def _points(student: Student) -> list[str]:
    return [*(number(day.points) for day in student.days), number(student.points)]


def _csv(head: Sequence[str], rows: Iterable[Sequence[object]], mark: bytes = b"") -> bytes:
    file = io.StringIO(newline="")
    writer = csv.writer(file)
    writer.writerow(head)
    for row in rows:
        writer.writerow([_cell(value) for value in row])
    return mark + file.getvalue().encode("utf-8", "replace")


def _cell(value: object) -> object:
    """No text that a spreadsheet would take for a formula: a student may be named =cmd|…"""
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r"):
        return f"'{value}"
    return value
