"""What is wrong as ``file:line: sentence``, a line each, which every editor can read.

``PROBLEMS=1`` in the environment asks for it below each report. VS Code's tasks do; vim reads it
with ``:set errorformat=%f:%l:\\ %m``.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from rich.console import Console

from harness.curriculum import ROOT
from harness.protocol import DayResult, Failure

# A point that ends a sentence, with the quotes and brackets that close with it: not that of 0.5.
_SENTENCE = re.compile(r".*?(?<!\be\.g)(?<!\bi\.e)[.?!][)\]`'\"]*(?=\s|$)")


def wanted() -> bool:
    """Whether an editor reads what is printed."""
    return os.environ.get("PROBLEMS", "").lower() not in ("", "0", "false", "no")


def list_problems(result: DayResult, console: Console) -> None:
    """Print them where an editor reads along: whole lines, however narrow the window is."""
    for line in problem_lines(result) if wanted() else []:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def problem_lines(result: DayResult) -> list[str]:
    """What is wrong, the first thing of each line: an answer that is wrong fails many tests."""
    found = [("", failure) for failure in result.problems]
    for exercise in result.exercises:
        if exercise.status == "wrong":
            found += [(exercise.name, test.failure) for test in exercise.failed if test.failure]
    first: dict[tuple[str, int], str] = {}
    for name, failure in found:
        sentence = first_sentence(failure.message)
        # what was not tried after a test that did not end says nothing new
        if failure.file and failure.line and not sentence.startswith("was not tried"):
            told = _told(name, sentence, failure)
            first.setdefault((failure.file, failure.line), f"{_place(failure)}: {told}")
    return [first[place] for place in sorted(first)]


def _told(name: str, sentence: str, failure: Failure) -> str:
    """The sentence, of which exercise where it does not say, and what is to be said with it: of
    values that are wrong the first, and what a known mistake is."""
    if name and not re.search(rf"\b{name}(?![a-z])", sentence):  # `fill` is not in "filled"
        sentence = f"{name}: {sentence}"
    if sentence.endswith(_WRONG):
        lines = [line.strip() for line in failure.message.strip().splitlines()[1:]]
        sentence = " ".join([sentence, *lines[:1]])
    if failure.says:
        end = "" if sentence.endswith((".", "?", "!", "…")) else "."
        sentence = f"{sentence}{end} {first_sentence(failure.says)}"
    return sentence


_WRONG = (" is wrong.", " is wrong everywhere.", " is wrong in places.")


def first_sentence(message: str) -> str:
    """The message's first sentence: a line of it ends one, too. Of an array that goes on in the
    next line nothing is shown."""
    line = next((line.strip() for line in message.splitlines() if line.strip()), "")
    match = _SENTENCE.match(line)
    sentence = match.group() if match else line
    if sentence.count("[") > sentence.count("]"):
        sentence = f"{sentence[: sentence.index('[')]}[…"
    return sentence


def _place(failure: Failure) -> str:
    file = Path(failure.file)
    name = file.relative_to(ROOT).as_posix() if file.is_relative_to(ROOT) else str(file)
    return f"{name}:{failure.line}"
