"""``make book``: builds the site, shows it, rebuilds it when something is saved."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
import webbrowser
from pathlib import Path

from harness.book.sources import write_sources
from harness.curriculum import ROOT, find_electives, find_tracks
from harness.usage import Usage

SITE = ROOT / ".harness" / "book"
NEEDED = ("sphinx", "furo", "myst_parser", "sphinx_copybutton", "latex2mathml")
BUILDERS = ("html", "epub")


def make_book(to: str, builder: str, repository: str, open_it: bool, serve: bool) -> int:
    """Build the book. → exit code 0 if it was built without a warning.

    ``to``: the folder, by default .harness/book. ``repository``: owner/name on GitHub, for links.
    """
    if builder not in BUILDERS:
        raise Usage(f"FORMAT={builder} is not known: use html or epub.")
    if repository and not re.fullmatch(r"[\w.-]+/[\w.-]+", repository):
        raise Usage(f"REPOSITORY={repository} is not owner/name, as in github.com/owner/name.")
    folder = Path(to).absolute() if to else SITE
    if folder.exists() and any(folder.iterdir()) and not (folder / ".buildinfo").exists():
        raise Usage(f"TO={to} holds other files: name a folder that is empty or not there.")
    need_packages()
    if serve:
        from harness.book.serve import serve_book

        return serve_book(lambda: build(SITE, "html", repository), SITE)
    wrong = build(folder, builder, repository)
    if wrong:
        return wrong
    what = folder / "index.html" if builder == "html" else next(folder.glob("*.epub"))
    print(f"The book: {what.relative_to(Path.cwd()) if what.is_relative_to(Path.cwd()) else what}")
    if open_it:
        webbrowser.open(what.as_uri())
    return 0


def build(folder: Path, builder: str, repository: str) -> int:
    """Sphinx in a process of its own, on sources that are written anew. → its exit code."""
    with tempfile.TemporaryDirectory(prefix="book-") as written:
        sources = Path(written) / "sources"
        sources.mkdir()
        write_sources([*find_tracks(), *find_electives()], sources, repository)
        shutil.rmtree(folder, ignore_errors=True)
        command = [
            sys.executable, "-m", "sphinx", "-b", builder, "-q", "-W", "--keep-going",
            "-j", str(os.cpu_count() or 1), "-c", str(Path(__file__).parent),
            "-d", str(Path(written) / "doctrees"), str(sources), str(folder),
        ]  # fmt: skip
        return subprocess.call(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})


def need_packages() -> None:
    """Install what the book is made with into the project's own environment; another one is asked
    for it."""
    lacking = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if not lacking:
        return
    if sys.version_info < (3, 11):
        raise Usage("the book is made with Python 3.11 or newer: this is an older one.")
    pins = pinned()
    command = [sys.executable, "-m", "pip", "install", "-q", *pins]
    if Path(sys.prefix) != ROOT / ".venv":
        raise Usage(
            f"the book's packages are missing ({', '.join(lacking)}): pip install {' '.join(pins)}"
        )
    print("Installing what the book is made with (once) …", flush=True)
    if subprocess.call(command):
        raise Usage("the book's packages could not be installed: pip says why above.")


def pinned() -> list[str]:
    """The extra ``book`` of pyproject.toml."""
    try:
        import tomllib
    except ModuleNotFoundError:
        import tomli as tomllib  # Python 3.10
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return list(project["optional-dependencies"]["book"])
