"""The processes of a run: what they use together, and their end, whatever session they moved to."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

_WORKING = ("running", "disk-sleep")


@dataclass(frozen=True)
class Used:
    """What a process and all that came from it have used until now."""

    cpu_seconds: float
    resident_bytes: int
    """Of the largest one: forks share most of what each of them holds."""
    working: bool
    """Whether one of them ran or wanted to since the last look."""


class Tree:
    """The process ``pid`` and its descendants."""

    def __init__(self, pid: int) -> None:
        import psutil

        self._psutil = psutil
        self._seen: dict[int, Any] = {}
        self._cpu = 0.0
        with suppress(psutil.Error):
            self._seen[pid] = psutil.Process(pid)
        self._root = self._seen.get(pid)

    def look(self) -> Used:
        cpu, resident, working = 0.0, 0, False
        for process in self._alive():
            with suppress(self._psutil.Error), process.oneshot():
                times = process.cpu_times()
                cpu += times.user + times.system
                # Elsewhere than on Linux nobody says what children used that have ended.
                cpu += getattr(times, "children_user", 0.0) + getattr(times, "children_system", 0.0)
                resident = max(resident, process.memory_info().rss)
                working = working or process.status() in _WORKING
        # A process that ended without being waited for takes its figure with it.
        grown = max(0.0, cpu - self._cpu)
        self._cpu += grown
        return Used(self._cpu, resident, working or grown > 0.01)

    def _alive(self) -> list[Any]:
        found = [self._root] if self._root is not None else []
        with suppress(self._psutil.Error):
            found += self._root.children(recursive=True) if self._root is not None else []
        self._seen.update((process.pid, process) for process in found)
        return found

    def end(self) -> None:
        """Kill all that were ever seen and still run; a number that another has now is spared."""
        self._alive()
        for process in self._seen.values():
            with suppress(self._psutil.Error):
                if process.is_running():
                    process.kill()


def keep_orphans() -> None:
    """Linux: descendants of this process that lose their parent become its own children."""
    if sys.platform == "linux":
        pr_set_child_subreaper = 36
        ctypes.CDLL(None).prctl(pr_set_child_subreaper, 1, 0, 0, 0)


def die_with_parent(by: int = 0) -> None:
    """Linux sends this process a signal (SIGKILL) when the one that started it is gone."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, by or signal.SIGKILL)


def end_children(but: int = 0) -> None:
    """Kill and reap every child of this process, and those that their end makes its children."""
    while found := [pid for pid in _children() if pid != but]:
        for pid in found:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
            with suppress(ChildProcessError):
                os.waitpid(pid, 0)


def _children() -> Iterator[int]:
    """Where /proc does not tell (macOS), none."""
    own = str(os.getpid())
    with suppress(OSError):
        for name in os.listdir("/proc"):
            if name.isdigit():
                with suppress(OSError, IndexError), open(f"/proc/{name}/stat") as file:
                    if file.read().rsplit(")", 1)[1].split()[1] == own:
                        yield int(name)
