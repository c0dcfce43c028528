"""What the book adds to Sphinx: parts that open at a click, formulas as MathML, and what Furo's
pages lack for readers who use no mouse or no screen.

A browser shows MathML itself: no script and no font is loaded for it.
"""

from __future__ import annotations

import re
from html import escape
from pathlib import Path
from typing import Any

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from harness.book.steps import stepped
from harness.screen.formulas import plain


class Details(SphinxDirective):
    """``:::{details} title`` … ``:::`` → ``<details>``."""

    has_content = True
    required_arguments = 1
    final_argument_whitespace = True

    def run(self) -> list[nodes.Node]:
        summary = f"<details><summary>{escape(self.arguments[0])}</summary>"
        inside = self.parse_content_to_nodes()
        return [
            nodes.raw("", summary, format="html"),
            *inside,
            nodes.raw("", "</details>", format="html"),
        ]


def mathml(tex: str, display: str) -> str:
    """With the formula in plain characters for programs that read it aloud or cannot show it."""
    text = escape(" ".join(plain(tex).split()))
    return convert(tex, display=display).replace("<math ", f'<math alttext="{text}" ', 1)


def inline_formula(writer: Any, node: nodes.math) -> None:
    writer.body.append(mathml(node.astext(), "inline"))
    raise nodes.SkipNode


def displayed_formula(writer: Any, node: nodes.math_block) -> None:
    # Wider than a phone: it scrolls by itself, and by keyboard, not with the page.
    formula = mathml(node.astext(), "block")
    writer.body.append(f'<div class="formula" tabindex="0" role="group">{formula}</div>\n')
    raise nodes.SkipNode


SLIDERS = {"day19_roofline.svg": "roofline", "day28_forms.svg": "caches"}
"""Pictures below which the page has sliders of static/sliders.js."""


def put_sliders_below(app: Sphinx, document: nodes.document, page: str) -> None:
    if app.builder.name != "html":
        return
    for image in list(document.findall(nodes.image)):
        if kind := SLIDERS.get(Path(image["uri"]).name):
            script = f"{'../' * page.count('/')}_static/sliders.js"
            place = f'<div data-sliders="{kind}"></div>\n<script defer src="{script}"></script>'
            paragraph = image.parent
            after = nodes.raw("", place, format="html")
            paragraph.parent.insert(paragraph.parent.index(paragraph) + 1, after)


def put_steps_into_the_page(app: Sphinx, document: nodes.document, page: str) -> None:
    """A stepped figure stands in the page itself, where the script and the theme reach it."""
    if app.builder.name != "html":
        return
    for image in list(document.findall(nodes.image)):
        path = Path(app.srcdir) / image["uri"]
        if path.suffix != ".svg" or not path.exists():
            continue
        drawn = path.read_text(encoding="utf-8")
        if 'class="steps"' in drawn:
            figure = nodes.raw("", stepped(drawn, image["alt"]), format="html")
            image.parent.replace_self(figure)


WIDE, WIDEST = 400, 780
"""Points across: a picture that is wider than the first cannot be read when it is as narrow as a
phone, and than the second, as a page."""


def let_wide_pictures_scroll(app: Sphinx, document: nodes.document, page: str) -> None:
    for image in document.findall(nodes.image):
        path = Path(app.srcdir) / image["uri"]
        if path.suffix != ".svg" or not path.exists():
            continue
        width = re.search(r'<svg [^>]*?width="([\d.]+)pt"', path.read_text(encoding="utf-8"))
        if width and float(width[1]) > WIDE:
            image.parent["classes"].append("wide")
        if width and float(width[1]) > WIDEST and app.builder.name == "html":
            image["width"] = f"{float(width[1]):.0f}"  # a pixel a point: three quarters of its size


ACCESSIBLE = {
    '<aside class="sidebar-drawer">': '<aside class="sidebar-drawer" aria-label="The book">',
    '<aside class="toc-drawer">': '<aside class="toc-drawer" aria-label="This page">',
    '<p class="wide">': '<p tabindex="0" class="wide">',
    '<div class="table-wrapper': '<div tabindex="0" class="table-wrapper',
    "<pre>": '<pre tabindex="0">',  # code that is too wide scrolls by the arrow keys too
    '<th class="head"><p></p></th>': "<td></td>",  # a table's empty corner heads nothing
    '<div id="search-results">': '<h1>Search</h1><div id="search-results">',
}


_HEADED_BY_A_FORMULA = re.compile(r'<th class="head">(<p><math )(alttext="([^"]*)")')
_PLAIN = re.compile(r'<span class="[npw]">([^<]*)</span>')
"""Names, brackets and spaces of code: they have the colour of the text, in light and in dark."""
_BACK_TO_TOP = re.compile(r'(<a href="#" class="back-to-top.*?</a>)', re.DOTALL)


def leave_code_out_of_the_search(app: Sphinx, document: nodes.document, page: str) -> None:
    """Code has few words that the prose lacks, and would make most of what a search loads."""
    for kind in (nodes.literal_block, nodes.raw):
        for node in document.findall(kind):
            # A raw node with a class gets a <div> around it: not one half of <details>.
            if "details>" not in node.astext()[:10]:
                node["classes"].append("no-search")


def make_accessible(app: Sphinx, error: Exception | None) -> None:
    if error is not None or app.builder.name != "html":
        return
    for path in Path(app.outdir).rglob("*.html"):
        page = path.read_text(encoding="utf-8")
        for found, better in ACCESSIBLE.items():
            page = page.replace(found, better)
        words = r'<th class="head"><span class="aloud">\3</span>\1aria-hidden="true" \2'
        page = _HEADED_BY_A_FORMULA.sub(words, page)
        page = _PLAIN.sub(r"\1", page)  # a third of a page's weight
        page = _BACK_TO_TOP.sub(r'<nav aria-label="Back to top">\1</nav>', page)
        path.write_text(page, encoding="utf-8")


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_directive("details", Details)
    app.add_html_math_renderer("mathml", (inline_formula, None), (displayed_formula, None))
    app.connect("doctree-resolved", put_sliders_below)
    app.connect("doctree-resolved", put_steps_into_the_page)
    app.connect("doctree-resolved", let_wide_pictures_scroll)
    app.connect("doctree-resolved", leave_code_out_of_the_search)
    app.connect("build-finished", make_accessible)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
