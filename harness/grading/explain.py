"""Turns an exception into a failure in a learner's words, pointing into the learner's file."""

from __future__ import annotations

import re
import traceback
from dataclasses import replace
from types import TracebackType

import pytest

from harness.grading import raised
from harness.grading.finder import MissingDay
from harness.grading.graded import GradedDay
from harness.grading.guard import Refused
from harness.grading.limits import OutOfTime
from harness.protocol import Failure, Reason

# After one of these every later CUDA call of the process fails, whoever makes it.
_DEAD_CONTEXT = re.compile(
    r"(?:CUDA error|Triton Error \[CUDA\]): (an illegal memory access|misaligned address|"
    r"device-side assert|unspecified launch failure|an illegal instruction|invalid program counter)"
)


def context_is_dead(error: BaseException) -> bool:
    return any(_DEAD_CONTEXT.search(str(e)) for e in _chain(error))


def failure_of(error: BaseException, graded: GradedDay, tb: TracebackType | None = None) -> Failure:
    """The failure that ``error``, raised in a test of ``graded`` or at its import, amounts to."""
    error = innermost(error)
    reason, message = _words(error, graded, tb or error.__traceback__)
    unwritten = getattr(error, "unwritten", "")
    message = "\n".join(filter(None, [unwritten, message]))
    file, line = _place(error, graded, tb)
    detail = _detail(error, graded, tb or error.__traceback__)
    failure = Failure(reason, message, file, line, detail=detail[-6000:])
    if not hasattr(error, "plain"):  # harness.testing.Mismatch
        return failure
    return replace(
        failure,
        plain="\n".join(filter(None, [unwritten, error.plain])),
        pattern=error.data.get("pattern") or "",  # type: ignore[attr-defined]
        holds=error.data.get("holds"),  # type: ignore[attr-defined]
    )


def _detail(error: BaseException, graded: GradedDay, tb: TracebackType | None) -> str:
    """The traceback through the day's own files: pytest's and the harness's frames say nothing."""
    frames = traceback.extract_tb(tb)
    places = (str(graded.day.folder), str(graded.file))
    own = [f for f in frames if f.filename.startswith(places)] or list(frames)
    lines = traceback.format_list(own) + traceback.format_exception_only(type(error), error)
    return "".join(lines)


def innermost(error: BaseException) -> BaseException:
    """Triton's interpreter wraps what a kernel raises; the cause is what the learner did."""
    while type(error).__name__ in ("InterpreterError", "ConftestImportFailure") or (
        isinstance(error, pytest.Collector.CollectError) and error.__cause__ is not None
    ):
        inner = error.__cause__ or error.__context__
        if inner is None:
            break
        error = inner
    return error


def _chain(error: BaseException | None) -> list[BaseException]:
    chain: list[BaseException] = []
    while error is not None and error not in chain:
        chain.append(error)
        error = error.__cause__ or error.__context__
    return chain


def _words(error: BaseException, graded: GradedDay, tb: TracebackType | None) -> tuple[Reason, str]:
    text = str(error).strip()
    if isinstance(error, NotImplementedError) and re.fullmatch(r"\w+(\.\w+)*", text):
        return "not started", f"`{text}` is not written yet."
    if isinstance(error, Refused):
        return "refused", text
    if isinstance(error, OutOfTime):
        return "timeout", text
    if not isinstance(error, NotImplementedError):
        wanted = raised.in_words(error, tb, graded.day.tests)
        if wanted is not None:
            return "wrong", wanted
    if isinstance(error, AssertionError):
        return "wrong", assertion_text(error)
    if isinstance(error, SyntaxError):
        source = (error.text or "").strip()
        if source.startswith(("<<<<<<<", "=======", ">>>>>>>")):
            return "broken file", (
                f"`{source}` marks a conflict between your answer and a new stub: keep what is "
                "right of the two, and delete the three lines with marks."
            )
        return "broken file", f"{error.msg}" + (f": `{source}`" if source else "")
    if isinstance(error, MissingDay):
        return "broken file", text
    if isinstance(error, ImportError):
        elsewhere = raised.in_another_day(error, graded.file, graded.day.root)
        return "broken file", "\n".join(filter(None, [f"cannot be imported: {text}", elsewhere]))
    if isinstance(error, pytest.fail.Exception):
        if text.startswith("Timeout"):
            seconds = re.search(r"[\d.]+", text)
            limit = f"{float(seconds[0]):g} s" if seconds else "its time limit"
            return "timeout", (
                f"was stopped after {limit}: is there a loop that does not end, or work that grows "
                "much faster than the input?"
            )
        return "wrong", text
    if isinstance(error, OSError) and text.startswith("pytest: reading from stdin"):
        return (
            "error",
            "nobody answers `input()` here: a function takes what it needs as arguments.",
        )
    if isinstance(error, SystemExit):
        return "error", "called sys.exit(): a function returns or raises instead."
    if type(error).__name__ == "KernelError":
        return "wrong", text
    if context_is_dead(error):
        return "died", (
            f"the kernel crashed the GPU ({text.splitlines()[0]}): an access out of bounds? "
            "SANITIZE=1 runs it on the checked interpreter, which names it."
        )
    if isinstance(error, RecursionError):
        names, _ = raised.circle(error.__traceback__, str(graded.file))
        steps = [f"`{name}`" for name in names]
        # a recursion that would end looks the same: Python stops both at the same depth
        deep = "without end, or more deeply than Python allows."
        if len(steps) == 1:
            return "error", f"RecursionError: {steps[0]} calls itself {deep}"
        if len(steps) > 1:
            return "error", f"RecursionError: {' and '.join(steps)} call each other {deep}"
        return "error", "RecursionError: the calls are nested too deeply, or without end."
    if isinstance(error, FloatingPointError) and (met := raised.what_numpy_met(text)):
        return "error", met
    if isinstance(error, ValueError) and (refusal := raised.what_may_not_be_written(text)):
        return "error", refusal
    first = text.split("\n\n")[0]
    what = f"{type(error).__name__}: {first}" if first else type(error).__name__
    if name := raised.meant(error, str(graded.file)):
        what += f": is `{name}` meant?"
    more = raised.stand_ins(first, tb, graded.day.tests)
    stops = raised.where_a_test_stops(error.__traceback__ or tb, graded.day.tests)
    many = raised.many_answers(error, str(graded.file))
    elsewhere = raised.in_another_day(error, graded.file, graded.day.root)
    return "error", "\n".join(filter(None, [what, elsewhere, many, stops, more]))


def assertion_text(error: AssertionError) -> str:
    """The test's sentence, without what pytest's rewriting appends to it."""
    text = str(error).strip()
    sentence = re.split(r"\n ?assert ", "\n" + text, maxsplit=1)[0].strip()
    return sentence or _without_addresses(text) or "a check failed"


def _without_addresses(text: str) -> str:
    """Functions and classes by their names, as pytest's rewriting does not show them."""
    text = re.sub(
        r"<(?:function|built-in function|class) '?([\w.]+)'?(?: at 0x[0-9a-f]+)?>", r"\1", text
    )
    return re.sub(r"<bound method ([\w.]+) of [^<>]*(?:<[^<>]*>[^<>]*)*>", r"\1", text)


def _place(error: BaseException, graded: GradedDay, tb: TracebackType | None) -> tuple[str, int]:
    """The innermost line of the answer on the way to the error, else of the graded file: what is
    given there is not at fault."""
    own = str(graded.file)
    if isinstance(error, SyntaxError) and error.filename:
        return str(error.filename), error.lineno or 0
    if getattr(error, "file", "") == own and getattr(error, "line", 0):
        return own, int(error.line)  # type: ignore[attr-defined]
    lines: list[int] = []
    for trace in (error.__traceback__, tb):
        if isinstance(error, RecursionError):
            lines = [line for line, _ in raised.circle(trace, own)[1]]
        lines = lines or [n for f, n in traceback.walk_tb(trace) if f.f_code.co_filename == own]
        if lines:
            answered = [n for n in lines if n not in graded.given_lines]
            return own, (answered or lines)[-1]
    return "", 0
