"""The days that the gallery's answers are handed in for: one a track, with all that tests do."""

from __future__ import annotations

import zlib
from pathlib import Path

from tests.support.toy import TESTS, Toy

BEFORE = '''

@exercise("double", seconds=2)
def test_with_the_right_values_made_before(rng):
    x = rng.normal(7)
    expected = twice(x)
    close(day{number:02d}.double(x), expected)


def twice(x):
    """The tests' own answer."""
    return x + x
'''

DOC = '''"""
Day 1: {title}
{line}
Estimated time: 1-2 hours
Prerequisites: none
Lesson: lessons/day01.md

Learning objectives:
- {title}, and say why

Numbers go in, numbers come out.

Hints:
- It is short.
Resources:
- The documentation
"""

'''

SOFTMAX = (
    DOC.format(title="Softmax", line="=" * 14)
    + '''import torch


def weights(x: torch.Tensor) -> torch.Tensor:
    """Softmax over the last axis of ``x``, float32; torch's own softmax is refused."""
    # TODO: exponentials, and their sum.
    # HINT: subtract the largest first.
    ### BEGIN SOLUTION
    # HINT: what keeps an exponential in range?
    # HINT: the row's maximum.
    e = (x - x.amax(-1, keepdim=True)).exp()
    return e / e.sum(-1, keepdim=True)
    ### END SOLUTION


if __name__ == "__main__":
    from harness import main

    main(__file__)
'''
)

SOFTMAX_TESTS = """
import torch

from harness.testing import close, exercise, watch
from tracks.pytorch import day01


def right(x):
    return torch.softmax(x.double(), -1)


@exercise("weights", ban=["softmax"], seconds=5)
def test_values(rng):
    x = rng.normal(3, 5)
    close(day01.weights(x), right(x), dtype=torch.float32, terms=5)


@exercise("weights", ban=["softmax"], seconds=5)
def test_with_the_right_values_made_before(rng):
    x = rng.normal(2, 7)
    expected = right(x)
    out, seen = watch(day01.weights, x)
    close(out, expected, dtype=torch.float32, terms=7)
    assert len(seen.operators) < 20
"""

ADD_ONE = (
    DOC.format(title="Add one", line="=" * 14)
    + '''import torch
import triton
import triton.language as tl


@triton.jit
def add_one_kernel(x_ptr, out_ptr, n, BLOCK: tl.constexpr):
    ### BEGIN SOLUTION
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(x_ptr + at, mask=at < n)
    tl.store(out_ptr + at, x + 1, mask=at < n)
    ### END SOLUTION


def add_one(x: torch.Tensor) -> torch.Tensor:
    """A new tensor x + 1; float32, contiguous; one launch."""
    out = torch.empty_like(x)
    # TODO: launch one program a block of 64.
    # HINT: how many blocks are there?
    ### BEGIN SOLUTION
    # HINT: a grid that covers n.
    # HINT: triton.cdiv(n, 64).
    add_one_kernel[(triton.cdiv(x.numel(), 64),)](x, out, x.numel(), BLOCK=64)
    ### END SOLUTION
    return out


if __name__ == "__main__":
    from harness import main

    main(__file__)
'''
)

ADD_ONE_TESTS = """
import torch

from harness.testing import close, exercise, watch
from tracks.triton import day01


def right(x):
    return x.double() + 1


@exercise("add_one", seconds=10)
def test_values(rng):
    x = rng.normal(70)
    close(day01.add_one(x), right(x), dtype=torch.float32)


@exercise("add_one", seconds=10)
def test_with_the_right_values_made_before(rng):
    x = rng.normal(130)
    expected = right(x)
    out, seen = watch(day01.add_one, x)
    close(out, expected, dtype=torch.float32)
    assert len(seen.launches) == 1, f"expected 1 kernel launch, saw {len(seen.launches)}"
"""


def make(folder: Path) -> Toy:
    """A small copy of the project with a day 1 in each track."""
    toy = Toy(folder)
    toy.add_day(1, tests=TESTS.replace('@exercise("double")', '@exercise("double", seconds=2)')
                + BEFORE)  # fmt: skip
    for track, solution, tests in (
        ("pytorch", SOFTMAX, SOFTMAX_TESTS),
        ("triton", ADD_ONE, ADD_ONE_TESTS),
    ):
        track_folder = folder / "tracks" / track
        for part in ("solutions", "tests"):
            (track_folder / part).mkdir(parents=True)
        (track_folder / "__init__.py").write_text('"""Toys."""\n')
        (track_folder / "README.md").write_text(
            "# Toys\n\n<!-- curriculum:begin -->\n<!-- curriculum:end -->\n"
        )
        (track_folder / "solutions" / "day01.py").write_text(solution)
        (track_folder / "tests" / "test_day01.py").write_text(tests)
    return toy


def table(seed: int) -> dict[str, list[float]]:
    """The right answers to what the tests of the autodiff day ask with ``seed``."""
    import numpy as np

    found = {}
    for name, n in (("test_values", 5), ("test_with_the_right_values_made_before", 7)):
        drawn = np.random.default_rng(zlib.crc32(f"{seed}:{name}".encode()))
        x = drawn.normal(0.0, 1.0, n)
        found[x.tobytes().hex()] = (x + x).tolist()
    return found
