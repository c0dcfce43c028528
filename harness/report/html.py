"""HTML by functions: what is not marked as HTML is text, and text is always escaped."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from html import escape
from pathlib import Path

VOID = frozenset(("br", "meta"))


class Html(str):
    """Text that is HTML already; only this module makes it."""


Link = Callable[[Path], str]
"""From a file of the project to what the page links to."""


def text(value: object) -> Html:
    return value if isinstance(value, Html) else Html(escape(str(value)))


def tag(name: str, *children: object, **attributes: object) -> Html:
    """An element. Names lose a last underscore and swap the others: ``class_``, ``aria_label``.

    An attribute that is None or False is left out; True stands without a value.
    """
    opened = name
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        key = key.rstrip("_").replace("_", "-")
        opened += f" {key}" if value is True else f' {key}="{escape(str(value))}"'
    if name in VOID:
        return Html(f"<{opened}>")
    return Html(f"<{opened}>{join(children)}</{name}>")


def join(parts: Iterable[object], between: str = "") -> Html:
    """Parts one after the other; those that are None or empty are left out."""
    return Html(
        escape(between).join(text(part) for part in parts if part is not None and part != "")
    )


def raw(source: str) -> Html:
    """A style sheet, which is no text to be escaped; never what a learner wrote."""
    return Html(source)


def section(name: str, heading: str, *children: object) -> Html:
    """A part of the page, named by its heading."""
    title = tag("h2", heading, id=name)
    return tag("section", title, *children, aria_labelledby=name)


def paragraph(*children: object, muted: bool = False) -> Html:
    return tag("p", *children, class_="muted" if muted else None)


def folded(summary: object, *children: object, open_: bool = False) -> Html:
    return tag("details", tag("summary", summary), *children, open=open_)


def table(
    caption: str,
    headings: Sequence[str],
    rows: Iterable[Sequence[object]],
    numbers: Iterable[int] = (),
    wide: Iterable[int] = (),
) -> Html:
    """A table in a box of its own that scrolls sideways; the first cell of a row is its heading.

    A row of one cell is a heading over the rows below it. ``numbers`` are aligned to the right,
    ``wide`` columns wrap.
    """
    kinds = dict.fromkeys(numbers, "number") | dict.fromkeys(wide, "wrap")
    head = [
        tag("th", name, scope="col", class_="number" if kinds.get(i) == "number" else None)
        for i, name in enumerate(headings)
    ]
    groups: list[list[Html]] = [[]]
    for row in rows:
        if len(row) == 1:
            over = tag("th", row[0], scope="rowgroup", colspan=len(headings), class_="over")
            groups.append([tag("tr", over)])
            continue
        cells = [
            tag("td" if i else "th", cell, scope=None if i else "row", class_=kinds.get(i))
            for i, cell in enumerate(row)
        ]
        groups[-1].append(tag("tr", *cells))
    bodies = [tag("tbody", *group) for group in groups if group]
    return tag(
        "div",
        tag("table", tag("caption", caption), tag("thead", tag("tr", *head)), *bodies),
        class_="scroll",
        tabindex="0",
        role="region",
        aria_label=caption,
    )
