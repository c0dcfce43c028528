"""Makes a day's mutants: one small change each, inside the answers' markers, as edits of the text.

The operators know tensors and kernels: masks, strides, axes, casts, dtypes, launches. They edit
the text at the places that the syntax tree names, so that a mutant differs from the reference in
its change alone: comments, layout and lines stay, and its diff is what a learner would have typed.
"""

from __future__ import annotations

import ast
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from harness.curriculum import exercises_of
from harness.curriculum.definitions import FUNCTIONS
from harness.curriculum.source import normalised
from harness.mutate import calls, expressions, statements
from harness.mutate.text import Edit, Text, called, nodes_to_change

Operator = Callable[[ast.AST, Text], Iterator[Edit]]
OPERATORS: dict[str, Operator] = {
    "arithmetic": expressions.arithmetic,
    "operands swapped": expressions.operands_swapped,
    "operand dropped": expressions.dropped_operand,
    "boolean": expressions.boolean,
    "comparison": expressions.comparison,
    "member dropped": expressions.dropped_member,
    "sign": expressions.sign,
    "constant": expressions.constant,
    "choice": expressions.choice,
    "slice": expressions.slices,
    "elements swapped": expressions.order_of_elements,
    "transpose": expressions.transpose,
    "stride": expressions.stride,
    "filter": expressions.filters,
    "function": calls.function,
    "mask": calls.mask,
    "keyword": calls.keyword,
    "cast": calls.cast,
    "copy": calls.copy,
    "step": calls.step,
    "one of two": calls.one_of_two,
    "arguments swapped": calls.arguments_swapped,
    "bound": calls.bound,
    "cdiv": calls.cdiv,
    "seed": calls.seed,
    "queue": calls.end_of_queue,
    "removed": statements.removed,
    "assignment": statements.assignment,
    "condition": statements.condition,
    "loop": statements.loop,
    "context": statements.context,
    "exception": statements.exception,
    "order": statements.order,
}


@dataclass(frozen=True)
class Mutant:
    """The reference with one change; ``before`` and ``after`` are the changed lines."""

    exercise: str
    operator: str
    line: int
    before: str
    after: str
    source: str


def mutants_of(source: str, path: Path, exercise: str = "") -> tuple[Mutant, ...]:
    """All mutants of the answers in a reference (of one exercise), in the order of the lines.

    Each is valid Python, and no two are the same program.
    """
    source = normalised(source)
    answers = [
        (one.name, answer.start, answer.end)
        for one in exercises_of(source, path)
        if exercise in ("", one.name)
        for answer in one.answers
    ]

    def answered(first: int, last: int) -> str:
        return next((n for n, start, end in answers if start < first and last < end), "")

    return _mutants(source, answered)


def mutants_of_file(source: str) -> tuple[Mutant, ...]:
    """All mutants of a whole file; where a day's have an exercise, these have a definition."""
    source = normalised(source)
    tree = ast.parse(source)
    spans, kept = _definitions(tree), _for_the_type_checker(tree)

    def defined(first: int, last: int) -> str:
        if any(start <= first and last <= end for start, end in kept):
            return ""
        around = [(start, name) for start, end, name in spans if start <= first and last <= end]
        return max(around, default=(0, "the module"))[1]

    return _mutants(source, defined, _means_nothing)


UNORDERED = ("set", "frozenset", "startswith", "endswith")


def _means_nothing(name: str, node: ast.AST, edit: Edit, text: Text) -> bool:
    """Whether an edit of a file of the harness says the same in other words."""
    above = text.parent(node)
    if name == "elements swapped":
        return isinstance(above, ast.ExceptHandler) or called(above) in UNORDERED
    if name == "arguments swapped":
        return called(node) == "suppress"
    if name == "keyword":  # what is UTF-8 on most machines, and what a folder is called
        dropped = text.source[edit.start : edit.end]
        return "encoding=" in dropped or ("prefix=" in dropped and "Temporary" in text.of(node))
    return name == "constant" and isinstance(above, ast.keyword) and above.arg == "strict"


def _for_the_type_checker(tree: ast.Module) -> list[tuple[int, int]]:
    """First and last lines of what does nothing: assertions, and imports for types."""
    return [
        (node.lineno, node.end_lineno or node.lineno)
        for node in ast.walk(tree)
        if isinstance(node, ast.Assert)
        or (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    ]


def _definitions(tree: ast.Module) -> list[tuple[int, int, str]]:
    """First line, last line and name of the functions and classes of a file, and of methods."""
    found = []
    for node in tree.body:
        if isinstance(node, (*FUNCTIONS, ast.ClassDef)):
            found.append((node.lineno, node.end_lineno or node.lineno, node.name))
        if isinstance(node, ast.ClassDef):
            for part in node.body:
                if isinstance(part, FUNCTIONS):
                    name = f"{node.name}.{part.name}"
                    found.append((part.lineno, part.end_lineno or part.lineno, name))
    return found


def _mutants(
    source: str,
    whose: Callable[[int, int], str],
    skip: Callable[[str, ast.AST, Edit, Text], bool] = lambda *_: False,
) -> tuple[Mutant, ...]:
    """``whose`` names what the lines from the first to the last belong to, "" for nothing."""
    text = Text(source)
    found: list[Mutant] = []
    for statement in text.tree.body:
        start, end = text.start(statement), text.end(statement)
        seen = {same_program(source[start:end])}
        for name, node, edit in _edits(text, statement):
            first = source.count("\n", 0, edit.start) + 1
            last = source.count("\n", 0, edit.end) + 1
            owner = whose(first, last)
            if not owner or skip(name, node, edit, text):
                continue
            program = same_program(source[start : edit.start] + edit.text + source[edit.end : end])
            if program is None or program in seen:
                continue
            seen.add(program)
            changed = source[: edit.start] + edit.text + source[edit.end :]
            found.append(_mutant(owner, name, edit, source, changed))
    return tuple(sorted(found, key=lambda m: m.line))


def same_program(source: str) -> str | None:
    """A text that is the same for two sources that are one program; None for what is not Python."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a mutant may well compare with `is`
            tree = ast.parse(source)
            compile(tree, "mutant", "exec")
    except (SyntaxError, ValueError):
        return None
    return ast.dump(tree)


def _edits(text: Text, statement: ast.stmt) -> Iterator[tuple[str, ast.AST, Edit]]:
    for node in nodes_to_change(ast.Module([statement], [])):
        for name, operator in OPERATORS.items():
            for edit in operator(node, text):
                yield name, node, edit


def _mutant(exercise: str, operator: str, edit: Edit, source: str, changed: str) -> Mutant:
    start = source.rfind("\n", 0, edit.start) + 1
    tail = len(source) - edit.end
    before = source[start : _line_end(source, edit.end)]
    after = changed[start : _line_end(changed, len(changed) - tail)]
    line = source.count("\n", 0, edit.start) + 1
    return Mutant(exercise, operator, line, before.strip(), after.strip(), changed)


def _line_end(text: str, at: int) -> int:
    end = text.find("\n", at)
    return len(text) if end < 0 else end
