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
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from operator import is_
from types import FunctionType, ModuleType
from typing import Any

OURS = ("harness", "pytest", "_pytest", "pluggy", "numpy.testing", "torch.testing", "unittest.case")
ALSO = (
    ("time", "perf_counter process_time monotonic time thread_time"),
    ("torch", "equal allclose isclose"),
    ("numpy", "allclose array_equal isclose"),
    ("numpy.random", "default_rng"),
    ("builtins", "abs all any bool isinstance len map max min repr sum zip"),
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
_CONSTANTS = (int, float, str, tuple, list, dict, set, frozenset)
_MEMBERS = (FunctionType, staticmethod, classmethod, property)
_SHORT = 4000


@dataclass(frozen=True)
class _Noted:
    """What the names of a module or a class meant."""

    name: str
    names: Mapping[str, Any]
    """As they are now."""
    marks: dict[str, tuple[list[Any], str]]
    """The object of each and what it runs (``_parts``), and a constant's text."""
    deep: bool = True


class Seal:
    """Made before an answer is imported; ``broken`` says what is another one since then."""

    def __init__(self, deep: bool = False) -> None:
        self.deep = deep
        for name in (*USED_BY_TESTS, "numpy.random"):
            importlib.import_module(name)  # else the answer's import of it would come first
        self.modules = {name: m for name, m in list(sys.modules.items()) if _is_ours(name, m)}
        known: dict[int, list[Any]] = {}  # most of them have a name in several modules
        ours = [
            _Noted(name, vars(module), _marks(name, vars(module), deep, known))
            for name, module in self.modules.items()
        ]
        near = (*USED_BY_TESTS, *TELL_RESULTS) if deep else USED_BY_TESTS
        self._near = [noted for noted in ours if noted.name.startswith(near)]
        self._all = ours + [
            _Noted(name, vars(holder), _marks_of_some(vars(holder), some.split()), bool(some))
            for name, some in ((*ALSO, *DEEP) if deep else ALSO)
            if (holder := _found(name)) is not None
        ]
        self._handlers = _handlers() if deep else {}

    def broken(self) -> list[str]:
        """Names, dotted, of all that is another one now."""
        handlers = _handlers() if self.deep else {}
        told = [f"signal.{n}" for n, h in self._handlers.items() if handlers.get(n) is not h]
        return [*_changed(self._all), *told, *self._exchanged(self.modules)]

    def broken_near(self) -> list[str]:
        """The same for what tests call by themselves; quick enough for every test."""
        return [*_changed(self._near), *self._exchanged(noted.name for noted in self._near)]

    def _exchanged(self, names: Iterable[str]) -> list[str]:
        return [name for name in names if sys.modules.get(name) is not self.modules[name]]


def _marks(
    name: str, names: Mapping[str, Any], deep: bool, known: dict[int, list[Any]]
) -> dict[str, tuple[list[Any], str]]:
    """The functions and classes of a module of ours and, if ``deep``, what its constants hold."""
    found = {}
    constants = deep and name.startswith("harness.")
    for attribute, value in list(names.items()):
        if isinstance(value, (FunctionType, type)):
            if id(value) not in known:
                known[id(value)] = _parts(value)
            found[attribute] = known[id(value)], ""
        elif constants and attribute.isupper() and isinstance(value, _CONSTANTS):
            found[attribute] = [value], repr(value)[:_SHORT]
    return found


def _marks_of_some(names: Mapping[str, Any], some: list[str]) -> dict[str, tuple[list[Any], str]]:
    """The same of some names of a library's or, without any, of all that can be called."""
    wanted = some or [name for name, value in list(names.items()) if callable(value)]
    return {name: (_parts(names.get(name), deep=bool(some)), "") for name in wanted}


def _changed(parts: list[_Noted]) -> Iterator[str]:
    """What is another object now, or runs other code. This is done for every test: in a hurry."""
    runs: dict[int, bool] = {}
    for noted in parts:
        now = noted.names
        for attribute, (before, text) in noted.marks.items():
            value = now.get(attribute)
            if value is not before[0] and _wrapped_by_torch(value, before[0]):
                value = before[0]
            same = value is before[0] and (not text or repr(value)[:_SHORT] == text)
            if same and id(before) not in runs:
                after = _parts(value, noted.deep)
                runs[id(before)] = len(after) == len(before) and all(map(is_, after, before))
            if not same or not runs[id(before)]:
                yield f"{noted.name}.{attribute}"


def _wrapped_by_torch(value: Any, before: Any) -> bool:
    """Whether torch itself replaced ``before``: torch._dynamo does so with torch.manual_seed while
    it is imported, which many a call of torch does when it first needs it."""
    compiler = sys.modules.get("torch._compile")
    if compiler is None or not isinstance(value, FunctionType):
        return False
    if value.__code__ not in compiler._disable_dynamo.__code__.co_consts:
        return False
    held = zip(value.__code__.co_freevars, value.__closure__ or (), strict=True)
    return any(name == "fn" and cell.cell_contents is before for name, cell in held)


def _parts(value: Any, deep: bool = True) -> list[Any]:
    """An object and what it runs: its code and defaults, or those of its methods."""
    if isinstance(value, FunctionType):
        return _runs(value)
    parts = [value]
    if deep and isinstance(value, type) and value.__module__.startswith(OURS):
        for member in list(vars(value).values()):
            if isinstance(member, FunctionType):
                parts += _runs(member)
            elif isinstance(member, _MEMBERS):
                parts.append(member)
    return parts


def _runs(function: FunctionType) -> list[Any]:
    keywords = function.__kwdefaults__
    parts = [function, function.__code__, function.__defaults__]
    return [*parts, *keywords.values()] if keywords else parts


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


@lru_cache(maxsize=8)  # a warm process asks before it forks (harness.run.zygote)
def imported_names(test: str) -> tuple[tuple[str, str, str], ...]:
    """(module, its name there, its name here) of what a test file imports from the harness."""
    return tuple(
        (node.module or "", alias.name, alias.asname or alias.name)
        for node in ast.parse(test).body
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("harness.")
        for alias in node.names
    )


def replaced_in(
    module: ModuleType, names: tuple[tuple[str, str, str], ...], known: dict[str, ModuleType]
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
