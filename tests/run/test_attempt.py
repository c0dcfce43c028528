"""One run from the parent's side, with a child that is made up: limits, endings, last words."""

from __future__ import annotations

import importlib
import json
import os
import queue
import signal
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from harness.curriculum import ROOT
from harness.protocol import Event, Request
from harness.run.attempt import Attempt, attempt
from harness.run.process import LAUNCHER_GONE
from harness.run.tree import Used

module = importlib.import_module("harness.run.attempt")  # the package has a function of its name

# The limits -------------------------------------------------------------------------------------


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


class Watched:
    """Limits over a child that uses what it is told to use."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **request: Any) -> None:
        self.clock, self.cpu, self.resident, self.works = Clock(), 0.0, 0, True
        self.signals: list[tuple[int, int]] = []
        monkeypatch.setattr(module.time, "monotonic", self.clock.monotonic)
        monkeypatch.setattr(module.os, "kill", lambda *what: self.signals.append(what))
        monkeypatch.setattr(module, "_memory_ceiling", lambda: 3 * 2**30)
        self.seen = Attempt(limit=20.0, running="test_a")
        tree: Any = SimpleNamespace(look=lambda: Used(self.cpu, self.resident, self.works))
        process: Any = SimpleNamespace(pid=77)
        self.limits = module._Limits(Request("triton", 1, **request), process, tree, self.seen)

    def after(self, seconds: float, cpu: float = 0.0) -> Any:
        """What is exceeded ``seconds`` later, of which the child has computed for ``cpu``."""
        self.clock.now += seconds
        self.cpu += cpu
        return self.limits.exceeded()


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Watched]:
    def made(**request: Any) -> Watched:
        one = Watched(monkeypatch, **request)
        assert one.after(0.2) is None  # the first look: what was used before is not this test's
        return one

    return made


def test_nobody_looks_all_the_time(watched: Any) -> None:
    one = watched()
    one.resident = 4 * 2**30
    assert one.after(0.18) is None
    assert one.after(0.04) is not None


def test_memory(watched: Any) -> None:
    one = watched()
    one.resident = 3 * 2**30
    assert one.after(1) is None
    one.resident = int(3.5 * 2**30)
    reason, words = one.after(1)
    assert reason == "died" and "stopped at 3.5 GB of memory (the ceiling is 3.0 GB)" in words
    one = watched(memory_bytes=2**30)
    one.resident = 2**30 + 1
    assert "1.0 GB" in one.after(1)[1]


def test_a_test_that_computes_is_told_and_then_ended(watched: Any) -> None:
    one = watched()
    assert one.after(21.9, 21.9) is None and one.signals == []
    assert one.after(0.3, 0.3) is None  # it is told to stop, once
    assert one.signals == [(77, signal.SIGALRM)]
    assert one.after(5.8, 5.8) is None
    assert one.signals == [(77, signal.SIGALRM)]
    reason, words = one.after(0.3, 0.3)
    assert reason == "timeout"
    assert words == "was stopped after 28 s: is there a loop that does not end?"


def test_a_test_that_waits(watched: Any) -> None:
    one = watched()
    one.after(1, 1)
    one.works = False
    assert one.after(21.9) is None and one.signals == []
    assert one.after(0.3) is None and len(one.signals) == 1
    reason, words = one.after(6.1)
    assert reason == "timeout"
    assert words == (
        "was stopped after 30 s: of these it computed for 1: does it wait for something that "
        "never comes?"
    )


def test_a_busy_machine_has_ten_times_as_long(watched: Any) -> None:
    one = watched()
    for _ in range(20):
        assert one.after(10, 0.1) is None
    assert one.signals == []
    assert one.after(1.5) is None and one.signals == []
    assert one.after(0.5) is None and len(one.signals) == 1


def test_what_was_used_before_is_not_this_tests(watched: Any) -> None:
    one = watched()
    one.after(15, 15)
    one.limits.restart()
    one.after(0.3, 5)  # since the last look: whose it is is not known
    assert one.after(21, 21) is None and one.signals == []
    one.after(1, 1)
    assert len(one.signals) == 1
    one.limits.restart()
    assert one.after(7, 7) is None and len(one.signals) == 1


def test_a_slow_test_after_a_busy_one(watched: Any) -> None:
    one = watched()
    one.after(19, 19)
    one.limits.restart()
    one.after(0.3, 19)
    for _ in range(6):
        assert one.after(8, 1) is None
    assert one.signals == []
    for _ in range(4):
        one.after(6, 5)
    assert len(one.signals) == 1


def test_several_threads_use_more_than_passes(watched: Any) -> None:
    one = watched()
    assert one.after(10, 40) is None and one.signals == []
    one.after(12.1, 40)
    assert len(one.signals) == 1


def test_an_import_is_ended_at_once(watched: Any) -> None:
    one = watched()
    one.seen.running = ""
    assert one.after(21.7, 21.7) is None
    reason, words = one.after(0.4, 0.4)
    assert reason == "timeout" and one.signals == []
    assert words == (
        "the file was still being imported and was stopped after 22 s: is there a loop that does "
        "not end?"
    )


def test_a_child_that_cannot_be_told_is_ended_all_the_same(
    watched: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: Any) -> None:
        raise ProcessLookupError

    one = watched()
    monkeypatch.setattr(module.os, "kill", gone)
    assert one.after(23, 23) is None
    assert one.after(6.1) is not None


def test_the_whole_day(watched: Any) -> None:
    def day(**usage: float) -> Any:
        one = watched(seconds=50.0)
        one.seen.limit = 10_000.0
        return one

    one = day()
    assert one.after(49.8, 49.8) is None
    assert one.after(0.3, 0.3) == ("timeout", "the day was stopped after 50 s.")
    one = day()
    assert one.after(49, 200) is None  # threads
    assert one.after(2, 1) == ("timeout", "the day was stopped after 51 s.")
    one = day()
    for _ in range(12):
        assert one.after(40, 1) is None
    assert one.after(30, 1) == ("timeout", "the day was stopped after 13 s.")
    one = day()
    one.works = False
    assert one.after(49.8) is None
    assert one.after(0.3) == ("timeout", "the day was stopped: for 50 s it has only waited.")


# How it ended -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (-signal.SIGSEGV, "the process touched memory that is not its own (segmentation fault)"),
        (-signal.SIGABRT, "the process was aborted by a library"),
        (-signal.SIGFPE, "the process divided an integer by zero in native code"),
        (-signal.SIGKILL, "the process was killed, perhaps for want of memory"),
        (-signal.SIGBUS, "the process touched memory that is not there (bus error)"),
        (-signal.SIGTERM, "the process was ended by SIGTERM"),
        (0, "the process ended itself (os._exit(0)?)"),
        (3, "the process ended itself (os._exit(3)?)"),
        (LAUNCHER_GONE, "the process that had started it was killed with it"),
    ],
)
def test_how_it_ended(status: int, words: str) -> None:
    for seen, imported in (
        (Attempt(running="test_a"), False),
        (Attempt(collected=[("test_a", "f")]), False),
        (Attempt(), True),
    ):
        reason, said = module._how_it_ended(status, seen)
        assert reason == "died" and said.startswith(words)
        assert ("while the file was imported" in said) is imported


def test_the_learners_line_of_a_crash(tmp_path: Any) -> None:
    output = 'Fatal\n  File "/x/day03.py", line 9\n  File "{}", line 12 in f\n'
    folder = ROOT / "tracks" / "triton"
    for impl, file in (
        ("learner", folder / "day03.py"),
        ("solution", folder / "solutions" / "day03.py"),
        (str(tmp_path), tmp_path / "day03.py"),
    ):
        request = Request("triton", 3, impl)
        assert module._crash_place(output.format(file), request) == (str(file), 12)
        assert module._crash_place("nothing", request) == ("", 0)


# What the events say ----------------------------------------------------------------------------


def test_events_are_kept_track_of() -> None:
    seen = Attempt()
    track = module._track
    assert track(Event("collected", data={"tests": [["test_a", "f"], ["test_b", "g"]]}), seen)
    assert seen.collected == [("test_a", "f"), ("test_b", "g")]
    assert track(Event("started", "test_a", "f", {"seconds": 7.0}), seen)
    assert (seen.running, seen.exercise, seen.limit) == ("test_a", "f", 7.0)
    for kind in ("passed", "failed", "skipped"):
        track(Event("started", "test_b", "g"), seen)
        assert seen.limit == module.IMPORT_SECONDS
        seen.limit = 3.0
        assert track(Event(kind, "test_b", "g"), seen)
        assert (seen.running, seen.exercise, seen.limit) == ("", "g", module.IMPORT_SECONDS)
    lost = Event("context lost", "test_c", "h")
    assert track(lost, seen) and seen.lost is lost
    assert (seen.running, seen.exercise) == ("test_c", "h")
    assert not track(Event("measured"), seen)
    assert track(FINISHED, seen) and seen.limit == module.END_SECONDS


# A whole run ------------------------------------------------------------------------------------


class Child:
    """A child that writes what it is given, and ends with ``status``."""

    pid = 2**22 + 5  # no process has that number

    def __init__(self, events: bytes = b"", output: bytes = b"", status: int | None = 0) -> None:
        self.events, self.output, self.status = events, output, status
        self.killed = 0

    def start(self, request: Request, events: int, output: int) -> Child:
        ends = [(os.dup(events), self.events), (os.dup(output), self.output)]
        self.writers = [threading.Thread(target=write, args=end, daemon=True) for end in ends]
        for writer in self.writers:
            writer.start()
        return self

    def on_cpu(self) -> Child:
        return self

    def poll(self) -> int | None:
        if self.killed:
            return -9
        return None if any(writer.is_alive() for writer in self.writers) else self.status

    def kill(self) -> None:
        self.killed += 1


def write(descriptor: int, data: bytes) -> None:
    try:
        while data:
            data = data[os.write(descriptor, data) :]
    except OSError:
        pass
    os.close(descriptor)


def line(event: Event) -> bytes:
    return event.to_json().encode() + b"\n"


STARTED, PASSED = Event("started", "test_a", "f"), Event("passed", "test_a", "f")
FINISHED = Event("finished")


def run(child: Child) -> tuple[Attempt, list[Event]]:
    noted: list[Event] = []
    open_before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    seen = attempt(Request("triton", 1), child, noted.append)  # type: ignore[arg-type]
    for writer in child.writers:
        writer.join()
    for thread in threading.enumerate():
        if thread is not threading.current_thread():
            thread.join(2)
    if open_before:
        assert len(os.listdir("/proc/self/fd")) == open_before, "a descriptor is left open"
    assert child.killed, "the group of the child is ended, however it went"
    return seen, noted


def test_a_run_that_finishes() -> None:
    events = [STARTED, PASSED, FINISHED]
    seen, noted = run(Child(b"".join(map(line, events)), b"printed\n"))
    assert noted == events
    assert not seen.died and seen.output == "printed\n" and seen.running == ""


def test_a_run_that_dies() -> None:
    seen, noted = run(Child(line(STARTED), b"x" * 4000, status=-11))
    assert seen.died and noted[0] == STARTED
    died = noted[1]
    assert (died.kind, died.test, died.exercise) == ("died", "test_a", "f")
    failure = died.data["failure"]
    assert failure["reason"] == "died" and "segmentation fault" in failure["message"]
    assert failure["detail"] == "x" * 3000


def test_a_run_that_takes_the_gpu_with_it() -> None:
    lost = Event("context lost", "test_a", "f")
    seen, noted = run(Child(line(STARTED) + line(lost), status=70))
    assert noted == [STARTED]  # the parent has more to say of it
    assert seen.died and seen.lost == lost


def test_of_a_flood_of_print_the_end_is_kept() -> None:
    kept = module.KEPT_OUTPUT
    seen, _ = run(Child(line(FINISHED), b"a" * kept + b"b" * 1234))
    first, rest = seen.output.split("\n", 1)
    assert first == "… 1,234 bytes that were printed before are left out."
    assert rest == "a" * (kept - 1234) + "b" * 1234
    seen, _ = run(Child(line(FINISHED), b"a" * kept))
    assert seen.output == "a" * kept
    seen, _ = run(Child(line(FINISHED), b"\xff\n"))
    assert seen.output == "\ufffd\n"


@pytest.mark.parametrize(
    "junk", [b"no json\n", b"[1]\n", b'{"kind": 3, "what": 4}\n', b'{"kind": "collected"}\n']
)
def test_what_the_pipe_of_events_is_not_for(junk: bytes) -> None:
    seen, noted = run(Child(line(STARTED) + junk + line(FINISHED), status=0))
    assert seen.died and noted[-1].kind == "died"
    assert (
        "wrote into the pipe over which the results are told"
        in (noted[-1].data["failure"]["message"])
    )
    assert FINISHED not in noted


def test_a_line_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LONGEST_EVENT", 1000)
    long = Event("measured", data={"x": "y" * 900})
    assert len(line(long)) <= 1001
    seen, noted = run(Child(line(long) + line(FINISHED)))
    assert not seen.died and noted[0] == long
    seen, noted = run(Child(b"y" * 1001))
    assert seen.died and "wrote into the pipe" in noted[0].data["failure"]["message"]


class Slow(Child):
    """Its pipes are closed a while before it ends."""

    left = 30

    def poll(self) -> int | None:
        status = super().poll()
        if status is not None and not self.killed:
            self.left -= 1
        return status if self.left < 0 or self.killed else None


def test_the_end_of_a_slow_child_is_waited_for() -> None:
    seen, noted = run(Slow(line(STARTED), status=3))
    assert seen.died and "os._exit(3)" in noted[-1].data["failure"]["message"]


def test_a_pipe_that_is_left_open_is_not_waited_for() -> None:
    """A process that the child left behind still holds the pipes."""

    class Holding(Child):
        def start(self, request: Request, events: int, output: int) -> Child:
            self.held = [os.dup(events), os.dup(output)]
            return super().start(request, events, output)

    child = Holding(line(STARTED) + line(PASSED) + line(FINISHED), b"printed")
    noted: list[Event] = []
    seen = attempt(Request("triton", 1), child, noted.append)  # type: ignore[arg-type]
    assert not seen.died and noted == [STARTED, PASSED, FINISHED] and seen.output == "printed"
    for descriptor in child.held:
        os.close(descriptor)


def test_every_test_has_its_own_limit_and_all_share_one_figure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    restarts: list[str] = []
    restart = module._Limits.restart

    def count(self: Any) -> None:
        restarts.append(self.seen.running)
        restart(self)

    def exceeded(self: Any) -> None:
        self.cpu_seconds = 2.5

    monkeypatch.setattr(module._Limits, "restart", count)
    monkeypatch.setattr(module._Limits, "exceeded", exceeded)
    other = Event("measured", "test_a", "f")
    child = Slow(b"".join(map(line, [STARTED, other, PASSED, FINISHED])), status=0)
    seen, _ = run(child)
    assert restarts == ["", "test_a", "", ""]  # at last of what it takes to end
    assert seen.cpu_seconds == 2.5


def test_the_line_of_a_crash_goes_with_it() -> None:
    file = ROOT / "tracks" / "triton" / "day01.py"
    _, noted = run(Child(line(STARTED), f'File "{file}", line 12 in f\n'.encode(), status=-11))
    failure = noted[-1].data["failure"]
    assert (failure["file"], failure["line"]) == (str(file), 12)


def test_ctrl_c_asks_for_last_words(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(module, "_last_words", lambda *what: asked.append(what))
    child = Child(line(STARTED) + line(PASSED), status=None)

    def note(event: Event) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        attempt(Request("triton", 1), child, note)  # type: ignore[arg-type]
    ((process, descriptor, arrived, told),) = asked
    assert process is child and isinstance(descriptor, int) and told is note
    assert isinstance(arrived, queue.Queue) and child.killed


def test_a_child_that_cannot_be_started() -> None:
    def start(*_: Any) -> None:
        raise OSError("no process")

    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    with pytest.raises(OSError, match="no process"):
        attempt(Request("triton", 1), SimpleNamespace(start=start), print)  # type: ignore[arg-type]
    if before:
        assert len(os.listdir("/proc/self/fd")) == before


def test_the_limits_end_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module._Limits, "exceeded", lambda self: ("timeout", "too long"))
    child = Child(line(STARTED), status=None)
    seen, noted = run(child)
    assert seen.died and noted[-1].kind == "died"
    assert noted[-1].data["failure"]["message"] == "too long"
    assert noted[-1].data["failure"]["reason"] == "timeout"


# The end ----------------------------------------------------------------------------------------


def test_what_is_ended() -> None:
    for status, ended in ((None, True), (LAUNCHER_GONE, True), (0, False), (-9, False)):
        calls: list[str] = []
        process: Any = SimpleNamespace(
            poll=lambda status=status: status, kill=lambda calls=calls: calls.append("group")
        )
        tree: Any = SimpleNamespace(end=lambda calls=calls: calls.append("tree"))
        module._end(process, tree)
        assert calls == (["tree", "group"] if ended else ["group"])


def test_the_end_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.time, "sleep", lambda _: None)
    left = [None, None, 5]
    killed: list[bool] = []
    process: Any = SimpleNamespace(poll=lambda: left.pop(0), kill=lambda: killed.append(True))
    assert module._wait(process) == 5 and not killed
    process.poll = lambda: None
    assert module._wait(process) == -9 and killed == [True]


def test_last_words(monkeypatch: pytest.MonkeyPatch) -> None:
    signals: list[tuple[int, int]] = []
    monkeypatch.setattr(module.os, "kill", lambda *what: signals.append(what))
    arrived: queue.Queue[tuple[int, bytes]] = queue.Queue()
    failed = Event("failed", "test_a", "f", {"failure": {}})
    text = line(PASSED) + line(failed) + line(FINISHED)
    for descriptor, chunk in ((3, text[:9]), (4, b"junk\n"), (3, text[9:])):
        arrived.put((descriptor, chunk))
    noted: list[Event] = []
    process: Any = SimpleNamespace(pid=77)
    module._last_words(process, 3, arrived, noted.append)
    assert signals == [(77, signal.SIGUSR1)]
    assert noted == [PASSED, failed]
    arrived.put((3, b"no json\n" + line(failed)))
    arrived.put((3, line(failed)))
    noted.clear()
    module._last_words(process, 3, arrived, noted.append)
    assert noted[-1] == failed
    assert json.loads(failed.to_json())["kind"] == "failed"


def test_last_words_are_waited_for_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: Any) -> None:
        raise ProcessLookupError

    monkeypatch.setattr(module.os, "kill", gone)
    clock = Clock()

    def monotonic() -> float:
        clock.now += 0.3
        return clock.now

    monkeypatch.setattr(module.time, "monotonic", monotonic)
    began = clock.now
    arrived: queue.Queue[tuple[int, bytes]] = queue.Queue()
    module._last_words(SimpleNamespace(pid=77), 3, arrived, print)  # type: ignore[arg-type]
    assert 1.0 <= clock.now - began <= 2.0


def test_the_ceiling_of_memory() -> None:
    import psutil

    assert module._memory_ceiling() == int(psutil.virtual_memory().total * 0.75)
