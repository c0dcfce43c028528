"""VS Code: every task is a command that exists, and its matchers find what is wrong and where."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from harness.protocol import DayResult, ExerciseResult, Failure, TestResult
from harness.screen.problems import first_sentence, problem_lines
from tests.support.terminal import Terminal
from tests.support.toy import Toy

ROOT = Path(__file__).resolve().parents[2]
STUB = 'raise NotImplementedError("double")'
LEARNERS = {
    "autodiff", "watch", "lesson", "hint", "solution", "reset", "restore", "next", "mine",
    "progress", "report", "xray", "bench", "update", "doctor", "test-all",
}  # fmt: skip


def jsonc(name: str) -> Any:
    """A file of .vscode: JSON with comments on lines of their own."""
    text = (ROOT / name).read_text(encoding="utf-8")
    return json.loads(re.sub(r"(?m)^\s*//.*$", "", text))


TASKS = {task["label"]: task for task in jsonc(".vscode/tasks.json")["tasks"]}
DAY = "tracks/autodiff/day01.py"


def filled(arguments: list[str], folder: Path, file: str = DAY, line: int = 1) -> list[str]:
    """A task's arguments with the cursor on a line of ``file``, as VS Code fills them in."""
    values = {
        "${workspaceFolder}": str(folder), "${file}": str(folder / file), "${lineNumber}": str(line)
    }  # fmt: skip
    return [re.sub(r"\$\{\w+\}", lambda found: values[found[0]], a) for a in arguments]


def matched(task: dict[str, Any], output: str) -> set[tuple[str, int, str]]:
    """File, line and message of every problem, as VS Code's matchers find them."""
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", output).replace("\r", "")
    found = set()
    for matcher in task["problemMatcher"]:
        (pattern,) = matcher["pattern"]
        for line in text.split("\n"):
            if match := re.search(pattern["regexp"], line):
                values = [match[pattern[key]] for key in ("file", "line", "message")]
                found.add((values[0], int(values[1]), values[2]))
    return found


@pytest.fixture
def toy(tmp_path: Path) -> Toy:
    toy = Toy(tmp_path / "project")
    toy.add_day(1)
    assert toy.run("-m", "harness", "stubs").returncode == 0
    shutil.copytree(ROOT / ".vscode", toy.folder / ".vscode")
    return toy


def answer(toy: Toy, text: str) -> Path:
    file = toy.track / "day01.py"
    file.write_text(file.read_text().replace(STUB, text))
    return file


def run(toy: Toy, label: str, file: str = DAY, line: int = 1) -> subprocess.CompletedProcess[str]:
    task = TASKS[label]
    settings = task["options"].get("env", {})
    return toy.run(*filled(task["args"], toy.folder, file, line), **settings)


def line_of(file: Path, text: str) -> int:
    return next(n for n, line in enumerate(file.read_text().splitlines(), 1) if text in line)


def test_tasks_need_no_extension(tmp_path: Path) -> None:
    """A task that asks an extension for the interpreter does nothing at all without it."""
    for task in TASKS.values():
        assert task["command"] == "${workspaceFolder}/.vscode/python"
        assert task["windows"] == {"command": "${command:python.interpreterPath}"}
    script = tmp_path / ".vscode" / "python"
    script.parent.mkdir()
    script.write_bytes((ROOT / ".vscode/python").read_bytes())
    assert os.access(ROOT / ".vscode/python", os.X_OK)
    script.chmod(0o755)
    environment = {k: v for k, v in os.environ.items() if k != "PYTHON"}
    makes = f"mkdir -p .venv/bin; touch .venv/ready; ln -s {sys.executable} .venv/bin/python"
    (tmp_path / "Makefile").write_text(f"setup:\n\t@{makes}; echo made\n")
    asked = [str(script), "-c", "import os; print(os.getcwd())"]
    for extra, said in (({"PYTHON": sys.executable}, []), ({}, ["made"]), ({}, [])):
        done = subprocess.run(
            asked, env={**environment, **extra}, cwd="/", capture_output=True, text=True, check=True
        )
        assert done.stdout.split() == [*said, str(tmp_path)]


def test_there_is_a_task_for_every_command_of_a_learner() -> None:
    known = subprocess.run(
        [sys.executable, "-m", "harness", "--help"], cwd=ROOT, capture_output=True, text=True
    ).stdout
    used = set()
    for label, task in TASKS.items():
        assert task["type"] == "process", f"{label}: no shell, so that it works on Windows too"
        first, *rest = task["args"]
        if first == "-m":
            assert rest.pop(0) == "harness"
        else:
            assert first == "${workspaceFolder}/.vscode/day.py" and rest[1] == "${file}", label
        command = "autodiff" if rest[0] == "grade" else rest[0]
        assert f"  {command} " in known, label
        used.add(command)
    assert used == LEARNERS


@pytest.mark.parametrize(
    "file",
    [
        "day01.py",
        "lessons/day01.md",
        "tests/test_day01.py",
        "solutions/day01.py",
        "bugs/day01.toml",
    ],
)
def test_any_file_of_the_day_may_be_open(toy: Toy, file: str) -> None:
    answer(toy, "return x + x")
    done = run(toy, "Grade this day", f"tracks/autodiff/{file}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 of 1 exercise" in done.stdout


@pytest.mark.parametrize("file", ["README.md", "harness/cli/app.py", "tracks/autodiff/README.md"])
def test_a_file_of_no_day_is_told_so(toy: Toy, file: str) -> None:
    done = run(toy, "Hint for this day", file)
    assert done.returncode == 1
    assert done.stderr.strip() == (
        f"{file} belongs to no day: open a dayNN.py, its lesson or its tests."
    )
    assert len(done.stderr.splitlines()) == 1


def test_the_exercise_is_the_one_that_the_cursor_is_in(toy: Toy) -> None:
    file = answer(toy, "return 3 * x")
    tests = toy.track / "tests" / "test_day01.py"
    for where, line in (
        (DAY, line_of(file, "def double")),
        (DAY, line_of(file, "return 3 * x")),
        ("tracks/autodiff/tests/test_day01.py", line_of(tests, "def test_values")),
    ):
        done = run(toy, "This exercise", where, line)
        assert "2 tests fail" in done.stdout or "1 of 2 tests fail" in done.stdout, done.stdout
    done = run(toy, "This exercise", DAY, 1)
    assert done.stderr.strip().endswith(f"{DAY}:1 is in no exercise: put the cursor into double.")
    assert (
        "double, hint"
        in run(toy, "Hint for this exercise", DAY, line_of(file, "def double")).stdout
    )
    file.write_text(file.read_text() + "\nreturn (\n")
    broken = run(toy, "This exercise", DAY, 3)
    assert "never closed" in broken.stderr and "Traceback" not in broken.stderr


KINDS = {
    "raises": (
        "y = x.reshape(7)\n    return y + x", "y = x.reshape(7)",
        "ValueError: cannot reshape array of size 5 into shape (7,)",
    ),
    "wrong values": ("return x + x + 1.0", "def double", ""),
    "wrong type": ("return 'twice'", "def double", ""),
    "misspelt": (
        "double = x + x\n    return doubel", "return doubel",
        "NameError: name 'doubel' is not defined: is `double` meant?",
    ),
    "endless": ("while True: pass", "while True", "was stopped"),
    "exit": ("import os\n    os._exit(3)", "def double", "the process ended itself"),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_failure_is_a_problem_at_its_line(toy: Toy, kind: str) -> None:
    """A wrong value has no line of its own: it stands at the exercise's def."""
    text, line, words = KINDS[kind]
    if kind == "endless":
        tests = (toy.track / "tests/test_day01.py").read_text()
        short = tests.replace('@exercise("double")', '@exercise("double", seconds=1.0)')
        toy.write("tests/test_day01.py", short)
    file = answer(toy, text)
    done = run(toy, "Grade this day")
    found = {
        (where, number, message.removeprefix("double: "))
        for where, number, message in matched(TASKS["Grade this day"], done.stdout)
    }
    assert (DAY, line_of(file, line)) in {place[:2] for place in found}, done.stdout
    assert any(message.startswith(words) for *_, message in found), found
    report = json.loads(run_json(toy))
    failures = [t["failure"] for e in report["exercises"] for t in e["tests"] if t["failure"]]
    for _, number, message in found:  # the first sentence of what the report says
        said = [f["message"] for f in failures if f["line"] == number]
        spoken = [re.sub(r"\d+", "N", " ".join(m.split())) for m in said]  # two runs, two times
        assert any(m.startswith(re.sub(r"\d+", "N", message)) for m in spoken), (message, said)


def run_json(toy: Toy) -> str:
    return toy.run("-m", "harness", "autodiff", "1", "--json").stdout


@pytest.mark.parametrize(
    ("message", "sentence"),
    [
        (
            "reads past the end: index 1 of 1. Is a mask missing?",
            "reads past the end: index 1 of 1.",
        ),
        ("off by 0.5 in `a.b`, e.g. at 3", "off by 0.5 in `a.b`, e.g. at 3"),
        ("3 of 5 are wrong\n  worst: [2] got 1", "3 of 5 are wrong"),
        ("is it `f(x).`? Look again.", "is it `f(x).`?"),
        ("it led to [[-1.5e+11 -1.6e+08]\n [2.0 3.0]]", "it led to […"),
        ("the shape is [2, 3], not [3]", "the shape is [2, 3], not [3]"),
        ("\n\nfirst\nsecond", "first"),
        ("", ""),
    ],
)
def test_a_problem_is_one_sentence(message: str, sentence: str) -> None:
    assert first_sentence(message) == sentence


def told(message: str, says: str = "") -> list[str]:
    failure = Failure("wrong", message, str(ROOT / DAY), 7, says=says)
    test = TestResult("test_values", "double", "failed", failure=failure)
    exercises = [ExerciseResult("double", "wrong", [test])]
    return problem_lines(DayResult("autodiff", 1, "", "learner", 0, exercises))


def test_a_problem_names_its_exercise_its_value_and_its_cause() -> None:
    place = f"{DAY}:7: double:"
    assert told("result is wrong.\n  value: [0] got 1, expected 2\n  and more") == [
        f"{place} result is wrong. value: [0] got 1, expected 2"
    ]
    assert told("the slope is 2, not 3", "It goes up. And more.") == [
        f"{place} the slope is 2, not 3. It goes up."
    ]
    assert told("it is doubled twice") == [f"{place} it is doubled twice"]
    assert told("`double` is not written yet.") == [f"{DAY}:7: `double` is not written yet."]


def test_a_long_sentence_stays_on_one_line(toy: Toy) -> None:
    """The report below it is wrapped to the window; an editor reads lines."""
    words = "word " * 60 + "end."
    answer(toy, f"raise ValueError({words!r})")
    task = TASKS["Grade this day"]
    done = toy.run(*filled(task["args"], toy.folder), PROBLEMS="1", COLUMNS="40")
    assert {m for *_, m in matched(task, done.stdout)} == {f"double: ValueError: {words}"}


@pytest.mark.parametrize(
    ("broken", "words"), [("return (", "never closed"), ("import nothing_like_it", "nothing_like")]
)
def test_a_file_that_cannot_be_imported_is_underlined(toy: Toy, broken: str, words: str) -> None:
    file = answer(toy, f"pass\n\n\n{broken}")
    done = run(toy, "Grade this day")
    ((name, number, message),) = matched(TASKS["Grade this day"], done.stdout)
    assert (name, number) == (DAY, line_of(file, broken))
    assert words in message


def test_a_day_that_passes_has_no_problem(toy: Toy) -> None:
    answer(toy, "return x + x")
    for label in ("Grade this day", "Next day", "Grade all my days"):
        done = run(toy, label)
        assert done.returncode == 0, done.stdout
        assert matched(TASKS[label], done.stdout) == set()


def test_the_problems_of_all_days_are_listed(toy: Toy) -> None:
    file = answer(toy, "return x + x + 1.0")
    done = run(toy, "Grade all my days")
    places = {place[:2] for place in matched(TASKS["Grade all my days"], done.stdout)}
    assert places == {(DAY, line_of(file, "def double"))}, done.stdout


def test_an_exercise_that_is_not_started_is_no_problem(toy: Toy) -> None:
    assert matched(TASKS["Grade this day"], run(toy, "Grade this day").stdout) == set()


@pytest.mark.parametrize("rows", [10, 40])
def test_watch_says_when_a_verdict_begins_and_ends(toy: Toy, rows: int) -> None:
    """VS Code clears the problems at one line and shows the new ones at the other. It reads whole
    lines, however low and narrow the panel is."""
    task = TASKS["Watch this day"]
    assert task["isBackground"], "else the two patterns mean nothing"
    begins, ends = (
        task["problemMatcher"][0]["background"][key] for key in ("beginsPattern", "endsPattern")
    )
    command = [sys.executable, *filled(task["args"], toy.folder)]
    settings = task["options"]["env"]
    environment = {**os.environ, "PYTHONPATH": str(toy.folder), **settings}
    terminal = Terminal(command, toy.folder, environment)
    terminal.resize(60, rows)
    try:
        terminal.wait_for("not started")
        terminal.wait_for("h hint ")
        file = answer(toy, "y = x.reshape(7)\n    return y + x")
        shown = terminal.wait_for("after the save") + terminal.wait_for("h hint ")
    finally:
        terminal.press("q")
        terminal.close()
    lines = shown.replace("\r", "").split("\n")
    assert sum(bool(re.search(begins, line)) for line in lines) >= 1
    assert re.search(ends, lines[-1]), lines[-3:]
    place = (DAY, line_of(file, "y = x.reshape(7)"))
    found = matched(task, shown)
    assert {p[:2] for p in found} == {place}, shown
    assert all(message.startswith("double: ValueError: cannot reshape") for *_, message in found)


def test_conflicts_of_an_update_are_problems(tmp_path: Path) -> None:
    from tests.support.upstream import Clone, Upstream

    upstream = Upstream(tmp_path / "upstream")
    upstream.add_day(1)
    upstream.publish()
    clone = Clone(upstream.folder, tmp_path / "clone")
    clone.answer("return x + x")
    upstream.rename_exercise()
    upstream.publish()
    task = TASKS["Update"]
    done = clone.run(*task["args"])
    places = {place[:2] for place in matched(task, done.stdout)}
    assert places == {(DAY, line_of(clone.file(), "<<<<<<< yours"))}, done.stdout


def test_the_test_explorer_has_tests_and_visible_examples_and_grades_the_learners_file(
    toy: Toy,
) -> None:
    settings = jsonc(".vscode/settings.json")
    assert settings["python.testing.pytestEnabled"]
    arguments = settings["python.testing.pytestArgs"]
    assert "3 failed" in toy.run("-m", "pytest", "-q", *arguments).stdout
    answer(toy, "return x + x")
    assert "3 passed" in toy.run("-m", "pytest", "-q", *arguments).stdout
    listed = toy.run("-m", "pytest", "--collect-only", "-q", *arguments).stdout.splitlines()
    assert f"{DAY}::test_double" in listed
    assert "tracks/autodiff/tests/test_day01.py::test_values" in listed
    assert not any("solutions" in line for line in listed)


LAUNCHES = {one["name"]: one for one in jsonc(".vscode/launch.json")["configurations"]}


@pytest.mark.parametrize("name", LAUNCHES)
def test_the_debugger_reaches_the_learners_line_in_its_own_process(toy: Toy, name: str) -> None:
    """The debugger sees what runs in the process that it starts, and nothing in a child."""
    launch = LAUNCHES[name]
    file = answer(toy, "import os\n    print('HERE', os.getpid(), flush=True)\n    return x + x")
    arguments = filled(launch["args"], toy.folder, DAY, line_of(file, "HERE"))
    program = (
        ["-m", launch["module"]] if "module" in launch else filled([launch["program"]], toy.folder)
    )
    assert launch["type"] == "debugpy" and launch["console"] == "integratedTerminal"
    script = (
        "import os, sys, runpy; print('ME', os.getpid(), flush=True); sys.argv = sys.argv[1:]\n"
        "module = sys.argv[0] == '-m'\n"
        "sys.argv = sys.argv[1:] if module else sys.argv\n"
        "run = runpy.run_module if module else runpy.run_path\n"
        "run(sys.argv[0], run_name='__main__')"
    )
    extra = ["-s"] if "module" in launch else []
    done = toy.run("-c", script, *program, *arguments, *extra, **launch["env"])
    assert done.returncode == 0, done.stdout + done.stderr
    pid = re.search(r"ME (\d+)", done.stdout)
    assert pid and f"HERE {pid[1]}" in done.stdout


def test_a_lesson_opens_as_a_page() -> None:
    """As text its formulas are TeX, and its figures names of files. ci/editor.sh sees it open."""
    ((pattern, editor),) = jsonc(".vscode/settings.json")["workbench.editorAssociations"].items()
    assert editor == "vscode.markdown.preview.editor"
    paged = {file for file in ROOT.glob("tracks/**/*.md") if file.match(pattern)}
    assert paged == set(ROOT.glob("tracks/*/lessons/day*.md")) and len(paged) > 100
    assert not any((ROOT / name).match(pattern) for name in ("README.md", "docs/teaching.md"))


def test_a_wrong_value_has_a_line_in_every_day() -> None:
    """It is underlined at a `def` or `class` of the exercise: line 1 is where there is none."""
    from harness.curriculum import find_tracks, read_source
    from harness.run.places import answering, definition_line

    for day in (day for track in find_tracks() for day in track.days):
        text = read_source(day.solution)  # what is not between markers stands in dayNN.py, too
        lines = text.splitlines()
        for exercise in day.exercises:
            name = answering(day).get(exercise.name, exercise.name)
            line = lines[definition_line(text, name) - 1]
            last = name.split(".")[-1]
            assert re.match(rf"\s*(async def|def|class) {last}\b", line), (day, line)


def test_completion_by_an_assistant_is_off_where_days_are_written() -> None:
    settings = jsonc(".vscode/settings.json")
    assert settings["[python]"]["editor.inlineSuggest.enabled"] is False
    assert settings["github.copilot.enable"]["python"] is False
    first = (ROOT / ".vscode/settings.json").read_text().splitlines()[1]
    assert "THE SWITCH" in first, "it is what one sees on opening the file"
    rules = (ROOT / "AGENTS.md").read_text()
    for needed in ("Do not write, complete or fix an answer", "solutions/", "make hint"):
        assert needed in rules


def test_the_container_brings_the_recommended_extensions() -> None:
    wanted = set(jsonc(".vscode/extensions.json")["recommendations"])
    wanted.discard("ms-vscode-remote.remote-containers")  # it is what opens the container
    for name in (".devcontainer/devcontainer.json", ".devcontainer/codespaces/devcontainer.json"):
        if (ROOT / name).exists():
            assert wanted <= set(jsonc(name)["customizations"]["vscode"]["extensions"]), name
