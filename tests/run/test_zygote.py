"""What a warm process does once for all runs of a day, and how it ends while one is in progress."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from harness.curriculum import ROOT, Day
from harness.grading.seal import imported_names
from harness.imports import FreshLoader, _compiled
from harness.protocol import Request
from harness.run import run
from harness.run.warm import Warm
from harness.run.zygote import _libraries, begin

BACKWARD = "torch.fx.experimental.symbolic_shapes"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("import os, a.b\nfrom c.d import e\n", ["os", "a.b", "c.d"]),
        ("from tracks.triton import day01\nfrom harness.testing import close\n", []),
        ("from . import near\ndef f():\n    import later\n", []),
        ("import torch\nloss.backward()\n", ["torch", BACKWARD]),
        ("import torch\n", ["torch"]),
        ("import numpy\nloss.backward()\n", ["numpy"]),
    ],
)
def test_which_libraries_a_file_needs(text: str, found: list[str]) -> None:
    assert _libraries(text) == found


def test_what_a_day_builds_on_is_compiled_once(tmp_path: Path) -> None:
    day = Day("autodiff", 20, ROOT)
    begin(day)
    before = _compiled.cache_info().misses, imported_names.cache_info().misses
    below = Day("autodiff", 15, ROOT).solution  # day 20 imports what imports it
    FreshLoader("day15", str(below)).get_code("day15")
    imported_names(day.tests.read_text(encoding="utf-8"))
    assert (_compiled.cache_info().misses, imported_names.cache_info().misses) == before


def test_a_file_that_is_no_python_is_left_to_the_run(tmp_path: Path) -> None:
    folder = tmp_path / "tracks" / "autodiff"
    for part in ("solutions", "tests"):
        (folder / part).mkdir(parents=True)
    (folder / "solutions" / "day01.py").write_text("def f(:\n")
    begin(Day("autodiff", 1, tmp_path))  # and one that is not there


def test_it_ends_with_the_run_in_progress_and_begins_none(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    waits = f"open({str(note)!r}, 'w').close()\nimport time\ntime.sleep(100)\n"
    (tmp_path / "day01.py").write_text(waits)
    request = Request("autodiff", 1, str(tmp_path), device="cpu")
    raised: list[BaseException] = []

    def grade() -> None:
        try:
            run(request, warm)
        except RuntimeError as error:
            raised.append(error)

    with Warm("autodiff", "cpu") as warm:
        graded = threading.Thread(target=grade)
        graded.start()
        while not note.exists():
            time.sleep(0.05)
        warm.end()
        graded.join(30)
        assert not graded.is_alive()
        with pytest.raises(RuntimeError, match="was ended"):
            run(request, warm)
