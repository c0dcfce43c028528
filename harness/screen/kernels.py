"""The compile reports of a day as a table: a row a kernel and chip."""

from __future__ import annotations

from collections.abc import Sequence

from harness.kernels.xray import KernelReport
from harness.measure.units import bytes_text
from harness.screen.pager import wrapped

HEADS = ("kernel", "chip", "load/store", "regs", "spills", "shared", "tensor")
RAGGED = "*"
WIDTH = 80
LEGEND = """\
load/store: the widest of each in bits a thread, of 128; TMA copies whole tiles
regs: registers a thread, of 255; spills: bytes a thread in slow memory; -: none
shared: memory a block; tensor: the instruction of the tensor cores"""
NOTHING = """\
-/-: no load and no store is left. The compiler drops what is computed and never
stored: is a tl.store missing? (Atomic operations are not counted here.)"""


def summary(reports: Sequence[KernelReport]) -> str:
    """At most 80 columns where the kernels' names allow it; no colour needed."""
    rows = [HEADS, *(_row(report) for report in reports if report.refused is None)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(HEADS))]
    lines = []
    last = ""
    for row in rows:
        name = row[0] if row[0] != last else ""
        last = row[0]
        cells = [f"{name:<{widths[0]}}"]
        cells += [f"{cell:<{width}}" for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append("  ".join(cells).rstrip())
    lines = [*lines, "", LEGEND] if len(rows) > 1 else []
    if any(report.uncoalesced for report in reports):
        lines.append(f"{RAGGED} not coalesced: neighbouring threads touch addresses that are apart")
    if any(row[2] == "-/-" for row in rows):
        lines.append(NOTHING)
    refused: dict[tuple[str, str], list[str]] = {}
    for report in reports:
        if report.refused is not None:
            refused.setdefault((report.kernel, report.refused.text()), []).append(report.chip)
    for (kernel, why), chips in refused.items():
        lines.append(f"{kernel} on {' and '.join(chips)} is REFUSED:")
        for line in why.splitlines():
            indent = "  " + line[: len(line) - len(line.lstrip())]
            lines += wrapped(line.strip(), WIDTH, indent, indent)
    return "\n".join(lines)


def _row(report: KernelReport) -> tuple[str, ...]:
    return (
        report.kernel,
        report.chip,
        f"{_width(report, 'load', report.widest_load_bits)}/"
        f"{_width(report, 'store', report.widest_store_bits)}",
        str(report.registers),
        f"{report.spill_bytes} B" if report.spill_bytes else "-",
        bytes_text(report.shared_bytes) if report.shared_bytes else "-",
        _tensor_cores(report),
    )


def _width(report: KernelReport, kind: str, bits: int) -> str:
    ragged = any(access["kind"] == kind for access in report.uncoalesced)
    if not bits:
        return "TMA" if report.tma else "-"
    return f"{bits}{RAGGED if ragged else ''}"


def _tensor_cores(report: KernelReport) -> str:
    if report.tensor_core:
        return str(report.tensor_core).split()[0].split(".")[0]
    return "NOT USED" if report.has_dot else "-"
