"""Tells when an answer has replaced what grades it: a function of the tests, the harness or pytest.

What is compared is which object a name means, which code it runs and with which defaults. Of code
that nobody has read it is looked at more: the functions of numpy and torch, what the harness's
constants hold, what is called at a signal. It stops who patches, by accident or to get through; who
writes to the process's memory is not stopped here (docs/threat-model.md).
"""

from __future__ import annotations

import ast
import importlib
import signal
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
    ("numpy.random", "default_rng"),
    ("builtins", "abs all any bool isinstance len max min sum zip"),
)
DEEP = tuple((name, "") for name in (
    "math", "numpy", "numpy.random", "numpy.linalg", "torch", "torch.Tensor"
))  # fmt: skip
"""Modules and a class of others, and which of their names; all functions where none is given."""
USED_BY_TESTS = ("harness.testing", "harness.measure.memory", "harness.measure.device")
TELL_RESULTS = (
    "harness.grading", "harness.protocol", "_pytest.runner", "_pytest.reports", "_pytest.python",
    "pluggy",
)  # fmt: skip
TAKEN = ("SIGALRM", "SIGPROF", "SIGUSR1", "SIGCHLD")
"""Signals whose handlers belong to a test's time limit while it runs; or, the last, to torch's
DataLoader, which hears by it of workers that died."""
Key = tuple[str, str]
Mark = tuple[Any, ...]
_CONSTANTS = (int, float, str, tuple, list, dict, set, frozenset)
_SHORT = 4000


class Seal:
    """Made before an answer is imported; ``broken`` says what is another one since then."""

    def __init__(self, deep: bool = False) -> None:
        self.deep = deep
        for name in (*USED_BY_TESTS, "numpy.random"):
            importlib.import_module(name)  # else the answer's import of it would come first
        # Objects whose ids are noted must not make room for others.
        self._kept: list[Any] | None = []
        self._names = [(name, m) for name, m in list(sys.modules.items()) if _is_ours(name, m)]
        near = (*USED_BY_TESTS, *TELL_RESULTS) if deep else USED_BY_TESTS
        self._near = [(name, m) for name, m in self._names if name.startswith(near)]
        others = (*ALSO, *DEEP) if deep else ALSO
        self._also = [(name, _found(name), some.split()) for name, some in others]
        self.modules = dict(self._names)
        self._marks = dict(self._look(self._names))
        self._marks.update(self._look_also())
        self._handlers = _handlers() if deep else {}
        self._held, self._kept = self._kept, None

    def broken(self) -> list[str]:
        """Names, dotted, of all that is another one now."""
        now = dict(self._look(self._names))
        now.update(self._look_also())
        changed = [".".join(key) for key, mark in self._marks.items() if now.get(key) != mark]
        handlers = _handlers() if self.deep else {}
        changed += [f"signal.{n}" for n, h in self._handlers.items() if handlers.get(n) is not h]
        return changed + self._exchanged(self._names)

    def broken_near(self) -> list[str]:
        """The same for what tests call by themselves; quick enough for every test."""
        now = dict(self._look(self._near))
        near = {name for name, _ in self._near}
        changed = [
            ".".join(key)
            for key, mark in self._marks.items()
            if key[0] in near and now.get(key) != mark
        ]
        return changed + self._exchanged(self._near)

    def _exchanged(self, modules: list[tuple[str, ModuleType]]) -> list[str]:
        return [name for name, module in modules if sys.modules.get(name) is not module]

    def _look(self, modules: list[tuple[str, ModuleType]]) -> Iterator[tuple[Key, Mark]]:
        marks: dict[int, Mark] = {}  # most of them have a name in several modules
        for name, module in modules:
            constants = self.deep and name.startswith("harness.")
            for attribute, value in list(vars(module).items()):
                if isinstance(value, (FunctionType, type)):
                    if id(value) not in marks:
                        marks[id(value)] = self._mark(value)
                    yield (name, attribute), marks[id(value)]
                elif constants and attribute.isupper() and isinstance(value, _CONSTANTS):
                    self._keep(value)
                    yield (name, attribute), (id(value), repr(value)[:_SHORT])

    def _look_also(self) -> Iterator[tuple[Key, Mark]]:
        for name, holder, some in self._also:
            if holder is None:
                continue
            for attribute in some or [n for n, v in list(vars(holder).items()) if callable(v)]:
                yield (name, attribute), self._mark(vars(holder).get(attribute), deep=bool(some))

    def _keep(self, *values: Any) -> None:
        if self._kept is not None:  # while the seal is made
            self._kept += values

    def _mark(self, value: Any, deep: bool = True) -> Mark:
        self._keep(value)
        if isinstance(value, FunctionType):
            return (id(value), *self._runs(value))
        if deep and isinstance(value, type) and value.__module__.startswith(OURS):
            members = [m for m in vars(value).values() if isinstance(m, _MEMBERS)]
            self._keep(*members)
            runs = [self._runs(m) for m in members if isinstance(m, FunctionType)]
            return (id(value), *map(id, members), *runs)
        return (id(value),)

    def _runs(self, function: FunctionType) -> Mark:
        parts = [function.__code__, function.__defaults__]
        parts += list((function.__kwdefaults__ or {}).values())
        self._keep(*parts)
        return tuple(map(id, parts))


_MEMBERS = (FunctionType, staticmethod, classmethod, property)


def _is_ours(name: str, module: Any) -> bool:
    return isinstance(module, ModuleType) and name.startswith(OURS)


def _found(name: str) -> Any:
    """A module that is imported, or a class in one."""
    module, _, attribute = name.rpartition(".")
    found = sys.modules.get(name)
    return found or vars(sys.modules.get(module, sys)).get(attribute)


def _handlers() -> dict[str, Any]:
    """What is called at which signal."""
    return {
        number.name: signal.getsignal(number)
        for number in signal.Signals
        if number.name not in TAKEN
    }


def imported_names(test_file: Path) -> list[tuple[str, str, str]]:
    """(module, its name there, its name here) of what a test file imports from the harness."""
    tree = ast.parse(test_file.read_text(encoding="utf-8"))
    return [
        (node.module or "", alias.name, alias.asname or alias.name)
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("harness.")
        for alias in node.names
    ]


def replaced_in(
    module: ModuleType, names: list[tuple[str, str, str]], known: dict[str, ModuleType]
) -> list[str]:
    """Those that mean something else in the test's module than where they come from: the modules
    ``known`` of before, and others."""
    return [
        f"{module.__name__}.{here}"
        for source, there, here in names
        if getattr(known.get(source, sys.modules.get(source)), there, None)
        is not getattr(module, here, None)
    ]


def say(changed: list[str]) -> str:
    return f"the answer replaced `{changed[0]}`, with which it is graded: leave that as it is."
