"""The rules by which an explanation is told or kept back, one by one."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.grading.evidence import Outcome, alike, outcome_of
from harness.grading.known_bugs import _at_most, _parts
from harness.grading.limits import OutOfTime
from harness.grading.names import pytest_make_parametrize_id
from harness.grading.raised import (
    circle,
    in_words,
    stand_ins,
    what_may_not_be_written,
    what_numpy_met,
)
from harness.protocol import Event, Failure, Request, fold
from harness.testing import Mismatch, close
from harness.verify.says import Said, false_sentences
from tests.support.toy import Toy

TESTS = """
import pytest

from harness.testing import close, exercise
from tracks.autodiff import day{number:02d}
from tracks.autodiff.day{number:02d} import double


@exercise("double")
def test_values(rng):
    x = rng.normal(5)
    close(day{number:02d}.double(x), x + x)


@exercise("double")
def test_matrix(rng):
    x = rng.normal(2, 3)
    close(double(x), x + x)
"""

TWO_ALIKE = """
[[bug]]
exercise = "double"
find = "2.0 * x"
replace = "3.0 * x"
says = "Compare your result with x + x: one of you adds more often."

[[bug]]
exercise = "double"
find = "2.0 * x"
replace = "2.0 * x + x"
says = "The input was added once more, after it had been doubled."
"""


HELD = """
from harness.testing import close, exercise
from tracks.autodiff import day{number:02d}


@exercise("double")
def test_values(rng, f=day{number:02d}.double):
    x = rng.normal(5)
    close(f(x), x + x)
"""

ONE = """
[[bug]]
exercise = "double"
find = "2.0 * x"
replace = "3.0 * x"
says = "Compare your result with x + x: one of you adds more often."
"""


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Toy:
    toy = Toy(tmp_path_factory.mktemp("explained") / "project")
    toy.add_day(1, tests=TESTS)
    toy.add_day(2, tests=TESTS, bugs=TWO_ALIKE)
    toy.add_day(3, tests=HELD, bugs=ONE)
    return toy


@pytest.mark.parametrize(
    "day, answer, says",
    [
        (1, "3.0 * x", "one of you adds more often"),
        (1, "x", "nothing was doubled"),
        (1, "x + x + x", "one of you adds more often"),
        (1, "3.0 * x if x.ndim == 1 else 4.0 * x", ""),  # the other test fails in another way
        (1, "3.0 * x if x.ndim == 1 else 2.0 * x", ""),  # the bug fails where this passes
        (1, "3.5 * x", ""),
        (1, "x * np.nan", ""),
        (2, "3.0 * x", ""),  # two known bugs do this: which it is is not known
        (3, "5.0 * x", ""),  # the test holds on to this answer: no other one can be tried with it
    ],
)
def test_a_known_bug_speaks_if_it_alone_explains_every_failing_test(
    toy: Toy, day: int, answer: str, says: str
) -> None:
    reference = (toy.track / f"solutions/day{day:02d}.py").read_text(encoding="utf-8")
    folder = toy.folder / "answers"
    folder.mkdir(exist_ok=True)
    (folder / f"day{day:02d}.py").write_text(reference.replace("2.0 * x", answer))
    done = toy.run("-m", "harness", "autodiff", str(day), "--impl", str(folder), "--json")
    told = [
        test["failure"]["says"]
        for exercise in json.loads(done.stdout)["exercises"]
        for test in exercise["tests"]
        if test["failure"]
    ]
    assert told, done.stdout
    said = " ".join(filter(None, told))
    assert says in said if says else said == ""


def test_verify_looks_at_what_is_said_if_asked(toy: Toy) -> None:
    done = toy.run("-m", "harness", "verify", "autodiff", "1", "--json", SAYS="1")
    assert json.loads(done.stdout)["autodiff/01"]["says"] == [], done.stdout + done.stderr
    done = toy.run("-m", "harness", "verify", "autodiff", "1", "--json")
    assert "says" not in json.loads(done.stdout)["autodiff/01"]


@pytest.mark.parametrize("work", [lambda: sum(range(100_000)), lambda: time.sleep(0.1)])
def test_the_search_ends(work: Any) -> None:
    started = time.monotonic()
    with pytest.raises(OutOfTime), _at_most(0.6):
        while True:
            work()
    assert time.monotonic() - started < 30
    with pytest.raises(OutOfTime), _at_most(0.1):
        raise AssertionError("nothing begins for which there is no time")


NUMBERS = [{"n": n, "dtype": "float16"} for n in (1, 5, 1024)]


@pytest.mark.parametrize(
    "key, failed, passed, words",
    [
        (
            "n",
            [{"n": 1025}, {"n": 3000}],
            NUMBERS,
            "passes for n up to 1024 and fails from 1025 on",
        ),
        ("n", [{"n": 0}], NUMBERS, "fails for n up to 0 and passes from 1 on"),
        ("n", [{"n": 3}], NUMBERS, ""),
        ("n", [{"n": 1024}], NUMBERS, ""),
        ("n", [{"n": 9}], [{"n": 5}, {"n": 5}], ""),  # one value that passes is no rule
        ("dtype", [{"dtype": "bfloat16"}], NUMBERS, "fails only where dtype is bfloat16"),
        ("dtype", [{"dtype": "float16"}], NUMBERS, ""),
        ("dtype", [{"dtype": (1, 2)}], [{"dtype": (3, 4)}], ""),
    ],
)
def test_an_argument_that_parts_the_tests_is_named(
    key: str, failed: list[dict[str, Any]], passed: list[dict[str, Any]], words: str
) -> None:
    assert _parts(key, failed, passed) == words


def result(*events: Event) -> Any:
    names = [(e.test, e.exercise) for e in events if e.test]
    collected = Event("collected", data={"tests": names})
    return fold(Request("triton", 1), "", ["sum"], [collected, *events])


def failed(name: str, pattern: str = "", holds: list[str] | None = None) -> Event:
    failure = Failure(
        "wrong", f"{name} {pattern}", plain=f"{name} plain" if pattern else "", pattern=pattern,
        holds=holds,
    )  # fmt: skip
    return Event("failed", name, "sum", {"failure": asdict(failure)})


def test_a_pattern_stays_if_every_test_with_values_could_have_it() -> None:
    one = failed("a", "scaled", ["scaled"])
    for other, stays in (
        (failed("b", "scaled", ["scaled", "rows scaled"]), True),
        (failed("b", "", ["offset", "scaled"]), True),  # too few values to tell
        (failed("b"), True),  # no values to show
        (failed("b", "", []), False),
        (failed("b", "offset", ["offset"]), False),
    ):
        first, second = result(one, other).tests
        assert first.failure.message == ("a scaled" if stays else "a plain")
        if not stays:
            assert second.failure.pattern == ""


def test_an_explanation_stands_with_the_first_failing_test_if_it_is_of_all() -> None:
    explained = Event("explained", exercise="sum", data={"says": "S", "tests": ["b", "a"]})
    passed = Event("passed", "c", "sum", {"seconds": 0.0})
    tests = result(failed("a"), failed("b"), passed, explained).tests
    assert [t.failure.says if t.failure else None for t in tests] == ["S", "", None]
    died = Event("died", "d", "sum", {"failure": asdict(Failure("died", "gone"))})
    tests = result(failed("a"), failed("b"), explained, died).tests
    assert not any(t.failure.says for t in tests)


def outcome(actual: Any, expected: Any) -> Outcome:
    try:
        close(np.asarray(actual), np.asarray(expected))
    except Mismatch as error:
        return outcome_of(error)
    raise AssertionError("they are close")


def test_results_are_alike_that_differ_by_less_than_from_the_right_one() -> None:
    right = np.linspace(1, 2, 50)
    mine = outcome(right * 3, right)
    assert alike(outcome(right * 3.001, right), mine)
    assert not alike(outcome(right * 3.1, right), mine)
    # Both nearly right: a thousandth apart is then another mistake.
    assert not alike(outcome(right * 1.002, right), outcome(right * 1.001, right))
    one, other = right * 3, right * 3
    other[4] = np.nan
    assert not alike(outcome(one, right), outcome(other, right))
    assert alike(outcome(other, right), outcome(other, right))
    assert not alike(None, mine)
    assert not alike(outcome_of(ValueError("x")), mine)


def test_complaints_are_alike_whose_words_are_and_whose_numbers_nearly() -> None:
    def said(text: str) -> Outcome:
        return outcome_of(AssertionError(text))

    assert alike(said("loss 1.00001, 3 launches"), said("loss 1.00002, 3 launches"))
    assert not alike(said("loss 1.00001, 3 launches"), said("loss 1.00001, 4 launches"))
    assert not alike(said("loss 1.0"), said("loss 1.1"))
    assert alike(said("line 12: no"), said("line 14: no"))
    assert not alike(said("a"), said("b"))
    assert not alike(said("a"), outcome_of(TypeError("a")))


@pytest.mark.parametrize(
    "actual, expected, telling",
    [
        ([np.nan] * 9, np.arange(9.0), False),
        ([0.0] * 9, np.arange(1.0, 10), False),
        ([1.0] * 9, np.arange(2.0, 11), False),
        (np.arange(1.0, 10) * 1.5, np.arange(1.0, 10), True),
        ([0.37], [0.5], True),
        ([2.0], [1.0], False),
        ([0.0] * 20 + [1.0] * 20, [1.0] * 40, True),  # half of it: where is a sign
    ],
)
def test_zeros_nan_and_constants_are_a_sign_of_nothing(
    actual: Any, expected: Any, telling: bool
) -> None:
    assert outcome(actual, expected).telling is telling


RAISING = r'''
import pytest

class Counted:
    """Counts calls."""

def root(x):
    if x == 1: raise TypeError("not this one")
    if x == 2: raise ValueError("no")
    return x

def test_nothing():
    for bad in (-1.5, 0.0):
        with pytest.raises(ValueError):
            root(bad)

def test_another():
    with pytest.raises((ValueError, IndexError)):
        root(1)

def test_words():
    with pytest.raises(ValueError, match=r"\bx\b"):
        root(2)

def test_pattern():
    with pytest.raises(ValueError, match="a.*b"):
        root(2)

def test_the_line():
    with pytest.raises(ValueError):
        made = root(1)
        pytest.fail(f"gave {made}")

def test_own_words():
    with pytest.raises(ValueError):
        made = root(3)
        pytest.fail(f"gave {made}")

def test_too_deep():
    with pytest.raises(ValueError):
        endless(1)

def test_counted():
    Counted() + 1

def endless(x):
    return helper(x)

def helper(x):
    return endless(x)
'''


@pytest.mark.parametrize(
    "name, words",
    [
        ("test_nothing", "`root(bad)` with bad = -1.5 is to raise a ValueError: nothing was"),
        ("test_another", "is to raise a ValueError or an IndexError. It raises TypeError: not"),
        ("test_words", "is to raise a ValueError. It does, but the message does not name `x`:"),
        ("test_pattern", 'but the message does not name what it is to name: it says "no".'),
        ("test_the_line", "`made = root(1)` is to raise a ValueError. It raises TypeError: not"),
        ("test_own_words", None),
        ("test_too_deep", None),
        ("test_counted", None),
    ],
)
def test_what_pytest_raises_is_told_in_words(tmp_path: Path, name: str, words: str | None) -> None:
    error, tests = raised_by(tmp_path, name)
    said = in_words(error, error.__traceback__, tests)
    assert said is None if words is None else words in (said or ""), said


def raised_by(folder: Path, name: str) -> tuple[BaseException, Path]:
    tests = folder / "test_toy.py"
    tests.write_text(RAISING)
    module: dict[str, Any] = {"__name__": "test_toy"}
    exec(compile(RAISING, str(tests), "exec"), module)
    try:
        module[name](*([1] if name == "endless" else []))
    except (Exception, pytest.fail.Exception) as error:
        return error, tests
    raise AssertionError(f"{name} raises nothing")


def test_the_tests_own_classes_are_introduced(tmp_path: Path) -> None:
    error, tests = raised_by(tmp_path, "test_counted")
    assert stand_ins(str(error), error.__traceback__, tests).startswith("`Counted` is a class of")
    assert stand_ins("nothing of the kind", error.__traceback__, tests) == ""


def test_what_numpy_met_is_told_in_words() -> None:
    for values, words in (
        (np.array([1e3]), "an overflow in `exp`"),
        (np.array([-1e5]), "an underflow in `exp`"),
    ):
        with np.errstate(all="raise"), pytest.raises(FloatingPointError) as caught:
            np.exp(values)
        assert f"numpy met {words}" in what_numpy_met(str(caught.value))
    with np.errstate(all="raise"), pytest.raises(FloatingPointError) as caught:
        np.ones(1) / np.zeros(1)
    assert "numpy met a division by zero in `divide`" in what_numpy_met(str(caught.value))
    assert what_numpy_met("loss nan: no step taken") == ""


@pytest.mark.parametrize(
    "write",
    [
        lambda x: x.__iadd__(1),
        lambda x: x.__setitem__(0, 1),
        lambda x: x.sort(),
        lambda x: x.partition(2),
        lambda x: np.put(x, [0], 1),
        lambda x: np.random.default_rng(0).shuffle(x),
        lambda x: np.place(x, x > 1, 0),
        lambda x: np.cumsum(x, out=x),
        lambda x: np.broadcast_to(x, (2, 4)).fill(1),
    ],
)
def test_a_write_into_an_input_is_told_in_words(write: Callable[[Any], None]) -> None:
    x = np.arange(4.0)
    x.flags.writeable = False
    with pytest.raises(ValueError) as caught:
        write(x)
    assert "Work on a copy" in what_may_not_be_written(str(caught.value))
    assert what_may_not_be_written("cannot resize an array that is referenced") == ""


def test_a_circle_of_calls_is_named(tmp_path: Path) -> None:
    error, tests = raised_by(tmp_path, "endless")
    names, places = circle(error.__traceback__, str(tests))
    assert names == ["endless", "helper"] and {name for _, name in places} == set(names)


@pytest.mark.parametrize(
    "value, name",
    [
        ((3, 5), "(3, 5)"),
        ([1e-3, None], "[0.001, None]"),
        (np.dtype("float32"), "float32"),
        ((slice(None), ...), "(slice(None, None, None), Ellipsis)"),
        (3, None),
        ("text", None),
        (tuple(range(50)), None),
        ((object(),), None),
    ],
)
def test_parameters_have_names_that_say_what_they_are(value: Any, name: str | None) -> None:
    assert pytest_make_parametrize_id(None, value, "x") == name


def test_another_bugs_sentence_is_a_finding() -> None:
    from harness.curriculum import Day, load_bugs, read_source

    day = Day("triton", 1)
    first, second = load_bugs(day.bugs, read_source(day.solution)).bugs[:2]
    fine = [
        Said(first, first.says, (), 0.1),
        Said(second, "test_x passes for n up to 3 and fails from 4 on.", (), 0.1),
    ]
    assert false_sentences(day, fine) == []
    (found,) = false_sentences(day, [fine[0], Said(second, first.says, (), 0.1)])
    assert found.startswith("bug 2") and "what bug 1 says" in found
