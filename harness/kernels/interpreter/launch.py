"""One launch: bind the arguments, ask the compiler, then run the programs one after another."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import triton.language as tl
from triton.runtime import interpreter as upstream
from triton.runtime.interpreter import TensorHandle
from triton.tools.tensor_descriptor import TensorDescriptor

from harness.kernels.interpreter import frontend, language, report
from harness.kernels.interpreter.errors import KernelError, place_of, tuple_text
from harness.kernels.interpreter.memory import RegionPointer
from harness.kernels.interpreter.numbers import numpy_dtype
from harness.kernels.interpreter.state import Launch
from harness.kernels.interpreter.turns import Turns

_LIMITS = (2**31 - 1, 65535, 65535)


def run(
    kernel: Any,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    grid: Any,
    checked: bool = True,
    noted: bool = True,
) -> None:
    """Replaces InterpretedFunction.run."""
    if language.running():
        raise KernelError("bad launch", f"`{kernel.__name__}` is launched from inside a kernel.")
    for hook in kernel.pre_run_hooks:
        hook(*args, **kwargs)
    bound = frontend.bind(kernel, args, kwargs)
    launch = Launch(
        kernel.__name__,
        check_grid(kernel, grid, bound),
        warps=bound.options.get("num_warps") or 4,
        checked=checked,
    )
    values = bound.values
    host, copies = _on_the_cpu(values)
    function = kernel.rewrite()
    builder = upstream.interpreter_builder
    builder.launch = launch
    builder.set_grid_dim(*launch.sizes)
    arguments: dict[str, Any] = {}

    def program(number: int) -> None:
        launch.start(number)
        builder.grid_idx = launch.coordinate
        try:
            if function(**arguments) is not None:  # which nobody gets
                launch.returned = True
        except KernelError as error:
            raise _complete(error, launch) from None
        except Exception as error:
            raise _failed(error, launch) from error

    def go_on(state: Any) -> None:
        launch.load(state)
        builder.grid_idx = launch.coordinate

    launch.turns = Turns(launch.programs, program, launch.save, go_on)
    language.enter()
    try:
        with np.errstate(all="ignore"):
            for name, value in host.items():
                kind = bound.signature[name]
                arguments[name] = _argument(launch, name, value, values[name], kind)
            launch.turns.run()
        if launch.deferred is not None:
            raise launch.deferred
    except KernelError as error:
        raise _complete(error, launch) from None
    finally:
        language.leave()
    for original, copy in copies:
        original.untyped_storage().copy_(copy.untyped_storage())
    if noted:
        report.note(launch)
        if _kept is not None:
            _kept[:] = [lambda: run(kernel, args, kwargs, grid, checked, noted=False)]


_kept: list[Callable[[], None]] | None = None
"""The last launch with its arguments, while somebody may want it again: it keeps tensors alive."""


@contextlib.contextmanager
def repeatable() -> Iterator[Callable[[], bool]]:
    """Gives a function that runs the block's last launch once more; False if it fails now."""
    global _kept
    before, _kept = _kept, []
    kept = _kept

    def again() -> bool:
        try:
            kept[-1]()
        except KernelError:
            return False
        return True

    try:
        yield again
    finally:
        _kept = before
        kept.clear()


def _complete(error: KernelError, launch: Launch) -> KernelError:
    """Errors raised where the launch is not known: its name, program and line."""
    if not error.line:
        error.file, error.line, function = place_of(error.__traceback__)
        error.kernel = error.kernel or function
    error.kernel = error.kernel or launch.kernel
    if not error.program:
        error.program = launch.program
        if error.kind == "assertion failed":
            error.sentence = (
                error.sentence.removesuffix(".") + f" (in program {tuple_text(launch.program)})."
            )
    return error


def _failed(error: Exception, launch: Launch) -> KernelError:
    file, line, function = place_of(error.__traceback__)
    text = str(error) or type(error).__name__
    return KernelError(
        "failed",
        f"{type(error).__name__} in program {tuple_text(launch.program)}: {text}",
        kernel=function if line else launch.kernel,
        program=launch.program,
        file=file,
        line=line,
    )


def check_grid(kernel: Any, grid: Any, bound: frontend.Bound) -> tuple[int, ...]:
    """The grid as one to three numbers of programs; zero programs run nothing, as on a GPU."""

    def bad(sentence: str) -> KernelError:
        file, line = bound.function.place
        return KernelError(
            "bad launch",
            sentence,
            kernel=kernel.__name__,
            file=file,
            line=line,
            data={"grid": repr(grid)},
        )

    if callable(grid):
        grid = grid(bound.values)
    if isinstance(grid, (int, np.integer)) and not isinstance(grid, bool):
        raise bad(f"the grid must be a tuple, and is the number {grid}: write [({grid},)].")
    if not isinstance(grid, (tuple, list)):
        raise bad(
            f"the grid must be a tuple of one to three integers, and is a {type(grid).__name__}."
        )
    if not 1 <= len(grid) <= 3:
        raise bad(f"the grid must have one to three axes, and has {len(grid)}.")
    sizes = []
    for axis, size in enumerate(grid):
        if isinstance(size, bool) or not isinstance(size, (int, np.integer)):
            raise bad(
                f"the grid's axis {axis} must be an integer, and is {size!r} "
                f"({type(size).__name__}): use triton.cdiv(n, BLOCK), which rounds up."
            )
        if size < 0:
            raise bad(f"the grid's axis {axis} is negative: {size}.")
        if size > _LIMITS[axis]:
            raise bad(
                f"the grid's axis {axis} has {size:,} programs: a GPU allows {_LIMITS[axis]:,} "
                "there."
            )
        sizes.append(int(size))
    return tuple(sizes)


def _on_the_cpu(values: dict[str, Any]) -> tuple[dict[str, Any], list[tuple[Any, Any]]]:
    """Tensors of another device as copies, one per storage; those of the CPU as they are."""
    copies: list[tuple[Any, Any]] = []
    storages: dict[int, Any] = {}

    def move(value: Any) -> Any:
        if isinstance(value, tuple):
            items = [move(item) for item in value]
            return type(value)(*items) if hasattr(value, "_fields") else tuple(items)
        if isinstance(value, TensorDescriptor):
            base = move(value.base)
            if base is value.base:
                return value
            return TensorDescriptor(
                base, value.shape, value.strides, value.block_shape, value.padding
            )
        if not hasattr(value, "data_ptr") or value.device.type == "cpu":
            return value
        tensor = getattr(value, "base", value)
        key = tensor.untyped_storage().data_ptr()
        if key not in storages:
            storages[key] = tensor.untyped_storage().cpu()
        copy = tensor.new_empty(0, device="cpu")
        copy.set_(storages[key], tensor.storage_offset(), tensor.size(), tensor.stride())
        copies.append((tensor, copy))
        return upstream._rewrap_tensor(copy, original_tensor=value)

    return {name: move(value) for name, value in values.items()}, copies


def _argument(launch: Launch, name: str, value: Any, original: Any, kind: Any) -> Any:
    """A bound argument as what the rewritten kernel works with."""
    if kind == "constexpr" or (isinstance(value, tuple) and _is_constant(kind)):
        return value.value if isinstance(value, tl.constexpr) else value
    if isinstance(value, tuple):
        items = [
            _argument(launch, f"{name}[{i}]", item, before, each)
            for i, (item, before, each) in enumerate(zip(value, original, kind, strict=True))
        ]
        return type(value)(*items) if hasattr(value, "_fields") else tuple(items)
    if isinstance(value, TensorDescriptor):
        return _descriptor(launch, name, value, original)
    dtype = tl.str_to_ty(kind, None)
    if hasattr(value, "data_ptr"):
        region = launch.arguments.add(name, value, getattr(original, "base", original))
        pointer = np.array([region.address], dtype=np.uint64)
        return tl.tensor(TensorHandle(pointer, RegionPointer(dtype, region)), dtype)
    data = np.array([value]).astype(numpy_dtype(dtype))
    return tl.tensor(TensorHandle(data, dtype), dtype)


def _is_constant(kind: Any) -> bool:
    """A tuple of nothing but constants: it stays a tuple of Python's values."""
    return kind == "constexpr" or (isinstance(kind, tuple) and all(map(_is_constant, kind)))


def _descriptor(launch: Launch, name: str, value: Any, original: Any) -> Any:
    from triton.runtime.jit import mangle_type

    base = _argument(launch, name, value.base, original.base, mangle_type(value.base))
    number = upstream.interpreter_semantic.to_tensor
    strides = [number(int(stride)) for stride in value.strides[:-1]]
    return upstream.interpreter_semantic.make_tensor_descriptor(
        base=base,
        shape=[number(int(size)) for size in value.shape],
        strides=[*strides, tl.constexpr(1)],
        block_shape=[tl.constexpr(size) for size in value.block_shape],
        padding_option=value.padding,
    )
