"""Says when a file was saved; polls where the system's file events do not arrive."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import watchfiles

SUFFIXES = (".py", ".toml", ".md")
PROBE_SECONDS = 0.6
# One save is often several events (truncate, write, rename): they are taken together.
STEP_MS, DEBOUNCE_MS, POLL_MS = 10, 40, 150


def events_arrive(folder: Path) -> bool:
    """Whether saving a file in ``folder`` is told by the system.

    It is not on many network file systems, bind mounts of desktop containers, and WSL's /mnt/c.
    """
    if not os.access(folder, os.W_OK):
        return False  # no probe can be written; polling always works
    probe = folder / f".watch-probe-{os.getpid()}"
    stop = threading.Event()
    seen = threading.Event()

    def listen() -> None:
        with contextlib.suppress(OSError):  # no events to be had, for want of watches
            for changes in watchfiles.watch(
                folder, watch_filter=None, step=STEP_MS, debounce=DEBOUNCE_MS, stop_event=stop,
                force_polling=False, recursive=False, rust_timeout=100,
            ):  # fmt: skip
                if any(Path(path).name == probe.name for _, path in changes):
                    seen.set()
                    return

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    try:
        deadline = time.monotonic() + PROBE_SECONDS
        while not seen.is_set() and time.monotonic() < deadline:
            probe.write_text(str(time.monotonic()))  # again, for the listener may start late
            seen.wait(0.05)
    except OSError:
        return False
    finally:
        stop.set()
        with contextlib.suppress(OSError):
            probe.unlink()
    listener.join(timeout=1.0)
    return seen.is_set()


def watch_files(
    folders: list[Path], saved: Callable[[set[Path]], None], stop: threading.Event, polling: bool
) -> None:
    """Call ``saved`` with the files that changed, until ``stop``."""
    try:
        for changes in watchfiles.watch(
            *folders, watch_filter=_wanted, step=STEP_MS, debounce=DEBOUNCE_MS, stop_event=stop,
            force_polling=polling, poll_delay_ms=POLL_MS, rust_timeout=200,
        ):  # fmt: skip
            saved({Path(path) for _, path in changes})
    except OSError:
        if polling:
            raise
        # One folder could be watched, all of them are too many for this system.
        watch_files(folders, saved, stop, polling=True)


def _wanted(change: watchfiles.Change, path: str) -> bool:
    return path.endswith(SUFFIXES) and "__pycache__" not in path
