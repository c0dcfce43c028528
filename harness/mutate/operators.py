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

from harness.curriculum import Exercise, exercises_of
from harness.curriculum.source import normalised
from harness.mutate import calls, expressions, statements
from harness.mutate.text import Edit, Text, nodes_to_change

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
    text = Text(source)
    seen = {ast.dump(text.tree)}
    found: list[Mutant] = []
    for one in exercises_of(source, path):
        if exercise and one.name != exercise:
            continue
        for name, edit in _edits(text, one):
            changed = source[: edit.start] + edit.text + source[edit.end :]
            program = same_program(changed)
            if program is None or program in seen:
                continue
            seen.add(program)
            found.append(_mutant(one.name, name, edit, source, changed))
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


def _edits(text: Text, exercise: Exercise) -> Iterator[tuple[str, Edit]]:
    answers = [(answer.start, answer.end) for answer in exercise.answers]

    def inside(first: int, last: int) -> bool:
        return any(start < first and last < end for start, end in answers)

    for node in nodes_to_change(text.tree):
        for name, operator in OPERATORS.items():
            for edit in operator(node, text):
                first = text.source.count("\n", 0, edit.start) + 1
                last = text.source.count("\n", 0, edit.end) + 1
                if inside(first, last):
                    yield name, edit


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
