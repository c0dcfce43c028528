"""Whatever a learner's file does, the run ends with one clear failure and the rest is graded."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.curriculum import Day
from harness.protocol import DayResult, Request
from harness.run import run
from harness.run.warm import Warm

DAY = Day("autodiff", 1)
VICTIM = "second_derivative"
REFERENCE = DAY.solution.read_text(encoding="utf-8")
SIGNATURE = f"def {VICTIM}(*args, **kwargs):\n"

Grade = Callable[..., DayResult]


@pytest.fixture(scope="module")
def warm() -> Iterator[Warm]:
    with Warm("autodiff") as launcher:
        yield launcher


@pytest.fixture
def grade(tmp_path: Path, warm: Warm) -> Grade:
    """Grade the reference with ``source`` in its place, or with ``body`` for one exercise."""

    def grade(body: str = "", source: str = "", **wanted: object) -> DayResult:
        text = source or f"{REFERENCE}\n\n{SIGNATURE}    {body}\n"
        (tmp_path / DAY.file.name).write_text(text, encoding="utf-8")
        request = Request(DAY.track, DAY.number, str(tmp_path), seed=1, **wanted)  # type: ignore[arg-type]
        return run(request, warm)

    return grade


def victim(result: DayResult) -> list[str]:
    """Why the broken exercise fails; every other exercise must have passed all the same."""
    others = {e.name: e.status for e in result.exercises if e.name != VICTIM}
    assert set(others.values()) == {"passed"}, (others, result.problems, result.output)
    (mine,) = (e for e in result.exercises if e.name == VICTIM)
    assert mine.status == "wrong"
    return [t.failure.message if t.failure else "" for t in mine.failed]


def problem(result: DayResult) -> str:
    assert not result.passed
    assert len(result.problems) == 1, result.problems
    return result.problems[0].message


def test_a_crash_by_a_wild_pointer(grade: Grade) -> None:
    messages = victim(grade("import ctypes; ctypes.string_at(0)"))
    assert any("segmentation fault" in m for m in messages)


def test_a_crash_points_to_the_line(grade: Grade, tmp_path: Path) -> None:
    result = grade("import ctypes; ctypes.string_at(0)")
    failures = [t.failure for t in result.tests if t.failure and t.failure.reason == "died"]
    failure = failures[0]
    line = (tmp_path / DAY.file.name).read_text(encoding="utf-8").splitlines()[failure.line - 1]
    assert "string_at" in line


def test_os_exit_zero_is_no_pass(grade: Grade) -> None:
    assert any("os._exit(0)" in m for m in victim(grade("import os; os._exit(0)")))


def test_sys_exit_in_a_function(grade: Grade) -> None:
    messages = victim(grade("import sys; sys.exit(0)"))
    assert all("sys.exit()" in m or "SystemExit" in m for m in messages), messages


def test_an_endless_loop_is_stopped_and_named(grade: Grade, tmp_path: Path) -> None:
    tests = tmp_path / DAY.tests.name
    rule = f'@exercise("{VICTIM}"'  # with two seconds instead of twenty
    text = DAY.tests.read_text(encoding="utf-8").replace(rule, f"{rule}, seconds=2")
    tests.write_text(text, encoding="utf-8")
    result = grade(
        "\n    while True: pass", exercise=VICTIM, first_failure=True, test_file=str(tests)
    )
    (mine,) = result.exercises
    failures = [t.failure for t in mine.tests if t.failure]
    assert [f.reason for f in failures] == ["timeout"]
    assert "loop that does not end" in failures[0].message


def test_a_loop_that_cannot_be_interrupted_is_killed(grade: Grade) -> None:
    body = "\n    import signal; signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])"
    result = grade(f"{body}\n    while True: pass", exercise=VICTIM, seconds=6.0)
    (mine,) = result.exercises
    assert any(t.failure and t.failure.reason == "timeout" for t in mine.tests)


def test_too_much_memory(grade: Grade) -> None:
    body = "\n    import time; keep = bytearray(800 * 2**20); time.sleep(5); return keep"
    result = grade(body, exercise=VICTIM, memory_bytes=900 * 2**20)
    messages = [t.failure.message for t in result.tests if t.failure]
    assert any("GB of memory" in m for m in messages), messages


def test_100_megabytes_of_print(grade: Grade) -> None:
    result = grade("print('x' * 100_000_000)", exercise=VICTIM, first_failure=True)
    assert [t.failure.reason for t in result.tests if t.failure] == ["error"]


def test_a_flood_of_print_is_stopped(grade: Grade) -> None:
    flood = "\n    for _ in range(4): print('x' * 100_000_000)"
    result = grade(flood, exercise=VICTIM, first_failure=True)
    (failed,) = (t for t in result.tests if t.failure)
    assert failed.failure.reason == "wrong" or "too large" not in failed.failure.message
    assert failed.printed_length > 400_000_000 > 1000 * len(failed.printed)


def test_a_forged_result_on_stdout_counts_for_nothing(grade: Grade) -> None:
    forged = '{"kind": "passed", "test": "x", "exercise": "y", "data": {}}'
    assert victim(grade(f"print('''{forged}'''); return None"))


def test_a_syntax_error_names_file_and_line(grade: Grade) -> None:
    result = grade(source="import numpy as np\n\ndef forward_difference(f, x, h:\n    pass\n")
    assert result.problems[0].line == 3
    assert result.problems[0].file.endswith(DAY.file.name)
    assert "forward_difference(f, x, h" in problem(result)


def test_the_marks_of_a_conflict(grade: Grade) -> None:
    marks = "<<<<<<< yours\nx = 1\n=======\nx = 2\n>>>>>>> the new stub\n"
    result = grade(source=f"import numpy as np\n\n{marks}")
    assert result.problems[0].line == 3
    assert "delete the three lines with marks" in problem(result)


def test_an_import_error(grade: Grade) -> None:
    result = grade(source=REFERENCE + "\nimport no_such_module\n")
    assert "no_such_module" in problem(result)


def test_an_exception_at_import(grade: Grade) -> None:
    result = grade(source=REFERENCE + "\n1 / 0\n")
    assert "ZeroDivisionError" in problem(result)
    assert result.problems[0].line == len(REFERENCE.splitlines()) + 2


def test_sys_exit_at_import(grade: Grade) -> None:
    result = grade(source=REFERENCE + "\nimport sys; sys.exit(0)\n")
    assert "sys.exit(0)" in problem(result)


def test_os_exit_at_import(grade: Grade) -> None:
    result = grade(source=REFERENCE + "\nimport os; os._exit(0)\n")
    assert "while the file was imported" in problem(result)


def test_an_endless_loop_at_import(grade: Grade) -> None:
    result = grade(source=REFERENCE + "\nwhile True: pass\n", seconds=4.0)
    assert "stopped after" in problem(result)


def test_a_missing_exercise(grade: Grade) -> None:
    source = REFERENCE.replace(f"def {VICTIM}(", "def another_name(")
    assert all(VICTIM in m for m in victim(grade(source=source)))


def test_a_library_function_under_another_name(grade: Grade) -> None:
    source = f"{REFERENCE}\nfrom numpy import gradient as {VICTIM}\n"
    assert all("library's function" in m for m in victim(grade(source=source)))


def test_no_process_is_left_behind(grade: Grade, tmp_path: Path) -> None:
    note = tmp_path / "pid"
    body = (
        f"\n    import subprocess, pathlib\n    p = subprocess.Popen(['sleep', '300'])\n"
        f"    pathlib.Path({str(note)!r}).write_text(str(p.pid))\n    return 0.0"
    )
    grade(body, exercise=VICTIM, first_failure=True)
    pid = int(note.read_text())
    for _ in range(100):
        if not _alive(pid):
            return
        time.sleep(0.05)
    raise AssertionError(f"process {pid} is still there")


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


def test_a_cold_process_says_the_same(tmp_path: Path) -> None:
    (tmp_path / DAY.file.name).write_text(
        f"{REFERENCE}\n\n{SIGNATURE}    import os; os._exit(0)\n", encoding="utf-8"
    )
    result = run(Request(DAY.track, DAY.number, str(tmp_path), seed=1))
    assert any("os._exit(0)" in m for m in victim(result))


def test_a_read_only_tree_is_graded(tmp_path: Path, grade: Grade, warm: Warm) -> None:
    if os.geteuid() == 0:
        pytest.skip("root writes everywhere; CI's container runs this as a user")
    assert grade(source=REFERENCE).passed
    tmp_path.chmod(0o500)
    request = Request(DAY.track, DAY.number, str(tmp_path), seed=1)
    assert run(request, warm).passed
