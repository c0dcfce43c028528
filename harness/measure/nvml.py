"""What the NVIDIA driver says about the GPUs, through nvidia-ml-py (``import pynvml``).

    with open_nvml() as nvml:
        print(nvml.gpus()[0].name, nvml.read(0).temperature)

GPU 0 here is what torch calls ``cuda:0``: CUDA_VISIBLE_DEVICES is applied as CUDA does. Nothing
here starts CUDA or imports torch. Where the driver does not answer at all, NvmlUnavailable says so
in one line; where it does not answer one question, the field is None and ``problems`` says why.
Open it in the process that reads: the driver's library does not promise to survive a fork.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

# Return codes of NVML, from nvml.h.
NOT_SUPPORTED = 3
NO_PERMISSION = 4
NOT_FOUND = 6
DRIVER_NOT_LOADED = 9
TIMEOUT = 10
LIBRARY_NOT_FOUND = 12
FUNCTION_NOT_FOUND = 13
GPU_IS_LOST = 15
RESET_REQUIRED = 16
OPERATING_SYSTEM = 17
VERSION_MISMATCH = 18
ARGUMENT_VERSION_MISMATCH = 25

# After these the card answers nothing more until it is reset or the machine restarts.
_CARD_IS_GONE = {
    GPU_IS_LOST: "the GPU fell off the bus while it was being read: see `dmesg`, restart the "
    "machine, and check its power and cooling if it happens again",
    RESET_REQUIRED: "the GPU must be reset before it can be used again: restart the machine, or "
    "run `sudo nvidia-smi --gpu-reset` with nothing using it",
}

# What lowers the clocks under load: a timing taken meanwhile is not the card's best. Bits from
# nvml.h (nvmlClocksEventReasons and its older nvmlClocksThrottleReasons).
_THROTTLING = {
    0x4: "power limit reached",
    0x8: "hardware slowdown (heat, power or a fault)",
    0x10: "held to the clocks of another GPU (sync boost)",
    0x20: "too hot: the driver lowers the clocks",
    0x40: "too hot: the hardware lowers the clocks",
    0x80: "power brake from outside the card (power supply)",
    0x200: "board limit reached",
    0x400: "voltage reliability limit reached",
}
# What fixes the clocks by choice. 0x1 (idle) is neither: an idle card clocks down, as it should.
_SETTINGS = {
    0x2: "clocks fixed by application or locked clock settings",
    0x100: "clocks fixed by the display settings",
}
_IDLE = 0x1
_GENERIC_SLOWDOWN, _SPECIFIC_SLOWDOWN = 0x8, 0x40 | 0x80

# FP32 cores in a multiprocessor, by compute capability (CUDA C++ Programming Guide, table of
# arithmetic throughput). NVML counts cores; what people know is the multiprocessors.
_CORES_PER_SM = {
    **dict.fromkeys([(6, 0), (7, 0), (7, 2), (7, 5), (8, 0)], 64),
    **dict.fromkeys([(6, 1), (8, 6), (8, 7), (8, 9), (9, 0), (10, 0), (10, 3), (12, 0)], 128),
}


class NvmlUnavailable(Exception):
    """NVML cannot be used here; its text is one line: what is wrong and what to do."""


@dataclass(frozen=True)
class Gpu:
    """A GPU as CUDA sees it: a card, or a slice of one where MIG is on."""

    index: int
    name: str
    uuid: str
    memory_bytes: int | None
    driver: str
    cuda_driver: str | None  # the newest CUDA that this driver can run, "13.0"
    compute_capability: tuple[int, int] | None
    mig: bool
    sm_count: int | None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Process:
    pid: int
    name: str
    bytes: int | None
    kind: str  # "compute" or "graphics"


@dataclass(frozen=True)
class GpuReading:
    """One look at a GPU. Bytes, MHz, watts, degrees Celsius, per cent. None: see ``problems``."""

    memory_used: int | None = None
    memory_total: int | None = None
    process_bytes: int | None = None  # of this process
    sm_clock: int | None = None
    memory_clock: int | None = None
    max_sm_clock: int | None = None
    max_memory_clock: int | None = None
    power_watts: float | None = None
    power_limit: float | None = None
    temperature: int | None = None
    idle: bool | None = None
    throttle_reasons: tuple[str, ...] | None = None  # what slows the card down now
    clock_settings: tuple[str, ...] | None = None  # what fixes its clocks by choice
    other_processes: tuple[Process, ...] | None = None
    utilisation: int | None = None
    problems: tuple[str, ...] = ()
    lost: bool = False  # the card stopped answering while it was read

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class _Card:
    """Handles of one CUDA device: ``slice`` is the MIG instance, or the card itself."""

    slice: Any
    whole: Any
    uuid: str
    mig: bool


@contextmanager
def open_nvml() -> Iterator[Nvml]:
    """The GPUs that CUDA shows to this process; NvmlUnavailable where the driver can't be asked."""
    pynvml = _import_pynvml()
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        raise NvmlUnavailable(_why_not(error)) from None
    try:
        try:
            nvml = Nvml(pynvml)
        except pynvml.NVMLError as error:
            raise NvmlUnavailable(_why_not(error)) from None
        yield nvml
    finally:
        # A lost card can make the goodbye fail, and nothing depends on it.
        with suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()


class Nvml:
    """An open NVML; get one from :func:`open_nvml`. ``notes``: what the list of GPUs leaves out."""

    def __init__(self, pynvml: Any) -> None:
        self._pynvml = pynvml
        self.driver: str = self._call("nvmlSystemGetDriverVersion")
        version = self._try(["nvmlSystemGetCudaDriverVersion_v2", "nvmlSystemGetCudaDriverVersion"])
        self.cuda_driver = None if version is None else f"{version // 1000}.{version % 1000 // 10}"
        cards, notes = self._cards()
        if not cards and notes:
            raise NvmlUnavailable("; ".join(notes))
        if not cards:
            notes.append("the NVIDIA driver runs but sees no GPU: check `nvidia-smi` and `lspci`")
        self.present = len(cards)  # before CUDA_VISIBLE_DEVICES
        self._visible, hidden = _choose(cards, os.environ.get("CUDA_VISIBLE_DEVICES"))
        names = {self._try(["nvmlDeviceGetName"], card.whole) for card in cards}
        if len(names) > 1 and os.environ.get("CUDA_DEVICE_ORDER") != "PCI_BUS_ID":
            notes.append(
                "the GPUs differ, and CUDA may number them by speed where NVML goes by slot: set "
                "CUDA_DEVICE_ORDER=PCI_BUS_ID to be sure that both mean the same GPU 0"
            )
        self.notes: tuple[str, ...] = (*notes, *hidden)

    def gpus(self) -> list[Gpu]:
        """The visible GPUs, in CUDA's order."""
        return [self._describe(index, card) for index, card in enumerate(self._visible)]

    def read(self, which: int | str = 0) -> GpuReading:
        """Read one GPU now, by CUDA index or by UUID (with or without its ``GPU-`` in front)."""
        card = self._find(which)
        ask = _Questions(self)
        memory = ask("memory", self._memory, card.slice)
        power = ask("power", self._call, "nvmlDeviceGetPowerUsage", card.whole)
        limit = ask("power limit", self._call, "nvmlDeviceGetEnforcedPowerLimit", card.whole)
        clock, max_clock = "nvmlDeviceGetClockInfo", "nvmlDeviceGetMaxClockInfo"
        sm, mem = self._pynvml.NVML_CLOCK_SM, self._pynvml.NVML_CLOCK_MEM
        sm_clock = ask("clocks", self._call, clock, card.whole, sm)
        memory_clock = ask("clocks", self._call, clock, card.whole, mem)
        max_sm_clock = ask("maximum clocks", self._call, max_clock, card.whole, sm)
        max_memory_clock = ask("maximum clocks", self._call, max_clock, card.whole, mem)
        temperature = ask(
            "temperature",
            self._first,
            ["nvmlDeviceGetTemperatureV", "nvmlDeviceGetTemperature"],
            card.whole,
            self._pynvml.NVML_TEMPERATURE_GPU,
        )
        reasons = ask(
            "throttle reasons",
            self._first,
            [
                "nvmlDeviceGetCurrentClocksEventReasons",
                "nvmlDeviceGetCurrentClocksThrottleReasons",
            ],
            card.whole,
        )
        busy = ask("utilisation", self._call, "nvmlDeviceGetUtilizationRates", card.whole)
        listed = ask("processes", self._processes, card.slice)
        if card.mig and not ask.lost:
            ask.problems.append(
                "the GPU is split with MIG: power, clocks, temperature and utilisation are those "
                "of the whole card, which others may be using"
            )
        if listed is None:
            process_bytes, others = None, None
        else:
            process_bytes, others, problem = _whose(listed)
            ask.problems.extend(problem)
        return GpuReading(
            memory_used=None if memory is None else memory[0],
            memory_total=None if memory is None else memory[1],
            process_bytes=process_bytes,
            sm_clock=sm_clock,
            memory_clock=memory_clock,
            max_sm_clock=max_sm_clock,
            max_memory_clock=max_memory_clock,
            power_watts=None if power is None else power / 1000,
            power_limit=None if limit is None else limit / 1000,
            temperature=temperature,
            idle=None if reasons is None else bool(reasons & _IDLE),
            throttle_reasons=None if reasons is None else _throttling(reasons),
            clock_settings=None if reasons is None else _words(reasons, _SETTINGS),
            other_processes=others,
            utilisation=None if busy is None else busy.gpu,
            problems=ask.sentences(),
            lost=ask.lost,
        )

    def process_bytes(self, which: int | str = 0) -> int | None:
        """GPU memory of this process alone: much cheaper than a whole reading."""
        try:
            return _whose(self._processes(self._find(which).slice))[0]
        except self._pynvml.NVMLError:
            return None

    # -- asking the driver -------------------------------------------------------------------

    def _call(self, name: str, *arguments: Any) -> Any:
        function = getattr(self._pynvml, name, None)
        if function is None:  # an older nvidia-ml-py
            raise self._pynvml.NVMLError(FUNCTION_NOT_FOUND)
        return function(*arguments)

    def _first(self, names: Sequence[str], *arguments: Any) -> Any:
        """The first of these functions that driver and package both have, newest first."""
        for name in names[:-1]:
            try:
                return self._call(name, *arguments)
            except self._pynvml.NVMLError as error:
                if error.value not in (FUNCTION_NOT_FOUND, ARGUMENT_VERSION_MISMATCH):
                    raise
        return self._call(names[-1], *arguments)

    def _try(self, names: Sequence[str], *arguments: Any) -> Any:
        try:
            return self._first(names, *arguments)
        except (self._pynvml.NVMLError, UnicodeDecodeError):
            return None

    def _cards(self) -> tuple[list[_Card], list[str]]:
        """Every device that CUDA could show, in slot order, and what had to be left out."""
        cards: list[_Card] = []
        notes: list[str] = []
        for index in range(self._call("nvmlDeviceGetCount")):
            try:
                whole = self._call("nvmlDeviceGetHandleByIndex", index)
                if self._mig_is_on(whole):
                    slices = self._slices(whole)
                    cards.extend(slices)
                    if not slices:
                        notes.append(
                            f"GPU {index} is in MIG mode without an instance, so CUDA cannot use "
                            "it: make one (`nvidia-smi mig`) or turn MIG off"
                        )
                else:
                    uuid = self._call("nvmlDeviceGetUUID", whole)
                    cards.append(_Card(whole, whole, uuid, mig=False))
            except self._pynvml.NVMLError as error:
                notes.append(f"GPU {index} was left out: {_reason(error)}")
        return cards, notes

    def _mig_is_on(self, whole: Any) -> bool:
        mode = self._try(["nvmlDeviceGetMigMode"], whole)
        return mode is not None and mode[0] == 1

    def _slices(self, whole: Any) -> list[_Card]:
        slices = []
        for index in range(self._try(["nvmlDeviceGetMaxMigDeviceCount"], whole) or 0):
            # Unused places answer "not found".
            handle = self._try(["nvmlDeviceGetMigDeviceHandleByIndex"], whole, index)
            uuid = None if handle is None else self._try(["nvmlDeviceGetUUID"], handle)
            if uuid is not None:
                slices.append(_Card(handle, whole, uuid, mig=True))
        return slices

    def _find(self, which: int | str) -> _Card:
        if isinstance(which, str):
            wanted = _bare(which)
            for card in self._visible:
                if _bare(card.uuid) == wanted:
                    return card
            raise NvmlUnavailable(f"NVML shows no GPU with UUID {which} to this process")
        if 0 <= which < len(self._visible):
            return self._visible[which]
        shown = len(self._visible)
        why = "".join(f"; {note}" for note in self.notes)
        raise NvmlUnavailable(f"there is no GPU {which}: {shown} of {self.present} visible{why}")

    def _describe(self, index: int, card: _Card) -> Gpu:
        numbers = self._try(["nvmlDeviceGetCudaComputeCapability"], card.whole)
        capability = None if numbers is None else (int(numbers[0]), int(numbers[1]))
        try:
            memory = self._memory(card.slice)[1]
        except self._pynvml.NVMLError:
            memory = None
        return Gpu(
            index=index,
            name=self._try(["nvmlDeviceGetName"], card.slice) or "NVIDIA GPU (name unknown)",
            uuid=card.uuid,
            memory_bytes=memory,
            driver=self.driver,
            cuda_driver=self.cuda_driver,
            compute_capability=capability,
            mig=card.mig,
            sm_count=self._sm_count(card, capability),
        )

    def _sm_count(self, card: _Card, capability: tuple[int, int] | None) -> int | None:
        if card.mig:
            attributes = self._try(["nvmlDeviceGetAttributes_v2"], card.slice)
            return None if attributes is None else attributes.multiprocessorCount
        cores = self._try(["nvmlDeviceGetNumGpuCores"], card.whole)
        per_sm = None if capability is None else _CORES_PER_SM.get(capability)
        return None if cores is None or per_sm is None else int(cores) // per_sm

    def _memory(self, handle: Any) -> tuple[int, int]:
        """Used and total bytes; version 2 leaves what the driver reserves out of "used"."""
        version = getattr(self._pynvml, "nvmlMemory_v2", None)
        if version is not None:
            try:
                memory = self._pynvml.nvmlDeviceGetMemoryInfo(handle, version=version)
                return memory.used, memory.total
            except self._pynvml.NVMLError as error:
                if error.value in _CARD_IS_GONE:
                    raise
        memory = self._pynvml.nvmlDeviceGetMemoryInfo(handle)
        return memory.used, memory.total

    def _processes(self, handle: Any) -> list[Process]:
        """Every process on the card that the driver tells us about; compute ones first."""
        found: dict[int, Process] = {}
        stem = "nvmlDeviceGet{}RunningProcesses_v{}"
        for kind, group in (
            ("compute", "Compute"),
            ("compute", "MPSCompute"),
            ("graphics", "Graphics"),
        ):
            try:
                listed = self._first([stem.format(group, 3), stem.format(group, 2)], handle)
            except self._pynvml.NVMLError as error:
                # Many drivers list only compute processes; without those there is no answer.
                if group == "Compute" or error.value in _CARD_IS_GONE:
                    raise
                continue
            for entry in listed:
                if entry.pid not in found:
                    name = self._process_name(entry.pid)
                    found[entry.pid] = Process(entry.pid, name, entry.usedGpuMemory, kind)
        return list(found.values())

    def _process_name(self, pid: int) -> str:
        name = self._try(["nvmlSystemGetProcessName"], pid)
        if not name:
            with suppress(OSError, UnicodeDecodeError):
                name = Path(f"/proc/{pid}/comm").read_text().strip()
        # The program alone: some drivers give the command line, whose arguments are private.
        words = (name or "").split()
        return os.path.basename(words[0]) if words else "(name unknown)"


@dataclass
class _Questions:
    """Asks one thing after another, and keeps what could not be answered, by reason."""

    nvml: Nvml
    problems: list[str] = field(default_factory=list)
    lost: bool = False
    unanswered: dict[str, list[str]] = field(default_factory=dict)

    def __call__(self, what: str, function: Any, *arguments: Any) -> Any:
        if self.lost:
            return None
        try:
            return function(*arguments)
        except self.nvml._pynvml.NVMLError as error:
            if error.value in _CARD_IS_GONE:
                self.lost = True
                self.problems.append(_CARD_IS_GONE[error.value])
            else:
                names = self.unanswered.setdefault(_reason(error), [])
                if what not in names:
                    names.append(what)
            return None

    def sentences(self) -> tuple[str, ...]:
        asked = [f"{', '.join(names)}: {why}" for why, names in self.unanswered.items()]
        return (*asked, *self.problems)


def _import_pynvml() -> Any:
    try:
        return importlib.import_module("pynvml")
    except ImportError as error:
        raise NvmlUnavailable(
            f"the Python package nvidia-ml-py cannot be imported ({error}): "
            f"run `{sys.executable} -m pip install nvidia-ml-py`"
        ) from None


def _in_wsl() -> bool:
    return "microsoft" in os.uname().release.lower() if hasattr(os, "uname") else False


def _reason(error: Any) -> str:
    """Why one question went unanswered."""
    if error.value in _CARD_IS_GONE:
        return _CARD_IS_GONE[error.value]
    known = {
        NOT_SUPPORTED: "not told under WSL" if _in_wsl() else "this card or driver does not tell",
        NO_PERMISSION: "this user may not ask (needs root, or the host outside the container)",
        FUNCTION_NOT_FOUND: "the driver is too old to tell",
    }
    return known.get(error.value, f"NVML answered {_quoted(error)}")


def _quoted(error: Any) -> str:
    return f"'{str(error).rstrip('.')}' (code {error.value})"


def _why_not(error: Any) -> str:
    """Why NVML as a whole cannot be used, and what to do."""
    if error.value == LIBRARY_NOT_FOUND and _in_wsl():
        return (
            "the NVIDIA driver's library was not found under WSL: install the NVIDIA driver in "
            "Windows (not in Linux), run `wsl --update`, and see that /usr/lib/wsl/lib exists"
        )
    known = {
        LIBRARY_NOT_FOUND: "no NVIDIA driver was found (libnvidia-ml.so.1 is missing): install "
        "the driver, or start the container with `--gpus all`; without a GPU nothing is wrong",
        DRIVER_NOT_LOADED: "the NVIDIA driver is installed but not loaded: run `sudo modprobe "
        "nvidia` or restart the machine, then check `nvidia-smi`",
        VERSION_MISMATCH: "the NVIDIA driver was updated and its library no longer fits the "
        "loaded kernel module: restart the machine (a container: restart it too)",
        NO_PERMISSION: "this user may not talk to the NVIDIA driver: check the rights of "
        "/dev/nvidia* (`ls -l /dev/nvidia*`; on many systems the group `video` has them)",
        FUNCTION_NOT_FOUND: "the NVIDIA driver is too old for nvidia-ml-py: update the driver",
        GPU_IS_LOST: "a GPU fell off the bus: see `dmesg`, restart the machine, and check its "
        "power and cooling if it happens again",
        OPERATING_SYSTEM: "the operating system blocks the NVIDIA driver (a container or sandbox "
        "without the GPU's devices?): start the container with `--gpus all`",
        TIMEOUT: "the NVIDIA driver did not answer in time: check `nvidia-smi` and `dmesg`, and "
        "restart the machine if they hang too",
    }
    fallback = f"the NVIDIA driver answered {_quoted(error)}: check `nvidia-smi` and `dmesg`"
    return known.get(error.value, fallback)


def _bare(uuid: str) -> str:
    text = uuid.strip().lower()
    for prefix in ("gpu-", "mig-"):
        text = text.removeprefix(prefix)
    return text


def _choose(cards: list[_Card], setting: str | None) -> tuple[list[_Card], list[str]]:
    """The cards that CUDA_VISIBLE_DEVICES shows, in its order, as CUDA reads it: indices or
    beginnings of UUIDs; the first that means nothing ends the list; one named twice empties it.
    """
    # A number means a card. CUDA offers only the first slice of a split one, unless it is named.
    numbered: list[_Card] = []
    for card in cards:
        if not card.mig or all(card.whole is not other.whole for other in numbered):
            numbered.append(card)
    if setting is None:
        return numbered, []
    chosen: list[_Card] = []
    notes: list[str] = []
    for raw in setting.split(","):
        entry = raw.strip()
        named = _named(entry, cards, numbered)
        if named is None:
            if entry not in ("", "-1"):
                notes.append(
                    f"CUDA_VISIBLE_DEVICES={setting}: '{entry}' names no GPU here, so CUDA "
                    "ignores it and all that follows"
                )
            break
        if any(named is other for other in chosen):
            chosen.clear()
            notes.append(
                f"CUDA_VISIBLE_DEVICES={setting} names the same GPU twice, so CUDA shows none"
            )
            break
        chosen.append(named)
    if cards and not chosen and not notes:
        notes.append(f"CUDA_VISIBLE_DEVICES='{setting}' hides every GPU: unset it to use one")
    return chosen, notes


def _named(entry: str, cards: list[_Card], numbered: list[_Card]) -> _Card | None:
    if entry.isdigit():
        return numbered[int(entry)] if int(entry) < len(numbered) else None
    if not entry.lower().startswith(("gpu-", "mig-")):
        return None
    matching = [card for card in cards if card.uuid.lower().startswith(entry.lower())]
    return matching[0] if len(matching) == 1 else None


def _words(bits: int, meanings: dict[int, str]) -> tuple[str, ...]:
    return tuple(text for bit, text in meanings.items() if bits & bit)


def _throttling(bits: int) -> tuple[str, ...]:
    if bits & _SPECIFIC_SLOWDOWN:
        bits &= ~_GENERIC_SLOWDOWN  # it says the same, less exactly
    unknown = bits & ~(sum(_THROTTLING) | sum(_SETTINGS) | _IDLE)
    extra = (f"a reason unknown to this program ({unknown:#x})",) if unknown else ()
    return _words(bits, _THROTTLING) + extra


def _whose(listed: list[Process]) -> tuple[int | None, tuple[Process, ...], list[str]]:
    """Split the processes on a card into (bytes of this one, the others, problems).

    Inside a container the driver lists the process ids of the host, so our own is not among
    them, and the ids listed mean nothing here.
    """
    mine = [process for process in listed if process.pid == os.getpid()]
    if not mine and not _holds_cuda():
        return 0, tuple(listed), []
    if not mine:
        foreign = [process for process in listed if not Path(f"/proc/{process.pid}").exists()]
        if len(foreign) != 1:
            which = (
                "the driver does not list this process"
                if not foreign
                else f"the driver lists {len(foreign)} processes by ids from outside this "
                "container, and this process is one of them"
            )
            return None, tuple(listed), [f"memory of this process: cannot be told, because {which}"]
        mine = foreign
    others = tuple(process for process in listed if process is not mine[0])
    if mine[0].bytes is None:
        return None, others, ["memory of this process: this driver does not tell"]
    return mine[0].bytes, others, []


def _holds_cuda() -> bool:
    """Whether this process uses CUDA. CUDA opens /dev/nvidia-uvm, and NVML does not."""
    try:
        descriptors = os.listdir("/proc/self/fd")
    except OSError:  # not Linux: there are no containers that renumber processes either
        return False
    for descriptor in descriptors:
        with suppress(OSError):
            if os.readlink(f"/proc/self/fd/{descriptor}").endswith("/nvidia-uvm"):
                return True
    return False
