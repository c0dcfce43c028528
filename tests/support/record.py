"""Figures in the documents that commands write themselves, between two marks."""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
THREATS, TEACHING = ROOT / "docs" / "threat-model.md", ROOT / "docs" / "teaching.md"


def record(document: Path, name: str, lines: list[str]) -> None:
    """Put ``lines`` between the marks ``name`` in ``document``, with this machine and the day."""
    text = document.read_text(encoding="utf-8")
    before, _, after = _parts(text, name, document)
    body = "\n".join(["```text", *lines, machine(), "```"])
    document.write_text(f"{before}\n\n{body}\n\n{after}", encoding="utf-8")


def recorded(document: Path, name: str) -> str:
    """What stands between the marks ``name``."""
    return _parts(document.read_text(encoding="utf-8"), name, document)[1]


def _parts(text: str, name: str, document: Path) -> tuple[str, str, str]:
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    for mark in (begin, end):
        if text.count(mark) != 1:
            raise ValueError(f"{document.name} must hold {mark} once, not {text.count(mark)} times")
    before, rest = text.split(begin)
    inside, after = rest.split(end)
    return before + begin, inside, end + after


def machine() -> str:
    from harness.measure.device import describe_cpu

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    system = f"{platform.system()} {platform.release().split('-')[0]}"
    return f"{describe_cpu().name}, {cores} cores, {system}; {time.strftime('%Y-%m-%d')}"
