"""What an update would make of every file. Reads the clone, and writes nothing in it.

``base`` is the commit of upstream that the learner's tree grew from, so a day's file in it is the
stub that the learner began with, whatever was committed, edited or pulled since. A copy without
upstream's history (made from a template) has no such commit: there the base of a day is the stub
that its own reference generates.
"""

from __future__ import annotations

import ast
import re
import warnings
from dataclasses import dataclass, field
from pathlib import Path

from harness.curriculum import CurriculumError, generate_stub
from harness.curriculum.source import normalised
from harness.update.merge import Merged, NotText, merge, same_text, with_endings_of
from harness.update.upstream import Entry, Git, UpdateError

_DAY = re.compile(r"tracks/(?:triton/(?=electives/))?(\w+)/day(\d+)\.py")


@dataclass(frozen=True)
class File:
    """One file that changes. ``how``: "new", "changed", "removed" (upstream's doing alone);
    "merged" (yours and upstream's); "kept apart" (upstream's is in place, yours beside)."""

    path: str
    before: bytes | None
    after: bytes | None
    executable: bool | None = None
    how: str = "changed"
    conflicts: tuple[int, ...] = ()
    broken: str = ""
    """Line and reason why the merged file is no valid Python any more, where yours was."""
    reworded: tuple[tuple[int, str], ...] = ()
    """Comments that both have changed: yours stay, on these lines; upstream's text of each."""
    came_from: str = ""
    """Where upstream had the day before it moved it here."""

    @property
    def day(self) -> tuple[str, int] | None:
        match = _DAY.fullmatch(self.path)
        return (match[1], int(match[2])) if match else None


@dataclass
class Plan:
    old: str
    newest: str
    files: list[File] = field(default_factory=list)
    moved: dict[str, dict[str, int]] = field(default_factory=dict)
    """By track: days that upstream has given another number."""
    committed: dict[str, bytes | Entry | None] = field(default_factory=dict)
    """What a merge commit would hold, where the learner has commits of their own."""


def make_plan(git: Git, head: str, base: str, newest: str) -> Plan:
    """What becomes of every file that upstream has changed since ``base``."""
    theirs, mine = git.files(newest), git.files(head)
    olds = git.files(base) if base else _assumed_base(git, mine, theirs)
    changed = sorted(p for p in {*olds, *theirs} if olds.get(p) != theirs.get(p))
    wanted = {
        entry.blob
        for path in changed
        for entry in (olds.get(path), theirs.get(path), mine.get(path))
        if entry is not None and entry.blob
    }
    blobs = git.contents(wanted)
    stubs = {} if base else _generated_stubs(git, mine)

    def old_text(path: str) -> bytes | None:
        if path in stubs:
            return stubs[path]
        return blobs[olds[path].blob] if path in olds and olds[path].blob else None

    def new_text(path: str) -> bytes | None:
        return blobs[theirs[path].blob] if path in theirs else None

    on_disk = {path: _read(git.root / path) for path in changed}
    plan = Plan(head, newest)
    came_from = _moves(
        {p: t for p in changed if _DAY.fullmatch(p) and (t := old_text(p)) is not None},
        {p: t for p in changed if _DAY.fullmatch(p) and (t := new_text(p)) is not None},
    )
    left = set(came_from.values())
    for goes_to, stood_at in came_from.items():
        track, number = _day_of(stood_at)
        plan.moved.setdefault(track, {})[str(number)] = _day_of(goes_to)[1]
    for path in changed:
        source = came_from.get(path, path)
        if path in left and path not in came_from:  # what was here has moved: this is new
            was, yours = None, None
        else:
            was, yours = old_text(source), on_disk[source]
        new, entry = new_text(path), theirs.get(path)
        file = _become(path, on_disk[path], yours, was, new, entry)
        if file is not None and source != path:
            file = File(**{**vars(file), "came_from": source})
        if file is not None:
            plan.files.append(file)
        if head != base:
            own = blobs[mine[source].blob] if source in mine and was is not None else None
            plan.committed[path] = _commit(path, own, was, new, entry)
    _check_places(git.root, plan.files)
    return plan


def _become(
    path: str, disk: bytes | None, yours: bytes | None, old: bytes | None, new: bytes | None,
    entry: Entry | None,
) -> File | None:  # fmt: skip
    """What the file at ``path`` becomes. ``yours`` is what is merged: what is on the disk there,
    or where the day was before it moved."""
    executable = entry.executable if entry else None
    if new is None:
        if disk is None:
            return None
        how = "removed" if same_text(yours, old) else "kept apart"
        return File(path, disk, None, None, how)
    if yours is None or same_text(yours, old):
        after = with_endings_of(new, disk)
        how = "new" if old is None or disk is None else "changed"
        return File(path, disk, after, executable, how) if disk != after or executable else None
    if disk is yours and same_text(yours, new):
        return None
    merged = _merge(path, old, yours, new)
    if merged is None:
        return File(path, disk, with_endings_of(new, disk), executable, "kept apart")
    broken = "" if merged.conflicts else _broken(path, yours, merged.text)
    return File(
        path, disk, merged.text, executable, "merged", merged.conflicts, broken, merged.reworded
    )


def _merge(path: str, old: bytes | None, yours: bytes, new: bytes) -> Merged | None:
    """None where the two cannot both be in one file. Marks of a conflict are for the files that a
    learner writes: in the harness or a test they would be one more thing that is broken."""
    is_day = bool(_DAY.fullmatch(path))
    if old is None or (is_day and not _same_day(old, new)):
        return None
    try:
        merged = merge(old, yours, new)
    except NotText:
        return None
    return merged if is_day or not merged.conflicts else None


def _commit(
    path: str, own: bytes | None, old: bytes | None, new: bytes | None, entry: Entry | None
) -> bytes | Entry | None:
    """What the merge commit holds: never a mark of a conflict; a day with one stays as it was."""
    if new is None or own is None or same_text(own, old):
        return entry
    merged = _merge(path, old, own, new)
    if merged is None:
        return entry
    return own if merged.conflicts else merged.text


def _assumed_base(git: Git, mine: dict[str, Entry], theirs: dict[str, Entry]) -> dict[str, Entry]:
    """Without common history: what both have was upstream's; what only one has stays or comes."""
    olds = {path: entry for path, entry in mine.items() if path in theirs}
    # A day is always looked at: its base is generated, and is not the committed file.
    return {p: Entry("", False) if _DAY.fullmatch(p) else entry for p, entry in olds.items()}


def _generated_stubs(git: Git, mine: dict[str, Entry]) -> dict[str, bytes]:
    """The stubs that the committed references generate, by the path of the day's file."""
    solutions = {}
    for path, entry in mine.items():
        match = re.fullmatch(r"tracks/([\w/]+)/solutions/(day\d+\.py)", path)
        if match:
            solutions[f"tracks/{match[1]}/{match[2]}"] = entry.blob
    texts = git.contents(set(solutions.values()))
    stubs = {}
    for path, blob in solutions.items():
        try:
            stub = generate_stub(texts[blob].decode("utf-8"), path)
        except (CurriculumError, UnicodeDecodeError):
            continue  # then nothing is known of how it began: both versions are kept
        stubs[path] = stub.encode()
    return stubs


def _moves(old: dict[str, bytes], new: dict[str, bytes]) -> dict[str, str]:
    """New path → old path of the days that have another number now; a day is known by its title,
    or by most of its exercises."""
    found: dict[str, str] = {}
    for path, text in old.items():
        if path in new and _same_title(text, new[path]):
            continue
        fitting = [p for p in new if _track_of(p) == _track_of(path) and _same_title(text, new[p])]
        if len(fitting) == 1:
            found[fitting[0]] = path

    def stays(path: str) -> bool:
        still = path in old and path not in found.values()
        return still and path in new and path not in found and _same_day(old[path], new[path])

    free = [path for path in new if path not in found and not stays(path)]
    for path in [path for path in old if path not in found.values() and not stays(path)]:
        fitting = [
            p
            for p in free
            if _track_of(p) == _track_of(path) and _same_exercises(old[path], new[p])
        ]
        if len(fitting) == 1 and fitting[0] not in found:
            found[fitting[0]] = path
    return found


def _same_day(one: bytes, other: bytes) -> bool:
    return _same_title(one, other) or _same_exercises(one, other)


def _same_title(one: bytes, other: bytes) -> bool:
    found = [re.search(rb"^Day \d+: (.+?)\s*$", text, re.MULTILINE) for text in (one, other)]
    return bool(found[0] and found[1] and found[0][1] == found[1][1])


def _same_exercises(one: bytes, other: bytes) -> bool:
    """Whether the other has at least half of them."""
    names = [set(re.findall(rb"^(?:def|class) (?!test_|_)(\w+)", t, re.M)) for t in (one, other)]
    return 2 * len(names[0] & names[1]) >= max(len(names[0]), 1)


def _broken(path: str, yours: bytes, merged: bytes) -> str:
    if not path.endswith(".py") or _syntax_error(yours):
        return ""
    return _syntax_error(merged)


def _syntax_error(text: bytes) -> str:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ast.parse(normalised(text.decode("utf-8")))
    except SyntaxError as error:
        return f"{error.lineno}: {error.msg}"
    except ValueError as error:
        return f"1: {error}"
    return ""


def _check_places(root: Path, files: list[File]) -> None:
    """Nothing may stand where a new file or its folder goes."""
    going = {root / file.path for file in files if file.after is None}
    for file in files:
        if file.after is None:
            continue
        target = root / file.path
        if target.is_dir() and any(p.is_file() and p not in going for p in target.rglob("*")):
            raise UpdateError(f"the folder {file.path} is where upstream has a file: move it.")
        for folder in target.relative_to(root).parents:
            if (root / folder).is_file() and root / folder not in going:
                raise UpdateError(f"the file {folder} is where upstream has a folder: move it.")


def _read(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def _day_of(path: str) -> tuple[str, int]:
    match = _DAY.fullmatch(path)
    assert match is not None
    return match[1], int(match[2])


def _track_of(path: str) -> str:
    return _day_of(path)[0]
