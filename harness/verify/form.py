"""The form of a day: its files, docstring, exercises, hints, types, and what its lesson shows.

Reads text only; nothing is run.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from markdown_it import MarkdownIt

from harness.curriculum import (
    CurriculumError,
    Day,
    Exercise,
    generate_stub,
    load_bugs,
    read_source,
)
from harness.screen.formulas import formulas_of, unknown_commands

WORDS = (600, 1500)
HIDDEN_HINTS = 2
"""Besides the one that the stub shows: three depths."""
BUGS = 2
COLUMNS = 78
"""Width of code and drawings in a lesson: they fit a terminal of 80 columns."""


def check_form(day: Day) -> list[str]:
    """What is wrong with the form of the day, in sentences."""
    found = [
        f"{path.relative_to(day.root)} is missing"
        for path in (day.tests, day.lesson, day.bugs)
        if not path.exists()
    ]
    try:
        exercises, _ = day.exercises, day.doc
        stub = generate_stub(read_source(day.solution), day.solution)
    except CurriculumError as error:
        return [*found, str(error)]
    for exercise in exercises:
        found += _hints(exercise, stub)
    found += _untyped(day, exercises)
    found += _foreign_imports(day)
    if day.tests.exists():
        found += _unknown_exercises(day, {e.name for e in exercises})
    if day.lesson.exists():
        found += lesson_findings(day.lesson.read_text(encoding="utf-8"), day.lesson)
    if day.bugs.exists():
        found += _too_few_bugs(day, exercises)
    return found


def readable(day: Day) -> bool:
    """Whether the day's reference can be read at all, so that the other checks can run."""
    if not day.solution.exists():
        return False
    try:
        source = read_source(day.solution)
        return bool(day.exercises and day.doc and generate_stub(source, day.solution))
    except CurriculumError:
        return False


# -- the reference and its tests ---------------------------------------------------------------


def _hints(exercise: Exercise, stub: str) -> list[str]:
    found = []
    shown = " ".join(re.sub(r"^\s*#", "", line).strip() for line in stub.splitlines())
    hidden = sum(hint not in shown for hint in exercise.hints)
    if hidden == len(exercise.hints):
        found.append(
            f"{exercise.name} shows no hint in its stub: it needs a `# HINT:` before the markers, "
            "where to look"
        )
    if hidden < HIDDEN_HINTS:
        found.append(
            f"{exercise.name} has {hidden} hint(s) inside the markers: it needs {HIDDEN_HINTS}, "
            "what to think of and nearly the code"
        )
    if not exercise.todos:
        found.append(f"{exercise.name} has no `# TODO:` line")
    return found


def _untyped(day: Day, exercises: tuple[Exercise, ...]) -> list[str]:
    """Exercises whose public functions lack annotations; kernels are typed by Triton."""
    found = []
    names = {e.name for e in exercises}
    for node in ast.parse(read_source(day.solution)).body:
        functions = (
            [n for n in node.body if isinstance(n, ast.FunctionDef)]
            if isinstance(node, ast.ClassDef)
            else [node]
        )
        if getattr(node, "name", "") not in names:
            continue
        for function in functions:
            if not isinstance(function, ast.FunctionDef):
                continue
            arguments = function.args
            every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
            bare = [a.arg for a in every if a.annotation is None and a.arg not in ("self", "cls")]
            if bare or (function.returns is None and function.name != "__init__"):
                what = ", ".join(bare) or "what it returns"
                found.append(f"{function.name} (line {function.lineno}) has no type for {what}")
    return found


def _foreign_imports(day: Day) -> list[str]:
    """A day stands on its track's libraries and on earlier days; the harness is no part of it."""
    tree = ast.parse(read_source(day.solution))
    own = [node for node in tree.body if not _is_main(node)]
    found = []
    for node in (n for top in own for n in ast.walk(top)):
        modules: list[str] = []
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            modules = [node.module or ""]
        if any(module.split(".")[0] == "harness" for module in modules):
            line = getattr(node, "lineno", 0)
            found.append(
                f"{day.solution.name}:{line} imports the harness: a day does so only under "
                '`if __name__ == "__main__":`'
            )
    return found


def _is_main(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and "__name__" in ast.unparse(node.test)


def _unknown_exercises(day: Day, names: set[str]) -> list[str]:
    """Tests tied to an exercise that the day does not have: they would grade nothing, silently."""
    found = []
    for node in ast.walk(ast.parse(day.tests.read_text(encoding="utf-8"))):
        if (
            isinstance(node, ast.Call)
            and getattr(node.func, "id", "") == "exercise"
            and node.args
            and isinstance(node.args[0], ast.Constant)
            and str(node.args[0].value) not in names
        ):
            found.append(
                f"{day.tests.name}:{node.lineno} is tied to `{node.args[0].value!s}`, which is no "
                "exercise of the day"
            )
    return found


def _too_few_bugs(day: Day, exercises: tuple[Exercise, ...]) -> list[str]:
    try:
        bugs = load_bugs(day.bugs, read_source(day.solution)).bugs
    except CurriculumError as error:
        return [str(error)]
    counts = {e.name: sum(b.exercise == e.name for b in bugs) for e in exercises}
    return [f"{n} has {c} known bug(s): it needs {BUGS}" for n, c in counts.items() if c < BUGS]


# -- the lesson --------------------------------------------------------------------------------


def lesson_findings(markdown: str, path: Path) -> list[str]:
    """Its length, its links and pictures, its formulas, and the width of code and drawings."""
    found = []
    words = count_words(markdown)
    if not WORDS[0] <= words <= WORDS[1]:
        found.append(f"the lesson has {words} words: {WORDS[0]} to {WORDS[1]} are wanted")
    found += [f"{path.name}: {sentence}" for sentence in _links(markdown, path.parent)]
    found += [f"{path.name}: {sentence}" for sentence in _formulas(markdown)]
    found += [f"{path.name}:{line} is {n} columns wide: {COLUMNS} at most, so that code and "
              "drawings fit a terminal" for line, n in wide_lines(markdown)]  # fmt: skip
    return found


def count_words(markdown: str) -> int:
    """Words of prose: code blocks, tables and formulas are not counted."""
    prose = re.sub(r"^```.*?^```", "", markdown, flags=re.DOTALL | re.MULTILINE)
    prose = re.sub(r"^\|.*$", "", prose, flags=re.MULTILINE)
    prose = re.sub(r"\$\$.*?\$\$|\$[^$\n]+\$", "", prose, flags=re.DOTALL)
    return len(re.findall(r"[A-Za-zÀ-ÿ0-9][\w’'\-.]*", prose))


def wide_lines(markdown: str) -> Iterator[tuple[int, int]]:
    """Line number and width of what is too wide in fenced blocks."""
    for token in MarkdownIt().parse(markdown):
        if token.type == "fence" and token.map:
            for number, line in enumerate(token.content.splitlines(), token.map[0] + 2):
                if len(line) > COLUMNS:
                    yield number, len(line)


def _links(markdown: str, folder: Path) -> Iterator[str]:
    headings = {_anchor(h) for h in re.findall(r"^#+\s+(.+?)\s*$", markdown, re.MULTILINE)}
    for token in MarkdownIt().parse(markdown):
        for child in token.children or ():
            if child.type == "image":
                target = str(child.attrs["src"])
                if not child.content.strip():
                    yield f"the picture {target} has no text that says what it shows"
            elif child.type == "link_open":
                target = str(child.attrs["href"])
            else:
                continue
            if re.match(r"[a-z]+:", target):
                continue
            file, _, anchor = target.partition("#")
            if file and not (folder / file).exists():
                what = "picture" if child.type == "image" else "link"
                yield f"the {what} {target} leads to nothing"
            elif anchor and not file and anchor not in headings:
                yield f"no heading of the lesson is called #{anchor}"


def _anchor(heading: str) -> str:
    """A heading's address, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def _formulas(markdown: str) -> Iterator[str]:
    formulas, leftover = formulas_of(markdown)
    for line in leftover:
        yield f"a `$` without its partner: {line.strip()[:60]}"
    for tex in formulas:
        if tex.count("{") - tex.count("\\{") != tex.count("}") - tex.count("\\}"):
            yield f"the braces of ${tex.strip()[:60]}$ are not balanced"
            continue
        if tex.count("\\left") - tex.count("\\leftarrow") != tex.count("\\right") - tex.count(
            "\\rightarrow"
        ):
            yield f"\\left and \\right of ${tex.strip()[:60]}$ are not balanced"
        unknown = unknown_commands(tex)
        if unknown:
            yield f"the terminal cannot show {', '.join(unknown)} of ${tex.strip()[:60]}$"
