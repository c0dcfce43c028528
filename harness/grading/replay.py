"""What it takes to run a test again: the plugin leaves it with each item."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

import pytest

from harness.grading.graded import GradedDay

Rules = Callable[[frozenset[str]], AbstractContextManager[None]]
"""Guards the calls of the files it is given, as those of the learner's were guarded."""


@dataclass
class Replay:
    graded: GradedDay
    exercise: str
    inplace: bool
    rules: Rules


REPLAY = pytest.StashKey[Replay]()
