"""How many warps of a kernel fit on one multiprocessor of a chip, and what stops more.

The limits are those of NVIDIA's CUDA C++ Programming Guide, appendix "Compute Capabilities",
table "Technical Specifications per Compute Capability"; the units in which registers and shared
memory are handed out are those of NVIDIA's occupancy calculator (Nsight Compute).
"""

from __future__ import annotations

from dataclasses import dataclass

KIB = 1024
WARP = 32
REGISTERS_PER_SM = 64 * KIB  # 32-bit registers; the same on every chip listed here
REGISTER_UNIT = 256  # registers are handed to a warp in this many
WARP_UNIT = 4  # one multiprocessor is four partitions, each with a quarter of the registers
SHARED_UNIT = 128
SHARED_RESERVED = 1 * KIB  # the system keeps this much of every block's shared memory (since 8.0)
TENSOR_MEMORY_COLUMNS = 512  # Blackwell (10.x): tensor memory of one multiprocessor


@dataclass(frozen=True)
class Chip:
    """Limits of one compute capability."""

    name: str
    shared_per_sm: int
    shared_per_block: int  # the opt-in maximum, which triton always asks for
    warps_per_sm: int
    blocks_per_sm: int
    examples: str

    @property
    def capability(self) -> int:
        return int(self.name.removeprefix("sm_"))


CHIPS = {
    chip.name: chip
    for chip in (
        Chip("sm_80", 164 * KIB, 163 * KIB, 64, 32, "A100"),
        Chip("sm_86", 100 * KIB, 99 * KIB, 48, 16, "RTX 3090, A10"),
        Chip("sm_87", 164 * KIB, 163 * KIB, 48, 16, "Jetson Orin"),
        Chip("sm_89", 100 * KIB, 99 * KIB, 48, 24, "RTX 4090, L4, L40S"),
        Chip("sm_90", 228 * KIB, 227 * KIB, 64, 32, "H100, H200"),
        Chip("sm_100", 228 * KIB, 227 * KIB, 64, 32, "B200"),
        Chip("sm_103", 228 * KIB, 227 * KIB, 64, 32, "B300"),
        Chip("sm_120", 100 * KIB, 99 * KIB, 48, 24, "RTX 5090"),
    )
}


@dataclass(frozen=True)
class Occupancy:
    """``warps`` of ``warps_limit`` are resident; ``limiter`` says what stops the next block."""

    blocks: int
    warps: int
    warps_limit: int
    limiter: str

    @property
    def fraction(self) -> float:
        return self.warps / self.warps_limit


def chip_named(name: str) -> Chip:
    """The chip called ``name`` ("sm_90"), or a ValueError that lists those there are."""
    try:
        return CHIPS[name]
    except KeyError:
        known = ", ".join(f"{chip.name} ({chip.examples})" for chip in CHIPS.values())
        raise ValueError(f"no chip is called {name!r}; choose from {known}") from None


def _up(number: int, unit: int) -> int:
    return -(-number // unit) * unit


def occupancy(
    chip: Chip, *, warps: int, registers: int, shared_bytes: int, tensor_columns: int = 0
) -> Occupancy:
    """Occupancy of a kernel whose blocks have ``warps`` warps of ``registers`` a thread."""
    limits = {
        "warps": chip.warps_per_sm // warps,
        "blocks": chip.blocks_per_sm,
    }
    if registers:
        per_warp = _up(registers * WARP, REGISTER_UNIT)
        resident = REGISTERS_PER_SM // WARP_UNIT // per_warp * WARP_UNIT
        limits["registers"] = resident // warps
    per_block = _up(shared_bytes + SHARED_RESERVED, SHARED_UNIT)
    limits["shared memory"] = (
        chip.shared_per_sm // per_block if shared_bytes <= chip.shared_per_block else 0
    )
    if tensor_columns:
        limits["tensor memory"] = TENSOR_MEMORY_COLUMNS // tensor_columns
    blocks = min(limits.values())
    equal = [name for name, limit in limits.items() if limit == blocks]
    # Nothing is wrong with being stopped by full warps, whatever else is full too.
    limiter = "warps" if "warps" in equal else " and ".join(equal)
    return Occupancy(blocks, blocks * warps, chip.warps_per_sm, limiter)
