"""``make xray``: runs a day's tests, notes every launch, and compiles each for the named chips."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from harness.curriculum import ROOT, Day, find_day, find_exercise, read_source, untouched
from harness.protocol import LEARNER, Request
from harness.report.collect import keep_xray
from harness.screen.pager import page
from harness.usage import Usage, check_choice, check_impl

if TYPE_CHECKING:
    from harness.kernels.xray import KernelReport, RecordedLaunch


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
    if track != "triton":
        raise Usage(f"TRACK={track} has no kernels: make xray is for the Triton track.")
    if exercise:
        find_exercise(day, exercise)
    from harness.kernels.xray import as_json as json_of
    from harness.kernels.xray import as_text, xray
    from harness.kernels.xray.occupancy import chip_named
    from harness.screen.kernels import summary

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
    launches = [one for one in _launches(request) if one.kernel not in _kernels(day, stubs)]
    if sys.stderr.isatty():
        reports = xray(launches, chips, note=_say_progress)
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)
    else:
        reports = xray(launches, chips)
    if impl == LEARNER and not exercise and reports:  # for the page of make report
        keep_xray(ROOT, day.number, day.file, [one.to_json() for one in reports])
    if as_json:
        print(json_of(reports))
    elif verbose or not reports:
        page(as_text(reports))
    else:
        largest = _largest(launches, reports)
        lines = [summary(largest), ""]
        if exercise:
            lines += [as_text(largest), ""]
        kinds = len(launches)
        lines.append(
            f"Of each kernel the launch with the largest tiles; {kinds} kind{'s' * (kinds > 1)} of "
            "launches were compiled."
        )
        lines.append("V=1 shows all of each." if exercise else "EX=… shows more of one, V=1 all.")
        page("\n".join(lines))
    return 1 if not reports or any(report.refused for report in reports) else 0


def _say_progress(done: int, total: int) -> None:
    """Every kind of launch is compiled for every chip, which takes a while the first time."""
    print(f"\r\x1b[Kcompiling … {done} of {total}", end="", file=sys.stderr, flush=True)


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


def _largest(launches: list[RecordedLaunch], reports: list[KernelReport]) -> list[KernelReport]:
    """Of each kernel and chip the report of the launch with most work, in the file's order."""
    chips = len(reports) // len(launches)
    found: dict[tuple[str, int, str], tuple[tuple[int, ...], KernelReport]] = {}
    for at, report in enumerate(reports):
        key = (report.file, report.line, report.chip)
        size = launches[at // chips].size()
        if key not in found or size > found[key][0]:
            found[key] = size, report
    return [found[key][1] for key in sorted(found)]
