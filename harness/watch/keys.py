"""Single keys from a terminal, without Enter."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import threading
from collections.abc import Callable, Iterator

from harness.watch.view import has_keys, window


@contextlib.contextmanager
def single_keys() -> Iterator[None]:
    """Put the terminal into key-at-a-time mode, and back whatever happens."""
    if not has_keys():
        yield
        return
    import termios
    import tty

    before = termios.tcgetattr(sys.stdin)
    tty.setcbreak(sys.stdin)
    # A shell that gets the terminal back (Ctrl-Z, then fg) may have changed it.
    resumed = signal.signal(signal.SIGCONT, lambda *_: tty.setcbreak(sys.stdin))
    try:
        yield
    finally:
        signal.signal(signal.SIGCONT, resumed)
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


RESIZED = "resized"
"""What ``read_keys`` calls a window of another size; no key sends so many letters."""


def read_keys(pressed: Callable[[str], None], stop: threading.Event) -> None:
    """Call ``pressed`` with each key until ``stop``; the end of the input is ``q``.

    A window of another size is ``RESIZED``. The size is asked for five times a second and not
    awaited as SIGWINCH: that signal may reach a thread other than the main one, which then sleeps
    on, and terminals behind a container's engine do not always pass it.
    """
    listen = [sys.stdin.fileno()] if has_keys() else []  # the end of a pipe is no wish to stop
    size = window()
    while not stop.is_set():
        ready, _, _ = select.select(listen, [], [], 0.2)
        if size != (size := window()):
            pressed(RESIZED)
        if not ready:
            continue
        try:
            data = os.read(ready[0], 1)
        except OSError:  # the terminal is gone
            data = b""
        if not data:
            pressed("q")
            return
        pressed(data.decode(errors="replace"))
