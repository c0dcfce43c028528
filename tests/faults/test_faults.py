"""What an answer does costs it its exercise, and nobody else anything: faults, done for real."""

from __future__ import annotations

import re
import sys

import pytest

from tests.cheats.trial import GROUPS, gallery
from tests.faults.gallery import FAULTS
from tests.faults.trial import Survived, try_all
from tests.support.record import THREATS, recorded

QUICK = {name: fault for name, fault in FAULTS.items() if not fault.slow}
"""The others are stopped by a limit, whose seconds they take: tests/run/test_limits.py has such."""


@pytest.fixture(scope="module")
def tried(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Survived]:
    return {t.name: t for t in try_all(tmp_path_factory.mktemp("faults"), QUICK, "warm")}


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux gives orphans back")
@pytest.mark.parametrize("name", QUICK)
def test_a_fault_is_survived(tried: dict[str, Survived], name: str) -> None:
    assert tried[name].problems == [], tried[name].said


def on_record(name: str) -> str:
    text = recorded(THREATS, name)
    if not text.strip():
        pytest.skip("nothing is on record yet")
    return text


def test_the_figures_on_record_are_of_these_faults() -> None:
    found = re.search(r"faults survived: (\d+) of (\d+)", on_record("faults"))
    assert found and found.groups() == (str(len(FAULTS)),) * 2, (
        "python -m tests.faults.trial --write"
    )


def test_the_figures_on_record_are_of_these_cheats() -> None:
    text, groups = on_record("cheats"), [p.parts for p in gallery()]
    for group in GROUPS:
        count = sum(group in parts for parts in groups)
        assert f"{group}: {count} of {count} refused" in text, (
            "python -m tests.cheats.trial --write"
        )
    assert "processes left over: 0" in text


def test_what_the_sandbox_costs_is_on_record() -> None:
    assert re.search(r"the sandbox costs \d\.\d\d times", on_record("sandbox"))
