"""Tells when an answer has replaced what grades it: a function of the tests, the harness or pytest.

What is compared is which object a name means and which code it runs. It stops who patches, by
accident or to get through; who writes to the process's memory is not stopped here
(docs/threat-model.md).
"""

from __future__ import annotations

import ast
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

OURS = ("harness", "pytest", "_pytest", "pluggy", "numpy.testing", "torch.testing", "unittest.case")
ALSO = (
    ("time", "perf_counter process_time monotonic time thread_time"),
    ("torch", "equal allclose isclose"),
    ("numpy", "allclose array_equal isclose"),
    ("builtins", "abs all any bool isinstance len max min sum zip"),
)
USED_BY_TESTS = ("harness.testing",)
Key = tuple[str, str]
Mark = tuple[int, ...]


class Seal:
    """Made before an answer is imported; ``broken`` says what is another one since then."""

    def __init__(self) -> None:
        for name in USED_BY_TESTS:
            importlib.import_module(name)  # else the answer's import of it would come first
        self._kept: list[Any] = []  # objects whose ids are noted must not make room for others
        self._names = [(name, m) for name, m in list(sys.modules.items()) if _is_ours(name, m)]
        self._near = [(name, m) for name, m in self._names if name.startswith(USED_BY_TESTS)]
        self._marks = dict(self._look(self._names))
        self._marks.update(self._look_also())

    def broken(self) -> list[str]:
        """Names, dotted, of all that is another one now."""
        now = dict(self._look(self._names))
        now.update(self._look_also())
        return [".".join(key) for key, mark in self._marks.items() if now.get(key) != mark]

    def broken_near(self) -> list[str]:
        """The same for what tests call by themselves; quick enough for every test."""
        now = dict(self._look(self._near))
        near = {name for name, _ in self._near}
        return [
            ".".join(key)
            for key, mark in self._marks.items()
            if key[0] in near and now.get(key) != mark
        ]

    def _look(self, modules: list[tuple[str, ModuleType]]) -> Iterator[tuple[Key, Mark]]:
        for name, module in modules:
            for attribute, value in list(vars(module).items()):
                if isinstance(value, (FunctionType, type)):
                    yield (name, attribute), self._mark(value)

    def _look_also(self) -> Iterator[tuple[Key, Mark]]:
        for name, attributes in ALSO:
            module = sys.modules.get(name)
            if module is not None:
                for attribute in attributes.split():
                    yield (name, attribute), self._mark(vars(module).get(attribute))

    def _mark(self, value: Any) -> Mark:
        if isinstance(value, FunctionType):
            self._kept += [value, value.__code__]
            return id(value), id(value.__code__)
        self._kept.append(value)
        if isinstance(value, type) and value.__module__.startswith(OURS):
            functions = [f for f in vars(value).values() if isinstance(f, FunctionType)]
            self._kept += functions
            return id(value), *(id(f.__code__) for f in functions)
        return (id(value),)


def _is_ours(name: str, module: Any) -> bool:
    return isinstance(module, ModuleType) and name.startswith(OURS)


def imported_names(test_file: Path) -> list[tuple[str, str, str]]:
    """(module, its name there, its name here) of what a test file imports from the harness."""
    tree = ast.parse(test_file.read_text(encoding="utf-8"))
    return [
        (node.module or "", alias.name, alias.asname or alias.name)
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("harness.")
        for alias in node.names
    ]


def replaced_in(module: ModuleType, names: list[tuple[str, str, str]]) -> list[str]:
    """Those that mean something else in the test's module than where they come from."""
    return [
        f"{module.__name__}.{here}"
        for source, there, here in names
        if getattr(sys.modules.get(source), there, None) is not getattr(module, here, None)
    ]


def say(changed: list[str]) -> str:
    return f"the answer replaced `{changed[0]}`, with which it is graded: leave that as it is."
