from __future__ import annotations

import ast
from pathlib import Path

import pytest

from harness.curriculum import CurriculumError, apply_bug, load_bugs

SAYS = "Says enough about what went wrong."
GOOD = f'''# comment
[[bug]]
exercise = "clip"
find = "x = LIMIT"
replace = "x = LIMIT - 1"
says = "{SAYS}"

[[bug]]
exercise = "clip"
find = """
    if x > LIMIT:
        x = LIMIT
"""
replace = """
    if x >= LIMIT:
        x = -LIMIT
"""
says = "{SAYS}"

[[equivalent]]
exercise = "twice"
find = "x * 2"
replace = "x + x"
because = "{SAYS}"
'''


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "pebble" / "bugs" / "day03.toml"


def load(path: Path, text: str, solution: str):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return load_bugs(path, solution)


def test_reads_bugs_and_equivalents(path: Path, solution: str) -> None:
    bugs = load(path, GOOD, solution)
    first, second = bugs.bugs
    assert (first.exercise, first.find, first.replace) == ("clip", "x = LIMIT", "x = LIMIT - 1")
    assert (first.says, first.line, first.number) == (SAYS, 2, 1)
    assert (second.line, second.number) == (8, 2)
    (same,) = bugs.equivalents
    assert (same.exercise, same.because, same.line, same.number) == ("twice", SAYS, 20, 1)


def test_a_file_without_any(path: Path, solution: str) -> None:
    bugs = load(path, "", solution)
    assert bugs.bugs == bugs.equivalents == ()


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_a_bug_changes_its_place_and_nothing_else(path: Path, solution: str, newline: str) -> None:
    source = solution.replace("\n", newline)
    bugs = load(path, GOOD.replace("\n", newline), source)
    first, second = bugs.bugs
    changed = "        x = LIMIT - 1\n".replace("\n", newline)
    kept = "        x = LIMIT\n".replace("\n", newline)
    assert apply_bug(source, first, path) == source.replace(kept, changed)
    old = "    if x > LIMIT:\n        x = LIMIT\n".replace("\n", newline)
    new = "    if x >= LIMIT:\n        x = -LIMIT\n".replace("\n", newline)
    assert apply_bug(source, second, path) == source.replace(old, new)
    assert apply_bug(source, bugs.equivalents[0], path) == source.replace("x * 2", "x + x")


def test_what_the_change_does(path: Path, solution: str) -> None:
    bugs = load(path, GOOD, solution)
    module: dict = {"__name__": "day03"}
    exec(apply_bug(solution, bugs.bugs[0], path), module)
    assert module["clip"](5) == 2


def test_the_same_text_outside_the_exercises_answers_is_no_second_place(path: Path) -> None:
    source = (
        "def f(x):\n    'x + 1'\n    a = x + 1\n    ### BEGIN SOLUTION\n    # HINT: x + 1\n"
        "    b = x + 1  # x + 1\n    ### END SOLUTION\n    return b\n"
        "def g(x):\n    'D'\n    ### BEGIN SOLUTION\n    return x + 1\n    ### END SOLUTION\n"
    )
    text = f'[[bug]]\nexercise = "f"\nfind = "x + 1"\nreplace = "x + 2"\nsays = "{SAYS}"\n'
    (bug,) = load(path, text, source).bugs
    assert bug.by == "" and load(path, text + 'by = "test"', source).bugs[0].by == "test"
    assert apply_bug(source, bug, path) == source.replace("b = x + 1", "b = x + 2")


@pytest.mark.parametrize(
    ("old", "new", "line", "says"),
    [
        ("# comment", "[[bugs]]", 1, "unknown key 'bugs'"),
        ("# comment", "top = 1", 1, "unknown key 'top'"),
        ("# comment", "bug = 1\n#", 9, "valid TOML"),
        ('replace = "x = LIMIT - 1"', "", 2, "bug 1: 'replace' is missing"),
        (f'says = "{SAYS}"\n\n[[eq', "\n[[eq", 8, "bug 2: 'says' is missing"),
        ("because", "says", 20, "equivalent 1: unknown key 'says'"),
        ('find = "x = LIMIT"', "find = 3", 2, "'find' must be a text"),
        ('find = "x = LIMIT"', 'by = 3\nfind = "x = LIMIT"', 2, "'by' must be a text"),
        ("because", 'by = "test"\nbecause', 20, "equivalent 1: unknown key 'by'"),
        (f'says = "{SAYS}"\n\n[[bug', 'says = "Wrong."\n\n[[bug', 2, "explains too little"),
        ('because = "Says', 'because = "  " # "', 20, "explains too little"),
        ('exercise = "twice"', 'exercise = "thrice"', 20, "the day has no exercise 'thrice'"),
        ('find = "x = LIMIT"', 'find = "x = 7"', 2, "exactly once in the answers of clip, not 0"),
        ('find = "x = LIMIT"', 'find = "LIMIT"', 2, "exactly once in the answers of clip, not 2"),
        ('find = "x = LIMIT"', 'find = " "', 2, "'find' is empty"),
        ('find = "x = LIMIT"', 'find = "# HINT: min"', 2, "not 0 times"),
        ("x = LIMIT - 1", "x = LIMIT", 2, "'find' and 'replace' are the same"),
        ("x = LIMIT - 1", "x = LIMIT -", 2, "not valid Python: line"),
        ("x = LIMIT - 1", "x = LIMIT  # 1", 2, "only comments or blanks"),
        ("x = LIMIT - 1", "x  =  LIMIT", 2, "only comments or blanks"),
        ("x + x", "x +", 20, "not valid Python"),
        ('find = "x = LIMIT"', "find = x = LIMIT", 4, "not valid TOML"),
        (f'because = "{SAYS}"\n', 'because = "', 24, "not valid TOML"),
    ],
)
def test_says_what_is_wrong_and_where(
    path: Path, solution: str, old: str, new: str, line: int, says: str
) -> None:
    assert old in GOOD
    with pytest.raises(CurriculumError) as caught:
        load(path, GOOD.replace(old, new, 1), solution)
    assert says in caught.value.message
    if line != 9:
        assert caught.value.line == line
    assert caught.value.path == path


def test_overlapping_places_are_two(path: Path) -> None:
    source = "def f(x):\n    'D'\n    ### BEGIN SOLUTION\n    return 111\n    ### END SOLUTION\n"
    text = f'[[bug]]\nexercise = "f"\nfind = "11"\nreplace = "2"\nsays = "{SAYS}"\n'
    with pytest.raises(CurriculumError, match="not 2 times"):
        load(path, text, source)


def test_no_file_and_wrong_shapes(path: Path, solution: str) -> None:
    with pytest.raises(CurriculumError, match="no such file"):
        load_bugs(path, solution)
    for text in ('[bug]\nexercise = "clip"\n', "bug = [1]\n", 'bug = "clip"\n'):
        with pytest.raises(CurriculumError, match=r"write \[\[bug\]\]"):
            load(path, text, solution)


def test_a_broken_solution_is_named_and_not_the_bugs_file(path: Path, solution: str) -> None:
    with pytest.raises(CurriculumError) as caught:
        load(path, GOOD, solution.replace("### END SOLUTION", "", 1))
    assert caught.value.path == path.parents[1] / "solutions" / "day03.py"


def test_every_bug_gives_valid_python(path: Path, solution: str) -> None:
    bugs = load(path, GOOD, solution)
    for bug in (*bugs.bugs, *bugs.equivalents):
        assert ast.dump(ast.parse(apply_bug(solution, bug, path))) != ast.dump(ast.parse(solution))
