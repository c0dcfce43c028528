"""An update that is killed at any instant goes on with the next command, and loses nothing."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.update import finish
from harness.update.command import update
from harness.update.finish import locked
from tests.support.upstream import Clone, Upstream
from tests.update.test_update import ANSWER, HINT, reword


class Killed(BaseException):
    """What a kill would do at that place."""


@pytest.fixture
def changed(upstream: Upstream, clone: Clone) -> Clone:
    """Answers, and an upstream whose harness cannot be imported when it is half written."""
    clone.answer(ANSWER)
    clone.answer("return 2 * x", day=2)
    clone.commit("day 2")
    clone.file().write_text(clone.file().read_text() + "\n# more, not committed\n")
    errors = upstream.folder / "harness/curriculum/errors.py"
    errors.write_text(errors.read_text() + "\nNEW = 1\n")
    package = upstream.folder / "harness/curriculum/__init__.py"
    text = package.read_text()
    package.write_text(text.replace("import ROOT, C", "import NEW, ROOT, C"))
    assert "NEW" in package.read_text()
    upstream.add_day(3)
    reword(upstream)
    return clone


def interrupted(
    clone: Clone, monkeypatch: pytest.MonkeyPatch, step: str, count: int, before: bool
) -> bool:
    """Run the update and kill it at a call of ``step``. → False if there was none."""
    original: Callable[..., Any] = getattr(finish, step)
    calls = 0

    def dies(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == count and before:
            raise Killed
        result = original(*arguments)
        if calls == count:
            raise Killed
        return result

    with monkeypatch.context() as patch:
        patch.setattr(finish, step, dies)
        patch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
        try:
            update(False, False, "", clone.folder)
        except Killed:
            return True
    return False


def is_whole(clone: Clone) -> None:
    """Everything is there, old and new, and git agrees."""
    assert HINT[1] in clone.file().read_text()
    assert ANSWER in clone.file().read_text()
    assert "# more, not committed" in clone.file().read_text()
    assert "return 2 * x" in clone.file(2).read_text()
    assert clone.file(3).exists()
    assert clone.status() == "M tracks/autodiff/day01.py"
    assert "Nothing new" in clone.harness("update")
    assert not (clone.folder / ".harness/update/pending").exists()


@pytest.mark.parametrize("count", range(1, 10))
def test_killed_between_files(changed: Clone, monkeypatch, count: int) -> None:
    assert interrupted(changed, monkeypatch, "put", count + 1, before=True)
    # any command finishes it, although this tree may be half new
    said = changed.harness("progress")
    assert "An interrupted update has been finished" in said
    assert "autodiff   0 of 35" in said
    is_whole(changed)


@pytest.mark.parametrize("step", ["_move_head", "_renumber"])
@pytest.mark.parametrize("before", [True, False])
def test_killed_between_steps(changed: Clone, monkeypatch, step: str, before: bool) -> None:
    assert interrupted(changed, monkeypatch, step, 1, before)
    changed.harness("update")
    is_whole(changed)


def test_killed_before_anything_was_decided(changed: Clone, monkeypatch) -> None:
    before = changed.everything()
    assert interrupted(changed, monkeypatch, "put", 1, before=True)
    assert changed.everything() == before
    assert "An interrupted update" not in changed.harness("progress")
    changed.harness("update")
    is_whole(changed)


def test_what_is_saved_between_the_kill_and_the_next_command_is_merged(
    changed: Clone, monkeypatch
) -> None:
    assert interrupted(changed, monkeypatch, "put", 2, before=True)
    file = changed.file()
    file.write_text(file.read_text() + "# saved since\n")
    said = changed.harness("update")
    assert "was saved meanwhile" in said
    assert "# saved since" in file.read_text()
    is_whole(changed)


def test_an_interrupted_undo_goes_on_too(changed: Clone, monkeypatch) -> None:
    before = changed.everything()
    changed.harness("update")
    calls = 0
    original = finish.put

    def dies(*arguments: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 4:
            raise Killed
        original(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(finish, "put", dies)
        with pytest.raises(Killed):
            update(False, True, "", changed.folder)
    changed.harness("progress")
    now = changed.everything()
    now.pop("PROGRESS.md")
    assert now == before
    assert "no update to take back" in changed.harness("update", "--undo")


def test_kills_at_random_instants(changed: Clone) -> None:
    """Real ones, of the real process; whatever is left, the next update makes whole."""
    for _ in range(6):
        process = subprocess.Popen(
            [sys.executable, "-m", "harness", "update"],
            cwd=changed.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(changed.folder)},
            start_new_session=True,
        )  # fmt: skip
        time.sleep(random.uniform(0.15, 0.7))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for lock in (changed.folder / ".git").glob("*.lock"):
            lock.unlink()  # a killed git's, as git itself asks for
        assert ANSWER in changed.file().read_text()
    changed.harness("update")
    is_whole(changed)


def test_a_full_disk_is_said_and_the_update_goes_on_later(changed: Clone, monkeypatch) -> None:
    before = changed.everything()
    original = finish.put
    with monkeypatch.context() as patch:

        def full(target: Path, content: bytes) -> None:
            raise OSError(28, "No space left on device")

        patch.setattr(finish, "put", full)
        assert update(False, False, "", changed.folder) == 3
    assert changed.everything() == before
    calls = 0

    def fills(target: Path, content: bytes) -> None:
        nonlocal calls
        calls += 1
        if calls > 3:
            raise OSError(28, "No space left on device")
        original(target, content)

    with monkeypatch.context() as patch:
        patch.setattr(finish, "put", fills)
        assert update(False, False, "", changed.folder) == 3
    changed.harness("update")
    is_whole(changed)


def test_one_update_at_a_time(changed: Clone, capsys) -> None:
    with locked(changed.folder) as mine:
        assert mine
        with locked(changed.folder, seconds=0.2) as other:
            assert not other
