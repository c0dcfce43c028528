"""The one place where triton's interpreter is changed."""

from __future__ import annotations

import sys
from typing import Any

_installed: bool | None = None


def install(checked: bool = True) -> None:
    """Mend and check triton's interpreter; called once, after triton is imported with
    TRITON_INTERPRET=1. ``checked=False`` leaves out races and never-written elements."""
    global _installed
    if _installed is not None:
        _installed = checked
        return
    from harness.kernels.interpreter import selftest

    selftest.before()

    from triton.runtime import interpreter as upstream

    from harness.kernels.interpreter import (
        arithmetic,
        autotune,
        frontend,
        language,
        launch,
        libdevice,
        rewrite,
    )
    from harness.kernels.interpreter.checks import CheckedBuilder

    _installed = checked
    arithmetic.patch_numbers()
    upstream.interpreter_builder.__class__ = CheckedBuilder
    upstream.interpreter_builder.mend()
    upstream.interpreter_builder.watch_other(upstream.TritonSemantic)
    upstream.FunctionRewriter._transform_ast = rewrite.transform
    upstream.FunctionRewriter._compile_and_exec = rewrite.compile_and_execute
    upstream.InterpretedFunction.rewritten_fn.clear()
    libdevice.install()
    frontend.install()
    language.prepare()
    autotune.install()

    def run(self: Any, *args: Any, grid: Any, warmup: bool, **kwargs: Any) -> None:
        if not warmup:
            launch.run(self, args, kwargs, grid, checked=bool(_installed))

    def call(function: Any, *args: Any, **kwargs: Any) -> Any:
        if not language.running():
            raise launch.KernelError(
                "bad launch",
                f"`{function.__name__}` is a kernel: launch it with a grid, as in "
                f"{function.__name__}[grid](…).",
                kernel=function.__name__,
            )
        return function.rewrite()(*args, **kwargs)

    upstream.InterpretedFunction.run = run
    upstream.InterpretedFunction.__call__ = call
    selftest.after()
    _hide_frames(launch.KernelError)


def _hide_frames(told: type[Exception]) -> None:
    """Of an error that names the kernel's line pytest shows no frame of triton's or of ours."""
    for name, module in list(sys.modules.items()):
        if name.startswith(("triton.", "harness.kernels.interpreter.")):
            module.__dict__["__tracebackhide__"] = lambda info: isinstance(info.value, told)
