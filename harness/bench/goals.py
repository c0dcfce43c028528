"""Goals, judged by the figures of one run."""

from __future__ import annotations

from collections.abc import Sequence

from harness.bench.ceilings import Ceilings
from harness.bench.results import BenchResult, CaseResult, GoalResult
from harness.benching import Goal


def judge(goals: Sequence[Goal], bench: BenchResult, ceilings: Ceilings, who: str) -> None:
    """Mark each goal met, missed or not measured for contender ``who``, into ``bench.goals``.

    A goal that covers several cases is met where the worst of them meets it. One that lacks a case
    (too large here, wrong, untrusted, peer missing) is not measured, unless it is missed already.
    """
    bench.goals = [_judge(goal, bench, ceilings, who) for goal in goals]


def _judge(goal: Goal, bench: BenchResult, ceilings: Ceilings, who: str) -> GoalResult:
    covered = [case for case in bench.cases if goal.covers(case.case)]
    result = GoalResult(str(goal), bench.name, "not measured")
    if not covered:
        result.detail = "no case of this run is one of those"
        return result
    missing = []
    worst: tuple[float, CaseResult] | None = None
    for case in covered:
        value = speed(goal.of, case, ceilings, who)
        why = "" if value is not None else f"{who} or {goal.of} has no figure"
        if case.untrusted:
            why = f"untrusted: {case.untrusted[0]}"
        if why or value is None:
            missing.append(f"{case.label}: {why}")
        elif worst is None or value < worst[0]:
            worst = (value, case)
    if worst is not None:
        ratio = worst[0]
        good = ratio >= goal.at_least if goal.at_least is not None else False
        if goal.at_most is not None:
            good = 1 / ratio <= goal.at_most
        result.value = ratio if goal.at_most is None else 1 / ratio
        result.status = "met" if good else "missed"
        result.detail = f"{who} {result.value:.2f} at {worst[1].label}"
        if missing and good:
            result.status = "not measured"
            result.detail += "; but "
    if missing and result.status == "not measured":
        result.detail += missing[0] + (f" (and {len(missing) - 1} more)" if missing[1:] else "")
    return result


def speed(of: str, case: CaseResult, ceilings: Ceilings, who: str) -> float | None:
    """The speed of ``who`` as a multiple of ``of``: a ceiling or a contender."""
    if of not in ("copy", "matrix"):
        ratio = case.ratio(who, of)
        return ratio.median if ratio else None
    figure = case.figure(who)
    amount = case.bytes if of == "copy" else case.flops
    ceiling = ceilings.copy if of == "copy" else ceilings.matrix_rate(case.dtype)
    if figure is None or figure.ns is None or not ceiling or not amount:
        return None
    return amount / figure.ns.median * 1e9 / ceiling
