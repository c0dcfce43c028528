"""Single keys from a terminal, without Enter."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import threading
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def single_keys() -> Iterator[None]:
    """Put the terminal into key-at-a-time mode, and back whatever happens."""
    if not sys.stdin.isatty():
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


@contextlib.contextmanager
def on_resize(redraw: Callable[[], None]) -> Iterator[None]:
    """Call ``redraw`` whenever the window has another size."""
    if not hasattr(signal, "SIGWINCH"):
        yield
        return
    before = signal.signal(signal.SIGWINCH, lambda *_: redraw())
    try:
        yield
    finally:
        signal.signal(signal.SIGWINCH, before)


def read_keys(pressed: Callable[[str], None], stop: threading.Event) -> None:
    """Call ``pressed`` with each key until ``stop``; the end of the input is ``q``."""
    descriptor = sys.stdin.fileno()
    while not stop.is_set():
        ready, _, _ = select.select([descriptor], [], [], 0.2)
        if not ready:
            continue
        data = os.read(descriptor, 1)
        if not data:
            pressed("q")
            return
        pressed(data.decode(errors="replace"))
