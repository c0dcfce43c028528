"""The warm process itself: ``python -m harness.run.zygote TRACK DEVICE SOCKET``.

Reads one request at a time with the descriptors for its events and its output, forks, and answers
with the child's pid and, later, its exit status.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import os
import signal
import socket
import sys
import traceback

from harness.protocol import Request


def warm_up(track: str, device: str) -> None:
    """Import what every run of the track imports; start no thread and touch no GPU."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"  # is_available() without a CUDA context
    import hypothesis  # noqa: F401
    import numpy  # noqa: F401
    import pytest  # noqa: F401
    import torch  # noqa: F401

    import harness.testing  # noqa: F401
    from harness.grading import plugin
    from harness.measure.device import DeviceError

    with contextlib.suppress(DeviceError):  # the run itself will say it
        plugin.prepare(track, device)


def serve(track: str, device: str, descriptor: int) -> None:
    _die_with_parent()
    warm_up(track, device)
    gc.freeze()  # the forks' collections need not walk torch, nor copy its pages
    with socket.socket(fileno=descriptor) as connection:
        while True:
            line, descriptors, _, _ = socket.recv_fds(connection, 1 << 20, 2)
            if not line:
                return
            events, output = descriptors
            pid = os.fork()
            if pid == 0:
                connection.close()
                _run(Request.from_json(line.decode()), events, output)
            os.close(events)
            os.close(output)
            connection.sendall(json.dumps({"pid": pid}).encode() + b"\n")
            _, status = os.waitpid(pid, 0)
            code = os.waitstatus_to_exitcode(status)
            connection.sendall(json.dumps({"status": code}).encode() + b"\n")


def _run(request: Request, events: int, output: int) -> None:
    """Grade in the fork, and leave without running the zygote's clean-up."""
    status = 70
    try:
        os.setsid()
        _die_with_parent()
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


def _die_with_parent() -> None:
    """Linux ends this process when the one that started it is gone, however it went."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)


if __name__ == "__main__":
    serve(sys.argv[1], sys.argv[2], int(sys.argv[3]))
