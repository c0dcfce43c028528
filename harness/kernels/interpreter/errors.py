"""The error a learner sees, and the place in the learner's file it points to."""

from __future__ import annotations

import os
import sys
from types import FrameType, TracebackType
from typing import Any

import triton

_TRITON = os.path.dirname(os.path.abspath(triton.__file__)) + os.sep
_HERE = os.path.dirname(os.path.abspath(__file__)) + os.sep
_OURS = (_TRITON, _HERE)
_LAUNCH = _HERE + "launch.py"
_SELFTEST = _HERE + "selftest_kernels.py"

Place = tuple[str, int, str]
"""File, line and function name."""


class KernelError(Exception):
    """A kernel did what a GPU would punish, refuse or answer with garbage.

    ``kind`` is "out of bounds", "outside the view", "never written", "race", "read of another
    program's write", "assertion failed", "refused by the compiler", "bad launch", "unsupported"
    or "failed". ``str()`` is what a learner reads.
    """

    def __init__(
        self,
        kind: str,
        sentence: str,
        *,
        kernel: str = "",
        program: tuple[int, ...] = (),
        file: str = "",
        line: int = 0,
        tensor: str = "",
        operation: str = "",
        data: dict[str, Any] | None = None,
    ) -> None:
        self.kind = kind
        self.sentence = sentence
        self.kernel = kernel
        self.program = program
        self.file = file
        self.line = line
        self.tensor = tensor
        self.operation = operation
        self.data = data or {}
        super().__init__(kind, sentence)

    def __str__(self) -> str:
        where = self.kernel
        if self.line:
            where += f", line {self.line}" if where else f"line {self.line}"
        if self.operation:
            where += f" ({self.operation})"
        return f"{where}: {self.sentence}" if where else self.sentence


def current_place() -> Place:
    """The innermost line of a kernel or its device functions on the stack."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename != _LAUNCH:
        code = frame.f_code
        if not is_own_file(code.co_filename):
            return code.co_filename, frame.f_lineno, code.co_name
        frame = frame.f_back
    return "", 0, ""


def place_of(trace: TracebackType | None) -> Place:
    """The innermost line in a traceback that is neither triton's nor the interpreter's."""
    place = ("", 0, "")
    while trace is not None:
        code = trace.tb_frame.f_code
        if not is_own_file(code.co_filename):
            place = (code.co_filename, trace.tb_lineno, code.co_name)
        trace = trace.tb_next
    return place


def is_own_file(file: str) -> bool:
    """Whether ``file`` is triton's, the interpreter's or a library's, not a learner's."""
    if file == _SELFTEST:
        return False
    return file.startswith(_OURS) or f"{os.sep}site-packages{os.sep}" in file or file[0] == "<"


def tuple_text(program: tuple[int, ...]) -> str:
    """``(1,)`` for a grid of one axis, ``(1, 0)`` for two."""
    return f"({', '.join(map(str, program))}{',' if len(program) == 1 else ''})"


def count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")
