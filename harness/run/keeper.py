"""What a cold run starts: ``python -m harness.run.keeper REQUEST DESCRIPTOR`` (Unix only).

It grades in a fork, and stays beside it: a signal that graded code sends to its parent ends this
process and not the harness, and what graded code leaves running is ended here.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
from types import FrameType

from harness.protocol import Request
from harness.run.tree import die_with_parent, end_children, keep_orphans


def keep(request: Request, descriptor: int, secret: bytes = b"") -> int:
    """→ the exit status of the fork, or minus the signal that ended it."""
    keep_orphans()
    signal.signal(
        signal.SIGTERM, _end_all
    )  # else what graded code started outlives a killed harness
    die_with_parent(signal.SIGTERM)
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        die_with_parent()
        if rules := os.environ.pop("HARNESS_JAILED_GPU", ""):
            from harness.run.jail import Rules, write_own_threads_only

            write_own_threads_only(Rules.from_json(rules))
        from harness.grading.child import grade

        sys.exit(grade(request, descriptor, secret))
    os.close(descriptor)

    def forward(number: int, frame: FrameType | None) -> None:
        os.kill(pid, number)

    told = (signal.SIGALRM, signal.SIGUSR1)  # to stop a test: its time is up, or by Ctrl-C
    for number in told:
        signal.signal(number, forward)
    _, status = os.waitpid(pid, 0)
    for number in told:
        signal.signal(number, signal.SIG_IGN)
    end_children()
    return os.waitstatus_to_exitcode(status)


def _end_all(number: int, frame: FrameType | None) -> None:
    end_children()
    _end_like(-number)


def _end_like(status: int) -> None:
    if status < 0:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if -status not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    sys.exit(status)


def _secret() -> bytes:
    """What the sandbox has written into the standard input, which is empty from now on."""
    found = sys.stdin.buffer.read()
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    return found


if __name__ == "__main__":
    _end_like(keep(Request.from_json(sys.argv[1]), int(sys.argv[2]), _secret()))
