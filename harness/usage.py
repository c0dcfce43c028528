"""Checks what the command line gives before anything slow starts."""

from __future__ import annotations

import os
import random
import re
from collections.abc import Collection
from pathlib import Path

from harness.curriculum import Day
from harness.protocol import LEARNER, SOLUTION


class Usage(Exception):
    """The command line asks for something that cannot be; the message says what can."""


def need_day(command: str, track: str, day: str) -> None:
    """Say the whole command where a part of it is missing."""
    if not track or not day:
        what = "Which day?" if track else "Which track and day?"
        raise Usage(
            f"{what} make {command} TRACK={track or 'triton'} DAY={day or 7}"
            + ("" if track else "   (TRACK is triton, pytorch or autodiff)")
        )


def use_environment() -> None:
    """Forget what a shell exports that is no size of a window: with COLUMNS=0 nothing is shown."""
    for name in ("COLUMNS", "LINES"):
        text = os.environ.get(name, "")
        if not text.isdigit() or int(text) < 1:
            os.environ.pop(name, None)


def refuse_small_letters(known: Collection[str]) -> None:
    """Refuse one of the ``known`` settings that make was given in small letters: ``day=7`` says
    nothing to anybody, and what would run is the command without it."""
    _, _, given = os.environ.get("MAKEFLAGS", "").partition("-- ")
    given = re.sub(r"\\.", "_", given)  # a blank that belongs to a value
    for name in re.findall(r"(?<!\S)(\w+)=", given):
        if name != name.upper() and name.upper() in known:
            raise Usage(f"{name}= is not known: make's settings are capitals, {name.upper()}=.")


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
