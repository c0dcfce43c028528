"""Python source as text: lines, comments and newlines, without losing a byte.

Files are read with their own line endings and edited line by line; whoever analyses the text
first takes ``normalised(text)``, which has the same line numbers.
"""

from __future__ import annotations

import ast
import itertools
import re
import warnings
from bisect import bisect_right
from dataclasses import dataclass, replace
from pathlib import Path

from harness.curriculum.errors import CurriculumError

_LINE = re.compile(r"[^\r\n]*(?:\r\n|\n|\r)|[^\r\n]+\Z")

# Outside strings and comments, a quote always opens a string and # always opens a comment.
# A backslash keeps the next character from ending a string, in raw strings too. So one regular
# expression tells the two apart; tokenize agrees (the tests compare them) and is 30 times slower.
_STRING_OR_COMMENT = re.compile(
    r"""
      (?P<comment>\#[^\n]*)
    | \"\"\"(?:[^\\]|\\.)*?\"\"\"
    | '''(?:[^\\]|\\.)*?'''
    | "(?:[^"\\\n]|\\.)*"
    | '(?:[^'\\\n]|\\.)*'
    """,
    re.VERBOSE | re.DOTALL,
)

_NOTE = re.compile(r"#+\s*(TODO|HINT):\s*(.*)")
_CONTINUATION = re.compile(r"#\s*([^#\s].*)")
_SENTENCE_END = re.compile(r"""[.?!…:;)\]}`"']$""")


@dataclass(frozen=True)
class Comment:
    """A comment: its line (from 1), what stands before it on that line, and its text from ``#``."""

    line: int
    before: str
    text: str

    @property
    def alone(self) -> bool:
        return not self.before.strip()


@dataclass(frozen=True)
class Note:
    """A ``# TODO:`` or ``# HINT:`` comment, its continuation lines joined."""

    kind: str
    line: int
    text: str
    end: int
    """Its last line; ``line`` is its first."""


def read_source(path: Path) -> str:
    """The file's text with its line endings as they are (``read_text`` would change them)."""
    data = path.read_bytes()
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise CurriculumError(path, line, "this is not UTF-8 text: save it as UTF-8") from error


def read_written(path: Path) -> str:
    """What a learner has written. SyntaxError, with the line, where it is no UTF-8 text: a broken
    file like any other."""
    return normalised(decoded(path.read_bytes(), str(path)))


def decoded(data: bytes, name: str) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        message = f"the byte 0x{data[error.start]:02x} is not UTF-8 text: save the file as UTF-8"
        raise SyntaxError(message, (name, line, 1, None)) from None


def write_source(path: Path, text: str) -> None:
    """Write ``text`` with its line endings as they are."""
    path.write_bytes(text.encode("utf-8"))


def split_lines(text: str) -> list[str]:
    """Lines with their endings, split where Python splits (``str.splitlines`` also splits at
    form feeds and other characters that Python reads as white space)."""
    return _LINE.findall(text)


def newline_of(text: str) -> str:
    """The line ending that the text uses; ``"\\n"`` where it has none."""
    match = re.search(r"\r\n|\n|\r", text)
    return match.group() if match else "\n"


def ending_of(line: str) -> str:
    """The line's own ending, ``""`` for a last line without one."""
    return line[len(line.rstrip("\r\n")) :]


def normalised(text: str) -> str:
    """The same lines, ended by ``"\\n"``, without a byte order mark."""
    return text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")


def syntax_tree(text: str) -> ast.Module:
    """``ast.parse`` that says SyntaxError whatever is wrong with the text, and warns of nothing:
    an invalid escape is for the run to warn of, not for whoever counts exercises."""
    text = normalised(text)
    if "\0" in text:  # of which ast says no line, and before Python 3.12 ValueError
        line = text.count("\n", 0, text.index("\0")) + 1
        raise SyntaxError("there is a null byte", ("<day>", line, 1, None))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(text)
    except (RecursionError, MemoryError) as error:
        raise SyntaxError("an expression is nested too deeply", ("<day>", 1, 1, None)) from error


def comments_of(text: str) -> list[Comment]:
    """All comments of a normalised Python source, in order; ``#`` inside a string is none."""
    starts = [0, *(match.end() for match in re.finditer("\n", text))]
    found = []
    for match in _STRING_OR_COMMENT.finditer(text):
        if match["comment"] is not None:
            line = bisect_right(starts, match.start())
            before = text[starts[line - 1] : match.start()]
            found.append(Comment(line, before, match["comment"].rstrip()))
    return found


def notes_of(comments: list[Comment]) -> list[Note]:
    """The ``# TODO:`` and ``# HINT:`` comments. A comment line directly below, at the same
    indentation, continues the one above it; markers do not."""
    notes: list[Note] = []
    previous: Comment | None = None  # the last line of the note that may still go on
    for comment in comments:
        started = _NOTE.fullmatch(comment.text) if comment.alone else None
        goes_on = _CONTINUATION.fullmatch(comment.text)
        if started:
            notes.append(Note(started[1], comment.line, started[2].strip(), comment.line))
            previous = comment
        elif (
            goes_on
            and previous
            and comment.line == previous.line + 1
            and comment.before == previous.before
        ):
            joined = f"{notes[-1].text} {goes_on[1].strip()}".strip()
            notes[-1] = replace(notes[-1], text=joined, end=comment.line)
            previous = comment
        else:
            previous = None
    return notes


def cut_note(notes: list[Note]) -> Note | None:
    """The first note that stops in the middle of a sentence, with another one of its kind directly
    below: a learner who asks for one hint would get half of it."""
    for note, below in itertools.pairwise(notes):
        both = note.kind == below.kind and below.line == note.end + 1
        if both and not _SENTENCE_END.search(note.text):
            return note
    return None
