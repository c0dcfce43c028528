"""Numbers with units, the way a person reads them. Units are decimal: 1 MB is 10**6 bytes."""

from __future__ import annotations

UNKNOWN = "-"


def _scaled(value: float, units: list[tuple[float, str]]) -> str:
    """``value`` in the largest of ``units`` (ascending) in which it is at least 1 as printed."""
    text = ""
    for i, (size, unit) in enumerate(units):
        number = value / size
        # One decimal below 100, none above; rounded first, so that 999.96 kB becomes 1.0 MB.
        digits = 1 if round(number, 1) < 100 else 0
        text = f"{number:.{digits}f} {unit}"
        if i + 1 < len(units) and round(number, digits) >= units[i + 1][0] / size:
            continue
        break
    return text


def counted(count: int, noun: str) -> str:
    """``1 day``, ``2 days``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def bytes_text(count: float | None) -> str:
    """``1400000`` -> ``1.4 MB``; ``None`` (not known) -> ``-``."""
    if count is None:
        return UNKNOWN
    if count < 0:
        return "-" + bytes_text(-count)
    if round(count) < 1000:
        return "1 byte" if round(count) == 1 else f"{round(count)} bytes"
    return _scaled(count, [(1e3, "kB"), (1e6, "MB"), (1e9, "GB"), (1e12, "TB")])


def seconds_text(seconds: float | None) -> str:
    """``0.0008`` -> ``0.8 ms``, ``125`` -> ``2 min 5 s``; ``None`` (not known) -> ``-``."""
    if seconds is None:
        return UNKNOWN
    if seconds < 0:
        return "-" + seconds_text(-seconds)
    if seconds == 0:
        return "0 s"
    if seconds < 99.95e-6:
        # "us": the micro sign does not survive every terminal and CSV reader.
        return _scaled(seconds, [(1e-9, "ns"), (1e-6, "us"), (1e-3, "ms")])
    if seconds < 0.9995:
        return _scaled(seconds, [(1e-3, "ms")])
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min"
