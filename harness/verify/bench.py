"""The bench file of a day, proved without a clock: it times what is right, and would notice wrong.

Every case is tried with the reference and with the peers that run here; Triton's cases are made
small for it, because they are gigabytes and this may be the interpreter. ``torch.compile`` is left
out: it is derived from the eager peer, and would take a minute a day.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from harness.bench import checking
from harness.bench.child import load_benches
from harness.bench.contenders import COMPILE, REFERENCE, TUNED, Entry, gather, reason
from harness.bench.inputs import leaves
from harness.bench.rng import make_rng
from harness.bench.timer import same
from harness.benching import CEILINGS, Bench, Case, Problem
from harness.curriculum import Day, family_of

SMALL = 32
LOOSE = 100.0
"""A peer may be less exact than asked, which the table notes; it may not compute something else."""
REFUSES = ("No available kernel", "No viable backend")
"""What torch says when a pinned backend of its attention does not take these inputs."""


def check_benches(day: Day, module: Any, device: torch.device) -> None:
    """AssertionError with a line for each thing that is wrong."""
    found = [
        f"{bench.name}: {sentence}"
        for bench in load_benches(day.bench)
        for sentence in findings(bench, day.track, module, device)
    ]
    assert not found, "\n".join(found)


def findings(bench: Bench, track: str, module: Any, device: torch.device) -> Iterator[str]:
    """What is wrong with one bench, in sentences."""
    cases = list(dict.fromkeys([*bench.cases, *bench.cpu_cases]))
    problems = {case: bench.problem(case) for case in cases}
    yield from _undeclared(bench, problems, module)
    yield from _idle_goals(bench, problems, module)
    if bench.gpu and device.type == "cpu":
        return
    if family_of(track) == "triton":
        tried = list(dict.fromkeys(small(case) for case in cases))
    else:
        tried = list(bench.cpu_cases)
    for case in tried:
        problem = bench.problem(case)
        for sentence in _wrong(bench, problem, track, module, device):
            yield f"{case}: {sentence}"


def small(case: Case) -> Case:
    """The case with its large sizes made small: each another one, none a power of two."""
    values = {}
    for index, (name, value) in enumerate(case.values.items()):
        large = isinstance(value, int) and not isinstance(value, bool) and value > SMALL
        values[name] = 33 + 6 * index if large else value
    return Case(**values)


def _undeclared(bench: Bench, problems: dict[Case, Problem], module: Any) -> Iterator[str]:
    """What the unit needs and a case does not count."""
    needed = {"GB/s": "bytes", "FLOP/s": "flops"}.get(bench.unit)
    for case, problem in problems.items():
        if needed and not getattr(problem, needed):
            yield f"{case}: a bench in {bench.unit} has to count its {needed}"
    unnamed = any(problem.ours is None for problem in problems.values())
    if unnamed and not callable(getattr(module, bench.name, None)):
        yield f"{module.__name__} has nothing of this name to time: give ours="


def _idle_goals(bench: Bench, problems: dict[Case, Problem], module: Any) -> Iterator[str]:
    """Goals that no case can meet or miss."""
    for goal in bench.goals:
        covered = [problem for case, problem in problems.items() if goal.covers(case.plain)]
        if not covered:
            yield f"goal {goal}: covers no case"
        if goal.of in CEILINGS:
            continue
        for problem in covered:
            names = {entry.name for entry in gather(bench, problem, {}, None, quick=False)}
            if goal.of not in names | {REFERENCE}:
                yield f"goal {goal}: there is no contender called {goal.of}"
                break


def _wrong(
    bench: Bench, problem: Problem, track: str, module: Any, device: torch.device
) -> Iterator[str]:
    """What is wrong with one case: with its contenders, or with what it takes for right."""

    def made() -> tuple[Any, ...]:
        return problem.inputs(make_rng(track, 0, device))

    expected = problem.oracle(*made())
    tolerance = dict(problem.tolerance)
    for entry in gather(bench, problem, {REFERENCE: module}, None, quick=True):
        if entry.name in (COMPILE, TUNED):
            continue
        if entry.gap:
            if entry.name == REFERENCE or entry.gap.startswith("does not load"):
                yield f"{entry.name}: {entry.gap}"
            continue
        inputs = made()
        try:
            out = _call(entry, inputs)
        except Exception as failure:
            if not any(words in str(failure) for words in REFUSES):
                yield f"{entry.name} fails: {reason(failure)}"
            continue
        if not problem.inplace and not same(inputs, made()):
            yield f"{entry.name} overwrites its inputs, and the bench does not say inplace=True"
        if entry.name != REFERENCE:
            wrong = checking.check(
                out, expected, {**tolerance, "factor": LOOSE * tolerance.get("factor", 4.0)}
            )
            if wrong:
                yield f"{entry.name} computes something else: {wrong}"
            continue
        wrong = checking.check(out, expected, tolerance)
        if wrong:
            yield f"{entry.name}: {wrong}"
        # Output by output: the loss must not hide a gradient that nobody looks at.
        for index, (one, right) in enumerate(zip(leaves(out), leaves(expected), strict=False)):
            for what, factor in (("zeros", 0.0), ("10 % too much", 1.1)):
                if not checking.check(_times(one, factor), right, tolerance):
                    yield f"output {index}: takes {what} for right: its tolerance is too large"


def _call(entry: Entry, inputs: Sequence[Any]) -> Any:
    call: Callable[..., Any] | None = entry.call
    assert call is not None
    arguments = inputs if entry.prepare is None else entry.prepare(*inputs)
    return checking.snapshot(call(*arguments))


def _times(leaf: Any, factor: float) -> Any:
    """An output multiplied by ``factor``, of its own dtype."""
    return (leaf * factor).to(leaf.dtype) if isinstance(leaf, torch.Tensor) else leaf * factor
