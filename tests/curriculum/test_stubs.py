from __future__ import annotations

import ast
import difflib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.curriculum import (
    CurriculumError,
    exercises_of,
    find_tracks,
    generate_stub,
    read_source,
    unfinished,
    untouched,
)

B, E = "### BEGIN SOLUTION", "### END SOLUTION"
PATH = "tracks/pebble/solutions/day03.py"
REAL = [day for track in find_tracks() for day in track.days][:6]


def check_kept(source: str, stub: str) -> None:
    """The stub is the source with one line in the place of each answer, and no other change."""
    answers = sorted(
        (a for exercise in exercises_of(source, PATH) for a in exercise.answers),
        key=lambda a: a.start,
    )
    lines, stub_lines = source.splitlines(keepends=True), stub.splitlines(keepends=True)
    at = 0
    for answer in answers:
        given = lines[at : answer.start - 1]
        assert stub_lines[: len(given)] == given
        put = stub_lines[len(given)]
        marker = lines[answer.start - 1]
        assert put.strip() == answer.stub
        assert put[: len(put) - len(put.lstrip())] == marker[: marker.index("#")]
        stub_lines = stub_lines[len(given) + 1 :]
        at = answer.end
    assert stub_lines == lines[at:]


def test_answers_become_statements(solution: str) -> None:
    stub = generate_stub(solution, PATH)
    added = [
        line[2:]
        for line in difflib.ndiff(solution.splitlines(), stub.splitlines())
        if line.startswith("+ ")
    ]
    assert added == [
        "    pass",
        "    pass",
        "    pass",
        '        raise NotImplementedError("Value.__init__")',
        '            raise NotImplementedError("Value.__add__")',
        '            raise NotImplementedError("Value.__add__")',
        '    raise NotImplementedError("clip")',
    ]
    check_kept(solution, stub)


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("indentation", ["    ", "\t", "  "])
def test_line_endings_and_tabs_are_kept(solution: str, newline: str, indentation: str) -> None:
    source = solution.replace("    ", indentation).replace("\n", newline)
    stub = generate_stub(source, PATH)
    check_kept(source, stub)
    if newline == "\r\n":
        assert stub.count("\n") == stub.count("\r\n")


def test_a_last_line_without_an_ending() -> None:
    source = f"def f():\n  'D'\n  {B}\n  return 1\n  {E}"
    assert generate_stub(source, PATH) == "def f():\n  'D'\n  raise NotImplementedError(\"f\")"


def test_white_space_at_odd_places_is_kept() -> None:
    before, after = "\ufeffx = 1 \t\n\x0c\n\n\ndef f():\n  'D'\n\n", "\n  return 2 \n\n\n"
    source = f"{before}  {B}  \n  return 1\n  {E}\n{after}"
    stub = f'{before}  raise NotImplementedError("f")\n{after}'
    assert generate_stub(source, PATH) == stub


def test_a_stub_imports_and_its_functions_say_who_they_are(solution: str) -> None:
    stub = generate_stub(solution, PATH)
    module: dict = {"__name__": "day03"}
    exec(compile(stub, PATH, "exec"), module)
    for call, name in (
        (lambda: module["clip"](5), "clip"),
        (lambda: module["Value"](5), "Value.__init__"),
        (lambda: module["test_clip"](), "clip"),
    ):
        with pytest.raises(NotImplementedError) as caught:
            call()
        assert caught.value.args == (name,)
    assert module["twice_rows_kernel"]([1]) is None


def test_signatures_and_docstrings_are_the_same(solution: str) -> None:
    def heads(text: str) -> list[tuple[str, str, str | None]]:
        return [
            (node.name, ast.dump(getattr(node, "args", ast.Pass())), ast.get_docstring(node))
            for node in ast.walk(ast.parse(text))
            if isinstance(node, ast.FunctionDef | ast.ClassDef)
        ]

    assert heads(generate_stub(solution, PATH)) == heads(solution)


def test_given_code_that_needs_the_answer_is_an_error_where_it_stands() -> None:
    source = (
        f"def f():\n  'D'\n  {B}\n  x = 1\n  y = 2\n  {E}\n"
        "  def g():\n    nonlocal x\n    x = 2\n  return g\n"
    )
    with pytest.raises(CurriculumError) as caught:
        generate_stub(source, PATH)
    assert "without the answers this is not valid Python" in caught.value.message
    assert caught.value.line == 8


def test_an_answer_may_hold_the_only_yield() -> None:
    source = f"def f():\n  'D'\n  {B}\n  yield 1\n  {E}\n"
    module: dict = {}
    exec(generate_stub(source, PATH), module)
    with pytest.raises(NotImplementedError):
        module["f"]()


@pytest.mark.parametrize("day", REAL, ids=lambda day: day.key)
def test_this_repositorys_days(day) -> None:
    source = read_source(day.solution)
    stub = generate_stub(source, day.solution)
    check_kept(source, stub)
    names = {exercise.name for exercise in day.exercises}
    assert untouched(stub, source, day.solution) == names
    assert untouched(source, source, day.solution) == frozenset()
    assert unfinished(source) == set()
    raised = {a.owner for e in day.exercises for a in e.answers if a.stub != "pass"}
    assert unfinished(stub) == raised


# ---------------------------------------------------------------------------------------------
# Any module made of given lines and answers


STATEMENTS = [
    "x = 1",
    "y = '# no'",
    "z = '''\n  {E}\n'''".replace("{E}", E),
    "# a comment",
    "",
    "if x:\n{i}  x = 2",
]


@st.composite
def modules(draw: st.DrawFn) -> str:
    text = ["import os"]
    for number in range(draw(st.integers(1, 4))):
        kernel = draw(st.booleans())
        method = not kernel and draw(st.booleans())
        indentation = "    " if method else "  "
        if method:
            text += [f"class E{number}:", "  'D'", "  def run(self):"]
        elif kernel:
            text += [f"def e{number}():", "  'D'", "@triton.jit", f"def e{number}_kernel():"]
        else:
            text += [f"def e{number}():", "  'D'"]
        text.append(indentation + "first = 0")
        for _ in range(draw(st.integers(1, 3))):
            given = draw(st.lists(st.sampled_from(STATEMENTS), max_size=3))
            answer = draw(st.lists(st.sampled_from(STATEMENTS), max_size=3))
            text += [indentation + line.replace("{i}", indentation) for line in given]
            text.append(indentation + B)
            text += [indentation + line.replace("{i}", indentation) for line in answer]
            text += [indentation + "last = 1", indentation + E]
    return "\n".join(text) + draw(st.sampled_from(["\n", "\n\n", ""]))


@settings(max_examples=60, deadline=None)
@given(modules(), st.sampled_from(["\n", "\r\n"]))
def test_round_trip(source: str, newline: str) -> None:
    source = source.replace("\n", newline)
    stub = generate_stub(source, PATH)
    check_kept(source, stub)
    ast.parse(stub)
    names = {exercise.name for exercise in exercises_of(source, PATH)}
    assert untouched(stub, source, PATH) == names
    assert untouched(source, source, PATH) == frozenset()
    assert unfinished(source) == set()


# ---------------------------------------------------------------------------------------------
# What the learner has and has not done


def started(stub: str, solution: str, old: str, new: str) -> set[str]:
    assert old in stub
    names = {exercise.name for exercise in exercises_of(solution, PATH)}
    return names - untouched(stub.replace(old, new), solution, PATH)


def test_what_counts_as_started(solution: str) -> None:
    stub = generate_stub(solution, PATH)
    clip = '    raise NotImplementedError("clip")'
    assert started(stub, solution, clip, "    return min(x, LIMIT)") == {"clip"}
    assert started(stub, solution, clip, "    y = x\n" + clip) == {"clip"}
    assert started(stub, solution, "    pass\n    return y", "    y = 2\n    return y") == {"twice"}
    init = 'raise NotImplementedError("Value.__init__")'
    assert started(stub, solution, init, "self.data = data") == {"Value"}
    assert started(stub, solution, "def clip(x):", "def klip(x):") == {"clip"}
    assert started(stub, solution, "class Value:", "class Value(dict):") == {"Value"}


def test_what_does_not(solution: str) -> None:
    stub = generate_stub(solution, PATH)
    for old, new in (
        ("def clip(x):", "def clip(x):  # mine"),
        ("def clip(x):", "def clip(\n    x,\n):"),
        ('    """Clip to LIMIT."""', '    """My own words."""'),
        ('    """Clip to LIMIT."""\n', ""),
        ("LIMIT = 3", "LIMIT = 4"),
        ("\n", "\r\n"),
        ('raise NotImplementedError("clip")', "raise NotImplementedError('clip')"),
        ("def test_clip():\n", "def test_clip():\n    print(1)\n"),
        ("import types\n", "import types\nimport os\n\ndef mine():\n    pass\n"),
    ):
        assert started(stub, solution, old, new) == set(), (old, new)


def test_the_last_of_two_definitions_counts(solution: str) -> None:
    stub = generate_stub(solution, PATH)
    written = stub + "\n\ndef clip(x):\n    return 3\n"
    assert "clip" not in untouched(written, solution, PATH)


def test_a_broken_learners_file_is_a_syntax_error(solution: str) -> None:
    with pytest.raises(SyntaxError) as caught:
        untouched("x = 1\ndef f(:\n", solution, PATH)
    assert caught.value.lineno == 2
    with pytest.raises(SyntaxError):
        unfinished("def f(:\n")


def test_unfinished_functions(solution: str) -> None:
    stub = generate_stub(solution, PATH)
    assert unfinished(stub) == {"Value.__init__", "Value.__add__", "clip"}
    assert unfinished(stub.replace("\n", "\r\n")) == {"Value.__init__", "Value.__add__", "clip"}


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ('raise NotImplementedError("f")', {"f"}),
        ("raise NotImplementedError('f') from None", {"f"}),
        ('if x:\n        raise NotImplementedError("f")\n    return 1', {"f"}),
        ('try:\n        raise NotImplementedError("f")\n    finally:\n        pass', {"f"}),
        ('match x:\n        case 1:\n            raise NotImplementedError("f")', {"f"}),
        ('for _ in x:\n        raise NotImplementedError("f")', {"f"}),
        ('def g():\n        raise NotImplementedError("f")\n    return g', {"f"}),
        ('return 1\n    raise NotImplementedError("f")', set()),
        ('raise NotImplementedError("float64 is not supported")', set()),
        ('raise NotImplementedError("g")', set()),
        ("raise NotImplementedError", set()),
        ("raise NotImplementedError()", set()),
        ("raise NotImplementedError(x)", set()),
        ('raise ValueError("f")', set()),
        ("raise", set()),
        ("return NotImplementedError('f')", set()),
    ],
)
def test_what_counts_as_unfinished(body: str, found: set[str]) -> None:
    assert unfinished(f"def f(x):\n    {body}\n") == found


def test_what_is_raised_outside_functions_is_no_stub() -> None:
    text = "if x:\n    raise NotImplementedError\nclass A:\n    raise NotImplementedError('A')\n"
    assert unfinished(text) == set()
