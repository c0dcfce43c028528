"""What is read of a submission, what is left out, and that it is said."""

from __future__ import annotations

import bz2
import gzip
import io
import os
import tarfile
import tracemalloc
import unicodedata
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.curriculum import find_day, find_tracks
from harness.grade import submissions
from harness.grade.submissions import Submission, read_all, student_of
from harness.usage import Usage

TRACKS = find_tracks()
DAY = find_day("autodiff", 1).solution.read_bytes()
KEY = ("autodiff", 1)
Files = dict[str, bytes]


def as_zip(path: Path, files: Files) -> None:
    with zipfile.ZipFile(path.with_name(f"{path.name}.zip"), "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)


def as_tar(path: Path, files: Files, mode: str = "w", end: str = ".tar") -> None:
    with tarfile.open(path.with_name(f"{path.name}{end}"), mode) as archive:  # type: ignore[call-overload]
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))


def as_tgz(path: Path, files: Files) -> None:
    as_tar(path, files, "w:gz", ".tar.gz")


def as_tbz(path: Path, files: Files) -> None:
    as_tar(path, files, "w:bz2", ".tar.bz2")


def as_folder(path: Path, files: Files) -> None:
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)


ALL = [as_folder, as_zip, as_tar, as_tgz, as_tbz]


def read(folder: Path) -> Submission:
    """The one submission that there is."""
    [found], _ = read_all(folder, TRACKS)
    return found


@pytest.mark.parametrize("pack", ALL)
@pytest.mark.parametrize("student", ["Zoë Ågren", "李 雷", "🎓 o'neil; rm -rf", "a.b.c"])
def test_every_way_to_hand_in(tmp_path: Path, pack: Callable, student: str) -> None:
    pack(tmp_path / student, {
        "my work/autodiff/day01.py": DAY, "my work/Readme.md": b"hello",
        "__MACOSX/autodiff/._day01.py": b"junk", "my work/autodiff/._day02.py": b"junk",
        "my work/.DS_Store": b"\0", "my work/__pycache__/day03.py": b"junk",
    })  # fmt: skip
    found = read(tmp_path)
    assert found.student == student
    assert {key: f.content for key, f in found.days.items()} == {KEY: DAY}
    assert found.log == []


@pytest.mark.parametrize("pack", [as_zip, as_tar, as_tgz])
@pytest.mark.parametrize(
    "path", ["../day01.py", "a/../../day01.py", "/etc/day01.py", "C:/day01.py", "..\\day01.py"]
)
def test_a_path_that_leads_out_is_refused(tmp_path: Path, pack: Callable, path: str) -> None:
    (tmp_path / "in").mkdir()
    pack(tmp_path / "in" / "eve", {"autodiff/day01.py": DAY, path: b"evil"})
    before = sorted(tmp_path.rglob("*"))
    found = read(tmp_path / "in")
    assert found.days == {}, "one that holds such a path is not to be trusted with the rest"
    assert "leads out of it" in found.log[0]
    assert sorted(tmp_path.rglob("*")) == before, "something was extracted"


def zip_bomb(path: Path) -> None:
    with (
        zipfile.ZipFile(f"{path}.zip", "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("autodiff/day01.py", "w", force_zip64=True) as file,
    ):
        for _ in range(300):
            file.write(bytes(1 << 20))


def tar_bomb(path: Path) -> None:
    entry = tarfile.TarInfo("model.bin")
    entry.size = 300 << 20
    with gzip.open(f"{path}.tar.gz", "wb", compresslevel=1) as file:
        file.write(entry.tobuf())
        for _ in range(300):
            file.write(bytes(1 << 20))


def header_bomb(path: Path) -> None:
    """A tar whose extended header claims 300 MB, which a reader would hold in memory."""
    entry = tarfile.TarInfo("x")
    entry.type, entry.size = tarfile.XHDTYPE, 300 << 20
    with bz2.open(f"{path}.tar.bz2", "wb") as file:
        file.write(entry.tobuf(tarfile.PAX_FORMAT))
        for _ in range(300):
            file.write(bytes(1 << 20))


def many(path: Path) -> None:
    with zipfile.ZipFile(f"{path}.zip", "w") as archive:
        for n in range(submissions.MEMBERS + 1):
            archive.writestr(f"{n}", b"")


@pytest.mark.parametrize("bomb", [zip_bomb, tar_bomb, header_bomb, many])
def test_a_bomb_does_not_go_off(tmp_path: Path, bomb: Callable) -> None:
    bomb(tmp_path / "eve")
    tracemalloc.start()
    found = read(tmp_path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found.days == {}
    assert "Nothing of it was read" in found.log[0]
    assert "MB" in found.log[0] or "files" in found.log[0]
    assert peak < 64 << 20, f"{peak >> 20} MB were held"


def test_a_zip_that_lies_about_a_size(tmp_path: Path) -> None:
    as_zip(tmp_path / "eve", {"autodiff/day01.py": bytes(3 << 20)})
    path = tmp_path / "eve.zip"
    path.write_bytes(path.read_bytes().replace((3 << 20).to_bytes(4, "little"), b"\x09\0\0\0"))
    found = read(tmp_path)
    assert found.days == {} and found.log


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no", b"\x1f\x8b\x08 no", bytes(5000)])
@pytest.mark.parametrize("end", [".zip", ".tar", ".tgz", ".tar.bz2"])
def test_a_damaged_archive_is_told(tmp_path: Path, content: bytes, end: str) -> None:
    (tmp_path / f"bob{end}").write_bytes(content)
    found = read(tmp_path)
    assert found.student == "bob" and found.days == {}
    assert found.log, "a submission of which nothing is read says why"


def test_other_archives_are_named(tmp_path: Path) -> None:
    for end in (".rar", ".7z", ".tar.xz"):
        (tmp_path / f"bob{end[1:]}{end}").write_bytes(b"x")
    found, _ = read_all(tmp_path, TRACKS)
    assert len(found) == 3 and all("zip or tar it" in one.log[0] for one in found)


def test_links_are_not_followed(tmp_path: Path) -> None:
    secret = tmp_path / "secret.py"
    secret.write_bytes(DAY)
    folder = tmp_path / "in" / "eve"
    (folder / "autodiff").mkdir(parents=True)
    (folder / "autodiff" / "day01.py").symlink_to(secret)
    (folder / "more").symlink_to(tmp_path)
    (tmp_path / "in" / "mallory").symlink_to(tmp_path)
    os.mkfifo(folder / "autodiff" / "day02.py")  # opening it would wait for ever
    with tarfile.open(tmp_path / "in" / "tim.tar", "w") as archive:
        entry = tarfile.TarInfo("autodiff/day01.py")
        entry.type, entry.linkname = tarfile.SYMTYPE, str(secret)
        archive.addfile(entry)
    found, left = read_all(tmp_path / "in", TRACKS)
    assert [one.student for one in found] == ["eve", "tim"]
    assert all(one.days == {} and "link" in one.log[0] for one in found)
    assert "mallory is a link" in left[0]


def test_a_zip_in_a_students_folder(tmp_path: Path) -> None:
    """As Moodle hands them out."""
    folder = tmp_path / "Ada Lovelace_4711_assignsubmission_file_"
    folder.mkdir()
    as_zip(folder / "work", {"autodiff/day01.py": DAY})
    found = read(tmp_path)
    assert found.student == "Ada Lovelace"
    assert found.days[KEY].path == "work.zip/autodiff/day01.py"


def test_names_that_platforms_make() -> None:
    assert student_of("Ada Lovelace_4711_assignsubmission_file_", True) == "Ada Lovelace"
    assert student_of("lovelaceada_LATE_123_456_work.zip", False) == "lovelaceada"
    assert student_of("lovelaceada_123_456_work-1.zip", False) == "lovelaceada"
    assert student_of("a.tar.gz", False) == "a"
    apart = unicodedata.normalize("NFD", "Zoë")
    assert student_of(apart, True) == "Zoë"


def test_two_of_one_name_are_two_students(tmp_path: Path) -> None:
    as_folder(tmp_path / "bob", {"autodiff/day01.py": DAY})
    as_zip(tmp_path / "bob", {"autodiff/day01.py": DAY})
    as_tar(tmp_path / "bob", {"autodiff/day01.py": DAY})
    found, _ = read_all(tmp_path, TRACKS)
    assert [one.student for one in found] == ["bob", "bob.tar", "bob.zip"]


def test_a_whole_project_is_read_as_its_days(tmp_path: Path) -> None:
    as_zip(tmp_path / "bob", {
        "p/tracks/autodiff/day01.py": DAY, "p/tracks/autodiff/solutions/day01.py": b"reference",
        "p/tracks/autodiff/tests/test_day01.py": b"", "p/.git/day01.py": b"",
        "p/tracks/autodiff/lessons/figures/day01_error.py": b"",
    })  # fmt: skip
    found = read(tmp_path)
    assert {key: f.path for key, f in found.days.items()} == {KEY: "p/tracks/autodiff/day01.py"}
    assert found.log == []


def test_a_student_may_call_a_folder_solutions(tmp_path: Path) -> None:
    as_folder(tmp_path / "bob", {"solutions/day01.py": DAY})
    assert set(read(tmp_path).days) == {KEY}


@pytest.mark.parametrize("track, day", [("triton", 1), ("pytorch", 2), ("autodiff", 3)])
def test_a_flat_file_is_known_by_its_docstring(tmp_path: Path, track: str, day: int) -> None:
    content = find_day(track, day).solution.read_bytes()
    as_folder(tmp_path / "bob", {f"Day_{day}.py": content})
    assert set(read(tmp_path).days) == {(track, day)}


def test_a_flat_file_that_is_misnamed_is_told(tmp_path: Path) -> None:
    as_folder(tmp_path / "bob", {"day02.py": DAY})
    found = read(tmp_path)
    assert set(found.days) == {KEY}
    assert "by its docstring it is day 1" in found.log[0]


@pytest.mark.parametrize(
    "source, track",
    [("import triton\nimport torch\n", "triton"), ("from torch import nn\n", "pytorch"),
     ("import numpy as np\n", "autodiff"), ("from tracks.autodiff import day01\n", "autodiff")],
)  # fmt: skip
def test_without_a_docstring_the_imports_say_it(tmp_path: Path, source: str, track: str) -> None:
    as_folder(tmp_path / "bob", {"day02.py": source.encode()})
    found = read(tmp_path)
    assert set(found.days) == {(track, 2)}
    assert f"it is of the {track} track" in found.log[0]


def test_what_cannot_be_told_is_named_and_not_graded(tmp_path: Path) -> None:
    as_folder(tmp_path / "bob", {"day02.py": b"x = 1\n", "autodiff/day99.py": b"", "day1b.py": b""})
    found = read(tmp_path)
    assert found.days == {}
    said = "\n".join(found.log)
    assert "it could be day 2 of autodiff or pytorch or triton" in said
    assert "the autodiff track has no day 99" in said
    assert "day1b.py is not named as a day" in said


def test_of_several_the_highest_counts_or_none(tmp_path: Path) -> None:
    as_folder(tmp_path / "ann", {"autodiff/day01.py": DAY, "old/autodiff/day01.py": b"old = 1"})
    as_folder(tmp_path / "bob", {"a/autodiff/day01.py": DAY, "b/autodiff/day01.py": b"other = 1"})
    as_folder(tmp_path / "cat", {"a/autodiff/day01.py": DAY, "b/autodiff/day01.py": DAY})
    (ann, bob, cat), _ = read_all(tmp_path, TRACKS)
    assert ann.days[KEY].content == DAY and "several times" in ann.log[0]
    assert bob.days == {} and "which one counts is not told" in bob.log[0]
    assert cat.days[KEY].content == DAY and cat.log == []


def test_a_file_of_any_size_is_not_read(tmp_path: Path) -> None:
    as_folder(tmp_path / "bob", {"autodiff/day01.py": bytes(submissions.DAY_BYTES + 1)})
    found = read(tmp_path)
    assert found.days == {} and "longer than 1 MB" in found.log[0]


def test_what_is_no_submission_is_told(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / ".DS_Store").write_text("x")
    (tmp_path / "empty").mkdir()
    [empty], left = read_all(tmp_path, TRACKS)
    assert left == ["notes.txt is neither a folder nor an archive: not graded."]
    assert "no file that is named as a day" in empty.log[0]
    with pytest.raises(Usage, match="is no folder"):
        read_all(tmp_path / "nowhere", TRACKS)
