"""Hints, solution, reset, restore, next and progress, as a learner would use them."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from harness.cli.learn import _is_task
from harness.cli.sides import compared
from tests.support.terminal import Terminal
from tests.support.toy import Toy

STUB = 'raise NotImplementedError("double")'


@pytest.fixture
def toy(tmp_path: Path) -> Toy:
    toy = Toy(tmp_path / "project")
    toy.add_day(1)
    toy.add_day(2)
    assert toy.run("-m", "harness", "stubs").returncode == 0
    return toy


def harness(toy: Toy, *arguments: str, code: int = 0) -> str:
    done = toy.run("-m", "harness", *arguments)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def answer(toy: Toy, text: str, day: int = 1) -> Path:
    file = toy.track / f"day{day:02d}.py"
    file.write_text(file.read_text().replace(STUB, text))
    return file


def test_hints_come_one_at_a_time_and_are_remembered(toy: Toy) -> None:
    first = harness(toy, "hint", "autodiff", "1")
    assert "double, hint 2 of 3" in first
    assert "1. In day01.py: Return a new array.\n     What is x + x?\n" in first
    assert "2. Which numbers" in first and "Two times x." not in first
    second = harness(toy, "hint", "autodiff", "1", "--ex", "double")
    assert "hint 3 of 3" in second and "2. Which numbers" in second and "3. Two times x." in second
    assert "hint 3 of 3" in harness(toy, "hint", "autodiff", "1")
    assert "hint 2 of 3" in harness(toy, "hint", "autodiff", "2")


def test_a_hint_says_that_the_file_is_not_the_one_that_was_graded(toy: Toy) -> None:
    toy.run("-m", "harness", "autodiff", "1")
    file = toy.track / "day01.py"
    file.write_text(file.read_text().replace(STUB, "return 3 * x"))
    toy.run("-m", "harness", "autodiff", "1")
    assert "has changed" not in harness(toy, "hint", "autodiff", "1")
    file.write_text(file.read_text().replace("3 * x", "2 * x"))
    assert "day01.py has changed since it was graded" in harness(toy, "hint", "autodiff", "1")
    assert "has changed" not in harness(toy, "hint", "autodiff", "1", "--ex", "double")


def test_the_last_hint_ends_in_a_command_that_works(toy: Toy) -> None:
    def command(*of: str) -> list[str]:
        said = harness(toy, "hint", "autodiff", "1", *of).splitlines()[-1]
        assert said.startswith("That was the last.")
        return said.split("make ")[1].split()

    harness(toy, "hint", "autodiff", "1")
    name, *settings = command()
    assert settings == ["TRACK=autodiff", "DAY=1", "FORCE=1"]
    given = dict(word.split("=") for word in settings)
    assert "return 2.0 * x" in toy.run("-m", "harness", name, **given).stdout
    answer(toy, "return x + x")
    harness(toy, "autodiff", "1")
    assert "All exercises of autodiff day 1 pass." in harness(toy, "hint", "autodiff", "1")
    name, *settings = command("--ex", "double")
    assert settings == ["TRACK=autodiff", "DAY=1"]
    given = dict(word.split("=") for word in settings)
    assert "return 2.0 * x" in toy.run("-m", "harness", name, **given).stdout


def test_a_long_hint_is_wrapped(toy: Toy) -> None:
    long = "think " * 12 + "\n    # of it " + "again " * 10 + "and answer?"
    toy.add_day(3, reference=("which numbers does a factor of two give?", long))
    said = harness(toy, "hint", "autodiff", "3")
    assert max(map(len, said.splitlines())) <= 80 and "and answer?" in " ".join(said.split())


def test_the_solution_is_shown_after_passing_only(toy: Toy) -> None:
    assert "has not been passed yet" in harness(toy, "solution", "autodiff", "1", code=2)
    answer(toy, "return x + x")
    harness(toy, "autodiff", "1")
    shown = harness(toy, "solution", "autodiff", "1")
    marked = [line.split() for line in shown.splitlines() if line.startswith(("<", ">"))]
    assert ["<", "26", "return", "x", "+", "x"] in marked
    assert [">", "26", "return", "2.0", "*", "x"] in marked
    assert max(map(len, shown.splitlines())) <= 80
    assert "SOLUTION" not in shown and "two times x" not in shown
    assert "return 2.0 * x" in harness(toy, "solution", "autodiff", "2", "--force")


def test_reset_keeps_what_it_replaces_and_restore_brings_it_back(toy: Toy) -> None:
    file = answer(toy, "return x * 2  # mine")
    said = harness(toy, "reset", "autodiff", "1")
    assert "is the stub again" in said and STUB in file.read_text()
    assert "  1  " in harness(toy, "restore", "autodiff", "1")
    harness(toy, "restore", "autodiff", "1", "--version", "1")
    assert "# mine" in file.read_text()
    assert "VERSION=9" in harness(toy, "restore", "autodiff", "1", "--version", "9", code=2)


def test_reset_and_restore_say_the_command_that_takes_them_back(toy: Toy) -> None:
    def back(*arguments: str) -> str:
        """What is done, and undone by the command that it says, is in the day's file again."""
        said = harness(toy, *arguments)
        _, command = said.split("make ")
        name, *settings = command.split(" brings ")[0].split()
        given = dict(word.split("=") for word in settings)
        assert toy.run("-m", "harness", name, **given).returncode == 0
        return file.read_text()

    for text in ("# one", "# two"):
        file = answer(toy, f"return x {text}")
        assert text in back("reset", "autodiff", "1")
        harness(toy, "reset", "autodiff", "1")
    answer(toy, "return x # three")
    assert "# three" in back("restore", "autodiff", "1", "--version", "1")


def test_restoring_keeps_the_present_version_too(toy: Toy) -> None:
    file = answer(toy, "return x * 2  # first")
    harness(toy, "reset", "autodiff", "1", "--ex", "double")
    answer(toy, "return x * 2  # second")
    harness(toy, "restore", "autodiff", "1", "--version", "1")
    assert "# first" in file.read_text()
    kept = [p.read_text() for p in (toy.folder / ".harness/archive").rglob("*.py")]
    assert any("# second" in text for text in kept)


def test_progress_and_next(toy: Toy) -> None:
    assert "Day 1: Toys 1" in harness(toy, "next", code=1)
    answer(toy, "return x + x")
    harness(toy, "autodiff", "1")
    assert "Day 2: Toys 2" in harness(toy, "next", code=1)
    shown = harness(toy, "progress")
    assert "autodiff   1 of 35" in shown
    assert "- [x] Day 1: Toys 1" in (toy.folder / "PROGRESS.md").read_text()
    assert "- [ ] Day 2: Toys 2" in (toy.folder / "PROGRESS.md").read_text()
    data = json.loads(harness(toy, "progress", "--json"))
    assert data["tracks"]["autodiff"][0]["level"] == 2


TWO = (
    "def test_double",
    'def triple(x: np.ndarray) -> np.ndarray:\n    """3 x."""\n    # HINT: a\n'
    "    ### BEGIN SOLUTION\n    # HINT: b\n    return 3 * x\n    ### END SOLUTION\n\n\n"
    "def test_double",
)
TESTS_OF_TWO = """
from harness.testing import exercise
from tracks.autodiff import day{number:02d} as day


@exercise("double")
def test_double():
    assert day.double(2.0) == 4.0


@exercise("triple")
def test_triple():
    assert day.triple(2.0) == 6.0
"""


def test_next_is_the_other_exercise_and_the_list_says_how_far_each_day_is(toy: Toy) -> None:
    toy.add_day(3, reference=TWO, tests=TESTS_OF_TWO)
    harness(toy, "stubs")

    def states() -> list[str]:
        return [line[51:] for line in harness(toy, "autodiff").splitlines()[2:5]]

    assert states() == ["not started"] * 3
    answer(toy, "return x + x", 3)
    assert "Next: triple (make autodiff DAY=3 EX=triple)" in harness(
        toy, "autodiff", "3", "--ex", "double"
    )
    assert states()[2] == "1 of 2 written"
    file = toy.track / "day03.py"
    file.write_text(file.read_text().replace('raise NotImplementedError("triple")', "return 3 * x"))
    assert states()[2] == "2 of 2 written"
    right = file.read_text()
    file.write_text(right.replace("return 3 * x", "return 4 * x"))
    toy.run("-m", "harness", "autodiff", "3")
    assert states()[2] == "1 of 2 pass"  # of what is in the file now; a change makes it unknown
    file.write_text(right)
    assert states()[2] == "2 of 2 written"
    asked = toy.run("-m", "harness", "autodiff", EX="double")
    assert asked.returncode == 2 and "Add DAY: make autodiff DAY=1 EX=double" in asked.stderr
    harness(toy, "autodiff", "3")
    said = harness(toy, "autodiff", "3", "--ex", "double")
    assert "Next: make autodiff DAY=3 (the whole day)" in said
    assert states()[2] == "passed"


def test_only_the_learners_own_file_counts(toy: Toy) -> None:
    harness(toy, "autodiff", "1", "--impl", "solution")
    assert json.loads(harness(toy, "progress", "--json"))["attempts"] == 0


def test_only_the_differing_lines_are_shown_beside_each_other() -> None:
    same = [f"line {n}" for n in range(20)]
    assert compared(same, same, ("yours", "reference")) == []
    other = [*same[:10], "changed", *same[11:15], "added", *same[15:]]
    lines = compared(same, other, ("yours", "reference"), 60)
    assert lines[0].split() == ["yours", "reference"]
    assert "  11 line 10                 |   11 changed" in lines
    assert [line.split() for line in lines if ">" in line] == [[">", "16", "added"]]
    assert len(lines) < 16
    assert max(map(len, lines)) <= 60


def test_code_too_wide_for_two_columns_stands_one_below_the_other() -> None:
    left = [
        "def f(x):",
        "    total = numpy.add.reduce(numpy.asarray(x, dtype=float) * weights)",
        "end",
    ]
    right = ["def f(x):", "    return 21", "end"]
    lines = compared(left, right, ("yours", "reference"), 80)
    assert lines == [
        "< yours", "> reference", "⋯", "     1 def f(x):",
        "<    2     total = numpy.add.reduce(numpy.asarray(x, dtype=float) * weights)",
        ">    2     return 21", "     3 end",
    ]  # fmt: skip
    wide = compared(left, right, ("yours", "reference"), 200)
    assert any("* weights)" in line and "| " in line and "return 21" in line for line in wide)


@pytest.mark.parametrize("width", [60, 80, 140])
def test_a_long_line_goes_on_below_itself_and_no_word_is_broken(width: int) -> None:
    words = [f"word{n}" for n in range(30)]
    lines = compared(["    " + " ".join(words)], ["x = 21"], ("yours", "reference"), width)
    assert max(map(len, lines)) <= width
    assert [w for line in lines for w in line.split() if w.startswith("word")] == words


def test_a_reset_of_one_exercise_leaves_the_others(toy: Toy) -> None:
    two = 'def triple(x: np.ndarray) -> np.ndarray:\n    """3 x."""\n    # HINT: a\n'
    two += "    ### BEGIN SOLUTION\n    # HINT: b\n    return 3 * x\n    ### END SOLUTION\n"
    toy.add_day(3, reference=("def test_double", f"{two}\n\ndef test_double"))
    harness(toy, "stubs")
    file = answer(toy, "return x + x", day=3)
    file.write_text(file.read_text().replace('NotImplementedError("triple")', 'ValueError("mine")'))
    harness(toy, "reset", "autodiff", "3", "--ex", "triple")
    text = file.read_text()
    assert "return x + x" in text and 'NotImplementedError("triple")' in text
    assert (
        "mine"
        in (toy.folder / ".harness/archive")
        .joinpath("autodiff/day03")
        .glob("*.py")
        .__next__()
        .read_text()
    )
    assert "Nothing to reset" in harness(toy, "reset", "autodiff", "3", "--ex", "triple")


def test_a_file_that_is_no_python_can_be_reset_and_comes_back(toy: Toy) -> None:
    file = answer(toy, "return (")
    harness(toy, "reset", "autodiff", "1")
    assert STUB in file.read_text()
    harness(toy, "restore", "autodiff", "1", "--version", "1")
    assert "return (" in file.read_text()


def test_all_days_are_graded_with_a_word_of_what_is_going_on(toy: Toy) -> None:
    """A day can take minutes, one with a loop that does not end for example."""
    answer(toy, "return x + x")
    command = [sys.executable, "-m", "harness", "mine"]
    terminal = Terminal(command, toy.folder, {**os.environ, "PYTHONPATH": str(toy.folder)})
    try:
        terminal.wait_for("grading …")
        terminal.wait_for("autodiff  day  1    1/1  passed  Toys 1")
        assert terminal.process.wait(20) == 0
    finally:
        terminal.close(0.0)


def test_versions_are_listed_newest_first(toy: Toy) -> None:
    assert "No earlier version" in harness(toy, "restore", "autodiff", "1")
    for text in ("# one", "# two"):
        answer(toy, f"return x {text}")
        harness(toy, "reset", "autodiff", "1")
    shown = harness(toy, "restore", "autodiff", "1").splitlines()
    assert [line.split()[0] for line in shown[:2]] == ["2", "1"]
    assert all("1 of 1 written, not graded" in line for line in shown[:2])
    harness(toy, "restore", "autodiff", "1", "--version", "1")
    assert "# one" in (toy.track / "day01.py").read_text()
    # what stood there was the stub, which is no version; and no number has changed
    assert harness(toy, "restore", "autodiff", "1").splitlines() == shown


def test_a_version_says_what_it_came_to(toy: Toy) -> None:
    answer(toy, "return x + x")
    harness(toy, "autodiff", "1")
    harness(toy, "reset", "autodiff", "1")
    answer(toy, "return (")
    harness(toy, "reset", "autodiff", "1")
    newest, oldest = harness(toy, "restore", "autodiff", "1").splitlines()[:2]
    assert newest.endswith("syntax error") and oldest.endswith("1 of 1 passed")
    assert "VERSION=2 brings the newest back" in harness(toy, "restore", "autodiff", "1")


def test_a_file_that_is_no_utf_8_is_one_sentence_everywhere(toy: Toy) -> None:
    file = answer(toy, "return x + x  # ?")
    file.write_bytes(file.read_bytes().replace(b"# ?", b"# \xe9"))
    line = file.read_bytes().split(b"# \xe9")[0].count(b"\n") + 1
    sentence = "the byte 0xe9 is not UTF-8 text: save the file as UTF-8"
    for command, code in ((["autodiff", "1"], 1), (["mine"], 1), (["next"], 1)):
        said = " ".join(harness(toy, *command, code=code).split())
        assert sentence in said and "INTERNALERROR" not in said
        assert command == ["mine"] or f"tracks/autodiff/day01.py:{line}: {sentence}" in said
    assert "syntax error" in harness(toy, "autodiff")
    harness(toy, "reset", "autodiff", "1")
    assert STUB in file.read_text()


LIMITED = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, ({size}, {size}))
sys.argv = ["harness", *{arguments!r}]
from harness.cli import main
main()
"""


@pytest.mark.parametrize(
    "arguments", [["reset", "autodiff", "1"], ["restore", "autodiff", "1", "--version", "1"]]
)
@pytest.mark.parametrize("size", [0, 300])
def test_a_full_disk_takes_no_answer(toy: Toy, arguments: list[str], size: int) -> None:
    answer(toy, "return x  # kept")
    harness(toy, "reset", "autodiff", "1")
    file = answer(toy, "return x  # present")
    done = toy.run("-c", LIMITED.format(size=size, arguments=arguments))
    assert done.returncode == 3, done.stdout + done.stderr
    assert "File too large" in done.stderr and "Traceback" not in done.stderr
    assert "# present" in file.read_text()
    harness(toy, *arguments)
    kept = [p.read_text() for p in (toy.folder / ".harness/archive").rglob("*.py")]
    assert any("# present" in text for text in kept)
    assert not list(toy.folder.rglob("*.part"))


def test_a_history_that_cannot_be_read_stops_nothing_else(toy: Toy) -> None:
    answer(toy, "return x")  # a day that nobody has begun is not written into the history
    (toy.folder / ".harness").mkdir()
    for arguments, code in (
        (["hint", "autodiff", "1"], 0), (["progress"], 0), (["next"], 1),
        (["solution", "autodiff", "1"], 2), (["autodiff", "1"], 1),
    ):  # fmt: skip
        (toy.folder / ".harness/progress.db").write_text("not a database, but rather long " * 99)
        said = harness(toy, *arguments, code=code)
        assert "Traceback" not in said
        assert said.count("is damaged") == 1 and "a new history begins" in said, said
        assert "is damaged" not in harness(toy, "progress")
    kept = list((toy.folder / ".harness").glob("progress-damaged-*"))
    assert kept and all("rather long" in file.read_text() for file in kept)


def test_the_learners_commands_start_at_once_and_without_torch(toy: Toy) -> None:
    code = (
        "import sys, time\nstart = time.process_time()\nsys.argv = ['harness', *{!r}]\n"
        "from harness.cli import main\ntry:\n    main()\nexcept SystemExit:\n    pass\n"
        "print('HEAVY', sorted({{'torch', 'triton', 'numpy', 'pytest'}} & set(sys.modules)))\n"
    )
    for arguments in (
        ["hint", "autodiff", "1"], ["progress"], ["reset", "autodiff", "1"],
        ["restore", "autodiff", "1"], ["solution", "autodiff", "1", "--force"], ["update"],
    ):  # fmt: skip
        assert "HEAVY []" in toy.run("-c", code.format(arguments)).stdout, arguments


def test_three_tracks_and_all_their_days_are_counted(toy: Toy) -> None:
    shown = harness(toy, "progress")
    assert "0 of 102 days" in shown
    assert max(map(len, shown.splitlines())) <= 80


def test_lines_that_are_left_out_are_counted_all_the_same() -> None:
    mine = ["a", "b"]
    reference = ["# TODO: a, then", "#       HINT of it", "a", "# HINT: b", "c"]
    lines = compared(mine, reference, ("yours", "reference"), 80, leave_out=_is_task)
    text = "\n".join(lines)
    assert "TODO" not in text and "HINT" not in text
    assert "2 b" in text and "5 c" in text
    assert not compared(["a"], ["# TODO: a", "a"], ("", ""), 80, leave_out=_is_task)
