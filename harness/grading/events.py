"""The way out of the grading process: JSON lines on a descriptor of their own."""

from __future__ import annotations

import os

from harness.protocol import Event


class Events:
    """Writes events to ``descriptor``; with None (pytest by hand) they go nowhere."""

    def __init__(self, descriptor: int | None) -> None:
        self._descriptor = descriptor
        self._owner = os.getpid()

    def send(self, event: Event) -> None:
        # A process that a test forked must not speak in the test's name.
        if self._descriptor is None or os.getpid() != self._owner:
            return
        line = (event.to_json() + "\n").encode()
        while line:
            line = line[os.write(self._descriptor, line) :]
