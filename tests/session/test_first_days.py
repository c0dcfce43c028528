"""A new user, in a real terminal: from the clone to day 3 solved, and the first update.

Everything is typed, or saved as an editor saves it. The answers are the references' marked ones,
put into the learner's file an exercise at a time.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.cli.learn import answers_alone
from harness.curriculum import (
    Day,
    apply_bug,
    find_day,
    generate_stub,
    load_bugs,
    read_source,
    reset_exercise,
    write_source,
)
from harness.curriculum.discover import find_tracks
from tests.support.terminal import Terminal
from tests.support.upstream import git

ROOT = Path(__file__).resolve().parents[2]
TRACK = "autodiff"
PARTS = (
    "harness", "tracks", ".vscode", "Makefile", "README.md", "AGENTS.md", "LICENSE", "conftest.py",
    "pyproject.toml", "requirements.txt", ".gitignore",
)  # fmt: skip
PROMPT = "learner$ "


@pytest.fixture
def upstream(tmp_path: Path) -> Path:
    """The project as it is in this tree, in a repository of its own, with untouched days."""
    folder = tmp_path / "upstream"
    folder.mkdir()
    for name in PARTS:
        if (ROOT / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__", ".*cache")
            shutil.copytree(ROOT / name, folder / name, ignore=ignored)
        elif (ROOT / name).exists():
            shutil.copy(ROOT / name, folder / name)
    for track in find_tracks(folder):
        for day in track.days:
            write_source(day.file, generate_stub(read_source(day.solution), day.solution))
    git(folder, "init", "-q", "-b", "main")
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "the project")
    return folder


class Learner:
    """A shell in a terminal, and an editor beside it."""

    def __init__(self, home: Path) -> None:
        self.clone = home / "days"
        settings = {"PATH", "LANG", "LC_ALL", "TMPDIR", "OMP_NUM_THREADS", "LD_LIBRARY_PATH"}
        environment = {k: v for k, v in os.environ.items() if k in settings}
        environment |= {"HOME": str(home), "PS1": PROMPT, "PYTHON": sys.executable}
        environment |= {"LANG": "C.UTF-8", "GIT_CONFIG_NOSYSTEM": "1"}
        self.terminal = Terminal(["sh", "-i"], home, environment)
        self.terminal.wait_for(PROMPT)

    def types(self, command: str, *, shows: str = "", seconds: float = 120.0) -> str:
        """A command with Enter. → all it shows, which holds ``shows``; it has ended."""
        self.terminal.press(f"{command}\n")
        shown = self.terminal.wait_for(f"\n{PROMPT}", seconds)
        assert shows in shown, shown
        assert "Traceback" not in shown, shown
        return shown

    def starts(self, command: str) -> None:
        self.terminal.press(f"{command}\n")

    def sees(self, text: str, seconds: float = 120.0) -> str:
        return self.terminal.wait_for(text, seconds)

    def presses(self, key: str) -> None:
        self.terminal.press(key)

    def day(self, number: int) -> Day:
        return find_day(TRACK, number, self.clone)

    def writes(self, number: int, *names: str, wrong: str = "") -> None:
        """Save the day with these exercises answered, the last one with a known mistake."""
        day = self.day(number)
        reference = read_source(day.solution)
        text = read_source(day.file)
        for name in names:
            source = reference
            if wrong and name == names[-1]:
                bugs = load_bugs(day.bugs, reference).bugs
                bug = next(b for b in bugs if b.exercise == name and b.says.startswith(wrong))
                source = apply_bug(reference, bug, day.bugs)
            answers = "".join(f"{line}\n" for line in answers_alone(source.splitlines()))
            text = reset_exercise(text, answers, name)
        self.saves(number, text)

    def saves(self, number: int, text: str) -> None:
        """As many editors do: a new file, renamed over the old one."""
        file = self.day(number).file
        new = file.with_suffix(".tmp")
        write_source(new, text)
        new.replace(file)


@pytest.fixture
def learner(tmp_path: Path) -> Iterator[Learner]:
    made = Learner(tmp_path)
    try:
        yield made
    finally:
        made.terminal.close(seconds=0.0)


def names_of(day: Day) -> list[str]:
    return [exercise.name for exercise in day.exercises]


def test_from_the_clone_to_day_three(upstream: Path, learner: Learner) -> None:
    began = time.monotonic()
    learner.types(f"git clone -q file://{upstream} days && cd days")
    learner.types("make help | cat", shows="make watch")
    learner.types(f"make {TRACK}", shows="1  Derivatives")
    learner.types(f"make {TRACK} DAY=99", shows="there is no day 99")
    learner.types(f"make lesson TRACK={TRACK} DAY=1 | cat", shows="Derivatives")
    every = names_of(learner.day(1))
    learner.types(f"make {TRACK} DAY=1", shows=f"0 of {len(every)} exercises")

    # Day 1, in watch: a slip, a mistake that is recognised, a hint, and the answers.
    learner.starts(f"make watch TRACK={TRACK} DAY=1")
    learner.sees("not started")
    learner.sees("q quit")
    stub = read_source(learner.day(1).file)
    first = f'raise NotImplementedError("{every[0]}")'
    learner.saves(1, stub.replace(first, "return (f(x + h) - f(x)"))
    assert "never closed" in learner.sees("after the save")
    learner.saves(1, stub)
    learner.sees("after the save")  # else its verdict may be taken for the next one's
    learner.writes(1, every[0], wrong="This is the backward difference")
    said = learner.sees("after the save")
    assert f"✗ {every[0]}" in said
    assert "This is the backward difference" in said
    learner.presses("h")
    learner.sees(f"{every[0]}, hint 2 of")
    learner.sees("q quit")
    learner.writes(1, *every[:2])
    assert f"2 of {len(every)} exercises" in learner.sees("after the save")
    learner.writes(1, *every)
    learner.sees(f"{len(every)} of {len(every)} exercises")

    # Day 2: the process is ended, then a loop that does not end, then the answers.
    learner.presses("n")
    learner.sees("Day 2:")
    learner.sees("not started")
    learner.sees("q quit")
    every = names_of(learner.day(2))
    stub = read_source(learner.day(2).file)
    first = f'raise NotImplementedError("{every[0]}")'
    learner.saves(2, stub.replace(first, "import os; os._exit(1)"))
    assert "ended itself" in learner.sees("after the save")
    learner.saves(2, stub.replace(first, "while True: pass"))
    learner.sees("grading")
    learner.saves(2, stub)
    learner.writes(2, *every)
    learner.sees(f"{len(every)} of {len(every)} exercises")

    # Day 3: half of it, left for today; a reset, which can be taken back; the rest.
    learner.presses("n")
    learner.sees("Day 3:")
    learner.sees("q quit")
    every = names_of(learner.day(3))
    for depth in (2, 3):
        learner.presses("h")
        learner.sees(f"{every[0]}, hint {depth} of")
        learner.sees("q quit")
    learner.writes(3, *every[:3])
    assert f"3 of {len(every)} exercises" in learner.sees("after the save")
    learner.presses("q")
    learner.sees(f"\n{PROMPT}")
    day = f"TRACK={TRACK} DAY=3"
    learner.types(f"make reset {day} EX={every[2]}", shows="is the stub again")
    learner.types(f"make {TRACK} DAY=3", shows=f"2 of {len(every)} exercises")
    learner.types(f"make restore {day}", shows="VERSION=1")
    learner.types(f"make restore {day} VERSION=1", shows="is the version of")
    learner.types(f"make hint {day}", shows=f"{every[2]}, hint 2 of")
    learner.types(f"make solution {day}", shows="has not been passed yet")
    learner.starts("make watch")  # it knows where this learner is
    learner.sees("Day 3:")
    learner.sees(f"3 of {len(every)} exercises")
    learner.sees("q quit")
    learner.writes(3, *every)
    learner.sees(f"{len(every)} of {len(every)} exercises")
    learner.presses("q")
    learner.sees(f"\n{PROMPT}")
    learner.types("make progress", shows="autodiff   3 of 35")
    assert "- [x] Day 3" in (learner.clone / "PROGRESS.md").read_text(encoding="utf-8")
    learner.types(f"make solution {day}", shows="line for line")

    # Upstream goes on: another name for an argument's hint, a new sentence in a lesson.
    solution = upstream / f"tracks/{TRACK}/solutions/day03.py"
    text = read_source(solution)
    assert text.count("# TODO:") > 1
    write_source(solution, text.replace("# TODO:", "# TODO: now,", 1))
    write_source(
        upstream / f"tracks/{TRACK}/day03.py", generate_stub(read_source(solution), solution)
    )
    with open(upstream / f"tracks/{TRACK}/lessons/day03.md", "a", encoding="utf-8") as lesson:
        lesson.write("\nOne more sentence.\n")
    git(upstream, "commit", "-q", "-a", "-m", "a better day 3")
    learner.types("make update CHECK=1", shows="would bring")
    learner.types("make update", shows=f"merged        tracks/{TRACK}/day03.py")
    assert "# TODO: now," in read_source(learner.day(3).file)
    learner.types(f"make {TRACK} DAY=3", shows=f"{len(every)} of {len(every)} exercises")
    learner.types("git status --short", shows=" M tracks/autodiff/day01.py")
    took = time.monotonic() - began
    print(f"the session took {took:.0f} s")
