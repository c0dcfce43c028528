"""Names of parametrised tests that say what they are run with: ``[(3, 5)]``, not ``[shape1]``."""

from __future__ import annotations

from typing import Any

LONGEST = 40


def pytest_make_parametrize_id(config: Any, val: object, argname: str) -> str | None:
    """pytest's own name would be the argument's with a number: only such values are named here."""
    if _is_dtype(val):
        return str(val).removeprefix("torch.")
    if isinstance(val, (tuple, list, set, frozenset, dict)) and _plain(val):
        text = repr(val).replace("torch.", "")
        return text if len(text) <= LONGEST else None
    if hasattr(val, "numerator") and not isinstance(val, (int, float)):  # Fraction
        return str(val) if len(str(val)) <= LONGEST else None
    return None


def _plain(value: Any) -> bool:
    if isinstance(value, dict):
        return all(map(_plain, value)) and all(map(_plain, value.values()))
    if isinstance(value, (tuple, list, set, frozenset)):
        return all(map(_plain, value))
    simple = value is None or value is ... or isinstance(value, (bool, int, float, str, slice))
    return simple or _is_dtype(value)


def _is_dtype(value: Any) -> bool:
    """torch.float32 or np.dtype("float32"), without importing either library."""
    return hasattr(value, "itemsize") and type(value).__name__.lower().endswith("dtype")
