"""The warm process itself: ``python -m harness.run.zygote TRACK DEVICE SOCKET``.

Reads one request at a time with the descriptors for its events and its output, forks, and answers
with the child's pid and, later, its exit status.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import socket
import sys
import traceback

from harness.protocol import Request
from harness.run.tree import die_with_parent, end_children, keep_orphans

LATER = (
    "harness.grading.child", "harness.measure.memory", "numpy.random", "pdb", "tomllib",
    "_hypothesis_pytestplugin", "_pytest.faulthandler", "_pytest.junitxml", "_pytest.skipping",
    "_pytest.unittest", "_pytest.warnings",
)  # fmt: skip
"""What pytest and the plugin import only when they run: 30 ms of every run, where it is warm."""


def warm_up(track: str, device: str) -> None:
    """Import what every run of the track imports; start no thread and touch no GPU."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"  # is_available() without a CUDA context
    import hypothesis  # noqa: F401
    import numpy  # noqa: F401
    import pytest  # noqa: F401
    import torch  # noqa: F401

    if track == "pytorch":
        # Compiling, gradcheck and the optimisers import it at their first use: 2 to 8 s each run.
        importlib.import_module("torch._dynamo")
    import harness.testing  # noqa: F401
    from harness.grading import plugin
    from harness.measure.device import remember_device

    for name in LATER:
        importlib.import_module(name)
    found = None if track == "autodiff" else remember_device(device)
    if track == "autodiff" or found is not None:
        plugin.prepare(track, device)
    if track == "triton" and found is not None and found.kind == "cuda":
        _name_the_compiler()


def _name_the_compiler() -> None:
    """Triton names what it caches by a hash of its own files: 0.8 s in every run that compiles."""
    with contextlib.suppress(ImportError, AttributeError):
        importlib.import_module("triton.runtime.cache").triton_key()


def serve(track: str, device: str, descriptor: int) -> None:
    die_with_parent()
    keep_orphans()
    warm_up(track, device)
    gc.freeze()  # the forks' collections need not walk torch, nor copy its pages
    spare: _Spare | None = None
    with socket.socket(fileno=descriptor) as connection:
        while True:
            line, descriptors, _, _ = socket.recv_fds(connection, 1 << 20, 2)
            if not line:
                return
            events, output = descriptors
            pid = spare.take(line, descriptors) if spare is not None else 0
            if not pid:
                pid = os.fork()
                if pid == 0:
                    connection.close()
                    _run(Request.from_json(line.decode()), events, output)
            os.close(events)
            os.close(output)
            connection.sendall(json.dumps({"pid": pid}).encode() + b"\n")
            _, status = os.waitpid(pid, 0)
            code = os.waitstatus_to_exitcode(status)
            end_children()  # what graded code moved to a session of its own
            connection.sendall(json.dumps({"status": code}).encode() + b"\n")
            spare = _Spare(connection, device) if _starts_cuda(track, device) else None


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
