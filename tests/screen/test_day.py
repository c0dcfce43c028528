"""The screen says what passed, what failed and why, at 80 columns and without colour."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from harness.protocol import CHANGED, DayResult, ExerciseResult, Failure, GradedFile, TestResult
from harness.screen import day as day_screen
from harness.screen.day import next_step, show
from harness.screen.junit import junit_xml

LONG = "the sum is wrong because " + "a very long explanation goes on " * 8


def result(**changes: Any) -> DayResult:
    wrong = Failure("wrong", LONG, "tracks/triton/day13.py", 41, says="Which axis is summed?")
    exercises = [
        ExerciseResult("softmax", "passed", [TestResult("t", "softmax", "passed")], {"seconds": 1}),
        ExerciseResult(
            "masked_softmax",
            "wrong",
            [TestResult(f"t{i}", "masked_softmax", "failed", failure=wrong) for i in range(5)],
        ),
        ExerciseResult("softmax_backward", "not started"),
    ]
    base = DayResult("triton", 13, "Fused softmax", "learner", 7, exercises)
    base.files = [GradedFile("tracks.triton.day13", "day13.py", "learner", "0123abcd")]
    base.device = {"kind": "cpu"}
    for name, value in changes.items():
        setattr(base, name, value)
    return base


def screen(shown: DayResult, encoding: str = "utf-8", verbose: bool = False) -> str:
    out = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="replace")
    show(shown, Console(file=out, width=80, highlight=False), verbose)
    out.seek(0)
    return out.read()


def test_the_three_states_and_the_reason() -> None:
    text = screen(result())
    assert "✓ softmax" in text
    assert "✗ masked_softmax    5 of 5 tests fail" in text
    assert "· softmax_backward  not started" in text
    assert "Which axis is summed?" in text
    assert "day13.py:41" in text
    assert "0123abcd" in text
    assert "seed 7" in text


def test_no_line_is_wider_than_80_and_no_escape_is_printed() -> None:
    text = screen(result())
    assert max(map(len, text.splitlines())) <= 80
    assert "\x1b" not in text


def test_only_the_first_failures_are_told_and_the_rest_counted() -> None:
    text = screen(result())
    assert text.count("the sum is wrong") == 1
    assert "and 4 more failing tests (V=1 shows all, with tracebacks)" in text


def failing(message: str) -> DayResult:
    failure = Failure("wrong", message, "tracks/triton/day13.py", 41)
    tests = [TestResult("t", "softmax", "failed", failure=failure)]
    return result(exercises=[ExerciseResult("softmax", "wrong", tests)])


def test_long_arrays_in_a_message_are_shortened_and_shown_where_asked_for() -> None:
    numbers = np.array2string(np.arange(40.0) / 3 - 5)
    text = screen(failing(f"at x = {numbers} the steps are {list(range(12))}"))
    said = " ".join(text.split())
    assert "at x = [-5. -4.66666667 -4.33333333 ... 7.33333333 7.66666667 8.]" in said
    assert "the steps are [0, 1, 2, ..., 9, 10, 11]" in said
    assert "[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]" in screen(
        failing(f"{list(range(12))}"), verbose=True
    )
    for kept in ("[1, 2, 3, 4, 5, 6, 7, 8]", "[a b c d e f g h i j]", "x[0] and y[:, None]"):
        assert kept in screen(failing(f"it is {kept}."))


def test_a_message_of_many_lines_is_cut_and_the_rest_counted() -> None:
    lines = "\n".join(f"line {n}" for n in range(40))
    text = screen(failing(lines))
    assert "line 15\n" in text and "line 16" not in text
    assert "… 24 more lines (V=1 shows all)" in text
    assert "line 39" in screen(failing(lines), verbose=True)
    eighteen = "\n".join(f"line {n}" for n in range(18))
    assert "line 17" in screen(failing(eighteen))


@pytest.mark.parametrize("verbose", [False, True])
def test_tests_that_were_not_run_are_not_listed_one_by_one(verbose: bool) -> None:
    tests = [TestResult(f"t{i}", "softmax", "unfinished") for i in range(5)]
    text = screen(result(exercises=[ExerciseResult("softmax", "wrong", tests)]), verbose=verbose)
    assert "✗ softmax  5 of 5 tests not run\n      The process ended before them.\n\n" in text
    assert "failing" not in text


def test_a_traceback_keeps_its_indent_and_names_files_as_elsewhere() -> None:
    shown, name = failing("wrong"), "test_a_function_with_a_name_that_takes_half_of_the_line"
    file = Path(day_screen.__file__).parents[2] / "tracks" / "day13.py"
    detail = f'  File "{file}", line 338, in {name}\n    y = max(x, 1)\n        ^^^^^^^^^\n'
    (test,) = shown.tests
    assert test.failure
    test.failure = replace(test.failure, detail=detail)
    text = screen(shown, verbose=True)
    assert f'          File "tracks/day13.py", line 338, in\n          {name}\n' in text
    assert "            y = max(x, 1)\n                ^^^^^^^^^\n" in text
    long = f'  File "{file}", line 3, in f\n    y = {"x + " * 20}1\n        {"^" * 80}\n'
    told = "E   Use -v to get more diff\n"
    test.failure = replace(test.failure, detail=long + told)
    text = screen(shown, verbose=True)
    assert "x + x" in text and "^" not in text and "-v" not in text


def test_a_traceback_does_not_say_the_message_again() -> None:
    shown = failing("x has the shape (1,), the result ()")
    (test,) = shown.tests
    assert test.failure
    for ends in ("\nassert () == (1,)\n", ""):
        detail = f'  File "day13.py", line 3, in f\nAssertionError: {test.failure.message}{ends}'
        text = screen(replace_failure(shown, detail), verbose=True)
        assert text.count("x has the shape") == 1 and 'File "day13.py"' in text
        assert ("assert () == (1,)" in text) == bool(ends)


def replace_failure(shown: DayResult, detail: str) -> DayResult:
    (test,) = shown.tests
    assert test.failure
    test.failure = replace(test.failure, detail=detail)
    return shown


def test_all_failures_and_their_tracebacks_where_asked_for() -> None:
    shown = result()
    for number, test in enumerate(shown.tests):
        if test.failure:
            test.failure = replace(test.failure, detail=f"traceback {number}")
    text = screen(shown, verbose=True)
    assert text.count("the sum is wrong") == 5
    assert all(f"traceback {number}" in text for number in range(1, 6))
    assert "more failing" not in text
    assert "traceback" not in screen(shown).replace("tracebacks)", "")


def test_a_terminal_without_unicode() -> None:
    text = screen(result(), "ascii")
    assert "X masked_softmax" in text


def test_a_problem_of_the_whole_day() -> None:
    broken = Failure("broken file", "invalid syntax: `def f(:`", "day13.py", 3)
    text = screen(result(problems=[broken], exercises=[]))
    assert "day13.py:3: invalid syntax" in text
    assert "\n\n\n" not in text
    for more in ({"problems": [broken, broken], "exercises": []}, {"problems": [broken]}):
        text = screen(result(**more))
        assert text.count("`def f(:`\n\n") == len(more["problems"]) and "\n\n\n" not in text


def test_the_last_line_counts_exercises_and_seconds() -> None:
    assert "\n1 of 3 exercises · 2.0 s · seed 7\n" in screen(result(seconds=2.0))
    one = result(exercises=result().exercises[:1], seconds=2.0)
    assert "\n1 of 1 exercise · 2.0 s · seed 7\n" in screen(one)
    assert "\n1 of 3 exercises · seed 7\n" in screen(result(seconds=0.0)), "nothing was timed"


def test_the_interpreter_is_said() -> None:
    assert "on Triton's interpreter: checked, not timed" in screen(result())


def test_a_gpu_with_what_nvml_says() -> None:
    gpu = {"process_bytes": 5 * 10**8, "sm_clock": 1980, "temperature": 40, "power_watts": 310.5,
           "throttle_reasons": ("power limit reached",), "problems": ()}  # fmt: skip
    device = {"kind": "cuda", "name": "NVIDIA H200", "compute_capability": [9, 0]}
    text = screen(result(gpu=gpu, device=device))
    assert "NVIDIA H200 (sm_90)" in text
    assert "1980 MHz" in text
    assert "held back: power limit reached" in text


def test_the_next_step_is_the_wrong_exercise() -> None:
    assert next_step(result()) == ["Next: masked_softmax (make triton DAY=13 EX=masked_softmax)"]


def test_an_earlier_day_that_changed_comes_first() -> None:
    earlier = GradedFile("tracks.triton.day12", "day12.py", "learner", "abcd")
    changed = replace(earlier, note=f"{CHANGED}: make triton DAY=12")
    text = screen(result(files=[*result().files, changed]))
    assert "day12.py  abcd  (yours)\n  has changed since it passed: make triton DAY=12" in text
    assert "Next: make triton DAY=12, on which this day stands" in text


def test_after_one_of_the_exercises_the_next_one_is_next_and_not_the_next_day() -> None:
    one = result(exercises=result().exercises[:1])
    assert one.passed
    left = ["masked_softmax", "softmax_backward"]
    assert next_step(one, left) == ["Next: masked_softmax (make triton DAY=13 EX=masked_softmax)"]
    assert next_step(one, []) == ["Next: make triton DAY=13 (the whole day)"]
    assert next_step(one) == ["Next: make lesson TRACK=triton DAY=14"]


def test_the_next_day_is_the_next_that_exists(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(day_screen, "ROOT", tmp_path)
    solutions = tmp_path / "tracks/triton/solutions"
    solutions.mkdir(parents=True)
    for number in (1, 3, 22, 23):
        (solutions / f"day{number:02d}.py").touch()
    passed = [ExerciseResult("softmax", "passed")]
    for number, following in ((3, ["Next: make lesson TRACK=triton DAY=22"]), (23, [])):
        assert next_step(result(day=number, exercises=passed)) == following


def test_junit_counts_and_escapes() -> None:
    odd = result(problems=[Failure("error", "bell \a & <tag>")])
    text = junit_xml([odd])
    assert 'failures="5"' in text
    assert 'errors="1"' in text
    assert "bell ? &amp; &lt;tag&gt;" in text


def test_a_long_printed_line_is_cut_or_where_asked_for_broken() -> None:
    shown = result()
    line = "x = " + "0123456789" * 30
    (test,) = [t for t in shown.tests if t.name == "t0"]
    test.printed, test.printed_length = line + "\n", len(line) + 1
    assert line[:60] in screen(shown) and "…" in screen(shown)
    told = screen(shown, verbose=True)
    parts = [row.partition("| ")[2] for row in told.splitlines() if row.startswith("        | ")]
    assert "".join(parts) == line
    assert max(map(len, told.splitlines())) <= 80


def test_skipped_tests_say_why_once() -> None:
    shown = result()
    reason = "needs a CUDA GPU"
    for name in ("a", "b"):
        shown.exercises[0].tests.append(TestResult(name, "softmax", "skipped", skipped=reason))
    assert f"2 tests skipped ({reason})" in screen(shown)
