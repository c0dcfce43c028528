"""A program in a real pseudo-terminal: what it shows, and keys to press."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import struct
import subprocess
import time
from pathlib import Path

_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


class Terminal:
    """80 columns by 40 rows, or another size."""

    def __init__(
        self,
        command: list[str],
        cwd: Path,
        environment: dict[str, str],
        columns: int = 80,
        rows: int = 40,
    ) -> None:
        import fcntl
        import termios

        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.process = subprocess.Popen(
            command, cwd=cwd, env={**environment, "TERM": "xterm"},
            stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # Ctrl-C is a signal here
        )  # fmt: skip
        os.close(slave)
        self.shown = ""
        self.written: list[str] = []
        """What was read, a piece a write of the program's, with its escapes."""

    def wait_for(self, text: str, seconds: float = 60.0) -> str:
        """Everything shown since the last call, up to and with ``text``."""
        deadline = time.monotonic() + seconds
        while text not in self.shown:
            ready, _, _ = select.select([self._master], [], [], 0.1)
            ended = self.process.poll() is not None
            if ready:
                try:
                    chunk = os.read(self._master, 1 << 16)
                    ended = False
                except OSError:  # the other end is closed
                    chunk = b""
                self.written.append(chunk.decode(errors="replace"))
                self.shown += _ESCAPES.sub("", self.written[-1])
            if ended or time.monotonic() > deadline:
                raise AssertionError(f"{text!r} was not shown within {seconds} s:\n{self.shown}")
        before, self.shown = self.shown.split(text, 1)
        return before + text

    def drain(self) -> None:
        """Read what is still to come of a program that has ended."""
        while select.select([self._master], [], [], 0.1)[0]:
            try:
                chunk = os.read(self._master, 1 << 16)
            except OSError:
                return
            self.shown += _ESCAPES.sub("", chunk.decode(errors="replace"))

    def resize(self, columns: int, rows: int) -> None:
        """Give the window another size."""
        import fcntl
        import termios

        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def echoes(self) -> bool:
        """Whether the terminal is in its ordinary mode: what is typed is shown, line by line."""
        import termios

        flags = termios.tcgetattr(self._master)[3]
        return bool(flags & termios.ECHO) and bool(flags & termios.ICANON)

    def press(self, key: str) -> None:
        os.write(self._master, key.encode())

    def close(self, seconds: float = 10.0) -> int:
        """End the program if it still runs after so long. → its exit status."""
        try:
            self.process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        os.close(self._master)
        return self.process.returncode
