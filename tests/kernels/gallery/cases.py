"""How the gallery's kernels are entered: ``@wrong`` ones must be reported, ``@right`` ones not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Wrong:
    run: Callable[[], None]
    kind: str
    words: tuple[str, ...]
    at: str


WRONG: list[Wrong] = []
RIGHT: list[Callable[[], None]] = []


def wrong(kind: str, *words: str, at: str = "") -> Callable[[Callable[[], None]], None]:
    """The launch must raise KernelError of this kind, whose sentence holds these words, pointing
    to the line of this file that holds the text ``at``."""

    def enter(run: Callable[[], None]) -> None:
        WRONG.append(Wrong(run, kind, words, at))

    return enter


def right(run: Callable[[], None]) -> Callable[[], None]:
    """The launch must raise nothing; the function asserts on its results."""
    RIGHT.append(run)
    return run
