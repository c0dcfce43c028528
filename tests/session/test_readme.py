"""The session that the README shows is what make prints, line for line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ci.readme_session import BEGIN, END, session

ROOT = Path(__file__).resolve().parents[2]
CHANGES = re.compile(r"\d[\d.,]* (?:ms|s|kB|MB)\b|\b[0-9a-f]{8}\b|Makefile:\d+")
"""Times, bytes, hashes of files, and where in the Makefile the target stands."""


def lines(text: str) -> list[str]:
    return [CHANGES.sub("#", line) for line in text.strip().splitlines()]


def test_the_readme_shows_what_make_prints() -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("the README shows a machine without a GPU")
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = text.split(BEGIN)[1].split(END)[0]
    assert lines(shown) == lines(session()), "python ci/readme_session.py writes it anew"


def test_the_first_command_of_the_readme_passes() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    commands = re.findall(r"^make \w+.*?(?=\s{2,}#|$)", text, re.MULTILINE)
    assert commands[0].split() == ["make", "triton", "DAY=1", "IMPL=solution"]
    assert text.index(f"$ {commands[0].strip()}") < text.index("not started")


def test_the_weeks_of_the_tracks_join_without_a_gap() -> None:
    for track, last in (("triton", 35), ("pytorch", 32), ("autodiff", 35)):
        text = (ROOT / f"tracks/{track}/README.md").read_text(encoding="utf-8")
        spans = [(int(a), int(b)) for a, b in re.findall(r"^\| \d \| (\d+)-(\d+) \|", text, re.M)]
        assert [a for a, _ in spans] == [7 * week + 1 for week in range(5)]
        assert [b for _, b in spans] == [7, 14, 21, 28, last]


def test_the_tracks_readmes_have_a_row_a_bench() -> None:
    for readme in ROOT.glob("tracks/*/README.md"):
        shown = readme.read_text(encoding="utf-8").split("<!-- results:begin -->")[1]
        rows = re.findall(r"^\| (\d+)(?: †)? \| \[?(\w+)", shown, re.MULTILINE)
        assert len(rows) == len(set(rows)) and rows, readme
        for target in re.findall(r"\]\((benches/[^)]+)\)", shown):
            assert (readme.parent / target).exists(), target
