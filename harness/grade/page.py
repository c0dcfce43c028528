"""The gradebook as one HTML page: nothing is fetched, nothing runs, every text is escaped."""

from __future__ import annotations

from collections.abc import Mapping

from harness.curriculum import Day
from harness.grade.book import DayGrade, ExerciseGrade, Gradebook, Student
from harness.grade.formats import number
from harness.grade.similar import Likeness, Pair, Span
from harness.measure.units import bytes_text, seconds_text
from harness.report.html import Html, folded, join, paragraph, section, table, tag
from harness.report.page import document

MORE_STYLE = """
.beside { display: grid; grid-template-columns: repeat(2, minmax(0, 1fr)); gap: .5rem; }
.log { white-space: pre-wrap; overflow-wrap: anywhere; }
h3, summary, dd { overflow-wrap: anywhere; }
"""
TITLE = "Gradebook"
WORDS = {"passed": "good", "skipped": "", "not handed in": "muted"}
Sources = Mapping[tuple[str, str, int], str]
"""The text of what was handed in, by student, track and day."""


def page(book: Gradebook, alike: Mapping[str, Likeness], sources: Sources, made: str) -> str:
    """The page; ``alike`` is by the day's key."""
    main = tag(
        "main",
        _overview(book),
        _similar(book, alike, sources),
        _left(book),
        _details(book),
        id="content",
    )
    return document(TITLE, _header(book, made), main, "", MORE_STYLE)


def _header(book: Gradebook, made: str) -> Html:
    files = sum(bool(day.sha256) for student in book.students for day in student.days)
    failed = sum(e.status == "not graded" for s in book.students for d in s.days
                 for e in d.exercises)  # fmt: skip
    forces = {tuple(day.sandbox) for s in book.students for day in s.days if day.device}
    if forces:
        in_force = "; or ".join(sorted(" + ".join(f) or "nothing" for f in forces))
    else:
        in_force = "nothing was run"
    totals = {
        "submissions": len(book.students),
        "days graded": files,
        "exercises not graded": failed,
        "seeds": ", ".join(map(str, book.seeds)),
    }
    boxes = [tag("div", tag("dt", name), tag("dd", value)) for name, value in totals.items()]
    parts = {"points": "Points", "similar": "Similar answers", "left": "Left out",
             "students": "Students"}  # fmt: skip
    where = [tag("li", tag("a", name, href=f"#{place}")) for place, name in parts.items()]
    return tag(
        "header",
        tag("h1", TITLE),
        paragraph("Made on ", made, muted=True),
        tag("dl", *boxes, class_="totals"),
        paragraph("Of the sandbox was in force: ", in_force, "."),
        tag("nav", tag("ul", *where), aria_label="Parts of this page"),
    )


def _overview(book: Gradebook) -> Html:
    headings = ["Student", *(f"{day.track} {day.number}" for day in book.days), "Total"]
    rows = [
        [
            tag("a", student.name, href=f"#s{n}"),
            *(_cell(day) for day in student.days),
            f"{number(student.points)} of {number(student.out_of)}",
        ]
        for n, student in enumerate(book.students)
    ]
    if not rows:
        return section("points", "Points", paragraph("There is no submission."))
    return section(
        "points", "Points",
        table("Points by student and day", headings, rows, numbers=range(1, len(headings))),
        _averages(book),
    )  # fmt: skip


def _cell(day: DayGrade) -> Html:
    if any(exercise.status == "not graded" for exercise in day.exercises):
        return tag("span", "not graded", class_="bad")
    if not day.sha256:
        return tag("span", "–", class_="muted", title="not handed in")
    whole = day.points >= day.out_of
    return tag("span", number(day.points), class_="good" if whole else None)


def _averages(book: Gradebook) -> Html:
    rows = []
    for n, day in enumerate(book.days):
        handed = [student.days[n] for student in book.students if student.days[n].sha256]
        for at, exercise in enumerate(day.exercises):
            passed = sum(grade.exercises[at].status == "passed" for grade in handed)
            rows.append([f"{day.track} {day.number}: {exercise.name}", passed, len(handed)])
    shown = table("How many passed", ["Exercise", "Passed", "Handed in"], rows, numbers=(1, 2))
    return folded("How many passed each exercise", shown)


def _similar(book: Gradebook, alike: Mapping[str, Likeness], sources: Sources) -> Html:
    parts: list[Html] = []
    for day in book.days:
        found = alike.get(day.key)
        if found is None or not (found.pairs or found.groups):
            continue
        parts.append(tag("h3", f"{day.track} day {day.number}: {day.title}"))
        for group in found.groups:
            parts.append(paragraph(
                f"{len(group)} answers are the same but for names, numbers and layout: ",
                ", ".join(group[:20]), f" and {len(group) - 20} more" if len(group) > 20 else "",
            ))  # fmt: skip
        parts += [_pair(day, pair, sources) for pair in found.pairs]
    if not parts:
        parts = [paragraph("No two answers to a day are remarkably alike.")]
    return section(
        "similar", "Similar answers",
        paragraph("Short exercises have few right answers: what is alike is a reason to look, and "
                  "no proof. The stub's own lines are not counted.", muted=True),
        *parts,
    )  # fmt: skip


def _pair(day: Day, pair: Pair, sources: Sources) -> Html:
    left = sources[pair.left, day.track, day.number].splitlines()
    right = sources[pair.right, day.track, day.number].splitlines()
    summary = f"{pair.left} and {pair.right}: {100 * pair.share:.0f} % ({pair.shared} fingerprints)"
    spans = [_span(span, pair, left, right) for span in pair.spans]
    return folded(summary, *spans)


def _span(span: Span, pair: Pair, left: list[str], right: list[str]) -> Html:
    sides = [
        tag(
            "figure",
            tag("figcaption", f"{student}, lines {a} to {b}"),
            tag("pre", _lines(text, a, b)),
        )
        for student, (a, b), text in (
            (pair.left, span.left, left),
            (pair.right, span.right, right),
        )
    ]
    return tag("div", *sides, class_="beside")


def _lines(text: list[str], first: int, last: int) -> str:
    return "\n".join(f"{n:4} {text[n - 1]}" for n in range(first, min(last, len(text)) + 1))


def _left(book: Gradebook) -> Html:
    lines = [tag("li", line) for line in book.left]
    for student in book.students:
        lines += [tag("li", f"{student.name}: {line}") for line in student.log]
    shown = tag("ul", *lines, class_="notes") if lines else paragraph("Nothing.")
    return section("left", "Left out, and decided", shown)


def _details(book: Gradebook) -> Html:
    return section(
        "students", "Students", *(_student(n, student) for n, student in enumerate(book.students))
    )


def _student(n: int, student: Student) -> Html:
    parts: list[Html] = []
    for day in student.days:
        if not day.sha256:
            continue
        rows = [_row(exercise) for exercise in day.exercises]
        caption = join(
            [
                f"{day.track} day {day.day}: {day.title}. {number(day.points)} of "
                f"{number(day.out_of)} points; {day.path}, SHA-256 ",
                tag("code", day.sha256[:16]),
                f"; {seconds_text(day.seconds)} on {day.machine or 'this machine'}"
                f"{', ' + day.device if day.device else ''}, {day.when}",
            ]
        )
        headings = ["Exercise", "Result", "Points", "Time", "Memory", "Why"]
        parts.append(_table(caption, f"{day.track} {day.day}", headings, rows))
        if day.points < day.out_of:
            parts.append(folded("All that the tests say", tag("pre", day.log, class_="log")))
    if not parts:
        parts = [paragraph("Nothing was graded.")]
    heading = tag("h3", student.name, " ", tag("span", student.source, class_="muted"), id=f"s{n}")
    return tag("div", heading, *parts)


def _table(caption: Html, label: str, headings: list[str], rows: list[list[object]]) -> Html:
    shown = table(label, headings, rows, numbers=(2, 3, 4), wide=(5,))
    return join([tag("p", caption), shown])


def _row(exercise: ExerciseGrade) -> list[object]:
    word = tag("span", exercise.status, class_=WORDS.get(exercise.status, "bad") or None)
    return [
        exercise.name, word, f"{number(exercise.points)} of {number(exercise.out_of)}",
        seconds_text(exercise.seconds) if exercise.seconds else "–",
        bytes_text(exercise.peak_bytes) if exercise.peak_bytes else "–", exercise.log,
    ]  # fmt: skip
