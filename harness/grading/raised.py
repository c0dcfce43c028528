"""An exception in words that do not take knowing the test: which was wanted, and for what call."""

from __future__ import annotations

import ast
import difflib
import linecache
import re
import traceback
from collections import Counter
from functools import lru_cache
from pathlib import Path
from types import FrameType, TracebackType

_REGEX = re.compile(
    r"Regex pattern did not match\.\n +Expected regex: (.*)\n +Actual message: (.*)", re.S
)
_SHORT = 60
"""Characters of a value that are worth reading."""
_ALIKE = 0.7
"""From so alike on (1.0 is equal) one name is the other, misspelt, as ``ahed`` is ``ahead``."""
_OFTEN = 20
"""A function that stands so often in one traceback calls itself."""


def in_words(error: BaseException, tb: TracebackType | None, tests: Path) -> str | None:
    """What a failing ``pytest.raises`` of the test file ``tests`` says; None for any other error.

    ``tb`` is the traceback on the way to ``error``.
    """
    text = str(error)
    frames = _frames(tb, tests)
    at = [(block, frame, n) for frame, n in frames if (block := _raises(frame, n))]
    if not at or isinstance(error, RecursionError):
        return None
    block, frame, line = at[-1]
    wanted = _with_article(_wanted(block))
    call = _call(block, frame, line)
    if type(error).__name__ == "Failed" and text.startswith("DID NOT RAISE"):
        return f"{call} is to raise {wanted}: nothing was raised."
    match = _REGEX.match(text)
    if match:
        pattern, said = ast.literal_eval(match[1]), ast.literal_eval(match[2])
        missing = _literally(pattern)
        what = f"does not name `{missing}`" if missing else "does not name what it is to name"
        quoted = f'"{said}"' if said else "nothing"
        return f"{call} is to raise {wanted}. It does, but the message {what}: it says {quoted}."
    if isinstance(error, AssertionError) or type(error).__name__ == "Failed":
        return None
    name = type(error).__name__
    return f"{call} is to raise {wanted}. It raises {name}: {text.splitlines()[0] if text else ''}"


def what_numpy_met(text: str) -> str:
    """Numpy's own FloatingPointError in words; "" for another one."""
    match = re.fullmatch(
        r"(overflow|underflow|invalid value|divide by zero) encountered in (\w+)", text
    )
    if not match:
        return ""
    what = match[1].replace("divide", "division")
    article = "a" if what.startswith("division") else "an"
    return (
        f"numpy met {article} {what} in `{match[2]}` on the way: in this test that is an error, "
        "whatever comes out in the end."
    )


def what_may_not_be_written(text: str) -> str:
    """Numpy's refusal to write into an array, in words; "" for another error."""
    if not re.search(r"\b(array|destination|base|set) is read-only$", text):
        return ""
    return (
        f"This writes into an array that is not to be changed (numpy: {text}): an argument of the "
        "function, or a view of one, as np.broadcast_to gives. Work on a copy, or make a new array."
    )


def in_another_day(error: BaseException, file: Path, root: Path) -> str:
    """A sentence on the line of another day's file that raised ``error``; "" if the innermost line
    of a day's file is in the graded ``file``."""
    frames = [(Path(f.f_code.co_filename), n) for f, n in traceback.walk_tb(error.__traceback__)]
    days = [(path, n) for path, n in frames if re.fullmatch(r"day\d\d\.py", path.name)]
    if not days or days[-1][0] == file or not days[-1][0].is_relative_to(root / "tracks"):
        return ""
    path, line = days[-1]
    return f"It was raised at {path.relative_to(root)}:{line}, which this day builds on."


def many_answers(error: BaseException, file: str) -> str:
    """A sentence on an array where Python wants one answer, at a line of the graded ``file``: ""
    for any other error. Numpy's own words do not fit ``max(x, 1)``."""
    frames = list(traceback.walk_tb(error.__traceback__))
    if type(error) is not ValueError or not str(error).startswith("The truth value of an "):
        return ""
    if not frames or frames[-1][0].f_code.co_filename != file:
        return ""
    statement = _statement(file, frames[-1][1])
    largest = re.search(r"(?<![\w.])(max|min)\(", statement)
    asks = re.search(r"(?<![\w.])(if|while|and|or|not|assert)\b", statement)
    if largest and asks:
        return ""  # it may have been either
    if largest:
        return (
            f"`{largest[1]}` compares whole values, and an array has many: numpy.{largest[1]}imum "
            "goes element by element."
        )
    if asks:
        return (
            f"`{asks[1]}` wants one answer, and a comparison of arrays has one for each element: "
            "numpy.any and numpy.all make one of them, numpy.where takes them all."
        )
    return ""


def meant(error: BaseException, file: str) -> str:
    """The name that one of the graded ``file``, which has no value there, is a misspelling of; ""
    where it is like none. Python itself asks so only where nothing has caught the error."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    wrong = getattr(error, "name", None)
    if type(error) is not NameError or not wrong or not frames:
        return ""
    if frames[-1].f_code.co_filename != file:
        return ""
    known = {**frames[-1].f_builtins, **frames[-1].f_globals, **frames[-1].f_locals}
    own = [name for name in known if not name.startswith(("_", "test_"))]
    return next(iter(difflib.get_close_matches(wrong, own, 1, _ALIKE)), "")


def stand_ins(text: str, tb: TracebackType | None, tests: Path) -> str:
    """A sentence on each class of the test itself that an error's ``text`` speaks of."""
    own = {
        name
        for frame, _ in _frames(tb, tests)
        for name, value in frame.f_globals.items()
        if isinstance(value, type) and value.__module__ == frame.f_globals.get("__name__")
    }
    named = [n for n in re.findall(r"\b[A-Z]\w*", text) if n in own]
    return " ".join(
        f"`{name}` is a class of the test, which stands for what is passed in there."
        for name in dict.fromkeys(named)
    )


def where_a_test_stops(tb: TracebackType | None, tests: Path) -> str:
    """A sentence on an error that no answer raises: the test does, at what it was given, or a
    function of the test that an answer calls."""
    walked = list(traceback.walk_tb(tb))
    mine = [frame.f_code.co_filename == str(tests) for frame, _ in walked]
    if not mine or not mine[-1]:
        return ""
    statement = _statement(str(tests), walked[-1][1])
    if not statement:
        return ""
    if all(mine[mine.index(True) :]):
        return f"The test itself stops, at what your code gave it: `{statement}`"
    return f"It comes from a function of the test, which is called here: `{statement}`"


def _statement(file: str, line: int) -> str:
    """The innermost statement at ``line`` in one line; of an assertion what it asserts, of a block
    its first line."""
    holding = [
        node
        for node in ast.walk(ast.parse("".join(linecache.getlines(file))))
        if isinstance(node, ast.stmt) and node.lineno <= line <= (node.end_lineno or node.lineno)
    ]
    if not holding:
        return ""
    statement = max(holding, key=lambda node: (node.lineno, node.col_offset))
    if isinstance(statement, ast.Assert):
        return f"assert {ast.unparse(statement.test)}"
    return ast.unparse(statement).split("\n")[0]


def circle(tb: TracebackType | None, file: str) -> tuple[list[str], list[tuple[int, str]]]:
    """Of a RecursionError: the functions of ``file`` that call each other without end, in their
    order, and the lines (each with its function) at which they do."""
    frames = [
        (line, frame.f_code.co_name)
        for frame, line in traceback.walk_tb(tb)
        if frame.f_code.co_filename == file
    ]
    often = [place for place, n in Counter(frames).most_common() if n >= _OFTEN]
    names = dict.fromkeys(name for line, name in frames if (line, name) in often)
    return list(names), [place for place in dict.fromkeys(frames) if place in often]


def _frames(tb: TracebackType | None, tests: Path) -> list[tuple[FrameType, int]]:
    """The frames of the test file, each with its line; the innermost comes last."""
    return [at for at in traceback.walk_tb(tb) if at[0].f_code.co_filename == str(tests)]


@lru_cache(maxsize=4)
def _lines(tests: str) -> list[str]:
    return Path(tests).read_text(encoding="utf-8").splitlines()


@lru_cache(maxsize=4)
def _blocks(tests: str) -> list[ast.With]:
    tree = ast.parse("\n".join(_lines(tests)))
    return [node for node in ast.walk(tree) if isinstance(node, ast.With) and _raising(node)]


def _raising(node: ast.With) -> ast.Call | None:
    for item in node.items:
        call = item.context_expr
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "pytest.raises":
            return call
    return None


def _raises(frame: FrameType, line: int) -> ast.With | None:
    """The innermost ``with pytest.raises(...)`` that holds ``line``."""
    tests = frame.f_code.co_filename
    above = _lines(tests)[frame.f_code.co_firstlineno - 1 : line]
    if not any("pytest.raises" in text for text in above):
        return None  # as most: parsing a long file takes longer than its fast tests
    holding = [b for b in _blocks(tests) if b.lineno <= line <= (b.end_lineno or b.lineno)]
    return max(holding, key=lambda block: block.lineno, default=None)


def _wanted(block: ast.With) -> list[str]:
    call = _raising(block)
    if call is None or not call.args:
        return ["Exception"]
    kinds = call.args[0].elts if isinstance(call.args[0], ast.Tuple) else [call.args[0]]
    return [ast.unparse(kind).rpartition(".")[2] for kind in kinds]


def _with_article(names: list[str]) -> str:
    return " or ".join(f"{'an' if n[0] in 'AEIOU' else 'a'} {n}" for n in names)


def _call(block: ast.With, frame: FrameType, line: int) -> str:
    """The statement of ``block`` at ``line``, else the first, with what its names hold."""
    statement = next(
        (s for s in block.body if s.lineno <= line <= (s.end_lineno or s.lineno)), block.body[0]
    )
    text = " ".join(ast.unparse(statement).split())
    names = dict.fromkeys(node.id for node in ast.walk(statement) if isinstance(node, ast.Name))
    shown = []
    for name in names:
        if name not in frame.f_locals or callable(frame.f_locals[name]):
            continue
        try:
            value = repr(frame.f_locals[name])
        except Exception:  # an answer's own repr
            continue
        if len(value) <= _SHORT and "\n" not in value and " at 0x" not in value:
            shown.append(f"{name} = {value}")
    return f"`{text}`" + (f" with {', '.join(shown)}" if shown else "")


def _literally(pattern: str) -> str:
    """The text that a pattern looks for, where it is one text."""
    plain = re.sub(r"^\(\?i\)|\\b|\^|\$$", "", pattern)
    if re.search(r"(?<!\\)[\[\](){}*+?|^$]|\\\w", plain):
        return ""
    return re.sub(r"\\(\W)", r"\1", plain)
