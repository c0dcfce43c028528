"""From a reference solution to what the learner starts with, and back: what is not started yet.

An answer and its markers become one statement at the markers' indentation:
``raise NotImplementedError("<owner>")``, or ``pass`` in a Triton kernel and in a class's body.
Where a function holds several answers, each becomes a statement of its own. Everything else is
kept byte for byte.
"""

from __future__ import annotations

import ast
import re
import warnings
from functools import lru_cache
from pathlib import Path

from harness.curriculum.definitions import DEFINITIONS, FUNCTIONS
from harness.curriculum.errors import CurriculumError
from harness.curriculum.markers import exercises_of
from harness.curriculum.source import ending_of, normalised, split_lines, syntax_tree

_OWNER = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")


@lru_cache(maxsize=8)  # a page of the book asks for the same one at each exercise
def generate_stub(source: str, path: str | Path) -> str:
    """The learner's file for a reference solution; see the module's docstring for the rules."""
    lines = split_lines(source)
    answers = sorted(
        (answer for exercise in exercises_of(source, path) for answer in exercise.answers),
        key=lambda answer: answer.start,
    )
    kept: list[str] = []
    origin: list[int] = []  # the source's line behind each line of the stub
    at = 1
    for answer in answers:
        kept += lines[at - 1 : answer.start - 1]
        origin += range(at, answer.start)
        marker, last = lines[answer.start - 1], lines[answer.end - 1]
        indentation = marker[: marker.index("#")]
        kept.append(indentation + answer.stub + ending_of(last))
        origin.append(answer.start)
        at = answer.end + 1
    kept += lines[at - 1 :]
    origin += range(at, len(lines) + 1)
    stub = "".join(kept)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            compile(normalised(stub), str(path), "exec", dont_inherit=True)
    except SyntaxError as error:
        line = origin[min(error.lineno or 1, len(origin)) - 1]
        message = f"without the answers this is not valid Python: {error.msg}"
        raise CurriculumError(path, line, message) from error
    return stub


def untouched(learner_source: str, solution_source: str, path: str | Path) -> frozenset[str]:
    """The exercises that the learner has not started: the exercise's own function or class and
    everything that holds one of its answers are the stub's, comments, docstrings and layout aside.

    Raises SyntaxError for a learner's file that is not valid Python.
    """
    tree = syntax_tree(learner_source)
    exercises = exercises_of(solution_source, path)
    if "NotImplementedError" not in learner_source and all(
        any(answer.stub.startswith("raise") for answer in exercise.answers)
        for exercise in exercises
    ):
        return frozenset()  # nothing is left of a stub, and comparing takes a tenth of a short run
    learner = _shapes(tree)
    stub = _shapes(syntax_tree(generate_stub(solution_source, path)))
    same = set()
    for exercise in exercises:
        parts = {exercise.name, *(answer.owner.split(".")[0] for answer in exercise.answers)}
        if all(learner.get(part) == stub[part] for part in parts):
            same.add(exercise.name)
    return frozenset(same)


def unfinished(learner_source: str) -> set[str]:
    """Names of the functions (``softmax``, ``Value.__add__``) in which the stub's ``raise`` is
    still reached: one that stands behind a ``return`` in the same block is not counted. A kernel's
    stub does not raise, so a kernel is never among them: ``untouched`` knows about those.

    Raises SyntaxError for a file that is not valid Python.
    """
    names: set[str] = set()

    def visit(node: ast.AST, owner: tuple[str, ...], in_function: bool) -> None:
        for _, value in ast.iter_fields(node):
            if not isinstance(value, list):
                continue
            for child in value:
                if isinstance(child, ast.Raise) and in_function and _raised(child) == owner:
                    names.add(".".join(owner))
                if isinstance(child, DEFINITIONS) and not in_function:
                    visit(child, (*owner, child.name), isinstance(child, FUNCTIONS))
                elif isinstance(child, (ast.stmt, ast.ExceptHandler, ast.match_case)):
                    visit(child, owner, in_function)
                if isinstance(child, (ast.Return, ast.Raise, ast.Break, ast.Continue)):
                    break

    visit(syntax_tree(learner_source), (), False)
    return names


def _raised(statement: ast.Raise) -> tuple[str, ...]:
    """``("Value", "__add__")`` for ``raise NotImplementedError("Value.__add__")``, else ``()``."""
    match statement.exc:
        case ast.Call(func=ast.Name("NotImplementedError"), args=[ast.Constant(str(text))]):
            return tuple(text.split(".")) if _OWNER.fullmatch(text) else ()
    return ()


def _shapes(tree: ast.Module) -> dict[str, str]:
    """Each top-level function's and class's syntax tree as text, without docstrings. Of two with
    one name the last counts, as in Python."""
    for node in ast.walk(tree):
        if isinstance(node, DEFINITIONS) and ast.get_docstring(node, clean=False) is not None:
            del node.body[0]
    return {node.name: ast.dump(node) for node in tree.body if isinstance(node, DEFINITIONS)}
