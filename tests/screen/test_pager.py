"""Long texts: a page at a time in a terminal, through a pager that shows colours or gets none."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.screen.pager import wrapped
from tests.support.terminal import Terminal

ROOT = Path(__file__).resolve().parents[2]
LESSON = [sys.executable, "-m", "harness", "lesson", "autodiff", "1"]


def terminal(command: list[str], **settings: str) -> Terminal:
    """With neither LESS nor PAGER set, as a fresh account has it."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("LESS", "PAGER", "COLUMNS"))}
    return Terminal(command, ROOT, {**kept, **settings})


def path_with(folder: Path, *programs: str) -> str:
    """A PATH that holds nothing but these."""
    for name in programs:
        found = shutil.which(name)
        if found is None:
            pytest.skip(f"{name} is not installed")
        (folder / name).symlink_to(found)
    return str(folder)


def test_a_lesson_in_less_has_colours_and_no_escape_in_letters() -> None:
    if shutil.which("less") is None:
        pytest.skip("less is not installed")
    shown = terminal(LESSON)
    try:
        text = shown.wait_for("Derivatives") + shown.wait_for("space: on, b: back, q: end")
        assert "ESC[" not in text
        assert "\x1b[1m" in "".join(shown.written) or "\x1b[1;" in "".join(shown.written)
        assert ";40m" not in "".join(shown.written), "a black ground, on whatever ground there is"
        assert shown.process.poll() is None, "a long lesson waits for its reader"
        shown.press("G")
        shown.wait_for("that is all; b: back, q: end")
        shown.press("q")
        assert shown.process.wait(10) == 0
    finally:
        shown.close(0.0)


def test_ctrl_c_in_the_pager_breaks_nothing() -> None:
    if shutil.which("less") is None:
        pytest.skip("less is not installed")
    shown = terminal(LESSON)
    try:
        shown.wait_for("Derivatives")
        shown.wait_for(":")
        shown.press("\x03")
        for _ in range(50):  # less drops the keys that came before it had seen the Ctrl-C
            time.sleep(0.2)
            if shown.process.poll() is not None:
                break
            shown.press("q")
        assert shown.process.poll() == 0
        assert "Traceback" not in "".join(shown.written)
    finally:
        shown.close(0.0)


def test_more_gets_no_colours(tmp_path: Path) -> None:
    shown = terminal(LESSON, PATH=path_with(tmp_path, "more"))
    try:
        shown.wait_for("More")
        assert "\x1b[1m" not in "".join(shown.written) and "ESC[" not in "".join(shown.written)
        shown.press("q")
    finally:
        shown.close(5.0)


@pytest.mark.parametrize("pager", ["no-such-pager -x", "cat"])
def test_without_any_pager_it_is_printed(tmp_path: Path, pager: str) -> None:
    """Or with cat, which asks for that, although less is there: the editor's tasks do."""
    there = {} if pager == "cat" else {"PATH": str(tmp_path)}
    shown = terminal(LESSON, PAGER=pager, **there)
    try:
        shown.wait_for("Derivatives")
        shown.wait_for("aircraft")  # near the end: who does not read on stops the program
        assert shown.process.wait(10) == 0
    finally:
        shown.close(0.0)


@pytest.mark.parametrize("columns", ["80", "60"])
def test_make_help_fits_and_breaks_no_word(columns: str) -> None:
    environment = {**os.environ, "COLUMNS": columns}
    listed = subprocess.run(
        ["make", "help"], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    ).stdout
    assert max(map(len, listed.splitlines())) <= int(columns)
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    said = [
        line.split("## ")[1] for line in makefile.splitlines() if ": " in line and "## " in line
    ]
    words = {word.rstrip(":") for text in said for word in text.split()}
    assert words <= {word.rstrip(":") for word in listed.split()}


@pytest.mark.parametrize(
    ("command", "first"),
    [
        (["make", "help"], "make help"),
        # the first days are those that are worked on, and a track has more than a window
        ([sys.executable, "-m", "harness", "autodiff"], "1  Derivatives"),
    ],
)
def test_a_list_is_paged_in_a_low_window(command: list[str], first: str) -> None:
    if shutil.which("less") is None:
        pytest.skip("less is not installed")
    shown = terminal(command, LINES="12")
    try:
        shown.wait_for(first)
        shown.wait_for(":")
        assert shown.process.poll() is None
        shown.press("q")
        assert shown.process.wait(10) == 0
    finally:
        shown.close(0.0)


def test_a_sentence_breaks_no_word_and_no_command() -> None:
    said = "autodiff day 1 has not been passed: make hint TRACK=autodiff DAY=1 helps, and so on."
    assert wrapped(said, 60, "  ", "  ") == [
        "  autodiff day 1 has not been passed:",
        "  make hint TRACK=autodiff DAY=1 helps, and so on.",
    ]
    assert max(map(len, wrapped(said, 20))) <= 20  # a command that fits nowhere is broken after all


def test_an_error_is_wrapped_on_a_terminal_and_whole_in_a_pipe() -> None:
    command = [sys.executable, "-m", "harness", "hint"]
    whole = subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stderr
    assert whole.count("\n") == 1 and len(whole) > 80
    shown = terminal(command)
    try:
        said = shown.wait_for("autodiff)")
        assert all(len(line.rstrip()) <= 80 for line in said.splitlines())
        assert said.split() == whole.split()
        assert "make hint TRACK=triton DAY=7" in said
    finally:
        shown.close()
