"""``make report``: one HTML page about the learner's work."""

from __future__ import annotations

import contextlib
import io
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from harness.curriculum import ROOT
from harness.progress import put
from harness.protocol import LEARNER
from harness.report.collect import collect
from harness.report.page import opens_here, page
from harness.usage import Usage

FILE = ROOT / ".harness" / "report.html"


def write_report(output: str, compile_kernels: bool, as_json: bool) -> int:
    """Write the page, or print what it is made of. → 0"""
    learner = collect()
    if compile_kernels and learner.not_compiled:
        _compile(learner.not_compiled)
        learner = collect()
    if as_json:
        print(json.dumps(asdict(learner, dict_factory=_short), indent=2, default=str))
        return 0
    target = Path(output).absolute() if output else FILE
    if target.is_dir():
        target /= FILE.name
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise Usage(f"TO={output}: {target.parent} is a file, no folder.") from None
    put(target, page(learner, target, editor=opens_here()).encode())
    shown = target.relative_to(ROOT) if target.is_relative_to(ROOT) else target
    print(f"{shown}: open it in a browser.")
    return 0


def _short(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Of a benchmark's times the quantiles: the samples are in .harness/bench."""
    return {name: value for name, value in pairs if name != "samples"}


def _compile(days: Sequence[int]) -> None:
    """As ``make xray`` does for each of the days; what it says is kept for the page."""
    from harness.cli.xray import xray_day

    for day in days:
        print(f"compiling the kernels of day {day} …", file=sys.stderr)
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                xray_day("triton", str(day), "", "sm_80,sm_90", LEARNER, "auto", False)
        except RuntimeError as error:  # no compiler process: the page says what is missing
            print(error, file=sys.stderr)
