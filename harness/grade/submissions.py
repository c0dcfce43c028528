"""Reads what students handed in: folders, zip and tar archives, of any shape and naming.

Nothing is ever extracted to disk: of an archive only files named as days are read, each and all
together up to a limit, so that no path in it can lead anywhere and no bomb can go off.
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import os
import re
import stat
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO

from harness.curriculum import Day, Track
from harness.usage import Usage

DAY_BYTES = 1 << 20
"""Of one day's file; the longest reference has less than a twentieth of it."""
UNPACKED_BYTES = 128 << 20
"""Of a whole archive, by what its own list of files says and by what was read."""
MEMBERS = 20_000
DEEPEST = 12
ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2")
OTHER_ARCHIVES = (".rar", ".7z", ".tar.xz", ".txz", ".gz", ".xz", ".bz2", ".zst")
IGNORED = frozenset(("__MACOSX", "__pycache__", ".git", ".venv", "venv", "node_modules"))
TRACKS = frozenset(("triton", "pytorch", "autodiff"))
BESIDE = frozenset(("solutions", "tests", "bugs", "benches", "lessons", "electives"))
"""Folders of a track that hold other things than the learner's days."""
_DAY = re.compile(r"day[ _-]?0*([0-9]{1,3})\.py", re.IGNORECASE)
_TITLE = re.compile(r"^Day ([0-9]+): (\S[^\r\n]*)", re.MULTILINE)
_NEARLY = re.compile(r"day.*\.py", re.IGNORECASE)
# As Moodle and Canvas name what they hand to a teacher.
_MOODLE = re.compile(r"(.+?)_[0-9]+_assignsubmission_[a-z]+_?.*")
_CANVAS = re.compile(r"([^_]+)(?:_LATE)?_[0-9]+_[0-9]+_.+", re.IGNORECASE)


class Refused(Exception):
    """A submission that is not read; the message says why, in a sentence."""


@dataclass(frozen=True)
class Found:
    """One day's file as it was handed in."""

    path: str
    content: bytes

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()


Key = tuple[str, int]
"""A track and a day's number."""


@dataclass
class Submission:
    student: str
    source: str
    days: dict[Key, Found] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)
    """What was left out, and why; what was decided where there was a choice."""


def read_all(folder: Path, tracks: list[Track]) -> tuple[list[Submission], list[str]]:
    """Every submission in ``folder``, by name, and what there is no submission."""
    if not folder.is_dir():
        raise Usage(f"SUBMISSIONS={folder} is no folder: give one that holds a folder, zip or tar "
                    "a student.")  # fmt: skip
    found: list[Submission] = []
    left: list[str] = []
    names: set[str] = set()
    for path in sorted(folder.iterdir(), key=lambda p: _plain(p.name)):
        if path.name.startswith(".") or path.name in IGNORED:
            continue
        kind = path.lstat().st_mode
        if stat.S_ISLNK(kind):
            left.append(f"{_plain(path.name)} is a link, which is not followed.")
            continue
        if not stat.S_ISDIR(kind) and not _suffix(path.name, (*ARCHIVES, *OTHER_ARCHIVES)):
            left.append(f"{_plain(path.name)} is neither a folder nor an archive: not graded.")
            continue
        student = student_of(path.name, stat.S_ISDIR(kind))
        if student in names:  # a folder and a zip of one name, or two names that differ in nothing
            student = _plain(path.name)
        number = 2
        while student in names:
            student, number = f"{_plain(path.name)} ({number})", number + 1
        names.add(student)
        found.append(read_one(path, student, tracks))
    return found, left


def student_of(name: str, folder: bool) -> str:
    """The student's name in that of a folder or an archive."""
    name = _plain(name)
    if not folder:
        name = name[: len(name) - len(_suffix(name, (*ARCHIVES, *OTHER_ARCHIVES)))]
    for pattern in (_MOODLE, _CANVAS):
        if match := pattern.fullmatch(name):
            return match[1].strip()
    return name.strip() or "(no name)"


def read_one(path: Path, student: str, tracks: list[Track]) -> Submission:
    """What one student handed in."""
    submission = Submission(student, _plain(path.name))
    try:
        files = list(_files_of(path, submission.log))
    except Refused as refused:
        submission.log.append(f"Nothing of it was read: {refused}")
        return submission
    except OSError as error:
        reason = f"{error.strerror or error}"
        submission.log.append(f"Nothing of it was read: it cannot be opened ({reason}).")
        return submission
    candidates: dict[Key, list[Found]] = {}
    for found in files:
        try:
            key, note = place(found, tracks)
        except Refused as refused:
            submission.log.append(f"{found.path}: {refused}")
            continue
        if note:
            submission.log.append(f"{found.path}: {note}")
        candidates.setdefault(key, []).append(found)
    for key, several in sorted(candidates.items()):
        if chosen := _choose(key, several, submission.log):
            submission.days[key] = chosen
    if not submission.days and not submission.log:
        submission.log.append("It holds no file that is named as a day (day07.py).")
    return submission


def place(found: Found, tracks: list[Track]) -> tuple[Key, str]:
    """Which day a file is, and what there is to say of that. Refused where it cannot be told."""
    path = PurePosixPath(found.path)
    match = _DAY.fullmatch(path.name)
    assert match
    number = int(match[1])
    by_name = {track.name: track for track in tracks}
    if path.parent.name.lower() in by_name:
        track = by_name[path.parent.name.lower()]
        if number not in (day.number for day in track.days):
            raise Refused(f"the {track.name} track has no day {number}.")
        return (track.name, number), ""
    return _by_content(found, number, [day for track in tracks for day in track.days])


def _by_content(found: Found, number: int, days: list[Day]) -> tuple[Key, str]:
    """The docstring says the day, its title and the imports say the track."""
    text = found.content.decode("utf-8", "replace")
    note = ""
    with_number = [day for day in days if day.number == number]
    said = _TITLE.search(text[:2000])
    titled = [d for d in days if said and d.number == int(said[1]) and d.title == said[2].strip()]
    if len(titled) == 1:
        if titled[0].number != number:
            note = f"by its docstring it is day {titled[0].number}, and it is graded as that."
        return (titled[0].track, titled[0].number), note
    track = _imported_track(text)
    matching = [day for day in (titled or with_number) if day.track == track]
    if len(matching) == 1:
        return (track, matching[0].number), f"by what it imports it is of the {track} track."
    names = sorted({day.track for day in with_number})
    if not names:
        raise Refused(f"no track has a day {number}.")
    raise Refused(
        f"not graded, for it could be day {number} of {' or '.join(names)}: put it into a folder "
        "with the track's name, or keep the docstring of the day."
    )


def _imported_track(text: str) -> str:
    imported = set(re.findall(r"^\s*(?:import|from)[ \t]+([A-Za-z_]\w*)", text, re.MULTILINE))
    tracks = set(re.findall(r"^\s*from[ \t]+tracks\.(\w+)", text, re.MULTILINE))
    if len(tracks) == 1:
        return tracks.pop()
    if "triton" in imported:
        return "triton"
    if "torch" in imported:
        return "pytorch"
    return "autodiff" if "numpy" in imported else ""


def _choose(key: Key, several: list[Found], log: list[str]) -> Found | None:
    """One of the files that are the same day: the one that lies highest."""
    if len({found.content for found in several}) == 1:
        return several[0]
    depth = min(found.path.count("/") for found in several)
    highest = [found for found in several if found.path.count("/") == depth]
    listed = ", ".join(sorted(found.path for found in several))
    if len({found.content for found in highest}) > 1:
        log.append(f"{key[0]} day {key[1]} was handed in several times, and which one counts is "
                   f"not told: {listed}. None was graded.")  # fmt: skip
        return None
    log.append(f"{key[0]} day {key[1]} was handed in several times ({listed}): {highest[0].path} "
               "was graded.")  # fmt: skip
    return highest[0]


# ---------------------------------------------------------------------------------------------
# The files of a folder or an archive


def _files_of(path: Path, log: list[str]) -> Iterator[Found]:
    if path.is_dir():
        yield from _in_folder(path, log)
    else:
        yield from _in_archive(path, "", log)


def _in_folder(folder: Path, log: list[str]) -> Iterator[Found]:
    """Depth first; links and what is no regular file are left alone."""
    seen = 0
    for here, folders, names in os.walk(folder, followlinks=False):
        relative = Path(here).relative_to(folder)
        folders[:] = [f for f in sorted(folders) if f not in IGNORED]
        if len(relative.parts) >= DEEPEST:
            folders[:] = []
        for name in sorted(names):
            seen += 1
            if seen > MEMBERS:
                raise Refused(f"it holds more than {MEMBERS:,} files.")
            shown = _plain((relative / name).as_posix())
            file = Path(here, name)
            if _suffix(name, ARCHIVES) and not _skipped(shown):
                if stat.S_ISREG(file.lstat().st_mode):
                    yield from _in_archive(file, f"{shown}/", log)
                continue
            if not _wanted(shown, log):
                continue
            status = file.lstat()
            if not stat.S_ISREG(status.st_mode):
                log.append(f"{shown} is a link or no plain file: not read.")
            elif status.st_size > DAY_BYTES:
                log.append(_too_long(shown))
            else:
                yield Found(shown, file.read_bytes())


def _in_archive(path: Path, prefix: str, log: list[str]) -> Iterator[Found]:
    name = path.name.lower()
    if _suffix(name, OTHER_ARCHIVES) and not _suffix(name, ARCHIVES):
        raise Refused(f"a {_suffix(name, OTHER_ARCHIVES)} archive is not read: zip or tar it.")
    opened = _in_zip if name.endswith(".zip") else _in_tar
    try:
        # Whole, so that nothing of an archive is graded that is refused at its end.
        found = list(opened(path, log))
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error, NotImplementedError,
            gzip.BadGzipFile, UnicodeError, ValueError, OverflowError) as error:  # fmt: skip
        raise Refused(f"{_plain(path.name)} is damaged or no such archive ({error}).") from None
    for one in found:
        yield Found(prefix + one.path, one.content)


def _in_zip(path: Path, log: list[str]) -> Iterator[Found]:
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        _bounds(len(entries), sum(entry.file_size for entry in entries))
        read = 0
        for entry in entries:
            name = _inside(entry.filename)
            if entry.is_dir() or not _wanted(name, log):
                continue
            if stat.S_ISLNK(entry.external_attr >> 16):
                log.append(f"{name} is a link or no plain file: not read.")
            elif entry.flag_bits & 1:
                log.append(f"{name} is encrypted: not read.")
            elif entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                log.append(f"{name} is compressed in a way that is not read: use plain zip.")
            else:
                with archive.open(entry) as file:
                    content = _bounded(file.read, name, log)
                if content is not None:
                    read += len(content)
                    _bounds(0, read)
                    yield Found(name, content)


def _in_tar(path: Path, log: list[str]) -> Iterator[Found]:
    name = path.name.lower()
    kind = gzip.open if name.endswith(("gz", ".tgz")) else bz2.open if "bz" in name[-5:] else open
    # As a stream through a counter: headers too can claim any length.
    with (
        kind(path, "rb") as unpacked,
        tarfile.open(fileobj=_Counted(unpacked), mode="r|", tarinfo=_Entry) as archive,  # type: ignore[call-overload, arg-type]
    ):
        members = total = 0
        for entry in archive:
            members, total = members + 1, total + entry.size
            _bounds(members, total)
            archive.members = []  # else all of them are kept
            shown = _inside(entry.name)
            if entry.isdir() or not _wanted(shown, log):
                continue
            if not entry.isfile() or entry.issparse():
                log.append(f"{shown} is a link or no plain file: not read.")
                continue
            file = archive.extractfile(entry)
            content = _bounded(file.read, shown, log) if file else None
            if content is not None:
                yield Found(shown, content)


class _Entry(tarfile.TarInfo):
    """A tar's entry; one that only describes the next, and is held in memory, has to be short."""

    def _proc_member(self, archive: tarfile.TarFile) -> tarfile.TarInfo:
        describes = self.type not in tarfile.SUPPORTED_TYPES or self.type in (
            tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK,
        )  # fmt: skip
        if describes and self.size > DAY_BYTES:
            raise Refused(_BOMB)
        return super()._proc_member(archive)  # type: ignore[misc]


class _Counted:
    """A file that refuses to give more than an archive may hold."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._given = file, 0

    def read(self, size: int = -1) -> bytes:
        if size < 0 or size > UNPACKED_BYTES:
            raise Refused(_BOMB)
        data = self._file.read(size)
        self._given += len(data)
        if self._given > UNPACKED_BYTES + (MEMBERS << 10):
            raise Refused(_BOMB)
        return data


_BOMB = (
    f"it unpacks to more than {UNPACKED_BYTES >> 20} MB. Hand in the days' files alone: without "
    "data, environments and models."
)


def _bounds(members: int, total: int) -> None:
    if members > MEMBERS:
        raise Refused(f"it holds more than {MEMBERS:,} files.")
    if total > UNPACKED_BYTES:
        raise Refused(_BOMB)


def _inside(name: str) -> str:
    """The path of a member, with slashes. Refused for one that leads out of the archive."""
    shown = _plain(name.replace("\\", "/"))
    outside = shown.startswith("/") or re.match(r"[A-Za-z]:", shown)
    if outside or ".." in shown.split("/"):
        raise Refused(f"it holds a path that leads out of it ({shown}).")
    return PurePosixPath(shown).as_posix()


def _bounded(read: Callable[[int], bytes], name: str, log: list[str]) -> bytes | None:
    content = read(DAY_BYTES + 1)
    if len(content) > DAY_BYTES:
        log.append(_too_long(name))
        return None
    return content


def _wanted(path: str, log: list[str]) -> bool:
    """Whether a file is named as a day, and is none of the project's own."""
    name = path.rsplit("/", 1)[-1]
    if _skipped(path):
        return False
    if _DAY.fullmatch(name):
        return True
    if _NEARLY.fullmatch(name):
        log.append(f"{path} is not named as a day (day07.py): not read.")
    elif _suffix(name, ARCHIVES + OTHER_ARCHIVES):
        log.append(f"{path} is an archive of a kind or at a place that is not read.")
    return False


def _skipped(path: str) -> bool:
    parts = path.split("/")
    if parts[-1].startswith("._") or any(part in IGNORED for part in parts[:-1]):
        return True
    return any(a in TRACKS and b in BESIDE for a, b in zip(parts, parts[1:], strict=False))


def _too_long(name: str) -> str:
    return f"{name} is longer than {DAY_BYTES >> 20} MB: not read."


def _plain(name: str) -> str:
    """A name as one writes it: composed letters (a Mac sends them taken apart), nothing that
    cannot be shown."""
    text = os.fsencode(name).decode("utf-8", "replace")
    text = unicodedata.normalize("NFC", text)
    return "".join("\ufffd" if unicodedata.category(c) in ("Cc", "Cs") else c for c in text)


def _suffix(name: str, of: tuple[str, ...]) -> str:
    """The longest of the endings that the name has."""
    return max((end for end in of if name.lower().endswith(end)), key=len, default="")
