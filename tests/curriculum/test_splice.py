from __future__ import annotations

import ast
from itertools import permutations

import pytest

from harness.curriculum import UnknownExercise, exercises_of, generate_stub, reset_exercise
from harness.curriculum import untouched as untouched_in

PATH = "tracks/pebble/solutions/day03.py"
NAMES = ["twice", "Value", "clip"]


def test_everything_put_back_is_the_stub(solution: str) -> None:
    stub = generate_stub(solution, PATH)
    text = solution
    for name in NAMES:
        text = reset_exercise(text, stub, name)
        assert name in untouched_in(text, solution, PATH)
    assert text == stub


@pytest.mark.parametrize("order", list(permutations(NAMES)), ids="-".join)
def test_any_order_and_nothing_else_changes(solution: str, order: tuple[str, ...]) -> None:
    stub = generate_stub(solution, PATH)
    exercises = exercises_of(solution, PATH)
    text = solution
    for count, name in enumerate(order, 1):
        text = reset_exercise(text, stub, name)
        assert untouched_in(text, solution, PATH) == set(order[:count])
        left = [one for one in exercises if one.name not in order[:count]]
        assert all(answer.text in text for one in left for answer in one.answers)


def test_what_the_learner_added_elsewhere_stays(solution: str) -> None:
    stub = generate_stub(solution, PATH)
    mine = solution.replace("LIMIT = 3  # given", "LIMIT = 3  # given\n\n\n\nMINE = [  1 ]")
    mine = mine.replace("def test_clip", "# about clip\ndef mine(x): return x\n\n\ndef test_clip")
    reset = reset_exercise(mine, stub, "clip")
    before, after = mine.split("def clip")[0], mine[mine.index("# about clip") :]
    assert reset.startswith(before)
    assert reset.endswith(after)
    assert 'raise NotImplementedError("clip")' in reset


def test_the_learners_line_endings_are_used(solution: str) -> None:
    stub = generate_stub(solution, PATH)
    reset = reset_exercise(solution.replace("\n", "\r\n"), stub, "Value")
    assert reset == reset_exercise(solution, stub, "Value").replace("\n", "\r\n")
    assert reset.count("\n") == reset.count("\r\n")


def test_decorators_and_trailing_comments_go_with_their_function(solution: str) -> None:
    stub = generate_stub(solution, PATH)
    mine = solution.replace('key=["n"],', 'key=["n", "m"],').replace(
        "        row *= 2\n", "        row *= 2\n    # a thought\n\n    # another\n"
    )
    assert reset_exercise(mine, stub, "twice") == reset_exercise(solution, stub, "twice")


def test_a_deleted_exercise_comes_back_in_its_place(solution: str) -> None:
    stub = generate_stub(solution, PATH)
    start, end = stub.index("class Value"), stub.index("def clip")
    assert reset_exercise(stub[:start] + stub[end:], stub, "Value") == stub
    names = [n.name for n in ast.parse(stub).body if isinstance(n, ast.FunctionDef | ast.ClassDef)]
    for text in ("", "x = 1", "x = 1\n", "def test_clip():\n    pass\n"):
        reset = reset_exercise(text, stub, "twice")
        tree = ast.parse(reset)
        found = [n.name for n in tree.body if isinstance(n, ast.FunctionDef | ast.ClassDef)]
        assert found == [name for name in names if name in found]
        assert {"twice_kernel", "twice_rows_kernel", "twice"} <= set(found)
        assert text in reset


def test_a_second_definition_goes(solution: str) -> None:
    stub = generate_stub(solution, PATH)
    twice_over = solution.replace("def test_clip", "def clip(x):\n    return 1\n\n\ndef test_clip")
    assert reset_exercise(twice_over, stub, "clip") == reset_exercise(solution, stub, "clip")


def test_a_last_function_without_an_ending() -> None:
    source = "def f():\n  'D'\n  ### BEGIN SOLUTION\n  return 1\n  ### END SOLUTION\n"
    stub = generate_stub(source, PATH)
    assert reset_exercise("def f():\n  return 2", stub, "f") == stub.rstrip("\n")


@pytest.mark.parametrize("broken", ["x = (", "if x", "return return", '    y = "', "x = min(x"])
def test_a_broken_exercise_can_be_put_back(solution: str, broken: str) -> None:
    stub = generate_stub(solution, PATH)
    mine = solution.replace("    if x > LIMIT:\n        x = LIMIT\n", f"    {broken}\n")
    with pytest.raises(SyntaxError):
        ast.parse(mine)
    assert reset_exercise(mine, stub, "clip") == reset_exercise(solution, stub, "clip")


def test_a_broken_kernel_can_be_put_back_with_its_decorators(solution: str) -> None:
    stub = generate_stub(solution, PATH)
    mine = solution.replace("    y = x * 2", "    y = x *").replace('key=["n"]', "key=[1]")
    assert reset_exercise(mine, stub, "twice") == reset_exercise(solution, stub, "twice")


def test_a_file_too_broken_says_so(solution: str) -> None:
    stub = generate_stub(solution, PATH)
    with pytest.raises(SyntaxError):
        reset_exercise("x = (\n", stub, "clip")


def test_an_unknown_exercise(solution: str) -> None:
    stub = generate_stub(solution, PATH)
    for name in ("nothing", "_helper", "test_clip", "twice_kernel"):
        with pytest.raises(UnknownExercise):
            reset_exercise(solution, stub, name)
