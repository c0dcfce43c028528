"""The pytest plugin that grades days: same rules by make, by hand, in an editor and under xdist.

It stays out of the way of every test that is not in ``tracks/<track>/tests``.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import signal
import sys
import traceback
import unittest
from collections.abc import Generator, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from harness.curriculum import ROOT, Day, family_of
from harness.grading import finder, unread
from harness.grading.events import Events
from harness.grading.explain import context_is_dead, failure_of
from harness.grading.graded import GradedDay
from harness.grading.guard import guard, is_own
from harness.grading.limits import OutOfTime, time_limit
from harness.grading.names import pytest_make_parametrize_id  # noqa: F401  (a hook)
from harness.grading.replay import REPLAY, Replay
from harness.grading.returns import without_return
from harness.grading.seal import Seal, imported_names, say
from harness.protocol import LEARNER, SOLUTION, Event, Failure, Request

PRINTED_CHARACTERS = 1_000_000
"""How much a test may print before the rest is only counted."""
PRINTED_KEPT = 2000
"""Characters of what a failing test printed."""
_TEST_FILE = re.compile(r"test_day(\d+)\.py")


def request_from_environment(track: str, day: int) -> Request:
    """What IMPL, PRIOR, EX, SEED and DEVICE in the environment ask for."""
    env = os.environ
    return Request(
        track=track,
        day=day,
        impl=env.get("IMPL") or LEARNER,
        prior=env.get("PRIOR") or "auto",
        exercise=env.get("EX", ""),
        seed=int(env["SEED"]) if env.get("SEED", "").isdigit() else _session_seed(),
        device=env.get("DEVICE") or "auto",
        known_bugs=(env.get("IMPL") or LEARNER) != SOLUTION,
    )


def _session_seed() -> int:
    # Fixed for this process and, through the environment, for xdist's workers.
    return int(os.environ.setdefault("HARNESS_SEED", str(random.SystemRandom().randrange(10**6))))


class Grader:
    """One pytest session's state: the request (None by hand), where events go, the device."""

    def __init__(self, request: Request | None = None, events: Events | None = None) -> None:
        self.request = request
        self.events = events or Events(None)
        self.device: Any = None
        self.days: dict[Path, GradedDay] = {}
        self.out_of_time: dict[tuple[str, str], str] = {}
        """Which test of an exercise used up its time, by day and exercise."""
        self.lost = ""
        """By hand, where no parent starts a new process: why no test can use the GPU any more."""

    def day_of(self, path: Path) -> GradedDay | None:
        """The day that the test file ``path`` grades, or None for any other file."""
        if path in self.days:
            return self.days[path]
        match = _TEST_FILE.fullmatch(path.name)
        if self.request is not None and self.request.test_file == str(path):
            day = Day(self.request.track, self.request.day, ROOT)
        elif match and path.parent.name == "tests" and (root := _root_above(path.parents[1])):
            day = Day(path.parent.parent.name, int(match[1]), root)
        else:
            return None
        request = self.request or request_from_environment(day.track, day.number)
        self.days[path] = GradedDay(day, request)
        return self.days[path]


@dataclass(frozen=True)
class Rule:
    """What ``@exercise`` says of a test (harness.testing.marks)."""

    exercise: str
    ban: tuple[str, ...]
    allow: tuple[str, ...]
    gpu: bool | str | None
    seconds: float
    inplace: bool


_GRADER = pytest.StashKey[Grader]()
_DAY = pytest.StashKey[GradedDay]()
_RULE = pytest.StashKey[Rule]()
_METER = pytest.StashKey[Any]()
_CUT = pytest.StashKey[int]()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "exercise(name): which exercise of the day a test grades")
    config.addinivalue_line("markers", "large: a size for a GPU with room")
    if _GRADER not in config.stash:
        config.stash[_GRADER] = Grader()
    _session_seed()  # before xdist starts its workers, which inherit it
    finder.install()


def pytest_sessionstart(session: pytest.Session) -> None:
    """Whoever looks at a learner's result is told what explains it, once the tests are done."""
    grader = session.config.stash[_GRADER]
    request = grader.request
    if request is not None and request.known_bugs and not request.debug:
        from harness.grading.known_bugs import Explainer

        session.config.pluginmanager.register(Explainer(grader.events), "explainer")


def prepare(track: str, wanted: str) -> Any:
    """Choose the device and, for kernels on a CPU, set up the interpreter. → measure.Device."""
    from harness.measure.device import choose_device, describe_cpu, prepare_interpreter

    if track == "autodiff":
        return describe_cpu()
    device = choose_device(wanted)
    if device.kind == "cpu":
        # A day and its lesson ask torch.cuda.is_available() where their tensors are to be, and the
        # interpreter can't read a GPU's addresses out of a table.
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    if device.kind == "cpu" and family_of(track) == "triton":
        prepare_interpreter(device)
        import triton  # noqa: F401  (imported only now: TRITON_INTERPRET is read at import)

        from harness.kernels import interpreter

        interpreter.install()
    return device


def _root_above(folder: Path) -> Path | None:
    """The project in which a folder is that of a track, or None."""
    return next((r for r in folder.parents if Day(folder.name, 1, r).folder == folder), None)


def _is_day_file(path: Path) -> bool:
    return bool(re.fullmatch(r"day\d+\.py", path.name)) and _root_above(path.parent) is not None


def _before_import(module_path: Path, grader: Grader, graded: GradedDay) -> None:
    """Before a day's tests are imported: its device and its choice of files."""
    from harness.measure.device import DeviceError

    try:
        grader.device = prepare(graded.day.track, graded.request.device)
    except DeviceError as error:
        grader.events.send(_broken("error", str(error)))
        raise pytest.UsageError(str(error)) from None
    grader.events.send(Event("device", data={"device": asdict(grader.device)}))
    finder.enter(graded.choice)
    if grader.request is not None and not grader.request.debug:
        _refuse_debuggers(graded)
    if "hypothesis" in module_path.read_text(encoding="utf-8"):
        import hypothesis

        # No example database in the tree, no deadline on machines that are shared. One failure,
        # made small; to look for others, and for what it does not depend on, takes half a minute
        # of a day that has not been begun.
        hypothesis.settings.register_profile(
            "days",
            database=None,
            deadline=None,
            report_multiple_bugs=False,
            phases=set(hypothesis.Phase) - {hypothesis.Phase.explain},
        )
        hypothesis.settings.load_profile("days")


def _refuse_debuggers(graded: GradedDay) -> None:
    """A debugger would wait for keys that cannot come: say where one can be used."""
    import pdb

    def refuse(*_: Any, **__: Any) -> None:
        day = graded.day
        # No Exception: neither a learner's `except` nor the kernel interpreter may take it.
        raise pytest.fail.Exception(
            "a debugger cannot stop here, where nobody could answer it: "
            f"make {day.track} DAY={day.number} DEBUG=1 runs one test in which it can "
            "(EX= names its exercise)."
        )

    if os.environ.get("PYTHONBREAKPOINT") != "0":  # Python's own way to say: ignore them
        sys.breakpointhook = refuse
    pdb.set_trace = refuse


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    grader = config.stash[_GRADER]
    keep: list[pytest.Item] = []
    drop: list[pytest.Item] = []
    for item in items:
        graded = grader.day_of(item.path)
        if graded is None:
            keep.append(item)
            continue
        item.stash[_DAY] = graded
        mark = item.get_closest_marker("exercise")
        if mark is None:
            raise pytest.UsageError(
                f"{item.path}: {item.name} names no exercise: decorate it with @exercise(...)"
            )
        rule = item.stash[_RULE] = Rule(*mark.args, **mark.kwargs)
        request = graded.request
        unwanted = (
            (request.exercise and rule.exercise != request.exercise)
            or (request.tests and item.name not in request.tests)
            or item.name in request.skip
            or (not request.drawn and is_drawn(item))
        )
        (drop if unwanted else keep).append(item)
        if not hasattr(signal, "setitimer"):  # Windows: pytest-timeout's thread, on the wall clock
            item.add_marker(pytest.mark.timeout(rule.seconds, method="thread"))
    if drop:
        config.hook.pytest_deselected(items=drop)
        items[:] = keep
    if grader.request is not None and grader.request.first:
        first = grader.request.first
        items.sort(key=lambda item: item.name != first)
    for graded in {item.stash[_DAY] for item in items if _DAY in item.stash}:
        module = sys.modules.get(graded.day.module)
        if module is not None and finder.install().choice == graded.choice:
            names = {e.name for e in graded.day.exercises}
            graded.missing = {n for n in names if not hasattr(module, n)}
            graded.borrowed = {
                n for n in names - graded.missing if not is_own(getattr(module, n), module.__name__)
            }
        grader.events.send(
            Event(
                "graded",
                data={
                    "files": [asdict(f) for f in graded.graded_files()],
                    "untouched": sorted(graded.untouched),
                },
            )
        )
    tests = [(i.name, i.stash[_RULE].exercise) for i in items if _RULE in i.stash]
    grader.events.send(Event("collected", data={"tests": tests}))


def is_drawn(item: Any) -> bool:
    """Whether hypothesis draws the inputs of this test."""
    return bool(getattr(item.obj, "is_hypothesis_test", False))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_make_collect_report(collector: Any) -> Generator[None, Any, Any]:
    """Set the scene for a day's test file; tell a file that cannot be imported in one sentence."""
    grader = collector.config.stash[_GRADER]
    graded = grader.day_of(collector.path) if isinstance(collector, pytest.Module) else None
    if graded is not None:
        _before_import(collector.path, grader, graded)
        graded.seal = Seal(deep=unread.is_on())
        if unread.is_on():
            unread.install(graded.day.track)
            grader.events.seal()
    elif isinstance(collector, pytest.Module) and _is_day_file(collector.path):
        # the visible examples: `pytest day13.py` needs the device, and what assertions compared
        finder.install().examples = collector.path
        prepare(collector.path.parent.name, os.environ.get("DEVICE") or "auto")
    try:
        report = yield
    except (Exception, SystemExit, KeyboardInterrupt) as error:
        if graded is None or grader.request is None or grader.request.debug:
            raise
        report = pytest.CollectReport(collector.nodeid, "failed", None, [])
        _refuse_import(report, grader, _ended_at_import(error, graded))
        return report
    call = getattr(report, "call", None)
    if graded is not None and report.passed:
        names = imported_names(collector.path.read_text(encoding="utf-8"))
        graded.tests_use = (collector.obj, names)
        if changed := graded.changed(everywhere=True):
            _refuse_import(report, grader, Failure("refused", say(changed), str(graded.file), 1))
        elif unread.is_on() and (found := graded.reaches_around()):
            failure = Failure("refused", unread.say(found), str(graded.file), 1)
            _refuse_import(report, grader, failure)
    if graded is None or not call or not call.excinfo:
        return report
    skipped = _answer_skipped(call.excinfo, collector.path, graded)
    if report.failed or skipped:
        raised = call.excinfo.value
        told = _unspeakable(raised)
        failure = _ended_at_import(raised, graded) if told else failure_of(raised, graded)
        if skipped:
            failure = _no_skip(failure)
        _refuse_import(report, grader, failure)
    return report


def _ended_at_import(error: BaseException, graded: GradedDay) -> Failure:
    """Of a file whose import ends the program, or raises what has no words."""
    line = 1
    for frame, number in traceback.walk_tb(error.__traceback__):
        line = number if frame.f_code.co_filename == str(graded.file) else line
    if isinstance(error, SystemExit):
        told = f"called sys.exit({error.code!r}) while it was imported"
    elif isinstance(error, KeyboardInterrupt):
        told = "raised KeyboardInterrupt while it was imported"
    else:
        told = _unspeakable(error) or f"raised {type(error).__name__} while it was imported"
    return Failure("broken file", told, str(graded.file), line)


LONGEST = 50_000
"""Characters of a failure's texts that are told."""


def _bounded(failure: Failure) -> Failure:
    return replace(
        failure,
        message=failure.message[:LONGEST],
        plain=failure.plain[:LONGEST],
        detail=failure.detail[-LONGEST:],
    )


def _refuse_import(report: Any, grader: Grader, failure: Failure) -> None:
    failure = _bounded(failure)
    report.outcome = "failed"
    grader.events.send(Event("broken", data={"failure": asdict(failure)}))
    place = f"{failure.file}:{failure.line}: " if failure.file else ""
    report.longrepr = f"{place}{failure.message}"


@pytest.hookimpl(wrapper=True)
def pytest_runtestloop(session: pytest.Session) -> Generator[None, Any, Any]:
    """Note the kernel launches of the whole run where the request asks for them (`make xray`)."""
    request = session.config.stash[_GRADER].request
    if request is None or not request.record_launches:
        return (yield)
    from harness.kernels.xray import recording, save

    with recording() as launches:
        result = yield
    save(launches, Path(request.record_launches))
    return result


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """What was replaced in a test, and not in one that looks at it, is told at the end."""
    grader = session.config.stash[_GRADER]
    for graded in {item.stash[_DAY] for item in session.items if _DAY in item.stash}:
        if changed := graded.changed(everywhere=True):
            failure = Failure("refused", say(changed), str(graded.file), 1)
            grader.events.send(Event("broken", data={"failure": asdict(failure)}))
            session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.hookimpl(wrapper=True, trylast=True)  # inside pytest's own, which a skip here must not miss
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, Any, Any]:
    graded = item.stash.get(_DAY, None)
    if graded is None:
        return (yield)
    grader = item.config.stash[_GRADER]
    finder.enter(graded.choice)
    rule = item.stash[_RULE]
    limit = {"seconds": rule.seconds}
    grader.events.send(Event("started", item.name, rule.exercise, limit))
    from harness.measure.device import skip_reason

    needs = rule.gpu or item.get_closest_marker("large") is not None
    reason = skip_reason(grader.device, needs) if needs else None
    if reason:
        pytest.skip(reason)
    if grader.lost:
        raise RuntimeError(grader.lost)
    earlier = grader.out_of_time.get((graded.day.key, rule.exercise))
    if earlier:
        raise OutOfTime(f"was not tried: `{rule.exercise}` used up its time in {earlier}.")
    with _limit(item):
        return (yield)


def _limit(item: pytest.Item) -> contextlib.AbstractContextManager[None]:
    request = item.config.stash[_GRADER].request
    if request is not None and (request.passthrough or request.debug):  # for a debugger
        return contextlib.nullcontext()
    return time_limit(item.stash[_RULE].seconds)


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: Any) -> Generator[None, Any, Any]:
    graded = pyfuncitem.stash.get(_DAY, None)
    if graded is None:
        return (yield)
    from harness.measure.memory import Meter

    rule = pyfuncitem.stash[_RULE]
    name = rule.exercise
    if name in graded.missing:
        raise AssertionError(f"{graded.file.name} defines no `{name}`.")
    if name in graded.borrowed:
        raise AssertionError(f"`{name}` is a library's function under another name: write it here.")
    grader = pyfuncitem.config.stash[_GRADER]
    kernels_only = family_of(graded.day.track) == "triton" and pyfuncitem.path == graded.day.tests
    files = frozenset(f.path for f in graded.graded_files())
    others = _others(pyfuncitem.path)

    def rules(files: frozenset[str]) -> Any:
        return guard(files, others, rule.ban, rule.allow, kernels_only)

    meter = Meter(grader.device)
    if _interpreter() is not None:
        _interpreter().reset()  # what earlier tests wrote is none of this one's business
    pyfuncitem.stash[_METER] = meter
    pyfuncitem.stash[REPLAY] = Replay(graded, name, rule.inplace, rules)
    with _limit(pyfuncitem):
        return (yield from _graded_call(pyfuncitem, graded, rule, meter, rules, files))


def _graded_call(
    pyfuncitem: Any, graded: GradedDay, rule: Rule, meter: Any, rules: Any, files: frozenset[str]
) -> Generator[None, Any, Any]:
    """The call of one test, guarded and measured; what it raises says more than it did."""
    name, failed = rule.exercise, None
    try:
        with meter, _print_is_capped(pyfuncitem), rules(files):
            result = yield
    except unittest.SkipTest as error:
        # pytest makes a skip of its own of it, which no longer says who raised it.
        if _raised_by(error.__traceback__, pyfuncitem.path, files):
            raise AssertionError(_NO_SKIP.format(error)) from error
        raise
    except (KeyboardInterrupt, pytest.exit.Exception) as error:
        if _for_a_person(pyfuncitem):
            raise
        # A Ctrl-C comes as SIGUSR1 (harness.grading.limits): the answer ends the whole run by it.
        told = f"raised {type(error).__name__}, which ends a program: {_RAISES}"
        failed = AssertionError(told).with_traceback(error.__traceback__)
    except Exception as error:
        if told := _unspeakable(error):
            failed = AssertionError(told).with_traceback(error.__traceback__)
        else:
            _note_unwritten(error)
            _refuse_changes(pyfuncitem, graded)
            raise
    _refuse_changes(pyfuncitem, graded)
    if failed is not None:  # not in the block above: it would have the other one for its context
        raise failed
    rng = pyfuncitem.funcargs.get("rng")
    if rng is not None and not rule.inplace:
        changed = rng.changed()
        if changed:
            raise AssertionError(f"`{name}` changed {changed[0]}: inputs must come back unchanged.")
    return result


_RAISES = "a function returns, or raises an error of its own."


def _unspeakable(error: BaseException) -> str:
    """Of an error whose text cannot be shown, or is a book: what is told in its place, or ""."""
    name = type(error).__name__
    try:
        text = str(error)
        repr(error)
    except Exception:
        return f"raised {name}, and its text raises an error, too."
    if len(text) <= LONGEST:
        return ""
    return f"{name}: {text[:200]} … ({len(text):,} characters)"


def _for_a_person(item: Any) -> bool:
    """Whether somebody runs pytest by hand, or stands at a debugger."""
    request = item.config.stash[_GRADER].request
    return request is None or request.passthrough or request.debug


def _refuse_changes(item: Any, graded: GradedDay) -> None:
    """Fail where a test leaves another grader than it found. Of code that nobody has read it is
    told at once: what was replaced may be what tells of a failure."""
    if changed := graded.changed(everywhere=False):
        if unread.is_on():
            failure = Failure("refused", say(changed), str(graded.file), 1)
            item.config.stash[_GRADER].events.send(
                Event("broken", data={"failure": asdict(failure)})
            )
        raise AssertionError(say(changed))


class _Capped:
    """A stream that keeps the first characters of what is written to it, and counts the rest."""

    def __init__(self, stream: Any) -> None:
        self._stream, self._room, self.cut = stream, PRINTED_CHARACTERS, 0

    def write(self, text: str) -> int:
        if len(text) <= self._room:
            self._room -= len(text)
            self._stream.write(text)
        else:
            self._stream.write(text[: self._room])
            self.cut += len(text) - self._room
            self._room = 0
        return len(text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def _print_is_capped(item: Any) -> Iterator[None]:
    before = sys.stdout, sys.stderr
    capped = _Capped(sys.stdout), _Capped(sys.stderr)
    sys.stdout, sys.stderr = capped
    try:
        yield
    finally:
        item.stash[_CUT] = capped[0].cut
        for stream in capped:
            if stream.cut:
                stream._stream.write(f"\n… {stream.cut:,} characters more were not kept.\n")
        if (sys.stdout, sys.stderr) == capped:
            sys.stdout, sys.stderr = before


def _interpreter() -> Any:
    """The checked interpreter, in a process where it was installed."""
    return sys.modules.get("harness.kernels.interpreter")


def _note_unwritten(error: Exception) -> None:
    """Say of a wrong tensor which of its elements no kernel wrote."""
    interpreter, actual = _interpreter(), getattr(error, "actual", None)
    if interpreter is None or actual is None or not hasattr(actual, "untyped_storage"):
        return
    unwritten = interpreter.never_written(actual, getattr(error, "wrong", None))
    if unwritten is not None and unwritten.count:
        error.unwritten = str(unwritten)  # type: ignore[attr-defined]


def _others(test_file: Path) -> tuple[str, ...]:
    """Where calls are not the learner's: tests, the harness, triton's own machinery."""
    triton = sys.modules.get("triton")
    places = [str(test_file.parent), str(ROOT / "harness")]
    if triton is not None and triton.__file__:
        places.append(os.path.dirname(triton.__file__))
    return tuple(place + os.sep for place in places)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(item: pytest.Item, call: Any) -> Generator[None, Any, Any]:
    report = yield
    graded = item.stash.get(_DAY, None)
    if graded is None:
        return report
    grader = item.config.stash[_GRADER]
    events = grader.events
    exercise = item.stash[_RULE].exercise
    skipped = report.skipped and _answer_skipped(call.excinfo, item.path, graded)
    if skipped:
        report.outcome = "failed"
    if report.skipped and report.when in ("setup", "call"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        reason = reason.removeprefix("Skipped: ")
        events.send(Event("skipped", item.name, exercise, {"reason": reason}))
    elif report.failed:
        failure = failure_of(call.excinfo.value, graded, call.excinfo.tb)
        if skipped:
            failure = _no_skip(failure)
        if failure.reason in ("wrong", "error") and (
            forgotten := without_return(graded.file, exercise)
        ):
            failure = replace(failure, message=f"{failure.message}\n{forgotten}")
        if isinstance(call.excinfo.value, OutOfTime):
            grader.out_of_time.setdefault((graded.day.key, exercise), item.name)
        lost = context_is_dead(call.excinfo.value) or _context_is_gone(grader.device)
        if lost:
            failure = replace(failure, reason="died", message=_how_it_was_lost(call.excinfo.value))
        printed = report.capstdout
        data = {
            "seconds": report.duration,
            "failure": asdict(_bounded(failure)),
            "printed": printed[:PRINTED_KEPT],
            "printed_length": len(printed) + item.stash.get(_CUT, 0),
        }
        if not lost:
            events.send(Event("failed", item.name, exercise, data))
        elif grader.request is not None:
            # No CUDA call of this process can work any more: the parent starts a new one.
            events.send(Event("context lost", item.name, exercise, data))
            os._exit(86)
        else:
            grader.lost = f"was not run: {item.name} took the GPU away. {failure.message}"
        if not _for_a_person(item):
            _let_go(call.excinfo.value, str(item.path))
    elif report.when == "call":
        meter = item.stash.get(_METER, None)
        measures = asdict(meter.result) if meter is not None and meter.result else {}
        data = {"seconds": report.duration, "measures": measures}
        events.send(Event("passed", item.name, exercise, data))
    return report


def _let_go(error: BaseException | None, test_file: str) -> None:
    """Free what a failed test held: tensors, the worker processes of a DataLoader.

    Its frames would hold it until the collector comes by, which takes a DataLoader apart in an
    order that costs five seconds a worker: the queue that would end it is gone first.
    """
    known: set[int] = set()
    waiting = [error]
    while waiting:
        error = waiting.pop()
        if error is None or id(error) in known:
            continue
        known.add(id(error))
        waiting += [error.__cause__, error.__context__]
        frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
        files = [frame.f_code.co_filename for frame in frames]
        for frame in frames[files.index(test_file) :] if test_file in files else ():
            with contextlib.suppress(RuntimeError):  # it runs, or waits in a generator
                frame.clear()
                _ = frame.f_locals  # before Python 3.13 a copy of what was there, made anew


def _answer_skipped(info: Any, test_file: Path, graded: GradedDay) -> bool:
    """Whether graded code raised this skip, or xfail: only a test says what cannot be tested."""
    if info is None or not isinstance(info.value, _SKIPS):
        return False
    files = frozenset(f.path for f in graded.graded_files()) | {str(graded.file)}
    return _raised_by(info.tb, test_file, files)


def _raised_by(trace: Any, test_file: Path, files: frozenset[str]) -> bool:
    """Whether the innermost frame that is the answer's or the test's is the answer's."""
    mine = False
    for frame, _ in traceback.walk_tb(trace):
        name = frame.f_code.co_filename
        mine = name in files or (mine and name != str(test_file))
    return mine


def _no_skip(failure: Failure) -> Failure:
    return replace(failure, reason="error", message=_NO_SKIP.format(failure.message))


_NO_SKIP = "the answer skipped its test ({}): here it is graded."


_SKIPS = (pytest.skip.Exception, pytest.xfail.Exception, unittest.SkipTest)


def _context_is_gone(device: Any) -> bool:
    """Whether the GPU reports an error of an earlier launch to whoever asks."""
    torch = sys.modules.get("torch")
    if device.kind != "cuda" or torch is None or not torch.cuda.is_initialized():
        return False
    try:
        torch.cuda.synchronize()
    except RuntimeError:
        return True
    return False


def _how_it_was_lost(error: BaseException) -> str:
    from harness.measure.kernels import launched

    first = str(error).strip().split("\n")[0] if context_is_dead(error) else "an access failed"
    names = [f"`{name}`" for name in launched()]
    what = f"{' or '.join(names)} crashed the GPU" if names else "an operator crashed the GPU"
    return (
        f"{what} ({first}). Whatever this process had on the GPU is gone with it; the other "
        "exercises are graded in a new one."
    )


@pytest.fixture
def device(request: pytest.FixtureRequest) -> Any:
    """torch.device of this run: cuda, or cpu (where kernels run on Triton's interpreter)."""
    import torch

    return torch.device(request.config.stash[_GRADER].device.kind)


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Random inputs, new with each run's seed; the same test and seed give the same inputs."""
    graded = request.node.stash[_DAY]
    seed = graded.test_seed(request.node.name)
    from harness.testing.rng import ArrayRng, TensorRng

    if graded.day.track == "autodiff":
        yield ArrayRng(seed)
    else:
        import torch

        # Modules initialise from torch's own generators. torch.manual_seed would seed those of all
        # kinds of devices, and keep a stack trace for each that is not in use yet.
        torch.default_generator.manual_seed(seed)
        if request.config.stash[_GRADER].device.kind == "cuda":
            torch.cuda.manual_seed_all(seed)
        device = torch.device(request.config.stash[_GRADER].device.kind)
        only_there = request.node.get_closest_marker("large") or request.node.stash[_RULE].gpu
        yield TensorRng(seed, device, drawn_there=device.type == "cuda" and bool(only_there))


@pytest.fixture
def graded_day(request: pytest.FixtureRequest) -> Day:
    """The day that is graded."""
    return request.node.stash[_DAY].day


def pytest_report_header(config: pytest.Config) -> str | None:
    grader = config.stash[_GRADER]
    if grader.request is not None or os.environ.get("SEED"):
        return None
    return f"days: seed {_session_seed()} (SEED=… repeats the inputs)"


def _broken(reason: Any, message: str) -> Event:
    return Event("broken", data={"failure": asdict(Failure(reason, message))})
