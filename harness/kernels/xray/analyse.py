"""Reads a compiled kernel: its machine code, its resources and its layouts."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections import Counter
from typing import Any

from harness.kernels.refusals import Refusal, explain
from harness.kernels.xray.coalescing import accesses
from harness.kernels.xray.launches import RecordedLaunch
from harness.kernels.xray.occupancy import CHIPS, Chip, chip_named, occupancy
from harness.kernels.xray.report import KernelReport

# Names of tensor-core instructions in machine code, and of the instruction family in PTX.
# Longest first: HGMMA before HMMA does not matter, UTCxMMA must not be cut short.
_TENSOR_CORE = (
    (r"\bUTC\w*MMA[.\w]*", "tcgen05"),
    (r"\b[HIQB]GMMA[.\w]*", "wgmma"),
    (r"\b[HIQODB]MMA[.\w]*", "mma"),
)
_TENSOR_CORE_PTX = (
    (r"\btcgen05\.mma[.\w:]*", "tcgen05"),
    (r"\bwgmma\.mma_async[.\w]*", "wgmma"),
    (r"\bmma\.sync[.\w]*", "mma"),
)


def disassembly(cubin: bytes) -> str:
    """Resource usage and machine code by cuobjdump, which comes with triton; "" if it cannot."""
    from triton import knobs

    fd, path = tempfile.mkstemp(suffix=".cubin")
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(cubin)
        done = subprocess.run(
            [knobs.nvidia.cuobjdump.path, "-res-usage", "-sass", path],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return done.stdout if done.returncode == 0 else ""
    except (OSError, subprocess.SubprocessError):
        return ""
    finally:
        os.remove(path)


def _width(modifiers: str) -> int:
    for word in modifiers.split("."):
        if word in ("U8", "S8"):
            return 8
        if word in ("U16", "S16"):
            return 16
        if word in ("64", "128", "256"):
            return int(word)
        if word.startswith("ENL2"):  # Blackwell: two registers quads in one access
            return 256
    return 32


def sass_accesses(sass: str) -> tuple[dict[int, int], dict[int, int]]:
    """Width in bits: instructions, of global loads (asynchronous copies too) and of stores."""
    loads = Counter(_width(m) for m in re.findall(r"\bLDG(?:STS)?(\.[\w.]+)", sass))
    stores = Counter(_width(m) for m in re.findall(r"\bSTG(\.[\w.]+)", sass))
    return dict(loads), dict(stores)


def ptx_accesses(ptx: str) -> tuple[dict[int, int], dict[int, int]]:
    """The same from PTX, for machine code that the disassembler cannot read."""

    def counted(operation: str) -> dict[int, int]:
        found: Counter[int] = Counter()
        for words in re.findall(rf"\b{operation}\.([\w.:]*)", ptx):
            parts = re.split(r"[.:]", words)
            if "global" in parts:
                vector = next((int(p[1:]) for p in parts if re.fullmatch(r"v\d", p)), 1)
                bits = next((int(p[1:]) for p in parts if re.fullmatch(r"[bufs]\d+", p)), 32)
                found[vector * bits] += 1
        return dict(found)

    loads = counted("ld")
    for size in re.findall(r"cp\.async\.c[ag]\.shared\.global[^;]*?, (0x[\da-f]+|\d+)", ptx):
        width = 8 * int(size, 0)
        loads[width] = loads.get(width, 0) + 1
    return loads, counted("st")


def _tensor_core(sass: str, ptx: str) -> str | None:
    for patterns, text in ((_TENSOR_CORE, sass), (_TENSOR_CORE_PTX, ptx)):
        for pattern, family in patterns:
            names = Counter(re.findall(pattern, text))
            if names:
                name, _ = names.most_common(1)[0]
                return f"{family} ({name}, {sum(names.values())} instructions)"
    return None


def _stack_bytes(usage: str) -> int:
    match = re.search(r"\bSTACK:(\d+)", usage)
    return int(match.group(1)) if match else 0


def _declared_bytes(ptx: str) -> int:
    """Local memory that the program itself asked for (printing, assertions): no spill."""
    return sum(int(size) for size in re.findall(r"\.local\s[^;]*__local_depot\d+\[(\d+)\]", ptx))


def analyse(
    launch: RecordedLaunch, kernel: Any, chip_name: str, seconds: float = 0.0
) -> KernelReport:
    """The report of a triton CompiledKernel; ``seconds`` it took to compile (0: it ran here)."""
    asm, metadata = kernel.asm, kernel.metadata
    sass = disassembly(asm["cubin"])
    ptx = asm.get("ptx", "")
    loads, stores = sass_accesses(sass) if sass else ptx_accesses(ptx)
    registers = re.search(r"\bREG:(\d+)", sass)
    register_count = int(registers.group(1)) if registers else 0
    found = accesses(asm.get("ttgir", ""))
    chip = chip_named(chip_name) if chip_name in CHIPS else _nearest(chip_name)
    resident = occupancy(
        chip,
        warps=metadata.num_warps,
        registers=register_count,
        shared_bytes=metadata.shared,
        tensor_columns=getattr(metadata, "tmem_size", 0) or 0,
    )
    return KernelReport(
        kernel=launch.kernel,
        file=launch.file,
        line=launch.line,
        chip=chip_name,
        specialisation=launch.specialisation(),
        launches=launch.count,
        examples=launch.examples,
        not_divisible=launch.not_divisible(),
        registers=register_count,
        spill_bytes=max(0, _stack_bytes(sass) - _declared_bytes(ptx)),
        shared_bytes=metadata.shared,
        shared_limit=chip.shared_per_block,
        warps=metadata.num_warps,
        blocks_per_sm=resident.blocks,
        occupancy=resident.fraction,
        limiter=resident.limiter,
        loads=loads,
        stores=stores,
        counted_in="sass" if sass else "ptx",
        accesses=[access.to_json() for access in found],
        tensor_core=_tensor_core(sass, ptx),
        has_dot=bool(re.search(r"\btt\.dot(_scaled)?\b", asm.get("ttir", ""))),
        tma=bool(re.search(r"\bUTMA\w+|\bUBLKCP", sass) or "cp.async.bulk.tensor" in ptx),
        compile_seconds=seconds,
        ran=not seconds,
        refused=_too_much_shared(launch, metadata.shared, chip, chip_name),
    )


def _nearest(name: str) -> Chip:
    """A chip that is not in the table has the limits of the newest one that is not newer."""
    capability = int(name.removeprefix("sm_"))
    known = sorted(CHIPS.values(), key=lambda chip: chip.capability)
    return [chip for chip in known if chip.capability <= capability or chip is known[0]][-1]


def _too_much_shared(
    launch: RecordedLaunch, shared: int, chip: Chip, chip_name: str
) -> Refusal | None:
    if shared <= chip.shared_per_block:
        return None
    message = (
        f"out of resource: shared memory, Required: {shared}, "
        f"Hardware limit: {chip.shared_per_block} ({chip_name})"
    )
    return Refusal(launch.file, launch.line, f"def {launch.kernel}", message, explain(message))
