"""A new Python process for each run."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from typing import Any

from harness.curriculum import ROOT
from harness.protocol import Request
from harness.run.process import Process

ONE_THREAD = {"OMP_NUM_THREADS": "1"}
"""Unless told otherwise: days work on small arrays, where more threads only wait for each other."""


_STARTED = "harness.run.keeper" if hasattr(os, "fork") else "harness.grading.child"


class Cold:
    """Starts a new interpreter. ``python`` is the environment's own by default."""

    def __init__(self, python: str = sys.executable, environment: dict[str, str] | None = None):
        self.python = python
        self.environment = environment or {}

    def start(self, request: Request, events: int, output: int) -> Process:
        channel = _Channel(events)
        child = subprocess.Popen(
            [self.python, "-m", _STARTED, request.to_json(), channel.name],
            cwd=ROOT,
            env={**ONE_THREAD, **os.environ, **quiet(), **self.environment},
            stdin=subprocess.DEVNULL,
            stdout=None if request.passthrough else output,
            stderr=None if request.passthrough else output,
            **channel.options,
        )
        return _Child(child)

    def on_cpu(self) -> Cold:
        """A process that interprets kernels is started no differently: the request says it."""
        return self

    def cpu_seconds(self) -> float:
        times = os.times()
        return times.children_user + times.children_system


class _Channel:
    """How the child inherits the events' pipe: a descriptor on Unix, a handle on Windows."""

    name: str
    options: dict[str, Any]

    def __init__(self, descriptor: int) -> None:
        if sys.platform == "win32":
            import msvcrt

            handle = msvcrt.get_osfhandle(descriptor)
            os.set_handle_inheritable(handle, True)
            start = subprocess.STARTUPINFO(lpAttributeList={"handle_list": [handle]})
            self.name = str(handle)
            self.options = {"startupinfo": start}
        else:
            self.name = str(descriptor)
            self.options = {"pass_fds": (descriptor,), "start_new_session": True}


class _Child:
    def __init__(self, child: subprocess.Popen[bytes]) -> None:
        self._child = child
        self.pid = child.pid

    def poll(self) -> int | None:
        return self._child.poll()

    def kill(self) -> None:
        if sys.platform == "win32":
            self._child.kill()
        else:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
        self._child.wait()


def quiet() -> dict[str, str]:
    """Keep the plugins and options of the learner's own pytest out of grading."""
    # The last two keep torch's profiler and allocator from printing between the results.
    return {
        "KINETO_LOG_LEVEL": "6",
        "TORCH_CPP_LOG_LEVEL": "ERROR",
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "PYTHONUNBUFFERED": "1",
        "PYTEST_ADDOPTS": "",
        "PYTEST_PLUGINS": "",
    }
