"""The tests of an earlier day once more, on what a later day puts in its place."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Collection
from importlib.util import module_from_spec
from pathlib import Path
from types import ModuleType
from typing import Any

from harness.testing.marks import exercise

_DAY = re.compile(r"tracks\.[\w.]+\.day\d+")


def again(
    tests: Path, day: Any, name: str, *, only: Collection[str] = ()
) -> dict[str, Callable[..., Any]]:
    """The tests of the file ``tests``, which now grade the exercise ``name`` of another day.

        globals().update(again(HERE / "test_day18.py", NewEngine(), "register", only=["sum"]))

    The file is imported a second time, and its global that is the module of its day becomes
    ``day``: anything with the same names. What the file computes from the day at import, a default
    value say, is still the old day's. The tests are called ``test_day18_…``, and keep their
    parameters.

    Args:
        only: tests of these exercises of the old day; all of them if there are none
    """
    module = _imported(tests)
    days = [key for key, value in vars(module).items() if _is_day(value)]
    if not days:
        raise ValueError(f"{tests.name} imports no day that could be replaced")
    for key in days:
        setattr(module, key, day)
    found = {}
    named = [(k, t) for k, t in vars(module).items() if k.startswith("test_")]
    for key, test in named:
        marks = [m for m in getattr(test, "pytestmark", []) if m.name == "exercise"]
        if not marks or (only and marks[0].args[0] not in only):
            continue
        kept = [m for m in test.pytestmark if m.name != "exercise"]
        options = marks[0].kwargs
        test.pytestmark = [*kept, exercise(name, **options).mark]
        found[f"{tests.stem}_{key.removeprefix('test_')}"] = test
    return found


def _is_day(value: Any) -> bool:
    return isinstance(value, ModuleType) and bool(_DAY.fullmatch(value.__name__))


def _imported(file: Path) -> ModuleType:
    """The file as a module of its own, through pytest's import hook, which rewrites assertions."""
    for finder in sys.meta_path:
        find: Any = getattr(finder, "find_spec", None)
        spec = find(file.stem, [str(file.parent)]) if find else None
        if spec is not None and spec.loader is not None:
            module = module_from_spec(spec)
            spec.loader.exec_module(module)
            return module
    raise FileNotFoundError(file)
