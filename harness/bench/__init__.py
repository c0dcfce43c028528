"""Benchmarks: what ``make bench`` runs. Days declare theirs with ``harness.benching``.

One run, in the order of the data: ``command`` (parent process) sends a ``request`` to ``child``,
which loads the bench file and both versions of the day; ``measure`` takes a case through
``contenders``, ``inputs``, ``timer`` (on ``cpu`` or ``cuda``), ``checking`` and ``trust``;
``results`` holds what came out, ``goals`` and ``medals`` judge it; ``table``, ``plots``,
``compare`` and ``record`` show it.
"""

from __future__ import annotations

from harness.bench.command import run_bench
from harness.bench.medals import medal

__all__ = ["medal", "run_bench"]
