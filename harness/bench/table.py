"""The figures of a day as a table that fits 80 columns and needs no colour."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from rich.console import Console
from rich.text import Text

from harness.bench.contenders import REFERENCE
from harness.bench.medals import next_medal
from harness.bench.results import BenchResult, CaseResult, DayBench, Figure
from harness.measure.units import bytes_text

STATUS = {"met": "green", "missed": "red", "not measured": "yellow"}


def show(day: DayBench, console: Console) -> None:
    """Print everything that one day's benches found."""
    console.print(Text(f"{day.track} day {day.day:02d}", style="bold"))
    for whose, file in day.files.items():
        console.print(Text(f"  {whose}: {file}"))
    if day.problem:
        console.print(Text(f"  {day.problem}"))
        return
    console.print(Text(f"  {ceilings_line(day)}"))
    for bench in day.benches:
        console.print()
        for text in lines(bench, day):
            console.print(text, soft_wrap=True)
        for line in notes(bench):
            console.print(Text(f"  {line}"))
        for goal in bench.goals:
            detail = f" ({goal.detail})" if goal.detail else ""
            console.print(
                Text(f"  goal {goal.status}: ", style=STATUS[goal.status])
                + Text(f"{goal.text}{detail}", style="default")
            )
    console.print()
    for line in legend(day):
        console.print(Text(line, style="dim"))
    console.print(Text(_medal_line(day)))
    for line in next_medal(day):
        console.print(Text(line))


def legend(day: DayBench) -> list[str]:
    """What the columns say: only those that the day's tables have."""
    names = {_ceiling_name(bench) for bench in day.benches}
    said = ["±: the bound of the time's error, with 95 %"]
    if "% copy" in names:
        said.append("% copy: share of the copy bandwidth above")
    if "% matrix" in names:
        said.append("% matrix: share of the matrix rate above")
    said += ["vs ref: speed against the reference's, 2.00x is twice as fast"]
    said += ["memory: the peak, beyond the inputs", "kernels: launches on a GPU"]
    return textwrap.wrap("; ".join(said) + ".", 78)


def ceilings_line(day: DayBench) -> str:
    """What the percentages are of."""
    limits = day.ceilings
    parts = [f"copy {rate(limits['copy'], 'B/s')}"]
    parts += [f"{name} {rate(value, 'FLOP/s')}" for name, value in limits["matrix"].items()]
    call = "launch" if day.device == "cuda" else "empty call"
    parts.append(f"{call} {time_text(limits['launch_ns'])}")
    where = "this GPU's" if day.device == "cuda" else f"{limits['threads']} CPU thread's"
    if day.device != "cuda" and limits["threads"] != 1:
        where = f"{limits['threads']} CPU threads'"
    line = f"{where} ceilings: {', '.join(parts)}"
    if limits.get("all_threads"):
        whole = dict(limits["all_threads"])
        count = int(whole.pop("threads"))
        rates = [rate(value, "B/s" if k == "copy" else "FLOP/s") for k, value in whole.items()]
        line += f"; all {count} threads: {', '.join(rates)}"
    return line


def notes(bench: BenchResult) -> Iterator[str]:
    """Gaps, wrong answers and reasons for distrust, each once with the cases it holds for."""
    found: dict[str, list[str]] = {}
    if bench.left_out:
        yield (
            f"{len(bench.cases)} of {len(bench.cases) + bench.left_out} cases: QUICK measures the "
            "first and the last"
        )
    for case in bench.cases:
        for reason in case.untrusted:
            found.setdefault(f"untrusted: {reason}", []).append(case.label)
        for figure in case.figures:
            for text in (figure.gap, figure.error, figure.note):
                if text:
                    found.setdefault(f"{figure.contender}: {text}", []).append(case.label)
        if case.stopped == "time used up":
            text = "time used up before every figure was within its error bound"
            found.setdefault(text, []).append(case.label)
    for text, cases in found.items():
        everywhere = len(cases) == len(bench.cases)
        where = "" if everywhere else f" [{', '.join(cases)}]"
        yield f"{text}{where}"


def share(bench: BenchResult, case: CaseResult, figure: Figure, day: DayBench) -> float | None:
    """The figure as a share of its ceiling: copy bandwidth, or the dtype's matrix rate."""
    assert figure.ns is not None
    seconds = figure.ns.median / 1e9
    if bench.unit == "GB/s" or not case.flops:
        ceiling, amount = day.ceilings["copy"], case.bytes
    else:
        ceiling, amount = day.ceilings["matrix"].get(case.dtype, 0.0), case.flops
    return amount / seconds / ceiling if ceiling and amount else None


def time_text(ns: float) -> str:
    """Three digits, because a few per cent are what a bench is about: ``12300`` -> ``12.3 us``."""
    units = (("s", 1e9), ("ms", 1e6), ("us", 1e3))
    unit, size = next((u for u in units if ns >= 0.9995 * u[1]), ("ns", 1.0))
    return f"{_number(ns / size)} {unit}"


def rate(per_second: float, unit: str) -> str:
    """``3.4e12, "B/s"`` -> ``3,400 GB/s``."""
    scale, prefix = 1e9, "G"
    if unit == "FLOP/s" and per_second >= 1e12:
        scale, prefix = 1e12, "T"
    return f"{_number(per_second / scale)} {prefix}{unit}"


def _number(value: float) -> str:
    digits = 0 if value >= 99.95 else 1 if value >= 9.995 else 2
    return f"{value:,.{digits}f}"


def lines(bench: BenchResult, day: DayBench) -> Iterator[Text]:
    """The table itself: a heading, then for each case its name and a line a contender."""
    scale = _scale(bench)
    headings = ["", "time", "±", _ceiling_name(bench), "vs ref", "memory", "kernels"]
    if scale:
        headings.insert(2, scale[1])
    rows: list[tuple[CaseResult, list[str]]] = []
    for case in bench.cases:
        shown = [f for f in case.figures if f.ns is not None]
        rows += [(case, _row(bench, case, figure, day, scale)) for figure in shown]
    widths = [
        max(len(cells[i]) for cells in [headings, *(c for _, c in rows)])
        for i in range(len(headings))
    ]
    title = bench.name if bench.cache == "cold" else f"{bench.name}, inputs in the cache"
    yield Text(title, style="bold")
    yield Text(_columns(headings, widths), style="dim")
    last = None
    for case, cells in rows:
        if case is not last:
            yield Text(f"{case.label}{' (untrusted)' if case.untrusted else ''}", style="bold")
            last = case
        yield Text(_columns(cells, widths))


def _columns(cells: list[str], widths: list[int]) -> str:
    rest = zip(cells[1:], widths[1:], strict=True)
    return "  ".join([f"  {cells[0]:<{widths[0]}}", *(f"{cell:>{width}}" for cell, width in rest)])


def _row(
    bench: BenchResult,
    case: CaseResult,
    figure: Figure,
    day: DayBench,
    scale: tuple[float, str] | None,
) -> list[str]:
    assert figure.ns is not None
    if not figure.counts:  # a wrong answer's time is not shown: there is nothing to compare
        return [figure.contender, "wrong", "", "", "", "", ""] + [""] * bool(scale)
    part = share(bench, case, figure, day)
    ratio = case.ratio(figure.contender, REFERENCE)
    row = [
        figure.contender,
        time_text(figure.ns.median),
        f"{figure.ns.error:.1%}" if figure.ns.error < 1 else "> 99%",
        f"{part:.0%}" if part is not None else "-",
        f"{ratio.median:.2f}x" if ratio else "-",
        bytes_text(figure.peak_bytes),
        str(figure.launches) if figure.launches else "-",
    ]
    if scale:
        row.insert(2, _number(_amount(bench, case) / figure.ns.median * 1e9 / scale[0]))
    return row


def _ceiling_name(bench: BenchResult) -> str:
    by_copy = bench.unit == "GB/s" or not any(case.flops for case in bench.cases)
    return "% copy" if by_copy else "% matrix"


def _amount(bench: BenchResult, case: CaseResult) -> int:
    return case.bytes if bench.unit == "GB/s" else case.flops


def _scale(bench: BenchResult) -> tuple[float, str] | None:
    """What the rates of a bench are divided by, and the unit that this makes."""
    if bench.unit == "time":
        return None
    if bench.unit == "GB/s":
        return 1e9, "GB/s"
    rates = [
        c.flops / f.ns.median * 1e9 for c in bench.cases for f in c.figures if f.ns and f.counts
    ]
    return (1e12, "TFLOP/s") if max(rates, default=0) >= 1e12 else (1e9, "GFLOP/s")


def _medal_line(day: DayBench) -> str:
    if day.medal:
        return f"{day.medal.upper()} for this day"
    if "yours" not in day.files:
        return "The reference alone was measured: no medal is at stake."
    if day.device != "cuda" and day.track != "autodiff":
        return "Medals are for figures from a GPU; this machine has none."
    return "No medal."
