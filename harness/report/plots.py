"""Scaling curves and rooflines as SVG that takes its colours from the page.

The same choices as the PNG of ``make bench`` (``harness.bench.plots``): the axis, the panels, the
colour and marker that go by the contender's name. Drawn small, so that a phone shows one at its
true size and a desk several beside each other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from harness.bench.contenders import REFERENCE, YOURS
from harness.bench.plots import axis_of, contenders, panels_of
from harness.bench.results import BenchResult, CaseResult, DayBench
from harness.bench.table import rate
from harness.report.html import Html, tag

WIDTH, HEIGHT = 340, 250
LEFT, RIGHT, TOP, BOTTOM = 46, 328, 24, 208
"""The box of the axes, in the SVG's own units; about a pixel each."""
SERIES = 8
"""Colours in the style sheet, ``.s0`` to ``.s7``, and shapes here: both tell contenders apart."""
SHAPES = (
    "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0z",
    "M-3.5-3.5h7v7h-7z",
    "M0-4.5L4.5 3.5h-9z",
    "M0-5L5 0L0 5L-5 0z",
    "M0 4.5L4.5-3.5h-9z",
    "M-1.5-4.5h3v3h3v3h-3v3h-3v-3h-3v-3h3z",
    "M-5-2L0-.5L5-2L2 1L3 5L0 3L-3 5L-2 1z",
    "M-4-2.5h8v5h-8z",
)
MOST_PANELS = 4


@dataclass(frozen=True)
class Scale:
    """From values to places; logarithmic where the values span much."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        low, high = self._of(self.low), self._of(self.high)
        part = (self._of(value) - low) / (high - low) if high > low else 0.5
        return self.start + part * (self.end - self.start)

    def _of(self, value: float) -> float:
        return math.log(value) if self.log else value


def plots_of(bench: BenchResult, day: DayBench) -> Html | None:
    """Every plot of one bench, with one legend; None where there is nothing to draw."""
    drawn = [*scaling(bench, day), *roofline(bench, day)]
    if not drawn:
        return None
    names = contenders(bench)
    entries = [
        tag(
            "li",
            tag(
                "svg",
                tag("path", d=SHAPES[i % SERIES], transform="translate(7 7)", class_=_series(i)),
                viewBox="0 0 14 14",
                class_="shape",
                aria_hidden="true",
            ),
            name,
        )
        for i, name in enumerate(names)
    ]
    legend = tag("ul", *entries, class_="legend", aria_label="Markers in the plots")
    return tag("div", tag("div", *drawn, class_="plots"), legend)


def scaling(bench: BenchResult, day: DayBench) -> list[Html]:
    """Speed (or time) over the size that varies, in as many drawings as have room."""
    along, panels = panels_of(bench)
    return [
        _curves(bench, day, rest, sorted(members, key=lambda c: c.case[along]), along)
        for rest, members in list(panels.items())[:MOST_PANELS]
    ]


def _curves(
    bench: BenchResult, day: DayBench, rest: str, cases: list[CaseResult], along: str
) -> Html:
    axis = axis_of(bench, cases, day)
    by_time = axis.label.startswith("time")
    sizes = sorted({float(case.case[along]) for case in cases})
    wide = sizes[0] > 0 and sizes[-1] >= 4 * sizes[0]
    margin = 0.0 if len(sizes) > 1 else 1.0
    x = Scale(sizes[0] - margin, sizes[-1] + margin, LEFT + 14, RIGHT - 10, wide)
    series: list[tuple[str, list[tuple[float, float]]]] = []
    for name in contenders(bench):
        points = [(float(c.case[along]), axis.value(c, f)) for c in cases if (f := c.figure(name))]
        if points:
            series.append((name, points))
    values = [value for _, points in series for _, value in points]
    if by_time:
        ticks = _powers(min(values), max(values))
        y = Scale(min(ticks[0], *values), max(ticks[-1], *values), BOTTOM, TOP, True)
    else:
        top = max(*values, axis.ceiling) * 1.08
        ticks = _steps(top)
        y = Scale(0.0, top, BOTTOM, TOP)
    ticks = [tick for tick in ticks if y.low <= tick <= y.high]
    labels = _thinned([(x(size), _size(size)) for size in sizes])
    parts = [*_frame(labels, [(y(tick), _short(tick)) for tick in ticks], along)]
    if axis.ceiling:
        parts += _roof([(LEFT, y(axis.ceiling)), (RIGHT, y(axis.ceiling))])
        name = f"{axis.ceiling_name} {axis.ceiling:,.{0 if axis.ceiling >= 10 else 2}f}"
        parts.append(_text(name, LEFT + 4, y(axis.ceiling) - 5, "start"))
    names = contenders(bench)
    unit = "µs" if by_time else axis.label
    parts += [
        _line(names.index(name), name, points, x, y, f"{along}=", unit)
        for name, points in sorted(series, key=lambda s: (s[0] == YOURS, s[0] == REFERENCE))
    ]
    what = f"{axis.label} by {along}" + (f", {rest}" if rest else "")
    said = "; ".join(
        f"{name} {_short(points[0][1])} to {_short(points[-1][1])}" for name, points in series
    )
    ceiling = f". {axis.ceiling_name}: {_short(axis.ceiling)}" if axis.ceiling else ""
    size = f"from {along} {_size(sizes[0])} to {_size(sizes[-1])}"
    return _figure(parts, what, f"{bench.name}, {what}, {size}: {said}{ceiling}")


def roofline(bench: BenchResult, day: DayBench) -> list[Html]:
    """Where each case lies under the copy bandwidth and the matrix rate of its machine."""
    cases = [c for c in bench.cases if c.bytes and c.flops and any(f.counts for f in c.figures)]
    copy = day.ceilings.get("copy", 0.0)
    rates = {c.dtype: day.ceilings.get("matrix", {}).get(c.dtype, 0.0) for c in cases}
    dtype, most = max(rates.items(), key=lambda item: item[1], default=("", 0.0))
    if not cases or not copy or not most:
        return []
    work = [case.flops / case.bytes for case in cases]
    ridge = most / copy
    x = Scale(min(*work, ridge) / 3, max(*work, ridge) * 3, LEFT, RIGHT, True)
    points: list[tuple[str, list[tuple[float, float]]]] = []
    for name in contenders(bench):
        mine = [
            (c.flops / c.bytes, c.flops / f.ns.median * 1e9)
            for c in cases
            if (f := c.figure(name)) and f.ns
        ]
        points.append((name, mine))
    speeds = [speed for _, mine in points for _, speed in mine]
    y = Scale(min([*speeds, x.low * copy]) / 2, most * 2.5, BOTTOM, TOP, True)
    across = [(x(tick), _short(tick)) for tick in _powers(x.low, x.high) if x.low <= tick <= x.high]
    up = [(y(tick), _prefixed(tick)) for tick in _powers(y.low, y.high) if y.low <= tick <= y.high]
    parts = [*_frame(_thinned(across), up[:: max(1, len(up) // 5)], "FLOP per byte moved")]
    corner = (x(ridge), y(most))
    parts += _roof([(LEFT, y(x.low * copy)), corner, (RIGHT, y(most))])
    parts.append(_text(f"{dtype} product {rate(most, 'FLOP/s')}", RIGHT, y(most) - 5, "end"))
    parts.append(_text(f"copy {rate(copy, 'B/s')}", RIGHT, BOTTOM - 6, "end"))
    for place, (name, mine) in enumerate(points):
        parts.append(_line(place, name, mine, x, y, "FLOP per byte ", "FLOP/s", joined=False))
    said = "; ".join(
        f"{name} at most {rate(max(s for _, s in mine), 'FLOP/s')}" for name, mine in points if mine
    )
    roof = f"The roof: copy {rate(copy, 'B/s')}, {dtype} product {rate(most, 'FLOP/s')}"
    return [_figure(parts, "Roofline, FLOP/s", f"{bench.name}, roofline: {said}. {roof}")]


def _figure(parts: Sequence[Html], title: str, said: str) -> Html:
    drawing = tag(
        "svg", *parts, viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img", aria_label=said, class_="plot"
    )
    return tag("figure", tag("figcaption", title), drawing)


def _frame(
    across: Sequence[tuple[float, str]], up: Sequence[tuple[float, str]], label: str
) -> list[Html]:
    grid = "".join(f"M{LEFT} {place:.1f}H{RIGHT}" for place, _ in up)
    return [
        tag("path", d=grid, class_="grid"),
        tag("path", d=f"M{LEFT} {TOP}V{BOTTOM}H{RIGHT}", class_="axis"),
        *(_text(name, LEFT - 6, place + 4, "end") for place, name in up),
        *(_text(name, place, BOTTOM + 16, "middle") for place, name in across),
        _text(label, (LEFT + RIGHT) / 2, BOTTOM + 34, "middle"),
    ]


def _roof(points: Sequence[tuple[float, float]]) -> list[Html]:
    path = "M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in points)
    return [tag("path", d=path, class_="roof")]


def _line(
    place: int,
    name: str,
    points: Sequence[tuple[float, float]],
    x: Scale,
    y: Scale,
    before: str,
    unit: str,
    joined: bool = True,
) -> Html:
    parts: list[Html] = []
    places = [(x(a), y(b)) for a, b in points]
    if joined and len(places) > 1:
        path = "M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in places)
        parts.append(tag("path", d=path, class_="curve"))
    for (a, b), (size, value) in zip(places, points, strict=True):
        said = f"{name}, {before}{_size(size)}: {_short(value)} {unit}"
        move = f"translate({a:.1f} {b:.1f})"
        parts.append(tag("path", tag("title", said), d=SHAPES[place % SERIES], transform=move))
    own = f" {name}" if name in (YOURS, REFERENCE) else ""
    return tag("g", *parts, class_=_series(place) + own)


def _series(place: int) -> str:
    return f"s{place % SERIES}"


def _text(content: str, x: float, y: float, anchor: str) -> Html:
    return tag("text", content, x=f"{x:.1f}", y=f"{y:.1f}", text_anchor=anchor)


def _thinned(labels: list[tuple[float, str]], gap: float = 34.0) -> list[tuple[float, str]]:
    """Labels that do not run into each other; the first is always kept."""
    kept: list[tuple[float, str]] = []
    for place, name in labels:
        if not kept or place - kept[-1][0] >= max(gap, 6.5 * len(name)):
            kept.append((place, name))
    return kept


def _steps(high: float) -> list[float]:
    """Round numbers from 0 to ``high``: four to eight of them."""
    size = 10.0 ** math.floor(math.log10(high)) if high > 0 else 1.0
    step = next(s * size for s in (0.2, 0.5, 1.0, 2.0) if high / (s * size) <= 5)
    return [step * i for i in range(int(high / step) + 1)]


def _powers(low: float, high: float) -> list[float]:
    """Powers of ten that enclose the two; with 2 and 5 between them where they are few."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    within = (1.0, 2.0, 5.0) if last - first <= 2 else (1.0,)
    return [part * 10.0**power for power in range(first, last + 1) for part in within]


def _size(value: float) -> str:
    if value >= 1024 and value % 1024 == 0:
        return f"{value / 1024:,.0f}K" if value < 1024**2 or value % 1024**2 else _mega(value)
    return _short(value)


def _mega(value: float) -> str:
    return f"{value / 1024**2:,.0f}M"


def _short(value: float) -> str:
    """Three digits, with a comma where thousands begin."""
    if value == 0:
        return "0"
    if abs(value) >= 99.95:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _prefixed(value: float) -> str:
    for size, prefix in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{_short(value / size)}{prefix}"
    return _short(value)
