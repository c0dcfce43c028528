"""The compile report of the learner's kernels: a table a day, the full text folded below it."""

from __future__ import annotations

from collections.abc import Sequence

from harness.curriculum import Day
from harness.kernels.xray.report import KernelReport
from harness.measure.units import bytes_text
from harness.report.collect import Kernels, Learner
from harness.report.html import Html, Link, folded, paragraph, section, table, tag


def kernels(learner: Learner, link: Link) -> Html:
    title = "What the compiler makes of your kernels"
    if not learner.kernels:
        return section(
            "kernels",
            title,
            paragraph(
                "Nothing yet. ",
                tag("code", "make xray DAY=3"),
                " compiles the kernels that you wrote on a day of the Triton track, also on a "
                "machine without a GPU, and says what they need: registers, shared memory, how "
                "wide their loads are.",
                muted=True,
            ),
        )
    about = paragraph(
        "A kernel is compiled anew for each dtype, and for sizes that 16 divides or not; of these "
        "ways the tables show the worst. A thread has at most 255 registers: what does not fit is "
        "spilled to slow memory. 128 bits is the widest load; narrow ones take more instructions "
        "for the same bytes.",
        muted=True,
    )
    days = [_day(one, link, one is learner.kernels[-1]) for one in learner.kernels]
    return section("kernels", title, about, _missing(learner.not_compiled), *days)


def _missing(days: Sequence[int]) -> Html | None:
    if not days:
        return None
    which = f"day {days[0]}" if len(days) == 1 else f"days {_ranges(days)}"
    return paragraph(
        f"There is no report of your present files of {which}: ",
        tag("code", f"make xray DAY={days[0]}"),
        " makes one, ",
        tag("code", "make report XRAY=1"),
        " all that are missing.",
    )


def _ranges(days: Sequence[int]) -> str:
    """``[1, 2, 4, 5, 6]`` -> ``1, 2, 4 to 6``."""
    runs: list[list[int]] = []
    for day in days:
        if runs and day == runs[-1][-1] + 1:
            runs[-1].append(day)
        else:
            runs.append([day])
    said = [f"{run[0]} to {run[-1]}" if len(run) > 2 else ", ".join(map(str, run)) for run in runs]
    return ", ".join(said)


def _day(one: Kernels, link: Link, open_: bool) -> Html:
    reports = [KernelReport.from_json(report) for report in one.reports]
    several: dict[tuple[str, str], list[KernelReport]] = {}
    for report in reports:
        several.setdefault((report.kernel, report.chip), []).append(report)
    rows = [_row(group) for group in several.values()]
    headings = [
        "Kernel", "Chip", "Registers", "Spilled", "Shared memory", "Occupancy", "Loads", "Stores",
        "Not coalesced", "Tensor cores", "Compiled",
    ]  # fmt: skip
    refused = [
        tag(
            "li",
            f"{report.kernel} on {report.chip} is refused: ",
            tag("pre", report.refused.text()),
        )
        for report in _once(reports)
        if report.refused is not None
    ]
    file = Day("triton", one.day).file
    command = tag("code", f"make xray DAY={one.day}")
    old = paragraph("Your file has changed since: ", command, " compiles it anew.")
    whole = "\n\n".join(max(group, key=_badness).text() for group in several.values())
    return folded(
        tag("h3", f"Triton day {one.day}: {_trouble(reports)}"),
        paragraph(tag("a", file.name, href=link(file)), muted=True),
        None if one.current else old,
        tag("ul", *refused, class_="refused") if refused else None,
        table(f"Kernels of day {one.day}", headings, rows, range(2, 6)),
        folded(
            f"Day {one.day} line by line",
            paragraph("Of each kernel the worst way; ", command, " shows all.", muted=True),
            tag("pre", whole, tabindex="0", role="region", aria_label=f"Report, day {one.day}"),
        ),
        open_=open_,
    )


def _badness(report: KernelReport) -> tuple[object, ...]:
    """The larger, the more there is to mend."""
    crossed = len(report.uncoalesced)
    return report.refused is not None, report.spill_bytes, crossed, report.registers


def _trouble(reports: Sequence[KernelReport]) -> str:
    """What a learner wants to know without unfolding: how many, and whether something is wrong."""
    names = {report.kernel for report in reports}
    kinds = {
        "refused": {r.kernel for r in reports if r.refused is not None},
        "spilling": {r.kernel for r in reports if r.spill_bytes},
        "not coalesced": {r.kernel for r in reports if r.uncoalesced},
    }
    said = [f"{len(found)} {kind}" for kind, found in kinds.items() if found]
    return ", ".join([f"{len(names)} kernel{'s' * (len(names) != 1)}", *said])


def _once(reports: Sequence[KernelReport]) -> list[KernelReport]:
    """Of refusals with the same message, the first."""
    seen: dict[tuple[str, str], KernelReport] = {}
    for report in reports:
        seen.setdefault((report.kernel, report.refused.message if report.refused else ""), report)
    return list(seen.values())


def _row(group: Sequence[KernelReport]) -> list[object]:
    """One kernel on one chip: of its specialisations, the worst in each respect."""
    made = [report for report in group if report.refused is None]
    head = [group[0].kernel, group[0].chip]
    ways = _ways(len(group), len(made))
    if not made:
        return [*head, *["–"] * 8, ways]
    spilled = max(report.spill_bytes for report in made)
    shared = max(report.shared_bytes for report in made)
    tightest = min(made, key=lambda report: report.occupancy)
    crossed = max(len(report.uncoalesced) for report in made)
    return [
        *head,
        max(report.registers for report in made),
        _bad(bytes_text(spilled)) if spilled else "none",
        bytes_text(shared) if shared else "none",
        f"{tightest.occupancy:.0%} ({tightest.limiter})",
        _widths([report.widest_load_bits for report in made], any(r.tma for r in made)),
        _widths([report.widest_store_bits for report in made], any(r.tma for r in made)),
        _bad(f"{crossed} access{'es' * (crossed != 1)}") if crossed else "none",
        _tensor_cores(made),
        ways,
    ]


def _bad(said: str) -> Html:
    return tag("span", said, class_="bad")


def _ways(count: int, made: int) -> str | Html:
    if made < count:
        return _bad(f"{count - made} of {count} ways refused" if made else "refused")
    return "1 way" if count == 1 else f"{count} ways"


def _widths(bits: Sequence[int], tma: bool) -> str:
    low, high = min(bits), max(bits)
    if not high:
        return "through TMA" if tma else "none"
    return f"{high} bits" if low == high else f"{low} to {high} bits"


def _tensor_cores(made: Sequence[KernelReport]) -> str | Html:
    if any(report.has_dot and not report.tensor_core for report in made):
        return _bad("NOT USED")
    return next((report.tensor_core for report in made if report.tensor_core), "no tl.dot")
