"""What is shown of a hint: a sentence, or code, and where it belongs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from harness.curriculum import Day, find_exercise, find_tracks
from harness.screen.hints import hint_text, sentence

NAMES = {"ahead", "exp", "step", "partial", "record", "dq", "self", "return_", "load", "weights"}


@pytest.mark.parametrize(
    "hint",
    [
        "ahead = x + h; step = ahead - x.",
        "exp is its own derivative.",
        "partial gives all outputs at once.",
        "self.data is the array.",
        "numpy.diff(slopes) has one element less.",
        "for f in reversed(fs): x = f(x).",
        "def backward(grad): inside the method.",
        "return hooks_of(x).add(hook)",
        "raise ValueError(...).",
        "matrix, tile = _work_order(first)",
        "dq, dk, dv, and None for each of the five others.",
        "a gets grad * b, and b gets grad * a.",
        "x and y are floats.",
        "not 0 <= p <= 1 is true for nan as well.",
        "with np.errstate(all='ignore'): y = np.exp(x)",
        "Which two points?",
        "`step` is rounded.",
        "",
    ],
)
def test_code_is_left_as_it_is(hint: str) -> None:
    assert sentence(hint, NAMES) == hint


@pytest.mark.parametrize(
    "hint",
    [
        "the product rule.",
        "record, backward, and the adjoints of the inputs.",
        "load the row once.",
        "a mean is a sum of loss(sample) / n.",
        "for each block: the weights.",
        "with q = u / v, u is q v.",
        "return the gradient of x.",
        "define a function of x.",
        "weights, bias, activation.",
        "delta; two loops.",
        "raise.",
    ],
)
def test_prose_begins_with_a_capital_letter(hint: str) -> None:
    assert sentence(hint, NAMES) == hint[0].upper() + hint[1:]


REFERENCE = '''"""Day 1: Toys"""

import triton


@triton.jit
def double_kernel(x):
    # TODO: load x.
    # HINT: how wide is it?
    ### BEGIN SOLUTION
    # HINT: one block.
    x = 1
    ### END SOLUTION


def double(x):
    """Twice x."""
    # TODO: launch.
    ### BEGIN SOLUTION
    # HINT: the grid
    #       has one axis.
    def inner():
        # HINT: one program.
        pass
    ### END SOLUTION


class Pair:
    """Two."""

    def first(self):
        # TODO: the first.
        ### BEGIN SOLUTION
        # HINT: of two.
        return 1
        ### END SOLUTION

    def second(self):
        # TODO: the second.
        # TODO: and the
        #       last.
        # HINT: it is not the first.
        # HINT: which is it?
        # HINT: what follows?
        # HINT: why?
        ### BEGIN SOLUTION
        # HINT: of three.
        return 2
        ### END SOLUTION
'''


@pytest.fixture
def day(tmp_path: Path) -> Day:
    solution = tmp_path / "tracks/triton/solutions/day01.py"
    solution.parent.mkdir(parents=True)
    solution.write_text(REFERENCE)
    return Day("triton", 1, root=tmp_path)


def hints(day: Day, exercise: str) -> list[str]:
    return hint_text(day, find_exercise(day, exercise), 9, passed=True)[0].splitlines()[2:-2]


def test_a_hint_says_which_kernel_or_method_it_is_about(day: Day) -> None:
    assert hints(day, "double") == [
        "  1. In day01.py:",
        "     `double_kernel`: Load x.",
        "     Launch.",
        "     `double_kernel`: How wide is it?",
        "  2. `double_kernel`: One block.",
        "  3. The grid has one axis.",
        "  4. One program.",
    ]


def test_many_comments_are_not_repeated(day: Day) -> None:
    assert hints(day, "Pair") == [
        "  1. In day01.py: read the 7 comments with TODO and HINT in `Pair`.",
        "  2. `first`: Of two.",
        "  3. `second`: Of three.",
    ]


def test_no_hint_of_the_tracks_begins_in_the_middle_of_a_sentence() -> None:
    """Where a small letter is left, code begins: a name, a call, a statement."""
    prose = re.compile(r"(the|which|what|how|a|an|as|if|then|and|it|where|one|two) [a-z]+ [a-z]+ ")
    days = [day for track in find_tracks() for day in track.days]
    assert len(days) > 100
    for day in days[::7]:
        for exercise in day.exercises:
            for line in hint_text(day, exercise, 99, passed=False)[0].splitlines():
                text = re.sub(r"^ +\d+\. (In day\d+\.py: )?(`\w+`: )?", "#", line)
                assert not (text[0:1] == "#" and prose.match(text[1:])), (day, exercise.name, line)
