"""A lesson's blocks: which there are, that they run at their own lines, and what they print."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.verify.lesson import Block, LessonError, _at_their_lines, blocks_of, run_lesson

LESSON = """# A lesson

```python
x = 3
print(x)
```

```output
3
```

Then:

```text
not run
```

```python
import sys
y = x + 1
print(y, __name__, sys._getframe().f_lineno)
```
"""


def lesson(folder: Path, text: str) -> Path:
    path = folder / "day01.md"
    path.write_text(text, encoding="utf-8")
    return path


def test_blocks(tmp_path: Path) -> None:
    first, second = blocks_of(LESSON, tmp_path / "day01.md")
    assert first == Block(4, "x = 3\nprint(x)\n", "3\n")
    assert (second.line, second.output) == (19, None)
    assert blocks_of("No code.", tmp_path) == []


@pytest.mark.parametrize("before", ["", "```text\nx\n```\n\n", "```output\nx\n```\n\n"])
def test_an_output_stands_after_a_block(tmp_path: Path, before: str) -> None:
    with pytest.raises(LessonError, match=r"day01\.md:\d+: an output block must follow"):
        blocks_of(before + "```output\n3\n```\n", tmp_path / "day01.md")


def test_the_last_block_may_show_its_output(tmp_path: Path) -> None:
    (block,) = blocks_of("```python\nx\n```\n\n```output\ny\n```\n", tmp_path)
    assert block.output == "y\n"
    with pytest.raises(LessonError, match=":1: an output block must follow"):
        blocks_of("```output\ny\n```\n\n```python\nx\n```\n", tmp_path / "day01.md")


def test_code_stands_at_the_lessons_own_lines() -> None:
    blocks = [Block(4, "a\nb\n", None), Block(9, "c\n", None), Block(11, "d\n", None)]
    lines = _at_their_lines(blocks).split("\n")
    assert {n: line for n, line in enumerate(lines, 1) if line} == {4: "a", 5: "b", 9: "c", 11: "d"}


def test_the_line_of_a_stray_output_is_named(tmp_path: Path) -> None:
    with pytest.raises(LessonError, match=r"day01\.md:3:"):
        blocks_of("a\n\n```output\n3\n```\n", tmp_path / "day01.md")


def test_blocks_share_their_names_and_are_counted(tmp_path: Path) -> None:
    assert run_lesson(lesson(tmp_path, LESSON)) == 2
    known = LESSON + "\n```output\n4 lesson 21\n```\n"
    assert run_lesson(lesson(tmp_path, known)) == 2  # at the lesson's own lines


def test_the_code_can_be_read_where_it_says_it_stands(tmp_path: Path) -> None:
    code = "import inspect\n\ndef f():\n    return 7\n\nprint(inspect.getsource(f).strip()[-8:])\n"
    text = f"a\n\n```python\nb = 1\n```\n\n\n```python\n{code}```\n\n```output\nreturn 7\n```\n"
    assert run_lesson(lesson(tmp_path, text)) == 2


@pytest.mark.parametrize("shown", ["4\n", "3\n4\n", ""])
def test_another_output_is_told(tmp_path: Path, shown: str) -> None:
    text = LESSON.replace("```output\n3\n", f"```output\n{shown}")
    with pytest.raises(LessonError) as error:
        run_lesson(lesson(tmp_path, text))
    said = str(error.value)
    assert said == f"day01.md:4: the block prints\n3\nbut the lesson shows\n{shown.rstrip()}"


def test_space_at_the_end_is_no_difference(tmp_path: Path) -> None:
    run_lesson(lesson(tmp_path, LESSON.replace("print(x)", "print(x, '\\n\\n')")))


@pytest.mark.parametrize(
    ("code", "line", "says"),
    [
        ("x = 3\n1 / 0", 5, "ZeroDivisionError: division by zero"),
        ("def f():\n    1 / 0\n\nf()", 5, "ZeroDivisionError"),
        ("x = 1\nx = = 2", 5, "SyntaxError"),
        ("import json\njson.loads('x')", 5, "JSONDecodeError"),
        ("x = 1\nraise SyntaxError('own')", 5, "SyntaxError: own"),
    ],
)
def test_a_block_that_fails_is_named_with_its_line(
    tmp_path: Path, code: str, line: int, says: str
) -> None:
    with pytest.raises(LessonError) as error:
        run_lesson(lesson(tmp_path, f"# A\n\n```python\n{code}\n```\n"))
    assert str(error.value).startswith(f"day01.md:{line}: the block fails: {says}")
