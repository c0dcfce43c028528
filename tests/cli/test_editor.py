"""VS Code: every task is a command that exists, and its matchers find the report's lines."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

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


def filled(task: dict[str, Any], file: str = "tracks/autodiff/day01.py") -> list[str]:
    """The task's arguments with ``file`` open, as VS Code fills them in."""
    path = Path(file)
    values = {
        "${fileDirnameBasename}": path.parent.name,
        "${fileBasenameNoExtension}": path.stem,
        "${input:exercise}": "double",
    }
    return [values.get(argument, argument) for argument in task["args"]]


def matched(task: dict[str, Any], output: str) -> set[tuple[str, int, str]]:
    """File, line and message of every problem, as VS Code's matchers find them: each pattern on
    the line after the one before it, tried from every line on."""
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", output)
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    found = set()
    for matcher in task["problemMatcher"]:
        for start in range(len(lines)):
            values: dict[str, str] = {}
            for pattern, line in zip(matcher["pattern"], lines[start:], strict=False):
                match = re.search(pattern["regexp"], line)
                if match is None:
                    break
                for key in ("file", "line", "message"):
                    if key in pattern:
                        values[key] = match[pattern[key]]
            else:
                if len(values) == 3:
                    found.add((values["file"], int(values["line"]), values["message"]))
    return found


@pytest.fixture
def toy(tmp_path: Path) -> Toy:
    toy = Toy(tmp_path / "project")
    toy.add_day(1)
    assert toy.run("-m", "harness", "stubs").returncode == 0
    return toy


def answer(toy: Toy, text: str) -> Path:
    file = toy.track / "day01.py"
    file.write_text(file.read_text().replace(STUB, text))
    return file


def run(toy: Toy, label: str) -> subprocess.CompletedProcess[str]:
    task = TASKS[label]
    return toy.run(*filled(task), **task["options"].get("env", {}))


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
        module, name, command = filled(task)[:3]
        assert (module, name) == ("-m", "harness")
        assert f"  {command} " in known, label
        used.add(command)
    assert used == LEARNERS


def test_a_line_that_raises_is_underlined(toy: Toy) -> None:
    file = answer(toy, "y = x.reshape(7)\n    return y + x")
    done = run(toy, "Grade this day")
    line = file.read_text().splitlines().index("    y = x.reshape(7)") + 1
    found = matched(TASKS["Grade this day"], done.stdout)
    places = {(name, number) for name, number, _ in found}
    assert places == {("tracks/autodiff/day01.py", line)}, done.stdout
    assert any("reshape" in message for *_, message in found), found


@pytest.mark.parametrize(
    ("broken", "words"), [("return (", "never closed"), ("import nothing_like_it", "nothing_like")]
)
def test_a_file_that_cannot_be_imported_is_underlined(toy: Toy, broken: str, words: str) -> None:
    file = answer(toy, f"pass\n\n\n{broken}")
    done = run(toy, "Grade this day")
    line = file.read_text().splitlines().index(broken) + 1
    found = matched(TASKS["Grade this day"], done.stdout)
    assert any(
        (name, number) == ("tracks/autodiff/day01.py", line) and words in message
        for name, number, message in found
    ), done.stdout


def test_a_day_that_passes_has_no_problem(toy: Toy) -> None:
    answer(toy, "return x + x")
    done = run(toy, "One exercise of this day")
    assert done.returncode == 0, done.stdout
    assert matched(TASKS["One exercise of this day"], done.stdout) == set()


def test_watch_says_when_a_verdict_begins_and_ends(toy: Toy) -> None:
    """VS Code clears the problems at one line and shows the new ones at the other."""
    task = TASKS["Watch this day"]
    begins, ends = (
        task["problemMatcher"][0]["background"][key] for key in ("beginsPattern", "endsPattern")
    )
    command = [sys.executable, *filled(task)]
    environment = {**os.environ, "PYTHONPATH": str(toy.folder)}
    terminal = Terminal(command, toy.folder, environment)
    try:
        terminal.wait_for("not started")
        terminal.wait_for("b bench   q quit")
        file = answer(toy, "y = x.reshape(7)\n    return y + x")
        shown = terminal.wait_for("after the save") + terminal.wait_for("q quit")
    finally:
        terminal.press("q")
        terminal.close()
    lines = shown.replace("\r", "").split("\n")
    assert any(re.search(begins, line) for line in lines)
    assert any(re.search(ends, line) for line in lines)
    line = file.read_text().splitlines().index("    y = x.reshape(7)") + 1
    assert ("tracks/autodiff/day01.py", line) in {place[:2] for place in matched(task, shown)}, (
        shown
    )


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
    done = clone.run(*filled(task))
    line = clone.file().read_text().splitlines().index("<<<<<<< yours") + 1
    places = {place[:2] for place in matched(task, done.stdout)}
    assert places == {("tracks/autodiff/day01.py", line)}, done.stdout


def test_the_test_explorer_finds_and_grades_the_learners_file(toy: Toy) -> None:
    settings = jsonc(".vscode/settings.json")
    assert settings["python.testing.pytestEnabled"]
    arguments = settings["python.testing.pytestArgs"]
    assert all((ROOT / argument).exists() for argument in arguments)
    assert "2 failed" in toy.run("-m", "pytest", "-q", *arguments).stdout
    answer(toy, "return x + x")
    assert "2 passed" in toy.run("-m", "pytest", "-q", *arguments).stdout


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
