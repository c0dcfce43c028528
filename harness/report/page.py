"""The report as one HTML page: nothing is fetched, nothing runs, every text is escaped."""

from __future__ import annotations

import base64
import hashlib
import os
from pathlib import Path
from urllib.parse import quote

from harness.curriculum import ROOT
from harness.measure.units import seconds_text
from harness.progress.summary import PLANNED
from harness.report.benches import benches
from harness.report.collect import Learner
from harness.report.days import MEDALS, days
from harness.report.history import history, machines
from harness.report.html import Html, paragraph, raw, section, tag
from harness.report.kernels import kernels

STYLE = Path(__file__).with_name("style.css")
TITLE = "My progress: machine learning systems in 102 days"
PARTS = {"days": "Days", "attempts": "Attempts", "benches": "Benchmarks", "kernels": "Kernels"}


def page(learner: Learner, target: Path, root: Path = ROOT, editor: bool = False) -> str:
    """The page, to be written to ``target``: its links lead from there to the files of ``root``.

    ``editor`` adds links that VS Code opens, for a browser on the machine that holds the files.
    """

    def link(file: Path) -> str:
        there = root / file.relative_to(ROOT)
        try:
            return quote(Path(os.path.relpath(there, target.parent)).as_posix())
        except ValueError:  # another drive
            return there.as_uri()

    def in_editor(file: Path) -> str:
        return (root / file.relative_to(ROOT)).as_uri().replace("file://", "vscode://file", 1)

    main = tag(
        "main",
        days(learner, link, in_editor if editor else None),
        history(learner, link),
        benches(learner.benches, link),
        kernels(learner, link),
        _unreadable(learner.unreadable),
        id="content",
    )
    return document(TITLE, _header(learner), main, _footer(learner))


def document(title: str, header: Html, main: Html, footer: Html | str, more_style: str = "") -> str:
    """A page that fetches nothing and runs nothing: what it may do is told by its own policy."""
    style = raw("\n" + STYLE.read_text(encoding="utf-8") + more_style)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name_="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name_="color-scheme", content="light dark"),
        tag("title", title),
        tag("style", style),
    )
    skip = tag("a", "To the content", class_="skip", href="#content")
    body = tag("body", skip, header, main, footer)
    return f"<!doctype html>\n{tag('html', head, body, lang='en')}\n"


def opens_here() -> bool:
    """Whether a browser that opens the page sees the files at the same place as this process."""
    if os.environ.get("WSL_DISTRO_NAME") or os.environ.get("CODESPACES"):
        return False
    return not any(Path(mark).exists() for mark in ("/.dockerenv", "/run/.containerenv"))


def _header(learner: Learner) -> Html:
    progress = learner.progress
    found = [day for several in progress.tracks.values() for day in several]
    medals = [day.medal for day in found if day.medal]
    counted = ", ".join(f"{medals.count(m)} {m}" for m in MEDALS if m in medals)
    totals = {
        "days passed": f"{sum(day.level >= 2 for day in found)} of {sum(PLANNED.values())}",
        "days in a row": progress.streak,
        "time at work": seconds_text(progress.seconds),
        "attempts": f"{progress.attempts:,}",
        "hints used": f"{progress.hints:,}",
        "medals": counted or "none yet",
    }
    boxes = [tag("div", tag("dt", name), tag("dd", value)) for name, value in totals.items()]
    where = [tag("li", tag("a", name, href=f"#{place}")) for place, name in PARTS.items()]
    return tag(
        "header",
        tag("h1", "Machine learning systems in 102 days"),
        paragraph("My progress on ", _made(learner), muted=True),
        tag("dl", *boxes, class_="totals"),
        machines(learner),
        tag("nav", tag("ul", *where), aria_label="Parts of this page"),
    )


def _made(learner: Learner) -> Html:
    made = learner.made
    return tag("time", f"{made:%d %B %Y, %H:%M}", datetime=made.isoformat(timespec="seconds"))


def _unreadable(problems: list[str]) -> Html | None:
    if not problems:
        return None
    listed = tag("ul", *(tag("li", problem) for problem in problems), class_="notes")
    return section("unreadable", "Could not be read", listed)


def _footer(learner: Learner) -> Html:
    return tag(
        "footer",
        paragraph(
            "Made by ",
            tag("code", "make report"),
            " on ",
            _made(learner),
            "; the same command makes it anew. The page is one file: it fetches nothing and sends "
            "nothing.",
        ),
    )
