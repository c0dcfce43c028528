"""The form of a day, each rule by itself; nothing is run."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.curriculum import Day
from harness.verify import form
from harness.verify.form import check_form, count_words, lesson_findings, readable, wide_lines
from tests.support.toy import BUGS, LESSON, REFERENCE, TESTS


@pytest.fixture
def day(tmp_path: Path) -> Day:
    """A day of good form."""
    day = Day("autodiff", 1, tmp_path)
    title = "Day 1: Toys 1"
    texts = {
        day.solution: REFERENCE.format(number=1, line="=" * len(title)),
        day.tests: TESTS.format(number=1),
        day.bugs: BUGS,
        day.lesson: LESSON.format(number=1, prose="word " * 700),
    }
    for path, text in texts.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return day


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def test_a_good_form(day: Day) -> None:
    assert check_form(day) == []
    assert readable(day)


@pytest.mark.parametrize("missing", ["tests", "lesson", "bugs"])
def test_what_is_missing_is_named_and_the_rest_is_looked_at(day: Day, missing: str) -> None:
    path: Path = getattr(day, missing)
    path.unlink()
    change(day.solution, "    # TODO: return a new array.\n", "")
    assert check_form(day) == [
        f"{path.relative_to(day.root)} is missing",
        "double has no `# TODO:` line",
    ]


def test_all_that_is_missing_and_wrong_comes_in_order(day: Day) -> None:
    for path in (day.tests, day.lesson, day.bugs):
        path.unlink()
    text = day.solution.read_text(encoding="utf-8").replace("x: np.ndarray", "x")
    start, end = text.index("def double"), text.index("def test_double")
    second = text[start:end].replace("double", "second")
    day.solution.write_text("import harness\n".join((text[:start], second + text[start:])))
    found = [sentence.split(" (line")[0].split(":")[0] for sentence in check_form(day)]
    assert found == [
        *(f"tracks/autodiff/{name} is missing"
          for name in ("tests/test_day01.py", "lessons/day01.md", "bugs/day01.toml")),
        "second", "double", "day01.py",
    ]  # fmt: skip


def test_the_lesson_is_looked_at(day: Day) -> None:
    change(day.lesson, "print(double(2.0))", "print(double(2.0))  " + "#" * 70)
    line = day.lesson.read_text().split("print(double")[0].count("\n") + 1
    assert check_form(day) == [
        f"day01.md:{line} is 90 columns wide: 78 at most, so that code and drawings fit a terminal"
    ]


def test_what_has_no_exercise_cannot_be_run(day: Day) -> None:
    text = day.solution.read_text()
    start, end = text.index("def double"), text.index("def test_double")
    day.solution.write_text(text[:start] + text[end:])
    assert not readable(day)


def test_a_reference_that_cannot_be_read(day: Day) -> None:
    change(day.solution, "    ### END SOLUTION\n", "")
    (found,) = check_form(day)
    assert "day01.py:" in found
    assert not readable(day)
    day.solution.unlink()
    assert not readable(day)


def test_hints_have_three_depths(day: Day) -> None:
    change(day.solution, "    # HINT: two times x.\n", "")
    (found,) = check_form(day)
    assert found.startswith("double has 1 hint(s) inside the markers: it needs 2")
    change(day.solution, "    # HINT: which numbers does a factor of two give?\n", "")
    (found,) = check_form(Day(day.track, day.number, day.root))
    assert found.startswith("double has 0 hint(s) inside the markers")


def test_the_stub_shows_a_hint(day: Day) -> None:
    change(day.solution, "    # HINT: what is x + x?\n", "")
    (found,) = check_form(day)
    assert found.startswith("double shows no hint in its stub")


@pytest.mark.parametrize(
    ("signature", "found"),
    [
        ("(x: np.ndarray) -> np.ndarray", ""),
        ("(x) -> np.ndarray", "x"),
        ("(x: np.ndarray)", "what it returns"),
        ("(y, /, x: np.ndarray) -> np.ndarray", "y"),
        ("(x: np.ndarray, *, y, z=1) -> np.ndarray", "y, z"),
    ],
)
def test_types_of_a_function(day: Day, signature: str, found: str) -> None:
    change(day.solution, "(x: np.ndarray) -> np.ndarray", signature)
    line = day.solution.read_text().split("def double")[0].count("\n") + 1
    wanted = [f"double (line {line}) has no type for {found}"] if found else []
    assert check_form(day) == wanted


CLASS = '''class double:
    """Twice."""

    LIMIT = 3

    def __init__(self, x: int):
        self.x = x

    @classmethod
    def make(cls) -> int:
        return 1

    def twice(self, y):
        # TODO: return a new array.
        # HINT: what is x + x?
        ### BEGIN SOLUTION
        # HINT: which numbers does a factor of two give?
        # HINT: two times x.
        return 2.0 * x
        ### END SOLUTION


def helper(x):
    return x
'''


def test_types_of_a_class(day: Day) -> None:
    text = day.solution.read_text()
    start, end = text.index("def double"), text.index("def test_double")
    day.solution.write_text(text[:start] + CLASS + "\n\n" + text[end:])
    line = day.solution.read_text().split("def twice")[0].count("\n") + 1
    assert check_form(day) == [f"twice (line {line}) has no type for y"]


@pytest.mark.parametrize(
    "line",
    ["import harness", "import os, harness.run", "from harness.testing import close"],
)
def test_a_day_imports_nothing_of_the_harness(day: Day, line: str) -> None:
    change(day.solution, "import numpy as np\n", f"import numpy as np\n{line}\n")
    at = day.solution.read_text().split(line)[0].count("\n") + 1
    (found,) = check_form(day)
    assert found.startswith(f"day01.py:{at} imports the harness")


def test_other_imports_are_a_days_own_affair(day: Day) -> None:
    lines = "import numpy as np\nimport harnessed\nfrom . import x\nfrom tracks import harness\n"
    change(day.solution, "import numpy as np\n", lines)
    change(
        day.solution, "def test_double() -> None:\n", "def test_double() -> None:\n    import y\n"
    )
    assert check_form(day) == []


def test_an_import_inside_a_function_counts(day: Day) -> None:
    change(
        day.solution, "def test_double() -> None:\n",
        "def test_double() -> None:\n    if 1 > 0:\n        import harness.run\n",
    )  # fmt: skip
    (found,) = check_form(day)
    assert "imports the harness" in found


def test_a_test_of_no_exercise(day: Day) -> None:
    change(
        day.tests, '@exercise("double")\ndef test_values', '@exercise("doubel")\ndef test_values'
    )
    assert check_form(day) == [
        "test_day01.py:6 is tied to `doubel`, which is no exercise of the day"
    ]
    change(day.tests, '"doubel"', "3")
    assert "is tied to `3`" in check_form(day)[0]


@pytest.mark.parametrize("other", ["exercise()", "exercise(name)", 'other("doubel")'])
def test_what_names_no_exercise_is_left_alone(day: Day, other: str) -> None:
    day.tests.write_text(day.tests.read_text() + f"\n\ndef helper():\n    {other}\n")
    assert check_form(day) == []


def test_two_bugs_are_needed(day: Day) -> None:
    first = BUGS.split("[[bug]]")[1]
    day.bugs.write_text("[[bug]]" + first)
    assert check_form(day) == ["double has 1 known bug(s): it needs 2"]
    day.bugs.write_text("[[bug]]\nexercise = 3\n")
    (found,) = check_form(day)
    assert "day01.toml" in found


@pytest.mark.parametrize(
    ("words", "right"), [(599, False), (600, True), (1500, True), (1501, False)]
)
def test_the_length_of_a_lesson(tmp_path: Path, words: int, right: bool) -> None:
    found = lesson_findings("word " * words, tmp_path / "lesson.md")
    assert (
        found == [] if right else found[0].startswith(f"the lesson has {words} words: 600 to 1500")
    )


@pytest.mark.parametrize(
    ("markdown", "words"),
    [
        ("one two\n\n```python\nx = 1\n```\n\nthree\n\n```\ny\n```\n", 3),
        ("one\n\n| a | b |\n|---|---|\n| c | d |\n\ntwo", 2),
        ("one $x + y$ two $$a\nb$$ three", 3),
        ("it's half-way 2.5 — Émile", 4),
        ("- ", 0),
    ],
)
def test_words_of_prose(markdown: str, words: int) -> None:
    assert count_words(markdown) == words


def test_wide_lines_of_blocks_only() -> None:
    wide, fits = "-" * 79, "-" * 78
    markdown = f"{wide}\n\n```text\n{fits}\n{wide}\n```\n\n```\n{wide}+\n```\n"
    assert list(wide_lines(markdown)) == [(5, 79), (9, 80)]


@pytest.mark.parametrize(
    ("link", "found"),
    [
        ("[a](there.md)", ""),
        ("[a](there.md#anything)", ""),
        ("[a](none.md#the-idea)", "the link none.md#the-idea leads to nothing"),
        ("[a](#the-idea-1-its-cost)", ""),
        ("[a](#the-idea)", "no heading of the lesson is called #the-idea"),
        ("[a](mailto:x)", ""),
        ("![text](there.md)", ""),
        ("![ ](there.md)", "the picture there.md has no text that says what it shows"),
        ("![text](none.svg)", "the picture none.svg leads to nothing"),
        ("**bold** `code`", ""),
        ("[a](there.md#)", ""),
        ("[a](#)", ""),
    ],
)
def test_links(tmp_path: Path, link: str, found: str) -> None:
    (tmp_path / "there.md").write_text("")
    markdown = f"## The idea, 1: (its cost)  \n\n{link}\n"
    assert list(form._links(markdown, tmp_path)) == ([found] if found else [])


@pytest.mark.parametrize(
    ("tex", "found"),
    [
        ("x^{2}", ""),
        (r"\{ x", ""),
        (r"x \}", ""),
        ("x^{2", "the braces of $x^{2$ are not balanced"),
        ("x}", "the braces of $x}$ are not balanced"),
        (r"\left( x \right)", ""),
        (r"x \leftarrow y", ""),
        (r"x \rightarrow y", ""),
        (r"x \right)", r"\left and \right of $x \right)$ are not balanced"),
        (r"\left( x", r"\left and \right of $\left( x$ are not balanced"),
        (
            r"\left( x \rightarrow y",
            r"\left and \right of $\left( x \rightarrow y$ are not balanced",
        ),
        (r"\unheard x", r"the terminal cannot show \unheard of $\unheard x$"),
    ],
)
def test_formulas(tex: str, found: str) -> None:
    assert list(form._formulas(f"Say ${tex}$ here.")) == ([found] if found else [])


def test_links_come_in_their_order(tmp_path: Path) -> None:
    markdown = "[a](one.md) [b](two.md)\n\n[c](three.md)\n\n- [d](four.md)\n"
    found = [sentence.split()[2] for sentence in form._links(markdown, tmp_path)]
    assert found == ["one.md", "two.md", "three.md", "four.md"]


def test_a_dollar_without_its_partner() -> None:
    assert list(form._formulas("It costs $5 there." + "!" * 90)) == [
        "a `$` without its partner: It costs $5 there." + "!" * 42
    ]
