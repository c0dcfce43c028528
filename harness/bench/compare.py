"""Two runs side by side: what changed, and what is noise.

A change counts when the intervals of the two medians say so and it is larger than what the machine
itself moved: 2 %, or the drift of the copy bandwidth between the two runs, whichever is more.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.bench.contenders import REFERENCE, YOURS
from harness.bench.results import CaseResult, DayBench, Figure, Report, load
from harness.bench.table import time_text

SMALLEST = 0.02


@dataclass(frozen=True)
class Change:
    """``ratio``: time of the second run over time of the first, between ``low`` and ``high``.

    ``verdict``: "slower", "faster", "noise", "untrusted" or "wrong now".
    """

    where: str
    contender: str
    before: float
    after: float
    ratio: float
    low: float
    high: float
    verdict: str

    @property
    def regression(self) -> bool:
        """Whether the second run is worse in what belongs to this project."""
        return self.contender in (YOURS, REFERENCE) and self.verdict in ("slower", "wrong now")


def compare(first: Report, second: Report) -> list[Change]:
    """Every figure that both runs have. ValueError for runs of different machines."""
    if first.machine["name"] != second.machine["name"]:
        raise ValueError(
            f"the two runs are of different machines ({first.machine['name']} and "
            f"{second.machine['name']}): their times cannot be compared"
        )
    if first.machine.get("threads") != second.machine.get("threads"):
        raise ValueError("the two runs used different numbers of CPU threads")
    changes = []
    for a, b in _pairs(first, second):
        noise = max(SMALLEST, _drift(a, b))
        for bench, one, two in _cases(a, b):
            for figure in one.figures:
                other = next((f for f in two.figures if f.contender == figure.contender), None)
                if other is None or other.gap or figure.ns is None or not figure.counts:
                    continue
                where = f"{a.track} {a.day:02d} {bench} {one.label}"
                trusted = not one.untrusted and not two.untrusted
                changes.append(_change(where, figure, other, noise, trusted))
    return changes


def show_comparison(paths: list[Path], console: Console) -> int:
    """Print what changed between two files; 1 if something of this project got slower."""
    first, second = (load(path) for path in paths)
    changes = compare(first, second)
    if not changes:
        raise ValueError("the two runs have no figure in common")
    moved = [change for change in changes if change.verdict != "noise"]
    table = Table(box=None, pad_edge=False)
    table.add_column("", overflow="fold")
    for heading in ("before", "after", "time", "95 %", ""):
        table.add_column(heading, justify="right", no_wrap=True)
    for change in moved:
        table.add_row(
            f"{change.where}: {change.contender}",
            time_text(change.before),
            time_text(change.after) if change.after else "-",
            f"{change.ratio - 1:+.1%}" if change.after else "-",
            f"{change.low - 1:+.1%} … {change.high - 1:+.1%}" if change.after else "-",
            change.verdict,
        )
    if moved:
        console.print(table)
    console.print(
        Text(f"{len(changes)} figures compared, {len(changes) - len(moved)} within noise")
    )
    worse = sum(change.regression for change in changes)
    if worse:
        console.print(Text(f"{worse} regressed"))
    return 1 if worse else 0


def _change(where: str, before: Figure, after: Figure, noise: float, trusted: bool) -> Change:
    assert before.ns is not None
    if after.ns is None or not after.counts:
        return Change(where, before.contender, before.ns.median, 0, 0, 0, 0, "wrong now")
    ratio = after.ns.median / before.ns.median
    low, high = after.ns.low / before.ns.high, after.ns.high / before.ns.low
    verdict = "noise"
    if low > 1 + noise:
        verdict = "slower"
    elif high < 1 / (1 + noise):
        verdict = "faster"
    if not trusted and verdict != "noise":
        verdict = "untrusted"
    return Change(
        where, before.contender, before.ns.median, after.ns.median, ratio, low, high, verdict
    )


def _drift(a: DayBench, b: DayBench) -> float:
    one, two = a.ceilings.get("copy"), b.ceilings.get("copy")
    return abs(two / one - 1) if one and two else 0.0


def _pairs(first: Report, second: Report) -> Iterator[tuple[DayBench, DayBench]]:
    days = {(day.track, day.day, day.device): day for day in second.days}
    for day in first.days:
        other = days.get((day.track, day.day, day.device))
        if other is not None:
            yield day, other


def _cases(a: DayBench, b: DayBench) -> Iterator[tuple[str, CaseResult, CaseResult]]:
    found = {(bench.name, case.label): case for bench in b.benches for case in bench.cases}
    for bench in a.benches:
        for case in bench.cases:
            other = found.get((bench.name, case.label))
            if other is not None:
                yield bench.name, case, other
