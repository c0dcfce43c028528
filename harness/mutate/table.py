"""The table of days and caught mutants in docs/mutants.md, made by the runs themselves."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable
from pathlib import Path

from harness.curriculum import ROOT, CurriculumError, Day, read_source
from harness.curriculum.source import comments_of, normalised
from harness.mutate.report import DayReport, percent

TABLE = ROOT / "docs" / "mutants.md"
BEGIN = "<!-- mutants:begin -->"
END = "<!-- mutants:end -->"
HEAD = (
    "| Day | Title | Caught | Mutants | % | Same program | Habits rejected | Made from |\n"
    "|---|---|---:|---:|---:|---:|---:|---|"
)
HOUSE = ("<!-- house:begin -->", "<!-- house:end -->")
HOUSE_HEAD = (
    "| File | Caught | Mutants | % | Same program | Made from |\n|---|---:|---:|---:|---:|---|"
)
_ROW = re.compile(r"^\| (\w+/\d+) \|.*$", re.MULTILINE)
_HOUSE_ROW = re.compile(r"^\| (harness/\S+) \|.*$", re.MULTILINE)
_ALL = "all"


def hash_of(day: Day) -> str:
    """What a day's figures depend on: its reference without its comments (a hint that is worded
    anew changes no mutant), its tests, and what it declares."""
    reference = normalised(read_source(day.solution))
    lines = reference.split("\n")
    for comment in comments_of(reference):
        lines[comment.line - 1] = comment.before.rstrip()
    code = "\n".join(line for line in lines if line)
    others = (path.read_bytes() for path in (day.tests, day.bugs) if path.exists())
    return hashlib.sha256(b"\0".join((code.encode(), *others))).hexdigest()[:8]


def updated(text: str, reports: Iterable[DayReport], path: Path = TABLE) -> str:
    """``text`` with the reports' rows in its table; other days keep theirs."""
    rows = {report.key: _row(report) for report in reports}
    return _with_rows(text, (BEGIN, END), HEAD, _ROW, rows, _sum, path)


def updated_house(text: str, reports: Iterable[DayReport], path: Path = TABLE) -> str:
    """The same for the table of the harness's own files."""
    rows = {report.key: _house_row(report) for report in reports}
    return _with_rows(text, HOUSE, HOUSE_HEAD, _HOUSE_ROW, rows, _house_sum, path)


def _with_rows(
    text: str,
    marks: tuple[str, str],
    head: str,
    known: re.Pattern[str],
    new: dict[str, str],
    sum_of: Callable[[Iterable[str]], str],
    path: Path,
) -> str:
    begin, end = marks
    for mark in marks:
        if text.count(mark) != 1:
            found = text.count(mark)
            raise CurriculumError(path, 1, f"it must hold {mark} exactly once, not {found} times")
    before, rest = text.split(begin)
    if end not in rest:
        raise CurriculumError(path, before.count("\n") + 1, f"{end} must stand after {begin}")
    table, after = rest.split(end)
    rows = {**{match[1]: match[0] for match in known.finditer(table)}, **new}
    body = "\n".join([head, *(rows[key] for key in sorted(rows)), sum_of(rows.values())])
    return f"{before}{begin}\n\n{body}\n\n{end}{after}"


def stale(text: str, days: Iterable[Day]) -> list[str]:
    """The days whose row is missing, or was made from other files than there are now."""
    made = {match[1]: match[0].rstrip(" |").split("| ")[-1] for match in _ROW.finditer(text)}
    return [day.key for day in days if made.get(day.key) != f"`{hash_of(day)}`"]


def _row(report: DayReport) -> str:
    same = sum(one.count("equivalent") for one in report.judged)
    rejected = report.habits_of("", "rejected")
    habits = f"{rejected} of {rejected + len(report.accepted)}" if report.habits else "not run"
    title = report.title.replace("|", "\\|")
    return (
        f"| {report.key} | {title} | {report.caught} | {report.total} | {report.percent:.1f} "
        f"| {same} | {habits} | `{report.files}` |"
    )


def _sum(rows: Iterable[str]) -> str:
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for row in rows]
    caught, total, same = (sum(int(row[at]) for row in cells) for at in (2, 3, 5))
    habits = [row[6].split(" of ") for row in cells if " of " in row[6]]
    rejected, applicable = (sum(int(pair[at]) for pair in habits) for at in (0, 1))
    return (
        f"| {_ALL} | {len(cells)} days | {caught} | {total} | {percent(caught, total):.1f} "
        f"| {same} | {rejected} of {applicable} | |"
    )


def _house_row(report: DayReport) -> str:
    same = sum(one.count("equivalent") for one in report.judged)
    return (
        f"| {report.key} | {report.caught} | {report.total} | {report.percent:.1f} | {same} "
        f"| `{report.files}` |"
    )


def _house_sum(rows: Iterable[str]) -> str:
    cells = [[cell.strip() for cell in row.split("|")[1:-1]] for row in rows]
    caught, total, same = (sum(int(row[at]) for row in cells) for at in (1, 2, 4))
    share = f"{percent(caught, total):.1f}"
    return f"| {_ALL} {len(cells)} files | {caught} | {total} | {share} | {same} | |"
