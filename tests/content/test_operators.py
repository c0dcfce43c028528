"""The library of Autodiff day 35 on torch's own samples; docs/operators.md names every operator."""

from __future__ import annotations

import re
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

from harness.grading import finder
from harness.protocol import SOLUTION

pytest.importorskip("torch")
operators = pytest.importorskip("tests.content.operators")

FEW = 12  # samples of an operator; python -m tests.content.operators takes all of them


@pytest.fixture(scope="module")
def day() -> Iterator[ModuleType]:
    with finder.use(finder.Choice(impl=SOLUTION)):
        yield operators.library()


@pytest.fixture(scope="module")
def found(day: ModuleType) -> list[Any]:
    result: list[Any] = operators.all_of(day, FEW)
    return result


@pytest.mark.filterwarnings("ignore")
def test_every_operator_agrees_with_torch(found: list[Any]) -> None:
    failures = [line for f in found for line in f.failures]
    assert not failures, "\n".join(failures)
    assert sum(f.agreed for f in found) > 500


def test_table_names_every_operator(found: list[Any]) -> None:
    text = operators.TABLE.read_text("utf-8")
    rows = re.findall(r"^\| `([^`]+)` \|", text, re.M)
    assert rows == sorted(f.name for f in found), "write it: python -m tests.content.operators"


def test_a_wrong_operator_is_found(day: ModuleType) -> None:
    """A backward that is a little off, and one that forgets a broadcast axis."""
    (exp,) = (op for op in operators.op_db() if op.name == "exp")
    (add,) = (op for op in operators.op_db() if op.name == "add")
    assert not operators.check(exp, day.ops.exp, day).failures
    assert operators.check(exp, lambda x: day.ops.exp(x) * (1 + 1e-6), day).failures
    assert operators.check(add, lambda a, b: day.ops.add(a, b.detach()), day).failures
