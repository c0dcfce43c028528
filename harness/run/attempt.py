"""One child process from start to end: read its events, hold it to its limits, say how it ended."""

from __future__ import annotations

import os
import queue
import re
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field

from harness.curriculum import ROOT, Day
from harness.protocol import LEARNER, SOLUTION, Event, Failure, Reason, Request
from harness.run.process import Launcher, Process

KEPT_OUTPUT = 64 * 1024
GRACE = 8.0
"""Seconds over a test's own limit after which the child is ended from outside."""
KILLED = 9
"""SIGKILL's number; Windows has no name for it."""
IMPORT_SECONDS = 60.0
"""What importing torch and the graded file may take; a test's limit comes with the test."""


@dataclass
class Attempt:
    """What one child did."""

    collected: list[tuple[str, str]] = field(default_factory=list)
    running: str = ""
    exercise: str = ""
    limit: float = IMPORT_SECONDS
    died: bool = False
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
    try:
        _follow(request, process, events_read, output_read, seen, note)
    finally:
        process.kill()
        os.close(events_read)
        os.close(output_read)
    return seen


def _follow(
    request: Request,
    process: Process,
    events: int,
    output: int,
    seen: Attempt,
    note: Callable[[Event], None],
) -> None:
    arrived: queue.SimpleQueue[tuple[int, bytes]] = queue.SimpleQueue()
    for descriptor in (events, output):  # threads, not select: Windows selects on sockets only
        threading.Thread(target=_drain, args=(descriptor, arrived), daemon=True).start()
    deadline = time.monotonic() + request.seconds
    since = looked = time.monotonic()
    ceiling = request.memory_bytes
    lines, tail = bytearray(), bytearray()
    finished = False
    killed: tuple[Reason, str] | None = None
    status: int | None = None
    open_pipes = 2
    while open_pipes:
        try:
            descriptor, chunk = arrived.get(timeout=0.05)
        except queue.Empty:
            if status is not None:
                break  # ended; a process it left behind may still hold a pipe
            descriptor, chunk = -1, b""
        if descriptor >= 0 and not chunk:
            open_pipes -= 1
        elif descriptor == output:
            tail += chunk
            del tail[:-KEPT_OUTPUT]
        elif descriptor == events:
            lines += chunk
            *whole, rest = lines.split(b"\n")
            lines = bytearray(rest)
            for line in whole:
                event = Event.from_json(line.decode())
                finished = finished or event.kind == "finished"
                since = time.monotonic()
                _track(event, seen)
                note(event)
        if status is None:
            status = process.poll()
        now = time.monotonic()
        if status is None and now - looked > 0.2:
            looked = now
            ceiling = ceiling or _memory_ceiling()
            killed = _over_limit(process, request, seen, deadline, since, ceiling)
            if killed:
                process.kill()
                status = -KILLED
    if status is None:  # both pipes are closed: the end is near
        status = _wait(process)
    seen.output = bytes(tail).decode(errors="replace")
    seen.died = not finished
    if not finished:
        reason, message = killed or _how_it_ended(status, seen)
        # what a learner needs of a crash is in the last lines: faulthandler's, or the driver's
        file, number = _crash_place(seen.output, request)
        failure = Failure(reason, message, file, number, detail=seen.output[-3000:])
        note(Event("died", seen.running, seen.exercise, {"failure": asdict(failure)}))


def _drain(descriptor: int, arrived: queue.SimpleQueue[tuple[int, bytes]]) -> None:
    while True:
        try:
            chunk = os.read(descriptor, 1 << 16)
        except OSError:  # closed under us: the run is over
            chunk = b""
        arrived.put((descriptor, chunk))
        if not chunk:
            return


def _wait(process: Process) -> int:
    for _ in range(200):
        status = process.poll()
        if status is not None:
            return status
        time.sleep(0.01)
    process.kill()
    return -KILLED


def _track(event: Event, seen: Attempt) -> None:
    if event.kind == "collected":
        seen.collected = [(name, exercise) for name, exercise in event.data["tests"]]
    elif event.kind == "started":
        seen.running, seen.exercise = event.test, event.exercise
        seen.limit = event.data.get("seconds", IMPORT_SECONDS)
    elif event.kind in ("passed", "failed", "skipped"):
        seen.running = ""


def _over_limit(
    process: Process, request: Request, seen: Attempt, deadline: float, since: float, ceiling: int
) -> tuple[Reason, str] | None:
    now = time.monotonic()
    if now > deadline:
        return "timeout", f"the day was stopped after {request.seconds:.0f} s."
    if now - since > seen.limit + GRACE:
        where = "was" if seen.running else "the file was still being imported and was"
        return "timeout", (
            f"{where} stopped after {now - since:.0f} s: is there a loop that does not end?"
        )
    used = _resident_bytes(process.pid)
    if used > ceiling:
        return "died", (
            f"was stopped at {used / 2**30:.1f} GB of memory (the ceiling is {ceiling / 2**30:.1f} "
            "GB): does something grow without end, or have the wrong shape?"
        )
    return None


def _how_it_ended(status: int, seen: Attempt) -> tuple[Reason, str]:
    where = "" if seen.running else " while the file was imported"
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
    if "DEAD CUDA CONTEXT" in seen.output:
        return "died", "the kernel crashed the GPU: an access out of bounds?"
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


def _resident_bytes(pid: int) -> int:
    import psutil

    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return 0
