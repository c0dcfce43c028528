"""``make grade``: a folder of submissions in, a gradebook out."""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.curriculum import Day, Track, find_day, find_tracks, generate_stub, read_source
from harness.grade import formats
from harness.grade.book import Gradebook, make_book
from harness.grade.local import grade_here
from harness.grade.page import page
from harness.grade.records import Kept, Records
from harness.grade.similar import Likeness, likeness
from harness.grade.submissions import Submission, read_all
from harness.grade.task import SANDBOX, Record, Task, is_stub, task_of
from harness.grade.weights import load_weights
from harness.progress import put
from harness.screen.pager import say
from harness.usage import Usage, check_choice, seed_of

ENGINES = ("local", "ray")
PRIOR = ("auto", "solution")
Place = tuple[str, str, int]
"""A student, a track, a day's number."""


@dataclass(frozen=True)
class Options:
    submissions: str
    out: str = ""
    engine: str = "local"
    weights: str = ""
    days: str = ""
    roster: str = ""
    sandbox: str = "auto"
    seed: str = ""
    device: str = "auto"
    prior: str = "auto"
    jobs: str = ""
    as_json: bool = False


def grade_class(options: Options) -> int:
    """Grade what is new, and write the gradebook of all. → 0; 3 where something was not graded"""
    if not options.submissions:
        raise Usage(
            "Whose work? make grade SUBMISSIONS=folder; it holds a folder or zip a student."
        )
    check_choice("ENGINE", options.engine, ENGINES)
    check_choice("SANDBOX", options.sandbox, SANDBOX)
    check_choice("DEVICE", options.device, ("auto", "cpu", "cuda"))
    check_choice("PRIOR", options.prior, PRIOR)
    if options.seed:
        seed_of(options.seed)
    jobs = _jobs(options.jobs)
    tracks = find_tracks()
    weights = load_weights(options.weights, tracks)
    roster = formats.load_roster(options.roster)
    wanted = days_of(options.days, tracks)
    folder = Path(options.submissions).resolve()
    submissions, left = read_all(folder, tracks)
    out = Path(options.out).resolve() if options.out else folder.with_name(f"{folder.name}-grades")
    if out == folder or folder in out.parents:
        raise Usage(f"OUT={out} lies among the submissions: choose another folder.")
    records = Records(out)
    seeds = records.seeds(options.seed)
    days = wanted or begun(submissions, tracks)
    tasks = [
        task_of(one, (day.track, day.number), seeds, options.device, options.sandbox, options.prior)
        for day in days
        for one in submissions
        if (day.track, day.number) in one.days
    ]
    say(f"{len(submissions)} submissions, {len(tasks)} days to grade, seed {seeds[0]}", sys.stderr)
    run = _Run(records, tasks)
    stopped = run.grade(options.engine, jobs, options.sandbox)
    book = make_book(submissions, days, run.records, run.failures, weights, seeds, left)
    write_book(book, submissions, out, roster)
    _tell(book, run, out, options.as_json)
    return 130 if stopped else 3 if run.failures else 0


class _Run:
    """What was known before, and what this run adds."""

    def __init__(self, records: Records, tasks: Sequence[Task]) -> None:
        self._kept = records
        self.records: Kept[Place] = Kept(records)
        self.failures: dict[Place, str] = {}
        self.new = 0
        self._new: list[Task] = []
        self._started = time.monotonic()
        for task in tasks:
            if records.get(task.key) is not None:
                self.records.note(_place(task), task.key)
            else:
                self._new.append(task)

    def grade(self, engine: str, jobs: int, sandbox: str) -> bool:
        """→ whether Ctrl-C stopped it; what is graded by then is kept."""
        if self.records:
            say(f"{len(self.records)} of them were graded before", sys.stderr)
        if not self._new:
            return False
        try:
            if engine == "ray":
                from harness.grade.cluster import grade_on_cluster

                grade_on_cluster(self._new, self._done)
            else:
                grade_here(self._new, self._done, jobs, sandbox)
        except KeyboardInterrupt:
            say("stopped: the same command goes on from here", sys.stderr)
            return True
        return False

    def _done(self, task: Task, record: Record | None, problem: str) -> None:
        place = _place(task)
        if record is None:
            self.failures[place] = problem
            word = f"not graded: {problem}"
        else:
            self._kept.add(record)
            self.records.note(place, record.key)
            self.new += 1
            passed = sum(e.status == "passed" for e in record.result.exercises)
            word = f"{passed}/{len(record.result.exercises)}"
        count = self.new + len(self.failures)
        left = (len(self._new) - count) * (time.monotonic() - self._started) / count
        say(f"[{count}/{len(self._new)}, {left:.0f} s left] {task.student}: {task.track} day "
            f"{task.day}: {word}", sys.stderr)  # fmt: skip


def begun(submissions: Sequence[Submission], tracks: Sequence[Track]) -> list[Day]:
    """The days that someone handed in as more than the stub."""
    return [
        day
        for track in tracks
        for day in track.days
        if any(
            not is_stub(day, one.days[track.name, day.number].content)
            for one in submissions
            if (track.name, day.number) in one.days
        )
    ]


def days_of(text: str, tracks: Sequence[Track]) -> list[Day]:
    """``DAYS=triton/1,pytorch/3-5,autodiff``, in the order of the tracks."""
    wanted: set[tuple[str, int]] = set()
    names = {track.name: track for track in tracks}
    for part in filter(None, re.split(r"[,\s]+", text)):
        name, slash, numbers = part.partition("/")
        if not slash and name in names:
            wanted |= {(name, day.number) for day in names[name].days}
            continue
        span = re.fullmatch(r"([0-9]+)-([0-9]+)", numbers)
        if not slash or (span is None and not numbers.isdigit()):
            raise Usage(f"DAYS={text}: write track/day, as in DAYS=triton/1,pytorch/3-5, "
                        f"not {part!r}.")  # fmt: skip
        first, last = (int(span[1]), int(span[2])) if span else (int(numbers), int(numbers))
        for number in range(first, last + 1):
            day = find_day(name, number)
            wanted.add((day.track, day.number))
    return [d for track in tracks for d in track.days if (d.track, d.number) in wanted]


def write_book(
    book: Gradebook, submissions: Sequence[Submission], out: Path, roster: formats.Roster
) -> None:
    """All files of the gradebook, each in one piece."""
    sources = {
        (one.student, track, number): found.content.decode("utf-8", "replace")
        for one in submissions
        for (track, number), found in one.days.items()
    }
    alike = {day.key: _alike(day, sources) for day in book.days}
    made = time.strftime("%d %B %Y, %H:%M")
    put(out / "gradebook.csv", formats.gradebook_csv(book))
    put(out / "gradebook.json", formats.gradebook_json(book))
    put(out / "gradebook.html", page(book, alike, sources, made).encode("utf-8", "replace"))
    put(out / "moodle.csv", formats.moodle_csv(book, roster))
    put(out / "canvas.csv", formats.canvas_csv(book, roster))
    for name in ("gradescope", "classroom", "logs"):
        (out / name).mkdir(exist_ok=True)
    for student in book.students:
        name = formats.file_name(student.name)
        (out / "gradescope" / name).mkdir(exist_ok=True)
        put(out / "gradescope" / name / "results.json", _json(formats.gradescope_json(student)))
        put(out / "classroom" / f"{name}.json", _json(formats.classroom_json(student)))
        log = [student.name, student.source, *student.log, *(day.log for day in student.days)]
        put(out / "logs" / f"{name}.txt", ("\n".join(log) + "\n").encode("utf-8", "replace"))


def _alike(day: Day, sources: dict[Place, str]) -> Likeness:
    mine = {
        student: text
        for (student, track, number), text in sources.items()
        if (track, number) == (day.track, day.number)
    }
    return likeness(mine, generate_stub(read_source(day.solution), day.solution))


def _tell(book: Gradebook, run: _Run, out: Path, as_json: bool) -> None:
    if as_json:
        print(json.dumps(book.to_plain(), indent=1))
        return
    whole = sum(s.points >= s.out_of > 0 for s in book.students)
    print(
        f"{len(book.students)} submissions: {run.new} days graded now, "
        f"{len(run.records) - run.new} known, {len(run.failures)} not graded; "
        f"{whole} have all points."
    )
    print(f"{out}/gradebook.html: open it in a browser.")


def _place(task: Task) -> Place:
    return task.student, task.track, task.day


def _json(data: object) -> bytes:
    return (json.dumps(data, indent=1, ensure_ascii=False) + "\n").encode("utf-8", "replace")


def _jobs(text: str) -> int:
    if not text:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    if not text.isdigit() or not int(text):
        raise Usage(f"JOBS={text} is not a number of days to grade at a time: use 1 or more.")
    return int(text)
