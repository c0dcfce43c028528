"""Imports of the harness point one way, and no files import each other in a circle."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from harness.curriculum import ROOT

# Each part imports from lower rows only. CONTRIBUTING.md shows the same picture.
LAYERS: tuple[tuple[str, ...], ...] = (
    ("__init__", "__main__"),
    ("cli",),
    ("grade",),
    ("watch", "report", "verify", "mutate", "update", "book"),
    ("run", "bench", "screen", "progress", "figures"),
    ("grading", "benching"),
    ("testing",),
    ("kernels", "measure"),
    ("usage", "setup", "shadows", "imports"),
    ("protocol", "curriculum"),
)
RANK = {part: rank for rank, parts in enumerate(LAYERS) for part in parts}
# What a file of a track may import of the harness, by the folder it is in.
TRACK_MAY_IMPORT = {
    "tests": "harness.testing",
    "benches": "harness.benching",
    "lessons/figures": "harness.figures",
    "library": "harness.curriculum",
}


@cache
def modules() -> dict[str, Path]:
    files = sorted((ROOT / "harness").rglob("*.py"))
    return {_name(path): path for path in files}


def _name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def part_of(module: str) -> str:
    names = module.split(".")
    return names[1] if len(names) > 1 else "__init__"


def imported(source: str, known: frozenset[str]) -> Iterator[tuple[int, str]]:
    """Line and module of each import of ``known`` ones: at the top, in functions, for types."""
    for node in ast.walk(ast.parse(source)):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name in known else node.module for name in inner]
        for name in names:
            if name in known:
                yield node.lineno, name


@cache
def graph() -> dict[str, frozenset[str]]:
    known = frozenset(modules())
    return {
        module: frozenset(n for _, n in imported(path.read_text("utf-8"), known) if n != module)
        for module, path in modules().items()
    }


def upward(source: str, module: str, known: frozenset[str]) -> list[str]:
    """The imports of ``module`` that do not point down."""
    own = part_of(module)
    return [
        f"{module}, line {line}: {own} imports {part_of(name)} ({name})"
        for line, name in imported(source, known)
        if part_of(name) != own and RANK[part_of(name)] <= RANK[own]
    ]


def circles(edges: dict[str, frozenset[str]]) -> list[list[str]]:
    """Groups of modules that reach each other."""

    @cache
    def reached(start: str) -> frozenset[str]:
        seen: set[str] = set()
        waiting = list(edges[start])
        while waiting:
            module = waiting.pop()
            if module not in seen:
                seen.add(module)
                waiting += edges[module]
        return frozenset(seen)

    groups = {
        tuple(sorted(b for b in reached(a) if a in reached(b))) for a in edges if a in reached(a)
    }
    return [list(group) for group in sorted(groups)]


def test_every_part_has_its_place() -> None:
    assert {part_of(module) for module in modules()} == set(RANK)


def test_imports_point_downwards() -> None:
    known = frozenset(modules())
    found = [s for m, path in modules().items() for s in upward(path.read_text("utf-8"), m, known)]
    assert not found, "\n".join(found)


def test_no_files_import_each_other() -> None:
    found = circles(graph())
    assert not found, "\n".join(" <-> ".join(group) for group in found)


@pytest.mark.parametrize(
    "source",
    [
        "from harness.cli.app import main",
        "def f():\n    from harness.cli import app",
        "if TYPE_CHECKING:\n    import harness.watch.view",
    ],
)
def test_an_import_that_points_up_is_found(source: str) -> None:
    assert upward(source, "harness.run.cold", frozenset(modules()))


def test_a_circle_is_found() -> None:
    edges = {"a": frozenset("b"), "b": frozenset("c"), "c": frozenset("b"), "d": frozenset()}
    assert circles(edges) == [["b", "c"]]


@pytest.mark.parametrize(
    "folder", ["", "solutions", "tests", "benches", "lessons/figures", "library"]
)
def test_tracks_import_what_is_made_for_them(folder: str) -> None:
    known = frozenset(modules())
    allowed = TRACK_MAY_IMPORT.get(folder, "harness.__main__")
    found = []
    for path in sorted((ROOT / "tracks").glob(f"*/{folder}/*.py" if folder else "*/*.py")):
        for line, name in imported(_without_main(path.read_text("utf-8")), known):
            if not name.startswith(allowed):
                found.append(f"{path.relative_to(ROOT)}:{line} imports {name}")
    assert not found, "\n".join(found)


def _without_main(source: str) -> str:
    """A day hands itself to the harness under ``__main__``; that line is no import of the day."""
    return source.split('\nif __name__ == "__main__":')[0]
