"""Finding a mistake by print and by debugger: in graded runs, and with DEBUG=1."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.terminal import Terminal
from tests.support.toy import Toy

ROOT = Path(__file__).resolve().parents[2]
STUB = 'raise NotImplementedError("double")'
SAID = "a debugger cannot stop here"


@pytest.fixture
def toy(tmp_path: Path) -> Toy:
    toy = Toy(tmp_path / "project")
    toy.add_day(1)
    assert toy.run("-m", "harness", "stubs").returncode == 0
    return toy


def grade(toy: Toy, answer: str, *arguments: str, **settings: str) -> str:
    file = toy.track / "day01.py"
    file.write_text(file.read_text().replace(STUB, answer))
    done = toy.run("-m", "harness", "autodiff", "1", *arguments, **settings)
    said = done.stdout + done.stderr
    assert done.returncode == 1 and "Traceback (most" not in said, said
    return said


def test_what_the_first_failing_test_prints_is_shown(toy: Toy) -> None:
    said = grade(toy, "print('x is', x.shape, '\\x1b[2J'); return x")
    assert said.count("printed in this test:") == 1
    assert "        | x is (" in said
    assert "\x1b" not in said


def test_a_long_print_is_cut_and_its_length_said(toy: Toy) -> None:
    said = grade(toy, "print('word ' * 2000); return x")
    assert "printed in this test (the first of 10,001 characters; V=1 shows more):" in said
    assert max(map(len, said.splitlines())) <= 80
    assert said.count("word") < 100


def test_a_right_answer_may_print_what_it_likes(toy: Toy) -> None:
    file = toy.track / "day01.py"
    file.write_text(file.read_text().replace(STUB, "print('noise'); return x + x"))
    done = toy.run("-m", "harness", "autodiff", "1")
    assert done.returncode == 0 and "noise" not in done.stdout


@pytest.mark.parametrize(
    "answer",
    [
        "breakpoint(); return x + x",
        "import pdb; pdb.set_trace(); return x + x",
        "\n    try:\n        breakpoint()\n    except Exception: pass\n    return x + x",
    ],
)
def test_a_graded_run_says_where_a_debugger_works(toy: Toy, answer: str) -> None:
    said = " ".join(grade(toy, answer).split())
    assert SAID in said and "make autodiff DAY=1 DEBUG=1" in said
    assert "at tracks/autodiff/day01.py:2" in said
    assert "Bdb" not in said


def test_so_does_a_file_that_stops_at_its_import(toy: Toy) -> None:
    file = toy.track / "day01.py"
    file.write_text(file.read_text() + "\nbreakpoint()\n")
    said = toy.run("-m", "harness", "autodiff", "1").stdout
    assert SAID in " ".join(said.split())


def test_a_debugging_run_stops_where_it_is_told(toy: Toy) -> None:
    """Longer than the tests' limit, through a Ctrl-C, on the first test that fails."""
    limit = '@exercise("double", seconds=1)'
    tests = (toy.track / "tests/test_day01.py").read_text()
    passing = f"{limit}\ndef test_first_of_all():\n    pass\n\n\n"
    at = tests.index("@exercise")
    toy.write(
        "tests/test_day01.py",
        tests[:at] + passing + tests[at:].replace('@exercise("double")', limit),
    )
    file = toy.track / "day01.py"
    slow = "import time\n    breakpoint()\n    time.sleep(2)\n    return x"
    file.write_text(file.read_text().replace(STUB, slow))
    environment = {k: v for k, v in os.environ.items() if k not in ("EX", "COLUMNS")}
    terminal = Terminal(
        [sys.executable, "-m", "harness", "autodiff", "1"],
        toy.folder,
        {**environment, "PYTHONPATH": str(toy.folder), "DEBUG": "1"},
    )
    try:
        assert "test_values of double (fails)" in terminal.wait_for("(Pdb)")
        terminal.press("p x.dtype\n")
        terminal.wait_for("float64")
        terminal.wait_for("(Pdb)")
        terminal.press("\x03")
        terminal.press("\n")
        terminal.wait_for("(Pdb)")
        terminal.press("c\n")
        said = terminal.wait_for("Next:")
        assert "1 of 1 test fails" in said and "stopped after" not in said
        assert terminal.process.wait(20) == 1
    finally:
        terminal.close(0.0)


def test_who_leaves_the_debugger_is_told_so(toy: Toy) -> None:
    file = toy.track / "day01.py"
    file.write_text(file.read_text().replace(STUB, "breakpoint()\n    return x"))
    done = subprocess.run(
        [sys.executable, "-m", "harness", "autodiff", "1", "--debug"], cwd=toy.folder, text=True,
        env={**os.environ, "PYTHONPATH": str(toy.folder)}, input="q\n", capture_output=True,
        timeout=120,
    )  # fmt: skip
    assert done.returncode == 1
    assert "1 of 1 test not run" in done.stdout, done.stdout
    assert "you left the debugger before this test was over" in done.stdout


def test_a_debugging_run_of_a_right_answer_takes_the_first_test(toy: Toy) -> None:
    file = toy.track / "day01.py"
    file.write_text(file.read_text().replace(STUB, "breakpoint()\n    return x + x"))
    done = subprocess.run(
        [sys.executable, "-m", "harness", "autodiff", "1", "--debug"], cwd=toy.folder, text=True,
        env={**os.environ, "PYTHONPATH": str(toy.folder)}, input="c\n" * 99, capture_output=True,
        timeout=120,
    )  # fmt: skip
    assert "(passes, as all do)" in done.stdout and "(Pdb)" in done.stdout
    assert "stands in" not in done.stdout
    assert "deselected" not in done.stdout and " passed in" not in done.stdout, "pytest's words"
    assert done.returncode == 0, done.stdout + done.stderr


SECOND = """

def treble(x: np.ndarray) -> np.ndarray:
    \"\"\"Three times ``x``.\"\"\"
    ### BEGIN SOLUTION
    # HINT: three of them.
    return 3.0 * x
    ### END SOLUTION
"""


@pytest.mark.parametrize(
    ("double", "treble", "runs", "said"),
    [
        # (the test that fails first is another exercise's than the one that is looked into)
        ("return x", "breakpoint(); return x", "test_three_times of treble (fails)", ""),
        ("return x", "return x", "test_values of double (fails)", "No breakpoint() stands in day"),
        (
            "return x",
            "breakpoint(); return 3.0 * x",
            "test_values of double (fails)",
            "breakpoint() stands in treble: with EX=treble a test of that runs.",
        ),
    ],
)
def test_a_debugging_run_looks_where_the_breakpoint_stands(
    toy: Toy, double: str, treble: str, runs: str, said: str
) -> None:
    solution = toy.track / "solutions/day01.py"
    head, tail = solution.read_text().split("\n\ndef test_double", 1)
    solution.write_text(f"{head}{SECOND}\n\ndef test_double{tail}")
    tests = toy.track / "tests/test_day01.py"
    three = "def test_three_times(rng):\n    x = rng.normal(5)\n    close(day01.treble(x), 3 * x)"
    tests.write_text(f'{tests.read_text()}\n\n@exercise("treble")\n{three}\n')
    file = toy.track / "day01.py"
    file.unlink()
    assert toy.run("-m", "harness", "stubs").returncode == 0
    text = file.read_text().replace(STUB, double)
    file.write_text(text.replace('raise NotImplementedError("treble")', treble))
    done = subprocess.run(
        [sys.executable, "-m", "harness", "autodiff", "1", "--debug"], cwd=toy.folder, text=True,
        env={**os.environ, "PYTHONPATH": str(toy.folder)}, input="c\n" * 99, capture_output=True,
        timeout=120,
    )  # fmt: skip
    assert runs in done.stdout, done.stdout + done.stderr
    assert ("(Pdb)" in done.stdout) == (said == "")
    assert said in done.stdout if said else "stands in" not in done.stdout


def kernel(folder: Path, first_line: str) -> list[str]:
    """Triton's day 1 with a line at the top of its first kernel and a wrong mask; the command."""
    source = (ROOT / "tracks/triton/solutions/day01.py").read_text(encoding="utf-8")
    head, rest = source.split("def fill_kernel", 1)
    before, after = rest.split("### BEGIN SOLUTION\n", 1)
    after = after.replace("mask=offsets < n)", "mask=offsets < n - 1)", 1)
    text = f"{head}def fill_kernel{before}### BEGIN SOLUTION\n    {first_line}\n{after}"
    (folder / "day01.py").write_text(text, encoding="utf-8")
    return [sys.executable, "-m", "harness", "triton", "1", "--impl", str(folder), "--ex", "fill"]


def test_a_kernel_prints_into_the_report(tmp_path: Path) -> None:
    line = 'print("n is", n); tl.device_print("value", value)'
    command = [*kernel(tmp_path, line), "--device", "cpu"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert "| n is 1" in done.stdout, done.stdout
    assert "value:" in done.stdout


def test_a_kernel_stops_in_the_debugger_and_nowhere_else(tmp_path: Path) -> None:
    command = kernel(tmp_path, "breakpoint()")
    graded = subprocess.run(
        [*command, "--device", "cpu"], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    said = " ".join(graded.stdout.split())
    assert SAID in said and "make triton DAY=1 DEBUG=1" in said, said
    stopped = subprocess.run(
        [*command, "--debug"], cwd=ROOT, input="p n + 40\nc\n", capture_output=True, text=True,
        timeout=120,
    )  # fmt: skip
    assert "fill_kernel()" in stopped.stdout and "41" in stopped.stdout, stopped.stdout
    assert "was never written" in stopped.stdout
    left = subprocess.run(
        [*command, "--debug"], cwd=ROOT, input="q\n", capture_output=True, text=True, timeout=120
    )
    assert "you left the debugger" in left.stdout and "onecmd" not in left.stdout, left.stdout


def test_ctrl_c_gives_the_verdict_so_far_and_the_line_that_hangs(toy: Toy) -> None:
    file = toy.track / "day01.py"
    file.write_text(file.read_text().replace(STUB, "\n    while True: x = x + 0"))
    line = 1 + file.read_text().splitlines().index("    while True: x = x + 0")
    environment = {k: v for k, v in os.environ.items() if k not in ("EX", "COLUMNS")}
    terminal = Terminal(
        [sys.executable, "-m", "harness", "autodiff", "1"],
        toy.folder,
        {**environment, "PYTHONPATH": str(toy.folder)},
    )
    try:
        terminal.wait_for("test_values of double, for 2 s")
        terminal.press("\x03")
        said = terminal.wait_for("seed ")
        assert "was stopped by Ctrl-C after" in said
        assert f"at tracks/autodiff/day01.py:{line}" in said
        assert "1 of 2 tests fail · 1 not run" in said
        assert terminal.process.wait(20) == 130
        terminal.drain()
        assert "Traceback" not in said + terminal.shown
    finally:
        terminal.close(0.0)
