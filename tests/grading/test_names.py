"""Which values of a parametrised test are named by what they are, and which by pytest."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch

from harness.grading.names import pytest_make_parametrize_id


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (torch.float32, "float32"),
        (np.dtype("int64"), "int64"),
        ((3, 5), "(3, 5)"),
        ([1, 2.5, None, "a", True], "[1, 2.5, None, 'a', True]"),
        ((torch.float16, 3), "(float16, 3)"),
        (((1, 2), [3]), "((1, 2), [3])"),
        ({"a": (1,)}, "{'a': (1,)}"),
        ({1: torch.int8}, "{1: int8}"),
        ({"a": object()}, None),
        ({object(): 1}, None),
        (frozenset((1,)), "frozenset({1})"),
        ({1}, "{1}"),
        ((), "()"),
        ((slice(1, 2), ...), "(slice(1, 2, None), Ellipsis)"),
        ((object(), 1), None),
        ([[object()]], None),
        (("x" * 34,), f"('{'x' * 34}',)"),
        (("x" * 35,), f"('{'x' * 35}',)"),
        (("x" * 36,), None),
        (Fraction(1, 3), "1/3"),
        (Fraction(1, 10**37), f"1/1{'0' * 37}"),
        (Fraction(1, 10**38), None),
        (3, None),
        (2.5, None),
        (True, None),
        ("text", None),
        (None, None),
        (object(), None),
        (np.zeros(3), None),
    ],
)
def test_names(value: Any, name: str | None) -> None:
    assert pytest_make_parametrize_id(None, value, "x") == name
