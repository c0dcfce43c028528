"""The same rules hold when pytest is started by hand, by an editor, or over several workers."""

from __future__ import annotations

import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from tests.support.toy import Toy

ROOT = Path(__file__).resolve().parents[2]
ANSWER = ('raise NotImplementedError("double")', "return x + x")
TESTS = ("-q", "-p", "no:cacheprovider")


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Toy:
    """Two days; the learner has solved the first."""
    toy = Toy(tmp_path_factory.mktemp("toy"))
    toy.add_day(1)
    toy.add_day(2)
    done = toy.run("-m", "harness", "stubs")
    assert done.returncode == 0, done.stderr
    file = toy.track / "day01.py"
    file.write_text(file.read_text().replace(*ANSWER))
    return toy


def outcome(toy: Toy, *arguments: str, **environment: str) -> str:
    done = toy.run("-m", "pytest", *TESTS, *arguments, **environment)
    return done.stdout.strip().splitlines()[-1]


def test_the_learners_files_are_graded(toy: Toy) -> None:
    assert "2 failed, 2 passed" in outcome(toy, "tracks")


def test_the_reference_is_graded_when_asked_for(toy: Toy) -> None:
    assert "4 passed" in outcome(toy, "tracks", IMPL="solution")


KERNEL = """
import torch, triton
import triton.language as tl
from harness.kernels import interpreter

interpreter.install()


@triton.jit
def copy_kernel(x_ptr, BLOCK: tl.constexpr):
    x = tl.load(x_ptr + tl.arange(0, BLOCK))


def test_copy():
    copy_kernel[(1,)](torch.zeros(3), BLOCK=4)
"""


def test_a_kernels_error_is_shown_at_its_line_without_our_frames(tmp_path: Path) -> None:
    pytest.importorskip("triton")
    (tmp_path / "test_copy.py").write_text(KERNEL)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TRITON_INTERPRET": "1"}
    command = [sys.executable, "-m", "pytest", *TESTS, "test_copy.py"]
    shown = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True
    ).stdout
    assert "reads past the end of `x_ptr`" in shown, shown
    assert "test_copy.py:11: KernelError" in shown, shown
    assert "interpreter/" not in shown and "jit.py" not in shown, shown


def test_over_two_workers(toy: Toy) -> None:
    assert "2 failed, 2 passed" in outcome(toy, "tracks", "-n", "2")
    assert "4 passed" in outcome(toy, "tracks", "-n", "2", IMPL="solution")


def test_the_seed_is_printed_and_repeats_the_inputs(toy: Toy) -> None:
    done = toy.run("-m", "pytest", *TESTS, "-v", "tracks", IMPL="solution")
    assert "SEED=… repeats the inputs" in done.stdout
    say = "raise ValueError(float(x.sum()))"
    file = toy.track / "day02.py"
    before = file.read_text()
    try:
        file.write_text(before.replace(ANSWER[0], say))
        runs = [toy.run("-m", "harness", "autodiff", "2", "--seed", seed) for seed in "112"]
    finally:
        file.write_text(before)
    told = [line for run in runs for line in run.stdout.splitlines() if "ValueError" in line]
    assert told[0] == told[2] != told[4]


def test_the_visible_examples_run_in_the_days_file(toy: Toy) -> None:
    done = toy.run("-m", "pytest", *TESTS, "tracks/autodiff/day01.py")
    assert "1 passed" in done.stdout


def test_a_visible_example_says_what_it_compared(toy: Toy) -> None:
    file = toy.track / "day02.py"
    before = file.read_text()
    try:
        file.write_text(before.replace(ANSWER[0], "return [7.0, x]"))
        done = toy.run("-m", "pytest", *TESTS, "tracks/autodiff/day02.py")
    finally:
        file.write_text(before)
    assert "assert 7.0 == 2.0" in done.stdout, done.stdout


def test_the_day_file_grades_itself(toy: Toy) -> None:
    done = toy.run("tracks/autodiff/day01.py")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 of 1 exercise" in done.stdout
    assert toy.run("tracks/autodiff/day02.py").returncode == 1


def test_the_day_file_of_another_clone_grades_itself_too(toy: Toy) -> None:
    """With an environment whose path leads to this tree, where day 1 is another."""
    command = [sys.executable, str(toy.track / "day01.py")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, cwd=toy.folder.parent, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 of 1 exercise" in done.stdout


def test_an_editor_collects_the_tests_by_name(toy: Toy) -> None:
    done = toy.run("-m", "pytest", *TESTS, "--collect-only", "tracks")
    assert "tracks/autodiff/tests/test_day02.py::test_values" in done.stdout


def test_a_test_without_an_exercise_is_refused(toy: Toy, tmp_path: Path) -> None:
    file = toy.track / "tests" / "test_day01.py"
    before = file.read_text()
    try:
        file.write_text(before + "\n\ndef test_of_nothing():\n    pass\n")
        done = toy.run("-m", "pytest", *TESTS, str(file))
        assert done.returncode != 0
        assert "test_of_nothing names no exercise" in done.stdout + done.stderr
    finally:
        file.write_text(before)


def test_junit_and_json(toy: Toy, tmp_path: Path) -> None:
    report = tmp_path / "report.xml"
    done = toy.run("-m", "harness", "autodiff", "2", "--junit", str(report))
    assert done.returncode == 1
    suite = ET.parse(report).getroot()[0]
    assert suite.attrib["failures"] == "2"
    assert all(case.find("failure") is not None for case in suite)


def test_mine_grades_what_was_started(toy: Toy) -> None:
    done = toy.run("-m", "harness", "mine")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "day  1    1/1  passed" in done.stdout
    assert "day  2" not in done.stdout
