"""Notes every kernel launch with the specialisation that a GPU run would give it.

Runs in the process that launches: under triton's interpreter or on a GPU. Types, divisibility
and ones come from triton's own argument binder, so they cannot drift from what a GPU does.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from harness.kernels.xray.constants import NotPortable, encode
from harness.kernels.xray.source import days_used


@dataclass(frozen=True)
class RecordedLaunch:
    """One kernel with one specialisation; ``count`` launches had it."""

    file: str
    module: str
    kernel: str  # qualified name
    line: int  # of the first decorator
    arguments: list[str]
    signature: dict[str, Any]  # name: "*fp32", "i32", "constexpr", …
    constants: list[list[Any]]  # [path, value]: constexpr arguments, None and ones
    attributes: list[list[Any]]  # [path, [["tt.divisibility", 16]]]
    options: dict[str, Any]  # num_warps, num_stages, … where the launch named them
    days: dict[str, str] = field(default_factory=dict)  # module: file, that the kernel imports
    config: str | None = None  # the autotuner's choice
    problem: str | None = None  # why this launch cannot be compiled at all
    count: int = 1
    grid: list[int] = field(default_factory=list)  # of the first such launch
    examples: dict[str, int] = field(default_factory=dict)  # its integers
    measured: dict[str, Any] | None = None  # report of the kernel that ran, on a GPU

    def key(self) -> str:
        """Equal for launches that a GPU would serve with the same compiled kernel."""
        data = self.to_json()
        for name in ("count", "grid", "examples", "measured", "config", "days"):
            del data[name]
        return json.dumps(data, sort_keys=True)

    def to_json(self) -> dict[str, Any]:
        return {entry.name: getattr(self, entry.name) for entry in fields(self)}

    @staticmethod
    def from_json(data: dict[str, Any]) -> RecordedLaunch:
        return RecordedLaunch(**data)

    def specialisation(self) -> str:
        """``x: *fp32, n: i32, BLOCK = 1024, num_warps = 4; divisible by 16: x``."""
        constants = {path[0]: value for path, value in self.constants if len(path) == 1}
        parts = [
            f"{name} = {_readable(constants[index])}"
            if index in constants
            else f"{name}: {self.signature.get(name)}"
            for index, name in enumerate(self.arguments)
        ]
        parts += [f"{name} = {value}" for name, value in self.options.items()]
        divisible = ", ".join(self.divisible()) or "nothing"
        return f"{', '.join(parts)}; divisible by 16: {divisible}"

    def divisible(self) -> list[str]:
        """Arguments that the compiler may take to be multiples of 16."""
        return [
            self.arguments[path[0]]
            for path, attributes in self.attributes
            if len(path) == 1 and any(name == "tt.divisibility" for name, _ in attributes)
        ]

    def not_divisible(self) -> list[str]:
        """Integer arguments that it may not."""
        divisible = self.divisible()
        return [
            name
            for name, kind in self.signature.items()
            if kind in ("i32", "i64") and name not in divisible
        ]


def _readable(value: Any) -> str:
    if isinstance(value, dict):
        ((kind, content),) = value.items()
        return content[2] if kind == "function" else str(content)
    return str(value)


def _as_lists(value: Any) -> Any:
    return [_as_lists(item) for item in value] if isinstance(value, (list, tuple)) else value


class _Recorder:
    """Describes launches; one per ``recording()``."""

    def __init__(self) -> None:
        from triton.backends.compiler import GPUTarget
        from triton.compiler.compiler import make_backend

        # Which chip is named makes no difference to how arguments are specialised.
        self.backend = make_backend(GPUTarget("cuda", 90, 32))
        self.binders: dict[Any, tuple[Any, Any]] = {}
        self.launches: dict[str, RecordedLaunch] = {}
        self.compiled: dict[str, Any] = {}
        self.tuning: list[tuple[Any, list[str]]] = []
        self.benching = 0
        self.ended = False

    def _binder(self, kernel: Any) -> tuple[Any, Any]:
        from triton.runtime.jit import JITFunction, create_function_from_signature

        function = kernel.fn
        if function not in self.binders:
            jitted = (
                kernel
                if isinstance(kernel, JITFunction)
                else JITFunction(
                    function, **{k: v for k, v in kernel.kwargs.items() if v is not None}
                )
            )
            binder = create_function_from_signature(jitted.signature, jitted.params, self.backend)
            self.binders[function] = (jitted, binder)
        return self.binders[function]

    def describe(self, kernel: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The launch as a RecordedLaunch, and its arguments by name."""
        code = kernel.fn.__code__
        place = {
            "file": str(Path(code.co_filename).resolve()),
            "module": kernel.fn.__module__,
            "kernel": kernel.fn.__qualname__,
            "line": code.co_firstlineno,
        }
        jitted, binder = self._binder(kernel)
        names = list(jitted.arg_names)
        empty: dict[str, Any] = {
            "arguments": names,
            "signature": {},
            "constants": [],
            "attributes": [],
            "options": {},
        }
        try:
            bound, specialisation, _ = binder(*args, **kwargs)
            _, signature, constants, attributes = jitted._pack_args(
                self.backend, dict(kwargs), bound, specialisation, {}
            )
            launch = RecordedLaunch(
                **place,
                arguments=names,
                signature={name: _as_lists(kind) for name, kind in signature.items()},
                constants=[[list(path), encode(value)] for path, value in constants.items()],
                attributes=[[list(path), _as_lists(value)] for path, value in attributes.items()],
                options={
                    name: value
                    for name, value in sorted(kwargs.items())
                    if name not in bound
                    and value is not None
                    and isinstance(value, (bool, int, str, float))
                },
            )
        except NotPortable as error:
            return RecordedLaunch(**place, **empty, problem=str(error)), {}
        except (TypeError, KeyError, ValueError, AssertionError) as error:
            # A GPU run refuses such a launch too: an unknown option, an argument of no type.
            return RecordedLaunch(**place, **empty, problem=str(error).strip("'\"")), {}
        return launch, bound

    def note(
        self, kernel: Any, args: tuple[Any, ...], kwargs: dict[str, Any], grid: Any
    ) -> str | None:
        if self.benching:
            return None
        launch, bound = self.describe(kernel, args, kwargs)
        key = launch.key()
        if key in self.launches:
            seen = self.launches[key]
            self.launches[key] = replace(seen, count=seen.count + 1)
        else:
            with contextlib.suppress(Exception):  # the launch itself will say what is wrong
                grid = grid(bound) if callable(grid) else grid
                launch = replace(launch, grid=[int(size) for size in grid])
            examples = {
                name: value
                for name, value in bound.items()
                if isinstance(value, int) and not isinstance(value, bool)
            }
            days = days_used(launch.file, launch.kernel)
            self.launches[key] = replace(launch, examples=examples, days=days)
        if self.tuning:
            self.tuning[-1][1].append(key)
        return key


@contextlib.contextmanager
def _patched(cls: Any, name: str, make: Any) -> Iterator[None]:
    original = cls.__dict__[name]
    hook = make(original)
    setattr(cls, name, hook)
    try:
        yield
    finally:
        # Whoever replaced the hook meanwhile (mending the interpreter) keeps what they put there.
        if cls.__dict__[name] is hook:
            setattr(cls, name, original)


def _recording_run(recorder: _Recorder) -> Any:
    def make(original: Any) -> Any:
        def run(self: Any, *args: Any, grid: Any, warmup: bool, **kwargs: Any) -> Any:
            silent = warmup or recorder.ended
            key = None if silent else recorder.note(self, args, kwargs, grid)
            result = original(self, *args, grid=grid, warmup=warmup, **kwargs)
            if key is not None and result is not None:
                recorder.compiled[key] = result
            return result

        return run

    return make


def _recording_tuner(recorder: _Recorder) -> Any:
    def make(original: Any) -> Any:
        def run(self: Any, *args: Any, **kwargs: Any) -> Any:
            keys: list[str] = []
            recorder.tuning.append((self, keys))
            try:
                return original(self, *args, **kwargs)
            finally:
                recorder.tuning.pop()
                best = getattr(self, "best_config", None)
                for key in keys if best is not None else ():
                    recorder.launches[key] = replace(recorder.launches[key], config=str(best))

        return run

    return make


def _silent_bench(recorder: _Recorder) -> Any:
    def make(original: Any) -> Any:
        def bench(self: Any, *args: Any, **kwargs: Any) -> Any:
            recorder.benching += 1  # configurations that are only tried are not launches
            try:
                return original(self, *args, **kwargs)
            finally:
                recorder.benching -= 1

        return bench

    return make


@contextlib.contextmanager
def recording() -> Iterator[list[RecordedLaunch]]:
    """Fills the list it gives, when it ends, with the distinct launches made inside it."""
    found: list[RecordedLaunch] = []
    recorder: _Recorder | None = None
    with contextlib.ExitStack() as stack:
        if "triton" in sys.modules:
            from triton.runtime.autotuner import Autotuner
            from triton.runtime.interpreter import InterpretedFunction
            from triton.runtime.jit import JITFunction

            recorder = _Recorder()
            hook = _recording_run(recorder)
            stack.enter_context(_patched(InterpretedFunction, "run", hook))
            stack.enter_context(_patched(JITFunction, "run", hook))
            stack.enter_context(_patched(Autotuner, "run", _recording_tuner(recorder)))
            stack.enter_context(_patched(Autotuner, "_bench", _silent_bench(recorder)))
        try:
            yield found
        finally:
            if recorder is not None:
                recorder.ended = True
                found.extend(
                    _with_measured(launch, recorder.compiled.get(key))
                    for key, launch in recorder.launches.items()
                )


def _with_measured(launch: RecordedLaunch, kernel: Any) -> RecordedLaunch:
    """On a GPU: the report of the kernel that ran comes along."""
    if kernel is None or not hasattr(kernel, "asm") or "cubin" not in kernel.asm:
        return launch
    from harness.kernels.xray.analyse import analyse

    chip = f"sm_{kernel.metadata.target.arch}"
    return replace(launch, measured=analyse(launch, kernel, chip).to_json())


def save(launches: list[RecordedLaunch], path: Path) -> None:
    """Writes the launches as JSON for ``report_launches``."""
    path.write_text(json.dumps([launch.to_json() for launch in launches], indent=1))


def load(path: Path) -> list[RecordedLaunch]:
    """The launches that ``save`` wrote."""
    return [RecordedLaunch.from_json(entry) for entry in json.loads(path.read_text())]
