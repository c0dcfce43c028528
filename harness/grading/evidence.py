"""What one test came to, kept so that it can be run again with another answer and compared."""

from __future__ import annotations

import contextlib
import re
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.grading.explain import assertion_text, innermost
from harness.grading.replay import Rules

KEPT = 1 << 14
"""Values of a result that are kept; of a larger one, so many at random places."""
ALIKE = 0.01
"""How far two wrong results may lie apart, as a share of what they differ from the right one."""
ENOUGH_BITS = 8.0
"""What the places of wrong values must carry before they are taken for a sign of one mistake."""

_NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?(?:e[-+]?\d+)?(?!\w)")


@dataclass(frozen=True)
class Outcome:
    """How a test failed: the kind of error with its words, and the wrong values if it has any."""

    kind: str
    words: str
    name: str = ""
    values: np.ndarray | None = None
    expected: np.ndarray | None = None
    tolerance: np.ndarray | None = None

    @property
    def wrong(self) -> np.ndarray:
        assert self.values is not None and self.expected is not None
        same = (self.values == self.expected) | (np.isnan(self.values) & np.isnan(self.expected))
        with np.errstate(all="ignore"):
            near = np.abs(self.values - self.expected) <= self.tolerance
        return np.asarray(~(same | near))

    @property
    def telling(self) -> bool:
        """Whether few mistakes lead here. Zeros, nan or one constant everywhere: many do."""
        if self.values is None:
            return True
        wrong = self.wrong
        seen = self.values[wrong]
        seen = seen[np.isfinite(seen) & (seen != 0)]
        if len(np.unique(seen)) > 1 or (seen != np.round(seen)).any():
            return True
        share = wrong.mean()
        if share in (0, 1):
            return False
        bits = -(share * np.log2(share) + (1 - share) * np.log2(1 - share)) * wrong.size
        return bool(bits >= ENOUGH_BITS)


def outcome_of(error: BaseException) -> Outcome:
    error = innermost(error)
    kind = type(error).__name__
    if getattr(error, "tolerance", None) is None:
        text = assertion_text(error) if isinstance(error, AssertionError) else str(error)
        if text.startswith("assert "):  # what pytest adds to it depends on who runs the test
            text = text.splitlines()[0]
        return Outcome(kind, re.sub(r"0x[0-9a-f]+|\bline \d+|\S+\.py\b", "#", text))
    values, expected = (_kept(x) for x in (error.actual, error.expected))  # type: ignore[attr-defined]
    tolerance = np.asarray(_kept(error.tolerance).real)  # type: ignore[attr-defined]
    return Outcome(kind, "", error.name, values, expected, tolerance)  # type: ignore[attr-defined]


def _kept(x: Any) -> np.ndarray:
    torch = sys.modules.get("torch")
    tensor = torch is not None and isinstance(x, torch.Tensor)
    size = x.numel() if tensor else np.size(x)
    if size > KEPT:
        some = np.random.default_rng(0).integers(0, size, KEPT)
        if tensor:
            assert torch is not None
            x = torch.take(x.detach(), torch.as_tensor(some, device=x.device))
        else:
            x = np.ravel(x)[some]  # of a broadcast tolerance too: a copy, and it goes at once
    if tensor:
        x = x.detach().cpu().resolve_conj().resolve_neg()
        x = (x if x.is_complex() else x.double()).numpy()
    x = np.asarray(x)
    return x.astype(np.complex128 if np.iscomplexobj(x) else np.float64)


def alike(other: Outcome | None, mine: Outcome) -> bool:
    """The same wrong values, or, where the test has no values to show, the same complaint."""
    if other is None or (other.kind, other.name) != (mine.kind, mine.name):
        return False
    if mine.values is None or other.values is None:
        return (mine.values is None) == (other.values is None) and _same(other.words, mine.words)
    if mine.values.shape != other.values.shape:
        return False
    assert mine.expected is not None and mine.tolerance is not None
    with np.errstate(all="ignore"):
        # Two people who make the same mistake still round differently, but no more than that.
        room = ALIKE * np.abs(mine.values - mine.expected) + 2 * mine.tolerance
        near = np.abs(mine.values - other.values) <= room
        equal = (mine.values == other.values) | (np.isnan(mine.values) & np.isnan(other.values))
    finite = np.isfinite(mine.values) & np.isfinite(mine.expected)
    return bool((equal | (near & finite)).all())


def _same(one: str, other: str) -> bool:
    """The same words, with the same numbers but for rounding."""
    if _NUMBER.sub("#", one) != _NUMBER.sub("#", other):
        return False
    pairs = zip(_NUMBER.findall(one), _NUMBER.findall(other), strict=True)
    return all(a == b or _rounded(a, b) for a, b in pairs)


def _rounded(a: str, b: str) -> bool:
    if a.lstrip("-").isdigit() and b.lstrip("-").isdigit():
        return False
    return abs(float(a) - float(b)) <= 1e-4 * max(abs(float(a)), abs(float(b)))


_FIXTURES = frozenset("rng device tmp_path monkeypatch graded_day".split())
"""Those that a test has when it is run again."""


@dataclass
class Test:
    """One test of an exercise. ``failed`` is how, or None; ``again`` runs it once more."""

    __test__ = False

    name: str
    function: str
    seconds: float
    failed: Outcome | None
    parameters: dict[str, Any]
    item: Any
    arguments: dict[str, Any]
    rules: Rules
    inplace: bool

    @property
    def repeatable(self) -> bool:
        return self.arguments.keys() <= _FIXTURES | self.parameters.keys()

    def again(self, files: frozenset[str]) -> Outcome | None:
        """How the test ends now, with the calls of ``files`` guarded."""
        interpreter = sys.modules.get("harness.kernels.interpreter")
        if interpreter is not None:
            interpreter.reset()
        rng = self.arguments.get("rng")
        if rng is not None:
            rng.reset()
            if "torch" in sys.modules and hasattr(rng, "device"):
                sys.modules["torch"].manual_seed(rng.seed)
        try:
            with _own_fixtures(self.arguments) as arguments, self.rules(files):
                self.item.obj(**arguments)
            if rng is not None and not self.inplace and rng.changed():
                return Outcome("AssertionError", f"changed {rng.changed()[0]}")
        except (Exception, pytest.fail.Exception, pytest.skip.Exception, SystemExit) as error:
            return outcome_of(error)
        finally:
            if rng is not None:
                rng.reset()  # lets the inputs go
        return None


def arguments_of(item: Any) -> dict[str, Any]:
    return {name: item.funcargs[name] for name in item._fixtureinfo.argnames}


@contextlib.contextmanager
def _own_fixtures(arguments: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The arguments, with what a test leaves its traces in made anew."""
    own = dict(arguments)
    with contextlib.ExitStack() as stack:
        if "tmp_path" in own:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="again-"))
            own["tmp_path"] = Path(folder)
        if "monkeypatch" in own:
            own["monkeypatch"] = stack.enter_context(pytest.MonkeyPatch.context())
        yield own
