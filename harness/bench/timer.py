"""All contenders of a case side by side, round after round, until the figures are sharp enough.

One round gives every contender one turn through fresh inputs, in an order drawn anew. What the
machine does meanwhile (a clock that drops, a neighbour that wakes up) meets all of them alike, so
ratios hold even where times do not.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from harness.bench.clock import Clock
from harness.bench.contenders import Entry, reason
from harness.bench.inputs import Pool, leaves
from harness.bench.quantiles import FEWEST, quantiles
from harness.bench.stopwatch import Sample, Sets, Stopwatch

LATE_NS = 20_000  # what a busy host may add to one of two questions and not to the other
LATE_SHARE = 0.2


@dataclass(frozen=True)
class Budget:
    """When to stop: every median known to ``error``, or ``seconds`` used."""

    error: float = 0.01
    seconds: float = 10.0
    warm_up_seconds: float = 1.0
    fewest: int = 10
    most: int = 200


QUICK = Budget(error=0.05, seconds=1.0, warm_up_seconds=0.2, fewest=FEWEST, most=40)


@dataclass
class Timed:
    """One contender's samples. ``failed`` says why it has none; ``cheat`` why they do not count."""

    name: str
    ns: list[float] = field(default_factory=list)
    method: str = ""
    warm_up_seconds: float = 0.0
    failed: str = ""
    cheat: str = ""
    kept: list[tuple[int, Any]] = field(default_factory=list)
    """(seed of its inputs, output) of a call of the first round and of one of the last."""
    late_ns: list[float] = field(default_factory=list)

    @property
    def alive(self) -> bool:
        return not self.failed


@dataclass(frozen=True)
class Timings:
    contenders: list[Timed]
    rounds: int
    stopped: str


def race(
    entries: Sequence[Entry],
    pool: Pool,
    stopwatch: Stopwatch,
    budget: Budget,
    clock: Clock,
    *,
    inplace: bool = False,
    warm: Callable[[], None] = lambda: None,
    each_round: Callable[[float], None] = lambda share: None,
    seed: int = 0,
) -> Timings:
    """Time ``entries`` on the sets of ``pool``. ``warm`` is called between
    warm-up and first round, ``each_round`` after each round with the share that is done.
    """
    shuffle = random.Random(seed)
    calls = {entry.name: entry for entry in entries}
    timed = {entry.name: Timed(entry.name, failed=entry.gap) for entry in entries}
    slowest = 1.0
    for t in timed.values():
        if t.alive:
            slowest = max(slowest, _first_calls(calls[t.name], t, pool, stopwatch, clock, inplace))
    if stopwatch.flushes:
        # Many sets make short calls exact. Of long ones two are enough, or one round takes minutes.
        pool.keep(max(2, int(budget.seconds * 1e9 / budget.fewest / slowest)))
    for t in timed.values():
        if t.alive:
            _warm_up(calls[t.name], t, pool, stopwatch, budget, clock)

    warm()
    start = clock.now()
    rounds, stopped = 0, ""
    while not stopped:
        racing = [t for t in timed.values() if t.alive]
        if not racing:
            stopped = "nothing left to time"
            break
        pool.refill()
        shuffle.shuffle(racing)
        samples = []
        for t in racing:
            if inplace:
                pool.restore()  # the contender before wrote into them
            samples.append((t, _turn(calls[t.name], t, pool, stopwatch, shuffle)))
        used = (clock.now() - start) / 1e9
        if any(sample.void for _, sample in samples if sample):
            continue  # for all of them: ratios are taken round by round
        for t, sample in samples:
            if sample:
                t.ns.append(sample.ns)
        rounds += 1
        stopped = _stop([t for t in timed.values() if t.alive], rounds, used, budget)
        each_round(min(1.0, used / budget.seconds))
    for t in timed.values():
        if t.ns and not t.cheat:
            t.cheat = _late(t)
    return Timings(list(timed.values()), rounds, stopped)


def _first_calls(
    entry: Entry, timed: Timed, pool: Pool, stopwatch: Stopwatch, clock: Clock, inplace: bool
) -> float:
    """Compile and tune outside the clock. → nanoseconds that a call takes after that"""
    assert entry.call is not None
    began = clock.now()
    ns = 0.0
    try:
        sets = _prepared(entry, pool.sets[:1])
        for _ in range(2):  # the first compiles
            ns = stopwatch.settle(entry.call, sets)
        if not inplace and not same(pool.sets[0], pool.again(pool.seeds[0])):
            timed.failed = "overwrites its inputs, which this bench does not allow"
            pool.restore()
    except Exception as failure:
        timed.failed = reason(failure)
    timed.warm_up_seconds = (clock.now() - began) / 1e9
    return ns


def _warm_up(
    entry: Entry, timed: Timed, pool: Pool, stopwatch: Stopwatch, budget: Budget, clock: Clock
) -> None:
    """Fill caches and let clocks rise, outside the clock: until three turns agree within 5 %."""
    assert entry.call is not None
    began = clock.now()
    try:
        sets = _prepared(entry, pool.sets)
        turns = [stopwatch.settle(entry.call, sets)]
        while not _steady(turns) and (clock.now() - began) / 1e9 < budget.warm_up_seconds:
            turns.append(stopwatch.settle(entry.call, sets))
        timed.method = stopwatch.ready(entry.name, entry.call, sets, turns[-1])
    except Exception as failure:
        timed.failed = reason(failure)
    timed.warm_up_seconds += (clock.now() - began) / 1e9


def _turn(
    entry: Entry, timed: Timed, pool: Pool, stopwatch: Stopwatch, shuffle: random.Random
) -> Sample | None:
    """One contender's sample of this round, or None where it failed; its output is kept."""
    assert entry.call is not None
    try:
        sample: Sample = stopwatch.sample(
            entry.name, entry.call, _prepared(entry, pool.sets), shuffle.randrange(len(pool.sets))
        )
    except Exception as failure:
        timed.failed = reason(failure)
        return None
    timed.late_ns.append(sample.late_ns)
    timed.cheat = timed.cheat or sample.cheat
    output = (pool.seeds[sample.kept_call], sample.kept)
    timed.kept = [*timed.kept[:1], output]
    return sample


def _prepared(entry: Entry, sets: Sets) -> Sets:
    if entry.prepare is None:
        return sets
    return [tuple(entry.prepare(*one)) for one in sets]


def _steady(turns: Sequence[float]) -> bool:
    last = turns[-3:]
    return len(last) == 3 and max(last) <= 1.05 * min(last)


def _stop(racing: Sequence[Timed], rounds: int, used: float, budget: Budget) -> str:
    if rounds >= budget.most:
        return f"{rounds} rounds done"
    if rounds >= budget.fewest:
        # Looking after every round and stopping at the first success makes the bound a little
        # optimistic; the fewest rounds keep that small.
        if all(quantiles(t.ns).error <= budget.error for t in racing):
            return "error bound met"
        if used >= budget.seconds:
            return "time used up"
    elif used >= 3 * budget.seconds:
        return "time used up"
    return ""


def _late(timed: Timed) -> str:
    late = min(timed.late_ns)  # the smallest: noise only ever adds to it
    if late > LATE_NS and late > LATE_SHARE * quantiles(timed.ns).median:
        return (
            f"the device worked on for {late / 1e3:.0f} µs after the timed stream was done: "
            "work on another stream that the timed one does not wait for"
        )
    return ""


def same(a: Any, b: Any) -> bool:
    """Whether two sets of inputs hold the same values (nan equals nan)."""
    import numpy as np
    import torch

    for x, y in zip(leaves(a), leaves(b), strict=True):
        if isinstance(x, torch.Tensor):
            if not torch.equal(x, y) and not bool(((x == y) | ((x != x) & (y != y))).all()):
                return False
        elif isinstance(x, np.ndarray):
            if not np.array_equal(x, y, equal_nan=x.dtype.kind in "fc"):
                return False
        elif x is not y and x != y:
            return False
    return True
