"""What one test came to: what is kept of it, when two are alike, and running it again."""

from __future__ import annotations

import contextlib
import os
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from harness.grading.evidence import KEPT, Outcome, Test, _kept, alike, arguments_of, outcome_of
from harness.testing import Mismatch, close


def outcome(actual: Any, expected: Any, name: str = "result") -> Outcome:
    try:
        close(actual, expected, name=name)
    except Mismatch as error:
        return outcome_of(error)
    raise AssertionError("they are close")


def said(text: str, kind: type[Exception] = AssertionError) -> Outcome:
    return outcome_of(kind(text))


# What is kept -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("at 0x7f0a line 12 of day01.py", "at # # of #"),
        ("in /tmp/x/day01.py: no", "in #: no"),
        ("online 3, 0xzz", "online 3, 0xzz"),
    ],
)
def test_places_and_addresses_are_not_kept(text: str, words: str) -> None:
    assert said(text, ValueError) == Outcome("ValueError", words)


def test_an_assertion_is_kept_without_what_pytest_adds() -> None:
    assert said("three launches\nassert 3 == 1").words == "three launches"
    assert said("three\nassert 3 == 1", ValueError).words == "three\nassert 3 == 1"


def test_of_a_wrapped_error_the_inner_one_is_kept() -> None:
    wrapper = type("InterpreterError", (Exception,), {})("outer")
    wrapper.__cause__ = ValueError("inner")
    assert outcome_of(wrapper) == Outcome("ValueError", "inner")
    assert said("assert 3 == 4\n + where").words == "assert 3 == 4"


def test_of_a_mismatch_the_values_are_kept() -> None:
    found = outcome(torch.tensor([1.0, 5.0]), torch.tensor([1.0, 2.0]).double().float(), "y")
    assert (found.kind, found.words, found.name) == ("Mismatch", "", "y")
    assert found.values is not None and found.values.tolist() == [1.0, 5.0]
    assert found.expected is not None and found.expected.tolist() == [1.0, 2.0]
    assert found.tolerance is not None and found.tolerance.shape == (2,)
    assert found.wrong.tolist() == [False, True]


@pytest.mark.parametrize("make", [torch.tensor, np.asarray])
def test_values_are_kept_in_double_precision(make: Any) -> None:
    assert _kept(make([1.5, 2.5])).dtype == np.float64
    assert _kept(make([1, 2])).dtype == np.float64
    assert _kept(make([1j])).dtype == np.complex128
    assert _kept(make([[1.5], [2.5]])).tolist() == [[1.5], [2.5]]
    assert _kept(torch.tensor([1 + 2j]).conj()).tolist() == [1 - 2j]
    assert _kept(torch.tensor([1j]).conj().imag).tolist() == [-1.0]


def test_of_a_large_result_values_at_the_same_random_places_are_kept() -> None:
    whole = np.arange(KEPT + 1.0)
    some = _kept(whole)
    assert some.shape == (KEPT,) and len(np.unique(some)) > KEPT / 2
    assert (_kept(torch.from_numpy(whole)) == some).all()
    assert (_kept(torch.from_numpy(whole).requires_grad_()) == some).all()
    assert (_kept(np.arange(float(KEPT))) == np.arange(KEPT)).all()
    assert (_kept(np.broadcast_to(np.arange(7.0), (KEPT, 7))) == _kept(
        np.tile(np.arange(7.0), (KEPT, 1)))).all()  # fmt: skip


# Which values are wrong, and what they tell -----------------------------------------------------


def wrong(values: list[float], expected: list[float], tolerance: float = 0.5) -> list[bool]:
    arrays = [np.array(x) for x in (values, expected, [tolerance] * len(values))]
    return Outcome("Mismatch", "", "x", *arrays).wrong.tolist()  # type: ignore[no-any-return]


def test_which_values_are_wrong() -> None:
    nan, inf = np.nan, np.inf
    assert wrong([1.0, 1.5, 1.6, 0.5, 0.4], [1.0] * 5) == [False, False, True, False, True]
    assert wrong([nan, nan, 1.0], [nan, 1.0, nan]) == [False, True, True]
    assert wrong([inf, -inf, inf, 1.0], [inf, inf, 1.0, inf]) == [False, True, True, True]


def telling(values: Any, expected: Any) -> bool:
    one = np.asarray(values, float), np.asarray(expected, float)
    return Outcome("Mismatch", "", "x", *one, np.zeros(one[0].shape)).telling


def test_what_is_a_sign_of_one_mistake() -> None:
    assert said("words").telling
    assert telling([2.0, 3.0], [1.0, 1.0])  # two values
    assert not telling([2.0, 2.0], [1.0, 1.0])
    assert telling([2.5], [1.0])  # one, and no whole number
    assert not telling([0.0, 2.0, np.nan, np.inf], [1.0, 1.0, 1.0, 1.0])
    # One constant, at places that carry eight bits or fewer.
    assert telling([3.0] * 4 + [1.0] * 4, [1.0] * 8)
    assert not telling([3.0] * 3 + [1.0] * 4, [1.0] * 7)
    assert not telling([3.0] * 1 + [1.0] * 30, [1.0] * 31)
    assert telling([0.0] * 30 + [1.0] * 10, [1.0] * 40)
    with np.errstate(all="raise"):  # no logarithm of 0
        assert not telling([0.0] * 40, [1.0] * 40)
        assert not telling([1.0] * 40, [1.0] * 40)


# Which two are alike ----------------------------------------------------------------------------


def kept(values: list[float], expected: list[float], tolerance: float, name: str = "x") -> Outcome:
    arrays = [np.array(x) for x in (values, expected, [tolerance] * len(values))]
    return Outcome("Mismatch", "", name, *arrays)


def test_values_are_alike_within_a_hundredth_of_the_error_and_two_tolerances() -> None:
    mine = kept([11.0], [1.0], 0.5)
    for value, right in ((11.0, True), (12.09, True), (12.11, False), (9.91, True), (9.89, False)):
        assert alike(kept([value], [1.0], 0.5), mine) is right, value
    below = kept([-9.0], [1.0], 0.5)
    for value, right in ((-9.0, True), (-10.09, True), (-10.11, False), (-7.91, True)):
        assert alike(kept([value], [1.0], 0.5), below) is right, value


def test_what_is_not_finite_is_alike_only_if_equal() -> None:
    nan, inf = np.nan, np.inf
    for one, other, right in (
        (nan, nan, True), (nan, 1.0, False), (1.0, nan, False),
        (inf, inf, True), (inf, -inf, False), (inf, 1.0, False),
    ):  # fmt: skip
        assert (
            alike(kept([one, 5.0], [3.0, 3.0], 1.0), kept([other, 5.0], [3.0, 3.0], 1.0)) is right
        )
    with np.errstate(all="raise"):
        assert not alike(kept([np.inf], [np.inf], 1.0), kept([1.0], [np.inf], 1.0))
        assert wrong([np.inf], [np.inf]) == [False]
    # Where inf is right, only inf is.
    assert not alike(kept([4.0], [inf], 1.0), kept([5.0], [inf], 1.0))


def test_another_name_kind_or_shape_is_not_alike() -> None:
    mine = kept([2.0], [1.0], 0.1)
    assert alike(kept([2.0], [1.0], 0.1), mine)
    assert not alike(kept([2.0], [1.0], 0.1, "other"), mine)
    assert not alike(kept([2.0, 2.0], [1.0, 1.0], 0.1), mine)
    words = Outcome("Mismatch", "text", "x")
    assert not alike(words, mine) and not alike(mine, words)
    assert alike(words, words)
    assert not alike(Outcome("Mismatch", "other", "x"), words)
    assert not alike(None, words)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("loss 1.0", "loss 1.00009", True),
        ("loss 1.0", "loss 1.0002", False),
        ("loss -1.0", "loss 1.0", False),
        ("loss 1e-3", "loss 0.001", True),
        ("loss 1e+3", "loss 1000.05", True),
        ("3 of 5", "4 of 5", False),
        ("3 of 5", "3 of 5", True),
        ("-3", "-4", False),
        ("x3 a", "x4 a", False),  # part of a name
        ("v1.5", "v1.6", False),
        ("3 a", "3 b", False),
        ("0.0", "0.0", True),
        ("20000", "20001", False),
        ("20000", "20001.0", True),
        ("20000.0", "20001", True),
        ("-20000.0", "-20001.0", True),
        ("-20000.0", "-20003.0", False),
        ("9999.0", "9999.99995", True),
        ("9999.99995", "9999.0", True),
        ("1.0", "2.0", False),
    ],
)
def test_words_are_alike_up_to_rounded_numbers(one: str, other: str, same: bool) -> None:
    assert alike(said(one), said(other)) is same


# Again ------------------------------------------------------------------------------------------


class Rng:
    seed = 7

    def __init__(self) -> None:
        self.resets = 0
        self.found: list[str] = []

    def reset(self) -> None:
        self.resets += 1

    def changed(self) -> list[str]:
        return self.found


def test_of(function: Any, inplace: bool = False, **arguments: Any) -> Test:
    asked: list[frozenset[str]] = []

    def rules(files: frozenset[str]) -> Any:
        asked.append(files)
        return contextlib.nullcontext()

    item = SimpleNamespace(obj=function, asked=asked)
    return Test("t[1]", "t", 0.1, None, {"n": 1}, item, arguments, rules, inplace)


test_of.__test__ = False  # type: ignore[attr-defined]
FILES = frozenset({"day.py"})


def test_again_says_how_it_ends_now() -> None:
    def fails(rng: Any) -> None:
        assert rng is None, "no rng"

    def ends(n: Any) -> None:
        raise SystemExit(3)

    def skips() -> None:
        pytest.skip("not here")

    passing = test_of(lambda rng: None, rng=Rng())
    assert passing.again(FILES) is None
    assert passing.item.asked == [FILES]
    assert passing.arguments["rng"].resets == 2
    failing = test_of(fails, rng=Rng())
    assert failing.again(FILES) == Outcome("AssertionError", "no rng")
    assert failing.arguments["rng"].resets == 2
    assert test_of(ends, n=1).again(FILES) == Outcome("SystemExit", "3")
    assert test_of(skips).again(FILES).kind == "Skipped"  # type: ignore[union-attr]


def test_again_sees_inputs_that_changed() -> None:
    changed = test_of(lambda rng: None, rng=Rng())
    changed.arguments["rng"].found = ["input 1", "input 2"]
    assert changed.again(FILES) == Outcome("AssertionError", "changed input 1")
    changed.inplace = True
    assert changed.again(FILES) is None


def test_again_starts_torch_from_the_tests_seed() -> None:
    drawn: list[float] = []
    rng = Rng()
    rng.device = "cpu"  # type: ignore[attr-defined]
    one = test_of(lambda rng: drawn.append(torch.rand(()).item()), rng=rng)
    one.again(FILES)
    torch.rand(3)
    one.again(FILES)
    torch.manual_seed(7)
    assert drawn == [torch.rand(()).item()] * 2
    del rng.device  # type: ignore[attr-defined]
    one.again(FILES)
    assert drawn[2] != drawn[1]


def test_again_starts_the_interpreter_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    fake = SimpleNamespace(reset=lambda: calls.append("reset"))
    monkeypatch.setitem(sys.modules, "harness.kernels.interpreter", fake)
    test_of(lambda: calls.append("test")).again(FILES)
    assert calls == ["reset", "test"]


def test_what_leaves_traces_is_made_anew(tmp_path: Any) -> None:
    folders: list[Any] = []

    def traces(tmp_path: Any, monkeypatch: Any) -> None:
        assert tmp_path.is_dir() and not any(tmp_path.iterdir())
        (tmp_path / "x").write_text("")
        monkeypatch.setenv("TRACES", "1")
        folders.append(tmp_path)

    one = test_of(traces, tmp_path=tmp_path, monkeypatch=None)
    assert one.again(FILES) is None and one.again(FILES) is None
    assert tmp_path not in folders and not any(folder.exists() for folder in folders)
    assert "TRACES" not in os.environ
    assert one.arguments == {"tmp_path": tmp_path, "monkeypatch": None}


def test_which_tests_can_be_run_again() -> None:
    assert test_of(None, rng=1, n=2, device=3, tmp_path=4, monkeypatch=5, graded_day=6).repeatable
    assert not test_of(None, rng=1, server=2).repeatable
    assert test_of(None).repeatable


def test_the_arguments_of_a_test() -> None:
    item = SimpleNamespace(
        funcargs={"a": 1, "b": 2, "autouse": 3}, _fixtureinfo=SimpleNamespace(argnames=("a", "b"))
    )
    assert arguments_of(item) == {"a": 1, "b": 2}
