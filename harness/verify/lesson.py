"""Runs a lesson's Python blocks, in order and in one namespace, and checks what they print.

A ```` ```output ```` block directly after a ```` ```python ```` block holds exactly its output.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt


class LessonError(AssertionError):
    """A block fails, or prints something else; the message names file and line."""


@dataclass(frozen=True)
class Block:
    """A Python block: the line of its first statement (from 1), and what it must print or None."""

    line: int
    code: str
    output: str | None


def blocks_of(markdown: str, path: Path) -> list[Block]:
    fences = [t for t in MarkdownIt().parse(markdown) if t.type == "fence"]
    blocks: list[Block] = []
    for number, fence in enumerate(fences):
        kind = fence.info.strip()
        assert fence.map is not None
        if kind == "python":
            following = fences[number + 1] if number + 1 < len(fences) else None
            shown = following is not None and following.info.strip() == "output"
            output = following.content if shown and following else None
            blocks.append(Block(fence.map[0] + 2, fence.content, output))
        elif kind == "output":
            before = fences[number - 1].info.strip() if number else ""
            if before != "python":
                raise LessonError(
                    f"{path.name}:{fence.map[0] + 1}: an output block must follow a python block"
                )
    return blocks


def run_lesson(path: Path) -> int:
    """Run the lesson's blocks. → how many there were."""
    blocks = blocks_of(path.read_text(encoding="utf-8"), path)
    namespace: dict[str, object] = {"__name__": "lesson"}
    with tempfile.TemporaryDirectory(prefix="lesson-") as folder:
        # Triton reads a kernel's source from its file: the code, at the lesson's own line numbers.
        file = Path(folder) / f"{path.stem}_lesson.py"
        file.write_text(_at_their_lines(blocks), encoding="utf-8")
        for block in blocks:
            _run_block(block, file, path, namespace)
    return len(blocks)


def _run_block(block: Block, file: Path, path: Path, namespace: dict[str, object]) -> None:
    printed = io.StringIO()
    where = f"{path.name}:{block.line}"
    try:
        code = compile("\n" * (block.line - 1) + block.code, str(file), "exec")
        with contextlib.redirect_stdout(printed):
            exec(code, namespace)
    except Exception as error:
        line = _line_of(error, str(file)) or block.line
        raise LessonError(
            f"{path.name}:{line}: the block fails: {type(error).__name__}: {error}"
        ) from error
    if block.output is not None and printed.getvalue().rstrip() != block.output.rstrip():
        raise LessonError(
            f"{where}: the block prints\n{printed.getvalue().rstrip()}\n"
            f"but the lesson shows\n{block.output.rstrip()}"
        )


def _at_their_lines(blocks: list[Block]) -> str:
    text = ""
    for block in blocks:
        text += "\n" * (block.line - 1 - text.count("\n")) + block.code
    return text


def _line_of(error: BaseException, file: str) -> int:
    line = getattr(error, "lineno", 0) if isinstance(error, SyntaxError) else 0
    tb = error.__traceback__
    while tb is not None:
        if tb.tb_frame.f_code.co_filename == file:
            line = tb.tb_lineno
        tb = tb.tb_next
    return line or 0
