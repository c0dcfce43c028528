from __future__ import annotations

import io
import subprocess
import sys
import tokenize
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.curriculum import ROOT, CurriculumError, read_source, write_source
from harness.curriculum.source import (
    comments_of,
    newline_of,
    normalised,
    notes_of,
    split_lines,
    syntax_tree,
)

TRICKY = (
    r'''
a = "# no" + '# no' + "\"# no" + '\\'  # yes
b = r"\"# no" + f"{a}# no" + b'# no'.decode()  # yes
c = """
# no
'''
    + "'''"
    + r'''
\""" # no
"""  # yes
d = """"# no" """  # yes
e = "a\
# no"
    # yes, indented
'''
)


def by_tokenize(text: str) -> list[tuple[int, int, str]]:
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    return [(*t.start, t.string.rstrip()) for t in tokens if t.type == tokenize.COMMENT]


def by_harness(text: str) -> list[tuple[int, int, str]]:
    return [(c.line, len(c.before), c.text) for c in comments_of(text)]


FILES = [*sorted((ROOT / "harness" / "curriculum").glob("*.py")), Path(tokenize.__file__)]
FILES += [Path(io.__file__), Path(__file__), *sorted(ROOT.glob("tracks/*/solutions/day*.py"))[:6]]


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_finds_the_comments_that_tokenize_finds(path: Path) -> None:
    text = normalised(read_source(path))
    assert by_harness(text) == by_tokenize(text)


def test_tells_comments_from_strings() -> None:
    found = by_harness(TRICKY)
    assert found == by_tokenize(TRICKY)
    assert [text for _, _, text in found] == ["# yes"] * 4 + ["# yes, indented"]


PIECES = st.sampled_from(
    [
        '"#"',
        "'#'",
        '"""#\n#"""',
        "'''\n#\"'''",
        r'"\"#"',
        "# c\n",
        "\n",
        "x",
        r"r'\'#'",
        '""',
        " + ",
    ]
)


@given(st.lists(PIECES, max_size=12))
def test_agrees_with_tokenize_on_whatever_compiles(pieces: list[str]) -> None:
    text = "".join(pieces)
    try:
        compile(text, "x", "exec")
    except SyntaxError:
        return
    assert by_harness(text) == by_tokenize(text)


@given(st.text(alphabet="ab \t\r\n\x0c\x1c\u2028é", max_size=40))
def test_lines_lose_nothing(text: str) -> None:
    lines = split_lines(text)
    assert "".join(lines) == text
    assert len(lines) == len(split_lines(normalised(text)))
    assert all("\n" not in line[:-1] for line in lines)


def test_reading_and_writing_keep_line_endings(tmp_path: Path) -> None:
    path = tmp_path / "a.py"
    for text in ("a\r\nb\r\n", "a\nb", "é\r\nb\n", ""):
        write_source(path, text)
        assert read_source(path) == text
    assert newline_of("a\r\nb\n") == "\r\n"
    assert newline_of("") == "\n"


def test_notes_join_their_continuations() -> None:
    text = (
        "# HINT: one\n#   more\n# and more\n### BEGIN SOLUTION\n# not this\n\n"
        "    # TODO: two\n    # HINT: three\n#   elsewhere\n"
        "# HINT: four\n\n#   too late\n"
        'x = "# HINT: no"  # HINT: not alone\n'
        "# HINT:\n#   five\n"
    )
    notes = [(note.kind, note.line, note.text) for note in notes_of(comments_of(text))]
    assert notes == [
        ("HINT", 1, "one more and more"),
        ("TODO", 7, "two"),
        ("HINT", 8, "three"),
        ("HINT", 10, "four"),
        ("HINT", 14, "five"),
    ]


def test_importing_brings_no_heavy_package() -> None:
    code = (
        "import sys, harness.curriculum\n"
        "print([m for m in ('torch', 'triton', 'numpy', 'pytest', 'rich') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "day01.py"
    path.write_bytes("x = 1\ny = 'é'\n".encode("latin-1"))
    with pytest.raises(CurriculumError) as caught:
        read_source(path)
    assert "save it as UTF-8" in caught.value.message
    assert caught.value.line == 2


@pytest.mark.parametrize(
    ("text", "line"), [("x = 1\ndef f(:\n", 2), ("x = 1\n\0", 2), ("-" * 100_000 + "1", 1)]
)
def test_whatever_does_not_parse_is_a_syntax_error(text: str, line: int) -> None:
    with pytest.raises(SyntaxError) as caught:
        syntax_tree(text)
    assert caught.value.lineno == line


def test_parsing_warns_of_nothing(recwarn: pytest.WarningsRecorder) -> None:
    syntax_tree("x = '\\ '\nassert (1, 2)\n")
    assert not recwarn.list
