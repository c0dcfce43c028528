"""A figure that is not what its script draws is found, and so is one without a script."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from harness.curriculum import ROOT, Day
from harness.verify import figures
from harness.verify.figures import check_figures

DRAWN = ROOT / "tracks/autodiff/lessons/figures/day01_error.svg"
DRAWS = """
import os
from pathlib import Path
(Path(os.environ["FIGURES_TO"]) / "day01_line.svg").write_text("<svg>a line</svg>")
"""


@pytest.fixture
def day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Day:
    monkeypatch.setattr(figures, "ROOT", tmp_path)
    monkeypatch.setattr(figures, "is_pinned", lambda: True)
    day = Day("autodiff", 1, tmp_path)
    folder = day.folder / "lessons" / "figures"
    folder.mkdir(parents=True)
    for package in (folder, *list(folder.parents)[:3]):
        (package / "__init__.py").touch()  # before the tree that PYTHONPATH may name
    return day


def check(day: Day, **files: str) -> list[str]:
    folder = day.folder / "lessons" / "figures"
    for name, text in files.items():
        (folder / f"day01_{name.replace('_', '.')}").write_text(text)
    return check_figures(day, None, 0)  # type: ignore[arg-type]


def test_a_real_figure_comes_out_equal() -> None:
    day = Day("autodiff", 1)
    before = DRAWN.read_bytes()
    assert check_figures(day, None, 0) == []  # type: ignore[arg-type]
    assert DRAWN.read_bytes() == before


def test_the_pinned_matplotlib_is_known() -> None:
    assert figures.is_pinned() in (True, False)
    pins = (ROOT / "requirements.txt").read_text()
    assert "\nmatplotlib==" in pins


def test_equal_and_different(day: Day) -> None:
    assert check(day, line_py=DRAWS, line_svg="<svg>a line</svg>") == []
    (found,) = check(day, line_svg="<svg>another</svg>")
    assert found.startswith("day01_line.svg is not what day01_line.py draws: run python -m tracks.")


def test_another_matplotlib_is_not_compared(day: Day, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "is_pinned", lambda: False)
    assert check(day, line_py=DRAWS, line_svg="<svg>another</svg>") == []


def test_a_figure_without_script_and_a_script_without_figure(day: Day) -> None:
    assert check(day, other_svg="<svg/>") == [
        "day01_other.svg has no script: day01_other.py is missing"
    ]
    shutil.rmtree(day.folder / "lessons" / "figures")
    (day.folder / "lessons" / "figures").mkdir()
    (found,) = check(day, line_py=DRAWS)
    assert found.startswith("day01_line.svg is missing: run python -m ")


def test_a_script_that_fails_or_draws_something_else(day: Day) -> None:
    (found,) = check(day, line_py="raise ValueError('no data')")
    assert found == "day01_line.py fails: ValueError: no data"
    (found,) = check(day, line_py=DRAWS.replace("line.svg", "lines.svg"))
    assert "draws ['day01_lines.svg']" in found


def test_figures_of_other_days_are_theirs(day: Day) -> None:
    folder = day.folder / "lessons" / "figures"
    (folder / "day02_line.svg").write_text("<svg/>")
    assert check(day) == []
