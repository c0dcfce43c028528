"""A project in a git repository of its own, and clones of it, as learners have them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.support.toy import Toy

STUB = 'raise NotImplementedError("double")'


def git(folder: Path, *arguments: str, code: int = 0) -> str:
    """What git prints, without the settings of whoever runs the tests."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    environment |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    for role in ("AUTHOR", "COMMITTER"):
        environment |= {f"GIT_{role}_NAME": "Someone", f"GIT_{role}_EMAIL": "someone@example.org"}
    done = subprocess.run(
        ["git", *arguments], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == code, f"git {arguments}: {done.stdout}{done.stderr}"
    return done.stdout.strip()


class Upstream(Toy):
    """A toy project whose every ``publish`` is a commit."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        (folder / ".gitignore").write_text("__pycache__/\n.harness/\n/PROGRESS.md\n.venv/\n")
        git(folder, "init", "-q", "-b", "main")

    def publish(self, message: str = "a version") -> str:
        done = self.run("-m", "harness", "stubs", FORCE="1")
        assert done.returncode == 0, done.stdout + done.stderr
        git(self.folder, "add", "-A")
        git(self.folder, "commit", "-q", "-m", message)
        return git(self.folder, "rev-parse", "HEAD")

    def change(self, path: str, old: str, new: str) -> None:
        """Replace text in a file of the track, e.g. ``solutions/day01.py``."""
        text = (self.track / path).read_text(encoding="utf-8")
        assert old in text
        self.write(path, text.replace(old, new))

    def rename_exercise(self) -> None:
        """``double`` of day 1 becomes ``twice``, and with it the line that its stub raises in."""
        self.change("solutions/day01.py", "def double(x", "def twice(x")
        self.change("solutions/day01.py", "double(np", "twice(np")
        for part in ("tests/test_day01.py", "bugs/day01.toml", "lessons/day01.md"):
            text = (self.track / part).read_text(encoding="utf-8").replace('"double"', '"twice"')
            self.write(part, text.replace("day01.double", "day01.twice"))


class Clone(Toy):
    """A learner's clone."""

    def __init__(self, origin: Path, folder: Path, *options: str) -> None:
        # no super(): the files come from the clone
        git(folder.parent, "clone", "-q", *options, f"file://{origin}", str(folder))
        self.folder = folder
        self.track = folder / "tracks" / "autodiff"

    def file(self, day: int = 1) -> Path:
        return self.track / f"day{day:02d}.py"

    def answer(self, text: str, day: int = 1) -> bytes:
        """Write an answer where the stub is. → the file's bytes."""
        file = self.file(day)
        source = file.read_bytes().decode()
        assert STUB in source
        file.write_bytes(source.replace(STUB, text).encode())
        return file.read_bytes()

    def harness(self, *arguments: str, code: int = 0, **environment: str) -> str:
        done = self.run(
            "-m", "harness", *arguments, GIT_CONFIG_GLOBAL=os.devnull, GIT_CONFIG_SYSTEM=os.devnull,
            **environment,
        )  # fmt: skip
        said = done.stdout + done.stderr
        assert done.returncode == code, said
        assert "Traceback" not in said, said
        return said

    def commit(self, message: str = "mine") -> str:
        git(self.folder, "add", "-A")
        git(self.folder, "commit", "-q", "-m", message)
        return self.head()

    def head(self) -> str:
        return git(self.folder, "rev-parse", "HEAD")

    def status(self) -> str:
        return git(self.folder, "status", "--porcelain")

    def everything(self) -> dict[str, bytes]:
        """All files but git's and the harness's own, by path."""
        return {
            path.relative_to(self.folder).as_posix(): path.read_bytes()
            for path in sorted(self.folder.rglob("*"))
            if path.is_file() and not {".git", ".harness", "__pycache__"} & set(path.parts)
        }
