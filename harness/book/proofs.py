"""What a day's tests prove, in words: from their names and docstrings."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import lru_cache

from harness.curriculum import Day, read_source


def proofs_of(day: Day, exercise: str) -> list[str]:
    """A sentence or a name for each test of the exercise, in the file's order.

    A test of several decorated parameters is one proof; ``test_rows_with_no_key`` without a
    docstring reads ``rows with no key``.
    """
    if not day.tests.exists():
        return []
    return [in_words(f) for f in _tests(read_source(day.tests)) if _is(f, exercise)]


@lru_cache(maxsize=2)
def _tests(source: str) -> list[ast.FunctionDef]:
    return [node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)]


def in_words(test: ast.FunctionDef) -> str:
    words = test.name.removeprefix("test_").replace("_", " ")
    doc = ast.get_docstring(test)
    if not doc:
        return words
    first = re.split(r"\n\s*\n", doc)[0]
    return f"{words}: {' '.join(first.split())}"


def _is(test: ast.FunctionDef, exercise: str) -> bool:
    return any(name == exercise for name in _exercises(test))


def _exercises(test: ast.FunctionDef) -> Iterator[str]:
    for decorator in test.decorator_list:
        if (
            isinstance(decorator, ast.Call)
            and isinstance(decorator.func, ast.Name)
            and decorator.func.id == "exercise"
            and decorator.args
            and isinstance(decorator.args[0], ast.Constant)
        ):
            yield str(decorator.args[0].value)
