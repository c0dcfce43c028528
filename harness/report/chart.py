"""Attempts by calendar day, as an SVG that takes its colours from the page."""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Sequence

from harness.progress.store import Attempt

DAYS = 84
WIDTH, HEIGHT, BASE = 700, 140, 116
"""In the SVG's own units; ``BASE`` is where the bars stand."""


def attempts_chart(attempts: Sequence[Attempt], today: datetime.date) -> str:
    """Bars for the last twelve weeks: attempts that passed everything, below the others."""
    first = today - datetime.timedelta(days=DAYS - 1)
    whole: Counter[int] = Counter()
    part: Counter[int] = Counter()
    for attempt in attempts:
        place = (datetime.date.fromtimestamp(attempt.at) - first).days
        if 0 <= place < DAYS:
            passed = attempt.passed == attempt.total and attempt.total > 0
            (whole if passed else part)[place] += 1
    most = max((whole[i] + part[i] for i in range(DAYS)), default=0)
    if not most:
        return ""
    step = WIDTH / DAYS
    unit = (BASE - 20) / most
    bars = []
    for i in range(DAYS):
        x = i * step + 1
        for count, below, kind in ((whole[i], 0, "whole"), (part[i], whole[i], "part")):
            if count:
                y = BASE - unit * (below + count)
                bars.append(
                    f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{step - 2:.1f}" '
                    f'height="{unit * count:.1f}"/>'
                )
    busy = sum(1 for i in range(DAYS) if whole[i] + part[i])
    total, good = sum(whole.values()) + sum(part.values()), sum(whole.values())
    said = (
        f"{total} attempts on {busy} days of the last twelve weeks, {good} of them passed every "
        f"exercise of their day; at most {most} on one day."
    )
    return (
        f'<figure><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{said}">'
        f'<line x1="0" y1="{BASE}" x2="{WIDTH}" y2="{BASE}"/>{"".join(bars)}'
        f'<text x="0" y="{HEIGHT - 6}">{first:%d %b}</text>'
        f'<text x="{WIDTH}" y="{HEIGHT - 6}" text-anchor="end">{today:%d %b}</text>'
        f'<text x="0" y="12">{most}</text></svg><figcaption>{said}</figcaption></figure>'
    )
