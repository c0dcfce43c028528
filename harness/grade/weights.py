"""Points of the exercises, from a TOML file.

points = 1                       # of every exercise that is not named below; 1 without this line

[days]
"triton/1" = 10                  # shared by the day's exercises in equal parts

[exercises]
"triton/2/softmax" = 4           # of this one
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from harness.curriculum import Day, Track
from harness.usage import Usage


@dataclass(frozen=True)
class Weights:
    points: float = 1.0
    days: dict[str, float] = field(default_factory=dict)
    exercises: dict[str, float] = field(default_factory=dict)

    def of(self, day: Day, exercise: str) -> float:
        """What the exercise is worth."""
        name = f"{day.track}/{day.number}"
        if f"{name}/{exercise}" in self.exercises:
            return self.exercises[f"{name}/{exercise}"]
        if name not in self.days:
            return self.points
        own = [self.exercises.get(f"{name}/{e.name}") for e in day.exercises]
        rest = self.days[name] - sum(p for p in own if p is not None)
        return max(0.0, rest) / own.count(None)


def load_weights(file: str, tracks: list[Track]) -> Weights:
    """The weights of a file; one point an exercise without it. Usage says what is wrong with it."""
    if not file:
        return Weights()
    where = f"WEIGHTS={file}"
    try:
        data = _read(Path(file))
    except OSError as error:
        raise Usage(f"{where} cannot be read: {error.strerror}.") from None
    except ValueError as error:
        raise Usage(f"{where}: {error}.") from None
    days = {f"{t.name}/{d.number}": d for t in tracks for d in t.days}
    _known(where, data, ("points", "days", "exercises"))
    for part in ("days", "exercises"):
        if not isinstance(data.setdefault(part, {}), dict):
            raise Usage(f"{where}: {part} is no table: write [{part}] on a line of its own.")
    _known(where, data["days"], days)
    names = [f"{key.rpartition('/')[0]}" for key in data["exercises"]]
    _known(where, [name for name in names if name], days)
    for key in data["exercises"]:
        day = key.rpartition("/")[0]
        if not day:
            raise Usage(f'{where}: write "track/day/exercise", not "{key}".')
        _known(where, [key], [f"{day}/{e.name}" for e in days[day].exercises])
    return Weights(
        _number(where, "points", data.get("points", 1)),
        {key: _number(where, key, value) for key, value in data["days"].items()},
        {key: _number(where, key, value) for key, value in data["exercises"].items()},
    )


def _read(path: Path) -> dict[str, Any]:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib

    return tomllib.loads(path.read_text(encoding="utf-8-sig"))


def _known(where: str, given: Iterable[str], known: Iterable[str]) -> None:
    choices = list(known)
    for name in given:
        if name not in choices:
            near = get_close_matches(name, choices, n=1, cutoff=0.5)
            meant = f" Did you mean {near[0]!r}?" if near else ""
            raise Usage(f"{where}: {name!r} is not known.{meant}")


def _number(where: str, name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
        raise Usage(f"{where}: {name!r} must be a number of points, not {value!r}.")
    return float(value)
