"""The tracks' days: a grid to see at a glance, and a list with links to each day's files."""

from __future__ import annotations

from pathlib import Path

from harness.curriculum import Day
from harness.progress.summary import PLANNED, DayProgress, name_of
from harness.report.collect import Learner
from harness.report.html import Html, Link, folded, join, paragraph, section, table, tag

LEVELS = ("not started", "started", "checked on the CPU", "passed on a GPU", "benched")
MARKS = ("·", "…", "✓", "✓✓", "★")
MEDALS = ("gold", "silver", "bronze")


def days(learner: Learner, link: Link, editor: Link | None) -> Html:
    key = [
        tag("li", tag("span", mark, class_=f"l{level}", aria_hidden="true"), name)
        for level, (mark, name) in enumerate(zip(MARKS, LEVELS, strict=True))
    ]
    key += [
        tag("li", tag("span", "–", class_="later", aria_hidden="true"), "still to come"),
        tag("li", "After a ★, the medal: G gold, S silver, B bronze"),
    ]
    start = None
    if not learner.attempts:
        start = paragraph(
            "Nothing has been graded yet. Read the first lesson with ",
            tag("code", "make lesson TRACK=triton DAY=1"),
            ", write the answers in ",
            tag("a", "day01.py", href=link(Day("triton", 1).file)),
            " and grade them with ",
            tag("code", "make triton DAY=1"),
            ". Any of the three tracks is a good beginning.",
        )
    tracks = [
        _track(learner, name, found, link, editor)
        for name, found in learner.progress.tracks.items()
    ]
    return section("days", "Days", start, tag("ul", *key, class_="key"), *tracks)


def _track(
    learner: Learner, name: str, found: list[DayProgress], link: Link, editor: Link | None
) -> Html:
    planned = max(PLANNED.get(name, 0), *(day.day for day in found), 0)
    known = {day.day: day for day in found}
    cells = [
        _cell(learner, name, known[number], link) if number in known else _later(number)
        for number in range(1, planned + 1)
    ]
    done = sum(day.level >= 2 for day in found)
    title = f"{name_of(name)}: {done} of {planned} days"
    bar = tag("progress", value=done, max=planned, aria_label=title)
    return join(
        [
            tag("h3", title),
            bar,
            tag("ol", *cells, class_="days", aria_label=f"Days of {name_of(name)}"),
            folded(
                f"{name_of(name)} as a list, with lessons and tests",
                _list(learner, name, found, link, editor),
            ),
        ]
    )


def said_of(learner: Learner, track: str, day: DayProgress) -> str:
    medal = f", {day.medal} medal" if day.medal else ""
    return f"{LEVELS[learner.level(track, day.day)]}{medal}"


def _cell(learner: Learner, track: str, day: DayProgress, link: Link) -> Html:
    level = learner.level(track, day.day)
    said = f"{day.title}: {said_of(learner, track, day)}"
    mark = MARKS[level] + (day.medal[:1].upper() if level == 4 else "")
    return tag(
        "li",
        tag(
            "a",
            day.day,
            tag("span", f", {said}", class_="unseen"),
            tag("span", mark, class_="mark", aria_hidden="true"),
            class_=f"l{level}",
            href=link(Day(track, day.day).file),
            title=said,
        ),
    )


def _later(number: int) -> Html:
    hidden = tag("span", "–", class_="mark", aria_hidden="true")
    unseen = tag("span", " still to come", class_="unseen")
    return tag("li", tag("span", number, hidden, unseen, class_="later"))


def _list(
    learner: Learner, track: str, found: list[DayProgress], link: Link, editor: Link | None
) -> Html:
    rows: list[list[object]] = []
    for one in found:
        day = Day(track, one.day)
        links = [
            _to("file", day, day.file, link),
            _to("lesson", day, day.lesson, link),
            _to("tests", day, day.tests, link),
        ]
        if editor is not None:
            links.append(_to("in VS Code", day, day.file, editor))
        title = f"{one.day}. {one.title}"
        rows.append([title, said_of(learner, track, one), one.attempts, join(links, " · ")])
    headings = ["Day", "Reached", "Attempts", "Open"]
    return table(f"{name_of(track)}, day by day", headings, rows, numbers=(2,), wide=(0,))


def _to(name: str, day: Day, file: Path, link: Link) -> Html:
    return tag("a", name, href=link(file), aria_label=f"Day {day.number}, {name}")


def day_link(track: str, number: int, link: Link) -> Html:
    """A day by its name, as a link to its file."""
    return tag("a", f"{name_of(track)} {number}", href=link(Day(track, number).file))
