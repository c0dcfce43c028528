"""Compiles recorded launches; run as a process of its own, where triton does not interpret.

Reads ``[[launch, chip], …]`` as JSON on standard input and answers with the line ``ready`` and one
JSON line a job on what was standard output when it started. Whatever a learner's file or the
compiler prints goes to standard error.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import importlib.abc
import importlib.machinery
import importlib.util
import json
import linecache
import os
import re
import sys
import tempfile
import time
import types
from collections import namedtuple
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness.imports import fresh_spec
from harness.kernels.refusals import Refusal, explain, plain_message
from harness.kernels.xray.constants import decode
from harness.kernels.xray.launches import RecordedLaunch
from harness.kernels.xray.report import KernelReport
from harness.kernels.xray.source import cut


class Unloadable(Exception):
    """The kernel cannot be found in its file again."""


def _jitted(value: Any) -> Any:
    """The @triton.jit function below autotuners and heuristics."""
    while value is not None and not hasattr(value, "starting_line_number"):
        value = getattr(value, "fn", None)
    return value


@functools.cache
def _whole_file(file: str, module: str) -> types.ModuleType:
    spec = fresh_spec(module, file)
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)  # type: ignore[union-attr]
    return loaded


@functools.cache
def load_kernel(file: str, module: str, qualname: str, line: int) -> Any:
    """The kernel's JITFunction, with only what it needs of its file run where that will do."""
    if "<locals>" in qualname:
        raise Unloadable(
            f"{qualname} is defined inside a function, so it exists only while that runs: move "
            "the kernel to the top level of its file to have it compiled"
        )
    part = cut(Path(file).read_text(), qualname)
    if part is not None:
        sliced = types.ModuleType(module)
        sliced.__file__ = file
        tree = ast.Module(part.statements, type_ignores=[])
        with contextlib.suppress(Exception):  # then the whole file is run, and says what is wrong
            exec(compile(tree, file, "exec"), sliced.__dict__)
            kernel = _jitted(sliced.__dict__.get(qualname))
            if kernel is not None:
                return kernel
    value: Any = _whole_file(file, module)
    for name in qualname.split("."):
        value = getattr(value, name, None)
    kernel = _jitted(value)
    if kernel is None:
        raise Unloadable(f"{Path(file).name} has no kernel {qualname} (it was at line {line})")
    return kernel


def _tuples(value: Any) -> Any:
    if isinstance(value, dict):
        items = [_tuples(item) for item in value["items"]]
        return namedtuple(value["class"], value["names"])(*items)
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value


def _compile(launch: RecordedLaunch, chip: str) -> tuple[Any, float]:
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    kernel = load_kernel(launch.file, launch.module, launch.kernel, launch.line)
    make = ASTSource
    if getattr(kernel, "is_gluon", bool)():
        from triton.experimental.gluon._runtime import GluonASTSource

        make = GluonASTSource
    source = make(
        kernel,
        {name: _tuples(kind) for name, kind in launch.signature.items()},
        {tuple(path): decode(value, load_kernel) for path, value in launch.constants},
        {tuple(path): value for path, value in launch.attributes},
    )
    target = GPUTarget("cuda", int(chip.removeprefix("sm_")), 32)
    started = time.perf_counter()
    compiled = triton.compile(source, target=target, options=dict(launch.options))
    return compiled, time.perf_counter() - started


@contextlib.contextmanager
def _captured_stderr() -> Iterator[list[str]]:
    """What the compiler's C++ part writes to descriptor 2 while this lasts."""
    text: list[str] = []
    sys.stderr.flush()
    with tempfile.TemporaryFile() as file:
        kept = os.dup(2)
        os.dup2(file.fileno(), 2)
        try:
            yield text
        finally:
            sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)
            file.seek(0)
            text.append(file.read().decode(errors="replace"))


def _functions_by_source(kernel: Any) -> dict[str, Any]:
    """The kernel and the jitted functions that it can call, by their source text."""
    found: dict[str, Any] = {}
    pending = [kernel]
    while pending:
        function = pending.pop()
        if function.src in found or "/triton/language/" in function.fn.__code__.co_filename:
            continue
        found[function.src] = function
        names = function.fn.__code__.co_names
        reachable = [function.fn.__globals__.get(name) for name in names]
        reachable += [
            getattr(v, n, None)
            for v in reachable
            if isinstance(v, types.ModuleType) and v.__name__.startswith("tracks")
            for n in names
        ]
        pending += [inner for value in reachable if (inner := _jitted(value)) is not None]
    return found


def _definition(function: Any) -> tuple[str, int]:
    """File and line of ``def``."""
    from triton.runtime.jit import get_jit_fn_file_line

    return get_jit_fn_file_line(function)


def _place(error: BaseException, launch: RecordedLaunch) -> tuple[str, int, str]:
    """File and line in the learner's own code, and the message of the innermost error."""
    try:
        kernel = load_kernel(launch.file, launch.module, launch.kernel, launch.line)
        sources = _functions_by_source(kernel)
        file, line = _definition(kernel)
    except Exception:
        return launch.file, launch.line, str(error)
    message = ""
    at: BaseException | None = error
    while at is not None:
        node, text = getattr(at, "node", None), getattr(at, "src", None)
        if text in sources and node is not None and hasattr(node, "lineno"):
            file, start = _definition(sources[text])
            line = start + node.lineno - 1
        own = getattr(at, "error_message", str(at))
        message = message or plain_message(str(own or ""))
        at = at.__cause__
    if not hasattr(error, "node"):
        line += _lines_below_def(kernel, message)
    return file, line, message or type(error).__name__


def _lines_below_def(kernel: Any, message: str) -> int:
    """Some errors have no place: how far below ``def`` stands what the message speaks of."""
    named = re.search(r"Unsupported function referenced: <function (\w+)", message)
    for node in ast.walk(ast.parse(kernel.src)):
        if isinstance(node, ast.Assign) and len(node.targets) > 1 and "assignment" in message:
            return node.lineno - 1
        if named and isinstance(node, ast.Name) and node.id == named.group(1):
            return node.lineno - 1
    return 0


def _refusal(error: BaseException, launch: RecordedLaunch, printed: str) -> Refusal:
    if isinstance(error, Unloadable):
        return Refusal(launch.file, launch.line, f"def {launch.kernel}", str(error), "")
    file, line, message = _place(error, launch)
    said = [row for row in printed.splitlines() if "error:" in row]
    if said and not hasattr(error, "node"):  # a pass of the compiler failed: it printed why
        message = said[0].partition("error:")[2].strip()
        place = said[0].partition(": error:")[0].rsplit(":", 2)
        if len(place) == 3 and place[1].isdigit():
            file, line = place[0], int(place[1])
    message = message.split("`ptxas` stderr:")[-1].strip()[:1000]
    message = re.sub(r" at 0x[0-9a-f]+", "", message)
    source = linecache.getline(file, line).strip()
    return Refusal(file, line, source, message, explain(message, source))


def report(launch: RecordedLaunch, chip: str) -> KernelReport:
    """The report of one launch for one chip; never raises for what a kernel does wrong."""
    from harness.kernels.xray.analyse import analyse

    blank = KernelReport(
        launch.kernel, launch.file, launch.line, chip, launch.specialisation(), launch.count
    )
    with _captured_stderr() as printed:
        try:
            compiled, seconds = _compile(launch, chip)
            failed = None
        except Exception as error:
            failed = error
    if failed is None:
        return analyse(launch, compiled, chip, seconds)
    return replace(blank, refused=_refusal(failed, launch, printed[0]))


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    jobs = json.load(sys.stdin)
    _import_days_from({name: file for data, _ in jobs for name, file in data["days"].items()})
    with tempfile.TemporaryDirectory(prefix="xray-") as folder:
        os.environ["TRITON_CACHE_DIR"] = folder
        _skip_hashing_triton()
        answers.write("ready\n")
        for data, chip in jobs:
            done = report(RecordedLaunch.from_json(data), chip)
            answers.write(json.dumps(done.to_json()) + "\n")
            answers.flush()


def _import_days_from(files: dict[str, str]) -> None:
    """Imports of days give the files that they gave where the kernels were launched."""

    class Days(importlib.abc.MetaPathFinder):
        def find_spec(
            self, name: str, path: object = None, target: object = None
        ) -> importlib.machinery.ModuleSpec | None:
            file = files.get(name)
            return fresh_spec(name, file) if file else None

    sys.meta_path.insert(0, Days())


def _skip_hashing_triton() -> None:
    """Triton's own cache hashes its 200 MB of libraries first; the folder is thrown away here."""
    import triton.runtime.cache as cache

    if hasattr(cache, "triton_key"):
        cache.triton_key = lambda: "unused"


if __name__ == "__main__":
    main()
