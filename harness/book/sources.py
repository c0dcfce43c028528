"""Writes the book's sources, MyST Markdown, from the tracks: a page a day, a week, a track.

    index.md   glossary.md   <track>/index.md   <track>/weekN.md   <track>/dayNN.md
    <track>/figures/*.svg
    <track>/files/dayNN.py   …/test_dayNN.py   …/bench_dayNN.py       what a page offers to download

Nothing of it is committed: a lesson, a docstring and a hint are written once, in their day.
"""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from harness.book.proofs import proofs_of
from harness.curriculum import (
    ELECTIVES,
    Day,
    Exercise,
    Track,
    deeper_hints,
    generate_stub,
    place_of,
    read_source,
)
from harness.curriculum.definitions import definitions_of, exercise_owning
from harness.curriculum.source import split_lines, syntax_tree
from harness.screen.hints import in_words

if TYPE_CHECKING:
    from harness.bench.results import Report

HERE = Path(__file__).parent
WEEK = re.compile(r"^\|\s*(\d+)\s*\|\s*(\d+)-(\d+)\s*\|\s*(.+?)\s*\|$", re.MULTILINE)


def write_sources(tracks: list[Track], to: Path, repository: str = "") -> None:
    """Everything that Sphinx reads, in the empty folder ``to``.

    ``repository`` is ``owner/name`` on GitHub; without it pages have no links to Codespaces.
    """
    pages = {"index.md": first_page(tracks, repository), "glossary.md": glossary()}
    for track in tracks:
        pages[f"{track.name}/index.md"] = track_page(track, repository)
        for week in weeks_of(track):
            pages[f"{track.name}/week{week.number}.md"] = week_page(week)
        for day in written(track):
            pages[f"{track.name}/{day.name}.md"] = day_page(day, track, repository)
            _copy(day, to)
    for name, text in pages.items():
        (to / name).parent.mkdir(parents=True, exist_ok=True)
        (to / name).write_text(text, encoding="utf-8")


def first_page(tracks: list[Track], repository: str = "") -> str:
    """The page that a stranger sees: what this is, how to begin, and the tracks."""
    text = (HERE / "first_page.md").read_text(encoding="utf-8")
    cards = "\n".join(
        f"- **[{track.title}]({track.name}/index.md)**: {len(written(track))} days. "
        f"[Read day 1]({track.name}/{written(track)[0].name}.md)"
        for track in tracks
    )
    url = f"https://github.com/{repository}" if repository else "<address of the repository>"
    text = text.replace("{tracks}", cards).replace("{url}", url)
    browser = f", or a browser and [a Codespace](https://codespaces.new/{repository})"
    text = text.replace("{or_a_browser}", browser if repository else "")
    text = text.replace("{folder}", repository.partition("/")[2] or "mlsys-102")
    tree = "\n".join(f"{title_of(track)} <{track.name}/index>" for track in tracks)
    return text + _toctree(f"{tree}\nglossary", hidden=True)


def glossary() -> str:
    return (HERE / "glossary.md").read_text(encoding="utf-8")


def colab(track: str, repository: str) -> str:
    """The address that opens the track's notebook."""
    return (
        f"https://colab.research.google.com/github/{repository}/blob/main/notebooks/{track}.ipynb"
    )


def track_page(track: Track, repository: str = "") -> str:
    """What the track is about, and its weeks."""
    readme = (track.folder / "README.md").read_text(encoding="utf-8")
    heading, _, rest = readme.partition("\n")
    lines = [heading, "", rest.strip().partition("\n\n|")[0].strip(), ""]
    if repository and track.name != ELECTIVES:
        link = f"[a notebook for Colab]({colab(track.name, repository)})"
        lines += [f"Without a GPU of your own: {link} grades your answers on a free one.", ""]
    entries = []
    for week in weeks_of(track):
        days = ", ".join(f"[{day.title}]({day.name}.md)" for day in week.days)
        lines.append(f"- **[Week {week.number}](week{week.number}.md)**, {week.subject}: {days}")
        entries.append(f"week{week.number}")
    return "\n".join(lines) + _toctree("\n".join(entries), hidden=True)


def week_page(week: Week) -> str:
    """The week's days, each with its exercises and how long it takes."""
    lines = [f"# Week {week.number}: {week.subject}", ""]
    for day in week.days:
        names = " · ".join(f"`{exercise.name}`" for exercise in day.exercises)
        lines += [f"{day.number}. [{day.title}]({day.name}.md), {day.doc.time}\\", f"   {names}"]
    return "\n".join(lines) + _toctree("\n".join(day.name for day in week.days), hidden=True)


@dataclass(frozen=True)
class Week:
    """A line of the table in a track's README, with the days of it that are written."""

    number: int
    subject: str
    days: tuple[Day, ...]


def weeks_of(track: Track) -> list[Week]:
    readme = (track.folder / "README.md").read_text(encoding="utf-8")
    weeks = []
    for number, first, last, subject in WEEK.findall(readme):
        days = tuple(d for d in written(track) if int(first) <= d.number <= int(last))
        if days:
            weeks.append(Week(int(number), subject, days))
    return weeks


def week_of(day: Day, track: Track) -> str:
    readme = (track.folder / "README.md").read_text(encoding="utf-8")
    weeks = WEEK.findall(readme)
    return next((w for w, first, last, _ in weeks if int(first) <= day.number <= int(last)), "")


def written(track: Track) -> list[Day]:
    """The days that have all that a page shows."""
    return [day for day in track.days if day.lesson.exists() and day.tests.exists()]


def title_of(track: Track) -> str:
    """``Triton`` of ``Triton track: GPU kernels …``."""
    return track.title.partition(" track")[0]


def day_page(day: Day, track: Track, repository: str) -> str:
    """A lesson, then its day: what is to be written, hints, what the tests prove, the reference."""
    heading, _, lesson = day.lesson.read_text(encoding="utf-8").strip().partition("\n")
    parts = [heading, at_a_glance(day, track, repository), lesson.strip(), "## The exercises"]
    parts += [
        f"You write them in `tracks/{place_of(day.track)}/{day.name}.py`, and "
        f"`make {day.track} DAY={day.number}` grades them. Hints go deeper one by one.",
        *(exercise_section(day, exercise) for exercise in day.exercises),
        reference(day),
    ]
    if figures := measured(day):
        parts += ["## Measured", figures]
    parts += ["## To read on", "\n".join(f"- {_linked(line)}" for line in day.doc.resources)]
    return "\n\n".join(parts) + "\n"


def at_a_glance(day: Day, track: Track, repository: str) -> str:
    files = f"[exercise file](files/{day.name}.py) · [tests](files/{day.tests.name})"
    if day.bench.exists():
        files += f" · [bench](files/{day.bench.name})"
    if records_of(day):
        files += " · [measured](#measured)"
    if repository:
        files += f" · [open in Codespaces](https://codespaces.new/{repository})"
        if day.track != ELECTIVES:  # Colab lends no such GPU
            files += f" · [open in Colab]({colab(day.track, repository)})"
    place = f"[{title_of(track)}](index.md)"
    if week := week_of(day, track):
        place += f", [week {week}](week{week}.md)"
    lines = [
        f"**Track** {place}",
        f"**Time** {day.doc.time}",
        f"**Needs** {day.doc.prerequisites}",
        f"**Files** {files}",
    ]
    goals = "\n".join(f"- {goal}" for goal in day.doc.objectives)
    return (
        ":::{container} glance\n"
        + " \\\n".join(lines)
        + f"\n\nAt the end of the day you can\n\n{goals}\n:::"
    )


def exercise_section(day: Day, exercise: Exercise) -> str:
    """The exercise as the learner's file has it, its deeper hints, and what its tests prove."""
    parts = [f"### {exercise.name}", f"```python\n{code_of(day, exercise)}\n```"]
    hints, shown = deeper_hints(day, exercise), in_words(day, exercise)
    for number, hint in enumerate(hints, 1):
        parts.append(_folded(f"Hint {number} of {len(hints)}", _plain(shown(hint))))
    if proofs := proofs_of(day, exercise.name):
        proved = "\n".join(f"- {_plain(proof)}" for proof in proofs)
        parts.append(_folded("What the tests prove", proved))
    return "\n\n".join(parts)


@cache
def stub_of(day: Day) -> str:
    """What the learner's file is at first."""
    return generate_stub(read_source(day.solution), day.solution)


def code_of(day: Day, exercise: Exercise) -> str:
    """The exercise's functions and kernels, with a TODO where the answer goes."""
    stub = stub_of(day)
    definitions = definitions_of(syntax_tree(stub), stub)
    lines = split_lines(stub)
    mine = [d for d in definitions if exercise_owning(d, definitions) == exercise.name]
    return "\n\n".join("".join(lines[d.start - 1 : d.end]).rstrip() for d in mine)


def reference(day: Day) -> str:
    """The whole reference, behind a question."""
    code = read_source(day.solution)
    again = _folded(
        "Yes, show it",
        f"```python\n{code.rstrip()}\n```",
    )
    return "## The reference\n\n" + _folded(
        "Show the reference",
        "It is an answer, not the only one, and an exercise is solved once. "
        f"`make hint TRACK={day.track} DAY={day.number}` goes one step at a time. Show it all the "
        f"same?\n\n{again}",
        fence="::::",
    )


def measured(day: Day) -> str:
    """What the day's bench gave on each machine on record: its pictures, and every number."""
    from harness.bench.machine import slug
    from harness.bench.record import table

    parts = []
    for record in records_of(day):
        machine = record.machine["name"]
        begins = f"{slug(machine)}-{day.name}-"
        for path in sorted(day.folder.glob(f"benches/results/{begins}*.svg")):
            name = path.stem.removeprefix(begins)
            alt = f"Bench of {name} on {machine}: the reference beside its peers, by size"
            parts.append(f"![{alt}](figures/{path.name})\n\n`{name}` on {machine}.")
        parts.append(_folded(f"All numbers: {machine}", table([record], day.folder.parents[1])))
    return "\n\n".join(parts)


def records_of(day: Day) -> list[Report]:
    """What is on record of the day, a report a machine."""
    return [
        replace(report, days=mine)
        for report in _recorded(day.folder.parents[1], day.track)
        if (mine := [other for other in report.days if other.day == day.number])
    ]


@cache
def _recorded(root: Path, track: str) -> list[Report]:
    from harness.bench.record import recorded

    return recorded(root, track)


def _copy(day: Day, to: Path) -> None:
    folder = to / day.track
    pictures = [
        *day.folder.glob(f"lessons/figures/{day.name}_*.svg"),
        *day.folder.glob(f"benches/results/*-{day.name}-*.svg"),
    ]
    for name in ("files", "figures"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "files" / f"{day.name}.py").write_text(stub_of(day), encoding="utf-8")
    for path in (day.tests, day.bench):
        if path.exists():
            shutil.copyfile(path, folder / "files" / path.name)
    for path in pictures:
        shutil.copyfile(path, folder / "figures" / path.name)


def _folded(title: str, body: str, fence: str = ":::") -> str:
    """A part that opens at a click: plain HTML, so it needs no script."""
    return f"{fence}{{details}} {title}\n{body}\n{fence}"


def _toctree(entries: str, hidden: bool, caption: str = "") -> str:
    options = [":hidden:"] * hidden + [f":caption: {caption}"] * bool(caption)
    return "\n".join(["", "```{toctree}", *options, "", entries, "```", ""])


def _linked(line: str) -> str:
    return re.sub(r"(https?://\S+)", r"<\1>", line)


def _plain(text: str) -> str:
    """Prose of a comment, in Markdown: names in ``double`` backticks, nothing else is markup."""
    pieces = re.split(r"(``.+?``|`.+?`)", text)
    pieces[::2] = [re.sub(r"([\\*_<\[\]$|#~])", r"\\\1", piece) for piece in pieces[::2]]
    return "".join(pieces)
