"""The report as one HTML page: nothing is fetched, nothing runs, every text is escaped."""

from __future__ import annotations

import base64
import datetime
import os
import tempfile
from collections.abc import Callable, Iterable, Sequence
from html import escape
from pathlib import Path

from harness.bench.contenders import REFERENCE
from harness.bench.plots import draw
from harness.bench.results import BenchResult, CaseResult, Figure
from harness.bench.table import notes, share, time_text
from harness.curriculum import ROOT
from harness.measure.units import bytes_text
from harness.progress.store import Attempt
from harness.progress.summary import PLANNED, DayProgress
from harness.report.chart import attempts_chart
from harness.report.collect import Bench, Kernels, Learner

STYLE = Path(__file__).with_name("style.css")
TITLES = {"triton": "Triton", "pytorch": "PyTorch", "autodiff": "Autodiff"}
SHOWN = 20
"""Attempts that are shown at once; the earlier ones unfold."""
LEVELS = ("not started", "started", "checked on the CPU", "passed on a GPU")
MARKS = ("·", "…", "✓", "✓✓")
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"

Link = Callable[[Path], str]
"""From a file of the project to what the page links to."""


def page(learner: Learner, target: Path, root: Path = ROOT) -> str:
    """The page, to be written to ``target``: its links are relative to that place."""

    def link(file: Path) -> str:
        try:
            return Path(os.path.relpath(file, target.parent)).as_posix()
        except ValueError:  # another drive
            return file.as_uri()

    parts = [
        _header(learner),
        '<main id="content">',
        _days(learner, link, root),
        _history(learner, link, root),
        _benches(learner.benches, link, root),
        _kernels(learner.kernels, link, root),
        _unreadable(learner.unreadable),
        "</main>",
        _footer(learner),
    ]
    head = (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="color-scheme" content="light dark">\n'
        "<title>My progress: machine learning systems in 102 days</title>\n"
        f"<style>\n{STYLE.read_text(encoding='utf-8')}</style>\n</head>\n<body>\n"
        '<a class="skip" href="#content">To the content</a>\n'
    )
    return head + "\n".join(part for part in parts if part) + "\n</body>\n</html>\n"


def _header(learner: Learner) -> str:
    progress = learner.progress
    days = [day for several in progress.tracks.values() for day in several]
    medals = [day.medal for day in days if day.medal]
    totals = [
        ("days passed", f"{sum(d.level >= 2 for d in days)} of {sum(PLANNED.values())}"),
        ("days in a row", str(progress.streak)),
        ("hours at work", f"{progress.seconds / 3600:.1f}"),
        ("attempts", str(progress.attempts)),
        ("hints used", str(progress.hints)),
        ("medals", _medals(medals)),
    ]
    boxes = "".join(f"<div><dt>{escape(k)}</dt><dd>{escape(v)}</dd></div>" for k, v in totals)
    machines = dict.fromkeys(a.device for a in learner.attempts if a.device)
    seen = f"<p class=muted>Graded on: {escape(', '.join(machines))}</p>" if machines else ""
    when = f"{learner.made:%d %B %Y, %H:%M}"
    return (
        "<header>\n<h1>Machine learning systems in 102 days</h1>\n"
        f"<p class=muted>My progress on {when}</p>\n"
        f"<dl class=totals>{boxes}</dl>\n{seen}</header>"
    )


def _medals(medals: Sequence[str]) -> str:
    counted = [f"{medals.count(m)} {m}" for m in ("gold", "silver", "bronze") if m in medals]
    return ", ".join(counted) or "none"


def _days(learner: Learner, link: Link, root: Path) -> str:
    rows = []
    for track, days in learner.progress.tracks.items():
        cells = [_cell(track, day, link, root) for day in days]
        known = {day.day for day in days}
        for number in range(1, PLANNED.get(track, len(days)) + 1):
            if number not in known:
                cells.append((number, _later(number)))
        done = sum(day.level >= 2 for day in days)
        rows.append(
            f"<h3>{TITLES.get(track, track)}: {done} of {PLANNED.get(track, len(days))}</h3>\n"
            f'<ol class="days" aria-label="{escape(track)}">'
            + "".join(html for _, html in sorted(cells))
            + "</ol>"
        )
    key = "".join(
        f'<li><span class="l{level}" aria-hidden="true">{MARKS[level]}</span>{name}</li>'
        for level, name in enumerate(LEVELS)
    )
    key += '<li><span class="later" aria-hidden="true">–</span>still to come</li>'
    start = ""
    if not learner.attempts:
        start = (
            "<p>Nothing has been graded yet. Start with <code>make lesson TRACK=triton DAY=1</code>"
            " and <code>make triton DAY=1</code>; any track will do.</p>"
        )
    return (
        '<section aria-labelledby="days"><h2 id="days">Days</h2>\n'
        f'{start}<ul class="key">{key}</ul>\n' + "\n".join(rows) + "</section>"
    )


def _cell(track: str, day: DayProgress, link: Link, root: Path) -> tuple[int, str]:
    file = root / "tracks" / track / f"day{day.day:02}.py"
    medal = f", {day.medal} medal" if day.medal else ""
    said = f"Day {day.day}: {day.title} ({LEVELS[day.level]}{medal})"
    mark = MARKS[day.level] + (day.medal[:1].upper() if day.medal else "")
    return day.day, (
        f'<li><a class="l{day.level}" href="{escape(link(file))}" title="{escape(said)}" '
        f'aria-label="{escape(said)}">{day.day}<span class="mark">{mark}</span></a></li>'
    )


def _later(number: int) -> str:
    mark = '<span class="mark" aria-hidden="true">–</span>'
    return f'<li><span class="later">{number}{mark}</span></li>'


def _history(learner: Learner, link: Link, root: Path) -> str:
    head = '<section aria-labelledby="history"><h2 id="history">Attempts</h2>\n'
    if not learner.attempts:
        return head + "<p class=muted>Every graded run will be listed here.</p></section>"
    newest = _attempts(learner.attempts[:SHOWN], "The newest first", link, root)
    earlier = learner.attempts[SHOWN:]
    more = ""
    if earlier:
        table = _attempts(earlier, "Earlier attempts", link, root)
        more = f"<details><summary>{len(earlier)} earlier attempts</summary>{table}</details>"
    chart = attempts_chart(learner.attempts, learner.made.date())
    return f"{head}{chart}\n{newest}\n{more}</section>"


def _attempts(attempts: Sequence[Attempt], caption: str, link: Link, root: Path) -> str:
    rows = []
    for attempt in attempts:
        at = datetime.datetime.fromtimestamp(attempt.at)
        file = root / "tracks" / attempt.track / f"day{attempt.day:02}.py"
        passed = attempt.passed == attempt.total and attempt.total > 0
        result = f"{'✓' if passed else '✗'} {attempt.passed} of {attempt.total}"
        rows.append(
            [
                f'<time datetime="{at:%Y-%m-%dT%H:%M:%S}">{at:%d %b %Y, %H:%M}</time>',
                f'<a href="{escape(link(file))}">{escape(attempt.track)} {attempt.day}</a>',
                f"<span class={'good' if passed else 'bad'}>{result}</span>",
                escape(", ".join(attempt.failing) or "–"),
                escape(attempt.device or "–"),
                f"{attempt.seconds:.1f} s",
                escape(bytes_text(attempt.peak_bytes)) if attempt.peak_bytes else "–",
                str(attempt.hints),
            ]
        )
    headings = ["When", "Day", "Exercises", "Not passed", "Device", "Time", "Memory", "Hints"]
    return _table(caption, headings, rows, numbers=(5, 6, 7), wide=(3,))


def _benches(benches: Sequence[Bench], link: Link, root: Path) -> str:
    head = '<section aria-labelledby="benches"><h2 id="benches">Benchmarks</h2>\n'
    if not benches:
        return (
            f"{head}<p class=muted>None yet. <code>make bench TRACK=triton DAY=7</code> times your "
            "kernels beside the reference and what the world would use; medals need a GPU.</p>"
            "</section>"
        )
    return head + "\n".join(_bench(one, link, root) for one in benches) + "</section>"


def _bench(one: Bench, link: Link, root: Path) -> str:
    day, machine = one.day, one.run.machine
    file = root / "tracks" / day.track / f"day{day.day:02}.py"
    title = f'<a href="{escape(link(file))}">{escape(day.track)} day {day.day}</a>'
    what = ", ".join(f"{name}: {file}" for name, file in day.files.items())
    about = f"{machine.get('name', '')}, {one.run.when[:16].replace('T', ' ')} UTC; {what}"
    medal = f"<p><strong>{escape(day.medal.capitalize())} medal.</strong></p>" if day.medal else ""
    tables = "\n".join(_cases(bench, one) for bench in day.benches)
    return f"<h3>{title}</h3>\n<p class=muted>{escape(about)}</p>\n{medal}{tables}\n{_plots(one)}"


def _cases(bench: BenchResult, one: Bench) -> str:
    rows = []
    for case in bench.cases:
        for figure in case.figures:
            if figure.ns is not None:
                rows.append(_figure(bench, case, figure, one))
    headings = ["Case", "Who", "Time", "±", "Of the ceiling", "Speed against the reference"]
    table = _table(bench.name, headings, rows, numbers=(2, 3, 4, 5))
    said = [*notes(bench), *(f"goal {g.text}: {g.status} ({g.detail})" for g in bench.goals)]
    listed = "".join(f"<li>{escape(text)}</li>" for text in said)
    return table + (f"<details><summary>Goals and notes</summary><ul>{listed}</ul></details>"
                    if said else "")  # fmt: skip


def _figure(bench: BenchResult, case: CaseResult, figure: Figure, one: Bench) -> list[str]:
    assert figure.ns is not None
    label = escape(case.label) + (" (untrusted)" if case.untrusted else "")
    if not figure.counts:
        return [label, escape(figure.contender), "wrong answer", "", "", ""]
    part = share(bench, case, figure, one.day)
    ratio = case.ratio(figure.contender, REFERENCE)
    return [
        label,
        escape(figure.contender),
        time_text(figure.ns.median),
        f"{figure.ns.error:.1%}",
        f"{part:.0%}" if part is not None else "–",
        f"{ratio.median:.2f}×" if ratio else "–",
    ]


def _plots(one: Bench) -> str:
    with tempfile.TemporaryDirectory(prefix="report-") as folder:
        figures = []
        for file in draw(one.day, Path(folder)):
            name = escape(file.stem.replace("_", " ").replace("-", " "))
            data = base64.b64encode(file.read_bytes()).decode()
            figures.append(
                f'<figure><img src="data:image/png;base64,{data}" alt="Plot: {name}. Its numbers '
                f'stand in the table above."><figcaption>{name}</figcaption></figure>'
            )
    if not figures:
        return ""
    return f"<details open><summary>Plots</summary>{''.join(figures)}</details>"


def _kernels(kernels: Sequence[Kernels], link: Link, root: Path) -> str:
    head = '<section aria-labelledby="kernels"><h2 id="kernels">What the compiler made of it</h2>\n'
    if not kernels:
        return (
            f"{head}<p class=muted>Nothing yet. <code>make xray DAY=7</code> compiles your kernels "
            "for a GPU, also without one, and shows registers, spills and the width of loads.</p>"
            "</section>"
        )
    parts = []
    for one in kernels:
        file = root / "tracks" / "triton" / f"day{one.day:02}.py"
        old = "" if one.current else " (of an earlier version of your file)"
        rows = [_kernel(report) for report in one.reports]
        headings = [
            "Kernel", "Chip", "Registers", "Spilled", "Shared memory", "Occupancy",
            "Widest load", "Widest store", "Tensor cores", "Refused",
        ]  # fmt: skip
        table = _table(f"Triton day {one.day}{old}", headings, rows, range(2, 8), wide=(9,))
        parts.append(f'<h3><a href="{escape(link(file))}">Day {one.day}</a></h3>\n{table}')
    return head + "\n".join(parts) + "</section>"


def _kernel(report: dict[str, object]) -> list[str]:
    from harness.kernels.xray.report import KernelReport

    one = KernelReport.from_json(report)
    who = [escape(one.kernel), escape(one.chip)]
    if one.refused is not None:
        return [*who, *["–"] * 7, escape(one.refused.text())]
    return [
        *who,
        str(one.registers),
        bytes_text(one.spill_bytes) if one.spill_bytes else "none",
        bytes_text(one.shared_bytes) if one.shared_bytes else "none",
        f"{one.occupancy:.0%}",
        f"{one.widest_load_bits} bits",
        f"{one.widest_store_bits} bits",
        escape(one.tensor_core or "not used"),
        "–",
    ]


def _unreadable(problems: Sequence[str]) -> str:
    if not problems:
        return ""
    listed = "".join(f"<li>{escape(text)}</li>" for text in problems)
    return (
        '<section aria-labelledby="unreadable"><h2 id="unreadable">Could not be read</h2>'
        f"<ul>{listed}</ul></section>"
    )


def _footer(learner: Learner) -> str:
    return (
        "<footer>Made by <code>make report</code> on "
        f'<time datetime="{learner.made.isoformat()}">{learner.made:%d %B %Y, %H:%M}</time>. '
        "This page fetches nothing and sends nothing.</footer>"
    )


def _table(
    caption: str,
    headings: Sequence[str],
    rows: Iterable[Sequence[str]],
    numbers: Iterable[int] = (),
    wide: Iterable[int] = (),
) -> str:
    """A table in a box of its own that scrolls sideways; cells are HTML, headings text."""
    kinds = {i: " class=number" for i in numbers} | {i: " class=wrap" for i in wide}
    number = {i: " class=number" for i in numbers}
    head = "".join(
        f"<th scope=col{number.get(i, '')}>{escape(name)}</th>" for i, name in enumerate(headings)
    )
    body = "".join(
        "<tr>"
        + "".join(f"<td{kinds.get(i, '')}>{cell}</td>" for i, cell in enumerate(row))
        + "</tr>"
        for row in rows
    )
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(caption)}">'
        f"<table><caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead>"
        f"<tbody>{body}</tbody></table></div>"
    )
