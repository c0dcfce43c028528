"""Every kind of clone: forks, shallow ones, templates, detached heads; and where none can be."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.upstream import STUB, Clone, Upstream, git
from tests.update.test_update import ANSWER, DAY, HINT, reword


@pytest.fixture
def reworded(upstream: Upstream, clone: Clone) -> Clone:
    """A learner who has answered day 1, after which upstream changed."""
    clone.answer(ANSWER)
    reword(upstream)
    return clone


def came(clone: Clone) -> None:
    text = clone.file().read_text()
    assert HINT[1] in text
    assert ANSWER in text


def test_a_fork_takes_from_the_remote_named_upstream(upstream, tmp_path: Path) -> None:
    git(tmp_path, "clone", "-q", "--bare", str(upstream.folder), "fork.git")
    clone = Clone(tmp_path / "fork.git", tmp_path / "clone")
    clone.answer(ANSWER)
    clone.commit()
    git(clone.folder, "push", "-q", "origin", "main")
    reword(upstream)
    assert "If that is your own fork" in clone.harness("update")
    git(clone.folder, "remote", "add", "upstream", f"file://{upstream.folder}")
    clone.harness("update")
    came(clone)
    git(clone.folder, "push", "-q", "origin", "main")
    assert clone.status() == ""


def test_a_remote_of_another_name(reworded: Clone) -> None:
    git(reworded.folder, "remote", "rename", "origin", "theirs")
    reworded.harness("update")
    came(reworded)


def test_two_remotes_of_unknown_names_are_asked_about(reworded: Clone) -> None:
    git(reworded.folder, "remote", "rename", "origin", "one")
    git(reworded.folder, "config", "--unset", "branch.main.remote")
    git(reworded.folder, "remote", "add", "two", "file:///nowhere")
    assert "UPSTREAM=one|two" in reworded.harness("update", code=3)
    assert "UPSTREAM=three is no remote" in reworded.harness("update", UPSTREAM="three", code=3)
    reworded.harness("update", UPSTREAM="one")
    came(reworded)


def test_an_address_instead_of_a_remote(upstream, reworded: Clone) -> None:
    git(reworded.folder, "remote", "remove", "origin")
    assert "does not know where it came from" in reworded.harness("update", code=3)
    reworded.harness("update", UPSTREAM=f"file://{upstream.folder}")
    came(reworded)


def test_a_detached_head_stays_detached(reworded: Clone) -> None:
    git(reworded.folder, "checkout", "-q", "--detach")
    main = git(reworded.folder, "rev-parse", "main")
    reworded.harness("update")
    came(reworded)
    assert git(reworded.folder, "rev-parse", "main") == main != reworded.head()
    git(reworded.folder, "symbolic-ref", "-q", "HEAD", code=1)


def test_a_branch_of_ones_own(reworded: Clone) -> None:
    main = reworded.head()
    git(reworded.folder, "switch", "-q", "-c", "my-answers")
    reworded.commit()
    reworded.harness("update")
    came(reworded)
    assert git(reworded.folder, "branch", "--show-current") == "my-answers"
    assert git(reworded.folder, "rev-parse", "main") == main


def test_a_shallow_clone(upstream, tmp_path: Path) -> None:
    for number in range(3):
        upstream.change("lessons/day01.md", "word word", f"word {number} word word")
        upstream.publish()
    clone = Clone(upstream.folder, tmp_path / "clone", "--depth", "1")
    clone.answer(ANSWER)
    clone.commit()
    reword(upstream)
    clone.harness("update")
    came(clone)


def test_a_shallow_clone_that_is_fetched_over_a_gap(upstream, tmp_path: Path) -> None:
    clone = Clone(upstream.folder, tmp_path / "clone", "--depth", "1")
    clone.answer(ANSWER)
    upstream.change("lessons/day01.md", "word word", "word, word")
    upstream.publish()
    git(clone.folder, "config", "fetch.unshallow", "false")
    reword(upstream)
    clone.harness("update")
    came(clone)
    assert clone.status() == f"M {DAY}"


@pytest.mark.parametrize("answered", ["before", "in", "after"])
def test_a_copy_made_from_a_template_shares_no_history(upstream, tmp_path, answered) -> None:
    """ "Use this template" on GitHub: the same files, one new commit."""
    copy = tmp_path / "copy"
    git(tmp_path, "clone", "-q", str(upstream.folder), "copy")
    shutil.rmtree(copy / ".git")
    clone = Clone.__new__(Clone)
    clone.folder, clone.track = copy, copy / "tracks" / "autodiff"
    (copy / "notes.md").write_text("mine")
    git(copy, "init", "-q", "-b", "main")
    if answered == "in":
        clone.answer(ANSWER)
    clone.commit()
    if answered == "before":
        clone.answer(ANSWER)
        clone.commit()
    if answered == "after":
        clone.answer(ANSWER)
    git(copy, "remote", "add", "upstream", f"file://{upstream.folder}")
    reword(upstream)
    clone.harness("update")
    came(clone)
    assert (copy / "notes.md").read_text() == "mine"
    assert clone.status() == (f"M {DAY}" if answered == "after" else "")
    upstream.change("solutions/day01.py", HINT[1], "what?")
    upstream.publish()
    clone.harness("update")
    assert "what?" in clone.file().read_text()


def test_history_that_upstream_rewrote(upstream, reworded: Clone) -> None:
    git(upstream.folder, "checkout", "-q", "--orphan", "squashed")
    git(upstream.folder, "commit", "-q", "-m", "all in one")
    git(upstream.folder, "branch", "-q", "-M", "squashed", "main")
    reworded.harness("update")
    came(reworded)


def test_no_network(upstream, reworded: Clone) -> None:
    before = reworded.everything()
    upstream.folder.rename(upstream.folder.with_name("gone"))
    said = reworded.harness("update", code=3)
    assert "could not be reached" in said and "Nothing was changed" in said
    assert len(said.splitlines()) == 1
    assert reworded.everything() == before


def test_another_project(reworded: Clone, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    git(other, "init", "-q", "-b", "main")
    git(other, "commit", "-q", "--allow-empty", "-m", "x")
    assert "does not hold this project" in reworded.harness("update", UPSTREAM=str(other), code=3)


def test_what_git_has_not_finished_is_told_with_the_way_back(upstream, reworded: Clone) -> None:
    reworded.commit()
    upstream.change("solutions/day01.py", HINT[1], "what?")
    upstream.publish()
    git(reworded.folder, "pull", "-q", "--no-rebase", "origin", "main", code=1)
    said = reworded.harness("update", code=3)
    assert "git merge --abort" in said
    git(reworded.folder, "merge", "--abort")
    reworded.harness("update")
    assert "what?" in reworded.file().read_text()
    assert ANSWER in reworded.file().read_text()


def test_a_pull_that_git_refused_leaves_nothing_to_mend(reworded: Clone) -> None:
    git(reworded.folder, "pull", "-q", "--ff-only", "origin", "main", code=1)
    reworded.harness("update")
    came(reworded)


def test_conflicts_of_a_stash(reworded: Clone) -> None:
    git(reworded.folder, "stash", "-q")
    git(reworded.folder, "pull", "-q", "--ff-only")
    git(reworded.folder, "stash", "pop", "-q", code=1)
    assert "git status lists files with conflicts" in reworded.harness("update", code=3)


def test_another_git_at_work(reworded: Clone) -> None:
    (reworded.folder / ".git/index.lock").touch()
    assert "index.lock" in reworded.harness("update", code=3)


def test_no_clone_at_all(reworded: Clone) -> None:
    shutil.rmtree(reworded.folder / ".git")
    assert "no git clone" in reworded.harness("update", code=3)


def test_a_folder_of_another_repository(reworded: Clone) -> None:
    shutil.rmtree(reworded.folder / ".git")
    git(reworded.folder.parent, "init", "-q")
    assert "part of another git repository" in reworded.harness("update", code=3)


def test_no_git(reworded: Clone, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "git is not installed" in reworded.harness("update", code=3, PATH=str(empty))


def test_a_file_in_the_way_is_told_before_anything_changes(upstream, clone) -> None:
    (clone.folder / "docs").write_text("mine")
    (upstream.folder / "docs").mkdir()
    (upstream.folder / "docs" / "new.md").write_text("new")
    upstream.publish()
    before = clone.everything()
    assert "the file docs is where upstream has a folder" in clone.harness("update", code=3)
    assert clone.everything() == before


def test_an_update_from_a_git_hook(reworded: Clone) -> None:
    """A hook's git says where its repository is; the update looks for itself."""
    reworded.harness("update", GIT_DIR="/nowhere", GIT_INDEX_FILE="/nowhere/index")
    came(reworded)


def test_a_learner_without_a_name(upstream, reworded: Clone, tmp_path: Path) -> None:
    """Who committed on another machine and has not told this git who they are."""
    reworded.commit()
    reworded.harness("update", HOME=str(tmp_path), EMAIL="", GIT_CONFIG_NOSYSTEM="1")
    came(reworded)


def test_make_calls_it(reworded: Clone) -> None:
    import sys

    done = subprocess.run(
        ["make", "update", "CHECK=1", f"PYTHON={sys.executable}"],
        cwd=reworded.folder,
        env={k: v for k, v in os.environ.items() if k not in ("CHECK", "PYTHONPATH")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "would bring" in done.stdout
    assert STUB not in reworded.file().read_text()
