"""One child process from start to end: read its events, hold it to its limits, say how it ended."""

from __future__ import annotations

import os
import queue
import re
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field

from harness.curriculum import ROOT, Day
from harness.protocol import LEARNER, SOLUTION, Event, Failure, Reason, Request
from harness.run.process import LAUNCHER_GONE, Launcher, Process
from harness.run.tree import Tree

KEPT_OUTPUT = 64 * 1024
LONGEST_EVENT = 8 * 1024 * 1024
"""Bytes. A longer line on the events' pipe is none of the harness's."""
LATE = 2.0
"""Computed seconds over a test's own limit after which the child is told to stop it."""
GRACE = 6.0
"""Seconds after which a child that was told so, and still runs the test, is ended."""
WALL = 10.0
"""How many times its limit anything may take on the clock: the last resort on a busy machine."""
SILENT = 20
"""How often nothing is heard, a twentieth of a second each, before an ended child has told all: on
a busy machine the threads that listen are late."""
LOOK = 0.2
KILLED = 9
"""SIGKILL's number; Windows has no name for it."""
IMPORT_SECONDS = 60.0
"""What importing torch and the graded file may take; a test's limit comes with the test."""
END_SECONDS = 5.0
"""What a process may take to end once all is told: a thread of the answer's may never."""


@dataclass
class Attempt:
    """What one child did."""

    collected: list[tuple[str, str]] = field(default_factory=list)
    running: str = ""
    exercise: str = ""
    limit: float = IMPORT_SECONDS
    died: bool = False
    lost: Event | None = None
    """A test that took the GPU's context with it; the process had to end."""
    cpu_seconds: float = 0.0
    output: str = ""


def attempt(request: Request, launcher: Launcher, note: Callable[[Event], None]) -> Attempt:
    """Start a child for ``request`` and pass its events to ``note`` until it has ended."""
    seen = Attempt()
    events_read, events_write = os.pipe()
    output_read, output_write = os.pipe()
    try:
        process = launcher.start(request, events_write, output_write)
    except BaseException:
        os.close(events_read)
        os.close(output_read)
        raise
    finally:
        os.close(events_write)
        os.close(output_write)
    tree, over = Tree(process.pid), threading.Event()
    arrived: queue.Queue[tuple[int, bytes]] = queue.Queue(maxsize=64)  # a flood waits in its pipe
    for descriptor in (events_read, output_read):  # threads: Windows selects on sockets only
        threading.Thread(target=_drain, args=(descriptor, arrived, over), daemon=True).start()
    try:
        _follow(request, process, tree, events_read, output_read, arrived, seen, note)
    except KeyboardInterrupt:
        _last_words(process, events_read, arrived, note)
        raise
    finally:
        over.set()
        _end(process, tree)
        os.close(events_read)
        os.close(output_read)
    return seen


def _end(process: Process, tree: Tree) -> None:
    """End the child, and what it started, in whatever session that is."""
    if process.poll() in (None, LAUNCHER_GONE):
        tree.end()
    process.kill()


def _follow(
    request: Request,
    process: Process,
    tree: Tree,
    events: int,
    output: int,
    arrived: queue.Queue[tuple[int, bytes]],
    seen: Attempt,
    note: Callable[[Event], None],
) -> None:
    limits = _Limits(request, process, tree, seen)
    lines, tail = bytearray(), bytearray()
    printed = 0
    finished = False
    killed: tuple[Reason, str] | None = None
    status: int | None = None
    open_pipes, silent = 2, 0
    while open_pipes:
        try:
            descriptor, chunk = arrived.get(timeout=0.05)
            silent = 0
        except queue.Empty:
            silent += 1
            if status is not None and silent >= SILENT:
                break  # ended; a process it left behind may still hold a pipe
            descriptor, chunk = -1, b""
        if descriptor >= 0 and not chunk:
            open_pipes -= 1
        elif descriptor == output:
            printed += len(chunk)
            tail += chunk
            del tail[:-KEPT_OUTPUT]
        elif descriptor == events and killed is None:
            lines += chunk
            *whole, rest = lines.split(b"\n") if b"\n" in chunk else (lines,)
            lines = bytearray(rest)
            try:
                if len(lines) > LONGEST_EVENT:
                    raise ValueError
                for event in [Event.from_json(line.decode()) for line in whole]:
                    finished = finished or event.kind == "finished"
                    if _track(event, seen):
                        limits.restart()
                    if event.kind != "context lost":  # the parent has more to say of it
                        note(event)
            except (ValueError, TypeError, KeyError):
                killed = ("died", "wrote into the pipe over which the results are told: do not.")
                finished = False
                _end(process, tree)
                status = -KILLED
        if status is None:
            status = process.poll()
        if status is None:
            killed = limits.exceeded()
            if killed:
                _end(process, tree)
                status = -KILLED
    if status is None:  # both pipes are closed: the end is near
        status = _wait(process)
    seen.cpu_seconds = limits.cpu_seconds
    seen.output = bytes(tail).decode(errors="replace")
    if printed > len(tail):
        left_out = f"… {printed - len(tail):,} bytes that were printed before are left out.\n"
        seen.output = left_out + seen.output
    seen.died = not finished
    if not finished and seen.lost is None:
        reason, message = killed or _how_it_ended(status, seen)
        # what a learner needs of a crash is in the last lines: faulthandler's, or the driver's
        file, number = _crash_place(seen.output, request)
        failure = Failure(reason, message, file, number, detail=seen.output[-3000:])
        note(Event("died", seen.running, seen.exercise, {"failure": asdict(failure)}))


def _last_words(
    process: Process,
    events: int,
    arrived: queue.Queue[tuple[int, bytes]],
    note: Callable[[Event], None],
) -> None:
    """After Ctrl-C: have the test that runs stopped, so that its failure names the line."""
    with suppress(OSError, AttributeError):  # Windows has no SIGUSR1
        os.kill(process.pid, signal.SIGUSR1)
    lines, deadline = b"", time.monotonic() + 1.0
    while time.monotonic() < deadline:
        with suppress(queue.Empty, ValueError, TypeError, KeyError):
            descriptor, chunk = arrived.get(timeout=0.05)
            lines += chunk if descriptor == events else b""
            *whole, lines = lines.split(b"\n")
            for line in whole:
                event = Event.from_json(line.decode())
                note(event)
                if event.kind == "failed":
                    return


class _Limits:
    """What the child may use, in time that it computes: a busy machine is nobody's fault.

    A test that is over its limit is told to stop (SIGALRM, see harness.grading.limits), and its
    process is ended if it does not.
    """

    def __init__(self, request: Request, process: Process, tree: Tree, seen: Attempt) -> None:
        self.request, self.process, self.tree, self.seen = request, process, tree, seen
        self.cpu_seconds = 0.0
        self.started = time.monotonic()
        self._looked = 0.0
        self._ceiling = request.memory_bytes
        self.restart()

    def restart(self) -> None:
        """Another test begins."""
        self._since = self._worked = time.monotonic()
        self._before = self.cpu_seconds
        self._fresh = True
        self._told = 0.0

    def exceeded(self) -> tuple[Reason, str] | None:
        """Why the child has to be ended now, if it has."""
        now = time.monotonic()
        if now - self._looked < LOOK:
            return None
        self._looked = now
        used = self.tree.look()
        self.cpu_seconds = used.cpu_seconds
        if self._fresh:  # this test's share of what was used since the last look is not known
            self._before, self._fresh = self.cpu_seconds, False
        if used.working:
            self._worked = now
        self._ceiling = self._ceiling or _memory_ceiling()
        if used.resident_bytes > self._ceiling:
            return "died", (
                f"was stopped at {used.resident_bytes / 2**30:.1f} GB of memory (the ceiling is "
                f"{self._ceiling / 2**30:.1f} GB): does something grow without end, or have the "
                "wrong shape?"
            )
        return self._day_is_over(now) or self._test_is_over(now)

    def _day_is_over(self, now: float) -> tuple[Reason, str] | None:
        limit, wall = self.request.seconds, now - self.started
        if min(self.cpu_seconds, wall) > limit or wall > WALL * limit:
            return "timeout", f"the day was stopped after {min(self.cpu_seconds, wall):.0f} s."
        if now - self._worked > limit:
            return "timeout", f"the day was stopped: for {limit:.0f} s it has only waited."
        return None

    def _test_is_over(self, now: float) -> tuple[Reason, str] | None:
        limit, wall = self.seen.limit, now - self._since
        computed = min(self.cpu_seconds - self._before, wall)
        waiting = now - self._worked
        if computed < limit + LATE and waiting < limit + LATE and wall < WALL * limit + LATE:
            return None
        if self.seen.running:
            if not self._told:
                self._told = now
                with suppress(OSError, AttributeError):  # Windows has no SIGALRM
                    os.kill(self.process.pid, signal.SIGALRM)
            if now - self._told < GRACE:
                return None
        where = "was" if self.seen.running else "the file was still being imported and was"
        why = "is there a loop that does not end?"
        if computed < limit:
            why = f"of these it computed for {computed:.0f}: {_WAITS}"
        return "timeout", f"{where} stopped after {wall:.0f} s: {why}"


_WAITS = "does it wait for something that never comes?"


def _drain(descriptor: int, arrived: queue.Queue[tuple[int, bytes]], over: threading.Event) -> None:
    while True:
        try:
            chunk = os.read(descriptor, 1 << 16)
        except OSError:  # closed under us: the run is over
            chunk = b""
        while not over.is_set():
            with suppress(queue.Full):
                arrived.put((descriptor, chunk), timeout=0.5)
                break
        if not chunk or over.is_set():
            return


def _wait(process: Process) -> int:
    for _ in range(200):
        status = process.poll()
        if status is not None:
            return status
        time.sleep(0.01)
    process.kill()
    return -KILLED


def _track(event: Event, seen: Attempt) -> bool:
    """Keep what the event says of the run; → whether another limit begins."""
    if event.kind == "collected":
        seen.collected = [(name, exercise) for name, exercise in event.data["tests"]]
    elif event.kind == "started":
        seen.running, seen.exercise = event.test, event.exercise
        seen.limit = event.data.get("seconds", IMPORT_SECONDS)
    elif event.kind in ("passed", "failed", "skipped"):
        seen.running, seen.limit = "", IMPORT_SECONDS
    elif event.kind == "context lost":
        seen.running, seen.exercise, seen.lost = event.test, event.exercise, event
    elif event.kind == "finished":
        seen.limit = END_SECONDS
    else:
        return False
    return True


def _how_it_ended(status: int, seen: Attempt) -> tuple[Reason, str]:
    where = "" if seen.running or seen.collected else " while the file was imported"
    if status == LAUNCHER_GONE:
        return "died", (
            "the process that had started it was killed with it: by os.kill(os.getppid(), …) in "
            f"the answer{where}, or for want of memory."
        )
    if status < 0:
        name = signal.Signals(-status).name
        why = {
            "SIGSEGV": "touched memory that is not its own (segmentation fault)",
            "SIGABRT": "was aborted by a library",
            "SIGFPE": "divided an integer by zero in native code",
            "SIGKILL": "was killed, perhaps for want of memory",
            "SIGBUS": "touched memory that is not there (bus error)",
        }.get(name, f"was ended by {name}")
        return "died", f"the process {why}{where}."
    return "died", f"the process ended itself (os._exit({status})?){where}."


def _crash_place(output: str, request: Request) -> tuple[str, int]:
    """The learner's line in faulthandler's report."""
    day = Day(request.track, request.day, ROOT)
    names = {LEARNER: str(day.file), SOLUTION: str(day.solution)}
    own = names.get(request.impl, str(_absolute(request.impl, day.name)))
    match = re.search(rf'File "{re.escape(own)}", line (\d+)', output)
    return (own, int(match[1])) if match else ("", 0)


def _absolute(folder: str, name: str) -> str:
    return os.path.join(os.path.abspath(folder), f"{name}.py")


def _memory_ceiling() -> int:
    """Three quarters of the machine, so that a runaway ends before the machine swaps."""
    import psutil

    return int(psutil.virtual_memory().total * 0.75)
