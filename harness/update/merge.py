"""Three texts into one: what both changed since a common base.

The rules are those of ``git merge-file``, with two kinds of its conflicts settled, because nearly
every answer stands right under a hint: a change of one side in the lines next to the other's is no
conflict, and where upstream only reworded comments that you have replaced, yours stay.
"""

from __future__ import annotations

import difflib
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from harness.curriculum.source import newline_of, split_lines

YOURS, THEIRS = "yours", "upstream"
MARK = f"<<<<<<< {YOURS}"


class NotText(Exception):
    """Lines cannot be merged: one of the files is no text."""


@dataclass(frozen=True)
class Merged:
    """``conflicts`` are the lines (from 1) of ``text`` on which a marked conflict begins."""

    text: bytes
    conflicts: tuple[int, ...] = ()
    reworded: tuple[tuple[int, str], ...] = ()
    """Lines of ``text`` with a comment of yours that upstream has changed too, and upstream's."""


def merge(base: bytes, yours: bytes, theirs: bytes) -> Merged:
    """``theirs`` with what ``yours`` changed since ``base``, and its line endings."""
    plain = [_plain(text) for text in (base, yours, theirs)]
    ending = newline_of(yours.decode("utf-8", "surrogateescape")).encode()
    if plain[1] in (plain[0], plain[2]):
        return Merged(_ended(plain[2], ending))
    merged, clean = _git_merge(*plain)
    reworded: tuple[tuple[int, str], ...] = ()
    if not clean:
        merged, reworded = _fine_merge(*plain)
    return Merged(_ended(merged, ending), () if clean else conflicts_in(merged), reworded)


def conflicts_in(text: bytes) -> tuple[int, ...]:
    """The lines on which marked conflicts of an update begin."""
    lines = text.split(b"\n")
    return tuple(n for n, line in enumerate(lines, 1) if line.rstrip() == MARK.encode())


def same_text(one: bytes | None, other: bytes | None) -> bool:
    """Whether two files differ at most in their line endings."""
    if one is None or other is None:
        return one is other
    return _plain(one) == _plain(other)


def with_endings_of(text: bytes, model: bytes | None) -> bytes:
    """``text`` with the line endings of ``model``; unchanged where that is no text or has none."""
    if model is None or b"\r\n" not in model or b"\0" in model or b"\0" in text:
        return text
    return _ended(_plain(text), b"\r\n")


def _plain(text: bytes) -> bytes:
    return text.replace(b"\r\n", b"\n")


def _ended(text: bytes, ending: bytes) -> bytes:
    return text.replace(b"\n", ending) if ending != b"\n" else text


def _git_merge(base: bytes, yours: bytes, theirs: bytes) -> tuple[bytes, bool]:
    """The merged text, and whether git found no conflict."""
    with tempfile.TemporaryDirectory(prefix="merge-") as folder:
        files = []
        for name, text in (("yours", yours), ("base", base), ("theirs", theirs)):
            files.append(Path(folder) / name)
            files[-1].write_bytes(text)
        command = ["git", "merge-file", "-p", "-q", *map(str, files)]
        done = subprocess.run(command, cwd=folder, capture_output=True)
    if not 0 <= done.returncode <= 127:  # else the number of conflicts
        raise NotText(done.stderr.decode(errors="replace").strip())
    return done.stdout, done.returncode == 0


def _fine_merge(
    base: bytes, yours: bytes, theirs: bytes
) -> tuple[bytes, tuple[tuple[int, str], ...]]:
    old, mine, new = (
        split_lines(text.decode("utf-8", "surrogateescape")) for text in (base, yours, theirs)
    )
    out: list[str] = []
    reworded: list[tuple[int, str]] = []
    for before, my, their in _regions(old, mine, new):
        if my in (before, their):
            out += their
        elif their == before or _code(their) == _code(before):
            if their != before and set(_comments(my)) - set(_comments(before)):
                reworded.append((len(out) + 1, " ".join(_comments(their))))
            out += my  # upstream changed nothing here, or only the comments that you replaced
        else:
            out += [f"{MARK}\n", *_whole(my), "=======\n", *_whole(their), f">>>>>>> {THEIRS}\n"]
    return "".join(out).encode("utf-8", "surrogateescape"), tuple(reworded)


def _regions(
    old: list[str], mine: list[str], new: list[str]
) -> Iterator[tuple[list[str], list[str], list[str]]]:
    """The three texts cut where all agree: stretches of equal lines, and what lies between.

    Two changes are one region where they overlap, or both insert at one place, which leaves their
    order open; not where they only touch.
    """
    edits = sorted([(*edit, 0) for edit in _edits(old, mine)] + [(*e, 1) for e in _edits(old, new)])
    at, index = 0, 0
    ends = [0, 0]  # where the text up to ``at`` ends in each of the two
    sides = (mine, new)
    while index < len(edits):
        start, stop = edits[index][0], edits[index][1]
        last = index + 1
        while last < len(edits) and (
            edits[last][0] < stop or edits[last][:2] == edits[last - 1][:2]
        ):
            stop = max(stop, edits[last][1])
            last += 1
        yield old[at:start], old[at:start], old[at:start]
        ends = [end + start - at for end in ends]
        parts = []
        for side in (0, 1):
            grown = sum(e[3] - e[2] - e[1] + e[0] for e in edits[index:last] if e[4] == side)
            length = stop - start + grown
            parts.append(sides[side][ends[side] : ends[side] + length])
            ends[side] += length
        yield old[start:stop], parts[0], parts[1]
        at, index = stop, last
    yield old[at:], old[at:], old[at:]


def _edits(old: list[str], changed: list[str]) -> list[tuple[int, int, int, int]]:
    matcher = difflib.SequenceMatcher(None, old, changed, autojunk=False)
    return [(a, b, c, d) for tag, a, b, c, d in matcher.get_opcodes() if tag != "equal"]


def _code(lines: list[str]) -> list[str]:
    """The lines that are neither blank nor comments."""
    return [line for line in lines if line.strip() and not line.lstrip().startswith("#")]


def _comments(lines: list[str]) -> list[str]:
    return [line.strip() for line in lines if line.lstrip().startswith("#")]


def _whole(lines: list[str]) -> list[str]:
    """The lines, the last one ended too."""
    if lines and not lines[-1].endswith("\n"):
        return [*lines[:-1], lines[-1] + "\n"]
    return lines
