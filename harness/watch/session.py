"""One watch session: saves and keys come in, the day is graded, the screen is drawn."""

from __future__ import annotations

import contextlib
import hashlib
import os
import queue
import signal
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from harness.curriculum import ROOT, Day, find_day, find_exercise, find_track
from harness.progress import ProgressError, Store, with_changes
from harness.progress.summary import next_day
from harness.protocol import LEARNER, DayResult, Request
from harness.run import run
from harness.run.process import Process
from harness.run.warm import Warm
from harness.screen.hints import hint_text
from harness.screen.waiting import Progress
from harness.usage import Usage, seed_of
from harness.watch.files import events_arrive, watch_files
from harness.watch.keys import RESIZED, read_keys, single_keys
from harness.watch.view import View


@dataclass(frozen=True)
class Saved:
    files: set[Path]
    at: float


@dataclass(frozen=True)
class Key:
    key: str


@dataclass(frozen=True)
class Graded:
    result: DayResult
    number: int


@dataclass(frozen=True)
class Failed:
    """The harness itself could not run the tests."""

    why: str
    number: int


Event = Saved | Key | Graded | Failed

NOT_YET = "A hint is for what the tests have found: it comes when they have run."


class Cancellable:
    """A warm launcher whose present run can be ended: a newer save makes it pointless."""

    def __init__(self, warm: Warm) -> None:
        self.warm = warm
        self._process: Process | None = None
        self._cancelled = False

    def start(self, request: Request, events: int, output: int) -> Process:
        self._process = self.warm.start(request, events, output)
        if self._cancelled:
            self._process.kill()
        return self._process

    def on_cpu(self) -> Warm:
        return self.warm.on_cpu()

    def cancel(self) -> None:
        """End the run from another thread; the thread that follows it sees it gone."""
        self._cancelled = True
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)


class Session:
    def __init__(self, day: Day, seed: str, device: str) -> None:
        self.day, self.seed, self.device = day, seed, device
        self.events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self.stop = threading.Event()
        self.warm = Warm(day.track, device)
        self.running: Cancellable | None = None
        self.number = 0
        self.retried = False
        self.saved_at = 0.0
        self.progress = Progress()
        self.away = False
        polling = not events_arrive(day.folder)
        self.view = View(polling)

    def loop(self) -> int:
        """Until q or Ctrl-C. → 0: to stop watching is no failure"""
        folders = [self.day.folder, ROOT / "harness"]
        watcher = threading.Thread(
            target=watch_files,
            args=(folders, self._note_saved, self.stop, self.view.polling),
            daemon=True,
        )
        watcher.start()
        reader = threading.Thread(
            target=read_keys, args=(lambda k: self.events.put(Key(k)), self.stop), daemon=True
        )
        # The warm process must be started by a thread that lives as long as it does: this one.
        self.warm.open()
        with single_keys():
            reader.start()
            if sys.stdout.isatty():
                sys.stdout.write("\x1b[2J")
            self._grade()
            try:
                while True:
                    try:
                        # A Ctrl-C that comes just before the wait begins does not end the wait.
                        event = self.events.get(timeout=0.5)
                    except queue.Empty:
                        self._count()
                        continue
                    if isinstance(event, Key) and event.key == "q":
                        break
                    self._handle(event)
            except KeyboardInterrupt:
                pass
            finally:
                self.stop.set()
                if self.running is not None:
                    self.running.cancel()
                self.warm.close()
        print()
        return 0

    def _note_saved(self, files: set[Path]) -> None:
        self.events.put(Saved(files, time.monotonic()))

    def _count(self) -> None:
        """The seconds of a run that takes long."""
        if self.running is not None and not self.away and sys.stdout.isatty():
            self.view.doing, self.view.old = self.progress.text(), True
            self.view.draw()

    def _handle(self, event: Event) -> None:
        if self.away:  # from what a bench printed
            self._back()
            if isinstance(event, Key):
                self.view.draw()
                return
        if isinstance(event, Saved):
            why = ""
            if any(file.is_relative_to(ROOT / "harness") for file in event.files):
                why = "the harness changed: starting anew"
                self._restart(why)
            if self._matters(event.files):
                self.saved_at = event.at
                self._grade(why)
        elif isinstance(event, Graded):
            if event.number == self.number:  # an older run's result is of an older file
                self._show(event.result)
        elif isinstance(event, Failed):
            if event.number == self.number:
                self._failed(event)
        else:
            self._key(event.key)

    def _matters(self, files: set[Path]) -> bool:
        """The day itself, an earlier one, its tests, references and shared files; no later day."""
        for file in files:
            digits = "".join(c for c in file.stem if c.isdigit())
            if file.suffix == ".py" and (not digits or int(digits) <= self.day.number):
                return True
        return False

    def _grade(self, note: str = "") -> None:
        """``note`` takes the place of the last one: what is asked for meanwhile stays."""
        self.view.note = note
        if self.running is not None:
            self.running.cancel()
        if not self.warm.alive():
            self._restart("the warm process was ended (for want of memory?): it is a new one")
        self.number += 1
        number = self.number
        launcher = self.running = Cancellable(self.warm)
        request = Request(
            self.day.track, self.day.number, seed=seed_of(self.seed), device=self.device,
            known_bugs=True,
        )  # fmt: skip

        progress = self.progress = Progress()

        def grade() -> None:
            # one run at a time: the one that was cancelled ends first
            with self._turn:
                if number != self.number:
                    return
                try:
                    self.events.put(Graded(run(request, launcher, progress.note), number))
                except Exception as error:
                    why = f"the tests could not be run ({error}): r tries again, make doctor helps"
                    self.events.put(Failed(why, number))

        self.view.doing = "grading …"
        self.view.draw()
        threading.Thread(target=grade, daemon=True).start()

    _turn = threading.Lock()

    def _show(self, result: DayResult) -> None:
        self.running, self.retried = None, False
        if self._stale(result):  # saved while nobody watched yet, or in the run's first instant
            self._grade()
            return
        self.view.result, self.view.old, self.view.doing, self.view.top = result, False, "", 0
        self.view.latency = time.monotonic() - self.saved_at if self.saved_at else None
        if self.view.note == NOT_YET:
            self.view.note = self._hint()
        try:
            Store().record(result)
            self.view.result = with_changes(result, Store())
        except ProgressError as error:
            self.view.note = str(error)
        self.view.draw()

    def _failed(self, event: Failed) -> None:
        self.running = None
        if not self.retried:  # the warm process ended just then: a new one may do
            self.retried = True
            self.warm.close()
            self._grade()
            return
        self.view.result, self.view.doing, self.view.note = None, "", event.why
        self.view.draw()

    def _stale(self, result: DayResult) -> bool:
        """Whether a file of the learner's is another one than was graded."""
        for file in result.files:
            if file.whose == LEARNER:
                with contextlib.suppress(OSError):
                    now = hashlib.sha256(Path(file.path).read_bytes()).hexdigest()
                    if not now.startswith(file.hash):
                        return True
        return False

    def _key(self, key: str) -> None:
        if key == " ":
            self.view.turn()
            return
        self.view.top = 0
        if key == "r":
            self.saved_at = 0.0
            self._grade()
        elif key == "h":
            self.view.note = self._hint()
            self.view.draw()
        elif key == "n":
            self._next()
        elif key == "p":
            self._previous()
        elif key == "b":
            self._bench()
        elif key == RESIZED:
            self._back()
            self.view.draw()

    def _back(self) -> None:
        self.away = False
        if sys.stdout.isatty():
            sys.stdout.write("\x1b[2J")

    def _hint(self) -> str:
        result = self.view.result
        if result is None:
            return NOT_YET
        open_ = [e.name for e in result.exercises if e.status != "passed"]
        if not open_ and self.running is not None:
            return NOT_YET
        if not open_:
            return "Every exercise passes: n goes to the next day."
        exercise, store = find_exercise(self.day, open_[0]), Store()
        try:
            taken = store.hints_shown(self.day.track, self.day.number, exercise.name)
            text, taken = hint_text(self.day, exercise, taken, passed=False)
            store.note_hint(self.day.track, self.day.number, exercise.name, taken)
        except ProgressError as error:
            return str(error)
        return text

    def _next(self) -> None:
        later = [d for d in find_track(self.day.track).days if d.number > self.day.number]
        if later:
            self._turn_to(later[0])
        else:
            self.view.note = f"{self.day.track} has no later day yet."
            self.view.draw()

    def _previous(self) -> None:
        earlier = [d for d in find_track(self.day.track).days if d.number < self.day.number]
        if earlier:
            self._turn_to(earlier[-1])
        else:
            self.view.note = "This is the first day."
            self.view.draw()

    def _turn_to(self, day: Day) -> None:
        self.day, self.view.result, self.saved_at = day, None, 0.0
        self._grade()

    def _bench(self) -> None:
        if not self.day.bench.exists():
            self.view.note = f"Day {self.day.number} has no bench: not every day is about speed."
            self.view.draw()
            return
        from harness.bench import run_bench

        if sys.stdout.isatty():
            sys.stdout.write("\x1b[2J\x1b[H")
        print("timing …", flush=True)
        run_bench(self.day.track, self.day.number, quick=True)
        print("Any key goes back to the tests.", flush=True)
        self.away = True

    def _restart(self, why: str) -> None:
        self.view.note = why
        if self.running is not None:
            self.running.cancel()
        with self._turn:
            self.warm.close()
            self.warm.open()


def watch_day(track: str, number: str, seed: str, device: str) -> int:
    """Watch the day asked for, or the first unfinished one."""
    if not number:
        found = next_day(Store())
        if found is None or (track and found[0] != track):
            found = (track, 1) if track else found
        if found is None:
            raise Usage("Every day is finished: name one with TRACK= DAY=.")
        track, number = found[0], str(found[1])
    return Session(find_day(track, number), seed, device).loop()
