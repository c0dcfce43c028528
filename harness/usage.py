"""Checks what the command line gives before anything slow starts."""

from __future__ import annotations

import random
from pathlib import Path

from harness.curriculum import Day
from harness.protocol import LEARNER, SOLUTION


class Usage(Exception):
    """The command line asks for something that cannot be; the message says what can."""


def seed_of(text: str) -> int:
    """The seed asked for, or a new one."""
    if not text:
        return random.SystemRandom().randrange(10**6)
    if not text.isdigit():
        raise Usage(f"SEED={text} is not a whole number: use one that a report printed.")
    return int(text)


def check_impl(impl: str, day: Day) -> str:
    """``impl`` with a folder made absolute; it must hold the day."""
    if impl in (LEARNER, SOLUTION):
        return impl
    folder = Path(impl)
    if not folder.is_dir():
        raise Usage(
            f"IMPL={impl} is no folder. Use learner, solution, or a folder of dayNN.py files."
        )
    if not (folder / f"{day.name}.py").is_file():
        raise Usage(f"IMPL={impl} holds no {day.name}.py.")
    return str(folder.resolve())


def check_choice(name: str, value: str, choices: tuple[str, ...]) -> str:
    if value not in choices:
        raise Usage(f"{name}={value} is not known: use {', '.join(choices)}.")
    return value
