"""Where new versions come from, and what git knows of this clone."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from harness.update.finish import without_caller

# What a half-done operation of git leaves, and how to end it.
_UNDER_WAY = {
    "MERGE_HEAD": ("merge", "git merge --abort"),
    "rebase-merge": ("rebase", "git rebase --abort"),
    "rebase-apply": ("rebase", "git rebase --abort"),
    "CHERRY_PICK_HEAD": ("cherry-pick", "git cherry-pick --abort"),
    "REVERT_HEAD": ("revert", "git revert --abort"),
}


class UpdateError(Exception):
    """The update cannot be done, and nothing was changed; the message says what to do."""


@dataclass(frozen=True)
class Entry:
    """A file in a commit."""

    blob: str
    executable: bool


class Git:
    """The clone at ``root``."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._environment = {
            **without_caller(dict(os.environ)), "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"
        }  # fmt: skip

    def run(
        self, *arguments: str, given: bytes = b"", env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[bytes]:
        try:
            return subprocess.run(
                ["git", *arguments], cwd=self.root, input=given, capture_output=True,
                env={**self._environment, **(env or {})},
            )  # fmt: skip
        except FileNotFoundError:
            raise UpdateError("git is not installed: apt-get install git") from None

    def out(self, *arguments: str, given: bytes = b"", env: dict[str, str] | None = None) -> str:
        """What git prints; UpdateError with git's own words where it fails."""
        done = self.run(*arguments, given=given, env=env)
        if done.returncode:
            said = done.stderr.decode(errors="replace").strip()
            raise UpdateError(f"git {arguments[0]} failed: {said}")
        return done.stdout.decode(errors="surrogateescape").strip()

    def maybe(self, *arguments: str) -> str:
        """What git prints, "" where it fails."""
        done = self.run(*arguments)
        return "" if done.returncode else done.stdout.decode(errors="replace").strip()

    def path(self, name: str) -> Path:
        return self.root / self.out("rev-parse", "--git-path", name)

    def files(self, commit: str) -> dict[str, Entry]:
        """The files of a commit by path."""
        found = {}
        for line in self.out("ls-tree", "-r", "-z", commit).split("\0"):
            if line:
                facts, path = line.split("\t", 1)
                mode, kind, blob = facts.split()
                if kind == "blob":
                    found[path] = Entry(blob, mode == "100755")
        return found

    def contents(self, blobs: set[str]) -> dict[str, bytes]:
        """What the blobs hold."""
        names = sorted(blobs)
        done = self.run("cat-file", "--batch", given="".join(f"{b}\n" for b in names).encode())
        found, at = {}, 0
        for name in names:
            end = done.stdout.index(b"\n", at)
            kind, *size = done.stdout[at:end].split()[1:]
            if kind == b"missing":
                raise UpdateError(f"git lacks a part of its history ({name}): git fsck")
            at = end + 1 + int(size[0])
            found[name] = done.stdout[end + 1 : at]
            at += 1
        return found


def check_clone(git: Git) -> str:
    """The commit that is checked out. Raises UpdateError where no update can be done here."""
    top = git.maybe("rev-parse", "--show-toplevel")
    if not top:
        said = git.run("rev-parse", "--show-toplevel").stderr.decode(errors="replace")
        if "ownership" in said:
            raise UpdateError(said.strip())
        raise UpdateError(
            "this folder is no git clone, so there is nothing to update it from. Clone the project "
            "into a new folder and copy your dayNN.py files and .harness/ there."
        )
    if Path(top).resolve() != git.root.resolve():
        raise UpdateError(f"this folder is a part of another git repository ({top}), not a clone.")
    head = git.maybe("rev-parse", "-q", "--verify", "HEAD")
    if not head:
        raise UpdateError("nothing has been committed here yet: git commit your files first.")
    for name, (what, end) in _UNDER_WAY.items():
        if git.path(name).exists():
            raise UpdateError(
                f"a git {what} is under way. Finish it, or take it back with {end} (your files "
                "become what they were before it); then make update."
            )
    if git.out("ls-files", "--unmerged"):
        raise UpdateError(
            "git status lists files with conflicts. Resolve and git add them; then make update."
        )
    if git.path("index.lock").exists():
        raise UpdateError(
            f"another git is at work here. If none is, delete {git.path('index.lock')}."
        )
    return head


def choose_remote(git: Git, asked: str) -> str:
    """A remote's name, or an address: as asked, else ``upstream`` (a fork's habit), the branch's
    own remote, ``origin``, or the only one."""
    remotes = git.out("remote").split()
    if asked:
        if asked in remotes or any(c in asked for c in ":/\\"):
            return asked
        raise UpdateError(
            f"UPSTREAM={asked} is no remote of this clone ({', '.join(remotes) or 'it has none'}) "
            "and no address."
        )
    branch = git.maybe("symbolic-ref", "-q", "--short", "HEAD")
    own = git.maybe("config", f"branch.{branch}.remote") if branch else ""
    for name in ("upstream", own, "origin"):
        if name in remotes:
            return name
    if len(remotes) == 1:
        return remotes[0]
    if not remotes:
        raise UpdateError(
            "this clone does not know where it came from: make update UPSTREAM=<the project's "
            "address>, or git remote add upstream <address>."
        )
    raise UpdateError(f"which remote is the project? make update UPSTREAM={'|'.join(remotes)}")


def fetch(git: Git, remote: str) -> str:
    """The newest commit of the remote's main branch."""
    done = git.run("fetch", "--quiet", "--no-tags", "--no-recurse-submodules", remote, "HEAD")
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        address = git.maybe("remote", "get-url", remote) or remote
        why = next((line for line in said if line.startswith(("fatal:", "error:"))), "")
        why = why or (said or ["no reason given"])[-1]
        raise UpdateError(f"{address} could not be reached ({why}). Nothing was changed.")
    newest = git.out("rev-parse", "FETCH_HEAD")
    if not git.maybe("rev-parse", "-q", "--verify", f"{newest}:harness/__main__.py"):
        address = git.maybe("remote", "get-url", remote) or remote
        raise UpdateError(f"{address} does not hold this project. Which does? UPSTREAM=<address>")
    return newest


def common_base(git: Git, remote: str, head: str, newest: str) -> str:
    """The commit that both grew from; "" where they share none (a copy made from a template)."""
    base = git.maybe("merge-base", head, newest)
    if not base and git.maybe("rev-parse", "--is-shallow-repository") == "true":
        git.out("fetch", "--quiet", "--no-tags", "--unshallow", remote, "HEAD")
        base = git.maybe("merge-base", head, newest)
    return base.splitlines()[0] if base else ""
