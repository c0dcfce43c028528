"""``why_narrow``: why a kernel loads or stores less than 128 bits at once."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.kernels.xray.report import KernelReport

WIDE = 128
"""Bits that a thread can load or store with one instruction."""


def why_narrow(report: KernelReport) -> str:
    """The cause, where the compile report tells it; else what the compiler has to see.

    It ends a sentence that says how wide they are.
    """
    threads = 32 * report.warps
    blocks = [
        (prod(a["shape"]), a["element_bits"], a)
        for a in report.accesses
        if a["kind"] in ("load", "store") and prod(a["shape"]) > 1
    ]
    if not blocks:
        return "the kernel loads and stores single numbers only"
    if all(size * bits < WIDE * threads for size, bits, _ in blocks):
        size, bits, _ = max(blocks, key=lambda block: block[0] * block[1])
        return (
            f"{size} numbers of {bits} bits are shared by {threads} threads, which is less than "
            f"{WIDE} bits a thread"
        )
    apart = [a for _, _, a in blocks if a["contiguous"] is False]
    if apart:
        where = apart[0]
        return (
            f"in line {where['line']} neighbouring threads {where['kind']} what lies "
            f"{where['step']} elements apart"
        )
    return (
        "the compiler cannot see that neighbouring lanes touch neighbouring addresses, with each "
        "thread's share at a multiple of 16 bytes and on one side of the mask"
    )
