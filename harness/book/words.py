"""The words of the glossary, and how to find them in prose."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

GLOSSARY = Path(__file__).with_name("glossary.md")


@cache
def terms() -> tuple[str, ...]:
    """The words of the glossary, longest first."""
    entry = re.compile(r"^(\S.*)\n  \S", re.MULTILINE)
    return tuple(sorted(entry.findall(GLOSSARY.read_text(encoding="utf-8")), key=lambda t: -len(t)))


@cache
def pattern() -> re.Pattern[str]:
    """A term as a word of its own, in singular or plural, capital or not unless it is a name."""
    return re.compile(rf"\b({'|'.join(map(spelled, terms()))})(?:e?s)?\b")


def spelled(term: str) -> str:
    first, rest = re.escape(term[0]), re.escape(term[1:])
    return f"[{term[0].upper()}{term[0]}]{rest}" if term.islower() else first + rest


def term_of(word: str) -> str:
    """The glossary's spelling of a match."""
    return _spellings()[word]


@cache
def _spellings() -> dict[str, str]:
    capital = {term[0].upper() + term[1:]: term for term in terms() if term.islower()}
    return capital | {term: term for term in terms()}
