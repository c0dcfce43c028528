"""Marked answers and the exercises they belong to.

    ### BEGIN SOLUTION
    ...
    ### END SOLUTION

stand alone on their lines, at the indentation of the statements between them. A function may hold
several answers. Comments are told from strings, so markers in a docstring are none.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

from harness.curriculum.definitions import (
    FUNCTIONS,
    Definition,
    definitions_of,
    exercise_owning,
    first_line,
    is_jit,
    last_line,
)
from harness.curriculum.errors import CurriculumError
from harness.curriculum.source import (
    Comment,
    comments_of,
    cut_note,
    normalised,
    notes_of,
    split_lines,
    syntax_tree,
)

BEGIN = "### BEGIN SOLUTION"
END = "### END SOLUTION"


@dataclass(frozen=True)
class Answer:
    """What stands between two markers. ``owner`` is the qualified name of the function it is in
    (the outermost one; a class for an answer in the class's body); ``start`` and ``end`` are the
    markers' lines; ``text`` is what is between them; ``stub`` is the statement that takes its
    place."""

    owner: str
    start: int
    end: int
    text: str
    stub: str


@dataclass(frozen=True)
class Exercise:
    """A public function or class that holds answers, or whose kernels do. ``hints`` go deeper one
    by one: first those outside the markers, then those inside."""

    name: str
    kind: Literal["function", "class"]
    line: int
    signature: str
    doc: str
    answers: tuple[Answer, ...]
    todos: tuple[str, ...]
    hints: tuple[str, ...]


def parse(source: str, path: str | Path) -> ast.Module:
    """The syntax tree; a syntax error becomes a ``CurriculumError``."""
    try:
        return syntax_tree(source)
    except SyntaxError as error:
        message = f"this is not valid Python: {error.msg}"
        raise CurriculumError(path, error.lineno or 1, message) from error


@lru_cache(maxsize=8)
def exercises_of(source: str, path: str | Path) -> tuple[Exercise, ...]:
    """The exercises of a reference solution in the order of the file.

    Raises CurriculumError, with the line, for whatever is wrong with its markers.
    """
    tree = parse(source, path)
    comments = comments_of(normalised(source))
    spans = _spans(comments, path)
    if not spans:
        raise CurriculumError(path, 1, f"there is no answer here: no line says {BEGIN!r}")
    definitions = definitions_of(tree, source)
    _refuse_doubles(definitions, path)
    lines = split_lines(source)
    by_name = {definition.name: definition for definition in definitions}
    answers: dict[str, list[Answer]] = {}
    for begin, end in spans:
        chain = _enclosing(tree, begin, end, lines, path)
        exercise = _exercise_at(chain, begin, by_name, definitions, path)
        text = "".join(lines[begin.line : end.line - 1])
        answer = Answer(_owner(chain), begin.line, end.line, text, _stub(chain))
        answers.setdefault(exercise, []).append(answer)

    owners = {d.name: exercise_owning(d, definitions) for d in definitions}
    todos: dict[str, list[str]] = {}
    outside: dict[str, list[str]] = {}
    inside: dict[str, list[str]] = {}
    notes = notes_of(comments)
    if cut := cut_note(notes):
        message = (
            f"this {cut.kind} stops in the middle of a sentence, and the next line is a note of "
            f"its own: begin a line that goes on with '#' alone, without {cut.kind}:"
        )
        raise CurriculumError(path, cut.line, message)
    for note in notes:
        definition = next((d for d in definitions if d.start <= note.line <= d.end), None)
        name = owners[definition.name] if definition else None
        if note.kind == "HINT" and (name is None or name not in answers):
            message = "this hint belongs to no exercise: move it into the function it is about"
            raise CurriculumError(path, note.line, message)
        if name is None:
            continue
        if note.kind == "TODO":
            todos.setdefault(name, []).append(note.text)
        else:
            deep = any(begin.line < note.line < end.line for begin, end in spans)
            (inside if deep else outside).setdefault(name, []).append(note.text)

    exercises = []
    for definition in definitions:
        name, node = definition.name, definition.node
        if name in answers:
            exercises.append(
                Exercise(
                    name=name,
                    kind="class" if isinstance(node, ast.ClassDef) else "function",
                    line=node.lineno,
                    signature=_signature(definition),
                    doc=_docstring(definition, path),
                    answers=tuple(answers[name]),
                    todos=tuple(todos.get(name, ())),
                    hints=(*outside.get(name, ()), *inside.get(name, ())),
                )
            )
    return tuple(exercises)


# ---------------------------------------------------------------------------------------------
# From comments to pairs of markers


def _spans(comments: list[Comment], path: str | Path) -> list[tuple[Comment, Comment]]:
    spans = []
    opened: Comment | None = None
    for comment in comments:
        if comment.text not in (BEGIN, END):
            if _looks_like_marker(comment.text):
                message = f"{comment.text!r} is not a marker: write {BEGIN!r} or {END!r}"
                raise CurriculumError(path, comment.line, message)
            continue
        if not comment.alone:
            message = f"the marker {comment.text!r} must stand alone on its line"
            raise CurriculumError(path, comment.line, message)
        if comment.text == BEGIN:
            if opened:
                message = f"an answer begins inside the one that began at line {opened.line}"
                raise CurriculumError(path, comment.line, message)
            opened = comment
        else:
            if not opened:
                message = f"an answer ends that has not begun: no {BEGIN!r} stands before it"
                raise CurriculumError(path, comment.line, message)
            spans.append((opened, comment))
            opened = None
    if opened:
        message = f"the answer that begins here never ends: no {END!r} follows"
        raise CurriculumError(path, opened.line, message)
    return spans


def _looks_like_marker(text: str) -> bool:
    """Whether a comment was meant to be a marker: a few words, one like BEGIN or END and one like
    SOLUTION; behind ``###`` one of the two is enough."""
    words = re.findall(r"[A-Z]+", text.upper().replace("_", " "))
    if not 1 <= len(words) <= 4 or re.search(r"[^\w\s#:.!*=-]", text):
        return False
    verb = any(_like(word, ("BEGIN", "END", "START", "STOP")) for word in words)
    noun = any(_like(word, ("SOLUTION", "SOLUTIONS")) for word in words)
    return (verb and noun) or (text.startswith("###") and len(words) <= 2 and (verb or noun))


def _like(word: str, models: tuple[str, ...]) -> bool:
    if word in models:
        return True
    if len(word) < 3:
        return False
    from difflib import SequenceMatcher

    return any(SequenceMatcher(None, word, model).ratio() >= 0.75 for model in models)


# ---------------------------------------------------------------------------------------------
# From a pair of markers to the function it stands in


def _child_blocks(node: ast.AST) -> Iterator[list[ast.stmt]]:
    """The lists of statements directly under a statement: body, else, handlers, cases."""
    for _, value in ast.iter_fields(node):
        if isinstance(value, list) and value:
            if isinstance(value[0], ast.stmt):
                yield value
            elif isinstance(value[0], (ast.ExceptHandler, ast.match_case)):
                for part in value:
                    yield part.body


def _enclosing(
    tree: ast.Module, begin: Comment, end: Comment, lines: list[str], path: str | Path
) -> list[ast.stmt]:
    """The statements around an answer, from the outermost; checks that it is whole statements."""

    def overlapping(block: list[ast.stmt]) -> list[ast.stmt]:
        return [s for s in block if first_line(s) <= end.line and last_line(s) >= begin.line]

    code = {
        number
        for number in range(begin.line + 1, end.line)
        if (line := lines[number - 1].strip()) and not line.startswith("#")
    }
    if not code:
        raise CurriculumError(path, begin.line, "the answer that begins here is empty")
    splits = CurriculumError(
        path,
        begin.line,
        f"the answer of lines {begin.line}-{end.line} splits a statement: "
        "both markers must stand between statements of the same block",
    )
    chain: list[ast.stmt] = []
    block = tree.body
    while True:
        touched = overlapping(block)
        if len(touched) == 1 and first_line(touched[0]) < begin.line:
            chain.append(touched[0])
            blocks = [b for b in _child_blocks(touched[0]) if overlapping(b)]
            if len(blocks) != 1:
                raise splits
            block = blocks[0]
            continue
        break
    covered: set[int] = set()
    for statement in touched:
        if first_line(statement) < begin.line or last_line(statement) > end.line:
            raise splits
        covered.update(range(first_line(statement), last_line(statement) + 1))
    line = lines[first_line(touched[0]) - 1]
    # What no statement covers is half of one: an else, an except, a closing bracket. An elif is
    # a statement of its own in the tree, yet half of one in the text.
    if not code <= covered or re.match(r"\s*elif\b", line):
        raise splits
    indentation = line[: len(line) - len(line.lstrip())].removeprefix("\ufeff")
    for marker in (begin, end):
        if marker.before != indentation:
            message = "the marker must have the indentation of the answer's first statement"
            raise CurriculumError(path, marker.line, message)
    return chain


def _names(chain: list[ast.stmt]) -> tuple[list[str], bool]:
    """Names of the classes and the outermost function around an answer; whether there is one."""
    names = []
    for statement in chain:
        if isinstance(statement, ast.ClassDef):
            names.append(statement.name)
        elif isinstance(statement, FUNCTIONS):
            return [*names, statement.name], True
    return names, False


def _owner(chain: list[ast.stmt]) -> str:
    return ".".join(_names(chain)[0])


def _stub(chain: list[ast.stmt]) -> str:
    names, in_function = _names(chain)
    # A class's body runs on import, and a kernel cannot raise: both must go on.
    if not in_function or any(is_jit(statement) for statement in chain):
        return "pass"
    return f'raise NotImplementedError("{".".join(names)}")'


def _exercise_at(
    chain: list[ast.stmt],
    begin: Comment,
    by_name: dict[str, Definition],
    definitions: list[Definition],
    path: str | Path,
) -> str:
    top = chain[0] if chain else None
    definition = by_name.get(getattr(top, "name", ""))
    if definition is None:
        message = "an answer must stand in a function or class at the module's top level"
        raise CurriculumError(path, begin.line, message)
    name = definition.name
    exercise = exercise_owning(definition, definitions)
    if exercise is not None:
        return exercise
    if definition.kernel and definition.public:
        message = f"the kernel {name} belongs to no exercise: name it <exercise>_kernel"
    elif definition.example:
        message = f"{name} is an example: it must not hold an answer"
    else:
        message = f"{name} is private, so it is no exercise: make it public, or give its code"
    raise CurriculumError(path, begin.line, message)


def _refuse_doubles(definitions: list[Definition], path: str | Path) -> None:
    seen: dict[str, Definition] = {}
    for definition in definitions:
        other = seen.setdefault(definition.name, definition)
        if definition.public and other is not definition:
            message = f"{definition.name} is already defined at line {other.node.lineno}"
            raise CurriculumError(path, definition.node.lineno, message)


# ---------------------------------------------------------------------------------------------
# What is said about an exercise


def _docstring(definition: Definition, path: str | Path) -> str:
    doc = ast.get_docstring(definition.node)
    if not doc or not doc.strip():
        message = f"the exercise {definition.name} has no docstring"
        if is_jit(definition.node):
            message += "; if it is the kernel of an exercise, name it <exercise>_kernel"
        raise CurriculumError(path, definition.node.lineno, message)
    return doc


def _signature(definition: Definition) -> str:
    """``name(arguments) -> result``; a class's are those of its ``__init__``, without self."""
    node = definition.node
    if isinstance(node, ast.ClassDef):
        for statement in node.body:
            if isinstance(statement, FUNCTIONS) and statement.name == "__init__":
                arguments = ast.unparse(statement.args)
                return f"{node.name}({re.sub(r'^self(, (/, )?|$)', '', arguments)})"
        return node.name
    result = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    return f"{node.name}({ast.unparse(node.args)}){result}"
