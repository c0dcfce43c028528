"""The checks of one day. Each returns what is wrong, in sentences; an empty list is a proof."""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from harness.curriculum import (
    Bug,
    CurriculumError,
    Day,
    Track,
    apply_bug,
    generate_stub,
    load_bugs,
    read_source,
    write_source,
)
from harness.protocol import SOLUTION, DayResult, Event, Request, TestResult
from harness.run import Launcher, attempt, run
from harness.verify.figures import check_figures

DAY_SECONDS = 10.0
TRAINING_SECONDS = 20.0
"""CPU seconds that a day's tests should take; the second where a test declares more than 20 s."""
SLOW_MACHINE = 2.5
"""So many times of that are a finding. Less may be the machine's doing and is a note: a slow core,
or two processes on one core's two threads, takes up to twice as long as a fast and idle one."""
CROWDED = (5.0, 20.0, 60.0)
"""Seconds after which a test is tried again that found the GPU's memory taken: the other workers
that share the card hold much of it for seconds at a time."""
NO_MEMORY = (
    "CUDA out of memory", "CUDA error: out of memory", "[CUDA]: out of memory",
    "_STATUS_ALLOC_FAILED",
)  # fmt: skip
"""What torch, CUDA, Triton, and the libraries (cuBLAS, cuDNN) say then."""
MATERIAL = Path(__file__).with_name("material.py")


def check_reference(
    day: Day, launcher: Launcher, seed: int, device: str = "auto", exercise: str = ""
) -> list[str]:
    """The reference passes, every exercise by a test that ran, in time; or one ``exercise``."""
    result = _run(day, launcher, SOLUTION, seed, device, exercise=exercise)
    for pause in CROWDED:
        crowded = tuple(test.name for test in result.tests if _found_no_memory(test))
        if not crowded:
            break
        time.sleep(pause)
        again = _run(day, launcher, SOLUTION, seed, device, exercise=exercise, tests=crowded)
        later = {test.name: test for test in again.tests}
        for one in result.exercises:
            one.tests = [later.get(test.name, test) for test in one.tests]
    return reference_findings(day, result)


def used_by(result: DayResult) -> float:
    """CPU seconds of all exercises."""
    return sum(e.measures.get("cpu_seconds", 0.0) for e in result.exercises)


def time_limit(day: Day) -> float:
    """How many of them the day's tests should use."""
    slow = re.search(r"seconds=([3-9]\d|\d{3,})", _text(day.tests))
    return TRAINING_SECONDS if slow else DAY_SECONDS


def _found_no_memory(test: TestResult) -> bool:
    failure = test.failure
    return failure is not None and _says_no_memory(f"{failure.message}\n{failure.detail}")


def _says_no_memory(text: str) -> bool:
    return any(words in text for words in NO_MEMORY)


def reference_findings(day: Day, result: DayResult) -> list[str]:
    found = [f"the reference cannot be graded: {p.message}" for p in result.problems]
    for exercise in result.exercises:
        if not exercise.tests:
            found.append(f"no test grades {exercise.name}")
        for test in exercise.failed:
            why = f"{test.failure.message}\n{test.failure.detail}" if test.failure else "not run"
            found.append(f"{exercise.name}: the reference fails {test.name}: {why}")
        if exercise.status == "skipped" and not needs_another_chip(exercise.tests):
            found.append(f"every test of {exercise.name} is skipped: nothing proves it here")
    used, limit = used_by(result), time_limit(day)
    if result.device.get("kind") == "cpu" and used > SLOW_MACHINE * limit:
        found.append(
            f"the tests use {used:.1f} s of CPU time: {limit:.0f} s are due on an idle core, and "
            f"{SLOW_MACHINE * limit:.0f} s are more than a slow machine explains"
        )
    return found


def needs_another_chip(tests: Iterable[TestResult]) -> bool:
    """Whether these were left out because this machine has not the chip that all of them are for.

    Such a day is compiled for that chip (``material.test_compiled``), and proved where it is.
    """
    reasons = [test.skipped for test in tests if test.outcome == "skipped"]
    return bool(reasons) and all(re.match(r"needs .*\bsm_\d+a\b", reason) for reason in reasons)


def check_stub(day: Day, launcher: Launcher, seed: int, device: str = "auto") -> list[str]:
    """Every test fails on the freshly generated stub."""
    with tempfile.TemporaryDirectory(prefix="stub-") as folder:
        stub = generate_stub(read_source(day.solution), day.solution)
        write_source(Path(folder) / f"{day.name}.py", stub)
        result = _run(day, launcher, folder, seed, device, prior=SOLUTION)
    return stub_findings(result)


def stub_findings(result: DayResult) -> list[str]:
    found = [f"the stub cannot be graded: {p.message}" for p in result.problems]
    for exercise in result.exercises:
        for test in exercise.tests:
            if test.outcome == "passed":
                found.append(f"{exercise.name}: {test.name} passes on the untouched stub")
    return found


def check_bugs(
    day: Day, launcher: Launcher, seed: int, device: str = "auto", most: int | None = None
) -> list[str]:
    """A test of its exercise rejects every known bug, on the CPU, whose interpreter sees what a GPU
    lets pass, or on the GPU, where there is one; the first bug is tried on the GPU first. ``most``:
    only so many of them.

    Tests whose inputs hypothesis draws do not count: they reject a bug with most seeds, not all."""
    if not day.bugs.exists():
        return []
    found = []
    source = read_source(day.solution)
    try:
        bugs = load_bugs(day.bugs, source).bugs
    except CurriculumError as error:
        return [str(error)]
    gpu = False
    for bug in bugs[:most]:
        with tempfile.TemporaryDirectory(prefix="bug-") as folder:
            write_source(Path(folder) / f"{day.name}.py", apply_bug(source, bug, day.solution))
            results = _on_both(day, launcher, folder, seed, device, bug, gpu)
        gpu = any(result.device.get("kind") == "cuda" for result in results) or gpu
        where = f"bug {bug.number} ({bug.exercise}, {day.bugs.name}:{bug.line})"
        problems = [result.problems[0] for result in results if result.problems]
        if problems:
            found.append(f"{where} cannot be graded: {problems[0].message}")
        elif all(needs_another_chip(result.tests) for result in results):
            continue  # it fits the reference; what rejects it runs elsewhere
        elif not any(t.outcome == "failed" for result in results for t in result.tests):
            tried = " or on ".join(_place(result) for result in results)
            what = bug.find.strip()
            found.append(
                f"{where} is rejected by no test on {tried}, those whose inputs are drawn left "
                f"out: replaces {what!r}"
            )
        elif bug.by and _place(results[-1]) != "the GPU" and not _has_test(results[-1], bug.by):
            found.append(
                f"{where} is said to be rejected by {bug.by!r}, but no test of {bug.exercise} is "
                "called so"
            )
    return found


def _on_both(
    day: Day, launcher: Launcher, folder: str, seed: int, device: str, bug: Bug, gpu: bool
) -> list[DayResult]:
    """A wrong answer graded in one place and, unless a test rejects it there, in the other.

    Where there is known to be a GPU the CPU comes first: starting CUDA costs more than the tests
    of most bugs, and the interpreter sees more. That the GPU died of it is no rejection.
    """
    places = [(launcher, device)]
    if gpu:
        places.insert(0, (launcher.on_cpu(), "cpu"))
    results: list[DayResult] = []
    while places:
        where, on = places.pop(0)
        result = _run(
            day, where, folder, seed, on,
            prior=SOLUTION, exercise=bug.exercise, first=bug.by, first_failure=True, drawn=False,
        )  # fmt: skip
        results.append(result)
        if any(t.failure and t.failure.reason != "died" for t in result.tests):
            break
        if not gpu and len(results) == 1 and result.device.get("kind") == "cuda":
            places.append((launcher.on_cpu(), "cpu"))
    return results


def _has_test(result: DayResult, name: str) -> bool:
    return any(test.name == name for test in result.tests)


def _place(result: DayResult) -> str:
    if result.device.get("kind") == "cuda":
        return "the GPU"
    return "the interpreter" if result.track == "triton" else "the CPU"


def check_material(day: Day, launcher: Launcher, seed: int, device: str = "auto") -> list[str]:
    """The lesson's blocks run and print what they show; the examples pass; the bench is right.

    On a machine with a GPU the lesson runs on the CPU as well: it is one text for both."""
    request = Request(
        day.track, day.number, SOLUTION, seed=seed, device=device, test_file=str(MATERIAL)
    )
    for pause in (*CROWDED, 0.0):
        events: list[Event] = []
        attempt(request, launcher, events.append)
        if not any(_says_no_memory(str(event.data.get("failure"))) for event in events):
            break
        time.sleep(pause)
    if any(e.kind == "device" and e.data["device"]["kind"] == "cuda" for e in events):
        lesson = replace(request, device="cpu", tests=("test_lesson",))
        attempt(lesson, launcher.on_cpu(), events.append)
    found = []
    for event in events:
        if event.kind in ("failed", "died", "broken"):
            failure = event.data["failure"]
            found.append(f"{event.exercise or 'lesson'}: {failure['message']}")
    if not any(e.kind == "passed" for e in events) and not found:
        found.append("neither a lesson nor an example nor a bench ran")
    return found


CHECKS = {
    "reference": check_reference,
    "stub": check_stub,
    "bugs": check_bugs,
    "material": check_material,
    "figures": check_figures,
}


def check_stray(track: Track) -> list[str]:
    """Files in a track's folders that belong to no day: a day is a file in ``solutions``."""
    days = {day.name for day in track.days}
    found = []
    for path in sorted(track.folder.glob("*/*")) + sorted(track.folder.glob("day*.py")):
        match = re.search(r"day\d+", path.name)
        if match and match[0] not in days:
            found.append(f"{path.relative_to(track.folder)} belongs to no day")
    return found


def _run(
    day: Day,
    launcher: Launcher,
    impl: str,
    seed: int,
    device: str,
    prior: str = "auto",
    exercise: str = "",
    first_failure: bool = False,
    drawn: bool = True,
    tests: tuple[str, ...] = (),
    first: str = "",
) -> DayResult:
    request = Request(
        day.track, day.number, impl, prior, exercise, seed, device,
        first_failure=first_failure, drawn=drawn, tests=tests, first=first,
    )  # fmt: skip
    return run(request, launcher)


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""
