"""The grading of one day of one student: what it needs, as plain data, and what it gives."""

from __future__ import annotations

import ast
import hashlib
import json
import platform
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any

from harness.curriculum import Day, generate_stub, read_source
from harness.curriculum.source import decoded, normalised, syntax_tree
from harness.grade.submissions import Key, Submission
from harness.protocol import DayResult, ExerciseResult
from harness.run.process import Process
from harness.run.sandbox import Sandboxed, grade_unread
from harness.usage import check_choice

SANDBOX = ("auto", "required", "off")


@dataclass(frozen=True)
class Task:
    """Everything that a machine which has the project needs to grade one day of one student."""

    student: str
    track: str
    day: int
    files: dict[int, bytes]
    """The day, and the earlier days of the track that this student handed in."""
    seeds: tuple[int, int]
    device: str = "auto"
    sandbox: str = "auto"

    @property
    def key(self) -> str:
        """Names the task and all that its result depends on, but for the machine."""
        day = Day(self.track, self.day)
        parts = [self.student, self.track, str(self.day), str(self.seeds), self.device]
        digest = hashlib.sha256(json.dumps(parts).encode())
        for path in (day.tests, day.solution):
            digest.update(hashlib.sha256(path.read_bytes()).digest())
        for number, content in sorted(self.files.items()):
            digest.update(b"%d" % number + hashlib.sha256(content).digest())
        return digest.hexdigest()[:32]


@dataclass(frozen=True)
class Record:
    """A task's result, as it is kept."""

    key: str
    student: str
    track: str
    day: int
    sha256: str
    result: DayResult
    sandbox: list[str] = field(default_factory=list)
    """What of the sandbox was in force; nothing for a stub, which is not run."""
    machine: str = ""
    when: str = ""
    seconds: float = 0.0

    def to_json(self) -> str:
        return json.dumps({**asdict(self), "result": json.loads(self.result.to_json())}, indent=1)

    @staticmethod
    def from_json(text: str) -> Record:
        data: dict[str, Any] = json.loads(text)
        data["result"] = DayResult.from_json(json.dumps(data["result"]))
        return Record(**data)


def task_of(
    submission: Submission, key: Key, seeds: tuple[int, int], device: str, sandbox: str, prior: str
) -> Task:
    track, number = key
    files = {
        day: found.content
        for (its_track, day), found in submission.days.items()
        if its_track == track and (day == number or (day < number and prior == "auto"))
    }
    return Task(submission.student, track, number, files, seeds, device, sandbox)


ENOUGH = 4 * 1024**3
"""Bytes of memory that a day may take on any machine that has them: torch and a GPU's libraries are
large."""


def share_of_memory(total: int, at_a_time: int) -> int:
    """Where a day is stopped of which several are graded at a time: together they leave a quarter
    of the machine free, if each needs no more than ENOUGH."""
    most = total * 3 // 4
    return min(most, max(ENOUGH, most // at_a_time))


class Launcher(Sandboxed):
    """The sandbox as a teacher asked for it; ``stop`` ends what runs in it.

    ``at_a_time``: how many days are graded beside each other, among which memory is shared.
    """

    def __init__(self, sandbox: str = "auto", at_a_time: int = 1) -> None:
        super().__init__(required=check_choice("SANDBOX", sandbox, SANDBOX) == "required")
        if sandbox == "off":
            self.in_force = ()
        import psutil

        self.memory_bytes = share_of_memory(psutil.virtual_memory().total, at_a_time)
        self._lock = Lock()
        self._running: set[Process] = set()
        self._stopped = False

    def start(self, request: Any, events: int, output: int) -> Process:
        with self._lock:
            if self._stopped:
                raise KeyboardInterrupt
            process = super().start(request, events, output)
            self._running = {p for p in self._running if p.poll() is None} | {process}
        return process

    def prepare(self, day: Day, device: str) -> None:
        """Make what all gradings of a day share, once."""
        with self._preparing:
            self.room(day)
            self.tests_of(day, device)

    _preparing = Lock()

    def stop(self) -> None:
        with self._lock:
            self._stopped = True
            for process in self._running:
                process.kill()


def grade_task(task: Task, launcher: Launcher) -> Record:
    """Grade it here."""
    started = time.monotonic()
    day = Day(task.track, task.day)
    content = task.files[task.day]
    result = _not_started(day, content, task.seeds[0])
    in_force: tuple[str, ...] = ()
    if result is None:
        in_force = launcher.in_force
        launcher.prepare(day, task.device)
        with tempfile.TemporaryDirectory(prefix="handed-in-") as name:
            folder = Path(name).resolve()
            for number, written in task.files.items():
                (folder / f"{Day(task.track, number).name}.py").write_bytes(written)
            result = grade_unread(
                day, folder, launcher, task.seeds, task.device, launcher.memory_bytes
            )
        result = _without(result, f"{folder}/")
    return Record(
        key=task.key, student=task.student, track=task.track, day=task.day,
        sha256=hashlib.sha256(content).hexdigest(), result=result,
        sandbox=list(in_force), machine=platform.node(),
        when=time.strftime("%Y-%m-%dT%H:%M:%S%z"), seconds=time.monotonic() - started,
    )  # fmt: skip


def _without(result: DayResult, folder: str) -> DayResult:
    """The result without the path of a folder that is gone."""
    return DayResult.from_json(result.to_json().replace(json.dumps(folder)[1:-1], ""))


def _not_started(day: Day, content: bytes, seed: int) -> DayResult | None:
    """The result of a file that is the stub: those who hand in a whole project hand in many."""
    if not is_stub(day, content):
        return None
    exercises = [ExerciseResult(e.name, "not started") for e in day.exercises]
    return DayResult(day.track, day.number, day.title, "", seed, exercises)


def is_stub(day: Day, content: bytes) -> bool:
    """Whether a file is the day's stub, comments and layout aside."""
    try:
        written = syntax_tree(normalised(decoded(content, day.name)))
    except SyntaxError:
        return False
    return ast.dump(written) == _stub_of(day)


def _stub_of(day: Day, _made: dict[str, str] = {}) -> str:  # noqa: B006  (kept on purpose)
    if day.key not in _made:
        stub = generate_stub(read_source(day.solution), day.solution)
        _made[day.key] = ast.dump(syntax_tree(stub))
    return _made[day.key]
