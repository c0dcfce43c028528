"""Stepped figures: what the helper draws and refuses, and how one stands in a page."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from harness.book.sources import weeks_of
from harness.book.steps import stepped
from harness.curriculum import find_tracks
from harness.figures import KINDS, Stepped

SVG = "{http://www.w3.org/2000/svg}"
CSS = Path(__file__).parents[2] / "harness" / "book" / "static" / "book.css"


@pytest.fixture
def drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("FIGURES_TO", str(tmp_path))
    figure = Stepped("day01_toy.py", height=40)
    for now in range(3):
        figure.step(f"Step <{now}>.").row(4, 4, ["a", "b", "c"], "aax", strong=[now])
    figure.save()
    return (tmp_path / "day01_toy.svg").read_text()


def steps_of(svg: str) -> list[ElementTree.Element]:
    return [g for g in ElementTree.fromstring(svg).iter(f"{SVG}g") if g.get("class") == "step"]


def test_a_file_shows_the_first_and_the_last_step(drawn: str) -> None:
    steps = steps_of(drawn)
    assert [step.get("display") for step in steps] == [None, "none", None]
    height = float(ElementTree.fromstring(drawn).get("viewBox").split()[3])
    first, last = 40.0, float(re.findall(r"[\d.]+", steps[-1].get("transform"))[1])
    assert first < last < height - 40  # below the first step and its caption, and not cut off


def test_each_step_says_what_it_shows(drawn: str) -> None:
    for now, step in enumerate(steps_of(drawn)):
        assert (step.get("role"), step.get("aria-label")) == ("img", f"Step <{now}>.")
        assert [text.text for text in step.iter(f"{SVG}text")][-1] == f"Step <{now}>."
        assert sum("strong" in box.get("class") for box in step.iter(f"{SVG}rect")) == 1


def test_in_a_page_it_takes_the_pages_colours(drawn: str) -> None:
    page = stepped(drawn, 'what "it" shows')
    assert page.startswith('<figure class="steps" role="group" aria-label="what &quot;it&quot;')
    assert "<style>" not in page and "ground" not in page and page.count("<svg") == 1
    assert page.count('class="step"') == 3 and 'data-height="40"' in page


def test_every_kind_of_box_has_colours_for_both_themes() -> None:
    text = CSS.read_text()
    for kind in KINDS:
        assert f".steps .{kind} {{ fill: var(--{kind}); stroke: var(--{kind}-edge);" in text
        # light, dark by choice, dark by the system
        assert (
            len(re.findall(rf"--{kind}: ", text)) == len(re.findall(rf"--{kind}-edge: ", text)) == 3
        )


@pytest.mark.parametrize(
    "wrong",
    [
        lambda step: step.box(350, 4, 20, 20),
        lambda step: step.box(4, 30, 20, 20),
        lambda step: step.box(4, 4, 20, 20, "much too long"),
        lambda step: step.box(4, 4, 20, 20, kind="q"),
        lambda step: step.text(350, 10, "beyond the edge"),
        lambda step: step.row(4, 4, [1, 2, 3], "ab"),
    ],
)
def test_what_could_not_be_seen_is_refused(wrong) -> None:
    with pytest.raises(ValueError):
        wrong(Stepped("day01_toy.py", height=40).step("A step."))


def test_a_step_needs_a_caption_and_a_figure_two_steps() -> None:
    figure = Stepped("day01_toy.py", height=40)
    with pytest.raises(ValueError, match="no caption"):
        figure.step("  ")
    figure.step("One.")
    with pytest.raises(ValueError, match="two at least"):
        figure.save()


def test_every_week_has_one() -> None:
    for track in find_tracks():
        for week in weeks_of(track):
            figures = [
                path
                for day in week.days
                for path in day.folder.glob(f"lessons/figures/{day.name}_*.svg")
                if 'class="steps"' in path.read_text()
                and f"(figures/{path.name})" in day.lesson.read_text()
            ]
            assert figures or week.number > 5, f"{track.name}, week {week.number}"
