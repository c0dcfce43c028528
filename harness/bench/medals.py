"""The medal of a day: bronze correct, silver as fast as eager torch, gold 95 % of the reference."""

from __future__ import annotations

from math import exp, log

from harness.bench.contenders import EAGER, REFERENCE, YOURS
from harness.bench.results import BenchResult, DayBench

GOLD = 0.95
SILVER = 1.0


def medal(result: DayBench) -> str | None:
    """ "gold", "silver", "bronze" or None.

    Every bench of the day must earn it; within a bench the cases count together, by the geometric
    mean of the speed ratios, so that one noisy case decides nothing. Bronze needs every case right
    on a GPU (the Autodiff track has no GPU: there the CPU is the machine). Silver and gold need
    trusted figures, and each stands for itself: gold does not ask for eager's speed, because some
    days' reference is a teaching kernel that does not have it.
    """
    if result.problem or not result.benches:
        return None
    if result.device != "cuda" and result.track != "autodiff":
        return None
    if not all(_right(bench) for bench in result.benches):
        return None
    if all(_reaches(bench, REFERENCE, GOLD) for bench in result.benches):
        return "gold"
    if all(_reaches(bench, EAGER, SILVER) for bench in result.benches):
        return "silver"
    return "bronze"


def _right(bench: BenchResult) -> bool:
    measured = [case for case in bench.cases if any(f.counts for f in case.figures)]
    return bool(measured) and all(case.figure(YOURS) for case in measured)


def _reaches(bench: BenchResult, other: str, bound: float) -> bool:
    ratios = []
    for case in bench.cases:
        ratio = case.ratio(YOURS, other)
        if ratio is None:
            continue
        if case.untrusted:
            return False
        ratios.append(log(ratio.median))
    return bool(ratios) and exp(sum(ratios) / len(ratios)) >= bound
