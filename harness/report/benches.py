"""Benchmarks: an overview of the newest result of each day, then its figures and plots."""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, log

from harness.bench.contenders import EAGER, REFERENCE, YOURS
from harness.bench.results import BenchResult, CaseResult, Figure
from harness.bench.table import ceilings_line, notes, rate, share, time_text
from harness.measure.units import bytes_text
from harness.progress.summary import name_of
from harness.report.collect import Bench
from harness.report.days import day_link
from harness.report.html import Html, Link, folded, join, paragraph, section, table, tag
from harness.report.plots import plots_of


def benches(found: Sequence[Bench], link: Link) -> Html:
    if not found:
        return section(
            "benches",
            "Benchmarks",
            paragraph(
                "None yet. ",
                tag("code", "make bench TRACK=triton DAY=5"),
                " times your answers beside the reference, PyTorch and torch.compile, and draws "
                "them under this machine's roofline. Triton's days need a GPU for it, the other "
                "tracks do not; medals are for figures from a GPU and for Autodiff.",
                muted=True,
            ),
        )
    ordered = sorted(found, key=lambda one: (one.day.track, one.day.day))
    rows = [_overview(one, link) for one in ordered]
    headings = [
        "Day", "Medal", "Who", "Speed against the reference", "Against PyTorch",
        "Best share of a ceiling", "When", "Machine",
    ]  # fmt: skip
    over = table("The newest result of each day", headings, rows, numbers=(3, 4, 5))
    days = [_day(one, link, open_=one is found[0]) for one in ordered]
    return section("benches", "Benchmarks", over, *days)


def _overview(one: Bench, link: Link) -> list[object]:
    who = _who(one)
    cases = [(bench, case) for bench in one.day.benches for case in bench.cases]
    shares = [
        part
        for bench, case in cases
        if (figure := case.figure(who)) and (part := share(bench, case, figure, one.day))
    ]
    return [
        day_link(one.day.track, one.day.day, link),
        one.day.medal or "–",
        who,
        _mean(who, REFERENCE, [case for _, case in cases]) if who != REFERENCE else "–",
        _mean(who, EAGER, [case for _, case in cases]),
        f"{max(shares):.0%}" if shares else "–",
        _when(one),
        one.run.machine.get("name", "–"),
    ]


def _who(one: Bench) -> str:
    return YOURS if YOURS in one.day.files else REFERENCE


def _mean(who: str, other: str, cases: Sequence[CaseResult]) -> str:
    """The geometric mean of the speed ratios, over the cases that have one."""
    ratios = [ratio.median for case in cases if (ratio := case.ratio(who, other))]
    return f"{exp(sum(map(log, ratios)) / len(ratios)):.2f}×" if ratios else "–"


def _when(one: Bench) -> Html:
    return tag("time", one.run.when[:16].replace("T", " ") + " UTC", datetime=one.run.when)


def _day(one: Bench, link: Link, open_: bool) -> Html:
    day = one.day
    medal = f", {day.medal} medal" if day.medal else ""
    title = f"{name_of(day.track)} day {day.day}{medal}"
    versions = ", ".join(f"{name} {version}" for name, version in one.run.versions.items())
    files = "; ".join(f"{whose}: {file}" for whose, file in day.files.items())
    return folded(
        tag("h3", title),
        paragraph(f"{one.run.machine.get('name', '')}, {ceilings_line(day)}", muted=True),
        paragraph(f"{files}; {versions}", muted=True),
        *(_bench(bench, one) for bench in day.benches),
        open_=open_,
    )


def _bench(bench: BenchResult, one: Bench) -> Html:
    said = [*(f"goal {g.status}: {g.text} ({g.detail})" for g in bench.goals), *notes(bench)]
    return join(
        [
            tag("h4", bench.name),
            plots_of(bench, one.day),
            folded(f"{bench.name} in numbers", _cases(bench, one)),
            tag("ul", *(tag("li", line) for line in said), class_="notes") if said else None,
        ]
    )


def _cases(bench: BenchResult, one: Bench) -> Html:
    rows: list[list[object]] = []
    for case in bench.cases:
        timed = [figure for figure in case.figures if figure.ns is not None]
        if timed:
            rows.append([case.label + (" (untrusted)" if case.untrusted else "")])
            rows += [_figure(bench, case, figure, one) for figure in timed]
    headings = [
        "Who", "Time", "±", "Rate", "Of the ceiling", "Against the reference", "Memory", "Kernels",
    ]  # fmt: skip
    return table(bench.name, headings, rows, numbers=range(1, 8))


def _figure(bench: BenchResult, case: CaseResult, figure: Figure, one: Bench) -> list[object]:
    assert figure.ns is not None
    if not figure.counts:  # a wrong answer's time is nothing to compare
        return [figure.contender, "wrong answer", *["–"] * 6]
    part = share(bench, case, figure, one.day)
    ratio = case.ratio(figure.contender, REFERENCE)
    seconds = figure.ns.median / 1e9
    speed = "–"
    if bench.unit == "GB/s" and case.bytes:
        speed = rate(case.bytes / seconds, "B/s")
    elif case.flops:
        speed = rate(case.flops / seconds, "FLOP/s")
    return [
        figure.contender,
        time_text(figure.ns.median),
        f"{figure.ns.error:.1%}" if figure.ns.error < 1 else "> 99%",
        speed,
        f"{part:.0%}" if part is not None else "–",
        f"{ratio.median:.2f}×" if ratio else "–",
        bytes_text(figure.peak_bytes) if figure.peak_bytes is not None else "–",
        figure.launches or "–",
    ]
