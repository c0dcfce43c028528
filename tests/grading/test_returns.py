"""A forgotten return is named, and only that."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.grading.returns import without_return
from tests.support.toy import Toy

FORGOTTEN = {
    "plain": "def f(x) -> float:\n    2 * x\n",
    "bare return": "def f(x) -> float:\n    if x:\n        return\n    y = 2 * x\n",
    "inner return": "def f(x) -> float:\n    def g():\n        return x\n    g()\n",
    "the last of two": "def f(x) -> int:\n    return 1\ndef f(x) -> int:\n    x\n",
}
FINE = {
    "returns": "def f(x) -> float:\n    return 2 * x\n",
    "somewhere": "def f(x) -> float:\n    for i in x:\n        if i:\n            return i\n",
    "gives nothing": "def f(x) -> None:\n    x[0] = 1\n",
    "says nothing": "def f(x):\n    x[0] = 1\n",
    "generator": "def f(x) -> Iterator[int]:\n    yield x\n",
    "raises": "def f(x) -> float:\n    raise ValueError(x)\n",
    "a class": "class f:\n    pass\n",
    "elsewhere": "def g(x) -> float:\n    x\n",
    "broken": "def f(x) -> float:\n",
}


@pytest.mark.parametrize("text", FORGOTTEN.values(), ids=FORGOTTEN.keys())
def test_a_forgotten_return_is_named(text: str, tmp_path: Path) -> None:
    file = tmp_path / "day01.py"
    file.write_text(text)
    assert (
        without_return(file, "f") == "`f` has no `return` with a value, so what it gives is None."
    )


@pytest.mark.parametrize("text", FINE.values(), ids=FINE.keys())
def test_what_has_one_or_needs_none_is_not(text: str, tmp_path: Path) -> None:
    file = tmp_path / "day01.py"
    file.write_text(text)
    assert without_return(file, "f") == ""


def test_a_learner_is_told(tmp_path: Path) -> None:
    toy = Toy(tmp_path / "project")
    toy.add_day(1)
    toy.run("-m", "harness", "stubs")
    file = toy.track / "day01.py"
    file.write_text(file.read_text().replace('raise NotImplementedError("double")', "2.0 * x"))
    shown = toy.run("-m", "harness", "autodiff", "1").stdout
    assert "`double` has no `return` with a value" in shown, shown
