"""``make update`` in real clones: answers come through every change of upstream's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.update import command
from harness.update.plan import File
from tests.support.upstream import STUB, Clone, Upstream, git

DAY = "tracks/autodiff/day01.py"
HINT = ("what is x + x?", "what comes before three?")
ANSWER = "return x + x  # mine"
PARTS = (
    "solutions/day{:02d}.py", "tests/test_day{:02d}.py", "bugs/day{:02d}.toml",
    "lessons/day{:02d}.md",
)  # fmt: skip


def reword(upstream: Upstream) -> str:
    """A small change of day 1's stub and of its lesson, published."""
    upstream.change("solutions/day01.py", *HINT)
    upstream.change("lessons/day01.md", "word word", "text text")
    return upstream.publish("other words")


# What a learner has done before the update: nothing, edited, committed, both.
def untouched(clone: Clone) -> None:
    pass


def edited(clone: Clone) -> None:
    clone.answer(ANSWER)


def committed(clone: Clone) -> None:
    clone.answer(ANSWER)
    clone.commit()


def committed_then_edited(clone: Clone) -> None:
    clone.answer("return x * 2")
    clone.commit()
    clone.file().write_text(clone.file().read_text().replace("return x * 2", ANSWER))


def staged(clone: Clone) -> None:
    clone.answer(ANSWER)
    git(clone.folder, "add", "-A")


WAYS = [untouched, edited, committed, committed_then_edited, staged]


@pytest.mark.parametrize("way", WAYS)
def test_answers_and_upstreams_changes_are_both_there(upstream, clone, way) -> None:
    way(clone)
    answered = STUB not in clone.file().read_text()
    mine_committed = clone.head() != git(upstream.folder, "rev-parse", "HEAD")
    newest = reword(upstream)
    said = clone.harness("update")
    text = clone.file().read_text()
    assert HINT[1] in text
    assert (ANSWER in text) == answered
    assert ("merged" in said) == answered
    assert "text text" in (clone.track / "lessons/day01.md").read_text()
    assert git(clone.folder, "merge-base", "HEAD", newest) == newest
    if not mine_committed:
        assert clone.head() == newest
    if way in (untouched, committed):
        assert clone.status() == ""
    else:
        assert clone.status() == f"M {DAY}"  # as git prints it, stripped: changed, not staged
    # The base has moved along: a second version merges as well, and a third call finds nothing.
    upstream.change("solutions/day01.py", HINT[1], "what is one and one?")
    upstream.publish()
    clone.harness("update")
    assert "one and one" in clone.file().read_text()
    assert "Nothing new" in clone.harness("update")


@pytest.mark.parametrize("way", WAYS)
def test_it_can_all_be_taken_back(upstream, clone, way) -> None:
    way(clone)
    before, head = clone.everything(), clone.head()
    tree = git(clone.folder, "write-tree")
    reword(upstream)
    clone.harness("update")
    assert clone.everything() != before
    said = clone.harness("update", "--undo")
    assert "Taking back" in said
    assert (clone.everything(), clone.head()) == (before, head)
    assert git(clone.folder, "write-tree") == tree, "what was staged"
    assert "no update to take back" in clone.harness("update", UNDO="1")
    clone.harness("update")
    assert HINT[1] in clone.file().read_text()


@pytest.mark.parametrize("way", WAYS)
def test_a_dry_run_says_and_changes_nothing(upstream, clone, way) -> None:
    way(clone)
    before, head, status = clone.everything(), clone.head(), clone.status()
    upstream.add_day(3)
    reword(upstream)
    said = clone.harness("update", CHECK="1")
    assert "would bring" in said
    assert "new day       autodiff 3: Toys 3" in said
    assert "What is new:\n  autodiff 1, 3: other words\n" in said
    assert (f"merged        {DAY}" in said) == (way is not untouched)
    assert (clone.everything(), clone.head(), clone.status()) == (before, head, status)


@pytest.mark.parametrize("way", [edited, committed, committed_then_edited])
def test_a_conflict_is_marked_and_listed_and_blocks_the_next_update(upstream, clone, way) -> None:
    way(clone)
    before = clone.everything()
    upstream.rename_exercise()  # so both sides changed the line that raises
    upstream.publish()
    said = clone.harness("update", code=1)
    lines = clone.file().read_text().splitlines()
    number = lines.index("<<<<<<< yours") + 1
    assert f"{DAY}:{number}: " in said
    assert any(ANSWER in line for line in lines)
    assert any('NotImplementedError("twice")' in line for line in lines)
    if way is not edited:
        assert "<<<<<<<" not in git(clone.folder, "show", f"HEAD:{DAY}"), "no mark is committed"
    reword_more = ("what is x + x?", "what?")
    upstream.change("solutions/day01.py", *reword_more)
    upstream.publish()
    again = clone.harness("update", code=3)
    assert f"{DAY}:{number}: <<<<<<< yours" in again
    clone.harness("update", "--undo")
    assert clone.everything() == before
    # decided for one's own, the next update goes on
    clone.harness("update", code=1)
    text = clone.file().read_text()
    start, middle = text.index("<<<<<<< yours"), text.index("=======")
    end = text.index(">>>>>>> upstream\n") + len(">>>>>>> upstream\n")
    mine = text[start + len("<<<<<<< yours\n") : middle]
    clone.file().write_text(text[:start] + mine + text[end:])
    assert "Nothing new" in clone.harness("update")


def test_a_merge_that_breaks_the_file_is_said(upstream, clone) -> None:
    clone.answer("(x,\n    ); y = (x\n    )\n    return x + x")
    upstream.change("solutions/day01.py", "    # TODO: return a new array.\n", "    if True:\n")
    text = (upstream.track / "solutions/day01.py").read_text()
    inside = text[text.index("    ### BEGIN") : text.index("    ### END SOLUTION\n") + 21]
    indented = "".join(f"    {line}\n" for line in inside.splitlines())
    upstream.write("solutions/day01.py", text.replace(inside, indented))
    upstream.publish()
    said = clone.harness("update", code=1)
    assert f"{DAY}:" in said


def test_lines_end_as_the_learners_editor_left_them(upstream, clone) -> None:
    clone.answer(ANSWER)
    clone.file().write_bytes(clone.file().read_bytes().replace(b"\n", b"\r\n"))
    other = clone.file(2)
    other.write_bytes(other.read_bytes().replace(b"\n", b"\r\n"))
    before = clone.everything()
    upstream.change("solutions/day02.py", *HINT)
    reword(upstream)
    clone.harness("update")
    for day in (1, 2):
        content = clone.file(day).read_bytes()
        assert content.count(b"\n") == content.count(b"\r\n")
        assert HINT[1].encode() in content
    assert ANSWER in clone.file().read_text()
    clone.harness("update", "--undo")
    assert clone.everything() == before


def test_a_checkout_with_automatic_line_endings(upstream, tmp_path: Path) -> None:
    clone = Clone(upstream.folder, tmp_path / "clone", "-c", "core.autocrlf=true")
    assert b"\r\n" in clone.file().read_bytes()
    clone.answer(ANSWER)
    reword(upstream)
    clone.harness("update")
    content = clone.file().read_bytes()
    assert ANSWER.encode() in content and HINT[1].encode() in content
    assert content.count(b"\n") == content.count(b"\r\n")
    assert clone.status() == f"M {DAY}"


def test_a_removed_day(upstream, clone) -> None:
    clone.answer(ANSWER, day=2)
    for path in (
        "solutions/day02.py",
        "tests/test_day02.py",
        "bugs/day02.toml",
        "lessons/day02.md",
    ):
        (upstream.track / path).unlink()
    (upstream.track / "day02.py").unlink()
    upstream.publish()
    said = clone.harness("update")
    assert "kept apart    tracks/autodiff/day02.py" in said
    assert not clone.file(2).exists()
    (kept,) = (clone.folder / ".harness/archive/autodiff/day02").iterdir()
    assert ANSWER in kept.read_text()
    clone.harness("update", "--undo")
    assert ANSWER in clone.file(2).read_text()


def shift(upstream: Upstream) -> None:
    """Day 2 becomes day 3, day 1 becomes day 2, and another day is the first."""
    for number in (2, 1):
        for path in PARTS:
            text = (upstream.track / path.format(number)).read_text()
            text = text.replace(f"day{number:02d}", f"day{number + 1:02d}")
            text = text.replace(f"Day {number}: Toys", f"Day {number + 1}: Toys")
            upstream.write(path.format(number + 1), text)
    upstream.add_day(1, reference=("Toys 1", "Pets 1"))
    text = (upstream.track / "solutions/day01.py").read_text()
    for part in (
        "solutions/day01.py",
        "tests/test_day01.py",
        "bugs/day01.toml",
        "lessons/day01.md",
    ):
        text = (upstream.track / part).read_text()
        upstream.write(part, text.replace("double", "negate"))
    upstream.publish("renumbered")


@pytest.mark.parametrize("way", [edited, committed])
def test_answers_and_progress_follow_a_day_that_gets_another_number(upstream, clone, way) -> None:
    way(clone)
    clone.answer("return 2 * x  # second", day=2)
    clone.harness("autodiff", "1")
    clone.harness("hint", "autodiff", "2")
    before = clone.everything()
    shift(upstream)
    said = clone.harness("update")
    assert "tracks/autodiff/day01.py is now tracks/autodiff/day02.py, with your answers" in said
    assert "negate" in clone.file(1).read_text() and ANSWER not in clone.file(1).read_text()
    assert ANSWER in clone.file(2).read_text() and "Day 2: Toys 1" in clone.file(2).read_text()
    assert "# second" in clone.file(3).read_text()
    days = json.loads(clone.harness("progress", "--json"))["tracks"]["autodiff"]
    assert [day["level"] for day in days] == [0, 2, 0]
    assert "double, hint 3 of" in clone.harness("hint", "autodiff", "3")
    clone.harness("update", "--undo")
    before["PROGRESS.md"] = clone.everything().get("PROGRESS.md", b"")
    assert {k: v for k, v in clone.everything().items() if k != "PROGRESS.md"} == {
        k: v for k, v in before.items() if k != "PROGRESS.md"
    }
    days = json.loads(clone.harness("progress", "--json"))["tracks"]["autodiff"]
    assert [day["level"] for day in days] == [2, 0]


def test_a_file_of_the_learners_where_a_new_day_comes(upstream, clone) -> None:
    own = "# my own third day\n"
    clone.file(3).write_text(own)
    upstream.add_day(3)
    upstream.publish()
    said = clone.harness("update")
    assert "kept apart    tracks/autodiff/day03.py" in said
    assert STUB in clone.file(3).read_text()
    assert "  1  " in clone.harness("restore", "autodiff", "3")
    clone.harness("restore", "autodiff", "3", "--version", "1")
    assert clone.file(3).read_text() == own


def test_a_day_that_the_learner_deleted_comes_back(upstream, clone) -> None:
    clone.file().unlink()
    reword(upstream)
    clone.harness("update")
    assert STUB in clone.file().read_text()


def test_other_files_that_the_learner_changed(upstream, clone) -> None:
    lesson = clone.track / "lessons/day01.md"
    lesson.write_text(lesson.read_text() + "\nMy own note.\n")
    tests = clone.track / "tests/test_day01.py"
    tests.write_text(tests.read_text().replace("rng.normal(5)", "rng.normal(7)"))
    notes = clone.folder / "notes.txt"
    notes.write_text("mine")
    upstream.change("tests/test_day01.py", "rng.normal(5)", "rng.normal(6)")
    reword(upstream)
    said = clone.harness("update")
    assert "text text" in lesson.read_text() and "My own note." in lesson.read_text()
    assert "rng.normal(6)" in tests.read_text(), "a test with marks would be a broken one"
    assert "tracks/autodiff/tests/test_day01.py: upstream's is in place" in said
    assert notes.read_text() == "mine"
    kept = (clone.folder / ".harness/update").rglob("before/tracks/autodiff/tests/test_day01.py")
    assert "rng.normal(7)" in next(kept).read_text()


def test_undo_keeps_what_was_written_since(upstream, clone) -> None:
    reword(upstream)
    clone.harness("update")
    clone.answer(ANSWER)
    assert "changed since" in clone.harness("update", "--undo")
    text = clone.file().read_text()
    assert ANSWER in text and HINT[0] in text


def test_undo_does_not_take_commits_away(upstream, clone) -> None:
    reword(upstream)
    clone.harness("update")
    clone.answer(ANSWER)
    head = clone.commit()
    assert "you have committed" in clone.harness("update", "--undo", code=3)
    assert clone.head() == head
    assert ANSWER in clone.file().read_text()


def test_two_updates_are_taken_back_one_by_one(upstream, clone) -> None:
    clone.answer(ANSWER)
    states = [clone.everything()]
    for words in (HINT, (HINT[1], "what?")):
        upstream.change("solutions/day01.py", *words)
        upstream.publish()
        clone.harness("update")
        states.append(clone.everything())
    for state in states[1::-1]:
        clone.harness("update", "--undo")
        assert clone.everything() == state
    assert "no update" in clone.harness("update", "--undo")


def test_requirements_that_changed_are_said(upstream, clone) -> None:
    file = upstream.folder / "requirements.txt"
    file.write_text(file.read_text() + "# more\n")
    upstream.publish()
    assert "requirements.txt has changed" in clone.harness("update")


def test_the_update_never_imports_torch(upstream, clone) -> None:
    reword(upstream)
    code = (
        "import sys\nsys.argv = ['harness', 'update']\nfrom harness.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print('HEAVY', sorted({'torch', 'triton', 'numpy', 'pytest'} & set(sys.modules)))\n"
    )
    assert "HEAVY []" in clone.run("-c", code).stdout


def test_a_git_identity_that_lacks_its_name(
    upstream: Upstream, clone: Clone, tmp_path: Path
) -> None:
    """git knows an address and may not guess the name: the merge is committed all the same."""
    clone.answer("return x + x")
    clone.commit()
    upstream.change("lessons/day01.md", "word ", "other ")
    upstream.publish()
    settings = tmp_path / "gitconfig"
    settings.write_text("[user]\nemail = a@example.org\nuseConfigOnly = true\n")
    done = clone.run("-m", "harness", "update", GIT_CONFIG_GLOBAL=str(settings))
    assert done.returncode == 0, done.stdout + done.stderr
    assert git(clone.folder, "log", "-1", "--format=%an") == "make update"


def test_a_comment_that_both_have_changed_is_said(upstream: Upstream, clone: Clone) -> None:
    file = clone.file()
    mine = file.read_text().replace("# TODO: return a new array.", "# TODO: half done.")
    file.write_text(mine.replace(STUB, "return x + x"))
    upstream.change("solutions/day01.py", "return a new array.", "return a fresh array.")
    upstream.publish()
    said = clone.harness("update")
    line = file.read_text().splitlines().index("    # TODO: half done.") + 1
    assert f"day01.py:{line}, where upstream now says: # TODO: return a fresh array." in said


@pytest.mark.parametrize("opening", ['"""', '"""\n'])
def test_a_new_day_is_named_whichever_line_its_docstring_begins_on(opening: str) -> None:
    text = f'{opening}Day 20: Split-K\n====\n"""\n'.encode()
    assert command._title(File("tracks/triton/day20.py", None, text)) == ": Split-K"
