"""Which failure an exception amounts to: its reason, its words and its place."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.grading.explain import (
    assertion_text,
    context_is_dead,
    failure_of,
    innermost,
)
from harness.grading.finder import MissingDay
from harness.grading.guard import Refused
from harness.grading.limits import OutOfTime

ANSWER = """
def fails(error):
    given(error)

def given(error):
    raise error

def endless(x):
    return other(x)

def other(x):
    return endless(x)

def alone(x):
    return alone(x)

def deep(x):
    raise RecursionError

def noisy(x):
    return noisy(stop(x) + 1)

def stop(x):
    if x > 100:
        raise RecursionError
    return x
"""


@pytest.fixture
def graded(tmp_path: Path) -> Any:
    """A day whose answer stands in a file; line 6 is given."""
    file = tmp_path / "day01.py"
    file.write_text(ANSWER)
    module: dict[str, Any] = {}
    exec(compile(ANSWER, str(file), "exec"), module)
    folder = tmp_path / "tracks"
    tests = folder / "tests" / "test_day01.py"
    day = SimpleNamespace(folder=folder, root=tmp_path, tests=tests)
    given = frozenset({6})
    return SimpleNamespace(day=day, file=file, given_lines=given, answer=module)


def caught(function: Any, *arguments: Any) -> BaseException:
    try:
        function(*arguments)
    except BaseException as error:
        return error
    raise AssertionError("nothing was raised")


def failure(graded: Any, error: BaseException) -> Any:
    return failure_of(caught(graded.answer["fails"], error), graded)


class KernelError(Exception):
    pass


LOOP = "a loop that does not end"


@pytest.mark.parametrize(
    ("error", "reason", "message"),
    [
        (NotImplementedError("double"), "not started", "`double` is not written yet."),
        (NotImplementedError("A.b"), "not started", "`A.b` is not written yet."),
        (NotImplementedError("no such case"), "error", "NotImplementedError: no such case"),
        (NotImplementedError(), "error", "NotImplementedError"),
        (Refused("no"), "refused", "no"),
        (OutOfTime("stopped"), "timeout", "stopped"),
        (AssertionError("own words\nassert 3 == 4"), "wrong", "own words"),
        (MissingDay("no day"), "broken file", "no day"),
        (ImportError("x"), "broken file", "cannot be imported: x"),
        (pytest.fail.Exception("because"), "wrong", "because"),
        (pytest.fail.Exception("Timeout (>20.0s) from"), "timeout", "was stopped after 20 s: is"),
        (pytest.fail.Exception("Timeout"), "timeout", "was stopped after its time limit: is there"),
        (
            OSError("pytest: reading from stdin while output is captured!  Consider using `-s`."),
            "error",
            "nobody answers `input()` here",
        ),
        (OSError("no such file"), "error", "OSError: no such file"),
        (SystemExit(3), "error", "called sys.exit(): a function returns or raises instead."),
        (KernelError("out of bounds"), "wrong", "out of bounds"),
        (
            RuntimeError("CUDA error: an illegal memory access was met\nmore"),
            "died",
            "the kernel crashed the GPU (CUDA error: an illegal memory access was met): an access",
        ),
        (RuntimeError("CUDA error: out of memory"), "error", "RuntimeError: CUDA error: out of"),
        (ValueError("a\n\nb"), "error", "ValueError: a"),
        (ValueError(" "), "error", "ValueError"),
        (ValueError("the buffer is read-only."), "error", "ValueError: the buffer is read-only."),
        (KeyError("x"), "error", "KeyError: 'x'"),
        (KeyError("overflow encountered in exp"), "error", "KeyError: 'overflow encountered in"),
        (FloatingPointError("loss nan"), "error", "FloatingPointError: loss nan"),
        (
            FloatingPointError("overflow encountered in exp"),
            "error",
            "numpy met an overflow in `exp`",
        ),
    ],
)
def test_reason_and_words(graded: Any, error: BaseException, reason: str, message: str) -> None:
    found = failure(graded, error)
    assert found.reason == reason
    assert found.message.startswith(message)
    if reason != "timeout":
        assert LOOP not in found.message
    if type(error) in (ValueError, SystemExit):
        assert found.message == message


def test_a_write_into_an_input_says_what_it_is(graded: Any) -> None:
    found = failure(graded, ValueError("assignment destination is read-only"))
    assert found.reason == "error"
    assert found.message.startswith("This writes into an array that is not to be changed (numpy: ")
    assert failure(graded, TypeError("the array is read-only")).message.startswith("TypeError: ")


def broken(text: str | None, file: str = "day01.py", line: int | None = 7) -> SyntaxError:
    error = SyntaxError("invalid syntax")
    error.text, error.filename, error.lineno = text, file, line
    return error


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("  x = = 3\n", "invalid syntax: `x = = 3`"),
        (None, "invalid syntax"),
        ("<<<<<<< yours", "`<<<<<<< yours` marks a conflict between"),
        ("=======", "`=======` marks a conflict"),
        (">>>>>>> new", "`>>>>>>> new` marks a conflict"),
    ],
)
def test_a_file_that_is_no_python(graded: Any, text: str | None, message: str) -> None:
    found = failure(graded, broken(text))
    assert found.reason == "broken file" and found.message.startswith(message)
    assert (found.file, found.line) == ("day01.py", 7)
    assert text is not None or found.message == message
    unknown = broken(text)
    unknown.filename = None
    assert failure(graded, unknown).file == str(graded.file)
    assert failure(graded, broken(text, line=None)).line == 0


def test_the_place_is_the_innermost_line_of_the_answer(graded: Any) -> None:
    found = failure(graded, ValueError("x"))
    assert (found.file, found.line) == (str(graded.file), 3)  # not 6, which is given
    graded.given_lines = frozenset({3, 6})
    assert failure(graded, ValueError("x")).line == 6
    graded.given_lines = frozenset()
    assert failure(graded, ValueError("x")).line == 6
    graded.file = graded.file.with_name("other.py")
    assert failure(graded, ValueError("x")).file == ""
    assert failure(graded, ValueError("x")).line == 0


def test_an_error_that_knows_its_place(graded: Any) -> None:
    error = KernelError("x")
    error.file, error.line = str(graded.file), 12  # type: ignore[attr-defined]
    assert failure(graded, error).line == 12
    error.line = 0  # type: ignore[attr-defined]
    assert failure(graded, error).line == 3
    del error.line  # type: ignore[attr-defined]
    assert failure(graded, error).line == 3
    error.file, error.line = "elsewhere", 12  # type: ignore[attr-defined]
    assert failure(graded, error).line == 3


def test_the_way_to_the_error_may_be_another_traceback(graded: Any) -> None:
    outer = caught(graded.answer["fails"], KeyError("outer"))
    found = failure_of(ValueError("x"), graded, outer.__traceback__)
    assert (found.file, found.line) == (str(graded.file), 3)
    own = caught(graded.answer["deep"], 1)
    assert failure_of(own, graded, outer.__traceback__).line == 18
    assert "in fails" in found.detail and found.detail.endswith("ValueError: x\n")


def test_calls_without_end(graded: Any) -> None:
    deep = "without end, or more deeply than Python allows."  # which of the two, nobody can tell
    for name, message, lines in (
        ("endless", f"RecursionError: `endless` and `other` call each other {deep}", (9, 12)),
        ("alone", f"RecursionError: `alone` calls itself {deep}", (15,)),
        ("noisy", f"RecursionError: `noisy` calls itself {deep}", (21,)),
        ("deep", "RecursionError: the calls are nested too deeply, or without end.", (18,)),
    ):
        found = failure_of(caught(graded.answer[name], 1), graded)
        assert (found.reason, found.line in lines) == ("error", True)
        assert found.message.startswith(message)


def test_the_detail_is_the_way_through_the_days_own_files(graded: Any) -> None:
    found = failure(graded, ValueError("x"))
    assert "day01.py" in found.detail and "in caught" not in found.detail
    assert found.detail.endswith("ValueError: x\n")
    graded.file = graded.file.with_name("other.py")
    assert "in caught" in failure(graded, ValueError("x")).detail
    assert len(failure(graded, ValueError("x" * 9000)).detail) == 6000


def test_what_a_mismatch_brings_with_it(graded: Any) -> None:
    error = AssertionError("y: every value is zero")
    error.plain, error.data = "y is wrong", {"pattern": "zero", "holds": ["zero"]}  # type: ignore[attr-defined]
    found = failure(graded, error)
    assert (found.message, found.plain) == ("y: every value is zero", "y is wrong")
    assert (found.pattern, found.holds) == ("zero", ["zero"])
    error.data = {"pattern": None}  # type: ignore[attr-defined]
    error.unwritten = "3 were never written"  # type: ignore[attr-defined]
    found = failure(graded, error)
    assert found.message == "3 were never written\ny: every value is zero"
    assert found.plain == "3 were never written\ny is wrong"
    assert (found.pattern, found.holds) == ("", None)


class InterpreterError(Exception):
    pass


def wrapped(cause: BaseException | None, context: BaseException | None = None) -> BaseException:
    error = InterpreterError("wrapped")
    error.__cause__, error.__context__ = cause, context
    return error


def test_the_innermost_error_counts() -> None:
    one, other = ValueError("one"), ValueError("other")
    assert innermost(one) is one
    assert innermost(wrapped(one, other)) is one
    assert innermost(wrapped(None, other)) is other
    assert innermost(wrapped(wrapped(one))) is one
    alone = wrapped(None)
    assert innermost(alone) is alone
    collect = pytest.Collector.CollectError("no")
    assert innermost(collect) is collect
    collect.__cause__ = one
    assert innermost(collect) is one
    collect.__cause__, collect.__context__ = None, one
    assert innermost(collect) is collect


def test_of_a_wrapped_error_the_inner_one_is_told(graded: Any) -> None:
    found = failure(graded, wrapped(ValueError("one")))
    assert found.message == "ValueError: one"
    assert found.detail.endswith("ValueError: one\n")
    conftest = type("ConftestImportFailure", (Exception,), {})("no")
    conftest.__cause__ = ValueError("one")
    assert innermost(conftest) is conftest.__cause__
    plain = ValueError("outer")
    plain.__cause__ = ValueError("one")
    assert innermost(plain) is plain


@pytest.mark.parametrize(
    ("line", "begins"),
    [("int('x')", "ValueError: "), ("import no_such_module", "cannot be imported: ")],
)
def test_an_error_of_an_earlier_day_names_its_line(graded: Any, line: str, begins: str) -> None:
    earlier = graded.day.folder / "autodiff" / "day02.py"
    module: dict[str, Any] = {}
    exec(compile(f"def f():\n    {line}\n", str(earlier), "exec"), module)
    try:
        module["f"]()
    except (ValueError, ImportError) as error:
        found = failure(graded, error)
    assert found.message.startswith(begins)
    assert "It was raised at tracks/autodiff/day02.py:2, which" in found.message


def test_a_dead_context_is_seen_through_the_chain() -> None:
    dead = RuntimeError("Triton Error [CUDA]: misaligned address")
    assert context_is_dead(dead)
    outer = ValueError("x")
    assert not context_is_dead(outer)
    outer.__context__ = dead
    assert context_is_dead(outer)
    outer.__context__, outer.__cause__ = None, dead
    assert context_is_dead(outer)
    dead.args = ("fine",)
    dead.__context__ = outer  # a circle
    assert not context_is_dead(outer)
    for what in ("device-side assert", "unspecified launch failure", "an illegal instruction"):
        assert context_is_dead(RuntimeError(f"CUDA error: {what}"))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("words\nassert 3 == 4", "words"),
        ("words\n assert 3 == 4", "words"),
        ("assert 3 == 4\n + where", "assert 3 == 4\n + where"),
        ("two\nlines", "two\nlines"),
        ("we assert it", "we assert it"),
        ("", "a check failed"),
        ("assert <function f at 0x7f> is <class 'int'>", "assert f is int"),
        ("assert <bound method A.f of <A object at 0x7f>>(3)", "assert A.f(3)"),
        ("assert <built-in function len>(x)", "assert len(x)"),
    ],
)
def test_the_sentence_of_an_assertion(text: str, sentence: str) -> None:
    assert assertion_text(AssertionError(text)) == sentence


def test_the_tests_stand_ins_are_introduced(graded: Any) -> None:
    source = "class Counted: pass\ndef test(): raise TypeError('no Counted')"
    module: dict[str, Any] = {"__name__": "test_day01"}
    graded.day.tests.parent.mkdir(parents=True)
    graded.day.tests.write_text(source)
    exec(compile(source, str(graded.day.tests), "exec"), module)
    found = failure_of(caught(module["test"]), graded)
    assert found.message.splitlines()[0] == "TypeError: no Counted"
    stops, stand_in = found.message.splitlines()[1:]
    assert stops.startswith("The test itself stops, at what your code gave it: `")
    assert stand_in.startswith("`Counted` is a class of the test")


def test_an_error_of_the_test_s_own_line_says_so(graded: Any) -> None:
    source = (
        "def kind(x):\n    return x.dtype\n\n"
        "def test(answer):\n    got = answer()\n"
        "    assert got.dtype == \\\n        float, 'no'\n\n"
        "def passed_in(answer):\n    answer(kind)\n"
    )
    module: dict[str, Any] = {"__name__": "test_day01"}
    graded.day.tests.parent.mkdir(parents=True)
    graded.day.tests.write_text(source)
    exec(compile(source, str(graded.day.tests), "exec"), module)
    message = failure_of(caught(module["test"], list), graded).message
    assert message.splitlines() == [
        "AttributeError: 'list' object has no attribute 'dtype'",
        "The test itself stops, at what your code gave it: `assert got.dtype == float`",
    ]
    answer = eval(compile("lambda f: f([])", str(graded.file), "eval"))
    message = failure_of(caught(module["passed_in"], answer), graded).message
    assert message.splitlines()[1] == (
        "It comes from a function of the test, which is called here: `return x.dtype`"
    )


RAISES = """
import pytest
def test(f):
    with pytest.raises(ValueError):
        f()
"""


@pytest.mark.parametrize(
    ("error", "reason", "message"),
    [
        (KeyError("x"), "wrong", "`f()` is to raise a ValueError. It raises KeyError: 'x'"),
        (NotImplementedError("no such"), "error", "NotImplementedError: no such"),
        (AssertionError("own"), "wrong", "own"),
    ],
)
def test_what_is_to_be_raised(graded: Any, error: Exception, reason: str, message: str) -> None:
    module: dict[str, Any] = {}
    graded.day.tests.parent.mkdir(parents=True)
    graded.day.tests.write_text(RAISES)
    exec(compile(RAISES, str(graded.day.tests), "exec"), module)

    def raises() -> None:
        raise error

    way = caught(module["test"], raises)
    found = failure_of(way, graded)
    assert (found.reason, found.message) == (reason, message)
    tb, way.__traceback__ = way.__traceback__, None
    found = failure_of(way, graded, tb)
    assert (found.reason, found.message) == (reason, message)
