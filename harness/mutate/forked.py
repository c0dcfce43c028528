"""A warm process that runs tests on changed files of the harness.

``python -m harness.mutate.forked`` stands in a copy of the project. For each line that it reads, a
task as JSON, it forks; the fork forgets the harness that it has imported, and pytest imports the
copy's files as they are then.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import resource
import select
import signal
import sys
import time
from typing import Any

import pytest

from harness.run.tree import die_with_parent, end_children, keep_orphans

LIBRARIES = (
    "numpy", "numpy.random", "torch", "torch.overrides", "torch.utils._python_dispatch", "triton",
    "hypothesis", "psutil", "click", "pytest", "pdb", "tomllib", "_hypothesis_pytestplugin",
    "_pytest.faulthandler", "_pytest.junitxml", "_pytest.skipping", "_pytest.unittest",
    "_pytest.warnings",
)  # fmt: skip
STATUS = {0: "passed", 1: "failed"}
"""What pytest's exit codes mean; with any other it could not begin."""
START = 60.0
"""Seconds that pytest may take to collect."""
SHORTEST, SLOWER = 5.0, 10.0
"""A test may compute SHORTEST seconds, or SLOWER times what it takes without a mutant."""
WAITS = 6.0
"""How much more may pass on the clock: a machine may be busy."""


def serve() -> None:
    die_with_parent()
    keep_orphans()
    if not any(os.path.exists(device) for device in ("/dev/nvidiactl", "/dev/dxg")):
        os.environ.setdefault("TRITON_INTERPRET", "1")  # as tests/conftest.py has it
    for name in LIBRARIES:
        with contextlib.suppress(ImportError):  # tomllib is younger than the oldest Python
            importlib.import_module(name)
    gc.freeze()  # the forks' collections need not walk torch
    for line in sys.stdin:
        print(json.dumps(run(json.loads(line))), flush=True)


def run(task: dict[str, Any]) -> dict[str, Any]:
    """Run ``task["tests"]`` in a fork. → how it ended, and what each test came to.

    ``seconds``: what each test takes without a mutant; ``first``: tests to begin with; ``dropped``:
    tests to leave out.
    """
    told, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(told)
        _in_fork(task, tell)
    os.close(tell)
    result: dict[str, Any] = {"ended": "hung", "tests": []}
    with os.fdopen(told, "rb", 0) as pipe:
        waited = START * WAITS
        received = b""
        while select.select([pipe], [], [], waited)[0]:
            chunk = pipe.read(1 << 16)
            if not chunk:
                result["ended"] = result.get("status") or _end_of(pid)
                break
            received += chunk
            *lines, received = received.split(b"\n")
            for line in lines:
                told_now = json.loads(line)
                waited = WAITS * told_now.pop("may_take", START)
                if "test" in told_now:
                    result["tests"].append(told_now)
                result.update({k: v for k, v in told_now.items() if k == "status"})
    end_children()  # the fork too, where it has not ended by itself
    return result


def _end_of(pid: int) -> str:
    """What the fork that said nothing came to: the system ends it where it computes too long."""
    _, status = os.waitpid(pid, 0)
    overtime = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGXCPU
    return "hung" if overtime else "died"


def _in_fork(task: dict[str, Any], tell: int) -> None:
    status = "died"
    try:
        os.setsid()
        die_with_parent()
        output = os.open(task.get("output", os.devnull), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        for name in [n for n in sys.modules if n.split(".")[0] in ("harness", "tests", "tracks")]:
            del sys.modules[name]
        arguments = ["-q", "--no-header", "--tb=short"]
        for plugin in ("cacheprovider", "xdist", "anyio"):
            arguments += ["-p", f"no:{plugin}"]
        if task.get("stop", True):
            arguments.append("-x")
        code = pytest.main([*arguments, *task["tests"]], [_Report(task, tell)])
        status = STATUS.get(int(code), "not collected")
    except BaseException as error:
        status = "not collected"
        print(f"{type(error).__name__}: {error}")
    finally:
        _leave(tell, status)


def _leave(tell: int, status: str) -> None:
    os.write(tell, json.dumps({"status": status}).encode() + b"\n")
    sys.stdout.flush()
    os._exit(0)


class _Report:
    """Orders the tests, holds each to its time, and tells what it came to."""

    def __init__(self, task: dict[str, Any], tell: int) -> None:
        self.seconds: dict[str, float] = task.get("seconds", {})
        self.first: list[str] = task.get("first", [])
        self.dropped = frozenset(task.get("dropped", ()))
        self._sharing: set[str] = set()
        self._tell = tell
        self._owner = os.getpid()
        self._began, self._used, self._made = 0.0, 0.0, 0.0

    def tell(self, **what: Any) -> None:
        if os.getpid() == self._owner:
            os.write(self._tell, json.dumps(what).encode() + b"\n")

    def pytest_collection_modifyitems(self, config: Any, items: list[Any]) -> None:
        """The likely ones first, then the cheapest."""
        self._sharing = {item.nodeid for item in items if _shares(item)}
        likely = {name: place for place, name in enumerate(self.first)}
        price = {item.nodeid: self.seconds.get(item.nodeid, 0.0) for item in items}
        items.sort(key=lambda i: (likely.get(i.nodeid, len(likely)), price[i.nodeid], str(i.path)))
        config.hook.pytest_deselected(items=[i for i in items if i.nodeid in self.dropped])
        items[:] = [i for i in items if i.nodeid not in self.dropped]

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        known = self.seconds.get(nodeid)
        may = max(SHORTEST, SLOWER * known) if known is not None else 10 * START
        self._began, self._used = time.monotonic(), time.process_time()
        if os.getpid() == self._owner:
            soft = int(self._used + may) + 1
            resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.RLIM_INFINITY))
        self.tell(may_take=may)

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.when == "setup":
            self._made = report.duration if report.nodeid in self._sharing else 0.0
        if report.when == "teardown" or report.outcome != "passed":
            seconds = time.monotonic() - self._began - self._made
            self.tell(test=report.nodeid, outcome=report.outcome, seconds=seconds, made=self._made)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, exitstatus: int) -> None:
        """Nobody reads pytest's summary, and its clean-up takes longer than most tests."""
        if os.getpid() == self._owner:
            _leave(self._tell, STATUS.get(int(exitstatus), "not collected"))

    def pytest_collectreport(self, report: Any) -> None:
        if report.failed:
            self.tell(test=report.nodeid or "collection", outcome="not collected", seconds=0.0)


def _shares(item: Any) -> bool:
    """Whether the test uses a fixture that is made once for several tests."""
    found = item._fixtureinfo.name2fixturedefs.values()
    return any(one.scope != "function" and one.baseid for fixtures in found for one in fixtures)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the one who started this
    serve()
