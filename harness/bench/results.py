"""What a run of benches found, as plain data with a JSON form.

The JSON, schema 1 (every rate is per second, every time in nanoseconds, every size in bytes)::

    schema            1
    when              ISO time, UTC
    machine           name, kind ("cuda" or "cpu"), detail, cpu, cores, threads, memory_bytes,
                      compute_capability, sm_count, driver, system
    versions          python, torch, triton, numpy, … as installed
    git               commit and whether the tree had changes, or null
    options           quick, against, impl, seed
    days[]            one a day that was benched
      track, day, device ("cuda" or "cpu"), files {yours, reference: "path #hash"}
      problem         why nothing was measured; else empty
      ceilings        copy, matrix {dtype: rate}, launch_ns, threads, all_threads
      benches[]       name, unit, cache, goals[] {text, bench, status, value, detail}
        cases[]       case {name: value}, bytes, flops, dtype, rounds, stopped, reruns, seed,
                      untrusted[] (reasons; empty: trusted)
          figures[]   contender, gap | error | ns {p20, median, p80, low, high, count},
                      samples[], method, warm_up_seconds, correct, peak_bytes, launches, note
      medal           "bronze", "silver", "gold" or null
      seconds         what the whole day took, 0 where nobody looked

``low``–``high`` enclose the true median with 95 %. Sample i of every contender of a case comes from
the same round, so ratios are taken sample by sample.
"""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from harness.bench.quantiles import Quantiles, quantiles

SCHEMA = 1


@dataclass
class Figure:
    """One contender in one case: a gap, an error, or times."""

    contender: str
    gap: str = ""
    error: str = ""
    ns: Quantiles | None = None
    samples: list[float] = field(default_factory=list)
    method: str = ""
    warm_up_seconds: float = 0.0
    correct: bool | None = None
    peak_bytes: int | None = None
    launches: int | None = None
    note: str = ""

    @property
    def counts(self) -> bool:
        """Whether there is a time, of a call whose answer was right."""
        return self.ns is not None and not self.error and self.correct is not False


@dataclass
class CaseResult:
    case: dict[str, Any]
    bytes: int
    flops: int
    dtype: str
    figures: list[Figure] = field(default_factory=list)
    rounds: int = 0
    stopped: str = ""
    reruns: int = 0
    seed: int = 0
    untrusted: list[str] = field(default_factory=list)

    @property
    def label(self) -> str:
        return " ".join(f"{name}={value}" for name, value in self.case.items())

    def figure(self, contender: str) -> Figure | None:
        """The figure of ``contender`` where it counts."""
        found = (f for f in self.figures if f.contender == contender and f.counts)
        return next(found, None)

    def ratio(self, contender: str, other: str) -> Quantiles | None:
        """How many times the speed of ``other`` does ``contender`` have, round by round."""
        a, b = self.figure(contender), self.figure(other)
        if a is None or b is None:
            return None
        return quantiles([y / x for x, y in zip(a.samples, b.samples, strict=False)])


@dataclass
class GoalResult:
    """``status``: "met", "missed" or "not measured"; ``value``: the worst ratio seen."""

    text: str
    bench: str
    status: str
    value: float | None = None
    detail: str = ""


@dataclass
class BenchResult:
    name: str
    unit: str
    cache: str
    cases: list[CaseResult] = field(default_factory=list)
    goals: list[GoalResult] = field(default_factory=list)
    left_out: int = 0
    """Cases that a quick run did not measure."""


@dataclass
class DayBench:
    track: str
    day: int
    device: str = ""
    files: dict[str, str] = field(default_factory=dict)
    problem: str = ""
    ceilings: dict[str, Any] = field(default_factory=dict)
    benches: list[BenchResult] = field(default_factory=list)
    medal: str | None = None
    seconds: float = 0.0


@dataclass
class Report:
    when: str
    machine: dict[str, Any]
    versions: dict[str, str]
    git: dict[str, Any] | None
    options: dict[str, Any]
    days: list[DayBench] = field(default_factory=list)
    schema: int = SCHEMA


def to_json(value: Any) -> str:
    return json.dumps(asdict(value), indent=1, ensure_ascii=False, default=str)


def save(report: Report, path: Path) -> None:
    """Write all of it or nothing: a run that is killed leaves the old file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(to_json(report) + "\n")
    os.chmod(name, 0o644)
    os.replace(name, path)


def load(path: Path) -> Report:
    """Read a report; ValueError says what is wrong with the file."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as failure:
        raise ValueError(f"{path}: {failure.strerror}") from None
    except json.JSONDecodeError as failure:
        raise ValueError(f"{path} is not JSON (line {failure.lineno}): {failure.msg}") from None
    if not isinstance(data, dict) or data.get("schema") != SCHEMA:
        found = data.get("schema") if isinstance(data, dict) else None
        raise ValueError(f"{path} is no bench result of schema {SCHEMA} (found: {found})")
    try:
        return Report(**{**data, "days": [day_from(d) for d in data["days"]]})
    except (KeyError, TypeError) as failure:
        raise ValueError(f"{path} lacks a part of schema {SCHEMA}: {failure}") from None


def day_from(data: dict[str, Any]) -> DayBench:
    return DayBench(**{**data, "benches": [_bench(b) for b in data["benches"]]})


def _bench(data: dict[str, Any]) -> BenchResult:
    return BenchResult(
        **{
            **data,
            "cases": [_case(c) for c in data["cases"]],
            "goals": [GoalResult(**g) for g in data["goals"]],
        }
    )


def _case(data: dict[str, Any]) -> CaseResult:
    return CaseResult(**{**data, "figures": [_figure(f) for f in data["figures"]]})


def _figure(data: dict[str, Any]) -> Figure:
    return Figure(**{**data, "ns": Quantiles(**data["ns"]) if data["ns"] else None})
