"""Every attempt: the last twelve weeks as bars, and all of them in tables."""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Sequence
from itertools import groupby

from harness.measure.units import bytes_text, seconds_text
from harness.progress import Attempt
from harness.report.collect import Learner
from harness.report.days import day_link
from harness.report.html import Html, Link, folded, join, paragraph, section, table, tag

SHOWN = 12
"""Attempts that are shown at once; the earlier ones unfold, a month at a time."""
DAYS = 84
WIDTH, HEIGHT = 840, 100
"""In the drawing's own units: it is stretched to the width that there is."""


def history(learner: Learner, link: Link) -> Html:
    if not learner.attempts:
        return section(
            "attempts",
            "Attempts",
            paragraph(
                "Each time a day is graded, a line is added here: what passed, what did not, on "
                "which machine, how long it took.",
                muted=True,
            ),
        )
    newest, earlier = learner.attempts[:SHOWN], learner.attempts[SHOWN:]
    caption = "The newest attempts" if earlier else "All attempts, newest first"
    months = [
        folded(f"{name}: {_many(len(some), 'earlier attempt')}", _attempts(some, name, link))
        for name, group in groupby(earlier, key=_month)
        for some in [list(group)]
    ]
    return section(
        "attempts",
        "Attempts",
        chart(learner.attempts, learner.made.date()),
        _attempts(newest, caption, link),
        *months,
    )


def chart(attempts: Sequence[Attempt], today: datetime.date) -> Html | None:
    """A bar a day for twelve weeks: attempts that passed their whole day below, the others above.

    The text stands outside of the drawing, so that it is as large on a phone.
    """
    first = today - datetime.timedelta(days=DAYS - 1)
    whole: Counter[int] = Counter()
    part: Counter[int] = Counter()
    for attempt in attempts:
        place = (_date(attempt) - first).days
        if 0 <= place < DAYS:
            (whole if _passed(attempt) else part)[place] += 1
    most = max((whole[i] + part[i] for i in range(DAYS)), default=0)
    if not most:
        return paragraph("No attempt in the last twelve weeks.", muted=True)
    step, unit = WIDTH / DAYS, (HEIGHT - 2) / most
    bars = []
    for i in range(DAYS):
        for count, below, kind in ((whole[i], 0, "whole"), (part[i], whole[i], "part")):
            if count:
                top = HEIGHT - unit * (below + count)
                title = f"{first + datetime.timedelta(days=i):%d %B}: {whole[i]} passed, "
                bars.append(
                    tag(
                        "rect", tag("title", f"{title}{part[i]} not yet"), class_=kind,
                        x=f"{i * step + 1:.1f}", y=f"{top:.1f}", width=f"{step - 2:.1f}",
                        height=f"{unit * count:.1f}",
                    )
                )  # fmt: skip
    busy = len(whole | part)
    total, good = whole.total() + part.total(), whole.total()
    said = (
        f"The last twelve weeks: {_many(total, 'attempt')} on {_many(busy, 'day')}; {good} passed "
        f"the whole day. The busiest day had {most}."
    )
    drawing = tag(
        "svg", *bars, tag("path", d=f"M0 {HEIGHT}H{WIDTH}", class_="axis"),
        viewBox=f"0 0 {WIDTH} {HEIGHT}", preserveAspectRatio="none", role="img", aria_label=said,
        class_="chart",
    )  # fmt: skip
    ends = tag("div", tag("span", f"{first:%d %b}"), tag("span", f"{today:%d %b}"), class_="ends")
    key = tag(
        "ul",
        tag("li", tag("span", class_="whole", aria_hidden="true"), "the whole day passed"),
        tag("li", tag("span", class_="part", aria_hidden="true"), "something failed"),
        class_="key",
    )
    return tag("figure", tag("figcaption", said), drawing, ends, key)


def _attempts(attempts: Sequence[Attempt], caption: str, link: Link) -> Html:
    rows = []
    for attempt in attempts:
        at = datetime.datetime.fromtimestamp(attempt.at)
        mark = "✓" if _passed(attempt) else "✗"
        result = f"{mark} {attempt.passed} of {attempt.total}"
        rows.append(
            [
                tag("time", f"{at:%d %b %Y, %H:%M}", datetime=f"{at:%Y-%m-%dT%H:%M:%S}"),
                day_link(attempt.track, attempt.day, link),
                tag("span", result, class_="good" if _passed(attempt) else "bad"),
                ", ".join(attempt.failing) or "–",
                seconds_text(attempt.seconds),
                bytes_text(attempt.peak_bytes) if attempt.peak_bytes else "–",
                attempt.hints,
                attempt.device or "–",
            ]
        )
    headings = ["When", "Day", "Exercises", "Not passed", "Time", "Memory", "Hints", "Machine"]
    return table(caption, headings, rows, numbers=(4, 5, 6), wide=(3,))


def machines(learner: Learner) -> Html | None:
    """What the days were graded and timed on."""
    graded = dict.fromkeys(a.device for a in learner.attempts if a.device)
    timed = {str(b.run.machine.get("name", "")): str(b.run.machine.get("detail", ""))
             for b in learner.benches}  # fmt: skip
    names = [name for name in dict.fromkeys([*graded, *timed]) if name]
    if not names:
        return None
    said = [f"{name} ({timed[name]})" if timed.get(name) else name for name in names]
    return paragraph("Worked on: ", join(said, "; "), muted=True)


def _passed(attempt: Attempt) -> bool:
    return attempt.level >= 2


def _date(attempt: Attempt) -> datetime.date:
    return datetime.date.fromtimestamp(attempt.at)


def _month(attempt: Attempt) -> str:
    return f"{_date(attempt):%B %Y}"


def _many(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"
