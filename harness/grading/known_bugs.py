"""When a wrong answer does what a known bug does on the same inputs, shows the bug's sentence."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from harness.curriculum import CurriculumError, Day, apply_bug, load_bugs, read_source
from harness.grading import finder


def what_a_known_bug_says(
    day: Day,
    exercise: str,
    item: Any,
    error: BaseException,
    choice: finder.Choice,
    rules: Callable[[frozenset[str]], AbstractContextManager[None]],
) -> str:
    """Run the failed test with each known bug of ``exercise``; "" if none fails alike.

    ``rules`` guards the bug's file as it did the learner's, so that both start from nan.
    """
    if not day.bugs.exists():
        return ""
    source = read_source(day.solution)
    try:
        bugs = [b for b in load_bugs(day.bugs, source).bugs if b.exercise == exercise]
    except CurriculumError:
        return ""  # verify reports it; a learner's result does not depend on it
    before = getattr(item.module, day.name, None)
    if before is None or not bugs:
        return ""
    try:
        with tempfile.TemporaryDirectory(prefix="known-bug-") as folder:
            for bug in bugs:
                place = Path(folder) / str(bug.number)
                place.mkdir()
                text = apply_bug(source, bug, day.solution)
                (place / f"{day.name}.py").write_text(text, encoding="utf-8")
                module = finder.load_day(day.track, day.number, str(place), day.root)
                setattr(item.module, day.name, module)
                with rules(frozenset({str(place / f"{day.name}.py")})):
                    failed_with = _outcome(item)
                if _alike(failed_with, error):
                    return bug.says
    finally:
        setattr(item.module, day.name, before)
        finder.enter(choice)
    return ""


def _outcome(item: Any) -> BaseException | None:
    arguments = {a: item.funcargs[a] for a in item._fixtureinfo.argnames}
    if "rng" in arguments:
        arguments["rng"].reset()
    try:
        item.obj(**arguments)
    except Exception as error:
        return error
    return None


def _alike(bug: BaseException | None, mine: BaseException) -> bool:
    """The same wrong values, or, where the test has no values to show, the same complaint."""
    if bug is None or type(bug) is not type(mine):
        return False
    if not hasattr(mine, "actual"):
        return str(bug) == str(mine)
    with contextlib.suppress(Exception):
        return _equal(bug.actual, mine.actual)  # type: ignore[attr-defined]
    return False


def _equal(a: Any, b: Any) -> bool:
    import numpy as np

    one, other = (
        np.asarray(v.detach().cpu().double() if hasattr(v, "detach") else v) for v in (a, b)
    )
    # Two people who make the same mistake still round differently.
    return one.shape == other.shape and bool(
        np.allclose(one, other, rtol=1e-3, atol=1e-6, equal_nan=True)
    )
