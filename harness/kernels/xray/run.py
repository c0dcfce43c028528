"""Compile reports of recorded launches: from the cache, else by one compiling process."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from harness.kernels.refusals import Refusal, explain
from harness.kernels.xray import cache
from harness.kernels.xray.launches import RecordedLaunch, load
from harness.kernels.xray.occupancy import chip_named
from harness.kernels.xray.report import KernelReport

DEFAULT_CHIPS = ("sm_80", "sm_90")
SECONDS_A_KERNEL = 120
Job = tuple[RecordedLaunch, str]


def xray(
    launches: Sequence[RecordedLaunch],
    chips: Sequence[str] = DEFAULT_CHIPS,
    folder: Path = cache.FOLDER,
    note: Callable[[int, int], None] = lambda done, total: None,
) -> list[KernelReport]:
    """A report for each launch and chip, in that order. ``note`` is told how many of those that
    have to be compiled are."""
    for chip in chips:
        chip_named(chip)
    jobs = [(launch, chip) for launch in launches for chip in chips]
    reports = {index: _known(job, folder) for index, job in enumerate(jobs)}
    missing = [index for index, report in reports.items() if report is None]
    compiled = _compile([jobs[i] for i in missing], note)
    for index, report in zip(missing, compiled, strict=True):
        launch, chip = jobs[index]
        reports[index] = report
        if report.refused is None or not report.refused.message.startswith(_DIED):
            cache.write(launch, chip, report, folder)
    return [report for report in reports.values() if report is not None]


def _known(job: Job, folder: Path) -> KernelReport | None:
    launch, chip = job
    if launch.problem is not None:
        refusal = Refusal(
            launch.file,
            launch.line,
            f"def {launch.kernel}",
            launch.problem,
            explain(launch.problem),
        )
        return _refused(launch, chip, refusal)
    if launch.measured is not None and launch.measured["chip"] == chip:
        return KernelReport.from_json(launch.measured).of_launches(launch.count, launch.examples)
    return cache.read(launch, chip, folder)


def _refused(launch: RecordedLaunch, chip: str, refusal: Refusal) -> KernelReport:
    return KernelReport(
        launch.kernel,
        launch.file,
        launch.line,
        chip,
        launch.specialisation(),
        launch.count,
        refused=refusal,
    )


_DIED = "the compiler ended without an answer"


def _compile(jobs: list[Job], note: Callable[[int, int], None]) -> list[KernelReport]:
    """One process for all jobs; another for those left over when a kernel kills the compiler."""
    done: list[KernelReport] = []
    while len(done) < len(jobs):
        before, left = len(done), jobs[len(done) :]
        answers, ended = _compiling_process(left, lambda n: note(before + n, len(jobs)))  # noqa: B023
        done += answers
        if len(answers) == len(left):
            break
        launch, chip = left[len(answers)]
        done.append(_refused(launch, chip, _died(launch, ended)))
    return done


def _died(launch: RecordedLaunch, ended: str) -> Refusal:
    return Refusal(
        launch.file,
        launch.line,
        f"def {launch.kernel}",
        f"{_DIED} ({ended})",
        "This kernel makes the compiler itself crash or never finish. Take parts away until it "
        "compiles to find the one that does it.",
    )


def environment() -> dict[str, str]:
    """Of the compiling process: no interpreter, one thread, this repository importable."""
    inherited = {k: v for k, v in os.environ.items() if k not in ("TRITON_INTERPRET",)}
    paths = [str(cache.ROOT), *filter(None, [inherited.get("PYTHONPATH")])]
    return {**inherited, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}


def _compiling_process(
    jobs: list[Job], note: Callable[[int], None]
) -> tuple[list[KernelReport], str]:
    """Reports as far as they came, and how the process ended where they are too few."""
    request = json.dumps([[launch.to_json(), chip] for launch, chip in jobs])
    with tempfile.TemporaryFile("w+") as complaints:
        process = subprocess.Popen(
            [sys.executable, "-m", "harness.kernels.xray.compile"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=complaints,
            text=True,
            env=environment(),
            cwd=cache.ROOT,
        )
        clock = threading.Timer(SECONDS_A_KERNEL * len(jobs), process.kill)
        clock.start()
        out = ""
        try:
            assert process.stdin is not None and process.stdout is not None
            with contextlib.suppress(BrokenPipeError), process.stdin:
                process.stdin.write(request)
            for number, row in enumerate(process.stdout):  # the first says that it is ready
                out += row
                note(number)
            process.wait()
        finally:
            clock.cancel()
            process.kill()  # an interrupt here must not leave it compiling
        complaints.seek(0)
        last = complaints.read().strip().splitlines()[-1:] or ["it said nothing"]
    rows = out.split("\n")[:-1]  # a process that was killed may leave half a line
    ended = f"exit code {process.returncode}: {last[0]}"
    if not rows:  # it did not get as far as saying that it is ready
        raise RuntimeError(f"the process that compiles kernels could not start ({ended})")
    return [KernelReport.from_json(json.loads(row)) for row in rows[1:]], ended


def report_launches(
    launches_json_path: str | Path, chips: Sequence[str] = DEFAULT_CHIPS, json: bool = False
) -> str:
    """The report of the launches that ``record.save`` wrote, for people or as JSON."""
    launches = load(Path(launches_json_path))
    reports = xray(launches, chips)
    return as_json(reports) if json else as_text(reports)


def as_json(reports: Sequence[KernelReport]) -> str:
    return json.dumps([report.to_json() for report in reports], indent=2)


def as_text(reports: Sequence[KernelReport]) -> str:
    if not reports:
        return "No kernel was launched, so there is nothing to compile."
    return "\n\n".join(report.text() for report in reports)
