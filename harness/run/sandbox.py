"""Grades code that nobody has read: in a room of its own, without what grading does not need.

A room is a copy of what a day's tests import, in which the day's own reference is not: where its
answers stood its exercises raise NotImplementedError. Later days, known bugs and the history are
not there either. The child sees the room, the submission and the programs of the system, and writes
into one folder that goes away with it (``harness.run.jail``). docs/threat-model.md says what that
stops.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from threading import Thread

from harness.curriculum import ROOT, Day, exercises_of, find_tracks, read_source, write_source
from harness.curriculum.source import split_lines
from harness.grading.unread import VARIABLE
from harness.protocol import SOLUTION, DayResult, ExerciseResult, Failure, Request, TestResult
from harness.run import run
from harness.run.attempt import LONGEST_EVENT
from harness.run.cold import Cold, quiet
from harness.run.jail import PARTS, Rules, landlock_version
from harness.run.process import Process
from harness.usage import Usage

SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc", "/opt", "/proc", "/sys")
DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/shm")
GPU = ("/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools", "/dev/nvidia-modeset",
       "/dev/nvidia-caps")  # fmt: skip
CACHES = ("HOME", "TMPDIR", "XDG_CACHE_HOME", "TRITON_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR",
          "MPLCONFIGDIR")  # fmt: skip
KEPT = ("PATH", "LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES", "CUDA_HOME",
        "OMP_NUM_THREADS", "DEVICE", "COLUMNS", "LINES", "TERM", "NO_COLOR")  # fmt: skip
"""What the child gets of the environment: no token or password that a shell may hold."""


@functools.cache
def parts_in_force() -> tuple[str, ...]:
    """The parts of the jail that work on this machine: each is tried in a process of its own."""
    if sys.platform != "linux":
        return ()
    found: tuple[str, ...] = ()
    for part in PARTS:
        rules = Rules((sys.prefix, sys.base_prefix, str(ROOT), *SYSTEM), DEVICES, (*found, part))
        tried = subprocess.run(
            [sys.executable, "-m", "harness.run.jail", rules.to_json(), sys.executable, "-c", ""],
            cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True,
        )  # fmt: skip
        if tried.returncode == 0:
            found = (*found, part)
    return found


class Sandboxed:
    """A launcher: every run is a new process in the jail. ``close`` removes its rooms.

    ``required``: refuse to run with less than all of PARTS, with a Usage that names what lacks.
    """

    def __init__(self, required: bool = False) -> None:
        self.in_force = parts_in_force()
        lacking = [part for part in PARTS if part not in self.in_force]
        if required and lacking:
            raise Usage(
                f"SANDBOX=required, and this machine lacks {', '.join(lacking)}"
                f"{'' if landlock_version() else ' (landlock needs Linux 5.13 and lsm=landlock)'}."
            )
        self._folder = Path(tempfile.mkdtemp(prefix="rooms-"))
        self._rooms: dict[str, Path] = {}
        self._tests: dict[tuple[str, int, str], frozenset[tuple[str, str]]] = {}
        atexit.register(self.close)

    def start(self, request: Request, events: int, output: int) -> Process:
        day = Day(request.track, request.day)
        room = self.room(day)
        own = Path(tempfile.mkdtemp(prefix="run-", dir=self._folder))
        gpu = gpu_devices() if request.device != "cpu" else ()
        rules = Rules(
            readable=(str(room), request.impl, sys.prefix, sys.base_prefix, *SYSTEM),
            writable=(str(own), *DEVICES, *gpu),
            parts=self.in_force,
            gpu=bool(gpu),
        )
        environment = {
            **{name: os.environ[name] for name in KEPT if name in os.environ},
            **quiet(), **{name: str(own) for name in CACHES}, "PYTHONPATH": str(room),
            "PYTHONDONTWRITEBYTECODE": "1", VARIABLE: "1",
        }  # fmt: skip
        heard, told = os.pipe()
        secret = secrets.token_hex(32).encode()
        command = [sys.executable, "-m", "harness.run.keeper", request.to_json(), str(told)]
        try:
            child = subprocess.Popen(
                [sys.executable, "-m", "harness.run.jail", rules.to_json(), *command],
                cwd=room, env={"OMP_NUM_THREADS": "1", **environment},
                stdin=subprocess.PIPE, stdout=output, stderr=output,
                pass_fds=(told,), start_new_session=True,
            )  # fmt: skip
        except BaseException:
            os.close(heard)
            raise
        finally:
            os.close(told)
        Thread(target=pass_on, args=(heard, os.dup(events), secret), daemon=True).start()
        with contextlib.suppress(OSError), child.stdin as stdin:  # type: ignore[union-attr]
            stdin.write(secret)
        return _Jailed(child, own)

    def on_cpu(self) -> Sandboxed:
        return self

    def cpu_seconds(self) -> float:
        times = os.times()
        return times.children_user + times.children_system

    def room(self, day: Day) -> Path:
        """What the day's tests need, made once."""
        if day.key not in self._rooms:
            room = self._folder / day.key.replace("/", "-")
            furnish(room, day)
            self._rooms[day.key] = room
        return self._rooms[day.key]

    def tests_of(self, day: Day, device: str) -> frozenset[tuple[str, str]]:
        """The names of the day's tests and their exercises, as the reference's run tells them."""
        key = (day.track, day.number, device)
        if key not in self._tests:
            request = Request(day.track, day.number, SOLUTION, SOLUTION, device=device)
            result = run(request, Cold())
            if not result.passed:
                problem = (
                    result.problems[0].message if result.problems else "some of its tests fail"
                )
                raise RuntimeError(f"the reference of {day.key} cannot be graded here: {problem}")
            self._tests[key] = frozenset((test.name, test.exercise) for test in result.tests)
        return self._tests[key]

    def close(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)


class _Jailed:
    def __init__(self, child: subprocess.Popen[bytes], own: Path) -> None:
        self._child, self._own = child, own
        self.pid = child.pid

    def poll(self) -> int | None:
        return self._child.poll()

    def kill(self) -> None:
        import signal

        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        self._child.wait()
        shutil.rmtree(self._own, ignore_errors=True)


FORGED = b"a line that the harness has not written\n"


def pass_on(heard: int, to: int, secret: bytes) -> None:
    """Hand the lines that begin with ``secret`` on, without it. Another line is the answer's: one
    that is no event is handed on in its place, upon which the run is ended."""
    rest = b""
    with contextlib.suppress(OSError):  # the run is over
        while chunk := os.read(heard, 65536):
            *whole, rest = (rest + chunk).split(b"\n")
            if len(rest) > LONGEST_EVENT:
                whole, rest = [*whole, b""], b""
            for line in whole:
                told = line[len(secret) :] + b"\n" if line.startswith(secret) else FORGED
                while told:
                    told = told[os.write(to, told) :]
    os.close(heard)
    os.close(to)


def gpu_devices() -> Sequence[str]:
    cards = [str(path) for path in Path("/dev").glob("nvidia[0-9]*")]
    return (*GPU, *cards) if cards else ()


def furnish(room: Path, day: Day) -> None:
    """Copy what grading ``day`` needs into the folder ``room``: never its reference."""
    shutil.copytree(ROOT / "harness", room / "harness")  # with __pycache__, which cannot be written
    for name in ("conftest.py", "pyproject.toml", "requirements.txt"):
        shutil.copy2(ROOT / name, room / name)
    (room / "tracks").mkdir()
    shutil.copy2(ROOT / "tracks" / "__init__.py", room / "tracks")
    for track in find_tracks():
        folder = room / "tracks" / track.name
        for part in ("solutions", "tests"):
            (folder / part).mkdir(parents=True)
        for path in track.folder.glob("*.py"):  # what days share; day files are the learner's
            if not path.name.startswith("day"):
                shutil.copy2(path, folder)
        for other in track.days:
            mine = track.name == day.track
            if mine and other.number > day.number:
                continue
            if other.tests.exists():
                shutil.copy2(other.tests, folder / "tests")
            if mine and other.number == day.number:
                write_source(folder / "solutions" / f"{day.name}.py", without_answers(day))
            else:
                shutil.copy2(other.solution, folder / "solutions")
        for path in track.folder.glob("tests/*"):  # what the tests of several days share
            if path.is_file() and not path.name.startswith("test_day"):
                shutil.copy2(path, folder / "tests")


def without_answers(day: Day) -> str:
    """The reference with its markers, and between them what a stub has."""
    source = read_source(day.solution)
    lines = split_lines(source)
    for exercise in exercises_of(source, day.solution):
        for answer in exercise.answers:
            indent = lines[answer.start - 1][: -len(lines[answer.start - 1].lstrip())]
            for number in range(answer.start, answer.end - 1):
                lines[number] = "\n"
            lines[answer.start] = f"{indent}{answer.stub}\n"
    return "".join(lines)


def grade_unread(
    day: Day,
    folder: Path,
    launcher: Sandboxed,
    seeds: tuple[int, int],
    device: str = "auto",
    memory_bytes: int = 0,
) -> DayResult:
    """Grade ``folder``/dayNN.py as code that nobody has read. → the result of both runs.

    It is graded twice, in new processes with different inputs, unless it passes nothing the first
    time. A test has passed if it passed twice; tests that the reference's run has and this one has
    not have failed. ``memory_bytes``: where it is stopped, by default at three quarters of the
    machine. RuntimeError: this machine cannot grade it, whatever the answer is.
    """
    request = Request(
        day.track, day.number, str(folder), device=device, known_bugs=False,
        memory_bytes=memory_bytes,
    )  # fmt: skip
    first = run(replace(request, seed=seeds[0]), launcher)
    # The device is chosen before anything of the answer is looked at.
    if not first.device and (lacks := [p for p in first.problems if p.reason == "error"]):
        raise RuntimeError(f"{day.key} cannot be graded in the sandbox here: {lacks[0].message}")
    if any(exercise.status == "passed" for exercise in first.exercises):
        second = run(replace(request, seed=seeds[1]), launcher)
    else:
        second = replace(first, seconds=0.0)
    return agreed(first, second, launcher.tests_of(day, device))


def agreed(first: DayResult, second: DayResult, expected: frozenset[tuple[str, str]]) -> DayResult:
    """Both runs as one: what failed in either has failed, and so has what is missing."""
    again = {test.name: test for test in second.tests}
    exercises = []
    for exercise in first.exercises:
        tests = [_worse(test, again.get(test.name), second.seed) for test in exercise.tests]
        names = {test.name for test in tests}
        for name in sorted(n for n, ex in expected if ex == exercise.name and n not in names):
            lost = Failure("died", "this test was not run, though the reference's run has it.")
            tests.append(TestResult(name, exercise.name, "failed", failure=lost))
        status = exercise.status
        if status == "passed" and any(t.outcome not in ("passed", "skipped") for t in tests):
            status = "wrong"
        exercises.append(ExerciseResult(exercise.name, status, tests, exercise.measures))
    problems = first.problems or second.problems
    return replace(
        first,
        exercises=exercises,
        problems=problems,
        seconds=first.seconds + second.seconds,
    )


def _worse(test: TestResult, again: TestResult | None, seed: int) -> TestResult:
    if again is None:
        lost = Failure("died", f"it passed, and with SEED={seed} it was not run.")
        return test if test.failure else replace(test, outcome="failed", failure=lost)
    if test.outcome == "passed" and again.outcome != "passed":
        failure = again.failure or Failure("died", "it was never reached")
        message = f"passed, but with SEED={seed} (new inputs): {failure.message}"
        return replace(again, outcome="failed", failure=replace(failure, message=message))
    return test
