"""Takes the steps of an update and says what was done."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.curriculum import ELECTIVES, ROOT, Day
from harness.measure.units import counted
from harness.progress.archive import keep
from harness.screen.pager import say
from harness.update import finish as writer
from harness.update.finish import FOLDER, PENDING, locked
from harness.update.merge import MARK, conflicts_in, merge, same_text
from harness.update.news import FORMAT, news
from harness.update.plan import File, Plan, make_plan
from harness.update.upstream import (
    Entry,
    Git,
    UpdateError,
    check_clone,
    choose_remote,
    common_base,
    fetch,
)

_NOBODY = {
    f"GIT_{role}_{what}": value
    for role in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "make update"), ("EMAIL", "update@localhost"))
}


def update(check: bool, undo: bool, upstream: str, root: Path = ROOT) -> int:
    """Bring the project's new version, or take the last update back. → exit code: 1 where
    conflicts are left for the learner, 3 where nothing could be done."""
    try:
        with locked(root) as mine:
            if not mine:
                raise UpdateError("another make update is running.")
            said = writer.finish(root)
            if said:
                say("\n".join(["An interrupted update has been finished.", *said]))
            _forget_unfinished(root)
            return _undo(Git(root), check) if undo else _update(Git(root), check, upstream)
    except UpdateError as error:
        say(str(error), sys.stderr)
    except OSError as error:
        say(f"the update stopped: {error}", sys.stderr)
        if (root / FOLDER / PENDING).exists():
            say("It goes on with the next command, from where it stopped.", sys.stderr)
        else:
            say("Nothing was changed.", sys.stderr)
    return 3


def _update(git: Git, check: bool, upstream: str) -> int:
    head = check_clone(git)
    _refuse_marks(git)
    remote = choose_remote(git, upstream)
    newest = fetch(git, remote)
    if git.run("merge-base", "--is-ancestor", newest, head).returncode == 0:
        address = git.maybe("remote", "get-url", remote) or remote
        say(f"Nothing new: you have all of {address}.")
        if remote == "origin" and git.out("remote").split() == ["origin"]:
            say("(If that is your own fork: git remote add upstream <the project's address>.)")
        return 0
    base = common_base(git, remote, head, newest)
    plan = make_plan(git, head, base, newest)
    when = git.out("log", "-1", "--format=%cs", newest)
    _say_plan(plan, f"The version of {when}", check)
    _say_news(git, base or head, newest)
    if check:
        say("\nNothing was changed: make update without CHECK=1 does it.")
        return 0
    record = _record(git, plan, _new_commit(git, plan, base))
    _write(git, record, plan.files)
    return _say_done(plan)


def _refuse_marks(git: Git) -> None:
    """An update on top of unresolved conflicts would only nest their marks."""
    places = [
        f"{file.relative_to(git.root).as_posix()}:{line}"
        for place in ("*", f"*/{ELECTIVES}")
        for file in sorted(git.root.glob(f"tracks/{place}/day*.py"))
        for line in conflicts_in(file.read_bytes())
    ]
    if places:
        raise UpdateError(
            "conflicts of an earlier update are not resolved yet:\n  "
            + "\n  ".join(f"{place}: {MARK}" for place in places)
            + "\nKeep the lines that you want, delete the marks, then make update."
        )


def _new_commit(git: Git, plan: Plan, base: str) -> str:
    """Upstream's own commit, or a merge commit where the learner has commits too."""
    if plan.old == base:
        return plan.newest
    index = str(git.path("mlsys-102-index"))
    aside = {"GIT_INDEX_FILE": index}
    git.out("read-tree", plan.old, env=aside)
    gone, lines = [], []
    for path, what in plan.committed.items():
        if what is None:
            gone.append(f"0 {'0' * 40}\t{path}")
            continue
        if isinstance(what, Entry):
            blob, executable = what.blob, what.executable
        else:
            blob, executable = git.out("hash-object", "-w", "--stdin", given=what), False
        lines.append(f"{'100755' if executable else '100644'} {blob}\t{path}")
    given = "".join(f"{line}\0" for line in [*gone, *lines]).encode("utf-8", "surrogateescape")
    git.out("update-index", "-z", "--index-info", given=given, env=aside)
    tree = git.out("write-tree", env=aside)
    Path(index).unlink(missing_ok=True)
    # An address alone is no identity where git may not guess the name that belongs to it.
    known = (git.maybe("config", "user.email") or "GIT_COMMITTER_EMAIL" in os.environ) and all(
        git.run("var", f"GIT_{role}_IDENT").returncode == 0 for role in ("AUTHOR", "COMMITTER")
    )
    parents = ["-p", plan.old, "-p", plan.newest]
    message = "Merge upstream (make update)"
    return git.out("commit-tree", tree, *parents, "-m", message, env=None if known else _NOBODY)


@dataclass(frozen=True)
class Record:
    """One update as it lies in its folder."""

    stamp: str
    data: dict[str, Any]


def _record(git: Git, plan: Plan, new: str) -> Record:
    stamp = _stamp(git.root)
    # What was staged is one more version of the learner's work: it and the old commit are kept
    # from git's garbage collection.
    staged, kept = git.out("write-tree"), plan.old
    if staged != git.out("rev-parse", "HEAD^{tree}"):
        kept = git.out("commit-tree", staged, "-p", plan.old, "-m", "staged", env=_NOBODY)
    git.out("update-ref", f"refs/mlsys-102/{stamp}", kept)
    data = {"old": plan.old, "new": new, "staged": kept, "moved": plan.moved, "undoes": ""}
    return Record(stamp, data)


def _write(git: Git, record: Record, files: list[File]) -> None:
    """Put down what will be done, then do it."""
    root = git.root
    folder = root / FOLDER / record.stamp
    for file in files:
        for part, content in (("before", file.before), ("after", file.after)):
            if content is not None:
                copy = folder / part / file.path
                copy.parent.mkdir(parents=True, exist_ok=True)
                copy.write_bytes(content)
        if file.how in ("merged", "kept apart") and file.day and file.before is not None:
            keep(Day(*file.day, root), root / ".harness" / "archive")
    tree = record.data["staged"] if record.data["undoes"] else record.data["new"]
    git.out("read-tree", tree, env={"GIT_INDEX_FILE": str(folder / "index")})
    record.data["files"] = [
        {"path": f.path, "before": f.before is not None, "after": f.after is not None,
         "executable": f.executable, "how": f.how}
        for f in files
    ]  # fmt: skip
    (folder / "record.json").write_text(json.dumps(record.data, indent=1), encoding="utf-8")
    shutil.copy(str(writer.__file__), root / FOLDER / "finish.py")
    if hasattr(os, "sync"):
        os.sync()
    writer.put(root / FOLDER / PENDING, record.stamp.encode())
    for line in writer.finish(root):
        say(line)


def _undo(git: Git, check: bool) -> int:
    head = check_clone(git)
    record = _last(git.root)
    if record is None:
        say("There is no update to take back.")
        return 0
    if head != record.data["new"]:
        raise UpdateError(
            "you have committed (or checked out something else) since that update, and taking it "
            f"back would undo that too. By hand: git reset --keep {record.data['old'][:12]}"
        )
    folder = git.root / FOLDER / record.stamp
    files = [_back(git.root, folder, entry) for entry in record.data["files"]]
    say(f"Taking back the update of {record.stamp.replace('_', ' ', 1)}.")
    for file in files:
        if file.how == "merged":
            say(f"  {file.path}: changed since; that change is kept in it")
        elif file.how == "kept apart":
            say(f"  {file.path}: changed since; that version is kept in the archive")
    if check:
        return 0
    moved = {
        track: {str(new): int(old) for old, new in days.items()}
        for track, days in record.data["moved"].items()
    }
    data = {
        "old": head, "new": record.data["old"], "staged": record.data["staged"],
        "moved": moved, "undoes": record.stamp,
    }  # fmt: skip
    _write(git, Record(_stamp(git.root), data), files)
    are = "is what it was" if len(files) == 1 else "are what they were"
    say(f"{counted(len(files), 'file')} {are} before it.")
    return 0


def _back(root: Path, folder: Path, entry: dict[str, Any]) -> File:
    """The file as it was before the update, with what the learner has changed in it since."""
    path = entry["path"]
    was = (folder / "before" / path).read_bytes() if entry["before"] else None
    became = (folder / "after" / path).read_bytes() if entry["after"] else None
    target = root / path
    now = target.read_bytes() if target.is_file() else None
    if same_text(now, became) or same_text(now, was):
        return File(path, now, was)
    if now is not None and was is not None and became is not None:
        merged = merge(became, now, was)
        if not merged.conflicts:
            return File(path, now, merged.text, how="merged")
    return File(path, now, was, how="kept apart")


def _last(root: Path) -> Record | None:
    """The newest update that has not been taken back."""
    taken_back = set()
    for folder in sorted((root / FOLDER).glob("*/done"), reverse=True):
        data = json.loads((folder.parent / "record.json").read_text(encoding="utf-8"))
        if data["undoes"]:
            taken_back.add(data["undoes"])
        elif folder.parent.name not in taken_back:
            return Record(folder.parent.name, data)
    return None


def _forget_unfinished(root: Path) -> None:
    """Folders of updates that were interrupted before anything was decided."""
    for folder in (root / FOLDER).glob("*/"):
        if not (folder / "done").exists():
            shutil.rmtree(folder, ignore_errors=True)


def _stamp(root: Path) -> str:
    stamp = time.strftime("%Y-%m-%d_%H-%M-%S")
    taken = [p.name for p in (root / FOLDER).glob(f"{stamp}*")]
    return f"{stamp}_{len(taken) + 1:02d}" if taken else stamp


def _say_plan(plan: Plan, version: str, check: bool) -> None:
    would = "would bring" if check else "brings"
    kinds = Counter(file.path.split("/")[0] for file in plan.files if file.day is None)
    say(f"{version} {would}:")
    days = [file for file in plan.files if file.day is not None]
    for file in days:
        if file.how == "new" and file.before is None:
            say(f"  new day       {_name(file)}{_title(file)}")
    for file in days:
        if file.came_from:
            say(f"  moved         {file.came_from} is now {file.path}, with your answers")
        if file.how == "merged":
            what = "upstream's changes and your answers" if not file.conflicts else (
                f"{len(file.conflicts)} place(s) for you to decide"
            )  # fmt: skip
            say(f"  merged        {file.path}: {what}")
            for line, text in file.reworded:
                say(f"  yours stays   {file.path}:{line}, where upstream now says: {text}")
        elif file.how == "kept apart":
            gone = "upstream has no such day now" if file.after is None else "another day now"
            say(f"  kept apart    {file.path}: {gone}; your version is in the archive")
    plain = [f for f in days if f.how in ("changed", "removed") and not f.came_from]
    if plain:
        say(f"  {'days':<13} {len(plain)} that you have not started")
    for name, count in sorted(kinds.items()):
        say(f"  {name:<13} {counted(count, 'file')}")
    for file in plan.files:
        if file.day is None and file.how == "merged":
            say(f"  merged        {file.path}: you had changed it too")


def _say_news(git: Git, base: str, newest: str) -> None:
    lines = news(git.maybe("log", "--no-merges", "--name-only", FORMAT, f"{base}..{newest}"))
    if lines:
        say("What is new:")
    for line in lines:
        say(f"  {line}")


def _title(file: File) -> str:
    found = re.search(rb'^(?:""")?Day \d+: (.+?)\s*$', file.after or b"", re.MULTILINE)
    return f": {found[1].decode(errors='replace')}" if found else ""


def _say_done(plan: Plan) -> int:
    """The rest, for the learner to act on."""
    for file in plan.files:
        if file.day is None and file.how == "kept apart":
            say(f"{file.path}: upstream's is in place; your change of it is in {FOLDER}")
        if file.broken:
            say(f"{file.path}:{file.broken}, after merging: yours and upstream's do not fit")
    conflicts = [(file.path, line) for file in plan.files for line in file.conflicts]
    if conflicts:
        say("\nYou and upstream have changed the same lines. Both versions stand there, between")
        say(f"{MARK} and >>>>>>> upstream: keep what you want, delete the marks.")
        for path, line in conflicts:
            say(f"  {path}:{line}: yours and upstream's differ here")
    print()
    if any(file.path == "requirements.txt" for file in plan.files):
        say("requirements.txt has changed: the next make brings the environment up to date.")
    say("make mine grades what you have solved; make update UNDO=1 takes the update back.")
    return 1 if conflicts or any(file.broken for file in plan.files) else 0


def _name(file: File) -> str:
    assert file.day is not None
    return f"{file.day[0]} {file.day[1]}"
