"""``make xray``: runs a day's tests, notes every launch, and compiles each for the named chips."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from harness.curriculum import ROOT, find_day, find_exercise
from harness.protocol import LEARNER, Request
from harness.report.collect import keep_xray
from harness.usage import Usage, check_choice, check_impl


def xray_day(
    track: str, number: str, exercise: str, arch: str, impl: str, prior: str, as_json: bool
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
    from harness.kernels.xray import as_text, load, xray
    from harness.kernels.xray.occupancy import chip_named

    chips = [chip.strip() for chip in arch.split(",") if chip.strip()]
    for chip in chips:
        try:
            chip_named(chip)
        except (KeyError, ValueError) as error:
            raise Usage(f"ARCH={arch}: {error.args[0]}") from None
    with tempfile.TemporaryDirectory(prefix="xray-") as folder:
        file = Path(folder) / "launches.json"
        request = Request(
            track, day.number, check_impl(impl, day),
            check_choice("PRIOR", prior, ("auto", "solution", "same")), exercise,
            record_launches=str(file),
        )  # fmt: skip
        from harness.run import run

        result = run(request)
        for problem in result.problems:
            print(f"{problem.file}:{problem.line}: {problem.message}", file=sys.stderr)
        launches = load(file) if file.exists() else []
    if sys.stderr.isatty():
        print(f"compiling {len(launches)} kernel(s) for {', '.join(chips)} …", file=sys.stderr)
    reports = xray(launches, chips)
    print(json_of(reports) if as_json else as_text(reports))
    if impl == LEARNER and not exercise and reports:  # for the page of make report
        keep_xray(ROOT, day.number, day.file, [one.to_json() for one in reports])
    return 1 if not reports or any(report.refused for report in reports) else 0
