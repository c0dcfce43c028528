"""Results on record: one file a machine and track, and the pages made from them.

``python -m harness.bench.record result.json`` puts what ``make bench`` measured into
``tracks/<track>/benches/results/<machine>.json``; without a file it only writes the pages anew: a
row a bench in the track's README, between ``<!-- results:begin -->`` and ``<!-- results:end -->``,
and every row, with the plots, in ``tracks/<track>/benches/results/``.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from harness.bench.contenders import EAGER, REFERENCE, YOURS
from harness.bench.machine import slug
from harness.bench.results import BenchResult, CaseResult, DayBench, Report, load, save
from harness.bench.table import rate, time_text
from harness.curriculum import ROOT, find_electives, find_tracks, place_of
from harness.grading.finder import short_hash

OLD = "† measured on an earlier version of this day's reference."
COLUMN = 4  # a peer of a quarter of the cases has a column of its own
OWN = (YOURS, REFERENCE)
FOLDER, ALL = "benches/results", "README.md"
BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"


def record(path: Path, root: Path = ROOT) -> list[Path]:
    """Put a result on record; returns the files written. ValueError says what forbids it.

    Cases whose figures are untrusted are left out: the record is for figures that hold.
    """
    report = load(path)
    for day in report.days:
        if not (root / "tracks" / place_of(day.track)).is_dir():
            raise ValueError(f"{path} holds results of {day.track!r}, which is no track here")
        for bench in day.benches:
            held = [case for case in bench.cases if not case.untrusted]
            if bench.cases and not held:
                raise ValueError(
                    f"{path}: all figures of {day.track} day {day.day}, {bench.name}, are untrusted"
                    ": measure again on a quiet machine"
                )
            bench.cases = held
    written = []
    for track in dict.fromkeys(day.track for day in report.days if not day.problem):
        mine = replace(report, days=[d for d in report.days if d.track == track and not d.problem])
        target = root / "tracks" / place_of(track) / "benches" / "results"
        target /= f"{slug(report.machine['name'])}.json"
        save(_merged(target, mine), target)
        written += [target, *write_pages(root, track)]
    return written


def write_pages(root: Path, track: str) -> list[Path]:
    """The README's rows, the page with all of them, and the plots; returns the files written."""
    reports = recorded(root, track)
    if not reports:
        return []
    folder = root / "tracks" / place_of(track) / "benches" / "results"
    page, written = folder / ALL, []
    title = f"# {track.capitalize()}: everything that was measured\n\n"
    said = "Written by `python -m harness.bench.record`. How to read it: the track's README.\n\n"
    page.write_text(f"{title}{said}{table(reports, root)}\n", encoding="utf-8")
    written.append(page)
    for report in reports:
        for day in report.days:
            for bench in day.benches:
                written += _plot(bench, day, folder / _plot_name(report, bench, day))
    readme = root / "tracks" / place_of(track) / "README.md"
    if readme.exists():
        text = readme.read_text(encoding="utf-8")
        readme.write_text(in_readme(text, overview(reports, root)), encoding="utf-8")
        written.append(readme)
    return written


def _plot_name(report: Report, bench: BenchResult, day: DayBench) -> str:
    return f"{slug(report.machine['name'])}-day{day.day:02d}-{bench.name}.svg"


def _plot(bench: BenchResult, day: DayBench, path: Path) -> list[Path]:
    """The scaling curve as SVG with its text as text, the same whenever it is drawn."""
    import matplotlib

    from harness.bench.plots import scaling

    if not _scales(bench):
        return []
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": path.name}):
        scaling(bench, day).savefig(path, format="svg", metadata={"Date": None})
    return [path]


def _scales(bench: BenchResult) -> bool:
    """Whether there is a size to draw the speed over."""
    from harness.bench.plots import panels_of

    return bool(panels_of(bench)[1])


def overview(reports: Sequence[Report], root: Path = ROOT) -> str:
    """A Markdown table a machine with a row a bench: its worst and its best case, and its goals.
    What was measured on a GPU has its row there; of a CPU stand the others."""
    on_gpu = {key for report in reports if _has_gpu(report) for key in _keys(report)}
    parts = []
    for report in reports:
        shown = [key for key in _keys(report) if _has_gpu(report) or key not in on_gpu]
        if not shown:
            continue
        parts.append(_heading(report))
        parts.append(
            _line(["day", "bench", "worst share of the ceiling", "best", "against torch", "goals"])
        )
        parts.append(_line(["---:", "---", "---", "---", "---", "---"]))
        days = {day for day, _ in shown}
        old = {day.day for day in report.days if day.day in days and _is_old(day, root)}
        for day in report.days:
            for bench in day.benches:
                name = bench.name
                if (day.day, name) not in shown:
                    continue
                if _scales(bench):
                    name = f"[{name}]({FOLDER}/{_plot_name(report, bench, day)})"
                parts.append(
                    _line([f"{day.day}{' †' * (day.day in old)}", name, *_ends(bench, day)])
                )
        parts.append(
            f"\nThe name of a bench leads to its plot; all cases: [{FOLDER}]({FOLDER}/{ALL})."
        )
        if old:
            parts.append(OLD)
        missed = [
            goal
            for day in report.days
            for bench in day.benches
            for goal in bench.goals
            if goal.status == "missed" and (day.day, bench.name) in shown
        ]
        if missed:
            parts.append("\nGoals that are missed:\n")
            parts += [f"- {goal.bench}: {goal.text} ({goal.detail})" for goal in missed]
        parts.append("")
    return "\n".join(parts).rstrip("\n")


def _has_gpu(report: Report) -> bool:
    return bool(report.machine["kind"] == "cuda")


def _keys(report: Report) -> list[tuple[int, str]]:
    return [(day.day, bench.name) for day in report.days for bench in day.benches]


def _ends(bench: BenchResult, day: DayBench) -> list[str]:
    """Worst and best case by the share of the ceiling (or by speed against the first peer)."""
    from harness.bench.table import share

    found: list[tuple[float, str]] = []
    for case in bench.cases:
        figure = case.figure(REFERENCE)
        if figure is None or figure.ns is None:
            continue
        part = share(bench, case, figure, day)
        if part is not None:
            found.append((part, f"{part:.0%} ({case.label})"))
            continue
        peers = [f.contender for f in case.figures if f.counts and f.contender not in OWN]
        ratio = case.ratio(REFERENCE, peers[0]) if peers else None
        said = f", {ratio.median:.2f}× {peers[0]}" if ratio else ""
        speed = ratio.median if ratio else 1 / figure.ns.median
        found.append((speed, f"{time_text(figure.ns.median)}{said} ({case.label})"))
    if not found:
        return ["–", "–", "–", "–"]
    worst, best = min(found)[1], max(found)[1]
    ratios = [r.median for case in bench.cases if (r := case.ratio(REFERENCE, EAGER))]
    torch = "–"
    if ratios:
        low, high = f"{min(ratios):.2f}×", f"{max(ratios):.2f}×"
        torch = low if low == high else f"{low} to {high}"
    met = sum(goal.status == "met" for goal in bench.goals)
    unknown = sum(goal.status not in ("met", "missed") for goal in bench.goals)
    goals = f"{met} of {len(bench.goals)} met" if bench.goals else "–"
    goals += f", {unknown} not measured" if unknown else ""
    return [worst, "the only one" if len(found) == 1 else best, torch, goals]


def _heading(report: Report) -> str:
    versions = ", ".join(f"{k} {v}" for k, v in report.versions.items() if k != "python")
    where = f"{report.machine['detail']}; {versions}; {report.when[:10]}"
    return f"**{report.machine['name']}** ({where})\n"


def recorded(root: Path, track: str) -> list[Report]:
    """Every result on record of a track, by machine."""
    return [
        load(path)
        for path in sorted((root / "tracks" / place_of(track)).glob("benches/results/*.json"))
    ]


def table(reports: Sequence[Report], root: Path = ROOT) -> str:
    """A Markdown table a machine: the reference against its peers, and the goals.

    A day whose reference has changed since it was measured is marked.
    """
    parts = []
    for report in reports:
        parts.append(_heading(report))
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
        if sys.argv[1:]:
            written = record(Path(sys.argv[1]))
        else:
            tracks = [
                track.name
                for track in [*find_tracks(), *find_electives()]
                if (track.folder / FOLDER).is_dir()
            ]
            written = [file for track in tracks for file in write_pages(ROOT, track)]
        print("\n".join(map(str, written)))
    except ValueError as wrong:
        print(wrong, file=sys.stderr)
        raise SystemExit(2) from None
