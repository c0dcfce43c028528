"""Notes every kernel launch with the specialisation that a GPU run would give it.

Runs in the process that launches: under triton's interpreter or on a GPU. Types, divisibility
and ones come from triton's own argument binder, so they cannot drift from what a GPU does.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness.kernels.xray.analyse import analyse
from harness.kernels.xray.constants import NotPortable, encode
from harness.kernels.xray.launches import RecordedLaunch
from harness.kernels.xray.source import days_used


def _as_lists(value: Any) -> Any:
    """JSON has no tuples; those with names for their items keep them."""
    if not isinstance(value, (list, tuple)):
        return value
    items = [_as_lists(item) for item in value]
    names = getattr(value, "_fields", None)
    return {"class": type(value).__name__, "names": list(names), "items": items} if names else items


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
        elements = sum(v.numel() for v in bound.values() if hasattr(v, "numel"))
        seen = self.launches.get(key)
        if seen is None:
            launch = replace(launch, count=0, days=days_used(launch.file, launch.kernel))
        else:
            launch = seen
        if seen is None or elements > seen.elements:
            with contextlib.suppress(Exception):  # the launch itself will say what is wrong
                sizes = grid(bound) if callable(grid) else grid
                launch = replace(launch, grid=[int(size) for size in sizes])
            examples = {
                name: value
                for name, value in bound.items()
                if isinstance(value, int) and not isinstance(value, bool)
            }
            launch = replace(launch, elements=elements, examples=examples)
        self.launches[key] = replace(launch, count=launch.count + 1)
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


def _compiled_only(kernel: Any) -> bool:
    """Whether the kernel cannot run here. Gluon has no interpreter, and Hopper's kernels run on
    Hopper: elsewhere their launches are noted, so that they can be compiled, and not made."""
    if not getattr(kernel, "is_gluon", bool)():
        return False
    import torch

    return not torch.cuda.is_available() or torch.cuda.get_device_capability() != (9, 0)


def _recording_run(recorder: _Recorder) -> Any:
    def make(original: Any) -> Any:
        def run(self: Any, *args: Any, grid: Any, warmup: bool, **kwargs: Any) -> Any:
            silent = warmup or recorder.ended
            key = None if silent else recorder.note(self, args, kwargs, grid)
            if key is not None and _compiled_only(self) and not hasattr(original, "records"):
                return None
            result = original(self, *args, grid=grid, warmup=warmup, **kwargs)
            if key is not None and result is not None:
                recorder.compiled[key] = result
            return result

        run.records = True  # type: ignore[attr-defined]  # so that of two recordings both note it
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
    chip = f"sm_{kernel.metadata.target.arch}"
    return replace(launch, measured=analyse(launch, kernel, chip).to_json())
