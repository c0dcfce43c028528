"""Programs side by side: one runs at a time, and one that waits for another lets it run.

Programs run one after another, in order, in the thread that launched. One that looks at the same
place again and again while nothing changes is waiting: it sleeps in its thread, and a new thread
goes on with the programs that have not started, then with those that wait, the longest-waiting
first. A kernel with a loop around an atomic is made to wait for others: of such a kernel some
programs run side by side from the start, each until its next atomic. A kernel in which no program
waits has one thread. Nothing here depends on a clock.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np

_PATIENCE = 8
"""So often an atomic may find the same before its program counts as waiting."""
_PATIENCE_PLAIN = 2000
"""The same for loads: a loop may load one element many times without waiting for it."""
MOST_WAITING = 2048
"""A GPU holds about as many programs of four warps (an H100: 132 multiprocessors of 16); those
that do not fit start when others have ended."""
_SIDE_BY_SIDE = 32
_HOPELESS = 20_000
"""So often all that wait may look without a change before none of them can go on."""


class NobodyLeft(Exception):
    """All programs that have not ended wait."""


class TooManyWait(Exception):
    """More programs wait than a GPU holds at a time."""


class _Stopped(BaseException):
    """Unwinds a program that waits when the launch has failed or was interrupted."""


class _Sleeper:
    def __init__(self) -> None:
        self.alarm = threading.Semaphore(0)


class Turns:
    """Runs ``body(number)`` for each number. ``save()`` gives what ``load(state)`` needs to go on
    with a program."""

    def __init__(
        self,
        count: int,
        body: Callable[[int], None],
        save: Callable[[], Any],
        load: Callable[[Any], None],
    ) -> None:
        self._count = count
        self._body = body
        self._save = save
        self._load = load
        self._next = 0
        self._asleep: deque[_Sleeper] = deque()
        self._over = threading.Semaphore(0)
        self._failure: BaseException | None = None
        self.changes = 0  # counts what a waiting program could be waiting for
        self._looked_at = 0
        self._idle = 0
        self._seen: dict[Any, int] = {}
        self.side_by_side = False

    def run(self) -> None:
        try:
            self._start_programs()
            if self._asleep:
                self._wake_next()
                self._over.acquire()
        except BaseException as error:
            if self._failure is None:
                self._failure = error
            self._stop_all()
            if isinstance(error, _Stopped):
                raise self._failure from None
            raise
        if self._failure is not None:
            raise self._failure

    def changed(self) -> None:
        self.changes += 1
        self._seen.clear()

    def looked(self, key: Any, atomic: bool) -> None:
        """The running program found ``key`` at some place and changed nothing."""
        times = self._seen.get(key, 0) + 1
        self._seen[key] = times
        if times > (_PATIENCE if atomic else _PATIENCE_PLAIN):
            self._let_others_run(atomic, self._next < self._count)

    def next_turn(self) -> None:
        """After an atomic: where programs run side by side, it is another one's turn."""
        if not self.side_by_side:
            return
        few = len(self._asleep) + 1 < _SIDE_BY_SIDE or self._idle > len(self._asleep)
        self._let_others_run(True, few and self._next < self._count)

    def _start_programs(self) -> None:
        while self._next < self._count and self._failure is None:
            number = self._next
            self._next += 1
            self._seen.clear()
            self._body(number)
            self.changes += 1

    def _let_others_run(self, waits: bool, start: bool) -> None:
        """A program that has not started if ``start``, else the one that sleeps longest."""
        if self._failure is not None:
            raise _Stopped
        unchanged = self.changes == self._looked_at
        self._looked_at = self.changes
        self._idle = self._idle + 1 if unchanged and waits else 0
        if self._idle > _HOPELESS and self._next == self._count:
            raise NobodyLeft
        if not start and not self._asleep:
            return  # the only one that is left
        if start and len(self._asleep) >= MOST_WAITING:
            raise TooManyWait
        sleeper = _Sleeper()
        state, seen, before = self._save(), self._seen, self.changes
        self._asleep.append(sleeper)
        if start:
            _start(self._thread)
        else:
            self._wake_next()
        sleeper.alarm.acquire()
        if self._failure is not None:
            raise _Stopped
        self._load(state)
        self._seen = seen if self.changes == before else {}

    def _thread(self) -> None:
        try:
            with np.errstate(all="ignore"):
                self._start_programs()
                self._end_thread()
        except _Stopped:
            return
        except BaseException as error:
            self._failure = error
            self._stop_all()

    def _end_thread(self) -> None:
        """This thread has no more to do: the others go on, or all is over."""
        if self._asleep:
            self._wake_next()
        else:
            self._over.release()

    def _wake_next(self) -> None:
        self._asleep.popleft().alarm.release()

    def _stop_all(self) -> None:
        while self._asleep:
            self._wake_next()
        self._over.release()


def _start(target: Callable[[], None]) -> None:
    """A thread with a small stack: there may be thousands, and address space may be limited."""
    usual = threading.stack_size(2 << 20)
    try:
        threading.Thread(target=target, daemon=True).start()
    finally:
        threading.stack_size(usual)
