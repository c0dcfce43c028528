"""The way out of the grading process: JSON lines on a descriptor of their own."""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Generator
from dataclasses import asdict
from types import FrameType
from typing import Any

from harness.grading.unread import only_the_harness, places
from harness.protocol import Event, Failure


class Events:
    """Writes events to ``descriptor``; with None (pytest by hand) they go nowhere.

    In a run of code that nobody has read each line begins with ``secret``, which only the parent
    knows beside, so that nobody else can write one (harness.grading.unread).
    """

    def __init__(self, descriptor: int | None, secret: bytes = b"") -> None:
        self._descriptor = descriptor
        self._owner = os.getpid()
        self._signed = _signed(descriptor, secret) if secret and descriptor is not None else None
        if self._signed is not None:
            next(self._signed)

    def seal(self) -> None:
        """From now on, whoever replaces a function by which results are told has them refused."""
        if self._signed is not None:
            self._signed.send(b"")

    def send(self, event: Event) -> None:
        # A process that a test forked must not speak in the test's name.
        if self._descriptor is None or os.getpid() != self._owner or not only_the_harness():
            return
        line = (event.to_json() + "\n").encode()
        if self._signed is not None:
            self._signed.send(line)
            return
        while line:
            line = line[os.write(self._descriptor, line) :]


def _signed(descriptor: int, secret: bytes) -> Generator[None, bytes, None]:
    """Writes what the harness sends to it, and the seal when it is sent nothing.

    What it goes by are variables of a generator's frame, at which an answer may not look, and it
    calls nothing that can be replaced under a name.
    """
    write, frame_of, thread = os.write, sys._getframe, threading.get_ident
    mine, (own, trusted) = threading.get_ident(), places()
    failure = Failure("refused", "the answer replaced what tells results: leave that as it is.")
    refusal = Event("broken", data={"failure": asdict(failure)}).to_json().encode() + b"\n"
    kept: list[tuple[Any, str, Any]] | None = None
    refused = False
    while True:
        line = yield
        frame: FrameType | None = frame_of(1)  # Events.send, and from there on who called
        first = True
        by_others = thread() != mine
        while frame is not None and not by_others:
            file = frame.f_code.co_filename
            made_up = file.startswith("<")  # of a text: who runs it is further out
            by_others = not file.startswith(own if first else trusted) and (first or not made_up)
            frame, first = frame.f_back, False
        if by_others or refused:
            continue
        if not line:
            kept = _functions()
            continue
        for holder, name, value in kept or ():
            if holder.get(name) is not value:
                line, refused = refusal, True
        line = secret + line
        while line:
            line = line[write(descriptor, line) :]


def _functions() -> list[tuple[Any, str, Any]]:
    """Where each function by which results are made and told is found, its name, and itself."""
    found: list[tuple[Any, str, Any]] = [
        (vars(json), "dumps", json.dumps),
        (vars(json.JSONEncoder), "encode", json.JSONEncoder.encode),
    ]
    for module_name, module in list(sys.modules.items()):
        if not module_name.startswith(("harness.", "_pytest.", "pluggy.")):
            continue
        for name, value in vars(module).items():
            if not callable(value):
                continue
            found.append((vars(module), name, value))
            if isinstance(value, type) and value.__module__.startswith("harness."):
                found += [(vars(value), n, v) for n, v in vars(value).items() if callable(v)]
    return found
