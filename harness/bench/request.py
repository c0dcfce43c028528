"""What the parent asks of the child. Apart from it, because the child runs as ``__main__``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class BenchRequest:
    """Measure one day. Seed 0 draws one.

    ``ceilings``: what an earlier day of this run found that the machine can do; None: measure it.
    """

    track: str
    day: int
    impl: str
    root: str
    against: list[str] | None = None
    quick: bool = False
    seed: int = 0
    threads: int = 1
    ceilings: dict[str, Any] | None = None
