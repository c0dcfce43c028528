"""An exception of a test in words, rule by rule: what was wanted, of which call."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.grading import raised

SOURCE = """
import pytest


def root(x):
    if x == 0:
        raise ValueError("")
    if x == 1:
        raise TypeError("first line\\nsecond line")
    if x == 2:
        assert x == 3, "own words"
    if x == 4:
        raise ValueError("names (n) and m")
    return x


class Broken:
    def __repr__(self):
        raise RuntimeError


class Grid:
    def __repr__(self):
        return "[[1]\\n [2]]"


def inner(x):
    with pytest.raises(KeyError):
        root(x)


def deep():
    raise RecursionError("deep")


def says(text):
    raise AssertionError(text)


def case(name):
    short, long, lines, broken = 3, "x" * 59, "a\\nb", Broken()
    grid, plain, function, context = Grid(), object(), len, open(__file__)
    edge = "y" * 58
    if name == "several statements":
        with pytest.raises(ValueError):
            made = short
            root(made)
    if name == "values":
        with pytest.raises(LookupError):
            root(short), long, edge, lines, broken, grid, plain, function, len, missing
    if name == "nested":
        with open(__file__), pytest.raises(ValueError):
            with pytest.raises(builtins.IndexError):
                root(short)
    if name == "another kind":
        with pytest.raises((ValueError, IndexError, OSError)):
            root(1)
    if name == "no words":
        with pytest.raises(KeyError):
            root(0)
    if name == "own assertion":
        with pytest.raises(ValueError):
            root(2)
    if name == "pattern":
        with pytest.raises(ValueError, match=short_pattern):
            root(4)
    if name == "empty message":
        with pytest.raises(ValueError, match="some"):
            root(0)
    if name == "no kind":
        with pytest.raises(expected_exception=ValueError):
            root(short)
    if name == "outside":
        with pytest.raises(TypeError):
            root(1)
        root(1)
    if name == "elsewhere":
        with context, open(__file__):
            root(1)
    if name == "second statement":
        with pytest.raises(ValueError):
            made = short
            root(
                1
            )
            made = 4
    if name == "helper":
        with pytest.raises(ValueError):
            inner(1)
    if name == "deep":
        with pytest.raises(ValueError):
            deep()
    if name == "own failure":
        with pytest.raises(ValueError):
            pytest.fail("gave 3")
    if name == "pytest's words":
        with pytest.raises(ValueError):
            says("DID NOT RAISE it")
"""


@pytest.fixture
def said(tmp_path: Path) -> Callable[..., str | None]:
    def said(name: str, pattern: str = "") -> str | None:
        import builtins

        tests = tmp_path / "test_toy.py"
        tests.write_text(SOURCE)
        raised._blocks.cache_clear()
        module: dict[str, Any] = {
            "__file__": str(tests), "builtins": builtins, "missing": len, "short_pattern": pattern,
        }  # fmt: skip
        exec(compile(SOURCE, str(tests), "exec"), module)
        with pytest.raises((Exception, pytest.fail.Exception)) as caught:
            module["case"](name)
        return raised.in_words(caught.value, caught.value.__traceback__, tests)

    return said


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (
            "several statements",
            "`made = short` with made = 3, short = 3 is to raise a ValueError: nothing was raised.",
        ),
        ("nested", "`root(short)` with short = 3 is to raise an IndexError: nothing was raised."),
        (
            "another kind",
            "`root(1)` is to raise a ValueError or an IndexError or an OSError. "
            "It raises TypeError: first line",
        ),
        ("no words", "`root(0)` is to raise a KeyError. It raises ValueError: "),
        ("own assertion", None),
        (
            "empty message",
            "`root(0)` is to raise a ValueError. It does, but the message does not name `some`: "
            "it says nothing.",
        ),
        (
            "no kind",
            "`root(short)` with short = 3 is to raise an Exception: nothing was raised.",
        ),
        (
            "second statement",
            "`root(1)` is to raise a ValueError. It raises TypeError: first line",
        ),
        ("helper", "`root(x)` with x = 1 is to raise a KeyError. It raises TypeError: first line"),
        ("deep", None),
        ("own failure", None),
        ("pytest's words", None),
        ("outside", None),
        ("elsewhere", None),
    ],
)
def test_words(said: Any, name: str, words: str | None) -> None:
    assert said(name) == words


def test_which_values_are_shown(said: Any) -> None:
    words = said("values")
    assert words.startswith(
        "`(root(short), long, edge, lines, broken, grid, plain, function, len, missing)` with "
    )
    shown = words.split(" with ")[1].split(" is to raise")[0]
    # No repr of 61 characters, of several lines, with an address, or that raises; no function.
    assert shown == f"edge = {'y' * 58!r}, lines = 'a\\nb', short = 3"


@pytest.mark.parametrize(
    ("pattern", "named"),
    [
        ("some", "some"),
        (r"(?i)some", "some"),
        (r"\bsome\b", "some"),
        (r"^some$", "some"),
        (r"some \(text\)", "some (text)"),
        (r"some\.py", "some.py"),
        ("a.b", "a.b"),
        ("a.*b", ""),
        ("a.+b", ""),
        ("a|b", ""),
        ("[ab]", ""),
        (r"\d", ""),
        ("x{3}", ""),
        ("a?", ""),
        ("", ""),
    ],
)
def test_the_text_that_a_pattern_looks_for(pattern: str, named: str) -> None:
    assert raised._literally(pattern) == named


def test_a_pattern_is_told_with_what_was_said(said: Any) -> None:
    assert said("pattern", "row|column") == (
        "`root(4)` is to raise a ValueError. It does, but the message does not name what it is to "
        'name: it says "names (n) and m".'
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("overflow encountered in exp", "numpy met an overflow in `exp` on the way"),
        ("invalid value encountered in log", "numpy met an invalid value in `log` on the way"),
        ("divide by zero encountered in divide", "numpy met a division by zero in `divide` on"),
        ("underflow encountered in multiply", "numpy met an underflow in `multiply` on the way"),
    ],
)
def test_what_numpy_met(text: str, words: str) -> None:
    assert raised.what_numpy_met(text).startswith(words)
    assert raised.what_numpy_met(text + " and more") == ""
    assert raised.what_numpy_met("so " + text) == ""


MISSPELT = """
import math
from math import sqrt
def test_slope(): pass
def slope(ahead, h):
    if h == 0:
        return ahed - h
    if h == 1:
        return sqrd(ahead)
    if h == 2:
        return math.sqroot(ahead)
    if h == 3:
        return test_slop()
    if h == 4:
        ahead = later
        later = 1
    if h == 5:
        return lenn(ahead)
    return x
"""


@pytest.mark.parametrize(
    ("case", "name"),
    [(0, "ahead"), (1, "sqrt"), (2, ""), (3, ""), (4, ""), (5, "len"), (6, "")],
)
def test_a_misspelt_name(tmp_path: Path, case: int, name: str) -> None:
    file = str(tmp_path / "day01.py")
    module: dict[str, Any] = {"__name__": "day01"}
    exec(compile(MISSPELT, file, "exec"), module)
    with pytest.raises((NameError, AttributeError)) as caught:
        module["slope"](1.0, case)
    assert raised.meant(caught.value, file) == name
    assert raised.meant(caught.value, file + "x") == "", "names of the tests are none of the answer"
    assert raised.meant(NameError("no name"), file) == ""


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("return 2 * max(abs(x), 1)", "numpy.maximum goes element by element"),
        ("return [min(x, y)\n        for y in x]", "numpy.minimum goes"),
        ("if x > 0:\n        return x.max()", "`if` wants one answer"),
        ("while x > 0:\n        x = x - 1", "`while` wants one answer"),
        ("y = 0 < x and x < 1", "`and` wants one answer"),
        ("return bool(x)", ""),
        ("if x > max(x):\n        return 0.0", ""),  # of the two it is not max
        ("return np.linspace(x, 1, x)", ""),
        ("raise ValueError('max(x)')", ""),
    ],
)
def test_an_array_where_one_answer_is_wanted(tmp_path: Path, line: str, said: str) -> None:
    file = tmp_path / "day01.py"
    file.write_text(f"import numpy as np\ndef f(x):\n    {line}\n")
    module: dict[str, Any] = {}
    exec(compile(file.read_text(), str(file), "exec"), module)
    with pytest.raises((ValueError, TypeError)) as caught:
        module["f"](np.array([1.0, 2.0]))
    told = raised.many_answers(caught.value, str(file))
    assert said in told and bool(told) == bool(said)
    assert raised.many_answers(caught.value, str(tmp_path / "day02.py")) == ""


@pytest.mark.parametrize(
    ("place", "line", "said"),
    [
        (
            "day01.py",
            "raise ValueError('no')",
            "It was raised at tracks/autodiff/day01.py:2, which",
        ),
        ("day01.py", "int('x')", "It was raised at tracks/autodiff/day01.py:2, which"),
        ("day01.py", "import no_such_module", "It was raised at tracks/autodiff/day01.py:2, which"),
        ("solutions/day01.py", "int('x')", "tracks/autodiff/solutions/day01.py:2, which"),
        ("day02.py", "int('x')", ""),  # the graded file itself
        ("operations.py", "int('x')", ""),  # given: nobody's answer
    ],
)
def test_an_error_of_another_day_is_placed_there(
    tmp_path: Path, place: str, line: str, said: str
) -> None:
    folder = tmp_path / "tracks" / "autodiff"
    earlier, graded = folder / place, folder / "day02.py"
    module: dict[str, Any] = {}
    exec(compile(f"def f():\n    {line}\n", str(earlier), "exec"), module)
    exec(compile("def g(f):\n    f()\n", str(graded), "exec"), module)
    with pytest.raises((ValueError, ImportError)) as caught:
        module["g"](module["f"])
    told = raised.in_another_day(caught.value, graded, tmp_path)
    assert said in told and bool(told) == bool(said)
    assert raised.in_another_day(caught.value, graded, tmp_path / "elsewhere") == ""


STAND_INS = """
from collections import Counter
class Stand: pass
class Other: pass
value = Stand()
def test(): raise TypeError("x")
"""


def test_stand_ins_are_classes_of_the_test(tmp_path: Path) -> None:
    tests = tmp_path / "test_toy.py"
    module: dict[str, Any] = {"__name__": "test_toy"}
    exec(compile(STAND_INS, str(tests), "exec"), module)
    with pytest.raises(TypeError) as caught:
        module["test"]()
    tb = caught.value.__traceback__
    one = "`Stand` is a class of the test, which stands for what is passed in there."
    assert raised.stand_ins("'Stand' has no Counter, Stand", tb, tests) == one
    assert (
        raised.stand_ins("Other and Stand", tb, tests) == f"{one.replace('Stand', 'Other')} {one}"
    )
    assert raised.stand_ins("Standing value", tb, tests) == ""
    assert raised.stand_ins("Stand", tb, tmp_path / "other.py") == ""


CIRCLE = """
def down(n):
    return down(n - 1) if n else stop()

def stop():
    raise RecursionError

def outer(n):
    return down(n)

def one(n):
    return two(n)

def two(n):
    return one(n - 1) if n else stop()
"""


@pytest.mark.parametrize(
    ("name", "depth", "names", "lines"),
    [
        ("outer", 19, ["down"], [3]),  # twenty calls of it
        ("outer", 18, [], []),
        ("one", 30, ["one", "two"], [12, 15]),
        ("stop", 0, [], []),
    ],
)
def test_a_circle(
    tmp_path: Path, name: str, depth: int, names: list[str], lines: list[int]
) -> None:
    file = tmp_path / "day.py"
    module: dict[str, Any] = {}
    exec(compile(CIRCLE, str(file), "exec"), module)
    with pytest.raises(RecursionError) as caught:
        module[name](*([depth] if name != "stop" else []))
    tb = caught.value.__traceback__
    if name == "outer":  # the last call of `down` stands on the line of the others
        assert depth + 1 == sum(f[0] == "down" for f in frames(tb))
    found, places = raised.circle(tb, str(file))
    assert (found, [line for line, _ in places]) == (names, lines)
    assert raised.circle(tb, "elsewhere.py") == ([], [])
    assert raised.circle(None, str(file)) == ([], [])


def frames(tb: Any) -> list[tuple[str, int]]:
    found = []
    while tb is not None:
        found.append((tb.tb_frame.f_code.co_name, tb.tb_lineno))
        tb = tb.tb_next
    return found


def test_articles() -> None:
    assert raised._with_article(["ValueError"]) == "a ValueError"
    assert raised._with_article(["IndexError", "KeyError"]) == "an IndexError or a KeyError"
