"""Limits count what an answer computes, not what else the machine does; nothing outlives a run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.curriculum import Day
from harness.grading import limits
from harness.grading.limits import OutOfTime, time_limit
from harness.protocol import DayResult, Event, Request
from harness.run import Cold, Interrupted, Launcher, attempt, run
from harness.run.warm import Warm

DAY = Day("autodiff", 1)
VICTIM = "second_derivative"
REFERENCE = DAY.solution.read_text(encoding="utf-8")
# The exercise's tests with a limit that makes waiting for it short.
SHORT = DAY.tests.read_text(encoding="utf-8").replace(
    f'@exercise("{VICTIM}"', f'@exercise("{VICTIM}", seconds=2'
)

Grade = Callable[..., DayResult]


@pytest.fixture(scope="module")
def warm() -> Iterator[Warm]:
    with Warm("autodiff") as launcher:
        yield launcher


@pytest.fixture(params=["warm", "cold"])
def either(request: pytest.FixtureRequest, warm: Warm) -> Launcher:
    return warm if request.param == "warm" else Cold()


@pytest.fixture
def grade(tmp_path: Path, warm: Warm) -> Grade:
    """Grade the reference with ``body`` in the place of one exercise."""

    def grade(body: str, launcher: Launcher = warm, short: bool = False, **wanted: object):
        text = f"{REFERENCE}\n\ndef {VICTIM}(*args, **kwargs):\n{body}\n"
        (tmp_path / DAY.file.name).write_text(text, encoding="utf-8")
        if short:
            file = tmp_path / DAY.tests.name
            file.write_text(SHORT, encoding="utf-8")
            wanted["test_file"] = str(file)
        request = Request(DAY.track, DAY.number, str(tmp_path), seed=1, exercise=VICTIM, **wanted)
        return run(request, launcher)

    return grade


def failures(result: DayResult) -> list[str]:
    assert not result.problems, result.problems
    return [t.failure.message for t in result.tests if t.failure]


def burn(seconds: float) -> None:
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


# Time -------------------------------------------------------------------------------------------


def test_computing_is_limited_and_sleeping_is_not() -> None:
    with pytest.raises(OutOfTime, match="a loop that does not end"), time_limit(0.2):
        burn(5)
    with time_limit(0.2):
        time.sleep(0.5)


def test_what_swallows_the_end_is_ended_again() -> None:
    times = 0
    with pytest.raises(OutOfTime), time_limit(0.1):
        while True:
            try:
                burn(5)
            except OutOfTime:
                times += 1
                if times == 2:
                    raise
    assert times == 2


def test_several_threads_use_more_seconds_than_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 100.0, 200.0, 300.0])
    monkeypatch.setattr(limits, "_cpu_seconds", lambda: next(clock))
    with time_limit(0.2):
        os.kill(os.getpid(), signal.SIGPROF)


def test_the_handlers_of_before_come_back() -> None:
    before = signal.getsignal(signal.SIGALRM), signal.getsignal(signal.SIGPROF)
    with time_limit(1):
        pass
    assert (signal.getsignal(signal.SIGALRM), signal.getsignal(signal.SIGPROF)) == before
    assert signal.getitimer(signal.ITIMER_PROF) == (0.0, 0.0)


def test_words_tell_a_loop_from_waiting_and_from_a_busy_machine() -> None:
    assert "a loop that does not end" in limits.words(2.0, 3.0, 2.5)
    assert "wait for something that never comes" in limits.words(2.0, 3.0, 0.1)
    busy = limits.words(2.0, 20.0, 0.7)
    assert "a loop" not in busy and "load of" in busy


def test_an_endless_loop_costs_its_limit_once(grade: Grade) -> None:
    result = grade("    while True: pass", short=True)
    found = failures(result)
    assert len(found) == len(result.tests) > 5
    assert sum("s of computing (its limit is 2 s)" in m for m in found) == 1, found
    assert sum("was not tried" in m for m in found) == len(found) - 1
    assert sum(t.outcome == "failed" and t.seconds > 1 for t in result.tests) == 1
    assert all(t.failure and t.failure.reason == "timeout" for t in result.tests)


def test_an_answer_that_only_waits_is_stopped_too(grade: Grade) -> None:
    found = failures(grade("    import threading; threading.Event().wait()", short=True))
    assert "does it wait for something that never comes?" in found[0], found
    assert all("was not tried" in m for m in found[1:])


def test_an_answer_that_lets_children_loop_is_stopped_too(grade: Grade) -> None:
    body = "    import subprocess, sys; subprocess.run([sys.executable, '-c', 'while 1: pass'])"
    found = failures(grade(body, short=True))
    assert "was stopped after" in found[0], found


def test_a_busy_machine_is_nobodys_fault(grade: Grade) -> None:
    """Eight processes that compute, for each core: a right answer of one second passes all the
    same, though it takes longer than its two seconds."""
    others = [
        subprocess.Popen([sys.executable, "-c", "while 1: pass"])
        for _ in range(8 * len(os.sched_getaffinity(0)))
    ]
    try:
        body = (
            "    import time; end = time.process_time() + 0.7\n"
            "    while time.process_time() < end: pass\n    return 0.0"
        )
        result = grade(body, short=True, tests=("test_second_derivative_values[()]",))
    finally:
        for other in others:
            other.kill()
            other.wait()
    assert all("stopped" not in message for message in failures(result))


# What is left running, or held -------------------------------------------------------------------


def test_what_a_failed_test_held_is_free_before_the_next(grade: Grade) -> None:
    body = (
        "    held = globals().setdefault('HELD', [])\n"
        "    class Worker:\n"
        "        def __init__(self): held.append(1)\n"
        "        def __del__(self): held.pop()\n"
        "    before, worker = len(held), Worker()\n"
        "    raise ValueError(f'{before} are held')"
    )
    messages = failures(grade(body))
    assert len(messages) > 3
    assert all("0 are held" in message for message in messages), messages


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


def ended(note: Path) -> None:
    pid = int(note.read_text())
    for _ in range(100):
        if not alive(pid):
            return
        time.sleep(0.05)
    os.kill(pid, signal.SIGKILL)
    raise AssertionError(f"process {pid} is still there")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux gives orphans back")
@pytest.mark.parametrize("leave", ["return 0.0", "os._exit(0)"])
def test_a_child_in_a_session_of_its_own_is_ended(
    grade: Grade, either: Launcher, tmp_path: Path, leave: str
) -> None:
    body = (
        "    import os, subprocess, time\n"
        "    if os.fork() == 0:\n"
        "        os.setsid()\n"
        "        p = subprocess.Popen(['sleep', '300'], start_new_session=True)\n"
        f"        open({str(tmp_path / 'pid')!r}, 'w').write(str(p.pid))\n"
        "        os._exit(0)\n"
        f"    time.sleep(0.5)\n    {leave}"
    )
    grade(body, either, first_failure=True)
    ended(tmp_path / "pid")


@pytest.mark.skipif(sys.platform != "linux", reason="the parent is another one elsewhere")
def test_an_answer_that_kills_its_parent_is_told(grade: Grade, either: Launcher) -> None:
    result = grade("    import os; os.kill(os.getppid(), 9); return 0.0", either)
    # The kill may come before the start of the test has been told: then it is the run that died.
    found = [t.failure.message for t in result.tests if t.failure]
    found += [p.message for p in result.problems]
    assert any("os.getppid()" in m or "was killed" in m for m in found), found
    assert grade("    return 0.0", either).tests  # and the harness is still there


def test_a_flood_on_the_events_pipe_ends_the_run(grade: Grade, either: Launcher) -> None:
    body = (
        "    import os\n"
        "    for n in range(3, 256):\n"
        "        try:\n"
        "            for _ in range(400): os.write(n, b'x' * 65536)\n"
        "        except OSError: pass\n"
        "    return 0.0"
    )
    began = time.monotonic()
    found = grade(body, either, first_failure=True, seconds=60)
    messages = [t.failure.message for t in found.tests if t.failure]
    messages += [p.message for p in found.problems]
    assert any("the pipe over which the results are told" in m for m in messages), messages
    assert time.monotonic() - began < 60


def test_endless_print_is_an_endless_loop(grade: Grade) -> None:
    result = grade("    while True: print('x' * 100_000)", short=True, first_failure=True)
    (failed,) = (t for t in result.tests if t.failure)
    assert failed.failure and failed.failure.reason == "timeout", failed
    assert failed.printed_length > 10_000_000 and len(failed.printed) < 10_000


# Skips and Ctrl-C -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "skip",
    [
        "import unittest; raise unittest.SkipTest('later')",
        "import pytest; pytest.skip('later')",
        "import pytest; pytest.xfail('later')",
        "import pytest; pytest.importorskip('no_such_module')",
    ],
)
def test_an_answer_cannot_skip_its_tests(grade: Grade, skip: str) -> None:
    result = grade(f"    {skip}")
    assert result.exercises[0].status == "wrong"
    assert all("skipped its test" in message for message in failures(result)[:5])


def test_a_file_cannot_skip_its_tests(tmp_path: Path, warm: Warm) -> None:
    (tmp_path / DAY.file.name).write_text(
        f"{REFERENCE}\nimport pytest\npytest.skip('later', allow_module_level=True)\n"
    )
    result = run(Request(DAY.track, DAY.number, str(tmp_path), seed=1), warm)
    assert not result.passed
    assert "skipped its test" in result.problems[0].message


def test_ctrl_c_gives_the_verdict_so_far(tmp_path: Path, warm: Warm) -> None:
    (tmp_path / DAY.file.name).write_text(
        f"{REFERENCE}\n\ndef {VICTIM}(*args, **kwargs):\n    while True: pass\n"
    )

    def stop(event: Event) -> None:
        if event.kind == "started" and event.exercise == VICTIM:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted) as stopped:
        run(Request(DAY.track, DAY.number, str(tmp_path), seed=1), warm, on_event=stop)
    result = stopped.value.result
    assert any(e.status == "passed" for e in result.exercises)
    assert "stopped by Ctrl-C" in result.problems[0].message
    assert not result.passed


def test_what_an_attempt_used_is_known(tmp_path: Path, warm: Warm) -> None:
    heard: list[Event] = []
    seen = attempt(Request(DAY.track, DAY.number, "solution", seed=1), warm, heard.append)
    assert not seen.died and 0 < seen.cpu_seconds < 60
    assert threading.active_count() < 20
