"""A scaling curve and a roofline for each bench, as PNG.

Drawn on an opaque, light card: GitHub, editors and terminals show the same picture whether their
theme is light or dark. Colours are Okabe and Ito's, which colour-blind readers tell apart; markers
and line ends tell the same again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from harness.bench.contenders import REFERENCE, YOURS
from harness.bench.results import BenchResult, CaseResult, DayBench, Figure
from harness.bench.table import rate as speed_text

CARD, INK, FAINT = "#f7f6f2", "#22252a", "#8d9096"
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#6a3d9a", "#6b6b6b")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")


@dataclass(frozen=True)
class Axis:
    """The quantity that a bench's unit asks for."""

    label: str
    value: Callable[[CaseResult, Figure], float]
    ceiling: float
    ceiling_name: str


def draw(day: DayBench, folder: Path) -> list[Path]:
    """Write the plots of a day; returns the files. Nothing measured, nothing drawn."""
    written = []
    folder.mkdir(parents=True, exist_ok=True)
    for bench in day.benches:
        stem = f"{day.track}_day{day.day:02d}_{bench.name}"
        for kind, plot in (("scaling", scaling), ("roofline", roofline)):
            figure = plot(bench, day)
            if figure is None:
                continue
            path = folder / f"{stem}_{kind}.png"
            figure.savefig(path, dpi=150, facecolor=CARD)
            written.append(path)
    return written


def scaling(bench: BenchResult, day: DayBench) -> Any:
    """Speed (or time) over the size that varies, in at most four panels; None where none varies."""
    along, panels = panels_of(bench)
    panels = dict(list(panels.items())[:4])
    if not panels:
        return None
    figure, axes = _card(len(panels))
    names = contenders(bench)
    for index, (ax, (rest, members)) in enumerate(zip(axes, panels.items(), strict=True)):
        axis = axis_of(bench, members, day)
        _curves(ax, sorted(members, key=lambda c: c.case[along]), along, names, axis)
        named = [along, *uneven(members, along)]
        ax.set_xlabel("\n".join(named))
        if len(named) > 1:
            at = {case.case[along]: [_size(case.case[name]) for name in named] for case in members}
            ax.set_xticklabels(["\n".join(at[size]) for size in ax.get_xticks()], rotation=0)
        if index == 0:
            ax.set_ylabel(axis.label)
        ax.set_title(rest, loc="left", fontsize=9, color=INK)
    _heading(figure, f"{bench.name}: {axis.label} by {along}", day)
    _legend(figure, axes)
    return figure


def panels_of(bench: BenchResult) -> tuple[str, dict[str, list[CaseResult]]]:
    """The size that varies, and by the values of the others the cases with several such sizes."""
    cases = [case for case in bench.cases if any(f.counts for f in case.figures)]
    along = varying(cases)
    if along is None:
        return "", {}
    others = [name for name in cases[0].case if name != along and not _told(name, along, cases)]
    panels: dict[str, list[CaseResult]] = {}
    for case in cases:
        rest = ", ".join(f"{name}={case.case.get(name)}" for name in others)
        panels.setdefault(rest, []).append(case)
    return along, {rest: members for rest, members in panels.items() if len(members) > 1}


def roofline(bench: BenchResult, day: DayBench) -> Any:
    """Where each case lies under the copy bandwidth and the matrix rate of this machine."""
    cases = [c for c in bench.cases if c.bytes and c.flops and any(f.counts for f in c.figures)]
    copy = day.ceilings.get("copy", 0.0)
    rates = {c.dtype: day.ceilings.get("matrix", {}).get(c.dtype, 0.0) for c in cases}
    dtype, rate = max(rates.items(), key=lambda item: item[1], default=("", 0.0))
    if not cases or not copy or not rate:
        return None
    figure, (ax,) = _card(1)
    names = contenders(bench)
    intensities = [case.flops / case.bytes for case in cases]
    ridge = rate / copy
    left, right = min(*intensities, ridge) / 4, max(*intensities, ridge) * 4
    lows = []
    for place, name in enumerate(names):
        points = [(c.flops / c.bytes, _flops(c, f)) for c in cases if (f := c.figure(name))]
        if not points:
            continue
        lows += [y for _, y in points]
        xs, ys = zip(*points, strict=True)
        ax.plot(
            xs,
            ys,
            linestyle="none",
            marker=MARKERS[place % len(MARKERS)],
            color=COLOURS[place % len(COLOURS)],
            markersize=7 if name in (YOURS, REFERENCE) else 5,
            alpha=0.85,
            label=name,
        )
    ax.plot([left, ridge, right], [left * copy, rate, rate], color=INK, linewidth=1.5, zorder=1)
    ax.set_xscale("log", base=2)
    ax.set_yscale("log")
    ax.xaxis.set_major_formatter("{x:g}")
    ax.set_xlim(left, right)
    ax.set_ylim(min([*lows, left * copy]) / 2.5, rate * 2.5)
    # The roof rises to the right, so text that starts at its left end lies below it.
    _note(ax, f"copy {speed_text(copy, 'B/s')}", (left, left * copy), (16, -5), "left")
    roof = f"{dtype} product {speed_text(rate, 'FLOP/s')}"
    _note(ax, roof, (right, rate), (-4, 6), "right")
    ax.set_xlabel("FLOPs per byte moved")
    ax.set_ylabel("FLOP/s")
    _heading(figure, f"{bench.name}: roofline", day)
    _legend(figure, [ax])
    return figure


def varying(cases: list[CaseResult]) -> str | None:
    """The numeric part of the cases that most often grows from one to the next: the axis. None
    where all are equal.

    Where rows shrink so that the size stays, it is the columns that the bench is about.
    """
    ranked = []
    for name in cases[0].case if cases else ():
        values: list[Any] = [case.case.get(name) for case in cases]
        if all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in values):
            grows = sum(float(b) > float(a) for a, b in pairwise(values))
            ranked.append((grows, len(set(values)), name))
    _, count, name = max(ranked, default=(0, 0, ""), key=lambda entry: entry[:2])
    return name if count > 1 else None


def _told(name: str, along: str, cases: list[CaseResult]) -> bool:
    """Whether ``along`` tells the value of ``name``: then it makes no panels. What a word names is
    not told by a size: no line goes from one model to another."""
    values = [case.case.get(name) for case in cases]
    if len({str(value) for value in values}) > 1 and any(
        isinstance(v, (str, bool)) for v in values
    ):
        return False
    pairs = {(case.case[along], str(case.case.get(name))) for case in cases}
    return len(pairs) == len({place for place, _ in pairs})


def uneven(panel: list[CaseResult], along: str) -> list[str]:
    """The sizes that go up and down along the axis: without them a dip in a curve has no reason."""
    ordered = [case.case for case in sorted(panel, key=lambda case: case.case[along])]
    found = []
    for name, first in ordered[0].items():
        if name == along or not isinstance(first, (int, float)) or isinstance(first, bool):
            continue
        steps = {(b[name] > a[name]) - (b[name] < a[name]) for a, b in pairwise(ordered)}
        if steps >= {1, -1}:
            found.append(name)
    return found


def axis_of(bench: BenchResult, panel: list[CaseResult], day: DayBench) -> Axis:
    """The scale of a panel: the unit of the whole bench, the ceiling of the panel's dtype."""
    if bench.unit == "GB/s":
        return Axis("GB/s", _gigabytes, day.ceilings.get("copy", 0.0) / 1e9, "copy")
    if bench.unit == "FLOP/s":
        dtypes = {case.dtype for case in panel}
        # With several dtypes there is no one line to draw.
        dtype = dtypes.pop() if len(dtypes) == 1 else ""
        ceiling = day.ceilings.get("matrix", {}).get(dtype, 0.0)
        fastest = max((_flops(c, f) for c in bench.cases for f in c.figures if f.counts), default=0)
        scale, unit = (1e12, "TFLOP/s") if max(fastest, ceiling) >= 1e12 else (1e9, "GFLOP/s")
        return Axis(unit, lambda c, f: _flops(c, f) / scale, ceiling / scale, f"{dtype} product")
    return Axis("time, µs", lambda c, f: f.ns.median / 1e3 if f.ns else 0.0, 0.0, "")


def contenders(bench: BenchResult) -> list[str]:
    """Everyone who has a figure somewhere, in the table's order: the colour goes by the name."""
    names: dict[str, None] = {}
    for case in bench.cases:
        for figure in case.figures:
            if figure.counts:
                names.setdefault(figure.contender)
    return list(names)


def _curves(ax: Any, cases: list[CaseResult], along: str, names: list[str], axis: Axis) -> None:
    for place, name in enumerate(names):
        points = [(c.case[along], axis.value(c, f), c, f) for c in cases if (f := c.figure(name))]
        if not points:
            continue
        colour = COLOURS[place % len(COLOURS)]
        xs = [x for x, *_ in points]
        ys = [y for _, y, *_ in points]
        low, high = zip(*(_spread(c, f, axis) for *_, c, f in points), strict=True)
        # Where yours runs along the reference's line, both are seen: a thin one on a broad one.
        width, size, above = {REFERENCE: (4.0, 5.0, 3), YOURS: (1.5, 9.0, 4)}.get(
            name, (1.3, 4.5, 2)
        )
        ax.fill_between(xs, low, high, color=colour, alpha=0.15, linewidth=0)
        ax.plot(
            xs,
            ys,
            label=name,
            color=colour,
            marker=MARKERS[place % len(MARKERS)],
            markersize=size,
            markerfacecolor="none" if name == YOURS else colour,
            linewidth=width,
            zorder=above,
        )
    sizes = sorted({case.case[along] for case in cases})
    if sizes[0] > 0 and sizes[-1] >= 4 * sizes[0]:
        ax.set_xscale("log", base=2)
    ax.set_xticks(sizes)
    ax.set_xticklabels([_size(s) for s in sizes], rotation=45 if len(sizes) > 7 else 0)
    ax.minorticks_off()
    if axis.ceiling:
        ax.axhline(axis.ceiling, color=INK, linewidth=1, linestyle=(0, (5, 3)))
        text = f"{axis.ceiling_name} {axis.ceiling:,.{0 if axis.ceiling >= 10 else 2}f}"
        _note(ax, text, (sizes[0], axis.ceiling), (-8, 4), "left")
        top = max(axis.ceiling, ax.get_ylim()[1] / 1.05)
        ax.set_ylim(0, top * 1.12)
    elif axis.label.startswith("time"):
        ax.set_yscale("log")
    else:
        ax.set_ylim(bottom=0)


def _spread(case: CaseResult, figure: Figure, axis: Axis) -> tuple[float, float]:
    """The 20 % and 80 % quantiles in the axis's unit; speed is one over time, so they swap."""
    assert figure.ns is not None
    middle = axis.value(case, figure)
    slow, fast = figure.ns.median / figure.ns.p80, figure.ns.median / figure.ns.p20
    if axis.label.startswith("time"):
        return middle / fast, middle / slow
    return middle * slow, middle * fast


def _gigabytes(case: CaseResult, figure: Figure) -> float:
    return case.bytes / figure.ns.median if figure.ns else 0.0  # bytes per ns are GB/s


def _flops(case: CaseResult, figure: Figure) -> float:
    return case.flops / figure.ns.median * 1e9 if figure.ns else 0.0


def _size(value: float) -> str:
    if isinstance(value, int) and value >= 1024 and value % 1024 == 0:
        return f"{value // 1024}K"
    return str(value)


def _card(panels: int) -> tuple[Any, list[Any]]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Canvas

    across = min(panels, 2)  # side by side, four of them cannot be read on a page
    down = -(-panels // across)
    size = (max(6.4, 4.2 * across), 1.0 + 3.4 * down)
    figure = Canvas(figsize=size, layout="constrained", facecolor=CARD)
    FigureCanvasAgg(figure)
    axes = list(figure.subplots(down, across, squeeze=False).flat)
    for empty in axes[panels:]:
        empty.set_axis_off()
    axes = axes[:panels]
    for ax in axes:
        ax.set_facecolor(CARD)
        ax.tick_params(colors=INK, labelsize=8, which="both")
        ax.xaxis.label.set_color(INK)
        ax.yaxis.label.set_color(INK)
        for side, spine in ax.spines.items():
            spine.set_visible(side in ("left", "bottom"))
            spine.set_color(FAINT)
        ax.grid(True, color=FAINT, alpha=0.25, linewidth=0.6)
        ax.set_axisbelow(True)
    return figure, axes


def _note(ax: Any, text: str, at: tuple[float, float], offset: tuple[int, int], align: str) -> None:
    ax.annotate(
        text, at, xytext=offset, textcoords="offset points", fontsize=8, color=INK, ha=align
    )


def _heading(figure: Any, title: str, day: DayBench) -> None:
    figure.suptitle(
        f"{day.track} day {day.day}, {title}", x=0.01, ha="left", fontsize=11, color=INK
    )


def _legend(figure: Any, axes: list[Any]) -> None:
    handles: dict[str, Any] = {}
    for ax in axes:
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    legend = figure.legend(
        handles.values(),
        handles.keys(),
        loc="outside lower center",
        ncols=min(4, len(handles)),
        frameon=False,
        fontsize=8,
    )
    for text in legend.get_texts():
        text.set_color(INK)
