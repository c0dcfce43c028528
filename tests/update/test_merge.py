"""Three texts into one: git's rules, less the conflicts that every answer under a hint would be."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.update.merge import MARK, conflicts_in, merge, with_endings_of

STUB = """def f(x):
    # TODO: do it.
    # HINT: what is it?
    raise NotImplementedError("f")


def g(x):
    # HINT: and what is this?
    raise NotImplementedError("g")
    return out
"""
F, G = 'raise NotImplementedError("f")', 'raise NotImplementedError("g")'


def merged(yours: str, theirs: str) -> str:
    done = merge(STUB.encode(), yours.encode(), theirs.encode())
    assert not done.conflicts, done.text.decode()
    return done.text.decode()


def test_an_answer_under_a_hint_that_upstream_rewords() -> None:
    yours = STUB.replace(F, "y = 2 * x\n    return y")
    theirs = STUB.replace("what is it?", "which number?").replace("def f(x)", "def f(x, y)")
    assert merged(yours, theirs) == theirs.replace(F, "y = 2 * x\n    return y")


def test_hints_that_the_learner_deleted_stay_deleted() -> None:
    yours = STUB.replace(f"    # TODO: do it.\n    # HINT: what is it?\n    {F}", "    return 2")
    assert merged(yours, STUB.replace("what is it?", "which number?")) == yours


def test_a_comment_that_both_have_changed_stays_yours_and_is_said() -> None:
    yours = STUB.replace("# TODO: do it.", "# TODO: done?")
    theirs = STUB.replace("# TODO: do it.", "# TODO: do it twice.")
    done = merge(STUB.encode(), yours.encode(), theirs.encode())
    assert not done.conflicts and done.text.decode() == yours
    ((line, text),) = done.reworded
    assert done.text.decode().splitlines()[line - 1] == "    # TODO: done?"
    assert text == "# TODO: do it twice."


def test_a_line_that_upstream_adds_beside_an_answer() -> None:
    yours = STUB.replace(G, "out = x")
    theirs = STUB.replace("    return out", "    assert out\n    return out")
    assert merged(yours, theirs) == theirs.replace(G, "out = x")


def test_the_same_change_by_both_is_one_change() -> None:
    changed = STUB.replace(F, "return x")
    assert merged(changed, changed.replace("this?", "that?")) == changed.replace("this?", "that?")


def test_a_changed_placeholder_is_a_conflict_with_both_versions_in_it() -> None:
    yours, theirs = STUB.replace(F, "return 1"), STUB.replace(F, "return None")
    done = merge(STUB.encode(), yours.encode(), theirs.encode())
    text = done.text.decode()
    (line,) = done.conflicts
    assert text.splitlines()[line - 1] == MARK
    assert "    return 1\n=======\n    return None\n" in text


def test_line_endings_are_the_learners() -> None:
    yours = STUB.replace(F, "return 1").replace("\n", "\r\n")
    theirs = STUB.replace("this?", "that?")
    done = merge(STUB.encode(), yours.encode(), theirs.encode())
    assert done.text == theirs.replace(F, "return 1").replace("\n", "\r\n").encode()
    assert with_endings_of(b"a\nb\n", b"x\r\n") == b"a\r\nb\r\n"
    assert with_endings_of(b"a\nb\n", b"x\n") == b"a\nb\n"


@pytest.mark.parametrize("end", ["", "\n"])
def test_a_last_line_without_an_ending(end: str) -> None:
    done = merge(b"a\nb", f"a\nmine{end}".encode(), b"a\ntheirs")
    assert done.conflicts == (2,)
    assert done.text == b"a\n<<<<<<< yours\nmine\n=======\ntheirs\n>>>>>>> upstream\n"


def test_bytes_that_are_no_utf8_come_through() -> None:
    done = merge(b"# \xe9\na\nb\n", b"# \xe9\na2\nb\n", b"# \xe9\na\nb2\n")
    assert done.text == b"# \xe9\na2\nb2\n"
    assert done.conflicts == ()


LINES = st.lists(st.sampled_from(["a\n", "b\n", "# c\n", "\n", "d\n"]), max_size=8)


def edited(base: list[str], edits: list[tuple[int, int, list[str]]], sign: str) -> list[str]:
    """``base`` with stretches replaced by lines that nobody else has."""
    text = list(base)
    for at, length, new in edits:
        at = at % (len(text) + 1)
        text[at : at + length] = [f"{sign}{line}" for line in new]
    return text


EDITS = st.lists(st.tuples(st.integers(0, 8), st.integers(0, 3), LINES), max_size=3)


@settings(max_examples=150, deadline=None)
@given(base=LINES, mine=EDITS, new=EDITS)
def test_no_line_that_the_learner_wrote_is_lost(
    base: list[str], mine: list[tuple[int, int, list[str]]], new: list[tuple[int, int, list[str]]]
) -> None:
    yours, theirs = edited(base, mine, "mine "), edited(base, new, "new ")
    texts = ["".join(lines).encode() for lines in (base, yours, theirs)]
    done = merge(*texts)
    out = done.text.decode().splitlines()
    assert [line for line in out if line.startswith("mine ")] == [
        line.rstrip("\n") for line in yours if line.startswith("mine ")
    ]
    assert out.count(MARK) == len(done.conflicts) == out.count("=======")
    # and nothing is invented
    known = {*"".join([*base, *yours, *theirs]).splitlines(), MARK, "=======", ">>>>>>> upstream"}
    assert set(out) <= known


@settings(max_examples=60, deadline=None)
@given(base=LINES, mine=EDITS, new=EDITS)
def test_what_git_merges_without_a_conflict_is_merged_as_git_does(
    tmp_path_factory: pytest.TempPathFactory,
    base: list[str],
    mine: list[tuple[int, int, list[str]]],
    new: list[tuple[int, int, list[str]]],
) -> None:
    texts = ["".join(t).encode() for t in (base, edited(base, mine, "m"), edited(base, new, "n"))]
    folder: Path = tmp_path_factory.getbasetemp()
    for name, text in zip(("base", "yours", "theirs"), texts, strict=True):
        (folder / name).write_bytes(text)
    git = subprocess.run(
        ["git", "merge-file", "-p", "-q", "yours", "base", "theirs"],
        cwd=folder, capture_output=True,
    )  # fmt: skip
    done = merge(*texts)
    if git.returncode == 0:
        assert done.text == git.stdout
        assert not done.conflicts


def test_marks_are_found_in_files_of_any_line_ending() -> None:
    assert conflicts_in(b"a\n<<<<<<< yours\nb\n") == conflicts_in(b"a\r\n<<<<<<< yours\r\n") == (2,)
    assert conflicts_in(b'"<<<<<<< yours"\n') == ()
