"""What the compile report says about one kernel on one chip."""

from __future__ import annotations

import math
import textwrap
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from harness.kernels.refusals import Refusal
from harness.kernels.xray.coalescing import Access

WIDTH = 80


@dataclass(frozen=True)
class KernelReport:
    """One kernel, compiled with one specialisation for one chip."""

    kernel: str
    file: str
    line: int
    chip: str
    specialisation: str
    launches: int = 1
    registers: int = 0  # a thread
    spill_bytes: int = 0  # a thread, in local memory
    shared_bytes: int = 0  # a block
    shared_limit: int = 0
    warps: int = 0  # a block
    blocks_per_sm: int = 0
    occupancy: float = 0.0
    limiter: str = ""
    loads: dict[int, int] = field(default_factory=dict)  # width in bits: instructions
    stores: dict[int, int] = field(default_factory=dict)
    counted_in: str = "sass"  # or ptx, where the machine code could not be read
    accesses: list[dict[str, Any]] = field(default_factory=list)
    tensor_core: str | None = None
    has_dot: bool = False
    tma: bool = False
    not_divisible: list[str] = field(default_factory=list)  # integers, by 16
    examples: dict[str, int] = field(default_factory=dict)  # integers of the largest launch
    compile_seconds: float = 0.0
    refused: Refusal | None = None
    ran: bool = False  # these are the figures of a kernel that ran on this machine's GPU

    @property
    def widest_load_bits(self) -> int:
        return max(self.loads, default=0)

    @property
    def widest_store_bits(self) -> int:
        return max(self.stores, default=0)

    @property
    def uncoalesced(self) -> list[dict[str, Any]]:
        """The accesses whose neighbouring threads are known not to touch neighbouring addresses."""
        return [access for access in self.accesses if access["contiguous"] is False]

    def to_json(self) -> dict[str, Any]:
        data = asdict(self)
        data["loads"] = {str(width): count for width, count in self.loads.items()}
        data["stores"] = {str(width): count for width, count in self.stores.items()}
        data["widest_load_bits"] = self.widest_load_bits
        data["widest_store_bits"] = self.widest_store_bits
        return data

    @staticmethod
    def from_json(data: dict[str, Any]) -> KernelReport:
        data = {k: v for k, v in data.items() if k not in ("widest_load_bits", "widest_store_bits")}
        data["loads"] = {int(width): count for width, count in data["loads"].items()}
        data["stores"] = {int(width): count for width, count in data["stores"].items()}
        data["refused"] = Refusal(**data["refused"]) if data["refused"] else None
        return KernelReport(**data)

    def of_launches(self, count: int, examples: dict[str, int]) -> KernelReport:
        """The same compiled kernel, launched otherwise."""
        return replace(self, launches=count, examples=examples)

    def text(self) -> str:
        """For people: at most 80 columns, no colour needed."""
        times = "1 launch" if self.launches == 1 else f"{self.launches} launches"
        head = f"{self.kernel} on {self.chip}  ({Path(self.file).name}:{self.line}, {times})"
        out = [head, *_wrapped("compiled as", self.specialisation)]
        if self.refused is not None:
            first, *others = self.refused.text().splitlines()
            out += _wrapped("REFUSED", first)
            for other in others:
                out += _wrapped("", other)
            return "\n".join(out)
        out += _wrapped("registers", f"{self.registers} of 255 a thread; {self._spills()}")
        out += _wrapped(
            "shared memory",
            f"{self.shared_bytes:,} of {self.shared_limit:,} bytes a block",
        )
        out += _wrapped("occupancy", self._occupancy())
        out += _wrapped("global loads", _widths(self.loads, self.tma) + self._narrow())
        stores = _widths(self.stores, self.tma) + _most(self.stores)
        out += _wrapped("global stores", stores)
        for index, access in enumerate(self.accesses):
            label = "" if index else "coalescing"
            out += _wrapped(label, Access.from_json(access).text(self.examples))
        out += _wrapped("tensor cores", self._tensor_cores())
        if self.tma:
            out += _wrapped("TMA", "yes: whole tiles are copied by the tensor memory accelerator")
        origin = "from the kernel that ran here" if self.ran else f"{self.compile_seconds:.2f} s"
        out += _wrapped("compiled", origin)
        return "\n".join(out)

    def _spills(self) -> str:
        if not self.spill_bytes:
            return "no spill"
        return f"SPILLS {self.spill_bytes} bytes a thread to slow memory"

    def _occupancy(self) -> str:
        return (
            f"{self.occupancy:.0%}: {self.blocks_per_sm} blocks of {self.warps} warps on a "
            f"multiprocessor, limited by {self.limiter}"
        )

    def _older_instruction(self) -> str:
        # Hopper's wgmma is issued by four warps together, for 64 rows at a time.
        if self.chip == "sm_90" and str(self.tensor_core).startswith("mma"):
            return "; wgmma, this chip's faster one, needs num_warps >= 4 and 64 rows a block"
        return ""

    def _narrow(self) -> str:
        """Why coalesced accesses are not as wide as they could be, where that can be told."""
        if self.tma or not self.loads or self.widest_load_bits >= 128:
            return ""
        wide = [
            access
            for access in self.accesses
            if access["kind"] == "load"
            and access["step"] == 1
            and math.prod(access["shape"]) // (32 * self.warps) * access["element_bits"]
            > self.widest_load_bits
        ]
        odd = " or ".join(
            f"{name} = {self.examples[name]}"
            for name in self.not_divisible
            if name in self.examples
        )
        if not wide or not odd:
            return _most(self.loads)
        return (
            f" (up to 128 is possible, but not while {odd} is not a multiple of 16: a mask or a "
            "row's start may then fall between any two elements)"
        )

    def _tensor_cores(self) -> str:
        if self.tensor_core:
            return self.tensor_core + self._older_instruction()
        if self.has_dot:
            return "NOT USED, though the kernel has a tl.dot"
        return "not used (the kernel has no tl.dot)"


def _widths(counts: dict[int, int], tma: bool) -> str:
    if not counts:
        return "through TMA" if tma else "none"
    (width, count), *others = sorted(counts.items(), reverse=True)
    first = f"{count} instruction{'s' * (count > 1)} of {width} bits a thread"
    return first + "".join(f", {count} of {width}" for width, count in others)


def _most(counts: dict[int, int]) -> str:
    return "; 128 is the most there is" if 0 < max(counts, default=0) < 128 else ""


def _wrapped(label: str, text: str) -> list[str]:
    indent = "  " + label.ljust(15)
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=indent,
        subsequent_indent=" " * 17,
        break_on_hyphens=False,
    ) or [indent.rstrip()]
