"""``make bench``: runs each day's benches in a process of its own and shows what came back."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from harness.bench import machine
from harness.bench.compare import show_comparison
from harness.bench.request import BenchRequest
from harness.bench.results import DayBench, Report, day_from, load, save
from harness.bench.table import show
from harness.curriculum import ROOT, Day, UnknownDay, find_day, find_track, find_tracks
from harness.measure.units import counted

PASSED, FAILED, USAGE = 0, 1, 2
LAST = Path(".harness") / "bench"
USUAL_DAY, QUICK_DAY = 100.0, 25.0
"""Seconds, where a day was never benched here."""


def run_bench(
    track: str | None = None,
    day: int | None = None,
    against: str | Sequence[str] | None = None,
    quick: bool = False,
    json_path: str | Path | None = None,
    compare: str | Sequence[str] | None = None,
    impl: str = "learner",
    *,
    threads: int = 1,
    seed: int = 0,
    root: Path = ROOT,
    console: Console | None = None,
    on_day: Callable[[DayBench], None] | None = None,
    begun: Callable[[Day], bool] = lambda day: True,
) -> int:
    """Bench the chosen days and print tables; returns the exit code.

    ``against``: names of peers, or a comma-separated list. ``compare``: two result files instead
    of a run. ``impl``: whose answers are "yours"; "solution" measures the reference alone.
    ``threads``: of the CPU. Results go to ``.harness/bench`` with their plots, and to ``json_path``
    too. ``on_day`` receives each finished day (for the medal in progress). Of several days only
    those are measured that are ``begun``. Exit codes: 0 all right, 1 a wrong answer, a crash or a
    regression, 2 wrong usage.
    """
    console = console or Console()
    if compare is not None:
        return _compare(compare, console)
    try:
        days = benched_days(track, day, root)
    except UnknownDay as unknown:
        console.print(str(unknown), markup=False)
        return USAGE
    if not days:
        where = f" in {track}" if track else ""
        where += f" on day {day}" if day is not None else ""
        console.print(f"There is no bench{where}: not every day is about speed.", markup=False)
        others = benched_days(track, None, root) if day is not None else []
        if others:
            numbers = ", ".join(str(one.number) for one in others)
            console.print(f"Days of {track} with a bench: {numbers}.", markup=False)
        return USAGE
    if day is None and not any(begun(one) for one in days):
        console.print(
            f"You have begun none of the {len(days)} days with a bench. IMPL=solution measures "
            "their references.",
            markup=False,
        )
        return USAGE
    if day is None:
        days = [one for one in days if begun(one)]
    names = _names(against)
    report = Report(
        when=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        machine={},
        versions={},
        git=machine.git_state(root),
        options={"quick": quick, "against": names, "impl": impl, "seed": seed},
    )
    if len(days) > 1:
        console.print(_how_long(days, quick, root), markup=False)
    # A quick run asks once what the machine can do, a thorough one beside every day; and its next
    # process imports what it needs, which takes seconds, while the one before it still measures.
    ceilings: dict[str, dict[str, Any]] = {}
    with ExitStack() as stack:
        waiting: _Child | None = None
        for one in days:
            started = time.monotonic()
            kind = "cpu" if one.track == "autodiff" else "chosen"
            request = BenchRequest(
                one.track, one.number, impl, str(root), names, quick, seed, threads,
                ceilings.get(kind),
            )  # fmt: skip
            child = waiting or stack.enter_context(_Child(root, threads))
            waiting = None
            if quick and one is not days[-1]:
                waiting = stack.enter_context(_Child(root, threads))
            result = _run(child, request, report, console)
            if quick and result.ceilings:
                ceilings[kind] = result.ceilings
            result.seconds = time.monotonic() - started
            report.days.append(result)
            show(result, console)
            if on_day is not None:
                on_day(result)
    _keep(report, root, json_path, console)
    return FAILED if any(_failed(result) for result in report.days) else PASSED


def benched_days(track: str | None, day: int | None, root: Path) -> list[Day]:
    """The days that have a bench file, of one track or of all that DEVICE admits.

    UnknownDay for what does not exist.
    """
    if track is None and day is not None:
        raise UnknownDay(f"DAY={day} of which track? Add TRACK=triton, pytorch or autodiff.")
    if track is not None and day is not None:
        return [one for one in [find_day(track, day, root)] if one.bench.exists()]
    tracks = [find_track(track, root)] if track is not None else find_tracks(root)
    if track is None and os.environ.get("DEVICE") == "cuda":
        tracks = [found for found in tracks if found.name != "autodiff"]  # numpy has no GPU
    return [one for found in tracks for one in found.days if one.bench.exists()]


def _how_long(days: Sequence[Day], quick: bool, root: Path) -> str:
    """Minutes that all will take, by what each day took here the last time."""
    usual = QUICK_DAY if quick else USUAL_DAY
    total = sum(_last_seconds(day, quick, root) or usual for day in days)
    known = "by the last time" if any(_last_seconds(d, quick, root) for d in days) else "roughly"
    return f"{len(days)} days: about {max(round(total / 60), 1)} minutes ({known})."


def _last_seconds(day: Day, quick: bool, root: Path) -> float:
    """What the day took when it was benched last in this way; 0 where it never was."""
    try:
        report = load(root / LAST / f"{day.track}_day{day.number:02}.json")
    except ValueError:
        return 0.0
    return report.days[0].seconds if report.options.get("quick") == quick and report.days else 0.0


class _Child:
    """A process that measures one day: ready once it has imported torch, and ended on leaving."""

    def __init__(self, root: Path, threads: int) -> None:
        read, write = os.pipe()
        self.output = tempfile.TemporaryFile()  # noqa: SIM115 (closed on leaving)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "harness.bench.child", str(write)],
            cwd=root,
            env=child_environment(threads, root),
            pass_fds=(write,),
            stdin=subprocess.PIPE,
            stdout=self.output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        os.close(write)
        self.lines = os.fdopen(read, encoding="utf-8")

    def __enter__(self) -> _Child:
        return self

    def ask(self, request: BenchRequest) -> None:
        assert self.process.stdin is not None
        with suppress(BrokenPipeError), self.process.stdin as pipe:  # it died: that is told later
            pipe.write(json.dumps(asdict(request)).encode())

    def end(self) -> None:
        """End the whole group: nothing that a day started may outlive its bench."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.lines.close()

    def __exit__(self, *_: object) -> None:
        self.end()
        self.output.close()


def _run(child: _Child, request: BenchRequest, report: Report, console: Console) -> DayBench:
    """One day; the child's messages move the bar and its last one is the result."""
    found: dict[str, Any] = {}
    child.ask(request)
    try:
        with _bar(request, console) as move:
            for message in _messages(child.lines):
                if "day" in message:
                    found = message
                    break  # what the day left running does not hold the result up
                move(message)
        child.process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        pass
    finally:
        child.end()
    if found:
        report.machine, report.versions = found["machine"], found["versions"]
        return day_from(found["day"])
    child.output.seek(0, os.SEEK_END)
    child.output.seek(max(0, child.output.tell() - 2000))
    tail = child.output.read().decode(errors="replace").strip()
    return DayBench(request.track, request.day, problem=_death(child.process.returncode, tail))


def child_environment(threads: int, root: Path) -> dict[str, str]:
    """One thread unless told otherwise, for every library, before any of them is imported."""
    environment = dict(os.environ)
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        environment[name] = str(threads)
    environment.pop("TRITON_INTERPRET", None)  # the interpreter is never what is timed
    paths = [str(root), str(ROOT), environment.get("PYTHONPATH", "")]
    environment["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
    return environment


def _messages(lines: Any) -> Iterator[dict[str, Any]]:
    for line in lines:
        try:
            message = json.loads(line)
        except json.JSONDecodeError:  # the child died in the middle of a line
            return
        if isinstance(message, dict):
            yield message


class _bar:
    """The progress bar on a terminal; silence elsewhere."""

    def __init__(self, request: BenchRequest, console: Console) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task(f"{request.track} day {request.day:02d}", total=None)

    def __enter__(self) -> Callable[[dict[str, Any]], None]:
        self._progress.start()
        return self._move

    def _move(self, message: dict[str, Any]) -> None:
        self._progress.update(
            self._task,
            description=str(message.get("step", ""))[:40],
            completed=message.get("done", 0),
            total=message.get("of"),
        )

    def __exit__(self, *_: object) -> None:
        self._progress.stop()


def _death(code: int, tail: str) -> str:
    if code < 0:
        name = signal.Signals(-code).name
        why = f"the bench's process was ended by {name}"
        if name == "SIGKILL":
            why += " (out of memory?)"
    else:
        why = f"the bench's process ended with code {code} before it had a result"
    return f"{why}. The end of what it printed:\n{tail}" if tail else f"{why}."


def _keep(report: Report, root: Path, json_path: str | Path | None, console: Console) -> None:
    folder = root / LAST
    save(report, folder / "last.json")
    for day in report.days:  # the newest of every day stays, for the page of make report
        if not day.problem:
            save(replace(report, days=[day]), folder / f"{day.track}_day{day.day:02}.json")
    if json_path is not None:
        save(report, Path(json_path))
    from harness.bench.plots import draw  # matplotlib takes a second to import

    drawn = [path for result in report.days for path in draw(result, folder)]
    if drawn:
        plots = counted(len(drawn), "plot")
        console.print(f"{plots} and last.json in {LAST}", markup=False)


def _failed(result: DayBench) -> bool:
    if result.problem:
        # Without a GPU a Triton day has nothing to time: said, and no failure.
        return not result.problem.startswith("no GPU")
    figures = [f for bench in result.benches for case in bench.cases for f in case.figures]
    return any(f.error for f in figures)


def _compare(compare: str | Sequence[str], console: Console) -> int:
    names = _names(compare) or []
    if len(names) != 2:
        console.print("COMPARE takes two result files: COMPARE=a.json,b.json", markup=False)
        return USAGE
    try:
        return show_comparison([Path(name) for name in names], console)
    except ValueError as wrong:
        console.print(str(wrong), markup=False)
        return USAGE


def _names(given: str | Sequence[str] | None) -> list[str] | None:
    if given is None:
        return None
    parts = given.split(",") if isinstance(given, str) else given
    return [part.strip() for part in parts if part.strip()]
