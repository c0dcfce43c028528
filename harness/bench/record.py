"""Results on record: one file a machine and track, and the table in the track's README.

``python -m harness.bench.record result.json`` puts what ``make bench`` measured into
``tracks/<track>/benches/results/<machine>.json`` and writes the tables anew, between
``<!-- results:begin -->`` and ``<!-- results:end -->``.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from harness.bench.contenders import REFERENCE, YOURS
from harness.bench.machine import slug
from harness.bench.results import CaseResult, DayBench, Report, load, save
from harness.bench.table import rate, time_text
from harness.curriculum import ROOT
from harness.grading.finder import short_hash

OLD = "† measured on an earlier version of this day's reference."
COLUMN = 4  # a peer of a quarter of the cases has a column of its own
BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"


def record(path: Path, root: Path = ROOT) -> list[Path]:
    """Put a result on record; returns the files written. ValueError says what forbids it."""
    report = load(path)
    for day in report.days:
        if not (root / "tracks" / day.track).is_dir():
            raise ValueError(f"{path} holds results of {day.track!r}, which is no track here")
        if any(case.untrusted for bench in day.benches for case in bench.cases):
            raise ValueError(
                f"{path}: {day.track} day {day.day} has untrusted figures, and the record is for "
                "figures that hold: measure again on a quiet machine"
            )
    written = []
    for track in dict.fromkeys(day.track for day in report.days if not day.problem):
        mine = replace(report, days=[d for d in report.days if d.track == track and not d.problem])
        target = root / "tracks" / track / "benches" / "results"
        target /= f"{slug(report.machine['name'])}.json"
        save(_merged(target, mine), target)
        written.append(target)
        readme = root / "tracks" / track / "README.md"
        if readme.exists():
            text = readme.read_text(encoding="utf-8")
            readme.write_text(in_readme(text, table(recorded(root, track), root)), encoding="utf-8")
            written.append(readme)
    return written


def recorded(root: Path, track: str) -> list[Report]:
    """Every result on record of a track, by machine."""
    return [load(path) for path in sorted((root / "tracks" / track).glob("benches/results/*.json"))]


def table(reports: Sequence[Report], root: Path = ROOT) -> str:
    """A Markdown table a machine: the reference against its peers, and the goals.

    A day whose reference has changed since it was measured is marked.
    """
    parts = []
    for report in reports:
        versions = ", ".join(f"{k} {v}" for k, v in report.versions.items() if k != "python")
        when = report.when[:10]
        where = f"{report.machine['detail']}; {versions}; {when}"
        parts.append(f"**{report.machine['name']}** ({where})\n")
        old = {day.day for day in report.days if _is_old(day, root)}
        names, rare = _peers(report)
        head = ["day", "bench", "case", "reference", "of its ceiling", *names]
        head += ["others"] if rare else []
        parts.append(_line(head))
        parts.append(_line(["---"] * len(head)))
        parts += [
            _line(row) for day in report.days for row in _rows(day, names, rare, day.day in old)
        ]
        if old:
            parts.append("\n" + OLD)
        goals = [
            (goal, day.day in old)
            for day in report.days
            for bench in day.benches
            for goal in bench.goals
        ]
        if goals:
            parts.append("")
            parts += [
                f"- {g.bench}{' †' if is_old else ''}: {g.text}: {g.status} ({g.detail})"
                for g, is_old in goals
            ]
        parts.append("")
    return "\n".join(parts).rstrip("\n")


def in_readme(text: str, table: str) -> str:
    """``text`` with the table between its two markers."""
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise ValueError(f"the README needs {BEGIN} and then {END}, each once")
    before, rest = text.split(BEGIN)
    return f"{before}{BEGIN}\n{table}\n{END}{rest.split(END)[1]}"


def _merged(target: Path, report: Report) -> Report:
    """``report`` with those days of the old file that it does not measure anew."""
    if not target.exists():
        return report
    anew = {day.day for day in report.days}
    kept = [day for day in load(target).days if day.day not in anew]
    return replace(report, days=sorted([*kept, *report.days], key=lambda day: day.day))


def _peers(report: Report) -> tuple[list[str], list[str]]:
    """The peers that a column is worth, and those that only some benches have."""
    seen: Counter[str] = Counter()
    cases = [case for day in report.days for bench in day.benches for case in bench.cases]
    for case in cases:
        seen.update(f.contender for f in case.figures if f.counts)
    names = [name for name in seen if name not in (YOURS, REFERENCE)]
    columns = [name for name in names if COLUMN * seen[name] >= len(cases)]
    return columns, [name for name in names if name not in columns]


def _is_old(day: DayBench, root: Path) -> bool:
    """Whether the reference is another one today than the one that was measured."""
    path, _, measured = day.files.get(REFERENCE, "").partition(" #")
    return bool(measured) and (root / path).is_file() and short_hash(root / path) != measured


def _rows(day: DayBench, names: Sequence[str], rare: Sequence[str], old: bool) -> list[list[str]]:
    from harness.bench.table import share

    rows = []
    for bench in day.benches:
        for case in bench.cases:
            figure = case.figure(REFERENCE)
            if figure is None or figure.ns is None:
                continue
            part = share(bench, case, figure, day)
            seconds = figure.ns.median / 1e9
            own = time_text(figure.ns.median)
            if bench.unit == "GB/s":
                own += f", {rate(case.bytes / seconds, 'B/s')}"
            elif bench.unit == "FLOP/s":
                own += f", {rate(case.flops / seconds, 'FLOP/s')}"
            of = f"{part:.0%}" if part is not None else "–"
            peers = [_against(case, name) for name in names]
            if rare:
                others = [f"{name} {_against(case, name)}" for name in rare if case.figure(name)]
                peers.append(", ".join(others) or "–")
            rows.append(
                [f"{day.day}{' †' if old else ''}", bench.name, case.label, own, of, *peers]
            )
    return rows


def _against(case: CaseResult, name: str) -> str:
    """How much faster the reference is than this peer."""
    ratio = case.ratio(REFERENCE, name)
    if ratio is None:
        return "–"
    return f"{ratio.median:.2f}×" if ratio.median >= 0.1 else f"{ratio.median:.1g}×"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    try:
        for file in record(Path(sys.argv[1])):
            print(file)
    except (IndexError, ValueError) as wrong:
        print(wrong if isinstance(wrong, ValueError) else __doc__, file=sys.stderr)
        raise SystemExit(2) from None
