"""The hints of an exercise as ``make hint`` and ``make watch`` show them."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from functools import lru_cache

from harness.curriculum import Day, Exercise, deeper_hints, read_source
from harness.curriculum.source import comments_of, normalised, notes_of
from harness.screen.pager import wrapped

SEVERAL = 6
"""Of more comments than these in the learner's file, their number is told, and not each of them."""


def hint_text(day: Day, exercise: Exercise, taken: int, passed: bool) -> tuple[str, int]:
    """What to show once ``taken`` hints have been asked for, and how many have been then.

    The first depth is what stands in the learner's file already: the count begins with it.
    """
    deeper = deeper_hints(day, exercise)
    in_file = [hint for hint in (*exercise.todos, *exercise.hints) if hint not in deeper]
    shown = in_words(day, exercise)
    hints = [shown(hint) for hint in deeper]
    if len(in_file) > SEVERAL:
        what = f"read the {len(in_file)} comments with TODO and HINT in `{exercise.name}`"
        hints.insert(0, f"In {day.file.name}: {what}{_and_its_kernels(exercise)}.")
    elif in_file:
        first_line, *others = map(shown, in_file)
        gap = "\n" if first_line.startswith("`") else " "
        hints.insert(0, "\n".join([f"In {day.file.name}:{gap}{first_line}", *others]))
    first = min(len(in_file), 1)
    asked = min(taken + 1, len(hints) - first)
    depth = first + asked
    lines = [f"{exercise.name}, hint {depth} of {len(hints)}:", ""]
    for number, hint in enumerate(hints[:depth], 1):
        for at, part in enumerate(hint.split("\n")):  # what the file says in several comments
            lines += wrapped(part, 78, "     " if at else f"  {number}. ", "     ")
    if depth == len(hints):
        force = "" if passed else " FORCE=1"
        command = f"make solution TRACK={day.track} DAY={day.number}{force}"
        lines += ["", f"That was the last. The reference: {command}"]
    return "\n".join(lines), max(taken, asked)


def in_words(day: Day, exercise: Exercise) -> Callable[[str], str]:
    """Makes a hint of the exercise a sentence, with the kernel or method that it is about."""
    source = normalised(read_source(day.solution))
    names, homes = _names(source), _homes(source)

    def shown(hint: str) -> str:
        home = homes.get(hint, exercise.name).removeprefix(f"{exercise.name}.")
        where = "" if home == exercise.name else f"`{home}`: "
        return where + sentence(hint, names)

    return shown


def _and_its_kernels(exercise: Exercise) -> str:
    kernels = {answer.owner for answer in exercise.answers} - {exercise.name}
    return " and its kernels" if exercise.kind == "function" and kernels else ""


_WORD = re.compile(r"([a-z]+)[,;:.?!]?(?:\s+|$)(\S*)")
_CODE = re.compile(
    r"(def|class|lambda|del|import)\b|try:|finally:|while .*:|for \w+(, \w+)* in |with \w+[.(]"
    r"|(return|raise|from|except|if|not|yield) (\S*[(._\[A-Z]|\d)|\w+(, [\w*]+)* = "
)
_OPERATOR = re.compile(r"[-+*/%=<>&^·×@≥≤≠~]|[|]$|(is|has|are|have|gets?|and|or)\b")
_PROSE = frozenset(
    "a an the this that these each every all both no not one two three four what which where when "
    "who whose why how if in on of as at by for from with is are it its there only".split()
)


def sentence(hint: str, names: set[str]) -> str:
    """A hint with a capital letter, as it does not stand behind the word HINT; not where it begins
    with code: a statement, a formula, or one of the ``names`` of the day's code."""
    match = _WORD.match(hint)
    if not match or _CODE.match(hint):
        return hint
    word, following = match[1], match[2]
    if word == "a" and re.match(r"(is|has|gets|and|stands)\b|\W", following):
        return hint
    if word not in _PROSE:
        is_name = word in names or len(word) == 1
        if _OPERATOR.match(following) and (is_name or not following[0].isalpha()):
            return hint
        if is_name and (len(word) < 3 or _third_person(following)):
            return hint
    return hint[0].upper() + hint[1:]


def _third_person(word: str) -> bool:
    """``takes``, as in "partial takes f": what stands before it is no verb."""
    return word.endswith("s") and word not in ("its", "this", "as")


@lru_cache(maxsize=2)
def _names(source: str) -> set[str]:
    """All names that code uses: of variables, arguments, attributes, functions and modules."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        for field in ("id", "arg", "attr", "name", "asname"):
            found.update(str(getattr(node, field, None) or "").split("."))
    return found


@lru_cache(maxsize=2)
def _homes(source: str) -> dict[str, str]:
    """By hint the function or method (``Class.method``) that it stands in; not where several do."""
    tree = ast.parse(source)
    spans: list[tuple[int, int, str]] = []
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            spans.append((node.lineno, node.end_lineno or 0, node.name))
        for inner in node.body if isinstance(node, ast.ClassDef) else ():
            if isinstance(inner, ast.FunctionDef):
                name = f"{node.name}.{inner.name}"  # type: ignore[attr-defined]
                spans.append((inner.lineno, inner.end_lineno or 0, name))
    found: dict[str, set[str]] = {}
    for note in notes_of(comments_of(source)):
        holding = [name for first, last, name in spans if first <= note.line <= last]
        found.setdefault(note.text, set()).update(holding[-1:])
    return {text: homes.pop() for text, homes in found.items() if len(homes) == 1}
