from __future__ import annotations

import ast
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.curriculum import ROOT, CurriculumError, parse_docstring, read_doc
from harness.curriculum.source import syntax_tree

PATH = Path("tracks/pebble/solutions/day03.py")
TEXT = """Day 3: Small things
===================
Estimated time: 1-2 hours
Prerequisites: Day 2 (smaller things)
Lesson: lessons/day03.md

Learning objectives:
- Say what is small.
- Say why, in a sentence
  that goes on.

- And a third.

A small thing:
    [ ]

- a list in the text

Hints:
- Look closely.

- Closer.
Resources:
- Someone, "Small things", 1999
"""


def test_takes_a_good_one_apart() -> None:
    doc = parse_docstring(TEXT, PATH)
    assert (doc.number, doc.title, doc.time) == (3, "Small things", "1-2 hours")
    assert doc.prerequisites == "Day 2 (smaller things)"
    assert doc.lesson == "lessons/day03.md"
    assert doc.objectives == (
        "Say what is small.",
        "Say why, in a sentence that goes on.",
        "And a third.",
    )
    assert doc.body == "A small thing:\n    [ ]\n\n- a list in the text"
    assert doc.hints == ("Look closely.", "Closer.")
    assert doc.resources == ('Someone, "Small things", 1999',)


@pytest.mark.parametrize(
    ("old", "new", "line", "says"),
    [
        ("Day 3: Small things", "Day three: Small things", 1, "expected 'Day NN: title'"),
        ("Day 3: Small things", "Day 4: Small things", 1, "says day 4, the file's name day03.py"),
        ("=" * 19, "=" * 18, 2, "underline the title with 19"),
        ("=" * 19 + "\n", "", 2, "underline"),
        ("Estimated time: 1-2 hours\n", "", 3, "expected 'Estimated time: ...'"),
        ("Estimated time: 1-2 hours", "Estimated time:", 3, "says nothing"),
        ("Prerequisites:", "Prerequisite:", 4, "expected 'Prerequisites: ...'"),
        ("lessons/day03.md", "lessons/day04.md", 5, "the lesson is 'lessons/day03.md'"),
        ("Learning objectives:", "Objectives:", 7, "expected 'Learning objectives:'"),
        ("- Say what is small.", "Say what is small.", 7, "at least one line '- ...'"),
        ("- Say what is small.", "-", 8, "says nothing"),
        ("\n\nA small thing:\n    [ ]\n\n- a list in the text", "", 14, "the idea"),
        ("Hints:", "Hint:", 12, "no line 'Hints:' follows"),
        ("- Look closely.\n\n- Closer.\n", "", 19, "'Hints:' needs at least one"),
        ("Resources:\n", "", 23, "ends where 'Resources:' should stand"),
        ("- Someone", "Someone", 23, "'Resources:' needs at least one"),
        ("Resources:", "Sources:", 23, "expected 'Resources:'"),
        ("1999\n", "1999\n\nMore.\n", 26, "the resources are its last part, found 'More.'"),
    ],
)
def test_says_what_is_wrong_and_where(old: str, new: str, line: int, says: str) -> None:
    assert TEXT.count(old) == 1
    with pytest.raises(CurriculumError) as caught:
        parse_docstring(TEXT.replace(old, new), PATH)
    assert says in caught.value.message
    assert caught.value.line == line


def test_every_line_missing_is_noticed_or_harmless() -> None:
    """Only blank lines, wrapped lines, list items that have neighbours and lines of the text in
    the middle may go."""
    lines = TEXT.splitlines()
    needed = {0, 1, 2, 3, 4, 6, 18, 22, 23}
    for number in range(len(lines)):
        text = "\n".join(lines[:number] + lines[number + 1 :])
        if number in needed:
            with pytest.raises(CurriculumError):
                parse_docstring(text, PATH)
        else:
            parse_docstring(text, PATH)


def test_the_file_must_be_named_after_its_day() -> None:
    with pytest.raises(CurriculumError, match=r"file's name other\.py"):
        parse_docstring(TEXT, "other.py")


@pytest.mark.parametrize("before", ["", "# a comment\n\n", "'''", "r", "\ufeff"])
def test_lines_count_from_the_top_of_the_file(before: str) -> None:
    bad = TEXT.replace("Hints:\n- Look closely.", "Hints:\nLook closely.")
    source = f'{before}"""\n{bad}"""\nimport os\n'
    if before == "'''":
        source = f"'''\n{bad}'''\nimport os\n"
    with pytest.raises(CurriculumError) as caught:
        read_doc(source, PATH)
    assert source.splitlines()[caught.value.line - 1] == "Hints:"


@pytest.mark.parametrize("source", ["", "import os\n", "x = '''a'''\n", 'f"""a"""\n', "# only\n"])
def test_a_day_without_a_docstring(source: str) -> None:
    with pytest.raises(CurriculumError, match=r"day03\.py:1: the day has no docstring"):
        read_doc(source, PATH)


@given(st.text(alphabet='ab"\\\n #', max_size=30))
def test_the_quick_way_reads_what_python_reads(text: str) -> None:
    """Whatever stands in a docstring's body, escapes included, both ways find the same text."""
    source = f'"""{TEXT.replace("a list in the text", "a " + text)}"""\n'
    try:
        doc = ast.get_docstring(syntax_tree(source), clean=False)
    except SyntaxError:
        return
    slow, quick = [], []
    for parse, found in (
        (lambda: parse_docstring(doc or "", PATH), slow),
        (lambda: read_doc(source, PATH), quick),
    ):
        try:
            found.append(parse())
        except CurriculumError as error:
            found.append(str(error))
    assert slow == quick


def test_errors_are_shown_from_the_repositorys_root() -> None:
    assert str(CurriculumError(ROOT / PATH, 4, "no")) == f"{PATH.as_posix()}:4: no"
    assert str(CurriculumError(Path("/elsewhere/a.py"), 4, "no")) == "/elsewhere/a.py:4: no"
