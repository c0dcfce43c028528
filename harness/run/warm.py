"""A process with torch, triton and pytest already imported that forks for each run (Unix only).

A forked run starts in milliseconds, and sees nothing of what earlier runs did.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time

from harness.curriculum import ROOT
from harness.protocol import Request
from harness.run.cold import quiet
from harness.run.process import LAUNCHER_GONE, Process


class Warm:
    """Grades with forks of one warm process for one track; use as a context manager."""

    def __init__(self, track: str, device: str = "auto") -> None:
        self.track, self.device = track, device
        self._zygote: subprocess.Popen[bytes] | None = None
        self._on_cpu: Warm | None = None
        self._ended = False

    def __enter__(self) -> Warm:
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def on_cpu(self) -> Warm:
        """Another warm process, for kernels on the checked interpreter; it ends with this one."""
        if self.device == "cpu":
            return self
        if self._on_cpu is None:
            self._on_cpu = Warm(self.track, "cpu")
        return self._on_cpu

    def close(self) -> None:
        if self._on_cpu is not None:
            self._on_cpu.close()
        if self._zygote is not None:
            self._socket.close()
            self._zygote.kill()
            self._zygote.wait()
            self._zygote = None

    def end(self) -> None:
        """End the run in progress, from another thread, and begin none; ``close`` is still due."""
        self._ended = True
        if self._on_cpu is not None:
            self._on_cpu.end()
        zygote = self._zygote
        if zygote is not None:
            zygote.kill()

    def alive(self) -> bool:
        return self._zygote is not None and self._zygote.poll() is None

    def cpu_seconds(self) -> float:
        """What the runs that have ended took, with all that they started and waited for."""
        import psutil

        if self._zygote is None:
            return 0.0
        times = psutil.Process(self._zygote.pid).cpu_times()
        return float(times.children_user + times.children_system)

    def open(self) -> None:
        """Start the warm process now, so that the first run need not wait for it.

        It ends with the thread that started it, so start it from one that stays.
        """
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        command = [
            sys.executable, "-m", "harness.run.zygote",
            self.track, self.device, str(theirs.fileno()),
        ]  # fmt: skip
        self._zygote = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, **quiet()},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=(theirs.fileno(),),
            start_new_session=True,  # Ctrl-C is for the parent, which ends this one
        )
        theirs.close()
        self._received = b""
        if self._ended:  # while it started
            self.close()
            raise RuntimeError("the warm process was ended")

    def start(self, request: Request, events: int, output: int) -> Process:
        if self._ended:
            raise RuntimeError("the warm process was ended")
        if not self.alive():
            self.open()
        line = request.to_json().encode() + b"\n"
        socket.send_fds(self._socket, [line], [events, output])
        answer = self._line(wait=True)
        if not answer:
            raise RuntimeError("the warm process ended before it could start a run")
        return _Fork(json.loads(answer)["pid"], self)

    def _line(self, wait: bool) -> bytes | None:
        """The zygote's next line; None if it has said nothing yet, empty if it is gone."""
        while b"\n" not in self._received:
            try:
                chunk = self._socket.recv(256, 0 if wait else socket.MSG_DONTWAIT)
            except BlockingIOError:
                return None
            if not chunk:
                return b""
            self._received += chunk
        line, self._received = self._received.split(b"\n", 1)
        return line

    def status(self) -> int | None:
        """The exit status of the run in progress, once it has ended."""
        line = self._line(wait=False)
        if line is None:
            return None
        if not line:
            self.close()
            return LAUNCHER_GONE
        return int(json.loads(line)["status"])


class _Fork:
    def __init__(self, pid: int, warm: Warm) -> None:
        self.pid, self._warm = pid, warm
        self._ended: int | None = None

    def poll(self) -> int | None:
        if self._ended is None:
            self._ended = self._warm.status()
        return self._ended

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        while self.poll() is None:
            time.sleep(0.002)
