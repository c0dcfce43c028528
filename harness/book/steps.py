"""A stepped figure as a part of a page."""

from __future__ import annotations

import re
from html import escape


def stepped(drawn: str, about: str) -> str:
    """The figure without what makes it a file of its own: the style, the white ground, its size."""
    inside = re.sub(r"<style>.*?</style>\n|<rect class=\"ground\".*?/>\n", "", drawn)
    inside = inside.replace(' xmlns="http://www.w3.org/2000/svg" class="steps"', "", 1)
    inside = re.sub(r' width="\d+"', "", inside, count=1)
    return f'<figure class="steps" role="group" aria-label="{escape(about)}">\n{inside}</figure>'
