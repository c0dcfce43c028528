"""Watch mode in a real terminal: saves, keys, crashes, hangs."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import watchfiles

from harness.watch.files import events_arrive, watch_files
from harness.watch.view import View, fitted
from tests.support.terminal import Terminal
from tests.support.toy import Toy

STUB = 'raise NotImplementedError("double")'
RIGHT = "return x + x"


class Learner:
    """Someone who edits day 1 of the toy track while watch runs."""

    def __init__(self, toy: Toy, terminal: Terminal) -> None:
        self.toy, self.terminal = toy, terminal
        self.file = toy.track / "day01.py"
        self.stub = self.file.read_text()

    def save(self, answer: str) -> None:
        self.file.write_text(self.stub.replace(STUB, answer))


def watching(toy: Toy, day: str, columns: int = 80, rows: int = 40) -> Terminal:
    return Terminal(
        [sys.executable, "-m", "harness", "watch", "autodiff", day],
        toy.folder,
        # Sizes that a shell has exported say nothing of the window as it is now.
        {**os.environ, "PYTHONPATH": str(toy.folder), "COLUMNS": "80", "LINES": "40"},
        columns,
        rows,
    )


@pytest.fixture
def toy(tmp_path: Path) -> Toy:
    toy = Toy(tmp_path / "project")
    toy.add_day(1)
    toy.add_day(2)
    assert toy.run("-m", "harness", "stubs").returncode == 0
    return toy


@pytest.fixture
def learner(toy: Toy) -> Iterator[Learner]:
    terminal = watching(toy, "1")
    try:
        terminal.wait_for("not started")
        yield Learner(toy, terminal)
    finally:
        if terminal.process.poll() is None:
            terminal.press("q")
        terminal.close()


def test_from_the_stub_to_the_next_day(learner: Learner) -> None:
    terminal = learner.terminal
    terminal.press("h")
    assert "hint 2 of 3" in terminal.wait_for("Which numbers")
    learner.save("return 3 * x")
    terminal.wait_for("tests fail")
    learner.save(RIGHT)
    terminal.wait_for("1 of 1 exercise")
    terminal.press("n")
    terminal.wait_for("Day 2")
    terminal.wait_for("not started")
    terminal.press("n")
    terminal.wait_for("no later day")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("import os; os._exit(3)", "ended itself"),
        ("import ctypes; ctypes.string_at(0)", "segmentation fault"),
        ("import sys; sys.exit(1)", "sys.exit()"),
        ("return (", "never closed"),
    ],
)
def test_nothing_takes_watch_down(learner: Learner, answer: str, said: str) -> None:
    learner.save(answer)
    learner.terminal.wait_for(said)
    learner.save(RIGHT)
    learner.terminal.wait_for("1 of 1 exercise")


def test_a_new_save_ends_a_run_that_hangs(learner: Learner) -> None:
    learner.save("\n    while True: pass")
    learner.terminal.wait_for("grading")
    time.sleep(1.0)
    started = time.monotonic()
    learner.save(RIGHT)
    learner.terminal.wait_for("1 of 1 exercise")
    assert time.monotonic() - started < 15, "the hanging run (20 s) was waited for"


def test_every_verdict_comes_from_a_fork_of_one_warm_process(
    learner: Learner, tmp_path: Path
) -> None:
    parents = tmp_path / "parents"
    for number in (1, 2, 3):
        learner.save(
            f"import os\n    with open({str(parents)!r}, 'a') as f:\n"
            f"        f.write(f'{number} {{os.getppid()}} {{os.getpid()}}\\n')\n    {RIGHT}"
        )
        learner.terminal.wait_for("after the save")
    lines = {tuple(line.split()) for line in parents.read_text().splitlines()}
    assert len({parent for _, parent, _ in lines}) == 1, lines
    assert {number for number, _, _ in lines} == {"1", "2", "3"}


def test_a_warm_process_that_is_gone_is_replaced(learner: Learner, tmp_path: Path) -> None:
    parent = tmp_path / "parent"
    learner.save(f"import os\n    open({str(parent)!r}, 'w').write(str(os.getppid()))\n    {RIGHT}")
    learner.terminal.wait_for("1 of 1 exercise")
    os.kill(int(parent.read_text()), signal.SIGKILL)
    learner.save("return 3 * x")
    learner.terminal.wait_for("tests fail")
    learner.save(RIGHT)
    learner.terminal.wait_for("1 of 1 exercise")


def test_rerun_and_hints_beyond_the_last(learner: Learner) -> None:
    terminal = learner.terminal
    learner.save("return 3 * x")
    terminal.wait_for("after the save")
    terminal.press("r")
    terminal.wait_for("grading")
    terminal.wait_for("tests fail")
    terminal.wait_for("quit")
    for depth in (2, 3, 3):
        terminal.press("h")
        terminal.wait_for(f"hint {depth} of 3")
    learner.save(RIGHT)
    terminal.wait_for("1 of 1 exercise")
    terminal.press("h")
    terminal.wait_for("Every exercise passes")


def test_a_hint_that_is_asked_for_in_a_run_outlives_it(learner: Learner) -> None:
    terminal = learner.terminal
    terminal.wait_for("quit")
    learner.save("import time; time.sleep(1.5); return 3 * x")
    terminal.wait_for("grading")
    terminal.press("h")
    terminal.wait_for("hint 2 of 3")
    terminal.wait_for("tests fail")
    terminal.wait_for("hint 2 of 3")
    terminal.wait_for("after the save")


def test_a_hint_for_a_day_that_has_not_run_yet_comes_with_its_verdict(toy: Toy) -> None:
    tests = toy.track / "tests" / "test_day01.py"
    tests.write_text("import time; time.sleep(3)\n" + tests.read_text())
    terminal = watching(toy, "1")
    try:
        terminal.wait_for("grading")
        terminal.press("h")
        terminal.wait_for("it comes when they have run")
        terminal.wait_for("not started")
        terminal.wait_for("hint 2 of 3")
    finally:
        terminal.close(0.0)


def test_next_goes_over_a_gap(learner: Learner) -> None:
    learner.toy.add_day(4)
    assert learner.toy.run("-m", "harness", "stubs").returncode == 0
    for day in (2, 4):
        learner.terminal.press("n")
        learner.terminal.wait_for(f"Day {day}:")
    learner.terminal.press("p")
    learner.terminal.wait_for("Day 2:")


@pytest.mark.parametrize("solved", [False, True])
def test_quitting_gives_the_terminal_back(learner: Learner, solved: bool) -> None:
    terminal = learner.terminal
    assert not terminal.echoes()
    if solved:
        learner.save(RIGHT)
        terminal.wait_for("1 of 1 exercise")
    terminal.press("q")
    assert terminal.process.wait(20) == 0
    assert terminal.echoes()


def test_ctrl_c_quits_too(learner: Learner) -> None:
    learner.terminal.wait_for("quit")
    learner.terminal.press("\x03")
    assert learner.terminal.process.wait(20) == 0
    assert learner.terminal.echoes()
    learner.terminal.drain()
    assert "Traceback" not in learner.terminal.shown


def test_the_screen_is_drawn_over_not_wiped(learner: Learner) -> None:
    """A screen that is cleared and then filled flickers."""
    terminal = learner.terminal
    terminal.wait_for("quit")
    terminal.written.clear()
    learner.save("return 3 * x")
    terminal.wait_for("after the save")
    terminal.wait_for("quit")
    text = "".join(terminal.written)
    assert text.count("\x1b[H") >= 2, "grading, then the verdict"
    assert "\x1b[2J" not in text


def test_another_size_of_the_window(learner: Learner) -> None:
    terminal = learner.terminal
    learner.save("return 3 * x")
    terminal.wait_for("after the save")
    terminal.wait_for("quit")
    terminal.resize(60, 12)
    terminal.wait_for("more lines: space shows them")  # what was drawn before may come first
    terminal.wait_for("b bench")


@pytest.mark.parametrize("rows", [1, 2, 3, 8, 24, 60])
def test_the_status_stays_and_the_report_loses_its_end(rows: int) -> None:
    report = [f"report {n}" for n in range(40)]
    note, status = ["", "a hint"], ["2 of 4 pass", "h hint q quit"]
    lines = fitted(report, note, status, rows)
    assert len(lines) == min(rows, 40 + 2 + 3)
    assert lines[-min(rows, 2) :] == status[-min(rows, 2) :]
    if rows >= 8:
        assert lines[0] == "report 0" and "a hint" in lines
    assert any("more lines" in line for line in lines) == (8 <= rows < 45)


def test_space_shows_every_line_of_a_long_report_and_then_the_first_again() -> None:
    report = [f"report {n}" for n in range(40)]
    status = ["2 of 4 pass", "h hint q quit"]
    seen, top = [], 0
    while top < 40:
        lines = fitted(report, [], status, 13, top)
        assert len(lines) <= 13 and lines[-2:] == status
        seen += [line for line in lines if line.startswith("report")]
        top += 9
    assert seen == report
    assert "… the end: space starts again" in lines
    assert "… 1 more line: space shows it" in fitted(report[:37], [], status, 13, 27)


@pytest.mark.parametrize("rows", [1, 2, 3, 8, 12])
def test_a_note_that_leaves_no_room_can_be_read_to_its_end(rows: int) -> None:
    note, status = [f"note {n}" for n in range(20)], ["0 of 4 pass", "h hint q quit"]
    shown = []
    for top in range(23):
        lines = fitted(["report 0", "report 1"], note, status, rows, top)
        assert len(lines) <= rows and lines[-min(rows, 2) :] == status[-min(rows, 2) :]
        shown += lines
    if rows > 2:
        assert {*note, "report 0", "report 1"} <= set(shown)


def test_a_key_shows_the_rest_of_a_report(learner: Learner) -> None:
    terminal = learner.terminal
    terminal.resize(80, 12)
    learner.save("print(*range(40), sep='\\n'); return 3 * x")
    assert "more lines: space shows them" in terminal.wait_for("after the save")
    terminal.wait_for("q quit")
    for _ in range(20):
        terminal.press(" ")
        shown = terminal.wait_for("q quit")
        assert "Day 1" not in shown
        if "the end: space starts again" in shown:
            break
        assert "more lines: space" in shown
    terminal.press(" ")
    assert "Day 1" in terminal.wait_for("q quit")


def test_a_long_report_in_a_low_window_shows_that_it_was_graded(learner: Learner) -> None:
    terminal = learner.terminal
    terminal.wait_for("quit")
    terminal.resize(80, 10)
    learner.save("print('line\\n' * 50); return 3 * x")
    terminal.wait_for("grading …")
    assert "more lines" in terminal.wait_for("0 of 1 passes · watching")
    terminal.wait_for("after the save")
    terminal.wait_for("q quit")


def test_the_seconds_of_a_long_run_are_counted(learner: Learner) -> None:
    learner.save("import time; time.sleep(9); return x + x")
    learner.terminal.wait_for("test_values of double, for 2 s")
    learner.terminal.wait_for("for 3 s")


def test_a_report_that_is_not_of_this_run_says_so(learner: Learner) -> None:
    terminal = learner.terminal
    learner.save(RIGHT)
    terminal.wait_for("1 of 1 exercise")
    learner.save("import time; time.sleep(6); return 3 * x")
    terminal.wait_for("Of the run before this one:")
    terminal.press("h")
    terminal.wait_for("it comes when they have run")
    terminal.wait_for("hint 2 of 3")


@pytest.mark.parametrize("columns", [80, 40, 200])
def test_the_seconds_of_a_test_with_a_long_name_are_not_cut_off(columns: int) -> None:
    view = View(polling=False)
    view.doing = f"grading … 26/54, test_complex_step_{'of_many_' * 5}digits, for 12 s"
    status = view.text(columns).splitlines()[-2]
    assert status.endswith(", for 12 s") and len(status) <= columns


def test_the_previous_day_and_a_day_without_a_bench(learner: Learner) -> None:
    terminal = learner.terminal
    terminal.press("p")
    terminal.wait_for("This is the first day.")
    terminal.press("n")
    terminal.wait_for("Day 2")
    terminal.wait_for("not started")
    terminal.press("b")
    terminal.wait_for("Day 2 has no bench")
    terminal.wait_for("watching")
    terminal.press("p")
    terminal.wait_for("Day 1")
    terminal.wait_for("not started")


def test_a_bench_has_the_screen_until_a_key(learner: Learner) -> None:
    terminal = learner.terminal
    terminal.wait_for("quit")
    (learner.toy.track / "benches").mkdir()
    (learner.toy.track / "benches/bench_day01.py").write_text("raise RuntimeError('no such bench')")
    terminal.press("b")
    terminal.wait_for("no such bench")
    terminal.wait_for("Any key goes back")
    terminal.press("x")
    terminal.wait_for("not started")
    terminal.wait_for("watching")


def test_a_terminal_that_does_not_know_its_size(toy: Toy) -> None:
    terminal = watching(toy, "1", columns=0, rows=0)
    try:
        terminal.wait_for("not started")
        terminal.wait_for("q quit")
    finally:
        terminal.press("q")
        assert terminal.close() == 0


def test_an_input_that_is_no_terminal_is_said_and_does_not_end_it(toy: Toy) -> None:
    command = f"{sys.executable} -m harness watch autodiff 1 < /dev/null"
    terminal = Terminal(
        ["sh", "-c", f"exec {command}"], toy.folder, {**os.environ, "PYTHONPATH": str(toy.folder)}
    )
    try:
        terminal.wait_for("no keys are read, because the input is no terminal")
        file = toy.track / "day01.py"
        file.write_text(file.read_text().replace(STUB, RIGHT))
        terminal.wait_for("after the save")
        terminal.press("\x03")
        assert terminal.process.wait(20) == 0
    finally:
        terminal.close(0.0)


def test_a_save_by_rename_and_a_file_that_was_away(learner: Learner) -> None:
    """Many editors write a new file and rename it over the old one."""
    new = learner.file.with_suffix(".tmp")
    new.write_text(learner.stub.replace(STUB, RIGHT))
    new.rename(learner.file)
    learner.terminal.wait_for("1 of 1 exercise")
    learner.file.unlink()
    learner.terminal.wait_for("missing")
    learner.save(RIGHT)
    learner.terminal.wait_for("1 of 1 exercise")


def test_a_change_of_the_tests_is_noticed(learner: Learner) -> None:
    learner.save(RIGHT)
    learner.terminal.wait_for("1 of 1 exercise")
    tests = learner.toy.track / "tests" / "test_day01.py"
    tests.write_text(tests.read_text() + "    assert False, 'a stricter test'\n")
    learner.terminal.wait_for("a stricter test")


def test_changes_of_an_earlier_day_and_of_shared_files_are_noticed(tmp_path: Path) -> None:
    toy = Toy(tmp_path / "project")
    toy.add_day(1)
    uses = "from tracks.autodiff import day01\nfrom tracks.autodiff.shared import FACTOR\n\n\n"
    toy.add_day(2, reference=("def double", f"{uses}def double"))
    toy.add_day(3)
    toy.write("shared.py", "FACTOR = 2.0\n")
    assert toy.run("-m", "harness", "stubs").returncode == 0
    for day, answer in ((1, "return 2.0 * x"), (2, "return day01.double(x) * FACTOR / 2.0")):
        file = toy.track / f"day{day:02d}.py"
        file.write_text(file.read_text().replace(STUB, answer))
    terminal = watching(toy, "2")
    try:
        terminal.wait_for("1 of 1 exercise")
        first = toy.track / "day01.py"
        first.write_text(first.read_text().replace("2.0 * x", "5.0 * x"))
        terminal.wait_for("tests fail")
        first.write_text(first.read_text().replace("5.0 * x", "2.0 * x"))
        terminal.wait_for("1 of 1 exercise")
        toy.write("shared.py", "FACTOR = 7.0\n")
        terminal.wait_for("tests fail")
        toy.write("shared.py", "FACTOR = 2.0\n")
        terminal.wait_for("1 of 1 exercise")
        terminal.wait_for("quit")
        # a later day is of no consequence
        third = toy.track / "day03.py"
        third.write_text(third.read_text() + "\n")
        with pytest.raises(AssertionError, match="not shown"):
            terminal.wait_for("grading", seconds=1.5)
    finally:
        terminal.press("q")
        terminal.close()


def test_without_events_watch_polls_and_says_so(tmp_path: Path) -> None:
    """As on a network mount: the probe hears nothing, and nobody had to set a flag."""
    toy = Toy(tmp_path / "project")
    toy.add_day(1)
    assert toy.run("-m", "harness", "stubs").returncode == 0
    # inside the process, watchfiles without polling waits for ever
    deaf = (
        "import sys, watchfiles\nreal = watchfiles.watch\n"
        "def watch(*folders, force_polling, stop_event, **options):\n"
        "    if force_polling:\n"
        "        yield from real(*folders, force_polling=True, stop_event=stop_event, **options)\n"
        "    stop_event.wait()\n"
        "watchfiles.watch = watch\n"
        "sys.argv = ['harness', 'watch', 'autodiff', '1']\n"
        "from harness.cli import main\nmain()\n"
    )
    terminal = Terminal(
        [sys.executable, "-c", deaf], toy.folder, {**os.environ, "PYTHONPATH": str(toy.folder)}
    )
    try:
        terminal.wait_for("polling for changes")
        file = toy.track / "day01.py"
        file.write_text(file.read_text().replace(STUB, RIGHT))
        terminal.wait_for("1 of 1 exercise")
    finally:
        terminal.press("q")
        terminal.close()


def test_too_many_folders_for_the_system_are_polled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One folder could be watched, all of them are more than the system allows."""
    asked = []

    def watch(*folders: Path, force_polling: bool, **options: object) -> Iterator[set]:
        asked.append(force_polling)
        if not force_polling:
            raise OSError("inotify: no more watches")
        yield {(1, str(tmp_path / "day01.py"))}

    monkeypatch.setattr(watchfiles, "watch", watch)
    saved: list[set[Path]] = []
    watch_files([tmp_path], saved.append, threading.Event(), polling=False)
    assert asked == [False, True]
    assert saved == [{tmp_path / "day01.py"}]
    assert not events_arrive(tmp_path)


def test_events_arrive_here_and_the_probe_leaves_nothing(tmp_path: Path) -> None:
    assert events_arrive(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_tells_nothing_is_polled(tmp_path: Path) -> None:
    assert not events_arrive(tmp_path / "missing")
