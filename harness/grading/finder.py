"""Decides which file ``tracks.<track>.dayNN`` is: the learner's, the reference, or one in a folder.

A test says ``from tracks.triton import day13``. Which day is being graded is set with ``use``; each
graded day has module objects of its own, so that day 12 can be the learner's when day 12 is graded
and the reference when day 13 builds on it, in one process.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import importlib
import importlib.abc
import importlib.machinery
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, ModuleType

from harness.curriculum import ROOT, Day, find_tracks, read_written, unfinished, untouched
from harness.imports import FreshLoader, fresh_spec
from harness.protocol import LEARNER, SOLUTION, GradedFile

_DAY_MODULE = re.compile(r"tracks\.(\w+(?:\.electives)?)\.day(\d+)")
# What days share. Not the tests below: pytest has to rewrite their assertions.
_TRACK_MODULE = re.compile(r"tracks\.\w+(?:\.electives)?\.\w+")


class MissingDay(ImportError):
    """The chosen source does not hold the day; the message says which file and what to do."""


@dataclass(frozen=True)
class Choice:
    """Whose files are imported while ``graded`` (track, day number) is graded."""

    graded: tuple[str, int] | None = None
    impl: str = LEARNER
    prior: str = "auto"
    root: Path = ROOT


class Rewritten(FreshLoader):
    """With pytest's assertions, which say what was compared."""

    def compiled(self, data: bytes) -> CodeType:
        from _pytest.assertion.rewrite import rewrite_asserts

        tree = ast.parse(data, filename=self.path)
        rewrite_asserts(tree, data, self.path)
        return compile(tree, self.path, "exec", dont_inherit=True)


class DayFinder(importlib.abc.MetaPathFinder):
    def __init__(self) -> None:
        self.choice = Choice()
        self.modules: dict[Choice, dict[str, ModuleType]] = {}
        self.files: dict[Choice, dict[str, GradedFile]] = {}
        self.examples: Path | None = None
        """The day's file whose visible examples pytest is about to collect."""

    def find_spec(
        self, name: str, path: object = None, target: object = None
    ) -> importlib.machinery.ModuleSpec | None:
        match = _DAY_MODULE.fullmatch(name)
        if not match:
            beside = self.choice.root.joinpath(*name.split(".")).with_suffix(".py")
            of_a_track = _TRACK_MODULE.fullmatch(name) and beside.exists()
            return fresh_spec(name, beside) if of_a_track else None
        track, number = match[1].rpartition(".")[2], int(match[2])
        file, whose, note = self._file(track, number)
        if not file.exists():
            if whose == SOLUTION:
                return None  # no such day: Python's own message is right
            raise MissingDay(_missing(file, whose, number), name=name, path=str(file))
        graded = GradedFile(name, str(file), whose, short_hash(file), note)
        self.files.setdefault(self.choice, {})[name] = graded
        return fresh_spec(name, file, Rewritten if file == self.examples else FreshLoader)

    def _file(self, track: str, number: int) -> tuple[Path, str, str]:
        """The file for a day, whose it is, and a note where that is not what was asked for."""
        choice, day = self.choice, Day(track, number, self.choice.root)
        own = source_file(day, choice.impl)
        if choice.impl == SOLUTION:
            return day.solution, SOLUTION, ""
        if choice.graded in (None, (track, number)) or choice.prior == "same":
            return own, choice.impl, ""
        if choice.prior == SOLUTION:
            return day.solution, SOLUTION, ""
        state = _lacks(own, day) if own.exists() else "is missing"
        if state and day.solution.exists():
            return day.solution, SOLUTION, f"your {day.name}.py {state}: its reference is used"
        return own, choice.impl, ""

    def graded_files(self) -> list[GradedFile]:
        return list(self.files.get(self.choice, {}).values())


_finder = DayFinder()


def install() -> DayFinder:
    """Put the finder first in line; a second call changes nothing."""
    if _finder not in sys.meta_path:
        sys.meta_path.insert(0, _finder)
    return _finder


@contextlib.contextmanager
def use(choice: Choice) -> Iterator[None]:
    """Import days by ``choice`` inside the block, from module objects that belong to it alone."""
    before = _finder.choice
    enter(choice)
    try:
        yield
    finally:
        enter(before)


def enter(choice: Choice) -> None:
    """Switch to ``choice``: park the current day modules, bring back those of ``choice``."""
    install()
    if choice == _finder.choice:
        return
    current = modules_of(_finder.choice)
    _finder.modules[_finder.choice] = current
    for name in current:
        del sys.modules[name]
        package, _, attribute = name.rpartition(".")
        # `from tracks.triton import day13` looks at the package's attribute first.
        if package in sys.modules:
            vars(sys.modules[package]).pop(attribute, None)
    _finder.choice = choice
    for name, module in _finder.modules.get(choice, {}).items():
        sys.modules[name] = module
        package, _, attribute = name.rpartition(".")
        setattr(importlib.import_module(package), attribute, module)


def _of_a_choice(name: str, module: ModuleType) -> bool:
    """Whether it is a day, or a file beside the days, which may have imported one of them."""
    shared = _TRACK_MODULE.fullmatch(name) and not hasattr(module, "__path__")
    return bool(_DAY_MODULE.fullmatch(name) or shared)


def load_day(track: str, number: int, impl: str = LEARNER, root: Path = ROOT) -> ModuleType:
    """The module of a day as ``impl`` has it, beside (not instead of) what is imported already."""
    with use(Choice((track, number), impl, "auto", root)):
        return importlib.import_module(Day(track, number, root).module)


def choice_of(module: ModuleType) -> Choice | None:
    """The choice for which a day's module was imported."""
    for choice in (_finder.choice, *_finder.modules):
        if modules_of(choice).get(module.__name__) is module:
            return choice
    return None


def modules_of(choice: Choice | None) -> dict[str, ModuleType]:
    """The days, and the files beside them, that were imported for a choice."""
    if choice == _finder.choice:
        if "tracks" not in sys.modules:  # then nothing of it is, and to look takes 5 ms in a fork
            return {}
        return {name: m for name, m in sys.modules.items() if _of_a_choice(name, m)}
    return _finder.modules.get(choice, {}) if choice else {}


def source_file(day: Day, impl: str) -> Path:
    """Where ``impl`` keeps ``day``."""
    if impl == LEARNER:
        return day.file
    if impl == SOLUTION:
        return day.solution
    return Path(impl).resolve() / f"{day.name}.py"


def short_hash(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()[:8]


def track_names(root: Path = ROOT) -> list[str]:
    return [track.name for track in find_tracks(root)]


def _lacks(file: Path, day: Day) -> str:
    """Why an earlier day cannot be built on; "" where it can."""
    try:
        source = read_written(file)
        if unfinished(source):
            return "is not finished"
        if untouched(source, day.solution.read_text(encoding="utf-8"), day.solution):
            return "is not finished"
    except SyntaxError as error:
        return f"is no Python (line {error.lineno}: {error.msg})"
    return ""


def _missing(file: Path, whose: str, number: int) -> str:
    if whose == LEARNER:
        return f"{file} is gone. `make stubs` writes the missing stubs again."
    return f"the folder {file.parent} holds no {file.name}: IMPL names a folder of dayNN.py files."
