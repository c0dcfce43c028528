"""One day's result on the terminal: right without colour, at 80 columns."""

from __future__ import annotations

import os
import re
from itertools import pairwise
from pathlib import Path

from rich.console import Console
from rich.text import Text

from harness.curriculum import ELECTIVES, ROOT, place_of
from harness.measure.units import bytes_text, counted, seconds_text
from harness.protocol import CHANGED, LEARNER, DayResult, ExerciseResult, Failure, TestResult
from harness.screen.pager import wrapped
from harness.screen.problems import list_problems

_MARKS = {"passed": "✓", "wrong": "✗", "not started": "·", "skipped": "-"}
_PLAIN = {"passed": "ok", "wrong": "X", "not started": ".", "skipped": "-"}
_STYLES = {"passed": "green", "wrong": "bold red", "not started": "dim", "skipped": "yellow"}
_SHOWN = 2
"""How many failing tests of one exercise are told in full; the others are counted."""
_PRINTED = 10
"""How many lines of what a failing test printed are shown."""
_SAID = 16
"""How many lines of a message are shown."""
_NUMBERS = re.compile(r"\[((?:[-+]?[\d.]+(?:e[-+]?\d+)?j?|nan|-?inf|True|False|[\s,])*)\]")
_MARKS_BELOW = re.compile(r"\s*[\^~]+\s*")
_NO_FLAG = "Use -v to get more diff"
"""pytest's, of a flag that make has not."""
_FEW = 8
"""So many numbers in a row are all shown."""


def show(
    result: DayResult, console: Console, verbose: bool = False, left: list[str] | None = None
) -> None:
    """Print ``result``: what passed, what failed and why, with what, and what to do next.

    ``left``: where one exercise was graded, the day's others that are not known to pass.
    """
    _head(result, console)
    for number, problem in enumerate(result.problems):
        if number:
            console.print()
        _problem(problem, console, verbose)
    if result.problems and result.tests:
        console.print()
    if not result.problems or result.tests:
        width = max((len(e.name) for e in result.exercises), default=0)
        for exercise in result.exercises:
            _exercise(exercise, width, console, verbose)
    _foot(result, console, verbose, left)
    list_problems(result, console)


def _head(result: DayResult, console: Console) -> None:
    console.print()
    title = f"Day {result.day}: {result.title}" if result.title else f"Day {result.day}"
    console.print(Text(title, style="bold"), Text(f"  {result.track}", style="dim"), sep="")
    for file in result.files:
        whose = {"learner": "yours", "solution": "reference"}.get(file.whose, "from IMPL")
        console.print(Text(f"{_short(file.path)}  {file.hash}  ({whose})", style="dim"))
        if file.note:
            console.print(Text(f"  {file.note}", style="yellow"))
    console.print()


def _problem(problem: Failure, console: Console, verbose: bool) -> None:
    place = f"{_short(problem.file)}:{problem.line}: " if problem.file else ""
    _paragraph(f"{place}{problem.message}", console, "  ", style="bold red")
    if verbose and problem.detail:
        _traceback(problem.detail, console, "    ")


def _exercise(exercise: ExerciseResult, width: int, console: Console, verbose: bool) -> None:
    status = exercise.status
    marks = _MARKS if "utf" in (console.encoding or "").lower() else _PLAIN
    line = Text("  ")
    line.append(marks[status], style=_STYLES[status])
    line.append(f" {exercise.name:<{width}}  ")
    line.append(_summary(exercise), style="" if status == "wrong" else "dim")
    console.print(line)
    if status == "wrong" and exercise.tests and not any(test.failure for test in exercise.failed):
        _paragraph("The process ended before them.", console, "      ", style="dim")
    elif status == "wrong":
        ran = [test for test in exercise.failed if test.outcome == "failed"] or exercise.failed
        shown = ran if verbose else _different(ran)[:_SHOWN]
        for number, test in enumerate(shown):
            _failed_test(test, console, verbose)
            if verbose or number == 0:
                _printed(test, console, verbose)
        more = len(ran) - len(shown)
        if more > 0:
            note = (
                f"and {more} more failing test{'s' * (more > 1)} (V=1 shows all, with tracebacks)"
            )
            console.print(Text(f"      {note}", style="dim"))
    elif status == "skipped" or (verbose and status == "passed"):
        for reason in sorted({t.skipped for t in exercise.tests if t.skipped}):
            _paragraph(f"skipped: {reason}", console, "      ", style="yellow")


def _different(failed: list[TestResult]) -> list[TestResult]:
    """The failing tests without those that only say again what an earlier one says."""
    seen: dict[str, TestResult] = {}
    for test in failed:
        text = test.failure.message if test.failure else ""
        seen.setdefault(re.sub(r"[\d.,]+", "#", text)[:60], test)
    return list(seen.values())


def _summary(exercise: ExerciseResult) -> str:
    total = len(exercise.tests)
    not_run = sum(test.outcome == "unfinished" for test in exercise.tests)
    failed = len(exercise.failed) - not_run
    if exercise.status == "not started":
        return "not started"
    if exercise.status == "wrong":
        if not failed:
            return f"{_counted(not_run, total)} not run" if total else "no test ran"
        rest = f" · {not_run} not run" if not_run else ""
        return f"{_counted(failed, total)} fail{'s' * (total == 1)}{rest}"
    skipped = sum(t.outcome == "skipped" for t in exercise.tests)
    parts = [counted(total - skipped, "test")] if total > skipped else []
    if skipped:
        parts.append(f"{skipped} skipped")
    measures = exercise.measures
    if measures.get("gpu_seconds"):
        parts.append(f"GPU {seconds_text(measures['gpu_seconds'])}")
    parts.append(seconds_text(measures.get("seconds", 0.0)))
    peak = measures.get("gpu_peak_bytes") or measures.get("peak_bytes") or measures.get("rss_bytes")
    if peak:
        parts.append(bytes_text(peak))
    return " · ".join(parts)


def _counted(some: int, total: int) -> str:
    return f"{some} of {total} test{'s' * (total > 1)}"


def _failed_test(test: TestResult, console: Console, verbose: bool) -> None:
    failure = test.failure
    console.print(Text(f"      {test.name}", style="bold"))
    if failure is None:
        return
    message = failure.message if verbose else short_arrays(failure.message)
    _paragraph(message, console, "        ", most=0 if verbose else _SAID)
    if failure.says:
        _paragraph(failure.says, console, "        ", style="cyan")
    if failure.file and failure.line:
        where = f"{_short(failure.file)}:{failure.line}"
        console.print(Text(f"        at {where}", style="dim"))
    if verbose and failure.detail:
        # The message stands above; what pytest adds to it does not.
        said_above = rf"^[\w.]+: {re.escape(failure.message)}(\n|\Z)"
        detail = re.sub(said_above, "", failure.detail, flags=re.MULTILINE)
        _traceback(detail, console, "        ")


def _traceback(detail: str, console: Console, indent: str) -> None:
    """With the files as they are named elsewhere. Its long lines keep the indent, and lose the
    marks below them, which a line that is broken in two has in the wrong place."""
    room, lines = console.width - len(indent), []
    for above, line in pairwise(["", *detail.splitlines()]):
        misplaced = len(above) > room and _MARKS_BELOW.fullmatch(line)
        if not (misplaced or line.endswith(_NO_FLAG)):
            lines.append(line)
    text = re.sub(r'(?<=File ")[^"\n]+', lambda match: _short(match[0]), "\n".join(lines))
    _paragraph(text, console, indent, style="dim")
    console.print()


def short_arrays(message: str) -> str:
    """The message with no more than the first and the last numbers of a long row of an array."""

    def shortened(match: re.Match[str]) -> str:
        numbers = match[1].replace(",", " ").split()
        if len(numbers) <= _FEW:
            return match[0]
        between = ", " if "," in match[1] else " "
        return f"[{between.join([*numbers[:3], '...', *numbers[-3:]])}]"

    return _NUMBERS.sub(shortened, message)


def _printed(test: TestResult, console: Console, verbose: bool) -> None:
    """What the learner's code printed in the test."""
    if not test.printed.strip():
        return
    lines = test.printed.rstrip("\n").splitlines()
    shown = lines if verbose else lines[:_PRINTED]
    complete = len(shown) == len(lines) and len(test.printed) == test.printed_length
    more = "" if verbose else "; V=1 shows more"
    cut = "" if complete else f" (the first of {test.printed_length:,} characters{more})"
    console.print(Text(f"        printed in this test{cut}:", style="dim"))
    for line in shown:
        text = "".join(c if c.isprintable() else "?" for c in line.expandtabs(4))
        room = max(console.width - 10, 30)
        if len(text) > room and not verbose:
            text = text[: room - 1] + "…"
        for start in range(0, max(len(text), 1), room):
            console.print(Text(f"        | {text[start : start + room]}"))


def _foot(result: DayResult, console: Console, verbose: bool, left: list[str] | None) -> None:
    done = sum(e.status == "passed" for e in result.exercises)
    parts = [f"{done} of {counted(len(result.exercises), 'exercise')}", f"seed {result.seed}"]
    if result.seconds:  # a debugger's time is the learner's own
        parts.insert(1, seconds_text(result.seconds))
    if result.skipped:
        reasons = {test.skipped for test in result.skipped}
        why = f" ({reasons.pop()})" if len(reasons) == 1 else ""
        parts.insert(1, f"{counted(len(result.skipped), 'test')} skipped{why}")
    console.print()
    _paragraph(device_line(result, verbose), console, "", style="dim")
    for line in _gpu_lines(result.gpu):
        _paragraph(line, console, "", style="dim")
    console.print(Text(" · ".join(parts), style="bold green" if result.passed else "bold"))
    for line in next_step(result, left):
        _paragraph(line, console, "")


def device_line(result: DayResult, verbose: bool = False) -> str:
    device = result.device
    if not device:
        return ""
    if device.get("kind") == "cuda":
        return f"Device: {device['name']} (sm_{_capability(device)})"
    if result.track == ELECTIVES:
        return "Device: CPU. Gluon has no interpreter: nothing was run, so nothing is proved."
    if result.track == "triton":
        line = "Device: CPU, on Triton's interpreter: checked, not timed."
        return "\n".join([line, *device.get("notes", [])]) if verbose else line
    return f"Device: CPU ({device.get('name', '')})".replace(" ()", "")


def _capability(device: dict[str, object]) -> str:
    capability = device.get("compute_capability") or ""
    if isinstance(capability, (list, tuple)):
        return "".join(str(c) for c in capability)
    return str(capability).replace(".", "")


def _gpu_lines(gpu: dict[str, object]) -> list[str]:
    if not gpu:
        return []
    facts = []
    if gpu.get("process_bytes"):
        facts.append(f"{bytes_text(gpu['process_bytes'])} held by this process")  # type: ignore[arg-type]
    if gpu.get("sm_clock"):
        facts.append(f"{gpu['sm_clock']} MHz")
    if gpu.get("temperature"):
        facts.append(f"{gpu['temperature']} °C")
    if gpu.get("power_watts"):
        facts.append(f"{gpu['power_watts']:.0f} W")
    lines = [f"NVML: {' · '.join(facts)}"] if facts else []
    reasons = gpu.get("throttle_reasons") or ()
    if reasons:
        lines.append(f"The GPU is held back: {', '.join(reasons)}")  # type: ignore[arg-type]
    problems = gpu.get("problems") or ()
    return lines + [f"NVML: {p}" for p in problems]  # type: ignore[attr-defined]


def next_step(result: DayResult, left: list[str] | None = None) -> list[str]:
    """What to do now, as commands that exist. ``left`` as in ``show``."""
    day = f"TRACK={result.track} DAY={result.day}"
    grade = f"make {result.track} DAY={result.day}"
    if result.impl != LEARNER or result.problems:
        return []
    if result.passed:
        if left:
            return [f"Next: {left[0]} ({grade} EX={left[0]})"]
        if left is not None:
            return [f"Next: {grade} (the whole day)"]
        later = _later(result)
        return [f"Next: make lesson TRACK={result.track} DAY={later}"] if later else []
    changed = [file.note.partition(": ")[2] for file in result.files if CHANGED in file.note]
    if changed:  # what is wrong there shows here
        return [f"Next: {changed[0]}, on which this day stands"]
    if all(e.status == "not started" for e in result.exercises):
        file = f"tracks/{place_of(result.track)}/day{result.day:02d}.py"
        return [f"Next: make lesson {day}, then write the answers in {file}"]
    wrong = next((e for e in result.exercises if e.status == "wrong"), None)
    todo = wrong or next((e for e in result.exercises if e.status == "not started"), None)
    return [f"Next: {todo.name} ({grade} EX={todo.name})"] if todo else []


def _later(result: DayResult) -> int | None:
    """The track's next day that exists."""
    solutions = (ROOT / "tracks" / place_of(result.track) / "solutions").glob("day*.py")
    numbers = [int(file.stem.removeprefix("day")) for file in solutions]
    return min((number for number in numbers if number > result.day), default=None)


def _paragraph(text: str, console: Console, indent: str, style: str = "", most: int = 0) -> None:
    """Wrap to the width, keeping the text's own line breaks; of more lines than ``most`` (0: any
    number) the rest is counted."""
    lines = []
    for line in text.splitlines():
        lead = indent + line[: len(line) - len(line.lstrip())]
        parts = wrapped(line.strip(), max(console.width - len(lead), 30))
        lines += [lead + part for part in parts or [""]]
    if most and len(lines) > most + 2:
        lines[most:] = [f"{indent}… {len(lines) - most} more lines (V=1 shows all)"]
    for line in lines:
        console.print(Text(line, style=style), soft_wrap=True)


def _short(path: str) -> str:
    """Relative to where the learner is, where that is shorter."""
    for base in (Path.cwd(), ROOT):
        try:
            return os.path.relpath(path, base) if Path(path).is_relative_to(base) else path
        except ValueError:
            continue
    return path
