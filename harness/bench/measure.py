"""One case of a bench, from its declaration to its figures."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import numpy as np
import torch

from harness.bench import checking
from harness.bench.ceilings import Ceilings
from harness.bench.clock import Clock, Guard
from harness.bench.contenders import REFERENCE, YOURS, Entry, gather, reason
from harness.bench.inputs import MOST_SETS, MOST_SETS_CPU, Pool, how_many, leaves, nbytes
from harness.bench.quantiles import quantiles
from harness.bench.results import CaseResult, Figure
from harness.bench.rng import make_rng
from harness.bench.stopwatch import Stopwatch
from harness.bench.timer import Budget, Timed, race
from harness.bench.trust import Gate
from harness.benching import Bench, Case, Problem
from harness.measure.device import Device, free_bytes, skip_reason

OWN = (YOURS, REFERENCE)
# Of the ceiling, measured as it is: more can only be work that was left out or hidden.
TOO_FAST = 1.3


@dataclass(frozen=True)
class Setting:
    """What a run has in common: where it runs, against whom, for how long, on which clock."""

    track: str
    device: Device
    stopwatch: Callable[[bool, int], Stopwatch]
    """Makes a stopwatch: whether inputs must come from memory, and bytes of all sets of them."""
    gate: Gate
    clock: Clock
    guard: Guard
    budget: Budget
    ceilings: Ceilings
    cache_bytes: int
    against: Sequence[str] | None = None
    quick: bool = False
    seed: int = 0
    reruns: int = 2
    progress: Callable[[str, float], None] = field(default=lambda text, share: None)


def measure_case(
    bench: Bench, case: Case, days: Mapping[str, ModuleType | str], setting: Setting
) -> CaseResult:
    """Measure ``case``; once more, a few times at most, while the machine was not itself."""
    result = CaseResult(case.plain, 0, 0, "", seed=setting.seed)

    def make(seed: int) -> tuple[Any, ...]:
        return problem.inputs(make_rng(setting.track, seed, torch.device(setting.device.kind)))

    def failed(why: str) -> CaseResult:
        result.figures = [Figure(name, gap=why) for name in days]
        return result

    skipped = skip_reason(setting.device, bench.gpu or False)
    if skipped:
        return failed(skipped)
    try:
        problem = bench.problem(case)
        result.bytes, result.flops = problem.bytes, problem.flops
        one = make(setting.seed)
        result.dtype = first_dtype(one)
        room = free_bytes(setting.device) or 2**30
        if 3 * nbytes(one) > room:
            return failed(f"needs about {3 * nbytes(one) >> 20} MiB and {room >> 20} MiB are free")
        # Half of what is free: the other half is for outputs, temporaries and the oracle.
        count = 2
        if bench.cache == "cold":
            most = MOST_SETS if setting.device.kind == "cuda" else MOST_SETS_CPU
            count = how_many(one, setting.cache_bytes, room // 4, most)
        elif nbytes(one) < setting.cache_bytes // 4:
            count = 8  # few enough to stay in the cache, more than one for the sake of the check
        del one
        pool = Pool(make, setting.seed, count)
    except (torch.cuda.OutOfMemoryError, MemoryError):
        return failed("does not fit into this machine's memory")
    except Exception as failure:
        return failed(f"the bench itself fails: {reason(failure)}")

    cold = bench.cache == "cold"
    entries = gather(bench, problem, days, setting.against, setting.quick)
    for attempt in range(setting.reruns + 1):
        result.reruns = attempt
        stopwatch = setting.stopwatch(cold, nbytes(pool.sets))
        _attempt(result, entries, problem, pool, setting, stopwatch, cold)
        if not result.untrusted:
            break
    return result


def _attempt(
    result: CaseResult,
    entries: Sequence[Entry],
    problem: Problem,
    pool: Pool,
    setting: Setting,
    stopwatch: Stopwatch,
    cold: bool,
) -> None:
    def each_round(share: float) -> None:
        setting.gate.look()
        setting.progress("", share)

    collecting = gc.isenabled()
    gc.collect()
    gc.disable()  # a collection in the middle of a call is charged to whoever is on the clock
    try:
        timings = race(
            entries,
            pool,
            stopwatch,
            setting.budget,
            setting.clock,
            inplace=problem.inplace,
            warm=setting.gate.start,
            each_round=each_round,
            seed=setting.seed,
        )
    finally:
        if collecting:
            gc.enable()
    result.untrusted = setting.gate.reasons()
    result.rounds, result.stopped = timings.rounds, timings.stopped
    patched = setting.guard.changed()
    calls = {entry.name: entry for entry in entries}
    result.figures = []
    for timed in timings.contenders:
        figure = _figure(calls[timed.name], timed, problem, pool, setting)
        if patched and timed.name == YOURS:
            figure.error = f"the timing functions were replaced: {', '.join(patched)}"
        result.figures.append(figure)
    impossible = too_fast(result, setting.ceilings, setting.cache_bytes if cold else 0)
    for figure in result.figures:
        if impossible and figure.contender == YOURS:
            figure.error = impossible


def _figure(entry: Entry, timed: Timed, problem: Problem, pool: Pool, setting: Setting) -> Figure:
    figure = Figure(timed.name, warm_up_seconds=timed.warm_up_seconds, method=timed.method)
    if entry.gap:
        figure.gap = entry.gap
        return figure
    if timed.failed:
        # Of a peer a failure is a gap like any other: this backend refuses these inputs.
        unwritten = timed.failed.startswith("not written yet")
        where = "gap" if unwritten or timed.name not in OWN else "error"
        setattr(figure, where, timed.failed)
        return figure
    figure.samples = [round(ns, 1) for ns in timed.ns]
    figure.ns = quantiles(figure.samples)
    figure.error = timed.cheat
    wrong = _wrong(timed, problem, pool, brief=timed.name not in OWN)
    figure.correct = not wrong
    if wrong and timed.name in OWN:
        figure.error = figure.error or _as_error(wrong)
    elif wrong:
        # A peer is what the world uses; that it is less exact than asked here is worth a note.
        figure.correct = None
        figure.note = f"outside this bench's tolerance: {wrong}"
    figure.peak_bytes, figure.launches = _watched(entry, pool)
    return figure


def _wrong(timed: Timed, problem: Problem, pool: Pool, brief: bool) -> str:
    """Check the kept outputs of timed calls, on their inputs made once more from the seed."""
    for seed, output in timed.kept:
        try:
            expected = problem.oracle(*pool.again(seed))
        except Exception as failure:  # often: no memory left for float64
            return f"not checked, because the oracle fails: {reason(failure)}"
        wrong = checking.check(output, expected, problem.tolerance, brief)
        if wrong:
            return wrong
    return ""


def _as_error(wrong: str) -> str:
    return wrong if wrong.startswith("not checked") else f"wrong: {wrong}"


def _watched(entry: Entry, pool: Pool) -> tuple[int | None, int | None]:
    """Peak memory and Triton launches of one more call; None where watching it fails."""
    from harness.testing import watch

    assert entry.call is not None
    try:
        arguments = pool.again(pool.seeds[0])
        if entry.prepare is not None:
            arguments = tuple(entry.prepare(*arguments))
        _, seen = watch(entry.call, *arguments)
    except Exception:
        return None, None  # the time stands without it
    return seen.peak_bytes, len(seen.launches)


def too_fast(case: CaseResult, ceilings: Ceilings, cold_cache: int) -> str:
    """Why the time of "yours" cannot be true, or an empty string.

    ``cold_cache``: size of the cache that holds nothing of the inputs when a call begins, 0 where
    it may. Only then, and only for sizes that it could not hold, is the copy bandwidth a law.
    Another contender that is nearly as fast shows that the ceiling was measured at a bad moment.
    """
    figure = case.figure(YOURS)
    if figure is None or figure.ns is None:
        return ""
    if figure.ns.median <= 0:
        return "took no time at all by a clock that counts nanoseconds"
    seconds = figure.ns.median / 1e9
    others = [f.ns.median for f in case.figures if f.counts and f.ns and f is not figure]
    if others and figure.ns.median * TOO_FAST > min(others):
        return ""
    whole = {k: v for k, v in ceilings.all_threads.items() if k not in ("threads", "copy")}
    fastest = max([*ceilings.matrix.values(), *whole.values()], default=0.0)
    if fastest and case.flops / seconds > TOO_FAST * fastest:
        return (
            f"faster than this machine computes: {case.flops / seconds / 1e9:,.0f} GFLOP/s where "
            f"its best matrix product reaches {fastest / 1e9:,.0f}"
        )
    copy = max(ceilings.copy, ceilings.all_threads.get("copy", 0.0))
    law = bool(cold_cache) and case.bytes > 4 * cold_cache
    if copy and law and case.bytes / seconds > TOO_FAST * copy:
        return (
            f"faster than this machine's memory: {case.bytes / seconds / 1e9:,.0f} GB/s where a "
            f"copy reaches {copy / 1e9:,.0f}"
        )
    return ""


def first_dtype(inputs: tuple[Any, ...]) -> str:
    """The dtype that chooses the matrix ceiling: of the first input that matrix units take."""
    for leaf in leaves(inputs):
        if isinstance(leaf, torch.Tensor) and (
            leaf.is_floating_point() or leaf.dtype == torch.int8
        ):
            return str(leaf.dtype).removeprefix("torch.")
        if isinstance(leaf, np.ndarray) and leaf.dtype.kind == "f":
            return str(leaf.dtype)
    return ""
