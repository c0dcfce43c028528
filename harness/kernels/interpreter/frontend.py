"""The compiler's own front end reads each kernel before it is interpreted.

Whatever it refuses (a block size that is no power of two, a type that changes in a loop, ``break``,
``tl.dot`` with K < 16, float16 into tl.exp) is refused here too, at the learner's line. It needs no
GPU, takes some milliseconds, and happens once per kernel and argument types.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from typing import Any

import triton.language as tl
from triton._C.libtriton import ir
from triton.backends.compiler import GPUTarget
from triton.compiler import code_generator
from triton.compiler.compiler import ASTSource, make_backend
from triton.compiler.errors import CompilationError
from triton.runtime.interpreter import InterpretedFunction
from triton.runtime.jit import JITFunction, create_function_from_signature, get_jit_fn_file_line

from harness.kernels import refusals
from harness.kernels.interpreter import language
from harness.kernels.interpreter.errors import KernelError, is_own_file

_TARGET = GPUTarget("cuda", 90, 32)
_backend: Any = None
_functions: dict[Any, CompiledFunction] = {}

# No compiled kernel can stop, but an interpreted one can, so its breakpoint() is no mistake here.
code_generator.CodeGenerator.builtin_namespace.setdefault("breakpoint", lambda: None)


class CompiledFunction(JITFunction):
    """A kernel as the compiler sees it; device functions it names become compilable too."""

    binder: Any = None
    verdicts: dict[str, KernelError | None]

    def get_capture_scope(self) -> dict[str, Any]:
        return {name: compilable(value) for name, value in super().get_capture_scope().items()}

    @property
    def cache_key(self) -> str:
        return f"{self.module}.{self.fn.__qualname__}.{id(self.fn)}"

    @property
    def place(self) -> tuple[str, int]:
        """The file, and the line of ``def``."""
        return get_jit_fn_file_line(self)


def compilable(value: Any) -> Any:
    """An interpreted function as a function the compiler takes; anything else as it is."""
    if not isinstance(value, InterpretedFunction):
        return value
    if value.fn not in _functions:
        options = {name: option for name, option in value.kwargs.items() if option is not None}
        function = CompiledFunction(value.fn, **options)
        function.verdicts = {}
        _functions[value.fn] = function
    return _functions[value.fn]


def install() -> None:
    """Let the compiler find device functions, which triton has made interpreted ones."""
    global _backend
    _backend = make_backend(_TARGET)
    generator = code_generator.CodeGenerator
    original = generator.get_Attribute
    if getattr(original, "finds_interpreted", False):
        return

    def get_attribute(self: Any, lhs: Any, attr: str) -> Any:
        found = original(self, lhs, attr)
        if isinstance(lhs, tl.tensor):
            method = getattr(type(lhs), attr, None)
            for cell in getattr(method, "__closure__", None) or ():
                if isinstance(cell.cell_contents, InterpretedFunction):
                    return code_generator.BoundJITMethod(lhs, compilable(cell.cell_contents))
        return compilable(found)

    call = generator.call_Function

    def call_function(self: Any, node: Any, fn: Any, args: Any, kws: Any) -> Any:
        return call(self, node, compilable(fn), args, kws)

    generator.call_Function = call_function
    get_attribute.finds_interpreted = True  # type: ignore[attr-defined]
    generator.get_Attribute = get_attribute


class Bound:
    """A launch's arguments, as the compiler binds them."""

    def __init__(
        self,
        function: CompiledFunction,
        values: dict[str, Any],
        signature: dict[str, Any],
        options: dict[str, Any],
    ) -> None:
        self.function = function
        self.values = values
        self.signature = signature
        self.options = options


def bind(kernel: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Bound:
    """Types and values of the arguments; raises KernelError for what no GPU launch takes."""
    function = compilable(kernel)
    if function.binder is None:
        function.binder = create_function_from_signature(
            function.signature, function.params, _backend
        )
    try:
        values, specialisation, options = function.binder(*args, debug=False, **kwargs)
    except (TypeError, ValueError, KeyError) as error:
        raise _bad_call(function, args, kwargs, error) from None
    names = [param.name for param in function.params]
    signature = {name: kind[0] for name, kind in zip(names, specialisation, strict=True)}
    constants = [(name, values[name]) for name, kind in signature.items() if _has_constant(kind)]
    key = f"{list(signature.items())}{constants}{sorted(options.items(), key=str)}"
    if key not in function.verdicts:
        function.verdicts[key] = _verdict(function, kwargs, values, specialisation, options)
    refused = function.verdicts[key]
    if refused is not None:
        raise refused.with_traceback(None)
    return Bound(function, dict(values), signature, dict(options))


def _has_constant(kind: Any) -> bool:
    return "constexpr" in str(kind)


def _bad_call(
    function: CompiledFunction, args: tuple[Any, ...], kwargs: dict[str, Any], error: Exception
) -> KernelError:
    file, line = function.place
    given = dict(zip(function.arg_names, args, strict=False)) | kwargs
    sentence = refusals.bad_arguments(function.__name__, function.arg_names, given, str(error))
    return KernelError("bad launch", sentence, kernel=function.__name__, file=file, line=line)


def _verdict(
    function: CompiledFunction,
    kwargs: dict[str, Any],
    values: Any,
    specialisation: Any,
    options: Any,
) -> KernelError | None:
    assert not language.running()
    keywords = {**kwargs, "debug": False}
    try:
        options, signature, constants, attributes = function._pack_args(
            _backend, keywords, values, specialisation, options
        )
    except (TypeError, ValueError, KeyError, AssertionError) as error:
        return _bad_call(function, (), kwargs, error)
    source = ASTSource(function, signature, constants, attributes)
    context = ir.context()
    ir.load_dialects(context)
    _backend.load_dialects(context)
    printed: list[str] = []
    try:
        with _quiet(printed):
            source.make_ir(
                _TARGET,
                options,
                _backend.get_codegen_implementation(options),
                _backend.get_module_map(),
                context,
            )
    except CompilationError as error:
        return _refused(function, error)
    except Exception as error:
        file, first = function.place
        line, words = refusals.diagnostic("".join(printed))
        return KernelError(
            "refused by the compiler",
            refusals.sentence(words or str(error) or repr(error), ""),
            kernel=function.__name__,
            file=file,
            line=line or first,
        )
    return None


@contextlib.contextmanager
def _quiet(printed: list[str]) -> Iterator[None]:
    """Keeps what the compiler prints and warns: it comes back as one sentence, or on a GPU."""
    sys.stderr.flush()
    with tempfile.TemporaryFile() as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        kept = os.dup(2)
        os.dup2(file.fileno(), 2)
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            file.seek(0)
            printed.append(file.read().decode(errors="replace"))


def _refused(function: CompiledFunction, error: CompilationError) -> KernelError:
    """The innermost line of the learner's code, with the innermost error's words."""
    place = (*function.place, function.__name__, "")
    text = kind = ""
    step: BaseException | None = error
    while step is not None:
        if isinstance(step, CompilationError):
            found = _place(function, step)
            if found is not None and not is_own_file(found[0]):
                place = found
            text = step.error_message or text
            kind = type(step).__name__
        elif str(step):
            text = str(step)
        step = step.__cause__
    file, line, name, source = place
    return KernelError(
        "refused by the compiler",
        refusals.sentence(text, source),
        kernel=name,
        file=file,
        line=int(line),
        data={"compiler": text, "error": kind},
    )


def _place(launched: CompiledFunction, error: CompilationError) -> tuple[str, int, str, str] | None:
    """By the source text. The newest first: a file that was edited holds it at another line now."""
    for function in (launched, *reversed(_functions.values())):
        if function.src == error.src and error.node is not None:
            file, first = function.place
            line = getattr(error.node, "lineno", 1)
            lines = error.src.splitlines()
            text = lines[line - 1].strip() if 0 < line <= len(lines) else ""
            return file, first + line - 1, function.__name__, text
    return None
