"""Ctrl-C ends every long command with a word, no traceback and no process left behind."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from tests.support.terminal import Terminal
from tests.support.toy import TESTS, Toy


@pytest.mark.parametrize("command", ["verify", "mutate", "mine"])
@pytest.mark.parametrize("seconds", [0.2, 4.0], ids=["while it starts", "while tests run"])
def test_ctrl_c(tmp_path: Path, command: str, seconds: float) -> None:
    toy = Toy(tmp_path / "project")
    note = tmp_path / "pid"
    waits = (
        f"import os, time\n    open({str(note)!r}, 'w').write(str(os.getpid()))\n"
        "    time.sleep(60)\n    return 2.0 * x"
    )
    tests = TESTS.replace('@exercise("double")', '@exercise("double", seconds=60)')
    toy.add_day(1, reference=("return 2.0 * x", waits), tests=tests)  # no limit ends them first
    toy.run("-m", "harness", "stubs")
    (toy.track / "day01.py").write_text((toy.track / "solutions/day01.py").read_text())
    environment = {k: v for k, v in os.environ.items() if k not in ("EX", "TRACK", "DAY", "JOBS")}
    terminal = Terminal(
        [sys.executable, "-m", "harness", command, "autodiff"],
        toy.folder,
        {**environment, "PYTHONPATH": str(toy.folder)},
    )
    try:
        if seconds > 1:
            for _ in range(600):
                if note.exists():
                    break
                time.sleep(0.1)
        time.sleep(min(seconds, 1.0))
        terminal.press("\x03")
        terminal.process.wait(30)
        terminal.drain()
        # A shell says 130 of both. Python ends itself by the signal, whatever status it was to end
        # with, if Ctrl-C came while a library ran text by ``exec``, as dataclasses do at import.
        assert terminal.process.returncode in (130, -signal.SIGINT), terminal.shown
        assert "stopped" in terminal.shown
        assert "Traceback" not in terminal.shown, terminal.shown
    finally:
        terminal.close(0.0)
    if note.exists():
        pid = int(note.read_text())
        for _ in range(100):
            if not os.path.exists(f"/proc/{pid}"):
                return
            time.sleep(0.1)
        raise AssertionError(f"process {pid} is still there")


def test_ctrl_c_while_a_class_is_made(tmp_path: Path) -> None:
    """Python 3.11 makes a RuntimeError of it there: dataclasses are made at import."""
    toy = Toy(tmp_path / "project")
    file = toy.folder / "harness/usage.py"
    stops = "class A:\n    def __set_name__(self, *names):\n        raise KeyboardInterrupt\n"
    future = "from __future__ import annotations\n"
    text = file.read_text().replace(future, f"{future}{stops}class B:\n    a = A()\n")
    file.write_text(text)
    done = toy.run("-m", "harness", "progress")
    assert (done.returncode, done.stderr) == (130, "stopped\n"), done.stderr
