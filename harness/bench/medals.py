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


def next_medal(result: DayBench) -> list[str]:
    """What keeps the next medals away, a sentence each; [] where there is none to be had."""
    if result.problem or not result.benches or YOURS not in result.files:
        return []
    if result.device != "cuda" and result.track != "autodiff":
        return []
    won = medal(result)
    if won is None:
        return [f"Bronze needs every case right: {_wrong(result.benches)}."]
    said = []
    for name, other, bound in (("Silver", EAGER, SILVER), ("Gold", REFERENCE, GOLD)):
        if won == "gold" or name.lower() == won:
            continue
        speed = "torch's speed" if other == EAGER else "the reference's speed"
        why = "; ".join(w for w in (_missing(b, other, bound) for b in result.benches) if w)
        said.append(f"{name} needs {bound:.2f} x {speed}: {why}.")
    return said


def _wrong(benches: list[BenchResult]) -> str:
    for bench in benches:
        for case in bench.cases:
            gaps = [f.gap for f in case.figures if f.contender == YOURS]
            if any(gap.startswith("not written yet") for gap in gaps):
                return f"{bench.name} is not written yet"
            if any(f.counts for f in case.figures) and not case.figure(YOURS):
                return f"{bench.name} is not right at {case.label}"
    return "nothing was measured"


def _missing(bench: BenchResult, other: str, bound: float) -> str:
    if _reaches(bench, other, bound):
        return ""
    compared = [case for case in bench.cases if case.ratio(YOURS, other) is not None]
    if not compared:
        return f"{bench.name} has no figure of {other} to compare with"
    doubtful = [case for case in compared if case.untrusted]
    if doubtful:
        return f"{bench.name} is untrusted at {doubtful[0].label} ({doubtful[0].untrusted[0]})"
    logs = [log(ratio.median) for case in compared if (ratio := case.ratio(YOURS, other))]
    return f"{bench.name} has {exp(sum(logs) / len(logs)):.2f}"


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
