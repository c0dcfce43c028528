"""Plots: everything within the frame, nothing on top of each other, more is higher."""

from __future__ import annotations

import copy
import re

import pytest

from harness.bench.contenders import REFERENCE
from harness.bench.record import recorded
from harness.bench.results import BenchResult, DayBench
from harness.curriculum import ROOT
from harness.report.plots import HEIGHT, WIDTH, Scale, plots_of, roofline, scaling

EVERY = [
    (day, bench) for run in recorded(ROOT, "triton") for day in run.days for bench in day.benches
]
NAMES = [f"{day.day}-{bench.name}" for day, bench in EVERY]


def marks(drawing: str) -> list[tuple[float, float, str]]:
    """Where the points are, and what a pointer over them reads."""
    found = re.findall(r'translate\(([-\d.]+) ([-\d.]+)\)"><title>(.*?)</title>', drawing)
    return [(float(x), float(y), said) for x, y, said in found]


@pytest.mark.parametrize(("day", "bench"), EVERY, ids=NAMES)
def test_everything_is_within_the_frame(day: DayBench, bench: BenchResult) -> None:
    drawn = [*scaling(bench, day), *roofline(bench, day)]
    assert drawn
    for drawing in drawn:
        points = marks(drawing)
        assert points
        for x, y, said in points:
            assert 46 <= x <= 328 and 24 <= y <= 208, f"{said} is drawn at {x}, {y}"
        for x, y in re.findall(r'<text x="([-\d.]+)" y="([-\d.]+)"', drawing):
            assert 0 <= float(x) <= WIDTH and 0 < float(y) <= HEIGHT
        across = [float(x) for x in re.findall(r'<text x="([-\d.]+)" y="224.0"', drawing)]
        assert len(across) >= 2
        assert all(b - a >= 20 for a, b in zip(across, across[1:], strict=False)), "labels collide"


@pytest.mark.parametrize("unit", ["GB/s", "time"])
@pytest.mark.parametrize(("day", "bench"), EVERY[:4], ids=NAMES[:4])
def test_more_is_higher(day: DayBench, bench: BenchResult, unit: str) -> None:
    told = copy.deepcopy(bench)
    told.unit = unit
    for drawing in scaling(told, day):
        points = [(y, number_in(said)) for _, y, said in marks(drawing)]
        assert len({value for _, value in points}) > 1, "every point says the same"
        for y, value in points:
            for other_y, other in points:
                assert value <= 1.02 * other or y < other_y, f"{value} at {y}, {other} at {other_y}"


def number_in(said: str) -> float:
    """``reference, n=2K: 2,844 GB/s`` -> ``2844.0``."""
    return float(said.split(": ")[1].split()[0].replace(",", ""))


def test_what_does_not_count_is_not_drawn() -> None:
    day, bench = copy.deepcopy(EVERY[0])
    for case in bench.cases:
        for figure in case.figures:
            figure.correct = figure.contender == REFERENCE
    drawn = plots_of(bench, day)
    assert drawn and "torch" not in drawn and REFERENCE in drawn
    for case in bench.cases:
        for figure in case.figures:
            figure.correct = False
    assert plots_of(bench, day) is None
    bench.cases = []
    assert plots_of(bench, day) is None


def test_scales() -> None:
    linear, log = Scale(0, 10, 100, 200), Scale(1, 100, 0, 50, log=True)
    assert (linear(0), linear(5), linear(10)) == (100, 150, 200)
    assert log(10) == pytest.approx(25)
    assert Scale(3, 3, 0, 10)(3) == 5, "one value alone stands in the middle"
