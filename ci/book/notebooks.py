"""Runs the notebooks as Colab does, without a GPU: python ci/book/notebooks.py [TRACK]

Each runs in a copy of the project, whose days are never the learner's. Day 1 is graded twice: as
it is, where no exercise passes, and after the cell that %%writefile saves, with the reference in
it, where all do.
"""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

from harness.curriculum import ROOT, generate_stub, read_source

PARTS = ("harness", "tracks", "Makefile", "requirements.txt", "pyproject.toml", "conftest.py")
SECONDS = 300


def main() -> int:
    found = []
    for path in sorted((ROOT / "notebooks").glob(f"{(sys.argv[1:] or ['*'])[0]}.ipynb")):
        with tempfile.TemporaryDirectory(prefix="notebook-") as folder:
            copy(Path(folder), path.stem)
            stub, answered = run(path, Path(folder))
        for said, what in ((stub, "the stub"), (answered, "the reference")):
            count = re.search(r"(\d+) of (\d+) exercises", said)
            due = count and ("0" if said is stub else count[2])
            if count is None or count[1] != due:
                found.append(f"{path.name}: of day 1 with {what} it says\n{said}")
        print(f"{path.name}: run", flush=True)
    print("\n".join(found))
    return 1 if found else 0


def copy(to: Path, track: str) -> None:
    """What the notebook would clone, with an untouched day 1."""
    for name in PARTS:
        part = ROOT / name
        if part.is_dir():
            shutil.copytree(part, to / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copyfile(part, to / name)
    solution = to / "tracks" / track / "solutions" / "day01.py"
    stub = generate_stub(read_source(solution), solution)
    (to / "tracks" / track / "day01.py").write_text(stub, encoding="utf-8")


def run(path: Path, folder: Path) -> list[str]:
    """Run all cells. → what the cell that grades printed, for the stub and for the reference"""
    notebook: Any = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    cells = {cell.source.partition("\n")[0]: cell for cell in notebook.cells}
    edit, grade = cells["#@title A day's file, in a new cell below"], cells["#@title Grade it"]
    answer = (ROOT / "tracks" / path.stem / "solutions" / "day01.py").read_text("utf-8")
    saved = f"%%writefile tracks/{path.stem}/day01.py\n{answer}"
    again = [nbformat.v4.new_code_cell(grade.source), nbformat.v4.new_code_cell(saved)]
    place = notebook.cells.index(edit) + 1
    notebook.cells[place:place] = again
    where = {"metadata": {"path": str(folder)}}
    NotebookClient(notebook, timeout=SECONDS, kernel_name="python3", resources=where).execute()
    return ["".join(o.get("text", "") for o in cell.outputs) for cell in (again[0], grade)]


if __name__ == "__main__":
    sys.exit(main())
