"""The warm process itself: ``python -m harness.run.zygote TRACK DEVICE SOCKET``.

Reads one request at a time with the descriptors for its events and its output, forks, and answers
with the child's pid and, later, its exit status.
"""

from __future__ import annotations

import ast
import contextlib
import gc
import importlib
import json
import os
import re
import socket
import sys
import traceback

from harness.curriculum import ROOT, Day, exercises_of, family_of, generate_stub
from harness.grading.seal import imported_names
from harness.imports import FreshLoader
from harness.protocol import Request
from harness.run.tree import die_with_parent, end_children, keep_orphans

LATER = (
    "harness.grading.child", "harness.measure.memory", "harness.shadows", "numpy.ma",
    "numpy.random", "packaging.version", "pdb", "pytest_timeout", "readline", "resource", "tomllib",
    "_hypothesis_pytestplugin", "_pytest._argcomplete", "_pytest.faulthandler",
    "_pytest.helpconfig", "_pytest.junitxml", "_pytest.skipping", "_pytest.unittest",
    "_pytest.warnings",
)  # fmt: skip
"""What pytest and the plugin import only when they run: 50 ms of every run, where it is warm."""
AT_FIRST_USE = {
    ".backward(": "torch.fx.experimental.symbolic_shapes",
    "autograd.grad(": "torch.fx.experimental.symbolic_shapes",
    "torch.library.custom_op(": "torch._dynamo",
    "torch.library.opcheck(": "torch.testing._internal.optests",
}
"""What a function of torch imports only when it is called: half a second to two of a run."""


def warm_up(track: str, device: str) -> bool:
    """Import what every run of the track imports; start no thread and touch no GPU. → whether the
    device is there, and days can be imported."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"  # is_available() without a CUDA context
    import hypothesis  # noqa: F401
    import numpy  # noqa: F401
    import pytest  # noqa: F401

    if track != "autodiff":  # of its days some compare with torch: see begin
        import torch  # noqa: F401
    if track == "pytorch":
        # Compiling, gradcheck and the optimisers import it at their first use: 2 to 8 s each run.
        importlib.import_module("torch._dynamo")
    import harness.testing  # noqa: F401
    from harness.grading import plugin
    from harness.measure.device import remember_device

    for name in LATER:
        with contextlib.suppress(ImportError):  # Python need not be built with all of them
            importlib.import_module(name)
    found = None if track == "autodiff" else remember_device(device)
    if track == "autodiff" or found is not None:
        plugin.prepare(track, device)
    if family_of(track) == "triton" and found is not None and found.kind == "cuda":
        _name_the_compiler()
    return track == "autodiff" or found is not None


def _name_the_compiler() -> None:
    """Triton names what it caches by a hash of its own files: 0.8 s in every run that compiles."""
    with contextlib.suppress(ImportError, AttributeError):
        importlib.import_module("triton.runtime.cache").triton_key()


def serve(track: str, device: str, descriptor: int) -> None:
    die_with_parent()
    keep_orphans()
    ready = warm_up(track, device)
    gc.freeze()  # the forks' collections need not walk torch, nor copy its pages
    spare: _Spare | None = None
    begun = ""
    with socket.socket(fileno=descriptor) as connection:
        while True:
            line, descriptors, _, _ = socket.recv_fds(connection, 1 << 20, 2)
            if not line:
                return
            events, output = descriptors
            request = Request.from_json(line.decode())
            day = Day(request.track, request.day, ROOT)
            if ready and begun != day.key and request.track == track:
                begun = day.key
                begin(day)
                gc.freeze()
            pid = spare.take(line, descriptors) if spare is not None else 0
            if not pid:
                pid = os.fork()
                if pid == 0:
                    connection.close()
                    _run(request, events, output)
            os.close(events)
            os.close(output)
            connection.sendall(json.dumps({"pid": pid}).encode() + b"\n")
            _, status = os.waitpid(pid, 0)
            code = os.waitstatus_to_exitcode(status)
            end_children()  # what graded code moved to a session of its own
            connection.sendall(json.dumps({"status": code}).encode() + b"\n")
            spare = _Spare(connection, device) if _starts_cuda(track, device) else None


def begin(day: Day) -> None:
    """What every run of a day begins with, once for all that follow: its reference is taken apart,
    the references are compiled on which it builds, and their libraries imported."""
    files, seen = [day.solution, day.tests], set()
    while files:
        file = files.pop()
        if file in seen:
            continue
        seen.add(file)
        with contextlib.suppress(Exception):  # what is wrong with a file is told by the run itself
            text = file.read_text(encoding="utf-8")
            below = re.findall(r"\btracks\.(\w+)(?:\.| import )day(\d+)", text)
            files += [Day(track, int(number), ROOT).solution for track, number in below]
            for name in _libraries(text):
                with contextlib.suppress(ImportError):
                    importlib.import_module(name)
            if file == day.solution:
                exercises_of(text, file)
                generate_stub(text, file)
            elif file == day.tests:
                imported_names(text)
            else:
                FreshLoader(file.stem, str(file)).get_code(file.stem)


def _libraries(text: str) -> list[str]:
    """The modules of others that a file imports, or calls for."""
    found: list[str] = []
    for node in ast.parse(text).body:
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.append(node.module or "")
    if "torch" in found:
        found += [name for used, name in AT_FIRST_USE.items() if used in text]
    return [name for name in found if name.split(".")[0] not in ("harness", "tracks", "")]


ROOM = 8 * 10**9
"""Bytes of a GPU's memory from which half a gigabyte for a waiting process is not missed."""


def _starts_cuda(track: str, device: str) -> bool:
    if track == "autodiff":
        return False
    from harness.measure.device import remembered

    found = remembered(device)
    return found is not None and found.kind == "cuda" and (found.memory_bytes or 0) >= ROOM


class _Spare:
    """A fork that starts CUDA, which takes half a second, and then waits for its request."""

    def __init__(self, connection: socket.socket, device: str) -> None:
        self._ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self.pid = os.fork()
        if self.pid == 0:
            connection.close()
            self._ours.close()
            _wait_with_cuda(theirs, device)
        theirs.close()

    def take(self, line: bytes, descriptors: list[int]) -> int:
        """Hand the request over. → the process, or 0 if it is gone."""
        try:
            with self._ours:
                socket.send_fds(self._ours, [line], descriptors)
        except OSError:
            end_children()
            return 0
        return self.pid


def _wait_with_cuda(connection: socket.socket, device: str) -> None:
    try:
        die_with_parent()
        import torch

        from harness.measure.device import choose_device
        from harness.measure.memory import Meter

        with contextlib.suppress(RuntimeError), Meter(choose_device(device)):
            torch.ones(8, device="cuda").add_(1)
        line, descriptors, _, _ = socket.recv_fds(connection, 1 << 20, 2)
        connection.close()
    except BaseException:
        os._exit(1)
    if not line:
        os._exit(0)
    events, output = descriptors
    _run(Request.from_json(line.decode()), events, output)


def _run(request: Request, events: int, output: int) -> None:
    """Grade in the fork, and leave without running the zygote's clean-up."""
    status = 70
    try:
        os.setsid()
        die_with_parent()
        if not request.passthrough:
            os.dup2(output, 1)
            os.dup2(output, 2)
        os.close(output)
        from harness.grading.child import grade

        status = grade(request, events)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    serve(sys.argv[1], sys.argv[2], int(sys.argv[3]))
