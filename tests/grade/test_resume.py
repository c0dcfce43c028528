"""What was graded once is not graded again, however the run ended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from harness.grade.task import Task
from tests.grade.conftest import LISTED, RIGHT, WRONG, Class

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the sandbox is Linux's")
SLEEP = 86_397
"""Seconds that only a process of these tests sleeps."""


def test_only_what_is_new_is_graded(klass: Class) -> None:
    klass.hand_in("ann", RIGHT)
    klass.hand_in("bob", WRONG)
    klass.grade(SEED="7")
    before = klass.records()
    assert "0 days graded now, 2 known" in klass.grade()
    assert klass.records() == before
    klass.hand_in("late", LISTED)
    assert "1 days graded now, 2 known" in klass.grade()
    seeds = {json.loads(p.read_text())["result"]["seed"] for p in klass.out.glob("records/*")}
    assert seeds == {7}, "late ones get the inputs of the others"
    klass.hand_in("bob", RIGHT)
    assert "1 days graded now, 2 known" in klass.grade()
    assert klass.points()["bob"] == ["passed"]
    for path in klass.out.glob("records/*"):
        if json.loads(path.read_text())["student"] == "ann":
            path.write_text(path.read_text()[:99])
    assert "1 days graded now, 2 known" in klass.grade()


def test_what_a_result_depends_on() -> None:
    task = Task("ann", "autodiff", 2, {1: b"a", 2: b"b"}, (1, 2))
    others = [
        replace(task, student="bob"), replace(task, day=1), replace(task, seeds=(1, 3)),
        replace(task, files={1: b"a", 2: b"c"}), replace(task, files={1: b"c", 2: b"b"}),
        replace(task, files={2: b"b"}), replace(task, device="cpu"),
    ]  # fmt: skip
    assert len({one.key for one in [task, *others]}) == len(others) + 1
    assert replace(task).key == task.key and replace(task, sandbox="off").key == task.key


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_run_goes_on_where_it_was(klass: Class, how: signal.Signals) -> None:
    waits = f"import subprocess; subprocess.run(['sleep', '{SLEEP}'])"
    hangs = RIGHT.replace("return 2.0 * x", waits)
    klass.hand_in("ann", RIGHT)
    klass.hand_in("bob", WRONG)
    klass.hand_in("hangs", hangs, day=2)
    arguments, environment = klass.command(JOBS="1")
    env = {**os.environ, "PYTHONPATH": str(klass.toy.folder), **environment}
    process = subprocess.Popen([sys.executable, *arguments], cwd=klass.toy.folder, env=env,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
    try:
        deadline = time.monotonic() + 60
        while not (len(klass.records() if klass.out.exists() else ()) == 2 and sleeping()):
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.05)
        os.kill(process.pid, how)
        status = process.wait(30)
    finally:
        process.kill()
    assert status == (-how if how == signal.SIGKILL else 130)
    deadline = time.monotonic() + 30
    while sleeping():
        assert time.monotonic() < deadline, "what a killed run had started runs on"
        time.sleep(0.1)
    klass.hand_in("hangs", RIGHT.replace("Day 1", "Day 2"), day=2)
    assert "1 days graded now, 2 known" in klass.grade()
    assert klass.points()["hangs"] == ["not handed in", "passed"]


def sleeping() -> bool:
    found = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True).stdout
    return f"sleep {SLEEP}" in found.splitlines()
