"""When the tests are done: what explains an exercise that fails.

An explanation is told only if it is one of every failing test of the exercise in this run:

- another exercise of the day that fails too, and with whose reference in its place they all pass;
- one known bug with which they all fail alike and the others pass, while no second one does so;
- an argument at whose values the tests part into those that fail and those that pass.

Each is found by running tests again, after all of them are done, so that it takes nothing from
their time limits. Its own limits are below; where they end it, nothing is told.
"""

from __future__ import annotations

import ast
import contextlib
import math
import os
import signal
import tempfile
import time
import traceback
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from harness.curriculum import Bug, CurriculumError, apply_bug, load_bugs, read_source
from harness.grading import finder
from harness.grading.events import Events
from harness.grading.evidence import ENOUGH_BITS, Test, alike, arguments_of, outcome_of
from harness.grading.explain import context_is_dead
from harness.grading.graded import GradedDay
from harness.grading.limits import OutOfTime, time_limit
from harness.grading.replay import REPLAY
from harness.protocol import SOLUTION, Event

CPU_SECONDS = 8.0
"""What the search may compute for one exercise, beside the time that its tests took: what is told
has to hold for all of them, so all are run again. For the whole run it is three times as much."""
WALL = 3
"""How many times that it may take on the clock."""


@dataclass
class _Exercise:
    graded: GradedDay
    tests: list[Test] = field(default_factory=list)
    lost: bool = False
    """A test failed in a way that cannot be repeated: then nothing explains them all."""

    @property
    def failed(self) -> list[Test]:
        return sorted((t for t in self.tests if t.failed), key=lambda t: t.seconds)

    @property
    def passed(self) -> list[Test]:
        return sorted((t for t in self.tests if not t.failed), key=lambda t: t.seconds)

    @property
    def seconds(self) -> float:
        return sum(test.seconds for test in self.tests)

    @property
    def telling(self) -> bool:
        """Whether few mistakes lead here: by the values, or by which few of many tests fail."""
        if any(t.failed and t.failed.telling for t in self.tests):
            return True
        few, all_of_them = len(self.failed), len(self.tests)
        return few <= all_of_them / 2 and math.log2(math.comb(all_of_them, few)) >= ENOUGH_BITS


class Explainer:
    """A pytest plugin that keeps what the tests came to, and explains it at the end."""

    def __init__(self, events: Events) -> None:
        self._events = events
        self._exercises: dict[str, _Exercise] = {}

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(self, item: Any, call: Any) -> Generator[None, Any, Any]:
        report = yield
        replay = item.stash.get(REPLAY, None)
        if replay is None or (report.when != "call" and not report.failed):
            return report
        one = self._exercises.setdefault(replay.exercise, _Exercise(replay.graded))
        error = call.excinfo.value if call.excinfo else None
        repeatable = isinstance(error, (Exception, pytest.fail.Exception)) or error is None
        if report.when != "call" or not repeatable or (error and context_is_dead(error)):
            one.lost = one.lost or report.failed
            return report
        arguments = arguments_of(item)
        parameters = getattr(getattr(item, "callspec", None), "params", {})
        test = Test(
            item.name, item.originalname, report.duration, outcome_of(error) if error else None,
            dict(parameters), item, arguments, replay.rules, replay.inplace,
        )  # fmt: skip
        if "rng" in arguments:
            arguments["rng"].reset()  # the inputs need not be kept until the end
        if test.repeatable:
            one.tests.append(test)
        else:
            one.lost = one.lost or report.failed
        return report

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self) -> None:
        started = time.process_time()
        wrong = {name: one for name, one in self._exercises.items() if one.failed and not one.lost}
        most = 3 * CPU_SECONDS + sum(one.seconds for one in wrong.values())
        for name, one in wrong.items():
            if name in one.graded.untouched | one.graded.missing | one.graded.borrowed:
                continue
            left = min(most - (time.process_time() - started), CPU_SECONDS + one.seconds)
            says = ""
            try:
                with contextlib.suppress(OutOfTime), _silent(), _at_most(left):
                    says = _explanation(name, one, sorted(wrong.keys() - {name}))
            except Exception:  # the results stand without it; what was printed is kept with them
                traceback.print_exc()
            if says:
                data = {"says": says, "tests": [t.name for t in one.failed]}
                self._events.send(Event("explained", exercise=name, data=data))


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """What the answers print was kept when the tests ran."""
    with (
        open(os.devnull, "w", encoding="utf-8") as nowhere,
        contextlib.redirect_stdout(nowhere),
        contextlib.redirect_stderr(nowhere),
    ):
        yield


@contextlib.contextmanager
def _at_most(seconds: float) -> Iterator[None]:
    if seconds < 0.5:
        raise OutOfTime
    with time_limit(seconds):
        if hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, WALL * seconds, 1.0)
        yield


def _explanation(name: str, one: _Exercise, others: list[str]) -> str:
    module = _module_of(one)
    if module is None:
        return ""
    try:
        return (
            _another_exercise(name, one, others, module)
            or _known_bug(name, one, module)
            or _one_argument(one)
        )
    finally:
        finder.enter(one.graded.choice)


def _module_of(one: _Exercise) -> ModuleType | None:
    """The day as its tests hold it, under whatever name."""
    day = one.graded.day
    wanted = day.module
    held = vars(one.tests[0].item.module).values()
    modules = (m for m in held if isinstance(m, ModuleType) and m.__name__ == wanted)
    return next(modules, None)


# Another exercise ----------------------------------------------------------------------------


def _another_exercise(name: str, one: _Exercise, others: list[str], module: ModuleType) -> str:
    """Which of the exercises ``others``, which fail too, take ``name`` down with them."""
    used = [other for other in others if other in _used_by(name, one)]
    if not used:
        return ""
    day = one.graded.day
    files = frozenset(f.path for f in one.graded.graded_files()) | {str(day.solution)}
    right = finder.load_day(day.track, day.number, SOLUTION, day.root)
    finder.enter(one.graded.choice)
    if not alike(one.failed[0].again(files), one.failed[0].failed):  # type: ignore[arg-type]
        return ""  # it does not fail the same way twice: passing would prove nothing
    for some in [[other] for other in used] + ([used] if len(used) > 1 else []):
        with contextlib.ExitStack() as stack:
            tests = one.tests[0].item.module
            for other in some:
                for place in (module, tests) if hasattr(tests, other) else (module,):
                    stack.callback(setattr, place, other, getattr(place, other))
                    setattr(place, other, getattr(right, other))
            if all(test.again(files) is None for test in one.failed):
                names = " and ".join(f"`{other}`" for other in some)
                fails = "fails" if len(some) == 1 else "fail"
                return f"{names} {fails} first: with a right one these tests of `{name}` pass."
    return ""


def _used_by(name: str, one: _Exercise) -> set[str]:
    """The day's names that ``name`` is built on, or that its failing tests call themselves."""
    tree = ast.parse(read_source(one.graded.file))
    mentions = {
        node.name: {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
        for node in tree.body
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
    }
    found: set[str] = set()
    waiting = {name}
    for test in one.failed:
        waiting |= set(test.item.function.__code__.co_names) & mentions.keys()
    while waiting:
        new = waiting.pop()
        found.add(new)
        waiting |= (mentions.get(new, set()) & mentions.keys()) - found
    return found


# A known bug ---------------------------------------------------------------------------------


def _known_bug(name: str, one: _Exercise, module: ModuleType) -> str:
    """What the only known bug says that does what the learner's answer does."""
    day = one.graded.day
    if not day.bugs.exists() or not one.telling:
        return ""
    source = read_source(day.solution)
    try:
        bugs = [b for b in _bugs_of(day.bugs, source) if b.exercise == name]
    except CurriculumError:
        return ""  # verify reports it; a learner's result does not depend on it
    with tempfile.TemporaryDirectory(prefix="known-bug-") as folder:
        left: list[tuple[str, ModuleType, frozenset[str]]] = []
        for bug in bugs:
            place = Path(folder) / str(bug.number)
            place.mkdir()
            file = place / f"{day.name}.py"
            file.write_text(apply_bug(source, bug, day.solution), encoding="utf-8")
            with contextlib.suppress(Exception):  # one that breaks at its import is no answer
                loaded = finder.load_day(day.track, day.number, str(place), day.root)
                left.append((bug.says, loaded, frozenset({str(file)})))
        finder.enter(one.graded.choice)
        for test in sorted(one.tests, key=lambda t: t.seconds):  # most bugs differ in a fast one
            left = [bug for bug in left if _does_the_same(test, module, bug[1], bug[2])]
            if not left:
                return ""
    says = {bug[0] for bug in left}
    if len(says) > 1:
        return ""
    # A test that holds on to the learner's answer fails with any other in its place, too.
    right = finder.load_day(day.track, day.number, SOLUTION, day.root)
    finder.enter(one.graded.choice)
    for test in one.failed:
        with _in_place_of(module, right, test.item.module):
            if test.again(frozenset({str(day.solution)})) is not None:
                return ""
    return says.pop()


@lru_cache(maxsize=1)  # half a second for a day, which several exercises ask
def _bugs_of(path: Path, source: str) -> tuple[Bug, ...]:
    return load_bugs(path, source).bugs


def _does_the_same(test: Test, mine: ModuleType, other: ModuleType, files: frozenset[str]) -> bool:
    with _in_place_of(mine, other, test.item.module):
        result = test.again(files)
    return result is None if test.failed is None else alike(result, test.failed)


@contextlib.contextmanager
def _in_place_of(mine: ModuleType, other: ModuleType, tests: ModuleType) -> Iterator[None]:
    """Let ``tests`` speak of the day ``other`` where it spoke of ``mine``, or of what is in it or
    in a day that it is built on: ``other`` is built on modules of its own."""
    before = dict(vars(tests))
    choice = finder.choice_of(other)
    around = finder.modules_of(finder.choice_of(mine)), finder.modules_of(choice)
    for name, value in before.items():
        if value is mine:
            setattr(tests, name, other)
        elif hasattr(mine, name) and getattr(mine, name) is value:
            setattr(tests, name, getattr(other, name, value))
        else:
            setattr(tests, name, _in_the_other(value, *around))
    try:
        with finder.use(choice) if choice else contextlib.nullcontext():
            yield
    finally:
        for name, value in before.items():
            setattr(tests, name, value)


def _in_the_other(value: Any, mine: dict[str, ModuleType], other: dict[str, ModuleType]) -> Any:
    """What ``value`` is among ``other``, if it is one of the modules ``mine`` or made in one."""
    if isinstance(value, ModuleType):
        name = value.__name__
        return other.get(name, value) if mine.get(name) is value else value
    home, name = (str(getattr(value, key, "")) for key in ("__module__", "__name__"))
    if home in mine and home in other and getattr(mine[home], name, None) is value:
        return getattr(other[home], name, value)
    return value


# An argument ---------------------------------------------------------------------------------


def _one_argument(one: _Exercise) -> str:
    """Where one argument alone parts the failing runs of a test from the passing ones."""
    for function in dict.fromkeys(t.function for t in one.failed):
        failed = [t.parameters for t in one.failed if t.function == function]
        passed = [t.parameters for t in one.passed if t.function == function]
        if len(failed) < 2 or len(passed) < 2:
            continue
        found = [text for key in failed[0] if (text := _parts(key, failed, passed))]
        if len(found) == 1:
            return f"{function} {found[0]}."
    return ""


def _parts(key: str, failed: list[dict[str, Any]], passed: list[dict[str, Any]]) -> str:
    bad, good = [p[key] for p in failed], [p[key] for p in passed]
    if all(type(v) in (int, float) for v in bad + good):
        if max(good) < min(bad) and len(set(good)) > 1:
            return f"passes for {key} up to {max(good)} and fails from {min(bad)} on"
        if max(bad) < min(good) and len(set(good)) > 1:
            return f"fails for {key} up to {max(bad)} and passes from {min(good)} on"
    plain = all(isinstance(v, (str, bool)) or str(v).startswith("torch.") for v in bad + good)
    if plain and not {str(v) for v in bad} & {str(v) for v in good}:
        values = sorted({str(v) for v in bad})
        if len(values) <= 3:
            return f"fails only where {key} is {' or '.join(values)}"
    return ""
