"""Links a word of the glossary where a page's prose uses it first."""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform

from harness.book.words import pattern, term_of

NO_PROSE = (nodes.literal, nodes.literal_block, nodes.title, nodes.reference, nodes.math,
            nodes.rubric, addnodes.pending_xref, addnodes.download_reference)  # fmt: skip


class LinkTerms(SphinxTransform):
    default_priority = 800

    def apply(self, **kwargs: Any) -> None:
        page = self.env.current_document.docname
        if not re.search(r"/day\d+$", page):
            return
        seen: set[str] = set()
        for text in list(self.document.findall(nodes.Text)):
            if not is_prose(text):
                continue
            pieces = linked(str(text), seen)
            if len(pieces) > 1:
                text.parent.replace(text, pieces)


def is_prose(text: nodes.Text) -> bool:
    inside_paragraph, node = False, text.parent
    while node is not None:
        # Versions of packages and names of cases are no prose: "transformers 5.17.0".
        measured = isinstance(node, nodes.section) and "measured" in node["ids"]
        if measured or isinstance(node, NO_PROSE):
            return False
        inside_paragraph = inside_paragraph or isinstance(node, nodes.paragraph)
        node = node.parent
    return inside_paragraph


def linked(text: str, seen: set[str]) -> list[nodes.Node]:
    """``text`` in pieces, where terms that are not ``seen`` yet are links; they are seen then."""
    pieces: list[nodes.Node] = []
    done = 0
    for match in pattern().finditer(text):
        term = term_of(match[1])
        if term in seen:
            continue
        seen.add(term)
        link = addnodes.pending_xref(
            "", nodes.inline("", match[0], classes=["std", "std-term"]),
            refdomain="std", reftype="term", reftarget=term, refexplicit=True, refwarn=True,
        )  # fmt: skip
        pieces += [nodes.Text(text[done : match.start()]), link]
        done = match.end()
    return [*pieces, nodes.Text(text[done:])]


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_transform(LinkTerms)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
