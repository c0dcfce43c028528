"""A small curriculum on disk, and a solution that shows every kind of answer."""

from __future__ import annotations

from pathlib import Path

import pytest

DOCSTRING = '''"""
Day 3: Small things
===================
Estimated time: 1-2 hours
Prerequisites: Day 2 (smaller things)
Lesson: lessons/day03.md

Learning objectives:
- Say what is small.
- Say why, in a sentence
  that goes on.

A small thing:   [ ]

Hints:
- Look closely.
Resources:
- Someone, "Small things", 1999
"""
'''

SOLUTION = (
    DOCSTRING
    + '''
import functools
import types

triton = types.SimpleNamespace(jit=lambda f: f, autotune=lambda *a, **k: (lambda f: f))
LIMIT = 3  # given


def _helper(x):
    return x


@triton.autotune(
    configs=[],
    key=["n"],
)
@triton.jit
def twice_kernel(x, n, BLOCK=128):
    # TODO: load and double.
    # HINT: one block a program,
    #       and a mask at the end.
    ### BEGIN SOLUTION
    # HINT: two times x.
    y = x * 2
    ### END SOLUTION
    return y


@triton.jit
def twice_rows_kernel(x):
    ### BEGIN SOLUTION
    for row in x:
        row *= 2
    ### END SOLUTION


def twice(x: int, *, n: int = 1) -> int:
    """Twice ``x``. These are no markers:

    ### BEGIN SOLUTION
    ### END SOLUTION
    """
    return twice_kernel(x, n)  # the launcher is given


class Value:
    """A number."""

    ### BEGIN SOLUTION
    __slots__ = ("data",)
    ### END SOLUTION

    def __init__(self, data: float) -> None:
        # TODO: keep it.
        ### BEGIN SOLUTION
        self.data = data
        ### END SOLUTION

    def __add__(self, other: "Value") -> "Value":
        # HINT: what is it on the left?
        if not isinstance(other, Value):
            ### BEGIN SOLUTION
            return NotImplemented
            ### END SOLUTION

        def build(total):
            ### BEGIN SOLUTION
            return Value(total)
            ### END SOLUTION

        return build(self.data + other.data)


def clip(x):
    """Clip to LIMIT."""
    ### BEGIN SOLUTION
    # HINT: min
    if x > LIMIT:
        x = LIMIT
    ### END SOLUTION
    return x


def test_clip():
    assert clip(5) == 3


if __name__ == "__main__":
    print("run")
'''
)


@pytest.fixture
def solution() -> str:
    return SOLUTION


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A repository with the tracks pebble (days 1, 2, 3 and 7) and sand (none yet)."""
    folder = tmp_path / "tracks" / "pebble"
    (folder / "solutions").mkdir(parents=True)
    (folder / "lessons").mkdir()
    (tmp_path / "tracks" / "sand" / "solutions").mkdir(parents=True)
    (tmp_path / "tracks" / "notes").mkdir()  # no solutions, no track
    (folder / "README.md").write_text("Intro\n\n# Pebbles for all #\n\n# Another\n")
    for number in (1, 2, 3, 7):
        text = SOLUTION.replace("Day 3:", f"Day {number}:").replace("day03", f"day{number:02d}")
        (folder / "solutions" / f"day{number:02d}.py").write_text(text)
    (folder / "solutions" / "__init__.py").write_text("")
    (folder / "solutions" / "day4_draft.py").write_text("")
    (folder / "lessons" / "day03.md").write_text("# Small things\n")
    return tmp_path
