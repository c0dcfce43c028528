"""In every day that is guarded, what its answers allocate starts as nan, watched or not.

Each exercise of the day's stub is given a first statement that allocates, and where the track
refuses computation, computes; what it saw is noted in a file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from harness.curriculum import Day, find_track, generate_stub, read_source
from harness.curriculum.definitions import definitions_of, is_jit
from harness.curriculum.source import syntax_tree
from harness.protocol import SOLUTION, Request
from harness.run import run
from harness.run.warm import Warm

PROBE = """

def _probe(name):
    import json as _json
    import sys as _sys
    import torch as _torch
    found = []
    for kind in (_torch.float32, _torch.float16):
        found.append(repr(_torch.empty(7, dtype=kind)).count("nan") == 7)
    try:
        _torch.ones(3) + 1
        refused = False
    except AssertionError as error:
        refused = "own computation" in str(error)
    frame, watched = _sys._getframe(), False
    while frame is not None:
        watched = watched or frame.f_code.co_filename.endswith("watching.py")
        frame = frame.f_back
    with open(NOTES, "a") as file:
        file.write(_json.dumps([name, watched, all(found), refused]) + "\\\\n")


def _probed(name, f):
    import functools as _functools

    @_functools.wraps(f)
    def first(*args, **kwargs):
        _probe(name)
        return f(*args, **kwargs)

    return first


for _name in NAMES:
    _value = globals()[_name]
    if isinstance(_value, type) and isinstance(vars(_value).get("forward"), staticmethod):
        # an autograd.Function, or what is registered as an operator
        _value.forward = staticmethod(_probed(_name, _value.forward))
    elif isinstance(_value, type):
        _value.__init__ = _probed(_name, _value.__init__)
    elif type(_value).__name__ in ("function", "_lru_cache_wrapper"):
        globals()[_name] = _probed(_name, _value)
""".replace("\\\\n", "\\n")


COMPILED = ("test_attention_compiled[3]", "test_gpt_of_the_pytorch_track")
"""Tests of day 35 in which no guard is: torch.compile lets no mode of torch live, and the GPT's
answer is called by the test's own machinery."""
COMPUTES = ("FlashSelfAttention",)
"""A module, whose projections torch may compute."""


@pytest.fixture(scope="module")
def triton() -> Iterator[Warm]:
    with Warm("triton", "cpu") as launcher:
        yield launcher


def seen(day: Day, launcher: Warm, folder: Path) -> list[tuple[str, bool, bool, bool]]:
    notes = folder / "notes"
    source = read_source(day.solution)
    head = f"\n\nNOTES, NAMES = {str(notes)!r}, {[e.name for e in day.exercises]!r}\n"
    (folder / day.file.name).write_text(
        generate_stub(source, day.solution) + head + PROBE, encoding="utf-8"
    )
    request = Request(day.track, day.number, str(folder), SOLUTION, seed=1, device="cpu")
    run(replace(request, skip=COMPILED), launcher)
    return [tuple(json.loads(line)) for line in notes.read_text().splitlines()]


@pytest.mark.parametrize("day", find_track("triton").days, ids=lambda day: day.key)
def test_answers_are_guarded_inside_watch_and_outside(
    day: Day, triton: Warm, tmp_path: Path
) -> None:
    calls = seen(day, triton, tmp_path)
    source = read_source(day.solution)
    jitted = {d.name for d in definitions_of(syntax_tree(source), source) if is_jit(d.node)}
    assert {name for name, *_ in calls} == {e.name for e in day.exercises} - jitted
    assert {watched for _, watched, *_ in calls} == {True, False}
    assert all(poisoned for _, _, poisoned, _ in calls), [c for c in calls if not c[2]]
    on_paper = re.search(r"ALLOW = \([^)]*\badd\b", day.tests.read_text(encoding="utf-8"))
    if not on_paper:  # else torch may compute
        bare = [c for c in calls if not c[3] and c[0] not in COMPUTES]
        assert not bare, bare
