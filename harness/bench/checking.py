"""Is the output of a timed call right?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from harness.bench.inputs import leaves

# Only these hold values for certain. A subclass may compute when it is looked at: after the clock.
PLAIN = (torch.Tensor, torch.nn.Parameter, np.ndarray, float, int, bool, complex, type(None))


def check(actual: Any, expected: Any, tolerance: Mapping[str, Any], brief: bool = False) -> str:
    """What is wrong with ``actual``, or an empty string. ``brief``: which output, and no more.

    ``tolerance`` holds keywords of ``harness.testing.close``; with a sequence of outputs each is
    compared in turn. The dtype of the output is the operation's own unless ``tolerance`` names it:
    how close it must be follows from it.
    """
    from harness.testing.close import agrees, close

    lazy = not_plain(actual)
    if lazy:
        return lazy
    got, wanted = list(leaves(actual)), list(leaves(expected))
    if len(got) != len(wanted):
        return f"returned {len(got)} outputs where {len(wanted)} are expected"
    for index, (a, e) in enumerate(zip(got, wanted, strict=True)):
        name = "result" if len(got) == 1 else f"output {index}"
        a, e = _alike(a, e)
        options = {"dtype": getattr(a, "dtype", None), **tolerance}
        try:
            if not brief:
                close(a, e, name=name, **options)
            elif not agrees(a, e, **options):
                return f"{name} differs"
        except AssertionError as failure:
            return str(failure)
        except Exception as failure:  # an oracle of another kind: say so instead of a traceback
            return f"{name} cannot be compared: {type(failure).__name__}: {failure}"
    return ""


def not_plain(value: Any) -> str:
    """Why ``value`` may still have to be computed, or an empty string."""
    for leaf in leaves(value):
        if type(leaf) not in PLAIN and not isinstance(leaf, np.generic):
            return (
                f"returned a {type(leaf).__module__}.{type(leaf).__qualname__}, which may compute "
                "only when it is read; a bench must return plain tensors, arrays or numbers"
            )
        if isinstance(leaf, torch.Tensor) and (leaf.is_conj() or leaf.is_neg()):
            return "returned a lazy conjugate or negation: call resolve_conj() or resolve_neg()"
    return ""


def snapshot(value: Any) -> Any:
    """A copy of an output as it is now, so that nobody can finish it later."""
    if isinstance(value, torch.Tensor):
        return value.detach().clone()
    if isinstance(value, np.ndarray):
        return value.copy()
    if isinstance(value, dict):
        return {key: snapshot(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [snapshot(item) for item in value]
    return value


def _alike(actual: Any, expected: Any) -> tuple[Any, Any]:
    """Both as torch tensors, or both as arrays: peers may answer in another library's type."""
    if isinstance(actual, torch.Tensor):
        actual = actual.detach()
        if not isinstance(expected, torch.Tensor):
            expected = torch.as_tensor(np.array(expected), device=actual.device)
    elif isinstance(expected, torch.Tensor):
        expected = expected.detach().cpu().numpy()
    return actual, expected
