"""The tracks and their days, found in the folders: a day is a file ``solutions/dayNN.py``."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from harness.curriculum.docstring import DayDoc, parse_docstring
from harness.curriculum.errors import ROOT, CurriculumError, UnknownDay, UnknownExercise
from harness.curriculum.markers import Exercise, exercises_of, parse
from harness.curriculum.source import normalised, read_source

# A module's docstring as nearly every day writes it; finding it so spares parsing the whole file.
_DOCSTRING = re.compile(r'\A(?:[ \t]*(?:#[^\n]*)?\n)*(r?"""(?:[^\\]|\\.)*?""")[ \t]*\n', re.DOTALL)


ELECTIVES = "electives"
"""The name of a track of its own: days beyond the curriculum, which count in none of its sums. They
go on from another track, whose rules are theirs, and lie in its folder."""
_PLACES = {ELECTIVES: "triton/electives"}


def place_of(track: str) -> str:
    """The folder of a track's days below ``tracks``: its name, or ``triton/electives``."""
    return _PLACES.get(track, track)


def family_of(track: str) -> str:
    """Whose rules hold for a track's days: its own, or those of the track that electives follow."""
    return place_of(track).partition("/")[0]


@dataclass(frozen=True)
class Day:
    """One day of a track. The paths are where things belong; they need not exist."""

    track: str
    number: int
    root: Path = ROOT

    @property
    def name(self) -> str:
        return f"day{self.number:02d}"

    @property
    def key(self) -> str:
        return f"{self.track}/{self.number:02d}"

    @property
    def folder(self) -> Path:
        return self.root / "tracks" / place_of(self.track)

    @property
    def module(self) -> str:
        """What a test imports: ``tracks.triton.day13``."""
        return f"tracks.{place_of(self.track)}.{self.name}".replace("/", ".")

    @property
    def file(self) -> Path:
        """What the learner edits."""
        return self.folder / f"{self.name}.py"

    @property
    def solution(self) -> Path:
        return self.folder / "solutions" / f"{self.name}.py"

    @property
    def tests(self) -> Path:
        return self.folder / "tests" / f"test_{self.name}.py"

    @property
    def lesson(self) -> Path:
        return self.folder / "lessons" / f"{self.name}.md"

    @property
    def bugs(self) -> Path:
        return self.folder / "bugs" / f"{self.name}.toml"

    @property
    def bench(self) -> Path:
        return self.folder / "benches" / f"bench_{self.name}.py"

    @cached_property
    def doc(self) -> DayDoc:
        return read_doc(read_source(self.solution), self.solution)

    @property
    def title(self) -> str:
        return self.doc.title

    @cached_property
    def exercises(self) -> tuple[Exercise, ...]:
        return exercises_of(read_source(self.solution), self.solution)


@dataclass(frozen=True)
class Track:
    """A folder of ``tracks/`` that holds solutions, with its days in order."""

    name: str
    title: str
    folder: Path
    days: tuple[Day, ...]


def read_doc(source: str, path: Path) -> DayDoc:
    """The docstring of a day's source, in parts."""
    text = normalised(source)
    if match := _DOCSTRING.match(text):
        first_line = text.count("\n", 0, match.start(1)) + 1
        tree = parse(match[1], path)
    else:
        first_line = 1
        tree = parse(text, path)
    doc = ast.get_docstring(tree, clean=False)
    if doc is None:
        raise CurriculumError(path, 1, "the day has no docstring")
    return parse_docstring(doc, path, first_line + tree.body[0].lineno - 1)


def find_tracks(root: Path = ROOT) -> list[Track]:
    """All tracks of the curriculum by name."""
    folders = sorted(folder.parent for folder in root.glob("tracks/*/solutions"))
    return [_track(folder, root) for folder in folders]


def find_electives(root: Path = ROOT) -> list[Track]:
    """The tracks of days beyond the curriculum."""
    folders = [root / "tracks" / place for place in _PLACES.values()]
    return [_track(folder, root) for folder in folders if (folder / "solutions").is_dir()]


def find_track(name: str, root: Path = ROOT) -> Track:
    """The track of that name. Raises UnknownDay, with the nearest name."""
    folder = root / "tracks" / place_of(name)
    if name and re.fullmatch(r"\w+", name) and (folder / "solutions").is_dir():
        return _track(folder, root)
    names = [track.name for track in [*find_tracks(root), *find_electives(root)]]
    raise UnknownDay(f"unknown track {name!r}: {_suggestion(name, names, 'tracks')}")


def find_day(track: str, number: int | str, root: Path = ROOT) -> Day:
    """The day of a track; ``number`` as given on a command line (``13``, ``"013"``, ``"day13"``).

    Raises UnknownDay, with the days that there are.
    """
    found = find_track(track, root)
    match = re.fullmatch(r"(?:day_?)?(-?[0-9]+)(?:\.py)?", str(number).strip(), re.IGNORECASE)
    if not match:
        raise UnknownDay(f"DAY={number} is not a number: {track} has days {_ranges(found.days)}")
    for day in found.days:
        if day.number == int(match[1]):
            return day
    raise UnknownDay(
        f"there is no day {int(match[1])} in {track}: it has days {_ranges(found.days)}"
    )


def find_exercise(day: Day, name: str) -> Exercise:
    """The day's exercise of that name. Raises UnknownExercise, with the nearest name."""
    for exercise in day.exercises:
        if exercise.name == name:
            return exercise
    names = [exercise.name for exercise in day.exercises]
    if "," in name:
        suggestion = f"EX takes one of {', '.join(names)}"
    else:
        suggestion = _suggestion(name, names, "exercises")
    where = f"{day.track} day {day.number}"
    raise UnknownExercise(f"{where} has no exercise {name!r}: {suggestion}")


def _track(folder: Path, root: Path) -> Track:
    numbers = sorted(
        int(match[1])
        for path in (folder / "solutions").glob("day*.py")
        if (match := re.fullmatch(r"day([0-9]{2})\.py", path.name))
    )
    days = tuple(Day(folder.name, number, root) for number in numbers)
    return Track(folder.name, _title(folder), folder, days)


def _title(folder: Path) -> str:
    readme = folder / "README.md"
    if readme.is_file():
        heading = re.search(r"^#+[ \t]+(\S.*?)[ \t#]*$", readme.read_text("utf-8"), re.MULTILINE)
        if heading:
            return heading[1]
    return folder.name.capitalize()


def _suggestion(name: str, names: list[str], what: str) -> str:
    from difflib import get_close_matches

    lowered = {candidate.lower(): candidate for candidate in names}
    near = get_close_matches(name.lower(), lowered, n=1, cutoff=0.6)
    if near:
        return f"did you mean {lowered[near[0]]}?"
    return f"the {what} are {', '.join(names)}" if names else f"there are no {what}"


def _ranges(days: tuple[Day, ...]) -> str:
    """``1-7, 13`` for days 1 to 7 and 13."""
    runs: list[list[int]] = []
    for day in days:
        if runs and day.number == runs[-1][-1] + 1:
            runs[-1].append(day.number)
        else:
            runs.append([day.number])
    shown = (f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)
    return ", ".join(shown) or "none yet"
