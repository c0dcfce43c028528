"""Answers that are like each other: winnowing over normalised tokens.

S. Schleimer, D. Wilkerson and A. Aiken, "Winnowing: local algorithms for document fingerprinting",
SIGMOD 2003, https://theory.stanford.edu/~aiken/publications/papers/sigmod03.pdf. Of every window of
``WINDOW`` hashes of ``GRAM`` tokens the least is kept, the rightmost of equal ones: two files that
share WINDOW + GRAM - 1 tokens in a row share a fingerprint, and what is shorter than GRAM tokens is
never one.

Names that a student chooses, numbers, strings, comments and layout do not count; names behind a dot
and Python's own do. Lines of the stub do not count, nor does what most of a class writes.
"""

from __future__ import annotations

import builtins
import hashlib
import keyword
import re
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

GRAM = 10
WINDOW = 8
LEAST = 6
"""Shared fingerprints below which a pair is not named: a loop and a return are alike anywhere."""
SHARE = 0.5
"""Of the fingerprints of the one that has fewer."""
COMMON = 0.25
COMMON_LEAST = 10
"""A fingerprint of more than so many files, and more than that share of the files of a day, is how
the exercise is solved, and says nothing of two of them."""
SHOWN = 100
"""Pairs, the most alike first."""
_TOKEN = re.compile(
    r"""
      (?P<comment>\#[^\n]*)
    | (?P<string>[rbfuRBFU]{0,2}(?:\"\"\"(?:[^\\]|\\.)*?(?:\"\"\"|\Z)|'''(?:[^\\]|\\.)*?(?:'''|\Z)
        |"(?:[^"\\\n]|\\.)*"?|'(?:[^'\\\n]|\\.)*'?))
    | (?P<number>\.?[0-9][\w.]*)
    | (?P<name>[^\W\d]\w*)
    | (?P<space>\s+)
    | (?P<operator>\*\*=?|//=?|>>=?|<<=?|[-+*/%@&|^=<>!:]=|->|.)
    """,
    re.VERBOSE | re.DOTALL,
)
_KEPT = frozenset(keyword.kwlist) | frozenset(keyword.softkwlist) | frozenset(dir(builtins))


@dataclass(frozen=True)
class Token:
    text: str
    line: int


@dataclass(frozen=True)
class Span:
    """Lines, the last included, of both files that say the same."""

    left: tuple[int, int]
    right: tuple[int, int]
    tokens: int


@dataclass(frozen=True)
class Pair:
    left: str
    right: str
    shared: int
    share: float
    spans: tuple[Span, ...]


@dataclass(frozen=True)
class Likeness:
    """Of one day: pairs that are alike, and groups whose answers are the same token by token."""

    pairs: tuple[Pair, ...]
    groups: tuple[tuple[str, ...], ...]


def likeness(sources: Mapping[str, str], stub: str) -> Likeness:
    """``sources`` are the files of a day by student. Of a group of equal ones the first stands for
    all of them in the pairs."""
    base_lines = {_bare(line) for line in stub.split("\n")}
    base_grams = {gram for gram, _ in _grams(tokens_of(stub))}
    same: dict[tuple[str, ...], list[str]] = defaultdict(list)
    tokens: dict[str, list[Token]] = {}
    for student, source in sources.items():
        mine = own_tokens(source, base_lines)
        same[tuple(token.text for token in mine)].append(student)
        tokens[student] = mine
    groups = [tuple(g) for text, g in same.items() if len(g) > 1 and len(text) >= GRAM + WINDOW]
    leaders = [group[0] for group in same.values()]
    prints = {s: fingerprints(tokens[s], base_grams) for s in leaders}
    holders: dict[int, list[str]] = defaultdict(list)
    for student, found in prints.items():
        for gram in found:
            holders[gram].append(student)
    most = max(COMMON_LEAST, COMMON * len(sources))
    common = {gram for gram, having in holders.items() if len(having) > most}
    counts: Counter[tuple[str, str]] = Counter()
    for gram, having in holders.items():
        if gram not in common:
            counts.update(combinations(having, 2))
    pairs = []
    for (left, right), shared in counts.items():
        fewer = min(len(prints[left].keys() - common), len(prints[right].keys() - common))
        if shared >= LEAST and shared >= SHARE * fewer:
            both = (prints[left].keys() & prints[right].keys()) - common
            spans = _spans(tokens[left], tokens[right], prints[left], prints[right], both)
            pairs.append(Pair(left, right, shared, shared / fewer, spans))
    pairs.sort(key=lambda pair: (-pair.share, -pair.shared, pair.left, pair.right))
    return Likeness(tuple(pairs[:SHOWN]), tuple(groups))


def tokens_of(source: str) -> list[Token]:
    """The normalised tokens. A file that is no Python gives what there is of it."""
    found: list[Token] = []
    line, before = 1, ""
    for match in _TOKEN.finditer(source.replace("\r\n", "\n").replace("\r", "\n")):
        kind, text = match.lastgroup, match[0]
        if kind == "name":
            kept = text in _KEPT or before == "."
            found.append(Token(text if kept else "name", line))
        elif kind in ("number", "string"):
            found.append(Token(kind, line))
        elif kind == "operator":
            found.append(Token(text, line))
        if kind not in ("space", "comment"):
            before = text
        line += text.count("\n")
    return found


def own_tokens(source: str, base_lines: set[str]) -> list[Token]:
    """Those on lines that the stub does not have, docstrings aside."""
    lines = source.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    own = {n for n, line in enumerate(lines, 1) if _bare(line) not in base_lines}
    return [token for token in tokens_of(source) if token.line in own]


def fingerprints(tokens: list[Token], without: set[int]) -> dict[int, list[int]]:
    """Where (as a token's place) each fingerprint stands."""
    grams = _grams(tokens)
    found: dict[int, list[int]] = defaultdict(list)
    last = -1
    for start in range(max(1, len(grams) - WINDOW + 1)):
        window = grams[start : start + WINDOW]
        if not window:
            break
        least = min(window, key=lambda gram: (gram[0], -gram[1]))
        if least[1] != last:
            last = least[1]
            if least[0] not in without:
                found[least[0]].append(last)
    return dict(found)


def _grams(tokens: list[Token]) -> list[tuple[int, int]]:
    texts = [token.text for token in tokens]
    return [(_hash("\0".join(texts[at : at + GRAM])), at) for at in range(len(texts) - GRAM + 1)]


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def _bare(line: str) -> str:
    return "".join(line.split("#")[0].split())


def _spans(
    left: list[Token],
    right: list[Token],
    left_prints: dict[int, list[int]],
    right_prints: dict[int, list[int]],
    shared: set[int],
) -> tuple[Span, ...]:
    """The shared stretches, each as far as the tokens agree, in the order of the left file."""
    starts = sorted(
        (a, b) for gram in shared for a in left_prints[gram] for b in right_prints[gram]
    )
    found: list[tuple[int, int, int]] = []
    for a, b in starts:
        if any(x <= a < x + n and a - x == b - y for x, y, n in found):
            continue
        if any(x <= a < x + n for x, y, n in found):  # shown already, beside another place
            continue
        while a and b and left[a - 1].text == right[b - 1].text:
            a, b = a - 1, b - 1
        n = 0
        while a + n < len(left) and b + n < len(right) and left[a + n].text == right[b + n].text:
            n += 1
        found.append((a, b, n))
    return tuple(
        Span(
            (left[a].line, left[a + n - 1].line), (right[b].line, right[b + n - 1].line), n
        )
        for a, b, n in sorted(found)
    )  # fmt: skip
