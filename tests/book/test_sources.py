"""A page of the book holds all of its day once, and hides what is not to be seen yet."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from harness.book.notebooks import path_of, text_of
from harness.book.proofs import proofs_of
from harness.book.sources import (
    code_of,
    day_page,
    first_page,
    track_page,
    week_page,
    weeks_of,
    write_sources,
    written,
)
from harness.curriculum import deeper_hints, find_day, find_track, find_tracks

DAYS = [("triton", 13), ("pytorch", 22), ("autodiff", 24)]


@pytest.fixture(params=DAYS, ids=lambda d: f"{d[0]}{d[1]}")
def page(request: pytest.FixtureRequest) -> tuple:
    track, number = request.param
    day = find_day(track, number)
    return day, day_page(day, find_track(track), "")


def without_folds(text: str) -> str:
    text = re.sub(r"^::::\{details\}.*?^::::$", "", text, flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"^:::\{details\}.*?^:::$", "", text, flags=re.MULTILINE | re.DOTALL)


def test_the_lesson_stands_whole_and_first(page: tuple) -> None:
    day, text = page
    heading, _, lesson = day.lesson.read_text().strip().partition("\n")
    assert text.startswith(heading + "\n")
    assert lesson.strip() in text
    assert text.index(lesson.strip()) < text.index("\n## The exercises\n")


def test_each_exercise_with_hints_and_proofs(page: tuple) -> None:
    day, text = page
    for exercise in day.exercises:
        part = text.split(f"\n### {exercise.name}\n")[1].split("\n## ")[0].split("\n### ")[0]
        assert exercise.doc.splitlines()[0] in part
        hints = deeper_hints(day, exercise)
        assert part.count(":::{details} Hint ") == len(hints) > 0
        proofs = proofs_of(day, exercise.name)
        assert proofs and part.count(":::{details} What the tests prove") == 1
        assert part.count("\n- ") == len(proofs)


def test_no_answer_is_seen_without_two_clicks(page: tuple) -> None:
    day, text = page
    seen = without_folds(text)
    answers = [answer.text for exercise in day.exercises for answer in exercise.answers]
    lines = [line.strip() for text in answers for line in text.splitlines()]
    telling = [line for line in lines if len(line) > 30 and not line.startswith("#")]
    # a lesson may work a line out; it does not give the answers
    assert sum(line in seen for line in telling) < len(telling) / 5
    folded = text.split("\n## The reference\n")[1]
    assert folded.index("::::{details} Show the reference") < folded.index(
        ":::{details} Yes, show it"
    )
    assert all(line in folded for line in telling)


def test_a_kernel_stands_with_its_launcher() -> None:
    day = find_day("triton", 13)
    code = code_of(day, day.exercises[0])
    assert "def softmax_kernel(" in code and "def softmax(" in code and "raise NotImpl" in code


def test_proofs_are_words() -> None:
    assert "operators reach the functions" in proofs_of(find_day("autodiff", 17), "add")


def test_recorded_benches_are_shown_with_their_machine_and_numbers() -> None:
    text = day_page(find_day("triton", 13), find_track("triton"), "")
    part = text.split("\n## Measured\n")[1].split("\n## To read on\n")[0]
    assert "`softmax` on NVIDIA H100 80GB HBM3." in part
    assert ":::{details} All numbers: NVIDIA H100 80GB HBM3\n" in part
    days = {line.split("|")[1].strip(" †") for line in part.splitlines() if "| softmax |" in line}
    assert days == {"13"}


def test_a_page_leads_to_its_bench_and_its_record(tmp_path: Path) -> None:
    track = find_track("triton")
    write_sources([track], tmp_path)
    for day in track.days:
        text = (tmp_path / "triton" / f"{day.name}.md").read_text(encoding="utf-8")
        bench = f"bench_{day.name}.py"
        there = (day.folder / "benches" / bench).exists()
        assert (f"[bench](files/{bench})" in text) == there
        assert (tmp_path / "triton" / "files" / bench).exists() == there
        assert ("[measured](#measured)" in text) == ("\n## Measured\n" in text)
    pictures = {path.stem for path in track.folder.glob("benches/results/*.svg")}
    assert pictures == {path.stem for path in tmp_path.glob("triton/figures/nvidia-*.svg")}


def test_weeks_come_from_the_tracks_readme() -> None:
    track = find_track("triton")
    weeks = weeks_of(track)
    assert [day.number for day in weeks[0].days] == [1, 2, 3, 4, 5, 6, 7]
    assert [day for week in weeks for day in week.days] == written(track)
    page = track_page(track)
    assert all(f"(week{week.number}.md)" in page for week in weeks)
    assert "1. [Hello, Triton](day01.md)" in week_page(weeks[0])


def test_a_page_says_where_it_belongs() -> None:
    for track in find_tracks():
        last, week = track.days[-1], weeks_of(track)[-1]
        text = day_page(last, track, "")
        assert f"](index.md), [week {week.number}](week{week.number}.md)" in text


def test_the_first_page_says_how_to_begin() -> None:
    text = first_page(find_tracks(), "somebody/course")
    assert "git clone https://github.com/somebody/course\n$ cd course\n" in text
    assert "{" not in text.replace("```{toctree}", "")
    for track in ("triton", "pytorch", "autodiff"):
        assert f"({track}/day01.md)" in text


def test_links_to_codespaces_and_colab_need_a_repository() -> None:
    day, track = find_day("triton", 1), find_track("triton")
    notebook = "https://colab.research.google.com/github/somebody/course/blob/main/notebooks/triton"
    for text in (day_page(day, track, ""), track_page(track)):
        assert "codespaces" not in text and "colab" not in text
    assert "https://codespaces.new/somebody/course" in day_page(day, track, "somebody/course")
    assert f"{notebook}.ipynb" in day_page(day, track, "somebody/course")
    assert f"{notebook}.ipynb" in track_page(track, "somebody/course")


def test_the_notebooks_are_what_is_written() -> None:
    for track in find_tracks():
        assert path_of(track).read_text() == text_of(track), "python -m harness.book.notebooks"


def test_all_files_are_there(tmp_path: Path) -> None:
    write_sources(find_tracks(), tmp_path)
    for track in find_tracks():
        for day in written(track):
            text = (tmp_path / track.name / f"{day.name}.md").read_text()
            for name in re.findall(r"\]\(((?:files|figures)/[^)]+)\)", text):
                assert (tmp_path / track.name / name).exists(), f"{day.key}: {name}"
            stub = (tmp_path / track.name / "files" / f"{day.name}.py").read_text()
            assert "### BEGIN SOLUTION" not in stub
