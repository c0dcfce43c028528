"""``make report``: one HTML page about the learner's work."""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import asdict
from pathlib import Path

from harness.cli.options import Usage
from harness.curriculum import ROOT
from harness.report.collect import collect
from harness.report.page import page

FILE = ROOT / ".harness" / "report.html"


def write_report(output: str, as_json: bool) -> int:
    """Write the page, or print what it is made of. → 0"""
    learner = collect()
    if as_json:
        print(json.dumps(asdict(learner), indent=2, default=str))
        return 0
    target = Path(output).absolute() if output else FILE
    if target.is_dir():
        raise Usage(f"TO={output} is a folder: name a file, such as report.html.")
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=".report-", suffix=".html")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(page(learner, target))
    os.chmod(name, 0o644)
    os.replace(name, target)  # an open browser never sees half a page
    shown = target.relative_to(ROOT) if target.is_relative_to(ROOT) else target
    print(f"{shown}: open it in a browser.")
    return 0
