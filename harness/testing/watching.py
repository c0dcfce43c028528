"""``watch``: run something and see what it did: launches, bytes, operators, synchronisations."""

from __future__ import annotations

import functools
import gc
import importlib
import os
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

from harness.measure.kernels import KernelClock


@dataclass(frozen=True)
class Launch:
    """One kernel launch: the grid as it was given, and the kernel's constants."""

    kernel: str
    grid: tuple[int, ...]
    meta: dict[str, Any] = field(default_factory=dict)

    @property
    def programs(self) -> int:
        n = 1
        for size in self.grid:
            n *= size
        return n


@dataclass(frozen=True)
class Seen:
    """What a call did.

    ``launches``: Triton kernels, in order; warm-up and autotuning runs are not counted.
    ``peak_bytes``, ``live_bytes``: memory beyond what was there before the call, at its highest
    and at its end, the result included. Tensors: what was asked of the allocator of the device
    (CUDA if anything happened there, else the CPU; there, blocks of up to 16 bytes are left out,
    since each Python number in an expression is one). Numpy: arrays and Python's own objects.
    ``operators``: torch operators such as ``"aten.mm"``, in order. ``synchronisations``: what
    made the host wait for the GPU, or would have, on a GPU: ``.item()``, ``.cpu()``, ``nonzero``.
    What happens inside an interpreted kernel is not the caller's and is left out of all of them.
    """

    launches: list[Launch]
    peak_bytes: int
    live_bytes: int
    operators: list[str]
    synchronisations: list[str]


def watch(
    f: Callable[..., Any], *args: Any, of: str | None = None, **kwargs: Any
) -> tuple[Any, Seen]:
    """Call ``f(*args, **kwargs)``; return its result and what was seen meanwhile.

    ``of``: whose memory counts, ``"torch"`` or ``"numpy"``. By default torch's if tensors are
    among the arguments or any torch operator is called, else numpy's.
    """
    if of not in (None, "torch", "numpy"):
        raise ValueError(f'of={of!r}: "torch", "numpy" or nothing')
    if of == "torch":
        importlib.import_module("torch")
    tensors = list(_tensors((f, args, kwargs)))
    with_torch = "torch" in sys.modules and of != "numpy"
    with_numpy = of == "numpy" or (of is None and not tensors)

    record = _Record()
    numpy_memory = _NumpyMemory() if with_numpy else None
    torch_memory: list[_Memory] = []
    if with_torch:
        torch_memory.append(_CpuMemory())
        if sys.modules["torch"].cuda.is_initialized():
            torch_memory.append(_CudaMemory())
    # A collection in the middle of the call would free what has nothing to do with it.
    collecting = gc.isenabled()
    if collecting:
        gc.collect(0)
        gc.disable()
    try:
        with ExitStack() as stack:
            meters: list[_Memory] = list(torch_memory)
            if numpy_memory is not None:
                meters.append(numpy_memory)
            if "triton" in sys.modules:
                stack.enter_context(_launches(record, meters))
            if with_torch:
                stack.enter_context(_torch_calls(record, tensors))
            for meter in meters:
                stack.callback(meter.close)
                meter.resume()
            result = f(*args, **kwargs)
            for meter in reversed(meters):
                meter.stop()
    finally:
        if collecting:
            gc.enable()

    torch_did = tensors or record.operators or any(meter.peak for meter in torch_memory)
    if numpy_memory is not None and not (of is None and torch_did):
        memory: _Memory = numpy_memory
    else:
        on_gpu = any(t.is_cuda for t in tensors)
        memory = torch_memory[-1] if on_gpu or torch_memory[-1].peak else torch_memory[0]
    seen = Seen(
        launches=record.launches,
        peak_bytes=memory.peak,
        live_bytes=memory.live,
        operators=record.operators,
        synchronisations=record.synchronisations,
    )
    return result, seen


@dataclass
class _Record:
    launches: list[Launch] = field(default_factory=list)
    operators: list[str] = field(default_factory=list)
    synchronisations: list[str] = field(default_factory=list)
    hidden: int = 0  # > 0: what happens now is not the caller's doing


def _tensors(x: Any, depth: int = 4) -> Iterator[Any]:
    """The tensors in arguments: in containers, modules, bound methods and closures."""
    torch = sys.modules.get("torch")
    if torch is None or depth == 0:
        return
    if isinstance(x, torch.Tensor):
        yield x
    elif isinstance(x, torch.nn.Module):
        yield from x.parameters()
        yield from x.buffers()
    elif isinstance(x, dict):
        yield from _tensors(list(x.values()), depth)
    elif isinstance(x, (list, tuple, set)):
        for part in x:
            yield from _tensors(part, depth - 1)
    elif isinstance(x, functools.partial):
        yield from _tensors((x.func, x.args, x.keywords), depth - 1)
    elif getattr(x, "__self__", None) is not None and callable(x):
        yield from _tensors(x.__self__, depth - 1)
    elif getattr(x, "__closure__", None):
        for cell in x.__closure__:
            try:
                yield from _tensors(cell.cell_contents, depth - 1)
            except ValueError:  # a cell that is not filled yet
                continue


# Memory --------------------------------------------------------------------------------------


class _Memory(Protocol):
    """Counts from ``resume`` to ``pause`` or ``stop``; what happens in between is left out."""

    peak: int
    live: int

    def resume(self) -> None: ...
    def pause(self) -> None: ...
    def stop(self) -> None: ...
    def close(self) -> None: ...


class _CpuMemory:
    """Torch's CPU allocator, block by block, through the core of torch's profiler.

    It sees the temporaries of operators written in C++, which no Python mode does, and costs half
    a millisecond a call (``torch.profiler`` itself imports the compiler: seconds). What was there
    before and is freed meanwhile is not subtracted: the profiler may not know its size.

    It goes on while it pauses, and what it sees then is marked: whoever stops the profiler inside
    of what it records, an autograd.Function's forward, gets a segmentation fault now and then.
    """

    SMALL = 16  # Python numbers that torch wraps into tensors
    PAUSE = "watch: not counted"

    def __init__(self) -> None:
        self.peak = self.live = 0
        self._on = False
        self._pause: Any = None
        self._clock: KernelClock | None = None

    def resume(self) -> None:
        from torch._C import _autograd, _profiler

        if self._pause is not None:
            self._pause.__exit__(None, None, None)
            self._pause = None
            return
        # There is one profiler: while it is used here, the card's kernels are noted here as well.
        self._clock = KernelClock.interrupt()
        # Read once, at the first use; below, Kineto tells stderr of each start and stop.
        os.environ.setdefault("KINETO_LOG_LEVEL", "6")
        config = _profiler.ProfilerConfig(
            _profiler.ProfilerState.KINETO,
            False,  # shapes
            True,  # memory
            False,  # stacks
            False,  # flops
            False,  # modules
            _profiler._ExperimentalConfig(),
        )
        activities = {_profiler.ProfilerActivity.CPU}
        if self._clock is not None:
            activities.add(_profiler.ProfilerActivity.CUDA)
        _autograd._prepare_profiler(config, activities)
        _autograd._enable_profiler(config, activities)
        self._on = True

    def pause(self) -> None:
        self._pause = sys.modules["torch"]._C._profiler._RecordFunctionFast(self.PAUSE)
        self._pause.__enter__()

    def stop(self) -> None:
        from torch._C import _autograd, _profiler

        self._on = False
        if not _autograd._profiler_enabled():
            raise RuntimeError(
                "watch() cannot count the memory of a call that uses torch's profiler itself"
            )
        if self._clock is not None:
            sys.modules["torch"]._C._cuda_synchronize()  # torch.cuda's own is being watched
        seen = _autograd._disable_profiler()
        if self._clock is not None:
            self._clock.add(seen.events())
            self._clock.start()
        blocks = []
        waiting = [(event, True) for event in seen.experimental_event_tree()]
        while waiting:
            event, counts = waiting.pop()
            counts = counts and event.name != self.PAUSE
            waiting += [(child, counts) for child in event.children]
            if event.tag == _profiler._EventType.Allocation:
                block: Any = event.extra_fields
                size = block.alloc_size
                if block.device.type == "cpu" and abs(size) > self.SMALL and (counts or size < 0):
                    blocks.append((event.start_time_ns, block.ptr, size))
        sizes: dict[int, int] = {}  # of the blocks that are alive, by address
        for _, address, size in sorted(blocks):
            self.live -= sizes.pop(address, 0)
            if size > 0:
                self.live += size
                sizes[address] = size
                self.peak = max(self.peak, self.live)

    def close(self) -> None:
        if self._pause is not None:
            self.resume()
        if self._on and sys.modules["torch"]._C._autograd._profiler_enabled():
            self.stop()


class _CudaMemory:
    """Torch's CUDA allocators: the bytes asked for, before they are rounded up to blocks."""

    def __init__(self) -> None:
        self.peak = self.live = 0
        self._start = 0

    def _stat(self, which: str) -> int:
        cuda = sys.modules["torch"].cuda
        key = f"requested_bytes.all.{which}"
        return sum(cuda.memory_stats(i).get(key, 0) for i in range(cuda.device_count()))

    def resume(self) -> None:
        cuda = sys.modules["torch"].cuda
        for i in range(cuda.device_count()):
            cuda.reset_peak_memory_stats(i)
        self._start = self._stat("current")

    def pause(self) -> None:
        self.peak = max(self.peak, self.live + self._stat("peak") - self._start)
        self.live += self._stat("current") - self._start

    def stop(self) -> None:
        self.pause()

    def close(self) -> None:
        pass


class _NumpyMemory:
    """What Python's own tracer sees; numpy reports the data of its arrays there."""

    def __init__(self) -> None:
        self.peak = self.live = 0
        self._mine = not tracemalloc.is_tracing()
        self._start = 0

    def resume(self) -> None:
        if not tracemalloc.is_tracing():
            tracemalloc.start()
        tracemalloc.reset_peak()
        self._start = tracemalloc.get_traced_memory()[0]

    def pause(self) -> None:
        now, peak = tracemalloc.get_traced_memory()
        self.peak = max(self.peak, self.live + peak - self._start)
        self.live += now - self._start

    def stop(self) -> None:
        self.pause()

    def close(self) -> None:
        if self._mine:
            tracemalloc.stop()


# Launches ------------------------------------------------------------------------------------


@contextmanager
def _launches(record: _Record, meters: list[Any]) -> Iterator[None]:
    """Notes every launch of a Triton kernel, compiled or interpreted."""
    from triton.runtime import autotuner, interpreter, jit

    @contextmanager
    def hidden() -> Iterator[None]:
        outermost = record.hidden == 0
        if outermost:
            for meter in reversed(meters):
                meter.pause()
        record.hidden += 1
        try:
            yield
        finally:
            record.hidden -= 1
            if outermost:
                for meter in meters:
                    meter.resume()
                # The interpreter leaves a cycle behind that holds the arguments. Only the
                # youngest objects are looked at: what was there before the call stays.
                gc.collect(0)

    run, bench = jit.JITFunction.run, autotuner.Autotuner._bench
    interpret = interpreter.InterpretedFunction.run  # also where the interpreter is a mended one

    def noting(kernel: Any, grid: Any) -> Callable[[Any], Any]:
        """``grid`` as a function: whoever launches calls it once, with all arguments by name."""
        counted = not record.hidden

        def noted(meta: Any) -> Any:
            nonlocal counted
            found = grid(meta) if callable(grid) else grid
            # A grid that is none will be refused by the launch itself.
            if counted and isinstance(found, (tuple, list)) and not _odd(found):
                counted = False
                record.launches.append(
                    Launch(kernel.fn.__name__, tuple(map(int, found)), _constants(kernel.fn, meta))
                )
            return found

        return noted

    def counted_run(self: Any, *args: Any, grid: Any, warmup: bool, **kwargs: Any) -> Any:
        return run(self, *args, grid=noting(self, grid), warmup=warmup, **kwargs)

    def hidden_run(self: Any, *args: Any, grid: Any, warmup: bool, **kwargs: Any) -> Any:
        noted = noting(self, grid)
        with hidden():  # the interpreter's own temporaries and copies
            return interpret(self, *args, grid=noted, warmup=warmup, **kwargs)

    def hidden_bench(self: Any, *args: Any, **kwargs: Any) -> Any:
        with hidden():  # autotuning tries every configuration many times
            return bench(self, *args, **kwargs)

    jit.JITFunction.run = counted_run
    interpreter.InterpretedFunction.run = hidden_run
    autotuner.Autotuner._bench = hidden_bench
    try:
        yield
    finally:
        jit.JITFunction.run = run
        interpreter.InterpretedFunction.run = interpret
        autotuner.Autotuner._bench = bench


def _odd(grid: Any) -> bool:
    return any(isinstance(n, bool) or not hasattr(n, "__index__") for n in grid)


def _constants(function: Any, meta: Any) -> dict[str, Any]:
    """The arguments that are ``tl.constexpr``."""
    names = [
        name
        for name, kind in function.__annotations__.items()
        if str(getattr(kind, "__name__", kind)).split(".")[-1] == "constexpr" and name in meta
    ]
    return {name: getattr(meta[name], "value", meta[name]) for name in names}


# Operators and synchronisations --------------------------------------------------------------

# Operators whose result, or its shape, the host must read.
_READ_BACK = {
    "_local_scalar_dense": "item",
    "nonzero": "nonzero",
    "nonzero_numpy": "nonzero",
    "argwhere": "argwhere",
    "masked_select": "masked_select",
    "equal": "equal",
    "is_nonzero": "item",
    "_unique": "unique",
    "_unique2": "unique",
    "unique_dim": "unique",
    "unique_consecutive": "unique_consecutive",
    "unique_dim_consecutive": "unique_consecutive",
    "repeat_interleave": "repeat_interleave",
    "bincount": "bincount",
    "histc": "histc",
    "_linalg_check_errors": "linalg",
}
# Methods that read back before any operator is called, or without one on a CPU. Not ``to``: on a
# CPU, ``x.to("cpu")`` may be the ``x.to(device)`` that copies nothing on a GPU.
_READING_METHODS = frozenset(("cpu", "tolist", "item"))


@contextmanager
def _torch_calls(record: _Record, tensors: list[Any]) -> Iterator[None]:
    import torch
    from torch.overrides import TorchFunctionMode
    from torch.utils._python_dispatch import TorchDispatchMode

    # With tensors on a GPU only those count; a run on the CPU stands for one on a GPU.
    on_gpu = any(t.is_cuda for t in tensors)
    inside = 0  # of a method that was counted already

    def counts(x: Any) -> bool:
        return isinstance(x, torch.Tensor) and (x.is_cuda or not on_gpu)

    def note(name: str) -> None:
        if not record.hidden and not inside:
            record.synchronisations.append(name)

    class Operators(TorchDispatchMode):
        @classmethod
        def _should_skip_dynamo(cls) -> bool:
            # Else torch imports its whole compiler (a second) to keep it away from this class.
            return "torch._dynamo" in sys.modules

        def __torch_dispatch__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            kwargs = kwargs or {}
            if not record.hidden:
                name = func._schema.name.split("::")[-1]
                record.operators.append(func._schema.name.replace("::", "."))
                if _reads_back(torch, name, args, kwargs, counts, on_gpu):
                    note(_READ_BACK.get(name, name))
            return func(*args, **kwargs)

    class Methods(TorchFunctionMode):
        def __torch_function__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            nonlocal inside
            kwargs = kwargs or {}
            name = getattr(func, "__name__", "")
            if name not in _READING_METHODS or not args or not counts(args[0]):
                return func(*args, **kwargs)
            note(name)
            inside += 1
            try:
                return func(*args, **kwargs)
            finally:
                inside -= 1

    with _waits(torch, note), Methods(), Operators():
        yield


def _reads_back(
    torch: Any,
    name: str,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    counts: Callable[[Any], bool],
    on_gpu: bool,
) -> bool:
    if name in _READ_BACK:
        if name == "repeat_interleave" and kwargs.get("output_size") is not None:
            return False
        return counts(args[0])
    if name in ("index", "index_put", "index_put_", "_index_put_impl_"):
        # A mask as an index: how many it selects is read back.
        return any(
            i is not None and i.dtype in (torch.bool, torch.uint8) and counts(i) for i in args[1]
        )
    if name == "_to_copy":
        device = kwargs.get("device")
        return on_gpu and args[0].is_cuda and device is not None and device.type == "cpu"
    if name == "copy_":
        waits = not (args[2] if len(args) > 2 else kwargs.get("non_blocking", False))
        return on_gpu and waits and args[1].is_cuda and not args[0].is_cuda
    return False


@contextmanager
def _waits(torch: Any, note: Callable[[str], None]) -> Iterator[None]:
    """Notes the calls that do nothing but wait."""
    places = [
        (torch.cuda, "synchronize"),
        (torch.cuda.Event, "synchronize"),
        (torch.cuda.Stream, "synchronize"),
    ]
    if hasattr(torch, "accelerator"):
        places.append((torch.accelerator, "synchronize"))
    originals = [getattr(owner, name) for owner, name in places]

    def noted(original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def call(*args: Any, **kwargs: Any) -> Any:
            note("synchronize")
            return original(*args, **kwargs)

        return call

    for (owner, name), original in zip(places, originals, strict=True):
        setattr(owner, name, noted(original))
    try:
        yield
    finally:
        for (owner, name), original in zip(places, originals, strict=True):
            setattr(owner, name, original)
