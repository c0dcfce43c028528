"""What the curriculum is: tracks, days, exercises, answers, stubs, hints and bugs.

Reads files and text only; never imports a day, torch or triton.
"""

from harness.curriculum.bugs import Bug, Bugs, Equivalent, apply_bug, load_bugs
from harness.curriculum.discover import (
    ELECTIVES,
    Day,
    Track,
    family_of,
    find_day,
    find_electives,
    find_exercise,
    find_track,
    find_tracks,
    place_of,
    read_doc,
)
from harness.curriculum.docstring import DayDoc, parse_docstring
from harness.curriculum.errors import ROOT, CurriculumError, UnknownDay, UnknownExercise
from harness.curriculum.hints import deeper_hints, hints_for
from harness.curriculum.markers import Answer, Exercise, exercises_of
from harness.curriculum.source import read_source, read_written, write_source
from harness.curriculum.splice import reset_exercise
from harness.curriculum.stubs import generate_stub, unfinished, untouched
from harness.curriculum.tables import curriculum_table, update_readme

__all__ = [
    "ELECTIVES",
    "ROOT",
    "Answer",
    "Bug",
    "Bugs",
    "CurriculumError",
    "Day",
    "DayDoc",
    "Equivalent",
    "Exercise",
    "Track",
    "UnknownDay",
    "UnknownExercise",
    "apply_bug",
    "curriculum_table",
    "deeper_hints",
    "exercises_of",
    "family_of",
    "find_day",
    "find_electives",
    "find_exercise",
    "find_track",
    "find_tracks",
    "generate_stub",
    "hints_for",
    "load_bugs",
    "parse_docstring",
    "place_of",
    "read_doc",
    "read_source",
    "read_written",
    "reset_exercise",
    "unfinished",
    "untouched",
    "update_readme",
    "write_source",
]
