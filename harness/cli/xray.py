"""``make xray``: runs a day's tests, notes every launch, and compiles each for the named chips."""

from __future__ import annotations

import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from harness.curriculum import (
    ELECTIVES,
    ROOT,
    Day,
    family_of,
    find_day,
    find_exercise,
    read_source,
    untouched,
)
from harness.measure.units import counted
from harness.protocol import LEARNER, Request
from harness.report.collect import keep_xray
from harness.screen.pager import page, say
from harness.usage import Usage, check_choice, check_impl
from harness.verify.checks import MATERIAL

if TYPE_CHECKING:
    from harness.kernels.xray import KernelReport, RecordedLaunch


ARCH = "sm_80,sm_90"
"""What is compiled for, unless ARCH says so."""


def xray_day(
    track: str,
    number: str,
    exercise: str,
    arch: str,
    impl: str,
    prior: str,
    as_json: bool,
    verbose: bool = False,
) -> int:
    """Print the report. → 1 where a kernel is refused by the compiler or nothing was launched."""
    if not number:
        raise Usage("Which day? make xray DAY=16")
    day = find_day(track, number)
    if family_of(track) != "triton":
        raise Usage(f"TRACK={track} has no kernels: make xray is for the Triton track.")
    if exercise:
        find_exercise(day, exercise)
    from harness.kernels.xray import as_json as json_of
    from harness.kernels.xray import as_text
    from harness.kernels.xray.occupancy import chip_named

    if track == ELECTIVES and arch == ARCH:
        arch = "sm_90"  # they are for this chip
    chips = [chip.strip() for chip in arch.split(",") if chip.strip()]
    for chip in chips:
        try:
            chip_named(chip)
        except (KeyError, ValueError) as error:
            raise Usage(f"ARCH={arch}: {error.args[0]}") from None
    impl = check_impl(impl, day)
    stubs = _not_written(day, exercise) if impl == LEARNER else []
    for name in stubs if not as_json else []:
        print(f"{name}: not written yet")
    wanted = [e.name for e in day.exercises if e.name == exercise or not exercise]
    if len(stubs) == len(wanted):
        print(json_of([]) if as_json else f"\nFirst: make lesson TRACK={track} DAY={day.number}")
        return 1
    request = Request(
        track, day.number, impl,
        check_choice("PRIOR", prior, ("auto", "solution", "same")), exercise,
    )  # fmt: skip
    if track == ELECTIVES:  # their tests need that chip; what verify compiles can be had anywhere
        request = replace(request, exercise="compiled", test_file=str(MATERIAL))
    launches = [
        one
        for one in _launches(request)
        if one.kernel not in _kernels(day, stubs)
        and (track != ELECTIVES or one.kernel.startswith(exercise))
    ]
    if as_json or verbose or not launches:
        reports = _compiled(launches, chips)
        if as_json:
            print(json_of(reports))
        else:
            page(as_text(reports))
    else:
        reports = _shown_first(launches, chips, in_full=bool(exercise))
    if impl == LEARNER and not exercise and reports and track != ELECTIVES:  # for make report
        keep_xray(ROOT, day.number, day.file, [one.to_json() for one in reports])
    return 1 if not reports or any(report.refused for report in reports) else 0


def _shown_first(
    launches: list[RecordedLaunch], chips: list[str], in_full: bool
) -> list[KernelReport]:
    """Show the largest launch of each kernel as soon as that is compiled, then compile the others,
    which are many. → all reports, in the order of ``launches``"""
    from harness.kernels.xray import as_text
    from harness.screen.kernels import summary

    largest = _largest(launches)
    shown = _compiled([launches[at] for at in largest], chips)
    page("\n\n".join([summary(shown), *([as_text(shown)] if in_full else [])]))
    sys.stdout.flush()
    rest = [at for at in range(len(launches)) if at not in largest]
    if rest and sys.stderr.isatty():
        say(
            f"That is all of the table. {counted(len(rest), 'other kind')} of launches (sizes, "
            "types, strides) are compiled now to see whether one is refused: Ctrl-C skips that."
        )
    others = _compiled([launches[at] for at in rest], chips, "other kinds ", " (Ctrl-C ends it)")
    known = {(report.kernel, report.chip) for report in shown if report.refused}
    refused: dict[tuple[str, str], KernelReport] = {}
    for one in others:
        if one.refused and (one.kernel, one.chip) not in known:
            refused.setdefault((one.kernel, one.chip), one)
    print()
    if refused:
        print(f"With other arguments:\n{summary([*refused.values()])}\n")
    say(
        f"Of each kernel the launch with the largest tiles; {counted(len(launches), 'kind')} of "
        f"launches {'was' if len(launches) == 1 else 'were'} compiled."
    )
    say("V=1 shows all of each." if in_full else "EX=… shows more of one, V=1 all.")
    n = len(chips)
    of = {at: shown[n * i : n * (i + 1)] for i, at in enumerate(largest)}
    of |= {at: others[n * i : n * (i + 1)] for i, at in enumerate(rest)}
    return [report for at in sorted(of) for report in of[at]]


def _compiled(
    launches: list[RecordedLaunch], chips: list[str], what: str = "", way_out: str = ""
) -> list[KernelReport]:
    """A report for each launch and chip. On a terminal a line counts them meanwhile."""
    from harness.kernels.xray import xray

    if not sys.stderr.isatty():
        return xray(launches, chips)

    def say_progress(done: int, total: int) -> None:
        text = f"compiling {what}… {done} of {total}{way_out}"
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)

    reports = xray(launches, chips, note=say_progress)
    print("\r\x1b[K", end="", file=sys.stderr, flush=True)
    return reports


def _launches(request: Request) -> list[RecordedLaunch]:
    """Every kind of launch that the day's tests made."""
    from dataclasses import replace

    from harness.kernels.xray import load
    from harness.run import run

    with tempfile.TemporaryDirectory(prefix="xray-") as folder:
        file = Path(folder) / "launches.json"
        result = run(replace(request, record_launches=str(file)))
        for problem in result.problems:
            print(f"{problem.file}:{problem.line}: {problem.message}", file=sys.stderr)
        return load(file) if file.exists() else []


def _not_written(day: Day, exercise: str) -> list[str]:
    """The exercises (or the one that is asked for) that are still the stub's."""
    try:
        left = untouched(read_source(day.file), read_source(day.solution), day.file)
    except (OSError, SyntaxError):
        return []  # the run says what is wrong with the file
    return [e.name for e in day.exercises if e.name in left and exercise in ("", e.name)]


def _kernels(day: Day, names: list[str]) -> set[str]:
    """The kernels that answer these exercises."""
    return {answer.owner for e in day.exercises if e.name in names for answer in e.answers} | {
        f"{name}_kernel" for name in names
    }


def _largest(launches: list[RecordedLaunch]) -> list[int]:
    """Of each kernel the place of the launch with most work, in the file's order."""
    found: dict[tuple[str, int], int] = {}
    for at, launch in enumerate(launches):
        key = (launch.file, launch.line)
        if key not in found or launch.size() > launches[found[key]].size():
            found[key] = at
    return [found[key] for key in sorted(found)]
