"""A small copy of the project in a folder of its own, with toy days in the autodiff track."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

REFERENCE = '''"""
Day {number}: Toys {number}
{line}
Estimated time: 1-2 hours
Prerequisites: none
Lesson: lessons/day{number:02d}.md

Learning objectives:
- Double a number, and say why

A number goes in, twice the number comes out.

Hints:
- Addition is enough.
Resources:
- Peano, Arithmetices principia, 1889
"""

import numpy as np


def double(x: np.ndarray) -> np.ndarray:
    """Twice ``x``, elementwise; float64, any shape."""
    # TODO: return a new array.
    # HINT: what is x + x?
    ### BEGIN SOLUTION
    # HINT: which numbers does a factor of two give?
    # HINT: two times x.
    return 2.0 * x
    ### END SOLUTION


def test_double() -> None:
    assert double(np.array([1.0]))[0] == 2.0


if __name__ == "__main__":
    from harness import main

    main(__file__)
'''

TESTS = """
from harness.testing import close, exercise
from tracks.autodiff import day{number:02d} as day{number:02d}


@exercise("double")
def test_values(rng):
    x = rng.normal(5)
    close(day{number:02d}.double(x), x + x)


@exercise("double")
def test_nothing_to_double(rng):
    close(day{number:02d}.double(rng.normal(0)), rng.normal(0))
"""

BUGS = """
[[bug]]
exercise = "double"
find = "2.0 * x"
replace = "3.0 * x"
says = "Compare your result with x + x: one of you adds more often."

[[bug]]
exercise = "double"
find = "2.0 * x"
replace = "x"
says = "The result is the input itself: nothing was doubled here."
"""

LESSON = """# Day {number}: toys

{prose}

```python
from tracks.autodiff.day{number:02d} import double
print(double(2.0))
```

```output
4.0
```
"""


class Toy:
    """The copy: write days into it, then run commands in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.track = folder / "tracks" / "autodiff"
        shutil.copytree(
            ROOT / "harness", folder / "harness", ignore=shutil.ignore_patterns("__pycache__")
        )
        for name in ("conftest.py", "pyproject.toml", "requirements.txt", "Makefile"):
            shutil.copy(ROOT / name, folder / name)
        for part in ("solutions", "tests", "bugs", "lessons"):
            (self.track / part).mkdir(parents=True)
        (folder / "tracks" / "__init__.py").write_text('"""Tracks."""\n')
        (self.track / "__init__.py").write_text('"""Toys."""\n')
        (self.track / "README.md").write_text(
            "# Toys\n\n<!-- curriculum:begin -->\n<!-- curriculum:end -->\n"
        )

    def add_day(
        self,
        number: int,
        *,
        reference: tuple[str, str] = ("", ""),
        tests: str = TESTS,
        bugs: str = BUGS,
        lesson: tuple[str, str] = ("", ""),
        words: int = 700,
    ) -> None:
        """Write day ``number``; the pairs replace text in what it would be otherwise."""
        title = f"Day {number}: Toys {number}"
        source = REFERENCE.format(number=number, line="=" * len(title))
        assert reference[0] in source
        name = f"day{number:02d}"
        self.write(f"solutions/{name}.py", source.replace(*reference) if reference[0] else source)
        self.write(f"tests/test_{name}.py", tests.format(number=number))
        self.write(f"bugs/{name}.toml", bugs)
        text = LESSON.format(number=number, prose="word " * words)
        self.write(f"lessons/{name}.md", text.replace(*lesson) if lesson[0] else text)

    def write(self, path: str, text: str) -> None:
        (self.track / path).write_text(text, encoding="utf-8")

    def run(
        self, *arguments: str, timeout: int = 240, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """``python ARGUMENTS`` in the copy, without the settings of whoever runs the tests."""
        env = {k: v for k, v in os.environ.items() if k not in _SETTINGS}
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=self.folder,
            env={**env, "PYTHONPATH": str(self.folder), **environment},
            capture_output=True,
            text=True,
            timeout=timeout,
        )


_SETTINGS = {
    "IMPL", "PRIOR", "EX", "SEED", "DEVICE", "TRACK", "DAY", "JSON", "CHECK", "PYTEST_ADDOPTS",
    "HARNESS_SEED", "PYTEST_XDIST_WORKER", "PYTEST_CURRENT_TEST",
}  # fmt: skip
